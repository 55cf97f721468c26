//! What some of the benchmarks need around them: a room with readers who only count, and a store with a room.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use natter::bus::local::LocalBus;
use natter::chat::account::Account;
use natter::chat::accounts::Seen;
use natter::chat::room::Room;
use natter::chat::subscriber::{Burst, Subscriber, SubscriberId};
use natter::chat::users::Username;
use natter::chat::{Caller, Chat};
use natter::config::Config;
use natter::event::{Event, Place, Saying};
use natter::metrics::Metrics;
use natter::protocol::Frame;
use natter::store::sqlite::SqliteStore;
use natter::store::{Appended, NewRoom, Store};
use natter::types::{MessageId, Role, RoomId, RoomKind, RoomRole, Seq, SessionId, Timestamp, UserId};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::Notify;

/// A message of 128 bytes, the `seq`-th of a room that holds nothing else.
pub fn event(room: RoomId, by: UserId, seq: Seq) -> Event {
    let (sent_at, event_id) = (Timestamp::now(), MessageId::fresh());
    let place = Place { room, seq, ordinal: seq, sent_at, event_id, by, by_name: "ann" };
    Event::new(place, Saying::Message { content: CONTENT, client_id: None })
}

const CONTENT: &str = "It has a hundred and twenty-eight bytes, as most messages of a chat have fewer and some have more; what is in it does not count.";

fn store(folder: &TempDir, config: &Config, metrics: &Arc<Metrics>) -> Arc<SqliteStore> {
    let store = SqliteStore::open(&folder.path().join("natter.db"), &config.store, metrics.clone());
    Arc::new(store.expect("a new database"))
}

/// On the disk that holds the build, where `/tmp` may be memory.
fn folder() -> TempDir {
    tempfile::tempdir_in("target").expect("cargo has made the folder of the build")
}

/// A room, its owner, and everyone who follows it.
pub struct Scene {
    runtime: Runtime,
    chat: Arc<Chat>,
    room: Arc<Room>,
    ann: Caller,
    readers: usize,
    offers: Arc<Offers>,
    _folder: TempDir,
}

#[derive(Default)]
struct Offers {
    left: AtomicUsize,
    all: Notify,
}

impl Scene {
    pub fn with_readers(readers: usize) -> Self {
        let (runtime, folder) = (Runtime::new().expect("a runtime"), folder());
        let (chat, room, ann) = runtime.block_on(start(&folder));
        let offers = Arc::new(Offers::default());
        for nth in 0..readers {
            let reader = Reader { id: SubscriberId(nth as u64), user: ann.user_id, offers: offers.clone() };
            room.subscribe(Arc::new(reader), 0).expect("a member");
        }
        Self { runtime, chat, room, ann, readers, offers, _folder: folder }
    }

    /// Returns when the post is acknowledged and the last reader has been offered it.
    pub fn publish(&self) {
        self.offers.left.store(self.readers, Ordering::Relaxed);
        self.runtime.block_on(async {
            let posted = self.chat.post(&self.room, &self.ann, CONTENT.into(), None).await;
            posted.expect("a post that is stored");
            self.offers.all.notified().await;
        });
    }
}

async fn start(folder: &TempDir) -> (Arc<Chat>, Arc<Room>, Caller) {
    let (config, metrics) = (Config::default(), Arc::new(Metrics::default()));
    let store = store(folder, &config, &metrics);
    let chat = Chat::start(Arc::new(config), metrics, store, Arc::new(LocalBus::default()));
    let name = Username::parse("ann").expect("a name");
    let user = chat.register(name, "hash".into(), &[Role::BasicUser]).await.expect("a new user");
    let ann = Caller {
        seen: Seen::default(),
        account: Arc::new(Account::from(&user)),
        user_id: user.user_id,
        username: "ann".into(),
        session_id: SessionId::fresh(),
        roles: user.roles.iter().copied().collect(),
        token_epoch: 0,
        expires_at: i64::MAX,
    };
    let id = chat.open_group(&ann, "tea", &[]).await.expect("a new room");
    let room = chat.find_room(id).await.expect("the room");
    (chat, room, ann)
}

/// Level with the room, whatever comes.
struct Reader {
    id: SubscriberId,
    user: UserId,
    offers: Arc<Offers>,
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
        SessionId(self.user.0)
    }

    fn offer(&self, _: u32, _: &Burst) {
        if self.offers.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.offers.all.notify_one();
        }
    }

    fn dropped(&self, _: u32, _: RoomId) {}

    fn misses(&self, _: RoomId) -> bool {
        false
    }

    fn notice(&self, _: &Frame, _: bool) {}

    fn revoke(&self) {}
}

/// A room in a store, and nobody else there.
pub struct Log {
    runtime: Runtime,
    store: Arc<SqliteStore>,
    room: RoomId,
    by: UserId,
    next: AtomicU64,
    _folder: TempDir,
}

impl Log {
    pub fn open() -> Self {
        let (runtime, folder, room, by) =
            (Runtime::new().expect("a runtime"), folder(), RoomId::fresh(), UserId::fresh());
        let store = store(&folder, &Config::default(), &Arc::new(Metrics::default()));
        let place = Place {
            room,
            seq: 1,
            ordinal: 0,
            sent_at: Timestamp::now(),
            event_id: MessageId::fresh(),
            by,
            by_name: "ann",
        };
        let owner = Event::new(place, Saying::Joined { user: by, username: "ann", role: RoomRole::Owner });
        let made = NewRoom {
            room_id: room,
            kind: RoomKind::Group,
            epoch: "epoch".into(),
            created_at: place.sent_at,
            pair: None,
            events: vec![owner],
        };
        runtime.block_on(store.create_room(made)).expect("a new room");
        Self { runtime, store, room, by, next: AtomicU64::new(2), _folder: folder }
    }

    /// The events that come next.
    pub fn next(&self, batch: u64) -> Vec<Event> {
        let first = self.next.fetch_add(batch, Ordering::Relaxed);
        (first..first + batch).map(|seq| Event { ordinal: seq - 1, ..event(self.room, self.by, seq) }).collect()
    }

    pub fn append(&self, events: Vec<Event>) -> Appended {
        self.runtime.block_on(self.store.append(self.room, events)).expect("a store that is there")
    }
}
