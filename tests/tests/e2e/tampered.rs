//! Answers of the service that somebody rewrote on their way to the filter.

use std::sync::{Arc, Mutex};

use holdgate_protocol::{
    Hash, from_b64url,
    gateway::{RedemptionAnswers, Redemptions},
    grant,
    jws::{Jwk, PrivateKey},
};
use holdgate_tests::{
    agent::Call,
    identity::new_key,
    reviewer::{Reviewer, Verdict},
    stack::{Options, Stack},
    tamper::Exchange,
    until,
};
use serde_json::{Value, json};

use crate::common::{JSON_BODY, LIMIT, passed, pending_hold, roles, start_with};

/// Changes a grant, given all those that were issued before.
type Forge = fn(grant: String, earlier: &[String]) -> String;

/// Two approved requests, of which the first is redeemed honestly and the second with a forged grant.
async fn second_grant_is_forged(forge: Forge, first: &str, second: &str, why: &str) {
    let issued = Arc::new(Mutex::new(Vec::new()));
    let hook = move |exchange: &mut Exchange| {
        let mut issued = issued.lock().unwrap();
        rewrite_grants(exchange, |grant| {
            let given = if issued.is_empty() { grant.clone() } else { forge(grant.clone(), &issued) };
            issued.push(grant);
            given
        });
    };
    let stack = start_with(Options { tamper: Some(Arc::new(hook)), ..Options::default() }).await;
    let alice = stack.sign_in("alice").await.unwrap();
    let honest = approve(&stack, &alice, first).await;
    assert!(passed(&honest), "{} {}", honest.status, honest.text());
    let before = stack.upstream.seen_at(second).len();
    assert_nothing_passes(&stack, &approve(&stack, &alice, second).await, second, before).await;
    until(&format!("`{why}` in the log"), LIMIT, async || grant_refused(&stack, why).then_some(())).await.unwrap();
}

fn grant_refused(stack: &Stack, why: &str) -> bool {
    stack.envoy.log().lines().any(|line| line.contains("a grant is refused") && line.contains(why))
}

async fn approve(stack: &Stack, alice: &Reviewer, target: &str) -> holdgate_tests::http::Response {
    let call: Call = stack.agent().post(target, JSON_BODY);
    let waiting = tokio::spawn(call.send());
    let hold = pending_hold(alice, target).await;
    assert_eq!(alice.decide(&hold, Verdict::Approve, "checked").await.unwrap().status / 100, 2);
    waiting.await.unwrap().unwrap()
}

async fn assert_nothing_passes(stack: &Stack, answer: &holdgate_tests::http::Response, target: &str, before: usize) {
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(!answer.problem().is_empty(), "{}", answer.text());
    assert_eq!(stack.upstream.seen_at(target).len(), before, "the upstream saw a request with a forged grant");
    assert!(stack.passes_routine().await, "the filter still serves");
}

fn rewrite_grants(exchange: &mut Exchange, mut rewrite: impl FnMut(String) -> String) {
    if exchange.target != "/v1/redemptions" {
        return;
    }
    let mut answers: RedemptionAnswers = serde_json::from_slice(&exchange.answer).unwrap();
    for item in &mut answers.items {
        item.grant = item.grant.take().map(&mut rewrite);
    }
    exchange.answer = serde_json::to_vec(&answers).unwrap().into();
}

fn resigned(grant: &str, key: &PrivateKey) -> String {
    let claims = from_b64url(grant.split('.').nth(1).unwrap()).unwrap();
    key.sign(grant::JWS_TYPE, &claims)
}

#[tokio::test(flavor = "multi_thread")]
async fn old_grant_for_the_same_request_is_refused() {
    let target = roles("7");
    second_grant_is_forged(|_, earlier| earlier[0].clone(), &target, &target, "that of another request").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grant_for_another_digest_is_refused() {
    second_grant_is_forged(|_, earlier| earlier[0].clone(), &roles("1"), &roles("2"), "that of another request").await;
}

/// Each claim is checked by itself: the grant for this very request, signed by the service's own key, with one claim changed.
#[tokio::test(flavor = "multi_thread")]
async fn grant_with_one_claim_changed_is_refused_whoever_signed_it() {
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 5] = [
        ("`req.h`", |claims| claims["req"]["h"] = json!(Hash::of(b"another request"))),
        ("`nonce`", |claims| claims["nonce"] = json!("AAAAAAAAAAAAAAAAAAAAAA")),
        ("`aud`", |claims| claims["aud"] = json!("another-group")),
        ("`act`", |claims| claims["act"]["sub"] = json!("another-agent")),
        ("not valid at this time", |claims| {
            for name in ["iat", "nbf", "exp"] {
                claims[name] = json!(claims[name].as_u64().unwrap() - 600);
            }
        }),
    ];
    let forge = Arc::new(Mutex::new(None::<(PrivateKey, Change)>));
    let forged = forge.clone();
    let hook = move |exchange: &mut Exchange| {
        rewrite_grants(exchange, |grant| {
            let forged = forged.lock().unwrap();
            let Some((key, change)) = forged.as_ref() else { return grant };
            let claims = from_b64url(grant.split('.').nth(1).unwrap()).unwrap();
            let mut claims: Value = serde_json::from_slice(&claims).unwrap();
            change(&mut claims);
            key.sign(grant::JWS_TYPE, claims.to_string().as_bytes())
        });
    };
    let stack = start_with(Options { tamper: Some(Arc::new(hook)), ..Options::default() }).await;
    let alice = stack.sign_in("alice").await.unwrap();
    for (index, (why, change)) in changes.into_iter().enumerate() {
        *forge.lock().unwrap() = Some((stack.grant_key().unwrap(), change));
        let target = roles(&format!("u{index}"));
        assert_nothing_passes(&stack, &approve(&stack, &alice, &target).await, &target, 0).await;
        until(&format!("{why} in the log"), LIMIT, async || grant_refused(&stack, why).then_some(())).await.unwrap();
    }
    // Signed anew and unchanged it passes: it is the change that is refused.
    *forge.lock().unwrap() = Some((stack.grant_key().unwrap(), |_| {}));
    let answer = approve(&stack, &alice, &roles("unchanged")).await;
    assert!(passed(&answer), "{} {}", answer.status, answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn grant_signed_by_another_key_is_refused() {
    let forge = |grant: String, _: &[String]| resigned(&grant, &new_key().unwrap());
    second_grant_is_forged(forge, &roles("1"), &roles("2"), "no trusted key").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grant_signed_by_another_key_under_the_name_of_the_pinned_one_is_refused() {
    let forge = |grant: String, _: &[String]| {
        let header = from_b64url(grant.split('.').next().unwrap()).unwrap();
        let header: Value = serde_json::from_slice(&header).unwrap();
        let kid = header["kid"].as_str().unwrap().to_owned();
        let key = PrivateKey::from_jwk(&Jwk { kid, ..new_key().unwrap().to_private_jwk() }).unwrap();
        resigned(&grant, &key)
    };
    second_grant_is_forged(forge, &roles("1"), &roles("2"), "the signature does not fit").await;
}

/// A proxy cannot make an approval out of nothing: what it says of a state leads to a redemption, and there is no grant.
#[tokio::test(flavor = "multi_thread")]
async fn hold_that_is_only_said_to_be_approved_does_not_pass() {
    let asked = Arc::new(Mutex::new(0));
    let redemptions = asked.clone();
    let hook = move |exchange: &mut Exchange| match exchange.target.as_str() {
        "/v1/holds" => {
            let mut answer: Value = serde_json::from_slice(&exchange.answer).unwrap();
            answer["state"] = json!("approved");
            exchange.answer = answer.to_string().into();
        }
        "/v1/redemptions" => {
            let asked: Redemptions = serde_json::from_slice(&exchange.request).unwrap();
            *redemptions.lock().unwrap() += asked.items.len();
        }
        _ => {}
    };
    let plugin = json!({"max_wait": "1s"});
    let stack = start_with(Options { plugin, tamper: Some(Arc::new(hook)), ..Options::default() }).await;
    let target = roles("7");
    let answer = stack.agent().post(&target, JSON_BODY).send().await.unwrap();
    assert!(!passed(&answer) && !answer.problem().is_empty(), "{} {}", answer.status, answer.text());
    assert!(*asked.lock().unwrap() > 0, "the filter asked for a grant");
    assert!(stack.upstream.seen_at(&target).is_empty());
    assert!(stack.passes_routine().await);
}

/// What is not the answer that the protocol names is no decision, whatever its status says.
#[tokio::test(flavor = "multi_thread")]
async fn nonsense_in_place_of_an_answer_is_an_unavailable_service() {
    const NONSENSE: [(u16, &str); 5] = [
        (500, "{}"),
        (200, ""),
        (200, "<html>welcome</html>"),
        (200, "{\"items\":[]}"),
        (200, "{\"state\":\"approved\"}"),
    ];
    for asked in ["/v1/holds", "/v1/redemptions"] {
        let turn = Arc::new(Mutex::new(0));
        let current = turn.clone();
        let hook = move |exchange: &mut Exchange| {
            if exchange.target == asked {
                let (status, answer) = NONSENSE[*current.lock().unwrap()];
                (exchange.status, exchange.answer) = (status, answer.into());
            }
        };
        let stack = start_with(Options { tamper: Some(Arc::new(hook)), ..Options::default() }).await;
        let alice = stack.sign_in("alice").await.unwrap();
        for (index, nonsense) in NONSENSE.iter().enumerate() {
            *turn.lock().unwrap() = index;
            let target = roles(&format!("u{index}"));
            let answer = match asked {
                "/v1/holds" => stack.agent().post(&target, JSON_BODY).send().await.unwrap(),
                _ => approve(&stack, &alice, &target).await,
            };
            assert_nothing_passes(&stack, &answer, &target, 0).await;
            assert_eq!(answer.problem(), "unavailable", "{asked}, {nonsense:?}");
        }
    }
}
