//! Secrets in files: who names them, what of them counts, and how it is told where they cannot be used.

use super::Place;

/// Every variable that names a file, its key's value in what was loaded, and a value.
const FILES: [(&str, &str, &str); 5] = [
    ("SECRET_KEY", "auth.secret_key", "  a key with spaces, and of 32 bytes "),
    ("NATTER_AUTH__SECRET_KEY", "auth.secret_key", "$a'nother \"key\" # as it stands"),
    ("DB_URL", "store.url", "mongodb://ann:pa%24s@host/"),
    ("NATTER_STORE__URL", "store.url", "sqlite:elsewhere/natter.db"),
    ("NATTER_BUS__URL", "bus.url", "nats://token@host:4222"),
];

fn with_a_mongodb(place: Place, key: &str) -> Place {
    if key == "bus.url" { place.flag("--store", "store.url", "mongodb://host") } else { place }
}

#[test]
fn a_secret_is_what_the_file_holds_without_the_end_of_its_last_line() {
    for (variable, key, value) in FILES {
        for end in ["", "\n", "\r\n", "\n\n"] {
            let name = format!("{variable}_FILE");
            let place = || Place::new().file("secret", &format!("{value}{end}"));
            for place in [place().variable(&name, "secret"), place().file(".env", &format!("{name}=secret\n"))] {
                let config = with_a_mongodb(place, key).config();
                assert_eq!(super::value_of(&config, key), value, "{name} {end:?}");
            }
        }
    }
}

#[test]
fn a_credential_of_systemd_is_found_by_the_name_of_its_variable() {
    for (variable, key, value) in FILES {
        let place = Place::new().file(variable, &format!("{value}\n")).file("somebody-elses", "x");
        let folder = place.folder.path().display().to_string();
        let config = with_a_mongodb(place.variable("CREDENTIALS_DIRECTORY", &folder), key).config();
        assert_eq!(super::value_of(&config, key), value, "{variable}");
    }
    let place = Place::new().file("SECRET_KEY", "k").variable("SECRET_KEY", "0123456789");
    let folder = place.folder.path().display().to_string();
    let problems = place.variable("CREDENTIALS_DIRECTORY", &folder).problems();
    assert!(problems[0].starts_with("credential SECRET_KEY: ") && problems[0].contains("variable SECRET_KEY as well"));
}

#[test]
fn a_secret_that_is_given_twice_is_refused_with_both_names() {
    for (first, second) in [
        ("SECRET_KEY", "SECRET_KEY_FILE"),
        ("NATTER_AUTH__SECRET_KEY", "SECRET_KEY_FILE"),
        ("SECRET_KEY", "NATTER_AUTH__SECRET_KEY_FILE"),
        ("NATTER_AUTH__SECRET_KEY_FILE", "SECRET_KEY_FILE"),
        ("DB_URL", "DB_URL_FILE"),
        ("NATTER_BUS__URL", "NATTER_BUS__URL_FILE"),
    ] {
        let place = Place::new().file("secret", "a secret that nobody tells");
        let problems = place.variable(first, "secret").variable(second, "secret").problems();
        assert_eq!(problems.len(), 1, "{problems:?}");
        let named = |name: &str| problems[0].contains(&format!("environment variable {name}"));
        assert!(named(first) && named(second) && !problems[0].contains("nobody"), "{problems:?}");
        let lines = format!("{first}=secret\n{second}=secret\n");
        let problems = Place::new().file("secret", "x").file(".env", &lines).problems();
        assert!(problems[0].contains(first) && problems[0].contains(second), "{problems:?}");
    }
}

#[test]
fn an_empty_variable_is_as_good_as_none() {
    let place = || Place::new().file("secret", "0123456789");
    let config = place().variable("SECRET_KEY", "").variable("SECRET_KEY_FILE", "secret").config();
    assert_eq!(config.auth.secret_key, "0123456789");
    let config = place().variable("SECRET_KEY", "9876543210").variable("SECRET_KEY_FILE", "").config();
    assert_eq!(config.auth.secret_key, "9876543210");
}

#[test]
fn a_file_that_holds_no_secret_is_named_and_never_quoted() {
    let long = "q".repeat(70_000);
    for (name, text) in [("missing", None), ("empty", Some("\n")), ("long", Some(long.as_str()))] {
        let place = text.map_or_else(Place::new, |text| Place::new().file(name, text));
        let problems = place.variable("SECRET_KEY_FILE", name).problems();
        assert!(
            problems[0].starts_with(&format!("environment variable SECRET_KEY_FILE: the file {name} ")),
            "{problems:?}"
        );
        assert!(!problems[0].contains("qq"));
    }
    let place = Place::new();
    std::fs::write(place.folder.path().join("bytes"), b"\xff\xfesecret").unwrap();
    assert!(place.variable("DB_URL_FILE", "bytes").problems()[0].contains("the file bytes is not UTF-8"));
    let weak = Place::new().file("url", "postgres://ann:hidden@host").variable("DB_URL_FILE", "url").problems();
    assert!(weak[0].contains("DB_URL_FILE (url)") && !weak[0].contains("hidden"), "{weak:?}");
}

#[test]
fn a_file_of_settings_and_a_flag_may_name_the_file_too() {
    let place = || Place::new().file("secret", "0123456789\n");
    let config = place().file("config.toml", "[auth]\nsecret_key_file = \"secret\"\n").config();
    assert_eq!(config.auth.secret_key, "0123456789");
    assert_eq!(place().flag("--set", "auth.secret_key_file", "secret").config().auth.secret_key, "0123456789");
    let problems = place().file("config.toml", "[auth]\nsecret_key_file = 7\n").problems();
    assert!(problems[0].contains("`auth.secret_key_file` must be the name of a file"), "{problems:?}");
}

#[test]
fn what_is_no_secret_is_in_no_file() {
    let problems = Place::new().file("bind", "x").variable("NATTER_SERVER__BIND_FILE", "bind").problems();
    assert!(problems[0].contains("there is no setting"), "{problems:?}");
}
