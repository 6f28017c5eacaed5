//! Who may do what: a table over all routes of `openapi.yaml`. A route that it does not know fails the test, so none is forgotten.

use std::collections::BTreeMap;

use axum::{body::Body, http::Request};
use serde_json::Value;

use crate::support::{Answer, World, send};

/// The people of the table: one of another scope, a reviewer of the hold, an auditor, an administrator, and the owner of the hold's agent.
const PEOPLE: [&str; 5] = ["carol", "alice", "audra", "ann", "olivia"];

/// Of each route that people read: who is let in. What is not theirs is refused with 403, or is not there.
const READERS: [(&str, &[&str]); 26] = [
    ("session", &PEOPLE),
    ("listHolds", &PEOPLE),
    ("holdDetail", &["alice", "audra", "olivia"]),
    ("auditRecords", &["audra"]),
    ("auditGaps", &["audra", "ann"]),
    ("listPeople", &["ann"]),
    ("person", &["ann"]),
    ("listGroups", &["ann"]),
    ("listEligibility", &["ann"]),
    ("listAgents", &["ann"]),
    ("listGateways", &["ann"]),
    ("listPublishers", &["ann"]),
    ("listChanges", &["ann"]),
    ("ledgerCheckpoint", &PEOPLE),
    ("ledgerEntries", &["audra"]),
    ("ledgerEntry", &["audra"]),
    ("ledgerInclusion", &PEOPLE),
    ("ledgerConsistency", &PEOPLE),
    ("ledgerExport", &["audra"]),
    ("figures", &["audra", "ann"]),
    ("notices", &["audra", "ann"]),
    ("holdsPage", &PEOPLE),
    ("figuresPage", &["audra", "ann"]),
    ("peoplePage", &["audra", "ann"]),
    ("holdPage", &["alice", "audra", "olivia"]),
    ("currentBundle", &[]),
];

struct Operation {
    method: String,
    path: String,
    id: String,
    /// Names of what the route asks for, one of these.
    asks: Vec<String>,
}

/// All operations with a place filled in for each parameter: what there is in the world of the test.
fn operations(hold: &str, rev: &str) -> Vec<Operation> {
    let document: Value = serde_saphyr::from_str(include_str!("../../openapi.yaml")).unwrap();
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let people = path.starts_with("/api/people") || path.contains("/members");
        let path = path.replace("{rev}", rev).replace("{hold}", hold).replace("{seq}", "1").replace("{person}", "bob");
        let path = path.replace("{fingerprint}", "0123456789abcdef");
        let path = path.replace("{id}", if people { "alice" } else { hold });
        for (method, operation) in methods.as_object().unwrap() {
            let sets = operation["security"].as_array().into_iter().flatten();
            let asks = sets.flat_map(|set| set.as_object().unwrap().keys().cloned()).collect();
            let id = operation["operationId"].as_str().unwrap().to_owned();
            operations.push(Operation { method: method.to_uppercase(), path: path.clone(), id, asks });
        }
    }
    operations
}

fn query(id: &str) -> &'static str {
    match id {
        "feed" => "?after=1",
        "ledgerInclusion" => "?seq=1",
        "ledgerConsistency" => "?from=1",
        _ => "",
    }
}

impl Operation {
    async fn ask(&self, world: &World, headers: &[(&str, &str)]) -> Answer {
        let target = format!("{}{}", self.path, query(&self.id));
        let mut request = Request::builder().method(self.method.as_str()).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let gateways = self.asks.iter().any(|ask| ask == "gateway");
        send(if gateways { &world.gateways } else { &world.people }, request.body(Body::from("{}")).unwrap()).await
    }
}

async fn world_with_a_hold() -> (World, Vec<Operation>) {
    let world = World::new().await;
    let (_, hold) = world.held(&["one"], "a").await;
    let operations = operations(&hold, &world.policy.rev.to_string());
    (world, operations)
}

#[tokio::test]
async fn every_route_refuses_whoever_brings_nothing_or_what_is_for_another_route() {
    let (world, operations) = world_with_a_hold().await;
    let alice = world.sign_in("alice").await;
    let cookie = alice.cookie.clone();
    let mut asked = 0;
    for operation in operations.iter().filter(|operation| !operation.asks.is_empty()) {
        let own = |name: &str| operation.asks.iter().any(|ask| ask == name);
        let mut wrong: Vec<Vec<(&str, &str)>> = vec![vec![], vec![("authorization", "Bearer nonsense")]];
        if !own("gateway") {
            wrong.push(vec![("authorization", "Bearer edge-credential")]);
        }
        if !own("publisher") {
            wrong.push(vec![("authorization", "Bearer ci-credential")]);
        }
        if !own("session") {
            wrong.push(vec![("cookie", &cookie), ("x-csrf-token", &alice.csrf)]);
        }
        for headers in wrong {
            let answer = operation.ask(&world, &headers).await;
            let (status, to) = (answer.status.as_u16(), answer.header("location"));
            let page = !operation.path.starts_with("/api/") && !operation.path.starts_with("/v1/");
            let refused = status == 401 || page && status == 303 && to.starts_with("/signin");
            assert!(refused, "{} {} with {headers:?}: {status}", operation.method, operation.path);
            asked += 1;
        }
    }
    assert!(asked > 150, "{asked}");
}

#[tokio::test]
async fn every_write_of_a_session_needs_its_token_and_its_own_site() {
    let (world, operations) = world_with_a_hold().await;
    let alice = world.sign_in("alice").await;
    let writes = operations.iter().filter(|operation| operation.method != "GET" && operation.asks.contains(&"csrf".into()));
    let mut asked = 0;
    for operation in writes {
        for other in ["", "x"] {
            let answer = operation.ask(&world, &[("cookie", &alice.cookie), ("x-csrf-token", other)]).await;
            assert_eq!(answer.error(), "csrf", "{} {}", operation.method, operation.path);
        }
        let headers =
            [("cookie", &*alice.cookie), ("x-csrf-token", &*alice.csrf), ("sec-fetch-site", "cross-site")];
        assert_eq!(operation.ask(&world, &headers).await.error(), "cross_site", "{}", operation.path);
        asked += 1;
    }
    assert!(asked > 20, "{asked}");
    assert_eq!(alice.get("/api/session").await.status, 200, "and nobody was signed out by it");
}

#[tokio::test]
async fn every_route_that_is_read_is_read_by_those_whose_it_is() {
    let (world, operations) = world_with_a_hold().await;
    let readers: BTreeMap<&str, &[&str]> = READERS.into_iter().collect();
    for person in PEOPLE {
        let signed = world.sign_in(person).await;
        for operation in operations.iter().filter(|operation| operation.method == "GET") {
            let by_people = operation.asks.iter().any(|ask| ask == "session" || ask == "publisher");
            if !by_people {
                continue;
            }
            let may = readers.get(&*operation.id).unwrap_or_else(|| panic!("`{}` is not in the table", operation.id));
            let status = operation.ask(&world, &[("cookie", &signed.cookie)]).await.status.as_u16();
            let expected: &[u16] = if may.contains(&person) { &[200] } else { &[401, 403, 404] };
            assert!(expected.contains(&status), "{person}: GET {} answers {status}", operation.path);
        }
    }
}

#[tokio::test]
async fn another_group_and_another_agent_see_nothing_of_a_hold() {
    let (world, operations) = world_with_a_hold().await;
    let task = operations.iter().find(|operation| operation.id == "task").unwrap();
    let agent = crate::support::agent().key();
    let of = |agent: &str| format!("{}?agent={agent}", task.path);
    let own = of(&agent.to_string());
    assert_eq!(world.gateway("edge", "GET", &own, &Value::Null).await.status, 200);
    assert_eq!(world.gateway("other", "GET", &own, &Value::Null).await.status, 404);
    let stranger = of(&holdgate_protocol::Hash::of(b"x").to_string());
    assert_eq!(world.gateway("edge", "GET", &stranger, &Value::Null).await.status, 404);
}
