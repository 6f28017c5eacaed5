//! The program's settings, what it says in its logs, and how it stops.

use std::{path::Path, process::Stdio, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::{Child, Command},
};

use crate::{
    database,
    process::{http, made, run},
    receiver::{Receiver, SECRET},
    support::{World, policy},
};

const DEADLINE: Duration = Duration::from_secs(20);

struct Running {
    child: Child,
    addresses: Vec<(String, String)>,
}

impl Running {
    fn address(&self, name: &str) -> &str {
        &self.addresses.iter().find(|(known, _)| known == name).unwrap().1
    }
}

/// Serves with these arguments and variables; ready after so many lines.
async fn serve(data: &Path, arguments: &[&str], variables: &[(&str, &str)], lines: usize) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdgate-approval"));
    command.env("HOLDGATE_DATABASE_URL", database::url(data).await).env("RUST_LOG", "trace").kill_on_drop(true);
    command.arg("serve").args(arguments).envs(variables.iter().copied());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut addresses = Vec::new();
    for _ in 0..lines {
        let line = tokio::time::timeout(DEADLINE, output.next_line()).await.unwrap().unwrap().unwrap();
        let (name, address) = line.split_once(" http://").unwrap();
        addresses.push((name.to_owned(), address.to_owned()));
    }
    Running { child, addresses }
}

async fn terminate(child: &mut Child) {
    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
}

#[tokio::test]
async fn arguments_count_before_the_environment_and_that_before_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let data = made(folder.path()).await;
    let config = folder.path().join("config.yaml");
    let text = format!("data: {}\ngateways: 127.0.0.1:0\npeople: 127.0.0.1:1\nmetrics: 127.0.0.1:1\nquota: [agent.open=7, rule.open=9]\nsecure-cookies: true\n", data.display());
    std::fs::write(&config, text).unwrap();
    let path = config.to_str().unwrap();
    let variables = [("HOLDGATE_PEOPLE", "127.0.0.1:1"), ("HOLDGATE_METRICS", "127.0.0.1:0")];
    let running = serve(&data, &["--config", path, "--people", "127.0.0.1:0"], &variables, 3).await;
    for name in ["gateways", "people"] {
        assert_eq!(http(running.address(name), "GET", "/readyz", "", &Value::Null).await, (200, "ready\n".into()));
    }
    let (status, text) = http(running.address("metrics"), "GET", "/metrics", "", &Value::Null).await;
    assert!(status == 200 && text.contains("holdgate_ledger_entries "), "{text}");
    assert_eq!(http(running.address("people"), "GET", "/metrics", "", &Value::Null).await.0, 404);
    drop(running);

    for (text, words) in [
        ("secure_cookies: true", "no setting is called `secure_cookies`; use `secure-cookies`"),
        ("database: x", "no setting is called `database`; there are data, "),
        ("config: x", "no setting is called `config`"),
        ("gateways: [a, b]", "`gateways` is a text, a number, or"),
        ("[1]", "is not a list of settings"),
    ] {
        std::fs::write(&config, text).unwrap();
        let (code, _, error) = run(&data, &["serve", "--config", path], "").await;
        assert!(code == 1 && error.contains(words) && error.contains(path), "{text}: {error}");
    }
    std::fs::write(&config, "gateways: nowhere").unwrap();
    let (code, _, error) = run(&data, &["serve", "--config", path], "").await;
    assert!(code == 2 && error.contains("nowhere"), "{error}");
    let (code, _, error) = run(&data, &["serve", "--notices", "missing.yaml"], "").await;
    assert!(code == 1 && error.contains("`missing.yaml` cannot be read"), "{error}");
}

/// Under load: what was answered is kept, what was asked is answered, and no secret is in the log of all levels.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_stops_under_load_without_losing_an_answer_and_its_log_tells_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let data = made(folder.path()).await;
    let gateway = run(&data, &["gateway", "add", "edge"], "").await.1.trim().to_owned();
    let publisher = run(&data, &["publisher", "add", "ci"], "").await.1.trim().to_owned();
    run(&data, &["person", "set-password", "alice"], "very-secret-password\n").await;
    let receiver = Receiver::new([]).await;
    let notices = folder.path().join("notices.yaml");
    let url = receiver.url.replace("/hook", "/hook?hidden-in-the-address");
    let file = format!("hosts: [127.0.0.1]\nhooks: [{{id: chat, url: '{url}', secret_env: HOOK_SECRET}}]\n");
    std::fs::write(&notices, file).unwrap();
    let (notices, folder_data) = (notices.to_str().unwrap(), data.to_str().unwrap());
    let any = "127.0.0.1:0";
    let arguments = ["--data", folder_data, "--gateways", any, "--people", any, "--notices", notices];
    let mut running = serve(&data, &arguments, &[("HOOK_SECRET", SECRET)], 2).await;
    let mut errors = running.child.stderr.take().unwrap();
    let log = tokio::spawn(async move {
        let mut text = String::new();
        errors.read_to_string(&mut text).await.unwrap();
        text
    });
    let (gateways, people) = (running.address("gateways").to_owned(), running.address("people").to_owned());
    let (signed, reference) = policy(1, |_| {});
    let path = format!("/api/bundles/{}", reference.rev);
    assert_eq!(http(&people, "PUT", &path, &publisher, &json!(signed)).await.0, 201);
    let world = World::new().await;
    let loads: Vec<_> = (0..4)
        .map(|worker| {
            let (gateways, gateway) = (gateways.clone(), gateway.clone());
            let asks: Vec<Value> =
                (0..25).map(|number| json!(world.ask(&["one"], &format!("{worker} {number}")))).collect();
            tokio::spawn(async move {
                let mut held = Vec::new();
                for ask in asks {
                    // Once it listens no more, there is no connection; one that was taken is answered.
                    if tokio::net::TcpStream::connect(&gateways).await.is_err() {
                        break;
                    }
                    let asked = tokio::spawn({
                        let (gateways, gateway) = (gateways.clone(), gateway.clone());
                        async move { http(&gateways, "POST", "/v1/holds", &gateway, &ask).await }
                    });
                    let Ok((status, text)) = asked.await else { break };
                    assert_eq!(status, 201, "{text}");
                    held.push(serde_json::from_str::<Value>(&text).unwrap()["hold"].as_str().unwrap().to_owned());
                }
                held
            })
        })
        .collect();
    let poll = {
        let (gateways, gateway) = (gateways.clone(), gateway.clone());
        tokio::spawn(async move { http(&gateways, "GET", "/v1/feed?after=1&wait=30", &gateway, &Value::Null).await })
    };
    receiver.wait(10).await;
    terminate(&mut running.child).await;
    let stopped = tokio::time::timeout(Duration::from_secs(4), running.child.wait()).await;
    assert!(stopped.expect("it stops in time").unwrap().success());
    assert_eq!(poll.await.unwrap().0, 200, "a long poll ends with an answer");
    let mut held = Vec::new();
    for load in loads {
        held.extend(load.await.unwrap());
    }
    assert!(!held.is_empty());
    let log = log.await.unwrap();
    assert!(log.contains("a notice was delivered"), "the log has all levels");
    let key = SECRET.trim_start_matches("whsec_");
    for secret in [&*gateway, &publisher, "very-secret-password", key, "hidden-in-the-address"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }

    // What was answered is there, and each hold is told of after all.
    let running = serve(&data, &arguments, &[("HOOK_SECRET", SECRET)], 2).await;
    let kept = async || {
        let got = receiver.got();
        let told: std::collections::BTreeSet<String> = got.iter().map(|got| got.about().1).collect();
        held.iter().all(|hold| told.contains(hold))
    };
    let until = tokio::time::Instant::now() + DEADLINE;
    while !kept().await {
        assert!(tokio::time::Instant::now() < until, "not all holds were told of");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(running);
}
