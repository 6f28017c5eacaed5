//! What a policy says about recorded requests, and whether the record was enough to say it.
//!
//! A log does not tell all that rules look at. Such attributes are replaced by parts of a body that was not read: the
//! engine then says by itself whether they could change the verdict ([`Policy::evaluate_head`]), and counts them against
//! the request where it has to decide ([`Policy::evaluate`]).

use std::collections::BTreeSet;

use holdgate_engine::{
    Atom, Attribute, Body, Caller, Conditions, Expr, Field, Head, Mcp, Policy, Request, RuleIndex, Test, Verdict,
    conditions::{By, Comparison, Rate, Source, Tag, ValueTest},
    header_values,
};
use holdgate_gate::Parameters;
use holdgate_protocol::{
    Json, Pointer,
    bundle::{self, Bundle, Effect, Mode, Rule},
};

use super::{
    rates::Rates,
    record::{Agent, Headers, Record},
};
use crate::failure::Failure;

/// A policy that is asked about records.
pub(crate) struct Judge {
    bundle: Bundle<Conditions>,
    /// The policy for each kind of record that came up.
    variants: Vec<(Known, Policy)>,
    rates: Rates,
    /// Paths of MCP endpoints.
    mcp: Vec<String>,
    /// What rules look at and some record did not tell, with the place of the rule.
    untold: BTreeSet<(&'static str, usize)>,
    nothing: Json,
}

/// What the policy says about a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judged {
    pub(crate) verdict: Verdict,
    /// False where something that the record does not tell could change the verdict.
    pub(crate) certain: bool,
}

/// Which attributes a record tells.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    agent: bool,
    query: bool,
    body: bool,
    /// `None`: all.
    headers: Option<Vec<String>>,
    time: bool,
    /// False for a message to an MCP endpoint that cannot be read.
    mcp: bool,
}

/// A request that the filter refuses before any rule is asked.
pub(crate) struct Refused(pub(crate) String);

impl Judge {
    pub(crate) fn new(bytes: &[u8], mcp: &[String]) -> Result<Self, Failure> {
        let refused = |problem: bundle::BundleError| Failure::Bundle { file: "the policy".into(), problem };
        let bundle = bundle::read::<Conditions>(bytes).map_err(refused)?;
        let nothing = Json::object([]);
        let (mcp, untold) = (mcp.to_vec(), BTreeSet::new());
        Ok(Judge { bundle, variants: Vec::new(), rates: Rates::default(), mcp, untold, nothing })
    }

    /// The rules in the order of the policy, to which verdicts of every record refer.
    pub(crate) fn bundle(&self) -> &Bundle<Conditions> {
        &self.bundle
    }

    /// What rules look at and some record did not tell, with the number of rules.
    pub(crate) fn looked_at(&self) -> Vec<(&'static str, usize)> {
        let rules = |kind: &str| self.untold.iter().filter(|(untold, _)| *untold == kind).count();
        KINDS.into_iter().map(|kind| (kind, rules(kind))).filter(|(_, rules)| *rules > 0).collect()
    }

    /// The number of rules that ask for MCP messages, where no path is said to be an MCP endpoint.
    pub(crate) fn blind_to_mcp(&self) -> usize {
        let asks = |rule: &&Rule<Conditions>| {
            rule.conditions.atoms().flat_map(Atom::attributes).any(|attribute| kind(attribute) == Some("mcp"))
        };
        if self.mcp.is_empty() { self.bundle.rules.iter().filter(asks).count() } else { 0 }
    }

    /// Asks about one record, and calls `look` with the policy and the request that it was asked about.
    pub(crate) fn judge(
        &mut self,
        record: &Record<'_>,
        mut look: impl FnMut(&Policy, &Request<'_>, Judged),
    ) -> Result<Result<Judged, Refused>, Failure> {
        let head = match read_head(record) {
            Ok(head) => head,
            Err(refused) => return Ok(Err(refused)),
        };
        // A body that is no JSON with one reading is as unknown as one that was not recorded.
        let body = record
            .body
            .as_deref()
            .and_then(|text| if text.is_empty() { Some(None) } else { Json::parse(text.as_bytes()).ok().map(Some) });
        let is_mcp = record.method == "POST" && self.mcp.iter().any(|path| path == head.path());
        let mcp = if is_mcp { message(body.as_ref()) } else { Mcp::None };
        let index = self.variant(record, body.is_some(), !matches!(mcp, Mcp::Unread))?;
        let Some((_, policy)) = self.variants.get(index) else { return Ok(Err(Refused("no policy".into()))) };
        let parameters = match Parameters::of(policy, &head) {
            Ok(parameters) => parameters,
            Err(wrong) => return Ok(Err(Refused(wrong.0))),
        };
        let query = if record.has_query { parameters.fields() } else { Vec::new() };
        let headers: Vec<Field<'_>> = match &record.headers {
            Headers::All(_) => head.fields().flat_map(|(name, value)| values(name, value)).collect(),
            Headers::Some(fields) => {
                let there = fields.iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
                there.flat_map(|(name, value)| values(name, value)).collect()
            }
        };
        // The body stands in the place of the claims, of which no record tells.
        let wrapped;
        let claims = match &body {
            Some(Some(body)) => {
                wrapped = Json::object([(BODY, body.clone())]);
                &wrapped
            }
            _ => &self.nothing,
        };
        let agent = match &record.agent {
            Agent::Nobody => None,
            Agent::Untold => Some(Caller { iss: "", id: "", owner: None, claims }),
            Agent::Told { iss, id, owner } => Some(Caller { iss, id, owner: owner.as_deref(), claims }),
        };
        let request = Request {
            query: &query,
            headers: &headers,
            agent,
            body: Body::Unread,
            mcp,
            time: record.time,
            ..Request::new(head.method(), head.host(), head.path())
        };
        let rates = self.rates.count(policy, &request, record);
        let request = Request { rates, ..request };
        let judged = match policy.evaluate_head(&request) {
            Head::Decided(verdict) => Judged { verdict, certain: true },
            Head::NeedsBody => Judged { verdict: policy.evaluate(&request), certain: false },
        };
        look(policy, &request, judged);
        Ok(Ok(judged))
    }

    /// The place of the policy for records of this kind.
    fn variant(&mut self, record: &Record<'_>, body: bool, mcp: bool) -> Result<usize, Failure> {
        let fits = |known: &Known| {
            let headers = match (&known.headers, &record.headers) {
                (None, Headers::All(_)) => true,
                (Some(known), Headers::Some(told)) => {
                    known.len() == told.len() && known.iter().zip(told).all(|(known, (told, _))| known == told)
                }
                _ => false,
            };
            let agent = !matches!(record.agent, Agent::Untold);
            let others = known.query == record.has_query && known.time == record.time.is_some();
            headers && others && known.agent == agent && known.body == body && known.mcp == mcp
        };
        if let Some(index) = self.variants.iter().position(|(known, _)| fits(known)) {
            return Ok(index);
        }
        let known = Known {
            agent: !matches!(record.agent, Agent::Untold),
            query: record.has_query,
            body,
            headers: match &record.headers {
                Headers::All(_) => None,
                Headers::Some(told) => Some(told.iter().map(|(name, _)| name.to_string()).collect()),
            },
            time: record.time.is_some(),
            mcp,
        };
        // A log whose lines differ without end does not fill the memory.
        self.variants.truncate(MAX_VARIANTS);
        let policy = known.policy(&self.bundle)?;
        self.untold.extend(known.untold(&self.bundle));
        self.variants.push((known, policy));
        Ok(self.variants.len() - 1)
    }
}

/// The most kinds of records that are kept ready.
const MAX_VARIANTS: usize = 16;

/// Where the recorded body stands among the claims.
const BODY: &str = "body";

impl Known {
    /// The policy in which what is not known is a part of a body that was not read.
    fn policy(&self, bundle: &Bundle<Conditions>) -> Result<Policy, Failure> {
        let mut bundle = bundle.clone();
        for rule in &mut bundle.rules {
            let conditions = &mut rule.conditions;
            conditions.any.iter_mut().flatten().for_each(|atom| self.replace(atom));
            if let Some(when) = &mut conditions.when {
                self.replace_in(when);
            }
            rule.hash = bundle::rule_hash(&Json::from_serialize(conditions).map_err(Failure::Encode)?);
        }
        bundle.needs = holdgate_engine::needs(&bundle.rules);
        let bytes = Json::from_serialize(&bundle).map_err(Failure::Encode)?.to_jcs();
        Policy::load(&bytes).map_err(|problem| Failure::Load { file: bundle.id.into(), problem })
    }

    fn replace_in(&self, expr: &mut Expr) {
        match expr {
            Expr::All(parts) | Expr::Any(parts) => parts.iter_mut().for_each(|part| self.replace_in(part)),
            Expr::Is(atom) | Expr::IsNot(atom) => self.replace(atom),
        }
    }

    fn replace(&self, atom: &mut Atom) {
        match atom {
            Atom::Value(ValueTest { of, .. }) => self.replace_attribute(of),
            Atom::Compare(Comparison { left, right, .. }) => {
                self.replace_attribute(left);
                self.replace_attribute(right);
            }
            Atom::Rate(_) | Atom::Time(_) if self.is_told(atom) => {}
            Atom::Rate(_) | Atom::Time(_) => {
                *atom = Atom::Value(ValueTest { of: Attribute::Body(Pointer::root()), is: Test::Exists(true) });
            }
        }
    }

    /// Whether the record has what a rate or a time asks for.
    fn is_told(&self, atom: &Atom) -> bool {
        match atom {
            Atom::Rate(Rate { by, .. }) => self.time && (*by == By::Rule || self.agent),
            Atom::Time(_) => self.time,
            Atom::Value(_) | Atom::Compare(_) => true,
        }
    }

    /// What the rules look at and these records do not tell: the kind, and the place of the rule.
    fn untold(&self, bundle: &Bundle<Conditions>) -> Vec<(&'static str, usize)> {
        let mut untold = Vec::new();
        for (place, rule) in bundle.rules.iter().enumerate().filter(|(_, rule)| rule.mode == Mode::Enforce) {
            for atom in rule.conditions.atoms() {
                match atom {
                    Atom::Rate(_) if !self.is_told(atom) => untold.push(("rate", place)),
                    Atom::Time(_) if !self.is_told(atom) => untold.push(("time", place)),
                    _ => {}
                }
                let kinds = atom.attributes().filter(|attribute| !self.tells(attribute)).filter_map(kind);
                untold.extend(kinds.map(|kind| (kind, place)));
            }
        }
        untold
    }

    fn replace_attribute(&self, attribute: &mut Attribute) {
        match attribute {
            Attribute::Body(pointer) if self.body => {
                let steps = std::iter::once(BODY).chain(pointer.steps().iter().map(String::as_str));
                *attribute = Attribute::Claim(Pointer::of(steps));
            }
            // The engine knows by itself what a message that was not read means.
            Attribute::McpMethod | Attribute::McpTool | Attribute::McpArg(_) => {}
            other if self.tells(other) => {}
            other => *other = Attribute::Body(Pointer::root()),
        }
    }

    fn tells(&self, attribute: &Attribute) -> bool {
        match attribute {
            Attribute::AgentId | Attribute::AgentIssuer | Attribute::AgentOwner => self.agent,
            Attribute::Query(_) => self.query,
            Attribute::Header(name) | Attribute::Tag(Tag { source: Source::Header(name), .. }) => {
                self.headers.as_ref().is_none_or(|names| names.contains(name))
            }
            Attribute::Claim(_) | Attribute::Tag(Tag { source: Source::Claim(_), .. }) => false,
            Attribute::Body(_) => self.body,
            Attribute::McpMethod | Attribute::McpTool | Attribute::McpArg(_) => self.mcp,
            Attribute::Method | Attribute::Host | Attribute::Path | Attribute::Agent => true,
        }
    }
}

fn read_head(record: &Record<'_>) -> Result<holdgate_gate::Head, Refused> {
    let pair = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
    let mut pairs = vec![
        pair(":method", &record.method),
        pair(":scheme", "https"),
        pair(":authority", &record.authority),
        pair(":path", &record.target),
    ];
    if let Headers::All(headers) = &record.headers {
        pairs.extend(headers.iter().map(|(name, value)| pair(name, value)));
    }
    holdgate_gate::Head::read(pairs.into(), "authorization").map_err(|malformed| Refused(malformed.to_string()))
}

/// The message of a request to an MCP endpoint.
fn message(body: Option<&Option<Json>>) -> Mcp<'_> {
    let Some(Some(body)) = body else { return Mcp::Unread };
    let member = |of: &'static str| body.as_object().and_then(|message| message.get(of));
    let Some(method) = member("method").and_then(Json::as_str) else { return Mcp::Unread };
    let params = member("params").and_then(Json::as_object);
    Mcp::Message {
        method,
        tool: params.and_then(|params| params.get("name")).and_then(Json::as_str),
        args: params.and_then(|params| params.get("arguments")),
    }
}

/// The effect of a verdict, and the rule that decided.
pub(crate) fn parts(verdict: Verdict) -> (Effect, Option<RuleIndex>) {
    match verdict {
        Verdict::Allow(rule) => (Effect::Allow, Some(rule)),
        Verdict::Hold(rule) => (Effect::Hold, Some(rule)),
        Verdict::Deny(rule) => (Effect::Deny, rule),
    }
}

/// What people call that which a record may not tell.
fn kind(attribute: &Attribute) -> Option<&'static str> {
    match attribute {
        Attribute::AgentId | Attribute::AgentIssuer | Attribute::AgentOwner => Some("agent"),
        Attribute::Claim(_) | Attribute::Tag(Tag { source: Source::Claim(_), .. }) => Some("claims"),
        Attribute::Body(_) => Some("body"),
        Attribute::Query(_) => Some("query"),
        Attribute::Header(_) | Attribute::Tag(Tag { source: Source::Header(_), .. }) => Some("headers"),
        Attribute::McpMethod | Attribute::McpTool | Attribute::McpArg(_) => Some("mcp"),
        Attribute::Method | Attribute::Host | Attribute::Path | Attribute::Agent => None,
    }
}

/// A header with all values that rules see in it.
fn values<'a>(name: &'a str, value: &'a str) -> impl Iterator<Item = Field<'a>> {
    header_values(value).map(move |value| Field { name, value: Some(value) })
}

/// The order in which these are told.
const KINDS: [&str; 8] = ["agent", "claims", "body", "query", "headers", "mcp", "rate", "time"];
