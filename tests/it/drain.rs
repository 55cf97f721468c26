//! Stopping: what is under way is finished, sockets are told, nothing acknowledged is lost.

use std::collections::BTreeSet;

use serde_json::json;

use crate::harness::{Person, Posted, Raw, Server};

/// A post whose head the server has taken and whose body it waits for.
async fn half_posted(person: &Person, room: &str, body: &str) -> Raw {
    let mut raw = person.reach.raw().await;
    let head = format!(
        "POST /chat/{room} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        person.token,
        body.len()
    );
    raw.write(head).await;
    raw.continued().await;
    raw
}

#[tokio::test]
async fn a_drain_finishes_posts_tells_sockets_and_exits_with_0() {
    let mut server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let mut socket = bob.follow(&room).await;
    let body = json!({"message": "in flight"}).to_string();
    let mut raw = half_posted(&ann, &room, &body).await;

    server.process().signal("TERM");
    socket.wait_for("draining").await;
    raw.write(body).await;
    let answer = raw.answer().await;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let posted = Posted::of(&answer.json());
    assert_eq!(socket.closed().await.code, 1012);
    assert_eq!(server.process().ended().await.code(), Some(0));

    server.restart().await;
    let page = bob.history(&room, "").await;
    assert_eq!(page["messages"][0]["message_id"], posted.message_id.as_str());
}

#[tokio::test]
async fn every_post_acknowledged_while_it_drains_is_in_the_log_afterwards() {
    let mut server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let mut watcher = bob.follow(&room).await;
    let storm: Vec<_> = (0..8)
        .map(|writer| {
            let (ann, url) = (ann.clone(), server.url(&format!("/chat/{room}")));
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for number in 0.. {
                    let message = format!("{writer}-{number}");
                    let request = ann.reach.http.post(&url).bearer_auth(&ann.token);
                    match request.json(&json!({"message": message})).send().await {
                        Ok(answer) if answer.status() == 200 => acknowledged.push(message),
                        // 503 or no connection: the server has stopped taking posts.
                        Ok(_) | Err(_) => break,
                    }
                }
                acknowledged
            })
        })
        .collect();
    watcher.next_events(50).await;
    assert_eq!(server.stop().await.code(), Some(0));
    let mut acknowledged = BTreeSet::new();
    for writer in storm {
        acknowledged.extend(writer.await.expect("a writer"));
    }
    server.restart().await;
    let log = bob.log(&room).await;
    let stored: BTreeSet<String> = log.iter().filter_map(|event| event["content"].as_str()).map(String::from).collect();
    let lost: Vec<&String> = acknowledged.difference(&stored).collect();
    assert!(lost.is_empty(), "{lost:?}");
    assert!(acknowledged.len() >= 50);
}

#[tokio::test]
async fn a_draining_server_takes_no_new_connection() {
    let server = Server::with(&[("server.drain_secs", "60")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let mut socket = ann.socket().await;
    let held = half_posted(&ann, &room, "{}").await;
    server.process().signal("TERM");
    socket.wait_for("draining").await;
    crate::harness::until("connections to be refused", async || {
        tokio::net::TcpStream::connect(server.reach.addr).await.is_err()
    })
    .await;
    assert!(server.process().running());
    drop(held);
}

#[tokio::test]
async fn a_request_that_does_not_end_holds_up_the_drain_no_longer_than_its_time() {
    let server =
        Server::with(&[("server.drain_secs", "2"), ("limits.body_secs", "600"), ("limits.request_secs", "600")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let held = half_posted(&ann, &room, "{\"message\":\"never sent\"}").await;
    assert_eq!(server.stop().await.code(), Some(0));
    drop(held);
}

#[tokio::test]
async fn sigint_drains_too() {
    let server = Server::start().await;
    let mut socket = server.person("ann").await.socket().await;
    server.process().signal("INT");
    socket.wait_for("draining").await;
    assert_eq!(socket.closed().await.code, 1012);
    assert_eq!(server.process().ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_exits_at_once() {
    let server =
        Server::with(&[("server.drain_secs", "600"), ("limits.body_secs", "600"), ("limits.request_secs", "600")])
            .await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let mut socket = ann.socket().await;
    let held = half_posted(&ann, &room, "{}").await;
    server.process().signal("TERM");
    socket.wait_for("draining").await;
    server.process().signal("TERM");
    assert_ne!(server.process().ended().await.code(), Some(0));
    drop(held);
}

#[tokio::test]
async fn a_server_without_clients_stops_at_once() {
    let server = Server::with(&[("server.drain_secs", "600")]).await;
    server.two_people().await;
    assert_eq!(server.stop().await.code(), Some(0));
    assert!(!server.data().join("natter.sock").exists(), "the control socket is taken away");
}
