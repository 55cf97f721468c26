//! What `natter serve` looks at before it touches anything, and `natter check-config` looks at alone: everything about the
//! settings, and the files they name, that can be found wrong without a listener, a store or another machine.

use natter::{audit, bus::nats::NatsBus, config::Config, limits::files, server::tls::Tls, store::mongo::MongoStore};

use super::{data, secret};

/// A sentence for each thing that is wrong.
pub async fn settings(config: &Config) -> Result<(), Vec<String>> {
    let store = match data::is_mongo(&config.store) {
        true => MongoStore::check(&config.store).await,
        false => data::database(&config.store).map(|_| ()),
    };
    let bus = match config.bus.url.is_empty() {
        true => Ok(()),
        false => NatsBus::check(&config.bus).await,
    };
    let looked_at = [
        secret::check(&config.auth).map(|_| ()),
        store,
        bus,
        Tls::of(&config.server).map(|_| ()),
        audit::check(&config.log.audit),
        files::too_few().map_or(Ok(()), Err),
    ];
    let wrong: Vec<String> = looked_at.into_iter().filter_map(Result::err).collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}
