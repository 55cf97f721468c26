//! Settings that contradict each other: each is fine by itself, and one promises what the other takes back.
//!
//! Both are named in one sentence, with what would bring them together. The one to be blamed is the one that somebody set.

use std::collections::BTreeMap;

use figment::value::Value;

use super::{Config, flatten};

/// Pairs of which the first may not be greater than the second.
const ORDERED: &[(&str, &str)] = &[
    ("limits.page_default", "limits.page_max"),
    ("rooms.ring_bytes", "rooms.rings_bytes"),
    ("cluster.beat_millis", "cluster.silent_millis"),
    ("cluster.poll_millis", "cluster.check_millis"),
    // A page that is larger than all answers together may be could never be sent.
    ("limits.page_bytes", "limits.answer_bytes"),
    // The body is part of the request: its time would never be up.
    ("limits.body_secs", "limits.request_secs"),
];

/// Texts that clients are promised the length of, in characters, with those that go along in one request, and what must be
/// large enough for them.
const FITTING: &[(&str, &[&str], &str)] = &[
    ("limits.message_chars", &["limits.client_id_chars"], "sockets.frame_bytes"),
    ("limits.message_chars", &["limits.client_id_chars"], "limits.body_bytes"),
    ("limits.display_name_chars", &[], "limits.body_bytes"),
    ("limits.room_name_chars", &[], "limits.body_bytes"),
];

/// Bytes that one character may take: outside the first plane and written `\ud83d\ude80`, as JSON writers do that keep to ASCII.
const CHAR_BYTES: u128 = 12;

/// What a request has around its texts: the names of the fields, an id.
const AROUND_BYTES: u128 = 256;

/// A document of MongoDB has 16 MiB at most; some of them are for what surrounds a text.
const DOCUMENT_BYTES: usize = (16 << 20) - (64 << 10);

/// Bytes that one character of a stored text may take.
const STORED_CHAR_BYTES: usize = 4;

/// Everything that does not go together, as (key, what is wrong with it). `set` tells whether a source gave the key.
pub fn problems(config: &Config, set: &dyn Fn(&str) -> bool) -> Vec<(String, String)> {
    let values = flatten(config);
    let mut wrong = ordered(&values, set);
    wrong.extend(fitting(&values, set));
    let access = u128::from(config.auth.access_token_minutes);
    let login = u128::from(config.auth.refresh_token_days) * 24 * 60;
    if access > login {
        wrong.push((
            "auth.access_token_minutes".into(),
            format!(
                "must be at most {login}, the minutes of `auth.refresh_token_days` ({}), after which the login is over, not {access}",
                config.auth.refresh_token_days
            ),
        ));
    }
    if let Some(metrics) = config.server.metrics_bind.filter(|metrics| metrics.port() != 0)
        && metrics == config.server.bind
    {
        let sentence = format!("must be another address than `server.bind`, which is {metrics} too");
        wrong.push(("server.metrics_bind".into(), sentence));
    }
    let most_chars = DOCUMENT_BYTES / STORED_CHAR_BYTES;
    if config.store.url.starts_with("mongodb") && config.limits.message_chars > most_chars {
        let chars = config.limits.message_chars;
        let sentence = format!(
            "must be at most {most_chars} with MongoDB (`store.url`), whose documents have 16 MiB at most, not {chars}"
        );
        wrong.push(("limits.message_chars".into(), sentence));
    }
    wrong
}

fn ordered(values: &BTreeMap<String, Value>, set: &dyn Fn(&str) -> bool) -> Vec<(String, String)> {
    let (mut wrong, number) = (Vec::new(), |key: &str| number(values, key));
    for &(small, great) in ORDERED {
        let (less, more) = (number(small), number(great));
        if less > more {
            let (blamed, sentence) = match set(small) {
                true => (small, format!("must be at most `{great}`, which is {more}, not {less}")),
                false => (great, format!("must be at least `{small}`, which is {less}, not {more}")),
            };
            wrong.push((blamed.to_owned(), sentence));
        }
    }
    wrong
}

fn fitting(values: &BTreeMap<String, Value>, set: &dyn Fn(&str) -> bool) -> Vec<(String, String)> {
    let (mut wrong, number) = (Vec::new(), |key: &str| number(values, key));
    for &(text, others, room) in FITTING {
        let around = others.iter().map(|key| number(key) * CHAR_BYTES).sum::<u128>() + AROUND_BYTES;
        let (chars, bytes) = (number(text), number(room));
        let longest = chars * CHAR_BYTES + around;
        if longest <= bytes {
            continue;
        }
        let with = others.iter().map(|key| format!(" with `{key}` ({})", number(key))).collect::<String>();
        let (blamed, sentence) = match set(text) || !set(room) {
            true => {
                let most = bytes.saturating_sub(around) / CHAR_BYTES;
                let least = format!("set `{room}`, which is {bytes}, to {longest} or more");
                let advice = if most > 0 { format!("{least}, or this to at most {most}") } else { least };
                (text, format!("is {chars}{with}, and so many characters can take {longest} bytes: {advice}"))
            }
            false => (
                room,
                format!("must be at least {longest}, the bytes that `{text}` ({chars}){with} can take, not {bytes}"),
            ),
        };
        wrong.push((blamed.to_owned(), sentence));
    }
    wrong
}

fn number(values: &BTreeMap<String, Value>, key: &str) -> u128 {
    values.get(key).and_then(Value::to_u128).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_that_must_agree_with_another_exists() {
        let keys = flatten(&Config::default());
        let fitting = FITTING.iter().flat_map(|(text, others, room)| [&[*text, *room], *others].concat());
        for key in ORDERED.iter().flat_map(|(a, b)| [*a, *b]).chain(fitting) {
            assert!(keys.contains_key(key), "there is no {key}");
        }
    }

    #[test]
    fn the_defaults_agree_with_each_other() {
        assert_eq!(problems(&Config::default(), &|_| false), []);
    }
}
