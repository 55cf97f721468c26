//! What was not as it should be, and what became of it: a line for each, and a count of each kind.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// What can be wrong in the original's records. `docs/adoption.md` has the rule for each under the same words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    DuplicateName,
    RefusedName,
    DuplicateUserId,
    AmbiguousName,
    NoHash,
    ForeignHash,
    UnknownRole,
    UnknownUser,
    DuplicateChat,
    DuplicateChatId,
    SamePerson,
    OnePerson,
    ManyPeople,
    NoPeople,
    NothingInIt,
    UnknownChat,
    NotAMember,
    DuplicateMessageId,
    Empty,
    TooLong,
    Nul,
    NoText,
    NoTime,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::DuplicateName => "duplicate name",
            Kind::RefusedName => "refused name",
            Kind::DuplicateUserId => "duplicate user_id",
            Kind::AmbiguousName => "ambiguous name",
            Kind::NoHash => "no password hash",
            Kind::ForeignHash => "foreign password hash",
            Kind::UnknownRole => "unknown role",
            Kind::UnknownUser => "unknown user",
            Kind::DuplicateChat => "duplicate chat",
            Kind::DuplicateChatId => "duplicate chat_id",
            Kind::SamePerson => "same person twice",
            Kind::OnePerson => "chat of one",
            Kind::ManyPeople => "chat of many",
            Kind::NoPeople => "chat of nobody",
            Kind::NothingInIt => "empty chat of nobody",
            Kind::UnknownChat => "unknown chat",
            Kind::NotAMember => "sender outside",
            Kind::DuplicateMessageId => "duplicate message_id",
            Kind::Empty => "empty message",
            Kind::TooLong => "long message",
            Kind::Nul => "NUL in a message",
            Kind::NoText => "message that is no text",
            Kind::NoTime => "unreadable time",
        }
    }
}

/// Where the lines go: a file that has its name once it is complete, or the given stream.
pub struct Report {
    out: Box<dyn Write + Send>,
    file: Option<(PathBuf, PathBuf)>,
    counts: BTreeMap<Kind, u64>,
    /// Ids that were no UUIDs, and have been replaced by some.
    pub(super) replaced_ids: u64,
    /// Times that said no offset.
    pub(super) naive_times: u64,
}

impl Report {
    pub fn to(out: impl Write + Send + 'static) -> Self {
        Self { out: Box::new(out), file: None, counts: BTreeMap::new(), replaced_ids: 0, naive_times: 0 }
    }

    /// `path` must not exist. What an attempt that was cut off has left under another name is replaced.
    pub fn to_file(path: &Path) -> Result<Self, String> {
        if path.symlink_metadata().is_ok() {
            return Err(format!("{} exists already; name a new file for the report", path.display()));
        }
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let file: io::Result<File> = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part);
        let file = file.map_err(|error| cannot(&part, &error))?;
        Ok(Self { file: Some((part, path.to_owned())), ..Self::to(BufWriter::new(file)) })
    }

    pub(super) fn tell(&mut self, kind: Kind, place: &str, what: &str) -> Result<(), String> {
        *self.counts.entry(kind).or_default() += 1;
        // What people wrote must not break the lines apart.
        let line: String = format!("{}: {place}: {what}", kind.name())
            .chars()
            .map(|c| if c.is_control() { '\u{fffd}' } else { c })
            .collect();
        writeln!(self.out, "{line}").map_err(|error| self.trouble(&error))
    }

    /// Puts the file in its place. Returns the summary, a line each.
    pub fn finish(mut self, timezone: &str) -> Result<Vec<String>, String> {
        self.out.flush().map_err(|error| self.trouble(&error))?;
        if let Some((part, path)) = &self.file {
            fs::rename(part, path).map_err(|error| cannot(path, &error))?;
        }
        let mut summary: Vec<String> =
            self.counts.iter().map(|(kind, count)| format!("{}: {count}", kind.name())).collect();
        if self.replaced_ids > 0 {
            summary.push(format!("{} ids were no UUIDs and have new ones", self.replaced_ids));
        }
        if self.naive_times > 0 {
            let count = self.naive_times;
            summary.push(format!("{count} times said no offset and were read as {timezone} (--timezone)"));
        }
        Ok(summary)
    }

    fn trouble(&self, error: &io::Error) -> String {
        match &self.file {
            Some((part, _)) => cannot(part, error),
            None => format!("the report cannot be written: {error}"),
        }
    }
}

fn cannot(path: &Path, error: &io::Error) -> String {
    format!("{} cannot be written: {error}", path.display())
}
