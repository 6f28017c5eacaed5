//! What a file of cases may hold.

use super::{
    expect::OPERATORS,
    steps::{BEHAVIOURS, CALLS, OUTCOMES, STATES, VERSIONS},
};
use crate::{
    example, file,
    shape::{Key, Kind, Shape, words},
};

pub(crate) const FILE: Shape = Shape {
    what: "a file of cases",
    keys: &[
        Key::required(
            "policy",
            POLICY,
            "The path of a rule file, seen from here or from a folder above; or the rules.",
        ),
        Key::optional("plugin", OBJECT, "Set over the usual configuration of the filter, for all cases (RFC 7396)."),
        Key::optional("requests", REQUESTS, "Requests by name, for all scenarios."),
        Key::required("cases", Kind::Filled(&Kind::Map(&CASE)), "Verdicts and scenarios."),
    ],
    later: &[],
};
pub(super) const CASE: Shape = Shape {
    what: "a case",
    keys: &[
        Key::required("name", Kind::Text, "What is shown; unique in the file."),
        Key::optional("why", Kind::Text, "What went wrong once, or could."),
        Key::optional(
            "request",
            Kind::OneOf(&[Kind::Map(&example::REQUEST), Kind::Map(&REQUEST)]),
            "The request; in a scenario its name is `request`.",
        ),
        Key::optional("requests", REQUESTS, "Requests by name."),
        Key::optional("policy", POLICY, "In place of the policy of the file."),
        Key::optional("plugin", OBJECT, "Set over the configuration of the filter (RFC 7396)."),
        Key::optional("time", Kind::Text, "When it begins, as RFC 3339 has it: any time."),
        Key::optional("workers", Kind::Count, "Workers of the proxy, each with a VM of its own: 1."),
        Key::optional("service", SERVICE, "What the approval service does from the start: all is well."),
        Key::optional("upstream", UPSTREAM, "What the upstream does from the start: it answers with 200."),
        Key::optional("steps", Kind::Filled(&Kind::Map(&STEP)), "What happens: each request is sent, in their order."),
        Key::required("expect", Kind::OneOf(&[Kind::Map(&example::EXPECT), Kind::Text, Kind::Map(&EXPECT)]), EXPECTED),
        Key::optional(
            "not_on",
            Kind::Each(&Kind::Text),
            "Drivers or profiles that cannot play it, each with the reason.",
        ),
    ],
    later: &[],
};
const EXPECTED: &str = "What the policy says (`effect` ...), or what is seen in the end.";
const POLICY: Kind = Kind::OneOf(&[Kind::Text, Kind::Map(&file::FILE)]);
const OBJECT: Kind = Kind::Each(&Kind::Any);
const REQUESTS: Kind = Kind::Each(&Kind::Map(&REQUEST));
const NAMES: Kind = Kind::OneOf(&[Kind::Text, Kind::Filled(&Kind::Text)]);
const TEXTS: Kind = Kind::OneOf(&[Kind::Literal, Kind::List(&Kind::Literal)]);
const TESTS: Kind = Kind::Each(&Kind::Any);
const MEMBERS: Kind = Kind::Pointers(&Kind::Any);

pub(super) const REQUEST: Shape = Shape {
    what: "a request of a scenario",
    keys: &[
        Key::optional("like", Kind::Text, "Another request, from which all comes that is not said here."),
        Key::optional(
            "agent",
            Kind::OneOf(&[Kind::Map(&AGENT), Kind::Null]),
            "The agent: the usual one. `null`: no token.",
        ),
        Key::optional("token", Kind::Text, "This text in place of an agent's token."),
        Key::optional("http", Kind::OneOf(&[Kind::Text, Kind::Map(&HTTP)]), "`METHOD TARGET`, or its parts: `GET /`."),
        Key::optional("headers", Kind::Each(&TEXTS), "Headers: a text, or a list of texts."),
        Key::optional(
            "lines",
            Kind::List(&Kind::OneOf(&[Kind::Text, Kind::Map(&LINE)])),
            "Header lines as they are sent, after `headers`: `Name: value`.",
        ),
        Key::optional("mcp", Kind::Map(&MCP), "The message to an MCP server, with the headers that go with it."),
        Key::optional("body", Kind::Any, "The body as JSON: there is none."),
        Key::optional("text", Kind::Text, "The body as text."),
        Key::optional("base64", Kind::Text, "The body in Base64."),
        Key::optional("repeat", Kind::Count, "How often the body stands there: once."),
        Key::optional(
            "chunks",
            Kind::OneOf(&[Kind::Word(|| vec!["each"]), Kind::List(&Kind::Count)]),
            "The sizes in which the body is sent, or `each` for byte by byte: in one piece.",
        ),
        Key::optional("pause", Kind::Time, "Between two chunks: none."),
        Key::optional("trailers", Kind::Each(&TEXTS), "Trailers behind the body."),
        Key::optional("version", Kind::Word(|| words(&VERSIONS)), "The version of HTTP: `http1`."),
    ],
    later: &[],
};
pub(super) const AGENT: Shape = Shape {
    what: "`agent` of a scenario",
    keys: &[
        Key::optional("id", Kind::Text, "The agent's id: `test-agent`."),
        Key::optional("issuer", Kind::Text, "The issuer of that id: `https://idp.example`."),
        Key::optional("owner", Kind::Text, "The accountable owner: the claim `owner`."),
        Key::optional("claims", Kind::Each(&Kind::Any), "Claims over the usual ones; `null` takes one away."),
        Key::optional("expires_in", Kind::Duration, "How long the token is valid: `1h`."),
        Key::optional("forged", Kind::Bool, "Whether it is signed with a key that the issuer does not have: `false`."),
    ],
    later: &[],
};
pub(super) const HTTP: Shape = Shape {
    what: "`http` of a scenario",
    keys: &[
        Key::optional("method", Kind::Text, "The method: `GET`."),
        Key::optional("target", Kind::Text, "Path and query as they are sent: `/`."),
        Key::optional("host", Kind::Text, "The authority: `api.example`."),
    ],
    later: &[],
};
pub(super) const LINE: Shape = Shape {
    what: "a header line",
    keys: &[
        Key::required("name", Kind::Text, "The name as it is sent."),
        Key::required("base64", Kind::Text, "The value in Base64."),
    ],
    later: &[],
};
pub(super) const MCP: Shape = Shape {
    what: "`mcp` of a scenario",
    keys: &[
        Key::optional("method", Kind::Text, "The JSON-RPC method: `tools/call`."),
        Key::optional("tool", Kind::Text, "The tool that is called."),
        Key::optional("args", Kind::Any, "The tool's arguments."),
        Key::optional("id", Kind::Literal, "The id of the message: 1."),
        Key::optional("revision", Kind::Text, "The client's revision of the protocol: `2025-06-18`."),
        Key::optional("state", Kind::Text, "The `requestState` that the client hands back: there is none."),
    ],
    later: &[],
};
pub(super) const STEP: Shape = Shape {
    what: "a step",
    keys: &[
        Key::optional(
            "send",
            Kind::OneOf(&[Kind::Text, Kind::Filled(&Kind::Text), Kind::Map(&SEND)]),
            "Requests to send, by name; their answers are not awaited.",
        ),
        Key::optional("wait", Kind::Time, "How much time passes."),
        Key::optional(
            "expect",
            Kind::OneOf(&[Kind::Text, Kind::Map(&EXPECT)]),
            "What is seen by now, or comes to be seen soon.",
        ),
        Key::optional("service", SERVICE, "What the approval service does from now on."),
        Key::optional("clock", Kind::Map(&CLOCK), "How the approval service's clock differs from the gateway's."),
        Key::optional(
            "decide",
            Kind::OneOf(&[
                Kind::Word(|| words(&STATES)),
                Kind::Each(&Kind::OneOf(&[Kind::Word(|| words(&STATES)), Kind::Map(&DECISION)])),
            ]),
            "The new state of the hold that was opened last, or of those of requests, by name.",
        ),
        Key::optional(
            "publish",
            Kind::OneOf(&[Kind::Count, Kind::Map(&PUBLISH)]),
            "A policy to publish: the serial, or more.",
        ),
        Key::optional("suspend", AGENTS, "The agent to suspend."),
        Key::optional("reinstate", AGENTS, "The agent to let in again."),
        Key::optional("hang_up", NAMES, "Requests whose agents hang up."),
        Key::optional("reconfigure", OBJECT, "Set over the configuration of the filter while it runs (RFC 7396)."),
        Key::optional(
            "restart",
            Kind::OneOf(&[Kind::Count, Kind::Word(|| vec!["proxy"])]),
            "The worker whose VM starts again, or `proxy`.",
        ),
        Key::optional("upstream", UPSTREAM, "What the upstream does from now on."),
    ],
    later: &[],
};
const AGENTS: Kind = Kind::OneOf(&[Kind::Text, Kind::Map(&WHO)]);
pub(super) const SEND: Shape = Shape {
    what: "`send`",
    keys: &[
        Key::required("request", Kind::Text, "The request to send."),
        Key::optional("as", Kind::Text, "What this try is called: as the request."),
        Key::optional("times", Kind::Count, "How often it is sent; the name stands for all: once."),
        Key::optional("worker", Kind::Count, "The worker that gets it, counted from 1: any."),
    ],
    later: &[],
};
pub(super) const CLOCK: Shape = Shape {
    what: "`clock`",
    keys: &[
        Key::optional("ahead", Kind::Duration, "How far it is ahead."),
        Key::optional("behind", Kind::Duration, "How far it is behind."),
    ],
    later: &[],
};
pub(super) const DECISION: Shape = Shape {
    what: "a decision",
    keys: &[
        Key::required("state", Kind::Word(|| words(&STATES)), "The new state of the hold."),
        Key::optional("cause", Kind::Text, "Why it is cancelled: `revoked`, `suspended`, `policy`."),
    ],
    later: &[],
};
pub(super) const PUBLISH: Shape = Shape {
    what: "`publish`",
    keys: &[
        Key::required("serial", Kind::Count, "The serial of the policy."),
        Key::optional("policy", POLICY, "The rules: those of the case."),
    ],
    later: &[],
};
pub(super) const WHO: Shape = Shape {
    what: "an agent",
    keys: &[
        Key::required("id", Kind::Text, "The agent's id."),
        Key::optional("issuer", Kind::Text, "The issuer of that id: `https://idp.example`."),
    ],
    later: &[],
};
const DOES: Kind = Kind::OneOf(&[Kind::Word(|| words(&BEHAVIOURS)), Kind::Map(&DOING)]);
const SERVICE: Kind = Kind::Map(&SERVICE_CALLS);
pub(super) const SERVICE_CALLS: Shape = Shape {
    what: "`service`",
    keys: &[
        Key::optional("all", DOES, "Every call."),
        Key::optional(CALLS[0].0, DOES, "`POST /v1/holds`: a request is to be held."),
        Key::optional(CALLS[1].0, DOES, "`POST /v1/redemptions`: approved holds are exchanged for grants."),
        Key::optional(CALLS[2].0, DOES, "`POST /v1/outcomes`: what became of requests with a grant."),
        Key::optional(CALLS[3].0, DOES, "`POST /v1/detach`: agents hung up."),
        Key::optional(CALLS[4].0, DOES, "`GET /v1/feed`: news of holds, agents and policies."),
        Key::optional(CALLS[5].0, DOES, "`GET /v1/state`: the snapshot from which the feed goes on."),
        Key::optional(CALLS[6].0, DOES, "`GET /v1/bundles/...`: a signed policy."),
        Key::optional(CALLS[7].0, DOES, "`POST /v1/audit`: audit records."),
        Key::optional(CALLS[8].0, DOES, "`GET /v1/tasks/...`: how a hold stands."),
    ],
    later: &[],
};
pub(super) const DOING: Shape = Shape {
    what: "what the service does",
    keys: &[
        Key::optional("does", Kind::Word(|| words(&BEHAVIOURS)), "What it does: `well`, or what the other keys say."),
        Key::optional("by", Kind::Time, "How late a late answer is."),
        Key::optional("times", Kind::Count, "With so many calls; after that all is well: for good."),
        Key::optional("status", Kind::Count, "The status of an answer that is not its own."),
        Key::optional("body", Kind::Any, "The body of that answer, as JSON: `{}`."),
        Key::optional("claims", OBJECT, "Set over the claims of grants, which are then rightly signed (RFC 7396)."),
        Key::optional("patch", OBJECT, "Set over its own answer (RFC 7396)."),
    ],
    later: &[],
};
const UPSTREAM: Kind = Kind::OneOf(&[Kind::Word(|| vec!["reset", "never"]), Kind::Map(&ANSWER)]);
pub(super) const ANSWER: Shape = Shape {
    what: "the upstream's answer",
    keys: &[
        Key::optional("status", Kind::Count, "The status: 200."),
        Key::optional("headers", Kind::Each(&TEXTS), "Its headers."),
        Key::optional("body", Kind::Any, "The body as JSON: there is none."),
        Key::optional("text", Kind::Text, "The body as text."),
        Key::optional("base64", Kind::Text, "The body in Base64."),
        Key::optional("after", Kind::Time, "How long it takes: no time."),
    ],
    later: &[],
};
pub(super) const EXPECT: Shape = Shape {
    what: "`expect` of a scenario",
    keys: &[
        Key::optional("within", Kind::Time, "How long it may take: `5s`."),
        Key::optional(
            "outcome",
            Kind::Word(|| words(&OUTCOMES)),
            "What became of the request, where only one was sent.",
        ),
        Key::optional("upstream", GOT, "What the upstream got of it: what was sent."),
        Key::optional("reply", REPLY, "What the agent got."),
        Key::optional("decision", Kind::Text, "The word that the filter leaves for access logs."),
        Key::optional(
            "requests",
            Kind::Each(&Kind::OneOf(&[Kind::Text, Kind::Map(&REQUEST_EXPECT)])),
            "The same of several requests, by name.",
        ),
        Key::optional("metrics", TESTS, "Metrics by name."),
        Key::optional(
            "logs",
            Kind::List(&Kind::Text),
            "Parts of lines of the filter's log; `[]`: it warns of nothing.",
        ),
        Key::optional("audit", Kind::List(&MEMBERS), "Exactly these audit records, each by members."),
        Key::optional("callouts", Kind::List(&Kind::Map(&CALLOUT)), "Calls that the approval service got."),
        Key::optional("holds", Kind::Whole, "How many holds have been opened."),
    ],
    later: &[],
};
pub(super) const REQUEST_EXPECT: Shape = Shape {
    what: "what is expected of a request",
    keys: &[
        Key::optional("outcome", Kind::Word(|| words(&OUTCOMES)), "What became of it."),
        Key::optional("upstream", GOT, "What the upstream got of it: what was sent."),
        Key::optional("reply", REPLY, "What the agent got."),
        Key::optional("decision", Kind::Text, "The word that the filter leaves for access logs."),
    ],
    later: &[],
};
const GOT: Kind = Kind::Map(&UPSTREAM_EXPECT);
pub(super) const UPSTREAM_EXPECT: Shape = Shape {
    what: "what the upstream got",
    keys: &[
        Key::optional("method", Kind::Text, "The method."),
        Key::optional("target", Kind::Text, "Path and query."),
        Key::optional("headers", TESTS, "Headers by name; `null`: it is not there; a list: all lines of the name."),
        Key::optional("body", Kind::Any, "The body as JSON, however it is spelled."),
        Key::optional("text", Kind::Text, "The body as text, to the byte."),
        Key::optional("base64", Kind::Text, "The body in Base64, to the byte."),
        Key::optional("json", MEMBERS, "Members of the body, by pointer."),
        Key::optional("trailers", TESTS, "Trailers by name."),
    ],
    later: &[],
};
const REPLY: Kind = Kind::OneOf(&[Kind::Count, Kind::Text, Kind::Map(&REPLY_EXPECT)]);
pub(super) const REPLY_EXPECT: Shape = Shape {
    what: "`reply`",
    keys: &[
        Key::optional("status", Kind::Count, "The status."),
        Key::optional("problem", Kind::Text, "The last word of the problem's type: `held`, `denied` ..."),
        Key::optional("next_action", Kind::Text, "What the agent is to do: `wait`, `retry`, `request`, `none`."),
        Key::optional("rule", Kind::OneOf(&[Kind::Text, Kind::Null]), "The rule that is named."),
        Key::optional("headers", TESTS, "Headers by name; `null`: it is not there; a list: all lines of the name."),
        Key::optional("body", Kind::Any, "The body as JSON, however it is spelled."),
        Key::optional("text", Kind::Text, "The body as text, to the byte."),
        Key::optional("base64", Kind::Text, "The body in Base64, to the byte."),
        Key::optional("json", MEMBERS, "Members of the body, by pointer."),
    ],
    later: &[],
};
pub(super) const CALLOUT: Shape = Shape {
    what: "a callout",
    keys: &[
        Key::required("call", Kind::Word(|| words(&CALLS)), "The kind of call."),
        Key::optional("count", Kind::Whole, "How many of them there were: at least one."),
        Key::optional("json", MEMBERS, "Members of their bodies, by pointer; others are not counted."),
    ],
    later: &[],
};
/// Keys of a map that tests a value; a map with any other key is the value.
pub(super) fn operators() -> Vec<&'static str> {
    words(&OPERATORS)
}
