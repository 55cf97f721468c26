//! Logs: dense, once, in order, and pages of them.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use futures_util::future::join_all;
use natter::{
    event::Event,
    protocol::Frame,
    store::{Appended, DELETED_NAME, Deletion, Page, Stopped, Store, StoreError, UserChange},
    types::{RoomId, Seq, UserId},
};

use super::fixture::{
    add, add_group, ann_alone, append_all, assert_sound, at, gone, joined, login, message, message_with_id, person,
    post, private, renamed, token, whole_log,
};

const LATEST: Page = Page { after: None, before: None, limit: 500, messages_only: false };

pub async fn what_is_appended_is_read_back_byte_for_byte(store: Arc<dyn Store>) {
    let (ann, room) = ann_alone(&store).await;
    let every_byte: Vec<u8> = (0..=255).collect();
    let bodies = [Bytes::new(), Bytes::from(every_byte), Bytes::from("☕".repeat(4_000)), Bytes::from_static(b"{}")];
    let mut events: Vec<Event> = bodies
        .into_iter()
        .zip(3..)
        .map(|(body, seq)| Event {
            frame: Frame::of(&body),
            ..message_with_id(seq, seq - 2, ann, &format!("id {seq} ☕"))
        })
        .collect();
    events.push(renamed(7, 4, ann, "x"));
    events.push(joined(8, 4, ann, UserId::fresh()));
    append_all(&store, room, events.clone()).await;
    let expected = events.clone();
    assert_eq!(whole_log(&store, room).await[2..], expected);
}

pub async fn an_empty_batch_changes_nothing(store: Arc<dyn Store>) {
    let (_, room) = ann_alone(&store).await;
    let before = store.room(room).await.unwrap();
    append_all(&store, room, vec![]).await;
    assert_eq!(store.room(room).await.unwrap(), before);
}

pub async fn a_room_that_is_not_there_takes_nothing(store: Arc<dyn Store>) {
    let (ann, nowhere) = (add(&store, "ann").await, RoomId::fresh());
    let appended = store.append(nowhere, vec![message(1, 1, ann)]).await.unwrap();
    assert_eq!(appended, Appended { stored: 0, stopped: Some(Stopped::NoSuchRoom) });
    assert!(store.events(nowhere, LATEST).await.unwrap().is_empty());
}

async fn assert_refused(store: &Arc<dyn Store>, room: RoomId, events: Vec<Event>) {
    let before = (store.room(room).await.unwrap(), whole_log(store, room).await);
    let appended = store.append(room, events).await.unwrap();
    assert_eq!(appended, Appended { stored: 0, stopped: Some(Stopped::SeqTaken) });
    assert_eq!((store.room(room).await.unwrap(), whole_log(store, room).await), before);
}

pub async fn a_taken_seq_stores_nothing(store: Arc<dyn Store>) {
    let (ann, room) = ann_alone(&store).await;
    append_all(&store, room, vec![message(3, 1, ann)]).await;
    assert_refused(&store, room, vec![message(3, 1, ann), message(4, 2, ann)]).await;
    assert_refused(&store, room, vec![message(1, 1, ann)]).await;
}

pub async fn a_seq_past_the_next_leaves_no_hole(store: Arc<dyn Store>) {
    let (ann, room) = ann_alone(&store).await;
    assert_refused(&store, room, vec![message(4, 1, ann)]).await;
}

pub async fn a_hole_within_a_batch_ends_the_prefix(store: Arc<dyn Store>) {
    let (ann, room) = ann_alone(&store).await;
    let appended = store.append(room, vec![message(3, 1, ann), message(5, 2, ann)]).await.unwrap();
    assert_eq!(appended, Appended { stored: 1, stopped: Some(Stopped::SeqTaken) });
    assert_eq!(assert_sound(&store, room).await.len(), 3);
}

pub async fn a_duplicate_ends_the_prefix_and_shows_the_original(store: Arc<dyn Store>) {
    let (ann, room) = ann_alone(&store).await;
    let original = message_with_id(3, 1, ann, "once");
    append_all(&store, room, vec![original.clone()]).await;
    let batch = vec![
        message_with_id(4, 2, ann, "new"),
        message_with_id(5, 3, ann, "once"),
        message_with_id(6, 4, ann, "never stored"),
    ];
    let appended = store.append(room, batch).await.unwrap();
    assert_eq!(appended, Appended { stored: 1, stopped: Some(Stopped::Duplicate(original.clone())) });
    assert_eq!(assert_sound(&store, room).await.len(), 4);
    // What came after the duplicate is new still.
    append_all(&store, room, vec![message_with_id(5, 3, ann, "never stored")]).await;
}

pub async fn posts_are_found_by_their_client_ids(store: Arc<dyn Store>) {
    let (ann, room) = ann_alone(&store).await;
    let posts = vec![message_with_id(3, 1, ann, "a"), message_with_id(4, 2, ann, "b")];
    append_all(&store, room, posts.clone()).await;
    let ids = ["b", "never", "a"].map(|id| (ann, id.into()));
    let mut found = store.find_posts(room, ids.to_vec()).await.unwrap();
    found.sort_by_key(|event| event.seq);
    assert_eq!(found, posts);
    assert_eq!(store.find_posts(RoomId::fresh(), ids.to_vec()).await.unwrap(), []);
    assert_eq!(store.find_posts(room, vec![(UserId::fresh(), "a".into())]).await.unwrap(), []);
}

pub async fn a_duplicate_within_a_batch_is_found(store: Arc<dyn Store>) {
    let (ann, room) = ann_alone(&store).await;
    let first = message_with_id(3, 1, ann, "once");
    let appended = store.append(room, vec![first.clone(), message_with_id(4, 2, ann, "once")]).await.unwrap();
    assert_eq!(appended, Appended { stored: 1, stopped: Some(Stopped::Duplicate(first.clone())) });
    assert_eq!(assert_sound(&store, room).await.len(), 3);
}

pub async fn a_client_id_belongs_to_one_sender_in_one_room(store: Arc<dyn Store>) {
    let (ann, bob) = (add(&store, "ann").await, add(&store, "bob").await);
    let (tea, cocoa) = (add_group(&store, &[ann, bob]).await, add_group(&store, &[ann, bob]).await);
    for room in [tea, cocoa] {
        let events = vec![
            message_with_id(4, 1, ann, "1"),
            message_with_id(5, 2, bob, "1"),
            message_with_id(6, 3, bob, "2"),
            message(7, 4, bob),
            message(8, 5, bob),
        ];
        append_all(&store, room, events).await;
    }
}

pub async fn the_head_follows_the_stored_prefix(store: Arc<dyn Store>) {
    let (ann, room) = ann_alone(&store).await;
    append_all(&store, room, vec![message_with_id(3, 1, ann, "once")]).await;
    let appended =
        store.append(room, vec![message(4, 2, ann), renamed(5, 2, ann, "x"), message_with_id(6, 3, ann, "once")]).await;
    assert_eq!(appended.unwrap().stored, 2);
    let record = store.room(room).await.unwrap().unwrap();
    assert_eq!((record.head_seq, record.messages, record.active_at), (5, 2, at(5_000)));
    assert_eq!(record.name.as_deref(), Some("x"));
    // The effects of what was not stored are not there either.
    let (bob, before) = (add(&store, "bob").await, record);
    let lost = vec![message_with_id(6, 3, ann, "once"), joined(7, 3, ann, bob), renamed(8, 3, ann, "y")];
    assert_eq!(store.append(room, lost).await.unwrap().stored, 0);
    assert_eq!(store.room(room).await.unwrap().unwrap(), before);
    assert_eq!(store.member(room, bob).await.unwrap(), None);
}

pub async fn two_racing_writers_leave_a_dense_log(store: Arc<dyn Store>) {
    let (ann, bob) = (add(&store, "ann").await, add(&store, "bob").await);
    let room = add_group(&store, &[ann, bob]).await;
    let writers = [ann, bob].map(|sender| {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0..100 {
                let id = format!("{n}");
                assert_eq!(post(&store, room, sender, Some(&id)).await.stored, 1);
            }
        })
    });
    for writer in writers {
        writer.await.unwrap();
    }
    let log = assert_sound(&store, room).await;
    assert_eq!(log.len(), 3 + 200);
    for sender in [ann, bob] {
        let own = log.iter().filter(|event| event.sender == sender && event.is_message());
        let ids: Vec<_> = own.map(|event| event.client_id.as_deref().unwrap().to_owned()).collect();
        assert_eq!(ids, (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
    }
}

pub async fn fifty_retries_of_one_post_make_one_message(store: Arc<dyn Store>) {
    let (ann, room) = ann_alone(&store).await;
    let appended = join_all((0..50).map(|_| post(&store, room, ann, Some("once")))).await;
    assert_eq!(appended.iter().filter(|appended| appended.stored == 1).count(), 1);
    let log = assert_sound(&store, room).await;
    assert_eq!(log.len(), 3);
    for appended in appended.into_iter().filter(|appended| appended.stored == 0) {
        assert_eq!(appended.stopped, Some(Stopped::Duplicate(log[2].clone())));
    }
}

pub async fn many_rooms_at_once_each_keep_their_order(store: Arc<dyn Store>) {
    let ann = add(&store, "ann").await;
    let mut rooms = Vec::new();
    for _ in 0..20 {
        rooms.push(add_group(&store, &[ann]).await);
    }
    let writers = rooms.iter().map(|room| {
        let (store, room) = (store.clone(), *room);
        tokio::spawn(async move {
            for n in 0..20 {
                append_all(&store, room, vec![message(3 + 2 * n, 1 + 2 * n, ann), message(4 + 2 * n, 2 + 2 * n, ann)])
                    .await;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    for room in rooms {
        assert_eq!(assert_sound(&store, room).await.len(), 42);
    }
}

pub async fn a_read_after_an_acknowledged_write_sees_it(store: Arc<dyn Store>) {
    let ann = add(&store, "ann").await;
    let mut rooms = Vec::new();
    for _ in 0..8 {
        rooms.push(add_group(&store, &[ann]).await);
    }
    let tasks = rooms.into_iter().map(|room| {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 1..=50 {
                append_all(&store, room, vec![message(2 + n, n, ann)]).await;
                let latest = store.events(room, Page { limit: 1, ..LATEST }).await.unwrap();
                assert_eq!(latest[0].seq, 2 + n);
                assert_eq!(store.room(room).await.unwrap().unwrap().head_seq, 2 + n);
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

pub async fn a_log_is_read_in_pages_both_ways(store: Arc<dyn Store>) {
    let (ann, room) = ann_alone(&store).await;
    append_all(&store, room, (1..=8).map(|n| message(2 + n, n, ann)).collect()).await;
    let seqs = async |after: Option<Seq>, before: Option<Seq>, limit| {
        let events = store.events(room, Page { after, before, limit, messages_only: false }).await.unwrap();
        events.into_iter().map(|event| event.seq).collect::<Vec<_>>()
    };
    assert_eq!(seqs(None, None, 3).await, [8, 9, 10]);
    assert_eq!(seqs(None, None, 99).await, (1..=10).collect::<Vec<_>>());
    assert_eq!(seqs(Some(0), None, 3).await, [1, 2, 3]);
    assert_eq!(seqs(Some(8), None, 3).await, [9, 10]);
    assert_eq!(seqs(Some(10), None, 3).await, Vec::<u64>::new());
    assert_eq!(seqs(Some(u64::MAX), None, 3).await, Vec::<u64>::new());
    assert_eq!(seqs(None, Some(8), 3).await, [5, 6, 7]);
    assert_eq!(seqs(None, Some(3), 9).await, [1, 2]);
    assert_eq!(seqs(None, Some(1), 3).await, Vec::<u64>::new());
    assert_eq!(seqs(None, Some(0), 3).await, Vec::<u64>::new());
    assert_eq!(seqs(None, Some(u64::MAX), 2).await, [9, 10]);
    assert_eq!(seqs(None, None, 0).await, Vec::<u64>::new());
}

pub async fn a_page_of_messages_skips_other_events(store: Arc<dyn Store>) {
    let (ann, room) = ann_alone(&store).await;
    let events = vec![
        message(3, 1, ann),
        renamed(4, 1, ann, "x"),
        renamed(5, 1, ann, "y"),
        message(6, 2, ann),
        message(7, 3, ann),
        renamed(8, 3, ann, "z"),
    ];
    append_all(&store, room, events).await;
    let seqs = async |after: Option<Seq>, before: Option<Seq>| {
        let events = store.events(room, Page { after, before, limit: 2, messages_only: true }).await.unwrap();
        events.into_iter().map(|event| event.seq).collect::<Vec<_>>()
    };
    assert_eq!(seqs(None, None).await, [6, 7]);
    assert_eq!(seqs(None, Some(6)).await, [3]);
    assert_eq!(seqs(Some(0), None).await, [3, 6]);
    assert_eq!(seqs(Some(6), None).await, [7]);
}

pub async fn a_store_that_serves_is_ready(store: Arc<dyn Store>) {
    store.ready().await.unwrap();
    let ready = join_all((0..20).map(|_| store.ready())).await;
    assert!(ready.iter().all(Result::is_ok));
}

fn refused<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    assert!(matches!(result, Err(StoreError::Unavailable(_))), "{result:?}");
}

pub async fn a_closed_store_refuses_and_closing_twice_is_fine(store: Arc<dyn Store>) {
    let (ann, room) = ann_alone(&store).await;
    tokio::join!(store.close(), store.close());
    store.close().await;
    refused(store.ready().await);
    refused(store.backup(Path::new("/nowhere/at/all")).await);
    refused(store.user(ann).await);
    refused(store.create_user(person("bob")).await);
    let session = login(ann, 0);
    refused(store.create_session(session.clone(), token(&session, 1), 9).await);
    refused(store.create_room(private(ann, ann, "pair")).await);
    refused(store.append(room, vec![message(3, 1, ann)]).await);
    refused(store.events(room, LATEST).await);
    refused(store.set_read(room, ann, 1).await);
    refused(store.rooms_of(ann, None, 9, 9).await);
}

pub async fn who_was_deleted_is_named_in_nothing_that_is_read(store: Arc<dyn Store>) {
    let (ann, bob) = (add(&store, "ann").await, add(&store, "bob").await);
    let room = add_group(&store, &[ann, bob]).await;
    let saying = |event: Event, body: &str| Event { frame: Frame::of(body.as_bytes()), ..event };
    let bodies = [
        r#"{"type":"message","seq":4,"sender":"bob","content":"bob"}"#,
        r#"{"type":"message","seq":5,"sender":"ann","content":"bob"}"#,
        r#"{"type":"member","seq":6,"by":"ann","username":"bob","change":"removed"}"#,
        r#"{"type":"message","seq":7,"sender":"bob","content":"late"}"#,
    ];
    let events = [message(4, 1, bob), message(5, 2, ann), gone(6, 2, ann, bob), message(7, 3, bob)];
    let events: Vec<Event> = events.into_iter().zip(bodies).map(|(event, body)| saying(event, body)).collect();
    append_all(&store, room, events[..2].to_vec()).await;
    append_all(&store, room, events[2..].to_vec()).await;
    let deletion = Deletion { erase: false, free_name: true, done: false };
    for change in [UserChange::Delete(deletion), UserChange::Deleted] {
        store.change_user(bob, change).await.unwrap();
    }
    let nobody = |body: &str| body.replace(r#""sender":"bob""#, &format!(r#""sender":"{DELETED_NAME}""#));
    let told: Vec<String> = bodies.iter().map(|body| nobody(body)).collect();
    let read = whole_log(&store, room).await;
    let read: Vec<String> = read[3..].iter().map(|event| String::from_utf8_lossy(event.body()).into_owned()).collect();
    assert_eq!([&read[0], &read[1], &read[3]], [&told[0], &told[1], &told[3]]);
    assert_eq!(read[2], bodies[2].replace("bob", DELETED_NAME));
    let listed = store.rooms_of(ann, None, 1, 9).await.unwrap();
    assert_eq!(listed[0].last_message.as_deref(), Some(told[3].as_bytes()));
}
