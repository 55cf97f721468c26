//! `natter import FILE`: an export, into an empty store.
//!
//! The whole file is checked before anything is written. While it is written the store is marked, so that nothing serves
//! from it; an import that was cut off goes on when it is started again. At the end everything is read back and compared.
//!
//! Rooms get new epochs: what is in the store now is another life of the same rooms, and clients that had read further in
//! a life that went on must not trust their cursors. They load their histories once.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::sync::mpsc;

use super::{
    Counts,
    check::{self, Checked},
    fill::{BATCH, Filling, RoomSink},
    format::{Line, MemberLine, RoomLine},
    progress::Progress,
    read::FileReader,
    survey::{self, sentence},
};
use crate::{
    event::Event,
    store::{Begun, Store, UserRecord},
    types::NodeId,
};

/// What is in the store now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    pub counts: Counts,
    pub digest: String,
    /// Where the file came from.
    pub from: String,
    /// An earlier attempt had been cut off.
    pub again: bool,
}

/// A file that is whole.
pub struct Source {
    path: PathBuf,
    checked: Checked,
}

/// Reads all of `file` and holds it against its checksums, and against what must hold in any export. Nothing is written.
pub async fn check(file: &Path, progress: &Arc<Progress>) -> Result<Source, String> {
    let (path, progress) = (file.to_owned(), progress.clone());
    blocking(move || Ok(Source { checked: check::check(&path, &progress)?, path })).await
}

/// Fills `store`. Nothing is changed unless it is empty (or filled by the same import before) and nobody serves from it; a
/// process counts as alive when it said so `within` this time.
pub async fn import(
    store: Arc<dyn Store>,
    source: Source,
    within: Duration,
    progress: Arc<Progress>,
) -> Result<Imported, String> {
    let Source { path, checked: Checked { header, end } } = source;
    let name = format!("{} ({}, content {})", header.from, header.id, &end.digest[..12]);
    let again = begin(store.as_ref(), &name, within).await?;

    progress.begin("importing", "events and users", end.counts.events + end.counts.users);
    fill(store.clone(), &path, progress.clone()).await?;

    let found = survey::verify(store.as_ref(), &progress).await?;
    if let Some(problem) = found.problems.first() {
        return Err(format!("what was imported is not sound: {problem}. {AFRESH}"));
    }
    if (found.counts, &found.digest) != (end.counts, &end.digest) {
        return Err(format!(
            "what was imported is not what is in the file: the store holds {}, the file {}. {AFRESH}",
            found.counts, end.counts
        ));
    }
    store.end_import().await.map_err(|error| sentence(&error))?;
    Ok(Imported { counts: end.counts, digest: end.digest, from: header.from, again })
}

const AFRESH: &str = "Empty the store and import again";

/// What a command other than the import says about a store that an import has not finished filling.
pub async fn refuse_unfinished(store: &dyn Store) -> Result<(), String> {
    match store.unfinished_import().await.map_err(|error| sentence(&error))? {
        None => Ok(()),
        Some(name) => Err(format!(
            "an import into this store has not ended: {name}. Run the same `natter import` again, and it goes on where it \
             stopped; or empty the store"
        )),
    }
}

/// Marks the store; whether it had been marked by the same import.
async fn begin(store: &dyn Store, name: &str, within: Duration) -> Result<bool, String> {
    nobody_serves(store, within).await?;
    let begun = store.begin_import(name).await.map_err(|error| sentence(&error))?;
    match begun {
        Begun::Anew => {}
        Begun::Again => {}
        Begun::Other(other) => {
            return Err(format!(
                "another import into this store has not ended: {other}. Finish that one with the same command, or empty \
                 the store; this one would be: {name}"
            ));
        }
        Begun::InUse => {
            return Err(
                "there are users or chats in this store, and an import goes into an empty one. Name another store \
                        (--store, store.url or DB_URL)"
                    .into(),
            );
        }
    }
    // Whoever starts now finds the mark; whoever started before is seen.
    if let Err(sentence) = nobody_serves(store, within).await {
        if begun == Begun::Anew {
            store.end_import().await.map_err(|error| error.to_string())?;
        }
        return Err(sentence);
    }
    Ok(begun == Begun::Again)
}

async fn nobody_serves(store: &dyn Store, within: Duration) -> Result<(), String> {
    let Some(shared) = store.shared() else { return Ok(()) };
    let me = NodeId::fresh();
    let living = shared.meet(me, within).await.map_err(|error| sentence(&error))?;
    shared.part(me).await.map_err(|error| sentence(&error))?;
    match living.iter().filter(|node| **node != me).count() {
        0 => Ok(()),
        others => Err(format!(
            "{others} running natter serve from this database, or ended within the last {} s. Stop them, wait, and try \
             again",
            within.as_secs()
        )),
    }
}

/// A file in portions, in its order.
enum Item {
    Room(RoomLine),
    Events(Vec<Event>),
    Members(Vec<MemberLine>),
    Users(Vec<UserRecord>),
}

async fn fill(store: Arc<dyn Store>, file: &Path, progress: Arc<Progress>) -> Result<(), String> {
    let (items, mut queue) = mpsc::channel(8);
    let path = file.to_owned();
    let reading = tokio::spawn(blocking(move || read(&path, &items)));
    let mut filling = Filling::new(store, progress);
    let mut sink: Option<RoomSink> = None;
    while let Some(item) = queue.recv().await {
        match (item, &sink) {
            (Item::Room(room), _) => sink = Some(filling.room(room).await?),
            (Item::Events(events), Some(room)) => room.events(events).await,
            (Item::Members(members), Some(_)) => {
                if let Some(room) = sink.take() {
                    room.members(members).await;
                }
            }
            (Item::Users(users), None) => filling.users(users).await?,
            (Item::Events(_) | Item::Members(_), None) | (Item::Users(_), Some(_)) => {
                return Err("the file changed while it was read".into());
            }
        }
    }
    drop(sink);
    filling.rooms_done().await?;
    reading.await.unwrap_or_else(|error| Err(format!("reading was cut off: {error}")))
}

fn read(path: &Path, items: &mpsc::Sender<Item>) -> Result<(), String> {
    let mut file = FileReader::open(path)?;
    // Nobody takes them any more: the other side has failed and says why.
    let give = |item: Item| items.blocking_send(item).is_ok();
    let (mut events, mut members, mut users) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(line) = file.next()? {
        let taken = match line {
            Line::Room(room) => give(Item::Room(room)),
            Line::Event(event) => {
                events.push(event.event()?);
                events.len() < BATCH || give(Item::Events(std::mem::take(&mut events)))
            }
            Line::Member(member) => {
                members.push(member);
                true
            }
            Line::RoomEnd(_) => {
                (events.is_empty() || give(Item::Events(std::mem::take(&mut events))))
                    && give(Item::Members(std::mem::take(&mut members)))
            }
            Line::User(user) => {
                users.push(user.user());
                users.len() < BATCH || give(Item::Users(std::mem::take(&mut users)))
            }
            Line::Check(_) => true,
            Line::End(_) => users.is_empty() || give(Item::Users(std::mem::take(&mut users))),
        };
        if !taken {
            return Ok(());
        }
    }
    Ok(())
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(format!("it was cut off: {error}")))
}
