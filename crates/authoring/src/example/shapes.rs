//! What a test may hold.

use crate::{
    rule::EFFECTS,
    shape::{Key, Kind, Shape, words},
};

pub(crate) const TEST: Shape = Shape {
    what: "a test",
    keys: &[
        Key::required("name", Kind::Text, "What is shown; unique in the file."),
        Key::required("request", Kind::Map(&REQUEST), "The request."),
        Key::required("expect", Kind::Map(&EXPECT), "What the policy says about it."),
    ],
    later: &[],
};
pub(crate) const REQUEST: Shape = Shape {
    what: "`request`",
    keys: &[
        Key::optional("agent", Kind::OneOf(&[Kind::Map(&AGENT), Kind::Null]), "The verified agent: there is none."),
        Key::required("http", Kind::Map(&HTTP), "The request's first line and its headers."),
        Key::optional("mcp", Kind::Map(&MCP), "The message to an MCP server: it is none."),
        Key::optional("body", Kind::Any, "The JSON body: there is none."),
        Key::optional("tags", Kind::Each(&Kind::Literal), "Tags by name; each is put where its source is."),
        Key::optional(
            "rate",
            Kind::OneOf(&[Kind::Count, Kind::Each(&Kind::Count)]),
            "How many requests the rates have seen, or by the id of the rule: 1.",
        ),
        Key::optional("time", Kind::Text, "The moment as RFC 3339 has it: 2026-01-07T12:00:00Z, a Wednesday."),
    ],
    later: &[],
};
pub(super) const HTTP: Shape = Shape {
    what: "`http` of a request",
    keys: &[
        Key::required("method", Kind::Text, "The method."),
        Key::optional("host", Kind::Text, "The host without its port: `api.example`."),
        Key::required("path", Kind::Text, "The canonical path without the query."),
        Key::optional("query", Kind::Each(&TEXTS), "Parameters of the query: a text, or a list of texts."),
        Key::optional("headers", Kind::Each(&TEXTS), "Headers: a text, or a list of texts."),
    ],
    later: &[],
};
const TEXTS: Kind = Kind::OneOf(&[Kind::Literal, Kind::List(&Kind::Literal)]);
pub(super) const MCP: Shape = Shape {
    what: "`mcp` of a request",
    keys: &[
        Key::optional("method", Kind::Text, "The JSON-RPC method: `tools/call`."),
        Key::optional("tool", Kind::Text, "The tool that is called."),
        Key::optional("args", Kind::Any, "The tool's arguments."),
    ],
    later: &[],
};
pub(super) const AGENT: Shape = Shape {
    what: "`agent` of a request",
    keys: &[
        Key::optional("id", Kind::Text, "The agent's id: `test-agent`."),
        Key::optional("issuer", Kind::Text, "The issuer of that id: `https://idp.example`."),
        Key::optional("owner", Kind::Text, "The accountable owner: the claim `owner`."),
        Key::optional("claims", Kind::Each(&Kind::Any), "The claims of the token."),
    ],
    later: &["act"],
};
pub(crate) const EXPECT: Shape = Shape {
    what: "`expect`",
    keys: &[
        Key::required("effect", Kind::Word(|| words(&EFFECTS)), "The effect of the verdict."),
        Key::optional(
            "rule",
            Kind::OneOf(&[Kind::Text, Kind::Null]),
            "The rule that decides: the first of its effect. `null`: no rule matched.",
        ),
        Key::optional("rules", Kind::List(&Kind::Text), "Exactly the rules that hold."),
        Key::optional("factors", Kind::Each(&Kind::Count), "Exactly the approvals that are needed together, by role."),
    ],
    later: &["reason"],
};
