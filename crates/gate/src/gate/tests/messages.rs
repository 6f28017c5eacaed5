//! Messages of MCP from their first byte to the answer.

use super::*;

const POST: &str = "/mcp";

fn rules(more: Value) -> Value {
    let tool = |tool: &str| value(json!("mcp_tool"), json!({"glob": tool}));
    let is = |method: &str| value(json!("mcp_method"), json!({"equals": {"string": method}}));
    let arg = |pointer: &str, is: Value| value(json!({"mcp_arg": pointer}), is);
    let amount = |test: &str| arg("/amount", json!({test: "100"}));
    let mut rules = vec![
        json!({"id": "list", "effect": "allow", "any": [[is("tools/list")], [is("notifications/initialized")]]}),
        json!({"id": "answer", "effect": "allow", "any": [[is("")]]}),
        json!({"id": "look", "effect": "allow", "any": [[tool("look*")], [tool("pay"), amount("lte")]]}),
        json!({"id": "pay", "effect": "hold", "any": [[tool("pay"), amount("gt")], [tool("wipe")]]}),
        json!({"id": "shell", "effect": "deny", "any": [[tool("shell")]]}),
    ];
    rules.extend(more.as_array().unwrap().iter().cloned());
    Value::Array(rules)
}

fn desk() -> Desk {
    let mut desk = Desk::with_policy(|config| config["mcp"] = json!({"paths": [POST]}));
    desk.publish(2, rules(json!([])));
    desk
}

fn call(id: Value, tool: &str, amount: u64) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
        "params": {"name": tool, "arguments": {"amount": amount}, "_meta": {"progressToken": id}}})
    .to_string()
}

fn list() -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).to_string()
}

/// A message with headers, in one piece.
fn send(desk: &mut Desk, headers: &[(&str, &str)], body: &str) -> (StreamId, Step) {
    let id = desk.next_id();
    let pairs = desk.pairs("POST", POST, headers);
    match desk.gate.head(desk.now, id, pairs, body.is_empty()).step {
        Step::Await => (id, desk.gate.body(desk.now, id, Some(body.as_bytes().to_vec()))),
        step => (id, step),
    }
}

#[track_caller]
fn told(step: Step) -> Value {
    let Step::Reply(reply) = step else { panic!("no answer: {step:?}") };
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    serde_json::from_slice(&reply.body).unwrap()
}

#[test]
fn a_policy_about_messages_needs_an_endpoint() {
    let mut desk = Desk::ready();
    desk.publish(2, rules(json!([])));
    assert_eq!(desk.gate.policy.as_ref().unwrap().reference().serial, 1);
    assert!(desk.warnings.iter().any(|warning| warning.contains("`mcp.paths`")), "{:?}", desk.warnings);
}

#[test]
fn a_message_is_read_in_any_case_and_judged_by_what_it_says() {
    let mut desk = desk();
    assert!(matches!(send(&mut desk, &[], &call(json!(1), "lookup", 1)).1, Step::Forward(_)));
    assert!(matches!(send(&mut desk, &[], &call(json!(1), "pay", 100)).1, Step::Forward(_)));
    assert!(matches!(send(&mut desk, &[], r#"{"jsonrpc":"2.0","id":3,"result":{}}"#).1, Step::Forward(_)));
    let denied = told(send(&mut desk, &[], &call(json!("a"), "shell", 1)).1);
    assert_eq!((&denied["id"], &denied["result"]["isError"]), (&json!("a"), &json!(true)));
    assert_eq!(denied["result"]["_meta"]["holdgate/problem"]["rule"], "shell");
    // What no rule allows; a notification is no question that could be answered.
    let unknown = told(send(&mut desk, &[], r#"{"jsonrpc":"2.0","id":1,"method":"resources/list"}"#).1);
    assert_eq!((&unknown["error"]["code"], unknown["error"]["data"]["rule"].is_null()), (&json!(403), true));
    let (_, silent) = send(&mut desk, &[], r#"{"jsonrpc":"2.0","method":"notifications/x"}"#);
    assert!(matches!(silent, Step::Reply(reply) if reply.status == 403));
    for (headers, body) in [
        (&[][..], ""),
        (&[], "{}"),
        (&[("content-type", "text/plain")], &call(json!(1), "lookup", 1)),
        (&[("mcp-method", "tools/list")], &call(json!(1), "lookup", 1)),
    ] {
        let (_, step) = send(&mut desk, headers, body);
        assert!(matches!(step, Step::Reply(ref reply) if reply.status == 400), "{body}: {step:?}");
    }
    assert_eq!(desk.gate.parked(), (0, 0));
}

/// A rule that needs no message does not keep one from being read: declaring an endpoint is what asks for it.
#[test]
fn what_the_head_allows_is_still_one_message_and_what_it_denies_is_not_read() {
    let mut desk = Desk::with_policy(|config| config["mcp"] = json!({"paths": [POST]}));
    let all = value(json!("path"), json!({"template": POST}));
    desk.publish(2, json!([{"id": "all", "effect": "allow", "any": [[all]]}]));
    assert!(matches!(send(&mut desk, &[], &call(json!(1), "any", 1)).1, Step::Forward(_)));
    assert!(matches!(send(&mut desk, &[], "[]").1, Step::Reply(reply) if reply.status == 400));
    desk.publish(3, json!([]));
    let (id, pairs) = (desk.next_id(), desk.pairs("POST", POST, &[]));
    let step = desk.gate.head(desk.now, id, pairs, false).step;
    assert!(matches!(step, Step::Reply(reply) if reply.status == 403));
}

#[test]
fn a_retry_with_a_new_id_is_the_same_request_and_other_arguments_are_not() {
    let mut desk = desk();
    let mut digests = Vec::new();
    for body in [
        call(json!(1), "pay", 500),
        call(json!("two"), "pay", 500),
        call(json!(3), "pay", 500).replace("\"arguments\"", "\"requestState\":\"hg1.x\",\"arguments\""),
        call(json!(1), "pay", 501),
        call(json!(1), "pay", 500).replace("\"arguments\"", "\"requestState\":\"own\",\"arguments\""),
    ] {
        let Step::Call(callout) = send(&mut desk, &[], &body).1 else { panic!("not held: {body}") };
        let open: OpenHold = serde_json::from_slice(&callout.body).unwrap();
        digests.push(open.digest);
    }
    assert_eq!(digests[0], digests[1]);
    assert_eq!(digests[0], digests[2]);
    assert!(digests[3] != digests[0] && digests[4] != digests[0]);
}

fn held(desk: &mut Desk, headers: &[(&str, &str)], body: &str) -> StreamId {
    let (id, Step::Call(callout)) = send(desk, headers, body) else { panic!("not held") };
    let answer = desk.hold_answer(&callout, "pending", 0xffff);
    assert!(matches!(desk.gate.stream_answer(desk.now, id, Some(answer)), Step::Await));
    id
}

#[test]
fn a_state_is_handed_out_only_after_a_wait() {
    let modern = [("mcp-protocol-version", "2026-07-28")];
    let mut desk = desk();
    held(&mut desk, &modern, &call(json!(7), "wipe", 1));
    desk.now += 46_000;
    desk.fresh();
    let (_, status, body) = desk.tick().replies.remove(0);
    assert_eq!((status, &body["result"]["resultType"]), (200, &json!("input_required")));
    assert_eq!((&body["result"]["requestState"], &body["id"]), (&json!("hg1.x"), &json!(7)));

    // The feed forgets us, long before the wait is over: whoever came back at once would only come back again.
    held(&mut desk, &modern, &call(json!(8), "wipe", 2));
    desk.gate.page(desk.now, Some(&Answer { status: 410, body: Vec::new() }));
    let (_, _, body) = desk.tick().replies.remove(0);
    assert_eq!(body["result"]["isError"], true);
    assert_eq!(body["result"]["_meta"]["holdgate/task"]["status"], "pending");
}

#[test]
fn a_person_s_no_is_told_as_a_tool_result_and_a_yes_lets_the_rewritten_body_go_on() {
    let mut desk = desk();
    let own = call(json!(1), "wipe", 1).replace("\"arguments\"", "\"requestState\":\"hg1.x\",\"arguments\"");
    let id = held(&mut desk, &[], &own);
    let body = desk.gate.changes().unwrap().body.unwrap();
    assert!(!String::from_utf8(body).unwrap().contains("requestState"));
    assert!(desk.gate.changes().is_none(), "told once");
    desk.decide("h1", "approved");
    assert_eq!(desk.tick().forwarded, [(id, true)]);

    held(&mut desk, &[], &call(json!(2), "wipe", 2));
    desk.decide("h2", "denied");
    let (_, status, body) = desk.tick().replies.remove(0);
    assert_eq!((status, &body["result"]["isError"]), (200, &json!(true)));
    assert_eq!(body["result"]["_meta"]["holdgate/problem"]["decided_by"], "human");
    // A policy that denies it meanwhile is told in the same way.
    held(&mut desk, &[], &call(json!(3), "wipe", 3));
    let wipe = value(json!("mcp_tool"), json!({"equals": {"string": "wipe"}}));
    desk.publish(3, rules(json!([{"id": "no", "effect": "deny", "any": [[wipe]]}])));
    desk.decide("h3", "approved");
    let (_, status, body) = desk.tick().replies.remove(0);
    assert_eq!((status, &body["result"]["_meta"]["holdgate/problem"]["rule"]), (200, &json!("no")));
}

fn listed(desk: &mut Desk, answer: &str) -> Option<Value> {
    let headers = [("mcp-method", "tools/list")];
    let (id, step) = send(desk, &headers, &list());
    assert!(matches!(step, Step::Forward(_)));
    assert!(desk.gate.changes().unwrap().plain_answer);
    assert!(desk.gate.awaits_list(id) && desk.gate.list_head(id, 200, Some("application/json"), false));
    assert!(desk.gate.list_so_far(id, answer.len()));
    let other = desk.gate.list(desk.now, id, answer.as_bytes());
    assert_eq!(desk.gate.parked(), (0, 0));
    other.map(|other| serde_json::from_slice(&other).unwrap())
}

#[test]
fn a_list_shows_what_could_be_called() {
    let mut desk = desk();
    let answer = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"lookup","x":1.0},{"name":"pay"},{"name":"wipe",
        "_meta":{"a":1}},{"name":"shell"},{"name":"other"},{"title":"nameless"}],"nextCursor":"c","cacheScope":"public"}}"#;
    let list = listed(&mut desk, answer).unwrap();
    let held = json!({"name": "wipe", "_meta": {"a": 1, "holdgate/checkpoint": "held"}});
    assert_eq!(
        list["result"]["tools"],
        json!([{"name": "lookup", "x": 1.0}, {"name": "pay"}, held, {"title": "nameless"}])
    );
    assert_eq!((&list["result"]["nextCursor"], &list["result"]["cacheScope"]), (&json!("c"), &json!("private")));
    for untouched in [
        r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"lookup"},{"name":"pay"}]}}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"no"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"tools":{"name":"shell"}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"shell"}],"tools":[]}}"#,
        "no JSON",
    ] {
        assert!(listed(&mut desk, untouched).is_none(), "{untouched}");
    }
}

#[test]
fn a_list_that_cannot_be_read_passes_and_leaves_nothing_behind() {
    let mut desk = desk();
    let sse = Some("text/event-stream");
    for (status, kind, encoded) in [
        (200, sse, false),
        (200, None, false),
        (500, Some("application/json"), false),
        (200, Some("application/json"), true),
    ] {
        let (id, _) = send(&mut desk, &[], &list());
        assert!(!desk.gate.list_head(id, status, kind, encoded));
        assert!(!desk.gate.awaits_list(id));
    }
    let (id, _) = send(&mut desk, &[], &list());
    assert!(desk.gate.list_head(id, 200, Some("application/json; charset=utf-8"), false));
    assert!(!desk.gate.list_so_far(id, 1024 * 1024 + 1));
    let (id, _) = send(&mut desk, &[], &list());
    desk.gate.closed(id);
    assert_eq!(desk.gate.parked(), (0, 0));
}

/// A held list once came back whole, and so did one that a newer policy allowed while it waited.
#[test]
fn a_list_that_was_held_is_filtered_like_any_other() {
    let lists = value(json!("mcp_method"), json!({"equals": {"string": "tools/list"}}));
    let hold = json!([{"id": "list", "effect": "hold", "any": [[lists]]}]);
    let answer = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"lookup"},{"name":"shell"}]}}"#;
    for newer in [false, true] {
        let mut desk = desk();
        let mut held_rules = rules(json!([]));
        let all = held_rules.as_array_mut().unwrap();
        all.retain(|rule| rule["id"] != "list");
        all.extend(hold.as_array().unwrap().iter().cloned());
        desk.publish(3, held_rules);
        let id = held(&mut desk, &[], &list());
        assert!(desk.gate.changes().unwrap().plain_answer, "a compressed list could not be read");
        assert!(!desk.gate.awaits_list(id));
        if newer {
            desk.publish(4, rules(json!([])));
        }
        desk.decide("h1", "approved");
        assert_eq!(desk.tick().forwarded, [(id, !newer)]);
        assert_eq!(desk.gate.awaits_response(id), !newer);
        desk.gate.response(id, Some(200));
        assert!(desk.gate.awaits_list(id) && desk.gate.list_head(id, 200, Some("application/json"), false));
        let other: Value = serde_json::from_slice(&desk.gate.list(desk.now, id, answer.as_bytes()).unwrap()).unwrap();
        assert_eq!(other["result"]["tools"], json!([{"name": "lookup"}]));
        assert_eq!((desk.gate.parked().0, desk.tick().reports.len()), (0, usize::from(!newer)));
    }
}

/// A list of 75,000 tools once took a worker a second.
#[test]
fn of_a_list_without_end_the_first_tools_are_judged_and_the_others_left_out() {
    let mut desk = desk();
    let tools = |count: usize| (0..count).map(|tool| json!({"name": format!("look{tool}")})).collect::<Vec<_>>();
    let answer = |count| json!({"jsonrpc": "2.0", "id": 1, "result": {"tools": tools(count)}}).to_string();
    assert!(listed(&mut desk, &answer(4_096)).is_none());
    let list = listed(&mut desk, &answer(30_000)).unwrap();
    assert_eq!(list["result"]["tools"], json!(tools(4_096)));
}

/// Rules that look at the header which repeats a tool's name see it as a call of that tool would have it.
#[test]
fn a_list_is_judged_with_the_headers_of_a_call() {
    let mut desk = desk();
    let named = value(json!({"header": "mcp-name"}), json!({"equals": {"string": "look2"}}));
    let called = value(json!({"header": "mcp-method"}), json!({"equals": {"string": "tools/call"}}));
    desk.publish(3, rules(json!([{"id": "no", "effect": "deny", "any": [[named, called]]}])));
    let answer =
        r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"look1"},{"name":"look2"},{"name":"a, look2"}]}}"#;
    let of = |desk: &mut Desk, headers: &[(&str, &str)]| {
        let (id, step) = send(desk, headers, &list());
        assert!(matches!(step, Step::Forward(_)), "{step:?}");
        assert!(desk.gate.list_head(id, 200, Some("application/json"), false));
        desk.gate.list(desk.now, id, answer.as_bytes())
    };
    let body: Value = serde_json::from_slice(&of(&mut desk, &[("mcp-method", "tools/list")]).unwrap()).unwrap();
    // Without the header it is unknown, which a deny takes for a match.
    assert_eq!(body["result"]["tools"], json!([]));
}
