use std::time::Duration;

use holdgate_approval::service::expire::PruneFeed;
use serde_json::{Value, json};

use crate::support::World;

const LONG: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_decision_wakes_a_waiting_gateway() {
    let world = std::sync::Arc::new(World::new().await);
    let ask = world.ask(&["one"], "a");
    let (_, opened) = world.open(&ask).await;
    let waiting = {
        let (world, path) = (world.clone(), format!("/v1/feed?after={}&wait=30", opened.seq));
        tokio::spawn(async move { world.gateway("edge", "GET", &path, &Value::Null).await.json() })
    };
    let task = {
        let path = format!("/v1/tasks/{}?agent={}&wait=30", opened.hold, ask.agent.key());
        let world = world.clone();
        tokio::spawn(async move { world.gateway("edge", "GET", &path, &Value::Null).await.json() })
    };
    world.sign_in("alice").await.decide(&opened.hold, "approve").await;
    let page = tokio::time::timeout(LONG, waiting).await.expect("the feed wakes").unwrap();
    let item = json!({"seq": opened.seq + 1, "type": "hold", "hold": opened.hold, "state": "approved"});
    assert_eq!(page, json!({"next": opened.seq + 1, "items": [item]}));
    assert_eq!(tokio::time::timeout(LONG, task).await.expect("the task wakes").unwrap()["state"], "approved");
}

#[tokio::test]
async fn a_task_that_waits_tells_of_the_deadline_and_goes_on_from_its_number() {
    let world = std::sync::Arc::new(World::new().await);
    let ask = world.ask(&["one"], "a");
    let (_, opened) = world.open(&ask).await;
    let poll = |wait: &str| {
        let path = format!("/v1/tasks/{}?agent={}&wait={wait}", opened.hold, ask.agent.key());
        let world = world.clone();
        tokio::spawn(async move { world.gateway("edge", "GET", &path, &Value::Null).await.json() })
    };
    let pending = json!({"hold": opened.hold, "state": "pending", "expires_at": opened.expires_at, "seq": opened.seq});
    assert_eq!(poll("0").await.unwrap(), pending);
    let waiting = poll("30");
    tokio::task::yield_now().await;
    // What happens to others does not end the wait.
    let (_, other) = world.held(&["one"], "b").await;
    world.sign_in("alice").await.decide(&other, "deny").await;
    world.clock.advance(1800);
    world.service.expire().await.unwrap();
    let expired = tokio::time::timeout(LONG, waiting).await.expect("the task wakes").unwrap();
    assert_eq!((&expired["state"], &expired["expires_at"]), (&json!("expired"), &json!(opened.expires_at)));
    assert_eq!(poll("30").await.unwrap()["seq"], opened.seq + 2, "what has ended is told at once");
    assert!(matches!(poll("x").await.unwrap()["error"].as_str(), Some("malformed")));
}

#[tokio::test]
async fn a_stop_ends_a_task_that_waits() {
    let world = std::sync::Arc::new(World::new().await);
    let ask = world.ask(&["one"], "a");
    let (_, opened) = world.open(&ask).await;
    let waiting = {
        let path = format!("/v1/tasks/{}?agent={}&wait=30", opened.hold, ask.agent.key());
        let world = world.clone();
        tokio::spawn(async move { world.gateway("edge", "GET", &path, &Value::Null).await.json() })
    };
    tokio::task::yield_now().await;
    world.stop.send(true).unwrap();
    assert_eq!(tokio::time::timeout(LONG, waiting).await.expect("the poll ends").unwrap()["state"], "pending");
}

#[tokio::test]
async fn a_group_reads_its_own_holds_and_what_is_for_all() {
    let world = World::new().await;
    let (_, hold) = world.held(&["one"], "a").await;
    world.sign_in("alice").await.decide(&hold, "deny").await;
    let all = world.feed(0).await;
    assert_eq!(json!(all.items[0])["type"], "policy");
    assert_eq!((all.items.len(), all.next), (2, 2));
    let other = world.gateway("other", "GET", "/v1/feed?after=0", &Value::Null).await.json();
    assert_eq!(other["items"].as_array().unwrap().len(), 1);
    assert_eq!(other["next"], 2, "the cursor passes what is not for this group");
    let first = world.gateway("edge", "GET", "/v1/feed?after=0&limit=1", &Value::Null).await.json();
    assert_eq!((first["items"].as_array().unwrap().len(), &first["next"]), (1, &json!(1)));
}

#[tokio::test]
async fn a_cursor_that_is_not_kept_is_gone() {
    let world = World::new().await;
    let gone = async |after: u64| {
        world.gateway("edge", "GET", &format!("/v1/feed?after={after}"), &Value::Null).await.status.as_u16()
    };
    // Greater than all: the cursor is of another database.
    assert_eq!((gone(1).await, gone(2).await), (200, 410));
    let alice = world.sign_in("alice").await;
    for body in ["a", "b", "c"] {
        let (_, hold) = world.held(&["one"], body).await;
        alice.decide(&hold, "deny").await;
    }
    world.service.store.write(PruneFeed { keep: 2 }).await.unwrap();
    assert_eq!([gone(0).await, gone(1).await, gone(2).await, gone(4).await], [410, 410, 200, 200]);
    world.service.store.write(PruneFeed { keep: 0 }).await.unwrap();
    assert_eq!([gone(2).await, gone(3).await, gone(4).await], [410, 200, 200], "the newest stays");
    let state = world.gateway("edge", "GET", "/v1/state", &Value::Null).await.json();
    assert_eq!(state["seq"], 4, "numbers go on however many items are forgotten");
}

#[tokio::test]
async fn the_snapshot_tells_policy_suspensions_and_the_clock() {
    let world = World::new().await;
    let state = world.gateway("edge", "GET", "/v1/state", &Value::Null).await.json();
    let (now, grant_key) = (crate::support::NOW, world.service.keys().grant(crate::support::NOW).unwrap().kid().to_owned());
    let expected =
        json!({"seq": 1, "suspended": [], "policy": world.policy, "now": now, "group": "edge", "grant_key": grant_key});
    assert_eq!(state, expected);
}

#[tokio::test]
async fn a_stop_ends_long_polls() {
    let world = std::sync::Arc::new(World::new().await);
    let waiting = {
        let world = world.clone();
        tokio::spawn(async move { world.gateway("edge", "GET", "/v1/feed?after=1&wait=30", &Value::Null).await.json() })
    };
    tokio::task::yield_now().await;
    world.stop.send(true).unwrap();
    let page = tokio::time::timeout(LONG, waiting).await.expect("the poll ends").unwrap();
    assert_eq!(page, json!({"next": 1, "items": []}));
}
