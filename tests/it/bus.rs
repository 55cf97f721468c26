//! The contract of `Bus`, as tests that every implementation passes; and what only one over a network can promise.
//!
//! A test of the contract is `async fn(Arc<dyn Bus>)`, and knows no bus in particular. What several nodes hear of each
//! other is in `nats.rs`, what becomes of it when something breaks in `faults.rs`, who is let in in `access.rs`.

mod access;
mod faults;
mod nats;
mod node;
mod proxy;

use std::sync::{Arc, Mutex};

use natter::{
    bus::{Bus, Heard, Hint, local::LocalBus, nats::NatsBus},
    types::{RoomId, UserId},
};

use crate::harness::{Nats, until};

/// Every test of the contract, run with `$with_bus`, which makes a bus that carries.
macro_rules! contract {
    ($with_bus:path) => {
        contract! { $with_bus;
            a_hint_is_heard_here_before_publish_returns,
            hints_are_heard_in_the_order_in_which_they_were_published,
            a_listener_may_publish_and_ask,
            a_node_hears_itself,
            a_closed_bus_still_tells_its_own_node_and_closing_twice_is_fine,
        }
    };
    ($with_bus:path; $($test:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                $with_bus(super::$test).await;
            }
        )*
    };
}

mod contract_on_local {
    contract!(super::with_local);
}

mod contract_on_nats {
    contract!(super::with_nats);
}

async fn with_local<F: Future<Output = ()>>(test: impl FnOnce(Arc<dyn Bus>) -> F) {
    test(Arc::new(LocalBus::default())).await;
}

async fn with_nats<F: Future<Output = ()>>(test: impl FnOnce(Arc<dyn Bus>) -> F) {
    let nats = Nats::start().await;
    let bus = NatsBus::connect(&node::config(&nats.url()), "chat", Arc::default()).await.expect("good settings");
    test(bus).await;
}

type Log = Arc<Mutex<Vec<Hint>>>;

/// Listens, and keeps the hints.
fn gather(bus: &Arc<dyn Bus>) -> Log {
    let log = Log::default();
    let kept = log.clone();
    bus.listen(Box::new(move |heard| {
        if let Heard::Hint(hint) = heard {
            kept.lock().unwrap().push(hint);
        }
    }));
    log
}

fn typing() -> Hint {
    Hint::Typing { room: RoomId::fresh(), user: UserId::fresh() }
}

async fn a_hint_is_heard_here_before_publish_returns(bus: Arc<dyn Bus>) {
    let log = gather(&bus);
    for number in 1..100 {
        let hint = typing();
        bus.publish(hint.clone());
        let log = log.lock().unwrap();
        assert_eq!((log.len(), log.last()), (number, Some(&hint)));
    }
}

async fn hints_are_heard_in_the_order_in_which_they_were_published(bus: Arc<dyn Bus>) {
    let log = gather(&bus);
    let said: Vec<Hint> = (0..1_000).map(|_| typing()).collect();
    said.iter().for_each(|hint| bus.publish(hint.clone()));
    assert_eq!(*log.lock().unwrap(), said);
    until("the bus to carry", async || bus.hears().is_ok()).await;
    said.iter().for_each(|hint| bus.publish(hint.clone()));
    assert_eq!(log.lock().unwrap()[1_000..], said, "nothing is heard twice");
}

async fn a_listener_may_publish_and_ask(bus: Arc<dyn Bus>) {
    let answers = Log::default();
    let (weak, kept) = (Arc::downgrade(&bus), answers.clone());
    bus.listen(Box::new(move |heard| {
        let Some(bus) = weak.upgrade() else { return };
        match heard {
            Heard::Hint(Hint::AskPresence) => {
                let asked = bus.hears().is_ok_and(|nodes| nodes.contains(&bus.node()));
                bus.publish(Hint::Presence { node: bus.node(), users: Vec::new(), whole: asked });
            }
            Heard::Hint(hint) => kept.lock().unwrap().push(hint),
            _ => {}
        }
    }));
    until("the bus to carry", async || bus.hears().is_ok()).await;
    bus.publish(Hint::AskPresence);
    assert_eq!(*answers.lock().unwrap(), [Hint::Presence { node: bus.node(), users: Vec::new(), whole: true }]);
}

async fn a_node_hears_itself(bus: Arc<dyn Bus>) {
    gather(&bus);
    until("the node to hear itself", async || bus.hears() == Ok(vec![bus.node()])).await;
}

async fn a_closed_bus_still_tells_its_own_node_and_closing_twice_is_fine(bus: Arc<dyn Bus>) {
    let log = gather(&bus);
    bus.close().await;
    bus.close().await;
    let hint = typing();
    bus.publish(hint.clone());
    assert_eq!(*log.lock().unwrap(), [hint]);
}
