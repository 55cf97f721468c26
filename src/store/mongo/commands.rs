//! Commands about many documents at once: an `update` with a statement for each, which the driver has a method for only on
//! the newest servers; an `insert` that passes over what is there; a `find` whose whole answer is wanted.

use futures_util::TryStreamExt;
use mongodb::{
    bson::{self, Bson, Document, doc},
    error::{CommandError, Error, ErrorKind, Result as MongoResult},
    options::FindOptions,
};

use serde::Serialize;

use super::base::{Base, is_duplicate};
use crate::store::Result;

/// Statements in one command, at most; past it there are several commands, one after the other.
const STATEMENTS: usize = 500;

/// Runs statements of an `update` command such as `{ q: { _id: … }, u: { $max: … } }`, in order, until they have all
/// succeeded. Each is about the one document that it names by `_id`, and such that repeating it changes nothing more.
pub(super) async fn update(base: &Base, collection: &str, statements: &[Document]) -> Result<()> {
    for part in statements.chunks(STATEMENTS) {
        let op = || async {
            match update_once(base, collection, part).await {
                // Two upserts of one document met; now it is there.
                Err(error) if is_duplicate(&error) => update_once(base, collection, part).await,
                result => result,
            }
        };
        base.again(op).await?;
    }
    Ok(())
}

async fn update_once(base: &Base, collection: &str, statements: &[Document]) -> MongoResult<()> {
    // Of one document, `multi` changes nothing, except on FerretDB: there a statement that is content with the first it
    // finds holds one of few connections until the command ends, and a hundred of them wait for ever.
    let multi = |statement: &Document| {
        let mut statement = statement.clone();
        statement.insert("multi", true);
        statement
    };
    let statements: Vec<Document> = statements.iter().map(multi).collect();
    let mut command = doc! { "update": collection, "updates": statements, "ordered": true };
    // A command that is put together by hand does not take over the database's write concern.
    if let Some(concern) = base.db.write_concern() {
        command.insert("writeConcern", bson::to_bson(concern)?);
    }
    let answer = base.db.run_command(command).await?;
    let first = answer.get_array("writeErrors").ok().and_then(|errors| errors.first());
    match first.or_else(|| answer.get("writeConcernError")) {
        Some(error) => Err(command_error(error)),
        None => Ok(()),
    }
}

/// A statement's error, or one of the write concern, in the form of an error of the whole command.
fn command_error(error: &Bson) -> Error {
    let field = |key| error.as_document().and_then(|error| error.get(key));
    let code = field("code").and_then(Bson::as_i32).unwrap_or_default();
    let message = field("errmsg").and_then(Bson::as_str).unwrap_or("an update failed");
    let error = doc! { "code": code, "codeName": "", "errmsg": message };
    match bson::from_document::<CommandError>(error) {
        Ok(error) => ErrorKind::Command(error).into(),
        Err(error) => error.into(),
    }
}

/// Inserts what is not there yet, and returns the indexes of those whose keys are taken. May be repeated.
pub(super) async fn insert_unless_there<T>(base: &Base, collection: &str, documents: &[T]) -> Result<Vec<usize>>
where
    T: Serialize + Send + Sync,
{
    let collection = base.collection(collection).clone_with_type::<T>();
    let op = || async {
        match collection.insert_many(documents).ordered(false).await {
            Ok(_) => Ok(Vec::new()),
            Err(error) => taken(&error).ok_or(error),
        }
    };
    base.again(op).await
}

/// The indexes of the documents that an insert refused because a key of theirs is taken. `None`: something else went
/// wrong, and what is stored is not known.
pub(super) fn taken(error: &Error) -> Option<Vec<usize>> {
    const DUPLICATE_KEY: [i32; 3] = [11000, 11001, 12582];
    let ErrorKind::InsertMany(many) = &*error.kind else { return None };
    let refused = many.write_errors.iter().flatten();
    let known = many.write_concern_error.is_none() && refused.clone().all(|error| DUPLICATE_KEY.contains(&error.code));
    let indexes: Vec<usize> = refused.map(|error| error.index).collect();
    (known && !indexes.is_empty()).then_some(indexes)
}

/// Everything that a query finds; who asks bounds it by `limit` or by what can be there.
pub(super) async fn find_all(
    base: &Base,
    collection: &str,
    filter: Document,
    options: FindOptions,
) -> Result<Vec<Document>> {
    let collection = base.collection(collection);
    let op = || async {
        let found = collection.find(filter.clone()).with_options(options.clone()).await?;
        found.try_collect().await
    };
    base.again(op).await
}

/// The documents of these `_id`s, in any order; of an `_id` that is not there, none.
pub(super) async fn find_each(
    base: &Base,
    collection: &str,
    ids: Vec<String>,
    fields: Option<Document>,
) -> Result<Vec<Document>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let options = FindOptions::builder().batch_size(ids.len() as u32).projection(fields).build();
    find_all(base, collection, doc! { "_id": { "$in": ids } }, options).await
}
