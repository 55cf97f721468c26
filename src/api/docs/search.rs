//! What is told about finding what was said.

use serde_json::{Value, json};

use super::{
    chats::message,
    schemas::Schemas,
    told::{CHAT, Fault, Parameter, TIME, Told, bad_field, ok},
    users::{filter, limit},
};
use crate::protocol::FoldedMessage;

const TOO_LONG: Fault =
    bad_field("value_error", &["query", "q"], "Look for at most 256 characters (limits.search_chars).");
fn time(name: &'static str, about: &'static str) -> Parameter {
    let schema = json!({ "type": "string", "format": "date-time" });
    Parameter { place: "query", required: false, name, about, schema, example: json!(TIME) }
}

fn hits(schemas: &mut Schemas) -> Value {
    let message = schemas.add::<FoldedMessage>();
    let hit = json!({
        "description": "A message that says what was looked for, in its latest form.",
        "type": "object",
        "required": ["chat_id", "message", "marks"],
        "properties": {
            "chat_id": { "type": "string", "format": "uuid", "description": "The chat in which it was said." },
            "message": message,
            "marks": {
                "description": "Where in `content` it says what was looked for: from one character up to another, counted in \
                                characters of Unicode, in order and apart from each other.",
                "type": "array",
                "items": {
                    "type": "array",
                    "prefixItems": [{ "type": "integer", "minimum": 0 }, { "type": "integer", "minimum": 1 }],
                    "minItems": 2,
                    "maxItems": 2,
                },
            },
        },
    });
    let hit = schemas.put("Hit", hit);
    schemas.put(
        "Hits",
        json!({
            "description": "A page of what was found, newest first.",
            "type": "object",
            "required": ["hits", "next"],
            "properties": {
                "hits": { "type": "array", "items": hit },
                "next": {
                    "type": ["string", "null"],
                    "description": "For `?cursor=`; null at the end. A page may be short, even empty, before it.",
                },
            },
        }),
    )
}

pub fn told() -> Vec<Told> {
    let q = Parameter {
        place: "query",
        required: true,
        name: "q",
        about: "What to look for: 1 to `limits.search_chars` characters (256) of at most `limits.search_words` words (16).",
        schema: json!({ "type": "string", "minLength": 1 }),
        example: json!("hello"),
    };
    let has = Parameter {
        place: "query",
        required: false,
        name: "has",
        about: "`link`: only what has a link in it.",
        schema: json!({ "type": "string", "enum": ["link"] }),
        example: json!("link"),
    };
    let cursor = Parameter {
        place: "query",
        required: false,
        name: "cursor",
        about: "Goes on where an earlier page of the same search ended: its `next`, and nothing else.",
        schema: json!({ "type": "string", "pattern": "^[A-Za-z0-9_-]+$" }),
        example: json!("AAAAAAAAAAAAGqIz9YAAAA"),
    };
    let example = json!({ "hits": [{ "chat_id": CHAT, "message": message(), "marks": [[0, 5]] }], "next": null });
    vec![Told {
        method: "GET",
        path: "/search",
        id: "search",
        summary: "Find what was said",
        about: "In the chats that one is a member of now, newest first. Words are found in any order, and the last one, from two \
                letters on, as a beginning; `\"a phrase\"` as it stands; `-word` says what is not to be there. Case, accents and \
                compatibility forms make no difference (NFKC). In Chinese, Japanese, Korean, Thai, Lao, Khmer and Burmese any part \
                is found; an emoji is a word. What has no words to be found finds nothing. A message is found a moment after it was \
                said. A page may be short, where looking took too long (`limits.search_ms`): only a null `next` is the end. Pages \
                neither repeat nor skip anything when messages come meanwhile.",
        tag: "Search",
        parameters: vec![
            q,
            filter("chat_id", "Only in this chat.", CHAT),
            filter("from", "Only what this person said.", "bob"),
            time("since", "Only from then on."),
            time("until", "Only up to then."),
            has,
            cursor,
            limit(),
        ],
        body: None,
        answers: ok("A page.", hits, example),
        faults: vec![TOO_LONG],
    }]
}
