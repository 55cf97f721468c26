//! An event in a commit: its room's 16 bytes, a byte, and `event/packed.rs`'s. More than a third of a short message's JSON says
//! once more what the record says. Where its beginning and its end are word for word what follows from the record, they are left
//! out (the byte is 1), and made anew when it is read.

use std::io::Write;

use uuid::Uuid;

use crate::{
    event::{Event, packed},
    protocol::Frame,
    types::RoomId,
};

const WHOLE: u8 = 0;
const SHORT: u8 = 1;
const MEMORY: &str = "memory takes what is written to it";

pub(super) fn put(mut out: Vec<u8>, room: RoomId, event: &Event) -> Vec<u8> {
    out.extend_from_slice(room.0.as_bytes());
    // What is expected stands at the end of `out` only as long as it is compared.
    let at = out.len();
    let middle = begin(&mut out, room, event);
    finish(&mut out, event);
    let (start, end) = out[at..].split_at(middle - at);
    let inside = event.body().strip_prefix(start).and_then(|rest| rest.strip_suffix(end));
    out.truncate(at);
    out.push(if inside.is_some() { SHORT } else { WHOLE });
    packed::put_with(out, event, inside.unwrap_or(event.body()))
}

/// Takes one off the front; `None` where there is none.
pub(super) fn take(from: &mut &[u8]) -> Option<(RoomId, Event)> {
    let (room, rest) = from.split_at_checked(16)?;
    let (form, rest) = rest.split_first()?;
    let room = RoomId(Uuid::from_slice(room).ok()?);
    *from = rest;
    let event = packed::take(from)?;
    match *form {
        WHOLE => Some((room, event)),
        SHORT => {
            let mut body = Vec::new();
            begin(&mut body, room, &event);
            body.extend_from_slice(event.body());
            finish(&mut body, &event);
            Some((room, Event { frame: Frame::of(&body), ..event }))
        }
        _ => None,
    }
}

/// How the JSON of a message begins. These words, and those of [`finish`], are on disks: another way to write messages needs
/// another form. Returns where they end.
fn begin(out: &mut Vec<u8>, room: RoomId, event: &Event) -> usize {
    let (room, seq, id) = (room.0, event.seq, event.event_id.0);
    write!(out, r#"{{"type":"message","chat_id":"{room}","seq":{seq},"message_id":"{id}","sender":""#).expect(MEMORY);
    out.len()
}

/// How the JSON of a message ends.
fn finish(out: &mut Vec<u8>, event: &Event) {
    match &event.client_id {
        Some(id) => write!(out, r#"","client_id":"{id}"}}"#).expect(MEMORY),
        None => out.extend_from_slice(br#""}"#),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        event::{Place, Saying},
        types::{MessageId, Timestamp, UserId},
    };

    fn place(room: RoomId) -> Place<'static> {
        let (event_id, by) = (MessageId::fresh(), UserId::fresh());
        Place { room, seq: 7, ordinal: 5, sent_at: Timestamp(1_795_835_520_961), event_id, by, by_name: "ann" }
    }

    fn read_back(room: RoomId, event: &Event) -> (usize, Event) {
        let bytes = put(Vec::new(), room, event);
        let mut rest = bytes.as_slice();
        let (of, event) = take(&mut rest).expect("a record");
        assert_eq!((of, rest.len()), (room, 0));
        (bytes.len(), event)
    }

    #[test]
    fn what_a_record_says_it_says_once() {
        let room = RoomId::fresh();
        let id = uuid::Uuid::from_u128(7).to_string().into();
        let event = Event::new(place(room), Saying::Message { content: &"x".repeat(128), client_id: Some(&id) });
        let (bytes, found) = read_back(room, &event);
        assert_eq!(found, event);
        assert!(bytes < event.body().len(), "{bytes} bytes for {} of JSON and what is beside it", event.body().len());
    }

    proptest! {
        #[test]
        fn every_message_comes_back_as_it_was(content in "\\PC{0,40}|[\\x00-\\x7f]{0,20}", id in prop::option::of("\\PC{0,20}|[\\x00-\\x7f]{0,9}")) {
            let room = RoomId::fresh();
            let event = Event::new(place(room), Saying::Message { content: &content, client_id: id.map(Arc::from).as_ref() });
            prop_assert_eq!(read_back(room, &event).1, event);
        }

        #[test]
        fn any_json_comes_back_as_it_was(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let room = RoomId::fresh();
            let event = Event::new(place(room), Saying::Message { content: "", client_id: None });
            let event = Event { frame: Frame::of(&body), ..event };
            prop_assert_eq!(read_back(room, &event).1, event);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _refused = take(&mut bytes.as_slice()).is_none();
        }
    }
}
