//! Who is asked into a room and has not answered, as the room has them in memory.

use std::collections::HashMap;

use crate::{
    event::fold::{Consent, Standing},
    types::{RoomRole, Seq, UserId},
};

/// - `asked` has no more entries than the room may have members: each takes the place of one.
/// - `left_at` is the last event known here by which somebody left or declined: who asked the store before it asks again.
#[derive(Default)]
pub(super) struct Invited {
    asked: HashMap<UserId, RoomRole>,
    left_at: Seq,
}

impl Invited {
    pub fn new(asked: HashMap<UserId, RoomRole>) -> Self {
        Self { asked, left_at: 0 }
    }

    pub fn len(&self) -> usize {
        self.asked.len()
    }

    /// As what they would come.
    pub fn role_of(&self, user: &UserId) -> Option<RoomRole> {
        self.asked.get(user).copied()
    }

    pub fn somebody_left_after(&self, seq: Seq) -> bool {
        self.left_at > seq
    }

    pub fn take_in(&mut self, user: UserId, standing: &Standing) {
        match standing.consent {
            None => return,
            Some(Consent::Invited { role, .. }) => {
                self.asked.insert(user, role);
                return;
            }
            Some(Consent::Left) => self.left_at = self.left_at.max(standing.at),
            Some(Consent::Free) => {}
        }
        self.asked.remove(&user);
    }
}
