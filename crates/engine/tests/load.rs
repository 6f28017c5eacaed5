//! What `Policy::load` refuses: a bundle that it does not understand wholly is not loaded at all.
#![expect(clippy::unwrap_used, reason = "test support")]

use holdgate_engine::{Body, Policy, Request, Verdict};
use holdgate_protocol::{
    Json,
    bundle::{Effect, rule_hash},
};

const NO_NEEDS: &str = r#"{"body":false,"claims":[],"headers":[],"mcp":false}"#;

fn load(conditions: &str, needs: &str) -> Result<Policy, String> {
    load_all(&[conditions], needs)
}

/// Rules `r0`, `r1`, ... that allow.
fn load_all(conditions: &[&str], needs: &str) -> Result<Policy, String> {
    let rule = |(index, conditions): (usize, &&str)| {
        let hash = rule_hash(&Json::parse(conditions.as_bytes()).unwrap());
        format!(
            r#"{{"id":"r{index}","effect":"allow","mode":"enforce","reason":"because","controls":["a/b"],
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
    let policy = load(r#"{"any":[[{"method":["GET"]}]]}"#, NO_NEEDS).unwrap();
    assert_eq!((policy.reference().id.as_str(), policy.reference().serial), ("p", 3));
    assert_eq!(policy.rules()[0].reason.as_deref(), Some("because"));
    let other = load(r#"{"any":[[{"method":["GET"]}],[{"method":["PUT"]}]]}"#, NO_NEEDS).unwrap();
    assert_ne!(policy.reference().rev, other.reference().rev);
}

#[test]
fn unknown_atoms_members_and_operators_are_refused() {
    refused(r#"[{"query":{"name":"a"}}]"#, NO_NEEDS, "unknown variant `query`");
    refused(r#"[{"claim":{"name":"a","test":{"matches":"x"}}}]"#, NO_NEEDS, "unknown variant `matches`");
    refused(r#"[{"claim":{"name":"a","test":{"exists":true},"also":1}}]"#, NO_NEEDS, "unknown field `also`");
    refused(r#"[{"method":["GET"],"path":"/"}]"#, NO_NEEDS, "");
    let error = load(r#"{"any":[[{"method":["GET"]}]],"when":"true"}"#, NO_NEEDS).unwrap_err();
    assert!(error.contains("unknown field `when`"), "{error}");
}

#[test]
fn what_would_match_all_or_nothing_is_refused() {
    for entry in ["[]", r#"[{"method":[]}]"#, r#"[{"host":{"in":{"strings":[]}}}]"#] {
        refused(entry, NO_NEEDS, "rule `r0`: an empty list");
    }
    let error = load(r#"{"any":[]}"#, NO_NEEDS).unwrap_err();
    assert!(error.contains("rule `r0`: an empty list"), "{error}");
}

#[test]
fn values_out_of_their_canonical_form_are_refused() {
    refused(r#"[{"path":"/a/%c3%bc"}]"#, NO_NEEDS, "it reads `/a/%C3%BC`");
    refused(r#"[{"path":"a"}]"#, NO_NEEDS, "starts with `/`");
    refused(r#"[{"host":{"equals":{"string":"API.example"}}}]"#, NO_NEEDS, "lower case");
    let needs = r#"{"body":true,"claims":[],"headers":[],"mcp":false}"#;
    refused(r#"[{"body":{"pointer":"role","test":{"exists":true}}}]"#, needs, "not a JSON pointer");
    refused(r#"[{"body":{"pointer":"/n","test":{"lt":0.5}}}]"#, needs, "expected a string");
    refused(r#"[{"body":{"pointer":"/n","test":{"lt":"1."}}}]"#, needs, "`1.` is not a decimal number");
}

#[test]
fn needs_must_be_what_the_rules_look_at() {
    let entry = r#"[{"body":{"pointer":"/n","test":{"exists":true}}},{"claim":{"name":"b","test":{"exists":true}}},
                    {"claim":{"name":"a","test":{"exists":true}}},{"claim":{"name":"b","test":{"exists":false}}}]"#;
    refused(entry, NO_NEEDS, "`needs`");
    refused(entry, r#"{"body":true,"claims":["b","a"],"headers":[],"mcp":false}"#, "`needs`");
    refused(entry, r#"{"body":true,"claims":["a","b"],"headers":["x"],"mcp":false}"#, "`needs`");
    let right = r#"{"body":true,"claims":["a","b"],"headers":[],"mcp":false}"#;
    assert!(load(&format!(r#"{{"any":[{entry}]}}"#), right).is_ok());
}

#[test]
fn an_index_of_another_policy_names_no_rule_of_this_one() {
    let [get, put] =
        ["GET", "PUT"].map(|method| format!(r#"{{"any":[[{{"method":["{method}"]}},{{"agent_exists":false}}]]}}"#));
    let (one, two) = (load(&get, NO_NEEDS).unwrap(), load_all(&[&get, &put], NO_NEEDS).unwrap());
    let request = Request { method: "PUT", host: "h", path: "/", agent: None, body: Body::Empty };
    let Verdict::Allow(index) = two.evaluate(&request) else { panic!("not allowed") };
    assert_eq!(two.rule(index).id, "r1");
    assert_eq!((one.rule(index).id.as_str(), one.rule(index).effect), ("", Effect::Deny));
}
