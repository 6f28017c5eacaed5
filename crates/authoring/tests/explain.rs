//! Why a policy says what it says: nothing that an author needs is left out, and nothing is claimed that is not so.
#![expect(clippy::unwrap_used, reason = "tests")]

use holdgate_authoring::{
    build,
    explain::{Explanation, explain},
};
use holdgate_engine::{
    Body, Caller, Policy, Request,
    conditions::{Atom, Attribute, Conditions, Expr, List, Literal, Test, ValueTest},
};
use holdgate_protocol::{
    Json, Pointer,
    bundle::{self, Bundle, Effect},
};
use proptest::prelude::*;

const RULES: &str = "\
format: 1
policy: demo
approvers: {boss: {}}
rules:
  - id: read
    effect: allow
    match:
      - http: {methods: [GET], path: /iam/**}
        agent: {claims: {team: iam}}
  - id: grant
    effect: hold
    match:
      - http: {methods: [POST], path: \"/iam/users/{user}/roles\"}
        body: {/role: {notIn: [viewer]}}
    approval: {factors: [{role: boss, approvals: 1}], decide_within: 1h, use_within: 1h}
  - id: night
    effect: deny
    mode: shadow
    match:
      - http: {path: /iam/**}
  - id: other
    effect: deny
    match:
      - http: {host: other.example}
";

fn policy() -> Policy {
    Policy::load(&build(&[("demo.yaml", RULES)], "demo", 1).unwrap()).unwrap()
}

fn ask(method: &str, path: &str, claims: &str, body: Option<&str>) -> Explanation {
    let claims = Json::parse(claims.as_bytes()).unwrap();
    let body = body.map(|body| Json::parse(body.as_bytes()).unwrap());
    let agent = Caller { iss: "i", id: "bot", owner: None, claims: &claims };
    let request = Request {
        agent: Some(agent),
        body: body.as_ref().map_or(Body::Empty, Body::Json),
        ..Request::new(method, "api.example", path)
    };
    explain(&policy(), &request)
}

/// The missed rules, each with its count and what stands in the way.
fn missed(explanation: &Explanation) -> Vec<String> {
    let line = |miss: &holdgate_authoring::explain::Miss| {
        let stop = &miss.stop;
        let unknown = if stop.unknown { " (unknown)" } else { "" };
        format!(
            "{} {}/{}: {} is {}, not {}{unknown}",
            miss.rule, miss.met, miss.of, stop.attribute, stop.actual, stop.expected
        )
    };
    explanation.missed.iter().map(line).collect()
}

#[test]
fn a_request_that_nothing_matches_names_the_nearest_rule_first() {
    let explanation = ask("GET", "/iam/users", "{}", None);
    assert_eq!((explanation.effect, &explanation.rule), (Effect::Deny, &None));
    assert_eq!(
        missed(&explanation),
        [
            "read 2/3: agent.claims.team is missing, not \"iam\" (unknown)",
            "other 0/1: http.host is \"api.example\", not \"other.example\"",
            "grant 0/3: http.method is \"GET\", not \"POST\"",
        ]
    );
    assert_eq!(explanation.shadow, ["night"]);
    assert_eq!(explanation.matched, []);
}

#[test]
fn a_hold_says_what_it_needs_and_what_was_unknown() {
    let explanation = ask("POST", "/iam/users/7/roles", "{\"team\": 7}", Some("{\"role\": [\"viewer\"]}"));
    assert_eq!((explanation.effect, explanation.rule.as_deref()), (Effect::Hold, Some("grant")));
    assert_eq!(explanation.checkpoint.unwrap().requirement.factors[0].role, "boss");
    let unknown = explanation.matched[0].unknown.as_ref().unwrap();
    assert_eq!((unknown.attribute.as_str(), unknown.actual.as_str()), ("body.role", "a list of 1"));
    let explanation = ask("POST", "/iam/users/7/roles", "{}", Some("{\"role\": \"viewer\"}"));
    assert!(missed(&explanation).contains(&"grant 2/3: body.role is \"viewer\", not none of \"viewer\"".to_owned()));
    let explanation = ask("POST", "/iam/users/7/roles", "{}", Some("{\"role\": \"admin\"}"));
    assert_eq!(explanation.matched[0].unknown, None);
}

#[test]
fn an_allow_without_an_agent_says_so() {
    let explanation = explain(&policy(), &Request::new("GET", "api.example", "/iam/x"));
    let read = explanation.missed.iter().find(|miss| miss.rule == "read").unwrap();
    assert!(read.stop.expected.contains("`agent: {exists: false}`"), "{read:?}");
}

fn value(of: Attribute, is: Test) -> Atom {
    Atom::Value(ValueTest { of, is })
}

fn text(text: &str) -> Test {
    Test::Equals(Literal::String(text.into()))
}

fn atom() -> impl Strategy<Value = Atom> {
    let body = |name: &str| Attribute::Body(Pointer::of([name]));
    prop_oneof![
        Just(value(Attribute::Method, Test::In(List::strings(["GET".into(), "PUT".into()])))),
        Just(value(Attribute::Path, Test::Prefix("/a".into()))),
        Just(value(Attribute::Host, text("h"))),
        Just(value(body("x"), text("1"))),
        Just(value(body("y"), Test::Exists(true))),
        Just(value(Attribute::AgentId, text("bot"))),
    ]
}

fn expr() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![atom().prop_map(Expr::Is), atom().prop_map(Expr::IsNot)];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..3).prop_map(Expr::All),
            prop::collection::vec(inner, 1..3).prop_map(Expr::Any),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_explained_is_what_is_decided(
        any in prop::collection::vec(prop::collection::vec(atom(), 1..4), 1..3),
        when in prop::option::of(expr()),
        allow in any::<bool>(),
        method in prop::sample::select(vec!["GET", "POST"]),
        path in prop::sample::select(vec!["/a", "/b"]),
        body in prop::sample::select(vec!["{}", r#"{"x":"1"}"#, r#"{"x":1,"y":null}"#]),
        agent in any::<bool>(),
    ) {
        let effect = if allow { Effect::Allow } else { Effect::Deny };
        let conditions = Conditions { any, when };
        let hash = bundle::rule_hash(&Json::from_serialize(&conditions).unwrap());
        let rule = bundle::Rule {
            id: "r".into(), effect, mode: bundle::Mode::Enforce, reason: None, controls: vec![], hash, conditions, approval: None,
        };
        let rules = vec![rule];
        let bundle = Bundle {
            format: bundle::FORMAT, id: "p".into(), serial: 1, needs: holdgate_engine::needs(&rules), requirements: vec![], rules,
        };
        let policy = Policy::load(&Json::from_serialize(&bundle).unwrap().to_jcs()).unwrap();
        let (body, claims) = (Json::parse(body.as_bytes()).unwrap(), Json::object([]));
        let caller = Caller { iss: "i", id: "bot", owner: None, claims: &claims };
        let request = Request {
            body: Body::Json(&body), agent: agent.then_some(caller), ..Request::new(method, "h", path)
        };
        let explanation = explain(&policy, &request);
        // Each rule is either matched or missed, and matched as the engine decides.
        prop_assert_eq!(explanation.rule.is_some(), explanation.matched.len() == 1);
        prop_assert_eq!(explanation.matched.len() + explanation.missed.len(), 1);
        if let Some(miss) = explanation.missed.first() {
            prop_assert!(miss.met < miss.of);
            prop_assert!(allow || !miss.stop.unknown, "only an allow is stopped by what is unknown");
        }
    }
}

/// Of alternatives that are not true the unknown one is the reason.
#[test]
fn what_is_said_to_be_unknown_is_unknown() {
    let rules = |effect: &str, when: &str| {
        format!(
            "format: 1\npolicy: p\nrules:\n  - {{id: r, effect: {effect}, match: [{{http: {{path: /x}}}}], when: \"{when}\"}}\n"
        )
    };
    let stop = |effect: &str, when: &str| {
        let policy = Policy::load(&build(&[("p.yaml", &rules(effect, when))], "p", 1).unwrap()).unwrap();
        let body = Json::parse(br#"{"n": 5}"#).unwrap();
        let claims = Json::object([]);
        let agent = Some(Caller { iss: "i", id: "bot", owner: None, claims: &claims });
        let request = Request { agent, body: Body::Json(&body), ..Request::new("GET", "h", "/x") };
        let explanation = explain(&policy, &request);
        let unknown = explanation.matched.into_iter().find_map(|found| found.unknown);
        let stop = unknown.or_else(|| explanation.missed.into_iter().next().map(|miss| miss.stop)).unwrap();
        (stop.attribute, stop.actual, stop.unknown, stop.atom)
    };
    let flag = ("body.flag".to_owned(), "missing".to_owned(), true, Some(1));
    assert_eq!(stop("deny", "body.n > 10 || body.flag"), flag);
    assert_eq!(stop("allow", "body.n > 10 || body.flag"), flag);
    assert_eq!(stop("deny", "body.n > 1 && (body.n == 7 || (body.m && body.n < 9))").0, "body.m");
}
