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

use super::{
    Chat,
    room::{Room, Subscriber},
};
use crate::{
    bus::Hint,
    store::shared::{Changes, Mark, Shared},
    types::{NodeId, UserId},
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
    /// Reads the logs that grew; while it runs, grown rooms are not asked for again.
    reading: JoinHandle<()>,
    /// Users who changed, and could not be looked up yet.
    unsure: HashSet<UserId>,
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
        reading: tokio::spawn(async {}),
        unsure: HashSet::new(),
    };
    let mut in_doubt = true;
    loop {
        let Some(chat) = chat.upgrade() else { return };
        watch.look(&chat, in_doubt).await;
        in_doubt = tokio::select! {
            _ = ticks.tick() => false,
            () = chat.doubt.notified() => true,
        };
    }
}

impl Watch {
    async fn look(&mut self, chat: &Arc<Chat>, in_doubt: bool) {
        let Some(shared) = chat.store.shared() else { return };
        self.meet(chat, shared).await;
        let every = Duration::from_millis(chat.config.cluster.check_millis);
        let due = self.rooms_asked.is_none_or(|at| at.elapsed() >= every);
        let with_rooms = (in_doubt || due || !self.trusts_bus(chat)) && self.reading.is_finished();
        match shared.changes(self.mark, with_rooms).await {
            Ok(changes) => {
                self.mark = changes.mark;
                if with_rooms {
                    self.rooms_asked = Some(Instant::now());
                }
                self.take(chat, changes).await;
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

    async fn take(&mut self, chat: &Arc<Chat>, changes: Changes) {
        for moved in changes.members {
            chat.moved(moved);
        }
        self.unsure.extend(changes.users);
        let looked_up = stream::iter(std::mem::take(&mut self.unsure))
            .map(|user| async move { (user, chat.user_changed(user).await) })
            .buffer_unordered(chat.config.cluster.catch_ups);
        let failed = looked_up.filter_map(async |(user, looked_up)| (!looked_up).then_some(user));
        self.unsure = failed.collect().await;
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
    /// A record changed, or a login ended: what is remembered is forgotten, and the sockets here must be good still. Tells
    /// whether all could be looked up.
    async fn user_changed(&self, user: UserId) -> bool {
        self.accounts.heard(&Hint::UserChanged { user });
        let mut looked_up = true;
        for connection in self.online.connections_of(user) {
            match self.is_over(user, &*connection).await {
                Ok(true) => connection.revoke(),
                Ok(false) => {}
                Err(error) => {
                    tracing::debug!(%error, %user, "a login could not be looked up; it will be tried again");
                    looked_up = false;
                }
            }
        }
        looked_up
    }

    async fn is_over(&self, user: UserId, connection: &dyn Subscriber) -> super::Result<bool> {
        if self.store.session(connection.session()).await?.is_none() {
            return Ok(true);
        }
        Ok(self.accounts.record(&*self.store, user).await?.is_none_or(|user| user.disabled))
    }
}
