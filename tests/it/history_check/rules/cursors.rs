//! A connection is a cursor: what a subscription got, from its answer to its end.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::history_check::{
    check::Findings,
    index::{Index, Story, is_event, text},
};

/// Walks through a socket's frames with the cursors of its subscriptions. `gap` hears of an event that is not the next;
/// what is left are the cursors at the end.
fn walk(story: &Story<'_>, mut gap: impl FnMut(&str, Option<u64>, u64)) -> BTreeMap<String, u64> {
    let mut cursors: BTreeMap<String, u64> = BTreeMap::new();
    for frame in &story.frames {
        let value = &frame.value;
        match (frame.ours, value["type"].as_str()) {
            (false, Some("subscribed")) => {
                for (room, given) in value["chats"].as_object().into_iter().flatten() {
                    cursors.insert(room.clone(), given["since"].as_u64().unwrap_or(u64::MAX));
                }
            }
            // Events may be on their way until the answer; after it there are none.
            (false, Some("unsubscribed")) => {
                for room in unsubscribed_by(story, &value["req"]) {
                    cursors.remove(&room);
                }
            }
            (false, _) if is_event(value) => {
                let (room, seq) = (text(&value["chat_id"]), value["seq"].as_u64().unwrap_or(0));
                let cursor = cursors.get(&room).copied();
                if cursor.map(|cursor| cursor.wrapping_add(1)) != Some(seq) {
                    gap(&room, cursor, seq);
                }
                if cursor.is_some() {
                    cursors.insert(room, seq);
                }
            }
            _ => {}
        }
    }
    cursors
}

fn unsubscribed_by(story: &Story<'_>, req: &Value) -> Vec<String> {
    let asked = story.frames.iter().find(|frame| frame.ours && !req.is_null() && frame.value["req"] == *req);
    let rooms = asked.and_then(|asked| asked.value["chats"].as_array().cloned()).unwrap_or_default();
    rooms.iter().map(text).collect()
}

/// From `since + 1` on, one after the other, and nothing of a room that is not followed.
pub fn dense(index: &Index<'_>, findings: &mut Findings) {
    for (socket, story) in &index.sockets {
        walk(story, |room, cursor, seq| {
            let after = cursor.map_or("nothing, for it was not followed".to_owned(), |cursor| cursor.to_string());
            findings.say(format!("socket {socket} of {}: {room} gave seq {seq} after {after}", story.who));
        });
    }
}

/// A subscription begins where it was asked to. Logs live as long as a run and cursors were really seen, so that every
/// cursor is right, and `lossless:false` is a mistake.
pub fn answers(index: &Index<'_>, findings: &mut Findings) {
    for (socket, story) in &index.sockets {
        for answer in story.frames.iter().filter(|frame| !frame.ours && frame.value["type"] == "subscribed") {
            let req = &answer.value["req"];
            let Some(asked) = story.frames.iter().find(|frame| frame.ours && frame.value["req"] == *req) else {
                findings.say(format!("socket {socket}: an answer to nothing: {}", answer.text));
                continue;
            };
            for (room, given) in answer.value["chats"].as_object().into_iter().flatten() {
                let since = match asked.value["all"].as_bool() {
                    Some(true) => &asked.value["since"][room]["since"],
                    _ => &asked.value["chats"][room]["since"],
                };
                let head = given["head"].as_u64().unwrap_or(0);
                let wanted = since.as_u64().unwrap_or(head);
                let right = given["since"].as_u64() == Some(wanted) && wanted <= head && given["lossless"] == true;
                let real = index.rooms.get(room.as_str()).is_none_or(|log| head <= log.head());
                if !right || !real {
                    findings.say(format!(
                        "socket {socket} of {} asked {} and was answered {}",
                        story.who, asked.text, answer.text
                    ));
                }
            }
        }
    }
}

/// Whoever follows a room when everything is at rest has all of it.
pub fn level_at_the_end(index: &Index<'_>, findings: &mut Findings) {
    let Some(quiet) = index.quiet else {
        return findings.say("the history has no end: it does not say when everything was at rest");
    };
    for (socket, story) in &index.sockets {
        if story.ended.is_some_and(|(at, _, ours)| at < quiet || !ours) {
            continue;
        }
        for (room, cursor) in walk(story, |_, _, _| {}) {
            let Some(log) = index.rooms.get(room.as_str()) else { continue };
            if log.members.is_in(story.who, log.head()) && cursor != log.head() && !dropped(index, story, &room) {
                findings.say(format!(
                    "socket {socket} of {} on node {} is at {cursor} of {room}, which has {} events",
                    story.who,
                    story.node,
                    log.head()
                ));
            }
        }
    }
}

/// Whether the user was out of the room for a while after this subscription began: that ended it, whatever came later.
fn dropped(index: &Index<'_>, story: &Story<'_>, room: &str) -> bool {
    let log = &index.rooms[room];
    let answer = story.frames.iter().rfind(|frame| !frame.ours && !frame.value["chats"][room].is_null());
    let head = answer.and_then(|answer| answer.value["chats"][room]["head"].as_u64()).unwrap_or(0);
    log.members.joined_at(story.who, log.head()).is_some_and(|joined| joined > head)
}
