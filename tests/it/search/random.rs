//! What a search finds is what a look at every message would find, whatever was said and whatever is asked.

use natter::words::query::Query;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{all, finds, search, sorted, texts};
use crate::harness::{Server, until};

/// Words of many scripts, as people type them; some begin like others, some differ in case and accents alone.
const SAID: [&str; 40] = [
    "tea",
    "Team",
    "TEAR",
    "té",
    "te",
    "green",
    "Grün",
    "grun",
    "naïve",
    "Straße",
    "strasse",
    "don't",
    "x",
    "東京",
    "東京都",
    "京都",
    "東",
    "ラーメン",
    "メン",
    "한국어",
    "국어",
    "กาแฟ",
    "แฟน",
    "ร้อน",
    "👍",
    "👍🏽",
    "👩‍🚀",
    "❤️",
    "שלום",
    "שָׁלוֹם",
    "مُحَمَّد",
    "محمد",
    "می‌خواهم",
    "हिन्दी",
    "https://example.org/tea?x=1",
    "zoom.us",
    "C++",
    "№",
    "①",
    "e\u{301}",
];
const BETWEEN: [&str; 7] = [" ", "  ", ", ", "-", "", "\n", "\" "];

fn text(random: &mut StdRng, words: usize) -> String {
    let mut text = String::new();
    for _ in 0..words {
        text += SAID[random.random_range(0..SAID.len())];
        text += BETWEEN[random.random_range(0..BETWEEN.len())];
    }
    text
}

/// What somebody might type: words and pieces of words, some refused, some in quotes.
fn query(random: &mut StdRng) -> String {
    let mut query = String::new();
    for _ in 0..random.random_range(1..4) {
        let word = SAID[random.random_range(0..SAID.len())];
        let chars: Vec<char> = word.chars().collect();
        let piece: String = match random.random_range(0..3) {
            0 => chars[..random.random_range(1..=chars.len())].iter().collect(),
            _ => word.to_owned(),
        };
        query += match random.random_range(0..6) {
            0 => "-",
            1 => "\"",
            _ => "",
        };
        query += &piece;
        query += BETWEEN[random.random_range(0..BETWEEN.len())];
    }
    query
}

#[tokio::test]
async fn a_search_finds_what_a_look_at_every_message_finds() {
    let server = Server::with(&[("limits.rates", "off"), ("limits.search_ms", "10000")]).await;
    let (ann, bob) = server.two_people().await;
    let rooms = [ann.private(&bob).await, ann.group("tea", [&bob]).await, ann.group("not bob's", []).await];
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut said = Vec::new();
    for number in 0..150 {
        let room = random.random_range(0..rooms.len());
        let words = random.random_range(1..6);
        let text = format!("{} n{number}", text(&mut random, words));
        ann.post(&rooms[room], &text).await;
        if room < 2 {
            said.insert(0, text);
        }
    }
    ann.post(&rooms[0], "the last needle").await;
    said.insert(0, "the last needle".to_owned());
    finds(&bob, "needle", &[], &["the last needle"]).await;
    for _ in 0..150 {
        let q = query(&mut random);
        let Ok(query) = Query::parse(&q, 16) else { continue };
        if q.trim().is_empty() {
            continue;
        }
        let expected: Vec<_> = said.iter().filter_map(|text| Some((text.clone(), query.find(text)?))).collect();
        let what = format!("{q:?} to find all of {expected:?}");
        until(&what, async || sorted(all(&bob, &q, &[("limit", "50")]).await) == sorted(expected.clone())).await;
    }
}

/// The same without natter's own way of looking at a text: of plain words, and of parts of Japanese.
#[tokio::test]
async fn plain_words_and_parts_of_japanese_are_found_where_they_are_and_nowhere_else() {
    const WORDS: [&str; 6] = ["tea", "team", "green", "blue", "water", "wave"];
    const SIGNS: [char; 4] = ['東', '京', '都', '市'];
    let server = Server::with(&[("limits.rates", "off"), ("limits.search_ms", "10000")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let mut random = StdRng::seed_from_u64(7);
    let mut said: Vec<(Vec<&str>, String)> = Vec::new();
    for _ in 0..80 {
        let words: Vec<&str> = (0..3).map(|_| WORDS[random.random_range(0..WORDS.len())]).collect();
        let signs: String = (0..6).map(|_| SIGNS[random.random_range(0..SIGNS.len())]).collect();
        ann.post(&room, &format!("{} {signs}", words.join(" "))).await;
        said.insert(0, (words, signs));
    }
    let shown = |(words, signs): &(Vec<&str>, String)| format!("{} {signs}", words.join(" "));
    for first in WORDS {
        for last in ["te", "tea", "wa", "gree", "blue"] {
            let has = |(words, _): &&(Vec<&str>, String)| {
                words.contains(&first) && words.iter().any(|word| word.starts_with(last))
            };
            let expected: Vec<String> = said.iter().filter(has).map(shown).collect();
            let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
            finds(&bob, &format!("{first} {last}"), &[("limit", "100")], &expected).await;
        }
    }
    for part in ["東", "東京", "京都市", "市市", "都東京都", "東京都市東京"] {
        let expected: Vec<String> = said.iter().filter(|(_, signs)| signs.contains(part)).map(shown).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        finds(&bob, part, &[("limit", "100")], &expected).await;
    }
}

#[tokio::test]
async fn whatever_somebody_types_is_answered() {
    const PIECES: [&str; 30] = [
        "\"",
        "'",
        "(",
        ")",
        "*",
        "^",
        "-",
        "--",
        "+",
        ":",
        "AND",
        "OR",
        "NOT",
        "NEAR(",
        "terms:",
        "{",
        "}",
        "\\",
        "%",
        "\u{0}",
        "\u{e000}te",
        "\u{e003}",
        "東",
        "👩‍🚀",
        "\u{301}",
        "\u{202e}",
        "$where",
        ";",
        "x",
        " ",
    ];
    let server = Server::with(&[("limits.rates", "off")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    ann.post(&room, "x NOT AND near terms te 東 👩‍🚀").await;
    finds(&bob, "terms", &[], &["x NOT AND near terms te 東 👩‍🚀"]).await;
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..400 {
        let q: String = (0..random.random_range(1..12)).map(|_| PIECES[random.random_range(0..PIECES.len())]).collect();
        let answer = search(&bob, &q, &[]).await;
        match q.trim().is_empty() || Query::parse(&q, 16).is_err() {
            true => drop(answer.refused_field("q")),
            false => {
                let found = Query::parse(&q, 16).expect("few words").find("x NOT AND near terms te 東 👩‍🚀");
                assert_eq!(texts(&super::hits(&answer.ok())).len(), usize::from(found.is_some()), "{q:?}");
            }
        }
    }
}
