//! What the timer sees to in a connection: pings, expiry, slowness, and the end of a close.

use std::num::NonZeroU32;

use super::{
    close::Close,
    connection::{Connection, Phase, State},
};
use crate::protocol;

/// Pings are spread over this part of `sockets.ping_secs`.
const PING_SPREAD: u32 = 4;

impl Connection {
    pub(super) fn tick(&self, now: u32, unix: u32) {
        if let Some(again) = self.look(now, unix) {
            self.look_by(again);
        }
    }

    /// Has the timer look every second.
    pub(super) fn watch(&self) {
        let watched = std::mem::replace(&mut self.state().watched, true);
        if !watched {
            self.look_soon();
        }
    }

    /// Has the timer look at the next second: what it looks after has changed.
    pub(super) fn look_soon(&self) {
        self.look_by(self.shared().now() + 1);
    }

    /// Has the timer look by then.
    fn look_by(&self, due: u32) {
        self.poller.places.lock().look_by(self.place, due);
    }

    /// Returns when to look again; `None`: never.
    fn look(&self, now: u32, unix: u32) -> Option<u32> {
        let sockets = &self.shared().config.sockets;
        let mut state = self.state();
        match state.phase {
            Phase::Open | Phase::Draining => {}
            Phase::Closing { since, .. } if now.saturating_sub(since) < sockets.close_secs as u32 => {
                return Some(now + 1);
            }
            Phase::Closing { .. } => {
                state.die();
                drop(state);
                self.wake();
                return None;
            }
            Phase::Dead { .. } => return None,
        }
        if unix >= state.expires_at {
            drop(state);
            self.close(Close::TokenExpired);
            return Some(now + 1);
        }
        if self.is_too_slow(&mut state, now) {
            drop(state);
            self.shared().metrics.bound_hit("sockets.behind_bytes");
            self.close(Close::TooSlow);
            return Some(now + 1);
        }
        let (ping, pong) = (self.ping_secs(), sockets.pong_secs as u32);
        let look_again = match state.pinged_at.map(NonZeroU32::get) {
            Some(at) if state.heard_at >= at => {
                state.pinged_at = None;
                state.heard_at + ping
            }
            Some(_) if state.busy => now + 1,
            Some(at) if now >= at + pong => {
                drop(state);
                self.shared().metrics.bound_hit("sockets.pong_secs");
                self.close(Close::NoPong);
                return Some(now + 1);
            }
            Some(at) => at + pong,
            None if now >= state.heard_at + ping => {
                state.pinged_at = NonZeroU32::new(now);
                state.outbox.push(protocol::ping_frame());
                now + pong
            }
            None => state.heard_at + ping,
        };
        let look_again = if state.watched { now + 1 } else { look_again };
        let expires_at = now.saturating_add(state.expires_at - unix);
        let pinged = state.pinged_at.is_some_and(|at| at.get() == now);
        drop(state);
        if pinged {
            self.wake();
        }
        Some(look_again.min(expires_at).max(now + 1))
    }

    /// Looks at one that is blocked.
    fn is_too_slow(&self, state: &mut State, now: u32) -> bool {
        let sockets = &self.shared().config.sockets;
        if !state.outbox.blocked {
            state.watched = false;
        }
        if !state.outbox.blocked || state.outbox.bytes_behind() <= sockets.behind_bytes {
            state.behind_since = None;
            return false;
        }
        let since = state.behind_since.map_or(now, NonZeroU32::get);
        state.behind_since = NonZeroU32::new(since);
        now.saturating_sub(since) >= sockets.behind_secs as u32
    }

    /// How long it may be silent. Each waits a little less than the setting says, by where it rests: those who came at one moment
    /// are not all asked at another.
    fn ping_secs(&self) -> u32 {
        let most = self.shared().config.sockets.ping_secs as u32;
        most - self.place % (most / PING_SPREAD + 1)
    }
}
