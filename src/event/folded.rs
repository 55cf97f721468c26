//! A message in its latest form: its own event, and what the events after it have made of it.
//!
//! History, lists of rooms and the search read messages so; `events`, replay and live delivery read the log as it is. Pure: it
//! knows no database and no room.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Event, Kind, erased};
use crate::{
    protocol::{FoldedMessage, Frame},
    types::{Ordinal, Seq, Timestamp},
};

/// What the events about a message have come to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Form {
    /// The last of them; 0: there are none.
    pub at: Seq,
    /// How often it was edited, and by which event last.
    pub edits: u64,
    pub edit: Option<Seq>,
    pub deleted: bool,
}

/// A message at some head of its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folded {
    /// As it was said.
    pub event: Event,
    pub form: Form,
    /// The event that has its text now, where that is not its own.
    pub edit: Option<Event>,
}

/// Messages of a log, each as it stood at exactly `head`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoldedPage {
    pub head: Seq,
    /// How many messages the log held there.
    pub count: Ordinal,
    /// Ascending by seq, deleted ones too.
    pub messages: Vec<Folded>,
}

impl Form {
    /// Takes in the next event about the message; one that is in already changes nothing.
    pub fn take_in(&mut self, event: &Event) {
        if event.seq <= self.at {
            return;
        }
        match event.kind {
            Kind::Edited { .. } => (self.edits, self.edit) = (self.edits + 1, Some(event.seq)),
            Kind::Deleted { .. } => self.deleted = true,
            Kind::Message
            | Kind::Joined { .. }
            | Kind::Gone { .. }
            | Kind::RoleSet { .. }
            | Kind::Renamed { .. }
            | Kind::Invited { .. } => return,
        }
        self.at = event.seq;
    }
}

/// What the JSON of a message and of an edit say that a folded one says too.
#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow)]
    chat_id: &'a RawValue,
    #[serde(borrow)]
    message_id: &'a RawValue,
    #[serde(borrow)]
    sender: Option<&'a RawValue>,
    #[serde(borrow)]
    content: &'a RawValue,
    #[serde(borrow)]
    client_id: Option<&'a RawValue>,
}

impl Folded {
    /// As it was said, and nothing since.
    pub fn plain(event: Event) -> Self {
        Self { event, form: Form::default(), edit: None }
    }

    /// A text that is erased is gone, also where the event that says so is not known yet.
    pub fn is_deleted(&self) -> bool {
        self.form.deleted || self.spoken().is_erased()
    }

    /// The event that has its text.
    pub fn spoken(&self) -> &Event {
        self.edit.as_ref().unwrap_or(&self.event)
    }

    pub fn edited_at(&self) -> Option<Timestamp> {
        self.edit.as_ref().map(|edit| edit.sent_at)
    }

    /// The JSON of history: the log's own bytes where nothing has changed.
    pub fn body(&self) -> Bytes {
        if self.is_deleted() {
            return erased::frame(self.event.body()).body();
        }
        let Some(edit) = &self.edit else { return self.event.frame.body() };
        let (own, latest) = (said(self.event.body()), said(edit.body()));
        let (Some(own), Some(latest)) = (own, latest) else { return self.event.frame.body() };
        Frame::json(&FoldedMessage {
            kind: "message",
            chat_id: own.chat_id,
            seq: self.event.seq,
            message_id: own.message_id,
            sender: own.sender,
            sent_at: self.event.sent_at,
            content: latest.content,
            client_id: own.client_id,
            edited_at: Some(edit.sent_at),
            deleted: None,
        })
        .body()
    }
}

fn said(body: &[u8]) -> Option<Said<'_>> {
    serde_json::from_slice(body).ok()
}
