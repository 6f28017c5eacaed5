//! What operators and auditors are told: access log, metrics, audit records, traces; and rates, which count for all workers.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use holdgate_tests::{
    http,
    reviewer::Verdict,
    stack::{Options, Stack},
    tamper::Exchange,
    until,
    upstream::MARK,
};
use hyper::Method;
use serde_json::{Value, json};

use crate::common::{JSON_BODY, LIMIT, assert_problem, passed, pending_hold, roles, start, start_with, ticket};

/// One request of each kind: what the access log says of it, and where it went.
async fn one_of_each(stack: &Stack) -> Vec<(&'static str, String, Option<&'static str>)> {
    let alice = stack.sign_in("alice").await.unwrap();
    assert!(passed(&stack.agent().get("/iam/users/1?token=query-secret").send().await.unwrap()));
    let denied = stack.agent_with(json!({"owner": null})).post(&roles("denied"), "{\"role\":\"body-secret\"}");
    assert_problem(&denied.send().await.unwrap(), 403, "denied");
    ticket(&stack.agent().post(&roles("held"), JSON_BODY).header("prefer", "wait=1").send().await.unwrap());
    let stranger = stack.agent_with_token("x.y.z".into()).get("/iam/users/2");
    assert_problem(&stranger.send().await.unwrap(), 401, "identity");
    let target = roles("granted");
    let waiting = tokio::spawn(stack.agent().post(&target, JSON_BODY).send());
    let hold = pending_hold(&alice, &target).await;
    assert_eq!(alice.decide(&hold, Verdict::Approve, "checked").await.unwrap().status / 100, 2);
    assert!(passed(&waiting.await.unwrap().unwrap()));
    vec![
        ("allow", "/iam/users/1".into(), None),
        ("denied", roles("denied"), Some("iam.no-owner")),
        ("held", roles("held"), Some("iam.role.grant")),
        ("identity", "/iam/users/2".into(), None),
        ("granted", target, None),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn access_log_tells_decision_and_rule() {
    let stack = start(json!({})).await;
    for (decision, path, rule) in one_of_each(&stack).await {
        let line = async || {
            let log = stack.envoy.log();
            let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            lines.rfind(|line| line["path"] == *path)
        };
        let line = until("a line of the access log", LIMIT, line).await.unwrap();
        assert_eq!((line["decision"].as_str(), line["rule"].as_str()), (Some(decision), rule), "{line}");
    }
    let log = stack.envoy.log();
    assert!(!log.contains("query-secret") && !log.contains("body-secret"), "{log}");
}

type Labels<'a> = &'a [(&'a str, &'a str)];

/// What Prometheus reads: the value of the one figure with this name and these labels.
fn figure(text: &str, name: &str, labels: Labels<'_>) -> Option<u64> {
    let has = |line: &str, label: &(&str, &str)| line.contains(&format!("{}=\"{}\"", label.0, label.1));
    let mut lines = text.lines().filter(|line| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{')) && labels.iter().all(|label| has(line, label))
    });
    let line = lines.next()?;
    assert_eq!(lines.next(), None, "two figures {name} {labels:?}");
    line.rsplit_once(' ')?.1.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_reads_figures_with_labels() {
    let stack = start(json!({})).await;
    one_of_each(&stack).await;
    let expected: [(&str, Labels<'_>, u64); 9] = [
        ("holdgate_decisions", &[("effect", "deny"), ("rule", "iam.no-owner")], 1),
        ("holdgate_decisions", &[("effect", "hold"), ("rule", "iam.role.grant")], 2),
        ("holdgate_ends", &[("code", "denied")], 1),
        ("holdgate_ends", &[("code", "held")], 1),
        ("holdgate_ends", &[("code", "identity")], 1),
        ("holdgate_ends", &[("code", "granted")], 1),
        ("holdgate_held_ms_bucket", &[("le", "+Inf")], 2),
        ("holdgate_parked", &[], 0),
        ("holdgate_policy_serial", &[], 1),
    ];
    let read = async || http::get(stack.ports.admin(), "/stats/prometheus").await.unwrap().text();
    let all = async || {
        let text = read().await;
        expected.iter().all(|(name, labels, value)| figure(&text, name, labels) == Some(*value)).then_some(())
    };
    if let Err(error) = until("the figures", LIMIT, all).await {
        let text = read().await;
        let ours: Vec<_> = text.lines().filter(|line| line.contains("holdgate_")).collect();
        panic!("{error}: {}", ours.join("\n"));
    }
    let text = read().await;
    assert!(figure(&text, "holdgate_decisions", &[("effect", "allow")]).unwrap() >= 1, "{text}");
    assert!(figure(&text, "holdgate_feed_age_ms", &[]).is_some());
}

/// Everything that went to the service, as it was sent.
type Sent = Arc<Mutex<Vec<Exchange>>>;

fn watched() -> (Sent, Options) {
    let sent = Sent::default();
    let keep = sent.clone();
    let hook = move |exchange: &mut Exchange| keep.lock().unwrap().push(exchange.clone());
    (sent, Options { tamper: Some(Arc::new(hook)), ..Options::default() })
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_has_one_audit_record_and_none_of_its_secrets() {
    let (sent, options) = watched();
    let stack = start_with(options).await;
    let batches = || -> Vec<Value> {
        let sent = sent.lock().unwrap();
        let taken = sent.iter().filter(|exchange| exchange.target == "/v1/audit");
        let taken = taken.inspect(|exchange| assert_eq!(exchange.status, 202, "{exchange:?}"));
        taken.map(|exchange| serde_json::from_slice(&exchange.request).unwrap()).collect()
    };
    let records =
        || -> Vec<Value> { batches().iter().flat_map(|batch| batch["records"].as_array().unwrap().clone()).collect() };
    let all = one_of_each(&stack).await;
    let of = |path: &str| records().into_iter().filter(|record| record["request"]["path"] == path).collect::<Vec<_>>();
    for (decision, path, rule) in &all {
        // What the service itself writes of: the hold that it opened, or redeemed, for this very request.
        let own = !matches!(*decision, "held" | "granted");
        if own {
            let found = async || Some(of(path)).filter(|records| !records.is_empty());
            let found = until("a record", LIMIT, found).await.unwrap();
            let [record] = &found[..] else { panic!("{found:?}") };
            assert_eq!(record["code"], *decision);
            assert_eq!(record["agent"]["sub"].as_str(), Some("agent-7").filter(|_| *decision != "identity"));
            if let Some(rule) = rule {
                assert_eq!(record["rules"][0]["id"], *rule);
            }
        }
    }
    // A second is over since all of them ended: whatever there is has been sent.
    assert!(
        all.iter()
            .filter(|(decision, ..)| matches!(*decision, "held" | "granted"))
            .all(|(_, path, _)| of(path).is_empty())
    );
    let mut next = BTreeMap::new();
    for batch in batches() {
        let from = batch["from_seq"].as_u64().unwrap();
        let next = next.entry(batch["vm_epoch"].as_str().unwrap().to_owned()).or_insert(1);
        assert_eq!(from, *next, "no number is skipped: {batch}");
        *next = batch["to_seq"].as_u64().unwrap() + 1;
        assert_eq!(batch["dropped"], 0);
    }
    let text = Value::from(records()).to_string();
    assert!(!text.contains("secret") && !text.contains("Bearer") && !text.contains("eyJ"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn trace_context_goes_along_with_a_request_s_own_calls_only() {
    let (sent, options) = watched();
    let stack = start_with(options).await;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let held = |target: &str| stack.agent().post(target, JSON_BODY).header("prefer", "respond-async");
    let good = held(&roles("1")).header("traceparent", parent).header("tracestate", "a=1");
    let location = good.send().await.unwrap().header("location").unwrap().to_owned();
    stack.agent().get(&location).header("traceparent", parent).send().await.unwrap();
    let bad = held(&roles("2")).header("traceparent", "00-evil").header("tracestate", "a=1");
    assert_eq!(bad.send().await.unwrap().status, 202);
    let sent = sent.lock().unwrap();
    let traced: Vec<_> = sent
        .iter()
        .filter(|exchange| exchange.headers.contains_key("traceparent") || exchange.headers.contains_key("tracestate"))
        .map(|exchange| {
            let header = |name: &str| exchange.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
            let target = exchange.target.split('?').next().unwrap().rsplit_once('/').unwrap().0.to_owned();
            (target, header("traceparent"), header("tracestate"))
        })
        .collect();
    let parent = Some(parent.to_owned());
    assert_eq!(traced, [("/v1".into(), parent.clone(), Some("a=1".into())), ("/v1/tasks".into(), parent, None)]);
}

const LIMITED: &str = "  - id: extra.open
    effect: allow
    match:
      - http: {methods: [GET, PURGE], path: /limited/**}
  - id: extra.flood
    effect: deny
    reason: Too many.
    match:
      - http: {methods: [GET], path: /limited/**}
        rate: {over: 60, per: 1h, by: agent}
  - id: extra.burst
    effect: hold
    match:
      - http: {methods: [PURGE], path: /limited/**}
        rate: {over: 5, per: 1h, by: rule}
    approval:
      factors: [{role: iam-approver, approvals: 1}]
      decide_within: 10m
      use_within: 10m
";

#[tokio::test(flavor = "multi_thread")]
async fn rates_count_for_all_workers_and_connections_together() {
    let shipped = std::fs::read_to_string(holdgate_tests::stack::Places::find().unwrap().shipped_policy()).unwrap();
    let policy = shipped.replace("\nrules:\n", &format!("\nrules:\n{LIMITED}\n"));
    let stack = start_with(Options { policy: Some(policy), concurrency: 2, ..Options::default() }).await;
    // Each worker has a policy of its own to fetch.
    until("all workers", LIMIT, async || {
        for _ in 0..30 {
            stack.passes_routine().await.then_some(())?;
        }
        Some(())
    })
    .await
    .unwrap();
    let burst = |count: usize, sub: &'static str| {
        let calls: Vec<_> = (0..count)
            .map(|index| {
                let agent = stack.agent_with(json!({"sub": sub}));
                // Each on a connection of its own, and so on any of the workers.
                tokio::spawn(agent.get(&format!("/limited/{index}")).send())
            })
            .collect();
        async {
            let mut good = 0;
            for call in calls {
                let answer = call.await.unwrap().unwrap();
                if answer.header(MARK).is_some() {
                    good += 1;
                } else {
                    assert_problem(&answer, 403, "denied");
                    assert_eq!(answer.json()["rule"], "extra.flood");
                }
            }
            good
        }
    };
    assert_eq!(burst(150, "agent-7").await, 60);
    assert_eq!(burst(40, "agent-7").await, 0);
    assert_eq!(burst(100, "agent-8").await, 60, "each agent for itself");
    let listener = format!("listener.{}_{}", stack.ports.gateway().ip(), stack.ports.gateway().port());
    for worker in 0..2 {
        let connections = stack.statistic(&format!("{listener}.worker_{worker}.downstream_cx_total")).await.unwrap();
        assert!(connections > 20, "worker {worker} had {connections} connections");
    }

    // By rule: all agents together, and the next one waits for a person.
    for index in 0..6 {
        let agent = stack.agent_with(json!({"sub": format!("agent-{index}")}));
        let call = agent.call(Method::from_bytes(b"PURGE").unwrap(), "/limited/1").header("prefer", "wait=1");
        let answer = call.send().await.unwrap();
        if index < 5 {
            assert!(answer.header(MARK).is_some(), "{index}: {}", answer.text());
        } else {
            ticket(&answer);
        }
    }
}

/// The attack: first requests to all workers at once. Where two of them made the page of a count at the same time, one's
/// count was lost, and the agent had a request for nothing.
#[tokio::test(flavor = "multi_thread")]
async fn first_requests_at_the_same_time_are_all_counted() {
    let shipped = std::fs::read_to_string(holdgate_tests::stack::Places::find().unwrap().shipped_policy()).unwrap();
    let limited = LIMITED.replace("over: 60", "over: 1");
    let policy = shipped.replace("\nrules:\n", &format!("\nrules:\n{limited}\n"));
    let stack = start_with(Options { policy: Some(policy), concurrency: 4, ..Options::default() }).await;
    until("all workers", LIMIT, async || {
        for _ in 0..60 {
            stack.passes_routine().await.then_some(())?;
        }
        Some(())
    })
    .await
    .unwrap();
    for agent in 0..200 {
        let agent = stack.agent_with(json!({"sub": format!("agent-{agent}")}));
        let calls = [0, 1, 2, 3].map(|index| tokio::spawn(agent.get(&format!("/limited/{index}")).send()));
        let mut good = 0;
        for call in calls {
            good += usize::from(call.await.unwrap().unwrap().header(MARK).is_some());
        }
        assert_eq!(good, 1);
    }
}
