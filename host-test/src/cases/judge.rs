//! Compares what was seen with what is expected.

mod values;

use holdgate_authoring::cases::{
    Bodied, Callout, Expected, ExpectedReply, ExpectedRequest, ExpectedUpstream, Outcome, Quantity,
};
use serde::Serialize;
use serde_json::Value;

use super::{
    driver::{Got, Handle, Observed, ObservedRequest, Reply, Sending},
    service::{Arrived, Service},
};
use values::{Judged, body_shown, describe, member, of_bytes, test_fields, test_value};

/// Something that is not as it is expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What it is about: "`grant`: the reply's status".
    pub what: String,
    pub expected: String,
    pub came: String,
}

/// A request that was sent: its name, and each of its tries.
pub struct Sent {
    pub name: String,
    pub sending: Sending,
    pub handles: Vec<Handle>,
}

/// What was seen of everything.
pub struct Seen<'s> {
    pub observed: &'s Observed,
    pub sent: &'s [Sent],
    pub service: &'s Service,
}

/// What is not as it is expected; nothing where all is well.
pub fn judge(expected: &Expected, seen: &Seen<'_>) -> Vec<Difference> {
    let mut all = Judged::default();
    for (name, of) in &expected.requests {
        let Some(sent) = seen.sent.iter().find(|sent| sent.name == *name) else { continue };
        for (place, handle) in sent.handles.iter().enumerate() {
            let name = if sent.handles.len() > 1 { format!("`{name}` ({})", place + 1) } else { format!("`{name}`") };
            match seen.observed.requests.get(*handle) {
                Some(came) => judge_request(&mut all, &name, of, came, &sent.sending),
                None => all.differs(&name, "a request that was sent", "none"),
            }
        }
    }
    for (name, test) in &expected.metrics {
        let came = seen.observed.metrics.get(name).map(|value| Value::from(*value));
        // A counter that was never told stands at zero.
        let came = came.unwrap_or_else(|| Value::from(0));
        test_value(&mut all, &format!("the metric `{name}`"), test, Some(&came));
    }
    if let Some(parts) = &expected.logs {
        judge_logs(&mut all, parts, &seen.observed.logs);
    }
    if let Some(records) = &expected.audit {
        judge_records(&mut all, records, seen.service.audit());
    }
    for callout in &expected.callouts {
        judge_callouts(&mut all, callout, seen.service.arrived());
    }
    let holds = u64::try_from(seen.service.holds().count()).unwrap_or(u64::MAX);
    if let Some(expected) = expected.holds.filter(|expected| *expected != holds) {
        all.differs("the number of holds", &expected.to_string(), &holds.to_string());
    }
    all.differences
}

fn judge_request(all: &mut Judged, name: &str, expected: &ExpectedRequest, came: &ObservedRequest, sent: &Sending) {
    let outcome = came.outcome();
    if let Some(wanted) = expected.outcome.filter(|wanted| *wanted != outcome) {
        all.differs(&format!("{name}: the outcome"), word(wanted), &told(came));
    }
    let part = |got: &Got| format!("{} {} and {} bytes of the body", got.method, got.target, got.body.len());
    match (&came.upstream, outcome) {
        // What a request leaves at the upstream, it leaves because it went on.
        (Some(got), Outcome::Forwarded) => judge_upstream(all, name, expected.upstream.as_ref(), got, sent),
        (Some(got), Outcome::Answered) if came.by_gateway => {
            all.differs(&format!("{name}: what the upstream got"), "nothing, as the gateway answered", &part(got));
        }
        (Some(got), Outcome::Waiting) if expected.outcome == Some(Outcome::Waiting) => {
            all.differs(&format!("{name}: what the upstream got"), "nothing by now", &part(got));
        }
        (None, _) | (Some(_), _) => {}
    }
    if let Some(reply) = &expected.reply {
        match &came.reply {
            Some(came) => judge_reply(all, name, reply, came),
            None => all.differs(&format!("{name}: the reply"), &wanted(reply), &told(came)),
        }
    }
    if let Some(wanted) = &expected.decision
        && came.decision.as_ref() != Some(wanted)
    {
        let came = came.decision.as_deref().map_or("none".to_owned(), |word| format!("`{word}`"));
        all.differs(&format!("{name}: the decision for access logs"), &format!("`{wanted}`"), &came);
    }
}

fn judge_upstream(all: &mut Judged, name: &str, expected: Option<&ExpectedUpstream>, got: &Got, sent: &Sending) {
    let at = |what: &str| format!("{name}: {what} at the upstream");
    let method = expected.and_then(|expected| expected.method.as_ref()).unwrap_or(&sent.method);
    if got.method != *method {
        all.differs(&at("the method"), method, &got.method);
    }
    let target = expected.and_then(|expected| expected.target.as_ref()).unwrap_or(&sent.target);
    if got.target != *target {
        all.differs(&at("the target"), target, &got.target);
    }
    match expected.and_then(|expected| expected.body.as_ref()) {
        Some(body) => judge_body(all, &at("the body"), body, &got.body),
        None if got.body != sent.body => {
            all.differs(&at("the body"), &body_shown(&sent.body), &body_shown(&got.body));
        }
        None => {}
    }
    if let Some(expected) = expected {
        test_fields(all, &at("the header"), &expected.headers, &got.headers);
        test_fields(all, &at("the trailer"), &expected.trailers, &got.trailers);
    }
}

fn judge_reply(all: &mut Judged, name: &str, expected: &ExpectedReply, came: &Reply) {
    let of = |what: &str| format!("{name}: {what} of the reply");
    if let Some(status) = expected.status.filter(|status| *status != came.status) {
        all.differs(&of("the status"), &status.to_string(), &format!("{} {}", came.status, body_shown(&came.body)));
    }
    let json: Option<Value> = serde_json::from_slice(&came.body).ok();
    let problem = json.as_ref().map(problem_of);
    let text = |key: &str| problem.and_then(|problem| problem.get(key)).and_then(Value::as_str);
    if let Some(kind) = &expected.problem {
        let found = text("type").and_then(|found| found.strip_prefix("urn:holdgate:problem:"));
        if found != Some(kind.as_str()) {
            let found = found.map_or_else(
                || format!("{} {}", came.status, body_shown(&came.body)),
                |found| format!("`{found}` ({}): {}", came.status, text("detail").unwrap_or_default()),
            );
            all.differs(&of("the problem"), &format!("`{kind}`"), &found);
        }
    }
    let wanted = [("next_action", expected.next_action.as_ref().map(|action| Some(action.as_str())))];
    let rule = [("rule", expected.rule.as_ref().map(Option::as_deref))];
    for (key, wanted) in wanted.into_iter().chain(rule) {
        if let Some(wanted) = wanted.filter(|wanted| *wanted != text(key)) {
            all.differs(&of(&format!("`{key}`")), wanted.unwrap_or("none"), text(key).unwrap_or("none"));
        }
    }
    test_fields(all, &of("the header"), &expected.headers, &came.headers);
    if let Some(body) = &expected.body {
        judge_body(all, &of("the body"), body, &came.body);
    }
}

/// The problem of an answer: itself, or what an MCP message carries.
fn problem_of(json: &Value) -> &Value {
    let places = ["/result/_meta/holdgate~1problem", "/error/data"];
    places.iter().find_map(|place| json.pointer(place)).unwrap_or(json)
}

fn judge_body(all: &mut Judged, what: &str, expected: &Bodied, came: &[u8]) {
    match expected {
        Bodied::Bytes(bytes) if bytes == came => {}
        Bodied::Bytes(bytes) => all.differs(what, &body_shown(bytes), &body_shown(came)),
        Bodied::Json(json) => {
            let wanted = super::merge::to_value(json);
            match of_bytes(came) {
                Some(found) if values::equal(&wanted, &found) => {}
                _ => all.differs(what, &wanted.to_string(), &body_shown(came)),
            }
        }
        Bodied::Members(members) => match of_bytes(came) {
            Some(found) => {
                for (pointer, test) in members {
                    test_value(all, &format!("{what}, `{}`", pointer.as_str()), test, member(&found, pointer));
                }
            }
            None => all.differs(what, "JSON", &body_shown(came)),
        },
    }
}

fn judge_logs(all: &mut Judged, parts: &[String], lines: &[String]) {
    if parts.is_empty() && !lines.is_empty() {
        all.differs("the log", "no warning", &lines.join("; "));
    }
    for part in parts.iter().filter(|part| !lines.iter().any(|line| line.contains(part.as_str()))) {
        let came = if lines.is_empty() { "no line".to_owned() } else { lines.join("; ") };
        all.differs("the log", &format!("a line with `{part}`"), &came);
    }
}

/// Each expected record is met by one of its own, and none is left over.
fn judge_records(all: &mut Judged, expected: &[holdgate_authoring::cases::Members], came: &[Value]) {
    let mut left: Vec<&Value> = came.iter().collect();
    for record in expected {
        match left.iter().position(|found| values::has_members(found, record)) {
            Some(place) => drop(left.remove(place)),
            None => {
                let found: Vec<String> = left.iter().map(|record| short(record)).collect();
                all.differs("an audit record", &describe(record), &or_none(&found));
            }
        }
    }
    if !left.is_empty() && expected.len() < came.len() {
        let found: Vec<String> = left.iter().map(|record| short(record)).collect();
        all.differs("the audit records", &format!("{} of them", expected.len()), &format!("also {}", or_none(&found)));
    }
}

fn judge_callouts(all: &mut Judged, expected: &Callout, came: &[Arrived]) {
    let of_kind = || came.iter().filter(|arrived| arrived.call == expected.call);
    let meets = |arrived: &&Arrived| {
        expected.members.is_empty()
            || of_bytes(&arrived.body).is_some_and(|body| values::has_members(&body, &expected.members))
    };
    let count = u64::try_from(of_kind().filter(meets).count()).unwrap_or(u64::MAX);
    let (fits, wanted) = match expected.count {
        Quantity::Some => (count > 0, "at least one".to_owned()),
        Quantity::Exactly(wanted) => (count == wanted, wanted.to_string()),
    };
    if !fits {
        let what = format!("the calls of `{}`{}", call_word(expected), describe(&expected.members));
        let found: Vec<String> = of_kind().map(|arrived| body_shown(&arrived.body)).collect();
        all.differs(&what, &wanted, &format!("{count}; all of this kind: {}", or_none(&found)));
    }
}

fn call_word(callout: &Callout) -> &'static str {
    use holdgate_authoring::cases::ServiceCall as Call;
    match callout.call {
        Call::Holds => "holds",
        Call::Redemptions => "redemptions",
        Call::Outcomes => "outcomes",
        Call::Detach => "detach",
        Call::Feed => "feed",
        Call::State => "state",
        Call::Bundles => "bundles",
        Call::Audit => "audit",
        Call::Tasks => "tasks",
    }
}

fn or_none(found: &[String]) -> String {
    if found.is_empty() { "none".to_owned() } else { found.join(", ") }
}

fn short(record: &Value) -> String {
    let of = |place: &str| record.pointer(place).and_then(Value::as_str).unwrap_or("-");
    format!(
        "{{effect {}, decided by {}, code {}, {} {}}}",
        of("/effect"),
        of("/decided_by"),
        of("/code"),
        of("/request/method"),
        of("/request/path")
    )
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Forwarded => "forwarded to the upstream",
        Outcome::Answered => "answered by the gateway",
        Outcome::Waiting => "waiting",
        Outcome::Gone => "gone: its agent hung up",
        Outcome::Reset => "its stream was reset",
    }
}

/// What came of a request, in a few words.
fn told(came: &ObservedRequest) -> String {
    match (&came.reply, came.outcome()) {
        (Some(reply), outcome) => format!("{}: {} {}", word(outcome), reply.status, body_shown(&reply.body)),
        (None, outcome) => word(outcome).to_owned(),
    }
}

fn wanted(reply: &ExpectedReply) -> String {
    match (&reply.problem, reply.status) {
        (Some(problem), _) => format!("the problem `{problem}`"),
        (None, Some(status)) => format!("an answer with {status}"),
        (None, None) => "an answer".to_owned(),
    }
}

#[cfg(test)]
mod tests;
