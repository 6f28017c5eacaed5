//! The verdict against a naive evaluator, and the properties that a policy's author relies on.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test support")]

use std::collections::BTreeSet;

use holdgate_engine::{Body, Caller, Conditions, Head, Policy, Request, Verdict};
use holdgate_protocol::{
    Factor, Hash, Json, Requirement,
    bundle::{Approval, Bundle, Effect, Mode, Rule, rule_hash},
};
use proptest::{prelude::*, sample::select};
use serde_json::{Value, json};

const BODIES: [Option<&str>; 9] = [
    None,
    Some("{}"),
    Some(r#"{"k":null}"#),
    Some(r#"{"k":"x"}"#),
    Some(r#"{"k":"xy"}"#),
    Some(r#"{"k":1.0}"#),
    Some(r#"{"k":2}"#),
    Some(r#"{"k":true}"#),
    Some(r#"{"k":[1]}"#),
];
const CLAIMS: [&str; 5] = ["{}", r#"{"c":null}"#, r#"{"c":"x"}"#, r#"{"c":10e-1}"#, r#"{"c":3}"#];

#[derive(Clone, Debug)]
struct RuleSpec {
    effect: Effect,
    mode: Mode,
    conditions: Value,
    wait: u64,
}

#[derive(Clone, Debug)]
struct RequestSpec {
    method: &'static str,
    path: &'static str,
    agent: bool,
    owner: Option<&'static str>,
    claims: &'static str,
}

fn test() -> impl Strategy<Value = Value> {
    select(vec![
        json!({"equals": {"string": "x"}}),
        json!({"equals": {"number": "1"}}),
        json!({"equals": {"bool": true}}),
        json!({"in": {"strings": ["x", "z"]}}),
        json!({"not_in": {"strings": ["x", "z"]}}),
        json!({"in": {"numbers": ["1", "7"]}}),
        json!({"not_in": {"numbers": ["2"]}}),
        json!({"exists": true}),
        json!({"exists": false}),
        json!({"lt": "2"}),
        json!({"lte": "2"}),
        json!({"gt": "1.5"}),
        json!({"gte": "1"}),
        json!({"prefix": "x"}),
        json!({"suffix": "y"}),
        json!({"contains": "y"}),
    ])
}

fn atom() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({"value":{"of":"method","is":{"in":{"strings":["POST", "PUT"]}}}})),
        select(vec!["/a/**", "/{x}", "/a/*"]).prop_map(|path| json!({"value":{"of":"path","is":{"template":path}}})),
        any::<bool>().prop_map(|exists| json!({"value":{"of":"agent","is":{"exists":exists}}})),
        test().prop_map(|test| json!({"value":{"of":"agent_owner","is":test}})),
        test().prop_map(|test| json!({"value":{"of":{"claim":"/c"},"is":test}})),
        test().prop_map(|test| json!({"value":{"of":{"body":"/k"},"is":test}})),
        test().prop_map(|test| json!({"value":{"of":{"body":"/k"},"is":test}})),
    ]
}

fn rule() -> impl Strategy<Value = RuleSpec> {
    let entries = prop::collection::vec(prop::collection::vec(atom(), 1..4), 1..3);
    let effect = select(vec![Effect::Allow, Effect::Hold, Effect::Deny]);
    let mode = prop_oneof![5 => Just(Mode::Enforce), 1 => Just(Mode::Shadow)];
    (effect, mode, entries, 1..60_u64).prop_map(|(effect, mode, entries, wait)| RuleSpec {
        effect,
        mode,
        conditions: json!({"any": entries}),
        wait,
    })
}

fn rules() -> impl Strategy<Value = Vec<RuleSpec>> {
    prop::collection::vec(rule(), 1..6)
}

fn request() -> impl Strategy<Value = RequestSpec> {
    let methods = select(vec!["GET", "POST"]);
    let paths = select(vec!["/a", "/a/b", "/c", "/a/b/c"]);
    (methods, paths, any::<bool>(), select(vec![None, Some("x"), Some("w")]), select(CLAIMS.to_vec()))
        .prop_map(|(method, path, agent, owner, claims)| RequestSpec { method, path, agent, owner, claims })
}

fn load(rules: &[RuleSpec]) -> Policy {
    let requirement = Requirement {
        factors: vec![Factor { role: "r".into(), approvals: 1 }],
        decide_within: 60,
        use_within: 60,
        reason: false,
        show: None,
        redact: vec![],
        unbind: vec![],
        escalate: None,
        codes: vec![],
    };
    let rules: Vec<Rule<Conditions>> = rules
        .iter()
        .enumerate()
        .map(|(index, rule)| Rule {
            id: format!("r{index}"),
            effect: rule.effect,
            mode: rule.mode,
            reason: None,
            controls: vec![],
            hash: rule_hash(&Json::from_serialize(&rule.conditions).unwrap()),
            conditions: serde_json::from_value(rule.conditions.clone()).unwrap(),
            approval: (rule.effect == Effect::Hold).then_some(Approval { requirement: 0, wait: rule.wait }),
        })
        .collect();
    let needs = holdgate_engine::needs(&rules);
    let bundle = Bundle { format: 1, id: "p".into(), serial: 1, needs, requirements: vec![requirement], rules };
    Policy::load(&Json::from_serialize(&bundle).unwrap().to_jcs()).unwrap()
}

fn with_request<T>(spec: &RequestSpec, body: Option<&str>, work: impl FnOnce(&Request<'_>) -> T) -> T {
    let claims = Json::parse(spec.claims.as_bytes()).unwrap();
    let body = body.map(|body| Json::parse(body.as_bytes()).unwrap());
    let agent = spec.agent.then_some(Caller { iss: "i", id: "a", owner: spec.owner, claims: &claims });
    let body = body.as_ref().map_or(Body::Empty, Body::Json);
    work(&Request { agent, body, ..Request::new(spec.method, "h", spec.path) })
}

/// The naive evaluator: three values as `Option<bool>`, binary floats, texts through serde_json.
mod naive {
    use super::*;

    pub(super) fn rule(rule: &RuleSpec, request: &RequestSpec, body: Option<&str>) -> bool {
        let entries = rule.conditions["any"].as_array().unwrap().iter();
        // What allows a request without an agent must say that it does.
        let anonymous = rule.effect == Effect::Allow && !request.agent;
        let says_so =
            |entry: &&Value| entry.as_array().unwrap().contains(&json!({"value":{"of":"agent","is":{"exists":false}}}));
        let truths = entries.filter(|entry| !anonymous || says_so(entry)).map(|entry| {
            let atoms: Vec<_> = entry.as_array().unwrap().iter().map(|one| atom(one, request, body)).collect();
            if atoms.contains(&Some(false)) {
                Some(false)
            } else if atoms.contains(&None) {
                None
            } else {
                Some(true)
            }
        });
        let truths: Vec<_> = truths.collect();
        let root = if truths.contains(&Some(true)) {
            Some(true)
        } else if truths.contains(&None) {
            None
        } else {
            Some(false)
        };
        root.unwrap_or(rule.effect != Effect::Allow)
    }

    fn atom(atom: &Value, request: &RequestSpec, body: Option<&str>) -> Option<bool> {
        let (of, is) = (&atom["value"]["of"], &atom["value"]["is"]);
        if let Some(pointer) = of.get("claim") {
            let claims: Value = serde_json::from_str(request.claims).unwrap();
            return test(is, claims.pointer(pointer.as_str().unwrap()).filter(|_| request.agent).cloned());
        }
        if let Some(pointer) = of.get("body") {
            let body: Option<Value> = body.map(|body| serde_json::from_str(body).unwrap());
            return test(is, body.and_then(|body| body.pointer(pointer.as_str().unwrap()).cloned()));
        }
        match of.as_str().unwrap() {
            "method" => test(is, Some(json!(request.method))),
            "path" => Some(match is["template"].as_str().unwrap() {
                "/a/**" => request.path == "/a" || request.path.starts_with("/a/"),
                "/{x}" => request.path.matches('/').count() == 1,
                "/a/*" => request.path == "/a/b",
                other => panic!("{other}"),
            }),
            "agent" => Some(is["exists"].as_bool().unwrap() == request.agent),
            "agent_owner" => test(is, request.owner.filter(|_| request.agent).map(|owner| json!(owner))),
            other => panic!("{other}"),
        }
    }

    fn test(test: &Value, value: Option<Value>) -> Option<bool> {
        let (operator, operand) = test.as_object().unwrap().iter().next().unwrap();
        if operator == "exists" {
            return Some(operand.as_bool().unwrap() == value.is_some());
        }
        let value = value?;
        let number = |text: &Value| text.as_str().unwrap().parse::<f64>().unwrap();
        let among = |list: &Value| match (list.get("strings"), list.get("numbers"), &value) {
            (Some(list), _, Value::String(_)) => Some(list.as_array().unwrap().contains(&value)),
            (_, Some(list), Value::Number(one)) => {
                Some(list.as_array().unwrap().iter().any(|other| Some(number(other)) == one.as_f64()))
            }
            _ => None,
        };
        match operator.as_str() {
            "equals" => match (operand.get("string"), operand.get("number"), operand.get("bool"), &value) {
                (Some(text), _, _, Value::String(_)) => Some(*text == value),
                (_, Some(other), _, Value::Number(one)) => Some(Some(number(other)) == one.as_f64()),
                (_, _, Some(other), Value::Bool(_)) => Some(*other == value),
                _ => None,
            },
            "in" => among(operand),
            "not_in" => among(operand).map(|found| !found),
            "lt" => value.as_f64().map(|value| value < number(operand)),
            "lte" => value.as_f64().map(|value| value <= number(operand)),
            "gt" => value.as_f64().map(|value| value > number(operand)),
            "gte" => value.as_f64().map(|value| value >= number(operand)),
            "prefix" => value.as_str().map(|value| value.starts_with(operand.as_str().unwrap())),
            "suffix" => value.as_str().map(|value| value.ends_with(operand.as_str().unwrap())),
            "contains" => value.as_str().map(|value| value.contains(operand.as_str().unwrap())),
            other => panic!("{other}"),
        }
    }
}

fn effect(verdict: Verdict) -> Effect {
    match verdict {
        Verdict::Allow(_) => Effect::Allow,
        Verdict::Hold(_) => Effect::Hold,
        Verdict::Deny(_) => Effect::Deny,
    }
}

/// `allow` < `hold` < `deny`.
fn evaluate(policy: &Policy, spec: &RequestSpec, body: Option<&str>) -> Effect {
    with_request(spec, body, |request| effect(policy.evaluate(request)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn verdict_is_that_of_the_naive_evaluator(rules in rules(), spec in request()) {
        let policy = load(&rules);
        for body in BODIES {
            let matching = rules.iter().enumerate().filter(|(_, rule)| rule.mode == Mode::Enforce);
            let matching: Vec<_> = matching.filter(|(_, rule)| naive::rule(rule, &spec, body)).collect();
            let strictest = matching.iter().map(|(_, rule)| rule.effect).max();
            let first = matching.iter().find(|(_, rule)| Some(rule.effect) == strictest);
            let expected = first.map(|(index, rule)| (rule.effect, format!("r{index}")));
            let verdict = with_request(&spec, body, |request| policy.evaluate(request));
            let actual = match verdict {
                Verdict::Deny(None) => None,
                Verdict::Allow(index) | Verdict::Hold(index) | Verdict::Deny(Some(index)) => {
                    Some((effect(verdict), policy.rule(index).id.clone()))
                }
            };
            prop_assert_eq!(actual, expected, "body {:?}", body);
        }
    }

    #[test]
    fn a_decision_on_the_head_holds_for_every_body(rules in rules(), spec in request()) {
        let policy = load(&rules);
        let head = with_request(&spec, None, |request| policy.evaluate_head(&Request { body: Body::Unread, ..*request }));
        if let Head::Decided(early) = head {
            for body in BODIES {
                with_request(&spec, body, |request| {
                    let late = policy.evaluate(request);
                    prop_assert_eq!(effect(late), effect(early));
                    if effect(early) == Effect::Hold {
                        prop_assert_eq!(late, early);
                        let unread = Request { body: Body::Unread, ..*request };
                        prop_assert_eq!(policy.checkpoint(request), policy.checkpoint(&unread));
                    }
                    Ok(())
                })?;
            }
        }
    }

    #[test]
    fn with_a_known_body_the_head_is_always_decided(rules in rules(), spec in request()) {
        let policy = load(&rules);
        for body in BODIES {
            with_request(&spec, body, |request| {
                prop_assert_eq!(policy.evaluate_head(request), Head::Decided(policy.evaluate(request)));
                Ok(())
            })?;
        }
    }

    #[test]
    fn another_deny_never_makes_anything_more_permissive(rules in rules(), deny in rule(), spec in request()) {
        let stricter = load(&[rules.clone(), vec![RuleSpec { effect: Effect::Deny, ..deny }]].concat());
        let policy = load(&rules);
        for body in BODIES {
            prop_assert!(evaluate(&stricter, &spec, body) >= evaluate(&policy, &spec, body));
        }
    }

    #[test]
    fn another_rule_that_holds_never_makes_a_hold_or_an_allow_more_permissive(rules in rules(), hold in rule(), spec in request()) {
        let more = load(&[rules.clone(), vec![RuleSpec { effect: Effect::Hold, ..hold }]].concat());
        let policy = load(&rules);
        for body in BODIES {
            let (before, after) = (evaluate(&policy, &spec, body), evaluate(&more, &spec, body));
            let opened = with_request(&spec, body, |request| policy.evaluate(request) == Verdict::Deny(None));
            prop_assert!(after >= before || opened && after == Effect::Hold);
        }
    }

    #[test]
    fn the_order_of_rules_does_not_matter(rules in rules(), spec in request(), seed in any::<u64>()) {
        let mut shuffled = rules.clone();
        shuffled.sort_by_key(|rule| Hash::of(format!("{seed}{rule:?}").as_bytes()));
        let (policy, other) = (load(&rules), load(&shuffled));
        for body in BODIES {
            prop_assert_eq!(evaluate(&policy, &spec, body), evaluate(&other, &spec, body));
        }
    }

    #[test]
    fn a_rule_in_shadow_changes_nothing(rules in rules(), shadow in rule(), spec in request()) {
        let more = load(&[rules.clone(), vec![RuleSpec { mode: Mode::Shadow, ..shadow }]].concat());
        let policy = load(&rules);
        for body in BODIES {
            with_request(&spec, body, |request| {
                prop_assert_eq!(policy.evaluate(request), more.evaluate(request));
                Ok(())
            })?;
        }
    }

    #[test]
    fn a_checkpoint_names_exactly_the_rules_that_hold(rules in rules(), spec in request()) {
        let policy = load(&rules);
        for body in BODIES {
            let checkpoint = with_request(&spec, body, |request| policy.checkpoint(request));
            if evaluate(&policy, &spec, body) != Effect::Hold {
                prop_assert_eq!(checkpoint, None);
                continue;
            }
            let holds = |rule: &RuleSpec| rule.effect == Effect::Hold && rule.mode == Mode::Enforce;
            let expected: Vec<_> =
                rules.iter().enumerate().filter(|(_, rule)| holds(rule) && naive::rule(rule, &spec, body)).collect();
            let checkpoint = checkpoint.unwrap();
            let ids: BTreeSet<_> = checkpoint.rules.iter().map(|rule| rule.id.clone()).collect();
            prop_assert_eq!(ids, expected.iter().map(|(index, _)| format!("r{index}")).collect());
            prop_assert_eq!(Some(checkpoint.wait), expected.iter().map(|(_, rule)| rule.wait).min());
            prop_assert_eq!(checkpoint.hash, checkpoint.requirement.hash(&checkpoint.rules));
            prop_assert_eq!(&policy.rule(checkpoint.lead).id, &format!("r{}", expected[0].0));
        }
    }

    /// An unread body is no way round a hold or a deny.
    #[test]
    fn an_unread_body_is_never_more_permissive(rules in rules(), spec in request()) {
        let policy = load(&rules);
        let unread =
            with_request(&spec, None, |request| policy.evaluate(&Request { body: Body::Unread, ..*request }));
        if matches!(unread, Verdict::Allow(_)) {
            for body in BODIES {
                prop_assert_eq!(evaluate(&policy, &spec, body), Effect::Allow);
            }
        }
    }
}
