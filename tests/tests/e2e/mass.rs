//! Many requests on hold at once, on one worker, decided in one go.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use holdgate_tests::{
    http::{Connection, Response},
    reviewer::{Verdict, id_of},
    stack::{Options, Stack},
    until,
};
use serde_json::json;

use crate::common::{JSON_BODY, passed, roles, start_with};

const COUNT: usize = 2_000;
const CONNECTIONS: usize = 4;
const LIMIT: Duration = Duration::from_secs(180);

/// The shipped policy waits 45 s, which a slow machine may need to open so many holds.
const POLICY: &str = "
format: 1
policy: iam-guardrails
owner: iam-team@example.com
approvers:
  iam-approver: {description: May approve changes of access.}
rules:
  - id: iam.read
    effect: allow
    match:
      - http: {methods: [GET, HEAD], path: /iam/**}
  - id: iam.role.grant
    effect: hold
    reason: Granting a role changes who can reach what.
    match:
      - http: {methods: [POST], path: \"/iam/users/{user}/roles\"}
    approval:
      factors: [{role: iam-approver, approvals: 1}]
      decide_within: 30m
      use_within: 10m
      wait: 10m
      reason: required
tests:
  - name: a role is held
    request: {agent: {}, http: {method: POST, path: /iam/users/7/roles}}
    expect: {effect: hold, rules: [iam.role.grant]}
";

/// Holds all requests, decides them in one go, and returns the answers.
async fn decide_all(stack: &Stack, verdict: Verdict) -> Vec<Response> {
    let alice = stack.sign_in("alice").await.unwrap();
    let agent = stack.agent();
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(Arc::new(Connection::open(agent.gateway).await.unwrap()));
    }
    let begun = Instant::now();
    let waiting = (0..COUNT).map(|index| {
        let call = agent.post(&roles(&format!("u{index}")), JSON_BODY);
        let connection = connections[index % CONNECTIONS].clone();
        tokio::spawn(async move { call.send_on(&connection).await })
    });
    let mut waiting = waiting.collect::<Vec<_>>();
    let all_held = until("all requests to be held", LIMIT, async || {
        let opened = stack.statistic("cluster.approval.upstream_rq_201").await.unwrap_or(0);
        let early = waiting.iter_mut().find(|call| call.is_finished());
        let early = if let Some(call) = early { Some(call.await.unwrap().unwrap()) } else { None };
        assert!(early.is_none(), "answered instead of held: {early:?}");
        let pending = if opened == COUNT as u64 { alice.pending().await.unwrap() } else { Vec::new() };
        (pending.len() == COUNT).then(|| pending.iter().filter_map(id_of).collect::<Vec<_>>())
    });
    let holds = all_held.await.unwrap();
    let held = begun.elapsed();
    assert_eq!(stack.statistic("http.agents.downstream_rq_active").await.unwrap(), COUNT as u64);
    assert!(stack.upstream.seen().iter().all(|seen| seen.method == "GET"));
    assert!(waiting.iter().all(|call| !call.is_finished()));
    assert!(stack.passes_routine().await, "routine requests pass beside so many holds");
    assert_eq!(alice.decide_all(&holds, verdict, "all of them").await.unwrap(), COUNT);
    let decided = begun.elapsed();
    let mut answers = Vec::new();
    for call in waiting {
        answers.push(tokio::time::timeout(LIMIT, call).await.unwrap().unwrap().unwrap());
    }
    println!(
        "{COUNT} held in {held:.1?}, decided in {:.1?}, answered in {:.1?}",
        decided - held,
        begun.elapsed() - decided
    );
    assert!(!stack.envoy.log().contains("panicked"), "{}", stack.envoy.log_tail());
    assert!(stack.passes_routine().await, "the filter still serves");
    answers
}

/// One of these tests at a time: each wants the whole machine.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Neither the wait nor a callout ends early: how fast the machine is must not decide the test.
async fn start() -> Stack {
    let plugin = json!({"max_wait": "10m", "approval": {"timeout": "2m"}});
    // All of them are one agent's, of one owner and one rule.
    let quotas = ["agent.open", "agent.hour", "owner.open", "owner.hour", "rule.open", "rule.hour"];
    let serve = quotas.into_iter().flat_map(|name| ["--quota".to_owned(), format!("{name}={COUNT}")]).collect();
    start_with(Options { policy: Some(POLICY.to_owned()), plugin, serve, ..Options::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_denied_in_one_go_get_their_refusals() {
    let _alone = ALONE.lock().await;
    let stack = start().await;
    let answers = decide_all(&stack, Verdict::Deny).await;
    let refused = answers.iter().filter(|answer| answer.status == 403 && answer.problem() == "denied").count();
    assert_eq!(refused, COUNT);
    assert!(stack.upstream.seen().iter().all(|seen| seen.method == "GET"));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_approved_in_one_go_pass_once_each() {
    let _alone = ALONE.lock().await;
    let stack = start().await;
    let answers = decide_all(&stack, Verdict::Approve).await;
    let failed = answers.iter().find(|answer| !passed(answer));
    assert!(failed.is_none(), "{failed:?}");
    let seen = stack.upstream.seen();
    let mut targets = seen.iter().filter(|seen| seen.method == "POST").map(|seen| &seen.target).collect::<Vec<_>>();
    assert_eq!(targets.len(), COUNT);
    targets.sort();
    targets.dedup();
    assert_eq!(targets.len(), COUNT);
}
