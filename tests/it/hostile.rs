//! A crowd that means harm, from fifty addresses, beside two hundred people who talk: those are refused nothing, lose nothing, and
//! the server stays within its memory. `tests/hostile` runs it for minutes, and looks at how long messages take as well.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures_util::future::{join, join_all};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
};

use crate::{
    harness::{Person, Server, Socket, in_time},
    readers::{Dice, assert_unhurt, parse},
};

const ROOMS: usize = 20;
const PEOPLE_IN_A_ROOM: usize = 10;
const ADDRESSES: u8 = 50;
/// Connections of one address at once.
const AT_ONCE: usize = 10;
/// What the server's memory may grow by, in KiB: its budgets, and the caches of the people.
const MAY_GROW_KB: u64 = 150 * 1024;

/// People who talk, in rooms of their own.
struct Town {
    writers: Vec<(Person, String)>,
    sockets: Vec<Vec<Socket>>,
}

impl Town {
    async fn settle(server: &Server) -> Self {
        let (mut writers, mut sockets) = (Vec::new(), Vec::new());
        for room in 0..ROOMS {
            let people =
                join_all((0..PEOPLE_IN_A_ROOM).map(async |n| server.person(&format!("p{room}x{n}")).await)).await;
            let id = people[0].group(&format!("room {room}"), &people[1..]).await;
            sockets.push(join_all(people.iter().map(|person| person.follow(&id))).await);
            writers.push((people[0].clone(), id));
        }
        Self { writers, sockets }
    }

    /// Talks for so long: a message in each room, and the next when everybody has heard it. How long each took to reach each of
    /// them, shortest first.
    async fn talk(&mut self, long: Duration, turn: &str) -> Vec<Duration> {
        let (start, mut took) = (Instant::now(), Vec::new());
        for round in 0.. {
            let (text, sent) = (format!("{turn} {round}"), Instant::now());
            let posts = self.writers.iter().map(|(ann, room)| ann.post(room, &text));
            let hearing = self.sockets.iter_mut().flatten().map(async |socket| {
                assert_eq!(parse(&socket.next_event_text().await)["content"], text);
                sent.elapsed()
            });
            let (_, heard) = in_time("everybody to hear", join(join_all(posts), join_all(hearing))).await;
            took.extend(heard);
            if start.elapsed() >= long {
                break;
            }
        }
        took.sort_unstable();
        took
    }
}

fn p99(took: &[Duration]) -> Duration {
    took[took.len() * 99 / 100]
}

/// One of the crowd: what it does with a connection.
type Malice = fn(u64) -> Vec<Vec<u8>>;

/// What each writes, piece by piece, with a pause after every piece.
const MALICE: &[Malice] = &[
    // Says nothing.
    |_| vec![],
    // A head, a byte at a time.
    |_| b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX: y\r\n\r\n".chunks(1).map(<[u8]>::to_vec).collect(),
    // Most of a long head.
    |_| vec![format!("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX: {}", "x".repeat(30_000)).into_bytes()],
    // A body that lacks a byte.
    |_| {
        let head = "POST /token HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\n\
                    Content-Length: 200001\r\n\r\n";
        vec![format!("{head}{}", "a".repeat(200_000)).into_bytes()]
    },
    // Asks for much, and reads nothing.
    |_| vec![b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".repeat(20)],
    // Floods.
    |_| vec![b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".repeat(500)],
    // Guesses passwords of people who are there.
    |seed| {
        let body = format!("username=p{}x0&password=guess{seed}", seed % ROOMS as u64);
        let head = format!(
            "POST /token HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        vec![format!("{head}{body}").into_bytes()]
    },
    // Lies about what follows.
    |_| {
        let head = "POST /users/register HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n";
        vec![format!("{head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n{{}}").into_bytes()]
    },
    // Speaks something else.
    |seed| {
        let mut dice = Dice::new(seed);
        vec![(0..4_000).map(|_| dice.below(256) as u8).collect()]
    },
];

async fn connect(from: Ipv4Addr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((from, 0)))?;
    socket.set_recv_buffer_size(8 * 1024)?;
    socket.connect(to).await
}

/// Does one thing after the other from one address, until it is told to stop. Whatever the server does to it is as well.
async fn harm(from: Ipv4Addr, to: SocketAddr, seed: u64, stop: Arc<AtomicBool>) {
    let mut dice = Dice::new(seed);
    while !stop.load(Relaxed) {
        let Ok(mut stream) = connect(from, to).await else {
            tokio::task::consume_budget().await;
            continue;
        };
        let pieces = MALICE[dice.below(MALICE.len() as u64) as usize](dice.below(u64::MAX));
        for piece in pieces {
            if stop.load(Relaxed) || stream.write_all(&piece).await.is_err() {
                break;
            }
            drop(tokio::time::timeout(Duration::from_millis(100), stream.read(&mut [0; 16])).await);
        }
        let patience = Duration::from_millis(200 + dice.below(3_000));
        drop(tokio::time::timeout(patience, stream.read(&mut [0; 16])).await);
    }
}

fn seconds() -> Option<u64> {
    std::env::var("NATTER_TEST_HOSTILE_SECS").ok().map(|text| text.parse().expect("a number of seconds"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_crowd_costs_people_nothing_and_the_server_little() {
    let soak = seconds();
    let long = Duration::from_secs(soak.unwrap_or(6));
    let server = Server::with(&[
        ("limits.rates", "on"),
        ("limits.signups_per_minute", "100000"),
        ("limits.signups_burst", "1000"),
        ("limits.http_connections", "2000"),
        ("limits.requests_per_sec", "5000"),
        ("limits.posts_per_sec", "5000"),
    ])
    .await;
    let mut town = Town::settle(&server).await;
    let alone = town.talk(long.min(Duration::from_secs(60)), "alone").await;
    let before = server.rss_kb();

    let stop = Arc::new(AtomicBool::new(false));
    let mut crowd = JoinSet::new();
    for (nth, address) in (1..=ADDRESSES).flat_map(|address| [address; AT_ONCE]).enumerate() {
        crowd.spawn(harm(Ipv4Addr::new(127, 0, 1, address), server.reach.addr, nth as u64, stop.clone()));
    }
    let beside = town.talk(long, "beside").await;
    let grown = server.rss_kb().saturating_sub(before);
    // Nobody is locked out by those who guessed.
    for n in 0..ROOMS {
        server.sign_in(&format!("p{n}x0")).await;
    }
    stop.store(true, Relaxed);
    crowd.join_all().await;

    let (alone, beside) = (p99(&alone), p99(&beside));
    println!("p99 alone {alone:?}, beside them {beside:?}; {grown} KB more memory");
    assert!(grown <= MAY_GROW_KB, "{grown} KB more memory");
    assert_eq!(server.metric("natter_handler_panics_total").await, 0.0);
    assert_unhurt(&server).await;
    if soak.is_some() {
        assert!(beside <= 2 * alone.max(Duration::from_millis(5)), "{beside:?} beside them, {alone:?} alone");
    }
}
