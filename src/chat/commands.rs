//! What people do to rooms: open them, speak, mark as read, invite, leave.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::sync::oneshot;

use super::{
    Caller, Chat, ChatError, Result,
    attention::pair_of,
    room::Room,
    work::{Actor, Posted, Reply, Work},
};
use crate::{
    bus::Hint,
    event::{Event, Place, Saying},
    names,
    store::{MemberRecord, NewRoom, RoomCreated, StoreError, UserRecord},
    types::{MessageId, RoomId, RoomKind, RoomRole, Seq, Timestamp, UserId},
};

/// A private room, made now or found.
pub struct Opened {
    pub room_id: RoomId,
    pub existed: bool,
}

pub struct ReadTo {
    pub read_seq: Seq,
    pub unread: u64,
}

impl Caller {
    pub(crate) fn actor(&self) -> Actor {
        Actor { user: self.user_id, username: self.username.clone() }
    }
}

impl Chat {
    pub async fn open_private(self: &Arc<Self>, by: &Caller, username: &str) -> Result<Opened> {
        let other = self.person(username).await?;
        if other.user_id == by.user_id {
            let msg = "A private chat needs somebody else.".to_owned();
            return Err(ChatError::Invalid { field: "username", msg });
        }
        self.takes(other.user_id, &other.username, by.user_id).await?;
        let pair = pair_of(by.user_id, other.user_id);
        let me = (by.user_id, by.username.to_string(), RoomRole::Member);
        let them = (other.user_id, other.username, RoomRole::Member);
        let room = new_room(by, RoomKind::Private, None, vec![me, them], Some(pair));
        let opened = self.create(by, room).await?;
        if opened.existed {
            // Who opens it wants to see it.
            self.store_hidden(opened.room_id, by.user_id, false).await?;
        }
        Ok(opened)
    }

    /// The caller becomes its owner, the others members.
    pub async fn open_group(self: &Arc<Self>, by: &Caller, name: &str, usernames: &[String]) -> Result<RoomId> {
        let name = self.room_name(name)?;
        if usernames.len() > self.config.limits.room_members.saturating_sub(1) {
            self.metrics.bound_hit("limits.room_members");
            let msg = format!("A chat has at most {} members.", self.config.limits.room_members);
            return Err(ChatError::Invalid { field: "usernames", msg });
        }
        let mut seen = BTreeSet::from([by.user_id]);
        let mut members = vec![(by.user_id, by.username.to_string(), RoomRole::Owner)];
        let mut asked = Vec::new();
        for username in usernames {
            let user = self.person(username).await?;
            if seen.insert(user.user_id) {
                self.takes(user.user_id, &user.username, by.user_id).await?;
                let list = if self.asks(by.user_id, user.user_id).await? { &mut asked } else { &mut members };
                list.push((user.user_id, user.username, RoomRole::Member));
            }
        }
        let mut room = new_room(by, RoomKind::Group, Some(name), members, None);
        invite_to(&mut room, by, &asked);
        Ok(self.create(by, room).await?.room_id)
    }

    /// It counts for whoever makes it, and not for those who are put into it.
    async fn create(self: &Arc<Self>, by: &Caller, room: NewRoom) -> Result<Opened> {
        let room_id = room.room_id;
        self.has_place_for_a_room(by.user_id).await?;
        Ok(match self.make_room(room).await? {
            RoomCreated::Exists(room_id) => Opened { room_id, existed: true },
            RoomCreated::Created => Opened { room_id, existed: false },
        })
    }

    pub(super) async fn has_place_for_a_room(&self, user: UserId) -> Result<()> {
        if self.store.room_count_of(user).await? < self.config.limits.rooms_per_user {
            return Ok(());
        }
        self.metrics.bound_hit("limits.rooms_per_user");
        Err(ChatError::Conflict("You are in as many chats as one may make or join (limits.rooms_per_user)."))
    }

    /// Somebody who has an account and may use it.
    pub(super) async fn person(&self, username: &str) -> Result<UserRecord> {
        let user = self.user_named(username).await?.filter(|user| !user.disabled);
        user.ok_or_else(|| ChatError::NoSuchUser(username.to_owned()))
    }

    /// What a post must be before it is worth queueing.
    pub(crate) fn check_post(&self, content: &str, client_id: Option<&str>) -> Result<()> {
        let limits = &self.config.limits;
        let chars = content.chars().take(limits.message_chars + 1).count();
        let msg = if chars == 0 {
            "A message has at least one character.".to_owned()
        } else if chars > limits.message_chars {
            self.metrics.bound_hit("limits.message_chars");
            format!("A message has at most {} characters; send it in parts.", limits.message_chars)
        } else if content.contains('\0') {
            "A message may not contain the character U+0000.".to_owned()
        } else {
            return self.check_client_id(client_id);
        };
        Err(ChatError::Invalid { field: "content", msg })
    }

    fn check_client_id(&self, client_id: Option<&str>) -> Result<()> {
        let most = self.config.limits.client_id_chars;
        let Some(id) = client_id else { return Ok(()) };
        if id.is_empty() || id.chars().take(most + 1).count() > most || id.contains('\0') {
            let msg = format!("A client_id has 1 to {most} characters, none of them U+0000; a UUID does well.");
            return Err(ChatError::Invalid { field: "client_id", msg });
        }
        Ok(())
    }

    /// What has passed [`Chat::check_post`].
    pub async fn post(
        self: &Arc<Self>,
        room: &Arc<Room>,
        by: &Caller,
        content: String,
        client_id: Option<String>,
    ) -> Result<Posted> {
        let client_id = client_id.map(Arc::from);
        self.ask(room, by, Work::Post { content, client_id }).await
    }

    pub(super) async fn ask(self: &Arc<Self>, room: &Arc<Room>, by: &Caller, work: Work) -> Result<Posted> {
        self.ask_as(room, by.actor(), work).await
    }

    /// Queues work and waits until it is durable or refused.
    pub(super) async fn ask_as(self: &Arc<Self>, room: &Arc<Room>, by: Actor, work: Work) -> Result<Posted> {
        let (tell, told) = oneshot::channel();
        let reply = Reply::new(move |result| {
            if tell.send(result).is_err() {
                tracing::debug!("nobody waits for this answer any more");
            }
        });
        self.submit(room, by, work, reply);
        // The writer keeps to `rooms.post_secs` by itself; this is for a store that does not come back at all.
        let patience = Duration::from_secs(self.config.rooms.post_secs * 2);
        match tokio::time::timeout(patience, told).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Err(StoreError::Unavailable("it did not answer in time".into()).into()),
        }
    }

    /// Never moves back; what lies beyond the head is the head.
    pub async fn mark_read(self: &Arc<Self>, room: &Arc<Room>, user: UserId, seq: Seq) -> Result<ReadTo> {
        self.make_sure(room, user, Some(seq)).await;
        let (head, messages) = room.head_and_messages();
        let before = self.store.member(room.id, user).await?.ok_or(ChatError::NoSuchRoom)?.read;
        let mark = if seq.min(head) <= before.seq {
            before
        } else {
            self.move_mark(room.id, user, seq).await?.ok_or(ChatError::NoSuchRoom)?
        };
        let unread = messages.saturating_sub(mark.ordinal);
        let deleted = if unread > 0 { self.store.deleted_after(room.id, mark.ordinal).await? } else { 0 };
        Ok(ReadTo { read_seq: mark.seq, unread: unread.saturating_sub(deleted) })
    }

    /// In order of joining.
    pub async fn members(&self, room: &Arc<Room>, after: Option<UserId>, limit: usize) -> Result<Vec<MemberRecord>> {
        Ok(self.store.members(room.id, after, limit).await?)
    }

    pub async fn set_role(
        self: &Arc<Self>,
        room: &Arc<Room>,
        by: &Caller,
        username: &str,
        role: RoomRole,
    ) -> Result<()> {
        let (user, username) = self.member_named(username).await?;
        self.ask(room, by, Work::SetRole { user, username, role }).await.map(drop)
    }

    /// Removes somebody, or leaves where `username` is the caller's own.
    pub async fn remove(self: &Arc<Self>, room: &Arc<Room>, by: &Caller, username: &str) -> Result<()> {
        let (user, username) = self.member_named(username).await?;
        if user == by.user_id {
            self.pass_on(room, by).await?;
        }
        self.ask(room, by, Work::Remove { user, username }).await.map(drop)
    }

    /// Disabled people can still be members, and be removed.
    async fn member_named(&self, username: &str) -> Result<(UserId, Arc<str>)> {
        let user = self.user_named(username).await?;
        let user = user.ok_or_else(|| ChatError::NoSuchMember(username.to_owned()))?;
        Ok((user.user_id, user.username.into()))
    }

    pub async fn rename(self: &Arc<Self>, room: &Arc<Room>, by: &Caller, name: &str) -> Result<()> {
        let name = self.room_name(name)?;
        self.ask(room, by, Work::Rename { name }).await.map(drop)
    }

    fn room_name(&self, name: &str) -> Result<String> {
        let most = self.config.limits.room_name_chars;
        let name = name.trim();
        let msg = if name.is_empty() || name.chars().take(most + 1).count() > most {
            format!("A chat's name has 1 to {most} characters.")
        } else if !names::is_showable(name) {
            format!("A chat's name {}.", names::UNSEEN)
        } else {
            return Ok(name.to_owned());
        };
        Err(ChatError::Invalid { field: "name", msg })
    }

    /// Tells the room that somebody types, at most once in `presence.typing_millis`.
    pub(crate) fn typing(&self, room: &Room, user: UserId) {
        if self.may_type(room.id, user) {
            self.bus.publish(Hint::Typing { room: room.id, user });
        }
    }
}

/// Adds invitations to the first events of a room.
fn invite_to(room: &mut NewRoom, by: &Caller, asked: &[(UserId, String, RoomRole)]) {
    for (user, username, role) in asked {
        let (seq, event_id) = (room.events.len() as Seq + 1, MessageId::fresh());
        let (sent_at, by, by_name) = (room.created_at, by.user_id, &*by.username);
        let place = Place { room: room.room_id, seq, ordinal: 0, sent_at, event_id, by, by_name };
        room.events.push(Event::new(place, Saying::Invited { user: *user, username, role: *role }));
    }
}

pub(super) fn new_room(
    by: &Caller,
    kind: RoomKind,
    name: Option<String>,
    members: Vec<(UserId, String, RoomRole)>,
    pair: Option<String>,
) -> NewRoom {
    let (room_id, created_at) = (RoomId::fresh(), Timestamp::now());
    let mut room =
        NewRoom { room_id, kind, epoch: new_epoch(), created_at, pair, events: Vec::with_capacity(members.len() + 1) };
    let mut say = |saying: Saying<'_>| {
        let (seq, event_id) = (room.events.len() as Seq + 1, MessageId::fresh());
        let (sent_at, by, by_name) = (created_at, by.user_id, &*by.username);
        room.events.push(Event::new(Place { room: room_id, seq, ordinal: 0, sent_at, event_id, by, by_name }, saying));
    };
    if let Some(name) = &name {
        say(Saying::Renamed { name });
    }
    for (user, username, role) in &members {
        say(Saying::Joined { user: *user, username, role: *role });
    }
    room
}

/// The name of a log's life: random, short, and never used twice.
pub(crate) fn new_epoch() -> String {
    format!("{:016x}", rand::random::<u64>())
}
