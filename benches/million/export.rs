//! Writes the users and rooms of a world as an export file, which `natter import` takes: `docs/export-format.md`.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde_json::json;
use sha2::{Digest, Sha256};
use uuid::Uuid;
use zstd::Encoder;

use crate::world::{BEGINNING_MILLIS, World, room_id, user_id, username};
use crate::{Outcome, Result};

const BEGINNING: &str = "2023-11-14T22:13:20.000Z";
/// A checksum has to stand after so many lines.
const CHECK_LINES: u64 = 1_000;
/// The cheapest that bcrypt has: nobody signs in with it.
const BCRYPT_COST: u32 = 4;

pub fn write(file: &Path, world: &World) -> Outcome {
    let mut out = Writer::create(file)?;
    for room in 0..world.rooms() {
        write_room(&mut out, world, room)?;
    }
    let (at, hash) = (BEGINNING_MILLIS, bcrypt::hash("nobody signs in with it", BCRYPT_COST)?);
    for user in 0..world.people {
        let (id, name) = (user_id(user), username(user));
        out.content(&format!(
            r#"{{"user":{{"id":"{id}","username":"{name}","folded":"{name}","display_name":"{name}","password_hash":"{hash}","roles":["basic_user"],"created_at":{at},"disabled":false,"token_epoch":0}}}}"#
        ))?;
    }
    out.end(world)
}

/// Its name, then everybody's joining; nobody has said anything yet, and everybody has read everything.
fn write_room(out: &mut Writer, world: &World, room: u32) -> Outcome {
    let (id, at, name) = (room_id(room), BEGINNING_MILLIS, format!("room {room}"));
    let (members, events) = (world.members_of(room), world.opening(room));
    let (owner, by) = (user_id(members.start), username(members.start));
    out.content(&format!(r#"{{"room":{{"id":"{id}","kind":"group","created_at":{at}}}}}"#))?;
    let effect = format!(r#"{{"renamed":{{"name":"{name}"}}}}"#);
    let body =
        format!(r#"{{"type":"chat","chat_id":"{id}","seq":1,"sent_at":"{BEGINNING}","by":"{by}","name":"{name}"}}"#);
    write_event(out, 1, owner, &effect, &body)?;
    let role = |user| if user == members.start { "owner" } else { "member" };
    for (user, seq) in members.clone().zip(2..) {
        let (member, who, role) = (user_id(user), username(user), role(user));
        let effect = format!(r#"{{"joined":{{"user":"{member}","role":"{role}"}}}}"#);
        let body = format!(
            r#"{{"type":"member","chat_id":"{id}","seq":{seq},"sent_at":"{BEGINNING}","by":"{by}","username":"{who}","change":"added","role":"{role}"}}"#
        );
        write_event(out, seq, owner, &effect, &body)?;
    }
    for user in members.clone() {
        let (member, role) = (user_id(user), role(user));
        out.content(&format!(
            r#"{{"member":{{"user":"{member}","role":"{role}","read_seq":{events},"read_ordinal":0}}}}"#
        ))?;
    }
    let members = members.len();
    out.line(&format!(
        r#"{{"room_end":{{"events":{events},"messages":0,"members":{members},"name":"{name}","epoch":"0"}}}}"#
    ))
}

fn write_event(out: &mut Writer, seq: u64, owner: natter::types::UserId, effect: &str, body: &str) -> Outcome {
    let (id, at, body) = (Uuid::now_v7(), BEGINNING_MILLIS, serde_json::to_string(body)?);
    out.content(&format!(
        r#"{{"event":{{"seq":{seq},"ordinal":0,"sender":"{owner}","id":"{id}","sent_at":{at},"effect":{effect},"body":{body}}}}}"#
    ))
}

/// A file on its way: one zstd stream, with the checksums that its reader wants.
struct Writer {
    zstd: Encoder<'static, File>,
    /// Of every line, and of those that are content.
    all: Sha256,
    content: Sha256,
    lines: u64,
    since_check: u64,
}

impl Writer {
    fn create(file: &Path) -> Result<Self> {
        let made = File::create_new(file).map_err(|error| format!("cannot make {}: {error}", file.display()))?;
        let (all, content) = (Sha256::new(), Sha256::new());
        let mut writer = Self { zstd: Encoder::new(made, 1)?, all, content, lines: 0, since_check: 0 };
        let (id, natter) = (Uuid::now_v7(), env!("CARGO_PKG_VERSION"));
        writer
            .put(&json!({ "natter_export": 1, "id": id, "natter": natter, "from": "benches/million" }).to_string())?;
        Ok(writer)
    }

    fn content(&mut self, line: &str) -> Outcome {
        self.content.update(line);
        self.content.update("\n");
        self.line(line)
    }

    fn line(&mut self, line: &str) -> Outcome {
        self.put(line)?;
        if self.since_check < CHECK_LINES {
            return Ok(());
        }
        self.put(&json!({ "check": { "line": self.lines + 1, "sha256": hex(&self.all) } }).to_string())?;
        self.since_check = 0;
        Ok(())
    }

    fn put(&mut self, line: &str) -> Outcome {
        for bytes in [line.as_bytes(), b"\n"] {
            self.all.update(bytes);
            self.zstd.write_all(bytes)?;
        }
        self.lines += 1;
        self.since_check += 1;
        Ok(())
    }

    fn end(mut self, world: &World) -> Outcome {
        let World { people, .. } = *world;
        let counts = json!({
            "users": people, "rooms": world.rooms(), "members": people, "events": people + world.rooms(), "messages": 0,
        });
        let (line, digest, sha256) = (self.lines + 1, hex(&self.content), hex(&self.all));
        self.put(
            &json!({ "end": { "line": line, "counts": counts, "digest": digest, "sha256": sha256 } }).to_string(),
        )?;
        self.zstd.finish()?.sync_all()?;
        Ok(())
    }
}

/// Of what was hashed so far.
fn hex(hash: &Sha256) -> String {
    hash.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
