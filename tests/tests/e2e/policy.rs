//! A new policy while the gateway runs.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
    mpsc,
};

use holdgate_protocol::{bundle::SignedBundle, from_b64url};
use holdgate_tests::{
    identity::new_key,
    reviewer::Verdict,
    stack::{Options, Places},
    tamper::Exchange,
    until,
    upstream::MARK,
};
use hyper::Method;
use serde_json::json;

use crate::common::{LIMIT, assert_problem, pending_hold, start_with, ticket};

/// The shipped policy with one more rule.
fn shipped_with(rule: &str) -> String {
    let shipped = std::fs::read_to_string(Places::find().unwrap().shipped_policy()).unwrap();
    assert_eq!(shipped.matches("\nrules:\n").count(), 1);
    shipped.replace("\nrules:\n", &format!("\nrules:\n{rule}\n"))
}

const OPEN: &str = "  - id: extra.open
    effect: allow
    match:
      - http: {methods: [POST], path: /iam/users}
";

const FREEZE: &str = "  - id: extra.freeze
    effect: deny
    reason: Nobody is deleted today.
    match:
      - http: {methods: [DELETE], path: /iam/**}
";

/// Whoever stands between filter and service can hand over another bundle, but not one that the authors signed.
#[tokio::test(flavor = "multi_thread")]
async fn bundle_that_the_authors_did_not_sign_is_not_put_in_force() {
    let forging = Arc::new(AtomicBool::new(true));
    let forge = forging.clone();
    let stranger = new_key().unwrap();
    let hook = move |exchange: &mut Exchange| {
        if exchange.target.starts_with("/v1/bundles/") && forge.load(Ordering::SeqCst) {
            let signed: SignedBundle = serde_json::from_slice(&exchange.answer).unwrap();
            // The first start needs a policy; only the second one is tampered with.
            let bytes = from_b64url(&signed.bundle).unwrap();
            if String::from_utf8_lossy(&bytes).contains("extra.open") {
                exchange.answer = serde_json::to_vec(&SignedBundle::sign(&bytes, &stranger)).unwrap().into();
            }
        }
    };
    let stack = start_with(Options { tamper: Some(Arc::new(hook)), ..Options::default() }).await;
    let call = || stack.agent().post("/iam/users", "{\"name\":\"jo\"}");
    assert_problem(&call().send().await.unwrap(), 403, "denied");

    stack.publish_text(2, &shipped_with(OPEN)).unwrap();
    let refused = || stack.envoy.log().contains("is not put in force: the signature does not count");
    until("the bundle to be refused", LIMIT, async || refused().then_some(())).await.unwrap();
    assert_problem(&call().send().await.unwrap(), 403, "denied");
    assert!(stack.passes_routine().await, "the policy in force stays");

    forging.store(false, Ordering::SeqCst);
    until("the new policy to be in force", LIMIT, async || {
        call().send().await.unwrap().header(MARK).is_some().then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn request_that_waited_meets_the_policy_of_the_moment_it_is_woken() {
    let stack = start_with(Options::default()).await;
    let alice = stack.sign_in("alice").await.unwrap();
    let target = "/iam/users/2";
    let delete = |target: &str| stack.agent().call(Method::DELETE, target).send();
    let waiting = tokio::spawn(delete(target));
    let hold = pending_hold(&alice, target).await;
    stack.publish_text(2, &shipped_with(FREEZE)).unwrap();
    // What no rule named before is what the new rule denies now.
    let frozen = async || (delete("/iam/nothing/here").await.unwrap().json()["rule"] == "extra.freeze").then_some(());
    until("the new policy to be in force", LIMIT, frozen).await.unwrap();
    assert_eq!(alice.decide(&hold, Verdict::Approve, "checked").await.unwrap().status / 100, 2);
    let answer = waiting.await.unwrap().unwrap();
    assert_problem(&answer, 403, "denied");
    assert_eq!(answer.json()["rule"], "extra.freeze");
    assert!(stack.upstream.seen_at(target).is_empty());
}

/// The answer that says `approved` is kept back until a newer policy allows the request: it goes on, and does not hang.
#[tokio::test(flavor = "multi_thread")]
async fn request_that_is_allowed_by_the_time_its_hold_is_found_goes_on() {
    let (arrived, arrival) = mpsc::channel();
    let (go, gone) = mpsc::channel::<()>();
    let gone = Mutex::new(gone);
    let hook = move |exchange: &mut Exchange| {
        if exchange.target == "/v1/holds" && String::from_utf8_lossy(&exchange.answer).contains("\"approved\"") {
            arrived.send(()).unwrap();
            gone.lock().unwrap().recv_timeout(LIMIT).unwrap();
        }
        // The service cancels the hold with the policy that asked for it; that news is late.
        if exchange.target.starts_with("/v1/feed") && exchange.status == 200 {
            let mut page: serde_json::Value = serde_json::from_slice(&exchange.answer).unwrap();
            page["items"].as_array_mut().unwrap().retain(|item| item["type"] != "hold");
            exchange.answer = page.to_string().into();
        }
    };
    let plugin = json!({"max_wait": "1s", "approval": {"timeout": "60s"}});
    let stack = start_with(Options { plugin, tamper: Some(Arc::new(hook)), ..Options::default() }).await;
    let alice = stack.sign_in("alice").await.unwrap();
    let delete = |target: &str| stack.agent().call(Method::DELETE, target).send();
    let hold = ticket(&delete("/iam/users/2").await.unwrap());
    assert_eq!(alice.decide(&hold, Verdict::Approve, "checked").await.unwrap().status / 100, 2);

    let retry = tokio::spawn(delete("/iam/users/2"));
    tokio::task::spawn_blocking(move || arrival.recv_timeout(LIMIT)).await.unwrap().unwrap();
    let shipped = std::fs::read_to_string(Places::find().unwrap().shipped_policy()).unwrap();
    let head = shipped.split("\nrules:\n").next().unwrap();
    let open = "  - id: open\n    effect: allow\n    match:\n      - http: {path: /iam/**}\n";
    let test =
        "tests:\n  - {name: t, request: {agent: {}, http: {method: GET, path: /iam}}, expect: {effect: allow}}\n";
    stack.publish_text(2, &format!("{head}\nrules:\n{open}{test}")).unwrap();
    let allowed = async || delete("/iam/nothing/here").await.unwrap().header(MARK).map(|_| ());
    until("the new policy to be in force", LIMIT, allowed).await.unwrap();
    go.send(()).unwrap();
    let answer = tokio::time::timeout(LIMIT, retry).await.unwrap().unwrap().unwrap();
    assert!(answer.header(MARK).is_some(), "{} {}", answer.status, answer.text());
    assert_eq!(stack.upstream.seen_at("/iam/users/2").len(), 1);
}
