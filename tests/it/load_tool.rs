//! The parts of the load tool that could flatter or slander a server if they were wrong: its framing, its reading of single
//! fields, its check of the order, and its delay of a store. They stand alone, so they are tested here from their own files.
//! And every scenario is run once, small, so that none can rot: what it checks has to hold, and nothing is said of its times.

#[path = "../../benches/load/check.rs"]
#[allow(dead_code)]
mod check;
#[path = "../../benches/load/delay.rs"]
mod delay;
#[path = "../../benches/load/frames.rs"]
#[allow(dead_code)]
mod frames;
#[path = "../../benches/load/scan.rs"]
#[allow(dead_code)]
mod scan;

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use check::Check;
use frames::{FrameError, Incoming, Message, TEXT, push_masked, push_text};
use scan::{Hint, kind, number};

use crate::harness::{Authority, Identity, Setup, cargo, services::mongodb};

fn collect(pieces: &[&[u8]]) -> Result<Vec<String>, FrameError> {
    let (mut incoming, mut seen) = (Incoming::default(), Vec::new());
    for piece in pieces {
        incoming.feed(piece, |message| {
            seen.push(match message {
                Message::Text(text) if text.len() > 100 => format!("text of {}", text.len()),
                Message::Text(text) => format!("text {}", String::from_utf8_lossy(text)),
                Message::Ping(payload) => format!("ping {}", String::from_utf8_lossy(payload)),
                Message::Pong => "pong".into(),
                Message::Close { code, reason } => format!("close {code} {}", String::from_utf8_lossy(reason)),
            });
        })?;
    }
    Ok(seen)
}

fn stream() -> (Vec<u8>, Vec<&'static str>) {
    let mut bytes = Vec::new();
    push_text(&mut bytes, b"");
    push_text(&mut bytes, b"hello");
    push_text(&mut bytes, &[b'a'; 300]);
    bytes.extend_from_slice(&[0x89, 2, b'h', b'i']);
    push_text(&mut bytes, &[b'b'; 70_000]);
    bytes.extend_from_slice(&[0x01, 2, b't', b'w', 0x89, 0, 0x00, 1, b'i', 0x80, 2, b'c', b'e']);
    bytes.extend_from_slice(&[0x8A, 0, 0x88, 5, 0x03, 0xF5, b'b', b'y', b'e', 0x88, 0]);
    let expected = vec![
        "text ",
        "text hello",
        "text of 300",
        "ping hi",
        "text of 70000",
        "ping ",
        "text twice",
        "pong",
        "close 1013 bye",
        "close 1005 ",
    ];
    (bytes, expected)
}

#[test]
fn frames_in_one_piece_are_all_seen() {
    let (bytes, expected) = stream();
    assert_eq!(collect(&[&bytes]).unwrap(), expected);
}

#[test]
fn frames_cut_anywhere_are_the_same_frames() {
    let (bytes, expected) = stream();
    for size in [1, 2, 3, 7, 125, 126, 1_000, 65_536] {
        assert_eq!(collect(&bytes.chunks(size).collect::<Vec<_>>()).unwrap(), expected, "pieces of {size}");
    }
    for cut in 0..400 {
        let (left, right) = bytes.split_at(cut);
        assert_eq!(collect(&[left, right]).unwrap(), expected, "cut at {cut}");
    }
}

#[test]
fn what_a_server_may_not_send_is_refused() {
    let refused: [&[u8]; 8] = [
        &[0x81, 0x80, 0, 0, 0, 0],
        &[0xC1, 0],
        &[0x80, 0],
        &[0x82, 0],
        &[0x09, 0],
        &[0x88, 1, 3],
        &[0x01, 0, 0x81, 0],
        &[0x81, 127, 0, 0, 1, 0, 0, 0, 0, 0],
    ];
    for bytes in refused {
        assert!(collect(&[bytes]).is_err(), "{bytes:?}");
    }
}

#[test]
fn a_masked_frame_unmasks_to_its_payload() {
    for length in [0, 5, 125, 126, 65_535, 65_536] {
        let (payload, mut out) = (vec![b'x'; length], Vec::new());
        push_masked(&mut out, TEXT, &payload);
        let header = out.len() - length - 4;
        assert_eq!(out[1] & 0x80, 0x80);
        let key: Vec<u8> = out[header..header + 4].to_vec();
        let plain: Vec<u8> = out[header + 4..].iter().zip(key.iter().cycle()).map(|(b, k)| b ^ k).collect();
        assert_eq!(plain, payload);
        let mut unmasked = out[..header].to_vec();
        unmasked[1] &= 0x7F;
        unmasked.extend_from_slice(&payload);
        let mut seen = 0;
        Incoming::default().feed(&unmasked, |_| seen += 1).unwrap();
        assert_eq!(seen, 1);
    }
}

#[test]
fn a_field_is_found_wherever_it_stands() {
    let mut hint = Hint::default();
    for (json, seq) in [
        (r#"{"type":"message","seq":17,"content":"x"}"#, Some(17)),
        (r#"{"type":"message","seq":18,"content":"x"}"#, Some(18)),
        (r#"{"content":"\"seq\":99","seq":19,"type":"message"}"#, Some(19)),
        (r#"{"type":"read","read_seq":4}"#, None),
        (r#"{"type":"message","seq":"#, None),
        (r#"{"seq":18446744073709551616}"#, None),
        ("", None),
    ] {
        assert_eq!(number(json.as_bytes(), b"\"seq\":", &mut hint), seq, "{json}");
    }
}

#[test]
fn the_type_is_read_first_or_last() {
    assert_eq!(kind(br#"{"type":"posted","seq":1}"#), b"posted");
    assert_eq!(kind(br#"{"seq":1,"type":"posted"}"#), b"posted");
    assert_eq!(kind(b"{}"), b"");
}

fn after(seqs: &[u64], head: u64) -> (u64, u64, u64) {
    let mut check = Check::starting_at(1);
    seqs.iter().for_each(|&seq| {
        check.saw(seq);
    });
    let faults = check.faults(head);
    (faults.lost, faults.doubled, faults.reordered)
}

#[test]
fn lost_doubled_and_reordered_are_told_apart() {
    assert_eq!(after(&[1, 2, 3], 3), (0, 0, 0));
    assert_eq!(after(&[1, 3], 4), (2, 0, 0));
    assert_eq!(after(&[1, 2, 2, 3], 3), (0, 1, 0));
    assert_eq!(after(&[1, 3, 2, 4], 4), (0, 0, 1));
    assert_eq!(after(&[1, 3, 2, 2], 3), (0, 1, 1));
    assert_eq!(after(&[], 2), (2, 0, 0));
}

/// A connection by way of the delay to somebody who sends back whatever comes.
fn delayed_echo(round_trip: Duration) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut from, _) = listener.accept().unwrap();
        from.set_nodelay(true).unwrap();
        let mut to = from.try_clone().unwrap();
        std::io::copy(&mut from, &mut to).unwrap();
    });
    let stream = TcpStream::connect(delay::start(target, round_trip).unwrap()).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

#[test]
fn a_delay_costs_a_round_trip_and_no_less() {
    const ROUND_TRIP: Duration = Duration::from_millis(20);
    let mut stream = delayed_echo(ROUND_TRIP);
    let mut shortest = Duration::MAX;
    for _ in 0..10 {
        let asked = Instant::now();
        stream.write_all(b"?").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        assert!(asked.elapsed() >= ROUND_TRIP);
        shortest = shortest.min(asked.elapsed());
    }
    assert!(shortest < ROUND_TRIP * 2, "the shortest of ten round trips took {shortest:?}");
}

#[test]
fn what_is_on_its_way_through_a_delay_holds_up_nothing() {
    const ASKED: usize = 500;
    let mut stream = delayed_echo(Duration::from_millis(40));
    let asked = Instant::now();
    let mut writer = stream.try_clone().unwrap();
    let writing = thread::spawn(move || (0..ASKED).for_each(|nth| writer.write_all(&[nth as u8]).unwrap()));
    let mut answers = [0; ASKED];
    stream.read_exact(&mut answers).unwrap();
    writing.join().unwrap();
    assert!(answers.iter().enumerate().all(|(nth, answer)| nth as u8 == *answer), "answers out of order");
    // One after the other they would take twenty seconds.
    assert!(asked.elapsed() < Duration::from_secs(5), "{ASKED} requests took {:?}", asked.elapsed());
}

/// Whether the tool succeeds, and all that it says.
fn load(arguments: &[&str], json: &Path) -> (bool, String) {
    let ran = cargo()
        .args(["bench", "--quiet", "--locked", "--profile", "dev", "--bench", "load", "--"])
        .args(arguments)
        .args(["--max-minutes", "5", "--json"])
        .arg(json)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    (ran.status.success(), said)
}

fn report(json: &Path) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap()
}

/// The scenario, small and short; its figures.
fn cluster(arguments: &[&str]) -> serde_json::Value {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("cluster.json");
    let small = "cluster --rounds 1 --seconds 1 --subscribers 6 --rooms 4 --in-flight 4 --window 2 --rate 30 --bus-rate 30 --delays 0,5";
    let arguments: Vec<&str> = small.split(' ').chain(arguments.iter().copied()).collect();
    let (succeeded, said) = load(&arguments, &json);
    assert!(succeeded, "{said}");
    assert!(json.with_extension("svg").exists(), "no plot:\n{said}");
    report(&json)["figures"].clone()
}

#[test]
fn every_scenario_runs_and_finds_nothing_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (succeeded, said) = load(&["all", "--smoke"], &folder.path().join("all.json"));
    assert!(succeeded, "{said}");
    for (scenario, figures) in [
        ("connect", &["upgrades_per_sec", "upgrades_per_sec_bare"][..]),
        ("storm", &["caught_up_secs", "bare_handshakes_secs", "events"]),
        ("slow", &["beside_stalled_p99_ms", "beside_stalled_p99_ms_alone"]),
        ("login", &["sign_ins_per_sec", "sign_ins_per_sec_bare"]),
        ("interfere", &["beside_history_p99_ms", "beside_lists_p99_ms", "lists_per_sec"]),
        ("churn", &["connections_per_sec", "beside_churn_p99_ms"]),
        ("idle", &["anon_mib_at_20"]),
    ] {
        let json = folder.path().join(scenario).with_extension("json");
        let report = report(&json);
        assert_measured(&report["figures"], figures);
        assert_eq!(report["faults"]["lost"], 0, "{scenario}");
        assert!(report["disturbance"]["disturbed"].is_boolean(), "{scenario}: {report:#}");
        let csv = std::fs::read_to_string(json.with_extension("csv")).unwrap();
        assert!(figures.iter().all(|figure| csv.contains(&format!("\n{figure},"))), "{scenario}: {csv}");
    }
}

/// A report with one figure, as much as a comparison reads of it.
#[tokio::test(flavor = "multi_thread")]
async fn https_is_a_way_like_any_other_where_somebody_vouches_for_the_server() {
    let (authority, setup) = (Authority::new(), Setup::new());
    let Identity { certificate, key } = authority.identity();
    let setup = setup.write("server.pem", &certificate).write("server.key", &key).write("ca.pem", &authority.pem());
    let server = setup.set("server.tls_cert", "server.pem").set("server.tls_key", "server.key").start().await;
    let (url, ca) = (format!("https://{}", server.reach.addr), server.dir().join("ca.pem").display().to_string());
    let dir = tempfile::tempdir().expect("a temporary folder");
    let json = dir.path().join("load.json");
    let arguments = "fanout --subscribers 20 --rate 20 --seconds 1 --saturated-seconds 1 --window 4 --rounds 1 --url";
    let with = |more: &[&str]| {
        let arguments: Vec<&str> = arguments.split(' ').chain([url.as_str()]).chain(more.iter().copied()).collect();
        tokio::task::block_in_place(|| load(&arguments, &json))
    };
    let (good, said) = with(&["--ca", &ca]);
    assert!(good, "{said}");
    let (good, said) = with(&[]);
    assert!(!good && said.contains("certificate"), "{said}");
}

fn said_of(per_sec: [f64; 3]) -> String {
    let [median, min, max] = per_sec;
    let figures = serde_json::json!({ "acks_per_sec": { "median": median, "min": min, "max": max } });
    serde_json::json!({ "scenario": "posts", "at": "then", "figures": figures }).to_string()
}

#[test]
fn a_comparison_tells_a_change_from_noise() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, per_sec| {
        let file = folder.path().join(name);
        std::fs::write(&file, said_of(per_sec)).unwrap();
        file.display().to_string()
    };
    let (a, near) = (file("a.json", [100.0, 90.0, 110.0]), file("near.json", [105.0, 100.0, 120.0]));
    let (slower, once) = (file("slower.json", [70.0, 60.0, 80.0]), file("once.json", [70.0, 70.0, 70.0]));
    let compare = |b: &str| {
        let (succeeded, said) = load(&["compare", &a, b], &folder.path().join("unused.json"));
        assert!(succeeded, "{said}");
        said
    };
    assert!(compare(&near).contains("0 figures changed"));
    assert!(compare(&slower).contains("worse"));
    let (succeeded, said) = load(&["compare", &once, &once.replace("once", "a")], &folder.path().join("unused.json"));
    assert!(succeeded && said.contains("better"), "{said}");
}

fn assert_measured(figures: &serde_json::Value, names: &[&str]) {
    for name in names {
        let median = figures[name]["median"].as_f64();
        assert!(median.is_some_and(|median| median > 0.0), "{name} is {median:?}: {figures:#}");
    }
}

#[test]
fn the_cluster_scenario_measures_one_node() {
    let figures = cluster(&["--store", "sqlite"]);
    assert_measured(&figures, &["nodes_1_p99_ms", "nodes_1_deliveries_per_sec", "delay_0_ms_acks_per_sec"]);
}

#[test]
fn the_cluster_scenario_measures_three_nodes_the_bus_and_a_slow_store() {
    let figures = cluster(&["--mongodb", &mongodb()]);
    let nodes = ["nodes_1_deliveries_per_sec", "nodes_2_deliveries_per_sec", "nodes_3_deliveries_per_sec"];
    assert_measured(&figures, &nodes);
    assert_measured(&figures, &["bus_without_p99_ms", "bus_alone_p99_ms", "bus_heard_p99_ms", "bus_followed_p99_ms"]);
    assert_measured(&figures, &["delay_0_ms_acks_per_sec", "delay_5_ms_acks_per_sec", "delay_5_ms_p99_ms"]);
    assert!(figures["delay_5_ms_p99_round_trips"].as_f64().is_some_and(|trips| trips >= 1.0), "{figures:#}");
}
