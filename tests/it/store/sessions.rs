//! Logins and their refresh tokens.

use std::sync::Arc;

use futures_util::future::join_all;
use natter::{
    store::{Rotation, SessionRecord, Store},
    types::SessionId,
};

use super::fixture::{add, at, login, token};

pub async fn a_login_is_there_until_it_ends(store: Arc<dyn Store>) {
    let ann = add(&store, "ann").await;
    let session = login(ann, 0);
    assert_eq!(store.create_session(session.clone(), token(1), 9).await.unwrap(), []);
    assert_eq!(store.session(session.session_id).await.unwrap(), Some(session.clone()));
    assert!(store.end_session(session.session_id).await.unwrap());
    assert!(!store.end_session(session.session_id).await.unwrap());
    assert_eq!(store.session(session.session_id).await.unwrap(), None);
    assert_eq!(store.session_of_refresh(token(1)).await.unwrap(), None);
    assert!(!store.end_session(SessionId::fresh()).await.unwrap());
}

pub async fn past_the_limit_the_oldest_logins_end(store: Arc<dyn Store>) {
    let (ann, bob) = (add(&store, "ann").await, add(&store, "bob").await);
    let of_bob = login(bob, 0);
    store.create_session(of_bob.clone(), token(100), 3).await.unwrap();
    let sessions: Vec<SessionRecord> = (1..=5).map(|n| login(ann, n)).collect();
    for (session, n) in sessions.iter().zip(0..) {
        let ended = store.create_session(session.clone(), token(n), 3).await.unwrap();
        let expected: Vec<SessionId> = n.checked_sub(3).map(|n| sessions[n as usize].session_id).into_iter().collect();
        assert_eq!(ended, expected);
    }
    let ids = |range: std::ops::Range<usize>| sessions[range].iter().map(|s| s.session_id).collect::<Vec<_>>();
    // Tighter now: all but the newest end, the oldest first.
    let newest = login(ann, 6);
    assert_eq!(store.create_session(newest.clone(), token(9), 1).await.unwrap(), ids(2..5));
    // The new login stays, however old its clock says it is.
    let earlier = login(ann, -9);
    assert_eq!(store.create_session(earlier.clone(), token(10), 1).await.unwrap(), [newest.session_id]);
    assert_eq!(store.session(earlier.session_id).await.unwrap(), Some(earlier));
    assert_eq!(store.session(of_bob.session_id).await.unwrap(), Some(of_bob));
}

pub async fn a_rotated_token_is_replaced_and_the_expiry_moves(store: Arc<dyn Store>) {
    let ann = add(&store, "ann").await;
    let session = login(ann, 0);
    store.create_session(session.clone(), token(1), 9).await.unwrap();
    let mut expected = session.clone();
    for n in 1..5 {
        expected.expires_at = at(5_000_000 + i64::from(n));
        let rotation = store.rotate_refresh(token(n), token(n + 1), at(10), expected.expires_at).await.unwrap();
        assert_eq!(rotation, Rotation::Rotated(expected.clone()));
        assert_eq!(store.session(session.session_id).await.unwrap(), Some(expected.clone()));
    }
}

pub async fn a_reused_token_ends_its_login_for_good(store: Arc<dyn Store>) {
    let ann = add(&store, "ann").await;
    let (stolen, other) = (login(ann, 0), login(ann, 1));
    store.create_session(stolen.clone(), token(1), 9).await.unwrap();
    store.create_session(other.clone(), token(50), 9).await.unwrap();
    for n in 1..4 {
        store.rotate_refresh(token(n), token(n + 1), at(10), stolen.expires_at).await.unwrap();
    }
    // Not only the last one that was rotated away: any of them betrays the theft.
    let rotation = store.rotate_refresh(token(1), token(9), at(11), at(99)).await.unwrap();
    assert_eq!(rotation, Rotation::Reused(stolen.clone()));
    assert_eq!(store.session(stolen.session_id).await.unwrap(), None);
    for n in [1, 3, 4, 9] {
        assert_eq!(store.rotate_refresh(token(n), token(10), at(12), at(99)).await.unwrap(), Rotation::Unknown);
    }
    assert_eq!(store.session(other.session_id).await.unwrap(), Some(other));
}

pub async fn an_unknown_or_expired_token_changes_nothing(store: Arc<dyn Store>) {
    let ann = add(&store, "ann").await;
    let session = login(ann, 0);
    store.create_session(session.clone(), token(1), 9).await.unwrap();
    assert_eq!(store.rotate_refresh(token(2), token(3), at(1), at(99)).await.unwrap(), Rotation::Unknown);
    let late = session.expires_at;
    assert_eq!(store.rotate_refresh(token(1), token(3), late, at(99)).await.unwrap(), Rotation::Unknown);
    assert_eq!(store.session(session.session_id).await.unwrap(), Some(session.clone()));
    assert_eq!(store.session_of_refresh(token(3)).await.unwrap(), None);
    // The token is as good as before for who comes in time.
    let rotation = store.rotate_refresh(token(1), token(3), at(1), session.expires_at).await.unwrap();
    assert_eq!(rotation, Rotation::Rotated(session));
}

pub async fn of_fifty_rotations_of_one_token_one_wins(store: Arc<dyn Store>) {
    let ann = add(&store, "ann").await;
    let session = login(ann, 0);
    store.create_session(session.clone(), token(0), 9).await.unwrap();
    let rotations = join_all((1..=50).map(|n| store.rotate_refresh(token(0), token(n), at(1), at(99)))).await;
    let rotations: Vec<Rotation> = rotations.into_iter().map(Result::unwrap).collect();
    let count = |of: fn(&Rotation) -> bool| rotations.iter().filter(|rotation| of(rotation)).count();
    assert_eq!(count(|rotation| matches!(rotation, Rotation::Rotated(_))), 1);
    assert_eq!(count(|rotation| matches!(rotation, Rotation::Reused(_))), 1);
    assert_eq!(store.session(session.session_id).await.unwrap(), None);
}

pub async fn a_token_leads_to_its_login_used_or_not(store: Arc<dyn Store>) {
    let ann = add(&store, "ann").await;
    let session = login(ann, 0);
    store.create_session(session.clone(), token(1), 9).await.unwrap();
    store.rotate_refresh(token(1), token(2), at(1), session.expires_at).await.unwrap();
    for n in [1, 2] {
        assert_eq!(store.session_of_refresh(token(n)).await.unwrap(), Some(session.clone()));
    }
    assert_eq!(store.session_of_refresh(token(3)).await.unwrap(), None);
}

pub async fn expired_logins_are_purged_in_portions(store: Arc<dyn Store>) {
    let ann = add(&store, "ann").await;
    let sessions: Vec<SessionRecord> =
        (0..5).map(|n| SessionRecord { expires_at: at(100 + n), ..login(ann, n) }).collect();
    for (session, n) in sessions.iter().zip(0..) {
        store.create_session(session.clone(), token(n), 9).await.unwrap();
    }
    assert_eq!(store.purge_sessions(at(100), 9).await.unwrap(), 0);
    assert_eq!(store.purge_sessions(at(103), 2).await.unwrap(), 2);
    assert_eq!(store.purge_sessions(at(103), 2).await.unwrap(), 1);
    assert_eq!(store.purge_sessions(at(103), 2).await.unwrap(), 0);
    for (session, n) in sessions.iter().zip(0..) {
        assert_eq!(store.session(session.session_id).await.unwrap().is_some(), n >= 3);
        assert_eq!(store.session_of_refresh(token(n)).await.unwrap().is_some(), n >= 3);
    }
}

const DAY: i64 = 86_400_000;

/// A login whose first token is good for thirty days, and which is then renewed on so many days by tokens that are good for
/// `good_days`. Token `n` is used on day `n`.
async fn renewed_daily(store: &Arc<dyn Store>, days: u32, good_days: i64) -> SessionRecord {
    let session = SessionRecord { expires_at: at(30 * DAY), ..login(add(store, "ann").await, 0) };
    store.create_session(session.clone(), token(0), 9).await.unwrap();
    for n in 0..days {
        let day = i64::from(n);
        let until = at((day + good_days) * DAY);
        let rotation = store.rotate_refresh(token(n), token(n + 1), at(day * DAY), until).await.unwrap();
        assert!(matches!(rotation, Rotation::Rotated(_)), "{rotation:?}");
    }
    session
}

/// With tokens that are good for thirty days, a login keeps those of thirty days.
pub async fn used_tokens_go_when_they_would_have_expired(store: Arc<dyn Store>) {
    let session = renewed_daily(&store, 60, 30).await;
    let now = at(60 * DAY);
    // The first token was good until day 30, and the others until days 30, 31, and so on.
    assert_eq!(store.rotate_refresh(token(10), token(99), now, at(90 * DAY)).await.unwrap(), Rotation::Unknown);
    assert!(store.session_of_refresh(token(10)).await.unwrap().is_some());
    for purged in [20, 11, 0] {
        assert_eq!(store.purge_sessions(now, 20).await.unwrap(), purged);
    }
    for n in 0..=60 {
        assert_eq!(store.session_of_refresh(token(n)).await.unwrap().is_some(), n > 30, "token {n}");
    }
    let rotation = store.rotate_refresh(token(60), token(61), now, at(90 * DAY)).await.unwrap();
    let renewed = SessionRecord { expires_at: at(90 * DAY), ..session };
    assert_eq!(rotation, Rotation::Rotated(renewed.clone()));
    // Of those that are still good, a used one betrays a copy.
    let rotation = store.rotate_refresh(token(40), token(62), now, at(90 * DAY)).await.unwrap();
    assert_eq!(rotation, Rotation::Reused(renewed));
}

/// As when the time that tokens are good for was made shorter.
pub async fn a_used_token_is_known_as_used_as_long_as_it_is_good(store: Arc<dyn Store>) {
    renewed_daily(&store, 5, 2).await;
    assert_eq!(store.purge_sessions(at(5 * DAY), 9).await.unwrap(), 0);
    let rotation = store.rotate_refresh(token(0), token(9), at(5 * DAY), at(7 * DAY)).await.unwrap();
    assert!(matches!(rotation, Rotation::Reused(_)), "{rotation:?}");
}
