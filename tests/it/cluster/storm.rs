//! Writers and readers on every node, who go on through whatever happens, and a count at the end: everything acknowledged is
//! in the log once, everybody saw the log, and all nodes tell the same one. The writers take a breath between two posts: what
//! becomes of those who take none is asked in `order.rs`.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{sync::watch, task::JoinSet};

use super::{log_everywhere, one_each, post_until_taken};
use crate::{
    harness::{Cluster, Person, Posted, in_time, pause},
    readers::parse,
};

/// The last message, by which a reader knows that it has seen everything.
const END: &str = "the end";

pub struct Storm {
    people: Vec<Person>,
    room: String,
    /// The head before the storm.
    start: u64,
    /// Acknowledged so far, of the writer on each node.
    counts: Vec<watch::Receiver<usize>>,
    stop: Arc<AtomicBool>,
    writing: JoinSet<Vec<(String, Posted)>>,
    reading: JoinSet<Vec<String>>,
}

impl Storm {
    /// A writer and a reader on each node, in one room; returns when each writer has been acknowledged a few times.
    pub async fn begin(cluster: &Cluster) -> Self {
        let people = one_each(cluster, "person").await;
        let room = people[0].group("storm", &people[1..]).await;
        let start = people[0].head(&room).await;
        let mut storm = Self {
            people,
            room,
            start,
            counts: Vec::new(),
            stop: Arc::default(),
            writing: JoinSet::new(),
            reading: JoinSet::new(),
        };
        for person in storm.people.clone() {
            let mut socket = person.follow(&storm.room).await;
            storm.reading.spawn(async move {
                let mut seen = Vec::new();
                loop {
                    let text = socket.next_event_text().await;
                    let ends = parse(&text)["content"] == END;
                    seen.push(text);
                    if ends {
                        return seen;
                    }
                }
            });
        }
        for person in storm.people.clone() {
            let (count, counted) = watch::channel(0);
            storm.counts.push(counted);
            storm.writing.spawn(write(person, storm.room.clone(), count, storm.stop.clone()));
        }
        for node in 0..storm.people.len() {
            storm.goes_on(node, 5).await;
        }
        storm
    }

    /// Waits until the writer on `node` has been acknowledged so many times more.
    pub async fn goes_on(&self, node: usize, more: usize) {
        let mut count = self.counts[node].clone();
        let enough = *count.borrow() + more;
        let waiting = count.wait_for(|&count| count >= enough);
        in_time(&format!("posts on node {node}"), waiting).await.expect("the writer goes on");
    }

    /// Lets everybody finish, and counts.
    pub async fn end(mut self, cluster: &Cluster) {
        self.stop.store(true, Ordering::Relaxed);
        let acks: Vec<(String, Posted)> = self.writing.join_all().await.into_iter().flatten().collect();
        let last = post_until_taken(&self.people[0], &self.room, END, "end").await;
        let log = log_everywhere(cluster, &self.people[0], &self.room, last.seq).await;
        while let Some(seen) = self.reading.join_next().await {
            assert!(seen.expect("a reader") == log[self.start as usize..], "a reader saw something else than the log");
        }
        let mut by_client_id = BTreeMap::new();
        for event in log.iter().map(|text| parse(text)).filter(|event| event["type"] == "message") {
            let client_id = event["client_id"].as_str().expect("a client_id").to_owned();
            assert!(by_client_id.insert(client_id.clone(), event).is_none(), "{client_id} is there twice");
        }
        assert_eq!(by_client_id.len(), acks.len() + 1, "every post was acknowledged in the end, and is there");
        for (client_id, ack) in &acks {
            let event = by_client_id.get(client_id).unwrap_or_else(|| panic!("{client_id} is lost: {ack:?}"));
            assert_eq!(event["message_id"], ack.message_id.as_str(), "{client_id}");
            assert_eq!(event["seq"], ack.seq, "{client_id}");
        }
    }
}

/// Posts until it is told to stop, each message until it is acknowledged.
async fn write(
    person: Person,
    room: String,
    count: watch::Sender<usize>,
    stop: Arc<AtomicBool>,
) -> Vec<(String, Posted)> {
    let mut acks: Vec<(String, Posted)> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let client_id = format!("{}-{}", person.username, acks.len());
        let ack = post_until_taken(&person, &room, &client_id, &client_id).await;
        assert!(acks.last().is_none_or(|(_, before)| before.seq < ack.seq), "{client_id} comes before an earlier one");
        acks.push((client_id, ack));
        count.send_replace(acks.len());
        pause().await;
    }
    acks
}
