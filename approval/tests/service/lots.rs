//! Many at once: each item is judged by what those before it have left, and all is written or nothing.

use holdgate_approval::{
    domain::Quotas,
    service::Settings,
    store::{Command, StoreError, Tx, holds, ledger},
};
use holdgate_protocol::{
    gateway::{FeedItem, HoldState, OpenHold},
};
use serde_json::{Value, json};

use crate::{
    database::refusing,
    support::{World, agent, attempt, redemption},
};

/// More than stand in one statement.
const MANY: usize = 150;

async fn wide() -> World {
    let names = ["agent.open", "agent.hour", "owner.open", "owner.hour", "rule.open", "rule.hour"];
    let most = names.map(|name| format!("{name}=1000").parse().unwrap());
    World::with(Settings { quotas: most.into_iter().fold(Quotas::default(), Quotas::with), ..Settings::default() })
        .await
}

async fn held(world: &World, rule: &str, many: usize) -> Vec<(OpenHold, String)> {
    let mut holds = Vec::new();
    for number in 0..many {
        holds.push(world.held(&[rule], &format!("{rule} {number}")).await);
    }
    holds
}

async fn decide(world: &World, person: &str, items: &[(&str, &str)]) -> Vec<String> {
    let item = |(hold, verdict): &(&str, &str)| json!({"hold": hold, "verdict": verdict, "reason": "seen"});
    let items: Vec<_> = items.iter().map(item).collect();
    let answer = world.sign_in(person).await.post("/api/decisions", json!({"items": items})).await.json();
    let word = |item: &Value| item["error"].as_str().or(item["state"].as_str()).unwrap().to_owned();
    answer["items"].as_array().unwrap().iter().map(word).collect()
}

/// The kinds of a hold's entries; that the whole ledger is sound is checked on the way.
async fn kinds(world: &World, hold: &str) -> Vec<String> {
    crate::ledger::verify(&world.url).await;
    let mut connection = world.service.store.read().await.unwrap();
    let entries = ledger::page(&mut connection, Some(hold), 0, 100).await.unwrap();
    entries.into_iter().map(|entry| entry.kind).collect()
}

#[tokio::test]
async fn each_decision_of_a_lot_is_judged_by_those_before_it() {
    let world = wide().await;
    let (_, late) = world.held(&["one"], "late").await;
    world.clock.advance(1800);
    let ones = held(&world, "one", MANY).await;
    let twos = held(&world, "two", 2).await;
    let mut own = world.ask(&["one"], "own");
    own.agent.owner = Some("bob".into());
    let own = world.open(&own).await.1.hold;
    let before = world.feed(0).await.next;

    let mut items: Vec<(&str, &str)> = ones.iter().map(|(_, hold)| (hold.as_str(), "approve")).collect();
    let (first, second) = (twos[0].1.as_str(), twos[1].1.as_str());
    items.extend([
        (&*late, "approve"),
        (&*late, "deny"),
        ("nowhere", "approve"),
        (&*own, "deny"),
        (&*ones[0].1, "deny"),
    ]);
    items.extend([(first, "approve"), (first, "approve"), (first, "deny"), (second, "deny"), (second, "approve")]);
    let words = decide(&world, "bob", &items).await;
    assert!(words[..MANY].iter().all(|word| word == "approved"));
    let rest = ["not_open", "not_open", "not_found", "own_agent", "already_decided"];
    let several = ["pending", "pending", "already_decided", "denied", "already_decided"];
    assert_eq!(words[MANY..], [rest, several].concat());

    assert_eq!(kinds(&world, &late).await, ["hold.opened", "hold.expired"]);
    assert_eq!(kinds(&world, &ones[MANY - 1].1).await, ["hold.opened", "hold.approved"]);
    assert_eq!(kinds(&world, first).await, ["hold.opened", "hold.approval"]);
    assert_eq!(kinds(&world, second).await, ["hold.opened", "hold.denied"]);
    assert_eq!(decide(&world, "alice", &[(first, "approve"), (first, "approve")]).await, ["approved", "approved"]);
    let decisions = holds::decisions(&mut world.service.store.read().await.unwrap(), first).await.unwrap();
    let roles: Vec<_> = decisions.iter().map(|decision| (&*decision.person, &*decision.role)).collect();
    assert_eq!(roles.len(), 2);
    assert!(roles.contains(&("alice", "iam")), "{roles:?}");

    // Each hold that changed is told once, in one row of numbers.
    let (mut after, mut told) = (before, Vec::new());
    while let page = world.feed(after).await
        && !page.items.is_empty()
    {
        after = page.next;
        told.extend(page.items);
    }
    let states = told.iter().enumerate().map(|(index, item)| match item {
        FeedItem::Hold { seq, state, .. } if *seq == before + 1 + index as u64 => *state,
        item => panic!("{item:?}"),
    });
    let count = |wanted| states.clone().filter(|state| *state == wanted).count();
    let counts = [HoldState::Approved, HoldState::Denied, HoldState::Expired].map(count);
    assert_eq!((counts, told.len()), ([MANY + 1, 1, 1], MANY + 3));
}

#[tokio::test]
async fn a_lot_of_denials_leaves_the_counts_of_quotas_right() {
    let world = wide().await;
    let holds = held(&world, "one", MANY).await;
    let open = held(&world, "two", 3).await;
    let mut items: Vec<_> = holds.iter().map(|(_, hold)| (hold.as_str(), "deny")).collect();
    items.push((&open[0].1, "approve"));
    assert!(decide(&world, "alice", &items).await[..MANY].iter().all(|word| word == "denied"));
    assert_eq!(world.number("SELECT holds AS n FROM quota_open WHERE subject = 'agent'").await, 3);
    assert_eq!(world.number("SELECT holds AS n FROM quota_open WHERE subject = 'owner'").await, 3);
    assert_eq!(world.number("SELECT CAST(sum(holds) AS BIGINT) AS n FROM quota_open WHERE subject = 'rule'").await, 3);
}

#[tokio::test]
async fn of_two_tries_in_one_batch_the_first_redeems() {
    let world = wide().await;
    let holds = held(&world, "one", MANY).await;
    let items: Vec<_> = holds.iter().map(|(_, hold)| (hold.as_str(), "approve")).collect();
    decide(&world, "alice", &items).await;
    let (ask, hold) = &holds[0];
    let item = |number| redemption(hold, ask, number)["items"][0].clone();
    let mut items: Vec<Value> =
        holds.iter().skip(1).map(|(ask, hold)| redemption(hold, ask, 1)["items"][0].clone()).collect();
    items.extend([item(1), item(1), item(2), item(1)]);
    let answer = world.gateway("edge", "POST", "/v1/redemptions", &json!({"items": items})).await.json();
    let answers = answer["items"].as_array().unwrap();
    assert!(answers[..MANY].iter().all(|answer| answer["grant"].is_string()));
    let grant = &answers[MANY - 1]["grant"];
    assert_eq!((&answers[MANY]["grant"], &answers[MANY + 1]["error"]), (grant, &json!("used")));
    assert_eq!(&answers[MANY + 2]["grant"], grant);
    assert_eq!(kinds(&world, hold).await, ["hold.opened", "hold.approved", "hold.used"]);
    assert_eq!(world.number("SELECT count(*) AS n FROM quota_open").await, 0);

    // Of their reports too the first counts, and of others none.
    let report = |hold: &str, number, status| json!({"hold": hold, "attempt": attempt(number), "forwarded": true, "status": status});
    let mut items: Vec<_> = holds.iter().skip(1).map(|(_, hold)| report(hold, 1, 201)).collect();
    items.extend([report(hold, 2, 500), report(hold, 1, 202), report(hold, 1, 500), report("nowhere", 1, 200)]);
    for group in ["other", "edge", "edge"] {
        assert_eq!(world.gateway(group, "POST", "/v1/outcomes", &json!({"items": items})).await.status, 204);
        let kept = if group == "other" { 0 } else { MANY as u64 };
        assert_eq!(world.number("SELECT count(*) AS n FROM outcomes").await, kept, "{group}");
    }
    assert_eq!(world.number("SELECT count(*) AS n FROM outcomes WHERE status = 202").await, 1);
    assert_eq!(kinds(&world, hold).await, ["hold.opened", "hold.approved", "hold.used", "hold.outcome"]);
    assert_eq!(world.number("SELECT count(*) AS n FROM ledger WHERE kind = 'hold.outcome'").await, MANY as u64);
}

/// Makes the database refuse to change one hold.
struct Break(String);

impl Command for Break {
    type Answer = ();
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<(), StoreError> {
        for sql in refusing(&self.0) {
            tx.execute(sql, vec![]).await?;
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_lot_that_cannot_be_written_whole_leaves_nothing() {
    let world = wide().await;
    let holds = held(&world, "one", MANY).await;
    world.service.store.write(Break(holds[MANY - 1].1.clone())).await.unwrap();
    let counts = async || {
        let ledger = world.number("SELECT count(*) AS n FROM ledger WHERE kind LIKE 'hold.%'").await;
        let decisions = world.number("SELECT count(*) AS n FROM decisions").await;
        (ledger, decisions, world.number("SELECT count(*) AS n FROM holds WHERE state = 'pending'").await)
    };
    let (before, seq) = (counts().await, world.feed(0).await.next);
    let alice = world.sign_in("alice").await;
    let item = |(_, hold): &(OpenHold, String)| json!({"hold": hold, "verdict": "approve"});
    let items: Vec<_> = holds.iter().map(item).collect();
    // Alone, and beside commands that stay.
    let lost = alice.post("/api/decisions", json!({"items": items})).await;
    assert_eq!((lost.status.as_u16(), lost.error().as_str()), (503, "unavailable"));
    assert_eq!((counts().await, world.feed(0).await.next), (before, seq));
    let stranger =
        OpenHold { agent: holdgate_protocol::Agent { sub: "x".into(), ..agent() }, ..world.ask(&["one"], "x") };
    let (opened, lost) = tokio::join!(world.open(&stranger), alice.post("/api/decisions", json!({"items": items})));
    assert_eq!((opened.0.as_u16(), lost.status.as_u16()), (201, 503));
    let (ledger, decisions, pending) = before;
    assert_eq!(counts().await, (ledger + 1, decisions, pending + 1));
    let alone = alice.decide(&holds[0].1, "approve").await;
    assert_eq!(alone.json()["state"], "approved");
    assert_eq!(kinds(&world, &holds[0].1).await, ["hold.opened", "hold.approved"]);
}
