//! Texts that begin with a prefix, as a range of an ordered index: so that wildcards in a prefix mean themselves.

/// The least text greater than all that begin with `prefix`; `None` when there is none.
pub(super) fn end_of_prefix(prefix: &str) -> Option<String> {
    let mut end = prefix.to_owned();
    while let Some(last) = end.pop() {
        let next = match last {
            '\u{d7ff}' => Some('\u{e000}'),
            last => char::from_u32(last as u32 + 1),
        };
        if let Some(next) = next {
            end.push(next);
            return Some(end);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::end_of_prefix;

    #[test]
    fn the_end_of_a_prefix_is_the_next_text_that_does_not_begin_with_it() {
        assert_eq!(end_of_prefix(""), None);
        assert_eq!(end_of_prefix("an").as_deref(), Some("ao"));
        assert_eq!(end_of_prefix("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(end_of_prefix("\u{10ffff}"), None);
        assert_eq!(end_of_prefix("\u{d7ff}").as_deref(), Some("\u{e000}"));
    }
}
