//! Damaged input of every kind, made from what is right: whatever comes, it is read, answered or refused, and nothing panics.
//!
//! Each test has a corpus in `tests/corpus`: files that are right, or were wrong once. Their bytes are flipped, cut, doubled, mixed and
//! filled with what parsers trip over. A run of the tests tries a few, the same ones each time; `tests/fuzz SECONDS` tries others for so
//! long. What brings something down is left in `target/fuzz`; put into the corpus, it is tried for ever.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use natter::{
    config::{
        self,
        load::{self, Inputs},
    },
    metrics::Metrics,
    store::sqlite::SqliteStore,
    transfer::{import, progress::Progress},
};
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
    strategy::ValueTree,
    test_runner::TestRunner,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    harness::{Server, Socket, in_time},
    readers::assert_unhurt,
};

/// Cases of one test where nobody says for how long.
const CASES: usize = 48;
/// Server's health is looked at after so many.
const ROUND: usize = 16;

/// What parsers trip over.
const TRIPS: [&[u8]; 20] = [
    b"\0",
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\"",
    b"\\u0000",
    b"\\ud800",
    b"[[[[[[[[",
    b"{\"",
    b"18446744073709551616",
    b"-0",
    b"1e999",
    b"null",
    b"../",
    b"%00",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    "\u{202e}".as_bytes(),
    b"\xff\xff\xff\xff",
    b"Transfer-Encoding: chunked\r\n",
];

#[derive(Debug, Clone)]
enum Damage {
    Flip(Index, u8),
    Put(Index, &'static [u8]),
    PutBytes(Index, Vec<u8>),
    Cut(Index, Index),
    Repeat(Index, Index, usize),
    End(Index),
}

fn any_damage() -> impl Strategy<Value = Damage> {
    let at = any::<Index>;
    prop_oneof![
        4 => (at(), 0..8u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        3 => (at(), select(&TRIPS[..])).prop_map(|(at, what)| Damage::Put(at, what)),
        1 => (at(), vec(any::<u8>(), 1..16)).prop_map(|(at, bytes)| Damage::PutBytes(at, bytes)),
        2 => (at(), at()).prop_map(|(from, to)| Damage::Cut(from, to)),
        1 => (at(), at(), 1..20usize).prop_map(|(from, to, times)| Damage::Repeat(from, to, times)),
        1 => at().prop_map(Damage::End),
    ]
}

impl Damage {
    fn to(&self, bytes: &mut Vec<u8>) {
        let end = bytes.len() + 1;
        let range = |from: &Index, to: &Index| {
            let (from, to) = (from.index(end), to.index(end));
            from.min(to)..from.max(to)
        };
        match self {
            Damage::Flip(at, bit) if !bytes.is_empty() => {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            Damage::Flip(..) => {}
            Damage::Put(at, what) => drop(bytes.splice(at.index(end)..at.index(end), what.iter().copied())),
            Damage::PutBytes(at, what) => drop(bytes.splice(at.index(end)..at.index(end), what.iter().copied())),
            Damage::Cut(from, to) => drop(bytes.drain(range(from, to))),
            Damage::Repeat(from, to, times) => {
                let range = range(from, to);
                // No test is about size: limits have their own.
                let piece: Vec<u8> = bytes[range.clone()].iter().copied().take(1_000).collect();
                bytes.splice(range.end..range.end, piece.repeat(*times));
            }
            Damage::End(at) => bytes.truncate(at.index(end)),
        }
    }
}

/// What a test tries: each file of its corpus as it is, then damaged ones.
struct Cases {
    target: &'static str,
    corpus: Vec<Vec<u8>>,
    whole: usize,
    runner: TestRunner,
    tried: usize,
    until: Option<Instant>,
    /// Of the round that goes on.
    round: Vec<Vec<u8>>,
}

impl Cases {
    fn of(target: &'static str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(target);
        let mut files: Vec<PathBuf> =
            fs::read_dir(&folder).expect("a corpus").map(|file| file.expect("a file").path()).collect();
        files.sort();
        Self::with(target, files.iter().map(|file| fs::read(file).expect("a file")).collect())
    }

    fn with(target: &'static str, corpus: Vec<Vec<u8>>) -> Self {
        assert!(!corpus.is_empty());
        let secs = std::env::var("NATTER_FUZZ_SECS").ok().map(|secs| secs.parse().expect("a number of seconds"));
        let runner = if secs.is_some() { TestRunner::default() } else { TestRunner::deterministic() };
        let until = secs.map(|secs| Instant::now() + Duration::from_secs(secs));
        Self { target, corpus, whole: 0, runner, tried: 0, until, round: Vec::new() }
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        if self.round.len() == ROUND {
            self.round.clear();
        }
        let case = if let Some(whole) = self.corpus.get(self.whole) {
            self.whole += 1;
            whole.clone()
        } else if self.until.map_or(self.tried < CASES, |until| Instant::now() < until) {
            self.tried += 1;
            let case = (select(self.corpus.clone()), vec(any_damage(), 1..6)).new_tree(&mut self.runner);
            let (mut bytes, damages) = case.expect("a strategy without a filter").current();
            damages.iter().for_each(|damage| damage.to(&mut bytes));
            bytes
        } else {
            if self.until.is_some() {
                println!("{}: {} cases", self.target, self.tried);
            }
            return None;
        };
        self.round.push(case.clone());
        Some(case)
    }

    fn ends_a_round(&self) -> bool {
        self.round.len() == ROUND
    }

    /// Runs `read` on every case, and keeps one that makes it panic.
    fn each(mut self, mut read: impl FnMut(&[u8])) {
        while let Some(case) = self.next() {
            if catch_unwind(AssertUnwindSafe(|| read(&case))).is_err() {
                panic!("{} panicked at {}", self.target, keep(self.target, &case).display());
            }
        }
    }

    async fn assert_unhurt(&self, server: &Server) {
        let hurt = !server.process().running() || server.log().contains("panicked at");
        if hurt {
            let kept: Vec<_> = self.round.iter().map(|case| keep(self.target, case)).collect();
            panic!("one of {kept:?} brought it down:\n{}", server.log());
        }
        assert_unhurt(server).await;
    }
}

fn keep(target: &str, case: &[u8]) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/fuzz").join(target);
    fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join(format!("{:016x}", uuid::Uuid::now_v7().as_u128() as u64));
    fs::write(&file, case).expect("a file");
    file
}

/// Sends bytes and reads until the server closes or has nothing more to say for now.
async fn say(server: &Server, before: &[u8], bytes: &[u8]) {
    let mut raw = server.reach.raw().await;
    let stream = &mut raw.stream;
    // It may hang up at any byte.
    if stream.write_all(before).await.is_ok() && stream.write_all(bytes).await.is_ok() {
        drop(stream.shutdown().await);
    }
    let mut answer = Vec::new();
    drop(in_time("the end of an answer", stream.read_to_end(&mut answer)).await);
}

fn unlimited() -> [(&'static str, &'static str); 3] {
    [("limits.rates", "off"), ("limits.header_secs", "1"), ("sockets.close_secs", "1")]
}

#[tokio::test]
async fn heads_of_requests_bring_nothing_down() {
    let (server, mut cases) = (Server::with(&unlimited()).await, Cases::of("heads"));
    while let Some(case) = cases.next() {
        say(&server, b"", &case).await;
        if cases.ends_a_round() {
            cases.assert_unhurt(&server).await;
        }
    }
    cases.assert_unhurt(&server).await;
}

#[tokio::test]
async fn frames_of_sockets_bring_nothing_down() {
    let (server, mut cases) = (Server::with(&unlimited()).await, Cases::of("frames"));
    let token = server.person("ann").await.token;
    let head = format!(
        "GET /ws HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: natter.v1\r\nAuthorization: Bearer {token}\r\n\r\n",
        server.reach.addr
    );
    while let Some(case) = cases.next() {
        say(&server, head.as_bytes(), &case).await;
        if cases.ends_a_round() {
            cases.assert_unhurt(&server).await;
        }
    }
    cases.assert_unhurt(&server).await;
}

#[tokio::test]
async fn commands_on_sockets_bring_nothing_down() {
    let (server, mut cases) = (Server::with(&unlimited()).await, Cases::of("commands"));
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let mut socket: Option<Socket> = None;
    while let Some(case) = cases.next() {
        let text = String::from_utf8_lossy(&case).replace("ROOM", &room);
        let open = match socket.take() {
            Some(open) => open,
            None => ann.socket().await,
        };
        let mut open = open;
        open.send_raw(&text).await;
        open.send_raw(r#"{"type":"ping","req":"level"}"#).await;
        // Level with the server again, or closed by it.
        loop {
            match open.try_next().await {
                Ok(text) if text.contains(r#""req":"level""#) => {
                    socket = Some(open);
                    break;
                }
                Ok(_) => {}
                Err(_closed) => break,
            }
        }
        if cases.ends_a_round() {
            cases.assert_unhurt(&server).await;
        }
    }
    cases.assert_unhurt(&server).await;
}

#[test]
fn settings_are_read_or_refused() {
    Cases::of("config").each(|case| {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("config.toml"), case).expect("a file");
        fs::write(folder.path().join(".env"), case).expect("a file");
        for file in [None, Some("config.toml".into())] {
            let inputs = Inputs { folder: folder.path().into(), file, ..Inputs::default() };
            if let Err(problems) = load::load(&inputs) {
                assert!(!problems.0.is_empty());
            }
            fs::remove_file(folder.path().join(".env")).ok();
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn import_files_are_read_or_refused() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    ann.post(&ann.private(&bob).await, "hello").await;
    server.cli(&["export", "export.natter"]).await.ok();
    let whole = fs::read(server.dir().join("export.natter")).expect("an export");
    let lines = zstd::decode_all(&whole[..]).expect("zstd");
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Handle::current();
    let read = move |target, corpus: Vec<Vec<u8>>, compressed: bool| {
        let file = folder.path().join("file");
        Cases::with(target, corpus).each(|case| {
            let bytes = if compressed { case.to_vec() } else { zstd::encode_all(case, 1).expect("zstd") };
            fs::write(&file, bytes).expect("a file");
            // What is refused is refused with a sentence.
            if let Err(sentence) = runtime.block_on(import::check(&file, &Arc::new(Progress::default()))).map(drop) {
                assert!(!sentence.is_empty());
            }
        });
    };
    tokio::task::spawn_blocking(move || {
        read("import-bytes", vec![whole], true);
        read("import-lines", vec![lines], false);
    })
    .await
    .expect("no panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn journals_are_read_or_refused() {
    let server = Server::with(&[("store.settle_secs", "3600")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    for number in 0..5 {
        ann.post(&room, &format!("hello {number}")).await;
    }
    server.kill().await;
    let file = |name: &str| fs::read(server.data().join(name)).expect(name);
    let (database, log) = (file("natter.db"), file("natter.db-wal"));
    // The zeros that are written ahead are all the same.
    let mut journal = file("natter.db.log-0");
    let end = journal.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 64);
    journal.truncate(end);
    let read = move || {
        Cases::with("journal", vec![journal]).each(|case| {
            let folder = tempfile::tempdir().expect("a folder");
            let at = |name: &str| folder.path().join(name);
            fs::write(at("natter.db"), &database).expect("a file");
            fs::write(at("natter.db-wal"), &log).expect("a file");
            fs::write(at("natter.db.log-0"), case).expect("a file");
            match SqliteStore::open(&at("natter.db"), &config::Store::default(), Arc::new(Metrics::default())) {
                Ok(store) => drop(store),
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        });
    };
    tokio::task::spawn_blocking(read).await.expect("no panic");
}
