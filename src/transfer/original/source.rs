//! The original's database, read and never written to: no index, no collection, no document of it changes.

use futures_util::{StreamExt, stream::BoxStream};
use mongodb::{
    Client, Database,
    bson::{Document, doc},
    options::ClientOptions,
};

use super::values::order_of;
use crate::transfer::progress::Progress;

pub(super) struct Source {
    database: Database,
    hosts: Vec<String>,
}

const NEEDED: [&str; 3] = ["users", "chats", "messages"];

impl Source {
    pub(super) async fn open(url: &str) -> Result<Self, String> {
        // The driver's own messages may repeat the URL, and that may hold a password.
        let options = ClientOptions::parse(url)
            .await
            .map_err(|_| "this is no usable MongoDB URL; write mongodb://HOST:PORT/DATABASE".to_owned())?;
        let name = options
            .default_database
            .clone()
            .ok_or("which database? Name it in the URL, after the host, as in mongodb://localhost:27017/chat_app")?;
        let hosts: Vec<String> = options.hosts.iter().map(ToString::to_string).collect();
        let client = Client::with_options(options).map_err(|error| format!("the URL cannot be used: {error}"))?;
        let source = Self { database: client.database(&name), hosts };
        let there = source.database.list_collection_names().await.map_err(|error| source.trouble(&error))?;
        let missing: Vec<&str> = NEEDED.into_iter().filter(|name| !there.iter().any(|other| other == name)).collect();
        if there.iter().any(|name| name == "meta") && there.iter().any(|name| name == "heads") {
            return Err(format!("{} is natter's own: serve from it, or export it first", source.label()));
        }
        if missing.contains(&"users") {
            return Err(format!(
                "{} is not the original server's: it has no collection {}. Is the database's name right?",
                source.label(),
                missing.join(", ")
            ));
        }
        Ok(source)
    }

    /// For people, and without secrets.
    pub(super) fn label(&self) -> String {
        format!("the database {} at {}", self.database.name(), self.hosts.join(","))
    }

    /// About how many records there are.
    pub(super) async fn count(&self, collection: &str) -> u64 {
        // It is for show only.
        self.database.collection::<Document>(collection).estimated_document_count().await.unwrap_or(0)
    }

    /// Every record, in no order.
    pub(super) async fn records(
        &self,
        collection: &'static str,
    ) -> Result<BoxStream<'_, Result<Document, String>>, String> {
        let found = self.database.collection::<Document>(collection).find(doc! {}).batch_size(1_000).await;
        let found = found.map_err(|error| self.trouble(&error))?;
        Ok(found.map(|record| record.map_err(|error| self.trouble(&error))).boxed())
    }

    /// Every record of a small collection with its place in the order of `_id`, all in memory.
    pub(super) async fn in_order(
        &self,
        collection: &'static str,
        progress: &Progress,
    ) -> Result<Vec<(Vec<u8>, Document)>, String> {
        progress.begin("reading", collection, self.count(collection).await);
        let mut found = self.records(collection).await?;
        let mut records = Vec::new();
        while let Some(record) = found.next().await {
            let record = record?;
            records.push((order_of(&record), record));
            progress.add(1);
        }
        records.sort_unstable_by(|(one, _), (other, _): &(Vec<u8>, Document)| one.cmp(other));
        Ok(records)
    }

    fn trouble(&self, error: &mongodb::error::Error) -> String {
        format!("{} cannot be read: {}", self.label(), error.kind)
    }
}
