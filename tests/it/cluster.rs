//! Several natters on one database and one bus: what holds on one node holds on all, whatever fails between them.

mod access;
mod bus_faults;
mod consent;
mod cuts;
mod notices;
mod order;
mod services;
mod start;
mod store_faults;
mod storm;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    harness::{Cluster, Person, Posted, Socket, in_time, pause, until},
    readers::{assert_dense, log_bytes, try_post},
};

/// Somebody on every node, `{name}0` on the first.
async fn one_each(cluster: &Cluster, name: &str) -> Vec<Person> {
    let coming = cluster.nodes().iter().enumerate();
    join_all(coming.map(async |(number, node)| node.person(&format!("{name}{number}")).await)).await
}

/// The room's log, which is dense and the same bytes on every node that runs, up to and with `head` at least.
async fn log_everywhere(cluster: &Cluster, person: &Person, room: &str, head: u64) -> Vec<String> {
    let running = cluster.nodes().iter().filter(|node| node.process().running());
    let logs = join_all(running.map(async |node| {
        let person = person.at(node);
        until("the node to know the head", async || person.head(room).await >= head).await;
        log_bytes(&person, room).await
    }))
    .await;
    let (first, others) = logs.split_first().expect("a node runs");
    assert_dense(first, 1);
    assert!(first.len() as u64 >= head, "{} events of {head}", first.len());
    for other in others {
        assert!(first == other, "two nodes tell two logs:\n{first:#?}\n{other:#?}");
    }
    logs.into_iter().next().expect("a node runs")
}

/// Posts again and again, as a client does that gets no acknowledgement.
async fn post_until_taken(person: &Person, room: &str, text: &str, client_id: &str) -> Posted {
    let body = json!({"message": text, "client_id": client_id});
    in_time(&format!("{client_id} to be taken"), async {
        loop {
            match try_post(person, room, &body).await {
                Some(taken) => return Posted::of(&taken),
                None => pause().await,
            }
        }
    })
    .await
}

/// The next event of the log that says `content`; panics where it is not the next.
async fn hears(socket: &mut Socket, content: &str) -> Value {
    let event = socket.next_event().await;
    assert_eq!(event["content"], content, "{event}");
    event
}

async fn notice(socket: &mut Socket, room: &str, change: &str) {
    let wanted = |frame: &Value| frame["type"] == "chats" && frame["chat_id"] == room && frame["change"] == change;
    socket.find(&format!("chats {change}"), wanted).await;
}
