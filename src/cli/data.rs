//! The data: opening it, wherever it is, and bringing a backup back.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use natter::{
    config::{self, Config, mask},
    metrics::Metrics,
    store::{
        Store,
        mongo::{self, MongoStore},
        sqlite::{self, OpenError, SqliteStore},
    },
    transfer::import,
};

/// The database file, absolute, so that nothing depends on the working directory later.
pub fn database(config: &config::Store) -> Result<PathBuf, String> {
    let path = sqlite::path_of(&config.url)?;
    std::path::absolute(&path).map_err(|error| format!("{}: not a usable path ({error})", path.display()))
}

/// A file that is not there is not made by a command that only reads or changes what is.
pub fn must_exist(config: &config::Store) -> Result<(), String> {
    if is_mongo(config) {
        return Ok(());
    }
    let database = database(config)?;
    match database.exists() {
        true => Ok(()),
        false => Err(format!(
            "there is no database at {}; is `store.url` right, or is this another folder than the server's? A start of the server \
             makes one, and so does `natter admin create --new`",
            database.display()
        )),
    }
}

/// Where the data is, for people: without the login of a MongoDB.
pub fn shown(config: &config::Store) -> String {
    match database(config) {
        Ok(database) if !is_mongo(config) => database.display().to_string(),
        _ => format!("{} (database {})", mask::urls(&config.url), config.db_name),
    }
}

/// The folder that holds the database and all that belongs to it.
fn folder(database: &Path) -> &Path {
    database.parent().expect("an absolute path to a file has a folder")
}

/// Why a store cannot be opened here.
pub enum Closed {
    /// A running natter owns it: ask that one, at the control socket in this folder.
    Owned {
        folder: PathBuf,
        by: String,
    },
    /// It is somewhere else, and does not answer now.
    Away(String),
    Because(String),
}

impl From<Closed> for String {
    fn from(closed: Closed) -> Self {
        match closed {
            Closed::Owned { by, .. } => by,
            Closed::Away(sentence) | Closed::Because(sentence) => sentence,
        }
    }
}

/// Whether `store.url` names a MongoDB.
pub fn is_mongo(config: &config::Store) -> bool {
    config.url.starts_with("mongodb://") || config.url.starts_with("mongodb+srv://")
}

/// The store that the settings name, open.
pub struct Opened {
    pub store: Arc<dyn Store>,
    pub place: Place,
}

/// Where its data is.
pub enum Place {
    /// A folder of our own, with the database in it.
    Folder(PathBuf),
    /// A database that other natters may serve from too.
    Shared(Arc<MongoStore>),
}

pub async fn open_store(config: &Config, metrics: Arc<Metrics>) -> Result<Opened, Closed> {
    if is_mongo(&config.store) {
        let store = MongoStore::connect(&config.store, metrics).await.map_err(|error| match error {
            mongo::OpenError::Away(sentence) => Closed::Away(sentence),
            mongo::OpenError::Refused(sentence) => Closed::Because(sentence),
        })?;
        return Ok(Opened { store: store.clone(), place: Place::Shared(store) });
    }
    let database = database(&config.store).map_err(Closed::Because)?;
    let folder = folder(&database).to_owned();
    match SqliteStore::open(&database, &config.store, metrics) {
        Ok(store) => Ok(Opened { store: Arc::new(store), place: Place::Folder(folder) }),
        Err(owned @ OpenError::Owned { .. }) => Err(Closed::Owned { folder, by: owned.to_string() }),
        Err(error) => Err(Closed::Because(error.to_string())),
    }
}

/// The same for everyone but an import: a store that an import has not finished filling is refused.
pub async fn open_whole_store(config: &Config, metrics: Arc<Metrics>) -> Result<Opened, Closed> {
    let opened = open_store(config, metrics).await?;
    match import::refuse_unfinished(opened.store.as_ref()).await {
        Ok(()) => Ok(opened),
        Err(sentence) => {
            opened.store.close().await;
            Err(Closed::Because(sentence))
        }
    }
}

pub fn restore(config: &Config, from: &Path, force: bool) -> Result<(), String> {
    if is_mongo(&config.store) {
        return Err("restore is for SQLite; a MongoDB is restored with its own tools (mongorestore)".into());
    }
    let to = database(&config.store)?;
    let from = std::path::absolute(from).map_err(|error| format!("{}: not a usable path ({error})", from.display()))?;
    let report = sqlite::restore(&from, &to, force).map_err(|error| error.to_string())?;
    let sqlite::RestoreReport { users, rooms, events, erased, kept } = report;
    println!("restored {users} users, {rooms} chats and {events} events to {}", to.display());
    if erased > 0 {
        println!("{erased} messages that were deleted after the backup was made are erased in it");
    }
    if let Some(kept) = kept {
        println!("what was there before is kept as {}", kept.display());
    }
    println!("every login is ended, and clients load their histories again");
    Ok(())
}
