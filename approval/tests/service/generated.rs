//! What a generator makes of `openapi.yaml`: bodies, queries and paths that are right, wrong, long and strange, thousands of them. Whatever is sent,
//! the answer is one that the document has, with the body that it has, and never an error of the service's own.

use std::{process::Stdio, time::Duration};

use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    process::{ask, http, made, run, serve},
    support::{PASSWORD, policy},
};

/// What is looked at. Which requests are valid the document tells roughly only (base64, patterns in texts), so that is not among it.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,unsupported_method";

/// The longest time for one of the runs.
const LONG: Duration = Duration::from_secs(240);

async fn generate(address: &str, token: &str, paths: [&str; 2]) {
    let program = std::env::var("HOLDGATE_SCHEMATHESIS").unwrap_or_default();
    assert!(!program.is_empty(), "HOLDGATE_SCHEMATHESIS names no schemathesis: `cargo xtask test` fetches it");
    let mut command = Command::new(program);
    command
        .arg("run")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.yaml"))
        .args(["--url", &format!("http://{address}")]);
    command.args(["-H", &format!("Authorization: Bearer {token}"), "-c", CHECKS, "--max-examples", "8", "--seed", "1"]);
    command.args(["--phases", "coverage,fuzzing", "--include-path-regex", paths[0], "--exclude-path-regex", paths[1]]);
    let folder = tempfile::tempdir().unwrap();
    command.current_dir(folder.path()).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(LONG, command.output()).await.unwrap().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && told.contains(" generated, "),
        "{told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test]
async fn whatever_is_sent_the_answer_is_one_of_the_document() {
    let folder = tempfile::tempdir().unwrap();
    let data = made(folder.path()).await;
    let gateway = run(&data, &["gateway", "add", "edge"], "").await.1;
    let publisher = run(&data, &["publisher", "add", "ci"], "").await.1;
    for arguments in
        [&["person", "add", "ann", "--name", "Ann Adams"][..], &["eligibility", "grant", "ann", "holdgate-admin"]]
    {
        let (code, _, error) = run(&data, arguments, "").await;
        assert_eq!(code, 0, "{error}");
    }
    run(&data, &["person", "set-password", "ann"], &format!("{PASSWORD}\n")).await;
    let serving = serve(&data).await;
    let (signed, reference) = policy(1, |_| {});
    let path = format!("/api/bundles/{}", reference.rev);
    assert_eq!(http(&serving.people, "PUT", &path, publisher.trim(), &json!(signed)).await.0, 201);
    let body = json!({"person": "ann", "password": PASSWORD}).to_string();
    let (status, session) = ask(&serving.people, "POST", "/api/sessions", &[], &body).await.unwrap();
    assert_eq!(status, 201, "{session}");
    let session: Value = serde_json::from_str(&session).unwrap();
    // Long polls only wait; the end of the session, and what a publisher may, are tested elsewhere.
    generate(&serving.gateways, gateway.trim(), ["^/v1/", "feed|tasks"]).await;
    generate(&serving.people, session["token"].as_str().unwrap(), ["^/api/", "sessions|bundles"]).await;
    assert_eq!(http(&serving.gateways, "GET", "/readyz", "", &Value::Null).await.0, 200);
}
