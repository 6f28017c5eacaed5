//! The approval service failing in each way that it can, one endpoint after another: nothing passes that should not, and
//! what does not depend on it goes on.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use holdgate_tests::{
    reviewer::{Reviewer, Verdict},
    stack::{Options, Stack},
    tamper::Exchange,
    until,
};
use serde_json::{Value, json};

use crate::common::{JSON_BODY, LIMIT, assert_problem, passed, pending_hold, roles, start_with};

/// What becomes of the answers of an endpoint.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Later than the filter waits.
    Slow,
    Reset,
    Status(u16),
    Text(&'static str),
    /// Longer than any answer can be.
    TooLong,
}

const FAULTS: [Fault; 9] = [
    Fault::Slow,
    Fault::Reset,
    Fault::Status(500),
    Fault::Status(503),
    Fault::Status(504),
    Fault::Status(302),
    Fault::Text("<html>welcome</html>"),
    Fault::Text("{\"state\":\"approved\",\"items\":[]}"),
    Fault::TooLong,
];

/// The filter waits a second for an answer, and for this long after a feed that says nothing.
const TIMEOUT: Duration = Duration::from_secs(1);

impl Fault {
    fn spoil(self, exchange: &mut Exchange) {
        match self {
            Fault::Slow => std::thread::park_timeout(TIMEOUT + Duration::from_secs(3)),
            Fault::Reset => exchange.reset = true,
            Fault::Status(status) => exchange.status = status,
            Fault::Text(text) => exchange.answer = text.into(),
            Fault::TooLong => {
                // A good answer but for its length: members that are not known are ignored.
                let mut answer: Value = serde_json::from_slice(&exchange.answer).unwrap_or_default();
                answer["x"] = Value::String("x".repeat(40_000_000));
                exchange.answer = answer.to_string().into();
            }
        }
    }
}

/// The fault of the moment, and the endpoint that it befalls.
type Current = Arc<Mutex<Option<(&'static str, Fault)>>>;

async fn faulty() -> (Stack, Current) {
    let current = Current::default();
    let (fault, plugin) = (current.clone(), json!({"approval": {"timeout": "1s"}, "feed_wait": "1s"}));
    let hook = move |exchange: &mut Exchange| {
        let fault = fault.lock().unwrap().filter(|(endpoint, _)| exchange.target.starts_with(endpoint));
        if let Some((_, fault)) = fault {
            fault.spoil(exchange);
        }
    };
    (start_with(Options { plugin, tamper: Some(Arc::new(hook)), ..Options::default() }).await, current)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_hold_can_be_opened() {
    let (stack, current) = faulty().await;
    for (index, fault) in FAULTS.into_iter().enumerate() {
        *current.lock().unwrap() = Some(("/v1/holds", fault));
        let target = roles(&format!("u{index}"));
        let answer = stack.agent().post(&target, JSON_BODY).send().await.unwrap();
        assert_problem(&answer, 503, "unavailable");
        assert!(answer.header("retry-after").is_some(), "{fault:?}");
        assert!(stack.upstream.seen_at(&target).is_empty(), "{fault:?}");
        assert!(stack.passes_routine().await, "{fault:?}");
    }
    *current.lock().unwrap() = None;
    let alice = stack.sign_in("alice").await.unwrap();
    passes_when_approved(&stack, &alice, "healed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_approval_can_be_redeemed() {
    let (stack, current) = faulty().await;
    let alice = stack.sign_in("alice").await.unwrap();
    for (index, fault) in FAULTS.into_iter().enumerate() {
        *current.lock().unwrap() = Some(("/v1/redemptions", fault));
        let target = roles(&format!("u{index}"));
        let waiting = tokio::spawn(stack.agent().post(&target, JSON_BODY).send());
        let hold = pending_hold(&alice, &target).await;
        assert_eq!(alice.decide(&hold, Verdict::Approve, "checked").await.unwrap().status / 100, 2);
        let answer = waiting.await.unwrap().unwrap();
        assert_problem(&answer, 503, "unavailable");
        assert!(stack.upstream.seen_at(&target).is_empty(), "{fault:?}");
        assert!(stack.passes_routine().await, "{fault:?}");
    }
    *current.lock().unwrap() = None;
    passes_when_approved(&stack, &alice, "healed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_task_can_be_asked_after() {
    let (stack, current) = faulty().await;
    for (index, fault) in FAULTS.into_iter().enumerate() {
        *current.lock().unwrap() = Some(("/v1/tasks/", fault));
        let answer = stack.agent().get(&format!("/.well-known/holdgate/tasks/h{index}")).send().await.unwrap();
        match fault {
            // The service's own 404 with another text is still its 404.
            Fault::Text(_) => assert_problem(&answer, 404, "unknown-task"),
            _ => assert_problem(&answer, 503, "unavailable"),
        }
    }
}

/// Reports are told once and lost without harm.
#[tokio::test(flavor = "multi_thread")]
async fn outcomes_that_cannot_be_told_harm_nothing() {
    let (stack, current) = faulty().await;
    let alice = stack.sign_in("alice").await.unwrap();
    for (index, fault) in FAULTS.into_iter().enumerate() {
        *current.lock().unwrap() = Some(("/v1/outcomes", fault));
        passes_when_approved(&stack, &alice, &format!("u{index}")).await;
    }
    assert!(!stack.envoy.log().contains("panicked"), "{}", stack.envoy.log_tail());
}

/// A feed that fails is a feed that grows old: then nothing passes, and it comes back by itself.
#[tokio::test(flavor = "multi_thread")]
async fn feed_that_fails_is_read_again_when_it_is_back() {
    let current = Current::default();
    let fault = current.clone();
    let hook = move |exchange: &mut Exchange| {
        let fault = fault.lock().unwrap().filter(|(endpoint, _)| exchange.target.starts_with(endpoint));
        if let Some((_, fault)) = fault {
            fault.spoil(exchange);
        }
    };
    let plugin = json!({"approval": {"timeout": "1s"}, "feed_wait": "1s", "feed_max_age": "2s"});
    let stack = start_with(Options { plugin, tamper: Some(Arc::new(hook)), ..Options::default() }).await;
    for fault in [Fault::Slow, Fault::Reset, Fault::Status(500), Fault::Status(504), Fault::Text("[]"), Fault::TooLong]
    {
        *current.lock().unwrap() = Some(("/v1/feed", fault));
        let old = async || (!stack.passes_routine().await).then_some(());
        until(&format!("{fault:?}: routine requests to be refused"), LIMIT, old).await.unwrap();
        let answer = stack.agent().post(&roles("7"), JSON_BODY).send().await.unwrap();
        assert_problem(&answer, 503, "unavailable");
        *current.lock().unwrap() = None;
        let back = async || stack.passes_routine().await.then_some(());
        until(&format!("{fault:?}: routine requests to pass again"), LIMIT, back).await.unwrap();
    }
    let alice = stack.sign_in("alice").await.unwrap();
    passes_when_approved(&stack, &alice, "healed").await;
}

/// Ten minutes apart nothing is held, since a grant could not be judged; two minutes apart everything works.
#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_are_apart() {
    for (apart, holds) in [(600_i64, false), (-600, false), (100, true), (-100, true)] {
        let hook = move |exchange: &mut Exchange| {
            let shift = |value: &mut Value| *value = json!(value.as_i64().unwrap() + apart);
            if exchange.target == "/v1/state" {
                let mut answer: Value = serde_json::from_slice(&exchange.answer).unwrap();
                shift(&mut answer["now"]);
                exchange.answer = answer.to_string().into();
            }
        };
        let plugin = json!({"max_wait": "1s"});
        let stack = start_with(Options { plugin, tamper: Some(Arc::new(hook)), ..Options::default() }).await;
        assert!(stack.passes_routine().await, "{apart}");
        let answer = stack.agent().post(&roles("7"), JSON_BODY).send().await.unwrap();
        if holds { assert_problem(&answer, 403, "held") } else { assert_problem(&answer, 503, "unavailable") }
    }
}

async fn passes_when_approved(stack: &Stack, alice: &Reviewer, user: &str) {
    let target = roles(user);
    let waiting = tokio::spawn(stack.agent().post(&target, JSON_BODY).send());
    let hold = pending_hold(alice, &target).await;
    assert_eq!(alice.decide(&hold, Verdict::Approve, "checked").await.unwrap().status / 100, 2);
    let answer = waiting.await.unwrap().unwrap();
    assert!(passed(&answer), "{} {}", answer.status, answer.text());
    assert_eq!(stack.upstream.seen_at(&target).len(), 1);
}
