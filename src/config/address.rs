//! Addresses to listen on, as text: `127.0.0.1:8000`, `[::1]:8000`, and `localhost:8000` for the first of them.

use std::net::{AddrParseError, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// The one name that is the same everywhere. Others stand for what a name server says, and an address to listen on does not change.
const LOCALHOST: &str = "localhost:";

fn read(text: &str) -> Result<SocketAddr, AddrParseError> {
    match text.strip_prefix(LOCALHOST) {
        Some(port) => format!("{}:{port}", Ipv4Addr::LOCALHOST).parse(),
        None => text.parse(),
    }
}

pub fn serialize<S: Serializer>(address: &SocketAddr, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(address)
}

pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SocketAddr, D::Error> {
    read(&String::deserialize(from)?).map_err(D::Error::custom)
}

/// One that may be missing: TOML and the environment have no word for nothing but the empty text.
pub mod optional {
    use super::*;

    pub fn serialize<S: Serializer>(address: &Option<SocketAddr>, to: S) -> Result<S::Ok, S::Error> {
        match address {
            Some(address) => to.collect_str(address),
            None => to.serialize_str(""),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SocketAddr>, D::Error> {
        let text = String::deserialize(from)?;
        if text.is_empty() { Ok(None) } else { read(&text).map(Some).map_err(D::Error::custom) }
    }
}
