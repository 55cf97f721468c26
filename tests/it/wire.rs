//! WebSocket frames by hand, for what no client library would send, and for clients that never answer.

use serde_json::Value;
use tokio::io::AsyncWriteExt;

use crate::harness::{
    Person, Raw, Reach, Socket,
    contract::{self, Channel},
    in_time,
};

pub const CONTINUATION: u8 = 0x0;
pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A whole frame as a client sends it.
pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    bytes(FINAL | opcode, payload)
}

/// A frame that others of the same message follow.
pub fn fragment(opcode: u8, payload: &[u8]) -> Vec<u8> {
    bytes(opcode, payload)
}

pub fn text(value: &Value) -> Vec<u8> {
    frame(TEXT, value.to_string().as_bytes())
}

/// The same as one byte string with any first byte.
pub fn bytes(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(first, payload.len() as u64);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// The header of a masked frame that says it has `len` bytes, with its mask.
pub fn header(first: u8, len: u64) -> Vec<u8> {
    let mut header = vec![first];
    match len {
        0..126 => header.push(MASKED | len as u8),
        126..65_536 => {
            header.push(MASKED | 126);
            header.extend((len as u16).to_be_bytes());
        }
        _ => {
            header.push(MASKED | 127);
            header.extend(len.to_be_bytes());
        }
    }
    header.extend(MASK);
    header
}

/// The opening handshake that [`open`] sends.
pub fn handshake(reach: &Reach, path: &str, token: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {token}\r\n\r\n",
        reach.addr
    )
}

/// An open socket without a client behind it: nothing is answered, pings neither.
pub async fn open(person: &Person, path: &str) -> Raw {
    let mut raw = person.reach.raw().await;
    raw.write(handshake(&person.reach, path, &person.token)).await;
    assert_eq!(raw.answer().await.status, 101);
    raw
}

/// Sends texts on an open socket, all in one write.
pub async fn send_at_once(socket: &mut Socket, texts: impl Iterator<Item = Value>) {
    let frames: Vec<u8> = texts.flat_map(|value| text(&value)).collect();
    in_time("the server to read", socket.stream().write_all(&frames)).await.expect("an open connection");
}

/// What a server sent, as opcodes and payloads. It must be whole frames, unmasked and unfragmented; a half one at the end
/// is left out.
pub fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [first, second, rest @ ..] = bytes {
        assert_eq!(first & 0xf0, FINAL, "a fragment or a reserved bit from the server");
        assert_eq!(second & MASKED, 0, "a masked frame from the server");
        let (len, rest) = match (second & 0x7f, rest) {
            (126, [a, b, rest @ ..]) => (usize::from(u16::from_be_bytes([*a, *b])), rest),
            (127, [a, b, c, d, e, f, g, h, rest @ ..]) => {
                (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]) as usize, rest)
            }
            (126 | 127, _) => break,
            (len, rest) => (usize::from(len), rest),
        };
        let Some((payload, rest)) = rest.split_at_checked(len) else { break };
        if first & 0x0f == TEXT {
            // What the socket of one room sends, the other sends too.
            contract::check_frame(Channel::All, std::str::from_utf8(payload).expect("text is UTF-8"));
        }
        frames.push((first & 0x0f, payload.to_vec()));
        bytes = rest;
    }
    frames
}

/// The code of a close frame's payload.
pub fn close_code(payload: &[u8]) -> u16 {
    payload.first_chunk::<2>().map_or(1005, |code| u16::from_be_bytes(*code))
}
