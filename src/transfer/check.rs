//! Reads a whole export file and holds it against everything that is known about one, before anything is written
//! anywhere: checksums, the order of its lines, every room's log, counts, and that everybody named is in it.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
    sync::atomic::Ordering,
};

use super::{
    Counts,
    audit::Audit,
    format::{End, Header, Line, MemberLine, RoomEnd, RoomLine},
    progress::Progress,
    read::FileReader,
};
use crate::{event::Event, names::fold, store::UserRecord, types::UserId};

/// A file that is whole.
pub(super) struct Checked {
    pub header: Header,
    pub end: End,
}

/// Blocks until the file is read. The error is a sentence that names the place.
pub(super) fn check(path: &Path, progress: &Progress) -> Result<Checked, String> {
    let mut file = FileReader::open(path)?;
    progress.begin("checking", "bytes", file.bytes);
    let mut check = Check::default();
    while let Some(line) = file.next()? {
        progress.reach(file.bytes_read.load(Ordering::Relaxed));
        if let Line::End(end) = line {
            check.end(&end).map_err(|what| file.damaged(&what))?;
            return Ok(Checked { header: file.header, end });
        }
        check.line(line).map_err(|what| file.damaged(&what))?;
    }
    Err(file.damaged("it has no end"))
}

#[derive(Default)]
struct Check {
    counts: Counts,
    last_room: Option<RoomLine>,
    /// The room whose lines come now, and its members so far.
    room: Option<(Audit, BTreeMap<UserId, MemberLine>)>,
    last_user: Option<String>,
    users: HashSet<UserId>,
    named: HashSet<UserId>,
}

impl Check {
    fn line(&mut self, line: Line<'static>) -> Result<(), String> {
        match (line, self.room.is_some()) {
            (Line::Room(room), false) if self.last_user.is_none() => self.begin_room(room),
            (Line::Event(event), true) => self.event(&event.event()?),
            (Line::Member(member), true) => self.member(member),
            (Line::RoomEnd(end), true) => self.end_room(&end),
            (Line::User(user), false) => self.user(&user.user()),
            _ => Err("this line is out of place".into()),
        }
    }

    fn begin_room(&mut self, room: RoomLine) -> Result<(), String> {
        if self.last_room.as_ref().is_some_and(|last| last.id >= room.id) {
            return Err("chats must come in the order of their ids".into());
        }
        self.room = Some((Audit::new(&room), BTreeMap::new()));
        self.last_room = Some(room);
        Ok(())
    }

    fn event(&mut self, event: &Event) -> Result<(), String> {
        let Some((audit, members)) = &mut self.room else { return Ok(()) };
        if !members.is_empty() {
            return Err("an event after the members".into());
        }
        let mut wrong = None;
        audit.event(event, &mut |what| wrong = Some(what));
        self.named.insert(event.sender);
        if let Some(user) = event.kind.subject() {
            self.named.insert(user);
        }
        wrong.map_or(Ok(()), Err)
    }

    fn member(&mut self, member: MemberLine) -> Result<(), String> {
        let Some((audit, members)) = &mut self.room else { return Ok(()) };
        if members.last_key_value().is_some_and(|(last, _)| *last >= member.user) {
            return Err("members must come in the order of their ids".into());
        }
        match audit.members.get(&member.user) {
            Some(due) if due.role == member.role => {}
            _ => return Err(format!("the log says otherwise about member {}", member.user)),
        }
        if member.read_seq > audit.head || member.read_ordinal > audit.messages {
            return Err(format!("the read mark of member {} lies beyond the log", member.user));
        }
        members.insert(member.user, member);
        Ok(())
    }

    fn end_room(&mut self, end: &RoomEnd) -> Result<(), String> {
        let Some((audit, members)) = self.room.take() else { return Ok(()) };
        let mut wrong = None;
        audit.end(&mut |what| wrong = Some(what));
        if let Some(what) = wrong {
            return Err(what);
        }
        let count = members.len() as u64;
        if (audit.head, audit.messages, audit.members.len() as u64) != (end.events, end.messages, end.members)
            || count != end.members
        {
            return Err("the counts of the chat do not fit what stands before them".into());
        }
        if self.last_room.as_ref().and_then(|room| room.pair) != audit.pair() {
            return Err("the pair of the chat is not its members".into());
        }
        self.counts.rooms += 1;
        self.counts.events += audit.head;
        self.counts.messages += audit.messages;
        self.counts.members += count;
        Ok(())
    }

    fn user(&mut self, user: &UserRecord) -> Result<(), String> {
        if self.last_user.as_ref().is_some_and(|last| *last >= user.folded) {
            return Err("users must come in the order of their folded names".into());
        }
        if fold(&user.username) != user.folded && !user.is_deleted() {
            return Err(format!("user {:?} is not found as {:?}", user.username, user.folded));
        }
        if !self.users.insert(user.user_id) {
            return Err(format!("two users have the id {}", user.user_id));
        }
        self.named.remove(&user.user_id);
        self.counts.users += 1;
        self.last_user = Some(user.folded.clone());
        Ok(())
    }

    fn end(&self, end: &End) -> Result<(), String> {
        if self.room.is_some() {
            return Err("the last chat has no end".into());
        }
        if let Some(user) = self.named.iter().min() {
            return Err(format!("user {user} is named in a chat and is not among the users"));
        }
        if self.counts != end.counts {
            return Err(format!("it holds {}, and says that it holds {}", self.counts, end.counts));
        }
        Ok(())
    }
}
