use axum::http::StatusCode;
use holdgate_approval::store::ledger;
use holdgate_protocol::{
    Actor, Agent,
    gateway::{OpenHold, RedemptionError},
};
use serde_json::json;

use crate::support::{NOW, World, agent};

#[tokio::test]
async fn one_approval_approves_and_is_recorded_with_its_authority() {
    let world = World::new().await;
    let (_, hold) = world.held(&["why"], "a").await;
    let alice = world.sign_in("alice").await;
    let bare = alice.post(&format!("/api/holds/{hold}/decisions"), json!({"verdict": "approve", "reason": " "})).await;
    assert_eq!((bare.status.as_u16(), bare.error().as_str()), (422, "reason_required"));
    let done = alice.decide(&hold, "approve").await;
    assert_eq!(done.json(), json!({"hold": hold, "state": "approved", "expires_at": NOW + 600}));
    let detail = alice.get(&format!("/api/holds/{hold}")).await.json();
    assert_eq!(detail["rules"][0]["reason"], "Because of why");
    let decision = json!({"person": "alice", "name": "Alice Archer", "verdict": "approve", "role": "iam",
                          "escalated": false, "reason": "looked at it", "code": null, "decided_at": NOW,
                          "signed_in_at": NOW, "withdrawn_at": null, "withdrawn_reason": null, "lost": [], "looked": null});
    assert_eq!(detail["decisions"], json!([decision]));
    let entries = ledger::page(&mut world.service.store.read().await.unwrap(), Some(&hold), 0, 9).await.unwrap();
    let kinds: Vec<_> = entries.iter().map(|entry| (entry.kind.as_str(), entry.decided_by.as_deref())).collect();
    assert_eq!(kinds, [("hold.opened", Some("policy")), ("hold.approved", Some("human"))]);
    assert!(entries[1].data.contains(r#""person":"alice""#) && entries[1].data.contains(r#""role":"iam""#));
    let other = alice.decide(&hold, "deny").await;
    assert_eq!((other.status.as_u16(), other.error().as_str()), (409, "already_decided"));
    let late = world.sign_in("bob").await.decide(&hold, "approve").await;
    assert_eq!((late.status.as_u16(), late.error().as_str()), (409, "not_open"));
}

/// A client that lost the answer asks again: it gets the same one, and nothing is written.
#[tokio::test]
async fn a_decision_that_is_said_again_is_the_same_decision() {
    let world = World::new().await;
    let alice = world.sign_in("alice").await;
    for (verdict, state) in [("approve", "approved"), ("deny", "denied")] {
        let (_, hold) = world.held(&["one"], verdict).await;
        let first = alice.decide(&hold, verdict).await;
        let before = world.number("SELECT count(*) AS n FROM ledger").await;
        for _ in 0..2 {
            let again = alice.decide(&hold, verdict).await;
            assert_eq!((again.status.as_u16(), again.json()), (200, first.json()), "{state}");
        }
        let item = json!({"hold": hold, "verdict": verdict, "reason": "again"});
        let many = alice.post("/api/decisions", json!({"items": [item, item]})).await.json();
        assert_eq!((&many["items"][0]["state"], &many["items"][1]["state"]), (&json!(state), &json!(state)));
        assert_eq!(world.number("SELECT count(*) AS n FROM ledger").await, before);
        // With the digest of another request it is no repeat.
        let body = json!({"verdict": verdict, "digest": holdgate_protocol::Hash::of(b"another")});
        let answer = alice.post(&format!("/api/holds/{hold}/decisions"), body).await;
        assert_eq!((answer.status.as_u16(), answer.error()), (409, "other_request".into()));
    }
    // What became of the hold since is told.
    let (_, hold) = world.held(&["two"], "both").await;
    assert_eq!(alice.decide(&hold, "approve").await.json()["state"], "pending");
    assert_eq!(world.sign_in("bob").await.decide(&hold, "deny").await.json()["state"], "denied");
    let again = alice.decide(&hold, "approve").await;
    assert_eq!((again.status.as_u16(), &again.json()["state"]), (200, &json!("denied")));
    // What was withdrawn is decided anew.
    let (_, hold) = world.held(&["two"], "anew").await;
    alice.decide(&hold, "approve").await;
    assert_eq!(alice.post(&format!("/api/holds/{hold}/withdraw"), json!({})).await.status, 200);
    assert_eq!(alice.decide(&hold, "deny").await.json()["state"], "denied");
}

#[tokio::test]
async fn two_factors_need_two_persons_whoever_comes_first() {
    for order in [["bob", "alice"], ["alice", "bob"]] {
        let world = World::new().await;
        let (_, hold) = world.held(&["two"], "a").await;
        let first = world.sign_in(order[0]).await;
        assert_eq!(first.decide(&hold, "approve").await.json()["state"], "pending");
        let other = first.decide(&hold, "deny").await;
        assert_eq!((other.status.as_u16(), other.error().as_str()), (409, "already_decided"));
        let missing = first.get(&format!("/api/holds/{hold}")).await.json()["missing"].clone();
        // Bob could stand for either role; which one is open does not matter yet.
        assert_eq!(missing.as_array().unwrap().len(), 1);
        let second = world.sign_in(order[1]).await;
        assert_eq!(second.decide(&hold, "approve").await.json()["state"], "approved", "{order:?}");
    }
}

#[tokio::test]
async fn one_denial_denies() {
    let world = World::new().await;
    let (ask, hold) = world.held(&["two"], "a").await;
    world.sign_in("bob").await.decide(&hold, "approve").await;
    assert_eq!(world.sign_in("alice").await.decide(&hold, "deny").await.json()["state"], "denied");
    assert_eq!(world.redeem(&hold, &ask, 1).await.error, Some(RedemptionError::Denied));
    // Once the denial has cooled down.
    world.clock.advance(600);
    let (status, fresh) = world.open(&ask).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_ne!(fresh.hold, hold);
}

#[tokio::test]
async fn only_who_is_eligible_now_and_here_decides() {
    let world = World::new().await;
    let (_, hold) = world.held(&["one"], "a").await;
    // Carol's scope is another policy, Dave's time is over.
    for person in ["carol", "dave"] {
        for verdict in ["approve", "deny"] {
            let answer = world.sign_in(person).await.decide(&hold, verdict).await;
            assert_eq!((answer.status.as_u16(), answer.error().as_str()), (404, "not_found"), "{person}");
        }
    }
}

#[tokio::test]
async fn nobody_decides_on_a_request_of_their_own_agent() {
    let world = World::new().await;
    let acting = Agent { act: vec![Actor { iss: "i".into(), sub: "tool".into() }], ..agent() };
    let cases = [
        ("the owner", agent(), "olivia"),
        ("a member of the owning group", Agent { owner: Some("group/platform".into()), ..agent() }, "alice"),
        (
            "the person for whom the agent acts",
            Agent { sub: "olivia".into(), owner: Some("group/platform".into()), ..acting },
            "olivia",
        ),
    ];
    for (why, agent, person) in cases {
        let (_, opened) = world.open(&OpenHold { agent, ..world.ask(&["one"], why) }).await;
        for verdict in ["approve", "deny"] {
            let answer = world.sign_in(person).await.decide(&opened.hold, verdict).await;
            assert_eq!((answer.status.as_u16(), answer.error().as_str()), (403, "own_agent"), "{why}");
        }
        assert_eq!(world.sign_in("bob").await.decide(&opened.hold, "approve").await.status, 200, "{why}");
    }
}

#[tokio::test]
async fn a_request_with_ones_own_identity_is_ones_own_whatever_the_token_says_of_the_owner() {
    let actor = |sub: &str| Actor { iss: "https://idp.example".into(), sub: sub.into() };
    let cases = [
        ("alice", vec![], Some("olivia")),
        ("bob", vec![actor("alice")], Some("bob")),
        ("bob", vec![actor("bot"), actor("alice")], Some("bob")),
    ];
    for (sub, act, owner) in cases {
        let world = World::new().await;
        let agent = Agent { sub: sub.into(), act, owner: owner.map(ToOwned::to_owned), ..agent() };
        let (_, opened) = world.open(&OpenHold { agent: agent.clone(), ..world.ask(&["one"], "a") }).await;
        let answer = world.sign_in("alice").await.decide(&opened.hold, "approve").await;
        assert_eq!((answer.status.as_u16(), answer.error().as_str()), (403, "own_agent"), "{agent:?}");
        let other = if sub == "bob" { "olivia" } else { "bob" };
        assert_eq!(world.sign_in(other).await.decide(&opened.hold, "approve").await.status, 200, "{agent:?}");
    }
}

#[tokio::test]
async fn nobody_approves_where_it_is_unknown_who_answers_for_the_agent() {
    let world = World::new().await;
    let owners = [None, Some("stranger"), Some("group/none"), Some("group/nobody"), Some("group/")];
    let mut agents: Vec<Agent> =
        owners.iter().map(|owner| Agent { owner: owner.map(ToOwned::to_owned), ..agent() }).collect();
    agents.push(Agent { iss: "https://other.example".into(), ..agent() });
    // The owner is known here, the person for whom the agent acts is not.
    agents.push(Agent { act: vec![Actor { iss: "i".into(), sub: "tool".into() }], ..agent() });
    for agent in agents {
        let (_, opened) = world.open(&OpenHold { agent: agent.clone(), ..world.ask(&["one"], "a") }).await;
        let alice = world.sign_in("alice").await;
        let answer = alice.decide(&opened.hold, "approve").await;
        assert_eq!((answer.status.as_u16(), answer.error().as_str()), (403, "owner_unknown"), "{agent:?}");
        let page = alice.get(&format!("/holds/{}", opened.hold)).await.text;
        assert!(page.contains("Nobody can approve this"), "{agent:?}");
        assert_eq!(alice.decide(&opened.hold, "deny").await.status, 200, "{agent:?}");
    }
}

#[tokio::test]
async fn a_decision_needs_a_sign_in_of_the_last_15_minutes() {
    let world = World::new().await;
    let (_, hold) = world.held(&["one"], "a").await;
    let alice = world.sign_in("alice").await;
    world.clock.advance(901);
    for path in [format!("/api/holds/{hold}/decisions"), format!("/api/holds/{hold}/revoke")] {
        let body = if path.ends_with("revoke") { json!({}) } else { json!({"verdict": "approve"}) };
        let answer = alice.post(&path, body).await;
        assert_eq!((answer.status.as_u16(), answer.error().as_str()), (403, "sign_in_again"), "{path}");
    }
    assert!(alice.get(&format!("/holds/{hold}")).await.text.contains("Sign in again"));
    assert_eq!(world.sign_in("alice").await.decide(&hold, "approve").await.status, 200);
}

#[tokio::test]
async fn an_approval_can_be_revoked_until_it_is_used() {
    let world = World::new().await;
    let (ask, hold) = world.held(&["one"], "a").await;
    let alice = world.sign_in("alice").await;
    alice.decide(&hold, "approve").await;
    let carol = world.sign_in("carol").await.post(&format!("/api/holds/{hold}/revoke"), json!({})).await;
    assert_eq!(carol.error(), "not_found");
    let revoked = alice.post(&format!("/api/holds/{hold}/revoke"), json!({"reason": "wrong one"})).await;
    assert_eq!(revoked.json()["state"], "cancelled");
    let answer = world.redeem(&hold, &ask, 1).await;
    assert_eq!((answer.error, answer.cause.as_deref()), (Some(RedemptionError::Cancelled), Some("revoked")));
    let last = json!(world.feed(0).await.items.pop().unwrap());
    assert_eq!((&last["state"], &last["cause"]), (&json!("cancelled"), &json!("revoked")));

    let (ask, used) = world.held(&["one"], "b").await;
    alice.decide(&used, "approve").await;
    assert!(world.redeem(&used, &ask, 1).await.grant.is_some());
    assert_eq!(alice.post(&format!("/api/holds/{used}/revoke"), json!({})).await.error(), "not_open");
}

#[tokio::test]
async fn many_decisions_are_answered_one_by_one() {
    let world = World::new().await;
    let (_, good) = world.held(&["one"], "a").await;
    let (_, unreasoned) = world.held(&["why"], "b").await;
    let item = |hold: &str| json!({"hold": hold, "verdict": "approve"});
    let items = [item(&good), item(&unreasoned), item("nowhere"), item(&good)];
    let answer = world.sign_in("alice").await.post("/api/decisions", json!({"items": items})).await.json();
    let words: Vec<_> = answer["items"].as_array().unwrap().iter().map(|item| item["error"].as_str()).collect();
    assert_eq!(words, [None, Some("reason_required"), Some("not_found"), None], "the last one repeats the first");
    assert_eq!(answer["items"][0]["state"], "approved");
    let many = vec![item(&good); 5001];
    assert_eq!(world.sign_in("alice").await.post("/api/decisions", json!({"items": many})).await.error(), "malformed");
}
