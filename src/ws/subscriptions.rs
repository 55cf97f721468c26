//! The rooms that a connection follows. Most follow one, which then costs no memory of its own.

use std::{collections::HashMap, sync::Arc};

use slab::Slab;

use crate::{
    chat::room::Room,
    types::{RoomId, Seq},
};

/// From so many on they are found by a map.
const INDEXED: usize = 16;

/// One room as a connection follows it.
pub(super) struct Subscription {
    pub room: Arc<Room>,
    /// Everything up to here is written or waits in the outbox's queue.
    pub cursor: Seq,
    /// The room's name for it.
    pub key: u32,
    /// The `subscribed` answer is not out yet: no event may go before it.
    pub held: bool,
    /// It has been level with the head once; from then on it may be told to be too slow.
    pub was_level: bool,
    /// It is in line to be written.
    pub waits: bool,
}

impl Subscription {
    pub fn new(room: Arc<Room>, key: u32, cursor: Seq) -> Self {
        Self { room, key, cursor, held: true, was_level: false, waits: false }
    }
}

/// Each has a slot, which is its number for as long as it lives.
#[derive(Default)]
pub(super) enum Subscriptions {
    #[default]
    None,
    /// In slot 0.
    One(Subscription),
    Many(Box<Many>),
}

#[derive(Default)]
pub(super) struct Many {
    all: Slab<Subscription>,
    index: Option<HashMap<RoomId, u32>>,
}

impl Subscriptions {
    pub fn len(&self) -> usize {
        match self {
            Subscriptions::None => 0,
            Subscriptions::One(_) => 1,
            Subscriptions::Many(many) => many.all.len(),
        }
    }

    pub fn get(&self, slot: u32) -> Option<&Subscription> {
        match self {
            Subscriptions::One(one) if slot == 0 => Some(one),
            Subscriptions::None | Subscriptions::One(_) => None,
            Subscriptions::Many(many) => many.all.get(slot as usize),
        }
    }

    pub fn get_mut(&mut self, slot: u32) -> Option<&mut Subscription> {
        match self {
            Subscriptions::One(one) if slot == 0 => Some(one),
            Subscriptions::None | Subscriptions::One(_) => None,
            Subscriptions::Many(many) => many.all.get_mut(slot as usize),
        }
    }

    pub fn slot_of(&self, room: RoomId) -> Option<u32> {
        match self {
            Subscriptions::None => None,
            Subscriptions::One(one) => (one.room.id == room).then_some(0),
            Subscriptions::Many(many) => many.slot_of(room),
        }
    }

    /// Where the next one goes.
    pub fn vacant_slot(&self) -> u32 {
        match self {
            Subscriptions::None => 0,
            Subscriptions::One(_) => 1,
            Subscriptions::Many(many) => many.all.vacant_key() as u32,
        }
    }

    pub fn insert(&mut self, new: Subscription) {
        *self = match std::mem::take(self) {
            Subscriptions::None => Subscriptions::One(new),
            Subscriptions::One(one) => {
                let mut many = Box::<Many>::default();
                many.insert(one);
                many.insert(new);
                Subscriptions::Many(many)
            }
            Subscriptions::Many(mut many) => {
                many.insert(new);
                Subscriptions::Many(many)
            }
        };
    }

    pub fn remove(&mut self, slot: u32) -> Option<Subscription> {
        match std::mem::take(self) {
            Subscriptions::One(one) if slot == 0 => Some(one),
            Subscriptions::Many(mut many) => {
                let removed = many.remove(slot);
                if !many.all.is_empty() {
                    *self = Subscriptions::Many(many);
                }
                removed
            }
            other => {
                *self = other;
                None
            }
        }
    }

    pub fn into_all(self) -> Vec<(u32, Subscription)> {
        match self {
            Subscriptions::None => Vec::new(),
            Subscriptions::One(one) => vec![(0, one)],
            Subscriptions::Many(many) => many.all.into_iter().map(|(slot, one)| (slot as u32, one)).collect(),
        }
    }
}

impl Many {
    fn slot_of(&self, room: RoomId) -> Option<u32> {
        match &self.index {
            Some(index) => index.get(&room).copied(),
            None => self.all.iter().find(|(_, one)| one.room.id == room).map(|(slot, _)| slot as u32),
        }
    }

    fn insert(&mut self, new: Subscription) {
        let room = new.room.id;
        let slot = self.all.insert(new) as u32;
        if let Some(index) = &mut self.index {
            index.insert(room, slot);
        } else if self.all.len() > INDEXED {
            self.index = Some(self.all.iter().map(|(slot, one)| (one.room.id, slot as u32)).collect());
        }
    }

    fn remove(&mut self, slot: u32) -> Option<Subscription> {
        let removed = self.all.try_remove(slot as usize)?;
        if let Some(index) = &mut self.index {
            index.remove(&removed.room.id);
        }
        Some(removed)
    }
}
