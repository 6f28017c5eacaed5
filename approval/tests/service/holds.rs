use axum::http::StatusCode;
use holdgate_protocol::{
    Hash, b64,
    gateway::{CapturedBody, HoldState, MAX_HELD_BODY, MAX_OPEN_HOLD},
};
use serde_json::{Value, json};

use crate::support::{NOW, World, agent, attempt};

#[tokio::test]
async fn the_same_request_joins_its_hold_and_another_does_not() {
    let world = World::new().await;
    let ask = world.ask(&["one"], "a");
    let (status, first) = world.open(&ask).await;
    assert_eq!((status, first.state, first.expires_at), (StatusCode::CREATED, HoldState::Pending, NOW + 1800));
    let mut again = ask.clone();
    again.attempt = attempt(2);
    let (status, second) = world.open(&again).await;
    assert_eq!((status, &second.hold), (StatusCode::OK, &first.hold));

    let mut other_agent = ask.clone();
    other_agent.agent.sub = "another bot".into();
    for other in [world.ask(&["one"], "b"), other_agent, world.ask(&["two"], "a")] {
        let (status, answer) = world.open(&other).await;
        assert_eq!(status, StatusCode::CREATED);
        assert_ne!(answer.hold, first.hold);
    }
    let elsewhere = world.gateway("other", "POST", "/v1/holds", &json!(ask)).await;
    assert_eq!(elsewhere.status, StatusCode::CREATED);
}

#[tokio::test]
async fn an_approved_hold_is_found_until_it_is_used_or_over() {
    let world = World::new().await;
    let (ask, hold) = world.held(&["one"], "a").await;
    world.sign_in("alice").await.decide(&hold, "approve").await;
    let (status, found) = world.open(&ask).await;
    assert_eq!((status, found.state, found.expires_at), (StatusCode::OK, HoldState::Approved, NOW + 600));
    world.clock.advance(600);
    let (status, fresh) = world.open(&ask).await;
    assert_eq!((status, fresh.state), (StatusCode::CREATED, HoldState::Pending));
    assert_ne!(fresh.hold, hold);
}

#[tokio::test]
async fn what_the_published_policy_does_not_say_opens_no_hold() {
    let world = World::new().await;
    let good = world.ask(&["one"], "a");
    let check = async |change: fn(&mut holdgate_protocol::gateway::OpenHold), status: u16, error: &str| {
        let mut ask = good.clone();
        change(&mut ask);
        let answer = world.gateway("edge", "POST", "/v1/holds", &json!(ask)).await;
        assert_eq!((answer.status.as_u16(), answer.error().as_str()), (status, error), "{}", answer.text);
    };
    check(|ask| ask.v = 2, 422, "unknown_version").await;
    check(|ask| ask.policy.rev = Hash::of(b"other"), 422, "unknown_revision").await;
    check(|ask| ask.rules[0].hash = Hash::of(b"other"), 422, "unknown_rule").await;
    check(|ask| ask.rules[0].id = "nowhere".into(), 422, "unknown_rule").await;
    check(|ask| ask.requirement = Hash::of(b"weaker"), 422, "requirement_mismatch").await;
    check(|ask| ask.rules.clear(), 400, "malformed").await;
    check(|ask| ask.rules = vec![ask.rules[0].clone(), ask.rules[0].clone()], 400, "malformed").await;
    check(|ask| ask.attempt = "short".into(), 400, "malformed").await;
    check(|ask| ask.request.body.b64 = Some("???".into()), 400, "malformed").await;
    check(|ask| ask.agent_reason = Some("x".repeat(5000)), 400, "malformed").await;
    for rule in ["reads", "soon"] {
        let answer = world.gateway("edge", "POST", "/v1/holds", &json!(world.ask(&[rule], "a"))).await;
        assert_eq!(answer.error(), "unknown_rule", "{rule} does not hold");
    }
    let mut unknown_member = json!(good);
    unknown_member["approved"] = Value::Bool(true);
    assert_eq!(world.gateway("edge", "POST", "/v1/holds", &unknown_member).await.error(), "malformed");
}

#[tokio::test]
async fn a_hold_outlives_the_process() {
    let world = World::new().await;
    let (ask, hold) = world.held(&["one"], "a").await;
    let world = world.reopened().await;
    let (status, found) = world.open(&ask).await;
    assert_eq!((status, found.hold), (StatusCode::OK, hold.clone()));
    assert!(world.sign_in("alice").await.decide(&hold, "approve").await.status.is_success());
    let world = world.reopened().await;
    assert!(world.redeem(&hold, &ask, 1).await.grant.is_some());
}

#[tokio::test]
async fn time_ends_what_nobody_decided_or_used() {
    let world = World::new().await;
    let (ask, pending) = world.held(&["one"], "a").await;
    let (_, approved) = world.held(&["one"], "b").await;
    let alice = world.sign_in("alice").await;
    alice.decide(&approved, "approve").await;
    world.clock.advance(599);
    world.service.expire().await.unwrap();
    assert_eq!(alice.get("/api/holds?state=approved").await.json()["total"], 1);
    world.clock.advance(1201);
    // Before anybody has written it down, the answer is right already.
    let late = world.sign_in("alice").await.decide(&pending, "approve").await;
    assert_eq!((late.status, late.error().as_str()), (StatusCode::CONFLICT, "not_open"));
    world.service.expire().await.unwrap();
    assert_eq!(alice.get("/api/holds?state=expired").await.json()["total"], 2);
    assert_eq!(world.redeem(&pending, &ask, 1).await.error, Some(holdgate_protocol::gateway::RedemptionError::Expired));
    let states: Vec<_> = world.feed(1).await.items.into_iter().map(|item| json!(item)["state"].clone()).collect();
    assert_eq!(states, ["approved", "expired", "expired"]);
}

#[tokio::test]
async fn a_task_is_shown_to_its_own_agent_and_group_only() {
    let world = World::new().await;
    let (_, hold) = world.held(&["one"], "a").await;
    let path = |agent: &Hash| format!("/v1/tasks/{hold}?agent={agent}");
    let own = world.gateway("edge", "GET", &path(&agent().key()), &Value::Null).await;
    assert_eq!(own.json()["state"], "pending");
    assert_eq!(own.json()["expires_at"], NOW + 1800);
    let stranger = world.gateway("edge", "GET", &path(&Hash::of(b"x")), &Value::Null).await;
    assert_eq!(stranger.status, StatusCode::NOT_FOUND);
    let other_group = world.gateway("other", "GET", &path(&agent().key()), &Value::Null).await;
    assert_eq!(other_group.status, StatusCode::NOT_FOUND);
    let nonsense = world.gateway("edge", "GET", &format!("/v1/tasks/{hold}?agent=x"), &Value::Null).await;
    assert_eq!(nonsense.status, StatusCode::BAD_REQUEST);
    world.sign_in("alice").await.decide(&hold, "deny").await;
    let denied = world.gateway("edge", "GET", &format!("{}&wait=20", path(&agent().key())), &Value::Null).await;
    assert_eq!(denied.json()["state"], "denied");
}

#[tokio::test]
async fn a_body_is_held_up_to_the_limit_and_above_it_the_answer_says_what_to_mend() {
    let world = World::new().await;
    let mut ask = world.ask(&["one"], "large");
    let body = vec![b'x'; MAX_HELD_BODY];
    ask.request.body = CapturedBody { b64: Some(b64(&body)), size: body.len() as u64, redacted: vec![] };
    let (_, opened) = world.open(&ask).await;
    let page = world.sign_in("alice").await.get(&format!("/holds/{}", opened.hold)).await;
    assert!(page.text.contains("not all of it"), "what is not shown is counted");

    ask.request.body.b64 = Some(b64(&vec![b'x'; MAX_OPEN_HOLD]));
    let answer = world.gateway("edge", "POST", "/v1/holds", &json!(ask)).await;
    assert_eq!((answer.status.as_u16(), answer.error().as_str()), (413, "too_large"));
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("lower `max_body`") && detail.contains(&MAX_HELD_BODY.to_string()), "{detail}");
}
