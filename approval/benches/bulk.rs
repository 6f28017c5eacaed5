//! How fast thousands of holds are decided, redeemed and reported, as a gateway with thousands of parked requests brings
//! them, but without a gateway: `cargo bench -p holdgate-approval`. A number behind `--` asks for so many holds.
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
    gateway::{FeedItem, FeedPage, HoldState, OpenHold, Outcome, Redemption, RedemptionAnswers},
};
use serde_json::{Value, json};
use support::{World, attempt};

/// Holds in a round.
const MANY: usize = 10_000;
const ROUNDS: usize = 5;

/// Holds that are opened at once, and by how many agents.
const AT_ONCE: usize = 128;
const AGENTS: usize = 50;

/// Decisions in one request, and redemptions: what the service takes at most.
const LOT: usize = 5_000;
const BATCH: usize = 256;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let many = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(MANY);
    let names = ["open", "approve", "redeem", "report outcomes", "deny", "approve, feed and redeem together"];
    let mut times = vec![Vec::new(); names.len()];
    for round in 1..=ROUNDS {
        let apart = Box::pin(approved(many)).await;
        let [denied, together] = [Box::pin(denied(many)).await, Box::pin(together(many)).await];
        for (times, time) in times.iter_mut().zip(apart.into_iter().chain([denied, together])) {
            times.push(time);
        }
        eprintln!("round {round} of {ROUNDS}");
    }
    println!("{many} holds, {ROUNDS} rounds, seconds; CPU is that of this process, which sends the requests too");
    println!("{:<36} {:>8} {:>8} {:>8} {:>8}", "", "least", "median", "most", "CPU");
    for (name, times) in names.into_iter().zip(times) {
        let (mut passed, mut cpu): (Vec<Duration>, Vec<Duration>) = times.into_iter().unzip();
        passed.sort();
        cpu.sort();
        let seconds = |index: usize| passed[index].as_secs_f64();
        let [least, median, most] = [0, ROUNDS / 2, ROUNDS - 1].map(seconds);
        println!("{name:<36} {least:>8.3} {median:>8.3} {most:>8.3} {:>8.3}", cpu[ROUNDS / 2].as_secs_f64());
    }
}

/// What has passed since, and the CPU time of it: on a machine that does other things too the second tells more.
type Spent = (Duration, Duration);

struct Watch {
    begun: Instant,
    cpu: Duration,
}

impl Watch {
    fn start() -> Self {
        Watch { begun: Instant::now(), cpu: cpu() }
    }

    fn spent(&self) -> Spent {
        (self.begun.elapsed(), cpu() - self.cpu)
    }
}

/// CPU time of this process so far, as Linux counts it: in hundredths of a second (proc(5)).
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit(')').next().unwrap();
    let hundredths: u64 =
        after_name.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(hundredths * 10)
}

/// Times of opening, approving, redeeming and reporting, one after the other.
async fn approved(many: usize) -> [Spent; 4] {
    let watch = Watch::start();
    let (world, holds) = opened(many).await;
    let opened = watch.spent();
    let approved = decide(&world, &holds, "approve").await;
    let watch = Watch::start();
    for batch in holds.chunks(BATCH) {
        redeem(&world, batch).await;
    }
    let redeemed = watch.spent();
    let watch = Watch::start();
    for batch in holds.chunks(BATCH) {
        let outcome = |(hold, ask): &(String, OpenHold)| Outcome {
            hold: hold.clone(),
            attempt: ask.attempt.clone(),
            forwarded: true,
            status: Some(200),
        };
        let items: Vec<_> = batch.iter().map(outcome).collect();
        let answer = world.gateway("edge", "POST", "/v1/outcomes", &json!({"items": items})).await;
        assert_eq!(answer.status, 204, "{}", answer.text);
    }
    [opened, approved, redeemed, watch.spent()]
}

async fn denied(many: usize) -> Spent {
    let (world, holds) = opened(many).await;
    decide(&world, &holds, "deny").await
}

/// As it happens: what is approved is redeemed as soon as the feed tells of it, while other decisions are taken.
async fn together(many: usize) -> Spent {
    let (world, holds) = opened(many).await;
    let mut after = world.service.state("edge".into()).await.unwrap().seq;
    let watch = Watch::start();
    let gateway = async {
        let mut redeemed = 0;
        while redeemed < many {
            let target = format!("/v1/feed?after={after}&wait=25");
            let page: FeedPage =
                serde_json::from_str(&world.gateway("edge", "GET", &target, &Value::Null).await.text).unwrap();
            after = page.next;
            let approved: Vec<_> = page.items.iter().filter_map(|item| approved_of(item, &holds)).collect();
            redeem(&world, &approved).await;
            redeemed += approved.len();
        }
    };
    tokio::join!(gateway, decide(&world, &holds, "approve"));
    watch.spent()
}

fn approved_of(item: &FeedItem, holds: &[(String, OpenHold)]) -> Option<(String, OpenHold)> {
    let FeedItem::Hold { hold, state: HoldState::Approved, .. } = item else { return None };
    let index = holds.binary_search_by(|(id, _)| id.cmp(hold)).unwrap();
    Some(holds[index].clone())
}

/// A service with so many pending holds, sorted by their ids.
async fn opened(many: usize) -> (Arc<World>, Vec<(String, OpenHold)>) {
    let names = ["agent.open", "agent.hour", "owner.open", "owner.hour", "rule.open", "rule.hour"];
    let most = names.map(|name| format!("{name}={many}").parse().unwrap());
    let quotas = most.into_iter().fold(Quotas::default(), Quotas::with);
    let world = Arc::new(World::with(Settings { quotas, ..Settings::default() }).await);
    let mut holds = Vec::new();
    for first in (0..many).step_by(AT_ONCE) {
        let opening = (first..many.min(first + AT_ONCE)).map(|number| {
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
    holds.sort_by(|a, b| a.0.cmp(&b.0));
    (world, holds)
}

async fn decide(world: &World, holds: &[(String, OpenHold)], verdict: &str) -> Spent {
    let alice = world.sign_in("alice").await;
    let watch = Watch::start();
    for lot in holds.chunks(LOT) {
        let item = |(hold, _): &(String, OpenHold)| json!({"hold": hold, "verdict": verdict, "reason": "all of them"});
        let items: Vec<Value> = lot.iter().map(item).collect();
        let answer = alice.post("/api/decisions", json!({"items": items})).await.json();
        let expected = if verdict == "approve" { "approved" } else { "denied" };
        assert!(answer["items"].as_array().unwrap().iter().all(|item| item["state"] == expected));
    }
    watch.spent()
}

async fn redeem(world: &World, holds: &[(String, OpenHold)]) {
    if holds.is_empty() {
        return;
    }
    let item = |(hold, ask): &(String, OpenHold)| Redemption {
        hold: hold.clone(),
        attempt: ask.attempt.clone(),
        digest: ask.digest,
        agent: ask.agent.clone(),
        requirement: ask.requirement,
    };
    let items: Vec<_> = holds.iter().map(item).collect();
    let answer = world.gateway("edge", "POST", "/v1/redemptions", &json!({"items": items})).await;
    let answers: RedemptionAnswers = serde_json::from_str(&answer.text).unwrap();
    assert!(answers.items.len() == holds.len() && answers.items.iter().all(|item| item.grant.is_some()));
}
