//! The bus of a natter that runs alone: whoever publishes is the only one to hear.

use std::sync::OnceLock;

use async_trait::async_trait;

use super::{Bus, Hint, Listener};

#[derive(Default)]
pub struct LocalBus {
    listener: OnceLock<Listener>,
}

#[async_trait]
impl Bus for LocalBus {
    fn listen(&self, listener: Listener) {
        if self.listener.set(listener).is_err() {
            panic!("a bus has one listener");
        }
    }

    fn publish(&self, hint: Hint) {
        if let Some(listener) = self.listener.get() {
            listener(hint);
        }
    }

    async fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}
