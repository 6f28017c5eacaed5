//! A request with the verdict that is expected of it: the `tests` of rule files, and the corpus of cases.

use std::collections::BTreeMap;

use holdgate_engine::{Body, Caller, Field, Mcp, Policy, Request, conditions::Source, header_values};
use holdgate_protocol::{Json, Pointer, bundle::Effect};

use crate::{
    codes::Code,
    diagnostic::{Quoted, Span},
    node::{Member, Node, Value},
    path::{self, Fault},
    reader::{Fields, Reader, Scalar},
    rule::EFFECTS,
    shape::Shape,
    tags::Tags,
};

mod shapes;

use shapes::{AGENT, HTTP, MCP};
pub(crate) use shapes::{EXPECT, REQUEST, TEST};

/// 2026-01-07T12:00:00Z, a Wednesday.
const DEFAULT_TIME: i64 = 1_767_787_200;

/// The issuer of agents whose issuer an example does not name.
pub(crate) const ISSUER: &str = "https://idp.example";

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
    /// Decoded, in the order of the file.
    pub query: Vec<(String, String)>,
    /// In the order of the file, names in lower case, then those of asserted tags.
    pub headers: Vec<(String, String)>,
    pub agent: Option<ExampleAgent>,
    pub mcp: Option<ExampleMessage>,
    /// For an MCP message without a body of its own, the body that it makes.
    pub body: Option<Json>,
    pub rates: Rates,
    /// Unix seconds.
    pub time: i64,
    pub expect: Expectation,
    /// What `expect` names, with the places.
    pub(crate) named: Vec<Named>,
}

/// The MCP message of an example.
#[derive(Clone, Debug, PartialEq)]
pub struct ExampleMessage {
    pub method: String,
    pub tool: Option<String>,
    pub args: Option<Json>,
}

/// How many requests the rates have seen, this one included.
#[derive(Clone, Debug, PartialEq)]
pub enum Rates {
    All(u64),
    /// By the id of the rule, with the place of the key; those of other rules have seen one.
    Rules(BTreeMap<String, (u64, Span)>),
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

/// A rule or role that an expectation names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) what: What,
    pub(crate) name: String,
    pub(crate) at: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Rule,
    Role,
}

/// The rule that decides: the first of the policy with the effect that comes out.
#[derive(Clone, Debug, PartialEq)]
pub enum RuleExpectation {
    /// `rule: null`: denied because no rule matched.
    NoRule,
    Rule(String),
}

impl Rates {
    pub(crate) fn rules(&self) -> impl Iterator<Item = (&str, Span)> {
        let rules = match self {
            Rates::All(_) => None,
            Rates::Rules(rules) => Some(rules),
        };
        rules.into_iter().flatten().map(|(rule, (_, at))| (rule.as_str(), *at))
    }

    fn of(&self, rule: &str) -> u64 {
        match self {
            Rates::All(count) => *count,
            Rates::Rules(rules) => rules.get(rule).map_or(1, |(count, _)| *count),
        }
    }
}

impl Example {
    /// Lends the request as the engine sees it once the body is known.
    pub fn with_request<T>(&self, policy: &Policy, ask: impl FnOnce(Request<'_>) -> T) -> T {
        let agent = self.agent.as_ref().map(|agent| Caller {
            iss: &agent.issuer,
            id: &agent.id,
            owner: agent.owner.as_deref(),
            claims: &agent.claims,
        });
        let query: Vec<Field<'_>> = self.query.iter().map(field).collect();
        // As the gateway takes them: a list in one header is its members too.
        let headers = self
            .headers
            .iter()
            .flat_map(|(name, value)| header_values(value).map(move |value| Field { name, value: Some(value) }));
        let headers: Vec<Field<'_>> = headers.collect();
        let mcp = self.mcp.as_ref().map_or(Mcp::None, |message| Mcp::Message {
            method: &message.method,
            tool: message.tool.as_deref(),
            args: message.args.as_ref(),
        });
        let count = |rule| Some(self.rates.of(&policy.rule(rule).id));
        let rates: Vec<Option<u64>> = policy.rates().iter().map(|counter| count(counter.rule)).collect();
        ask(Request {
            query: &query,
            headers: &headers,
            agent,
            body: self.body.as_ref().map_or(Body::Empty, Body::Json),
            mcp,
            time: Some(self.time),
            rates: &rates,
            ..Request::new(&self.method, &self.host, &self.path)
        })
    }
}

fn field((name, value): &(String, String)) -> Field<'_> {
    Field { name, value: Some(value) }
}

/// Reads one of the `tests` of a rule file.
pub(crate) fn read(reader: &mut Reader<'_>, node: &Node, tags: &mut Tags) -> Option<Example> {
    read_as(reader, node, &TEST, tags)
}

/// Reads a test whose map may have other keys as well.
pub(crate) fn read_as(reader: &mut Reader<'_>, node: &Node, shape: &'static Shape, tags: &mut Tags) -> Option<Example> {
    let before = reader.found();
    let fields = reader.fields(node, shape)?;
    let name = reader.require(fields, "name");
    let name = name.and_then(|node| Some((reader.text(node, "`name`")?, node.span)));
    let expect = reader.require(fields, "expect").and_then(|node| read_expectation(reader, node));
    let request = reader.require(fields, "request").and_then(|node| reader.fields(node, &REQUEST))?;
    let mut agent = request.get("agent").map_or(Some(None), |node| read_agent(reader, node, &AGENT));
    let mcp = request.get("mcp").map_or(Some(None), |node| read_message(reader, node).map(Some));
    let body = request.get("body").map_or(Some(None), |node| reader.json(node, "`body`").map(Some));
    let rates = request.get("rate").map_or(Some(Rates::All(1)), |node| read_rates(reader, node));
    let time = request.get("time").map_or(Some(DEFAULT_TIME), |node| read_time(reader, node));
    let http = reader.require(request, "http").and_then(|node| reader.fields(node, &HTTP))?;
    let method = reader.require(http, "method").and_then(|node| read_method(reader, node));
    let host = http.get("host").map_or(Some("api.example".into()), |node| read_host(reader, node));
    let path = reader.require(http, "path").and_then(|node| read_path(reader, node));
    let query = read_texts(reader, http, "query")?;
    let mut headers = read_texts(reader, http, "headers")?;
    headers.iter_mut().for_each(|(name, _)| name.make_ascii_lowercase());
    if let (Some(node), Some(agent)) = (request.get("tags"), &mut agent) {
        put_tags(reader, node, tags, &mut headers, agent.as_mut());
    }
    let (name, at) = name?;
    let (expect, named) = expect?;
    let mcp = mcp?;
    if let (Some(message), Some(Some(body))) = (&mcp, &body)
        && !message.is_in(body)
    {
        let message = "the body of an MCP message is the message; `mcp` and `body` say different things";
        let help = "leave out `body`, or write the whole message there, with the method, tool and arguments of `mcp`";
        return reader.error_with_help(request.at("body"), Code::EitherOr, message, help);
    }
    let body = body?.or_else(|| mcp.as_ref().map(ExampleMessage::body));
    let example = Example {
        name,
        at,
        method: method?,
        host: host?.to_lowercase(),
        path: path?,
        query,
        headers,
        agent: agent?,
        mcp,
        body,
        rates: rates?,
        time: time?,
        expect,
        named,
    };
    (reader.found() == before).then_some(example)
}

fn read_method(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let method = reader.text(node, "`method`")?;
    if !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') {
        return Some(method);
    }
    let upper = method.to_uppercase();
    let help = match upper != method {
        true => format!("the gateway refuses it; write `{upper}`"),
        false => "write a method in upper case, such as `POST`".to_owned(),
    };
    reader.error_with_help(node.span, Code::NotAMethod, format!("{} is not a method", Quoted(&method)), help)
}

fn read_path(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let path = reader.text(node, "`path`")?;
    if path.contains(['?', '#']) {
        let help = "a rule sees the path without its query, which has a key of its own: `query: {name: value}`";
        let message = format!("{} has more than a path", Quoted(&path));
        return reader.error_with_help(node.span, Code::NotAPath, message, help);
    }
    if !path.starts_with('/') {
        let message = format!("{} is not a path: it starts with `/`", Quoted(&path));
        return reader.error(node.span, Code::NotAPath, message);
    }
    match path::fault(&path) {
        None => Some(path),
        Some(Fault { why, mend }) => {
            let message = format!("{} is a path that the gateway refuses: {why}", Quoted(&path));
            reader.error_with_help(node.span, Code::NotAPath, message, mend)
        }
    }
}

/// Names with a text or several, one pair for each text.
fn read_texts(reader: &mut Reader<'_>, fields: Fields<'_>, key: &str) -> Option<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    let Some(node) = fields.get(key) else { return Some(pairs) };
    let what = format!("a value of `{key}`");
    for Member { key, value, .. } in reader.members(node, &format!("`{key}`"))? {
        let values = match &value.value {
            Value::List(items) => items.as_slice(),
            _ => std::slice::from_ref(value),
        };
        for value in values {
            let text = read_literal(reader, value, &what)?.0;
            if text.chars().any(|c| c.is_control() && c != '\t') {
                let message = format!("{what} has a control character, and the gateway refuses such a request");
                return reader.error(value.span, Code::ControlCharacter, message);
            }
            pairs.push((key.clone(), text));
        }
    }
    Some(pairs)
}

/// A host as rules see it: without a port.
fn read_host(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let host = reader.text(node, "`host`")?;
    let port = host.rsplit_once(']').map_or(host.as_str(), |(_, port)| port).contains(':');
    if !port {
        return Some(host);
    }
    let message = format!("rules see a host without its port; leave out the port of {}", Quoted(&host));
    reader.error(node.span, Code::HostWithPort, message)
}

/// A single value as the text that is sent, and as JSON.
fn read_literal(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<(String, Json)> {
    let text = match reader.scalar(node, what)? {
        Scalar::Null => return reader.wrong(node.span, format!("{what} must be a text, not nothing")),
        Scalar::Bool(value) => value.to_string(),
        Scalar::Number(number) => number.as_str().to_owned(),
        Scalar::Text(text) => text,
    };
    Some((text, reader.json(node, what)?))
}

/// Puts tags where they come from: headers, or claims of the token.
fn put_tags(
    reader: &mut Reader<'_>,
    node: &Node,
    tags: &mut Tags,
    headers: &mut Vec<(String, String)>,
    mut agent: Option<&mut ExampleAgent>,
) {
    for Member { key, at, value } in reader.members(node, "`tags`").unwrap_or_default() {
        let Some(source) = tags.source(reader, key, *at) else { continue };
        let Some((text, json)) = read_literal(reader, value, "a tag") else { continue };
        match (source, agent.as_deref_mut()) {
            (Source::Header(header), _) => headers.push((header, text)),
            (Source::Claim(pointer), Some(agent)) => put(&mut agent.claims, pointer.steps(), json),
            (Source::Claim(pointer), None) => {
                let message =
                    format!("the tag {} is the claim `{pointer}`, and this request has no agent", Quoted(key));
                reader.error_with_help::<()>(*at, Code::EitherOr, message, "add `agent: {}`, or leave the tag out");
            }
        }
    }
}

/// Puts a value into an object, with the objects on the way to it.
fn put(json: &mut Json, steps: &[String], value: Json) {
    let Some((step, rest)) = steps.split_first() else {
        *json = value;
        return;
    };
    if json.as_object().is_none() {
        *json = Json::object([]);
    }
    if let Json::Object(object) = json {
        let mut inner = object.get(step).cloned().unwrap_or(Json::Null);
        put(&mut inner, rest, value);
        object.set(step.clone(), inner);
    }
}

fn read_message(reader: &mut Reader<'_>, node: &Node) -> Option<ExampleMessage> {
    let fields = reader.fields(node, &MCP)?;
    let method = fields.get("method").map_or(Some("tools/call".into()), |node| reader.text(node, "`method`"));
    let tool = fields.get("tool").map_or(Some(None), |node| reader.text(node, "`tool`").map(Some));
    let args = fields.get("args").map_or(Some(None), |node| reader.json(node, "`args`").map(Some));
    Some(ExampleMessage { method: method?, tool: tool?, args: args? })
}

impl ExampleMessage {
    /// Whether a body is this message.
    fn is_in(&self, body: &Json) -> bool {
        let at = |pointer: &[&str]| body.at(&Pointer::of(pointer));
        let text = |pointer: &[&str]| at(pointer).and_then(Json::as_str);
        text(&["method"]) == Some(&self.method)
            && text(&["params", "name"]) == self.tool.as_deref()
            && at(&["params", "arguments"]) == self.args.as_ref()
    }

    /// The JSON-RPC message.
    fn body(&self) -> Json {
        let text = |text: &str| Json::String(text.to_owned());
        let mut params = Json::object([]);
        if let Json::Object(members) = &mut params {
            let parts = [("name", self.tool.as_deref().map(text)), ("arguments", self.args.clone())];
            for (key, value) in parts.into_iter().filter_map(|(key, value)| Some((key, value?))) {
                members.set(key.to_owned(), value);
            }
        }
        let (version, method) = (text("2.0"), text(&self.method));
        Json::object([("jsonrpc", version), ("id", Json::integer(1)), ("method", method), ("params", params)])
    }
}

fn read_rates(reader: &mut Reader<'_>, node: &Node) -> Option<Rates> {
    let Value::Map(members) = &node.value else {
        return reader.count(node, "`rate`").map(Rates::All);
    };
    let mut rules = BTreeMap::new();
    for Member { key, at, value } in members {
        rules.insert(key.clone(), (reader.count(value, "a number of requests")?, *at));
    }
    Some(Rates::Rules(rules))
}

pub(crate) fn read_time(reader: &mut Reader<'_>, node: &Node) -> Option<i64> {
    let text = reader.text(node, "`time`")?;
    match text.parse::<jiff::Timestamp>() {
        Ok(time) => Some(time.as_second()),
        Err(_) => {
            let help = "write date, time and offset as RFC 3339 has them: `2026-01-07T12:00:00Z`";
            reader.error_with_help(node.span, Code::NotATime, format!("{} is not a time", Quoted(&text)), help)
        }
    }
}

/// `Some(None)` is a request without a verified agent. `shape` has the keys of an agent at least.
pub(crate) fn read_agent(reader: &mut Reader<'_>, node: &Node, shape: &'static Shape) -> Option<Option<ExampleAgent>> {
    if let Value::Scalar { .. } = node.value {
        return match reader.scalar(node, "`agent`")? {
            Scalar::Null => Some(None),
            _ => reader.wrong(node.span, "`agent` must be a map, or null for a request without an agent"),
        };
    }
    let fields = reader.fields(node, shape)?;
    let mut text = |key: &str, default: &str| {
        let given = fields.get(key);
        given.map_or_else(|| Some(default.to_owned()), |node| reader.text(node, &format!("`{key}`")))
    };
    let (id, issuer) = (text("id", "test-agent"), text("issuer", ISSUER));
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

fn read_expectation(reader: &mut Reader<'_>, node: &Node) -> Option<(Expectation, Vec<Named>)> {
    let fields = reader.fields(node, &EXPECT)?;
    let mut named = Vec::new();
    let mut note = |what: What, name: &str, at: Span| named.push(Named { what, name: name.to_owned(), at });
    let effect = reader.require(fields, "effect").and_then(|node| reader.word(node, "an effect", &EFFECTS))?;
    for key in ["rules", "factors"] {
        if effect != Effect::Hold && fields.get(key).is_some() {
            let message = format!("`{key}` is what a hold needs; with this effect write `rule`");
            reader.error::<()>(fields.at(key), Code::Expectation, message);
        }
    }
    let rule = match fields.get("rule") {
        None => None,
        Some(node) => Some(match reader.scalar(node, "`rule`")? {
            Scalar::Null if effect == Effect::Deny => RuleExpectation::NoRule,
            Scalar::Null => {
                let message = "without a rule a request is denied; name the rule";
                return reader.error(node.span, Code::Expectation, message);
            }
            _ => {
                let rule = reader.text(node, "`rule`")?;
                note(What::Rule, &rule, node.span);
                RuleExpectation::Rule(rule)
            }
        }),
    };
    let rules = match fields.get("rules") {
        None => None,
        Some(node) => {
            let mut rules = reader.texts(node, "`rules`")?;
            let items = if let Value::List(items) = &node.value { items.as_slice() } else { &[] };
            rules.iter().zip(items).for_each(|(rule, item)| note(What::Rule, rule, item.span));
            rules.sort();
            Some(rules)
        }
    };
    let factors = match fields.get("factors") {
        None => None,
        Some(node) => {
            let mut factors = BTreeMap::new();
            for Member { key, value, at } in reader.members(node, "`factors`")? {
                note(What::Role, key, *at);
                factors.insert(key.clone(), reader.count(value, "a number of approvals")?);
            }
            Some(factors)
        }
    };
    Some((Expectation { effect, rule, rules, factors }, named))
}
