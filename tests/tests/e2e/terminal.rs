//! `holdgate approvals`: reviewers in a terminal, and what an agent can send there.

use std::{os::unix::fs::PermissionsExt as _, sync::Arc, time::Duration};

use holdgate_protocol::{
    Agent, Hash, RuleRef, b64, b64url,
    bundle::{Effect, PolicyRef, SignedBundle},
    gateway::{Asked, CapturedBody, CapturedRequest, OpenHold},
};
use holdgate_tests::{
    certificates::{Authority, Certificate},
    http::{Payload, Response, exchange},
    service::{ISSUER, OWNER, PASSWORD, Ran, Service},
    until,
};
use hyper::Request;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};

async fn send(to: std::net::SocketAddr, method: &str, path: &str, token: &str, body: &Value) -> Response {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request = Request::builder().method(method).uri(path).header("host", to.to_string());
    let request = request.header("authorization", format!("Bearer {token}")).header("content-length", body.len());
    exchange(to, request.body(Payload::whole(body.into())).unwrap()).await.unwrap()
}

/// Waits for so many pending holds of a path; their ids.
pub(crate) async fn ids_at(service: &Service, token: &str, path: &str, count: usize) -> Vec<String> {
    until(&format!("{count} holds of {path}"), Duration::from_secs(30), async || {
        let list = send(service.people, "GET", "/api/holds?limit=5000", token, &Value::Null).await.json();
        let items = list["items"].as_array().unwrap().iter().filter(|hold| hold["path"] == path);
        let ids: Vec<String> = items.map(|hold| hold["id"].as_str().unwrap().to_owned()).collect();
        (ids.len() >= count).then_some(ids)
    })
    .await
    .unwrap()
}

/// Opens a hold by `rule` for a request that no gateway would have let through to here as it is.
async fn held(service: &Service, rule: &str, agent: &str, change: impl FnOnce(&mut OpenHold)) -> String {
    let edge = &service.credentials[0];
    let state = send(service.gateways, "GET", "/v1/state", edge, &Value::Null).await.json();
    let policy: PolicyRef = serde_json::from_value(state["policy"].clone()).unwrap();
    let signed = send(service.gateways, "GET", &format!("/v1/bundles/{}", policy.rev), edge, &Value::Null).await;
    let signed: SignedBundle = serde_json::from_slice(&signed.body).unwrap();
    let bytes = holdgate_protocol::from_b64url(&signed.bundle).unwrap();
    let bundle = holdgate_protocol::bundle::read::<holdgate_protocol::Json>(&bytes).unwrap();
    let rule = bundle.rules.iter().find(|known| known.id == rule && known.effect == Effect::Hold).unwrap();
    let rules: Vec<RuleRef> = vec![rule.reference()];
    let requirement = bundle.united(&[&rule.id]).unwrap().hash(&rules);
    let mut ask = OpenHold {
        v: 1,
        attempt: b64url(&Hash::of(agent.as_bytes()).as_bytes()[..16]),
        agent: Agent { iss: ISSUER.into(), sub: agent.into(), act: vec![], owner: Some(OWNER.into()) },
        digest: Hash::of(agent.as_bytes()),
        components: vec!["@method".into()],
        policy,
        rules,
        requirement,
        request: CapturedRequest {
            method: "POST".into(),
            scheme: "https".into(),
            authority: "iam.example".into(),
            path: "/users".into(),
            query: None,
            fields: vec![],
            body: CapturedBody { b64: None, size: 0, redacted: vec![] },
        },
        agent_reason: None,
        idempotency_key: None,
        asked: Asked::default(),
    };
    change(&mut ask);
    let answer = send(service.gateways, "POST", "/v1/holds", edge, &json!(ask)).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()["hold"].as_str().unwrap().to_owned()
}

async fn approvals(service: &Service, arguments: &[&str]) -> Ran {
    service.run(service.holdgate(&[&["approvals"], arguments].concat()), "").await.unwrap()
}

async fn sign_in(service: &Service, person: &str) {
    let command = service.holdgate(&["approvals", "sign-in", "--person", person]);
    let ran = service.run(command, &format!("{PASSWORD}\n")).await.unwrap();
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert!(ran.stdout.starts_with(&format!("signed in as {person} (")), "{}", ran.stdout);
}

/// A TLS front before the service, as a proxy of a company's own would be: one connection after the other.
async fn front(to: std::net::SocketAddr, certificate: &Certificate) -> u16 {
    let chain = vec![CertificateDer::from_pem_slice(certificate.pem.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(chain, key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Who does not trust the certificate hangs up.
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let mut service = TcpStream::connect(to).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut service).await;
            }
        }
    });
    port
}

#[tokio::test]
async fn a_service_behind_tls_is_asked_where_its_certificate_is_trusted() {
    let service = Service::start().await.unwrap();
    let authority = Authority::new(1).unwrap();
    let port = front(service.people, &authority.issue(2, &["localhost"]).unwrap()).await;
    let elsewhere = front(service.people, &authority.issue(3, &["elsewhere.example"]).unwrap()).await;
    let roots = service.folder().join("roots.pem");
    std::fs::write(&roots, &authority.pem).unwrap();
    let others = service.folder().join("others.pem");
    std::fs::write(&others, Authority::new(4).unwrap().pem).unwrap();
    let sign_in = async |port: u16, roots: &std::path::Path| {
        let mut command = service.holdgate(&["approvals", "sign-in", "--person", "alice"]);
        command.env("HOLDGATE_SERVICE", format!("https://localhost:{port}")).env("SSL_CERT_FILE", roots);
        service.run(command, &format!("{PASSWORD}\n")).await.unwrap()
    };
    let ran = sign_in(port, &roots).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{}", ran.stdout);
    let mut list = service.holdgate(&["approvals", "list"]);
    list.env("HOLDGATE_SERVICE", format!("https://localhost:{port}")).env("SSL_CERT_FILE", &roots);
    let ran = service.run(list, "").await.unwrap();
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));

    // The password goes to nobody whose certificate is another's, or no known authority's.
    for (port, roots, why) in [
        (elsewhere, &roots, "certificate not valid for name"),
        (port, &others, "UnknownIssuer"),
        (port, &service.folder().join("missing.pem"), "SSL_CERT_FILE"),
        (service.people.port(), &roots, "TLS"),
    ] {
        let ran = sign_in(port, roots).await;
        assert!(ran.code != 0 && ran.stderr.contains(why), "{why}: {}", ran.stderr);
    }
}

#[tokio::test]
async fn a_session_is_kept_for_its_owner_only_and_ended() {
    let service = Service::start().await.unwrap();
    let ran = approvals(&service, &["list"]).await;
    assert!(ran.code == 2 && ran.stderr.contains("holdgate approvals sign-in"), "{}", ran.stderr);
    let command = service.holdgate(&["approvals", "sign-in", "--person", "alice"]);
    let ran = service.run(command, "wrong password\n").await.unwrap();
    assert!(ran.code == 1 && ran.stderr.contains("The person or the password is not right."), "{}", ran.stderr);

    sign_in(&service, "alice").await;
    let kept = service.folder().join("state/holdgate/sessions.json");
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&kept), mode(kept.parent().unwrap())), (0o600, 0o700));
    let token = serde_json::from_slice::<Value>(&std::fs::read(&kept).unwrap()).unwrap();
    let token = token.as_object().unwrap().values().next().unwrap()["token"].as_str().unwrap().to_owned();
    assert_eq!(approvals(&service, &["list"]).await.stdout, "0 holds\n");

    // One that others can read is not used.
    std::fs::set_permissions(&kept, std::fs::Permissions::from_mode(0o644)).unwrap();
    let ran = approvals(&service, &["list"]).await;
    assert!(ran.code == 2 && ran.stderr.contains("others can read (mode 644)"), "{}", ran.stderr);
    std::fs::set_permissions(&kept, std::fs::Permissions::from_mode(0o600)).unwrap();

    let ran = approvals(&service, &["sign-out"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "signed out: alice\n"), "{}", ran.stderr);
    assert!(!std::fs::read_to_string(&kept).unwrap().contains(&token));
    assert_eq!(
        send(service.people, "GET", "/api/session", &token, &Value::Null).await.status,
        401,
        "it has ended there"
    );
    assert_eq!(approvals(&service, &["list"]).await.code, 2);
}

#[tokio::test]
async fn nothing_that_an_agent_sends_acts_on_the_terminal() {
    let service = Service::start().await.unwrap();
    sign_in(&service, "alice").await;
    let attack = "\u{1b}[2J\u{1b}]0;ok\u{7}\u{9b}31m\u{202e}evil\u{200b}\r\u{8}";
    let body = format!("{{\"role\":\"viewer{attack}\"}}");
    let id = held(&service, "desk.write", &format!("bot{attack}"), |ask| {
        ask.request.path = format!("/users/{attack}");
        ask.request.query = Some(format!("a={attack}"));
        ask.request.fields = vec![("x-a".into(), attack.into())];
        ask.request.body = CapturedBody {
            b64: Some(b64(body.as_bytes())),
            size: 900,
            redacted: vec!["/password".parse().unwrap(), "/token".parse().unwrap()],
        };
        ask.agent_reason = Some(format!("urgent{attack}\nstate       approved"));
    })
    .await;
    for arguments in [&["show", &id][..], &["list"], &["show", &id, "--format", "json"], &["list", "--format", "json"]]
    {
        let ran = approvals(&service, arguments).await;
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let acts = ran.stdout.chars().find(|c| *c != '\n' && holdgate_protocol::shown::is_unseen(*c));
        assert_eq!(acts, None, "{arguments:?}: {:?}", ran.stdout);
    }
    let shown = approvals(&service, &["show", &id]).await.stdout;
    let expected = [
        "state       pending\n",
        "  POST https://iam.example/users/\\u{1b}[2J\\u{1b}]0;ok\\u{7}\\u{9b}31m\\u{202e}evil\\u{200b}\\u{d}\\u{8}?a=",
        "  x-a: \\u{1b}[2J",
        "body: 900 bytes; redacted in 2 places: /password, /token;",
        "the agent says (unverified):\n  | urgent\\u{1b}",
        // Its second line cannot be taken for one of ours.
        "\n  | state       approved\n",
        "rule        desk.write: Writes are looked at by a person.\n",
        "missing     1 approver\n",
    ];
    for part in expected {
        assert!(shown.contains(part), "{part:?} in {shown}");
    }
    // An id is part of a path.
    for id in ["../session", "a/b", "a?b", "", "\u{1b}[2J"] {
        let ran = approvals(&service, &["show", id]).await;
        assert!(ran.code == 2 && !ran.stderr.contains('\u{1b}'), "{id:?}: {}", ran.stderr);
    }
}

#[tokio::test]
async fn holds_are_listed_and_decided_several_at_once() {
    let service = Service::start().await.unwrap();
    sign_in(&service, "alice").await;
    let mut ids = Vec::new();
    for number in 0..3 {
        ids.push(held(&service, "desk.write", &format!("bot-{number}"), |_| {}).await);
    }
    let both = held(&service, "desk.delete", "bot-9", |ask| ask.request.method = "DELETE".into()).await;
    let listed = approvals(&service, &["list"]).await.stdout;
    let lines: Vec<&str> = listed.lines().collect();
    assert!(lines[0].starts_with("ID ") && lines[5] == "4 holds", "{listed}");
    assert!(listed.contains("DELETE iam.example/users") && listed.contains("bot-2"), "{listed}");
    // Page by page, each hold comes once.
    let mut seen = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let mut arguments = vec!["list", "--limit", "3", "--format", "json"];
        arguments.extend(after.as_deref().map(|after| ["--after", after]).into_iter().flatten());
        let page = approvals(&service, &arguments).await.json();
        seen.extend(page["holds"].as_array().unwrap().iter().map(|hold| hold["id"].as_str().unwrap().to_owned()));
        after = page["next"].as_str().map(str::to_owned);
        if after.is_none() {
            break;
        }
    }
    seen.sort();
    let mut all = [&ids[..], std::slice::from_ref(&both)].concat();
    all.sort();
    assert_eq!(seen, all);

    // A script does not decide by accident.
    let ran = approvals(&service, &["approve", &ids[0]]).await;
    assert!(ran.code == 2 && ran.stderr.contains("nothing is decided"), "{}", ran.stderr);
    let ran = approvals(&service, &["approve", &ids[0], &ids[1], "0000", "--yes", "--reason", "asked to"]).await;
    assert_eq!(ran.code, 1, "one of them is unknown");
    let expected =
        format!("{}: approved\n{}: approved\n0000: approve was not taken: There is no hold `0000`.\n", ids[0], ids[1]);
    assert_eq!(ran.stdout, expected);
    let ran = approvals(&service, &["deny", &ids[2], "--yes"]).await;
    assert_eq!((ran.code, ran.stdout), (0, format!("{}: denied\n", ids[2])));
    let ran = approvals(&service, &["approve", &both, "--yes", "--reason", "needed"]).await;
    assert_eq!((ran.code, ran.stdout), (0, format!("{both}: your approval counts; more are needed\n")));
    let ran = approvals(&service, &["revoke", &ids[0], "--yes", "--reason", "a mistake", "--format", "json"]).await;
    assert_eq!((ran.code, &ran.json()["items"][0]["state"]), (0, &json!("cancelled")), "{}", ran.stdout);
    let shown = approvals(&service, &["show", &both]).await.stdout;
    assert!(
        shown.contains("missing     1 lead\n") && shown.contains("approved by Alice Archer (alice) as approver"),
        "{shown}"
    );

    // Bob may lead, and does not even see what asks for approvers only.
    let other = held(&service, "desk.write", "bot-4", |_| {}).await;
    let mut command = service.holdgate(&["approvals", "approve", &other, &both, "--yes", "--reason", "fine"]);
    command.env("HOLDGATE_TOKEN", service.token("bob").await.unwrap());
    let ran = service.run(command, "").await.unwrap();
    assert!(ran.code == 1 && ran.stdout.contains(&format!("{both}: approved\n")), "{}", ran.stdout);
    assert!(
        ran.stdout.contains(&format!("{other}: approve was not taken: There is no hold `{other}`")),
        "{}",
        ran.stdout
    );
}

/// What is shown to a person on a terminal, and their answer.
#[tokio::test]
async fn on_a_terminal_each_request_is_shown_and_asked_for() {
    let service = Service::start().await.unwrap();
    let (one, two) =
        (held(&service, "desk.write", "bot-1", |_| {}).await, held(&service, "desk.write", "bot-2", |_| {}).await);
    let mut command = service.holdgate(&["approvals", "approve", &one, &two]);
    command.env("HOLDGATE_TOKEN", service.token("alice").await.unwrap());
    let pty = nix::pty::openpty(None, None).unwrap();
    command.stdin(pty.slave.try_clone().unwrap()).stderr(pty.slave).stdout(std::process::Stdio::piped());
    let said = tokio::task::spawn_blocking(move || {
        use std::io::{Read as _, Write as _};
        let mut terminal = std::fs::File::from(pty.master);
        let child = command.spawn().unwrap();
        // The command alone has the other end: reading ends with it.
        drop(command);
        let (mut said, mut buffer, mut asked) = (String::new(), [0; 4096], 0);
        while let Ok(count @ 1..) = terminal.read(&mut buffer) {
            said.push_str(&String::from_utf8_lossy(&buffer[..count]));
            if said.matches("approve this request? [y/N] ").count() > asked {
                terminal.write_all(if asked == 0 { b"y\n" } else { b"\n" }).unwrap();
                asked += 1;
            }
        }
        let output = child.wait_with_output().unwrap();
        (said, String::from_utf8(output.stdout).unwrap(), output.status.code())
    });
    let (asked, said, code) = said.await.unwrap();
    assert!(asked.contains("bot-1 of https://conformance.example") && asked.contains("bot-2"), "{asked}");
    assert_eq!(
        (said, code),
        (format!("{one}: approved\n{two}: approve was not taken: you did not confirm it\n"), Some(1))
    );
}

#[tokio::test]
async fn a_decision_on_another_request_than_was_shown_does_not_count() {
    let service = Service::start().await.unwrap();
    let id = held(&service, "desk.write", "bot", |_| {}).await;
    let token = service.token("alice").await.unwrap();
    let path = format!("/api/holds/{id}/decisions");
    let body = |digest: Hash| json!({"verdict": "approve", "digest": digest});
    let answer = send(service.people, "POST", &path, &token, &body(Hash::of(b"other"))).await;
    assert_eq!((answer.status, answer.problem()), (409, "other_request".into()));
    let items = json!({"items": [{"hold": id, "verdict": "approve", "digest": Hash::of(b"other")}]});
    let answer = send(service.people, "POST", "/api/decisions", &token, &items).await;
    assert_eq!(answer.json()["items"][0]["error"], "other_request", "{}", answer.text());
    assert_eq!(send(service.people, "POST", &path, &token, &body(Hash::of(b"bot"))).await.json()["state"], "approved");
}
