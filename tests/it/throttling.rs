//! Rates: who asks too much is told to wait, and nobody else is.

use serde_json::json;

use crate::{
    harness::{Answer, PASSWORD, Server, until},
    readers::message_bytes,
    wire,
};

/// Rates on, and each so wide that only the one a test sets is ever felt.
async fn server(settings: &[(&str, &str)]) -> Server {
    let wide = [
        ("limits.rates", "on"),
        ("limits.requests_per_sec", "10000"),
        ("limits.requests_burst", "10000"),
        ("limits.posts_per_sec", "10000"),
        ("limits.posts_burst", "10000"),
        ("limits.frames_per_sec", "10000"),
        ("limits.frames_burst", "10000"),
        ("limits.signups_per_minute", "10000"),
        ("limits.signups_burst", "10000"),
        ("limits.failed_logins_per_address", "10000"),
    ];
    Server::with(&[&wide[..], settings].concat()).await
}

fn count(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

/// The settings whose bounds were hit.
async fn bounds_hit(server: &Server) -> Vec<String> {
    let setting = |series: String| Some(series.strip_prefix("natter_bound_hits_total{setting=\"")?.replace("\"}", ""));
    server.metrics().await.into_keys().filter_map(setting).collect()
}

#[tokio::test]
async fn failed_sign_ins_of_one_account_are_throttled_and_others_are_not() {
    let server = server(&[("limits.failed_logins_per_account", "3")]).await;
    server.two_people().await;
    for _ in 0..3 {
        server.reach.sign_in("ann", "not her password").await.refused(401);
    }
    server.reach.sign_in("ann", "not her password").await.refused(429);
    server.reach.sign_in("ann", PASSWORD).await.refused(429);
    server.reach.sign_in("ANN", PASSWORD).await.refused(429);
    server.reach.sign_in("bob", PASSWORD).await.ok();
}

#[tokio::test]
async fn an_account_that_does_not_exist_is_throttled_like_one_that_does() {
    let server = server(&[("limits.failed_logins_per_account", "3")]).await;
    for _ in 0..3 {
        server.reach.sign_in("nobody", "some password").await.refused_saying(401, "Incorrect username or password");
    }
    server.reach.sign_in("nobody", "some password").await.refused(429);
}

#[tokio::test]
async fn guesses_in_parallel_are_throttled_as_those_in_a_row() {
    let server = server(&[("limits.failed_logins_per_account", "3")]).await;
    server.person("ann").await;
    let guesses = (0..20).map(|_| server.reach.sign_in("ann", "not her password"));
    let answers = futures_util::future::join_all(guesses).await;
    assert_eq!(count(&answers, 401), 3);
    assert_eq!(count(&answers, 429), 17);
}

#[tokio::test]
async fn a_throttled_account_is_let_in_again_later() {
    let server = server(&[("limits.failed_logins_per_account", "2"), ("limits.failed_login_secs", "2")]).await;
    server.person("ann").await;
    for _ in 0..2 {
        server.reach.sign_in("ann", "not her password").await.refused(401);
    }
    server.reach.sign_in("ann", PASSWORD).await.refused(429);
    until("the sign-in to be let in", async || server.reach.sign_in("ann", PASSWORD).await.status == 200).await;
}

#[tokio::test]
async fn failed_sign_ins_from_one_address_are_throttled_over_all_accounts() {
    let server = server(&[("limits.failed_logins_per_address", "5")]).await;
    server.person("ann").await;
    for number in 0..5 {
        server.reach.sign_in(&format!("guess{number}"), "some password").await.refused(401);
    }
    server.reach.sign_in("guess5", "some password").await.refused(429);
}

#[tokio::test]
async fn an_address_that_a_client_claims_counts_only_where_its_proxy_is_trusted() {
    let claiming = async |server: &Server, address: &str| {
        let form = [("username", address), ("password", "some password")];
        let build = |request: reqwest::RequestBuilder| request.header("x-forwarded-for", address).form(&form);
        server.reach.request(reqwest::Method::POST, "/token", build).await.status
    };
    let limit = ("limits.failed_logins_per_address", "2");
    let open = server(&[limit]).await;
    let statuses =
        [claiming(&open, "10.0.0.1").await, claiming(&open, "10.0.0.2").await, claiming(&open, "10.0.0.3").await];
    assert_eq!(statuses, [401, 401, 429]);
    let behind_proxy = server(&[limit, ("server.trusted_proxies", r#"["127.0.0.1/32"]"#)]).await;
    for number in 0..5 {
        assert_eq!(claiming(&behind_proxy, &format!("10.0.0.{number}")).await, 401);
    }
    for expected in [401, 429] {
        assert_eq!(claiming(&behind_proxy, "10.0.0.1").await, expected);
    }
}

/// A sign-in from another address, by a proxy that is trusted.
async fn sign_in_from(server: &Server, address: &str, name: &str, password: &str) -> Answer {
    let form = [("username", name), ("password", password)];
    let build = |request: reqwest::RequestBuilder| request.header("x-forwarded-for", address).form(&form);
    server.reach.request(reqwest::Method::POST, "/token", build).await
}

const PROXY: (&str, &str) = ("server.trusted_proxies", r#"["127.0.0.1/32"]"#);

#[tokio::test]
async fn wrong_passwords_from_elsewhere_never_lock_the_owner_out() {
    let server = server(&[PROXY, ("limits.failed_logins_per_account", "3")]).await;
    let (ann, root) = (server.person("ann").await, server.admin().await);
    for name in ["ann", &root.username] {
        for expected in [401, 401, 401, 429] {
            assert_eq!(sign_in_from(&server, "192.0.2.66", name, "a wild guess").await.status, expected);
        }
        sign_in_from(&server, "192.0.2.66", name, PASSWORD).await.refused(429);
        // At an address where nobody has signed in yet, and at her own.
        sign_in_from(&server, "198.51.100.9", name, PASSWORD).await.ok();
        server.reach.sign_in(name, PASSWORD).await.ok();
    }
    let change = json!({"password": {"current": PASSWORD, "new": "a better one 42"}});
    ann.patch("/users/me", &change).await.ok();
}

#[tokio::test]
async fn one_colleagues_wrong_passwords_lock_nobody_else_out_of_an_office() {
    let server = server(&[PROXY, ("limits.failed_logins_per_address", "5")]).await;
    server.two_people().await;
    for _ in 0..20 {
        sign_in_from(&server, "192.0.2.1", "ann", "a wild guess").await;
    }
    sign_in_from(&server, "192.0.2.1", "bob", PASSWORD).await.ok();
    // Who tries one account after the other is stopped, but for the accounts that are known there.
    for number in 0..20 {
        sign_in_from(&server, "192.0.2.1", &format!("guess{number}"), "a wild guess").await;
    }
    sign_in_from(&server, "192.0.2.1", "guess20", "a wild guess").await.refused(429);
    sign_in_from(&server, "192.0.2.1", "bob", PASSWORD).await.ok();
}

#[tokio::test]
async fn guesses_from_many_addresses_are_bounded_and_who_has_signed_in_before_gets_through() {
    let server = server(&[PROXY, ("limits.failed_logins_from_strangers", "5")]).await;
    let ann = server.person("ann").await;
    server.person("bob").await;
    for number in 0..5 {
        sign_in_from(&server, &format!("192.0.2.{number}"), "ann", "a wild guess").await.refused(401);
    }
    let answer = sign_in_from(&server, "192.0.2.5", "ann", "a wild guess").await;
    assert!(
        answer.refused(429)["detail"].as_str().is_some_and(|told| told.contains("limits.failed_logins_from_strangers"))
    );
    // An address where she has signed in; and, anywhere, a device that still has a token of hers.
    server.reach.sign_in("ann", PASSWORD).await.ok();
    let from_device = async |header: &'static str, value: String| {
        let form = [("username", "ann"), ("password", PASSWORD)];
        let build = |request: reqwest::RequestBuilder| {
            request.header("x-forwarded-for", "198.51.100.9").header(header, &value).form(&form)
        };
        server.reach.request(reqwest::Method::POST, "/token", build).await
    };
    let bob = server.sign_in("bob").await;
    from_device("authorization", format!("Bearer {}", bob.token)).await.refused(429);
    from_device("authorization", format!("Bearer {}x", ann.token)).await.refused(429);
    from_device("authorization", format!("Bearer {}", ann.token)).await.ok();
    // From where she has signed in now she needs no token.
    sign_in_from(&server, "198.51.100.9", "ann", PASSWORD).await.ok();
    from_device("cookie", format!("token={}", ann.token)).await.ok();
}

/// Nothing is told by who is let through: an account that does not exist is bounded like one that does.
#[tokio::test]
async fn guesses_from_many_addresses_at_an_account_that_does_not_exist_are_bounded_too() {
    let server = server(&[PROXY, ("limits.failed_logins_from_strangers", "3")]).await;
    for (number, expected) in (0..4).zip([401, 401, 401, 429]) {
        assert_eq!(sign_in_from(&server, &format!("192.0.2.{number}"), "nobody", "guess 4711").await.status, expected);
    }
}

#[tokio::test]
async fn right_passwords_have_a_rate_of_their_account_and_of_their_address() {
    let server = server(&[PROXY, ("limits.logins_per_account", "4"), ("limits.logins_per_address", "3")]).await;
    server.two_people().await;
    for expected in [200, 200, 200, 429] {
        assert_eq!(sign_in_from(&server, "192.0.2.1", "bob", PASSWORD).await.status, expected);
    }
    // She has signed in once already.
    for (number, expected) in (2..6).zip([200, 200, 200, 429]) {
        assert_eq!(sign_in_from(&server, &format!("192.0.2.{number}"), "ann", PASSWORD).await.status, expected);
    }
    sign_in_from(&server, "192.0.2.7", "ann", "a wild guess").await.refused(401);
}

#[tokio::test]
async fn an_address_with_many_sign_ins_makes_room_for_others_in_the_queue() {
    let settings = [
        PROXY,
        ("auth.password_threads", "1"),
        ("auth.password_queue", "8"),
        ("auth.bcrypt_cost", "9"),
        ("limits.rates", "off"),
    ];
    let server = Server::with(&settings).await;
    server.two_people().await;
    let many = (0..40).map(|_| sign_in_from(&server, "192.0.2.1", "ann", PASSWORD));
    let elsewhere = ["192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5"];
    let others = elsewhere.map(|address| sign_in_from(&server, address, "bob", PASSWORD));
    let (many, others) = tokio::join!(futures_util::future::join_all(many), futures_util::future::join_all(others));
    assert_eq!(count(&others, 200), 4, "each of them has its turn");
    assert!(count(&many, 200) >= 1 && count(&many, 429) >= 20, "{} of 40 refused", count(&many, 429));
}

#[tokio::test]
async fn the_current_password_cannot_be_guessed_by_changing_it() {
    let server = server(&[("limits.failed_logins_per_account", "3")]).await;
    let ann = server.person("ann").await;
    let guess = json!({"password": {"current": "a wild guess", "new": "a better one 42"}});
    for _ in 0..3 {
        ann.patch("/users/me", &guess).await.refused(403);
    }
    ann.patch("/users/me", &guess).await.refused(429);
}

#[tokio::test]
async fn sign_ups_from_one_address_are_throttled() {
    let server = server(&[("limits.signups_per_minute", "1"), ("limits.signups_burst", "2")]).await;
    server.reach.register("one", PASSWORD).await.ok();
    server.reach.register("two", PASSWORD).await.ok();
    server.reach.register("three", PASSWORD).await.refused(429);
    server.reach.sign_in("one", PASSWORD).await.ok();
}

#[tokio::test]
async fn posts_are_throttled_per_user_and_those_let_through_are_in_the_log() {
    let server = server(&[("limits.posts_per_sec", "1"), ("limits.posts_burst", "5")]).await;
    let (ann, bob) = server.two_people().await;
    let room = bob.private(&ann).await;
    let mut answers = Vec::new();
    for number in 0..20 {
        answers.push(ann.try_post(&room, &json!({"message": format!("m{number}")})).await);
    }
    let posted = count(&answers, 200);
    assert!((5..20).contains(&posted), "{posted}");
    for answer in answers.into_iter().filter(|answer| answer.status != 200) {
        answer.refused(429);
    }
    bob.post(&room, "bob is not held up by ann").await;
    let page = ann.history(&room, "").await;
    assert_eq!(page["messages"].as_array().map(Vec::len), Some(posted + 1));
}

#[tokio::test]
async fn posts_over_a_socket_are_throttled_too_and_each_is_told_how_long_to_wait() {
    let server = server(&[("limits.posts_per_sec", "1"), ("limits.posts_burst", "5")]).await;
    let (ann, bob) = server.two_people().await;
    let room = bob.private(&ann).await;
    let mut socket = ann.socket().await;
    let post = |n| json!({"type": "post", "chat_id": room, "content": "hello", "client_id": format!("c{n}"), "req": n});
    wire::send_at_once(&mut socket, (0..20).map(post)).await;
    let mut posted = 0;
    for n in 0..20 {
        let answer = socket.find(&format!("the answer to {n}"), |answer| answer["req"] == n).await;
        if answer["type"] == "posted" {
            posted += 1;
            continue;
        }
        assert_eq!((&answer["code"], &answer["client_id"]), (&json!("rate_limited"), &json!(format!("c{n}"))));
        assert!(answer["retry_after"].as_u64().is_some_and(|secs| secs >= 1), "{answer}");
    }
    assert!((5..20).contains(&posted), "{posted}");
    assert_eq!(bounds_hit(&server).await, ["limits.posts_per_sec"]);
    bob.socket().await.post(&room, "bob is not held up by ann", "c0").await;
    assert_eq!(message_bytes(&ann, &room).await.len(), posted + 1);
}

#[tokio::test]
async fn more_posts_than_the_rate_allows_close_a_socket_of_one_room_with_4429() {
    let server = server(&[("limits.posts_per_sec", "1"), ("limits.posts_burst", "5")]).await;
    let (ann, bob) = server.two_people().await;
    let room = bob.private(&ann).await;
    let mut socket = ann.one_room(&room, None).await;
    wire::send_at_once(&mut socket, (0..20).map(|n| json!({"message": format!("m{n}")}))).await;
    let closed = socket.closed().await;
    assert_eq!((closed.code, closed.reason.as_str()), (4429, "over limits.posts_per_sec"));
    assert_eq!(bounds_hit(&server).await, ["limits.posts_per_sec"]);
    bob.post(&room, "bob is not held up by ann").await;
    let stored = message_bytes(&ann, &room).await.len() - 1;
    assert!((5..20).contains(&stored), "{stored}");
}

#[tokio::test]
async fn requests_are_throttled_per_user() {
    let server = server(&[("limits.requests_per_sec", "1"), ("limits.requests_burst", "10")]).await;
    let (ann, bob) = server.two_people().await;
    let mut answers = Vec::new();
    for _ in 0..30 {
        answers.push(ann.get("/users/me").await);
    }
    assert!(count(&answers, 429) > 0);
    for answer in answers.into_iter().filter(|answer| answer.status != 200) {
        answer.refused(429);
    }
    bob.me().await;
    assert!(server.metric("natter_bound_hits_total").await > 0.0);
}

#[tokio::test]
async fn with_rates_off_nothing_is_throttled() {
    let server =
        Server::with(&[("limits.posts_burst", "1"), ("limits.posts_per_sec", "1"), ("limits.signups_burst", "1")])
            .await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    for number in 0..20 {
        ann.post(&room, &format!("m{number}")).await;
        server.reach.sign_in("ann", "not her password").await.refused(401);
    }
}

#[tokio::test]
async fn more_sign_ins_than_may_wait_are_told_to_come_back() {
    let settings = [("auth.password_threads", "1"), ("auth.password_queue", "1"), ("auth.bcrypt_cost", "11")];
    let server = Server::with(&settings).await;
    server.person("ann").await;
    let tries = (0..20).map(|_| server.reach.sign_in("ann", PASSWORD));
    let answers = futures_util::future::join_all(tries).await;
    assert!(count(&answers, 200) >= 1);
    assert!(count(&answers, 429) >= 1);
    for answer in answers.into_iter().filter(|answer| answer.status != 200) {
        answer.refused(429);
    }
    until("the queue to be empty", async || server.reach.sign_in("ann", PASSWORD).await.status == 200).await;
}
