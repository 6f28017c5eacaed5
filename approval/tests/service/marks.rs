//! Reminders, escalations and unknown outcomes: at their time, and once.

use holdgate_approval::{service::Settings, store::Database};
use holdgate_protocol::{Escalation, gateway::Outcome};

use crate::support::{World, attempt, let_in, policy};

async fn kinds(world: &World, hold: &str) -> Vec<String> {
    let mut connection = world.service.store.read().await.unwrap();
    let sql = format!("SELECT kind FROM ledger WHERE hold = '{hold}' ORDER BY seq");
    let rows = connection.rows(sql, vec![]).await.unwrap();
    rows.iter().map(|row| row.text("kind").unwrap()).collect()
}

async fn tick(world: &World) {
    world.service.look_at_marks().await.unwrap();
    world.service.follow().await.unwrap();
}

#[tokio::test]
async fn who_can_decide_is_reminded_and_a_further_role_called_once() {
    let world = World::new().await;
    let escalate = Some(Escalation { role: "sec".into(), after: 80 });
    let (signed, reference) = policy(2, |bundle| bundle.requirements[1].escalate = escalate);
    assert_eq!(world.publish(&signed, &reference.rev).await.status, 201);
    let (_, hold) = world.held(&["two"], "a").await;
    let (_, decided) = world.held(&["one"], "b").await;
    world.sign_in("alice").await.decide(&hold, "approve").await;
    world.sign_in("alice").await.decide(&decided, "approve").await;
    tick(&world).await;
    world.clock.advance(899);
    tick(&world).await;
    assert_eq!(kinds(&world, &hold).await, ["hold.opened", "hold.approval"]);
    world.clock.advance(1);
    tick(&world).await;
    tick(&world).await;
    assert_eq!(kinds(&world, &hold).await, ["hold.opened", "hold.approval", "hold.reminded"]);
    // A restart and a second instance say nothing again.
    let world = world.reopened().await;
    let mut twin = world.service.clone();
    twin.store = Database::open(&world.url, false).await.unwrap();
    world.clock.advance(539);
    tick(&world).await;
    assert_eq!(kinds(&world, &hold).await.len(), 3);
    world.clock.advance(1);
    let (first, second) = tokio::join!(world.service.look_at_marks(), twin.look_at_marks());
    first.unwrap();
    second.unwrap();
    twin.follow().await.unwrap();
    tick(&world).await;
    assert_eq!(kinds(&world, &hold).await, ["hold.opened", "hold.approval", "hold.reminded", "hold.escalated"]);
    assert_eq!(kinds(&world, &decided).await, ["hold.opened", "hold.approved"]);
    assert_eq!(world.number("SELECT count(*) AS n FROM hold_marks").await, 0);
}

#[tokio::test]
async fn nobody_is_reminded_of_what_is_over_or_where_it_is_switched_off() {
    let world = World::new().await;
    let (_, hold) = world.held(&["one"], "a").await;
    tick(&world).await;
    // Nobody looked at the time until the deadline was over.
    world.clock.advance(1800);
    tick(&world).await;
    assert_eq!(kinds(&world, &hold).await, ["hold.opened"]);
    let world = World::with(Settings { remind: 0, ..Settings::default() }).await;
    world.held(&["one"], "a").await;
    tick(&world).await;
    assert_eq!(world.number("SELECT count(*) AS n FROM hold_marks").await, 0);
}

#[tokio::test]
async fn an_outcome_that_nobody_reports_is_unknown_and_said_once() {
    let world = World::new().await;
    let alice = world.sign_in("alice").await;
    let mut holds = Vec::new();
    for (number, body) in [(1, "a"), (2, "b")] {
        let (ask, hold) = world.held(&["one"], body).await;
        alice.decide(&hold, "approve").await;
        assert!(world.redeem(&hold, &ask, number).await.grant.is_some());
        holds.push(hold);
    }
    let outcome = |hold: &str, number| Outcome { hold: hold.into(), attempt: attempt(number), forwarded: true, status: Some(200) };
    world.service.report(&let_in("edge"), vec![outcome(&holds[1], 2)]).await.unwrap();
    tick(&world).await;
    let shown = async |hold: &str| alice.get(&format!("/api/holds/{hold}")).await.json()["outcome"].clone();
    assert_eq!((shown(&holds[0]).await, shown(&holds[1]).await), (serde_json::Value::Null, "reported".into()));
    world.clock.advance(holdgate_protocol::grant::MAX_LIFE + 119);
    tick(&world).await;
    assert!(shown(&holds[0]).await.is_null());
    world.clock.advance(1);
    tick(&world).await;
    tick(&world).await;
    assert_eq!(shown(&holds[0]).await, "unknown");
    assert_eq!(kinds(&world, &holds[0]).await, ["hold.opened", "hold.approved", "hold.used", "hold.outcome_unknown"]);
    assert_eq!(kinds(&world, &holds[1]).await, ["hold.opened", "hold.approved", "hold.used", "hold.outcome"]);
    // What comes late counts still.
    world.service.report(&let_in("edge"), vec![outcome(&holds[0], 1)]).await.unwrap();
    assert_eq!(shown(&holds[0]).await, "reported");
}
