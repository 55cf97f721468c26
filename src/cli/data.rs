//! The data folder: opening it alone, and bringing a backup back.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use natter::{
    config::{self, Config},
    metrics::Metrics,
    store::sqlite::{self, OpenError, SqliteStore},
};

/// The database file, absolute, so that nothing depends on the working directory later.
pub fn database(config: &config::Store) -> Result<PathBuf, String> {
    let path = sqlite::path_of(&config.url)?;
    std::path::absolute(&path).map_err(|error| format!("{}: not a usable path ({error})", path.display()))
}

/// The folder that holds the database and all that belongs to it.
pub fn folder(database: &Path) -> &Path {
    database.parent().expect("an absolute path to a file has a folder")
}

pub fn open(config: &Config, database: &Path, metrics: Arc<Metrics>) -> Result<Arc<SqliteStore>, OpenError> {
    SqliteStore::open(database, &config.store, metrics).map(Arc::new)
}

pub fn restore(config: &Config, from: &Path, force: bool) -> Result<(), String> {
    let to = database(&config.store)?;
    let from = std::path::absolute(from).map_err(|error| format!("{}: not a usable path ({error})", from.display()))?;
    let report = sqlite::restore(&from, &to, force).map_err(|error| error.to_string())?;
    let sqlite::RestoreReport { users, rooms, events, kept } = report;
    println!("restored {users} users, {rooms} chats and {events} events to {}", to.display());
    if let Some(kept) = kept {
        println!("what was there before is kept as {}", kept.display());
    }
    println!("every login is ended, and clients load their histories again");
    Ok(())
}
