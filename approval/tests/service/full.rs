//! The disk is full: a clear answer, nothing that was answered is lost, and once there is room it goes on without a hand.

use std::{path::Path, process::Stdio, time::Duration};

use holdgate_approval::random;
use holdgate_protocol::{b64, jws::Jwks};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};

use crate::{
    process::ask,
    support::{World, agent, attempt, authors, policy},
};

/// Makes a data folder on a small disk of its own, with something on it that can be taken away, and serves it.
const SCRIPT: &str = r#"
set -e
mkdir -p "$DATA" && mount -t tmpfs -o size=6m tmpfs "$DATA"
"$PROGRAM" init --data "$DATA/data" --authors-keys "$FOLDER/authors.jwks.json" >/dev/null
"$PROGRAM" gateway add edge --data "$DATA/data" > "$FOLDER/gateway"
"$PROGRAM" publisher add ci --data "$DATA/data" > "$FOLDER/publisher"
head -c 3145728 /dev/zero > "$DATA/ballast"
exec "$PROGRAM" serve --gateways 127.0.0.1:0 --people 127.0.0.1:0 --data "$DATA/data"
"#;

#[tokio::test]
async fn a_full_disk_is_told_and_room_is_enough_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let jwks = json!(Jwks { keys: vec![authors().to_public_jwk()] }).to_string();
    std::fs::write(folder.path().join("authors.jwks.json"), jwks).unwrap();
    let disk = folder.path().join("disk");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--map-root-user", "sh", "-c", SCRIPT]).env("DATA", &disk).env("FOLDER", folder.path());
    command.env("PROGRAM", env!("CARGO_BIN_EXE_holdgate-approval")).env_remove("HOLDGATE_DATABASE_URL");
    let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut address = async || {
        let line = tokio::time::timeout(Duration::from_secs(30), lines.next_line()).await.unwrap().unwrap();
        line.unwrap_or_else(|| panic!("the script ended: it needs `unshare` and `mount`"))
            .split_once("http://")
            .unwrap()
            .1
            .to_owned()
    };
    let (gateways, people) = (address().await, address().await);
    let secret = |name: &str| {
        let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
        format!("Bearer {}", text.trim())
    };
    let (gateway, publisher) = (secret("gateway"), secret("publisher"));
    let (signed, reference) = policy(1, |_| {});
    let headers = [("authorization", publisher.as_str())];
    let path = format!("/api/bundles/{}", reference.rev);
    assert_eq!(ask(&people, "PUT", &path, &headers, &json!(signed).to_string()).await.unwrap().0, 201);

    let world = World::new().await;
    let open = async |number: u64| {
        // Random, so that it takes as much room as it is long.
        let mut asked = world.ask(&["one"], &format!("{number}"));
        asked.request.body.b64 = Some(b64(&random::bytes::<49_152>().unwrap()));
        asked.attempt = attempt(number);
        let headers = [("authorization", gateway.as_str())];
        ask(&gateways, "POST", "/v1/holds", &headers, &json!(asked).to_string()).await.unwrap()
    };
    let mut holds = Vec::new();
    let refused = loop {
        let (status, text) = open(holds.len() as u64).await;
        if status != 201 {
            break (status, text);
        }
        holds.push(serde_json::from_str::<Value>(&text).unwrap()["hold"].as_str().unwrap().to_owned());
        assert!(holds.len() < 200, "the disk is not small");
    };
    assert!(holds.len() > 3, "it was full from the start");
    let problem: Value = serde_json::from_str(&refused.1).unwrap();
    assert_eq!((refused.0, &problem["error"]), (503, &json!("unavailable")), "{problem}");
    // What needs no room is answered still.
    let get =
        async |path: &str| ask(&gateways, "GET", path, &[("authorization", gateway.as_str())], "").await.unwrap().0;
    assert_eq!(get("/v1/state").await, 200);
    assert_eq!(open(1000).await.0, 503, "and what does need it is not");

    let ballast = Path::new("/proc").join(child.id().unwrap().to_string()).join("root");
    std::fs::remove_file(ballast.join(disk.strip_prefix("/").unwrap()).join("ballast")).unwrap();
    let (status, text) = open(1001).await;
    assert_eq!(status, 201, "{text}");
    for hold in &holds {
        assert_eq!(get(&format!("/v1/tasks/{hold}?agent={}", agent().key())).await, 200, "{hold} was answered");
    }
    child.start_kill().unwrap();
    child.wait().await.unwrap();
}
