//! Users: names, roles, changes, lists.

use std::sync::Arc;

use futures_util::future::join_all;
use natter::{
    store::{DELETED_NAME, Deletion, Store, UserChange, UserChanged, UserQuery, UserRecord},
    types::{Role, UserId},
};

use super::fixture::{add, add_admin, login, person, presented, token};

async fn changed(store: &Arc<dyn Store>, user: UserId, change: UserChange) -> UserRecord {
    match store.change_user(user, change).await.unwrap() {
        UserChanged::Done(record) => {
            assert_eq!(store.user(user).await.unwrap().as_ref(), Some(&record));
            record
        }
        other => panic!("{other:?}"),
    }
}

async fn names(store: &Arc<dyn Store>, query: UserQuery) -> Vec<String> {
    store.users(query).await.unwrap().into_iter().map(|user| user.username).collect()
}

pub async fn a_user_is_found_by_id_and_by_folded_name(store: Arc<dyn Store>) {
    let ann = UserRecord { token_epoch: 3, roles: vec![Role::Admin, Role::BasicUser], ..person("Ann") };
    assert!(store.create_user(ann.clone()).await.unwrap());
    assert_eq!(store.user(ann.user_id).await.unwrap(), Some(ann.clone()));
    assert_eq!(store.user_by_name("ann").await.unwrap(), Some(ann));
    assert_eq!(store.user_by_name("Ann").await.unwrap(), None);
    assert_eq!(store.user(UserId::fresh()).await.unwrap(), None);
}

pub async fn a_taken_name_makes_no_user(store: Arc<dyn Store>) {
    let first = person("Ann");
    assert!(store.create_user(first.clone()).await.unwrap());
    let second = person("ANN");
    assert!(!store.create_user(second.clone()).await.unwrap());
    assert_eq!(store.user(second.user_id).await.unwrap(), None);
    assert_eq!(store.user_by_name("ann").await.unwrap(), Some(first));
}

pub async fn a_name_that_looks_like_anothers_makes_no_user(store: Arc<dyn Store>) {
    let first = person("admin");
    assert!(store.create_user(first.clone()).await.unwrap());
    for name in ["аdmin", "admın", "аdmіn"] {
        let second = person(name);
        assert!(!store.create_user(second.clone()).await.unwrap(), "{name}");
        assert_eq!(store.user(second.user_id).await.unwrap(), None);
        assert_eq!(store.user_by_name(name).await.unwrap(), None);
    }
    assert!(store.create_user(first.clone()).await.is_ok(), "again, after an answer that was lost");
    assert!(store.create_user(person("админ")).await.unwrap());
    assert_eq!(store.user_by_name("admin").await.unwrap(), Some(first));
}

pub async fn twenty_sign_ups_for_names_that_look_alike_make_one_user(store: Arc<dyn Store>) {
    let name = |n: usize| if n.is_multiple_of(2) { "bob" } else { "bоb" };
    let made = join_all((0..20).map(|n| store.create_user(person(name(n))))).await;
    assert_eq!(made.into_iter().filter(|made| *made.as_ref().unwrap()).count(), 1);
}

pub async fn whoever_is_brought_keeps_a_name_that_looks_like_anothers(store: Arc<dyn Store>) {
    let (ann, other) = (person("ann"), person("аnn"));
    for user in [&ann, &other] {
        assert!(store.bring_user(user.clone()).await.unwrap());
    }
    assert!(!store.bring_user(person("ann")).await.unwrap(), "two cannot have one name");
    for user in [ann, other] {
        assert_eq!(store.user(user.user_id).await.unwrap(), Some(user.clone()));
        assert_eq!(store.user_by_name(&user.folded).await.unwrap(), Some(user.clone()));
        changed(&store, user.user_id, UserChange::DisplayName("A".into())).await;
    }
    assert!(!store.create_user(person("anո")).await.unwrap(), "a third is refused");
}

pub async fn fifty_sign_ups_for_one_name_make_one_user(store: Arc<dyn Store>) {
    let made = join_all((0..50).map(|_| store.create_user(person("ann")))).await;
    assert_eq!(made.into_iter().filter(|made| *made.as_ref().unwrap()).count(), 1);
    assert_eq!(names(&store, UserQuery { limit: 500, ..Default::default() }).await, ["ann"]);
}

pub async fn users_are_listed_by_folded_name_in_pages(store: Arc<dyn Store>) {
    for name in ["bob", "Ann", "éva", "zoë", "Cid"] {
        add(&store, name).await;
    }
    let cid = store.user_by_name("cid").await.unwrap().unwrap().user_id;
    changed(&store, cid, UserChange::Disable).await;

    let mut seen = Vec::new();
    loop {
        let after = seen.last().map(|user: &UserRecord| user.folded.clone());
        let page = store.users(UserQuery { after, limit: 2, with_disabled: true, ..Default::default() }).await.unwrap();
        if page.is_empty() {
            break;
        }
        seen.extend(page);
    }
    let listed: Vec<&str> = seen.iter().map(|user| user.username.as_str()).collect();
    assert_eq!(listed, ["Ann", "bob", "Cid", "zoë", "éva"]);
    assert_eq!(names(&store, UserQuery { limit: 9, ..Default::default() }).await, ["Ann", "bob", "zoë", "éva"]);
    assert!(names(&store, UserQuery { limit: 0, ..Default::default() }).await.is_empty());
}

pub async fn a_prefix_means_itself_also_with_wildcards_in_it(store: Arc<dyn Store>) {
    for name in ["a%b", "a%c", "a_b", "axb", "a.b", "b", "a\u{10ffff}", "a"] {
        add(&store, name).await;
    }
    let with = |prefix: &str, after: Option<&str>| UserQuery {
        prefix: prefix.into(),
        after: after.map(Into::into),
        limit: 50,
        ..Default::default()
    };
    assert_eq!(names(&store, with("a%", None)).await, ["a%b", "a%c"]);
    assert_eq!(names(&store, with("a%", Some("a%b"))).await, ["a%c"]);
    assert_eq!(names(&store, with("a_", None)).await, ["a_b"]);
    assert_eq!(names(&store, with("a.", None)).await, ["a.b"]);
    assert_eq!(names(&store, with("a\u{10ffff}", None)).await, ["a\u{10ffff}"]);
    assert_eq!(names(&store, with("a", None)).await.len(), 7);
    assert_eq!(names(&store, with("", None)).await.len(), 8);
    assert!(names(&store, with("c", None)).await.is_empty());
    assert!(names(&store, with("a", Some("b"))).await.is_empty());
}

pub async fn a_change_of_nobody_says_so(store: Arc<dyn Store>) {
    for change in [UserChange::Enable, UserChange::Disable, UserChange::RemoveRole(Role::Admin)] {
        assert_eq!(store.change_user(UserId::fresh(), change).await.unwrap(), UserChanged::NoSuchUser);
    }
}

pub async fn a_display_name_changes_alone(store: Arc<dyn Store>) {
    let ann = add(&store, "ann").await;
    let before = store.user(ann).await.unwrap().unwrap();
    let after = changed(&store, ann, UserChange::DisplayName("Ann ☕".into())).await;
    assert_eq!(after, UserRecord { display_name: "Ann ☕".into(), ..before });
}

pub async fn roles_are_given_and_taken_without_repeats(store: Arc<dyn Store>) {
    let (ann, _root) = (add(&store, "ann").await, add_admin(&store, "root").await);
    for _ in 0..2 {
        let record = changed(&store, ann, UserChange::AddRole(Role::Admin)).await;
        assert_eq!(record.roles, [Role::Admin, Role::BasicUser]);
    }
    for _ in 0..2 {
        assert_eq!(changed(&store, ann, UserChange::RemoveRole(Role::Admin)).await.roles, [Role::BasicUser]);
    }
    assert!(changed(&store, ann, UserChange::RemoveRole(Role::BasicUser)).await.roles.is_empty());
}

pub async fn the_last_enabled_admin_stays_admin_and_enabled(store: Arc<dyn Store>) {
    let (root, other) = (add_admin(&store, "root").await, add_admin(&store, "other").await);
    changed(&store, other, UserChange::Disable).await;
    let before = store.user(root).await.unwrap();
    let session = login(root, 0);
    store.create_session(session.clone(), token(&session, 1), 9).await.unwrap();
    // The other one is admin still, but may not sign in.
    for change in [UserChange::RemoveRole(Role::Admin), UserChange::Disable] {
        assert_eq!(store.change_user(root, change).await.unwrap(), UserChanged::LastAdmin);
    }
    assert_eq!(store.user(root).await.unwrap(), before);
    assert!(store.session(session.session_id).await.unwrap().is_some());
    changed(&store, root, UserChange::RemoveRole(Role::BasicUser)).await;
    // A disabled admin is not the last one, whoever else there is.
    changed(&store, other, UserChange::RemoveRole(Role::Admin)).await;
    changed(&store, other, UserChange::AddRole(Role::Admin)).await;
    changed(&store, other, UserChange::Enable).await;
    assert_eq!(changed(&store, root, UserChange::RemoveRole(Role::Admin)).await.roles, []);
}

pub async fn admins_who_remove_each_other_at_once_leave_one(store: Arc<dyn Store>) {
    let mut admins = Vec::new();
    for n in 0..20 {
        admins.push(add_admin(&store, &format!("admin{n}")).await);
    }
    let changes = admins.iter().enumerate().map(|(n, admin)| {
        let change = if n % 2 == 0 { UserChange::RemoveRole(Role::Admin) } else { UserChange::Disable };
        store.change_user(*admin, change)
    });
    let refused = join_all(changes).await.into_iter().filter(|done| *done.as_ref().unwrap() == UserChanged::LastAdmin);
    assert_eq!(refused.count(), 1);
    let enabled = store.users(UserQuery { limit: 99, ..Default::default() }).await.unwrap();
    assert_eq!(enabled.iter().filter(|user| user.roles.contains(&Role::Admin)).count(), 1);
}

pub async fn a_new_password_ends_every_other_login(store: Arc<dyn Store>) {
    let (ann, bob) = (add(&store, "ann").await, add(&store, "bob").await);
    let (one, two, of_bob) = (login(ann, 0), login(ann, 1), login(bob, 2));
    for (session, n) in [(&one, 1), (&two, 2), (&of_bob, 3)] {
        store.create_session(session.clone(), token(session, n), 9).await.unwrap();
    }
    let change = UserChange::Password { hash: "$2b$new".into(), keep: Some(two.session_id) };
    let record = changed(&store, ann, change).await;
    assert_eq!((record.password_hash.as_str(), record.token_epoch), ("$2b$new", 0));
    assert_eq!(store.session(one.session_id).await.unwrap(), None);
    assert_eq!(store.session_of_refresh(presented(&one, 1)).await.unwrap(), None);
    assert_eq!(store.session(two.session_id).await.unwrap(), Some(two.clone()));
    assert_eq!(store.session(of_bob.session_id).await.unwrap(), Some(of_bob));
    changed(&store, ann, UserChange::Password { hash: "$2b$newer".into(), keep: None }).await;
    assert_eq!(store.session(two.session_id).await.unwrap(), None);
}

pub async fn another_hash_of_the_same_password_ends_nothing(store: Arc<dyn Store>) {
    let ann = add(&store, "ann").await;
    let session = login(ann, 0);
    store.create_session(session.clone(), token(&session, 1), 9).await.unwrap();
    let before = store.user(ann).await.unwrap().unwrap();
    let rehash = |from: &str, to: &str| UserChange::Rehash { from: from.into(), to: to.into() };
    let record = changed(&store, ann, rehash(&before.password_hash, "$2b$10$new")).await;
    assert_eq!(record, UserRecord { password_hash: "$2b$10$new".into(), ..before });
    assert_eq!(store.session(session.session_id).await.unwrap(), Some(session));
    // A password that was changed meanwhile stays.
    assert_eq!(changed(&store, ann, rehash("$2b$10$old", "$2b$10$newer")).await, record);
    let nobody = store.change_user(UserId::fresh(), rehash("a", "b")).await.unwrap();
    assert_eq!(nobody, UserChanged::NoSuchUser);
}

pub async fn disabling_ends_every_login_and_raises_the_epoch(store: Arc<dyn Store>) {
    let ann = add(&store, "ann").await;
    let session = login(ann, 0);
    store.create_session(session.clone(), token(&session, 1), 9).await.unwrap();
    let record = changed(&store, ann, UserChange::Disable).await;
    assert!(record.disabled);
    assert_eq!(record.token_epoch, 1);
    assert_eq!(store.session(session.session_id).await.unwrap(), None);
    let record = changed(&store, ann, UserChange::Enable).await;
    assert!(!record.disabled);
    assert_eq!(record.token_epoch, 1);
}

pub async fn ending_logins_raises_the_epoch_each_time(store: Arc<dyn Store>) {
    let ann = add(&store, "ann").await;
    let session = login(ann, 0);
    store.create_session(session.clone(), token(&session, 1), 9).await.unwrap();
    assert_eq!(changed(&store, ann, UserChange::EndLogins).await.token_epoch, 1);
    assert_eq!(store.session(session.session_id).await.unwrap(), None);
    assert_eq!(changed(&store, ann, UserChange::EndLogins).await.token_epoch, 2);
}

const KEEP: Deletion = Deletion { erase: false, free_name: false, done: false };
const FREE: Deletion = Deletion { free_name: true, ..KEEP };

pub async fn a_deleted_user_has_no_name_password_role_or_login_and_cannot_be_enabled(store: Arc<dyn Store>) {
    let (ann, cid) = (add(&store, "ann").await, add(&store, "cid").await);
    let session = login(ann, 0);
    store.create_session(session.clone(), token(&session, 0), 9).await.unwrap();
    for (who, whom) in [(ann, cid), (cid, ann)] {
        store.set_block(who, whom, true, 10).await.unwrap();
    }
    changed(&store, ann, UserChange::Deleted).await;
    assert!(store.session(session.session_id).await.unwrap().is_some(), "nothing was begun");
    let begun = changed(&store, ann, UserChange::Delete(KEEP)).await;
    assert_eq!((begun.deletion, begun.disabled, begun.token_epoch), (Some(KEEP), true, 1));
    assert_eq!(begun.username, "ann");
    assert_eq!(store.session(session.session_id).await.unwrap(), None);
    assert_eq!(changed(&store, ann, UserChange::Delete(KEEP)).await, begun, "again changes nothing");
    assert_eq!(store.deletions(10).await.unwrap(), [ann]);
    for _ in 0..2 {
        let ended = changed(&store, ann, UserChange::Deleted).await;
        assert_eq!(ended.deletion, Some(Deletion { done: true, ..KEEP }));
        assert_eq!((&*ended.username, &*ended.display_name), (DELETED_NAME, DELETED_NAME));
        assert!(ended.password_hash.is_empty() && ended.roles.is_empty());
    }
    assert!(store.deletions(10).await.unwrap().is_empty());
    assert!(changed(&store, ann, UserChange::Enable).await.disabled);
    assert!(store.apart_from(cid).await.unwrap().is_empty());
    let all = |with_deleted| UserQuery { limit: 9, with_disabled: true, with_deleted, ..Default::default() };
    assert_eq!(names(&store, all(false)).await, ["cid"]);
    assert_eq!(names(&store, all(true)).await, [DELETED_NAME, "cid"]);
}

pub async fn a_freed_name_is_somebody_elses_and_a_kept_one_nobodys(store: Arc<dyn Store>) {
    let ann = add(&store, "ann").await;
    changed(&store, ann, UserChange::Delete(KEEP)).await;
    changed(&store, ann, UserChange::Deleted).await;
    assert_eq!(store.user_by_name("ann").await.unwrap().map(|user| user.user_id), Some(ann));
    for name in ["ann", "аnn"] {
        assert!(!store.create_user(person(name)).await.unwrap(), "{name}");
    }
    let begun = changed(&store, ann, UserChange::Delete(FREE)).await;
    assert_eq!(begun.deletion, Some(FREE), "more is asked than was done");
    changed(&store, ann, UserChange::Deleted).await;
    assert_eq!(store.user_by_name("ann").await.unwrap(), None);
    let other = add(&store, "ann").await;
    assert_ne!(other, ann);
    changed(&store, other, UserChange::Delete(FREE)).await;
    changed(&store, other, UserChange::Deleted).await;
    assert!(store.create_user(person("аnn")).await.unwrap());
    // As an export brings them.
    let mut brought = person("dee");
    brought.deletion = Some(Deletion { done: true, ..FREE });
    (brought.username, brought.folded) = (DELETED_NAME.into(), format!(" {}", brought.user_id));
    assert!(store.bring_user(brought.clone()).await.unwrap());
    assert_eq!(store.user(brought.user_id).await.unwrap(), Some(brought));
}

pub async fn the_last_enabled_admin_is_not_deleted(store: Arc<dyn Store>) {
    let (root, other) = (add_admin(&store, "root").await, add_admin(&store, "other").await);
    changed(&store, other, UserChange::Delete(KEEP)).await;
    assert_eq!(store.change_user(root, UserChange::Delete(KEEP)).await.unwrap(), UserChanged::LastAdmin);
    changed(&store, other, UserChange::Deleted).await;
    assert_eq!(store.change_user(root, UserChange::Delete(KEEP)).await.unwrap(), UserChanged::LastAdmin);
}
