//! Logins and their refresh tokens.

use std::sync::Arc;

use futures_util::future::join_all;
use natter::{
    store::{
        Device, LoginRecord, Presented, RefreshKey, Renewal, Rotation, SessionRecord, Store, UserChange, UserChanged,
    },
    types::{SessionId, UserId},
};

use super::fixture::{add, at, instead, login, presented, renewal, token};

pub async fn a_login_is_there_until_it_ends(store: Arc<dyn Store>) {
    let ann = add(&store, "ann").await;
    let session = login(ann, 0);
    assert_eq!(store.create_session(session.clone(), token(&session, 1), 9).await.unwrap(), []);
    assert_eq!(store.session(session.session_id).await.unwrap(), Some(session.clone()));
    let both = async |user| store.user_and_session(user, session.session_id).await.unwrap();
    let user = store.user(ann).await.unwrap().expect("it was added");
    assert_eq!(both(ann).await, Some((user.clone(), Some(session.clone()))));
    assert_eq!(both(UserId::fresh()).await, None);
    assert!(store.end_session(session.session_id).await.unwrap());
    assert!(!store.end_session(session.session_id).await.unwrap());
    assert_eq!(store.session(session.session_id).await.unwrap(), None);
    assert_eq!(both(ann).await, Some((user, None)));
    assert_eq!(store.session_of_refresh(presented(&session, 1)).await.unwrap(), None);
    assert!(!store.end_session(SessionId::fresh()).await.unwrap());
}

pub async fn past_the_limit_the_oldest_logins_end(store: Arc<dyn Store>) {
    let (ann, bob) = (add(&store, "ann").await, add(&store, "bob").await);
    let of_bob = login(bob, 0);
    store.create_session(of_bob.clone(), token(&of_bob, 100), 3).await.unwrap();
    let sessions: Vec<SessionRecord> = (1..=5).map(|n| login(ann, n)).collect();
    for (session, n) in sessions.iter().zip(0..) {
        let ended = store.create_session(session.clone(), token(session, n), 3).await.unwrap();
        let expected: Vec<SessionId> = n.checked_sub(3).map(|n| sessions[n as usize].session_id).into_iter().collect();
        assert_eq!(ended, expected);
    }
    let ids = |range: std::ops::Range<usize>| sessions[range].iter().map(|s| s.session_id).collect::<Vec<_>>();
    // Tighter now: all but the newest end, the oldest first.
    let newest = login(ann, 6);
    assert_eq!(store.create_session(newest.clone(), token(&newest, 9), 1).await.unwrap(), ids(2..5));
    // The new login stays, however old its clock says it is.
    let earlier = login(ann, -9);
    assert_eq!(store.create_session(earlier.clone(), token(&earlier, 10), 1).await.unwrap(), [newest.session_id]);
    assert_eq!(store.session(earlier.session_id).await.unwrap(), Some(earlier));
    assert_eq!(store.session(of_bob.session_id).await.unwrap(), Some(of_bob));
}

/// Rotates tokens `first` up to `last`, each a moment after the one before.
async fn rotated(store: &Arc<dyn Store>, session: &SessionRecord, turns: std::ops::Range<u32>) {
    for n in turns {
        let rotation = store.rotate_refresh(renewal(session, n, i64::from(n))).await.unwrap();
        assert_eq!(rotation, Rotation::Rotated(session.clone()), "token {n}");
    }
}

async fn begun(store: &Arc<dyn Store>, session: &SessionRecord) {
    store.create_session(session.clone(), token(session, 0), 9).await.unwrap();
}

pub async fn a_rotated_token_is_replaced_and_the_expiry_moves(store: Arc<dyn Store>) {
    let session = login(add(&store, "ann").await, 0);
    begun(&store, &session).await;
    let mut expected = session.clone();
    for n in 0..4 {
        expected.expires_at = at(5_000_000 + i64::from(n));
        let renewal = Renewal { expires_at: expected.expires_at, ..renewal(&session, n, 10) };
        assert_eq!(store.rotate_refresh(renewal).await.unwrap(), Rotation::Rotated(expected.clone()));
        assert_eq!(store.session(session.session_id).await.unwrap(), Some(expected.clone()));
    }
}

pub async fn a_reused_token_ends_its_login_for_good(store: Arc<dyn Store>) {
    // Not only the last one that was rotated away: any of them betrays the theft, and an older one at any time.
    for (reused, now) in [(0, 11), (1, 11), (2, 11), (3, 5_000)] {
        let ann = add(&store, &format!("ann{reused}")).await;
        let (stolen, other) = (login(ann, 0), login(ann, 1));
        begun(&store, &stolen).await;
        begun(&store, &other).await;
        rotated(&store, &stolen, 0..4).await;
        let rotation = store.rotate_refresh(renewal(&stolen, reused, now)).await.unwrap();
        assert_eq!(rotation, Rotation::Reused(stolen.clone()), "token {reused}");
        assert_eq!(store.session(stolen.session_id).await.unwrap(), None);
        for n in 0..5 {
            assert_eq!(store.rotate_refresh(renewal(&stolen, n, 12)).await.unwrap(), Rotation::Unknown);
        }
        assert_eq!(store.session(other.session_id).await.unwrap(), Some(other));
    }
}

/// As a client asks again that never got the answer.
pub async fn the_token_used_last_is_answered_again_for_a_while(store: Arc<dyn Store>) {
    let session = login(add(&store, "ann").await, 0);
    begun(&store, &session).await;
    rotated(&store, &session, 0..2).await;
    // Token 1 was used at 1, a grace of a second.
    let again = |other, now| Renewal { next: instead(token(&session, 2), other), ..renewal(&session, 1, now) };
    for (other, now) in [(1, 2), (2, 3), (3, 1_000)] {
        assert_eq!(store.rotate_refresh(again(other, now)).await.unwrap(), Rotation::Rotated(session.clone()));
    }
    // What was answered before is worth nothing now, and ends nothing while answers may cross.
    for other in [0, 1, 2] {
        let overtaken = Presented::Key(instead(token(&session, 2), other));
        let renewal = Renewal { presented: overtaken, ..renewal(&session, 2, 1_000) };
        assert_eq!(store.rotate_refresh(renewal).await.unwrap(), Rotation::Unknown);
    }
    let latest = Presented::Key(instead(token(&session, 2), 3));
    let renewed = store.rotate_refresh(Renewal { presented: latest, ..renewal(&session, 2, 1_001) }).await.unwrap();
    assert_eq!(renewed, Rotation::Rotated(session.clone()));
    // Now the latest was used last, and token 1 is an older one.
    let rotation = store.rotate_refresh(renewal(&session, 1, 1_002)).await.unwrap();
    assert_eq!(rotation, Rotation::Reused(session));
}

pub async fn after_the_grace_a_used_token_and_an_overtaken_one_end_their_login(store: Arc<dyn Store>) {
    for overtaken in [false, true] {
        let session = login(add(&store, &format!("ann{overtaken}")).await, 0);
        begun(&store, &session).await;
        rotated(&store, &session, 0..1).await;
        let other = instead(token(&session, 1), 1);
        store.rotate_refresh(Renewal { next: other, ..renewal(&session, 0, 999) }).await.unwrap();
        let late = renewal(&session, u32::from(overtaken), 1_000);
        assert_eq!(store.rotate_refresh(late).await.unwrap(), Rotation::Reused(session.clone()));
        assert_eq!(store.session(session.session_id).await.unwrap(), None);
    }
}

pub async fn a_token_of_another_family_changes_nothing(store: Arc<dyn Store>) {
    let session = login(add(&store, "ann").await, 0);
    begun(&store, &session).await;
    rotated(&store, &session, 0..2).await;
    for turn in 0..4 {
        let forged = Presented::Key(RefreshKey { family: [2; 32], ..instead(token(&session, turn), 1) });
        for now in [2, 5_000] {
            let rotation = store.rotate_refresh(Renewal { presented: forged, ..renewal(&session, turn, now) }).await;
            assert_eq!(rotation.unwrap(), Rotation::Unknown);
        }
        assert_eq!(store.session_of_refresh(forged).await.unwrap(), None);
    }
    rotated(&store, &session, 2..3).await;
}

pub async fn an_unknown_or_expired_token_changes_nothing(store: Arc<dyn Store>) {
    let ann = add(&store, "ann").await;
    let (session, never) = (login(ann, 0), login(ann, 1));
    begun(&store, &session).await;
    let bare = Renewal { presented: Presented::Bare([9; 32]), ..renewal(&session, 1, 1) };
    for unknown in [renewal(&never, 0, 1), bare] {
        assert_eq!(store.rotate_refresh(unknown).await.unwrap(), Rotation::Unknown);
        assert_eq!(store.session_of_refresh(unknown.presented).await.unwrap(), None);
    }
    let late = Renewal { now: session.expires_at, ..renewal(&session, 0, 0) };
    assert_eq!(store.rotate_refresh(late).await.unwrap(), Rotation::Unknown);
    assert_eq!(store.session(session.session_id).await.unwrap(), Some(session.clone()));
    // The token is as good as before for who comes in time.
    rotated(&store, &session, 0..1).await;
}

/// Presents token 0 fifty times at once, each time for another token.
async fn fifty_at_once(store: &Arc<dyn Store>, session: &SessionRecord, grace_secs: u64) -> Vec<Rotation> {
    let rotations = join_all((1..=50).map(|other| {
        let next = instead(token(session, 1), other);
        store.rotate_refresh(Renewal { next, grace_secs, ..renewal(session, 0, 1) })
    }));
    rotations.await.into_iter().map(Result::unwrap).collect()
}

pub async fn without_a_grace_one_of_fifty_rotations_of_one_token_wins(store: Arc<dyn Store>) {
    let session = login(add(&store, "ann").await, 0);
    begun(&store, &session).await;
    let rotations = fifty_at_once(&store, &session, 0).await;
    let count = |of: fn(&Rotation) -> bool| rotations.iter().filter(|rotation| of(rotation)).count();
    assert_eq!(count(|rotation| matches!(rotation, Rotation::Rotated(_))), 1);
    assert_eq!(count(|rotation| matches!(rotation, Rotation::Reused(_))), 1);
    assert_eq!(store.session(session.session_id).await.unwrap(), None);
}

pub async fn of_fifty_answers_to_one_token_the_last_counts(store: Arc<dyn Store>) {
    let session = login(add(&store, "ann").await, 0);
    begun(&store, &session).await;
    let rotations = fifty_at_once(&store, &session, 1).await;
    assert_eq!(rotations, vec![Rotation::Rotated(session.clone()); 50]);
    let mut good = 0;
    for other in 1..=50 {
        let presented = Presented::Key(instead(token(&session, 1), other));
        match store.rotate_refresh(Renewal { presented, ..renewal(&session, 1, 2) }).await.unwrap() {
            Rotation::Rotated(_) => good += 1,
            // Once one was used, the others are its elders.
            Rotation::Reused(_) => break,
            Rotation::Unknown => assert_eq!(good, 0),
        }
    }
    assert_eq!(good, 1);
}

pub async fn a_token_leads_to_its_login_used_or_not(store: Arc<dyn Store>) {
    let session = login(add(&store, "ann").await, 0);
    begun(&store, &session).await;
    rotated(&store, &session, 0..3).await;
    for n in 0..=3 {
        assert_eq!(store.session_of_refresh(presented(&session, n)).await.unwrap(), Some(session.clone()));
    }
    store.end_session(session.session_id).await.unwrap();
    assert_eq!(store.session_of_refresh(presented(&session, 3)).await.unwrap(), None);
}

pub async fn expired_logins_are_purged_in_portions(store: Arc<dyn Store>) {
    let ann = add(&store, "ann").await;
    let sessions: Vec<SessionRecord> =
        (0..5).map(|n| SessionRecord { expires_at: at(100 + n), ..login(ann, n) }).collect();
    for (session, n) in sessions.iter().zip(0..) {
        store.create_session(session.clone(), token(session, n), 9).await.unwrap();
    }
    assert_eq!(store.purge_sessions(at(100), 9).await.unwrap(), 0);
    assert_eq!(store.purge_sessions(at(103), 2).await.unwrap(), 2);
    assert_eq!(store.purge_sessions(at(103), 2).await.unwrap(), 1);
    assert_eq!(store.purge_sessions(at(103), 2).await.unwrap(), 0);
    for (session, n) in sessions.iter().zip(0..) {
        assert_eq!(store.session(session.session_id).await.unwrap().is_some(), n >= 3);
        assert_eq!(store.session_of_refresh(presented(session, n)).await.unwrap().is_some(), n >= 3);
    }
}

pub async fn a_users_logins_are_listed_with_what_was_seen_of_them_last(store: Arc<dyn Store>) {
    let (ann, bob) = (add(&store, "ann").await, add(&store, "bob").await);
    assert_eq!(store.logins_of(ann).await.unwrap(), []);
    let sessions = [login(ann, 0), login(ann, 1), login(ann, 2)];
    for session in sessions.iter().chain([&login(bob, 0)]) {
        begun(&store, session).await;
    }
    let unseen = |session: &SessionRecord| LoginRecord {
        session: session.clone(),
        seen_at: session.created_at,
        device: Device::default(),
    };
    let mut logins = sessions.each_ref().map(unseen);
    let listed = async || {
        let mut listed = store.logins_of(ann).await.unwrap();
        listed.sort_unstable_by_key(|login| login.session.created_at);
        listed
    };
    assert_eq!(listed().await, logins);
    let phone = Device { address: Some("2001:db8::7".into()), agent: Some("a phone".into()) };
    for (device, seen) in [(phone.clone(), 7), (Device::default(), 8), (phone, 9)] {
        store.see_session(sessions[1].session_id, at(seen), device.clone()).await.unwrap();
        (logins[1].seen_at, logins[1].device) = (at(seen), device);
        assert_eq!(listed().await, logins);
    }
    store.end_session(sessions[0].session_id).await.unwrap();
    assert_eq!(listed().await, logins[1..]);
    let change = UserChange::EndOtherLogins { keep: sessions[2].session_id };
    let UserChanged::Done(after) = store.change_user(ann, change.clone()).await.unwrap() else {
        panic!("ann is there")
    };
    assert_eq!(after.token_epoch, 0, "the access tokens of the login that stays are good still");
    assert_eq!(listed().await, logins[2..]);
    assert_eq!(store.session(sessions[1].session_id).await.unwrap(), None);
    assert_eq!(store.logins_of(bob).await.unwrap().len(), 1);
    // One that has ended does not come back by asking that the others end, nor by being seen.
    store.end_session(sessions[2].session_id).await.unwrap();
    store.change_user(ann, change).await.unwrap();
    store.see_session(sessions[2].session_id, at(10), Device::default()).await.unwrap();
    assert_eq!(listed().await, []);
}
