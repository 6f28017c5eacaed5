//! A request with the verdict that is expected of it: the `tests` of rule files, and the corpus of cases.

use std::collections::BTreeMap;

use holdgate_engine::{Body, Caller, Request};
use holdgate_protocol::{Json, bundle::Effect};

use crate::{
    diagnostic::Span,
    node::{Member, Node, Value},
    reader::{Reader, Scalar, Shape},
    rule::EFFECTS,
};

const TEST: Shape = Shape { what: "a test", keys: &["name", "request", "expect"], later: &[] };
const REQUEST: Shape =
    Shape { what: "`request`", keys: &["agent", "http", "body"], later: &["mcp", "tags", "rate", "time"] };
const HTTP: Shape =
    Shape { what: "`http` of a request", keys: &["method", "host", "path"], later: &["headers", "query"] };
const HTTP_WITH_HEADERS: Shape =
    Shape { what: "`http` of a request", keys: &["method", "host", "path", "headers"], later: &["query"] };
const AGENT: Shape =
    Shape { what: "`agent` of a request", keys: &["id", "issuer", "owner", "claims"], later: &["act"] };
const EXPECT: Shape = Shape { what: "`expect`", keys: &["effect", "rule", "rules", "factors"], later: &["reason"] };

/// A request as an example describes it, and what the policy must say about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    pub name: String,
    /// The place of the name.
    pub at: Span,
    pub method: String,
    pub host: String,
    /// Canonical, without a query.
    pub path: String,
    /// Headers in the order of the file; only cases have some.
    pub headers: Vec<(String, String)>,
    pub agent: Option<ExampleAgent>,
    pub body: Option<Json>,
    pub expect: Expectation,
}

/// The verified agent of an example.
#[derive(Clone, Debug, PartialEq)]
pub struct ExampleAgent {
    pub id: String,
    pub issuer: String,
    /// `agent.owner`, else the claim `owner` where it is a text.
    pub owner: Option<String>,
    /// An object.
    pub claims: Json,
}

/// What is expected; `None` members are not compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    pub effect: Effect,
    pub rule: Option<RuleExpectation>,
    /// Exactly the rules that hold, sorted.
    pub rules: Option<Vec<String>>,
    /// Exactly the factors of the united requirement.
    pub factors: Option<BTreeMap<String, u32>>,
}

/// The rule that decides: the first of the policy with the effect that comes out.
#[derive(Clone, Debug, PartialEq)]
pub enum RuleExpectation {
    /// `rule: null`: denied because no rule matched.
    NoRule,
    Rule(String),
}

impl Example {
    /// The request as the engine sees it once the body is known.
    pub fn request(&self) -> Request<'_> {
        let agent = self.agent.as_ref().map(|agent| Caller {
            iss: &agent.issuer,
            id: &agent.id,
            owner: agent.owner.as_deref(),
            claims: &agent.claims,
        });
        let body = self.body.as_ref().map_or(Body::Empty, Body::Json);
        Request { agent, body, ..Request::new(&self.method, &self.host, &self.path) }
    }
}

/// Reads one of the `tests` of a rule file.
pub(crate) fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Example> {
    read_as(reader, node, &TEST, &HTTP)
}

/// Reads one case of the corpus, which may have headers.
pub(crate) fn read_case(reader: &mut Reader<'_>, node: &Node, shape: &Shape) -> Option<Example> {
    read_as(reader, node, shape, &HTTP_WITH_HEADERS)
}

fn read_as(reader: &mut Reader<'_>, node: &Node, shape: &Shape, http_shape: &Shape) -> Option<Example> {
    let fields = reader.fields(node, shape)?;
    let name = reader.require(fields, "name", shape.what);
    let name = name.and_then(|node| Some((reader.text(node, "`name`")?, node.span)));
    let expect = reader.require(fields, "expect", shape.what).and_then(|node| read_expectation(reader, node));
    let request = reader.require(fields, "request", shape.what).and_then(|node| reader.fields(node, &REQUEST))?;
    let agent = request.get("agent").map_or(Some(None), |node| read_agent(reader, node));
    let body = request.get("body").map_or(Some(None), |node| reader.json(node, "`body`").map(Some));
    let http = reader.require(request, "http", "`request`").and_then(|node| reader.fields(node, http_shape))?;
    let method = reader.require(http, "method", "`http`").and_then(|node| reader.text(node, "`method`"));
    let host = http.get("host").map_or(Some("api.example".into()), |node| reader.text(node, "`host`"));
    let path = reader.require(http, "path", "`http`").and_then(|node| read_path(reader, node));
    let mut headers = Vec::new();
    if let Some(node) = http.get("headers") {
        for Member { key, value, .. } in reader.members(node, "`headers`").unwrap_or_default() {
            headers.push((key.clone(), reader.text(value, "a header")?));
        }
    }
    let (name, at) = name?;
    Some(Example {
        name,
        at,
        method: method?,
        host: host?,
        path: path?,
        headers,
        agent: agent?,
        body: body?,
        expect: expect?,
    })
}

fn read_path(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let path = reader.text(node, "`path`")?;
    if path.contains(['?', '#']) {
        return reader.error(node.span, "a rule sees the path without its query; leave the query out");
    }
    if path.starts_with('/') { Some(path) } else { reader.error(node.span, "a path starts with `/`") }
}

/// `Some(None)` is a request without a verified agent.
fn read_agent(reader: &mut Reader<'_>, node: &Node) -> Option<Option<ExampleAgent>> {
    if let Value::Scalar { .. } = node.value {
        return match reader.scalar(node, "`agent`")? {
            Scalar::Null => Some(None),
            _ => reader.error(node.span, "`agent` must be a map, or null for a request without an agent"),
        };
    }
    let fields = reader.fields(node, &AGENT)?;
    let mut text = |key: &str, default: &str| {
        let given = fields.get(key);
        given.map_or_else(|| Some(default.to_owned()), |node| reader.text(node, &format!("`{key}`")))
    };
    let (id, issuer) = (text("id", "test-agent"), text("issuer", "https://idp.example"));
    let claims = match fields.get("claims") {
        None => Some(Json::object([])),
        Some(node) => {
            reader.members(node, "`claims`")?;
            reader.json(node, "`claims`")
        }
    }?;
    let claimed = claims.as_object().and_then(|claims| claims.get("owner")).and_then(Json::as_str).map(str::to_owned);
    let owner = match fields.get("owner") {
        Some(node) => Some(reader.text(node, "`owner`")?),
        None => claimed,
    };
    Some(Some(ExampleAgent { id: id?, issuer: issuer?, owner, claims }))
}

fn read_expectation(reader: &mut Reader<'_>, node: &Node) -> Option<Expectation> {
    let fields = reader.fields(node, &EXPECT)?;
    let effect =
        reader.require(fields, "effect", "`expect`").and_then(|node| reader.word(node, "an effect", &EFFECTS))?;
    for key in ["rules", "factors"] {
        if effect != Effect::Hold && fields.get(key).is_some() {
            let message = format!("`{key}` is what a hold needs; with this effect write `rule`");
            reader.error::<()>(fields.at(key), message);
        }
    }
    let rule = match fields.get("rule") {
        None => None,
        Some(node) => Some(match reader.scalar(node, "`rule`")? {
            Scalar::Null if effect == Effect::Deny => RuleExpectation::NoRule,
            Scalar::Null => return reader.error(node.span, "without a rule a request is denied; name the rule"),
            _ => RuleExpectation::Rule(reader.text(node, "`rule`")?),
        }),
    };
    let rules = match fields.get("rules") {
        None => None,
        Some(node) => {
            let mut rules = reader.texts(node, "`rules`")?;
            rules.sort();
            Some(rules)
        }
    };
    let factors = match fields.get("factors") {
        None => None,
        Some(node) => {
            let mut factors = BTreeMap::new();
            for Member { key, value, .. } in reader.members(node, "`factors`")? {
                factors.insert(key.clone(), reader.count(value, "a number of approvals")?);
            }
            Some(factors)
        }
    };
    Some(Expectation { effect, rule, rules, factors })
}
