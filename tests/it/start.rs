//! Starting: what it says, what it keeps where, which settings it takes, and what it refuses to start with.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use crate::harness::{PASSWORD, Process, Ran, Server, Setup};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode() & 0o777
}

#[tokio::test]
async fn it_says_where_it_listens_where_its_data_is_and_how_to_become_admin() {
    let mut server = Server::start().await;
    server.process().line("no admin yet: natter admin create --username NAME").await;
    let said = server.process().stdout();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], concat!("natter ", env!("CARGO_PKG_VERSION")));
    assert_eq!(lines[1], format!("listening on http://{}", server.reach.addr));
    let data = server.data().canonicalize().expect("the data folder");
    assert!(lines.contains(&format!("data in {}", data.display()).as_str()), "{said}");

    server.admin().await;
    server.restart().await;
    server.process().line("data in ").await;
    server.stop().await;
    assert!(!server.process().stdout().contains("no admin yet"), "{}", server.process().stdout());
}

#[tokio::test]
async fn the_data_folder_and_what_is_secret_in_it_are_the_owners_alone() {
    let server = Server::start().await;
    let data = server.data();
    assert_eq!(mode(&data), 0o700);
    for file in ["secret.key", "natter.sock"] {
        assert_eq!(mode(&data.join(file)), 0o600, "{file}");
    }
}

#[tokio::test]
async fn the_key_it_makes_is_never_printed() {
    let server = Server::with(&[("log.level", "trace")]).await;
    server.two_people().await;
    let key = fs::read_to_string(server.data().join("secret.key")).expect("the key");
    let key = key.trim();
    assert!(key.len() >= 32);
    let shown = server.cli(&["check-config"]).await.ok();
    server.stop().await;
    for text in [server.process().stdout(), server.log(), shown] {
        assert!(!text.contains(key), "the key is printed");
    }
}

#[tokio::test]
async fn a_key_that_others_could_read_is_made_private_and_told() {
    let mut server = Server::start().await;
    server.stop().await;
    let key = server.data().join("secret.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("one's own file");
    server.restart().await;
    assert_eq!(mode(&key), 0o600);
    server.process().logged("secret.key").await;
}

#[tokio::test]
async fn a_weak_key_is_refused_with_a_sentence_that_says_how_to_make_a_good_one() {
    for weak in ["your_secret_key", "secret", "changeme", "only 31 bytes are not yet enough", "x"] {
        let weak = &weak[..weak.len().min(31)];
        let refused = Setup::new().set("SECRET_KEY", weak).run().await.failed();
        assert!(refused.to_lowercase().contains("key") && refused.contains("openssl rand"), "{weak}: {refused}");
    }
    let refused = Setup::new().set("auth.secret_key", "secret").run().await.failed();
    assert!(!refused.trim().is_empty());
}

#[tokio::test]
async fn a_weak_key_may_be_allowed_and_is_warned_of_at_every_start() {
    let mut server = Server::with(&[("SECRET_KEY", "your_secret_key"), ("auth.allow_weak_secret", "true")]).await;
    server.process().logged("allow_weak_secret").await;
    server.restart().await;
    server.process().logged("allow_weak_secret").await;
    assert!(!server.log().contains("your_secret_key"));
}

#[tokio::test]
async fn settings_come_from_defaults_file_dotenv_environment_and_flags_in_this_order() {
    let shown = async |setup: &Setup, args: &[&str]| {
        let all = [args, &["check-config"]].concat();
        let text = Ran::of(setup.command_with(&all), "").await.ok();
        let line = text.lines().find(|line| line.starts_with("message_chars ")).expect("message_chars").to_owned();
        line.split(['=', '#']).nth(1).expect("a value").trim().to_owned()
    };
    let setup = Setup::new();
    assert_eq!(shown(&setup, &[]).await, "4000");
    let setup = setup.write("config.toml", "[limits]\nmessage_chars = 11\n");
    assert_eq!(shown(&setup, &[]).await, "11");
    let setup = setup.write(".env", "NATTER_LIMITS__MESSAGE_CHARS=12\n");
    assert_eq!(shown(&setup, &[]).await, "12");
    let setup = setup.set("limits.message_chars", "13");
    assert_eq!(shown(&setup, &[]).await, "13");
    assert_eq!(shown(&setup, &["--set", "limits.message_chars=14"]).await, "14");
}

#[tokio::test]
async fn another_file_of_settings_can_be_named_and_must_be_there() {
    let setup = Setup::new().write("other.toml", "[limits]\nmessage_chars = 11\n");
    let shown = Ran::of(setup.command_with(&["--config", "other.toml", "check-config"]), "").await.ok();
    assert!(shown.contains("message_chars = 11"), "{shown}");
    let refused = Ran::of(setup.command_with(&["--config", "missing.toml", "check-config"]), "").await.failed();
    assert!(refused.contains("missing.toml"), "{refused}");
}

#[tokio::test]
async fn check_config_masks_secrets() {
    let key = "a key of this test, long enough to be taken as a good one";
    let shown = Setup::new().set("SECRET_KEY", key).args(&["check-config"]).run().await.ok();
    assert!(!shown.contains(key), "{shown}");
    assert!(shown.contains("secret_key"), "{shown}");
}

#[tokio::test]
async fn an_unknown_key_stops_the_start_and_is_named_with_its_source_and_the_nearest_one() {
    let refused = Setup::new().set("limits.mesage_chars", "7").run().await.failed();
    assert!(refused.contains("NATTER_LIMITS__MESAGE_CHARS"), "{refused}");
    assert!(refused.contains("limits.message_chars"), "{refused}");

    let refused = Setup::new().write("config.toml", "[limits]\nmesage_chars = 7\n").run().await.failed();
    assert!(refused.contains("config.toml") && refused.contains("limits.message_chars"), "{refused}");

    let refused = Setup::new().args(&["--set", "limts.message_chars=7"]).run().await.failed();
    assert!(refused.contains("--set") && refused.contains("limits.message_chars"), "{refused}");
}

#[tokio::test]
async fn an_ill_typed_value_stops_the_start_and_is_named() {
    for (key, value) in [
        ("server.drain_secs", "soon"),
        ("server.drain_secs", "-1"),
        ("server.bind", "nowhere"),
        ("auth.signup", "maybe"),
        ("limits.rates", "sometimes"),
        ("ALGORITHM", "none"),
        ("ALGORITHM", "RS256"),
        ("auth.bcrypt_cost", "99"),
        ("DB_URL", "redis://localhost"),
        ("bus.url", "nats://localhost"),
    ] {
        let refused = Setup::new().set(key, value).run().await.failed();
        let name = key.rsplit('.').next().expect("a name").to_lowercase();
        let told = refused.to_lowercase();
        assert!(told.contains(&name), "{key} = {value}: {refused}");
    }
}

#[tokio::test]
async fn a_second_process_is_told_who_has_the_folder() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let refused = server.cli(&["serve"]).await.failed();
    assert!(refused.contains(&server.pid().to_string()), "{refused}");
    ann.post(&room, "undisturbed").await;
}

#[tokio::test]
async fn a_database_that_has_two_names_has_one_owner() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let (data, others) = (server.data(), tempfile::tempdir().expect("a folder"));
    let others = others.path();
    for folder in ["file", "hard", "chain"] {
        fs::create_dir(others.join(folder)).expect("a folder");
    }
    symlink(&data, others.join("folder")).expect("a link");
    symlink(data.join("natter.db"), others.join("file/natter.db")).expect("a link");
    symlink("../file/natter.db", others.join("chain/other.db")).expect("a link");
    fs::hard_link(data.join("natter.db"), others.join("hard/natter.db")).expect("a link");
    for name in ["folder/natter.db", "file/natter.db", "chain/other.db", "hard/natter.db", "hard/../folder/natter.db"] {
        let url = format!("sqlite:{}", others.join(name).display());
        let refused = Setup::new().set("store.url", &url).run().await.failed();
        assert!(refused.contains("The data folder belongs to another natter"), "{name}: {refused}");
        assert_eq!(refused.contains(&server.pid().to_string()), !name.starts_with("hard/natter"), "{name}: {refused}");
    }
    ann.post(&room, "undisturbed").await;
}

#[tokio::test]
async fn a_database_that_is_a_link_is_served_and_restored_where_it_really_is() {
    let place = tempfile::tempdir().expect("a folder");
    fs::create_dir(place.path().join("real")).expect("a folder");
    fs::create_dir(place.path().join("data")).expect("a folder");
    symlink("../real/chat.db", place.path().join("data/natter.db")).expect("a link");
    let url = format!("sqlite:{}", place.path().join("data/natter.db").display());
    let mut server = Setup::new().set("store.url", &url).start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    ann.post(&room, "kept").await;
    server.kill().await;
    let logs =
        fs::read_dir(place.path().join("data")).expect("the folder").map(|file| file.expect("a name").file_name());
    assert!(logs.into_iter().all(|name| !name.to_string_lossy().contains(".log-")), "posts are beside the file itself");
    server.restart().await;
    assert_eq!(ann.history(&room, "").await["messages"][0]["content"], "kept");
    let copy = place.path().join("copy.db");
    server.cli(&["backup", copy.to_str().expect("text")]).await.ok();
    server.stop().await;
    server.cli(&["restore", copy.to_str().expect("text"), "--force"]).await.ok();
    assert!(place.path().join("data/natter.db").is_symlink() && place.path().join("real/chat.db").is_file());
    fs::write(place.path().join("data/natter.db.log-0"), "of a version that did not follow links")
        .expect("one's own folder");
    let refused = server.cli(&["serve"]).await.failed();
    assert!(refused.contains("a journal lies beside it"), "{refused}");
    fs::remove_file(place.path().join("data/natter.db.log-0")).expect("one's own file");
    server.restart().await;
    assert_eq!(server.sign_in("ann").await.history(&room, "").await["messages"][0]["content"], "kept");
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let server = Server::start().await;
    let refused = Setup::new().set("server.bind", &server.reach.addr.to_string()).run().await.failed();
    assert!(refused.contains(&server.reach.addr.to_string()), "{refused}");
}

#[tokio::test]
async fn a_killed_server_leaves_nothing_that_stops_the_next_start() {
    let mut server = Server::start().await;
    let ann = server.person("ann").await;
    for _ in 0..3 {
        server.kill().await;
        server.restart().await;
        ann.me().await;
    }
    server.cli(&["admin", "list"]).await.ok();
}

#[tokio::test]
async fn no_arguments_and_serve_are_the_same() {
    let setup = Setup::new();
    let process = Process::spawn(setup.command_with(&["serve"]));
    process.line("listening on http://").await;
    process.signal("TERM");
    assert_eq!(process.ended().await.code(), Some(0));
    let server = setup.start().await;
    server.reach.register("ann", PASSWORD).await.ok();
}

#[tokio::test]
async fn localhost_is_an_address_to_listen_on() {
    let server = Server::with(&[("server.bind", "localhost:0"), ("server.metrics_bind", "localhost:0")]).await;
    assert!(server.reach.addr.ip().is_loopback(), "{}", server.reach.addr);
    server.reach.get("/healthz").await.ok();
    server.process().line("metrics on http://127.0.0.1:").await;
    for wrong in ["localhost", "localhost:", "localhost:x", "localhost.example:80"] {
        let refused = Setup::new().set("server.bind", wrong).run().await.failed();
        assert!(refused.contains("server.bind") && refused.contains("localhost:8000"), "{refused}");
    }
}

#[tokio::test]
async fn a_start_that_is_refused_leaves_nothing_behind() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = listener.local_addr().expect("its address").to_string();
    for (key, value) in [
        ("server.bind", taken.as_str()),
        ("server.metrics_bind", taken.as_str()),
        ("SECRET_KEY", "short"),
        ("log.audit", "/nowhere/audit.log"),
        ("limits.page_max", "1"),
    ] {
        let setup = Setup::new().set(key, value);
        let told = setup.run().await.failed();
        assert!(!setup.dir().join("data").exists(), "{key}: {told}");
    }
    let setup = Setup::new().set("server.tls_cert", "cert.pem").set("server.tls_key", "key.pem");
    assert!(setup.run().await.failed().contains("cert.pem"));
    assert!(!setup.dir().join("data").exists());
}

#[tokio::test]
async fn the_queue_of_the_kernel_is_warned_of_only_where_so_many_sockets_are_asked_for() {
    let somaxconn = fs::read_to_string("/proc/sys/net/core/somaxconn").expect("a Linux");
    let somaxconn: usize = somaxconn.trim().parse().expect("a number");
    let server = Server::start().await;
    server.stop().await;
    assert!(!server.log().contains("the kernel queues"), "{}", server.log());
    let more = (somaxconn + 1).to_string();
    let server = Server::with(&[("sockets.connections", &more), ("server.backlog", "2000000000")]).await;
    let matters = rlimit_of(server.pid()) > somaxconn + 100;
    server.stop().await;
    assert_eq!(server.log().contains("the kernel queues"), matters, "{}", server.log());
}

/// Files that this process may open.
fn rlimit_of(pid: u32) -> usize {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("a running process");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("its limit");
    line.split_whitespace().nth(4).and_then(|word| word.parse().ok()).expect("a number")
}

#[tokio::test]
async fn limits_that_nobody_has_set_fit_the_machine_and_the_start_says_so_in_one_line() {
    let told = |server: &Server| {
        let log = server.log();
        let lines: Vec<String> = log.lines().filter(|line| line.contains("the limits fit")).map(String::from).collect();
        lines
    };
    let server = Setup::new().set("limits.memory_mib", "64").start_after("ulimit -n 1000").await;
    let lines = told(&server);
    assert_eq!(lines.len(), 1, "{}", server.log());
    for said in ["64 MiB", "sockets.connections is 9", "limits.http_connections is 9", "rooms.rings_bytes is 16777216"]
    {
        assert!(lines[0].contains(said), "{said}: {}", lines[0]);
    }
    assert!(!server.log().contains("fewer than sockets.connections"), "{}", server.log());
    let set = Setup::new()
        .set("limits.memory_mib", "64")
        .set("sockets.connections", "5000")
        .set("rooms.rings_bytes", "20000000");
    let server = set.start_after("ulimit -n 1000").await;
    let line = told(&server).concat();
    assert!(!line.contains("sockets.connections") && !line.contains("rings_bytes"), "what is set stays: {line}");
    server.process().logged("fewer than sockets.connections (5000)").await;
}
