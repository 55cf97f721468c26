//! Requests at a steady rate over keep-alive connections, until they are told to stop. Open-loop: latency counts from when a
//! request was meant to be sent.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;

use crate::Result;
use crate::apart::{self, Apart, Stop};
use crate::keep_alive::KeepAlive;
use crate::people::Person;
use crate::stats::Latency;
use crate::url;

/// That take turns, so that a slow answer does not hold up the next request.
const CONNECTIONS: u32 = 8;

/// `GET path` by `person`, `rate` times a second; how long answers took.
pub fn start(addr: SocketAddr, person: &Person, path: &str, rate: f64) -> Apart<Latency> {
    let (host, token) = (url::host(addr), &person.token);
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n");
    apart::start(move |stop| async move {
        let (start, request) = (Instant::now(), request.as_bytes());
        let asking = (0..CONNECTIONS).map(|nth| {
            let due = move |turn: u32| start + Duration::from_secs_f64(f64::from(turn * CONNECTIONS + nth) / rate);
            ask_on_time(addr, request, due, &stop)
        });
        let mut latency = Latency::default();
        for connection in try_join_all(asking).await? {
            latency.add(&connection);
        }
        Ok(latency)
    })
}

async fn ask_on_time(addr: SocketAddr, request: &[u8], due: impl Fn(u32) -> Instant, stop: &Stop) -> Result<Latency> {
    let (mut connection, mut latency) = (KeepAlive::connect(addr).await?, Latency::default());
    for turn in 0.. {
        tokio::time::sleep_until(due(turn).into()).await;
        if stop.is_set() {
            break;
        }
        connection.ask(request).await?;
        latency.record(due(turn).elapsed());
    }
    Ok(latency)
}
