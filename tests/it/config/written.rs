//! Values are what is written: in `.env`, in an environment that others write into too, and beside each other.

use std::fs;

use natter::config::Config;

use super::{Place, json};

#[test]
fn a_value_of_dotenv_is_what_is_written() {
    let key = "0123456789012345678901234567890";
    for (written, read) in [
        ("pa$word$HOME${HOME}", "pa$word$HOME${HOME}"),
        ("'a b # c \"$d\" \\n'", "a b # c \"$d\" \\n"),
        ("\"a \\\"b\\\" $HOME \\$c # d\"", "a \"b\" $HOME $c # d"),
        ("  two words  ", "two words"),
        ("a#b'c\"d=e", "a#b'c\"d=e"),
        ("#a", "#a"),
    ] {
        for (begin, end) in [("", "\n"), ("export ", "\r\n"), ("\u{feff}", ""), ("# no\n\n  ", "\nOTHER=\"\\q\"\n")] {
            let place = Place::new().file(".env", &format!("{begin}SECRET_KEY={written}{end}"));
            assert_eq!(place.config().auth.secret_key, read, "{written:?} {end:?}");
        }
    }
    let place = Place::new().file(".env", &format!("SECRET_KEY='{key}\n{key}'\r\nDB_NAME=chat\r\n"));
    assert_eq!(
        (place.config().auth.secret_key, place.config().store.db_name),
        (format!("{key}\n{key}"), "chat".into())
    );
}

#[test]
fn what_dotenv_says_in_two_ways_is_refused_with_its_line_and_never_quoted() {
    for (text, told) in [
        ("\nSECRET_KEY='hunter2' hunter2", ".env, line 2, SECRET_KEY: something follows the quote"),
        ("\n\nDB_URL=\"hunter2\\x\"", ".env, line 3, DB_URL: in double quotes `\\` stands before"),
        ("SECRET_KEY=hunter2 # hunter2", ".env, line 1, SECRET_KEY: a `#` after a space begins a comment"),
        ("A='1\n2'\nSECRET_KEY=\"hunter2\n", ".env, line 3: the quote that begins here does not end"),
        ("A=1\n\r\nhunter2 = 2 hunter2\nhunter2 2=1", ".env, line 4: this is not NAME=value"),
        (
            "A=1\nDB_NAME=chat\nNATTER_AUTH__SIGNUP=hunter",
            ".env, line 3, NATTER_AUTH__SIGNUP: `auth.signup` must be one",
        ),
    ] {
        let problems = Place::new().file(".env", text).problems();
        assert!(problems.len() == 1 && problems[0].starts_with(told), "{text:?}: {problems:?}");
        assert!(!problems[0].contains("hunter2"), "{problems:?}");
    }
    let place = Place::new();
    fs::write(place.folder.path().join(".env"), b"A=1\nB=\xff\n").unwrap();
    assert_eq!(place.problems(), [".env, line 2: this is not UTF-8 text"]);
    fs::write(place.folder.path().join(".env"), b"\xff\xfeA\0=\x001\0").unwrap();
    assert_eq!(place.problems(), [".env: the file is UTF-16; save it as UTF-8"]);
}

#[test]
fn a_value_of_dotenv_that_other_readers_would_change_is_warned_of() {
    let place = Place::new().file(".env", "\nDB_NAME=${CHAT}\nSECRET_KEY='${CHAT}'\n");
    let loaded = place.load().unwrap();
    assert_eq!(loaded.config.store.db_name, "${CHAT}");
    assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
    assert!(loaded.warnings[0].contains("/.env, line 2, DB_NAME: natter puts no variables"), "{:?}", loaded.warnings);
}

#[test]
fn quotes_around_a_value_of_the_environment_are_shown_and_told() {
    let told =
        "; the value stands in quotes, which are part of it (`docker run --env-file` keeps them); take them away";
    for (name, value, sentence) in [
        (
            "ACCESS_TOKEN_EXPIRE_MINUTES",
            "\"30\"",
            "`auth.access_token_minutes` must be a whole number between 1 and 5256000, not `\"30\"`",
        ),
        ("NATTER_PRESENCE__ENABLED", "'true'", "`presence.enabled` must be `true` or `false`, not `'true'`"),
        ("NATTER_AUTH__SIGNUP", "\"open\"", "`auth.signup` must be one of `open`, `closed`, not `\"open\"`"),
        (
            "DB_URL",
            "\"sqlite:data/x.db\"",
            "`store.url` must be `sqlite:<path>`, such as `sqlite:data/natter.db`, or `mongodb://<host>`",
        ),
    ] {
        let problems = Place::new().variable(name, value).problems();
        assert_eq!(problems, [format!("environment variable {name}: {sentence}{told}")]);
    }
    let loaded = Place::new().variable("DB_NAME", "'chat'").variable("SECRET_KEY", "ends in a line\r").load().unwrap();
    assert_eq!(loaded.config.store.db_name, "'chat'", "it is what it says");
    assert_eq!(loaded.warnings.len(), 2, "{:?}", loaded.warnings);
    assert!(loaded.warnings[0].contains("`auth.secret_key` begins or ends with white space"), "{:?}", loaded.warnings);
    assert!(loaded.warnings[1].contains("`store.db_name` stands in quotes"), "{:?}", loaded.warnings);
    let loaded = Place::new().variable("ACCESS_TOKEN_EXPIRE_MINUTES", " 30 ").load().unwrap();
    assert!(loaded.config.auth.access_token_minutes == 30 && loaded.warnings.is_empty());
}

#[test]
fn variables_that_kubernetes_and_docker_write_change_nothing() {
    let linked = [
        ("NATTER_PORT", "tcp://10.0.0.1:8000"),
        ("NATTER_PORT_8000_TCP", "tcp://10.0.0.1:8000"),
        ("NATTER_PORT_8000_TCP_PROTO", "tcp"),
        ("NATTER_PORT_8000_TCP_PORT", "8000"),
        ("NATTER_PORT_8000_TCP_ADDR", "10.0.0.1"),
        ("NATTER_SERVICE_HOST", "fd00::1"),
        ("NATTER_SERVICE_PORT", "8000"),
        ("NATTER_SERVICE_PORT_HTTP", "8000"),
        ("NATTER_MONGO_PORT_27017_UDP", "udp://[fd00::1]:27017"),
        ("NATTER_LIMITS__PAGE_MAX_SERVICE_HOST", "10.0.0.1"),
        ("NATTER_NAME", "/web/natter"),
        ("NATTER_ENV_LIMITS__PAGE_MAX", "7"),
        ("DB_NAME", "/web/db"),
        ("DB_PORT", "tcp://10.0.0.1:27017"),
    ];
    let all = linked.into_iter().fold(Place::new(), |place, (name, value)| place.variable(name, value));
    for place in linked.into_iter().map(|(name, value)| Place::new().variable(name, value)).chain([all]) {
        if place.inputs.environment.iter().all(|(name, _)| name != "NATTER_ENV_LIMITS__PAGE_MAX")
            || place.inputs.environment.len() > 1
        {
            let loaded = place.load().unwrap_or_else(|problems| panic!("{problems}"));
            assert!(json(&loaded.config) == json(&Config::default()) && loaded.warnings.is_empty());
        }
    }
    for (name, value) in [
        ("NATTER_PORT", "8000"),
        ("NATTER_SERVER_BIND", "10.0.0.1:8000"),
        ("NATTER_SERVICE_HOST", "chat.example.org"),
        ("NATTER_SERVER__PORT", "8000"),
        ("NATTER_ENV_X", "7"),
    ] {
        let problems = Place::new().variable(name, value).problems();
        assert!(problems[0].starts_with(&format!("environment variable {name}: there is no setting")), "{problems:?}");
    }
}

#[test]
fn settings_that_contradict_each_other_are_refused_with_both_named() {
    for (settings, blamed, sentence) in [
        (
            &[("limits.message_chars", "20000")][..],
            "limits.message_chars",
            "is 20000 with `limits.client_id_chars` (128), and so many characters can take 241792 bytes: set \
             `sockets.frame_bytes`, which is 65536, to 241792 or more, or this to at most 5312",
        ),
        (
            &[("limits.message_chars", "20000"), ("sockets.frame_bytes", "241792"), ("limits.body_bytes", "241791")],
            "limits.message_chars",
            "is 20000 with `limits.client_id_chars` (128), and so many characters can take 241792 bytes: set \
             `limits.body_bytes`, which is 241791, to 241792 or more, or this to at most 19999",
        ),
        (
            &[("sockets.frame_bytes", "2000")],
            "sockets.frame_bytes",
            "must be at least 49792, the bytes that `limits.message_chars` (4000) with `limits.client_id_chars` (128) can \
             take, not 2000",
        ),
        (
            &[("limits.room_name_chars", "30000")],
            "limits.room_name_chars",
            "is 30000, and so many characters can take 360256 bytes: set `limits.body_bytes`, which is 262144, to 360256 or \
             more, or this to at most 21824",
        ),
        (
            &[("limits.page_bytes", "300000000")],
            "limits.page_bytes",
            "must be at most `limits.answer_bytes`, which is 268435456, not 300000000",
        ),
        (
            &[("limits.request_secs", "10")],
            "limits.request_secs",
            "must be at least `limits.body_secs`, which is 15, not 10",
        ),
        (
            &[("rooms.ring_bytes", "9"), ("rooms.rings_bytes", "8")],
            "rooms.ring_bytes",
            "must be at most `rooms.rings_bytes`, which is 8, not 9",
        ),
        (
            &[("auth.access_token_minutes", "1441"), ("auth.refresh_token_days", "1")],
            "auth.access_token_minutes",
            "must be at most 1440, the minutes of `auth.refresh_token_days` (1), after which the login is over, not 1441",
        ),
        (
            &[("server.metrics_bind", "127.0.0.1:8000")],
            "server.metrics_bind",
            "must be another address than `server.bind`, which is 127.0.0.1:8000 too",
        ),
    ] {
        let place = settings.iter().fold(Place::new(), |place, (key, value)| place.flag("--set", key, value));
        let problems = place.problems();
        assert_eq!(problems[0], format!("flag --set: `{blamed}` {sentence}"));
    }
    let place = Place::new().variable("DB_URL", "mongodb://db");
    let long =
        [("limits.message_chars", "5000000"), ("limits.body_bytes", "99999999"), ("sockets.frame_bytes", "99999999")];
    let problems = long.iter().fold(place, |place, (key, value)| place.flag("--set", key, value)).problems();
    assert!(
        problems[0].contains("`limits.message_chars` must be at most 4177920 with MongoDB (`store.url`)"),
        "{problems:?}"
    );
    for setting in ["limits.requests_burst", "limits.posts_burst", "limits.frames_burst", "limits.signups_burst"] {
        let problems = Place::new().flag("--set", setting, "0").problems();
        assert!(problems[0].ends_with("not 0"), "{problems:?}");
    }
}

#[test]
fn dotenv_is_read_beside_the_settings_and_another_is_told() {
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("natter.toml"), "").unwrap();
    let mut place = Place::new().file(".env", "DB_NAME=here\n");
    assert_eq!(place.config().store.db_name, "here", "without a file, where one would be");
    place.inputs.file = Some(elsewhere.path().join("natter.toml"));
    let loaded = place.load().unwrap();
    assert_eq!(loaded.config.store.db_name, "natter");
    assert!(
        loaded.warnings.iter().any(|told| told.contains("is not read") && told.contains("put it there")),
        "{:?}",
        loaded.warnings
    );

    fs::write(elsewhere.path().join(".env"), "DB_NAME=beside\nNATTER_BNID=1\n").unwrap();
    let told = place.load().unwrap_err().to_string();
    assert!(told.starts_with(&format!("{}, line 2, NATTER_BNID", elsewhere.path().join(".env").display())), "{told}");
    fs::write(elsewhere.path().join(".env"), "DB_NAME=beside\n").unwrap();
    let loaded = place.load().unwrap();
    assert_eq!(loaded.config.store.db_name, "beside");
    let read = elsewhere.path().join(".env").display().to_string();
    assert!(
        loaded.warnings.iter().any(|told| told.contains("is not read") && told.contains(&read)),
        "{:?}",
        loaded.warnings
    );

    let mut place = Place::new().file(".env", "DB_NAME=here\n").file("other.toml", "");
    place.inputs.file = Some("other.toml".into());
    let loaded = place.load().unwrap();
    assert_eq!((loaded.config.store.db_name.as_str(), loaded.warnings), ("here", vec![]));
}
