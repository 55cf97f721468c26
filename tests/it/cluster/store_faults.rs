//! The database dies, or one node loses it: posts wait or are refused, sockets stay, and what was acknowledged is there once.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::{hears, log_everywhere, post_until_taken, storm::Storm};
use crate::harness::{Cluster, ClusterSetup, Proxy};

/// Recovery after the end of a fault, without a restart.
const SECONDS: Duration = Duration::from_secs(15);

/// Nodes that notice soon that the database does not answer.
fn impatient(nodes: usize) -> ClusterSetup {
    Cluster::setup(nodes)
        .set("store.answer_millis", "1000")
        .set("store.retry_millis", "1000")
        .set("rooms.post_secs", "3")
}

/// One of three nodes has this fault between it and the database, in the middle of a storm.
async fn a_storm_with(fault: impl AsyncFnOnce(&Proxy)) {
    let cluster = impatient(3).store_proxies().start().await;
    let storm = Storm::begin(&cluster).await;
    fault(cluster[1].store()).await;
    cluster[1].is_unready("store_unavailable").await;
    for node in [0, 2] {
        storm.goes_on(node, 10).await;
        cluster[node].reach.get("/readyz").await.ok();
    }
    cluster[1].reach.get("/healthz").await.ok();
    let healed = Instant::now();
    cluster[1].store().heal();
    storm.goes_on(1, 5).await;
    cluster.together().await;
    assert!(healed.elapsed() < SECONDS, "it took {:?} to recover", healed.elapsed());
    storm.end(&cluster).await;
}

#[tokio::test]
async fn posts_to_a_store_that_is_known_to_be_away_are_refused_at_once_and_taken_when_it_is_back() {
    // Nobody would live to see a post being given up for its own sake.
    let mut cluster = impatient(1).set("rooms.post_secs", "3600").own_database().start().await;
    let ann = cluster[0].person("ann").await;
    let rooms = [ann.group("tea", []).await, ann.group("coffee", []).await];
    for room in &rooms {
        ann.post(room, "before").await;
    }
    let mut socket = ann.follow(&rooms[0]).await;
    cluster.database_down().await;
    for n in 0..20 {
        let frame = json!({"type": "post", "chat_id": rooms[n % 2], "content": "lost?", "client_id": n.to_string()});
        let refused = socket.ask(frame).await;
        assert_eq!((&refused["type"], &refused["code"]), (&json!("error"), &json!("store_unavailable")), "{refused}");
    }
    assert!(cluster[0].metric(r#"natter_bound_hits_total{setting="rooms.away_millis"}"#).await > 0.0);
    cluster.database_up().await;
    for (n, room) in rooms.iter().enumerate() {
        post_until_taken(&ann, room, "after", &format!("after {n}")).await;
    }
    log_everywhere(&cluster, &ann, &rooms[0], 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_cut_off_from_the_database_loses_and_doubles_nothing() {
    a_storm_with(async |store| store.cut().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_database_falls_silent_loses_and_doubles_nothing() {
    a_storm_with(async |store| store.black_hole()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_gets_no_answers_from_the_database_loses_and_doubles_nothing() {
    a_storm_with(async |store| {
        store.lose_answers();
        store.harms_more_than(0).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_answers_are_cut_in_the_middle_loses_and_doubles_nothing() {
    a_storm_with(async |store| {
        store.cut_mid_answer(20);
        store.harms_more_than(0).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_lost_now_and_then_are_settled_without_anybody_noticing_but_by_the_time_it_takes() {
    let cluster = impatient(2).store_proxies().start().await;
    let storm = Storm::begin(&cluster).await;
    for round in 0..6 {
        let store = cluster[1].store();
        let before = store.harmed();
        if round % 2 == 0 {
            store.lose_answers()
        } else {
            store.cut_mid_answer(3)
        };
        store.harms_more_than(before).await;
        store.heal();
        storm.goes_on(1, 3).await;
    }
    cluster.together().await;
    storm.end(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_database_slows_one_node_and_changes_nothing_else() {
    let cluster = Cluster::setup(2).store_proxies().start().await;
    cluster[1].store().delay(Duration::from_millis(3));
    let storm = Storm::begin(&cluster).await;
    for node in 0..2 {
        storm.goes_on(node, 10).await;
    }
    storm.end(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_killed_and_restarted_in_a_storm_loses_and_doubles_nothing() {
    let mut cluster = impatient(3).own_database().start().await;
    let storm = Storm::begin(&cluster).await;
    for _ in 0..2 {
        cluster.database_down().await;
        for node in cluster.nodes() {
            node.is_unready("store_unavailable").await;
        }
        cluster.database_up().await;
        let back = Instant::now();
        for node in 0..3 {
            storm.goes_on(node, 5).await;
        }
        cluster.together().await;
        assert!(back.elapsed() < SECONDS, "it took {:?} to recover", back.elapsed());
    }
    storm.end(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_database_is_away_posts_are_refused_sockets_stay_and_recent_events_are_replayed() {
    let mut cluster = impatient(2).own_database().start().await;
    let (ann, bob) = cluster[0].two_people().await;
    let eve = cluster[0].person("eve").await;
    let room = ann.group("tea", [&bob, &eve]).await;
    let mut bobs = bob.at(&cluster[1]).socket().await;
    let given = bobs.follow(&room).await;
    let (since, epoch) =
        (given["head"].as_u64().expect("a head"), given["epoch"].as_str().expect("an epoch").to_owned());
    let mut eves = eve.at(&cluster[1]).socket().await;
    for n in 0..20 {
        ann.post(&room, &format!("said {n}")).await;
        hears(&mut bobs, &format!("said {n}")).await;
    }

    cluster.database_down().await;
    for node in cluster.nodes() {
        let lost = json!({"message": "while it is away", "client_id": "lost"});
        // Retry-After is one of the conventions of every 503.
        let refused = ann.at(node).try_post(&room, &lost).await.refused(503);
        assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("again")), "{refused}");
        node.is_unready("store_unavailable").await;
        node.reach.get("/healthz").await.ok();
    }
    let resumed = eves.resume(&room, since, &epoch).await;
    assert_eq!(resumed["lossless"], true, "{resumed}");
    for n in 0..20 {
        hears(&mut eves, &format!("said {n}")).await;
    }
    for socket in [&mut bobs, &mut eves] {
        let frames = socket.drain().await;
        assert!(frames.iter().all(|frame| frame["type"] != "message"), "{frames:?}");
    }

    cluster.database_up().await;
    let back = Instant::now();
    cluster.together().await;
    assert!(back.elapsed() < SECONDS, "it took {:?} to recover", back.elapsed());
    let posted = post_until_taken(&ann, &room, "while it is away", "lost").await;
    for socket in [&mut bobs, &mut eves] {
        assert_eq!(hears(socket, "while it is away").await["seq"], posted.seq);
    }
    let log = log_everywhere(&cluster, &ann, &room, posted.seq).await;
    assert_eq!(log.len() as u64, since + 21, "each of them once");
}
