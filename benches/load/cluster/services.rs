//! What several natters share: a MongoDB and a NATS server, started here on free ports of 127.0.0.1 and ended with this
//! tool, each by its own process id.

use std::cell::RefCell;
use std::io::Read;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::Options;
use crate::server::{heard_address, scratch_folder};
use crate::{Outcome, Result, proc};

/// Killed when dropped, however a run ends.
struct Service {
    name: &'static str,
    child: Child,
    addr: SocketAddr,
    _folder: TempDir,
}

impl Service {
    /// `says`: what stands before its address, in the output that `listen` takes from it.
    fn start(
        name: &'static str,
        mut command: Command,
        folder: TempDir,
        says: &'static str,
        listen: fn(&mut Child) -> Option<Box<dyn Read + Send>>,
    ) -> Result<Self> {
        command.stdin(Stdio::null()).current_dir(folder.path());
        let mut child = command.spawn().map_err(|error| format!("cannot start {name}: {error}"))?;
        let heard = listen(&mut child).and_then(|output| heard_address(output, says));
        let Some(addr) = heard else {
            end(name, &mut child);
            return Err(format!("{name} did not start").into());
        };
        Ok(Self { name, child, addr, _folder: folder })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        end(self.name, &mut self.child);
    }
}

fn end(name: &str, child: &mut Child) {
    child.kill().and_then(|()| child.wait()).map_or_else(|error| eprintln!("{name}: {error}"), |_| ());
}

/// Where the nodes' data is.
pub enum Store {
    /// One natter's own.
    Sqlite,
    /// Started here.
    Ferret(Ferret),
    /// Somebody's; the databases made there are dropped at the end.
    Mongo { url: String, made: RefCell<Vec<String>> },
}

pub struct Ferret(Service);

impl Store {
    pub fn start(options: &Options) -> Result<Self> {
        if options.sqlite() {
            return Ok(Store::Sqlite);
        }
        if let Some(url) = &options.mongodb {
            return Ok(Store::Mongo { url: url.clone(), made: RefCell::default() });
        }
        let program = find(&options.ferretdb).ok_or_else(|| {
            format!(
                "there is no FerretDB at {}: run tests/run once, which builds it, or give --ferretdb PATH or --mongodb URL",
                options.ferretdb.display()
            )
        })?;
        let folder = scratch_folder()?;
        let mut command = Command::new(program);
        command.arg("127.0.0.1:0").arg(folder.path()).stdout(Stdio::piped());
        let output = |child: &mut Child| Some(Box::new(child.stdout.take()?) as Box<dyn Read + Send>);
        Ok(Store::Ferret(Ferret(Service::start("FerretDB", command, folder, "listening on mongodb://", output)?)))
    }

    pub fn name(&self) -> String {
        match self {
            Store::Sqlite => "SQLite".into(),
            Store::Ferret(_) => "FerretDB".into(),
            Store::Mongo { .. } => "the MongoDB given".into(),
        }
    }

    /// CPU time so far of a store that was started here; not a number elsewhere.
    pub fn cpu_secs(&self) -> Result<f64> {
        match self {
            Store::Ferret(Ferret(service)) => proc::cpu_secs(service.child.id()),
            Store::Sqlite | Store::Mongo { .. } => Ok(f64::NAN),
        }
    }

    /// The URL for nodes that use the database `name`; `None` for SQLite, where each node has its own.
    pub fn url(&self, name: &str) -> Option<String> {
        match self {
            Store::Sqlite => None,
            Store::Ferret(Ferret(service)) => Some(format!("mongodb://{}/", service.addr)),
            Store::Mongo { url, made } => {
                made.borrow_mut().push(name.to_owned());
                Some(url.clone())
            }
        }
    }

    /// Where a proxy in front of it is to connect to.
    pub fn addr(&self) -> Result<Option<SocketAddr>> {
        match self {
            Store::Sqlite => Ok(None),
            Store::Ferret(Ferret(service)) => Ok(Some(service.addr)),
            Store::Mongo { url, .. } => host_of(url).map(Some),
        }
    }

    /// Leaves nothing behind on somebody else's server.
    pub async fn stop(self) -> Outcome {
        if let Store::Mongo { url, made } = self {
            let client = mongodb::Client::with_uri_str(&url).await?;
            for name in made.into_inner() {
                client.database(&name).drop().await?;
            }
        }
        Ok(())
    }
}

/// The only server that the URL names.
fn host_of(url: &str) -> Result<SocketAddr> {
    let wrong = || format!("--mongodb {url}: to put a delay before it, give one host as mongodb://host:27017");
    let rest = url.strip_prefix("mongodb://").ok_or_else(wrong)?;
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = if host.contains(':') { host.to_owned() } else { format!("{host}:27017") };
    host.to_socket_addrs().ok().and_then(|mut found| found.next()).ok_or_else(|| wrong().into())
}

/// The URL with another host, and no other to be found through it.
pub fn through(url: &str, addr: SocketAddr) -> String {
    let rest = url.trim_start_matches("mongodb://");
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let user = authority.rsplit_once('@').map_or(String::new(), |(user, _)| format!("{user}@"));
    let (path, options) = path.split_once('?').unwrap_or((path, ""));
    let path = if path.is_empty() { "/" } else { path };
    let kept = options.split('&').filter(|option| !option.is_empty() && !option.starts_with("replicaSet="));
    let options: Vec<&str> = kept.chain(["directConnection=true"]).collect();
    format!("mongodb://{user}{addr}{path}?{}", options.join("&"))
}

pub struct Nats(Service);

impl Nats {
    pub fn start() -> Result<Self> {
        let program = find(Path::new("nats-server"))
            .ok_or("there is no nats-server: run tests/run once, which installs it, or apt-get install nats-server")?;
        let mut command = Command::new(program);
        command.args(["-a", "127.0.0.1", "-p", "-1"]).stdout(Stdio::null()).stderr(Stdio::piped());
        let output = |child: &mut Child| Some(Box::new(child.stderr.take()?) as Box<dyn Read + Send>);
        let says = "Listening for client connections on ";
        Ok(Self(Service::start("nats-server", command, scratch_folder()?, says, output)?))
    }

    pub fn url(&self) -> String {
        format!("nats://{}", self.0.addr)
    }

    pub fn cpu_secs(&self) -> Result<f64> {
        proc::cpu_secs(self.0.child.id())
    }
}

/// A program by its path, or by its name where programs are; Debian keeps servers where not everybody looks.
fn find(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return std::fs::canonicalize(program).ok();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/bin"].map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}
