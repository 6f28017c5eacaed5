//! Errors are problem details, whoever finds them: a handler, an extractor or the framework.

use axum::{
    body::Body,
    http::{Request, header},
};
use serde_json::{Value, json};

use crate::support::{Answer, World, send};

#[track_caller]
fn check(answer: &Answer, status: u16, word: &str) {
    assert_eq!(
        (answer.status.as_u16(), answer.header("content-type")),
        (status, "application/problem+json"),
        "{}",
        answer.text
    );
    let problem = answer.json();
    assert_eq!(problem["type"], format!("urn:holdgate:problem:{word}"), "{problem}");
    assert_eq!((&problem["error"], &problem["status"]), (&json!(word), &json!(status)), "{problem}");
    let (title, detail) = (problem["title"].as_str().unwrap(), problem["detail"].as_str().unwrap());
    assert!(!title.contains('_') && title.starts_with(char::is_uppercase), "{title}");
    assert!(detail.ends_with('.') && !detail.starts_with(char::is_lowercase), "{detail}");
}

#[tokio::test]
async fn every_error_of_the_gateways_listener_is_a_problem() {
    let world = World::new().await;
    let gateway = async |method: &str, path: &str, body: Value| world.gateway("edge", method, path, &body).await;
    check(&gateway("GET", "/v1/nothing", Value::Null).await, 404, "not_found");
    let other = gateway("DELETE", "/v1/state", Value::Null).await;
    check(&other, 405, "method_not_allowed");
    assert!(other.header("allow").contains("GET"), "{:?}", other.headers);
    check(&gateway("POST", "/v1/outcomes", json!({"items": [], "more": 1})).await, 400, "malformed");
    check(&gateway("GET", "/v1/feed?after=x", Value::Null).await, 400, "malformed");
    check(&gateway("GET", "/v1/feed?after=9999", Value::Null).await, 410, "cursor_gone");
    check(&gateway("GET", "/v1/bundles/%ff", Value::Null).await, 400, "malformed");
    let large = json!({"items": "x".repeat(5 * 1024 * 1024)});
    check(&gateway("POST", "/v1/detach", large).await, 413, "too_large");
    let nobody = world.gateway("nobody", "GET", "/v1/state", &Value::Null).await;
    check(&nobody, 401, "unauthorized");
    assert_eq!(nobody.header("www-authenticate"), "Bearer");
}

#[tokio::test]
async fn every_error_of_the_peoples_listener_is_a_problem() {
    let world = World::new().await;
    let ask = async |method: &str, path: &str, kind: &str, body: &str| {
        let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, kind);
        send(&world.people, request.body(Body::from(body.to_owned())).unwrap()).await
    };
    check(&ask("GET", "/nothing", "", "").await, 404, "not_found");
    let other = ask("PATCH", "/api/holds", "", "").await;
    check(&other, 405, "method_not_allowed");
    assert!(other.header("allow").contains("GET"), "{:?}", other.headers);
    let nobody = ask("GET", "/api/holds", "", "").await;
    check(&nobody, 401, "unauthorized");
    assert_eq!(nobody.header("www-authenticate"), "Bearer");
    check(&ask("POST", "/signin", "text/plain", "person=alice").await, 415, "unsupported_media_type");
    let large = format!("person={}", "a".repeat(20 * 1024));
    check(&ask("POST", "/signin", "application/x-www-form-urlencoded", &large).await, 413, "too_large");
    let alice = world.sign_in("alice").await;
    check(&alice.get("/api/holds/none").await, 404, "not_found");
    check(&alice.get("/api/holds/%ff").await, 400, "malformed");
    check(&alice.get("/api/holds?state=open").await, 400, "malformed");
    check(&alice.get("/api/ledger/entries/first").await, 400, "malformed");
    check(&alice.post("/api/decisions", json!({"items": [], "as": "bob"})).await, 400, "malformed");
    check(&alice.decide("none", "approve").await, 404, "not_found");
}
