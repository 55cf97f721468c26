//! Several natters that share a database and a NATS server: real processes all of them, with a fault proxy where a test wants
//! one. No signing key is set: the nodes agree on one through the database.

use std::{
    ops::{Deref, DerefMut, Index, IndexMut},
    sync::Arc,
};

use futures_util::future::join_all;

use super::{
    nats::Nats,
    proxy::Proxy,
    server::{Server, Setup},
    services::{Database, Ferret, Port, mongodb, mongodb_is_given, server_of, through},
    until,
};

/// How a cluster is to be made.
pub struct ClusterSetup {
    nodes: usize,
    bus: bool,
    bus_proxies: bool,
    store_proxies: bool,
    own_database: bool,
    settings: Vec<(String, String)>,
}

/// What keeps the data, where a test may turn it off.
enum Power {
    Ferret(Box<Ferret>),
    /// A server that is not ours to kill is cut off instead.
    Proxy(Proxy),
}

/// One natter, and what stands between it and the others.
pub struct Node {
    server: Server,
    bus: Option<Proxy>,
    store: Option<Proxy>,
    _port: Port,
}

/// Nodes by their number. What they are made of ends before the things they stand on.
pub struct Cluster {
    nodes: Vec<Node>,
    nats: Option<Nats>,
    database: Arc<Database>,
    power: Option<Power>,
}

impl ClusterSetup {
    /// A setting of every node.
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.push((key.to_owned(), value.to_owned()));
        self
    }

    pub fn without_bus(mut self) -> Self {
        self.bus = false;
        self
    }

    /// A proxy between each node and the NATS server.
    pub fn bus_proxies(mut self) -> Self {
        self.bus_proxies = true;
        self
    }

    /// A proxy between each node and the database.
    pub fn store_proxies(mut self) -> Self {
        self.store_proxies = true;
        self
    }

    /// A database that [`Cluster::database_down`] may turn off.
    pub fn own_database(mut self) -> Self {
        self.own_database = true;
        self
    }

    /// Starts everything, all nodes at the same moment, and waits until they know each other.
    pub async fn start(self) -> Cluster {
        let cluster = self.start_apart().await;
        cluster.together().await;
        cluster
    }

    /// As [`ClusterSetup::start`], and does not wait until they know each other.
    pub async fn start_apart(self) -> Cluster {
        let (power, url) = match (self.own_database, mongodb_is_given()) {
            (false, _) => (None, mongodb()),
            (true, false) => {
                let ferret = Ferret::start().await;
                let url = ferret.url();
                (Some(Power::Ferret(Box::new(ferret))), url)
            }
            (true, true) => {
                let proxy = Proxy::start(server_of(&mongodb())).await;
                let url = through(&mongodb(), proxy.addr());
                (Some(Power::Proxy(proxy)), url)
            }
        };
        let nats = if self.bus { Some(Nats::start().await) } else { None };
        let database = Arc::new(Database::on(url));
        let nodes = join_all((0..self.nodes).map(|_| self.node(nats.as_ref(), &database))).await;
        Cluster { nodes, nats, database, power }
    }

    async fn node(&self, nats: Option<&Nats>, database: &Arc<Database>) -> Node {
        let port = Port::take();
        let mut setup = Setup::on(database).set("server.bind", &port.addr().to_string());
        let mut store = None;
        if self.store_proxies {
            let proxy = Proxy::start(server_of(database.url())).await;
            setup = setup.set("DB_URL", &through(database.url(), proxy.addr()));
            store = Some(proxy);
        }
        let mut bus = None;
        if let Some(nats) = nats {
            let proxy = if self.bus_proxies { Some(Proxy::start(nats.addr()).await) } else { None };
            setup = setup.set("bus.url", &proxy.as_ref().map_or_else(|| nats.url(), |proxy| proxy.url("nats")));
            bus = proxy;
        }
        for (key, value) in &self.settings {
            setup = setup.set(key, value);
        }
        Node { server: setup.start().await, bus, store, _port: port }
    }
}

impl Node {
    /// Between it and the NATS server.
    pub fn bus(&self) -> &Proxy {
        self.bus.as_ref().expect("a cluster with bus_proxies()")
    }

    /// Between it and the database.
    pub fn store(&self) -> &Proxy {
        self.store.as_ref().expect("a cluster with store_proxies()")
    }

    /// Waits until it is ready, knows so many nodes, and hears all of them where there is a bus.
    pub async fn knows(&self, nodes: usize, with_bus: bool) {
        until(&format!("{} to know {nodes} nodes", self.reach.addr), async || {
            self.reach.get("/readyz").await.status == 200
                && self.metric("natter_nodes").await == nodes as f64
                && (!with_bus || self.metric("natter_bus_trusted").await == 1.0)
        })
        .await;
    }

    /// Waits until it says that it does not hear the others, and that it is ready all the same.
    pub async fn is_off_the_bus(&self) {
        until("the bus to be away", async || {
            let answer = self.reach.get("/readyz").await;
            assert_eq!(answer.status, 200, "a bus that is away takes no node out of service: {}", answer.text());
            answer.ok()["bus"] == "away"
        })
        .await;
        assert_eq!(self.metric("natter_bus_up").await, 0.0);
    }

    /// Waits until it says that it is not ready, and why: the code of the answer.
    pub async fn is_unready(&self, code: &str) {
        until(&format!("{code} of /readyz"), async || {
            let answer = self.reach.get("/readyz").await;
            answer.status == 503 && answer.refused(503)["code"] == code
        })
        .await;
    }
}

impl Deref for Node {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for Node {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

impl Cluster {
    /// So many nodes on a database of their own and a NATS server of their own.
    pub async fn start(nodes: usize) -> Self {
        Self::setup(nodes).start().await
    }

    pub fn setup(nodes: usize) -> ClusterSetup {
        ClusterSetup {
            nodes,
            bus: true,
            bus_proxies: false,
            store_proxies: false,
            own_database: false,
            settings: Vec::new(),
        }
    }

    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub fn database(&self) -> &Arc<Database> {
        &self.database
    }

    /// Waits until every node that runs is ready and knows just these.
    pub async fn together(&self) {
        let running: Vec<&Node> = self.nodes.iter().filter(|node| node.process().running()).collect();
        join_all(running.iter().map(|node| node.knows(running.len(), self.nats.is_some()))).await;
    }

    /// Kills the NATS server.
    pub async fn bus_down(&self) {
        self.nats().kill().await;
    }

    pub async fn bus_up(&mut self) {
        self.nats.as_mut().expect("a cluster with a bus").restart().await;
    }

    pub fn nats(&self) -> &Nats {
        self.nats.as_ref().expect("a cluster with a bus")
    }

    /// Kills the database, or cuts it off where it is not ours.
    pub async fn database_down(&self) {
        match self.power.as_ref().expect("a cluster with own_database()") {
            Power::Ferret(ferret) => ferret.kill().await,
            Power::Proxy(proxy) => proxy.cut().await,
        }
    }

    pub async fn database_up(&mut self) {
        match self.power.as_mut().expect("a cluster with own_database()") {
            Power::Ferret(ferret) => ferret.restart().await,
            Power::Proxy(proxy) => proxy.heal(),
        }
    }
}

impl Index<usize> for Cluster {
    type Output = Node;

    fn index(&self, number: usize) -> &Node {
        &self.nodes[number]
    }
}

impl IndexMut<usize> for Cluster {
    fn index_mut(&mut self, number: usize) -> &mut Node {
        &mut self.nodes[number]
    }
}
