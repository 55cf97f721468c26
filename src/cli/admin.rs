//! `natter admin …`, `natter user …` and `natter backup`: through the running server where there is one, on the store itself
//! where not.

use std::{
    fs::File,
    io::{self, BufRead, IsTerminal, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Subcommand;
use natter::{
    audit::Audit,
    auth::password::Passwords,
    bus::local::LocalBus,
    chat::Chat,
    config::{Config, Log},
    control::{Command, Operator, Reply, operate, socket},
    logging,
    metrics::Metrics,
    store::Store,
    transfer::progress::Progress,
};

use super::{
    data::{self, Closed},
    progress::{self, Shown},
};

#[derive(Subcommand)]
pub enum AdminCommand {
    /// Make a new account that is an admin; the password is asked for
    Create {
        #[arg(long, value_name = "NAME")]
        username: String,
        /// Read the password from standard input, one line
        #[arg(long)]
        password_stdin: bool,
        /// Make a database where there is none
        #[arg(long)]
        new: bool,
    },
    /// Make a new account that is no admin, also where sign-up is closed; the password is asked for
    CreateUser {
        #[arg(long, value_name = "NAME")]
        username: String,
        /// Read the password from standard input, one line
        #[arg(long)]
        password_stdin: bool,
    },
    /// List the admins
    List,
    /// Make an account an admin
    Grant { username: String },
    /// Make an admin an ordinary account
    Revoke { username: String },
    /// End an account's logins, and let it sign in no more
    Disable { username: String },
    /// Let a disabled account sign in again
    Enable { username: String },
    /// End an account for good: it leaves its groups, and what it said is told as by `deleted user`
    Delete {
        username: String,
        /// Erase what it said
        #[arg(long)]
        erase_messages: bool,
        /// Let somebody else have its name
        #[arg(long)]
        free_name: bool,
    },
    /// Give an account a new password, which is asked for, and end its logins
    ResetPassword {
        username: String,
        /// Read the password from standard input, one line
        #[arg(long)]
        password_stdin: bool,
    },
}

pub fn run(config: &Config, command: AdminCommand) -> Result<(), String> {
    let command = match command {
        AdminCommand::Create { username, password_stdin, new } => {
            if !new {
                data::must_exist(&config.store)?;
            }
            let password = password(&username, password_stdin)?;
            return perform(config, Command::CreateAdmin { username, password });
        }
        AdminCommand::CreateUser { username, password_stdin } => {
            let password = password(&username, password_stdin)?;
            Command::CreateUser { username, password }
        }
        AdminCommand::List => Command::ListAdmins,
        AdminCommand::Grant { username } => Command::Grant { username },
        AdminCommand::Revoke { username } => Command::Revoke { username },
        AdminCommand::Disable { username } => Command::Disable { username },
        AdminCommand::Enable { username } => Command::Enable { username },
        AdminCommand::Delete { username, erase_messages, free_name } => {
            Command::Delete { username, erase_messages, free_name }
        }
        AdminCommand::ResetPassword { username, password_stdin } => {
            let password = password(&username, password_stdin)?;
            Command::ResetPassword { username, password }
        }
    };
    on_what_is(config, command)
}

#[derive(Subcommand)]
pub enum UserCommand {
    /// Make a new account, also where sign-up is closed; the password is asked for
    Create {
        #[arg(value_name = "NAME")]
        username: String,
        /// Read the password from standard input, one line
        #[arg(long)]
        password_stdin: bool,
    },
    /// End an account for good: it leaves its groups, and what it said is told as by `deleted user`
    Delete {
        #[arg(value_name = "NAME")]
        username: String,
        /// Erase what it said
        #[arg(long)]
        erase_messages: bool,
        /// Let somebody else have its name
        #[arg(long)]
        free_name: bool,
    },
    /// List accounts by name, a page at a time
    List {
        /// Only those whose names begin so
        #[arg(long, default_value = "", hide_default_value = true)]
        prefix: String,
        /// Go on behind this name
        #[arg(long, value_name = "NAME")]
        after: Option<String>,
        /// How many at most
        #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..=10_000))]
        limit: u16,
    },
}

pub fn user(config: &Config, command: UserCommand) -> Result<(), String> {
    let command = match command {
        UserCommand::Create { username, password_stdin } => {
            data::must_exist(&config.store)?;
            let password = password(&username, password_stdin)?;
            Command::CreateUser { username, password }
        }
        UserCommand::Delete { username, erase_messages, free_name } => {
            Command::Delete { username, erase_messages, free_name }
        }
        UserCommand::List { prefix, after, limit } => Command::ListUsers { prefix, after, limit: limit.into() },
    };
    on_what_is(config, command)
}

pub fn backup(config: &Config, file: &Path) -> Result<(), String> {
    if file == Path::new("-") {
        return backup_to_stdout(config);
    }
    let file = std::path::absolute(file).map_err(|error| format!("{}: not a usable path ({error})", file.display()))?;
    on_what_is(config, Command::Backup { file })
}

/// A copy is made beside the data first, where its room and its rights are known, so that a slow reader holds nothing up; it goes when
/// it has been read.
fn backup_to_stdout(config: &Config) -> Result<(), String> {
    if io::stdout().is_terminal() {
        return Err("a backup is no text; send it somewhere: natter backup - > FILE".into());
    }
    data::must_exist(&config.store)?;
    let beside = match data::is_mongo(&config.store) {
        true => PathBuf::from("-"),
        false => data::database(&config.store)?,
    };
    let copy = Temporary(beside.with_extension(format!("backup-{}", uuid::Uuid::now_v7())));
    reply(config, Command::Backup { file: copy.0.clone() })?;
    let sent = File::open(&copy.0).and_then(|mut file| {
        let mut out = io::stdout().lock();
        io::copy(&mut file, &mut out)?;
        out.flush()
    });
    sent.map_err(|error| format!("the backup could not be written to standard output ({error})"))
}

/// A file that goes with its value.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            eprintln!("natter: {} is left over ({error}); remove it", self.0.display());
        }
    }
}

/// For commands that are about data that is there: none is made.
fn on_what_is(config: &Config, command: Command) -> Result<(), String> {
    data::must_exist(&config.store)?;
    perform(config, command)
}

/// Who makes an account is told in which data, so that nobody takes another database for the server's.
fn perform(config: &Config, command: Command) -> Result<(), String> {
    let data = match &command {
        Command::CreateAdmin { .. } | Command::CreateUser { .. } => format!(", in {}", data::shown(&config.store)),
        _ => String::new(),
    };
    println!("{}{data}", reply(config, command)?);
    Ok(())
}

/// The reply of whoever owns the store; progress is shown on standard error.
pub fn reply(config: &Config, command: Command) -> Result<Reply, String> {
    logging::start(&Log { level: "warn".into(), ..config.log.clone() })?;
    let metrics = Arc::new(Metrics::default());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| format!("the system gives no threads ({error})"))?;
    match runtime.block_on(data::open_whole_store(config, metrics.clone())) {
        Ok(opened) => runtime.block_on(alone(config, metrics, opened.store, command)),
        Err(Closed::Owned { folder, by }) => {
            let mut shown = Shown::default();
            let asked = socket::ask(&folder, &command, |now| shown.show(now));
            asked.map_err(|error| match error {
                socket::AskError::Refused(sentence) => sentence,
                silent @ socket::AskError::Silent => format!("{by}: {silent}"),
                unreachable => format!("{by}, and {unreachable}; stop it and try again"),
            })
        }
        Err(Closed::Away(sentence) | Closed::Because(sentence)) => Err(sentence),
    }
}

/// Does it without a server: the same parts, put together for one command. Servers that share the store see what changed
/// when they next ask it.
async fn alone(
    config: &Config,
    metrics: Arc<Metrics>,
    store: Arc<dyn Store>,
    command: Command,
) -> Result<Reply, String> {
    let config = Arc::new(config.clone());
    let bus = Arc::new(LocalBus::default());
    let passwords = Arc::new(Passwords::new(&config.auth, metrics.clone()));
    let audit = Audit::start(&config, metrics.clone(), store.clone())?;
    let chat = Chat::start(config, metrics, store.clone(), bus);
    let operator = Operator { chat, store, passwords, audit };
    let progress = Progress::default();
    let done = progress::while_shown(&progress, operate(&operator, command, &progress)).await;
    operator.chat.settle().await;
    operator.chat.part().await;
    operator.audit.flush().await;
    operator.store.close().await;
    done
}

fn password(username: &str, from_stdin: bool) -> Result<String, String> {
    if from_stdin {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).map_err(|error| format!("no password on standard input ({error})"))?;
        return Ok(line.trim_end_matches(['\n', '\r']).to_owned());
    }
    let ask = |prompt: String| {
        rpassword::prompt_password(prompt)
            .map_err(|error| format!("there is no terminal to ask for the password ({error}); use --password-stdin"))
    };
    let password = ask(format!("Password for {username}: "))?;
    if ask("Once more: ".into())? == password { Ok(password) } else { Err("the two passwords differ".into()) }
}
