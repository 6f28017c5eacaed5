//! `holdgate conformance` against the real service, and against one that is wrong in one thing at a time.

mod breaks;
mod broken;

use std::{collections::BTreeSet, net::SocketAddr};

use holdgate_tests::service::{OWNER, Ran, Service};
use serde_json::Value;

use breaks::Break;
use broken::Broken;

/// Runs the checks whose names begin with `only` against an address.
async fn run(service: &Service, at: SocketAddr, token: &str, only: &str, more: &[&str]) -> Ran {
    let (url, people, keys) = (format!("http://{at}"), format!("http://{}", service.people), service.grant_keys());
    let mut arguments = vec!["conformance", &url, "--format", "json", "--owner", OWNER, "--grant-keys", &keys];
    if !token.is_empty() {
        arguments.extend(["--people", &people]);
    }
    if !only.is_empty() {
        arguments.extend(["--only", only]);
    }
    arguments.extend(more);
    let mut command = service.holdgate(&arguments);
    let [own, other] = &service.credentials;
    command.env("HOLDGATE_GATEWAY_CREDENTIAL", own).env("HOLDGATE_OTHER_GATEWAY_CREDENTIAL", other);
    command.env("HOLDGATE_TOKEN", token);
    service.run(command, "").await.unwrap()
}

fn with_result(report: &Value, result: &str) -> Vec<String> {
    let checks = report["checks"].as_array().unwrap().iter();
    checks
        .filter(|check| check["result"] == result)
        .map(|check| format!("{}: {}", check["name"], check["why"]))
        .collect()
}

#[tokio::test]
async fn the_service_conforms_and_a_newer_one_that_tells_more() {
    let service = Service::start().await.unwrap();
    let token = service.token("alice").await.unwrap();
    let ran = run(&service, service.gateways, &token, "", &[]).await;
    let report = ran.json();
    let none: [String; 0] = [];
    assert_eq!(with_result(&report, "failed"), none, "{}", ran.stderr);
    assert_eq!(with_result(&report, "not_run"), none);
    assert_eq!((ran.code, report["passed"].as_u64() > Some(80)), (0, true), "{}", ran.stdout);

    let Break { before, after, .. } = breaks::newer();
    let newer = Broken::start(service.gateways, before, after).await;
    let ran = run(&service, newer.address, &token, "", &[]).await;
    assert_eq!((ran.code, with_result(&ran.json(), "failed")), (0, none.to_vec()), "{}", ran.stderr);
}

#[tokio::test]
async fn what_is_broken_is_found_by_the_check_of_that_name() {
    let service = Service::start().await.unwrap();
    let token = service.token("alice").await.unwrap();
    let list = service.holdgate(&["conformance", "http://127.0.0.1:1", "--list", "--format", "json"]);
    let list = service.run(list, "").await.unwrap().json();
    let names: BTreeSet<String> =
        list["checks"].as_array().unwrap().iter().map(|check| check[0].as_str().unwrap().to_owned()).collect();
    let breaks = breaks::all(&service.credentials[0]);
    let broken: BTreeSet<String> = breaks.iter().map(|wrong| wrong.check.to_owned()).collect();
    assert_eq!(names, broken, "each check can fail");

    for (place, Break { check, before, after }) in breaks.into_iter().enumerate() {
        let wrong = Broken::start(service.gateways, before, after).await;
        let ran = run(&service, wrong.address, &token, check, &[]).await;
        let report = ran.json();
        let found = report["checks"].as_array().into_iter().flatten().find(|found| found["name"] == check);
        let result = found.map(|found| found["result"].clone()).unwrap_or_default();
        assert_eq!((result, ran.code), ("failed".into(), 1), "break {place} of {check}: {}{}", ran.stdout, ran.stderr);
    }
}

#[tokio::test]
async fn what_cannot_be_checked_is_named_with_the_reason() {
    let service = Service::start().await.unwrap();
    let ran = run(&service, service.gateways, "", "", &[]).await;
    let report = ran.json();
    assert_eq!((ran.code, report["failed"].as_u64()), (0, Some(0)), "{}", ran.stdout);
    let left_out = with_result(&report, "not_run");
    assert!(left_out.len() > 15 && left_out.iter().all(|line| line.contains("give `--people`")), "{left_out:?}");
    let count = |name: &str| report[name].as_u64().unwrap();
    assert_eq!(count("not_run") as usize, left_out.len());
    assert_eq!(count("passed") + count("not_run"), report["checks"].as_array().unwrap().len() as u64);

    // Somebody who may not decide is told so.
    let bob = service.token("bob").await.unwrap();
    let ran = run(&service, service.gateways, &bob, "redeem.used", &[]).await;
    assert!(ran.stdout.contains("could not approve"), "{}", ran.stdout);
    // Nothing there, a wrong name, no credential: the command could not do its work.
    let nowhere = run(&service, "127.0.0.1:1".parse().unwrap(), "", "", &[]).await;
    assert_eq!(nowhere.code, 2, "{}", nowhere.stdout);
    let unknown = run(&service, service.gateways, "", "hold.unknown", &[]).await;
    assert!(unknown.code == 2 && unknown.stdout.contains("no check has a name"), "{}", unknown.stdout);
    let url = format!("http://{}", service.gateways);
    let ran = service.run(service.holdgate(&["conformance", &url]), "").await.unwrap();
    assert!(ran.code == 2 && ran.stderr.contains("HOLDGATE_GATEWAY_CREDENTIAL"), "{}", ran.stderr);
}

/// A person decides at the console while the checks wait.
#[tokio::test]
async fn a_person_may_decide_by_hand() {
    let service = Service::start().await.unwrap();
    let url = format!("http://{}", service.gateways);
    let keys = service.grant_keys();
    let arguments =
        ["conformance", &url, "--format", "json", "--owner", OWNER, "--grant-keys", &keys, "--approve-by-hand"];
    let mut command = service.holdgate(&[&arguments[..], &["--only", "redeem.", "--only", "hold.denied"]].concat());
    command.env("HOLDGATE_GATEWAY_CREDENTIAL", &service.credentials[0]);
    let checks = service.run(command, "");
    let decides = async {
        let token = service.token("alice").await.unwrap();
        for verdict in ["approve", "deny"] {
            let path = format!("/holdgate-conformance/please-{verdict}");
            let ids = crate::terminal::ids_at(&service, &token, &path, if verdict == "approve" { 7 } else { 2 }).await;
            let mut command = service.holdgate(
                &[
                    &["approvals", verdict, "--yes", "--reason", "asked to"][..],
                    &ids.iter().map(String::as_str).collect::<Vec<_>>(),
                ]
                .concat(),
            );
            command.env("HOLDGATE_TOKEN", &token);
            let ran = service.run(command, "").await.unwrap();
            assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
        }
    };
    let (ran, ()) = tokio::join!(checks, decides);
    let ran = ran.unwrap();
    let none: [String; 0] = [];
    assert_eq!((ran.code, with_result(&ran.json(), "not_run")), (0, none.to_vec()), "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains("please approve the 7 holds"), "{}", ran.stderr);
}
