//! The sizes and times of HTTP: past each, the client is told so or cut off, it is counted, and nobody else notices.

use reqwest::Method;
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::{
    harness::{PASSWORD, Person, Raw, Server, until},
    readers::closes,
};

async fn hits(server: &Server, setting: &str) -> f64 {
    let series = format!("natter_bound_hits_total{{setting=\"{setting}\"}}");
    server.metrics().await.get(&series).copied().unwrap_or_default()
}

async fn assert_counted(server: &Server, setting: &str) {
    assert!(hits(server, setting).await >= 1.0, "{setting} was hit and not counted");
}

/// With what has to fit into a body.
const SMALL_BODIES: [(&str, &str); 5] = [
    ("limits.body_bytes", "1000"),
    ("limits.message_chars", "10"),
    ("limits.client_id_chars", "10"),
    ("limits.display_name_chars", "50"),
    ("limits.room_name_chars", "50"),
];

/// With what lets them in.
const LONG_MESSAGES: [(&str, &str); 3] =
    [("limits.message_chars", "100000"), ("limits.body_bytes", "2000000"), ("sockets.frame_bytes", "2000000")];

fn register_head(extra: &str) -> String {
    format!("POST /users/register HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{extra}\r\n\r\n")
}

#[tokio::test]
async fn a_body_over_the_limit_is_a_413_before_it_is_sent() {
    let server = Server::with(&SMALL_BODIES).await;
    let mut raw = server.reach.raw().await;
    raw.write(register_head("Content-Length: 1001")).await;
    raw.answer().await.refused(413);
    assert_counted(&server, "limits.body_bytes").await;
}

#[tokio::test]
async fn a_body_over_the_limit_that_hides_its_length_is_a_413_too() {
    let server = Server::with(&SMALL_BODIES).await;
    let mut raw = server.reach.raw().await;
    raw.write(register_head("Transfer-Encoding: chunked")).await;
    raw.write(format!("258\r\n{0}\r\n258\r\n{0}\r\n", " ".repeat(600))).await;
    raw.answer().await.refused(413);
}

#[tokio::test]
async fn a_body_as_long_as_the_limit_is_read() {
    let server = Server::with(&SMALL_BODIES).await;
    let body = format!("{:<1000}", json!({"username": "ann", "password": PASSWORD}).to_string());
    let build = |request: reqwest::RequestBuilder| request.header("content-type", "application/json").body(body);
    server.reach.request(Method::POST, "/users/register", build).await.ok();
}

#[tokio::test]
async fn a_form_over_the_limit_is_a_413() {
    let server = Server::with(&SMALL_BODIES).await;
    let long = "p".repeat(2_000);
    server.reach.sign_in("ann", &long).await.refused(413);
    let form = reqwest::multipart::Form::new().text("username", "ann").text("password", long);
    server.reach.request(Method::POST, "/token", |request| request.multipart(form)).await.refused(413);
}

#[tokio::test]
async fn a_target_over_the_limit_is_a_414() {
    let server = Server::start().await;
    server.reach.get(&format!("/healthz?{}", "q".repeat(9_000))).await.refused(414);
    server.reach.get(&format!("/healthz?{}", "q".repeat(7_000))).await.ok();
    assert_counted(&server, "limits.uri_bytes").await;
}

#[tokio::test]
async fn headers_over_the_limits_are_a_431() {
    let server = Server::with(&[("limits.headers", "30"), ("limits.header_bytes", "4000")]).await;
    let with = async |headers: String| {
        let mut raw = server.reach.raw().await;
        raw.write(format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{headers}\r\n")).await;
        raw.answer().await
    };
    with("X-One: 1\r\n".repeat(31)).await.refused(431);
    with(format!("X-Long: {}\r\n", "x".repeat(4_001))).await.refused(431);
    assert_eq!(with("X-One: 1\r\n".repeat(20)).await.status, 200);
    assert_counted(&server, "limits.headers").await;
    assert_counted(&server, "limits.header_bytes").await;
}

#[tokio::test]
async fn headers_without_end_are_cut_off() {
    let server = Server::start().await;
    let mut raw = server.reach.raw().await;
    raw.write("GET /healthz HTTP/1.1\r\nHost: x\r\n").await;
    let line = format!("X-Long: {}\r\n", "x".repeat(1_000));
    let mut refused = false;
    for _ in 0..10_000 {
        if raw.try_write(&line).await.is_err() {
            refused = true;
            break;
        }
    }
    let rest = raw.rest().await;
    assert!(refused || rest.starts_with(b"HTTP/1.1 431"), "10 MB of headers were taken");
}

#[tokio::test]
async fn slow_headers_are_cut_off() {
    let server = Server::with(&[("limits.header_secs", "1"), ("limits.idle_secs", "1")]).await;
    for start in ["", "GET /heal", "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "] {
        let mut raw = server.reach.raw().await;
        raw.write(start).await;
        // There is no request yet that could be answered.
        assert_eq!(raw.rest().await, b"");
    }
    assert_counted(&server, "limits.header_secs").await;
}

#[tokio::test]
async fn a_slow_body_is_a_408() {
    let server = Server::with(&[("limits.body_secs", "1")]).await;
    let mut raw = server.reach.raw().await;
    raw.write(register_head("Content-Length: 100") + "{\"username\":").await;
    raw.answer().await.refused(408);
    raw.rest().await;
    assert_counted(&server, "limits.body_secs").await;
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let server = Server::with(&[("limits.idle_secs", "1")]).await;
    let mut raw = server.reach.raw().await;
    raw.write("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(raw.answer().await.status, 200);
    assert!(raw.rest().await.is_empty());
}

#[tokio::test]
async fn connections_past_the_bound_are_refused_until_one_is_free() {
    let server = Server::with(&[("limits.http_connections", "3")]).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut raw = server.reach.raw().await;
        // Silent ones would have to go; these are being answered.
        raw.write(register_head("Content-Length: 100\r\nExpect: 100-continue")).await;
        raw.continued().await;
        held.push(raw);
    }
    let mut one_more = server.reach.raw().await;
    one_more.answer().await.refused(503);
    held.pop();
    until("a connection to be free", async || {
        let mut raw: Raw = server.reach.raw().await;
        let sent = raw.try_write("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.is_ok();
        sent && raw.rest().await.starts_with(b"HTTP/1.1 200")
    })
    .await;
    drop(held);
    until("the refusal to be counted", async || {
        let answer = server.reach.get("/metrics").await;
        answer.status == 200 && answer.text().contains("bound_hits_total{setting=\"limits.http_connections\"}")
    })
    .await;
}

/// Posts into `rooms` in turn, a hundred at once; gives how many were acknowledged, after checking that just these are there.
async fn storm(ann: &Person, rooms: &[String], refusal: u16) -> usize {
    let bodies: Vec<_> = (0..100).map(|number| json!({"message": format!("m{number}")})).collect();
    let posts = bodies.iter().enumerate().map(|(number, body)| ann.try_post(&rooms[number % rooms.len()], body));
    let mut posted = 0;
    for answer in futures_util::future::join_all(posts).await {
        match answer.status {
            200 => posted += 1,
            _ => drop(answer.refused(refusal)),
        }
    }
    let mut stored = 0;
    for room in rooms {
        stored += ann.history(room, "?limit=500").await["messages"].as_array().expect("messages").len();
    }
    assert_eq!(stored, posted);
    posted
}

#[tokio::test]
async fn posts_past_those_that_may_wait_in_a_room_are_refused_and_the_others_are_in_the_log() {
    let server = Server::with(&[("rooms.pending_posts", "1")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let posted = storm(&ann, &[room], 429).await;
    assert!((1..100).contains(&posted), "{posted}");
    assert_counted(&server, "rooms.pending_posts").await;
}

#[tokio::test]
async fn writes_past_those_that_may_wait_in_the_store_are_refused_and_the_others_are_in_the_log() {
    let mut server = Server::start().await;
    let ann = server.person("ann").await;
    let mut rooms = Vec::new();
    for number in 0..20 {
        rooms.push(ann.group(&format!("room {number}"), []).await);
    }
    // Not before: what the server writes by itself would refuse the first of these as well.
    server.restart_with("store.write_queue", "1").await;
    let posted = storm(&ann, &rooms, 503).await;
    assert!((1..100).contains(&posted), "{posted}");
    assert_counted(&server, "store.write_queue").await;
}

#[tokio::test]
async fn slow_clients_do_not_hold_up_others() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut raw = server.reach.raw().await;
        raw.write(register_head("Content-Length: 100000") + "{").await;
        slow.push(raw);
    }
    for number in 0..20 {
        ann.post(&room, &number.to_string()).await;
    }
    assert_eq!(bob.chat(&room).await["unread"], 20);
}

/// About a megabyte of history, and the request for it.
async fn long_history(server: &Server) -> String {
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    for _ in 0..11 {
        ann.post(&room, &"x".repeat(100_000)).await;
    }
    format!("GET /chat/{room} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n", ann.token)
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answers_is_cut_off() {
    let server = Server::with(&[&[("limits.answer_secs", "1")], &LONG_MESSAGES[..]].concat()).await;
    let request = long_history(&server).await;
    let mut raw = server.reach.raw().await;
    raw.write(request.repeat(20)).await;
    until("the answers to be given up", async || hits(&server, "limits.answer_secs").await == 1.0).await;
    let got = raw.rest().await.len();
    assert!(got < 20_000_000, "{got} bytes came, which is all");
}

#[tokio::test]
async fn the_kernel_does_not_take_a_long_answer_in_place_of_a_client_that_reads_nothing() {
    let server = Server::with(&[&[("limits.answer_secs", "1")], &LONG_MESSAGES[..]].concat()).await;
    let request = long_history(&server).await;
    let mut raw = server.reach.raw().await;
    raw.write(request).await;
    until("the answer to be given up", async || hits(&server, "limits.answer_secs").await == 1.0).await;
    let got = raw.rest().await.len();
    assert!(got < 1_000_000, "{got} bytes came, which is all");
}

#[tokio::test]
async fn long_answers_together_stay_within_their_bound() {
    let settings = [("limits.answer_bytes", "3000000"), ("limits.answer_secs", "1")];
    let server = Server::with(&[&settings[..], &LONG_MESSAGES].concat()).await;
    let request = long_history(&server).await;
    let mut clients = Vec::new();
    for _ in 0..12 {
        let mut raw = server.reach.raw().await;
        raw.write(request.repeat(20)).await;
        clients.push(raw);
    }
    until("the bound to be hit", async || hits(&server, "limits.answer_bytes").await >= 1.0).await;
    drop(clients);
    let mut raw = server.reach.raw().await;
    until("the room to be given back", async || {
        raw.write(&request).await;
        raw.answer().await.status == 200
    })
    .await;
}

/// Much smaller than what the tests below send in all.
const INCOMING: (&str, &str) = ("limits.incoming_bytes", "1000000");

#[tokio::test]
async fn halves_of_heads_share_a_bound_and_whoever_is_over_it_is_cut_off() {
    let server = Server::with(&[INCOMING]).await;
    let ann = server.person("ann").await;
    let half = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\nX-Long: {}", server.reach.addr, "x".repeat(28_000));
    let mut clients = Vec::new();
    for _ in 0..80 {
        let mut raw = server.reach.raw().await;
        // Whoever is over the bound may be cut off before it has sent all.
        drop(raw.try_write(&half).await);
        clients.push(raw);
    }
    until("the bound to be hit", async || hits(&server, "limits.incoming_bytes").await >= 25.0).await;
    ann.me().await;
    drop(clients);
    until("the room to be given back", async || server.metric("natter_incoming_bytes").await == 0.0).await;
    let mut raw = server.reach.raw().await;
    raw.write(format!("{half}\r\n\r\n")).await;
    assert_eq!(raw.answer().await.status, 200);
}

#[tokio::test]
async fn bodies_that_lack_a_byte_share_a_bound_and_the_next_is_answered_503() {
    let server = Server::with(&[INCOMING]).await;
    let ann = server.person("ann").await;
    let mut clients = Vec::new();
    let mut refused = None;
    while refused.is_none() {
        assert!(clients.len() < 20, "nobody is refused");
        let mut raw = server.reach.raw().await;
        raw.write(register_head("Expect: 100-continue\r\nContent-Length: 200001")).await;
        raw.continued().await;
        raw.write("x".repeat(200_000)).await;
        // All is read before the next one sends; a server without room for more says so.
        until("the body to be read", async || {
            let held = server.metric("natter_incoming_bytes").await;
            held >= 200_000.0 * (clients.len() + 1) as f64 || hits(&server, "limits.incoming_bytes").await >= 1.0
        })
        .await;
        if hits(&server, "limits.incoming_bytes").await >= 1.0 {
            refused = Some(raw.answer().await.refused(503));
        }
        clients.push(raw);
    }
    let refused = refused.expect("somebody was refused");
    assert_eq!(refused["code"], "busy");
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("limits.incoming_bytes")), "{refused}");
    assert!(clients.len() >= 5, "a bound of five was hit by {}", clients.len());
    drop(clients);
    until("the room to be given back", async || server.metric("natter_incoming_bytes").await == 0.0).await;
    ann.me().await;
}

#[tokio::test]
async fn halves_of_frames_share_a_bound_and_the_socket_over_it_is_closed_with_1013() {
    let server = Server::with(&[INCOMING]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let mut live = bob.follow(&room).await;
    let mut sockets = Vec::new();
    for n in 0..30 {
        let mut socket = ann.socket().await;
        // A frame of 60,000 bytes that lacks some, or a first fragment of a message.
        let (first, length, sent) = if n % 2 == 0 { (0x81, 60_000_u16, 50_000) } else { (0x01, 50_000, 50_000) };
        let head = [&[first, 0xfe][..], &length.to_be_bytes(), &[0; 4]].concat();
        socket.stream().write_all(&[head, vec![b'x'; sent]].concat()).await.expect("the server reads");
        sockets.push(socket);
    }
    until("the bound to be hit", async || hits(&server, "limits.incoming_bytes").await >= 10.0).await;
    assert!(closes(&server, 1013).await >= 10.0);
    ann.post(&room, "others go on").await;
    assert_eq!(live.next_event().await["content"], "others go on");
    drop(sockets);
    until("the room to be given back", async || server.metric("natter_incoming_bytes").await == 0.0).await;
}
