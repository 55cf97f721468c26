//! The fault proxy itself: each fault does what its name says, and healing ends it.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::Instant,
};

use crate::harness::{
    Proxy, in_time,
    services::{Port, server_of, through},
};

/// A server that answers each line with itself, and tells what it heard.
async fn echo() -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("an address");
    let (heard, hearing) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let heard = heard.clone();
            tokio::spawn(async move {
                let mut bytes = [0; 1024];
                while let Ok(read @ 1..) = stream.read(&mut bytes).await {
                    let said = String::from_utf8_lossy(&bytes[..read]).into_owned();
                    let answered = stream.write_all(said.as_bytes()).await.is_ok();
                    if heard.send(said).is_err() || !answered {
                        break;
                    }
                }
            });
        }
    });
    (addr, hearing)
}

async fn connect(proxy: &Proxy) -> TcpStream {
    in_time("a connection", TcpStream::connect(proxy.addr())).await.expect("the proxy accepts")
}

async fn say(stream: &mut TcpStream, text: &str) {
    in_time("the proxy to read", stream.write_all(text.as_bytes())).await.expect("an open connection");
}

/// What comes back, up to so many bytes or the end.
async fn hear(stream: &mut TcpStream, bytes: usize) -> String {
    let mut heard = Vec::new();
    while heard.len() < bytes {
        match in_time("an answer or the end", stream.read_buf(&mut heard)).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => break,
        }
    }
    String::from_utf8(heard).expect("text")
}

async fn assert_echoes(proxy: &Proxy) {
    let mut stream = connect(proxy).await;
    say(&mut stream, "well").await;
    assert_eq!(hear(&mut stream, 4).await, "well");
}

#[tokio::test]
async fn without_a_fault_everything_passes_both_ways_up_to_the_end() {
    let (target, _heard) = echo().await;
    let proxy = Proxy::start(target).await;
    let mut stream = connect(&proxy).await;
    say(&mut stream, "one").await;
    assert_eq!(hear(&mut stream, 3).await, "one");
    say(&mut stream, "two").await;
    stream.shutdown().await.expect("an open connection");
    assert_eq!(hear(&mut stream, usize::MAX).await, "two");
    assert!(proxy.carried() >= 12);
}

#[tokio::test]
async fn a_cut_ends_connections_and_refuses_new_ones_until_it_is_healed() {
    let (target, _heard) = echo().await;
    let proxy = Proxy::start(target).await;
    let mut stream = connect(&proxy).await;
    say(&mut stream, "one").await;
    assert_eq!(hear(&mut stream, 3).await, "one");
    for _ in 0..2 {
        proxy.cut().await;
        assert_eq!(hear(&mut stream, usize::MAX).await, "");
        let refused = TcpStream::connect(proxy.addr()).await.expect_err("nobody listens");
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    }
    proxy.heal();
    assert_echoes(&proxy).await;
}

#[tokio::test]
async fn a_black_hole_takes_everything_and_answers_nothing() {
    let (target, mut heard) = echo().await;
    let proxy = Proxy::start(target).await;
    let mut before = connect(&proxy).await;
    say(&mut before, "heard").await;
    assert_eq!(hear(&mut before, 5).await, "heard");
    proxy.black_hole();
    let mut during = connect(&proxy).await;
    for stream in [&mut before, &mut during] {
        let harmed = proxy.harmed();
        say(stream, "unheard").await;
        proxy.harms_more_than(harmed).await;
    }
    proxy.heal();
    for stream in [&mut before, &mut during] {
        assert_eq!(hear(stream, usize::MAX).await, "", "what was in the hole ends");
    }
    assert_echoes(&proxy).await;
    assert_eq!(heard.recv().await.as_deref(), Some("heard"));
    assert_eq!(heard.recv().await.as_deref(), Some("well"), "the target heard nothing of it");
}

#[tokio::test]
async fn a_lost_answer_is_that_of_a_request_that_was_heard() {
    let (target, mut heard) = echo().await;
    let proxy = Proxy::start(target).await;
    let mut stream = connect(&proxy).await;
    proxy.lose_answers();
    let before = proxy.harmed();
    say(&mut stream, "do it").await;
    assert_eq!(hear(&mut stream, usize::MAX).await, "");
    assert_eq!(in_time("the request", heard.recv()).await.as_deref(), Some("do it"));
    proxy.harms_more_than(before).await;
    proxy.heal();
    assert_echoes(&proxy).await;
}

#[tokio::test]
async fn an_answer_is_cut_after_so_many_bytes() {
    let (target, _heard) = echo().await;
    let proxy = Proxy::start(target).await;
    let mut stream = connect(&proxy).await;
    proxy.cut_mid_answer(7);
    say(&mut stream, "12345").await;
    assert_eq!(hear(&mut stream, 5).await, "12345");
    say(&mut stream, "67890").await;
    assert_eq!(hear(&mut stream, usize::MAX).await, "67");
    proxy.harms_more_than(0).await;
    proxy.heal();
    assert_echoes(&proxy).await;
}

#[tokio::test]
async fn a_delay_costs_its_time_each_way_and_keeps_what_follows_close_behind() {
    const DELAY: Duration = Duration::from_millis(50);
    let (target, _heard) = echo().await;
    let proxy = Proxy::start(target).await;
    proxy.delay(DELAY);
    let mut stream = connect(&proxy).await;
    let start = Instant::now();
    say(&mut stream, "1").await;
    assert_eq!(hear(&mut stream, 1).await, "1");
    assert!(start.elapsed() >= 2 * DELAY, "{:?}", start.elapsed());
    proxy.heal();
    assert_echoes(&proxy).await;
}

#[tokio::test]
async fn a_target_that_is_not_there_ends_the_connection_and_may_come_later() {
    let port = Port::take();
    let proxy = Proxy::start(port.addr()).await;
    assert_eq!(hear(&mut connect(&proxy).await, usize::MAX).await, "");
    let listener = port.listen();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        stream.write_all(b"here").await.expect("an open connection");
    });
    assert_eq!(hear(&mut connect(&proxy).await, 4).await, "here");
}

#[tokio::test]
async fn a_port_is_ones_own_while_it_is_held() {
    let ports: Vec<Port> = (0..200).map(|_| Port::take()).collect();
    let mut numbers: Vec<u16> = ports.iter().map(|port| port.addr().port()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 200);
    for _ in 0..2 {
        TcpStream::connect(ports[0].addr()).await.expect_err("nobody listens");
        let listener = ports[0].listen();
        let (accepted, connected) = tokio::join!(listener.accept(), TcpStream::connect(ports[0].addr()));
        assert!(accepted.is_ok() && connected.is_ok());
    }
}

#[test]
fn a_proxy_stands_in_the_url_of_its_database() {
    let addr = "127.0.0.1:9".parse().expect("an address");
    for (url, server, seen) in [
        ("mongodb://127.0.0.1:7000", "127.0.0.1:7000", "mongodb://127.0.0.1:9/?directConnection=true"),
        ("mongodb://127.0.0.1/", "127.0.0.1:27017", "mongodb://127.0.0.1:9/?directConnection=true"),
        (
            "mongodb://ann:p%40ss@127.0.0.1:7/admin?replicaSet=rs0&w=majority",
            "127.0.0.1:7",
            "mongodb://ann:p%40ss@127.0.0.1:9/admin?w=majority&directConnection=true",
        ),
    ] {
        assert_eq!(server_of(url), server.parse().expect("an address"), "{url}");
        assert_eq!(through(url, addr), seen, "{url}");
    }
}
