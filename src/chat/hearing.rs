//! What a node does when it hears of something, from itself or from another node.
//!
//! A hint is never believed where it matters: it makes the node look. The exception are events that came along with a hint:
//! they were durable before they were sent, and only the very next ones of a log are taken; anything else is read from the
//! store. Here nothing blocks, because the bus waits: what takes time gets a task.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Chat, room::Room};
use crate::{
    bus::{Ended, Heard, Hint},
    event::Event,
    protocol::{ChatsChange, Frame, Said},
    store::{StoreError, shared::Moved},
    types::{RoomId, RoomKind, Seq, UserId},
};

/// What a user was told last of their place in a room: since which event they are in it, or gone from it.
#[derive(Clone, Copy)]
pub(super) struct Told {
    seq: Seq,
    added: bool,
}

impl Room {
    /// `true` where a task must be started to take in what was heard.
    fn note_heard(&self, head: Seq, events: Vec<Event>, most: usize) -> bool {
        let mut live = self.live.lock();
        let known = live.end.head;
        if head > known && live.inbox.others_first.take().is_some() {
            self.turn_taken.notify_waiters();
        }
        live.inbox.note(known, head, events, most)
    }

    fn next_heard(&self) -> Option<(Seq, Vec<Event>)> {
        let mut live = self.live.lock();
        let known = live.end.head;
        live.inbox.next(known)
    }

    /// Waits for another node's turn to write, where one is waited for.
    pub(super) async fn others_first(&self) {
        let taken = self.turn_taken.notified();
        let Some(until) = self.live.lock().inbox.others_first else { return };
        if tokio::time::timeout_at(until.into(), taken).await.is_err() {
            self.live.lock().inbox.others_first = None;
        }
    }
}

impl Chat {
    pub(super) fn heard(self: &Arc<Self>, heard: Heard) {
        match heard {
            Heard::Hint(hint) => self.take_hint(hint),
            Heard::Lost => {
                self.online.doubt_others();
                self.doubt.notify_one();
            }
            Heard::Came(_) => {
                self.online.tell_everything();
                self.doubt.notify_one();
            }
            Heard::Went(node) => {
                self.online.node_went(node);
                self.doubt.notify_one();
            }
        }
    }

    fn take_hint(self: &Arc<Self>, hint: Hint) {
        self.accounts.heard(&hint);
        match hint {
            Hint::UserChanged { .. } => {}
            Hint::LoginEnded { user, which } => {
                for connection in self.online.connections_of(user) {
                    let ended = match which {
                        Ended::One(session) => connection.session() == session,
                        Ended::All { keep } => Some(connection.session()) != keep,
                    };
                    if ended {
                        connection.revoke();
                    }
                }
            }
            Hint::RoomAdvanced { room, head, events } => self.room_grew(room, head, events),
            Hint::MembershipChanged { room, user, seq, added } => self.moved(Moved { room, user, seq, added }),
            Hint::ReadMoved { room, user, seq } => self.tell_read(room, user, seq),
            Hint::Invited { room, user } => {
                self.notice(user, &Said::Chats { chat_id: room, change: ChatsChange::Invited }, true);
            }
            Hint::Blocked { user, other } => self.heard_block(user, other),
            Hint::Typing { room, user } => self.tell_typing(room, user),
            Hint::RoomWanted { room, node } => {
                if let Some(room) = self.rooms.in_memory(room).filter(|_| node != self.bus.node()) {
                    let at_most = Duration::from_millis(self.config.cluster.yield_millis);
                    room.live.lock().inbox.let_others_first(at_most);
                }
            }
            Hint::Presence { node, users, whole } => self.online.hear_others(node, users, whole),
            Hint::AskPresence => self.online.tell_everything(),
        }
    }

    /// A room's log reaches `head`, and these are its last events, where they are known.
    pub(super) fn room_grew(self: &Arc<Self>, id: RoomId, head: Seq, events: Vec<Event>) {
        let Some(room) = self.rooms.heard(id, head) else { return };
        if room.note_heard(head, events, self.config.rooms.ring_bytes) {
            tokio::spawn(take_heard(self.clone(), room));
        }
    }

    /// Somebody came into a room or is gone from it; told once, whichever way it is heard first.
    pub(super) fn moved(self: &Arc<Self>, moved: Moved) {
        let Moved { room, user, seq, added } = moved;
        self.room_grew(room, seq, Vec::new());
        if !self.note_told(room, user, |last| last.is_none_or(|last| last.seq < seq).then_some(Told { seq, added })) {
            return;
        }
        let change = if added { ChatsChange::Added } else { ChatsChange::Removed };
        self.notice(user, &Said::Chats { chat_id: room, change }, true);
    }

    /// Remembers what a user is told of their place in a room; `next` makes it of what they were told last. `false`: there
    /// is nothing to tell.
    fn note_told(&self, room: RoomId, user: UserId, next: impl FnOnce(Option<Told>) -> Option<Told>) -> bool {
        let key = (room, user);
        let mut told = self.told.at(&key);
        let last = told.get().copied();
        let Some(next) = next(last) else { return false };
        if told.insert(next) {
            self.metrics.bound_hit("cluster.told_moves");
        }
        true
    }

    /// The user knows that they are in this room, though they do not follow it.
    pub(crate) fn knows_of(&self, room: RoomId, user: UserId) {
        self.note_told(room, user, |last| Some(Told { seq: last.map_or(0, |last| last.seq), added: true }));
    }

    /// Shows what is in the log now. Sockets that follow all rooms of a member and were never told of this one, because
    /// whoever should have told them could not, are told with the first event after the room was loaded.
    pub(super) fn show(&self, room: &Arc<Room>, events: &[Event]) {
        room.advance(events);
        self.show_new_writers(room);
        if !room.meets_its_members() {
            return;
        }
        for user in room.member_ids() {
            self.meet(room, user);
        }
    }

    fn meet(&self, room: &Room, user: UserId) {
        let mut strangers = self.online.connections_of(user);
        strangers.retain(|connection| connection.misses(room.id));
        let unheard = |last: Option<Told>| last.is_none_or(|last| !last.added);
        if strangers.is_empty()
            || !self.note_told(room.id, user, |last| unheard(last).then(|| Told { seq: room.head(), added: true }))
        {
            return;
        }
        let frame = Frame::json(&Said::Chats { chat_id: room.id, change: ChatsChange::Added });
        strangers.iter().for_each(|connection| connection.notice(&frame, true));
    }

    /// A read mark is told to the reader's own sockets, and to the other person of a private room.
    fn tell_read(&self, room: RoomId, user: UserId, seq: Seq) {
        let Some(room) = self.rooms.in_memory(room) else { return };
        let connections = self.online.connections_of(user);
        // Where they are many, the reader is named by their own sockets, who alone are told.
        let name = || Some(connections.first()?.username().clone());
        let Some(username) = room.name_of(user).or_else(name) else { return };
        let read = Said::Read { chat_id: room.id, username: &username, read_seq: seq };
        self.notice(user, &read, false);
        if room.kind == RoomKind::Private {
            for other in
                room.member_ids().into_iter().filter(|other| !self.hides(&room, *other, user) && *other != user)
            {
                self.notice(other, &read, false);
            }
        }
    }

    fn tell_typing(&self, room: RoomId, user: UserId) {
        let Some(room) = self.rooms.in_memory(room) else { return };
        // Where they are many, nobody is told.
        if let Some(username) = room.name_of(user).filter(|_| self.note_typing(room.id, user)) {
            let frame = Frame::json(&Said::Typing { chat_id: room.id, username: &username });
            room.notify(&frame, |viewer| viewer != user && !self.are_apart(viewer, user));
        }
    }

    pub(super) fn may_type(&self, room: RoomId, user: UserId) -> bool {
        let every = Duration::from_millis(self.config.presence.typing_millis);
        self.typed.at(&(room, user)).get().is_none_or(|last| last.elapsed() >= every)
    }

    /// `false`: they were told to type there less than `presence.typing_millis` ago, whichever socket or node it came from.
    fn note_typing(&self, room: RoomId, user: UserId) -> bool {
        if !self.may_type(room, user) {
            return false;
        }
        if self.typed.at(&(room, user)).insert(Instant::now()) {
            self.metrics.bound_hit("presence.typists");
        }
        true
    }

    fn notice(&self, user: UserId, said: &Said<'_>, matters: bool) {
        let frame = Frame::json(said);
        for connection in self.online.connections_of(user) {
            connection.notice(&frame, matters);
        }
    }

    /// Before somebody is refused as an outsider, or their cursor as one of another log: where other nodes write too, one
    /// of them may have let them in or written further, and its hint is still on its way.
    pub async fn make_sure(self: &Arc<Self>, room: &Arc<Room>, user: UserId, since: Option<Seq>) {
        let doubtful = || room.role_of(user).is_none() || since.is_some_and(|since| since > room.head());
        if self.store.shared().is_none() || !doubtful() {
            return;
        }
        // Many who come at once after a node has died need one look.
        let _one_looks = room.looking.lock().await;
        if doubtful() {
            self.look_again(room).await;
        }
    }

    /// Reads a log that may have grown elsewhere. Where that fails, `watch.rs` tries again. In a task of its own, because
    /// whoever asks may go away, and what has begun to be handed out must be handed out to all.
    pub(super) async fn look_again(self: &Arc<Self>, room: &Arc<Room>) {
        let (chat, room) = (self.clone(), room.clone());
        let looking = tokio::spawn(async move {
            if let Err(error) = chat.catch_up(&room).await {
                tracing::debug!(%error, room = %room.id, "the log could not be read; it will be tried again");
                if chat.store.shared().is_some() {
                    chat.unread.lock().insert(room.id);
                }
            }
        });
        if let Err(error) = looking.await {
            tracing::error!(%error, "reading a log was cut off");
        }
    }

    /// Reads a log whose last append had no known outcome, while nobody writes to it.
    pub(super) async fn settle_doubt(self: &Arc<Self>, room: &Arc<Room>) {
        if let Err(error) = self.read_doubtful(room).await {
            tracing::debug!(%error, room = %room.id, "the log could not be read; it will be tried again");
        }
    }

    async fn read_doubtful(self: &Arc<Self>, room: &Arc<Room>) -> Result<(), StoreError> {
        self.store.repair(room.id).await?;
        self.catch_up(room).await?;
        let mut live = room.live.lock();
        if !live.desk.writing {
            live.desk.doubtful = None;
        }
        Ok(())
    }

    /// Takes in what came over the bus, in the order of the log; where something is missing, reads it.
    async fn take_in(self: &Arc<Self>, room: &Arc<Room>, head: Seq, events: Vec<Event>) {
        let known = room.head();
        let next = events.first().is_some_and(|first| first.seq <= known + 1);
        if next {
            self.show_stored(room, &events);
        }
        if room.head() < head {
            self.metrics.catch_ups.inc();
            self.look_again(room).await;
        }
    }

    /// Shows stored events, and tells who came and went by them. Whoever is gone must be dropped before what follows can
    /// be read.
    pub(super) fn show_stored(self: &Arc<Self>, room: &Arc<Room>, events: &[Event]) {
        for stretch in events.chunk_by(|event, _| !matches!(event.kind.moved(), Some((_, false)))) {
            self.show(room, stretch);
        }
        for event in events {
            if let Some((user, added)) = event.kind.moved() {
                self.moved(Moved { room: room.id, user, seq: event.seq, added });
            }
        }
    }
}

/// A task that panics must not leave the room believing that one still takes in what is heard.
struct HearingGuard<'a>(&'a Room);

impl Drop for HearingGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.live.lock().inbox.stop();
        }
    }
}

/// One task a room, while there is something: so the order of the bus is kept.
async fn take_heard(chat: Arc<Chat>, room: Arc<Room>) {
    let _guard = HearingGuard(&room);
    while let Some((head, events)) = room.next_heard() {
        room.fan_out_near().await;
        chat.take_in(&room, head, events).await;
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::{
        bus::local::LocalBus,
        chat::{
            Caller,
            account::Account,
            accounts::Seen,
            commands::new_room,
            subscriber::{Burst, Subscriber, SubscriberId},
            users::Username,
        },
        config::Config,
        metrics::Metrics,
        store::sqlite::SqliteStore,
        types::{Role, Roles, RoomRole, SessionId},
    };

    /// A socket that follows all rooms but those that it was never told of.
    struct FollowsAll {
        user: UserId,
        session: SessionId,
        told: Mutex<Vec<String>>,
    }

    impl Subscriber for FollowsAll {
        fn id(&self) -> SubscriberId {
            SubscriberId(1)
        }
        fn user(&self) -> UserId {
            self.user
        }
        fn username(&self) -> &Arc<str> {
            unreachable!("nobody asks")
        }
        fn session(&self) -> SessionId {
            self.session
        }
        fn offer(&self, _: u32, _: &Burst) {}
        fn dropped(&self, _: u32, _: RoomId) {}
        fn misses(&self, _: RoomId) -> bool {
            true
        }
        fn notice(&self, frame: &Frame, _: bool) {
            self.told.lock().push(String::from_utf8(frame.body().to_vec()).expect("a frame of text"));
        }
        fn revoke(&self) {}
    }

    #[tokio::test]
    async fn a_socket_that_was_never_told_of_a_room_is_told_once_with_its_next_event() {
        let folder = tempfile::tempdir().expect("a folder");
        let (config, metrics) = (Arc::new(Config::default()), Arc::new(Metrics::default()));
        let store = SqliteStore::open(&folder.path().join("natter.db"), &config.store, metrics.clone());
        let store = Arc::new(store.expect("a new database"));
        let chat = Chat::start(config, metrics, store, Arc::new(LocalBus::default()));
        let person = async |name| {
            let name = Username::parse(name).expect("a name");
            chat.register(name, "hash".into(), &[Role::BasicUser]).await.expect("a new user")
        };
        let (ann, bob) = (person("ann").await, person("bob").await);
        let socket = Arc::new(FollowsAll { user: bob.user_id, session: SessionId::fresh(), told: Mutex::default() });
        assert!(chat.online.reserve(bob.user_id));
        chat.online.add(socket.clone());
        let ann = Caller {
            seen: Seen::default(),
            user_id: ann.user_id,
            username: "ann".into(),
            session_id: SessionId::fresh(),
            roles: Roles::default(),
            token_epoch: 0,
            expires_at: i64::MAX,
            account: Arc::new(Account::from(&ann)),
        };
        let post = async |room: &Arc<Room>| chat.post(room, &ann, "hello".into(), None).await.expect("a post");

        // Stored by somebody who told nobody.
        let members = vec![(ann.user_id, "ann".into(), RoomRole::Owner), (bob.user_id, "bob".into(), RoomRole::Member)];
        let made = new_room(&ann, RoomKind::Group, Some("untold".into()), members, None);
        let id = made.room_id;
        chat.store.create_room(made).await.expect("a new room");
        assert_eq!(socket.told.lock().len(), 0);
        let room = chat.find_room(id).await.expect("the room");
        post(&room).await;
        post(&room).await;
        let added = format!(r#"{{"type":"chats","chat_id":"{id}","change":"added"}}"#);
        assert_eq!(socket.told.lock().clone(), std::slice::from_ref(&added));

        // One that it was told of in time, though it has not begun to follow it, is not told of again.
        let id = chat.open_group(&ann, "tea", &["bob".to_owned()]).await.expect("a room");
        let room = chat.find_room(id).await.expect("the room");
        post(&room).await;
        let told = socket.told.lock().clone();
        assert_eq!(told, [added, format!(r#"{{"type":"chats","chat_id":"{id}","change":"added"}}"#)]);
    }
}
