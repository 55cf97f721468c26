//! Editing and deleting: history is folded, the log keeps its order, and what is deleted is gone.

use serde_json::{Value, json};

use crate::harness::{Person, Server, until};

fn messages(page: &Value) -> &Vec<Value> {
    page["messages"].as_array().expect("messages")
}

/// The page as a client would have it that folded `events` onto it.
fn folded(page: &Value, events: &[Value]) -> Vec<Value> {
    let mut all = messages(page).clone();
    for event in events {
        if event["seq"].as_u64() <= page["head_seq"].as_u64() {
            continue;
        }
        let at = all.iter().position(|message| message["message_id"] == event["message_id"]);
        match (event["type"].as_str().expect("a type"), at) {
            ("message", None) if event["deleted"] != true => all.push(event.clone()),
            ("edit", Some(at)) => {
                all[at]["content"] = event["content"].clone();
                all[at]["edited_at"] = event["sent_at"].clone();
            }
            ("delete", Some(at)) => drop(all.remove(at)),
            _ => {}
        }
    }
    all
}

async fn texts(person: &Person, room: &str, message: &str) -> Vec<String> {
    let edits = person.get(&format!("/chat/{room}/messages/{message}/edits")).await.ok();
    let edits = edits["edits"].as_array().expect("edits").iter();
    edits.map(|edit| edit["content"].as_str().expect("a text").to_owned()).collect()
}

#[tokio::test]
async fn an_edit_is_an_event_and_history_has_the_latest_form() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let said = ann.post(&room, "helo").await;
    ann.post(&room, "next").await;
    let mut socket = bob.follow(&room).await;
    let done = ann.edit(&room, &said.message_id, "hello").await;
    assert_eq!((&done["message"], done["seq"].as_u64()), (&json!("Message edited"), Some(said.seq + 2)));
    let event = socket.next_event().await;
    let expected = json!({
        "type": "edit", "chat_id": room, "seq": said.seq + 2, "sent_at": done["edited_at"], "by": "ann",
        "message_id": said.message_id, "content": "hello",
    });
    assert_eq!(event, expected);
    let page = bob.history(&room, "").await;
    assert_eq!(page["head_seq"], done["seq"]);
    assert_eq!(messages(&page).len(), 2, "a change takes no room");
    let first = &messages(&page)[0];
    assert_eq!((&first["content"], &first["edited_at"]), (&json!("hello"), &done["edited_at"]));
    assert_eq!((&first["seq"], &first["sent_at"]), (&json!(said.seq), &json!(said.sent_at)));
    assert_eq!(messages(&page)[1].get("edited_at"), None);
    let one = bob.get(&format!("/chat/{room}/messages/{}", said.message_id)).await.ok();
    assert_eq!(one, *first);
    let log = bob.log(&room).await;
    assert_eq!(log.last(), Some(&expected), "the log has what the socket got");
    assert_eq!(log[said.seq as usize - 1]["content"], "helo", "and what was said first");
}

#[tokio::test]
async fn the_same_text_again_is_no_event() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let said = ann.post(&room, "one").await;
    assert_eq!(ann.edit(&room, &said.message_id, "one").await["seq"], json!(null));
    let first = ann.edit(&room, &said.message_id, "two").await;
    let again = ann.edit(&room, &said.message_id, "two").await;
    assert_eq!((&again["seq"], &again["edited_at"]), (&json!(null), &first["edited_at"]));
    assert_eq!(ann.head(&room).await, said.seq + 1);
}

#[tokio::test]
async fn what_a_message_said_before_is_listed_oldest_first_in_pages() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let said = ann.post(&room, "0").await;
    assert_eq!(texts(&bob, &room, &said.message_id).await, ["0"]);
    for n in 1..5 {
        ann.edit(&room, &said.message_id, &n.to_string()).await;
    }
    assert_eq!(texts(&bob, &room, &said.message_id).await, ["0", "1", "2", "3", "4"]);
    let path = format!("/chat/{room}/messages/{}/edits?limit=3", said.message_id);
    let first = bob.get(&path).await.ok();
    assert_eq!(first["edits"][0]["at"], said.sent_at);
    let rest = bob.get(&format!("{path}&after={}", first["next"].as_str().expect("more"))).await.ok();
    assert_eq!((&rest["edits"][0]["content"], &rest["next"]), (&json!("3"), &json!(null)));
}

#[tokio::test]
async fn a_deleted_message_leaves_its_place_and_nothing_else() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    ann.post(&room, "stays").await;
    let said = ann.post_once(&room, "a secret", "c1").await;
    ann.edit(&room, &said.message_id, "another secret").await;
    let mut socket = bob.follow(&room).await;
    let done = ann.erase(&room, &said.message_id).await;
    assert_eq!(done, json!({"message": "Message deleted", "seq": said.seq + 2}));
    assert_eq!(socket.next_event().await["type"], "delete");
    assert_eq!(ann.erase(&room, &said.message_id).await["seq"], json!(null), "again is as good as once");

    let page = bob.history(&room, "").await;
    assert_eq!(messages(&page).iter().map(|message| &message["content"]).collect::<Vec<_>>(), ["stays"]);
    let erased = json!({
        "type": "message", "chat_id": room, "seq": said.seq, "message_id": said.message_id, "sender": "ann",
        "sent_at": said.sent_at, "client_id": "c1", "content": "", "deleted": true,
    });
    let page = bob.history(&room, "?with=deleted").await;
    assert_eq!(messages(&page)[1], erased);
    assert_eq!(bob.get(&format!("/chat/{room}/messages/{}", said.message_id)).await.ok(), erased);
    let log = bob.log(&room).await;
    assert_eq!(log[said.seq as usize - 1], erased);
    assert_eq!((&log[said.seq as usize]["content"], &log[said.seq as usize]["deleted"]), (&json!(""), &json!(true)));
    assert!(!json!(log).to_string().contains("secret"));
    // Who comes back from before it reads the same.
    let mut late = bob.socket().await;
    late.resume(&room, said.seq - 1, page["epoch"].as_str().expect("an epoch")).await;
    let replayed = late.next_events(3).await;
    assert_eq!(replayed[..], log[said.seq as usize - 1..]);
    bob.get(&format!("/chat/{room}/messages/{}/edits", said.message_id)).await.refused(409);
    let refused = ann.try_edit(&room, &said.message_id, &json!({"message": "x"})).await.refused(409);
    assert_eq!(refused["code"], "deleted");
}

#[tokio::test]
async fn a_retry_of_what_was_deleted_is_its_first_acknowledgement_and_no_second_message() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let said = ann.post_once(&room, "once", "c1").await;
    ann.erase(&room, &said.message_id).await;
    for text in ["once", "something else"] {
        let again = ann.try_post(&room, &json!({"message": text, "client_id": "c1"})).await.ok();
        assert_eq!((&again["duplicate"], &again["deleted"]), (&json!(true), &json!(true)));
        assert_eq!((&again["message_id"], &again["seq"]), (&json!(said.message_id), &json!(said.seq)));
        let mut socket = ann.socket().await;
        let again = json!({"type": "post", "chat_id": room, "content": text, "client_id": "c1"});
        assert_eq!(socket.ask(again).await["deleted"], json!(true));
    }
    assert_eq!(ann.head(&room).await, said.seq + 1);
}

#[tokio::test]
async fn an_edit_with_a_client_id_happens_once_in_the_same_space_as_posts() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let said = ann.post_once(&room, "one", "c1").await;
    let edit = json!({"message": "two", "client_id": "e1"});
    let first = ann.try_edit(&room, &said.message_id, &edit).await.ok();
    ann.edit(&room, &said.message_id, "three").await;
    let again = ann.try_edit(&room, &said.message_id, &edit).await.ok();
    assert_eq!((&again["seq"], &again["edited_at"]), (&first["seq"], &first["edited_at"]));
    assert_eq!((&first["duplicate"], &again["duplicate"]), (&json!(false), &json!(true)));
    let reused = [json!({"message": "four", "client_id": "e1"}), json!({"message": "one", "client_id": "c1"})];
    for body in reused {
        ann.try_edit(&room, &said.message_id, &body).await.refused(409);
    }
    ann.try_post(&room, &json!({"message": "two", "client_id": "e1"})).await.refused(409);
    ann.erase(&room, &said.message_id).await;
    let gone = ann.try_edit(&room, &said.message_id, &edit).await.ok();
    assert_eq!((&gone["seq"], &gone["deleted"]), (&first["seq"], &json!(true)));
    assert_eq!(ann.head(&room).await, said.seq + 3);
}

#[tokio::test]
async fn only_its_sender_edits_a_message_and_moderators_delete_it_too() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let (cho, eve) = (server.person("cho").await, server.person("eve").await);
    let room = ann.group("tea", [&bob, &cho]).await;
    let said = bob.post(&room, "bob's").await;
    for other in [&ann, &cho] {
        other.try_edit(&room, &said.message_id, &json!({"message": "x"})).await.refused(403);
    }
    cho.try_erase(&room, &said.message_id).await.refused(403);
    for method in ["edit", "delete"] {
        let answer = match method {
            "edit" => eve.try_edit(&room, &said.message_id, &json!({"message": "x"})).await,
            _ => eve.try_erase(&room, &said.message_id).await,
        };
        assert_eq!(answer.refused(404)["code"], "chat_not_found");
    }
    // A reader changes nothing but deletes what is theirs.
    ann.set_role(&bob, &room, "reader").await.ok();
    bob.try_edit(&room, &said.message_id, &json!({"message": "x"})).await.refused(403);
    let other = cho.post(&room, "cho's").await;
    bob.erase(&room, &said.message_id).await;
    ann.erase(&room, &other.message_id).await;
    // Who has left changes nothing.
    let last = cho.post(&room, "left behind").await;
    cho.leave(&room).await.ok();
    cho.try_erase(&room, &last.message_id).await.refused(404);
    // Nobody moderates a private room.
    let pair = ann.private(&bob).await;
    let said = bob.post(&pair, "mine").await;
    ann.try_erase(&pair, &said.message_id).await.refused(403);
    bob.post_json("/users/me/blocks", &json!({"username": "ann"})).await.ok();
    let own = ann.try_edit(&pair, &said.message_id, &json!({"message": "x"})).await.refused(403);
    assert_eq!(own["code"], "forbidden");
}

#[tokio::test]
async fn who_is_blocked_edits_nothing_there_but_deletes_their_own() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let said = ann.post(&room, "mine").await;
    bob.post_json("/users/me/blocks", &json!({"username": "ann"})).await.ok();
    let refused = ann.try_edit(&room, &said.message_id, &json!({"message": "x"})).await.refused(403);
    assert_eq!(refused["code"], "not_taken");
    ann.erase(&room, &said.message_id).await;
}

#[tokio::test]
async fn what_is_no_message_of_the_chat_is_a_404_that_says_so() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let (room, other) = (ann.private(&bob).await, ann.group("tea", [&bob]).await);
    let said = ann.post(&room, "here").await;
    let edit = ann.edit(&room, &said.message_id, "there").await;
    let log = ann.log(&room).await;
    assert_eq!(log.last().expect("events")["seq"], edit["seq"]);
    for (room, message) in [(&other, said.message_id.as_str()), (&room, "no-id"), (&room, &*other)] {
        let path = format!("/chat/{room}/messages/{message}");
        assert_eq!(ann.get(&path).await.refused(404)["code"], "message_not_found");
        assert_eq!(ann.get(&format!("{path}/edits")).await.refused(404)["code"], "message_not_found");
        let edited = ann.try_edit(room, message, &json!({"message": "x"})).await;
        assert_eq!(edited.refused(404)["code"], "message_not_found");
        assert_eq!(ann.try_erase(room, message).await.refused(404)["code"], "message_not_found");
    }
}

#[tokio::test]
async fn an_edit_keeps_the_rules_of_a_message() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let said = ann.post(&room, "x").await;
    for text in ["", "a\u{0}b", &"x".repeat(4_001)] {
        ann.try_edit(&room, &said.message_id, &json!({"message": text})).await.refused_field("message");
    }
    let emoji = "🫖".repeat(4_000);
    ann.edit(&room, &said.message_id, &emoji).await;
    assert_eq!(messages(&bob.history(&room, "").await)[0]["content"], emoji);
}

#[tokio::test]
async fn a_message_has_as_many_texts_as_the_operator_allows() {
    let server = Server::with(&[("limits.edits", "3")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let said = ann.post(&room, "1").await;
    ann.edit(&room, &said.message_id, "2").await;
    ann.edit(&room, &said.message_id, "3").await;
    let refused = ann.try_edit(&room, &said.message_id, &json!({"message": "4"})).await.refused(409);
    assert_eq!(refused["code"], "too_many_edits");
    assert_eq!(server.metric(r#"natter_bound_hits_total{setting="limits.edits"}"#).await, 1.0);
}

#[tokio::test]
async fn after_a_while_messages_are_edited_no_more_where_the_operator_says_so() {
    let server = Server::with(&[("rooms.edit_secs", "1")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let said = ann.post(&room, "0").await;
    ann.edit(&room, &said.message_id, "1").await;
    let again = async || ann.try_edit(&room, &said.message_id, &json!({"message": "1"})).await;
    until("the message to be too old", async || again().await.status == 403).await;
    assert_eq!(again().await.refused(403)["code"], "forbidden");
    ann.erase(&room, &said.message_id).await;
}

#[tokio::test]
async fn who_sees_earlier_texts_is_a_setting() {
    let server = Server::with(&[("rooms.edit_history", "moderators")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.group("tea", [&bob]).await;
    let said = bob.post(&room, "1").await;
    bob.edit(&room, &said.message_id, "2").await;
    assert_eq!(texts(&ann, &room, &said.message_id).await, ["1", "2"]);
    bob.get(&format!("/chat/{room}/messages/{}/edits", said.message_id)).await.refused(403);
    let pair = ann.private(&bob).await;
    let said = ann.post(&pair, "1").await;
    assert_eq!(texts(&bob, &pair, &said.message_id).await, ["1"]);
}

#[tokio::test]
async fn without_a_history_of_edits_what_was_said_before_is_erased() {
    let server = Server::with(&[("rooms.edit_history", "off")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let said = ann.post(&room, "a secret").await;
    let mut socket = bob.follow(&room).await;
    ann.edit(&room, &said.message_id, "another secret").await;
    ann.edit(&room, &said.message_id, "harmless").await;
    socket.next_events(2).await;
    assert_eq!(texts(&bob, &room, &said.message_id).await, ["harmless"]);
    assert_eq!(messages(&bob.history(&room, "").await)[0]["content"], "harmless");
    assert_eq!(bob.chat(&room).await["last_message"]["content"], "harmless");
    let log = json!(bob.log(&room).await).to_string();
    assert!(!log.contains("secret") && log.contains("harmless"), "{log}");
    let mut late = bob.socket().await;
    let epoch = bob.history(&room, "").await["epoch"].as_str().expect("an epoch").to_owned();
    late.resume(&room, said.seq - 1, &epoch).await;
    assert_eq!(json!(late.next_events(3).await).to_string().matches("secret").count(), 0);
}

#[tokio::test]
async fn the_list_of_chats_counts_and_shows_no_deleted_message_and_moves_for_no_change() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let (room, other) = (ann.private(&bob).await, ann.group("tea", [&bob]).await);
    let first = ann.post(&room, "one").await;
    let mut said = Vec::new();
    for text in ["two", "three", "four"] {
        said.push(ann.post(&room, text).await);
    }
    ann.post(&other, "later").await;
    bob.mark_read(&room, first.seq).await;
    assert_eq!(bob.chat(&room).await["unread"], 3);
    ann.erase(&room, &said[1].message_id).await;
    ann.erase(&room, &said[2].message_id).await;
    let chat = bob.chat(&room).await;
    assert_eq!((&chat["unread"], &chat["last_message"]["content"]), (&json!(1), &json!("two")));
    ann.edit(&room, &said[0].message_id, "two!").await;
    let chat = bob.chat(&room).await;
    assert_eq!((&chat["unread"], &chat["last_message"]["content"]), (&json!(1), &json!("two!")));
    assert!(chat["last_message"]["edited_at"].is_string());
    assert_eq!(bob.my_chats("").await["chats"][0]["chat_id"], json!(other), "changes move nothing");
    assert_eq!(bob.mark_read(&room, said[0].seq).await, json!({"read_seq": said[0].seq, "unread": 0}));
    ann.erase(&room, &said[0].message_id).await;
    ann.erase(&room, &first.message_id).await;
    let chat = bob.chat(&room).await;
    assert_eq!((&chat["unread"], &chat["last_message"]), (&json!(0), &json!(null)));
    ann.post(&room, "five").await;
    assert_eq!(bob.chat(&room).await["unread"], 1);
}

#[tokio::test]
async fn a_one_room_socket_sees_messages_alone() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let before = ann.post(&room, "before").await;
    let mut socket = bob.one_room(&room, None).await;
    ann.edit(&room, &before.message_id, "changed").await;
    ann.erase(&room, &before.message_id).await;
    ann.post(&room, "after").await;
    assert_eq!(socket.next().await["content"], "after");
    let mut late = bob.one_room(&room, Some(0)).await;
    assert_eq!(late.next().await["content"], "after", "what is deleted is left out");
}

#[tokio::test]
async fn a_socket_edits_and_deletes_and_is_answered_once_it_is_durable() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let said = ann.post(&room, "one").await;
    let mut socket = ann.socket().await;
    let id = &said.message_id;
    let edit = json!({"type": "edit", "chat_id": room, "message_id": id, "content": "two", "client_id": "e1"});
    let edited = socket.ask(edit.clone()).await;
    let expected = json!({
        "type": "edited", "chat_id": room, "message_id": id, "seq": said.seq + 1, "client_id": "e1", "req": edited["req"],
    });
    assert_eq!(edited, expected);
    assert_eq!(socket.ask(edit).await["seq"], said.seq + 1, "once");
    let same = json!({"type": "edit", "chat_id": room, "message_id": id, "content": "two"});
    assert_eq!(socket.ask(same).await["seq"], json!(null));
    let delete = json!({"type": "delete", "chat_id": room, "message_id": id});
    let deleted = socket.ask(delete.clone()).await;
    assert_eq!((&deleted["type"], &deleted["seq"]), (&json!("deleted"), &json!(said.seq + 2)));
    assert_eq!(socket.ask(delete).await["seq"], json!(null));
    for (frame, code) in [
        (json!({"type": "edit", "chat_id": room, "message_id": id, "content": "x", "client_id": "e2"}), "deleted"),
        (json!({"type": "edit", "chat_id": room, "message_id": id, "content": ""}), "validation_error"),
        (json!({"type": "delete", "chat_id": room, "message_id": "x"}), "message_not_found"),
        (json!({"type": "delete", "chat_id": "x", "message_id": id}), "chat_not_found"),
        (json!({"type": "edit", "chat_id": room, "content": "x"}), "invalid"),
    ] {
        let error = socket.ask(frame.clone()).await;
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!(code)), "{frame}");
    }
}

#[tokio::test]
async fn of_an_edit_and_a_deletion_at_the_same_moment_the_deletion_wins() {
    let server = Server::with(&[("limits.rates", "off")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    for round in 0..20 {
        let said = ann.post(&room, "a secret").await;
        let (edit, body) = (said.message_id.clone(), json!({"message": format!("secret {round}")}));
        let edits = (0..3).map(|_| ann.try_edit(&room, &edit, &body));
        let (edited, deleted) =
            tokio::join!(futures_util::future::join_all(edits), ann.try_erase(&room, &said.message_id));
        deleted.ok();
        for answer in edited {
            assert!(matches!(answer.status, 200 | 409), "{:?}", answer.status);
        }
    }
    let log = ann.log(&room).await;
    assert!(!json!(log).to_string().contains("secret"));
    let deleted: Vec<_> = log.iter().filter(|event| event["type"] == "delete").collect();
    assert_eq!(deleted.len(), 20);
    for delete in deleted {
        let later = |event: &&Value| event["type"] == "edit" && event["message_id"] == delete["message_id"];
        let seq = delete["seq"].as_u64();
        assert!(log.iter().filter(later).all(|edit| edit["seq"].as_u64() < seq));
    }
    assert_eq!(messages(&ann.history(&room, "").await).len(), 0);
}

#[tokio::test]
async fn a_page_with_the_events_after_it_folded_on_is_what_a_later_page_says() {
    let server = Server::with(&[("limits.rates", "off")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let mut said = Vec::new();
    for n in 0..12 {
        said.push(ann.post(&room, &format!("m{n}")).await.message_id);
    }
    let mut pages = Vec::new();
    for n in 0..30 {
        pages.push(bob.history(&room, "?limit=500").await);
        match n % 5 {
            0 => said.push(ann.post(&room, &format!("later {n}")).await.message_id),
            3 => drop(ann.erase(&room, &said.remove(n % 7)).await),
            _ => drop(ann.edit(&room, &said[(n * 7) % said.len()], &format!("edit {n}")).await),
        }
    }
    let log = bob.log(&room).await;
    let last = bob.history(&room, "?limit=500").await;
    for page in &pages {
        assert_eq!(folded(page, &log), *messages(&last), "from {}", page["head_seq"]);
    }
    // And so with a restart between, and page by page.
    let mut all = Vec::new();
    let mut after = json!(0);
    while !after.is_null() {
        let page = bob.history(&room, &format!("?after={after}&limit=3")).await;
        all.extend(messages(&page).clone());
        after = page["next_after"].clone();
    }
    assert_eq!(all, *messages(&last));
}

#[tokio::test]
async fn a_page_around_an_event_has_it_in_its_middle() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let mut seqs = Vec::new();
    for n in 0..9 {
        seqs.push(ann.post(&room, &n.to_string()).await.seq);
    }
    let page = bob.history(&room, &format!("?around={}&limit=5", seqs[4])).await;
    let shown: Vec<_> = messages(&page).iter().map(|message| message["seq"].as_u64().expect("a seq")).collect();
    assert_eq!(shown, seqs[2..7]);
    assert_eq!((&page["next_before"], &page["next_after"]), (&json!(seqs[2]), &json!(seqs[6])));
    let first = bob.history(&room, "?around=0&limit=3").await;
    assert_eq!((messages(&first).len(), &first["next_before"]), (3, &json!(null)));
    let last = bob.history(&room, "?around=1000000&limit=3").await;
    assert_eq!(messages(&last).last().expect("messages")["seq"], seqs[8]);
    bob.get(&format!("/chat/{room}?around=3&after=1")).await.refused(422);
    bob.get(&format!("/chat/{room}?with=everything")).await.refused(422);
}

#[tokio::test]
async fn deleted_messages_make_a_page_short_and_never_its_end() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let first = ann.post(&room, "first").await;
    let mut gone = Vec::new();
    for n in 0..4 {
        gone.push(ann.post(&room, &n.to_string()).await);
    }
    for message in &gone {
        ann.erase(&room, &message.message_id).await;
    }
    let page = bob.history(&room, "?limit=2").await;
    assert_eq!((messages(&page).len(), &page["next_before"]), (0, &json!(gone[2].seq)));
    let page = bob.history(&room, &format!("?limit=3&before={}", gone[2].seq)).await;
    assert_eq!((messages(&page).len(), &page["next_before"]), (1, &json!(null)));
    assert_eq!(messages(&page)[0]["seq"], first.seq);
}
