//! A far-away store: a TCP proxy that hands on every byte a fixed time after it came, both ways. What is on its way does not
//! hold up what follows, so a delay costs time and no throughput.
//!
//! Threads, not tasks: a thread sleeps to within 0.1 ms where an event loop's timers round to 1 ms, and half of the shortest
//! round trip measured is 2.5 ms. A store is spoken to over few connections, each of which costs four threads.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Pieces on their way in one direction; more than any delay and any driver's pool fill.
const PIECES: usize = 65_536;

/// Accepts on a free port of 127.0.0.1, until this process ends, and connects each connection to `target`. `round_trip` is
/// what a request and its answer take longer.
pub fn start(target: SocketAddr, round_trip: Duration) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let addr = listener.local_addr()?;
    let each_way = round_trip / 2;
    thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            // Whoever cannot be connected is hung up on, as by a store that is not there.
            if let Err(error) = TcpStream::connect(target).and_then(|far| carry(near, far, each_way)) {
                eprintln!("the delay proxy: {error}");
            }
        }
    });
    Ok(addr)
}

fn carry(near: TcpStream, far: TcpStream, each_way: Duration) -> io::Result<()> {
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    hand_on(near.try_clone()?, far.try_clone()?, each_way);
    hand_on(far, near, each_way);
    Ok(())
}

/// One direction of one connection.
fn hand_on(from: TcpStream, to: TcpStream, delay: Duration) {
    let (sender, receiver) = sync_channel(PIECES);
    thread::spawn(move || take(from, &sender));
    thread::spawn(move || give(to, &receiver, delay));
}

fn take(mut from: TcpStream, pieces: &SyncSender<(Instant, Vec<u8>)>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if pieces.send((Instant::now(), buffer[..read].to_vec())).is_err() {
            return;
        }
    }
}

fn give(mut to: TcpStream, pieces: &Receiver<(Instant, Vec<u8>)>, delay: Duration) {
    while let Ok((came, bytes)) = pieces.recv() {
        let due = came + delay;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    // The end of a stream is handed on too; where the other side is gone there is nobody to tell.
    to.shutdown(Shutdown::Write).ok();
}
