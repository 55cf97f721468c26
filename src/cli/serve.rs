//! `natter serve`: puts the parts together, tells where they are, and waits for a signal to take them apart.
//!
//! [`start`] and [`Serving::drain`] are the two halves, for who has something of its own to do in between.

use std::{
    io::{self, Write},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
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
    metrics::Metrics,
    server::{self, Server, tls::Tls},
    store::Store,
    transfer::import,
};
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
};

use super::{
    data::{self, Opened, Place},
    secret,
};

/// The few threads that read the store and hash passwords stay: each new one would begin with caches of its own.
const KEEP_THREADS: Duration = Duration::from_secs(3600);

pub fn serve(loaded: Loaded) -> Result<(), String> {
    let Loaded { mut config, origins, warnings } = loaded;
    logging::start(&config.log)?;
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    files::raise_limit();
    if let Some(note) = fit::fit(&mut config, &|key| origins.contains_key(key)) {
        tracing::info!("{note}");
    }
    let runtime = runtime(&config.server)?;
    let done = runtime.block_on(run(config));
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
    let serving = start(config).await?;
    print(&serving.told);

    let first = loop {
        match signals.next().await {
            "SIGHUP" => serving.reload(),
            last => break last,
        }
    };
    tracing::info!(signal = first, "stopping; a second signal stops at once");
    tokio::spawn(async move {
        let second = loop {
            match signals.next().await {
                "SIGHUP" => {}
                last => break last,
            }
        };
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

pub async fn start(config: Config) -> Result<Serving, String> {
    let config = Arc::new(config);
    let metrics = Arc::new(Metrics::default());

    // The store first: it holds the lock on the folder that everything else is in.
    let Opened { store, place } = data::open_whole_store(&config, metrics.clone()).await?;
    let key = secret::signing_key(&config.auth, &place).await?;
    if let Some(warning) = key.warning {
        tracing::warn!("{warning}");
    }
    let bus = bus(&config, &place, metrics.clone()).await?;
    let tls = Tls::of(&config.server)?.map(Arc::new);
    let listener = listen(&config, "server.bind", config.server.bind)?;
    let metrics_listener = match config.server.metrics_bind {
        Some(address) => Some(listen(&config, "server.metrics_bind", address)?),
        None => None,
    };
    if let Some(warning) = server::backlog_warning(config.server.backlog) {
        tracing::warn!("{warning}");
    }
    if let Some(sentence) = files::too_few() {
        return Err(sentence);
    }
    if let Some(note) = files::note(config.sockets.connections, config.limits.connections_per_address) {
        tracing::info!("{note}");
    }

    let chat = Chat::start(config.clone(), metrics.clone(), store.clone(), bus);
    if let Some(shared) = store.shared() {
        // Seen first, looked second: of a server that starts and an import that begins, one sees the other.
        let within = Duration::from_secs(config.cluster.node_secs);
        shared.meet(chat.node(), within).await.map_err(|error| error.to_string())?;
        import::refuse_unfinished(store.as_ref()).await?;
    }
    let passwords = Arc::new(Passwords::new(&config.auth, metrics.clone()));
    let audit = Audit::start(&config, metrics.clone(), store.clone())?;
    let app =
        App::start(config, metrics, chat.clone(), passwords.clone(), audit.clone(), &key.bytes).map_err(|error| {
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

    let told = tell(&listener, tls.is_some(), metrics_listener.as_ref(), &place, store.as_ref()).await?;
    let address = address_of(&listener)?;
    let server = Arc::new(Server::new(app, tls.clone()));
    server.accept(listener);
    if let Some(listener) = metrics_listener {
        server.accept_metrics(listener);
    }
    Ok(Serving { address, operator, told, server, tls, control })
}

async fn bus(config: &Config, place: &Place, metrics: Arc<Metrics>) -> Result<Arc<dyn Bus>, String> {
    match place {
        Place::Shared(store) if !config.bus.url.is_empty() => {
            Ok(NatsBus::connect(config, store.cluster(), metrics).await?)
        }
        Place::Shared(_) | Place::Folder(_) => Ok(Arc::new(LocalBus::default())),
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
    metrics: Option<&TcpListener>,
    place: &Place,
    store: &dyn Store,
) -> Result<String, String> {
    let mut told = format!("natter {}\n", env!("CARGO_PKG_VERSION"));
    told += &format!("listening on http{}://{}\n", if secure { "s" } else { "" }, address_of(listener)?);
    if let Some(metrics) = metrics {
        told += &format!("metrics on http://{}/metrics\n", address_of(metrics)?);
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

    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.hangup.recv() => "SIGHUP",
        }
    }
}
