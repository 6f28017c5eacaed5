//! What the ledger tells of all that can happen.

use holdgate_approval::store::{Database, ledger};
use serde_json::json;

use crate::support::{World, attempt, policy};

/// Reads the whole ledger of a database and checks that it is one, and that each hold went the way that holds go.
pub async fn verify(url: &str) {
    let database = Database::open(url, false).await.unwrap();
    let mut connection = database.read().await.unwrap();
    let (mut prev, mut seq) = (holdgate_protocol::Hash::of(b""), 0);
    let mut used = std::collections::BTreeSet::new();
    loop {
        let entries = ledger::page(&mut connection, None, seq, 1000).await.unwrap();
        let Some(last) = entries.last() else { return };
        for (entry, number) in entries.iter().zip(seq + 1..) {
            assert_eq!((entry.seq, entry.prev, entry.computed_hash()), (number, prev, Some(entry.hash)));
            assert!(entry.kind != "hold.used" || used.insert(entry.hold.clone()), "{entry:?}");
            prev = entry.hash;
        }
        seq = last.seq;
    }
}

#[tokio::test]
async fn every_transition_is_told_once_with_who_decided() {
    let world = World::new().await;
    let start = {
        let mut connection = world.service.store.read().await.unwrap();
        ledger::head(&mut connection).await.unwrap().0
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
}
