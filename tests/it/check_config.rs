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
