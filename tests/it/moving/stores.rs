//! Between SQLite and MongoDB, both ways: the same content on both sides.

use super::fixture::{cli, content, digest, exported};
use crate::harness::{Person, Server, Setup, seqs};

/// A MongoDB of the tests, with a database that nobody else uses.
fn mongo() -> Setup {
    let url = ["MONGODB_URL", "NATTER_TEST_MONGODB"].iter().find_map(|name| std::env::var(name).ok());
    let url = url.expect("set MONGODB_URL to a MongoDB for the tests; tests/run starts one");
    let name = format!("natter_moving_{}", uuid::Uuid::now_v7().simple());
    Setup::new().set("DB_URL", &url).set("DB_NAME", &name)
}

/// Two people with a private room, a group and what they said.
async fn village(server: &Server) -> (Person, Vec<String>) {
    let (ann, bob) = server.two_people().await;
    let rooms = vec![ann.private(&bob).await, ann.group("tea", [&bob]).await];
    for room in &rooms {
        for number in 0..20 {
            ann.post_once(room, &format!("{number} é 🎉"), &format!("c{number}")).await;
        }
        bob.mark_read(room, 9).await;
    }
    bob.leave(&rooms[1]).await.ok();
    (ann, rooms)
}

/// Moves a village from one store to the other and back, while the first serves.
async fn there_and_back(from: Setup, to: Setup, back: Setup) {
    let server = from.start().await;
    let (ann, rooms) = village(&server).await;
    let sum = digest(&server.cli(&["export", "first.zst"]).await.ok());
    let first = server.dir().join("first.zst");

    assert_eq!(digest(&cli(&to, &["import", &first.display().to_string()]).await.ok()), sum);
    let (second, second_sum) = exported(&to, "second.zst").await;
    assert_eq!((content(&second), &second_sum), (content(&first), &sum));
    assert_eq!(digest(&cli(&to, &["verify"]).await.ok()), sum);
    let refused = cli(&to, &["import", &first.display().to_string()]).await.failed();
    assert!(refused.contains("empty one"), "{refused}");

    let other = to.start().await;
    let ann_there = other.sign_in("ann").await;
    for room in &rooms {
        assert_eq!(ann_there.log(room).await, ann.log(room).await);
        for field in ["users", "kind", "name", "role", "head_seq", "read_seq", "unread", "last_message"] {
            assert_eq!(ann_there.chat(room).await[field], ann.chat(room).await[field], "{field}");
        }
    }
    let next = ann_there.post(&rooms[0], "goes on").await;
    assert_eq!(next.seq as usize, ann.log(&rooms[0]).await.len() + 1);

    other.cli(&["export", "third.zst"]).await.ok();
    let third = other.dir().join("third.zst");
    cli(&back, &["import", &third.display().to_string()]).await.ok();
    let last = back.start().await;
    let log = last.sign_in("ann").await.log(&rooms[0]).await;
    assert_eq!(seqs(&log), (1..=next.seq).collect::<Vec<_>>());
}

#[tokio::test]
async fn from_sqlite_to_mongodb_and_back() {
    there_and_back(Setup::new(), mongo(), Setup::new()).await;
}

#[tokio::test]
async fn from_mongodb_to_sqlite_and_back() {
    there_and_back(mongo(), Setup::new(), mongo()).await;
}

#[tokio::test]
async fn an_import_waits_for_the_last_node_to_end() {
    let server = Server::start().await;
    village(&server).await;
    server.cli(&["export", "all.zst"]).await.ok();
    let file = server.dir().join("all.zst").display().to_string();
    let busy = mongo().start().await;
    let refused = busy.cli(&["import", &file]).await.failed();
    assert!(refused.contains("serve from this database"), "{refused}");
    // It came to nothing: the node serves, and may start again.
    busy.person("carl").await;
}
