//! What an MCP client is told, in its own revision.

use holdgate_protocol::Json;

use super::{TOOLS_CALL, TOOLS_LIST};
use crate::{
    Reply,
    reply::{json_reply, object},
};

/// The client's request that an answer belongs to.
pub(crate) struct Asker {
    id: Json,
    /// A tool was called: the model is to read the answer.
    call: bool,
    /// It asks for the list of tools.
    lists: bool,
    modern: bool,
    /// Whether it can be answered with `input_required`.
    resumable: bool,
}

impl Asker {
    pub(super) fn new(id: Json, method: &str, modern: bool, resumable: bool) -> Self {
        let resumable = modern && resumable && matches!(method, TOOLS_CALL | "prompts/get" | "resources/read");
        Asker { id, call: method == TOOLS_CALL, lists: method == TOOLS_LIST, modern, resumable }
    }

    /// Whether the answer to its request is a list of tools.
    pub(crate) fn lists(&self) -> bool {
        self.lists
    }

    /// Bytes that are kept for it.
    pub(crate) fn size(&self) -> usize {
        self.id.as_str().map_or(0, str::len)
    }

    /// Puts an answer about the request's fate into a message; what is about the transport, the token or the service
    /// (400, 401, 413, 429, 503 ...) stays as it is.
    ///
    /// `state`: the inline wait is over, and the client may come back with this `requestState` at once.
    pub(crate) fn told(&self, reply: Reply, state: Option<&str>) -> Reply {
        if !matches!(reply.status, 202 | 403) {
            return reply;
        }
        let Ok(mut problem) = Json::parse(&reply.body) else { return reply };
        if let Some(state) = state.filter(|_| self.resumable) {
            let result = vec![("resultType", "input_required".into()), ("requestState", state.into())];
            return self.result(result, reply);
        }
        let text = text(&problem);
        if !self.call {
            // MCP reserves -32000 to -32099; beyond JSON-RPC's range a code is the application's: the problem's status.
            let error =
                [("code", Json::integer(reply.status.into())), ("message", Json::String(text)), ("data", problem)];
            return rpc(&self.id, "error", Json::object(error), reply);
        }
        let task = problem.remove(&["task"]);
        let mut meta = vec![("holdgate/problem", problem)];
        meta.extend(task.map(|task| ("holdgate/task", task)));
        let content = Json::object([("type", "text".into()), ("text", Json::String(text))]);
        let mut result =
            vec![("content", Json::from_iter([content])), ("isError", Json::Bool(true)), ("_meta", object(meta))];
        if self.modern {
            result.push(("resultType", "complete".into()));
        }
        self.result(result, reply)
    }

    fn result(&self, members: Vec<(&str, Json)>, reply: Reply) -> Reply {
        rpc(&self.id, "result", object(members), reply)
    }
}

/// The message in place of the problem; what is recorded of the answer stays.
fn rpc(id: &Json, kind: &str, value: Json, reply: Reply) -> Reply {
    let message = Json::object([("jsonrpc", "2.0".into()), ("id", id.clone()), (kind, value)]);
    let Reply { status, headers, body, .. } = json_reply(200, "application/json", "", &message, Vec::new());
    Reply { status, headers, body, ..reply }
}

/// What a model reads: what happened, by which rule, and what to do now.
fn text(problem: &Json) -> String {
    let member = |name: &str| problem.member(&[name]).and_then(Json::as_str);
    let mut text = member("title").unwrap_or_default().to_owned();
    if let Some(rule) = member("rule") {
        text.extend([" (rule ", rule, ")"]);
    }
    let next = match member("next_action") {
        Some("wait") => {
            "Wait, then make exactly this call again, with the same arguments: it passes once a person has approved it."
        }
        Some("retry") => "Make the same call again later.",
        Some("request") => "Only if it is still needed, make the call again: it will need a new approval.",
        _ => "Do not retry this call: the answer will not change.",
    };
    text.extend([": ", member("detail").unwrap_or_default(), " ", next]);
    text
}
