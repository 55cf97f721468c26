//! What every operation on MongoDB shares: the database, how long it may take, when it is tried again, and what its
//! errors mean. It knows no collection and no record.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use mongodb::{
    Collection, Database,
    bson::{Document, doc},
    error::{CommandError, Error, ErrorKind, Result as MongoResult, WriteFailure},
    options::{CollectionOptions, ReadConcern},
};

use crate::{
    config,
    metrics::Metrics,
    store::{Result, StoreError},
};

/// The pause before an operation is tried again: the first, and the longest it grows to.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// What stands in an error that this file made itself.
#[derive(Debug)]
enum Own {
    NoAnswer(u64),
    Closed,
}

pub(super) struct Base {
    /// Reads what a majority has, writes journaled to a majority, both at the primary.
    pub db: Database,
    pub config: config::Store,
    pub metrics: Arc<Metrics>,
    closed: AtomicBool,
    /// What the last operation saw; the metric `store_up` says the same.
    up: AtomicBool,
}

impl Base {
    /// Of a database that has not answered yet.
    pub fn new(db: Database, config: config::Store, metrics: Arc<Metrics>) -> Self {
        Self { db, config, metrics, closed: AtomicBool::new(false), up: AtomicBool::new(false) }
    }

    /// Whether the last operation had an answer.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Majority reads, so that nothing is shown that a failover could take back; writes are majority and journaled.
    pub fn collection(&self, name: &str) -> Collection<Document> {
        self.db.collection(name)
    }

    /// Reads what the primary has now, a majority or not: only to learn who holds a key that was taken, see [`Self::kept`].
    pub fn newest(&self, name: &str) -> Collection<Document> {
        let options = CollectionOptions::builder().read_concern(ReadConcern::local()).build();
        self.db.collection_with_options(name, options)
    }

    /// Fails once the store is closed.
    pub fn is_open(&self) -> MongoResult<()> {
        if self.closed.load(Ordering::Relaxed) { Err(Error::custom(Own::Closed)) } else { Ok(()) }
    }

    /// Once, within `store.answer_millis`. A duplicate key is an error here like every other: see [`is_duplicate`].
    pub async fn once<T>(&self, op: impl Future<Output = MongoResult<T>>) -> MongoResult<T> {
        self.is_open()?;
        let millis = self.config.answer_millis;
        let result = tokio::time::timeout(Duration::from_millis(millis), op)
            .await
            .unwrap_or_else(|_| Err(Error::custom(Own::NoAnswer(millis))));
        self.saw(result.as_ref().err());
        result
    }

    /// What may be repeated: tried again on errors that pass, until `store.retry_millis` are over.
    pub async fn again<T, F>(&self, op: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = MongoResult<T>>,
    {
        let until = Instant::now() + Duration::from_millis(self.config.retry_millis);
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match self.once(op()).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let wait = pause.mul_f64(rand::random_range(0.5..1.0));
            if !passes(&error) || Instant::now() + wait > until {
                self.metrics.store_errors.inc();
                return Err(store_error(&error));
            }
            self.metrics.store_retries.inc();
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The document of this `_id`.
    pub async fn find(&self, collection: &str, id: &str) -> Result<Option<Document>> {
        let collection = self.collection(collection);
        self.again(|| async { collection.find_one(doc! { "_id": id }).await }).await
    }

    /// `false`: some unique value of the document is taken, perhaps by an earlier try of this insert whose answer was
    /// lost; see [`Self::kept`].
    pub async fn insert(&self, collection: &str, document: &Document) -> Result<bool> {
        let collection = self.collection(collection);
        let op = || async {
            match collection.insert_one(document).await {
                Ok(_) => Ok(true),
                Err(error) if is_duplicate(&error) => Ok(false),
                Err(error) => Err(error),
            }
        };
        self.again(op).await
    }

    /// The document that `filter` finds at the primary, once a majority has it too: what another writer is just writing
    /// may be taken back until then, and nobody may act on it. `None`: there is none (any more). A filter by `_id` or by
    /// a unique field.
    pub async fn kept(&self, collection: &str, filter: &Document) -> Result<Option<Document>> {
        let (newest, settled) = (self.newest(collection), self.collection(collection));
        let until = Instant::now() + Duration::from_millis(self.config.answer_millis);
        let mut pause = FIRST_PAUSE;
        loop {
            let Some(found) = self.again(|| async { newest.find_one(filter.clone()).await }).await? else {
                return Ok(None);
            };
            let seen = self.again(|| async { settled.find_one(filter.clone()).await }).await?;
            if let Some(seen) = seen.filter(|seen| seen.get("_id") == found.get("_id")) {
                return Ok(Some(seen));
            }
            if Instant::now() + pause > until {
                return Err(StoreError::Unavailable("a majority of the database does not confirm its writes".into()));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// From now on every operation fails; the connections go once those under way are done or late.
    pub async fn close(&self) {
        if self.closed.swap(true, Ordering::Relaxed) {
            return;
        }
        let millis = Duration::from_millis(self.config.answer_millis);
        if tokio::time::timeout(millis, self.db.client().clone().shutdown()).await.is_err() {
            tracing::warn!("the database did not let go of its connections in time");
        }
    }

    fn saw(&self, error: Option<&Error>) {
        let up = error.is_none_or(|error| !is_away(error));
        if self.up.swap(up, Ordering::Relaxed) == up {
            return;
        }
        self.metrics.store_up.set(i64::from(up));
        match error {
            Some(error) => tracing::warn!(error = sentence(error), "the database cannot be reached"),
            None => tracing::info!("the database answers"),
        }
    }
}

/// Some unique index has the value already; which one, only a look can tell.
pub(super) fn is_duplicate(error: &Error) -> bool {
    codes(error).iter().any(|code| DUPLICATE_KEY.contains(code))
}

/// What an error of MongoDB means to whoever asked the store. `Unavailable` leaves the outcome open.
pub(super) fn store_error(error: &Error) -> StoreError {
    let sentence = sentence(error);
    match &*error.kind {
        ErrorKind::BsonDeserialization(_) => StoreError::Damaged(sentence),
        _ if is_full(error, &sentence) => StoreError::Full(sentence),
        _ => StoreError::Unavailable(sentence),
    }
}

/// Without the driver's own frame of words, and without the server's whole answer.
pub(super) fn sentence(error: &Error) -> String {
    let said = |code: i32, message: &str| format!("{message} (code {code})");
    match &*error.kind {
        ErrorKind::Custom(_) => match error.get_custom() {
            Some(Own::NoAnswer(millis)) => format!("no answer within {millis} ms"),
            Some(Own::Closed) => "it is closed".into(),
            None => error.kind.to_string(),
        },
        ErrorKind::Shutdown => "it is closed".into(),
        ErrorKind::ServerSelection { message, .. } => no_server(message),
        ErrorKind::Command(CommandError { code, message, .. }) => said(*code, message),
        ErrorKind::Write(WriteFailure::WriteError(error)) => said(error.code, &error.message),
        ErrorKind::Write(WriteFailure::WriteConcernError(error)) => said(error.code, &error.message),
        ErrorKind::InsertMany(many) => {
            let first = many.write_errors.iter().flatten().map(|error| said(error.code, &error.message)).next();
            let concern = || many.write_concern_error.as_ref().map(|error| said(error.code, &error.message));
            first.or_else(concern).unwrap_or_else(|| "an insert failed".into())
        }
        other => other.to_string(),
    }
}

/// The driver describes every server it knows; what an operator needs of it is why they cannot be used.
fn no_server(description: &str) -> String {
    let reasons = description.split("Error: Kind: ").skip(1).map(|rest| rest.split(", labels:").next().unwrap_or(rest));
    let reasons: BTreeSet<&str> = reasons.collect();
    if reasons.is_empty() {
        return description.to_owned();
    }
    format!("no server could be used ({})", reasons.into_iter().collect::<Vec<_>>().join("; "))
}

const DUPLICATE_KEY: [i32; 3] = [11000, 11001, 12582];

/// The server is starting, stopping, no longer the primary, out of reach of the others, or too slow just now: the codes
/// that the specification of retryable reads and writes lists, and conflicts with other writers.
const PASSING: [i32; 24] = [
    6, 7, 24, 46, 50, 64, 84, 89, 91, 112, 133, 134, 189, 262, 317, 358, 9001, 10058, 10107, 11600, 11602, 13435,
    13436, 462,
];

/// Out of disk space.
const DISK_FULL: [i32; 1] = [14031];

/// Every code that the server gave with an error.
fn codes(error: &Error) -> Vec<i32> {
    match &*error.kind {
        ErrorKind::Command(error) => vec![error.code],
        ErrorKind::Write(WriteFailure::WriteError(error)) => vec![error.code],
        ErrorKind::Write(WriteFailure::WriteConcernError(error)) => vec![error.code],
        ErrorKind::InsertMany(many) => {
            let write_errors = many.write_errors.iter().flatten().map(|error| error.code);
            write_errors.chain(many.write_concern_error.iter().map(|error| error.code)).collect()
        }
        _ => Vec::new(),
    }
}

/// The answer did not come, or came from a server that cannot serve now.
fn is_away(error: &Error) -> bool {
    match &*error.kind {
        ErrorKind::Io(_)
        | ErrorKind::ConnectionPoolCleared { .. }
        | ErrorKind::ServerSelection { .. }
        | ErrorKind::DnsResolve { .. }
        | ErrorKind::Authentication { .. }
        | ErrorKind::Shutdown => true,
        ErrorKind::Custom(_) => matches!(error.get_custom(), Some(Own::NoAnswer(_))),
        _ => codes(error).iter().any(|code| PASSING.contains(code)),
    }
}

/// Trying again may help.
fn passes(error: &Error) -> bool {
    let locked = || {
        let said = sentence(error);
        said.contains("database is locked") || said.contains("SQLITE_BUSY")
    };
    let for_good = matches!(*error.kind, ErrorKind::Authentication { .. } | ErrorKind::Shutdown);
    !for_good && (is_away(error) || error.contains_label(mongodb::error::RETRYABLE_WRITE_ERROR) || locked())
}

/// By code, or by the words of services and file systems that have no code for it.
fn is_full(error: &Error, sentence: &str) -> bool {
    const WORDS: [&str; 4] = ["disk is full", "No space left on device", "over your space quota", "disk quota"];
    codes(error).iter().any(|code| DISK_FULL.contains(code)) || WORDS.iter().any(|words| sentence.contains(words))
}

#[cfg(test)]
mod tests {
    use mongodb::bson;

    use super::*;

    fn command(code: i32, message: &str) -> Error {
        let error: CommandError = bson::from_document(doc! { "code": code, "codeName": "x", "errmsg": message })
            .expect("the fields of a command's error");
        ErrorKind::Command(error).into()
    }

    #[test]
    fn a_duplicate_key_is_known_by_its_code() {
        assert!(is_duplicate(&command(11000, "E11000 duplicate key error")));
        assert!(!is_duplicate(&command(112, "write conflict")));
        assert!(!is_duplicate(&Error::custom(Own::NoAnswer(5))));
    }

    #[test]
    fn errors_that_pass_leave_the_outcome_open_and_are_tried_again() {
        let broken: Error = ErrorKind::from(std::io::ErrorKind::ConnectionReset).into();
        for error in [broken, command(10107, "not primary"), command(64, "waiting"), Error::custom(Own::NoAnswer(5))] {
            assert!(passes(&error) && is_away(&error), "{error}");
            assert!(matches!(store_error(&error), StoreError::Unavailable(_)), "{error}");
        }
        for error in [command(13, "not authorized"), command(11000, "duplicate"), Error::custom(Own::Closed)] {
            assert!(!passes(&error) && !is_away(&error), "{error}");
        }
        assert!(passes(&command(1, "database is locked (5) (SQLITE_BUSY)")));
    }

    #[test]
    fn a_full_disk_is_told_apart() {
        for error in [command(14031, "out of disk space"), command(8000, "you are over your space quota, using 513 MB")]
        {
            assert!(matches!(store_error(&error), StoreError::Full(_)), "{error}");
            assert!(!passes(&error), "{error}");
        }
    }

    #[test]
    fn an_error_is_told_in_the_servers_words() {
        let told = store_error(&command(10107, "not primary")).to_string();
        assert_eq!(told, "the store cannot be reached: not primary (code 10107)");
        assert_eq!(sentence(&Error::custom(Own::NoAnswer(5000))), "no answer within 5000 ms");
        let server =
            "{ Address: db:27017, Type: Unknown, Error: Kind: I/O error: Connection refused, labels: {\"a\", \"b\"} }";
        let told = no_server(&format!("Server selection timeout. Topology: {{ Servers: [ {server}, {server} ] }}"));
        assert_eq!(told, "no server could be used (I/O error: Connection refused)");
        assert_eq!(no_server("No primary."), "No primary.");
    }
}
