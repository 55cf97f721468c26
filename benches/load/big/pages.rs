//! Reading history: pages of rooms drawn at random, as fast as answers come. Every page has to be whole and in order.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use rand::RngExt;
use tokio::time::timeout;
use uuid::Uuid;

use crate::Result;
use crate::keep_alive::KeepAlive;
use crate::people::Person;
use crate::scan;
use crate::server::Target;
use crate::stats::Latency;

/// Messages on a page, which is natter's default.
pub const PAGE: u64 = 50;

/// A room that is read, and a member of it who reads.
pub struct Room {
    pub id: Uuid,
    pub reader: Person,
    /// Of the messages that were imported.
    pub first: u64,
    pub last: u64,
}

#[derive(Clone, Copy)]
pub enum Which {
    Latest,
    /// Before some message, so that the page is full.
    Middle,
}

pub struct Pages {
    pub per_sec: f64,
    pub latency: Latency,
    /// CPU seconds per million pages.
    pub server_cpu: f64,
}

/// `connections` ask for one page at a time each.
pub async fn read(target: &Target, rooms: &[Room], which: Which, connections: u32, length: Duration) -> Result<Pages> {
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(KeepAlive::connect(target.addr).await?);
    }
    let (cpu, start) = (target.cpu_secs()?, Instant::now());
    let reading = open.into_iter().map(|connection| read_until(connection, rooms, which, start + length));
    let patience = length + Duration::from_secs(30);
    let read = timeout(patience, try_join_all(reading)).await.map_err(|_| "a page was not answered within 30 s")??;
    let (secs, cpu) = (start.elapsed().as_secs_f64(), target.cpu_secs()? - cpu);
    let mut latency = Latency::default();
    read.iter().for_each(|connection| latency.add(connection));
    let count = latency.count() as f64;
    Ok(Pages { per_sec: count / secs, latency, server_cpu: cpu / count * 1e6 })
}

async fn read_until(mut connection: KeepAlive, rooms: &[Room], which: Which, end: Instant) -> Result<Latency> {
    let mut latency = Latency::default();
    loop {
        let room = &rooms[rand::rng().random_range(0..rooms.len())];
        let before = match which {
            Which::Latest => None,
            Which::Middle => Some(rand::rng().random_range(room.first + PAGE..=room.last + 1)),
        };
        let request = request(room, before);
        let asked = Instant::now();
        if asked >= end {
            return Ok(latency);
        }
        let page = connection.ask(request.as_bytes()).await?;
        latency.record(asked.elapsed());
        if !is_whole(page, room, before) {
            let page = String::from_utf8_lossy(page);
            return Err(format!("chat {}, before {before:?}: not the page that is due: {page}", room.id).into());
        }
    }
}

fn request(room: &Room, before: Option<u64>) -> String {
    let query = before.map(|seq| format!("?before={seq}")).unwrap_or_default();
    let (id, token) = (room.id, &room.reader.token);
    format!("GET /chat/{id}{query} HTTP/1.1\r\nHost: natter\r\nAuthorization: Bearer {token}\r\nAccept: */*\r\n\r\n")
}

/// A full page of messages without a gap, up to `before` or the head.
fn is_whole(page: &[u8], room: &Room, before: Option<u64>) -> bool {
    let seqs: Vec<u64> = scan::numbers(page, b"\"seq\":").collect();
    let head = scan::numbers(page, b"\"head_seq\":").next().filter(|&head| head >= room.last);
    let last = before.map(|before| before - 1).or(head);
    seqs.len() as u64 == PAGE && seqs.is_sorted_by(|one, next| one + 1 == *next) && seqs.last().copied() == last
}
