//! Questions about one rule: which request makes it match, kind of attribute by kind of attribute.
#![expect(clippy::unwrap_used, reason = "test support")]

use holdgate_authoring::{Answer, Budget, Solver, Witness};
use holdgate_engine::{Conditions, Policy, needs};
use holdgate_protocol::{
    Factor, Json, Requirement,
    bundle::{Approval, Bundle, Effect, FORMAT, Mode, Rule, rule_hash},
};
use serde_json::{Value, json};

fn policy(effect: Effect, conditions: Value) -> Policy {
    let conditions: Conditions = serde_json::from_value(conditions).unwrap();
    let requirement = Requirement {
        factors: vec![Factor { role: "a".into(), approvals: 1 }],
        decide_within: 60,
        use_within: 60,
        reason: false,
        show: None,
        redact: vec![],
        unbind: vec![],
        escalate: None,
        codes: vec![],
    };
    let rules = vec![Rule {
        id: "r".into(),
        effect,
        mode: Mode::Enforce,
        reason: None,
        controls: vec![],
        hash: rule_hash(&Json::from_serialize(&conditions).unwrap()),
        conditions,
        approval: (effect == Effect::Hold).then_some(Approval { requirement: 0, wait: 10 }),
    }];
    let needs = needs(&rules);
    let bundle = Bundle { format: FORMAT, id: "p".into(), serial: 1, needs, requirements: vec![requirement], rules };
    Policy::load(&Json::from_serialize(&bundle).unwrap().to_jcs()).unwrap()
}

fn ask(effect: Effect, conditions: Value) -> Answer {
    let policy = policy(effect, conditions);
    Solver::new(Budget::default()).can_match(&policy, policy.rules().first().unwrap())
}

/// A request that a rule with one entry of these tests allows.
fn allowed(tests: &[(Value, Value)]) -> Answer {
    let atoms: Vec<Value> = tests.iter().map(|(of, is)| json!({"value": {"of": of, "is": is}})).collect();
    ask(Effect::Allow, json!({"any": [atoms]}))
}

fn witness(answer: Answer) -> Witness {
    if let Answer::Yes(witness) = answer {
        *witness
    } else {
        Witness { path: format!("{answer:?}"), ..Witness::default() }
    }
}

fn check(tests: &[(Value, Value)], expected: &str) {
    assert_eq!(witness(allowed(tests)).to_yaml(), expected);
}

fn body(pointer: &str) -> Value {
    json!({"body": pointer})
}

fn equals(text: &str) -> Value {
    json!({"equals": {"string": text}})
}

fn size(min: u64, max: Option<u64>) -> Value {
    json!({"size": {"min": min, "max": max}})
}

#[test]
fn pointers_that_begin_alike_lead_into_one_value() {
    let yaml = |tests: &[(Value, Value)]| witness(allowed(tests)).to_yaml();
    let head = "{agent: {id: agent}, http: {method: GET, path: /}, body: ";
    assert_eq!(yaml(&[(body("/a/b"), equals("x"))]), format!("{head}{{a: {{b: x}}}}}}"));
    assert_eq!(
        yaml(&[(body("/a/b"), equals("x")), (body("/a/c"), json!({"gt": "1"})), (body("/a"), size(3, None))]),
        format!("{head}{{a: {{b: x, c: 2, k1: null}}}}}}")
    );
    assert_eq!(allowed(&[(body("/a/b"), equals("x")), (body("/a"), equals("y"))]), Answer::No);
    assert_eq!(allowed(&[(body("/a/b"), equals("x")), (body("/a"), json!({"exists": false}))]), Answer::No);
    assert_eq!(allowed(&[(body("/a/b"), equals("x")), (body("/a"), size(0, Some(0)))]), Answer::No);
    // A number leads into a list as well as into an object.
    assert_eq!(
        yaml(&[(body("/0"), equals("x")), (body(""), json!({"includes": {"number": "7"}}))]),
        format!("{head}[x, 7]}}")
    );
    assert_eq!(
        allowed(&[
            (body("/0"), equals("x")),
            (body("/b"), equals("y")),
            (body(""), json!({"includes": {"number": "7"}}))
        ]),
        Answer::No
    );
    assert_eq!(
        allowed(&[
            (body("/0"), equals("x")),
            (body(""), json!({"includes": {"string": "y"}})),
            (body(""), size(0, Some(1)))
        ]),
        Answer::No
    );
    assert_eq!(
        yaml(&[
            (body("/2"), json!({"exists": true})),
            (body(""), json!({"includes": {"string": "y"}})),
            (body(""), size(3, Some(3)))
        ]),
        format!("{head}[\"y\", null, a]}}")
    );
}

#[test]
fn numbers_are_found_between_limits_and_only_there() {
    let between =
        |low: &str, high: &str| allowed(&[(body("/n"), json!({"gt": low})), (body("/n"), json!({"lt": high}))]);
    assert_eq!(witness(between("0.7", "0.71")).body, Some(Json::parse(br#"{"n":0.705}"#).unwrap()));
    assert_eq!(witness(between("1", "9")).body, Some(Json::parse(br#"{"n":2}"#).unwrap()));
    assert_eq!(between("1", "1.0"), Answer::No);
    assert_eq!(
        allowed(&[
            (body("/n"), json!({"gte": "1"})),
            (body("/n"), json!({"lte": "1.0"})),
            (body("/n"), json!({"not_in": {"numbers": ["10e-1"]}}))
        ]),
        Answer::No
    );
    assert_eq!(
        allowed(&[(body("/n"), json!({"gt": "1"})), (body("/n"), json!({"prefix": "2"}))]),
        Answer::No,
        "a number is no text"
    );
}

#[test]
fn a_text_on_the_wire_may_stand_for_a_number() {
    let header = json!({"header": "x-risk"});
    let found = witness(allowed(&[(header.clone(), json!({"gt": "0.7"})), (header.clone(), json!({"lt": "0.8"}))]));
    assert_eq!(found.headers, [("x-risk".to_owned(), "0.75".to_owned())]);
    assert_eq!(allowed(&[(header.clone(), json!({"gt": "1"})), (header.clone(), json!({"prefix": "a"}))]), Answer::No);
    let both = allowed(&[(header.clone(), json!({"gt": "1"})), (header.clone(), json!({"prefix": "15"}))]);
    assert_eq!(witness(both).headers, [("x-risk".to_owned(), "15".to_owned())]);
    assert_eq!(allowed(&[(header.clone(), json!({"equals": {"bool": true}})), (header, equals("false"))]), Answer::No);
}

#[test]
fn several_values_meet_what_one_cannot() {
    let query = json!({"query": "q"});
    let test = |of: &Value, is: Value| json!({"value": {"of": of, "is": is}});
    let two = json!({"any": [[test(&query, equals("a")), test(&query, equals("b"))]]});
    // A rule that holds asks for any value, one that allows for all of them.
    let found = witness(ask(Effect::Hold, two.clone())).query;
    assert_eq!(found, [("q".to_owned(), "a".to_owned()), ("q".to_owned(), "b".to_owned())]);
    assert_eq!(ask(Effect::Allow, two), Answer::No);
    // Not being `a` is asked of each value as well.
    let differ = json!({"any": [[test(&query, equals("a"))]], "when": {"is_not": test(&query, equals("a"))}});
    let found = witness(ask(Effect::Deny, differ.clone())).query;
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(ask(Effect::Allow, differ), Answer::No);
}

#[test]
fn a_tag_shares_the_value_of_its_source() {
    let tag = |source: Value| json!({"tag": {"name": "risk", "source": source}});
    let claim = (json!({"claim": "/risk"}), json!({"lt": "1"}));
    assert_eq!(allowed(&[(tag(json!({"claim": "/risk"})), json!({"gt": "2"})), claim.clone()]), Answer::No);
    assert!(matches!(allowed(&[(tag(json!({"claim": "/score"})), json!({"gt": "2"})), claim]), Answer::Yes(_)));
}

#[test]
fn without_an_agent_nothing_is_known_of_it() {
    let none = (json!("agent"), json!({"exists": false}));
    let found = witness(allowed(std::slice::from_ref(&none)));
    assert_eq!(found.to_yaml(), "{agent: null, http: {method: GET, path: /}}");
    assert_eq!(allowed(&[none.clone(), (json!("agent_id"), json!({"prefix": "a"}))]), Answer::No);
    assert!(matches!(allowed(&[none, (json!({"claim": "/c"}), json!({"exists": false}))]), Answer::Yes(_)));
}

#[test]
fn a_tool_call_is_the_body() {
    let call = (json!("mcp_tool"), json!({"glob": "iam.grant_*"}));
    let arg = (json!({"mcp_arg": "/role"}), json!({"not_in": {"strings": ["viewer"]}}));
    let found = witness(allowed(&[call.clone(), arg.clone()]));
    assert_eq!(
        found.to_yaml(),
        "{agent: {id: agent}, http: {method: GET, path: /}, mcp: {tool: iam.grant_a, args: {role: a}}}"
    );
    assert_eq!(found.body.unwrap().at(&"/params/arguments/role".parse().unwrap()), Some(&"a".into()));
    assert_eq!(allowed(&[call.clone(), (json!({"body": "/params/name"}), equals("other"))]), Answer::No);
    assert_eq!(allowed(&[call.clone(), (json!("mcp_method"), equals("tools/list"))]), Answer::No);
    let listed = witness(allowed(&[(json!("mcp_method"), equals("tools/list"))]));
    assert_eq!(
        listed.to_yaml(),
        "{agent: {id: agent}, http: {method: GET, path: /}, mcp: {method: tools/list}}",
        "its body is the message and nothing else"
    );
}

#[test]
fn windows_of_two_zones_are_met_together_or_not_at_all() {
    let window = |outside: bool, days: &[&str], hours: (u16, u16), hour: i32| {
        // In summer of 2026 the clocks are an hour ahead.
        let offsets = json!([
            {"from": 1_735_689_600, "seconds": hour * 3600},
            {"from": 1_774_746_000, "seconds": hour * 3600 + 3600},
            {"from": 1_792_890_000, "seconds": hour * 3600}
        ]);
        json!({"time": {"outside": outside, "days": days, "from": hours.0 * 60, "to": hours.1 * 60, "zone": "X",
            "offsets": offsets, "until": 1_900_000_000}})
    };
    let all = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let both = |a: Value, b: Value| ask(Effect::Allow, json!({"any": [[a, b]]}));
    let night = witness(both(window(false, &all, (22, 6), 1), window(false, &["sat"], (0, 0), 1)));
    assert_eq!(night.to_yaml(), "{agent: {id: agent}, http: {method: GET, path: /}, time: 2026-01-09T23:00:00Z}");
    let office = window(false, &all, (8, 18), 1);
    assert_eq!(both(office.clone(), window(true, &all, (7, 19), 1)), Answer::No);
    // Nine hours apart: from eight to nine in the evening here it is not yet eight in the morning there.
    assert_eq!(both(office.clone(), window(false, &all, (8, 18), 11)), Answer::No);
    assert!(matches!(both(office, window(false, &all, (8, 18), 10)), Answer::Yes(_)));
}

#[test]
fn a_rate_is_met_by_a_count() {
    let rate = json!({"rate": {"over": 20, "per": 60, "by": "agent"}});
    let found = witness(ask(Effect::Hold, json!({"any": [[rate]]})));
    assert_eq!(found.to_yaml(), "{agent: {id: agent}, http: {method: GET, path: /}, rate: {r: 21}}");
}

#[test]
fn comparisons_are_tried_and_else_told() {
    let compare = |left: &str, is: &str, right: &str| json!({"compare": {"left": {"body": left}, "is": is, "right": {"claim": right}}});
    let found = witness(ask(Effect::Allow, json!({"any": [[compare("/amount", "lte", "/limit")]]})));
    assert_eq!(
        found.to_yaml(),
        "{agent: {id: agent, claims: {limit: 1}}, http: {method: GET, path: /}, body: {amount: 1}}"
    );
    let far = |of: Value, is: Value| json!({"value": {"of": of, "is": is}});
    let close = json!({"any": [[
        far(json!({"body": "/a"}), json!({"gt": "5"})), far(json!({"body": "/a"}), json!({"lt": "6"})),
        far(json!({"claim": "/b"}), json!({"gt": "5"})), far(json!({"claim": "/b"}), json!({"lt": "6"})),
        compare("/a", "lt", "/b")
    ]]});
    assert!(
        matches!(ask(Effect::Allow, close), Answer::PossibleIf { conditions, .. } if conditions == ["body.a < agent.claims.b"])
    );
    let never = json!({"any": [[far(json!({"body": "/a"}), json!({"exists": false})), far(json!({"body": "/a"}), equals("x")), compare("/a", "eq", "/b")]]});
    assert_eq!(ask(Effect::Allow, never), Answer::No, "whatever the comparison says");
}

#[test]
fn hosts_and_methods_are_those_that_can_arrive() {
    assert_eq!(allowed(&[(json!("method"), equals("CONNECT"))]), Answer::No);
    assert_eq!(allowed(&[(json!("method"), equals("get"))]), Answer::No);
    assert_eq!(allowed(&[(json!("path"), json!({"contains": "//"}))]), Answer::No);
    assert_eq!(allowed(&[(json!("path"), json!({"suffix": "/.."}))]), Answer::No);
    check(&[(json!("path"), json!({"contains": "/admin"}))], "{agent: {id: agent}, http: {method: GET, path: /admin}}");
    check(
        &[(json!("host"), json!({"suffix": ".internal"}))],
        "{agent: {id: agent}, http: {method: GET, host: a.internal, path: /}}",
    );
}
