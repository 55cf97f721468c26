//! The one fold: what a stretch of a log changes, all its events taken together. It knows no database and no room.
//!
//! Rooms in memory, both stores and the audit of a log apply the same [`Stretch`] to what they keep. Each takes it apart field
//! by field, so that the compiler leads there when events say something new.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{Event, Kind, Target};
use crate::types::{Ordinal, RoomRole, Seq, Timestamp, UserId};

/// How far a member has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReadMark {
    pub seq: Seq,
    /// The ordinal of the event at `seq`; unread = the room's `messages` - this.
    pub ordinal: Ordinal,
}

/// What a stretch of a log says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    pub head: Head,
    /// The own marks of those who wrote.
    pub marks: HashMap<UserId, ReadMark>,
    pub members: BTreeMap<UserId, Standing>,
    /// The last name given, and where.
    pub name: Option<(Seq, String)>,
    /// The messages that it changes, by where they stand.
    pub changed: BTreeMap<Seq, Changed>,
}

/// The end of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub seq: Seq,
    pub messages: Ordinal,
    pub sent_at: Timestamp,
    /// When something last happened that moves a room up in a list of rooms: messages do, members, and names. `None`: nothing.
    pub active_at: Option<Timestamp>,
    /// `None`: the stretch has no message.
    pub last_message: Option<Seq>,
}

/// What a stretch says of a message that it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    pub of: Target,
    /// The last event of the stretch about it.
    pub at: Seq,
    /// Its edits in the stretch, in order.
    pub edits: Vec<Seq>,
    pub deleted: bool,
    /// What it said before this event is erased.
    pub erased_before: Option<Seq>,
}

/// What a stretch says of one user's membership.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// The last event of the stretch about this user.
    pub at: Seq,
    /// Where they joined last; everything is known of them then.
    pub joined: Option<Joining>,
    /// Set after that.
    pub role: Option<RoomRole>,
    /// Left after that.
    pub gone: bool,
    /// What they want to be asked, where the stretch says anything of it.
    pub consent: Option<Consent>,
}

/// Whether somebody who is not there is to be asked before they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// They have been asked, and have not answered.
    Invited { role: RoomRole, by: UserId, at: Timestamp },
    /// They left or declined: they come back only by accepting.
    Left,
    /// They are there, or were removed by somebody else.
    Free,
}

/// Coming into a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joining {
    pub username: Arc<str>,
    pub role: RoomRole,
    /// What they have read by coming.
    pub mark: ReadMark,
    /// They came by their own doing.
    pub own: bool,
}

impl Standing {
    /// The role that somebody who joined has at the end.
    pub fn role_or(&self, joining: &Joining) -> RoomRole {
        self.role.unwrap_or(joining.role)
    }
}

impl Stretch {
    /// Of a log without events.
    pub fn of_nothing(created_at: Timestamp) -> Self {
        let head = Head { seq: 0, messages: 0, sent_at: created_at, active_at: Some(created_at), last_message: None };
        Self { head, marks: HashMap::new(), members: BTreeMap::new(), name: None, changed: BTreeMap::new() }
    }

    /// Of a log whose beginning is not looked at.
    fn of_a_part() -> Self {
        let mut all = Self::of_nothing(Timestamp(0));
        all.head.active_at = None;
        all
    }

    /// `None` where there are no events.
    pub fn of<'a>(events: impl IntoIterator<Item = &'a Event>) -> Option<Self> {
        let mut all = Self::of_a_part();
        events.into_iter().for_each(|event| all.add(event));
        (all.head.seq > 0).then_some(all)
    }

    /// As [`Stretch::of`], for who keeps no marks.
    pub fn without_marks<'a>(events: impl IntoIterator<Item = &'a Event>) -> Option<Self> {
        let mut all = Self::of_a_part();
        events.into_iter().for_each(|event| all.add_but_marks(event));
        (all.head.seq > 0).then_some(all)
    }

    /// One event more, which follows on those before.
    pub fn add(&mut self, event: &Event) {
        self.add_but_marks(event);
        if event.is_message() {
            self.marks.insert(event.sender, ReadMark { seq: event.seq, ordinal: event.ordinal });
        }
    }

    fn add_but_marks(&mut self, event: &Event) {
        let last_message = if event.is_message() { Some(event.seq) } else { self.head.last_message };
        let active_at = if event.kind.target().is_none() { Some(event.sent_at) } else { self.head.active_at };
        let (seq, messages, sent_at) = (event.seq, event.ordinal, event.sent_at);
        self.head = Head { seq, messages, sent_at, active_at, last_message };
        match &event.kind {
            Kind::Message => {}
            Kind::Joined { user, role, username } => {
                let mark = ReadMark { seq: event.seq, ordinal: event.ordinal };
                let joined =
                    Some(Joining { username: username.clone(), role: *role, mark, own: event.sender == *user });
                self.members.insert(
                    *user,
                    Standing { at: event.seq, joined, consent: Some(Consent::Free), ..Default::default() },
                );
            }
            Kind::Gone { user } => {
                let standing = self.members.entry(*user).or_default();
                (standing.at, standing.gone) = (event.seq, true);
                standing.consent = Some(if event.sender == *user { Consent::Left } else { Consent::Free });
            }
            Kind::RoleSet { user, role } => {
                let standing = self.members.entry(*user).or_default();
                (standing.at, standing.role) = (event.seq, Some(*role));
            }
            Kind::Renamed { name } => self.name = Some((event.seq, name.clone())),
            Kind::Invited { user, role } => {
                let standing = self.members.entry(*user).or_default();
                standing.at = event.seq;
                standing.consent = Some(Consent::Invited { role: *role, by: event.sender, at: event.sent_at });
            }
            Kind::Edited { of, erases: _ } => self.change(*of, event.seq).edits.push(event.seq),
            Kind::Deleted { of } => self.change(*of, event.seq).deleted = true,
        }
        if let Some(of) = event.kind.erases() {
            self.change(*of, event.seq).erased_before = Some(event.seq);
        }
    }

    fn change(&mut self, of: Target, at: Seq) -> &mut Changed {
        let new = || Changed { of, at, edits: Vec::new(), deleted: false, erased_before: None };
        let changed = self.changed.entry(of.seq).or_insert_with(new);
        changed.at = at;
        changed
    }

    /// Nothing but the head and marks change.
    pub fn is_plain(&self) -> bool {
        self.members.is_empty() && self.name.is_none() && self.changed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{protocol::Frame, types::MessageId};

    fn log(sender: UserId, kinds: Vec<Kind>) -> Vec<Event> {
        let mut ordinal = 10;
        let event = |(seq, kind)| {
            ordinal += Ordinal::from(kind == Kind::Message);
            let (event_id, sent_at) = (MessageId::fresh(), Timestamp(seq as i64));
            Event { seq, ordinal, sender, client_id: None, event_id, sent_at, kind, frame: Frame::of(b"{}") }
        };
        (20..).zip(kinds).map(event).collect()
    }

    #[test]
    fn messages_move_the_head_and_their_senders_mark() {
        let ann = UserId::fresh();
        let all = Stretch::of(&log(ann, vec![Kind::Message; 3])).expect("events");
        let (sent_at, active_at) = (Timestamp(22), Some(Timestamp(22)));
        assert_eq!(all.head, Head { seq: 22, messages: 13, sent_at, active_at, last_message: Some(22) });
        assert_eq!(all.marks, HashMap::from([(ann, ReadMark { seq: 22, ordinal: 13 })]));
        assert!(all.is_plain());
        assert_eq!(Stretch::of(&[]), None);
    }

    #[test]
    fn of_what_happens_to_a_member_the_end_counts() {
        let (ann, bob, cid) = (UserId::fresh(), UserId::fresh(), UserId::fresh());
        let (reader, owner) = (RoomRole::Reader, RoomRole::Owner);
        let kinds = vec![
            Kind::RoleSet { user: bob, role: owner },
            Kind::Gone { user: bob },
            Kind::Joined { user: bob, role: reader, username: "bob".into() },
            Kind::RoleSet { user: cid, role: owner },
            Kind::Message,
            Kind::Gone { user: cid },
            Kind::Renamed { name: "tea".into() },
            Kind::Renamed { name: "cocoa".into() },
        ];
        let all = Stretch::of(&log(ann, kinds)).expect("events");
        let joining =
            Joining { username: "bob".into(), role: reader, mark: ReadMark { seq: 22, ordinal: 10 }, own: false };
        assert_eq!(
            all.members[&bob],
            Standing { at: 22, joined: Some(joining), role: None, gone: false, consent: Some(Consent::Free) }
        );
        assert_eq!(
            all.members[&cid],
            Standing { at: 25, joined: None, role: Some(owner), gone: true, consent: Some(Consent::Free) }
        );
        assert_eq!(all.name, Some((27, "cocoa".into())));
        assert_eq!(all.head.last_message, Some(24));
        assert!(!all.is_plain());
    }

    #[test]
    fn what_changes_a_message_moves_neither_the_room_nor_a_mark() {
        let ann = UserId::fresh();
        let of = Target { message: MessageId::fresh(), seq: 20, ordinal: 11 };
        let kinds = vec![
            Kind::Message,
            Kind::Edited { of, erases: false },
            Kind::Edited { of, erases: true },
            Kind::Deleted { of },
        ];
        let all = Stretch::of(&log(ann, kinds.clone())).expect("events");
        let (sent_at, active_at) = (Timestamp(23), Some(Timestamp(20)));
        assert_eq!(all.head, Head { seq: 23, messages: 11, sent_at, active_at, last_message: Some(20) });
        assert_eq!(all.marks, HashMap::from([(ann, ReadMark { seq: 20, ordinal: 11 })]));
        assert_eq!(
            all.changed[&20],
            Changed { of, at: 23, edits: vec![21, 22], deleted: true, erased_before: Some(23) }
        );
        assert!(!all.is_plain());
        let all = Stretch::of(&log(ann, kinds[1..3].to_vec())).expect("events");
        assert_eq!((all.head.active_at, all.changed[&20].erased_before), (None, Some(21)));
    }

    #[test]
    fn a_role_that_follows_on_coming_is_the_one_that_holds() {
        let (ann, bob) = (UserId::fresh(), UserId::fresh());
        let kinds = vec![
            Kind::Joined { user: bob, role: RoomRole::Member, username: "bob".into() },
            Kind::RoleSet { user: bob, role: RoomRole::Reader },
        ];
        let all = Stretch::of(&log(ann, kinds)).expect("events");
        let standing = &all.members[&bob];
        assert_eq!(standing.role_or(standing.joined.as_ref().expect("joined")), RoomRole::Reader);
    }
}
