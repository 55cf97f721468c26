//! HTTP as such: paths, methods, bodies, connections, and what is no HTTP at all.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, PASSWORD, Person, Server};

async fn post_as(person: &Person, path: &str, content_type: Option<&str>, body: impl Into<reqwest::Body>) -> Answer {
    let build = |request: reqwest::RequestBuilder| {
        let request = request.bearer_auth(&person.token).body(body);
        match content_type {
            Some(content_type) => request.header("content-type", content_type),
            None => request,
        }
    };
    person.reach.request(Method::POST, path, build).await
}

fn methods(answer: &Answer) -> BTreeSet<String> {
    answer.header("allow").expect("an Allow header").split(',').map(|method| method.trim().to_owned()).collect()
}

#[tokio::test]
async fn a_path_that_is_none_is_a_404_for_every_method() {
    let server = Server::start().await;
    for method in [Method::GET, Method::POST, Method::DELETE, Method::OPTIONS] {
        for path in ["/nowhere", "/users/me/x", "/chat", "/chat/a/b/c/d", "//users/me", "/USERS/me"] {
            let answer = server.reach.request(method.clone(), path, |request| request).await;
            assert_eq!(answer.status, 404, "{method} {path}");
            answer.refused_saying(404, "Not Found");
        }
    }
}

#[tokio::test]
async fn a_method_that_a_path_has_not_is_a_405_that_says_which_it_has() {
    let server = Server::start().await;
    let rows = [
        (Method::DELETE, "/users/me", &["GET", "HEAD", "PATCH"][..]),
        (Method::GET, "/token", &["POST"][..]),
        (Method::PUT, "/chat/x", &["GET", "HEAD", "POST", "PATCH"][..]),
        (Method::from_bytes(b"BREW").unwrap(), "/users/register", &["POST"][..]),
        (Method::TRACE, "/healthz", &["GET", "HEAD"][..]),
    ];
    for (method, path, expected) in rows {
        let answer = server.reach.request(method, path, |request| request).await;
        let allowed = methods(&answer);
        for method in expected {
            assert!(allowed.contains(*method), "{path}: {allowed:?}");
        }
        answer.refused_saying(405, "Method Not Allowed");
    }
}

#[tokio::test]
async fn options_tells_the_methods_of_a_path_to_anyone() {
    let server = Server::start().await;
    let answer = server.reach.request(Method::OPTIONS, "/users/me", |request| request).await;
    assert!([200, 204].contains(&answer.status), "{}", answer.status);
    assert_eq!(methods(&answer), ["GET", "HEAD", "OPTIONS", "PATCH"].map(String::from).into());
    assert!(answer.bytes.is_empty());
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    for path in ["/healthz", "/users/me", "/nowhere"] {
        let get = ann.get(path).await;
        let mut raw = server.reach.raw().await;
        let auth = format!("Host: x\r\nAuthorization: Bearer {}\r\nX-Request-Id: same\r\n", ann.token);
        raw.write(format!("HEAD {path} HTTP/1.1\r\n{auth}\r\n")).await;
        let head = raw.head_answer().await;
        assert_eq!(head.status, get.status, "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
        if get.status == 200 {
            assert_eq!(head.header("content-length"), get.header("content-length"), "{path}");
        }
        raw.write("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        assert_eq!(raw.answer().await.status, 200, "no body of {path} was between");
    }
}

#[tokio::test]
async fn the_request_id_is_kept_where_it_is_valid_and_made_where_not() {
    let server = Server::start().await;
    let with_id = async |id: &str| {
        let answer = server.reach.request(Method::GET, "/healthz", |request| request.header("x-request-id", id)).await;
        answer.header("x-request-id").expect("an id on every answer").to_owned()
    };
    assert_eq!(with_id("my-id-42").await, "my-id-42");
    let long = "x".repeat(5_000);
    let mut made = BTreeSet::new();
    for bad in ["has spaces in it", "<script>", long.as_str(), ""] {
        let id = with_id(bad).await;
        assert_ne!(id, bad);
        assert!(!id.is_empty() && made.insert(id));
    }
    let answer = server.reach.request(Method::GET, "/nowhere", |request| request.header("x-request-id", "my-id")).await;
    assert_eq!(answer.refused(404)["request_id"], "my-id");
}

#[tokio::test]
async fn a_body_of_another_type_is_a_415() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let body = json!({"username": "bob", "password": PASSWORD}).to_string();
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/xml"] {
        post_as(&ann, "/users/register", Some(content_type), body.clone()).await.refused(415);
    }
    let answer = post_as(&ann, "/token", Some("application/json"), body.clone()).await;
    assert!([415, 422].contains(&answer.status), "{}", answer.status);
    post_as(&ann, "/users/register", Some("application/json; charset=utf-8"), body).await.ok();
}

#[tokio::test]
async fn a_body_without_a_type_is_a_415_that_says_what_to_send() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let body = json!({"username": "bob", "password": PASSWORD}).to_string();
    // A page of another site can send just this without asking first.
    let refused = post_as(&ann, "/users/register", None, body).await.refused(415);
    assert!(refused["detail"].as_str().unwrap().contains("Content-Type: application/json"), "{refused}");
    post_as(&ann, "/users/register", None, String::new()).await.refused(422);
    server.reach.sign_in("bob", PASSWORD).await.refused(401);
}

#[tokio::test]
async fn a_body_that_is_no_json_is_a_422() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let bodies: [&[u8]; 9] = [
        b"",
        b"{",
        b"nonsense",
        b"{\"username\":\"bob\",}",
        b"{\"username\":\"bob\"} trailing",
        b"[]",
        b"\"text\"",
        b"{\"username\":\"\xff\xfe\"}",
        b"\x00",
    ];
    for body in bodies {
        let answer = post_as(&ann, "/users/register", Some("application/json"), body.to_vec()).await;
        assert_eq!(answer.status, 422, "{}: {}", String::from_utf8_lossy(body), answer.text());
        answer.refused(422);
    }
}

#[tokio::test]
async fn json_too_deep_is_a_422_and_as_deep_as_allowed_is_read() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!(r#"{{"display_name":"A","extra":{open}{close}}}"#)
    };
    let patch = async |body: String| {
        let build = |request: reqwest::RequestBuilder| {
            request.bearer_auth(&ann.token).header("content-type", "application/json").body(body)
        };
        server.reach.request(Method::PATCH, "/users/me", build).await
    };
    patch(nested(20)).await.ok();
    patch(nested(33)).await.refused(422);
    patch(nested(100_000)).await.refused(422);
    patch("[".repeat(200_000)).await.refused(422);
    patch(r#"{"a":"#.repeat(40_000)).await.refused(422);
}

#[tokio::test]
async fn a_form_may_be_odd_but_not_broken() {
    let server = Server::start().await;
    server.reach.register("a+b &=%é", PASSWORD).await.ok();
    let ann = server.sign_in("a+b &=%é").await;
    assert_eq!(ann.me().await["username"], "a+b &=%é");
    let multipart = Some("multipart/form-data; boundary=x");
    for (content_type, body) in [
        (multipart, "--x\r\nContent-Disposition: form-data; name=\"username\"\r\n\r\nann"),
        (multipart, "nothing of a form"),
        (Some("multipart/form-data"), "no boundary"),
        (Some("application/x-www-form-urlencoded"), "%%%&&&=="),
    ] {
        let answer = post_as(&ann, "/token", content_type, body).await;
        assert!([415, 422].contains(&answer.status), "{body}: {} {}", answer.status, answer.text());
    }
}

#[tokio::test]
async fn one_connection_serves_many_requests_also_those_sent_ahead() {
    let server = Server::start().await;
    let mut raw = server.reach.raw().await;
    for _ in 0..3 {
        raw.write("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(raw.answer().await.status, 200);
    }
    let ahead = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n\
                 GET /users/me HTTP/1.1\r\nHost: x\r\n\r\n";
    raw.write(ahead).await;
    assert_eq!(raw.answer().await.status, 200);
    assert_eq!(raw.answer().await.status, 404);
    assert_eq!(raw.answer().await.status, 401);
}

#[tokio::test]
async fn a_body_that_nobody_reads_does_not_spoil_the_next_request() {
    let server = Server::start().await;
    let mut raw = server.reach.raw().await;
    raw.write("GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello").await;
    assert_eq!(raw.answer().await.status, 200);
    raw.write("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(raw.answer().await.status, 200);
}

#[tokio::test]
async fn a_connection_closes_when_the_client_wants_it_to() {
    let server = Server::start().await;
    for request in ["GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "GET /healthz HTTP/1.0\r\n\r\n"] {
        let mut raw = server.reach.raw().await;
        raw.write(request).await;
        assert_eq!(raw.answer().await.status, 200);
        assert!(raw.rest().await.is_empty());
    }
}

#[tokio::test]
async fn a_refusal_before_the_body_was_read_says_that_the_connection_ends() {
    let server = Server::start().await;
    let body = json!({"message": "x".repeat(200)}).to_string();
    let head = |path: &str| {
        let length = body.len();
        format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n")
    };
    for (path, status) in [("/chat/x", 401), ("/nowhere", 404), ("/healthz", 405)] {
        for whole in [false, true] {
            let mut raw = server.reach.raw().await;
            raw.write(head(path) + if whole { &body } else { "" }).await;
            let refused = raw.answer().await;
            refused.refused(status);
            assert_eq!(refused.header("connection"), Some("close"), "{path}");
            assert!(raw.rest().await.is_empty());
        }
    }
    let mut raw = server.reach.raw().await;
    raw.write(head("/users/register") + &body).await;
    let refused = raw.answer().await;
    assert_eq!((refused.status, refused.header("connection")), (422, None), "its body was read");
}

#[tokio::test]
async fn the_absolute_form_of_a_target_is_understood() {
    let server = Server::start().await;
    let mut raw = server.reach.raw().await;
    raw.write("GET http://localhost/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(raw.answer().await.status, 200);
}

#[tokio::test]
async fn a_body_in_chunks_is_read_like_any_other() {
    let server = Server::start().await;
    let mut raw = server.reach.raw().await;
    raw.write("POST /users/register HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n").await;
    raw.write("Transfer-Encoding: chunked\r\n\r\n").await;
    let body = json!({"username": "ann", "password": PASSWORD}).to_string();
    for part in body.as_bytes().chunks(7) {
        raw.write(format!("{:x}\r\n{}\r\n", part.len(), String::from_utf8_lossy(part))).await;
    }
    raw.write("0\r\n\r\n").await;
    assert_eq!(raw.answer().await.status, 200);
    server.sign_in("ann").await.me().await;
}

#[tokio::test]
async fn what_is_no_http_is_hung_up_on_and_disturbs_nobody() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let mut socket = bob.follow(&room).await;
    let tls: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let garbage: [&[u8]; 8] = [
        b"\x00\xff\xfe\x80 binary \x00\r\n\r\n",
        tls,
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n\r\n\r\nhello\r\n\r\n",
        b"POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\nhello",
        b"POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n",
    ];
    for bytes in garbage {
        let mut raw = server.reach.raw().await;
        raw.write(bytes).await;
        raw.finish_writing().await;
        let rest = raw.rest().await;
        assert!(rest.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&rest));
    }
    let half = server.reach.raw().await;
    drop(half);
    ann.post(&room, "undisturbed").await;
    assert_eq!(socket.next_event().await["content"], "undisturbed");
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[tokio::test]
async fn two_lengths_of_one_body_smuggle_no_second_request() {
    let server = Server::start().await;
    let mut raw = server.reach.raw().await;
    raw.write("POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    raw.write("0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    let all = String::from_utf8_lossy(&raw.rest().await).into_owned();
    assert!(all.matches("HTTP/1.1 ").count() <= 2, "{all}");
}

#[tokio::test]
async fn paths_with_odd_escapes_are_refused_and_break_nothing() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    for path in ["/chat/%00", "/chat/%ff%fe", "/chat/%zz", "/chat/..%2f..%2fetc%2fpasswd", "/users/%C3%28/disable"] {
        let mut raw = server.reach.raw().await;
        let auth = format!("Host: x\r\nAuthorization: Bearer {}\r\n", ann.token);
        raw.write(format!("GET {path} HTTP/1.1\r\n{auth}\r\n")).await;
        let status = raw.answer().await.status;
        assert!([400, 404, 405, 422].contains(&status), "{path}: {status}");
    }
}

#[tokio::test]
async fn no_answer_may_be_cached_or_sniffed() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let answer = ann.get("/users/me").await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_ne!(answer.body, Value::Null);
}

#[tokio::test]
async fn a_message_that_could_be_read_in_two_ways_is_refused() {
    let server = Server::start().await;
    for (head, status) in [
        ("GET /healthz HTTP/1.1\r\n", 400),
        ("GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n", 400),
        ("POST /users/register HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n", 501),
        ("POST /users/register HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n", 415),
    ] {
        let mut raw = server.reach.raw().await;
        raw.write(format!("{head}\r\n")).await;
        raw.answer().await.refused(status);
    }
    let mut raw = server.reach.raw().await;
    raw.write("GET /healthz HTTP/1.0\r\n\r\n").await;
    assert_eq!(raw.answer().await.status, 200, "HTTP/1.0 knows no Host");
}
