//! Access is checked where the work is done: what nobody may receive who is outside or signed out, and that nobody else is
//! refused.
//!
//! Receiving is judged by when an event can have begun to exist, not by when the client read it: what was posted more
//! than a second after the door was shut cannot have been on its way before.

use crate::history_check::{
    check::Findings,
    history::{Answer, Ask, Call, Login, Micros, SECOND},
    index::{Index, RoomLog, Sight, is_event, text},
};

/// Within this time everybody stops receiving, on every node.
const CLOSES_WITHIN: Micros = SECOND;

/// An event after the one that put somebody out reaches them only if they come back.
pub fn outsiders(index: &Index<'_>, findings: &mut Findings) {
    for sight in index.sights.iter().filter(|sight| sight.live) {
        let Some(log) = index.rooms.get(sight.room.as_str()) else { continue };
        if sight.seq > log.head() || log.members.is_in(&sight.by, sight.seq) || may_see(index, log, sight) {
            continue;
        }
        findings.say(format!(
            "{} was not in {} and saw seq {} at {} µs: {}",
            sight.by, sight.room, sight.seq, sight.at, sight.text
        ));
    }
    for call in index.calls.iter().filter(|call| call.answer.done().is_some()) {
        let (Some(room), true) = (call.ask.room(), reads_or_posts(&call.ask)) else { continue };
        let Some(log) = index.rooms.get(room) else { continue };
        let by = call.from.saturating_sub(grace(index, call.node, call.from, call.to));
        let (first, last) = (log.proved_before(by), log.possible_before(call.to));
        let ever_in = (first..=last).any(|seq| log.members.is_in(&call.who, seq));
        if !ever_in && index.healthy(call.node, by, call.to, false) {
            findings.say(format!("{} was out of {room} for more than a second and was served: {call:?}", call.who));
        }
    }
}

fn reads_or_posts(ask: &Ask) -> bool {
    matches!(ask, Ask::Page { .. } | Ask::Post { .. } | Ask::Mark { .. })
}

/// Whether somebody who was outside at an event can have got it: it was there within a second of their leaving (their own
/// leaving among it), or they came back before they saw it.
fn may_see(index: &Index<'_>, log: &RoomLog, sight: &Sight) -> bool {
    let (user, seq) = (sight.by.as_str(), sight.seq);
    let back = log.members.joined_after(user, seq).is_some_and(|joined| log.begun(joined) <= sight.at);
    let just_left = log.members.left_at(user, seq).is_some_and(|left| {
        let (shut, begun) = (log.reached(left), log.begun(seq));
        left == seq || begun <= shut.saturating_add(grace(index, sight.node, shut, begun))
    });
    back || just_left
}

/// A second, and as long as the machine took for anything at that time. One node alone has nobody to hear it from, and
/// knows at once.
fn grace(index: &Index<'_>, node: usize, from: Micros, to: Micros) -> Micros {
    if index.nodes == 1 {
        return 0;
    }
    CLOSES_WITHIN + index.slowest(node, from.saturating_sub(CLOSES_WITHIN), to) + SECOND / 10
}

/// When the login had surely ended, and when it can have ended at the earliest.
struct End {
    surely: Micros,
    earliest: Micros,
}

fn end_of(index: &Index<'_>, login: Login, who: &str) -> End {
    let began = index.calls.iter().find(|call| call.login == login && call.ask == Ask::SignIn);
    let since = began.map_or(0, |call| call.from);
    let ends = |call: &&&Call| match &call.ask {
        Ask::SignOut => call.login == login,
        // One that was under way while the login was made may have come before it.
        Ask::Disable { user } | Ask::EndLogins { user } => user == who && call.to > since,
        _ => false,
    };
    let mut end = End { surely: Micros::MAX, earliest: Micros::MAX };
    for call in index.calls.iter().filter(ends) {
        end.earliest = end.earliest.min(call.from);
        if call.answer.done().is_some() && began.is_none_or(|began| call.from > began.to) {
            end.surely = end.surely.min(call.to);
        }
    }
    end
}

/// Nothing that was posted more than a second after a login's end reaches its sockets, and none of its requests is served.
pub fn ended_logins(index: &Index<'_>, findings: &mut Findings) {
    for (socket, story) in &index.sockets {
        let end = end_of(index, story.login, story.who).surely;
        for frame in story.frames.iter().filter(|frame| !frame.ours && is_event(&frame.value)) {
            let seq = frame.value["seq"].as_u64().unwrap_or(0);
            let begun = index.rooms.get(text(&frame.value["chat_id"]).as_str()).map_or(0, |log| log.begun(seq));
            if end < begun
                && begun - end > grace(index, story.node, end, begun)
                && index.healthy(story.node, end, frame.at, false)
            {
                let who = story.who;
                findings.say(format!(
                    "login {} of {who} ended at {end} µs; socket {socket} got {}",
                    story.login, frame.text
                ));
            }
        }
    }
    for call in index.calls.iter().filter(|call| call.login > 0 && call.answer.done().is_some()) {
        if matches!(call.ask, Ask::SignIn | Ask::SignOut) {
            continue;
        }
        let end = end_of(index, call.login, &call.who).surely;
        let late = end < Micros::MAX && call.from > end + grace(index, call.node, end, call.to);
        if late && index.healthy(call.node, end, call.to, false) {
            findings.say(format!("login {} of {} ended at {end} µs and was served: {call:?}", call.login, call.who));
        }
    }
}

/// 401 for logins that can have ended, 403 and 404 for people who can have been outside or without the role.
pub fn refusals(index: &Index<'_>, findings: &mut Findings) {
    for call in &index.calls {
        let Answer::Refused { status, .. } = call.answer else { continue };
        let justified = match (status, &call.ask) {
            (401, Ask::SignIn) => may_be_disabled(index, &call.who, call.to) || was_ended_meanwhile(index, call),
            (401, _) => end_of(index, call.login, &call.who).earliest <= call.to,
            (403 | 404, ask) => ask.room().is_none_or(|room| may_be_refused(index, room, call)),
            _ => true,
        };
        if !justified {
            findings.say(format!("{call:?}"));
        }
    }
    for story in index.sockets.values() {
        let Some((at, 4401, false)) = story.ended else { continue };
        if end_of(index, story.login, story.who).earliest > at {
            findings.say(format!("a socket of login {} of {} was closed with 4401 at {at} µs", story.login, story.who));
        }
    }
}

fn may_be_disabled(index: &Index<'_>, who: &str, until: Micros) -> bool {
    index.calls.iter().any(|call| call.from <= until && matches!(&call.ask, Ask::Disable { user } if user == who))
}

/// A login that begins while all logins of its user are ended may be one of them.
fn was_ended_meanwhile(index: &Index<'_>, sign_in: &Call) -> bool {
    let ends = |call: &&Call| matches!(&call.ask, Ask::EndLogins { user } if *user == sign_in.who);
    index.calls.iter().copied().filter(ends).any(|call| call.from <= sign_in.to && sign_in.from <= call.to)
}

/// Whether the caller lacked what the call needs at some place of the log that the node can have taken for the head.
fn may_be_refused(index: &Index<'_>, room: &str, call: &Call) -> bool {
    let Some(log) = index.rooms.get(room) else { return true };
    let by = call.from.saturating_sub(grace(index, call.node, call.from, call.to));
    let whole = index.healthy(call.node, by, call.to, true);
    let first = if whole { log.proved_before(by) } else { 0 };
    let (who, last) = (call.who.as_str(), log.possible_before(call.to));
    (first.max(1)..=last.max(1)).any(|seq| match &call.ask {
        Ask::Post { .. } => !log.members.may_post(who, seq),
        Ask::Page { .. } | Ask::Mark { .. } => !log.members.is_in(who, seq),
        // Whom one may change depends on both roles and on the others'; the log itself is judged by `logs::allowed`.
        _ => log.members.role_at(who, seq) != Some("owner") || gone(log, call, seq),
    })
}

/// Whether the one the call is about is no member.
fn gone(log: &RoomLog, call: &Call, seq: u64) -> bool {
    match &call.ask {
        Ask::SetRole { user, .. } | Ask::Remove { user, .. } => !log.members.is_in(user, seq),
        Ask::Invite { .. } => may_be_404(call),
        _ => false,
    }
}

/// A disabled user cannot be invited.
fn may_be_404(call: &Call) -> bool {
    matches!(call.answer, Answer::Refused { status: 404, .. })
}
