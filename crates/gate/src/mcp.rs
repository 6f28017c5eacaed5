//! MCP endpoints: each POST is one JSON-RPC message, read once and strictly (Streamable HTTP, 2025-03-26 to 2026-07-28).

mod answer;
mod list;

use holdgate_engine::{Body, Mcp, Policy, Template};
use holdgate_protocol::{
    Json, from_b64,
    json::{Object, Place, ShapeError, folded},
    mcp,
};

pub(crate) use answer::Asker;
pub(crate) use list::filter;

use crate::{
    Head, Reply,
    content::is_plain_json,
    reply::{Problem, rpc_error},
};

/// The method that calls a tool, and the one that lists them.
pub(crate) const TOOLS_CALL: &str = "tools/call";
pub(crate) const TOOLS_LIST: &str = "tools/list";

/// JSON-RPC's own code, and MCP's for headers that say something else than the body (2026-07-28, "Error Codes").
const INVALID_PARAMS: &str = "-32602";
const HEADER_MISMATCH: &str = "-32020";

/// The names that make out what a message is.
const MEMBERS: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];
const PARAMS: [&str; 5] = ["name", "arguments", "uri", "requestState", "_meta"];

/// The revision of a client that names none.
const FIRST_REVISION: &str = "2025-03-26";

/// The first revision in which a result may say `input_required`.
const MODERN: &str = "2026-07-28";

const VERSION_HEADER: &str = "mcp-protocol-version";
pub(crate) const METHOD_HEADER: &str = "mcp-method";
pub(crate) const NAME_HEADER: &str = "mcp-name";

/// The paths at which MCP is spoken.
#[derive(Debug, Default)]
pub struct Endpoints(Vec<Template>);

impl Endpoints {
    /// Reads the member `mcp` of the configuration: `{paths: [template, ...]}`.
    pub fn read(place: &Place<'_>) -> Result<Self, ShapeError> {
        let [paths] = place.members(&["paths"])?;
        let read = |path: Place<'_>| {
            let text = path.text()?;
            // Paths are compared in lower case, which an escape does not have.
            if text.contains('%') || !text.is_ascii() {
                return Err(path.error(&format!("`{text}` has a character that a path escapes; use plain ASCII")));
            }
            text.to_ascii_lowercase().parse().map_err(|error| path.error(&format!("`{text}`: {error}")))
        };
        let templates = paths.items()?.map(read).collect::<Result<Vec<_>, _>>()?;
        if templates.is_empty() {
            Err(paths.error("must not be empty; leave `mcp` out"))
        } else {
            Ok(Endpoints(templates))
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a request must carry a message: it goes to an endpoint with any method but those that have no body there.
    /// `end`: it has none. One that could carry messages that nobody reads is refused.
    pub(crate) fn serve(&self, head: &Head, end: bool) -> Result<bool, Reply> {
        if self.is_empty() || !self.are_met(head) {
            return Ok(false);
        }
        if head.upgrades() {
            return Err(refuse("an upgrade would carry messages that nobody reads"));
        }
        match (head.method(), end) {
            ("GET" | "HEAD" | "DELETE" | "OPTIONS", true) => Ok(false),
            ("GET" | "HEAD" | "DELETE" | "OPTIONS", false) => Err(refuse("this method has no body here")),
            _ => Ok(true),
        }
    }

    /// Servers differ on case and on a slash at the end of a path, so that neither leads past an endpoint.
    fn are_met(&self, head: &Head) -> bool {
        let path = head.path().strip_suffix('/').filter(|path| !path.is_empty()).unwrap_or(head.path());
        if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            let path = path.to_ascii_lowercase();
            return self.0.iter().any(|template| template.matches(&path));
        }
        self.0.iter().any(|template| template.matches(path))
    }
}

/// A message as rules see it and as it goes on: without Holdgate's own `requestState`.
pub(crate) struct Message {
    json: Json,
    /// Whether that was taken out, so that the body has to be replaced.
    rewritten: bool,
}

impl Message {
    /// Reads the body of a request to an endpoint.
    pub(crate) fn read(policy: &Policy, head: &Head, body: &[u8]) -> Result<Message, Reply> {
        let json = Json::parse(body).and_then(Json::without_twins);
        let mut json = json.map_err(|error| refuse(&format!("it is not JSON with a single reading: {error}")))?;
        check_shape(&json).map_err(refuse)?;
        let arguments = json.member(&["params", "arguments"]);
        if policy.body_names().misspelt(&json)
            || arguments.is_some_and(|arguments| policy.argument_names().misspelt(arguments))
        {
            return Err(refuse("a member has a name that some servers read as another one"));
        }
        let rewritten = mcp::take_request_state(&mut json).is_some();
        let message = Message { json, rewritten };
        let code = |code, wrong: String| rpc_error(400, code, message.id().cloned(), wrong);
        message.check_call().map_err(|wrong| code(INVALID_PARAMS, format!("Invalid params: {wrong}.")))?;
        message.check_headers(head).map_err(|wrong| code(HEADER_MISMATCH, format!("Header mismatch: {wrong}.")))?;
        Ok(message)
    }

    /// Empty for an answer to the server.
    pub(crate) fn method(&self) -> &str {
        self.text(&["method"]).unwrap_or_default()
    }

    pub(crate) fn as_mcp(&self) -> Mcp<'_> {
        let args = self.json.member(&["params", "arguments"]);
        Mcp::Message { method: self.method(), tool: self.text(&["params", "name"]), args }
    }

    pub(crate) fn as_body(&self) -> Body<'_> {
        Body::Json(&self.json)
    }

    /// The body that goes on in place of the one that came, where that was rewritten.
    pub(crate) fn rewritten(&self) -> Option<Vec<u8>> {
        self.rewritten.then(|| self.json.to_jcs())
    }

    pub(crate) fn into_json(self) -> Json {
        self.json
    }

    /// Who is to be answered by a message; nobody for a notification or an answer.
    /// `waits`: it is held for a while before it is answered.
    pub(crate) fn asker(&self, head: &Head, waits: bool) -> Option<Asker> {
        let method = Some(self.method()).filter(|method| !method.is_empty())?;
        let revision = self.revision().or_else(|| head.field(VERSION_HEADER)).unwrap_or(FIRST_REVISION);
        let dated =
            revision.len() == MODERN.len() && revision.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        let modern = dated && revision >= MODERN;
        // A client carries one state; the upstream's own is left alone.
        let resumable = waits && self.json.member(&["params", "requestState"]).is_none();
        Some(Asker::new(self.id()?.clone(), method, modern, resumable))
    }

    fn id(&self) -> Option<&Json> {
        self.json.member(&["id"])
    }

    fn text(&self, names: &[&str]) -> Option<&str> {
        self.json.member(names).and_then(Json::as_str)
    }

    /// The revision that the message itself names.
    fn revision(&self) -> Option<&str> {
        self.text(&["params", "_meta", "io.modelcontextprotocol/protocolVersion"])
    }

    fn check_call(&self) -> Result<(), String> {
        if self.method() != TOOLS_CALL {
            return Ok(());
        }
        if self.id().is_none() {
            return Err("`tools/call` needs an `id`".into());
        }
        if self.text(&["params", "name"]).is_none_or(str::is_empty) {
            return Err("`name` must be the tool's name".into());
        }
        match self.json.member(&["params", "arguments"]) {
            None | Some(Json::Null | Json::Object(_)) => Ok(()),
            Some(_) => Err("`arguments` must be an object".into()),
        }
    }

    /// What headers repeat of the message must be what it says, since others may go by them.
    fn check_headers(&self, head: &Head) -> Result<(), String> {
        let differs = |name: &str| Err(format!("`{name}` is not what the body says"));
        if head.field(METHOD_HEADER).is_some_and(|method| method != self.method()) {
            return differs(METHOD_HEADER);
        }
        if let (Some(header), Some(revision)) = (head.field(VERSION_HEADER), self.revision())
            && header != revision
        {
            return differs(VERSION_HEADER);
        }
        let Some(name) = head.field(NAME_HEADER) else { return Ok(()) };
        let Some(name) = plain(name) else { return Err(format!("`{NAME_HEADER}` is not a value in Base64")) };
        let member = match self.method() {
            method if method.starts_with("resources/") => "uri",
            method if method.starts_with("tasks/") => "taskId",
            _ => "name",
        };
        if self.text(&["params", member]) == Some(&name) { Ok(()) } else { differs(NAME_HEADER) }
    }
}

/// The value of a header that may be wrapped (2026-07-28, "Value Encoding").
fn plain(value: &str) -> Option<String> {
    match value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) {
        Some(wrapped) => String::from_utf8(from_b64(wrapped)?).ok(),
        None => Some(value.to_owned()),
    }
}

/// One JSON-RPC 2.0 message: a request, a notification or an answer, and no batch.
fn check_shape(json: &Json) -> Result<(), &'static str> {
    let Some(members) = json.as_object() else { return Err("it is not one JSON-RPC message; batches are not served") };
    // Servers that fold the case of names would find what is not there for others.
    let known = |names: &[&str], members: &Object| {
        members.iter().all(|(name, _)| names.contains(&name) || !names.iter().any(|known| folds_to(name, known)))
    };
    let params = members.get("params").and_then(Json::as_object);
    if !known(&MEMBERS, members) || !params.is_none_or(|params| known(&PARAMS, params)) {
        return Err("a member has a name of JSON-RPC or MCP in another case");
    }
    if members.get("jsonrpc").and_then(Json::as_str) != Some("2.0") {
        return Err("`jsonrpc` is not `2.0`");
    }
    if !matches!(members.get("id"), None | Some(Json::String(_) | Json::Number(_))) {
        return Err("`id` is neither a text nor a number");
    }
    let answers = ["result", "error"].iter().filter(|name| members.get(name).is_some()).count();
    match members.get("method") {
        None if answers == 1 => return Ok(()),
        Some(Json::String(method)) if !method.is_empty() && answers == 0 => {}
        _ => return Err("it has neither a `method` nor one of `result` and `error`"),
    }
    match members.get("params") {
        None | Some(Json::Object(_)) => Ok(()),
        Some(_) => Err("`params` is not an object"),
    }
}

/// Whether a name is another one, which is ASCII, to readers that fold case.
fn folds_to(name: &str, known: &str) -> bool {
    if name.is_ascii() { name.eq_ignore_ascii_case(known) } else { folded(name).eq_ignore_ascii_case(known) }
}

/// Refuses a request to an endpoint by its head: a message is plain JSON, and a header that repeats it stands there once.
pub(crate) fn check_head(head: &Head) -> Result<(), Reply> {
    if head.field("content-encoding").is_some() || !is_plain_json(head.field("content-type").unwrap_or_default()) {
        return Err(refuse("send it as application/json in UTF-8, without a content-encoding"));
    }
    let repeated = |name: &&str| head.fields().filter(|(other, _)| other == name).count() > 1;
    match [METHOD_HEADER, NAME_HEADER, VERSION_HEADER, "mcp-session-id"].iter().find(|name| repeated(name)) {
        Some(name) => Err(refuse(&format!("`{name}` stands there twice"))),
        None => Ok(()),
    }
}

/// What is no message is answered as HTTP: nobody knows that an MCP client has sent it.
fn refuse(why: &str) -> Reply {
    let detail = format!("This is an MCP endpoint, and the body is not one message: {why}.");
    Problem::new(400, "malformed", "Malformed message", detail).reply()
}

#[cfg(test)]
mod tests;
