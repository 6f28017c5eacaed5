use std::collections::BTreeSet;

use holdgate_approval::http::routes;
use serde_json::Value;

use crate::support::World;

fn document() -> Value {
    serde_saphyr::from_str(include_str!("../../openapi.yaml")).unwrap()
}

#[test]
fn the_document_lists_the_routes_of_both_listeners() {
    let document = document();
    let mut described = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        described.extend(operations.as_object().unwrap().keys().map(|method| (method.clone(), path.clone())));
    }
    let routes = [routes::gateway_routes(), routes::people_routes()].into_iter().flatten();
    let served: BTreeSet<_> = routes.map(|route| (route.method.to_owned(), route.path.to_owned())).collect();
    assert_eq!(described, served);
}

#[test]
fn every_reference_of_the_document_leads_somewhere() {
    fn check(value: &Value, document: &Value) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref") {
                    assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
                }
                members.values().for_each(|member| check(member, document));
            }
            Value::Array(items) => items.iter().for_each(|item| check(item, document)),
            _ => {}
        }
    }
    let document = document();
    check(&document, &document);
}

#[tokio::test]
async fn the_document_is_served() {
    let world = World::new().await;
    let answer = world.get("/openapi.yaml", "").await;
    assert_eq!(answer.header("content-type"), "application/yaml");
    assert!(answer.text.starts_with("openapi: 3.1"));
}

/// Every member that the service writes stands in the document, so that it does not fall behind.
#[tokio::test]
async fn answers_have_the_members_that_the_document_requires() {
    let world = World::new().await;
    let document = document();
    let (ask, hold) = world.held(&["why"], "a").await;
    let (alice, audra) = (world.sign_in("alice").await, world.sign_in("audra").await);
    alice.decide(&hold, "approve").await;
    world.redeem(&hold, &ask, 1).await;
    let (_, opened) = world.open(&world.ask(&["one"], "b")).await;
    let list = alice.get("/api/holds").await.json();
    let batch = crate::audit::batch(1, &[2], 1);
    let record = batch["records"][0].clone();
    let accepted = world.gateway("edge", "POST", "/v1/audit", &batch).await.json();
    let gaps = audra.get("/api/audit/gaps").await.json();
    let figures = audra.get("/api/figures").await.json();
    let session = serde_json::json!({"person": "alice", "password": crate::support::PASSWORD}).to_string();
    let session = axum::http::Request::post("/api/sessions").body(session.into()).unwrap();
    let ann = world.sign_in("ann").await;
    let why = |mut body: Value| {
        body["reason"] = "a test".into();
        body
    };
    let person = ann.get("/api/people/alice").await.json();
    let done = ann.post("/api/gateways/suspend", why(serde_json::json!({"group": "other"}))).await.json();
    let first = async |path: &str| ann.get(path).await.json()["items"][0].clone();
    let samples = [
        ("HoldFigures", figures["holds"].clone()),
        ("ReviewerFigures", figures["reviewers"][0].clone()),
        ("RuleFigures", figures["rules"][0].clone()),
        ("Figures", figures),
        ("NoticeList", audra.get("/api/notices").await.json()),
        ("StartedSession", crate::support::send(&world.people, session).await.json()),
        ("Error", world.get("/nothing", "").await.json()),
        ("PersonDetail", person.clone()),
        ("Eligibility", person["eligibility"][0].clone()),
        ("Person", first("/api/people").await),
        ("Group", first("/api/groups").await),
        ("AgentLine", first("/api/agents").await),
        ("Credential", first("/api/gateways").await),
        ("ChangeAnswer", done),
        ("AuditBatch", batch),
        ("AuditRecord", record),
        ("AuditAnswer", accepted),
        ("AuditGap", gaps["items"][0].clone()),
        ("OpenHold", serde_json::json!(ask)),
        ("HoldAnswer", serde_json::json!(opened)),
        ("FeedPage", serde_json::json!(world.feed(0).await)),
        ("Session", alice.get("/api/session").await.json()),
        ("HoldLine", list["items"][0].clone()),
        ("LedgerEntry", audra.get("/api/ledger/entries").await.json()["items"][0].clone()),
        ("LedgerEntryList", audra.get("/api/ledger/entries").await.json()),
        ("LedgerEntryDetail", audra.get("/api/ledger/entries/1").await.json()),
        ("HoldList", list),
        ("HoldDetail", alice.get(&format!("/api/holds/{hold}")).await.json()),
        ("SignedKeys", world.gateway("edge", "GET", "/v1/keys", &Value::Null).await.json()),
        ("State", world.gateway("edge", "GET", "/v1/state", &Value::Null).await.json()),
    ];
    for (name, sample) in samples {
        let schema = &document["components"]["schemas"][name];
        let properties: BTreeSet<&String> = schema["properties"].as_object().unwrap().keys().collect();
        let members: BTreeSet<&String> = sample.as_object().unwrap().keys().collect();
        assert_eq!(members, properties, "{name}");
        let required: BTreeSet<&str> =
            schema["required"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!(required, properties.iter().map(|name| name.as_str()).collect(), "{name}");
    }
}
