//! An agent is taken out of service, and let back in.

use std::time::Duration;

use holdgate_approval::{
    service::suspend::{Resume, Suspend},
    store::{Database, ledger},
};
use holdgate_protocol::{Actor, gateway::RedemptionError};
use serde_json::{Value, json};

use crate::support::{NOW, World, agent};

fn suspend(agent: Actor) -> Suspend {
    Suspend { agent, reason: "it runs wild".into(), now: NOW }
}

#[tokio::test]
async fn a_suspended_agent_loses_its_holds_and_gets_no_others() {
    let world = World::new().await;
    let alice = world.sign_in("alice").await;
    let (_, pending) = world.held(&["one"], "a").await;
    let (ask, approved) = world.held(&["one"], "b").await;
    alice.decide(&approved, "approve").await;
    let mut delegated = world.ask(&["one"], "c");
    delegated.agent.act = vec![agent().caller()];
    delegated.agent.sub = "alice".into();
    let (_, delegated) = world.open(&delegated).await;
    let mut stranger = world.ask(&["one"], "d");
    stranger.agent.sub = "another bot".into();
    let (_, spared) = world.open(&stranger).await;
    let seq = world.feed(0).await.next;

    let cancelled = world.service.store.write(suspend(agent().caller())).await.unwrap();
    assert_eq!(cancelled, Some(3), "its own, and those in which it acts for somebody");
    assert_eq!(world.service.store.write(suspend(agent().caller())).await.unwrap(), None, "it was already");
    for hold in [&pending, &approved, &delegated.hold] {
        let detail = alice.get(&format!("/api/holds/{hold}")).await.json();
        assert_eq!((&detail["state"], &detail["cause"]), (&json!("cancelled"), &json!("suspended")));
    }
    assert_eq!(alice.get(&format!("/api/holds/{}", spared.hold)).await.json()["state"], "pending");
    let news = json!(world.feed(seq).await.items);
    let told = json!({"seq": seq + 1, "type": "agent", "iss": agent().iss, "sub": "bot", "suspended": true});
    assert_eq!((&news[0], news.as_array().unwrap().len()), (&told, 4));
    assert!(news.as_array().unwrap().iter().skip(1).all(|item| item["cause"] == "suspended"), "{news}");

    let answer = world.redeem(&approved, &ask, 1).await;
    assert_eq!((answer.error, answer.cause.as_deref()), (Some(RedemptionError::Cancelled), Some("suspended")));
    assert_eq!(world.refused(&ask).await, (403, "agent_suspended".into()));
    assert_eq!(world.refused(&world.ask(&["one"], "new")).await, (403, "agent_suspended".into()));
    let task = format!("/v1/tasks/{pending}?agent={}&wait=20", agent().key());
    let task = world.gateway("edge", "GET", &task, &Value::Null).await.json();
    assert_eq!((&task["state"], &task["cause"]), (&json!("cancelled"), &json!("suspended")));
    let state = world.gateway("edge", "GET", "/v1/state", &Value::Null).await.json();
    assert_eq!(state["suspended"], json!([agent().caller()]));

    let resume = || Resume { agent: agent().caller(), reason: String::new(), now: NOW };
    assert!(world.service.store.write(resume()).await.unwrap());
    assert!(!world.service.store.write(resume()).await.unwrap(), "it was not suspended any more");
    let (status, again) = world.open(&ask).await;
    assert_eq!(status, 201, "what was cancelled stays so");
    assert_ne!(again.hold, approved);
    let last = json!(world.feed(seq).await.items.last());
    assert_eq!((&last["type"], &last["suspended"]), (&json!("agent"), &json!(false)));
    let mut connection = world.service.store.read().await.unwrap();
    let entries = ledger::page(&mut connection, None, 0, 1000).await.unwrap();
    let data = |kind: &str| entries.iter().find(|entry| entry.kind == kind).map(|entry| entry.data.clone());
    let expected = json!({"agent": agent().caller(), "by": "operator", "reason": "it runs wild"});
    assert_eq!(serde_json::from_str::<Value>(&data("agent.suspended").unwrap()).unwrap(), expected);
    assert!(data("agent.resumed").is_some());
}

#[tokio::test]
async fn a_suspension_by_another_process_wakes_who_waits() {
    let world = std::sync::Arc::new(World::new().await);
    let ask = world.ask(&["one"], "a");
    let (_, opened) = world.open(&ask).await;
    let paths = [
        format!("/v1/feed?after={}&wait=30", opened.seq),
        format!("/v1/tasks/{}?agent={}&wait=30", opened.hold, agent().key()),
    ];
    let waiting = paths.map(|path| {
        let world = world.clone();
        tokio::spawn(async move { world.gateway("edge", "GET", &path, &Value::Null).await.json() })
    });
    tokio::task::yield_now().await;
    let other = Database::open(&world.url, false).await.unwrap();
    assert_eq!(other.write(suspend(agent().caller())).await.unwrap(), Some(1));
    world.service.store.look_around().await.unwrap();
    let [feed, task] = waiting.map(|poll| tokio::time::timeout(Duration::from_secs(10), poll));
    assert_eq!(feed.await.expect("the feed wakes").unwrap()["items"][0]["suspended"], true);
    assert_eq!(task.await.expect("the task wakes").unwrap()["cause"], "suspended");
}
