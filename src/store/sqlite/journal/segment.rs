//! A segment as bytes: a header, then commits, then whatever the file held before.
//!
//! - Header, 64 bytes: `natterlg`, version u32, 0 u32, database 16 bytes, number u64, salt u64, number of the segment before it
//!   u64, where that one ended u32, CRC-32 of all this u32.
//! - Commit: the salt's low half u32, length of the rest u32, CRC-32 of salt and rest u32; then a byte: 0 and events, each
//!   as `record.rs` writes it; or 1 and nothing: another segment follows this one.
//!
//! Little-endian. A commit counts as a whole or not at all, and the salt keeps those of an earlier use of the file out.

use crc32fast::Hasher;

pub(super) const HEADER_BYTES: u64 = 64;
const MAGIC: &[u8; 8] = b"natterlg";
const VERSION: u32 = 1;
const COMMIT_HEADER: usize = 12;
const EVENTS: u8 = 0;
const SEALED: u8 = 1;

/// Names a database, so that no other's journal is taken for its own.
pub(in super::super) type DatabaseId = [u8; 16];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub database: DatabaseId,
    pub number: u64,
    pub salt: u64,
    /// The segment that was written before, 0 for none, and where its last good commit ended: what it holds behind that was
    /// never acknowledged, and is void.
    pub previous: u64,
    pub previous_end: u32,
}

impl Header {
    pub fn bytes(&self) -> [u8; HEADER_BYTES as usize] {
        let mut bytes = [0; HEADER_BYTES as usize];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.database);
        bytes[32..40].copy_from_slice(&self.number.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.salt.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.previous.to_le_bytes());
        bytes[56..60].copy_from_slice(&self.previous_end.to_le_bytes());
        let sum = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    pub fn read(segment: &[u8]) -> Option<Self> {
        let bytes = segment.get(..HEADER_BYTES as usize)?;
        let header = Self {
            database: bytes[16..32].try_into().ok()?,
            number: u64_at(bytes, 32)?,
            salt: u64_at(bytes, 40)?,
            previous: u64_at(bytes, 48)?,
            previous_end: u32_at(bytes, 56)?,
        };
        (header.bytes() == bytes).then_some(header)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

fn sum(salt: u64, rest: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&salt.to_le_bytes());
    hasher.update(rest);
    hasher.finalize()
}

/// Makes room for the header of a commit of events, which [`finish`] fills in.
pub(super) fn begin(out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&[0; COMMIT_HEADER]);
    out.push(EVENTS);
}

pub(super) fn finish(salt: u64, commit: &mut [u8]) {
    let (header, rest) = commit.split_at_mut(COMMIT_HEADER);
    header[..4].copy_from_slice(&(salt as u32).to_le_bytes());
    header[4..8].copy_from_slice(&(rest.len() as u32).to_le_bytes());
    header[8..].copy_from_slice(&sum(salt, rest).to_le_bytes());
}

/// The commit that says that another segment follows.
pub(super) fn seal(salt: u64) -> Vec<u8> {
    let mut commit = [&[0; COMMIT_HEADER][..], &[SEALED]].concat();
    finish(salt, &mut commit);
    commit
}

/// What a segment holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scanned<'a> {
    /// The commits of events, and where each ends.
    pub commits: Vec<(u64, &'a [u8])>,
    /// Where the last good commit ends.
    pub end: u64,
    pub sealed: bool,
    /// Nothing readable is here, but good commits follow: not the torn end of a segment.
    pub damaged_at: Option<u64>,
}

/// Reads the commits up to `until`, or else to the end.
pub(super) fn scan<'a>(bytes: &'a [u8], header: &Header, until: Option<u64>) -> Scanned<'a> {
    let mut found = Scanned { end: HEADER_BYTES, ..Default::default() };
    while until.is_none_or(|until| found.end < until) {
        let Some(rest) = commit_at(bytes, header.salt, found.end as usize) else {
            let lost = until.is_some() || commits_after(bytes, header.salt, found.end as usize + 1);
            found.damaged_at = lost.then_some(found.end);
            break;
        };
        found.end += (COMMIT_HEADER + rest.len()) as u64;
        match rest.split_first() {
            Some((&EVENTS, events)) => found.commits.push((found.end, events)),
            _ => found.sealed = true,
        }
    }
    found
}

/// What follows the header of a whole commit.
fn commit_at(bytes: &[u8], salt: u64, at: usize) -> Option<&[u8]> {
    if u32_at(bytes, at)? != salt as u32 {
        return None;
    }
    let length = u32_at(bytes, at + 4)? as usize;
    let start = at + COMMIT_HEADER;
    let rest = bytes.get(start..start.checked_add(length)?)?;
    (length > 0 && u32_at(bytes, at + 8)? == sum(salt, rest)).then_some(rest)
}

fn commits_after(bytes: &[u8], salt: u64, from: usize) -> bool {
    (from..bytes.len()).any(|at| commit_at(bytes, salt, at).is_some())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header() -> Header {
        Header { database: [7; 16], number: 3, salt: 0x0123_4567_89ab_cdef, previous: 2, previous_end: 999 }
    }

    /// A segment of these commits, and where each ends.
    fn segment(commits: &[Vec<u8>]) -> (Vec<u8>, Vec<u64>) {
        let (mut bytes, mut ends, mut commit) = (header().bytes().to_vec(), Vec::new(), Vec::new());
        for events in commits {
            begin(&mut commit);
            commit.extend_from_slice(events);
            finish(header().salt, &mut commit);
            bytes.extend_from_slice(&commit);
            ends.push(bytes.len() as u64);
        }
        (bytes, ends)
    }

    /// These bytes are on disks.
    #[test]
    fn a_segment_has_the_bytes_that_it_always_had() {
        let (bytes, _) = segment(&[b"abc".to_vec()]);
        let expected = [
            &b"natterlg\x01\0\0\0\0\0\0\0"[..],
            &[7; 16],
            b"\x03\0\0\0\0\0\0\0\xef\xcd\xab\x89\x67\x45\x23\x01\x02\0\0\0\0\0\0\0\xe7\x03\0\0",
            &crc32fast::hash(&bytes[..60]).to_le_bytes(),
            b"\xef\xcd\xab\x89\x04\0\0\0",
            &crc32fast::hash(b"\xef\xcd\xab\x89\x67\x45\x23\x01\0abc").to_le_bytes(),
            b"\0abc",
        ];
        assert_eq!(bytes, expected.concat());
        assert_eq!(Header::read(&bytes), Some(header()));
    }

    proptest! {
        #[test]
        fn what_was_committed_is_found_before_whatever_the_file_held(
            commits in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..6),
            old in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let (mut bytes, ends) = segment(&commits);
            bytes.extend(old);
            let found = scan(&bytes, &header(), None);
            let expected: Vec<_> = ends.iter().copied().zip(commits.iter().map(Vec::as_slice)).collect();
            prop_assert_eq!(found.commits, expected);
            prop_assert_eq!((found.sealed, found.damaged_at), (false, None));
        }

        #[test]
        fn a_segment_that_is_cut_anywhere_ends_with_the_last_whole_commit(
            commits in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 1..6),
        ) {
            let (bytes, ends) = segment(&commits);
            for cut in HEADER_BYTES..bytes.len() as u64 {
                let found = scan(&bytes[..cut as usize], &header(), None);
                prop_assert_eq!(found.commits.len(), ends.iter().filter(|end| **end <= cut).count());
                prop_assert_eq!(found.damaged_at, None);
                // Where the next segment says that more was acknowledged, the cut is damage.
                let known = scan(&bytes[..cut as usize], &header(), Some(bytes.len() as u64));
                prop_assert!(known.damaged_at.is_some());
            }
        }

        #[test]
        fn a_flipped_bit_is_damage_unless_it_could_be_a_torn_end(
            commits in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 2..6),
            at in any::<prop::sample::Index>(),
            bit in 0u8..8,
        ) {
            let (mut bytes, ends) = segment(&commits);
            let at = HEADER_BYTES as usize + at.index(bytes.len() - HEADER_BYTES as usize);
            bytes[at] ^= 1 << bit;
            let hit = ends.iter().filter(|end| **end <= at as u64).count();
            let found = scan(&bytes, &header(), None);
            prop_assert_eq!(found.commits.len(), hit);
            prop_assert_eq!(found.damaged_at.is_some(), hit + 1 < commits.len());
        }
    }

    #[test]
    fn what_stands_behind_the_end_that_the_next_segment_names_is_void() {
        let (bytes, ends) = segment(&[b"first".to_vec(), b"never acknowledged".to_vec()]);
        let found = scan(&bytes, &header(), Some(ends[0]));
        assert_eq!(found.commits, [(ends[0], &b"first"[..])]);
        assert_eq!(found.damaged_at, None);
    }

    #[test]
    fn a_seal_is_seen() {
        let (mut bytes, ends) = segment(&[b"first".to_vec()]);
        bytes.extend(seal(header().salt));
        let found = scan(&bytes, &header(), None);
        assert_eq!((found.commits, found.sealed), (vec![(ends[0], &b"first"[..])], true));
    }
}
