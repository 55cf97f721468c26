//! The command line of an operator, with the server running and without.

use std::process::Command;

use crate::harness::{PASSWORD, Ran, Server};

const CREATE: [&str; 5] = ["admin", "create", "--username", "root", "--password-stdin"];

#[tokio::test]
async fn an_admin_is_made_while_the_server_runs_and_while_it_does_not() {
    for running in [true, false] {
        let mut server = Server::start().await;
        if !running {
            server.stop().await;
        }
        server.cli_reading(&CREATE, PASSWORD).await.ok();
        if !running {
            server.restart().await;
        }
        let root = server.sign_in("root").await;
        root.get("/users/").await.ok();
        assert!(server.cli(&["admin", "list"]).await.ok().contains("root"));
        server.stop().await;
        assert!(server.cli(&["admin", "list"]).await.ok().contains("root"));
    }
}

#[tokio::test]
async fn the_password_on_stdin_may_end_in_a_newline() {
    let server = Server::start().await;
    server.cli_reading(&CREATE, &format!("{PASSWORD}\n")).await.ok();
    server.sign_in("root").await.me().await;
}

#[tokio::test]
async fn an_admin_that_cannot_be_made_is_refused_with_a_sentence() {
    let server = Server::start().await;
    server.person("ann").await;
    let refused = server.cli_reading(&CREATE, "short").await.failed();
    assert!(refused.contains('8') && !refused.contains("short\n"), "{refused}");
    server.cli_reading(&CREATE, "").await.failed();
    server.cli_reading(&["admin", "create", "--username", "a\u{202e}b", "--password-stdin"], PASSWORD).await.failed();
    let refused = server.cli_reading(&["admin", "create", "--username", "ann", "--password-stdin"], PASSWORD).await;
    let refused = refused.failed();
    assert!(refused.contains("ann") && refused.contains("grant"), "{refused}");
    assert!(!server.cli(&["admin", "list"]).await.ok().contains("ann"));
}

#[tokio::test]
async fn what_an_operator_grants_and_revokes_holds_from_the_next_request_on() {
    let server = Server::start().await;
    let (ann, root) = (server.person("ann").await, server.admin().await);
    server.cli(&["admin", "grant", "ann"]).await.ok();
    ann.get("/users/").await.ok();
    server.cli(&["admin", "revoke", "root"]).await.ok();
    root.get("/users/").await.refused(403);
    let list = server.cli(&["admin", "list"]).await.ok();
    assert!(list.contains("ann") && !list.contains("root"), "{list}");
}

#[tokio::test]
async fn the_last_admin_can_be_neither_revoked_nor_disabled() {
    let server = Server::start().await;
    let root = server.admin().await;
    for command in ["revoke", "disable"] {
        let refused = server.cli(&["admin", command, "root"]).await.failed();
        assert!(refused.contains("admin"), "{refused}");
    }
    root.get("/users/").await.ok();
}

#[tokio::test]
async fn disabling_by_an_operator_ends_tokens_and_sockets_at_once() {
    let server = Server::start().await;
    let ann = server.person("ann").await;
    let mut socket = ann.socket().await;
    server.cli(&["admin", "disable", "ann"]).await.ok();
    ann.get("/users/me").await.refused(401);
    assert_eq!(socket.closed().await.code, 4401);
    server.cli(&["admin", "enable", "ann"]).await.ok();
    server.sign_in("ann").await.me().await;
}

#[tokio::test]
async fn a_reset_password_ends_every_login_and_lets_the_new_one_in() {
    for running in [true, false] {
        let mut server = Server::start().await;
        let ann = server.person("ann").await;
        if !running {
            server.stop().await;
        }
        let reset = ["admin", "reset-password", "ann", "--password-stdin"];
        server.cli_reading(&reset, "a better one 42").await.ok();
        if !running {
            server.restart().await;
        }
        ann.get("/users/me").await.refused(401);
        ann.refresh().await.refused(401);
        server.reach.sign_in("ann", PASSWORD).await.refused(401);
        server.reach.sign_in("ann", "a better one 42").await.ok();
    }
}

#[tokio::test]
async fn a_user_who_is_not_there_is_named() {
    let server = Server::start().await;
    for command in ["grant", "revoke", "disable", "enable"] {
        let refused = server.cli(&["admin", command, "nobody"]).await.failed();
        assert!(refused.contains("nobody"), "{refused}");
    }
}

#[tokio::test]
async fn a_command_that_is_none_exits_with_2() {
    let server = Server::start().await;
    for args in [&["admin", "crown", "ann"][..], &["frobnicate"], &["--set"], &["backup"]] {
        assert_eq!(server.cli(args).await.code, Some(2), "{args:?}");
    }
}

#[tokio::test]
async fn the_control_socket_of_a_killed_server_is_not_in_the_way() {
    let server = Server::start().await;
    server.person("ann").await;
    server.kill().await;
    server.cli(&["admin", "grant", "ann"]).await.ok();
    assert!(server.cli(&["admin", "list"]).await.ok().contains("ann"));
}

#[tokio::test]
async fn an_admin_is_made_in_a_new_database_only_where_one_is_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let natter = async |args: &[&str], input: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_natter"));
        command.args(args).current_dir(folder.path()).env_clear().env("NATTER_AUTH__BCRYPT_COST", "4");
        Ran::of(command, input).await
    };
    for args in [&CREATE[..], &["user", "create", "ann", "--password-stdin"], &["user", "list"], &["backup", "-"]] {
        let refused = natter(args, PASSWORD).await.failed();
        assert!(refused.contains("there is no database at") && refused.contains("--new"), "{args:?}: {refused}");
        assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 0, "{args:?}");
    }
    let made = natter(&[&CREATE[..], &["--new"]].concat(), PASSWORD).await;
    let database = folder.path().canonicalize().expect("a folder").join("data/natter.db");
    assert_eq!(made.ok(), format!("root is an admin and may sign in, in {}\n", database.display()));
    assert!(natter(&["admin", "list"], "").await.ok().contains("root"));
}

#[tokio::test]
async fn accounts_are_made_and_listed_while_the_server_runs_and_while_it_does_not() {
    for running in [true, false] {
        let mut server = Server::with(&[("auth.signup", "closed")]).await;
        if !running {
            server.stop().await;
        }
        for name in ["Ann", "bob", "bea"] {
            let made = server.cli_reading(&["user", "create", name, "--password-stdin"], PASSWORD).await.ok();
            assert!(made.starts_with(&format!("{name} may sign in, in ")), "{made}");
        }
        let again = server.cli_reading(&["user", "create", "ann", "--password-stdin"], PASSWORD).await.failed();
        assert!(again.contains("exists already"), "{again}");
        let names = async |args: &[&str]| {
            let text = server.cli(&[&["user", "list"], args].concat()).await.ok();
            let names = text.lines().skip(1).map(|line| line.split_whitespace().next().unwrap_or_default().to_owned());
            (names.collect::<Vec<_>>(), text)
        };
        assert_eq!(names(&[]).await.0, ["Ann", "bea", "bob"]);
        assert_eq!(names(&["--prefix", "B"]).await.0, ["bea", "bob"]);
        assert_eq!(names(&["--after", "ANN", "--limit", "2"]).await.0, ["bea", "bob"]);
        let (some, text) = names(&["--limit", "2"]).await;
        assert!(some[..2] == ["Ann", "bea"] && text.ends_with("… and more: --after bea\n"), "{text}");
        if !running {
            server.restart().await;
        }
        server.sign_in("ann").await.me().await;
        server.cli(&["user", "delete", "bob"]).await.ok();
        server.reach.sign_in("bob", PASSWORD).await.refused(401);
    }
}
