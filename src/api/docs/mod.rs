//! The API's own documentation: `/openapi.json`, `/asyncapi.json`, and `/docs` to read and try it.
//!
//! - `told.rs` is what is told about a route beside its row; `accounts.rs`, `users.rs`, `chats.rs`, `changes.rs`, `consent.rs`, `search.rs`, `service.rs` tell it.
//! - `faults.rs` knows how requests fail by who may ask and by what they carry.
//! - `schemas.rs` gathers the shapes of the code's types.
//! - `openapi.rs` puts the rows, the words and the shapes together; `asyncapi.rs` does the same for frames, and
//!   `frames.rs` has an example of each.
//! - `page.rs` is the page.
//!
//! The tests of the whole hold both documents to what the server really sends.

mod accounts;
pub mod asyncapi;
mod changes;
mod chats;
mod consent;
pub mod faults;
mod frames;
pub mod openapi;
pub mod page;
mod schemas;
mod search;
mod service;
mod told;
mod users;

use std::sync::LazyLock;

use serde_json::Value;

use crate::{
    app::App,
    http::{
        embedded::{Embedded, Keep},
        request::Request,
        respond::{Rejection, Response},
    },
};

/// A document as it is served.
pub type Document = LazyLock<Embedded>;

pub fn document(value: &Value) -> Embedded {
    Embedded::new("document.json", value.to_string(), Keep::Asking)
}

/// `GET /openapi.json` and `GET /asyncapi.json`
pub async fn serve(app: &App, document: &Embedded, request: Request) -> Result<Response, Rejection> {
    page::are_on(app)?;
    Ok(document.answer(&request))
}
