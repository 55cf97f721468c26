//! Finding what was said: an index of the words of all messages, which follows the log and can be made anew from it.
//!
//! - `words` is an FTS5 table without content: it knows a message by its place among all messages, and the terms of its text.
//! - `searched` says which message stands at a place; `rooms.searched_seq` how far each room's log is in it, which is the cursor
//!   of the feeder (`feeder.rs`), behind the settler. `index.rs` knows the tables, `steps.rs` takes in what is next, in one transaction.
//! - What was taken in follows what becomes of the message in the transaction that changes it (`forms.rs`): up to `searched_seq` the
//!   index always has the latest forms, and nothing of what is deleted.
//! - `walk.rs` looks things up, newest first.
//!
//! A place is the time of the message and a number, so that newer messages have greater places in whatever order they are taken
//! in. What is taken out must be named with exactly the terms that were put in: FTS5 keeps no text to look them up, and nothing
//! that is taken out stays in the file (`secure-delete`).

pub(super) mod feeder;
pub(super) mod index;
mod steps;
pub(super) mod walk;
