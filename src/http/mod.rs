//! From bytes to a granted request and back. `routes.rs` is the one table; `pipeline.rs` runs a request through it.

pub mod address;
pub mod answers;
pub mod authenticate;
pub mod authorize;
pub mod cors;
pub mod embedded;
pub mod form;
pub mod head;
pub mod host;
pub mod json;
pub mod pipeline;
pub mod request;
pub(crate) mod request_id;
pub mod request_log;
pub mod respond;
pub mod routes;
pub mod silence;
pub mod socket;
pub mod stream;
