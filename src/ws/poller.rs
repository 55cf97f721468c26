//! Where connections rest: an epoll of their own, inside the runtime's.
//!
//! A connection at rest has no task and is unknown to the runtime. It is a place here: a pointer to it, and the second when it
//! next wants to be looked at. One task for each worker of the runtime waits for the epoll as a whole, and drives whoever the
//! kernel, or somebody with work for it, names. One connection is driven by one task only, so nobody else reads its socket.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use mio::{Events, Registry, Token, event::Event};
use parking_lot::Mutex;
use tokio::io::unix::AsyncFd;

use super::{places::Places, wire::Wire};

/// What one look at the epoll gives at most.
const EVENTS: usize = 256;
/// Connections driven before other tasks may run.
const STEP: usize = 64;

/// What rests in a poller.
pub(super) trait Driven: Send + Sync + Sized + 'static {
    /// What all of them share.
    type Shared: Send + Sync;

    /// Does what there is to do. Who wakes it from now on has it driven once more.
    fn drive(self: &Arc<Self>, ready: Ready) -> Then;
    fn wake(&self);
    /// It has left its place.
    fn end(&self);
}

/// What comes after a drive.
pub(super) enum Then {
    /// The next event, or whoever has work for it.
    Rest,
    /// Another drive, after the others.
    Again,
    /// Nothing: the socket is at its end.
    End,
}

pub(super) struct Poller<C: Driven> {
    pub shared: Arc<C::Shared>,
    registry: Registry,
    pub places: Mutex<Places<C>>,
    /// Those who were woken and not driven since, each once.
    woken: Mutex<Vec<u32>>,
    bell: AtomicWaker,
}

/// What the kernel says of a socket.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ready {
    pub readable: bool,
    pub writable: bool,
    /// The client sends nothing more.
    pub hung_up: bool,
}

impl Ready {
    fn of(event: &Event) -> Self {
        let hung_up = event.is_read_closed() || event.is_error();
        Self { readable: event.is_readable() || hung_up, writable: event.is_writable(), hung_up }
    }
}

impl<C: Driven> Poller<C> {
    /// Its task ends with the process.
    pub fn start(shared: Arc<C::Shared>) -> io::Result<Arc<Self>> {
        let epoll = mio::Poll::new()?;
        let poller = Arc::new(Self {
            shared,
            registry: epoll.registry().try_clone()?,
            places: Mutex::default(),
            woken: Mutex::default(),
            bell: AtomicWaker::new(),
        });
        #[expect(
            deprecated,
            reason = "what follows it is unsafe; a `mio::Poll` keeps its descriptor for as long as it lives"
        )]
        let epoll = AsyncFd::new(epoll)?;
        tokio::spawn(poller.clone().run(epoll));
        Ok(poller)
    }

    /// Takes a place for what `make` makes of it and of the socket. What happens until then is not told: it must be looked for.
    pub fn settle(&self, mut wire: Wire, due: u32, make: impl FnOnce(u32, Wire) -> Arc<C>) -> io::Result<Arc<C>> {
        let place = self.places.lock().take();
        if let Err(error) = wire.register(&self.registry, Token(place as usize)) {
            self.places.lock().leave(place);
            return Err(error);
        }
        let connection = make(place, wire);
        self.places.lock().settle(place, connection.clone(), due);
        Ok(connection)
    }

    /// Has the connection driven soon. Whoever calls sees to it that it is not in line already.
    pub fn wake(&self, place: u32) {
        self.woken.lock().push(place);
        self.bell.wake();
    }

    async fn run(self: Arc<Self>, mut epoll: AsyncFd<mio::Poll>) {
        let mut events = Events::with_capacity(EVENTS);
        let mut woken = Vec::new();
        let mut driven = 0_usize;
        loop {
            let gathered = std::future::poll_fn(|cx| self.gather(&mut epoll, &mut events, &mut woken, cx)).await;
            if let Err(error) = gathered {
                return tracing::debug!(%error, "the runtime ends, and with it the sockets");
            }
            let told = events.iter().map(|event| (event.token().0 as u32, Ready::of(event)));
            let called = woken.drain(..).map(|place| (place, Ready::default()));
            for (place, ready) in told.chain(called) {
                self.drive(place, ready);
                driven = driven.wrapping_add(1);
                if driven.is_multiple_of(STEP) {
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// Waits until somebody is to be driven.
    fn gather(
        &self,
        epoll: &mut AsyncFd<mio::Poll>,
        events: &mut Events,
        woken: &mut Vec<u32>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.bell.register(cx.waker());
        events.clear();
        while let Poll::Ready(guard) = epoll.poll_read_ready_mut(cx) {
            let mut guard = guard?;
            match guard.get_inner_mut().poll(events, Some(Duration::ZERO)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            if events.iter().count() < EVENTS {
                guard.clear_ready();
            }
            if !events.is_empty() {
                break;
            }
        }
        std::mem::swap(woken, &mut *self.woken.lock());
        if events.is_empty() && woken.is_empty() { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    fn drive(&self, place: u32, ready: Ready) {
        let Some(connection) = self.places.lock().at(place).cloned() else { return };
        // One connection's fault must not be the end of all.
        match catch_unwind(AssertUnwindSafe(|| connection.drive(ready))) {
            Ok(Then::Rest) => {}
            Ok(Then::Again) => connection.wake(),
            Ok(Then::End) | Err(_) => {
                self.places.lock().leave(place);
                connection.end();
            }
        }
    }
}
