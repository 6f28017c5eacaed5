//! Lists of tools, in whatever form they come back.

use holdgate_tests::{http::Response, reviewer::Verdict};
use serde_json::{Value, json};

use super::{POLICY, Site};
use crate::common::pending_hold;

fn list(site: &Site) -> holdgate_tests::agent::Call {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}).to_string();
    site.stack.agent().post("/mcp", body).header("accept", "application/json, text/event-stream")
}

#[track_caller]
fn names(answer: &Response) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told = answer.json();
    told["result"]["tools"].as_array().unwrap().iter().map(|tool| tool["name"].clone()).collect()
}

const SEEN: [&str; 4] = ["lookup", "pay", "wipe", "ask"];

/// Where trailers follow a list no part of it is the last one: such a list once came back whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_with_trailers_is_filtered_in_however_many_parts_it_comes() {
    let site = Site::start_over(true, "20s", true).await;
    for parts in [1, 2, 5] {
        site.server.send_trailers(parts);
        for http2 in [false, true] {
            let call = list(&site);
            let answer = if http2 { call.http2() } else { call }.send().await.unwrap();
            assert_eq!(names(&answer), SEEN, "in {parts} parts, http2: {http2}");
        }
    }
}

/// A list that somebody had to approve once came back whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_was_held_is_filtered_too() {
    let rule = "  - id: list
    effect: hold
    match: [{http: {path: /mcp}, mcp: {method: tools/list}}]
    approval: {factors: [{role: iam-approver, approvals: 1}], decide_within: 1h, use_within: 10m}

tests:";
    let policy = std::fs::read_to_string(POLICY).unwrap().replace(", tools/list]", "]").replacen("tests:", rule, 1);
    let site = Site::start_with(true, "20s", true, policy).await;
    let alice = site.stack.sign_in("alice").await.unwrap();
    for parts in [0, 1, 3] {
        site.server.send_trailers(parts);
        let waiting = tokio::spawn(list(&site).header("accept-encoding", "gzip").send());
        let hold = pending_hold(&alice, "/mcp").await;
        assert_eq!(alice.decide(&hold, Verdict::Approve, "checked").await.unwrap().status / 100, 2);
        assert_eq!(names(&waiting.await.unwrap().unwrap()), SEEN, "in {parts} parts");
    }
    let lists = site.server.seen("tools/list");
    assert_eq!(lists.len(), 3);
    assert!(lists.iter().all(|list| !list.headers.contains_key("accept-encoding")), "{lists:?}");
}
