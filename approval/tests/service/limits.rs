//! What an agent cannot have: another request under a name that it used, a second hearing at once, holds without end.

use axum::http::StatusCode;
use holdgate_approval::{
    domain::quota::{Quotas, Setting},
    service::{Settings, open::KEYS_KEPT},
    store::keys::Purpose,
};
use holdgate_protocol::{
    Actor,
    gateway::{HoldAnswer, OpenHold},
};
use serde_json::json;

use crate::support::{Answer, NOW, World, attempt, policy};

fn named(world: &World, body: &str, key: &str) -> OpenHold {
    OpenHold { idempotency_key: Some(key.into()), ..world.ask(&["one"], body) }
}

const REUSED: (u16, &str) = (409, "idempotency_conflict");

async fn reused(world: &World, ask: &OpenHold) -> bool {
    let (status, error) = world.refused(ask).await;
    let reused = (status, error.as_str()) == REUSED;
    assert!(reused || status == 200 || status == 201, "{status} {error}");
    reused
}

#[tokio::test]
async fn an_idempotency_key_stands_for_one_request_of_one_agent() {
    let world = World::new().await;
    let ask = named(&world, "a", "key-1");
    let (_, first) = world.open(&ask).await;
    let (status, joined) = world.open(&ask).await;
    assert_eq!((status, &joined.hold), (StatusCode::OK, &first.hold));
    assert!(reused(&world, &named(&world, "b", "key-1")).await);
    assert!(!reused(&world, &named(&world, "b", "key-2")).await);
    // A name under which the first request was joined is its name too.
    assert_eq!(world.open(&named(&world, "a", "key-3")).await.1.hold, first.hold);
    assert!(reused(&world, &named(&world, "b", "key-3")).await);
    assert!(!reused(&world, &world.ask(&["one"], "b")).await, "without a name nothing is compared");
    // Another agent, the same one on behalf of somebody, or another group has names of its own.
    let mut other = named(&world, "b", "key-1");
    other.agent.sub = "another bot".into();
    assert!(!reused(&world, &other).await);
    let mut other = named(&world, "b", "key-1");
    other.agent.act = vec![Actor { iss: "https://idp.example".into(), sub: "bot".into() }];
    assert!(!reused(&world, &other).await);
    let elsewhere = world.gateway("other", "POST", "/v1/holds", &json!(named(&world, "b", "key-1"))).await;
    assert_eq!(elsewhere.status, StatusCode::CREATED);
    // The answer tells nothing of the other request.
    let answer = world.gateway("edge", "POST", "/v1/holds", &json!(named(&world, "b", "key-1"))).await;
    assert!(!answer.text.contains(&first.hold), "{}", answer.text);
}

#[tokio::test]
async fn an_idempotency_key_is_remembered_for_a_day_after_the_end() {
    let world = World::new().await;
    let (_, first) = world.open(&named(&world, "a", "key")).await;
    world.clock.advance(1800);
    // Whether or not the end is written down.
    assert!(reused(&world, &named(&world, "b", "key")).await);
    world.service.expire().await.unwrap();
    world.clock.advance(KEYS_KEPT - 1);
    world.service.forget().await.unwrap();
    assert!(reused(&world, &named(&world, "b", "key")).await);
    // The same request may be held anew under its name, which is remembered from then on.
    let (status, second) = world.open(&named(&world, "a", "key")).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_ne!(second.hold, first.hold);
    world.clock.advance(1800);
    world.service.expire().await.unwrap();
    world.clock.advance(KEYS_KEPT - 1);
    assert!(reused(&world, &named(&world, "b", "key")).await);
    world.clock.advance(1);
    assert!(!reused(&world, &named(&world, "b", "key")).await, "it is over even before it is deleted");
    assert!(reused(&world, &named(&world, "a", "key")).await);
}

#[tokio::test]
async fn what_is_remembered_of_keys_is_bounded_and_deleted() {
    let world = World::new().await;
    for number in 0..40 {
        world.open(&named(&world, "a", &format!("key {number}"))).await;
    }
    let kept = async || world.number("SELECT count(*) AS n FROM idempotency_keys").await;
    assert_eq!(kept().await, 32);
    world.clock.advance(1800);
    world.service.expire().await.unwrap();
    world.clock.advance(KEYS_KEPT - 1);
    world.service.forget().await.unwrap();
    assert_eq!(kept().await, 32);
    world.clock.advance(1);
    world.service.forget().await.unwrap();
    assert_eq!(kept().await, 0);
    for key in [String::new(), "x".repeat(256)] {
        assert_eq!(world.refused(&named(&world, "a", &key)).await, (400, "malformed".into()));
    }
}

#[tokio::test]
async fn another_policy_lets_a_key_go_with_what_its_digest_covered() {
    let world = World::new().await;
    world.open(&named(&world, "a", "key")).await;
    let (signed, reference) = policy(2, |bundle| bundle.requirements[0].unbind = vec!["x-trace".into()]);
    assert_eq!(world.publish(&signed, &reference.rev).await.status, 201);
    assert!(!reused(&world, &named(&world, "a, digested without x-trace", "key")).await);
    assert!(reused(&world, &named(&world, "b", "key")).await, "from then on it is this request's");
}

#[tokio::test]
async fn a_denied_request_stays_denied_while_it_cools_down() {
    let world = World::new().await;
    let alice = world.sign_in("alice").await;
    let (ask, hold) = world.held(&["one"], "a").await;
    alice.decide(&hold, "deny").await;
    world.clock.advance(1);
    let again = async || {
        let answer = world.gateway("edge", "POST", "/v1/holds", &json!(ask)).await;
        (answer.status.as_u16(), serde_json::from_str::<HoldAnswer>(&answer.text).unwrap(), answer)
    };
    let (status, told, answer) = again().await;
    assert_eq!((status, &told.hold, told.expires_at), (403, &hold, NOW + 600));
    assert_eq!((answer.json()["state"].clone(), answer.header("retry-after")), (json!("denied"), "599"));
    // Another request, another agent and another requirement were not denied.
    let mut stranger = ask.clone();
    stranger.agent.sub = "another bot".into();
    for other in [world.ask(&["one"], "b"), world.ask(&["two"], "a"), stranger] {
        assert_eq!(world.open(&other).await.0, StatusCode::CREATED);
    }
    world.clock.advance(598);
    assert_eq!(again().await.0, 403);
    world.clock.advance(1);
    let (status, told, _) = again().await;
    assert_eq!(status, 201);
    assert_ne!(told.hold, hold);
    // Denied anew, it cools down anew.
    world.sign_in("alice").await.decide(&told.hold, "deny").await;
    world.clock.advance(599);
    assert_eq!(again().await.1.hold, told.hold);
}

#[tokio::test]
async fn the_cool_down_is_a_setting() {
    let world = World::with(Settings { deny_cooldown: 0, ..Settings::default() }).await;
    let (ask, hold) = world.held(&["one"], "a").await;
    world.sign_in("alice").await.decide(&hold, "deny").await;
    assert_eq!(world.open(&ask).await.0, StatusCode::CREATED);
}

async fn limited(settings: &[&str]) -> World {
    let wide = ["agent.open=9", "agent.hour=9", "owner.open=9", "owner.hour=9", "rule.open=9", "rule.hour=9"];
    let settings = wide.iter().chain(settings).map(|text| text.parse::<Setting>().unwrap());
    World::with(Settings { quotas: settings.fold(Quotas::default(), Quotas::with), ..Settings::default() }).await
}

async fn open(world: &World, ask: &OpenHold) -> Answer {
    world.gateway("edge", "POST", "/v1/holds", &json!(ask)).await
}

#[tokio::test]
async fn each_quota_refuses_what_goes_beyond_it_and_says_which_it_is() {
    for (limit, retry_after) in [
        ("agent.open", 30),
        ("owner.open", 30),
        ("rule.open", 30),
        ("agent.hour", 3580),
        ("owner.hour", 3580),
        ("rule.hour", 3580),
    ] {
        let world = limited(&[&format!("{limit}=2")]).await;
        for body in ["a", "b", "a", "b", "a"] {
            assert!(
                open(&world, &world.ask(&["one"], body)).await.status.is_success(),
                "{limit}: joined or in the quota"
            );
        }
        let answer = open(&world, &world.ask(&["one"], "c")).await;
        assert_eq!((answer.status.as_u16(), answer.error().as_str()), (429, "quota"), "{limit}: {}", answer.text);
        // `NOW` is 20 s into its minute.
        assert_eq!(
            (answer.json()["limit"].as_str(), answer.json()["retry_after"].as_u64()),
            (Some(limit), Some(retry_after))
        );
        assert_eq!(answer.header("retry-after"), retry_after.to_string());
        assert_eq!(open(&world, &world.ask(&["one"], "a")).await.status, StatusCode::OK, "it still joins");

        let mut other_agent = world.ask(&["one"], "c");
        other_agent.agent.sub = "another bot".into();
        let mut other_owner = other_agent.clone();
        (other_owner.agent.sub, other_owner.agent.owner) = ("a third bot".into(), Some("group/platform".into()));
        let mut other_rule = other_owner.clone();
        other_rule.agent.sub = "a fourth bot".into();
        let two = world.ask(&["two"], "c");
        (other_rule.rules, other_rule.requirement) = (two.rules, two.requirement);
        let passes =
            [open(&world, &other_agent).await, open(&world, &other_owner).await, open(&world, &other_rule).await];
        let passes = passes.map(|answer| answer.status == StatusCode::CREATED);
        let expected = match limit.split('.').next() {
            Some("agent") => [true, true, true],
            Some("owner") => [false, true, true],
            _ => [false, false, true],
        };
        assert_eq!(passes, expected, "{limit}");
    }
}

#[tokio::test]
async fn whatever_ends_a_hold_makes_room_for_another() {
    let world = limited(&["agent.open=1"]).await;
    let alice = world.sign_in("alice").await;
    let full = async |body: &str| open(&world, &world.ask(&["one"], body)).await.status == 429;
    let (_, denied) = world.held(&["one"], "denied").await;
    assert!(full("x").await);
    alice.decide(&denied, "deny").await;
    let (used_ask, used) = world.held(&["one"], "used").await;
    alice.decide(&used, "approve").await;
    assert!(full("x").await, "what is approved is open still");
    assert!(world.redeem(&used, &used_ask, 1).await.grant.is_some());
    let (_, revoked) = world.held(&["one"], "revoked").await;
    alice.post(&format!("/api/holds/{revoked}/revoke"), json!({})).await;
    world.held(&["one"], "expired").await;
    world.clock.advance(1800);
    world.service.expire().await.unwrap();
    world.held(&["one"], "changed").await;
    assert!(full("x").await);
    let (signed, reference) = policy(2, |bundle| bundle.requirements[0].decide_within = 60);
    assert_eq!(world.publish(&signed, &reference.rev).await.status, 201);
    world.held(&["one"], "last").await;
    assert!(full("x").await);
    // What a restart, or a gateway that asks a thousand times, does not change.
    let world = world.reopened().await;
    assert_eq!(open(&world, &world.ask(&["one"], "x")).await.status, StatusCode::TOO_MANY_REQUESTS);
}

async fn kept(world: &World, table: &'static str) -> u64 {
    world.number(format!("SELECT count(*) AS n FROM {table}")).await
}

fn of_limit(answer: &Answer) -> (u16, Option<String>, Option<u64>) {
    let body = answer.json();
    let limit = body["limit"].as_str().map(ToOwned::to_owned);
    assert_eq!(answer.header("retry-after"), body["retry_after"].as_u64().map_or(String::new(), |s| s.to_string()));
    (answer.status.as_u16(), limit, body["retry_after"].as_u64())
}

#[tokio::test]
async fn an_agent_cannot_heap_tries_on_one_hold() {
    let world = limited(&["hold.waiting=3"]).await;
    let ask = |number| OpenHold { attempt: attempt(number), ..world.ask(&["one"], "a") };
    let (_, first) = world.open(&ask(1)).await;
    for number in [2, 3, 3, 3, 2] {
        assert_eq!(world.open(&ask(number)).await.1.hold, first.hold, "the same try again is one");
    }
    world.clock.advance(20);
    for number in 4..300 {
        let refused = of_limit(&open(&world, &ask(number)).await);
        assert_eq!(refused, (429, Some("hold.waiting".into()), Some(40)), "{number}");
    }
    assert_eq!(kept(&world, "attempts").await, 3, "nothing is kept of those");
    // Neither other requests nor other agents are hindered.
    let other = OpenHold { attempt: attempt(9), ..world.ask(&["one"], "b") };
    let mut stranger = ask(10);
    stranger.agent.sub = "another bot".into();
    for passes in [other, stranger] {
        assert_eq!(open(&world, &passes).await.status, StatusCode::CREATED);
    }
    // Who hangs up makes room, and so does who has waited long enough.
    world.gateway("edge", "POST", "/v1/detach", &json!({"items": [{"attempt": attempt(2)}]})).await;
    assert_eq!(open(&world, &ask(4)).await.status, StatusCode::OK);
    assert_eq!(open(&world, &ask(5)).await.status, StatusCode::TOO_MANY_REQUESTS);
    world.clock.advance(39);
    assert_eq!(of_limit(&open(&world, &ask(5)).await).2, Some(1));
    world.clock.advance(1);
    assert_eq!(open(&world, &ask(5)).await.status, StatusCode::OK);
    assert_eq!(open(&world, &ask(6)).await.status, StatusCode::OK);
    assert_eq!(open(&world, &ask(7)).await.status, StatusCode::TOO_MANY_REQUESTS);
    // What was approved is found all the same.
    world.sign_in("alice").await.decide(&first.hold, "approve").await;
    assert_eq!(world.open(&ask(7)).await.1.hold, first.hold);
    assert!(world.redeem(&first.hold, &ask(7), 7).await.grant.is_some());
}

#[tokio::test]
async fn an_agent_that_hangs_up_and_comes_again_is_stopped_by_the_hour() {
    let world = limited(&["agent.joins=5", "hold.waiting=2"]).await;
    let ask = |body: &str, number| OpenHold { attempt: attempt(number), ..world.ask(&["one"], body) };
    let (_, first) = world.open(&ask("a", 1)).await;
    world.open(&ask("b", 2)).await;
    let mut passed = 0;
    for number in 3..100 {
        let answer = open(&world, &ask(if number % 2 == 0 { "a" } else { "b" }, number)).await;
        passed += u64::from(answer.status == StatusCode::OK);
        let gone = json!({"items": [{"attempt": attempt(number)}]});
        assert_eq!(world.gateway("edge", "POST", "/v1/detach", &gone).await.status, 204);
        assert!(number < 8 || of_limit(&answer) == (429, Some("agent.joins".into()), Some(3580)), "{}", answer.text);
    }
    assert_eq!(passed, 5);
    // It counts for joins only, and outlives a restart; another agent has an hour of its own.
    assert_eq!(open(&world, &ask("c", 200)).await.status, StatusCode::CREATED);
    let world = world.reopened().await;
    let ask = |number| OpenHold { attempt: attempt(number), ..world.ask(&["one"], "a") };
    assert_eq!(open(&world, &ask(201)).await.status, StatusCode::TOO_MANY_REQUESTS);
    world.clock.advance(1700);
    world.sign_in("alice").await.decide(&first.hold, "approve").await;
    assert_eq!(world.open(&ask(201)).await.1.hold, first.hold, "what was approved is found all the same");
    world.clock.advance(1880);
    world.service.expire().await.unwrap();
    world.service.forget().await.unwrap();
    assert_eq!(kept(&world, "quota_joined").await, 0);
    assert_eq!(open(&world, &ask(202)).await.status, StatusCode::CREATED);
    assert_eq!(open(&world, &ask(203)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_hour_counts_to_the_minute_and_is_forgotten() {
    let world = limited(&["agent.hour=2", "agent.open=9"]).await;
    world.held(&["one"], "a").await;
    world.clock.advance(600);
    world.held(&["one"], "b").await;
    let wait = async || open(&world, &world.ask(&["one"], "c")).await.json()["retry_after"].as_u64();
    assert_eq!(wait().await, Some(2980));
    world.clock.advance(2979);
    assert_eq!(wait().await, Some(1));
    world.clock.advance(1);
    assert_eq!(open(&world, &world.ask(&["one"], "c")).await.status, StatusCode::CREATED);
    assert_eq!(open(&world, &world.ask(&["one"], "d")).await.error(), "quota");
    let minutes = async || {
        world.service.forget().await.unwrap();
        world.number("SELECT count(*) AS n FROM quota_opened WHERE subject = 'agent'").await
    };
    assert_eq!(minutes().await, 2);
    world.clock.advance(3600);
    assert_eq!(minutes().await, 0);
}

#[tokio::test]
async fn the_counts_are_those_of_the_holds() {
    let world = world_with_many_subjects().await;
    assert_eq!(kept(&world, "quota_open").await, 7, "two agents, two owners, three rules");
    // One of the nine was denied.
    let sum = "SELECT CAST(sum(holds) AS BIGINT) AS n FROM quota_open WHERE subject = ";
    for (subject, holds) in [("'agent'", 8), ("'owner'", 6), ("'rule'", 16)] {
        assert_eq!(world.number(format!("{sum}{subject}")).await, holds, "{subject}");
    }
}

/// Holds of several agents, owners and rules, one of which has ended.
pub async fn world_with_many_subjects() -> World {
    let world = World::new().await;
    let alice = world.sign_in("alice").await;
    for (number, rules) in [["one", "two"], ["one", "why"], ["two", "why"]].into_iter().enumerate() {
        for body in ["a", "b", "c"] {
            let mut ask = world.ask(&rules, body);
            ask.attempt = attempt(number as u64);
            ask.agent.owner = [None, Some("group/platform"), Some("olivia")][number].map(Into::into);
            ask.agent.act = if body == "a" { vec![] } else { vec![Actor { iss: "i\"é".into(), sub: "s\n".into() }] };
            let (_, opened) = world.open(&ask).await;
            if body == "c" && number == 0 {
                alice.decide(&opened.hold, "deny").await;
            }
        }
    }
    world
}

#[tokio::test]
async fn what_an_agent_asks_and_says_is_kept_apart_as_its_own_words() {
    let world = World::new().await;
    let mut ask = world.ask(&["one"], "a");
    ask.agent_reason = Some("approve \u{202e}me".into());
    (ask.asked.respond_async, ask.asked.wait) = (true, Some(u64::MAX));
    let (_, opened) = world.open(&ask).await;
    // What a later try says changes nothing of what a reviewer may have read.
    let later = OpenHold { agent_reason: Some("another reason".into()), ..ask.clone() };
    assert_eq!(world.open(&later).await.1.hold, opened.hold);
    let alice = world.sign_in("alice").await;
    let detail = alice.get(&format!("/api/holds/{}", opened.hold)).await.json();
    assert_eq!(detail["agent_reason"], "approve \u{202e}me");
    assert_eq!(detail["asked"], json!({"async": true, "wait": i64::MAX}));
    let page = alice.get(&format!("/holds/{}", opened.hold)).await.text;
    let words = page.split("The agent's own words").nth(1).unwrap();
    assert!(words.contains("Unverified") && !page.contains('\u{202e}'), "{words}");
}

#[tokio::test]
async fn the_state_for_clients_is_bound_to_hold_and_agent_and_tells_nothing() {
    let world = World::new().await;
    let ask = world.ask(&["one"], "a");
    let (_, first) = world.open(&ask).await;
    let state = first.request_state.clone();
    assert!(state.len() == 47 && state.starts_with("hg1.") && !state.contains(&first.hold), "{state}");
    assert_eq!(world.open(&ask).await.1.request_state, state, "a retry gets the same");
    let mut stranger = ask.clone();
    stranger.agent.sub = "another bot".into();
    for other in [world.ask(&["one"], "b"), stranger] {
        assert_ne!(world.open(&other).await.1.request_state, state);
    }
    let key = world.service.keys().states;
    let world = world.reopened().await;
    assert_eq!((world.open(&ask).await.1.request_state, world.service.keys().states), (state, key), "nor does a restart");
    assert_ne!(World::new().await.service.keys().states, key, "each service has a key of its own");
    let published = json!(world.service.keys().published(Purpose::Grant, crate::support::NOW));
    let public = published["keys"][0]["x"].as_str().unwrap();
    assert_ne!(holdgate_protocol::Hash::of(format!("holdgate request_state\n{public}").as_bytes()), key);
}
