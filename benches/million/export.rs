//! Writes the users and rooms of a world as an export file, which `natter import` takes: `docs/export-format.md`.

use std::path::Path;

use serde_json::json;
use uuid::Uuid;

use crate::Outcome;
use crate::export_file::ExportFile;
use crate::world::{BEGINNING_MILLIS, World, room_id, user_id, username};

const BEGINNING: &str = "2023-11-14T22:13:20.000Z";
/// The cheapest that bcrypt has: nobody signs in with it.
const BCRYPT_COST: u32 = 4;

pub fn write(file: &Path, world: &World) -> Outcome {
    let mut out = ExportFile::create(file, "benches/million")?;
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
    let people = world.people;
    out.end(&json!({
        "users": people, "rooms": world.rooms(), "members": people, "events": people + world.rooms(), "messages": 0,
    }))
}

/// Its name, then everybody's joining; nobody has said anything yet, and everybody has read everything.
fn write_room(out: &mut ExportFile, world: &World, room: u32) -> Outcome {
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

fn write_event(out: &mut ExportFile, seq: u64, owner: natter::types::UserId, effect: &str, body: &str) -> Outcome {
    let (id, at, body) = (Uuid::now_v7(), BEGINNING_MILLIS, serde_json::to_string(body)?);
    out.content(&format!(
        r#"{{"event":{{"seq":{seq},"ordinal":0,"sender":"{owner}","id":"{id}","sent_at":{at},"effect":{effect},"body":{body}}}}}"#
    ))
}
