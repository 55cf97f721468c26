//! Stores to move from and to, and export files taken apart.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use natter::{
    config,
    event::{Event, Place, Saying},
    metrics::Metrics,
    store::{NewRoom, Store, UserRecord, sqlite::SqliteStore},
    types::{MessageId, Role, RoomId, RoomKind, RoomRole, Timestamp, UserId},
};
use serde_json::Value;

use crate::harness::{Ran, Setup};

/// A command on the data of a setup, without a server.
pub async fn cli(setup: &Setup, args: &[&str]) -> Ran {
    Ran::of(setup.command_with(args), "").await
}

pub fn database(setup: &Setup) -> PathBuf {
    setup.dir().join("data/natter.db")
}

/// The lines of an export.
pub fn lines(file: &Path) -> Vec<Value> {
    let text = zstd::decode_all(fs::File::open(file).expect("the export")).expect("a zstd stream");
    String::from_utf8(text).expect("UTF-8").lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// What two exports of the same content have in common: all but the header, checksums and epochs.
pub fn content(file: &Path) -> Vec<Value> {
    let mut lines = lines(file);
    lines.retain(|line| line.get("natter_export").is_none() && line.get("check").is_none());
    for line in &mut lines {
        if let Some(end) = line.get_mut("room_end") {
            end["epoch"].take();
        }
        if let Some(end) = line.get_mut("end") {
            end["sha256"].take();
        }
    }
    lines
}

pub fn epochs(file: &Path) -> BTreeSet<String> {
    let ends = lines(file).into_iter().filter_map(|line| line["room_end"]["epoch"].as_str().map(String::from));
    ends.collect()
}

/// `content sha256:…` in what a command says.
pub fn digest(told: &str) -> String {
    let line = told.lines().find_map(|line| line.strip_prefix("content sha256:"));
    line.unwrap_or_else(|| panic!("no digest in {told}")).to_owned()
}

/// Packs lines of text as an export is packed.
pub fn pack(file: &Path, text: &str) {
    fs::write(file, zstd::encode_all(text.as_bytes(), 1).expect("memory is enough")).expect("the test's own folder");
}

pub fn user(name: &str) -> UserRecord {
    UserRecord {
        user_id: UserId::fresh(),
        username: name.into(),
        folded: name.to_lowercase(),
        display_name: name.into(),
        password_hash: "!".into(),
        roles: vec![Role::BasicUser],
        created_at: Timestamp(1_700_000_000_000),
        disabled: false,
        token_epoch: 0,
        deletion: None,
    }
}

/// A group of one with so many messages, as the server would have written it.
pub fn room(owner: &UserRecord, messages: u64) -> NewRoom {
    let (room, created_at) = (RoomId::fresh(), Timestamp(1_700_000_000_000));
    let (by, by_name) = (owner.user_id, owner.username.as_str());
    let mut events: Vec<Event> = Vec::new();
    let mut add = |saying: Saying<'_>, sent_at: Timestamp| {
        let seq = events.len() as u64 + 1;
        let (ordinal, event_id) = (seq.saturating_sub(2), MessageId::fresh());
        events.push(Event::new(Place { room, seq, ordinal, sent_at, event_id, by, by_name }, saying));
    };
    add(Saying::Renamed { name: "tea" }, created_at);
    add(Saying::Joined { user: by, username: by_name, role: RoomRole::Owner }, created_at);
    for seq in 3..messages + 3 {
        let content = "a message of a usual length, more or less";
        add(Saying::Message { content, client_id: None }, Timestamp(created_at.0 + seq as i64));
    }
    NewRoom { room_id: room, kind: RoomKind::Group, epoch: "first".into(), created_at, pair: None, events }
}

/// A database with so many rooms of so many messages, made without a server.
pub async fn filled(setup: &Setup, rooms: usize, messages: u64) -> Vec<RoomId> {
    let config = config::Store::default();
    let store = SqliteStore::open(&database(setup), &config, Arc::new(Metrics::default())).expect("a new database");
    let ann = user("ann");
    assert!(store.create_user(ann.clone()).await.expect("it is stored"));
    let mut ids = Vec::new();
    for _ in 0..rooms {
        let room = room(&ann, messages);
        ids.push(room.room_id);
        store.create_room(room).await.expect("it is stored");
    }
    store.close().await;
    ids
}

/// Exports a stopped setup's data to `name` in its folder.
pub async fn exported(setup: &Setup, name: &str) -> (PathBuf, String) {
    let file = setup.dir().join(name);
    let told = cli(setup, &["export", &file.display().to_string()]).await.ok();
    (file, digest(&told))
}
