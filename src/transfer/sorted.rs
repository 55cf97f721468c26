//! Sorts more records than fit into memory: sorted runs go to unnamed temporary files and are merged when read.
//!
//! A record is a key and a value, both bytes; records come back ascending by key, then value. Temporary files lie in
//! the system's folder for them (`TMPDIR`), are readable by their owner alone, and have no name from the beginning, so that
//! nothing is left of them however the process ends.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    env,
    fs::{self, File, OpenOptions},
    io::{self, BufReader, BufWriter, Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
};

use uuid::Uuid;

pub(super) type Record = (Vec<u8>, Vec<u8>);

/// Memory for records before they go to a file: these many bytes, roughly.
const MEMORY_BYTES: usize = 32 * 1024 * 1024;

/// What a record costs beside its bytes.
const RECORD_BYTES: usize = 64;

/// More runs than this are merged into one first: each costs an open file and a buffer.
const MOST_RUNS: usize = 64;

/// Records given without a pause.
const RECORDS_A_TURN: u64 = 1_000;

pub(super) struct Sorter {
    memory_bytes: usize,
    records: Vec<Record>,
    bytes: usize,
    runs: Vec<File>,
}

impl Default for Sorter {
    fn default() -> Self {
        Self::with_memory(MEMORY_BYTES)
    }
}

impl Sorter {
    fn with_memory(memory_bytes: usize) -> Self {
        Self { memory_bytes, records: Vec::new(), bytes: 0, runs: Vec::new() }
    }

    pub(super) fn push(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), String> {
        self.bytes += key.len() + value.len() + RECORD_BYTES;
        self.records.push((key, value));
        if self.bytes < self.memory_bytes {
            return Ok(());
        }
        // It takes a while: whatever else this thread serves goes on elsewhere.
        tokio::task::block_in_place(|| self.spill()).map_err(|error| trouble(&error))
    }

    /// Everything, in order.
    pub(super) fn sorted(mut self) -> Result<Sorted, String> {
        self.records.sort_unstable();
        let memory = std::mem::take(&mut self.records).into_iter();
        Sorted::begin(memory, std::mem::take(&mut self.runs)).map_err(|error| trouble(&error))
    }

    fn spill(&mut self) -> io::Result<()> {
        self.records.sort_unstable();
        let records = std::mem::take(&mut self.records).into_iter().map(Ok);
        self.runs.push(run(records)?);
        self.bytes = 0;
        if self.runs.len() > MOST_RUNS {
            let mut merged = Sorted::begin(Vec::new().into_iter(), std::mem::take(&mut self.runs))?;
            self.runs.push(run(std::iter::from_fn(|| merged.take().transpose()))?);
        }
        Ok(())
    }
}

fn run(records: impl Iterator<Item = io::Result<Record>>) -> io::Result<File> {
    let path = env::temp_dir().join(format!("natter-{}", Uuid::now_v7().simple()));
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    fs::remove_file(&path)?;
    let mut out = BufWriter::with_capacity(256 * 1024, file);
    for record in records {
        let (key, value) = record?;
        for part in [&key, &value] {
            let length = u32::try_from(part.len()).map_err(|_| io::Error::other("a record is longer than 4 GiB"))?;
            out.write_all(&length.to_le_bytes())?;
            out.write_all(part)?;
        }
    }
    let mut file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.rewind()?;
    Ok(file)
}

fn trouble(error: &io::Error) -> String {
    format!("temporary files in {} fail: {error}; set TMPDIR to a folder with more room", env::temp_dir().display())
}

/// The merge of the runs and of what was still in memory.
pub(super) struct Sorted {
    memory: std::vec::IntoIter<Record>,
    runs: Vec<BufReader<File>>,
    /// The next record of each source; `runs.len()` is the memory.
    next: BinaryHeap<Reverse<(Record, usize)>>,
    given: u64,
}

impl Sorted {
    fn begin(memory: std::vec::IntoIter<Record>, runs: Vec<File>) -> io::Result<Self> {
        let runs: Vec<_> = runs.into_iter().map(|file| BufReader::with_capacity(64 * 1024, file)).collect();
        let sources = runs.len() + 1;
        let mut sorted = Self { memory, runs, next: BinaryHeap::with_capacity(sources), given: 0 };
        for source in 0..sources {
            sorted.refill(source)?;
        }
        Ok(sorted)
    }

    fn refill(&mut self, source: usize) -> io::Result<()> {
        let record = match self.runs.get_mut(source) {
            Some(run) => read(run)?,
            None => self.memory.next(),
        };
        if let Some(record) = record {
            self.next.push(Reverse((record, source)));
        }
        Ok(())
    }

    fn take(&mut self) -> io::Result<Option<Record>> {
        let Some(Reverse((record, source))) = self.next.pop() else { return Ok(None) };
        self.refill(source)?;
        Ok(Some(record))
    }

    /// Lets others have their turn now and then.
    pub(super) async fn next(&mut self) -> Result<Option<Record>, String> {
        self.given += 1;
        if self.given.is_multiple_of(RECORDS_A_TURN) {
            tokio::task::yield_now().await;
        }
        self.take().map_err(|error| trouble(&error))
    }

    /// The record that comes next.
    pub(super) fn peek(&self) -> Option<&Record> {
        self.next.peek().map(|Reverse((record, _))| record)
    }
}

fn read(run: &mut BufReader<File>) -> io::Result<Option<Record>> {
    let part = |run: &mut BufReader<File>| -> io::Result<Option<Vec<u8>>> {
        let mut length = [0; 4];
        match run.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
        run.read_exact(&mut bytes)?;
        Ok(Some(bytes))
    };
    let Some(key) = part(run)? else { return Ok(None) };
    let value = part(run)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(Some((key, value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn what_does_not_fit_into_memory_comes_back_sorted() {
        let mut sorter = Sorter::with_memory(10 * (RECORD_BYTES + 12));
        let mut numbers: Vec<u64> = (0..5_000u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        for number in &numbers {
            sorter.push(number.to_be_bytes().to_vec(), b"abcd".to_vec()).unwrap();
        }
        numbers.sort_unstable();
        let mut sorted = sorter.sorted().unwrap();
        for number in numbers {
            assert_eq!(sorted.peek().unwrap().0, number.to_be_bytes());
            assert_eq!(sorted.next().await.unwrap().unwrap(), (number.to_be_bytes().to_vec(), b"abcd".to_vec()));
        }
        assert!(sorted.next().await.unwrap().is_none() && sorted.peek().is_none());
    }

    #[tokio::test]
    async fn nothing_sorts_to_nothing() {
        assert!(Sorter::default().sorted().unwrap().next().await.unwrap().is_none());
    }
}
