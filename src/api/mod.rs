//! One file per resource. A handler gets what it was granted, already checked, and returns a `Response` or a `Rejection`.

pub mod accounts;
pub mod audit;
pub mod blocks;
pub mod changes;
pub mod chats;
mod cursor;
pub mod docs;
pub mod logins;
pub mod members;
pub mod messages;
pub mod search;
pub mod service;
pub mod ui;
pub mod users;
