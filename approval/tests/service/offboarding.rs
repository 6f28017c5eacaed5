//! Who leaves takes along what rests on them: sessions, approvals, holds. At once, and the feed is told.

use axum::http::StatusCode;
use holdgate_approval::{domain::AuthorityChange, service::Settings, store::ledger};
use holdgate_protocol::gateway::RedemptionError;
use serde_json::{Value, json};

use crate::{
    people::operate,
    support::{PASSWORD, World, agent},
};

const WHY: &str = "they left";

async fn state(world: &World, hold: &str) -> (String, Value) {
    let detail = world.sign_in("audra").await.get(&format!("/api/holds/{hold}")).await.json();
    (detail["state"].as_str().unwrap().to_owned(), detail["cause"].clone())
}

#[tokio::test]
async fn a_suspended_person_is_out_at_once_and_what_they_approved_with_them() {
    let world = World::new().await;
    let ann = world.sign_in("ann").await;
    let (alice, bob) = (world.sign_in("alice").await, world.sign_in("bob").await);
    let (ask, approved) = world.held(&["one"], "a").await;
    alice.decide(&approved, "approve").await;
    let (_, pending) = world.held(&["two"], "b").await;
    alice.decide(&pending, "approve").await;
    let (used_ask, used) = world.held(&["one"], "c").await;
    alice.decide(&used, "approve").await;
    assert!(world.redeem(&used, &used_ask, 1).await.grant.is_some());
    let (bobs_ask, bobs) = world.held(&["one"], "d").await;
    bob.decide(&bobs, "approve").await;
    let seq = world.feed(0).await.next;

    let done = ann.post("/api/people/alice/suspend", json!({"reason": WHY})).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    assert_eq!(alice.get("/api/session").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(world.service.sign_in("alice", PASSWORD).await.unwrap_err().to_string(), "the person or the password is not right");
    assert_eq!(state(&world, &approved).await, ("cancelled".into(), json!("authority")));
    assert_eq!(state(&world, &used).await.0, "used", "what was used stays so");
    assert_eq!(state(&world, &bobs).await.0, "approved");
    let news = json!(world.feed(seq).await.items);
    let told = json!([{"seq": seq + 1, "type": "hold", "hold": approved, "state": "cancelled", "cause": "authority"}]);
    assert_eq!(news, told);
    let answer = world.redeem(&approved, &ask, 2).await;
    assert_eq!((answer.error, answer.cause.as_deref()), (Some(RedemptionError::Cancelled), Some("authority")));
    assert!(world.redeem(&bobs, &bobs_ask, 3).await.grant.is_some());

    // Bob is one of two; Alice's approval is missing again.
    assert_eq!(state(&world, &pending).await.0, "pending");
    assert_eq!(bob.decide(&pending, "approve").await.json()["state"], "pending");
    let missing = bob.get(&format!("/api/holds/{pending}")).await.json()["missing"].clone();
    assert_eq!(missing.as_array().unwrap().len(), 1, "{missing}");
    // Also after she is back: she has to look at it again, and may then give it anew.
    assert_eq!(ann.post("/api/people/alice/resume", json!({"reason": "back"})).await.status, StatusCode::OK);
    assert_eq!(state(&world, &pending).await.0, "pending");
    let missing = bob.get(&format!("/api/holds/{pending}")).await.json()["missing"].clone();
    assert_eq!(missing.as_array().unwrap().len(), 1, "{missing}");
    let alice = world.sign_in("alice").await;
    let again = alice.decide(&pending, "approve").await.json();
    assert_eq!(again["state"], "approved", "{again}");

    let entries = ledger::page(&mut world.service.store.read().await.unwrap(), Some(&pending), 0, 9).await.unwrap();
    assert!(entries.iter().any(|entry| entry.kind == "hold.approval_lost" && entry.data == r#"{"person":"alice"}"#));
}

#[tokio::test]
async fn an_eligibility_that_ends_takes_along_what_it_carried_and_no_more() {
    let world = World::new().await;
    let ann = world.sign_in("ann").await;
    let bob = world.sign_in("bob").await;
    let (_, iam) = world.held(&["one"], "a").await;
    bob.decide(&iam, "approve").await;
    let (_, both) = world.held(&["two"], "b").await;
    bob.decide(&both, "approve").await;
    let found = ann.get("/api/eligibility?person=bob&role=sec").await.json();
    let end = async |id: &Value| ann.post(&format!("/api/eligibility/{}/end", id.as_str().unwrap()), json!({"reason": WHY})).await;
    assert_eq!(end(&found["items"][0]["id"]).await.status, StatusCode::OK);
    assert_eq!(state(&world, &iam).await.0, "approved", "that rests on the other role");
    let found = ann.get("/api/eligibility?person=bob").await.json();
    assert_eq!(found["items"].as_array().unwrap().len(), 1);
    assert_eq!(end(&found["items"][0]["id"]).await.status, StatusCode::OK);
    assert_eq!(end(&found["items"][0]["id"]).await.error(), "not_found");
    assert_eq!(state(&world, &iam).await, ("cancelled".into(), json!("authority")));
    // Two roles were needed, and Bob stands for neither now.
    assert_eq!(world.sign_in("olivia").await.get(&format!("/api/holds/{both}")).await.json()["missing"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_gateway_group_that_is_suspended_gets_nothing_any_more() {
    let world = World::new().await;
    let ann = world.sign_in("ann").await;
    let alice = world.sign_in("alice").await;
    let (ask, approved) = world.held(&["one"], "a").await;
    alice.decide(&approved, "approve").await;
    let (_, pending) = world.held(&["one"], "b").await;
    let others = world.gateway("other", "POST", "/v1/holds", &json!(world.ask(&["one"], "c"))).await.json();
    let done = ann.post("/api/gateways/suspend", json!({"group": "edge", "reason": WHY})).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    for hold in [&approved, &pending] {
        assert_eq!(state(&world, hold).await, ("cancelled".into(), json!("gateway")));
    }
    assert_eq!(state(&world, others["hold"].as_str().unwrap()).await.0, "pending");
    for (method, path) in [("GET", "/v1/state"), ("GET", "/v1/feed?after=0"), ("POST", "/v1/holds"), ("POST", "/v1/redemptions")] {
        assert_eq!(world.gateway("edge", method, path, &json!({})).await.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    assert_eq!(world.gateway("other", "GET", "/v1/state", &Value::Null).await.status, StatusCode::OK);
    let line = ann.get("/api/gateways").await.json()["items"].as_array().unwrap().iter().find(|one| one["group"] == "edge").unwrap().clone();
    assert_eq!((&line["suspended"], &line["retired_at"]), (&json!(true), &Value::Null));
    assert_eq!(ann.post("/api/gateways/suspend", json!({"group": "nowhere", "reason": WHY})).await.error(), "not_found");

    assert_eq!(ann.post("/api/gateways/resume", json!({"group": "edge", "reason": "mended"})).await.status, StatusCode::OK);
    let answer = world.redeem(&approved, &ask, 1).await;
    assert_eq!((answer.error, answer.cause.as_deref()), (Some(RedemptionError::Cancelled), Some("gateway")));
}

#[tokio::test]
async fn a_retired_credential_is_refused_at_once() {
    let world = World::new().await;
    let ann = world.sign_in("ann").await;
    let lines = ann.get("/api/gateways").await.json()["items"].clone();
    let edge = lines.as_array().unwrap().iter().find(|one| one["group"] == "edge").unwrap().clone();
    let retire = format!("/api/gateways/{}/retire", edge["fingerprint"].as_str().unwrap());
    assert_eq!(ann.post(&retire, json!({"reason": WHY})).await.status, StatusCode::OK);
    assert_eq!(world.gateway("edge", "GET", "/v1/state", &Value::Null).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(world.gateway("other", "GET", "/v1/state", &Value::Null).await.status, StatusCode::OK);
    assert_eq!(ann.post(&retire, json!({"reason": WHY})).await.error(), "not_found");
}

#[tokio::test]
async fn an_agent_is_suspended_and_resumed_by_an_administrator() {
    let world = World::new().await;
    let ann = world.sign_in("ann").await;
    let (ask, hold) = world.held(&["one"], "a").await;
    let body = json!({"iss": agent().iss, "sub": "bot", "reason": WHY});
    let agents = ann.get("/api/agents").await.json()["items"].clone();
    assert_eq!((&agents[0]["sub"], &agents[0]["open"], &agents[0]["suspended_at"]), (&json!("bot"), &json!(1), &Value::Null));
    assert_eq!(ann.post("/api/agents/suspend", body.clone()).await.status, StatusCode::OK);
    assert_eq!(ann.post("/api/agents/suspend", body.clone()).await.error(), "conflict");
    assert_eq!(state(&world, &hold).await, ("cancelled".into(), json!("suspended")));
    assert_eq!(world.refused(&ask).await, (403, "agent_suspended".into()));
    let agents = ann.get("/api/agents").await.json()["items"].clone();
    assert_eq!((&agents[0]["open"], agents[0]["suspended_at"].is_u64()), (&json!(0), true));
    assert_eq!(ann.post("/api/agents/resume", body).await.status, StatusCode::OK);
    assert_eq!(world.open(&ask).await.0, StatusCode::CREATED);
}

#[tokio::test]
async fn many_denials_propose_a_suspension_once_an_hour() {
    let world = World::with(Settings { propose_suspension: 3, ..Settings::default() }).await;
    let deny = async |from: u64, count: u64| {
        let mut items = Vec::new();
        for number in from..from + count {
            let hold = world.held(&["one"], &number.to_string()).await.1;
            items.push(json!({"hold": hold, "verdict": "deny"}));
        }
        world.sign_in("alice").await.post("/api/decisions", json!({"items": items})).await;
    };
    let proposed = async || {
        let entries = ledger::page(&mut world.service.store.read().await.unwrap(), None, 0, 1000).await.unwrap();
        let agents = world.sign_in("ann").await.get("/api/agents").await.json()["items"].clone();
        let shown = agents.as_array().unwrap().iter().filter(|line| line["proposed"] == true).count();
        (entries.iter().filter(|entry| entry.kind == "agent.suspension_proposed").count(), shown)
    };
    deny(0, 2).await;
    assert_eq!(proposed().await, (0, 0));
    deny(10, 1).await;
    assert_eq!(proposed().await, (1, 1));
    deny(20, 5).await;
    assert_eq!(proposed().await, (1, 1), "once an hour");
    world.clock.advance(3600);
    deny(30, 2).await;
    assert_eq!(proposed().await, (1, 1), "what is older than an hour counts no more");
    deny(40, 1).await;
    assert_eq!(proposed().await, (2, 1));
    // It is a proposal: nobody is suspended by it.
    let (_, hold) = world.held(&["one"], "still served").await;
    assert_eq!(state(&world, &hold).await.0, "pending");
    operate(&world, AuthorityChange::SuspendAgent { agent: agent().caller() }).await;
    assert_eq!(proposed().await, (2, 0), "somebody has seen to it");
}
