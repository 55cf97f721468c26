//! `post`, `read`, `typing`, `ping`: what a client says on `/ws` and what it is answered.

use serde_json::{Value, json};

use crate::{
    harness::{Person, Posted, Server, Socket},
    readers::{assert_error, message_bytes, parse},
    wire,
};

async fn ann_in_a_room(server: &Server) -> (Person, Person, String, Socket) {
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let socket = ann.socket().await;
    (ann, bob, room, socket)
}

#[tokio::test]
async fn a_post_is_answered_once_with_everything_about_the_message() {
    let server = Server::start().await;
    let (ann, bob, room, mut socket) = ann_in_a_room(&server).await;
    let mut reader = bob.follow(&room).await;
    let frame = json!({"type": "post", "chat_id": room, "content": "hello", "client_id": "c1", "req": 7});
    socket.send(frame).await;
    let posted = socket.expect("posted").await;
    let event = reader.next_event().await;
    let expected = json!({
        "type": "posted", "req": 7, "chat_id": room, "client_id": "c1", "message_id": event["message_id"],
        "seq": event["seq"], "sent_at": event["sent_at"], "duplicate": false,
    });
    assert_eq!(posted, expected);
    assert_eq!(
        (&event["content"], &event["sender"], &event["client_id"]),
        (&json!("hello"), &json!("ann"), &json!("c1"))
    );
    assert_eq!(ann.chat(&room).await["read_seq"], event["seq"], "posting moves the sender's own read mark");
    assert!(socket.drain().await.iter().all(|frame| frame["type"] != "posted"));
}

#[tokio::test]
async fn a_post_that_is_repeated_is_the_first_one() {
    let server = Server::start().await;
    let (ann, _, room, mut socket) = ann_in_a_room(&server).await;
    let first = socket.post(&room, "hello", "c1").await;
    let again = socket.post(&room, "hello", "c1").await;
    assert_eq!(again, Posted { duplicate: true, ..first.clone() });
    let by_rest = ann.post_once(&room, "hello", "c1").await;
    assert_eq!(by_rest, again);
    let other = json!({"type": "post", "chat_id": room, "content": "something else", "client_id": "c1"});
    assert_error(&socket.ask(other).await);
    assert_eq!(ann.head(&room).await, first.seq);
}

/// Posts these texts under each of `ids` client_ids, all in one write, and gives the answers by client_id. A batch gathers
/// while the one before is committed, and its end divides the posts of one client_id at most: with fewer batches than
/// client_ids, there were some whose posts were all in one.
async fn post_in_batches(
    server: &Server,
    socket: &mut Socket,
    room: &str,
    ids: usize,
    texts: &[&str],
) -> Vec<Vec<Value>> {
    let post = |n: usize| {
        let (id, content) = (n / texts.len(), texts[n % texts.len()]);
        json!({"type": "post", "chat_id": room, "content": content, "client_id": format!("c{id}"), "req": n})
    };
    let posts = ids * texts.len();
    wire::send_at_once(socket, (0..posts).map(post)).await;
    let mut answers = Vec::new();
    for n in 0..posts {
        answers.push(socket.find(&format!("the answer to {n}"), |answer| answer["req"] == n).await);
    }
    let batches = server.metric("natter_batch_events_count").await as usize;
    assert!(batches < ids, "{batches} batches: no client_id may have had its posts in one");
    answers.chunks(texts.len()).map(<[Value]>::to_vec).collect()
}

#[tokio::test]
async fn of_two_texts_with_one_client_id_in_one_batch_the_second_is_refused_and_not_lost() {
    let server = Server::start().await;
    let (ann, _, room, mut socket) = ann_in_a_room(&server).await;
    for answers in post_in_batches(&server, &mut socket, &room, 60, &["the first", "another"]).await {
        assert_eq!(answers[0]["type"], "posted", "{}", answers[0]);
        assert_error(&answers[1]);
        assert_eq!((&answers[1]["code"], &answers[1]["client_id"]), (&json!("conflict"), &answers[0]["client_id"]));
    }
    let messages = message_bytes(&ann, &room).await;
    assert_eq!(messages.len(), 60);
    assert!(messages.iter().all(|text| parse(text)["content"] == "the first"));
}

#[tokio::test]
async fn a_post_that_is_repeated_in_one_batch_is_acknowledged_each_time_as_one_message() {
    let server = Server::start().await;
    let (ann, _, room, mut socket) = ann_in_a_room(&server).await;
    for answers in post_in_batches(&server, &mut socket, &room, 60, &["once", "once", "once"]).await {
        let posted: Vec<Posted> = answers.iter().map(Posted::of).collect();
        assert!(!posted[0].duplicate);
        for again in &posted[1..] {
            assert_eq!(*again, Posted { duplicate: true, ..posted[0].clone() });
        }
    }
    assert_eq!(message_bytes(&ann, &room).await.len(), 60);
}

#[tokio::test]
async fn any_content_but_nul_comes_out_as_it_went_in() {
    let server = Server::start().await;
    let (_, bob, room, mut socket) = ann_in_a_room(&server).await;
    let mut reader = bob.follow(&room).await;
    let most = "🙂".repeat(4_000);
    for (at, content) in
        ["é\u{301}\u{202e}\u{feff}", "\"\\/\u{8}\t\n\r\u{1}\u{7f}", "</script>\u{2028}", &most].iter().enumerate()
    {
        socket.post(&room, content, &format!("c{at}")).await;
        assert_eq!(reader.next_event().await["content"], *content);
    }
}

#[tokio::test]
async fn any_json_as_req_comes_back() {
    let server = Server::start().await;
    let (_, _, room, mut socket) = ann_in_a_room(&server).await;
    let reqs =
        [json!(0), json!(-1.5), json!("a \"b\" \u{2028}"), json!(true), json!([1, [2]]), json!({"a": {"b": null}})];
    for req in reqs {
        for frame in [
            json!({"type": "ping"}),
            json!({"type": "post", "chat_id": room, "content": "hello", "client_id": req.to_string()}),
            json!({"type": "subscribe", "chats": {&room: null}}),
            json!({"type": "unsubscribe", "chats": [&room]}),
            json!({"type": "typing", "chat_id": room}),
            json!({"type": "no such type"}),
        ] {
            let mut frame = frame;
            frame["req"] = req.clone();
            socket.send(frame.clone()).await;
            let answer = socket.find(&format!("{frame}"), |answer| !answer["req"].is_null()).await;
            assert_eq!(answer["req"], req, "{frame}");
        }
    }
}

#[tokio::test]
async fn an_answer_without_a_question_has_no_req() {
    let server = Server::start().await;
    let (_, _, room, mut socket) = ann_in_a_room(&server).await;
    socket.send(json!({"type": "ping"})).await;
    assert_eq!(socket.expect("pong").await["req"], Value::Null);
    socket.send(json!({"type": "post", "chat_id": room, "content": "hello", "client_id": "c"})).await;
    assert_eq!(socket.expect("posted").await["req"], Value::Null);
}

#[tokio::test]
async fn frames_that_ask_for_what_cannot_be_are_errors_and_the_socket_stays() {
    let server = Server::start().await;
    let (ann, bob, room, mut socket) = ann_in_a_room(&server).await;
    let foreign = server.person("eve").await.private(&bob).await;
    let head = ann.head(&room).await;
    let post = |chat_id: &str, content: Value| json!({"type": "post", "chat_id": chat_id, "content": content, "client_id": "c"});
    for bad in [
        post(&foreign, json!("hello")),
        post("0198c0de-0000-7000-8000-000000000000", json!("hello")),
        post("no-id-at-all", json!("hello")),
        post(&room, json!("")),
        post(&room, json!("x".repeat(4_001))),
        post(&room, json!("nul \0")),
        post(&room, json!(5)),
        post(&room, Value::Null),
        json!({"type": "post", "chat_id": room, "client_id": "c"}),
        json!({"type": "post", "content": "hello", "client_id": "c"}),
        json!({"type": "post", "chat_id": room, "content": "hello", "client_id": "c".repeat(129)}),
        json!({"type": "post", "chat_id": room, "content": "hello", "client_id": 5}),
        json!({"type": "read", "chat_id": room}),
        json!({"type": "read", "chat_id": room, "seq": "1"}),
        json!({"type": "read", "chat_id": room, "seq": -1}),
        json!({"type": "read", "chat_id": foreign, "seq": 1}),
        json!({"type": "typing"}),
        json!({"type": "typing", "chat_id": foreign}),
        json!({"type": "auth"}),
        json!({"type": "auth", "token": "nonsense"}),
        json!({"type": "welcome"}),
        json!({"type": "no such type"}),
        json!({"type": 5}),
        json!({"type": null}),
        json!({}),
    ] {
        let answer = socket.ask(bad.clone()).await;
        assert_eq!(answer["type"], "error", "{bad}: {answer}");
        assert_error(&answer);
    }
    assert_eq!(ann.head(&room).await, head);
    socket.post(&room, "still here", "c").await;
}

#[tokio::test]
async fn json_that_is_no_object_is_an_error_and_the_socket_stays() {
    let server = Server::start().await;
    let (_, _, _, mut socket) = ann_in_a_room(&server).await;
    for bad in ["[]", "5", "\"ping\"", "null", "true"] {
        socket.send_raw(bad).await;
        assert_error(&socket.wait_for("error").await);
    }
    socket.drain().await;
}

#[tokio::test]
async fn a_reader_of_a_room_may_follow_and_not_post() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.group("tea", []).await;
    ann.invite_as(&bob, &room, "reader").await.ok();
    let mut socket = bob.follow(&room).await;
    let answer = socket.ask(json!({"type": "post", "chat_id": room, "content": "hello", "client_id": "c"})).await;
    assert_error(&answer);
    ann.post(&room, "for readers too").await;
    assert_eq!(socket.next_event().await["content"], "for readers too");
}

#[tokio::test]
async fn unknown_fields_of_a_frame_are_passed_over() {
    let server = Server::start().await;
    let (_, _, room, mut socket) = ann_in_a_room(&server).await;
    let odd = json!({"deep": [{"er": 1}]});
    let answer = socket.ask(json!({"type": "ping", "odd": odd})).await;
    assert_eq!(answer["type"], "pong");
    let frame = json!({"type": "post", "chat_id": room, "content": "hi", "client_id": "c", "odd": odd, "seq": 99});
    assert_eq!(socket.ask(frame).await["type"], "posted");
    let frame = json!({"type": "subscribe", "chats": {&room: {"since": 0, "odd": odd}}, "odd": odd});
    assert_eq!(socket.ask(frame).await["type"], "subscribed");
}

#[tokio::test]
async fn read_and_typing_are_answered_only_where_asked() {
    let server = Server::start().await;
    let (ann, _, room, mut socket) = ann_in_a_room(&server).await;
    let seq = ann.head(&room).await;
    for frame in [json!({"type": "read", "chat_id": room, "seq": seq}), json!({"type": "typing", "chat_id": room})] {
        assert_eq!(socket.ask(frame.clone()).await["type"], "ok", "{frame}");
        socket.send(frame).await;
        let rest = socket.drain().await;
        assert!(rest.iter().all(|frame| frame["type"] != "ok" && frame["type"] != "error"), "{rest:?}");
    }
}

#[tokio::test]
async fn reading_over_a_socket_moves_the_mark_and_never_back() {
    let server = Server::start().await;
    let (ann, bob, room, mut socket) = ann_in_a_room(&server).await;
    let (first, second) = (bob.post(&room, "one").await.seq, bob.post(&room, "two").await.seq);
    assert_eq!(ann.chat(&room).await["unread"], 2);
    for (seq, read_seq, unread) in [(first, first, 1), (second, second, 0), (first, second, 0)] {
        assert_eq!(socket.ask(json!({"type": "read", "chat_id": room, "seq": seq})).await["type"], "ok");
        let chat = ann.chat(&room).await;
        assert_eq!((&chat["read_seq"], &chat["unread"]), (&json!(read_seq), &json!(unread)));
    }
}

#[tokio::test]
async fn answers_to_one_socket_are_frames_of_compact_json() {
    let server = Server::start().await;
    let (_, _, _, mut socket) = ann_in_a_room(&server).await;
    socket.send(json!({"type": "ping"})).await;
    loop {
        let text = socket.next_text().await;
        if parse(&text)["type"] == "pong" {
            assert_eq!(text, r#"{"type":"pong"}"#);
            return;
        }
    }
}

#[tokio::test]
async fn a_refusal_names_the_field_as_the_client_wrote_it() {
    let server = Server::start().await;
    let (ann, _, room, mut socket) = ann_in_a_room(&server).await;
    let refused = socket.ask(json!({"type": "post", "chat_id": room, "content": "", "client_id": "c"})).await;
    assert_eq!(refused["code"], "validation_error");
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.starts_with("content: ")), "{refused}");
    ann.try_post(&room, &json!({"message": ""})).await.refused_field("message");
    let mut one_room = ann.one_room(&room, None).await;
    // As many as it takes to be closed with the reason.
    for _ in 0..10 {
        one_room.send(json!({"message": ""})).await;
    }
    let closed = one_room.closed().await;
    assert!(closed.code == 1008 && closed.reason.starts_with("message: "), "{closed:?}");
}
