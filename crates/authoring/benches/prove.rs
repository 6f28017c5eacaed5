//! How long proofs, comparisons and the questions behind lints take: `cargo bench -p holdgate-authoring`.
//!
//! `guardrails` is the example file of the project. `services` are rules for many services, two for each: an allow, and a
//! deny of agents without an owner. `riddle` asks for claims that meet as many random rules as makes it hardest.
#![expect(clippy::unwrap_used, reason = "a bench stops where its own data is wrong")]

use std::fmt::Write as _;

use divan::{Bencher, black_box};
use holdgate_authoring::{Budget, Claim, Proof, Solver, Span, build, diff, prove};
use holdgate_engine::{Atom, Policy};
use holdgate_protocol::bundle::Effect::Allow;
use serde_json::{Value, json};

const GUARDRAILS: &str = include_str!("../../../policies/iam-guardrails.yaml");

fn main() {
    divan::main();
}

fn load(text: &str) -> Policy {
    Policy::load(&build(&[("p.yaml", text)], "p", 1).unwrap()).unwrap()
}

fn value(of: Value, is: Value) -> Atom {
    serde_json::from_value(json!({"value": {"of": of, "is": is}})).unwrap()
}

fn never_allow(given: Vec<Atom>) -> Proof {
    let at = Span { line: 1, column: 1, width: 1 };
    Proof { id: "p".into(), at, given: Some(given), claim: Claim::Never(Allow) }
}

/// A change of roles.
fn roles() -> Vec<Atom> {
    vec![
        value(json!("method"), json!({"in": {"strings": ["POST"]}})),
        value(json!("path"), json!({"template": "/iam/users/{user}/roles"})),
    ]
}

/// A write by an agent without an owner.
fn orphans() -> Vec<Atom> {
    vec![
        value(json!("method"), json!({"in": {"strings": ["POST"]}})),
        value(json!("agent_owner"), json!({"exists": false})),
    ]
}

fn services(rules: usize, but: Option<usize>) -> Policy {
    let mut text = "format: 1\npolicy: p\nrules:\n".to_owned();
    for number in 0..rules / 2 {
        let methods = if Some(number) == but { "[GET]" } else { "[GET, POST]" };
        let http = format!("{{http: {{methods: {methods}, path: \"/s{number}/{{x}}\"}}}}");
        writeln!(text, "  - {{id: allow-{number}, effect: allow, match: [{http}]}}").unwrap();
        let http = format!("{{agent: {{owner: {{exists: false}}}}, http: {{methods: [POST], path: /s{number}/**}}}}");
        writeln!(text, "  - {{id: deny-{number}, effect: deny, match: [{http}]}}").unwrap();
    }
    load(&text)
}

/// Three claims of `claims` in each rule, 4.3 rules for each claim.
fn riddle(claims: u64) -> Policy {
    let mut text =
        "format: 1\npolicy: p\nrules:\n  - {id: all, effect: allow, match: [{http: {path: /**}}]}\n".to_owned();
    let mut seed = 7_u64;
    let mut next = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for number in 0..claims * 43 / 10 {
        let mut parts = Vec::new();
        while parts.len() < 3 {
            let claim = format!("c{}: ", next(claims));
            if !parts.iter().any(|part: &String| part.starts_with(&claim)) {
                parts.push(format!("{claim}{}", next(2) == 1));
            }
        }
        let claims = parts.join(", ");
        writeln!(text, "  - {{id: d{number}, effect: deny, match: [{{agent: {{claims: {{{claims}}}}}}}]}}").unwrap();
    }
    load(&text)
}

#[divan::bench]
fn prove_guardrails(bencher: Bencher<'_, '_>) {
    let policy = load(GUARDRAILS);
    let proof = never_allow(roles());
    bencher.bench(|| prove(black_box(&policy), &proof, Budget::default()));
}

/// All questions about all rules.
fn lint(policy: &Policy) {
    let solver = Solver::new(Budget::default());
    for rule in policy.rules() {
        black_box(solver.can_match(policy, rule));
        black_box(solver.decides(policy, rule));
        black_box(solver.changes_anything(policy, rule));
        black_box(solver.opens_what_is_denied(policy, rule));
    }
}

#[divan::bench]
fn lint_guardrails(bencher: Bencher<'_, '_>) {
    let policy = load(GUARDRAILS);
    bencher.bench(|| lint(black_box(&policy)));
}

#[divan::bench(args = [20, 200, 2_000, 10_000], sample_count = 10)]
fn prove_services(bencher: Bencher<'_, '_>, rules: usize) {
    let policy = services(rules, None);
    let proof = never_allow(orphans());
    bencher.bench_local(|| prove(black_box(&policy), &proof, Budget::default()));
}

#[divan::bench(args = [20, 200, 1_000], sample_count = 3, sample_size = 1)]
fn lint_services(bencher: Bencher<'_, '_>, rules: usize) {
    let policy = services(rules, None);
    bencher.bench_local(|| lint(black_box(&policy)));
}

#[divan::bench(args = [20, 200, 2_000, 10_000], sample_count = 10)]
fn diff_services(bencher: Bencher<'_, '_>, rules: usize) {
    let (old, new) = (services(rules, None), services(rules, Some(rules / 4)));
    bencher.bench_local(|| diff(black_box(&old), black_box(&new), Budget::default()));
}

#[divan::bench(args = [10, 20, 30, 40], sample_count = 3, sample_size = 1)]
fn prove_riddle(bencher: Bencher<'_, '_>, claims: u64) {
    let policy = riddle(claims);
    // Whatever a claim is, a rule is met unless it is known to be otherwise.
    let proof = never_allow(vec![]);
    bencher.bench_local(|| prove(black_box(&policy), &proof, Budget::default()));
}
