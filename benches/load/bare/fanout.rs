//! The loop that gives fan-out its name, and nothing else: blocking writes, one per delivery, or one for as many deliveries
//! as a chunk holds.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use super::end_with_input;
use crate::{Outcome, Result, frames};

pub struct Shape {
    pub subscribers: usize,
    /// Of each message the room is its number modulo this; a room's readers are every so-many-th connection.
    pub rooms: usize,
    /// Of an event.
    pub bytes: usize,
    /// Frames are gathered up to this length; with 0 each goes out alone. For one room.
    pub chunk_bytes: usize,
}

/// What is on its way to the readers of one room.
#[derive(Default)]
struct Gathered {
    frames: Vec<u8>,
    messages: usize,
    room: usize,
}

pub fn run(shape: &Shape) -> Outcome {
    end_with_input();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("listening on {}", listener.local_addr()?);
    let mut control = listener.accept()?.0;
    control.set_nodelay(true)?;
    let mut sockets: Vec<TcpStream> = Vec::with_capacity(shape.subscribers);
    for _ in 0..shape.subscribers {
        let socket = listener.accept()?.0;
        socket.set_nodelay(true)?;
        sockets.push(socket);
    }
    control.write_all(b"!")?;

    let (mut event, mut gathered, mut message) = (String::new(), Gathered::default(), 0);
    while let Some(ordered) = orders(&mut control, &mut sockets, &mut gathered, shape)? {
        for _ in 0..ordered {
            let before = gathered.frames.len();
            encode(&mut event, message / shape.rooms + 1, shape.bytes);
            frames::push_text(&mut gathered.frames, event.as_bytes());
            gathered.messages += 1;
            gathered.room = message % shape.rooms;
            message += 1;
            let with_another = 2 * gathered.frames.len() - before;
            if with_another > shape.chunk_bytes {
                hand_out(&mut control, &mut sockets, &mut gathered, shape)?;
            }
        }
    }
    Ok(())
}

/// How many messages are to be sent, a byte for each. While none are ordered, nothing waits to become a whole chunk.
fn orders(
    control: &mut TcpStream,
    sockets: &mut [TcpStream],
    gathered: &mut Gathered,
    shape: &Shape,
) -> Result<Option<usize>> {
    let mut orders = [0; 4_096];
    if gathered.messages > 0 {
        control.set_nonblocking(true)?;
        let read = control.read(&mut orders);
        control.set_nonblocking(false)?;
        match read {
            Err(error) if error.kind() == ErrorKind::WouldBlock => hand_out(control, sockets, gathered, shape)?,
            read => return Ok(Some(read?).filter(|&ordered| ordered > 0)),
        }
    }
    Ok(Some(control.read(&mut orders)?).filter(|&ordered| ordered > 0))
}

fn encode(event: &mut String, seq: usize, bytes: usize) {
    event.clear();
    event.push_str(&format!(r#"{{"type":"message","seq":{seq},"content":""#));
    let filling = bytes.saturating_sub(event.len() + 2);
    event.extend(std::iter::repeat_n('x', filling));
    event.push_str("\"}");
}

/// Where there is one room, every message is then answered with a byte.
fn hand_out(control: &mut TcpStream, sockets: &mut [TcpStream], gathered: &mut Gathered, shape: &Shape) -> Outcome {
    for socket in sockets.iter_mut().skip(gathered.room).step_by(shape.rooms) {
        socket.write_all(&gathered.frames)?;
    }
    if shape.rooms == 1 {
        control.write_all(&vec![b'+'; gathered.messages])?;
    }
    gathered.frames.clear();
    gathered.messages = 0;
    Ok(())
}
