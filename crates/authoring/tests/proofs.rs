//! Proofs and comparisons of a real rule file, with the requests that they are answered with.
#![expect(clippy::unwrap_used, clippy::panic, reason = "test support")]

use std::fmt::Write as _;

use holdgate_authoring::{Answer, Answered, Budget, Claim, Kind, Proof, ProofResult, Solver, Span, build, diff, prove};
use holdgate_engine::{Atom, Policy};
use holdgate_protocol::bundle::Effect::{self, Allow, Deny, Hold};
use serde_json::json;

const GUARDRAILS: &str = include_str!("../../../policies/iam-guardrails.yaml");

fn load(text: &str) -> Policy {
    let bytes = build(&[("p.yaml", text)], "p", 1);
    Policy::load(&bytes.unwrap_or_else(|problems| panic!("{}", problems.first().unwrap()))).unwrap()
}

fn value(of: serde_json::Value, is: serde_json::Value) -> Atom {
    serde_json::from_value(json!({"value": {"of": of, "is": is}})).unwrap()
}

fn methods(list: &[&str]) -> Atom {
    value(json!("method"), json!({"in": {"strings": list}}))
}

fn path(template: &str) -> Atom {
    value(json!("path"), json!({"template": template}))
}

fn proof(given: Option<Vec<Atom>>, claim: Claim) -> Proof {
    Proof { id: "p".into(), at: Span { line: 1, column: 1, width: 1 }, given, claim }
}

/// What comes of a proof, in words.
fn result(policy: &Policy, given: Vec<Atom>, claim: Claim) -> String {
    match prove(policy, &proof(Some(given), claim), Budget::default()) {
        ProofResult::Proved { .. } => "proved".into(),
        ProofResult::Refuted { witness, verdict, rule } => {
            format!("{verdict:?} by {}: {}", rule.as_deref().unwrap_or("no rule"), witness.to_yaml())
        }
        ProofResult::PossibleIf { conditions, example } => {
            format!("possible if {}: {}", conditions.join(" and "), example.to_yaml())
        }
        ProofResult::Unknown { why } => format!("unknown: {why}"),
    }
}

#[test]
fn the_guardrails_keep_what_they_promise() {
    let policy = load(GUARDRAILS);
    let proved = [
        (vec![methods(&["POST"]), path("/iam/users/{user}/roles")], Claim::Never(Allow)),
        (vec![methods(&["DELETE"])], Claim::Never(Allow)),
        (vec![methods(&["PUT", "POST", "DELETE", "PATCH"]), path("/iam/audit/**")], Claim::Always(Deny)),
        (vec![methods(&["PATCH"]), value(json!("agent_owner"), json!({"exists": false}))], Claim::Never(Hold)),
        (vec![value(json!("agent"), json!({"exists": false}))], Claim::Always(Deny)),
        (
            vec![methods(&["GET"]), path("/iam/**"), value(json!("agent"), json!({"exists": true}))],
            Claim::Always(Allow),
        ),
        (
            vec![
                methods(&["PATCH"]),
                path("/iam/users/{user}/contact"),
                value(json!({"body": "/email"}), json!({"suffix": "@other.example"})),
            ],
            Claim::Always(Deny),
        ),
    ];
    for (given, claim) in proved {
        assert_eq!(result(&policy, given.clone(), claim), "proved", "{given:?} {claim:?}");
    }
}

#[test]
fn a_refuted_proof_shows_a_plain_request() {
    let policy = load(GUARDRAILS);
    let refuted = [
        (
            vec![methods(&["POST"]), path("/iam/**")],
            Claim::Never(Allow),
            "Allow by iam.note.add: {agent: {id: agent, owner: a}, http: {method: POST, path: /iam/users/1/notes}, body: {text: a}}",
        ),
        (
            vec![methods(&["PATCH"])],
            Claim::Never(Hold),
            "Hold by iam.auth.change: {agent: {id: agent, owner: a}, http: {method: PATCH, path: /iam/auth}}",
        ),
        (
            vec![path("/iam/users/{user}/roles")],
            Claim::Always(Hold),
            "Allow by iam.read: {agent: {id: agent}, http: {method: GET, path: /iam/users/1/roles}}",
        ),
    ];
    for (given, claim, expected) in refuted {
        assert_eq!(result(&policy, given, claim), expected);
    }
}

/// A policy of one rule that allows, and whatever else is said.
fn small(rules: &str) -> Policy {
    let head =
        "format: 1\npolicy: p\napprovers: {a: {description: A.}, b: {description: B.}, c: {description: C.}}\nrules:\n";
    load(&format!("{head}{rules}"))
}

const READ: &str = "  - {id: read, effect: allow, match: [{http: {methods: [GET], path: /a/**}}]}\n";

fn hold(id: &str, conditions: &str, factors: &str, within: &str) -> String {
    format!(
        "  - {{id: {id}, effect: hold, match: [{conditions}], approval: {{factors: {factors}, decide_within: {within}, use_within: 1m}}}}\n"
    )
}

/// The kinds of change with the rules that decide, and whether more is permitted.
fn changes(old: &str, new: &str) -> (Vec<(Kind, String)>, Answered) {
    let found = diff(&small(old), &small(new), Budget::default());
    assert!(found.complete, "{:?}", found.open);
    let name = |outcome: &holdgate_authoring::Outcome| {
        format!("{:?} {}", outcome.effect, outcome.rule.as_deref().unwrap_or("-"))
    };
    let list =
        found.changes.iter().map(|change| (change.kind, format!("{} -> {}", name(&change.old), name(&change.new))));
    (list.collect(), found.more_permissive)
}

#[test]
fn a_comparison_names_what_changed_and_whether_more_is_permitted() {
    let wider = READ.replace("[GET]", "[GET, POST]");
    assert_eq!(changes(READ, READ), (vec![], Answered::No));
    assert_eq!(changes(READ, &wider), (vec![(Kind::MorePermissive, "Deny - -> Allow read".into())], Answered::Yes));
    assert_eq!(changes(&wider, READ), (vec![(Kind::Stricter, "Allow read -> Deny -".into())], Answered::No));
    // Written otherwise, and the same.
    let parts = [("read", "/a"), ("rest", "/a/{x}/**"), ("all", "/a/**")];
    let split: String =
        parts.iter().map(|(id, path)| READ.replace("read", id).replace("/a/**", &format!("{path:?}"))).collect();
    assert_eq!(changes(READ, &split), (vec![], Answered::No));
    // `/a/` is none of the first two.
    let slash = split.lines().take(2).map(|line| format!("{line}\n")).collect::<String>();
    assert_eq!(changes(READ, &slash), (vec![(Kind::Stricter, "Allow read -> Deny -".into())], Answered::No));
}

#[test]
fn a_requirement_that_asks_for_less_is_more_permissive() {
    let entry = "{http: {path: /b}}";
    let (two, one) = ("[{role: a, approvals: 2}]", "[{role: a, approvals: 1}]");
    let hold_of = |factors: &str, within: &str| format!("{READ}{}", hold("h", entry, factors, within));
    let kinds = |old: &str, new: &str| changes(old, new);
    let change = |kind: Kind| vec![(kind, "Hold h -> Hold h".to_owned())];
    assert_eq!(kinds(&hold_of(two, "1h"), &hold_of(one, "1h")), (change(Kind::MorePermissive), Answered::Yes));
    assert_eq!(kinds(&hold_of(one, "1h"), &hold_of(two, "1h")), (change(Kind::Stricter), Answered::No));
    assert_eq!(kinds(&hold_of(two, "1h"), &hold_of(two, "2h")), (change(Kind::MorePermissive), Answered::Yes));
    assert_eq!(kinds(&hold_of(two, "1h"), &hold_of(one, "30m")), (change(Kind::RequirementChanged), Answered::Yes));
    // Whoever may step in makes it easier, and sooner is easier than later; codes are neither more nor less.
    let with = |asked: &str| hold_of(&format!("{two}, {asked}"), "1h");
    let to = |role: &str, after: &str| with(&format!("escalate: {{role: {role}, after: {after}}}"));
    let none = hold_of(two, "1h");
    assert_eq!(kinds(&none, &to("b", "50%")), (change(Kind::MorePermissive), Answered::Yes));
    assert_eq!(kinds(&to("b", "50%"), &none), (change(Kind::Stricter), Answered::No));
    assert_eq!(kinds(&to("b", "50%"), &to("b", "49%")), (change(Kind::MorePermissive), Answered::Yes));
    assert_eq!(kinds(&to("b", "50%"), &to("b", "51%")), (change(Kind::Stricter), Answered::No));
    assert_eq!(kinds(&to("b", "50%"), &to("c", "50%")), (change(Kind::RequirementChanged), Answered::Yes));
    // The same share of a shorter limit is an earlier moment.
    let short = hold_of(&format!("{two}, escalate: {{role: b, after: 50%}}"), "30m");
    assert_eq!(kinds(&to("b", "50%"), &short), (change(Kind::RequirementChanged), Answered::Yes));
    let codes = [with("reason_codes: [ticket]"), with("reason_codes: [incident, ticket]")];
    assert_eq!(kinds(&codes[0], &codes[1]), (change(Kind::AsStrict), Answered::No));
    assert_eq!(kinds(&codes[1], &codes[0]), (change(Kind::AsStrict), Answered::No));
    // A hold opens what was denied by default.
    assert_eq!(
        kinds(READ, &hold_of(two, "1h")),
        (vec![(Kind::MorePermissive, "Deny - -> Hold h".into())], Answered::Yes)
    );
    // Another hold of the same requests that asks for as much makes the change harmless.
    let both = |factors: &str| format!("{}{}", hold_of(two, "1h"), hold("i", entry, factors, "1h"));
    assert_eq!(kinds(&both(two), &both(one)), (vec![], Answered::No));
}

#[test]
fn rules_that_do_nothing_are_told_from_those_that_do() {
    let deny = "  - {id: nothing, effect: deny, match: [{http: {path: /a/**}}]}\n";
    let narrow = "  - {id: narrow, effect: allow, match: [{http: {methods: [GET], path: \"/a/{x}\"}}]}\n";
    let never = "  - {id: never, effect: allow, match: [{http: {path: /a}, body: {/k: {lt: 1, gt: 2}}}]}\n";
    let policy = small(&[READ, narrow, never].concat());
    let shadowed = small(&[READ, deny].concat());
    let solver = Solver::new(Budget::default());
    let rule = |policy: &Policy, id: &str| policy.rules().iter().find(|rule| rule.id == id).unwrap().clone();
    let yes = |answer: &Answer| matches!(answer, Answer::Yes(_));
    assert!(yes(&solver.can_match(&policy, &rule(&policy, "read"))));
    assert_eq!(solver.can_match(&policy, &rule(&policy, "never")), Answer::No);
    assert!(yes(&solver.decides(&policy, &rule(&policy, "narrow"))));
    assert_eq!(solver.changes_anything(&policy, &rule(&policy, "narrow")), Answer::No, "`read` covers it");
    assert!(yes(&solver.changes_anything(&policy, &rule(&policy, "read"))));
    assert_eq!(solver.decides(&shadowed, &rule(&shadowed, "read")), Answer::No);
    let held = small(&[READ, &hold("h", "{http: {path: /b}}", "[{role: a, approvals: 1}]", "1h")].concat());
    assert!(yes(&solver.opens_what_is_denied(&held, &rule(&held, "h"))));
    let covered =
        hold("h", "{agent: {exists: true}, http: {methods: [GET], path: /a/b}}", "[{role: a, approvals: 1}]", "1h");
    let covered = small(&[READ, &covered].concat());
    assert_eq!(solver.opens_what_is_denied(&covered, &rule(&covered, "h")), Answer::No);
}

#[test]
fn too_much_work_is_unknown_and_never_proved() {
    let policy = load(GUARDRAILS);
    let given = vec![methods(&["POST"]), path("/iam/users/{user}/roles")];
    let found = prove(&policy, &proof(Some(given), Claim::Never(Allow)), Budget { steps: 20 });
    assert!(matches!(found, ProofResult::Unknown { .. }), "{found:?}");
}

/// Two thousand rules are no reason to wait.
#[test]
fn many_rules_are_proved() {
    let mut rules = String::new();
    for number in 0..1000 {
        let _ = writeln!(
            rules,
            "  - {{id: a{number}, effect: allow, match: [{{http: {{methods: [GET, POST], path: \"/s{number}/{{x}}\"}}}}]}}"
        );
        let _ = writeln!(
            rules,
            "  - {{id: d{number}, effect: deny, match: [{{http: {{methods: [POST], path: \"/s{number}/**\"}}, agent: {{owner: {{exists: false}}}}}}]}}"
        );
    }
    let policy = small(&rules);
    let orphans = vec![methods(&["POST"]), value(json!("agent_owner"), json!({"exists": false}))];
    assert_eq!(result(&policy, orphans, Claim::Never(Allow)), "proved");
    let owned = result(&policy, vec![methods(&["POST"]), path("/s999/**")], Claim::Never(Effect::Allow));
    assert_eq!(owned, "Allow by a999: {agent: {id: agent, owner: a}, http: {method: POST, path: /s999/1}}");
}

/// Each rule leaves a choice, and all of them rest on one another.
#[test]
fn many_choices_are_made() {
    let policy = |rules: usize| {
        let deny = |number: usize| {
            let claims = format!("{{a{number}: x, b{number}: y}}");
            format!("  - {{id: d{number}, effect: deny, match: [{{agent: {{claims: {claims}}}}}]}}\n")
        };
        small(&format!("{READ}{}", (0..rules).map(deny).collect::<String>()))
    };
    let few = result(&policy(3), vec![], Claim::Never(Allow));
    let claims = "claims: {a0: a, a1: a, a2: a}";
    assert_eq!(few, format!("Allow by read: {{agent: {{id: agent, {claims}}}, http: {{method: GET, path: /a}}}}"));
    let many = result(&policy(60), vec![], Claim::Never(Allow));
    assert!(many.starts_with("Allow by read"), "{many}");
}

/// Of these values only some words or spellings can meet all conditions.
#[test]
fn words_and_spellings_on_the_wire_are_found() {
    let open = |conditions: &str| {
        let rule = format!("  - {{id: read, effect: allow, match: [{{http: {{headers: {{x-h: {conditions}}}}}}}]}}\n");
        result(&small(&rule), vec![], Claim::Never(Allow))
    };
    let found = |conditions: &str, value: &str| {
        let found = open(conditions);
        assert!(found.ends_with(&format!("headers: {{x-h: \"{value}\"}}}}}}")), "{conditions}: {found}");
    };
    found("{exists: true, matches: \"^(true|false)$\"}", "true");
    found("{exists: true, matches: \"^false$\"}", "false");
    found("{exists: true, matches: \"^01$\"}", "01");
    found("{exists: true, matches: \"^1e5$\"}", "1e5");
    found("{gt: 7, matches: \"^1e5$\"}", "1e5");
    found("{gte: 0, matches: \"^-0[.]0$\"}", "-0.0");
    found("{gte: 0, matches: \"^.{5}$\"}", "0e000");
    found("{exists: true, matches: \"^1e99999999999999999999$\"}", "1e99999999999999999999");
    assert_eq!(open("{gt: 7, matches: \"^(true|01)$\"}"), "proved");
    assert_eq!(open("{equals: true, matches: \"^false$\"}"), "proved");
    let deny = |conditions: &str| {
        let headers = format!("{{x-force: {conditions}}}");
        format!("{READ}  - {{id: d, effect: deny, match: [{{http: {{headers: {headers}}}}}]}}\n")
    };
    let removed = changes(&deny("{exists: true, matches: \"^(true|false)$\"}"), READ);
    assert_eq!(removed, (vec![(Kind::MorePermissive, "Deny d -> Allow read".into())], Answered::Yes));
}

#[test]
fn numbers_at_the_edge_of_what_can_be_compared_have_neighbours() {
    let open = |conditions: &str| {
        let rule = format!("  - {{id: read, effect: allow, match: [{{body: {{/n: {conditions}}}}}]}}\n");
        result(&small(&rule), vec![], Claim::Never(Allow))
    };
    for conditions in ["{gt: 1e300}", "{lt: -1e300}", "{gt: 0, lt: 2e-300}", "{gt: 0.0002e300, lt: 0.1e300}"] {
        assert!(open(conditions).starts_with("Allow by read"), "{conditions}: {}", open(conditions));
    }
    // Numbers that doubles do not have are compared, and no request brings them: gateways refuse such a body.
    for conditions in [
        "{gt: 1e9223372036854775806}",
        "{lt: -1e9223372036854775806}",
        "{gt: 1e9223372036854775805, lt: 1e9223372036854775806}",
        "{gt: 0, lt: 2e-9223372036854775808}",
        "{gt: 0, lt: 0.11e-9223372036854775808}",
        "{gt: 0.0002e9223372036854775807, lt: 0.1e9223372036854775807}",
    ] {
        assert!(open(conditions).starts_with("unknown"), "{conditions}: {}", open(conditions));
    }
    assert_eq!(open("{gt: 0, lt: 0.1e-9223372036854775808}"), "proved", "no smaller number can be compared");
}

/// A counter counts what its entry matches: it is another one where the entry is.
#[test]
fn what_a_changed_entry_counts_is_not_what_it_counted() {
    let limit = |methods: &str| {
        format!(
            "  - {{id: d, effect: deny, match: [{{http: {{methods: {methods}, path: /a}}, rate: {{over: 20, per: 1m}}}}]}}\n"
        )
    };
    let open = "  - {id: open, effect: allow, match: [{http: {path: /a}}]}\n";
    let put = "  - {id: put, effect: deny, match: [{http: {methods: [PUT], path: /a}}]}\n";
    let old = format!("{open}{}", limit("[POST, PUT]"));
    let (found, more) = changes(&old, &format!("{open}{}{put}", limit("[POST]")));
    assert!(found.contains(&(Kind::MorePermissive, "Deny d -> Allow open".into())), "{found:?}");
    assert_eq!(more, Answered::Yes);
    assert_eq!(changes(&old, &old), (vec![], Answered::No));
    // The same is counted; only the limit is another one.
    assert_eq!(changes(&old, &old.replace("20", "10")).1, Answered::No);
    assert_eq!(changes(&old, &old.replace("20", "30")).1, Answered::Yes);
    let described = old.replace("{id: d,", "{id: d, reason: A limit.,");
    assert_eq!(changes(&old, &described), (vec![], Answered::No));
}

/// A list in one header is its members too: a text with a comma alone is no request that an allow would let pass.
#[test]
fn a_request_is_shown_only_as_it_would_arrive() {
    let policy = |test: &str| {
        small(&format!("  - {{id: a, effect: allow, match: [{{http: {{path: /x, headers: {{x-r: {test}}}}}}}]}}\n"))
    };
    let never = |test: &str| result(&policy(test), vec![path("/x")], Claim::Never(Allow));
    assert_eq!(never("{contains: \"a,\"}"), "unknown: the request that was found is none that could arrive");
    assert!(never("{contains: a}").starts_with("Allow by a: "), "{}", never("{contains: a}"));
    // In a deny the whole counts as well as each member.
    let deny = "  - {id: d, effect: deny, match: [{http: {path: /x, headers: {x-r: \"a,b\"}}}]}";
    let reached = result(
        &small(deny),
        vec![path("/x"), value(json!({"header": "x-r"}), json!({"suffix": ",b"}))],
        Claim::Never(Deny),
    );
    assert!(reached.starts_with("Deny by "), "{reached}");
}
