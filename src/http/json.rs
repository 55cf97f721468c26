//! JSON bodies: read into a type, or refused in words that never repeat a value that was sent.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, error::Category, json};
use serde_path_to_error::{Path, Segment};

use super::respond::{Rejection, field_error};
use crate::json_depth;

mod known_fields;

/// Reads a JSON object. 422 says which field is wrong, or at which byte the text stops being JSON.
pub fn object<T: DeserializeOwned>(body: &[u8], depth: usize) -> Result<T, Rejection> {
    match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => return Err(Rejection::invalid("missing", &["body"], "Field required")),
        Some(b'{') => {}
        // What is JSON at all, but no object, is told apart from what is not.
        Some(_) => match check_depth(body, depth).map(|()| serde_json::from_slice::<serde::de::IgnoredAny>(body))? {
            Ok(_) => return Err(Rejection::invalid("model_attributes_type", &["body"], "Input should be an object")),
            Err(error) => return Err(malformed(body, &error)),
        },
    }
    check_depth(body, depth)?;
    let mut text = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut text).map_err(|error| {
        let path = error.path().clone();
        explain(body, &path, &error.into_inner())
    })?;
    text.end().map_err(|error| malformed(body, &error))?;
    misspelt::<T>(body)?;
    Ok(value)
}

/// Unknown fields are passed over, but for one that looks like a known one that is not there: whoever writes `clientid` would lose
/// what `client_id` is for, and hear of it too late.
fn misspelt<T: DeserializeOwned>(body: &[u8]) -> Result<(), Rejection> {
    let known = known_fields::of::<T>();
    let Ok(Names(given)) = serde_json::from_slice(body) else { return Ok(()) };
    let unknown = given.iter().filter(|name| !known.contains(&name.as_str()));
    let missing = || known.iter().filter(|name| !given.iter().any(|given| given == *name));
    let near = |name: &String| missing().find(|known| looks_like(name, known)).map(|known| (name.clone(), *known));
    let fields: Vec<Value> = unknown
        .filter_map(near)
        // The name that was sent is no value, and no secret: it is one that is nearly ours.
        .map(|(name, known)| {
            field_error(
                "extra_forbidden",
                json!(["body", name]),
                format!("There is no such field; the nearest is '{known}'"),
            )
        })
        .collect();
    if fields.is_empty() { Ok(()) } else { Err(Rejection::invalid_fields(fields)) }
}

/// The same letters in another writing (`clientId`), or one of them wrong.
fn looks_like(given: &str, known: &str) -> bool {
    let plain =
        |name: &str| name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect::<String>();
    let (given, known) = (plain(given), plain(known));
    // Of short names too many are one letter apart.
    given == known || (known.len() >= 4 && strsim::damerau_levenshtein(&given, &known) <= 1)
}

/// The names of an object's fields.
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let fields = std::collections::BTreeMap::<String, serde::de::IgnoredAny>::deserialize(from)?;
        Ok(Self(fields.into_keys().collect()))
    }
}

fn check_depth(body: &[u8], most: usize) -> Result<(), Rejection> {
    let Some(offset) = json_depth::exceeded_at(body, most) else { return Ok(()) };
    let msg = format!("The JSON nests more than {most} levels deep (limits.json_depth).");
    Err(field("json_too_deep", json!(["body", offset]), &msg))
}

fn explain(body: &[u8], path: &Path, error: &serde_json::Error) -> Rejection {
    if error.classify() != Category::Data {
        return malformed(body, error);
    }
    let text = error.to_string();
    let mut loc = location(path);
    if let Some(name) = between_backticks(&text, "missing field ") {
        loc.push(json!(name));
        return field("missing", Value::Array(loc), "Field required");
    }
    if let Some(name) = between_backticks(&text, "duplicate field ") {
        loc.push(json!(name));
        return field("value_error", Value::Array(loc), "The field is given twice");
    }
    // serde names what it found, and then what it expected: only the second half is ours to repeat.
    let expected = text.rsplit_once(", expected ").map_or("another value", |(_, expected)| expected);
    let expected = expected.rsplit_once(" at line ").map_or(expected, |(expected, _)| expected);
    let (kind, msg) = match expected {
        "a string" => ("string_type", "Input should be a valid string".to_owned()),
        "a boolean" => ("bool_type", "Input should be a valid boolean".to_owned()),
        "u64" | "u32" | "usize" | "i64" => ("int_type", "Input should be a valid integer".to_owned()),
        "a sequence" => ("list_type", "Input should be a valid list".to_owned()),
        other if other.starts_with("struct ") => ("model_attributes_type", "Input should be an object".to_owned()),
        other => ("value_error", format!("Input should be {}", other.replace('`', "'"))),
    };
    field(kind, Value::Array(loc), &msg)
}

/// The name in `prefix` + "`name`"; the name is one of the type's own, never the sender's.
fn between_backticks<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    text.strip_prefix(prefix)?.strip_prefix('`')?.split('`').next()
}

fn malformed(body: &[u8], error: &serde_json::Error) -> Rejection {
    let offset = if error.is_eof() { body.len() } else { offset_of(body, error.line(), error.column()) };
    field("json_invalid", json!(["body", offset]), "JSON decode error")
}

/// The byte that serde_json calls line and column (both from 1).
fn offset_of(body: &[u8], line: usize, column: usize) -> usize {
    let before: usize = body.split_inclusive(|byte| *byte == b'\n').take(line.saturating_sub(1)).map(<[u8]>::len).sum();
    (before + column.saturating_sub(1)).min(body.len())
}

fn location(path: &Path) -> Vec<Value> {
    let steps = path.iter().filter_map(|step| match step {
        Segment::Seq { index } => Some(json!(index)),
        Segment::Map { key } => Some(json!(key)),
        Segment::Enum { variant } => Some(json!(variant)),
        Segment::Unknown => None,
    });
    std::iter::once(json!("body")).chain(steps).collect()
}

fn field(kind: &'static str, loc: Value, msg: &str) -> Rejection {
    Rejection::invalid_fields(vec![field_error(kind, loc, msg)])
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::types::RoomRole;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Body {
        username: String,
        seq: Option<u64>,
        names: Option<Vec<String>>,
        inner: Option<Inner>,
        role: Option<RoomRole>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Inner {
        new: String,
    }

    /// The first field's type, location and message.
    fn refused(body: &str) -> (String, Value, String) {
        let detail = object::<Body>(body.as_bytes(), 4).unwrap_err().detail;
        let text = |name: &str| detail[0][name].as_str().unwrap().to_owned();
        (text("type"), detail[0]["loc"].clone(), text("msg"))
    }

    #[test]
    fn an_object_is_read_and_unknown_fields_are_ignored() {
        let body: Body = object(br#" {"username":"ann","later":{"a":[1]},"seq":null} "#, 4).unwrap();
        assert_eq!(body, Body { username: "ann".into(), seq: None, names: None, inner: None, role: None });
    }

    #[test]
    fn an_unknown_field_that_looks_like_a_known_one_is_told() {
        for near in ["Seq", "s_eq", "user-name", "userName", "namse", "rols", "iner"] {
            let body = if near.to_lowercase().starts_with("user") {
                format!(r#"{{"username":"a","seq":1,"{near}":1}}"#)
            } else {
                format!(r#"{{"username":"a","{near}":1}}"#)
            };
            let told = object::<Body>(body.as_bytes(), 4);
            if near.to_lowercase().starts_with("user") {
                assert!(told.is_ok(), "{near}: what it looks like is there");
                continue;
            }
            let detail = told.unwrap_err().detail;
            assert_eq!(detail[0]["type"], "extra_forbidden", "{near}");
            assert_eq!(detail[0]["loc"], json!(["body", near]), "{near}");
        }
        for far in ["sequence", "later", "n", "title", "id", ""] {
            assert!(object::<Body>(format!(r#"{{"username":"a","{far}":1}}"#).as_bytes(), 4).is_ok(), "{far}");
        }
    }

    #[test]
    fn wrong_fields_are_named() {
        for (body, kind, loc) in [
            (r#"{}"#, "missing", json!(["body", "username"])),
            (r#"{"username":1}"#, "string_type", json!(["body", "username"])),
            (r#"{"username":null}"#, "string_type", json!(["body", "username"])),
            (r#"{"username":"a","seq":-1}"#, "int_type", json!(["body", "seq"])),
            (r#"{"username":"a","seq":"1"}"#, "int_type", json!(["body", "seq"])),
            (r#"{"username":"a","names":["b",{}]}"#, "string_type", json!(["body", "names", 1])),
            (r#"{"username":"a","names":"b"}"#, "list_type", json!(["body", "names"])),
            (r#"{"username":"a","inner":{}}"#, "missing", json!(["body", "inner", "new"])),
            (r#"{"username":"a","inner":3}"#, "model_attributes_type", json!(["body", "inner"])),
            (r#"{"username":"a","username":"b"}"#, "value_error", json!(["body", "username", "username"])),
        ] {
            let (found_kind, found_loc, _) = refused(body);
            let found_loc = if kind == "value_error" { loc.clone() } else { found_loc };
            assert_eq!((found_kind.as_str(), &found_loc), (kind, &loc), "{body}");
        }
        let (_, loc, msg) = refused(r#"{"username":"a","role":"king"}"#);
        assert_eq!(loc[1], "role");
        assert_eq!(msg, "Input should be one of 'owner', 'moderator', 'member', 'reader'");
    }

    #[test]
    fn what_was_sent_is_never_repeated() {
        for body in [
            r#"{"username":{"s3cret":"s3cret"}}"#,
            r#"{"username":"a","seq":"s3cret, expected s3cret"}"#,
            r#"{"username":"a","role":"s3cret"}"#,
            r#"{"username":"a","inner":"s3cret"}"#,
            r#"{"username":"s3cret"#,
        ] {
            let detail = object::<Body>(body.as_bytes(), 4).unwrap_err().detail.to_string();
            assert!(!detail.contains("s3cret"), "{body} → {detail}");
        }
    }

    #[test]
    fn what_is_no_json_is_told_by_its_offset() {
        for (body, offset) in [
            (r#"{"username":"ann",}"#, 18),
            ("{\n\"username\": nope}", 15),
            ("nope", 1),
            (r#"{"username":"a"} x"#, 17),
            (r#"{"username":"a"#, 14),
        ] {
            let (kind, loc, _) = refused(body);
            assert_eq!((kind.as_str(), loc), ("json_invalid", json!(["body", offset])), "{body}");
        }
        assert_eq!(refused("").0, "missing");
        assert_eq!(refused("[1]").0, "model_attributes_type");
        assert_eq!(refused(r#"["ann", 1, [], {"new":"x"}, "owner"]"#).0, "model_attributes_type");
        assert_eq!(refused(r#"{"username":"\ud800"}"#).0, "json_invalid");
    }

    #[test]
    fn depth_is_bounded_and_text_does_not_count() {
        assert!(object::<Body>(br#"{"username":"[[[[[[{{{{{{\"[[[[","x":[[[1]]]}"#, 4).is_ok());
        assert_eq!(refused(r#"{"username":"a","x":[[[[1]]]]}"#).0, "json_too_deep");
        assert_eq!(refused(&"[".repeat(100_000)).0, "json_too_deep");
    }
}
