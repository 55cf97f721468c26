//! Whom people block, what they hide, and what tells whether a room is theirs by their own doing.

use std::{collections::BTreeSet, sync::Arc};

use natter::{
    store::{BlockSet, BlockedRecord, Store},
    types::{RoomId, UserId},
};

use super::fixture::*;

async fn block(store: &Arc<dyn Store>, user: UserId, other: UserId) -> BlockSet {
    store.set_block(user, other, true, 3).await.unwrap()
}

async fn listed(store: &Arc<dyn Store>, user: UserId) -> Vec<RoomId> {
    let rooms = store.rooms_of(user, None, 9, 9).await.unwrap();
    rooms.into_iter().map(|summary| summary.room.room_id).collect()
}

pub async fn blocks_are_set_once_listed_in_pages_and_lifted(store: Arc<dyn Store>) {
    let ann = add(&store, "ann").await;
    let mut others = Vec::new();
    for name in ["bob", "cid", "dee", "eve"] {
        let user_id = add(&store, name).await;
        others.push(BlockedRecord { user_id, username: name.into() });
    }
    for other in &others[..3] {
        assert_eq!(block(&store, ann, other.user_id).await, BlockSet::Done);
        assert_eq!(block(&store, ann, other.user_id).await, BlockSet::Done, "again");
    }
    assert_eq!(block(&store, ann, others[3].user_id).await, BlockSet::TooMany);
    others.pop();
    others.sort_by_key(|other| other.user_id);
    assert_eq!(store.blocks_of(ann, None, 2).await.unwrap(), others[..2]);
    assert_eq!(store.blocks_of(ann, Some(others[1].user_id), 2).await.unwrap(), others[2..]);
    let bob = others[0].user_id;
    for _ in 0..2 {
        assert_eq!(store.set_block(ann, bob, false, 3).await.unwrap(), BlockSet::Done);
    }
    assert_eq!(store.blocks_of(ann, None, 9).await.unwrap(), others[1..]);
    assert!(store.blocks_of(bob, None, 9).await.unwrap().is_empty());
}

pub async fn two_are_apart_whoever_of_them_blocks(store: Arc<dyn Store>) {
    let (ann, bob, cid) = (add(&store, "ann").await, add(&store, "bob").await, add(&store, "cid").await);
    block(&store, ann, bob).await;
    block(&store, cid, ann).await;
    let apart = async |user| store.apart_from(user).await.unwrap().into_iter().collect::<BTreeSet<_>>();
    assert_eq!(apart(ann).await, BTreeSet::from([bob, cid]));
    assert_eq!((apart(bob).await, apart(cid).await), (BTreeSet::from([ann]), BTreeSet::from([ann])));
    assert_eq!(store.blocks_between(ann, bob).await.unwrap(), [ann]);
    assert_eq!(store.blocks_between(bob, ann).await.unwrap(), [ann]);
    assert!(store.blocks_between(bob, cid).await.unwrap().is_empty());
    block(&store, bob, ann).await;
    assert_eq!(store.blocks_between(ann, bob).await.unwrap().len(), 2);
}

pub async fn a_hidden_room_is_listed_again_with_its_next_message(store: Arc<dyn Store>) {
    let (ann, bob) = (add(&store, "ann").await, add(&store, "bob").await);
    let room = private(ann, bob, "ann+bob");
    let id = room.room_id;
    store.create_room(room).await.unwrap();
    assert_eq!(store.private_room("ann+bob").await.unwrap(), Some(id));
    assert_eq!(store.private_room("ann+cid").await.unwrap(), None);
    append_all(&store, id, vec![message(3, 1, ann)]).await;
    assert!(store.set_hidden(id, bob, true).await.unwrap());
    assert!(!store.set_hidden(id, UserId::fresh(), true).await.unwrap(), "no member");
    assert_eq!((listed(&store, bob).await, listed(&store, ann).await), (vec![], vec![id]));
    append_all(&store, id, vec![message(4, 2, ann)]).await;
    assert_eq!(listed(&store, bob).await, [id]);
    store.set_hidden(id, bob, true).await.unwrap();
    assert!(listed(&store, bob).await.is_empty());
    store.set_hidden(id, bob, false).await.unwrap();
    assert_eq!(listed(&store, bob).await, [id]);
}

pub async fn hidden_rooms_take_no_place_on_a_page(store: Arc<dyn Store>) {
    let ann = add(&store, "ann").await;
    let mut rooms = Vec::new();
    for n in 0..6 {
        let other = add(&store, &format!("other{n}")).await;
        let room = private(ann, other, &format!("ann+{n}"));
        rooms.push(room.room_id);
        store.create_room(room).await.unwrap();
        let mut said = message(3, 1, other);
        said.sent_at = at(100_000 + n * 1_000);
        append_all(&store, *rooms.last().unwrap(), vec![said]).await;
    }
    for hidden in [5, 3, 2] {
        store.set_hidden(rooms[hidden], ann, true).await.unwrap();
    }
    let page = store.rooms_of(ann, None, 2, 9).await.unwrap();
    assert_eq!(page.iter().map(|one| one.room.room_id).collect::<Vec<_>>(), [rooms[4], rooms[1]]);
}

pub async fn who_has_written_is_known(store: Arc<dyn Store>) {
    let (ann, bob) = (add(&store, "ann").await, add(&store, "bob").await);
    let room = add_group(&store, &[ann, bob]).await;
    let wrote = async |user| store.member(room, user).await.unwrap().unwrap().wrote;
    append_all(&store, room, vec![message(4, 1, ann), renamed(5, 1, bob, "x")]).await;
    store.set_read(room, bob, 5).await.unwrap();
    assert_eq!((wrote(ann).await, wrote(bob).await), (true, false));
    append_all(&store, room, vec![message(6, 2, bob)]).await;
    assert!(wrote(bob).await);
    assert!(store.members(room, None, 9).await.unwrap().iter().all(|member| member.wrote));
}
