//! MCP with the `rmcp` SDK on both sides of the gateway, and by hand where an SDK would not do it.

mod attacks;
mod lists;
mod server;

use std::{collections::HashMap, time::Duration};

use holdgate_tests::{
    reviewer::{Reviewer, Verdict},
    stack::{Options, Stack},
    until,
};
use rmcp::{
    RoleClient,
    model::{CallToolRequestParams, CallToolResponse, CallToolResult, ProtocolVersion},
    service::{ClientLifecycleMode, ClientServiceExt as _, RunningService},
    transport::{StreamableHttpClientTransport, streamable_http_client::StreamableHttpClientTransportConfig},
};
use serde_json::{Value, json};

use crate::common::{LIMIT, pending_hold, start_with};
use server::Server;

/// What an agent may do here.
const POLICY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/mcp/policy.yaml");

/// A stack before an MCP server.
struct Site {
    stack: Stack,
    server: Server,
}

impl Site {
    async fn start(json: bool, max_wait: &str) -> Site {
        Site::start_over(json, max_wait, false).await
    }

    /// `http2`: the gateway speaks HTTP/2 to the server.
    async fn start_over(json: bool, max_wait: &str, upstream_http2: bool) -> Site {
        let policy = std::fs::read_to_string(POLICY).unwrap();
        Site::start_with(json, max_wait, upstream_http2, policy).await
    }

    async fn start_with(json: bool, max_wait: &str, upstream_http2: bool, policy: String) -> Site {
        let server = Server::start(json).await;
        let plugin = json!({"max_wait": max_wait, "policy": "tools", "mcp": {"paths": ["/mcp"]}});
        let (policy, upstream) = (Some(policy), Some(server.address));
        let stack = start_with(Options { policy, upstream, upstream_http2, plugin, ..Options::default() }).await;
        Site { stack, server }
    }

    /// A client of the SDK: of 2026-07-28, or of what it spoke before.
    async fn client(&self, modern: bool) -> RunningService<RoleClient, ()> {
        let agent = self.stack.agent();
        let mut config = StreamableHttpClientTransportConfig::with_uri(format!("http://{}/mcp", agent.gateway));
        config = config.auth_header(agent.token);
        // As agents do: an upstream that compressed its list could not be filtered.
        config.custom_headers = HashMap::from([("accept-encoding".parse().unwrap(), "gzip".parse().unwrap())]);
        let preferred_versions = vec![ProtocolVersion::V_2026_07_28];
        let lifecycle =
            if modern { ClientLifecycleMode::Discover { preferred_versions } } else { ClientLifecycleMode::Initialize };
        ().serve_with_lifecycle(StreamableHttpClientTransport::from_config(config), lifecycle).await.unwrap()
    }
}

fn call(tool: &'static str, arguments: Value) -> CallToolRequestParams {
    CallToolRequestParams::new(tool).with_arguments(arguments.as_object().cloned().unwrap())
}

fn text(result: &CallToolResult) -> String {
    result.content.iter().filter_map(|block| Some(block.as_text()?.text.clone())).collect()
}

fn meta(result: &CallToolResult) -> Value {
    json!(result.meta)
}

async fn approve(reviewer: &Reviewer, hold: &str) {
    assert_eq!(reviewer.decide(hold, Verdict::Approve, "checked").await.unwrap().status / 100, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_are_listed_and_called_as_far_as_the_policy_goes() {
    let site = Site::start(true, "20s").await;
    let alice = site.stack.sign_in("alice").await.unwrap();
    for modern in [false, true] {
        let client = site.client(modern).await;
        let listed = client.list_tools(None).await.unwrap();
        let marks: Vec<(String, Value)> =
            listed.tools.iter().map(|tool| (tool.name.to_string(), json!(tool.meta))).collect();
        let held = json!({"holdgate/checkpoint": "held"});
        let expected = [("lookup", json!(null)), ("pay", json!(null)), ("wipe", held), ("ask", json!(null))];
        assert_eq!(marks, expected.map(|(name, mark)| (name.to_owned(), mark)), "modern: {modern}");

        let before = site.server.calls("lookup").len();
        let result = client.call_tool(call("lookup", json!({"id": 7}))).await.unwrap();
        assert_eq!((result.is_error, text(&result).as_str()), (Some(false), "lookup {\"id\":7} None"));
        assert_eq!(site.server.calls("lookup").len(), before + 1);

        let result = client.call_tool(call("shell", json!({"command": "ls"}))).await.unwrap();
        assert_eq!(result.is_error, Some(true));
        let told = text(&result);
        assert!(told.contains("No agent runs commands here.") && told.contains("Do not retry"), "{told}");
        assert_eq!(meta(&result)["holdgate/problem"]["rule"], "shell");
        assert!(site.server.calls("shell").is_empty());

        // Held, and let through while the client waits.
        let amount = if modern { 501 } else { 500 };
        let waiting = client.call_tool(call("pay", json!({"amount": amount})));
        let decided = async {
            let hold = pending_hold(&alice, "/mcp").await;
            assert!(!site.server.calls("pay").contains(&json!({"amount": amount})), "seen before the approval");
            approve(&alice, &hold).await;
        };
        let (result, ()) = tokio::join!(waiting, decided);
        assert_eq!(text(&result.unwrap()), format!("pay {{\"amount\":{amount}}} None"));

        // Held, and denied by a person.
        let waiting = client.call_tool(call("wipe", json!({"modern": modern})));
        let decided = async {
            let hold = pending_hold(&alice, "/mcp").await;
            alice.decide(&hold, Verdict::Deny, "no").await.unwrap();
        };
        let (result, ()) = tokio::join!(waiting, decided);
        let result = result.unwrap();
        assert_eq!(result.is_error, Some(true));
        assert!(text(&result).starts_with("Denied by a reviewer"), "{}", text(&result));
        assert!(text(&result).contains("Do not retry"));
        assert!(site.server.calls("wipe").is_empty());
        client.cancel().await.unwrap();
    }
    let lists = site.server.seen("tools/list");
    assert!(lists.iter().all(|list| !list.headers.contains_key("accept-encoding")), "{lists:?}");
    assert!(site.server.seen("tools/call").iter().all(|call| call.headers.contains_key("accept-encoding")));
}

/// Before 2026-07-28 a client cannot be sent back with a state: it gets a tool result that says what to do.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_client_gets_a_ticket_and_its_next_call_redeems_once() {
    let site = Site::start(true, "1s").await;
    let alice = site.stack.sign_in("alice").await.unwrap();
    let client = site.client(false).await;
    let pay = || client.call_tool(call("pay", json!({"amount": 500, "to": "a"})));
    let ticket = pay().await.unwrap();
    assert_eq!((ticket.is_error, &ticket.structured_content), (Some(true), &None));
    let told = text(&ticket);
    assert!(told.contains("Somebody has to look at large payments.") && told.contains("same arguments"), "{told}");
    let task = meta(&ticket)["holdgate/task"].clone();
    assert_eq!(task["status"], "pending");
    let hold = task["id"].as_str().unwrap().to_owned();
    // The same call under another id and progress token joins the hold.
    assert_eq!(meta(&pay().await.unwrap())["holdgate/task"]["id"], json!(hold));
    approve(&alice, &hold).await;

    let other = client.call_tool(call("pay", json!({"amount": 500, "to": "b"}))).await.unwrap();
    assert_ne!(meta(&other)["holdgate/task"]["id"], json!(hold), "other arguments are another hold");
    assert!(site.server.calls("pay").is_empty());
    let result = pay().await.unwrap();
    assert_eq!(text(&result), "pay {\"amount\":500,\"to\":\"a\"} None");
    assert_eq!(site.server.calls("pay").len(), 1);
    let again = pay().await.unwrap();
    assert_ne!(meta(&again)["holdgate/task"]["id"], json!(hold), "an approval is good for one call");
    assert_eq!(site.server.calls("pay").len(), 1);
    client.cancel().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_2026_07_28_is_sent_back_with_a_state_and_redeems_with_it() {
    let site = Site::start(true, "1s").await;
    let alice = site.stack.sign_in("alice").await.unwrap();
    let client = site.client(true).await;
    let pay = call("pay", json!({"amount": 500}));
    let CallToolResponse::InputRequired(first) = client.call_tool_once(pay.clone()).await.unwrap() else {
        panic!("not sent back")
    };
    let state = first.request_state.unwrap();
    assert!(state.starts_with("hg1.") && first.input_requests.is_none(), "{state}");
    let hold = pending_hold(&alice, "/mcp").await;
    // Whatever the state says, the hold is found by the call: forged, another's or none at all.
    for sent in [Some("hg1.forged"), Some(state.as_str()), None] {
        let mut again = pay.clone();
        again.request_state = sent.map(str::to_owned);
        let CallToolResponse::InputRequired(result) = client.call_tool_once(again).await.unwrap() else {
            panic!("not sent back with {sent:?}")
        };
        assert_eq!(result.request_state.as_ref(), Some(&state));
    }
    let mut other = call("pay", json!({"amount": 900}));
    other.request_state = Some(state.clone());
    approve(&alice, &hold).await;
    let CallToolResponse::InputRequired(result) = client.call_tool_once(other).await.unwrap() else {
        panic!("another payment passed with the state of an approved one")
    };
    assert_ne!(result.request_state, Some(state));
    assert!(site.server.calls("pay").is_empty());

    // The SDK drives the rounds itself: it comes back at once, each time with the state, until a person has decided.
    let driven = tokio::spawn(async move {
        let result = client.call_tool(call("pay", json!({"amount": 700}))).await.unwrap();
        (client, result)
    });
    let hold = until("a hold of 700", LIMIT, async || {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let pending = alice.pending().await.unwrap();
        pending.iter().find_map(|hold| {
            let id = holdgate_tests::reviewer::id_of(hold)?;
            (pending.len() == 2).then_some(id)
        })
    });
    let _both = hold.await.unwrap();
    for hold in alice.pending().await.unwrap().iter().filter_map(holdgate_tests::reviewer::id_of) {
        approve(&alice, &hold).await;
    }
    let (client, result) = driven.await.unwrap();
    assert_eq!(text(&result), "pay {\"amount\":700} None", "the state does not reach the server");
    let redeemed = client.call_tool(pay).await.unwrap();
    assert_eq!(text(&redeemed), "pay {\"amount\":500} None");

    // The server's own state is left alone, in a call that is allowed and in one that is held.
    let asked = client.call_tool(call("ask", json!({"free": true}))).await.unwrap();
    assert_eq!(text(&asked), "ask {\"free\":true} Some(\"the server's own\")");
    let mut held = call("ask", json!({"free": false}));
    held.request_state = Some("the server's own".into());
    let CallToolResponse::Complete(ticket) = client.call_tool_once(held).await.unwrap() else {
        panic!("the server's state was replaced")
    };
    assert_eq!((ticket.is_error, &meta(&ticket)["holdgate/task"]["status"]), (Some(true), &json!("pending")));
    client.cancel().await.unwrap();
}

/// Sessions and event streams of 2025-11-25 pass; a list in an event stream passes unread.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_and_event_streams_pass() {
    let site = Site::start(false, "1s").await;
    let client = site.client(false).await;
    let listed = client.list_tools(None).await.unwrap();
    assert_eq!(listed.tools.len(), 5, "an event stream is not read");
    let result = client.call_tool(call("lookup", json!({}))).await.unwrap();
    assert_eq!(text(&result), "lookup {} None");
    let denied = client.call_tool(call("shell", json!({}))).await.unwrap();
    assert_eq!(denied.is_error, Some(true));
    let ticket = client.call_tool(call("wipe", json!({}))).await.unwrap();
    assert_eq!(meta(&ticket)["holdgate/task"]["status"], "pending");
    let sessions = site.server.seen("tools/call");
    assert!(sessions.iter().all(|call| call.headers.contains_key("mcp-session-id")));
    client.cancel().await.unwrap();
}
