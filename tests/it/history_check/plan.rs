//! What a run is going to do, all of it decided by the seed: people, rooms, each client's actions and their times, troubles,
//! and settings that bring bounds near. Two runs of a seed do the same; how the servers interleave it is theirs.

use std::fmt::{self, Display};

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};

/// The size of a run.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// One: SQLite, and no trouble but kills. More: MongoDB and NATS.
    pub nodes: usize,
    pub seconds: u64,
}

#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub size: Size,
    /// How many people there are, besides the admin.
    pub people: usize,
    pub rooms: Vec<RoomPlan>,
    pub clients: Vec<ClientPlan>,
    pub troubles: Vec<Trouble>,
    /// Of every node.
    pub settings: Vec<(&'static str, u64)>,
}

/// A group of the admin's with these people, or a private room of two.
#[derive(Debug, Clone)]
pub struct RoomPlan {
    pub private: bool,
    pub people: Vec<usize>,
}

/// One device of somebody's; the admin's has none of these as its person.
#[derive(Debug, Clone)]
pub struct ClientPlan {
    pub person: Option<usize>,
    /// A receive buffer so small that pausing is soon felt by the server.
    pub small_buffer: bool,
    pub actions: Vec<Action>,
}

/// What a device does besides what all do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Habit {
    Calm,
    /// Drops its socket again and again.
    Restless,
    /// Pauses while it should read.
    Slow,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    pub at_millis: u64,
    pub node: usize,
    /// Of the plan's rooms.
    pub room: usize,
    pub what: What,
}

/// `percent`s are of the last seq that the client has seen in the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Over HTTP, and waits for the answer.
    Post {
        chars: usize,
        once: bool,
    },
    /// Over the socket, one after the other without waiting.
    Burst {
        count: usize,
        chars: usize,
        once: bool,
    },
    /// Sends an earlier post of this client again, the last but `back`.
    Again {
        back: usize,
        over_socket: bool,
    },
    /// The client_id of an earlier post with other words.
    Reuse {
        back: usize,
    },
    Page {
        events: bool,
        side: Side,
        percent: u64,
        limit: u64,
    },
    Chats,
    Mark {
        percent: u64,
        over_socket: bool,
    },
    /// Drops the socket (with a word or without) and opens one that resumes.
    Reconnect {
        politely: bool,
        all: bool,
    },
    /// Ends a subscription and resumes it later on the same socket.
    Unsubscribe,
    Resubscribe,
    Pause {
        millis: u64,
    },
    Invite {
        user: usize,
        role: &'static str,
    },
    SetRole {
        user: usize,
        role: &'static str,
    },
    Remove {
        user: usize,
    },
    Leave,
    SignOut,
    Disable {
        user: usize,
    },
    Enable {
        user: usize,
    },
    EndLogins {
        user: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Latest,
    Before,
    After,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trouble {
    pub from_millis: u64,
    pub to_millis: u64,
    pub kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// kill -9, and a restart at the end.
    Kill(usize),
    /// kill -9 of the NATS server.
    Bus,
    BusCut(usize),
    BusHole(usize),
    /// kill -9 of the database.
    Store,
    StoreCut(usize),
    StoreHole(usize),
    StoreDelay(usize, u64),
    StoreLosesAnswers(usize),
    StoreCutsAnswers(usize, usize),
}

impl Plan {
    pub fn of(seed: u64, size: Size) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let people = dice.random_range(5..=8);
        let rooms = rooms(&mut dice, people);
        let settings = settings(&mut dice);
        let troubles = troubles(&mut dice, size);
        let millis = size.seconds * 1000;
        let mut clients = vec![admin(&mut dice, size, &rooms, people)];
        for person in 0..people {
            for device in 0..dice.random_range(1..=2) {
                // A device that pauses has a small buffer, or nobody would notice. Most stay on one socket for as long as
                // they can: only they meet what it must not bring them later.
                let habit = match (device, dice.random_range(0..6)) {
                    (1, 0..=2) => Habit::Slow,
                    (_, 0..=1) => Habit::Restless,
                    _ => Habit::Calm,
                };
                clients.push(client(&mut dice, size, person, &rooms, habit, millis));
            }
        }
        Self { seed, size, people, rooms, clients, troubles, settings }
    }

    pub fn username(&self, person: usize) -> String {
        format!("p{person}")
    }

    /// The rooms a person is in at first.
    pub fn rooms_of(&self, person: Option<usize>) -> Vec<usize> {
        let mine = |room: &RoomPlan| person.map_or(!room.private, |person| room.people.contains(&person));
        (0..self.rooms.len()).filter(|&room| mine(&self.rooms[room])).collect()
    }

    /// Whether the database is one that this run kills.
    pub fn kills_the_store(&self) -> bool {
        self.troubles.iter().any(|trouble| trouble.kind == Kind::Store)
    }

    pub fn lines(&self) -> Vec<String> {
        self.to_string().lines().map(String::from).collect()
    }
}

fn rooms(dice: &mut StdRng, people: usize) -> Vec<RoomPlan> {
    let everybody: Vec<usize> = (0..people).collect();
    let mut rooms = Vec::new();
    for _ in 0..dice.random_range(2..=3) {
        let count = dice.random_range(3..=people);
        rooms.push(RoomPlan { private: false, people: everybody.sample(dice, count).copied().collect() });
    }
    for first in 0..dice.random_range(1..=2) {
        rooms.push(RoomPlan { private: true, people: vec![first, first + 1 + dice.random_range(0..2)] });
    }
    rooms
}

/// Bounds so low that a run of seconds meets them.
fn settings(dice: &mut StdRng) -> Vec<(&'static str, u64)> {
    let mut one_of = |name, values: &[u64]| (name, *values.choose(dice).expect("some values"));
    vec![
        one_of("rooms.ring_events", &[4, 16, 1024]),
        one_of("rooms.batch_events", &[2, 10, 500]),
        one_of("rooms.idle_secs", &[1, 300]),
        one_of("sockets.replay_events", &[3, 200]),
        one_of("sockets.replays", &[1, 64]),
        one_of("sockets.behind_bytes", &[2_000, 1_048_576]),
        one_of("sockets.behind_secs", &[1, 10]),
        one_of("bus.inline_bytes", &[1, 500, 16_384]),
        one_of("auth.cached_users", &[2, 200_000]),
        one_of("auth.cached_tokens", &[2, 200_000]),
    ]
}

fn troubles(dice: &mut StdRng, size: Size) -> Vec<Trouble> {
    let mut troubles: Vec<Trouble> = Vec::new();
    let end = size.seconds * 1000;
    let mut from = dice.random_range(300..1_200);
    let kills_the_store = size.nodes > 1 && dice.random_bool(0.2);
    while from + 300 < end {
        let to = (from + dice.random_range(100..1_800)).min(end);
        let kind = kind(dice, size.nodes, kills_the_store);
        troubles.push(Trouble { from_millis: from, to_millis: to, kind });
        // Killing the only node ends every socket: between two kills some have to live for a while.
        from = to + if size.nodes == 1 { dice.random_range(1_500..3_500) } else { dice.random_range(200..1_500) };
    }
    troubles
}

fn kind(dice: &mut StdRng, nodes: usize, kills_the_store: bool) -> Kind {
    let node = dice.random_range(0..nodes);
    if nodes == 1 {
        return Kind::Kill(node);
    }
    match dice.random_range(0..14) {
        0..=3 => Kind::Kill(node),
        4 => Kind::Bus,
        5 => Kind::BusCut(node),
        6 => Kind::BusHole(node),
        7 if kills_the_store => Kind::Store,
        7 | 8 => Kind::StoreCut(node),
        9 => Kind::StoreHole(node),
        10 | 11 => Kind::StoreDelay(node, *[2, 20, 100].choose(dice).expect("some delays")),
        12 => Kind::StoreLosesAnswers(node),
        _ => Kind::StoreCutsAnswers(node, dice.random_range(0..400)),
    }
}

/// A device of a person: speaks, reads, comes and goes in the rooms that it is in, and tries the others as well.
fn client(dice: &mut StdRng, size: Size, person: usize, rooms: &[RoomPlan], habit: Habit, millis: u64) -> ClientPlan {
    let own: Vec<usize> = (0..rooms.len()).filter(|&room| rooms[room].people.contains(&person)).collect();
    let mut actions = vec![Action {
        at_millis: 0,
        node: dice.random_range(0..size.nodes),
        room: 0,
        what: What::Reconnect { politely: true, all: true },
    }];
    let mut at_millis = dice.random_range(0..200);
    while at_millis < millis {
        let node = dice.random_range(0..size.nodes);
        let stray = dice.random_bool(0.05) || own.is_empty();
        let room = if stray { dice.random_range(0..rooms.len()) } else { *own.choose(dice).expect("some rooms") };
        actions.push(Action { at_millis, node, room, what: doing(dice, person, rooms, room, habit) });
        at_millis += dice.random_range(5..140);
    }
    ClientPlan { person: Some(person), small_buffer: habit == Habit::Slow, actions }
}

fn doing(dice: &mut StdRng, person: usize, rooms: &[RoomPlan], room: usize, habit: Habit) -> What {
    let chars = *[10, 10, 60, 60, 700].choose(dice).expect("some lengths");
    let side = *[Side::Latest, Side::Before, Side::After].choose(dice).expect("some sides");
    let user = dice.random_range(0..people_of(rooms));
    match dice.random_range(0..100) {
        0..=24 => What::Post { chars, once: dice.random_bool(0.8) },
        25..=38 => What::Burst { count: dice.random_range(1..=12), chars, once: dice.random_bool(0.8) },
        39..=51 => What::Again { back: dice.random_range(0..8), over_socket: dice.random_bool(0.4) },
        52 => What::Reuse { back: dice.random_range(0..8) },
        53..=66 => {
            let limit = *[1, 3, 10, 50, 500].choose(dice).expect("some limits");
            What::Page { events: dice.random_bool(0.5), side, percent: dice.random_range(0..=110), limit }
        }
        67..=69 => What::Chats,
        70..=76 => What::Mark { percent: dice.random_range(0..=110), over_socket: dice.random_bool(0.5) },
        77..=84 if habit == Habit::Restless => {
            What::Reconnect { politely: dice.random_bool(0.5), all: dice.random_bool(0.5) }
        }
        85 => What::Unsubscribe,
        86..=88 => What::Resubscribe,
        77..=82 if habit == Habit::Slow => What::Pause { millis: dice.random_range(200..2_500) },
        89..=90 => What::SetRole { user, role: role(dice) },
        91 => What::Remove { user },
        92 => What::Invite { user, role: role(dice) },
        93 if !rooms[room].private => What::Leave,
        94 if person.is_multiple_of(3) => What::SignOut,
        _ => What::Post { chars, once: true },
    }
}

fn people_of(rooms: &[RoomPlan]) -> usize {
    rooms.iter().flat_map(|room| &room.people).max().map_or(1, |most| most + 1)
}

fn role(dice: &mut StdRng) -> &'static str {
    ["member", "member", "reader", "moderator", "owner"].choose(dice).expect("some roles")
}

/// The admin's device: owns all groups, moves people about, and shuts and opens accounts.
fn admin(dice: &mut StdRng, size: Size, rooms: &[RoomPlan], people: usize) -> ClientPlan {
    let groups: Vec<usize> = (0..rooms.len()).filter(|&room| !rooms[room].private).collect();
    let mut actions =
        vec![Action { at_millis: 0, node: 0, room: 0, what: What::Reconnect { politely: true, all: true } }];
    let mut at_millis = 200;
    while at_millis < size.seconds * 1000 {
        let (node, user) = (dice.random_range(0..size.nodes), dice.random_range(0..people));
        let room = *groups.choose(dice).expect("there are groups");
        let what = match dice.random_range(0..20) {
            0..=4 => What::Remove { user },
            5..=10 => What::Invite { user, role: role(dice) },
            11..=13 => What::SetRole { user, role: role(dice) },
            14 => What::Disable { user },
            15..=16 => What::Enable { user },
            17 => What::EndLogins { user },
            _ => What::Post { chars: 20, once: true },
        };
        actions.push(Action { at_millis, node, room, what });
        at_millis += dice.random_range(20..260);
    }
    ClientPlan { person: None, small_buffer: false, actions }
}

impl Trouble {
    pub fn node(&self) -> Option<usize> {
        match self.kind {
            Kind::Bus | Kind::Store => None,
            Kind::Kill(node)
            | Kind::BusCut(node)
            | Kind::BusHole(node)
            | Kind::StoreCut(node)
            | Kind::StoreHole(node)
            | Kind::StoreDelay(node, _)
            | Kind::StoreLosesAnswers(node)
            | Kind::StoreCutsAnswers(node, _) => Some(node),
        }
    }

    /// Begins with `bus` where the node can still reach everything that matters.
    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::Kill(_) => "node killed",
            Kind::Bus => "bus killed",
            Kind::BusCut(_) => "bus cut off",
            Kind::BusHole(_) => "bus in a black hole",
            Kind::Store => "store killed",
            Kind::StoreCut(_) => "store cut off",
            Kind::StoreHole(_) => "store in a black hole",
            Kind::StoreDelay(..) => "store delayed",
            Kind::StoreLosesAnswers(_) => "store's answers lost",
            Kind::StoreCutsAnswers(..) => "store's answers cut",
        }
    }
}

impl Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Size { nodes, seconds } = self.size;
        writeln!(f, "seed {}: {} people, {nodes} nodes, {seconds} s", self.seed, self.people)?;
        writeln!(f, "settings {:?}", self.settings)?;
        for (number, room) in self.rooms.iter().enumerate() {
            let kind = if room.private { "private" } else { "group" };
            writeln!(f, "room {number}: {kind} of {:?}", room.people)?;
        }
        for trouble in &self.troubles {
            writeln!(f, "{} to {} ms: {:?}", trouble.from_millis, trouble.to_millis, trouble.kind)?;
        }
        for (number, client) in self.clients.iter().enumerate() {
            let whose = client.person.map_or("root".into(), |person| self.username(person));
            writeln!(f, "client {number} of {whose}{}", if client.small_buffer { ", small buffer" } else { "" })?;
            for Action { at_millis, node, room, what } in &client.actions {
                writeln!(f, "  {at_millis} ms, node {node}, room {room}: {what:?}")?;
            }
        }
        Ok(())
    }
}
