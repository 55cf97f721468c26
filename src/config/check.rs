//! What a setting may be, beyond its type, and how to say what is wrong with one.
//!
//! Every function here is about values only: which source gave them is `load.rs`'s to say.

use std::collections::BTreeMap;

use figment::{error::Kind, value::Value};

use super::{Config, Switch, flatten, hosts, log_filter, mask};

/// Keys for which zero means something: `0` elsewhere is refused.
const MAY_BE_ZERO: &[&str] = &[
    "server.threads",
    "server.drain_secs",
    "auth.clock_skew_secs",
    "auth.refresh_grace_secs",
    "auth.password_threads",
    "auth.cache_secs",
    "audit.days",
    "store.max_bytes",
    "store.reserve",
    "store.wait_secs",
    "rooms.edit_secs",
    "presence.ttl_secs",
    "presence.names_up_to",
    "presence.typing_millis",
    "limits.listed_members",
    "limits.connections_per_address",
    "limits.reserved_connections",
    "limits.send_buffer_bytes",
    "limits.memory_mib",
    "limits.unsent_bytes",
    "sockets.behind_secs",
];

/// Bounds of single keys. All others are bounded by their unit, see [`most`].
const RANGES: &[(&str, u64, u64)] = &[
    ("server.threads", 0, 1_024),
    ("server.backlog", 1, i32::MAX as u64),
    ("auth.bcrypt_cost", 4, 31),
    ("auth.password_min_length", 1, 72),
    ("auth.password_threads", 0, 1_024),
    ("store.readers", 1, 1_024),
    ("store.max_bytes", 0, i64::MAX as u64),
    ("store.reserve", 0, i64::MAX as u64),
    ("limits.json_depth", 1, 120),
    ("limits.headers", 1, 10_000),
    ("limits.search_ms", 1, 60_000),
    ("limits.uri_bytes", 1, 65_534),
    ("limits.send_buffer_bytes", 0, i32::MAX as u64),
    ("limits.unsent_bytes", 0, i32::MAX as u64),
];

/// Keys whose values may hold a secret and are never quoted.
pub const SECRETS: &[&str] = &["auth.secret_key", "store.url", "bus.url"];

pub fn is_secret(key: &str) -> bool {
    SECRETS.contains(&key)
}

/// Everything that is wrong, as (key, what is wrong with it). `keys` are all keys with their defaults.
pub fn problems(config: &Config, keys: &BTreeMap<String, Value>) -> Vec<(String, String)> {
    let values = flatten(config);
    let number = |key: &str| values.get(key).and_then(Value::to_u128).unwrap_or(0);
    let mut wrong = Vec::new();
    let mut say = |key: &str, sentence: String| wrong.push((key.to_owned(), sentence));

    for key in keys.keys().filter(|key| matches!(values.get(*key), Some(Value::Num(..)))) {
        let (least, most) = range(key);
        let value = number(key);
        if value < u128::from(least) || value > u128::from(most) {
            say(key, format!("must be between {least} and {most}, not {value}"));
        }
    }
    match (config.server.tls_cert.is_empty(), config.server.tls_key.is_empty()) {
        (false, true) => say("server.tls_key", "must name the file of the key of `server.tls_cert`".into()),
        (true, false) => say("server.tls_cert", "must name the file of certificates of `server.tls_key`".into()),
        _ => {}
    }
    for host in config.server.hosts.iter().filter(|host| !hosts::is_well_formed(host)) {
        say("server.hosts", format!("holds `{host}`, which is no name of a host; write it as `chat.example.org`"));
    }
    for origin in &config.server.allowed_origins {
        if let Err(sentence) = origin_is_well_formed(origin) {
            say("server.allowed_origins", sentence);
        }
    }
    if let Err(sentence) = store_is_known(&config.store.url) {
        say("store.url", sentence.into());
    }
    if config.server.metrics == Switch::Off && config.server.metrics_bind.is_some() {
        say("server.metrics_bind", "must be empty where `server.metrics` is `off`".into());
    }
    if config.store.max_bytes > 0 && config.store.reserve >= config.store.max_bytes {
        say("store.reserve", format!("must be less than `store.max_bytes`, which is {}", config.store.max_bytes));
    }
    if config.store.db_name.is_empty() {
        say("store.db_name", "must not be empty".into());
    }
    if let Err(sentence) = bus_is_known(config) {
        say("bus.url", sentence.into());
    }
    if let Err(sentence) = log_filter::parse(&config.log.level) {
        say("log.level", sentence);
    }
    wrong
}

/// What is allowed, and is probably not what was meant.
pub fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    let server = &config.server;
    if !server.bind.ip().is_loopback() && server.tls_cert.is_empty() && server.trusted_proxies.is_empty() {
        warnings.push(format!(
            "`server.bind` is {} without TLS: whoever is on the way reads passwords and messages. Set `server.tls_cert` and \
             `server.tls_key`, or put a proxy with TLS in front and name its network in `server.trusted_proxies`",
            server.bind
        ));
    }
    if config.auth.bcrypt_cost < 10 {
        warnings.push(format!(
            "`auth.bcrypt_cost` is {}: passwords are easy to guess from a stolen database; use 12 where people sign in",
            config.auth.bcrypt_cost
        ));
    }
    warnings
}

/// What a setting must be, after "must be".
pub fn wanted(key: &str, default: &Value, choices: Option<&[&str]>, kind: &Kind) -> String {
    if let Some(choices) = choices {
        let quoted: Vec<String> = choices.iter().map(|choice| format!("`{choice}`")).collect();
        return format!("one of {}", quoted.join(", "));
    }
    match (key, default) {
        ("server.bind", _) => "an address and port such as `127.0.0.1:8000`, or `localhost:8000`".into(),
        ("server.metrics_bind", _) => "an address and port such as `127.0.0.1:9100`, or empty".into(),
        ("server.trusted_proxies", _) => "a list of networks such as `[\"10.0.0.0/8\", \"192.0.2.7/32\"]`".into(),
        ("server.hosts", _) => "a list of names such as `[\"chat.example.org\"]`".into(),
        ("server.allowed_origins", _) => "a list of origins such as `[\"https://chat.example.org\"]`".into(),
        (_, Value::Bool(..)) => "`true` or `false`".into(),
        (_, Value::Num(..)) => {
            let (least, most) = range(key);
            let most = if matches!(kind, Kind::InvalidValue(_, wanted) if wanted == "u32") {
                most.min(u32::MAX.into())
            } else {
                most
            };
            format!("a whole number between {least} and {most}")
        }
        (_, Value::Array(..)) => "a list such as `[\"a\", \"b\"]`".into(),
        _ => "a text".into(),
    }
}

/// How alike two keys are at least, for one to be meant by the other: 1 is the same.
const NEAR: f64 = 0.6;
const SAME_NAME: f64 = 0.8;

/// The valid key that looks most like `key`: a whole key misspelt, or the right name in no or another section. `None` where
/// nothing is near.
pub fn nearest<'a>(key: &str, keys: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = |key: &'a str| key.rsplit('.').next().unwrap_or(key);
    let own = key.rsplit('.').next().unwrap_or(key);
    let score = |known: &'a str| {
        let whole = strsim::normalized_damerau_levenshtein(key, known);
        let part = strsim::normalized_damerau_levenshtein(own, name(known));
        // A name in another section is meant only where it is the same but for a letter or two.
        if part < SAME_NAME { whole } else { whole.max(0.9 * part + 0.1 * whole) }
    };
    let (score, nearest) = keys.map(|known| (score(known), known)).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (score >= NEAR).then_some(nearest)
}

fn range(key: &str) -> (u64, u64) {
    if let Some((_, least, most)) = RANGES.iter().find(|(known, ..)| *known == key) {
        return (*least, *most);
    }
    (u64::from(!MAY_BE_ZERO.contains(&key)), most(key))
}

/// The most a number may be, by the unit its key ends with. Times end well before any clock overflows; counts end before
/// any semaphore or allocation does.
fn most(key: &str) -> u64 {
    const UNITS: [(&str, u64); 4] =
        [("_millis", 3_600_000), ("_secs", 31_536_000), ("_minutes", 5_256_000), ("_days", 36_500)];
    UNITS.iter().find(|(unit, _)| key.ends_with(unit)).map_or(1 << 40, |(_, most)| *most)
}

/// `scheme://host[:port]`, as a browser writes it in `Origin`: lower case, no default port, nothing after the port.
fn origin_is_well_formed(origin: &str) -> Result<(), String> {
    let wrong =
        |why: &str| Err(format!("holds `{}`, which {why}; write it as `https://chat.example.org`", mask::urls(origin)));
    if origin.contains('*') {
        return wrong("stands for many origins: every one must be listed by itself");
    }
    let Some((scheme, rest)) = origin.split_once("://") else {
        return wrong("is not `scheme://host[:port]`");
    };
    let scheme_byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b);
    if !scheme.starts_with(|c: char| c.is_ascii_lowercase()) || !scheme.bytes().all(scheme_byte) {
        return wrong("has no lower-case scheme such as `https`");
    }
    let (host, port) = match rest.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
        Some((address, port)) if address.parse::<std::net::Ipv6Addr>().is_ok() => ("v6", port.strip_prefix(':')),
        Some(_) => return wrong("has no valid IPv6 address between the brackets"),
        None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
    };
    if rest.starts_with('[') && port.is_none() && !rest.ends_with(']') {
        return wrong("has something after the host");
    }
    let host_byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b);
    if host.is_empty() || !host.bytes().all(host_byte) {
        return wrong("has no plain lower-case host, or something after it");
    }
    match (scheme, port) {
        (_, None) => Ok(()),
        ("http", Some("80")) | ("https", Some("443")) => wrong("names the scheme's own port, which browsers leave out"),
        (_, Some(port)) if port.parse::<u16>().is_ok_and(|number| number > 0 && number.to_string() == port) => Ok(()),
        _ => wrong("has no valid port"),
    }
}

fn store_is_known(url: &str) -> Result<(), &'static str> {
    match url.split_once(':') {
        Some(("sqlite", path)) if !path.is_empty() => Ok(()),
        Some(("sqlite", _)) => Err("must say where the database is, as in `sqlite:data/natter.db`"),
        Some(("mongodb" | "mongodb+srv", host)) if host.len() > 2 && host.starts_with("//") => Ok(()),
        Some(("mongodb" | "mongodb+srv", _)) => Err("must name a server, as in `mongodb://localhost:27017`"),
        _ => Err("must be `sqlite:<path>`, such as `sqlite:data/natter.db`, or `mongodb://<host>`"),
    }
}

fn bus_is_known(config: &Config) -> Result<(), &'static str> {
    let url = &config.bus.url;
    if url.is_empty() {
        return Ok(());
    }
    if config.store.url.starts_with("sqlite:") {
        return Err("must be empty with SQLite, which belongs to one machine: set store.url to a MongoDB, or no bus");
    }
    let known = |server: &str| {
        ["nats://", "tls://"].iter().any(|scheme| server.strip_prefix(scheme).is_some_and(|host| !host.is_empty()))
    };
    match url.split(',').all(|server| known(server.trim())) {
        true => Ok(()),
        false => Err("must be `nats://<host>:4222`, or `tls://…`; several servers with commas between them"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_with_a_rule_of_its_own_exists() {
        let keys = flatten(&Config::default());
        let ruled = RANGES.iter().map(|(key, ..)| *key).chain(MAY_BE_ZERO.iter().copied());
        for key in ruled {
            assert!(keys.contains_key(key), "there is no {key}");
        }
    }

    #[test]
    fn the_defaults_are_valid_and_give_no_warning() {
        let config = Config::default();
        assert_eq!(problems(&config, &flatten(&config)), []);
        assert_eq!(warnings(&config), Vec::<String>::new());
    }

    #[test]
    fn an_address_that_others_reach_without_tls_or_a_proxy_is_told_once() {
        let told = |bind: &str, change: fn(&mut Config)| {
            let mut config = Config::default();
            config.server.bind = bind.parse().expect("an address");
            change(&mut config);
            warnings(&config).iter().filter(|warning| warning.contains("without TLS")).count()
        };
        for open in ["0.0.0.0:8000", "[::]:8000", "192.0.2.1:80"] {
            assert_eq!(told(open, |_| {}), 1, "{open}");
            assert_eq!(told(open, |config| config.server.tls_cert = "cert.pem".into()), 0);
            let proxy = |config: &mut Config| {
                config.server.trusted_proxies = vec!["10.0.0.0/8".parse().expect("a network")];
            };
            assert_eq!(told(open, proxy), 0);
        }
        assert_eq!(told("127.0.0.1:8000", |_| {}) + told("[::1]:8000", |_| {}), 0);
    }

    #[test]
    fn origins_are_as_browsers_write_them() {
        for good in
            ["https://chat.example.org", "http://localhost:3000", "http://[::1]:8000", "https://[::1]", "app://x"]
        {
            assert_eq!(origin_is_well_formed(good), Ok(()), "{good}");
        }
        let bad = [
            "*",
            "https://*.example.org",
            "chat.example.org",
            "https://",
            "https://a/",
            "https://A.example",
            "null",
            "https://a:443",
            "http://a:80",
            "https://a:0",
            "https://a:99999",
            "https://a:",
            "https://u@a",
            "https://[::1",
            "https://[::1]x",
            "https://[zz]",
            "https://a b",
            "HTTPS://a",
            "https://a:+5",
            "",
        ];
        for bad in bad {
            assert!(origin_is_well_formed(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_nearest_key_is_the_one_that_was_meant() {
        let keys = flatten(&Config::default());
        let nearest = |key: &str| super::nearest(key, keys.keys().map(String::as_str)).unwrap_or_default().to_owned();
        assert_eq!(nearest("server.bnid"), "server.bind");
        assert_eq!(nearest("bind"), "server.bind");
        assert_eq!(nearest("sever.bind"), "server.bind");
        assert_eq!(nearest("auth.secretkey"), "auth.secret_key");
        assert_eq!(nearest("limits.connections_per_user"), "sockets.connections_per_user");
        for far in ["server.frobnicate", "redis.url_of_the_cache", "x", "theme.color", "smtp.relay"] {
            assert_eq!(nearest(far), "", "{far}");
        }
    }
}
