//! A connection as rooms see it: what they offer it, and what it makes of that.

use std::sync::Arc;

use super::{
    close::Close,
    connection::{Connection, Mode, Phase},
};
use crate::{
    chat::subscriber::{Burst, Subscriber, SubscriberId},
    protocol::Frame,
    types::{RoomId, SessionId, UserId},
};

impl Subscriber for Connection {
    fn id(&self) -> SubscriberId {
        self.id
    }

    fn user(&self) -> UserId {
        self.user
    }

    fn username(&self) -> &Arc<str> {
        &self.username
    }

    fn session(&self) -> SessionId {
        self.state().session
    }

    fn offer(&self, slot: u32, burst: &Burst) {
        let shared = self.shared();
        let mut state = self.state();
        if state.is_over() {
            return;
        }
        let clear = state.outbox.is_clear();
        let Some(subscription) = state.outbox.get(slot) else { return };
        if subscription.room.id != burst.room || subscription.cursor >= burst.last {
            return;
        }
        let fits = burst.only_messages || !self.only_messages();
        let level = clear && fits && !subscription.held && subscription.cursor + 1 == burst.first;
        let through = level && state.write_through(&self.wire, &burst.merged, Some(slot), &shared.metrics);
        let outbox = &mut state.outbox;
        if through {
            shared.metrics.deliveries.inc_by(burst.last - burst.first + 1);
            if let Some(subscription) = outbox.get(slot) {
                subscription.cursor = burst.last;
                subscription.was_level = true;
            }
        } else {
            outbox.wait(slot);
        }
        let (blocked, dead) = (state.outbox.blocked, state.is_dead());
        drop(state);
        if blocked || dead {
            self.wake();
        } else if !through {
            self.write_soon();
        }
    }

    fn dropped(&self, slot: u32, room: RoomId) {
        let mut state = self.state();
        let followed = state.outbox.get(slot).is_some_and(|subscription| subscription.room.id == room);
        if followed {
            state.outbox.remove(slot);
            self.shared().metrics.subscriptions.dec();
        }
        drop(state);
        if followed && self.mode == Mode::OneRoom {
            self.close(Close::RemovedFromRoom);
        }
    }

    fn misses(&self, room: RoomId) -> bool {
        let state = self.state();
        state.follows_all && !state.is_over() && state.outbox.slot_of(room).is_none()
    }

    fn notice(&self, frame: &Frame, matters: bool) {
        if self.only_messages() {
            return;
        }
        let mut state = self.state();
        if state.is_over() || (state.outbox.blocked && !matters) {
            return;
        }
        let full = state.outbox.queued_bytes() + frame.bytes().len() > self.shared().config.sockets.outbox_bytes;
        if full && (state.outbox.blocked || !matters) {
            drop(state);
            self.shared().metrics.bound_hit("sockets.outbox_bytes");
            if matters {
                self.close(Close::TooSlow);
            }
            return;
        }
        // Told to many at once, it must not take memory in each of them.
        let level = state.greeted && matches!(state.phase, Phase::Open) && state.outbox.is_clear();
        let through = level && state.write_through(&self.wire, &frame.shared(), None, &self.shared().metrics);
        if !through && !state.is_dead() {
            state.outbox.put(frame.bytes());
        }
        let blocked = state.outbox.blocked;
        drop(state);
        if !through || blocked {
            self.wake();
        }
    }

    fn revoke(&self) {
        self.close(Close::LoginEnded);
    }
}
