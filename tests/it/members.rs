//! Who may do what in a room, and what those outside see of it: nothing.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Person, Server};

/// One person of each role in one group, somebody to be acted on, and somebody outside.
struct Cast {
    room: String,
    owner: Person,
    moderator: Person,
    member: Person,
    reader: Person,
    outsider: Person,
}

async fn cast(server: &Server) -> Cast {
    let owner = server.person("owner").await;
    let moderator = server.person("moderator").await;
    let member = server.person("member").await;
    let reader = server.person("reader").await;
    let outsider = server.person("outsider").await;
    let room = owner.group("the cast", [&moderator, &member, &reader]).await;
    owner.set_role(&moderator, &room, "moderator").await.ok();
    owner.set_role(&reader, &room, "reader").await.ok();
    Cast { room, owner, moderator, member, reader, outsider }
}

impl Cast {
    fn by_role(&self) -> [(&str, &Person); 4] {
        let [owner, moderator, member, reader] = [&self.owner, &self.moderator, &self.member, &self.reader];
        [("owner", owner), ("moderator", moderator), ("member", member), ("reader", reader)]
    }
}

#[track_caller]
fn assert_allowed(answer: Answer, allowed: bool, what: &str) {
    assert_eq!(answer.status, if allowed { 200 } else { 403 }, "{what}: {}", answer.text());
    if !allowed {
        answer.refused(403);
    }
}

/// Role by username, as the list of members tells it.
async fn roles(person: &Person, room: &str) -> Vec<(String, String)> {
    let list = person.members(room).await.ok();
    let members = list["members"].as_array().unwrap_or_else(|| panic!("no members in {list}"));
    let text = |member: &Value, field: &str| member[field].as_str().unwrap().to_owned();
    members.iter().map(|member| (text(member, "username"), text(member, "role"))).collect()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|&(name, role)| (name.to_owned(), role.to_owned())).collect()
}

#[tokio::test]
async fn members_are_listed_with_their_roles_in_order_of_joining() {
    let server = Server::start().await;
    let cast = cast(&server).await;
    let expected = pairs(&[("owner", "owner"), ("moderator", "moderator"), ("member", "member"), ("reader", "reader")]);
    assert_eq!(roles(&cast.reader, &cast.room).await, expected);
}

#[tokio::test]
async fn members_are_paged() {
    let server = Server::start().await;
    let cast = cast(&server).await;
    let page = cast.owner.get(&format!("/chat/{}/members?limit=3", cast.room)).await.ok();
    assert_eq!(page["members"].as_array().map(Vec::len), Some(3));
    let next = page["next"].as_str().expect("there is more");
    let page = cast.owner.get(&format!("/chat/{}/members?limit=3&after={next}", cast.room)).await.ok();
    assert_eq!(page["members"][0]["username"], "reader");
    assert_eq!(page["next"], Value::Null);
}

#[tokio::test]
async fn everyone_in_a_room_reads_and_all_but_readers_post() {
    let server = Server::start().await;
    let cast = cast(&server).await;
    let room = &cast.room;
    for (role, person) in cast.by_role() {
        person.history(room, "").await;
        person.events(room, "").await;
        person.mark_read(room, 1).await;
        person.members(room).await.ok();
        assert_allowed(person.try_post(room, &json!({"message": role})).await, role != "reader", role);
    }
}

#[tokio::test]
async fn owners_and_moderators_rename_the_room() {
    let server = Server::start().await;
    let cast = cast(&server).await;
    for (role, person) in cast.by_role() {
        assert_allowed(person.rename(&cast.room, role).await, ["owner", "moderator"].contains(&role), role);
    }
    let log = cast.owner.log(&cast.room).await;
    let last = log.last().unwrap();
    assert_eq!([&last["type"], &last["name"], &last["by"]], [&json!("chat"), &json!("moderator"), &json!("moderator")]);
    cast.owner.rename(&cast.room, "").await.refused_field("name");
    cast.owner.rename(&cast.room, &"n".repeat(101)).await.refused_field("name");
}

#[tokio::test]
async fn owners_and_moderators_invite() {
    let server = Server::start().await;
    let cast = cast(&server).await;
    for (role, person) in cast.by_role() {
        let guest = server.person(&format!("guest-of-{role}")).await;
        let may = ["owner", "moderator"].contains(&role);
        assert_allowed(person.invite(&guest, &cast.room).await, may, role);
        let seen = guest.get(&format!("/chat/{}", cast.room)).await.status;
        assert_eq!(seen, if may { 200 } else { 403 }, "{role}");
    }
}

#[tokio::test]
async fn an_invitation_may_give_a_role_not_above_the_inviters() {
    let server = Server::start().await;
    let cast = cast(&server).await;
    let [one, two, three] = [server.person("one").await, server.person("two").await, server.person("three").await];
    cast.owner.invite_as(&one, &cast.room, "reader").await.ok();
    cast.owner.invite_as(&two, &cast.room, "owner").await.ok();
    cast.moderator.invite_as(&three, &cast.room, "owner").await.refused(403);
    cast.owner.invite_as(&three, &cast.room, "king").await.refused_field("role");
    let list = roles(&cast.owner, &cast.room).await;
    assert_eq!(list[4..], pairs(&[("one", "reader"), ("two", "owner")]));
}

#[tokio::test]
async fn inviting_nobody_is_a_404_and_inviting_a_member_makes_no_second_one() {
    let server = Server::start().await;
    let cast = cast(&server).await;
    let path = format!("/chat/{}/members", cast.room);
    cast.owner.post_json(&path, &json!({"username": "nobody"})).await.refused(404);
    cast.owner.post_json(&path, &json!({})).await.refused_field("username");
    let before = roles(&cast.owner, &cast.room).await;
    let again = cast.owner.invite_as(&cast.member, &cast.room, "member").await;
    assert!([200, 409].contains(&again.status), "{}", again.text());
    assert_eq!(roles(&cast.owner, &cast.room).await, before);
}

#[tokio::test]
async fn many_invitations_of_one_person_at_once_are_one_event() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.group("tea", []).await;
    futures_util::future::join_all((0..20).map(|_| ann.invite(&bob, &room))).await;
    let log = ann.log(&room).await;
    assert_eq!(log.iter().filter(|event| event["username"] == "bob").count(), 1);
}

#[tokio::test]
async fn roles_are_changed_by_owners_and_hold_at_once() {
    let server = Server::start().await;
    let cast = cast(&server).await;
    for (role, person) in cast.by_role() {
        if role != "owner" {
            person.set_role(person, &cast.room, "owner").await.refused(403);
        }
    }
    for person in [&cast.member, &cast.reader] {
        person.set_role(&cast.moderator, &cast.room, "reader").await.refused(403);
    }
    cast.owner.set_role(&cast.reader, &cast.room, "member").await.ok();
    cast.reader.post(&cast.room, "may post now").await;
    cast.owner.set_role(&cast.member, &cast.room, "reader").await.ok();
    cast.member.try_post(&cast.room, &json!({"message": "may not now"})).await.refused(403);
    cast.owner.set_role(&cast.member, &cast.room, "king").await.refused_field("role");
    cast.owner.set_role(&cast.outsider, &cast.room, "member").await.refused(404);
}

#[tokio::test]
async fn a_change_of_role_is_an_event() {
    let server = Server::start().await;
    let cast = cast(&server).await;
    cast.owner.set_role(&cast.reader, &cast.room, "moderator").await.ok();
    let log = cast.owner.log(&cast.room).await;
    let last = log.last().unwrap();
    let fields = [&last["type"], &last["change"], &last["username"], &last["role"], &last["by"]];
    let expected = ["member", "role", "reader", "moderator", "owner"].map(|text| json!(text));
    assert_eq!(fields, expected.each_ref());
}

#[tokio::test]
async fn one_removes_those_below_oneself() {
    let server = Server::start().await;
    let cast = cast(&server).await;
    let room = &cast.room;
    let second = server.person("second").await;
    cast.owner.invite_as(&second, room, "moderator").await.ok();
    for below in [&cast.member, &cast.reader] {
        for above in [&cast.owner, &cast.moderator] {
            below.remove(above, room).await.refused(403);
        }
    }
    cast.reader.remove(&cast.member, room).await.refused(403);
    cast.moderator.remove(&cast.owner, room).await.refused(403);
    cast.moderator.remove(&second, room).await.refused(403);
    cast.moderator.remove(&cast.member, room).await.ok();
    cast.owner.remove(&cast.moderator, room).await.ok();
    cast.owner.remove(&cast.member, room).await.refused(404);
    let log = cast.owner.log(room).await;
    let last = log.last().unwrap();
    let fields = [&last["change"], &last["username"], &last["by"]];
    assert_eq!(fields, [&json!("removed"), &json!("moderator"), &json!("owner")]);
}

#[tokio::test]
async fn everyone_may_leave_and_is_outside_then() {
    let server = Server::start().await;
    let cast = cast(&server).await;
    for (role, person) in cast.by_role().into_iter().skip(1) {
        person.leave(&cast.room).await.ok();
        person.get(&format!("/chat/{}", cast.room)).await.refused(403);
        person.get(&format!("/chat/{}/events", cast.room)).await.refused(404);
        let log = cast.owner.log(&cast.room).await;
        let last = log.last().unwrap();
        assert_eq!([&last["change"], &last["username"], &last["by"]], [&json!("left"), &json!(role), &json!(role)]);
    }
}

#[tokio::test]
async fn the_last_owner_stays_until_there_is_another() {
    let server = Server::start().await;
    let cast = cast(&server).await;
    cast.owner.leave(&cast.room).await.refused(409);
    cast.owner.set_role(&cast.owner, &cast.room, "member").await.refused(409);
    cast.owner.set_role(&cast.member, &cast.room, "owner").await.ok();
    cast.owner.leave(&cast.room).await.ok();
    cast.member.set_role(&cast.member, &cast.room, "member").await.refused(409);
}

#[tokio::test]
async fn nobody_is_kept_in_a_group_by_being_made_its_last_owner() {
    let server = Server::start().await;
    let cast = cast(&server).await;
    cast.owner.set_role(&cast.member, &cast.room, "owner").await.ok();
    cast.owner.leave(&cast.room).await.ok();
    cast.member.leave(&cast.room).await.ok();
    let log = cast.reader.log(&cast.room).await;
    let [.., passed_on, left] = &log[..] else { panic!("{log:?}") };
    let said = |event: &Value| ["change", "username", "role", "by"].map(|field| event[field].clone());
    assert_eq!(said(passed_on), [json!("role"), json!("moderator"), json!("owner"), json!("member")]);
    assert_eq!(said(left), [json!("left"), json!("member"), Value::Null, json!("member")]);
    cast.moderator.rename(&cast.room, "ours now").await.ok();
    cast.reader.leave(&cast.room).await.ok();
    cast.moderator.leave(&cast.room).await.ok();
}

#[tokio::test]
async fn two_owners_who_leave_at_once_leave_one() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let cat = server.person("cat").await;
    for _ in 0..5 {
        let room = ann.group("tea", [&bob, &cat]).await;
        ann.set_role(&bob, &room, "owner").await.ok();
        let (one, other) = tokio::join!(ann.leave(&room), bob.leave(&room));
        // Ann made the group and stays where bob was quicker; bob did not, and where ann was, he hands it to cat.
        let mut statuses = [one.status, other.status];
        statuses.sort_unstable();
        assert!([[200, 409], [200, 200]].contains(&statuses), "{statuses:?}");
        let members = cat.members(&room).await.ok()["members"].clone();
        let owners = members.as_array().expect("members").iter().filter(|member| member["role"] == "owner");
        assert_eq!(owners.count(), 1, "{members}");
    }
}

#[tokio::test]
async fn outsiders_get_404_from_every_path_but_the_two_where_the_original_says_403() {
    let server = Server::start().await;
    let cast = cast(&server).await;
    let nowhere = "01900000-0000-7000-8000-000000000000";
    let someone = json!({"username": "outsider", "role": "member", "seq": 1, "name": "x", "message": "x"});
    let rows = [
        (Method::GET, "/events"),
        (Method::POST, "/read"),
        (Method::GET, "/members"),
        (Method::POST, "/members"),
        (Method::PATCH, "/members/member"),
        (Method::DELETE, "/members/member"),
        (Method::DELETE, "/members/outsider"),
        (Method::PATCH, ""),
    ];
    for (method, path) in rows {
        for room in [cast.room.as_str(), nowhere, "not-an-id"] {
            let path = format!("/chat/{room}{path}");
            let body = (method != Method::GET).then_some(&someone);
            let answer = cast.outsider.request(method.clone(), &path, body).await;
            assert_eq!(answer.status, 404, "{method} {path}: {}", answer.text());
            answer.refused_saying(404, "Chatroom not found");
        }
    }
    for (method, room, status) in [(Method::GET, cast.room.as_str(), 403), (Method::POST, nowhere, 404)] {
        let body = (method == Method::POST).then_some(&someone);
        cast.outsider.request(method, &format!("/chat/{room}"), body).await.refused(status);
    }
}

#[tokio::test]
async fn an_admin_of_the_server_is_outside_other_peoples_rooms() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let root = server.admin().await;
    let room = ann.private(&bob).await;
    root.get(&format!("/chat/{room}")).await.refused(403);
    root.get(&format!("/chat/{room}/events")).await.refused(404);
    assert_eq!(root.my_chats("").await["chats"], json!([]));
}

#[tokio::test]
async fn somebody_removed_and_invited_again_reads_the_whole_log() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.group("tea", [&bob]).await;
    ann.remove(&bob, &room).await.ok();
    ann.post(&room, "while bob was away").await;
    ann.invite(&bob, &room).await.ok();
    assert_eq!(bob.log(&room).await, ann.log(&room).await);
    assert_eq!(bob.chat(&room).await["unread"], 0, "who joins has read what was before");
}
