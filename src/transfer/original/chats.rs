//! Chats of the original as rooms: one for each pair of people, a group for what is no pair.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use mongodb::bson::{Bson, Document};

use super::{
    people::People,
    report::{Kind, Report},
    source::Source,
    values::{derived, id_text, made_at, place, reference, uuid_of},
};
use crate::{
    transfer::progress::Progress,
    types::{RoomId, RoomKind, UserId},
};

pub(super) struct Room {
    pub kind: RoomKind,
    /// In order of joining; the first of a group owns it.
    pub members: Vec<UserId>,
    /// Whoever wrote in it becomes a member: nobody knows who was.
    pub open: bool,
    /// What a group is called, but for the names of its members.
    pub called: String,
    /// When it was made, where that is known.
    pub made_at: Option<i64>,
    /// For the report.
    pub place: String,
    pub messages: u64,
}

pub(super) struct Chats {
    rooms: BTreeMap<RoomId, Room>,
    /// As messages name them.
    by_id: HashMap<String, RoomId>,
    by_pair: HashMap<[UserId; 2], RoomId>,
    /// Ids in `by_id` of chats that there are no records of.
    lost: HashSet<RoomId>,
    /// For messages that name no chat, a room for each sender: nothing says that two senders ever shared one.
    unnamed: HashMap<UserId, RoomId>,
}

impl Chats {
    pub(super) async fn read(
        source: &Source,
        people: &mut People,
        report: &mut Report,
        progress: &Progress,
    ) -> Result<Self, String> {
        let records = source.in_order("chats", progress).await?;
        let mut chats = Self {
            rooms: BTreeMap::new(),
            by_id: HashMap::new(),
            by_pair: HashMap::new(),
            lost: HashSet::new(),
            unnamed: HashMap::new(),
        };
        for (order, record) in records {
            chats.add(&order, &record, people, report)?;
        }
        Ok(chats)
    }

    fn add(&mut self, order: &[u8], record: &Document, people: &mut People, report: &mut Report) -> Result<(), String> {
        let said = id_text(record.get("chat_id"));
        let place = place_of(record, said.as_deref());
        let members = members(record, &place, people, report)?;
        let pair = <[UserId; 2]>::try_from(members.clone()).ok().map(|mut pair| {
            pair.sort();
            pair
        });
        let merged = pair.and_then(|pair| self.by_pair.get(&pair).copied());
        let room_id = merged.unwrap_or_else(|| self.free_id(said.as_deref(), order, report));
        if let Some(room) = merged {
            let what =
                format!("the same two people have chat {room}; this one is part of it now, in the order of the times");
            report.tell(Kind::DuplicateChat, &place, &what)?;
        }
        for text in [said.clone(), id_text(record.get("_id"))].into_iter().flatten() {
            let first = *self.by_id.entry(reference(&text)).or_insert(room_id);
            if said.is_some() && first != room_id {
                let what = format!(
                    "another chat has this chat_id; messages with it are in {first}, and this one is {room_id} now"
                );
                report.tell(Kind::DuplicateChatId, &place, &what)?;
            }
        }
        if merged.is_some() {
            return Ok(());
        }
        let kind = if pair.is_some() { RoomKind::Private } else { RoomKind::Group };
        let called = match members.len() {
            0 => format!("recovered chat {}", said.as_deref().unwrap_or_default()),
            _ => String::new(),
        };
        let strange = match members.len() {
            0 => Some((Kind::NoPeople, "it names nobody; it is a group of those who wrote in it")),
            1 => Some((Kind::OnePerson, "it has one person; it is a group of one")),
            2 => None,
            _ => Some((Kind::ManyPeople, "it has more than two people; it is a group")),
        };
        if let Some((kind, what)) = strange {
            report.tell(kind, &place, what)?;
        }
        if let Some(pair) = pair {
            self.by_pair.insert(pair, room_id);
        }
        let open = members.is_empty();
        let room = Room { kind, members, open, called, made_at: made_at(record), place, messages: 0 };
        self.rooms.insert(room_id, room);
        Ok(())
    }

    /// The chat's own id where it is a UUID that no other has.
    fn free_id(&self, said: Option<&str>, order: &[u8], report: &mut Report) -> RoomId {
        match said.map(uuid_of) {
            Some(Some(id)) if !self.rooms.contains_key(&RoomId(id)) => return RoomId(id),
            Some(None) => report.replaced_ids += 1,
            _ => {}
        }
        RoomId(derived("chat", order))
    }

    /// The room of a message; one of its own for a chat that there is no record of.
    pub(super) fn of_message(
        &mut self,
        value: Option<&Bson>,
        sender: UserId,
        place: &str,
        report: &mut Report,
    ) -> Result<RoomId, String> {
        let text = reference(&id_text(value).unwrap_or_default());
        if text.is_empty() && !self.by_id.contains_key("") {
            return self.without_id(sender, place, report);
        }
        let known = self.by_id.get(&text).copied();
        let room = known.unwrap_or_else(|| match uuid_of(&text) {
            Some(id) if !self.rooms.contains_key(&RoomId(id)) => RoomId(id),
            _ => RoomId(derived("lost chat", text.as_bytes())),
        });
        if known.is_none() {
            self.by_id.insert(text.clone(), room);
            self.lost.insert(room);
            let place = format!("chat {text:?} without a record");
            self.rooms.insert(room, recovered(format!("recovered chat {text}"), place));
        }
        if self.lost.contains(&room) {
            let what = format!("there is no chat {text:?}; the message is in a group of those who wrote to it, {room}");
            report.tell(Kind::UnknownChat, place, &what)?;
        }
        Ok(room)
    }

    /// The room of what somebody wrote to no chat.
    fn without_id(&mut self, sender: UserId, place: &str, report: &mut Report) -> Result<RoomId, String> {
        let room = *self.unnamed.entry(sender).or_insert_with(|| {
            let room = RoomId(derived("without chat_id", sender.0.as_bytes()));
            self.rooms.insert(room, recovered("recovered messages".into(), format!("without chat_id, by {sender}")));
            room
        });
        let what = format!("it names no chat; it is in a group of its sender alone, {room}");
        report.tell(Kind::NoChatId, place, &what)?;
        Ok(room)
    }

    /// Counts a message, and sees whether its sender may be in the room.
    pub(super) fn wrote(
        &mut self,
        room: RoomId,
        sender: UserId,
        place: &str,
        report: &mut Report,
    ) -> Result<(), String> {
        let Some(record) = self.rooms.get_mut(&room) else { return Ok(()) };
        record.messages += 1;
        if record.members.contains(&sender) {
            return Ok(());
        }
        if record.open {
            record.members.push(sender);
            return Ok(());
        }
        let what = format!("its sender is no member of chat {room}; it is kept there, and the sender stays outside");
        report.tell(Kind::NotAMember, place, &what)
    }

    /// Ascending by id.
    pub(super) fn rooms(&self) -> impl Iterator<Item = (RoomId, &Room)> {
        self.rooms.iter().map(|(id, room)| (*id, room))
    }

    /// Those who wrote in an open room become members in the order of their ids, whatever order the messages came in.
    pub(super) fn close(&mut self) {
        for room in self.rooms.values_mut().filter(|room| room.open) {
            room.members.sort();
        }
    }
}

/// A chat is known to people by the `chat_id` in its address, and to the database by another id.
fn place_of(record: &Document, chat_id: Option<&str>) -> String {
    let place = place("chats", record);
    match chat_id.filter(|chat_id| id_text(record.get("_id")).as_deref() != Some(chat_id)) {
        Some(chat_id) => format!("{place} (chat_id {chat_id})"),
        None => place,
    }
}

/// A group of those who wrote in it.
fn recovered(called: String, place: String) -> Room {
    let (kind, members) = (RoomKind::Group, Vec::new());
    Room { kind, members, open: true, called, made_at: None, place, messages: 0 }
}

/// Each person once, in the chat's order.
fn members(record: &Document, place: &str, people: &mut People, report: &mut Report) -> Result<Vec<UserId>, String> {
    let said: &[Bson] = match record.get("users") {
        Some(Bson::Array(users)) => users,
        _ => &[],
    };
    let (mut members, mut seen) = (Vec::with_capacity(said.len()), BTreeSet::new());
    for user in said {
        let named = match user {
            Bson::Document(user) => user.get("username").or_else(|| user.get("user_id")),
            user => Some(user),
        };
        let user = people.whoever(named, place, report)?;
        if seen.insert(user) {
            members.push(user);
        } else {
            report.tell(Kind::SamePerson, place, "it names the same person twice; once is kept")?;
        }
    }
    Ok(members)
}
