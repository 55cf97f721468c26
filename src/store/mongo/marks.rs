//! How far each member has read: `marks`, `{ _id: "<room>:<user>", room, user, seq, ordinal, wrote? }`, which only ever grows.
//!
//! Marks are moved by their readers and by posting, often many at once, so they are gathered: a mark that waits takes up
//! what comes for the same reader and room, and whatever waits goes in one command as soon as one is free. One mark is
//! never in two commands at once, so that a server without atomic updates loses none. They stand apart from `members`, so that
//! they can never disturb who is one.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use mongodb::bson::{Document, doc};
use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_util::task::TaskTracker;

use super::{
    base::Base,
    codec::{count, int},
    codec_log::member_key,
    commands,
};
use crate::{
    event::fold::ReadMark,
    store::{Result, StoreError},
    types::{RoomId, UserId},
};

/// Marks in one command, at most.
const MARKS: usize = 500;

pub(super) type Reader = (RoomId, UserId);

pub(super) struct Marks {
    base: Arc<Base>,
    tasks: TaskTracker,
    state: Mutex<State>,
}

/// A wanted mark is in `ready` unless one of the same reader is under way: then it becomes ready when that has ended.
#[derive(Default)]
struct State {
    wanted: HashMap<Reader, Wanted>,
    ready: VecDeque<Reader>,
    under_way: HashSet<Reader>,
    commands: usize,
}

#[derive(Default)]
struct Wanted {
    mark: ReadMark,
    /// They have written: this mark, or one before it, is of an own message.
    wrote: bool,
    tell: Vec<UnboundedSender<Result<()>>>,
}

type Taken = Vec<(Reader, Wanted)>;

impl Marks {
    /// `tasks` does the writing, whether or not those who asked still wait.
    pub fn new(base: Arc<Base>, tasks: TaskTracker) -> Arc<Self> {
        Arc::new(Self { base, tasks, state: Mutex::default() })
    }

    /// Moves each mark forward to what is given, never back; returns when all of them are stored.
    /// `wrote`: by writing.
    pub async fn advance(self: &Arc<Self>, marks: Vec<(Reader, ReadMark)>, wrote: bool) -> Result<()> {
        let (tell, mut told) = unbounded_channel();
        self.state.lock().want(marks, wrote, &tell);
        drop(tell);
        self.start();
        while let Some(result) = told.recv().await {
            result?;
        }
        Ok(())
    }

    fn start(self: &Arc<Self>) {
        let most = self.base.config.inserts;
        let mut state = self.state.lock();
        if state.commands < most && !state.ready.is_empty() {
            state.commands += 1;
            self.tasks.spawn(Command(self.clone()).run());
        }
    }
}

impl State {
    fn want(&mut self, marks: Vec<(Reader, ReadMark)>, wrote: bool, tell: &UnboundedSender<Result<()>>) {
        for (reader, mark) in marks {
            if !self.wanted.contains_key(&reader) && !self.under_way.contains(&reader) {
                self.ready.push_back(reader);
            }
            let wanted = self.wanted.entry(reader).or_default();
            wanted.mark = furthest(wanted.mark, mark);
            wanted.wrote |= wrote;
            wanted.tell.push(tell.clone());
        }
    }

    fn take(&mut self) -> Taken {
        let readers = self.ready.drain(..self.ready.len().min(MARKS));
        let taken: Taken =
            readers.filter_map(|reader| self.wanted.remove(&reader).map(|wanted| (reader, wanted))).collect();
        self.under_way.extend(taken.iter().map(|(reader, _)| *reader));
        taken
    }

    fn ended(&mut self, reader: &Reader) {
        self.under_way.remove(reader);
        if self.wanted.contains_key(reader) {
            self.ready.push_back(*reader);
        }
    }
}

/// One of the commands that may run at once. Ends, also by a panic, with its place free again.
struct Command(Arc<Marks>);

impl Command {
    async fn run(self) {
        loop {
            let taken = self.0.state.lock().take();
            if taken.is_empty() {
                return;
            }
            let statements: Vec<Document> = taken.iter().map(|(reader, wanted)| statement(reader, wanted)).collect();
            let under_way = UnderWay { marks: &self.0, taken };
            let result = commands::update(&self.0.base, "marks", &statements).await;
            under_way.tell(&result);
        }
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        self.0.state.lock().commands -= 1;
        self.0.start();
    }
}

struct UnderWay<'a> {
    marks: &'a Marks,
    taken: Taken,
}

impl UnderWay<'_> {
    fn tell(mut self, result: &Result<()>) {
        for (_, wanted) in &mut self.taken {
            for tell in wanted.tell.drain(..) {
                // Who asked may have gone.
                drop(tell.send(result.clone()));
            }
        }
    }
}

/// Those that were told nothing are told that it was cut off.
impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut state = self.marks.state.lock();
        for (reader, wanted) in &mut self.taken {
            state.ended(reader);
            for tell in wanted.tell.drain(..) {
                drop(tell.send(Err(StoreError::Unavailable("writing read marks was cut off".into()))));
            }
        }
    }
}

fn statement((room, user): &Reader, Wanted { mark, wrote, tell: _ }: &Wanted) -> Document {
    let mut most = doc! { "seq": int(mark.seq), "ordinal": int(mark.ordinal) };
    if *wrote {
        most.insert("wrote", 1_i64);
    }
    doc! {
        "q": { "_id": member_key(*room, *user) },
        "u": {
            "$max": most,
            "$setOnInsert": { "room": room.to_string(), "user": user.to_string() },
        },
        "upsert": true,
    }
}

pub(super) fn mark(document: &Document) -> Result<ReadMark> {
    Ok(ReadMark { seq: count(document, "seq")?, ordinal: count(document, "ordinal")? })
}

pub(super) fn furthest(one: ReadMark, other: ReadMark) -> ReadMark {
    if one.seq < other.seq { other } else { one }
}
