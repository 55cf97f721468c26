//! People, rooms and events to put into a store.

use std::sync::Arc;

use natter::{
    event::{Event, Kind},
    protocol::Frame,
    store::{Appended, NewRoom, Page, Presented, RefreshKey, Renewal, RoomCreated, SessionRecord, Store, UserRecord},
    types::{MessageId, Ordinal, Role, RoomId, RoomKind, RoomRole, Seq, SessionId, Timestamp, UserId},
};

pub const START: i64 = 1_700_000_000_000;

pub fn at(millis: i64) -> Timestamp {
    Timestamp(START + millis)
}

pub fn person(name: &str) -> UserRecord {
    UserRecord {
        user_id: UserId::fresh(),
        username: name.to_owned(),
        folded: name.to_lowercase(),
        display_name: format!("{name} the first"),
        password_hash: "$2b$12$not-a-hash".into(),
        roles: vec![Role::BasicUser],
        created_at: at(0),
        disabled: false,
        token_epoch: 0,
        deletion: None,
    }
}

pub async fn add(store: &Arc<dyn Store>, name: &str) -> UserId {
    let user = person(name);
    let id = user.user_id;
    assert!(store.create_user(user).await.unwrap());
    id
}

pub async fn add_admin(store: &Arc<dyn Store>, name: &str) -> UserId {
    let user = UserRecord { roles: vec![Role::Admin, Role::BasicUser], ..person(name) };
    let id = user.user_id;
    assert!(store.create_user(user).await.unwrap());
    id
}

/// Token `n` of a login, which follows token `n - 1`.
pub fn token(session: &SessionRecord, n: u32) -> RefreshKey {
    let mut hash = [7; 32];
    hash[..4].copy_from_slice(&n.to_be_bytes());
    hash[16..].copy_from_slice(session.session_id.0.as_bytes());
    RefreshKey { session: session.session_id, family: [1; 32], turn: n.into(), hash }
}

pub fn presented(session: &SessionRecord, n: u32) -> Presented {
    Presented::Key(token(session, n))
}

/// Another token in the place of `token`.
pub fn instead(token: RefreshKey, other: u8) -> RefreshKey {
    let mut hash = token.hash;
    hash[15] = other;
    RefreshKey { hash, ..token }
}

/// Token `n` presented, a grace of a second.
pub fn renewal(session: &SessionRecord, n: u32, now: i64) -> Renewal {
    Renewal {
        presented: presented(session, n),
        next: token(session, n + 1),
        now: at(now),
        grace_secs: 1,
        expires_at: session.expires_at,
    }
}

pub fn login(user: UserId, created: i64) -> SessionRecord {
    SessionRecord {
        session_id: SessionId::fresh(),
        user_id: user,
        created_at: at(created),
        expires_at: at(created + 1_000_000),
    }
}

fn event(seq: Seq, ordinal: Ordinal, by: UserId, kind: Kind) -> Event {
    Event {
        seq,
        ordinal,
        sender: by,
        client_id: None,
        event_id: MessageId::fresh(),
        sent_at: at(seq as i64 * 1_000),
        kind,
        frame: Frame::of(format!(r#"{{"seq":{seq},"ordinal":{ordinal}}}"#).as_bytes()),
    }
}

pub fn message(seq: Seq, ordinal: Ordinal, sender: UserId) -> Event {
    Event { event_id: MessageId::fresh(), ..event(seq, ordinal, sender, Kind::Message) }
}

pub fn message_with_id(seq: Seq, ordinal: Ordinal, sender: UserId, client_id: &str) -> Event {
    Event { client_id: Some(client_id.into()), ..message(seq, ordinal, sender) }
}

pub fn joined(seq: Seq, ordinal: Ordinal, by: UserId, user: UserId) -> Event {
    // The bodies here name nobody.
    event(seq, ordinal, by, Kind::Joined { user, role: RoomRole::Member, username: "".into() })
}

pub fn gone(seq: Seq, ordinal: Ordinal, by: UserId, user: UserId) -> Event {
    event(seq, ordinal, by, Kind::Gone { user })
}

pub fn role_set(seq: Seq, ordinal: Ordinal, by: UserId, user: UserId, role: RoomRole) -> Event {
    event(seq, ordinal, by, Kind::RoleSet { user, role })
}

pub fn renamed(seq: Seq, ordinal: Ordinal, by: UserId, name: &str) -> Event {
    event(seq, ordinal, by, Kind::Renamed { name: name.into() })
}

/// A private room of two: its log has two events and no message.
pub fn private(ann: UserId, bob: UserId, pair: &str) -> NewRoom {
    NewRoom {
        room_id: RoomId::fresh(),
        kind: RoomKind::Private,
        epoch: "first".into(),
        created_at: at(0),
        pair: Some(pair.into()),
        events: vec![joined(1, 0, ann, ann), joined(2, 0, ann, bob)],
    }
}

/// A group whose owner is the first of `people`: a name at seq 1, then the members.
pub fn group(name: &str, people: &[UserId]) -> NewRoom {
    let owner = people[0];
    let mut events = vec![renamed(1, 0, owner, name)];
    events.extend(people.iter().zip(2..).map(|(user, seq)| joined(seq, 0, owner, *user)));
    NewRoom {
        room_id: RoomId::fresh(),
        kind: RoomKind::Group,
        epoch: "first".into(),
        created_at: at(0),
        pair: None,
        events,
    }
}

pub async fn add_group(store: &Arc<dyn Store>, people: &[UserId]) -> RoomId {
    let room = group("tea", people);
    let id = room.room_id;
    assert_eq!(store.create_room(room).await.unwrap(), RoomCreated::Created);
    id
}

/// A group of one, whose next event is seq 3, ordinal 1.
pub async fn ann_alone(store: &Arc<dyn Store>) -> (UserId, RoomId) {
    let ann = add(store, "ann").await;
    (ann, add_group(store, &[ann]).await)
}

pub async fn append_all(store: &Arc<dyn Store>, room: RoomId, events: Vec<Event>) {
    let count = events.len();
    assert_eq!(store.append(room, events).await.unwrap(), Appended { stored: count, stopped: None });
}

/// The whole log, page by page.
pub async fn whole_log(store: &Arc<dyn Store>, room: RoomId) -> Vec<Event> {
    let mut log: Vec<Event> = Vec::new();
    loop {
        let after = Some(log.last().map_or(0, |event| event.seq));
        let page = Page { after, before: None, limit: 500, messages_only: false };
        let events = store.events(room, page).await.unwrap();
        if events.is_empty() {
            return log;
        }
        log.extend(events);
    }
}

/// Dense from 1, ordinals that count the messages, and a head that agrees.
pub async fn assert_sound(store: &Arc<dyn Store>, room: RoomId) -> Vec<Event> {
    let log = whole_log(store, room).await;
    let mut messages = 0;
    for (event, seq) in log.iter().zip(1..) {
        messages += Ordinal::from(event.is_message());
        assert_eq!((event.seq, event.ordinal), (seq, messages));
    }
    let record = store.room(room).await.unwrap().expect("the room is there");
    assert_eq!((record.head_seq, record.messages), (log.len() as Seq, messages));
    log
}

/// Posts as a writer does who is not alone: on a taken seq it moves up to the new head.
pub async fn post(store: &Arc<dyn Store>, room: RoomId, sender: UserId, client_id: Option<&str>) -> Appended {
    loop {
        let record = store.room(room).await.unwrap().expect("the room is there");
        let mut event = message(record.head_seq + 1, record.messages + 1, sender);
        event.client_id = client_id.map(Into::into);
        let appended = store.append(room, vec![event]).await.unwrap();
        if appended.stopped != Some(natter::store::Stopped::SeqTaken) {
            return appended;
        }
    }
}
