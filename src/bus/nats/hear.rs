//! The task that hears: it takes the messages of the connection there is, and looks who has become silent.

use std::{sync::Arc, time::Duration};

use async_nats::{Message, Subscriber};
use futures_util::StreamExt;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::state::State;

/// Until whoever gives the subscriptions is gone.
pub async fn run(state: Arc<State>, mut ears: mpsc::Receiver<Option<Subscriber>>, beat: Duration) {
    let mut subscriber = None;
    let mut looks = interval(beat);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            other = ears.recv() => match other {
                Some(other) => subscriber = other,
                None => return,
            },
            message = next(&mut subscriber) => match message {
                Some(message) => state.hear(&message.payload),
                None => subscriber = None,
            },
            _ = looks.tick() => state.watch(),
        }
    }
}

async fn next(subscriber: &mut Option<Subscriber>) -> Option<Message> {
    match subscriber {
        Some(subscriber) => subscriber.next().await,
        None => std::future::pending().await,
    }
}
