//! README.md says what is so: its examples run as they stand and print what it shows, and the keys, metrics, commands and
//! routes that it names are there.

mod page;

use std::{collections::BTreeSet, env, path::Path, process::Command};

use self::page::{Block, blocks, blocks_in, code, essence};
use crate::harness::{
    Nats, Process, Ran, Server, Setup,
    services::{Database, Port},
    until,
};

const PAGE: &str = include_str!("../../README.md");
const SETTINGS: &str = include_str!("../../config.toml");
const RESTART: &str = include_str!("readme/restart.mjs");

/// Where the examples expect the server.
const ADDRESS: &str = "127.0.0.1:8000";

/// What stands between the outputs of two blocks.
const RULE: &str = "---- next block ----";

/// Runs what a reader would paste, in the server's folder, with `natter` in the `PATH`.
async fn run(server: &Server, mut command: Command) -> String {
    let natter = Path::new(env!("CARGO_BIN_EXE_natter")).parent().expect("a file is in a folder");
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([natter.to_owned()].into_iter().chain(env::split_paths(&path)));
    command.current_dir(server.dir()).env("PATH", path.expect("folders of a PATH"));
    // Whatever begins with NATTER_ is a setting to natter.
    env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("NATTER_TEST_")).for_each(|(name, _)| {
        command.env_remove(name);
    });
    let ran = Ran::of(command, "").await;
    assert_eq!(ran.stderr, "", "{}", ran.stdout);
    ran.ok()
}

fn here(server: &Server, text: &str) -> String {
    text.replace(ADDRESS, &server.reach.addr.to_string())
}

/// All blocks in one shell, as somebody pastes them one after the other.
async fn run_shell_blocks(server: &Server, blocks: &[&Block]) {
    let script: String = blocks.iter().map(|block| format!("{}echo '{RULE}'\n", here(server, &block.text))).collect();
    let mut bash = server.command_with(&[]);
    let settings: Vec<_> =
        bash.get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned))).collect();
    bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", &script]);
    bash.envs(settings.into_iter().filter_map(|(name, value)| Some((name, value?))));
    let printed = run(server, bash).await;
    let printed: Vec<&str> = printed.split(&format!("{RULE}\n")).collect();
    for (block, printed) in blocks.iter().zip(printed) {
        if let Some(promised) = &block.output {
            // The folder of whoever reads it.
            let printed = printed.replace(&server.dir().display().to_string(), "/home/you/natter");
            assert_eq!(essence(&printed), essence(promised), "{}", block.text);
        }
    }
}

#[tokio::test]
async fn the_examples_run_as_pasted_and_print_what_the_page_shows() {
    let server = Server::start().await;
    let blocks = blocks(PAGE);
    let shell = blocks_in(&blocks, "sh");
    assert!(shell.len() >= 5, "the page has lost its examples");
    run_shell_blocks(&server, &shell).await;

    let script = script(&blocks);
    let printed = run(&server, node(&server, &script.text)).await;
    let promised = script.output.as_deref().expect("the page shows what the example prints");
    assert_eq!(printed, promised, "{}", server.log());
    assert!(server.dir().join("natter-backup.db").exists(), "the page's backup was made");
}

#[tokio::test]
async fn the_commands_that_move_a_server_to_mongodb_and_nats_run_as_pasted() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    ann.post(&room, "before the move").await;
    let (database, nats) = (Database::fresh(), Nats::start().await);
    let ports = [Port::take(), Port::take()];
    let blocks = blocks(PAGE);
    let pasted: Vec<&Block> = blocks_in(&blocks, "bash");
    assert!(pasted.len() >= 3, "the page has lost its way to many machines");
    let mut script = format!("export DB_NAME={}\n", database.name());
    script.extend(pasted.iter().map(|block| block.text.as_str()));
    // The servers stay in the background; what they log is no output of the page's commands.
    script += "kill %1 %2\nwait\n";
    let script = script
        .replace("mongodb://127.0.0.1:27017", database.url().trim_end_matches('/'))
        .replace("nats://127.0.0.1:4222", &nats.url())
        .replace("127.0.0.1:8001", &ports[0].addr().to_string())
        .replace("127.0.0.1:8002", &ports[1].addr().to_string())
        .replace(" &\n", " >/dev/null 2>&1 &\n");
    let mut bash = server.command_with(&[]);
    let settings: Vec<_> =
        bash.get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned))).collect();
    bash = Command::new("bash");
    // Progress goes to standard error, a line now and then.
    bash.args(["-euo", "pipefail", "-c", &format!("exec 2>progress\n{script}")]);
    bash.envs(settings.into_iter().filter_map(|(name, value)| Some((name, value?))));
    bash.env_remove("NATTER_SERVER__BIND").env_remove("NATTER_STORE__URL").env_remove("NATTER_STORE__DB_NAME");
    let printed = run(&server, bash).await;
    let promised = pasted.last().and_then(|block| block.output.as_deref()).expect("the page shows the answers");
    assert!(printed.ends_with(promised.trim_end()), "{printed}");
}

/// The page's one example in JavaScript.
fn script(blocks: &[Block]) -> &Block {
    let [script] = blocks_in(blocks, "js")[..] else { panic!("the page has one example in JavaScript") };
    script
}

/// What runs a script against this server.
fn node(server: &Server, script: &str) -> Command {
    let version = Command::new("node").arg("--version").output();
    assert!(
        version.is_ok(),
        "README's JavaScript needs Node 20 or newer, and there is no `node`: apt-get install nodejs"
    );
    std::fs::write(server.dir().join("chat.mjs"), here(server, script)).expect("the test's own folder");
    let mut node = Command::new("node");
    node.args(["--experimental-websocket", "--no-warnings", "chat.mjs"]).current_dir(server.dir());
    node
}

#[tokio::test]
async fn the_pages_client_comes_back_to_a_killed_server_and_sends_again_what_had_no_answer() {
    let mut server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let blocks = blocks(PAGE);
    let (client, _use) = script(&blocks).text.split_once("const ann = ").expect("the client, then its use");
    let client = Process::spawn(node(&server, &format!("{client}{RESTART}")));
    client.line("kill it").await;
    server.kill().await;
    client.line("start it").await;
    server.restart().await;
    client.line("acknowledged false").await;
    assert_eq!(client.ended().await.code(), Some(0), "{}", client.stderr());
    let history = ann.history(&room, "").await;
    let messages = history["messages"].as_array().expect("messages");
    let texts: Vec<&str> = messages.iter().filter_map(|message| message["content"].as_str()).collect();
    assert_eq!(texts, ["one", "two"]);
    assert_eq!(client.stdout().matches("got ").count(), 2, "{}", client.stdout());
}

#[tokio::test]
async fn what_it_shows_of_the_start_is_what_the_server_says() {
    let server = Server::start().await;
    let blocks = blocks(PAGE);
    let start = blocks.iter().find(|block| block.text.starts_with("cargo run")).expect("how to start it");
    let shown = start.output.as_deref().expect("what a start prints");
    server.process().line("no admin yet").await;
    let said =
        here(&server, shown).replace("/home/you/natter/data", &server.data().canonicalize().unwrap().to_string_lossy());
    assert_eq!(server.process().stdout(), said);
}

/// `auth.signup`, `NATTER_AUTH__SIGNUP=…`, `--set auth.signup=…`: the key in it, if that is what it is.
fn setting(code: &str) -> Option<String> {
    let word = code.strip_prefix("--set ").unwrap_or(code).split('=').next()?.trim();
    let key = match word.strip_prefix("NATTER_") {
        Some(variable) => variable.to_lowercase().replace("__", "."),
        None => word.to_owned(),
    };
    let (section, name) = key.split_once('.')?;
    let is_section = SETTINGS.lines().any(|line| line == format!("[{section}]"));
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    (is_section && is_name).then_some(key)
}

/// Every key of config.toml with its default.
fn settings() -> Vec<(String, &'static str)> {
    let mut section = "";
    let mut all = Vec::new();
    for line in SETTINGS.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some((key, default)) = line.strip_prefix('#').and_then(|line| line.split_once(" = "))
            && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        {
            all.push((format!("{section}.{key}"), default));
        }
    }
    all
}

#[test]
fn every_setting_it_names_is_in_config_toml() {
    let named: BTreeSet<String> = code(PAGE).into_iter().filter_map(setting).collect();
    assert!(named.len() > 20, "{named:?}");
    let known = settings();
    for key in named {
        assert!(
            known.iter().any(|(known, _)| *known == key),
            "README.md names `{key}`, and config.toml has no such key"
        );
    }
}

#[test]
fn the_defaults_it_tells_are_those_of_config_toml() {
    let known = settings();
    let rows = PAGE.lines().filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let keys: Vec<&str> = code(cells.get(1)?).into_iter().filter(|code| setting(code).is_some()).collect();
        (!keys.is_empty() && cells.len() == 5).then(|| (keys, cells[2].replace('`', "")))
    });
    let mut compared = 0;
    for (keys, defaults) in rows {
        for (key, told) in keys.iter().zip(defaults.split(", ")) {
            let (_, default) = known.iter().find(|(known, _)| known == key).expect("checked above");
            let right = match default.trim_matches('"') {
                "" | "[]" => told == "none" || told == "made at the first start",
                default => told == default,
            };
            assert!(right, "README.md says that {key} is {told} unless set; it is {default}");
            compared += 1;
        }
    }
    assert!(compared > 15, "only {compared} defaults are told");
}

#[tokio::test]
async fn every_metric_it_names_is_at_metrics() {
    let server = Server::with(&[("limits.message_chars", "3")]).await;
    // A series with labels is there once something happened: a bound is hit, a socket closes.
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    ann.try_post(&room, &serde_json::json!({"message": "four"})).await.refused(422);
    ann.socket().await.close().await;
    until("the close to be counted", async || server.metric("natter_closes_total").await >= 1.0).await;

    let series = server.metrics().await;
    let there: BTreeSet<&str> = series
        .keys()
        .map(|name| name.split('{').next().expect("a name"))
        .flat_map(|name| [name, name.strip_suffix("_bucket").unwrap_or(name)])
        .collect();
    let named: BTreeSet<&str> = code(PAGE).into_iter().filter(|code| code.starts_with("natter_")).collect();
    assert!(named.len() > 10, "{named:?}");
    for name in named {
        assert!(there.contains(name), "README.md names the metric `{name}`, and /metrics has {there:#?}");
    }
}

/// The subcommand and the flags of `… | natter admin create --username root`.
fn command(line: &str) -> Option<(Vec<&str>, Vec<&str>)> {
    let at = line.find("natter ")?;
    if at > 0 && !line[..at].ends_with("| ") {
        return None;
    }
    let words: Vec<&str> = line[at..].split_whitespace().skip(1).collect();
    let is_plain = |word: &&&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-');
    let path = words.iter().take_while(is_plain).copied().collect();
    Some((path, words.into_iter().filter(|word| word.starts_with("--")).collect()))
}

#[tokio::test]
async fn every_command_it_names_exists() {
    let blocks = blocks(PAGE);
    let pasted = blocks.iter().filter(|block| matches!(&*block.language, "sh" | "console"));
    let lines = pasted.flat_map(|block| block.text.lines()).chain(code(PAGE));
    let named: BTreeSet<(Vec<&str>, Vec<&str>)> = lines.filter_map(command).collect();
    assert!(named.len() > 8, "{named:?}");
    for (path, flags) in named {
        let help = Setup::new().args(&[&path[..], &["--help"]].concat()).run().await.ok();
        for flag in flags {
            assert!(help.contains(flag), "README.md names `{flag}` of natter {path:?}:\n{help}");
        }
    }
    let help = Setup::new().args(&["--help"]).run().await.ok();
    for flag in code(PAGE).into_iter().filter_map(|code| code.split(' ').next()).filter(|code| code.starts_with("--")) {
        let of_restore = flag == "--force";
        assert!(of_restore || help.contains(flag), "README.md names `{flag}`:\n{help}");
    }
}

#[test]
fn every_route_is_on_the_page_and_every_route_of_the_page_is_there() {
    let mut named = BTreeSet::new();
    for line in PAGE.lines() {
        let mut path = String::new();
        for code in code(line) {
            let (method, rest) = code.split_once(' ').unwrap_or((code, ""));
            if !["GET", "POST", "PATCH", "DELETE"].contains(&method) {
                // `…/enable` is written after the whole path of another.
                if let (Some(last), Some(at)) = (code.strip_prefix('…'), path.rfind('/')) {
                    named.insert(format!("POST {}{last}", &path[..at]));
                }
                continue;
            }
            if rest.starts_with('/') {
                path = rest.split(['?', ' ']).next().expect("a path").to_owned();
            }
            if !path.is_empty() {
                named.insert(format!("{method} {path}"));
            }
        }
    }
    let there: BTreeSet<String> =
        natter::http::routes::listing().map(|(method, path, _)| format!("{method} {path}")).collect();
    assert_eq!(named, there);
}
