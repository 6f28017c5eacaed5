//! What a scenario expects to be seen.

use holdgate_protocol::Json;

use super::{
    Bodied, Callout, Expected, ExpectedReply, ExpectedRequest, ExpectedUpstream, Members, Operator, Outcome, Quantity,
    Test,
    request::{self, read_base64},
    shapes::{self, CALLOUT, EXPECT, REPLY_EXPECT, REQUEST_EXPECT, UPSTREAM_EXPECT},
    steps::{CALLS, OUTCOMES},
};
use crate::{
    codes::Code,
    diagnostic::Span,
    node::{Member, Node, Value},
    reader::{Fields, Reader, Scalar},
};

/// Milliseconds within which what is expected may come to be so.
const WITHIN: u64 = 5_000;

pub(super) const OPERATORS: [(&str, Operator); 6] = [
    ("equals", Operator::Equals),
    ("exists", Operator::Exists),
    ("contains", Operator::Contains),
    ("prefix", Operator::Prefix),
    ("gte", Operator::Gte),
    ("lte", Operator::Lte),
];

/// Reads what is expected when these requests have been sent.
pub(super) fn read(reader: &mut Reader<'_>, node: &Node, sent: &[String]) -> Option<Expected> {
    let mut expected = Expected {
        within: WITHIN,
        requests: Vec::new(),
        metrics: Vec::new(),
        logs: None,
        audit: None,
        callouts: Vec::new(),
        holds: None,
    };
    if let Value::Scalar { .. } = node.value {
        let outcome = read_outcome(reader, node)?;
        expected.requests.push((the_request(reader, node.span, sent)?, outcome));
        return Some(expected);
    }
    let fields = reader.fields(node, &EXPECT)?;
    if let Some(node) = fields.get("within") {
        expected.within = reader.time(node, "`within`")?;
    }
    if let Some(key) = ["outcome", "upstream", "reply", "decision"].into_iter().find(|key| fields.get(key).is_some()) {
        let name = the_request(reader, fields.at(key), sent)?;
        expected.requests.push((name, read_request(reader, fields)?));
    }
    if let Some(node) = fields.get("requests") {
        for Member { key, at, value } in reader.members(node, "`requests`")? {
            let known: Vec<&str> = sent.iter().map(String::as_str).collect();
            if !known.contains(&key.as_str()) {
                return request::unknown(reader, key, *at, &known);
            }
            let of = match &value.value {
                Value::Scalar { .. } => read_outcome(reader, value)?,
                _ => {
                    let fields = reader.fields(value, &REQUEST_EXPECT)?;
                    read_request(reader, fields)?
                }
            };
            expected.requests.push((key.clone(), of));
        }
    }
    expected.metrics = read_tests(reader, fields, "metrics", str::to_owned)?;
    expected.logs = fields.get("logs").map_or(Some(None), |node| reader.texts(node, "`logs`").map(Some))?;
    if let Some(node) = fields.get("audit") {
        let records =
            reader.list(node, "`audit`")?.iter().map(|record| read_members(reader, record, "an audit record"));
        expected.audit = Some(records.collect::<Option<_>>()?);
    }
    if let Some(node) = fields.get("callouts") {
        let callouts = reader.list(node, "`callouts`")?.iter().map(|callout| read_callout(reader, callout));
        expected.callouts = callouts.collect::<Option<_>>()?;
    }
    expected.holds = fields.get("holds").map_or(Some(None), |node| reader.whole(node, "`holds`").map(Some))?;
    Some(expected)
}

/// The one request that was sent.
fn the_request(reader: &mut Reader<'_>, at: Span, sent: &[String]) -> Option<String> {
    if let [only] = sent {
        return Some(only.clone());
    }
    let message = match sent {
        [] => "no request has been sent by now".to_owned(),
        several => format!("{} requests have been sent by now, and this does not say which is meant", several.len()),
    };
    let help = "say it by name: `requests: {NAME: ...}`";
    reader.error_with_help(at, Code::Expectation, message, help)
}

fn read_outcome(reader: &mut Reader<'_>, node: &Node) -> Option<ExpectedRequest> {
    let outcome = reader.word(node, "an outcome", &OUTCOMES)?;
    Some(ExpectedRequest { outcome: Some(outcome), ..ExpectedRequest::default() })
}

fn read_request(reader: &mut Reader<'_>, fields: Fields<'_>) -> Option<ExpectedRequest> {
    let outcome = fields.get("outcome").map_or(Some(None), |node| reader.word(node, "an outcome", &OUTCOMES).map(Some));
    let upstream = fields.get("upstream").map_or(Some(None), |node| read_upstream(reader, node).map(Some));
    let reply = fields.get("reply").map_or(Some(None), |node| read_reply(reader, node).map(Some));
    let decision = fields.get("decision").map_or(Some(None), |node| reader.text(node, "`decision`").map(Some));
    let (outcome, upstream, reply) = (outcome?, upstream?, reply?);
    let of_gateway = reply.as_ref().is_some_and(|reply| reply.problem.is_some());
    let implied = match (&upstream, of_gateway) {
        (Some(_), _) => Some(Outcome::Forwarded),
        (None, true) => Some(Outcome::Answered),
        (None, false) => None,
    };
    if upstream.is_some() && outcome.is_some_and(|outcome| outcome != Outcome::Forwarded) {
        let message = "the upstream gets nothing of a request with this outcome; leave `upstream` out";
        return reader.error(fields.at("upstream"), Code::Expectation, message);
    }
    Some(ExpectedRequest { outcome: outcome.or(implied), upstream, reply, decision: decision? })
}

fn read_upstream(reader: &mut Reader<'_>, node: &Node) -> Option<ExpectedUpstream> {
    let fields = reader.fields(node, &UPSTREAM_EXPECT)?;
    let mut text =
        |key: &str| fields.get(key).map_or(Some(None), |node| reader.text(node, &format!("`{key}`")).map(Some));
    let (method, target) = (text("method")?, text("target")?);
    Some(ExpectedUpstream {
        method,
        target,
        headers: read_tests(reader, fields, "headers", str::to_ascii_lowercase)?,
        body: read_body(reader, fields)?,
        trailers: read_tests(reader, fields, "trailers", str::to_ascii_lowercase)?,
    })
}

fn read_reply(reader: &mut Reader<'_>, node: &Node) -> Option<ExpectedReply> {
    if let Value::Scalar { .. } = node.value {
        return match reader.scalar(node, "`reply`")? {
            Scalar::Number(_) => {
                let status = reader.count(node, "a status")?;
                Some(ExpectedReply { status: Some(status), ..ExpectedReply::default() })
            }
            _ => {
                let problem = reader.text(node, "`reply`")?;
                Some(ExpectedReply { problem: Some(problem), ..ExpectedReply::default() })
            }
        };
    }
    let fields = reader.fields(node, &REPLY_EXPECT)?;
    let status = fields.get("status").map_or(Some(None), |node| reader.count(node, "a status").map(Some))?;
    let mut text =
        |key: &str| fields.get(key).map_or(Some(None), |node| reader.text(node, &format!("`{key}`")).map(Some));
    let (problem, next_action) = (text("problem")?, text("next_action")?);
    let rule = match fields.get("rule") {
        None => None,
        Some(node) => Some(match reader.scalar(node, "`rule`")? {
            Scalar::Null => None,
            _ => Some(reader.text(node, "`rule`")?),
        }),
    };
    let headers = read_tests(reader, fields, "headers", str::to_ascii_lowercase)?;
    Some(ExpectedReply { status, problem, next_action, rule, headers, body: read_body(reader, fields)? })
}

fn read_body(reader: &mut Reader<'_>, fields: Fields<'_>) -> Option<Option<Bodied>> {
    const KINDS: [&str; 4] = ["body", "text", "base64", "json"];
    let given: Vec<&str> = KINDS.into_iter().filter(|key| fields.get(key).is_some()).collect();
    if let [_, second, ..] = given.as_slice() {
        let message = format!("a body is described once, and there are {}", crate::reader::list(&given));
        return reader.error(fields.at(second), Code::EitherOr, message);
    }
    let Some((key, node)) = given.first().and_then(|key| Some((*key, fields.get(key)?))) else { return Some(None) };
    Some(Some(match key {
        "body" => Bodied::Json(reader.json(node, "`body`")?),
        "text" => Bodied::Bytes(request::read_literal(reader, node, "`text`")?.into_bytes()),
        "base64" => Bodied::Bytes(read_base64(reader, node)?),
        _ => Bodied::Members(read_members(reader, node, "`json`")?),
    }))
}

fn read_callout(reader: &mut Reader<'_>, node: &Node) -> Option<Callout> {
    let fields = reader.fields(node, &CALLOUT)?;
    let call = reader.require(fields, "call").and_then(|node| reader.word(node, "a call", &CALLS));
    let count =
        fields.get("count").map_or(Some(Quantity::Some), |node| reader.whole(node, "`count`").map(Quantity::Exactly));
    let members = fields.get("json").map_or_else(|| Some(Vec::new()), |node| read_members(reader, node, "`json`"));
    Some(Callout { call: call?, count: count?, members: members? })
}

fn read_members(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<Members> {
    let mut members = Vec::new();
    for Member { key, at, value } in reader.members(node, what)? {
        let pointer = reader.pointer(key, *at)?;
        members.push((pointer, read_test(reader, value)?));
    }
    Some(members)
}

fn read_tests(
    reader: &mut Reader<'_>,
    fields: Fields<'_>,
    key: &str,
    name: fn(&str) -> String,
) -> Option<Vec<(String, Test)>> {
    let mut tests = Vec::new();
    let Some(node) = fields.get(key) else { return Some(tests) };
    for member in reader.members(node, &format!("`{key}`"))? {
        tests.push((name(&member.key), read_test(reader, &member.value)?));
    }
    Some(tests)
}

/// A map of operators, `null`, or the value itself.
fn read_test(reader: &mut Reader<'_>, node: &Node) -> Option<Test> {
    if let Value::Map(members) = &node.value
        && members.iter().any(|member| shapes::operators().contains(&member.key.as_str()))
    {
        let mut all = Vec::new();
        for Member { key, at, value } in members {
            let Some((_, operator)) = OPERATORS.into_iter().find(|(word, _)| word == key) else {
                let help = format!("the tests are {}", crate::reader::list(&shapes::operators()));
                let message = format!("`{key}` is no test of a value; a map to compare with stands behind `equals`");
                return reader.error_with_help(*at, Code::UnknownKey, message, help);
            };
            all.push((operator, reader.json(value, "a value")?));
        }
        return Some(Test::All(all));
    }
    match reader.json(node, "a value")? {
        Json::Null => Some(Test::Absent),
        value => Some(Test::Is(value)),
    }
}
