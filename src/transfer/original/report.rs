//! What was not as it should be, and what became of it: a line for each, and a count of each kind.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use uuid::Uuid;

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
    OddRoles,
    OddDisabled,
    UnknownUser,
    DuplicateChat,
    DuplicateChatId,
    SamePerson,
    OnePerson,
    ManyPeople,
    NoPeople,
    NothingInIt,
    UnknownChat,
    NoChatId,
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
            Kind::OddRoles => "odd roles",
            Kind::OddDisabled => "odd disabled",
            Kind::UnknownUser => "unknown user",
            Kind::DuplicateChat => "duplicate chat",
            Kind::DuplicateChatId => "duplicate chat_id",
            Kind::SamePerson => "same person twice",
            Kind::OnePerson => "chat of one",
            Kind::ManyPeople => "chat of many",
            Kind::NoPeople => "chat of nobody",
            Kind::NothingInIt => "empty chat of nobody",
            Kind::UnknownChat => "unknown chat",
            Kind::NoChatId => "no chat_id",
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

/// Where the lines go: a file that has its name once it is complete, or the given stream. Dropping it unfinished removes
/// what there is of the file.
pub struct Report {
    out: Box<dyn Write + Send>,
    file: Option<Part>,
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

    /// `path` must not exist.
    pub fn to_file(path: &Path) -> Result<Self, String> {
        if path.symlink_metadata().is_ok() {
            return Err(exists(path));
        }
        let mut part = path.as_os_str().to_owned();
        part.push(format!(".{}.part", Uuid::now_v7().simple()));
        let part = PathBuf::from(part);
        // The report names people: it is for its owner alone.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part);
        let file = file.map_err(|error| cannot(&part, &error))?;
        let part = Part { part, path: path.to_owned(), in_place: false };
        Ok(Self { file: Some(part), ..Self::to(BufWriter::new(file)) })
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
        if let Some(file) = self.file.take() {
            file.install()?;
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
            Some(file) => cannot(&file.part, error),
            None => format!("the report cannot be written: {error}"),
        }
    }
}

/// A file on its way, and the name that it gets.
struct Part {
    part: PathBuf,
    path: PathBuf,
    in_place: bool,
}

impl Part {
    /// Gives the file its name, which nobody else may have taken meanwhile.
    fn install(mut self) -> Result<(), String> {
        match fs::hard_link(&self.part, &self.path) {
            // Dropping this removes the other name.
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(exists(&self.path)),
            // A file system without links.
            Err(_) if self.path.symlink_metadata().is_ok() => return Err(exists(&self.path)),
            Err(_) => fs::rename(&self.part, &self.path).map_err(|error| cannot(&self.path, &error))?,
        }
        self.in_place = true;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.in_place
            && let Err(error) = fs::remove_file(&self.part)
        {
            tracing::warn!(%error, file = %self.part.display(), "an unfinished report could not be removed");
        }
    }
}

fn exists(path: &Path) -> String {
    format!("{} exists already; name a new file for the report", path.display())
}

fn cannot(path: &Path, error: &io::Error) -> String {
    format!("{} cannot be written: {error}", path.display())
}
