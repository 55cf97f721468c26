//! One order: a socket's posts in the order they were sent, and everybody's in the order of time where time decides.

use std::collections::BTreeMap;

use crate::history_check::{
    check::Findings,
    index::{Attempt, Index, Outcome, RoomLog, change_of},
};

/// The place of a message that this very try put there, as far as one can know: it was acknowledged as no duplicate, or
/// nobody else tried.
fn own_place(index: &Index<'_>, log: &RoomLog, post: &Attempt) -> Option<u64> {
    if let Outcome::Acked(ack) = &post.outcome
        && !ack.duplicate
    {
        return Some(ack.seq);
    }
    let same =
        |other: &&Attempt| (&other.room, &other.sender, &other.content) == (&post.room, &post.sender, &post.content);
    if index.attempts.iter().filter(same).count() > 1 {
        return None;
    }
    log.events.iter().find(|event| (&event.sender, &event.content) == (&post.sender, &post.content)).map(|e| e.seq)
}

/// Posts of one socket to one room stand in the log in the order in which they were sent, acknowledged or not.
pub fn of_one_socket(index: &Index<'_>, findings: &mut Findings) {
    let mut last: BTreeMap<(u64, &str), (u64, &str)> = BTreeMap::new();
    // The attempts of a socket are in the order of its frames.
    for post in &index.attempts {
        let (Some(socket), Some(log)) = (post.socket, index.rooms.get(post.room.as_str())) else { continue };
        let Some(seq) = own_place(index, log, post) else { continue };
        if let Some((before, content)) = last.insert((socket, &post.room), (seq, &post.content))
            && before > seq
        {
            findings.say(format!(
                "socket {socket} sent {content:?} (now at {before}) before {:?} (now at {seq})",
                post.content
            ));
        }
    }
}

/// Something done in a room: from when on it can have happened, until when it had, and the first and last place that can
/// be its own.
struct Deed<'a> {
    what: &'a str,
    begun: u64,
    done: u64,
    first: u64,
    last: u64,
}

/// What was acknowledged before something else was asked for stands before it.
pub fn of_real_time(index: &Index<'_>, findings: &mut Findings) {
    for (room, log) in &index.rooms {
        let deeds = deeds(index, room, log);
        let mut by_end: Vec<&Deed<'_>> = deeds.iter().collect();
        by_end.sort_by_key(|deed| deed.done);
        let mut by_start: Vec<&Deed<'_>> = deeds.iter().collect();
        by_start.sort_by_key(|deed| deed.begun);
        let mut ended = by_end.into_iter().peekable();
        let mut latest: Option<&Deed<'_>> = None;
        for deed in by_start {
            while let Some(over) = ended.next_if(|over| over.done < deed.begun) {
                if latest.is_none_or(|latest| latest.first < over.first) {
                    latest = Some(over);
                }
            }
            if let Some(before) = latest.filter(|before| before.first > deed.last) {
                findings.say(format!(
                    "{room}: {} was done at {} µs and stands at {}; {} was asked for at {} µs and stands at {}",
                    before.what, before.done, before.first, deed.what, deed.begun, deed.last
                ));
            }
        }
    }
}

fn deeds<'a>(index: &'a Index<'_>, room: &str, log: &'a RoomLog) -> Vec<Deed<'a>> {
    let mut deeds = Vec::new();
    for (event, text) in log.events.iter().zip(&log.texts).skip(log.initial as usize) {
        if event.kind == "message" {
            let (begun, done) = (log.begun(event.seq), log.reached(event.seq));
            deeds.push(Deed { what: text, begun, done, first: event.seq, last: event.seq });
        }
    }
    // Which of several equal changes a call made is not known: the first place counts for what comes after it, the last
    // for what came before.
    for call in index.calls.iter().filter(|call| call.ask.room() == Some(room) && call.answer.done().is_some()) {
        // Of a role nobody can tell by which event it was done, or whether it was so already.
        let Some((change, user)) = change_of(call).filter(|(change, _)| *change != "role") else { continue };
        let mine = log.events.iter().skip(log.initial as usize).filter(|event| {
            (event.by.as_str(), event.change.as_str(), event.username.as_str()) == (&call.who, change, user)
        });
        let places: Vec<u64> = mine.map(|event| event.seq).collect();
        if let (Some(&first), Some(&last)) = (places.first(), places.last()) {
            let what = log.text(first).unwrap_or_default();
            deeds.push(Deed { what, begun: call.from, done: call.to, first, last });
        }
    }
    deeds
}
