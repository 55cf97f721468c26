//! Adopting a database of the original server, written here as that server wrote it, with each defect that it is known for.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use mongodb::{
    Client, Database,
    bson::{Binary, Bson, DateTime, Document, doc, oid::ObjectId, spec::BinarySubtype},
};
use uuid::Uuid;

use super::fixture::{cli, digest, lines};
use crate::harness::{PASSWORD, Process, Ran, Setup, seqs};

/// A database of the original's, that nobody else uses.
struct Original {
    url: String,
    database: Database,
    /// Numbers records in the order of their making.
    made: u32,
}

impl Original {
    async fn new() -> Self {
        let url = ["MONGODB_URL", "NATTER_TEST_MONGODB"].iter().find_map(|name| std::env::var(name).ok());
        let url = url.expect("set MONGODB_URL to a MongoDB for the tests; tests/run starts one");
        let client = Client::with_uri_str(&url).await.expect("the URL of a MongoDB");
        let database = client.database(&format!("chat_app_{}", Uuid::now_v7().simple()));
        let (host, options) = url.split_once('?').map_or((url.as_str(), None), |(host, options)| (host, Some(options)));
        let after = host.find("://").map_or(0, |at| at + 3);
        let host = host[after..].find('/').map_or(host, |slash| &host[..after + slash]);
        let options = options.map(|options| format!("?{options}")).unwrap_or_default();
        let url = format!("{host}/{}{options}", database.name());
        Self { url, database, made: 0 }
    }

    /// Puts a record in, with an `_id` that comes after those before.
    async fn add(&mut self, collection: &str, mut record: Document) {
        self.made += 1;
        let mut id = [0x65, 0xe1, 0xc8, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        id[8..].copy_from_slice(&self.made.to_be_bytes());
        record.insert("_id", ObjectId::from_bytes(id));
        self.database.collection::<Document>(collection).insert_one(record).await.expect("the test's own database");
    }

    async fn user(&mut self, user_id: impl Into<Bson>, name: &str, hash: impl Into<Bson>) {
        let roles = vec![doc! { "role_id": "2", "role_name": "basic_user" }];
        self.add("users", doc! { "user_id": user_id, "username": name, "hashed_password": hash, "roles": roles }).await;
    }

    async fn chat(&mut self, chat_id: impl Into<Bson>, users: &[&str]) {
        self.add("chats", doc! { "chat_id": chat_id, "users": users }).await;
    }

    async fn message(
        &mut self,
        id: impl Into<Bson>,
        chat: &str,
        sender: &str,
        content: impl Into<Bson>,
        at: impl Into<Bson>,
    ) {
        let record = doc! { "message_id": id, "content": content, "sender": sender, "chat_id": chat, "sent_at": at };
        self.add("messages", record).await;
    }

    /// Every record of every collection, as it is.
    async fn dump(&self) -> BTreeMap<String, Vec<Document>> {
        let mut dump = BTreeMap::new();
        for name in self.database.list_collection_names().await.expect("names") {
            let mut found = self.database.collection::<Document>(&name).find(doc! {}).await.expect("records");
            let mut records = Vec::new();
            while found.advance().await.expect("the next one") {
                records.push(found.deserialize_current().expect("a record"));
            }
            dump.insert(name, records);
        }
        dump
    }

    async fn drop(self) {
        self.database.drop().await.expect("the test's own database");
    }
}

fn id() -> String {
    Uuid::now_v7().to_string()
}

/// As passlib wrote it, with the prefix that it wrote.
fn hash(prefix: &str) -> String {
    bcrypt::hash(PASSWORD, 4).expect("a cost of bcrypt's").replacen("$2b$", prefix, 1)
}

#[tokio::test]
async fn people_log_in_with_their_old_passwords_and_find_their_messages() {
    let mut original = Original::new().await;
    let (ann_id, bob_id, chat, other) = (id(), id(), id(), id());
    original.user(ann_id.as_str(), "Ann", hash("$2b$")).await;
    original.user(bob_id.as_str(), "bob", hash("$2y$")).await;
    original.user(id().as_str(), "carl", hash("$2a$")).await;
    let admin = vec![doc! { "role_id": "1", "role_name": "admin" }, doc! { "role_id": "2", "role_name": "basic_user" }];
    let root = doc! { "user_id": id(), "username": "root", "hashed_password": hash("$2b$"), "roles": admin };
    original.add("users", root).await;
    original.chat(chat.as_str(), &["Ann", "bob"]).await;
    // By ids, and with the ids as the driver stores UUIDs.
    let binary = |text: &str| {
        let bytes = Uuid::parse_str(text).expect("a UUID").into_bytes().to_vec();
        Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes })
    };
    let bob_there = binary(&bob_id);
    original.add("chats", doc! { "chat_id": binary(&other), "users": [bob_there, "carl"] }).await;
    let first = id();
    original.message(first.as_str(), &chat, "bob", "second", "2024-03-01 12:34:57.000001").await;
    original.message(id().as_str(), &chat, "Ann", "first é 🎉", "2024-03-01 12:34:56.789012").await;
    original.message(id().as_str(), &chat, &ann_id, "third", "2024-03-01T12:35:00").await;
    original.message(id().as_str(), &chat, "bob", "fourth", DateTime::from_millis(1_709_296_600_000)).await;
    original.message(id().as_str(), &other, "carl", "hello", "2024-03-01 14:34:56+02:00").await;
    let before = original.dump().await;

    let setup = Setup::new();
    let told = cli(&setup, &["import", &original.url, "--timezone", "+02:00"]).await.ok();
    assert!(told.contains("4 users, 2 chats, 9 events (5 messages)"), "{told}");
    assert!(told.contains("3 times said no offset and were read as +02:00"), "{told}");
    assert_eq!(original.dump().await, before, "the original is only read");

    let server = setup.start().await;
    let (ann, bob, carl) = (server.sign_in("Ann").await, server.sign_in("bob").await, server.sign_in("carl").await);
    server.sign_in("root").await.get("/users/").await.ok();
    ann.get("/users/").await.refused(403);
    assert_eq!(ann.me().await["user_id"], ann_id.as_str());
    let history = ann.history(&chat, "").await;
    let messages = history["messages"].as_array().expect("messages");
    let said: Vec<_> =
        messages.iter().map(|m| (m["content"].as_str().unwrap(), m["sender"].as_str().unwrap())).collect();
    assert_eq!(said, [("first é 🎉", "Ann"), ("second", "bob"), ("third", "Ann"), ("fourth", "bob")]);
    assert_eq!(messages[0]["sent_at"], "2024-03-01T10:34:56.789Z", "two hours east of UTC");
    assert_eq!(messages[1]["message_id"], first.as_str());
    assert_eq!(bob.history(&other, "").await["messages"][0]["sent_at"], "2024-03-01T12:34:56.000Z");
    let log = ann.log(&chat).await;
    assert_eq!(seqs(&log), [1, 2, 3, 4, 5, 6]);
    assert_eq!((&log[0]["type"], &log[1]["change"]), (&"member".into(), &"added".into()));
    assert_eq!(
        (ann.chat(&chat).await["unread"].as_u64(), carl.my_chats("").await["chats"].as_array().unwrap().len()),
        (Some(0), 1)
    );
    ann.post(&chat, "goes on").await;
    let again = bob.post_json("/chat/new", &serde_json::json!({"username": "ann"})).await.refused(400);
    assert_eq!(again["detail"]["chat_id"], chat.as_str());
    original.drop().await;
}

/// A chat that its record names by other bytes than its messages do.
const ODD_CHAT: &str = "018f3c1e-7a2b-7c3d-8e4f-5a6b7c8d9e0f";

/// A database with every defect, and how many cases of each kind there are.
async fn broken() -> (Original, BTreeMap<&'static str, usize>, String) {
    let mut o = Original::new().await;
    let same_id = id();
    o.user(same_id.as_str(), "ann", hash("$2b$")).await;
    o.user(id().as_str(), "ann", hash("$2b$")).await;
    o.user(id().as_str(), "ANN", hash("$2b$")).await;
    o.user(id().as_str(), "ann-2", hash("$2b$")).await;
    o.user(same_id.as_str(), "bob", hash("$2b$")).await;
    o.user(id().as_str(), &format!("a\u{202e}b{}", "x".repeat(80)), hash("$2b$")).await;
    o.user(Bson::Null, "", hash("$2b$")).await;
    o.user(7, "nohash", Bson::Null).await;
    o.user("not a uuid", "foreign", "$argon2id$v=19$whatever").await;
    o.user(id().as_str(), &same_id, hash("$2b$")).await;
    let king = vec![doc! { "role_id": "9", "role_name": "king" }, doc! { "role_id": "1", "role_name": "admin" }];
    o.add("users", doc! { "username": "carl", "hashed_password": hash("$2b$"), "roles": king }).await;

    // Roles that are no list, and what is neither disabled nor not.
    let loose = |name: &str| doc! { "user_id": id(), "username": name, "hashed_password": hash("$2b$") };
    for (name, roles, disabled) in [
        ("dora", Bson::from("admin"), Bson::Null),
        ("eve", doc! { "role_id": "2", "role_name": "basic_user" }.into(), 1.into()),
        ("fred", 5.into(), "false".into()),
        ("gina", Bson::Null, "true".into()),
        ("unknown", Bson::Null, false.into()),
    ] {
        let mut record = loose(name);
        record.extend(doc! { "roles": roles, "disabled": disabled });
        o.add("users", record).await;
    }

    let (room, twin, three, stranger) = (id(), id(), id(), id());
    o.chat(room.as_str(), &["ann", "bob"]).await;
    o.chat(twin.as_str(), &["bob", "ann"]).await;
    o.chat(three.as_str(), &["ann", "bob", "carl"]).await;
    o.chat(three.as_str(), &["bob", "carl"]).await;
    o.chat("one", &["carl"]).await;
    o.chat("self", &["carl", "carl"]).await;
    o.chat(stranger.as_str(), &["ann", "ghost"]).await;
    o.chat("nobody", &[]).await;
    o.chat("nobody at all", &[]).await;

    let repeated = id();
    o.message(repeated.as_str(), &room, "ann", "1", "2024-03-01 12:00:00").await;
    o.message(repeated.as_str(), &twin, "bob", "2", "2024-03-01 12:00:01").await;
    o.message(Bson::Null, &room, "carl", "3 from outside", "2024-03-01 12:00:02").await;
    o.message(3, &room, "ann", "4 at no time", "soon").await;
    o.message(id().as_str(), &room, "ann", "", "2024-03-01 12:00:03").await;
    o.message(id().as_str(), &room, "ann", "é".repeat(9_000), "2024-03-01 12:00:04").await;
    o.message(id().as_str(), &room, "ann", "nul \0 here", "2024-03-01 12:00:05").await;
    o.message(id().as_str(), &room, "ann", doc! { "a": [1, true] }, "2024-03-01 12:00:06").await;
    o.message(id().as_str(), &room, "phantom", "9", "2024-03-01 12:00:07").await;
    o.message(id().as_str(), "lost", "ann", "lost 1", "2024-03-01 12:00:00").await;
    o.message(id().as_str(), "lost", "carl", "lost 2", "2024-03-01 12:00:01").await;
    o.message(id().as_str(), "nobody", "bob", "to nobody", Bson::Null).await;

    // Odd ids by which chats and messages meet all the same.
    let bytes = Uuid::parse_str(ODD_CHAT).expect("a UUID").into_bytes().to_vec();
    let odd = [
        (Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes }), Bson::from(ODD_CHAT), "dora"),
        (true.into(), true.into(), "carl"),
        (doc! { "n": 1 }.into(), doc! { "n": 1 }.into(), "fred"),
    ];
    for (chat_id, named, with) in odd {
        o.add("chats", doc! { "chat_id": chat_id, "users": ["ann", with] }).await;
        let record = doc! { "content": "it meets", "sender": with, "chat_id": named, "sent_at": "2024-03-01 12:00:00" };
        o.add("messages", record).await;
    }
    // Messages to no chat: nobody may read another's.
    for (chat, sender, content) in [
        (None, "ann", "ann's secret"),
        (Some(Bson::Null), "bob", "bob's secret"),
        (Some("".into()), "ann", "ann's other secret"),
        (None, "", "nobody's secret"),
    ] {
        let mut record = doc! { "content": content, "sender": sender, "sent_at": "2024-03-01 12:00:00" };
        record.extend(chat.map(|chat| ("chat_id".to_owned(), chat)));
        o.add("messages", record).await;
    }
    let cases = [
        ("duplicate name", 2),
        ("refused name", 2),
        ("duplicate user_id", 1),
        ("ambiguous name", 1),
        ("no password hash", 1),
        ("foreign password hash", 1),
        ("unknown role", 2),
        ("odd roles", 3),
        ("odd disabled", 3),
        // A mention each, and an account each.
        ("unknown user", 6),
        ("duplicate chat", 1),
        ("duplicate chat_id", 1),
        ("chat of many", 1),
        ("chat of one", 2),
        ("same person twice", 1),
        ("chat of nobody", 2),
        ("empty chat of nobody", 1),
        ("unknown chat", 2),
        ("no chat_id", 4),
        ("sender outside", 2),
        ("duplicate message_id", 1),
        ("unreadable time", 2),
        ("empty message", 1),
        ("long message", 1),
        ("NUL in a message", 1),
        ("message that is no text", 1),
    ];
    (o, BTreeMap::from(cases), room)
}

#[tokio::test]
async fn every_known_defect_is_reported_and_resolved_by_its_rule() {
    let (original, cases, room) = broken().await;
    let setup = Setup::new();
    let told = cli(&setup, &["import", &original.url, "--report", "report.txt"]).await.ok();
    let report = fs::read_to_string(setup.dir().join("report.txt")).expect("the report");
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for line in report.lines() {
        *kinds.entry(line.split_once(": ").expect("a kind").0).or_default() += 1;
    }
    assert_eq!(kinds, cases, "{report}");
    // A chat that became a part of another is gone from the address bar: people know it by that id.
    let twin = report.lines().find(|line| line.starts_with("duplicate chat: ")).expect("it was told above");
    let (_, chat_id) = twin.split_once(" (chat_id ").expect("its chat_id");
    let (chat_id, what) = chat_id.split_once("): ").expect("what of it");
    assert!(Uuid::parse_str(chat_id).is_ok() && chat_id != room && what.contains(&room), "{twin}");
    for (kind, count) in &cases {
        assert!(told.contains(&format!("{kind}: {count}\n")), "{told}");
    }

    let server = setup.start().await;
    for name in ["ann", "ann-2", "ann-3", "ann-4", "bob", "carl", "user"] {
        server.sign_in(name).await.me().await;
    }
    for name in ["nohash", "foreign", "ghost", "phantom", "eve", "gina", "unknown-2"] {
        server.reach.sign_in(name, PASSWORD).await.refused(401);
    }
    let carl = server.sign_in("carl").await;
    carl.get("/users/").await.ok();
    let dora = server.sign_in("dora").await;
    dora.get("/users/").await.ok();
    server.sign_in("fred").await.get("/users/").await.refused(403);
    assert_eq!(dora.history(ODD_CHAT, "").await["messages"][0]["content"], "it meets");
    let ann = server.sign_in("ann").await;
    let log = ann.log(&room).await;
    let said: Vec<&str> = log.iter().filter_map(|event| event["content"].as_str()).collect();
    let long = "é".repeat(4_000);
    assert_eq!(
        said,
        [
            "1",
            "2",
            "3 from outside",
            "4 at no time",
            "(empty)",
            &long,
            &long,
            &long[..2_000],
            "nul \u{fffd} here",
            r#"{"a":[1,true]}"#,
            "9"
        ]
    );
    let ids: std::collections::BTreeSet<&str> = log.iter().filter_map(|event| event["message_id"].as_str()).collect();
    assert_eq!(ids.len(), said.len(), "no id twice");
    assert_eq!(log[5]["sent_at"], log[4]["sent_at"], "the neighbour's time");
    // The outsiders' messages are there, and they are not.
    carl.get(&format!("/chat/{room}")).await.refused(403);
    let names = |person: serde_json::Value| -> Vec<String> {
        let chats = person["chats"].as_array().expect("chats").iter();
        chats.filter_map(|chat| chat["name"].as_str().map(String::from)).collect()
    };
    let mut carls = names(carl.my_chats("").await);
    carls.sort();
    assert_eq!(carls, ["ann, bob, carl", "carl", "carl", "recovered chat lost"]);
    assert_eq!(
        names(server.sign_in("bob").await.my_chats("").await).len(),
        3,
        "the three, what was said to nobody, and what was said nowhere"
    );
    assert_eq!(server.sign_in("unknown").await.my_chats("").await["chats"], serde_json::json!([]));
    let chats = ann.my_chats("").await;
    let alone = |chat: &&serde_json::Value| chat["name"] == "recovered messages";
    let own: Vec<&serde_json::Value> = chats["chats"].as_array().expect("chats").iter().filter(alone).collect();
    assert_eq!(own.len(), 1, "{chats}");
    let log = ann.log(own[0]["chat_id"].as_str().expect("an id")).await;
    let said: Vec<&str> = log.iter().filter_map(|event| event["content"].as_str()).collect();
    assert_eq!(said, ["ann's secret", "ann's other secret"]);
    assert!(server.cli(&["verify"]).await.ok().contains("all sound"));
    original.drop().await;
}

#[tokio::test]
async fn the_same_database_is_adopted_in_the_same_way_every_time() {
    let (original, ..) = broken().await;
    let (one, other) = (Setup::new(), Setup::new());
    let mut command = one.command_with(&["import", &original.url]);
    let between = temporary(&one);
    command.env("TMPDIR", &between);
    let first = Ran::of(command, "").await.ok();
    let second = cli(&other, &["import", &original.url]).await.ok();
    assert_eq!(first, second);
    let (file, sum) = super::fixture::exported(&one, "one.zst").await;
    assert_eq!(sum, digest(&first));
    assert!(lines(&file).len() > 40);
    // Nothing of what it went through is left.
    assert_eq!(names_in(&between), Vec::<String>::new());
    original.drop().await;
}

/// A folder for temporary files that nobody else uses.
fn temporary(setup: &Setup) -> PathBuf {
    let folder = setup.dir().join("between");
    fs::create_dir(&folder).expect("the test's own folder");
    folder
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder").filter_map(Result::ok);
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test]
async fn the_url_can_be_read_from_standard_input() {
    let (original, ..) = broken().await;
    let setup = Setup::new();
    let refused = Ran::of(setup.command_with(&["import", "-"]), "\n").await.failed();
    assert!(refused.contains("no URL on standard input"), "{refused}");
    let told = Ran::of(setup.command_with(&["import", "-"]), &format!("{}\n", original.url)).await.ok();
    assert!(told.contains("all of it is there"), "{told}");
    let help = cli(&setup, &["import", "--help"]).await.ok();
    assert!(help.contains("standard input"), "{help}");
    original.drop().await;
}

#[tokio::test]
async fn nothing_is_left_of_an_interrupted_adoption() {
    let mut original = Original::new().await;
    original.user(id().as_str(), "ann", hash("$2b$")).await;
    original.chat("tea", &["ann"]).await;
    let message = |n: i32| doc! { "_id": n, "message_id": n, "content": "x", "sender": "ann", "chat_id": "tea", "sent_at": "2024-03-01 12:00:00" };
    let messages = original.database.collection::<Document>("messages");
    messages.insert_many((0..60_000).map(message)).await.expect("the test's own database");
    for signal in ["INT", "TERM"] {
        let setup = Setup::new();
        let between = temporary(&setup);
        let mut command = setup.command_with(&["import", &original.url, "--report", "report.txt"]);
        command.env("TMPDIR", &between);
        let import = Process::spawn(command);
        // By then the export in between is there.
        import.logged("importing: ").await;
        assert_eq!(names_in(&between).len(), 1);
        import.signal(signal);
        assert!(!import.ended().await.success());
        assert!(import.stderr().contains("interrupted"), "{}", import.stderr());
        assert_eq!(names_in(&between), Vec::<String>::new());
        let left = names_in(setup.dir());
        assert!(!left.iter().any(|name| name.starts_with("report.txt")), "{left:?}");
    }
    original.drop().await;
}

#[tokio::test]
async fn what_cannot_be_adopted_is_refused_with_a_sentence() {
    let original = Original::new().await;
    let setup = Setup::new();
    let (server, _) = original.url.rsplit_once('/').expect("a database");
    for (args, what) in [
        (&["import", &original.url][..], "has no collection users"),
        (&["import", &format!("{server}/")], "which database?"),
        (&["import", "mongodb://"], "no usable MongoDB URL"),
        (&["import", &original.url, "--timezone", "Berlin"], "--timezone"),
    ] {
        let refused = cli(&setup, args).await.failed();
        assert!(refused.contains(what), "{args:?}: {refused}");
    }
    fs::write(setup.dir().join("taken.txt"), "precious").expect("the test's own folder");
    let refused = cli(&setup, &["import", &original.url, "--report", "taken.txt"]).await.failed();
    assert!(refused.contains("exists already"), "{refused}");
    assert!(!setup.dir().join("data").exists(), "nothing was made");
}
