//! A connection: a socket, what it follows, and how others reach it.
//!
//! At rest it is this struct, its socket and a small task (`task.rs`): no buffer, no parser, no channel, no timer. Whoever
//! has something for it (a room's fan-out, a writer's answer, the wheel) takes its lock for a moment; a burst goes straight
//! to the socket from there, and only a connection that is behind has its task woken.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use parking_lot::{Mutex, MutexGuard};
use tokio::net::TcpStream;

use super::{
    Seat,
    close::Close,
    frame_rate::FrameRate,
    outbox::{Outbox, Pumped, Subscription},
};
use crate::{
    app::App,
    chat::{
        Caller,
        subscriber::{Burst, Subscriber, SubscriberId},
    },
    metrics::CloseCode,
    protocol::{self, Frame, Said},
    turn::{self, AtTheEnd},
    types::{RoomId, SessionId, UserId},
};

/// Writes to one connection at the end of a turn; the task goes on from there.
const WRITES_AT_ONCE: usize = 4;

/// What a socket follows: one room that is named in its path, or those it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    AllRooms,
    OneRoom(RoomId),
}

pub(crate) struct Connection {
    pub(super) app: Arc<App>,
    id: SubscriberId,
    pub(super) user: UserId,
    pub(super) username: Arc<str>,
    pub(super) mode: Mode,
    pub(super) stream: TcpStream,
    state: Mutex<State>,
    pub(super) task: AtomicWaker,
    me: Weak<Connection>,
    _seat: Seat,
}

/// - `phase` only moves forward.
/// - Times are seconds on the clock of `Sockets`.
pub(super) struct State {
    pub outbox: Outbox,
    pub session: SessionId,
    pub expires_at: i64,
    pub in_flight: usize,
    pub bad_frames: u32,
    pub frames: FrameRate,
    pub phase: Phase,
    pub heard_at: u32,
    /// A ping went out then, and nothing has been heard since.
    pinged_at: Option<u32>,
    behind_since: Option<u32>,
    /// The wheel looks at this connection every second.
    watched: bool,
    /// Something the client asked is being done, and nothing more is read until it is.
    pub busy: bool,
    /// The client has asked for all of its user's rooms.
    pub follows_all: bool,
    /// The welcome is out, or in line; nothing goes before it.
    pub greeted: bool,
    /// It is written to at the end of a turn.
    listed: bool,
    /// The task reads nothing until answers have left.
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
    pub(super) fn new(app: Arc<App>, caller: &Caller, mode: Mode, stream: TcpStream, seat: Seat) -> Arc<Self> {
        let now = app.sockets.now();
        let state = State {
            outbox: Outbox::default(),
            session: caller.session_id,
            expires_at: caller.expires_at,
            in_flight: 0,
            bad_frames: 0,
            frames: FrameRate::from(now),
            phase: Phase::Open,
            heard_at: now,
            pinged_at: None,
            behind_since: None,
            watched: false,
            busy: false,
            follows_all: false,
            greeted: false,
            listed: false,
            paused: false,
        };
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            id: app.sockets.next_id(),
            app,
            user: caller.user_id,
            username: caller.username.clone(),
            mode,
            stream,
            state: Mutex::new(state),
            task: AtomicWaker::new(),
            _seat: seat,
        })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(super) fn only_messages(&self) -> bool {
        matches!(self.mode, Mode::OneRoom(_))
    }

    pub(super) fn wake(&self) {
        self.task.wake();
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

    /// Puts an answer in line and has the task write it: answers that come together leave in one write.
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

    /// Has what waits written: at the end of the turn where there is one, else by the task.
    fn write_soon(&self) {
        if !turn::is_on() {
            return self.wake();
        }
        if !std::mem::replace(&mut self.state().listed, true) && !turn::later(|| Some(self.me.upgrade()?)) {
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
        state.outbox.push(protocol::close_frame(why.code(), reason));
        self.begin_closing(state, why.code(), why.reason(), false);
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
        self.app.metrics.closes.get_or_create(&CloseCode { code, reason }).inc();
        state.phase = Phase::Closing { since: self.app.sockets.now(), asked };
        let subscriptions = state.outbox.take_subscriptions();
        drop(state);
        self.leave(subscriptions);
        self.watch();
        self.wake();
    }

    /// Has the wheel look every second.
    pub(super) fn watch(&self) {
        let watched = std::mem::replace(&mut self.state().watched, true);
        if !watched {
            self.app.sockets.watch(self.me.clone());
        }
    }

    pub(super) fn leave(&self, subscriptions: Vec<(u32, Subscription)>) {
        for (slot, subscription) in subscriptions {
            self.app.metrics.subscriptions.dec();
            subscription.room.unsubscribe(subscription.key, self.id, slot);
        }
    }

    /// Follows the wheel: pings, expiry, slowness. Returns when to look again, in seconds on the sockets' clock.
    pub(super) fn tick(&self, now: u32, unix: i64) -> Option<u32> {
        let sockets = &self.app.config.sockets;
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
            return None;
        }
        let (ping, pong) = (sockets.ping_secs as u32, sockets.pong_secs as u32);
        let look_again = match state.pinged_at {
            Some(at) if state.heard_at >= at => {
                state.pinged_at = None;
                state.heard_at + ping
            }
            Some(_) if state.busy => now + 1,
            Some(at) if now >= at + pong => {
                drop(state);
                self.app.metrics.bound_hit("sockets.pong_secs");
                self.close(Close::NoPong);
                return None;
            }
            Some(at) => at + pong,
            None if now >= state.heard_at + ping => {
                state.pinged_at = Some(now);
                state.outbox.push(protocol::ping_frame());
                now + pong
            }
            None => state.heard_at + ping,
        };
        let expires_in = u32::try_from(state.expires_at - unix).unwrap_or(u32::MAX);
        let pinged = state.pinged_at == Some(now);
        drop(state);
        if pinged {
            self.wake();
        }
        Some(look_again.min(now.saturating_add(expires_in)).max(now + 1))
    }

    /// Looks at a connection that is blocked or closing, every second. `false`: it is neither any more.
    pub(super) fn watch_tick(&self, now: u32) -> bool {
        let sockets = &self.app.config.sockets;
        let mut state = self.state();
        let closing = matches!(state.phase, Phase::Closing { .. });
        if state.is_dead() || (!closing && !state.outbox.blocked) {
            state.watched = false;
            state.behind_since = None;
            return false;
        }
        if closing {
            drop(state);
            return self.tick(now, i64::MIN).is_some();
        }
        if state.outbox.bytes_behind() <= sockets.behind_bytes {
            state.behind_since = None;
            return true;
        }
        let since = *state.behind_since.get_or_insert(now);
        drop(state);
        if now.saturating_sub(since) >= sockets.behind_secs as u32 {
            self.app.metrics.bound_hit("sockets.behind_bytes");
            self.close(Close::TooSlow);
        }
        true
    }
}

impl AtTheEnd for Connection {
    /// Writes what has gathered during the turn. What cannot be written at once, and whatever else there is to do, is the task's.
    fn turn_ended(&self) {
        let max = self.app.config.sockets.write_bytes;
        let mut state = self.state();
        state.listed = false;
        let mut level = false;
        if matches!(state.phase, Phase::Open) && state.greeted {
            for _ in 0..WRITES_AT_ONCE {
                match state.outbox.pump(&self.stream, self.only_messages(), max, &self.app.metrics) {
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

impl Subscriber for Connection {
    fn id(&self) -> SubscriberId {
        self.id
    }

    fn user(&self) -> UserId {
        self.user
    }

    fn session(&self) -> SessionId {
        self.state().session
    }

    fn offer(&self, slot: u32, burst: &Burst) {
        let mut state = self.state();
        if state.is_over() {
            return;
        }
        let outbox = &mut state.outbox;
        let clear = outbox.is_clear();
        let Some(subscription) = outbox.get(slot) else { return };
        if subscription.room.id != burst.room || subscription.cursor >= burst.last {
            return;
        }
        let fits = burst.only_messages || !self.only_messages();
        let level = clear && fits && !subscription.held && subscription.cursor + 1 == burst.first;
        let mut through = false;
        if level {
            match outbox.write_through(&self.stream, &burst.merged, &self.app.metrics) {
                Ok(taken) => through = taken,
                Err(_) => state.die(),
            }
        }
        let outbox = &mut state.outbox;
        if through {
            self.app.metrics.deliveries.inc_by(burst.last - burst.first + 1);
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
        if state.outbox.get(slot).is_some_and(|subscription| subscription.room.id == room) {
            state.outbox.remove(slot);
            self.app.metrics.subscriptions.dec();
        }
        drop(state);
        if self.mode == Mode::OneRoom(room) {
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
        let full = state.outbox.queued_bytes() + frame.bytes().len() > self.app.config.sockets.outbox_bytes;
        if full && (state.outbox.blocked || !matters) {
            drop(state);
            self.app.metrics.bound_hit("sockets.outbox_bytes");
            if matters {
                self.close(Close::TooSlow);
            }
            return;
        }
        state.outbox.put(frame.bytes());
        drop(state);
        self.wake();
    }

    fn revoke(&self) {
        self.close(Close::LoginEnded);
    }
}
