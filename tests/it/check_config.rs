//! `natter check-config`, and how every command refuses settings that are wrong.

use std::{
    ffi::OsString,
    fs,
    path::Path,
    process::{Command, Output},
};

fn natter(folder: &Path, arguments: &[&str], environment: &[(&str, OsString)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_natter"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .envs(environment.iter().cloned())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn check_config_prints_the_settings_in_force_and_where_they_come_from() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.toml"), "[log]\nlevel = 'warn'\n[limits]\npage_max = 500\n").unwrap();
    fs::write(folder.path().join(".env"), "SECRET_KEY=hunter2hunter2hunter2hunter2hunter2\n").unwrap();
    let environment = [("NATTER_SERVER__ALLOWED_ORIGINS", r#"["https://a.example","http://localhost:3000"]"#.into())];
    let out =
        natter(folder.path(), &["check-config", "--bind", "0.0.0.0:80", "--set", "auth.signup=closed"], &environment);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let printed = text(&out.stdout);
    for line in [
        "level = \"warn\" # config.toml",
        "page_max = 500",
        "secret_key = \"********\" # .env, line 1, SECRET_KEY",
        "bind = \"0.0.0.0:80\" # flag --bind",
        "signup = \"closed\" # flag --set",
        "allowed_origins = [\"https://a.example\", \"http://localhost:3000\"] # environment variable NATTER_SERVER__ALLOWED_ORIGINS",
        "drain_secs = 20",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line} is not in\n{printed}");
    }
    assert!(!printed.contains("hunter2"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "looking at settings makes nothing");
}

#[test]
fn check_config_ends_with_one_and_a_sentence_for_each_problem() {
    let folder = tempfile::tempdir().unwrap();
    let environment = [("NATTER_LIMITS__PAGE_MXA", "7".into()), ("NATTER_AUTH__BCRYPT_COST", "much".into())];
    let out = natter(folder.path(), &["check-config"], &environment);
    assert_eq!(out.status.code(), Some(1));
    assert_eq!(text(&out.stdout), "");
    let told = text(&out.stderr);
    assert!(told.lines().all(|line| line.starts_with("natter: environment variable NATTER_")), "{told}");
    assert!(told.contains("the nearest is `limits.page_max` (NATTER_LIMITS__PAGE_MAX)"), "{told}");
    assert!(told.contains("`auth.bcrypt_cost` must be a whole number between 4 and 31, not `much`"), "{told}");
}

#[test]
fn wrong_settings_stop_every_command_before_it_touches_anything() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["serve"][..], &[], &["admin", "list"], &["backup", "copy.db"], &["health"]] {
        let out = natter(folder.path(), &[arguments, &["--set", "server.bnid=x"]].concat(), &[]);
        assert_eq!(out.status.code(), Some(1));
        assert_eq!(
            text(&out.stderr),
            "natter: flag --set: there is no setting `server.bnid`; the nearest is `server.bind`\n"
        );
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_command_that_cannot_be_understood_ends_with_two_and_never_repeats_a_value() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        &["sreve"][..],
        &["--set", "auth.secret_key:hunter2"],
        &["admin", "create"],
        &["mongodb://ann:hunter2@host"],
        &["import", "a", "mongodb://host/?proxyPassword=hunter2"],
        &["serve", "nats://hunter2@host"],
    ] {
        let out = natter(folder.path(), arguments, &[]);
        assert_eq!(out.status.code(), Some(2));
        assert!(!text(&out.stderr).contains("hunter2"));
    }
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_text_is_named() {
    use std::os::unix::ffi::OsStringExt;
    let folder = tempfile::tempdir().unwrap();
    let environment = [("SECRET_KEY", OsString::from_vec(vec![0xff, 0xfe])), ("OTHER", OsString::from_vec(vec![0xff]))];
    let out = natter(folder.path(), &["check-config"], &environment);
    assert_eq!(out.status.code(), Some(1));
    assert_eq!(text(&out.stderr), "natter: environment variable SECRET_KEY: the value is not UTF-8 text\n");
}

#[test]
fn check_config_refuses_what_serve_refuses_and_in_the_same_words() {
    let mongo = ("DB_URL", OsString::from("mongodb://127.0.0.1:1"));
    for (environment, told) in [
        (vec![("DB_URL", "mongodb://127.0.0.1:1/?w=1".into())], "Leave that option out"),
        (vec![("DB_URL", "mongodb://127.0.0.1:1/?tls=perhaps".into())], "store.url cannot be used"),
        (vec![mongo.clone(), ("DB_NAME", "admin".into())], "belongs to MongoDB itself"),
        (vec![mongo.clone(), ("NATTER_BUS__URL", "nats://a/chat".into())], "server 1 has something after the port"),
        (
            vec![mongo, ("NATTER_BUS__URL", "nats://a".into()), ("NATTER_BUS__CREDENTIALS", "nowhere.creds".into())],
            "nowhere.creds cannot be read",
        ),
        (vec![("DB_URL", "sqlite:data/".into())], "names no store"),
        (vec![("SECRET_KEY", "short".into())], "openssl rand"),
        (
            vec![("NATTER_SERVER__TLS_CERT", "c.pem".into()), ("NATTER_SERVER__TLS_KEY", "k.pem".into())],
            "c.pem cannot be read",
        ),
        (vec![("NATTER_LOG__AUDIT", "/nowhere/audit.log".into())], "log.audit"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let run = |arguments: &[&str]| natter(folder.path(), arguments, &environment);
        let outputs = [run(&["check-config"]), run(&["check-config", "--quiet"]), run(&["serve"])];
        for out in &outputs {
            assert_eq!(out.status.code(), Some(1), "{told}");
            let own =
                text(&out.stderr).lines().filter(|line| line.starts_with("natter: ")).collect::<Vec<_>>().join("\n");
            assert!(own.contains(told), "{told}: {own}");
            assert_eq!(text(&out.stdout), "");
        }
        assert_eq!(text(&outputs[0].stderr), text(&outputs[1].stderr));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{told}: nothing is left behind");
    }
}

#[test]
fn check_config_says_nothing_in_a_unit_but_what_somebody_should_know() {
    let folder = tempfile::tempdir().unwrap();
    let quiet = |environment: &[(&str, OsString)]| natter(folder.path(), &["check-config", "--quiet"], environment);
    let out = quiet(&[]);
    assert!(out.status.success());
    assert_eq!((text(&out.stdout).as_str(), text(&out.stderr).as_str()), ("", ""));
    let out = quiet(&[("NATTER_SERVER__BIND", "0.0.0.0:8000".into())]);
    assert!(out.status.success() && text(&out.stdout).is_empty());
    assert!(text(&out.stderr).starts_with("natter: warning: `server.bind`"), "{}", text(&out.stderr));
}
