//! Whatever text or bytes a client sends, the server answers or closes with a code of the contract, and never panics.

use proptest::{
    collection::{btree_map, vec},
    prelude::*,
    test_runner::{Config, TestRunner},
};
use serde_json::{Map, Value, json};
use tokio::io::AsyncWriteExt;

use crate::{
    harness::{Person, Server, Socket, in_time},
    readers::{assert_unhurt, parse},
    wire,
};

const CASES: u32 = 96;
/// The codes of the contract that a frame can bring about.
const CLOSES: [u16; 6] = [1000, 1003, 1007, 1008, 1009, 4429];

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map("[a-z_]{0,8}", inner, 0..4).prop_map(|fields| json!(fields)),
        ]
    })
}

fn any_room() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => Just(json!("ROOM")),
        1 => Just(json!("0198c0de-0000-7000-8000-000000000000")),
        1 => any_json(),
    ]
}

/// Frames as a client means them, with values as they come.
fn well_formed() -> impl Strategy<Value = Value> {
    let cursor = prop_oneof![
        Just(Value::Null),
        any::<u64>().prop_map(|since| json!({"since": since})),
        (0..20_u64).prop_map(|since| json!({"since": since, "epoch": "EPOCH"})),
        any_json(),
    ];
    let frame = prop_oneof![
        Just(json!({"type": "ping"})),
        cursor.clone().prop_map(|cursor| json!({"type": "subscribe", "chats": {"ROOM": cursor}})),
        cursor.prop_map(|cursor| json!({"type": "subscribe", "all": true, "since": {"ROOM": cursor}})),
        any_room().prop_map(|room| json!({"type": "unsubscribe", "chats": [room]})),
        (any_room(), ".{0,200}", ".{0,140}").prop_map(|(room, content, client_id)| {
            json!({"type": "post", "chat_id": room, "content": content, "client_id": client_id})
        }),
        (any_room(), any::<i64>()).prop_map(|(room, seq)| json!({"type": "read", "chat_id": room, "seq": seq})),
        any_room().prop_map(|room| json!({"type": "typing", "chat_id": room})),
        ".{0,40}".prop_map(|token| json!({"type": "auth", "token": token})),
        ".{0,200}".prop_map(|text| json!({"message": text})),
    ];
    (frame, proptest::option::of(any_json())).prop_map(|(mut frame, req)| {
        if let Some(req) = req {
            frame["req"] = req;
        }
        frame
    })
}

#[derive(Debug, Clone)]
enum Mutation {
    Drop(prop::sample::Index),
    Replace(prop::sample::Index, Value),
    Add(String, Value),
    Cut(prop::sample::Index),
    Flip(prop::sample::Index, u8),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        any::<prop::sample::Index>().prop_map(Mutation::Drop),
        (any::<prop::sample::Index>(), any_json()).prop_map(|(at, value)| Mutation::Replace(at, value)),
        ("[a-z_]{0,8}", any_json()).prop_map(|(field, value)| Mutation::Add(field, value)),
        any::<prop::sample::Index>().prop_map(Mutation::Cut),
        (any::<prop::sample::Index>(), 1..=255_u8).prop_map(|(at, bits)| Mutation::Flip(at, bits)),
    ]
}

/// The frame's payload after these changes; it may be neither JSON nor UTF-8 any more.
fn mutated(frame: &Value, mutations: &[Mutation]) -> Vec<u8> {
    let mut fields: Map<String, Value> = frame.as_object().cloned().unwrap_or_default();
    let field_at = |fields: &Map<String, Value>, at: &prop::sample::Index| {
        (!fields.is_empty()).then(|| fields.keys().nth(at.index(fields.len())).cloned()).flatten()
    };
    for mutation in mutations {
        match mutation {
            Mutation::Drop(at) => {
                if let Some(field) = field_at(&fields, at) {
                    fields.remove(&field);
                }
            }
            Mutation::Replace(at, value) => {
                if let Some(field) = field_at(&fields, at) {
                    fields.insert(field, value.clone());
                }
            }
            Mutation::Add(field, value) => drop(fields.insert(field.clone(), value.clone())),
            Mutation::Cut(_) | Mutation::Flip(..) => {}
        }
    }
    let mut bytes = Value::Object(fields).to_string().into_bytes();
    for mutation in mutations {
        match mutation {
            Mutation::Cut(at) => bytes.truncate(at.index(bytes.len() + 1)),
            Mutation::Flip(at, bits) if !bytes.is_empty() => {
                let at = at.index(bytes.len());
                bytes[at] ^= bits;
            }
            _ => {}
        }
    }
    bytes
}

/// A server and a room for all cases of one property.
struct Target {
    runtime: tokio::runtime::Runtime,
    server: Server,
    ann: Person,
    room: String,
    epoch: String,
}

impl Target {
    fn new() -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let (server, ann, room, epoch) = runtime.block_on(async {
            let server = Server::start().await;
            let (ann, bob) = server.two_people().await;
            let room = ann.group("tea", [&bob]).await;
            let epoch = ann.history(&room, "").await["epoch"].as_str().expect("an epoch").to_owned();
            (server, ann, room, epoch)
        });
        Self { runtime, server, ann, room, epoch }
    }

    /// Runs `case` on many inputs, then looks whether the server is unhurt and its log whole.
    fn check<S: Strategy>(&self, inputs: &S, case: impl AsyncFn(S::Value)) {
        let config = Config { cases: CASES, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
        let outcome = TestRunner::new(config).run(inputs, |input| {
            self.runtime.block_on(case(input));
            Ok(())
        });
        self.runtime.block_on(async {
            assert_unhurt(&self.server).await;
            let log = self.ann.log(&self.room).await;
            assert_eq!(crate::harness::seqs(&log), (1..=log.len() as u64).collect::<Vec<_>>());
        });
        if let Err(failure) = outcome {
            panic!("{failure}");
        }
    }

    fn fill_in(&self, payload: Vec<u8>) -> Vec<u8> {
        match String::from_utf8(payload) {
            Ok(text) => text.replace("ROOM", &self.room).replace("EPOCH", &self.epoch).into_bytes(),
            Err(error) => error.into_bytes(),
        }
    }
}

/// Writes what may be read or not: a server that closes meanwhile is one of the right answers.
async fn send(socket: &mut Socket, bytes: &[u8]) {
    let _heard_all = in_time("the server to read or close", socket.stream().write_all(bytes)).await.is_ok();
}

/// A frame. What it echoes may be a number that is JSON, and too great for this reader.
fn read(text: &str) -> Value {
    match serde_json::from_str::<Value>(text) {
        Err(error) if error.to_string().starts_with("number out of range") => json!({"type": "error"}),
        _ => parse(text),
    }
}

/// The socket answers a ping, or is closed with a code that is right.
async fn assert_answers_or_closes(socket: &mut Socket, codes: &[u16]) {
    send(socket, &wire::text(&json!({"type": "ping", "req": "are you there"}))).await;
    loop {
        match socket.try_next().await {
            Ok(text) => {
                let frame = read(&text);
                assert!(frame["type"].is_string(), "{frame}");
                if frame["type"] == "pong" && frame["req"] == "are you there" {
                    return;
                }
            }
            Err(closed) => return assert!(codes.contains(&closed.code), "{closed:?}"),
        }
    }
}

#[test]
fn frames_well_formed_or_mutated_are_answered_or_close_with_a_code_of_the_contract() {
    let target = Target::new();
    let frames = vec((well_formed(), vec(mutation(), 0..3)), 1..8);
    target.check(&frames, async |frames: Vec<(Value, Vec<Mutation>)>| {
        let mut socket = target.ann.socket().await;
        for (frame, mutations) in &frames {
            let payload = target.fill_in(mutated(frame, mutations));
            send(&mut socket, &wire::frame(wire::TEXT, &payload)).await;
        }
        assert_answers_or_closes(&mut socket, &CLOSES).await;
    });
}

#[test]
fn a_text_of_any_kind_closes_nothing_the_first_time() {
    let target = Target::new();
    let texts = prop_oneof![".{0,300}", any_json().prop_map(|json| json.to_string()), "[\\[{\"]{0,2000}"];
    target.check(&texts, async |text: String| {
        let mut socket = target.ann.socket().await;
        socket.send_raw(&text).await;
        socket.drain().await;
    });
}

#[test]
fn frames_of_any_shape_come_to_an_end_and_hurt_nothing() {
    let target = Target::new();
    let shape = (any::<u8>(), vec(any::<u8>(), 0..300), vec(any::<prop::sample::Index>(), 0..4), any::<u8>());
    target.check(&vec(shape, 1..4), async |shapes: Vec<(u8, Vec<u8>, Vec<prop::sample::Index>, u8)>| {
        let mut socket = target.ann.socket().await;
        for (first, payload, flips, bits) in shapes {
            let mut bytes = wire::bytes(first, &payload);
            for flip in flips {
                let at = flip.index(bytes.len());
                bytes[at] ^= bits;
            }
            send(&mut socket, &bytes).await;
        }
        // A frame may have announced more than came: then the end of the stream is all there is to say.
        let _open = socket.stream().shutdown().await.is_ok();
        while let Ok(text) = socket.try_next().await {
            read(&text);
        }
    });
}

#[test]
fn the_socket_of_one_room_takes_anything_too() {
    let target = Target::new();
    let frames = vec((well_formed(), vec(mutation(), 0..3)), 1..8);
    target.check(&frames, async |frames: Vec<(Value, Vec<Mutation>)>| {
        let mut socket = target.ann.one_room(&target.room, None).await;
        for (frame, mutations) in &frames {
            let payload = target.fill_in(mutated(frame, mutations));
            send(&mut socket, &wire::frame(wire::TEXT, &payload)).await;
        }
        send(&mut socket, &wire::text(&json!({"message": "are you there"}))).await;
        loop {
            match socket.try_next().await {
                Ok(text) => {
                    let message = parse(&text);
                    assert_eq!(message["type"], "message", "{message}");
                    if message["content"] == "are you there" {
                        return;
                    }
                }
                Err(closed) => return assert!(CLOSES.contains(&closed.code), "{closed:?}"),
            }
        }
    });
}
