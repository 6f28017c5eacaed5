//! What a decision rests on, and what becomes of it when that goes: withdrawals, reason codes, escalation, authority that ends.

use holdgate_approval::{
    domain::{Lasting, Stage},
    service::Settings,
    store::{holds, ledger},
};
use holdgate_protocol::{
    Escalation, Requirement,
    bundle::Bundle,
    gateway::{HoldState, RedemptionError},
};
use serde_json::{Value, json};

use crate::support::{NOW, World, policy, requirement};

/// A world in which rule `one` has another requirement.
async fn asking(requirement: Requirement) -> World {
    asking_with(requirement, Settings::default()).await
}

async fn asking_with(requirement: Requirement, settings: Settings) -> World {
    let world = World::with(settings).await;
    let (signed, policy) = policy(2, |bundle: &mut Bundle<Value>| bundle.requirements[0] = requirement);
    assert_eq!(world.publish(&signed, &policy.rev).await.status, 201);
    world
}

async fn entries(world: &World, hold: &str) -> Vec<(String, Value)> {
    let mut connection = world.service.store.read().await.unwrap();
    let entries = ledger::page(&mut connection, Some(hold), 0, 100).await.unwrap();
    let data = |text: &str| serde_json::from_str(text).unwrap();
    entries.into_iter().map(|entry| (entry.kind, data(&entry.data))).collect()
}

async fn kinds(world: &World, hold: &str) -> Vec<String> {
    entries(world, hold).await.into_iter().map(|(kind, _)| kind).collect()
}

#[tokio::test]
async fn an_approval_is_withdrawn_and_given_anew_and_both_stay_in_the_record() {
    let world = World::new().await;
    let (ask, hold) = world.held(&["two"], "a").await;
    let (alice, bob) = (world.sign_in("alice").await, world.sign_in("bob").await);
    let withdraw = format!("/api/holds/{hold}/withdraw");
    assert_eq!(alice.post(&withdraw, json!({})).await.error(), "nothing_to_withdraw");
    assert_eq!(alice.decide(&hold, "approve").await.json()["state"], "pending");
    // Nobody else's, and not without a reason that fits.
    assert_eq!(bob.post(&withdraw, json!({})).await.error(), "nothing_to_withdraw");
    let long = "r".repeat(2001);
    assert_eq!(alice.post(&withdraw, json!({"reason": long})).await.error(), "reason_too_long");
    let detail = alice.get(&format!("/api/holds/{hold}")).await.json();
    assert_eq!((&detail["can_withdraw"], &detail["missing"][0]["role"]), (&json!(true), &json!("sec")));
    let answer = alice.post(&withdraw, json!({"reason": "the wrong user"})).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["state"]), (200, &json!("pending")), "{}", answer.text);
    assert_eq!(alice.post(&withdraw, json!({})).await.error(), "nothing_to_withdraw");
    // It does not count any more, so that the other role is not enough.
    assert_eq!(bob.decide(&hold, "approve").await.json()["state"], "pending");
    let detail = alice.get(&format!("/api/holds/{hold}")).await.json();
    assert_eq!((&detail["can_withdraw"], &detail["decisions"][0]["withdrawn_at"]), (&json!(false), &json!(NOW)));
    assert_eq!(world.redeem(&hold, &ask, 1).await.cause.as_deref(), Some("pending"));
    assert_eq!(alice.decide(&hold, "approve").await.json()["state"], "approved");
    assert_eq!(alice.post(&withdraw, json!({})).await.error(), "not_open");
    assert!(world.redeem(&hold, &ask, 1).await.grant.is_some());
    let expected = ["hold.opened", "hold.approval", "hold.withdrawn", "hold.approval", "hold.approved", "hold.used"];
    assert_eq!(kinds(&world, &hold).await, expected);
    let (_, data) = entries(&world, &hold).await.swap_remove(2);
    assert_eq!((&data["person"], &data["reason"]), (&json!("alice"), &json!("the wrong user")));
    let decisions = holds::decisions(&mut world.service.store.read().await.unwrap(), &hold).await.unwrap();
    let stand: Vec<_> = decisions.iter().map(|one| (one.person.as_str(), one.withdrawn_at.is_none())).collect();
    assert_eq!(stand, [("alice", false), ("bob", true), ("alice", true)]);
}

#[tokio::test]
async fn a_withdrawal_needs_a_recent_sign_in_and_a_hold_that_still_waits() {
    let world = World::new().await;
    let (_, hold) = world.held(&["two"], "a").await;
    let alice = world.sign_in("alice").await;
    alice.decide(&hold, "approve").await;
    let withdraw = format!("/api/holds/{hold}/withdraw");
    assert_eq!(alice.post("/api/holds/nowhere/withdraw", json!({})).await.error(), "not_found");
    world.clock.advance(901);
    assert_eq!(alice.post(&withdraw, json!({})).await.error(), "sign_in_again");
    world.clock.advance(899);
    assert_eq!(world.sign_in("alice").await.post(&withdraw, json!({})).await.error(), "not_open");
    assert_eq!(kinds(&world, &hold).await, ["hold.opened", "hold.approval"]);
}

#[tokio::test]
async fn reviewers_withdraw_and_name_codes_on_the_holds_page() {
    let codes = vec!["incident".into(), "ticket".into()];
    let world = asking(Requirement { codes, ..requirement(&[("iam", 2)]) }).await;
    let (_, hold) = world.held(&["one"], "a").await;
    let alice = world.sign_in("alice").await;
    let page = format!("/holds/{hold}");
    let shown = alice.get(&page).await.text;
    assert!(shown.contains("<option>incident</option>") && !shown.contains("Withdraw my approval"), "{shown}");
    let form = |more: &str| format!("csrf={}&{more}", alice.csrf);
    let decisions = format!("{page}/decisions");
    let refused = world.post_form(&decisions, &alice.cookie, &form("verdict=approve&code=")).await;
    assert_eq!(refused.status, 422);
    assert!(refused.text.contains("this hold asks for one of the reason codes incident, ticket"), "{}", refused.text);
    assert_eq!(world.post_form(&decisions, &alice.cookie, &form("verdict=approve&code=x")).await.status, 422);
    assert_eq!(world.post_form(&decisions, &alice.cookie, &form("verdict=approve&code=ticket")).await.status, 303);
    let shown = alice.get(&page).await.text;
    assert!(shown.contains("Withdraw my approval") && shown.contains("<span class=\"tag\">ticket</span>"), "{shown}");
    let withdraw = format!("{page}/withdraw");
    assert_eq!(world.post_form(&withdraw, &alice.cookie, "csrf=x").await.status, 403);
    assert_eq!(world.post_form(&withdraw, &alice.cookie, &form("reason=oops")).await.status, 303);
    let shown = alice.get(&page).await.text;
    assert!(shown.contains("it does not count") && shown.contains("Approve this one request"), "{shown}");
    assert_eq!(world.post_form(&withdraw, &alice.cookie, &form("")).await.status, 409);
}

#[tokio::test]
async fn a_decision_names_one_of_the_codes_that_the_rule_asks_for() {
    let codes = vec!["incident".into(), "ticket".into()];
    let world = asking(Requirement { codes, ..requirement(&[("iam", 1)]) }).await;
    let (_, hold) = world.held(&["one"], "a").await;
    let (_, plain) = world.held(&["why"], "b").await;
    let alice = world.sign_in("alice").await;
    for verdict in ["approve", "deny"] {
        let decide = async |hold: &str, code: Value| {
            let body = json!({"verdict": verdict, "reason": "r", "code": code});
            alice.post(&format!("/api/holds/{hold}/decisions"), body).await
        };
        assert_eq!(decide(&hold, Value::Null).await.error(), "code_required");
        let wrong = decide(&hold, json!("Ticket")).await;
        assert_eq!((wrong.status.as_u16(), wrong.error().as_str()), (422, "unknown_code"));
        assert_eq!(decide(&plain, json!("ticket")).await.error(), "unknown_code");
        assert_eq!(decide(&hold, json!(7)).await.status, 400);
    }
    let item = |hold: &str, code: Value| json!({"hold": hold, "verdict": "deny", "reason": "r", "code": code});
    let items = [item(&hold, json!("incident")), item(&plain, Value::Null)];
    let answer = alice.post("/api/decisions", json!({"items": items})).await.json();
    assert_eq!((&answer["items"][0]["state"], &answer["items"][1]["state"]), (&json!("denied"), &json!("denied")));
    let (_, data) = entries(&world, &hold).await.pop().unwrap();
    assert_eq!(
        (&data["code"], &data["via"], &data["escalated"]),
        (&json!("incident"), &json!("local"), &json!(false))
    );
}

#[tokio::test]
async fn after_a_share_of_the_time_another_role_may_step_in() {
    let escalate = Some(Escalation { role: "lead".into(), after: 50 });
    let world = asking(Requirement { escalate, ..requirement(&[("iam", 1), ("sec", 1)]) }).await;
    let (ask, hold) = world.held(&["one"], "a").await;
    world.clock.advance(899);
    let lena = world.sign_in("lena").await;
    let early = lena.decide(&hold, "approve").await;
    assert_eq!((early.status.as_u16(), early.error().as_str()), (403, "escalates_later"));
    assert_eq!(lena.decide(&hold, "deny").await.error(), "escalates_later");
    assert_eq!(lena.get(&format!("/api/holds/{hold}")).await.json()["escalates_at"], NOW + 900);
    assert!(lena.get(&format!("/holds/{hold}")).await.text.contains("May step in"));
    world.clock.advance(1);
    assert_eq!(lena.decide(&hold, "approve").await.json()["state"], "pending");
    assert_eq!(world.sign_in("carol").await.decide(&hold, "approve").await.error(), "not_found");
    let alice = world.sign_in("alice").await.decide(&hold, "approve").await;
    assert_eq!(alice.json()["state"], "approved", "{}", alice.text);
    let (_, data) = entries(&world, &hold).await.pop().unwrap();
    let mut factors = data["factors"].as_array().unwrap().clone();
    factors.sort_by_key(|filled| filled["person"].to_string());
    let filled = |person, role, escalated| json!({"person": person, "role": role, "escalated": escalated});
    assert_eq!(factors, [filled("alice", "iam", false), filled("lena", "sec", true)]);
    assert!(lena.get(&format!("/holds/{hold}")).await.text.contains("by escalation"));
    assert!(world.redeem(&hold, &ask, 1).await.grant.is_some());
}

#[tokio::test]
async fn an_approval_whose_authority_has_ended_does_not_count_for_the_last_factor() {
    let world = World::new().await;
    let (_, hold) = world.held(&["two"], "a").await;
    let erin = world.sign_in("erin").await;
    assert_eq!(erin.decide(&hold, "approve").await.json()["state"], "pending");
    world.clock.advance(1200);
    let bob = world.sign_in("bob").await;
    let missing = &bob.get(&format!("/api/holds/{hold}")).await.json()["missing"];
    assert_eq!(missing.as_array().unwrap().len(), 2);
    assert_eq!(bob.decide(&hold, "approve").await.json()["state"], "pending");
    assert_eq!(world.sign_in("alice").await.decide(&hold, "approve").await.json()["state"], "approved");
}

#[tokio::test]
async fn a_redemption_ends_an_approval_whose_authority_has_ended() {
    let world = asking(Requirement { use_within: 3600, ..requirement(&[("iam", 1)]) }).await;
    let (ask, hold) = world.held(&["one"], "a").await;
    let (other, kept) = world.held(&["one"], "b").await;
    let erin = world.sign_in("erin").await;
    for hold in [&hold, &kept] {
        assert_eq!(erin.decide(hold, "approve").await.json()["state"], "approved");
    }
    // Up to its last second the approval counts.
    world.clock.advance(1199);
    assert!(world.redeem(&kept, &other, 1).await.grant.is_some());
    world.clock.advance(1);
    let before = world.feed(0).await.next;
    for attempt in [1, 1, 2] {
        let answer = world.redeem(&hold, &ask, attempt).await;
        assert_eq!((answer.error, answer.cause.as_deref()), (Some(RedemptionError::Cancelled), Some("authority")));
        assert_eq!(answer.grant, None);
    }
    let told = json!(world.feed(before).await.items);
    assert_eq!(
        (told.as_array().unwrap().len(), &told[0]["state"], &told[0]["cause"]),
        (1, &json!("cancelled"), &json!("authority"))
    );
    assert_eq!(kinds(&world, &hold).await, ["hold.opened", "hold.approved", "hold.cancelled"]);
    // What went on before keeps its grant, and the same request is held anew.
    assert!(world.redeem(&kept, &other, 1).await.grant.is_some());
    let (status, opened) = world.open(&ask).await;
    assert_eq!((status.as_u16(), opened.state), (201, HoldState::Pending));
    assert!(world.sign_in("alice").await.get(&format!("/holds/{hold}")).await.text.contains("have not the authority"));
}

#[tokio::test]
async fn an_eligibility_that_nobody_certifies_again_lapses() {
    let lasting = Lasting { recertify_within: 1200, ..Lasting::default() };
    let world = asking_with(requirement(&[("iam", 1)]), Settings { lasting, ..Settings::default() }).await;
    let (ask, hold) = world.held(&["one"], "a").await;
    let (_, late) = world.held(&["one"], "b").await;
    let alice = world.sign_in("alice").await;
    world.clock.advance(700);
    alice.decide(&hold, "approve").await;
    world.clock.advance(500);
    assert_eq!(world.sign_in("alice").await.decide(&late, "approve").await.error(), "not_found");
    assert_eq!(world.redeem(&hold, &ask, 1).await.cause.as_deref(), Some("authority"));
}

#[tokio::test]
async fn of_a_batch_only_those_are_cancelled_that_rest_on_nothing() {
    let world = asking(Requirement { use_within: 3600, ..requirement(&[("iam", 1)]) }).await;
    let mut items = Vec::new();
    for (number, person) in ["erin", "alice", "erin", "alice"].into_iter().enumerate() {
        let (ask, hold) = world.held(&["one"], &number.to_string()).await;
        assert_eq!(world.sign_in(person).await.decide(&hold, "approve").await.json()["state"], "approved");
        items.push(crate::support::redemption(&hold, &ask, 1)["items"][0].clone());
    }
    items.push(items[0].clone());
    world.clock.advance(1200);
    let answer = world.gateway("edge", "POST", "/v1/redemptions", &json!({"items": items})).await.json();
    let causes: Vec<_> = answer["items"].as_array().unwrap().iter().map(|item| item["cause"].as_str()).collect();
    assert_eq!(causes, [Some("authority"), None, Some("authority"), None, Some("authority")]);
}

/// A requirement that leaves no time is not written by `holdgate build`, and a bundle that has one must break nothing.
#[tokio::test]
async fn limits_of_no_time_do_not_break_a_lot() {
    for (decide_within, use_within) in [(1800, 0), (0, 600), (0, 0)] {
        let world = asking(Requirement { decide_within, use_within, ..requirement(&[("iam", 1)]) }).await;
        let (ask, hold) = world.held(&["one"], "a").await;
        let (_, plain) = world.held(&["two"], "b").await;
        let item = |hold: &str| json!({"hold": hold, "verdict": "approve"});
        let items = [item(&hold), item(&hold), item(&plain), item(&hold)];
        let answer = world.sign_in("alice").await.post("/api/decisions", json!({"items": items})).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let words: Vec<_> = answer.json()["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["error"].as_str().or(item["state"].as_str()).unwrap().to_owned())
            .collect();
        let (first, again) = if decide_within == 0 { ("not_open", "not_open") } else { ("approved", "expired") };
        assert_eq!(words, [first, again, "pending", again]);
        assert_eq!(world.redeem(&hold, &ask, 1).await.error, Some(RedemptionError::Expired));
        world.service.expire().await.unwrap();
        let last = kinds(&world, &hold).await.pop();
        assert_eq!(last.as_deref(), Some("hold.expired"));
        let found = holds::find(&mut world.service.store.read().await.unwrap(), &hold).await.unwrap().unwrap();
        assert_eq!(found.stage, Stage::Expired);
    }
}
