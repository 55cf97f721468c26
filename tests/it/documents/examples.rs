//! Every example is of the schema beside it, and a server does with it what is told.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use super::{REST, SOCKETS, operations};
use crate::harness::{
    PASSWORD, Person, Server,
    contract::{Channel, message_faults},
};

/// The examples of a body, one or several, by name.
fn examples(media: &Value) -> Vec<(String, Value)> {
    let one = media.get("example").map(|value| ("example".to_owned(), value.clone()));
    let many = media["examples"].as_object().into_iter().flatten();
    one.into_iter().chain(many.map(|(name, example)| (name.clone(), example["value"].clone()))).collect()
}

fn assert_fits(what: &str, schema: &Value, strict: bool, value: &Value) {
    let faults = REST.faults(what, || schema.clone(), strict, value);
    assert!(faults.is_empty(), "{what}: {value}: {faults:#?}");
}

#[test]
fn every_example_of_openapi_is_of_its_schema() {
    let mut count = 0;
    for ((method, path), operation) in operations() {
        for (status, response) in operation["responses"].as_object().expect("responses") {
            for (kind, media) in REST.follow(response)["content"].as_object().into_iter().flatten() {
                for (_, example) in examples(media) {
                    assert_fits(&format!("{method} {path} {status} {kind}"), &media["schema"], true, &example);
                    count += 1;
                }
            }
        }
        for (kind, media) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
            for (_, example) in examples(media) {
                assert_fits(&format!("{method} {path} {kind}"), &media["schema"], true, &example);
                count += 1;
            }
        }
        let item = &REST.document["paths"][&path];
        let parameters = |of: &'static Value| of["parameters"].as_array().into_iter().flatten();
        for parameter in parameters(item).chain(parameters(operation)) {
            let what = format!("{method} {path} {}", parameter["name"]);
            assert_fits(&what, &parameter["schema"], true, &parameter["example"]);
        }
    }
    assert!(count > 200, "{count} examples");
    for (name, header) in REST.document["components"]["headers"].as_object().expect("headers") {
        assert_fits(&format!("header {name}"), &header["schema"], true, &header["example"]);
    }
}

#[test]
fn every_message_of_asyncapi_has_an_example_and_each_is_of_its_schema() {
    for (name, message) in SOCKETS.document["components"]["messages"].as_object().expect("messages") {
        let examples = message["examples"].as_array().expect("examples");
        assert!(!examples.is_empty(), "{name} has no example");
        for example in examples {
            let faults = message_faults(name, true, &example["payload"]);
            assert!(faults.is_empty(), "{name}: {example}: {faults:#?}");
        }
    }
}

/// Ann, who is an admin, with the people and the chats that the examples speak of.
struct World {
    server: Server,
    ann: Person,
    bob: Person,
    group: String,
    private: String,
    /// Ann's, in the group.
    message: String,
    login: String,
    /// That ann left and is invited to again.
    left: String,
}

impl World {
    async fn begin() -> Self {
        let server = Server::start().await;
        server.cli_reading(&["admin", "create", "--username", "ann", "--password-stdin"], PASSWORD).await.ok();
        let ann = server.sign_in("ann").await;
        let (bob, cho) = (server.person("bob").await, server.person("cho").await);
        let eve = server.person("eve").await;
        server.person("dan").await;
        let private = ann.private(&eve).await;
        let group = ann.group("Tea", [&bob, &cho]).await;
        let message = ann.post(&group, "Milk?").await.message_id;
        let logins = ann.get("/users/me/logins").await.ok();
        let login = logins["logins"][0]["sid"].as_str().expect("a sid").to_owned();
        let left = bob.group("Coffee", [&ann]).await;
        ann.leave(&left).await.ok();
        bob.invite(&ann, &left).await.ok();
        Self { server, ann, bob, group, private, message, login, left }
    }

    /// A path with its places filled as its examples fill them, and the room and the login with those that are there.
    fn path(&self, template: &str) -> String {
        if template.starts_with("/assets/") {
            return format!("{}/app.js", natter::api::ui::assets().0);
        }
        let parameters = REST.document["paths"][template]["parameters"].as_array().into_iter().flatten();
        parameters.fold(template.to_owned(), |path, parameter| {
            let name = parameter["name"].as_str().expect("a name");
            let value = match name {
                "chat_id" if template.ends_with("/hide") => &self.private,
                "chat_id" if template.ends_with("/join") || template.ends_with("/decline") => &self.left,
                "chat_id" => &self.group,
                "message_id" => &self.message,
                "sid" => &self.login,
                _ => parameter["example"].as_str().expect("a text"),
            };
            path.replace(&format!("{{{name}}}"), value)
        })
    }

    async fn send(&self, method: &str, path: &str, kind: Option<&str>, body: &Value) -> u16 {
        let build = |request: reqwest::RequestBuilder| {
            let request = request.bearer_auth(&self.ann.token);
            let fields: BTreeMap<String, String> = body
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
                .collect();
            match kind {
                None => request,
                Some("application/x-www-form-urlencoded") => request.form(&fields),
                Some("multipart/form-data") => {
                    let form = fields
                        .into_iter()
                        .fold(reqwest::multipart::Form::new(), |form, (name, value)| form.text(name, value));
                    request.multipart(form)
                }
                Some(_) => request.json(body),
            }
        };
        self.server.reach.request(method.parse().expect("a method"), path, build).await.status
    }
}

/// The parameters of a query that a request must have, as their examples show them.
fn required_query(operation: &Value) -> String {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let required = parameters.filter(|parameter| parameter["in"] == "query" && parameter["required"] == true);
    let pair = |parameter: &Value| {
        let [name, example] = ["name", "example"].map(|field| parameter[field].as_str().expect("a text").to_owned());
        (name, example)
    };
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(required.map(pair)).finish();
    if query.is_empty() { query } else { format!("?{query}") }
}

/// Every request as its example shows it gets the success that is documented. The harness looks at the answer; here it is
/// only asked whether it is one of success.
#[tokio::test]
async fn every_example_of_a_request_is_served() {
    for ((method, template), operation) in operations() {
        if template.starts_with("/ws") {
            continue;
        }
        let success = operation["responses"].as_object().expect("responses").keys().next().expect("a response").clone();
        let bodies = operation["requestBody"]["content"].as_object().cloned().unwrap_or_default();
        let mut tries: Vec<(Option<String>, Value)> = Vec::new();
        for (kind, media) in &bodies {
            tries.extend(examples(media).into_iter().map(|(_, example)| (Some(kind.clone()), example)));
        }
        if tries.is_empty() {
            tries.push((None, Value::Null));
        }
        for (kind, mut body) in tries {
            let world = World::begin().await;
            if body.get("refresh_token").is_some() {
                body["refresh_token"] = json!(world.ann.refresh_token);
            }
            if template == "/users/register" {
                body["username"] = json!("zed");
            }
            let path = format!("{}{}", world.path(&template), required_query(operation));
            let status = world.send(&method, &path, kind.as_deref(), &body).await;
            assert_eq!(status.to_string(), success, "{method} {path} {kind:?} {body}");
        }
    }
}

/// The parameters of a query, as their examples show them, alone and where they go together.
#[tokio::test]
async fn every_example_of_a_parameter_is_accepted() {
    let world = World::begin().await;
    for ((method, template), operation) in operations() {
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let (name, example) = (parameter["name"].as_str().expect("a name"), &parameter["example"]);
            if parameter["in"] != "query" || template.starts_with("/ws") {
                continue;
            }
            let value = example.as_str().map_or_else(|| example.to_string(), String::from);
            // Whoever searches says what for.
            let needed = if template == "/search" && name != "q" { "&q=hello" } else { "" };
            let path = format!("{}?{name}={value}{needed}", world.path(&template));
            assert_eq!(world.send(&method, &path, None, &Value::Null).await, 200, "{path}");
        }
    }
}

#[tokio::test]
async fn every_example_of_a_clients_frame_is_carried_out() {
    let world = World::begin().await;
    let mut socket = world.ann.socket().await;
    for name in Channel::All.messages().filter(|name| name.starts_with("client.")) {
        for example in SOCKETS.document["components"]["messages"][name]["examples"].as_array().expect("examples") {
            let message = world.ann.post(&world.group, "Milk?").await.message_id;
            let text = example["payload"].to_string().replace("01a203f3-ee11-703e-85a5-ea5bab8e7b13", &world.group);
            let text = text.replace("01a203f3-ee37-7006-8b54-9a36db2a1eeb", &message);
            let mut frame: Value = serde_json::from_str(&text).expect("JSON");
            if name == "client.auth" {
                frame["token"] = json!(world.ann.token);
            }
            let answer = socket.ask(frame).await;
            let answers =
                SOCKETS.document["operations"][name.trim_start_matches("client.")]["reply"]["messages"].clone();
            let told = format!("#/channels/all/messages/server.{}", answer["type"].as_str().expect("a type"));
            assert!(answer["type"] != "error" && answers.to_string().contains(&told), "{name}: {answer}");
        }
    }
    let mut one = world.bob.one_room(&world.group, None).await;
    one.send(SOCKETS.document["components"]["messages"]["one.message"]["examples"][0]["payload"].clone()).await;
    assert_eq!(one.next().await["content"], "Hello, Bob");
}

/// What HEAD, OPTIONS and methods that are not there answer is not part of a table of operations, but told in words.
#[tokio::test]
async fn what_is_told_in_words_is_so() {
    let server = Server::start().await;
    let words = REST.document["info"]["description"].as_str().expect("words");
    for code in ["not_found", "method_not_allowed", "HEAD", "OPTIONS", "Retry-After", "x-request-id"] {
        assert!(words.contains(code), "{code}");
    }
    assert_eq!(server.reach.get("/nowhere").await.refused(404)["code"], "not_found");
    let refused = server.reach.request(Method::DELETE, "/token", |request| request).await;
    assert_eq!(refused.refused(405)["code"], "method_not_allowed");
}
