//! Proofs, comparisons and lints against random policies and requests: what was proved is never contradicted, and every
//! example is one.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test support")]

use std::{collections::BTreeMap, fmt, sync::Mutex};

use holdgate_authoring::{
    Answer, Answered, Budget, Claim, Count, Kind, Proof, ProofResult, Solver, Span, Witness, WitnessAgent,
    WitnessMessage, build, cases, diff, prove,
};
use holdgate_engine::{Atom, CompiledRule, Conditions, Expr, Policy, Truth, Verdict, needs};
use holdgate_protocol::{
    Factor, Json, Requirement,
    bundle::{Approval, Bundle, Effect, FORMAT, Mode, Rule, rule_hash},
};
use proptest::{prelude::*, sample::select};
use serde_json::{Value, json};

const BUDGET: Budget = Budget { steps: 2_000_000 };

// --- random policies ---

fn test_of_text() -> impl Strategy<Value = Value> + Clone {
    select(vec![
        json!({"equals": {"string": "x"}}),
        json!({"in": {"strings": ["ab", "x"]}}),
        json!({"not_in": {"strings": ["x", "z"]}}),
        json!({"exists": true}),
        json!({"exists": false}),
        json!({"prefix": "x"}),
        json!({"suffix": "y"}),
        json!({"contains": "ab"}),
        json!({"glob": "a*"}),
        json!({"size": {"min": 2, "max": null}}),
        json!({"size": {"min": 0, "max": 1}}),
        json!({"matches": pattern("ab")}),
        json!({"matches": pattern("^(true|false)$")}),
        json!({"matches": pattern("^[0-9]+$")}),
        json!({"matches": pattern("^(01|1e5|2[.]0|x)$")}),
        json!({"matches": pattern("^1e[0-9]{19,}$")}),
    ])
}

fn test() -> impl Strategy<Value = Value> + Clone {
    let other = select(vec![
        json!({"equals": {"number": "1"}}),
        json!({"equals": {"bool": true}}),
        json!({"in": {"numbers": ["1", "7"]}}),
        json!({"not_in": {"numbers": ["2"]}}),
        json!({"lt": "2"}),
        json!({"lte": "1"}),
        json!({"gt": "1.5"}),
        json!({"gte": "1"}),
        json!({"includes": {"string": "x"}}),
        json!({"includes": {"number": "1"}}),
    ]);
    prop_oneof![test_of_text(), other]
}

/// A pattern as it is in a bundle; each is compiled once.
fn pattern(source: &'static str) -> Value {
    static KNOWN: Mutex<BTreeMap<&'static str, Value>> = Mutex::new(BTreeMap::new());
    let compile = || {
        let rule = format!("{{id: r, effect: deny, match: [{{http: {{query: {{q: {{matches: \"{source}\"}}}}}}}}]}}");
        let bundle = build(&[("p.yaml", &format!("format: 1\npolicy: p\nrules: [{rule}]\n"))], "p", 1).unwrap();
        let policy = Policy::load(&bundle).unwrap();
        serde_json::to_value(policy.rules()[0].conditions.atoms().next().unwrap()).unwrap()["value"]["is"]["matches"]
            .clone()
    };
    KNOWN.lock().unwrap().entry(source).or_insert_with(compile).clone()
}

fn value(of: impl Into<Value>, is: impl Into<Value>) -> Value {
    json!({"value": {"of": of.into(), "is": is.into()}})
}

fn window(outside: bool, days: &[&str], from: u16, to: u16, summer: i32) -> Value {
    // An hour more from 2026-03-29T01:00Z to 2026-10-25T01:00Z.
    let offsets = json!([
        {"from": 1_735_689_600, "seconds": 0}, {"from": 1_774_746_000, "seconds": summer},
        {"from": 1_792_890_000, "seconds": 0}
    ]);
    json!({"time": {"outside": outside, "days": days, "from": from, "to": to, "zone": "X", "offsets": offsets,
        "until": 1_900_000_000}})
}

fn attribute() -> impl Strategy<Value = Value> + Clone {
    select(vec![
        json!("agent_owner"),
        json!({"claim": "/c"}),
        json!({"claim": "/c/d"}),
        json!({"body": ""}),
        json!({"body": "/k"}),
        json!({"body": "/k"}),
        json!({"body": "/k/0"}),
        json!({"body": "/k/d"}),
        json!({"body": "/method"}),
        json!({"query": "q"}),
        json!({"header": "x-h"}),
        json!({"tag": {"name": "t", "source": {"claim": "/c"}}}),
        json!({"mcp_arg": "/a"}),
        json!({"mcp_arg": "/a/0"}),
    ])
}

fn atom() -> impl Strategy<Value = Value> + Clone {
    let paths = select(vec!["/a/**", "/{x}", "/a/*", "/a/b", "/**", "/a/b*", "/%C3%A4/{x}"]);
    let methods = select(vec![
        json!({"in": {"strings": ["POST", "PUT"]}}),
        json!({"in": {"strings": ["GET"]}}),
        json!({"not_in": {"strings": ["GET"]}}),
        json!({"prefix": "P"}),
    ]);
    prop_oneof![
        3 => methods.prop_map(|is| value("method", is)),
        3 => paths.prop_map(|path| value("path", json!({"template": path}))),
        1 => select(vec!["/a", "/b"]).prop_map(|path| value("path", json!({"prefix": path}))),
        1 => Just(value("host", json!({"suffix": ".example"}))),
        1 => any::<bool>().prop_map(|exists| value("agent", json!({"exists": exists}))),
        1 => test_of_text().prop_map(|is| value("agent_id", is)),
        8 => (attribute(), test()).prop_map(|(of, is)| value(of, is)),
        1 => test_of_text().prop_map(|is| value("mcp_method", is)),
        1 => Just(value("mcp_method", json!({"equals": {"string": "tools/call"}}))),
        1 => test_of_text().prop_map(|is| value("mcp_tool", is)),
        1 => select(vec![
            window(false, &["mon", "wed"], 480, 1080, 3600),
            window(true, &["mon", "tue", "wed", "thu", "fri"], 480, 1080, 3600),
            window(false, &["sat"], 1320, 360, -3600),
        ]),
    ]
}

fn compare() -> impl Strategy<Value = Value> + Clone {
    let order = select(vec!["eq", "ne", "lt", "gte"]);
    (attribute(), order, attribute())
        .prop_map(|(left, is, right)| json!({"compare": {"left": left, "is": is, "right": right}}))
}

fn when(compared: bool) -> impl Strategy<Value = Value> {
    let atom = if compared { prop_oneof![2 => atom(), 1 => compare()].boxed() } else { atom().boxed() };
    let leaf = (atom, any::<bool>()).prop_map(
        |(atom, negated)| {
            if negated { json!({"is_not": atom}) } else { json!({"is": atom}) }
        },
    );
    leaf.prop_recursive(2, 6, 3, |inner| {
        (prop::collection::vec(inner, 1..3), any::<bool>())
            .prop_map(|(parts, all)| if all { json!({"all": parts}) } else { json!({"any": parts}) })
    })
}

#[derive(Clone)]
struct RuleSpec {
    effect: Effect,
    mode: Mode,
    conditions: Value,
    requirement: usize,
}

impl fmt::Debug for RuleSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} {} ({})", self.effect, self.mode, self.conditions, self.requirement)
    }
}

fn rule(compared: bool) -> impl Strategy<Value = RuleSpec> {
    let rate = prop_oneof![6 => Just(None), 1 => (1..4_u64).prop_map(Some)];
    let entry = (prop::collection::vec(atom(), 1..4), rate).prop_map(|(mut atoms, rate)| {
        atoms.extend(rate.map(|over| json!({"rate": {"over": over, "per": 60, "by": "agent"}})));
        atoms
    });
    let effect = select(vec![Effect::Allow, Effect::Allow, Effect::Hold, Effect::Deny]);
    let mode = prop_oneof![8 => Just(Mode::Enforce), 1 => Just(Mode::Shadow)];
    let when = prop::option::weighted(0.4, when(compared));
    (effect, mode, prop::collection::vec(entry, 1..3), when, 0..REQUIREMENTS).prop_map(
        |(effect, mode, any, when, requirement)| {
            let mut conditions = json!({"any": any});
            if let Some(when) = when {
                conditions["when"] = when;
            }
            // Where `when` asks for MCP the entries do so first, or a deny is not loaded.
            if !serde_json::from_value::<Conditions>(conditions.clone()).unwrap().asks_for_mcp_in_entries() {
                let call = value("mcp_tool", json!({"exists": true}));
                conditions["any"].as_array_mut().unwrap().iter_mut().for_each(|entry| {
                    entry.as_array_mut().unwrap().push(call.clone());
                });
            }
            RuleSpec { effect, mode, conditions, requirement }
        },
    )
}

const REQUIREMENTS: usize = 3;

fn requirements() -> Vec<Requirement> {
    let factor = |role: &str| Factor { role: role.into(), approvals: 1 };
    let base = Requirement {
        factors: vec![factor("a")],
        decide_within: 60,
        use_within: 60,
        reason: false,
        show: None,
        redact: vec![],
        unbind: vec![],
        escalate: None,
        codes: vec![],
    };
    vec![
        base.clone(),
        Requirement { factors: vec![factor("a"), factor("b")], ..base.clone() },
        Requirement { factors: vec![factor("b")], decide_within: 30, ..base },
    ]
}

fn policy(rules: &[RuleSpec]) -> Policy {
    let rules: Vec<Rule<Conditions>> = (0..)
        .zip(rules)
        .map(|(number, rule)| {
            let conditions: Conditions = serde_json::from_value(rule.conditions.clone()).unwrap();
            let hold = rule.effect == Effect::Hold;
            Rule {
                id: format!("r{number}"),
                effect: rule.effect,
                mode: rule.mode,
                reason: None,
                controls: vec![],
                hash: rule_hash(&Json::from_serialize(&conditions).unwrap()),
                conditions,
                approval: hold.then_some(Approval { requirement: rule.requirement, wait: 10 }),
            }
        })
        .collect();
    let needs = needs(&rules);
    let bundle = Bundle { format: FORMAT, id: "p".into(), serial: 1, needs, requirements: requirements(), rules };
    Policy::load(&Json::from_serialize(&bundle).unwrap().to_jcs()).unwrap()
}

// --- random requests ---

const VALUES: [&str; 16] = [
    "null",
    "true",
    "1",
    "2",
    "1.5",
    "7",
    "1e9223372036854775808",
    r#""x""#,
    r#""xy""#,
    r#""ab""#,
    r#""""#,
    "[1]",
    r#"["x"]"#,
    r#"["x",1,"ab"]"#,
    r#"{"d":1}"#,
    r#"{"d":"x"}"#,
];

fn json_value() -> impl Strategy<Value = Json> + Clone {
    select(VALUES.to_vec()).prop_map(|text| Json::parse(text.as_bytes()).unwrap())
}

fn object(key: &'static str) -> impl Strategy<Value = Json> + Clone {
    prop::option::of(json_value()).prop_map(move |value| match value {
        Some(value) => Json::object([(key, value)]),
        None => Json::object([]),
    })
}

/// Words and spellings of numbers among them: these are read as values of JSON.
const WIRE: [&str; 14] =
    ["x", "xy", "ab", "", "1", "2", "1.5", "true", "false", "01", "1e5", "2.0", "1e9223372036854775808", "tools/call"];

fn fields(name: &'static str) -> impl Strategy<Value = Vec<(String, String)>> {
    let value = select(WIRE.to_vec());
    let count = prop_oneof![3 => Just(0..1_usize), 3 => Just(1..2), 1 => Just(2..3)];
    count.prop_flat_map(move |count| {
        prop::collection::vec(value.clone(), count)
            .prop_map(move |values| values.into_iter().map(|value| (name.to_owned(), value.to_owned())).collect())
    })
}

fn message() -> impl Strategy<Value = WitnessMessage> {
    let tool = prop::option::of(select(vec!["x", "ab", "a"]));
    (select(vec!["tools/call", "tools/call", "x", "ab"]), tool, prop::option::of(object("a")))
        .prop_map(|(method, tool, args)| WitnessMessage { method: method.into(), tool: tool.map(str::to_owned), args })
}

fn body_of(message: &WitnessMessage) -> Json {
    let mut params = holdgate_protocol::json::Object::default();
    message.tool.iter().for_each(|tool| params.set("name".into(), Json::String(tool.clone())));
    message.args.iter().for_each(|args| params.set("arguments".into(), args.clone()));
    Json::object([
        ("jsonrpc", "2.0".into()),
        ("method", message.method.as_str().into()),
        ("params", Json::Object(params)),
    ])
}

fn request() -> impl Strategy<Value = Witness> {
    let head = (
        select(vec!["GET", "POST", "PUT", "DELETE"]),
        select(vec!["api.example", "x"]),
        select(vec!["/", "/a", "/a/", "/a/b", "/a/bc", "/b", "/b/c", "/%C3%A4/x"]),
    );
    let agent = (select(vec!["x", "ab", "agent"]), prop::option::of(select(vec!["x", "xy", ""])), object("c"));
    let agent = agent.prop_map(|(id, owner, claims)| WitnessAgent {
        id: id.into(),
        owner: owner.map(str::to_owned),
        claims,
        ..WitnessAgent::default()
    });
    let body = prop_oneof![1 => Just(None), 1 => json_value().prop_map(Some), 3 => object("k").prop_map(Some)];
    let mcp = prop::option::weighted(0.3, message());
    let time = select(vec![1_767_787_200_i64, 1_767_571_200, 1_767_600_000, 1_768_086_000, 1_778_400_000]);
    let counts = prop::collection::vec(1..6_u64, 8);
    (head, prop::option::weighted(0.85, agent), body, mcp, fields("q"), fields("x-h"), time, counts).prop_map(
        |((method, host, path), agent, body, mcp, query, headers, time, counts)| Witness {
            method: method.into(),
            host: host.into(),
            path: path.into(),
            query,
            headers,
            agent,
            body: mcp.as_ref().map(body_of).or(body),
            mcp,
            time,
            counts: (0..8)
                .zip(counts)
                .map(|(place, count)| Count {
                    rule: format!("r{}", place / 2),
                    entry: place % 2,
                    per: 60,
                    by: holdgate_engine::conditions::By::Agent,
                    of: None,
                    count,
                })
                .collect(),
        },
    )
}

fn effect(policy: &Policy, request: &Witness) -> Effect {
    effect_of(request.with_request(policy, |request| policy.evaluate(request)))
}

fn effect_of(verdict: Verdict) -> Effect {
    match verdict {
        Verdict::Allow(_) => Effect::Allow,
        Verdict::Deny(_) => Effect::Deny,
        Verdict::Hold(_) => Effect::Hold,
    }
}

/// What comes out where the witness is written into a file as a test.
fn as_a_test(policy: &Policy, witness: &Witness) -> Result<Effect, String> {
    let request = witness.to_yaml();
    let text = format!("policy: p\ncases:\n  - {{name: a, request: {request}, expect: {{effect: deny}}}}\n");
    let file = cases::read("c.yaml", &text).map_err(|problems| problems[0].to_string())?;
    let case = file.verdicts().next().unwrap();
    Ok(effect_of(case.with_request(policy, |request| policy.evaluate(&request))))
}

fn matches(policy: &Policy, rule: &CompiledRule, request: &Witness) -> bool {
    let truth = request.with_request(policy, |request| rule.conditions.truth(rule.effect, request));
    truth == Truth::True || (truth == Truth::Unknown && rule.effect != Effect::Allow)
}

fn requirement(policy: &Policy, request: &Witness) -> Option<Requirement> {
    request.with_request(policy, |request| policy.checkpoint(request)).map(|checkpoint| checkpoint.requirement)
}

fn rules(compared: bool) -> impl Strategy<Value = Vec<RuleSpec>> {
    prop::collection::vec(rule(compared), 1..6)
}

#[derive(Clone)]
struct Requests(Vec<Witness>);

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests", self.0.len())
    }
}

fn requests() -> impl Strategy<Value = Requests> {
    prop::collection::vec(request(), 60).prop_map(Requests).no_shrink()
}

fn has_comparison(rules: &[RuleSpec]) -> bool {
    rules.iter().any(|rule| rule.conditions.to_string().contains("compare"))
}

proptest! {
    #[test]
    fn what_is_proved_is_never_contradicted_and_what_is_refuted_is_shown(
        rules in rules(true), given in prop::option::of(prop::collection::vec(atom(), 1..3)),
        never in any::<bool>(), claimed in select(vec![Effect::Allow, Effect::Hold, Effect::Deny]), Requests(requests) in requests(),
    ) {
        let policy = policy(&rules);
        let claim = if never { Claim::Never(claimed) } else { Claim::Always(claimed) };
        let given: Option<Vec<Atom>> =
            given.map(|given| given.into_iter().map(|atom| serde_json::from_value(atom).unwrap()).collect());
        let at = Span { line: 1, column: 1, width: 1 };
        let proof = Proof { id: "p".into(), at, given: given.clone(), claim };
        let contrary = |request: &Witness| {
            let inside = request.with_request(&policy, |request| {
                given.iter().flatten().all(|atom| atom.truth(Effect::Deny, request) == Truth::True)
            });
            inside && never == (effect(&policy, request) == claimed)
        };
        match prove(&policy, &proof, BUDGET) {
            ProofResult::Proved { .. } => {
                let against = requests.iter().find(|request| contrary(request));
                prop_assert!(against.is_none(), "{}", against.unwrap().to_yaml());
            }
            ProofResult::Refuted { witness, verdict, .. } => {
                prop_assert!(contrary(&witness), "{}", witness.to_yaml());
                prop_assert_eq!(verdict, effect(&policy, &witness));
                prop_assert_eq!(as_a_test(&policy, &witness), Ok(verdict), "{}", witness.to_yaml());
            }
            ProofResult::PossibleIf { .. } => prop_assert!(has_comparison(&rules)),
            ProofResult::Unknown { why } => prop_assert!(is_expected(&why), "{}", why),
        }
    }

    /// The same about one header, where many conditions meet: here each value is tried.
    #[test]
    fn conditions_of_one_value_on_the_wire_are_decided_right(
        tests in prop::collection::vec((test(), any::<bool>()), 1..4), effect in select(vec![Effect::Allow, Effect::Hold]),
    ) {
        let parts: Vec<Value> = tests
            .iter()
            .map(|(is, negated)| {
                let atom = value(json!({"header": "x-h"}), is.clone());
                if *negated { json!({"is_not": atom}) } else { json!({"is": atom}) }
            })
            .collect();
        let conditions = json!({"any": [[value(json!({"header": "x-h"}), json!({"exists": true}))]], "when": {"all": parts}});
        let policy = policy(&[RuleSpec { effect, mode: Mode::Enforce, conditions, requirement: 0 }]);
        let rule = &policy.rules()[0];
        let found = Solver::new(BUDGET).can_match(&policy, rule);
        let values = (0..WIRE.len()).flat_map(|one| [vec![WIRE[one]], vec![WIRE[one], WIRE[(one + 7) % WIRE.len()]]]);
        for values in values {
            let headers = values.iter().map(|value| ("x-h".to_owned(), (*value).to_owned())).collect();
            let request = Witness { headers, ..Witness::default() };
            prop_assert!(found != Answer::No || !matches(&policy, rule, &request), "{}", request.to_yaml());
        }
        if let Answer::Yes(request) = found {
            prop_assert!(matches(&policy, rule, &request), "{}", request.to_yaml());
        }
    }

    #[test]
    fn lints_are_never_contradicted(rules in rules(false), Requests(requests) in requests()) {
        let policy = policy(&rules);
        let solver = Solver::new(BUDGET);
        for rule in policy.rules() {
            let others = |effects: &'static [Effect]| {
                let act = |other: &&CompiledRule| other.mode == Mode::Enforce && other.id != rule.id;
                policy.rules().iter().filter(act).filter(move |other| effects.contains(&other.effect))
            };
            let none = |effects: &'static [Effect], request: &Witness| {
                !others(effects).any(|other| matches(&policy, other, request))
            };
            let stricter: &'static [Effect] = match rule.effect {
                Effect::Deny => &[],
                Effect::Hold => &[Effect::Deny],
                Effect::Allow => &[Effect::Deny, Effect::Hold],
            };
            let matched = |request: &Witness| matches(&policy, rule, request);
            let agree = |answer: Answer, is: &dyn Fn(&Witness) -> bool| -> Result<(), TestCaseError> {
                match answer {
                    Answer::No => {
                        let against = requests.iter().find(|request| is(request));
                        prop_assert!(against.is_none(), "{} {}", rule.id, against.unwrap().to_yaml());
                    }
                    Answer::Yes(witness) => prop_assert!(is(&witness), "{} {}", rule.id, witness.to_yaml()),
                    Answer::PossibleIf { .. } => prop_assert!(false, "nothing is compared"),
                    Answer::Unknown(why) => prop_assert!(is_expected(&why), "{}", why),
                }
                Ok(())
            };
            agree(solver.can_match(&policy, rule), &matched)?;
            agree(solver.decides(&policy, rule), &|request| matched(request) && none(stricter, request))?;
            if rule.effect == Effect::Hold {
                agree(solver.opens_what_is_denied(&policy, rule), &|request| {
                    matched(request) && request.agent.is_some() && none(&[Effect::Deny, Effect::Allow], request)
                })?;
            }
            let spec = rules.iter().zip(policy.rules()).find(|(_, other)| other.id == rule.id).unwrap().0;
            if spec.mode == Mode::Enforce && rules.len() > 1 {
                // The rule is put into shadow mode, so that ids and counters stay.
                let without: Vec<RuleSpec> = rules.iter().zip(policy.rules()).map(|(spec, other)| {
                    RuleSpec { mode: if other.id == rule.id { Mode::Shadow } else { spec.mode }, ..spec.clone() }
                }).collect();
                let without = self::policy(&without);
                agree(solver.changes_anything(&policy, rule), &|request| {
                    effect(&policy, request) != effect(&without, request)
                        || requirement(&policy, request) != requirement(&without, request)
                })?;
            }
        }
    }

    #[test]
    fn a_comparison_finds_what_random_requests_find(
        rules in rules(false), changed in rule(false), at in 0..6_usize, kind in 0..3, Requests(requests) in requests(),
    ) {
        let mut after = rules.clone();
        let at = at % rules.len();
        match kind {
            0 => after[at] = changed,
            1 => after.push(changed),
            _ if rules.len() > 1 => after[at].mode = Mode::Shadow,
            _ => after[at].requirement = (after[at].requirement + 1) % REQUIREMENTS,
        }
        let (old, new) = (policy(&rules), policy(&after));
        let found = diff(&old, &new, BUDGET);
        prop_assert!(found.open.iter().all(|why| is_expected(why)), "{:?}", found.open);
        let weaker = |request: &Witness| {
            let (old_effect, new_effect) = (effect(&old, request), effect(&new, request));
            let approvals = |requirement: &Option<Requirement>| -> Vec<String> {
                requirement.iter().flat_map(|r| r.factors.iter().map(|factor| factor.role.clone())).collect()
            };
            let (before, now) = (requirement(&old, request), requirement(&new, request));
            new_effect < old_effect
                || (new_effect == Effect::Hold && old_effect == Effect::Hold
                    && approvals(&before).iter().any(|role| !approvals(&now).contains(role)))
        };
        for request in &requests {
            let differs = effect(&old, request) != effect(&new, request)
                || requirement(&old, request) != requirement(&new, request);
            let pair = (effect(&old, request), effect(&new, request));
            let told = found.changes.iter().any(|change| (change.old.effect, change.new.effect) == pair);
            prop_assert!(!differs || told || !found.complete, "{}", request.to_yaml());
            prop_assert!(found.more_permissive != Answered::No || !weaker(request), "{}", request.to_yaml());
        }
        for change in &found.changes {
            let witness = &change.witness;
            prop_assert_eq!(change.old.effect, effect(&old, witness));
            prop_assert_eq!(change.new.effect, effect(&new, witness));
            prop_assert_eq!(&change.new.requirement, &requirement(&new, witness));
            if weaker(witness) {
                prop_assert!(change.kind != Kind::Stricter, "{}", witness.to_yaml());
            }
        }
    }

    /// Strictest wins: the proof of it needs no proof search, but the search must find it.
    #[test]
    fn another_deny_never_permits_more(rules in rules(false), deny in rule(false), Requests(requests) in requests()) {
        let mut after = rules.clone();
        after.push(RuleSpec { effect: Effect::Deny, mode: Mode::Enforce, ..deny });
        let (old, new) = (policy(&rules), policy(&after));
        for request in &requests {
            prop_assert!(effect(&new, request) >= effect(&old, request));
        }
        let found = diff(&old, &new, BUDGET);
        prop_assert!(found.changes.iter().all(|change| change.kind == Kind::Stricter));
        prop_assert!(found.more_permissive != Answered::Yes);
    }
}

/// What the procedure may leave open in these policies.
fn is_expected(why: &str) -> bool {
    let known = ["a value on the wire", "more work", "possible if"];
    known.iter().any(|part| why.contains(part))
}

#[test]
fn expressions_keep_their_form() {
    let when: Expr = serde_json::from_value(json!({"is_not": value("method", json!({"exists": true}))})).unwrap();
    assert!(matches!(when, Expr::IsNot(_)));
}
