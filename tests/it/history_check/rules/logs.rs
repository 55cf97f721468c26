//! What the final logs must be by themselves: equal, dense, once, and made by people who were allowed to.

use std::collections::HashMap;

use crate::history_check::{
    check::Findings,
    history::Record,
    index::{Event, Index, RoomLog},
};

/// Every node gave every room's log, and all gave the same bytes.
pub fn same_everywhere(index: &Index<'_>, findings: &mut Findings) {
    let mut firsts: HashMap<&str, (usize, &Vec<String>)> = HashMap::new();
    for record in index.records {
        let Record::Log { node, room, events } = record else { continue };
        let Some(events) = events else {
            findings.say(format!("node {node} did not give the log of {room} at the end"));
            continue;
        };
        let (first, theirs) = *firsts.entry(room).or_insert((*node, events));
        if theirs != events {
            let at = theirs.iter().zip(events).take_while(|(a, b)| a == b).count();
            findings.say(format!(
                "{room}: node {first} has {} events, node {node} {}; they differ at seq {}:\n  {:?}\n  {:?}",
                theirs.len(),
                events.len(),
                at + 1,
                theirs.get(at),
                events.get(at)
            ));
        }
    }
    for room in index.rooms.keys().filter(|room| !firsts.contains_key(*room)) {
        findings.say(format!("no node gave the log of {room} at the end"));
    }
}

/// Seqs from 1 without a gap, each event in its own room.
pub fn dense(index: &Index<'_>, findings: &mut Findings) {
    for (room, log) in &index.rooms {
        for (seq, (event, text)) in (1..).zip(log.events.iter().zip(&log.texts)) {
            if event.seq != seq || event.chat_id != *room {
                findings.say(format!("{room}: in place of seq {seq} stands {text}"));
            }
        }
    }
}

/// `(room, sender, client_id)`, message ids, and (because no two posts of a run say the same) contents are unique.
pub fn once(index: &Index<'_>, findings: &mut Findings) {
    let mut ids: HashMap<&str, (&str, u64)> = HashMap::new();
    for (room, log) in &index.rooms {
        let (mut by_client_id, mut by_content) = (HashMap::new(), HashMap::new());
        for event in log.events.iter().filter(|event| event.kind == "message") {
            let mut twice = |what: &str, first: Option<u64>| {
                if let Some(first) = first {
                    findings.say(format!("{room}: {what} stands at seq {first} and at seq {}", event.seq));
                }
            };
            if let Some(client_id) = &event.client_id {
                let before = by_client_id.insert((&event.sender, client_id), event.seq);
                twice(&format!("client_id {client_id} of {}", event.sender), before);
            }
            let before = by_content.insert((&event.sender, &event.content), event.seq);
            twice(&format!("{:?} of {}", event.content, event.sender), before);
            let id = event.message_id.as_deref().unwrap_or_default();
            if let Some((other, seq)) = ids.insert(id, (*room, event.seq)) {
                findings.say(format!("message_id {id} stands in {other} at {seq} and in {room} at {}", event.seq));
            }
        }
    }
}

/// No event that no client asked for.
pub fn asked_for(index: &Index<'_>, findings: &mut Findings) {
    for (room, log) in &index.rooms {
        for (begun, text) in log.begun.iter().zip(&log.texts) {
            if begun.is_none() {
                findings.say(format!("{room}: nobody asked for {text}"));
            }
        }
    }
}

/// Each event was allowed by the room as the events before it had made it.
pub fn allowed(index: &Index<'_>, findings: &mut Findings) {
    for (room, log) in &index.rooms {
        for (event, text) in log.events.iter().zip(&log.texts).skip(log.initial as usize) {
            if let Some(why) = why_not(log, event) {
                findings.say(format!("{room}: {why}: {text}"));
            }
        }
    }
}

fn why_not(log: &RoomLog, event: &Event) -> Option<String> {
    let (members, before) = (&log.members, event.seq.saturating_sub(1));
    if event.kind == "message" {
        let may = members.may_post(&event.sender, before);
        return (!may).then(|| format!("{} was {:?} there", event.sender, members.role_at(&event.sender, before)));
    }
    if log.private {
        return Some("a private room keeps its members".into());
    }
    if event.kind != "member" {
        return (!members.may_moderate(&event.by, before)).then(|| format!("{} may not rename it", event.by));
    }
    let (by, theirs) = (members.role_at(&event.by, before), members.role_at(&event.username, before));
    let high = |role: Option<&str>| role.is_some_and(|role| ["owner", "moderator"].contains(&role));
    let moderator_over = |role: Option<&str>| by == Some("moderator") && high(role);
    let others_own = || members.at(before).any(|(user, role)| role == "owner" && user != event.username);
    let last_owner = theirs == Some("owner") && !others_own();
    let company = members.at(before).count() > 1;
    let wrong = match event.change.as_str() {
        "added" | "invited" if !high(by) => "they may not invite",
        "added" | "invited" if moderator_over(event.role.as_deref()) => "a moderator made somebody owner or moderator",
        "added" | "invited" if theirs.is_some() => "they were in already",
        "role" if !high(by) => "they may not change roles",
        "role" if theirs.is_none() => "a role for somebody outside",
        "role" if moderator_over(theirs) || moderator_over(event.role.as_deref()) => {
            "a moderator changed the high roles"
        }
        "role" if last_owner && event.role.as_deref() != Some("owner") => "the last owner was demoted",
        "left" if event.by != event.username => "somebody left through somebody else",
        // Who was invited can be removed too, which takes the invitation back.
        "removed" if theirs.is_none() && high(by) => return None,
        "removed" | "left" if theirs.is_none() => "they were outside already",
        "removed" if !high(by) => "they may not remove",
        "removed" if moderator_over(theirs) => "a moderator removed an owner or moderator",
        "removed" | "left" if last_owner && company => "the last owner went",
        "added" | "invited" | "role" | "removed" | "left" => return None,
        _ => "no change that there is",
    };
    Some(wrong.into())
}
