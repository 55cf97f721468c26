//! Who there is: people by number, each a member of one room, and everything about them that follows from the number.

use std::{ops::Range, sync::Arc};

use clap::Args;
use natter::{
    auth::token::{Claims, Tokens},
    config,
    types::{RoomId, SessionId, Timestamp, UserId},
};
use uuid::Uuid;

/// What signs tokens here; it protects nothing but the throw-away databases of this tool.
pub const KEY: &str = "the key of a natter that is thrown away at the end";

/// 2023-11-14T22:13:20.000Z, when everything in the database was made.
pub const BEGINNING_MILLIS: u64 = 1_700_000_000_000;

/// Longer than any run.
pub const TOKEN_MINUTES: u64 = 24 * 60;

#[derive(Args, Debug, Clone, Copy)]
pub struct World {
    /// People, numbered from 0; each has one socket
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub people: u32,
    /// Members of a room; the last one may have fewer
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub members: u32,
}

impl World {
    pub fn rooms(&self) -> u32 {
        self.people.div_ceil(self.members)
    }

    pub fn room_of(&self, user: u32) -> u32 {
        user / self.members
    }

    /// The first is the owner, and posts.
    pub fn members_of(&self, room: u32) -> Range<u32> {
        let first = room * self.members;
        first..(first + self.members).min(self.people)
    }

    /// Events of a room before its first message: its name, and everybody's joining.
    pub fn opening(&self, room: u32) -> u64 {
        1 + self.members_of(room).len() as u64
    }
}

/// Ids of one kind, ascending with the number.
fn numbered(kind: u8, number: u32) -> Uuid {
    let mut random = [0; 10];
    random[0] = kind;
    random[6..].copy_from_slice(&number.to_be_bytes());
    uuid::Builder::from_unix_timestamp_millis(BEGINNING_MILLIS, &random).into_uuid()
}

pub fn room_id(room: u32) -> RoomId {
    RoomId(numbered(1, room))
}

pub fn user_id(user: u32) -> UserId {
    UserId(numbered(2, user))
}

pub fn session_id(user: u32) -> SessionId {
    SessionId(numbered(3, user))
}

pub fn username(user: u32) -> String {
    format!("person-{user:07}")
}

pub fn tokens() -> Tokens {
    let auth = config::Auth { access_token_minutes: TOKEN_MINUTES, ..Default::default() };
    Tokens::new(KEY.as_bytes(), &auth, Arc::default())
}

/// What somebody's access token says.
pub fn claims(user: u32) -> Claims {
    let now = Timestamp::now();
    Claims {
        sub: username(user),
        uid: user_id(user),
        sid: session_id(user),
        ver: 0,
        iat: now.unix_secs(),
        exp: now.plus_secs(60 * TOKEN_MINUTES).unix_secs(),
        nbf: None,
    }
}
