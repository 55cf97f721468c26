//! Refresh tokens: what they are made of.
//!
//! A token names its login and its turn, and holds two secrets: one that all tokens of the login share, by which an old one
//! is known though nothing of it is kept, and one of its own, which alone makes it good. Its last bytes are made of the others,
//! so that a token that was cut or misspelt is none, and not an old one that betrays a theft.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    store::{Presented, RefreshHash, RefreshKey},
    types::SessionId,
};

/// Scanners for leaked secrets know a token by its beginning.
const PREFIX: &str = "nrt_";

const SECRET_BYTES: usize = 16;
const CHECK_BYTES: usize = 8;
const TOKEN_BYTES: usize = 16 + SECRET_BYTES + 8 + SECRET_BYTES + CHECK_BYTES;

/// What a token of the versions before was: chance alone.
const BARE_BYTES: usize = 32;

/// A token in our hands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RefreshToken {
    session: SessionId,
    family: [u8; SECRET_BYTES],
    turn: u64,
    own: [u8; SECRET_BYTES],
}

/// A text that has the form of a refresh token.
pub enum Read {
    Token(RefreshToken),
    /// Of the versions before: its hash.
    Bare(RefreshHash),
}

impl RefreshToken {
    /// The first one of a login.
    pub fn first(session: SessionId) -> Self {
        Self { session, family: rand::random(), turn: 0, own: rand::random() }
    }

    /// One that may follow this one; every call makes another.
    pub fn next(&self) -> Self {
        Self { turn: self.turn.saturating_add(1), own: rand::random(), ..*self }
    }

    /// `None` for a text that no version of natter would have made.
    pub fn read(text: &str) -> Option<Read> {
        let bytes = BASE64.decode(text.strip_prefix(PREFIX)?).ok()?;
        if bytes.len() == BARE_BYTES {
            return Some(Read::Bare(hash(text.as_bytes())));
        }
        let bytes: [u8; TOKEN_BYTES] = bytes.try_into().ok()?;
        let (said, check) = bytes.split_last_chunk()?;
        let (session, rest) = said.split_first_chunk()?;
        let (family, rest) = rest.split_first_chunk()?;
        let (turn, rest) = rest.split_first_chunk()?;
        let (own, _) = rest.split_first_chunk()?;
        let token = Self {
            session: SessionId(Uuid::from_bytes(*session)),
            family: *family,
            turn: u64::from_be_bytes(*turn),
            own: *own,
        };
        (*check == check_of(said)).then_some(Read::Token(token))
    }

    pub fn text(&self) -> String {
        let mut bytes = Vec::with_capacity(TOKEN_BYTES);
        bytes.extend_from_slice(self.session.0.as_bytes());
        bytes.extend_from_slice(&self.family);
        bytes.extend_from_slice(&self.turn.to_be_bytes());
        bytes.extend_from_slice(&self.own);
        bytes.extend_from_slice(&check_of(&bytes));
        format!("{PREFIX}{}", BASE64.encode(bytes))
    }

    /// What is stored of it. Its secrets have 128 bits of chance each, so one round of SHA-256 is enough.
    pub fn key(&self) -> RefreshKey {
        RefreshKey {
            session: self.session,
            family: hash(&self.family),
            turn: self.turn,
            hash: hash(self.text().as_bytes()),
        }
    }
}

impl Read {
    pub fn presented(&self) -> Presented {
        match self {
            Read::Token(token) => Presented::Key(token.key()),
            Read::Bare(hash) => Presented::Bare(*hash),
        }
    }
}

fn check_of(said: &[u8]) -> [u8; CHECK_BYTES] {
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&hash(said)[..CHECK_BYTES]);
    check
}

fn hash(bytes: &[u8]) -> RefreshHash {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<RefreshToken> {
        match RefreshToken::read(text) {
            Some(Read::Token(token)) => Some(token),
            _ => None,
        }
    }

    #[test]
    fn refresh_tokens_are_recognisable_and_never_alike() {
        let first = RefreshToken::first(SessionId::fresh());
        let (one, other) = (first.next(), first.next());
        assert!(one.text().starts_with("nrt_") && one.text().len() == 90, "{}", one.text());
        assert!(read(&one.text()) == Some(one));
        let (one, other) = (one.key(), other.key());
        assert_ne!(one.hash, other.hash);
        assert_eq!((one.session, one.family, one.turn), (other.session, other.family, other.turn));
        assert_eq!((first.key().turn, one.turn), (0, 1));
    }

    #[test]
    fn a_changed_token_is_none() {
        let token = RefreshToken::first(SessionId::fresh());
        let text = token.text();
        for at in 0..text.len() {
            let mut changed = text.clone();
            changed.replace_range(at..=at, if text.as_bytes()[at] == b'A' { "B" } else { "A" });
            assert!(changed == text || read(&changed).is_none(), "{changed}");
        }
        for no_token in ["", "nrt_", &text[4..], &text[..89], &format!("{text}A"), &format!("{text}="), "nrt_ü"] {
            assert!(RefreshToken::read(no_token).is_none(), "{no_token}");
        }
    }

    #[test]
    fn a_token_of_the_versions_before_is_known_by_its_hash() {
        let text = format!("{PREFIX}{}", BASE64.encode([9; BARE_BYTES]));
        let presented = RefreshToken::read(&text).expect("it is one").presented();
        assert_eq!(presented, Presented::Bare(hash(text.as_bytes())));
    }
}
