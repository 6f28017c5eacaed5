//! What each kind of atom says about a request: values that are missing, mistyped, repeated, or of another protocol.
#![expect(clippy::unwrap_used, reason = "test support")]

use holdgate_engine::{
    Atom, Body, Caller, Expr, Field, Mcp, Request,
    Truth::{self, False, Pending, True, Unknown},
};
use holdgate_protocol::{Json, bundle::Effect};
use serde_json::{Value, json};

fn json(text: &str) -> Json {
    Json::parse(text.as_bytes()).unwrap()
}

fn value(of: Value, is: Value) -> Value {
    json!({"value": {"of": of, "is": is}})
}

/// What the atom says in a rule that denies.
fn truth(atom: Value, request: &Request<'_>) -> Truth {
    serde_json::from_value::<Atom>(atom).unwrap().truth(Effect::Deny, request)
}

fn negated(atom: Value, request: &Request<'_>) -> Truth {
    serde_json::from_value::<Expr>(json!({"is_not": atom})).unwrap().truth(Effect::Deny, request)
}

fn plain() -> Request<'static> {
    Request::new("POST", "h", "/p")
}

#[test]
fn any_of_several_values_counts_in_a_deny_and_all_must_in_an_allow() {
    let field = |value| Field { name: "role", value };
    let (viewer, admin, unreadable) = (field(Some("viewer")), field(Some("admin")), field(None));
    let other = Field { name: "other", value: Some("admin") };
    let is_admin = value(json!({"query": "role"}), json!({"equals": {"string": "admin"}}));
    for (fields, in_deny, in_allow) in [
        (vec![], Unknown, Unknown),
        (vec![other], Unknown, Unknown),
        (vec![admin], True, True),
        (vec![viewer], False, False),
        (vec![viewer, admin], True, False),
        (vec![viewer, unreadable], Unknown, False),
        (vec![admin, unreadable], True, Unknown),
    ] {
        let request = Request { query: &fields, ..plain() };
        let atom: Atom = serde_json::from_value(is_admin.clone()).unwrap();
        assert_eq!(atom.truth(Effect::Deny, &request), in_deny, "{fields:?}");
        assert_eq!(atom.truth(Effect::Hold, &request), in_deny, "{fields:?}");
        assert_eq!(atom.truth(Effect::Allow, &request), in_allow, "{fields:?}");
    }
    // The negation is that of each value: one that is not `admin` is enough to deny.
    let request = Request { query: &[viewer, admin], ..plain() };
    assert_eq!(negated(is_admin, &request), True);
    let exists = |wanted: bool| value(json!({"query": "role"}), json!({"exists": wanted}));
    assert_eq!((truth(exists(true), &request), truth(exists(false), &request)), (True, False));
    assert_eq!((truth(exists(true), &plain()), truth(exists(false), &plain())), (False, True));
    assert_eq!(truth(exists(true), &Request { query: &[unreadable], ..plain() }), True);
}

#[test]
fn texts_of_the_wire_are_numbers_and_booleans_where_such_are_asked_for() {
    let test = |text: &str, is: Value| {
        let fields = [Field { name: "x", value: Some(text) }];
        truth(value(json!({"header": "x"}), is), &Request { headers: &fields, ..plain() })
    };
    assert_eq!(test("0.79", json!({"lt": "0.8"})), True);
    assert_eq!(test("8e-1", json!({"equals": {"number": "0.80"}})), True);
    assert_eq!(test("8e-1", json!({"equals": {"string": "0.80"}})), False);
    assert_eq!(test("2", json!({"in": {"numbers": ["1", "2"]}})), True);
    assert_eq!(test("true", json!({"equals": {"bool": true}})), True);
    for text in ["", "high", "0,5", "+1", "01", "NaN", " 1"] {
        assert_eq!(test(text, json!({"lt": "0.8"})), Unknown, "{text}");
    }
    assert_eq!(test("yes", json!({"equals": {"bool": true}})), Unknown);
    let tag = json!({"tag": {"name": "risk", "source": {"header": "x-risk"}}});
    let fields = [Field { name: "x-risk", value: Some("0.9") }];
    assert_eq!(truth(value(tag, json!({"gt": "0.7"})), &Request { headers: &fields, ..plain() }), True);
}

#[test]
fn what_is_asked_of_a_tool_call_is_false_elsewhere_negated_or_not() {
    let tool = value(json!("mcp_tool"), json!({"glob": "iam.*"}));
    let arg = value(json!({"mcp_arg": "/role"}), json!({"equals": {"string": "admin"}}));
    let method = value(json!("mcp_method"), json!({"equals": {"string": "tools/call"}}));
    let args = json(r#"{"role":"admin","n":1}"#);
    let call = |tool, args| Mcp::Message { method: "tools/call", tool, args };
    for (mcp, expected) in [
        (Mcp::None, [False, False, False]),
        (Mcp::Unread, [Pending, Pending, Pending]),
        (Mcp::Tool("iam.grant"), [True, True, Pending]),
        (Mcp::Tool("other"), [True, False, Pending]),
        (Mcp::Message { method: "tools/list", tool: Some("iam.x"), args: Some(&args) }, [False, False, False]),
        (call(Some("iam.grant"), Some(&args)), [True, True, True]),
        (call(Some("other"), None), [True, False, Unknown]),
        (call(None, None), [True, Unknown, Unknown]),
    ] {
        let request = Request { mcp, ..plain() };
        for (atom, expected) in [&method, &tool, &arg].into_iter().zip(expected) {
            assert_eq!(truth(atom.clone(), &request), expected, "{atom} {mcp:?}");
        }
    }
    let list = Request { mcp: Mcp::Message { method: "tools/list", tool: None, args: None }, ..plain() };
    for request in [plain(), list] {
        assert_eq!(negated(tool.clone(), &request), False);
        assert_eq!(negated(arg.clone(), &request), False);
    }
    assert_eq!(negated(tool, &Request { mcp: call(Some("other"), None), ..plain() }), True);
}

#[test]
fn sizes_are_those_of_texts_lists_and_objects() {
    let test = |body: &str, min: u64, max: Option<u64>| {
        let body = json(body);
        let atom = value(json!({"body": "/k"}), json!({"size": {"min": min, "max": max}}));
        truth(atom, &Request { body: Body::Json(&body), ..plain() })
    };
    assert_eq!(test(r#"{"k":"äö😀"}"#, 3, Some(3)), True);
    assert_eq!(test(r#"{"k":""}"#, 1, None), False);
    assert_eq!(test(r#"{"k":[1,2]}"#, 2, None), True);
    assert_eq!(test(r#"{"k":{"a":1}}"#, 2, None), False);
    for body in [r#"{"k":7}"#, r#"{"k":null}"#, "{}"] {
        assert_eq!(test(body, 0, None), Unknown, "{body}");
    }
}

#[test]
fn a_list_includes_what_occurs_in_it() {
    let test = |claims: &str, literal: Value| {
        let claims = json(claims);
        let agent = Caller { iss: "i", id: "a", owner: None, claims: &claims };
        truth(
            value(json!({"claim": "/groups"}), json!({"includes": literal})),
            &Request { agent: Some(agent), ..plain() },
        )
    };
    let admin = || json!({"string": "admin"});
    assert_eq!(test(r#"{"groups":["a","admin"]}"#, admin()), True);
    assert_eq!(test(r#"{"groups":["a",1,null]}"#, admin()), False);
    assert_eq!(test(r#"{"groups":[1.0]}"#, json!({"number": "1"})), True);
    assert_eq!(test(r#"{"groups":[]}"#, admin()), False);
    for claims in [r#"{"groups":"admin"}"#, r#"{"groups":{"admin":1}}"#, "{}"] {
        assert_eq!(test(claims, admin()), Unknown, "{claims}");
    }
}

#[test]
fn two_attributes_are_compared_as_values_of_one_type() {
    let test = |is: &str, body: &str| {
        let (claims, body) = (json(r#"{"limit":100,"ok":true}"#), json(body));
        let agent = Some(Caller { iss: "i", id: "bot", owner: None, claims: &claims });
        let query = [Field { name: "n", value: Some("100.0") }];
        let request = Request { agent, query: &query, body: Body::Json(&body), ..plain() };
        ["agent_id", "claim:/limit", "claim:/ok", "query:n"].map(|left| {
            let left = left.split_once(':').map_or(json!(left), |(kind, of)| json!({kind: of}));
            truth(json!({"compare": {"left": left, "is": is, "right": {"body": "/k"}}}), &request)
        })
    };
    assert_eq!(test("eq", r#"{"k":"bot"}"#), [True, Unknown, Unknown, False]);
    assert_eq!(test("ne", r#"{"k":"bot"}"#), [False, Unknown, Unknown, True]);
    assert_eq!(test("eq", r#"{"k":1e2}"#), [Unknown, True, Unknown, True]);
    assert_eq!(test("lt", r#"{"k":101}"#), [Unknown, True, Unknown, True]);
    assert_eq!(test("gte", r#"{"k":101}"#), [Unknown, False, Unknown, False]);
    assert_eq!(test("eq", r#"{"k":false}"#), [Unknown, Unknown, False, Unknown]);
    assert_eq!(test("eq", r#"{"k":null}"#), [Unknown; 4]);
    assert_eq!(test("eq", "{}"), [Unknown; 4]);
}

#[test]
fn a_rate_is_over_its_limit_when_its_counter_says_so() {
    let test = |rates: &[Option<u64>]| {
        truth(json!({"rate": {"over": 20, "per": 60, "by": "agent"}}), &Request { rates, ..plain() })
    };
    assert_eq!(test(&[Some(20)]), False);
    assert_eq!(test(&[Some(21)]), True);
    assert_eq!((test(&[None]), test(&[])), (Unknown, Unknown));
}

#[test]
fn more_pairs_of_values_than_are_looked_at_are_unknown() {
    let compare = json!({"compare": {"left": {"query": "a"}, "is": "eq", "right": {"query": "b"}}});
    let fields = |count: usize| -> Vec<Field<'static>> {
        ["a", "b"].into_iter().flat_map(|name| vec![Field { name, value: Some("x") }; count]).collect()
    };
    let test = |count: usize| truth(compare.clone(), &Request { query: &fields(count), ..plain() });
    assert_eq!((test(16), test(17)), (True, Unknown));
}

#[test]
fn a_list_in_one_header_is_its_members_too() {
    let values = |value| holdgate_engine::header_values(value).collect::<Vec<_>>();
    assert_eq!(values("viewer"), ["viewer"]);
    assert_eq!(values("viewer, admin,,x "), ["viewer, admin,,x ", "viewer", "admin", "x"]);
    assert_eq!(values(","), [","]);
    assert_eq!(values(""), [""]);
}
