//! What monitors ask: is it alive, is it ready, what does it count.

use crate::harness::{Raw, Server, Setup};

#[tokio::test]
async fn a_serving_process_is_alive_and_ready() {
    let server = Server::start().await;
    for path in ["/healthz", "/readyz"] {
        let answer = server.reach.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.header("x-request-id").is_some());
    }
}

#[tokio::test]
async fn probes_have_a_rate_of_their_own_and_look_at_the_store_once_for_all() {
    let server = Server::with(&[
        ("limits.rates", "on"),
        ("limits.probes_per_sec", "1"),
        ("limits.probes_burst", "30"),
        ("limits.requests_burst", "10"),
        ("limits.ready_millis", "60000"),
    ])
    .await;
    assert_eq!(server.reach.get("/readyz").await.status, 200);
    let io = || std::fs::read_to_string(format!("/proc/{}/io", server.pid())).expect("a process of this machine");
    let written = |io: String| io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse::<u64>().ok());
    let before = written(io());
    for _ in 0..25 {
        assert_eq!(server.reach.get("/readyz").await.status, 200, "no other rate counts it");
    }
    // One look writes 16 KB.
    assert!(written(io()).zip(before).is_some_and(|(after, before)| after - before < 65_536), "the look is not theirs");
    let mut raw = server.reach.raw().await;
    let refused = loop {
        raw.write("GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let answer = raw.answer().await;
        if answer.status != 200 {
            break answer;
        }
    };
    assert_eq!(refused.header("connection"), Some("close"));
    assert!(refused.refused(429)["detail"].as_str().unwrap().contains("limits.probes_per_sec"));
    server.reach.get("/metrics").await.refused(429);
    assert_eq!(server.reach.get("/healthz").await.status, 200);
    server.reach.get("/nowhere").await.refused(404);
}

#[tokio::test]
async fn metrics_are_prometheus_text_and_count_what_happens() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let mut socket = bob.follow(&room).await;
    for number in 0..3 {
        ann.post_once(&room, &number.to_string(), &number.to_string()).await;
        socket.next_event().await;
    }
    ann.post_once(&room, "0", "0").await;
    let metrics = server.metrics().await;
    let metric = |name: &str| *metrics.get(name).unwrap_or_else(|| panic!("no {name} in {metrics:#?}"));
    assert_eq!(metric("natter_posts_total"), 3.0);
    assert_eq!(metric("natter_duplicate_posts_total"), 1.0);
    assert_eq!(metric("natter_connections"), 1.0);
    assert_eq!(metric("natter_subscriptions"), 1.0);
    assert_eq!(metric("natter_logins_total"), 2.0);
    assert!(metric("natter_deliveries_total") >= 3.0);
}

#[tokio::test]
async fn metrics_are_openmetrics_for_those_who_ask_for_it_and_prometheus_text_for_everybody_else() {
    let server = Server::with(&[("server.metrics_bind", "127.0.0.1:0")]).await;
    let line = server.process().line("metrics on http://").await;
    let own = line.trim().trim_start_matches("metrics on http://").trim_end_matches("/metrics").to_owned();
    let shared = Server::start().await;
    for addr in [own.parse().expect("an address"), shared.reach.addr] {
        let ask = async |accept: &str| {
            let mut raw = Raw::connect(addr).await;
            raw.write(format!("GET /metrics HTTP/1.1\r\nHost: x\r\n{accept}Connection: close\r\n\r\n")).await;
            let answer = raw.answer().await;
            assert_eq!(answer.status, 200);
            let kind = answer.header("content-type").expect("a content type").to_owned();
            (kind, String::from_utf8(answer.body).expect("text"))
        };
        for accept in ["", "Accept: */*\r\n", "Accept: text/plain\r\n", "Accept: text/html, */*;q=0.1\r\n"] {
            let (kind, text) = ask(accept).await;
            assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8", "{accept}");
            assert!(text.contains("# TYPE natter_posts_total counter\nnatter_posts_total 0\n"), "{text}");
            assert!(!text.contains("# EOF") && !text.contains("# UNIT"), "{text}");
        }
        let scraper = "Accept: application/openmetrics-text;version=1.0.0;q=0.5\r\nAccept: text/plain;q=0.3\r\n";
        for accept in ["Accept: application/openmetrics-text\r\n", scraper] {
            let (kind, text) = ask(accept).await;
            assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8", "{accept}");
            assert!(text.contains("# TYPE natter_posts counter\n") && text.ends_with("# EOF\n"), "{text}");
        }
    }
}

#[tokio::test]
async fn requests_are_counted_by_route_and_not_by_id() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    ann.post(&room, "x").await;
    server.reach.get("/made-up-path").await.refused(404);
    let answer = server.reach.get("/metrics").await;
    assert!(answer.text().contains("/chat/{chat_id}"), "{}", answer.text());
    assert!(!answer.text().contains(&room) && !answer.text().contains("made-up"), "{}", answer.text());
}

#[tokio::test]
async fn a_failed_login_and_a_closed_socket_are_counted() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    server.reach.sign_in("ann", "not her password").await.refused(401);
    ann.socket().await.close().await;
    assert_eq!(server.metric("natter_failed_logins_total").await, 1.0);
    crate::harness::until("the close to be counted", async || server.metric("natter_closes_total").await >= 1.0).await;
    assert_eq!(server.metric("natter_connections").await, 0.0);
}

#[tokio::test]
async fn metrics_move_to_their_own_listener_where_one_is_set() {
    let server = Server::with(&[("server.metrics_bind", "127.0.0.1:0")]).await;
    let line = server.process().line("metrics on http://").await;
    let addr = line.trim().trim_start_matches("metrics on http://").trim_end_matches("/metrics");
    server.reach.get("/metrics").await.refused(404);
    let mut raw = Raw::connect(addr.parse().expect("an address")).await;
    raw.write("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    let answer = raw.answer().await;
    assert_eq!(answer.status, 200);
    assert!(String::from_utf8_lossy(&answer.body).contains("natter_posts"));
    let mut raw = Raw::connect(addr.parse().expect("an address")).await;
    raw.write("GET /users/me HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert_eq!(raw.answer().await.status, 404, "nothing but metrics is there");
}

#[tokio::test]
async fn natter_health_asks_a_running_server() {
    let server = Server::start().await;
    let url = server.url("");
    server.cli(&["health", "--url", &url]).await.ok();
    server.stop().await;
    let refused = server.cli(&["health", "--url", &url]).await.failed();
    assert!(!refused.trim().is_empty());
}

#[tokio::test]
async fn natter_health_knows_the_address_from_the_settings() {
    let server = Server::start().await;
    let bind = server.reach.addr.to_string();
    let mut command = server.command_with(&["health"]);
    command.env("NATTER_SERVER__BIND", bind);
    crate::harness::Ran::of(command, "").await.ok();
}

#[tokio::test]
async fn the_program_tells_its_version_and_its_commands() {
    let setup = Setup::new().args(&["--version"]);
    assert_eq!(setup.run().await.ok().trim(), concat!("natter ", env!("CARGO_PKG_VERSION")));
    let help = Setup::new().args(&["--help"]).run().await.ok();
    for command in ["serve", "check-config", "admin", "backup", "restore", "health"] {
        assert!(help.contains(command), "{help}");
    }
}

#[tokio::test]
async fn metrics_and_documentation_can_be_switched_off() {
    let server = Server::with(&[("server.metrics", "off"), ("server.docs", "off")]).await;
    for path in ["/metrics", "/docs", "/docs/swagger-ui.css", "/redoc", "/openapi.json", "/asyncapi.json"] {
        assert_eq!(server.reach.get(path).await.refused(404)["code"], "not_found", "{path}");
    }
    server.reach.get("/healthz").await.ok();
    let both = Setup::new().set("server.metrics", "off").set("server.metrics_bind", "127.0.0.1:0");
    assert!(both.run().await.failed().contains("server.metrics_bind"));
}

#[tokio::test]
async fn a_healthy_server_says_that_it_is_on_every_store() {
    let server = Server::start().await;
    crate::harness::until("what the start itself writes", async || {
        server.metric("natter_store_write_queue").await == 0.0
    })
    .await;
    let metrics = server.metrics().await;
    for (name, value) in [
        ("natter_store_up", 1.0),
        ("natter_nodes", 1.0),
        ("natter_bus_up", 1.0),
        ("natter_bus_trusted", 1.0),
        ("natter_store_errors_total", 0.0),
        ("natter_handler_panics_total", 0.0),
        ("natter_pending_posts", 0.0),
        ("natter_users_online", 0.0),
    ] {
        assert_eq!(metrics.get(name), Some(&value), "{name}");
    }
    assert_eq!(
        server.reach.get("/readyz").await.ok(),
        serde_json::json!({"status": "ready"}),
        "there is no bus to tell of"
    );
}
