//! What tests show of rules, and what they only seem to show.
#![expect(clippy::unwrap_used, reason = "tests")]

use holdgate_authoring::{
    build,
    coverage::{Coverage, Share},
};
use holdgate_engine::{Body, Caller, Policy, Request};
use holdgate_protocol::Json;

const RULES: &str = "\
format: 1
policy: demo
approvers: {boss: {}}
rules:
  - id: read
    effect: allow
    match:
      - http: {methods: [GET], path: /iam/**}
  - id: grant
    effect: hold
    match:
      - http: {methods: [POST], path: /iam/roles}
        body: {/role: {notIn: [viewer]}}
    approval: {factors: [{role: boss, approvals: 1}], decide_within: 1h, use_within: 1h}
  - id: stop
    effect: deny
    match:
      - http: {path: /iam/roles}
        agent: {id: {equals: bad}}
  - id: trial
    effect: deny
    mode: shadow
    match:
      - http: {path: /iam/trial}
";

/// The uncovered rules, and the atoms with the sides that are covered (`t`, `f`).
fn check(requests: &[(&str, &str, &str, &str)], rules: &[&str], atoms: &[&str]) -> Coverage {
    let policy = Policy::load(&build(&[("demo.yaml", RULES)], "demo", 1).unwrap()).unwrap();
    let mut coverage = Coverage::new(&policy);
    for (id, method, path, body) in requests {
        let (claims, body) = (Json::object([]), Json::parse(body.as_bytes()).unwrap());
        let agent = Some(Caller { iss: "i", id, owner: None, claims: &claims });
        coverage.add(&policy, &Request { agent, body: Body::Json(&body), ..Request::new(method, "h", path) });
    }
    let covered: Vec<&str> = coverage.rules.iter().filter(|rule| rule.covered).map(|rule| rule.rule.as_str()).collect();
    assert_eq!(covered, rules);
    let sides = coverage.rules.iter().flat_map(|rule| &rule.atoms).map(|atom| {
        let side = |covered: bool, name: &'static str| if covered { name } else { "" };
        format!("{}{}", side(atom.when_true, "t"), side(atom.when_false, "f"))
    });
    assert_eq!(sides.collect::<Vec<_>>(), atoms);
    coverage
}

#[test]
fn nothing_is_covered_without_tests() {
    let coverage = check(&[], &[], &["", "", "", "", "", "", "", ""]);
    assert_eq!(coverage.rules(), Share { covered: 0, of: 3 });
    assert_eq!(coverage.atoms(), Share { covered: 0, of: 14 });
}

#[test]
fn an_atom_is_covered_where_it_alone_decides() {
    // The path is not covered by a request whose method is wrong too.
    check(&[("bot", "PUT", "/other", "{}")], &[], &["", "", "", "", "", "", "", "f"]);
    check(&[("bot", "GET", "/iam/x", "{}")], &["read"], &["t", "t", "", "", "", "", "", "f"]);
    check(&[("bot", "GET", "/other", "{}")], &[], &["", "f", "", "", "", "", "", "f"]);
    check(&[("bot", "PUT", "/iam/x", "{}")], &[], &["f", "", "", "", "", "", "", "f"]);
}

#[test]
fn unknown_counts_as_the_engine_counts_it() {
    // The role is missing: unknown, so that it holds as if it were none of the list.
    check(&[("bot", "POST", "/iam/roles", "{}")], &["grant"], &["f", "", "t", "t", "t", "", "f", "f"]);
    check(&[("bot", "POST", "/iam/roles", "{\"role\":\"viewer\"}")], &[], &["f", "", "", "", "f", "", "f", "f"]);
}

#[test]
fn a_hold_that_a_deny_overrules_is_not_seen_to_hold() {
    let overruled = ("bad", "POST", "/iam/roles", "{\"role\":\"admin\"}");
    check(&[overruled], &["stop"], &["f", "", "t", "t", "t", "t", "t", "f"]);
}

#[test]
fn rules_in_shadow_mode_are_counted_apart() {
    let coverage =
        check(&[("bot", "GET", "/iam/trial", "{}")], &["read", "trial"], &["t", "t", "", "", "", "", "", "t"]);
    assert_eq!((coverage.shadow(), coverage.rules()), (Share { covered: 1, of: 1 }, Share { covered: 1, of: 3 }));
}

#[test]
fn shares_are_never_rounded_up() {
    let share = |covered, of| Share { covered, of }.to_string();
    assert_eq!(share(9997, 10_000), "9997 of 10000 (99.9 %)");
    assert_eq!(share(9999, 10_000), "9999 of 10000 (99.9 %)");
    assert_eq!(share(2, 3), "2 of 3 (66.6 %)");
    assert_eq!(share(3, 3), "3 of 3 (100.0 %)");
    assert_eq!(share(0, 0), "0 of 0 (100.0 %)");
}
