//! From bytes to messages, without keeping a parser.
//!
//! While nothing is half-read a connection owns no WebSocket object and no buffer: texts in one frame, which are nearly all, are
//! read where they stand, and other whole frames by a tungstenite `WebSocket` over memory that is thrown away afterwards. Only the bytes of an unfinished frame, or the parser that holds
//! the first fragments of a message, stay behind, boxed. It knows no sockets and no frames' meaning.

use std::{
    io::{self, Cursor, Read, Write},
    sync::Arc,
};

use tokio_tungstenite::tungstenite::{
    Error, Message, Utf8Bytes, WebSocket,
    protocol::{
        Role, WebSocketConfig,
        frame::{
            FrameHeader,
            coding::{Data, OpCode},
        },
    },
};

use super::close::Close;
use crate::limits::budget::{Budget, Share};

/// Where the throw-away parser reads whole frames from, and leaves its own answers (pongs, the close echo).
#[derive(Default)]
struct Memory {
    unread: Cursor<Vec<u8>>,
    answers: Vec<u8>,
}

impl Read for Memory {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match self.unread.read(to)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            read => Ok(read),
        }
    }
}

impl Write for Memory {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.answers.write(from)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a connection keeps when its client stopped in the middle of something.
pub struct Partial {
    frame: Vec<u8>,
    message: Option<Fragments>,
    /// Of what may be on its way in.
    share: Option<Share>,
}

/// The first fragments of a message.
struct Fragments {
    parser: WebSocket<Memory>,
    bytes: usize,
}

impl Partial {
    /// Has its bytes counted. `false`: there is no room for them.
    pub fn is_counted(&mut self, budget: &Arc<Budget>) -> bool {
        let bytes = self.frame.len() + self.message.as_ref().map_or(0, |message| message.bytes);
        self.share.get_or_insert_with(|| budget.share()).hold(bytes)
    }
}

/// What some bytes held.
#[derive(Debug, Default)]
pub struct Heard {
    /// Those that must be kept.
    pub texts: Vec<Utf8Bytes>,
    /// To send back: pongs and the echo of a close.
    pub answers: Vec<u8>,
    /// The client said goodbye with this code, or broke the protocol; nothing after it was read.
    pub close: Option<Close>,
}

/// Who listens while bytes are read.
pub trait Listener {
    /// So many frames have come, of any kind. `false`: nothing of them is read.
    fn admits(&self, frames: u32) -> bool;
    /// A text that stands in one frame, where it was read. `false`: it must be kept, and all that come after it.
    fn takes(&self, text: &str) -> bool;
}

/// Takes bytes as they came from the socket, and leaves anything in their place. `partial` carries over what was unfinished; no
/// message or frame may be longer than `max`. `None`: the listener did not admit them.
pub fn feed(
    partial: &mut Option<Box<Partial>>,
    fresh: &mut [u8],
    max: usize,
    listener: &impl Listener,
) -> Option<Heard> {
    let (mut bytes, mut fragments) = partial.take().map_or((Vec::new(), None), |kept| (kept.frame, kept.message));
    let data = if bytes.is_empty() {
        &mut *fresh
    } else {
        bytes.extend_from_slice(fresh);
        &mut bytes
    };
    let scan = scan(data, fragments.is_some(), max);
    if !listener.admits(scan.frames) {
        return None;
    }
    let mut heard = Heard::default();
    if scan.end == 0 && scan.refused.is_none() {
        // Bytes that make no frame yet stay where they are.
        let frame = if bytes.is_empty() { fresh.to_vec() } else { bytes };
        if !frame.is_empty() || fragments.is_some() {
            *partial = Some(Box::new(Partial { frame, message: fragments, share: None }));
        }
        return Some(heard);
    }
    let read = if fragments.is_none() { read_texts(&mut data[..scan.end], listener, &mut heard) } else { 0 };
    if read < scan.end && heard.close.is_none() {
        let Fragments { mut parser, bytes } =
            fragments.take().unwrap_or_else(|| Fragments { parser: parser(max), bytes: 0 });
        parser.get_mut().unread = Cursor::new(data[read..scan.end].to_vec());
        read_all(&mut parser, &mut heard);
        parser.get_mut().unread = Cursor::default();
        fragments = scan.open.then_some(Fragments { parser, bytes: bytes + scan.end - read });
    }
    heard.close = heard.close.or(scan.refused);
    let rest = &data[scan.end..];
    if heard.close.is_none() && (!rest.is_empty() || fragments.is_some()) {
        *partial = Some(Box::new(Partial { frame: rest.to_vec(), message: fragments, share: None }));
    }
    Some(heard)
}

/// Reads the texts in one frame each that stand at the front, and says where the first other frame begins.
fn read_texts(frames: &mut [u8], listener: &impl Listener, heard: &mut Heard) -> usize {
    let mut read = 0;
    while read < frames.len() {
        let mut cursor = Cursor::new(&frames[read..]);
        let Ok(Some((header, length))) = FrameHeader::parse(&mut cursor) else { break };
        let extended = header.rsv1 || header.rsv2 || header.rsv3;
        let Some(mask) = header.mask.filter(|_| header.is_final && !extended) else { break };
        if header.opcode != OpCode::Data(Data::Text) {
            break;
        }
        let start = read + cursor.position() as usize;
        read = start + length as usize;
        let text = &mut frames[start..read];
        for four in text.chunks_mut(mask.len()) {
            four.iter_mut().zip(mask).for_each(|(byte, key)| *byte ^= key);
        }
        match std::str::from_utf8(text) {
            Ok(text) if heard.texts.is_empty() && listener.takes(text) => {}
            Ok(text) => heard.texts.push(text.into()),
            Err(_) => {
                heard.close = Some(Close::NotUtf8);
                break;
            }
        }
    }
    read
}

fn parser(max: usize) -> WebSocket<Memory> {
    let config = WebSocketConfig::default()
        .read_buffer_size(0)
        .write_buffer_size(0)
        .max_write_buffer_size(64 * 1024)
        .max_message_size(Some(max))
        .max_frame_size(Some(max));
    WebSocket::from_raw_socket(Memory::default(), Role::Server, Some(config))
}

fn read_all(parser: &mut WebSocket<Memory>, heard: &mut Heard) {
    loop {
        match parser.read() {
            Ok(Message::Text(text)) => heard.texts.push(text),
            Ok(Message::Binary(_)) => {
                heard.close = Some(Close::Binary);
                break;
            }
            Ok(Message::Close(frame)) => {
                let code = frame.map_or(1000, |frame| frame.code.into());
                heard.close = Some(Close::Asked(code));
            }
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
            Err(Error::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => break,
            Err(Error::ConnectionClosed | Error::AlreadyClosed) => break,
            Err(error) => {
                heard.close = heard.close.or(Some(close_for(&error)));
                break;
            }
        }
    }
    heard.answers.append(&mut parser.get_mut().answers);
}

fn close_for(error: &Error) -> Close {
    match error {
        Error::Capacity(_) => Close::TooBig,
        Error::Utf8(_) => Close::NotUtf8,
        _ => Close::ProtocolError,
    }
}

struct Scan {
    frames: u32,
    /// Where the whole frames at the front end.
    end: usize,
    /// A fragmented message is unfinished there.
    open: bool,
    refused: Option<Close>,
}

/// Finds the whole frames at the front of `data`, and refuses a frame by its header when it is too long.
fn scan(data: &[u8], mut open: bool, max: usize) -> Scan {
    let (mut end, mut frames) = (0, 0);
    loop {
        let mut cursor = Cursor::new(&data[end..]);
        let (header, len) = match FrameHeader::parse(&mut cursor) {
            Ok(Some(parsed)) => parsed,
            Ok(None) => return Scan { frames, end, open, refused: None },
            Err(error) => return Scan { frames, end, open, refused: Some(close_for(&error)) },
        };
        if len > max as u64 {
            return Scan { frames, end, open, refused: Some(Close::TooBig) };
        }
        let next = end + cursor.position() as usize + len as usize;
        if next > data.len() {
            return Scan { frames, end, open, refused: None };
        }
        if matches!(header.opcode, OpCode::Data(Data::Text | Data::Binary | Data::Continue)) {
            open = !header.is_final;
        }
        end = next;
        frames += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 1024;

    fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            short @ 0..126 => frame.push(0x80 | short as u8),
            longer => {
                frame.push(0x80 | 126);
                frame.extend((longer as u16).to_be_bytes());
            }
        }
        let mask = [7u8, 1, 250, 3];
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        frame
    }

    fn conversation() -> Vec<u8> {
        [
            client_frame(0x81, b"whole"),
            client_frame(0x01, b"in "),
            client_frame(0x89, b"still there?"),
            client_frame(0x80, b"pieces"),
            client_frame(0x81, &[b'x'; 300]),
            client_frame(0x8a, b""),
            client_frame(0x88, &1000u16.to_be_bytes()),
        ]
        .concat()
    }

    /// Takes texts at once as long as they are shorter than this.
    struct Ear {
        shorter: usize,
        texts: RefCell<Vec<String>>,
    }

    impl Listener for Ear {
        fn admits(&self, _: u32) -> bool {
            true
        }
        fn takes(&self, text: &str) -> bool {
            let taken = text.len() < self.shorter;
            if taken {
                self.texts.borrow_mut().push(text.to_owned());
            }
            taken
        }
    }

    fn hear<'a>(
        pieces: impl IntoIterator<Item = &'a [u8]>,
        shorter: usize,
    ) -> (Vec<String>, Vec<u8>, Option<Close>, bool) {
        let mut partial = None;
        let (mut answers, mut close) = (Vec::new(), None);
        let ear = Ear { shorter, texts: RefCell::default() };
        for piece in pieces {
            let heard = feed(&mut partial, &mut piece.to_vec(), MAX, &ear).expect("all are admitted");
            ear.texts.borrow_mut().extend(heard.texts.iter().map(|text| text.to_string()));
            answers.extend(heard.answers);
            close = close.or(heard.close);
        }
        (ear.texts.into_inner(), answers, close, partial.is_none())
    }

    proptest! {
        #[test]
        fn however_bytes_arrive_they_say_the_same(cuts in prop::collection::vec(0usize..400, 0..12), shorter in 0usize..400) {
            let all = conversation();
            let whole = hear([&all[..]], 0);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(all.len())).collect();
            cuts.extend([0, all.len()]);
            cuts.sort_unstable();
            prop_assert_eq!(hear(cuts.windows(2).map(|cut| &all[cut[0]..cut[1]]), shorter), whole);
        }

        #[test]
        fn no_bytes_at_all_upset_it(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..20)) {
            let (texts, ..) = hear(pieces.iter().map(Vec::as_slice), 10);
            prop_assert!(texts.iter().all(|text| text.len() <= MAX));
        }
    }

    #[test]
    fn texts_pongs_and_the_close_come_out_and_nothing_stays() {
        let (texts, answers, close, parked) = hear([&conversation()[..]], 0);
        assert_eq!(texts, ["whole".to_owned(), "in pieces".to_owned(), "x".repeat(300)]);
        assert_eq!(&answers[..14], b"\x8a\x0cstill there?");
        assert_eq!(close, Some(Close::Asked(1000)));
        assert!(parked);
    }

    #[test]
    fn what_breaks_the_protocol_is_named() {
        let too_long = [vec![0x81, 0xff], (1u64 << 40).to_be_bytes().to_vec(), vec![0; 4]].concat();
        let fragments = [client_frame(0x01, &[b'x'; 700]), client_frame(0x80, &[b'x'; 700])].concat();
        for (bytes, close) in [
            (client_frame(0x82, b"binary"), Close::Binary),
            (client_frame(0x81, b"\xff\xfe"), Close::NotUtf8),
            (too_long, Close::TooBig),
            (fragments, Close::TooBig),
            (b"\x81\x02hi".to_vec(), Close::ProtocolError),
            (client_frame(0x83, b""), Close::ProtocolError),
        ] {
            assert_eq!(hear([&bytes[..]], 0).2, Some(close), "{bytes:x?}");
        }
    }
}
