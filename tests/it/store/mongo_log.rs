//! What appending to the logs on MongoDB promises where several processes write, many rooms share a command, or a command
//! is carried out long after it was given up. Two handles in a test stand for two processes; what comes late is put there
//! with the driver.

use std::sync::Arc;

use futures_util::{TryStreamExt, future::join_all};
use mongodb::{
    Collection,
    bson::{Binary, Document, doc, spec::BinarySubtype},
};
use natter::{
    config,
    event::{self, Event, Kind, Saying, Target, fold::ReadMark},
    metrics::Metrics,
    protocol::Frame,
    store::{Appended, Page, Stopped, Store, StoreError, mongo::MongoStore},
    types::{MessageId, RoomId, Timestamp, UserId},
};

use super::{
    fixture::{add, add_group, ann_alone, append_all, assert_sound, joined, message, message_with_id, post, private},
    mongo::Place,
};

impl Place {
    pub async fn handle(&self) -> Arc<dyn Store> {
        self.open().await
    }

    pub fn of(&self, collection: &str) -> Collection<Document> {
        self.db.collection(collection)
    }

    /// Stores events as the store does, and nothing of what they change.
    pub async fn insert(&self, room: RoomId, events: &[Event]) -> mongodb::error::Result<()> {
        let documents: Vec<Document> = events.iter().map(|event| document(room, event)).collect();
        self.of("events").insert_many(documents).ordered(true).await.map(drop)
    }

    pub async fn head_seq(&self, room: RoomId) -> i64 {
        let head = self.of("heads").find_one(doc! { "_id": room.to_string() }).await.unwrap();
        head.expect("a head").get_i64("head_seq").unwrap()
    }
}

pub async fn with_place<F: Future<Output = ()>>(test: impl FnOnce(Arc<Place>) -> F) {
    let place = Arc::new(Place::fresh().await);
    test(place.clone()).await;
    Arc::into_inner(place).expect("the test is over").remove().await;
}

/// As `store/mongo/codec_log.rs` has it.
pub fn document(room: RoomId, event: &Event) -> Document {
    let mut document = doc! {
        "_id": format!("{room}:{:016x}", event.seq),
        "room": room.to_string(),
        "seq": event.seq as i64,
        "ordinal": event.ordinal as i64,
        "sender": event.sender.to_string(),
        "event_id": event.event_id.0.hyphenated().to_string(),
        "sent_at": mongodb::bson::DateTime::from_millis(event.sent_at.0),
        "body": Binary { subtype: BinarySubtype::Generic, bytes: event.body().to_vec() },
    };
    if let Some(client_id) = &event.client_id {
        document.insert("client_id", &**client_id);
        document.insert("once", format!("{room}:{}:{client_id}", event.sender));
    }
    let effect = match &event.kind {
        Kind::Message => return document,
        Kind::Joined { user, role, .. } => doc! { "kind": "joined", "user": user.to_string(), "role": role.name() },
        Kind::Gone { user } => doc! { "kind": "gone", "user": user.to_string() },
        Kind::RoleSet { user, role } => doc! { "kind": "role", "user": user.to_string(), "role": role.name() },
        Kind::Invited { user, role } => doc! { "kind": "invited", "user": user.to_string(), "role": role.name() },
        Kind::Renamed { name } => doc! { "kind": "renamed", "name": name },
        Kind::Edited { .. } => unreachable!("none is made here"),
        Kind::Deleted { of } => {
            let message = of.message.0.hyphenated().to_string();
            doc! { "kind": "deleted", "message": message, "of": of.seq as i64, "ordinal": of.ordinal as i64 }
        }
    };
    document.insert("effect", effect);
    document
}

fn messages(first: u64, ordinal: u64, count: u64, sender: UserId) -> Vec<Event> {
    (0..count).map(|n| message(first + n, ordinal + n, sender)).collect()
}

/// The same posts, tried again a little later: the ids stay, the rest is encoded anew.
fn tried_again(events: &[Event]) -> Vec<Event> {
    let again = |event: &Event| Event {
        sent_at: Timestamp(event.sent_at.0 + 1),
        frame: Frame::of(&[event.body(), b" "].concat()),
        ..event.clone()
    };
    events.iter().map(again).collect()
}

fn is_unavailable<T>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Unavailable(_)))
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_that_race_in_one_room_leave_a_dense_log_and_each_senders_order() {
    with_place(async |place: Arc<Place>| {
        let (one, two) = (place.handle().await, place.handle().await);
        let (ann, bob) = (add(&one, "ann").await, add(&one, "bob").await);
        let room = add_group(&one, &[ann, bob]).await;
        let writers = [(one.clone(), ann), (two.clone(), bob)].map(|(store, sender)| {
            tokio::spawn(async move {
                for n in 0..40 {
                    assert_eq!(post(&store, room, sender, Some(&n.to_string())).await.stored, 1);
                }
            })
        });
        for writer in writers {
            writer.await.unwrap();
        }
        for store in [one, two] {
            let log = assert_sound(&store, room).await;
            assert_eq!(log.len(), 3 + 80);
            for sender in [ann, bob] {
                let own = log.iter().filter(|event| event.sender == sender && event.client_id.is_some());
                let ids: Vec<&str> = own.map(|event| event.client_id.as_deref().unwrap()).collect();
                assert_eq!(ids, (0..40).map(|n| n.to_string()).collect::<Vec<_>>());
            }
            store.close().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_batch_with_a_duplicate_in_it_stores_exactly_its_prefix() {
    with_place(async |place: Arc<Place>| {
        let store = place.handle().await;
        let ann = add(&store, "ann").await;
        for at in [0, 1, 99, 100, 130, 249] {
            let room = add_group(&store, &[ann]).await;
            let original = message_with_id(3, 1, ann, "once");
            append_all(&store, room, vec![original.clone()]).await;
            let mut batch = messages(4, 2, 250, ann);
            batch[at].client_id = Some("once".into());
            let appended = store.append(room, batch.clone()).await.unwrap();
            assert_eq!(appended, Appended { stored: at, stopped: Some(Stopped::Duplicate(original.clone())) });
            let log = assert_sound(&store, room).await;
            assert_eq!(log[3..], batch[..at], "{at}");
            assert_eq!(place.head_seq(room).await, 3 + at as i64);
        }
        store.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_crowd_of_rooms_each_gets_exactly_its_prefix() {
    const ROOMS: usize = 50;
    const EVENTS: u64 = 20;
    with_place(async |place: Arc<Place>| {
        let store = place.handle().await;
        let ann = add(&store, "ann").await;
        let mut rooms = Vec::new();
        for n in 0..ROOMS {
            let room = add_group(&store, &[ann]).await;
            let mut batch = messages(4, 2, EVENTS, ann);
            // Every third has a duplicate somewhere; every seventh finds its seq taken.
            let stops = (n % 3 == 0).then_some(n % EVENTS as usize);
            if let Some(at) = stops {
                batch[at].client_id = Some("once".into());
            }
            append_all(&store, room, vec![message_with_id(3, 1, ann, "once")]).await;
            if n % 7 == 0 {
                place.insert(room, &[message(4, 2, ann)]).await.unwrap();
            }
            rooms.push((n, room, batch, stops));
        }
        let appended = join_all(rooms.iter().map(|(_, room, batch, _)| store.append(*room, batch.clone()))).await;
        for ((n, room, batch, stops), appended) in rooms.iter().zip(appended) {
            let appended = appended.unwrap();
            let log = assert_sound(&store, *room).await;
            if n % 7 == 0 {
                assert_eq!(appended, Appended { stored: 0, stopped: Some(Stopped::SeqTaken) });
                assert_eq!(log.len(), 4);
                continue;
            }
            assert_eq!(appended.stored, stops.unwrap_or(EVENTS as usize), "{n}");
            let duplicate = stops.map(|_| Stopped::Duplicate(log[2].clone()));
            assert_eq!(appended.stopped, duplicate, "{n}");
            assert_eq!(log[3..], batch[..appended.stored], "{n}");
        }
        store.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_comes_late_stores_nothing_where_others_have_gone_on() {
    with_place(async |place: Arc<Place>| {
        let store = place.handle().await;
        let (ann, room) = ann_alone(&store).await;
        let given_up = messages(3, 1, 3, ann);
        let again = tried_again(&given_up);
        append_all(&store, room, again[..2].to_vec()).await;
        place.insert(room, &given_up).await.expect_err("its first seq is taken");
        assert_eq!(assert_sound(&store, room).await[2..], again[..2]);
        append_all(&store, room, again[2..].to_vec()).await;
        assert_eq!(assert_sound(&store, room).await[2..], again);
        store.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_comes_late_is_seen_by_whoever_tries_again() {
    with_place(async |place: Arc<Place>| {
        let store = place.handle().await;
        let (ann, room) = ann_alone(&store).await;
        let given_up = messages(3, 1, 3, ann);
        // It comes when the try has read the log already, and before the try is stored.
        place.insert(room, &given_up).await.unwrap();
        let tried = store.append(room, tried_again(&given_up)).await;
        assert!(is_unavailable(&tried), "{tried:?}");
        store.repair(room).await.unwrap();
        assert_eq!(assert_sound(&store, room).await[2..], given_up);
        // Somebody else's event just finds the seq taken.
        let other = store.append(room, vec![message(5, 3, ann)]).await.unwrap();
        assert_eq!(other, Appended { stored: 0, stopped: Some(Stopped::SeqTaken) });
        append_all(&store, room, vec![message(6, 4, ann)]).await;
        store.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_an_earlier_try_stored_count_as_stored() {
    with_place(async |place: Arc<Place>| {
        let store = place.handle().await;
        let ann = add(&store, "ann").await;
        for count in [1, 2, 150, 151] {
            let room = add_group(&store, &[ann]).await;
            let mut events = messages(3, 1, 151, ann);
            events[1].client_id = Some("once".into());
            place.insert(room, &events[..count]).await.unwrap();
            append_all(&store, room, events.clone()).await;
            assert_eq!(assert_sound(&store, room).await[2..], events, "{count}");
            assert_eq!(store.member(room, ann).await.unwrap().unwrap().read, ReadMark { seq: 153, ordinal: 151 });
        }
        store.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_answers_everything_that_was_taken() {
    with_place(async |place: Arc<Place>| {
        let store = place.handle().await;
        let ann = add(&store, "ann").await;
        let mut rooms = Vec::new();
        for _ in 0..30 {
            rooms.push(add_group(&store, &[ann]).await);
        }
        let appends = join_all(rooms.iter().map(|room| store.append(*room, messages(3, 1, 10, ann))));
        // The appends are polled, and so taken, first.
        let (appended, ()) = tokio::join!(appends, store.close());
        let other = place.handle().await;
        for (room, appended) in rooms.iter().zip(appended) {
            assert_eq!(appended.unwrap(), Appended { stored: 10, stopped: None });
            assert_eq!(place.head_seq(*room).await, 12);
            assert_eq!(assert_sound(&other, *room).await.len(), 12);
        }
        assert!(is_unavailable(&store.append(rooms[0], messages(13, 11, 1, ann)).await));
        other.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_goes_away_leaves_nothing_half_done() {
    with_place(async |place: Arc<Place>| {
        let store = place.handle().await;
        let (ann, bob) = (add(&store, "ann").await, add(&store, "bob").await);
        let room = add_group(&store, &[ann]).await;
        let new = private(ann, bob, "pair");
        {
            let mut append = std::pin::pin!(store.append(room, vec![message(3, 1, ann), joined(4, 1, ann, bob)]));
            let mut create = std::pin::pin!(store.create_room(new.clone()));
            assert!(futures_util::poll!(&mut append).is_pending());
            assert!(futures_util::poll!(&mut create).is_pending());
        }
        store.close().await;
        assert_eq!((place.head_seq(room).await, place.head_seq(new.room_id).await), (4, 2));
        let other = place.handle().await;
        assert_eq!(assert_sound(&other, room).await.len(), 4);
        assert!(other.member(room, bob).await.unwrap().is_some());
        let document = place.of("rooms").find_one(doc! { "_id": new.room_id.to_string() }).await.unwrap().unwrap();
        assert!(!document.contains_key("opening"));
        other.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn past_the_queue_an_append_is_busy_and_counted() {
    with_place(async |place: Arc<Place>| {
        let config = config::Store { write_queue: 3, ..place.config.clone() };
        let metrics = Arc::new(Metrics::default());
        let store: Arc<dyn Store> = MongoStore::connect(&config, metrics.clone()).await.unwrap();
        let ann = add(&store, "ann").await;
        let mut rooms = Vec::new();
        for _ in 0..9 {
            rooms.push(add_group(&store, &[ann]).await);
        }
        let appended = join_all(rooms.iter().map(|room| store.append(*room, messages(3, 1, 1, ann)))).await;
        for (n, (room, appended)) in rooms.iter().zip(appended).enumerate() {
            let kept = match appended {
                Ok(appended) => appended.stored,
                Err(StoreError::Busy) => 0,
                Err(other) => panic!("{other}"),
            };
            assert_eq!((kept, assert_sound(&store, *room).await.len()), (usize::from(n < 3), 2 + usize::from(n < 3)));
        }
        assert!(metrics.render().contains(r#"natter_bound_hits_total{setting="store.write_queue"} 6"#));
        store.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_that_were_forgotten_are_asked_for_again() {
    with_place(async |place: Arc<Place>| {
        let config = config::Store { known_rooms: 2, ..place.config.clone() };
        let store: Arc<dyn Store> = MongoStore::connect(&config, Arc::default()).await.unwrap();
        let ann = add(&store, "ann").await;
        let mut rooms = Vec::new();
        for _ in 0..6 {
            rooms.push(add_group(&store, &[ann]).await);
        }
        for n in 0..3 {
            for room in &rooms {
                append_all(&store, *room, messages(3 + n, 1 + n, 1, ann)).await;
            }
        }
        for room in rooms {
            assert_eq!(assert_sound(&store, room).await.len(), 5);
        }
        store.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_rooms_names_the_first_members_of_small_and_large_ones() {
    with_place(async |place: Arc<Place>| {
        let store = place.handle().await;
        let mut people = Vec::new();
        for n in 0..12 {
            people.push(add(&store, &format!("p{n:02}")).await);
        }
        let sizes = [1, 12, 2, 12, 3, 1, 11, 2];
        for size in sizes {
            add_group(&store, &people[..size]).await;
        }
        for most in [1, 2, 3, 12, 50] {
            let listed = store.rooms_of(people[0], None, 99, most).await.unwrap();
            assert_eq!(listed.len(), sizes.len());
            for summary in listed {
                let members = store.members(summary.room.room_id, None, most).await.unwrap();
                let names: Vec<String> = members.into_iter().map(|member| member.username).collect();
                assert_eq!(summary.usernames, names, "{most}");
            }
        }
        store.close().await;
    })
    .await;
}

/// What an edit and a deletion look like before anything is made of them.
fn said(room: RoomId, seq: u64, by: UserId, saying: Saying<'_>) -> Event {
    let (event_id, sent_at) = (MessageId::fresh(), Timestamp(seq as i64 * 1_000));
    Event::new(event::Place { room, seq, ordinal: 1, sent_at, event_id, by, by_name: "ann" }, saying)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_leaves_no_text_in_any_document_also_where_it_was_cut_off() {
    with_place(async |place: Arc<Place>| {
        let store = place.handle().await;
        for cut_off in [false, true] {
            let ann = add(&store, &format!("ann{cut_off}")).await;
            let room = add_group(&store, &[ann]).await;
            let first = said(room, 3, ann, Saying::Message { content: "needle one", client_id: None });
            let of = Target { message: first.event_id, seq: 3, ordinal: 1 };
            let edit = said(room, 4, ann, Saying::Edited { of, content: "needle two", client_id: None, erases: false });
            append_all(&store, room, vec![first.clone(), edit]).await;
            let folded = store.message(room, of.message, 4).await.unwrap().expect("a message");
            assert_eq!(folded.spoken().content().as_deref(), Some("needle two"));
            let delete = said(room, 5, ann, Saying::Deleted { of });
            if cut_off {
                // It is in the log, and whoever wrote it is gone.
                place.insert(room, std::slice::from_ref(&delete)).await.unwrap();
                assert!(store.message(room, of.message, 5).await.unwrap().expect("a message").is_deleted());
                let page = Page { after: None, before: None, limit: 9, messages_only: true };
                let page = store.messages(room, page, 5).await.unwrap();
                assert!(page.head == 5 && page.messages[0].is_deleted(), "the log is folded onto what is projected");
                place.open().await.room(room).await.unwrap().expect("the room");
            } else {
                append_all(&store, room, vec![delete]).await;
            }
            for collection in place.db.list_collection_names().await.unwrap() {
                let mut documents = place.of(&collection).find(doc! {}).await.unwrap();
                while let Some(document) = documents.try_next().await.unwrap() {
                    let bytes = mongodb::bson::to_vec(&document).unwrap();
                    assert!(!bytes.windows(6).any(|window| window == b"needle"), "{collection}: {document}");
                }
            }
            assert_eq!(store.deleted_after(room, 0).await.unwrap(), 1);
            assert_eq!(store.rooms_of(ann, None, 9, 9).await.unwrap()[0].last_message, None);
        }
    })
    .await;
}
