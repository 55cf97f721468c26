//! The page as data: its fenced blocks, what is in backticks, and the output that it promises.

/// A fenced block.
pub struct Block {
    pub language: String,
    pub text: String,
    /// The `text` block right after it: what running it prints.
    pub output: Option<String>,
}

pub fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut lines = page.lines();
    // Whether only blank lines stood between the last block and here.
    let mut follows = false;
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else {
            follows &= line.is_empty();
            continue;
        };
        let text: String = lines.by_ref().take_while(|line| *line != "```").flat_map(|line| [line, "\n"]).collect();
        match blocks.last_mut() {
            Some(before) if follows && language == "text" => before.output = Some(text),
            _ => blocks.push(Block { language: language.to_owned(), text, output: None }),
        }
        follows = true;
    }
    blocks
}

pub fn blocks_in<'a>(blocks: &'a [Block], language: &str) -> Vec<&'a Block> {
    blocks.iter().filter(|block| block.language == language).collect()
}

/// What stands in backticks within the prose.
pub fn code(page: &str) -> Vec<&str> {
    let mut fenced = false;
    let prose = page.lines().filter(move |line| {
        let fence = line.starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    });
    prose.flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

/// Output without what differs from run to run (ids, epochs, times) and without white space, which the page adds to wrap
/// long lines.
pub fn essence(output: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "-:.".contains(c);
    let mut essence = String::new();
    let mut rest = output;
    while let Some(first) = rest.chars().next() {
        let same = |c: char| is_word(c) == is_word(first);
        let (piece, after) = rest.split_at(rest.find(|c| !same(c)).unwrap_or(rest.len()));
        let changes = match piece.len() {
            36 => piece.chars().all(|c| c.is_ascii_hexdigit() || c == '-'),
            24 => piece.ends_with('Z') && piece.contains('T'),
            16 => piece.chars().all(|c| c.is_ascii_hexdigit()),
            _ => false,
        };
        if changes {
            essence.push('~');
        } else {
            essence.extend(piece.chars().filter(|c| !c.is_whitespace()));
        }
        rest = after;
    }
    essence
}

#[test]
fn output_is_compared_without_ids_times_and_line_breaks() {
    let shown = "{\"chat_id\":\"01a203f3-ee11-703e-85a5-ea5bab8e7b13\",\n \"epoch\":\"1bb58c1b6b47ac17\",\"seq\":3,\"sent_at\":\"2026-11-22T15:50:47.607Z\"}\n";
    assert_eq!(essence(shown), r#"{"chat_id":"~","epoch":"~","seq":3,"sent_at":"~"}"#);
}

#[test]
fn a_text_block_belongs_to_the_block_right_before_it() {
    let blocks = blocks("```sh\na\nb\n```\n\n```text\nc\n```\n\nProse.\n\n```text\nd\n```\n");
    let shown: Vec<_> = blocks.iter().map(|block| (&*block.language, &*block.text, block.output.as_deref())).collect();
    assert_eq!(shown, [("sh", "a\nb\n", Some("c\n")), ("text", "d\n", None)]);
}
