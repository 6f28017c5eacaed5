use serde_json::{Value, json};

use super::*;

fn head(path: &str, fields: &[(&str, &str)]) -> Head {
    head_of("POST", path, fields)
}

fn head_of(method: &str, path: &str, fields: &[(&str, &str)]) -> Head {
    let line = [(":method", method), (":scheme", "https"), (":authority", "a"), (":path", path)];
    Head::read(line.iter().chain(fields).copied().collect(), "authorization").unwrap()
}

/// A policy that looks at an amount.
fn policy() -> Policy {
    let any = json!([[{"value": {"of": {"mcp_arg": "/amount"}, "is": {"gt": "100"}}}]]);
    let conditions = json!({"any": any});
    let hash = holdgate_protocol::bundle::rule_hash(&Json::from_serialize(&conditions).unwrap());
    let rule = json!({"id": "r", "effect": "deny", "mode": "enforce", "reason": null, "controls": [], "hash": hash,
        "conditions": conditions, "approval": null});
    let needs =
        json!({"claims": [], "headers": [], "query": [], "body": false, "mcp": true, "rates": false, "time": false});
    let bundle = json!({"format": 1, "id": "p", "serial": 1, "needs": needs, "requirements": [], "rules": [rule]});
    Policy::load(&Json::from_serialize(&bundle).unwrap().to_jcs()).unwrap()
}

fn read(fields: &[(&str, &str)], body: &str) -> Result<Message, (u16, Value)> {
    let reply = |reply: Reply| (reply.status, serde_json::from_slice(&reply.body).unwrap());
    Message::read(&policy(), &head("/mcp", fields), body.as_bytes()).map_err(reply)
}

fn call(params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#)
}

#[track_caller]
fn check_refused(body: &str, why: &str) {
    let (status, reply) = read(&[], body).map(|_| ()).unwrap_err();
    let told = reply["detail"].as_str().or(reply["error"]["message"].as_str()).unwrap();
    assert!(status == 400 && told.contains(why), "{body}: {status} {told}");
}

#[test]
fn what_is_not_one_message_with_one_reading_is_refused() {
    let deep = call(&format!(r#"{{"name":"x","arguments":{{"a":{}1{}}}}}"#, "[".repeat(70), "]".repeat(70)));
    for (body, why) in [
        ("", "not JSON"),
        ("\u{feff}{}", "byte-order mark"),
        ("[]", "batches"),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}]"#, "batches"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping"}{"jsonrpc":"2.0","id":2,"method":"ping"}"#, "text behind"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}"#, "same key twice"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","\u006dethod":"tools/call"}"#, "same key twice"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}"#, "differ in case"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","Params":{},"params":{}}"#, "differ in case"),
        (&call(r#"{"name":"safe","name":"wipe"}"#), "same key twice"),
        (&call(r#"{"name":"safe","n\u0061me":"wipe"}"#), "same key twice"),
        (&call(r#"{"name":"safe","NAME":"wipe"}"#), "differ in case"),
        (&call(r#"{"name":"safe","arguments":{},"argumentſ":{}}"#), "differ in case"),
        (&call(r#"{"name":"x","arguments":{"a":1,"A":2}}"#), "differ in case"),
        (&call(r#"{"name":"x","arguments":{"a":1,"a":2}}"#), "same key twice"),
        (&call(r#"{"name":"x","Arguments":{"amount":500}}"#), "another case"),
        (&call(r#"{"name":"x","argumentſ":{"amount":500}}"#), "another case"),
        (&call(r#"{"name":"x","requeststate":"hg1.a"}"#), "another case"),
        (&call(r#"{"name":"x","arguments":{"Amount":500}}"#), "that some servers read as another one"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","Params":{"name":"x"}}"#, "another case"),
        (r#"{"jsonrpc":"2.0","id":1,"result":{},"METHOD":"tools/call"}"#, "another case"),
        (&call(r#"{"name":"x\u0000"}"#), "NUL"),
        (&deep, "nested deeper"),
        (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, "`jsonrpc`"),
        (r#"{"id":1,"method":"ping"}"#, "`jsonrpc`"),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, "`id`"),
        (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, "`id`"),
        (r#"{"jsonrpc":"2.0","id":[1],"method":"ping"}"#, "`id`"),
        (r#"{"jsonrpc":"2.0","id":true,"method":"ping"}"#, "`id`"),
        (r#"{"jsonrpc":"2.0","id":1}"#, "neither"),
        (r#"{"jsonrpc":"2.0","id":1,"method":""}"#, "neither"),
        (r#"{"jsonrpc":"2.0","id":1,"method":["tools/call"]}"#, "neither"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","result":{}}"#, "neither"),
        (r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#, "neither"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[{"name":"x"}]}"#, "`params`"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#, "`name`"),
        (&call("{}"), "`name`"),
        (&call(r#"{"name":7}"#), "`name`"),
        (&call(r#"{"name":""}"#), "`name`"),
        (&call(r#"{"name":"x","arguments":[1]}"#), "`arguments`"),
        (&call(r#"{"name":"x","arguments":"{}"}"#), "`arguments`"),
        (r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"x"}}"#, "`id`"),
    ] {
        check_refused(body, why);
    }
    // Half of a surrogate pair, and octets that are no UTF-8.
    check_refused(r#"{"jsonrpc":"2.0","id":"\ud800","method":"ping"}"#, "surrogate");
    assert!(
        Message::read(&policy(), &head("/mcp", &[]), b"{\"jsonrpc\":\"2.0\",\"id\":\"\xff\",\"method\":\"ping\"}")
            .is_err()
    );
}

#[test]
fn method_and_tool_are_what_the_octets_say() {
    let method = |method: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"name":"wipe"}}}}"#);
    for other in ["tools/call ", " tools/call", "Tools/Call", "tools\\/call/", "tools//call"] {
        let message = read(&[], &method(other)).unwrap_or_else(|refused| panic!("{other}: {refused:?}"));
        assert_ne!(message.method(), TOOLS_CALL);
    }
    for same in ["tools/call", "tools\\/call", "\\u0074ools/call"] {
        assert_eq!(read(&[], &method(same)).unwrap().method(), TOOLS_CALL);
    }
    let answer = read(&[], r#"{"jsonrpc":"2.0","id":1,"result":{"method":"ping"}}"#).unwrap();
    assert!(matches!(answer.as_mcp(), Mcp::Message { method: "", tool: None, args: None }));
    let message = read(&[], &call(r#"{"name":"p\u0061y","arguments":{"n":1.50}}"#)).unwrap();
    let Mcp::Message { tool, args, .. } = message.as_mcp() else { panic!() };
    assert_eq!((tool, args.unwrap().to_jcs()), (Some("pay"), b"{\"n\":1.50}".to_vec()));
}

#[test]
fn headers_that_say_something_else_are_refused_as_the_revision_has_it() {
    let body = call(r#"{"name":"päy","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#);
    let good = [
        ("mcp-method", "tools/call"),
        ("mcp-name", "päy"),
        ("mcp-name", "=?base64?cMOkeQ==?="),
        ("mcp-protocol-version", "2026-07-28"),
    ];
    for header in good {
        assert!(read(&[header], &body).is_ok(), "{header:?}");
    }
    for header in [
        ("mcp-method", "ping"),
        ("mcp-method", "tools/Call"),
        ("mcp-method", ""),
        ("mcp-name", "pay"),
        ("mcp-name", "P\u{e4}y"),
        ("mcp-name", "=?base64?cGF5?="),
        ("mcp-name", "=?base64?%%?="),
        ("mcp-name", "=?BASE64?cMOkeQ==?="),
        ("mcp-protocol-version", "2025-11-25"),
    ] {
        let (status, reply) = read(&[header], &body).map(|_| ()).unwrap_err();
        assert_eq!((status, &reply["error"]["code"], &reply["id"]), (400, &json!(-32020), &json!(1)), "{header:?}");
    }
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    assert!(read(&[("mcp-name", "wipe")], ping).is_err(), "a name that the message does not have");
    let uri = r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///a","name":"b"}}"#;
    assert!(read(&[("mcp-name", "file:///a"), ("mcp-method", "resources/read")], uri).is_ok());
}

#[test]
fn a_head_that_is_no_message_s_is_refused() {
    let json = ("content-type", "application/json");
    for fields in [
        &[][..],
        &[("content-type", "text/plain")],
        &[("content-type", "application/json; charset=utf-16")],
        &[("content-type", "application/json-rpc")],
        &[json, ("content-encoding", "gzip")],
        &[json, ("content-encoding", "identity")],
        &[json, ("mcp-method", "ping"), ("mcp-method", "tools/call")],
        &[json, ("mcp-name", "a"), ("mcp-name", "b")],
        &[json, ("mcp-protocol-version", "a"), ("mcp-protocol-version", "a")],
        &[json, ("mcp-session-id", "a"), ("mcp-session-id", "b")],
    ] {
        assert_eq!(check_head(&head("/mcp", fields)).unwrap_err().status, 400, "{fields:?}");
    }
    for good in ["application/json", "Application/JSON; charset=UTF-8", "application/json;charset=\"utf-8\""] {
        assert!(check_head(&head("/mcp", &[("content-type", good)])).is_ok(), "{good}");
    }
}

fn endpoints(text: &str) -> Result<Endpoints, ShapeError> {
    Endpoints::read(&Place::of(&Json::parse(text.as_bytes()).unwrap()))
}

#[test]
fn an_endpoint_is_met_whatever_the_case_and_a_slash_at_the_end() {
    let ours = endpoints(r#"{"paths":["/mcp","/Tools/{name}/mcp"]}"#).unwrap();
    let serves = |path: &str| ours.serve(&head(path, &[]), false) == Ok(true);
    for path in ["/mcp", "/mcp/", "/MCP", "/Mcp/", "/mcp?a=1", "/tools/crm/mcp", "/TOOLS/CRM/mcp/"] {
        assert!(serves(path), "{path}");
    }
    for path in ["/", "/mcpx", "/mcp/x", "/a/mcp", "/tools/mcp", "/tools/a/b/mcp"] {
        assert!(!serves(path), "{path}");
    }
    for method in ["GET", "HEAD", "DELETE", "OPTIONS"] {
        assert_eq!(ours.serve(&head_of(method, "/mcp", &[]), true), Ok(false), "{method}");
        // Servers that do not look at the method would read a message there that no rule has seen.
        assert_eq!(ours.serve(&head_of(method, "/mcp", &[]), false).unwrap_err().status, 400, "{method}");
        let upgrade = head_of(method, "/mcp", &[("upgrade", "websocket")]);
        assert_eq!(ours.serve(&upgrade, true).unwrap_err().status, 400, "{method}");
    }
    for method in ["PUT", "PATCH", "QUERY"] {
        assert_eq!(ours.serve(&head_of(method, "/mcp", &[]), true), Ok(true), "{method}");
    }
    assert!(endpoints(r#"{"paths":["/"]}"#).unwrap().serve(&head("/", &[]), false) == Ok(true));
    for (wrong, why) in [
        (r#"{"paths":[]}"#, "`paths`: must not be empty"),
        (r#"{"paths":["/ok","mcp"]}"#, "`paths[1]`: `mcp`: a path template starts with `/`"),
        (r#"{"paths":["/m%63p"]}"#, "`/m%63p` has a character that a path escapes"),
        (r#"{"paths":["/ä"]}"#, "use plain ASCII"),
        (r#"{"paths":["/mcp/**/x"]}"#, "`**`"),
        (r#"{"path":["/mcp"]}"#, "`path`"),
    ] {
        let error = endpoints(wrong).unwrap_err().to_string();
        assert!(error.contains(why), "{wrong}: {error}");
    }
}

#[test]
fn only_holdgates_own_state_is_taken_out() {
    for state in [r#""AEAD""#, r#""xhg1.a""#, r#""HG1.a""#, r#"{"hg1.":1}"#, "null"] {
        let message = read(&[], &call(&format!(r#"{{"name":"x","requestState":{state}}}"#))).unwrap();
        assert!(message.rewritten().is_none(), "{state}");
    }
    let elsewhere =
        read(&[], &call(r#"{"name":"x","arguments":{"requestState":"hg1.a"},"_meta":{"requestState":"hg1.a"}}"#));
    assert!(elsewhere.unwrap().rewritten().is_none());
    let own = read(&[], &call(r#"{"name":"x", "arguments":{"n":1.0e2},"requestState":"hg1.forged"}"#)).unwrap();
    let rewritten = String::from_utf8(own.rewritten().unwrap()).unwrap();
    assert_eq!(
        rewritten,
        r#"{"id":1,"jsonrpc":"2.0","method":"tools/call","params":{"arguments":{"n":1.0e2},"name":"x"}}"#
    );
}

fn told(fields: &[(&str, &str)], body: &str, state: Option<&str>) -> Option<Value> {
    let message = read(fields, body).unwrap();
    let asker = message.asker(&head("/mcp", fields), true)?;
    let problem = Problem::new(403, "held", "Held", "Somebody must look.").rule(Some("pay"));
    let reply = asker.told(problem.reply(), state);
    assert_eq!(reply.status, 200);
    assert_eq!(reply.headers[0], ("content-type", "application/json".to_owned()));
    Some(serde_json::from_slice(&reply.body).unwrap())
}

#[test]
fn a_client_is_answered_in_its_own_revision() {
    let with = |version: &str| {
        call(&format!(r#"{{"name":"x","_meta":{{"io.modelcontextprotocol/protocolVersion":"{version}"}}}}"#))
    };
    let modern = told(&[], &with("2026-07-28"), Some("hg1.h")).unwrap();
    assert_eq!(
        modern,
        json!({"jsonrpc": "2.0", "id": 1, "result": {"resultType": "input_required", "requestState": "hg1.h"}})
    );
    let header = told(&[("mcp-protocol-version", "2026-07-28")], &call(r#"{"name":"x"}"#), Some("hg1.h")).unwrap();
    assert_eq!(header, modern);
    // Without a wait, and where the one place for a state is taken, a tool result.
    let taken =
        call(r#"{"name":"x","requestState":"AEAD","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#);
    for (body, state) in [(with("2026-07-28"), None), (taken, Some("hg1.h"))] {
        let result = &told(&[], &body, state).unwrap()["result"];
        assert_eq!((&result["resultType"], &result["isError"]), (&json!("complete"), &json!(true)));
    }
    for version in ["2025-11-25", "2025-03-26", "draft", "9"] {
        let result = &told(&[], &with(version), None).unwrap()["result"];
        assert_eq!(result["isError"], true);
        assert!(result["resultType"].is_null(), "{version}");
    }
    let old = told(&[], &call(r#"{"name":"x"}"#), Some("hg1.h")).unwrap();
    let result = &old["result"];
    let text = "Held (rule pay): Somebody must look. Do not retry this call: the answer will not change.";
    assert_eq!(result["content"], json!([{"type": "text", "text": text}]));
    assert_eq!(result["_meta"]["holdgate/problem"]["type"], "urn:holdgate:problem:held");
    assert!(result["structuredContent"].is_null(), "clients check it against the tool's schema");
}

#[test]
fn what_is_no_tool_call_gets_an_error_and_a_notification_nothing_of_the_kind() {
    let list = r#"{"jsonrpc":"2.0","id":"a\"b","method":"tools/list"}"#;
    let error = told(&[], list, Some("hg1.h")).unwrap();
    assert_eq!((&error["id"], &error["error"]["code"]), (&json!("a\"b"), &json!(403)));
    assert_eq!(error["error"]["data"]["rule"], "pay");
    assert!(told(&[], r#"{"jsonrpc":"2.0","method":"notifications/x"}"#, None).is_none());
    assert!(told(&[], r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, None).is_none());
    let message = read(&[], list).unwrap();
    let asker = message.asker(&head("/mcp", &[]), true).unwrap();
    for status in [400, 401, 413, 429, 503] {
        let reply = Problem::new(status, "k", "T", "D").reply();
        assert_eq!(asker.told(reply.clone(), Some("hg1.h")), reply);
    }
}
