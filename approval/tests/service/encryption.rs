//! What was captured is read by whoever has the data key, and by nobody else.

use std::sync::Arc;

use holdgate_approval::{
    keys::{KeysError, ServiceKeys},
    sealing::{DataKeys, SealError},
    service::{Service, Settings},
    store::{Database, StoreError, holds},
};
use holdgate_protocol::b64url;

use crate::{
    database::{Sql, everything},
    support::{World, data_keys},
};

const SECRET: &str = "once upon a time a secret";

fn keys(bytes: &[u8]) -> Arc<DataKeys> {
    let texts: Vec<String> = bytes.iter().map(|byte| b64url(&[*byte; 32])).collect();
    Arc::new(DataKeys::parse(&texts.join(","), "test").unwrap())
}

async fn held(world: &World, body: &str) -> String {
    let mut ask = world.ask(&["one"], body);
    ask.request.fields.push(("x-note".into(), SECRET.into()));
    world.open(&ask).await.1.hold
}

async fn note(world: &World, hold: &str, keys: &DataKeys) -> Result<String, StoreError> {
    let captured = holds::captured(&mut world.service.store.read().await.unwrap(), hold, keys).await?;
    Ok(captured.unwrap().fields.last().unwrap().1.clone())
}

async fn sql(world: &World, statements: &[String]) {
    world.service.store.write(Sql(statements.to_vec())).await.unwrap();
}

/// The service again, with other data keys.
async fn with(world: &World, data: Arc<DataKeys>) -> Result<Service, KeysError> {
    let store = Database::open(&world.url, false).await.unwrap();
    let keys = ServiceKeys::load(&store, data).await?;
    Ok(Service::new(store, Arc::new(world.clock.clone()), keys, "holdgate-approval", Settings::default()).unwrap())
}

async fn captures_with(world: &World, keys: &DataKeys) -> u64 {
    world.number(format!("SELECT count(*) AS n FROM captures WHERE sealed_with = '{}'", keys.first())).await
}

fn contains(bytes: &[u8], text: &str) -> bool {
    // PostgreSQL shows bytes in hex.
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    [text, &hex].iter().any(|part| bytes.windows(part.len()).any(|some| some == part.as_bytes()))
}

#[tokio::test]
async fn a_capture_is_in_no_file_and_no_table() {
    let world = World::new().await;
    let hold = held(&world, "a").await;
    let private = world.service.keys().grant(world.service.now()).unwrap().to_private_jwk().d.unwrap();
    for kept in everything(&world).await {
        for text in [SECRET, &private] {
            assert!(!contains(&kept, text));
        }
    }
    assert_eq!(note(&world, &hold, &data_keys()).await.unwrap(), SECRET);
    let page = world.sign_in("alice").await.get(&format!("/api/holds/{hold}")).await;
    assert!(page.text.contains(SECRET), "a reviewer sees it");
}

#[tokio::test]
async fn a_capture_that_was_changed_or_moved_is_not_shown() {
    let world = World::new().await;
    let (first, second) = (held(&world, "a").await, held(&world, "b").await);
    let moved = format!(
        "UPDATE captures SET request = (SELECT request FROM captures WHERE hold = '{first}') WHERE hold = '{second}'"
    );
    sql(&world, &[moved]).await;
    let broken = |result| matches!(result, Err(StoreError::Sealed(SealError::Broken)));
    assert!(broken(note(&world, &second, &data_keys()).await));
    assert_eq!(note(&world, &first, &data_keys()).await.unwrap(), SECRET);
    let page = world.sign_in("alice").await.get(&format!("/api/holds/{second}")).await;
    assert_eq!(page.status, 503);
    assert!(!page.text.contains("once upon"));
    let other = matches!(note(&world, &first, &keys(&[6])).await, Err(StoreError::Sealed(SealError::UnknownKey(_))));
    assert!(other);
}

#[test]
fn each_byte_of_a_sealed_text_counts() {
    let keys = data_keys();
    let sealed = keys.seal("here", b"text").unwrap();
    assert_eq!(keys.open("here", &sealed).unwrap(), b"text");
    assert!(keys.open("there", &sealed).is_err());
    for index in 0..sealed.len() {
        let mut other = sealed.clone();
        other[index] ^= 1;
        assert!(keys.open("here", &other).is_err(), "byte {index}");
        assert!(keys.open("here", &sealed[..index]).is_err(), "{index} bytes");
    }
    assert_ne!(keys.seal("here", b"text").unwrap(), sealed, "no nonce comes twice");
}

#[tokio::test]
async fn captures_of_an_older_version_are_read_and_then_sealed() {
    let world = World::new().await;
    let mut older = Vec::new();
    for number in 0..45 {
        older.push(held(&world, &number.to_string()).await);
    }
    let request = world.ask(&["one"], "a").request;
    let plain = format!("{{\"method\":\"POST\",\"scheme\":\"https\",\"authority\":\"a\",\"path\":\"/\",\"query\":null,\
        \"fields\":[[\"x-note\",\"{SECRET}\"]],\"body\":{{\"b64\":null,\"size\":{},\"redacted\":[]}}}}", request.body.size);
    let hex: String = plain.bytes().map(|byte| format!("{byte:02x}")).collect();
    let bytes = if world.url.starts_with("sqlite:") { format!("x'{hex}'") } else { format!("'\\x{hex}'") };
    sql(&world, &[format!("UPDATE captures SET sealed_with = '', request = {bytes}")]).await;
    assert!(everything(&world).await.iter().any(|kept| contains(kept, SECRET)));
    assert_eq!(note(&world, &older[0], &data_keys()).await.unwrap(), SECRET, "it is read as it is");
    assert_eq!(world.service.seal_anew().await.unwrap(), 45);
    for hold in &older {
        assert_eq!(note(&world, hold, &data_keys()).await.unwrap(), SECRET);
    }
    assert_eq!(world.service.seal_anew().await.unwrap(), 0);
    let cleared = async {
        // The answer comes before the file is cleared.
        while everything(&world).await.iter().any(|kept| contains(kept, SECRET)) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), cleared).await.expect("the plain text goes");
}

#[tokio::test]
async fn data_keys_are_rotated() {
    let world = World::new().await;
    let hold = held(&world, "a").await;
    assert!(matches!(with(&world, keys(&[6])).await, Err(KeysError::OtherDataKey(SealError::UnknownKey(_)))));
    // First it opens at all instances, then it seals, then the old one goes.
    drop(with(&world, keys(&[5, 6])).await.unwrap());
    let service = with(&world, keys(&[6, 5])).await.unwrap();
    let grant = service.keys().grant(service.now()).unwrap().kid().to_owned();
    assert_eq!(captures_with(&world, &keys(&[5])).await, 1);
    assert!(matches!(with(&world, keys(&[6])).await, Err(KeysError::OtherDataKey(_))), "it is too early");
    assert_eq!(service.seal_anew().await.unwrap(), 1);
    assert_eq!(captures_with(&world, &keys(&[6])).await, 1);
    drop(service);
    let service = with(&world, keys(&[6])).await.unwrap();
    assert_eq!(service.keys().grant(service.now()).unwrap().kid(), grant);
    assert_eq!(note(&world, &hold, &keys(&[6])).await.unwrap(), SECRET);
    assert!(matches!(with(&world, keys(&[5])).await, Err(KeysError::OtherDataKey(_))), "the old one opens nothing");
    // One instance went on with the old key: its captures are not forgotten.
    held(&world, "b").await;
    let left = with(&world, keys(&[6])).await;
    assert!(matches!(left, Err(KeysError::MissingDataKey { captures: 1, .. })));
}
