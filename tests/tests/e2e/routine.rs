//! Requests that policy decides alone.

use std::process::Command;

use holdgate_tests::stack::Places;
use serde_json::json;

use crate::common::{JSON_BODY, assert_problem, passed, roles, start};

#[tokio::test(flavor = "multi_thread")]
async fn routine_request_passes_once_and_unchanged() {
    let stack = start(json!({})).await;
    for http2 in [false, true] {
        let target = format!("/iam/users/7?version={http2}&a=%20b&a=");
        let call = stack.agent().get(&target).header("x-note", "as it is").header("accept", "application/json");
        let answer = if http2 { call.http2() } else { call }.send().await.unwrap();
        assert!(passed(&answer), "{}", answer.text());
        let seen = stack.upstream.seen_at(&target);
        assert_eq!(seen.len(), 1);
        assert_eq!((seen[0].method.as_str(), seen[0].body.len()), ("GET", 0));
        for (name, value) in [("x-note", "as it is"), ("accept", "application/json"), ("host", "api.example")] {
            assert_eq!(seen[0].header(name).as_deref(), Some(value));
        }
        assert!(seen[0].headers.iter().all(|(name, _)| !name.starts_with("holdgate-")));
    }
}

/// A body that the policy has looked into goes on byte for byte, and so does every header that the proxy does not set.
#[tokio::test(flavor = "multi_thread")]
async fn allowed_body_reaches_the_upstream_with_exactly_its_bytes() {
    let stack = start(json!({})).await;
    let body = format!("{{ \"text\":\t\"x\\u00e9é\",\"n\": 1.50e1, \"pad\":\"{}\" }}\r\n", "y".repeat(200_000));
    for (index, (chunked, http2)) in
        [(false, false), (true, false), (false, true), (true, true)].into_iter().enumerate()
    {
        let target = format!("/iam/users/7/notes?try={index}");
        let call = stack.agent().post(&target, body.clone()).header("x-note", "one").header("cookie", "a=b");
        let call = if chunked { call.chunked() } else { call };
        let answer = if http2 { call.http2() } else { call }.send().await.unwrap();
        assert!(passed(&answer), "{target}: {} {}", answer.status, answer.text());
        let seen = stack.upstream.seen_at(&target);
        assert_eq!(seen.len(), 1, "{target}");
        assert!(seen[0].body == body.as_bytes(), "{target}: {} bytes instead of {}", seen[0].body.len(), body.len());
        let of_proxy =
            |name: &str| name.starts_with("x-forwarded-") || name.starts_with("x-envoy-") || name == "x-request-id";
        let framing = ["host", "content-length", "transfer-encoding", "authorization"];
        let kept = seen[0].headers.iter().filter(|(name, _)| !of_proxy(name) && !framing.contains(&name.as_str()));
        let kept: Vec<_> = kept.map(|(name, value)| (name.as_str(), std::str::from_utf8(value).unwrap())).collect();
        assert_eq!(kept, [("content-type", "application/json"), ("x-note", "one"), ("cookie", "a=b")], "{target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn denied_request_never_reaches_the_upstream() {
    let stack = start(json!({})).await;
    let (by_rule, by_default) = (roles("7"), "/iam/users/7/nothing-matches");
    // A rule denies what another holds: the strictest wins.
    let without_owner = stack.agent_with(json!({"owner": null}));
    let answer = without_owner.post(&by_rule, JSON_BODY).send().await.unwrap();
    assert_problem(&answer, 403, "denied");
    assert_eq!(answer.json()["rule"], "iam.no-owner");
    assert_eq!(answer.json()["next_action"], "none");
    let answer = stack.agent().post(by_default, JSON_BODY).send().await.unwrap();
    assert_problem(&answer, 403, "denied");
    assert_eq!(answer.json()["rule"], json!(null));
    assert!(stack.upstream.seen_at(&by_rule).is_empty());
    assert!(stack.upstream.seen_at(by_default).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_holdgate_and_the_proxy_are_not_taken_from_agents() {
    let stack = start(json!({})).await;
    let target = "/iam/users/1";
    let call = stack.agent().get(target).header("holdgate-agent", "admin").header("x-envoy-retry-on", "5xx");
    assert!(passed(&call.send().await.unwrap()));
    let seen = stack.upstream.seen_at(target);
    assert_eq!((seen[0].header("holdgate-agent"), seen[0].header("x-envoy-retry-on")), (None, None));
}

/// The shipped file as it is; only the filter's place is this machine's.
#[test]
fn shipped_envoy_configuration_is_valid() {
    let places = Places::find().unwrap();
    let template = places.envoy_template().unwrap();
    let marked = "filename: holdgate.wasm";
    assert_eq!(template.matches(marked).count(), 1);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("envoy.yaml");
    std::fs::write(&file, template.replace(marked, &format!("filename: {}", places.filter.display()))).unwrap();
    let mut envoy = Command::new(&places.envoy);
    envoy.args(["--mode", "validate", "--log-level", "warning", "--config-path"]).arg(&file);
    envoy.env("HOLDGATE_GATEWAY_CREDENTIAL", "example");
    let output = envoy.output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.contains("OK"), "{said}");
    assert!(!said.contains("deprecated"), "{said}");
}
