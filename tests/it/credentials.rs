//! What may be a username and what may be a password.

use serde_json::json;

use crate::harness::{PASSWORD, Server};

#[tokio::test]
async fn a_password_may_have_72_bytes_and_is_never_cut_off() {
    let server = Server::start().await;
    let longest = "p".repeat(72);
    server.reach.register("ann", &longest).await.ok();
    server.reach.sign_in("ann", &longest).await.ok();
    let longer = server.reach.sign_in("ann", &format!("{longest}p")).await;
    assert!(longer.status == 401 || longer.status == 422, "{}", longer.status);
    server.reach.register("bob", &"p".repeat(73)).await.refused_field("password");
}

#[tokio::test]
async fn the_72_are_bytes_and_the_least_length_is_characters() {
    let server = Server::start().await;
    server.reach.register("ann", &"é".repeat(36)).await.ok();
    server.reach.register("bob", &"é".repeat(37)).await.refused_field("password");
    server.reach.register("cat", &"é".repeat(7)).await.refused_field("password");
    server.reach.register("dan", &"é".repeat(8)).await.ok();
    server.reach.sign_in("dan", &"é".repeat(8)).await.ok();
}

#[tokio::test]
async fn the_least_length_of_a_password_is_a_setting() {
    let server = Server::with(&[("auth.password_min_length", "12")]).await;
    server.reach.register("ann", "elevenchars").await.refused_field("password");
    server.reach.register("ann", "twelve chars").await.ok();
}

#[tokio::test]
async fn a_password_with_nul_is_refused_and_any_other_character_is_taken_as_it_is() {
    let server = Server::start().await;
    server.reach.register("ann", "eight or\u{0}more").await.refused_field("password");
    let odd = " \t🔑&=%+\u{202e}ﬁ ";
    server.reach.register("ann", odd).await.ok();
    server.reach.sign_in("ann", odd).await.ok();
    server.reach.sign_in("ann", odd.trim()).await.refused(401);
}

#[tokio::test]
async fn a_sign_in_with_nul_or_a_huge_password_is_refused_and_hashes_nothing() {
    let server = Server::start().await;
    server.person("ann").await;
    for password in [format!("{PASSWORD}\u{0}"), "p".repeat(100_000)] {
        let answer = server.reach.sign_in("ann", &password).await;
        assert!(answer.status == 401 || answer.status == 422, "{}", answer.status);
    }
}

/// Systems differ in the Unicode form that their keyboards give.
#[tokio::test]
async fn a_password_is_the_same_in_every_unicode_form_of_its_characters() {
    let server = Server::start().await;
    let passwords = [
        ("Passw\u{f6}rt-\u{e9}", "Passwo\u{308}rt-e\u{301}"),
        ("ma\u{f1}ana-123", "man\u{303}ana-123"),
        ("\u{d55c}\u{ad6d}\u{c5b4}-1234", "\u{1112}\u{1161}\u{11ab}\u{1100}\u{116e}\u{11a8}\u{110b}\u{1165}-1234"),
    ];
    for (number, (composed, decomposed)) in passwords.into_iter().enumerate() {
        for (form, chosen) in [("composed", composed), ("decomposed", decomposed)] {
            let name = format!("{form}{number}");
            server.reach.register(&name, chosen).await.ok();
            for typed in [composed, decomposed] {
                server.reach.sign_in(&name, typed).await.ok();
            }
            server.reach.sign_in(&name, &typed_without_marks(composed)).await.refused(401);
        }
    }
    // Also where it is changed.
    let ann = server.person("ann").await;
    let (composed, decomposed) = passwords[0];
    ann.patch("/users/me", &json!({"password": {"current": PASSWORD, "new": decomposed}})).await.ok();
    ann.patch("/users/me", &json!({"password": {"current": composed, "new": PASSWORD}})).await.ok();
    server.reach.sign_in("ann", PASSWORD).await.ok();
}

fn typed_without_marks(password: &str) -> String {
    password.chars().map(|char| if char.is_ascii() { char } else { 'o' }).collect()
}

/// The hash of somebody's password, in SQLite's file.
fn stored_hash(server: &Server, name: &str) -> String {
    let db = rusqlite::Connection::open(server.data().join("natter.db")).expect("the database");
    db.query_row("SELECT password_hash FROM users WHERE folded = ?", [name], |row| row.get(0)).expect("the user")
}

#[tokio::test]
async fn a_hash_of_another_cost_or_form_is_brought_up_to_date_at_sign_in() {
    let mut server = Server::with(&[("auth.bcrypt_cost", "5")]).await;
    let ann = server.person("ann").await;
    server.person("bob").await;
    let before = stored_hash(&server, "bob");
    assert!(before.starts_with("$2b$05$"), "{before}");
    server.restart_with("auth.bcrypt_cost", "4").await;
    server.reach.sign_in("ann", "a wild guess").await.refused(401);
    assert!(stored_hash(&server, "ann").starts_with("$2b$05$"));
    let answers = futures_util::future::join_all((0..8).map(|_| server.reach.sign_in("ann", PASSWORD))).await;
    assert!(answers.iter().all(|answer| answer.status == 200), "also those who come at once");
    let renewed = stored_hash(&server, "ann");
    assert!(renewed.starts_with("$2b$04$"), "{renewed}");
    ann.me().await;
    server.reach.sign_in("ann", PASSWORD).await.ok();
    assert_eq!((stored_hash(&server, "ann"), stored_hash(&server, "bob")), (renewed, before));

    // As another server left it: of a decomposed password.
    let decomposed = "Passwo\u{308}rt-e\u{301}";
    let adopted = bcrypt::hash(decomposed, 4).expect("a hash");
    let db = rusqlite::Connection::open(server.data().join("natter.db")).expect("the database");
    db.execute("UPDATE users SET password_hash = ? WHERE folded = 'bob'", [&adopted]).expect("written");
    server.reach.sign_in("bob", "Passw\u{f6}rt-\u{e9}").await.refused(401);
    server.reach.sign_in("bob", decomposed).await.ok();
    assert_ne!(stored_hash(&server, "bob"), adopted);
    server.reach.sign_in("bob", "Passw\u{f6}rt-\u{e9}").await.ok();
}

#[tokio::test]
async fn a_username_has_1_to_64_characters() {
    let server = Server::start().await;
    for name in ["a".to_owned(), "é".repeat(64), "b".repeat(64)] {
        server.reach.register(&name, PASSWORD).await.ok();
    }
    for name in [String::new(), "b".repeat(65)] {
        server.reach.register(&name, PASSWORD).await.refused_field("username");
    }
}

#[tokio::test]
async fn control_and_bidi_characters_are_refused_in_a_username() {
    let server = Server::start().await;
    for bad in ['\u{0}', '\n', '\t', '\u{7f}', '\u{85}', '\u{200e}', '\u{202a}', '\u{202e}', '\u{2066}', '\u{2069}'] {
        let answer = server.reach.register(&format!("an{bad}n"), PASSWORD).await;
        assert_eq!(answer.status, 422, "U+{:04X}", u32::from(bad));
        answer.refused_field("username");
    }
}

#[tokio::test]
async fn a_name_that_cannot_be_told_from_anothers_is_taken() {
    let server = Server::start().await;
    for name in ["admin", "pаypal", "рор"] {
        server.reach.register(name, PASSWORD).await.ok();
    }
    for name in ["аdmin", "admın", "Аdmіn", "ａdmіn", "paypal", "pop"] {
        server.reach.register(name, PASSWORD).await.refused_saying(400, "User already exists");
        server.reach.sign_in(name, PASSWORD).await.refused_saying(401, "Incorrect username or password");
    }
    for name in ["админ", "admin2", "b0b", "bob", "jürgen", "jurgen"] {
        server.reach.register(name, PASSWORD).await.ok();
    }
    let refused = server
        .cli_reading(&["admin", "create", "--username", "аdmin", "--password-stdin"], "a password 42")
        .await
        .failed();
    assert!(refused.contains("exists already"), "{refused}");
}

#[tokio::test]
async fn a_name_that_is_a_step_in_a_path_is_refused_and_what_only_looks_like_one_works_everywhere() {
    let server = Server::start().await;
    for step in [".", "..", "\u{2024}", "\u{2025}", "．．"] {
        server.reach.register(step, PASSWORD).await.refused_field("username");
    }
    let (root, ann) = (server.admin().await, server.person("ann").await);
    for name in ["...", "ann.", ".ann", "a/b", "a\\b", "../ann", "%2e%2e", "%2F", "a?b#c", "me", "a;b", "a%00b"] {
        let odd = server.person(name).await;
        assert_eq!(odd.me().await["username"], name);
        let room = ann.private(&odd).await;
        odd.post(&room, name).await;
        let group = ann.group("tea", [&odd]).await;
        let path = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
        let member = format!("/chat/{group}/members/{path}");
        ann.patch(&member, &serde_json::json!({ "role": "moderator" })).await.ok();
        ann.delete(&member).await.ok();
        root.post_empty(&format!("/users/{path}/disable")).await.ok();
        odd.get("/users/me").await.refused(401);
    }
}

#[tokio::test]
async fn no_name_of_any_kind_holds_what_nobody_sees_or_what_turns_the_direction() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.group("tea", [&bob]).await;
    for bad in
        ['\u{0}', '\n', '\u{ad}', '\u{202e}', '\u{2066}', '\u{200b}', '\u{3164}', '\u{fff9}', '\u{e0041}', '\u{2028}']
    {
        for name in [format!("a{bad}b"), format!("ab{bad}c")] {
            server.reach.register(&name, PASSWORD).await.refused_field("username");
            ann.patch("/users/me", &serde_json::json!({ "display_name": name })).await.refused_field("display_name");
            ann.rename(&room, &name).await.refused_field("name");
            let group = serde_json::json!({ "name": name, "usernames": ["bob"] });
            ann.post_json("/chat/new", &group).await.refused_field("name");
        }
    }
    for good in ["Ann 👩‍🚀 ❤️ 1️⃣", "می‌خواهم", "שלום"] {
        ann.patch("/users/me", &serde_json::json!({ "display_name": good })).await.ok();
        ann.rename(&room, good).await.ok();
        assert_eq!(bob.chat(&room).await["name"], good);
    }
}

#[tokio::test]
async fn names_that_look_alike_by_case_or_width_are_one_name() {
    let server = Server::start().await;
    for (first, others) in [
        ("Ann", &["ann", "ANN", "Ａｎｎ"][..]),
        ("straße", &["STRASSE", "strasse"][..]),
        ("ﬁona", &["fiona", "FIONA"][..]),
        ("Σίσυφος", &["σίσυφοσ"][..]),
    ] {
        server.reach.register(first, PASSWORD).await.ok();
        for other in others {
            server.reach.register(other, PASSWORD).await.refused_saying(400, "User already exists");
        }
    }
}

#[tokio::test]
async fn a_username_is_shown_as_it_was_written_after_nfkc() {
    let server = Server::start().await;
    assert_eq!(server.person("Ann").await.me().await["username"], "Ann");
    server.reach.register("ﬁona", PASSWORD).await.ok();
    assert_eq!(server.sign_in("fiona").await.me().await["username"], "fiona");
}

#[tokio::test]
async fn a_name_is_found_by_any_spelling() {
    let server = Server::start().await;
    let (ann, bob) = (server.person("Ann").await, server.person("bob").await);
    let again = server.sign_in("aNN").await;
    assert_eq!(again.me().await["username"], "Ann");
    let made = bob.post_json("/chat/new", &serde_json::json!({"username": "ANN"})).await.ok();
    assert_eq!(made["chat_id"], ann.my_chats("").await["chats"][0]["chat_id"]);
}

#[tokio::test]
async fn a_name_with_slashes_and_spaces_works_in_a_path() {
    let server = Server::start().await;
    let root = server.admin().await;
    let odd = server.person("a/b c?d%é").await;
    let room = root.group("tea", [&odd]).await;
    let path = "a%2Fb%20c%3Fd%25%C3%A9";
    root.delete(&format!("/chat/{room}/members/{path}")).await.ok();
    root.post_empty(&format!("/users/{path}/disable")).await.ok();
    odd.get("/users/me").await.refused(401);
}
