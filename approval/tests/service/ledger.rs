//! What the ledger tells of all that can happen.

use holdgate_approval::{
    service::export::Export,
    store::{Database, ledger},
};
use holdgate_protocol::{
    jws::{Jwks, Keys, PrivateKey},
    ledger::Verifier,
};
use serde_json::json;

use crate::support::{World, attempt, policy};

/// Exports the whole ledger of a database, and checks that it is as it was signed and that each hold went a way that holds go.
pub async fn verify(url: &str) {
    let key = PrivateKey::from_seed(&[1; 32]);
    let keys = Keys::new(&Jwks { keys: vec![key.to_public_jwk()] }).unwrap();
    let mut export = Export::begin(Database::open(url, false).await.unwrap(), &key, "tests").await.unwrap();
    let mut lines = String::new();
    while let Some(piece) = export.next().await.unwrap() {
        lines.push_str(&piece);
    }
    let report = holdgate_protocol::ledger::verify(lines.as_bytes(), Verifier::new(&keys, vec![])).unwrap();
    assert!(report.verified, "{:?}", report.findings);
}

#[tokio::test]
async fn every_transition_is_told_once_with_who_decided() {
    let world = World::new().await;
    let start = {
        let mut connection = world.service.store.read().await.unwrap();
        ledger::size(&mut connection).await.unwrap()
    };
    let (alice, bob) = (world.sign_in("alice").await, world.sign_in("bob").await);

    let (ask, two) = world.held(&["two"], "two approvals").await;
    world.open(&ask).await;
    alice.decide(&two, "approve").await;
    alice.decide(&two, "approve").await;
    bob.decide(&two, "approve").await;
    assert!(world.redeem(&two, &ask, 1).await.grant.is_some());
    assert!(world.redeem(&two, &ask, 1).await.grant.is_some(), "the same attempt again");
    let outcome = json!({"hold": two, "attempt": attempt(1), "forwarded": true, "status": 200});
    for _ in 0..2 {
        world.gateway("edge", "POST", "/v1/outcomes", &json!({"items": [outcome]})).await;
    }

    let (_, denied) = world.held(&["one"], "denied").await;
    alice.decide(&denied, "deny").await;
    let (_, revoked) = world.held(&["one"], "revoked").await;
    alice.decide(&revoked, "approve").await;
    alice.post(&format!("/api/holds/{revoked}/revoke"), json!({"reason": "no"})).await;

    let (_, unused) = world.held(&["one"], "approved, never used").await;
    alice.decide(&unused, "approve").await;
    world.clock.advance(601);
    world.service.expire().await.unwrap();
    let (_, undecided) = world.held(&["one"], "never decided").await;
    world.clock.advance(1801);
    world.service.expire().await.unwrap();

    let (_, changed) = world.held(&["one"], "changed by a policy").await;
    let (signed, reference) = policy(2, |bundle| bundle.requirements[0].decide_within = 60);
    assert_eq!(world.publish(&signed, &reference.rev).await.status, 201);

    let mut connection = world.service.store.read().await.unwrap();
    let entries = ledger::page(&mut connection, None, start, 1000).await.unwrap();
    let told: Vec<_> = entries
        .iter()
        .map(|entry| (entry.kind.as_str(), entry.decided_by.as_deref(), entry.hold.as_deref().unwrap_or_default()))
        .collect();
    let (policy, human, timeout) = (Some("policy"), Some("human"), Some("timeout"));
    let expected = [
        ("person.signed_in", None, ""),
        ("person.signed_in", None, ""),
        ("hold.opened", policy, &*two),
        ("hold.approval", human, &*two),
        ("hold.approved", human, &*two),
        ("hold.used", human, &*two),
        ("hold.outcome", None, &*two),
        ("hold.opened", policy, &*denied),
        ("hold.denied", human, &*denied),
        ("hold.opened", policy, &*revoked),
        ("hold.approved", human, &*revoked),
        ("hold.cancelled", human, &*revoked),
        ("hold.opened", policy, &*unused),
        ("hold.approved", human, &*unused),
        ("hold.expired", timeout, &*unused),
        ("hold.opened", policy, &*undecided),
        ("hold.expired", timeout, &*undecided),
        ("hold.opened", policy, &*changed),
        ("policy.published", None, ""),
        ("hold.cancelled", policy, &*changed),
    ];
    assert_eq!(told, expected);
    drop(connection);
    verify(&world.url).await;
}
