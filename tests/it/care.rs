//! What an operator runs from time to time, and what packages bring along.

use std::{
    fs,
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use crate::harness::{PASSWORD, Ran, Server, Setup};

#[tokio::test]
async fn a_backup_goes_to_standard_output_and_leaves_nothing_beside_the_data() {
    for running in [true, false] {
        let mut server = Server::start().await;
        server.person("ann").await;
        if !running {
            server.stop().await;
        }
        let file = server.dir().join("piped.db");
        let mut command = server.command_with(&["backup", "-"]);
        command.stdout(fs::File::create(&file).expect("one's own folder")).stderr(Stdio::piped());
        let done = tokio::task::spawn_blocking(move || command.spawn().expect("it starts").wait_with_output());
        let done = done.await.expect("it does not panic").expect("its output");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let left: Vec<_> =
            fs::read_dir(server.data()).expect("the data").map(|file| file.expect("a name").file_name()).collect();
        assert!(left.iter().all(|name| !name.to_string_lossy().contains("backup")), "{left:?}");
        server.stop().await;
        server.cli(&["restore", "piped.db", "--force"]).await.ok();
        server.restart().await;
        server.reach.sign_in("ann", PASSWORD).await.ok();
    }
    let refused = Server::with(&[]).await.cli(&["backup", "/nowhere/at/all.db"]).await.failed();
    assert!(!refused.is_empty());
}

#[tokio::test]
async fn of_the_backups_in_a_folder_the_last_ones_stay_and_nothing_else_is_touched() {
    let server = Server::start().await;
    server.person("ann").await;
    let folder = server.dir().join("backups");
    let missing = server.cli(&["backup", "backups", "--keep", "2"]).await.failed();
    assert!(missing.contains("backups"), "{missing}");
    fs::create_dir(&folder).expect("one's own folder");
    let others = ["natter.db", "natter-2026.db", "natter-20260101T000000000Z.db.old", "notes.txt"];
    for other in others {
        fs::write(folder.join(other), "of somebody else").expect("one's own folder");
    }
    fs::write(folder.join("natter-20200101T000000000Z.db"), "an old one").expect("one's own folder");
    for _ in 0..3 {
        server.cli(&["backup", "backups", "--keep", "2"]).await.ok();
    }
    let names = fs::read_dir(&folder).expect("the folder").map(|file| file.expect("a name").file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    let own: Vec<String> = names.iter().filter(|name| !others.contains(&name.as_str())).cloned().collect();
    assert_eq!((names.len(), own.len()), (others.len() + 2, 2), "{names:?}");
    server.stop().await;
    server.cli(&["restore", folder.join(&own[1]).to_str().expect("text"), "--force"]).await.ok();
    assert_eq!(server.cli(&["backup", "backups", "--keep", "0"]).await.code, Some(2), "none would be left");
}

#[tokio::test]
async fn the_doctor_finds_a_server_well_and_says_what_is_wrong_with_another() {
    let server = Server::start().await;
    server.person("ann").await;
    let doctor = async |change: &dyn Fn(&mut Command)| {
        let mut command = server.command_with(&["doctor"]);
        command.env("NATTER_SERVER__BIND", server.reach.addr.to_string());
        change(&mut command);
        Ran::of(command, "").await
    };
    let page = doctor(&|_| {}).await.ok();
    for (about, told) in [
        ("settings", "a start would take them"),
        ("server", "is ready"),
        ("data", "all sound: 1 users"),
        ("disk", "are free"),
        ("clock", "later"),
    ] {
        let line = page.lines().find(|line| line.contains(about) && line.contains(told));
        assert!(line.is_some_and(|line| line.starts_with("ok")), "{about}: {page}");
    }
    let ran = doctor(&|command| {
        command.env("NATTER_LOG__AUDIT", "/nowhere/audit.log");
    })
    .await;
    assert!(
        ran.stdout.lines().any(|line| line.starts_with("WRONG  settings") && line.contains("log.audit")),
        "{}",
        ran.stdout
    );
    assert!(ran.failed().contains("one thing is wrong"));

    server.stop().await;
    let ahead = SystemTime::now() + Duration::from_secs(7_200);
    let database = fs::File::options().append(true).open(server.data().join("natter.db")).expect("the database");
    let idle = fs::read(server.data().join("natter.db")).expect("the database");
    database.set_modified(ahead).expect("one's own file");
    let ran = doctor(&|_| {}).await;
    assert!(ran.stdout.contains("nobody serves at"), "{}", ran.stdout);
    // Looking opens the database, which may be written by it.
    let still_ahead = fs::read(server.data().join("natter.db")).expect("the database") == idle;
    assert!(!still_ahead || ran.stdout.contains("the clock has gone back"), "{}", ran.stdout);

    let nothing = Setup::new().args(&["doctor"]);
    let told = nothing.run().await;
    assert!(told.stdout.contains("WRONG  data") && told.stdout.contains("there is no database at"), "{}", told.stdout);
    assert!(!nothing.dir().join("data").exists(), "looking makes nothing");
}

#[tokio::test]
async fn completions_and_a_manual_are_made_of_the_command_line_itself() {
    let setup = Setup::new();
    for (shell, begins) in [("bash", "_natter()"), ("zsh", "#compdef natter"), ("fish", "# Print an optspec")] {
        let text = Ran::of(setup.command_with(&["completions", shell]), "").await.ok();
        assert!(text.starts_with(begins) && text.contains("check-config"), "{shell}: {}", &text[..80.min(text.len())]);
    }
    let bash = Ran::of(setup.command_with(&["completions", "bash"]), "").await.ok();
    let asked = format!(
        "{bash}\nCOMP_WORDS=(natter admin re); COMP_CWORD=2; _natter natter re admin; echo \"${{COMPREPLY[*]}}\""
    );
    let mut command = Command::new("bash");
    command.args(["-c", &asked]);
    assert_eq!(Ran::of(command, "").await.ok().trim(), "revoke reset-password");
    Ran::of(setup.command_with(&["man", "man"]), "").await.ok();
    for (page, holds) in [("natter.1", "check\\-config"), ("natter-backup.1", "keep"), ("natter-user-create.1", "NAME")]
    {
        let text =
            fs::read_to_string(setup.dir().join("man").join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
        assert!(text.contains(".TH") && text.contains(holds), "{page}: {text}");
    }
}
