//! `natter verify` finds each kind of damage, and nothing where nothing is wrong.

use rusqlite::Connection;

use super::fixture::{cli, database, digest, exported, filled};
use crate::harness::{Server, Setup};

/// What verify says of a database of two rooms after `damage`; `{a}` and `{b}` are the rooms' ids as blobs.
async fn found(damage: &str) -> (String, u64) {
    let setup = Setup::new();
    let mut rooms = filled(&setup, 2, 5).await;
    rooms.sort();
    let blob = |room: &natter::types::RoomId| format!("x'{}'", room.0.simple());
    let sql = damage.replace("{a}", &blob(&rooms[0])).replace("{b}", &blob(&rooms[1]));
    Connection::open(database(&setup)).and_then(|db| db.execute_batch(&sql)).expect("SQL");
    let ran = cli(&setup, &["verify"]).await;
    let told = ran.stdout.clone();
    let problems = ran.failed();
    let count =
        problems.lines().find_map(|line| line.strip_prefix("natter: ")?.split_once(" problems")?.0.parse().ok());
    (told.replace(&rooms[0].to_string(), "A").replace(&rooms[1].to_string(), "B"), count.expect("a count"))
}

#[tokio::test]
async fn what_is_sound_is_said_to_be() {
    let setup = Setup::new();
    filled(&setup, 3, 20).await;
    let told = cli(&setup, &["verify"]).await.ok();
    assert!(told.contains("all sound: 1 users, 3 chats, 66 events (60 messages)"), "{told}");
    assert_eq!(digest(&told).len(), 64);
}

#[tokio::test]
async fn long_logs_are_read_to_their_ends_though_the_store_has_one_reader() {
    let setup = Setup::new().set("store.readers", "1");
    filled(&setup, 12, 1_100).await;
    let told = cli(&setup, &["verify"]).await.ok();
    assert!(told.contains("12 chats"), "{told}");
    let (_, exported) = exported(&setup, "all.zst").await;
    assert_eq!(exported, digest(&told));
}

#[tokio::test]
async fn a_running_server_is_verified_too() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    ann.post(&room, "one").await;
    let told = server.cli(&["verify"]).await.ok();
    assert!(told.contains("2 users, 1 chats, 3 events"), "{told}");
    server.stop().await;
    assert_eq!(server.cli(&["verify"]).await.ok(), told);
}

#[tokio::test]
async fn each_kind_of_damage_is_found_and_placed() {
    for (damage, problem) in [
        ("DELETE FROM events WHERE room_id = {a} AND seq = 4", "chat A: seq 5 follows seq 3"),
        ("DELETE FROM events WHERE room_id = {a} AND seq = 7", "chat A: its head_seq is 7, and the log says 6"),
        (
            "UPDATE events SET ordinal = 9 WHERE room_id = {a} AND seq = 4",
            "chat A: seq 4: its ordinal is 9 and should be 2",
        ),
        (
            "UPDATE events SET event_id = (SELECT event_id FROM events WHERE room_id = {b} AND seq = 1)
             WHERE room_id = {a} AND seq = 1",
            "chat B: seq 1: it has the message_id of chat A, seq 1",
        ),
        (
            "DROP INDEX events_once; UPDATE events SET client_id = 'c' WHERE room_id = {a} AND seq IN (4, 5)",
            "chat A: seq 5: it has the client_id of the same sender of chat A, seq 4",
        ),
        ("UPDATE events SET body = x'7b' WHERE room_id = {a} AND seq = 4", "chat A: seq 4: its body is no event"),
        (
            "UPDATE events SET body = (SELECT body FROM events WHERE room_id = {b} AND seq = 4) WHERE room_id = {a} AND seq = 4",
            "chat A: seq 4: its body says chat_id B, and it is A",
        ),
        (
            "UPDATE events SET body = (SELECT body FROM events WHERE room_id = {a} AND seq = 5) WHERE room_id = {a} AND seq = 4",
            "chat A: seq 4: its body says seq 5, and it is 4",
        ),
        (
            "UPDATE events SET body = CAST(replace(CAST(body AS TEXT), '\"message\"', '\"member\"') AS BLOB)
             WHERE room_id = {a} AND seq = 4",
            "chat A: seq 4: its body says type member, and it is message",
        ),
        ("UPDATE events SET sent_at = 1 WHERE room_id = {a} AND seq = 4", "chat A: seq 4: its body says sent_at"),
        ("UPDATE rooms SET messages = 4 WHERE room_id = {a}", "chat A: its messages is 4, and the log says 5"),
        ("UPDATE rooms SET active_at = 1 WHERE room_id = {a}", "chat A: its active_at is 1"),
        ("UPDATE rooms SET head_seq = 6 WHERE room_id = {a}", "chat A: its log goes on after its head at seq 6"),
        (
            "UPDATE rooms SET name = 'x' WHERE room_id = {a}",
            "chat A: its name is Some(\"x\"), and the log says Some(\"tea\")",
        ),
        ("UPDATE members SET role = 2 WHERE room_id = {a}", "is kept as member, and the log says owner"),
        ("DELETE FROM members WHERE room_id = {a}", "is a member by the log, and is not kept as one"),
        (
            "INSERT INTO users SELECT randomblob(16), 'bob', 'bob', 'bob', '!', 2, 0, 0, 0, NULL, NULL;
             INSERT INTO members (room_id, user_id, role, joined_seq, read_seq, read_ordinal)
                 SELECT {a}, user_id, 2, 2, 2, 0 FROM users WHERE folded = 'bob'",
            "is kept as a member, and the log says otherwise",
        ),
        ("UPDATE members SET read_seq = 99 WHERE room_id = {a}", "is at seq 99, where no event is"),
        ("UPDATE members SET read_ordinal = 1 WHERE room_id = {a}", "at seq 7 counts 1, and should 5"),
        ("UPDATE users SET folded = 'bob'", "user \"ann\": it is found as \"bob\" and should be as \"ann\""),
        ("DELETE FROM users", "seq 1: it names user"),
        ("UPDATE rooms SET kind = 0 WHERE room_id = {a}", "chat A: a private chat has two members, and this one has 1"),
    ] {
        let (told, count) = found(damage).await;
        assert!(told.contains(problem), "{damage}: {told}");
        assert!(count > 0);
    }
}

#[tokio::test]
async fn two_rooms_of_one_pair_are_found() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let carl = server.person("carl").await;
    let (first, second) = (ann.private(&bob).await, ann.private(&carl).await);
    let ids = |name: &str| format!("(SELECT user_id FROM users WHERE folded = '{name}')");
    server.stop().await;
    // The second room is made one of Ann and Bob throughout: log, members, and its pair forgotten.
    let sql = format!(
        "UPDATE events SET effect = x'01' || {bob} || x'02' WHERE effect = x'01' || {carl} || x'02';
         UPDATE members SET user_id = {bob} WHERE user_id = {carl};",
        bob = ids("bob"),
        carl = ids("carl"),
    );
    let sql = sql.replace("x'01' || ", "CAST(x'01' || ").replace(" || x'02'", " || x'02' AS BLOB)");
    Connection::open(server.data().join("natter.db")).and_then(|db| db.execute_batch(&sql)).expect("SQL");
    let ran = server.cli(&["verify"]).await;
    let told = ran.stdout.clone();
    ran.failed();
    let line = told.lines().find(|line| line.contains("the same two people have chat"));
    assert!(line.is_some_and(|line| line.contains(&first) && line.contains(&second)), "{told}");
}

#[tokio::test]
async fn what_is_damaged_is_not_exported() {
    let setup = Setup::new();
    filled(&setup, 1, 5).await;
    Connection::open(database(&setup))
        .and_then(|db| db.execute_batch("DELETE FROM events WHERE seq = 4"))
        .expect("SQL");
    let refused = cli(&setup, &["export", "all.zst"]).await.failed();
    assert!(refused.contains("seq 5 follows seq 3") && refused.contains("natter verify"), "{refused}");
    assert!(!setup.dir().join("all.zst").exists());
    assert_eq!(std::fs::read_dir(setup.dir()).expect("the folder").count(), 1, "only the data is there");
}
