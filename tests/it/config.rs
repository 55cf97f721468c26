//! Settings: every source, their order, what is refused and how it is told.

mod secrets;
mod written;

use std::fs;

use natter::config::{
    Algorithm, Config,
    load::{self, Inputs, Loaded, Problems},
    show,
    sources::Flag,
};
use proptest::prelude::*;
use serde_json::Value;
use tempfile::TempDir;

/// A working directory and an environment of their own.
struct Place {
    folder: TempDir,
    inputs: Inputs,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let inputs = Inputs { folder: folder.path().to_owned(), ..Inputs::default() };
        Self { folder, inputs }
    }

    fn file(self, name: &str, text: &str) -> Self {
        fs::write(self.folder.path().join(name), text).unwrap();
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.inputs.environment.push((name.into(), value.into()));
        self
    }

    fn flag(mut self, name: &str, key: &str, value: &str) -> Self {
        self.inputs.flags.push(Flag { name: name.into(), key: key.into(), value: value.into() });
        self
    }

    fn load(&self) -> Result<Loaded, Problems> {
        load::load(&self.inputs)
    }

    fn config(&self) -> Config {
        self.load().unwrap_or_else(|problems| panic!("{problems}")).config
    }

    /// What is wrong, with the name of the folder taken out.
    fn problems(&self) -> Vec<String> {
        let folder = format!("{}/", self.folder.path().display());
        self.load().expect_err("refused").0.into_iter().map(|problem| problem.replace(&folder, "")).collect()
    }
}

/// The ways a setting can be given, from weakest to strongest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    File,
    Dotenv,
    Environment,
    Flag,
}

const WAYS: [Way; 4] = [Way::File, Way::Dotenv, Way::Environment, Way::Flag];

impl Way {
    /// Gives `section.key` the value, which is JSON: also TOML, as nothing here is null.
    fn give(self, place: Place, key: &str, value: &Value) -> Place {
        let (section, name) = key.split_once('.').unwrap();
        let bare = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match self {
            Way::File => place.file("config.toml", &format!("[{section}]\n{name} = {value}\n")),
            Way::Dotenv => place.file(".env", &format!("{}='{bare}'\n", variable(key))),
            Way::Environment => place.variable(&variable(key), &bare),
            Way::Flag => place.flag("--set", key, &bare),
        }
    }

    /// How a complaint names it.
    fn name(self, key: &str) -> String {
        match self {
            Way::File => "config.toml".into(),
            Way::Dotenv => format!(".env, line 1, {}", variable(key)),
            Way::Environment => format!("environment variable {}", variable(key)),
            Way::Flag => "flag --set".into(),
        }
    }
}

fn variable(key: &str) -> String {
    format!("NATTER_{}", key.to_uppercase().replace('.', "__"))
}

/// All settings as JSON: sections of keys.
fn json(config: &Config) -> Value {
    serde_json::to_value(config).unwrap()
}

fn value_of(config: &Config, key: &str) -> Value {
    let (section, name) = key.split_once('.').unwrap();
    json(config)[section][name].clone()
}

fn all_keys() -> Vec<String> {
    let config = json(&Config::default());
    let sections = config.as_object().unwrap();
    sections
        .iter()
        .flat_map(|(section, keys)| keys.as_object().unwrap().keys().map(move |key| format!("{section}.{key}")))
        .collect()
}

#[test]
fn without_any_source_the_defaults_are_in_force() {
    assert_eq!(json(&Place::new().config()), json(&Config::default()));
}

#[test]
fn config_toml_documents_every_key_with_its_default() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config.toml")).unwrap();
    let is_key = |line: &str| {
        line.split_once(" = ").is_some_and(|(key, _)| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
    };
    let mut keys = Vec::new();
    let mut section = "";
    let mut live = String::new();
    let mut explained = false;
    for line in text.lines() {
        let setting = line.strip_prefix('#').filter(|rest| is_key(rest));
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
        }
        if let Some(setting) = setting {
            assert!(explained, "nothing says what {setting} means");
            keys.push(format!("{section}.{}", setting.split_once(" = ").unwrap().0));
        }
        // One comment may explain the settings that follow it.
        explained = line.starts_with("# ") || (setting.is_some() && explained);
        live += setting.unwrap_or(line);
        live.push('\n');
    }
    let mut expected = all_keys();
    keys.sort();
    expected.sort();
    assert_eq!(keys, expected);
    assert_eq!(json(&Place::new().file("config.toml", &live).config()), json(&Config::default()));
    assert_eq!(json(&Place::new().file("config.toml", &text).config()), json(&Config::default()));
}

#[test]
fn the_names_of_the_original_server_are_honoured() {
    let names = [
        ("DB_URL", "sqlite:elsewhere/chat.db"),
        ("DB_NAME", "chat"),
        ("SECRET_KEY", "0123456789"),
        ("ALGORITHM", "HS512"),
        ("ACCESS_TOKEN_EXPIRE_MINUTES", "7"),
    ];
    let environment = names.iter().fold(Place::new(), |place, (name, value)| place.variable(name, value));
    let lines: String = names.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    for place in [environment, Place::new().file(".env", &lines)] {
        let config = place.config();
        assert_eq!(config.store.url, "sqlite:elsewhere/chat.db");
        assert_eq!(config.store.db_name, "chat");
        assert_eq!(config.auth.secret_key, "0123456789", "digits are text where the setting is text");
        assert_eq!(config.auth.algorithm, Algorithm::HS512);
        assert_eq!(config.auth.access_token_minutes, 7);
    }
}

#[test]
fn natters_own_names_win_over_the_originals_within_a_source() {
    let own = ("NATTER_STORE__DB_NAME", "own");
    let original = ("DB_NAME", "original");
    for [first, second] in [[own, original], [original, own]] {
        let place = Place::new().variable(first.0, first.1).variable(second.0, second.1);
        assert_eq!(place.config().store.db_name, "own");
        let place = Place::new().file(".env", &format!("{}={}\n{}={}\n", first.0, first.1, second.0, second.1));
        assert_eq!(place.config().store.db_name, "own");
    }
    let place = Place::new().file(".env", "NATTER_STORE__DB_NAME=own").variable("DB_NAME", "original");
    assert_eq!(place.config().store.db_name, "original", "the environment wins over .env whatever the name");
}

#[test]
fn later_flags_win_over_earlier_ones() {
    let place = Place::new().flag("--set", "log.level", "warn").flag("--set", "log.level", "debug");
    assert_eq!(place.config().log.level, "debug");
}

#[test]
fn variables_that_are_not_natters_are_ignored() {
    let place = Place::new().variable("PATH", "/bin").variable("NATTERJACK", "toad").file(".env", "OTHER=1\n");
    assert_eq!(json(&place.config()), json(&Config::default()));
}

#[test]
fn an_empty_text_is_no_address_and_an_empty_list() {
    let place = Place::new()
        .file("config.toml", "[server]\nmetrics_bind = '127.0.0.1:9100'\nallowed_origins = ['https://a.example']")
        .variable("NATTER_SERVER__METRICS_BIND", "")
        .variable("NATTER_SERVER__ALLOWED_ORIGINS", "");
    let config = place.config();
    assert_eq!(config.server.metrics_bind, None);
    assert!(config.server.allowed_origins.is_empty());
}

#[test]
fn a_missing_file_is_an_error_only_where_it_is_named() {
    let mut place = Place::new();
    place.inputs.file = Some("missing.toml".into());
    let problems = place.problems();
    assert!(problems[0].starts_with("missing.toml: the file cannot be read"), "{problems:?}");
}

#[test]
fn a_broken_file_is_told_by_its_place_and_never_quoted() {
    let place = Place::new().file("config.toml", "[auth]\nsecret_key = hunter2hunter2\n");
    let problems = place.problems();
    assert!(problems[0].starts_with("config.toml, line 2, column"), "{problems:?}");
    assert!(!problems[0].contains("hunter2"), "{problems:?}");

    let place = Place::new().file(".env", "A=1\nSECRET_KEY='hunter2\n");
    let problems = place.problems();
    assert!(problems[0].starts_with(".env") && !problems[0].contains("hunter2"), "{problems:?}");

    let place = Place::new().file(".env", "A=1\nhunter2 hunter2\n");
    assert_eq!(place.problems(), [".env, line 2: this is not NAME=value"]);
}

#[test]
fn dotenv_never_reaches_the_process_environment() {
    let place = Place::new().file(".env", "NATTER_STORE__DB_NAME='a$HOME'\nNATTER_LOG__LEVEL=debug\n");
    assert_eq!(place.config().log.level, "debug");
    assert_eq!(std::env::var_os("NATTER_LOG__LEVEL"), None);
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let place = Place::new()
        .file("config.toml", "bind = 1\n[sever]\nbind = '1.2.3.4:5'\n[log]\nformat = 'xml'\n[rooms]\n")
        .file(".env", "NATTER_SERVER__BNID=1.2.3.4:5\n")
        .variable("NATTER_AUTH__SIGNUP", "perhaps")
        .variable("NATTER_SERVER", "x")
        .flag("--bind", "server.bind", "nowhere")
        .flag("--set", "presence.enabled", "1");
    assert_eq!(
        place.problems(),
        [
            "config.toml: there is no setting `bind`; the nearest is `server.bind`",
            "config.toml: `log.format` must be one of `text`, `json`, not `xml`",
            "config.toml: there is no setting `sever.bind`; the nearest is `server.bind`",
            ".env, line 1, NATTER_SERVER__BNID: there is no setting `server.bnid`; the nearest is `server.bind` (NATTER_SERVER__BIND)",
            "environment variable NATTER_AUTH__SIGNUP: `auth.signup` must be one of `open`, `closed`, not `perhaps`",
            "environment variable NATTER_SERVER: `server` is a section, not a setting; write its keys as `server.<key>`",
            "flag --bind: `server.bind` must be an address and port such as `127.0.0.1:8000`, or `localhost:8000`",
            "flag --set: `presence.enabled` must be `true` or `false`, not `1`",
        ]
    );
}

#[test]
fn values_that_make_no_sense_are_refused_with_their_source() {
    let cases = [
        ("auth.bcrypt_cost", "3", "must be between 4 and 31, not 3"),
        ("auth.bcrypt_cost", "32", "must be between 4 and 31, not 32"),
        ("limits.page_default", "501", "must be at most `limits.page_max`, which is 500, not 501"),
        ("limits.page_max", "49", "must be at least `limits.page_default`, which is 50, not 49"),
        ("sockets.ping_secs", "0", "must be between 1 and 31536000, not 0"),
        ("auth.password_min_length", "73", "must be between 1 and 72, not 73"),
        ("store.db_name", "", "must not be empty"),
        (
            "store.url",
            "postgres://ann:hunter2@host",
            "must be `sqlite:<path>`, such as `sqlite:data/natter.db`, or `mongodb://<host>`",
        ),
        ("store.url", "sqlite:", "must say where the database is, as in `sqlite:data/natter.db`"),
        ("store.url", "mongodb://", "must name a server, as in `mongodb://localhost:27017`"),
        (
            "bus.url",
            "nats://127.0.0.1",
            "must be empty with SQLite, which belongs to one machine: set store.url to a MongoDB, or no bus",
        ),
        (
            "log.level",
            "loud",
            "has no level in `loud`; write one of off, error, warn, info, debug, trace, or per module as in `info,natter=debug`",
        ),
        (
            "server.allowed_origins",
            r#"["*"]"#,
            "holds `*`, which stands for many origins: every one must be listed by itself; write it as `https://chat.example.org`",
        ),
    ];
    for (key, value, sentence) in cases {
        let place = Place::new().variable(&variable(key), value);
        assert_eq!(place.problems(), [format!("environment variable {}: `{key}` {sentence}", variable(key))]);
    }
}

#[test]
fn a_bus_needs_a_database_that_can_be_shared_and_an_address_that_is_one() {
    let with = |bus: &str| Place::new().variable("DB_URL", "mongodb://db").variable("NATTER_BUS__URL", bus);
    for good in ["nats://a:4222", "tls://ann:secret@a", "nats://a,nats://b"] {
        assert_eq!(with(good).config().bus.url, good);
    }
    for bad in ["a:4222", "nats://", "http://a", "nats://a,b"] {
        assert!(with(bad).problems()[0].contains("`bus.url` must be `nats://<host>:4222`"), "{bad}");
    }
}

#[test]
fn ill_typed_values_are_told_with_what_would_be_right() {
    let cases = [
        ("server.drain_secs", "'soon'", "must be a whole number between 0 and 31536000, not `soon`"),
        ("server.drain_secs", "2.5", "must be a whole number between 0 and 31536000, not `2.5`"),
        ("limits.posts_per_sec", "5000000000", "must be a whole number between 1 and 4294967295, not `5000000000`"),
        (
            "server.allowed_origins",
            "'https://a.example'",
            "must be a list of origins such as `[\"https://chat.example.org\"]`, not `https://a.example`",
        ),
        (
            "server.trusted_proxies",
            "['10.0.0.1']",
            "must be a list of networks such as `[\"10.0.0.0/8\", \"192.0.2.7/32\"]`",
        ),
        ("auth.algorithm", "'none'", "must be one of `HS256`, `HS384`, `HS512`, not `none`"),
        ("auth.algorithm", "256", "must be one of `HS256`, `HS384`, `HS512`, not `256`"),
        ("auth.secret_key", "12345678", "must be a text"),
        ("store.db_name", "[]", "must be a text, not a list"),
    ];
    for (key, value, sentence) in cases {
        let (section, name) = key.split_once('.').unwrap();
        let place = Place::new().file("config.toml", &format!("[{section}]\n{name} = {value}\n"));
        assert_eq!(place.problems(), [format!("config.toml: `{key}` {sentence}")]);
    }
}

/// Some other value of the same type as `default`, valid for this key.
fn other_value(key: &str, default: &Value) -> BoxedStrategy<Value> {
    let text = |pattern: &str| proptest::string::string_regex(pattern).unwrap().prop_map(Value::from).boxed();
    match (key, default) {
        ("server.bind" | "server.metrics_bind", _) => {
            any::<(u32, u16)>().prop_map(|(ip, port)| format!("{}:{port}", std::net::Ipv4Addr::from(ip)).into()).boxed()
        }
        ("server.allowed_origins", _) => {
            prop::collection::vec("https://[a-z]{1,9}\\.example(:80[0-9]{2})?", 0..4).prop_map(Value::from).boxed()
        }
        ("server.hosts", _) => {
            prop::collection::vec("(\\*\\.)?[a-z]{1,9}\\.example(:80[0-9]{2})?", 0..4).prop_map(Value::from).boxed()
        }
        ("server.trusted_proxies", _) => {
            prop::collection::vec("10\\.[1-9]\\.0\\.0/16", 0..4).prop_map(Value::from).boxed()
        }
        ("auth.algorithm", _) => text("HS(256|384|512)"),
        ("auth.signup", _) => text("open|closed"),
        ("auth.invites", _) => text("open|ask"),
        ("auth.directory", _) => text("open|rooms|closed"),
        ("limits.rates" | "server.metrics" | "server.docs", _) => text("on|off"),
        ("rooms.edit_history", _) => text("members|moderators|off"),
        ("log.format", _) => text("text|json"),
        ("log.requests", _) => text("off|errors|all"),
        ("log.level", _) => text("(natter=)?(error|warn|info|debug|trace)"),
        ("store.url", _) => text("sqlite:[a-z0-9/]{1,20}\\.db"),
        // One without the other is refused.
        ("server.tls_cert" | "server.tls_key", _) => Just(Value::from("")).boxed(),
        ("bus.url", _) => Just(Value::from("")).boxed(),
        ("auth.bcrypt_cost", _) => (4..=31u64).prop_map(Value::from).boxed(),
        ("limits.page_default", _) => (1..=500u64).prop_map(Value::from).boxed(),
        ("limits.page_max", _) => (50..=9_999u64).prop_map(Value::from).boxed(),
        ("rooms.ring_bytes", _) => (1..=536_870_912u64).prop_map(Value::from).boxed(),
        ("rooms.rings_bytes", _) => (524_288..=1u64 << 40).prop_map(Value::from).boxed(),
        ("sockets.frame_bytes" | "limits.body_bytes", _) => (49_792..=1u64 << 40).prop_map(Value::from).boxed(),
        ("limits.answer_bytes", _) => (1_048_576..=1u64 << 40).prop_map(Value::from).boxed(),
        ("limits.body_secs", _) => (1..=30u64).prop_map(Value::from).boxed(),
        ("limits.request_secs", _) => (15..=70u64).prop_map(Value::from).boxed(),
        ("cluster.silent_millis" | "cluster.check_millis", _) => (300..=9_999u64).prop_map(Value::from).boxed(),
        (_, Value::Bool(_)) => any::<bool>().prop_map(Value::from).boxed(),
        (_, Value::Number(_)) => (1..=70u64).prop_map(Value::from).boxed(),
        // Digits, words for truth, brackets: text is text whatever it looks like.
        _ => text("[0-9]{1,20}|true|\\[a\\]|[ -&(-\\[\\]-~]{1,30}"),
    }
}

fn any_setting() -> impl Strategy<Value = (String, Value)> {
    let defaults = json(&Config::default());
    prop::sample::select(all_keys()).prop_flat_map(move |key| {
        let (section, name) = key.split_once('.').unwrap();
        let value = other_value(&key, &defaults[section][name]);
        (Just(key), value)
    })
}

fn any_way() -> impl Strategy<Value = Way> {
    prop::sample::select(WAYS.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_valid_value_comes_through_every_source_and_changes_nothing_else((key, value) in any_setting()) {
        for way in WAYS {
            let loaded = way.give(Place::new(), &key, &value).load();
            prop_assert!(loaded.is_ok(), "{way:?} {key} = {value}: {loaded:?}");
            let loaded = loaded.unwrap();
            prop_assert_eq!(&value_of(&loaded.config, &key), &value, "{:?} {}", way, key);
            prop_assert!(loaded.origins[&key].to_string().ends_with(&way.name(&key)));
            let (section, name) = key.split_once('.').unwrap();
            let mut expected = json(&Config::default());
            expected[section][name] = value.clone();
            prop_assert_eq!(json(&loaded.config), expected);
        }
    }

    #[test]
    fn the_strongest_source_wins(key in prop::sample::select(vec!["limits.message_chars", "sockets.replays"]), given in prop::collection::btree_map(any_way(), 1..4_000u64, 1..=4)) {
        let place = given.iter().fold(Place::new(), |place, (way, value)| way.give(place, key, &Value::from(*value)));
        let (strongest, value) = given.last_key_value().unwrap();
        let loaded = place.load().unwrap();
        prop_assert_eq!(value_of(&loaded.config, key), Value::from(*value));
        prop_assert!(loaded.origins[key].to_string().ends_with(&strongest.name(key)));
    }

    #[test]
    fn any_unknown_key_is_named_with_its_source(way in any_way(), section in "server|auth|limits|[a-z]{1,8}", name in "[a-z]{1,9}(_[a-z]{1,9})?") {
        let key = format!("{section}.{name}");
        prop_assume!(!all_keys().contains(&key));
        let problems = way.give(Place::new(), &key, &Value::from(1)).problems();
        prop_assert_eq!(problems.len(), 1);
        let begin = format!("{}: there is no setting `{key}`", way.name(&key));
        let rest = problems[0].strip_prefix(&begin);
        prop_assert!(rest.is_some(), "{} / {}", problems[0], begin);
        match rest.unwrap().strip_prefix("; the nearest is `") {
            Some(nearest) => {
                let nearest = nearest.split('`').next().unwrap();
                prop_assert!(all_keys().iter().any(|key| key == nearest), "{nearest}");
            }
            None => prop_assert_eq!(rest.unwrap(), ", nor one like it; config.toml lists them all"),
        }
    }

    #[test]
    fn no_value_of_a_secret_is_ever_told(way in any_way(), key in prop::sample::select(vec!["auth.secret_key", "store.url", "bus.url"]), secret in "Zq[0-9A-Z]{8,20}") {
        let urls = ["nats://ann:{}@host", "nats://{}@a,nats://{}@b", "mongodb://ann:/{}?@a:{}@host", "mongodb://h/?{}",
            "mongodb://h/?tlsCertificateKeyFilePassword={}&w=majority", "mongodb://h/#{}", "\"mongodb://ann:{}@h\"", "redis://:{}@h"];
        let urls = urls.map(|url| Value::from(url.replace("{}", &secret)));
        for value in [Value::from(secret.clone()), Value::from(vec![secret.clone()])].into_iter().chain(urls) {
            match way.give(Place::new(), key, &value).load() {
                Ok(loaded) => prop_assert!(!show::toml(&loaded).contains(&secret)),
                Err(problems) => prop_assert!(!problems.to_string().contains(&secret), "{problems}"),
            }
        }
    }

    #[test]
    fn what_check_config_prints_is_a_file_that_says_the_same(settings in prop::collection::vec((any_way(), any_setting()), 0..4)) {
        let place = settings.iter().fold(Place::new(), |place, (_, (key, value))| Way::Flag.give(place, key, value));
        // Two settings together may contradict each other; one alone never does.
        if let Ok(loaded) = place.load() {
            prop_assume!(loaded.config.auth.secret_key.is_empty());
            let again = Place::new().file("config.toml", &show::toml(&loaded)).config();
            prop_assert_eq!(json(&again), json(&loaded.config));
        }
    }

    #[test]
    fn no_file_and_no_variable_makes_the_loader_panic(file in ".{0,200}", dotenv in ".{0,200}", name in "NATTER_[A-Z_]{0,20}", value in ".{0,40}") {
        let place = Place::new().file("config.toml", &file).file(".env", &dotenv).variable(&name, &value);
        let _ = place.load();
    }
}
