//! One process of clients: a range of people, each with one socket, all on one epoll and one thread.
//!
//! It is led by lines on standard input, `NUMBER VERB [COUNT]`, and answers each with a line of JSON, [`Told`], as soon as what
//! the line asks for is so. Meanwhile, and between lines, sockets are read, seqs checked and pings answered. It ends with its
//! standard input, so that nothing is left of it when whoever leads it is gone.

use std::collections::HashMap;
use std::io::{self, BufRead, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc;
use std::thread;

use clap::Args;
use mio::{Events, Interest, Poll, Registry, Token, Waker, net::TcpStream};
use natter::auth::token::Tokens;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Socket, Type};

use crate::frames::{Incoming, Message, PONG, TEXT, push_masked};
use crate::scan::{Hint, number};
use crate::world::{World, claims, room_id, tokens};
use crate::{Outcome, Result};

/// The other tokens are the people's.
const WAKE: Token = Token(usize::MAX);
/// Handshakes at once, which keeps the server's queue of new connections short.
const AT_ONCE: usize = 64;
/// Of ten people, one is dropped and reconnects.
const ONE_OF: u32 = 10;
/// Ports of an address that clients take, in turns.
const PORTS: std::ops::Range<u16> = 10_000..64_000;
const HEAD_BYTES: usize = 8_192;
/// What Linux says of a connection that is not made yet.
const IN_PROGRESS: i32 = 115;

/// With 128 bytes of content.
const SAID: &str = concat!(
    r#"{"message":"What people say to one another is of about this length: longer than a word or two, and "#,
    r#"shorter than what they would write in a letter."}"#
);

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    world: World,
    /// The first of these people, and the one after the last
    #[arg(long)]
    from: u32,
    #[arg(long)]
    to: u32,
    #[arg(long)]
    server: SocketAddr,
    /// The address that these people come from
    #[arg(long)]
    source: IpAddr,
}

/// What is asked of the people here.
#[derive(Clone, Copy)]
enum Goal {
    Nothing,
    /// So many of them are connected, counted from the first.
    Connected(usize),
    /// Everybody who is connected has had so many messages.
    Had(u32),
    /// Everybody who is connected has been pinged.
    Pinged,
    /// Nobody is connected.
    Gone,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    /// Has gone without a word, and will be back.
    Dropped,
    /// The connection is being made, or its handshake is under way.
    Coming,
    Asked,
    Open,
    /// For good.
    Gone,
}

struct Person {
    stream: Option<TcpStream>,
    incoming: Incoming,
    /// Messages so far: the seq that comes next follows from it.
    had: u32,
    state: State,
    pinged: bool,
    back: bool,
}

/// How it stands. Counts are of everything since the beginning, but for `open`.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct Told {
    /// The number of the line that this answers.
    pub order: u64,
    pub open: u64,
    pub delivered: u64,
    pub lost: u64,
    pub doubled: u64,
    pub pings: u64,
    /// Sockets that were closed with 1012: the server drains.
    pub drained: u64,
    /// Handshakes that were refused, and sockets that ended in any other way.
    pub refused: u64,
    pub cut: u64,
    /// Why the first of these did.
    pub why: Option<String>,
}

struct Clients {
    options: Options,
    tokens: Tokens,
    registry: Registry,
    people: Vec<Person>,
    /// Beginnings of answers to handshakes.
    heads: HashMap<usize, Vec<u8>>,
    goal: Goal,
    /// People who are not yet as the goal wants them.
    left: usize,
    /// Where to look for the next one to connect, and how many are connecting.
    next: usize,
    coming: usize,
    port: u16,
    told: Told,
}

pub fn run(options: &Options) -> Outcome {
    let Options { world, from, to, server, source } = *options;
    let mut poll = Poll::new()?;
    let orders = listen(Waker::new(poll.registry(), WAKE)?);
    let mut clients = Clients::new(Options { world, from, to, server, source }, poll.registry().try_clone()?);
    let (mut events, mut buffer) = (Events::with_capacity(1_024), vec![0; 64 * 1024]);
    let mut answered = true;
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in events.iter().filter(|event| event.token() != WAKE) {
            clients.ready(event.token().0, event.is_writable(), &mut buffer);
        }
        while let Ok(order) = orders.try_recv() {
            clients.obey(&order)?;
            answered = false;
        }
        clients.connect_more()?;
        if clients.left == 0 && !answered {
            println!("{}", serde_json::to_string(&clients.told)?);
            answered = true;
        }
    }
}

/// Lines of standard input; the process ends with it.
fn listen(waker: Waker) -> mpsc::Receiver<String> {
    let (tell, orders) = mpsc::channel();
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(io::Result::ok) {
            let heard = tell.send(line).is_ok() && waker.wake().is_ok();
            if !heard {
                break;
            }
        }
        std::process::exit(0);
    });
    orders
}

impl Goal {
    fn wants(self, nth: usize, person: &Person) -> bool {
        let open = person.state == State::Open;
        match self {
            Goal::Nothing => false,
            Goal::Connected(count) => nth < count && !open && person.state != State::Gone,
            Goal::Had(count) => open && person.had < count,
            Goal::Pinged => open && !person.pinged,
            Goal::Gone => open,
        }
    }
}

impl Clients {
    fn new(options: Options, registry: Registry) -> Self {
        let person = |_| Person {
            stream: None,
            incoming: Incoming::default(),
            had: 0,
            state: State::New,
            pinged: false,
            back: false,
        };
        Self {
            tokens: tokens(),
            registry,
            people: (options.from..options.to).map(person).collect(),
            options,
            heads: HashMap::new(),
            goal: Goal::Nothing,
            left: 0,
            next: 0,
            coming: 0,
            port: PORTS.start,
            told: Told::default(),
        }
    }

    fn obey(&mut self, order: &str) -> Outcome {
        let mut words = order.split_whitespace();
        let mut word = || words.next().unwrap_or_default();
        let (order, verb, count) = (word().parse()?, word(), word());
        self.told.order = order;
        self.goal = match verb {
            "status" => Goal::Nothing,
            "connect" => Goal::Connected(count.parse()?),
            "had" => Goal::Had(count.parse()?),
            "pinged" => Goal::Pinged,
            "gone" => Goal::Gone,
            "drop" => self.drop_some(),
            "post" => self.post(count.parse()?)?,
            _ => return Err(format!("what is {verb:?}?").into()),
        };
        self.next = 0;
        let wanted = self.people.iter().enumerate().filter(|(nth, person)| self.goal.wants(*nth, person));
        self.left = wanted.count();
        Ok(())
    }

    /// One of ten hangs up, but nobody who posts.
    fn drop_some(&mut self) -> Goal {
        let (world, from) = (self.options.world, self.options.from);
        for (person, user) in self.people.iter_mut().zip(from..) {
            let place = user % world.members;
            if person.state == State::Open && place % ONE_OF == ONE_OF - 1 {
                person.stream = None;
                person.incoming = Incoming::default();
                person.state = State::Dropped;
                self.told.open -= 1;
            }
        }
        Goal::Nothing
    }

    /// The owner of each room posts so many messages, where the owner is one of these people.
    fn post(&mut self, count: u32) -> Result<Goal> {
        let (world, from) = (self.options.world, self.options.from);
        let mut frames = Vec::new();
        (0..count).for_each(|_| push_masked(&mut frames, TEXT, SAID.as_bytes()));
        for (person, user) in self.people.iter().zip(from..) {
            if let Some(mut stream) = person.stream.as_ref().filter(|_| user % world.members == 0) {
                stream.write_all(&frames)?;
            }
        }
        Ok(Goal::Nothing)
    }

    fn connect_more(&mut self) -> Outcome {
        let Goal::Connected(count) = self.goal else { return Ok(()) };
        while self.coming < AT_ONCE && self.next < count.min(self.people.len()) {
            if matches!(self.people[self.next].state, State::New | State::Dropped) {
                self.connect(self.next)?;
            }
            self.next += 1;
        }
        Ok(())
    }

    fn connect(&mut self, nth: usize) -> Outcome {
        let socket = self.bound()?;
        socket.set_nonblocking(true)?;
        match socket.connect(&self.options.server.into()) {
            Err(error) if error.raw_os_error() != Some(IN_PROGRESS) => return Err(error.into()),
            _ => {}
        }
        let mut stream = TcpStream::from_std(socket.into());
        self.registry.register(&mut stream, Token(nth), Interest::READABLE | Interest::WRITABLE)?;
        let person = &mut self.people[nth];
        person.back = person.state == State::Dropped;
        (person.stream, person.state) = (Some(stream), State::Coming);
        self.coming += 1;
        Ok(())
    }

    /// A socket with the next free port of these people's address.
    fn bound(&mut self) -> Result<Socket> {
        for _ in PORTS {
            self.port = if self.port + 1 < PORTS.end { self.port + 1 } else { PORTS.start };
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            match socket.bind(&SocketAddr::new(self.options.source, self.port).into()) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                bound => return Ok(bound.map(|()| socket)?),
            }
        }
        Err(format!("{} has no port left", self.options.source).into())
    }

    /// Does what a socket is ready for.
    fn ready(&mut self, nth: usize, writable: bool, buffer: &mut [u8]) {
        let wanted = self.goal.wants(nth, &self.people[nth]);
        let coming = matches!(self.people[nth].state, State::Coming | State::Asked);
        if let Err(why) = self.move_on(nth, writable, buffer) {
            self.lose(nth, why);
        }
        if coming && !matches!(self.people[nth].state, State::Coming | State::Asked) {
            self.coming -= 1;
        }
        if wanted && !self.goal.wants(nth, &self.people[nth]) {
            self.left -= 1;
        }
    }

    fn lose(&mut self, nth: usize, why: String) {
        let person = &mut self.people[nth];
        if person.state == State::Open {
            self.told.open -= 1;
            self.told.cut += 1;
        } else {
            self.told.refused += 1;
        }
        self.told.why.get_or_insert(why);
        (person.stream, person.state) = (None, State::Gone);
    }

    /// `Err`: why this socket is of no use any more.
    fn move_on(&mut self, nth: usize, writable: bool, buffer: &mut [u8]) -> std::result::Result<(), String> {
        if writable && self.people[nth].state == State::Coming {
            self.ask(nth).map_err(|error| format!("connecting: {error}"))?;
        }
        loop {
            // Gone meanwhile: what the kernel told was of a socket that is no more.
            let Some(mut stream) = self.people[nth].stream.as_ref() else { return Ok(()) };
            match stream.read(buffer) {
                Ok(0) => return Err("ended without a close frame".into()),
                Ok(count) => {
                    self.take(nth, &buffer[..count])?;
                    // A short read has emptied the socket, and the next bytes are told anew.
                    if count < buffer.len() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn ask(&mut self, nth: usize) -> io::Result<()> {
        let user = self.options.from + nth as u32;
        let room = self.options.world.room_of(user);
        let person = &mut self.people[nth];
        let since = match person.back {
            true => format!("?since={}", self.options.world.opening(room) + u64::from(person.had)),
            false => String::new(),
        };
        let request = format!(
            "GET /ws/chat/{}{since} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\nconnection: upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: bWlsbGlvbiBwZW9wbGUgISE=\r\n\r\n",
            room_id(room),
            self.options.server,
            self.tokens.issue(&claims(user)),
        );
        person.state = State::Asked;
        let Some(mut stream) = person.stream.as_ref() else { return Ok(()) };
        stream.write_all(request.as_bytes())
    }

    fn take(&mut self, nth: usize, bytes: &[u8]) -> std::result::Result<(), String> {
        if self.people[nth].state == State::Open {
            return self.hear(nth, bytes);
        }
        let mut head = self.heads.remove(&nth).unwrap_or_default();
        head.extend_from_slice(bytes);
        let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") else {
            let short = head.len() < HEAD_BYTES;
            self.heads.insert(nth, head);
            return if short { Ok(()) } else { Err("an endless answer to the handshake".into()) };
        };
        if !head.starts_with(b"HTTP/1.1 101 ") {
            return Err(format!("refused: {}", String::from_utf8_lossy(&head)));
        }
        self.people[nth].state = State::Open;
        self.told.open += 1;
        self.hear(nth, &head[end + 4..])
    }

    fn hear(&mut self, nth: usize, bytes: &[u8]) -> std::result::Result<(), String> {
        let opening = self.options.world.opening(self.options.world.room_of(self.options.from + nth as u32));
        let (person, told) = (&mut self.people[nth], &mut self.told);
        let Person { incoming, had, pinged, .. } = person;
        let (mut answers, mut closed) = (Vec::new(), None);
        let heard = incoming.feed(bytes, |message| match message {
            Message::Text(text) => {
                // No seq: nothing of a room's log.
                let Some(seq) = number(text, b"\"seq\":", &mut Hint::default()) else { return };
                let next = opening + u64::from(*had) + 1;
                if seq < next {
                    told.doubled += 1;
                    return;
                }
                told.lost += seq - next;
                told.delivered += 1;
                *had = (seq - opening) as u32;
            }
            Message::Ping(payload) => {
                told.pings += 1;
                *pinged = true;
                push_masked(&mut answers, PONG, payload);
            }
            Message::Pong => {}
            Message::Close { code, reason } => closed = Some((code, String::from_utf8_lossy(reason).into_owned())),
        });
        heard.map_err(|error| error.to_string())?;
        match closed {
            Some((1012, _)) => {
                told.open -= 1;
                told.drained += 1;
                (person.stream, person.state) = (None, State::Gone);
                Ok(())
            }
            Some((code, reason)) => Err(format!("closed: {code} {reason}")),
            None if answers.is_empty() => Ok(()),
            None => {
                let Some(mut stream) = person.stream.as_ref() else { return Ok(()) };
                stream.write_all(&answers).map_err(|error| format!("answering a ping: {error}"))
            }
        }
    }
}
