//! The parts of the load tool that could flatter or slander a server if they were wrong: its framing, its reading of single
//! fields, and its check of the order. They stand alone, so they are tested here from their own files.

#[path = "../../benches/load/check.rs"]
#[allow(dead_code)]
mod check;
#[path = "../../benches/load/frames.rs"]
#[allow(dead_code)]
mod frames;
#[path = "../../benches/load/scan.rs"]
#[allow(dead_code)]
mod scan;

use check::Check;
use frames::{FrameError, Incoming, Message, TEXT, push_masked, push_text};
use scan::{Hint, kind, number};

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
