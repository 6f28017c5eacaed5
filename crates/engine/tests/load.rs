//! What `Policy::load` refuses: a bundle that it does not understand wholly is not loaded at all.
#![expect(clippy::unwrap_used, reason = "test support")]

use holdgate_engine::{Conditions, Policy, Request, Verdict};
use holdgate_protocol::{
    Json,
    bundle::{Effect, rule_hash},
};

const NO_NEEDS: &str = r#"{"body":false,"claims":[],"headers":[],"mcp":false,"query":[],"rates":false,"time":false}"#;

const GET: &str = r#"{"value":{"of":"method","is":{"equals":{"string":"GET"}}}}"#;

fn load(conditions: &str, needs: &str) -> Result<Policy, String> {
    load_all(&[conditions], needs)
}

/// Rules `r0`, `r1`, ... that allow.
fn load_all(conditions: &[&str], needs: &str) -> Result<Policy, String> {
    load_as("allow", conditions, needs)
}

fn load_as(effect: &str, conditions: &[&str], needs: &str) -> Result<Policy, String> {
    let rule = |(index, conditions): (usize, &&str)| {
        let hash = rule_hash(&Json::parse(conditions.as_bytes()).unwrap());
        format!(
            r#"{{"id":"r{index}","effect":"{effect}","mode":"enforce","reason":"because","controls":["a/b"],
                "hash":"{hash}","conditions":{conditions},"approval":null}}"#
        )
    };
    let rules: Vec<_> = conditions.iter().enumerate().map(rule).collect();
    let rules = rules.join(",");
    let bundle = format!(r#"{{"format":1,"id":"p","serial":3,"requirements":[],"needs":{needs},"rules":[{rules}]}}"#);
    Policy::load(&Json::parse(bundle.as_bytes()).unwrap().to_jcs()).map_err(|error| error.to_string())
}

#[track_caller]
fn refused(entry: &str, needs: &str, expected: &str) {
    let error = load(&format!(r#"{{"any":[{entry}]}}"#), needs).unwrap_err();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn a_good_bundle_is_loaded_and_known_by_its_bytes() {
    let policy = load(r#"{"any":[[{"value":{"of":"method","is":{"in":{"strings":["GET"]}}}}]]}"#, NO_NEEDS).unwrap();
    assert_eq!((policy.reference().id.as_str(), policy.reference().serial), ("p", 3));
    assert_eq!(policy.rules()[0].reason.as_deref(), Some("because"));
    let other = load(r#"{"any":[[{"value":{"of":"method","is":{"in":{"strings":["GET"]}}}}],[{"value":{"of":"method","is":{"in":{"strings":["PUT"]}}}}]]}"#, NO_NEEDS).unwrap();
    assert_ne!(policy.reference().rev, other.reference().rev);
}

#[test]
fn unknown_atoms_members_and_operators_are_refused() {
    refused(
        r#"[{"query":{"name":"a"}}]"#,
        NO_NEEDS,
        "rules[0].conditions.any[0][0]`: `query` is not known here; expected one of `value`",
    );
    refused(
        r#"[{"value":{"of":"cookie","is":{"exists":true}}}]"#,
        NO_NEEDS,
        "any[0][0].value.of`: `cookie` is not known here",
    );
    refused(
        r#"[{"value":{"of":"method","is":{"like":"x"}}}]"#,
        NO_NEEDS,
        "any[0][0].value.is`: `like` is not known here",
    );
    refused(
        r#"[{"value":{"of":"method","is":{"exists":true},"also":1}}]"#,
        NO_NEEDS,
        "any[0][0].value`: `also` is not known here; expected one of `of`, `is`",
    );
    let error = load(&format!(r#"{{"any":[[{GET}]],"unless":{{}}}}"#), NO_NEEDS).unwrap_err();
    assert!(error.contains("conditions`: `unless` is not known here"), "{error}");
}

#[test]
fn what_would_match_all_or_nothing_is_refused() {
    refused("[]", NO_NEEDS, "rule `r0`: an empty list");
    for list in [r#"{"in":{"strings":[]}}"#, r#"{"in":{"strings":["b","a"]}}"#, r#"{"not_in":{"numbers":["1","1.0"]}}"#]
    {
        refused(&format!(r#"[{{"value":{{"of":"method","is":{list}}}}}]"#), NO_NEEDS, "the values of a list rise");
    }
    for when in [r#"{"all":[]}"#, r#"{"any":[{"all":[]}]}"#] {
        let error = load(&format!(r#"{{"any":[[{GET}]],"when":{when}}}"#), NO_NEEDS).unwrap_err();
        assert!(error.contains("rule `r0`: an empty list"), "{error}");
    }
    let error = load(r#"{"any":[]}"#, NO_NEEDS).unwrap_err();
    assert!(error.contains("rule `r0`: an empty list"), "{error}");
}

#[test]
fn values_out_of_their_canonical_form_are_refused() {
    refused(r#"[{"value":{"of":"path","is":{"template":"/a/%c3%bc"}}}]"#, NO_NEEDS, "it reads `/a/%C3%BC`");
    refused(r#"[{"value":{"of":"path","is":{"template":"a"}}}]"#, NO_NEEDS, "starts with `/`");
    refused(r#"[{"value":{"of":"host","is":{"equals":{"string":"API.example"}}}}]"#, NO_NEEDS, "lower case");
    let needs = r#"{"body":true,"claims":[],"headers":[],"mcp":false,"query":[],"rates":false,"time":false}"#;
    refused(r#"[{"value":{"of":{"body":"role"},"is":{"exists":true}}}]"#, needs, "not a JSON pointer");
    refused(
        r#"[{"value":{"of":{"body":"/n"},"is":{"lt":0.5}}}]"#,
        needs,
        "any[0][0].value.is.lt`: expected a text, found a number",
    );
    refused(r#"[{"value":{"of":{"body":"/n"},"is":{"lt":"1."}}}]"#, needs, "`1.` is not a decimal number");
}

#[test]
fn conditions_that_mean_nothing_are_refused() {
    let all = r#"{"body":false,"claims":["a"],"headers":["x"],"mcp":false,"query":[],"rates":true,"time":true}"#;
    let time = |days: &str, to: u16, offsets: &str| {
        format!(
            r#"{{"time":{{"outside":false,"days":[{days}],"from":0,"to":{to},"zone":"UTC","offsets":[{offsets}],"until":9}}}}"#
        )
    };
    let (monday, utc) = (r#""mon""#, r#"{"from":0,"seconds":0}"#);
    let rate = r#"{"rate":{"over":1,"per":60,"by":"agent"}}"#;
    for (atoms, expected) in [
        (r#"{"value":{"of":"agent","is":{"prefix":"a"}}}"#.to_owned(), "only `exists`"),
        (r#"{"value":{"of":"host","is":{"template":"/a"}}}"#.to_owned(), "templates are for paths"),
        (r#"{"value":{"of":{"claim":""},"is":{"exists":true}}}"#.to_owned(), "a pointer into claims"),
        (r#"{"value":{"of":{"header":"X-A"},"is":{"exists":true}}}"#.to_owned(), "lower case"),
        (r#"{"value":{"of":"path","is":{"size":{"min":3,"max":2}}}}"#.to_owned(), "a size has a least"),
        (
            r#"{"value":{"of":{"tag":{"name":"risk","source":{"header":"x"}}},"is":{"lt":"1"}}}"#.to_owned(),
            "asserted tag",
        ),
        (r#"{"compare":{"left":"agent","is":"eq","right":"host"}}"#.to_owned(), "only `exists`"),
        (rate.replace('1', "0"), "one rate at most, with a count"),
        (format!("{rate},{rate}"), "one rate at most"),
        (time(r#""tue","mon""#, 60, utc), "a window has days"),
        (time(monday, 1440, utc), "a window has days"),
        (time(monday, 60, ""), "a window has days"),
    ] {
        refused(&format!("[{atoms}]"), all, expected);
    }
    let error = load(&format!(r#"{{"any":[[{GET}]],"when":{{"is":{rate}}}}}"#), all).unwrap_err();
    assert!(error.contains("`when` has none"), "{error}");
}

/// `deny when !(mcp.tool == "safe")` would let by what is no tool call.
#[test]
fn a_deny_asks_for_mcp_in_its_entries_before_it_does_in_when() {
    let atom = |of: &str| format!(r#"{{"value":{{"of":{of},"is":{{"prefix":"a"}}}}}}"#);
    let [method, tool, arg] = [r#""mcp_method""#, r#""mcp_tool""#, r#"{"mcp_arg":"/a"}"#].map(atom);
    let sound = |entry: &str, when: &str| {
        let conditions = format!(r#"{{"any":[[{entry}]],"when":{{"is_not":{when}}}}}"#);
        serde_json::from_str::<Conditions>(&conditions).unwrap().asks_for_mcp_in_entries()
    };
    assert!(sound(&tool, &arg) && sound(&arg, &tool) && sound(&method, &method) && sound(&tool, &method));
    assert!(sound(GET, GET) && !sound(GET, &tool) && !sound(GET, &method) && !sound(&method, &tool));
    let conditions = format!(r#"{{"any":[[{GET}],[{tool}]],"when":{{"is_not":{tool}}}}}"#);
    let needs = NO_NEEDS.replace(r#""mcp":false"#, r#""mcp":true"#);
    assert!(load(&conditions, &needs).is_ok(), "an allow is false in any case");
    let error = load_as("deny", &[&conditions], &needs).unwrap_err();
    assert!(error.contains("asks for MCP"), "{error}");
}

#[test]
fn what_takes_too_many_steps_is_refused() {
    let deep = |levels: usize| format!(r#"{}{{"is":{GET}}}{}"#, r#"{"all":["#.repeat(levels), "]}".repeat(levels));
    let load = |levels: usize| load(&format!(r#"{{"any":[[{GET}]],"when":{}}}"#, deep(levels)), NO_NEEDS);
    assert!(load(24).is_ok());
    assert!(load(25).unwrap_err().contains("nested 24 deep at most"));
    let many = vec![GET; 4097].join(",");
    refused(&format!("[{many}]"), NO_NEEDS, "at most 4096 steps");
}

#[test]
fn needs_must_be_what_the_rules_look_at() {
    let entry = r#"[{"value":{"of":{"body":"/n"},"is":{"exists":true}}},{"value":{"of":{"claim":"/b"},"is":{"exists":true}}},
                    {"value":{"of":{"claim":"/a"},"is":{"exists":true}}},{"value":{"of":{"claim":"/b"},"is":{"exists":false}}}]"#;
    refused(entry, NO_NEEDS, "`needs`");
    refused(
        entry,
        r#"{"body":true,"claims":["b","a"],"headers":[],"mcp":false,"query":[],"rates":false,"time":false}"#,
        "`needs`",
    );
    refused(
        entry,
        r#"{"body":true,"claims":["a","b"],"headers":["x"],"mcp":false,"query":[],"rates":false,"time":false}"#,
        "`needs`",
    );
    let right = r#"{"body":true,"claims":["a","b"],"headers":[],"mcp":false,"query":[],"rates":false,"time":false}"#;
    assert!(load(&format!(r#"{{"any":[{entry}]}}"#), right).is_ok());
}

#[test]
fn an_index_of_another_policy_names_no_rule_of_this_one() {
    let [get, put] =
        ["GET", "PUT"].map(|method| format!(r#"{{"any":[[{{"value":{{"of":"method","is":{{"in":{{"strings":["{method}"]}}}}}}}},{{"value":{{"of":"agent","is":{{"exists":false}}}}}}]]}}"#));
    let (one, two) = (load(&get, NO_NEEDS).unwrap(), load_all(&[&get, &put], NO_NEEDS).unwrap());
    let request = Request::new("PUT", "h", "/");
    let Verdict::Allow(index) = two.evaluate(&request) else { panic!("not allowed") };
    assert_eq!(two.rule(index).id, "r1");
    assert_eq!((one.rule(index).id.as_str(), one.rule(index).effect), ("", Effect::Deny));
}
