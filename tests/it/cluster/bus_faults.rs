//! The bus dies, or one node loses it: hints are late or gone, and everything arrives all the same.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{hears, log_everywhere, storm::Storm};
use crate::harness::{Cluster, Node, until};

/// From a post to its delivery on another node while there is no bus.
const SECONDS: Duration = Duration::from_secs(5);

async fn metric_is(node: &Node, name: &str, value: f64) {
    until(&format!("{name} to be {value}"), async || node.metric(name).await == value).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_reach_other_nodes_while_nats_is_dead_and_nobody_restarts_anything() {
    let mut cluster = Cluster::start(3).await;
    let (ann, bob) = cluster[0].two_people().await;
    let room = ann.private(&bob).await;
    let (mut second, mut third) = (bob.at(&cluster[1]).follow(&room).await, bob.at(&cluster[2]).follow(&room).await);
    ann.post(&room, "by the bus").await;
    for socket in [&mut second, &mut third] {
        hears(socket, "by the bus").await;
    }
    for round in 0..2 {
        cluster.bus_down().await;
        for node in cluster.nodes() {
            node.is_off_the_bus().await;
            metric_is(node, "natter_bus_up", 0.0).await;
            metric_is(node, "natter_bus_trusted", 0.0).await;
            node.reach.get("/healthz").await.ok();
        }
        for n in 0..5 {
            let text = format!("without the bus {round}-{n}");
            let posted = Instant::now();
            ann.at(&cluster[n % 3]).post(&room, &text).await;
            for socket in [&mut second, &mut third] {
                hears(socket, &text).await;
            }
            assert!(posted.elapsed() < SECONDS, "it took {:?}", posted.elapsed());
        }
        cluster.bus_up().await;
        cluster.together().await;
        for node in cluster.nodes() {
            metric_is(node, "natter_bus_up", 1.0).await;
        }
        let last = ann.post(&room, "by the bus again").await;
        for socket in [&mut second, &mut third] {
            assert_eq!(hears(socket, "by the bus again").await["seq"], last.seq);
        }
        log_everywhere(&cluster, &ann, &room, last.seq).await;
    }
}

#[tokio::test]
async fn hints_that_were_lost_are_counted() {
    let mut cluster = Cluster::start(2).await;
    let (ann, bob) = cluster[0].two_people().await;
    let room = ann.private(&bob).await;
    let all = async |name: &str| cluster[0].metric(name).await + cluster[1].metric(name).await;
    ann.post(&room, "heard").await;
    until("hints to be sent and heard", async || {
        all("natter_hints_sent_total").await > 0.0 && all("natter_hints_heard_total").await > 0.0
    })
    .await;
    let before = all("natter_hints_lost_total").await;
    cluster.bus_down().await;
    for node in cluster.nodes() {
        node.is_off_the_bus().await;
    }
    for n in 0..20 {
        ann.post(&room, &format!("unheard {n}")).await;
    }
    cluster.bus_up().await;
    cluster.together().await;
    ann.post(&room, "heard again").await;
    until("the lost hints to be counted", async || {
        cluster[0].metric("natter_hints_lost_total").await + cluster[1].metric("natter_hints_lost_total").await > before
    })
    .await;
}

#[tokio::test]
async fn a_full_page_says_that_the_log_goes_on_where_only_another_node_knows() {
    let cluster = Cluster::setup(2).bus_proxies().set("cluster.poll_millis", "2000").start().await;
    let (ann, bob) = cluster[0].two_people().await;
    let room = ann.group("two", [&bob]).await;
    let mut second = bob.at(&cluster[1]).follow(&room).await;
    let first = ann.post(&room, "one").await;
    ann.patch(&format!("/chat/{room}"), &json!({"name": "three"})).await.ok();
    // The second node knows one message, and an event after it.
    second.expect("message").await;
    assert_eq!(second.expect("chat").await["seq"], first.seq + 1);
    cluster[1].bus().black_hole();
    let last = ann.post(&room, "two").await;
    let page = bob.at(&cluster[1]).history(&room, &format!("?after={}&limit=1", first.seq - 1)).await;
    assert_eq!((&page["messages"][0]["seq"], &page["next_after"]), (&json!(first.seq), &json!(first.seq)), "{page}");
    assert_eq!(page["head_seq"], last.seq);
}

/// A storm while one of three nodes cannot use the bus, and after.
async fn a_storm_with_node_1_off_the_bus(cluster: Cluster) {
    let storm = Storm::begin(&cluster).await;
    cluster[1].bus().black_hole();
    for node in cluster.nodes() {
        // Those who hear each other know from the database that there is one more.
        metric_is(node, "natter_bus_trusted", 0.0).await;
    }
    for node in 0..3 {
        storm.goes_on(node, 10).await;
    }
    let healed = Instant::now();
    cluster[1].bus().heal();
    cluster.together().await;
    assert!(healed.elapsed() < 3 * SECONDS, "it took {:?} to recover", healed.elapsed());
    storm.goes_on(1, 5).await;
    storm.end(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_bus_falls_silent_loses_and_doubles_nothing() {
    a_storm_with_node_1_off_the_bus(Cluster::setup(3).bus_proxies().start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_on_a_node_without_the_bus_hears_within_seconds_and_is_heard() {
    let cluster = Cluster::setup(2).bus_proxies().start().await;
    let (ann, bob) = cluster[0].two_people().await;
    let room = ann.private(&bob).await;
    let (mut anns, mut bobs) = (ann.follow(&room).await, bob.at(&cluster[1]).follow(&room).await);
    for silent in [true, false] {
        if silent {
            cluster[1].bus().black_hole();
        } else {
            cluster[1].bus().cut().await;
        }
        for node in cluster.nodes() {
            metric_is(node, "natter_bus_trusted", 0.0).await;
        }
        for (writer, text) in [(ann.clone(), "from here"), (bob.at(&cluster[1]), "from there")] {
            let posted = Instant::now();
            writer.post(&room, text).await;
            for socket in [&mut anns, &mut bobs] {
                hears(socket, text).await;
            }
            assert!(posted.elapsed() < SECONDS, "it took {:?}", posted.elapsed());
        }
        cluster[1].bus().heal();
        cluster.together().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hints_that_come_late_delay_and_change_nothing() {
    let cluster = Cluster::setup(2).bus_proxies().start().await;
    cluster[1].bus().delay(Duration::from_millis(100));
    let storm = Storm::begin(&cluster).await;
    for node in 0..2 {
        storm.goes_on(node, 20).await;
    }
    storm.end(&cluster).await;
}

#[tokio::test]
async fn an_event_too_long_for_a_hint_arrives_as_the_same_bytes() {
    let cluster = Cluster::setup(2).set("bus.inline_bytes", "100").start().await;
    let (ann, bob) = cluster[0].two_people().await;
    let room = ann.private(&bob).await;
    let mut socket = bob.at(&cluster[1]).follow(&room).await;
    for text in ["short", &"🫖".repeat(4_000), "short again"] {
        let posted = ann.post(&room, text).await;
        let event: Value = hears(&mut socket, text).await;
        assert_eq!(event["message_id"], posted.message_id.as_str());
    }
}
