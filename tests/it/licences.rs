//! What the program is made of: licences, sources and versions, held to `deny.toml` without cargo-deny.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use serde_json::Value;

use crate::harness::cargo;

fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect(name)
}

fn deny() -> Value {
    use figment::providers::{Format, Toml};
    let dict = <Toml as Format>::from_str::<figment::value::Dict>(&file("deny.toml")).expect("TOML");
    serde_json::to_value(dict).expect("plain values")
}

/// Of the program itself, without what only tests need: `name version`, with its licence and where it is from.
fn packages() -> BTreeMap<String, (String, String, String)> {
    let output = cargo()
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["tree", "--locked", "--offline", "--edges", "normal,build", "--prefix", "none", "--format", "{p}\t{l}"])
        .output()
        .expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let lines = text.lines().filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let (package, licence) = line.split_once('\t').unwrap_or((line, ""));
            let mut words = package.split(' ');
            let (name, version) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let place = words.find(|word| word.starts_with('(') && *word != "(proc-macro)" && *word != "(*)");
            let licence = licence.trim_end_matches(" (*)").to_owned();
            (format!("{name} {version}"), (name.to_owned(), licence, place.unwrap_or_default().to_owned()))
        })
        .collect()
}

/// Whether an SPDX expression can be met with these licences. `/` is an old way to write `OR`.
fn is_met(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let expression = expression.replace('/', " OR ");
    // In all that there are, `AND` binds groups in brackets or single licences.
    expression.split(" AND ").all(|part| {
        part.split(" OR ").any(|licence| allowed.contains(licence.trim_matches(|c: char| "() ".contains(c))))
    })
}

#[test]
fn every_part_of_the_program_has_a_licence_that_is_allowed() {
    let deny = deny();
    let allowed: BTreeSet<&str> =
        deny["licenses"]["allow"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    let packages = packages();
    assert!(packages.len() > 100, "{}", packages.len());
    for (package, (_, licence, _)) in &packages {
        assert!(is_met(licence, &allowed), "{package}: {licence}");
    }
    assert!(!is_met("GPL-3.0", &allowed) && !is_met("MIT AND GPL-3.0", &allowed) && is_met("GPL-3.0 OR MIT", &allowed));
}

#[test]
fn every_part_of_the_program_is_from_the_registry_once_or_has_a_reason() {
    let deny = deny();
    let named = |list: &Value, key: &str| -> BTreeSet<String> {
        let names = list.as_array().expect("a list").iter();
        names.filter_map(|one| one.as_str().or_else(|| one[key].as_str()).map(String::from)).collect()
    };
    let (banned, skipped) = (named(&deny["bans"]["deny"], "crate"), named(&deny["bans"]["skip"], "crate"));
    let mut versions: BTreeMap<String, usize> = BTreeMap::new();
    for (package, (name, _, place)) in packages() {
        assert!(place.is_empty() || name == "natter", "{package} is from {place}");
        assert!(!banned.contains(&name), "{package} is banned in deny.toml");
        *versions.entry(name).or_default() += 1;
    }
    let twice: BTreeSet<String> = versions.into_iter().filter(|(_, count)| *count > 1).map(|(name, _)| name).collect();
    let unexplained: Vec<_> = twice.difference(&skipped).collect();
    assert!(unexplained.is_empty(), "in two versions, and deny.toml has no reason: {unexplained:?}");
    let stale: Vec<_> = skipped.difference(&twice).collect();
    assert!(stale.is_empty(), "in one version now, and still skipped in deny.toml: {stale:?}");
}

#[test]
fn the_list_of_licences_is_that_of_the_program() {
    let listed = file("THIRD-PARTY.md");
    let rows: BTreeSet<String> = packages()
        .into_values()
        .filter(|(name, ..)| name != "natter")
        .map(|(name, licence, _)| format!("| {name} | {licence} |"))
        .collect();
    let missing: Vec<_> = rows.iter().filter(|row| !listed.lines().any(|line| line == row.as_str())).collect();
    let gone: Vec<_> = listed
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| crate |") && !rows.contains(*line))
        .collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "THIRD-PARTY.md is of another program: write it anew with tests/licences\nmissing {missing:?}\ngone {gone:?}"
    );
}
