//! The one writer of a room: it takes what is pending as a batch, makes it durable, and only then lets anyone see it.
//!
//! While a commit is in flight the next batch gathers; that is the whole of group commit. A batch is a run of posts, or
//! one change of the room alone, so that whoever comes after a change is judged by it. An append whose outcome is unknown is
//! settled by reading the log back: what stands there is acknowledged, and nothing is written twice.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Deserialize;

use super::{
    Chat, ChatError, Result,
    encode::{advance_of_stored, encode},
    room::{Advance, Live, Room},
    rules::{REUSED, check},
    work::{Actor, Item, Pending, Posted, Reply, Work},
};
use crate::{
    bus::Hint,
    store::{Appended, Effect, NewEvent, Page, Stopped, StoreError, StoredEvent},
    types::{MessageId, RoomKind, Seq, Timestamp},
};

const SETTLE_FIRST_WAIT: Duration = Duration::from_millis(50);
const SETTLE_LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Events read at once while catching up with the log.
const CATCH_UP_PAGE: usize = 500;

impl Chat {
    /// Queues work for the room's writer and starts it where none runs. Work of one caller keeps its order.
    pub(crate) fn submit(self: &Arc<Self>, room: &Arc<Room>, by: Actor, work: Work, reply: Reply) {
        let until = Instant::now() + Duration::from_secs(self.config.rooms.post_secs);
        let refused = {
            let mut live = room.live.lock();
            if live.pending.len() >= self.config.rooms.pending_posts {
                Some(reply)
            } else {
                live.pending.push_back(Pending { by, work, reply, until });
                self.metrics.pending_posts.inc();
                if !live.writing {
                    live.writing = true;
                    tokio::spawn(write(self.clone(), room.clone()));
                }
                None
            }
        };
        if let Some(reply) = refused {
            self.metrics.bound_hit("rooms.pending_posts");
            reply.send(Err(ChatError::Busy("rooms.pending_posts")));
        }
    }

    /// Reads what the log has beyond what the room knows, and shows it.
    pub(super) async fn catch_up(&self, room: &Arc<Room>) -> Result<usize, StoreError> {
        let mut read = 0;
        loop {
            let page = Page { after: Some(room.head()), before: None, limit: CATCH_UP_PAGE, messages_only: false };
            let events = self.store.events(room.id, page).await?;
            let count = events.len();
            room.advance(events.into_iter().map(advance_of_stored).collect()).await;
            read += count;
            if count < CATCH_UP_PAGE {
                return Ok(read);
            }
        }
    }
}

/// Runs while there is work; the room starts the next one.
async fn write(chat: Arc<Chat>, room: Arc<Room>) {
    let _guard = WriterGuard { chat: &chat, room: &room };
    loop {
        let (items, refused) = {
            let mut live = room.live.lock();
            let before = live.pending.len();
            let taken = take_batch(&mut live, room.kind, &chat);
            chat.metrics.pending_posts.dec_by((before - live.pending.len()) as i64);
            if taken.0.is_empty() && taken.1.is_empty() {
                live.writing = false;
                return;
            }
            taken
        };
        for (reply, error) in refused {
            reply.send(Err(error));
        }
        if !items.is_empty() {
            commit(&chat, &room, items).await;
        }
    }
}

/// A writer that panics must not leave the room believing that one still runs, nor anyone waiting.
struct WriterGuard<'a> {
    chat: &'a Arc<Chat>,
    room: &'a Arc<Room>,
}

impl Drop for WriterGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut live = self.room.live.lock();
            live.doubtful = true;
            live.writing = false;
            let abandoned = std::mem::take(&mut live.pending);
            drop(live);
            self.chat.metrics.pending_posts.dec_by(abandoned.len() as i64);
        }
    }
}

type Refused = Vec<(Reply, ChatError)>;

fn take_batch(live: &mut Live, kind: RoomKind, chat: &Chat) -> (VecDeque<Item>, Refused) {
    let (mut items, mut refused) = (VecDeque::<Item>::new(), Vec::new());
    let mut by_client_id = HashMap::new();
    let now = Instant::now();
    while items.len() < chat.config.rooms.batch_events {
        let Some(next) = live.pending.front() else { break };
        let alone = !matches!(next.work, Work::Post { .. });
        if alone && !items.is_empty() {
            break;
        }
        let Some(Pending { by, work, reply, until }) = live.pending.pop_front() else { break };
        if until < now {
            refused.push((reply, ChatError::Busy("rooms.post_secs")));
        } else if let Err(error) = check(live, kind, &by, &work, chat) {
            refused.push((reply, error));
        } else if let Work::Post { client_id: Some(id), content } = &work
            && let Some(&at) = by_client_id.get(&(by.user, id.clone()))
        {
            let first: &mut Item = &mut items[at];
            if matches!(&first.work, Work::Post { content: theirs, .. } if theirs == content) {
                first.replies.push(reply);
            } else {
                refused.push((reply, REUSED));
            }
        } else {
            if let Work::Post { client_id: Some(id), .. } = &work {
                by_client_id.insert((by.user, id.clone()), items.len());
            }
            items.push_back(Item { by, work, replies: vec![reply], event_id: MessageId::fresh() });
            if alone {
                break;
            }
        }
    }
    (items, refused)
}

async fn commit(chat: &Arc<Chat>, room: &Arc<Room>, mut items: VecDeque<Item>) {
    let give_up = Instant::now() + Duration::from_secs(chat.config.rooms.post_secs);
    let mut wait = SETTLE_FIRST_WAIT;
    while !items.is_empty() {
        let tried = try_commit(chat, room, &mut items).await;
        let Err(error) = tried else { continue };
        let worth_waiting = matches!(error, ChatError::Store(StoreError::Unavailable(_)));
        if !worth_waiting || Instant::now() + wait > give_up {
            fail(items, error);
            return;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(SETTLE_LONGEST_WAIT);
    }
}

/// One append and what follows from it. What is settled leaves `items`; the rest may be tried again after `Ok`, and after
/// an error whose outcome is unknown.
async fn try_commit(chat: &Arc<Chat>, room: &Arc<Room>, items: &mut VecDeque<Item>) -> Result<()> {
    if room.live.lock().doubtful {
        settle(chat, room, items).await?;
    }
    let encoded = encode(room, items);
    if encoded.is_empty() {
        return Ok(());
    }
    let (events, advances): (Vec<NewEvent>, Vec<Advance>) = encoded.into_iter().unzip();
    let count = events.len();
    let started = Instant::now();
    let appended = chat.store.append(room.id, events).await;
    chat.metrics.append_seconds.observe(started.elapsed().as_secs_f64());
    let Appended { stored, stopped } = match appended {
        Ok(appended) => appended,
        Err(StoreError::Unavailable(why)) => {
            room.live.lock().doubtful = true;
            return Err(StoreError::Unavailable(why).into());
        }
        Err(error) => return Err(error.into()),
    };
    chat.metrics.batch_events.observe(stored as f64);
    show(chat, room, items, advances.into_iter().take(stored).collect()).await;
    match stopped {
        None if stored == count => Ok(()),
        Some(Stopped::Duplicate(original)) => {
            answer_duplicate(chat, items.pop_front(), &original);
            Ok(())
        }
        Some(Stopped::NoSuchRoom) => Err(ChatError::NoSuchRoom),
        None | Some(Stopped::SeqTaken) => {
            if chat.catch_up(room).await? == 0 {
                return Err(StoreError::Damaged(format!("the log of room {} does not end at its head", room.id)).into());
            }
            recheck(chat, room, items);
            Ok(())
        }
    }
}

/// Reads the log after an append of unknown outcome: acknowledges what of `items` stands there.
async fn settle(chat: &Arc<Chat>, room: &Arc<Room>, items: &mut VecDeque<Item>) -> Result<()> {
    let page =
        Page { after: Some(room.head()), before: None, limit: CATCH_UP_PAGE.max(items.len()), messages_only: false };
    let found = chat.store.events(room.id, page).await?;
    for event in found {
        let mine = items.front().is_some_and(|item| event.event_id == item.event_id);
        let advance = advance_of_stored(event);
        if mine {
            show(chat, room, items, vec![advance]).await;
        } else {
            room.advance(vec![advance]).await;
        }
    }
    chat.catch_up(room).await?;
    room.live.lock().doubtful = false;
    recheck(chat, room, items);
    Ok(())
}

/// Lets everyone see what is durable now, and answers those who asked for it: the first of `items`, in order.
async fn show(chat: &Arc<Chat>, room: &Arc<Room>, items: &mut VecDeque<Item>, advances: Vec<Advance>) {
    if advances.is_empty() {
        return;
    }
    let stored: Vec<(Seq, Timestamp, Effect)> =
        advances.iter().map(|advance| (advance.seq, advance.sent_at, advance.effect.clone())).collect();
    room.advance(advances).await;
    for (seq, sent_at, effect) in stored {
        let Some(item) = items.pop_front() else { break };
        if effect == Effect::Message {
            chat.metrics.posts.inc();
        }
        match effect {
            Effect::Joined { user, .. } => {
                chat.bus.publish(Hint::MembershipChanged { room: room.id, user, added: true })
            }
            Effect::Gone { user } => chat.bus.publish(Hint::MembershipChanged { room: room.id, user, added: false }),
            Effect::Message | Effect::RoleSet { .. } | Effect::Renamed { .. } => {}
        }
        for (i, reply) in item.replies.into_iter().enumerate() {
            reply.send(Ok(Posted { message_id: item.event_id, seq, sent_at, duplicate: i > 0 }));
        }
    }
    chat.bus.publish(Hint::RoomAdvanced { room: room.id, head: room.head() });
}

fn answer_duplicate(chat: &Chat, item: Option<Item>, original: &StoredEvent) {
    let Some(Item { work: Work::Post { content, .. }, replies, .. }) = item else { return };
    #[derive(Deserialize)]
    struct Content {
        content: String,
    }
    let same = serde_json::from_slice::<Content>(&original.body).is_ok_and(|theirs| theirs.content == content);
    for reply in replies {
        if same {
            chat.metrics.duplicate_posts.inc();
        }
        let posted =
            Posted { message_id: original.event_id, seq: original.seq, sent_at: original.sent_at, duplicate: true };
        reply.send(if same { Ok(posted) } else { Err(REUSED) });
    }
}

/// Judges again what is left after the room changed under it.
fn recheck(chat: &Chat, room: &Arc<Room>, items: &mut VecDeque<Item>) {
    let mut refused = Vec::new();
    {
        let live = room.live.lock();
        let all = std::mem::take(items);
        for item in all {
            match check(&live, room.kind, &item.by, &item.work, chat) {
                Ok(()) => items.push_back(item),
                Err(error) => refused.push((item, error)),
            }
        }
    }
    for (item, error) in refused {
        fail(VecDeque::from([item]), error);
    }
}

fn fail(items: VecDeque<Item>, error: ChatError) {
    tracing::debug!(%error, events = items.len(), "a batch was refused");
    for item in items {
        for reply in item.replies {
            reply.send(Err(error.clone()));
        }
    }
}
