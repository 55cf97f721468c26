//! Rooms, members, read marks, and the lists of them.

use std::{collections::HashSet, sync::Arc};

use futures_util::future::join_all;
use natter::{
    event::fold::ReadMark,
    store::{MemberRecord, NewRoom, RoomCreated, RoomCursor, RoomRecord, RoomSummary, Store},
    types::{RoomId, RoomKind, RoomRole, UserId},
};

use super::fixture::{
    add, add_group, ann_alone, append_all, assert_sound, at, gone, group, joined, message, private, renamed, role_set,
};

async fn usernames(store: &Arc<dyn Store>, room: RoomId, after: Option<UserId>, limit: usize) -> Vec<String> {
    store.members(room, after, limit).await.unwrap().into_iter().map(|member| member.username).collect()
}

async fn mark_of(store: &Arc<dyn Store>, room: RoomId, user: UserId) -> ReadMark {
    store.member(room, user).await.unwrap().expect("a member").read
}

pub async fn a_room_begins_with_its_first_events(store: Arc<dyn Store>) {
    let (ann, bob) = (add(&store, "Ann").await, add(&store, "bob").await);
    let room = group("tea ☕", &[ann, bob]);
    assert_eq!(store.create_room(room.clone()).await.unwrap(), RoomCreated::Created);
    let expected = RoomRecord {
        room_id: room.room_id,
        kind: RoomKind::Group,
        name: Some("tea ☕".into()),
        epoch: "first".into(),
        head_seq: 3,
        messages: 0,
        created_at: at(0),
        active_at: at(3_000),
    };
    assert_eq!(store.room(room.room_id).await.unwrap(), Some(expected));
    assert_sound(&store, room.room_id).await;
    let member = |user_id, username: &str, seq| MemberRecord {
        user_id,
        username: username.into(),
        role: RoomRole::Member,
        read: ReadMark { seq, ordinal: 0 },
        wrote: false,
    };
    let members = [member(ann, "Ann", 2), member(bob, "bob", 3)];
    assert_eq!(store.members(room.room_id, None, 9).await.unwrap(), members);
    assert_eq!(store.member(room.room_id, bob).await.unwrap().as_ref(), Some(&members[1]));
    assert_eq!(store.member(room.room_id, UserId::fresh()).await.unwrap(), None);
    assert_eq!(store.room(RoomId::fresh()).await.unwrap(), None);
    assert!(store.members(RoomId::fresh(), None, 9).await.unwrap().is_empty());
}

pub async fn fifty_who_open_one_pair_get_one_room(store: Arc<dyn Store>) {
    let (ann, bob) = (add(&store, "ann").await, add(&store, "bob").await);
    let rooms: Vec<NewRoom> = (0..50).map(|_| private(ann, bob, "ann+bob")).collect();
    let made = join_all(rooms.iter().map(|room| store.create_room(room.clone()))).await;
    let mut ids = HashSet::new();
    let mut created = 0;
    for (room, made) in rooms.iter().zip(made) {
        match made.unwrap() {
            RoomCreated::Created => {
                created += 1;
                ids.insert(room.room_id);
            }
            RoomCreated::Exists(id) => {
                assert_ne!(id, room.room_id);
                assert_eq!(store.room(room.room_id).await.unwrap(), None);
                ids.insert(id);
            }
        }
    }
    assert_eq!((created, ids.len()), (1, 1));
    let room = ids.into_iter().next().expect("one");
    assert_eq!(assert_sound(&store, room).await.len(), 2);
    for user in [ann, bob] {
        assert_eq!(store.room_ids_of(user, None, 9).await.unwrap(), [room]);
    }
    assert_eq!(store.create_room(private(ann, bob, "another pair")).await.unwrap(), RoomCreated::Created);
}

pub async fn a_room_whose_first_events_are_not_dense_is_not_made(store: Arc<dyn Store>) {
    let (ann, bob) = (add(&store, "ann").await, add(&store, "bob").await);
    let mut room = private(ann, bob, "ann+bob");
    room.events[1].seq = 3;
    store.create_room(room.clone()).await.expect_err("a log has no holes");
    assert_eq!(store.room(room.room_id).await.unwrap(), None);
    assert!(store.room_ids_of(ann, None, 9).await.unwrap().is_empty());
    room.events[1].seq = 2;
    assert_eq!(store.create_room(room).await.unwrap(), RoomCreated::Created);
}

pub async fn creating_a_room_again_finds_it(store: Arc<dyn Store>) {
    let ann = add(&store, "ann").await;
    let room = group("tea", &[ann]);
    assert_eq!(store.create_room(room.clone()).await.unwrap(), RoomCreated::Created);
    assert_eq!(store.create_room(room.clone()).await.unwrap(), RoomCreated::Exists(room.room_id));
    assert_eq!(assert_sound(&store, room.room_id).await.len(), 2);
}

pub async fn members_come_in_order_of_joining_in_pages(store: Arc<dyn Store>) {
    let mut people = Vec::new();
    for name in ["eve", "dan", "cid", "bob", "ann"] {
        people.push(add(&store, name).await);
    }
    people.swap(0, 3);
    let room = add_group(&store, &people).await;
    assert_eq!(usernames(&store, room, None, 9).await, ["bob", "dan", "cid", "eve", "ann"]);
    assert_eq!(usernames(&store, room, None, 2).await, ["bob", "dan"]);
    assert_eq!(usernames(&store, room, Some(people[1]), 2).await, ["cid", "eve"]);
    assert!(usernames(&store, room, Some(people[4]), 2).await.is_empty());
    assert!(usernames(&store, room, Some(UserId::fresh()), 2).await.is_empty());
}

pub async fn a_list_of_members_goes_on_after_one_who_left(store: Arc<dyn Store>) {
    let mut people = Vec::new();
    for name in ["ann", "bob", "cid", "dan"] {
        people.push(add(&store, name).await);
    }
    let room = add_group(&store, &people).await;
    append_all(&store, room, vec![gone(6, 0, people[0], people[1])]).await;
    assert_eq!(store.member(room, people[1]).await.unwrap(), None);
    assert_eq!(usernames(&store, room, None, 9).await, ["ann", "cid", "dan"]);
    assert_eq!(usernames(&store, room, Some(people[1]), 9).await, ["cid", "dan"]);
}

pub async fn who_comes_back_is_last_and_has_read_everything(store: Arc<dyn Store>) {
    let (ann, bob, cid) = (add(&store, "ann").await, add(&store, "bob").await, add(&store, "cid").await);
    let room = add_group(&store, &[ann, bob, cid]).await;
    append_all(
        &store,
        room,
        vec![message(5, 1, ann), gone(6, 1, bob, bob), message(7, 2, ann), joined(8, 2, ann, bob), message(9, 3, ann)],
    )
    .await;
    assert_eq!(usernames(&store, room, None, 9).await, ["ann", "cid", "bob"]);
    assert_eq!(mark_of(&store, room, bob).await, ReadMark { seq: 8, ordinal: 2 });
    assert_eq!(usernames(&store, room, Some(bob), 9).await, Vec::<String>::new());
    assert_sound(&store, room).await;
}

pub async fn roles_and_names_follow_the_log(store: Arc<dyn Store>) {
    let (ann, room) = ann_alone(&store).await;
    let stranger = add(&store, "bob").await;
    append_all(
        &store,
        room,
        vec![
            renamed(3, 0, ann, "cocoa"),
            role_set(4, 0, ann, ann, RoomRole::Owner),
            role_set(5, 0, ann, stranger, RoomRole::Owner),
            gone(6, 0, ann, stranger),
            role_set(7, 0, ann, ann, RoomRole::Moderator),
            renamed(8, 0, ann, "milk"),
        ],
    )
    .await;
    assert_eq!(store.room(room).await.unwrap().unwrap().name.as_deref(), Some("milk"));
    assert_eq!(store.member(room, ann).await.unwrap().unwrap().role, RoomRole::Moderator);
    assert_eq!(store.member(room, stranger).await.unwrap(), None);
}

pub async fn joining_and_leaving_in_one_batch_ends_as_written(store: Arc<dyn Store>) {
    let (ann, room) = ann_alone(&store).await;
    let (bob, cid) = (add(&store, "bob").await, add(&store, "cid").await);
    append_all(
        &store,
        room,
        vec![
            joined(3, 0, ann, bob),
            message(4, 1, bob),
            gone(5, 1, ann, bob),
            joined(6, 1, ann, cid),
            message(7, 2, cid),
            gone(8, 2, ann, cid),
            joined(9, 2, ann, cid),
        ],
    )
    .await;
    assert_eq!(store.member(room, bob).await.unwrap(), None);
    assert_eq!(mark_of(&store, room, cid).await, ReadMark { seq: 9, ordinal: 2 });
    assert!(store.room_ids_of(bob, None, 9).await.unwrap().is_empty());
}

pub async fn a_read_mark_moves_forward_to_the_head_and_never_back(store: Arc<dyn Store>) {
    let (ann, bob) = (add(&store, "ann").await, add(&store, "bob").await);
    let room = add_group(&store, &[ann, bob]).await;
    append_all(&store, room, vec![message(4, 1, ann), renamed(5, 1, ann, "x"), message(6, 2, ann)]).await;
    let set = |seq| store.set_read(room, bob, seq);
    let mark = |seq, ordinal| Some(ReadMark { seq, ordinal });
    assert_eq!(set(0).await.unwrap(), mark(3, 0));
    assert_eq!(set(5).await.unwrap(), mark(5, 1));
    assert_eq!(set(4).await.unwrap(), mark(5, 1));
    assert_eq!(mark_of(&store, room, bob).await, ReadMark { seq: 5, ordinal: 1 });
    assert_eq!(set(u64::MAX).await.unwrap(), mark(6, 2));
    assert_eq!(set(1).await.unwrap(), mark(6, 2));
    assert_eq!(store.set_read(room, UserId::fresh(), 1).await.unwrap(), None);
    assert_eq!(store.set_read(RoomId::fresh(), bob, 1).await.unwrap(), None);
}

pub async fn posting_moves_the_senders_own_mark(store: Arc<dyn Store>) {
    let (ann, bob) = (add(&store, "ann").await, add(&store, "bob").await);
    let room = add_group(&store, &[ann, bob]).await;
    append_all(&store, room, vec![message(4, 1, ann), message(5, 2, bob), message(6, 3, ann), renamed(7, 3, bob, "x")])
        .await;
    assert_eq!(mark_of(&store, room, ann).await, ReadMark { seq: 6, ordinal: 3 });
    assert_eq!(mark_of(&store, room, bob).await, ReadMark { seq: 5, ordinal: 2 });
}

pub async fn fifty_marks_at_once_end_at_the_furthest(store: Arc<dyn Store>) {
    let (ann, bob) = (add(&store, "ann").await, add(&store, "bob").await);
    let room = add_group(&store, &[ann, bob]).await;
    append_all(&store, room, (1..=50).map(|n| message(3 + n, n, ann)).collect()).await;
    join_all((1..=50).map(|n| store.set_read(room, bob, 3 + (n * 7) % 51))).await;
    assert_eq!(mark_of(&store, room, bob).await, ReadMark { seq: 53, ordinal: 50 });
}

async fn all_rooms(store: &Arc<dyn Store>, user: UserId, limit: usize) -> Vec<RoomSummary> {
    let mut all: Vec<RoomSummary> = Vec::new();
    loop {
        let after =
            all.last().map(|summary| RoomCursor { active_at: summary.room.active_at, room_id: summary.room.room_id });
        let page = store.rooms_of(user, after, limit, 9).await.unwrap();
        assert!(page.len() <= limit);
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

pub async fn rooms_are_listed_latest_first_in_pages(store: Arc<dyn Store>) {
    let (ann, bob) = (add(&store, "ann").await, add(&store, "bob").await);
    let mut rooms = Vec::new();
    for n in 0..5 {
        let people = if n == 2 { vec![bob] } else { vec![ann, bob] };
        let room = add_group(&store, &people).await;
        let next = store.room(room).await.unwrap().unwrap().head_seq + 1;
        let mut event = message(next, 1, bob);
        event.sent_at = at(100_000 + (n * 3 % 5) * 1_000);
        append_all(&store, room, vec![event]).await;
        rooms.push(room);
    }
    let ids = |all: Vec<RoomSummary>| all.into_iter().map(|summary| summary.room.room_id).collect::<Vec<_>>();
    // Activity by room: 0, 3, 1, 4, 2.
    assert_eq!(ids(all_rooms(&store, ann, 2).await), [rooms[3], rooms[1], rooms[4], rooms[0]]);
    assert_eq!(ids(all_rooms(&store, bob, 3).await), [rooms[3], rooms[1], rooms[4], rooms[2], rooms[0]]);
    assert!(all_rooms(&store, UserId::fresh(), 3).await.is_empty());
}

pub async fn rooms_of_one_instant_are_listed_once_each(store: Arc<dyn Store>) {
    let ann = add(&store, "ann").await;
    let mut rooms = Vec::new();
    for _ in 0..7 {
        rooms.push(add_group(&store, &[ann]).await);
    }
    rooms.sort_unstable();
    rooms.reverse();
    let listed: Vec<RoomId> = all_rooms(&store, ann, 2).await.iter().map(|summary| summary.room.room_id).collect();
    assert_eq!(listed, rooms);
}

pub async fn a_summary_shows_the_latest_message_and_the_first_names(store: Arc<dyn Store>) {
    let mut people = Vec::new();
    for name in ["Cid", "bob", "ann"] {
        people.push(add(&store, name).await);
    }
    let room = add_group(&store, &people).await;
    let quiet = store.rooms_of(people[0], None, 9, 2).await.unwrap();
    assert_eq!(quiet[0].last_message, None);
    let last = message(6, 2, people[1]);
    append_all(&store, room, vec![message(5, 1, people[0]), last.clone(), renamed(7, 2, people[0], "x")]).await;
    let expected = RoomSummary {
        room: store.room(room).await.unwrap().unwrap(),
        role: RoomRole::Member,
        read: ReadMark { seq: 5, ordinal: 1 },
        unread: 1,
        last_message: Some(last.frame.body()),
        usernames: vec!["Cid".into(), "bob".into()],
    };
    assert_eq!(store.rooms_of(people[0], None, 9, 2).await.unwrap(), [expected]);
    assert!(store.rooms_of(people[0], None, 9, 0).await.unwrap()[0].usernames.is_empty());
    assert!(store.rooms_of(people[0], None, 0, 9).await.unwrap().is_empty());
}

pub async fn room_ids_come_ascending_in_pages(store: Arc<dyn Store>) {
    let ann = add(&store, "ann").await;
    let mut rooms = Vec::new();
    for _ in 0..5 {
        rooms.push(add_group(&store, &[ann]).await);
    }
    rooms.sort_unstable();
    assert_eq!(store.room_ids_of(ann, None, 3).await.unwrap(), rooms[..3]);
    assert_eq!(store.room_ids_of(ann, Some(rooms[2]), 3).await.unwrap(), rooms[3..]);
    assert!(store.room_ids_of(ann, Some(rooms[4]), 3).await.unwrap().is_empty());
}

pub async fn rooms_count_for_those_who_are_there_by_their_own_doing(store: Arc<dyn Store>) {
    let (ann, bob) = (add(&store, "ann").await, add(&store, "bob").await);
    let counts = async || (store.room_count_of(ann).await.unwrap(), store.room_count_of(bob).await.unwrap());
    assert_eq!(counts().await, (0, 0));
    add_group(&store, &[ann, bob]).await;
    let left = add_group(&store, &[ann, bob]).await;
    assert_eq!(counts().await, (2, 0), "bob was put there");
    append_all(&store, left, vec![gone(4, 0, bob, bob), joined(5, 0, bob, bob)]).await;
    assert_eq!(counts().await, (2, 1), "and came by himself");
    append_all(&store, left, vec![gone(6, 0, ann, bob), gone(7, 0, ann, ann)]).await;
    assert_eq!(counts().await, (1, 0));
    append_all(&store, left, vec![joined(8, 0, bob, ann)]).await;
    assert_eq!(counts().await, (1, 0), "put back by somebody else");
}
