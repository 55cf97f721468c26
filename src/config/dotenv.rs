//! Reads the text of a `.env`: names and values, each with its line. What a name means is not asked here.
//!
//! A value is what is written. Nothing is put into it: `$` stands for itself everywhere, since a password has it more often
//! than a variable does. What readers of such files read differently is refused, with its line, rather than guessed at:
//!
//! | written | read as |
//! |---|---|
//! | `NAME=a "b" $c#d` | up to the end of the line, without the spaces around it |
//! | `NAME=a # why` | `a`: a `#` after a space begins a comment |
//! | `NAME='a # $b \n'` | everything between the quotes as it is, also line ends |
//! | `NAME="a\n\"b\" $c"` | the same, but `\n` `\r` `\t` `\\` `\"` `\'` `\$` and a backquote after `\` stand for one character |

/// One `NAME=value`.
#[derive(Debug, PartialEq, Eq)]
pub struct Pair {
    /// From 1: where the name stands.
    pub line: usize,
    pub name: String,
    /// The error is what is wrong with the value, and does not quote it.
    pub value: Result<String, &'static str>,
    /// A comment follows a value without quotes, which may have been meant as the rest of it.
    pub cut: bool,
    /// `${NAME}` is in it, which other readers replace, and no single quotes say that it is meant.
    pub refers: bool,
}

/// What is wrong with a line. It does not quote the line, which may hold a secret.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    pub line: usize,
    pub what: &'static str,
}

const NO_PAIR: &str = "this is not NAME=value";
const NO_END: &str = "the quote that begins here does not end";
const AFTER_END: &str = "something follows the quote that ends the value; write the whole value in one pair of quotes";
const ESCAPE: &str = "in double quotes `\\` stands before n, r, t, `\\`, `\"`, `'`, `$` or a backquote alone; in single quotes it is itself";

/// What may stand around a value.
const SPACE: [char; 2] = [' ', '\t'];

pub fn read(text: &str) -> Result<Vec<Pair>, Fault> {
    let (mut pairs, mut rest, mut line) = (Vec::new(), text, 1);
    while !rest.is_empty() {
        let here = first_line(rest);
        let taken = match here.trim_start_matches(SPACE) {
            "" => here.len(),
            comment if comment.starts_with('#') => here.len(),
            _ => {
                let (pair, taken) = pair(rest, here, line).map_err(|what| Fault { line, what })?;
                pairs.push(pair);
                taken
            }
        };
        // A quoted value may have had lines of its own; what ends its last one is taken along.
        let end = rest[taken..].find('\n').map_or(rest.len(), |at| taken + at + 1);
        line += rest[..end].matches('\n').count();
        rest = &rest[end..];
    }
    Ok(pairs)
}

/// Up to the end of the line, without it.
fn first_line(text: &str) -> &str {
    let line = text.split('\n').next().unwrap_or(text);
    line.strip_suffix('\r').unwrap_or(line)
}

/// The pair that begins `rest`, whose first line is `here`, and how many bytes it takes.
fn pair(rest: &str, here: &str, line: usize) -> Result<(Pair, usize), &'static str> {
    let (name, value) = here.split_once('=').ok_or(NO_PAIR)?;
    let name = name.trim_matches(SPACE);
    let name = match name.strip_prefix("export") {
        Some(exported) if exported.starts_with(SPACE) => exported.trim_start_matches(SPACE),
        _ => name,
    };
    if !is_name(name) {
        return Err(NO_PAIR);
    }
    let begin = here.len() - value.trim_start_matches(SPACE).len();
    let read = match rest[begin..].chars().next() {
        Some(quote @ ('\'' | '"')) => quoted(&rest[begin + 1..], quote, begin + 1)?,
        _ => plain(value, here.len()),
    };
    let pair = Pair { line, name: name.to_owned(), value: read.value, cut: read.cut, refers: read.refers };
    Ok((pair, read.taken))
}

struct Read {
    value: Result<String, &'static str>,
    cut: bool,
    refers: bool,
    taken: usize,
}

/// `text` is everything after the `=`; a `#` that follows it at once is part of the value.
fn plain(text: &str, taken: usize) -> Read {
    let comment = text.match_indices('#').map(|(at, _)| at).find(|at| text[..*at].ends_with(SPACE));
    let value = text[..comment.unwrap_or(text.len())].trim_matches(SPACE);
    Read { value: Ok(value.to_owned()), cut: comment.is_some() && !value.is_empty(), refers: refers(value), taken }
}

/// `text` begins after the quote, which is `before` bytes into the pair.
fn quoted(text: &str, quote: char, before: usize) -> Result<Read, &'static str> {
    let (mut value, mut wrong) = (String::new(), None);
    let mut chars = text.char_indices();
    let end = loop {
        match chars.next().ok_or(NO_END)? {
            (at, c) if c == quote => break at + 1,
            (_, '\\') if quote == '"' => match chars.next().ok_or(NO_END)?.1 {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                itself @ ('\\' | '"' | '\'' | '$' | '`') => value.push(itself),
                _ => wrong = Some(ESCAPE),
            },
            (_, c) => value.push(c),
        }
    };
    let after = first_line(&text[end..]);
    let is_comment = |text: &str| text.trim_start_matches(SPACE).starts_with('#') && text.starts_with(SPACE);
    if !after.trim_matches(SPACE).is_empty() && !is_comment(after) {
        wrong = Some(AFTER_END);
    }
    let refers = quote == '"' && refers(&value);
    Ok(Read { value: wrong.map_or(Ok(value), Err), cut: false, refers, taken: before + end })
}

/// As shells and other readers of `.env` have them.
fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

fn refers(value: &str) -> bool {
    value.split("${").skip(1).any(|after| after.split('}').next().is_some_and(is_name) && after.contains('}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Result<String, &'static str> {
        let pairs = read(text).map_err(|fault| fault.what)?;
        assert_eq!(pairs.len(), 1, "{text:?}");
        assert_eq!(pairs[0].name, "NAME", "{text:?}");
        pairs.into_iter().next().expect("there is one").value
    }

    #[test]
    fn a_value_is_what_is_written() {
        for (written, read) in [
            ("NAME=", ""),
            ("NAME=a", "a"),
            (" export NAME = a b ", "a b"),
            ("export\tNAME=a\r\n", "a"),
            ("NAME=pa$word", "pa$word"),
            ("NAME=${HOME}/x", "${HOME}/x"),
            ("NAME=a\"b'c", "a\"b'c"),
            ("NAME=a\\nb\\", "a\\nb\\"),
            ("NAME=a=b==", "a=b=="),
            ("NAME=a#b", "a#b"),
            ("NAME=#b", "#b"),
            ("NAME= # a comment", ""),
            ("NAME=a # a comment", "a"),
            ("NAME='a # $b \\n \"' # a comment", "a # $b \\n \""),
            ("NAME='two\r\nlines'\r\n", "two\r\nlines"),
            (r#"NAME="a\n\t\\\"\'\$ ${b} #""#, "a\n\t\\\"'$ ${b} #"),
            ("NAME=''", ""),
            ("NAME=\"\"\t", ""),
        ] {
            assert_eq!(value(written).as_deref(), Ok(read), "{written:?}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for (written, what) in [
            ("NAME='it''s'", AFTER_END),
            ("NAME=\"a\"b", AFTER_END),
            ("NAME='a'#b", AFTER_END),
            ("NAME=\"a\\qb\"", ESCAPE),
            ("NAME='a", NO_END),
            ("NAME=\"a\\\"", NO_END),
            ("NAME", NO_PAIR),
            ("NAME: a", NO_PAIR),
            ("=a", NO_PAIR),
            ("two words=a", NO_PAIR),
            ("1NAME=a", NO_PAIR),
        ] {
            assert_eq!(value(written), Err(what), "{written:?}");
        }
    }

    #[test]
    fn lines_are_counted_through_everything_that_takes_some() {
        let text = "# one\r\n\r\nA=1\r\nB='4\n5\n6' # x\n\n\texport C=\"8\"\n# 9\nD=10";
        let lines: Vec<(String, usize)> = read(text).unwrap().into_iter().map(|pair| (pair.name, pair.line)).collect();
        assert_eq!(lines, [("A".into(), 3), ("B".into(), 4), ("C".into(), 8), ("D".into(), 10)]);
        assert_eq!(read("A='1\n2'\n\nB=\"4\n5"), Err(Fault { line: 4, what: NO_END }));
    }

    #[test]
    fn what_other_readers_would_change_is_marked() {
        let pair = |text: &str| read(text).unwrap().remove(0);
        assert!(pair("A=secret #1").cut && !pair("A= # none").cut && !pair("A='secret #1'").cut);
        assert!(pair("A=${B}").refers && pair("A=\"x${B_1}\"").refers);
        assert!(!pair("A='${B}'").refers && !pair("A=$B").refers && !pair("A=${").refers && !pair("A=${}").refers);
    }
}
