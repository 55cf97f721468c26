//! What the nodes say to each other over NATS, as bytes: a header, and for [`Kind::Hints`] any number of hints until the end.
//!
//! Everything is `postcard`: fields one after the other, numbers as varints, an enum by the number of its variant. A list
//! is its length and then its entries, and an event is `event/packed.rs`'s. Whatever changes
//! here changes [`SUBJECTS`] too, so that two versions never misread each other.

use serde::{Deserialize, Serialize};

use crate::{
    bus::{Ended, Hint},
    event::{Event, packed},
    types::{NodeId, RoomId, Seq, SessionId, UserId},
};

/// What the subjects of this encoding begin with.
pub const SUBJECTS: &str = "natter.v2";

/// A header is never longer: an id with its length, and three varints.
pub const HEADER_BYTES: usize = 17 + 10 + 1 + 5;

/// A user in a list of [`Hint::Presence`]: an id with its length, and whether they are online.
const USER_BYTES: usize = 18;

/// Users in one [`Hint::Presence`]; a longer list goes out as several.
const PRESENCE_USERS: usize = 2_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub node: NodeId,
    /// Of hints: the number of this message, from 1 and without gaps. Else: the number of the last one.
    pub number: u64,
    pub kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Hints,
    /// The node lives. `link` counts its connections, so that it knows its own words again.
    Beat {
        link: u32,
    },
    /// The node ends.
    Bye,
}

/// Bytes that no node of this version sends.
#[derive(Debug, PartialEq, Eq)]
pub struct Undecodable;

/// A hint as it is written; what a list holds follows it.
#[derive(Serialize, Deserialize)]
enum Said {
    UserChanged(UserId),
    LoginEnded(UserId, SessionId),
    LoginsEnded(UserId, Option<SessionId>),
    RoomAdvanced { room: RoomId, head: Seq, events: usize },
    MembershipChanged { room: RoomId, user: UserId, seq: Seq, added: bool },
    ReadMoved { room: RoomId, user: UserId, seq: Seq },
    Typing { room: RoomId, user: UserId },
    RoomWanted { room: RoomId, node: NodeId },
    Presence { node: NodeId, whole: bool, users: usize },
    AskPresence,
    Blocked { user: UserId, other: UserId },
    Invited { room: RoomId, user: UserId },
}

/// One hint as one or several that say the same, each ready to go into a message.
#[derive(Debug)]
pub struct Parts {
    pub first: Vec<u8>,
    /// Only a long list of users needs any.
    pub rest: Vec<Vec<u8>>,
    /// Whether events were left behind.
    pub cut: bool,
}

pub fn header(header: &Header) -> Vec<u8> {
    put(Vec::with_capacity(HEADER_BYTES), header)
}

/// Writes a hint down in parts of at most `most` bytes. Events go along while their bodies have at most `inline` bytes and
/// everything fits.
pub fn encode(hint: &Hint, inline: usize, most: usize) -> Parts {
    let first = match hint {
        Hint::UserChanged { user } => put(Vec::new(), &Said::UserChanged(*user)),
        Hint::LoginEnded { user, which: Ended::One(login) } => put(Vec::new(), &Said::LoginEnded(*user, *login)),
        Hint::LoginEnded { user, which: Ended::All { keep } } => put(Vec::new(), &Said::LoginsEnded(*user, *keep)),
        Hint::RoomAdvanced { room, head, events } => return advanced(*room, *head, events, inline, most),
        Hint::MembershipChanged { room, user, seq, added } => {
            put(Vec::new(), &Said::MembershipChanged { room: *room, user: *user, seq: *seq, added: *added })
        }
        Hint::ReadMoved { room, user, seq } => {
            put(Vec::new(), &Said::ReadMoved { room: *room, user: *user, seq: *seq })
        }
        Hint::Typing { room, user } => put(Vec::new(), &Said::Typing { room: *room, user: *user }),
        Hint::RoomWanted { room, node } => put(Vec::new(), &Said::RoomWanted { room: *room, node: *node }),
        Hint::Presence { node, users, whole } => return presence(*node, users, *whole, most),
        Hint::AskPresence => put(Vec::new(), &Said::AskPresence),
        Hint::Invited { room, user } => put(Vec::new(), &Said::Invited { room: *room, user: *user }),
        Hint::Blocked { user, other } => put(Vec::new(), &Said::Blocked { user: *user, other: *other }),
    };
    Parts { first, rest: Vec::new(), cut: false }
}

fn advanced(room: RoomId, head: Seq, events: &[Event], inline: usize, most: usize) -> Parts {
    let said = |events| Said::RoomAdvanced { room, head, events };
    let bodies = events.iter().fold(0usize, |sum, event| sum.saturating_add(event.body().len()));
    if bodies <= inline {
        let out = put(Vec::with_capacity(64 + bodies + 128 * events.len()), &said(events.len()));
        let out = events.iter().fold(out, packed::put);
        if out.len() <= most {
            return Parts { first: out, rest: Vec::new(), cut: false };
        }
    }
    Parts { first: put(Vec::new(), &said(0)), rest: Vec::new(), cut: true }
}

/// Only the first part of a whole list begins it; the others add to it.
fn presence(node: NodeId, users: &[(UserId, bool)], whole: bool, most: usize) -> Parts {
    let in_one = (most.saturating_sub(64) / USER_BYTES).clamp(1, PRESENCE_USERS);
    let part = |users: &[(UserId, bool)], whole: bool| {
        let out = Vec::with_capacity(64 + users.len() * USER_BYTES);
        let out = put(out, &Said::Presence { node, whole, users: users.len() });
        users.iter().fold(out, put)
    };
    let (first, rest) = users.split_at(users.len().min(in_one));
    let rest = rest.chunks(in_one).map(|users| part(users, false)).collect();
    Parts { first: part(first, whole), rest, cut: false }
}

/// Takes the header off the front of a message.
pub fn take_header(message: &mut &[u8]) -> Result<Header, Undecodable> {
    take(message)
}

/// The hints that follow a header of [`Kind::Hints`]: all of them, or none.
pub fn hints(mut message: &[u8]) -> Result<Vec<Hint>, Undecodable> {
    let mut hints = Vec::with_capacity(1);
    while !message.is_empty() {
        hints.push(take_hint(&mut message)?);
    }
    Ok(hints)
}

fn take_hint(from: &mut &[u8]) -> Result<Hint, Undecodable> {
    Ok(match take(from)? {
        Said::UserChanged(user) => Hint::UserChanged { user },
        Said::LoginEnded(user, login) => Hint::LoginEnded { user, which: Ended::One(login) },
        Said::LoginsEnded(user, keep) => Hint::LoginEnded { user, which: Ended::All { keep } },
        Said::RoomAdvanced { room, head, events } => Hint::RoomAdvanced {
            room,
            head,
            events: take_list(from, events, |from| packed::take(from).ok_or(Undecodable))?,
        },
        Said::MembershipChanged { room, user, seq, added } => Hint::MembershipChanged { room, user, seq, added },
        Said::ReadMoved { room, user, seq } => Hint::ReadMoved { room, user, seq },
        Said::Typing { room, user } => Hint::Typing { room, user },
        Said::RoomWanted { room, node } => Hint::RoomWanted { room, node },
        Said::Presence { node, whole, users } => Hint::Presence { node, users: take_list(from, users, take)?, whole },
        Said::AskPresence => Hint::AskPresence,
        Said::Invited { room, user } => Hint::Invited { room, user },
        Said::Blocked { user, other } => Hint::Blocked { user, other },
    })
}

/// The length is not believed: memory is taken as entries are found.
fn take_list<'a, T>(
    from: &mut &'a [u8],
    length: usize,
    one: impl Fn(&mut &'a [u8]) -> Result<T, Undecodable>,
) -> Result<Vec<T>, Undecodable> {
    let mut list = Vec::with_capacity(length.min(64));
    for _ in 0..length {
        list.push(one(from)?);
    }
    Ok(list)
}

fn put<T: Serialize + ?Sized>(out: Vec<u8>, value: &T) -> Vec<u8> {
    postcard::to_extend(value, out).expect("plain values can be written, and memory takes them")
}

fn take<'a, T: Deserialize<'a>>(from: &mut &'a [u8]) -> Result<T, Undecodable> {
    let (value, rest) = postcard::take_from_bytes(from).map_err(|_| Undecodable)?;
    *from = rest;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*};
    use uuid::Uuid;

    use super::*;
    use crate::{
        event,
        protocol::Frame,
        types::{MessageId, RoomRole, Timestamp},
    };

    fn id() -> impl Strategy<Value = Uuid> {
        any::<u128>().prop_map(Uuid::from_u128)
    }

    fn user() -> impl Strategy<Value = UserId> {
        id().prop_map(UserId)
    }

    fn room() -> impl Strategy<Value = RoomId> {
        id().prop_map(RoomId)
    }

    fn role() -> impl Strategy<Value = RoomRole> {
        prop::sample::select(RoomRole::ALL.to_vec())
    }

    fn target() -> impl Strategy<Value = event::Target> {
        let target = |(message, seq, ordinal)| event::Target { message: MessageId(message), seq, ordinal };
        (id(), any::<u64>(), any::<u64>()).prop_map(target)
    }

    fn kind() -> impl Strategy<Value = event::Kind> {
        prop_oneof![
            Just(event::Kind::Message),
            // A body of any bytes names nobody.
            (user(), role()).prop_map(|(user, role)| event::Kind::Joined { user, role, username: "".into() }),
            user().prop_map(|user| event::Kind::Gone { user }),
            (user(), role()).prop_map(|(user, role)| event::Kind::RoleSet { user, role }),
            ".*".prop_map(|name| event::Kind::Renamed { name }),
            (user(), role()).prop_map(|(user, role)| event::Kind::Invited { user, role }),
            (target(), any::<bool>()).prop_map(|(of, erases)| event::Kind::Edited { of, erases }),
            target().prop_map(|of| event::Kind::Deleted { of }),
        ]
    }

    fn event() -> impl Strategy<Value = Event> {
        let text = option::of("\\PC{0,20}");
        (any::<[u64; 2]>(), user(), text, id(), any::<i64>(), vec(any::<u8>(), 0..200), kind()).prop_map(
            |([seq, ordinal], sender, client_id, event_id, sent_at, body, kind)| Event {
                seq,
                ordinal,
                sender,
                client_id: client_id.map(Into::into),
                event_id: MessageId(event_id),
                sent_at: Timestamp(sent_at),
                kind,
                frame: Frame::of(&body),
            },
        )
    }

    fn ended() -> impl Strategy<Value = Ended> {
        prop_oneof![
            id().prop_map(|login| Ended::One(SessionId(login))),
            option::of(id()).prop_map(|keep| Ended::All { keep: keep.map(SessionId) }),
        ]
    }

    fn any_hint() -> impl Strategy<Value = Hint> {
        prop_oneof![
            user().prop_map(|user| Hint::UserChanged { user }),
            (user(), ended()).prop_map(|(user, which)| Hint::LoginEnded { user, which }),
            (room(), any::<u64>(), vec(event(), 0..5)).prop_map(|(room, head, events)| Hint::RoomAdvanced {
                room,
                head,
                events
            }),
            (room(), user(), any::<u64>(), any::<bool>())
                .prop_map(|(room, user, seq, added)| { Hint::MembershipChanged { room, user, seq, added } }),
            (room(), user(), any::<u64>()).prop_map(|(room, user, seq)| Hint::ReadMoved { room, user, seq }),
            (room(), user()).prop_map(|(room, user)| Hint::Typing { room, user }),
            (room(), user()).prop_map(|(room, node)| Hint::RoomWanted { room, node: NodeId(node.0) }),
            (id(), vec((user(), any::<bool>()), 0..20), any::<bool>())
                .prop_map(|(node, users, whole)| { Hint::Presence { node: NodeId(node), users, whole } }),
            Just(Hint::AskPresence),
            (room(), user()).prop_map(|(room, user)| Hint::Invited { room, user }),
            (user(), user()).prop_map(|(user, other)| Hint::Blocked { user, other }),
        ]
    }

    fn any_header() -> impl Strategy<Value = Header> {
        let kind = prop_oneof![Just(Kind::Hints), any::<u32>().prop_map(|link| Kind::Beat { link }), Just(Kind::Bye)];
        (id(), any::<u64>(), kind).prop_map(|(node, number, kind)| Header { node: NodeId(node), number, kind })
    }

    /// As the first version with this prefix of subjects wrote them: a node of it and one of this version understand each
    /// other, so these bytes stay.
    #[test]
    fn events_have_the_bytes_that_they_always_had() {
        let (user, name) = (UserId(Uuid::from_u128(2)), "Tea".to_owned());
        let id = |n: u8| [&[16][..], &[0; 15], &[n]].concat();
        let role = RoomRole::Member;
        let of = event::Target { message: MessageId(Uuid::from_u128(3)), seq: 9, ordinal: 8 };
        let kinds = [
            (event::Kind::Message, vec![0]),
            (event::Kind::Joined { user, role, username: "bob".into() }, [&[1][..], &id(2), &[2]].concat()),
            (event::Kind::Gone { user }, [&[2][..], &id(2)].concat()),
            (event::Kind::RoleSet { user, role }, [&[3][..], &id(2), &[2]].concat()),
            (event::Kind::Renamed { name }, b"\x04\x03Tea".to_vec()),
            (event::Kind::Invited { user, role }, [&[5][..], &id(2), &[2]].concat()),
            (event::Kind::Edited { of, erases: true }, [&[6][..], &id(3), &[9, 8, 1]].concat()),
            (event::Kind::Deleted { of }, [&[7][..], &id(3), &[9, 8]].concat()),
        ];
        for (kind, kind_bytes) in kinds {
            let body = br#"{"username":"bob"}"#;
            let said = Event {
                seq: 300,
                ordinal: 7,
                sender: UserId(Uuid::from_u128(1)),
                client_id: Some("c".into()),
                event_id: MessageId(Uuid::from_u128(3)),
                sent_at: Timestamp(-1),
                kind,
                frame: Frame::of(body),
            };
            let room = RoomId(Uuid::from_u128(4));
            let bytes = [
                &[3][..],
                &id(4),
                &[0xac, 2, 1],
                &[0xac, 2, 7],
                &id(1),
                &[1, 1, b'c'],
                &id(3),
                &[1],
                &kind_bytes,
                &[body.len() as u8],
                body,
            ]
            .concat();
            let hint = Hint::RoomAdvanced { room, head: 300, events: vec![said] };
            assert_eq!(encode(&hint, usize::MAX, usize::MAX).first, bytes);
            assert_eq!(hints(&bytes), Ok(vec![hint]));
        }
    }

    proptest! {
        #[test]
        fn what_is_said_is_heard(said_header in any_header(), said in vec(any_hint(), 0..5)) {
            let mut message = header(&said_header);
            prop_assert!(message.len() <= HEADER_BYTES);
            for hint in &said {
                let parts = encode(hint, usize::MAX, usize::MAX);
                prop_assert!(parts.rest.is_empty());
                message.extend(parts.first);
            }
            let mut rest = message.as_slice();
            prop_assert_eq!(take_header(&mut rest).unwrap(), said_header);
            prop_assert_eq!(hints(rest).unwrap(), said);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..300)) {
            let mut rest = bytes.as_slice();
            let _refused = take_header(&mut rest).is_err();
            let _refused = hints(rest).is_err();
        }

        #[test]
        fn a_message_that_is_cut_or_changed_is_read_or_refused(said in any_hint(), at in any::<usize>(), to in any::<u8>()) {
            let whole = encode(&said, usize::MAX, usize::MAX).first;
            let at = at % whole.len();
            prop_assert!(hints(&whole[..at]).is_err() || at == 0);
            let mut changed = whole;
            changed[at] = to;
            let _refused = hints(&changed).is_err();
        }

        #[test]
        fn a_long_list_of_users_goes_in_parts(users in vec((user(), any::<bool>()), 0..300), whole in any::<bool>(), most in 1usize..2_000) {
            let node = NodeId::fresh();
            let parts = encode(&Hint::Presence { node, users: users.clone(), whole }, 0, most);
            let mut found = Vec::new();
            for (n, part) in [parts.first].into_iter().chain(parts.rest).enumerate() {
                prop_assert!(part.len() <= most.max(64 + USER_BYTES));
                let [Hint::Presence { node: of, users, whole: begins }] = &hints(&part).unwrap()[..] else { panic!("one list") };
                prop_assert_eq!((*of, *begins), (node, whole && n == 0));
                found.extend_from_slice(users);
            }
            prop_assert_eq!(found, users);
        }

        #[test]
        fn events_that_are_too_long_stay_behind(events in vec(event(), 1..5), inline in 0usize..1_000, most in 100usize..1_000) {
            let said = Hint::RoomAdvanced { room: RoomId::fresh(), head: 7, events: events.clone() };
            let part = encode(&said, inline, most).first;
            let [Hint::RoomAdvanced { head: 7, events: found, .. }] = &hints(&part).unwrap()[..] else { panic!("one hint") };
            let bodies: usize = events.iter().map(|event| event.body().len()).sum();
            prop_assert!(part.len() <= most);
            prop_assert!(found.is_empty() || (bodies <= inline && *found == events));
        }
    }
}
