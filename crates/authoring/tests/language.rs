//! The keys of the language, from source to verdict: `every-key.yaml` and small files beside it.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test support")]

use holdgate_authoring::{Claim, Compilation, Span, compile, run_tests};
use holdgate_engine::{Atom, Attribute, Conditions, Policy, Test, conditions::ValueTest};
use holdgate_protocol::bundle::{Bundle, Effect, read};

const EVERY_KEY: &str = include_str!("every-key.yaml");

fn compiled(text: &str) -> Compilation {
    compile(&[("p.yaml", text)]).unwrap_or_else(|problems| panic!("{}", problems[0]))
}

fn bundle(text: &str) -> Bundle<Conditions> {
    read(&compiled(text).build("p", 1).unwrap_or_else(|problem| panic!("{problem}"))).unwrap()
}

/// The tests of a file that fail.
fn failures(text: &str) -> Vec<String> {
    let compilation = compiled(text);
    let policy = Policy::load(&compilation.build("p", 1).unwrap()).unwrap();
    let report = run_tests(&compilation, &policy);
    assert!(report.passed + report.failures.len() > 0);
    report.failures.iter().map(ToString::to_string).collect()
}

/// One rule, and a test for each request; `None`: denied because no rule matched.
fn check(rule: &str, requests: &[(&str, Option<&str>)]) {
    let effect = if rule.contains("effect: allow") { "allow" } else { "deny" };
    let tests = requests.iter().enumerate().map(|(number, (request, matched))| {
        let (effect, rule) = matched.map_or(("deny", "null"), |rule| (effect, rule));
        format!("  - {{name: t{number}, request: {{{request}}}, expect: {{effect: {effect}, rule: {rule}}}}}\n")
    });
    let text = format!("format: 1\npolicy: p\n{rule}\ntests:\n{}", tests.collect::<String>());
    assert_eq!(failures(&text), [""; 0], "{text}");
}

#[test]
fn a_file_with_every_key_passes_its_own_tests() {
    assert_eq!(failures(EVERY_KEY), [""; 0]);
}

#[test]
fn every_atom_has_its_place_beside_it() {
    let compilation = compiled(EVERY_KEY);
    let text: Vec<&str> = EVERY_KEY.lines().collect();
    let at = |span: &Span| text[span.line - 1].chars().skip(span.column - 1).take(span.width).collect::<String>();
    let rules = bundle(EVERY_KEY).rules;
    for rule in &rules {
        let places = compilation.places(&rule.id).unwrap();
        assert_eq!((places.file.as_str(), at(&places.rule)), ("p.yaml", rule.id.clone()));
        let counts: Vec<usize> = rule.conditions.any.iter().map(Vec::len).collect();
        assert_eq!(places.entries.iter().map(|entry| entry.atoms.len()).collect::<Vec<_>>(), counts, "{}", rule.id);
    }
    let words = |rule: &str, entry: usize| -> Vec<String> {
        compilation.places(rule).unwrap().entries[entry].atoms.iter().map(at).collect()
    };
    let methods = ["methods", "path", "equals", "lt", "contains", "matches"];
    let read = [&methods[..], &["exists", "prefix", "issuer", "suffix", "notIn", "in", "lte"]].concat();
    assert_eq!(words("read", 0), read);
    assert_eq!(words("pay", 0), ["method", "tool", "lte", "gt", "exists", "rate", "time"]);
    let pay = compilation.places("pay").unwrap();
    assert!(at(&pay.when.unwrap()).starts_with("agent.claims.team"));
    assert_eq!(at(&pay.approval.unwrap()), "approval");
    assert!(compilation.places("nobody").is_none());
}

#[test]
fn what_must_be_true_anyhow_moves_from_when_into_every_entry() {
    let file = |when: &str| {
        format!(
            "format: 1\npolicy: p\nrules:\n  - id: a\n    effect: deny\n    match:\n      - http: {{path: /a}}\n      \
             - body: {{/x: 1}}\n    when: {when}\n"
        )
    };
    let conditions = |text: &str| bundle(text).rules.remove(0).conditions;
    let exists = Atom::Value(ValueTest { of: Attribute::Agent, is: Test::Exists(true) });
    let plain = conditions(&file("agent.exists"));
    assert_eq!((plain.any[0].len(), plain.any[1].len(), &plain.when), (2, 2, &None));
    assert!(plain.any.iter().all(|entry| entry.contains(&exists)));
    let same = file("agent.exists").replace("    when: agent.exists\n", "");
    let same = same.replace("http: {path: /a}", "http: {path: /a}\n        agent: {exists: true}");
    let same = same.replace("- body: {/x: 1}", "- body: {/x: 1}\n        agent: {exists: true}");
    assert_eq!(plain, conditions(&same), "the same in other words");
    let mixed = conditions(&file("agent.exists && (body.y == 2 || http.method == \"GET\")"));
    assert!(mixed.any[0].contains(&exists) && mixed.when.is_some());
    let places = compiled(&file("agent.exists && (body.y == 2 || http.method == \"GET\")"));
    let places = places.places("a").unwrap();
    assert_eq!(places.entries[0].atoms[1], places.when.unwrap());
    let twice = conditions(&file("http.path == \"/b\" && http.path == \"/b\""));
    assert_eq!(twice.any[0].len(), 2, "each atom once");
}

#[test]
fn an_anonymous_request_is_allowed_where_when_says_so() {
    let rule = "rules: [{id: a, effect: allow, match: [{http: {path: /a}}], when: '!agent.exists'}]";
    check(rule, &[("http: {method: GET, path: /a}", Some("a")), ("agent: {}, http: {method: GET, path: /a}", None)]);
}

#[test]
fn query_and_headers_have_several_values() {
    let rule = |effect: &str| {
        format!(
            "rules: [{{id: a, effect: {effect}, match: [{{agent: {{exists: true}}, http: {{query: {{q: x}}, headers: {{X-A: {{gt: 1}}}}}}}}]}}]"
        )
    };
    let request = |q: &str, a: &str| {
        format!("agent: {{}}, http: {{method: GET, path: /, query: {{q: {q}}}, headers: {{x-a: {a}}}}}")
    };
    let (both, one, none) = (request("[x, x]", "[2, 3]"), request("[x, y]", "[2, 1]"), request("[z, y]", "0"));
    check(&rule("allow"), &[(&both, Some("a")), (&one, None), (&none, None)]);
    check(&rule("deny"), &[(&both, Some("a")), (&one, Some("a")), (&none, None)]);
}

#[test]
fn an_mcp_call_is_seen_with_its_tool_and_arguments_and_as_a_body() {
    let rule = "rules:\n  - id: a\n    effect: deny\n    match:\n      - mcp: {tool: \"pay_*\", args: {/amount: {gt: 100}}}\n      \
                - mcp: {method: {prefix: notifications/}}\n      - mcp: {tool: exact}\n      - body: {/params/name: by-body}";
    let call = |mcp: &str| format!("http: {{method: POST, path: /mcp}}, mcp: {{{mcp}}}");
    for (mcp, expected) in [
        ("tool: pay_now, args: {amount: 101}", Some("a")),
        ("tool: pay_now, args: {amount: 1}", None),
        ("tool: repay_now, args: {amount: 101}", None),
        ("method: notifications/cancelled", Some("a")),
        ("tool: exact, args: {}", Some("a")),
        ("tool: by-body", Some("a")),
        ("method: tools/list, tool: exact", None),
    ] {
        check(rule, &[(&call(mcp), expected)]);
    }
    check(rule, &[("http: {method: POST, path: /mcp}", Some("a"))]);
}

#[test]
fn tags_come_from_where_they_are_declared() {
    let rules = "rules:\n  - id: a\n    effect: deny\n    match:\n      - http: {path: /claim}\n        tags: {risk: {gt: 5}}\n      \
                 - http: {path: /header}\n        tags: {low_confidence: true}";
    let rule = format!("tags: {{risk: {{claim: /scores/risk}}}}\n{rules}");
    check(
        &rule,
        &[
            ("agent: {}, http: {method: G, path: /claim}, tags: {risk: 6}", Some("a")),
            ("agent: {}, http: {method: G, path: /claim}, tags: {risk: 5}", None),
            ("agent: {claims: {scores: {risk: 6}}}, http: {method: G, path: /claim}", Some("a")),
            ("http: {method: G, path: /header}, tags: {low_confidence: true}", Some("a")),
            ("http: {method: G, path: /header}, tags: {low_confidence: false}", None),
            ("http: {method: G, path: /header, headers: {X-Agent-Low-Confidence: 'true'}}", Some("a")),
        ],
    );
    let needs = bundle(&format!("format: 1\npolicy: p\n{rule}\n")).needs;
    assert_eq!((needs.claims, needs.headers), (vec!["scores".to_owned()], vec!["x-agent-low-confidence".to_owned()]));
}

#[test]
fn rates_see_the_count_of_the_test() {
    let rule = "rules:\n  - {id: a, effect: deny, match: [{http: {path: /a}, rate: {over: 5, per: 1m}}]}\n  \
                - {id: b, effect: deny, match: [{http: {path: /**}, rate: {over: 7, per: 1h, by: rule}}]}";
    let request = |rate: &str| format!("http: {{method: G, path: /a}}{rate}");
    for (rate, matched) in [
        ("", None),
        (", rate: 5", None),
        (", rate: 6", Some("a")),
        (", rate: {b: 8}", Some("b")),
        (", rate: {a: 6, b: 8}", Some("a")),
    ] {
        check(rule, &[(&request(rate), matched)]);
    }
}

#[test]
fn hours_are_those_of_the_zone() {
    let rule = "rules:\n  - {id: a, effect: deny, match: [{time: {within: {days: [mon, fri], from: \"08:00\", to: \"18:00\"}, zone: Europe/Berlin}}]}\n  \
                - {id: b, effect: deny, match: [{time: {outside: {from: \"22:00\", to: \"23:00\"}, zone: UTC}, http: {path: /b}}]}";
    let at = |path: &str, time: &str| format!("http: {{method: G, path: {path}}}, time: {time}");
    for (path, time, matched) in [
        // In winter Berlin is an hour ahead of UTC, in summer two.
        ("/a", "2026-01-09T07:00:00Z", Some("a")),
        ("/a", "2026-01-09T06:59:59Z", None),
        ("/a", "2026-07-10T06:00:00Z", Some("a")),
        ("/a", "2026-07-10T16:00:00Z", None),
        ("/a", "2026-07-10T17:59:00+02:00", Some("a")),
        ("/b", "2026-01-07T22:30:00Z", None),
        ("/b", "2026-01-07T21:59:59Z", Some("b")),
    ] {
        check(rule, &[(&at(path, time), matched)]);
    }
}

#[test]
fn proofs_are_regions_with_a_claim() {
    let compilation = compiled(EVERY_KEY);
    let proofs: Vec<_> = compilation.proofs().collect();
    let [("p.yaml", never), ("p.yaml", always)] = proofs.as_slice() else { panic!("{proofs:?}") };
    assert_eq!((never.id.as_str(), never.claim), ("nothing large passes", Claim::Never(Effect::Allow)));
    assert_eq!(always.claim, Claim::Always(Effect::Deny));
    assert_eq!(always.given.as_ref().unwrap().len(), 2);
    let all = "format: 1\npolicy: p\nrules: [{id: a, effect: deny, match: [{http: {path: /}}]}]\nprove: [{id: x, never: allow}]\n";
    assert_eq!(compiled(all).proofs().next().unwrap().1.given, None);
}

#[test]
fn a_file_tells_who_answers_for_it_and_who_approves() {
    let compilation = compiled(EVERY_KEY);
    let [file] = compilation.files() else { panic!("one file") };
    assert_eq!(
        (file.name.as_str(), file.policy.as_str(), file.owner.as_deref()),
        ("p.yaml", "every-key", Some("group/policy"))
    );
    assert_eq!((file.approvers["boss"].people, file.approvers["chief"].people), (Some(3), None));
    assert!(file.tests_at.is_some());
    let wait = bundle(EVERY_KEY).rules[1].approval.unwrap().wait;
    assert_eq!(wait, 0, "a ticket at once");
}
