//! benches/million/run with few people, in a guest and on this machine: what it claims of a million is counted here, too, and it
//! cannot rot.

use std::{path::Path, process::Command};

use serde_json::Value;

use crate::harness::cargo;

const PEOPLE: u64 = 500;

/// Runs it with the programs of this build; its figures.
fn run(arguments: &[&str]) -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let built =
        cargo().args(["build", "--quiet", "--locked", "--example", "million"]).current_dir(root).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let natter = Path::new(env!("CARGO_BIN_EXE_natter"));
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("report.json");
    let ran = Command::new(root.join("benches/million/run"))
        .arg(PEOPLE.to_string())
        .args(arguments)
        .arg("--json")
        .arg(&json)
        .env("NATTER_BIN", natter)
        .env("MILLION_BIN", natter.with_file_name("examples").join("million"))
        .output()
        .unwrap();
    let said = || format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{}", said());
    serde_json::from_str(&std::fs::read_to_string(json).unwrap_or_else(|error| panic!("{error}: {}", said()))).unwrap()
}

fn assert_all_hear_everything(report: &Value) {
    assert_eq!((&report["held"], &report["problems"]), (&PEOPLE.into(), &Value::Array(vec![])), "{report:#}");
    let step = |name: &str| {
        let steps = report["steps"].as_array().expect("steps");
        let step = steps.iter().find(|step| step["name"] == name);
        step.and_then(|step| step["count"].as_u64()).unwrap_or_else(|| panic!("no {name} in {report:#}"))
    };
    let away = PEOPLE / 10;
    for (name, count) in [
        ("connect", PEOPLE),
        ("pings", PEOPLE),
        ("one message to everybody", PEOPLE),
        ("drop", away),
        ("messages to those who stayed", 2 * (PEOPLE - away)),
        ("reconnect with since", away),
        ("what they missed", 2 * away),
        ("one more message to everybody", PEOPLE),
        ("drain", PEOPLE),
    ] {
        assert_eq!(step(name), count, "{name}");
    }
    let bytes = &report["bytes_per_connection"];
    for of in ["server", "kernel"] {
        assert!(bytes[of].as_f64().is_some_and(|bytes| bytes > 0.0), "{of} in {bytes:#}");
    }
}

#[test]
fn people_in_rooms_of_a_hundred_hear_everything_in_a_guest() {
    assert_all_hear_everything(&run(&["--members", "100"]));
}

#[test]
fn people_in_one_room_of_all_hear_everything_on_this_machine() {
    assert_all_hear_everything(&run(&["--here", "--members", "500"]));
}
