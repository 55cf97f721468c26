//! Accounts that are being deleted or were, and what is told of them.
//!
//! A deleted account's record stays, without a name, because logs name users by their ids. Bodies in the log keep the name that
//! they were written with; a store gives each of them out with [`DELETED_NAME`] in its place ([`Nameless`]).

use std::{borrow::Cow, collections::HashSet, fmt};

use parking_lot::RwLock;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
    ser::SerializeMap,
};
use serde_json::value::RawValue;

use super::UserRecord;
use crate::{
    event::{
        Event,
        folded::{Folded, FoldedPage},
    },
    protocol::Frame,
    types::UserId,
};

/// Who wrote it, where their account was deleted. Nobody can choose this name.
pub const DELETED_NAME: &str = "deleted user";

const ERASE: u8 = 1;
const FREE_NAME: u8 = 2;
const DONE: u8 = 4;

/// What is to become of an account, or became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deletion {
    /// Its messages are erased too.
    pub erase: bool,
    /// Somebody else may have its name.
    pub free_name: bool,
    /// Nothing is left to do.
    pub done: bool,
}

impl Deletion {
    /// The first number that says that nothing is left to do; those below are of deletions that go on.
    pub(super) const FIRST_DONE: u8 = DONE;

    /// As stores keep it.
    pub(super) fn to_bits(self) -> u8 {
        let bit = |set, bit| if set { bit } else { 0 };
        bit(self.erase, ERASE) | bit(self.free_name, FREE_NAME) | bit(self.done, DONE)
    }

    pub(super) fn from_bits(bits: u8) -> Self {
        Self { erase: bits & ERASE != 0, free_name: bits & FREE_NAME != 0, done: bits & DONE != 0 }
    }

    /// With what is asked now: what was to go goes, and nothing comes back. Where that is no more than was done, it is done.
    pub(super) fn and(self, wanted: Deletion) -> Deletion {
        let both = Deletion {
            erase: self.erase || wanted.erase,
            free_name: self.free_name || wanted.free_name,
            done: self.done,
        };
        Deletion { done: both == self && self.done, ..both }
    }
}

/// By what somebody is found whose name is free again: no username begins with a space.
pub(super) fn folded_of_nobody(user: UserId) -> String {
    format!(" {user}")
}

impl UserRecord {
    /// Their account was deleted, and nothing of that is left to do.
    pub fn is_deleted(&self) -> bool {
        self.deletion.is_some_and(|deletion| deletion.done)
    }

    /// Somebody else may have their name.
    pub(super) fn is_nobody(&self) -> bool {
        self.deletion.is_some_and(|deletion| deletion.done && deletion.free_name)
    }
}

/// The users whose names are told no more, 16 bytes each: they are asked for with every event that is read.
#[derive(Default)]
pub(super) struct Nameless(RwLock<HashSet<UserId>>);

impl Nameless {
    pub fn note(&self, user: &UserRecord) {
        if user.deletion.is_some() && user.username == DELETED_NAME {
            self.extend([user.user_id]);
        }
    }

    pub fn extend(&self, users: impl IntoIterator<Item = UserId>) {
        self.0.write().extend(users);
    }

    /// The events as they are told.
    pub fn events(&self, mut events: Vec<Event>) -> Vec<Event> {
        let nameless = self.0.read();
        if !nameless.is_empty() {
            for event in &mut events {
                let subject = event.kind.subject().is_some_and(|subject| nameless.contains(&subject));
                if let Some(body) = without_names(event.body(), nameless.contains(&event.sender), subject) {
                    event.frame = Frame::of(&body);
                }
            }
        }
        events
    }

    /// A message as it is told.
    pub fn folded(&self, mut message: Folded) -> Folded {
        if self.0.read().contains(&message.event.sender) {
            for event in [Some(&mut message.event), message.edit.as_mut()].into_iter().flatten() {
                if let Some(body) = without_names(event.body(), true, false) {
                    event.frame = Frame::of(&body);
                }
            }
        }
        message
    }

    /// A page of messages as it is told.
    pub fn page(&self, mut page: FoldedPage) -> FoldedPage {
        if !self.0.read().is_empty() {
            page.messages = page.messages.into_iter().map(|message| self.folded(message)).collect();
        }
        page
    }

    /// The body of a message as it is told.
    pub fn message(&self, sender: UserId, body: bytes::Bytes) -> bytes::Bytes {
        let theirs = self.0.read().contains(&sender);
        without_names(&body, theirs, false).map_or(body, Into::into)
    }
}

/// The body with another name for who did it or whom it is about; `None` where nothing is to change. All else stays as it is,
/// byte for byte.
fn without_names(body: &[u8], sender: bool, subject: bool) -> Option<Vec<u8>> {
    if !sender && !subject {
        return None;
    }
    let mut fields: Fields<'_> = serde_json::from_slice(body).ok()?;
    let name = serde_json::value::to_raw_value(DELETED_NAME).ok()?;
    for (key, value) in &mut fields.0 {
        if (sender && matches!(&**key, "sender" | "by")) || (subject && key == "username") {
            *value = &name;
        }
    }
    serde_json::to_vec(&fields).ok()
}

/// A JSON object in its order, with its values as they are written.
struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::with_capacity(map.size_hint().unwrap_or(8));
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        from.deserialize_map(Each)
    }
}

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_deletion_comes_back_from_its_bits() {
        for bits in 0..8 {
            let deletion = Deletion::from_bits(bits);
            assert_eq!(deletion.to_bits(), bits);
            assert_eq!(deletion.done, bits >= Deletion::FIRST_DONE);
        }
    }

    #[test]
    fn asking_again_begins_it_again_only_where_more_is_asked() {
        let keep = Deletion::default();
        let erase = Deletion { erase: true, ..keep };
        let done = |deletion| Deletion { done: true, ..deletion };
        assert_eq!(done(keep).and(keep), done(keep));
        assert_eq!(done(keep).and(erase), erase);
        assert_eq!(done(erase).and(keep), done(erase));
        assert_eq!(erase.and(keep), erase, "what was to go goes");
    }

    #[test]
    fn only_the_name_of_who_is_gone_changes() {
        let text = |body: Option<Vec<u8>>| body.map(|body| String::from_utf8(body).expect("text"));
        let message = r#"{"type":"message","seq":3,"sender":"bob","content":"\"by\":\"bob\" \u00e9","client_id":"by"}"#;
        assert_eq!(
            text(without_names(message.as_bytes(), true, false)).expect("changed"),
            message.replace(r#""sender":"bob""#, r#""sender":"deleted user""#)
        );
        let member = r#"{"type":"member","seq":4,"by":"ann","username":"bob","change":"added","role":"member"}"#;
        assert_eq!(
            text(without_names(member.as_bytes(), false, true)).expect("changed"),
            member.replace("bob", "deleted user")
        );
        assert_eq!(
            text(without_names(member.as_bytes(), true, false)).expect("changed"),
            member.replace("ann", "deleted user")
        );
        assert_eq!(without_names(message.as_bytes(), false, false), None);
        assert_eq!(without_names(b"no object", true, true), None, "what is damaged stays as it is");
    }
}
