//! A history, turned round: by room, by post, by socket. The rules read this and no record.
//!
//! - Of each event: `begun`, before which nobody had asked for it, and `reached`, from which on somebody had proof that
//!   the log holds it. What really happened lies between the two, so a rule that compares one event's `reached` with
//!   another's `begun` is never wrong, however slow this process was to read or the machine to run it.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{
    history::{Answer, Ask, Call, Login, Micros, Record, SECOND},
    members::Members,
};

/// How long after a trouble's end a node may still suffer from it.
const SETTLE: Micros = 3 * SECOND;

/// An event of a log, of whatever type.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Event {
    #[serde(rename = "type")]
    pub kind: String,
    pub chat_id: String,
    pub seq: u64,
    pub sent_at: String,
    pub message_id: Option<String>,
    pub sender: String,
    pub content: String,
    pub client_id: Option<String>,
    pub by: String,
    pub username: String,
    pub change: String,
    pub role: Option<String>,
}

/// A room's final log, as the first node gives it.
#[derive(Default)]
pub struct RoomLog {
    pub private: bool,
    /// Events that were there before the clients began.
    pub initial: u64,
    pub texts: Vec<String>,
    pub events: Vec<Event>,
    /// By position: that of seq 1 is at 0. `None`: nobody asked for such an event.
    pub begun: Vec<Option<Micros>>,
    /// `Micros::MAX`: seen by nobody before the end.
    pub reached: Vec<Micros>,
    pub members: Members,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Ack {
    pub message_id: String,
    pub seq: u64,
    pub sent_at: String,
    pub duplicate: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Acked(Ack),
    /// With the status over HTTP.
    Refused {
        status: Option<u16>,
        code: String,
    },
    Lost,
}

/// One try to post, over HTTP or a socket.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub room: String,
    pub sender: String,
    pub content: String,
    pub client_id: Option<String>,
    pub from: Micros,
    /// When it was answered; the end of the history where it was not.
    pub to: Micros,
    /// The socket that it went over.
    pub socket: Option<u64>,
    pub outcome: Outcome,
}

/// An event as somebody got it.
pub struct Sight {
    pub room: String,
    pub seq: u64,
    pub text: String,
    pub at: Micros,
    pub by: String,
    pub node: usize,
    /// Over a socket, not in an answer.
    pub live: bool,
}

pub struct Frame<'a> {
    pub at: Micros,
    pub text: &'a str,
    pub value: Value,
    pub ours: bool,
}

/// One socket from its opening to its end, its frames in the order of their times.
pub struct Story<'a> {
    pub login: Login,
    pub who: &'a str,
    pub node: usize,
    pub frames: Vec<Frame<'a>>,
    pub paused: Vec<(Micros, Micros)>,
    /// When, the code, and whether the client ended it.
    pub ended: Option<(Micros, u16, bool)>,
}

#[derive(Default)]
pub struct Index<'a> {
    pub records: &'a [Record],
    /// `0` where the history does not say.
    pub nodes: usize,
    pub rooms: BTreeMap<&'a str, RoomLog>,
    pub calls: Vec<&'a Call>,
    pub attempts: Vec<Attempt>,
    pub sights: Vec<Sight>,
    pub sockets: BTreeMap<u64, Story<'a>>,
    /// When everything was whole and at rest.
    pub quiet: Option<Micros>,
    pub end: Micros,
    troubles: Vec<(&'a str, Option<usize>, Micros, Micros)>,
}

pub const EVENTS: [&str; 3] = ["message", "member", "chat"];

impl<'a> Index<'a> {
    pub fn of(records: &'a [Record]) -> Self {
        let mut index = Self { records, ..Self::default() };
        for record in records {
            index.take(record);
        }
        index.attempts_over_sockets();
        index.see_all();
        for (room, log) in &mut index.rooms {
            log.begun = begun(room, log, &index.attempts, &index.calls);
            log.members = Members::of(&log.events);
        }
        index.reach_all();
        index
    }

    fn take(&mut self, record: &'a Record) {
        let at = match record {
            Record::Room { room, private, head } => {
                let log = self.rooms.entry(room).or_default();
                (log.private, log.initial) = (*private, *head);
                0
            }
            Record::Call(call) => {
                self.take_call(call);
                call.to
            }
            Record::Opened { socket, login, who, node, from: _, to } => {
                let (frames, paused) = (Vec::new(), Vec::new());
                let story = Story { login: *login, who, node: *node, frames, paused, ended: None };
                self.sockets.insert(*socket, story);
                *to
            }
            Record::Sent { socket, at, text } => self.frame(*socket, *at, text, true),
            Record::Got { socket, at, text } => self.frame(*socket, *at, text, false),
            Record::Paused { socket, from, to } => {
                if let Some(story) = self.sockets.get_mut(socket) {
                    story.paused.push((*from, *to));
                }
                *to
            }
            Record::Ended { socket, at, code, ours } => {
                if let Some(story) = self.sockets.get_mut(socket) {
                    story.ended = Some((*at, *code, *ours));
                }
                *at
            }
            Record::Trouble { what, node, from, to } => {
                self.troubles.push((what, *node, *from, *to));
                *to
            }
            Record::Quiet { at } => {
                self.quiet = Some(*at);
                *at
            }
            Record::Log { room, events: Some(events), .. } => {
                let log = self.rooms.entry(room).or_default();
                if log.texts.is_empty() {
                    log.texts = events.clone();
                    log.events = events.iter().map(|text| parse_event(text)).collect();
                }
                0
            }
            Record::NotOpened { to, .. } => *to,
            Record::Plan { nodes, .. } => {
                self.nodes = *nodes;
                0
            }
            Record::Log { .. } | Record::Kept { .. } | Record::Gauge { .. } => 0,
        };
        self.end = self.end.max(at);
    }

    fn take_call(&mut self, call: &'a Call) {
        self.calls.push(call);
        let Ask::Post { room, content, client_id } = &call.ask else { return };
        let outcome = match &call.answer {
            Answer::Done { body } => serde_json::from_str(body).map_or(Outcome::Lost, Outcome::Acked),
            Answer::Refused { status, code } => Outcome::Refused { status: Some(*status), code: code.clone() },
            Answer::Lost { .. } => Outcome::Lost,
        };
        self.attempts.push(Attempt {
            room: room.clone(),
            sender: call.who.clone(),
            content: content.clone(),
            client_id: client_id.clone(),
            from: call.from,
            to: call.to,
            socket: None,
            outcome,
        });
    }

    fn frame(&mut self, socket: u64, at: Micros, text: &'a str, ours: bool) -> Micros {
        if let Some(story) = self.sockets.get_mut(&socket) {
            let value = serde_json::from_str(text).unwrap_or(Value::Null);
            story.frames.push(Frame { at, text, value, ours });
        }
        at
    }

    /// Posts over sockets are matched to their answers by `req`.
    fn attempts_over_sockets(&mut self) {
        for (number, story) in &mut self.sockets {
            story.frames.sort_by_key(|frame| frame.at);
            let answers: HashMap<&str, &Frame> = story
                .frames
                .iter()
                .filter(|frame| !frame.ours)
                .filter_map(|frame| Some((frame.value["req"].as_str()?, frame)))
                .collect();
            for post in story.frames.iter().filter(|frame| frame.ours && frame.value["type"] == "post") {
                let answer = post.value["req"].as_str().and_then(|req| answers.get(req));
                let outcome = answer.map_or(Outcome::Lost, |answer| match answer.value["type"].as_str() {
                    Some("posted") => serde_json::from_str(answer.text).map_or(Outcome::Lost, Outcome::Acked),
                    _ => Outcome::Refused { status: None, code: text(&answer.value["code"]) },
                });
                self.attempts.push(Attempt {
                    room: text(&post.value["chat_id"]),
                    sender: story.who.to_owned(),
                    content: text(&post.value["content"]),
                    client_id: post.value["client_id"].as_str().map(String::from),
                    from: post.at,
                    to: answer.map_or(self.end, |answer| answer.at),
                    socket: Some(*number),
                    outcome,
                });
            }
        }
    }

    /// Every event in a frame, a page or a list of rooms.
    fn see_all(&mut self) {
        for story in self.sockets.values() {
            for frame in story.frames.iter().filter(|frame| !frame.ours && is_event(&frame.value)) {
                let (room, seq) = (text(&frame.value["chat_id"]), frame.value["seq"].as_u64().unwrap_or(0));
                let (text, by) = (frame.text.to_owned(), story.who.to_owned());
                self.sights.push(Sight { room, seq, text, at: frame.at, by, node: story.node, live: true });
            }
        }
        for call in &self.calls {
            let texts = match (&call.ask, call.answer.done()) {
                (Ask::Page { .. }, Some(body)) => Page::of(body).map(|page| page.events).unwrap_or_default(),
                (Ask::Chats, Some(body)) => last_messages(body),
                _ => continue,
            };
            for raw in texts {
                let event = parse_event(raw.get());
                self.sights.push(Sight {
                    room: event.chat_id,
                    seq: event.seq,
                    text: raw.get().to_owned(),
                    at: call.to,
                    by: call.who.clone(),
                    node: call.node,
                    live: false,
                });
            }
        }
    }

    fn reach_all(&mut self) {
        let acked = self.attempts.iter().filter_map(|attempt| match &attempt.outcome {
            Outcome::Acked(ack) => Some((attempt.room.as_str(), ack.seq, attempt.to)),
            _ => None,
        });
        let seen = self.sights.iter().map(|sight| (sight.room.as_str(), sight.seq, sight.at));
        for (room, seq, at) in acked.chain(seen) {
            let Some(log) = self.rooms.get_mut(room) else { continue };
            log.reached.resize(log.events.len(), Micros::MAX);
            if let Some(reached) = seq.checked_sub(1).and_then(|index| log.reached.get_mut(index as usize)) {
                *reached = at.min(*reached);
            }
        }
        for log in self.rooms.values_mut() {
            log.reached.resize(log.events.len(), Micros::MAX);
            for reached in log.reached.iter_mut().take(log.initial as usize) {
                *reached = 0;
            }
            // Who sees an event knows that those before it are there.
            for at in (1..log.reached.len()).rev() {
                log.reached[at - 1] = log.reached[at - 1].min(log.reached[at]);
            }
        }
    }

    /// Whether nothing was broken for `node` between the two times. With the bus away a node asks the store instead, so
    /// `bus_matters` only where a rule says so.
    pub fn healthy(&self, node: usize, from: Micros, to: Micros, bus_matters: bool) -> bool {
        !self.troubles.iter().any(|(what, whose, began, ended)| {
            let mine = whose.is_none_or(|whose| whose == node);
            let counts = bus_matters || !what.starts_with("bus");
            mine && counts && *began <= to && from <= ended.saturating_add(SETTLE)
        })
    }

    /// The longest that a node took to answer anything it did answer between the two times: how slow the machine was then.
    pub fn slowest(&self, node: usize, from: Micros, to: Micros) -> Micros {
        let answered = self.calls.iter().filter(|call| !matches!(call.answer, Answer::Lost { .. }));
        let then = answered.filter(|call| call.node == node && call.from <= to && from <= call.to);
        then.map(|call| call.to - call.from).max().unwrap_or(0)
    }
}

impl RoomLog {
    pub fn head(&self) -> u64 {
        self.events.len() as u64
    }

    pub fn event(&self, seq: u64) -> Option<&Event> {
        self.events.get(seq.checked_sub(1)? as usize)
    }

    pub fn text(&self, seq: u64) -> Option<&str> {
        self.texts.get(seq.checked_sub(1)? as usize).map(String::as_str)
    }

    pub fn begun(&self, seq: u64) -> Micros {
        seq.checked_sub(1).and_then(|at| self.begun.get(at as usize).copied().flatten()).unwrap_or(0)
    }

    pub fn reached(&self, seq: u64) -> Micros {
        match seq.checked_sub(1) {
            None => 0,
            Some(at) => self.reached.get(at as usize).copied().unwrap_or(Micros::MAX),
        }
    }

    /// The last event that was proved to be there before `time`.
    pub fn proved_before(&self, time: Micros) -> u64 {
        (1..=self.head()).rev().find(|seq| self.reached(*seq) < time).unwrap_or(0)
    }

    /// The last event that can have been there before `time`.
    pub fn possible_before(&self, time: Micros) -> u64 {
        (1..=self.head()).rev().find(|seq| self.begun(*seq) < time).unwrap_or(0)
    }
}

/// A page of a log.
#[derive(Deserialize)]
pub struct Page {
    #[serde(alias = "messages")]
    pub events: Vec<Box<RawValue>>,
    pub head_seq: u64,
    pub next_before: Option<u64>,
    pub next_after: Option<u64>,
}

impl Page {
    pub fn of(body: &str) -> Option<Self> {
        serde_json::from_str(body).ok()
    }
}

fn last_messages(body: &str) -> Vec<Box<RawValue>> {
    #[derive(Deserialize)]
    struct Chat {
        last_message: Option<Box<RawValue>>,
    }
    #[derive(Deserialize)]
    struct Chats {
        chats: Vec<Chat>,
    }
    let chats = serde_json::from_str::<Chats>(body).map(|page| page.chats).unwrap_or_default();
    chats.into_iter().filter_map(|chat| chat.last_message).collect()
}

/// When the first call that can have made each event began.
fn begun(room: &str, log: &RoomLog, attempts: &[Attempt], calls: &[&Call]) -> Vec<Option<Micros>> {
    let mut posts: HashMap<(&str, &str, Option<&str>), Micros> = HashMap::new();
    for attempt in attempts.iter().filter(|attempt| attempt.room == room) {
        let key = (attempt.sender.as_str(), attempt.content.as_str(), attempt.client_id.as_deref());
        let first = posts.entry(key).or_insert(attempt.from);
        *first = attempt.from.min(*first);
    }
    let mut changes: HashMap<(&str, &str, &str), Micros> = HashMap::new();
    for call in calls.iter().filter(|call| call.ask.room() == Some(room)) {
        let Some((change, user)) = change_of(call) else { continue };
        let first = changes.entry((&call.who, change, user)).or_insert(call.from);
        *first = call.from.min(*first);
    }
    let first = |event: &Event| match event.kind.as_str() {
        _ if event.seq <= log.initial => Some(0),
        "message" => posts.get(&(&event.sender, &event.content, event.client_id.as_deref())).copied(),
        "member" => {
            // Who left before is asked first.
            let change = if event.change == "invited" { "added" } else { event.change.as_str() };
            let asked = changes.get(&(event.by.as_str(), change, event.username.as_str()));
            // The last owner hands the room over by leaving it.
            let handed_over = || changes.get(&(event.by.as_str(), "left", event.by.as_str()));
            let handed_over = || handed_over().filter(|_| change == "role" && event.role.as_deref() == Some("owner"));
            asked.or_else(handed_over).copied()
        }
        _ => None,
    };
    log.events.iter().map(first).collect()
}

/// The change of a member's event that a call asks for, and of whom.
pub fn change_of(call: &Call) -> Option<(&'static str, &str)> {
    match &call.ask {
        Ask::Invite { user, .. } => Some(("added", user)),
        Ask::SetRole { user, .. } => Some(("role", user)),
        Ask::Remove { user, .. } if *user == call.who => Some(("left", user)),
        Ask::Remove { user, .. } => Some(("removed", user)),
        _ => None,
    }
}

pub fn is_event(value: &Value) -> bool {
    value["type"].as_str().is_some_and(|kind| EVENTS.contains(&kind))
}

/// What is no event is one without a seq, which no rule lets pass.
pub fn parse_event(text: &str) -> Event {
    serde_json::from_str(text).unwrap_or_default()
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
