//! Histories by hand: one in which everything is as it should be, and for each rule some in which one thing is not.

use serde_json::{Value, json};

use super::{
    check::{RULES, check},
    history::{Answer, Ask, Call, Edge, Micros, Record, SECOND},
};

/// A history to be bent.
pub struct Sample {
    pub records: Vec<Record>,
}

const ROOM: &str = "tea";
const EPOCH: &str = "e1";
/// ann signs in as 1, bob as 2, eve as 3. bob's socket is 11 and eve's 12.
const BOBS: u64 = 11;
const EVES: u64 = 12;

fn id_of(content: &str) -> String {
    format!("id of {content}")
}

fn message(seq: u64, sender: &str, content: &str, client_id: Option<&str>) -> String {
    let mut event = json!({
        "type": "message", "chat_id": ROOM, "seq": seq, "message_id": id_of(content), "sender": sender,
        "sent_at": format!("time of {content}"), "content": content,
    });
    if let Some(client_id) = client_id {
        event["client_id"] = json!(client_id);
    }
    event.to_string()
}

fn member(seq: u64, by: &str, username: &str, change: &str, role: Option<&str>) -> String {
    let mut event = json!({
        "type": "member", "chat_id": ROOM, "seq": seq, "sent_at": "then", "by": by, "username": username,
        "change": change,
    });
    if let Some(role) = role {
        event["role"] = json!(role);
    }
    event.to_string()
}

fn log() -> Vec<String> {
    vec![
        member(1, "ann", "ann", "added", Some("owner")),
        member(2, "ann", "bob", "added", Some("member")),
        member(3, "ann", "eve", "added", Some("member")),
        message(4, "ann", "a1", Some("k1")),
        message(5, "bob", "b1", Some("k1")),
        message(6, "bob", "b2", None),
        member(7, "ann", "eve", "removed", None),
        message(8, "ann", "a2", Some("k2")),
    ]
}

fn ack(content: &str, seq: u64, duplicate: bool) -> Value {
    json!({"message_id": id_of(content), "seq": seq, "sent_at": format!("time of {content}"), "duplicate": duplicate})
}

fn login_of(who: &str) -> u64 {
    1 + ["ann", "bob", "eve"].iter().position(|name| *name == who).expect("one of the three") as u64
}

fn call(who: &str, node: usize, (from, to): (Micros, Micros), ask: Ask, answer: Answer) -> Record {
    Record::Call(Call { login: login_of(who), who: who.into(), node, from, to, ask, answer })
}

fn done(body: impl ToString) -> Answer {
    Answer::Done { body: body.to_string() }
}

fn refused(status: u16, code: &str) -> Answer {
    Answer::Refused { status, code: code.into() }
}

fn post(content: &str, client_id: Option<&str>) -> Ask {
    Ask::Post { room: ROOM.into(), content: content.into(), client_id: client_id.map(String::from) }
}

fn page(edge: Edge, limit: u64) -> Ask {
    Ask::Page { room: ROOM.into(), events: true, edge, limit }
}

/// Events by hand, as a page has them.
fn page_of(events: &[String], head: u64, before: Option<u64>, after: Option<u64>) -> Answer {
    let about = json!({"head_seq": head, "next_before": before, "next_after": after}).to_string();
    done(format!("{{\"events\":[{}],{}", events.join(","), &about[1..]))
}

fn got(socket: u64, at: Micros, text: impl ToString) -> Record {
    Record::Got { socket, at, text: text.to_string() }
}

fn sent(socket: u64, at: Micros, frame: Value) -> Record {
    Record::Sent { socket, at, text: frame.to_string() }
}

fn opened(socket: u64, who: &str, node: usize, at: Micros) -> Record {
    Record::Opened { socket, login: login_of(who), who: who.into(), node, from: at - 50, to: at }
}

/// A subscription after seq 3, and its answer.
fn follows(socket: u64, at: Micros) -> [Record; 2] {
    let since = json!({"since": 3, "epoch": EPOCH});
    let answer = json!({"head": 3, "since": 3, "epoch": EPOCH, "lossless": true});
    [
        sent(socket, at, json!({"type": "subscribe", "chats": {ROOM: since}, "req": "r1"})),
        got(socket, at + 50, json!({"type": "subscribed", "chats": {ROOM: answer}, "req": "r1"})),
    ]
}

fn post_frame(content: &str, client_id: Option<&str>, req: &str) -> Value {
    json!({"type": "post", "chat_id": ROOM, "content": content, "client_id": client_id, "req": req})
}

fn posted(content: &str, seq: u64, req: &str) -> Value {
    let mut frame = ack(content, seq, false);
    (frame["type"], frame["req"]) = (json!("posted"), json!(req));
    frame
}

/// ann, bob and eve on two nodes: two posts each of ann's and bob's, a retry, a removal, a logout, and rest.
pub fn good() -> Sample {
    let log = log();
    let mut records = vec![
        Record::Plan { seed: 0, nodes: 2, text: vec!["by hand".into()] },
        Record::Room { room: ROOM.into(), private: false, head: 3 },
        call("ann", 0, (100, 200), Ask::SignIn, done("{}")),
        call("bob", 1, (100, 200), Ask::SignIn, done("{}")),
        call("eve", 1, (100, 200), Ask::SignIn, done("{}")),
        opened(BOBS, "bob", 1, 300),
        opened(EVES, "eve", 1, 300),
    ];
    records.extend(follows(BOBS, 400));
    records.extend(follows(EVES, 400));
    records.extend([
        call("ann", 0, (1_000, 2_000), post("a1", Some("k1")), done(ack("a1", 4, false))),
        got(BOBS, 1_800, &log[3]),
        got(EVES, 1_900, &log[3]),
        call("ann", 1, (3_000, 4_000), post("a1", Some("k1")), done(ack("a1", 4, true))),
        sent(BOBS, 5_000, post_frame("b1", Some("k1"), "r2")),
        sent(BOBS, 5_001, post_frame("b2", None, "r3")),
        got(BOBS, 5_500, &log[4]),
        got(BOBS, 5_501, posted("b1", 5, "r2")),
        got(BOBS, 5_502, &log[5]),
        got(BOBS, 5_503, posted("b2", 6, "r3")),
        got(EVES, 5_600, &log[4]),
        got(EVES, 5_601, &log[5]),
        call("ann", 1, (6_000, 7_000), page(Edge::After(3), 50), page_of(&log[3..6], 6, Some(4), None)),
        call("ann", 1, (7_000, 7_500), page(Edge::Latest, 2), page_of(&log[4..6], 6, Some(5), None)),
        call("bob", 0, (7_000, 7_500), page(Edge::After(1), 2), page_of(&log[1..3], 6, Some(2), Some(3))),
        call(
            "bob",
            0,
            (8_000, 8_500),
            Ask::Mark { room: ROOM.into(), seq: 5 },
            done(json!({"read_seq": 6, "unread": 0})),
        ),
        call("ann", 0, (9_000, 9_900), Ask::Remove { room: ROOM.into(), user: "eve".into() }, done("{}")),
        got(BOBS, 9_950, &log[6]),
        got(EVES, 9_950, json!({"type": "chats", "chat_id": ROOM, "change": "removed"})),
        call("eve", 1, (3 * SECOND, 3 * SECOND + 100), page(Edge::Latest, 5), refused(403, "insufficient_permissions")),
        call("ann", 0, (4 * SECOND, 4 * SECOND + 900), post("a2", Some("k2")), done(ack("a2", 8, false))),
        got(BOBS, 4 * SECOND + 800, &log[7]),
        call("eve", 0, (5 * SECOND, 5 * SECOND + 100), Ask::SignOut, done("{}")),
        Record::Ended { socket: EVES, at: 5 * SECOND + 200, code: 4401, ours: false },
        call("eve", 0, (7 * SECOND, 7 * SECOND + 100), Ask::Chats, refused(401, "invalid_token")),
        Record::Quiet { at: 8 * SECOND },
        Record::Ended { socket: BOBS, at: 8 * SECOND + 100, code: 1000, ours: true },
    ]);
    for node in 0..2 {
        records.push(Record::Log { node, room: ROOM.into(), events: Some(log.clone()) });
        for (who, read_seq, unread) in [("ann", 8, 0), ("bob", 6, 1)] {
            records.push(Record::Kept { node, who: who.into(), room: ROOM.into(), read_seq, unread });
        }
        records.push(Record::Gauge { node, name: "natter_connections".into(), value: 0.0 });
    }
    Sample { records }
}

impl Sample {
    fn add(&mut self, record: Record) {
        self.records.push(record);
    }

    /// The final log of every node.
    fn logs(&mut self, bend: impl Fn(&mut Vec<String>)) {
        for record in &mut self.records {
            if let Record::Log { events: Some(events), .. } = record {
                bend(events);
            }
        }
    }

    fn call_at(&mut self, from: Micros) -> &mut Call {
        let found = self.records.iter_mut().find_map(|record| match record {
            Record::Call(call) if call.from == from => Some(call),
            _ => None,
        });
        found.expect("a call at that time")
    }

    fn answer(&mut self, from: Micros, answer: Answer) {
        self.call_at(from).answer = answer;
    }

    fn drop_frame(&mut self, at: Micros) {
        self.records.retain(|record| !matches!(record, Record::Got { at: then, .. } if *then == at));
    }

    fn frame(&mut self, at: Micros, text: impl ToString) {
        for record in &mut self.records {
            if let Record::Got { at: then, text: old, .. } = record
                && *then == at
            {
                *old = text.to_string();
            }
        }
    }

    /// A trouble of this node, from then on to the end.
    fn trouble(&mut self, what: &str, node: usize, from: Micros) {
        self.add(Record::Trouble { what: what.into(), node: Some(node), from, to: 8 * SECOND });
    }
}

fn event(number: usize) -> String {
    log()[number - 1].clone()
}

type Bend = fn(&mut Sample);

/// The beginning of a rule's name, and a history that breaks it.
const BAD: [(&str, Bend); 46] = [
    ("durable: what was acknowledged", |s| s.logs(|log| log.truncate(7))),
    ("durable: what was acknowledged", |s| s.answer(4 * SECOND, done(ack("a2", 7, false)))),
    ("durable: what was acknowledged", |s| s.answer(4 * SECOND, done(ack("another", 8, false)))),
    ("durable: what was changed", |s| {
        let ask = Ask::Invite { room: ROOM.into(), user: "eve".into(), role: "member".into() };
        s.add(call("ann", 0, (10_000, 10_100), ask, done("{}")));
    }),
    ("durable: what anybody saw", |s| s.add(got(BOBS, 5 * SECOND, message(9, "ann", "lost", None)))),
    ("durable: what anybody saw", |s| s.frame(9_950, event(7).replace("then", "another time"))),
    ("durable: what anybody saw", |s| {
        let changed = [event(4), event(5).replace("b1", "b0"), event(6)];
        s.answer(6_000, page_of(&changed, 6, Some(4), None));
    }),
    ("durable: every event was asked for", |s| s.logs(|log| log.push(message(9, "ann", "from nowhere", None)))),
    ("durable: every event was asked for", |s| s.logs(|log| log.push(member(9, "ann", "bob", "role", Some("reader"))))),
    ("one order: every node", |s| {
        if let Some(Record::Log { events: Some(events), .. }) =
            s.records.iter_mut().rev().find(|record| matches!(record, Record::Log { .. }))
        {
            events.swap(3, 4);
        }
    }),
    ("one order: every node", |s| s.add(Record::Log { node: 2, room: ROOM.into(), events: None })),
    ("one order: seqs are dense", |s| s.logs(|log| drop(log.remove(3)))),
    ("one order: seqs are dense", |s| s.logs(|log| log.insert(4, event(4)))),
    ("one order: one socket's", |s| {
        s.logs(|log| {
            log[4] = message(5, "bob", "b2", None);
            log[5] = message(6, "bob", "b1", Some("k1"));
        });
        s.frame(5_501, posted("b1", 6, "r2"));
        s.frame(5_503, posted("b2", 5, "r3"));
    }),
    ("one order: what was done before", |s| {
        s.logs(|log| {
            log[3] = message(4, "ann", "a2", Some("k2"));
            log[7] = message(8, "ann", "a1", Some("k1"));
        });
        s.answer(1_000, done(ack("a1", 8, false)));
        s.answer(4 * SECOND, done(ack("a2", 4, false)));
    }),
    ("one order: what was done before", |s| {
        // Removed and answered, and yet a message that came later stands before it.
        s.logs(|log| {
            log[6] = message(7, "ann", "a2", Some("k2"));
            log[7] = member(8, "ann", "eve", "removed", None);
        });
    }),
    ("once: a client_id", |s| s.logs(|log| log.push(message(9, "ann", "a1", Some("k1"))))),
    ("once: a client_id", |s| s.logs(|log| log[7] = message(8, "ann", "a1", None))),
    ("once: a repeated post", |s| s.answer(3_000, done(ack("a1", 5, true)))),
    ("once: a repeated post", |s| s.answer(3_000, done(ack("a1", 4, false)))),
    ("once: a repeated post", |s| s.answer(4 * SECOND, done(ack("a2", 8, true)))),
    ("no gap: a subscription", |s| s.drop_frame(5_502)),
    ("no gap: a subscription", |s| s.add(got(BOBS, 5_510, event(6)))),
    ("no gap: a subscription", |s| {
        s.add(sent(BOBS, 10_000, json!({"type": "unsubscribe", "chats": [ROOM], "req": "r9"})));
        s.add(got(BOBS, 10_100, json!({"type": "unsubscribed", "req": "r9"})));
    }),
    ("no gap: a cursor that was right", |s| {
        let answer = json!({"head": 3, "since": 3, "epoch": EPOCH, "lossless": false});
        s.frame(450, json!({"type": "subscribed", "chats": {ROOM: answer}, "req": "r1"}));
    }),
    ("no gap: a cursor that was right", |s| {
        let answer = json!({"head": 3, "since": 2, "epoch": EPOCH, "lossless": true});
        s.frame(450, json!({"type": "subscribed", "chats": {ROOM: answer}, "req": "r1"}));
    }),
    ("no gap: a page", |s| s.answer(6_000, page_of(&[event(4), event(6)], 6, Some(4), None))),
    ("no gap: a page", |s| s.answer(7_000, page_of(&[event(6), event(5)], 6, None, None))),
    ("no gap: a page", |s| s.answer(6_000, page_of(&[event(5), event(6)], 6, Some(5), None))),
    ("fresh: a page", |s| s.answer(6_000, page_of(&[event(4), event(5)], 5, Some(4), None))),
    ("fresh: a page", |s| {
        // Full, and yet it says that there is nothing more.
        s.call_at(6_000).ask = page(Edge::After(3), 2);
        s.answer(6_000, page_of(&[event(4), event(5)], 5, Some(4), None));
    }),
    ("nobody is held up", |s| s.answer(8_000, Answer::Lost { waited: true, why: "timeout".into() })),
    ("bounds: nothing", |s| s.add(Record::Gauge { node: 1, name: "natter_subscriptions".into(), value: 1.0 })),
    ("access: the log holds", |s| s.logs(|log| log[7] = message(8, "eve", "a2", Some("k2")))),
    ("access: the log holds", |s| s.logs(|log| log[6] = member(7, "bob", "eve", "removed", None))),
    ("access: the log holds", |s| s.logs(|log| log[6] = member(7, "ann", "ann", "left", None))),
    ("access: who is outside", |s| s.add(got(EVES, 4 * SECOND + 900, event(8)))),
    ("access: who is outside", |s| s.answer(3 * SECOND, page_of(&log()[2..7], 7, Some(3), None))),
    ("access: an ended login", |s| {
        s.records.retain(|record| !matches!(record, Record::Ended { socket: EVES, .. }));
        s.call_at(9_000).ask = Ask::Invite { room: ROOM.into(), user: "eve".into(), role: "member".into() };
        s.call_at(5 * SECOND).from = 10_000;
        s.call_at(10_000).to = 11_000;
        s.add(got(EVES, 4 * SECOND + 900, event(8)));
    }),
    ("access: an ended login", |s| s.answer(7 * SECOND, done(json!({"chats": []})))),
    ("access: nobody is refused", |s| s.answer(7_000, refused(403, "insufficient_permissions"))),
    ("access: nobody is refused", |s| s.answer(8_000, refused(401, "invalid_token"))),
    ("errors: only those", |s| s.answer(8_000, refused(500, "internal_error"))),
    ("read marks: they never", |s| {
        let ask = Ask::Mark { room: ROOM.into(), seq: 4 };
        s.add(call("bob", 1, (8_600, 8_700), ask, done(json!({"read_seq": 4, "unread": 2}))));
    }),
    ("read marks: they and", |s| {
        s.add(Record::Kept { node: 0, who: "bob".into(), room: ROOM.into(), read_seq: 6, unread: 2 });
    }),
    ("the store is the truth", |s| s.drop_frame(4 * SECOND + 800)),
];

/// Histories that look bad and are not, because something explains them.
const EXCUSED: [Bend; 7] = [
    // A post whose answer was lost may be in the log, or not.
    |s| {
        s.trouble("node killed", 0, 4 * SECOND);
        s.answer(4 * SECOND, Answer::Lost { waited: false, why: "reset".into() });
    },
    |s| {
        s.trouble("node killed", 0, 4 * SECOND);
        s.add(call(
            "ann",
            0,
            (4 * SECOND, 5 * SECOND),
            post("a3", Some("k3")),
            Answer::Lost { waited: false, why: "reset".into() },
        ));
    },
    // Within a second of her removal eve may still be served.
    |s| {
        s.call_at(3 * SECOND).from = 10_000;
        s.call_at(10_000).to = 10_500;
        s.answer(10_000, page_of(&log()[2..7], 7, Some(3), None));
    },
    // So she may while her node cannot reach the store.
    |s| {
        s.trouble("store cut off", 1, 9_000);
        s.answer(3 * SECOND, page_of(&log()[2..7], 7, Some(3), None));
    },
    // A socket that was closed while everything was still going on need not have the end.
    |s| {
        s.drop_frame(4 * SECOND + 800);
        s.records.retain(|record| !matches!(record, Record::Ended { socket: BOBS, .. }));
        s.add(Record::Ended { socket: BOBS, at: SECOND, code: 1006, ours: true });
    },
    // A page that was asked for before the post was acknowledged need not have it.
    |s| {
        s.call_at(6_000).from = 5_400;
        s.answer(5_400, page_of(&log()[3..4], 4, Some(4), None));
    },
    // A reader that paused may have been too slow.
    |s| {
        s.drop_frame(4 * SECOND + 800);
        s.records.retain(|record| !matches!(record, Record::Ended { socket: BOBS, .. }));
        s.add(Record::Paused { socket: BOBS, from: SECOND, to: 3 * SECOND });
        s.add(Record::Ended { socket: BOBS, at: 3 * SECOND, code: 1013, ours: false });
    },
];

fn rules_broken(sample: &Sample) -> Vec<String> {
    check(&sample.records).iter().map(ToString::to_string).collect()
}

#[test]
fn a_good_history_is_good() {
    assert_eq!(rules_broken(&good()), [] as [&str; 0]);
}

#[test]
fn each_rule_finds_what_it_is_for() {
    for (number, (rule, bend)) in BAD.iter().enumerate() {
        let mut sample = good();
        bend(&mut sample);
        let broken = rules_broken(&sample);
        assert!(broken.iter().any(|found| found.starts_with(rule)), "bad history {number} ({rule}) gave {broken:#?}");
    }
}

#[test]
fn every_rule_has_a_history_that_breaks_it() {
    let unproved: Vec<&str> = RULES
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| !BAD.iter().any(|(start, _)| name.starts_with(start)))
        .collect();
    assert_eq!(unproved, [] as [&str; 0]);
}

#[test]
fn what_has_an_excuse_is_no_violation() {
    for (number, bend) in EXCUSED.iter().enumerate() {
        let mut sample = good();
        bend(&mut sample);
        assert_eq!(rules_broken(&sample), [] as [&str; 0], "excused history {number}");
    }
}
