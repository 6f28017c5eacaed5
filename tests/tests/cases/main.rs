//! The corpus (`tests/cases`) on real Envoy, the newest and the oldest that is supported: what cases expect of the gate and of the
//! native host, they expect of Envoy.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test support")]

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex},
};

use holdgate_authoring::cases::UpstreamBehaviour;
use holdgate_host::cases::{
    configuration,
    driver::Setup,
    envoy::{Fleet, Place},
    service::Service,
};
use holdgate_tests::stack::Places;
use serde_json::Value;

/// Plays all cases; what came of them.
fn play(envoy: &PathBuf) -> Value {
    let places = Places::find().unwrap();
    let mut run = Command::new(places.holdgate_binary());
    run.args(["run", "tests/cases", "--on", "envoy", "--jobs", "4", "--format", "json", "--envoy"]).arg(envoy);
    let folder = tempfile::tempdir().unwrap();
    run.arg("--wasm").arg(&places.filter).current_dir(places.root()).env("TMPDIR", folder.path());
    let output = run.output().unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
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

/// The Envoys that this process has started and not ended.
fn envoys() -> usize {
    let own = std::process::id().to_string();
    let is_ours = |stat: String| {
        let (name, rest) = stat.rsplit_once(')').unwrap();
        name.contains("(envoy") && rest.split_whitespace().nth(1) == Some(&own)
    };
    let stats = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        // Processes end while they are looked at.
        fs::read_to_string(entry.ok()?.path().join("stat")).ok()
    });
    stats.filter(|stat| is_ours(stat.clone())).count()
}

#[test]
fn nothing_runs_on_when_a_case_panics_or_its_fleet_ends() {
    let places = Places::find().unwrap();
    let fleet = Fleet::new(Place { envoy: places.envoy.clone(), wasm: places.filter });
    let drive = || {
        let setup = Setup {
            configuration: configuration::usual(),
            workers: 1,
            time: 0,
            timed: false,
            service: Arc::new(Mutex::new(Service::new())),
            upstream: UpstreamBehaviour::Never,
            ready: false,
        };
        fleet.drive(setup).unwrap()
    };
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _driver = drive();
        assert_eq!(envoys(), 1);
        panic!("as a case could");
    }));
    assert!(panicked.is_err());
    assert_eq!(envoys(), 0);
    drop(drive());
    assert_eq!(envoys(), 1, "it is kept for the next case");
    drop(fleet);
    assert_eq!(envoys(), 0);
}
