//! `/openapi.json`, `/asyncapi.json` and `/docs`: they are there, they are well-formed, and they tell what is so. That
//! everything the server sends is told there is held in every other test, by the harness.

mod examples;
mod pages;
mod schemathesis;

use std::collections::{BTreeMap, BTreeSet};

use jsonschema::Validator;
use natter::http::routes::listing;
use serde_json::{Value, json};

use crate::harness::contract::{Contract, REST, SOCKETS};

const OPENAPI: &str = include_str!("documents/openapi-3.1.schema.json");
const ASYNCAPI: &str = include_str!("documents/asyncapi-3.0.schema.json");

/// The closes of the contract.
const CLOSES: [u16; 12] = [1000, 1001, 1003, 1007, 1008, 1009, 1012, 1013, 4401, 4403, 4408, 4429];
/// What a client may send on `/ws`, and what a server may.
const ASKED: [&str; 9] = ["subscribe", "unsubscribe", "post", "edit", "delete", "read", "typing", "auth", "ping"];
const SAID: [&str; 15] = [
    "welcome",
    "subscribed",
    "unsubscribed",
    "posted",
    "edited",
    "deleted",
    "ok",
    "authed",
    "pong",
    "error",
    "read",
    "typing",
    "presence",
    "chats",
    "draining",
];
const EVENTS: [&str; 5] = ["message", "edit", "delete", "member", "chat"];

/// Every operation of OpenAPI by its method and path.
pub fn operations() -> BTreeMap<(String, String), &'static Value> {
    let paths = REST.document["paths"].as_object().expect("an object of paths");
    let methods = ["get", "post", "put", "patch", "delete", "head", "options", "trace"];
    let of_path = |(path, item): (&String, &'static Value)| {
        let path = path.clone();
        let methods = methods.iter().filter(move |method| !item[**method].is_null());
        methods.map(move |method| ((method.to_uppercase(), path.clone()), &item[*method])).collect::<Vec<_>>()
    };
    paths.iter().flat_map(of_path).collect()
}

fn assert_valid(schema: &str, document: &Value) {
    let schema: Value = serde_json::from_str(schema).expect("a schema is JSON");
    let validator = jsonschema::options().build(&schema).expect("a schema");
    let faults: Vec<String> =
        validator.iter_errors(document).map(|error| format!("{error} at {}", error.instance_path())).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn openapi_is_what_the_schema_of_openapi_asks_for() {
    assert_eq!(REST.document["openapi"], "3.1.0");
    assert_valid(OPENAPI, &REST.document);
}

#[test]
fn asyncapi_is_what_the_schema_of_asyncapi_asks_for() {
    assert_eq!(SOCKETS.document["asyncapi"], "3.0.0");
    assert_valid(ASYNCAPI, &SOCKETS.document);
}

#[test]
fn openapi_has_every_row_of_the_route_table_and_no_others_and_says_who_may() {
    let table: BTreeMap<(String, String), &str> =
        listing().map(|(method, path, who)| ((method.to_string(), path.to_owned()), who)).collect();
    let operations = operations();
    assert_eq!(operations.keys().collect::<Vec<_>>(), table.keys().collect::<Vec<_>>());
    for (route, who) in table {
        let operation = operations[&route];
        assert_eq!(operation["x-access"], who, "{route:?}");
        let open = operation["security"].as_array().is_some_and(Vec::is_empty);
        assert_eq!(open, who == "anyone", "{route:?}: {}", operation["security"]);
        assert!(operation["description"].as_str().is_some_and(|text| text.contains(who)), "{route:?}");
    }
}

#[test]
fn every_route_is_told_in_words_with_an_example_of_what_it_takes_and_gives() {
    let tags: Vec<&Value> = REST.document["tags"].as_array().expect("tags").iter().map(|tag| &tag["name"]).collect();
    let mut ids = BTreeSet::new();
    for (route, operation) in operations() {
        let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{route:?} is not told"));
        assert!(ids.insert(id), "{id} is told twice");
        assert!(operation["summary"].as_str().is_some_and(|text| text.len() > 5), "{route:?}");
        assert!(tags.contains(&&operation["tags"][0]), "{route:?}");
        let item = &REST.document["paths"][&route.1];
        let names = |of: &'static Value| of["parameters"].as_array().into_iter().flatten();
        for parameter in names(item).chain(names(operation)) {
            assert!(!parameter["example"].is_null() && parameter["description"] != "", "{route:?} {parameter}");
        }
        let placed = route.1.split('/').filter(|part| part.starts_with('{')).count();
        assert_eq!(item["parameters"].as_array().map_or(0, Vec::len), placed, "{route:?}");
        for (status, response) in operation["responses"].as_object().expect("responses") {
            let response = REST.follow(response);
            for (_, media) in response["content"].as_object().into_iter().flatten() {
                assert!(!media["example"].is_null() || !media["examples"].is_null(), "{route:?} {status}");
            }
        }
        let bodies = operation["requestBody"]["content"].as_object().into_iter().flatten();
        for (kind, media) in bodies {
            assert!(media["examples"].as_object().is_some_and(|all| !all.is_empty()), "{route:?} {kind}");
        }
    }
}

/// Whoever makes types of a document does not guess.
fn assert_schemas_are_whole(contract: &Contract) {
    let schemas = contract.document["components"]["schemas"].as_object().expect("schemas");
    for (name, schema) in schemas {
        let compiles: Result<Validator, _> = {
            let mut schema = schema.clone();
            schema["components"] = json!({ "schemas": schemas });
            jsonschema::draft202012::options().build(&schema)
        };
        assert!(compiles.is_ok(), "{name}: {}", compiles.err().map(|error| error.to_string()).unwrap_or_default());
        assert!(schema["description"].is_string(), "{name} is not described");
        let used = format!("\"#/components/schemas/{name}\"");
        assert!(contract.document.to_string().contains(&used), "{name} is not used");
    }
}

#[test]
fn every_schema_is_one_and_is_described_and_used() {
    assert_schemas_are_whole(&REST);
    assert_schemas_are_whole(&SOCKETS);
}

#[test]
fn asyncapi_has_every_frame_of_both_sides_and_every_close() {
    let names = |channel: &str| -> BTreeSet<String> {
        let messages = SOCKETS.document["channels"][channel]["messages"].as_object().expect("messages");
        messages.keys().cloned().collect()
    };
    let all = ASKED.map(|kind| format!("client.{kind}")).into_iter().chain(SAID.map(|kind| format!("server.{kind}")));
    assert_eq!(names("all"), all.chain(EVENTS.map(|kind| format!("event.{kind}"))).collect());
    assert_eq!(names("one"), ["event.message", "one.message"].map(String::from).into());
    let closes = |channel: &str| -> BTreeSet<u16> {
        let told = SOCKETS.document["channels"][channel]["x-close-codes"].as_array().expect("close codes");
        for close in told {
            assert!(close["meaning"].as_str().is_some_and(|text| text.len() > 10), "{close}");
            assert!(
                close["then"].is_string() && close["reason"].is_string() && close["reconnect"].is_boolean(),
                "{close}"
            );
        }
        told.iter().map(|close| close["code"].as_u64().expect("a code") as u16).collect()
    };
    let both: BTreeSet<u16> = &closes("all") | &closes("one");
    assert!(both.is_superset(&CLOSES.into()), "{both:?}");
    assert!(!closes("all").contains(&4403), "a socket of all chats outlives each of them");
}

#[test]
fn every_operation_of_asyncapi_leads_somewhere() {
    let operations = SOCKETS.document["operations"].as_object().expect("operations");
    let mut named = BTreeSet::new();
    for (name, operation) in operations {
        let replies = operation["reply"]["messages"].as_array().into_iter().flatten();
        for message in operation["messages"].as_array().expect("messages").iter().chain(replies) {
            assert!(SOCKETS.follow(message)["payload"].is_object(), "{name}");
            named.insert(message["$ref"].as_str().expect("a reference").to_owned());
        }
    }
    for channel in ["all", "one"] {
        for name in SOCKETS.document["channels"][channel]["messages"].as_object().expect("messages").keys() {
            let path = format!("#/channels/{channel}/messages/{name}");
            assert!(named.contains(&path), "nothing sends or receives {path}");
        }
    }
}
