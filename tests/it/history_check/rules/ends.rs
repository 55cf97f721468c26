//! How things end: calls with an answer that a client may expect, sockets with a code that has a reason, and nodes with
//! nothing left of those who are gone.

use crate::history_check::{
    check::Findings,
    history::{Answer, Record},
    index::Index,
};

/// What a client of this run may be answered; it sends nothing malformed, and no rates are on.
const STATUSES: [u16; 6] = [401, 403, 404, 409, 429, 503];

/// Codes of `error` frames that a client of this run may get.
const CODES: [&str; 11] = [
    "busy",
    "chat_not_found",
    "conflict",
    "forbidden",
    "insufficient_permissions",
    "invalid_token",
    "read_only",
    "store_busy",
    "store_unavailable",
    "member_not_found",
    "unavailable",
];

/// Close codes with the reason that a client of this run can have given or a node can have had.
const CLOSES: [u16; 5] = [1006, 1012, 1013, 4401, 4408];

/// No 500, nothing that only a malformed request deserves, no close without a reason.
pub fn expected(index: &Index<'_>, findings: &mut Findings) {
    for call in &index.calls {
        match &call.answer {
            Answer::Refused { status, code } => {
                // 429 is for rates, which are off, and for full queues.
                if !STATUSES.contains(status) || (*status == 429 && code != "busy") {
                    findings.say(format!("{call:?}"));
                }
            }
            Answer::Done { .. } | Answer::Lost { .. } => {}
        }
    }
    for record in index.records {
        let Record::NotOpened { answer: Answer::Refused { status, .. }, .. } = record else { continue };
        if ![401, 429, 503].contains(status) {
            findings.say(format!("{record:?}"));
        }
    }
    for (socket, story) in &index.sockets {
        for frame in story.frames.iter().filter(|frame| !frame.ours && frame.value["type"] == "error") {
            if !frame.value["code"].as_str().is_some_and(|code| CODES.contains(&code)) {
                findings.say(format!("socket {socket} of {} got {}", story.who, frame.text));
            }
        }
        let Some((at, code, false)) = story.ended else { continue };
        // Only a reader that paused can have been too slow or too late with its pong.
        let paused = story.paused.iter().any(|(from, _)| *from <= at);
        if !CLOSES.contains(&code) || ([1013, 4408].contains(&code) && !paused) {
            findings.say(format!("socket {socket} of {} was closed with {code} at {at} µs", story.who));
        }
        if code == 1006 && !paused && index.healthy(story.node, at, at, true) {
            findings.say(format!("socket {socket} of {} broke at {at} µs, and nothing was wrong", story.who));
        }
    }
}

/// Readers that pause, clients that vanish and other rooms' crowds hold nobody up: where nothing is broken every call is
/// answered before its client gives up.
pub fn answered(index: &Index<'_>, findings: &mut Findings) {
    for call in &index.calls {
        let Answer::Lost { .. } = call.answer else { continue };
        if index.healthy(call.node, call.from, call.to, false) {
            findings.say(format!("{call:?}"));
        }
    }
}

/// When the last client is gone every gauge of the living is at zero.
pub fn left_behind(index: &Index<'_>, findings: &mut Findings) {
    for record in index.records {
        if let Record::Gauge { node, name, value } = record
            && *value != 0.0
        {
            findings.say(format!("{name} of node {node} is {value} after everybody has gone"));
        }
    }
}
