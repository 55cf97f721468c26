//! A connection: a socket, what it follows, and how others reach it.
//!
//! At rest it is this struct, its socket and a place in a poller (`poller.rs`): no task, no buffer, no parser, no channel, no timer.
//! Whoever has something for it (a room's fan-out, a writer's answer, the timer) takes its lock for a moment; a burst goes straight
//! to the socket from there, and only a connection that is behind is driven (`drive.rs`).

use std::{
    io,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::AcqRel},
    },
};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};

use super::{
    close::Close,
    frame_rate::FrameRate,
    outbox::{Outbox, Pumped},
    poller::Poller,
    reader::Partial,
    shared::{Seat, Shared},
    subscriptions::Subscription,
    wire::Wire,
};
use crate::{
    chat::{Caller, subscriber::SubscriberId},
    limits::connections::{Share, SocketPlace},
    metrics::{CloseCode, Metrics},
    protocol::{self, Frame, Said},
    turn::{self, AtTheEnd},
    types::{SessionId, UserId},
};

/// Writes to one connection at the end of a turn; its poller goes on from there.
const WRITES_AT_ONCE: usize = 4;

/// What a socket follows: the one room that is named in its path, or those it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    AllRooms,
    OneRoom,
}

/// - `poller` and `place` are where it rests.
/// - `woken`: it is in its poller's line.
pub(crate) struct Connection {
    pub(super) id: SubscriberId,
    pub(super) user: UserId,
    pub(super) username: Arc<str>,
    pub(super) wire: Wire,
    pub(super) poller: Arc<Poller<Connection>>,
    pub(super) place: u32,
    pub(super) mode: Mode,
    woken: AtomicBool,
    state: Mutex<State>,
    /// Whose connection it counts as.
    share: Option<Share>,
}

/// - `phase` only moves forward.
/// - Times are seconds on the clock of `Shared`, but for `expires_at`.
pub(super) struct State {
    pub outbox: Outbox,
    pub session: SessionId,
    /// In Unix seconds.
    pub expires_at: u32,
    pub heard_at: u32,
    /// A ping went out then, and nothing has been heard since.
    pub pinged_at: Option<NonZeroU32>,
    pub behind_since: Option<NonZeroU32>,
    pub frames: FrameRate,
    pub in_flight: u32,
    pub bad_frames: u32,
    /// What the client stopped in the middle of.
    pub partial: Option<Box<Partial>>,
    pub phase: Phase,
    /// The timer looks at it every second.
    pub watched: bool,
    /// There may be something to read.
    pub readable: bool,
    /// The client sends nothing more; what it sent may not be read yet.
    pub hung_up: bool,
    /// Something the client asked is being done, and nothing more is read until it is.
    pub busy: bool,
    /// The client has asked for all of its user's rooms.
    pub follows_all: bool,
    /// The welcome is out, or in line; nothing goes before it.
    pub greeted: bool,
    /// It is written to at the end of a turn.
    listed: bool,
    /// Nothing is read until answers have left.
    pub paused: bool,
}

impl State {
    /// Nothing more may be asked of it or promised to it.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Closing { .. } | Phase::Dead { .. })
    }

    pub fn is_dead(&self) -> bool {
        matches!(self.phase, Phase::Dead { .. })
    }

    /// Writes what comes ahead of nothing, a burst for the subscription of `slot` or a notice. `false`: the socket took nothing,
    /// and nothing is kept.
    pub fn write_through(&mut self, wire: &Wire, bytes: &Bytes, slot: Option<u32>, metrics: &Metrics) -> bool {
        let taken = self.outbox.write_through(wire, bytes, slot, metrics);
        if taken.is_err() {
            self.die();
        }
        taken.is_ok_and(|taken| taken)
    }

    pub fn die(&mut self) {
        if !self.is_dead() {
            self.phase = Phase::Dead { was_closing: self.is_over() };
        }
    }
}

/// How far a connection is on its way out.
pub(super) enum Phase {
    Open,
    /// It takes nothing more from the client, and closes when nothing is in flight any more.
    Draining,
    /// Nothing but what was queued before and the close frame goes out.
    Closing {
        since: u32,
        /// The client has said goodbye already: once the echo is out there is nothing to wait for.
        asked: bool,
    },
    /// Nothing can be read or written any more.
    Dead {
        was_closing: bool,
    },
}

impl Connection {
    pub(super) fn new(
        (seat, counted): (Seat, SocketPlace),
        poller: Arc<Poller<Connection>>,
        place: u32,
        caller: &Caller,
        mode: Mode,
        wire: Wire,
    ) -> Arc<Self> {
        let now = poller.shared.now();
        let state = State {
            outbox: Outbox::default(),
            session: caller.session_id,
            expires_at: unix_secs(caller.expires_at),
            heard_at: now,
            pinged_at: None,
            behind_since: None,
            frames: FrameRate::from(now),
            in_flight: 0,
            bad_frames: 0,
            partial: None,
            phase: Phase::Open,
            watched: false,
            // What came before its place was settled was told to nobody, nor was the end of it.
            readable: true,
            hung_up: true,
            // Until `drive::Busy` lets go of it: nobody may read before it can be found by those who have something for it.
            busy: true,
            follows_all: false,
            greeted: false,
            listed: false,
            paused: false,
        };
        seat.fill();
        Arc::new(Self {
            id: poller.shared.next_id(),
            user: caller.user_id,
            username: caller.username.clone(),
            wire,
            poller,
            place,
            mode,
            woken: AtomicBool::new(false),
            state: Mutex::new(state),
            share: counted.fill(),
        })
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.poller.shared
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(super) fn only_messages(&self) -> bool {
        self.mode == Mode::OneRoom
    }

    /// Has it driven soon.
    pub(super) fn wake(&self) {
        if !self.woken.swap(true, AcqRel) {
            self.shared().metrics.socket_wakes.inc();
            self.poller.wake(self.place);
        }
    }

    /// Who wakes it from now on has it driven once more.
    pub(super) fn is_driven(&self) {
        self.woken.swap(false, AcqRel);
    }

    /// One write of what waits.
    pub(super) fn pump(&self, state: &mut State) -> io::Result<Pumped> {
        let shared = self.shared();
        state.outbox.pump(&self.wire, self.only_messages(), shared.config.sockets.write_bytes, &shared.metrics)
    }

    /// Whether more may be read now, which is noted.
    pub(super) fn may_read(&self) -> bool {
        let sockets = &self.shared().config.sockets;
        let mut state = self.state();
        let may = match state.phase {
            Phase::Open => {
                (state.in_flight as usize) < sockets.in_flight && state.outbox.queued_bytes() < sockets.outbox_bytes
            }
            Phase::Draining => false,
            // For the client's goodbye.
            Phase::Closing { .. } | Phase::Dead { .. } => true,
        };
        state.paused = !may;
        may
    }

    /// Puts the welcome, where there is one, before whatever has gathered, and lets that go.
    pub(super) fn greet(&self, welcome: Option<&Frame>) {
        let mut state = self.state();
        if let Some(welcome) = welcome
            && !state.is_over()
        {
            state.outbox.push_first(welcome.shared());
        }
        state.greeted = true;
        drop(state);
        self.wake();
    }

    /// Puts an answer in line and has it written soon: answers that come together leave in one write.
    pub(super) fn send(&self, said: &Said<'_>) {
        let mut state = self.state();
        if !state.is_over() {
            state.outbox.say(said);
        }
        drop(state);
        self.wake();
    }

    /// As [`Connection::send`], of bytes that are frames already.
    pub(super) fn send_bytes(&self, frames: Bytes) {
        let mut state = self.state();
        if !state.is_over() {
            state.outbox.push(frames);
        }
        drop(state);
        self.wake();
    }

    /// The answer to something that counted as in flight.
    pub(super) fn answer(&self, said: Option<&Said<'_>>) {
        let mut state = self.state();
        state.in_flight -= 1;
        if let Some(said) = said
            && !state.is_over()
        {
            state.outbox.say(said);
        }
        let last = matches!(state.phase, Phase::Draining) && state.in_flight == 0;
        drop(state);
        if last {
            self.close(Close::Draining);
        }
        self.write_soon();
    }

    /// Has what waits written: at the end of the turn where there is one, else by its poller.
    pub(super) fn write_soon(&self) {
        if !turn::is_on() {
            return self.wake();
        }
        let me = || self.poller.places.lock().at(self.place).filter(|there| there.id == self.id).cloned();
        if !std::mem::replace(&mut self.state().listed, true) && !turn::later(|| Some(me()?)) {
            self.wake();
        }
    }

    /// Takes nothing more from the client, and closes once everything that was asked is answered.
    pub(super) fn drain(&self) {
        let mut state = self.state();
        if matches!(state.phase, Phase::Open) {
            state.phase = Phase::Draining;
        }
        let answered = state.in_flight == 0;
        drop(state);
        if answered {
            self.close(Close::Draining);
        }
    }

    /// Says why, lets go of every room at once, and gives the client `sockets.close_secs` to hear it.
    pub(super) fn close(&self, why: Close) {
        self.close_with(why, why.reason());
    }

    pub(super) fn close_with(&self, why: Close, reason: &str) {
        let mut state = self.state();
        if state.is_over() {
            return;
        }
        // A client that does not read would not hear why, and must get nothing more of what it may not see.
        let at_once = why.forbids_more() && state.outbox.blocked;
        state.outbox.push(protocol::close_frame(why.code(), reason));
        self.begin_closing(state, why.code(), why.reason(), false);
        if at_once {
            self.state().die();
            self.wake();
        }
    }

    /// The client said goodbye; `echo` is the answer to that.
    pub(super) fn close_asked(&self, echo: Vec<u8>) {
        let mut state = self.state();
        if state.is_over() {
            return;
        }
        state.outbox.push(echo.into());
        self.begin_closing(state, 1000, "asked", true);
    }

    fn begin_closing(&self, mut state: MutexGuard<'_, State>, code: u16, reason: &'static str, asked: bool) {
        self.shared().metrics.closes.get_or_create(&CloseCode { code, reason }).inc();
        state.phase = Phase::Closing { since: self.shared().now(), asked };
        let subscriptions = state.outbox.take_subscriptions();
        drop(state);
        self.leave(subscriptions);
        self.watch();
        self.wake();
    }

    pub(super) fn leave(&self, subscriptions: Vec<(u32, Subscription)>) {
        for (slot, subscription) in subscriptions {
            self.shared().metrics.subscriptions.dec();
            subscription.room.unsubscribe(subscription.key, self.id, slot);
        }
    }

    /// The socket is at its end: takes the connection out of everything it is in.
    pub(super) fn end(&self) {
        let shared = self.shared();
        let mut state = self.state();
        let was_closing = matches!(state.phase, Phase::Closing { .. } | Phase::Dead { was_closing: true });
        if !was_closing {
            let gone = CloseCode { code: 1006, reason: "gone without a word" };
            shared.metrics.closes.get_or_create(&gone).inc();
        }
        state.die();
        let stuck = state.outbox.blocked;
        let subscriptions = state.outbox.take_subscriptions();
        drop(state);
        self.leave(subscriptions);
        self.wire.end(stuck);
        shared.chat.online.remove(self.user, self.id);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let share = self.share.take();
        self.shared().connections.socket_closed(share);
        self.shared().give_back_seat();
    }
}

impl AtTheEnd for Connection {
    /// Writes what has gathered during the turn. What cannot be written at once, and whatever else there is to do, is its poller's.
    fn turn_ended(&self) {
        let mut state = self.state();
        state.listed = false;
        let mut level = false;
        if matches!(state.phase, Phase::Open) && state.greeted {
            for _ in 0..WRITES_AT_ONCE {
                match self.pump(&mut state) {
                    Ok(Pumped::More) => {}
                    Ok(Pumped::Level) => {
                        level = true;
                        break;
                    }
                    Ok(Pumped::Blocked | Pumped::Replay(_)) | Err(_) => break,
                }
            }
        }
        let rests = level && !state.paused;
        drop(state);
        if !rests {
            self.wake();
        }
    }
}

/// As a word; a time past its end is the end.
pub(super) fn unix_secs(secs: i64) -> u32 {
    u32::try_from(secs.max(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a connection at rest costs beside its socket and its place: every byte here is a megabyte at a million connections.
    #[test]
    fn a_connection_at_rest_is_small() {
        assert!(size_of::<Connection>() <= 208, "{}", size_of::<Connection>());
    }
}
