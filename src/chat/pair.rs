//! What a private room knows of its two people beside their membership: who blocks the other, and who has written.

use crate::{event::Event, types::UserId};

/// Between the two people of a private room.
#[derive(Default)]
pub(super) struct Pair {
    /// Those who block the other.
    pub blocks: Vec<UserId>,
    /// Those who have written.
    pub wrote: Vec<UserId>,
    /// Of these, those of whom the other has not been told.
    pub new_writers: Vec<UserId>,
    /// One of them has no account any more.
    pub deleted: bool,
}

impl Pair {
    pub fn new(wrote: Vec<UserId>, deleted: bool) -> Self {
        Self { blocks: Vec::new(), wrote, new_writers: Vec::new(), deleted }
    }

    pub fn note(&mut self, event: &Event) {
        if event.is_message() && !self.wrote.contains(&event.sender) {
            self.wrote.push(event.sender);
            self.new_writers.push(event.sender);
        }
    }
}
