//! The bus of a natter that runs alone: whoever publishes is the only one to hear.

use std::sync::OnceLock;

use async_trait::async_trait;

use super::{Bus, Heard, Hint, Listener};
use crate::types::NodeId;

pub struct LocalBus {
    node: NodeId,
    listener: OnceLock<Listener>,
}

impl Default for LocalBus {
    fn default() -> Self {
        Self { node: NodeId::fresh(), listener: OnceLock::new() }
    }
}

#[async_trait]
impl Bus for LocalBus {
    fn node(&self) -> NodeId {
        self.node
    }

    fn listen(&self, listener: Listener) {
        if self.listener.set(listener).is_err() {
            panic!("a bus has one listener");
        }
    }

    fn publish(&self, hint: Hint) {
        if let Some(listener) = self.listener.get() {
            listener(Heard::Hint(hint));
        }
    }

    fn has_others(&self) -> bool {
        false
    }

    fn hears(&self) -> Result<Vec<NodeId>, String> {
        Ok(vec![self.node])
    }

    async fn close(&self) {}
}
