use axum::http::StatusCode;
use holdgate_protocol::{Hash, bundle::Mode, bundle::SignedBundle, gateway::RedemptionError, jws::PrivateKey};
use serde_json::{Value, json};

use crate::support::{World, policy};

#[tokio::test]
async fn only_a_higher_serial_of_the_same_policy_is_taken() {
    let world = World::new().await;
    let publish = async |serial: u64, change: fn(&mut holdgate_protocol::bundle::Bundle<Value>)| {
        let (signed, reference) = policy(serial, change);
        let answer = world.publish(&signed, &reference.rev).await;
        (answer.status.as_u16(), answer.json()["error"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(publish(1, |_| {}).await, (200, String::new()));
    assert_eq!(publish(1, |b| b.needs.body = true).await, (409, "serial_not_higher".into()));
    assert_eq!(publish(0, |_| {}).await, (409, "serial_not_higher".into()));
    assert_eq!(publish(9, |b| b.id = "other".into()).await, (409, "other_policy".into()));
    assert_eq!(publish(3, |_| {}).await, (201, String::new()));
    assert_eq!(publish(2, |_| {}).await, (409, "serial_not_higher".into()));
    let state = world.gateway("edge", "GET", "/v1/state", &Value::Null).await.json();
    assert_eq!(state["policy"]["serial"], 3);
    let kinds: Vec<_> = world.feed(0).await.items.iter().map(|item| json!(item)["serial"].clone()).collect();
    assert_eq!(kinds, [1, 3]);
}

#[tokio::test]
async fn a_bundle_that_the_authors_did_not_sign_is_refused() {
    let world = World::new().await;
    let (good, reference) = policy(2, |_| {});
    let bytes = holdgate_protocol::from_b64url(&good.bundle).unwrap();
    let stranger = SignedBundle::sign(&bytes, &PrivateKey::from_seed(&[9; 32]));
    let (other, _) = policy(5, |_| {});
    let swapped = SignedBundle { bundle: other.bundle, ..good.clone() };
    for forged in [stranger, swapped, SignedBundle { jws: String::new(), ..good.clone() }] {
        let answer = world.publish(&forged, &reference.rev).await;
        assert_eq!((answer.status.as_u16(), answer.error().as_str()), (422, "bundle_refused"));
    }
    let elsewhere = world.publish(&good, &Hash::of(b"x")).await;
    assert_eq!((elsewhere.status.as_u16(), elsewhere.error().as_str()), (422, "revision_mismatch"));
    let request = axum::http::Request::put(format!("/api/bundles/{}", reference.rev));
    let request = request.header("authorization", "Bearer edge-credential");
    let answer = crate::support::send(&world.people, request.body(json!(good).to_string().into()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "a gateway's credential does not publish");
}

#[tokio::test]
async fn a_gateway_fetches_the_bundle_as_it_was_signed() {
    let world = World::new().await;
    let (signed, _) = policy(1, |_| {});
    let path = format!("/v1/bundles/{}", world.policy.rev);
    assert_eq!(world.gateway("edge", "GET", &path, &Value::Null).await.json(), json!(signed));
    for unknown in [Hash::of(b"x").to_string(), "x".into()] {
        let answer = world.gateway("edge", "GET", &format!("/v1/bundles/{unknown}"), &Value::Null).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn a_publisher_sees_the_bundle_in_force_and_nobody_else_does() {
    let world = World::new().await;
    let (signed, reference) = policy(4, |_| {});
    assert_eq!(world.publish(&signed, &reference.rev).await.status, 201);
    let current = async |credential: &str| {
        let request = axum::http::Request::get("/api/bundles/current").header("authorization", credential);
        crate::support::send(&world.people, request.body(axum::body::Body::empty()).unwrap()).await
    };
    let answer = current("Bearer ci-credential").await;
    assert_eq!((answer.status, answer.json()), (StatusCode::OK, json!(signed)));
    assert_eq!(answer.header("content-type"), "application/json");
    for stranger in ["Bearer edge-credential", "Bearer x", ""] {
        assert_eq!(current(stranger).await.status, StatusCode::UNAUTHORIZED, "{stranger}");
    }
}

#[tokio::test]
async fn a_newer_policy_cancels_the_open_holds_that_it_changes() {
    let world = World::new().await;
    let alice = world.sign_in("alice").await;
    let mut holds = Vec::new();
    for (rule, body) in [("one", "a"), ("one", "b"), ("two", "c"), ("why", "d")] {
        holds.push(world.held(&[rule], body).await);
    }
    alice.decide(&holds[1].1, "approve").await;
    // `one` asks for more time, `two` acts no more, `why` stays as it is.
    let (signed, reference) = policy(2, |bundle| {
        bundle.requirements[0].decide_within = 60;
        bundle.rules[2].mode = Mode::Shadow;
    });
    assert_eq!(world.publish(&signed, &reference.rev).await.status, 201);
    let states = async || {
        let mut states = Vec::new();
        for (_, hold) in &holds {
            let detail = alice.get(&format!("/api/holds/{hold}")).await.json();
            states.push((detail["state"].clone(), detail["cause"].clone()));
        }
        states
    };
    let cancelled = (json!("cancelled"), json!("policy"));
    assert_eq!(states().await, [cancelled.clone(), cancelled.clone(), cancelled, (json!("pending"), Value::Null)]);
    let (ask, hold) = &holds[1];
    let answer = world.redeem(hold, ask, 1).await;
    assert_eq!((answer.error, answer.cause.as_deref()), (Some(RedemptionError::Cancelled), Some("policy")));
    // The old revision opens nothing; what stayed is joined under the new one and redeemed.
    let stale = world.gateway("edge", "POST", "/v1/holds", &json!(holds[3].0)).await;
    assert_eq!(stale.error(), "unknown_revision");
    let (status, joined) = world.open(&world.ask(&["why"], "d")).await;
    assert_eq!((status, &joined.hold), (StatusCode::OK, &holds[3].1));
    alice.decide(&joined.hold, "approve").await;
    assert!(world.redeem(&joined.hold, &holds[3].0, 1).await.grant.is_some());
}

#[tokio::test]
async fn the_policy_in_force_outlives_the_process() {
    let world = World::new().await;
    let ask = world.ask(&["one"], "a");
    let world = world.reopened().await;
    assert_eq!(world.service.store.policy().unwrap().reference, world.policy, "the policy outlives the process");
    assert_eq!(world.open(&ask).await.0, StatusCode::CREATED);
}
