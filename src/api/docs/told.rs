//! What is told about a route beside what its row says: words, shapes, examples, and how it can fail.

use serde_json::{Value, json};

use super::schemas::{Schemas, Shape};
use crate::{
    api::chats::Created,
    http::respond::{ErrorBody, FieldError},
};

pub struct Told {
    pub method: &'static str,
    pub path: &'static str,
    pub id: &'static str,
    pub summary: &'static str,
    /// Markdown.
    pub about: &'static str,
    pub tag: &'static str,
    /// Of the query and the headers; those of the path are told by the path.
    pub parameters: Vec<Parameter>,
    pub body: Option<Body>,
    pub answers: Vec<Answer>,
    /// Beside those that follow from the row, the body and the parameters.
    pub faults: Vec<Fault>,
}

#[derive(Clone)]
pub struct Parameter {
    pub place: &'static str,
    pub required: bool,
    pub name: &'static str,
    pub about: &'static str,
    pub schema: Value,
    pub example: Value,
}

pub struct Body {
    pub kinds: &'static [&'static str],
    pub shape: Shape,
    pub examples: Vec<(&'static str, Value)>,
}

/// What is not a refusal.
pub struct Answer {
    pub status: u16,
    pub about: &'static str,
    /// The media types it may have, each with its shape and an example.
    pub content: Vec<(&'static str, Shape, Value)>,
    pub headers: &'static [&'static str],
}

/// A way to fail: what the status and the code say, and the words that come with them.
#[derive(Clone, Copy)]
pub struct Fault {
    pub status: u16,
    pub code: &'static str,
    pub detail: Detail,
}

#[derive(Clone, Copy)]
pub enum Detail {
    Sentence(&'static str),
    /// `type`, `loc`, `msg` of a field that is not acceptable.
    Field(&'static str, &'static [&'static str], &'static str),
    /// The chat that is there already.
    Chat,
}

pub const JSON: &str = "application/json";
pub const CHAT: &str = "01a203f3-ee11-703e-85a5-ea5bab8e7b13";
pub const MESSAGE: &str = "01a203f3-ee37-7006-8b54-9a36db2a1eeb";
pub const EPOCH: &str = "1bb58c1b6b47ac17";
pub const TIME: &str = "2026-11-22T15:50:47.607Z";
const REQUEST: &str = "01a203f4-0b6d-7c62-a1c5-2f3d0c9e8b11";

pub const fn fault(status: u16, code: &'static str, sentence: &'static str) -> Fault {
    Fault { status, code, detail: Detail::Sentence(sentence) }
}

pub const fn bad_field(kind: &'static str, loc: &'static [&'static str], msg: &'static str) -> Fault {
    Fault { status: 422, code: "validation_error", detail: Detail::Field(kind, loc, msg) }
}

pub fn json_body(shape: Shape, examples: Vec<(&'static str, Value)>) -> Option<Body> {
    Some(Body { kinds: &[JSON], shape, examples })
}

/// One 200 with JSON.
pub fn ok(about: &'static str, shape: Shape, example: Value) -> Vec<Answer> {
    vec![Answer { status: 200, about, content: vec![(JSON, shape, example)], headers: &[] }]
}

/// One 200 that says what was done.
pub fn done(message: &str) -> Vec<Answer> {
    ok("It is done.", Schemas::add::<crate::http::respond::Message>, json!({ "message": message }))
}

impl Detail {
    /// The schema of a refusal with such a detail.
    pub fn shape(self, schemas: &mut Schemas) -> Value {
        let error = schemas.add::<ErrorBody>();
        let (name, detail, about) = match self {
            Detail::Sentence(_) => return error,
            Detail::Field(..) => {
                let fields = schemas.list::<FieldError<Vec<&str>>>();
                ("FieldErrors", fields, "The fields that are not acceptable.")
            }
            Detail::Chat => ("ChatExists", schemas.add::<Created>(), "The chat that is there already."),
        };
        let mut schema = schemas.get("Error").cloned().unwrap_or_default();
        schema["properties"]["detail"] = detail;
        schema["description"] = json!(about);
        schemas.put(name, schema)
    }

    pub fn words(self) -> &'static str {
        match self {
            Detail::Sentence(sentence) => sentence,
            Detail::Field(_, _, msg) => msg,
            Detail::Chat => "The chat is there already; `detail` has its id.",
        }
    }

    pub fn example(self, code: &str) -> Value {
        let detail = match self {
            Detail::Sentence(sentence) => json!(sentence),
            Detail::Field(kind, loc, msg) => json!([{ "type": kind, "loc": loc, "msg": msg }]),
            Detail::Chat => json!({ "message": "Chatroom already exists", "chat_id": CHAT }),
        };
        json!({ "detail": detail, "code": code, "request_id": REQUEST })
    }
}
