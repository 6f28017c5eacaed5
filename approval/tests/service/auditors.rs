//! What an auditor gets of the service: proofs, checkpoints, an export that is verified without it, corrections.

use std::path::Path;

use holdgate_approval::{
    domain::Retention,
    service::ledger::CHECKPOINT_EVERY,
    store::{self, Command, Database, StoreError, Tx},
};
use holdgate_protocol::{
    Actor, Agent, Hash,
    checkpoint::Checkpoint,
    from_b64,
    jws::{Jwks, Keys},
    ledger::{self, FindingKind, Kept, MAX_LINE, Report, Signer, Verifier},
    merkle::{self, Frontier},
};
use serde_json::{Value, json};
use sqlx::migrate::Migrator;

use crate::{
    database::{self, BEFORE_THE_TREE, UNGUARD},
    process::{made, run, serve},
    support::{NOW, Reviewer, World},
};

/// Everything in the ledger, as an auditor has it.
async fn export(world: &World, reader: &Reviewer<'_>) -> String {
    let answer = reader.get("/api/ledger/export").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("content-type"), "application/jsonl");
    let entries = answer.text.lines().filter(|line| line.contains("\"seq\":")).count() as u64;
    assert_eq!(world.number("SELECT count(*) AS n FROM ledger").await, entries);
    answer.text
}

fn verify(world: &World, export: &str, kept: &[(&str, &str)]) -> Report {
    let keys = world.ledger_keys();
    let kept = kept.iter().map(|(name, note)| {
        let checkpoint = Checkpoint::open(note, &keys).unwrap();
        Kept { name: (*name).to_owned(), checkpoint, signer: Signer::Present }
    });
    let kept = kept.collect();
    ledger::verify(export.as_bytes(), Verifier::new(&keys, kept)).unwrap()
}

/// A hold that is denied, one that is used, and what a gateway tells of itself.
async fn some_history(world: &World) -> (String, String) {
    let (alice, bob) = (world.sign_in("alice").await, world.sign_in("bob").await);
    let number = world.number("SELECT count(*) AS n FROM holds").await;
    let (_, denied) = world.held(&["one"], &format!("denied {number}")).await;
    assert_eq!(alice.decide(&denied, "deny").await.status, 200);
    let (ask, used) = world.held(&["two"], &format!("used {number}")).await;
    alice.decide(&used, "approve").await;
    bob.decide(&used, "approve").await;
    assert!(world.redeem(&used, &ask, 1).await.grant.is_some());
    (denied, used)
}

fn hash(value: &Value) -> Hash {
    value.as_str().unwrap().parse().unwrap()
}

fn hashes(value: &Value) -> Vec<Hash> {
    value.as_array().unwrap().iter().map(hash).collect()
}

#[tokio::test]
async fn the_running_service_proves_every_entry_and_its_own_past() {
    let world = World::new().await;
    some_history(&world).await;
    let alice = world.sign_in("audra").await;
    let answer = alice.get("/api/ledger/checkpoint").await;
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    let earlier = Checkpoint::open(&answer.text, &world.ledger_keys()).unwrap();
    assert_eq!(earlier.origin, "holdgate-approval");
    some_history(&world).await;
    let now = Checkpoint::open(&alice.get("/api/ledger/checkpoint").await.text, &world.ledger_keys()).unwrap();
    assert!(now.size > earlier.size);

    for Checkpoint { size, root, .. } in [&earlier, &now] {
        for seq in 1..=*size {
            let entry = alice.get(&format!("/api/ledger/entries/{seq}")).await.json();
            let proved = alice.get(&format!("/api/ledger/proof/inclusion?seq={seq}&size={size}")).await.json();
            let leaf = merkle::leaf_hash(entry["leaf"].as_str().unwrap().as_bytes());
            assert_eq!((hash(&proved["leaf"]), hash(&entry["leaf_hash"]), hash(&proved["root"])), (leaf, leaf, *root));
            assert_eq!(merkle::verify_inclusion(leaf, seq - 1, *size, *root, &hashes(&proved["proof"])), Ok(()));
        }
    }
    for from in 0..=now.size {
        let proved = alice.get(&format!("/api/ledger/proof/consistency?from={from}")).await.json();
        let (old, proof) = (hash(&proved["from_root"]), hashes(&proved["proof"]));
        assert_eq!(merkle::verify_consistency(from, old, now.size, now.root, &proof), Ok(()), "{from}");
        if from == earlier.size {
            assert_eq!(old, earlier.root);
        }
    }
    for (wrong, status) in [
        ("entries/0", 404),
        ("entries/999", 404),
        ("entries/x", 400),
        ("proof/inclusion?seq=0", 422),
        ("proof/inclusion?seq=1&size=999", 422),
        ("proof/inclusion?seq=9&size=8", 422),
        ("proof/consistency?from=9&to=8", 422),
        ("proof/consistency?from=1&to=18446744073709551615", 422),
        ("proof/consistency?from=-1", 400),
        ("entries?limit=x", 400),
    ] {
        let answer = alice.get(&format!("/api/ledger/{wrong}")).await;
        assert_eq!(answer.status.as_u16(), status, "{wrong}: {}", answer.text);
    }
    for path in ["checkpoint", "entries", "entries/1", "proof/inclusion?seq=1", "proof/consistency?from=1", "export"] {
        assert_eq!(world.get(&format!("/api/ledger/{path}"), "").await.status, 401, "{path}");
    }
}

#[tokio::test]
async fn an_export_is_verified_without_the_service() {
    let world = World::new().await;
    let alice = world.sign_in("audra").await;
    world.service.keep_checkpoint(CHECKPOINT_EVERY).await.unwrap();
    some_history(&world).await;
    // It is too early for another one.
    world.service.keep_checkpoint(CHECKPOINT_EVERY).await.unwrap();
    assert_eq!(world.number("SELECT count(*) AS n FROM checkpoints").await, 1);
    world.clock.advance(CHECKPOINT_EVERY);
    for _ in 0..2 {
        world.service.keep_checkpoint(CHECKPOINT_EVERY).await.unwrap();
        // The second time nothing has happened since.
        world.clock.advance(CHECKPOINT_EVERY);
    }
    assert_eq!(world.number("SELECT count(*) AS n FROM checkpoints").await, 2);
    let mine = alice.get("/api/ledger/checkpoint").await.text;
    some_history(&world).await;
    let answer = alice.get("/api/ledger/export").await.text;
    let report = verify(&world, &answer, &[("mine", &mine)]);
    assert_eq!(report.findings, []);
    // Two that were kept, what the auditor has (which is as large as the second), and the last line.
    assert_eq!((report.verified, report.checkpoints), (true, 4));
    assert_eq!(report.entries, world.number("SELECT count(*) AS n FROM ledger").await);
}

/// A command that appends many entries at once.
struct Flood(u64);

impl Command for Flood {
    type Answer = ();
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<(), StoreError> {
        for number in 0..self.0 {
            let data = json!({"number": number, "text": "é".repeat(40)});
            tx.record(store::ledger::Event { time: NOW, kind: "test.flood", hold: None, decided_by: None, data })?;
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_long_ledger_is_exported_piece_by_piece() {
    let world = World::new().await;
    let alice = world.sign_in("audra").await;
    for _ in 0..3 {
        world.service.store.write(Flood(700)).await.unwrap();
        world.clock.advance(CHECKPOINT_EVERY);
        world.service.keep_checkpoint(CHECKPOINT_EVERY).await.unwrap();
    }
    let mut pieces = Vec::new();
    let mut rest = world.service.export().await.unwrap();
    while let Some(piece) = rest.next().await.unwrap() {
        // What comes meanwhile is not part of it.
        world.service.store.write(Flood(1)).await.unwrap();
        pieces.push(piece);
    }
    assert!(pieces.len() > 5 && pieces.iter().all(|piece| piece.lines().count() <= 501 + 3), "{}", pieces.len());
    drop(rest);
    let report = verify(&world, &pieces.concat(), &[]);
    assert_eq!((report.verified, report.checkpoints), (true, 3), "{:?}", report.findings);
    assert_eq!(verify(&world, &export(&world, &alice).await, &[]).findings, []);

    // There is room for a few at once.
    let mut under_way = Vec::new();
    while let Ok(export) = world.service.export().await {
        under_way.push(export);
    }
    let answer = alice.get("/api/ledger/export").await;
    assert_eq!((under_way.len(), answer.status.as_u16(), &*answer.error()), (4, 503, "busy"));
    drop(under_way);
    assert_eq!(alice.get("/api/ledger/export").await.status, 200);
}

#[tokio::test]
async fn a_row_that_is_changed_in_the_database_is_found() {
    let world = World::new().await;
    let alice = world.sign_in("audra").await;
    let (denied, _) = some_history(&world).await;
    let kept = alice.get("/api/ledger/checkpoint").await.text;
    let page = alice.get(&format!("/api/ledger/entries?hold={denied}")).await.json();
    let (opened, seq) = (page["items"][0]["seq"].as_u64().unwrap(), page["items"][1]["seq"].as_u64().unwrap());
    let good = export(&world, &alice).await;
    assert!(verify(&world, &good, &[("kept", &kept)]).verified);

    let forge = format!("UPDATE ledger SET kind = 'hold.approved' WHERE seq = {seq}");
    assert!(world.run(&[&forge]).await.is_err(), "the database itself refuses");
    world.run(UNGUARD).await.unwrap();
    world.run(&[&forge]).await.unwrap();
    let report = verify(&world, &export(&world, &alice).await, &[]);
    let told: Vec<_> = report.findings.iter().map(|found| found.kind).collect();
    assert_eq!(told, [FindingKind::Course, FindingKind::Changed], "a denial is no approval, and nobody signed it as one");
    // Its proof does not fit what it says any more.
    let entry = alice.get(&format!("/api/ledger/entries/{seq}")).await.json();
    let proved = alice.get(&format!("/api/ledger/proof/inclusion?seq={seq}")).await.json();
    assert_ne!(entry["leaf_hash"], proved["leaf"]);

    // Whoever takes an entry out, or the tail, is found too.
    world.run(&[&format!("DELETE FROM ledger WHERE seq = {opened}")]).await.unwrap();
    let exported = alice.get("/api/ledger/export").await.text;
    assert!(verify(&world, &exported, &[]).findings.iter().any(|found| found.kind == FindingKind::Gap), "{exported}");
}

#[tokio::test]
async fn a_past_that_is_written_anew_is_found_by_who_kept_a_checkpoint() {
    let world = World::new().await;
    let (denied, _) = some_history(&world).await;
    let alice = world.sign_in("audra").await;
    let kept = alice.get("/api/ledger/checkpoint").await.text;
    // With the whole of the database at hand: another past, and no trace of the tree that there was.
    world.run(UNGUARD).await.unwrap();
    let forge = format!("UPDATE ledger SET data = replace(data, 'local', 'other') WHERE kind = 'hold.denied' AND hold = '{denied}'");
    world.run(&[&forge, "DELETE FROM ledger_nodes", "DELETE FROM checkpoints"]).await.unwrap();
    let world = world.reopened().await;
    some_history(&world).await;
    let alice = world.sign_in("audra").await;
    let exported = export(&world, &alice).await;
    assert!(verify(&world, &exported, &[]).verified, "the service has signed what it found");
    let report = verify(&world, &exported, &[("kept.note", &kept)]);
    let told: Vec<_> = report.findings.iter().map(|found| found.kind).collect();
    assert_eq!(told, [FindingKind::Rewritten], "{:?}", report.findings);
}

#[tokio::test]
async fn entries_of_an_earlier_version_get_their_place_in_the_tree_once() {
    let world = World::new().await;
    some_history(&world).await;
    let alice = world.sign_in("audra").await;
    let before = alice.get("/api/ledger/checkpoint").await.text;
    world.run(UNGUARD).await.unwrap();
    world.run(&["DELETE FROM ledger_nodes WHERE level > 0 OR idx >= 5"]).await.unwrap();
    world.run(&["DELETE FROM ledger_nodes"]).await.unwrap();
    let (one, other) = tokio::join!(Database::open(&world.url, false), Database::open(&world.url, false));
    one.unwrap();
    other.unwrap();
    assert_eq!(alice.get("/api/ledger/checkpoint").await.text, before);
    // A process that knew the tree before goes on with it, as does one that was opened since.
    some_history(&world).await;
    assert!(verify(&world, &export(&world, &alice).await, &[("before", &before)]).verified);
}

/// A command that appends one entry with so long a text.
struct Long(usize);

impl Command for Long {
    type Answer = ();
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<(), StoreError> {
        let data = json!({"text": "a".repeat(self.0)});
        tx.record(store::ledger::Event { time: NOW, kind: "test.long", hold: None, decided_by: None, data })
    }
}

#[tokio::test]
async fn no_entry_is_longer_than_what_an_auditor_reads() {
    let world = World::new().await;
    let mut ask = world.ask(&["one"], "a");
    let actor = |sub: String| Actor { iss: "https://idp.example".into(), sub };
    ask.agent.act = vec![actor("small".into()), actor("b".repeat(2 * MAX_LINE))];
    let malformed = (400, "malformed".to_owned());
    assert_eq!(world.refused(&ask).await, malformed, "nobody counts by this name, and the ledger would keep it");
    ask.agent.act = (0..17).map(|number| actor(number.to_string())).collect();
    assert_eq!(world.refused(&ask).await, malformed);
    ask.agent.act.truncate(16);
    world.open(&ask).await;
    let lengthen: [fn(&mut Agent); 2] = [|agent| agent.iss = "c".repeat(2049), |agent| agent.sub = "c".repeat(2049)];
    for lengthen in lengthen {
        let mut ask = world.ask(&["one"], "b");
        ask.agent.act = vec![actor("small".into())];
        lengthen(&mut ask.agent);
        assert_eq!(world.refused(&ask).await, malformed);
    }

    let refused = world.service.store.write(Long(MAX_LINE)).await.unwrap_err();
    assert!(matches!(refused, StoreError::TooLong { kind: "test.long", .. }), "{refused}");
    world.service.store.write(Long(MAX_LINE - 100)).await.unwrap();
    let alice = world.sign_in("audra").await;
    assert_eq!(verify(&world, &export(&world, &alice).await, &[]).findings, []);
}

#[tokio::test]
async fn several_processes_grow_one_tree() {
    let world = World::new().await;
    let other = Database::open(&world.url, false).await.unwrap();
    for (store, count) in [(&world.service.store, 3), (&other, 5), (&other, 1), (&world.service.store, 7)] {
        store.write(Flood(count)).await.unwrap();
    }
    let alice = world.sign_in("audra").await;
    assert!(verify(&world, &export(&world, &alice).await, &[]).verified);
}

#[tokio::test]
async fn a_correction_is_an_entry_that_is_linked_from_both_ends() {
    let world = World::new().await;
    let alice = world.sign_in("audra").await;
    let (denied, _) = some_history(&world).await;
    let entries = alice.get(&format!("/api/ledger/entries?hold={denied}")).await.json();
    let seq = entries["items"][1]["seq"].as_u64().unwrap();
    let path = format!("/api/ledger/{seq}/corrections");
    let body = json!({"reason": "wrong_customer", "text": "I took it for the request of another customer."});
    let answer = alice.post(&path, body.clone()).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let correction = answer.json()["seq"].as_u64().unwrap();
    assert!(correction > seq);
    let bob = world.sign_in("bob").await;
    let again = bob.post(&format!("/api/ledger/{correction}/corrections"), body.clone()).await.json();

    let corrected = alice.get(&format!("/api/ledger/entries/{seq}")).await.json();
    assert_eq!((&corrected["entry"]["corrected_by"], &corrected["entry"]["corrects"]), (&json!([correction]), &Value::Null));
    let entry = alice.get(&format!("/api/ledger/entries/{correction}")).await.json()["entry"].clone();
    assert_eq!((&entry["corrects"], &entry["corrected_by"]), (&json!(seq), &json!([again["seq"]])));
    assert_eq!((&entry["kind"], &entry["hold"], &entry["decided_by"]), (&json!("correction"), &json!(denied), &json!("human")));
    let data = json!({"corrects": seq, "person": "audra", "reason": body["reason"], "text": body["text"], "signed_in_at": NOW, "via": "local"});
    assert_eq!(entry["data"], data);
    let page = alice.get(&format!("/api/ledger/entries?hold={denied}")).await.json();
    assert_eq!(page["items"][1]["corrected_by"], json!([correction]));
    assert_eq!(page["items"][2]["corrects"], json!(seq));
    assert!(verify(&world, &export(&world, &alice).await, &[]).verified);

    let dave = world.sign_in("dave").await;
    let status = async |reader: &Reviewer<'_>, path: &str, body: Value| {
        let answer = reader.post(path, body).await;
        (answer.status.as_u16(), answer.error())
    };
    let refused = |status: u16, word: &str| (status, word.to_owned());
    // Whoever sees nothing of the hold learns nothing of its entries; what is about no hold is for auditors.
    let carol = world.sign_in("carol").await;
    crate::people::grant(&world, "carol", "lead", json!({"policy": "other"})).await;
    assert_eq!(status(&carol, &path, body.clone()).await, refused(404, "not_found"));
    assert_eq!(status(&bob, "/api/ledger/1/corrections", body.clone()).await, refused(404, "not_found"));
    assert_eq!(status(&alice, "/api/ledger/1/corrections", body.clone()).await.0, 201);
    let olivia = world.sign_in("olivia").await;
    assert_eq!(status(&olivia, &path, body.clone()).await, refused(403, "own_agent"));
    assert_eq!(status(&dave, &path, body.clone()).await, refused(403, "not_eligible"));
    assert_eq!(status(&alice, "/api/ledger/9999/corrections", body.clone()).await, refused(404, "not_found"));
    assert_eq!(status(&alice, "/api/ledger/0/corrections", body.clone()).await, refused(404, "not_found"));
    for (reason, text) in [("", "x"), ("two words", "x"), ("word", " "), ("word", &*"x".repeat(2001)), (&*"x".repeat(65), "x")] {
        let body = json!({"reason": reason, "text": text});
        assert_eq!(status(&alice, &path, body).await, refused(422, "correction_refused"), "{reason}");
    }
    assert_eq!(status(&alice, &path, json!({"reason": "x", "text": "x", "person": "bob"})).await.0, 400);
    world.clock.advance(901);
    assert_eq!(status(&alice, &path, body.clone()).await, refused(403, "sign_in_again"));
    let mut without_token = alice;
    without_token.csrf.clear();
    assert_eq!(status(&without_token, &path, body).await, refused(403, "csrf"));
}

#[tokio::test]
async fn the_ledger_vouches_for_what_was_captured_and_forgets_it_with_the_capture() {
    let world = World::new().await;
    let (denied, _) = some_history(&world).await;
    let alice = world.sign_in("audra").await;
    let seq = alice.get(&format!("/api/ledger/entries?hold={denied}&limit=1")).await.json()["items"][0]["seq"].clone();
    let entry = async || alice.get(&format!("/api/ledger/entries/{seq}")).await.json();
    let kept = entry().await;
    let bytes = |name: &str| from_b64(kept["captured"][name].as_str().unwrap()).unwrap();
    let (salt, request) = (bytes("salt"), bytes("request"));
    assert_eq!(salt.len(), 16);
    let digest = world.ask(&["one"], "denied 0").digest;
    assert_eq!(hash(&kept["captured"]["digest"]), digest);
    assert_eq!(hash(&kept["entry"]["data"]["request"]), Hash::of(&[&*salt, digest.as_bytes()].concat()));
    assert_eq!(hash(&kept["entry"]["data"]["captured"]), Hash::of(&[&*salt, &request].concat()));
    let shown: Value = serde_json::from_slice(&request).unwrap();
    assert_eq!(shown, alice.get(&format!("/api/holds/{denied}")).await.json()["request"]);
    // The same request again has another salt: nobody finds out by comparing.
    let (_, again) = world.held(&["one"], "used 0").await;
    let other = alice.get(&format!("/api/ledger/entries?hold={again}")).await.json()["items"][0]["data"]["captured"].clone();
    assert_ne!(other, kept["entry"]["data"]["captured"]);

    world.clock.advance(Retention::default().captures);
    world.service.forget().await.unwrap();
    let alice = world.sign_in("audra").await;
    let gone = alice.get(&format!("/api/ledger/entries/{seq}")).await.json();
    assert_eq!((&gone["captured"], &gone["leaf"]), (&Value::Null, &kept["leaf"]));
    assert_eq!(world.number("SELECT count(*) AS n FROM captures").await, 1, "the open one");
    let exported = export(&world, &alice).await;
    assert!(verify(&world, &exported, &[]).verified, "proofs stay");
    // Who has the export alone cannot try out what the body may have been.
    assert!(!exported.contains(&digest.to_string()));
}

#[tokio::test]
async fn the_chain_of_an_earlier_version_becomes_a_tree() {
    let (folder, migrations) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (all, last) = BEFORE_THE_TREE;
    for file in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(all)).unwrap() {
        let file = file.unwrap();
        if file.file_name().to_str().unwrap()[..4] <= *last {
            std::fs::copy(file.path(), migrations.path().join(file.file_name())).unwrap();
        }
    }
    let url = database::url(folder.path()).await;
    let entry = |seq: u64| format!("({seq}, {NOW}, 'test', NULL, NULL, '{{\"a\":{seq}}}', 'sha-256:', 'sha-256:')");
    let rows: Vec<String> = (1..=1300).map(entry).collect();
    let rows = format!("INSERT INTO ledger (seq, time, kind, hold, decided_by, data, prev, hash) VALUES {}", rows.join(", "));
    database::make(&url, Migrator::new(migrations.path()).await.unwrap(), &rows).await;

    let store = Database::open(&url, false).await.unwrap();
    let mut frontier = Frontier::default();
    for seq in 1..=1300_u64 {
        let data = format!("{{\"a\":{seq}}}");
        let entry = ledger::Entry { seq, time: NOW, kind: "test", hold: None, decided_by: None, data: &data };
        frontier.append(merkle::leaf_hash(entry.to_leaf().as_bytes()), |_, _| ());
    }
    let tree = async |size| {
        let mut connection = store.read().await.unwrap();
        assert_eq!(store::ledger::size(&mut connection).await.unwrap(), size);
        store::ledger::tree(&mut connection, size).await.unwrap()
    };
    assert_eq!(tree(1300).await, frontier);
    store.write(Flood(1)).await.unwrap();
    assert_ne!(tree(1301).await.root(), frontier.root());
}

#[tokio::test]
async fn the_command_line_exports_beside_the_service_and_after_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let data = made(folder.path()).await;
    let keys: Jwks = serde_json::from_slice(&std::fs::read(data.join("ledger.jwks.json")).unwrap()).unwrap();
    let keys = Keys::new(&keys).unwrap();
    let verified = |export: &[u8]| {
        let report = ledger::verify(export, Verifier::new(&keys, vec![])).unwrap();
        assert!(report.verified, "{:?}", report.findings);
        assert_eq!(report.origin.as_deref(), Some("holdgate-approval"));
        (report.entries, report.checkpoints)
    };
    let (code, export, error) = run(&data, &["export"], "").await;
    assert_eq!((code, error.as_str()), (0, ""));
    let (entries, checkpoints) = verified(export.as_bytes());
    assert_eq!(checkpoints, 1);

    let mut serving = serve(&data).await;
    let id = serving.child.id().unwrap().to_string();
    let signal = tokio::process::Command::new("kill").args(["-TERM", &id]).status();
    assert!(signal.await.unwrap().success() && serving.child.wait().await.unwrap().success());
    // At its end it has signed what there was.
    assert_eq!(run(&data, &["gateway", "add", "edge"], "").await.0, 0);
    let file = folder.path().join("ledger.jsonl");
    let to_file = ["export", "--out", file.to_str().unwrap()];
    assert_eq!(run(&data, &to_file, "").await, (0, String::new(), String::new()));
    assert_eq!(verified(&std::fs::read(&file).unwrap()), (entries + 1, 2));
    let (code, _, error) = run(&data, &to_file, "").await;
    assert!(code == 1 && error.contains("cannot write") && error.lines().count() == 1, "a file is not overwritten: {error}");
    let (code, _, error) = run(&data, &["serve", "--issuer", "two words"], "").await;
    assert!(code == 1 && error.contains("`two words` cannot be the issuer"), "{error}");
}
