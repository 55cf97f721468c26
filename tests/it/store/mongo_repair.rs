//! What is made whole again on MongoDB when a process has died between two writes. Handles in a test stand for processes; what
//! the dead one has left behind is put there with the driver.

use std::sync::Arc;

use futures_util::future::join_all;
use mongodb::bson::{Document, doc};
use natter::{
    event::{Event, fold::ReadMark},
    store::RoomCreated,
    types::{RoomId, RoomRole},
};

use super::{
    fixture::{add, add_group, append_all, assert_sound, gone, joined, message, private, renamed, role_set, whole_log},
    mongo::Place,
    mongo_log::{document, with_place},
};

/// Ways to look at a room.
const LOOKS: [&str; 5] = ["room", "repair", "create", "append", "rooms"];

#[tokio::test(flavor = "multi_thread")]
async fn a_room_whose_making_was_cut_off_is_completed_by_the_next_who_looks() {
    with_place(async |place: Arc<Place>| {
        let store = place.handle().await;
        let (ann, bob) = (add(&store, "ann").await, add(&store, "bob").await);
        for (cut, look) in (0..=3).flat_map(|cut| LOOKS.map(|look| (cut, look))) {
            let pair = format!("{cut} {look}");
            let new = private(ann, bob, &pair);
            let room = new.room_id;
            assert_eq!(store.create_room(new.clone()).await.unwrap(), RoomCreated::Created);
            take_back(&place, &new.events, room, cut).await;

            let other = place.handle().await;
            match look {
                "room" => assert_eq!(other.room(room).await.unwrap().expect("it is made").head_seq, 2),
                "repair" => other.repair(room).await.unwrap(),
                "create" => {
                    let made = other.create_room(private(ann, bob, &pair)).await.unwrap();
                    assert_eq!(made, RoomCreated::Exists(room));
                }
                "append" => append_all(&other, room, vec![message(3, 1, bob)]).await,
                _ => assert!(other.rooms(None, 99).await.unwrap().iter().any(|record| record.room_id == room)),
            }
            let log = whole_log(&other, room).await;
            assert_eq!(log[..2], new.events, "{pair}");
            assert_eq!(place.head_seq(room).await, log.len() as i64, "{pair}");
            for (user, seq) in [(ann, 1), (bob, 2)] {
                let member = other.member(room, user).await.unwrap().expect("a member");
                assert!(member.read.seq == seq || look == "append", "{pair}");
                assert!(other.room_ids_of(user, None, 99).await.unwrap().contains(&room), "{pair}");
            }
            assert_sound(&other, room).await;
            let document = place.of("rooms").find_one(doc! { "_id": room.to_string() }).await.unwrap().unwrap();
            assert!(!document.contains_key("opening") || look == "append", "{pair}");
            other.close().await;
        }
        store.close().await;
    })
    .await;
}

/// The state of a room's documents when whoever made it died after the first write, or after some of the later ones.
async fn take_back(place: &Place, events: &[Event], room: RoomId, cut: usize) {
    let opening: Vec<Document> = events.iter().map(|event| document(room, event)).collect();
    place
        .of("rooms")
        .update_one(doc! { "_id": room.to_string() }, doc! { "$set": { "opening": opening } })
        .await
        .unwrap();
    let of_room = doc! { "room": room.to_string() };
    let last = format!("{room}:{:016x}", events.len());
    match cut {
        0 => drop(place.of("events").delete_many(of_room.clone()).await.unwrap()),
        1 => drop(place.of("events").delete_one(doc! { "_id": last }).await.unwrap()),
        _ => {}
    }
    if cut < 3 {
        place.of("members").delete_many(of_room).await.unwrap();
        place.of("heads").delete_one(doc! { "_id": room.to_string() }).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn projections_that_were_left_behind_are_brought_up_by_the_next_who_looks() {
    with_place(async |place: Arc<Place>| {
        let store = place.handle().await;
        let people = join_all(["ann", "bob", "cid", "dan"].map(|name| add(&store, name))).await;
        let [ann, bob, cid, dan] = people[..] else { unreachable!() };
        for look in ["room", "repair", "append"] {
            let room = add_group(&store, &[ann, bob]).await;
            let left_behind = vec![
                message(4, 1, ann),
                joined(5, 1, ann, cid),
                gone(6, 1, ann, bob),
                role_set(7, 1, ann, ann, RoomRole::Owner),
                message(8, 2, cid),
                renamed(9, 2, ann, "cocoa"),
                joined(10, 2, ann, dan),
                gone(11, 2, dan, dan),
            ];
            place.insert(room, &left_behind).await.unwrap();
            let other = place.handle().await;
            match look {
                "room" => assert_eq!(other.room(room).await.unwrap().unwrap().head_seq, 11),
                "repair" => other.repair(room).await.unwrap(),
                _ => append_all(&other, room, vec![message(12, 3, ann)]).await,
            }
            assert_eq!(place.head_seq(room).await, if look == "append" { 12 } else { 11 });
            let members = other.members(room, None, 9).await.unwrap();
            let who: Vec<_> = members.iter().map(|member| (member.user_id, member.role)).collect();
            assert_eq!(who, [(ann, RoomRole::Owner), (cid, RoomRole::Member)]);
            assert_eq!(members[1].read, ReadMark { seq: 8, ordinal: 2 });
            for user in [bob, dan] {
                assert_eq!(other.member(room, user).await.unwrap(), None);
                assert!(!other.room_ids_of(user, None, 9).await.unwrap().contains(&room));
            }
            let listed = other.rooms_of(cid, None, 1, 9).await.unwrap();
            assert_eq!((listed[0].room.room_id, listed[0].room.name.as_deref()), (room, Some("cocoa")));
            assert_eq!(listed[0].usernames, ["ann", "cid"]);
            assert_sound(&other, room).await;
            other.close().await;
        }
        store.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_projection_brings_nobody_back() {
    with_place(async |place: Arc<Place>| {
        let store = place.handle().await;
        let (ann, bob) = (add(&store, "ann").await, add(&store, "bob").await);
        let room = add_group(&store, &[ann]).await;
        append_all(&store, room, vec![joined(3, 0, ann, bob), renamed(4, 0, ann, "x")]).await;
        let later = [gone(5, 0, ann, bob), role_set(6, 0, ann, ann, RoomRole::Owner), renamed(7, 0, ann, "y")];
        append_all(&store, room, later.to_vec()).await;
        // A slow node, which has read the log only so far, projects it when the others have gone on.
        let of_later = doc! { "_id": { "$gt": format!("{room}:{:016x}", 4), "$lt": format!("{room};") } };
        place.of("events").delete_many(of_later).await.unwrap();
        let back = doc! { "$set": { "head_seq": 1_i64 } };
        place.of("heads").update_one(doc! { "_id": room.to_string() }, back).await.unwrap();
        let other = place.handle().await;
        other.repair(room).await.unwrap();
        assert_eq!(place.head_seq(room).await, 4);
        place.insert(room, &later).await.unwrap();
        assert_eq!(other.member(room, ann).await.unwrap().unwrap().role, RoomRole::Owner);
        assert_eq!(other.member(room, bob).await.unwrap(), None);
        assert_eq!(other.room(room).await.unwrap().unwrap().name.as_deref(), Some("y"));
        assert_sound(&other, room).await;
        other.close().await;
        store.close().await;
    })
    .await;
}
