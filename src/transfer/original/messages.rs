//! Messages of the original as the logs of rooms: each id once, each with a time, in the order of the times.
//!
//! There may be more messages than memory, so they go through three sorts: by id, to find repeats; by room in the order
//! of their making, to give those without a time that of their neighbour; and by room and time, as they are written.

use futures_util::StreamExt;
use mongodb::bson::{Bson, Document};
use serde::{Deserialize, Serialize};
use time::UtcOffset;
use uuid::Uuid;

use super::{
    Options,
    chats::{Chats, Room},
    people::People,
    report::{Kind, Report},
    source::Source,
    times,
    values::{derived, id_text, made_at, order_of, place, uuid_of},
};
use crate::{
    event::{Event, Place, Saying},
    transfer::{
        Counts,
        format::{EventLine, Line, MemberLine, RoomEnd, RoomLine},
        progress::Progress,
        sorted::{Sorted, Sorter},
        write::FileWriter,
    },
    types::{MessageId, RoomId, RoomKind, RoomRole, Timestamp, UserId},
};

/// The last millisecond of the year 9999, and the first of the year 1: what a time on the wire can say.
const LATEST: i64 = 253_402_300_799_999;
const EARLIEST: i64 = -62_135_596_800_000;

/// A message on its way through the sorts.
#[derive(Serialize, Deserialize)]
struct Message {
    id: Uuid,
    room: Uuid,
    sender: Uuid,
    /// Sorts messages as they were made.
    order: Vec<u8>,
    place: String,
    /// As it was said, or as the neighbour's.
    sent_at: Option<i64>,
    /// When the record was made, where that is known.
    made_at: Option<i64>,
    content: String,
}

impl Message {
    fn push(&self, sorter: &mut Sorter, key: Vec<u8>) -> Result<(), String> {
        sorter.push(key, postcard::to_allocvec(self).expect("a message is plain values"))
    }

    fn read(record: &[u8]) -> Result<Self, String> {
        postcard::from_bytes(record).map_err(|error| format!("a temporary file is damaged: {error}"))
    }
}

/// Every message in the order in which it is written.
pub(super) async fn read(
    source: &Source,
    people: &mut People,
    chats: &mut Chats,
    options: &Options,
    report: &mut Report,
    progress: &Progress,
) -> Result<Sorted, String> {
    progress.begin("reading", "messages", source.count("messages").await);
    let mut by_id = Sorter::default();
    let mut found = source.records("messages").await?;
    while let Some(record) = found.next().await {
        let record = record?;
        let place = place("messages", &record);
        let order = order_of(&record);
        let said = id_text(record.get("message_id"));
        let id = match &said {
            Some(said) => uuid_of(said).unwrap_or_else(|| derived("message", said.as_bytes())),
            None => derived("message without an id", &order),
        };
        report.replaced_ids += u64::from(said.is_none_or(|said| uuid_of(&said).is_none()));
        let sender = people.whoever(record.get("sender"), &place, report)?;
        let room = chats.of_message(record.get("chat_id"), sender, &place, report)?;
        chats.wrote(room, sender, &place, report)?;
        let message = Message {
            id,
            room: room.0,
            sender: sender.0,
            sent_at: sent_at(&record, options.timezone, report),
            made_at: made_at(&record),
            content: content(record.get("content"), &place, options, report)?,
            place,
            order,
        };
        message.push(&mut by_id, [id.as_bytes().as_slice(), &message.order].concat())?;
        progress.add(1);
    }
    chats.close();
    progress.begin("sorting", "messages", 0);
    let by_making = once_each(by_id, report, progress).await?;
    by_time(by_making, report, progress).await
}

/// Gives the later of two messages with one id another.
async fn once_each(by_id: Sorter, report: &mut Report, progress: &Progress) -> Result<Sorter, String> {
    let (mut sorted, mut by_making) = (by_id.sorted()?, Sorter::default());
    let mut last = None;
    while let Some((_, record)) = sorted.next().await? {
        let mut message = Message::read(&record)?;
        if last == Some(message.id) {
            let again = derived("message again", &[message.id.as_bytes(), message.order.as_slice()].concat());
            let what = format!("another message has the message_id {}; this one has {again} now", message.id);
            report.tell(Kind::DuplicateMessageId, &message.place, &what)?;
            message.id = again;
        } else {
            last = Some(message.id);
        }
        let key = [message.room.as_bytes().as_slice(), &message.order].concat();
        message.push(&mut by_making, key)?;
        progress.add(1);
    }
    Ok(by_making)
}

/// Gives a message without a time that of the one made before it in the same room, or of its own making.
async fn by_time(by_making: Sorter, report: &mut Report, progress: &Progress) -> Result<Sorted, String> {
    let (mut sorted, mut by_time) = (by_making.sorted()?, Sorter::default());
    let mut before: Option<(Uuid, i64)> = None;
    while let Some((_, record)) = sorted.next().await? {
        let mut message = Message::read(&record)?;
        let neighbour = before.filter(|(room, _)| *room == message.room).map(|(_, sent_at)| sent_at);
        let sent_at = match message.sent_at {
            Some(sent_at) => sent_at,
            None => {
                let sent_at = neighbour.or(message.made_at).unwrap_or(0);
                let what = format!("it has no time that can be read; it has {} now", Timestamp(sent_at));
                report.tell(Kind::NoTime, &message.place, &what)?;
                sent_at
            }
        };
        message.sent_at = Some(sent_at);
        before = Some((message.room, sent_at));
        let time = (sent_at as u64 ^ (1 << 63)).to_be_bytes();
        let key = [message.room.as_bytes().as_slice(), &time, &message.order].concat();
        message.push(&mut by_time, key)?;
        progress.add(1);
    }
    by_time.sorted()
}

fn sent_at(record: &Document, zone: UtcOffset, report: &mut Report) -> Option<i64> {
    let millis = match record.get("sent_at") {
        Some(Bson::DateTime(at)) => at.timestamp_millis(),
        Some(Bson::String(text)) => {
            let read = times::read(text, zone)?;
            report.naive_times += u64::from(read.naive);
            read.millis
        }
        _ => return None,
    };
    (EARLIEST..=LATEST).contains(&millis).then_some(millis)
}

/// What is shown of a message: always a text, never empty, without NUL.
fn content(value: Option<&Bson>, place: &str, options: &Options, report: &mut Report) -> Result<String, String> {
    let text = match value {
        Some(Bson::String(text)) => text.clone(),
        None | Some(Bson::Null) => String::new(),
        Some(other) => {
            report.tell(Kind::NoText, place, "its content is no text; it is shown as JSON")?;
            other.clone().into_relaxed_extjson().to_string()
        }
    };
    if text.is_empty() {
        report.tell(Kind::Empty, place, "it says nothing; it is shown as (empty)")?;
        return Ok("(empty)".into());
    }
    let chars = text.chars().count();
    if chars > options.message_chars {
        let parts = chars.div_ceil(options.message_chars);
        let what = format!("it has {chars} characters; it is {parts} messages now (limits.message_chars)");
        report.tell(Kind::TooLong, place, &what)?;
    }
    if text.contains('\0') {
        report.tell(Kind::Nul, place, "it contains U+0000, which is shown as U+FFFD")?;
        return Ok(text.replace('\0', "\u{fffd}"));
    }
    Ok(text)
}

/// Writes every room with its log.
pub(super) async fn write(
    writer: &mut FileWriter,
    mut logs: Sorted,
    chats: &Chats,
    people: &People,
    options: &Options,
    report: &mut Report,
    progress: &Progress,
) -> Result<Counts, String> {
    progress.begin("writing", "messages", chats.rooms().map(|(_, room)| room.messages).sum());
    let mut counts = Counts::default();
    for (id, room) in chats.rooms() {
        if room.members.is_empty() {
            report.tell(
                Kind::NothingInIt,
                &room.place,
                "nobody is in it and nothing was said in it; it is left out",
            )?;
            continue;
        }
        let first = logs.peek().filter(|(key, _)| key.starts_with(id.0.as_bytes())).map(|(_, record)| record);
        let first = first.map(|record| Message::read(record)).transpose()?.and_then(|message| message.sent_at);
        let created_at = Timestamp([room.made_at, first].into_iter().flatten().min().unwrap_or(0));
        let mut log = Log { id, people, created_at, seq: 0, ordinal: 0 };
        let pair = <[UserId; 2]>::try_from(room.members.clone()).ok().filter(|_| room.kind == RoomKind::Private);
        let pair = pair.map(|mut pair| {
            pair.sort();
            pair
        });
        writer.line(&Line::Room(RoomLine { id, kind: room.kind, pair, created_at: created_at.0 })).await?;
        let name = (room.kind == RoomKind::Group).then(|| group_name(room, people, options));
        for event in log.opening(room, name.as_deref()) {
            writer.line(&Line::Event(EventLine::of(&event))).await?;
        }
        while logs.peek().is_some_and(|(key, _)| key.starts_with(id.0.as_bytes())) {
            let Some((_, record)) = logs.next().await? else { break };
            for event in log.message(&Message::read(&record)?, options.message_chars) {
                writer.line(&Line::Event(EventLine::of(&event))).await?;
            }
            progress.add(1);
        }
        let mut members = room.members.clone();
        members.sort();
        for user in members {
            let role = role(room, user);
            // What was there before the move counts as read.
            let line = MemberLine { user, role, read_seq: log.seq, read_ordinal: log.ordinal };
            writer.line(&Line::Member(line)).await?;
        }
        let members = room.members.len() as u64;
        let end = RoomEnd { events: log.seq, messages: log.ordinal, members, name, epoch: String::new() };
        writer.line(&Line::RoomEnd(end)).await?;
        counts.rooms += 1;
        counts.members += members;
        counts.events += log.seq;
        counts.messages += log.ordinal;
    }
    // Rooms and logs are in one order, so a message of no room would hold up all that come after it.
    match logs.peek() {
        None => Ok(counts),
        Some((_, record)) => {
            let Message { place, room, .. } = Message::read(record)?;
            Err(format!("{place} has no place in chat {room}, and nothing was imported; this is natter's mistake"))
        }
    }
}

fn role(room: &Room, user: UserId) -> RoomRole {
    match (room.kind, room.members.first()) {
        (RoomKind::Group, Some(first)) if *first == user => RoomRole::Owner,
        _ => RoomRole::Member,
    }
}

fn group_name(room: &Room, people: &People, options: &Options) -> String {
    let names = || room.members.iter().map(|user| people.name(*user)).collect::<Vec<_>>().join(", ");
    let name = if room.called.is_empty() { names() } else { room.called.clone() };
    let name: String = name.chars().filter(|c| !c.is_control()).take(options.room_name_chars).collect();
    name.trim().to_owned()
}

/// A log on its way into the file.
struct Log<'a> {
    id: RoomId,
    people: &'a People,
    created_at: Timestamp,
    seq: u64,
    ordinal: u64,
}

impl Log<'_> {
    /// As a room of natter's own begins: its name, then everybody in it.
    fn opening(&mut self, room: &Room, name: Option<&str>) -> Vec<Event> {
        let Some(first) = room.members.first().copied() else { return Vec::new() };
        let sent_at = self.created_at;
        let mut events = Vec::with_capacity(room.members.len() + 1);
        if let Some(name) = name {
            events.push(self.next(first, sent_at, None, Saying::Renamed { name }));
        }
        for user in &room.members {
            let (username, role) = (self.people.name(*user), role(room, *user));
            events.push(self.next(first, sent_at, None, Saying::Joined { user: *user, username, role }));
        }
        events
    }

    /// One event, or several where it is longer than a message may be.
    fn message(&mut self, message: &Message, message_chars: usize) -> Vec<Event> {
        let sender = UserId(message.sender);
        let sent_at = Timestamp(message.sent_at.unwrap_or(0));
        let chars: Vec<char> = message.content.chars().collect();
        let part = |(number, part): (usize, &[char])| {
            let message_id = match number {
                0 => message.id,
                _ => derived("part of a message", &[message.id.as_bytes().as_slice(), &number.to_be_bytes()].concat()),
            };
            let content: String = part.iter().collect();
            let saying = Saying::Message { content: &content, client_id: None };
            self.next(sender, sent_at, Some(message_id), saying)
        };
        chars.chunks(message_chars.max(1)).enumerate().map(part).collect()
    }

    fn next(&mut self, by: UserId, sent_at: Timestamp, id: Option<Uuid>, saying: Saying<'_>) -> Event {
        self.seq += 1;
        self.ordinal += u64::from(matches!(saying, Saying::Message { .. }));
        let made = || derived("event", &[self.id.0.as_bytes().as_slice(), &self.seq.to_be_bytes()].concat());
        let event_id = MessageId(id.unwrap_or_else(made));
        let (room, seq, ordinal, by_name) = (self.id, self.seq, self.ordinal, self.people.name(by));
        Event::new(Place { room, seq, ordinal, sent_at, event_id, by, by_name }, saying)
    }
}
