//! The files in `deploy/` against what the binary knows: its settings, its routes, its ports and how long it takes to end.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    process::Command,
};

use natter::{
    config::{
        Config, check,
        load::{self, Inputs},
    },
    http::routes,
};
use serde_yaml_ng::{Deserializer, Value};

use crate::harness::{Authority, Ran};

const COMPOSE: &str = "compose.yaml";
const COMPOSE_ONE: &str = "compose.one.yaml";
const KUBERNETES: &str = "kubernetes.yaml";
const NATTERS: [&str; 2] = ["natter1", "natter2"];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

fn text(file: &str) -> String {
    fs::read_to_string(folder().join(file)).unwrap_or_else(|error| panic!("deploy/{file}: {error}"))
}

/// Every document of a file, with what `<<` merges.
fn documents(file: &str) -> Vec<Value> {
    let text = text(file);
    let documents = Deserializer::from_str(&text).map(|document| {
        let mut value: Value =
            serde::Deserialize::deserialize(document).unwrap_or_else(|error| panic!("{file}: {error}"));
        value.apply_merge().unwrap_or_else(|error| panic!("{file}: {error}"));
        value
    });
    documents.collect()
}

fn compose() -> Value {
    documents(COMPOSE).remove(0)
}

fn kubernetes(kind: &str) -> Value {
    let found = documents(KUBERNETES).into_iter().find(|document| document["kind"] == kind);
    found.unwrap_or_else(|| panic!("{KUBERNETES} has no {kind}"))
}

fn natter_container() -> Value {
    kubernetes("Deployment")["spec"]["template"]["spec"]["containers"][0].clone()
}

/// A plain value as text.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        other => panic!("not a plain value: {other:?}"),
    }
}

/// `30s` or `30`, in seconds.
fn seconds(value: &Value) -> u64 {
    let text = plain(value);
    text.trim_end_matches('s').parse().unwrap_or_else(|_| panic!("not seconds: {text}"))
}

/// What compose makes of `${NAME}`, `${NAME:-default}`, `${NAME:?sentence}` and `$$`, with `given` as the environment. Fails
/// with the sentence where a variable must be given.
fn interpolated(text: &str, given: &BTreeMap<&str, &str>) -> Result<String, String> {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('$') {
        out += &rest[..at];
        rest = &rest[at + 1..];
        if let Some(more) = rest.strip_prefix('$') {
            out.push('$');
            rest = more;
            continue;
        }
        let (inside, more) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).expect("${…} or $$");
        rest = more;
        let end = inside.find(':').unwrap_or(inside.len());
        let (name, otherwise) = inside.split_at(end);
        out += match (given.get(name), otherwise.split_at_checked(2)) {
            (Some(value), _) => value,
            (None, Some((":-", default))) => default,
            (None, Some((":?", sentence))) => return Err(sentence.to_owned()),
            (None, _) => panic!("`{name}` has neither a default nor a sentence"),
        };
    }
    Ok(out + rest)
}

fn given() -> BTreeMap<&'static str, &'static str> {
    let strong = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";
    BTreeMap::from([("MONGO_PASSWORD", "c0ffee"), ("NATS_TOKEN", "decade"), ("SECRET_KEY", strong)])
}

type Environment = BTreeMap<String, String>;

fn compose_environment(service: &str) -> Environment {
    let service = compose()["services"][service].clone();
    let variables = service["environment"].as_mapping().expect("variables").iter();
    let given = given();
    variables
        .map(|(name, value)| (plain(name), interpolated(&plain(value), &given).unwrap_or_else(|why| panic!("{why}"))))
        .collect()
}

fn kubernetes_environment() -> Environment {
    let container = natter_container();
    let secrets = BTreeMap::from([
        ("db-url", "mongodb://a,b,c/?replicaSet=rs0"),
        ("bus-url", "nats://token@nats:4222"),
        ("secret-key", given()["SECRET_KEY"]),
    ]);
    let variables = container["env"].as_sequence().expect("variables").iter();
    variables
        .map(|variable| {
            let secret = &variable["valueFrom"]["secretKeyRef"];
            let value = match secret["key"].as_str() {
                Some(key) => {
                    assert_eq!(secret["name"], "natter");
                    secrets
                        .get(key)
                        .unwrap_or_else(|| panic!("the secret of the instructions has no {key}"))
                        .to_string()
                }
                None => plain(&variable["value"]),
            };
            (plain(&variable["name"]), value)
        })
        .collect()
}

/// Every natter that is deployed here, by where, with its environment.
fn deployed() -> Vec<(&'static str, Environment)> {
    let composed = NATTERS.map(|service| (service, compose_environment(service)));
    composed.into_iter().chain([(KUBERNETES, kubernetes_environment())]).collect()
}

fn config(environment: &Environment) -> Config {
    let environment = environment.iter().map(|(name, value)| (name.into(), value.into())).collect();
    let inputs = Inputs { folder: std::env::temp_dir().join("there is none"), environment, ..Inputs::default() };
    load::load(&inputs).unwrap_or_else(|problems| panic!("{problems}")).config
}

fn serves(path: &str) -> bool {
    routes::listing().any(|(method, route, _)| method == "GET" && route == path)
}

#[tokio::test]
async fn the_binary_knows_every_setting_and_finds_nothing_wrong() {
    for (place, environment) in deployed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = Command::new(env!("CARGO_BIN_EXE_natter"));
        command.arg("check-config").current_dir(folder.path()).env_clear().envs(&environment);
        let told = Ran::of(command, "").await.ok();
        assert!(!told.contains("warning"), "{place}: {told}");
        for name in environment.keys() {
            assert!(
                told.contains(&format!("variable {name}\n")) || told.contains("db_name = \"natter\"\n"),
                "{place}: {name}"
            );
        }
    }
}

#[test]
fn several_natters_share_a_database_a_bus_and_a_key() {
    for (place, environment) in deployed() {
        let config = config(&environment);
        assert!(config.store.url.starts_with("mongodb://"), "{place}");
        assert!(config.bus.url.starts_with("nats://"), "{place}");
        assert!(!config.auth.secret_key.is_empty(), "{place}");
        assert!(!config.server.trusted_proxies.is_empty(), "{place}: all clients would share the proxy's limits");
    }
    assert_eq!(compose_environment(NATTERS[0]), compose_environment(NATTERS[1]));
}

#[test]
fn no_secret_is_in_a_file_and_a_missing_one_is_told() {
    let compose = compose();
    for service in ["natter1", "mongo", "mongo-init"] {
        for (name, value) in compose["services"][service]["environment"].as_mapping().expect("variables") {
            let (name, value) = (plain(name), plain(value));
            if ["PASSWORD", "SECRET", "URL"].iter().any(|word| name.contains(word)) {
                let sentence = interpolated(&value, &BTreeMap::new()).expect_err(&name);
                assert!(sentence.starts_with("set "), "{name}: {sentence}");
            }
        }
    }
    let command = compose["services"]["nats"]["command"].as_sequence().expect("arguments");
    assert!(command.iter().any(|argument| interpolated(&plain(argument), &BTreeMap::new()).is_err()));
    for variable in natter_container()["env"].as_sequence().expect("variables") {
        let name = plain(&variable["name"]);
        if ["DB_URL", "SECRET_KEY", "NATTER_BUS__URL"].contains(&name.as_str()) {
            assert!(variable["value"].is_null(), "{name}");
        }
    }
    assert!(["auth.secret_key", "store.url", "bus.url"].into_iter().all(check::is_secret));
}

#[test]
fn there_is_time_to_drain() {
    for service in NATTERS {
        let drain = config(&compose_environment(service)).server.drain_secs;
        assert!(seconds(&compose()["services"][service]["stop_grace_period"]) >= drain + 5, "{service}");
    }
    let drain = config(&kubernetes_environment()).server.drain_secs;
    let wait = seconds(&natter_container()["lifecycle"]["preStop"]["sleep"]["seconds"]);
    let given = seconds(&kubernetes("Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]);
    assert!(given >= wait + drain + 5, "{given} s for {wait} s and {drain} s");
    let given = seconds(&Value::from(unit_setting("Service", "TimeoutStopSec")));
    assert!(given >= Config::default().server.drain_secs + 5);
}

#[test]
fn ports_and_probes_are_those_that_are_served() {
    let container = natter_container();
    let config_there = config(&kubernetes_environment());
    let port = |name: &str| {
        let ports = container["ports"].as_sequence().expect("ports");
        let port = ports.iter().find(|port| port["name"] == name).unwrap_or_else(|| panic!("no port {name}"));
        port["containerPort"].as_u64().expect("a number")
    };
    assert_eq!(port("http"), u64::from(config_there.server.bind.port()));
    let metrics = config_there.server.metrics_bind.expect("metrics have a port of their own");
    assert_eq!(port("metrics"), u64::from(metrics.port()));
    let annotations = &kubernetes("Deployment")["spec"]["template"]["metadata"]["annotations"];
    assert_eq!(plain(&annotations["prometheus.io/port"]), metrics.port().to_string());
    assert!(serves(&plain(&annotations["prometheus.io/path"])));
    for (probe, path) in [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")] {
        let get = &container[probe]["httpGet"];
        assert!(get["path"] == path && get["port"] == "http" && serves(path), "{probe}");
    }
    assert_eq!(kubernetes("Service")["spec"]["ports"][0]["targetPort"], "http");
}

#[test]
fn no_service_of_kubernetes_writes_into_the_environment() {
    assert_eq!(kubernetes("Deployment")["spec"]["template"]["spec"]["enableServiceLinks"], false);
}

#[test]
fn what_belongs_together_on_kubernetes_has_the_same_labels() {
    let (deployment, service) = (kubernetes("Deployment"), kubernetes("Service"));
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    assert!(labels.is_mapping());
    assert_eq!(&deployment["spec"]["selector"]["matchLabels"], labels);
    assert_eq!(&service["spec"]["selector"], labels);
    assert_eq!(&kubernetes("PodDisruptionBudget")["spec"]["selector"]["matchLabels"], labels);
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(&pod["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"], labels);
    let volumes = pod["volumes"].as_sequence().expect("volumes");
    assert!(volumes.iter().all(|volume| volume["emptyDir"].is_mapping()), "a pod keeps nothing");
}

#[test]
fn the_proxy_knows_every_natter_and_asks_for_a_path_that_is_there() {
    let caddyfile = text("Caddyfile");
    let setting = |name: &str| {
        let line = caddyfile.lines().map(str::trim).find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name}")).trim().trim_end_matches('{').trim()
    };
    let upstreams: BTreeSet<String> = setting("reverse_proxy ").split_whitespace().map(String::from).collect();
    let served =
        NATTERS.map(|service| format!("{service}:{}", config(&compose_environment(service)).server.bind.port()));
    assert_eq!(upstreams, served.into());
    assert!(serves(setting("health_uri ")));
    assert!(!caddyfile.contains("cookie") && !caddyfile.contains("ip_hash"), "no sticky sessions");
    let compose = compose();
    let mounts = compose["services"]["proxy"]["volumes"].as_sequence().expect("volumes");
    assert!(mounts.iter().any(|mount| plain(mount).starts_with("./Caddyfile:")));
    let environment = compose["services"]["proxy"]["environment"].as_mapping().expect("variables");
    assert!(environment.keys().all(|name| caddyfile.contains(&format!("{{${}:", plain(name)))));
}

#[test]
fn services_wait_for_services_that_are_there_and_are_healthy() {
    let compose = compose();
    let services = compose["services"].as_mapping().expect("services");
    for (name, service) in services {
        let needed: Vec<String> = match &service["depends_on"] {
            Value::Sequence(needed) => needed.iter().map(plain).collect(),
            Value::Mapping(needed) => needed.keys().map(plain).collect(),
            _ => Vec::new(),
        };
        assert!(needed.iter().all(|needed| services.contains_key(needed.as_str())), "{name:?}");
        assert!(service["healthcheck"].is_mapping() || name == "mongo-init", "{name:?} has no health check");
        assert!(service["ports"].is_null() || name == "proxy", "{name:?} can be reached from outside");
        let networks = service["networks"].as_sequence().expect("networks");
        let known = |network: &Value| compose["networks"][plain(network).as_str()].is_mapping();
        assert!(networks.iter().all(known), "{name:?}");
        for volume in service["volumes"].as_sequence().into_iter().flatten().map(plain) {
            let (from, _) = volume.split_once(':').expect("from:to");
            let named = compose["volumes"].as_mapping().expect("volumes").contains_key(from);
            assert!(named || folder().join(from).exists(), "{name:?}: {from}");
        }
    }
}

#[test]
fn a_secret_of_compose_is_where_natter_is_told_to_look() {
    let with_secret = documents("compose.secrets.yaml").remove(0);
    let secret = plain(&with_secret["services"]["natter"]["secrets"][0]);
    let variable = plain(&with_secret["services"]["natter"]["environment"]["SECRET_KEY_FILE"]);
    assert_eq!(variable, format!("/run/secrets/{secret}"));
    let file = plain(&with_secret["secrets"][secret.as_str()]["file"]);
    assert!(interpolated(&file, &BTreeMap::new()).expect_err("it must be given").starts_with("set SECRET_KEY_FILE"));
    assert!(documents(COMPOSE_ONE).remove(0)["services"]["natter"].is_mapping(), "it goes with this one");
}

#[tokio::test]
async fn one_natter_by_itself_speaks_https_on_the_port_that_is_published() {
    let service = documents(COMPOSE_ONE).remove(0)["services"]["natter"].clone();
    let variables = service["environment"].as_mapping().expect("variables").iter();
    let environment: Environment = variables.map(|(name, value)| (plain(name), plain(value))).collect();
    let config = config(&environment);
    assert_eq!(plain(&service["ports"][0]), format!("443:{}", config.server.bind.port()));
    let volumes: Vec<String> = service["volumes"].as_sequence().expect("volumes").iter().map(plain).collect();
    for file in [&config.server.tls_cert, &config.server.tls_key] {
        let mount = volumes.iter().find(|volume| volume.contains(&format!(":{file}:ro"))).expect("a mount");
        assert!(interpolated(mount, &BTreeMap::new()).expect_err("it must be given").starts_with("set TLS_"));
    }
    assert!(volumes.contains(&"data:/data".to_owned()), "data outlives the container");
    assert!(seconds(&service["stop_grace_period"]) >= config.server.drain_secs + 5);
    assert_eq!(service["healthcheck"]["test"][2], "health");
    assert_eq!(unit_setting("Service", "ExecReload"), "/bin/kill -HUP $MAINPID");
    // The files are looked at, too; here they are somewhere else.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let identity = Authority::new().identity();
    let mut command = Command::new(env!("CARGO_BIN_EXE_natter"));
    command.arg("check-config").current_dir(folder.path()).env_clear().envs(&environment);
    for (name, pem) in [("CERT", identity.certificate), ("KEY", identity.key)] {
        let file = folder.path().join(name);
        fs::write(&file, pem).expect("the test's own folder is writable");
        command.env(format!("NATTER_SERVER__TLS_{name}"), file);
    }
    Ran::of(command, "").await.ok();
}

/// The value of a setting of the systemd unit; its last one.
fn unit_setting(section: &str, key: &str) -> String {
    let unit = text("natter.service");
    let begin = unit.split(&format!("[{section}]\n")).nth(1).unwrap_or_else(|| panic!("no [{section}]"));
    let lines = begin.lines().take_while(|line| !line.starts_with('['));
    let found = lines.filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).last();
    found.unwrap_or_else(|| panic!("no {key} in [{section}]")).to_owned()
}

#[tokio::test]
async fn the_unit_runs_commands_that_are_there() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config_file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config.toml");
    let commands = ["ExecStartPre", "ExecStart"].map(|key| unit_setting("Service", key));
    for (line, last) in commands.iter().zip(["check-config --quiet", "serve"]) {
        assert_eq!(line, &format!("/usr/local/bin/natter --config /etc/natter/config.toml {last}"));
    }
    // What README says for the first admin has the same data as the unit.
    let readme = text("README.md");
    let command = readme.lines().find(|line| line.contains("systemd-run")).expect("the command for the first admin");
    for key in ["EnvironmentFile", "WorkingDirectory"] {
        let given = format!("-p {key}={}", unit_setting("Service", key));
        assert!(command.contains(&given), "{given} is not in {command}");
    }
    let own = command.split_once("/usr/local/bin/natter ").expect("natter's own words").1;
    let own = own.replace("/etc/natter/config.toml", config_file.to_str().expect("text"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_natter"));
    command.args(own.split_whitespace()).arg("--password-stdin").current_dir(folder.path()).env_clear();
    command.env("DB_URL", "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=100");
    let refused = Ran::of(command, "a-password-of-hers\n").await.failed();
    assert!(refused.contains("MongoDB at 127.0.0.1:1 cannot be reached"), "{refused}");
    assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 0, "no other database is made");
    let mut command = Command::new(env!("CARGO_BIN_EXE_natter"));
    command.arg("--config").arg(config_file).arg("check-config").current_dir(folder.path()).env_clear();
    Ran::of(command, "").await.ok();
    assert_eq!(unit_setting("Service", "KillSignal"), "SIGTERM");
    let files: usize = unit_setting("Service", "LimitNOFILE").parse().expect("a number");
    assert!(files > Config::default().sockets.connections, "a connection is an open file");
}

#[tokio::test]
async fn systemd_takes_the_unit() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("natter.service");
    // systemd wants the program to be there.
    let unit = text("natter.service").replace("/usr/local/bin/natter", env!("CARGO_BIN_EXE_natter"));
    fs::write(&file, unit).expect("the test's own folder is writable");
    let mut command = Command::new("systemd-analyze");
    command.args(["verify", "--man=no", "--generators=no"]).arg(&file);
    let ran = Ran::of(command, "").await;
    let about_it: Vec<&str> = ran.stderr.lines().filter(|line| line.contains("natter.service")).collect();
    assert!(ran.code == Some(0) && about_it.is_empty(), "{ran:?}");
}

#[test]
fn no_container_of_compose_fills_the_disk_or_the_memory_or_changes_by_itself() {
    for (file, services) in [(COMPOSE, 6), (COMPOSE_ONE, 1)] {
        let compose = documents(file).remove(0);
        let found = compose["services"].as_mapping().expect("services");
        assert_eq!(found.len(), services, "{file}");
        for (name, service) in found {
            assert!(!service["logging"]["options"]["max-size"].is_null(), "{file} {name:?}: its log grows without end");
            assert!(!service["mem_limit"].is_null(), "{file} {name:?} may take all memory");
            let image = plain(&service["image"]);
            let pinned = image.split_once(':').is_none_or(|(_, tag)| tag.contains('.'));
            assert!(pinned, "{file} {name:?}: {image} is another version from one day to the next");
        }
    }
}
