//! Who may have how many connections: the share of an address, who has to go when there is no place left, and what is kept for whom.

use std::process::Command;

use crate::harness::{Person, Ran, Raw, RawAnswer, Server, Setup, in_time, until};

/// An address that nobody else in a test comes from.
const STRANGER: &str = "127.0.0.66";

async fn stranger(server: &Server) -> Raw {
    Raw::connect_from(STRANGER, server.reach.addr).await
}

async fn ask(raw: &mut Raw, path: &str, headers: &str) -> RawAnswer {
    raw.write(format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n")).await;
    raw.answer().await
}

/// A connection whose request is under way until the rest of its body comes.
async fn at_work(server: &Server) -> Raw {
    let mut raw = stranger(server).await;
    raw.write("POST /users/register HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n")
        .await;
    raw.write("Expect: 100-continue\r\n\r\n").await;
    raw.continued().await;
    raw
}

fn token_of(person: &Person) -> String {
    format!("Authorization: Bearer {}\r\n", person.token)
}

#[tokio::test]
async fn an_address_has_its_share_of_connections_and_others_have_their_own() {
    let server = Server::with(&[("limits.connections_per_address", "3")]).await;
    let ann = server.person("ann").await;
    let mut socket = stranger(&server).await;
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    assert_eq!(ask(&mut socket, "/ws", &(token_of(&ann) + upgrade)).await.status, 101);
    let mut idle = stranger(&server).await;
    assert_eq!(ask(&mut idle, "/healthz", "").await.status, 200);
    let silent = stranger(&server).await;

    let mut one_more = stranger(&server).await;
    let refused = one_more.answer().await.refused(429);
    assert_eq!(refused["code"], "too_many_connections");
    assert!(refused["detail"].as_str().unwrap().contains("limits.connections_per_address"), "{refused}");
    drop(one_more);
    let mut other = Raw::connect_from("127.0.0.67", server.reach.addr).await;
    assert_eq!(ask(&mut other, "/healthz", "").await.status, 200);
    assert_eq!(ask(&mut idle, "/healthz", "").await.status, 200, "what the address has, it keeps");

    for given_back in [silent, socket] {
        drop(given_back);
        until("the share to be given back", async || {
            let mut raw = stranger(&server).await;
            raw.try_write("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.is_ok()
                && raw.rest().await.starts_with(b"HTTP/1.1 200")
        })
        .await;
    }
    let series = "natter_bound_hits_total{setting=\"limits.connections_per_address\"}";
    assert!(server.metric(series).await >= 1.0);
}

#[tokio::test]
async fn a_socket_behind_a_trusted_proxy_counts_for_its_client() {
    let server =
        Server::with(&[("limits.connections_per_address", "1"), ("server.trusted_proxies", r#"["127.0.0.0/8"]"#)])
            .await;
    let ann = server.person("ann").await;
    let from = |client: &str| server.reach.handshake("/ws").bearer(&ann.token).header("X-Forwarded-For", client);
    let first = from("198.51.100.1").open().await;
    from("198.51.100.1").refused(429).await;
    let _other = from("198.51.100.2").open().await;
    first.close().await;
    until("the share to be given back", async || from("198.51.100.1").attempt().await.is_ok()).await;
}

#[tokio::test]
async fn the_connection_that_is_silent_for_longest_goes_first_and_no_request_is_cut_off() {
    let server = Server::with(&[("limits.http_connections", "6"), ("limits.reserved_connections", "1")]).await;
    let mut at_work = at_work(&server).await;
    let mut oldest = stranger(&server).await;
    oldest.write("GET /heal").await;
    let mut second = stranger(&server).await;
    assert_eq!(ask(&mut second, "/healthz", "").await.status, 200);
    let mut newcomers = Vec::new();
    for _ in 0..4 {
        let mut raw = stranger(&server).await;
        assert_eq!(ask(&mut raw, "/healthz", "").await.status, 200);
        newcomers.push(raw);
    }
    assert!(oldest.rest().await.is_empty(), "it was closed without a word");
    assert!(second.rest().await.is_empty());
    let mut last = newcomers.pop().expect("the last one");
    assert_eq!(ask(&mut last, "/healthz", "").await.status, 200, "it is the youngest");
    at_work.write("x".repeat(100)).await;
    at_work.answer().await.refused(422);
    assert!(server.metric("natter_silent_connections_closed_total").await >= 2.0);
}

#[tokio::test]
async fn the_reserve_is_for_probes_and_for_who_is_signed_in() {
    let server = Server::with(&[("limits.http_connections", "12"), ("limits.reserved_connections", "3")]).await;
    let ann = server.person("ann").await;
    let mut held = Vec::new();
    let refused = loop {
        let mut raw = stranger(&server).await;
        let answer = ask(&mut raw, "/openapi.json", "").await;
        if answer.status != 200 {
            break answer;
        }
        drop(raw);
        assert!(held.len() < 12, "strangers have all places");
        held.push(at_work(&server).await);
    };
    assert_eq!(refused.refused(503)["code"], "busy");
    assert_eq!(refused.header("connection"), Some("close"));
    for probe in ["/healthz", "/readyz", "/metrics"] {
        // One that was refused may be on its way out still, or already.
        until("a probe to be told that it may not stay", async || {
            let mut raw = stranger(&server).await;
            let answer = ask(&mut raw, probe, "").await;
            assert_eq!(answer.status, 200, "{probe}");
            answer.header("connection") == Some("close")
        })
        .await;
    }
    let mut member = stranger(&server).await;
    for _ in 0..2 {
        assert_eq!(ask(&mut member, "/users/me", &token_of(&ann)).await.status, 200);
    }
    until("a forger to be told the same", async || {
        let mut forger = stranger(&server).await;
        let forged = ask(&mut forger, "/users/me", "Authorization: Bearer x.y.z\r\n").await;
        assert_eq!(forged.status, 401);
        forged.header("connection") == Some("close")
    })
    .await;
}

#[tokio::test]
async fn the_soft_limit_of_files_is_raised_to_the_hard_one() {
    let server = Setup::new().start_after("ulimit -Sn 100; ulimit -Hn 4096").await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).expect("a process has limits");
    let files = limits.lines().find(|line| line.starts_with("Max open files")).expect("one is on files");
    assert_eq!(files.split_whitespace().collect::<Vec<_>>()[3..5], ["4096", "4096"]);
}

#[tokio::test]
async fn a_process_with_too_few_files_does_not_start_and_says_how_many_it_needs() {
    let setup = Setup::new();
    let natter = setup.command_with(&[]);
    let mut shell = Command::new("bash");
    shell.args(["-c", "ulimit -n 26; exec \"$0\"", env!("CARGO_BIN_EXE_natter")]).current_dir(setup.dir()).env_clear();
    shell.envs(natter.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let refused = Ran::of(shell, "").await.failed();
    assert!(refused.contains("may open only 26 files") && refused.contains("LimitNOFILE"), "{refused}");
    let server = setup.start_after("ulimit -n 64").await;
    server.person("ann").await.me().await;
}

#[tokio::test]
async fn one_address_with_more_idle_connections_than_there_are_files_keeps_nobody_out() {
    let server = Setup::new().start_after("ulimit -n 128").await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let mut socket = bob.follow(&room).await;
    let mut held = Vec::new();
    for _ in 0..300 {
        held.push(stranger(&server).await);
    }
    for _ in 0..20 {
        let mut other = Raw::connect_from("127.0.0.9", server.reach.addr).await;
        assert_eq!(ask(&mut other, "/healthz", "Connection: close\r\n").await.status, 200);
    }
    ann.post(&room, "still here").await;
    assert_eq!(in_time("the message", socket.next_event()).await["content"], "still here");
}
