//! `holdgate check` and `holdgate test`.

use std::fs;

use serde_json::{Value, json};

use crate::place::{POLICY, Place};

#[test]
fn an_author_is_told_every_mistake() {
    let place = Place::new();
    place.write(
        "wrong.yaml",
        "\
format: 1
policy: demo
rules:
  - id: write
    efect: hold
    match:
      - http: {methods: [post], path: /iam/**/x}
  - id: unsure
    effect: hold
    when: agent.risk > 0.5
    match:
      - http: {path: /iam/**}
    approval: {factors: [{role: boss, approvals: 1}], decide_within: 30, use_within: 10m}
",
    );
    let expected = "\
wrong.yaml:5:5: error[HG010]: unknown key `efect` in a rule
  |
5 |     efect: hold
  |     ^^^^^
  = help: did you mean `effect`?

wrong.yaml:7:26: error[HG034]: `post` is not a method
  |
7 |       - http: {methods: [post], path: /iam/**/x}
  |                          ^^^^
  = help: write a method in upper case, such as `POST`; leave out `methods` to match every method

wrong.yaml:7:39: error[HG036]: `/iam/**/x` is not a path template: `**` stands for all further segments: it must be the whole of \
the last segment
  |
7 |       - http: {methods: [post], path: /iam/**/x}
  |                                       ^^^^^^^^^
  = help: write `*` or `{name}` for one segment, and end the template with the `**`

wrong.yaml:10:11: error[HG053]: unknown attribute `agent.risk`
   |
10 |     when: agent.risk > 0.5
   |           ^^^^^^^^^^
   = help: `agent` has `claims`, `exists`, `id`, `issuer`, `owner`

wrong.yaml:13:33: error[HG029]: the role `boss` is not declared under `approvers`
   |
13 |     approval: {factors: [{role: boss, approvals: 1}], decide_within: 30, use_within: 10m}
   |                                 ^^^^
   = help: declare it at the top of the file: `approvers: {boss: {}}`

wrong.yaml:13:70: error[HG020]: `30` is not a duration
   |
13 |     approval: {factors: [{role: boss, approvals: 1}], decide_within: 30, use_within: 10m}
   |                                                                      ^^
   = help: write a whole number from 1 and a unit: `45s`, `10m`, `1h`, `7d`

6 mistakes found
";
    let outcome = place.run("check wrong.yaml");
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str(), outcome.code), (expected, "", 1));
    place.fails("build wrong.yaml --out x", 1, expected);
    place.fails("test wrong.yaml", 1, expected);
}

#[test]
fn tests_of_rule_files_are_run() {
    let place = Place::new();
    place.write("demo.yaml", POLICY);
    assert_eq!(place.succeeds("check demo.yaml"), "demo: 1 rule, no mistakes\n");
    assert!(place.succeeds("test demo.yaml demo.yaml").starts_with("1 passed\ncoverage: rules 1 of 1 (100.0 %)"));
    place.write("demo.yaml", &POLICY.replace("method: GET", "method: PUT"));
    let expected = "\
demo.yaml:11:11: test `a read passes` failed
  expected: allow by `read`
  actual:   deny, no rule matched

0 passed, 1 failed
coverage: rules 0 of 1 (0.0 %), sides of atoms 1 of 2 (50.0 %)
  demo.yaml:6:9: `read`: no test sees it allow
";
    let outcome = place.run("test demo.yaml");
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str(), outcome.code), (expected, "", 1));
    let without = POLICY.split("tests:").next().unwrap();
    place.write("demo.yaml", without);
    let expected = "there are no tests in 1 rule file; add a `tests` list, as a policy without tests proves nothing\n";
    place.fails("test demo.yaml", 1, expected);
}

#[test]
fn code_scanning_gets_sarif() {
    let place = Place::new();
    place.write("ein fehler.yaml", &POLICY.replace("effect: allow\n    match", "efect: allow\n    match"));
    fs::create_dir(place.path().join("one")).unwrap();
    fs::rename(place.path().join("ein fehler.yaml"), place.path().join("one/ein fehler.yaml")).unwrap();
    let outcome = place.run("check ./one --format sarif");
    assert_eq!((outcome.code, outcome.stderr.as_str()), (1, ""));
    let sarif: Value = serde_json::from_str(&outcome.stdout).unwrap();
    // What SARIF 2.1.0 requires: `version` and `runs` (3.13), `tool.driver.name` (3.19), `message` of a result (3.27).
    assert_eq!(sarif["version"], "2.1.0");
    assert!(sarif["$schema"].as_str().unwrap().contains("sarif-2.1.0"));
    let run = &sarif["runs"][0];
    assert_eq!(run["tool"]["driver"]["name"], "holdgate");
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    let result = &run["results"][0];
    let rule = &rules[usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap()];
    assert_eq!(rule["id"], result["ruleId"]);
    assert_eq!(rule["helpUri"], "urn:holdgate:finding:HG010");
    assert!(rule["help"]["text"].as_str().unwrap().ends_with("policies/README.md#hg010"), "{rule}");
    assert!(!rule["shortDescription"]["text"].as_str().unwrap().is_empty());
    assert_eq!(result["level"], "error");
    assert!(result["message"]["text"].as_str().unwrap().contains("`efect`"), "{result}");
    let place_of = &result["locations"][0]["physicalLocation"];
    assert_eq!(place_of["artifactLocation"]["uri"], "one/ein%20fehler.yaml");
    assert_eq!(place_of["region"], json!({"startLine": 7, "startColumn": 5, "endColumn": 10}));
    place.write("demo.yaml", POLICY);
    let clean: Value = serde_json::from_str(&place.succeeds("check demo.yaml --format sarif")).unwrap();
    assert_eq!(clean["runs"][0]["results"], json!([]));
}

#[test]
fn test_reports_are_junit_xml() {
    let place = Place::new();
    let both = format!(
        "{POLICY}  - name: a <write> & more\n    request: {{agent: {{}}, http: {{method: PUT, path: /x}}}}\n    expect: {{effect: allow}}\n"
    );
    place.write("demo.yaml", &both);
    let outcome = place.run("test demo.yaml --format junit");
    assert_eq!((outcome.code, outcome.stderr.as_str()), (1, ""));
    let report = quick_junit::Report::deserialize_from_str(&outcome.stdout).unwrap();
    assert_eq!((report.tests, report.failures, report.errors), (2, 1, 0));
    let suite = &report.test_suites[0];
    assert_eq!(suite.name.as_str(), "demo.yaml");
    assert_eq!(suite.test_cases[1].name.as_str(), "a <write> & more");
    assert!(outcome.stdout.contains("expected allow, but it was deny, no rule matched"), "{}", outcome.stdout);
}

#[test]
fn warnings_fail_only_where_they_are_asked_to() {
    let place = Place::new();
    place.write("demo.yaml", &POLICY.replace("owner: team@example.com\n", ""));
    let said = place.succeeds("check demo.yaml");
    assert!(said.starts_with("demo.yaml:2:9: warning[HG211]: nobody answers for this file\n"), "{said}");
    assert!(said.ends_with("\n\ndemo: 1 rule, no mistakes, 1 warning\n"), "{said}");
    let outcome = place.run("check demo.yaml --strict");
    assert_eq!((outcome.code, outcome.stdout), (1, said));
    place.write("demo.yaml", POLICY.split("tests:").next().unwrap());
    let outcome = place.run("check demo.yaml");
    assert_eq!(outcome.code, 1, "no tests are a mistake");
    assert!(outcome.stdout.contains("error[HG100]"), "{}", outcome.stdout);
}

#[test]
fn files_are_told_apart_by_where_they_lie() {
    let place = Place::new();
    place.write("demo.yaml", POLICY).write(".demo.yaml.swp.yaml", POLICY);
    assert_eq!(place.succeeds("check demo.yaml ./demo.yaml ."), "demo: 1 rule, no mistakes\n");
}

#[test]
fn what_is_no_rule_file_is_not_read_for_ever() {
    let place = Place::new();
    let outcome = place.run("check /dev/zero");
    assert_eq!(outcome.code, 1);
    assert!(outcome.stdout.contains("the file has more than 8388608 bytes"), "{}", outcome.stdout);
    place.write("demo.yaml", POLICY);
    place.succeeds("keygen --out k");
    place.succeeds("build demo.yaml --out a.jcs");
    place.succeeds("build demo.yaml --out b.json --sign k.jwk");
    for (command, file) in [("check", "a.jcs"), ("fmt", "b.json"), ("check", "b.json"), ("test", "a.jcs")] {
        let expected = format!(
            "`{file}` is a bundle, and rule files are asked for: `holdgate verify` checks a bundle, `holdgate explain \
             --policy` looks into it\n"
        );
        place.fails(&format!("{command} {file}"), 2, &expected);
    }
}

#[test]
fn a_test_that_expects_a_shadow_rule_is_told_why_it_fails() {
    let place = Place::new();
    place.write("demo.yaml", &POLICY.replace("effect: allow\n    match", "effect: allow\n    mode: shadow\n    match"));
    let outcome = place.run("test demo.yaml");
    let expected =
        "  actual:   deny, no rule matched\n  note:     `read` is in shadow mode, and has no part in a verdict\n";
    assert!(outcome.stdout.contains(expected), "{}", outcome.stdout);
}
