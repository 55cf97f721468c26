//! What a client may say on a socket. It knows the words, not what comes of them.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::types::{Seq, whole};

/// Where a reader stood when it left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Since {
    pub seq: Seq,
    pub epoch: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `None`: from now on.
    Subscribe {
        chats: BTreeMap<String, Option<Since>>,
        all: bool,
    },
    Unsubscribe {
        chats: Vec<String>,
    },
    Post {
        chat_id: String,
        content: String,
        client_id: Option<String>,
    },
    Edit {
        chat_id: String,
        message_id: String,
        content: String,
        client_id: Option<String>,
    },
    Delete {
        chat_id: String,
        message_id: String,
        client_id: Option<String>,
    },
    Read {
        chat_id: String,
        seq: Seq,
    },
    Typing {
        chat_id: String,
    },
    Auth {
        token: String,
    },
    Ping,
}

#[derive(Debug, PartialEq, Eq)]
pub struct BadFrame {
    pub code: &'static str,
    pub detail: String,
}

impl BadFrame {
    fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }

    /// Ten of these close the socket; other bad frames do not.
    pub fn is_not_json(&self) -> bool {
        self.code == NOT_JSON
    }
}

const NOT_JSON: &str = "not_json";
const NO_OBJECT: &str = "A frame is a JSON object, each field given once.";

/// Every field any frame may have, unread. Unknown ones are passed over.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Fields<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    req: Option<&'a RawValue>,
    #[serde(borrow)]
    chats: Option<&'a RawValue>,
    #[serde(borrow)]
    all: Option<&'a RawValue>,
    #[serde(borrow)]
    since: Option<&'a RawValue>,
    #[serde(borrow)]
    chat_id: Option<&'a RawValue>,
    #[serde(borrow)]
    message_id: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    client_id: Option<&'a RawValue>,
    #[serde(borrow)]
    seq: Option<&'a RawValue>,
    #[serde(borrow)]
    token: Option<&'a RawValue>,
}

/// A post as nearly all are written.
#[derive(Deserialize)]
pub struct Post<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    pub req: Option<&'a RawValue>,
    #[serde(borrow)]
    pub chat_id: Cow<'a, str>,
    pub content: String,
    #[serde(borrow)]
    pub client_id: Option<Text<'a>>,
    // Known fields of other frames, which nobody may give twice either.
    #[serde(rename = "chats")]
    _chats: Option<IgnoredAny>,
    #[serde(rename = "all")]
    _all: Option<IgnoredAny>,
    #[serde(rename = "since")]
    _since: Option<IgnoredAny>,
    #[serde(rename = "message_id")]
    _message_id: Option<IgnoredAny>,
    #[serde(rename = "message")]
    _message: Option<IgnoredAny>,
    #[serde(rename = "seq")]
    _seq: Option<IgnoredAny>,
    #[serde(rename = "token")]
    _token: Option<IgnoredAny>,
}

/// Where it stands, if it has no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// A frame of `GET /ws` where it is a good post, read in one go; of any other [`parse`] says what it is.
pub fn parse_post(text: &str) -> Option<Post<'_>> {
    // A list of a post's values would be taken for one.
    let object = text.trim_start().starts_with('{');
    object.then(|| serde_json::from_str(text).ok()).flatten().filter(|post: &Post<'_>| post.kind == "post")
}

/// A frame of `GET /ws`: what the client wants to have echoed, and what it asks.
pub fn parse(text: &str) -> (Option<&RawValue>, Result<Command, BadFrame>) {
    match fields(text) {
        Ok(fields) => (fields.req, command(&fields)),
        Err(bad) => (None, Err(bad)),
    }
}

/// A frame of `GET /ws/chat/{chat_id}`: content and client_id of a post.
pub fn parse_one_room(text: &str) -> Result<(String, Option<String>), BadFrame> {
    let fields = fields(text)?;
    Ok((need(fields.message, "message", "a text")?, may(fields.client_id, "client_id", "a text")?))
}

fn fields(text: &str) -> Result<Fields<'_>, BadFrame> {
    if text.trim_start().starts_with('[') && serde_json::from_str::<IgnoredAny>(text).is_ok() {
        return Err(BadFrame::new("bad_frame", NO_OBJECT));
    }
    serde_json::from_str(text).map_err(|error| {
        if error.is_data() {
            BadFrame::new("bad_frame", NO_OBJECT)
        } else {
            BadFrame::new(NOT_JSON, format!("This is not JSON ({error}); send one JSON object a frame."))
        }
    })
}

fn command(fields: &Fields<'_>) -> Result<Command, BadFrame> {
    let kind: String = need(fields.kind, "type", "a text")?;
    let chat_id = || need(fields.chat_id, "chat_id", "a text");
    let message_id = || need(fields.message_id, "message_id", "a text");
    Ok(match &*kind {
        "subscribe" => subscribe(fields)?,
        "unsubscribe" => Command::Unsubscribe { chats: need(fields.chats, "chats", "a list of chat ids")? },
        "post" => Command::Post {
            chat_id: chat_id()?,
            content: need(fields.content, "content", "a text")?,
            client_id: may(fields.client_id, "client_id", "a text")?,
        },
        "edit" => Command::Edit {
            chat_id: chat_id()?,
            message_id: message_id()?,
            content: need(fields.content, "content", "a text")?,
            client_id: may(fields.client_id, "client_id", "a text")?,
        },
        "delete" => Command::Delete {
            chat_id: chat_id()?,
            message_id: message_id()?,
            client_id: may(fields.client_id, "client_id", "a text")?,
        },
        "read" => Command::Read { chat_id: chat_id()?, seq: need::<Whole>(fields.seq, "seq", "a number from 0")?.0 },
        "typing" => Command::Typing { chat_id: chat_id()? },
        "auth" => Command::Auth { token: need(fields.token, "token", "a text")? },
        "ping" => Command::Ping,
        _ => {
            let known = "subscribe, unsubscribe, post, edit, delete, read, typing, auth or ping";
            return Err(BadFrame::new("unknown_type", format!("There is no frame of this type; send {known}.")));
        }
    })
}

#[derive(Deserialize)]
struct Whole(#[serde(deserialize_with = "whole")] u64);

/// `{"since":17,"epoch":"…"}`, or just the number.
#[derive(Deserialize)]
#[serde(untagged)]
enum SinceForm {
    Seq(#[serde(deserialize_with = "whole")] Seq),
    Full {
        #[serde(deserialize_with = "whole")]
        since: Seq,
        #[serde(default)]
        epoch: Option<String>,
    },
}

fn subscribe(fields: &Fields<'_>) -> Result<Command, BadFrame> {
    let shape = r#"an object of chat ids, each with null or {"since":17,"epoch":"…"}"#;
    let all = may(fields.all, "all", "true or false")?.unwrap_or(false);
    let (given, name) = if all { (fields.since, "since") } else { (fields.chats, "chats") };
    let chats: Option<BTreeMap<String, Option<SinceForm>>> = may(given, name, shape)?;
    let Some(chats) = chats.or_else(|| all.then(BTreeMap::new)) else {
        return Err(BadFrame::new("invalid", format!("Field chats is missing: give {shape}, or \"all\":true.")));
    };
    let since = |form| match form {
        SinceForm::Seq(seq) => Since { seq, epoch: None },
        SinceForm::Full { since, epoch } => Since { seq: since, epoch },
    };
    let chats = chats.into_iter().map(|(id, form)| (id, form.map(since))).collect();
    Ok(Command::Subscribe { chats, all })
}

fn need<'a, T: Deserialize<'a>>(field: Option<&'a RawValue>, name: &str, shape: &str) -> Result<T, BadFrame> {
    may(field, name, shape)?
        .ok_or_else(|| BadFrame::new("invalid", format!("Field {name} is missing: it must be {shape}.")))
}

fn may<'a, T: Deserialize<'a>>(field: Option<&'a RawValue>, name: &str, shape: &str) -> Result<Option<T>, BadFrame> {
    field
        .map(|raw| serde_json::from_str(raw.get()))
        .transpose()
        .map_err(|_| BadFrame::new("invalid", format!("Field {name} must be {shape}.")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn parsed(frame: &Value) -> Result<Command, BadFrame> {
        parse(&frame.to_string()).1
    }

    #[test]
    fn every_frame_of_the_contract_is_understood() {
        let at = |seq, epoch: Option<&str>| Some(Since { seq, epoch: epoch.map(str::to_owned) });
        let chats = |list: [(&str, Option<Since>); 2]| list.map(|(id, since)| (id.to_owned(), since)).into();
        let (a, b) = (("a", at(17, Some("e"))), ("b", None));
        for (frame, command) in [
            (
                json!({"type":"subscribe","chats":{"a":{"since":17,"epoch":"e"},"b":null},"new":1}),
                Command::Subscribe { chats: chats([a.clone(), b]), all: false },
            ),
            (
                json!({"type":"subscribe","all":true,"since":{"a":{"since":17,"epoch":"e"},"c":3}}),
                Command::Subscribe { chats: chats([a, ("c", at(3, None))]), all: true },
            ),
            (json!({"type":"subscribe","all":true}), Command::Subscribe { chats: BTreeMap::new(), all: true }),
            (json!({"type":"unsubscribe","chats":["a"]}), Command::Unsubscribe { chats: vec!["a".into()] }),
            (
                json!({"type":"post","chat_id":"a","content":"hi","client_id":"1"}),
                Command::Post { chat_id: "a".into(), content: "hi".into(), client_id: Some("1".into()) },
            ),
            (
                json!({"type":"edit","chat_id":"a","message_id":"m","content":"hi","client_id":"1"}),
                Command::Edit {
                    chat_id: "a".into(),
                    message_id: "m".into(),
                    content: "hi".into(),
                    client_id: Some("1".into()),
                },
            ),
            (
                json!({"type":"delete","chat_id":"a","message_id":"m"}),
                Command::Delete { chat_id: "a".into(), message_id: "m".into(), client_id: None },
            ),
            (json!({"type":"read","chat_id":"a","seq":4}), Command::Read { chat_id: "a".into(), seq: 4 }),
            (json!({"type":"read","chat_id":"a","seq":4.0}), Command::Read { chat_id: "a".into(), seq: 4 }),
            (json!({"type":"typing","chat_id":"a"}), Command::Typing { chat_id: "a".into() }),
            (json!({"type":"auth","token":"t"}), Command::Auth { token: "t".into() }),
            (json!({"type":"ping"}), Command::Ping),
        ] {
            assert_eq!(parsed(&frame), Ok(command), "{frame}");
        }
    }

    #[test]
    fn a_bad_field_is_named_and_its_request_still_echoed() {
        let (req, result) = parse(r#"{"type":"post","chat_id":7,"content":"x","req":{"n":[1]}}"#);
        assert_eq!(req.map(RawValue::get), Some(r#"{"n":[1]}"#));
        assert!(result.unwrap_err().detail.contains("chat_id"));
        assert!(parsed(&json!({"type":"read","chat_id":"a","seq":-1})).unwrap_err().detail.contains("seq"));
        assert_eq!(parsed(&json!({"type":"dance"})).unwrap_err().code, "unknown_type");
    }

    #[test]
    fn only_what_is_no_json_counts_as_that() {
        assert!(parse("{nope").1.unwrap_err().is_not_json());
        assert_eq!(parse(r#"["ping",7]"#).1.unwrap_err().code, "bad_frame");
        for json in ["[]", "1", "{}", r#"{"type":1}"#, r#"{"type":"ping","type":"ping"}"#] {
            assert!(!parse(json).1.unwrap_err().is_not_json(), "{json}");
        }
    }

    #[test]
    fn what_is_no_good_post_is_never_read_as_one() {
        for text in [
            r#"["post",null,"a","hi",null]"#,
            r#"["post",null,"a","hi",null,null,null,null,null,null,null,null]"#,
            r#"{"type":"post","chat_id":"a","content":"x","seq":1,"seq":2}"#,
            r#"{"type":"post","chat_id":"a","content":"x","content":"y"}"#,
            r#"{"type":"post","chat_id":"a","content":7}"#,
            r#"{"type":"post","content":"x"}"#,
        ] {
            assert!(parse_post(text).is_none() && parse(text).1.is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_command_or_a_clear_refusal(text in "\\PC{0,200}") {
            if let Err(bad) = parse(&text).1 {
                prop_assert!(!bad.detail.is_empty());
            }
        }

        #[test]
        fn a_post_keeps_its_content_whatever_it_is(content in "\\PC{0,100}", id in "\\PC{1,20}") {
            let frame = json!({"type":"post","chat_id":"a","content":content.clone(),"client_id":id.clone()});
            prop_assert_eq!(parsed(&frame), Ok(Command::Post { chat_id: "a".into(), content, client_id: Some(id) }));
        }

        #[test]
        fn a_post_read_in_one_go_is_what_it_is_field_by_field(
            content in "\\PC{0,40}",
            id in prop::option::of("\\PC{0,20}"),
            req in prop::option::of("[a-z]{0,5}"),
            kind in "post|ping|pos\\PC",
        ) {
            let text = json!({"type":kind,"chat_id":"é","content":content,"client_id":id,"req":req,"new":[1]}).to_string();
            let echoed = |req: Option<&RawValue>| req.map(|req| req.get().to_owned());
            let long = match parse(&text) {
                (req, Ok(Command::Post { chat_id, content, client_id })) => Some((echoed(req), chat_id, content, client_id)),
                _ => None,
            };
            let short = parse_post(&text).map(|post| {
                (echoed(post.req), post.chat_id.into_owned(), post.content, post.client_id.map(|id| id.0.into_owned()))
            });
            prop_assert_eq!(short, long);
        }
    }
}
