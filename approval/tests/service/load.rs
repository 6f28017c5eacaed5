//! Thousands at once, as a gateway with thousands of held streams brings them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use holdgate_approval::{domain::Quotas, service::Settings};
use holdgate_protocol::gateway::HoldState;
use serde_json::json;

use crate::support::World;

const MANY: usize = 2000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_holds_at_once_and_all_denied_in_one_go() {
    let most = ["agent.open", "agent.hour", "owner.open", "owner.hour", "rule.open", "rule.hour"]
        .map(|name| format!("{name}={MANY}").parse().unwrap());
    let quotas = most.into_iter().fold(Quotas::default(), Quotas::with);
    let world = Arc::new(World::with(Settings { quotas, ..Settings::default() }).await);
    let begun = Instant::now();
    let opening = (0..MANY).map(|number| {
        let world = world.clone();
        tokio::spawn(async move {
            let ask = json!(world.ask(&["one"], &format!("body {number}")));
            // Who has waited for 10 seconds on a machine that is slow is refused, and comes again.
            loop {
                let answer = world.gateway("edge", "POST", "/v1/holds", &ask).await;
                match answer.status {
                    StatusCode::SERVICE_UNAVAILABLE => tokio::time::sleep(Duration::from_millis(100)).await,
                    StatusCode::CREATED => return answer.json()["hold"].as_str().unwrap().to_owned(),
                    _ => panic!("{}", answer.text),
                }
            }
        })
    });
    let mut holds = Vec::new();
    for opened in opening.collect::<Vec<_>>() {
        holds.push(opened.await.unwrap());
    }
    let opened = begun.elapsed();
    let alice = world.sign_in("alice").await;
    let list = alice.get("/api/holds?limit=5000").await.json();
    assert_eq!((list["total"].as_u64(), list["items"].as_array().unwrap().len()), (Some(MANY as u64), MANY));

    let begun = Instant::now();
    let items: Vec<_> = holds.iter().map(|hold| json!({"hold": hold, "verdict": "deny"})).collect();
    let answer = alice.post("/api/decisions", json!({"items": items})).await.json();
    let decided = begun.elapsed();
    assert!(answer["items"].as_array().unwrap().iter().all(|item| item["state"] == "denied"));
    eprintln!("{MANY} holds opened in {opened:?}, denied in {decided:?}");
    assert!(opened.as_secs() < 60 && decided.as_secs() < 60, "opened in {opened:?}, denied in {decided:?}");

    let (mut after, mut denied) = (1, 0);
    loop {
        let page = world.feed(after).await;
        if page.items.is_empty() {
            break;
        }
        assert!(page.items.len() <= 256);
        let news = page
            .items
            .iter()
            .filter(|item| matches!(item, holdgate_protocol::gateway::FeedItem::Hold { state: HoldState::Denied, .. }));
        denied += news.count();
        after = page.next;
    }
    assert_eq!(denied, MANY);
}
