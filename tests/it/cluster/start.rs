//! Starting, commands, and nodes that come and go: with a bus and without.

use std::sync::Arc;

use crate::{
    cluster::{hears, log_everywhere},
    harness::{
        Cluster, Node, PASSWORD, Process, Proxy, Reach, Setup,
        services::{Database, server_of, through},
        until,
    },
};

async fn knows(node: &Node, nodes: f64) {
    until(&format!("{nodes} nodes"), async || node.metric("natter_nodes").await == nodes).await;
}

#[tokio::test]
async fn nodes_that_start_at_the_same_moment_on_an_empty_database_sign_with_one_key() {
    for _ in 0..3 {
        let mut cluster = Cluster::setup(3).start_apart().await;
        for (number, name) in ["ann", "bob", "eve"].into_iter().enumerate() {
            let person = cluster[number].person(name).await;
            for node in cluster.nodes() {
                assert_eq!(person.at(node).me().await["username"], name);
            }
        }
        let ann = cluster[0].sign_in("ann").await;
        cluster[2].restart().await;
        ann.at(&cluster[2]).me().await;
    }
}

#[tokio::test]
async fn a_command_on_the_command_line_takes_effect_on_running_nodes() {
    let cluster = Cluster::start(2).await;
    let (ann, bob) = cluster[0].two_people().await;
    let _root = cluster[0].admin().await;
    let mut sockets = [bob.socket().await, bob.at(&cluster[1]).socket().await];
    cluster[0].cli(&["admin", "disable", "bob"]).await.ok();
    for socket in &mut sockets {
        assert_eq!(socket.closed().await.code, 4401);
    }
    for node in cluster.nodes() {
        until("bob to be out", async || bob.at(node).get("/users/me").await.status == 401).await;
    }
    cluster[1].cli(&["admin", "enable", "bob"]).await.ok();
    let again = cluster[0].sign_in("bob").await;
    until("bob's new login to count", async || again.at(&cluster[1]).get("/users/me").await.status == 200).await;

    cluster[1].cli(&["admin", "grant", "ann"]).await.ok();
    for node in cluster.nodes() {
        until("ann to be an admin", async || ann.at(node).get("/users/").await.status == 200).await;
    }
    assert!(cluster[0].cli(&["admin", "list"]).await.ok().contains("ann"));
    cluster[0].cli(&["admin", "revoke", "ann"]).await.ok();
    for node in cluster.nodes() {
        until("ann to be none", async || ann.at(node).get("/users/").await.status == 403).await;
    }

    let reset = ["admin", "reset-password", "bob", "--password-stdin"];
    cluster[0].cli_reading(&reset, "a better one 42").await.ok();
    for node in cluster.nodes() {
        until("bob's login to be over", async || again.at(node).get("/users/me").await.status == 401).await;
        node.reach.sign_in("bob", "a better one 42").await.ok();
    }
}

#[tokio::test]
async fn a_command_works_while_no_node_runs() {
    let mut cluster = Cluster::start(1).await;
    cluster[0].person("ann").await;
    cluster[0].stop().await;
    cluster[0].cli(&["admin", "grant", "ann"]).await.ok();
    cluster[0].restart().await;
    cluster[0].sign_in("ann").await.get("/users/").await.ok();
}

#[tokio::test]
async fn sqlite_with_a_bus_is_refused_with_a_sentence() {
    let setup = Setup::new().set("DB_URL", "sqlite:data/natter.db").set("bus.url", "nats://127.0.0.1:4222");
    let refused = setup.run().await.failed();
    assert!(refused.contains("bus") && refused.contains("SQLite") && refused.contains("MongoDB"), "{refused}");
}

#[tokio::test]
async fn a_database_that_is_not_there_is_named_and_no_password_is() {
    let url = "mongodb://ann:hunter2@127.0.0.1:1/?serverSelectionTimeoutMS=500";
    let setup = Setup::new().set("DB_URL", url).set("store.answer_millis", "500").set("store.wait_secs", "1");
    let refused = setup.run().await.failed();
    assert!(refused.contains("127.0.0.1") && !refused.contains("hunter2"), "{refused}");
}

#[tokio::test]
async fn a_node_waits_for_a_database_that_is_away_at_the_start_and_lives_meanwhile() {
    let database = Arc::new(Database::fresh());
    let proxy = Proxy::start(server_of(database.url())).await;
    proxy.cut().await;
    let url = format!("{}&serverSelectionTimeoutMS=300", through(database.url(), proxy.addr()));
    let setup = Setup::on(&database).set("DB_URL", &url).set("server.metrics_bind", "127.0.0.1:0");
    let process = Process::spawn(setup.command_with(&[]));
    process.logged("natter waits for it (store.wait_secs)").await;
    let log = process.stderr();
    let told = log.lines().find(|line| line.contains("store.wait_secs")).expect("what was just waited for");
    let addr = told.split_once("; at ").and_then(|(_, rest)| rest.split_whitespace().next());
    let addr = addr.and_then(|addr| addr.parse().ok());
    let reach = Reach::new(addr.expect("the address is told, as port 0 is not known before"));
    assert_eq!(reach.get("/healthz").await.ok()["status"], "ok");
    for path in ["/readyz", "/users/me", "/"] {
        let answer = reach.get(path).await;
        assert!(answer.header("retry-after").is_some() && answer.header("x-request-id").is_some(), "{path}");
        assert_eq!(answer.refused(503)["code"], "store_unavailable", "{path}");
    }
    proxy.heal();
    process.line("listening on http://").await;
    until("readiness", async || reach.get("/readyz").await.status == 200).await;
    reach.register("ann", PASSWORD).await.ok();
    assert_eq!(log.matches("store.wait_secs").count(), 1, "it is told once: {log}");

    proxy.cut().await;
    let waiting = Process::spawn(setup.command_with(&[]));
    waiting.logged("natter waits for it").await;
    waiting.signal("TERM");
    assert_eq!(waiting.ended().await.code(), Some(0), "{}", waiting.stderr());
}

#[tokio::test]
async fn a_database_that_will_never_be_right_is_not_waited_for() {
    for (url, told) in [("mongodb://127.0.0.1:1/?w=1", "Leave that option out"), ("mongodb://a:b:c", "store.url")] {
        let refused = Setup::new().set("DB_URL", url).run().await.failed();
        assert!(refused.contains(told), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_without_a_bus_learn_from_the_database() {
    let cluster = Cluster::setup(2).without_bus().start().await;
    let (ann, bob) = cluster[0].two_people().await;
    let root = cluster[0].admin().await;
    let there = bob.at(&cluster[1]);
    let mut socket = there.socket().await;
    let room = ann.group("tea", [&bob]).await;
    super::notice(&mut socket, &room, "added").await;
    socket.follow(&room).await;
    for n in 0..10 {
        let text = format!("said {n}");
        let speaker = if n % 2 == 0 { &ann } else { &there };
        let posted = speaker.post(&room, &text).await;
        assert_eq!(hears(&mut socket, &text).await["seq"], posted.seq);
    }
    log_everywhere(&cluster, &ann, &room, ann.head(&room).await).await;
    root.post_empty("/users/bob/logout").await.ok();
    assert_eq!(socket.closed().await.code, 4401);
}

#[tokio::test]
async fn the_metrics_know_how_many_nodes_there_are() {
    let mut cluster = Cluster::setup(3).set("cluster.node_secs", "2").start().await;
    for node in cluster.nodes() {
        assert_eq!(node.metric("natter_bus_up").await, 1.0);
        assert_eq!(node.metric("natter_store_up").await, 1.0);
    }
    cluster[2].kill().await;
    for number in [0, 1] {
        knows(&cluster[number], 2.0).await;
    }
    cluster.together().await;
    cluster[1].stop().await;
    knows(&cluster[0], 1.0).await;
    for number in [1, 2] {
        cluster[number].restart().await;
    }
    cluster.together().await;
}

#[tokio::test]
async fn a_natter_of_another_database_on_the_same_bus_is_not_one_of_the_nodes() {
    let cluster = Cluster::start(2).await;
    let other = Cluster::setup(1).start().await;
    let stranger = Setup::on(other.database()).set("bus.url", &cluster.nats().url()).start().await;
    let ann = stranger.person("ann").await;
    let _socket = ann.socket().await;
    cluster[0].person("ann").await;
    cluster.together().await;
    for node in cluster.nodes() {
        assert_eq!(node.metric("natter_nodes").await, 2.0);
        ann.at(node).get("/users/me").await.refused(401);
    }
}
