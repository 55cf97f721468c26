//! An export file that could have come from a natter with many rooms: what `natter import` takes, as
//! `docs/export-format.md` says it. Users, rooms and who is in which follow from numbers alone, so that whoever knows the
//! shape finds them again.

use std::path::Path;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::ThreadRng;
use serde::{Deserialize, Serialize};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use uuid::Uuid;

use crate::export_file::ExportFile;
use crate::people::PASSWORD;
use crate::{Outcome, Result};

/// What is in a database: `rooms` rooms, numbered from 0, with as many events each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    pub rooms: u64,
    /// Events of a room: its name, its members, and messages.
    pub head: u64,
    /// Of a room. Each user is in about 50 rooms.
    pub members: u64,
    /// Length of a message's content.
    pub bytes: u64,
}

const ROOMS_OF_A_USER: u64 = 50;
/// 2023-11-14; a room's events are a minute apart.
const BEGINNING_MILLIS: u64 = 1_700_000_000_000;
const STEP_MILLIS: u64 = 60_000;
const SHOW_EVERY: Duration = Duration::from_secs(5);
/// The cheapest that bcrypt has.
const BCRYPT_COST: u32 = 4;
const MILLIS: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

impl Shape {
    pub fn events(&self) -> u64 {
        self.rooms * self.head
    }

    /// Events before a room's first message.
    pub fn opening(&self) -> u64 {
        1 + self.members
    }

    fn users(&self) -> u64 {
        (self.rooms * self.members).div_ceil(ROOMS_OF_A_USER).max(self.members)
    }

    /// The users that are in a room; the first is its owner.
    pub fn members_of(&self, room: u64) -> impl Iterator<Item = u64> {
        let (users, stride) = (self.users(), self.users() / self.members);
        (0..self.members).map(move |nth| (room + nth * stride) % users)
    }
}

/// Ids of one kind, ascending with the number.
fn numbered(millis: u64, number: u64) -> Uuid {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

pub fn room_id(room: u64) -> Uuid {
    numbered(BEGINNING_MILLIS, room)
}

fn user_id(user: u64) -> Uuid {
    numbered(BEGINNING_MILLIS - 1, user)
}

pub fn username(user: u64) -> String {
    format!("load-{user:08}")
}

/// Fields stand as natter writes them: the digest of what it reads back is of these bytes.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Line<'a> {
    Room { id: Uuid, kind: &'static str, created_at: u64 },
    Event(Event<'a>),
    Member { user: Uuid, role: &'static str, read_seq: u64, read_ordinal: u64 },
    RoomEnd { events: u64, messages: u64, members: u64, name: &'a str, epoch: &'static str },
    User(User<'a>),
}

#[derive(Serialize)]
struct Event<'a> {
    seq: u64,
    ordinal: u64,
    sender: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<Uuid>,
    id: Uuid,
    sent_at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    effect: Option<Effect<'a>>,
    body: String,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Effect<'a> {
    Renamed { name: &'a str },
    Joined { user: Uuid, role: &'static str },
}

#[derive(Serialize)]
struct User<'a> {
    id: Uuid,
    username: &'a str,
    folded: &'a str,
    display_name: &'a str,
    password_hash: &'a str,
    roles: [&'static str; 1],
    created_at: u64,
    disabled: bool,
    token_epoch: u64,
}

/// An event as clients read it.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Body<'a> {
    Message {
        chat_id: Uuid,
        seq: u64,
        message_id: Uuid,
        sender: &'a str,
        sent_at: &'a str,
        content: &'a str,
        client_id: Uuid,
    },
    Member {
        chat_id: Uuid,
        seq: u64,
        sent_at: &'a str,
        by: &'a str,
        username: &'a str,
        change: &'static str,
        role: &'static str,
    },
    Chat {
        chat_id: Uuid,
        seq: u64,
        sent_at: &'a str,
        by: &'a str,
        name: &'a str,
    },
}

/// Writes all of it, and tells on standard error how far it is.
pub fn write(file: &Path, shape: &Shape) -> Outcome {
    let mut out = Writer { file: ExportFile::create(file, "the load tool")?, buffer: Vec::new() };
    let (mut random, mut shown) = (Random::new(), Instant::now());
    for room in 0..shape.rooms {
        Room::of(shape, room).write(&mut out, shape, &mut random)?;
        if shown.elapsed() >= SHOW_EVERY {
            let done = (room + 1) * shape.head;
            eprintln!("writing: {done} of {} events", shape.events());
            shown = Instant::now();
        }
    }
    let password_hash = &bcrypt::hash(PASSWORD, BCRYPT_COST)?;
    for user in 0..shape.users() {
        let name = &username(user);
        out.line(&Line::User(User {
            id: user_id(user),
            username: name,
            folded: name,
            display_name: name,
            password_hash,
            roles: ["basic_user"],
            created_at: BEGINNING_MILLIS,
            disabled: false,
            token_epoch: 0,
        }))?;
    }
    let Shape { rooms, head, members, .. } = *shape;
    out.file.end(&json!({
        "users": shape.users(), "rooms": rooms, "members": rooms * members, "events": shape.events(),
        "messages": rooms * (head - shape.opening()),
    }))
}

struct Room {
    number: u64,
    id: Uuid,
    name: String,
    members: Vec<(Uuid, String)>,
}

impl Room {
    fn of(shape: &Shape, number: u64) -> Self {
        let members = shape.members_of(number).map(|user| (user_id(user), username(user))).collect();
        Self { number, id: room_id(number), name: format!("room {number}"), members }
    }

    fn write(&self, out: &mut Writer, shape: &Shape, random: &mut Random) -> Outcome {
        out.line(&Line::Room { id: self.id, kind: "group", created_at: BEGINNING_MILLIS })?;
        for seq in 1..=shape.head {
            out.line(&Line::Event(self.event(shape, seq, random)?))?;
        }
        let messages = shape.head - shape.opening();
        let mut roles: Vec<_> = self.members.iter().zip(0..).map(|((user, _), nth)| (*user, role(nth))).collect();
        roles.sort_unstable();
        for (user, role) in roles {
            // Everybody has read everything.
            out.line(&Line::Member { user, role, read_seq: shape.head, read_ordinal: messages })?;
        }
        let (events, members) = (shape.head, shape.members);
        out.line(&Line::RoomEnd { events, messages, members, name: &self.name, epoch: "0" })
    }

    fn event(&self, shape: &Shape, seq: u64, random: &mut Random) -> Result<Event<'_>> {
        let (chat_id, millis) = (self.id, BEGINNING_MILLIS + seq * STEP_MILLIS + self.number);
        let sent_at = &OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000)?.format(MILLIS)?;
        let (id, name, (owner, by)) = (random.id(millis), &self.name, &self.members[0]);
        let (mut sender, mut client_id, mut effect) = (*owner, None, None);
        let body = if seq == 1 {
            effect = Some(Effect::Renamed { name });
            serde_json::to_string(&Body::Chat { chat_id, seq, sent_at, by, name })
        } else if seq <= shape.opening() {
            let (user, username) = &self.members[seq as usize - 2];
            let role = role(seq - 2);
            effect = Some(Effect::Joined { user: *user, role });
            serde_json::to_string(&Body::Member { chat_id, seq, sent_at, by, username, change: "added", role })
        } else {
            let (user, username) = &self.members[(seq % shape.members) as usize];
            let (content, key) = (&random.words(shape.bytes as usize), random.id(millis));
            (sender, client_id) = (*user, Some(key));
            let (message_id, sender, client_id) = (id, username, key);
            serde_json::to_string(&Body::Message { chat_id, seq, message_id, sender, sent_at, content, client_id })
        };
        let ordinal = seq.saturating_sub(shape.opening());
        Ok(Event { seq, ordinal, sender, client_id, id, sent_at: millis, effect, body: body? })
    }
}

fn role(member: u64) -> &'static str {
    if member == 0 { "owner" } else { "member" }
}

/// Fresh ids, and what people say: words of two and three syllables, in no order.
struct Random {
    numbers: ThreadRng,
    vocabulary: Vec<String>,
}

impl Random {
    fn new() -> Self {
        let (starts, ends) =
            (["ka", "lo", "mi", "nu", "re", "so", "ta", "vi"], ["ba", "del", "fir", "gon", "hus", "jat"]);
        let pairs = starts.iter().flat_map(|start| ends.iter().map(move |end| format!("{start}{end}")));
        let pairs: Vec<String> = pairs.collect();
        let longer = pairs.iter().flat_map(|pair| starts.iter().map(move |start| format!("{start}{pair}")));
        Self { numbers: rand::rng(), vocabulary: pairs.iter().cloned().chain(longer).collect() }
    }

    /// So many bytes of them.
    fn words(&mut self, bytes: usize) -> String {
        let mut text = String::with_capacity(bytes + 16);
        while text.len() < bytes {
            text.push_str(&self.vocabulary[self.numbers.random_range(0..self.vocabulary.len())]);
            text.push(' ');
        }
        text.truncate(bytes);
        text
    }

    fn id(&mut self, millis: u64) -> Uuid {
        uuid::Builder::from_unix_timestamp_millis(millis, &self.numbers.random()).into_uuid()
    }
}

struct Writer {
    file: ExportFile,
    buffer: Vec<u8>,
}

impl Writer {
    fn line(&mut self, line: &Line<'_>) -> Outcome {
        self.buffer.clear();
        serde_json::to_writer(&mut self.buffer, line)?;
        let text = str::from_utf8(&self.buffer)?;
        match line {
            Line::Room { .. } | Line::Event(_) | Line::Member { .. } | Line::User(_) => self.file.content(text),
            Line::RoomEnd { .. } => self.file.line(text),
        }
    }
}
