//! `holdgate approvals show`: what a reviewer must see.

use std::fmt::{self, Write as _};

use holdgate_protocol::from_b64;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Service, hold_path,
    shown::{body, line, lines, moment, span, until},
};
use crate::{failure::Failure, output::Outcome};

/// A hold with all that was captured, as far as it is shown. Members of a newer service are left alone.
#[derive(Deserialize)]
pub(super) struct Hold {
    pub(super) id: String,
    group: String,
    pub(super) state: String,
    cause: Option<String>,
    opened_at: u64,
    expires_at: u64,
    agent: Agent,
    policy: Policy,
    rules: Vec<Rule>,
    requirement: Requirement,
    missing: Vec<Missing>,
    pub(super) digest: String,
    components: Vec<String>,
    request: Option<Request>,
    agent_reason: Option<String>,
    owner_unknown: Option<String>,
    decisions: Vec<Decision>,
    outcomes: Vec<Reported>,
    hindrance: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Agent {
    iss: String,
    sub: String,
    #[serde(default)]
    act: Vec<Actor>,
    owner: Option<String>,
}

#[derive(Deserialize)]
struct Actor {
    iss: String,
    sub: String,
}

#[derive(Deserialize)]
struct Policy {
    id: String,
    serial: u64,
    rev: String,
}

#[derive(Deserialize)]
struct Rule {
    id: String,
    reason: Option<String>,
}

#[derive(Deserialize)]
struct Requirement {
    reason: bool,
    use_within: u64,
    #[serde(default)]
    codes: Vec<String>,
    #[serde(default)]
    unbind: Vec<String>,
}

/// Approvals that a hold still needs.
#[derive(Deserialize)]
pub(super) struct Missing {
    role: String,
    approvals: u32,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.approvals, line(&self.role))
    }
}

#[derive(Deserialize)]
struct Request {
    method: String,
    scheme: String,
    authority: String,
    path: String,
    query: Option<String>,
    fields: Vec<(String, String)>,
    body: Body,
}

#[derive(Deserialize)]
struct Body {
    b64: Option<String>,
    size: u64,
    redacted: Vec<String>,
}

#[derive(Deserialize)]
struct Decision {
    person: String,
    name: String,
    verdict: String,
    role: String,
    reason: String,
    #[serde(default)]
    code: Option<String>,
    decided_at: u64,
}

#[derive(Deserialize)]
struct Reported {
    forwarded: bool,
    status: Option<u16>,
}

impl Agent {
    /// Who acts.
    pub(super) fn caller(&self) -> &str {
        self.act.first().map_or(&self.sub, |actor| &actor.sub)
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let now = holdgate_host::clock::now() / 1000;
        let mut facts: Vec<(&str, String)> = vec![("hold", line(&self.id))];
        let cause = self.cause.as_deref().map(|cause| format!(" ({})", line(cause))).unwrap_or_default();
        facts.push(("state", format!("{}{cause}", line(&self.state))));
        facts.push(("opened", moment(self.opened_at)));
        facts.push(("deadline", format!("{} ({})", moment(self.expires_at), until(self.expires_at, now))));
        facts.extend(self.agent_facts());
        for Rule { id, reason } in &self.rules {
            let reason = reason.as_deref().map(|reason| format!(": {}", line(reason))).unwrap_or_default();
            facts.push(("rule", format!("{}{reason}", line(id))));
        }
        let Policy { id, serial, rev } = &self.policy;
        facts.push(("policy", format!("{}, serial {serial}, revision {}", line(id), line(rev))));
        facts.push(("gateways", line(&self.group)));
        let missing: Vec<String> = self.missing.iter().map(ToString::to_string).collect();
        facts.push(("missing", if missing.is_empty() { "nothing".to_owned() } else { missing.join(", ") }));
        facts.push(("use within", span(self.requirement.use_within)));
        if self.requirement.reason {
            facts.push(("reason", "is required (`--reason`)".to_owned()));
        }
        if !self.requirement.codes.is_empty() {
            facts.push(("codes", line(&self.requirement.codes.join(", "))));
        }
        facts.push(("digest", line(&self.digest)));
        facts.push(("covers", line(&self.components.join(", "))));
        if !self.requirement.unbind.is_empty() {
            facts.push(("not covered", line(&self.requirement.unbind.join(", "))));
        }
        for (name, text) in facts {
            writeln!(f, "{name:<12}{text}")?;
        }
        if let Some(why) = &self.owner_unknown {
            writeln!(f, "nobody can approve: {}", line(why))?;
        }
        match &self.request {
            Some(request) => write!(f, "{request}")?,
            None => writeln!(f, "request: its content was deleted after its time")?,
        }
        if let Some(reason) = &self.agent_reason {
            writeln!(f, "the agent says (unverified):\n{}", lines(reason, "  | "))?;
        }
        for decision in &self.decisions {
            write!(f, "{decision}")?;
        }
        self.write_outcomes(f)?;
        match &self.hindrance {
            Some(why) => writeln!(f, "you cannot decide: {}", line(why)),
            None => Ok(()),
        }
    }
}

impl Hold {
    fn agent_facts(&self) -> Vec<(&'static str, String)> {
        let Agent { iss, sub, act, owner } = &self.agent;
        let named = |iss: &str, sub: &str| format!("{} of {}", line(sub), line(iss));
        let mut facts = Vec::new();
        for (place, Actor { iss, sub }) in act.iter().enumerate() {
            facts.push((if place == 0 { "agent" } else { "on behalf of" }, named(iss, sub)));
        }
        facts.push((if act.is_empty() { "agent" } else { "on behalf of" }, named(iss, sub)));
        facts.push(("owner", owner.as_deref().map_or_else(|| "none".to_owned(), line)));
        facts
    }

    fn write_outcomes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.state == "used" && self.outcomes.is_empty() {
            return writeln!(f, "no outcome was reported: whether it reached the upstream is unknown");
        }
        self.outcomes.iter().try_for_each(|outcome| match outcome {
            Reported { forwarded: true, status: Some(status) } => {
                writeln!(f, "it went upstream, which answered {status}")
            }
            Reported { forwarded: true, status: None } => writeln!(f, "it went upstream; no answer is known"),
            Reported { forwarded: false, .. } => writeln!(f, "the gateway did not let it go on"),
        })
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Request { method, scheme, authority, path, query, fields, body: Body { b64, size, redacted } } = self;
        let query = query.as_deref().map(|query| format!("?{query}")).unwrap_or_default();
        writeln!(f, "request:\n  {} {}", line(method), line(&format!("{scheme}://{authority}{path}{query}")))?;
        for (name, value) in fields {
            writeln!(f, "  {}: {}", line(name), line(value))?;
        }
        let bytes = b64.as_deref().and_then(from_b64);
        let mut notes = String::new();
        if !redacted.is_empty() {
            let places: Vec<String> = redacted.iter().map(|pointer| line(pointer)).collect();
            let _ = write!(notes, "; redacted in {} places: {}", redacted.len(), places.join(", "));
        }
        if let Some(bytes) = &bytes
            && bytes.len() as u64 != *size
        {
            let _ = write!(notes, "; {} bytes were captured of it", bytes.len());
        }
        writeln!(f, "  body: {size} bytes{notes}")?;
        match bytes {
            Some(bytes) if bytes.is_empty() => Ok(()),
            Some(bytes) => writeln!(f, "{}", body(&bytes, "  | ")),
            None if *size > 0 => writeln!(f, "  (what may be seen of it cannot be told from the rest)"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Decision { person, name, verdict, role, reason, code, decided_at } = self;
        let verb = match verdict.as_str() {
            "approve" => "approved",
            "deny" => "denied",
            other => other,
        };
        write!(f, "{} by {} ({}) as {}, {}", line(verb), line(name), line(person), line(role), moment(*decided_at))?;
        if let Some(code) = code {
            write!(f, ", code {}", line(code))?;
        }
        match reason.trim() {
            "" => writeln!(f),
            reason => writeln!(f, ":\n{}", lines(reason, "  | ")),
        }
    }
}

/// Everything about one hold: as it came, and as it is shown.
pub(super) fn detail(service: &Service, id: &str) -> Result<(Value, Hold), Failure> {
    let value: Value = service.get(hold_path(id, "")?)?;
    let hold = Hold::deserialize(&value).map_err(|error| service.0.unreachable(error))?;
    Ok((value, hold))
}

#[derive(Serialize)]
struct Report {
    holds: Vec<Value>,
    #[serde(skip)]
    text: String,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

pub(super) fn run(service: &Service, ids: &[String]) -> Result<Outcome, Failure> {
    let (mut holds, mut texts) = (Vec::new(), Vec::new());
    for id in ids {
        let (value, hold) = detail(service, id)?;
        texts.push(hold.to_string());
        holds.push(value);
    }
    Outcome::good(&Report { holds, text: texts.join("\n") })
}
