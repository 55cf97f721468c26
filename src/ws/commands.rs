//! What comes of a client's frames.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::{
    close::Close,
    connection::{Connection, Mode, unix_secs},
    frames::{self, BadFrame, Command},
    reader::Heard,
    refusal::Refusal,
    subscribe,
};
use crate::{
    chat::{
        Caller, ChatError,
        accounts::Asks,
        messages::Changed,
        room::Room,
        work::{Actor, Posted, Reply, Work},
    },
    json_depth,
    protocol::{Frame, Limits, Said},
    types::{MessageId, RoomId, Timestamp},
};

/// Before anything else: is the login still good now that this connection can be found to be revoked, and the welcome.
/// `false`: the connection is closing.
pub(super) async fn greet(connection: &Arc<Connection>, caller: &Caller, connection_id: &str) -> bool {
    let shared = connection.shared();
    if !still_good(connection, caller).await {
        return false;
    }
    shared.chat.attend(connection.user).await;
    if connection.mode != Mode::AllRooms {
        connection.greet(None);
        return true;
    }
    let (limits, sockets) = (&shared.config.limits, &shared.config.sockets);
    let expires_at = i64::from(connection.state().expires_at);
    connection.greet(Some(&Frame::json(&Said::Welcome {
        user_id: connection.user,
        username: &connection.username,
        connection_id,
        expires_at: Timestamp(expires_at * 1000),
        ping_seconds: sockets.ping_secs,
        limits: Limits {
            message_chars: limits.message_chars,
            client_id_chars: limits.client_id_chars,
            frame_bytes: sockets.frame_bytes,
            subscriptions: sockets.subscriptions,
            in_flight: sockets.in_flight,
        },
    })));
    true
}

/// A hint that ended the login before this connection could hear it is made up for. `false`: the connection is closing.
async fn still_good(connection: &Connection, caller: &Caller) -> bool {
    match connection.shared().chat.validate_again(caller).await {
        Ok(()) => true,
        Err(ChatError::InvalidToken) => {
            connection.close(Close::LoginEnded);
            false
        }
        Err(error) => {
            tracing::debug!(%error, "a login is in doubt and could not be looked at again");
            connection.close(Close::Internal);
            false
        }
    }
}

/// Serves what a read gave, in order, then closes where the client said so or broke the protocol.
pub(super) async fn serve(connection: Arc<Connection>, heard: Heard) {
    let limits = &connection.shared().config.limits;
    for text in heard.texts {
        if connection.state().is_over() {
            return;
        }
        if json_depth::exceeded_at(text.as_bytes(), limits.json_depth).is_some() {
            connection.shared().metrics.bound_hit("limits.json_depth");
            let detail = format!("The frame nests more than {} levels deep (limits.json_depth).", limits.json_depth);
            let refusal = Refusal { code: "bad_frame", detail, retry_after: None };
            if connection.mode == Mode::AllRooms {
                connection.send(&refusal.said(None, None));
            } else if !count_bad_frame(&connection, &refusal.detail) {
                return;
            }
            continue;
        }
        let going_on = match connection.mode {
            Mode::AllRooms => all_rooms(&connection, &text).await,
            Mode::OneRoom => one_room(&connection, &text),
        };
        if !going_on {
            return;
        }
    }
    match heard.close {
        None if heard.answers.is_empty() => {}
        None => connection.send_bytes(heard.answers.into()),
        Some(Close::Asked(_)) => connection.close_asked(heard.answers),
        Some(why) => {
            if why == Close::TooBig {
                connection.shared().metrics.bound_hit("sockets.frame_bytes");
            }
            connection.close(why);
        }
    }
}

/// Serves a text that needs nothing to be waited for: a post, to a room that is in memory. `false`: [`serve`] must see to it.
pub(super) fn serve_at_once(connection: &Arc<Connection>, text: &str) -> bool {
    let shared = connection.shared();
    if connection.state().is_over() {
        return true;
    }
    if json_depth::exceeded_at(text.as_bytes(), shared.config.limits.json_depth).is_some() {
        return false;
    }
    if connection.mode == Mode::OneRoom {
        one_room(connection, text);
        return true;
    }
    let Some(asked) = frames::parse_post(text) else { return false };
    let Some(id) = RoomId::parse(&asked.chat_id) else { return false };
    let followed = connection.state().outbox.room(id).cloned();
    let room = followed.or_else(|| shared.chat.rooms.in_memory(id));
    let Some(room) = room.filter(|room| room.role_of(connection.user).is_some()) else { return false };
    let client_id = asked.client_id.map(|id| Arc::from(id.0));
    post_in(connection, asked.req, &room, asked.content, client_id);
    true
}

/// `false`: these frames are more than `limits.frames_per_sec` allows.
pub(super) fn admit(connection: &Connection, frames: u32) -> bool {
    let shared = connection.shared();
    shared.metrics.frames_received.inc_by(frames.into());
    let limits = &shared.config.limits;
    if limits.rates == crate::config::Rates::Off {
        return true;
    }
    let now = shared.now();
    let admitted = connection.state().frames.admit(frames, now, limits.frames_per_sec, limits.frames_burst);
    if !admitted {
        shared.metrics.bound_hit("limits.frames_per_sec");
    }
    admitted
}

/// `false`: the connection is closing.
async fn all_rooms(connection: &Arc<Connection>, text: &str) -> bool {
    let (req, command) = frames::parse(text);
    let not_json = command.as_ref().is_err_and(BadFrame::is_not_json);
    let done = match command {
        Ok(command) => carry_out(connection, req, command).await,
        Err(bad) => Err(bad.into()),
    };
    if let Err(refusal) = done {
        connection.send(&refusal.said(req, None));
    }
    !not_json || count_bad_frame(connection, Close::BadFrames.reason())
}

/// `false`: that was one too many.
fn count_bad_frame(connection: &Arc<Connection>, reason: &str) -> bool {
    let bad = {
        let mut state = connection.state();
        state.bad_frames += 1;
        state.bad_frames
    };
    if bad < connection.shared().config.sockets.bad_frames {
        return true;
    }
    connection.shared().metrics.bound_hit("sockets.bad_frames");
    connection.close_with(Close::BadFrames, reason);
    false
}

async fn carry_out(connection: &Arc<Connection>, req: Option<&RawValue>, command: Command) -> Result<(), Refusal> {
    let chat = &connection.shared().chat;
    match command {
        Command::Ping => connection.send(&Said::Pong { req }),
        Command::Auth { token } => return authenticate(connection, req, &token).await,
        Command::Subscribe { chats, all } => return subscribe::subscribe(connection, req, chats, all).await,
        Command::Unsubscribe { chats } => {
            chats.iter().filter_map(|id| RoomId::parse(id)).for_each(|id| subscribe::let_go(connection, id));
            connection.send(&Said::Unsubscribed { req });
        }
        Command::Post { chat_id, content, client_id } => {
            let client_id = client_id.map(Arc::from);
            match room_of(connection, &chat_id).await {
                Ok(room) => post_in(connection, req, &room, content, client_id),
                Err(error) => connection.send(&Refusal::from(error).said(req, client_id.as_deref())),
            }
        }
        Command::Edit { chat_id, message_id, content, client_id } => {
            let client_id: Option<Arc<str>> = client_id.map(Arc::from);
            let work = Change::Edit { content, client_id: client_id.clone() };
            changed(connection, req, client_id.as_deref(), &chat_id, &message_id, work).await;
        }
        Command::Delete { chat_id, message_id, client_id } => {
            changed(connection, req, client_id.as_deref(), &chat_id, &message_id, Change::Delete).await;
        }
        Command::Read { chat_id, seq } => {
            let room = room_of(connection, &chat_id).await?;
            chat.mark_read(&room, connection.user, seq).await?;
            ok(connection, req);
        }
        Command::Typing { chat_id } => {
            let room = room_of(connection, &chat_id).await?;
            if !room.role_of(connection.user).is_some_and(|role| role.may_post()) {
                return Err(ChatError::ReadOnly.into());
            }
            typing(connection, &room);
            ok(connection, req);
        }
    }
    Ok(())
}

fn ok(connection: &Connection, req: Option<&RawValue>) {
    if req.is_some() {
        connection.send(&Said::Ok { req });
    }
}

/// The room by its id, where the user is a member.
async fn room_of(connection: &Connection, id: &str) -> Result<Arc<Room>, ChatError> {
    let id = RoomId::parse(id).ok_or(ChatError::NoSuchRoom)?;
    let followed = connection.state().outbox.room(id).cloned();
    let room = match followed {
        Some(room) => room,
        None => connection.shared().chat.find_room(id).await?,
    };
    connection.shared().chat.make_sure(&room, connection.user, None).await;
    if room.role_of(connection.user).is_none() {
        return Err(ChatError::NoSuchRoom);
    }
    Ok(room)
}

/// Only where this socket follows the room.
fn typing(connection: &Connection, room: &Arc<Room>) {
    if connection.state().outbox.slot_of(room.id).is_some() {
        connection.shared().chat.typing(room, connection.user);
    }
}

async fn authenticate(connection: &Arc<Connection>, req: Option<&RawValue>, token: &str) -> Result<(), Refusal> {
    let shared = connection.shared();
    let refusal = |code, detail: &str| Refusal { code, detail: detail.to_owned(), retry_after: None };
    let bearer = shared.tokens.check_once(token).map_err(|error| refusal(error.code(), &error.to_string()))?;
    let caller = shared.chat.validate(&bearer, Asks::Once).await?;
    if caller.user_id != connection.user {
        return Err(refusal("invalid_token", "This socket belongs to somebody else; open another for this token."));
    }
    {
        let mut state = connection.state();
        state.session = caller.session_id;
        state.expires_at = unix_secs(caller.expires_at);
    }
    connection.look_soon();
    if !still_good(connection, &caller).await {
        return Ok(());
    }
    connection.send(&Said::Authed { req, expires_at: Timestamp(caller.expires_at * 1000) });
    Ok(())
}

/// What is to become of a message.
enum Change {
    Edit { content: String, client_id: Option<Arc<str>> },
    Delete,
}

/// Changes a message and answers, once it is durable: what the client sends meanwhile waits.
async fn changed(
    connection: &Arc<Connection>,
    req: Option<&RawValue>,
    client_id: Option<&str>,
    chat_id: &str,
    message_id: &str,
    work: Change,
) {
    let by = Actor { user: connection.user, username: connection.username.clone() };
    let done = async {
        let chat = &connection.shared().chat;
        let room = room_of(connection, chat_id).await?;
        let message_id = MessageId::parse(message_id).ok_or(ChatError::NoSuchMessage)?;
        let chat_id = room.id;
        Ok(match work {
            Change::Edit { content, client_id: name } => {
                may_post(connection, &content, client_id)?;
                let Changed { seq, .. } = chat.edit(&room, &by, message_id, content, name).await?;
                Said::Edited { req, chat_id, message_id, seq, client_id }
            }
            Change::Delete => {
                may_write(connection)?;
                let Changed { seq, .. } = chat.delete(&room, &by, message_id).await?;
                Said::Deleted { req, chat_id, message_id, seq, client_id }
            }
        })
    };
    match done.await {
        Ok(said) => connection.send(&said),
        Err(refusal) => connection.send(&Refusal::said(&refusal, req, client_id)),
    }
}

/// A post to a room that the user is in.
fn post_in(
    connection: &Arc<Connection>,
    req: Option<&RawValue>,
    room: &Arc<Room>,
    content: String,
    client_id: Option<Arc<str>>,
) {
    if let Err(refusal) = may_post(connection, &content, client_id.as_deref()) {
        return connection.send(&refusal.said(req, client_id.as_deref()));
    }
    if !begin_post(connection) {
        return;
    }
    let (asker, req, id, chat_id) = (connection.clone(), req.map(RawValue::to_owned), client_id.clone(), room.id);
    let reply = Reply::new(move |result| {
        let (req, client_id) = (req.as_deref(), id.as_deref());
        match result {
            Ok(Posted { message_id, seq, sent_at, duplicate, deleted }) => {
                let deleted = deleted.then_some(true);
                asker.answer(Some(&Said::Posted {
                    req,
                    chat_id,
                    client_id,
                    message_id,
                    seq,
                    sent_at,
                    duplicate,
                    deleted,
                }));
            }
            Err(error) => asker.answer(Some(&Refusal::from(error).said(req, client_id))),
        }
    });
    submit(connection, room, content, client_id, reply);
}

/// Counts a post as in flight. `false`: the connection is over, and what it asks counts no more.
fn begin_post(connection: &Connection) -> bool {
    let mut state = connection.state();
    if state.is_over() {
        return false;
    }
    state.in_flight += 1;
    let full = state.in_flight as usize == connection.shared().config.sockets.in_flight;
    drop(state);
    if full {
        connection.shared().metrics.bound_hit("sockets.in_flight");
    }
    true
}

fn may_post(connection: &Connection, content: &str, client_id: Option<&str>) -> Result<(), Refusal> {
    let shared = connection.shared();
    shared.chat.check_post(content, client_id).map_err(|error| match connection.mode {
        Mode::AllRooms => error,
        Mode::OneRoom => error.naming_message(),
    })?;
    may_write(connection)
}

fn may_write(connection: &Connection) -> Result<(), Refusal> {
    connection.shared().limiters.post(connection.user).map_err(|wait| Refusal {
        code: "rate_limited",
        detail: "You post faster than limits.posts_per_sec allows; send it again a little later.".into(),
        retry_after: Some(wait.secs),
    })
}

fn submit(connection: &Connection, room: &Arc<Room>, content: String, client_id: Option<Arc<str>>, reply: Reply) {
    let by = Actor { user: connection.user, username: connection.username.clone() };
    connection.shared().chat.submit(room, by, Work::Post { content, client_id }, reply);
}

/// A post on a one-room socket: nothing is answered but the message itself. What is refused is counted; what could not
/// be stored closes the socket, so that its client knows.
fn one_room(connection: &Arc<Connection>, text: &str) -> bool {
    let room = connection.state().outbox.first_room().cloned();
    let Some(room) = room else { return false };
    let asked = frames::parse_one_room(text).map_err(Refusal::from).and_then(|(content, client_id)| {
        may_post(connection, &content, client_id.as_deref())?;
        Ok((content, client_id))
    });
    let (content, client_id) = match asked {
        Ok(asked) => asked,
        Err(Refusal { retry_after: Some(_), .. }) => {
            connection.close(Close::PostRate);
            return false;
        }
        Err(refusal) => return count_bad_frame(connection, &refusal.detail),
    };
    if !begin_post(connection) {
        return false;
    }
    let asker = connection.clone();
    let reply = Reply::new(move |result| {
        match result {
            Ok(_) => {}
            Err(ChatError::Busy(_) | ChatError::Store(_)) => asker.close(Close::NotStored),
            Err(error) => drop(count_bad_frame(&asker, &error.to_string())),
        }
        asker.answer(None);
    });
    submit(connection, &room, content, client_id.map(Arc::from), reply);
    true
}
