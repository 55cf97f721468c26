//! Whoever may not hear a room any more hears nothing that is said a second later, on whichever node they are; with the bus
//! and without it.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::notice;
use crate::{
    harness::{Cluster, PASSWORD, Person, Socket, until},
    readers::assert_not_subscribed,
};

/// The contract: a change of access holds on every node after so long.
const HOLDS: Duration = Duration::from_secs(1);
/// Time for a request or two on a busy machine, where a test can only ask whether it holds by now.
const SLACK: Duration = Duration::from_secs(1);

/// A room of ann, bob and eve, who are on two nodes: ann and the admin on the first, bob and eve on the second.
struct Scene {
    cluster: Cluster,
    ann: Person,
    bob: Person,
    eve: Person,
    root: Person,
    room: String,
}

impl Scene {
    async fn set() -> Self {
        let cluster = Cluster::start(2).await;
        let (ann, root) = (cluster[0].person("ann").await, cluster[0].admin().await);
        let (bob, eve) = (cluster[1].person("bob").await, cluster[1].person("eve").await);
        let room = ann.group("tea", [&bob, &eve]).await;
        Self { cluster, ann, bob, eve, root, room }
    }

    async fn without_bus(&self) {
        self.cluster.bus_down().await;
        for node in self.cluster.nodes() {
            node.is_off_the_bus().await;
        }
    }

    /// Sockets of both kinds on the second node, which have heard something.
    async fn sockets(&self, person: &Person) -> [Socket; 2] {
        let person = person.at(&self.cluster[1]);
        let mut sockets = [person.follow(&self.room).await, person.one_room(&self.room, None).await];
        self.ann.post(&self.room, "heard").await;
        for socket in &mut sockets {
            assert_eq!(socket.next_event().await["content"], "heard");
        }
        sockets
    }

    /// Goes on talking on the first node until well after the change must hold; each message is its time since `done`.
    async fn talk(&self, done: Instant) {
        loop {
            let after = done.elapsed();
            self.ann.post(&self.room, &after.as_millis().to_string()).await;
            if after > HOLDS + SLACK / 2 {
                return;
            }
        }
    }

    /// These sockets end by 4401, and hear nothing that was said after the second.
    async fn assert_silenced(&self, done: Instant, sockets: impl IntoIterator<Item = Socket>) {
        self.talk(done).await;
        for mut socket in sockets {
            let (frames, closed) = socket.frames_until_closed().await;
            assert_nothing_late(&frames);
            assert_eq!(closed.code, 4401, "{closed:?}");
        }
    }
}

#[track_caller]
fn assert_nothing_late(frames: &[Value]) {
    for frame in frames {
        let after = frame["content"].as_str().and_then(|content| content.parse().ok()).map(Duration::from_millis);
        assert!(after.is_none_or(|after| after <= HOLDS), "said {after:?} after the change and still heard");
    }
}

/// Asks until it holds, which must be soon.
async fn holds_soon(what: &str, condition: impl AsyncFnMut() -> bool) {
    let done = Instant::now();
    until(what, condition).await;
    assert!(done.elapsed() < HOLDS + SLACK, "{what}: only after {:?}", done.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logging_out_on_one_node_silences_sockets_on_another_with_the_bus_and_without() {
    let scene = Scene::set().await;
    for with_bus in [true, false] {
        if !with_bus {
            scene.without_bus().await;
        }
        let bob = scene.cluster[1].sign_in("bob").await;
        let sockets = scene.sockets(&bob).await;
        scene.root.post_empty("/users/bob/logout").await.ok();
        scene.assert_silenced(Instant::now(), sockets).await;
        for node in scene.cluster.nodes() {
            bob.at(node).get("/users/me").await.refused(401);
            node.reach.handshake("/ws").bearer(&bob.token).refused(401).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disabling_on_one_node_silences_sockets_on_another_with_the_bus_and_without() {
    let scene = Scene::set().await;
    for with_bus in [true, false] {
        if !with_bus {
            scene.without_bus().await;
        }
        let bob = scene.cluster[1].sign_in("bob").await;
        let sockets = scene.sockets(&bob).await;
        scene.root.post_empty("/users/bob/disable").await.ok();
        scene.assert_silenced(Instant::now(), sockets).await;
        for node in scene.cluster.nodes() {
            bob.at(node).get("/users/me").await.refused(401);
            node.reach.sign_in("bob", PASSWORD).await.refused(401);
        }
        scene.root.post_empty("/users/bob/enable").await.ok();
        holds_soon("bob to be let in again", async || {
            scene.cluster[1].reach.sign_in("bob", PASSWORD).await.status == 200
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_password_on_one_node_silences_every_other_login_on_another_with_the_bus_and_without() {
    let scene = Scene::set().await;
    let mut password = PASSWORD.to_owned();
    for with_bus in [true, false] {
        if !with_bus {
            scene.without_bus().await;
        }
        let login = async |number: usize| {
            let node = &scene.cluster[number];
            Person::of_login(node.reach.clone(), "bob", node.reach.sign_in("bob", &password).await.ok())
        };
        let (phone, desk) = (login(1).await, login(0).await);
        let (gone, kept) = (scene.sockets(&phone).await, scene.sockets(&desk).await);
        let new = format!("{password} and more");
        desk.patch("/users/me", &json!({"password": {"current": password, "new": new}})).await.ok();
        scene.assert_silenced(Instant::now(), gone).await;
        phone.at(&scene.cluster[1]).get("/users/me").await.refused(401);
        scene.ann.post(&scene.room, "go on").await;
        for mut socket in kept {
            socket.find("what is said after it", |frame| frame["content"] == "go on").await;
        }
        password = new;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_ended_by_their_owner_on_one_node_are_silent_on_another_with_the_bus_and_without() {
    let scene = Scene::set().await;
    for with_bus in [true, false] {
        if !with_bus {
            scene.without_bus().await;
        }
        let desk = scene.cluster[0].sign_in("bob").await;
        let (phone, tablet) = (scene.cluster[1].sign_in("bob").await, scene.cluster[1].sign_in("bob").await);
        let gone = scene.sockets(&phone).await.into_iter().chain(scene.sockets(&tablet).await);
        let listed = phone.get("/users/me/logins").await.ok();
        let own = listed["logins"].as_array().expect("logins").iter().find(|login| login["current"] == true);
        let sid = own.expect("the login that asks")["sid"].as_str().expect("a sid").to_owned();
        desk.delete(&format!("/users/me/logins/{sid}")).await.ok();
        phone.refresh().await.refused(401);
        tablet.refresh().await.ok();
        desk.delete("/users/me/logins").await.ok();
        scene.assert_silenced(Instant::now(), gone).await;
        for ended in [phone, tablet] {
            ended.at(&scene.cluster[1]).get("/users/me").await.refused(401);
        }
        desk.at(&scene.cluster[1]).me().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_removed_on_one_node_hears_nothing_after_that_on_another_with_the_bus_and_without() {
    let scene = Scene::set().await;
    let there = scene.bob.at(&scene.cluster[1]);
    let mut witness = scene.eve.at(&scene.cluster[1]).follow(&scene.room).await;
    for with_bus in [true, false] {
        if !with_bus {
            scene.ann.invite(&scene.bob, &scene.room).await.ok();
            scene.without_bus().await;
        }
        let [mut all, mut one] = scene.sockets(&scene.bob).await;
        scene.ann.remove(&scene.bob, &scene.room).await.ok();
        let removed = scene.ann.head(&scene.room).await;
        scene.talk(Instant::now()).await;
        scene.ann.post(&scene.room, "the end").await;
        witness.find("the end", |frame| frame["content"] == "the end").await;

        notice(&mut all, &scene.room, "removed").await;
        let heard = all.drain().await;
        let (seen, closed) = one.frames_until_closed().await;
        assert_eq!(closed.code, 4403, "{closed:?}");
        for frames in [&heard, &seen] {
            assert_nothing_late(frames);
            assert!(frames.iter().all(|frame| frame["content"] != "the end"), "{frames:?}");
            let past =
                |frame: &&Value| frame["chat_id"] == scene.room.as_str() && frame["seq"].as_u64() > Some(removed);
            assert!(
                !with_bus || !frames.iter().any(|frame| past(&frame)),
                "after the removal at {removed}: {frames:?}"
            );
        }
        let answer = all.ask(json!({"type": "subscribe", "chats": {&scene.room: null}})).await;
        assert_not_subscribed(&answer, &scene.room);
        there.try_post(&scene.room, &json!({"message": "let me in"})).await.refused(403);
        there.get(&format!("/chat/{}/events", scene.room)).await.refused(404);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_changed_on_one_node_holds_on_another_with_the_bus_and_without() {
    let scene = Scene::set().await;
    let there = scene.bob.at(&scene.cluster[1]);
    let users = async || there.get("/users/").await.status;
    let body = json!({"message": "may I?"});
    let posting = async || there.try_post(&scene.room, &body).await.status;
    for with_bus in [true, false] {
        if !with_bus {
            scene.without_bus().await;
        }
        assert_eq!((users().await, posting().await), (403, 200));
        let admin = json!({"username": "bob", "role_name": "admin"});
        scene.root.post_json("/users/add-role", &admin).await.ok();
        holds_soon("bob to be an admin", async || users().await == 200).await;
        scene.root.post_json("/users/remove-role", &admin).await.ok();
        holds_soon("bob to be none", async || users().await == 403).await;

        scene.ann.set_role(&scene.bob, &scene.room, "reader").await.ok();
        holds_soon("bob to be a reader", async || posting().await == 403).await;
        scene.ann.set_role(&scene.bob, &scene.room, "member").await.ok();
        holds_soon("bob to be a member", async || posting().await == 200).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_added_on_one_node_is_told_on_another_and_may_follow_at_once_with_the_bus_and_without() {
    let scene = Scene::set().await;
    let dan = scene.cluster[1].person("dan").await;
    let mut socket = dan.socket().await;
    for with_bus in [true, false] {
        if !with_bus {
            scene.without_bus().await;
        }
        let made = scene.ann.group("coffee", [&dan]).await;
        scene.ann.invite(&dan, &scene.room).await.ok();
        for room in [&made, &scene.room] {
            notice(&mut socket, room, "added").await;
            socket.follow(room).await;
            scene.ann.post(room, "welcome").await;
            let welcome = |frame: &Value| frame["chat_id"] == room.as_str() && frame["content"] == "welcome";
            socket.find("the welcome", welcome).await;
            dan.post(room, "thanks").await;
            scene.ann.remove(&dan, room).await.ok();
            notice(&mut socket, room, "removed").await;
        }
    }
}

#[tokio::test]
async fn an_old_refresh_token_used_again_on_another_node_ends_its_login_on_both() {
    let cluster = Cluster::start(2).await;
    let ann = cluster[0].person("ann").await;
    let mut socket = ann.at(&cluster[1]).socket().await;
    let renewed = async |node: usize, login: &Person| {
        let answer = login.at(&cluster[node]).refresh().await.ok();
        Person::of_login(cluster[node].reach.clone(), "ann", answer)
    };
    // A lost answer is given again by another node, and takes the place of the lost one on both.
    let lost = renewed(0, &ann).await;
    let second = renewed(1, &ann).await;
    lost.refresh().await.refused(401);
    second.at(&cluster[0]).me().await;
    renewed(0, &second).await;
    ann.at(&cluster[1]).refresh().await.refused(401);
    assert_eq!(socket.closed().await.code, 4401);
    holds_soon("the login to be over", async || ann.get("/users/me").await.status == 401).await;
}
