//! What agents are told: problem details (RFC 9457) with a stable type and the next thing to do.

use holdgate_protocol::{Json, gateway::HoldState};

/// Where an agent asks what became of its held request; the hold's id follows.
pub(crate) const TASKS: &str = "/.well-known/holdgate/tasks/";

/// Seconds after which an agent may ask again.
pub(crate) const RETRY_AFTER: u64 = 5;

/// An answer that the filter gives in place of the upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// The word for access logs and audit records.
    pub decision: &'static str,
    /// The rule that decided, for access logs.
    pub rule: Option<String>,
    /// Who decided: `policy`, `human` or `timeout`.
    pub decided_by: &'static str,
    /// Whether it tells the state of a hold, which the approval service has decided and written down.
    pub of_hold: bool,
}

/// What an agent can do about a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NextAction {
    /// Ask the status endpoint, then send the same request again.
    Wait,
    /// Send the same request again later.
    Retry,
    /// Ask anew: what was approved is used up or void.
    Request,
    /// Nothing: the answer will not change.
    None,
}

impl NextAction {
    fn as_str(self) -> &'static str {
        match self {
            NextAction::Wait => "wait",
            NextAction::Retry => "retry",
            NextAction::Request => "request",
            NextAction::None => "none",
        }
    }
}

/// A held request as its agent sees it.
#[derive(Clone, Debug)]
pub(crate) struct Task<'a> {
    pub(crate) id: &'a str,
    pub(crate) status: HoldState,
    pub(crate) expires_at: u64,
}

impl Task<'_> {
    fn to_json(&self) -> Json {
        Json::object([
            ("id", self.id.into()),
            ("status", self.status.as_str().into()),
            ("status_endpoint", Json::String(self.status_endpoint())),
            ("expires_at", Json::integer(self.expires_at)),
        ])
    }

    /// The path where the agent asks what became of its request.
    pub(crate) fn status_endpoint(&self) -> String {
        format!("{TASKS}{}", self.id)
    }
}

/// A problem on its way to become a [`Reply`].
pub(crate) struct Problem<'a> {
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    rule: Option<&'a str>,
    decided_by: &'static str,
    next_action: NextAction,
    task: Option<Task<'a>>,
    of_hold: bool,
    decision: &'static str,
    headers: Vec<(&'static str, String)>,
}

impl<'a> Problem<'a> {
    /// `kind` is the last part of the problem's type and the word for access logs.
    pub(crate) fn new(status: u16, kind: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Problem {
            kind,
            title,
            status,
            detail: detail.into(),
            rule: None,
            decided_by: "policy",
            next_action: NextAction::None,
            task: None,
            of_hold: false,
            decision: kind,
            headers: Vec::new(),
        }
    }

    pub(crate) fn rule(mut self, rule: Option<&'a str>) -> Self {
        self.rule = rule;
        self
    }

    pub(crate) fn decided_by(mut self, who: &'static str) -> Self {
        self.decided_by = who;
        self
    }

    pub(crate) fn next(mut self, action: NextAction) -> Self {
        self.next_action = action;
        self
    }

    pub(crate) fn task(mut self, task: Task<'a>) -> Self {
        self.task = Some(task);
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn retry_after(self, seconds: u64) -> Self {
        self.header("retry-after", seconds.to_string())
    }

    /// It tells the state of a hold.
    pub(crate) fn of_hold(mut self) -> Self {
        self.of_hold = true;
        self
    }

    /// The word for logs and records, where they tell more than the agent is told.
    pub(crate) fn decision(mut self, decision: &'static str) -> Self {
        self.decision = decision;
        self
    }

    pub(crate) fn reply(self) -> Reply {
        let mut members = vec![
            ("type", Json::String(format!("urn:holdgate:problem:{}", self.kind))),
            ("title", self.title.into()),
            ("status", Json::integer(self.status.into())),
            ("detail", Json::String(self.detail)),
        ];
        members.extend(self.rule.map(|rule| ("rule", rule.into())));
        members.push(("decided_by", self.decided_by.into()));
        members.push(("next_action", self.next_action.as_str().into()));
        members.extend(self.task.map(|task| ("task", task.to_json())));
        let media = if self.status < 400 { "application/json" } else { "application/problem+json" };
        let rule = self.rule.map(str::to_owned);
        let reply = json_reply(self.status, media, self.decision, &object(members), self.headers);
        Reply { rule, decided_by: self.decided_by, of_hold: self.of_hold, ..reply }
    }
}

/// An object whose members are in place once they are all known.
pub(crate) fn object(members: Vec<(&str, Json)>) -> Json {
    let mut object = holdgate_protocol::json::Object::default();
    members.into_iter().for_each(|(name, value)| object.set(name.to_owned(), value));
    Json::Object(object)
}

/// The state of a task, as its status endpoint tells it.
pub(crate) fn task_reply(task: &Task<'_>) -> Reply {
    let (status, next) = match task.status {
        HoldState::Pending => (202, NextAction::Wait),
        HoldState::Approved => (200, NextAction::Retry),
        HoldState::Denied => (200, NextAction::None),
        HoldState::Expired | HoldState::Cancelled | HoldState::Used => (200, NextAction::Request),
    };
    let headers = if status == 202 { vec![("retry-after", RETRY_AFTER.to_string())] } else { vec![] };
    let body = object(vec![("task", task.to_json()), ("next_action", next.as_str().into())]);
    json_reply(status, "application/json", "task", &body, headers)
}

/// A JSON-RPC error for a message that was understood and is wrong; the code stands in MCP's specification.
pub(crate) fn rpc_error(status: u16, code: &str, id: Option<Json>, message: String) -> Reply {
    let code = Json::parse(code.as_bytes()).unwrap_or(Json::Null);
    let mut members = vec![("jsonrpc", "2.0".into())];
    members.extend(id.map(|id| ("id", id)));
    members.push(("error", Json::object([("code", code), ("message", Json::String(message))])));
    json_reply(status, "application/json", "malformed", &object(members), Vec::new())
}

pub(crate) fn json_reply(
    status: u16,
    content_type: &str,
    decision: &'static str,
    body: &Json,
    headers: Vec<(&'static str, String)>,
) -> Reply {
    let fixed = [("content-type", content_type.to_owned()), ("cache-control", "no-store".to_owned())];
    let headers = fixed.into_iter().chain(headers).collect();
    Reply { status, headers, body: body.to_jcs(), decision, rule: None, decided_by: "policy", of_hold: false }
}
