//! Reading from the store for a connection that is behind a room's ring.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{close::Close, connection::Connection};
use crate::{
    chat::room::Room,
    event::Event,
    seldom::{self, Line},
    store::Page,
    types::Seq,
};

/// How long a replay waits before it asks a store again that could not answer.
const RETRY: Duration = Duration::from_millis(500);

/// Reads from the store, for a subscription that is behind its room's ring, as much as one write takes or a little more.
pub(super) async fn replay(connection: Arc<Connection>, slot: u32) {
    let running = Replaying { connection: &connection, slot };
    let Some((room, cursor)) = connection.state().outbox.get(slot).map(|s| (s.room.clone(), s.cursor)) else { return };
    let shared = connection.shared();
    let limit = shared.config.sockets.replay_events;
    let page = Page { after: Some(cursor), before: None, limit, messages_only: false };
    let events = {
        let _permit = shared.replays.acquire().await;
        shared.chat.store.events(room.id, page).await
    };
    match events {
        Err(error) => {
            tracing::debug!(%error, room = %room.id, "a replay waits for the store");
            tokio::time::sleep(RETRY).await;
        }
        Ok(events) if events.is_empty() => {
            if let Some(Line { held_back }) = seldom::due("the log ends before its head") {
                tracing::error!(room = %room.id, cursor, held_back, "the log ends before its head");
            }
            connection.close(Close::Internal);
        }
        Ok(events) => take_replayed(&connection, slot, &room, cursor, &events),
    }
    drop(running);
}

/// Puts what was read in line, where the subscription is still the one it was read for.
fn take_replayed(connection: &Connection, slot: u32, room: &Room, cursor: Seq, events: &[Event]) {
    let shared = connection.shared();
    let head = room.head();
    let mut state = connection.state();
    let outbox = &mut state.outbox;
    let Some(subscription) = outbox.get(slot).filter(|s| s.room.id == room.id && s.cursor == cursor && !s.held) else {
        return;
    };
    let mut bytes = Vec::new();
    for event in events.iter().take_while(|event| event.seq <= head) {
        if bytes.len() >= shared.config.sockets.write_bytes {
            break;
        }
        subscription.cursor = event.seq;
        if !connection.only_messages() || (event.is_message() && !event.is_erased()) {
            bytes.extend_from_slice(event.frame.bytes());
            shared.metrics.replayed_events.inc();
            shared.metrics.deliveries.inc();
        }
    }
    if !bytes.is_empty() {
        outbox.push_events(slot, Bytes::from(bytes), 0);
    }
}

/// A replay that runs; however it ends, the subscription goes on.
struct Replaying<'a> {
    connection: &'a Connection,
    slot: u32,
}

impl Drop for Replaying<'_> {
    fn drop(&mut self) {
        self.connection.state().outbox.replayed(self.slot);
        self.connection.wake();
    }
}
