//! The verdicts of the corpus on real Envoy: what the engine says natively is what the shipped filter does.

use std::path::PathBuf;

use holdgate_authoring::{
    Example, RuleExpectation,
    cases::{self, PolicySource},
};
use holdgate_protocol::{Json, bundle::Effect};
use holdgate_tests::{
    agent::{Agent, Call},
    http::Response,
    identity::AUDIENCE,
    now,
    stack::{ISSUER, Options, Places, Stack},
    upstream::MARK,
};
use hyper::Method;
use serde_json::json;

use crate::common::{assert_problem, start_with};

/// The usual claims with those of the case over them, spelled as the case spells them.
fn claims(case: &Example) -> Option<Vec<u8>> {
    let agent = case.agent.as_ref()?;
    let mut claims = agent.claims.as_object()?.clone();
    let mut set = |name: &str, value: Json| claims.set(name.to_owned(), value);
    set("iss", ISSUER.into());
    set("aud", AUDIENCE.into());
    set("exp", Json::integer(now() + 3600));
    set("sub", agent.id.as_str().into());
    if let Some(owner) = &agent.owner {
        set("owner", owner.as_str().into());
    }
    Some(Json::Object(claims).to_jcs())
}

/// The path with its query. Only what a query cannot have is escaped, so that a case may write `;` and `=` in a value.
fn target(case: &Example) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~;=".contains(&byte);
    let escape = |text: &str| -> String {
        text.bytes()
            .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
            .collect()
    };
    let pairs: Vec<String> =
        case.query.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
    if pairs.is_empty() { case.path.clone() } else { format!("{}?{}", case.path, pairs.join("&")) }
}

fn call(stack: &Stack, case: &Example) -> Call {
    let claims = claims(case);
    let token = claims.as_ref().map(|claims| stack.issuer.sign(claims)).unwrap_or_default();
    let agent = Agent { gateway: stack.ports.gateway(), token };
    let mut call = agent.call(Method::from_bytes(case.method.as_bytes()).unwrap(), &target(case)).host(&case.host);
    if claims.is_none() {
        call = call.without("authorization");
    }
    for (name, value) in &case.headers {
        call = call.header(name, value);
    }
    if let Some(body) = &case.body {
        if !case.headers.iter().any(|(name, _)| name == "content-type") {
            call = call.header("content-type", "application/json");
        }
        call = call.body(body.to_jcs());
    }
    call
}

/// What the gateway says about an MCP message, told in the form of a plain request.
fn plain(answer: &Response) -> Response {
    let told = answer.json();
    let places = ["/result/_meta/holdgate~1problem", "/error/data"];
    let Some(problem) = places.iter().find_map(|place| told.pointer(place)) else { return answer.clone() };
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let mut plain = answer.clone();
    plain.headers.insert("content-type", "application/problem+json".parse().unwrap());
    plain.status = u16::try_from(problem["status"].as_u64().unwrap()).unwrap();
    plain.body = problem.to_string().into();
    plain
}

fn check(case: &Example, answer: &Response) {
    let answer = &if case.mcp.is_some() { plain(answer) } else { answer.clone() };
    println!("{}", case.name);
    match case.expect.effect {
        // The sample upstream does not know every path; that it was asked is what counts.
        Effect::Allow => assert!(answer.header(MARK).is_some(), "{}: {}", answer.status, answer.text()),
        // A hold is bound to an agent, so that a request without one cannot wait.
        Effect::Hold if case.agent.is_none() => assert_problem(answer, 401, "identity"),
        Effect::Hold => {
            assert_problem(answer, 403, "held");
            if let Some(RuleExpectation::Rule(rule)) = &case.expect.rule {
                assert_eq!(answer.json()["rule"], json!(rule), "{}", case.name);
            }
        }
        Effect::Deny => {
            assert_problem(answer, 403, "denied");
            let rule = case.expect.rule.as_ref().map(|rule| match rule {
                RuleExpectation::NoRule => json!(null),
                RuleExpectation::Rule(rule) => json!(rule),
            });
            if let Some(rule) = rule {
                assert_eq!(answer.json()["rule"], rule, "{}", case.name);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_comes_to_its_verdict_on_envoy() {
    let project = Places::find().unwrap().root();
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(project.join("tests/cases")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let is_cases = |name: &str| name.ends_with(".yaml") && !name.ends_with(".policy.yaml");
    files.retain(|file| is_cases(&file.to_string_lossy()));
    assert!(!files.is_empty());
    for file in files {
        let name = file.to_string_lossy().into_owned();
        let corpus = cases::read(&name, &std::fs::read_to_string(&file).unwrap()).unwrap();
        let verdicts: Vec<&Example> = corpus.verdicts().collect();
        let PolicySource::File(policy) = &corpus.policy else { continue };
        if verdicts.is_empty() {
            continue;
        }
        let policy = std::fs::read_to_string(project.join(policy)).unwrap();
        // Who is not decided upon within a second gets a ticket: the cases ask for verdicts, not for reviewers.
        let id = policy.lines().find_map(|line| line.strip_prefix("policy: ")).unwrap();
        let plugin =
            json!({"max_wait": "1s", "policy": id, "identity": {"untagged": "evaluate"}, "mcp": {"paths": ["/mcp"]}});
        let stack = start_with(Options { policy: Some(policy), plugin, ..Options::default() }).await;
        let calls: Vec<_> = verdicts.iter().map(|case| tokio::spawn(call(&stack, case).send())).collect();
        for (case, call) in verdicts.iter().zip(calls) {
            check(case, &call.await.unwrap().unwrap());
        }
    }
}
