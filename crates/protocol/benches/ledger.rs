//! What an auditor waits for: a ledger of a million entries, appended, proved and verified.

#![expect(clippy::unwrap_used, reason = "a benchmark may fail loudly")]

use divan::{Bencher, black_box};
use holdgate_protocol::{
    Hash,
    checkpoint::Checkpoint,
    jws::{Jwks, Keys, PrivateKey},
    ledger::{Entry, Verifier, checkpoint_line, header_line, verify},
    merkle::{Frontier, Proof, leaf_hash},
};

const ENTRIES: u64 = 1_000_000;

fn main() {
    divan::main();
}

/// An entry as the service writes them: four of them are the course of a hold. The first four tell who may approve.
fn leaf(seq: u64) -> String {
    if seq <= 4 {
        let data = format!(r#"{{"id":"e{seq}","person":"alice","role":"payments-lead"}}"#);
        let kind = "eligibility.granted";
        return Entry { seq, time: 1_790_000_000, kind, hold: None, decided_by: None, data: &data }.to_leaf();
    }
    let (kind, decided_by, data) = match seq % 4 {
        1 => (
            "hold.opened",
            "policy",
            r#"{"agent":{"act":[],"iss":"https://idp.example.com","owner":"group/payments","sub":"billing-agent"},"captured":"sha-256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","decide_by":1791001800,"factors":[{"approvals":1,"role":"payments-lead"}],"group":"edge","policy":{"id":"payments","rev":"sha-256:fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125","serial":7},"request":"sha-256:6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d","requirement":"sha-256:aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77","rules":[{"hash":"sha-256:d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7","id":"payments.refund"}]}"#,
        ),
        2 => (
            "hold.approved",
            "human",
            r#"{"code":null,"escalated":false,"factors":[{"escalated":false,"person":"alice","role":"payments-lead"}],"person":"alice","reason":"checked with the customer","role":"payments-lead","signed_in_at":1789999000,"verdict":"approve"}"#,
        ),
        3 => ("hold.used", "human", r#"{"attempt":"AAAAAAAAAAAAAAAAAAAAAA","jti":"BBBBBBBBBBBBBBBBBBBBBB"}"#),
        _ => ("hold.outcome", "human", r#"{"attempt":"AAAAAAAAAAAAAAAAAAAAAA","forwarded":true,"status":200}"#),
    };
    let hold = format!("0191f3c2-{:016x}", (seq - 1) / 4);
    Entry { seq, time: 1_790_000_000 + seq, kind, hold: Some(&hold), decided_by: Some(decided_by), data }.to_leaf()
}

fn tree(mut keep: impl FnMut(holdgate_protocol::merkle::Node, Hash)) -> Frontier {
    let mut frontier = Frontier::default();
    (1..=ENTRIES).for_each(|seq| frontier.append(leaf_hash(leaf(seq).as_bytes()), &mut keep));
    frontier
}

/// Writing the entries' bytes, hashing them, and the nodes above them.
#[divan::bench(sample_count = 1)]
fn append_a_million() -> Frontier {
    tree(|node, hash| {
        black_box((node, hash));
    })
}

/// Both proofs of one place in a million, their nodes at hand.
#[divan::bench]
fn prove(bencher: Bencher<'_, '_>) {
    let mut nodes = std::collections::HashMap::new();
    tree(|node, hash| {
        nodes.insert(node, hash);
    });
    bencher.bench_local(|| {
        let inclusion = Proof::inclusion(black_box(123_456), ENTRIES).unwrap();
        let consistency = Proof::consistency(black_box(654_321), ENTRIES).unwrap();
        (inclusion.hashes(|node| nodes.get(&node).copied()), consistency.hashes(|node| nodes.get(&node).copied()))
    });
}

/// An export of a million entries (about 400 MB) with a checkpoint for every 10,000, from memory.
#[divan::bench(sample_count = 3)]
fn verify_a_million(bencher: Bencher<'_, '_>) {
    let key = PrivateKey::from_seed(&[1; 32]);
    let keys = Keys::new(&Jwks { keys: vec![key.to_public_jwk()] }).unwrap();
    let mut export = header_line("approvals.example.com", ENTRIES);
    let mut frontier = Frontier::default();
    for seq in 1..=ENTRIES {
        let leaf = leaf(seq);
        frontier.append(leaf_hash(leaf.as_bytes()), |_, _| ());
        export.push_str(&leaf);
        export.push('\n');
        if seq % 10_000 == 0 {
            let checkpoint = Checkpoint { origin: "approvals.example.com".into(), size: seq, root: frontier.root() };
            export.push_str(&checkpoint_line(&checkpoint.sign(&key).unwrap()));
        }
    }
    eprintln!("{} bytes", export.len());
    bencher.bench_local(|| {
        let report = verify(export.as_bytes(), Verifier::new(&keys, vec![])).unwrap();
        assert!(report.verified && report.checkpoints == 100);
    });
}
