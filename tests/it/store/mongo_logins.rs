//! What the store on MongoDB keeps of logins, and what it finds of them in databases of versions before.

use std::sync::Arc;

use futures_util::future::join_all;
use mongodb::bson::{Document, doc};
use natter::store::{Presented, Renewal, Rotation, SessionRecord, Store, mongo::MongoStore};

use super::{
    fixture::{add, instead, login, renewal, token},
    mongo::{Place, with_two},
};

async fn begun(store: &Arc<MongoStore>, name: &str) -> SessionRecord {
    let handle: Arc<dyn Store> = store.clone();
    let session = login(add(&handle, name).await, 0);
    store.create_session(session.clone(), token(&session, 0), 9).await.unwrap();
    session
}

#[tokio::test(flavor = "multi_thread")]
async fn of_rotations_in_two_processes_one_counts() {
    with_two(async |one, two| {
        for grace_secs in [0, 1] {
            let session = begun(&one, &format!("ann{grace_secs}")).await;
            let rotations = join_all((1..=20).map(|n| {
                let handle = if n % 2 == 0 { &one } else { &two };
                let next = instead(token(&session, 1), n);
                handle.rotate_refresh(Renewal { next, grace_secs, ..renewal(&session, 0, 1) })
            }))
            .await;
            let rotations: Vec<Rotation> = rotations.into_iter().map(Result::unwrap).collect();
            let rotated = rotations.iter().filter(|rotation| matches!(rotation, Rotation::Rotated(_))).count();
            let reused = rotations.iter().filter(|rotation| matches!(rotation, Rotation::Reused(_))).count();
            let lives = two.session(session.session_id).await.unwrap().is_some();
            assert_eq!((rotated, reused, lives), if grace_secs == 0 { (1, 1, false) } else { (20, 0, true) });
        }
    })
    .await;
}

#[tokio::test]
async fn a_login_that_is_renewed_without_end_keeps_one_document() {
    let place = Place::fresh().await;
    let store = place.open().await;
    let session = begun(&store, "ann").await;
    for n in 0..30 {
        store.rotate_refresh(renewal(&session, n, i64::from(n))).await.unwrap();
        let tokens = place.db.collection::<Document>("tokens").count_documents(doc! {}).await.unwrap();
        assert_eq!(tokens, 1, "after token {n}");
    }
    store.close().await;
    place.remove().await;
}

/// A process that was held up in the middle of a rotation, and goes on when the login has long been renewed by others.
#[tokio::test]
async fn a_successor_that_comes_too_late_counts_for_nothing() {
    let place = Place::fresh().await;
    let store = place.open().await;
    let session = begun(&store, "ann").await;
    let tokens = place.db.collection::<Document>("tokens");
    let mut late = tokens.find_one(doc! {}).await.unwrap().unwrap();
    for n in 0..3 {
        store.rotate_refresh(renewal(&session, n, i64::from(n))).await.unwrap();
    }
    late.insert("_id", format!("{}:1", session.session_id));
    late.insert("rev", 1_i64);
    tokens.insert_one(late).await.unwrap();
    let rotation = store.rotate_refresh(renewal(&session, 3, 4)).await.unwrap();
    assert_eq!(rotation, Rotation::Rotated(session.clone()));
    assert_eq!(tokens.count_documents(doc! {}).await.unwrap(), 1);
    store.close().await;
    place.remove().await;
}

#[tokio::test]
async fn a_database_of_the_version_before_keeps_its_logins() {
    let place = Place::fresh().await;
    let store = place.open().await;
    let session = begun(&store, "ann").await;
    store.close().await;
    // As that version left it: a token that was used, and the one that followed it.
    let hex = |byte: u8| format!("{byte:02x}").repeat(32);
    let tokens = place.db.collection::<Document>("tokens");
    tokens.delete_many(doc! {}).await.unwrap();
    let expires_at = mongodb::bson::DateTime::from_millis(session.expires_at.0);
    let id = session.session_id.to_string();
    for token in [
        doc! { "_id": hex(0), "session": &id, "expires_at": expires_at },
        doc! { "_id": hex(1), "session": &id, "prev": hex(0), "expires_at": expires_at },
    ] {
        tokens.insert_one(token).await.unwrap();
    }
    let meta = place.db.collection::<Document>("meta");
    meta.update_one(doc! { "_id": "schema" }, doc! { "$set": { "version": 1_i64 } }).await.unwrap();

    let store = place.open().await;
    let bare = |hash, now| Renewal { presented: Presented::Bare([hash; 32]), ..renewal(&session, 0, now) };
    for hash in [0, 1] {
        let found = store.session_of_refresh(Presented::Bare([hash; 32])).await.unwrap();
        assert_eq!(found, Some(session.clone()));
    }
    // Its token is answered with one of today, again where the answer was lost, and that one goes on.
    assert_eq!(store.rotate_refresh(bare(1, 2)).await.unwrap(), Rotation::Rotated(session.clone()));
    assert_eq!(store.rotate_refresh(bare(1, 3)).await.unwrap(), Rotation::Rotated(session.clone()));
    assert_eq!(store.rotate_refresh(renewal(&session, 1, 4)).await.unwrap(), Rotation::Rotated(session.clone()));
    // The used one is a copy in two hands, as ever.
    assert_eq!(store.rotate_refresh(bare(0, 5)).await.unwrap(), Rotation::Reused(session.clone()));
    assert_eq!(store.session(session.session_id).await.unwrap(), None);
    store.close().await;
    place.remove().await;
}
