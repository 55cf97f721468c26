//! Who signed in or failed to, and what admins and operators did: written down so that it can be read later, by people and by
//! programs such as fail2ban.
//!
//! Whoever does something calls [`Audit::note`], which never waits: a task of its own writes to the file or to standard error
//! (`sink.rs`) and to the store. What one address repeats is counted together (`gather.rs`), so that nobody fills a disk with
//! their failures. No entry holds a password, a token or what people wrote.

mod gather;
mod sink;

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use self::{gather::Gathering, sink::Sink};
use crate::{
    config::Config,
    metrics::Metrics,
    store::{AuditRecord, Store},
    types::Timestamp,
};

/// The bound on what waits to be written; the next entry is lost, and counted.
const QUEUE_SETTING: &str = "audit.queue";

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    SignIn,
    SignInFailed,
    /// Too many had failed before.
    SignInRefused,
    SignUp,
    SignOut,
    LoginEnded,
    OtherLoginsEnded,
    AllLoginsEnded,
    PasswordChanged,
    /// Somebody who is signed in did not know their password.
    PasswordWrong,
    PasswordReset,
    AccountCreated,
    RoleAdded,
    RoleRemoved,
    Disabled,
    Enabled,
    Deleted,
    Backup,
    Export,
}

impl What {
    pub fn name(self) -> &'static str {
        match self {
            What::SignIn => "sign_in",
            What::SignInFailed => "sign_in_failed",
            What::SignInRefused => "sign_in_refused",
            What::SignUp => "sign_up",
            What::SignOut => "sign_out",
            What::LoginEnded => "login_ended",
            What::OtherLoginsEnded => "other_logins_ended",
            What::AllLoginsEnded => "all_logins_ended",
            What::PasswordChanged => "password_changed",
            What::PasswordWrong => "password_wrong",
            What::PasswordReset => "password_reset",
            What::AccountCreated => "account_created",
            What::RoleAdded => "role_added",
            What::RoleRemoved => "role_removed",
            What::Disabled => "disabled",
            What::Enabled => "enabled",
            What::Deleted => "deleted",
            What::Backup => "backup",
            What::Export => "export",
        }
    }

    /// What anybody can do as often as they like is counted together; what admins and operators do never is.
    fn is_gathered(self) -> bool {
        match self {
            What::SignIn
            | What::SignInFailed
            | What::SignInRefused
            | What::SignUp
            | What::SignOut
            | What::LoginEnded
            | What::OtherLoginsEnded
            | What::PasswordChanged
            | What::PasswordWrong => true,
            What::AllLoginsEnded
            | What::PasswordReset
            | What::AccountCreated
            | What::RoleAdded
            | What::RoleRemoved
            | What::Disabled
            | What::Enabled
            | What::Deleted
            | What::Backup
            | What::Export => false,
        }
    }
}

/// Who did it and from where, as far as it is known.
#[derive(Debug, Clone, Default)]
pub struct By {
    pub who: Option<String>,
    /// An address; `local` for an operator at the command line.
    pub address: Option<String>,
    pub request_id: Option<String>,
}

impl By {
    pub fn operator() -> Self {
        Self { address: Some("local".into()), ..Self::default() }
    }
}

enum Note {
    Happened(What, AuditRecord),
    Flush(oneshot::Sender<()>),
}

/// Whether `log.audit` can be written to, as far as that is seen without doing so. The error is a sentence.
pub fn check(to: &str) -> Result<(), String> {
    sink::check(to)
}

/// Where it is told what happened. Cheap to share; what is told is written by a task that ends with it.
pub struct Audit {
    notes: mpsc::Sender<Note>,
    metrics: Arc<Metrics>,
}

impl Audit {
    /// Fails with a sentence where the file of `log.audit` cannot be opened.
    pub fn start(config: &Config, metrics: Arc<Metrics>, store: Arc<dyn Store>) -> Result<Arc<Self>, String> {
        let (notes, told) = mpsc::channel(config.audit.queue);
        let writer = Writer {
            sink: Sink::open(&config.log.audit, config.audit.file_bytes)?,
            gathering: Gathering::new(&config.audit),
            unstored: Vec::new(),
            keep: config.audit.clone(),
            store,
            metrics: metrics.clone(),
        };
        tokio::spawn(writer.run(told));
        Ok(Arc::new(Self { notes, metrics }))
    }

    pub fn note(&self, what: What, by: By, whom: Option<&str>, detail: Option<&str>) {
        let record = AuditRecord {
            id: Uuid::now_v7(),
            at: Timestamp::now(),
            who: by.who,
            address: by.address,
            what: what.name().to_owned(),
            whom: whom.map(str::to_owned),
            detail: detail.map(str::to_owned),
            request_id: by.request_id,
            count: 1,
        };
        if self.notes.try_send(Note::Happened(what, record)).is_err() {
            self.metrics.bound_hit(QUEUE_SETTING);
        }
    }

    /// Returns when what was told before is written, or cannot be.
    pub async fn flush(&self) {
        let (done, is_done) = oneshot::channel();
        if self.notes.send(Note::Flush(done)).await.is_ok() && is_done.await.is_err() {
            tracing::debug!("what happened last may not be in the audit");
        }
    }
}

/// Entries taken from the queue at once.
const BATCH: usize = 256;
const SWEEP_EVERY: Duration = Duration::from_secs(300);
/// Old entries let go of in one write.
const SWEPT_AT_ONCE: usize = 1_000;

struct Writer {
    sink: Sink,
    gathering: Gathering,
    /// In the file already, and not in the store: the oldest are let go of past `audit.queue`.
    unstored: Vec<AuditRecord>,
    keep: crate::config::Audit,
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
}

impl Writer {
    async fn run(mut self, mut told: mpsc::Receiver<Note>) {
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        let mut due = tokio::time::interval(Duration::from_secs(1));
        due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut notes = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                taken = told.recv_many(&mut notes, BATCH) => {
                    if taken == 0 {
                        self.end().await;
                        return;
                    }
                    self.take(&mut notes).await;
                }
                _ = due.tick() => {
                    let counted = self.gathering.due(std::time::Instant::now());
                    self.write(counted).await;
                }
                _ = sweep.tick() => self.sweep().await,
            }
        }
    }

    async fn take(&mut self, notes: &mut Vec<Note>) {
        let (mut entries, mut flushes) = (Vec::new(), Vec::new());
        for note in notes.drain(..) {
            match note {
                Note::Happened(what, record) if what.is_gathered() => {
                    entries.extend(self.gathering.take(what, record, std::time::Instant::now(), &self.metrics));
                }
                Note::Happened(_, record) => entries.push(record),
                Note::Flush(done) => flushes.push(done),
            }
        }
        if !flushes.is_empty() {
            entries.extend(self.gathering.all());
        }
        self.write(entries).await;
        for done in flushes {
            if done.send(()).is_err() {
                tracing::debug!("nobody waits for the audit any more");
            }
        }
    }

    async fn write(&mut self, entries: Vec<AuditRecord>) {
        if !entries.is_empty() {
            self.sink.write(&entries).await;
            if self.keep.days > 0 {
                self.unstored.extend(entries);
            }
        }
        if self.unstored.is_empty() {
            return;
        }
        let beyond = self.unstored.len().saturating_sub(self.keep.queue);
        if beyond > 0 {
            self.metrics.bound_hit(QUEUE_SETTING);
            self.unstored.drain(..beyond);
        }
        match self.store.append_audit(self.unstored.clone()).await {
            Ok(()) => self.unstored.clear(),
            Err(error) => tracing::debug!(%error, "the audit could not be stored; it will be tried again"),
        }
    }

    async fn sweep(&self) {
        let before = Timestamp(Timestamp::now().0.saturating_sub(self.keep.days as i64 * 86_400_000));
        loop {
            match self.store.purge_audit(before, self.keep.entries, SWEPT_AT_ONCE).await {
                Ok(SWEPT_AT_ONCE) => {}
                Ok(_) => return,
                Err(error) => {
                    tracing::debug!(%error, "old entries of the audit were not let go of; it will be tried again");
                    return;
                }
            }
        }
    }

    async fn end(&mut self) {
        let counted = self.gathering.all();
        self.write(counted).await;
    }
}
