//! What is not kept for good goes when its time is over, and what stays is still right.

use holdgate_approval::{domain::Retention, service::Settings};
use serde_json::{Value, json};

use crate::{
    audit::batch,
    support::{World, attempt},
};

pub const HOUR: u64 = 60 * 60;

pub async fn kept_for(times: &[&str]) -> World {
    let retention = times.iter().fold(Retention::default(), |kept, time| kept.with(time.parse().unwrap()));
    World::with(Settings { retention, ..Settings::default() }).await
}

pub async fn count(world: &World, table: &'static str) -> u64 {
    world.service.forget().await.unwrap();
    world.number(format!("SELECT count(*) AS n FROM {table}")).await
}

async fn send(world: &World, batch: &Value) -> u16 {
    world.gateway("edge", "POST", "/v1/audit", batch).await.status.as_u16()
}

/// First and last number of each gap.
async fn gaps(world: &World) -> Vec<[u64; 2]> {
    let gaps = world.service.audit_gaps(100).await.unwrap();
    gaps.iter().map(|gap| [gap.from_seq, gap.to_seq]).collect()
}

#[tokio::test]
async fn tries_are_forgotten_some_time_after_they_were_last_heard_of() {
    let world = kept_for(&["attempts=20m"]).await;
    let (mut ask, hold) = world.held(&["one"], "a").await;
    world.clock.advance(600);
    ask.attempt = attempt(2);
    assert_eq!(world.open(&ask).await.1.hold, hold);
    // The one hangs up; of the other nobody has ever heard. It may be on its way still.
    let items = [json!({"attempt": attempt(2)}), json!({"attempt": attempt(3)})];
    assert_eq!(world.gateway("edge", "POST", "/v1/detach", &json!({"items": items})).await.status, 204);
    assert_eq!(count(&world, "attempts").await, 3);
    world.clock.advance(599);
    assert_eq!(count(&world, "attempts").await, 3);
    world.clock.advance(1);
    assert_eq!(count(&world, "attempts").await, 2);
    world.clock.advance(600);
    assert_eq!(count(&world, "attempts").await, 0);
    assert_eq!(count(&world, "holds").await, 1, "holds are kept for good");
}

#[tokio::test]
async fn audit_records_go_and_gaps_are_told_as_before() {
    let world = kept_for(&["audit=2h"]).await;
    assert_eq!(send(&world, &batch(3, &[3, 4], 0)).await, 202);
    world.clock.advance(HOUR);
    assert_eq!(send(&world, &batch(7, &[7, 8], 0)).await, 202);
    assert_eq!((count(&world, "audit_batches").await, gaps(&world).await), (2, vec![[5, 6], [1, 2]]));
    world.clock.advance(HOUR);
    assert_eq!((count(&world, "audit_batches").await, gaps(&world).await), (1, vec![[5, 6]]));
    // What was deleted is not taken anew, and what was missing then is not awaited any more.
    assert_eq!(send(&world, &batch(3, &[3, 4], 0)).await, 409);
    assert_eq!(send(&world, &batch(1, &[1, 2], 0)).await, 409);
    // What is missing since then is.
    assert_eq!(send(&world, &batch(5, &[5], 0)).await, 202);
    assert_eq!(gaps(&world).await, [[6, 6]]);

    // A VM that was silent until all of its batches were deleted goes on where it ended.
    world.clock.advance(10 * HOUR);
    assert_eq!((count(&world, "audit_batches").await, gaps(&world).await), (0, vec![]));
    let world = world.reopened().await;
    assert_eq!(send(&world, &batch(9, &[9], 0)).await, 202);
    assert_eq!(gaps(&world).await, Vec::<[u64; 2]>::new(), "1 to 8 came");
    assert_eq!(send(&world, &batch(12, &[12], 0)).await, 202);
    assert_eq!(gaps(&world).await, [[10, 11]]);
    assert_eq!(send(&world, &batch(8, &[8], 0)).await, 409, "it came before");
    // Another VM has not sent anything yet.
    let mut other = batch(3, &[3], 0);
    other["vm_epoch"] = "another".into();
    assert_eq!(send(&world, &other).await, 202);
    assert_eq!(gaps(&world).await.len(), 2);
    // The ledger tells for good which numbers came.
    assert_eq!(world.number("SELECT count(*) AS n FROM ledger WHERE kind = 'audit.batch'").await, 6);
}

#[tokio::test]
async fn more_than_one_transaction_deletes_goes_too() {
    let world = kept_for(&["audit=1h", "attempts=1h"]).await;
    for number in 1..=60 {
        assert_eq!(send(&world, &batch(number, &[number], 0)).await, 202);
    }
    let tries: Vec<_> = (0..600).map(|number| json!({"attempt": attempt(number)})).collect();
    for items in tries.chunks(200) {
        assert_eq!(world.gateway("edge", "POST", "/v1/detach", &json!({"items": items})).await.status, 204);
    }
    assert_eq!((count(&world, "audit_batches").await, count(&world, "attempts").await), (60, 600));
    world.clock.advance(HOUR);
    assert_eq!((count(&world, "audit_batches").await, count(&world, "attempts").await), (0, 0));
}
