//! What becomes of the bus when something breaks: it says so, blocks nobody, and is right again by itself.

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use natter::{
    bus::{Bus, Heard, Hint},
    event::Kind,
    types::RoomId,
};
use tokio::sync::mpsc;

use super::{
    node::{Node, config, event, typing},
    proxy::Proxy,
};
use crate::harness::{Nats, until};

/// A hint of one arrives at the other; what it heard before does not count.
async fn hints_flow(from: &Node, to: &mut Node) {
    to.rest();
    let hint = typing();
    from.bus.publish(hint.clone());
    to.heard(&Heard::Hint(hint)).await;
}

#[tokio::test]
async fn a_killed_server_is_told_and_found_again() {
    let mut nats = Nats::start().await;
    let [mut ann, mut bob] = Node::several(&config(&nats.url())).await;
    ann.rest();
    nats.kill().await;
    let why = ann.cut().await;
    assert!(why.contains(&nats.url()), "{why}");
    bob.cut().await;
    ann.heard(&Heard::Went(bob.id())).await;
    assert_eq!(ann.metrics.bus_up.get(), 0);

    let began = Instant::now();
    for _ in 0..50_000 {
        ann.bus.publish(typing());
    }
    assert!(began.elapsed().as_secs() < 5, "publishing into nothing took {:?}", began.elapsed());
    assert_eq!(ann.metrics.hints_lost.get(), 50_000);
    ann.rest();
    bob.rest();

    nats.restart().await;
    bob.heard(&Heard::Came(ann.id())).await;
    ann.hears(2).await;
    bob.hears(2).await;
    assert!(ann.rest().contains(&Heard::Lost));
    hints_flow(&ann, &mut bob).await;
    hints_flow(&bob, &mut ann).await;
    assert_eq!((ann.metrics.bus_up.get(), bob.metrics.bus_up.get()), (1, 1));
}

#[tokio::test]
async fn what_was_dropped_while_a_node_was_cut_off_is_lost_to_the_others_once() {
    let nats = Nats::start().await;
    let proxy = Proxy::to(nats.port()).await;
    let mut patient = config(&nats.url());
    patient.cluster.silent_millis = 60_000;
    let mut bob = Node::with(&patient, "chat").await;
    let ann = Node::start(&proxy.url()).await;
    ann.hears(2).await;
    bob.hears(2).await;
    bob.rest();
    proxy.swallow(true);
    ann.cut_saying("NATS at").await;
    for _ in 0..10 {
        ann.bus.publish(typing());
    }
    proxy.swallow(false);
    bob.heard(&Heard::Lost).await;
    ann.hears(2).await;
    hints_flow(&ann, &mut bob).await;
    assert!(!bob.rest().contains(&Heard::Lost));
    assert_eq!(bob.metrics.hints_lost.get(), 10);
}

#[tokio::test]
async fn a_natter_starts_without_its_server() {
    let mut nats = Nats::start().await;
    nats.kill().await;
    let mut ann = Node::start(&nats.url()).await;
    let why = ann.cut_saying("cannot be reached").await;
    assert!(why.contains(&nats.url()) && why.contains("refused"), "{why}");
    let hint = typing();
    ann.bus.publish(hint.clone());
    ann.heard(&Heard::Hint(hint)).await;
    nats.restart().await;
    ann.heard(&Heard::Lost).await;
    ann.hears(1).await;
}

#[tokio::test]
async fn a_bus_that_is_dropped_or_closed_leaves_nothing_behind() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let nats = Nats::start().await;
    let before = tasks();
    for closes in [true, false] {
        let node = Node::start(&nats.url()).await;
        node.hears(1).await;
        if closes {
            node.bus.close().await;
        }
        drop(node);
        until("the tasks to end", async || tasks() == before).await;
    }
    // The same for one that has just lost its connection, and one that never had any.
    let lost = Node::start(&nats.url()).await;
    lost.hears(1).await;
    nats.kill().await;
    lost.cut_saying("NATS at").await;
    drop(lost);
    until("the tasks to end", async || tasks() == before).await;
    for closes in [true, false] {
        let node = Node::start(&nats.url()).await;
        node.cut_saying("cannot be reached").await;
        if closes {
            node.bus.close().await;
        }
        drop(node);
        until("the tasks to end", async || tasks() == before).await;
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_passed_over() {
    let (away, nats) = (Nats::start().await, Nats::start().await);
    away.kill().await;
    for _ in 0..4 {
        let [node] = Node::several(&config(&format!("{},{}", away.url(), nats.url()))).await;
        drop(node);
    }
}

#[tokio::test]
async fn a_wire_that_swallows_everything_is_noticed_and_left() {
    let nats = Nats::start().await;
    let proxy = Proxy::to(nats.port()).await;
    let mut bob = Node::start(&nats.url()).await;
    let mut ann = Node::start(&proxy.url()).await;
    ann.hears(2).await;
    bob.hears(2).await;
    ann.rest();
    let began = Instant::now();
    proxy.swallow(true);
    ann.cut().await;
    let noticed = began.elapsed().as_millis();
    assert!((900..3_000).contains(&noticed), "noticed after {noticed} ms of a silence of 1000");
    bob.heard(&Heard::Went(ann.id())).await;
    ann.cut_saying("NATS at").await;

    proxy.swallow(false);
    ann.heard(&Heard::Lost).await;
    ann.hears(2).await;
    bob.hears(2).await;
    hints_flow(&ann, &mut bob).await;
    hints_flow(&bob, &mut ann).await;
}

#[tokio::test]
async fn a_full_queue_is_a_loss_that_the_others_are_told() {
    let nats = Nats::start().await;
    let mut config = config(&nats.url());
    config.bus.queue = 5;
    let [ann, mut bob] = Node::several(&config).await;
    bob.rest();
    // Nothing is sent meanwhile: the test is the only thread, and does not wait.
    let said: Vec<Hint> = (0..20).map(|_| typing()).collect();
    said.iter().for_each(|hint| ann.bus.publish(hint.clone()));
    assert_eq!(bob.next("what arrives first", |heard| Some(heard.clone())).await, Heard::Lost);
    assert_eq!(bob.hints(5).await, said[..5]);
    hints_flow(&ann, &mut bob).await;
    assert!(!bob.rest().contains(&Heard::Lost), "told once");
    assert_eq!((ann.metrics.hints_lost.get(), bob.metrics.hints_lost.get()), (15, 15));
    assert!(ann.metrics.render().contains(r#"bound_hits_total{setting="bus.queue"} 15"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_is_too_slow_loses_and_is_told() {
    let nats = Nats::start().await;
    let mut config = config(&nats.url());
    config.bus.inline_bytes = 64 * 1024;
    config.cluster.silent_millis = 60_000;
    let gate = Arc::new(Mutex::new(()));
    let (tell, heard) = mpsc::unbounded_channel();
    let waits = gate.clone();
    let listener = move |told| {
        // Its worker's other tasks go on elsewhere, or the one that sends might be among them.
        tokio::task::block_in_place(|| drop(waits.lock()));
        drop(tell.send(told));
    };
    let mut slow = Node::listening(&config, "chat", listener, heard).await;
    let ann = Node::with(&config, "chat").await;
    ann.hears(2).await;
    slow.hears(2).await;
    slow.rest();
    {
        let _shut = gate.lock().unwrap();
        // Each in a message of its own, and more of them than the client keeps.
        let events = vec![event(1, Kind::Message, vec![b'x'; 40_000])];
        for head in 0..1_500 {
            ann.bus.publish(Hint::RoomAdvanced { room: RoomId::fresh(), head, events: events.clone() });
        }
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current()
                .block_on(until("all to be sent", async || ann.metrics.hints_sent.get() == 1_500));
        });
    }
    slow.heard(&Heard::Lost).await;
    until("the loss to be counted", async || slow.metrics.hints_lost.get() > 0).await;
    hints_flow(&ann, &mut slow).await;
}

#[tokio::test]
async fn what_cannot_be_read_is_a_loss_and_nothing_worse() {
    let nats = Nats::start().await;
    let [ann, mut bob] = Node::several(&config(&nats.url())).await;
    bob.rest();
    let stranger = async_nats::connect(nats.url()).await.expect("the server takes anybody");
    for (count, bytes) in [&b""[..], b"hello", &[0xff; 100], &[16; 64 * 1024]].into_iter().enumerate() {
        stranger.publish("natter.v2.chat.hints", bytes.into()).await.expect("published");
        bob.heard(&Heard::Lost).await;
        assert_eq!(bob.metrics.hints_lost.get(), count as u64 + 1);
    }
    hints_flow(&ann, &mut bob).await;
}
