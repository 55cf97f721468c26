//! Durable first, visible second: whatever a client was told stands in the final log, word for word.

use std::collections::{BTreeMap, HashMap};

use crate::history_check::{
    check::Findings,
    index::{Ack, Attempt, Event, Index, Outcome, change_of},
};

fn acks<'a>(index: &'a Index<'_>) -> impl Iterator<Item = (&'a Attempt, &'a Ack)> {
    index.attempts.iter().filter_map(|attempt| match &attempt.outcome {
        Outcome::Acked(ack) => Some((attempt, ack)),
        _ => None,
    })
}

/// The message stands at the seq, with the id and the time, that its sender was told.
pub fn acknowledged(index: &Index<'_>, findings: &mut Findings) {
    for (post, ack) in acks(index) {
        let event = index.rooms.get(post.room.as_str()).and_then(|log| log.event(ack.seq));
        let Some(event) = event else {
            findings.say(format!(
                "{} was acknowledged at {} of {}, which has no such event: {ack:?}",
                post.content, ack.seq, post.room
            ));
            continue;
        };
        let same = event.kind == "message"
            && event.message_id.as_deref() == Some(&ack.message_id)
            && event.sent_at == ack.sent_at
            && (&event.sender, &event.content) == (&post.sender, &post.content)
            && event.client_id == post.client_id;
        if !same {
            findings.say(format!(
                "{} of {} was acknowledged as {ack:?}; there stands {event:?}",
                post.content, post.sender
            ));
        }
    }
}

/// As many changes of members of each kind stand there as were acknowledged, or more.
pub fn changed(index: &Index<'_>, findings: &mut Findings) {
    let mut told: BTreeMap<(&str, &str, &str, &str), usize> = BTreeMap::new();
    for call in index.calls.iter().filter(|call| call.answer.done().is_some()) {
        if let (Some(room), Some((change, user))) = (call.ask.room(), change_of(call)) {
            *told.entry((room, &call.who, change, user)).or_default() += 1;
        }
    }
    for ((room, by, change, user), count) in told {
        let Some(log) = index.rooms.get(room) else { continue };
        // What is so already makes no event: a role that they have, an invitation that they have not answered.
        let count = match change {
            "role" => continue,
            "added" => 1,
            _ => count,
        };
        let same = |event: &Event| event.change == change || (change == "added" && event.change == "invited");
        let mine = |event: &&Event| same(event) && (event.by.as_str(), event.username.as_str()) == (by, user);
        let stand = log.events.iter().skip(log.initial as usize).filter(mine).count();
        if stand < count {
            findings.say(format!(
                "{room}: {by} was told {count} times that {user} is {change}; it stands there {stand} times"
            ));
        }
    }
}

/// Live, replay, history and `last_message` are the log's own bytes.
pub fn visible(index: &Index<'_>, findings: &mut Findings) {
    for sight in &index.sights {
        let stands = index.rooms.get(sight.room.as_str()).and_then(|log| log.text(sight.seq));
        if stands != Some(sight.text.as_str()) {
            findings.say(format!("{} saw {} at {} µs; the log has {stands:?}", sight.by, sight.text, sight.at));
        }
    }
}

/// One client_id, one acknowledgement: one try made the message, and every other is told that it is a duplicate.
pub fn repeated(index: &Index<'_>, findings: &mut Findings) {
    let mut tries: HashMap<(&str, &str, &str), Vec<&Attempt>> = HashMap::new();
    for attempt in &index.attempts {
        if let Some(client_id) = &attempt.client_id {
            tries.entry((&attempt.room, &attempt.sender, client_id)).or_default().push(attempt);
        }
    }
    let mut firsts: BTreeMap<(&str, &str, &str), &Ack> = BTreeMap::new();
    for (post, ack) in acks(index) {
        let Some(client_id) = &post.client_id else {
            if ack.duplicate {
                findings.say(format!("a post without client_id was called a duplicate: {ack:?}"));
            }
            continue;
        };
        let key = (post.room.as_str(), post.sender.as_str(), client_id.as_str());
        if ack.duplicate && !tries[&key].iter().any(|other| !std::ptr::eq(*other, post) && other.from <= post.to) {
            findings.say(format!("the only try of {key:?} was called a duplicate: {ack:?}"));
        }
        match firsts.get(&key) {
            None => drop(firsts.insert(key, ack)),
            Some(first) => {
                let same = (&first.message_id, first.seq, &first.sent_at) == (&ack.message_id, ack.seq, &ack.sent_at);
                if !same || !(first.duplicate || ack.duplicate) {
                    findings.say(format!("{key:?} was acknowledged as {first:?} and as {ack:?}"));
                }
                if !ack.duplicate {
                    firsts.insert(key, ack);
                }
            }
        }
    }
}
