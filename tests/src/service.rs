//! The approval service alone, as a real process, and the command line that asks it.

use std::{
    io::Write as _,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::{
    http,
    stack::{Places, Ports, Process},
    until,
};

/// The issuer of the agents, to which people are linked.
pub const ISSUER: &str = "https://conformance.example";

/// Everybody's password.
pub const PASSWORD: &str = "correct horse battery";

/// Who answers for the agents.
pub const OWNER: &str = "olivia";

/// One approval each, two roles, a rule that lets pass, and one in shadow mode.
const POLICY: &str = "\
format: 1
policy: desk
owner: desk@example.com
controls: [nist-csf-2.0/PR.AA-05]
approvers: {approver: {}, lead: {}}
rules:
  - id: desk.read
    effect: allow
    match:
      - http: {methods: [GET], path: /**}
  - id: desk.write
    effect: hold
    reason: Writes are looked at by a person.
    match:
      - http: {methods: [POST], path: /**}
    approval:
      factors: [{role: approver, approvals: 1}]
      decide_within: 30m
      use_within: 10m
  - id: desk.delete
    effect: hold
    match:
      - http: {methods: [DELETE], path: /**}
    approval:
      factors: [{role: approver, approvals: 1}, {role: lead, approvals: 1}]
      decide_within: 30m
      use_within: 10m
      reason: required
tests:
  - name: a write is held
    request: {agent: {}, http: {method: POST, path: /users}}
    expect: {effect: hold, rule: desk.write}
";

/// A running service with two gateway groups (`edge`, `other`), three persons and a policy.
pub struct Service {
    pub gateways: SocketAddr,
    pub people: SocketAddr,
    pub process: Process,
    pub places: Places,
    /// Credentials of the groups `edge` and `other`.
    pub credentials: [String; 2],
    folder: tempfile::TempDir,
}

/// How a run of the command line ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Standard output as JSON; null where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_default()
    }
}

impl Service {
    pub async fn start() -> Result<Self> {
        let (places, ports) = (Places::find()?, Ports::choose(None)?);
        let folder = tempfile::Builder::new().prefix("holdgate-desk-").tempdir()?;
        let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text);
        let data = path("data");
        write("policy.yaml", POLICY)?;
        write("directory.yaml", &directory().to_string())?;
        places.holdgate(&["keygen", "--out", &path("authors")])?;
        places.holdgate(&["build", &path("policy.yaml"), "--out", &path("bundle"), "--sign", &path("authors.jwk")])?;
        let (authors, people) = (path("authors.jwks.json"), path("directory.yaml"));
        places.approval(&["init", "--data", &data, "--authors-keys", &authors, "--directory", &people], None)?;
        let add = |kind: &str, name: &str| places.approval(&[kind, "add", name, "--data", &data], None);
        let (credentials, publisher) = ([add("gateway", "edge")?, add("gateway", "other")?], add("publisher", "ci")?);
        for person in ["alice", "bob", OWNER] {
            places.approval(&["person", "set-password", person, "--data", &data], Some(PASSWORD))?;
        }
        let (gateways, people) = (ports.service(), ports.people());
        let arguments =
            ["serve", "--data", &data, "--gateways", &gateways.to_string(), "--people", &people.to_string()];
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let mut process = Process::new("approval", places.approval_binary(), arguments, folder.path());
        process.start()?;
        until("the approval service", Duration::from_secs(60), async || {
            http::get(gateways, "/healthz").await.is_ok_and(|answer| answer.status == 200).then_some(())
        })
        .await?;
        let to = format!("http://{people}");
        let publish = ["publish", &path("bundle"), "--to", &to, "--yes"];
        places.holdgate_with(&publish, &[("HOLDGATE_PUBLISHER_CREDENTIAL", &publisher)])?;
        Ok(Service { gateways, people, process, places, credentials, folder })
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The public keys of grants.
    pub fn grant_keys(&self) -> String {
        self.folder().join("data/grant.jwks.json").to_string_lossy().into_owned()
    }

    /// A command that keeps its state in the folder of this service, and knows nobody.
    pub fn holdgate(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.places.holdgate_binary());
        command.args(arguments).current_dir(self.folder());
        command
            .env("XDG_STATE_HOME", self.folder().join("state"))
            .env("HOLDGATE_SERVICE", format!("http://{}", self.people));
        for name in ["HOLDGATE_TOKEN", "HOLDGATE_GATEWAY_CREDENTIAL", "HOLDGATE_OTHER_GATEWAY_CREDENTIAL"] {
            command.env_remove(name);
        }
        command
    }

    /// Runs a command to its end, with this on its standard input.
    pub async fn run(&self, mut command: Command, input: &str) -> Result<Ran> {
        let input = input.to_owned();
        let output = tokio::task::spawn_blocking(move || -> Result<_> {
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().context("`holdgate` cannot be run")?;
            if let Some(stdin) = child.stdin.as_mut() {
                // A command that refuses its arguments does not read.
                let _ = stdin.write_all(input.as_bytes());
            }
            drop(child.stdin.take());
            Ok(child.wait_with_output()?)
        })
        .await??;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let code = output.status.code().unwrap_or(-1);
        Ok(Ran { code, stdout: text(output.stdout), stderr: text(output.stderr) })
    }

    /// A session token of a person.
    pub async fn token(&self, person: &str) -> Result<String> {
        let body = json!({"person": person, "password": PASSWORD}).to_string();
        let request = hyper::Request::post("/api/sessions")
            .header("host", self.people.to_string())
            .header("content-length", body.len())
            .body(http::Payload::whole(body.into()))?;
        let answer = http::exchange(self.people, request).await?;
        let token = answer.json().get("token").and_then(Value::as_str).map(str::to_owned);
        token.with_context(|| format!("{person} cannot sign in: {} {}", answer.status, answer.text()))
    }
}

/// JSON is YAML too.
fn directory() -> Value {
    let person = |(id, name, roles): (&str, &str, &[&str])| {
        let eligibility: Vec<Value> = roles.iter().map(|role| json!({"role": role, "scope": "*"})).collect();
        json!({"id": id, "name": name, "links": [{"iss": ISSUER, "sub": id}], "eligibility": eligibility})
    };
    let people = [
        ("alice", "Alice Archer", &["approver", "holdgate-auditor"][..]),
        ("bob", "Bob Baker", &["lead"]),
        (OWNER, "Olivia Owens", &["approver", "lead"]),
    ];
    json!({"format": 1, "people": people.map(person), "groups": []})
}
