//! The members of a room as it has them in memory: a few bytes each, and names only while they are few.

use std::{collections::HashMap, sync::Arc};

use crate::types::{RoomRole, UserId};

/// - `named_up_to` members they have names here; from the first past it on they have none.
/// - `owners` is how many of them own the room.
pub(super) struct Members {
    known: Known,
    named_up_to: usize,
    owners: usize,
}

enum Known {
    Named(HashMap<UserId, Named>),
    /// Past the bound. It stays so while the room is in memory, also where it has become small again.
    Nameless(HashMap<UserId, RoomRole>),
}

struct Named {
    username: Arc<str>,
    role: RoomRole,
}

impl Members {
    pub fn new(named_up_to: usize) -> Self {
        Self { known: Known::Named(HashMap::new()), named_up_to, owners: 0 }
    }

    pub fn len(&self) -> usize {
        match &self.known {
            Known::Named(members) => members.len(),
            Known::Nameless(members) => members.len(),
        }
    }

    pub fn role_of(&self, user: &UserId) -> Option<RoomRole> {
        match &self.known {
            Known::Named(members) => members.get(user).map(|member| member.role),
            Known::Nameless(members) => members.get(user).copied(),
        }
    }

    pub fn contains(&self, user: &UserId) -> bool {
        self.role_of(user).is_some()
    }

    pub fn is_last_owner(&self, user: &UserId) -> bool {
        self.owners == 1 && self.role_of(user) == Some(RoomRole::Owner)
    }

    pub fn ids(&self) -> Vec<UserId> {
        match &self.known {
            Known::Named(members) => members.keys().copied().collect(),
            Known::Nameless(members) => members.keys().copied().collect(),
        }
    }

    /// Where their name is known here.
    pub fn rename(&mut self, user: &UserId, username: &Arc<str>) {
        if let Known::Named(members) = &mut self.known
            && let Some(member) = members.get_mut(user)
        {
            member.username = username.clone();
        }
    }

    /// Who they are; `None`: they are many.
    pub fn names(&self) -> Option<Vec<(UserId, Arc<str>)>> {
        match &self.known {
            Known::Named(members) => Some(members.iter().map(|(id, member)| (*id, member.username.clone())).collect()),
            Known::Nameless(_) => None,
        }
    }

    /// `None` where they are no member, or there are many.
    pub fn name_of(&self, user: &UserId) -> Option<Arc<str>> {
        match &self.known {
            Known::Named(members) => members.get(user).map(|member| member.username.clone()),
            Known::Nameless(_) => None,
        }
    }

    pub fn insert(&mut self, user: UserId, username: &Arc<str>, role: RoomRole) {
        let was = self.role_of(&user);
        match &mut self.known {
            Known::Named(members) => {
                members.insert(user, Named { username: username.clone(), role });
                if members.len() > self.named_up_to {
                    let nameless = members.drain().map(|(user, member)| (user, member.role)).collect();
                    self.known = Known::Nameless(nameless);
                }
            }
            Known::Nameless(members) => drop(members.insert(user, role)),
        }
        self.count(was, Some(role));
    }

    /// Where they are a member.
    pub fn set_role(&mut self, user: &UserId, role: RoomRole) {
        let there = match &mut self.known {
            Known::Named(members) => members.get_mut(user).map(|member| &mut member.role),
            Known::Nameless(members) => members.get_mut(user),
        };
        if let Some(there) = there {
            let was = std::mem::replace(there, role);
            self.count(Some(was), Some(role));
        }
    }

    pub fn remove(&mut self, user: &UserId) {
        let was = match &mut self.known {
            Known::Named(members) => members.remove(user).map(|member| member.role),
            Known::Nameless(members) => members.remove(user),
        };
        self.count(was, None);
    }

    fn count(&mut self, was: Option<RoomRole>, is: Option<RoomRole>) {
        let owns = |role: Option<RoomRole>| usize::from(role == Some(RoomRole::Owner));
        self.owners = self.owners + owns(is) - owns(was);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_with_the_first_member_past_the_bound_and_roles_stay() {
        let mut members = Members::new(2);
        let users: Vec<UserId> = (0..4).map(|_| UserId::fresh()).collect();
        members.insert(users[0], &"ann".into(), RoomRole::Owner);
        members.insert(users[1], &"bob".into(), RoomRole::Reader);
        assert_eq!(members.name_of(&users[1]).as_deref(), Some("bob"));
        members.insert(users[2], &"cid".into(), RoomRole::Member);
        members.insert(users[3], &"dee".into(), RoomRole::Member);
        assert_eq!((members.name_of(&users[1]), members.names()), (None, None));
        assert_eq!((members.len(), members.role_of(&users[1])), (4, Some(RoomRole::Reader)));
        assert!(members.is_last_owner(&users[0]));
        members.set_role(&users[1], RoomRole::Owner);
        assert!(!members.is_last_owner(&users[0]), "there are two");
        members.remove(&users[0]);
        assert!(members.is_last_owner(&users[1]) && !members.contains(&users[0]));
        members.remove(&users[2]);
        members.insert(users[3], &"dee".into(), RoomRole::Owner);
        assert!(!members.is_last_owner(&users[1]));
        assert_eq!((members.len(), members.names()), (2, None), "what was forgotten is not known again");
    }

    /// A map has at least seven eighths of half of its room in use where it has just grown.
    #[test]
    fn a_member_of_a_large_room_costs_at_most_64_bytes() {
        let slot = size_of::<(UserId, RoomRole)>() + 1;
        let members: HashMap<UserId, RoomRole> = (0..1_000_000).map(|_| (UserId::fresh(), RoomRole::Member)).collect();
        let slots = (members.capacity() * 8).div_ceil(7);
        assert!(slots * slot <= 64 * members.len(), "{slots} slots of {slot}");
    }
}
