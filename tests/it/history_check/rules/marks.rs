//! How far people have read.

use std::collections::HashMap;

use serde_json::Value;

use crate::history_check::{
    check::Findings,
    history::{Ask, Micros, Record},
    index::{Index, RoomLog, text},
};

/// A read mark as an answer told it.
struct Told {
    from: Micros,
    to: Micros,
    seq: u64,
}

/// Every read mark that was told, by person and room.
fn told(index: &Index<'_>) -> HashMap<(String, String), Vec<Told>> {
    let mut all: HashMap<(String, String), Vec<Told>> = HashMap::new();
    for call in &index.calls {
        let Some(body) = call.answer.done().filter(|_| matches!(call.ask, Ask::Mark { .. } | Ask::Chats)) else {
            continue;
        };
        let value: Value = serde_json::from_str(body).unwrap_or_default();
        let mut add = |room: String, seq: &Value| {
            let told = Told { from: call.from, to: call.to, seq: seq.as_u64().unwrap_or(0) };
            all.entry((call.who.clone(), room)).or_default().push(told);
        };
        match &call.ask {
            Ask::Mark { room, .. } => add(room.clone(), &value["read_seq"]),
            _ => {
                // Who is invited and not in yet is told nothing of the room, and so no mark.
                let chats = value["chats"].as_array().into_iter().flatten();
                for chat in chats.filter(|chat| chat["state"] != "invited") {
                    add(text(&chat["chat_id"]), &chat["read_seq"]);
                }
            }
        }
    }
    all
}

/// An answer that was asked for after another had come does not tell less.
pub fn forward(index: &Index<'_>, findings: &mut Findings) {
    for ((who, room), mut marks) in told(index) {
        marks.sort_by_key(|told| told.from);
        for (at, later) in marks.iter().enumerate() {
            if let Some(earlier) = marks[..at].iter().find(|earlier| earlier.to < later.from && earlier.seq > later.seq)
            {
                findings.say(format!(
                    "{room}: {who} had read up to {} at {} µs and up to {} at {} µs",
                    earlier.seq, earlier.to, later.seq, later.to
                ));
            }
        }
    }
}

/// At the end the mark is at least what was told and done before, at most what anybody asked for, and what is unread
/// are the messages after it.
pub fn at_the_end(index: &Index<'_>, findings: &mut Findings) {
    let told = told(index);
    for record in index.records {
        let Record::Kept { node, who, room, read_seq, unread } = record else { continue };
        let Some(log) = index.rooms.get(room.as_str()) else { continue };
        let after = log.events.iter().filter(|event| event.kind == "message" && event.seq > *read_seq).count() as u64;
        if after != *unread {
            findings
                .say(format!("{room}: node {node} says {who} has {unread} unread after {read_seq}; there are {after}"));
        }
        let moved = moved_by_log(log, who);
        let acknowledged = told.get(&(who.clone(), room.clone())).into_iter().flatten().map(|told| told.seq).max();
        let least = moved.max(acknowledged.unwrap_or(0));
        let most = moved.max(asked(index, who, room)).max(least).min(log.head());
        if !(least..=most).contains(read_seq) {
            findings.say(format!("{room}: node {node} says {who} has read {read_seq}, not {least} to {most}"));
        }
    }
}

/// Joining and one's own messages move the mark by themselves.
fn moved_by_log(log: &RoomLog, who: &str) -> u64 {
    let joined = log.members.joined_at(who, log.head()).unwrap_or(0);
    let own = log.events.iter().rev().find(|event| event.kind == "message" && event.sender == who);
    joined.max(own.map_or(0, |event| event.seq))
}

/// The farthest that anybody asked this mark to be, answered or not.
fn asked(index: &Index<'_>, who: &str, room: &str) -> u64 {
    let over_http = index.calls.iter().filter(|call| call.who == who).filter_map(|call| match &call.ask {
        Ask::Mark { room: of, seq } if of == room => Some(*seq),
        _ => None,
    });
    let frames = index.sockets.values().filter(|story| story.who == who).flat_map(|story| &story.frames);
    let over_sockets = frames
        .filter(|frame| frame.ours && frame.value["type"] == "read" && frame.value["chat_id"] == room)
        .filter_map(|frame| frame.value["seq"].as_u64());
    over_http.chain(over_sockets).max().unwrap_or(0)
}
