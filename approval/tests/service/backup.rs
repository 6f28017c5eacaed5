//! An older state that is restored: nothing in it may be used a second time.

use std::sync::Arc;

use holdgate_approval::{
    keys::{KeysError, ServiceKeys},
    service::restored::Restored,
    store::{Database, ledger},
};
use holdgate_protocol::gateway::HoldState;
use serde_json::Value;

use crate::{
    database,
    support::{World, attempt, data_keys, policy},
};

/// The world of a database that was restored from a backup.
async fn restored(world: &World, folder: tempfile::TempDir, url: String) -> World {
    let store = Database::open(&url, false).await.unwrap();
    let refused = ServiceKeys::load(&store, data_keys()).await;
    assert!(matches!(refused, Err(KeysError::Copy)), "a copy is not served as it is");
    let identity = store.identity().await.unwrap();
    store.write(Restored { identity, now: world.service.now() }).await.unwrap();
    let reference = policy(1, |_| {}).1;
    World::on(folder, url, store, world.clock.clone(), reference, world.service.settings).await
}

#[tokio::test]
async fn nothing_of_a_restored_state_is_used_twice() {
    let world = Arc::new(World::new().await);
    let alice = world.sign_in("alice").await;
    let (used_ask, used) = world.held(&["one"], "used before the backup").await;
    alice.decide(&used, "approve").await;
    assert!(world.redeem(&used, &used_ask, 1).await.grant.is_some());
    let (ask, approved) = world.held(&["one"], "approved").await;
    alice.decide(&approved, "approve").await;
    let (_, denied) = world.held(&["one"], "denied after the backup").await;

    // The backup is made while others write.
    let load = {
        let world = world.clone();
        tokio::spawn(async move {
            for number in 0..60 {
                world.held(&["two"], &format!("load {number}")).await;
                tokio::task::yield_now().await;
            }
        })
    };
    let folder = tempfile::tempdir().unwrap();
    let url = database::backed_up(&world, folder.path()).await;
    load.await.unwrap();
    let cursor = world.feed(0).await.next;

    // What happens after the backup.
    assert!(world.redeem(&approved, &ask, 1).await.grant.is_some());
    alice.decide(&denied, "deny").await;
    let late = world.feed(0).await.next;
    let cookie = alice.cookie.clone();
    assert!(late > cursor);

    let again = restored(&world, folder, url).await;
    let answer = again.redeem(&approved, &ask, 2).await;
    assert_eq!((answer.grant, answer.cause.as_deref()), (None, Some("restored")));
    let answer = again.redeem(&approved, &ask, 1).await;
    assert_eq!(answer.grant, None, "not for the same attempt either");
    assert!(again.redeem(&used, &used_ask, 2).await.grant.is_none());
    assert_eq!(again.get("/api/session", &cookie).await.status, 401, "sessions have ended");
    let bob = again.sign_in("bob").await;
    assert_eq!(bob.decide(&denied, "approve").await.status, 409);
    for state in [HoldState::Pending, HoldState::Approved] {
        let open = format!("SELECT count(*) AS n FROM holds WHERE state = '{}'", state.as_str());
        assert_eq!(again.number(open).await, 0, "{state:?}");
    }

    // Whatever number a gateway has, it takes a new snapshot, and goes on from there.
    for after in [0, 1, cursor, late, late + 1000] {
        let answer = again.gateway("edge", "GET", &format!("/v1/feed?after={after}"), &Value::Null).await;
        assert_eq!(answer.status, 410, "{after}");
    }
    let state = again.gateway("edge", "GET", "/v1/state", &Value::Null).await.json();
    let seq = state["seq"].as_u64().unwrap();
    assert!(seq > late);
    assert!(again.feed(seq).await.items.is_empty());
    let (mut new_ask, hold) = again.held(&["one"], "approved").await;
    bob.decide(&hold, "approve").await;
    assert_eq!(again.feed(seq).await.items.len(), 1);
    new_ask.attempt = attempt(3);
    assert!(again.redeem(&hold, &new_ask, 3).await.grant.is_some(), "what is approved anew passes");

    // The ledger goes on from the backup without a gap, and tells of the restore.
    let entries = ledger::page(&mut again.service.store.read().await.unwrap(), None, 0, 1000).await.unwrap();
    crate::ledger::verify(&again.url).await;
    assert_eq!(entries.iter().filter(|entry| entry.kind == "service.restored").count(), 1);
    assert!(entries.iter().any(|entry| entry.kind == "hold.cancelled" && entry.hold.as_deref() == Some(&*approved)));
    // It starts again as any other.
    let again = again.reopened().await;
    assert_eq!(again.gateway("edge", "GET", &format!("/v1/feed?after={late}"), &Value::Null).await.status, 410);
}
