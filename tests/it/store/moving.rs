//! What moving data needs of a store: every room in order, and the mark of an import that has not ended.

use std::{collections::BTreeSet, sync::Arc};

use natter::{
    store::{Begun, Store},
    types::RoomId,
};

use super::fixture::{add, add_group, ann_alone, append_all, message};

pub async fn every_room_is_listed_ascending_in_pages(store: Arc<dyn Store>) {
    assert_eq!(store.rooms(None, 10).await.unwrap(), []);
    let ann = add(&store, "ann").await;
    let mut made = BTreeSet::new();
    for _ in 0..25 {
        made.insert(add_group(&store, &[ann]).await);
    }
    let mut seen: Vec<RoomId> = Vec::new();
    loop {
        let page = store.rooms(seen.last().copied(), 10).await.unwrap();
        assert!(page.len() <= 10);
        if page.is_empty() {
            break;
        }
        seen.extend(page.iter().map(|room| room.room_id));
    }
    assert_eq!(seen, made.into_iter().collect::<Vec<_>>());
}

pub async fn a_listed_room_is_the_room(store: Arc<dyn Store>) {
    let (ann, room) = ann_alone(&store).await;
    append_all(&store, room, vec![message(3, 1, ann)]).await;
    assert_eq!(store.rooms(None, 10).await.unwrap(), [store.room(room).await.unwrap().unwrap()]);
}

pub async fn an_import_marks_an_empty_store_until_it_ends(store: Arc<dyn Store>) {
    assert_eq!(store.unfinished_import().await.unwrap(), None);
    assert_eq!(store.begin_import("one").await.unwrap(), Begun::Anew);
    assert_eq!(store.unfinished_import().await.unwrap().as_deref(), Some("one"));
    // What it has filled in so far does not keep it from going on.
    ann_alone(&store).await;
    assert_eq!(store.begin_import("one").await.unwrap(), Begun::Again);
    assert_eq!(store.begin_import("two").await.unwrap(), Begun::Other("one".into()));
    store.end_import().await.unwrap();
    assert_eq!(store.unfinished_import().await.unwrap(), None);
    store.end_import().await.unwrap();
}

pub async fn an_import_into_a_store_in_use_is_refused(store: Arc<dyn Store>) {
    add(&store, "ann").await;
    assert_eq!(store.begin_import("one").await.unwrap(), Begun::InUse);
    assert_eq!(store.unfinished_import().await.unwrap(), None);
}
