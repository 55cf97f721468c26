//! The command line: what can be asked for, and how an answer ends: exit code 0, 1 with sentences on standard error, or
//! 2 when the command itself cannot be understood.

mod admin;
mod checked;
mod data;
mod demo;
mod doctor;
mod health;
mod keep;
mod papers;
mod progress;
mod secret;
mod serve;
mod transfer;

use std::{env, path::PathBuf, process::ExitCode};

use clap::{Args, CommandFactory, Parser, Subcommand, error::ErrorKind};
use natter::{
    config::{
        LogFormat, fit,
        load::{self, Inputs, Loaded},
        mask, show,
        sources::Flag,
    },
    limits::files,
    logging,
};

/// A real-time chat server in one binary.
#[derive(Parser)]
#[command(version, about, after_help = "Settings: config.toml documents every one of them.")]
struct Cli {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Args)]
struct Settings {
    /// Read settings from FILE [default: ./config.toml where it exists]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Listen on ADDR, such as 0.0.0.0:8000 (server.bind)
    #[arg(long, global = true, value_name = "ADDR")]
    bind: Option<String>,
    /// Keep data at URL, such as sqlite:data/natter.db (store.url)
    #[arg(long, global = true, value_name = "URL")]
    store: Option<String>,
    /// Set any setting: --set limits.message_chars=2000 (repeatable)
    #[arg(long, global = true, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server (also without any command)
    Serve,
    /// Run a server with people who talk, to look at; its data is in a temporary folder, which goes with it
    Demo,
    /// Print the settings in force, secrets masked, and where each comes from; refuse what `serve` would refuse
    CheckConfig {
        /// Print nothing but warnings and what is wrong
        #[arg(long)]
        quiet: bool,
    },
    /// Make and unmake admins, disable accounts, set passwords; the server may be running
    Admin {
        #[command(subcommand)]
        command: admin::AdminCommand,
    },
    /// Make, list and delete accounts; the server may be running
    User {
        #[command(subcommand)]
        command: admin::UserCommand,
    },
    /// Copy everything into FILE, which must not exist; the server may be running
    Backup {
        /// Where to, readable by its owner alone; - is standard output
        file: PathBuf,
        /// FILE is a folder: name the backup after the time, and keep the last N there
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
        keep: Option<u16>,
    },
    /// Bring back what a backup holds; the server must be stopped
    Restore {
        /// What `natter backup` made
        file: PathBuf,
        /// Replace data that is there
        #[arg(long)]
        force: bool,
    },
    /// Write everything but logins into FILE, which must not exist; the server may be running
    Export {
        /// Where to, readable by its owner alone
        file: PathBuf,
    },
    /// Fill an empty store from an export, or from a database of the original server
    Import {
        /// What `natter export` made, or mongodb://HOST/DATABASE, or - to read that from standard input
        #[arg(value_name = "FILE|URL")]
        source: String,
        #[command(flatten)]
        original: transfer::Original,
    },
    /// Look at everything in the store, and say what is wrong; the server may be running
    Verify,
    /// Make the index of searches anew; the server may be running, and finds less until it is done
    Reindex,
    /// Look at settings, data, disk, clock and limits, and say what to do; the server may be running
    Doctor,
    /// Print what completes natter's commands in a shell
    Completions { shell: clap_complete::Shell },
    /// Write the pages of the manual into FOLDER
    Man { folder: PathBuf },
    /// Ask a server whether it serves; exit code 0 says yes
    Health {
        /// The server's address [default: where the settings say that it listens]
        #[arg(long, value_name = "URL")]
        url: Option<String>,
    },
}

pub fn run() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| refuse(&error));
    let command = cli.command.unwrap_or(Command::Serve);
    if let Some(done) = papers::written(&command) {
        return done;
    }
    let inputs = inputs(cli.settings);
    // Who reads the log of a server as JSON reads why it did not start so, too.
    let format = if matches!(command, Command::Serve) { load::log_format(&inputs) } else { LogFormat::Text };
    let done = load::load(&inputs).map_err(|problems| problems.0).and_then(|loaded| {
        let one = |sentence: String| vec![sentence];
        match command {
            Command::Serve => serve::serve(loaded),
            Command::Demo => demo::demo(loaded).map_err(one),
            Command::CheckConfig { quiet } => check_config(loaded, quiet),
            Command::User { command } => admin::user(&loaded.config, command).map_err(one),
            Command::Admin { command } => admin::run(&loaded.config, command).map_err(one),
            Command::Backup { file, keep: Some(keep) } => keep::backup(&loaded.config, &file, keep.into()).map_err(one),
            Command::Backup { file, keep: None } => admin::backup(&loaded.config, &file).map_err(one),
            Command::Doctor => doctor::run(&loaded).map_err(one),
            Command::Completions { .. } | Command::Man { .. } => Ok(()),
            Command::Restore { file, force } => data::restore(&loaded.config, &file, force).map_err(one),
            Command::Export { file } => transfer::export(&loaded.config, &file).map_err(one),
            Command::Import { source, original } => transfer::import(&loaded.config, &source, &original).map_err(one),
            Command::Verify => transfer::verify(&loaded.config).map_err(one),
            Command::Reindex => transfer::reindex(&loaded.config).map_err(one),
            Command::Health { url } => health::run(&loaded.config, url).map_err(one),
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentences) => {
            logging::tell(&sentences, format);
            ExitCode::FAILURE
        }
    }
}

/// What cannot be understood is repeated, but for what may be secret in a URL.
fn refuse(error: &clap::Error) -> ! {
    let text = error.render().to_string();
    if text.contains("://") && error.use_stderr() {
        eprint!("{}", mask::text(&text));
        std::process::exit(error.exit_code());
    }
    error.exit()
}

/// What `serve` begins with, and the settings where all is well.
fn check_config(loaded: Loaded, quiet: bool) -> Result<(), Vec<String>> {
    files::raise_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| vec![format!("the system gives no threads ({error})")])?;
    runtime.block_on(checked::settings(&loaded.config))?;
    let weak = secret::check(&loaded.config.auth).map_err(|sentence| vec![sentence])?;
    let warnings = loaded.warnings.iter().chain(&weak);
    if quiet {
        warnings.for_each(|warning| eprintln!("natter: warning: {warning}"));
        return Ok(());
    }
    let mut text: String = warnings.map(|warning| format!("# warning: {warning}\n")).collect();
    if let Some(note) = fit::fit(&mut loaded.config.clone(), files::room(), &|key| loaded.origins.contains_key(key)) {
        text += &format!("# at the start here, {note}\n");
    }
    print!("{text}{}", show::toml(&loaded));
    Ok(())
}

fn inputs(settings: Settings) -> Inputs {
    let named = |name: &str, key: &str, value: Option<String>| {
        value.map(|value| Flag { name: name.into(), key: key.into(), value })
    };
    let set = settings.set.into_iter().map(assignment);
    let flags = set
        .chain(named("--bind", "server.bind", settings.bind))
        .chain(named("--store", "store.url", settings.store))
        .collect();
    Inputs { file: settings.config, folder: PathBuf::new(), environment: env::vars_os().collect(), flags }
}

/// Not clap's own parser of values: that repeats what it refuses, which may hold a secret.
fn assignment(text: String) -> Flag {
    match text.split_once('=') {
        Some((key, value)) => Flag { name: "--set".into(), key: key.trim().into(), value: value.into() },
        None => {
            Cli::command().error(ErrorKind::ValueValidation, "--set takes SECTION.KEY=VALUE, and here is no `=`").exit()
        }
    }
}
