//! HTTPS and WSS by the server itself: the same protocol, certificates that change, and clients that get TLS wrong.
//!
//! Most clients here come through a bridge, which speaks TLS in their place, so that they can be the clients of all other tests.

use std::{fs, net::SocketAddr, path::Path, sync::Arc};

use rustls::{ClientConfig, pki_types::ServerName};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpSocket},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    harness::{Authority, Identity, Person, Raw, Server, Setup, in_time, until},
    readers::{assert_dense, events_to, log_bytes, parse},
};

/// Small, so that the server soon feels a client that does not read.
const RECEIVE_BYTES: u32 = 32 * 1024;

type Secure = TlsStream<tokio::net::TcpStream>;

fn write(dir: &Path, identity: &Identity) {
    fs::write(dir.join("server.pem"), &identity.certificate).expect("a writable folder");
    fs::write(dir.join("server.key"), &identity.key).expect("a writable folder");
}

fn setup(identity: &Identity) -> Setup {
    let setup = Setup::new().set("server.tls_cert", "server.pem").set("server.tls_key", "server.key");
    write(setup.dir(), identity);
    setup
}

async fn connect(addr: SocketAddr, client: Arc<ClientConfig>) -> std::io::Result<Secure> {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(RECEIVE_BYTES).expect("a buffer of that size");
    let stream = in_time("a connection", socket.connect(addr)).await.expect("the server accepts");
    in_time("a TLS handshake", TlsConnector::from(client).connect(ServerName::from(addr.ip()), stream)).await
}

/// A server that speaks TLS, and clients of it that come by way of a bridge.
struct Tls {
    authority: Authority,
    server: Server,
    /// Where it listens itself.
    direct: SocketAddr,
}

impl Tls {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let authority = Authority::new();
        let setup = settings.iter().fold(setup(&authority.identity()), |setup, (key, value)| setup.set(key, value));
        let mut server = setup.start().await;
        let direct = server.reach.addr;
        server.reach.addr = bridge(direct, authority.client(&["http/1.1"])).await;
        Self { authority, server, direct }
    }

    async fn connect(&self) -> Secure {
        connect(self.direct, self.authority.client(&[])).await.expect("a handshake")
    }

    /// The certificate that a new client is shown.
    async fn shown(&self) -> Vec<u8> {
        let stream = self.connect().await;
        let chain = stream.get_ref().1.peer_certificates().expect("a certificate");
        chain[0].to_vec()
    }
}

async fn bridge(to: SocketAddr, client: Arc<ClientConfig>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut plain, _)) = listener.accept().await {
            let client = client.clone();
            tokio::spawn(async move {
                let mut secure = connect(to, client).await.expect("a handshake");
                // Either side may leave without a word.
                drop(copy_bidirectional(&mut plain, &mut secure).await);
            });
        }
    });
    addr
}

/// A socket spoken by hand: the handshake, and what comes up to and with `mark`.
async fn upgrade(stream: &mut Secure, person: &Person, and: &[u8], mark: &str) -> String {
    let head = format!(
        "GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {}\r\n\r\n",
        person.token
    );
    in_time("the server to read", stream.write_all(&[head.as_bytes(), and].concat())).await.expect("it reads");
    read_to(stream, mark).await
}

async fn read_to(stream: &mut Secure, mark: &str) -> String {
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains(mark) {
        let read = in_time(mark, stream.read_buf(&mut seen)).await.expect("bytes");
        assert!(read > 0, "closed before {mark}: {}", String::from_utf8_lossy(&seen));
    }
    String::from_utf8_lossy(&seen).into_owned()
}

/// A text frame of a client, masked with zeros.
fn frame(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).ok().filter(|length| *length < 126).expect("a short text");
    [&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat()
}

#[tokio::test]
async fn people_sign_in_post_read_and_hear_each_other() {
    let tls = Tls::start(&[]).await;
    let (ann, bob) = tls.server.two_people().await;
    let room = ann.private(&bob).await;
    let mut live = bob.follow(&room).await;
    let mut one = bob.one_room(&room, None).await;
    for n in 0..20 {
        ann.post(&room, &format!("{n} {}", "語".repeat(3_900))).await;
    }
    let end = ann.head(&room).await;
    let seen = events_to(&mut live, end).await;
    assert_eq!(seen, log_bytes(&ann, &room).await[end as usize - 20..]);
    assert_eq!(one.next_event().await["content"], parse(&seen[0])["content"]);
    assert_eq!(live.post(&room, "and back", "c1").await.seq, end + 1);
    assert_eq!(bob.history(&room, "?limit=21").await["messages"].as_array().map(Vec::len), Some(21));
    assert_eq!(live.close().await.code, 1005);
}

#[tokio::test]
async fn what_comes_with_the_handshake_is_served_and_new_keys_change_nothing() {
    let tls = Tls::start(&[]).await;
    let ann = tls.server.person("ann").await;
    let mut stream = tls.connect().await;
    let ping = frame(r#"{"type":"ping","req":"early"}"#);
    let seen = upgrade(&mut stream, &ann, &ping, "early").await;
    assert!(seen.starts_with("HTTP/1.1 101") && seen.contains(r#""type":"welcome""#), "{seen}");
    for round in ["first", "second"] {
        stream.get_mut().1.refresh_traffic_keys().expect("TLS 1.3");
        let ping = frame(&format!(r#"{{"type":"ping","req":"{round}"}}"#));
        in_time("the server to read", stream.write_all(&ping)).await.expect("it reads");
        read_to(&mut stream, round).await;
    }
}

#[tokio::test]
async fn a_reader_who_stops_holds_up_nobody_and_misses_nothing() {
    const POSTS: usize = 400;
    let tls = Tls::start(&[("sockets.behind_secs", "3600"), ("sockets.ping_secs", "3600")]).await;
    let (ann, bob) = tls.server.two_people().await;
    let room = ann.private(&bob).await;
    let (mut slow, mut live) = (bob.small_socket(RECEIVE_BYTES as usize).await, bob.follow(&room).await);
    slow.follow(&room).await;
    let first = ann.head(&room).await + 1;
    let end = first + POSTS as u64 - 1;
    let text = "語".repeat(3_990);
    let reading = tokio::spawn(async move { events_to(&mut live, end).await });
    for n in 0..POSTS {
        ann.post(&room, &format!("{n} {text}")).await;
    }
    let seen = reading.await.expect("the live reader did not panic");
    assert_dense(&seen, first);
    // By now more waits for it than all buffers between take.
    assert_eq!(events_to(&mut slow, end).await, seen);
    assert_eq!(slow.post(&room, "level again", "c1").await.seq, end + 1);
}

#[tokio::test]
async fn a_goodbye_of_tls_ends_the_connection() {
    let tls = Tls::start(&[]).await;
    let ann = tls.server.person("ann").await;
    let mut stream = tls.connect().await;
    upgrade(&mut stream, &ann, b"", "welcome").await;
    until("the socket to be counted", async || tls.server.metric("natter_connections").await == 1.0).await;
    stream.get_mut().1.send_close_notify();
    in_time("the goodbye to leave", stream.flush()).await.expect("the server reads");
    until("the socket to be gone", async || tls.server.metric("natter_connections").await == 0.0).await;
}

#[tokio::test]
async fn sighup_brings_a_new_certificate_and_disconnects_nobody() {
    let tls = Tls::start(&[]).await;
    let (ann, bob) = tls.server.two_people().await;
    let room = ann.private(&bob).await;
    let mut live = bob.follow(&room).await;
    let before = tls.shown().await;

    write(tls.server.dir(), &tls.authority.identity());
    assert_eq!(tls.shown().await, before, "nobody has asked for the new one yet");
    tls.server.process().signal("HUP");
    until("the new certificate", async || tls.shown().await != before).await;
    ann.post(&room, "still here").await;
    assert_eq!(live.next_event().await["content"], "still here");

    let now = tls.shown().await;
    fs::write(tls.server.dir().join("server.key"), tls.authority.identity().key).expect("a writable folder");
    tls.server.process().signal("HUP");
    until("the fault to be told", async || {
        tls.server.log().contains("server.key is not the key of the first certificate in server.pem")
    })
    .await;
    assert_eq!(tls.shown().await, now);
    ann.post(&room, "and still").await;
    assert_eq!(live.next_event().await["content"], "and still");
}

#[tokio::test]
async fn sighup_without_tls_changes_nothing() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let mut socket = ann.socket().await;
    server.process().signal("HUP");
    until("the signal to be heard", async || server.log().contains("there is nothing to read anew")).await;
    socket.ask(json!({"type": "ping"})).await;
    assert!(server.stop().await.success());
}

#[tokio::test]
async fn http_on_a_port_of_https_is_told_so() {
    let tls = Tls::start(&[]).await;
    let mut raw = Raw::connect(tls.direct).await;
    raw.write("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let body = raw.answer().await.refused(400);
    assert_eq!(body["code"], "https_required");
    assert!(body["detail"].as_str().is_some_and(|detail| detail.contains("https://")), "{body}");
}

#[tokio::test]
async fn who_never_finishes_a_tls_handshake_is_cut_off_and_others_are_served() {
    let tls = Tls::start(&[("limits.header_secs", "1")]).await;
    let mut silent = Raw::connect(tls.direct).await;
    let mut half = Raw::connect(tls.direct).await;
    half.write(b"\x16\x03\x01\x02\x00\x01\x00").await;
    let mut garbage = Raw::connect(tls.direct).await;
    garbage.write([0_u8; 2_000]).await;
    tls.server.person("ann").await.me().await;
    assert!(silent.rest().await.is_empty());
    half.rest().await;
    garbage.rest().await;
    until("the two to be counted", async || {
        tls.server.metrics().await.get(r#"natter_bound_hits_total{setting="limits.header_secs"}"#) == Some(&2.0)
    })
    .await;
}

#[tokio::test]
async fn http_1_1_is_what_is_offered() {
    let tls = Tls::start(&[]).await;
    let both = connect(tls.direct, tls.authority.client(&["h2", "http/1.1"])).await.expect("one of them is spoken");
    assert_eq!(both.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let refused = connect(tls.direct, tls.authority.client(&["h2"])).await.expect_err("it is not spoken");
    assert!(refused.to_string().contains("NoApplicationProtocol"), "{refused}");
}

#[tokio::test]
async fn health_is_asked_over_tls_as_well() {
    let tls = Tls::start(&[]).await;
    let url = format!("https://{}", tls.direct);
    assert!(tls.server.cli(&["health", "--url", &url]).await.ok().contains("is healthy"));
    let told = tls.server.cli(&["health", "--url", &format!("http://{}", tls.direct)]).await.failed();
    assert!(told.contains("it answered 400"), "{told}");
}

#[tokio::test]
async fn files_that_are_no_certificate_and_key_are_refused_by_name() {
    let authority = Authority::new();
    let (one, other) = (authority.identity(), authority.identity());
    let both = [("server.tls_cert", "server.pem"), ("server.tls_key", "server.key")];
    let missing = [("server.tls_cert", "server.pem"), ("server.tls_key", "no.key")];
    let mixed = Identity { certificate: one.certificate.clone(), key: other.key };
    let swapped = Identity { certificate: one.key.clone(), key: one.certificate.clone() };
    let keyless = Identity { certificate: one.certificate.clone(), key: one.certificate.clone() };
    for (identity, settings, sentence) in [
        (&one, &both[..1], "`server.tls_key` must name the file of the key of `server.tls_cert`"),
        (&one, &both[1..], "must name the file of certificates of `server.tls_key`"),
        (&one, &missing[..], "`server.tls_key`: no.key cannot be read"),
        (&mixed, &both[..], "server.key is not the key of the first certificate in server.pem"),
        (&swapped, &both[..], "`server.tls_cert`: server.pem holds no PEM certificates"),
        (&keyless, &both[..], "`server.tls_key`: server.key holds no PEM private key"),
    ] {
        let setup = settings.iter().fold(Setup::new(), |setup, (key, value)| setup.set(key, value));
        write(setup.dir(), identity);
        let told = setup.run().await.failed();
        assert!(told.contains(sentence), "{told}");
    }
}

#[tokio::test]
async fn a_restart_lets_sockets_resume() {
    let mut tls = Tls::start(&[]).await;
    let (ann, bob) = tls.server.two_people().await;
    let room = ann.private(&bob).await;
    let bridge = tls.server.reach.addr;
    ann.post(&room, "before").await;
    let head = ann.head(&room).await;
    tls.server.reach.addr = tls.direct;
    tls.server.restart().await;
    tls.server.reach.addr = bridge;
    ann.post(&room, "after").await;
    let epoch = ann.history(&room, "").await["epoch"].as_str().expect("an epoch").to_owned();
    let mut again = tls.server.sign_in("bob").await.socket().await;
    assert_eq!(again.resume(&room, head, &epoch).await["lossless"], true);
    assert_eq!(again.next_event().await["content"], "after");
}
