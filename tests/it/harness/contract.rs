//! The server's own documentation, held against everything that it sends while the tests run.
//!
//! Every answer that a client of the tests gets is looked up in `/openapi.json` by its route and status, every frame and every
//! close in `/asyncapi.json`: what is not told there fails the test that saw it. The documents leave it open to add fields, and
//! clients must pass over those they do not know; the tests must not. So the copy that validates is closed: a field that no
//! schema tells is as wrong as one of another type.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, LazyLock, Mutex},
};

use jsonschema::Validator;
use natter::http::routes::{self, ASYNCAPI, Found, OPENAPI};
use reqwest::Method;
use serde_json::{Value, json};

pub static REST: LazyLock<Contract> = LazyLock::new(|| Contract::new(OPENAPI.plain()));
pub static SOCKETS: LazyLock<Contract> = LazyLock::new(|| Contract::new(ASYNCAPI.plain()));

/// A document, and what it says of each body, compiled when it is first asked for.
pub struct Contract {
    pub document: Value,
    /// `components.schemas`, closed.
    closed: Value,
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

impl Contract {
    fn new(bytes: &[u8]) -> Self {
        let document: Value = serde_json::from_slice(bytes).expect("the document is JSON");
        let mut closed = document["components"]["schemas"].clone();
        for schema in closed.as_object_mut().into_iter().flat_map(|all| all.values_mut()) {
            close(schema, false);
        }
        Self { document, closed, validators: Mutex::default() }
    }

    /// What is wrong with `value`, where anything is. `name` names the schema that `schema` gives.
    pub fn faults(&self, name: &str, schema: impl FnOnce() -> Value, strict: bool, value: &Value) -> Vec<String> {
        let key = format!("{strict} {name}");
        let validator = self.validators.lock().expect("no validator panics").get(&key).cloned();
        let validator = validator.unwrap_or_else(|| {
            let made = Arc::new(self.compile(schema(), strict));
            self.validators.lock().expect("no validator panics").insert(key, made.clone());
            made
        });
        validator.iter_errors(value).map(|error| format!("{} at {:?}", error, error.instance_path().as_str())).collect()
    }

    fn compile(&self, mut schema: Value, strict: bool) -> Validator {
        if strict {
            close(&mut schema, true);
        }
        let schemas = if strict { &self.closed } else { &self.document["components"]["schemas"] };
        schema["components"] = json!({ "schemas": schemas });
        let validator = jsonschema::draft202012::options().should_validate_formats(true).build(&schema);
        validator.unwrap_or_else(|error| panic!("a schema that is none: {error}"))
    }

    /// Follows a `$ref` inside the document.
    pub fn follow<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(path) => {
                let target = self.document.pointer(path.trim_start_matches('#'));
                self.follow(target.unwrap_or_else(|| panic!("{path} leads nowhere")))
            }
            None => value,
        }
    }
}

/// Takes away the freedom to have more fields: of this schema where it stands for a whole value, and of those below it. A part
/// of another (`allOf` and the like, or what a `$ref` leads to) only sees its own fields, so there it stays as it is.
fn close(schema: &mut Value, whole: bool) {
    let Some(object) = schema.as_object_mut() else { return };
    for parts in ["allOf", "oneOf", "anyOf"] {
        object.get_mut(parts).and_then(Value::as_array_mut).into_iter().flatten().for_each(|part| close(part, false));
    }
    let fields = object.get_mut("properties").and_then(Value::as_object_mut);
    fields.into_iter().flat_map(|fields| fields.values_mut()).for_each(|field| close(field, true));
    for values in ["items", "additionalProperties"] {
        object.get_mut(values).into_iter().for_each(|value| close(value, true));
    }
    let told = ["$ref", "properties", "allOf", "oneOf", "anyOf"].iter().any(|key| object.contains_key(*key));
    if whole && told && !object.contains_key("additionalProperties") {
        object.insert("unevaluatedProperties".into(), json!(false));
    }
}

/// An answer to `method path` (with its query), as OpenAPI tells it.
#[track_caller]
pub fn check_answer(method: &Method, path: &str, status: u16, header: impl Fn(&str) -> Option<String>, body: &[u8]) {
    let what = format!("{method} {path} → {status} {}", String::from_utf8_lossy(&body[..body.len().min(2000)]));
    let path = path.parse().unwrap_or_else(|error| panic!("{what}: {error}"));
    let found = match routes::find(&path) {
        Found::Path(entry, _) => entry,
        Found::Redirect(_) if status == 307 => return,
        Found::Redirect(_) | Found::Nothing => return check_refusal(&what, status, body),
    };
    let asked = if method == Method::HEAD { &Method::GET } else { method };
    let operation = &REST.document["paths"][found.path][asked.as_str().to_ascii_lowercase()];
    if operation.is_null() {
        match (method, status) {
            (&Method::OPTIONS, 204) => assert!(body.is_empty(), "{what}"),
            _ => check_refusal(&what, status, body),
        }
        return;
    }
    let response = &operation["responses"][status.to_string()];
    assert!(!response.is_null(), "{what}: this status is not documented");
    assert_ne!(status, 500, "{what}: a defect");
    check_body(&what, &format!("{asked} {} {status}", found.path), REST.follow(response), method, header, body);
}

fn check_body(
    what: &str,
    name: &str,
    response: &Value,
    method: &Method,
    header: impl Fn(&str) -> Option<String>,
    body: &[u8],
) {
    let Some(content) = response["content"].as_object() else {
        assert!(body.is_empty(), "{what}: no body is documented");
        return;
    };
    let bare = |kind: &str| kind.split(';').next().unwrap_or_default().to_owned();
    let kind = header("content-type").unwrap_or_else(|| panic!("{what}: no content-type"));
    let (_, media) = content
        .iter()
        .find(|(told, _)| bare(told) == bare(&kind))
        .unwrap_or_else(|| panic!("{what}: {kind} is not documented"));
    if method == Method::HEAD {
        assert!(body.is_empty(), "{what}: a body for HEAD");
    } else if bare(&kind) == "application/json" && header("content-encoding").is_none() {
        let value: Value = serde_json::from_slice(body).unwrap_or_else(|error| panic!("{what}: {error}"));
        let faults = REST.faults(name, || media["schema"].clone(), true, &value);
        assert!(faults.is_empty(), "{what}: not as documented: {faults:#?}");
    }
}

/// A refusal of no route's: the shape of all errors, and a code that is told somewhere.
#[track_caller]
pub fn check_refusal(what: &str, status: u16, body: &[u8]) {
    static CODES: LazyLock<BTreeSet<String>> = LazyLock::new(codes);
    assert!(status >= 400, "{what}: no route answers that");
    if body.is_empty() {
        return; // HEAD, or what is no HTTP.
    }
    let value: Value = serde_json::from_slice(body).unwrap_or_else(|error| panic!("{what}: {error}"));
    let schema = || json!({ "$ref": "#/components/schemas/Error" });
    let list = value["detail"].is_array();
    let schema = || if list { json!({ "$ref": "#/components/schemas/FieldErrors" }) } else { schema() };
    let faults = REST.faults(if list { "fields" } else { "error" }, schema, true, &value);
    assert!(faults.is_empty(), "{what}: not as errors are documented: {faults:#?}");
    let code = value["code"].as_str().unwrap_or_default();
    assert!(CODES.contains(code), "{what}: no route documents {code:?}");
}

/// Every code of an error, and the two of paths and methods that are in no table.
fn codes() -> BTreeSet<String> {
    let mut codes = BTreeSet::from(["not_found".to_owned(), "method_not_allowed".to_owned()]);
    collect_codes(&REST.document["paths"], &mut codes);
    collect_codes(&REST.document["components"]["responses"], &mut codes);
    codes
}

fn collect_codes(value: &Value, codes: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            let told = fields.get("code").and_then(|code| code["enum"].as_array());
            codes.extend(told.into_iter().flatten().filter_map(|code| Some(code.as_str()?.to_owned())));
            fields.values().for_each(|value| collect_codes(value, codes));
        }
        Value::Array(values) => values.iter().for_each(|value| collect_codes(value, codes)),
        _ => {}
    }
}

/// Which of the two sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    All,
    One,
}

impl Channel {
    pub fn of(path: &str) -> Self {
        if path.starts_with("/ws/chat/") { Self::One } else { Self::All }
    }

    fn told(self) -> &'static Value {
        &SOCKETS.document["channels"][if self == Self::All { "all" } else { "one" }]
    }

    /// The names of its messages.
    pub fn messages(self) -> impl Iterator<Item = &'static str> {
        self.told()["messages"].as_object().into_iter().flat_map(|all| all.keys()).map(String::as_str)
    }
}

/// A frame of the server, as AsyncAPI tells it.
#[track_caller]
pub fn check_frame(channel: Channel, text: &str) {
    let frame: Value =
        serde_json::from_str(text).unwrap_or_else(|error| panic!("a frame that is not JSON ({error}): {text}"));
    let kind = frame["type"].as_str().unwrap_or_else(|| panic!("a frame without a type: {text}"));
    let names = [format!("server.{kind}"), format!("event.{kind}")];
    let name = channel.messages().find(|name| names.iter().any(|other| other == name));
    let name = name.unwrap_or_else(|| panic!("a frame that this socket is not documented to send: {text}"));
    let faults = message_faults(name, true, &frame);
    assert!(faults.is_empty(), "a frame that is not as documented: {text}: {faults:#?}");
}

/// A frame of a client that the server has carried out, so that the documentation must know it.
#[track_caller]
pub fn check_request(frame: &Value) {
    let kind = frame["type"].as_str().unwrap_or_default();
    let faults = message_faults(&format!("client.{kind}"), false, frame);
    assert!(faults.is_empty(), "understood, but not documented: {frame}: {faults:#?}");
}

/// What is wrong with a frame, by the message of this name.
pub fn message_faults(name: &str, strict: bool, frame: &Value) -> Vec<String> {
    let told = &SOCKETS.document["components"]["messages"][name];
    assert!(!told.is_null(), "there is no message {name}");
    SOCKETS.faults(name, || told["payload"].clone(), strict, frame)
}

/// A close frame of the server. One that echoes the client's own goodbye has the client's code.
#[track_caller]
pub fn check_close(channel: Channel, code: u16) {
    let told = channel.told()["x-close-codes"].as_array().expect("a list of close codes");
    let documented = told.iter().any(|close| close["code"] == code);
    assert!(documented, "closed with {code}, which {channel:?} does not document");
}
