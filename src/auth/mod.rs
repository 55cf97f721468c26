//! Passwords and tokens: pure mechanisms that know no users' records and no HTTP.

pub mod hmac;
pub mod password;
mod queue;
pub mod refresh;
pub mod token;
mod verified;
