//! What rule files become: the bundle, byte for byte.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test support")]

use holdgate_authoring::{build, compile, run_tests};
use holdgate_engine::{Conditions, Policy};
use holdgate_protocol::bundle::{Bundle, Effect, Mode, read};

const FILE: &str = r#"
format: 1
policy: p
owner: me@example.com
controls: [nist-csf-2.0/PR.AA-05]
approvers: {boss: {description: The boss.}, chief: {}}
rules:
  - id: a
    effect: hold
    reason: because
    controls: [nist-csf-2.0/PR.AA-05, iso/1]
    match:
      - agent: {exists: true, id: {prefix: b}, claims: {risk: {gt: 0.50, lte: 1e2}, team: {in: [x, y]}}}
        http: {path: "/ä/{user}/**", methods: [POST, PUT], host: API.example}
        body: {/role~1s/0: {exists: false, equals: 1.0}, "": {notIn: [1, 2.50]}}
      - http: {path: /b}
    approval:
      factors: [{role: chief, approvals: 2}, {role: boss, approvals: 1}]
      decide_within: 30m
      use_within: 1h
      show: [/z, /a, /z]
      redact: [/b]
      unbind: [X-Trace]
  - id: b
    effect: hold
    match: [{http: {path: /c}}]
    approval: {factors: [{role: boss, approvals: 1}, {role: chief, approvals: 2}], decide_within: 1800s, use_within: 60m, wait: 5s, show: [/a, /z], redact: [/b], unbind: [x-trace]}
  - id: c
    effect: allow
    mode: shadow
    match: [{http: {path: /c}}]
"#;

fn bundle(text: &str) -> Bundle<Conditions> {
    let bytes = build(&[("p.yaml", text)], "p", 7).unwrap_or_else(|problems| panic!("{}", problems[0]));
    read(&bytes).unwrap()
}

#[test]
fn conditions_have_this_form() {
    let bytes = build(&[("p.yaml", FILE)], "p", 7).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let expected = concat!(
        r#""conditions":{"any":[[{"value":{"is":{"in":{"strings":["POST","PUT"]}},"of":"method"}},"#,
        r#"{"value":{"is":{"template":"/%C3%A4/{user}/**"},"of":"path"}},"#,
        r#"{"value":{"is":{"equals":{"string":"api.example"}},"of":"host"}},"#,
        r#"{"value":{"is":{"exists":true},"of":"agent"}},{"value":{"is":{"prefix":"b"},"of":"agent_id"}},"#,
        r#"{"value":{"is":{"lte":"1e2"},"of":{"claim":"/risk"}}},{"value":{"is":{"gt":"0.50"},"of":{"claim":"/risk"}}},"#,
        r#"{"value":{"is":{"in":{"strings":["x","y"]}},"of":{"claim":"/team"}}},"#,
        r#"{"value":{"is":{"not_in":{"numbers":["1","2.50"]}},"of":{"body":""}}},"#,
        r#"{"value":{"is":{"equals":{"number":"1.0"}},"of":{"body":"/role~1s/0"}}},"#,
        r#"{"value":{"is":{"exists":false},"of":{"body":"/role~1s/0"}}}],"#,
        r#"[{"value":{"is":{"template":"/b"},"of":"path"}}]]}"#,
    );
    assert!(text.contains(expected), "{text}");
    let needs = r#""needs":{"body":true,"claims":["risk","team"],"headers":[],"mcp":false,"query":[],"rates":false,"time":false}"#;
    assert!(text.contains(needs), "{text}");
}

#[test]
fn the_rest_of_a_rule_has_its_defaults_and_normal_form() {
    let Bundle { id, serial, requirements, rules, .. } = bundle(FILE);
    assert_eq!((id.as_str(), serial), ("p", 7));
    let [requirement] = requirements.as_slice() else { panic!("equal requirements are one: {requirements:?}") };
    let factors: Vec<_> = requirement.factors.iter().map(|factor| (factor.role.as_str(), factor.approvals)).collect();
    assert_eq!(factors, [("boss", 1), ("chief", 2)]);
    assert_eq!((requirement.decide_within, requirement.use_within, requirement.reason), (1800, 3600, false));
    let show: Vec<_> = requirement.show.iter().flatten().map(|pointer| pointer.as_str()).collect();
    assert_eq!((show, requirement.unbind.as_slice()), (vec!["/a", "/z"], ["x-trace".to_owned()].as_slice()));
    let waits: Vec<_> = rules.iter().map(|rule| rule.approval.map(|approval| approval.wait)).collect();
    assert_eq!(waits, [Some(45), Some(5), None]);
    assert_eq!(rules[0].controls, ["nist-csf-2.0/PR.AA-05", "iso/1"]);
    assert_eq!((rules[1].controls.len(), rules[1].reason.as_deref()), (1, None));
    assert_eq!((rules[2].effect, rules[2].mode), (Effect::Allow, Mode::Shadow));
    assert_eq!(rules[0].mode, Mode::Enforce);
}

#[test]
fn the_order_of_keys_and_files_and_the_layout_do_not_matter() {
    let one = "format: 1\npolicy: one\nrules:\n- {id: x, effect: allow, match: [{http: {methods: [GET], path: /x}, agent: {exists: true}}]}\n";
    let json = r#"{"rules": [{"match": [{"agent": {"exists": true}, "http": {"path": "/x", "methods": ["GET"]}}],
                   "id": "x", "effect": "allow"}], "policy": "one", "format": 1}"#;
    let two = "format: 1\npolicy: two\nrules:\n- {id: y, effect: deny, match: [{http: {path: /y}}]}\n";
    let first = build(&[("one.yaml", one), ("two.yaml", two)], "p", 1).unwrap();
    let second = build(&[("b/two.yaml", two), ("one.json", json)], "p", 1).unwrap();
    assert_eq!(String::from_utf8(first.clone()).unwrap(), String::from_utf8(second).unwrap());
    assert_ne!(first, build(&[("one.yaml", one), ("two.yaml", two)], "p", 2).unwrap());
}

#[test]
fn the_hash_of_a_rule_changes_with_its_conditions_only() {
    let hash = |text: &str| bundle(text).rules[0].hash;
    let base = hash(FILE);
    assert_eq!(
        base,
        hash(&FILE.replace("because", "for another reason").replace("30m", "31m").replace("1800s", "1860s"))
    );
    assert_ne!(base, hash(&FILE.replace("0.50", "0.51")));
}

#[test]
fn a_failed_test_says_what_was_expected_and_what_came_out() {
    let tests = r#"
tests:
  - name: wrong effect
    request: {agent: null, http: {method: GET, path: /c}}
    expect: {effect: allow}
  - name: wrong rule
    request: {http: {method: GET, path: /c}}
    expect: {effect: hold, rule: a}
  - name: wrong factors
    request: {http: {method: GET, path: /c}}
    expect: {effect: hold, rules: [b, a], factors: {boss: 1}}
  - name: wrong reason to deny
    request: {http: {method: GET, path: /other}}
    expect: {effect: deny, rule: c}
  - name: right
    request: {http: {method: GET, path: /c}}
    expect: {effect: hold, rule: b, rules: [b], factors: {boss: 1, chief: 2}}
"#;
    let text = format!("{FILE}{tests}");
    let compilation = compile(&[("p.yaml", &text)]).unwrap_or_else(|problems| panic!("{}", problems[0]));
    let report = run_tests(&compilation, &Policy::load(&compilation.build("p", 1).unwrap()).unwrap());
    assert_eq!(report.passed, 1);
    let failures: Vec<String> = report.failures.iter().map(ToString::to_string).collect();
    let expected = "\
p.yaml:34:11: test `wrong effect` failed
  expected: allow
  actual:   hold by `b`
p.yaml:37:11: test `wrong rule` failed
  expected: hold by `a`
  actual:   hold by `b`
  why:      `a` does not match: `http.path` is \"/c\": false, as the rule wants `/b`
p.yaml:40:11: test `wrong factors` failed
  expected: hold, rules `a` `b`, factors 1 x boss
  actual:   hold, rules `b`, factors 1 x boss + 2 x chief
p.yaml:43:11: test `wrong reason to deny` failed
  expected: deny by `c`
  actual:   deny, no rule matched";
    assert_eq!(failures.join("\n"), expected);
}

#[test]
fn a_test_that_fails_says_what_made_the_difference() {
    let text = "format: 1\npolicy: p\ntags: {risk: {claim: risk}}\nrules:\n\
        \x20 - {id: read, effect: allow, match: [{http: {path: /a/**}, agent: {claims: {team: x}}}]}\n\
        \x20 - {id: risky, effect: deny, match: [{http: {path: /b}, tags: {risk: {gt: 3}}}]}\n\
        tests:\n\
        \x20 - {name: a, request: {http: {method: GET, path: /b}}, expect: {effect: allow}}\n\
        \x20 - {name: b, request: {agent: {claims: {team: y}}, http: {method: GET, path: /a/b}}, expect: {effect: allow, rule: read}}\n";
    let compilation = holdgate_authoring::compile(&[("p.yaml", text)]).unwrap();
    let policy = Policy::load(&compilation.build("p", 1).unwrap()).unwrap();
    let report = holdgate_authoring::run_tests(&compilation, &policy);
    let why: Vec<&str> = report.failures.iter().map(|failure| failure.why.as_deref().unwrap()).collect();
    assert_eq!(
        why,
        [
            "`risky` matches though `tags.risk (claim /risk)` is missing: unknown, as the rule wants more than 3",
            "`read` does not match: `agent.claims.team` is \"y\": false, as the rule wants \"x\"",
        ]
    );
    assert!(report.failures[0].to_string().ends_with("wants more than 3"));
}
