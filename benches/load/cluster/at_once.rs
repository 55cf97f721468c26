//! A store that answers at once: a proxy before a MongoDB, which answers by itself what a post writes and hands on everything
//! else. What is left of a post's latency is natter's own and the distance.
//!
//! What it answers is stored nowhere, so a natter behind it is good for this one measurement, and is thrown away after it.

use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use mongodb::bson::{Document, RawDocument, doc, spec::ElementType};

/// The wire protocol's one kind of message, and the length of its header.
const OP_MSG: i32 = 2013;
const HEADER: usize = 16;
/// More than a MongoDB takes.
const MOST_BYTES: usize = 64 << 20;

pub struct AtOnce {
    pub addr: SocketAddr,
    on: Arc<AtomicBool>,
}

impl AtOnce {
    /// Accepts on a free port of 127.0.0.1, until this process ends, and hands everything on until [`Self::switch_on`].
    pub fn before(store: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (addr, on) = (listener.local_addr()?, Arc::new(AtomicBool::new(false)));
        let switch = on.clone();
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let on = switch.clone();
                thread::spawn(move || {
                    // A connection that ends in the middle of a message is how a killed natter ends it.
                    if let Err(error) = serve(near, store, &on)
                        && error.kind() != io::ErrorKind::UnexpectedEof
                    {
                        eprintln!("the store that answers at once: {error}");
                    }
                });
            }
        });
        Ok(Self { addr, on })
    }

    pub fn switch_on(&self) {
        self.on.store(true, Ordering::Relaxed);
    }
}

/// A driver has one request under way on a connection, so the store's answers and ours cannot meet.
fn serve(near: TcpStream, store: SocketAddr, on: &AtomicBool) -> io::Result<()> {
    let mut far = TcpStream::connect(store)?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (mut answers, mut back) = (far.try_clone()?, near.try_clone()?);
    thread::spawn(move || {
        io::copy(&mut answers, &mut back).ok();
        back.shutdown(Shutdown::Both).ok();
    });
    let (mut out, mut requests) = (near.try_clone()?, BufReader::with_capacity(64 * 1024, near));
    let mut message = Vec::new();
    let served = loop {
        match read_message(&mut requests, &mut message) {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(error) => break Err(error),
        }
        match answer(&message, on.load(Ordering::Relaxed)) {
            Some(answer) => out.write_all(&answer)?,
            None => far.write_all(&message)?,
        }
    };
    far.shutdown(Shutdown::Both).ok();
    served
}

/// `false`: the stream has ended.
fn read_message(stream: &mut impl Read, message: &mut Vec<u8>) -> io::Result<bool> {
    let mut length = [0; 4];
    if stream.read(&mut length[..1])? == 0 {
        return Ok(false);
    }
    stream.read_exact(&mut length[1..])?;
    let bytes = i32::from_le_bytes(length) as usize;
    if !(HEADER..=MOST_BYTES).contains(&bytes) {
        return Err(io::Error::other(format!("a message of {bytes} bytes")));
    }
    message.clear();
    message.extend_from_slice(&length);
    stream.take(bytes as u64 - 4).read_to_end(message)?;
    if message.len() < bytes { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(true) }
}

/// For the writes of a post: an `insert` of events, and an `update` of heads and read marks. Says from the beginning that it is
/// a MongoDB, since natter asks for less at a time of others.
fn answer(message: &[u8], writes: bool) -> Option<Vec<u8>> {
    let number = |at: usize| Some(i32::from_le_bytes(message.get(at..at + 4)?.try_into().ok()?));
    if number(12)? != OP_MSG {
        return None;
    }
    // Flags, the kind of the first section, and in it the command.
    let body = message.get(HEADER + 5..)?;
    let (command, rest) = body.split_at_checked(number(HEADER + 5)? as usize)?;
    let command = RawDocument::from_bytes(command).ok()?;
    let (name, collection) = command.iter().next()?.ok()?;
    let count = match (name, collection.as_str().unwrap_or_default()) {
        ("buildInfo", _) => return reply(number(4)?, &doc! { "version": "7.0.0", "ok": 1.0 }),
        ("insert", "events") if writes => documents(rest)?,
        ("update", "heads" | "marks") if writes => {
            let (_, updates) =
                command.iter().filter_map(Result::ok).find(|(_, value)| value.element_type() == ElementType::Array)?;
            updates.as_array()?.into_iter().count()
        }
        _ => return None,
    };
    let done = doc! { "n": count as i32, "nModified": count as i32, "ok": 1.0 };
    reply(number(4)?, &done)
}

/// How many a section of documents has, after its kind, length and name.
fn documents(section: &[u8]) -> Option<usize> {
    let named = section.get(5..)?;
    let mut rest = named.get(named.iter().position(|byte| *byte == 0)? + 1..)?;
    let mut count = 0;
    while let Some(length) = rest.first_chunk() {
        rest = rest.get(i32::from_le_bytes(*length) as usize..)?;
        count += 1;
    }
    Some(count)
}

fn reply(to: i32, answer: &Document) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    answer.to_writer(&mut body).ok()?;
    let bytes = (HEADER + 5 + body.len()) as i32;
    let header = [bytes, 0, to, OP_MSG, 0];
    let mut message: Vec<u8> = header.into_iter().flat_map(i32::to_le_bytes).collect();
    message.push(0);
    message.append(&mut body);
    Some(message)
}
