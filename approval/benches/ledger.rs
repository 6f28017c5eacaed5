//! What a large ledger costs: `cargo bench -p holdgate-approval --bench ledger`. A number behind `--` asks for so many entries.
//!
//! SQLite always; PostgreSQL where `HOLDGATE_BENCH_POSTGRES_URL` names an empty database.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a measurement may fail loudly")]

use std::{
    fs::File,
    io::{BufReader, BufWriter, Write as _},
    path::Path,
    sync::Arc,
    time::Instant,
};

use holdgate_approval::{
    clock::SetClock,
    domain::DecidedBy,
    keys::ServiceKeys,
    sealing::DataKeys,
    service::{Service, Settings, keys::Make},
    store::{Command, Database, StoreError, Tx, default_url, ledger::Event},
};
use holdgate_protocol::{
    b64url,
    jws::{Jwks, Keys, PrivateKey},
    ledger::{Verifier, verify},
};
use serde_json::json;

const ENTRIES: u64 = 1_000_000;

/// Entries in one transaction: as many as a busy writer commits at once.
const LOT: u64 = 1_000;

const PROOFS: u64 = 2_000;

const NOW: u64 = 1_790_000_000;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let entries = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(ENTRIES);
    let folder = tempfile::tempdir().unwrap();
    measure("SQLite", &default_url(folder.path()), folder.path(), entries).await;
    if let Ok(url) = std::env::var("HOLDGATE_BENCH_POSTGRES_URL") {
        let folder = tempfile::tempdir().unwrap();
        measure("PostgreSQL", &url, folder.path(), entries).await;
    }
}

async fn measure(name: &str, url: &str, folder: &Path, entries: u64) {
    let jwks = Jwks { keys: vec![PrivateKey::from_seed(&[1; 32]).to_public_jwk()] };
    let store = Database::open(url, true).await.unwrap();
    let [grant, ledger] = [2, 3].map(|seed| PrivateKey::from_seed(&[seed; 32]));
    let public = Keys::new(&Jwks { keys: vec![ledger.to_public_jwk()] }).unwrap();
    let data = Arc::new(DataKeys::parse(&b64url(&[7; 32]), "bench").unwrap());
    let identity = store.identity().await.unwrap();
    store.write(Make { data: data.clone(), identity, authors: jwks, grant, ledger, now: NOW }).await.unwrap();
    let keys = ServiceKeys::load(&store, data).await.unwrap();
    let clock = SetClock::at(NOW);
    let service = Service::new(store, Arc::new(clock.clone()), keys, "bench", Settings::default()).unwrap();

    let begun = Instant::now();
    for first in (0..entries).step_by(usize::try_from(LOT).unwrap()) {
        service.store.write(Append { first, count: LOT.min(entries - first) }).await.unwrap();
        if first % (10 * LOT) == 0 {
            clock.advance(60);
            service.keep_checkpoint(60).await.unwrap();
        }
    }
    let appended = begun.elapsed();
    println!("{name}, {entries} entries");
    println!(
        "  append         {:>9.1} s, {:.0} a second",
        appended.as_secs_f64(),
        entries as f64 / appended.as_secs_f64()
    );

    let mut times = [const { Vec::new() }; 3];
    for number in 0..PROOFS {
        // Places all over the ledger, the same in each run.
        let place = number * 7_919_993 % entries;
        let begun = Instant::now();
        service.inclusion(place + 1, None).await.unwrap();
        times[0].push(begun.elapsed());
        let begun = Instant::now();
        service.consistency(place, None).await.unwrap();
        times[1].push(begun.elapsed());
        let begun = Instant::now();
        service.checkpoint().await.unwrap();
        times[2].push(begun.elapsed());
    }
    for (what, times) in ["inclusion", "consistency", "checkpoint"].into_iter().zip(&mut times) {
        times.sort();
        let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3;
        println!("  {what:<14} {:>9.2} ms p50, {:.2} ms p99", at(50), at(99));
    }

    let path = folder.join("ledger.jsonl");
    let begun = Instant::now();
    let mut file = BufWriter::new(File::create(&path).unwrap());
    let mut export = service.export().await.unwrap();
    while let Some(piece) = export.next().await.unwrap() {
        file.write_all(piece.as_bytes()).unwrap();
    }
    file.flush().unwrap();
    let size = path.metadata().unwrap().len();
    println!("  export         {:>9.1} s, {} MB", begun.elapsed().as_secs_f64(), size / 1_000_000);

    let begun = Instant::now();
    let report = verify(BufReader::new(File::open(&path).unwrap()), Verifier::new(&public, vec![])).unwrap();
    assert!(report.verified && report.entries == entries, "{:?}", report.findings);
    println!("  verify         {:>9.1} s, {} checkpoints", begun.elapsed().as_secs_f64(), report.checkpoints);
}

/// Entries like those of holds, which are most of a ledger.
struct Append {
    first: u64,
    count: u64,
}

impl Command for Append {
    type Answer = ();
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<(), StoreError> {
        for number in self.first..self.first + self.count {
            // First, who may approve.
            if number < 4 {
                let data = json!({"id": format!("e{number}"), "person": "alice", "role": "iam"});
                let kind = "eligibility.granted";
                tx.record(Event { time: NOW, kind, hold: None, decided_by: None, data })?;
                continue;
            }
            let hold = format!("{:032x}", number / 4);
            let hash = format!("sha-256:{:064x}", number);
            let (kind, decided_by, data) = match number % 4 {
                0 => (
                    "hold.opened",
                    Some(DecidedBy::Policy),
                    json!({"group": "edge", "agent": {"iss": "https://idp.example", "sub": "bot", "act": [], "owner": "olivia"},
                        "request": hash, "requirement": hash, "factors": [{"role": "iam", "approvals": 1}], "captured": hash, "rules": [{"id": "one", "hash": hash}],
                        "policy": {"id": "guard", "rev": hash, "serial": 1}, "decide_by": NOW + 1800}),
                ),
                1 => (
                    "hold.approved",
                    Some(DecidedBy::Human),
                    json!({"person": "alice", "verdict": "approve", "role": "iam", "reason": "looked at it",
                        "factors": [{"role": "iam", "person": "alice", "escalated": false}], "signed_in_at": NOW}),
                ),
                2 => ("hold.used", Some(DecidedBy::Human), json!({"attempt": "AAAAAAAAAAAAAAAAAAAAAA"})),
                _ => (
                    "hold.outcome",
                    None,
                    json!({"attempt": "AAAAAAAAAAAAAAAAAAAAAA", "forwarded": true, "status": 200}),
                ),
            };
            tx.record(Event { time: NOW, kind, hold: Some(&hold), decided_by, data })?;
        }
        Ok(())
    }
}
