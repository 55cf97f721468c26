//! What a query asks for: words in any order, the last one as a beginning, `"a phrase"`, `-word` not.

use super::cut::{Cell, Cut, Kind, term};

/// A word that may go on has at least so many characters; a shorter one is whole.
const OPEN_CHARS: usize = 2;

/// Where something stands, in characters of the text: from `0`, up to `1`.
pub type Mark = (u32, u32);

#[derive(Debug, Clone, Default)]
pub struct Query {
    items: Vec<Item>,
}

#[derive(Debug, Clone)]
struct Item {
    /// One after the other.
    cells: Cut,
    /// It is not to be there.
    refused: bool,
    /// The last word of it may go on.
    open: bool,
}

/// What an index is asked for. All of them together may find more than the query asks for, and never less.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// These terms, one after the other.
    Terms(Vec<String>),
    /// A word that begins so.
    Beginning(String),
    /// This character of a script without spaces, wherever it stands.
    Unit(String),
    /// Texts with these terms one after the other are not asked for. (There are more that are not.)
    Without(Vec<String>),
}

/// More words than may be asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct TooManyWords;

impl Query {
    /// Of what somebody typed, whatever it is.
    pub fn parse(text: &str, most_words: usize) -> Result<Self, TooManyWords> {
        let (mut items, mut words, mut rest) = (Vec::new(), 0, text.trim());
        while !rest.is_empty() {
            let refused = rest.starts_with('-');
            let begun = rest.strip_prefix('-').unwrap_or(rest);
            let (piece, quoted, after) = match begun.strip_prefix('"') {
                Some(phrase) => {
                    let (phrase, after) = phrase.split_once('"').unwrap_or((phrase, ""));
                    (phrase, true, after)
                }
                None => {
                    let end = begun.find(|c: char| c.is_whitespace() || c == '"').unwrap_or(begun.len());
                    (&begun[..end], false, &begun[end..])
                }
            };
            rest = after.trim_start();
            let cells = Cut::of(piece);
            words += cells.cells.iter().filter(|cell| !cell.joined).count();
            if words > most_words {
                return Err(TooManyWords);
            }
            let open = !quoted
                && !refused
                && rest.is_empty()
                && cells.cells.last().is_some_and(|last| may_go_on(&cells, last));
            if !cells.cells.is_empty() {
                items.push(Item { cells, refused, open });
            }
        }
        Ok(Self { items })
    }

    /// There is nothing in it that is to be found.
    pub fn finds_nothing(&self) -> bool {
        self.items.iter().all(|item| item.refused)
    }

    /// Where a text has what is asked for, sorted and apart from each other; `None` where it does not.
    pub fn find(&self, text: &str) -> Option<Vec<Mark>> {
        if self.finds_nothing() {
            return None;
        }
        let text = Cut::of(text);
        let mut marks = Vec::new();
        for item in &self.items {
            let before = marks.len();
            marks.extend(item.places(&text));
            match item.refused {
                true if marks.len() > before => return None,
                false if marks.len() == before => return None,
                _ => {}
            }
        }
        marks.sort_unstable();
        marks.dedup_by(|next, before| {
            let touches = next.0 < before.1;
            if touches {
                before.1 = before.1.max(next.1);
            }
            touches
        });
        Some(marks)
    }

    pub fn lookups(&self) -> Vec<Lookup> {
        self.items.iter().flat_map(Item::lookups).collect()
    }
}

fn may_go_on(cut: &Cut, cell: &Cell) -> bool {
    cell.kind == Kind::Word && cut.text(cell).chars().nth(OPEN_CHARS - 1).is_some()
}

impl Item {
    fn places<'a>(&'a self, text: &'a Cut) -> impl Iterator<Item = Mark> + 'a {
        let length = self.cells.cells.len();
        text.cells
            .windows(length)
            .filter(|here| self.stands(text, here))
            .map(|here| (here[0].start, here[here.len() - 1].end))
    }

    fn stands(&self, text: &Cut, here: &[Cell]) -> bool {
        let own = &self.cells.cells;
        own.iter().zip(here).enumerate().all(|(at, (own, there))| {
            let (word, found) = (self.cells.text(own), text.text(there));
            let open = self.open && at + 1 == here.len();
            // Where two characters stand apart in what is asked for, they do in the text.
            own.kind == there.kind
                && (at == 0 || own.joined == there.joined)
                && if open { found.starts_with(word) } else { found == word }
        })
    }

    fn lookups(&self) -> Vec<Lookup> {
        let cells = &self.cells.cells;
        let (Some(last), mut terms) = (cells.last(), self.cells.terms().map(str::to_owned).collect::<Vec<_>>()) else {
            return Vec::new();
        };
        if self.refused {
            // A word that is cut off is not known to be this one, and a unit at the end may go on.
            let is_whole = |cell: &Cell| self.cells.text(cell) == term(self.cells.text(cell));
            if last.kind == Kind::Unit && last.joined {
                terms.pop();
            }
            return if cells.iter().all(is_whole) { vec![Lookup::Without(terms)] } else { Vec::new() };
        }
        let mut lookups = Vec::new();
        if last.kind == Kind::Unit {
            // Two neighbours name it already, or it is by itself and may have another behind it.
            terms.pop();
            if !last.joined {
                lookups.push(Lookup::Unit(self.cells.text(last).to_owned()));
            }
        } else if self.open {
            terms.pop();
            lookups.push(Lookup::Beginning(term(self.cells.text(last)).to_owned()));
        }
        if !terms.is_empty() {
            lookups.push(Lookup::Terms(terms));
        }
        lookups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(query: &str, text: &str) -> Option<Vec<Mark>> {
        Query::parse(query, 16).expect("few words").find(text)
    }

    #[test]
    fn words_are_found_in_any_order_and_the_last_one_as_a_beginning() {
        assert_eq!(find("tea green", "Green TEA, please"), Some(vec![(0, 5), (6, 9)]));
        assert_eq!(find("tea gre", "Green TEA, please"), Some(vec![(0, 5), (6, 9)]));
        assert_eq!(find("gre tea", "Green TEA, please"), None);
        assert_eq!(find("g", "Green"), None);
        assert_eq!(find("g", "plan G"), Some(vec![(5, 6)]));
        assert_eq!(find("zoom.u", "zoom us"), None);
        assert_eq!(find("zoom.us", "at zoom USA"), Some(vec![(3, 11)]));
    }

    #[test]
    fn a_phrase_stands_as_it_is_and_what_is_refused_does_not() {
        assert_eq!(find("\"green tea\"", "a green tea"), Some(vec![(2, 11)]));
        assert_eq!(find("\"green te\"", "a green tea"), None);
        assert_eq!(find("\"tea green\"", "a green tea"), None);
        assert_eq!(find("tea -green", "a green tea"), None);
        assert_eq!(find("tea -gre", "a green tea"), Some(vec![(8, 11)]));
        assert_eq!(find("tea -\"tea green\"", "a green tea"), Some(vec![(8, 11)]));
        assert_eq!(find("\"green", "a green tea"), Some(vec![(2, 7)]));
    }

    #[test]
    fn scripts_without_spaces_are_found_by_any_part() {
        assert_eq!(find("京都", "東京都 京都"), Some(vec![(1, 3), (4, 6)]));
        assert_eq!(find("東京都", "東京 京都"), None);
        assert_eq!(find("都", "東京都"), Some(vec![(2, 3)]));
        assert_eq!(find("\"東 京\"", "大東 京都"), Some(vec![(1, 4)]));
        assert_eq!(find("\"東 京\"", "東京"), None);
        assert_eq!(find("แฟ", "กาแฟร้อน"), Some(vec![(2, 4)]));
        assert_eq!(find("手机", "iPhone手机"), Some(vec![(6, 8)]));
        assert_eq!(find("-京 東", "東京"), None);
    }

    #[test]
    fn emoji_are_words_and_marks_count_characters() {
        assert_eq!(find("👍", "well 👍🏽!"), Some(vec![(5, 7)]));
        assert_eq!(find("strasse", "e\u{301} Straße"), Some(vec![(3, 9)]));
        assert_eq!(find("aa", "aaa aab"), Some(vec![(0, 3), (4, 7)]));
        assert_eq!(find("ああ", "あああ"), Some(vec![(0, 3)]), "overlapping places are one");
    }

    #[test]
    fn what_has_no_words_finds_nothing() {
        for query in ["", "\"", "\"\"", "-", "- -", "-tea", "!?", "。", "-\"", "\u{301}"] {
            assert_eq!(find(query, "tea \" - ! 。"), None, "{query:?}");
            assert!(Query::parse(query, 16).expect("few").finds_nothing());
        }
    }

    #[test]
    fn words_are_counted_however_they_are_written() {
        assert!(Query::parse("1 2 3", 3).is_ok());
        for query in ["1 2 3 4", "1.2.3.4", "\"1 2 3 4\"", "-1 -2 -3 -4", "あ あ あ あ", "👍👍👍👍"] {
            assert_eq!(Query::parse(query, 3).err(), Some(TooManyWords), "{query}");
        }
        assert!(Query::parse("あああああああ", 1).is_ok());
    }

    #[test]
    fn an_index_is_asked_in_terms() {
        let lookups = |query: &str| Query::parse(query, 16).expect("few").lookups();
        let terms = |terms: &[&str]| Lookup::Terms(terms.iter().map(|term| (*term).to_owned()).collect());
        assert_eq!(lookups("tea gre"), [terms(&["tea"]), Lookup::Beginning("gre".into())]);
        assert_eq!(lookups("zoom.us"), [Lookup::Beginning("us".into()), terms(&["zoom"])]);
        assert_eq!(lookups("東京都"), [terms(&["東京", "京都"])]);
        assert_eq!(lookups("\"a 東 b\""), [terms(&["a", "東", "b"])]);
        assert_eq!(lookups("\"a 東\""), [Lookup::Unit("東".into()), terms(&["a"])]);
        assert_eq!(lookups("-東京 x"), [Lookup::Without(vec!["東京".into()]), terms(&["x"])]);
    }
}
