//! Files that are no whole exports: refused with the place named, and nothing is changed.

use std::fs;

use super::fixture::{cli, exported, filled, pack};
use crate::harness::Setup;

/// The refusal of a file with these bytes; nothing was made for it.
async fn refused(bytes: &[u8]) -> String {
    let there = Setup::new();
    fs::write(there.dir().join("file"), bytes).expect("the test's own folder");
    let refused = cli(&there, &["import", "file"]).await.failed();
    assert!(refused.contains("file "), "it is named: {refused}");
    assert!(!there.dir().join("data").exists(), "{refused}");
    refused
}

async fn refused_text(text: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    pack(&folder.path().join("packed"), text);
    refused(&fs::read(folder.path().join("packed")).expect("it was written")).await
}

/// An export of three rooms of 1,200 messages: its bytes and its text.
async fn whole() -> (Vec<u8>, String) {
    let here = Setup::new();
    filled(&here, 3, 1_200).await;
    let (file, _) = exported(&here, "whole.zst").await;
    let bytes = fs::read(file).expect("the export");
    let text = String::from_utf8(zstd::decode_all(bytes.as_slice()).expect("a zstd stream")).expect("UTF-8");
    (bytes, text)
}

#[tokio::test]
async fn a_flipped_byte_is_found_wherever_it_is() {
    let (bytes, _) = whole().await;
    for part in 1..8 {
        let mut bent = bytes.clone();
        let at = bent.len() * part / 8;
        bent[at] ^= 0x10;
        let refused = refused(&bent).await;
        assert!(refused.contains("is damaged at line "), "byte {at}: {refused}");
    }
}

#[tokio::test]
async fn a_file_cut_short_says_where_it_ends() {
    let (bytes, text) = whole().await;
    for part in [1, 4, 7] {
        let refused = refused(&bytes[..bytes.len() * part / 8]).await;
        assert!(refused.contains("ends too early") || refused.contains("no header"), "{part}/8: {refused}");
    }
    assert!(refused(&bytes[..bytes.len() - 1]).await.contains("ends too early"));
    assert!(refused(&bytes[..3]).await.contains("not an export"));
    // Cut between lines and packed again: the stream is whole, the export is not.
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    for keep in [1, 700, 1_300, lines.len() - 1] {
        let refused = refused_text(&lines[..keep].concat()).await;
        assert!(refused.contains("ends too early") && refused.contains(&format!("line {}", keep + 1)), "{refused}");
    }
}

#[tokio::test]
async fn a_changed_line_is_named_with_its_room() {
    let (_, text) = whole().await;
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let room = lines[1].split('"').nth(5).expect("the id of the first chat").to_owned();
    // What a checksum alone can tell: a word of a message is another.
    let at = 500;
    let mut changed: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
    changed[at] = changed[at].replace("usual", "great");
    let refused_checksum = refused_text(&changed.concat()).await;
    assert!(refused_checksum.contains("checksum") && refused_checksum.contains(&room), "{refused_checksum}");
    // Lines that are gone, doubled or exchanged.
    let without: String = lines.iter().enumerate().filter(|(index, _)| *index != at).map(|(_, line)| *line).collect();
    let doubled: String =
        lines.iter().enumerate().map(|(i, line)| if i == at { line.repeat(2) } else { line.to_string() }).collect();
    let mut swapped = lines.clone();
    swapped.swap(at, at + 1);
    for (what, bent) in [("gone", without), ("doubled", doubled), ("swapped", swapped.concat())] {
        let refused = refused_text(&bent).await;
        assert!(refused.contains("seq ") && refused.contains(&room), "{what}: {refused}");
    }
}

#[tokio::test]
async fn something_after_the_end_is_refused() {
    let (bytes, text) = whole().await;
    assert!(refused_text(&(text + "{}\n")).await.contains("something follows its end"));
    assert!(refused(&[&bytes[..], b"more"].concat()).await.contains("is damaged"));
}

#[tokio::test]
async fn what_is_no_export_is_said_to_be_none() {
    assert!(refused(b"").await.contains("is empty"));
    assert!(refused(b"PK\x03\x04 something else").await.contains("not an export"));
    assert!(refused(&[0x28, 0xb5, 0x2f, 0xfd, 0, 1, 2]).await.contains("damaged"));
    assert!(refused_text("").await.contains("ends too early"));
    assert!(refused_text("{\"some\":\"json\"}\n").await.contains("not an export"));
    assert!(refused_text("not json\n").await.contains("not an export"));
    let there = Setup::new();
    let refused = cli(&there, &["import", "missing.zst"]).await.failed();
    assert!(refused.contains("missing.zst"), "{refused}");
    let refused = cli(&there, &["import", "."]).await.failed();
    assert!(refused.contains("no file"), "{refused}");
    let refused = cli(&there, &["import", "file.zst", "--timezone", "+02:00"]).await.failed();
    assert!(refused.contains("original server"), "{refused}");
}

#[tokio::test]
async fn a_newer_format_is_named_as_such() {
    let (_, text) = whole().await;
    let newer = text.replacen("\"natter_export\":2", "\"natter_export\":3,\"later\":true", 1);
    let refused = refused_text(&newer).await;
    assert!(refused.contains("newer natter") && refused.contains("format 3"), "{refused}");
}
