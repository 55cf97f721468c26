//! What several nodes hear of each other over NATS, while nothing is broken.

use std::time::Instant;

use natter::{
    bus::{Bus, Ended, Heard, Hint},
    event::Kind,
    types::{NodeId, RoomId, RoomRole, SessionId, UserId},
};

use super::node::{Node, config, event, typing};
use crate::harness::Nats;

fn one_of_each() -> Vec<Hint> {
    let (room, user) = (RoomId::fresh(), UserId::fresh());
    let kinds = [
        Kind::Message,
        Kind::Joined { user, role: RoomRole::Reader, username: "".into() },
        Kind::Gone { user },
        Kind::RoleSet { user, role: RoomRole::Owner },
        Kind::Renamed { name: "Tea ☕".into() },
    ];
    let events = kinds.into_iter().zip(10..).map(|(kind, seq)| {
        let body: Vec<u8> = (0..=255).cycle().take(seq as usize * 100).collect();
        event(seq, kind, body)
    });
    vec![
        Hint::UserChanged { user },
        Hint::LoginEnded { user, which: Ended::One(SessionId::fresh()) },
        Hint::LoginEnded { user, which: Ended::All { keep: Some(SessionId::fresh()) } },
        Hint::LoginEnded { user, which: Ended::All { keep: None } },
        Hint::RoomAdvanced { room, head: 14, events: events.collect() },
        Hint::RoomAdvanced { room, head: u64::MAX, events: Vec::new() },
        Hint::MembershipChanged { room, user, seq: 3, added: true },
        Hint::MembershipChanged { room, user, seq: 4, added: false },
        Hint::ReadMoved { room, user, seq: 1 << 40 },
        Hint::Typing { room, user },
        Hint::RoomWanted { room, node: NodeId::fresh() },
        Hint::Presence { node: NodeId::fresh(), users: vec![(user, true), (UserId::fresh(), false)], whole: true },
        Hint::Presence { node: NodeId::fresh(), users: Vec::new(), whole: false },
        Hint::AskPresence,
    ]
}

#[tokio::test]
async fn every_kind_of_hint_arrives_as_it_was_said() {
    let nats = Nats::start().await;
    let [ann, mut bob] = Node::several(&config(&nats.url())).await;
    let said = one_of_each();
    said.iter().for_each(|hint| ann.bus.publish(hint.clone()));
    assert_eq!(bob.hints(said.len()).await, said);
    let count = said.len() as u64;
    assert_eq!((ann.metrics.hints_sent.get(), bob.metrics.hints_heard.get()), (count, count));
    assert_eq!((ann.metrics.hints_heard.get(), bob.metrics.hints_lost.get()), (0, 0));
    assert_eq!((ann.metrics.bus_up.get(), bob.metrics.bus_up.get()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn everyone_hears_everyone_in_order_and_nothing_twice() {
    const EACH: usize = 2_000;
    let nats = Nats::start().await;
    let mut nodes: [Node; 3] = Node::several(&config(&nats.url())).await;
    let rooms = nodes.each_ref().map(|_| RoomId::fresh());
    let user = UserId::fresh();
    for seq in 0..EACH as u64 {
        for (node, room) in nodes.iter().zip(rooms) {
            node.bus.publish(Hint::ReadMoved { room, user, seq });
        }
    }
    for node in &mut nodes {
        let heard = node.hints(3 * EACH).await;
        for wanted in rooms {
            let seqs = heard.iter().filter_map(|hint| match hint {
                Hint::ReadMoved { room, seq, .. } if *room == wanted => Some(*seq),
                _ => None,
            });
            assert!(seqs.eq(0..EACH as u64));
        }
        assert_eq!(node.metrics.hints_lost.get(), 0);
    }
}

#[tokio::test]
async fn two_databases_do_not_hear_each_other() {
    let nats = Nats::start().await;
    let [ann, mut bob] = Node::several(&config(&nats.url())).await;
    let mut others = Vec::new();
    for cluster in ["chat2", "chat.x", "chat.>", "*", "Chat"] {
        let other = Node::with(&config(&nats.url()), cluster).await;
        other.hears(1).await;
        others.push(other);
    }
    for other in &mut others {
        let hint = typing();
        other.bus.publish(hint.clone());
        other.bus.close().await;
        assert_eq!(other.rest(), [Heard::Lost, Heard::Hint(hint)], "it hears itself alone");
    }
    let hint = typing();
    ann.bus.publish(hint.clone());
    assert_eq!(bob.hint().await, hint);
    assert_eq!(bob.bus.hears().expect("it carries").len(), 2);
}

#[tokio::test]
async fn a_node_that_ends_says_so() {
    let nats = Nats::start().await;
    let mut config = config(&nats.url());
    config.cluster.silent_millis = 600_000;
    let [ann, mut bob] = Node::several(&config).await;
    let last = typing();
    ann.bus.publish(last.clone());
    ann.bus.close().await;
    bob.heard(&Heard::Hint(last)).await;
    bob.heard(&Heard::Went(ann.id())).await;
    bob.hears(1).await;
    assert!(ann.bus.hears().is_err());
}

#[tokio::test]
async fn a_node_that_is_killed_is_gone_after_the_silence() {
    let nats = Nats::start().await;
    let [ann, mut bob, cid] = Node::several(&config(&nats.url())).await;
    let (gone, began) = (ann.id(), Instant::now());
    drop(ann);
    bob.heard(&Heard::Went(gone)).await;
    assert!(began.elapsed().as_millis() >= 900, "{:?}", began.elapsed());
    assert!(!bob.bus.hears().expect("it carries").contains(&gone));
    assert!(bob.bus.hears().expect("it carries").contains(&cid.id()));
}

#[tokio::test]
async fn a_node_that_comes_is_told_once() {
    let nats = Nats::start().await;
    let [mut ann] = Node::several(&config(&nats.url())).await;
    ann.heard(&Heard::Lost).await;
    let bob = Node::start(&nats.url()).await;
    bob.hears(2).await;
    ann.hears(2).await;
    let hint = typing();
    bob.bus.publish(hint.clone());
    for wanted in [Heard::Came(bob.id()), Heard::Hint(hint)] {
        assert_eq!(ann.next("whatever is heard", |heard| Some(heard.clone())).await, wanted);
    }
}

#[tokio::test]
async fn long_events_stay_behind() {
    let nats = Nats::with("max_payload: 8192").await;
    let mut config = config(&nats.url());
    config.bus.inline_bytes = 16_384;
    let [ann, mut bob] = Node::several(&config).await;
    let room = RoomId::fresh();
    let mut say = async |head, lengths: &[usize]| {
        let events = lengths.iter().zip(1..).map(|(length, seq)| event(seq, Kind::Message, vec![b'x'; *length]));
        ann.bus.publish(Hint::RoomAdvanced { room, head, events: events.collect() });
        let Hint::RoomAdvanced { events, head: found, .. } = bob.hint().await else { panic!("another hint") };
        assert_eq!(found, head);
        events.len()
    };
    assert_eq!(say(1, &[3_000, 3_000]).await, 2);
    // More than a message of this server holds, and more than the setting lets through.
    assert_eq!(say(2, &[5_000, 5_000]).await, 0);
    assert_eq!(say(3, &[16_385]).await, 0);
    assert_eq!(bob.metrics.hints_lost.get(), 0);
    assert!(ann.metrics.render().contains(r#"bound_hits_total{setting="bus.inline_bytes"} 2"#));
}

#[tokio::test]
async fn a_list_of_everybody_online_arrives_in_parts() {
    let nats = Nats::with("max_payload: 8192").await;
    let [ann, mut bob] = Node::several(&config(&nats.url())).await;
    let users: Vec<(UserId, bool)> = (0..5_000).map(|number| (UserId::fresh(), number % 3 == 0)).collect();
    ann.bus.publish(Hint::Presence { node: ann.id(), users: users.clone(), whole: true });
    let (mut found, mut begins) = (Vec::new(), Vec::new());
    while found.len() < users.len() {
        let Hint::Presence { users, whole, .. } = bob.hint().await else { panic!("another hint") };
        begins.push(whole);
        found.extend(users);
    }
    assert_eq!(found, users);
    assert!(begins[0] && begins.len() > 5 && !begins[1..].contains(&true));
}
