//! The web client as browsers get it: where its files are, for how long they are kept, and that it depends on nobody else.

use std::{fs, io::Read, path::Path, process::Command};

use base64::{Engine, engine::general_purpose::STANDARD};
use flate2::read::GzDecoder;
use natter::api::ui;
use reqwest::Method;
use sha2::{Digest, Sha256};

use crate::harness::{Answer, Ran, Server};

/// All of the client together, compressed.
const MOST_BYTES: usize = 60 * 1024;

const POLICY: &str = "default-src 'none'; script-src 'self' SCRIPT; style-src STYLE; connect-src 'self'; img-src 'self'; \
    font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

/// Every path of the client.
fn paths() -> Vec<String> {
    let (path, names) = ui::assets();
    let assets = names.iter().map(|name| format!("{path}/{name}"));
    ["/", "/natter.js", "/favicon.ico"].map(String::from).into_iter().chain(assets).collect()
}

async fn get(server: &Server, path: &str, headers: &[(&str, &str)]) -> Answer {
    ask(server, Method::GET, path, headers).await
}

async fn ask(server: &Server, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
    let add =
        |request: reqwest::RequestBuilder| headers.iter().fold(request, |all, (name, value)| all.header(*name, *value));
    server.reach.request(method, path, add).await
}

/// The text of every file, by its path.
async fn texts(server: &Server) -> Vec<(String, String)> {
    let mut texts = Vec::new();
    for path in paths() {
        texts.push((path.clone(), get(server, &path, &[]).await.text().to_owned()));
    }
    texts
}

/// What stands between `before` and `after`, wherever it does.
fn between<'a>(text: &'a str, before: &'a str, after: char) -> impl Iterator<Item = &'a str> {
    text.split(before).skip(1).filter_map(move |rest| rest.split_once(after)).map(|(found, _)| found)
}

#[tokio::test]
async fn the_page_is_served_with_a_policy_that_lets_in_nothing_else() {
    let server = Server::start().await;
    let page = get(&server, "/", &[]).await;
    assert_eq!(page.status, 200);
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-cache"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(page.header(name), Some(value), "{name}");
    }
    // What stands in the page itself is let in by its hash alone.
    let hash_of = |tag: &str| {
        let rest = page.text().split_once(&format!("<{tag}>")).expect("it is in the page").1;
        let text = rest.split_once(&format!("</{tag}>")).expect("it ends").0;
        format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)))
    };
    let policy = POLICY.replace("SCRIPT", &hash_of("script")).replace("STYLE", &hash_of("style"));
    assert_eq!(page.header("content-security-policy"), Some(policy.as_str()));
    assert!(page.header("permissions-policy").is_some_and(|policy| policy.contains("microphone=()")));
    assert!(!page.text().contains("{{"), "{}", page.text());
    assert!(page.text().contains(&ui::assets().0), "{}", page.text());
}

#[tokio::test]
async fn what_the_page_and_its_modules_name_is_there() {
    let server = Server::start().await;
    let (path, names) = ui::assets();
    let page = get(&server, "/", &[]).await;
    let named: Vec<&str> = [" src=\"", " href=\""].iter().flat_map(|name| between(page.text(), name, '"')).collect();
    assert_eq!(named.iter().filter(|name| name.ends_with(".js")).count(), 1, "one script: {named:?}");
    for name in named {
        assert_eq!(get(&server, name, &[]).await.status, 200, "{name}");
    }
    let script = get(&server, &format!("{path}/app.js"), &[]).await;
    let line = script.text().lines().find(|line| line.starts_with("import ") || line.starts_with("export "));
    assert_eq!(line, None, "it needs no other file");
    assert!(names.contains(&"app.js"));
}

#[tokio::test]
async fn an_asset_is_kept_for_good_and_all_else_is_asked_for_each_time() {
    let server = Server::start().await;
    for path in paths() {
        let answer = get(&server, &path, &[]).await;
        assert_eq!(answer.status, 200, "{path}");
        let expected = match path.starts_with("/assets/") {
            true => "public, max-age=31536000, immutable",
            false => "no-cache",
        };
        assert_eq!(answer.header("cache-control"), Some(expected), "{path}");
        let expected = match path.rsplit_once('.').map_or("html", |(_, ending)| ending) {
            "html" => "text/html; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "svg" | "ico" => "image/svg+xml",
            other => panic!("which type has .{other}?"),
        };
        assert_eq!(answer.header("content-type"), Some(expected), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
    }
}

#[tokio::test]
async fn who_has_a_file_is_not_sent_it_again() {
    let server = Server::start().await;
    for path in paths() {
        let whole = get(&server, &path, &[]).await;
        let tag = whole.header("etag").unwrap_or_else(|| panic!("{path} has no tag")).to_owned();
        let zipped = get(&server, &path, &[("accept-encoding", "gzip")]).await;
        assert_eq!(zipped.header("etag"), Some(tag.as_str()), "{path}");
        for given in [tag.as_str(), &format!("\"other\", {tag}"), "*"] {
            let same = get(&server, &path, &[("if-none-match", given)]).await;
            assert_eq!((same.status, same.bytes.len()), (304, 0), "{path} {given}");
            for name in ["etag", "cache-control", "vary", "content-security-policy", "access-control-allow-origin"] {
                assert_eq!(same.header(name), whole.header(name), "{path} {name}");
            }
        }
        assert_eq!(get(&server, &path, &[("if-none-match", "W/\"0\"")]).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn a_browser_gets_the_same_bytes_compressed_and_all_of_them_are_few() {
    let server = Server::start().await;
    let mut all = 0;
    for path in paths() {
        let plain = get(&server, &path, &[("accept-encoding", "identity")]).await;
        assert_eq!(plain.header("content-encoding"), None, "{path}");
        let zipped = get(&server, &path, &[("accept-encoding", "gzip, deflate, br, zstd")]).await;
        if path == "/" || path.starts_with("/assets/") {
            all += zipped.bytes.len();
        }
        if zipped.header("content-encoding").is_none() {
            assert!(plain.bytes.len() < 200, "{path} is not compressed");
            assert_eq!(zipped.bytes, plain.bytes, "{path}");
            continue;
        }
        assert_eq!(zipped.header("content-encoding"), Some("gzip"), "{path}");
        let mut text = Vec::new();
        GzDecoder::new(zipped.bytes.as_slice()).read_to_end(&mut text).expect("whole gzip");
        assert_eq!(text, plain.bytes, "{path}");
        for answer in [plain, zipped] {
            assert_eq!(answer.header("vary"), Some("Accept-Encoding"), "{path}");
        }
    }
    assert!(all < MOST_BYTES, "the web client has {all} bytes");
}

#[tokio::test]
async fn the_script_is_all_modules_without_their_comments_and_still_a_script() {
    let server = Server::start().await;
    let (folder, source) = (tempfile::tempdir().expect("a temporary folder"), Path::new(env!("CARGO_MANIFEST_DIR")));
    let served = get(&server, &format!("{}/app.js", ui::assets().0), &[]).await;
    for file in fs::read_dir(source.join("src/ui")).expect("the sources") {
        let file = file.expect("a source").path();
        if file.extension().is_none_or(|ending| ending != "js") || file.ends_with("theme.js") {
            continue;
        }
        let text = fs::read_to_string(&file).expect("a source");
        assert!(!served.text().contains(text.lines().next().expect("a first line")), "{}", file.display());
        let code = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with(['/', '*']);
        for line in text.lines().filter(code).filter(|line| !line.starts_with("import ")) {
            let line = line.strip_prefix("export ").unwrap_or(line);
            assert!(served.text().contains(line) || line.ends_with("*/"), "{}: {line}", file.display());
        }
    }
    // Its ending makes it a module to node.
    let file = folder.path().join("app.mjs");
    fs::write(&file, served.text()).expect("the test's own folder is writable");
    let mut node = Command::new("node");
    node.arg("--check").arg(&file);
    Ran::of(node, "").await.ok();
    let module = get(&server, "/natter.js", &[]).await;
    assert_eq!(module.text(), fs::read_to_string(source.join("src/ui/natter.js")).expect("a source"));
}

#[tokio::test]
async fn head_tells_what_get_would_send() {
    let server = Server::start().await;
    for path in paths() {
        for encoding in ["identity", "gzip"] {
            let headers = [("accept-encoding", encoding)];
            let (get, head) = (get(&server, &path, &headers).await, ask(&server, Method::HEAD, &path, &headers).await);
            assert_eq!((head.status, head.bytes.len()), (200, 0), "{path}");
            for name in ["content-length", "content-type", "content-encoding", "etag", "cache-control", "vary"] {
                assert_eq!(head.header(name), get.header(name), "{path} {name}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_not_there_is_kept_by_nobody() {
    let server = Server::start().await;
    let (path, names) = ui::assets();
    let other = "/assets/0000000000000000";
    for name in names.iter().chain(&["nothing.js"]) {
        let answer = get(&server, &format!("{other}/{name}"), &[]).await;
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{name}");
        assert_eq!(answer.refused(404)["code"], "other_version", "{name}");
    }
    for name in ["nothing.js", "index.html", "..%2F..%2FCargo.toml", "%00", "app.js%20"] {
        let answer = get(&server, &format!("{path}/{name}"), &[]).await;
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{name}");
        answer.refused_saying(404, "Not Found");
    }
    get(&server, &format!("{path}/"), &[]).await.refused(404);
    get(&server, &path, &[]).await.refused(404);
}

#[tokio::test]
async fn pages_of_any_origin_may_import_the_protocol_module_and_nothing_else() {
    let page = "https://chat.example.org";
    let server = Server::with(&[("server.allowed_origins", r#"["https://chat.example.org"]"#)]).await;
    for origin in [page, "https://other.example.net"] {
        let module = get(&server, "/natter.js", &[("origin", origin)]).await;
        assert_eq!(module.header("access-control-allow-origin"), Some("*"), "{origin}");
        assert_eq!(module.header("access-control-allow-credentials"), None, "{origin}");
        assert_eq!(module.header("cross-origin-resource-policy"), Some("cross-origin"), "{origin}");
    }
    for path in paths().into_iter().filter(|path| path != "/natter.js") {
        let answer = get(&server, &path, &[("origin", "https://other.example.net")]).await;
        assert_eq!(answer.header("access-control-allow-origin"), None, "{path}");
        assert_eq!(answer.header("cross-origin-resource-policy"), Some("same-origin"), "{path}");
    }
}

#[tokio::test]
async fn the_client_is_an_answer_like_any_other() {
    let server = Server::with(&[("limits.answer_bytes", "1024"), ("limits.page_bytes", "1024")]).await;
    let (path, names) = ui::assets();
    let mut long = 0;
    for name in names {
        let answer = get(&server, &format!("{path}/{name}"), &[("accept-encoding", "identity")]).await;
        if answer.status != 200 {
            answer.refused(503);
            long += 1;
        }
    }
    assert!(long > 0, "no file is long enough to be counted");
    let series = "natter_bound_hits_total{setting=\"limits.answer_bytes\"}";
    assert_eq!(server.metrics().await.get(series), Some(&f64::from(long)));

    let server =
        Server::with(&[("limits.rates", "on"), ("limits.requests_burst", "3"), ("limits.requests_per_sec", "1")]);
    let server = server.await;
    let mut last = 200;
    for _ in 0..10 {
        last = get(&server, "/", &[]).await.status;
    }
    assert_eq!(last, 429);
}

#[tokio::test]
async fn the_page_has_one_script_and_one_style_in_it_and_none_in_an_attribute() {
    let server = Server::start().await;
    let page = get(&server, "/", &[]).await;
    let page = page.text().to_lowercase();
    let mut rest = page.clone();
    for tag in ["script", "style"] {
        let (before, after) = rest.split_once(&format!("<{tag}>")).expect("it is there");
        let (_, after) = after.split_once(&format!("</{tag}>")).expect("it ends");
        rest = format!("{before}{after}");
    }
    for script in between(&rest, "<script", '<') {
        assert!(script.contains(" src=") && script.trim_end().ends_with('>'), "<script{script}");
    }
    for tag in between(&rest, "<", '>') {
        let attributes = tag.split_whitespace().skip(1).filter_map(|word| word.split_once('=')).map(|(name, _)| name);
        for name in attributes {
            assert!(name != "style" && !name.starts_with("on"), "<{tag}>");
        }
        assert!(!tag.starts_with("style") && !tag.starts_with("base"), "<{tag}>");
    }
}

#[tokio::test]
async fn nothing_from_people_can_become_markup() {
    let server = Server::start().await;
    for (path, text) in texts(&server).await {
        for word in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "DOMParser",
            "createContextualFragment",
            "setHTML",
            "srcdoc",
            "eval(",
            "new Function",
            "javascript:",
        ] {
            let lines = text.lines().filter(|line| !line.trim_start().starts_with(['*', '/']));
            assert!(!lines.into_iter().any(|line| line.contains(word)), "{path} has {word}");
        }
    }
}

#[tokio::test]
async fn no_file_names_another_host() {
    let server = Server::start().await;
    // The names of markup languages, which nobody looks up, and those that are kept for examples.
    let known = ["www.w3.org", "chat.example.org", "example.org"];
    for (path, text) in texts(&server).await {
        for rest in text.split("://").skip(1) {
            let host: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || ".-".contains(*c)).collect();
            assert!(host.is_empty() || known.contains(&host.as_str()), "{path} names {host}");
        }
    }
}
