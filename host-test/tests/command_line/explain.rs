//! `holdgate explain`, and the coverage that `holdgate test` tells.

use serde_json::{Value, json};

use crate::place::{POLICY, Place};

const HOLD: &str = "\
format: 1
policy: demo
approvers: {boss: {}}
rules:
  - id: read
    effect: allow
    match:
      - http: {methods: [GET], path: /**}
        agent: {claims: {team: iam}}
  - id: delete
    effect: hold
    reason: It cannot be undone.
    match:
      - http: {methods: [DELETE], path: \"/x/{id}\"}
    when: body.force != true
    approval: {factors: [{role: boss, approvals: 2}], decide_within: 90m, use_within: 10m}
tests:
  - name: a deletion is held
    request: {agent: {}, http: {method: DELETE, path: /x/7}, body: {force: false}}
    expect: {effect: hold, rule: delete}
";

#[test]
fn a_request_that_nothing_matches_is_explained_at_once() {
    let place = Place::new();
    place.write("p.yaml", HOLD).write("r.yaml", "{agent: {claims: {team: hr}}, http: {method: GET, path: /x/7}}\n");
    let expected = "\
deny: no rule matched

rules that did not match, the nearest first:
  `read` (allow), 2 of 3 conditions of entry 1 (p.yaml:9:26)
    agent.claims.team is \"hr\"; the rule wants \"iam\"
  `delete` (hold), 1 of 3 conditions of entry 1 (p.yaml:14:16)
    http.method is \"GET\"; the rule wants \"DELETE\"
";
    assert_eq!(place.succeeds("explain r.yaml --policy p.yaml"), expected);
    let said = place.succeeds("explain r.yaml --policy p.yaml --near 1");
    assert!(said.ends_with("  and 1 rule further off (`--near 2`)\n"), "{said}");
    // JSON is YAML; a whole test will do as well.
    place.write("r.json", r#"{"name": "x", "request": {"http": {"method": "GET", "path": "/"}}}"#);
    let said = place.succeeds("explain r.json --policy p.yaml");
    assert!(said.contains("agent is none; the rule wants a verified agent"), "{said}");
}

#[test]
fn a_hold_is_explained_with_what_it_needs() {
    let place = Place::new();
    place.write("p.yaml", HOLD).write("r.yaml", "{agent: {}, http: {method: DELETE, path: /x/7}}\n");
    let expected = "\
hold by `delete`
  It cannot be undone.
  needs 2 x boss, decided within 90m and used within 10m
  `delete` matches as body.force is missing: whether it is `false` is unknown, and unknown counts against the \
request (p.yaml:15:11)

rules that did not match, the nearest first:
  `read` (allow), 1 of 3 conditions of entry 1 (p.yaml:8:16)
    http.method is \"DELETE\"; the rule wants \"GET\"
";
    assert_eq!(place.succeeds("explain r.yaml --policy p.yaml"), expected);
    place.succeeds("build p.yaml --out p.jcs");
    let data: Value = serde_json::from_str(&place.succeeds("explain r.yaml --policy p.jcs --format json")).unwrap();
    assert_eq!((&data["verdict"], &data["rule"]), (&json!("hold"), &json!("delete")));
    assert_eq!(data["requirement"]["factors"], json!([{"role": "boss", "approvals": 2}]));
    assert_eq!(data["matched"][0]["unknown"]["actual"], "missing");
    assert_eq!((&data["missed"][0]["met"], &data["missed"][0]["of"]), (&json!(1), &json!(3)));
    assert_eq!(data["missed"][0]["stopped_by"]["is"], "false");
    let outcome = place.run_with_input(&["explain", "--policy", "p.yaml", "--test", "a deletion is held"], "");
    assert!(outcome.stdout.starts_with("hold by `delete`\n"), "{}", outcome.stderr);
    let outcome = place.run_with_input(&["explain", "-", "--policy", "p.yaml"], "http: {method: GET, path: /}");
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
}

#[test]
fn who_may_step_in_and_the_codes_of_a_decision_are_explained() {
    let place = Place::new();
    let asked = "use_within: 10m, escalate: {role: chief, after: 50%}, reason_codes: [ticket, incident]";
    let policy = HOLD.replace("use_within: 10m", asked).replace("{boss: {}}", "{boss: {}, chief: {}}");
    place.write("p.yaml", &policy);
    let said = place.run_with_input(&["explain", "--policy", "p.yaml", "--test", "a deletion is held"], "").stdout;
    let expected = "  needs 2 x boss, decided within 90m and used within 10m
  after 50% of that time `chief` may stand in for any of them
  a decision names one of the reason codes incident, ticket
";
    assert!(said.contains(expected), "{said}");
}

#[test]
fn a_request_that_is_none_is_refused() {
    let place = Place::new();
    place.write("p.yaml", HOLD).write("r.yaml", "{agnt: {}, http: {method: GET}}\n");
    let outcome = place.run("explain r.yaml --policy p.yaml");
    assert_eq!(outcome.code, 1);
    for part in ["r.yaml:1:2: ", "did you mean `agent`?", "`path`"] {
        assert!(outcome.stderr.contains(part), "{part}: {}", outcome.stderr);
    }
    let expected = "no test of these rule files has the name `x`\n";
    place.fails("explain --test x --policy p.yaml", 2, expected);
    assert_eq!(place.run("explain --policy p.yaml").code, 2);
    place.fails(
        "explain no.yaml --policy p.yaml",
        2,
        "cannot read `no.yaml`: No such file or directory (os error 2)\n",
    );
}

#[test]
fn tests_tell_what_they_do_not_show() {
    let place = Place::new();
    place.write("p.yaml", HOLD);
    let expected = "\
1 passed
coverage: rules 1 of 2 (50.0 %), sides of atoms 3 of 10 (30.0 %)
  p.yaml:5:9: `read`: no test sees it allow
  p.yaml:14:16: `delete`: http.method: \"DELETE\": is never what keeps the rule from matching
  p.yaml:14:35: `delete`: http.path: `/x/{id}`: is never what keeps the rule from matching
  p.yaml:15:11: `delete`: body.force: `false`: is never what keeps the rule from matching
";
    assert_eq!(place.succeeds("test p.yaml"), expected);
    let outcome = place.run("test p.yaml --min-coverage 30.1");
    assert_eq!((outcome.code, outcome.stdout), (1, format!("{expected}less than 30.1 % is covered\n")));
    place.succeeds("test p.yaml --min-coverage 30");
    let outcome = place.run("test p.yaml --min-coverage 50 --format json");
    let data: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((outcome.code, &data["failed"]), (1, &json!(0)));
    assert_eq!(data["coverage"]["rules"], json!({"covered": 1, "of": 2, "percent": 50.0}));
    assert_eq!(data["coverage"]["uncovered"][0]["line"], 5);
    assert_eq!(place.run("test p.yaml --min-coverage 101").code, 2);
    place.write(
        "all.yaml",
        &format!(
            "{POLICY}{}",
            "  - name: a write does not
    request: {agent: {}, http: {method: PUT, path: /x}}
    expect: {effect: deny, rule: null}
"
        ),
    );
    let said = place.succeeds("test all.yaml --min-coverage 50");
    assert!(said.contains("rules 1 of 1 (100.0 %)"), "{said}");
}

#[test]
fn the_schema_is_printed() {
    let schema: Value = serde_json::from_str(&Place::new().succeeds("schema")).unwrap();
    assert!(schema["$schema"].as_str().unwrap().contains("json-schema.org"));
}

#[test]
fn times_and_counts_are_told_as_people_tell_them() {
    let place = Place::new();
    let rules = POLICY.replace(
        "tests:",
        "  - id: night\n    effect: deny\n    match:\n      - http: {path: /x}\n        time: {outside: {from: '08:00', to: '18:00'}, \
         zone: Europe/Berlin}\n  - id: burst\n    effect: deny\n    match:\n      - http: {path: /x}\n        \
         rate: {over: 20, per: 1m}\ntests:",
    );
    place.write("p.yaml", &rules).write("r.yaml", "{http: {method: GET, path: /x}, agent: {}}\n");
    let said = place.succeeds("explain --policy p.yaml r.yaml");
    for part in ["Wednesday 2026-01-07 13:00:00 in Europe/Berlin, which is within it", "rate is the first request;"] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    place.write("r.yaml", "{http: {method: GET, path: /x}, agent: {}, rate: 12}\n");
    assert!(place.succeeds("explain --policy p.yaml r.yaml").contains("the 12th request"));
}
