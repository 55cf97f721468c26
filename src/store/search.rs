//! What stores are asked when somebody searches, and what they answer.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::{
    types::{RoomId, Timestamp, UserId},
    words::query::{Mark, Query},
};

/// A page of a search.
#[derive(Debug, Clone)]
pub struct Search {
    /// Who searches: in the rooms that they are a member of.
    pub user: UserId,
    pub query: Query,
    /// In this room alone.
    pub room: Option<RoomId>,
    pub from: Option<UserId>,
    /// Both included.
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub with_link: bool,
    pub after: Option<SearchCursor>,
    pub limit: usize,
    /// A page of more bytes ends early; it has at least one hit.
    pub page_bytes: usize,
    /// When it gives what it has found.
    pub deadline: Instant,
}

/// Where a search goes on: the place of a message among all of the store, later ones greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SearchCursor(pub u128);

#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Newest first.
    pub hits: Vec<Hit>,
    /// `None`: that was all.
    pub next: Option<SearchCursor>,
}

#[derive(Debug, Clone)]
pub struct Hit {
    pub room: RoomId,
    /// The JSON of the message.
    pub message: Bytes,
    pub marks: Vec<Mark>,
}

/// A page while it is filled: decides by the texts, whatever an index gave, and when it is full.
pub struct Filling<'a> {
    search: &'a Search,
    found: Found,
    bytes: usize,
    last: Option<SearchCursor>,
}

impl Search {
    /// Of the time that is left, the part that waiting for the index may take.
    pub fn patience(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now()) / 2
    }
}

impl<'a> Filling<'a> {
    pub fn of(search: &'a Search) -> Self {
        Self { search, found: Found::default(), bytes: 0, last: None }
    }

    /// It is time to give what there is.
    pub fn is_late(&self) -> bool {
        self.last.is_some() && Instant::now() >= self.search.deadline
    }

    /// What stands at `place` is none.
    pub fn pass(&mut self, place: SearchCursor) {
        self.last = Some(place);
    }

    /// Takes a message where it is one that was asked for; `false`: there is no place for it, and the page is done.
    pub fn offer(&mut self, place: SearchCursor, room: RoomId, message: Bytes, content: &str) -> bool {
        let Some(marks) = self.search.query.find(content) else {
            self.pass(place);
            return true;
        };
        let is_full = self.found.hits.len() >= self.search.limit
            || (self.bytes + message.len() > self.search.page_bytes && !self.found.hits.is_empty());
        if is_full {
            return false;
        }
        self.bytes += message.len();
        self.found.hits.push(Hit { room, message, marks });
        self.pass(place);
        true
    }

    /// Everything has been looked at.
    pub fn end(self) -> Found {
        self.found
    }

    /// There may be more after what has been looked at.
    pub fn cut(self) -> Found {
        Found { next: self.last.or(self.search.after), ..self.found }
    }
}
