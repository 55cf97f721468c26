//! schemathesis makes up thousands of requests out of `/openapi.json`, good ones and bad ones, and holds each answer against
//! it: no 500, no status, header, type or body that is not told, and nothing accepted that a schema forbids.
//!
//! tests/run installs it (tests/services/requirements.txt) and says where it is.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use crate::harness::{PASSWORD, Server};

const SETTINGS: &str = include_str!("schemathesis.toml");
/// How many requests there must be at least.
const CASES: u64 = 2_000;
/// It takes less than a minute on two cores that do nothing else.
const MOST_SECS: &str = "175";

/// A server with an admin, people, chats with messages, and logins to use up; and settings that name them.
async fn seed(server: &Server) -> String {
    let root = server.admin().await;
    let (bob, cho) = (server.person("bob").await, server.person("cho").await);
    let group = root.group("Tea", [&bob, &cho]).await;
    let (member, private) = (bob.group("Bob's", [&root]).await, root.private(&bob).await);
    for number in 0..5 {
        root.post(&group, &format!("message {number}")).await;
    }
    server.reach.register("eve", PASSWORD).await.ok();
    let mut logins = Vec::new();
    for _ in 0..8 {
        logins.push(server.sign_in("eve").await.refresh_token);
    }
    let list = |texts: &[String]| texts.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(", ");
    let chats = list(&[group.clone(), group, member, private]);
    SETTINGS
        .replace("<token>", &root.token)
        .replace("<password>", PASSWORD)
        .replace("<chats>", &chats)
        .replace("<logins>", &list(&logins))
}

#[tokio::test]
async fn schemathesis_finds_no_500_and_nothing_that_is_not_as_told_in_2000_cases() {
    let program =
        std::env::var("NATTER_TEST_SCHEMATHESIS").expect("run this by tests/run, which installs schemathesis");
    let server = Server::start().await;
    let settings = seed(&server).await;
    let (file, report) = (server.dir().join("schemathesis.toml"), server.dir().join("report.json"));
    fs::write(&file, settings).expect("the test's own folder is writable");
    let mut command = Command::new("timeout");
    command
        .current_dir(server.dir())
        .args([MOST_SECS, &program, "--config-file"])
        .arg(&file)
        .args(["run", &server.url("/openapi.json")]);
    // More workers would be threads, in which Python 3.11 now and then stumbles over its own parser.
    command.args(["--phases", "examples,coverage,fuzzing", "--max-examples", "45", "--seed", "1", "--workers", "1"]);
    command.args(["--continue-on-failure", "--generation-database", "none", "--request-timeout", "20", "--no-color"]);
    command.args(["--report", "json", "--report-json-path"]).arg(&report);
    let ran =
        tokio::task::spawn_blocking(move || command.output()).await.expect("it is waited for").expect("it starts");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{}: {said}{}", ran.status, String::from_utf8_lossy(&ran.stderr));
    let report = read(&report);
    assert_eq!(report["complete"], true, "{said}");
    assert_eq!(report["operations"]["tested"], report["operations"]["total"], "{said}");
    assert_eq!(report["test_cases"]["errored"], 0, "{said}");
    assert!(report["test_cases"]["generated"].as_u64() >= Some(CASES), "{}", report["test_cases"]);
    assert_eq!(server.metric("natter_handler_panics_total").await, 0.0);
}

fn read(report: &Path) -> Value {
    let text = fs::read_to_string(report).expect("it writes what it did");
    serde_json::from_str(&text).expect("its report is JSON")
}
