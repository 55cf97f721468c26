//! The order of the house: imports point down, files say what they are for and stay short, tests never sleep.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// The layers, top first. A file belongs to the longest entry that it is or lies under, and imports from its own layer
/// and those below. `http` has parts on both sides of `app`: those that `App` or the engine of the sockets holds are below it.
const LAYERS: [&[&str]; 19] = [
    &["main"],
    &["cli"],
    &["server", "control", "logging"],
    &["transfer"],
    &["http/pipeline", "http/routes"],
    &["api"],
    &["http/authenticate", "http/authorize"],
    &["app"],
    &["ws"],
    &["http"],
    &["chat"],
    &["auth", "audit"],
    &["store", "bus"],
    &["event"],
    &["protocol"],
    &["limits"],
    &["bounded", "json_depth", "seldom", "turn"],
    &["metrics"],
    &["config", "names", "types", "words"],
];

const MOST_LINES: usize = 500;

/// Every source file under `folder`, by its path without `.rs`, such as `chat/mod`.
fn files(folder: &str) -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let (mut folders, mut files) = (vec![root.clone()], BTreeMap::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).expect("it is under the root").with_extension("");
                files.insert(name.display().to_string(), fs::read_to_string(&path).expect("text"));
            }
        }
    }
    files
}

/// What is compiled into the program: no comments, and nothing from the tests at the end on.
fn code(text: &str) -> String {
    let program = text.lines().take_while(|line| line.trim() != "#[cfg(test)]");
    program.map(|line| line.split_once("//").map_or(line, |(code, _)| code)).collect::<Vec<_>>().join("\n")
}

/// The module that a file is: `chat` for `chat/mod`, the root for `lib` and `main`.
fn module(file: &str) -> Vec<String> {
    let mut path: Vec<String> = file.split('/').map(String::from).collect();
    if path.last().is_some_and(|last| last == "mod") || ["lib", "main"].contains(&file) {
        path.pop();
    }
    path
}

/// The paths of a use-tree such as `a::{b, c::{self, d}}`, without what is not a path; gives what follows it.
fn expand<'a>(tree: &'a str, base: &[String], paths: &mut Vec<Vec<String>>) -> &'a str {
    let mut path = base.to_vec();
    let mut rest = tree.trim_start();
    loop {
        if let Some(mut list) = rest.strip_prefix('{') {
            loop {
                list = expand(list, &path, paths).trim_start();
                match list.strip_prefix(',') {
                    Some(more) if !more.trim_start().starts_with('}') => list = more,
                    Some(more) => return &more.trim_start()[1..],
                    None => return list.strip_prefix('}').unwrap_or(list),
                }
            }
        }
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        match &rest[..end] {
            "" | "self" | "crate" => {}
            "super" => drop(path.pop()),
            name => path.push(name.to_owned()),
        }
        rest = &rest[end..];
        match rest.strip_prefix("::") {
            Some(more) => rest = more,
            None => break,
        }
    }
    if let Some(renamed) = rest.trim_start().strip_prefix("as ") {
        rest = renamed.trim_start().trim_start_matches(|c: char| c.is_alphanumeric() || c == '_');
    }
    paths.push(path);
    rest.strip_prefix('*').unwrap_or(rest)
}

/// The files of this crate that a file names in `use` or in a full path.
fn imports(file: &str, text: &str, files: &BTreeMap<String, String>) -> BTreeSet<String> {
    let code = code(text);
    let own = module(file);
    let mut paths = Vec::new();
    for root in ["crate::", "super::", "natter::"] {
        for (at, _) in code.match_indices(root) {
            let inside = code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
            if !inside {
                let base = if root == "super::" { &own[..own.len().saturating_sub(1)] } else { &[] };
                expand(&code[at + root.len()..], base, &mut paths);
            }
        }
    }
    let found = |path: &Vec<String>| {
        (1..=path.len()).rev().find_map(|length| {
            let name = path[..length].join("/");
            [name.clone(), format!("{name}/mod")].into_iter().find(|name| files.contains_key(name))
        })
    };
    paths.iter().filter_map(found).filter(|other| other != file).collect()
}

fn layer(file: &str) -> Option<usize> {
    let holds = |entry: &str| file == entry || file.strip_prefix(entry).is_some_and(|rest| rest.starts_with('/'));
    let entries =
        LAYERS.iter().enumerate().flat_map(|(layer, entries)| entries.iter().map(move |entry| (layer, entry)));
    entries.filter(|(_, entry)| holds(entry)).max_by_key(|(_, entry)| entry.len()).map(|(layer, _)| layer)
}

/// A folder's face (`chat/mod`, or `server` of `server/drain`) names its own files, and they name it.
fn is_face_of(face: &str, file: &str) -> bool {
    let folder = face.strip_suffix("/mod").unwrap_or(face);
    file.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// Every file that one comes to from `file` by imports, and imports of these.
fn reached<'a>(file: &str, named: &'a BTreeMap<String, BTreeSet<String>>) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut left: Vec<&'a str> = named[file].iter().map(String::as_str).collect();
    while let Some(other) = left.pop() {
        if reached.insert(other) {
            left.extend(named[other].iter().map(String::as_str));
        }
    }
    reached
}

#[test]
fn use_trees_are_read_whole() {
    let mut paths = Vec::new();
    let rest = expand("a::{self, b::C, d::{e, f as g,}, h::*}; more", &[], &mut paths);
    let joined: Vec<String> = paths.iter().map(|path| path.join("/")).collect();
    assert_eq!((joined, rest), (["a", "a/b/C", "a/d/e", "a/d/f", "a/h"].map(String::from).to_vec(), "; more"));
}

#[test]
fn every_file_has_its_layer() {
    let homeless: Vec<String> =
        files("src").into_keys().filter(|file| file != "lib" && layer(file).is_none()).collect();
    assert_eq!(homeless, [] as [String; 0]);
}

#[test]
fn imports_point_down() {
    let files = files("src");
    let mut wrong = Vec::new();
    for (file, text) in files.iter().filter(|(file, _)| *file != "lib") {
        for other in imports(file, text, &files) {
            if layer(&other) < layer(file) && !is_face_of(file, &other) {
                wrong.push(format!("{file} imports {other}"));
            }
        }
    }
    assert!(wrong.is_empty(), "imports that point up:\n{}", wrong.join("\n"));
}

#[test]
fn no_files_import_each_other_in_a_ring() {
    let files = files("src");
    let mut named: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (file, text) in &files {
        let mut others = imports(file, text, &files);
        others.retain(|other| !is_face_of(file, other));
        named.insert(file.clone(), others);
    }
    let ring = |file: &str| -> BTreeSet<&str> {
        reached(file, &named).into_iter().filter(|other| reached(other, &named).contains(file)).collect()
    };
    let rings: BTreeMap<&str, BTreeSet<&str>> =
        named.keys().map(|file| (file.as_str(), ring(file))).filter(|(_, ring)| !ring.is_empty()).collect();
    assert!(rings.is_empty(), "files that import each other: {rings:#?}");
}

#[test]
fn every_file_begins_with_what_it_is_for() {
    for folder in ["src", "tests", "benches"] {
        for (file, text) in files(folder) {
            assert!(text.starts_with("//! "), "{folder}/{file}.rs begins with no `//!`");
        }
    }
}

#[test]
fn no_file_is_too_long() {
    for folder in ["src", "tests", "benches"] {
        for (file, text) in files(folder) {
            let lines = text.lines().count();
            assert!(lines <= MOST_LINES, "{folder}/{file}.rs has {lines} lines");
        }
    }
}

#[test]
fn nothing_in_the_program_gives_up_without_a_reason() {
    for (file, text) in files("src") {
        for (number, line) in code(&text).lines().enumerate() {
            for word in [".unwrap()", "todo!(", "unimplemented!(", "dbg!(", ".expect(\"\")"] {
                assert!(!line.contains(word), "src/{file}.rs:{}: {word}", number + 1);
            }
        }
    }
}

/// Whoever calls these from somewhere else stores what may never be told, because a request can be dropped between the two.
#[test]
fn what_people_change_is_stored_where_it_is_told() {
    let writes = [
        "create_user",
        "change_user",
        "create_session",
        "rotate_refresh",
        "end_session",
        "see_session",
        "create_room",
        "set_read",
        "set_hidden",
        "set_block",
        "append",
    ];
    let may = ["chat/changes", "chat/writer"];
    for (file, text) in files("src").iter().filter(|(file, _)| !may.contains(&file.as_str())) {
        let above_the_store = !["store", "transfer", "cli"].iter().any(|folder| file.starts_with(folder));
        for word in writes.map(|name| format!("store.{name}(")).iter().filter(|_| above_the_store) {
            assert!(!code(text).contains(word.as_str()), "src/{file}.rs has {word}");
        }
    }
}

#[test]
fn nothing_is_unsafe() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).expect("Cargo.toml");
    assert!(manifest.contains("unsafe_code = \"forbid\""));
}

#[test]
fn tests_wait_for_what_they_claim_and_never_sleep() {
    for (file, text) in files("tests") {
        for word in ["sleep(", "sleep_until(", "interval(", "yield_now("] {
            let allowed = ["it/harness/mod", "it/harness/proxy", "it/tidy"].contains(&file.as_str());
            assert!(allowed || !text.contains(word), "tests/{file}.rs has {word}");
        }
    }
}
