use std::time::Duration;

use holdgate_authoring::cases::{Chunks, Operator, Test, Version};
use holdgate_protocol::Json;

use super::{values::meets, *};

fn sent() -> Sent {
    let sending = Sending {
        name: "grant".into(),
        method: "POST".into(),
        target: "/x?a".into(),
        host: "h".into(),
        version: Version::Http1,
        headers: vec![],
        body: b"{}".to_vec(),
        chunks: Chunks::Whole,
        pause: Duration::ZERO,
        trailers: vec![],
        worker: None,
    };
    Sent { name: "grant".into(), sending, handles: vec![0] }
}

fn got(body: &[u8]) -> Got {
    Got { method: "POST".into(), target: "/x?a".into(), body: body.to_vec(), complete: true, ..Got::default() }
}

/// What of a request is found to differ.
fn differences(expected: ExpectedRequest, came: ObservedRequest) -> Vec<String> {
    let expected = Expected {
        within: 0,
        requests: vec![("grant".into(), expected)],
        metrics: vec![],
        logs: None,
        audit: None,
        callouts: vec![],
        holds: None,
    };
    let observed = Observed { requests: vec![came], ..Observed::default() };
    let found = judge(&expected, &Seen { observed: &observed, sent: &[sent()], service: &Service::new() });
    found.into_iter().map(|difference| difference.what).collect()
}

fn outcome(outcome: Outcome) -> ExpectedRequest {
    ExpectedRequest { outcome: Some(outcome), ..ExpectedRequest::default() }
}

#[test]
fn what_goes_on_must_come_as_it_was_sent_though_nobody_says_so() {
    let came = |got| ObservedRequest { upstream: Some(got), ..ObservedRequest::default() };
    assert_eq!(differences(outcome(Outcome::Forwarded), came(got(b"{}"))), [""; 0]);
    assert_eq!(differences(outcome(Outcome::Forwarded), came(got(b"{ }"))), ["`grant`: the body at the upstream"]);
    let other = Got { target: "/x".into(), method: "PUT".into(), ..got(b"{}") };
    let expected = ["`grant`: the method at the upstream", "`grant`: the target at the upstream"];
    assert_eq!(differences(outcome(Outcome::Forwarded), came(other)), expected);
    let part = Got { complete: false, ..got(b"{") };
    assert_eq!(differences(outcome(Outcome::Forwarded), came(part)), ["`grant`: the outcome"]);
}

#[test]
fn what_is_answered_or_waits_must_have_left_nothing() {
    let reply = Some(Reply { status: 403, ..Reply::default() });
    let leaked = ObservedRequest { upstream: Some(got(b"{}")), reply, by_gateway: true, ..ObservedRequest::default() };
    assert_eq!(differences(outcome(Outcome::Answered), leaked), ["`grant`: what the upstream got"]);
    let part = Got { complete: false, ..got(b"{") };
    let leaked = ObservedRequest { upstream: Some(part), ..ObservedRequest::default() };
    assert_eq!(differences(outcome(Outcome::Waiting), leaked), ["`grant`: what the upstream got"]);
}

#[test]
fn values_are_compared_as_json_and_by_tests() {
    let json = |text: &str| Json::parse(text.as_bytes()).unwrap();
    let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let is = |test: &str, came: &str| meets(&Test::Is(json(test)), Some(&value(came)));
    assert!(is("1.50", "1.5") && is("{\"a\":1,\"b\":[2]}", "{\"b\":[2],\"a\":1.0}"));
    assert!(!is("1", "\"1\"") && !is("[1,2]", "[2,1]") && !is("{\"a\":1}", "{\"a\":1,\"b\":2}"));
    let all = |operator, test: &str, came: Option<&str>| {
        meets(&Test::All(vec![(operator, json(test))]), came.map(value).as_ref())
    };
    assert!(all(Operator::Exists, "false", None) && !all(Operator::Exists, "false", Some("1")));
    assert!(all(Operator::Gte, "5", Some("\"5\"")) && !all(Operator::Gte, "5", Some("4.9")));
    assert!(all(Operator::Contains, "2", Some("[1,2]")) && !all(Operator::Contains, "2", Some("12")));
    assert!(all(Operator::Prefix, "\"ab\"", Some("\"abc\"")) && !all(Operator::Prefix, "\"b\"", Some("\"abc\"")));
    assert!(meets(&Test::Absent, None) && meets(&Test::Absent, Some(&Value::Null)));
    assert!(!meets(&Test::Absent, Some(&value("0"))) && !all(Operator::Lte, "5", None));
}
