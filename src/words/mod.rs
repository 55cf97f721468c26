//! What is looked for in texts: how a text is cut into words, what a query asks for, and where in a text it stands.
//!
//! Both stores index what [`cut::Cut::terms`] gives and ask for what [`query::Query::lookups`] gives. What an index finds may be
//! more than what was asked; [`query::Query::find`] decides by the text itself, by nothing but [`cut`]. It knows no other module.
//!
//! - Texts are compared without regard to case, accents and compatibility forms (`fold.rs`).
//! - A word is a run of letters and digits. Scripts that put no spaces between words are cut into their characters, and looked up
//!   by two neighbours. An emoji is a word.

pub mod cut;
mod fold;
pub mod query;

/// Names this way of cutting: an index that was made in another way is made anew.
pub fn version() -> String {
    let (major, minor, _) = unicode_normalization::UNICODE_VERSION;
    let (std_major, std_minor, _) = char::UNICODE_VERSION;
    let (category, script) = (unicode_properties::UNICODE_VERSION, unicode_script::UNICODE_VERSION);
    format!("1 {major}.{minor} {std_major}.{std_minor} {}.{} {}.{}", category.0, category.1, script.0, script.1)
}

/// Whether a text has a link in it.
pub fn has_link(text: &str) -> bool {
    text.match_indices("://").any(|(at, colon)| {
        let ends_with = |name: &str| {
            let begin = at.checked_sub(name.len());
            begin
                .and_then(|begin| text.as_bytes().get(begin..at))
                .is_some_and(|it| it.eq_ignore_ascii_case(name.as_bytes()))
        };
        let goes_on = || text[at + colon.len()..].starts_with(|next: char| next.is_alphanumeric() || next == '[');
        (ends_with("http") || ends_with("https")) && goes_on()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_begins_with_its_scheme_and_goes_on() {
        for text in ["http://a", "see HTTPS://example.org/x, please", "(https://[::1]/)", "é:https://例え.jp"] {
            assert!(has_link(text), "{text}");
        }
        for text in ["", "http://", "https:// example", "ftp://a", "http:/a", "a: b", "例http：//a"] {
            assert!(!has_link(text), "{text}");
        }
    }
}
