//! Beginning and ending to follow rooms: the answer first, then every event after the cursor, then live ones.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::value::RawValue;

use super::{connection::Connection, frames::Since, refusal::Refusal, subscriptions::Subscription};
use crate::{
    chat::{Chat, ChatError, room::Room, subscriber::Subscriber},
    protocol::{Frame, Refused, Said, Subscribed},
    types::{RoomId, Seq},
};

const ROOMS_PAGE: usize = 500;

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
    let shared = connection.shared();
    let mut state = connection.state();
    if state.is_over() {
        return Err(ChatError::InvalidToken);
    }
    if state.outbox.subscription_count() >= shared.config.sockets.subscriptions {
        shared.metrics.bound_hit("sockets.subscriptions");
        return Err(ChatError::Conflict("This socket follows as many chats as it may (sockets.subscriptions)."));
    }
    let slot = state.outbox.vacant_slot();
    let subscriber: Arc<dyn Subscriber> = connection.clone();
    let joined = room.subscribe(subscriber, slot)?;
    shared.metrics.subscriptions.inc();
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
        state.outbox.put(answer.bytes());
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

pub(super) async fn subscribe(
    connection: &Arc<Connection>,
    req: Option<&RawValue>,
    mut chats: BTreeMap<String, Option<Since>>,
    all: bool,
) -> Result<(), Refusal> {
    let (shared, user) = (connection.shared(), connection.user);
    let chat = shared.chat.clone();
    // Over all sockets of a user one at a time: others wait for the machine no longer, however many there are.
    let _turn = shared.subscribing.turn_of(user).await;
    if connection.state().is_over() {
        return Ok(());
    }
    shared.limiters.look_up(user, chats.len().max(1)).map_err(Refusal::too_often)?;
    if all {
        chats = every_room(&chat, connection, chats).await?;
        shared.limiters.listed(user, chats.len());
    }
    let (mut begun, mut errors) = (Vec::new(), BTreeMap::new());
    for (id, since) in &chats {
        let found = match RoomId::parse(id) {
            Some(id) => chat.find_room(id).await,
            None => Err(ChatError::NoSuchRoom),
        };
        if let Ok(room) = &found {
            chat.make_sure(room, connection.user, since.as_ref().map(|since| since.seq)).await;
        }
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
    if all {
        // Not before: a room that is about to be followed is not one that is missed.
        connection.state().follows_all = true;
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
    if connection.shared().config.presence.enabled {
        for one in &begun {
            connection.notice(&chat.presence_of(&one.room, connection.user), false);
            if connection.state().outbox.queued_bytes() > connection.shared().config.sockets.write_bytes {
                // Let its poller write: a client that follows many rooms must not lose what it has room for.
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
    let most = connection.shared().config.sockets.subscriptions;
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
            connection.shared().metrics.bound_hit("sockets.subscriptions");
            let detail = "You are in more chats than one socket may follow (sockets.subscriptions); name them.";
            return Err(ChatError::Conflict(detail));
        }
        if last {
            return Ok(rooms);
        }
    }
}

/// Because the client asked for it: it knows the room, and is not told of it again.
pub(super) fn let_go(connection: &Connection, id: RoomId) {
    if unsubscribe(connection, id) {
        connection.shared().chat.knows_of(id, connection.user);
    }
}

/// `false`: it was not followed.
fn unsubscribe(connection: &Connection, id: RoomId) -> bool {
    let removed = {
        let mut state = connection.state();
        let slot = state.outbox.slot_of(id);
        slot.and_then(|slot| state.outbox.remove(slot).map(|subscription| (slot, subscription)))
    };
    let Some((slot, subscription)) = removed else { return false };
    connection.shared().metrics.subscriptions.dec();
    subscription.room.unsubscribe(subscription.key, connection.id(), slot);
    true
}
