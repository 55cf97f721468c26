//! What is written down of sign-ins and of what admins and operators do, and what never is.

use std::fs;

use regex::Regex;
use serde_json::{Value, json};

use crate::harness::{PASSWORD, Person, Server, Setup};

const WRONG: &str = "not the password";

async fn entries(root: &Person, query: &str) -> Vec<Value> {
    root.get(&format!("/audit{query}")).await.ok()["entries"].as_array().expect("entries").clone()
}

fn told(entries: &[Value]) -> Vec<(&str, Option<&str>, Option<&str>)> {
    entries
        .iter()
        .map(|entry| (entry["what"].as_str().expect("a what"), entry["who"].as_str(), entry["whom"].as_str()))
        .collect()
}

/// A server that writes its audit into a file of its data folder.
async fn server_with_file() -> (Server, std::path::PathBuf) {
    let setup = Setup::new();
    let file = setup.dir().join("audit.log");
    let server = setup.set("log.audit", file.to_str().expect("a path")).start().await;
    (server, file)
}

#[tokio::test]
async fn what_admins_do_is_written_down_with_who_and_from_where() {
    let server = Server::start().await;
    let (root, ann) = (server.admin().await, server.person("ann").await);
    for role in ["add-role", "remove-role"] {
        root.post_json(&format!("/users/{role}"), &json!({"username": "ann", "role_name": "admin"})).await.ok();
    }
    root.post_empty("/users/ann/disable").await.ok();
    root.post_empty("/users/ANN/enable").await.ok();
    root.post_empty("/users/ann/logout").await.ok();
    root.post_json("/users/ann/reset-password", &json!({"password": "a better one 42"})).await.ok();
    root.post_json("/users/create", &json!({"username": "zoe", "password": PASSWORD})).await.ok();
    // What was refused did not happen.
    root.post_empty("/users/nobody/disable").await.refused(404);
    ann.get("/audit").await.refused(401);
    let mut written = entries(&root, "?who=root").await;
    written.retain(|entry| entry["whom"].is_string());
    written.reverse();
    let (by, ann) = (Some("root"), Some("ann"));
    let expected = [
        ("role_added", by, ann),
        ("role_removed", by, ann),
        ("disabled", by, ann),
        ("enabled", by, ann),
        ("all_logins_ended", by, ann),
        ("password_reset", by, ann),
        ("account_created", by, Some("zoe")),
    ];
    // The operator who made root is not root.
    assert_eq!(told(&written)[written.len() - expected.len()..], expected);
    let first = &written[written.len() - expected.len()];
    assert_eq!(
        (&first["address"], &first["detail"], &first["count"]),
        (&json!("127.0.0.1"), &json!("admin"), &json!(1))
    );
    assert!(first["request_id"].as_str().is_some_and(|id| id.len() == 36), "{first}");
}

#[tokio::test]
async fn what_an_operator_does_is_written_down_with_the_server_running_and_without() {
    for running in [true, false] {
        let mut server = Server::start().await;
        server.admin().await;
        server.person("ann").await;
        if !running {
            server.stop().await;
        }
        server.cli(&["admin", "grant", "ann"]).await.ok();
        server.cli(&["admin", "revoke", "ann"]).await.ok();
        server.cli_reading(&["admin", "create-user", "--username", "zoe", "--password-stdin"], PASSWORD).await.ok();
        server.cli_reading(&["admin", "reset-password", "ann", "--password-stdin"], PASSWORD).await.ok();
        server.cli(&["admin", "disable", "ann"]).await.ok();
        server.cli(&["admin", "grant", "nobody"]).await.failed();
        let file = server.dir().join("export.ndjson.zst");
        server.cli(&["export", file.to_str().expect("a path")]).await.ok();
        if !running {
            server.restart().await;
        }
        let root = server.sign_in("root").await;
        let mut local = entries(&root, "").await;
        local.retain(|entry| entry["address"] == "local");
        let what: Vec<&str> = local.iter().rev().map(|entry| entry["what"].as_str().expect("a what")).collect();
        let expected = [
            "account_created",
            "role_added",
            "role_removed",
            "account_created",
            "password_reset",
            "disabled",
            "export",
        ];
        assert_eq!(what, expected, "{running}");
        assert!(local.iter().all(|entry| entry["who"].is_null()));
    }
}

#[tokio::test]
async fn sign_ins_and_failures_are_written_down_and_repeats_of_one_address_are_counted() {
    let server = Server::with(&[("limits.rates", "off")]).await;
    let root = server.admin().await;
    server.person("ann").await;
    for name in ["ann", "ann", "ann", "nobody", PASSWORD] {
        server.reach.sign_in(name, WRONG).await.refused(401);
    }
    let failed = entries(&root, "?what=sign_in_failed").await;
    let count: u64 = failed.iter().map(|entry| entry["count"].as_u64().expect("a count")).sum();
    assert_eq!((failed.len(), count), (2, 5), "the first at once, the others together: {failed:?}");
    assert_eq!(failed[1]["who"], "ann");
    // What is tried as a name may be a password: names that are nobody's are not written.
    let all = root.get("/audit?limit=500").await.ok().to_string();
    assert!(!all.contains("nobody") && !all.contains(PASSWORD), "{all}");
    let signed_in = entries(&root, "?what=sign_in&who=ann").await;
    assert_eq!((&signed_in[0]["who"], &signed_in[0]["address"]), (&json!("ann"), &json!("127.0.0.1")));
}

#[tokio::test]
async fn a_flood_of_failures_from_one_address_is_a_handful_of_lines() {
    let setup = Setup::new();
    let file = setup.dir().join("audit.log");
    let server = setup.set("log.audit", file.to_str().expect("a path")).set("limits.rates", "off").start().await;
    server.person("ann").await;
    for _ in 0..10 {
        let tries = (0..20).map(|_| server.reach.sign_in("ann", WRONG));
        futures_util::future::join_all(tries).await;
    }
    server.stop().await;
    let text = fs::read_to_string(&file).expect("the audit");
    let failed: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .filter(|line| line["audit"] == "sign_in_failed")
        .collect();
    let count: u64 = failed.iter().map(|line| line["count"].as_u64().expect("a count")).sum();
    let busy = 200 - count;
    assert!(failed.len() < 20 && busy < 200, "{} lines for {count} failures", failed.len());
}

#[tokio::test]
async fn no_secret_is_in_the_audit() {
    let (server, file) = server_with_file().await;
    let root = server.admin().await;
    let ann = server.person("ann").await;
    server.reach.sign_in("ann", WRONG).await.refused(401);
    let change = |current: &str| json!({"password": {"current": current, "new": "a better one 42"}});
    ann.patch("/users/me", &change(WRONG)).await.refused(403);
    ann.patch("/users/me", &change(PASSWORD)).await.ok();
    let renewed = ann.refresh().await.ok();
    ann.delete("/users/me/logins").await.ok();
    ann.post_json("/token/revoke", &json!({"refresh_token": renewed["refresh_token"]})).await.ok();
    root.post_json("/users/ann/reset-password", &json!({"password": "a third one 42"})).await.ok();
    server.cli_reading(&["admin", "reset-password", "ann", "--password-stdin"], "a fourth one 42").await.ok();
    let told = root.get("/audit?limit=500").await.ok().to_string();
    server.stop().await;
    let text = fs::read_to_string(&file).expect("the audit");
    for what in [
        "sign_in",
        "sign_in_failed",
        "password_wrong",
        "password_changed",
        "other_logins_ended",
        "sign_out",
        "password_reset",
    ] {
        assert!(text.contains(&format!("\"{what}\"")) && told.contains(&format!("\"{what}\"")), "{what}: {text}");
    }
    let tokens = [&ann.token, &ann.refresh_token, &root.token, &root.refresh_token].map(|token| token.as_str());
    let secrets = [PASSWORD, WRONG, "a better one 42", "a third one 42", "a fourth one 42", "$2b$"];
    for secret in secrets.into_iter().chain(tokens) {
        assert!(!text.contains(secret) && !told.contains(secret), "a secret is in the audit: {secret}");
    }
}

#[tokio::test]
async fn the_audit_is_for_admins_and_comes_in_pages() {
    let server = Server::start().await;
    let (root, ann) = (server.admin().await, server.person("ann").await);
    ann.get("/audit").await.refused(403);
    server.reach.get("/audit").await.refused(401);
    for n in 0..5 {
        let body = json!({"username": format!("person-{n}"), "password": PASSWORD});
        root.post_json("/users/create", &body).await.ok();
    }
    let (mut names, mut after) = (Vec::new(), String::new());
    loop {
        let page = root.get(&format!("/audit?what=account_created&limit=2{after}")).await.ok();
        let entries = page["entries"].as_array().expect("entries");
        assert!(entries.len() <= 2);
        names.extend(entries.iter().map(|entry| entry["whom"].as_str().expect("a name").to_owned()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(names[..5], ["person-4", "person-3", "person-2", "person-1", "person-0"]);
    root.get("/audit?after=nonsense").await.refused_field("after");
    root.get("/audit?limit=501").await.refused_field("limit");
}

#[tokio::test]
async fn an_audit_that_cannot_be_written_harms_nobody() {
    let server = Setup::new().set("log.audit", "/dev/full").start().await;
    let root = server.admin().await;
    root.post_json("/users/create", &json!({"username": "zoe", "password": PASSWORD})).await.ok();
    assert!(!entries(&root, "?who=zoe").await.is_empty(), "the store has it all the same");
    server.process().logged("the audit could not be written").await;
    let setup = Setup::new().set("log.audit", "/no/such/folder/audit.log");
    assert!(setup.run().await.failed().contains("log.audit"));
}

/// The filter in deploy/ as a regular expression, with what fail2ban puts in place of `<HOST>`.
fn filter() -> Regex {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/fail2ban/filter.conf");
    let text = fs::read_to_string(path).expect("the filter");
    let failregex = text.lines().find_map(|line| line.strip_prefix("failregex = ")).expect("a failregex");
    Regex::new(&failregex.replace("<HOST>", r"(?P<host>[0-9a-fA-F.:]+)")).expect("a regular expression")
}

/// fail2ban takes the date out of a line before it looks for failures, and may leave it.
fn with_and_without_date(line: &str) -> [String; 2] {
    let rest = Regex::new(r#""at":"[^"]*""#).expect("a regular expression").replace(line, "").into_owned();
    [line.to_owned(), rest]
}

#[tokio::test]
async fn the_filter_for_fail2ban_knows_failures_and_nothing_else() {
    let (server, file) = server_with_file().await;
    server.person("ann").await;
    server.reach.register("x\",\"address\":\"192.0.2.99", PASSWORD).await.ok();
    server.reach.sign_in("ann", WRONG).await.refused(401);
    server.reach.sign_in("x\",\"address\":\"192.0.2.99", WRONG).await.refused(401);
    server.stop().await;
    let (text, filter) = (fs::read_to_string(&file).expect("the audit"), filter());
    let mut failures = 0;
    for line in text.lines() {
        let entry: Value = serde_json::from_str(line).expect("JSON");
        for line in with_and_without_date(line) {
            let found = filter.captures(&line).map(|found| found["host"].to_owned());
            let expected = (entry["audit"] == "sign_in_failed").then(|| "127.0.0.1".to_owned());
            assert_eq!(found, expected, "{line}");
        }
        failures += usize::from(entry["audit"] == "sign_in_failed");
    }
    assert!(failures >= 2, "{text}");
}
