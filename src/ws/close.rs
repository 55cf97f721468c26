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
    /// The server cannot go on with this socket through a fault of its own.
    Internal,
    TokenExpired,
    LoginEnded,
    RemovedFromRoom,
    NoPong,
    RateLimit,
}

impl Close {
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
            Close::TooSlow | Close::NotStored => 1013,
            Close::TokenExpired | Close::LoginEnded => 4401,
            Close::RemovedFromRoom => 4403,
            Close::NoPong => 4408,
            Close::RateLimit => 4429,
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
            Close::Internal => "internal error",
            Close::Draining => "server draining, reconnect",
            Close::TooSlow => "too far behind, reconnect with since",
            Close::TokenExpired => "token expired",
            Close::LoginEnded => "login ended",
            Close::RemovedFromRoom => "removed from the chat",
            Close::NoPong => "no pong",
            Close::RateLimit => "over limits.frames_per_sec",
        }
    }
}
