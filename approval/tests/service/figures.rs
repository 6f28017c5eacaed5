//! Figures: reviewers' load, approvals without a look, rules that hold in vain, and what is counted for Prometheus.

use axum::{body::Body, http::Request};
use holdgate_approval::{
    http::{App, routes},
    store::{Command, StoreError, Tx},
};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::support::{World, redemption, send};

fn of<'v>(list: &'v Value, name: &str, value: &str) -> &'v Value {
    list.as_array().unwrap().iter().find(|item| item[name] == value).unwrap()
}

#[tokio::test]
async fn who_approves_without_a_look_and_what_is_never_denied_is_said() {
    let world = World::new().await;
    let (alice, bob) = (world.sign_in("alice").await, world.sign_in("bob").await);
    let mut holds = Vec::new();
    for number in 0..50 {
        holds.push(world.held(&["one"], &format!("{number}")).await.1);
    }
    let (_, denied) = world.held(&["two"], "x").await;
    let (_, left) = world.held(&["why"], "y").await;
    // Alice looks at one hold for a minute and at another for two seconds, and at none of the others.
    assert_eq!(alice.get(&format!("/api/holds/{}", holds[0])).await.status, 200);
    world.clock.advance(58);
    assert_eq!(alice.get(&format!("/holds/{}", holds[1])).await.status, 200);
    world.clock.advance(1);
    // A second look changes nothing.
    assert_eq!(alice.get(&format!("/holds/{}", holds[0])).await.status, 200);
    world.clock.advance(1);
    for hold in &holds[..20] {
        assert_eq!(alice.decide(hold, "approve").await.status, 200);
    }
    // Bob reads what he decides on.
    for hold in &holds[20..40] {
        bob.get(&format!("/holds/{hold}")).await;
    }
    world.clock.advance(30);
    for hold in &holds[20..40] {
        assert_eq!(bob.decide(hold, "approve").await.status, 200);
    }
    assert_eq!(bob.decide(&denied, "deny").await.status, 200);
    world.clock.advance(1740);
    world.service.expire().await.unwrap();

    let figures = world.sign_in("audra").await.get("/api/figures").await.json();
    assert_eq!(figures["complete"], true);
    let all = json!({"opened": 52, "approved": 0, "denied": 1, "expired": 51, "cancelled": 0, "expired_percent": 98});
    assert_eq!(figures["holds"], all);
    assert_eq!(figures["decisions"], json!({"count": 41, "median": 90, "p90": 90}));
    assert_eq!(figures["open"], json!({"pending": 0, "approved": 0, "oldest": null}));
    let (a, b) = (of(&figures["reviewers"], "person", "alice"), of(&figures["reviewers"], "person", "bob"));
    assert_eq!((&a["approvals"], &a["denials"], &a["unread"], &a["looked"]), (&json!(20), &json!(0), &json!(19), &json!(2)));
    assert_eq!(a["warning"], "19 of 20 approvals came without a look at the hold, or within 5 seconds of one");
    assert_eq!((&b["approvals"], &b["denials"], &b["unread"]), (&json!(20), &json!(1), &json!(0)));
    assert_eq!((&b["warning"], &b["looked"]), (&Value::Null, &json!(30)));
    assert_eq!(of(&figures["rules"], "rule", "one")["remark"], "this rule has held 50 requests and none was denied");
    assert_eq!(of(&figures["rules"], "rule", "two")["remark"], Value::Null);
    assert_eq!(of(&figures["rules"], "rule", "why")["expired"], 1);
    assert!(!left.is_empty());

    assert_eq!(world.sign_in("alice").await.get("/api/figures").await.error(), "not_auditor");
    let later = world.sign_in("audra").await;
    let page = later.get("/figures").await.text;
    assert!(page.contains("this rule has held 50 requests and none was denied"), "{page}");
    assert!(page.contains("19 of 20 approvals came without a look"), "{page}");
    let since = crate::support::NOW + 10_000;
    let none = later.get(&format!("/api/figures?since={since}")).await.json();
    assert_eq!((&none["holds"]["opened"], &none["reviewers"]), (&json!(0), &json!([])));
    assert_eq!(world.get("/api/figures", "").await.status, 401);
    assert_eq!(world.get("/figures", "").await.header("location"), "/signin?next=/figures");
    assert_eq!(later.get("/api/figures?since=x").await.status, 400);
}

#[tokio::test]
async fn prometheus_is_told_what_happened_in_words_of_ours_alone() {
    let world = World::new().await;
    let (ask, hold) = world.held(&["one"], "a").await;
    let (other_ask, other) = world.held(&["one"], "b").await;
    let alice = world.sign_in("alice").await;
    world.clock.advance(100);
    alice.decide(&hold, "approve").await;
    alice.decide(&other, "deny").await;
    world.held(&["two"], "c").await;
    world.redeem(&hold, &ask, 1).await;
    world.gateway("edge", "POST", "/v1/redemptions", &redemption(&other, &other_ask, 2)).await;
    assert!(world.service.sign_in("alice", "wrong").await.is_err());
    // Its entry is written apart from the answer.
    let noted = "SELECT count(*) AS n FROM ledger WHERE kind = 'person.sign_in_failed'";
    while world.number(noted).await == 0 {
        tokio::task::yield_now().await;
    }
    world.get("/nowhere/evil-agent", "").await;
    send(&world.people, Request::builder().method("BREW").uri("/holds").body(Body::empty()).unwrap()).await;
    let waiting = world.service.store.tail().news();
    world.clock.advance(5);
    let (_stop, stopping) = watch::channel(false);
    let router = routes::metrics(App::new(world.service.clone(), false, stopping));
    let answer = send(&router, Request::get("/metrics").body(Body::empty()).unwrap()).await;
    drop(waiting);
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    for line in [
        "holdgate_events_total{kind=\"hold.opened\"} 3",
        "holdgate_events_total{kind=\"hold.approved\"} 1",
        "holdgate_events_total{kind=\"hold.denied\"} 1",
        "holdgate_events_total{kind=\"hold.used\"} 1",
        "holdgate_holds_open{state=\"pending\"} 1",
        "holdgate_holds_open{state=\"approved\"} 0",
        "holdgate_oldest_hold_age_seconds 5",
        "holdgate_decision_seconds_count 2",
        "holdgate_decision_seconds_bucket{le=\"60\"} 0",
        "holdgate_decision_seconds_bucket{le=\"120\"} 2",
        "holdgate_redemptions_total{result=\"granted\"} 1",
        "holdgate_redemptions_total{result=\"denied\"} 1",
        "holdgate_sign_in_failures_total{reason=\"wrong\"} 1",
        "holdgate_feed_listeners 1",
        "holdgate_notices{state=\"failed\"} 0",
        "holdgate_http_requests_total{method=\"POST\",route=\"/v1/holds\",status=\"201\"} 3",
        "holdgate_http_requests_total{method=\"POST\",route=\"/api/holds/{id}/decisions\",status=\"200\"} 2",
        "holdgate_http_requests_total{method=\"GET\",route=\"other\",status=\"404\"} 1",
        "holdgate_http_requests_total{method=\"other\",route=\"/holds\",status=\"405\"} 1",
    ] {
        assert!(answer.text.lines().any(|found| found == line), "{line}\n{}", answer.text);
    }
    let entries = world.number("SELECT count(*) AS n FROM ledger").await;
    assert!(answer.text.contains(&format!("holdgate_ledger_entries {entries}\n")), "{}", answer.text);
    assert!(answer.text.contains("holdgate_transaction_seconds_count"));
    for word in ["evil-agent", "bot", "alice", &hold] {
        assert!(!answer.text.contains(word), "{word}");
    }
    assert_eq!(world.get("/metrics", &alice.cookie).await.status, 404);
    assert_eq!(world.gateway("edge", "GET", "/metrics", &Value::Null).await.status, 404);
}

struct Run(&'static str);

impl Command for Run {
    type Answer = u64;
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<u64, StoreError> {
        tx.execute(self.0, vec![]).await
    }
}

#[tokio::test]
async fn it_is_ready_while_the_database_answers_and_says_what_is_missing() {
    let world = World::new().await;
    assert_eq!(world.get("/readyz", "").await.status, 200);
    assert_eq!(world.gateway("edge", "GET", "/readyz", &Value::Null).await.text, "ready\n");
    world.service.store.write(Run("ALTER TABLE followed RENAME TO lost")).await.unwrap();
    // An answer is good for a second.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let answer = world.get("/readyz", "").await;
    assert_eq!((answer.status.as_u16(), answer.error().as_str()), (503, "not_ready"), "{}", answer.text);
    assert!(answer.text.contains("The database does not answer."), "{}", answer.text);
    assert_eq!(world.get("/healthz", "").await.status, 200);
    world.service.store.write(Run("ALTER TABLE lost RENAME TO followed")).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert_eq!(world.get("/readyz", "").await.status, 200);
}
