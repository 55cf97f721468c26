//! What happens before the first operation: the URL, a server that answers, and a look at whose database it is.
//!
//! Every error here is a sentence for the operator, and none of them shows a password.

use std::{sync::Arc, time::Duration};

use futures_util::TryStreamExt;
use mongodb::{
    Client, Database,
    bson::doc,
    error::{Error, ErrorKind},
    options::{
        Acknowledgment, ClientOptions, DatabaseOptions, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern,
    },
};

use super::{
    base::{Base, sentence},
    schema::{self, Kind},
};
use crate::{
    config::{self, mask},
    metrics::Metrics,
};

/// Where the URL says nothing else.
const SELECTION: Duration = Duration::from_secs(2);
const CONNECT: Duration = Duration::from_secs(2);
const POOL: u32 = 64;
const CONNECTING: u32 = 4;

/// FerretDB takes an ordered insert apart, so many documents at a time, and goes on with the next ones where one was refused:
/// the log would have a hole.
const FERRETDB_EVENTS: usize = 100;

/// How long the names of a `mongodb+srv` URL may take to be found.
const RESOLVE: Duration = Duration::from_secs(10);

const EXAMPLE: &str = "Write it as mongodb://[user:password@]host:27017/[?options]";

/// The collections that are named when a database turns out to be somebody else's.
const NAMED: usize = 5;

pub(super) struct Opened {
    pub base: Base,
    /// Names the data, whichever way it is reached.
    pub cluster: String,
    /// Where it is, for people: without the login.
    pub address: String,
}

/// Why there is no store, as a sentence.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It may come later.
    #[error("{0}")]
    Away(String),
    /// It will not, until somebody changes something.
    #[error("{0}")]
    Refused(String),
}

impl From<String> for OpenError {
    fn from(sentence: String) -> Self {
        Self::Refused(sentence)
    }
}

/// What can be found wrong without the servers.
pub(super) async fn check(config: &config::Store) -> Result<(), OpenError> {
    options(&config.url).await?;
    Ok(name_is_possible(&config.db_name)?)
}

/// Connects, refuses what is not natter's, and brings the schema up to date. Gives the name of the data with it.
pub(super) async fn open(config: &config::Store, metrics: Arc<Metrics>) -> Result<Opened, OpenError> {
    let options = options(&config.url).await?;
    name_is_possible(&config.db_name)?;
    let hosts: Vec<String> = options.hosts.iter().map(ToString::to_string).collect();
    let hosts = hosts.join(",");
    let database = database(options, &config.db_name).map_err(|error| unusable(&config.url, &error))?;
    let mut base = Base::new(database, config.clone(), metrics);
    let about = base
        .once(async { base.db.run_command(doc! { "buildInfo": 1 }).await })
        .await
        .map_err(|error| away(&hosts, &error))?;
    if about.contains_key("ferretdbVersion") && config.insert_events > FERRETDB_EVENTS {
        tracing::info!(
            "this is FerretDB: commands have {FERRETDB_EVENTS} events at most, whatever store.insert_events says"
        );
        base.config.insert_events = FERRETDB_EVENTS;
    }
    // It may go away in the middle of it.
    let gone =
        |base: &Base, sentence| if base.is_up() { OpenError::Refused(sentence) } else { OpenError::Away(sentence) };
    let from = look(&base).await.map_err(|sentence| gone(&base, sentence))?;
    let cluster = schema::bring_up(&base, from).await.map_err(|sentence| gone(&base, sentence))?;
    tracing::info!(hosts, database = config.db_name, "using MongoDB");
    Ok(Opened { base, cluster, address: format!("mongodb://{hosts}/{}", config.db_name) })
}

/// The URL's options, with our defaults where it has none, once nothing in it asks for less than natter promises.
async fn options(url: &str) -> Result<ClientOptions, OpenError> {
    let parsed = tokio::time::timeout(RESOLVE, async { ClientOptions::parse(url).await }).await;
    let mut options = match parsed {
        Ok(Ok(options)) => options,
        Ok(Err(error)) if matches!(&*error.kind, ErrorKind::DnsResolve { .. }) => {
            return Err(OpenError::Away(unusable(url, &error)));
        }
        Ok(Err(error)) => return Err(unusable(url, &error).into()),
        Err(_) => {
            let secs = RESOLVE.as_secs();
            return Err(OpenError::Away(format!(
                "The servers of store.url were not found within {secs} s: check DNS."
            )));
        }
    };
    refuse_weaker(&options)?;
    options.app_name.get_or_insert_with(|| "natter".into());
    options.server_selection_timeout.get_or_insert(SELECTION);
    options.connect_timeout.get_or_insert(CONNECT);
    options.max_pool_size.get_or_insert(POOL);
    options.max_connecting.get_or_insert(CONNECTING);
    Ok(options)
}

/// What would let an acknowledged message be lost, or something be shown that is taken back later.
fn refuse_weaker(options: &ClientOptions) -> Result<(), String> {
    let refuse =
        |option: &str, because: &str| Err(format!("store.url sets {option}: {because}. Leave that option out."));
    if let Some(WriteConcern { w, journal, .. }) = &options.write_concern {
        match w {
            None | Some(Acknowledgment::Majority) => {}
            Some(Acknowledgment::Nodes(nodes)) => {
                return refuse(&format!("w={nodes}"), "natter acknowledges what a majority of the servers has");
            }
            Some(_) => return refuse("w", "natter acknowledges what a majority of the servers has"),
        }
        if *journal == Some(false) {
            return refuse("journal=false", "natter acknowledges what is on disk");
        }
    }
    if options.read_concern.as_ref().is_some_and(|concern| *concern != ReadConcern::majority()) {
        return refuse("readConcernLevel", "natter shows what a majority of the servers has");
    }
    match &options.selection_criteria {
        None | Some(SelectionCriteria::ReadPreference(ReadPreference::Primary)) => Ok(()),
        Some(_) => refuse("readPreference", "natter reads from the primary, where everything acknowledged is"),
    }
}

fn database(options: ClientOptions, name: &str) -> Result<Database, Error> {
    let mut write = WriteConcern::majority();
    write.journal = Some(true);
    write.w_timeout = options.write_concern.as_ref().and_then(|concern| concern.w_timeout);
    let wanted = DatabaseOptions::builder()
        .read_concern(ReadConcern::majority())
        .write_concern(write)
        .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
        .build();
    Ok(Client::with_options(options)?.database_with_options(name, wanted))
}

fn name_is_possible(name: &str) -> Result<(), String> {
    let strange = |c: char| c.is_control() || "/\\. \"$*<>:|?".contains(c);
    if name.is_empty() || name.len() > 63 || name.contains(strange) {
        return Err(format!(
            "{name:?} cannot name a MongoDB database: DB_NAME (store.db_name) has 1 to 63 bytes, and none of / \\ . \" $ * < > : | ? and space."
        ));
    }
    if ["admin", "local", "config"].contains(&name) {
        return Err(format!(
            "The database {name:?} belongs to MongoDB itself. Choose another DB_NAME (store.db_name)."
        ));
    }
    Ok(())
}

/// The version that the data is at; the error is about data that is not for this natter.
async fn look(base: &Base) -> Result<usize, String> {
    let name = base.db.name();
    match schema::kind(base).await.map_err(|error| format!("The database {name:?} cannot be read: {error}."))? {
        Kind::Empty => Ok(0),
        Kind::Natter(version) => Ok(version),
        Kind::Newer(found) => Err(format!(
            "The database {name:?} was written by a newer natter (schema {found}, this one knows {}). Run that version.",
            schema::VERSION
        )),
        Kind::Foreign(_) if is_original(base).await => Err(format!(
            "The database {name:?} holds the users and chats of the original server, and natter keeps its own elsewhere. \
             Choose another DB_NAME (store.db_name), then bring everything over: natter import mongodb://…/{name}"
        )),
        Kind::Foreign(mut collections) => {
            let more = if collections.len() > NAMED { ", …" } else { "" };
            collections.truncate(NAMED);
            Err(format!(
                "The database {name:?} is not natter's: it has the collections {}{more}. Choose another DB_NAME (store.db_name).",
                collections.join(", ")
            ))
        }
    }
}

/// Users as the original server keeps them.
async fn is_original(base: &Base) -> bool {
    let users = base.collection("users");
    let found = base.once(async {
        let original = doc! { "hashed_password": { "$exists": true } };
        users.find(original).limit(1).projection(doc! { "_id": 1 }).await?.try_next().await
    });
    found.await.is_ok_and(|user| user.is_some())
}

fn unusable(url: &str, error: &Error) -> String {
    let (why, advice) = match &*error.kind {
        ErrorKind::DnsResolve { message, .. } => (message.clone(), "Check the name and DNS"),
        ErrorKind::InvalidArgument { message, .. } => (message.clone(), EXAMPLE),
        _ => (sentence(error), EXAMPLE),
    };
    // The driver quotes parts of a URL that it does not understand, and whatever it takes a part for may be a secret.
    let lower = why.to_lowercase();
    let why = match mask::secrets(url).iter().any(|secret| lower.contains(&secret.to_lowercase())) {
        true => {
            "it is not understood; what is no letter or digit in a user, a password or an option is written %40 and so on"
        }
        false => why.trim_end_matches('.'),
    };
    format!("store.url cannot be used: {why}. {advice}.")
}

fn away(hosts: &str, error: &Error) -> OpenError {
    let why = sentence(error);
    let why = why.trim_end_matches('.');
    match &*error.kind {
        ErrorKind::Authentication { .. } => OpenError::Refused(format!(
            "MongoDB at {hosts} refuses the user or the password of DB_URL (store.url): {why}. The options authSource and \
             authMechanism may have to be given as well."
        )),
        _ => OpenError::Away(format!(
            "MongoDB at {hosts} cannot be reached: {why}. Check that it runs, that it has a primary, and DB_URL (store.url)."
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_the_url_leaves_open_gets_our_defaults() {
        let opened = options("mongodb://db.example.org/?connectTimeoutMS=700&w=majority&journal=true").await.unwrap();
        assert_eq!(opened.app_name.as_deref(), Some("natter"));
        assert_eq!(opened.server_selection_timeout, Some(SELECTION));
        assert_eq!(opened.connect_timeout, Some(Duration::from_millis(700)));
        assert_eq!(opened.max_pool_size, Some(POOL));
        let own =
            options("mongodb://a,b/?appName=x&serverSelectionTimeoutMS=9&maxPoolSize=7&replicaSet=rs").await.unwrap();
        assert_eq!((own.app_name.as_deref(), own.max_pool_size), (Some("x"), Some(7)));
        assert_eq!(own.server_selection_timeout, Some(Duration::from_millis(9)));
    }

    #[tokio::test]
    async fn a_url_that_asks_for_less_than_we_promise_is_refused() {
        for (option, named) in [
            ("w=0", "w=0"),
            ("w=1", "w=1"),
            ("w=here", "w:"),
            ("journal=false", "journal=false"),
            ("readConcernLevel=local", "readConcernLevel"),
            ("readConcernLevel=available", "readConcernLevel"),
            ("readPreference=secondaryPreferred", "readPreference"),
        ] {
            let told = options(&format!("mongodb://db.example.org/?{option}")).await.expect_err(option).to_string();
            assert!(told.contains(&format!("sets {named}")) && told.contains("Leave that option out"), "{told}");
        }
        let strong =
            "mongodb://h/?w=majority&journal=true&readConcernLevel=majority&readPreference=primary&retryWrites=false";
        options(strong).await.unwrap();
    }

    #[tokio::test]
    async fn a_url_that_cannot_be_read_is_refused_without_showing_its_password() {
        for url in [
            "mongodb://ann:sec/ret@host/",
            "mongodb://ann:sec%ret@host/",
            "mongodb://ann:sec%20ret@host:port/",
            "mongodb://ann:sec@ret@host/",
            "mongodb://ann:secret@host/?tls=perhaps",
            "mongodb://host/?tls=perhaps&tlsCertificateKeyFilePassword=secret",
            "mongodb://host/?tlsCertificateKeyFilePasswrod=secret",
            "mongodb://host/?authMechanismProperties=secret",
            "mongodb://host/?secret",
            "mongodb://",
        ] {
            let told = options(url).await.expect_err(url).to_string();
            assert!(told.starts_with("store.url cannot be used: ") && told.contains("mongodb://["), "{told}");
            assert!(!told.contains("sec") && !told.contains("ret@"), "{told}");
        }
    }

    #[test]
    fn names_that_mongodb_would_refuse_are_refused_here() {
        for name in ["", "a b", "a.b", "a/b", "$x", "admin", "local", "config", &"x".repeat(64)] {
            assert!(name_is_possible(name).expect_err(name).contains("DB_NAME"), "{name}");
        }
        name_is_possible("natter").unwrap();
    }
}
