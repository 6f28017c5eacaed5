//! `holdgate prove` and `holdgate diff`.

use serde_json::{Value, json};

use crate::place::{POLICY, Place};

const RULES: &str = "\
format: 1
policy: demo
approvers: {boss: {}}
rules:
  - id: read
    effect: allow
    match:
      - http: {methods: [GET, POST], path: /x/**}
  - id: roles
    effect: hold
    match:
      - http: {methods: [POST], path: /x/roles}
    approval: {factors: [{role: boss, approvals: 2}], decide_within: 1h, use_within: 10m}

# What must be so.
prove:
  - id: roles wait
    given: {http: {methods: [POST], path: /x/roles}}
    never: allow
  - id: admins wait
    given: {http: {methods: [POST], path: \"/x/{kind}\"}}
    never: allow

tests:
  # The first.
  - name: a read passes
    request: {agent: {}, http: {method: GET, path: /x/7}}
    expect: {effect: allow, rule: read} # as ever
";

#[test]
fn a_proof_is_shown_or_refuted_by_a_request() {
    let place = Place::new();
    place.write("p.yaml", RULES);
    let outcome = place.run("prove p.yaml");
    assert_eq!((outcome.code, outcome.stderr.as_str()), (1, ""));
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(lines[0], "p.yaml:17:9: `roles wait` (never allow): proved");
    assert_eq!(lines[1], "p.yaml:20:9: `admins wait` (never allow): refuted: allow by `read`");
    assert_eq!(lines[3], "1 proved, 1 refuted, 0 possible, 0 unknown");
    // What is shown really is to the contrary.
    place.write("r.yaml", lines[2]);
    assert!(place.succeeds("explain r.yaml --policy p.yaml").starts_with("allow by `read`\n"));
    let data: Value = serde_json::from_str(&place.run("prove p.yaml --format json").stdout).unwrap();
    assert_eq!((&data["proofs"][0]["result"], &data["proofs"][1]["result"]), (&json!("proved"), &json!("refuted")));
    assert_eq!(data["proofs"][1]["request"], lines[2].trim());
    let outcome = place.run("prove p.yaml --budget 1");
    assert!(outcome.stdout.contains("not proved: unknown: "), "{}", outcome.stdout);
    assert_eq!(outcome.code, 1);
    place.write("p.yaml", &RULES.replace("/x/{kind}", "/x/roles"));
    assert!(place.succeeds("prove p.yaml").ends_with("\n2 proved, 0 refuted, 0 possible, 0 unknown\n"));
}

#[test]
fn a_refuting_request_is_saved_as_a_test() {
    let place = Place::new();
    place.write("p.yaml", RULES);
    let outcome = place.run("prove p.yaml --save-test");
    assert!(outcome.stdout.contains("  saved as the test `refutes: admins wait`"), "{}", outcome.stdout);
    let text = String::from_utf8(place.read("p.yaml")).unwrap();
    let added = text.strip_prefix(RULES).unwrap();
    assert!(added.starts_with("  - name: \"refutes: admins wait\"\n    request: {"), "{added}");
    assert!(added.ends_with("\n    expect: {effect: deny}\n"), "{added}");
    assert!(place.run("test p.yaml").stdout.contains("test `refutes: admins wait` failed\n  expected: deny\n"));
    // A second time there is nothing to add.
    place.run("prove p.yaml --save-test");
    assert_eq!(place.read("p.yaml"), text.as_bytes());

    // Before what comes behind the tests, and into a file without tests.
    let (head, tests) = RULES.split_once("tests:").unwrap();
    let (rules, proofs) = head.split_once("# What must be so.").unwrap();
    place.write("p.yaml", &format!("{rules}tests:{tests}\n# What must be so.{proofs}"));
    place.run("prove p.yaml --save-test");
    let text = String::from_utf8(place.read("p.yaml")).unwrap();
    assert!(text.contains("# as ever\n  - name: \"refutes: admins wait\"\n"), "{text}");
    assert!(text.contains("{effect: deny}\n\n# What must be so.\nprove:\n"), "{text}");
    place.write("p.yaml", head);
    place.run("prove p.yaml --save-test");
    let text = String::from_utf8(place.read("p.yaml")).unwrap();
    assert!(text.starts_with(&format!("{head}tests:\n  - name: ")), "{text}");
    // In brackets nothing is added.
    let flow =
        format!("{head}tests: [{{name: a, request: {{http: {{method: GET, path: /}}}}, expect: {{effect: deny}}}}]\n");
    place.write("p.yaml", &flow);
    let outcome = place.run("prove p.yaml --save-test");
    assert_eq!(outcome.code, 2);
    assert!(outcome.stderr.contains("add this request by hand: {"), "{}", outcome.stderr);
    assert_eq!(place.read("p.yaml"), flow.as_bytes());
}

#[test]
fn nothing_to_prove_is_a_finding() {
    let place = Place::new();
    place.write("p.yaml", POLICY);
    place.fails("prove p.yaml", 1, "there is nothing to prove in 1 rule file; add a `prove` list\n");
}

#[test]
fn a_comparison_tells_whether_anything_became_more_permissive() {
    let place = Place::new();
    place.write("old.yaml", RULES);
    place.write("open.yaml", &RULES.replace("GET, POST", "GET, PUT, POST"));
    place.write("fewer.yaml", &RULES.replace("approvals: 2", "approvals: 1"));
    place.write("strict.yaml", &RULES.replace("GET, POST", "POST"));
    place.write("same.yaml", &format!("# a comment\n{RULES}"));
    let run = |arguments: &str| {
        let outcome = place.run(arguments);
        assert_eq!(outcome.stderr, "", "{arguments}");
        (outcome.code, outcome.stdout)
    };
    let (code, said) = run("diff old.yaml open.yaml");
    assert_eq!(code, 1);
    for part in [
        "~ `read` (allow): conditions\n",
        "more permissive: deny, no rule matched -> allow by `read`\n",
        "method: PUT",
        "\nmore permissive than before\n",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let (code, said) = run("diff old.yaml fewer.yaml");
    assert_eq!(code, 1);
    assert!(said.contains("hold by `roles` (2 x boss) -> hold by `roles` (1 x boss)"), "{said}");
    let (code, said) = run("diff old.yaml strict.yaml");
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("stricter: allow by `read` -> deny, no rule matched\n"), "{said}");
    assert!(said.ends_with("nothing became more permissive: proved\n"), "{said}");
    assert_eq!(run("diff old.yaml strict.yaml --fail-on any-change").0, 1);
    let expected = "rules: 0 added, 0 removed, 0 changed, 2 as before\nno request has another verdict or requirement\n\
                    nothing became more permissive: proved\n";
    assert_eq!(run("diff old.yaml same.yaml --fail-on any-change"), (0, expected.to_owned()));
    let (code, said) = run("diff old.yaml strict.yaml --budget 1");
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("could not be decided"), "{said}");
    place.succeeds("build old.yaml --out old.jcs");
    let data: Value = serde_json::from_str(&run("diff old.jcs open.yaml --format json").1).unwrap();
    assert_eq!((&data["more_permissive"], &data["regions"][0]["kind"]), (&json!("yes"), &json!("more_permissive")));
    assert_eq!(data["regions"][0]["new"]["rule"], "read");
    assert_eq!(place.run("diff old.yaml no.yaml").code, 2);
}

#[test]
fn a_comparison_counts_recorded_requests() {
    let place = Place::new();
    place.write("old.yaml", RULES).write("new.yaml", &RULES.replace("GET, POST", "POST"));
    let record = |method: &str, path: &str| {
        let request = json!({"method": method, "authority": "a.example", "path": path});
        let agent = json!({"iss": "i", "sub": "bot"});
        json!({"t": 1, "effect": "allow", "agent": agent, "request": request}).to_string() + "\n"
    };
    let log = [record("GET", "/x/1"), record("GET", "/x/2"), record("POST", "/x/1"), "bad\n".to_owned()].concat();
    place.write("log.jsonl", &log);
    let outcome = place.run("diff old.yaml new.yaml --traffic log.jsonl");
    let expected = "traffic: 2 of 4 records have another verdict, 1 left out\n  allow -> deny: 2, first log.jsonl:1\n";
    assert!(outcome.stdout.contains(expected), "{}", outcome.stdout);
    assert_eq!(outcome.code, 0);
}

#[test]
fn a_saved_test_has_the_line_ends_of_its_file() {
    let place = Place::new();
    let rules = RULES.replace('\n', "\r\n");
    place.write("p.yaml", &rules);
    place.run("prove p.yaml --save-test");
    let text = String::from_utf8(place.read("p.yaml")).unwrap();
    let added = text.strip_prefix(rules.as_str()).unwrap();
    assert_eq!((added.matches('\n').count(), added.matches("\r\n").count()), (3, 3), "{added:?}");
}

#[test]
fn a_comparison_says_what_differs_between_requirements() {
    let place = Place::new();
    let with = |parts: &str| RULES.replace("decide_within: 1h, use_within: 10m", parts);
    place.write(
        "old.yaml",
        &with("decide_within: 1h, use_within: 10m, reason: required, redact: [/iban], unbind: [x-a]"),
    );
    place.write("new.yaml", &with("decide_within: 1h, use_within: 2h, show: [/a], unbind: [x-a, x-b]"));
    let said = place.run("diff old.yaml new.yaml").stdout;
    let expected = "use_within 10m -> 2h, reason required -> optional, show everything -> /a, redact loses /iban, unbind gains x-b\n";
    assert!(said.contains(expected), "{said}");
    let limits = "decide_within: 1h, use_within: 10m";
    let steps_in = format!("{limits}, escalate: {{role: boss, after: 50%}}, reason_codes: [incident, ticket]");
    place.write("plain.yaml", &with(limits)).write("steps-in.yaml", &with(&steps_in));
    let said = place.run("diff plain.yaml steps-in.yaml");
    assert!(said.stdout.contains("\nmore permissive: "), "{}", said.stdout);
    let expected = "escalate to nobody -> to boss after 50%, reason_codes gains incident ticket\n";
    assert!(said.stdout.contains(expected), "{}", said.stdout);
    place.write("codes.yaml", &with(&steps_in.replace("incident, ticket", "ticket")));
    let said = place.run("diff steps-in.yaml codes.yaml");
    assert!(said.stdout.contains("\nas strict: ") && said.code == 0, "{} {}", said.code, said.stdout);
    assert!(said.stdout.contains("  reason_codes loses incident\n"), "{}", said.stdout);
    place.write("more.yaml", &RULES.replace("GET, POST", "GET, PUT, POST"));
    let said = place.run("diff old.yaml more.yaml --budget 1").stdout;
    let mut lines: Vec<&str> = said.lines().filter(|line| line.starts_with("left open")).collect();
    let all = lines.len();
    lines.dedup();
    assert_eq!(lines.len(), all, "{said}");
    assert!(said.contains("higher `--budget`"), "{said}");
}

#[test]
fn a_proof_about_no_request_says_so() {
    let place = Place::new();
    let proof =
        "prove:\n  - id: nothing\n    given: {http: {path: /x}, body: {/n: {gt: 5, lt: 1}}}\n    never: allow\n";
    place.write("demo.yaml", &format!("{}{proof}", POLICY));
    let said = place.succeeds("prove demo.yaml");
    assert!(said.contains("`nothing` (never allow): proved, as no request at all meets `given`"), "{said}");
    assert!(place.succeeds("prove demo.yaml --format json").contains("\"vacuous\":true"));
}
