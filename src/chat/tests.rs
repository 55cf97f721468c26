//! Rooms go on: whoever panics, in a fan-out, in an answer or in a room's writer, harms nobody else; and however many follow a room,
//! each gets everything, in order.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::sync::{oneshot, watch};

use super::{
    Caller, Chat, ChatError, Result,
    account::Account,
    accounts::Seen,
    room::{Pull, Room},
    subscriber::{Burst, Subscriber, SubscriberId},
    users::Username,
    work::{Actor, Posted, Reply, Work},
};
use crate::{
    bus::local::LocalBus,
    config::Config,
    metrics::Metrics,
    protocol::Frame,
    store::{Page, StoreError, sqlite::SqliteStore},
    types::{Role, Roles, RoomId, Seq, SessionId, UserId},
};

/// How long anything may take before a test gives up.
const DEADLINE: Duration = Duration::from_secs(10);

async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// A room of ann's. The tests' runtime has one thread: a task that is started begins when the test waits.
struct Scene {
    chat: Arc<Chat>,
    room: Arc<Room>,
    ann: Caller,
    readers: AtomicU64,
    _folder: TempDir,
}

type Acknowledged = oneshot::Receiver<Result<Posted>>;

impl Scene {
    async fn with(config: Config) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let metrics = Arc::new(Metrics::default());
        let store = SqliteStore::open(&folder.path().join("natter.db"), &config.store, metrics.clone());
        let store = Arc::new(store.expect("a new database"));
        let chat = Chat::start(Arc::new(config), metrics, store, Arc::new(LocalBus::default()));
        let name = Username::parse("ann").expect("a name");
        let user = chat.register(name, "hash".into(), &[Role::BasicUser]).await.expect("a new user");
        let ann = Caller {
            seen: Seen::default(),
            user_id: user.user_id,
            username: "ann".into(),
            session_id: SessionId::fresh(),
            roles: Roles::default(),
            token_epoch: 0,
            expires_at: i64::MAX,
            account: Arc::new(Account::from(&user)),
        };
        let id = chat.open_group(&ann, "tea", &[]).await.expect("a new room");
        let room = chat.find_room(id).await.expect("the room");
        Self { chat, room, ann, readers: AtomicU64::new(0), _folder: folder }
    }

    /// Somebody who follows the room from now on.
    fn reader(&self) -> Arc<Reader> {
        self.reader_with(None)
    }

    /// The same, but that `trouble` comes of the first offer.
    fn reader_with(&self, trouble: Option<Trouble>) -> Arc<Reader> {
        let read = watch::Sender::new(Read { cursor: self.room.head(), pieces: Vec::new() });
        let (room, user, key) = (self.room.clone(), self.ann.user_id, OnceLock::new());
        let id = SubscriberId(self.readers.fetch_add(1, Relaxed));
        let reader = Arc::new(Reader { id, room, user, key, read, trouble: Mutex::new(trouble) });
        let joined = self.room.subscribe(reader.clone(), 0).expect("a member");
        reader.key.set(joined.key).expect("it joins once");
        reader
    }

    fn submit(&self, content: &str) -> Acknowledged {
        let (reply, told) = reply();
        self.submit_with(content, reply);
        told
    }

    fn submit_with(&self, content: &str, reply: Reply) {
        let work = Work::Post { content: content.into(), client_id: None };
        self.chat.submit(&self.room, self.ann.actor(), work, reply);
    }

    async fn post(&self, content: &str) -> Posted {
        acknowledged(self.submit(content)).await.expect("a post that is stored")
    }

    /// A post that stays pending for as long as the room's writer is at work; how it is answered.
    fn post_from_inside(&self) -> (impl FnOnce() + Send + 'static, Acknowledged) {
        let (reply, told) = reply();
        let (chat, room, by) = (self.chat.clone(), self.room.clone(), self.ann.actor());
        let work = Work::Post { content: "pending".into(), client_id: None };
        (move || chat.submit(&room, by, work, reply), told)
    }

    /// The frames of everything in the log after a seq.
    async fn log_after(&self, seq: Seq) -> Vec<u8> {
        let page = Page { after: Some(seq), before: None, limit: 1_000, messages_only: false };
        let events = self.chat.store.events(self.room.id, page).await.expect("the log");
        events.iter().flat_map(|event| event.frame.bytes().to_vec()).collect()
    }
}

fn reply() -> (Reply, Acknowledged) {
    let (tell, told) = oneshot::channel();
    let reply = Reply::new(move |result| {
        let _awaited = tell.send(result).is_ok();
    });
    (reply, told)
}

async fn acknowledged(told: Acknowledged) -> Result<Posted> {
    in_time("an acknowledgement", told).await.expect("a reply is never forgotten")
}

#[track_caller]
fn assert_unknown(outcome: &Result<Posted>) {
    assert!(matches!(outcome, Err(ChatError::Store(StoreError::Unavailable(_)))), "{outcome:?}");
}

type Trouble = Box<dyn FnOnce() + Send>;

/// Somebody's connection: level with the room it takes bursts as they are offered, else it reads from its cursor.
struct Reader {
    id: SubscriberId,
    room: Arc<Room>,
    user: UserId,
    /// The room's name for it.
    key: OnceLock<u32>,
    read: watch::Sender<Read>,
    trouble: Mutex<Option<Trouble>>,
}

struct Read {
    cursor: Seq,
    pieces: Vec<Bytes>,
}

impl Reader {
    fn leave(&self) {
        self.room.unsubscribe(*self.key.get().expect("it has joined"), self.id, 0);
    }

    /// Everything it got, once it has come to `seq`.
    async fn read_to(&self, seq: Seq) -> Vec<u8> {
        let mut reads = self.read.subscribe();
        let read = in_time("a reader to get everything", reads.wait_for(|read| read.cursor >= seq)).await;
        read.expect("the reader is here").pieces.concat()
    }
}

impl Subscriber for Reader {
    fn id(&self) -> SubscriberId {
        self.id
    }

    fn user(&self) -> UserId {
        self.user
    }

    fn username(&self) -> &Arc<str> {
        unreachable!("nobody asks")
    }

    fn session(&self) -> SessionId {
        SessionId::fresh()
    }

    fn offer(&self, _: u32, burst: &Burst) {
        let trouble = self.trouble.lock().take();
        if let Some(trouble) = trouble {
            trouble();
        }
        self.read.send_modify(|read| {
            if burst.first == read.cursor + 1 {
                read.pieces.push(burst.merged.clone());
                read.cursor = burst.last;
            } else if burst.last > read.cursor {
                let mut piece = Vec::new();
                match self.room.pull(read.cursor, false, usize::MAX, &mut piece) {
                    Pull::Moved { cursor, .. } => read.cursor = cursor,
                    Pull::BehindRing => panic!("a reader who is level never needs the store"),
                }
                read.pieces.push(piece.into());
            }
        });
    }

    fn dropped(&self, _: u32, _: RoomId) {}
    fn misses(&self, _: RoomId) -> bool {
        false
    }
    fn notice(&self, _: &Frame, _: bool) {}
    fn revoke(&self) {}
}

/// More readers than a fan-out goes to in one step. It is a task of its own then: what happens to it does not happen to
/// the writer, and between two steps the writer has its turn.
const MANY: usize = 300;

/// `MANY` readers, then one who brings `trouble`, and some more.
fn readers_around(scene: &Scene, trouble: Trouble) -> Vec<Arc<Reader>> {
    let mut readers: Vec<_> = (0..MANY).map(|_| scene.reader()).collect();
    readers.push(scene.reader_with(Some(trouble)));
    readers.extend((0..20).map(|_| scene.reader()));
    readers
}

#[tokio::test]
async fn what_a_fan_out_that_panicked_left_out_comes_with_the_next_event() {
    let scene = Scene::with(Config::default()).await;
    let start = scene.room.head();
    let (tell, told) = oneshot::channel();
    let trouble = Box::new(move || {
        tell.send(()).expect("the test waits");
        panic!("in a fan-out, as the test wants it");
    });
    let readers = readers_around(&scene, trouble);
    scene.post("in trouble").await;
    in_time("the fan-out to panic", told).await.expect("it panics in that moment");
    let last = scene.post("and on").await.seq;
    let log = scene.log_after(start).await;
    for reader in readers {
        assert!(reader.read_to(last).await == log, "not what the log says");
    }
}

#[tokio::test]
async fn a_writer_that_waits_for_a_fan_out_is_not_left_waiting_when_that_panics() {
    let mut config = Config::default();
    // One message makes a burst of its own, and four make a batch, which is more than half of a ring.
    config.limits.message_chars = 70_000;
    config.rooms.ring_events = 4;
    let scene = Scene::with(config).await;
    let start = scene.room.head();
    let readers = readers_around(&scene, Box::new(|| panic!("in a fan-out, as the test wants it")));
    let posts: Vec<_> = (0..6).map(|_| scene.submit(&"x".repeat(70_000))).collect();
    let mut last = start;
    for told in posts {
        last = acknowledged(told).await.expect("a post that is stored").seq;
    }
    let log = scene.log_after(start).await;
    for reader in readers {
        assert!(reader.read_to(last).await == log, "not what the log says");
    }
}

/// The room after whoever told of its first event after `start` panicked: what was asked meanwhile is done, and all goes on.
async fn assert_told_on(scene: &Scene, start: Seq, pending: Acknowledged, readers: &[Arc<Reader>]) {
    assert_eq!(acknowledged(pending).await.expect("a post that is stored").seq, start + 2);
    let last = scene.post("and on").await.seq;
    assert_eq!(last, start + 3);
    let log = scene.log_after(start).await;
    for reader in readers {
        assert!(reader.read_to(last).await == log, "not what the log says");
    }
}

#[tokio::test]
async fn a_room_whose_fan_out_panics_goes_on_and_nobody_is_left_waiting() {
    let scene = Scene::with(Config::default()).await;
    let start = scene.room.head();
    let (post, pending) = scene.post_from_inside();
    let trouble = Box::new(move || {
        post();
        panic!("in a fan-out, as the test wants it");
    });
    let readers = [scene.reader(), scene.reader_with(Some(trouble)), scene.reader()];
    assert_unknown(&acknowledged(scene.submit("in trouble")).await);
    assert_told_on(&scene, start, pending, &readers).await;
}

#[tokio::test]
async fn a_room_with_an_acknowledgement_that_panics_goes_on_and_nobody_is_left_waiting() {
    let scene = Scene::with(Config::default()).await;
    let start = scene.room.head();
    let readers = [scene.reader(), scene.reader()];
    let (post, pending) = scene.post_from_inside();
    let reply = move |_| {
        post();
        panic!("in an acknowledgement, as the test wants it");
    };
    scene.submit_with("in trouble", Reply::new(reply));
    assert_told_on(&scene, start, pending, &readers).await;
}

#[tokio::test]
async fn a_room_whose_writer_panics_goes_on_and_nobody_is_left_waiting() {
    let scene = Scene::with(Config::default()).await;
    let start = scene.room.head();
    let readers = [scene.reader(), scene.reader()];
    let stored = scene.submit("before");
    // Refused once the writer takes it, in the middle of its work.
    let (post, pending) = scene.post_from_inside();
    let reply = move |refused: Result<Posted>| {
        assert!(matches!(refused, Err(ChatError::Forbidden(_))), "{refused:?}");
        post();
        panic!("in a writer, as the test wants it");
    };
    let stranger = Actor { user: UserId::fresh(), username: "zoe".into() };
    let work = Work::Post { content: "let me in".into(), client_id: None };
    scene.chat.submit(&scene.room, stranger, work, Reply::new(reply));
    assert_unknown(&acknowledged(pending).await);
    assert_eq!(acknowledged(stored).await.expect("a post that is stored").seq, start + 1);
    let doubtful = scene.room.live.lock().desk.doubtful;
    assert!(doubtful.is_some(), "nobody would read the log for what the writer may have stored");
    assert_eq!(scene.chat.metrics.pending_posts.get(), 0);
    assert_eq!(scene.post("and on").await.seq, start + 2);
    let last = scene.post("and on again").await.seq;
    let log = scene.log_after(start).await;
    for reader in readers {
        assert!(reader.read_to(last).await == log, "not what the log says");
    }
}

#[tokio::test]
async fn however_many_follow_a_room_and_leave_it_each_who_stays_gets_every_event_in_order() {
    for count in [1, 64, 65, 256, 257, 700] {
        let scene = Scene::with(Config::default()).await;
        let start = scene.room.head();
        // Those who stay have the last places.
        let left: Vec<_> = (0..40).map(|_| scene.reader()).collect();
        let readers: Vec<_> = (0..count).map(|_| scene.reader()).collect();
        left.iter().for_each(|reader| reader.leave());
        let mut last = start;
        for _ in 0..5 {
            let posts: Vec<_> = (0..5).map(|n| scene.submit(&format!("post {n}"))).collect();
            for told in posts {
                last = acknowledged(told).await.expect("a post that is stored").seq;
            }
        }
        let log = scene.log_after(start).await;
        for reader in readers {
            assert!(reader.read_to(last).await == log, "one of {count} got something else than the log");
        }
        assert!(left.iter().all(|reader| reader.read.borrow().cursor == start), "one got something after it had left");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn where_all_workers_lend_a_hand_each_reader_still_gets_every_event_in_order() {
    let scene = Scene::with(Config::default()).await;
    let start = scene.room.head();
    let readers: Vec<_> = (0..5_000).map(|_| scene.reader()).collect();
    let mut last = start;
    for round in 0..10 {
        let posts: Vec<_> = (0..20).map(|n| scene.submit(&format!("{round} {n}"))).collect();
        for told in posts {
            last = acknowledged(told).await.expect("a post that is stored").seq;
        }
    }
    let log = scene.log_after(start).await;
    for reader in readers {
        assert!(reader.read_to(last).await == log, "not what the log says");
    }
}
