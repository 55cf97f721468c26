//! `natter export`: everything in a store, into one file.

use std::path::Path;

use uuid::Uuid;

use super::{Counts, progress::Progress, survey, write::FileWriter};
use crate::{store::Store, types::Timestamp};

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    pub counts: Counts,
    pub digest: String,
}

/// Writes everything but logins to `file`, which must not exist. The store may be serving. Nothing is left of the file
/// after an error, or where the caller stops waiting.
pub async fn export(store: &dyn Store, file: &Path, progress: &Progress) -> Result<Exported, String> {
    let from = format!("an export of {}", Timestamp::now());
    let writer = FileWriter::create(file, Uuid::now_v7(), &from)?;
    let (counts, digest) = survey::write(store, writer, progress).await?;
    Ok(Exported { counts, digest })
}
