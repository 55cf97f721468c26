//! One order on every node, and each message once, whichever node takes it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{log_everywhere, one_each, post_until_taken};
use crate::{
    harness::{Cluster, Person, Posted, Socket, in_time},
    readers::{events_to, parse, seq_of, try_post},
};

/// Sends posts `{username} 0`, `{username} 1`, … without waiting, and then takes their acknowledgements; gives the seqs.
async fn pipeline(person: Person, room: String, posts: usize) -> Vec<u64> {
    let mut socket = person.socket().await;
    for n in 0..posts {
        let (content, client_id) = (format!("{} {n}", person.username), format!("p{n}"));
        socket.send(json!({"type": "post", "chat_id": room, "content": content, "client_id": client_id})).await;
    }
    let mut seqs = Vec::new();
    while seqs.len() < posts {
        let posted = socket.expect("posted").await;
        assert_eq!(posted["client_id"], format!("p{}", seqs.len()), "acknowledged in their order");
        seqs.push(posted["seq"].as_u64().expect("a seq"));
    }
    seqs
}

/// The same, each acknowledged before the next.
async fn one_by_one(person: Person, room: String, posts: usize) -> Vec<u64> {
    let mut seqs = Vec::new();
    for n in 0..posts {
        seqs.push(person.post(&room, &format!("{} {n}", person.username)).await.seq);
    }
    seqs
}

/// What this person said, in the order of the log.
fn said_by(log: &[String], person: &Person) -> Vec<String> {
    let own = log.iter().map(|text| parse(text)).filter(|event| event["sender"] == *person.username);
    own.map(|event| event["content"].as_str().expect("content").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_and_readers_on_three_nodes_see_one_dense_order_in_equal_bytes() {
    const POSTS: usize = 60;
    let cluster = Cluster::start(3).await;
    let (quick, steady) = (one_each(&cluster, "quick").await, one_each(&cluster, "steady").await);
    let readers = one_each(&cluster, "reader").await;
    let room = quick[0].group("storm", quick[1..].iter().chain(&steady).chain(&readers)).await;
    let start = quick[0].head(&room).await;
    let end = start + (POSTS * (quick.len() + steady.len())) as u64;

    let mut reading = JoinSet::new();
    for reader in &readers {
        let mut socket = reader.follow(&room).await;
        reading.spawn(async move { events_to(&mut socket, end).await });
    }
    let mut writing = JoinSet::new();
    for (quick, steady) in quick.iter().zip(&steady) {
        writing.spawn(pipeline(quick.clone(), room.clone(), POSTS));
        writing.spawn(one_by_one(steady.clone(), room.clone(), POSTS));
    }
    let mut seqs: Vec<u64> = writing.join_all().await.into_iter().flatten().collect();
    seqs.sort_unstable();
    assert_eq!(seqs, (start + 1..=end).collect::<Vec<_>>(), "each seq is acknowledged once");

    let log = log_everywhere(&cluster, &quick[0], &room, end).await;
    assert_eq!(log.len() as u64, end);
    for seen in reading.join_all().await {
        assert!(seen == log[start as usize..], "a reader saw something else than the log: {seen:#?}");
    }
    for writer in quick.iter().chain(&steady) {
        let expected: Vec<String> = (0..POSTS).map(|n| format!("{} {n}", writer.username)).collect();
        assert_eq!(said_by(&log, writer), expected, "one sender's posts keep their order");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_race_in_one_hot_room_keep_it_dense_and_each_sender_in_order() {
    const POSTS: usize = 100;
    let cluster = Cluster::start(2).await;
    let writers = [one_each(&cluster, "tea").await, one_each(&cluster, "coffee").await].concat();
    let room = writers[0].group("hot", &writers[1..]).await;
    let start = writers[0].head(&room).await;
    let mut writing = JoinSet::new();
    for writer in &writers {
        writing.spawn(pipeline(writer.clone(), room.clone(), POSTS));
    }
    for seqs in writing.join_all().await {
        assert!(seqs.is_sorted_by(|one, next| one < next), "{seqs:?}");
    }
    let end = start + (POSTS * writers.len()) as u64;
    let log = log_everywhere(&cluster, &writers[0], &room, end).await;
    assert_eq!(log.len() as u64, end);
    for writer in &writers {
        let expected: Vec<String> = (0..POSTS).map(|n| format!("{} {n}", writer.username)).collect();
        assert_eq!(said_by(&log, writer), expected);
    }
}

/// One writer on each node posts without a pause until everybody has been acknowledged twenty times.
async fn everybody_gets_a_turn(cluster: &Cluster) {
    const TURNS: usize = 20;
    let writers = one_each(cluster, "writer").await;
    let room = writers[0].group("hot", &writers[1..]).await;
    let waiting = Arc::new(AtomicUsize::new(writers.len()));
    let mut writing = JoinSet::new();
    for writer in writers.clone() {
        let (room, waiting) = (room.clone(), waiting.clone());
        writing.spawn(async move {
            let mut turns = 0;
            while waiting.load(Ordering::Relaxed) > 0 {
                let client_id = format!("{} {turns}", writer.username);
                post_until_taken(&writer, &room, &client_id, &client_id).await;
                turns += 1;
                if turns == TURNS {
                    waiting.fetch_sub(1, Ordering::Relaxed);
                }
            }
            turns
        });
    }
    let turns = in_time("everybody's turns", writing.join_all()).await;
    assert!(turns.iter().all(|&turns| turns >= TURNS), "{turns:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_on_three_nodes_who_never_pause_all_get_their_turn() {
    everybody_gets_a_turn(&Cluster::start(3).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_farther_from_the_database_gets_its_turn_in_a_hot_room() {
    let cluster = Cluster::setup(2).store_proxies().start().await;
    cluster[1].store().delay(Duration::from_millis(10));
    everybody_gets_a_turn(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_id_retried_on_different_nodes_is_one_message() {
    let cluster = Cluster::start(3).await;
    let (ann, bob) = cluster[0].two_people().await;
    let room = ann.private(&bob).await;
    let head = ann.head(&room).await;
    let mut trying = JoinSet::new();
    for number in 0..30 {
        let (ann, room) = (ann.at(&cluster[number % 3]), room.clone());
        trying.spawn(async move { ann.post_once(&room, "once", "c").await });
    }
    let acks: Vec<Posted> = trying.join_all().await;
    assert_eq!(acks.iter().filter(|ack| !ack.duplicate).count(), 1, "{acks:?}");
    for ack in &acks {
        assert_eq!((ack.seq, &ack.message_id, &ack.sent_at), (head + 1, &acks[0].message_id, &acks[0].sent_at));
    }
    for node in cluster.nodes() {
        let other = json!({"message": "something else", "client_id": "c"});
        ann.at(node).try_post(&room, &other).await.refused(409);
    }
    assert_eq!(log_everywhere(&cluster, &ann, &room, head + 1).await.len() as u64, head + 1);
}

/// Every event up to the end of the socket.
async fn events_while_it_lasts(socket: &mut Socket) -> Vec<String> {
    let mut events = Vec::new();
    while let Ok(text) = socket.try_next().await {
        let frame = parse(&text);
        if ["message", "member", "chat"].iter().any(|kind| frame["type"] == *kind) {
            events.push(text);
        }
    }
    events
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_a_killed_node_resume_on_another_without_a_gap_and_its_writers_retry_there() {
    const POSTS: usize = 150;
    let cluster = Cluster::start(3).await;
    let people = one_each(&cluster, "person").await;
    let room = people[0].group("storm", &people[1..]).await;
    let mut socket = people[1].socket().await;
    let given = socket.follow(&room).await;
    let (start, epoch) =
        (given["head"].as_u64().expect("a head"), given["epoch"].as_str().expect("an epoch").to_owned());

    let mut writing = JoinSet::new();
    for (number, writer) in people.iter().enumerate() {
        // Whoever wrote on the node that dies goes on with another one.
        let (nodes, room) = ([writer.clone(), writer.at(&cluster[(number + 1) % 3])], room.clone());
        writing.spawn(async move {
            let mut acks = Vec::new();
            for n in 0..POSTS {
                let client_id = format!("{}-{n}", nodes[0].username);
                let body = json!({"message": client_id, "client_id": client_id});
                let ack = match try_post(&nodes[0], &room, &body).await {
                    Some(ack) => Posted::of(&ack),
                    None => post_until_taken(&nodes[1], &room, &client_id, &client_id).await,
                };
                acks.push((client_id, ack));
            }
            acks
        });
    }
    let mut seen = Vec::new();
    while seen.len() < 40 {
        seen.push(socket.next_event_text().await);
    }
    cluster[1].kill().await;
    seen.extend(events_while_it_lasts(&mut socket).await);
    let since = seen.last().map_or(start, |text| seq_of(text));
    let mut socket = people[1].at(&cluster[2]).socket().await;
    let resumed = socket.resume(&room, since, &epoch).await;
    assert_eq!((&resumed["lossless"], &resumed["since"]), (&Value::Bool(true), &json!(since)));

    let acks: Vec<(String, Posted)> = writing.join_all().await.into_iter().flatten().collect();
    let end = start + acks.len() as u64;
    if since < end {
        seen.extend(events_to(&mut socket, end).await);
    }
    let log = log_everywhere(&cluster, &people[0], &room, end).await;
    assert_eq!(log.len() as u64, end, "every post is there once");
    assert!(seen == log[start as usize..], "the reader saw something else than the log");
    for (client_id, ack) in &acks {
        let event = parse(&log[ack.seq as usize - 1]);
        assert_eq!((&event["client_id"], &event["message_id"]), (&json!(client_id), &json!(ack.message_id)));
    }
}

#[tokio::test]
async fn a_killed_node_that_comes_back_goes_on_where_the_others_are() {
    let mut cluster = Cluster::start(2).await;
    let (ann, bob) = cluster[0].two_people().await;
    let room = ann.private(&bob).await;
    let there = bob.at(&cluster[1]);
    there.post(&room, "before").await;
    cluster[1].kill().await;
    ann.post(&room, "while it is away").await;
    cluster[1].restart().await;
    cluster.together().await;
    let mut socket = there.follow(&room).await;
    let posted = ann.post(&room, "after").await;
    assert_eq!(super::hears(&mut socket, "after").await["seq"], posted.seq);
    log_everywhere(&cluster, &ann, &room, posted.seq).await;
}

#[tokio::test]
async fn two_people_who_open_their_private_room_on_two_nodes_at_once_get_one_room() {
    let cluster = Cluster::start(2).await;
    for round in 0..5 {
        let ann = cluster[0].person(&format!("ann{round}")).await;
        let bob = cluster[1].person(&format!("bob{round}")).await;
        let (with_bob, with_ann) = (json!({"username": &*bob.username}), json!({"username": &*ann.username}));
        let (one, other) = tokio::join!(ann.post_json("/chat/new", &with_bob), bob.post_json("/chat/new", &with_ann));
        let mut statuses = [one.status, other.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 400], "one makes it, the other finds it");
        let id = |answer: &Value| {
            let chat_id = if answer["chat_id"].is_string() { &answer["chat_id"] } else { &answer["detail"]["chat_id"] };
            chat_id.as_str().map(String::from)
        };
        let rooms = [id(&one.body), id(&other.body)];
        assert!(rooms[0].is_some() && rooms[0] == rooms[1], "{rooms:?}");
        let room = rooms[0].as_deref().expect("a room");
        ann.post(room, "hello").await;
        bob.post(room, "hello too").await;
        assert_eq!(log_everywhere(&cluster, &ann, room, 4).await.len(), 4);
    }
}
