//! `holdgate bench` and `holdgate run` on the shipped filter, which is built for it where it is not named.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::place::Outcome;

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn holdgate(arguments: &[&str]) -> Outcome {
    Command::new(env!("CARGO_BIN_EXE_holdgate")).args(arguments).current_dir(project()).output().unwrap().into()
}

#[test]
fn the_shipped_filter_costs_no_more_than_it_did() {
    let told = holdgate(&["bench", "tests/cases/cost.yaml", "--baseline", "tests/baseline/cases.json"]);
    assert_eq!(told.code, 0, "{}{}", told.stdout, told.stderr);
    assert!(told.stdout.contains("a hundred routine requests"), "{}", told.stdout);
}

#[test]
fn a_filter_that_became_dearer_is_found_with_what_did() {
    let folder = tempfile::tempdir().unwrap();
    let cheap = folder.path().join("cheap.json");
    let cheap = cheap.to_str().unwrap();
    let saved = holdgate(&["bench", "tests/cases/cost.yaml", "--baseline", cheap, "--save"]);
    assert_eq!(saved.code, 0, "{}", saved.stderr);
    let mut baseline: Value = serde_json::from_slice(&std::fs::read(cheap).unwrap()).unwrap();
    let case = &mut baseline["cases"]["cost.yaml: a hundred routine requests"];
    let fuel = case["fuel_per_request"].as_u64().unwrap();
    case["fuel_per_request"] = (fuel * 100 / 105).into();
    std::fs::write(cheap, baseline.to_string()).unwrap();
    let told = holdgate(&["bench", "tests/cases/cost.yaml", "--baseline", cheap]);
    assert_eq!(told.code, 1, "{}{}", told.stdout, told.stderr);
    assert!(told.stdout.contains("DEARER: cost.yaml: a hundred routine requests: fuel per request"), "{}", told.stdout);
    let tolerated = holdgate(&["bench", "tests/cases/cost.yaml", "--baseline", cheap, "--tolerance", "6"]);
    assert_eq!(tolerated.code, 0, "{}", tolerated.stdout);
}

#[test]
fn a_case_that_fails_shows_what_was_expected_what_came_and_what_happened() {
    let folder = tempfile::tempdir().unwrap();
    let cases = folder.path().join("wrong.yaml");
    let policy = project().join("policies/iam-guardrails.yaml");
    let text = format!(
        "policy: {}\nrequests: {{read: {{http: GET /iam/users}}}}\ncases:\n  - name: wrong\n    steps: [{{send: read}}]\n    expect: {{reply: denied}}\n",
        policy.strip_prefix("/").unwrap().display()
    );
    std::fs::write(&cases, text).unwrap();
    let wasm = holdgate_host::plugin::built(&project()).unwrap();
    let arguments = ["run", cases.to_str().unwrap(), "--wasm", wasm.to_str().unwrap()];
    let told = holdgate(&arguments);
    assert_eq!(told.code, 1, "{}{}", told.stdout, told.stderr);
    let parts = [
        "case `wrong` failed on harness, envoy",
        "`read`: the problem of the reply",
        "expected: `denied`",
        "came:     200",
        "on_request_headers(",
        "=> upstream:",
    ];
    for part in parts {
        assert!(told.stdout.contains(part), "`{part}` is not in:\n{}", told.stdout);
    }
}
