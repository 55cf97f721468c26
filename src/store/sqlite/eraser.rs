//! What a deletion leaves behind outside of the tables, and the list of everything that was deleted.
//!
//! The transaction of a deletion takes the text out of the tables, and out of their pages (`secure_delete`). The journal and the
//! write-ahead log still have it. So a thread follows, for all deletions of a moment: everything that is unsettled is settled, the
//! journal's files are removed, and the write-ahead log is begun anew. A sudden end loses nothing of this, as a start does the same.
//!
//! The list stands beside the database, in `natter.db.erased`, and in no backup: where an older database comes back, whatever way,
//! the start takes out of it again what was deleted since ([`apply`]). A line names a chat and a message, and has no text.

use std::{
    collections::HashSet,
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
};

use parking_lot::Mutex;
use rusqlite::Connection;

use super::{
    appender::Appender,
    batch::{Durability, Need},
    erasures::{Erasure, Wanted, erasures, note},
    forms,
    space::beside,
    tail::Tail,
    writer::Writer,
};
use crate::{
    store::{Result, StoreError},
    types::MessageId,
};

pub(super) struct Eraser {
    wanted: Arc<Wanted>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Eraser {
    pub(super) fn start(list: List, tail: Arc<Tail>, writer: Arc<Writer>, appender: Arc<Appender>) -> io::Result<Self> {
        let wanted = writer.erasing.clone();
        let thread = Thread { wanted: wanted.clone(), list, tail, writer, appender };
        let thread = thread::Builder::new().name("natter-eraser".into()).spawn(move || thread.run())?;
        Ok(Self { wanted, thread: Mutex::new(Some(thread)) })
    }

    /// Blocks; the second call finds nothing to do. What is left is done by closing the journal and the database.
    pub(super) fn stop(&self) {
        self.wanted.stop();
        if self.thread.lock().take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that erases ended with a panic");
        }
    }
}

struct Thread {
    wanted: Arc<Wanted>,
    list: List,
    tail: Arc<Tail>,
    writer: Arc<Writer>,
    appender: Arc<Appender>,
}

impl Thread {
    fn run(mut self) {
        while self.wanted.wait() {
            if let Err(error) = self.erase() {
                tracing::warn!(%error, "what was deleted is not erased from the logs yet; it is tried again");
                self.wanted.want();
            }
        }
        if let Err(error) = self.write_down() {
            tracing::warn!(%error, "the list of what was deleted is brought up with the next start");
        }
    }

    fn erase(&mut self) -> Result<()> {
        self.write_down()?;
        // Most of it while posts go on; the appender waits for the rest.
        self.tail.wait_until_settled()?;
        self.writer.begin_the_log_anew();
        self.appender.scrub()?;
        if self.writer.log_is_to_begin_anew() {
            // Somebody reads what it holds.
            self.wanted.want();
        }
        Ok(())
    }

    fn write_down(&mut self) -> Result<()> {
        let after = self.list.reaches;
        let new = self.writer.write_blocking(move |db| erasures(db, after), Durability::Lazy, Need::Promised)?;
        self.list.add(&new).map_err(|error| {
            StoreError::Unavailable(format!("{} cannot be written: {error}", self.list.file.display()))
        })
    }
}

/// The file beside the database.
pub(super) struct List {
    file: PathBuf,
    /// The number, in the tables, of the last erasure that is in it.
    reaches: i64,
}

impl List {
    pub(super) fn path(database: &Path) -> PathBuf {
        beside(database, ".erased")
    }

    fn read(file: &Path) -> io::Result<Vec<Erasure>> {
        let lines = match File::open(file) {
            Ok(file) => BufReader::new(file).lines(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut list = Vec::new();
        for line in lines {
            // The last line may have been cut off, and is written again.
            list.extend(serde_json::from_str::<Erasure>(&line?).ok());
        }
        Ok(list)
    }

    fn add(&mut self, new: &[(i64, Erasure)]) -> io::Result<()> {
        let Some((last, _)) = new.last() else { return Ok(()) };
        let mut text = String::from("\n");
        for (_, erasure) in new {
            text.push_str(&serde_json::to_string(erasure)?);
            text.push('\n');
        }
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.file)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        super::backup::sync(&self.file)?;
        self.reaches = *last;
        Ok(())
    }
}

/// Takes out of a database what the list beside it names and it does not know to be deleted, and brings the list up to what it
/// knows. Gives the list, and of how many messages there was something to take out.
pub(super) fn apply(db: &Connection, database: &Path) -> Result<(List, usize), io::Error> {
    let file = List::path(database);
    let listed = List::read(&file)?;
    let (known, erased) = take_out(db, &listed).map_err(io::Error::other)?;
    let mut list = List { file, reaches: known.last().map_or(0, |(n, _)| *n) };
    let in_file: HashSet<MessageId> = listed.iter().map(|erasure| erasure.message_id).collect();
    let missing: Vec<_> = known.into_iter().filter(|(_, erasure)| !in_file.contains(&erasure.message_id)).collect();
    let reaches = list.reaches;
    list.add(&missing)?;
    list.reaches = reaches;
    Ok((list, erased))
}

fn take_out(db: &Connection, listed: &[Erasure]) -> rusqlite::Result<(Vec<(i64, Erasure)>, usize)> {
    let known: HashSet<MessageId> = erasures(db, 0)?.into_iter().map(|(_, erasure)| erasure.message_id).collect();
    let mut erased = 0;
    for Erasure { chat_id, message_id, at } in listed.iter().filter(|erasure| !known.contains(&erasure.message_id)) {
        let one = db.unchecked_transaction()?;
        erased += usize::from(forms::erase(&one, *chat_id, *message_id)?);
        note(&one, *chat_id, *message_id, *at)?;
        one.commit()?;
    }
    Ok((erasures(db, 0)?, erased))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::RoomId;

    #[test]
    fn a_list_is_read_as_it_was_written_but_for_a_line_that_was_cut_off() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut list = List { file: List::path(&folder.path().join("natter.db")), reaches: 0 };
        let erasure = |at| Erasure { chat_id: RoomId::fresh(), message_id: MessageId::fresh(), at };
        let (first, second) = (erasure(1), erasure(2));
        list.add(&[(1, first.clone())]).expect("written");
        let mut file = OpenOptions::new().append(true).open(&list.file).expect("the file");
        file.write_all(b"{\"chat_id\":\"01").expect("written");
        list.add(&[(2, second.clone())]).expect("written");
        assert_eq!(List::read(&list.file).expect("readable"), [first, second]);
        assert_eq!(list.reaches, 2);
    }
}
