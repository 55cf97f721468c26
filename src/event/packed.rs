//! An event as bytes, for the bus and for the embedded store's journal.
//!
//! `postcard`: fields one after the other, numbers as varints, an enum by the number of its variant; then the JSON as it is.
//! These bytes are on disks and understood by peers of other versions: a kind may be added at the end, nothing may change.

use std::{borrow::Cow, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Event, Kind};
use crate::{
    protocol::Frame,
    types::{MessageId, Ordinal, Seq, Timestamp, UserId},
};

/// What stands before the JSON.
#[derive(Serialize, Deserialize)]
struct Head<'a> {
    seq: Seq,
    ordinal: Ordinal,
    sender: UserId,
    client_id: Option<&'a str>,
    event_id: MessageId,
    sent_at: i64,
    kind: Cow<'a, Kind>,
    body: usize,
}

pub fn put(out: Vec<u8>, event: &Event) -> Vec<u8> {
    put_with(out, event, event.body())
}

/// The same with something else in the place of the JSON.
pub fn put_with(out: Vec<u8>, event: &Event, body: &[u8]) -> Vec<u8> {
    let head = Head {
        seq: event.seq,
        ordinal: event.ordinal,
        sender: event.sender,
        client_id: event.client_id.as_deref(),
        event_id: event.event_id,
        sent_at: event.sent_at.0,
        kind: Cow::Borrowed(&event.kind),
        body: body.len(),
    };
    let mut out = postcard::to_extend(&head, out).expect("plain values can be written, and memory takes them");
    out.extend_from_slice(body);
    out
}

/// Takes one off the front; `None` where there is none. Its JSON is copied, so that a short event does not keep a long
/// message in memory.
pub fn take(from: &mut &[u8]) -> Option<Event> {
    let (head, rest): (Head<'_>, _) = postcard::take_from_bytes(from).ok()?;
    let (body, rest) = rest.split_at_checked(head.body)?;
    *from = rest;
    Some(Event {
        seq: head.seq,
        ordinal: head.ordinal,
        sender: head.sender,
        client_id: head.client_id.map(Arc::from),
        event_id: head.event_id,
        sent_at: Timestamp(head.sent_at),
        kind: head.kind.into_owned().named_in(body),
        frame: Frame::of(body),
    })
}
