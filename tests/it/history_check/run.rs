//! One run: a world, people and rooms in it, clients that do what is planned, troubles, and at the end a look at
//! everything that is left.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use tokio::{task::JoinSet, time::timeout};

use super::{
    api::{Api, Key},
    client::Client,
    history::{Ask, Record},
    index::{Page, text},
    plan::{Plan, Trouble},
    recorder::Recorder,
    socket::Socket,
    world::World,
};
use crate::harness::{Person, until};

/// For open sockets to get the last of everything, and for nodes to forget those who are gone.
const SETTLES_WITHIN: Duration = Duration::from_secs(10);

/// Gauges that are at zero when nobody is there, and what must never have been counted.
const GAUGES: [&str; 4] =
    ["natter_connections", "natter_subscriptions", "natter_pending_posts", "natter_handler_panics_total"];

/// Where the history of a seed is kept.
pub fn path_of(plan: &Plan) -> PathBuf {
    let nodes = if plan.size.nodes == 1 { "-one-node" } else { "" };
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("target/history/{}{nodes}.jsonl", plan.seed))
}

/// Carries a plan out and gives its history.
pub async fn run(plan: Plan) -> Vec<Record> {
    let plan = Arc::new(plan);
    let world = World::start(&plan).await;
    let made = make_rooms(&plan, &world).await;
    let recorder = Arc::new(Recorder::new(path_of(&plan)));
    recorder.add(Record::Plan { seed: plan.seed, nodes: plan.size.nodes, text: plan.lines() });
    let rooms = Arc::new(made.iter().map(|made| made.id.clone()).collect::<Vec<_>>());
    for made in made {
        recorder.add(Record::Room { room: made.id, private: made.private, head: made.head });
    }
    let api = Arc::new(Api::new(recorder.clone(), world.addrs()));

    let mut going = JoinSet::new();
    for number in 0..plan.clients.len() {
        going.spawn(Client::new(number, &plan, &api, &rooms).run());
    }
    let troubled = tokio::spawn(troubles(world, plan.troubles.clone(), recorder.clone()));
    let mut clients = going.join_all().await;
    let world = troubled.await.expect("nodes start again after every trouble");
    world.recovers().await;

    let finale = Finale { plan: &plan, api: &api, world: &world, rooms: &rooms };
    finale.come_to_rest(&mut clients).await;
    finale.look_at_everything().await;
    for socket in clients.iter_mut().filter_map(|client| client.socket.take()) {
        socket.close(true).await;
    }
    finale.look_at_what_stays().await;
    recorder.take()
}

struct Made {
    id: String,
    private: bool,
    head: u64,
}

/// Accounts and rooms, while nothing is wrong yet.
async fn make_rooms(plan: &Plan, world: &World) -> Vec<Made> {
    let server = world.node(0);
    let root = server.admin().await;
    let mut people: Vec<Person> = Vec::new();
    for person in 0..plan.people {
        people.push(server.person(&plan.username(person)).await);
    }
    let mut made = Vec::new();
    for (number, room) in plan.rooms.iter().enumerate() {
        let members: Vec<&Person> = room.people.iter().map(|&person| &people[person]).collect();
        let (id, member) = match (room.private, &members[..]) {
            (true, [one, other]) => (one.private(other).await, *one),
            _ => (root.group(&format!("group {number}"), members).await, &root),
        };
        let head = member.head(&id).await;
        made.push(Made { id, private: room.private, head });
    }
    made
}

/// One after the other, each mended before the next.
async fn troubles(mut world: World, troubles: Vec<Trouble>, recorder: Arc<Recorder>) -> World {
    for trouble in troubles {
        recorder.comes(trouble.from_millis).await;
        let from = recorder.now();
        world.strike(&trouble).await;
        recorder.comes(trouble.to_millis).await;
        world.heal(&trouble).await;
        let (what, node, to) = (trouble.name().to_owned(), trouble.node(), recorder.now());
        recorder.add(Record::Trouble { what, node, from, to });
    }
    world
}

struct Finale<'a> {
    plan: &'a Plan,
    api: &'a Api,
    world: &'a World,
    rooms: &'a [String],
}

impl Finale<'_> {
    fn nodes(&self) -> usize {
        self.plan.size.nodes
    }

    /// Opens every account and every socket, says a last word in each room, and waits until it is everywhere.
    async fn come_to_rest(&self, clients: &mut [Client]) {
        let admin = self.api.sign_in(0, &"root".into()).await.expect("the admin signs in once the troubles are over");
        for person in 0..self.plan.people {
            let enable = Ask::Enable { user: self.plan.username(person) };
            self.api.ask(0, &admin, enable).await.done().expect("an admin enables everybody");
        }
        for (number, client) in clients.iter_mut().enumerate() {
            client.settle(number % self.nodes()).await;
        }
        for (number, room) in self.rooms.iter().enumerate() {
            let speaker = self.somebody_of(number);
            let client = clients.iter_mut().zip(&self.plan.clients).find(|(_, plan)| plan.person == speaker);
            client.expect("everybody has a device").0.last_word(number % self.nodes(), room).await;
        }
        let key = self.keys().await;
        for (room, key) in self.rooms.iter().zip(key) {
            let Some(head) = self.head(room, key.as_ref()).await else { continue };
            for client in &*clients {
                let level = |socket: &Socket| {
                    !socket.is_open() || socket.followed().get(room).is_none_or(|cursor| *cursor >= head)
                };
                let arrives = async {
                    loop {
                        let news = client.known.news.notified();
                        if client.socket.as_ref().is_none_or(level) {
                            break;
                        }
                        news.await;
                    }
                };
                // What is missing then is the checker's to find.
                let _level = timeout(SETTLES_WITHIN, arrives).await.is_ok();
            }
        }
        self.api.recorder.add(Record::Quiet { at: self.api.recorder.now() });
    }

    /// A member of the room who was one all the time.
    fn somebody_of(&self, room: usize) -> Option<usize> {
        let room = &self.plan.rooms[room];
        if room.private { room.people.first().copied() } else { None }
    }

    /// For each room the login of somebody in it.
    async fn keys(&self) -> Vec<Option<Key>> {
        let mut keys = Vec::new();
        for room in 0..self.rooms.len() {
            let who = self.somebody_of(room).map_or("root".into(), |person| self.plan.username(person));
            keys.push(self.api.sign_in(0, &who.into()).await);
        }
        keys
    }

    async fn head(&self, room: &str, key: Option<&Key>) -> Option<u64> {
        let body = self.api.look(0, key?, &format!("/chat/{room}/events?limit=1")).await?;
        Page::of(&body).map(|page| page.head_seq)
    }

    /// Every log and every list of rooms, from every node.
    async fn look_at_everything(&self) {
        let keys = self.keys().await;
        for node in 0..self.nodes() {
            for (room, key) in self.rooms.iter().zip(&keys) {
                let events = match key {
                    Some(key) => self.log(node, key, room).await,
                    None => None,
                };
                self.api.recorder.add(Record::Log { node, room: room.clone(), events });
            }
            for person in 0..self.plan.people {
                self.kept(node, self.plan.username(person)).await;
            }
        }
    }

    /// Read until nothing more comes: where a page says that it is the last is one of the things in question.
    async fn log(&self, node: usize, key: &Key, room: &str) -> Option<Vec<String>> {
        let mut events: Vec<String> = Vec::new();
        loop {
            let path = format!("/chat/{room}/events?after={}&limit=500", events.len());
            let page = Page::of(&self.api.look(node, key, &path).await?)?;
            if page.events.is_empty() {
                return Some(events);
            }
            events.extend(page.events.iter().map(|event| event.get().to_owned()));
        }
    }

    async fn kept(&self, node: usize, who: String) {
        let Some(key) = self.api.sign_in(node, &who.as_str().into()).await else { return };
        let body = self.api.look(node, &key, "/chat/my-chats?limit=500").await.unwrap_or_default();
        let page: Value = serde_json::from_str(&body).unwrap_or_default();
        let chats = page["chats"].as_array().into_iter().flatten();
        for chat in chats.filter(|chat| chat["state"] != "invited") {
            self.api.recorder.add(Record::Kept {
                node,
                who: who.clone(),
                room: text(&chat["chat_id"]),
                read_seq: chat["read_seq"].as_u64().unwrap_or(0),
                unread: chat["unread"].as_u64().unwrap_or(u64::MAX),
            });
        }
    }

    async fn look_at_what_stays(&self) {
        for node in 0..self.nodes() {
            let server = self.world.node(node);
            let gone = async || {
                let metrics = server.metrics().await;
                GAUGES.iter().all(|name| metrics.get(*name).is_none_or(|value| *value == 0.0))
            };
            let _all_gone = timeout(SETTLES_WITHIN, until("everybody to be gone", gone)).await.is_ok();
            for name in GAUGES {
                let value = server.metric(name).await;
                self.api.recorder.add(Record::Gauge { node, name: name.into(), value });
            }
        }
    }
}
