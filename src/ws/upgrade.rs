//! `GET /ws` and `GET /ws/chat/{chat_id}`: from an authenticated request to a connection.
//!
//! Whatever is refused is refused here, as an HTTP answer. After the 101 the bare socket is taken out of hyper, and the
//! request, its headers and hyper's buffers are gone before the connection begins to live.

use std::sync::Arc;

use hyper::{
    Method, StatusCode, Version,
    header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE},
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use uuid::Uuid;

use super::{
    close::Close,
    commands,
    connection::{Connection, Mode},
    drive::Busy,
    engine::Engine,
    frames::Since,
    shared::Seat,
    subscribe,
    wire::Wire,
};
use crate::{
    chat::{Caller, room::Room, subscriber::Subscriber},
    http::{
        request::Request,
        respond::{Rejection, Response, empty},
        socket::HttpSocket,
        stream::Stream,
    },
    limits::connections::SocketPlace,
    seldom::{self, Line},
    types::UserId,
};

const PROTOCOL: &str = "natter.v1";

pub fn all_rooms(engine: &Arc<Engine>, caller: Caller, request: Request) -> Result<Response, Rejection> {
    open(engine, caller, request, None)
}

/// The caller is a member of the room.
pub async fn one_room(
    engine: &Arc<Engine>,
    caller: Caller,
    room: Arc<Room>,
    request: Request,
) -> Result<Response, Rejection> {
    let since = request.query_seq("since")?.map(|seq| Since { seq, epoch: request.query("epoch") });
    engine.shared.chat.make_sure(&room, caller.user_id, since.as_ref().map(|since| since.seq)).await;
    if since.as_ref().is_some_and(|since| !is_of_this_log(since, &room)) {
        let detail =
            "This log is not the one that ?since= was taken from; load the history again and start from there.";
        return Err(Rejection::new(StatusCode::CONFLICT, "not_lossless", detail));
    }
    // From here on: the client may post as soon as it has its 101, and the room is followed a little later.
    let since = since.unwrap_or_else(|| Since { seq: room.head(), epoch: None });
    open(engine, caller, request, Some((room, since)))
}

fn is_of_this_log(since: &Since, room: &Room) -> bool {
    since.seq <= room.head() && since.epoch.as_ref().is_none_or(|epoch| *epoch == room.epoch)
}

type Follow = Option<(Arc<Room>, Since)>;

fn open(engine: &Arc<Engine>, caller: Caller, mut request: Request, follow: Follow) -> Result<Response, Rejection> {
    let accept = check_handshake(&request)?;
    let Some(place) = Place::take(engine, caller.user_id) else {
        let detail = "You have as many sockets open as you may (sockets.connections_per_user); close one.";
        return Err(Rejection::too_many("too_many_connections", detail, 1));
    };
    let Some(seat) = engine.shared.take_seat() else {
        let detail = "The server has as many sockets open as it may (sockets.connections); try again in a moment.";
        return Err(Rejection::unavailable("too_many_connections", detail));
    };
    let Some(counted) = request.client.place.to_socket(request.peer) else {
        let detail = "Your address has as many connections open as it may (limits.connections_per_address); close one.";
        return Err(Rejection::too_many("too_many_connections", detail, 1));
    };
    let speaks_natter = offers_protocol(&request);
    let upgrade = hyper::upgrade::on(&mut request.inner);
    tokio::spawn(begin(place, caller, follow, (seat, counted), upgrade));
    let mut response = empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if speaks_natter {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    }
    Ok(response)
}

/// A user's place for one more connection, given back where the handshake comes to nothing.
struct Place {
    engine: Arc<Engine>,
    user: UserId,
    filled: bool,
}

impl Place {
    fn take(engine: &Arc<Engine>, user: UserId) -> Option<Self> {
        engine.shared.chat.online.reserve(user).then(|| Self { engine: engine.clone(), user, filled: false })
    }

    fn fill(mut self, connection: Arc<dyn Subscriber>) {
        self.engine.shared.chat.online.add(connection);
        self.filled = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.filled {
            self.engine.shared.chat.online.give_up(self.user);
        }
    }
}

fn check_handshake(request: &Request) -> Result<HeaderValue, Rejection> {
    let lists = |name, token: &str| {
        let values = request.inner.headers().get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(token))
    };
    let required = |detail: &str| {
        Err(Rejection::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", detail)
            .with(UPGRADE, HeaderValue::from_static("websocket"))
            .with(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")))
    };
    let handshake = request.inner.headers().contains_key("sec-websocket-key");
    match (lists(UPGRADE, "websocket"), lists(CONNECTION, "upgrade")) {
        // An HTTP/1.0 server would have to ignore an upgrade, and a proxy that speaks it takes the headers away or leaves them.
        (upgrade, _) if (upgrade || handshake) && request.inner.version() < Version::HTTP_11 => {
            return required(
                "This handshake of a WebSocket came over HTTP/1.0, and needs HTTP/1.1: a proxy in between must pass it on so \
                 (for nginx: proxy_http_version 1.1).",
            );
        }
        (true, true) => {}
        (true, false) => {
            return required(
                "This handshake of a WebSocket came with Upgrade: websocket, but without Connection: upgrade: a proxy in between \
                 must set both (for nginx: proxy_set_header Connection upgrade).",
            );
        }
        (false, _) if handshake => {
            return required(
                "This handshake of a WebSocket came without Upgrade: websocket: a proxy in between took the header away, and must \
                 pass on both Upgrade and Connection (for nginx: proxy_set_header).",
            );
        }
        (false, _) => return required("This is a WebSocket: connect with a WebSocket client (ws://…)."),
    }
    if request.inner.method() != Method::GET {
        return required("The handshake of a WebSocket is a GET.");
    }
    match request.header(SEC_WEBSOCKET_VERSION) {
        Some("13") => {}
        Some(_) => {
            return required("This handshake asks for another version of WebSocket; Sec-WebSocket-Version must be 13.");
        }
        None => return required("This handshake has no Sec-WebSocket-Version, which must be 13."),
    }
    let key = request.header("sec-websocket-key").filter(|key| key.len() == 24);
    let Some(key) = key else {
        let detail =
            "This handshake has no Sec-WebSocket-Key of 16 bytes in base64; a proxy in between may have taken it away.";
        return Err(Rejection::new(StatusCode::BAD_REQUEST, "bad_handshake", detail));
    };
    Ok(HeaderValue::try_from(derive_accept_key(key.as_bytes())).expect("base64 is a header value"))
}

fn offers_protocol(request: &Request) -> bool {
    let values = request.inner.headers().get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|p| p.trim() == PROTOCOL)
}

async fn begin(place: Place, caller: Caller, follow: Follow, seat: (Seat, SocketPlace), upgrade: OnUpgrade) {
    let upgraded = match upgrade.await {
        Ok(upgraded) => upgraded,
        Err(error) => return tracing::debug!(%error, "a handshake was not finished"),
    };
    let Some((stream, early)) = bare(upgraded) else {
        return tracing::error!("an upgraded connection is no socket of the listener");
    };
    let mode = if follow.is_some() { Mode::OneRoom } else { Mode::AllRooms };
    let opened = Wire::of(stream).and_then(|wire| place.engine.open(seat, &caller, mode, wire));
    let connection = match opened {
        Ok(connection) => connection,
        Err(error) => {
            if let Some(Line { held_back }) = seldom::due("the kernel would not watch a socket") {
                tracing::warn!(%error, held_back, "the kernel would not watch a socket");
            }
            return;
        }
    };
    let busy = Busy::new(&connection);
    place.fill(connection.clone());
    if connection.state().is_dead() {
        // It ended before it could be taken out.
        connection.shared().chat.online.remove(connection.user, connection.id);
    }
    busy.begin(start(connection, caller, follow), early).await;
}

/// The socket out of hyper, and what the client sent right after its handshake.
fn bare(upgraded: Upgraded) -> Option<(Stream, Vec<u8>)> {
    let parts = upgraded.downcast::<TokioIo<HttpSocket>>().ok()?;
    Some((parts.io.into_inner().into_bare(), parts.read_buf.to_vec()))
}

async fn start(connection: Arc<Connection>, caller: Caller, follow: Follow) {
    let good = commands::greet(&connection, &caller, &Uuid::now_v7().to_string()).await;
    if let Some((room, since)) = follow.filter(|_| good) {
        match subscribe::begin(&connection, room, Some(&since)) {
            Ok(begun) => subscribe::release(&connection, None, &[begun]),
            Err(_) => connection.close(Close::RemovedFromRoom),
        }
    }
}
