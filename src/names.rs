//! What a name may hold, whatever it names: people, how they want to be called, groups. And which names are one.
//!
//! A name stands in a line with others and is all that people know somebody by. So nothing in it may be unseen, break the
//! line or turn its direction, and no username may be taken for another. It knows no other module.

use caseless::default_case_fold_str;
use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};
use unicode_security::confusable_detection::skeleton as skeleton_of;

/// What holds for every name, said of one.
pub const UNSEEN: &str = "cannot contain control, bidirectional or invisible characters";

/// Text as it is compared: two names that fold alike are one name.
pub fn fold(text: &str) -> String {
    let normal: String = text.nfkc().collect();
    default_case_fold_str(&normal).nfkc().collect()
}

/// Of a folded name: two names of one skeleton cannot be told apart by eye (Unicode TR39).
pub fn skeleton(folded: &str) -> String {
    skeleton_of(folded).collect()
}

/// Whether a username, in NFKC, is one that people can see, type and tell.
pub fn is_plain(name: &str) -> bool {
    !name.chars().any(|c| is_unseen(c) || c.general_category() == GeneralCategory::PrivateUse)
}

/// The same for names that need not be told apart: an emoji may be made of several characters, and scripts may join their
/// letters, with unseen ones between; and there only.
pub fn is_showable(name: &str) -> bool {
    let chars: Vec<char> = name.chars().collect();
    let at = |index: Option<usize>| index.and_then(|index| chars.get(index)).copied();
    let fits = |(index, c): (usize, &char)| !is_unseen(*c) || joins(at(index.checked_sub(1)), *c, at(Some(index + 1)));
    chars.iter().enumerate().all(fits)
}

/// Whether a username names no place to whoever reads it in the path of a URL: browsers and proxies take such steps away.
pub fn is_no_step(name: &str) -> bool {
    !matches!(name, "." | "..")
}

/// It breaks lines, turns the direction of what follows, or shows nothing.
fn is_unseen(c: char) -> bool {
    let by_category = matches!(
        c.general_category(),
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
            | GeneralCategory::Surrogate
    );
    by_category || is_blank(c) || c as u32 & 0xfffe == 0xfffe
}

/// What is blank or nothing by itself, whatever its category says: fillers, joiners, variation selectors, tags, what is no
/// character or reserved for more of these.
fn is_blank(c: char) -> bool {
    matches!(c, '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}')
        || matches!(c, '\u{2065}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}' | '\u{fdd0}'..='\u{fdef}')
        || matches!(c, '\u{fe00}'..='\u{fe0f}' | '\u{fff0}'..='\u{fff8}' | '\u{e0000}'..='\u{e0fff}')
}

/// Whether an unseen character does something between these two: it joins emoji or the letters of a script, or says how what
/// stands before it looks.
fn joins(before: Option<char>, c: char, after: Option<char>) -> bool {
    let Some(before) = before else { return false };
    let is_joined = |c: char| !c.is_ascii() && (!is_unseen(c) || matches!(c, '\u{fe0e}' | '\u{fe0f}'));
    match c {
        '\u{200c}' | '\u{200d}' => is_joined(before) && after.is_some_and(is_joined),
        '\u{fe0e}' | '\u{fe0f}' => {
            let is_key = before.is_ascii_digit() || matches!(before, '#' | '*');
            if before.is_ascii() { is_key && after == Some('\u{20e3}') } else { !is_unseen(before) }
        }
        // Between Mongolian letters.
        '\u{180b}'..='\u{180e}' => ('\u{1820}'..='\u{18aa}').contains(&before),
        // The flags of Scotland and others: a black flag, then a region in tags.
        '\u{e0020}'..='\u{e007f}' => before == '\u{1f3f4}' || ('\u{e0020}'..='\u{e007e}').contains(&before),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_twice_changes_nothing() {
        for text in ["Straße", "İstanbul", "ΐ", "ŉ", "Ｑ", "한국어", "ǅ", "\u{1e9e}", "\u{345}a"] {
            assert_eq!(fold(&fold(text)), fold(text), "{text}");
        }
    }

    #[test]
    fn names_that_look_alike_have_one_skeleton() {
        let alike = |one: &str, other: &str| skeleton(&fold(one)) == skeleton(&fold(other));
        for other in ["аdmin", "admın", "аdmіn", "ａdmin", "ADMIN", "аԁmin", "ad\u{1d5c6}in"] {
            assert!(alike("admin", other), "{other:?}");
        }
        assert!(alike("рор", "pop") && alike("bοb", "bob"), "of one script, and of two");
        for (one, other) in [("ann", "anne"), ("jürgen", "jurgen"), ("anna", "аннa"), ("bob", "b0b"), ("ß", "s")] {
            assert!(!alike(one, other), "{one} {other}");
        }
    }

    #[test]
    fn nothing_unseen_is_in_a_name() {
        let unseen = "\0\n\u{7f}\u{85}\u{ad}\u{34f}\u{61c}\u{115f}\u{1160}\u{17b4}\u{180b}\u{180e}\u{200b}\u{200c}\u{200d}\u{200e}\u{200f}\
                      \u{2028}\u{2029}\u{202a}\u{202e}\u{2060}\u{2064}\u{2065}\u{2066}\u{2069}\u{206a}\u{2800}\u{3164}\u{fe00}\u{fe0f}\
                      \u{feff}\u{ffa0}\u{fff0}\u{fff9}\u{fffb}\u{fdd0}\u{fffe}\u{1bca0}\u{1d173}\u{e0001}\u{e0041}\u{e0100}\u{10ffff}";
        for c in unseen.chars() {
            for name in [format!("a{c}b"), format!("{c}a"), format!("a{c}"), format!("שלום{c}")] {
                assert!(!is_plain(&name), "{name:?}");
                let does_something = matches!(c, '\u{fe0f}') && name.starts_with('ש');
                assert!(is_showable(&name) == does_something, "{name:?}");
            }
        }
        assert!(!is_plain("\u{e000}"));
        for name in ["Ann Lee", "שלום", "نام", "한국어", "é", "e\u{301}", "👩🚀", "\u{1fae9}", "a\u{a0}b", "$£€"]
        {
            assert!(is_plain(name) && is_showable(name), "{name:?}");
        }
        for name in
            ["👩‍🚀", "❤️", "🏳️‍🌈", "1️⃣", "می‌خواهم", "क्‍ष", "🏴\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}"]
        {
            assert!(!is_plain(name) && is_showable(name), "{name:?}");
        }
    }
}
