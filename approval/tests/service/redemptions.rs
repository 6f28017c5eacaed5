use std::collections::HashSet;

use holdgate_approval::store::keys::Purpose;
use holdgate_protocol::{
    Actor, Hash,
    gateway::RedemptionError,
    grant::{self, Expected},
    jws::Keys,
};
use serde_json::json;

use crate::support::{NOW, World, attempt, redemption};

#[tokio::test]
async fn the_grant_is_what_the_filter_expects() {
    let world = World::new().await;
    let (ask, hold) = world.held(&["one", "two"], "a").await;
    world.sign_in("bob").await.decide(&hold, "approve").await;
    assert_eq!(world.redeem(&hold, &ask, 7).await.error, Some(RedemptionError::NotApproved));
    world.sign_in("alice").await.decide(&hold, "approve").await;
    let token = world.redeem(&hold, &ask, 7).await.grant.unwrap();
    let jwks = world.service.keys().published(Purpose::Grant, NOW);
    let expected = Expected {
        issuer: "holdgate-approval",
        group: "edge",
        agent: &ask.agent,
        hold: &hold,
        nonce: &attempt(7),
        components: &ask.components,
        digest: &ask.digest,
        policy_id: "guard",
        requirement: &ask.requirement,
        rules: &ask.rules,
        now: NOW,
    };
    let claims = grant::verify(&token, &Keys::new(&jwks).unwrap(), &expected).unwrap();
    assert_eq!((claims.exp, claims.policy.rev), (NOW + 60, world.policy.rev));
    assert!(!token.contains("alice"));
}

#[tokio::test]
async fn an_approval_is_used_once_and_the_same_attempt_may_ask_again() {
    let world = World::new().await;
    let (ask, hold) = world.held(&["one"], "a").await;
    world.sign_in("alice").await.decide(&hold, "approve").await;
    let first = world.redeem(&hold, &ask, 1).await.grant.unwrap();
    world.clock.advance(59);
    assert_eq!(world.redeem(&hold, &ask, 1).await.grant, Some(first));
    assert_eq!(world.redeem(&hold, &ask, 2).await.error, Some(RedemptionError::Used));
    world.clock.advance(1);
    assert_eq!(world.redeem(&hold, &ask, 1).await.error, Some(RedemptionError::Expired));
    assert_eq!(world.redeem(&hold, &ask, 2).await.error, Some(RedemptionError::Used));
    let (_, next) = world.open(&ask).await;
    assert_ne!(next.hold, hold, "a second retry asks anew");
}

#[tokio::test]
async fn nothing_but_the_approved_request_is_redeemed() {
    let world = World::new().await;
    let (ask, hold) = world.held(&["one"], "a").await;
    world.sign_in("alice").await.decide(&hold, "approve").await;
    let mut others = vec![ask.clone(); 5];
    others[0].digest = Hash::of(b"other");
    others[1].requirement = Hash::of(b"other");
    others[2].agent.sub = "mallory".into();
    others[3].agent.owner = None;
    others[4].agent.act = vec![Actor { iss: "i".into(), sub: "s".into() }];
    for other in &others {
        let answer = world.redeem(&hold, other, 1).await;
        assert_eq!(
            (answer.error, answer.cause.as_deref()),
            (Some(RedemptionError::NotApproved), Some("other_request"))
        );
    }
    let elsewhere = world.gateway("other", "POST", "/v1/redemptions", &redemption(&hold, &ask, 1)).await;
    assert_eq!(elsewhere.json()["items"][0], json!({"hold": hold, "error": "not_approved", "cause": "unknown_hold"}));
    assert_eq!(world.redeem("nowhere", &ask, 1).await.cause.as_deref(), Some("unknown_hold"));
    assert!(world.redeem(&hold, &ask, 1).await.grant.is_some(), "the true one still passes");
}

#[tokio::test]
async fn no_grant_after_the_deadline_even_before_it_is_written_down() {
    let world = World::new().await;
    let (ask, hold) = world.held(&["one"], "a").await;
    world.sign_in("alice").await.decide(&hold, "approve").await;
    world.clock.advance(600);
    assert_eq!(world.redeem(&hold, &ask, 1).await.error, Some(RedemptionError::Expired));
}

#[tokio::test]
async fn of_many_attempts_at_once_exactly_one_gets_the_grant() {
    let world = std::sync::Arc::new(World::new().await);
    let (ask, hold) = world.held(&["one"], "a").await;
    world.sign_in("alice").await.decide(&hold, "approve").await;
    let tries = (0..32).map(|number| {
        let (world, ask, hold) = (world.clone(), ask.clone(), hold.clone());
        tokio::spawn(async move { world.redeem(&hold, &ask, number).await })
    });
    let mut grants = HashSet::new();
    for answer in tries.collect::<Vec<_>>() {
        let answer = answer.await.unwrap();
        match answer.grant {
            Some(grant) => drop(grants.insert(grant)),
            None => assert_eq!(answer.error, Some(RedemptionError::Used)),
        }
    }
    assert_eq!(grants.len(), 1);
}

#[tokio::test]
async fn a_batch_answers_each_item_in_its_order() {
    let world = World::new().await;
    let alice = world.sign_in("alice").await;
    let mut items = Vec::new();
    for (number, body) in ["a", "b", "c"].into_iter().enumerate() {
        let (ask, hold) = world.held(&["one"], body).await;
        if body != "b" {
            alice.decide(&hold, "approve").await;
        }
        items.extend(redemption(&hold, &ask, number as u64)["items"].as_array().unwrap().clone());
    }
    let answer = world.gateway("edge", "POST", "/v1/redemptions", &json!({"items": items})).await.json();
    let granted: Vec<bool> =
        answer["items"].as_array().unwrap().iter().map(|item| item.get("grant").is_some()).collect();
    assert_eq!(granted, [true, false, true]);
    let many = json!({"items": vec![items[0].clone(); 257]});
    assert_eq!(world.gateway("edge", "POST", "/v1/redemptions", &many).await.error(), "malformed");
}

#[tokio::test]
async fn a_batch_that_is_too_long_or_says_more_than_it_may_is_refused_whole() {
    let world = World::new().await;
    let (ask, hold) = world.held(&["one"], "a").await;
    world.sign_in("alice").await.decide(&hold, "approve").await;
    let item = redemption(&hold, &ask, 1)["items"][0].clone();
    let outcome = json!({"hold": hold, "attempt": attempt(1), "forwarded": true, "status": 200});
    for (path, item) in
        [("/v1/redemptions", item), ("/v1/outcomes", outcome), ("/v1/detach", json!({"attempt": attempt(1)}))]
    {
        let mut more = item.clone();
        more["approved"] = true.into();
        let mut less = item.clone();
        less.as_object_mut().unwrap().remove("attempt");
        for bad in [
            json!({"items": vec![item.clone(); 257]}),
            json!({"items": [item, more]}),
            json!({"items": [item, less]}),
            json!({"items": [item], "more": 1}),
            json!([item]),
        ] {
            let answer = world.gateway("edge", "POST", path, &bad).await;
            assert_eq!(
                (answer.status.as_u16(), answer.error().as_str()),
                (400, "malformed"),
                "{path}: {}",
                answer.text
            );
        }
    }
    assert!(world.redeem(&hold, &ask, 2).await.grant.is_some(), "nothing was redeemed so far");
}

#[tokio::test]
async fn outcomes_are_kept_for_the_attempt_that_redeemed_and_detaching_changes_nothing() {
    let world = World::new().await;
    let (ask, hold) = world.held(&["one"], "a").await;
    let alice = world.sign_in("alice").await;
    let detached = json!({"items": [{"attempt": attempt(1)}, {"attempt": attempt(9)}]});
    assert_eq!(world.gateway("edge", "POST", "/v1/detach", &detached).await.status, 204);
    alice.decide(&hold, "approve").await;
    assert!(world.redeem(&hold, &ask, 1).await.grant.is_some());
    for (number, status) in [(2, 500), (1, 201), (1, 599)] {
        let report =
            json!({"items": [{"hold": hold, "attempt": attempt(number), "forwarded": true, "status": status}]});
        assert_eq!(world.gateway("edge", "POST", "/v1/outcomes", &report).await.status, 204);
    }
    let outcomes = alice.get(&format!("/api/holds/{hold}")).await.json()["outcomes"].clone();
    assert_eq!(outcomes, json!([{"hold": hold, "attempt": attempt(1), "forwarded": true, "status": 201}]));
}
