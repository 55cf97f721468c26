//! What comes of a client's frames.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::value::RawValue;

use super::{
    close::Close,
    connection::{Connection, Mode},
    frames::{self, BadFrame, Command, Since},
    outbox::Subscription,
    reader::Heard,
};
use crate::{
    chat::{
        Caller, Chat, ChatError,
        room::{Room, Subscriber},
        work::{Actor, Posted, Reply, Work},
    },
    protocol::{Frame, Limits, Refused, Said, Subscribed},
    types::{RoomId, Seq, Timestamp},
};

const ROOMS_PAGE: usize = 500;

/// A refusal on its way to the client.
struct Refusal {
    code: &'static str,
    detail: String,
    retry_after: Option<u64>,
}

impl From<BadFrame> for Refusal {
    fn from(bad: BadFrame) -> Self {
        Self { code: bad.code, detail: bad.detail, retry_after: None }
    }
}

impl From<ChatError> for Refusal {
    fn from(error: ChatError) -> Self {
        Self { code: error.code(), retry_after: error.retry_after_secs(), detail: error.to_string() }
    }
}

/// Before anything else: is the login still good now that this connection can be found to be revoked, and the welcome.
/// `false`: the connection is closing.
pub(super) async fn greet(connection: &Arc<Connection>, caller: &Caller, connection_id: &str) -> bool {
    let app = &connection.app;
    if !still_good(connection, caller).await {
        return false;
    }
    if connection.mode != Mode::AllRooms {
        return true;
    }
    let (limits, sockets) = (&app.config.limits, &app.config.sockets);
    let expires_at = connection.state().expires_at;
    connection.send(&Frame::json(&Said::Welcome {
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
    }));
    true
}

/// A hint that ended the login before this connection could hear it is made up for. `false`: the connection is closing.
async fn still_good(connection: &Connection, caller: &Caller) -> bool {
    match connection.app.chat.validate_again(caller).await {
        Ok(()) => true,
        Err(ChatError::InvalidToken) => {
            connection.close(Close::LoginEnded);
            false
        }
        Err(error) => {
            tracing::debug!(%error, "a login could not be looked at again; what was known of it stands");
            true
        }
    }
}

/// Serves what a read gave, in order, then closes where the client said so or broke the protocol.
pub(super) async fn serve(connection: Arc<Connection>, heard: Heard) {
    for text in heard.texts {
        if connection.state().is_over() {
            return;
        }
        let going_on = match connection.mode {
            Mode::AllRooms => all_rooms(&connection, &text).await,
            Mode::OneRoom(room) => one_room(&connection, room, &text).await,
        };
        if !going_on {
            return;
        }
    }
    match heard.close {
        None if heard.answers.is_empty() => {}
        None => connection.send_bytes(heard.answers.into()),
        Some(Close::Asked(_)) => connection.close_asked(heard.answers),
        Some(why) => connection.close(why),
    }
}

/// `false`: these frames are more than `limits.frames_per_sec` allows.
pub(super) fn admit(connection: &Connection, frames: u32) -> bool {
    let app = &connection.app;
    app.metrics.frames_received.inc_by(frames.into());
    let limits = &app.config.limits;
    if limits.rates == crate::config::Rates::Off {
        return true;
    }
    let now = app.sockets.now();
    let admitted = connection.state().frames.admit(frames, now, limits.frames_per_sec, limits.frames_burst);
    if !admitted {
        app.metrics.bound_hit("limits.frames_per_sec");
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
        connection.send(&refused(req, &refusal, None));
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
    if bad < connection.app.config.sockets.bad_frames {
        return true;
    }
    connection.app.metrics.bound_hit("sockets.bad_frames");
    connection.close_with(Close::BadFrames, reason);
    false
}

fn refused(req: Option<&RawValue>, refusal: &Refusal, client_id: Option<&str>) -> Frame {
    let Refusal { code, detail, retry_after } = refusal;
    Frame::json(&Said::Error { req, code, detail, client_id, retry_after: *retry_after })
}

async fn carry_out(connection: &Arc<Connection>, req: Option<&RawValue>, command: Command) -> Result<(), Refusal> {
    let chat = &connection.app.chat;
    match command {
        Command::Ping => connection.send(&Frame::json(&Said::Pong { req })),
        Command::Auth { token } => return authenticate(connection, req, &token).await,
        Command::Subscribe { chats, all } => return subscribe(connection, req, chats, all).await,
        Command::Unsubscribe { chats } => {
            chats.iter().filter_map(|id| RoomId::parse(id)).for_each(|id| unsubscribe(connection, id));
            connection.send(&Frame::json(&Said::Unsubscribed { req }));
        }
        Command::Post { chat_id, content, client_id } => {
            if let Err(refusal) = post(connection, req, &chat_id, content, client_id.clone()).await {
                connection.send(&refused(req, &refusal, client_id.as_deref()));
            }
        }
        Command::Read { chat_id, seq } => {
            let room = room_of(connection, &chat_id).await?;
            chat.mark_read(&room, connection.user, seq).await?;
            ok(connection, req);
        }
        Command::Typing { chat_id } => {
            let room = room_of(connection, &chat_id).await?;
            if !room.role_of(connection.user).is_some_and(|role| role.may_post()) {
                return Err(ChatError::Forbidden("Readers cannot post in this chat.").into());
            }
            typing(connection, &room);
            ok(connection, req);
        }
    }
    Ok(())
}

fn ok(connection: &Connection, req: Option<&RawValue>) {
    if req.is_some() {
        connection.send(&Frame::json(&Said::Ok { req }));
    }
}

/// The room by its id, where the user is a member.
async fn room_of(connection: &Connection, id: &str) -> Result<Arc<Room>, ChatError> {
    let id = RoomId::parse(id).ok_or(ChatError::NoSuchRoom)?;
    let followed = connection.state().outbox.room(id).cloned();
    let room = match followed {
        Some(room) => room,
        None => connection.app.chat.find_room(id).await?,
    };
    if room.role_of(connection.user).is_none() {
        return Err(ChatError::NoSuchRoom);
    }
    Ok(room)
}

/// One `typing` in `presence.typing_millis` is passed on, for each room.
fn typing(connection: &Connection, room: &Arc<Room>) {
    let app = &connection.app;
    let now = app.sockets.now_millis();
    let due = {
        let mut state = connection.state();
        let slot = state.outbox.slot_of(room.id);
        match slot.and_then(|slot| state.outbox.get(slot)) {
            Some(subscription) => {
                let last = subscription.typed_at.replace(now);
                last.is_none_or(|last| u64::from(now.wrapping_sub(last)) >= app.config.presence.typing_millis)
            }
            None => false,
        }
    };
    if due {
        app.chat.typing(room, connection.user);
    }
}

async fn authenticate(connection: &Arc<Connection>, req: Option<&RawValue>, token: &str) -> Result<(), Refusal> {
    let app = &connection.app;
    let refusal = |code, detail: &str| Refusal { code, detail: detail.to_owned(), retry_after: None };
    let claims = app.tokens.check(token).map_err(|error| refusal(error.code(), &error.to_string()))?;
    let caller = app.chat.validate(&claims).await?;
    if caller.user_id != connection.user {
        return Err(refusal("invalid_token", "This socket belongs to somebody else; open another for this token."));
    }
    {
        let mut state = connection.state();
        state.session = caller.session_id;
        state.expires_at = caller.expires_at;
    }
    if !still_good(connection, &caller).await {
        return Ok(());
    }
    connection.send(&Frame::json(&Said::Authed { req, expires_at: Timestamp(caller.expires_at * 1000) }));
    Ok(())
}

async fn post(
    connection: &Arc<Connection>,
    req: Option<&RawValue>,
    chat_id: &str,
    content: String,
    client_id: Option<String>,
) -> Result<(), Refusal> {
    let room = room_of(connection, chat_id).await?;
    may_post(connection, &content, client_id.as_deref())?;
    if !begin_post(connection) {
        return Ok(());
    }
    let (asker, req, id, chat_id) = (connection.clone(), req.map(RawValue::to_owned), client_id.clone(), room.id);
    let reply = Reply::new(move |result| {
        let frame = match result {
            Ok(Posted { message_id, seq, sent_at, duplicate }) => Frame::json(&Said::Posted {
                req: req.as_deref(),
                chat_id,
                client_id: id.as_deref(),
                message_id,
                seq,
                sent_at,
                duplicate,
            }),
            Err(error) => refused(req.as_deref(), &error.into(), id.as_deref()),
        };
        asker.answer(Some(&frame));
    });
    submit(connection, &room, content, client_id, reply);
    Ok(())
}

/// Counts a post as in flight. `false`: the connection is over, and what it asks counts no more.
fn begin_post(connection: &Connection) -> bool {
    let mut state = connection.state();
    if state.is_over() {
        return false;
    }
    state.in_flight += 1;
    true
}

fn may_post(connection: &Connection, content: &str, client_id: Option<&str>) -> Result<(), Refusal> {
    let app = &connection.app;
    app.chat.check_post(content, client_id)?;
    app.limiters.post(connection.user).map_err(|wait| Refusal {
        code: "rate_limited",
        detail: "You post faster than limits.posts_per_sec allows; send it again a little later.".into(),
        retry_after: Some(wait.secs),
    })
}

fn submit(connection: &Connection, room: &Arc<Room>, content: String, client_id: Option<String>, reply: Reply) {
    let by = Actor { user: connection.user, username: connection.username.clone() };
    connection.app.chat.submit(room, by, Work::Post { content, client_id }, reply);
}

/// A post on a one-room socket: nothing is answered but the message itself. What is refused is counted; what could not
/// be stored closes the socket, so that its client knows.
async fn one_room(connection: &Arc<Connection>, room: RoomId, text: &str) -> bool {
    let room = connection.state().outbox.room(room).cloned();
    let Some(room) = room else { return false };
    let asked = frames::parse_one_room(text).map_err(Refusal::from).and_then(|(content, client_id)| {
        may_post(connection, &content, client_id.as_deref())?;
        Ok((content, client_id))
    });
    let (content, client_id) = match asked {
        Ok(asked) => asked,
        Err(Refusal { retry_after: Some(_), .. }) => {
            connection.close(Close::RateLimit);
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
    submit(connection, &room, content, client_id, reply);
    true
}

/// Where a subscription begins: at the cursor the client gave, or at the head where that is worth nothing here.
fn start(room: &Room, head: Seq, since: Option<&Since>) -> (Seq, bool) {
    match since {
        None => (head, true),
        Some(Since { epoch: Some(epoch), .. }) if *epoch != room.epoch => (head, false),
        Some(Since { seq, .. }) if *seq > head => (head, false),
        Some(Since { seq, .. }) => (*seq, true),
    }
}

/// What a subscription began with.
pub(super) struct Begun {
    room: Arc<Room>,
    slot: u32,
    head: Seq,
    since: Seq,
    lossless: bool,
}

/// Follows a room, held back until [`release`]: the answer must go out before the first event.
pub(super) fn begin(connection: &Arc<Connection>, room: Arc<Room>, since: Option<&Since>) -> Result<Begun, ChatError> {
    unsubscribe(connection, room.id);
    let app = &connection.app;
    let mut state = connection.state();
    if state.is_over() {
        return Err(ChatError::InvalidToken);
    }
    if state.outbox.subscription_count() >= app.config.sockets.subscriptions {
        app.metrics.bound_hit("sockets.subscriptions");
        return Err(ChatError::Conflict("This socket follows as many chats as it may (sockets.subscriptions)."));
    }
    let slot = state.outbox.vacant_slot();
    let subscriber: Arc<dyn Subscriber> = connection.clone();
    let joined = room.subscribe(subscriber, slot)?;
    app.metrics.subscriptions.inc();
    let (cursor, lossless) = start(&room, joined.head, since);
    state.outbox.insert(Subscription::new(room.clone(), joined.key, cursor));
    Ok(Begun { room, slot, head: joined.head, since: cursor, lossless })
}

/// Lets events flow, after `answer`.
pub(super) fn release(connection: &Connection, answer: Option<&Frame>, begun: &[Begun]) {
    let mut state = connection.state();
    if state.is_over() {
        return;
    }
    if let Some(answer) = answer {
        state.outbox.push(answer.bytes().clone());
    }
    for one in begun {
        if let Some(subscription) = state.outbox.get(one.slot).filter(|s| s.room.id == one.room.id) {
            subscription.held = false;
            state.outbox.wait(one.slot);
        }
    }
    drop(state);
    connection.wake();
}

async fn subscribe(
    connection: &Arc<Connection>,
    req: Option<&RawValue>,
    mut chats: BTreeMap<String, Option<Since>>,
    all: bool,
) -> Result<(), Refusal> {
    let chat = connection.app.chat.clone();
    if all {
        chats = every_room(&chat, connection, chats).await?;
    }
    let (mut begun, mut errors) = (Vec::new(), BTreeMap::new());
    for (id, since) in &chats {
        let found = match RoomId::parse(id) {
            Some(id) => chat.find_room(id).await,
            None => Err(ChatError::NoSuchRoom),
        };
        match found.and_then(|room| begin(connection, room, since.as_ref())) {
            Ok(one) => begun.push(one),
            Err(error) => {
                errors.insert(id.as_str(), error);
            }
        }
    }
    if begun.is_empty()
        && let Some((_, error)) = errors.pop_first()
    {
        return Err(error.into());
    }
    let refused = |error: ChatError| Refused { code: error.code(), detail: error.to_string() };
    let answer = Frame::json(&Said::Subscribed {
        req,
        chats: begun
            .iter()
            .map(|one| {
                let Begun { head, since, lossless, .. } = *one;
                (one.room.id, Subscribed { head, since, epoch: &one.room.epoch, lossless })
            })
            .collect(),
        errors: errors.into_iter().map(|(id, error)| (id, refused(error))).collect(),
    });
    release(connection, Some(&answer), &begun);
    if connection.app.config.presence.enabled {
        for one in &begun {
            connection.notice(&chat.presence_of(&one.room), false);
            if connection.state().outbox.queued_bytes() > connection.app.config.sockets.write_bytes {
                // Let the task write: a client that follows many rooms must not lose what it has room for.
                tokio::task::yield_now().await;
            }
        }
    }
    Ok(())
}

/// All rooms of the user, each with the cursor that was given for it.
async fn every_room(
    chat: &Chat,
    connection: &Connection,
    mut since: BTreeMap<String, Option<Since>>,
) -> Result<BTreeMap<String, Option<Since>>, ChatError> {
    let most = connection.app.config.sockets.subscriptions;
    let mut rooms = BTreeMap::new();
    let mut after = None;
    loop {
        let page = chat.store.room_ids_of(connection.user, after, ROOMS_PAGE).await?;
        after = page.last().copied();
        let last = page.len() < ROOMS_PAGE;
        for id in page {
            let id = id.to_string();
            let since = since.remove(&id).flatten();
            rooms.insert(id, since);
        }
        if rooms.len() > most {
            connection.app.metrics.bound_hit("sockets.subscriptions");
            let detail = "You are in more chats than one socket may follow (sockets.subscriptions); name them.";
            return Err(ChatError::Conflict(detail));
        }
        if last {
            return Ok(rooms);
        }
    }
}

fn unsubscribe(connection: &Connection, id: RoomId) {
    let removed = {
        let mut state = connection.state();
        let slot = state.outbox.slot_of(id);
        slot.and_then(|slot| state.outbox.remove(slot).map(|subscription| (slot, subscription)))
    };
    if let Some((slot, subscription)) = removed {
        connection.app.metrics.subscriptions.dec();
        subscription.room.unsubscribe(subscription.key, connection.address(), slot);
    }
}
