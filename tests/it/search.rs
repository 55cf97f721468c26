//! Finding what was said: words, phrases and parts, in the rooms that somebody is in now, and nothing else.

mod index;
mod random;

use natter::words::query::Mark;
use reqwest::Url;
use serde_json::{Value, json};

use crate::harness::{Answer, Person, Server, until};

/// The path of a search: `q`, and `more` as in `("limit", "2")`.
fn path(q: &str, more: &[(&str, &str)]) -> String {
    let mut url = Url::parse("http://natter/search").expect("a URL");
    url.query_pairs_mut().append_pair("q", q).extend_pairs(more);
    format!("/search?{}", url.query().expect("a query"))
}

async fn search(who: &Person, q: &str, more: &[(&str, &str)]) -> Answer {
    who.get(&path(q, more)).await
}

/// A hit: what was said, and where what was looked for stands in it.
type Hit = (String, Vec<Mark>);

fn hits(page: &Value) -> Vec<Hit> {
    let hits = page["hits"].as_array().expect("hits").iter();
    let hit = |hit: &Value| {
        let content = hit["message"]["content"].as_str().expect("a content").to_owned();
        assert_eq!(hit["chat_id"], hit["message"]["chat_id"]);
        (content, serde_json::from_value(hit["marks"].clone()).expect("marks"))
    };
    hits.map(hit).collect()
}

/// Every page, as one.
async fn all(who: &Person, q: &str, more: &[(&str, &str)]) -> Vec<Hit> {
    let (mut found, mut times, mut cursor) = (Vec::new(), Vec::new(), None::<String>);
    loop {
        let mut more = more.to_vec();
        more.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let page = search(who, q, &more).await.ok();
        found.extend(hits(&page));
        times.extend(page["hits"].as_array().expect("hits").iter().map(|hit| hit["message"]["sent_at"].to_string()));
        match page["next"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    assert!(times.is_sorted_by(|one, next| one >= next), "newest first: {times:?}");
    found
}

/// In any order: what was said in two rooms within a millisecond has none.
fn sorted<T: Ord>(mut all: Vec<T>) -> Vec<T> {
    all.sort();
    all
}

fn texts(found: &[Hit]) -> Vec<&str> {
    found.iter().map(|(text, _)| text.as_str()).collect()
}

/// Waits until a search finds these texts; that the newest is the first is held by [`all`].
async fn finds(who: &Person, q: &str, more: &[(&str, &str)], expected: &[&str]) {
    let mut found = Vec::new();
    let what = format!("{q:?} to find {expected:?}");
    until(&what, async || {
        found = all(who, q, more).await;
        sorted(texts(&found)) == sorted(expected.to_vec())
    })
    .await;
}

#[tokio::test]
async fn words_are_found_in_any_order_the_last_as_a_beginning_and_phrases_as_they_stand() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let said = [
        "Green tea, please",
        "TEA is gréen",
        "東京都 京都",
        "\"quoted\" zoom.us",
        "กาแฟร้อน",
        "well 👍🏽 done",
        "שָׁלוֹם עולם",
    ];
    for text in said {
        ann.post(&room, text).await;
    }
    finds(&bob, "tea green", &[], &["TEA is gréen", "Green tea, please"]).await;
    finds(&bob, "tea gr", &[], &["TEA is gréen", "Green tea, please"]).await;
    finds(&bob, "\"green tea\"", &[], &["Green tea, please"]).await;
    finds(&bob, "tea -please", &[], &["TEA is gréen"]).await;
    finds(&bob, "京都", &[], &["東京都 京都"]).await;
    finds(&bob, "都", &[], &["東京都 京都"]).await;
    finds(&bob, "zoom.us", &[], &["\"quoted\" zoom.us"]).await;
    finds(&bob, "แฟ", &[], &["กาแฟร้อน"]).await;
    finds(&bob, "👍", &[], &["well 👍🏽 done"]).await;
    finds(&bob, "שלום", &[], &["שָׁלוֹם עולם"]).await;
    for q in ["gre tea", "東京 東都", "\"tea green\"", "京都市", "nobody", "\"", "-", "-tea", "!?"] {
        assert_eq!(all(&bob, q, &[]).await, [], "{q}");
    }
    let marks = |found: Vec<Hit>| found.into_iter().map(|(_, marks)| marks).collect::<Vec<_>>();
    assert_eq!(marks(all(&bob, "tea green", &[]).await), [[(0, 3), (7, 12)], [(0, 5), (6, 9)]]);
    assert_eq!(marks(all(&bob, "京都", &[]).await), [[(1, 3), (4, 6)]]);
    assert_eq!(marks(all(&bob, "👍", &[]).await), [[(5, 7)]]);
}

#[tokio::test]
async fn a_hit_is_the_message_as_history_has_it() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    ann.post_once(&room, "a needle", "n-1").await;
    finds(&bob, "needle", &[], &["a needle"]).await;
    let page = search(&bob, "needle", &[]).await.ok();
    let message = bob.history(&room, "").await["messages"][0].clone();
    assert_eq!(page, json!({"hits": [{"chat_id": room, "message": message, "marks": [[2, 8]]}], "next": null}));
}

#[tokio::test]
async fn only_who_is_a_member_now_finds_what_was_said() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let zoe = server.person("zoe").await;
    let room = ann.group("tea", [&bob]).await;
    ann.post(&room, "the secret word").await;
    finds(&bob, "secret", &[], &["the secret word"]).await;
    assert_eq!(all(&zoe, "secret", &[]).await, []);
    assert_eq!(all(&zoe, "secret", &[("chat_id", &room)]).await, []);
    ann.invite(&zoe, &room).await.ok();
    finds(&zoe, "secret", &[("chat_id", &room)], &["the secret word"]).await;
    ann.remove(&zoe, &room).await.ok();
    assert_eq!(all(&zoe, "secret", &[]).await, []);
    bob.leave(&room).await.ok();
    assert_eq!(all(&bob, "secret", &[]).await, []);
    assert_eq!(texts(&all(&ann, "secret", &[]).await), ["the secret word"]);
}

#[tokio::test]
async fn a_search_can_be_narrowed_by_chat_person_time_and_link() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let (tea, pair) = (ann.group("tea", [&bob]).await, ann.private(&bob).await);
    let first = ann.post(&tea, "word one").await;
    bob.post(&pair, "word two https://example.org/x").await;
    let third = bob.post(&tea, "word three").await;
    let every = ["word three", "word two https://example.org/x", "word one"];
    finds(&ann, "word", &[], &every).await;
    assert_eq!(texts(&all(&ann, "word", &[("chat_id", &tea)]).await), ["word three", "word one"]);
    finds(&ann, "word", &[("from", "BOB")], &every[..2]).await;
    assert_eq!(texts(&all(&ann, "word", &[("has", "link")]).await), every[1..2]);
    assert_eq!(texts(&all(&ann, "word", &[("has", "link"), ("from", "ann")]).await), [""; 0]);
    assert!(texts(&all(&ann, "word", &[("since", &third.sent_at)]).await).contains(&"word three"));
    assert_eq!(texts(&all(&ann, "word", &[("since", "2100-01-01T00:00:00Z")]).await), [""; 0]);
    assert_eq!(texts(&all(&ann, "word", &[("until", "2001-01-01T00:00:00+02:00")]).await), [""; 0]);
    let until_first = all(&ann, "word", &[("until", &first.sent_at)]).await;
    assert!(texts(&until_first).contains(&"word one"));
    finds(&ann, "word", &[("since", &first.sent_at), ("until", &third.sent_at)], &every).await;
    for (name, value) in [("from", "nobody"), ("chat_id", "x"), ("chat_id", "01a203f3-ee11-703e-85a5-ea5bab8e7b13")] {
        assert_eq!(all(&ann, "word", &[(name, value)]).await, [], "{name} {value}");
    }
}

#[tokio::test]
async fn what_is_no_search_is_refused_with_what_to_do() {
    let server =
        Server::with(&[("limits.rates", "on"), ("limits.searches_per_minute", "1"), ("limits.searches_burst", "3")])
            .await;
    let ann = server.person("ann").await;
    server.reach.get("/search?q=a").await.refused(401);
    ann.get("/search").await.refused_field("q");
    for q in ["", " ", "\u{3000}", &"x".repeat(257), &"a ".repeat(17), "\"1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\""]
    {
        search(&ann, q, &[]).await.refused_field("q");
    }
    for (name, value) in
        [("since", "yesterday"), ("until", "2026-11-28"), ("has", "file"), ("cursor", "x"), ("limit", "0")]
    {
        search(&ann, "word", &[(name, value)]).await.refused_field(name);
    }
    // Longer than a URI may be.
    search(&ann, &"x".repeat(10_000), &[]).await.refused(414);
    // What was refused cost nothing.
    for q in ["\"", &"x".repeat(256), &"a ".repeat(16)] {
        assert_eq!(search(&ann, q, &[]).await.ok(), json!({"hits": [], "next": null}));
    }
    let refused = search(&ann, "one", &[]).await;
    assert!(refused.header("retry-after").is_some());
    assert!(refused.refused(429)["detail"].as_str().is_some_and(|it| it.contains("limits.searches_per_minute")));
}

#[tokio::test]
async fn a_message_is_found_by_what_it_says_now_and_by_nothing_it_said_before() {
    let server = Server::start().await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let first = ann.post(&room, "an apple").await;
    let second = ann.post(&room, "an apple too").await;
    finds(&bob, "apple", &[], &["an apple too", "an apple"]).await;
    ann.edit(&room, &first.message_id, "a https://pear.example").await;
    assert_eq!(texts(&all(&bob, "apple", &[]).await), ["an apple too"]);
    finds(&bob, "pear", &[("has", "link")], &["a https://pear.example"]).await;
    let page = search(&bob, "pear", &[]).await.ok();
    assert_eq!(page["hits"][0]["message"], bob.history(&room, "").await["messages"][0]);
    ann.edit(&room, &first.message_id, "a plum").await;
    finds(&bob, "plum", &[], &["a plum"]).await;
    assert_eq!(texts(&all(&bob, "pear", &[]).await), [""; 0]);
    for message in [&second, &first] {
        ann.delete(&format!("/chat/{room}/messages/{}", message.message_id)).await.ok();
        assert_eq!(texts(&all(&bob, "apple", &[]).await), [""; 0], "as soon as it is deleted");
    }
    assert_eq!(texts(&all(&bob, "plum", &[]).await), [""; 0]);
    // What nobody has looked for yet is not in the index yet.
    let third = ann.post(&room, "an apple again").await;
    ann.edit(&room, &third.message_id, "a cherry").await;
    finds(&bob, "cherry", &[], &["a cherry"]).await;
    assert_eq!(texts(&all(&bob, "apple", &[]).await), [""; 0]);
    server.cli(&["verify"]).await.ok();
}

#[tokio::test]
async fn pages_neither_repeat_nor_skip_while_people_write() {
    let server = Server::with(&[("limits.rates", "off")]).await;
    let (ann, bob) = server.two_people().await;
    let rooms = [ann.private(&bob).await, ann.group("tea", [&bob]).await];
    let mut said = Vec::new();
    for number in 0..40 {
        let text = format!("word {number}");
        ann.post(&rooms[number % 2], &text).await;
        said.insert(0, text);
    }
    let expected: Vec<&str> = said.iter().map(String::as_str).collect();
    finds(&bob, "word", &[], &expected).await;
    let (mut found, mut cursor) = (Vec::new(), None::<String>);
    for number in 40.. {
        let more: Vec<(&str, &str)> =
            [("limit", "7")].into_iter().chain(cursor.as_deref().map(|cursor| ("cursor", cursor))).collect();
        let page = search(&bob, "word", &more).await.ok();
        assert!(page["hits"].as_array().expect("hits").len() <= 7);
        found.extend(hits(&page));
        match page["next"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
        ann.post(&rooms[number % 2], &format!("word {number}")).await;
    }
    assert_eq!(sorted(texts(&found)), sorted(expected));
}

#[tokio::test]
async fn a_search_that_may_look_for_a_moment_only_gives_short_pages_and_everything_in_the_end() {
    let server =
        Server::with(&[("limits.rates", "off"), ("limits.search_ms", "1"), ("limits.page_bytes", "2000")]).await;
    let (ann, bob) = server.two_people().await;
    let room = ann.private(&bob).await;
    let said: Vec<String> = (0..60).rev().map(|number| format!("word {number} {}", "long ".repeat(60))).collect();
    for text in said.iter().rev() {
        ann.post(&room, text).await;
    }
    let expected: Vec<&str> = said.iter().map(String::as_str).collect();
    finds(&bob, "word", &[], &expected).await;
    let first = search(&bob, "word", &[("limit", "500")]).await.ok();
    assert!(hits(&first).len() < 60 && first["next"].is_string(), "{} hits", hits(&first).len());
}
