//! Open-loop sending: a schedule's message `i` leaves when it is due, whatever the server does. A thread of its own, because it
//! sleeps to within 0.1 ms where an event loop's timers round to 1 ms.

use std::io::{self, ErrorKind, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::crowd::Schedule;

/// Writes `count` frames, the i-th to `outlets[i % outlets.len()]`; `frame` encodes them. A full socket delays what
/// comes after it, and latencies show that, because they count from the intended times.
pub fn spawn(
    mut outlets: Vec<TcpStream>,
    schedule: Schedule,
    count: u64,
    mut frame: impl FnMut(u64, &mut Vec<u8>) + Send + 'static,
) -> JoinHandle<io::Result<()>> {
    tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        for i in 0..count {
            bytes.clear();
            frame(i, &mut bytes);
            thread::sleep(schedule.due(i).saturating_duration_since(Instant::now()));
            let outlet = (i % outlets.len() as u64) as usize;
            write_all(&mut outlets[outlet], &bytes)?;
        }
        Ok(())
    })
}

/// The handles share their sockets with the event loop and are non-blocking, so a full one is waited for here.
fn write_all(outlet: &mut TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match outlet.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(Duration::from_micros(200)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
