//! `natter export`, `natter import`, `natter verify` and `natter reindex`. A running server exports and verifies its own data; an import
//! has the store for itself.

use std::{
    env, fs,
    io::{self, BufRead},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::Args;
use natter::{
    config::{Config, Log},
    control::{Command, Reply},
    logging,
    transfer::{
        import::{self, Imported},
        original::{self, report::Report, times},
        progress::Progress,
    },
};

use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

use super::{admin, data, progress};

pub fn export(config: &Config, file: &Path) -> Result<(), String> {
    let file = std::path::absolute(file).map_err(|error| format!("{}: not a usable path ({error})", file.display()))?;
    data::must_exist(&config.store)?;
    println!("{}", admin::reply(config, Command::Export { file })?);
    Ok(())
}

/// Problems are an error, after they have been told.
pub fn verify(config: &Config) -> Result<(), String> {
    data::must_exist(&config.store)?;
    let reply = admin::reply(config, Command::Verify)?;
    println!("{reply}");
    match reply {
        Reply::Looked { found, .. } if found > 0 => {
            Err(format!("{found} problems; restore a backup or an export from before the damage"))
        }
        _ => Ok(()),
    }
}

pub fn reindex(config: &Config) -> Result<(), String> {
    data::must_exist(&config.store)?;
    println!("{}", admin::reply(config, Command::Reindex)?);
    Ok(())
}

/// What is to be known about a database of the original server.
#[derive(Args)]
#[command(
    after_help = "Give - for the URL to have it read from standard input, one line: a password in an argument can be \
                        seen by everybody on the machine (ps)"
)]
pub struct Original {
    /// Times in the original's database that say no offset are of this one, such as +02:00 [default: UTC]
    #[arg(long, value_name = "OFFSET", allow_hyphen_values = true)]
    timezone: Option<String>,
    /// Write what was not as it should be in the original's database to FILE, a line each [default: standard output]
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// `source` is a file, a URL, or `-` for either on standard input.
pub fn import(config: &Config, source: &str, original: &Original) -> Result<(), String> {
    logging::start(&Log { level: "warn".into(), ..config.log.clone() })?;
    let source = &if source == "-" { line_of_stdin()? } else { source.to_owned() };
    // Declared before the runtime and so dropped after it, when no thread of it can write to the file any more.
    let between = Unnamed(env::temp_dir().join(format!("natter-adopts-{}.zst", Uuid::now_v7().simple())));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the system gives no threads ({error})"))?;
    let progress = Arc::new(Progress::default());
    let is_database = source.starts_with("mongodb://") || source.starts_with("mongodb+srv://");
    if !is_database && (original.timezone.is_some() || original.report.is_some()) {
        return Err(
            "--timezone and --report are for a database of the original server: natter import mongodb://…".into()
        );
    }
    runtime.block_on(async {
        let work = async {
            match is_database {
                true => adopt(config, source, original, &between.0, &progress).await,
                false => fill(config, Path::new(source), &progress).await,
            }
        };
        // Ctrl-C ends that, and whatever else asks for an end must tidy up as well.
        let done = tokio::select! {
            done = progress::while_shown(&progress, work) => done?,
            told = told_to_end() => return Err(told?),
        };
        tell(&done);
        Ok(())
    })
}

/// Waits for TERM or HUP; gives what to say then.
async fn told_to_end() -> Result<String, String> {
    let listen = |kind| signal(kind).map_err(|error| format!("the system gives no signals ({error})"));
    let (mut term, mut hup) = (listen(SignalKind::terminate())?, listen(SignalKind::hangup())?);
    tokio::select! {
        _ = term.recv() => {}
        _ = hup.recv() => {}
    }
    Ok("interrupted".into())
}

/// Where a URL with a password can be given without showing it to everybody.
fn line_of_stdin() -> Result<String, String> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(|error| format!("no URL on standard input ({error})"))?;
    match line.trim() {
        "" => Err("no URL on standard input; write it there, one line: mongodb://HOST/DATABASE".into()),
        line => Ok(line.to_owned()),
    }
}

async fn fill(config: &Config, file: &Path, progress: &Arc<Progress>) -> Result<Imported, String> {
    // First of all, so that nothing is made for a file that cannot be imported.
    let source = import::check(file, progress).await?;
    let store = data::open_store(config, Arc::default()).await?.store;
    let within = Duration::from_secs(config.cluster.node_secs);
    let done = import::import(store.clone(), source, within, progress.clone()).await;
    store.close().await;
    done
}

/// Turns the database into an export of its own first, `between`, which only this import sees.
async fn adopt(
    config: &Config,
    url: &str,
    original: &Original,
    between: &Path,
    progress: &Arc<Progress>,
) -> Result<Imported, String> {
    let zone = original.timezone.as_deref().unwrap_or("UTC");
    let timezone = times::parse_offset(zone)
        .ok_or_else(|| format!("--timezone takes an offset from UTC, such as +02:00, and {zone:?} is none"))?;
    let mut report = match &original.report {
        Some(file) => Report::to_file(file)?,
        None => Report::to(io::stdout()),
    };
    let options = original::Options {
        url: url.to_owned(),
        timezone,
        message_chars: config.limits.message_chars,
        room_name_chars: config.limits.room_name_chars,
    };
    original::convert(&options, between, &mut report, progress).await?;
    let done = fill(config, between, progress).await?;
    for line in report.finish(zone)? {
        println!("{line}");
    }
    Ok(done)
}

/// A file that is gone when it is no longer needed, if it ever was there.
struct Unnamed(PathBuf);

impl Drop for Unnamed {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            eprintln!("natter: {} cannot be removed: {error}", self.0.display());
        }
    }
}

fn tell(done: &Imported) {
    let Imported { counts, digest, from, again } = done;
    let whole = if *again { ", with what an earlier attempt had brought" } else { "" };
    println!("imported {counts} from {from}{whole}");
    println!("content sha256:{digest}");
    println!("read back and compared: all of it is there. People sign in again, and clients load their histories once");
}
