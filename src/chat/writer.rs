//! The one writer of a room: it takes what is pending as a batch, makes it durable, and only then lets anyone see it.
//!
//! While a commit is in flight the next batch gathers; that is the whole of group commit. A batch is a run of posts and of
//! changes of different messages, or one change of the room alone, so that what follows a change is checked against it. After an append of unknown outcome the
//! room reads back what was stored: events that are in the log are acknowledged, and nothing is written twice.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{
    Chat, ChatError, Result,
    changes::Patience,
    encode::encode,
    room::{End, Live, Room},
    rules::{REUSED, changes_nothing, check},
    telling::{Telling, answer, repeated},
    work::{Actor, Answers, Item, Items, News, Pending, Posted, Reply, Work},
};
use crate::{
    bus::Hint,
    event::Event,
    store::{Appended, Page, Stopped, StoreError},
    types::{MessageId, RoomKind, RoomRole, Seq},
};

/// Events read at once while catching up with the log.
const CATCH_UP_PAGE: usize = 500;
/// Whoever reads more pages than these in one go gives the others a turn.
const CATCH_UP_PAGES: usize = 100;

impl Chat {
    /// Queues work for the room's writer and begins to write where nobody does. Work of one caller keeps its order.
    pub(crate) fn submit(self: &Arc<Self>, room: &Arc<Room>, by: Actor, work: Work, reply: Reply) {
        if self.away.is_known() {
            self.metrics.bound_hit("rooms.away_millis");
            return reply.send(Err(StoreError::Unavailable("it does not answer".into()).into()));
        }
        let until = Instant::now() + Duration::from_secs(self.config.rooms.post_secs);
        let begins = {
            let mut live = room.live.lock();
            if live.desk.pending.len() >= self.config.rooms.pending_posts {
                drop(live);
                self.metrics.bound_hit("rooms.pending_posts");
                return reply.send(Err(ChatError::Busy("rooms.pending_posts")));
            }
            live.touch();
            live.desk.pending.push_back(Pending { by, work, reply, until });
            self.metrics.pending_posts.inc();
            !std::mem::replace(&mut live.desk.writing, true)
        };
        if begins {
            Writing::begin(self, room).go_on();
        }
    }

    /// Reads what the log has beyond what the room knows, and shows it.
    pub(super) async fn catch_up(self: &Arc<Self>, room: &Arc<Room>) -> Result<(), StoreError> {
        for _ in 0..CATCH_UP_PAGES {
            room.fan_out_near().await;
            let page = Page { after: Some(room.head()), before: None, limit: CATCH_UP_PAGE, messages_only: false };
            let events = self.store.events(room.id, page).await?;
            let last = events.len() < CATCH_UP_PAGE;
            self.show_stored(room, &events);
            if last {
                return Ok(());
            }
        }
        Err(StoreError::Unavailable("others write faster than this node reads; it goes on in a moment".into()))
    }
}

/// The right to make a room's log grow. Somebody has it as long as `desk.writing`; it goes from whoever brought work to the store,
/// and from there to whoever is told of the commit.
///
/// Where it is lost, in a panic or with a store that ends, the room must not believe that somebody still writes, nor may anyone be
/// left waiting.
struct Writing {
    chat: Arc<Chat>,
    room: Arc<Room>,
    given_back: bool,
    /// The end waits for it.
    _at_work: TaskTrackerToken,
}

impl Drop for Writing {
    fn drop(&mut self) {
        if self.given_back {
            return;
        }
        let mut live = self.room.live.lock();
        live.desk.doubtful = live.desk.doubtful.or(Some(live.end.head));
        live.desk.writing = false;
        let abandoned = std::mem::take(&mut live.desk.pending);
        drop(live);
        self.chat.metrics.pending_posts.dec_by(abandoned.len() as i64);
    }
}

impl Writing {
    fn begin(chat: &Arc<Chat>, room: &Arc<Room>) -> Self {
        Self { chat: chat.clone(), room: room.clone(), given_back: false, _at_work: chat.at_work.token() }
    }

    /// Hands what is pending to the store, where nothing has to be waited for before.
    fn go_on(self) {
        if self.room.live.lock().must_wait() {
            drop(tokio::spawn(self.at_leisure()));
        } else if let Some((writing, batch)) = self.take() {
            let events = encode(&writing.room, &batch.items, batch.end);
            let (store, room, began) = (writing.chat.store.clone(), writing.room.id, Instant::now());
            let stored = events.clone();
            store.append_then(room, events, Box::new(move |appended| writing.told(batch, stored, began, appended)));
        }
    }

    /// The next batch; gives the right back where there is none.
    fn take(mut self) -> Option<(Self, Batch)> {
        loop {
            let (batch, answers) = {
                let mut live = self.room.live.lock();
                let before = live.desk.pending.len();
                let (items, answers) = take_batch(&mut live, self.room.kind, &self.chat);
                self.chat.metrics.pending_posts.dec_by((before - live.desk.pending.len()) as i64);
                if items.is_empty() && answers.is_empty() {
                    live.desk.writing = false;
                    drop(live);
                    self.given_back = true;
                    return None;
                }
                (Batch { items, end: live.end }, answers)
            };
            for (reply, answer) in answers {
                reply.send(answer);
            }
            if !batch.items.is_empty() {
                return Some((self, batch));
            }
        }
    }

    /// The store has stored a batch, all of it as a rule.
    fn told(self, mut batch: Batch, events: Arc<[Event]>, began: Instant, appended: Result<Appended, StoreError>) {
        self.chat.metrics.append_seconds.observe(began.elapsed().as_secs_f64());
        if matches!(&appended, Ok(Appended { stored, stopped: None }) if *stored == events.len()) {
            // The store gets the next batch before anybody is told of this one.
            let telling = self.take_in(batch.items, events);
            self.go_on();
            return telling.into_iter().for_each(Telling::tell);
        }
        tokio::spawn(async move {
            let tried = self.outcome(&mut batch, events, appended).await;
            self.see_through(batch, began, tried).await;
            self.at_leisure().await;
        });
    }

    /// Writes where something must be waited for: a fan-out, another node, or the log itself.
    async fn at_leisure(self) {
        let mut writing = self;
        loop {
            writing.room.fan_out_near().await;
            writing.room.others_first().await;
            let mut batch;
            match writing.take() {
                Some(taken) => (writing, batch) = taken,
                None => return,
            }
            let began = Instant::now();
            let tried = writing.try_commit(&mut batch).await;
            writing.see_through(batch, began, tried).await;
            if !writing.room.live.lock().must_wait() {
                return writing.go_on();
            }
        }
    }
}

/// - Each item is allowed by the room as it was when its log ended at `end`.
struct Batch {
    items: Items,
    end: End,
}

impl Batch {
    /// The end of the log that the items may follow now. Where other nodes' events have come since the items were checked,
    /// checks them again against the current head, and answers those that no longer pass.
    fn end_now(&mut self, chat: &Chat, room: &Room) -> End {
        let mut refused = Vec::new();
        let end = {
            let live = room.live.lock();
            if live.end.head != self.end.head {
                for item in std::mem::take(&mut self.items) {
                    match check(&live, room.kind, &item.by, &item.work, chat) {
                        Ok(()) => self.items.push(item),
                        Err(error) => refused.push((item, error)),
                    }
                }
                self.end = live.end;
            }
            self.end
        };
        for (item, error) in refused {
            fail(Items::from([item]), error);
        }
        end
    }
}

/// The next items, and what is answered at once: what is refused, and what would change nothing.
fn take_batch(live: &mut Live, kind: RoomKind, chat: &Chat) -> (Items, Answers) {
    let (mut items, mut answers) = (Items::new(), Answers::new());
    let (mut by_client_id, mut changed) = (HashMap::new(), HashSet::new());
    let now = Instant::now();
    let mut bytes = 0;
    while items.len() < chat.config.rooms.batch_events && bytes < chat.config.rooms.batch_bytes {
        let Some(next) = live.desk.pending.front() else { break };
        let alone = !next.work.shares_a_batch();
        let is_changed = next.work.target().is_some_and(|of| changed.contains(&of.seq));
        if (alone && !items.is_empty()) || is_changed {
            break;
        }
        let Some(Pending { by, work, reply, until }) = live.desk.pending.pop_front() else { break };
        if until < now {
            answers.push((reply, Err(ChatError::Busy("rooms.post_secs"))));
        } else if let Err(error) = check(live, kind, &by, &work, chat) {
            answers.push((reply, Err(error)));
        } else if changes_nothing(live, &work) {
            answers.push((reply, Ok(nothing_new(live.end))));
        } else if let Some(id) = work.client_id()
            && let Some(&at) = by_client_id.get(&(by.user, id.clone()))
        {
            let first: &mut Item = &mut items[at];
            if first.work.says_the_same(&work) {
                first.repeats.push(reply);
            } else {
                answers.push((reply, Err(REUSED)));
            }
        } else {
            bytes += work.content().map_or(0, str::len);
            // The last one of a batch has nobody to be compared with.
            if let Some(id) = work.client_id()
                && !live.desk.pending.is_empty()
            {
                by_client_id.insert((by.user, id.clone()), items.len());
            }
            changed.extend(work.target().map(|of| of.seq));
            let joins_as = live.invited.role_of(&by.user).unwrap_or(RoomRole::Member);
            items.push(Item { by, work, reply, repeats: Vec::new(), joins_as, event_id: MessageId::fresh() });
            if alone {
                break;
            }
        }
    }
    (items, answers)
}

/// The answer to what is so already.
fn nothing_new(End { head: seq, last_sent_at: sent_at, .. }: End) -> Posted {
    Posted { message_id: MessageId::fresh(), seq, sent_at, duplicate: true, deleted: false }
}

impl Writing {
    /// Tries again as long as it is worth it; whoever has no answer then is told that the outcome is unknown.
    async fn see_through(&self, mut batch: Batch, mut began: Instant, mut tried: Result<()>) {
        let chat = &self.chat;
        let mut patience = Patience::of_secs(chat.config.rooms.post_secs);
        while !batch.items.is_empty() {
            let error = match tried {
                // Others have written first, again and again. An earlier try may have been stored all the same.
                Ok(()) if patience.is_over() => {
                    Some(StoreError::Unavailable("other nodes keep writing first".into()).into())
                }
                Ok(()) => None,
                Err(error) => Some(error),
            };
            if let Some(error) = error {
                let worth_waiting = matches!(error, ChatError::Store(StoreError::Unavailable(_)));
                if worth_waiting {
                    chat.store_failed(began);
                }
                if !worth_waiting || chat.away.is_known() || !patience.pause().await {
                    return fail(batch.items, error);
                }
            }
            began = Instant::now();
            tried = self.try_commit(&mut batch).await;
        }
    }

    /// One append and what follows from it. Items with a known outcome leave the batch. The rest may be tried again after `Ok`,
    /// and after an error that leaves the outcome open.
    async fn try_commit(&self, batch: &mut Batch) -> Result<()> {
        let Self { chat, room, .. } = self;
        settle(chat, room, &mut batch.items).await?;
        let end = batch.end_now(chat, room);
        let events = encode(room, &batch.items, end);
        if events.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        let appended = chat.store.append(room.id, events.to_vec()).await;
        chat.metrics.append_seconds.observe(started.elapsed().as_secs_f64());
        self.outcome(batch, events, appended).await
    }

    /// What follows from an append of these events, those of the batch.
    async fn outcome(
        &self,
        batch: &mut Batch,
        events: Arc<[Event]>,
        appended: Result<Appended, StoreError>,
    ) -> Result<()> {
        let Self { chat, room, .. } = self;
        let (items, count) = (&mut batch.items, events.len());
        let head = batch.end.head;
        let Appended { stored, stopped } = match appended {
            Ok(appended) => appended,
            Err(StoreError::Unavailable(why)) => {
                let mut live = room.live.lock();
                live.desk.doubtful = live.desk.doubtful.or(Some(head));
                return Err(StoreError::Unavailable(why).into());
            }
            Err(error) => return Err(error.into()),
        };
        self.show(items, if stored == count { events } else { events[..stored].into() });
        match stopped {
            None if stored == count => Ok(()),
            Some(Stopped::Duplicate(original)) => {
                let repeats =
                    items.drain(..items.len().min(1)).flat_map(|item| repeated(chat, item, &original)).collect();
                answer(chat, room, repeats);
                answer_duplicates(chat, room, items).await
            }
            Some(Stopped::NoSuchRoom) => Err(ChatError::NoSuchRoom),
            None | Some(Stopped::SeqTaken) => {
                lost_a_race(chat, room);
                // Mostly somebody else's; but it may be an earlier try of ours that came late.
                read_back(chat, room, items, head + stored as Seq).await?;
                if room.head() == head + stored as Seq {
                    // A store that has just changed its primary may be behind what this node knows, for a moment.
                    let why = "its log does not reach as far as its head";
                    return Err(StoreError::Unavailable(format!("room {}: {why}", room.id)).into());
                }
                Ok(())
            }
        }
    }

    /// The room knows now what is durable: events, one for each of the items. Gives the right to tell, where nobody has it.
    fn take_in(&self, items: Items, events: Arc<[Event]>) -> Option<Telling> {
        let Self { chat, room, .. } = self;
        chat.away.answered();
        chat.metrics.batch_events.observe(events.len() as f64);
        if events.is_empty() {
            return None;
        }
        room.take_in(&events);
        Telling::begin(chat, room, News::Stored { items, events })
    }

    /// Lets everyone see what is durable now, and answers those who asked for it: the first of `items`, in order.
    fn show(&self, items: &mut Items, events: Arc<[Event]>) {
        let stored = items.drain(..events.len().min(items.len())).collect();
        self.take_in(stored, events).into_iter().for_each(Telling::tell);
    }
}

/// A distant node would keep losing the race, so from its second loss on it asks the others to yield.
fn lost_a_race(chat: &Chat, room: &Room) {
    let times = {
        let mut live = room.live.lock();
        live.inbox.lost_races += 1;
        live.inbox.lost_races
    };
    if times > 1 && chat.bus.has_others() {
        chat.bus.publish(Hint::RoomWanted { room: room.id, node: chat.bus.node() });
    }
}

/// After an append of unknown outcome: reads the log back, and acknowledges those of `items` that it has.
async fn settle(chat: &Arc<Chat>, room: &Arc<Room>, items: &mut Items) -> Result<()> {
    let Some(after) = room.live.lock().desk.doubtful else { return Ok(()) };
    read_back(chat, room, items, after).await?;
    room.live.lock().desk.doubtful = None;
    Ok(())
}

/// Shows what the log has after a seq, and acknowledges what of `items` stands there.
async fn read_back(chat: &Arc<Chat>, room: &Arc<Room>, items: &mut Items, mut after: Seq) -> Result<()> {
    let mut repaired = false;
    loop {
        room.fan_out_near().await;
        let page = Page { after: Some(after), before: None, limit: CATCH_UP_PAGE, messages_only: false };
        let found = chat.store.events(room.id, page).await?;
        let last = found.len() < CATCH_UP_PAGE;
        for event in found {
            after = event.seq;
            let item = items.iter().position(|item| item.event_id == event.event_id);
            if item.is_some() && !repaired {
                chat.store.repair(room.id).await?;
                repaired = true;
            }
            chat.show_stored(room, std::slice::from_ref(&event));
            if let Some(item) = item.map(|at| items.remove(at)) {
                let news = News::Stored { items: Items::from([item]), events: Arc::from([event]) };
                Telling::begin(chat, room, news).into_iter().for_each(Telling::tell);
            }
        }
        if last {
            return Ok(());
        }
    }
}

/// Where one is a retry, others often are: all that the log has are answered at once, before the next append.
async fn answer_duplicates(chat: &Arc<Chat>, room: &Arc<Room>, items: &mut Items) -> Result<()> {
    let ids: Vec<_> = items.iter().filter_map(Item::once).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let found = chat.store.find_posts(room.id, ids).await?;
    let mut originals: HashMap<_, _> =
        found.into_iter().filter_map(|event| Some(((event.sender, event.client_id.clone()?), event))).collect();
    let (all, mut answers) = (std::mem::take(items), Answers::new());
    for item in all {
        match item.once().and_then(|id| originals.remove(&id)) {
            Some(original) => answers.extend(repeated(chat, item, &original)),
            None => items.push(item),
        }
    }
    answer(chat, room, answers);
    Ok(())
}

fn fail(items: Items, error: ChatError) {
    tracing::debug!(%error, events = items.len(), "a batch was refused");
    for item in items {
        for reply in item.replies() {
            reply.send(Err(error.clone()));
        }
    }
}
