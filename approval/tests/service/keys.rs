//! Keys that are rotated and retired while the service serves, by this instance or another.

use holdgate_approval::{
    keys::{SET_TYPE, ServiceKeys},
    service::{
        Service, Settings,
        keys::{ImportAuthors, KeyTaskError, OVERLAP, Retire, Rotate, Rotated},
    },
    store::{
        Database,
        keys::Purpose,
        ledger::{self, Entry},
    },
};
use holdgate_protocol::{
    gateway::OpenHold,
    grant::{self, Expected},
    checkpoint::Checkpoint,
    jws::{Jwks, Keys, PrivateKey},
    ledger::{self as ledger_file, FindingKind, Verifier, checkpoint_line},
    merkle::{Frontier, leaf_hash},
};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    database,
    process::{http, made, program, run, serve},
    support::{NOW, World, attempt, authors, data_keys, policy},
};

const AFTER: u64 = 600;

async fn rotate(world: &World, purpose: Purpose, seed: u8, after: u64) -> Result<Rotated, KeyTaskError> {
    let key = PrivateKey::from_seed(&[seed; 32]);
    let rotate = Rotate { data: data_keys(), purpose, key, after, overlap: 0, now: world.service.now() };
    let rotated = world.service.store.write(rotate).await;
    world.service.renew_keys().await.unwrap();
    rotated
}

async fn retire(world: &World, kid: &str, at_once: bool) -> Result<Option<String>, KeyTaskError> {
    let retire = Retire { kid: kid.into(), at_once, reason: "lost".into(), now: world.service.now() };
    world.service.store.write(retire).await
}

fn kids(world: &World, purpose: Purpose) -> Vec<String> {
    let published = world.service.keys().published(purpose, world.service.now());
    published.keys.into_iter().map(|key| key.kid).collect()
}

fn active(world: &World) -> String {
    world.service.keys().grant(world.service.now()).unwrap().kid().to_owned()
}

async fn approved(world: &World, body: &str) -> (OpenHold, String) {
    let (ask, hold) = world.held(&["one"], body).await;
    assert_eq!(world.sign_in("alice").await.decide(&hold, "approve").await.status, 200);
    (ask, hold)
}

/// The grant of a new approved hold.
async fn granted(world: &World, body: &str) -> (String, OpenHold, String) {
    let (ask, hold) = approved(world, body).await;
    let token = world.redeem(&hold, &ask, 1).await.grant.unwrap();
    (token, ask, hold)
}

fn verifies(world: &World, (token, ask, hold): &(String, OpenHold, String), keys: &Jwks) -> bool {
    let expected = Expected {
        issuer: "holdgate-approval",
        group: "edge",
        agent: &ask.agent,
        hold,
        nonce: &attempt(1),
        components: &ask.components,
        digest: &ask.digest,
        policy_id: "guard",
        requirement: &ask.requirement,
        rules: &ask.rules,
        now: world.service.now(),
    };
    grant::verify(token, &Keys::new(keys).unwrap(), &expected).is_ok()
}

async fn sets(world: &World) -> Vec<String> {
    let answer = world.gateway("edge", "GET", "/v1/keys", &Value::Null).await.json();
    serde_json::from_value(answer["signed"].clone()).unwrap()
}

async fn entries(world: &World, kind: &str) -> Vec<Entry> {
    let mut connection = world.service.store.read().await.unwrap();
    let all = ledger::page(&mut connection, None, 0, 1000).await.unwrap();
    all.into_iter().filter(|entry| entry.kind == kind).collect()
}

#[tokio::test]
async fn a_key_is_known_before_it_signs_and_for_a_while_after() {
    let world = World::new().await;
    let old = active(&world);
    let pinned = world.service.keys().published(Purpose::Grant, NOW);
    let before = granted(&world, "before").await;

    let rotated = rotate(&world, Purpose::Grant, 9, AFTER).await.unwrap();
    let new = rotated.kid.clone();
    assert_eq!(rotated.signs_from, NOW + AFTER);
    assert_eq!(rotated.former, Some((old.clone(), NOW + AFTER + OVERLAP)), "less than a grant's life is not taken");
    assert_eq!(kids(&world, Purpose::Grant), [&*new, &*old]);
    assert_eq!(active(&world), old);
    assert!(matches!(rotate(&world, Purpose::Grant, 10, AFTER).await, Err(KeyTaskError::Next(kid)) if kid == new));

    // A gateway that has pinned the old key learns the new one from it, and from no other.
    let [set] = &sets(&world).await[..] else { panic!("one key has signed") };
    let payload = Keys::new(&pinned).unwrap().verify(set, Some(SET_TYPE)).unwrap();
    let both: Jwks = serde_json::from_slice(&payload).unwrap();
    assert_eq!(both, world.service.keys().published(Purpose::Grant, NOW));
    let forged = PrivateKey::from_seed(&[1; 32]).sign(SET_TYPE, &payload);
    assert!(Keys::new(&pinned).unwrap().verify(&forged, Some(SET_TYPE)).is_err());

    world.clock.advance(AFTER - 1);
    let last = granted(&world, "last of the old").await;
    assert!(verifies(&world, &last, &pinned));
    world.clock.advance(1);
    assert_eq!(active(&world), new, "no command and no read is needed for that");
    let first = granted(&world, "first of the new").await;
    assert!(verifies(&world, &first, &both) && verifies(&world, &last, &both));
    assert!(!verifies(&world, &first, &pinned), "whoever has not pinned it takes none of its grants");
    assert_eq!(sets(&world).await.len(), 2, "each of both signs the set now");
    let state = world.gateway("edge", "GET", "/v1/state", &Value::Null).await.json();
    assert_eq!(state["grant_key"], new, "gateways are told what they must have pinned");

    world.clock.advance(OVERLAP);
    assert_eq!(kids(&world, Purpose::Grant), [&*new], "the old one is gone");
    assert!(!verifies(&world, &before, &world.service.keys().published(Purpose::Grant, NOW + 10 * AFTER)));
    assert_eq!(sets(&world).await.len(), 1);
    world.service.seal_anew().await.unwrap();
    assert_eq!(world.number("SELECT count(*) AS n FROM keys WHERE sealed IS NULL").await, 1, "nor is its private half kept");
    world.service.renew_keys().await.unwrap();
    assert_eq!(active(&world), new);
}

#[tokio::test]
async fn a_retired_key_signs_nothing_from_that_moment_on_any_instance() {
    let world = World::new().await;
    let old = active(&world);
    let (ask, hold) = approved(&world, "a").await;
    assert!(matches!(retire(&world, &old, false).await, Err(KeyTaskError::Signs(_))));
    assert!(matches!(retire(&world, "k9", true).await, Err(KeyTaskError::Unknown(_))));
    let new = rotate(&world, Purpose::Grant, 9, AFTER).await.unwrap().kid;

    // The service has not read the change yet when the redemption comes.
    assert_eq!(retire(&world, &old, true).await.unwrap(), Some(new.clone()));
    assert_eq!(active(&world), old, "this is what it remembers");
    let token = world.redeem(&hold, &ask, 1).await.grant.unwrap();
    let only = Jwks { keys: vec![PrivateKey::from_seed(&[9; 32]).to_public_jwk()] };
    assert!(verifies(&world, &(token, ask, hold), &only), "the next one signs, before its time");
    world.service.renew_keys().await.unwrap();
    assert_eq!((kids(&world, Purpose::Grant), active(&world)), (vec![new.clone()], new.clone()));
    assert_eq!(world.number("SELECT count(*) AS n FROM keys WHERE sealed IS NULL").await, 1, "its private half is gone");

    // Without any key redemptions wait, and the approval is not lost.
    let (ask, hold) = approved(&world, "b").await;
    assert_eq!(retire(&world, &new, true).await.unwrap(), None);
    let body = crate::support::redemption(&hold, &ask, 1);
    let answer = world.gateway("edge", "POST", "/v1/redemptions", &body).await;
    assert_eq!((answer.status.as_u16(), answer.error()), (503, "unavailable".into()));
    assert!(sets(&world).await.is_empty());
    let state = world.gateway("edge", "GET", "/v1/state", &Value::Null).await.json();
    assert_eq!(state["grant_key"], Value::Null);
    let third = rotate(&world, Purpose::Grant, 11, AFTER).await.unwrap();
    assert_eq!((third.signs_from, third.former), (NOW, None), "there is nothing to wait for");
    assert!(world.redeem(&hold, &ask, 1).await.grant.is_some());
    assert!(matches!(retire(&world, &new, true).await, Err(KeyTaskError::Retired(_))));
    assert!(matches!(rotate(&world, Purpose::Grant, 9, 0).await, Err(KeyTaskError::Known(_))), "it does not come back");
    let retired: Vec<Value> =
        entries(&world, "key.retired").await.iter().map(|entry| serde_json::from_str(&entry.data).unwrap()).collect();
    assert_eq!(retired[0], json!({"purpose": "grant", "kid": old, "reason": "lost", "signs": new, "stays": false}));
    assert_eq!(retired[1]["signs"], Value::Null);
}

#[tokio::test]
async fn the_ledger_tells_of_its_next_key_under_the_one_before() {
    let world = World::new().await;
    let old = world.service.keys().ledger(NOW).unwrap().to_public_jwk();
    assert!(matches!(retire(&world, &old.kid, true).await, Err(KeyTaskError::LastOfLedger(_))));
    let rotated = rotate(&world, Purpose::Ledger, 12, 0).await.unwrap();
    assert_eq!(world.service.keys().ledger(NOW).unwrap().kid(), rotated.kid);
    let [entry] = &entries(&world, "key.added").await[..] else { panic!("one entry") };
    let data: Value = serde_json::from_str(&entry.data).unwrap();
    let signed = data["former"]["signature"].as_str().unwrap();
    let payload = Keys::new(&Jwks { keys: vec![old] }).unwrap().verify(signed, Some("holdgate-key+jwt")).unwrap();
    let key = PrivateKey::from_seed(&[12; 32]).to_public_jwk();
    let expected = json!({"purpose": "ledger", "key": key, "signs_from": NOW});
    assert_eq!(serde_json::from_slice::<Value>(&payload).unwrap(), expected);
    assert_eq!(data["key"], json!(key));
    assert_eq!(kids(&world, Purpose::Grant).len(), 1, "grants have other keys");
}

/// Two hours later.
fn much_later(world: &World) {
    world.clock.advance(2 * 60 * 60);
}

fn signs(world: &World, purpose: Purpose) -> Option<String> {
    let (keys, now) = (world.service.keys(), world.service.now());
    let key = if purpose == Purpose::Grant { keys.grant(now) } else { keys.ledger(now) };
    key.map(|key| key.kid().to_owned())
}

#[tokio::test]
async fn whoever_takes_a_rotation_back_keeps_the_key_that_signs() {
    for purpose in [Purpose::Grant, Purpose::Ledger] {
        let world = World::new().await;
        let old = signs(&world, purpose).unwrap();
        // The next one is taken back before it signs.
        let new = rotate(&world, purpose, 9, AFTER).await.unwrap().kid;
        assert_eq!(retire(&world, &new, false).await.unwrap(), Some(old.clone()));
        much_later(&world);
        world.service.renew_keys().await.unwrap();
        assert_eq!(signs(&world, purpose), Some(old.clone()), "it stays");
        world.service.keep_checkpoint(0).await.unwrap();
        // So is one that signs, while the former is known still.
        let new = rotate(&world, purpose, 10, 0).await.unwrap().kid;
        assert_eq!(retire(&world, &new, true).await.unwrap(), Some(old.clone()));
        much_later(&world);
        world.service.renew_keys().await.unwrap();
        assert_eq!(signs(&world, purpose), Some(old.clone()));
        let retired = entries(&world, "key.retired").await;
        assert!(retired.len() == 2 && retired.iter().all(|entry| entry.data.contains("\"stays\":true")), "{retired:?}");
        // The next rotation has no time in which nothing signs, however long it takes.
        let rotated = rotate(&world, purpose, 11, 10 * AFTER).await.unwrap();
        assert_eq!(rotated.former, Some((old.clone(), rotated.signs_from + OVERLAP)));
        world.clock.advance(10 * AFTER - 1);
        assert_eq!(signs(&world, purpose), Some(old));
        world.clock.advance(1);
        assert_eq!(signs(&world, purpose), Some(rotated.kid));
    }
}

#[tokio::test]
async fn a_retired_key_does_not_come_back_under_another_name() {
    let world = World::new().await;
    let old = active(&world);
    let jwk = world.service.keys().grant(NOW).unwrap().to_private_jwk();
    rotate(&world, Purpose::Grant, 9, 0).await.unwrap();
    retire(&world, &old, true).await.unwrap();
    for purpose in [Purpose::Grant, Purpose::Ledger] {
        let key = PrivateKey::from_jwk(&holdgate_protocol::jws::Jwk { kid: "another".into(), ..jwk.clone() }).unwrap();
        let rotate = Rotate { data: data_keys(), purpose, key, after: 0, overlap: 0, now: NOW };
        let refused = world.service.store.write(rotate).await;
        assert!(matches!(&refused, Err(KeyTaskError::Known(kid)) if *kid == old), "{refused:?}");
    }
}

#[tokio::test]
async fn a_retired_key_of_the_ledger_signs_nothing_on_any_instance() {
    let (world, origin) = (World::new().await, "holdgate-approval");
    let other = world.second().await;
    let old = world.service.keys().ledger(NOW).unwrap().kid().to_owned();
    rotate(&world, Purpose::Ledger, 12, 0).await.unwrap();
    retire(&world, &old, false).await.unwrap();
    assert_eq!(other.service.keys().ledger(NOW).unwrap().kid(), old, "this is what it remembers");
    let new = Keys::new(&Jwks { keys: vec![PrivateKey::from_seed(&[12; 32]).to_public_jwk()] }).unwrap();
    let note = other.service.checkpoint().await.unwrap();
    assert_eq!(Checkpoint::open(&note, &new).map(|checkpoint| checkpoint.origin).as_deref(), Ok(origin));
    other.service.keep_checkpoint(0).await.unwrap();
    let kept = ledger::last_checkpoint(&mut world.service.store.read().await.unwrap(), origin).await.unwrap().unwrap();
    assert!(Checkpoint::open(&kept.note, &new).is_ok());
    let report = ledger_file::verify(exported(&other).await.concat().as_bytes(), Verifier::new(&new, vec![])).unwrap();
    assert!(report.verified, "{:?}", report.findings);
}

#[tokio::test]
async fn an_export_is_verified_after_the_ledgers_key_was_rotated() {
    let world = World::new().await;
    let old = world.service.keys().ledger(NOW).unwrap().to_private_jwk();
    let retired = world.ledger_keys();
    world.service.keep_checkpoint(0).await.unwrap();
    rotate(&world, Purpose::Ledger, 12, 0).await.unwrap();
    world.held(&["one"], "a").await;
    much_later(&world);
    world.service.keep_checkpoint(0).await.unwrap();
    world.held(&["one"], "b").await;
    let lines = exported(&world).await;
    let keys = world.ledger_keys();
    let verify = |lines: &[String]| {
        let verifier = Verifier::new(&keys, vec![]).with_retired(Some(&retired));
        ledger_file::verify(lines.concat().as_bytes(), verifier).unwrap()
    };
    let report = verify(&lines);
    assert_eq!((report.findings, report.checkpoints), (vec![], 3), "one of the old key, two of the new one");

    // The old one was stolen: what it signs at the end of a past that is another one counts for nothing.
    let mut forged: Vec<String> = lines.iter().filter(|line| !line.contains("\"checkpoint\"")).cloned().collect();
    *forged.last_mut().unwrap() = forged.last().unwrap().replace("bot", "bod");
    let mut tree = Frontier::default();
    forged[1..].iter().for_each(|leaf| tree.append(leaf_hash(leaf.trim_end().as_bytes()), |_, _| ()));
    let checkpoint = Checkpoint { origin: "holdgate-approval".into(), size: tree.size(), root: tree.root() };
    forged.push(checkpoint_line(&checkpoint.sign(&PrivateKey::from_jwk(&old).unwrap()).unwrap()));
    let report = verify(&forged);
    assert!(!report.verified);
    assert_eq!(report.findings[0].kind, FindingKind::Unsigned, "{:?}", report.findings);
}

async fn exported(world: &World) -> Vec<String> {
    let (mut export, mut text) = (world.service.export().await.unwrap(), String::new());
    while let Some(piece) = export.next().await.unwrap() {
        text.push_str(&piece);
    }
    text.lines().map(|line| format!("{line}\n")).collect()
}

#[tokio::test]
async fn another_instance_reads_what_was_changed() {
    let world = World::new().await;
    let store = Database::open(&world.url, false).await.unwrap();
    let keys = ServiceKeys::load(&store, data_keys()).await.unwrap();
    let clock = std::sync::Arc::new(world.clock.clone());
    let other = Service::new(store, clock, keys, "holdgate-approval", Settings::default()).unwrap();
    assert_eq!((other.keys().grant(NOW).unwrap().kid(), other.keys().states), (&*active(&world), world.service.keys().states));
    let new = rotate(&world, Purpose::Grant, 9, 0).await.unwrap().kid;
    let keeping = tokio::spawn(other.clone().keep_time());
    let read = async {
        while other.keys().grant(NOW).unwrap().kid() != new {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(5), read).await.expect("it is read within a second or so");
    keeping.abort();
}

#[tokio::test]
async fn authors_keys_are_changed_for_all_instances() {
    let world = World::new().await;
    let another = Jwks { keys: vec![PrivateKey::from_seed(&[8; 32]).to_public_jwk()] };
    world.service.store.write(ImportAuthors { authors: another.clone(), now: NOW }).await.unwrap();
    let (signed, reference) = policy(2, |_| {});
    assert_eq!(world.publish(&signed, &reference.rev).await.status, 422, "the former author's key does not count any more");
    let both = Jwks { keys: vec![authors().to_public_jwk(), another.keys[0].clone()] };
    world.service.store.write(ImportAuthors { authors: both.clone(), now: NOW }).await.unwrap();
    assert_eq!(world.publish(&signed, &reference.rev).await.status, 201);
    let told = entries(&world, "authors.imported").await;
    let last: Value = serde_json::from_str(&told[1].data).unwrap();
    assert_eq!((told.len(), &last["authors"]), (2, &json!(both)));
}

#[tokio::test]
async fn the_command_line_rotates_while_the_service_runs() {
    let folder = tempfile::tempdir().unwrap();
    let data = made(folder.path()).await;
    let gateway = run(&data, &["gateway", "add", "edge"], "").await.1;
    let serving = serve(&data).await;
    let pinned = folder.path().join("pinned.json");
    std::fs::copy(data.join("grant.jwks.json"), &pinned).unwrap();
    let (code, output, error) = run(&data, &["key", "rotate", "grant", "--after", "0s"], "").await;
    assert_eq!((code, output.lines().count()), (0, 2), "{error}");
    let new = output.split_whitespace().next().unwrap().to_owned();

    let (status, answer) = http(&serving.gateways, "GET", "/v1/keys", gateway.trim(), &Value::Null).await;
    assert_eq!(status, 200);
    assert_eq!(http(&serving.gateways, "GET", "/v1/keys", "wrong", &Value::Null).await.0, 401);
    let file = folder.path().join("answer.json");
    std::fs::write(&file, &answer).unwrap();
    let check = async |pinned: &std::path::Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdgate-approval"));
        command.args(["key", "check", "--pinned"]).arg(pinned).arg(&file);
        command.output().await.unwrap()
    };
    let good = check(&pinned).await;
    let set: Jwks = serde_json::from_slice(&good.stdout).unwrap();
    assert!(set.keys.len() == 2 && set.keys.iter().any(|key| key.kid == new));
    assert_eq!(json!(set), serde_json::from_slice::<Value>(&std::fs::read(data.join("grant.jwks.json")).unwrap()).unwrap());
    let strangers = folder.path().join("authors.jwks.json");
    assert!(!check(&strangers).await.status.success(), "a set that no pinned key signs is not taken");

    let own = folder.path().join("own.jwk");
    std::fs::write(&own, json!(PrivateKey::from_seed(&[6; 32]).to_private_jwk()).to_string()).unwrap();
    let (code, _, error) = run(&data, &["key", "import", own.to_str().unwrap(), "--after", "1h"], "").await;
    assert_eq!(code, 0, "{error}");
    let list = run(&data, &["key", "list"], "").await.1;
    for state in ["next", "active", "overlap"] {
        assert_eq!(list.lines().filter(|line| line.starts_with("grant") && line.contains(state)).count(), 1, "{list}");
    }
    let (code, output, _) = run(&data, &["key", "retire", &new, "--now", "--reason", "lost"], "").await;
    assert!(code == 0 && output.contains("signs"), "{output}");
    let list = run(&data, &["key", "list"], "").await.1;
    assert!(!list.contains(" next ") && list.contains("retired"), "{list}");
    let gone: Jwks = serde_json::from_str(&run(&data, &["key", "export", "grant", "--retired"], "").await.1).unwrap();
    assert_eq!(gone.keys.iter().map(|key| &*key.kid).collect::<Vec<_>>(), [&*new], "what it signed can be read still");
    assert_eq!(run(&data, &["key", "export", "ledger", "--retired"], "").await.1, "{\n  \"keys\": []\n}\n");
    let keys = folder.path().join("authors.jwks.json");
    assert_eq!(run(&data, &["authors", "import", keys.to_str().unwrap()], "").await.1, "policy authors' keys: 1\n");
    let listed: Value = serde_json::from_str(&run(&data, &["authors", "list"], "").await.1).unwrap();
    assert_eq!(listed, json!(Jwks { keys: vec![authors().to_public_jwk()] }));
}

/// What version 0.1 left in a data folder: keys in files, captures in plain.
#[tokio::test]
async fn the_keys_of_an_older_data_folder_are_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let data = made(folder.path()).await;
    let url = database::url(&data).await;
    let store = Database::open(&url, false).await.unwrap();
    store.write(database::Sql(vec!["DELETE FROM keys".into(), "DELETE FROM keyring".into()])).await.unwrap();
    drop(store);
    std::fs::remove_file(data.join("data.key")).unwrap();
    let (code, _, error) = run(&data, &["key", "list"], "").await;
    assert!(code == 1 && error.contains("make one with `holdgate-approval init`"), "{error}");
    let (grant, ledger) = (PrivateKey::from_seed(&[21; 32]), PrivateKey::from_seed(&[22; 32]));
    let jwks = Jwks { keys: vec![authors().to_public_jwk()] };
    for (name, value) in [
        ("grant.jwk", json!(grant.to_private_jwk())),
        ("ledger.jwk", json!(ledger.to_private_jwk())),
        ("authors.jwks.json", json!(jwks)),
    ] {
        std::fs::write(data.join(name), value.to_string()).unwrap();
    }
    let gateway = run(&data, &["gateway", "add", "edge"], "").await.1;
    let serving = serve(&data).await;
    let (_, state) = http(&serving.gateways, "GET", "/v1/state", gateway.trim(), &Value::Null).await;
    assert_eq!(serde_json::from_str::<Value>(&state).unwrap()["grant_key"], grant.kid());
    let list = run(&data, &["key", "list"], "").await.1;
    assert!(list.contains(ledger.kid()), "{list}");
}

#[tokio::test]
async fn a_database_that_was_made_is_not_made_again_and_needs_its_data_key() {
    let folder = tempfile::tempdir().unwrap();
    let data = made(folder.path()).await;
    let start = async |key: Option<&str>| {
        let mut command = program(&data).await;
        command.args(["serve", "--gateways", "127.0.0.1:0", "--people", "127.0.0.1:0", "--data"]).arg(&data);
        if let Some(key) = key {
            command.env("HOLDGATE_DATA_KEY", key);
        }
        let output = command.output().await.unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let other = holdgate_protocol::b64url(&[1; 32]);
    let (code, error) = start(Some(&other)).await;
    assert!(code == 1 && error.contains("the database was made with another data key"), "{error}");
    let (code, error) = start(Some("short")).await;
    assert!(code == 1 && error.contains("`HOLDGATE_DATA_KEY`: key 1 is not the base64url of 32 bytes"), "{error}");
    std::fs::rename(data.join("data.key"), folder.path().join("away")).unwrap();
    let (code, error) = start(None).await;
    assert!(code == 1 && error.contains("there is no data key; set `HOLDGATE_DATA_KEY`"), "{error}");

    // Another folder beside the same database.
    let url = database::url(&data).await;
    if !url.starts_with("sqlite:") {
        let keys = folder.path().join("authors.jwks.json");
        let mut command = program(&data).await;
        command.args(["init", "--authors-keys"]).arg(keys).arg("--data").arg(folder.path().join("second"));
        let output = command.output().await.unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("the database was made already; `serve` it with its data key"), "{error}");
        // An instance with nothing but the address and the data key.
        let key = std::fs::read_to_string(folder.path().join("away")).unwrap();
        let mut command = program(&data).await;
        command.args(["serve", "--gateways", "127.0.0.1:0", "--people", "127.0.0.1:0", "--data"]);
        command.arg(folder.path().join("third")).env("HOLDGATE_DATA_KEY", key.trim());
        let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(child.stdout.take().unwrap()));
        let line = tokio::time::timeout(std::time::Duration::from_secs(20), lines.next_line()).await.unwrap();
        assert!(line.unwrap().unwrap().starts_with("gateways http://"));
        child.kill().await.unwrap();
    }
}
