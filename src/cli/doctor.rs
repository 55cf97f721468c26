//! `natter doctor`: one page about a server and its machine, with what to do about what is not as it should be.

use std::{fs, path::Path, time::SystemTime};

use natter::{
    config::{Config, fit, load::Loaded},
    control::{Command, Reply},
    limits::files,
    server,
};
use rustix::fs::statvfs;

use super::{admin, checked, data, health, secret};

/// A disk is nearly full below so much of it.
const LITTLE: u64 = 10;

/// What one look found.
enum Found {
    Well(String),
    /// It works, and somebody should know.
    Warned(String),
    Wrong(String),
}

use Found::{Warned, Well, Wrong};

/// Fails where anything is wrong.
pub fn run(loaded: &Loaded) -> Result<(), String> {
    let config = &loaded.config;
    files::raise_limit();
    let mut page: Vec<(&str, Found)> = Vec::new();
    page.extend(settings(loaded).into_iter().map(|found| ("settings", found)));
    page.push(("files", open_files(loaded)));
    if let Some(warning) = server::backlog_warning(config.server.backlog, wanted_sockets(loaded)) {
        page.push(("kernel", Warned(warning)));
    }
    page.push(("server", serving(config)));
    page.push(("data", look_at_data(config)));
    if !data::is_mongo(&config.store)
        && let Ok(database) = data::database(&config.store)
    {
        page.extend(disk(config, &database).map(|found| ("disk", found)));
        page.extend(clock(&database).map(|found| ("clock", found)));
    }
    let mut wrong = 0;
    for (about, found) in page {
        let (mark, sentence) = match found {
            Well(sentence) => ("ok   ", sentence),
            Warned(sentence) => ("look ", sentence),
            Wrong(sentence) => {
                wrong += 1;
                ("WRONG", sentence)
            }
        };
        println!("{mark}  {about:8}  {}", sentence.replace('\n', "\n                 "));
    }
    match wrong {
        0 => Ok(()),
        1 => Err("one thing is wrong; see above".into()),
        many => Err(format!("{many} things are wrong; see above")),
    }
}

fn settings(loaded: &Loaded) -> Vec<Found> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let checked = match runtime {
        Ok(runtime) => runtime.block_on(checked::settings(&loaded.config)),
        Err(error) => Err(vec![format!("the system gives no threads ({error})")]),
    };
    let mut found: Vec<Found> = loaded.warnings.iter().cloned().map(Warned).collect();
    match checked {
        Ok(()) => found.push(Well("a start would take them; natter check-config shows them all".into())),
        Err(problems) => found.extend(problems.into_iter().map(Wrong)),
    }
    if let Ok(Some(weak)) = secret::check(&loaded.config.auth) {
        found.push(Warned(weak));
    }
    let server = &loaded.config.server;
    if server.bind.ip().is_loopback() && server.trusted_proxies.is_empty() {
        found.push(Warned(format!(
            "`server.bind` is {}, which only this machine reaches, and `server.trusted_proxies` is empty: if a proxy is before it, list \
             the proxy there, or all its clients share one address's limits",
            server.bind
        )));
    }
    let memory = fit::fit(&mut loaded.config.clone(), files::room(), &|key| loaded.origins.contains_key(key));
    found.extend(memory.map(Well));
    found
}

fn wanted_sockets(loaded: &Loaded) -> usize {
    if loaded.origins.contains_key("sockets.connections") { loaded.config.sockets.connections } else { 0 }
}

fn open_files(loaded: &Loaded) -> Found {
    let limits = &loaded.config.limits;
    match files::note(wanted_sockets(loaded), limits.connections_per_address) {
        Some(note) => Warned(format!("{note} (as started here; a unit has a limit of its own)")),
        None => Well(format!("there are files for {} connections, as started here", files::room())),
    }
}

fn serving(config: &Config) -> Found {
    let url = health::own_url(config);
    match health::ask(&url) {
        Err(why) => Warned(format!("nobody serves at {url} ({why})")),
        Ok(200) => match health::ask(&url.replace("/healthz", "/readyz")) {
            Ok(200) => Well(format!("{url} serves, and is ready")),
            told => Wrong(format!("{url} serves, and is not ready ({told:?}): see its log, and natter_store_up")),
        },
        Ok(status) => Wrong(format!("{url} answered {status}: is that natter? Check `server.bind`")),
    }
}

fn look_at_data(config: &Config) -> Found {
    let looked = data::must_exist(&config.store).and_then(|()| admin::reply(config, Command::Verify));
    match looked {
        Ok(Reply::Looked { found: 0, summary, .. }) => Well(format!("{}: {summary}", data::shown(&config.store))),
        Ok(reply) => Wrong(format!("{}: {reply}\nRestore a backup (natter restore)", data::shown(&config.store))),
        Err(why) => Wrong(why),
    }
}

fn disk(config: &Config, database: &Path) -> Option<Found> {
    let folder = database.parent()?;
    let disk = statvfs(folder).ok()?;
    let (free, all) = (disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize);
    let size = fs::metadata(database).map_or(0, |file| file.len());
    let mib = |bytes: u64| bytes / 1024 / 1024;
    let told =
        format!("{} MiB of {} are free in {}, the database has {}", mib(free), mib(all), folder.display(), mib(size));
    let little = free < all / LITTLE || (config.store.reserve > 0 && free < 2 * config.store.reserve);
    Some(match little {
        true => Warned(format!("{told}: make room before it comes down to `store.reserve`, where posts are refused")),
        false => Well(told),
    })
}

/// Logins and the order of lists go by the clock: one that has gone back is told by what was written before.
fn clock(database: &Path) -> Option<Found> {
    let written = fs::metadata(database).and_then(|file| file.modified()).ok()?;
    Some(match SystemTime::now().duration_since(written) {
        Ok(_) => Well("it is later than what was last written".into()),
        Err(ahead) => Wrong(format!(
            "the database was written {} s from now: the clock has gone back. Have it kept by NTP (timedatectl set-ntp true)",
            ahead.duration().as_secs()
        )),
    })
}
