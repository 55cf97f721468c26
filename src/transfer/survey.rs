//! One walk through everything in a store: checked on the way, counted, and written down where somebody wants a file.
//!
//! The store may be serving meanwhile. A room's log only grows, so a room is what its log was up to the head at one
//! moment: members, roles and the name follow from that stretch, and read marks are taken before the head is, so that none
//! lies beyond it. Users come last: whoever a log names is there by then.

use std::collections::{BTreeSet, HashMap, HashSet};

use futures_util::future::try_join_all;

use super::{
    Counts,
    audit::Audit,
    format::{Encoder, EventLine, Line, MemberLine, RoomEnd, RoomLine, UserLine},
    progress::Progress,
    sorted::Sorter,
    write::FileWriter,
};
use crate::{
    event::{Event, Kind, fold::ReadMark},
    names::fold,
    store::{MemberRecord, Page, RoomRecord, Store, StoreError, UserQuery, UserRecord},
    types::{Ordinal, RoomId, RoomKind, Seq, UserId},
};

/// Records asked for at once.
const PAGE: usize = 500;
/// Rooms whose beginnings are read ahead.
const AHEAD: usize = 8;
/// Problems told one by one; the others are counted.
const MOST_PROBLEMS: usize = 1_000;

/// What a store holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    pub counts: Counts,
    /// Equal for equal content, whatever the store.
    pub digest: String,
    /// What is wrong, a line each.
    pub problems: Vec<String>,
    /// How many problems there are, also past those that are told.
    pub found: u64,
}

/// Looks at everything, and tells all that is wrong. The error is about the looking.
pub async fn verify(store: &dyn Store, progress: &Progress) -> Result<Survey, String> {
    progress.begin("verifying", "events", total(store).await?);
    let mut walk = Walk::new(store, progress, Output::Digest(Encoder::default(), Vec::new()));
    walk.all().await?;
    walk.unique().await?;
    walk.index().await?;
    let Output::Digest(encoder, _) = walk.out else { unreachable!("it was given so") };
    Ok(Survey { counts: walk.counts, digest: encoder.digest(), problems: walk.problems, found: walk.found })
}

/// Writes everything down; ends with the first thing that is wrong. Gives what is in the file, and its digest.
pub(super) async fn write(
    store: &dyn Store,
    file: FileWriter,
    progress: &Progress,
) -> Result<(Counts, String), String> {
    progress.begin("exporting", "events", total(store).await?);
    let mut walk = Walk::new(store, progress, Output::File(Box::new(file)));
    walk.all().await?;
    let Output::File(file) = walk.out else { unreachable!("it was given so") };
    Ok((walk.counts, file.finish(walk.counts).await?))
}

/// Events in all rooms.
async fn total(store: &dyn Store) -> Result<u64, String> {
    let (mut total, mut after) = (0, None);
    loop {
        let page = store.rooms(after, PAGE).await.map_err(|error| sentence(&error))?;
        let Some(last) = page.last() else { return Ok(total) };
        after = Some(last.room_id);
        total += page.iter().map(|room| room.head_seq).sum::<u64>();
    }
}

pub(super) fn sentence(error: &StoreError) -> String {
    error.to_string()
}

enum Output {
    File(Box<FileWriter>),
    /// Lines are hashed and forgotten.
    Digest(Encoder, Vec<u8>),
}

/// A room as it stood at one moment, with the first of its events.
struct Opening {
    room: RoomRecord,
    /// The head before the members were read.
    before: Seq,
    members: Vec<MemberRecord>,
    first: Vec<Event>,
}

struct Walk<'a> {
    store: &'a dyn Store,
    progress: &'a Progress,
    out: Output,
    counts: Counts,
    problems: Vec<String>,
    found: u64,
    /// Who is named in logs, and where first; 40 bytes a user.
    named: HashMap<UserId, (RoomId, Seq)>,
    /// Where each event id, each `(room, sender, client_id)` and each pair is; kept by `verify` alone.
    event_ids: Sorter,
    posts: Sorter,
    pairs: Sorter,
}

impl<'a> Walk<'a> {
    fn new(store: &'a dyn Store, progress: &'a Progress, out: Output) -> Self {
        Self {
            store,
            progress,
            out,
            counts: Counts::default(),
            problems: Vec::new(),
            found: 0,
            named: HashMap::new(),
            event_ids: Sorter::default(),
            posts: Sorter::default(),
            pairs: Sorter::default(),
        }
    }

    async fn all(&mut self) -> Result<(), String> {
        let (store, mut after) = (self.store, None);
        loop {
            let page = store.rooms(after, PAGE).await.map_err(|error| sentence(&error))?;
            let Some(last) = page.last() else { break };
            after = Some(last.room_id);
            for rooms in page.chunks(AHEAD) {
                // One that is begun and not polled while others are read would keep its turn at the store from them.
                let openings = try_join_all(rooms.iter().map(|room| open(store, room.clone()))).await?;
                for opening in openings {
                    self.room(opening).await?;
                }
            }
        }
        self.users().await
    }

    async fn line(&mut self, line: Line<'_>) -> Result<(), String> {
        match &mut self.out {
            Output::File(file) => file.line(&line).await,
            Output::Digest(encoder, buffer) => {
                buffer.clear();
                encoder.line(&line, buffer);
                Ok(())
            }
        }
    }

    /// A file is made of what is sound only.
    fn wrong(&mut self, problem: String) -> Result<(), String> {
        if matches!(self.out, Output::File(_)) {
            return Err(format!(
                "nothing is exported, because the data is damaged: {problem}. All of it: natter verify"
            ));
        }
        self.found += 1;
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.push(problem);
        }
        Ok(())
    }

    async fn room(&mut self, opening: Opening) -> Result<(), String> {
        let Opening { room, before, members, first } = opening;
        let line = RoomLine::of(&room, pair_of(&room, &first));
        let (mut audit, mut log) = (Audit::new(&line), Log::new(before, &members));
        self.line(Line::Room(line.clone())).await?;
        let mut page = first;
        loop {
            let full = page.len() == PAGE;
            let inside = page.partition_point(|event| event.seq <= room.head_seq);
            let beyond = inside < page.len();
            for event in &page[..inside] {
                self.event(&room, event, &mut audit, &mut log).await?;
            }
            if beyond || !full {
                log.beyond = beyond;
                break;
            }
            page = events(self.store, room.room_id, audit.head).await?;
        }
        self.progress.add(room.head_seq);
        self.counts.rooms += 1;
        self.counts.events += audit.head;
        self.counts.messages += audit.messages;
        self.counts.members += audit.members.len() as u64;
        if line.pair != audit.pair() {
            log.wrong.push("its members are not the two that it began with".into());
        }
        self.compare(&room, &members, &audit, &mut log).await?;
        for what in log.wrong {
            self.wrong(format!("chat {}: {what}", room.room_id))?;
        }
        if let Some(pair) = line.pair {
            self.pairs.push(pair.map(|user| *user.0.as_bytes()).concat(), room.room_id.0.as_bytes().to_vec())?;
        }
        self.members(&members, &audit).await?;
        let (events, messages, members) = (audit.head, audit.messages, audit.members.len() as u64);
        let end = RoomEnd { events, messages, members, name: audit.name, epoch: room.epoch };
        self.line(Line::RoomEnd(end)).await
    }

    async fn event(
        &mut self,
        room: &RoomRecord,
        event: &Event,
        audit: &mut Audit,
        log: &mut Log,
    ) -> Result<(), String> {
        audit.event(event, &mut |what| log.wrong.push(what));
        log.seen(event);
        let place = (room.room_id, event.seq);
        for user in [Some(event.sender), event.kind.subject()].into_iter().flatten() {
            self.named.entry(user).or_insert(place);
        }
        if matches!(self.out, Output::Digest(..)) {
            let at = [room.room_id.0.as_bytes().as_slice(), &event.seq.to_be_bytes()].concat();
            if let Some(client_id) = &event.client_id {
                let key = [room.room_id.0.as_bytes(), event.sender.0.as_bytes().as_slice(), client_id.as_bytes()];
                self.posts.push(key.concat(), at.clone())?;
            }
            self.event_ids.push(event.event_id.0.as_bytes().to_vec(), at)?;
        }
        // What holds a file up is told at once, not after a long log.
        if matches!(self.out, Output::File(_))
            && let Some(what) = log.wrong.first()
        {
            self.wrong(format!("chat {}: {what}", room.room_id))?;
        }
        self.line(Line::Event(EventLine::of(event))).await
    }

    /// Holds the projections against the log.
    async fn compare(
        &self,
        room: &RoomRecord,
        members: &[MemberRecord],
        audit: &Audit,
        log: &mut Log,
    ) -> Result<(), String> {
        audit.end(&mut |what| log.wrong.push(what));
        let fits = [
            ("head_seq", room.head_seq, audit.head),
            ("messages", room.messages, audit.messages),
            ("active_at", room.active_at.0 as u64, audit.active_at.0 as u64),
        ];
        for (what, kept, due) in fits {
            if kept != due {
                log.wrong.push(format!("its {what} is {kept}, and the log says {due}"));
            }
        }
        // In a store of many machines a name may be newer than the head that was read with it.
        let renamed = |event: &Event| matches!(&event.kind, Kind::Renamed { name } if Some(name) == room.name.as_ref());
        if room.name != audit.name && !events(self.store, room.room_id, room.head_seq).await?.iter().any(renamed) {
            log.wrong.push(format!("its name is {:?}, and the log says {:?}", room.name, audit.name));
        }
        if log.beyond {
            let now = self.store.room(room.room_id).await.map_err(|error| sentence(&error))?;
            if now.is_some_and(|now| now.head_seq == room.head_seq) {
                log.wrong.push(format!("its log goes on after its head at seq {}", room.head_seq));
            }
        }
        log.compare_members(members, audit);
        Ok(())
    }

    /// Everybody whom the log makes a member, and how far they have read.
    async fn members(&mut self, members: &[MemberRecord], audit: &Audit) -> Result<(), String> {
        let kept: HashMap<UserId, ReadMark> = members.iter().map(|member| (member.user_id, member.read)).collect();
        for (user, member) in &audit.members {
            let read = match kept.get(user) {
                Some(kept) if kept.seq > member.read.seq && kept.seq <= audit.head => *kept,
                _ => member.read,
            };
            let line = MemberLine { user: *user, role: member.role, read_seq: read.seq, read_ordinal: read.ordinal };
            self.line(Line::Member(line)).await?;
        }
        Ok(())
    }

    async fn users(&mut self) -> Result<(), String> {
        let (mut after, mut ids) = (None::<String>, HashSet::new());
        loop {
            let query = UserQuery {
                prefix: String::new(),
                after: after.clone(),
                limit: PAGE,
                with_disabled: true,
                with_deleted: true,
                sharing_with: None,
            };
            let page = self.store.users(query).await.map_err(|error| sentence(&error))?;
            let more = page.len() == PAGE;
            for user in page {
                self.user(&user, after.as_deref(), &mut ids)?;
                self.line(Line::User(UserLine::of(&user))).await?;
                after = Some(user.folded);
            }
            if !more {
                break;
            }
        }
        let mut unknown: Vec<_> = std::mem::take(&mut self.named).into_iter().collect();
        unknown.sort_unstable_by_key(|(_, place)| *place);
        for (user, (room, seq)) in unknown {
            self.wrong(format!("chat {room}: seq {seq}: it names user {user}, and there is no such user"))?;
        }
        Ok(())
    }

    fn user(&mut self, user: &UserRecord, before: Option<&str>, ids: &mut HashSet<UserId>) -> Result<(), String> {
        self.counts.users += 1;
        self.named.remove(&user.user_id);
        if !ids.insert(user.user_id) {
            self.wrong(format!("user {:?}: another user has the same id, {}", user.username, user.user_id))?;
        }
        if before.is_some_and(|before| before >= user.folded.as_str()) {
            self.wrong(format!("user {:?}: another user has the same name", user.username))?;
        }
        let folded = fold(&user.username);
        if folded != user.folded && !user.is_deleted() {
            self.wrong(format!(
                "user {:?}: it is found as {:?} and should be as {folded:?}",
                user.username, user.folded
            ))?;
        }
        Ok(())
    }

    /// What searches look things up in.
    async fn index(&mut self) -> Result<(), String> {
        for what in self.store.check_search().await.map_err(|error| sentence(&error))? {
            self.wrong(format!("the index of searches: {what}; natter reindex makes it anew"))?;
        }
        Ok(())
    }

    /// Whatever may be there only once.
    async fn unique(&mut self) -> Result<(), String> {
        let at = |value: &[u8]| {
            let (room, seq) = value.split_at(16);
            let seq = seq.try_into().map_or(0, u64::from_be_bytes);
            (RoomId(uuid::Uuid::from_slice(room).unwrap_or_default()), seq)
        };
        for (sorter, what) in [
            (std::mem::take(&mut self.event_ids), "the message_id"),
            (std::mem::take(&mut self.posts), "the client_id of the same sender"),
        ] {
            let mut sorted = sorter.sorted()?;
            while let Some((key, value)) = sorted.next().await? {
                if sorted.peek().is_some_and(|(next, _)| *next == key) {
                    let (room, seq) = at(&value);
                    let (other, again) = at(&sorted.peek().map_or_else(Vec::new, |(_, value)| value.clone()));
                    self.wrong(format!("chat {other}: seq {again}: it has {what} of chat {room}, seq {seq}"))?;
                }
            }
        }
        let mut pairs = std::mem::take(&mut self.pairs).sorted()?;
        while let Some((pair, room)) = pairs.next().await? {
            if let Some((next, other)) = pairs.peek()
                && *next == pair
            {
                let (room, other) = (at(&room).0, at(other).0);
                self.wrong(format!("chat {other}: the same two people have chat {room}"))?;
            }
        }
        Ok(())
    }
}

/// What is kept of a log while it goes by.
struct Log {
    before: Seq,
    /// The seqs that read marks stand at, with what they say about the ordinal there.
    marks: HashMap<Seq, Vec<(UserId, Ordinal)>>,
    /// Whose membership changed after the list of members was begun.
    moved: BTreeSet<UserId>,
    /// Whether there are events after the head.
    beyond: bool,
    wrong: Vec<String>,
}

impl Log {
    fn new(before: Seq, members: &[MemberRecord]) -> Self {
        let mut marks: HashMap<Seq, Vec<(UserId, Ordinal)>> = HashMap::new();
        for member in members {
            marks.entry(member.read.seq).or_default().push((member.user_id, member.read.ordinal));
        }
        Self { before, marks, moved: BTreeSet::new(), beyond: false, wrong: Vec::new() }
    }

    fn seen(&mut self, event: &Event) {
        for (user, ordinal) in self.marks.remove(&event.seq).unwrap_or_default() {
            if ordinal != event.ordinal {
                let (seq, due) = (event.seq, event.ordinal);
                self.wrong
                    .push(format!("the read mark of user {user} at seq {seq} counts {ordinal}, and should {due}"));
            }
        }
        if event.seq > self.before
            && let Some(user) = event.kind.subject()
        {
            self.moved.insert(user);
        }
    }

    fn compare_members(&mut self, members: &[MemberRecord], audit: &Audit) {
        for (seq, users) in std::mem::take(&mut self.marks) {
            for (user, ordinal) in users {
                if seq != 0 || ordinal != 0 {
                    self.wrong.push(format!("the read mark of user {user} is at seq {seq}, where no event is"));
                }
            }
        }
        let mut left: BTreeSet<UserId> = audit.members.keys().copied().collect();
        for member in members {
            left.remove(&member.user_id);
            if self.moved.contains(&member.user_id) {
                continue;
            }
            let (user, kept) = (member.user_id, member.role.name());
            match audit.members.get(&user) {
                None => self.wrong.push(format!("user {user} is kept as a member, and the log says otherwise")),
                Some(due) if due.role != member.role => {
                    self.wrong.push(format!("user {user} is kept as {kept}, and the log says {}", due.role.name()));
                }
                Some(_) => {}
            }
        }
        for user in left.difference(&self.moved) {
            self.wrong.push(format!("user {user} is a member by the log, and is not kept as one"));
        }
    }
}

/// The two whom a private room begins with.
fn pair_of(room: &RoomRecord, first: &[Event]) -> Option<[UserId; 2]> {
    let joined = first.iter().filter_map(|event| event.kind.moved()).filter(|(_, added)| *added).map(|(user, _)| user);
    let mut two: Vec<UserId> = joined.take(2).collect();
    two.sort();
    two.try_into().ok().filter(|_| room.kind == RoomKind::Private)
}

async fn open(store: &dyn Store, listed: RoomRecord) -> Result<Opening, String> {
    let (id, before) = (listed.room_id, listed.head_seq);
    let mut members: Vec<MemberRecord> = Vec::new();
    loop {
        let after = members.last().map(|member| member.user_id);
        let page = store.members(id, after, PAGE).await.map_err(|error| sentence(&error))?;
        let more = page.len() == PAGE;
        members.extend(page);
        if !more {
            break;
        }
    }
    let room = store.room(id).await.map_err(|error| sentence(&error))?;
    let room = room.ok_or_else(|| format!("chat {id} was listed and is gone"))?;
    let first = events(store, id, 0).await?;
    Ok(Opening { room, before, members, first })
}

async fn events(store: &dyn Store, room: RoomId, after: Seq) -> Result<Vec<Event>, String> {
    let page = Page { after: Some(after), before: None, limit: PAGE, messages_only: false };
    store.events(room, page).await.map_err(|error| format!("chat {room}, after seq {after}: {}", sentence(&error)))
}
