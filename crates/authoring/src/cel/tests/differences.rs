//! Differences from CEL that lie in where values come from; those of values themselves stand among the vectors.

use holdgate_engine::{
    Field, Mcp, Request,
    Truth::{self, False, True, Unknown},
};
use holdgate_protocol::bundle::Effect;

use super::when;

/// Checks what an expression says in a rule that allows, and in one that denies.
#[track_caller]
fn says(text: &str, request: &Request<'_>, allow: Truth, deny: Truth) {
    let expr = when(text).unwrap();
    let truths = [Effect::Allow, Effect::Deny, Effect::Hold].map(|effect| expr.truth(effect, request));
    assert_eq!(truths, [allow, deny, deny], "{text}");
}

fn field(name: &'static str, value: &'static str) -> Field<'static> {
    Field { name, value: Some(value) }
}

#[test]
fn of_several_values_any_counts_in_deny_and_hold_and_all_in_allow() {
    let query = [field("role", "viewer"), field("role", "admin")];
    let request = Request { query: &query, ..Request::new("GET", "h", "/") };
    says("http.query.role == 'admin'", &request, False, True);
    says("http.query.role in ['admin', 'viewer']", &request, True, True);
    // A negation is that of each value's test: here too, what is added never helps.
    says("http.query.role != 'admin'", &request, False, True);
    says("!(http.query.role == 'admin')", &request, False, True);
    says("!http.query.role.startsWith('ad')", &request, False, True);
    says("http.query.role == 'admin' || http.query.role != 'admin'", &request, False, True);
    says("has(http.query.role)", &request, True, True);
    says("'user' in http.query", &request, False, False);
}

#[test]
fn texts_of_the_wire_are_read_as_what_they_are_compared_with() {
    let headers = [field("x-agent-confidence", "0.75"), field("x-dry-run", "true"), field("x-n", "many")];
    let query = [field("limit", "150")];
    let request = Request { query: &query, headers: &headers, ..Request::new("GET", "h", "/") };
    says("tags.confidence < 0.8", &request, True, True);
    says("tags.confidence == '0.75'", &request, True, True);
    says("http.query.limit > 100", &request, True, True);
    says("http.query.limit in [150.0, 200]", &request, True, True);
    says("http.query.limit.startsWith('15')", &request, True, True);
    says("http.headers[\"X-Dry-Run\"]", &request, True, True);
    says("http.headers[\"x-dry-run\"] == false", &request, False, False);
    says("http.headers[\"x-n\"] > 1", &request, Unknown, Unknown);
    says("tags.other < 0.8", &request, Unknown, Unknown);
}

#[test]
fn what_is_asked_of_a_tool_call_is_false_of_other_requests() {
    let plain = Request::new("GET", "h", "/");
    let listing = Request { mcp: Mcp::Message { method: "tools/list", tool: None, args: None }, ..plain };
    for text in ["mcp.tool == 'pay'", "mcp.tool != 'pay'", "!(mcp.tool == 'pay')", "mcp.args.n < 1", "!has(mcp.args.n)"]
    {
        says(text, &plain, False, False);
        says(text, &listing, False, False);
    }
    says("mcp.method != 'tools/call'", &plain, False, False);
    says("mcp.method != 'tools/call'", &listing, True, True);
    let nameless = Request { mcp: Mcp::Message { method: "tools/call", tool: None, args: None }, ..plain };
    says("mcp.tool == 'pay'", &nameless, Unknown, Unknown);
    says("!has(mcp.args.n)", &nameless, True, True);
}

#[test]
fn without_an_agent_its_attributes_are_missing() {
    let request = Request::new("GET", "h", "/");
    says("agent.exists", &request, False, False);
    says("!agent.exists", &request, True, True);
    says("agent.id != 'x'", &request, Unknown, Unknown);
    says("has(agent.claims.act.sub)", &request, False, False);
    says("tags.risk > 0.5", &request, Unknown, Unknown);
}

#[test]
fn hosts_are_compared_in_lower_case() {
    let request = Request::new("GET", "api.example.com", "/");
    says("http.host == 'API.example.com'", &request, True, True);
    says("http.host in ['Api.Example.com', 'b']", &request, True, True);
    says("http.host.endsWith('.EXAMPLE.com')", &request, True, True);
}
