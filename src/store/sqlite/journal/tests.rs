//! The journal on a disk that fails: torn writes, flipped bits, failed syncs, no room, lost files. Whatever happens, what was
//! acknowledged comes back, or the start says that it cannot.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use super::{
    Journal, Position, SEGMENT_BYTES, STEP_BYTES,
    disk::{Disk, Slot},
    recovery::{JournalError, Recovered, read},
};
use crate::{
    event::{Event, Kind},
    protocol::Frame,
    types::{MessageId, RoomId, Timestamp, UserId},
};

/// Files in memory: as they were written, and as they would be after a power cut.
#[derive(Clone, Default)]
struct Faulty(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    files: BTreeMap<u32, Vec<u8>>,
    /// Writes that succeed before one fails, half done.
    writes: Option<usize>,
    /// Syncs that succeed before one fails.
    syncs: Option<usize>,
    /// Bytes that fit.
    room: Option<usize>,
}

impl Faulty {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic")
    }

    fn journal(&self) -> Journal {
        Journal::new(Box::new(self.clone()), [1; 16], Position::default())
    }

    fn read(&self) -> Result<Recovered, JournalError> {
        self.read_after(Position::default())
    }

    fn read_after(&self, settled: Position) -> Result<Recovered, JournalError> {
        read(self, [1; 16], settled)
    }

    fn seqs(&self) -> Vec<u64> {
        self.read().expect("a readable journal").events.iter().map(|(_, event)| event.seq).collect()
    }
}

/// `true`: this one fails.
fn fails(left: &mut Option<usize>) -> bool {
    match left {
        Some(0) => true,
        Some(left) => {
            *left -= 1;
            false
        }
        None => false,
    }
}

impl Disk for Faulty {
    fn slots(&self) -> io::Result<Vec<u32>> {
        Ok(self.state().files.keys().copied().collect())
    }

    fn open(&self, slot: u32) -> io::Result<Box<dyn Slot>> {
        self.state().files.entry(slot).or_default();
        Ok(Box::new(FaultyFile { disk: self.clone(), slot }))
    }

    fn remove(&self, slot: u32) -> io::Result<()> {
        self.state().files.remove(&slot);
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        Ok(())
    }

    fn name(&self, slot: u32) -> String {
        format!("log-{slot}")
    }
}

struct FaultyFile {
    disk: Faulty,
    slot: u32,
}

impl Slot for FaultyFile {
    fn read(&self) -> io::Result<Vec<u8>> {
        Ok(self.disk.state().files[&self.slot].clone())
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.disk.state().files[&self.slot].len() as u64)
    }

    fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let broken = fails(&mut state.writes);
        let end = at as usize + bytes.len();
        if state.room.is_some_and(|room| end > room) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let bytes = if broken { &bytes[..bytes.len() / 2] } else { bytes };
        let file = state.files.get_mut(&self.slot).expect("it was opened");
        file.resize(file.len().max(at as usize + bytes.len()), 0);
        file[at as usize..][..bytes.len()].copy_from_slice(bytes);
        if broken { Err(io::Error::other("the disk is gone")) } else { Ok(()) }
    }

    fn sync(&self) -> io::Result<()> {
        if fails(&mut self.disk.state().syncs) { Err(io::Error::other("the disk is gone")) } else { Ok(()) }
    }
}

fn event(seq: u64) -> Event {
    let (sender, event_id) = (UserId::fresh(), MessageId::fresh());
    let (kind, frame) = (Kind::Message, Frame::of(format!("{{\"seq\":{seq}}}").as_bytes()));
    Event { seq, ordinal: seq, sender, client_id: Some("c".into()), event_id, sent_at: Timestamp(7), kind, frame }
}

fn commit(journal: &mut Journal, seqs: impl IntoIterator<Item = u64>) -> io::Result<Position> {
    let events: Vec<Event> = seqs.into_iter().map(event).collect();
    journal.commit(events.iter().map(|event| (RoomId(uuid::Uuid::nil()), event)))
}

/// Commits of one large event, until the journal is in another segment.
fn fill_segment(journal: &mut Journal) -> Position {
    let large = Event { frame: Frame::of(&vec![b' '; SEGMENT_BYTES as usize / 3]), ..event(1) };
    let first = journal.end.segment.max(1);
    loop {
        let end = journal.commit([(RoomId::fresh(), &large)].into_iter()).expect("a sound disk");
        if end.segment > first {
            return end;
        }
    }
}

#[test]
fn what_was_committed_is_read_back_in_order() {
    let disk = Faulty::default();
    assert!(disk.read().expect("nothing").events.is_empty());
    let mut journal = disk.journal();
    commit(&mut journal, [1, 2]).expect("a sound disk");
    let middle = commit(&mut journal, [3]).expect("a sound disk");
    let end = commit(&mut journal, [4, 5, 6]).expect("a sound disk");
    let found = disk.read().expect("readable");
    assert_eq!(found.events.iter().map(|(_, event)| event.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(found.end, end);
    let rest = disk.read_after(middle).expect("readable");
    assert_eq!(rest.events.iter().map(|(_, event)| event.seq).collect::<Vec<_>>(), [4, 5, 6]);
}

#[test]
fn an_end_that_is_torn_at_any_byte_costs_the_last_commit_alone() {
    let disk = Faulty::default();
    let mut journal = disk.journal();
    let before = commit(&mut journal, [1]).expect("a sound disk");
    let after = commit(&mut journal, [2]).expect("a sound disk");
    let whole = disk.state().files[&0][..after.offset as usize + 50].to_vec();
    for torn in before.offset..after.offset {
        disk.state().files.insert(0, whole[..torn as usize].to_vec());
        assert_eq!(disk.seqs(), [1], "cut at {torn}");
        let mut zeroed = whole.clone();
        zeroed[torn as usize..].fill(0);
        disk.state().files.insert(0, zeroed);
        assert_eq!(disk.seqs(), [1], "nothing from {torn} on");
    }
}

#[test]
fn a_bit_that_flips_before_the_last_commit_is_told_and_nothing_is_guessed() {
    let disk = Faulty::default();
    let mut journal = disk.journal();
    commit(&mut journal, [1]).expect("a sound disk");
    let before_last = commit(&mut journal, [2]).expect("a sound disk");
    commit(&mut journal, [3]).expect("a sound disk");
    let whole = disk.state().files[&0].clone();
    for byte in 0..before_last.offset as usize {
        let mut flipped = whole.clone();
        flipped[byte] ^= 0x10;
        disk.state().files.insert(0, flipped);
        let error = disk.read().expect_err("a flipped bit");
        assert!(matches!(error, JournalError::Damaged { .. }), "byte {byte}: {error}");
    }
}

#[test]
fn a_failed_write_or_sync_is_void_once_the_next_commit_has_succeeded() {
    for (writes, syncs) in [(Some(0), None), (None, Some(0))] {
        let disk = Faulty::default();
        let mut journal = disk.journal();
        commit(&mut journal, [1]).expect("a sound disk");
        (disk.state().writes, disk.state().syncs) = (writes, syncs);
        commit(&mut journal, [2]).expect_err("a broken disk");
        // Nothing can be acknowledged as long as the disk does not take a new segment.
        commit(&mut journal, [2]).expect_err("a broken disk");
        (disk.state().writes, disk.state().syncs) = (None, None);
        let end = commit(&mut journal, [2, 3]).expect("a sound disk");
        assert!(end.segment > 1, "a file that has failed takes nothing more");
        assert_eq!(disk.seqs(), [1, 2, 3]);
    }
}

#[test]
fn a_first_commit_that_fails_in_a_new_segment_is_void_too() {
    let disk = Faulty::default();
    let mut journal = disk.journal();
    commit(&mut journal, [1]).expect("a sound disk");
    for failing in 1..4 {
        // The header reaches the disk, the commit behind it does not.
        journal.active = None;
        disk.state().syncs = Some(1);
        commit(&mut journal, [100 + failing]).expect_err("a broken disk");
        disk.state().syncs = None;
    }
    commit(&mut journal, [2]).expect("a sound disk");
    assert_eq!(disk.seqs(), [1, 2]);
}

#[test]
fn a_full_disk_takes_nothing_and_loses_nothing() {
    let disk = Faulty::default();
    let mut journal = disk.journal();
    commit(&mut journal, [1]).expect("a sound disk");
    disk.state().room = Some(STEP_BYTES as usize * 2);
    let large = Event { frame: Frame::of(&vec![b' '; STEP_BYTES as usize]), ..event(2) };
    let room = RoomId::fresh();
    let error = (0..3).find_map(|_| journal.commit([(room, &large)].into_iter()).err()).expect("a full disk");
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    disk.state().room = None;
    let acknowledged = disk.seqs();
    commit(&mut journal, [9]).expect("there is room again");
    assert_eq!(disk.seqs(), [acknowledged, vec![9]].concat());
}

#[test]
fn segments_follow_on_each_other_and_files_are_used_again() {
    let disk = Faulty::default();
    let mut journal = disk.journal();
    let mut last = Position::default();
    for _ in 0..10 {
        last = fill_segment(&mut journal);
        journal.release(Position { segment: last.segment, offset: 0 });
    }
    assert!(last.segment >= 10);
    assert_eq!(disk.slots().expect("slots").len(), 2, "one is written while the other is settled");
    let found = disk.read_after(Position { segment: last.segment, offset: 0 }).expect("readable");
    assert_eq!((found.events.len(), found.end), (1, last));
    journal.clear().expect("a sound disk");
    assert!(disk.slots().expect("slots").is_empty());
}

#[test]
fn a_file_that_is_missing_is_told() {
    let disk = Faulty::default();
    let mut journal = disk.journal();
    fill_segment(&mut journal);
    fill_segment(&mut journal);
    let files = disk.state().files.clone();
    assert!(files.len() >= 3 && disk.read().is_ok());
    for missing in files.keys() {
        disk.state().files = files.clone();
        disk.state().files.remove(missing);
        assert!(matches!(disk.read(), Err(JournalError::Lost { .. })), "without {missing}");
    }
}

#[test]
fn the_journal_of_another_database_is_left_alone() {
    let disk = Faulty::default();
    commit(&mut disk.journal(), [1]).expect("a sound disk");
    let error = read(&disk, [2; 16], Position::default()).expect_err("another database");
    assert!(matches!(error, JournalError::Foreign { .. }));
    assert!(error.to_string().contains("log-0"), "{error}");
}
