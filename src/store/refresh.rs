//! What it means when a refresh token is presented: the same for every store.
//!
//! A login keeps the hash of its current token and of the one used last, and nothing of those before: what all tokens of a
//! login have in common, and nobody else knows, tells that an older one is one of its own.

use crate::types::{SessionId, Timestamp};

/// SHA-256 of a refresh token, or of a part of it: the token itself is never stored.
pub type RefreshHash = [u8; 32];

/// A refresh token as stores know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshKey {
    pub session: SessionId,
    /// Of what all tokens of the login have in common.
    pub family: RefreshHash,
    /// Its number among them: the one that follows a token has the next number, however often it is given anew.
    pub turn: u64,
    /// Of the whole token.
    pub hash: RefreshHash,
}

/// What somebody brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presented {
    Key(RefreshKey),
    /// A token of the versions before, which names no login: its hash.
    Bare(RefreshHash),
}

impl Presented {
    pub fn hash(&self) -> RefreshHash {
        match self {
            Presented::Key(key) => key.hash,
            Presented::Bare(hash) => *hash,
        }
    }
}

/// What is to take the place of a login's current token.
#[derive(Debug, Clone, Copy)]
pub struct Renewal {
    pub presented: Presented,
    pub next: RefreshKey,
    pub now: Timestamp,
    /// For how long the token used last is answered again.
    pub grace_secs: u64,
    /// The login's, if it is renewed.
    pub expires_at: Timestamp,
}

/// What a store holds of a login's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    /// `None`: a login begun by a version whose tokens had nothing in common.
    pub family: Option<RefreshHash>,
    pub turn: u64,
    pub hash: RefreshHash,
    pub used: Option<Used>,
}

/// The token that was used last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Used {
    pub hash: RefreshHash,
    /// When it was used first.
    pub at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The next token takes the place of the current one, and this was used last then.
    Follow(Used),
    /// Refused, and nothing is betrayed by it.
    Refuse,
    /// Refused, and the login ends: a token is in two hands.
    End,
}

impl Held {
    /// What comes of presenting a token. For some time after a token was used its answer may have been lost, or two may
    /// have crossed: it is answered again, and the token of an answer that was overtaken ends nothing.
    pub fn judge(&self, renewal: &Renewal) -> Verdict {
        let Renewal { presented, now, grace_secs, .. } = *renewal;
        let hash = presented.hash();
        if hash == self.hash {
            return Verdict::Follow(Used { hash, at: now });
        }
        let lately = self.used.filter(|used| now < used.at.plus_secs(grace_secs));
        match (presented, lately) {
            (_, Some(used)) if used.hash == hash => Verdict::Follow(used),
            (Presented::Key(key), _) if Some(key.family) != self.family => Verdict::Refuse,
            (Presented::Key(key), Some(_)) if key.turn == self.turn => Verdict::Refuse,
            _ => Verdict::End,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USED_AT: Timestamp = Timestamp(1_800_000_000_000);

    fn key(session: SessionId, turn: u64, hash: u8) -> Presented {
        Presented::Key(RefreshKey { session, family: [1; 32], turn, hash: [hash; 32] })
    }

    #[test]
    fn what_a_token_means_is_told_by_its_place_and_the_time() {
        let session = SessionId::fresh();
        let used = Used { hash: [7; 32], at: USED_AT };
        let held = Held { family: Some([1; 32]), turn: 8, hash: [8; 32], used: Some(used) };
        let now = |secs| USED_AT.plus_secs(secs);
        let next = RefreshKey { session, family: [1; 32], turn: 9, hash: [10; 32] };
        let renewal = |presented, now, grace_secs| Renewal { presented, next, now, grace_secs, expires_at: now };
        let judge = |presented, secs| held.judge(&renewal(presented, now(secs), 30));
        for secs in [0, 29, 30, 10_000] {
            let current = Used { hash: [8; 32], at: now(secs) };
            assert_eq!(judge(key(session, 8, 8), secs), Verdict::Follow(current), "the current one");
            assert_eq!(judge(key(session, 6, 6), secs), Verdict::End, "an older one");
            let foreign = RefreshKey { session, family: [2; 32], turn: 6, hash: [6; 32] };
            assert_eq!(judge(Presented::Key(foreign), secs), Verdict::Refuse, "one of no login here");
            assert_eq!(judge(Presented::Bare([6; 32]), secs), Verdict::End, "one of before");
        }
        for (secs, again, overtaken) in [
            (0, Verdict::Follow(used), Verdict::Refuse),
            (29, Verdict::Follow(used), Verdict::Refuse),
            (30, Verdict::End, Verdict::End),
        ] {
            assert_eq!(judge(key(session, 7, 7), secs), again, "the one used last, {secs} s later");
            assert_eq!(judge(key(session, 8, 9), secs), overtaken, "one that was overtaken, {secs} s later");
        }
        let (last, earlier) = (key(session, 7, 7), Timestamp(USED_AT.0 - 60_000));
        assert_eq!(held.judge(&renewal(last, USED_AT, 0)), Verdict::End, "without a grace");
        assert_eq!(held.judge(&renewal(last, earlier, 30)), Verdict::Follow(used), "by a clock that is behind");
    }
}
