//! `/openapi.json`: OpenAPI 3.1 of every row of the route table, put together from the rows, what is told about them, and the
//! shapes of the code's types.

use std::collections::BTreeMap;

use hyper::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::{
    accounts, changes, chats, consent,
    faults::Access,
    schemas::Schemas,
    search, service,
    told::{Answer, Body, CHAT, Fault, JSON, MESSAGE, Parameter, Told},
    users,
};
use crate::http::authenticate::Via;

/// A row of the route table.
pub struct Row {
    pub method: &'static Method,
    pub path: &'static str,
    pub access: Access,
}

const ABOUT: &str = "\
A room is a log; a connection is a cursor. Messages are on disk before anybody sees them, everyone sees one order, and a post \
that is sent again with its `client_id` is the same message for ever.

**Sign in** with *Authorize*: a username and its password. Sign-up is `POST /users/register`.

**Errors** are `{\"detail\", \"code\", \"request_id\"}`: a sentence for people, a word for programs, and the id that is in the \
server's log and in the `x-request-id` of the answer. `detail` of a 422 is the list of the fields that are not acceptable. 429 \
and 503 say in `Retry-After` for how many seconds to wait. A path that is not here answers 404 `not_found`; another method of a \
path 405 `method_not_allowed`, with the methods there are in `Allow`; a path whose trailing slash is one too many or missing \
307, to the other form. `HEAD` works where `GET` does, and `OPTIONS` everywhere. What is no HTTP at all gets a bare 400.

**Fields** may be added to any answer: a client passes over those that it does not know. So does the server. Times are RFC \
3339, UTC, with milliseconds. Ids are opaque. Limits can be set by the operator; the numbers here are the usual ones.

What goes over the sockets, `/ws` and `/ws/chat/{chat_id}`, is told by [AsyncAPI](/asyncapi.json).";

const TAGS: [(&str, &str); 11] = [
    ("Accounts", "Signing up, signing in, one's own account."),
    ("People and consent", "What people let reach them: whom they block, what they hide."),
    ("People", "Everybody's accounts: finding people, and what admins do."),
    ("Chats", "Opening chats, finding one's own, naming them."),
    ("Messages", "What is said in a chat: reading, posting, and how far one has read."),
    ("Search", "Finding what was said."),
    ("Members", "Who is in a chat."),
    ("Sockets", "Where HTTP ends and a WebSocket begins. [AsyncAPI](/asyncapi.json) tells the rest."),
    ("Service", "What monitors ask."),
    ("Web client", "What people see in a browser."),
    ("Documentation", "These pages, and what they are made from."),
];

/// The document about these rows.
pub fn document(rows: impl Iterator<Item = Row>, told: &[Told]) -> Value {
    let mut schemas = Schemas::default();
    schemas.event();
    let mut paths: Map<String, Value> = Map::new();
    for row in rows {
        let told = told.iter().find(|told| told.method == row.method.as_str() && told.path == row.path);
        let path = paths.entry(row.path).or_insert_with(|| path_item(row.path));
        path[row.method.as_str().to_ascii_lowercase()] = operation(&row, told, &mut schemas);
    }
    let responses = share_responses(&mut paths);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "natter",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": env!("CARGO_PKG_DESCRIPTION"),
            "description": ABOUT,
            "license": { "name": env!("CARGO_PKG_LICENSE"), "identifier": env!("CARGO_PKG_LICENSE") },
        },
        "servers": [{ "url": "/", "description": "This server." }],
        "tags": TAGS.map(|(name, description)| json!({ "name": name, "description": description })),
        "paths": paths,
        "components": {
            "schemas": schemas.into_value(),
            "responses": responses,
            "headers": headers(),
            "securitySchemes": security_schemes(),
        },
    })
}

/// What is told about every route there is.
pub fn told() -> Vec<Told> {
    let told = [
        accounts::told(),
        users::told(),
        chats::told(),
        changes::told(),
        consent::told(),
        search::told(),
        service::told(),
    ];
    told.into_iter().flatten().collect()
}

fn path_item(path: &str) -> Value {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let parameters: Vec<Value> = names.map(path_parameter).collect();
    if parameters.is_empty() { json!({}) } else { json!({ "parameters": parameters }) }
}

fn path_parameter(name: &str) -> Value {
    let (about, example) = match name {
        "chat_id" => ("The chat's id.", CHAT),
        "message_id" => ("The message's id.", MESSAGE),
        "username" => ("A username, in any spelling that folds to it.", "bob"),
        "sid" => ("The login's `sid`.", "01a203f3-ed9b-7a44-9d2a-6b1f0f3f1c57"),
        "file" => ("A file that the page asks for.", "swagger-ui.css"),
        "hash" => ("What names this version of the files.", "8d1ce3b1f0a94be5"),
        _ => ("", ""),
    };
    json!({
        "name": name,
        "in": "path",
        "required": true,
        "description": about,
        "schema": { "type": "string", "minLength": 1 },
        "example": example,
    })
}

fn operation(row: &Row, told: Option<&Told>, schemas: &mut Schemas) -> Value {
    let who = row.access.who();
    let mut operation = json!({ "x-access": who, "security": security(row.access) });
    let mut responses: BTreeMap<u16, Value> = BTreeMap::new();
    let mut faults = row.access.faults();
    if let Some(told) = told {
        operation["operationId"] = json!(told.id);
        operation["tags"] = json!([told.tag]);
        operation["summary"] = json!(told.summary);
        operation["description"] = json!(format!("{}\n\nWho may: {who}.", told.about));
        if !told.parameters.is_empty() {
            operation["parameters"] = told.parameters.iter().map(parameter).collect();
        }
        if let Some(body) = &told.body {
            operation["requestBody"] = request_body(body, schemas);
            faults.extend(body.faults());
        }
        faults.extend(told.parameters.iter().flat_map(Parameter::faults));
        faults.extend_from_slice(&told.faults);
        responses.extend(told.answers.iter().map(|answer| (answer.status, response(answer, schemas))));
    }
    let mut by_status: BTreeMap<u16, Vec<Fault>> = BTreeMap::new();
    for fault in faults {
        by_status.entry(fault.status).or_default().push(fault);
    }
    responses.extend(by_status.into_iter().map(|(status, faults)| (status, refusal(status, &faults, schemas))));
    operation["responses"] = responses.into_iter().map(|(status, response)| (status.to_string(), response)).collect();
    operation
}

fn security(access: Access) -> Value {
    match access.via() {
        None => json!([]),
        Some(Via::Rest) => json!([{ "password": [] }, { "bearer": [] }]),
        Some(Via::Socket) => json!([{ "bearer": [] }, { "subprotocol": [] }, { "query": [] }, { "cookie": [] }]),
    }
}

fn security_schemes() -> Value {
    let api_key = |place, name, about| json!({ "type": "apiKey", "in": place, "name": name, "description": about });
    json!({
        "password": {
            "type": "oauth2",
            "description": "A username and its password. Client id and secret stay empty.",
            "flows": { "password": { "tokenUrl": "/token", "scopes": {} } },
        },
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "The `access_token` of `POST /token`.",
        },
        "subprotocol": api_key("header", "Sec-WebSocket-Protocol", "`natter.v1, bearer.<access token>`: for browsers, whose sockets have no headers."),
        "query": api_key("query", "token", "The access token. Proxies may log it: prefer the others."),
        "cookie": api_key("cookie", "token", "The access token, for pages of this server's own origin or of `server.allowed_origins`."),
    })
}

fn headers() -> Value {
    let header = |about: &str, kind: &str, example: Value| json!({ "description": about, "schema": { "type": kind }, "example": example });
    let id =
        "The caller's own where it is fit to be logged (1 to 128 of letters, digits, `.`, `_` and `-`), or a new one.";
    json!({
        "x-request-id": header(id, "string", json!("01a203f4-0b6d-7c62-a1c5-2f3d0c9e8b11")),
        "www-authenticate": header("How to authenticate.", "string", json!("Bearer")),
        "retry-after": header("For how many seconds to wait.", "integer", json!(1)),
        "etag": header("Names the content: for `If-None-Match`.", "string", json!("W/\"8d1ce3b1f0a94be55a0c3d27\"")),
        "location": header("Where it is.", "string", json!("/docs")),
        "upgrade": header("The protocol to speak.", "string", json!("websocket")),
        "sec-websocket-version": header("The version to speak.", "string", json!("13")),
        "sec-websocket-accept": header("Proves that the handshake was read.", "string", json!("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")),
        "sec-websocket-protocol": header("`natter.v1`, where the client offered it.", "string", json!("natter.v1")),
    })
}

fn parameter(parameter: &Parameter) -> Value {
    json!({
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.required,
        "description": parameter.about,
        "schema": parameter.schema,
        "example": parameter.example,
    })
}

fn request_body(body: &Body, schemas: &mut Schemas) -> Value {
    let schema = (body.shape)(schemas);
    let examples: Map<String, Value> =
        body.examples.iter().map(|(name, value)| ((*name).to_owned(), json!({ "value": value }))).collect();
    let content = json!({ "schema": schema, "examples": examples });
    let kinds: Map<String, Value> = body.kinds.iter().map(|kind| ((*kind).to_owned(), content.clone())).collect();
    json!({ "required": true, "content": kinds })
}

fn response(answer: &Answer, schemas: &mut Schemas) -> Value {
    let names = answer.headers.iter().copied().chain(["x-request-id"]);
    let mut response = json!({ "description": answer.about, "headers": header_references(names) });
    for (kind, shape, example) in &answer.content {
        response["content"][*kind] = json!({ "schema": shape(schemas), "example": example });
    }
    response
}

fn header_references<'a>(names: impl Iterator<Item = &'a str>) -> Value {
    names.map(|name| (name.to_owned(), json!({ "$ref": format!("#/components/headers/{name}") }))).collect()
}

/// One status with all its codes. The schema says which, by the shape of their detail.
fn refusal(status: u16, faults: &[Fault], schemas: &mut Schemas) -> Value {
    let mut codes: Vec<&str> = Vec::new();
    let mut shapes: Vec<(Value, Vec<&str>)> = Vec::new();
    let (mut about, mut examples) = (String::new(), Map::new());
    for fault in faults {
        if codes.contains(&fault.code) {
            continue;
        }
        codes.push(fault.code);
        about.push_str(&format!("\n- `{}`: {}", fault.code, fault.detail.words()));
        examples.insert(fault.code.to_owned(), json!({ "value": fault.detail.example(fault.code) }));
        let shape = fault.detail.shape(schemas);
        match shapes.iter_mut().find(|(other, _)| *other == shape) {
            Some((_, codes)) => codes.push(fault.code),
            None => shapes.push((shape, vec![fault.code])),
        }
    }
    let narrowed = shapes
        .into_iter()
        .map(|(shape, codes)| json!({ "allOf": [shape, { "properties": { "code": { "enum": codes } } }] }));
    let mut narrowed: Vec<Value> = narrowed.collect();
    let schema = if narrowed.len() == 1 { narrowed.remove(0) } else { json!({ "oneOf": narrowed }) };
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or_default();
    let extra: &[&str] = match status {
        401 => &["www-authenticate"],
        426 => &["upgrade", "sec-websocket-version"],
        429 | 503 => &["retry-after"],
        _ => &[],
    };
    json!({
        "description": format!("{reason}.\n{about}"),
        "headers": header_references(extra.iter().copied().chain(["x-request-id"])),
        "content": { JSON: { "schema": schema, "examples": examples } },
    })
}

/// Has refusals that several routes share stand once, under a name made of their status and codes.
fn share_responses(paths: &mut Map<String, Value>) -> Map<String, Value> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    each_response(paths, |_, response| *seen.entry(response.to_string()).or_default() += 1);
    let mut shared = Map::new();
    each_response(paths, |status, response| {
        if seen.get(&response.to_string()).is_none_or(|count| *count < 2) {
            return;
        }
        let codes = response["content"][JSON]["examples"].as_object();
        let Some(codes) = codes.map(|codes| codes.keys().cloned().collect::<Vec<_>>().join(".")) else { return };
        let name = format!("{status}.{codes}");
        let reference = json!({ "$ref": format!("#/components/responses/{name}") });
        shared.insert(name, std::mem::replace(response, reference));
    });
    shared
}

fn each_response(paths: &mut Map<String, Value>, mut visit: impl FnMut(&str, &mut Value)) {
    let operations = paths.values_mut().filter_map(Value::as_object_mut).flat_map(|path| path.iter_mut());
    for (_, operation) in operations.filter(|(name, _)| *name != "parameters") {
        let responses = operation["responses"].as_object_mut();
        responses.into_iter().flatten().for_each(|(status, response)| visit(status, response));
    }
}
