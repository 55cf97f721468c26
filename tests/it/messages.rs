//! Posting: what may be said, and that it is said once; reading: marks and unread counts.

use serde_json::{Value, json};

use crate::harness::{Posted, Server};

#[tokio::test]
async fn a_message_has_1_to_4000_characters_whatever_their_bytes() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    for text in ["x".to_owned(), " ".to_owned(), "x".repeat(4_000), "🫖".repeat(4_000)] {
        ann.post(&room, &text).await;
        assert_eq!(bob.history(&room, "?limit=1").await["messages"][0]["content"], text);
    }
    for text in [String::new(), "x".repeat(4_001), "🫖".repeat(4_001)] {
        ann.try_post(&room, &json!({"message": text})).await.refused_field("message");
    }
}

#[tokio::test]
async fn the_length_of_messages_is_a_setting() {
    let server = Server::with(&[("limits.message_chars", "10")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    ann.post(&room, "ten chars.").await;
    ann.try_post(&room, &json!({"message": "eleven char"})).await.refused_field("message");
}

#[tokio::test]
async fn a_message_is_any_unicode_but_nul_and_comes_back_as_it_was() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let texts = [
        "\u{1}\u{1b}\u{7f}\u{85}",
        "e\u{301} is not é",
        "שלום \u{202e}txt.exe",
        "👩‍👩‍👧‍👦 🇨🇭",
        "\u{2028}\u{2029}\u{feff}\u{fffd}\u{10ffff}",
        "<script>alert(1)</script> & \"quotes\" \\ / \r\n\t",
        "  spaces kept  ",
        "{\"type\":\"message\",\"seq\":1}",
    ];
    for text in texts {
        ann.post(&room, text).await;
        assert_eq!(bob.history(&room, "?limit=1").await["messages"][0]["content"], text);
    }
    ann.try_post(&room, &json!({"message": "a\u{0}b"})).await.refused_field("message");
}

#[tokio::test]
async fn a_message_that_is_no_text_is_a_422() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    for body in [json!({}), json!({"message": null}), json!({"message": 7}), json!({"message": ["x"]}), json!("x")] {
        ann.try_post(&room, &body).await.refused(422);
    }
    let head = ann.head(&room).await;
    let lone_surrogate = r#"{"message":"\ud800"}"#;
    let path = format!("/chat/{room}");
    let post = |request: reqwest::RequestBuilder| {
        request.bearer_auth(&ann.token).header("content-type", "application/json").body(lone_surrogate)
    };
    ann.reach.request(reqwest::Method::POST, &path, post).await.refused(422);
    assert_eq!(ann.head(&room).await, head);
}

#[tokio::test]
async fn unknown_fields_are_ignored() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    ann.try_post(&room, &json!({"message": "x", "sender": "bob", "seq": 1, "extra": {"a": []}})).await.ok();
    assert_eq!(ann.history(&room, "").await["messages"][0]["sender"], "ann");
}

#[tokio::test]
async fn a_retry_with_the_same_client_id_is_the_same_message() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let first = ann.post_once(&room, "hello", "c1").await;
    assert!(!first.duplicate);
    for _ in 0..3 {
        assert_eq!(ann.post_once(&room, "hello", "c1").await, Posted { duplicate: true, ..first.clone() });
    }
    let page = bob.history(&room, "").await;
    assert_eq!(page["messages"].as_array().map(Vec::len), Some(1));
    assert_eq!(page["messages"][0]["client_id"], "c1");
}

#[tokio::test]
async fn a_client_id_used_for_another_text_is_a_conflict() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let first = ann.post_once(&room, "hello", "c1").await;
    ann.try_post(&room, &json!({"message": "goodbye", "client_id": "c1"})).await.refused(409);
    assert_eq!(ann.head(&room).await, first.seq);
}

#[tokio::test]
async fn a_client_id_belongs_to_one_sender_in_one_room() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let (room, other) = (ann.private(&bob).await, ann.group("tea", [&bob]).await);
    let posts = [
        ann.post_once(&room, "one", "c1").await,
        bob.post_once(&room, "two", "c1").await,
        ann.post_once(&other, "three", "c1").await,
    ];
    assert!(posts.iter().all(|posted| !posted.duplicate));
}

#[tokio::test]
async fn a_client_id_that_is_none_is_a_422() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    for bad in [json!(7), json!(["c"]), json!("c".repeat(129)), json!("a\u{0}b")] {
        ann.try_post(&room, &json!({"message": "x", "client_id": bad})).await.refused_field("client_id");
    }
    ann.post_once(&room, "x", &"c".repeat(128)).await;
    let unnamed = Posted::of(&ann.try_post(&room, &json!({"message": "x", "client_id": null})).await.ok());
    assert!(!unnamed.duplicate);
}

#[tokio::test]
async fn fifty_retries_at_once_make_one_message_also_across_a_restart() {
    let mut server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let mut first: Option<Posted> = None;
    for round in 0..2 {
        let tries = futures_util::future::join_all((0..50).map(|_| ann.post_once(&room, "once", "c1"))).await;
        let fresh: Vec<&Posted> = tries.iter().filter(|posted| !posted.duplicate).collect();
        assert_eq!(fresh.len(), if round == 0 { 1 } else { 0 });
        let first = first.get_or_insert_with(|| fresh[0].clone());
        for posted in &tries {
            assert_eq!(
                (&posted.message_id, posted.seq, &posted.sent_at),
                (&first.message_id, first.seq, &first.sent_at)
            );
        }
        server.kill().await;
        server.restart().await;
    }
    assert_eq!(bob.history(&room, "").await["messages"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn one_senders_posts_keep_their_order() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let mut seqs = Vec::new();
    for number in 0..50 {
        seqs.push(ann.post(&room, &number.to_string()).await.seq);
    }
    assert!(seqs.is_sorted_by(|a, b| a < b));
    let page = bob.history(&room, "").await;
    let said: Vec<&str> = page["messages"].as_array().unwrap().iter().map(|m| m["content"].as_str().unwrap()).collect();
    assert_eq!(said, (0..50).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn unread_counts_messages_and_not_events() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let cat = server.person("cat").await;
    let room = ann.group("tea", [&bob]).await;
    assert_eq!(bob.chat(&room).await["unread"], 0);
    let first = ann.post(&room, "one").await;
    ann.rename(&room, "coffee").await.ok();
    ann.invite(&cat, &room).await.ok();
    let second = ann.post(&room, "two").await;
    ann.rename(&room, "tea again").await.ok();
    assert_eq!(bob.chat(&room).await["unread"], 2);
    assert_eq!(bob.mark_read(&room, first.seq).await, json!({"read_seq": first.seq, "unread": 1}));
    assert_eq!(bob.mark_read(&room, second.seq - 1).await["unread"], 1);
    assert_eq!(bob.mark_read(&room, second.seq).await["unread"], 0);
    assert_eq!(bob.chat(&room).await["read_seq"], second.seq);
}

#[tokio::test]
async fn nobody_has_their_own_message_unread() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    ann.post(&room, "one").await;
    assert_eq!((&ann.chat(&room).await["unread"], &bob.chat(&room).await["unread"]), (&json!(0), &json!(1)));
    let answered = bob.post(&room, "two").await;
    let chat = bob.chat(&room).await;
    assert_eq!((&chat["unread"], &chat["read_seq"]), (&json!(0), &json!(answered.seq)));
    assert_eq!(ann.chat(&room).await["unread"], 1);
}

#[tokio::test]
async fn a_read_mark_never_moves_back_nor_past_the_head() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let first = ann.post(&room, "one").await;
    let second = ann.post(&room, "two").await;
    let all = json!({"read_seq": second.seq, "unread": 0});
    assert_eq!(bob.mark_read(&room, second.seq + 1_000).await, all);
    assert_eq!(bob.mark_read(&room, first.seq).await, all);
    assert_eq!(bob.mark_read(&room, 0).await, all);
    assert_eq!(bob.chat(&room).await["read_seq"], second.seq);
}

#[tokio::test]
async fn a_read_mark_that_is_no_seq_is_a_422() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    for seq in [json!(-1), json!("1"), json!(1.5), Value::Null, json!(1e30)] {
        ann.post_json(&format!("/chat/{room}/read"), &json!({"seq": seq})).await.refused_field("seq");
    }
    ann.post_json(&format!("/chat/{room}/read"), &json!({})).await.refused_field("seq");
}

#[tokio::test]
async fn read_marks_and_messages_outlive_kill_9() {
    let mut server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let first = ann.post(&room, "one").await;
    ann.post(&room, "two").await;
    bob.mark_read(&room, first.seq).await;
    let (before, log) = (bob.chat(&room).await, bob.log(&room).await);
    server.kill().await;
    server.restart().await;
    assert_eq!(bob.chat(&room).await, before);
    assert_eq!(bob.log(&room).await, log);
}

#[tokio::test]
async fn a_field_that_is_nearly_one_of_ours_is_told_before_anything_is_said() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let path = format!("/chat/{room}");
    for near in ["clientid", "clientId", "client-id", "client_ids"] {
        let refused = ann.post_json(&path, &json!({"message": "once", near: "c1"})).await.refused(422);
        assert_eq!(refused["detail"][0]["loc"], json!(["body", near]));
        assert!(refused["detail"][0]["msg"].as_str().unwrap().contains("client_id"), "{refused}");
    }
    assert_eq!(ann.history(&room, "").await["messages"], json!([]));
    for other in ["chat_id", "nonce", "id", "extra"] {
        ann.post_json(&path, &json!({"message": "said", other: "x"})).await.ok();
    }
    ann.post_json(&path, &json!({"message": "said", "client_id": "c2", "clientId": "c2"})).await.ok();
}
