//! `natter serve`: puts the parts together, tells where they are, and waits for a signal to take them apart.
//!
//! [`start`] and [`Serving::drain`] are the two halves, for who has something of its own to do in between.

use std::{
    io::{self, Write},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use natter::{
    app::App,
    audit::Audit,
    auth::password::Passwords,
    bus::{Bus, local::LocalBus, nats::NatsBus},
    chat::Chat,
    config::{self, Config, fit, load::Loaded},
    control::{
        self, Operator,
        socket::{self, Control},
    },
    limits::files,
    logging,
    metrics::{Build, Metrics},
    server::{self, Server, tls::Tls, waiting},
    store::{Store, mongo, sqlite},
    transfer::{EXPORT_VERSION, import},
};
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
};

use super::{
    checked,
    data::{self, Closed, Opened, Place},
    secret,
};

/// The few threads that read the store and hash passwords stay: each new one would begin with caches of its own.
const KEEP_THREADS: Duration = Duration::from_secs(3600);

pub fn serve(loaded: Loaded) -> Result<(), Vec<String>> {
    let Loaded { mut config, origins, warnings } = loaded;
    let one = |sentence| vec![sentence];
    logging::start(&config.log).map_err(one)?;
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    files::raise_limit();
    let is_set = |key: &str| origins.contains_key(key);
    if let Some(note) = fit::fit(&mut config, files::room(), &is_set) {
        tracing::info!("{note}");
    }
    // Otherwise it fits already.
    let sockets = if is_set("sockets.connections") { config.sockets.connections } else { 0 };
    if let Some(note) = files::note(sockets, config.limits.connections_per_address) {
        tracing::info!("{note}");
    }
    let sockets = sockets.min(files::room());
    if let Some(warning) = server::backlog_warning(config.server.backlog, sockets) {
        tracing::warn!("{warning}");
    }
    let runtime = runtime(&config.server).map_err(one)?;
    let checked = runtime.block_on(checked::settings(&config));
    let done = checked.and_then(|()| runtime.block_on(run(config)).map_err(one));
    // Whatever still runs has had its time.
    runtime.shutdown_background();
    done
}

pub fn runtime(config: &config::Server) -> Result<Runtime, String> {
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    if config.threads > 0 {
        threads.worker_threads(config.threads);
    }
    threads
        .enable_all()
        .thread_name("natter")
        .thread_keep_alive(KEEP_THREADS)
        .build()
        .map_err(|error| format!("the system gives no threads ({error})"))
}

async fn run(config: Config) -> Result<(), String> {
    let mut signals = Signals::listen()?;
    let prepared = Prepared::new(config)?;
    let opened = tokio::select! {
        opened = prepared.open() => opened?,
        signal = signals.end() => {
            tracing::info!(signal, "stopped before the store was there");
            return Ok(());
        }
    };
    let serving = prepared.start(opened).await?;
    print(&serving.told);

    let first = loop {
        match signals.next().await {
            "SIGHUP" => serving.reload(),
            last => break last,
        }
    };
    tracing::info!(signal = first, "stopping; a second signal stops at once");
    tokio::spawn(async move {
        let second = signals.end().await;
        tracing::warn!(signal = second, "stopped at once");
        std::process::exit(if second == "SIGINT" { 130 } else { 143 });
    });
    serving.drain().await;
    Ok(())
}

/// A server that serves.
pub struct Serving {
    /// Where it listens.
    pub address: SocketAddr,
    pub operator: Arc<Operator>,
    /// What an operator wants to know first.
    told: String,
    server: Arc<Server>,
    tls: Option<Arc<Tls>>,
    /// Commands are taken for as long as this is there.
    control: Option<Control>,
}

impl Serving {
    /// What SIGHUP asks for: files that may have changed are read anew.
    fn reload(&self) {
        match self.tls.as_ref().map(|tls| tls.reload()) {
            None => tracing::info!("SIGHUP: there is nothing to read anew"),
            Some(Ok(())) => tracing::info!("SIGHUP: the certificate was read anew, for new connections"),
            Some(Err(why)) => tracing::error!("SIGHUP: the certificate stays as it was. {why}"),
        }
    }

    pub async fn drain(self) {
        drop(self.control);
        self.server.drain(self.operator.store.as_ref()).await;
    }
}

/// How long until a store that is away is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

pub async fn start(config: Config) -> Result<Serving, String> {
    let prepared = Prepared::new(config)?;
    let opened = prepared.open().await?;
    prepared.start(opened).await
}

/// Everything that a start can fail for without having touched the data.
struct Prepared {
    config: Arc<Config>,
    metrics: Arc<Metrics>,
    tls: Option<Arc<Tls>>,
    listener: TcpListener,
    metrics_address: Option<SocketAddr>,
}

impl Prepared {
    fn new(config: Config) -> Result<Self, String> {
        if let Some(sentence) = files::too_few() {
            return Err(sentence);
        }
        let (config, metrics) = (Arc::new(config), Arc::new(Metrics::default()));
        let tls = Tls::of(&config.server)?.map(Arc::new);
        let listener = listen(&config, "server.bind", config.server.bind)?;
        let metrics_listener = match config.server.metrics_bind {
            Some(address) => Some(listen(&config, "server.metrics_bind", address)?),
            None => None,
        };
        let metrics_address = metrics_listener.as_ref().map(address_of).transpose()?;
        if let Some(listener) = metrics_listener {
            server::accept_metrics(metrics.clone(), listener, &config.limits);
        }
        Ok(Self { config, metrics, tls, listener, metrics_address })
    }

    /// Waits for a store that is away for `store.wait_secs`, and answers whoever asks meanwhile.
    async fn open(&self) -> Result<Opened, String> {
        let Self { config, metrics, tls, listener, .. } = self;
        if !data::is_mongo(&config.store) {
            return Ok(data::open_whole_store(config, metrics.clone()).await?);
        }
        waiting::answer_until(listener, tls.as_ref(), config, metrics, async {
            let began = Instant::now();
            let mut told = false;
            loop {
                let sentence = match data::open_whole_store(config, metrics.clone()).await {
                    Err(Closed::Away(sentence)) => sentence,
                    opened => return Ok(opened?),
                };
                let most = config.store.wait_secs;
                if most > 0 && began.elapsed() >= Duration::from_secs(most) {
                    return Err(sentence);
                }
                if !std::mem::replace(&mut told, true) {
                    let address = address_of(listener)?;
                    tracing::warn!(
                        "{sentence} natter waits for it (store.wait_secs); at {address} it answers 503 until it is there."
                    );
                }
                tokio::time::sleep(ASK_AGAIN).await;
            }
        })
        .await
    }

    async fn start(self, opened: Opened) -> Result<Serving, String> {
        let Self { config, metrics, tls, listener, metrics_address } = self;
        let Opened { store, place } = opened;
        let key = secret::signing_key(&config.auth, &place).await?;
        if let Some(warning) = key.warning {
            tracing::warn!("{warning}");
        }
        let bus = bus(&config, &place, metrics.clone()).await?;

        let chat = Chat::start(config.clone(), metrics.clone(), store.clone(), bus);
        let (store_name, schema) = match &place {
            Place::Folder(_) => ("sqlite", sqlite::SCHEMA_VERSION),
            Place::Shared(_) => ("mongodb", mongo::SCHEMA_VERSION),
        };
        let version = env!("CARGO_PKG_VERSION");
        let build = Build { version, schema: schema as u64, export: EXPORT_VERSION, store: store_name };
        metrics.build.get_or_create(&build).set(1);
        // Alone, until the store names others.
        metrics.nodes.set(1);
        if let Some(shared) = store.shared() {
            // Seen first, looked second: of a server that starts and an import that begins, one sees the other.
            let within = Duration::from_secs(config.cluster.node_secs);
            shared.meet(chat.node(), within).await.map_err(|error| error.to_string())?;
            import::refuse_unfinished(store.as_ref()).await?;
        }
        let passwords = Arc::new(Passwords::new(&config.auth, metrics.clone()));
        let audit = Audit::start(&config, metrics.clone(), store.clone())?;
        let app = App::start(config, metrics, chat.clone(), passwords.clone(), audit.clone(), &key.bytes);
        let app = app.map_err(|error| {
            format!("The sockets cannot be looked after: {error}. Check the limit on open files (ulimit -n).")
        })?;
        let operator = Arc::new(Operator { chat, store: store.clone(), passwords, audit });
        // Where the store is shared, the command line works on it directly.
        let control = match &place {
            Place::Folder(folder) => {
                socket::listen(folder, operator.clone()).inspect_err(|sentence| tracing::warn!("{sentence}")).ok()
            }
            Place::Shared(_) => None,
        };

        let told = tell(&listener, tls.is_some(), metrics_address, &place, store.as_ref()).await?;
        let address = address_of(&listener)?;
        let server = Arc::new(Server::new(app, tls.clone()));
        server.accept(listener);
        Ok(Serving { address, operator, told, server, tls, control })
    }
}

async fn bus(config: &Config, place: &Place, metrics: Arc<Metrics>) -> Result<Arc<dyn Bus>, String> {
    match place {
        Place::Shared(store) if !config.bus.url.is_empty() => {
            Ok(NatsBus::connect(config, store.cluster(), metrics).await?)
        }
        Place::Shared(_) | Place::Folder(_) => {
            // Nothing is missing where there is nobody else to be heard.
            metrics.bus_up.set(1);
            metrics.bus_trusted.set(1);
            Ok(Arc::new(LocalBus::default()))
        }
    }
}

fn listen(config: &Config, setting: &str, address: SocketAddr) -> Result<TcpListener, String> {
    let flag = if setting == "server.bind" { ", such as `--bind 127.0.0.1:8001`" } else { "" };
    server::listen(address, config.server.backlog, &config.limits).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => format!("{address} is in use by another process; choose another `{setting}`{flag}"),
        _ => format!("cannot listen on {address} ({error}); check `{setting}`"),
    })
}

fn address_of(listener: &TcpListener) -> Result<SocketAddr, String> {
    listener.local_addr().map_err(|error| format!("a listener has no address ({error})"))
}

async fn tell(
    listener: &TcpListener,
    secure: bool,
    metrics: Option<SocketAddr>,
    place: &Place,
    store: &dyn Store,
) -> Result<String, String> {
    let mut told = format!("natter {}\n", env!("CARGO_PKG_VERSION"));
    told += &format!("listening on http{}://{}\n", if secure { "s" } else { "" }, address_of(listener)?);
    if let Some(metrics) = metrics {
        told += &format!("metrics on http://{metrics}/metrics\n");
    }
    told += &match place {
        Place::Folder(folder) => {
            format!("data in {}\n", folder.canonicalize().unwrap_or_else(|_| folder.to_owned()).display())
        }
        Place::Shared(store) => format!("data in {}\n", store.address()),
    };
    if !control::has_admin(store).await? {
        told += "no admin yet: natter admin create --username NAME\n";
    }
    Ok(told)
}

/// A server whose standard output is closed serves all the same.
pub fn print(told: &str) {
    let mut out = io::stdout().lock();
    if let Err(error) = out.write_all(told.as_bytes()).and_then(|()| out.flush()) {
        tracing::warn!(%error, "nobody reads standard output");
    }
}

pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// Heard so that it does not end the process: a file that may not grow is then an error of the store, answered 503.
    _file_too_large: Signal,
}

/// SIGXFSZ: the same number on every Linux but two long-gone architectures.
const FILE_TOO_LARGE: i32 = 25;

impl Signals {
    pub fn listen() -> Result<Self, String> {
        let listen = |kind| signal(kind).map_err(|error| format!("signals cannot be heard ({error})"));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
            _file_too_large: listen(SignalKind::from_raw(FILE_TOO_LARGE))?,
        })
    }

    /// The next that ends the process.
    pub async fn end(&mut self) -> &'static str {
        loop {
            match self.next().await {
                "SIGHUP" => {}
                last => return last,
            }
        }
    }

    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.hangup.recv() => "SIGHUP",
        }
    }
}
