//! What natters of several machines stand on: databases on a MongoDB, a NATS server, and ports that stay one's own.
//!
//! `tests/run` starts the MongoDB that the tests share (a FerretDB, or the server of `MONGODB_URL`) and says in
//! `NATTER_TEST_MONGODB` where it is. Whoever wants to kill one starts one's own.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
    process::Command,
    sync::{LazyLock, mpsc},
    thread,
    time::Duration,
};

use tempfile::TempDir;
use tokio::net::{TcpListener, TcpSocket};
use uuid::Uuid;

use super::process::Process;

/// Whether every server of the tests keeps its data in MongoDB, as in the second pass of `tests/run`.
pub fn on_mongodb() -> bool {
    match std::env::var("NATTER_TEST_STORE") {
        Ok(store) if store == "mongodb" => true,
        Ok(store) if store != "sqlite" => panic!("NATTER_TEST_STORE is {store:?}: set it to mongodb or sqlite"),
        _ => false,
    }
}

/// The MongoDB that the tests share.
pub fn mongodb() -> String {
    std::env::var("NATTER_TEST_MONGODB")
        .expect("NATTER_TEST_MONGODB: run tests/run, which starts a MongoDB and sets it")
}

/// Whether that is somebody's own server, which no test can kill.
pub fn mongodb_is_given() -> bool {
    std::env::var("MONGODB_URL").is_ok_and(|url| !url.is_empty())
}

/// A port of this machine that nobody else gets while this lives: connections are refused unless somebody listens on it,
/// which this process and its children may do as often as they like.
pub struct Port {
    addr: SocketAddr,
    /// Bound, and not listening.
    _held: TcpSocket,
}

impl Port {
    pub fn take() -> Self {
        let held = Self::bind("127.0.0.1:0".parse().expect("an address"));
        Self { addr: held.local_addr().expect("a bound socket has an address"), _held: held }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn listen(&self) -> TcpListener {
        Self::bind(self.addr).listen(1024).expect("nobody listens on this port yet")
    }

    fn bind(addr: SocketAddr) -> TcpSocket {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("a new socket");
        socket.bind(addr).unwrap_or_else(|error| panic!("cannot bind {addr}: {error}"));
        socket
    }
}

/// A database of a test's own, which is dropped with this.
pub struct Database {
    url: String,
    name: String,
}

impl Database {
    /// On the MongoDB that the tests share.
    pub fn fresh() -> Self {
        Self::on(mongodb())
    }

    pub fn on(url: String) -> Self {
        Self { url, name: format!("natter_test_{}", Uuid::now_v7().simple()) }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (done, waiting) = mpsc::channel();
        DROPPER.send((self.url.clone(), self.name.clone(), done)).expect("the dropper lives as long as the tests");
        if let Err(error) = waiting.recv().expect("the dropper answers") {
            eprintln!("the database {} stays behind: {error}", self.name);
        }
    }
}

type Drops = (String, String, mpsc::Sender<mongodb::error::Result<()>>);

/// Drops databases one after the other on a thread of its own, as a test that ends can wait for no future.
static DROPPER: LazyLock<mpsc::Sender<Drops>> = LazyLock::new(|| {
    let (sender, asked) = mpsc::channel::<Drops>();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut known: Option<(String, mongodb::Client)> = None;
            for (url, name, done) in asked {
                let dropped = drop_database(&mut known, url, &name).await;
                // Whoever asked waits, unless its thread is gone.
                let _heard = done.send(dropped).is_ok();
            }
        });
    });
    sender
});

async fn drop_database(
    known: &mut Option<(String, mongodb::Client)>,
    url: String,
    name: &str,
) -> mongodb::error::Result<()> {
    let client = match known {
        Some((known, client)) if *known == url => client,
        _ => {
            let mut options = mongodb::options::ClientOptions::parse(&url).await?;
            options.server_selection_timeout = Some(Duration::from_secs(5));
            &known.insert((url, mongodb::Client::with_options(options)?)).1
        }
    };
    // What a natter asked for just before it was killed may still be done, and makes the database again.
    client.database(name).drop().await?;
    while client.list_database_names().await?.iter().any(|other| other == name) {
        client.database(name).drop().await?;
    }
    Ok(())
}

/// The one server that a MongoDB URL names.
pub fn server_of(url: &str) -> SocketAddr {
    let (_, authority, _) = parts(url);
    let host = authority.rsplit('@').next().unwrap_or(authority);
    assert!(!host.contains(','), "a proxy stands before one server: give MONGODB_URL a single host");
    let host = if host.contains(':') { host.to_owned() } else { format!("{host}:27017") };
    let mut addrs = host.to_socket_addrs().unwrap_or_else(|error| panic!("{host} of MONGODB_URL: {error}"));
    addrs.next().expect("an address of the MongoDB")
}

/// The same database by way of `addr`, and by no other.
pub fn through(url: &str, addr: SocketAddr) -> String {
    let (scheme, authority, rest) = parts(url);
    let user = authority.rsplit_once('@').map(|(user, _)| format!("{user}@")).unwrap_or_default();
    let (path, options) = rest.split_once('?').unwrap_or((rest, ""));
    let path = if path.is_empty() { "/" } else { path };
    let kept = options.split('&').filter(|option| !option.is_empty() && !option.starts_with("directConnection="));
    let options: Vec<&str> = kept.filter(|option| !option.starts_with("replicaSet=")).collect();
    let options = [options.as_slice(), &["directConnection=true"]].concat().join("&");
    format!("{scheme}://{user}{addr}{path}?{options}")
}

/// Scheme, authority, and what follows.
fn parts(url: &str) -> (&str, &str, &str) {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    assert_eq!(scheme, "mongodb", "a proxy stands before a server, not before a name: give MONGODB_URL as mongodb://");
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    (scheme, &rest[..end], &rest[end..])
}

/// A FerretDB of a test's own, which can be killed and comes back with its data.
pub struct Ferret {
    folder: TempDir,
    port: Port,
    process: Process,
}

impl Ferret {
    pub async fn start() -> Self {
        let (folder, port) = (tempfile::tempdir().expect("a temporary folder"), Port::take());
        let process = Self::run(&folder, &port).await;
        Self { folder, port, process }
    }

    pub fn url(&self) -> String {
        format!("mongodb://{}/", self.port.addr())
    }

    pub async fn kill(&self) {
        self.process.signal("KILL");
        self.process.ended().await;
    }

    /// After [`Ferret::kill`].
    pub async fn restart(&mut self) {
        self.process = Self::run(&self.folder, &self.port).await;
    }

    async fn run(folder: &TempDir, port: &Port) -> Process {
        let built = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/services/ferretdb"));
        let program = std::env::var_os("NATTER_TEST_FERRETDB").map_or_else(built, PathBuf::from);
        let mut command = Command::new(program);
        command.arg(port.addr().to_string()).arg(folder.path());
        let process = Process::spawn(command);
        process.line("listening on ").await;
        process
    }
}
