//! Telling what is new in a room: to everybody who follows it, to those who asked for it, and to other nodes.
//!
//! It comes after the room's writer has handed its next batch to the store, so that the store need not wait for it. One tells at a
//! time, and takes what others bring meanwhile: so acknowledgements keep the order of the log.

use std::{collections::VecDeque, sync::Arc};

use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{
    Chat,
    room::Room,
    rules::REUSED,
    work::{Answers, Item, News, Posted},
};
use crate::{
    bus::Hint,
    event::{Event, Kind},
    turn,
};

/// The right to tell what is new in a room: everybody hears it in the order of the log. Somebody has it as long as `desk.telling`.
pub(super) struct Telling {
    chat: Arc<Chat>,
    room: Arc<Room>,
    /// To a task of its own, which may never run where the runtime ends.
    handed_on: bool,
    /// The end waits for it.
    _at_work: TaskTrackerToken,
}

impl Telling {
    /// Puts news in line; `None`: somebody else tells them.
    pub fn begin(chat: &Arc<Chat>, room: &Arc<Room>, news: News) -> Option<Self> {
        let mut live = room.live.lock();
        live.desk.news.push_back(news);
        let begins = !std::mem::replace(&mut live.desk.telling, true);
        begins.then(|| Self {
            chat: chat.clone(),
            room: room.clone(),
            handed_on: false,
            _at_work: chat.at_work.token(),
        })
    }

    /// Tells what is first in line.
    pub fn tell(mut self) {
        self.handed_on = false;
        let news = self.room.live.lock().desk.news.pop_front();
        news.into_iter().for_each(|news| self.tell_one(news));
    }

    fn tell_one(&self, news: News) {
        let Self { chat, room, .. } = self;
        match news {
            News::Stored { items, events } => {
                chat.show(room, &events);
                for (item, event) in items.into_iter().zip(&*events) {
                    acknowledge(chat, room, item, event);
                }
                if chat.store.shared().is_some() {
                    publish(chat, room, &events);
                }
            }
            News::Answers(answers) => answers.into_iter().for_each(|(reply, answer)| reply.send(answer)),
        }
    }
}

impl Drop for Telling {
    /// However it ended, the rest is told, in a turn of its own, since sockets are written to at the end of one.
    fn drop(&mut self) {
        let (goes_on, given_up) = {
            let mut live = self.room.live.lock();
            let given_up = if self.handed_on { std::mem::take(&mut live.desk.news) } else { VecDeque::new() };
            live.desk.telling = !live.desk.news.is_empty();
            (live.desk.telling, given_up)
        };
        self.room.burst_taken.notify_waiters();
        // Whoever waits for an answer hears that nobody knows.
        drop(given_up);
        if goes_on {
            let (chat, room) = (self.chat.clone(), self.room.clone());
            let next = Self { handed_on: true, _at_work: chat.at_work.token(), chat, room };
            drop(tokio::spawn(async move { turn::take(|| next.tell()) }));
        }
    }
}

/// The other nodes get the events along with the hint.
fn publish(chat: &Chat, room: &Room, events: &[Event]) {
    let Some(head) = events.last().map(|last| last.seq) else { return };
    room.live.lock().inbox.lost_races = 0;
    let events = if chat.bus.has_others() { events.to_vec() } else { Vec::new() };
    chat.bus.publish(Hint::RoomAdvanced { room: room.id, head, events });
}

/// Tells whoever must know that an item is in the log now.
fn acknowledge(chat: &Chat, room: &Room, item: Item, event: &Event) {
    let (seq, sent_at) = (event.seq, event.sent_at);
    match event.kind {
        Kind::Message => drop(chat.metrics.posts.inc()),
        Kind::Edited { .. } => drop(chat.metrics.edits.inc()),
        Kind::Deleted { .. } => drop(chat.metrics.deletions.inc()),
        _ => {}
    }
    if let Some((user, added)) = event.kind.moved() {
        chat.bus.publish(Hint::MembershipChanged { room: room.id, user, seq, added });
    }
    if let Kind::Invited { user, .. } = event.kind {
        chat.bus.publish(Hint::Invited { room: room.id, user });
    }
    let message_id = item.event_id;
    for (i, reply) in item.replies().enumerate() {
        if i > 0 {
            chat.metrics.duplicate_posts.inc();
        }
        reply.send(Ok(Posted { message_id, seq, sent_at, duplicate: i > 0, deleted: false }));
    }
}

/// What is told of an item whose `client_id` the log has as this event.
pub(super) fn repeated(chat: &Chat, item: Item, original: &Event) -> Answers {
    let Some(content) = item.work.content() else { return Answers::new() };
    // What was said is not known any more where it is erased: then it counts as the same.
    let deleted = original.is_erased();
    let same = original.kind.target() == item.work.target()
        && (deleted || original.content().is_some_and(|theirs| theirs == *content));
    let (message_id, seq, sent_at) = (original.event_id, original.seq, original.sent_at);
    let posted = Posted { message_id, seq, sent_at, duplicate: true, deleted };
    let told = |reply| {
        if same {
            chat.metrics.duplicate_posts.inc();
        }
        (reply, if same { Ok(posted) } else { Err(REUSED) })
    };
    item.replies().map(told).collect()
}

/// Answers after what was stored before.
pub(super) fn answer(chat: &Arc<Chat>, room: &Arc<Room>, answers: Answers) {
    if !answers.is_empty() {
        Telling::begin(chat, room, News::Answers(answers)).into_iter().for_each(Telling::tell);
    }
}
