//! Why a socket is closed, and what its client is told.

/// Every reason of ours. The codes are part of the wire contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// The client asked for it; it gets its own code back.
    Asked(u16),
    Draining,
    TooSlow,
    /// On a one-room socket, where nothing can be answered: a post that was not stored, through no fault of the client.
    NotStored,
    Binary,
    NotUtf8,
    ProtocolError,
    BadFrames,
    TooBig,
    /// Half of a frame came, and there is no room to keep it.
    NoRoom,
    /// The server cannot go on with this socket through a fault of its own.
    Internal,
    TokenExpired,
    LoginEnded,
    RemovedFromRoom,
    NoPong,
    FrameRate,
    PostRate,
}

impl Close {
    /// All of them, by their codes.
    pub const ALL: [Close; 18] = [
        Close::Asked(1000),
        Close::Asked(1001),
        Close::ProtocolError,
        Close::Binary,
        Close::NotUtf8,
        Close::BadFrames,
        Close::TooBig,
        Close::Internal,
        Close::Draining,
        Close::TooSlow,
        Close::NotStored,
        Close::NoRoom,
        Close::TokenExpired,
        Close::LoginEnded,
        Close::RemovedFromRoom,
        Close::NoPong,
        Close::FrameRate,
        Close::PostRate,
    ];

    pub fn code(self) -> u16 {
        match self {
            Close::Asked(code) => code,
            Close::ProtocolError => 1002,
            Close::Binary => 1003,
            Close::NotUtf8 => 1007,
            Close::BadFrames => 1008,
            Close::TooBig => 1009,
            Close::Internal => 1011,
            Close::Draining => 1012,
            Close::TooSlow | Close::NotStored | Close::NoRoom => 1013,
            Close::TokenExpired | Close::LoginEnded => 4401,
            Close::RemovedFromRoom => 4403,
            Close::NoPong => 4408,
            Close::FrameRate | Close::PostRate => 4429,
        }
    }

    pub fn reason(self) -> &'static str {
        match self {
            Close::Asked(_) => "",
            Close::ProtocolError => "not the WebSocket protocol",
            Close::NotStored => "a message was not stored, reconnect and send it again",
            Close::Binary => "send text frames",
            Close::NotUtf8 => "text must be UTF-8",
            Close::BadFrames => "too many bad frames",
            Close::TooBig => "frame over sockets.frame_bytes",
            Close::NoRoom => "too much is on its way in, reconnect in a moment",
            Close::Internal => "internal error",
            Close::Draining => "server draining, reconnect",
            Close::TooSlow => "too far behind, reconnect with since",
            Close::TokenExpired => "token expired",
            Close::LoginEnded => "login ended",
            Close::RemovedFromRoom => "removed from the chat",
            Close::NoPong => "no pong",
            Close::FrameRate => "over limits.frames_per_sec",
            Close::PostRate => "over limits.posts_per_sec",
        }
    }

    /// What it means, for the documentation.
    pub fn meaning(self) -> &'static str {
        match self {
            Close::Asked(1001) => "The client goes away, and said so: it gets its own code back.",
            Close::Asked(_) => "The client is done, and said so: it gets its own code back.",
            Close::ProtocolError => "What came was not the WebSocket protocol.",
            Close::Binary => "A binary frame came; frames are text.",
            Close::NotUtf8 => "A text frame was not UTF-8.",
            Close::BadFrames => {
                "As many frames as sockets.bad_frames allows were not JSON; on the socket of one chat, not acceptable. There the \
                 reason says why the last one was not."
            }
            Close::TooBig => "A frame was longer than sockets.frame_bytes.",
            Close::NoRoom => {
                "Half of a frame came, and as many bytes as limits.incoming_bytes allows are on their way in already."
            }
            Close::Internal => "The server cannot go on with this socket, through a fault of its own.",
            Close::Draining => "The server stops.",
            Close::TooSlow => {
                "The client did not read: more than sockets.behind_bytes waited for longer than sockets.behind_secs, or \
                 sockets.outbox_bytes of notices."
            }
            Close::NotStored => {
                "On the socket of one chat, where nothing is answered: a message was not stored, through no fault of the client."
            }
            Close::TokenExpired => "The token has ended, and no auth frame came with another one.",
            Close::LoginEnded => "The login was ended: signed out, disabled, a new password, or an admin's logout.",
            Close::RemovedFromRoom => "On the socket of one chat: the user is no member of it any more.",
            Close::NoPong => "No pong came for sockets.pong_secs.",
            Close::FrameRate => "More frames came than limits.frames_per_sec allows.",
            Close::PostRate => "On the socket of one chat: more posts came than limits.posts_per_sec allows.",
        }
    }

    /// From now on the client may see nothing, also of what was written for it before.
    pub fn forbids_more(self) -> bool {
        matches!(self, Close::TokenExpired | Close::LoginEnded | Close::RemovedFromRoom)
    }

    /// What a client does then, for the documentation.
    pub fn then(self) -> Then {
        match self {
            Close::Asked(_) | Close::RemovedFromRoom => Then::Stop,
            Close::ProtocolError | Close::Binary | Close::NotUtf8 | Close::BadFrames | Close::TooBig => Then::Mend,
            Close::Draining => Then::ReconnectSpread,
            Close::Internal | Close::TooSlow | Close::NotStored | Close::NoRoom | Close::NoPong => Then::Resume,
            Close::TokenExpired | Close::LoginEnded => Then::SignIn,
            Close::FrameRate | Close::PostRate => Then::BackOff,
        }
    }
}

/// What a client does about a close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    Stop,
    Mend,
    Resume,
    ReconnectSpread,
    SignIn,
    BackOff,
}

impl Then {
    pub fn reconnects(self) -> bool {
        !matches!(self, Then::Stop | Then::Mend)
    }

    pub fn advice(self) -> &'static str {
        match self {
            Then::Stop => "Nothing: it is over.",
            Then::Mend => "Do not connect again as you are: the client has a mistake.",
            Then::Resume => "Connect again, and subscribe with since: nothing is lost. Wait longer after each failure.",
            Then::ReconnectSpread => "Connect again after a random time of up to 5 seconds, and subscribe with since.",
            Then::SignIn => "Get another token (by the refresh token, or by signing in), and connect again with it.",
            Then::BackOff => "Wait, connect again, and send less.",
        }
    }
}
