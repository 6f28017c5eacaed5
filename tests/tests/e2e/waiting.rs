//! How agents ask to be answered, and both ways of waking a held stream.

use holdgate_tests::{
    http::Response,
    reviewer::{Reviewer, Verdict},
    stack::Stack,
    until,
};
use hyper::Method;
use serde_json::json;

use crate::common::{JSON_BODY, LIMIT, assert_problem, passed, pending_hold, pending_holds, roles, start, ticket};

async fn approve(alice: &Reviewer, hold: &str) {
    assert_eq!(alice.decide(hold, Verdict::Approve, "checked").await.unwrap().status / 100, 2);
}

/// The same life with either way: approved inline, denied, a ticket and its retry, many at once.
async fn held_requests_live(stack: &Stack) {
    let alice = stack.sign_in("alice").await.unwrap();
    let target = roles("inline");
    let waiting = tokio::spawn(stack.agent().post(&target, JSON_BODY).send());
    approve(&alice, &pending_hold(&alice, &target).await).await;
    assert!(passed(&waiting.await.unwrap().unwrap()));
    assert_eq!(stack.upstream.seen_at(&target).len(), 1);

    let target = roles("denied");
    let waiting = tokio::spawn(stack.agent().post(&target, JSON_BODY).send());
    let hold = pending_hold(&alice, &target).await;
    assert_eq!(alice.decide(&hold, Verdict::Deny, "no").await.unwrap().status / 100, 2);
    let answer = waiting.await.unwrap().unwrap();
    assert_problem(&answer, 403, "denied");
    assert_eq!(answer.json()["decided_by"], "human");

    let target = roles("ticket");
    let call = stack.agent().post(&target, JSON_BODY).header("prefer", "wait=1");
    let hold = ticket(&call.clone().send().await.unwrap());
    approve(&alice, &hold).await;
    assert!(passed(&call.clone().send().await.unwrap()));
    assert!(!passed(&call.send().await.unwrap()), "an approval is for one request");
    assert_eq!(stack.upstream.seen_at(&target).len(), 1);

    let calls = (0..60).map(|index| stack.agent().post(&roles(&format!("m{index}")), JSON_BODY).http2().send());
    let waiting = calls.map(tokio::spawn).collect::<Vec<_>>();
    // The one that asked again above is pending too.
    let holds = pending_holds(&alice, waiting.len() + 1, LIMIT).await;
    assert_eq!(alice.decide_all(&holds, Verdict::Approve, "checked").await.unwrap(), holds.len());
    for call in waiting {
        let answer = call.await.unwrap().unwrap();
        assert!(passed(&answer), "{} {}", answer.status, answer.text());
    }
    assert!(!stack.envoy.log().contains("panicked"), "{}", stack.envoy.log_tail());
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_the_feed_wakes() {
    held_requests_live(&start(json!({"wake": "feed"})).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_wait_for_themselves() {
    held_requests_live(&start(json!({"wake": "stream"})).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_prefers_not_to_wait_gets_a_task_and_asks_after_it() {
    let stack = start(json!({})).await;
    let alice = stack.sign_in("alice").await.unwrap();
    let target = roles("7");
    let call = stack.agent().post(&target, JSON_BODY);
    let answer = call.clone().header("prefer", "respond-async").send().await.unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(answer.header("preference-applied"), Some("respond-async"));
    let location = answer.header("location").unwrap().to_owned();
    assert_eq!(answer.json()["task"]["status_endpoint"], location);

    let task = stack.agent().get(&location).send().await.unwrap();
    assert_eq!((task.status, task.json()["task"]["status"].as_str()), (202, Some("pending")));
    assert!(task.header("retry-after").is_some());
    let hasty = stack.agent().get(&location).send().await.unwrap();
    assert_problem(&hasty, 429, "slow_down");
    let stranger = stack.agent_with(json!({"sub": "agent-8"})).get(&location).send().await.unwrap();
    assert_problem(&stranger, 404, "unknown-task");

    approve(&alice, &pending_hold(&alice, &target).await).await;
    let task = patient(&stack, &location).await;
    assert_eq!((task.status, task.json()["task"]["status"].as_str()), (200, Some("approved")));
    assert_eq!(task.json()["next_action"], "retry");
    assert!(passed(&call.send().await.unwrap()), "the preference is not part of the request");
    assert_eq!(stack.upstream.seen_at(&target).len(), 1);
}

/// Asks until it is not too early to ask again.
async fn patient(stack: &Stack, location: &str) -> Response {
    until("an answer", LIMIT, async || {
        let answer = stack.agent().get(location).send().await.unwrap();
        (answer.status != 429).then_some(answer)
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn key_that_was_used_for_another_request_is_a_conflict() {
    let stack = start(json!({})).await;
    let call = |path: &str| stack.agent().call(Method::DELETE, path).header("prefer", "respond-async");
    let first = call("/iam/users/1").header("idempotency-key", "k-1").send().await.unwrap();
    assert_eq!(first.status, 202, "{}", first.text());
    let again = until("an answer", LIMIT, async || {
        let again = call("/iam/users/1").header("idempotency-key", "k-1").send().await.unwrap();
        // Who has just got a ticket is not to come back at once.
        (again.status != 429).then_some(again)
    });
    let again = again.await.unwrap();
    assert_eq!(again.json()["task"]["id"], first.json()["task"]["id"], "the same request joins its hold");
    let other = call("/iam/users/2").header("idempotency-key", "k-1").send().await.unwrap();
    assert_problem(&other, 409, "conflict");
    let stranger = stack.agent_with(json!({"sub": "agent-8"})).call(Method::DELETE, "/iam/users/2");
    let stranger = stranger.header("prefer", "respond-async").header("idempotency-key", "k-1").send().await.unwrap();
    assert_eq!(stranger.status, 202, "keys are each agent's own: {}", stranger.text());
}
