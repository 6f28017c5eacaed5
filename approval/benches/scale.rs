//! The service with a hundred thousand open holds: `cargo bench -p holdgate-approval --bench scale`. A number behind `--` opens so many.
//!
//! On SQLite, or on the empty PostgreSQL database that `HOLDGATE_DATABASE_URL` names. It is asked through its routers, without a network.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    unreachable_pub,
    reason = "a measurement may fail loudly, as the tests do whose helpers it shares"
)]

#[path = "shared/database.rs"]
mod database;

#[expect(dead_code, reason = "it is the tests', and not all of it is needed here")]
#[path = "../tests/service/support.rs"]
mod support;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use holdgate_approval::{domain::Quotas, service::Settings};
use holdgate_protocol::{
    Agent,
    gateway::{FeedPage, OpenHold, Redemption},
};
use serde_json::{Value, json};
use support::{World, attempt, redemption};

const MANY: usize = 100_000;

/// Holds that are opened at once, and by how many agents.
const AT_ONCE: usize = 128;
const AGENTS: usize = 50;

/// Of the first and of the last so many holds it is told how fast they were opened.
const PART: usize = 10_000;

const SINGLE: usize = 1_000;
const BATCH: usize = 256;
const BATCHES: usize = 60;

const LISTENERS: usize = 2_000;
const ROUNDS: usize = 20;

type Held = (String, OpenHold);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let many = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(MANY);
    let names = ["agent.open", "agent.hour", "owner.open", "owner.hour", "rule.open", "rule.hour"];
    let most = names.map(|name| format!("{name}={}", many * 2).parse().unwrap());
    let quotas = most.into_iter().fold(Quotas::default(), Quotas::with);
    let world = Arc::new(World::with(Settings { quotas, ..Settings::default() }).await);

    let mut holds = Vec::with_capacity(many);
    while holds.len() < many {
        let (first, begun) = (holds.len(), Instant::now());
        open(&world, &mut holds, (first + PART).min(many)).await;
        if first == 0 || holds.len() == many {
            let rate = (holds.len() - first) as f64 / begun.elapsed().as_secs_f64();
            println!("opened, {first:>6} to {:>6} open        {rate:>8.0} a second", holds.len());
        }
    }
    let rest = holds.split_off(SINGLE);
    approve(&world, &holds).await;
    let mut times = Vec::new();
    for (number, (hold, ask)) in holds.iter().enumerate() {
        let begun = Instant::now();
        let answer = world.gateway("edge", "POST", "/v1/redemptions", &redemption(hold, ask, number as u64)).await;
        times.push(begun.elapsed());
        assert!(answer.json()["items"][0]["grant"].is_string(), "{}", answer.text);
    }
    tell("a redemption alone", times);

    let (batches, rest) = rest.split_at((BATCH * BATCHES).min(rest.len() / 2));
    approve(&world, batches).await;
    let (mut times, begun) = (Vec::new(), Instant::now());
    for batch in batches.chunks(BATCH) {
        let items: Vec<Redemption> = batch.iter().map(item).collect();
        let begun = Instant::now();
        let answer = world.gateway("edge", "POST", "/v1/redemptions", &json!({"items": items})).await.json();
        times.push(begun.elapsed());
        assert!(answer["items"].as_array().unwrap().iter().all(|item| item["grant"].is_string()));
    }
    let rate = batches.len() as f64 / begun.elapsed().as_secs_f64();
    tell("a batch of 256 redemptions", times);
    println!("redemptions in batches               {rate:>8.0} a second");

    let (mut times, mut after) = (Vec::new(), world.service.state("edge".into()).await.unwrap().seq);
    for (hold, _) in rest.iter().take(ROUNDS) {
        let listeners: Vec<_> = (0..LISTENERS).map(|_| listen(world.clone(), after)).collect();
        // All of them wait by then.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let alice = world.sign_in("alice").await;
        let begun = Instant::now();
        assert_eq!(alice.decide(hold, "deny").await.status, 200);
        for listener in listeners {
            let (heard, next) = listener.await.unwrap();
            times.push(heard - begun);
            after = next;
        }
    }
    tell("2,000 listeners, decision to page", times);
}

fn listen(world: Arc<World>, after: u64) -> tokio::task::JoinHandle<(Instant, u64)> {
    tokio::spawn(async move {
        let path = format!("/v1/feed?after={after}&wait=25");
        let page = world.gateway("edge", "GET", &path, &Value::Null).await;
        let heard = Instant::now();
        let page: FeedPage = serde_json::from_str(&page.text).unwrap();
        assert_eq!(page.items.len(), 1);
        (heard, page.next)
    })
}

fn tell(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    println!("{what:<36} {:>8.2} ms p50, {:.2} ms p99, {:.2} ms most", at(0.5), at(0.99), at(1.0));
}

fn item((hold, ask): &Held) -> Redemption {
    Redemption {
        hold: hold.clone(),
        attempt: ask.attempt.clone(),
        digest: ask.digest,
        agent: ask.agent.clone(),
        requirement: ask.requirement,
    }
}

async fn open(world: &Arc<World>, holds: &mut Vec<Held>, upto: usize) {
    while holds.len() < upto {
        let first = holds.len();
        let opening = (first..upto.min(first + AT_ONCE)).map(|number| {
            let world = world.clone();
            tokio::spawn(async move {
                let agent = Agent { sub: format!("agent-{}", number % AGENTS), ..support::agent() };
                let attempt = attempt(number as u64);
                let ask = OpenHold { agent, attempt, ..world.ask(&["one"], &format!("{{\"item\": {number}}}")) };
                (world.open(&ask).await.1.hold, ask)
            })
        });
        for opened in opening.collect::<Vec<_>>() {
            holds.push(opened.await.unwrap());
        }
    }
}

async fn approve(world: &World, holds: &[Held]) {
    let alice = world.sign_in("alice").await;
    for lot in holds.chunks(5_000) {
        let item = |(hold, _): &Held| json!({"hold": hold, "verdict": "approve", "reason": "all of them"});
        let items: Vec<Value> = lot.iter().map(item).collect();
        let answer = alice.post("/api/decisions", json!({"items": items})).await.json();
        assert!(answer["items"].as_array().unwrap().iter().all(|item| item["state"] == "approved"));
    }
}
