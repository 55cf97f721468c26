//! The words everyone shares: ids, roles and times. It knows no other module.

use std::{cell::Cell, fmt, str::FromStr};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, Unexpected},
};
use time::{
    OffsetDateTime,
    format_description::{BorrowedFormatItem, well_known::Rfc3339},
    macros::format_description,
};
use utoipa::ToSchema;
use uuid::Uuid;

/// A room's position in its log: dense, from 1. `0` stands before the first event.
pub type Seq = u64;

/// Reads a number as JSON means it: `3.0` is 3.
pub fn whole<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    struct Whole;

    impl de::Visitor<'_> for Whole {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("u64")
        }

        fn visit_u64<E>(self, number: u64) -> Result<u64, E> {
            Ok(number)
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<u64, E> {
            u64::try_from(number).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
        }

        fn visit_f64<E: de::Error>(self, number: f64) -> Result<u64, E> {
            // The largest u64 is no float: as one it is 2^64, the first that is too large.
            let whole = number.fract() == 0.0 && (0.0..u64::MAX as f64).contains(&number);
            whole.then_some(number as u64).ok_or_else(|| E::invalid_type(Unexpected::Float(number), &self))
        }
    }

    from.deserialize_u64(Whole)
}

/// How many messages a room's log holds up to and with some event. Unread counts are differences of these.
pub type Ordinal = u64;

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, format = "uuid", description = "A user, for ever; opaque.")]
pub struct UserId(pub Uuid);

/// The wire says *chat*, the code says *room*.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(as = ChatId, value_type = String, format = "uuid", description = "A chat, for ever; opaque.")]
pub struct RoomId(pub Uuid);

/// One login: what a refresh token renews and what logout ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(as = LoginId, value_type = String, format = "uuid", description = "A login, for ever; opaque.")]
pub struct SessionId(pub Uuid);

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, format = "uuid", description = "A message, for ever; opaque.")]
pub struct MessageId(pub Uuid);

/// One running natter. A restart makes a new one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub Uuid);

impl NodeId {
    /// Never given before; later ones sort later.
    pub fn fresh() -> Self {
        Self(Uuid::now_v7())
    }
}
impl UserId {
    /// Never given before; later ones sort later.
    pub fn fresh() -> Self {
        Self(Uuid::now_v7())
    }
}
impl RoomId {
    /// Never given before; later ones sort later.
    pub fn fresh() -> Self {
        Self(Uuid::now_v7())
    }
    /// `None` for text that cannot name a room.
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::from_str(text).ok().map(Self)
    }
}
impl SessionId {
    /// Never given before; later ones sort later.
    pub fn fresh() -> Self {
        Self(Uuid::now_v7())
    }
}
impl MessageId {
    /// Never given before; later ones sort later.
    pub fn fresh() -> Self {
        Self(Uuid::now_v7())
    }
    /// `None` for text that cannot name a message.
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::from_str(text).ok().map(Self)
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}
impl fmt::Display for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}
impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}
impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// What a user is on the whole server.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Admin,
    BasicUser,
}

impl Role {
    pub const ALL: [Role; 2] = [Role::Admin, Role::BasicUser];

    pub fn name(self) -> &'static str {
        match self {
            Role::Admin => "admin",
            Role::BasicUser => "basic_user",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }

    /// The stable id that the original API shows beside the name.
    pub fn id(self) -> &'static str {
        match self {
            Role::Admin => "1",
            Role::BasicUser => "2",
        }
    }
}

/// Some of the roles that there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Roles(u8);

impl Roles {
    pub fn contains(self, role: Role) -> bool {
        self.0 & role.bit() != 0
    }

    /// In the order of [`Role::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.contains(*role))
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        Self(roles.into_iter().fold(0, |bits, role| bits | role.bit()))
    }
}

/// What a member is in one room, from most to least.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RoomRole {
    Owner,
    Moderator,
    Member,
    Reader,
}

impl RoomRole {
    pub const ALL: [RoomRole; 4] = [RoomRole::Owner, RoomRole::Moderator, RoomRole::Member, RoomRole::Reader];

    pub fn name(self) -> &'static str {
        match self {
            RoomRole::Owner => "owner",
            RoomRole::Moderator => "moderator",
            RoomRole::Member => "member",
            RoomRole::Reader => "reader",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    pub fn may_post(self) -> bool {
        self != RoomRole::Reader
    }

    /// Owners and moderators invite, rename the room and remove those below them.
    pub fn may_moderate(self) -> bool {
        matches!(self, RoomRole::Owner | RoomRole::Moderator)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(
    description = "A `private` chat has its two members for ever, one chat for each two people; a `group` changes."
)]
pub enum RoomKind {
    /// Two members for ever, one room per pair.
    Private,
    Group,
}

impl RoomKind {
    pub fn name(self) -> &'static str {
        match self {
            RoomKind::Private => "private",
            RoomKind::Group => "group",
        }
    }
}

/// Milliseconds since 1970, UTC. On the wire RFC 3339 with milliseconds and `Z`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, ToSchema)]
#[schema(value_type = String, format = "date-time", description = "RFC 3339, UTC, with milliseconds.")]
pub struct Timestamp(pub i64);

const RFC3339_MILLIS: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

impl Timestamp {
    pub fn now() -> Self {
        Self((OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000) as i64)
    }

    pub fn plus_secs(self, secs: u64) -> Self {
        Self(self.0.saturating_add((secs as i64).saturating_mul(1000)))
    }

    /// Of RFC 3339, with any offset.
    pub fn parse(text: &str) -> Option<Self> {
        let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        Some(Self((moment.unix_timestamp_nanos().div_euclid(1_000_000)) as i64))
    }

    /// Whole seconds, as JWT claims count time.
    pub fn unix_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }
}

/// A time in its written form, which has at most so many bytes.
#[derive(Clone, Copy)]
struct Written {
    time: Timestamp,
    text: [u8; 32],
    len: usize,
}

thread_local! {
    /// The last one: the events of a batch and the answers to them share a time.
    static WRITTEN: Cell<Option<Written>> = const { Cell::new(None) };
}

impl Written {
    fn of(time: Timestamp) -> Self {
        if let Some(written) = WRITTEN.get().filter(|written| written.time == time) {
            return written;
        }
        let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(time.0) * 1_000_000)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let mut written = Self { time, text: [0; 32], len: 0 };
        written.len = moment.format_into(&mut &mut written.text[..], RFC3339_MILLIS).expect("a year has few digits");
        WRITTEN.set(Some(written));
        written
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text[..self.len]).expect("digits and letters")
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Written::of(*self).as_str())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(Written::of(*self).as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_with_milliseconds() {
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Timestamp(1_700_000_000_123).to_string(), "2023-11-14T22:13:20.123Z");
    }

    #[test]
    fn times_are_read_with_any_offset() {
        assert_eq!(Timestamp::parse("2023-11-14T22:13:20.123Z"), Some(Timestamp(1_700_000_000_123)));
        assert_eq!(Timestamp::parse("2023-11-15T00:13:20.123456+02:00"), Some(Timestamp(1_700_000_000_123)));
        assert_eq!(Timestamp::parse("1969-12-31T23:59:59.999Z"), Some(Timestamp(-1)));
        for bad in ["", "2023-11-14", "2023-11-14T22:13:20", "2023-13-14T22:13:20Z", "now"] {
            assert_eq!(Timestamp::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn whole_numbers_are_whole_however_they_are_written() {
        let read = |text: &str| whole(&mut serde_json::Deserializer::from_str(text)).ok();
        for (text, number) in [
            ("0", 0),
            ("-0", 0),
            ("3.0", 3),
            ("3e2", 300),
            ("1e19", 10_000_000_000_000_000_000),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(read(text), Some(number), "{text}");
        }
        for text in ["-1", "3.5", "-1.0", "18446744073709551616", "1e30", "\"3\"", "null", "[3]"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
