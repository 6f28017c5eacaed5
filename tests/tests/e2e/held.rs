//! Requests that wait for a person.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use holdgate_tests::{
    agent::Call,
    reviewer::{Verdict, id_of},
    stack::{OWNER, Options},
    tamper::Exchange,
    until,
};
use hyper::{Method, body::Bytes};
use serde_json::json;

use crate::common::{
    JSON_BODY, LIMIT, assert_problem, passed, pending_hold, pending_holds, roles, start, start_with, ticket,
};

#[tokio::test(flavor = "multi_thread")]
async fn approved_request_reaches_the_upstream_with_exactly_its_bytes() {
    let stack = start(json!({})).await;
    let alice = stack.sign_in("alice").await.unwrap();
    let large = format!("{{\"role\" :\t\"editor\",\"note\":\"{}\", \"n\": 1.50e1}}\n", "x\\u00e9é".repeat(75_000));
    assert!(large.len() > 600_000);
    let bodies = [Bytes::new(), Bytes::from_static(b"{\"role\":1}"), Bytes::from(large)];
    let mut waiting = Vec::new();
    for (index, body) in bodies.iter().enumerate() {
        for (chunked, http2) in [(false, false), (false, true), (true, false), (true, true)] {
            let target = format!("{}?chunked={chunked}&http2={http2}", roles(&format!("user-{index}")));
            let mut call = stack.agent().post(&target, body.clone()).header("x-note", "kept");
            call = if chunked { call.chunked() } else { call };
            call = if http2 { call.http2() } else { call };
            waiting.push((target, body.clone(), tokio::spawn(call.send())));
        }
    }
    let holds = pending_holds(&alice, waiting.len(), LIMIT).await;
    for (target, _, call) in &waiting {
        assert!(stack.upstream.seen_at(target).is_empty(), "{target}: seen before the approval");
        assert!(!call.is_finished(), "{target}: answered before the approval");
    }
    assert_eq!(alice.decide_all(&holds, Verdict::Approve, "checked").await.unwrap(), holds.len());
    // Where the body tells no role, the policy wants a second person, and one approval wakes nothing.
    let bob = stack.sign_in("bob").await.unwrap();
    let second = bob.pending().await.unwrap().iter().filter_map(id_of).collect::<Vec<_>>();
    let without_role = waiting.iter().filter(|(_, body, _)| body.len() <= 10).collect::<Vec<_>>();
    assert_eq!(second.len(), without_role.len());
    assert!(without_role.iter().all(|(target, ..)| stack.upstream.seen_at(target).is_empty()));
    assert_eq!(bob.decide_all(&second, Verdict::Approve, "checked too").await.unwrap(), second.len());
    for (target, body, call) in waiting {
        let answer = call.await.unwrap().unwrap();
        assert!(passed(&answer), "{target}: {} {}", answer.status, answer.text());
        let seen = stack.upstream.seen_at(&target);
        assert_eq!(seen.len(), 1, "{target}");
        assert!(seen[0].body == body, "{target}: {} bytes instead of {}", seen[0].body.len(), body.len());
        assert_eq!((seen[0].method.as_str(), seen[0].header("x-note").as_deref()), ("POST", Some("kept")), "{target}");
        assert!(seen[0].headers.iter().all(|(name, _)| !name.starts_with("holdgate-")), "{target}");
    }
}

/// Each worker has a filter of its own with a feed of its own.
#[tokio::test(flavor = "multi_thread")]
async fn requests_held_on_several_workers_are_all_woken() {
    let stack = start_with(Options { concurrency: 3, ..Options::default() }).await;
    let alice = stack.sign_in("alice").await.unwrap();
    let call = |index| stack.agent().post(&roles(&format!("u{index}")), JSON_BODY).send();
    let waiting = (0..12).map(|index| tokio::spawn(call(index))).collect::<Vec<_>>();
    let holds = pending_holds(&alice, waiting.len(), LIMIT).await;
    assert_eq!(alice.decide_all(&holds, Verdict::Approve, "checked").await.unwrap(), holds.len());
    for call in waiting {
        let answer = call.await.unwrap().unwrap();
        assert!(passed(&answer), "{} {}", answer.status, answer.text());
    }
}

/// The first approval used, the others that waited for it are told so.
#[tokio::test(flavor = "multi_thread")]
async fn one_approval_lets_one_of_several_equal_requests_pass() {
    let opened = Arc::new(AtomicUsize::new(0));
    let seen = opened.clone();
    let count = move |exchange: &mut Exchange| {
        seen.fetch_add(usize::from(exchange.target == "/v1/holds"), Ordering::SeqCst);
    };
    let stack = start_with(Options { tamper: Some(Arc::new(count)), ..Options::default() }).await;
    let alice = stack.sign_in("alice").await.unwrap();
    let target = roles("7");
    let waiting = [(); 4].map(|()| tokio::spawn(stack.agent().post(&target, JSON_BODY).send()));
    let all = async || (opened.load(Ordering::SeqCst) == 4).then_some(());
    until("four requests on hold", LIMIT, all).await.unwrap();
    let hold = pending_hold(&alice, &target).await;
    assert_eq!(alice.pending().await.unwrap().len(), 1, "the same request joins the same hold");
    assert_eq!(alice.decide(&hold, Verdict::Approve, "checked").await.unwrap().status / 100, 2);
    let mut good = 0;
    for call in waiting {
        let answer = call.await.unwrap().unwrap();
        if passed(&answer) {
            good += 1;
        } else {
            assert_problem(&answer, 403, "used");
            assert_eq!(answer.json()["next_action"], "request");
        }
    }
    assert_eq!((good, stack.upstream.seen_at(&target).len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn denied_hold_is_a_refusal() {
    let stack = start(json!({})).await;
    let bob = stack.sign_in("bob").await.unwrap();
    let target = "/iam/users/2";
    let waiting = tokio::spawn(stack.agent().call(Method::DELETE, target).send());
    let hold = pending_hold(&bob, target).await;
    assert_eq!(bob.decide(&hold, Verdict::Deny, "not today").await.unwrap().status / 100, 2);
    let answer = waiting.await.unwrap().unwrap();
    assert_problem(&answer, 403, "denied");
    assert_eq!(answer.json()["decided_by"], "human");
    assert_eq!(answer.json()["next_action"], "none");
    assert!(stack.upstream.seen_at(target).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn owner_cannot_approve() {
    let stack = start(json!({"max_wait": "1s"})).await;
    let call = stack.agent().post(&roles("7"), JSON_BODY);
    let hold = ticket(&call.clone().send().await.unwrap());
    let owner = stack.sign_in(OWNER).await.unwrap();
    let answer = owner.decide(&hold, Verdict::Approve, "mine").await.unwrap();
    assert!((400..500).contains(&answer.status), "{} {}", answer.status, answer.text());
    assert_eq!(ticket(&call.send().await.unwrap()), hold);
    assert!(stack.upstream.seen_at(&roles("7")).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn undecided_request_gets_a_ticket_and_its_retry_passes_once() {
    let stack = start(json!({"max_wait": "1s"})).await;
    let alice = stack.sign_in("alice").await.unwrap();
    let target = roles("7");
    let call = stack.agent().post(&target, JSON_BODY);
    let hold = ticket(&call.clone().send().await.unwrap());
    assert_eq!(ticket(&call.clone().send().await.unwrap()), hold, "a retry joins the pending hold");

    let endpoint = format!("/.well-known/holdgate/tasks/{hold}");
    let status = stack.agent().get(&endpoint).send().await.unwrap();
    assert_eq!(status.status, 202, "{}", status.text());
    assert!(status.header("retry-after").is_some());
    let stranger = stack.agent_with(json!({"sub": "agent-9"})).get(&endpoint).send().await.unwrap();
    assert_eq!(stranger.status, 404, "{}", stranger.text());

    assert_eq!(alice.decide(&hold, Verdict::Approve, "checked").await.unwrap().status / 100, 2);
    assert!(stack.upstream.seen_at(&target).is_empty());
    let answer = call.clone().send().await.unwrap();
    assert!(passed(&answer), "{} {}", answer.status, answer.text());
    assert_eq!(stack.upstream.seen_at(&target).len(), 1);

    let again = ticket(&call.send().await.unwrap());
    assert_ne!(again, hold, "an approval is good for one request");
    assert_eq!(stack.upstream.seen_at(&target).len(), 1);
    assert!(stack.upstream.seen_at(&endpoint).is_empty(), "the status endpoint is the filter's");
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_request_is_another_hold() {
    let stack = start(json!({"max_wait": "1s"})).await;
    let alice = stack.sign_in("alice").await.unwrap();
    let target = roles("7");
    let post = |body: &str| stack.agent().post(&target, body.to_owned()).header("x-change", "1");
    let call = post(JSON_BODY);
    let hold = ticket(&call.clone().send().await.unwrap());
    assert_eq!(alice.decide(&hold, Verdict::Approve, "checked").await.unwrap().status / 100, 2);

    let other = stack.agent_with(json!({"sub": "agent-9"}));
    let variants: [(&str, Call); 7] = [
        ("a changed byte", post("{\"role\": \"editof\"}")),
        ("an added space", post("{\"role\":  \"editor\"}")),
        ("a changed header", call.clone().without("x-change").header("x-change", "2")),
        ("an added header", call.clone().header("x-more", "1")),
        ("a header left out", call.clone().without("x-change")),
        ("another query", stack.agent().post(&format!("{target}?a=1"), JSON_BODY).header("x-change", "1")),
        ("another agent", other.post(&target, JSON_BODY).header("x-change", "1")),
    ];
    let calls = variants.map(|(name, call)| (name, tokio::spawn(call.send())));
    let mut holds = vec![hold];
    for (name, call) in calls {
        let answer = call.await.unwrap().unwrap();
        assert_eq!(answer.problem(), "held", "{name}: {} {}", answer.status, answer.text());
        let other = ticket(&answer);
        assert!(!holds.contains(&other), "{name}: the same hold as another request's");
        holds.push(other);
    }
    assert!(stack.upstream.seen().iter().all(|seen| seen.method == "GET"), "none of them passed");
    // What the agent's tooling changes from try to try is not part of the request.
    let retry = call.header("user-agent", "another").header("x-request-id", "2").send().await.unwrap();
    assert!(passed(&retry), "{} {}", retry.status, retry.text());
}
