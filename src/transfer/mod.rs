//! Moving everything: out of a store into one file, from a file into a store, and over from the original server.
//!
//! - `format.rs` is the file's lines; `write.rs` and `read.rs` make and take a whole file, with its checksums.
//! - `survey.rs` goes through a whole store once. `export.rs` writes down what it sees; `verify` is the same walk without a
//!   file. `audit.rs` is what must hold in each room's log, in a store as in a file.
//! - `import.rs` fills a store from a file: `check.rs` reads it whole first, `fill.rs` does the writing, many rooms at once.
//! - `original/` turns a database of the original server into such a file, which is then imported like any other.
//! - `sorted.rs` sorts more than fits into memory; `progress.rs` is how far it all is.
//!
//! It works on any [`Store`](crate::store::Store) and knows neither commands nor servers. `docs/export-format.md` and
//! `docs/adoption.md` say for users what is done here. Errors are sentences for the operator.

mod audit;
mod check;
pub mod export;
mod fill;
mod format;
pub mod import;
pub mod original;
pub mod progress;
mod read;
pub mod reindex;
mod sorted;
pub mod survey;
mod write;

pub use self::format::VERSION as EXPORT_VERSION;

use std::fmt;

use serde::{Deserialize, Serialize};

/// How much of everything there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    pub users: u64,
    pub rooms: u64,
    pub members: u64,
    pub events: u64,
    pub messages: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { users, rooms, members: _, events, messages } = self;
        write!(f, "{users} users, {rooms} chats, {events} events ({messages} messages)")
    }
}

/// Lowercase hexadecimal, as `sha256sum` prints it.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |text, byte| text + &format!("{byte:02x}"))
}
