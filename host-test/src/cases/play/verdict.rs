//! A request with its verdict, played as a scenario.

use holdgate_authoring::{
    Example, Rates, RuleExpectation,
    cases::{
        Act, Chunks, Expected, ExpectedReply, ExpectedRequest, Named, Outcome, Scenario, SentRequest, Step, Token,
        UpstreamAnswer, UpstreamBehaviour, Version,
    },
};
use holdgate_protocol::{Json, bundle::Effect};

/// The name of the one request.
const NAME: &str = "request";

/// What the verdict means for the request; `None` where it rests on rates that cannot be sent.
pub(super) fn as_scenario(example: &Example) -> Option<Scenario> {
    if example.rates != Rates::All(1) {
        return None;
    }
    // Who is not decided upon within a second gets a ticket: it is asked for verdicts, not for reviewers.
    let plugin = r#"{"identity":{"untagged":"evaluate"},"max_wait":"1s","mcp":{"paths":["/mcp"]}}"#;
    let request = Named { name: NAME.to_owned(), times: 1, worker: None, request: request(example) };
    let expected = Expected {
        within: 5_000,
        requests: vec![(NAME.to_owned(), seen(example))],
        metrics: Vec::new(),
        logs: None,
        audit: None,
        callouts: Vec::new(),
        holds: None,
    };
    let step = |act| Step { at: example.at, act };
    Some(Scenario {
        policy: None,
        plugin: vec![Json::parse(plugin.as_bytes()).ok()?],
        time: Some(example.time).filter(|time| *time != super::BEGINNING),
        workers: 1,
        service: Vec::new(),
        upstream: UpstreamBehaviour::Answer(UpstreamAnswer {
            status: 200,
            headers: Vec::new(),
            body: Vec::new(),
            after: 0,
        }),
        steps: vec![step(Act::Send(vec![request])), step(Act::Expect(Box::new(expected)))],
        not_on: Vec::new(),
    })
}

/// A request with a verdict, as its agent sends it.
pub fn request(example: &Example) -> SentRequest {
    let mut headers: Vec<(Vec<u8>, Vec<u8>)> =
        example.headers.iter().map(|(name, value)| (name.clone().into_bytes(), value.clone().into_bytes())).collect();
    if example.body.is_some() && !example.headers.iter().any(|(name, _)| name == "content-type") {
        headers.push((b"content-type".to_vec(), b"application/json".to_vec()));
    }
    let token =
        example.agent.clone().map_or(Token::None, |agent| Token::Agent { agent, expires_in: 3_600, forged: false });
    SentRequest {
        token,
        method: example.method.clone(),
        target: target(example),
        host: example.host.clone(),
        version: Version::Http1,
        headers,
        body: example.body.as_ref().map(Json::to_jcs).unwrap_or_default(),
        chunks: Chunks::Whole,
        pause: 0,
        trailers: Vec::new(),
    }
}

/// The path with its query. Only what a query cannot have is escaped, so that a case may write `;` and `=` in a value.
fn target(example: &Example) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~;=".contains(&byte);
    let escape = |text: &str| -> String {
        let escaped = |byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
        text.bytes().map(escaped).collect()
    };
    let pairs: Vec<String> =
        example.query.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
    if pairs.is_empty() { example.path.clone() } else { format!("{}?{}", example.path, pairs.join("&")) }
}

/// What is seen of a request with this verdict.
fn seen(example: &Example) -> ExpectedRequest {
    let rule = example.expect.rule.as_ref().map(|rule| match rule {
        RuleExpectation::NoRule => None,
        RuleExpectation::Rule(rule) => Some(rule.clone()),
    });
    let (problem, rule) = match example.expect.effect {
        Effect::Allow => {
            return ExpectedRequest { outcome: Some(Outcome::Forwarded), ..ExpectedRequest::default() };
        }
        // A hold is bound to an agent, so that a request without one cannot wait.
        Effect::Hold if example.agent.is_none() => ("identity", None),
        Effect::Hold => ("held", rule),
        Effect::Deny => ("denied", rule),
    };
    let reply = ExpectedReply { problem: Some(problem.to_owned()), rule, ..ExpectedReply::default() };
    ExpectedRequest { outcome: Some(Outcome::Answered), reply: Some(reply), ..ExpectedRequest::default() }
}
