//! The places of resting connections, and the one timer for all of them: a list of seconds beside a list of pointers.
//!
//! A second's look goes through the whole list of seconds, which is one word for each connection: a million take less than a
//! millisecond. So nothing is kept in order, nothing is allocated, and a time is changed by writing it.

use std::sync::Arc;

/// Nobody looks.
const NEVER: u32 = u32::MAX;
/// Room is made for this part of what there is, where it is full; doubling would leave a quarter of the memory empty.
const GROWTH: usize = 8;

pub(super) struct Places<C> {
    connections: Vec<Option<Arc<C>>>,
    /// When each of them wants to be looked at, on the clock of `Shared`.
    dues: Vec<u32>,
    free: Vec<u32>,
}

impl<C> Default for Places<C> {
    fn default() -> Self {
        Self { connections: Vec::new(), dues: Vec::new(), free: Vec::new() }
    }
}

impl<C> Places<C> {
    /// A place for a connection to come.
    pub fn take(&mut self) -> u32 {
        if let Some(place) = self.free.pop() {
            return place;
        }
        if self.connections.len() == self.connections.capacity() {
            let more = (self.connections.len() / GROWTH).max(16);
            self.connections.reserve_exact(more);
            self.dues.reserve_exact(more);
        }
        self.connections.push(None);
        self.dues.push(NEVER);
        self.connections.len() as u32 - 1
    }

    pub fn settle(&mut self, place: u32, connection: Arc<C>, due: u32) {
        self.connections[place as usize] = Some(connection);
        self.dues[place as usize] = due;
    }

    pub fn leave(&mut self, place: u32) {
        self.connections[place as usize] = None;
        self.dues[place as usize] = NEVER;
        self.free.push(place);
    }

    pub fn at(&self, place: u32) -> Option<&Arc<C>> {
        self.connections.get(place as usize)?.as_ref()
    }

    /// Has the connection at `place` looked at by `due`.
    pub fn look_by(&mut self, place: u32, due: u32) {
        let at = &mut self.dues[place as usize];
        *at = due.min(*at);
    }

    /// Those from place `from` on who are due, at most `most`, and where to go on; they are not looked at again until they ask for it.
    pub fn due(&mut self, from: usize, now: u32, most: usize) -> (Vec<Arc<C>>, Option<usize>) {
        let mut found = Vec::new();
        for (place, due) in self.dues.iter_mut().enumerate().skip(from).filter(|(_, due)| **due <= now) {
            if found.len() == most {
                return (found, Some(place));
            }
            *due = NEVER;
            found.extend(self.connections[place].clone());
        }
        (found, None)
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<C>> {
        self.connections.iter().flatten()
    }
}
