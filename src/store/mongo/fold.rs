//! What a stretch of a log changes in the projections, all its events taken together. It knows no database.

use std::collections::{BTreeMap, HashMap};

use crate::{
    store::{Effect, NewEvent, ReadMark, StoredEvent},
    types::{Ordinal, RoomId, RoomRole, Seq, Timestamp, UserId},
};

/// An event as far as projections are concerned.
pub(super) struct Step<'a> {
    pub seq: Seq,
    pub ordinal: Ordinal,
    pub sender: UserId,
    pub sent_at: Timestamp,
    pub effect: &'a Effect,
}

impl<'a> From<&'a NewEvent> for Step<'a> {
    fn from(event: &'a NewEvent) -> Self {
        let NewEvent { seq, ordinal, sender, sent_at, ref effect, .. } = *event;
        Self { seq, ordinal, sender, sent_at, effect }
    }
}

impl<'a> From<&'a StoredEvent> for Step<'a> {
    fn from(event: &'a StoredEvent) -> Self {
        let StoredEvent { seq, ordinal, sender, sent_at, ref effect, .. } = *event;
        Self { seq, ordinal, sender, sent_at, effect }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Projection {
    pub room: RoomId,
    pub head: Head,
    /// The own marks of those who wrote.
    pub marks: HashMap<UserId, ReadMark>,
    pub members: BTreeMap<UserId, Standing>,
    /// The last name given, and where.
    pub name: Option<(Seq, String)>,
}

/// The end of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub seq: Seq,
    pub messages: Ordinal,
    pub active_at: Timestamp,
    /// `None`: the stretch has no message.
    pub last_message: Option<Seq>,
}

/// What a stretch says of one user's membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Standing {
    /// The last event of the stretch about this user.
    pub at: Seq,
    /// Where they joined last, with the role and the read mark that this gave them; everything is known of them then.
    pub joined: Option<(RoomRole, ReadMark)>,
    /// Set after that.
    pub role: Option<RoomRole>,
    /// Left after that.
    pub gone: bool,
}

impl Projection {
    /// Of a log without events.
    pub fn of_nothing(room: RoomId, created_at: Timestamp) -> Self {
        let head = Head { seq: 0, messages: 0, active_at: created_at, last_message: None };
        Self { room, head, marks: HashMap::new(), members: BTreeMap::new(), name: None }
    }

    /// `None` where there are no events.
    pub fn of<'a, E>(room: RoomId, events: &'a [E]) -> Option<Self>
    where
        Step<'a>: From<&'a E>,
    {
        let mut all = Self::of_nothing(room, Timestamp(0));
        for event in events {
            all.add(event.into());
        }
        (!events.is_empty()).then_some(all)
    }

    fn add(&mut self, step: Step<'_>) {
        let mark = ReadMark { seq: step.seq, ordinal: step.ordinal };
        let last_message = if *step.effect == Effect::Message { Some(step.seq) } else { self.head.last_message };
        self.head = Head { seq: step.seq, messages: step.ordinal, active_at: step.sent_at, last_message };
        match step.effect {
            Effect::Message => drop(self.marks.insert(step.sender, mark)),
            Effect::Joined { user, role } => {
                let standing = Standing { at: step.seq, joined: Some((*role, mark)), ..Default::default() };
                self.members.insert(*user, standing);
            }
            Effect::Gone { user } => {
                let standing = self.members.entry(*user).or_default();
                (standing.at, standing.gone) = (step.seq, true);
            }
            Effect::RoleSet { user, role } => {
                let standing = self.members.entry(*user).or_default();
                (standing.at, standing.role) = (step.seq, Some(*role));
            }
            Effect::Renamed { name } => self.name = Some((step.seq, name.clone())),
        }
    }

    /// Nothing but the counters and marks change.
    pub fn is_plain(&self) -> bool {
        self.members.is_empty() && self.name.is_none()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::types::MessageId;

    fn log(sender: UserId, effects: Vec<Effect>) -> Vec<NewEvent> {
        let mut ordinal = 10;
        let event = |(seq, effect)| {
            ordinal += Ordinal::from(effect == Effect::Message);
            let (event_id, sent_at) = (MessageId::fresh(), Timestamp(seq as i64));
            NewEvent { seq, ordinal, sender, client_id: None, event_id, sent_at, body: Bytes::new(), effect }
        };
        (20..).zip(effects).map(event).collect()
    }

    #[test]
    fn messages_move_the_head_and_their_senders_mark() {
        let (room, ann) = (RoomId::fresh(), UserId::fresh());
        let all = Projection::of(room, &log(ann, vec![Effect::Message; 3])).expect("events");
        assert_eq!(all.head, Head { seq: 22, messages: 13, active_at: Timestamp(22), last_message: Some(22) });
        assert_eq!(all.marks, HashMap::from([(ann, ReadMark { seq: 22, ordinal: 13 })]));
        assert!(all.is_plain());
        assert_eq!(Projection::of::<NewEvent>(room, &[]), None);
    }

    #[test]
    fn of_what_happens_to_a_member_the_end_counts() {
        let (room, ann, bob, cid) = (RoomId::fresh(), UserId::fresh(), UserId::fresh(), UserId::fresh());
        let (reader, owner) = (RoomRole::Reader, RoomRole::Owner);
        let effects = vec![
            Effect::RoleSet { user: bob, role: owner },
            Effect::Gone { user: bob },
            Effect::Joined { user: bob, role: reader },
            Effect::RoleSet { user: cid, role: owner },
            Effect::Message,
            Effect::Gone { user: cid },
            Effect::Renamed { name: "tea".into() },
            Effect::Renamed { name: "cocoa".into() },
        ];
        let all = Projection::of(room, &log(ann, effects)).expect("events");
        let joined = Some((reader, ReadMark { seq: 22, ordinal: 10 }));
        assert_eq!(all.members[&bob], Standing { at: 22, joined, role: None, gone: false });
        assert_eq!(all.members[&cid], Standing { at: 25, joined: None, role: Some(owner), gone: true });
        assert_eq!(all.name, Some((27, "cocoa".into())));
        assert_eq!(all.head.last_message, Some(24));
        assert!(!all.is_plain());
    }
}
