//! The corpus (`tests/cases`) on real Envoy, the newest and the oldest that is supported: what cases expect of the gate and of the
//! native host, they expect of Envoy.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test support")]

use std::{path::PathBuf, process::Command};

use holdgate_tests::stack::Places;
use serde_json::Value;

/// Plays all cases; what came of them.
fn play(envoy: &PathBuf) -> Value {
    let places = Places::find().unwrap();
    let mut run = Command::new(places.holdgate_binary());
    run.args(["run", "tests/cases", "--on", "envoy", "--jobs", "4", "--format", "json", "--envoy"]).arg(envoy);
    let output = run.arg("--wasm").arg(&places.filter).current_dir(places.root()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}{}", String::from_utf8_lossy(&output.stderr)))
}

fn check(envoy: &PathBuf) {
    let report = play(envoy);
    println!("{} passed, {} skipped in {} ms", report["passed"], report["skipped"], report["milliseconds"]);
    let cases = report["cases"].as_array().unwrap();
    let of = |outcome: &str| cases.iter().filter(|case| case["came"]["outcome"] == outcome).collect::<Vec<_>>();
    let bad: Vec<_> = of("failed").into_iter().chain(of("broken")).collect();
    assert!(bad.is_empty(), "{}", serde_json::to_string_pretty(&bad).unwrap());
    let (passed, skipped) = (of("passed").len(), of("skipped").len());
    assert!(passed >= 150 && skipped * 10 < passed, "{passed} passed, {skipped} skipped");
}

#[test]
fn envoy_does_as_the_cases_say() {
    check(&Places::find().unwrap().envoy);
}

#[test]
fn oldest_envoy_does_as_the_cases_say() {
    let places = Places::find().unwrap();
    let named = std::env::var_os("HOLDGATE_ENVOY_136").filter(|named| !named.is_empty()).map(PathBuf::from);
    check(&named.unwrap_or_else(|| places.envoy.parent().unwrap().parent().unwrap().join("envoy-1.36.4/envoy")));
}
