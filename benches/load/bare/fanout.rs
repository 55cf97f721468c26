//! The loop that gives fan-out its name, and nothing else: blocking writes, one per delivery.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use super::end_with_input;
use crate::{Outcome, frames};

pub fn run(subscribers: usize, rooms: usize, bytes: usize) -> Outcome {
    end_with_input();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("listening on {}", listener.local_addr()?);
    let mut control = listener.accept()?.0;
    control.set_nodelay(true)?;
    let mut sockets: Vec<TcpStream> = Vec::with_capacity(subscribers);
    for _ in 0..subscribers {
        let socket = listener.accept()?.0;
        socket.set_nodelay(true)?;
        sockets.push(socket);
    }
    control.write_all(b"!")?;

    let (mut orders, mut event, mut frame, mut message) = ([0; 256], String::new(), Vec::new(), 0);
    loop {
        let ordered = control.read(&mut orders)?;
        if ordered == 0 {
            return Ok(());
        }
        for _ in 0..ordered {
            let room = message % rooms;
            event.clear();
            event.push_str(&format!(r#"{{"type":"message","seq":{},"content":""#, message / rooms + 1));
            let filling = bytes.saturating_sub(event.len() + 2);
            event.extend(std::iter::repeat_n('x', filling));
            event.push_str("\"}");
            frame.clear();
            frames::push_text(&mut frame, event.as_bytes());
            for socket in sockets.iter_mut().skip(room).step_by(rooms) {
                socket.write_all(&frame)?;
            }
            message += 1;
            if rooms == 1 {
                control.write_all(b"+")?;
            }
        }
    }
}
