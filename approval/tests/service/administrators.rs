//! The administrators' side: what they can change, and what they cannot.

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use holdgate_approval::{http::routes, service::{Settings, who::Who}, store::ledger};
use serde_json::{Value, json};

use crate::{
    people::grant,
    support::{NOW, Reviewer, World, send},
};

const WHY: &str = "because of a test";

fn second_person() -> Settings {
    Settings { second_person: true, ..Settings::default() }
}

/// Every route with a body, or a query, that would be in order.
fn requests() -> Vec<(&'static str, String, Value)> {
    let identity = json!({"iss": "https://idp.example", "sub": "new", "reason": WHY});
    let query = "iss=https://idp.example&sub=bob&reason=x";
    let named = json!({"id": "new", "name": "New", "reason": WHY});
    let why = json!({"reason": WHY});
    let granted = json!({"person": "carol", "role": "iam", "scope": {}, "reason": WHY});
    let list = [
        ("GET", "/api/people", Value::Null),
        ("POST", "/api/people", named.clone()),
        ("GET", "/api/people/bob", Value::Null),
        ("POST", "/api/people/bob/suspend", why.clone()),
        ("POST", "/api/people/bob/resume", why.clone()),
        ("POST", "/api/people/bob/links", identity.clone()),
        ("DELETE", "/api/people/bob/links?QUERY", Value::Null),
        ("GET", "/api/groups", Value::Null),
        ("POST", "/api/groups", named),
        ("POST", "/api/groups/platform/members", json!({"person": "bob", "reason": WHY})),
        ("DELETE", "/api/groups/platform/members/alice?reason=x", Value::Null),
        ("GET", "/api/eligibility", Value::Null),
        ("POST", "/api/eligibility", granted),
        ("POST", "/api/eligibility/1/end", why.clone()),
        ("POST", "/api/eligibility/2/certify", why.clone()),
        ("GET", "/api/agents", Value::Null),
        ("POST", "/api/agents/suspend", identity.clone()),
        ("POST", "/api/agents/resume", identity),
        ("GET", "/api/gateways", Value::Null),
        ("POST", "/api/gateways/0123456789abcdef/retire", why.clone()),
        ("POST", "/api/gateways/suspend", json!({"group": "edge", "reason": WHY})),
        ("POST", "/api/gateways/resume", json!({"group": "edge", "reason": WHY})),
        ("GET", "/api/publishers", Value::Null),
        ("POST", "/api/publishers/0123456789abcdef/retire", why.clone()),
        ("GET", "/api/changes", Value::Null),
        ("POST", "/api/changes/1/confirm", json!({})),
        ("POST", "/api/changes/1/reject", json!({})),
    ];
    list.into_iter().map(|(method, path, body)| (method, path.replace("QUERY", query), body)).collect()
}

/// The end of the ledger: whatever is changed is recorded.
async fn head(world: &World) -> u64 {
    world.number("SELECT max(seq) AS n FROM ledger").await
}

async fn ask(world: &World, who: Option<&Reviewer<'_>>, csrf: &str, (method, path, body): &(&str, String, Value)) -> (u16, String) {
    let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(path);
    if let Some(who) = who {
        request = request.header("cookie", &who.cookie).header("x-csrf-token", csrf);
    }
    let answer = send(&world.people, request.body(Body::from(body.to_string())).unwrap()).await;
    let error = if answer.status.is_success() { String::new() } else { answer.error() };
    (answer.status.as_u16(), error)
}

#[tokio::test]
async fn every_route_of_the_administrators_is_theirs_alone() {
    let world = World::new().await;
    let served = routes::administrators_routes();
    assert_eq!(served.len(), requests().len(), "a route that no test asks");
    let everybody = ["alice", "bob", "carol", "dave", "olivia", "audra"];
    let mut readers = Vec::new();
    for person in everybody {
        readers.push(world.sign_in(person).await);
    }
    // An administrator within a scope is none, nor one whose time is over.
    let before = head(&world).await;
    for request in requests() {
        assert_eq!(ask(&world, None, "", &request).await, (401, "unauthorized".into()), "{request:?}");
        for reader in &readers {
            let (status, error) = ask(&world, Some(reader), &reader.csrf, &request).await;
            assert_eq!((status, error.as_str()), (403, "not_administrator"), "{request:?}");
        }
    }
    assert_eq!(head(&world).await, before);
}

#[tokio::test]
async fn a_change_without_the_sessions_own_token_or_of_another_site_is_refused() {
    let world = World::new().await;
    let (ann, alice) = (world.sign_in("ann").await, world.sign_in("alice").await);
    let before = head(&world).await;
    for request in requests().iter().filter(|(method, ..)| *method != "GET") {
        for csrf in ["", "x", &alice.csrf] {
            assert_eq!(ask(&world, Some(&ann), csrf, request).await, (403, "csrf".into()), "{request:?}");
        }
        let (method, path, body) = request;
        let foreign = Request::builder().method(*method).uri(path).header("host", "console.example");
        let foreign = foreign.header("origin", "https://evil.example").header("cookie", &ann.cookie);
        let foreign = foreign.header("x-csrf-token", &ann.csrf).body(Body::from(body.to_string())).unwrap();
        assert_eq!(send(&world.people, foreign).await.error(), "cross_site", "{request:?}");
    }
    assert_eq!(head(&world).await, before);
}

#[tokio::test]
async fn a_change_needs_a_sign_in_of_the_last_15_minutes_and_a_reason() {
    let world = World::new().await;
    let ann = world.sign_in("ann").await;
    let before = head(&world).await;
    let writes: Vec<_> = requests().into_iter().filter(|(method, ..)| *method != "GET").collect();
    for (method, path, body) in writes.iter().filter(|(_, path, _)| !path.contains("changes")) {
        for reason in ["", " ", &"x".repeat(2001)] {
            let (mut body, path) = (body.clone(), path.replace("reason=x", &format!("reason={}", reason.replace(' ', "+"))));
            if body.is_object() {
                body["reason"] = json!(reason);
            }
            let (status, error) = ask(&world, Some(&ann), &ann.csrf, &(*method, path, body)).await;
            assert_eq!((status, error.as_str()), (422, "reason_required"), "{method}");
        }
    }
    world.clock.advance(901);
    for request in &writes {
        assert_eq!(ask(&world, Some(&ann), &ann.csrf, request).await, (403, "sign_in_again".into()), "{request:?}");
    }
    assert_eq!(head(&world).await, before);
    assert_eq!(ann.get("/api/people").await.status, StatusCode::OK, "reading needs no fresh one");
}

#[tokio::test]
async fn what_no_route_asks_for_is_refused() {
    let world = World::new().await;
    let ann = world.sign_in("ann").await;
    let before = head(&world).await;
    for (method, path, mut body) in requests().into_iter().filter(|(method, ..)| *method != "GET") {
        for (member, value) in [
            ("granted_by", json!("ann")), ("certified_at", json!(9)), ("id2", json!(1)), ("password_hash", json!("x")),
            ("by", json!("abe")), ("suspended_at", json!(null)), ("what", json!("grant")),
        ] {
            let path = if method == "DELETE" { format!("{path}&{member}=1") } else { path.clone() };
            if body.is_object() {
                body[member] = value;
            }
            assert_eq!(ask(&world, Some(&ann), &ann.csrf, &(method, path.clone(), body.clone())).await, (400, "malformed".into()), "{method} {path} {member}");
            if let Some(members) = body.as_object_mut() {
                members.remove(member);
            }
        }
    }
    let granted = |scope: Value, more: Value| {
        let mut body = json!({"person": "carol", "role": "iam", "scope": scope, "reason": WHY});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let none = json!({});
    for (body, status) in [
        (json!({"person": "carol", "role": "iam", "reason": WHY}), 400),
        (granted(json!(null), none.clone()), 400),
        (granted(json!("*"), none.clone()), 400),
        (granted(json!({"rule": ["one"]}), none.clone()), 400),
        (granted(json!({"rules": ["a*b"]}), none.clone()), 400),
        (granted(json!({"rules": [""]}), none.clone()), 400),
        (granted(json!({"agents": [{"iss": "i"}]}), none.clone()), 400),
        (granted(json!({"rules": []}), none.clone()), 422),
        (granted(json!({"groups": [" "]}), none.clone()), 422),
        (granted(json!({"groups": vec!["g"; 257]}), none.clone()), 422),
        (granted(none.clone(), json!({"role": ""})), 422),
        (granted(none.clone(), json!({"role": "a\nb"})), 422),
        (granted(none.clone(), json!({"from": 20, "until": 10})), 422),
        (granted(none.clone(), json!({"until": NOW})), 422),
        (granted(none.clone(), json!({"from": -1})), 400),
        (granted(json!({"rules": ["one"]}), json!({"role": "holdgate-admin"})), 422),
        (granted(none.clone(), json!({"person": "nobody"})), 404),
        (granted(none.clone(), json!({"person": "../ann"})), 404),
    ] {
        assert_eq!(ann.post("/api/eligibility", body.clone()).await.status.as_u16(), status, "{body}");
    }
    for (path, status) in [
        ("/api/people/a%00b", 400), ("/api/people/nobody", 404), ("/api/people?limit=x", 400), ("/api/people?admin=1", 400),
        ("/api/eligibility?due=soon", 400), ("/api/eligibility?after=x", 400), ("/api/groups?after=zzz", 200),
    ] {
        assert_eq!(ann.get(path).await.status.as_u16(), status, "{path}");
    }
    for path in ["/api/eligibility/x/end", "/api/eligibility/99/certify", "/api/eligibility/-1/end", "/api/people/nobody/suspend",
                 "/api/gateways/%25/retire", "/api/gateways/0123456789abcdeg/retire", "/api/changes/1/reject"] {
        assert_eq!(ann.post(path, json!({"reason": WHY})).await.status.as_u16(), 404, "{path}");
    }
    assert_eq!(head(&world).await, before);
}

#[tokio::test]
async fn nobody_changes_their_own_authority() {
    let world = World::new().await;
    let ann = world.sign_in("ann").await;
    let before = head(&world).await;
    let own = ann.get("/api/people/ann").await.json()["eligibility"][0]["id"].as_str().unwrap().to_owned();
    let identity = json!({"iss": "https://idp.example", "sub": "other", "reason": WHY});
    for (method, path, body) in [
        ("POST", "/api/eligibility".to_owned(), json!({"person": "ann", "role": "iam", "scope": {}, "reason": WHY})),
        ("POST", format!("/api/eligibility/{own}/certify"), json!({"reason": WHY})),
        ("POST", "/api/people/ann/links".into(), identity.clone()),
        // Freed from what she answers for, she could approve what her own agents ask.
        ("DELETE", "/api/people/ann/links?iss=https://idp.example&sub=ann&reason=x".into(), Value::Null),
        ("POST", "/api/groups/platform/members".into(), json!({"person": "ann", "reason": WHY})),
        ("DELETE", "/api/groups/platform/members/ann?reason=x".into(), Value::Null),
    ] {
        let request = (method, path, body);
        assert_eq!(ask(&world, Some(&ann), &ann.csrf, &request).await, (403, "own_authority".into()), "{request:?}");
    }
    assert_eq!(head(&world).await, before);
    // What only takes away is hers to do.
    assert_eq!(ann.post(&format!("/api/eligibility/{own}/end"), json!({"reason": "leaving"})).await.status, StatusCode::OK);
    assert_eq!(ann.get("/api/people").await.error(), "not_administrator");
}

#[tokio::test]
async fn every_change_is_recorded_with_who_and_why() {
    let world = World::new().await;
    let ann = world.sign_in("ann").await;
    let before = head(&world).await;
    let post = async |path: &str, body: Value| {
        let mut body = body;
        body["reason"] = json!(WHY);
        let answer = ann.post(path, body).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
        answer.json()
    };
    let identity = json!({"iss": "https://idp.example", "sub": "eve"});
    post("/api/people", json!({"id": "eve", "name": "Eve"})).await;
    post("/api/people/eve/links", identity.clone()).await;
    let granted = post("/api/eligibility", json!({"person": "eve", "role": "iam", "scope": {"rules": ["one"]}, "until": NOW + 9})).await;
    let id = granted["id"].as_str().unwrap().to_owned();
    post(&format!("/api/eligibility/{id}/certify"), json!({})).await;
    post(&format!("/api/eligibility/{id}/end"), json!({})).await;
    post("/api/groups", json!({"id": "team", "name": "Team"})).await;
    post("/api/groups/team/members", json!({"person": "eve"})).await;
    let eve = ann.get("/api/people/eve").await.json();
    let expected = json!({"id": "eve", "name": "Eve", "suspended_at": null, "links": [identity], "groups": ["team"], "eligibility": []});
    assert_eq!(eve, expected);
    assert_eq!(ann.delete("/api/groups/team/members/eve?reason=because+of+a+test").await.status, StatusCode::OK);
    let unlink = "/api/people/eve/links?iss=https://idp.example&sub=eve&reason=because+of+a+test";
    assert_eq!(ann.delete(unlink).await.status, StatusCode::OK);
    post("/api/people/eve/suspend", json!({})).await;
    post("/api/people/eve/resume", json!({})).await;
    post("/api/agents/suspend", json!({"iss": "i", "sub": "bot"})).await;
    post("/api/agents/resume", json!({"iss": "i", "sub": "bot"})).await;
    let gateways = ann.get("/api/gateways").await.json();
    let other = gateways["items"].as_array().unwrap().iter().find(|one| one["group"] == "other").unwrap().clone();
    post(&format!("/api/gateways/{}/retire", other["fingerprint"].as_str().unwrap()), json!({})).await;
    post("/api/gateways/suspend", json!({"group": "edge"})).await;
    post("/api/gateways/resume", json!({"group": "edge"})).await;

    let entries = ledger::page(&mut world.service.store.read().await.unwrap(), None, before, 1000).await.unwrap();
    let kinds: Vec<&str> = entries.iter().map(|entry| entry.kind.as_str()).collect();
    assert_eq!(kinds, [
        "person.added", "person.linked", "eligibility.granted", "eligibility.certified", "eligibility.ended", "group.added",
        "group.member_added", "group.member_removed", "person.unlinked", "person.suspended", "person.resumed",
        "agent.suspended", "agent.resumed", "gateway.retired", "gateway.suspended", "gateway.resumed",
    ]);
    for entry in entries {
        let data: Value = serde_json::from_str(&entry.data).unwrap();
        assert_eq!((&data["by"], &data["reason"]), (&json!("ann"), &json!(WHY)), "{}", entry.kind);
    }
    for (path, body) in [
        ("/api/people", json!({"id": "alice", "name": "Another", "reason": WHY})),
        ("/api/people", json!({"id": "operator", "name": "Another", "reason": WHY})),
        ("/api/people/bob/resume", json!({"reason": WHY})),
        ("/api/people/bob/links", json!({"iss": "https://idp.example", "sub": "alice", "reason": WHY})),
        ("/api/groups", json!({"id": "team", "name": "Another", "reason": WHY})),
        ("/api/gateways/resume", json!({"group": "edge", "reason": WHY})),
    ] {
        assert_eq!(ann.post(path, body.clone()).await.error(), "conflict", "{path} {body}");
    }
}

#[tokio::test]
async fn a_second_person_confirms_what_gives_and_nothing_that_takes_away_waits() {
    let world = World::with(second_person()).await;
    let (ann, abe) = (world.sign_in("ann").await, world.sign_in("abe").await);
    let grant = json!({"person": "carol", "role": "iam", "scope": {}, "reason": WHY});
    let asked = ann.post("/api/eligibility", grant.clone()).await;
    assert_eq!((asked.status, &asked.json()["state"]), (StatusCode::ACCEPTED, &json!("proposed")));
    let id = asked.json()["id"].as_str().unwrap().to_owned();
    let (_, hold) = world.held(&["one"], "a").await;
    let carol = world.sign_in("carol").await;
    assert_eq!(carol.decide(&hold, "approve").await.error(), "not_found", "it waits");
    let waiting = abe.get("/api/changes").await.json();
    let change = json!({"what": "grant", "person": "carol", "role": "iam", "from": null, "until": null,
                        "scope": {"rules": null, "groups": null, "agents": null, "policy": null}});
    let line = json!({"id": id, "change": change, "reason": WHY, "proposed_by": "ann", "proposed_at": NOW, "expires_at": NOW + 86400});
    assert_eq!(waiting["items"], json!([line]));

    let confirm = format!("/api/changes/{id}/confirm");
    assert_eq!(ann.post(&confirm, json!({})).await.error(), "own_proposal");
    assert_eq!(carol.post(&confirm, json!({})).await.error(), "not_administrator");
    assert_eq!(abe.post(&confirm, json!({})).await.json()["state"], "done");
    assert_eq!(abe.post(&confirm, json!({})).await.error(), "not_found", "it counts once");
    assert_eq!(carol.decide(&hold, "approve").await.status, StatusCode::OK);
    let entries = ledger::page(&mut world.service.store.read().await.unwrap(), None, 0, 1000).await.unwrap();
    let granted = entries.iter().rev().find(|entry| entry.kind == "eligibility.granted").unwrap();
    let data: Value = serde_json::from_str(&granted.data).unwrap();
    assert_eq!((&data["by"], &data["confirmed_by"], &data["granted_by"]), (&json!("ann"), &json!("abe"), &json!("ann")));

    // Nobody confirms what is about themselves, whoever proposed it.
    let asked = ann.post("/api/eligibility", json!({"person": "abe", "role": "iam", "scope": {}, "reason": WHY})).await.json();
    let own = format!("/api/changes/{}", asked["id"].as_str().unwrap());
    assert_eq!(abe.post(&format!("{own}/confirm"), json!({})).await.error(), "own_authority");
    assert_eq!(abe.post(&format!("{own}/reject"), json!({"reason": "not needed"})).await.status, StatusCode::OK);
    assert_eq!(abe.get("/api/changes").await.json()["items"], json!([]));

    for (path, body) in [
        ("/api/people/carol/suspend", json!({"reason": WHY})),
        ("/api/agents/suspend", json!({"iss": "i", "sub": "s", "reason": WHY})),
        ("/api/gateways/suspend", json!({"group": "other", "reason": WHY})),
    ] {
        assert_eq!(ann.post(path, body).await.json()["state"], "done", "{path}");
    }
    for (path, body) in [
        ("/api/people/carol/resume", json!({"reason": WHY})),
        ("/api/agents/resume", json!({"iss": "i", "sub": "s", "reason": WHY})),
        ("/api/gateways/resume", json!({"group": "other", "reason": WHY})),
    ] {
        assert_eq!(ann.post(path, body).await.json()["state"], "proposed", "{path}");
    }
    assert!(world.service.sign_in("carol", crate::support::PASSWORD).await.is_err());
}

#[tokio::test]
async fn a_proposal_ends_after_a_day_and_with_the_authority_of_who_made_it() {
    let world = World::with(second_person()).await;
    let propose = async || {
        let body = json!({"person": "carol", "role": "iam", "scope": {}, "reason": WHY});
        let asked = world.sign_in("ann").await.post("/api/eligibility", body).await.json();
        format!("/api/changes/{}/confirm", asked["id"].as_str().unwrap())
    };
    let late = propose().await;
    world.clock.advance(24 * 60 * 60);
    let abe = world.sign_in("abe").await;
    assert_eq!(abe.post(&late, json!({})).await.error(), "conflict");
    assert_eq!(abe.get("/api/changes").await.json()["items"], json!([]));
    let lost = propose().await;
    assert_eq!(abe.post("/api/people/ann/suspend", json!({"reason": "gone"})).await.status, StatusCode::OK);
    assert_eq!(abe.post(&lost, json!({})).await.error(), "proposer_lost");
    assert_eq!(world.number("SELECT count(*) AS n FROM eligibility WHERE person = 'carol'").await, 1);
}

#[tokio::test]
async fn a_session_that_ends_or_an_administrator_who_is_none_any_more_changes_nothing() {
    let world = World::new().await;
    let (ann, abe) = (world.sign_in("ann").await, world.sign_in("abe").await);
    let own = ann.get("/api/people/ann").await.json()["eligibility"][0]["id"].as_str().unwrap().to_owned();
    let who = Who::with_token(ann.cookie.split_once('=').unwrap().1);
    let change = || holdgate_approval::domain::AuthorityChange::SuspendPerson { person: "bob".into() };
    // Past the check at the door, as it were: what counts is asked in the transaction.
    assert_eq!(abe.post(&format!("/api/eligibility/{own}/end"), json!({"reason": WHY})).await.status, StatusCode::OK);
    let refused = world.service.change(&who, change(), WHY).await.unwrap_err().to_string();
    assert!(refused.contains("for administrators"), "{refused}");
    grant(&world, "ann", "holdgate-admin", json!({})).await;
    world.service.sign_out(&who).await.unwrap();
    assert!(world.service.change(&who, change(), WHY).await.unwrap_err().to_string().contains("session has ended"));
}
