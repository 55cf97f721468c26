//! WebSocket framing for a client: whole messages out of bytes that arrive in any pieces, and masked frames the other way;
//! and as much of a server's as the bare servers need.
//!
//! Written by hand, because a library's connection object costs kilobytes and microseconds that this tool would then
//! measure. Knows no sockets and no JSON, and depends on nothing, so that its tests need nothing either.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

/// A server that announces more than this in one message is broken, or not natter.
const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

const CONTINUATION: u8 = 0x0;
pub const TEXT: u8 = 0x1;
pub const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
pub const PONG: u8 = 0xA;

/// In the second byte of a header.
const MASKED: u8 = 0x80;

#[derive(Debug, PartialEq, Eq)]
pub enum Message<'a> {
    Text(&'a [u8]),
    Ping(&'a [u8]),
    Pong,
    Close { code: u16, reason: &'a [u8] },
}

#[derive(Debug, PartialEq, Eq)]
pub struct FrameError(&'static str);

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server broke the WebSocket protocol: {}", self.0)
    }
}

impl std::error::Error for FrameError {}

/// The receiving half of a connection.
///
/// - `rest` is a prefix of one frame, never a whole one; it is empty, and owns no memory, between frames.
/// - `fragments` is what has come of a message that the server sent in several frames.
#[derive(Default)]
pub struct Incoming {
    rest: Vec<u8>,
    fragments: Option<Vec<u8>>,
}

struct Head {
    fin: bool,
    opcode: u8,
    header_bytes: usize,
    payload_bytes: usize,
}

impl Incoming {
    /// Takes the next bytes of the stream and hands over every message they complete, in order.
    pub fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(Message<'_>)) -> Result<(), FrameError> {
        if self.rest.is_empty() {
            let used = self.parse(bytes, &mut each)?;
            self.rest.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut rest = std::mem::take(&mut self.rest);
        rest.extend_from_slice(bytes);
        let used = self.parse(&rest, &mut each)?;
        if used < rest.len() {
            rest.drain(..used);
            self.rest = rest;
        }
        Ok(())
    }

    /// How many of `bytes` were whole frames.
    fn parse(&mut self, bytes: &[u8], each: &mut impl FnMut(Message<'_>)) -> Result<usize, FrameError> {
        let mut used = 0;
        while let Some(head) = head(&bytes[used..], 0)? {
            let start = used + head.header_bytes;
            let Some(payload) = bytes.get(start..start + head.payload_bytes) else { break };
            self.take(&head, payload, each)?;
            used = start + head.payload_bytes;
        }
        Ok(used)
    }

    fn take(&mut self, head: &Head, payload: &[u8], each: &mut impl FnMut(Message<'_>)) -> Result<(), FrameError> {
        match (head.opcode, head.fin, &mut self.fragments) {
            (TEXT, true, None) => each(Message::Text(payload)),
            (TEXT, false, None) => self.fragments = Some(payload.to_vec()),
            (TEXT, _, Some(_)) => return Err(FrameError("a new message began inside another")),
            (CONTINUATION, _, None) => return Err(FrameError("a continuation of nothing")),
            (CONTINUATION, fin, Some(fragments)) => {
                if fragments.len() + payload.len() > MAX_MESSAGE_BYTES {
                    return Err(FrameError("a message longer than 16 MiB"));
                }
                fragments.extend_from_slice(payload);
                if fin {
                    let whole = self.fragments.take().unwrap_or_default();
                    each(Message::Text(&whole));
                }
            }
            (PING, ..) => each(Message::Ping(payload)),
            (PONG, ..) => each(Message::Pong),
            (CLOSE, ..) => each(close(payload)?),
            _ => return Err(FrameError("an opcode that natter does not use")),
        }
        Ok(())
    }
}

/// A close frame without a code is 1005, as RFC 6455 has it.
fn close(payload: &[u8]) -> Result<Message<'_>, FrameError> {
    match payload {
        [] => Ok(Message::Close { code: 1005, reason: &[] }),
        [high, low, reason @ ..] => Ok(Message::Close { code: u16::from_be_bytes([*high, *low]), reason }),
        [_] => Err(FrameError("a close frame with half a code")),
    }
}

/// `None`: the header is not complete yet. A key follows it where `mask_bit` is set.
fn head(bytes: &[u8], mask_bit: u8) -> Result<Option<Head>, FrameError> {
    let &[first, second, ..] = bytes else { return Ok(None) };
    let (fin, opcode) = (first & 0x80 != 0, first & 0x0F);
    if first & 0x70 != 0 {
        return Err(FrameError("a reserved bit is set, and no extension was agreed on"));
    }
    let (masked, length) = (second & MASKED, second & !MASKED);
    if masked != mask_bit {
        return Err(FrameError("a frame that is masked and may not be, or the other way round"));
    }
    if opcode >= CLOSE && (!fin || length > 125) {
        return Err(FrameError("a control frame that is long or in fragments"));
    }
    let (header_bytes, payload_bytes) = match length {
        126 => match bytes.get(2..4) {
            Some(length) => (4, u64::from(u16::from_be_bytes([length[0], length[1]]))),
            None => return Ok(None),
        },
        127 => match bytes.get(2..10).map(<[u8; 8]>::try_from) {
            Some(Ok(length)) => (10, u64::from_be_bytes(length)),
            _ => return Ok(None),
        },
        short => (2, u64::from(short)),
    };
    match usize::try_from(payload_bytes) {
        Ok(payload_bytes) if payload_bytes <= MAX_MESSAGE_BYTES => {
            Ok(Some(Head { fin, opcode, header_bytes, payload_bytes }))
        }
        _ => Err(FrameError("a frame longer than 16 MiB")),
    }
}

/// Appends one whole, masked frame, as a client sends it.
pub fn push_masked(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    static KEYS: AtomicU32 = AtomicU32::new(1);
    let key = KEYS.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9).to_be_bytes();
    push_head(out, opcode, payload.len(), MASKED);
    out.extend_from_slice(&key);
    let start = out.len();
    out.extend_from_slice(payload);
    mask(&mut out[start..], key);
}

/// A client's frame, `frame_bytes` long.
pub struct Unmasked<'a> {
    pub opcode: u8,
    pub payload: &'a [u8],
    pub frame_bytes: usize,
}

/// Unmasks the frame at the beginning of `bytes` in place. `None`: it is not whole yet.
pub fn unmasked(bytes: &mut [u8]) -> Result<Option<Unmasked<'_>>, FrameError> {
    let Some(head) = head(bytes, MASKED)? else { return Ok(None) };
    let start = head.header_bytes + 4;
    let end = start + head.payload_bytes;
    let Some(&key) = bytes.get(head.header_bytes..end).and_then(<[u8]>::first_chunk) else { return Ok(None) };
    mask(&mut bytes[start..end], key);
    Ok(Some(Unmasked { opcode: head.opcode, payload: &bytes[start..end], frame_bytes: end }))
}

/// Masks, or unmasks. Eight bytes at a time, which is most of what a payload is.
fn mask(payload: &mut [u8], key: [u8; 4]) {
    let twice = u64::from_ne_bytes([key[0], key[1], key[2], key[3], key[0], key[1], key[2], key[3]]);
    let (eights, rest) = payload.as_chunks_mut::<8>();
    for eight in eights {
        *eight = (u64::from_ne_bytes(*eight) ^ twice).to_ne_bytes();
    }
    rest.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
}

/// Appends one whole text frame, as a server sends it.
pub fn push_text(out: &mut Vec<u8>, payload: &[u8]) {
    push_head(out, TEXT, payload.len(), 0);
    out.extend_from_slice(payload);
}

fn push_head(out: &mut Vec<u8>, opcode: u8, payload_bytes: usize, mask_bit: u8) {
    out.push(0x80 | opcode);
    match payload_bytes {
        0..=125 => out.push(mask_bit | payload_bytes as u8),
        126..=0xFFFF => {
            out.push(mask_bit | 126);
            out.extend_from_slice(&(payload_bytes as u16).to_be_bytes());
        }
        _ => {
            out.push(mask_bit | 127);
            out.extend_from_slice(&(payload_bytes as u64).to_be_bytes());
        }
    }
}
