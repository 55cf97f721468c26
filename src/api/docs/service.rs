//! What is told about sockets' handshakes, about what monitors ask, and about the documentation itself.

use serde_json::{Value, json};

use super::{
    chats::since,
    faults::{LONG, STORE},
    schemas::{Schemas, Shape},
    told::{Answer, EPOCH, Fault, JSON, Parameter, Told, fault, ok},
};
use crate::api::service::{Health, Ready};

const SOCKETS: &str = "Sockets";
const SERVICE: &str = "Service";
const PAGES: &str = "Documentation";
const CLIENT: &str = "Web client";

fn switching() -> Vec<Answer> {
    vec![Answer {
        status: 101,
        about: "The connection is a WebSocket now.",
        content: vec![],
        headers: &["upgrade", "sec-websocket-accept", "sec-websocket-protocol"],
    }]
}

fn text(_: &mut Schemas) -> Value {
    json!({ "type": "string" })
}

fn any_object(_: &mut Schemas) -> Value {
    json!({ "type": "object" })
}

/// An embedded file, which who has it need not get again.
fn file(about: &'static str, content: Vec<(&'static str, Shape, Value)>) -> Vec<Answer> {
    let whole = Answer { status: 200, about, content, headers: &["etag"] };
    let known = "It is what `If-None-Match` names.";
    vec![whole, Answer { status: 304, about: known, content: vec![], headers: &["etag"] }]
}

fn if_none_match() -> Parameter {
    Parameter {
        place: "header",
        required: false,
        name: "If-None-Match",
        about: "The `ETag` of an earlier answer.",
        schema: json!({ "type": "string" }),
        example: json!("W/\"8d1ce3b1f0a94be55a0c3d27\""),
    }
}

pub fn told() -> Vec<Told> {
    [about_sockets(), about_service(), about_pages(), about_client()].into_iter().flatten().collect()
}

fn about_sockets() -> Vec<Told> {
    let epoch = Parameter {
        place: "query",
        required: false,
        name: "epoch",
        about: "The `epoch` of the log that `since` is of. Left out: whichever log it is now.",
        schema: json!({ "type": "string" }),
        example: json!(EPOCH),
    };
    vec![
        Told {
            method: "GET",
            path: "/ws",
            id: "socket",
            summary: "Open a socket for all chats",
            about: "A WebSocket handshake (`Upgrade: websocket`, version 13, subprotocol `natter.v1`). What is refused is refused \
                    here, as an HTTP answer. The frames are told by [AsyncAPI](/asyncapi.json).",
            tag: SOCKETS,
            parameters: vec![],
            body: None,
            answers: switching(),
            faults: HANDSHAKE.to_vec(),
        },
        Told {
            method: "GET",
            path: "/ws/chat/{chat_id}",
            id: "socket_of_one_chat",
            summary: "Open a socket for one chat",
            about: "A WebSocket handshake. The socket sends the chat's messages and nothing else, and takes `{\"message\", \
                    \"client_id\"?}`. The frames are told by [AsyncAPI](/asyncapi.json).",
            tag: SOCKETS,
            parameters: vec![since(), epoch],
            body: None,
            answers: switching(),
            faults: [
                HANDSHAKE,
                &[fault(
                    409,
                    "not_lossless",
                    "This log is not the one that ?since= was taken from; load the history again and start from there.",
                )],
            ]
            .concat(),
        },
    ]
}

const HANDSHAKE: &[Fault] = &[
    fault(400, "bad_handshake", "Sec-WebSocket-Key must be 16 bytes in base64."),
    fault(426, "upgrade_required", "This is a WebSocket: connect with a WebSocket client (ws://…)."),
    fault(
        429,
        "too_many_connections",
        "You have as many sockets open as you may (sockets.connections_per_user); close one.",
    ),
    fault(
        503,
        "too_many_connections",
        "The server has as many sockets open as it may (sockets.connections); try again in a moment.",
    ),
];

fn about_service() -> Vec<Told> {
    vec![
        Told {
            method: "GET",
            path: "/healthz",
            id: "alive",
            summary: "Is the process alive?",
            about: "200 for as long as it serves at all.",
            tag: SERVICE,
            parameters: vec![],
            body: None,
            answers: ok("It serves.", Schemas::add::<Health>, json!({ "status": "ok" })),
            faults: vec![],
        },
        Told {
            method: "GET",
            path: "/readyz",
            id: "ready",
            summary: "Is it ready for requests?",
            about: "200 only while the store answers and the server does not stop. `bus` says, where there is one, whether the other \
                    nodes are heard; while they are not, everything goes on somewhat later.",
            tag: SERVICE,
            parameters: vec![],
            body: None,
            answers: ok("It is ready.", Schemas::add::<Ready>, json!({ "status": "ready", "bus": "up" })),
            faults: [STORE, &[fault(503, "draining", "The server is stopping.")]].concat(),
        },
        Told {
            method: "GET",
            path: "/metrics",
            id: "metrics",
            summary: "What is counted",
            about: "In the text format of Prometheus, or as OpenMetrics where `Accept` prefers that. 404 where `server.metrics_bind` gives them a listener of \
                    their own.",
            tag: SERVICE,
            parameters: vec![],
            body: None,
            answers: vec![Answer {
                status: 200,
                about: "All metrics.",
                content: vec![
                    (
                        "text/plain; version=0.0.4; charset=utf-8",
                        text,
                        json!("# TYPE natter_posts_total counter\nnatter_posts_total 3\n"),
                    ),
                    (
                        "application/openmetrics-text; version=1.0.0; charset=utf-8",
                        text,
                        json!("# TYPE natter_posts counter\nnatter_posts_total 3\n# EOF\n"),
                    ),
                ],
                headers: &[],
            }],
            faults: vec![LONG, fault(404, "not_found", "Not Found")],
        },
    ]
}

fn about_pages() -> Vec<Told> {
    vec![
        Told {
            method: "GET",
            path: "/openapi.json",
            id: "openapi",
            summary: "This document",
            about: "OpenAPI 3.1.",
            tag: PAGES,
            parameters: vec![if_none_match()],
            body: None,
            answers: file("The document.", vec![(JSON, any_object, json!({ "openapi": "3.1.0" }))]),
            faults: vec![LONG, fault(404, "not_found", "Not Found")],
        },
        Told {
            method: "GET",
            path: "/asyncapi.json",
            id: "asyncapi",
            summary: "What goes over the sockets",
            about: "AsyncAPI 3.0: every frame of both sides, and why sockets are closed.",
            tag: PAGES,
            parameters: vec![if_none_match()],
            body: None,
            answers: file("The document.", vec![(JSON, any_object, json!({ "asyncapi": "3.0.0" }))]),
            faults: vec![LONG, fault(404, "not_found", "Not Found")],
        },
        Told {
            method: "GET",
            path: "/docs",
            id: "docs",
            summary: "This document, to read and try",
            about: "Swagger UI.",
            tag: PAGES,
            parameters: vec![if_none_match()],
            body: None,
            answers: file("The page.", vec![("text/html; charset=utf-8", text, json!("<!doctype html>"))]),
            faults: vec![fault(404, "not_found", "Not Found")],
        },
        Told {
            method: "GET",
            path: "/docs/{file}",
            id: "docs_file",
            summary: "What that page is made of",
            about: "Scripts and styles.",
            tag: PAGES,
            parameters: vec![if_none_match()],
            body: None,
            answers: file(
                "The file.",
                vec![
                    (
                        "text/javascript; charset=utf-8",
                        text,
                        json!("window.docs = SwaggerUIBundle({ url: '/openapi.json' })"),
                    ),
                    ("text/css; charset=utf-8", text, json!("body { margin: 0 }")),
                ],
            ),
            faults: vec![LONG, fault(404, "not_found", "Not Found")],
        },
        Told {
            method: "GET",
            path: "/redoc",
            id: "redoc",
            summary: "Where that page was once",
            about: "The original server had a second page here.",
            tag: PAGES,
            parameters: vec![],
            body: None,
            answers: vec![Answer { status: 307, about: "It is at `/docs`.", content: vec![], headers: &["location"] }],
            faults: vec![fault(404, "not_found", "Not Found")],
        },
    ]
}

fn about_client() -> Vec<Told> {
    const SCRIPT: &str = "text/javascript; charset=utf-8";
    let page = ("text/html; charset=utf-8", text as Shape, json!("<!doctype html>"));
    let script = (SCRIPT, text as Shape, json!("export class Session extends EventTarget {}"));
    let style = ("text/css; charset=utf-8", text as Shape, json!("body { margin: 0 }"));
    let icon = ("image/svg+xml", text as Shape, json!("<svg xmlns=\"http://www.w3.org/2000/svg\"/>"));
    let one = |path, id, summary, about, answers, faults| Told {
        method: "GET",
        path,
        id,
        summary,
        about,
        tag: CLIENT,
        parameters: vec![if_none_match()],
        body: None,
        answers,
        faults,
    };
    vec![
        one("/", "client", "The web client", "A page for people.", file("The page.", vec![page]), vec![LONG]),
        one(
            "/natter.js",
            "module",
            "The protocol, for other pages",
            "The JavaScript module that the web client speaks through; pages of any origin may import it.",
            file("The module.", vec![script.clone()]),
            vec![LONG],
        ),
        one(
            "/assets/{hash}/{file}",
            "asset",
            "What the web client is made of",
            "The page names them. The hash is over all of them, so they never change.",
            file("The file.", vec![script, style, icon.clone()]),
            vec![
                LONG,
                fault(404, "not_found", "Not Found"),
                fault(404, "other_version", "This file is of another version of natter; load the page again."),
            ],
        ),
        one("/favicon.ico", "icon", "The icon", "As SVG.", file("The icon.", vec![icon]), vec![]),
    ]
}
