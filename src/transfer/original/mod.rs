//! Adopting a database of the original server: reads it, and writes what it means as an export file, which is imported
//! like any other. That import is checked, resumable and compared at the end; here is only what the old records mean.
//!
//! - `source.rs` reads the database, and never writes to it; `values.rs` is what its loose values can mean, `times.rs` what
//!   its times do.
//! - `people.rs` makes users of its users, `chats.rs` rooms of its chats, `messages.rs` logs of its messages.
//! - `report.rs` tells every record that was not as it should be, and what became of it.
//!
//! The same database gives the same ids and the same file every time. `docs/adoption.md` has every rule, for users.

mod chats;
mod messages;
mod people;
pub mod report;
mod source;
pub mod times;
mod values;

use std::path::Path;

use time::UtcOffset;

use self::{chats::Chats, people::People, report::Report, source::Source};
use super::{format::Line, progress::Progress, write::FileWriter};
use crate::transfer::format::UserLine;

/// What the operator says about the database.
pub struct Options {
    /// `mongodb://host/database`, or `mongodb+srv://…`.
    pub url: String,
    /// Where the clocks stood that wrote times without an offset.
    pub timezone: UtcOffset,
    /// Longer messages are cut into several.
    pub message_chars: usize,
    pub room_name_chars: usize,
}

/// Writes everything in the database to `file`, an export, and each thing that needed a rule to `report`.
pub async fn convert(options: &Options, file: &Path, report: &mut Report, progress: &Progress) -> Result<(), String> {
    let source = Source::open(&options.url).await?;
    let mut people = People::read(&source, report, progress).await?;
    let mut chats = Chats::read(&source, &mut people, report, progress).await?;
    let logs = messages::read(&source, &mut people, &mut chats, options, report, progress).await?;
    people.name_the_unknown(report)?;

    let from = source.label();
    let mut writer = FileWriter::create(file, values::derived("database", from.as_bytes()), &from)?;
    let mut counts = messages::write(&mut writer, logs, &chats, &people, options, report, progress).await?;
    for user in people.users() {
        writer.line(&Line::User(UserLine::of(user))).await?;
        counts.users += 1;
    }
    writer.finish(counts).await?;
    Ok(())
}
