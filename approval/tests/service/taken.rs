//! What is taken away counts no more, also for what is under way or comes back: passwords, identities, credentials, authority.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    http::{Request, StatusCode},
};
use holdgate_approval::{
    domain::AuthorityChange,
    oidc::Identity,
    service::{
        Settings,
        accounts::{SetPassword, hash_password},
        keys::{Retire, Rotate},
    },
    store::{Command, StoreError, Tx, keys::Purpose, ledger},
};
use holdgate_protocol::{Actor, Agent, gateway::RedemptionError, jws::PrivateKey};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::{
    attacks::Late,
    people::{grant, operate},
    process::{made, run},
    support::{Answer, NOW, PASSWORD, Reviewer, World, agent, data_keys, policy, redemption, send},
};

const WHY: &str = "because of a test";

/// Keeps the writer until it is let go.
struct Keeps(oneshot::Receiver<()>);

impl Command for Keeps {
    type Answer = ();
    type Error = StoreError;

    async fn run(self, _tx: &mut Tx) -> Result<(), StoreError> {
        self.0.await.unwrap();
        Ok(())
    }
}

/// Signs Alice in while `change` waits to be written: she is verified before it, and her session comes after it.
async fn sign_in_over<C: Command>(world: &World, change: C) -> Option<String> {
    let (go, keeps) = oneshot::channel();
    let store = &world.service.store;
    let (_, _, signed, ()) = tokio::join!(
        store.write(Keeps(keeps)),
        store.write(change),
        world.service.sign_in("alice", PASSWORD),
        async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            go.send(()).unwrap();
        }
    );
    signed.ok().map(|signed| format!("holdgate_session={}", signed.token))
}

#[tokio::test]
async fn a_sign_in_that_was_verified_before_the_password_changed_starts_no_session() {
    let world = World::new().await;
    let cookie = sign_in_over(&world, Keeps(ready())).await.expect("nothing has changed");
    assert_eq!(world.get("/api/session", &cookie).await.status, StatusCode::OK);
    let hash = hash_password("another one").unwrap();
    assert_eq!(sign_in_over(&world, SetPassword { person: "alice".into(), hash, now: NOW }).await, None);
    assert_eq!(world.number("SELECT count(*) AS n FROM sessions WHERE person = 'alice'").await, 0);
}

fn ready() -> oneshot::Receiver<()> {
    let (go, ready) = oneshot::channel();
    go.send(()).unwrap();
    ready
}

#[tokio::test]
async fn no_session_survives_a_suspension() {
    let world = World::new().await;
    let suspend = holdgate_approval::service::change::Operate {
        change: AuthorityChange::SuspendPerson { person: "alice".into() },
        reason: WHY.into(),
        now: NOW,
    };
    assert_eq!(sign_in_over(&world, suspend).await, None);
    // One that came to be in another way is not there after it.
    world.run(&["INSERT INTO sessions (token_hash, person, signed_in_at, expires_at) VALUES ('sha-256:x', 'alice', 1, 9999999999)"]).await.unwrap();
    operate(&world, AuthorityChange::ResumePerson { person: "alice".into() }).await;
    assert_eq!(world.number("SELECT count(*) AS n FROM sessions WHERE person = 'alice'").await, 0);
}

#[tokio::test]
async fn an_identity_that_is_taken_away_takes_its_sessions_along() {
    let world = World::new().await;
    let (iss, sub) = ("https://idp.example".to_owned(), "alice".to_owned());
    let identity = Identity { iss: iss.clone(), sub: sub.clone(), client: "console".into(), auth_time: NOW };
    let signed = world.service.sign_in_as(&identity, None).await.unwrap().unwrap();
    let theirs = format!("holdgate_session={}", signed.token);
    let local = world.sign_in("alice").await;
    assert_eq!(world.get("/api/session", &theirs).await.status, StatusCode::OK);
    operate(&world, AuthorityChange::Unlink { person: "alice".into(), iss, sub }).await;
    assert_eq!(world.get("/api/session", &theirs).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(local.get("/api/session").await.status, StatusCode::OK, "the other one is hers still");
}

/// Asks with a body that comes after `change`.
async fn asked_over(world: &World, path: &str, body: Value, change: AuthorityChange) -> Answer {
    let ((asked, reads), (sender, bytes)) = (oneshot::channel(), oneshot::channel());
    let publishes = path.starts_with("/api/bundles");
    let (router, method) = if publishes { (&world.people, "PUT") } else { (&world.gateways, "POST") };
    let credential = if publishes { "Bearer ci-credential" } else { "Bearer edge-credential" };
    let request = Request::builder().method(method).uri(path).header("authorization", credential);
    let request = request.body(Body::new(Late { asked: Some(asked), bytes })).unwrap();
    let router = router.clone();
    let answer = tokio::spawn(async move { send(&router, request).await });
    reads.await.unwrap();
    operate(world, change).await;
    sender.send(Bytes::from(body.to_string())).unwrap();
    answer.await.unwrap()
}

async fn fingerprint(world: &World, list: &str, name: &str) -> String {
    let lines = world.sign_in("ann").await.get(list).await.json()["items"].clone();
    let line = lines.as_array().unwrap().iter().find(|line| line["group"] == name || line["name"] == name).unwrap().clone();
    line["fingerprint"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_credential_that_ends_while_a_body_is_on_its_way_does_nothing() {
    let world = World::new().await;
    let alice = world.sign_in("alice").await;
    let (ask, hold) = world.held(&["one"], "a").await;
    alice.decide(&hold, "approve").await;
    let retire = AuthorityChange::RetireGateway { fingerprint: fingerprint(&world, "/api/gateways", "edge").await };
    let answer = asked_over(&world, "/v1/redemptions", redemption(&hold, &ask, 1), retire).await;
    assert_eq!((answer.status.as_u16(), answer.error()), (401, "unauthorized".into()));
    assert_eq!(alice.get(&format!("/api/holds/{hold}")).await.json()["state"], "approved");

    for (path, body) in [
        ("/v1/holds", json!(world.ask(&["one"], "b"))),
        ("/v1/redemptions", json!({"items": []})),
        ("/v1/outcomes", json!({"items": []})),
        ("/v1/detach", json!({"items": []})),
        ("/v1/audit", json!({"vm_epoch": "e", "from_seq": 1, "to_seq": 1, "dropped": 1, "records": []})),
    ] {
        let world = World::new().await;
        let suspend = AuthorityChange::SuspendGateways { group: "edge".into() };
        let before = world.number("SELECT count(*) AS n FROM holds").await;
        let answer = asked_over(&world, path, body, suspend).await;
        assert_eq!((answer.status.as_u16(), answer.error()), (401, "unauthorized".into()), "{path}");
        assert_eq!(world.number("SELECT count(*) AS n FROM holds").await, before);
    }
}

#[tokio::test]
async fn a_poll_of_a_credential_that_ended_is_told_nothing() {
    let world = World::new().await;
    let alice = world.sign_in("alice").await;
    let (_, hold) = world.held(&["one"], "a").await;
    let next = world.feed(0).await.next;
    let polls = [
        format!("/v1/feed?after={next}&wait=20"),
        format!("/v1/tasks/{hold}?agent={}&wait=20", agent().key()),
    ];
    let polls = polls.map(|path| {
        let request = Request::get(path).header("authorization", "Bearer edge-credential").body(Body::empty()).unwrap();
        let router = world.gateways.clone();
        tokio::spawn(async move { send(&router, request).await })
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(polls.iter().all(|poll| !poll.is_finished()));
    operate(&world, AuthorityChange::RetireGateway { fingerprint: fingerprint(&world, "/api/gateways", "edge").await }).await;
    alice.decide(&hold, "deny").await;
    for poll in polls {
        let answer = poll.await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.error()), (401, "unauthorized".into()), "{}", answer.text);
    }
}

#[tokio::test]
async fn a_publisher_whose_credential_is_retired_publishes_nothing() {
    let world = World::new().await;
    let (signed, reference) = policy(2, |_| {});
    let path = format!("/api/bundles/{}", reference.rev);
    let fingerprint = fingerprint(&world, "/api/publishers", "ci").await;
    let change = AuthorityChange::RetirePublisher { fingerprint: fingerprint.clone() };
    let answer = asked_over(&world, &path, json!(signed), change).await;
    assert_eq!((answer.status.as_u16(), answer.error()), (401, "unauthorized".into()));
    assert_eq!(world.publish(&signed, &reference.rev).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(world.service.store.policy().unwrap().reference.serial, 1);
    let ann = world.sign_in("ann").await;
    let line = ann.get("/api/publishers").await.json()["items"][0].clone();
    assert_eq!((&line["name"], &line["retired_at"]), (&json!("ci"), &json!(NOW)));
    let again = ann.post(&format!("/api/publishers/{fingerprint}/retire"), json!({"reason": WHY})).await;
    assert_eq!(again.error(), "not_found");
}

#[tokio::test]
async fn a_grant_is_not_given_again_where_it_would_not_be_given_anew() {
    let world = World::new().await;
    let alice = world.sign_in("alice").await;
    let (ask, hold) = world.held(&["one"], "a").await;
    alice.decide(&hold, "approve").await;
    let grant = world.redeem(&hold, &ask, 1).await.grant.unwrap();
    assert_eq!(world.redeem(&hold, &ask, 1).await.grant, Some(grant), "the answer may have been lost");
    operate(&world, AuthorityChange::SuspendAgent { agent: agent().caller() }).await;
    let answer = world.redeem(&hold, &ask, 1).await;
    assert_eq!((answer.grant, answer.error, answer.cause.as_deref()), (None, Some(RedemptionError::Cancelled), Some("suspended")));
    operate(&world, AuthorityChange::ResumeAgent { agent: agent().caller() }).await;
    assert!(world.redeem(&hold, &ask, 1).await.grant.is_some());

    let kid = world.service.keys().grant(NOW).unwrap().kid().to_owned();
    let key = PrivateKey::from_seed(&[9; 32]);
    let rotate = Rotate { data: data_keys(), purpose: Purpose::Grant, key, after: 0, overlap: 600, now: NOW };
    world.service.store.write(rotate).await.unwrap();
    assert!(world.redeem(&hold, &ask, 1).await.grant.is_some(), "the former key is known still");
    let retire = Retire { kid, at_once: true, reason: "lost".into(), now: NOW };
    world.service.store.write(retire).await.unwrap();
    let answer = world.redeem(&hold, &ask, 1).await;
    assert_eq!((answer.grant, answer.error, answer.cause.as_deref()), (None, Some(RedemptionError::Expired), Some("key")));
}

async fn missing(reader: &Reviewer<'_>, hold: &str) -> Vec<String> {
    let detail = reader.get(&format!("/api/holds/{hold}")).await.json();
    detail["missing"].as_array().unwrap().iter().map(|one| one["role"].as_str().unwrap().to_owned()).collect()
}

async fn losses(world: &World) -> usize {
    let entries = ledger::page(&mut world.service.store.read().await.unwrap(), None, 0, 1000).await.unwrap();
    entries.iter().filter(|entry| entry.kind == "hold.approval_lost").count()
}

async fn end(world: &World, person: &str, role: &str) {
    let ann = world.sign_in("ann").await;
    let found = ann.get(&format!("/api/eligibility?person={person}&role={role}")).await.json();
    let path = format!("/api/eligibility/{}/end", found["items"][0]["id"].as_str().unwrap());
    assert_eq!(ann.post(&path, json!({"reason": WHY})).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_approval_whose_eligibility_was_ended_does_not_come_back_with_a_new_one() {
    let world = World::new().await;
    let (alice, audra) = (world.sign_in("alice").await, world.sign_in("audra").await);
    let (_, hold) = world.held(&["two"], "a").await;
    assert_eq!(alice.decide(&hold, "approve").await.status, StatusCode::OK);
    assert_eq!(missing(&audra, &hold).await, ["sec"]);
    end(&world, "alice", "iam").await;
    assert_eq!((missing(&audra, &hold).await, losses(&world).await), (vec!["iam".into(), "sec".into()], 1));
    grant(&world, "alice", "iam", json!({})).await;
    assert_eq!(missing(&audra, &hold).await, ["iam", "sec"], "why it was ended may be that it was not her");
    let detail = alice.get(&format!("/api/holds/{hold}")).await.json();
    assert_eq!((&detail["hindrance"], &detail["can_withdraw"]), (&Value::Null, &json!(false)));
    assert_eq!(detail["decisions"][0]["lost"], json!(["iam"]));
    // Given anew it counts, and it can be withdrawn as any other.
    assert_eq!(alice.decide(&hold, "approve").await.status, StatusCode::OK);
    assert_eq!(missing(&audra, &hold).await, ["sec"]);
    let withdrawn = alice.post(&format!("/api/holds/{hold}/withdraw"), json!({"reason": "wrong one"})).await;
    assert_eq!(withdrawn.status, StatusCode::OK, "{}", withdrawn.text);
    assert_eq!(missing(&audra, &hold).await, ["iam", "sec"]);
    assert_eq!(alice.decide(&hold, "approve").await.status, StatusCode::OK);
    assert_eq!(world.sign_in("bob").await.decide(&hold, "approve").await.json()["state"], "approved");
}

#[tokio::test]
async fn no_loss_is_recorded_of_an_approval_that_counts_as_before() {
    let world = World::new().await;
    let audra = world.sign_in("audra").await;
    let (_, hold) = world.held(&["two"], "a").await;
    world.sign_in("bob").await.decide(&hold, "approve").await;
    let one = missing(&audra, &hold).await;
    let other = if one == ["sec"] { "sec" } else { "iam" };
    end(&world, "bob", other).await;
    assert_eq!((missing(&audra, &hold).await, losses(&world).await), (one, 0));
}

#[tokio::test]
async fn a_suspension_counts_whatever_the_clocks_of_the_instances_say() {
    let world = World::new().await;
    let late = world.second().await;
    world.clock.advance(600);
    let (alice, audra) = (world.sign_in("alice").await, world.sign_in("audra").await);
    let (_, hold) = world.held(&["two"], "a").await;
    alice.decide(&hold, "approve").await;
    for change in [
        AuthorityChange::SuspendPerson { person: "alice".into() },
        AuthorityChange::ResumePerson { person: "alice".into() },
    ] {
        operate(&late, change).await;
    }
    assert_eq!(missing(&audra, &hold).await, ["iam", "sec"]);
}

#[tokio::test]
async fn an_administrator_does_not_let_their_own_agent_in_again() {
    for second_person in [false, true] {
        let world = World::with(Settings { second_person, ..Settings::default() }).await;
        grant(&world, "olivia", "holdgate-admin", json!({})).await;
        world.held(&["one"], "a").await;
        let (olivia, ann) = (world.sign_in("olivia").await, world.sign_in("ann").await);
        let body = json!({"iss": agent().iss, "sub": agent().sub, "reason": WHY});
        assert_eq!(olivia.post("/api/agents/suspend", body.clone()).await.status, StatusCode::OK);
        assert_eq!(olivia.post("/api/agents/resume", body.clone()).await.error(), "own_authority");
        let asked = ann.post("/api/agents/resume", body).await.json();
        if second_person {
            let confirm = format!("/api/changes/{}/confirm", asked["id"].as_str().unwrap());
            assert_eq!(olivia.post(&confirm, json!({})).await.error(), "own_authority");
            assert_eq!(world.sign_in("abe").await.post(&confirm, json!({})).await.json()["state"], "done");
        } else {
            assert_eq!(asked["state"], "done");
        }
    }
}

#[tokio::test]
async fn every_agent_that_has_holds_can_be_suspended() {
    let world = World::new().await;
    let ann = world.sign_in("ann").await;
    for sub in ["x".repeat(1500), "a\nb".to_owned(), "  ".to_owned()] {
        let mut ask = world.ask(&["one"], &sub);
        ask.agent = Agent { sub: sub.clone(), ..agent() };
        let (_, answer) = world.open(&ask).await;
        let done = ann.post("/api/agents/suspend", json!({"iss": agent().iss, "sub": sub, "reason": WHY})).await;
        assert_eq!(done.status, StatusCode::OK, "{}", done.text);
        let detail = world.sign_in("audra").await.get(&format!("/api/holds/{}", answer.hold)).await.json();
        assert_eq!((&detail["state"], &detail["cause"]), (&json!("cancelled"), &json!("suspended")));
    }
    for (iss, sub) in [("", "x"), ("x", ""), ("x", &*"x".repeat(2048))] {
        let refused = ann.post("/api/agents/suspend", json!({"iss": iss, "sub": sub, "reason": WHY})).await;
        assert_eq!(refused.error(), "invalid");
    }
}

/// One administrator cannot choose who approves what their own agent asks for.
#[tokio::test]
async fn what_somebody_granted_does_not_count_for_their_own_agents() {
    let world = World::new().await;
    let (ann, abe) = (world.sign_in("ann").await, world.sign_in("abe").await);
    let body = json!({"person": "carol", "role": "iam", "scope": {}, "reason": WHY});
    assert_eq!(ann.post("/api/eligibility", body.clone()).await.status, StatusCode::OK);
    let mut ask = world.ask(&["one"], "a");
    ask.agent = Agent { owner: Some("ann".into()), ..agent() };
    let (_, own) = world.open(&ask).await;
    ask.agent = Agent { sub: "ann".into(), act: vec![Actor { iss: agent().iss, sub: "helper".into() }], ..agent() };
    let (_, acts_for) = world.open(&ask).await;
    let (_, other) = world.held(&["one"], "b").await;
    let carol = world.sign_in("carol").await;
    for hold in [&own.hold, &acts_for.hold] {
        assert_eq!(carol.decide(hold, "approve").await.error(), "not_eligible");
    }
    assert_eq!(carol.decide(&other, "approve").await.json()["state"], "approved", "for others it counts");
    assert_eq!(abe.post("/api/eligibility", body).await.status, StatusCode::OK);
    assert_eq!(carol.decide(&own.hold, "approve").await.json()["state"], "approved", "it was another one's to give");
}

#[tokio::test]
async fn what_somebody_does_not_see_is_not_there_for_them() {
    let world = World::new().await;
    let (alice, carol) = (world.sign_in("alice").await, world.sign_in("carol").await);
    let (_, pending) = world.held(&["one"], "a").await;
    let (_, denied) = world.held(&["one"], "b").await;
    alice.decide(&denied, "deny").await;
    let (_, approved) = world.held(&["one"], "c").await;
    alice.decide(&approved, "approve").await;
    let nothing = "0".repeat(32);
    let digest = holdgate_protocol::Hash::of(b"another request");
    let asks = [
        ("decisions", json!({"verdict": "approve"})),
        ("decisions", json!({"verdict": "deny"})),
        ("decisions", json!({"verdict": "approve", "digest": digest})),
        ("revoke", json!({"reason": ""})),
        ("withdraw", json!({"reason": ""})),
    ];
    for (what, body) in asks {
        let expected = carol.post(&format!("/api/holds/{nothing}/{what}"), body.clone()).await;
        for hold in [&pending, &denied, &approved] {
            let answer = carol.post(&format!("/api/holds/{hold}/{what}"), body.clone()).await;
            assert_eq!((answer.status, answer.text.replace(hold, &nothing)), (expected.status, expected.text.clone()));
            assert_eq!(answer.error(), "not_found");
        }
    }
    let items: Vec<Value> = [&pending, &denied, &approved, &nothing].map(|hold| json!({"hold": hold, "verdict": "deny"})).into();
    let answers = carol.post("/api/decisions", json!({"items": items})).await.json();
    assert!(answers["items"].as_array().unwrap().iter().all(|item| item["error"] == "not_found"), "{answers}");
}

#[tokio::test]
async fn the_operator_takes_back_credentials_groups_and_identities_by_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let data = made(folder.path()).await;
    let good = async |arguments: &[&str]| {
        let (code, output, error) = run(&data, arguments, "").await;
        assert_eq!((code, error.as_str()), (0, ""), "{arguments:?}");
        output
    };
    let bad = async |arguments: &[&str], words: &str| {
        let (code, _, error) = run(&data, arguments, "").await;
        assert!(code == 1 && error.contains(words), "{arguments:?}: {error}");
    };
    for kind in ["gateway", "publisher"] {
        let credential = good(&[kind, "add", "edge"]).await;
        let listed: Value = serde_json::from_str(good(&[kind, "list"]).await.trim()).unwrap();
        let fingerprint = listed["fingerprint"].as_str().unwrap();
        let hash = holdgate_protocol::Hash::of(credential.trim().as_bytes());
        assert_eq!(fingerprint, holdgate_approval::store::access::fingerprint(&hash));
        assert_eq!(listed["retired_at"], Value::Null);
        good(&[kind, "retire", fingerprint, "--reason", "lost"]).await;
        bad(&[kind, "retire", fingerprint], "no valid credential has the fingerprint").await;
        let listed: Value = serde_json::from_str(good(&[kind, "list"]).await.trim()).unwrap();
        assert!(listed["retired_at"].is_u64());
    }
    good(&["gateway", "suspend", "edge"]).await;
    bad(&["gateway", "suspend", "edge"], "is suspended already").await;
    good(&["gateway", "resume", "edge"]).await;
    bad(&["gateway", "suspend", "nowhere"], "there is no gateway group").await;
    good(&["person", "unlink", "olivia", "https://idp.example", "olivia"]).await;
    bad(&["person", "unlink", "olivia", "https://idp.example", "olivia"], "has no identity").await;
}
