//! What a run takes place on, and what can go wrong with it: one natter on SQLite, or several on MongoDB and NATS.

use std::{net::SocketAddr, time::Duration};

use super::plan::{Kind, Plan, Trouble};
use crate::harness::{Cluster, Server, Setup};

pub enum World {
    One(Box<Server>),
    Many(Box<Cluster>),
}

impl World {
    pub async fn start(plan: &Plan) -> Self {
        let settings = plan.settings.iter().map(|(key, value)| (*key, value.to_string()));
        if plan.size.nodes == 1 {
            let setup = settings.fold(Setup::new(), |setup, (key, value)| setup.set(key, &value));
            return World::One(Box::new(setup.start().await));
        }
        // At the end all wait until those who were killed are forgotten.
        let setup = Cluster::setup(plan.size.nodes).bus_proxies().store_proxies().set("cluster.node_secs", "2");
        let setup = if plan.kills_the_store() { setup.own_database() } else { setup };
        let setup = settings.fold(setup, |setup, (key, value)| setup.set(key, &value));
        World::Many(Box::new(setup.start().await))
    }

    pub fn nodes(&self) -> usize {
        match self {
            World::One(_) => 1,
            World::Many(cluster) => cluster.nodes().len(),
        }
    }

    pub fn node(&self, number: usize) -> &Server {
        match self {
            World::One(server) => server,
            World::Many(cluster) => &cluster[number],
        }
    }

    fn node_mut(&mut self, number: usize) -> &mut Server {
        match self {
            World::One(server) => server,
            World::Many(cluster) => &mut cluster[number],
        }
    }

    /// Where clients reach the nodes; restarts do not change it.
    pub fn addrs(&self) -> Vec<SocketAddr> {
        (0..self.nodes()).map(|number| self.node(number).reach.addr).collect()
    }

    pub async fn strike(&mut self, trouble: &Trouble) {
        let cluster = match (trouble.kind, self) {
            (Kind::Kill(node), world) => return world.node(node).kill().await,
            (_, World::Many(cluster)) => cluster,
            (kind, World::One(_)) => panic!("one node knows no {kind:?}"),
        };
        match trouble.kind {
            Kind::Kill(_) => {}
            Kind::Bus => cluster.bus_down().await,
            Kind::BusCut(node) => cluster[node].bus().cut().await,
            Kind::BusHole(node) => cluster[node].bus().black_hole(),
            Kind::Store => cluster.database_down().await,
            Kind::StoreCut(node) => cluster[node].store().cut().await,
            Kind::StoreHole(node) => cluster[node].store().black_hole(),
            Kind::StoreDelay(node, millis) => cluster[node].store().delay(Duration::from_millis(millis)),
            Kind::StoreLosesAnswers(node) => cluster[node].store().lose_answers(),
            Kind::StoreCutsAnswers(node, bytes) => cluster[node].store().cut_mid_answer(bytes),
        }
    }

    pub async fn heal(&mut self, trouble: &Trouble) {
        match (trouble.kind, self) {
            (Kind::Kill(node), world) => world.node_mut(node).restart().await,
            (Kind::Bus, World::Many(cluster)) => cluster.bus_up().await,
            (Kind::Store, World::Many(cluster)) => cluster.database_up().await,
            (Kind::BusCut(node) | Kind::BusHole(node), World::Many(cluster)) => cluster[node].bus().heal(),
            (_, World::Many(cluster)) => cluster[trouble.node().expect("a trouble of a node")].store().heal(),
            (kind, World::One(_)) => panic!("one node knows no {kind:?}"),
        }
    }

    /// Waits until every node says that it is well and hears the others, which it must without anybody's help.
    pub async fn recovers(&self) {
        match self {
            World::One(server) => drop(server.reach.get("/readyz").await.ok()),
            World::Many(cluster) => cluster.together().await,
        }
    }
}
