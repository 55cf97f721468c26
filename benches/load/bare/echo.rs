//! Acknowledges posts at once: the least that any server does for them. It reads a WebSocket's frames, parses the JSON of
//! each, gives the post an id, a seq and a time, and answers as natter does; what answers one read goes out in one write.
//! No store, no rooms, no authentication. All cores serve, as in natter.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

use super::end_with_input;
use super::handshake::shake_hands;
use crate::{Outcome, frames};

const READ_BYTES: usize = 64 * 1024;
const MILLIS: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

#[derive(Deserialize)]
struct Post<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    chat_id: Uuid,
    #[serde(borrow)]
    content: Cow<'a, str>,
    #[serde(borrow)]
    client_id: Cow<'a, str>,
}

#[derive(Serialize)]
struct Posted<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    chat_id: Uuid,
    client_id: &'a str,
    message_id: Uuid,
    seq: u64,
    sent_at: &'a str,
    duplicate: bool,
}

pub fn run() -> Outcome {
    end_with_input();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(accept())
}

async fn accept() -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on {}", listener.local_addr()?);
    let head = Arc::new(AtomicU64::new(0));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let head = head.clone();
        tokio::spawn(async move {
            if let Err(error) = serve(stream, &head).await {
                eprintln!("bare server: {error}");
            }
        });
    }
}

async fn serve(mut stream: TcpStream, head: &AtomicU64) -> Outcome {
    let mut unread = Vec::with_capacity(READ_BYTES);
    shake_hands(&mut stream, &mut unread).await?;
    let (mut answer, mut answers) = (Vec::new(), Vec::new());
    while stream.read_buf(&mut unread).await? > 0 {
        let sent_at = OffsetDateTime::now_utc().format(MILLIS)?;
        let mut used = 0;
        while let Some(frame) = frames::unmasked(&mut unread[used..])? {
            used += frame.frame_bytes;
            match frame.opcode {
                frames::TEXT => acknowledge(frame.payload, head, &sent_at, &mut answer)?,
                _ => return Ok(()),
            }
            frames::push_text(&mut answers, &answer);
        }
        unread.drain(..used);
        stream.write_all(&answers).await?;
        answers.clear();
    }
    Ok(())
}

/// Seqs rise over all rooms together, as there are none.
fn acknowledge(text: &[u8], head: &AtomicU64, sent_at: &str, answer: &mut Vec<u8>) -> Outcome {
    let post: Post<'_> = serde_json::from_slice(text)?;
    if post.kind != "post" || post.content.is_empty() {
        return Err("a frame that is no post".into());
    }
    answer.clear();
    let posted = Posted {
        kind: "posted",
        chat_id: post.chat_id,
        client_id: &post.client_id,
        message_id: Uuid::now_v7(),
        seq: head.fetch_add(1, Ordering::Relaxed) + 1,
        sent_at,
        duplicate: false,
    };
    Ok(serde_json::to_writer(answer, &posted)?)
}
