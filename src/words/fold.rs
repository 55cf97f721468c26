//! A text as it is compared, character by character, each with where it stands in the text as it was written.

use caseless::default_case_fold_str;
use unicode_normalization::{UnicodeNormalization, char::canonical_combining_class};

/// A character of the folded text, and the characters of the written one that it comes from: `start..end`, counted in characters.
#[derive(Clone, Copy)]
pub(super) struct Folded {
    pub c: char,
    pub start: u32,
    pub end: u32,
}

/// Everything of a text, in order; what is an accent, or unseen, is left out.
pub(super) fn fold(text: &str, mut each: impl FnMut(Folded)) {
    let mut chars = text.chars().peekable();
    let (mut at, mut cluster) = (0, String::new());
    while let Some(first) = chars.next() {
        let start = at;
        at += 1;
        let goes_on = chars.peek().is_some_and(|next| !next.is_ascii() && continues(*next));
        if first.is_ascii() && !goes_on {
            each(Folded { c: first.to_ascii_lowercase(), start, end: at });
            continue;
        }
        cluster.clear();
        cluster.push(first);
        while let Some(next) = chars.next_if(|next| continues(*next)) {
            cluster.push(next);
            at += 1;
        }
        let bare: String = cluster.nfkd().filter(|c| !is_dropped(*c)).collect();
        let folded: String = default_case_fold_str(&bare).nfkd().filter(|c| !is_dropped(*c)).collect();
        folded.nfkc().for_each(|c| each(Folded { c, start, end: at }));
    }
}

/// What belongs to the character before it: marks, the vowels and ends of Korean syllables, the sounds of halfwidth Japanese.
fn continues(c: char) -> bool {
    canonical_combining_class(c) != 0
        || is_dropped(c)
        || matches!(c, '\u{1160}'..='\u{11ff}' | '\u{d7b0}'..='\u{d7ff}' | '\u{ff9e}' | '\u{ff9f}')
}

/// Accents, points and what has no look of its own. The vowels of other scripts are marks too, and stay.
fn is_dropped(c: char) -> bool {
    matches!(c,
        // Accents of Latin, Greek and Cyrillic; of symbols; halves of them.
        '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}'
        | '\u{20d0}'..='\u{20f0}' | '\u{fe20}'..='\u{fe2f}'
        // Points of Hebrew and Arabic, and the stroke that makes an Arabic word longer.
        | '\u{591}'..='\u{5bd}' | '\u{5bf}' | '\u{5c1}' | '\u{5c2}' | '\u{5c4}' | '\u{5c5}' | '\u{5c7}'
        | '\u{610}'..='\u{61a}' | '\u{640}' | '\u{64b}'..='\u{65f}' | '\u{670}' | '\u{6d6}'..='\u{6dc}'
        | '\u{6df}'..='\u{6e4}' | '\u{6e7}' | '\u{6e8}' | '\u{6ea}'..='\u{6ed}'
        // Joiners, hyphens that may be seen, marks of direction, variations, the skin of an emoji.
        | '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}' | '\u{e0000}'..='\u{e01ef}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(text: &str) -> String {
        let mut all = String::new();
        fold(text, |folded| all.push(folded.c));
        all
    }

    #[test]
    fn what_people_take_for_the_same_is_the_same() {
        for (one, other) in [
            ("Straße", "STRASSE"),
            ("café", "CAFE\u{301}"),
            ("İstanbul", "istanbul"),
            ("ﬁne", "fine"),
            ("ｶﾞｷﾞ", "ガギ"),
            ("か\u{3099}", "が"),
            ("\u{1112}\u{1161}\u{11ab}", "한"),
            ("ё", "е"),
            ("שָׁלוֹם", "שלום"),
            ("مُحَمَّد", "محمد"),
            ("می\u{200c}خواهم", "میخواهم"),
            ("👍🏽", "👍"),
            ("❤\u{fe0f}", "❤"),
            ("ΑΘΗΝΑ", "αθήνα"),
        ] {
            assert_eq!(folded(one), folded(other), "{one} {other}");
        }
        for (one, other) in [("が", "か"), ("กา", "กี"), ("की", "का"), ("a", "b")] {
            assert_ne!(folded(one), folded(other), "{one} {other}");
        }
    }

    #[test]
    fn places_are_counted_in_characters_as_written() {
        let mut places = Vec::new();
        fold("ae\u{301}ß한", |folded| places.push((folded.c, folded.start, folded.end)));
        assert_eq!(places, [('a', 0, 1), ('e', 1, 3), ('s', 3, 4), ('s', 3, 4), ('한', 4, 5)]);
    }
}
