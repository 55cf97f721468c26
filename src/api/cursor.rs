//! Where a list goes on, as text that clients hand back and need not understand.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use uuid::Uuid;

use crate::{
    http::{request::Request, respond::Rejection},
    store::RoomCursor,
    types::{RoomId, Timestamp, UserId},
};

/// What stands in `?after=` and `next`.
pub trait Cursor: Sized {
    fn to_bytes(&self) -> Vec<u8>;
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

impl Cursor for RoomCursor {
    fn to_bytes(&self) -> Vec<u8> {
        [&self.active_at.0.to_be_bytes()[..], self.room_id.0.as_bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (time, id) = bytes.split_first_chunk::<8>()?;
        let room_id = RoomId(Uuid::from_slice(id).ok()?);
        Some(Self { active_at: Timestamp(i64::from_be_bytes(*time)), room_id })
    }
}

impl Cursor for UserId {
    fn to_bytes(&self) -> Vec<u8> {
        self.0.as_bytes().to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Uuid::from_slice(bytes).ok().map(Self)
    }
}

/// A folded username.
impl Cursor for String {
    fn to_bytes(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        String::from_utf8(bytes.to_vec()).ok().filter(|name| !name.is_empty())
    }
}

pub fn encode(cursor: &impl Cursor) -> String {
    BASE64.encode(cursor.to_bytes())
}

fn decode<C: Cursor>(text: &str) -> Option<C> {
    C::from_bytes(&BASE64.decode(text).ok()?)
}

/// `?after=`, or 422 where it is none that this list gave out.
pub fn after<C: Cursor>(request: &Request) -> Result<Option<C>, Rejection> {
    named(request, "after")
}

/// The same where it has another name.
pub fn named<C: Cursor>(request: &Request, name: &str) -> Result<Option<C>, Rejection> {
    let Some(text) = request.query(name) else { return Ok(None) };
    let expected = "Input should be the next of an earlier page";
    decode(&text).map(Some).ok_or_else(|| Rejection::invalid("value_error", &["query", name], expected))
}

/// Cuts a list that was read one entry longer than its page, and says where the next page begins.
pub fn cut<T, C: Cursor>(entries: &mut Vec<T>, limit: usize, cursor: impl Fn(&T) -> C) -> Option<String> {
    if entries.len() <= limit {
        return None;
    }
    entries.truncate(limit);
    entries.last().map(|last| encode(&cursor(last)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back_as_they_went() {
        let user = UserId::fresh();
        assert_eq!(decode(&encode(&user)), Some(user));
        let room = RoomCursor { active_at: Timestamp::now(), room_id: RoomId::fresh() };
        assert_eq!(decode(&encode(&room)), Some(room));
        assert_eq!(decode(&encode(&"straße".to_owned())), Some("straße".to_owned()));
    }

    #[test]
    fn text_that_is_no_cursor_is_told() {
        for bad in ["", "!", "AAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "null"] {
            assert_eq!(decode::<RoomCursor>(bad), None, "{bad}");
            assert_eq!(decode::<UserId>(bad), None, "{bad}");
        }
        assert_eq!(decode::<String>("_w"), None, "not UTF-8");
        assert_eq!(decode::<String>(""), None, "nobody has an empty name");
    }

    #[test]
    fn a_list_is_cut_to_its_page() {
        let names = |count| (0..count).map(|n| n.to_string()).collect::<Vec<_>>();
        let mut page = names(3);
        assert_eq!(cut(&mut page, 2, String::clone), Some(encode(&"1".to_owned())));
        assert_eq!(page.len(), 2);
        assert_eq!(cut(&mut names(2), 2, String::clone), None);
        assert_eq!(cut(&mut names(0), 2, String::clone), None);
    }
}
