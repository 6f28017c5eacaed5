//! The program itself: its command line, real sockets, signals, and what a kill leaves.

use std::{path::Path, process::Stdio, time::Duration};

use holdgate_protocol::jws::Jwks;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    process::{Child, Command},
};

use crate::{
    database,
    support::{World, authors, policy},
};

const DEADLINE: Duration = Duration::from_secs(20);

pub async fn program(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdgate-approval"));
    command.env("HOLDGATE_DATABASE_URL", database::url(data).await).env("RUST_LOG", "info").kill_on_drop(true);
    command
}

/// Runs to the end; gives the exit code, standard output and standard error.
pub async fn run(data: &Path, arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut command = program(data).await;
    command.args(arguments).arg("--data").arg(data);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program that refuses its arguments does not read.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes()).await;
    let output = tokio::time::timeout(DEADLINE, child.wait_with_output()).await.unwrap().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

pub struct Serving {
    pub child: Child,
    pub gateways: String,
    pub people: String,
}

pub async fn serve(data: &Path) -> Serving {
    serve_with(data, &[]).await
}

pub async fn serve_with(data: &Path, options: &[&str]) -> Serving {
    let mut command = program(data).await;
    command.args(["serve", "--gateways", "127.0.0.1:0", "--people", "127.0.0.1:0", "--data"]).arg(data).args(options);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut line = async |name: &str| {
        let line = tokio::time::timeout(DEADLINE, lines.next_line()).await.unwrap().unwrap().unwrap();
        line.strip_prefix(name).and_then(|rest| rest.strip_prefix(" http://")).unwrap().to_owned()
    };
    Serving { gateways: line("gateways").await, people: line("people").await, child }
}

pub async fn http(address: &str, method: &str, path: &str, credential: &str, body: &Value) -> (u16, String) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let bearer = format!("Bearer {credential}");
    ask(address, method, path, &[("authorization", bearer.as_str())], &body).await.unwrap()
}

/// Status and body of an answer; `None` where the other side was gone before it was through.
pub async fn ask(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Option<(u16, String)> {
    let answer = ask_whole(address, method, path, headers, body).await?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    // An answer that was cut off is none.
    (length.is_none_or(|length: usize| length == body.len())).then(|| (head[9..12].parse().unwrap(), body.to_owned()))
}

/// The same with its head.
pub async fn ask_whole(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await.ok()?;
    let mut answer = String::new();
    tokio::time::timeout(DEADLINE, stream.read_to_string(&mut answer)).await.unwrap().ok()?;
    answer.contains("\r\n\r\n").then_some(answer)
}

pub async fn made(folder: &Path) -> std::path::PathBuf {
    let (keys, directory, data) = (folder.join("authors.jwks.json"), folder.join("people.yaml"), folder.join("data"));
    std::fs::write(&keys, json!(Jwks { keys: vec![authors().to_public_jwk()] }).to_string()).unwrap();
    let people = "format: 1\npeople:\n  - {id: alice, name: Alice Archer, eligibility: [{role: iam, scope: \"*\"}]}
  - {id: olivia, name: Olivia Owens, links: [{iss: \"https://idp.example\", sub: olivia}]}\n";
    std::fs::write(&directory, people).unwrap();
    let (keys, directory) = (keys.to_str().unwrap(), directory.to_str().unwrap());
    let init = ["init", "--authors-keys", keys, "--directory", directory];
    let (code, _, error) = run(&data, &init, "").await;
    assert_eq!(code, 0, "{error}");
    let (code, _, error) = run(&data, &init, "").await;
    assert!(code == 1 && error.contains("is a data folder already"), "{error}");
    data
}

#[tokio::test]
async fn a_first_start_serves_and_a_kill_loses_no_hold() {
    let folder = tempfile::tempdir().unwrap();
    let data = made(folder.path()).await;
    #[cfg(unix)]
    for (file, mode) in [("", 0o700), ("data.key", 0o600)] {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(data.join(file)).unwrap().permissions().mode() & 0o777, mode, "{file}");
    }
    let (code, gateway, _) = run(&data, &["gateway", "add", "edge"], "").await;
    assert_eq!((code, gateway.lines().count()), (0, 1));
    let gateway = gateway.trim();
    let publisher = run(&data, &["publisher", "add", "ci"], "").await.1;
    let (code, output, _) = run(&data, &["person", "set-password", "alice"], "correct horse\n").await;
    assert_eq!((code, output.as_str()), (0, ""));

    let mut serving = serve(&data).await;
    for address in [&serving.gateways, &serving.people] {
        assert_eq!(http(address, "GET", "/healthz", "", &Value::Null).await.0, 200);
    }
    #[cfg(unix)]
    for file in database::FILES {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(data.join(file)).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
    let (signed, reference) = policy(1, |_| {});
    let path = format!("/api/bundles/{}", reference.rev);
    assert_eq!(http(&serving.people, "PUT", &path, publisher.trim(), &json!(signed)).await.0, 201);
    let ask = json!(World::new().await.ask(&["one"], "a"));
    let (status, opened) = http(&serving.gateways, "POST", "/v1/holds", gateway, &ask).await;
    assert_eq!(status, 201, "{opened}");
    // A credential that is made while the service runs is valid at once.
    let second = run(&data, &["gateway", "add", "edge"], "").await.1;
    assert_eq!(http(&serving.gateways, "GET", "/v1/state", second.trim(), &Value::Null).await.0, 200);

    serving.child.start_kill().unwrap();
    serving.child.wait().await.unwrap();
    let serving = serve(&data).await;
    let (status, joined) = http(&serving.gateways, "POST", "/v1/holds", gateway, &ask).await;
    let hold = |text: &str| serde_json::from_str::<Value>(text).unwrap()["hold"].clone();
    assert_eq!((status, hold(&joined)), (200, hold(&opened)));
}

#[tokio::test]
async fn an_agent_is_suspended_while_the_service_runs() {
    let folder = tempfile::tempdir().unwrap();
    let data = made(folder.path()).await;
    let gateway = run(&data, &["gateway", "add", "edge"], "").await.1;
    let publisher = run(&data, &["publisher", "add", "ci"], "").await.1;
    let serving = serve(&data).await;
    let (signed, reference) = policy(1, |_| {});
    let path = format!("/api/bundles/{}", reference.rev);
    assert_eq!(http(&serving.people, "PUT", &path, publisher.trim(), &json!(signed)).await.0, 201);
    let world = World::new().await;
    let open = async |body: &str| {
        http(&serving.gateways, "POST", "/v1/holds", gateway.trim(), &json!(world.ask(&["one"], body))).await
    };
    assert_eq!(open("a").await.0, 201);
    let poll = {
        let (address, gateway) = (serving.gateways.clone(), gateway.trim().to_owned());
        tokio::spawn(async move { http(&address, "GET", "/v1/feed?after=1&wait=30", &gateway, &Value::Null).await })
    };
    assert_eq!(http(&serving.gateways, "GET", "/healthz", "", &Value::Null).await.0, 200);
    let bot = |task| ["agent", task, "https://idp.example", "bot", "--reason", "leaked key"];
    let (code, output, error) = run(&data, &bot("suspend"), "").await;
    assert_eq!((code, output.as_str()), (0, "suspended `bot`; open holds that were cancelled: 1\n"), "{error}");
    let page: Value = serde_json::from_str(&poll.await.unwrap().1).unwrap();
    assert_eq!((&page["items"][0]["type"], &page["items"][0]["suspended"]), (&json!("agent"), &json!(true)), "{page}");
    assert_eq!(page["items"][1]["cause"], "suspended");
    assert_eq!(open("a").await.0, 403);
    assert_eq!(run(&data, &bot("suspend"), "").await.1, "`bot` is suspended already\n");
    let (code, output, _) = run(&data, &bot("resume"), "").await;
    assert_eq!((code, output.as_str()), (0, "resumed `bot`\n"));
    assert_eq!(open("a").await.0, 201);
    let (code, _, error) = run(&data, &bot("resume"), "").await;
    assert!(code == 1 && error.contains("no agent `bot` of `https://idp.example` is suspended"), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_signal_stops_it_within_two_seconds_even_while_gateways_wait() {
    let folder = tempfile::tempdir().unwrap();
    let data = made(folder.path()).await;
    let gateway = run(&data, &["gateway", "add", "edge"], "").await.1;
    let mut serving = serve(&data).await;
    let poll = {
        let (address, gateway) = (serving.gateways.clone(), gateway.trim().to_owned());
        tokio::spawn(async move { http(&address, "GET", "/v1/feed?after=0&wait=30", &gateway, &Value::Null).await })
    };
    // A second answer on the same listener says that the first request was taken in.
    assert_eq!(http(&serving.gateways, "GET", "/healthz", "", &Value::Null).await.0, 200);
    let id = serving.child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
    let stopped = tokio::time::timeout(Duration::from_secs(2), serving.child.wait()).await;
    assert!(stopped.expect("it stops in time").unwrap().success());
    assert_eq!(poll.await.unwrap(), (200, r#"{"next":0,"items":[]}"#.to_owned()));
}

#[tokio::test]
async fn gateways_may_speak_http_2_without_tls() {
    let folder = tempfile::tempdir().unwrap();
    let serving = serve(&made(folder.path()).await).await;
    let mut stream = TcpStream::connect(&serving.gateways).await.unwrap();
    // The client's preface (RFC 9113 section 3.4) and an empty SETTINGS frame.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut frame = [0; 9];
    tokio::time::timeout(DEADLINE, stream.read_exact(&mut frame)).await.unwrap().unwrap();
    assert_eq!(frame[3], 4, "the server answers with its SETTINGS");
}

#[tokio::test]
async fn sign_in_provider_comes_from_a_file_that_fits_the_cookies() {
    let folder = tempfile::tempdir().unwrap();
    let data = made(folder.path()).await;
    let write = |name: &str, public: &str| {
        let file = folder.path().join(name);
        let text = "{format: 1, issuer: 'http://127.0.0.1:9', name: Example ID, client_id: a, public_url: PUBLIC}";
        std::fs::write(&file, text.replace("PUBLIC", &format!("'{public}'"))).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let (plain, tls) = (write("plain.yaml", "http://127.0.0.1:8"), write("tls.yaml", "https://approvals.example"));
    for (arguments, words) in [
        (vec!["serve", "--oidc", "missing.yaml"], "`missing.yaml` cannot be read"),
        (vec!["serve", "--oidc", &tls], "`public_url` is https, and cookies are not made for that: add `--secure-cookies`"),
        (vec!["serve", "--secure-cookies", "--oidc", &plain], "`public_url` is http"),
    ] {
        let (code, _, error) = run(&data, &arguments, "").await;
        assert!(code == 1 && error.contains(words) && error.lines().count() == 1, "{arguments:?}: {error}");
    }
    // The provider need not be there.
    let serving = serve_with(&data, &["--oidc", &plain]).await;
    let (status, page) = http(&serving.people, "GET", "/signin", "", &Value::Null).await;
    assert!(status == 200 && page.contains("Sign in with Example ID"), "{status} {page}");
}

#[tokio::test]
async fn bad_input_gets_one_line_that_says_what_to_mend() {
    let folder = tempfile::tempdir().unwrap();
    let data = made(folder.path()).await;
    let keys = folder.path().join("authors.jwks.json");
    let check = async |data: &Path, arguments: &[&str], input: &str, code: i32, words: &str| {
        let (found, output, error) = run(data, arguments, input).await;
        assert_eq!((found, output.as_str()), (code, ""), "{arguments:?}: {error}");
        assert!(error.contains(words), "{arguments:?}: {error}");
        assert!(code == 2 || error.lines().count() == 1, "{error}");
    };
    let nowhere = folder.path().join("nowhere");
    check(&nowhere, &["gateway", "add", "edge"], "", 1, "is no data folder; make one with").await;
    check(&nowhere, &["serve"], "", 1, "is no data folder").await;
    check(&nowhere, &["init", "--authors-keys", "missing.json"], "", 1, "`missing.json` cannot be read").await;
    check(&data, &["gateway", "add", "a b"], "", 1, "group `a b`: use 1 to 64 letters").await;
    check(&data, &["person", "set-password", "bob"], "long enough\n", 1, "no person has the id `bob`").await;
    check(&data, &["person", "set-password", "alice"], "short\n", 1, "at least 8 characters").await;
    check(&data, &["gateway", "remove"], "", 2, "Usage").await;
    check(&data, &["agent", "suspend", "", "bot"], "", 1, "issuer and its subject; neither is empty").await;
    for quota in ["agent", "agent.open", "agent.open=x", "agent.open=-1", "agent.day=1", "=1"] {
        check(&data, &["serve", "--quota", quota], "", 2, "use NAME=NUMBER, where NAME is").await;
    }
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    check(&data, &["serve", "--gateways", &address], "", 1, &format!("cannot listen on `{address}`")).await;
    let directories = [
        ("format: 2", "has format 2; this version reads format 1"),
        ("format: 1\npeople: [{id: a, name: A, rank: 1}]", "is not a directory file"),
        ("format: 1\npeople: [{id: a b, name: A}]", "people[0] `a b`: an id has"),
        ("format: 1\npeople: [{id: a, name: A, password_hash: x}]", "`password_hash`: not an argon2id hash"),
        (
            "format: 1\npeople: [{id: a, name: A, eligibility: [{role: r, scope: '*', from: soon}]}]",
            "`soon` is neither",
        ),
        ("format: 1\ngroups: [{id: g, name: G, members: [a]}]", "groups[0] `g`: `a` is none of the people"),
    ];
    for (text, words) in directories {
        let file = folder.path().join("directory.yaml");
        std::fs::write(&file, text).unwrap();
        let arguments = ["init", "--authors-keys", keys.to_str().unwrap(), "--directory", file.to_str().unwrap()];
        check(&nowhere, &arguments, "", 1, words).await;
        assert!(!nowhere.exists(), "a refused first start leaves nothing");
    }
}
