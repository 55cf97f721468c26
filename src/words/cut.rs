//! Cutting a text into cells: words, characters of scripts without spaces, symbols. Indexes know terms, which are made of cells.

use std::{collections::BTreeSet, ops::Range};

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};
use unicode_script::{Script, UnicodeScript};

use super::fold::fold;

/// A longer word is indexed by its beginning alone; the text itself tells the rest.
const TERM_CHARS: usize = 64;

/// Stands before the beginning of a word: no text has it in a word.
const BEGINNING: char = '\u{e000}';

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Letters and digits.
    Word,
    /// One character of a script that puts no spaces between words.
    Unit,
    Symbol,
}

#[derive(Debug, Clone)]
pub(super) struct Cell {
    pub kind: Kind,
    /// In the folded text.
    text: Range<u32>,
    /// In characters of the text as it was written.
    pub start: u32,
    pub end: u32,
    /// A unit right behind another.
    pub joined: bool,
}

/// A text in cells.
#[derive(Debug, Clone, Default)]
pub struct Cut {
    folded: String,
    pub(super) cells: Vec<Cell>,
}

enum Class {
    Word,
    Unit,
    Symbol,
    Between,
}

impl Cut {
    pub fn of(text: &str) -> Self {
        let mut cut = Self { folded: String::with_capacity(text.len()), cells: Vec::new() };
        let mut before = Class::Between;
        fold(text, |folded| {
            let class = class(folded.c);
            let (kind, joined) = match (&class, &before) {
                (Class::Between, _) => {
                    before = Class::Between;
                    return;
                }
                (Class::Word, Class::Word) => {
                    cut.folded.push(folded.c);
                    let last = cut.cells.last_mut().expect("a word has begun");
                    (last.text.end, last.end) = (cut.folded.len() as u32, folded.end);
                    return;
                }
                (Class::Word, _) => (Kind::Word, false),
                (Class::Unit, Class::Unit) => (Kind::Unit, true),
                (Class::Unit, _) => (Kind::Unit, false),
                (Class::Symbol, _) => (Kind::Symbol, false),
            };
            let begin = cut.folded.len() as u32;
            cut.folded.push(folded.c);
            let text = begin..cut.folded.len() as u32;
            cut.cells.push(Cell { kind, text, start: folded.start, end: folded.end, joined });
            before = class;
        });
        cut
    }

    pub(super) fn text(&self, cell: &Cell) -> &str {
        &self.folded[cell.text.start as usize..cell.text.end as usize]
    }

    /// What an index knows the text by, in order: words, symbols, of units each two neighbours and the last by itself.
    pub fn terms(&self) -> impl Iterator<Item = &str> {
        let next_joined = |at: usize| self.cells.get(at + 1).is_some_and(|next| next.joined);
        self.cells.iter().enumerate().map(move |(at, cell)| match cell.kind {
            Kind::Unit if next_joined(at) => {
                &self.folded[cell.text.start as usize..self.cells[at + 1].text.end as usize]
            }
            _ => term(self.text(cell)),
        })
    }

    /// How its words begin, by so many characters; each once.
    pub fn beginnings(&self, lengths: &[usize]) -> BTreeSet<String> {
        let words = self.cells.iter().filter(|cell| cell.kind == Kind::Word).map(|cell| self.text(cell));
        words.flat_map(|word| lengths.iter().filter_map(|length| beginning(word, *length))).collect()
    }

    /// Each unit, once.
    pub fn units(&self) -> BTreeSet<&str> {
        self.cells.iter().filter(|cell| cell.kind == Kind::Unit).map(|cell| self.text(cell)).collect()
    }
}

/// The term that helps most to find words which begin like this one, where an index has beginnings of these lengths, ascending.
pub fn beginning_term(word: &str, lengths: &[usize]) -> Option<String> {
    lengths.iter().rev().find_map(|length| beginning(word, *length))
}

/// The term of words that begin like this one, where it is so long.
fn beginning(word: &str, length: usize) -> Option<String> {
    let (end, last) = word.char_indices().nth(length.checked_sub(1)?)?;
    Some(format!("{BEGINNING}{}", &word[..end + last.len_utf8()]))
}

/// A word as indexes know it.
pub(super) fn term(word: &str) -> &str {
    word.char_indices().nth(TERM_CHARS).map_or(word, |(end, _)| &word[..end])
}

fn class(c: char) -> Class {
    if c.is_ascii() {
        return if c.is_ascii_alphanumeric() { Class::Word } else { Class::Between };
    }
    let category = c.general_category();
    let is_mark = matches!(
        category,
        GeneralCategory::NonspacingMark | GeneralCategory::SpacingMark | GeneralCategory::EnclosingMark
    );
    if c.is_alphanumeric() || is_mark {
        if is_without_spaces(c) { Class::Unit } else { Class::Word }
    } else if category == GeneralCategory::OtherSymbol {
        // Emoji and their kind; signs of reckoning and money stand between words.
        Class::Symbol
    } else {
        Class::Between
    }
}

fn is_without_spaces(c: char) -> bool {
    const SCRIPTS: [Script; 9] = [
        Script::Han,
        Script::Hiragana,
        Script::Katakana,
        Script::Hangul,
        Script::Bopomofo,
        Script::Thai,
        Script::Lao,
        Script::Khmer,
        Script::Myanmar,
    ];
    match c.script() {
        // Signs that several of them share, as the one for a long sound.
        Script::Common | Script::Inherited => {
            c.script_extension().iter().any(|script| matches!(script, Script::Katakana | Script::Hiragana))
        }
        script => SCRIPTS.contains(&script),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(text: &str) -> String {
        Cut::of(text).terms().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn texts_are_cut_into_terms() {
        for (text, expected) in [
            ("Don't panic, zoom.us!", "don t panic zoom us"),
            ("東京都 京都", "東京 京都 都 京都 都"),
            ("iPhone手机x", "iphone 手机 机 x"),
            ("ラーメン", "ラー ーメ メン ン"),
            ("tea☕👍🏽👍", "tea ☕ 👍 👍"),
            ("naïve Ünïcode", "naive unicode"),
            ("กาแฟ", "กา าแ แฟ ฟ"),
            ("안녕 하", "안녕 녕 하"),
            ("हिन्दी", "हिन्दी"),
            ("٣ cats, snake_case", "٣ cats snake case"),
            ("\" - ( ) 。、", ""),
        ] {
            assert_eq!(terms(text), expected, "{text}");
        }
        assert_eq!(terms(&"x".repeat(100)), "x".repeat(64));
    }

    #[test]
    fn beginnings_are_of_words_alone() {
        let cut = Cut::of("tea Team a 東京");
        let all: Vec<String> = cut.beginnings(&[2, 3]).into_iter().collect();
        assert_eq!(all, ["\u{e000}te", "\u{e000}tea"]);
    }
}
