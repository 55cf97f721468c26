//! Putting the store together from what is on disk.

use std::{path::Path, sync::Arc};

use tokio::sync::Mutex;

use super::{
    OpenError, SqliteStore,
    appender::Appender,
    connection,
    eraser::{self, Eraser},
    open,
    readers::Readers,
    readings::Readings,
    recovery,
    search::feeder::Feeder,
    settler::Settler,
    space::Space,
    tail::Tail,
    threads::Threads,
    users,
    watch::Watch,
    writer::Writer,
};
use crate::{config, metrics::Metrics, store::deletion::Nameless};

impl SqliteStore {
    /// Opens the database at `path`, or makes it and its folder. Blocks: it may recover a log or run migrations.
    pub fn open(path: &Path, config: &config::Store, metrics: Arc<Metrics>) -> Result<SqliteStore, OpenError> {
        let path = open::place_of(path)?;
        let lock = open::prepare(&path)?;
        let (file, max_bytes, wal_bytes) = (path.clone(), config.max_bytes, config.wal_bytes);
        let reopen = Box::new(move || connection::open_writer(&file, max_bytes, wal_bytes));
        let space = Arc::new(Space::new(&path, config, metrics.clone()));
        let journal = recovery::recover(&path).or_else(|error| match error.is_of_a_full_disk() {
            true => {
                space.give_up_ballast();
                recovery::recover(&path)
            }
            false => Err(error),
        })?;
        let db = reopen().map_err(|error| OpenError::of(&path, error))?;
        let (erased, again) = eraser::apply(&db, &path).map_err(OpenError::Erased)?;
        if again > 0 {
            tracing::warn!(messages = again, "an older database has come back: what was deleted since is erased again");
        }
        let nameless = Arc::new(Nameless::default());
        nameless.extend(users::nameless(&db).map_err(|error| OpenError::of(&path, error))?);
        let writer = Writer::start(db, reopen, space.clone(), config, metrics.clone())
            .map(Arc::new)
            .map_err(OpenError::Thread)?;
        let tail = Arc::new(Tail::new(metrics.clone()));
        let appender = Appender::start(
            journal,
            path.clone(),
            tail.clone(),
            writer.clone(),
            space.clone(),
            config,
            metrics.clone(),
        )
        .map(Arc::new)
        .map_err(OpenError::Thread)?;
        let readings = Arc::new(Readings::default());
        let feeder = Feeder::start(path.clone(), writer.clone(), readings.clone(), metrics.clone())
            .map(Arc::new)
            .map_err(OpenError::Thread)?;
        let settler =
            Settler::start(tail.clone(), writer.clone(), appender.clone(), feeder.clone(), config, metrics.clone())
                .map_err(OpenError::Thread)?;
        if again > 0 {
            writer.erasing.want();
        }
        let eraser =
            Eraser::start(erased, tail.clone(), writer.clone(), appender.clone()).map_err(OpenError::Thread)?;
        let watch =
            Watch::start(path.clone(), space, writer.clone(), readings.clone(), config.wal_bytes, metrics.clone())
                .map_err(OpenError::Thread)?;
        let threads = Arc::new(Threads { writer, appender, settler, eraser, feeder, watch });
        metrics.store_up.set(1);
        let readers = Readers::new(path.clone(), readings.clone(), config, metrics);
        Ok(Self { path, readers, readings, tail, nameless, threads, lock: Arc::new(Mutex::new(Some(lock))) })
    }
}
