//! What the store on MongoDB promises beyond the contract: whose database it is, what its URL may ask for, and what
//! several processes on one database learn of each other. Two handles in a test stand for two processes.
//!
//! The server is that of `MONGODB_URL`, or the FerretDB that tests/run has started (`NATTER_TEST_MONGODB`). Updates are
//! not atomic there: what races in updates of one document runs on one handle (the contract does that), and what races
//! between two handles here is decided by inserts and deletes. The fence of the last admin needs atomic updates between
//! processes, so two handles take turns in its test.

use std::{collections::BTreeSet, env, sync::Arc, time::Duration};

use futures_util::future::join_all;
use mongodb::{
    Client, Database,
    bson::{Document, doc},
};
use natter::{
    config,
    metrics::Metrics,
    store::{
        Begun, Store, StoreError, UserChange, UserChanged, UserRecord,
        mongo::{MongoStore, OpenError},
        shared::{Changes, Mark, Moved, Shared},
    },
    types::{NodeId, Role, RoomId},
};
use uuid::Uuid;

use super::fixture::{
    add, add_admin, ann_alone, append_all, assert_sound, at, gone, joined, login, message, person, presented, token,
};

/// A database of a test's own.
pub struct Place {
    pub config: config::Store,
    pub db: Database,
}

impl Place {
    pub async fn fresh() -> Self {
        let url = ["MONGODB_URL", "NATTER_TEST_MONGODB"].iter().find_map(|name| env::var(name).ok());
        let url = url.expect(
            "These tests need a database: run them with tests/run, which starts one, or name a server in MONGODB_URL.",
        );
        let db_name = format!("natter_test_{}", Uuid::now_v7().simple());
        let db = Client::with_uri_str(&url).await.expect("a server").database(&db_name);
        Self { config: config::Store { url, db_name, ..Default::default() }, db }
    }

    async fn try_open(&self) -> Result<Arc<MongoStore>, String> {
        MongoStore::connect(&self.config, Arc::new(Metrics::default())).await.map_err(|error| error.to_string())
    }

    pub async fn open(&self) -> Arc<MongoStore> {
        self.try_open().await.unwrap()
    }

    /// Why natter does not start on it.
    async fn refused(&self) -> String {
        self.try_open().await.map(drop).expect_err("it must not open")
    }

    async fn put(&self, collection: &str, document: Document) {
        self.db.collection(collection).insert_one(document).await.unwrap();
    }

    pub async fn remove(self) {
        self.db.drop().await.unwrap();
    }
}

pub async fn with_store<F: Future<Output = ()>>(test: impl FnOnce(Arc<dyn Store>) -> F) {
    let place = Place::fresh().await;
    let store = place.open().await;
    test(store.clone()).await;
    store.close().await;
    place.remove().await;
}

/// Two processes on one database.
pub async fn with_two<F: Future<Output = ()>>(test: impl FnOnce(Arc<MongoStore>, Arc<MongoStore>) -> F) {
    let place = Place::fresh().await;
    let (one, two) = (place.open().await, place.open().await);
    test(one.clone(), two.clone()).await;
    one.close().await;
    two.close().await;
    place.remove().await;
}

fn store(handle: &Arc<MongoStore>) -> Arc<dyn Store> {
    handle.clone()
}

async fn changes(handle: &Arc<MongoStore>, mark: Mark) -> Changes {
    handle.changes(mark, true).await.unwrap()
}

#[tokio::test]
async fn an_empty_database_becomes_natters_and_stays_so() {
    let place = Place::fresh().await;
    let store = place.open().await;
    store.ready().await.unwrap();
    let (first, cluster) = (place.db.collection::<Document>("meta"), store.cluster().to_owned());
    let schema = first.find_one(doc! { "_id": "schema" }).await.unwrap().unwrap();
    assert_eq!(schema.get_str("cluster"), Ok(cluster.as_str()));
    store.close().await;
    let again = place.open().await;
    assert_eq!(again.cluster(), cluster);
    again.close().await;
    place.remove().await;
}

#[tokio::test]
async fn names_of_an_older_version_that_look_alike_stay_and_no_others_come() {
    let place = Place::fresh().await;
    let store = place.open().await;
    let all = [("ann", 1), ("аnn", 2), ("bоb", 3)]
        .map(|(name, millis)| UserRecord { created_at: at(millis), ..person(name) });
    for user in &all {
        assert!(store.bring_user(user.clone()).await.unwrap());
    }
    store.close().await;
    let change = doc! { "$unset": { "skeleton": "" } };
    place.db.collection::<Document>("users").update_many(doc! {}, change).await.unwrap();
    let change = doc! { "$set": { "version": 1_i64 } };
    place.db.collection::<Document>("meta").update_one(doc! { "_id": "schema" }, change).await.unwrap();
    let store = place.open().await;
    for user in all {
        assert_eq!(store.user_by_name(&user.folded).await.unwrap(), Some(user));
    }
    for name in ["anո", "bob"] {
        assert!(!store.create_user(person(name)).await.unwrap(), "{name}");
    }
    store.close().await;
    place.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_start_at_once_agree_on_one_database() {
    let place = Place::fresh().await;
    let stores = join_all((0..5).map(|_| place.open())).await;
    let clusters: BTreeSet<&str> = stores.iter().map(|store| store.cluster()).collect();
    assert_eq!(clusters.len(), 1);
    let keys = join_all((0..5).map(|n| stores[n].signing_key(["a", "b", "c", "d", "e"][n]))).await;
    let keys: BTreeSet<String> = keys.into_iter().map(Result::unwrap).collect();
    assert_eq!(keys.len(), 1);
    for store in stores {
        assert!(keys.contains(&store.signing_key("another").await.unwrap()));
        store.close().await;
    }
    place.remove().await;
}

#[tokio::test]
async fn a_database_of_somebody_else_is_refused_and_left_alone() {
    let place = Place::fresh().await;
    place.put("invoices", doc! { "n": 1 }).await;
    let told = place.refused().await;
    assert!(told.contains("is not natter's") && told.contains("invoices") && told.contains("DB_NAME"), "{told}");
    assert_eq!(place.db.list_collection_names().await.unwrap(), ["invoices"]);
    place.remove().await;
}

#[tokio::test]
async fn a_database_of_the_original_server_is_refused_with_the_way_over() {
    let place = Place::fresh().await;
    place.put("users", doc! { "user_id": "1", "username": "ann", "hashed_password": "$2b$12$x", "roles": [] }).await;
    let told = place.refused().await;
    assert!(told.contains("original server") && told.contains("natter import mongodb://"), "{told}");
    assert!(told.contains(&place.config.db_name) && told.contains("DB_NAME"), "{told}");
    place.remove().await;
}

#[tokio::test]
async fn a_database_of_a_newer_natter_is_refused() {
    let place = Place::fresh().await;
    place.open().await.close().await;
    let meta = place.db.collection::<Document>("meta");
    meta.update_one(doc! { "_id": "schema" }, doc! { "$set": { "version": 9_999_i64 } }).await.unwrap();
    let told = place.refused().await;
    assert!(told.contains("newer natter (schema 9999") && told.contains("Run that version"), "{told}");
    place.remove().await;
}

#[tokio::test]
async fn a_dropped_index_comes_back_and_a_wrong_one_is_refused() {
    let place = Place::fresh().await;
    place.open().await.close().await;
    let events = place.db.collection::<Document>("events");
    events.drop_index("once").await.unwrap();
    place.open().await.close().await;
    assert!(events.list_index_names().await.unwrap().contains(&"once".to_owned()));

    events.drop_index("once").await.unwrap();
    let index = mongodb::IndexModel::builder().keys(doc! { "once": 1 });
    let named = mongodb::options::IndexOptions::builder().name("once".to_owned()).build();
    events.create_index(index.options(named).build()).await.unwrap();
    let told = place.refused().await;
    assert!(told.contains("\"once\"") && told.contains("\"events\"") && told.contains("Drop the index"), "{told}");
    place.remove().await;
}

#[tokio::test]
async fn a_url_that_asks_for_less_than_natter_promises_is_refused() {
    let mut place = Place::fresh().await;
    let join = if place.config.url.contains('?') { "&" } else { "/?" };
    place.config.url = format!("{}{join}w=1", place.config.url.trim_end_matches('/'));
    let told = place.refused().await;
    assert!(told.contains("w=1") && told.contains("Leave that option out"), "{told}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_without_the_password() {
    let (url, db_name) = ("mongodb://ann:very%20secret@127.0.0.1:1/".to_owned(), "natter".to_owned());
    let config = config::Store { url, db_name, ..Default::default() };
    let opened = MongoStore::connect(&config, Arc::new(Metrics::default())).await;
    let error = opened.map(drop).expect_err("nobody is there");
    assert!(matches!(error, OpenError::Away(_)), "it may come later");
    let told = error.to_string();
    assert!(told.starts_with("MongoDB at 127.0.0.1:1 cannot be reached: "), "{told}");
    assert!(told.contains("DB_URL") && !told.contains("secret"), "{told}");
}

#[tokio::test]
async fn a_backup_names_what_does_it_instead() {
    let place = Place::fresh().await;
    let store = place.open().await;
    let Err(StoreError::Unsupported(told)) = store.backup("/nowhere".as_ref()).await else { panic!("it has none") };
    assert!(told.contains("natter export") && told.contains("mongodump"), "{told}");
    store.close().await;
    assert!(matches!(store.ready().await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.changes(Mark::default(), true).await, Err(StoreError::Unavailable(_))));
    place.remove().await;
}

#[tokio::test]
async fn what_one_process_writes_the_other_reads() {
    with_two(async |one, two| {
        let ann = person("ann");
        assert!(one.create_user(ann.clone()).await.unwrap());
        assert!(!two.create_user(person("Ann")).await.unwrap());
        assert_eq!(two.user(ann.user_id).await.unwrap(), Some(ann.clone()));
        let session = login(ann.user_id, 0);
        two.create_session(session.clone(), token(&session, 1), 9).await.unwrap();
        assert_eq!(one.session(session.session_id).await.unwrap(), Some(session.clone()));
        one.change_user(ann.user_id, UserChange::EndLogins).await.unwrap();
        assert_eq!(two.session(session.session_id).await.unwrap(), None);
        assert_eq!(two.session_of_refresh(presented(&session, 1)).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn the_last_admin_is_the_last_one_in_every_process() {
    with_two(async |one, two| {
        let (ann, bob) = (add_admin(&store(&one), "ann").await, add_admin(&store(&one), "bob").await);
        let done = two.change_user(ann, UserChange::RemoveRole(Role::Admin)).await.unwrap();
        assert!(matches!(done, UserChanged::Done(_)));
        assert_eq!(one.change_user(bob, UserChange::Disable).await.unwrap(), UserChanged::LastAdmin);
        assert_eq!(two.change_user(bob, UserChange::RemoveRole(Role::Admin)).await.unwrap(), UserChanged::LastAdmin);
        one.change_user(ann, UserChange::AddRole(Role::Admin)).await.unwrap();
        assert!(matches!(two.change_user(bob, UserChange::Disable).await.unwrap(), UserChanged::Done(_)));
    })
    .await;
}

#[tokio::test]
async fn a_login_that_was_ended_is_not_kept_by_a_new_password() {
    with_two(async |one, two| {
        let ann = add(&store(&one), "ann").await;
        let session = login(ann, 0);
        one.create_session(session.clone(), token(&session, 1), 9).await.unwrap();
        two.change_user(ann, UserChange::EndLogins).await.unwrap();
        let change = UserChange::Password { hash: "$2b$new".into(), keep: Some(session.session_id) };
        one.change_user(ann, change).await.unwrap();
        assert_eq!(one.session(session.session_id).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn changes_tell_another_process_which_users_to_look_at_again() {
    with_two(async |one, two| {
        let (ann, bob) = (add(&store(&one), "ann").await, add(&store(&one), "bob").await);
        let session = login(bob, 0);
        one.create_session(session.clone(), token(&session, 1), 9).await.unwrap();
        let first = changes(&two, Mark::default()).await;
        assert!(first.users.is_empty() && first.members.is_empty() && first.rooms.is_empty());

        one.change_user(ann, UserChange::Disable).await.unwrap();
        let second = changes(&two, first.mark).await;
        assert_eq!(second.users, [ann]);
        one.end_session(session.session_id).await.unwrap();
        let third = changes(&two, second.mark).await;
        // What changed shortly before comes again.
        assert_eq!(third.users, [ann, bob]);
        assert!(third.mark.users > first.mark.users);
        // A process that begins now has no use for what was before.
        assert!(changes(&one, Mark::default()).await.users.is_empty());
    })
    .await;
}

#[tokio::test]
async fn nodes_meet_and_part() {
    with_two(async |one, two| {
        let (a, b, long) = (NodeId::fresh(), NodeId::fresh(), Duration::from_secs(60));
        assert_eq!(one.meet(a, long).await.unwrap(), [a]);
        assert_eq!(two.meet(b, long).await.unwrap().len(), 2);
        assert_eq!(one.meet(a, long).await.unwrap().len(), 2);
        two.part(b).await.unwrap();
        assert_eq!(one.meet(a, long).await.unwrap(), [a]);
    })
    .await;
}

#[tokio::test]
async fn nodes_long_gone_are_forgotten() {
    let place = Place::fresh().await;
    let store = place.open().await;
    let long_ago = mongodb::bson::DateTime::from_millis(1_000_000);
    place.put("nodes", doc! { "_id": NodeId::fresh().to_string(), "at": long_ago }).await;
    let node = NodeId::fresh();
    assert_eq!(store.meet(node, Duration::from_secs(60)).await.unwrap(), [node]);
    assert_eq!(place.db.collection::<Document>("nodes").count_documents(doc! {}).await.unwrap(), 1);
    store.close().await;
    place.remove().await;
}

#[tokio::test]
async fn of_two_imports_that_begin_at_once_one_begins() {
    with_two(async |one, two| {
        assert_eq!(one.unfinished_import().await.unwrap(), None);
        let (first, second) = tokio::join!(one.begin_import("first"), two.begin_import("second"));
        let (first, second) = (first.unwrap(), second.unwrap());
        let name = one.unfinished_import().await.unwrap().expect("one of them");
        let expected = if name == "first" {
            (Begun::Anew, Begun::Other(name.clone()))
        } else {
            (Begun::Other(name.clone()), Begun::Anew)
        };
        assert_eq!((first, second), expected);
        add(&store(&one), "ann").await;
        assert_eq!(two.begin_import(&name).await.unwrap(), Begun::Again);
        two.end_import().await.unwrap();
        assert_eq!(one.unfinished_import().await.unwrap(), None);
        assert_eq!(one.begin_import("third").await.unwrap(), Begun::InUse);
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_read_is_told_with_its_place() {
    let place = Place::fresh().await;
    let handle = place.open().await;
    let ann = add(&store(&handle), "ann").await;
    let users = place.db.collection::<Document>("users");
    users.update_one(doc! { "_id": ann.to_string() }, doc! { "$set": { "roles": ["emperor"] } }).await.unwrap();
    let Err(StoreError::Damaged(told)) = handle.user(ann).await else { panic!("no such role") };
    assert!(told.contains("`roles`") && told.contains(&ann.to_string()), "{told}");
    handle.close().await;
    place.remove().await;
}

#[tokio::test]
async fn many_changes_are_told_in_parts_without_a_gap() {
    let place = Place::fresh().await;
    let handle = place.open().await;
    let mark = changes(&handle, Mark::default()).await.mark;
    // More in one moment than a part takes, as after a great many posts at once.
    let now = mongodb::bson::DateTime::now().timestamp_millis();
    let heads: Vec<Document> = (0..10_050)
        .map(|n| {
            let touched = mongodb::bson::DateTime::from_millis(now + n / 4_000);
            doc! { "_id": RoomId::fresh().to_string(), "head_seq": n + 1, "touched": touched }
        })
        .collect();
    for some in heads.chunks(100) {
        place.db.collection::<Document>("heads").insert_many(some).await.unwrap();
    }
    let first = changes(&handle, mark).await;
    assert_eq!(first.rooms.len(), 10_000);
    let second = changes(&handle, first.mark).await;
    let told: BTreeSet<RoomId> = first.rooms.iter().chain(&second.rooms).map(|(room, _)| *room).collect();
    assert_eq!(told.len(), heads.len());
    // Rooms that were not asked for are told when they are.
    let without = handle.changes(first.mark, false).await.unwrap();
    assert!(without.rooms.is_empty());
    assert_eq!(without.mark.rooms, first.mark.rooms);
    handle.close().await;
    place.remove().await;
}

#[tokio::test]
async fn changes_tell_who_came_and_went_and_which_rooms_grew() {
    with_two(async |one, two| {
        let stores = store(&one);
        let (ann, room) = ann_alone(&stores).await;
        let bob = add(&stores, "bob").await;
        let mark = changes(&two, Mark::default()).await.mark;
        append_all(&stores, room, vec![joined(3, 0, ann, bob), message(4, 1, bob)]).await;
        let came = changes(&two, mark).await;
        assert!(came.members.contains(&Moved { room, user: bob, seq: 3, added: true }));
        assert!(came.rooms.contains(&(room, 4)));
        append_all(&stores, room, vec![gone(5, 1, ann, bob)]).await;
        let went = changes(&two, came.mark).await;
        assert!(went.members.contains(&Moved { room, user: bob, seq: 5, added: false }));
        assert!(went.rooms.contains(&(room, 5)));
    })
    .await;
}

#[tokio::test]
async fn who_left_does_not_come_back_when_the_log_is_applied_again() {
    let place = Place::fresh().await;
    let handle = place.open().await;
    let stores = store(&handle);
    let (ann, room) = ann_alone(&stores).await;
    let bob = add(&stores, "bob").await;
    append_all(&stores, room, vec![joined(3, 0, ann, bob), message(4, 1, bob), gone(5, 1, ann, bob)]).await;
    handle.close().await;
    // As if the process had died between writing the log and what follows from it.
    let heads = place.db.collection::<Document>("heads");
    let behind = doc! { "$set": { "head_seq": 2_i64, "messages": 0_i64 } };
    heads.update_one(doc! { "_id": room.to_string() }, behind).await.unwrap();

    let handle = place.open().await;
    let stores = store(&handle);
    handle.repair(room).await.unwrap();
    assert_sound(&stores, room).await;
    assert_eq!(handle.member(room, bob).await.unwrap(), None);
    let members = handle.members(room, None, 9).await.unwrap();
    assert_eq!(members.iter().map(|member| member.user_id).collect::<Vec<_>>(), [ann]);
    assert_eq!(handle.room_count_of(bob).await.unwrap(), 0);
    handle.close().await;
    place.remove().await;
}
