//! Which tests run on which store is decided for every module: `tests/services/passes` names them all.

use std::collections::BTreeSet;

const PASSES: &str = include_str!("../services/passes");
const MODULES: &str = include_str!("main.rs");

/// Helpers of the tests, without tests of their own.
const HELPERS: [&str; 3] = ["harness", "readers", "wire"];

#[test]
fn every_module_of_tests_says_on_which_store_it_runs_and_why() {
    let (mut named, mut wrong) = (BTreeSet::new(), Vec::new());
    for line in PASSES.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let (name, store, reason) = (words.next().unwrap_or_default(), words.next(), words.next());
        match (store, reason) {
            (Some("both"), None) | (Some("sqlite" | "mongodb" | "given"), Some(_)) => {}
            _ => wrong.push(line),
        }
        if !name.contains("::") {
            named.insert(name);
        }
    }
    assert!(wrong.is_empty(), "a line is `module both`, or `module sqlite|mongodb|given why`: {wrong:?}");
    let modules: BTreeSet<&str> =
        MODULES.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';')).collect();
    let modules: BTreeSet<&str> = modules.into_iter().filter(|module| !HELPERS.contains(module)).collect();
    assert_eq!(named, modules, "tests/services/passes names other modules than tests/it/main.rs has");
}
