//! Requests that arrive at once share a transaction, and what is opened in it is written at its end: each is judged as if it had
//! come after the others.

use std::{collections::BTreeSet, sync::Arc};

use axum::http::StatusCode;
use holdgate_approval::{
    domain::quota::{Quotas, Setting},
    service::Settings,
};
use holdgate_protocol::gateway::OpenHold;
use serde_json::json;

use crate::support::{Answer, World, attempt, let_in};

const MANY: usize = 32;

async fn world(limits: &[&str]) -> Arc<World> {
    let limits = limits.iter().map(|text| text.parse::<Setting>().unwrap());
    let quotas = limits.fold(Quotas::default(), Quotas::with);
    Arc::new(World::with(Settings { quotas, ..Settings::default() }).await)
}

async fn all<T: Send + 'static>(futures: impl Iterator<Item: Future<Output = T> + Send + 'static>) -> Vec<T> {
    let mut answers = Vec::new();
    for spawned in futures.map(tokio::spawn).collect::<Vec<_>>() {
        answers.push(spawned.await.unwrap());
    }
    answers
}

/// A request of its own for each number.
fn asks(world: &World, change: impl Fn(usize, &mut OpenHold)) -> Vec<OpenHold> {
    let ask = |number: usize| {
        let mut ask = OpenHold { attempt: attempt(number as u64), ..world.ask(&["one"], &format!("body {number}")) };
        change(number, &mut ask);
        ask
    };
    (0..MANY).map(ask).collect()
}

/// All at once: they wait for the writer together.
async fn open(world: &Arc<World>, asks: &[OpenHold]) -> Vec<Answer> {
    let one = |ask: &OpenHold| {
        let (world, ask) = (world.clone(), json!(ask));
        async move { world.gateway("edge", "POST", "/v1/holds", &ask).await }
    };
    all(asks.iter().map(one)).await
}

fn count(answers: &[Answer], status: StatusCode) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

fn holds(answers: &[Answer]) -> BTreeSet<String> {
    answers.iter().filter_map(|answer| answer.json()["hold"].as_str().map(ToOwned::to_owned)).collect()
}

#[tokio::test]
async fn one_request_that_comes_many_times_has_one_hold() {
    let world = world(&[]).await;
    let digests = ["a", "b", "c", "d"].map(|body| world.ask(&["one"], body).digest);
    let answers = open(&world, &asks(&world, |number, ask| ask.digest = digests[number % 4])).await;
    assert_eq!((count(&answers, StatusCode::CREATED), count(&answers, StatusCode::OK)), (4, MANY - 4));
    assert_eq!(holds(&answers).len(), 4);
    assert_eq!(world.number("SELECT count(*) AS n FROM attempts").await, MANY as u64, "each try is known");
    assert_eq!(world.number("SELECT CAST(sum(joins) AS BIGINT) AS n FROM quota_joined").await, MANY as u64 - 4);
    assert_eq!(world.number("SELECT count(*) AS n FROM ledger WHERE kind = 'hold.opened'").await, 4);
    assert_eq!(world.number("SELECT CAST(sum(holds) AS BIGINT) AS n FROM quota_open").await, 12, "agent, owner, rule");
}

#[tokio::test]
async fn quotas_count_what_is_opened_beside() {
    for limit in ["agent.open", "owner.hour", "rule.open"] {
        let world = world(&[&format!("{limit}=7")]).await;
        let answers = open(&world, &asks(&world, |_, _| {})).await;
        let refused = StatusCode::TOO_MANY_REQUESTS;
        assert_eq!((count(&answers, StatusCode::CREATED), count(&answers, refused)), (7, MANY - 7), "{limit}");
        for (table, subjects) in [("quota_open", 3), ("quota_opened", 3)] {
            let sum = format!("SELECT CAST(sum(holds) AS BIGINT) AS n FROM {table}");
            assert_eq!(world.number(sum).await, 7 * subjects, "{limit}, {table}");
        }
        assert_eq!(world.number("SELECT count(*) AS n FROM holds").await, 7, "{limit}");
        assert_eq!(world.number("SELECT count(*) AS n FROM captures").await, 7, "{limit}");
        assert_eq!(world.number("SELECT count(*) AS n FROM ledger WHERE kind = 'hold.opened'").await, 7, "{limit}");
    }
}

#[tokio::test]
async fn a_name_leads_to_one_request() {
    let world = world(&[]).await;
    let named = |number: usize, ask: &mut OpenHold| ask.idempotency_key = Some(format!("name {}", number % 8));
    let answers = open(&world, &asks(&world, named)).await;
    assert_eq!((count(&answers, StatusCode::CREATED), count(&answers, StatusCode::CONFLICT)), (8, MANY - 8));
    assert_eq!(world.number("SELECT count(*) AS n FROM idempotency_keys").await, 8);
}

#[tokio::test]
async fn a_try_is_known_for_the_hold_that_it_asked_for_last() {
    let world = world(&[]).await;
    let answers = open(&world, &asks(&world, |_, ask| ask.attempt = attempt(7))).await;
    assert_eq!(count(&answers, StatusCode::CREATED), MANY);
    assert_eq!(world.number("SELECT count(*) AS n FROM attempts").await, 1);
}

#[tokio::test]
async fn what_cannot_be_kept_of_one_request_is_no_other_ones_harm() {
    let world = world(&[]).await;
    let asks = asks(&world, |number, ask| match number % 4 {
        1 => ask.request.path = "/nul\0here".into(),
        2 => ask.agent.sub = "s".repeat(3000),
        3 => ask.agent.owner = Some("group/\0".into()),
        _ => {}
    });
    let answers = open(&world, &asks).await;
    for (number, answer) in answers.iter().enumerate() {
        let expected = if number % 4 == 0 { StatusCode::CREATED } else { StatusCode::BAD_REQUEST };
        assert_eq!(answer.status, expected, "{number}: {}", answer.text);
    }
    let holds = "SELECT count(*) AS n FROM holds";
    assert_eq!(world.number(holds).await, MANY as u64 / 4);
    assert_eq!(world.number("SELECT count(*) AS n FROM ledger WHERE kind = 'hold.opened'").await, MANY as u64 / 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_commands_find_what_was_opened_before_them() {
    let world = world(&[]).await;
    let one = |number: usize| {
        let world = world.clone();
        async move {
            let alice = world.sign_in("alice").await;
            let ask = OpenHold { attempt: attempt(number as u64), ..world.ask(&["one"], &format!("body {number}")) };
            let hold = world.open(&ask).await.1.hold;
            assert_eq!(alice.decide(&hold, "approve").await.status, StatusCode::OK);
            let items = json!({"items": [{"hold": hold, "attempt": ask.attempt, "digest": ask.digest, "agent": ask.agent,
                "requirement": ask.requirement}]});
            let answer = world.gateway("edge", "POST", "/v1/redemptions", &items).await.json();
            assert!(answer["items"][0]["grant"].is_string(), "{answer}");
        }
    };
    all((0..MANY).map(one)).await;
    assert_eq!(world.number("SELECT count(*) AS n FROM quota_open").await, 0, "all are used");
    assert_eq!(world.number("SELECT count(*) AS n FROM holds WHERE state = 'used'").await, MANY as u64);
}

#[tokio::test]
async fn a_group_that_is_suspended_meanwhile_opens_nothing() {
    let world = world(&[]).await;
    let ask = world.ask(&["one"], "a");
    let ann = world.sign_in("ann").await;
    let done = ann.post("/api/gateways/suspend", json!({"group": "edge", "reason": "it was stolen"})).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    // As a request whose credential was looked at before.
    let refused = world.service.open_hold(&let_in("edge"), ask.clone()).await.unwrap_err();
    assert_eq!(refused.to_string(), "the gateway's credential was retired, or its group suspended");
}
