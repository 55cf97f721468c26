//! What monitors read: names and kinds by Prometheus' conventions, every metric documented, every panel and alert about metrics that
//! there are.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde_json::Value;

use crate::harness::Server;

const PAGE: &str = include_str!("../../docs/metrics.md");
const ALERTS: &str = include_str!("../../deploy/prometheus/alerts.yaml");
const DASHBOARD: &str = include_str!("../../deploy/grafana/natter.json");

struct Metric {
    kind: String,
    help: String,
    samples: Vec<(String, f64)>,
}

/// By name, of a server on which something has happened.
async fn metrics() -> BTreeMap<String, Metric> {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let socket = bob.follow(&room).await;
    ann.post(&room, "hello").await;
    socket.close().await;
    server.reach.sign_in("ann", "not her password").await.refused(401);
    // A bound is told once it was hit.
    server.reach.get(&format!("/{}", "x".repeat(9_000))).await.refused(414);
    crate::harness::until("the close to be counted", async || server.metric("natter_closes_total").await >= 1.0).await;
    read(server.reach.get("/metrics").await.text())
}

fn read(text: &str) -> BTreeMap<String, Metric> {
    let mut found: BTreeMap<String, Metric> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            current = name.to_owned();
            let metric = Metric { kind: String::new(), help: help.to_owned(), samples: Vec::new() };
            assert!(found.insert(current.clone(), metric).is_none(), "{name} is told twice");
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            assert_eq!(name, current, "the type follows the help");
            found.get_mut(name).expect("it was just told").kind = kind.to_owned();
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a sample");
            let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
            found.get_mut(&current).expect("samples follow their metric").samples.push((series.to_owned(), value));
        }
    }
    found
}

#[tokio::test]
async fn names_kinds_and_units_are_those_of_prometheus() {
    let name_is_plain = Regex::new("^(natter|process)_[a-z][a-z0-9]*(_[a-z0-9]+)*$").expect("a pattern");
    let value_of_label = Regex::new("\"[^\"]*\"").expect("a pattern");
    let label = Regex::new("[{,]([a-zA-Z_]+)=").expect("a pattern");
    for (name, metric) in metrics().await {
        assert!(name_is_plain.is_match(&name), "{name}");
        assert_eq!(metric.kind == "counter", name.ends_with("_total"), "{name} is a {}", metric.kind);
        assert!(["counter", "gauge", "histogram"].contains(&metric.kind.as_str()), "{name} is a {}", metric.kind);
        assert!(metric.help.len() >= 5, "{name} says what it is: {:?}", metric.help);
        for unit in
            ["_ms", "_millis", "_milliseconds", "_micros", "_kb", "_mb", "_minutes", "_percent", "_ratio", "_count"]
        {
            assert!(!name.ends_with(unit), "{name}: base units are seconds and bytes");
        }
        for kind in ["counter", "gauge", "histogram", "metric"] {
            assert!(!name.split('_').any(|word| word == kind), "{name} has its kind in its name");
        }
        for (series, value) in &metric.samples {
            let suffix = series.strip_prefix(&name).unwrap_or_else(|| panic!("{series} is not of {name}"));
            let suffix = suffix.split('{').next().expect("something before the labels");
            match metric.kind.as_str() {
                "histogram" => assert!(["_bucket", "_sum", "_count"].contains(&suffix), "{series}"),
                _ => assert_eq!(suffix, "", "{series}"),
            }
            assert!(metric.kind == "gauge" || *value >= 0.0, "{series} {value}");
            let before_values = value_of_label.replace_all(series, "\"\"").into_owned();
            for found in label.captures_iter(&before_values) {
                let plain = found[1].chars().all(|c| c.is_ascii_lowercase() || c == '_');
                assert!(plain && (&found[1] != "le" || metric.kind == "histogram"), "{series}");
            }
        }
    }
}

#[tokio::test]
async fn every_metric_is_documented_as_it_is_and_every_documented_one_is_there() {
    let told: BTreeSet<&str> = PAGE.lines().filter(|line| line.starts_with("| `")).collect();
    let rows = metrics()
        .await
        .into_iter()
        .map(|(name, metric)| format!("| `{name}` | {} | {} |", metric.kind, metric.help.trim_end_matches('.')));
    let rows: Vec<String> = rows.collect();
    let there: BTreeSet<&str> = rows.iter().map(String::as_str).collect();
    let missing: Vec<_> = there.difference(&told).collect();
    let gone: Vec<_> = told.difference(&there).collect();
    assert!(missing.is_empty() && gone.is_empty(), "docs/metrics.md lacks {missing:#?}, and has {gone:#?} too many");
}

#[tokio::test]
async fn process_and_build_are_told_as_every_monitor_knows_them() {
    let metrics = metrics().await;
    let value = |name: &str| metrics[name].samples[0].1;
    assert!(
        value("process_resident_memory_bytes") > 1e6
            && value("process_virtual_memory_bytes") > value("process_resident_memory_bytes")
    );
    assert!(value("process_open_fds") >= 3.0 && value("process_max_fds") > value("process_open_fds"));
    assert!(value("process_cpu_seconds_total") > 0.0 && value("process_threads") > 1.0);
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock after 1970").as_secs_f64();
    assert!((now - value("process_start_time_seconds")).abs() < 120.0, "{}", value("process_start_time_seconds"));
    let (series, one) = &metrics["natter_build_info"].samples[0];
    assert!(*one == 1.0 && series.contains(&format!("version=\"{}\"", env!("CARGO_PKG_VERSION"))), "{series}");
    for label in ["schema", "export", "store"] {
        assert!(series.contains(&format!("{label}=\"")), "{series}");
    }
    let routes = &metrics["natter_http_request_seconds"].samples;
    assert!(routes.iter().any(|(series, _)| series.contains("_count{route=\"/chat/{chat_id}\"}")), "{routes:?}");
}

/// Metrics that an expression is about.
fn names(expression: &str) -> Vec<String> {
    let name = Regex::new(r"\b(natter|process)_[a-z0-9_]+").expect("a pattern");
    name.find_iter(expression).map(|found| found.as_str().to_owned()).collect()
}

fn must_be(expression: &str, series: &BTreeSet<String>, place: &str) {
    for name in names(expression) {
        assert!(series.contains(&name), "{place} asks for {name}, which is not at /metrics");
    }
}

/// The names by which series can be asked for.
async fn series() -> BTreeSet<String> {
    let of = |metric: Metric| metric.samples.into_iter().map(|(series, _)| series);
    let all: Vec<(String, Metric)> = metrics().await.into_iter().collect();
    let mut names: BTreeSet<String> = all.iter().map(|(name, _)| name.clone()).collect();
    names.extend(
        all.into_iter()
            .flat_map(|(_, metric)| of(metric))
            .filter_map(|series| Some(series.split('{').next()?.to_owned())),
    );
    names
}

#[tokio::test]
async fn every_alert_is_about_metrics_that_are_there_and_says_what_to_do() {
    let series = series().await;
    let rules: Value = serde_yaml_ng::from_str(ALERTS).expect("YAML");
    let rules = rules["groups"][0]["rules"].as_array().expect("rules");
    assert!(rules.len() >= 10);
    for rule in rules {
        let name = rule["alert"].as_str().expect("a name");
        must_be(rule["expr"].as_str().expect("an expression"), &series, name);
        assert!(["page", "ticket"].contains(&rule["labels"]["severity"].as_str().expect("a severity")), "{name}");
        for text in ["summary", "description"] {
            assert!(rule["annotations"][text].as_str().is_some_and(|text| text.len() > 20), "{name} has no {text}");
        }
    }
}

#[tokio::test]
async fn every_panel_is_about_metrics_that_are_there_and_says_what_it_shows() {
    let series = series().await;
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut places = BTreeSet::new();
    for panel in panels {
        let title = panel["title"].as_str().expect("a title");
        assert!(panel["description"].as_str().is_some_and(|text| !text.is_empty()), "{title}");
        let place = &panel["gridPos"];
        assert!(places.insert((place["x"].as_u64(), place["y"].as_u64())), "{title} lies on another panel");
        let targets = panel["targets"].as_array().expect("targets");
        assert!(!targets.is_empty(), "{title}");
        for target in targets {
            let expression = target["expr"].as_str().expect("an expression");
            assert!(!names(expression).is_empty(), "{title} asks for nothing of natter: {expression}");
            must_be(expression, &series, title);
        }
    }
    for variable in dashboard["templating"]["list"].as_array().expect("variables") {
        must_be(&variable["query"].to_string(), &series, "a variable");
    }
}
