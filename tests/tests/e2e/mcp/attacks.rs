//! Ways past the rules about tools, sent by hand.

use std::io::Write as _;

use holdgate_tests::{agent::Call, http::Response, reviewer::Verdict};
use hyper::Method;
use serde_json::{Value, json};

use super::Site;
use crate::common::{assert_problem, pending_hold};

fn message(method: &str, params: Value) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string()
}

fn shell() -> String {
    message("tools/call", json!({"name": "shell", "arguments": {}}))
}

fn post(site: &Site, path: &str, body: impl Into<String>) -> Call {
    site.stack.agent().post(path, body.into()).header("accept", "application/json, text/event-stream")
}

/// The rule that a tool result or an error names.
fn rule(answer: &Response) -> Value {
    let told = answer.json();
    let places = ["/result/_meta/holdgate~1problem/rule", "/error/data/rule", "/rule"];
    places.iter().find_map(|place| told.pointer(place)).cloned().unwrap_or_default()
}

/// Each of these would run `shell` if one of two readers saw another message than the other.
#[tokio::test(flavor = "multi_thread")]
async fn no_other_reading_of_a_message_gets_past() {
    let site = Site::start(true, "1s").await;
    let deep = format!(r#"{{"name":"lookup","arguments":{{"a":{}1{}}}}}"#, "[".repeat(70), "]".repeat(70));
    let call = |params: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
    let refused = [
        format!("[{}]", shell()),
        format!("[{},{}]", message("ping", json!({})), shell()),
        format!("\u{feff}{}", shell()),
        format!("{}{}", message("ping", json!({})), shell()),
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"shell"}}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","m\u0065thod":"tools/call","params":{"name":"shell"}}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","METHOD":"tools/call","params":{"name":"shell"}}"#.to_owned(),
        call(r#"{"name":"lookup","name":"shell"}"#),
        call(r#"{"name":"lookup","nam\u0065":"shell"}"#),
        call(r#"{"name":"lookup","Name":"shell"}"#),
        call(r#"[{"name":"shell"}]"#),
        call(r#"{"name":["shell"]}"#),
        call(r#"{"name":"lookup","arguments":[]}"#),
        call(r#"{"name":"lookup\u0000"}"#),
        call(r#"{"name":"pay","Arguments":{"amount":500}}"#),
        call(r#"{"name":"pay","arguments":{"Amount":500}}"#),
        call(&deep),
        r#"{"jsonrpc":"2.0","id":null,"method":"tools/call","params":{"name":"shell"}}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":{},"method":"tools/call","params":{"name":"shell"}}"#.to_owned(),
        r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"shell"}}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","result":{},"params":{"name":"shell"}}"#.to_owned(),
        String::new(),
    ];
    for body in refused {
        for http2 in [false, true] {
            let call = post(&site, "/mcp", body.clone());
            let answer = if http2 { call.http2() } else { call }.send().await.unwrap();
            assert_eq!(answer.status, 400, "{body}: {}", answer.text());
        }
    }
    // Other methods and names than those that rules name are denied by default.
    for method in ["tools/call ", "Tools/Call", "tools/call/", " tools/call", "tools\\/call"] {
        let answer = post(&site, "/mcp", message(method, json!({"name": "shell"}))).send().await.unwrap();
        assert_eq!(answer.json()["error"]["code"], 403, "{method}: {}", answer.text());
    }
    for tool in ["Shell", "shell ", "sh\u{0435}ll", "lookup\u{1}"] {
        let answer = post(&site, "/mcp", message("tools/call", json!({"name": tool}))).send().await.unwrap();
        assert_eq!(answer.json()["result"]["isError"], true, "{tool}: {}", answer.text());
    }
    // An id of any size comes back as it was.
    let id = "x".repeat(300_000);
    let body = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "shell"}});
    let answer = post(&site, "/mcp", body.to_string()).send().await.unwrap();
    assert_eq!((answer.json()["id"].as_str(), rule(&answer)), (Some(id.as_str()), json!("shell")));
    assert!(site.server.seen("tools/call").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_head_of_a_message_gets_past() {
    let site = Site::start(true, "1s").await;
    let plain = |body: String| site.stack.agent().call(Method::POST, "/mcp").body(body);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(shell().as_bytes()).unwrap();
    let gzip = site.stack.agent().post("/mcp", encoder.finish().unwrap());
    let utf16: Vec<u8> = shell().encode_utf16().flat_map(u16::to_le_bytes).collect();
    let utf16 = site.stack.agent().call(Method::POST, "/mcp").body(utf16);
    for (name, call) in [
        ("no content-type", plain(shell())),
        ("text", plain(shell()).header("content-type", "text/plain")),
        ("a form", plain(shell()).header("content-type", "application/x-www-form-urlencoded")),
        ("UTF-16", utf16.clone().header("content-type", "application/json; charset=utf-16")),
        ("UTF-16 that is not declared", utf16.header("content-type", "application/json")),
        ("gzip", gzip.clone().header("content-encoding", "gzip")),
        ("gzip that is not declared", gzip),
        ("two methods", post(&site, "/mcp", shell()).header("mcp-method", "tools/call").header("mcp-method", "ping")),
        (
            "an upgrade",
            post(&site, "/mcp", message("ping", json!({})))
                .header("upgrade", "websocket")
                .header("connection", "upgrade"),
        ),
        ("an escaped slash", post(&site, "/mcp%2F", shell())),
        ("a parameter", post(&site, "/mcp;x=1", shell())),
        ("an escaped letter", post(&site, "/%6Dcp", shell())),
    ] {
        let answer = call.send().await.unwrap();
        // Envoy undoes escapes that need not be there: what it makes of the path is judged.
        let judged = answer.status == 200 && rule(&answer) == json!("shell");
        assert!(judged || matches!(answer.status, 400 | 403), "{name}: {} {}", answer.status, answer.text());
    }
    // The body counts, and where a header says another thing there is no answer but this.
    for (name, value) in [("mcp-method", "ping"), ("mcp-name", "lookup"), ("mcp-name", "=?base64?bG9va3Vw?=")] {
        let answer = post(&site, "/mcp", shell()).header(name, value).send().await.unwrap();
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (400, &json!(-32020)), "{}", answer.text());
    }
    let versions = json!({"name": "lookup", "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}});
    let answer = post(&site, "/mcp", message("tools/call", versions)).header("mcp-protocol-version", "2025-11-25");
    assert_eq!(answer.send().await.unwrap().status, 400);
    // Another case, or a slash at the end, is the same endpoint: the message is read, and no rule is about that path.
    for path in ["/MCP", "/mcp/", "/Mcp/"] {
        assert_eq!(post(&site, path, "[]").send().await.unwrap().status, 403, "{path}: no rule can match");
        let answer = post(&site, path, message("tools/call", json!({"name": "lookup"}))).send().await.unwrap();
        assert_problem(&answer, 403, "denied");
    }
    assert!(site.server.seen("tools/call").is_empty());
    // No message comes in by a method that has none; another one must bring one.
    let listen = site.stack.agent().get("/mcp").header("last-event-id", "7").header("accept", "text/event-stream");
    assert_ne!(listen.send().await.unwrap().status, 403, "it reaches the server");
    let put = site.stack.agent().call(Method::PUT, "/mcp").header("content-type", "application/json").body(shell());
    assert_eq!(rule(&put.send().await.unwrap()), json!("shell"));
}

/// The body that goes on is shorter than the one that was announced.
#[tokio::test(flavor = "multi_thread")]
async fn a_state_is_taken_out_of_a_body_of_any_framing() {
    for upstream_http2 in [false, true] {
        let site = Site::start_over(true, "20s", upstream_http2).await;
        Box::pin(takes_a_state_out(&site)).await;
    }
}

async fn takes_a_state_out(site: &Site) {
    let alice = site.stack.sign_in("alice").await.unwrap();
    let params = |tool: &str, note: &str| json!({"name": tool, "arguments": {"note": note, "amount": 1.50}, "requestState": "hg1.0123456789"});
    let long = "x".repeat(200_000);
    for (index, note) in ["short", long.as_str()].into_iter().enumerate() {
        for (chunked, http2) in [(false, false), (true, false), (false, true), (true, true)] {
            for tool in ["lookup", "wipe"] {
                let note = format!("{index} {chunked} {http2} {note}");
                let call = post(site, "/mcp", message("tools/call", params(tool, &note)));
                let call = if chunked { call.chunked() } else { call };
                let call = tokio::spawn(if http2 { call.http2() } else { call }.send());
                if tool == "wipe" {
                    let hold = pending_hold(&alice, "/mcp").await;
                    alice.decide(&hold, Verdict::Approve, "checked").await.unwrap();
                }
                let answer = call.await.unwrap().unwrap();
                let result = answer.json()["result"]["content"][0]["text"].to_string();
                assert!(result.contains("None"), "{index} {chunked} {http2} {tool}: {} {result:.300}", answer.status);
                assert!(site.server.calls(tool).contains(&json!({"note": note, "amount": 1.50})));
            }
        }
    }
    let seen = site.server.seen("tools/call");
    assert_eq!(seen.len(), 16);
    for call in seen {
        assert!(!call.text.contains("requestState") && call.text.contains("\"amount\":1.5"), "{:.200}", call.text);
        if let Some(length) = call.headers.get("content-length") {
            assert_eq!(length.to_str().unwrap(), call.text.len().to_string());
        }
    }
}
