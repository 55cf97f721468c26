//! Writes settings down as TOML, with secrets masked: what `natter check-config` prints.

use figment::value::{Num, Value};

use super::{
    Config, check, flatten,
    load::Loaded,
    mask::{self, MASK},
};

/// Every setting; where a value is not the default, a comment says which source gave it.
pub fn toml(loaded: &Loaded) -> String {
    let defaults = flatten(&Config::default());
    let mut text = String::new();
    let mut section = "";
    let all = flatten(&loaded.config);
    for (key, value) in &all {
        let (of, name) = key.split_once('.').expect("a key has a section");
        if of != section {
            let gap = if section.is_empty() { "" } else { "\n" };
            text.push_str(&format!("{gap}[{of}]\n"));
            section = of;
        }
        let shown = literal(&masked(key, value));
        let origin = loaded.origins.get(key).filter(|_| defaults.get(key) != Some(value));
        text.push_str(&match origin {
            Some(origin) => format!("{name} = {shown} # {}\n", origin.to_string().replace(char::is_control, "?")),
            None => format!("{name} = {shown}\n"),
        });
    }
    text
}

fn masked(key: &str, value: &Value) -> Value {
    match value.as_str() {
        Some("") => value.clone(),
        Some(_) if key == "auth.secret_key" => Value::from(MASK),
        Some(url) if check::is_secret(key) => Value::from(mask::urls(url)),
        _ => value.clone(),
    }
}

/// A value as TOML writes it.
fn literal(value: &Value) -> String {
    match value {
        Value::String(_, text) => quoted(text),
        Value::Char(_, char) => quoted(&char.to_string()),
        Value::Bool(_, value) => value.to_string(),
        Value::Num(_, Num::F32(value)) => format!("{value:?}"),
        Value::Num(_, Num::F64(value)) => format!("{value:?}"),
        Value::Num(_, number) => number
            .to_i128()
            .map(|value| value.to_string())
            .or_else(|| number.to_u128().map(|value| value.to_string()))
            .unwrap_or_default(),
        Value::Array(_, values) => format!("[{}]", values.iter().map(literal).collect::<Vec<_>>().join(", ")),
        Value::Dict(..) | Value::Empty(..) => "\"\"".into(),
    }
}

/// JSON's escapes are TOML's, but for DEL, which TOML wants escaped.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}
