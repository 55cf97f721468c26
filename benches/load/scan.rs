//! Single fields out of JSON text without parsing the rest: a subscriber looks at millions of frames and needs one number.
//!
//! Sound because of how JSON quotes: inside a string every `"` is written `\"`, so the bytes `"seq":` occur only where
//! `seq` is a key. (A nested object could hold the key as well; none of natter's events does before its own.)

/// Looks for `key` (with its quotes and colon) first where it was the last time: frames of one room look alike.
#[derive(Default, Clone, Copy)]
pub struct Hint(usize);

/// The value of `"type"`, empty where there is none.
pub fn kind(json: &[u8]) -> &[u8] {
    match json.strip_prefix(b"{\"type\":\"") {
        Some(rest) => until_quote(rest),
        None => text(json, b"\"type\":\"").unwrap_or_default(),
    }
}

/// The unsigned number that follows `key`.
pub fn number(json: &[u8], key: &[u8], hint: &mut Hint) -> Option<u64> {
    if !json.get(hint.0..).is_some_and(|rest| rest.starts_with(key)) {
        hint.0 = find(json, key)?;
    }
    let digits = &json[hint.0 + key.len()..];
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (1..=19).contains(&length).then(|| digits[..length].iter().fold(0, |n, digit| n * 10 + u64::from(digit - b'0')))
}

/// Every number that follows `key`, in their order.
pub fn numbers<'a>(mut json: &'a [u8], key: &'a [u8]) -> impl Iterator<Item = u64> + 'a {
    let mut hint = Hint::default();
    std::iter::from_fn(move || {
        let found = number(json, key, &mut hint)?;
        json = &json[hint.0 + key.len()..];
        Some(found)
    })
}

/// The string that follows `key`, which ends with the opening quote; as written, escapes and all.
pub fn text<'a>(json: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    find(json, key).map(|at| until_quote(&json[at + key.len()..]))
}

fn until_quote(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|&byte| byte == b'"').unwrap_or(bytes.len());
    &bytes[..end]
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}
