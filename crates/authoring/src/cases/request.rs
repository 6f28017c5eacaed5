//! Requests of a scenario, as they are written to the proxy.

use std::collections::BTreeMap;

use holdgate_protocol::{Json, from_b64, json::Object};

use super::{
    Chunks, SentRequest, Token, Version,
    shapes::{AGENT, HTTP, LINE, MCP, REQUEST},
    steps::VERSIONS,
};
use crate::{
    codes::Code,
    diagnostic::{Quoted, Span},
    example::{self, ExampleAgent},
    node::{Node, Value},
    reader::{Fields, Reader, Scalar, nearest},
};

/// Seconds until a token expires.
const EXPIRES_IN: u64 = 3_600;

/// The owner of the usual agent.
const OWNER: &str = "group/iam";

/// The revision of MCP that is spoken where a case names none.
const REVISION: &str = "2025-06-18";

/// The most bytes of a body that a case describes.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// Requests by name, as the maps that they are read from.
pub(super) type Requests<'n> = BTreeMap<&'n str, &'n Node>;

/// The maps that a request is read from: its own, and those that it is like.
struct Chain<'n>(Vec<Fields<'n>>);

impl<'n> Chain<'n> {
    /// The first map that has the key.
    fn of(&self, key: &str) -> Option<Fields<'n>> {
        self.of_any(&[key])
    }

    /// The first map that has one of the keys: they exclude one another.
    fn of_any(&self, keys: &[&str]) -> Option<Fields<'n>> {
        self.0.iter().copied().find(|fields| keys.iter().any(|key| fields.get(key).is_some()))
    }

    fn get(&self, key: &str) -> Option<&'n Node> {
        self.of(key)?.get(key)
    }
}

/// Reads the request of a name.
pub(super) fn read(reader: &mut Reader<'_>, all: &Requests<'_>, name: &str, at: Span) -> Option<SentRequest> {
    let chain = chain(reader, all, name, at)?;
    let http = chain.get("http").map_or_else(|| Some(Line::default()), |node| read_http(reader, node))?;
    let token = read_token(reader, &chain)?;
    let mut headers = read_headers(reader, &chain)?;
    let body = read_body(reader, &chain, &mut headers)?;
    let chunks = chain.get("chunks").map_or(Some(Chunks::Whole), |node| read_chunks(reader, node))?;
    let pause = chain.get("pause").map_or(Some(0), |node| reader.time(node, "`pause`"))?;
    let trailers =
        chain.get("trailers").map_or_else(|| Some(Vec::new()), |node| read_pairs(reader, node, "a trailer"))?;
    let version =
        chain.get("version").map_or(Some(Version::Http1), |node| reader.word(node, "a version", &VERSIONS))?;
    let Line { method, target, host } = http;
    Some(SentRequest { token, method, target, host, version, headers, body, chunks, pause, trailers })
}

fn chain<'n>(reader: &mut Reader<'_>, all: &Requests<'n>, name: &str, at: Span) -> Option<Chain<'n>> {
    let mut maps: Vec<Fields<'n>> = Vec::new();
    let (mut name, mut at) = (name.to_owned(), at);
    loop {
        let Some(node) = all.get(name.as_str()) else {
            let known: Vec<&str> = all.keys().copied().collect();
            return unknown(reader, &name, at, &known);
        };
        if maps.len() > all.len() {
            let message = format!("the request {} is like itself", Quoted(&name));
            return reader.error(at, Code::EitherOr, message);
        }
        let fields = reader.fields(node, &REQUEST)?;
        maps.push(fields);
        let Some(like) = fields.get("like") else { return Some(Chain(maps)) };
        (name, at) = (reader.text(like, "`like`")?, like.span);
    }
}

/// Reports a name that no request has.
pub(super) fn unknown<T>(reader: &mut Reader<'_>, name: &str, at: Span, known: &[&str]) -> Option<T> {
    let help = match nearest(name, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "write requests under `requests`, or one under `request`".to_owned(),
        None => format!("the requests are {}", crate::reader::list(known)),
    };
    reader.error_with_help(at, Code::UnknownWord, format!("there is no request {}", Quoted(name)), help)
}

/// Method, target and authority.
struct Line {
    method: String,
    target: String,
    host: String,
}

impl Default for Line {
    fn default() -> Self {
        Line { method: "GET".to_owned(), target: "/".to_owned(), host: "api.example".to_owned() }
    }
}

fn read_http(reader: &mut Reader<'_>, node: &Node) -> Option<Line> {
    let mut line = Line::default();
    if let Value::Scalar { .. } = node.value {
        let text = reader.text(node, "`http`")?;
        let Some((method, target)) = text.split_once(' ') else {
            let help = "write method and target: `http: POST /iam/users/7/roles`";
            return reader.error_with_help(
                node.span,
                Code::NotAMethod,
                format!("{} is no request line", Quoted(&text)),
                help,
            );
        };
        (line.method, line.target) = (method.to_owned(), target.to_owned());
        return Some(line);
    }
    let fields = reader.fields(node, &HTTP)?;
    for (key, part) in [("method", &mut line.method), ("target", &mut line.target), ("host", &mut line.host)] {
        if let Some(node) = fields.get(key) {
            *part = reader.text(node, &format!("`{key}`"))?;
        }
    }
    Some(line)
}

fn read_token(reader: &mut Reader<'_>, chain: &Chain<'_>) -> Option<Token> {
    let usual = || ExampleAgent {
        id: "test-agent".to_owned(),
        issuer: example::ISSUER.to_owned(),
        owner: Some(OWNER.to_owned()),
        claims: Json::object([]),
    };
    let Some(fields) = chain.of_any(&["agent", "token"]) else {
        return Some(Token::Agent { agent: usual(), expires_in: EXPIRES_IN, forged: false });
    };
    let (agent, token) = (fields.get("agent"), fields.get("token"));
    match (agent, token) {
        (Some(_), Some(_)) => {
            let message = "`agent` and `token` say different things of one header; leave one out";
            reader.error(fields.at("token"), Code::EitherOr, message)
        }
        (None, Some(token)) => reader.text(token, "`token`").map(Token::Raw),
        (Some(agent), None) => {
            let (mut expires_in, mut forged) = (EXPIRES_IN, false);
            if let Value::Map(_) = agent.value {
                let fields = reader.fields(agent, &AGENT)?;
                if let Some(node) = fields.get("expires_in") {
                    expires_in = reader.duration(node, "`expires_in`", 365 * crate::reader::DAY)?;
                }
                if let Some(node) = fields.get("forged") {
                    forged = reader.bool(node, "`forged`")?;
                }
            }
            let agent = example::read_agent(reader, agent, &AGENT)?;
            Some(agent.map_or(Token::None, |agent| Token::Agent { agent, expires_in, forged }))
        }
        (None, None) => None,
    }
}

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

fn read_headers(reader: &mut Reader<'_>, chain: &Chain<'_>) -> Option<Pairs> {
    let mut headers = Vec::new();
    if let Some(node) = chain.get("headers") {
        headers.extend(read_pairs(reader, node, "a header")?);
    }
    if let Some(node) = chain.get("lines") {
        for item in reader.list(node, "`lines`")? {
            headers.push(read_line(reader, item)?);
        }
    }
    Some(headers)
}

fn read_pairs(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<Pairs> {
    let mut pairs = Vec::new();
    for member in reader.members(node, &format!("the map of {what}"))? {
        let values = match &member.value.value {
            Value::List(items) => items.as_slice(),
            _ => std::slice::from_ref(&member.value),
        };
        for value in values {
            let value = read_literal(reader, value, what)?;
            pairs.push((member.key.clone().into_bytes(), value.into_bytes()));
        }
    }
    Some(pairs)
}

/// A single value as the text that is sent; it may be empty.
pub(super) fn read_literal(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<String> {
    match reader.scalar(node, what)? {
        Scalar::Null => reader.wrong(node.span, format!("{what} must be a text, not nothing")),
        Scalar::Bool(value) => Some(value.to_string()),
        Scalar::Number(number) => Some(number.as_str().to_owned()),
        Scalar::Text(text) => Some(text),
    }
}

fn read_line(reader: &mut Reader<'_>, node: &Node) -> Option<(Vec<u8>, Vec<u8>)> {
    if let Value::Map(_) = node.value {
        let fields = reader.fields(node, &LINE)?;
        let name = reader.require(fields, "name").and_then(|node| reader.text(node, "`name`"));
        let value = reader.require(fields, "base64").and_then(|node| read_base64(reader, node));
        return Some((name?.into_bytes(), value?));
    }
    let line = reader.text(node, "a header line")?;
    let Some((name, value)) = line.split_once(':') else {
        let help = "write name and value: `- \"X-Name: value\"`";
        return reader.error_with_help(
            node.span,
            Code::NotAHeader,
            format!("{} is no header line", Quoted(&line)),
            help,
        );
    };
    Some((name.as_bytes().to_vec(), value.trim_matches([' ', '\t']).as_bytes().to_vec()))
}

pub(super) fn read_base64(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<u8>> {
    let text = reader.text(node, "`base64`")?;
    from_b64(&text).or_else(|| reader.wrong(node.span, format!("{} is not Base64 with padding", Quoted(&text))))
}

/// The octets of a body, and the headers that say what they are, where the case names none.
fn read_body(reader: &mut Reader<'_>, chain: &Chain<'_>, headers: &mut Pairs) -> Option<Vec<u8>> {
    const KINDS: [&str; 4] = ["body", "text", "base64", "mcp"];
    let Some(fields) = chain.of_any(&KINDS) else { return Some(Vec::new()) };
    let given: Vec<&str> = KINDS.into_iter().filter(|key| fields.get(key).is_some()).collect();
    if let [_, second, ..] = given.as_slice() {
        let message = format!("a request has one body, and there are {}", crate::reader::list(&given));
        return reader.error(fields.at(second), Code::EitherOr, message);
    }
    let mut name = |name: &str, value: &str| {
        if !headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name.as_bytes())) {
            headers.push((name.into(), value.into()));
        }
    };
    let (key, node) = given.first().and_then(|key| Some((*key, fields.get(key)?)))?;
    let body = match key {
        "body" => {
            name("content-type", "application/json");
            reader.json(node, "`body`")?.to_jcs()
        }
        "text" => reader.text(node, "`text`")?.into_bytes(),
        "base64" => read_base64(reader, node)?,
        _ => {
            let (message, more) = read_message(reader, node)?;
            name("content-type", "application/json");
            name("accept", "application/json, text/event-stream");
            more.iter().for_each(|(header, value)| name(header, value));
            message.to_jcs()
        }
    };
    let Some(repeat) = chain.get("repeat") else { return Some(body) };
    let times: usize = reader.count(repeat, "`repeat`")?;
    if body.len().checked_mul(times).is_none_or(|size| size > MAX_BODY) {
        let message = format!("the body is longer than {MAX_BODY} bytes, the most that are sent");
        return reader.error(repeat.span, Code::TooLarge, message);
    }
    Some(body.repeat(times))
}

/// A JSON-RPC message, with the headers in which a client of its revision repeats it.
fn read_message(reader: &mut Reader<'_>, node: &Node) -> Option<(Json, Vec<(&'static str, String)>)> {
    let fields = reader.fields(node, &MCP)?;
    let mut text = |key: &str, default: Option<&str>| match fields.get(key) {
        Some(node) => reader.text(node, &format!("`{key}`")).map(Some),
        None => Some(default.map(str::to_owned)),
    };
    let method = text("method", Some("tools/call"))?.unwrap_or_default();
    let (tool, state) = (text("tool", None)?, text("state", None)?);
    let revision = text("revision", Some(REVISION))?.unwrap_or_default();
    let args = fields.get("args").map_or(Some(None), |node| reader.json(node, "`args`").map(Some))?;
    let id = fields.get("id").map_or(Some(Json::integer(1)), |node| reader.json(node, "`id`"))?;
    let modern = revision.as_str() >= "2026-07-28";
    let text = |text: &str| Json::String(text.to_owned());
    let mut params = Object::default();
    let mut put = |name: &str, value: Option<Json>| value.map(|value| params.set(name.to_owned(), value));
    put("name", tool.as_deref().map(text));
    put("arguments", args);
    put("requestState", state.as_deref().map(text));
    put("_meta", modern.then(|| Json::object([("io.modelcontextprotocol/protocolVersion", text(&revision))])));
    let message = Json::object([
        ("id", id),
        ("jsonrpc", text("2.0")),
        ("method", text(&method)),
        ("params", Json::Object(params)),
    ]);
    let mut headers = vec![("mcp-protocol-version", revision)];
    if modern {
        headers.push(("mcp-method", method));
        headers.extend(tool.map(|tool| ("mcp-name", tool)));
    }
    Some((message, headers))
}

fn read_chunks(reader: &mut Reader<'_>, node: &Node) -> Option<Chunks> {
    if let Value::Scalar { .. } = node.value {
        return reader.word(node, "a way to cut a body", &[("each", Chunk::Each)]).map(|Chunk::Each| Chunks::EveryByte);
    }
    let sizes = reader.list(node, "`chunks`")?.iter().map(|size| reader.count(size, "the size of a chunk"));
    sizes.collect::<Option<Vec<usize>>>().map(Chunks::Sizes)
}

#[derive(Clone, Copy)]
enum Chunk {
    Each,
}
