//! Asking the store for what the bus may not have told.
//!
//! Changed users, ended logins and changed memberships are asked for every `cluster.poll_millis`, whatever the bus says: they
//! are few, and nobody may keep on reading who has lost the right to. Rooms that grew are asked for as often while some
//! living node is not heard on the bus (or there is no bus), and every `cluster.check_millis` in any case. A node lives
//! while it tells the store so.

use std::{
    collections::HashSet,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use tokio::{
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

use super::{Chat, room::Room};
use crate::{
    bus::Hint,
    store::shared::{Changes, Mark, Shared},
    types::{NodeId, SessionId, UserId},
};

/// So many times within `cluster.node_secs` a node says that it lives.
const SIGNS_OF_LIFE: u32 = 5;

/// What the watch remembers from one look to the next.
struct Watch {
    mark: Mark,
    /// The nodes that live, by the store.
    living: Vec<NodeId>,
    met: Option<Instant>,
    rooms_asked: Option<Instant>,
    /// Something may have been missed, and grown rooms have not been asked for since.
    doubt: bool,
    /// Reads the logs that grew; while it runs, grown rooms are not asked for again.
    reading: JoinHandle<()>,
    /// Looks up the users who changed.
    checking: JoinHandle<()>,
}

/// Runs until the chat is gone.
pub(super) async fn run(chat: Weak<Chat>) {
    let Some(poll) = chat.upgrade().map(|chat| Duration::from_millis(chat.config.cluster.poll_millis)) else { return };
    let mut ticks = interval(poll);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watch = Watch {
        mark: Mark::default(),
        living: Vec::new(),
        met: None,
        rooms_asked: None,
        doubt: true,
        reading: tokio::spawn(async {}),
        checking: tokio::spawn(async {}),
    };
    loop {
        let Some(chat) = chat.upgrade() else { return };
        watch.look(&chat).await;
        tokio::select! {
            _ = ticks.tick() => {}
            () = chat.doubt.notified() => {
                watch.doubt = true;
                // Doubts come in swarms.
                tokio::time::sleep(poll / 6).await;
            }
        }
    }
}

impl Watch {
    async fn look(&mut self, chat: &Arc<Chat>) {
        let Some(shared) = chat.store.shared() else { return };
        self.meet(chat, shared).await;
        let every = Duration::from_millis(chat.config.cluster.check_millis);
        let due = self.rooms_asked.is_none_or(|at| at.elapsed() >= every);
        let with_rooms = (self.doubt || due || !self.trusts_bus(chat)) && self.reading.is_finished();
        match shared.changes(self.mark, with_rooms).await {
            Ok(changes) => {
                if changes.more {
                    chat.doubt.notify_one();
                }
                self.mark = changes.mark;
                if with_rooms {
                    self.doubt = changes.more;
                    self.rooms_asked = Some(Instant::now());
                }
                self.take(chat, changes);
            }
            Err(error) => tracing::debug!(%error, "the store does not tell what changed; it is asked again"),
        }
    }

    /// Whether every living node is heard on the bus, so that what it says arrives by itself.
    fn trusts_bus(&self, chat: &Chat) -> bool {
        let heard = chat.bus.hears().unwrap_or_default();
        let trusted = !self.living.is_empty() && self.living.iter().all(|node| heard.contains(node));
        chat.metrics.bus_trusted.set(trusted.into());
        trusted
    }

    async fn meet(&mut self, chat: &Chat, shared: &dyn Shared) {
        let within = Duration::from_secs(chat.config.cluster.node_secs);
        if self.met.is_some_and(|at| at.elapsed() < within / SIGNS_OF_LIFE) {
            return;
        }
        match shared.meet(chat.bus.node(), within).await {
            Ok(living) => {
                chat.metrics.nodes.set(living.len() as i64);
                self.living = living;
                self.met = Some(Instant::now());
            }
            Err(error) => tracing::debug!(%error, "the store was not told that this node lives"),
        }
    }

    fn take(&mut self, chat: &Arc<Chat>, changes: Changes) {
        for moved in changes.members {
            chat.moved(moved);
        }
        for user in &changes.users {
            chat.accounts.heard(&Hint::UserChanged { user: *user });
        }
        chat.unsure.lock().extend(changes.users);
        if self.checking.is_finished() {
            self.checking = tokio::spawn(check_changed(chat.clone()));
        }
        if self.reading.is_finished() {
            let grown = changes
                .rooms
                .into_iter()
                .filter_map(|(id, head)| chat.rooms.heard(id, head).filter(|room| room.head() < head));
            let unread = std::mem::take(&mut *chat.unread.lock());
            let unread = unread.into_iter().filter_map(|id| chat.rooms.in_memory(id));
            let rooms: Vec<_> = grown.chain(unread).collect();
            if !rooms.is_empty() {
                self.reading = tokio::spawn(read_grown(chat.clone(), rooms));
            }
        }
    }
}

/// Looks up everybody who changed, those with sockets here. Who could not be looked up stays for the next time.
async fn check_changed(chat: Arc<Chat>) {
    let users = std::mem::take(&mut *chat.unsure.lock());
    let chat = &chat;
    stream::iter(users)
        .for_each_concurrent(chat.config.cluster.catch_ups, |user| async move {
            let checked = async {
                chat.check_logins(user).await?;
                chat.check_blocks(user).await?;
                chat.check_deleted(user).await
            };
            if let Err(error) = checked.await {
                tracing::debug!(%error, %user, "a user could not be looked up; it will be tried again");
                chat.unsure.lock().insert(user);
            }
        })
        .await;
}

async fn read_grown(chat: Arc<Chat>, rooms: Vec<Arc<Room>>) {
    let chat = &chat;
    let at_once = chat.config.cluster.catch_ups;
    stream::iter(rooms)
        .for_each_concurrent(at_once, |room| async move {
            chat.metrics.catch_ups.inc();
            chat.look_again(&room).await;
        })
        .await;
}

impl Chat {
    /// A record changed, or a login ended: the sockets here must be good still.
    pub(super) async fn check_logins(&self, user: UserId) -> super::Result<()> {
        let connections = self.online.connections_of(user);
        if connections.is_empty() {
            return Ok(());
        }
        let gone = self.accounts.account(&*self.store, user).await?.is_none_or(|user| user.disabled);
        let sessions: HashSet<SessionId> = connections.iter().map(|connection| connection.session()).collect();
        let looks = sessions.into_iter().map(|session| async move { (session, self.store.session(session).await) });
        let looked: Vec<_> = stream::iter(looks).buffer_unordered(self.config.cluster.catch_ups).collect().await;
        let (mut ended, mut failed) = (HashSet::new(), Ok(()));
        for (session, found) in looked {
            match found {
                Ok(Some(_)) if !gone => {}
                Ok(_) => drop(ended.insert(session)),
                Err(error) => failed = Err(error.into()),
            }
        }
        for connection in connections.iter().filter(|connection| ended.contains(&connection.session())) {
            connection.revoke();
        }
        failed
    }
}
