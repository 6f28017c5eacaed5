//! The index against a look at every rule in turn, on policies that are large enough to be split.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test support")]

use holdgate_engine::{Body, Caller, Conditions, Field, Head, Mcp, Policy, Request, Verdict};
use holdgate_protocol::{
    Factor, Json, Requirement,
    bundle::{Approval, Bundle, Effect, Mode, Rule, rule_hash},
};
use proptest::{prelude::*, sample::select};
use serde_json::{Value, json};

const PATHS: [&str; 9] = ["/", "/a", "/a/b", "/a/b/", "/a/bc", "/b/x/c", "/b/x", "/c.json", "*"];
const CLAIMS: [&str; 6] = [
    "{}",
    r#"{"team":"iam"}"#,
    r#"{"team":"fraud","env":"prod"}"#,
    r#"{"team":7,"env":["prod"]}"#,
    r#"{"env":"test","n":{"deep":"iam"}}"#,
    r#"{"team":"iam-ops","env":null,"risk":0.9}"#,
];

fn text() -> impl Strategy<Value = Value> {
    let word = || select(vec!["iam", "fraud", "prod", "test", "iam-ops", "GET", "a.example", "grant_role"]);
    prop_oneof![
        4 => word().prop_map(|word| json!({"equals": {"string": word}})),
        2 => prop::collection::btree_set(word(), 1..4).prop_map(|words| json!({"in": {"strings": words}})),
        1 => word().prop_map(|word| json!({"not_in": {"strings": [word]}})),
        2 => select(vec!["iam", "p", "grant_", ""]).prop_map(|prefix| json!({"prefix": prefix})),
        1 => Just(json!({"suffix": "e"})),
        1 => any::<bool>().prop_map(|exists| json!({"exists": exists})),
        2 => select(vec!["iam*", "grant_*", "*", "*_role", "g*_r*e", "fraud"]).prop_map(|glob| json!({"glob": glob})),
    ]
}

fn atom() -> impl Strategy<Value = Value> {
    let templates =
        vec!["/", "/**", "/a", "/a/**", "/{x}", "/a/b*", "/*/x/c", "/b/{x}", "/*.json", "/a/b/**", "/b/*x*/c"];
    let of = |of: Value| text().prop_map(move |is| json!({"value": {"of": of, "is": is}}));
    prop_oneof![
        4 => select(templates).prop_map(|path| json!({"value": {"of": "path", "is": {"template": path}}})),
        2 => of(json!("mcp_tool")),
        1 => of(json!("mcp_method")),
        1 => of(json!("method")),
        1 => select(vec!["a.", "iam", "b"]).prop_map(|host| json!({"value": {"of": "host", "is": {"prefix": host}}})),
        2 => of(json!({"claim": "/team"})),
        2 => of(json!({"claim": "/env"})),
        1 => of(json!({"claim": "/n/deep"})),
        1 => of(json!({"body": "/k"})),
        1 => of(json!({"query": "q"})),
        1 => Just(json!({"value": {"of": {"claim": "/risk"}, "is": {"gt": "0.7"}}})),
        1 => select(vec!["eq", "ne", "lt"]).prop_map(|is| json!({"compare": {"left": {"mcp_arg": "/a"}, "is": is, "right": "agent_owner"}})),
        1 => select(vec!["eq", "ne"]).prop_map(|is| json!({"compare": {"left": {"query": "q"}, "is": is, "right": {"body": "/k"}}})),
        1 => any::<bool>().prop_map(|exists| json!({"value": {"of": "agent", "is": {"exists": exists}}})),
    ]
}

/// Atoms that ask for nothing of MCP, as `when` has them.
fn plain() -> impl Strategy<Value = Value> {
    atom().prop_filter("asks for MCP", |atom| !atom.to_string().contains("mcp_"))
}

fn rule() -> impl Strategy<Value = (Effect, Mode, Value)> {
    let effect = select(vec![Effect::Allow, Effect::Hold, Effect::Deny]);
    let mode = prop_oneof![9 => Just(Mode::Enforce), 1 => Just(Mode::Shadow)];
    let entries = prop::collection::vec(prop::collection::vec(atom(), 1..4), 1..3);
    let when = prop_oneof![
        3 => Just(None),
        1 => (plain(), plain()).prop_map(|(a, b)| Some(json!({"any": [{"is": a}, {"is_not": b}]}))),
    ];
    (effect, mode, entries, when).prop_map(|(effect, mode, entries, when)| {
        let conditions = when.map_or_else(|| json!({"any": entries}), |when| json!({"any": entries, "when": when}));
        (effect, mode, conditions)
    })
}

fn load(rules: &[(Effect, Mode, Value)]) -> Policy {
    let compile = |(index, (effect, mode, conditions)): (usize, &(Effect, Mode, Value))| Rule {
        id: format!("r{index}"),
        effect: *effect,
        mode: *mode,
        reason: None,
        controls: vec![],
        hash: rule_hash(&Json::from_serialize(conditions).unwrap()),
        conditions: serde_json::from_value::<Conditions>(conditions.clone()).unwrap(),
        approval: (*effect == Effect::Hold).then_some(Approval { requirement: 0, wait: 1 }),
    };
    let rules: Vec<_> = rules.iter().enumerate().map(compile).collect();
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
    let needs = holdgate_engine::needs(&rules);
    let bundle = Bundle { format: 1, id: "p".into(), serial: 1, needs, requirements: vec![requirement], rules };
    Policy::load(&Json::from_serialize(&bundle).unwrap().to_jcs()).unwrap()
}

#[derive(Clone, Debug)]
struct Asked {
    method: &'static str,
    host: &'static str,
    path: &'static str,
    query: Vec<Option<&'static str>>,
    claims: Option<&'static str>,
    mcp: usize,
    tool: Option<&'static str>,
    body: usize,
}

fn asked() -> impl Strategy<Value = Asked> {
    let tools = vec![None, Some("grant_role"), Some("iam"), Some("fraud"), Some("g")];
    let query = prop::collection::vec(select(vec![None, Some("iam"), Some("prod"), Some("x")]), 0..3);
    let claims = prop_oneof![1 => Just(None), 5 => select(CLAIMS.to_vec()).prop_map(Some)];
    (
        (select(vec!["GET", "POST"]), select(vec!["a.example", "iam"]), select(PATHS.to_vec())),
        (query, claims, 0..4_usize, select(tools), 0..3_usize),
    )
        .prop_map(|((method, host, path), (query, claims, mcp, tool, body))| Asked {
            method,
            host,
            path,
            query,
            claims,
            mcp,
            tool,
            body,
        })
}

fn with_request<T>(asked: &Asked, work: impl FnOnce(&Request<'_>) -> T) -> T {
    let claims = asked.claims.map(|claims| Json::parse(claims.as_bytes()).unwrap());
    let agent = claims.as_ref().map(|claims| Caller { iss: "i", id: "a", owner: None, claims });
    let query: Vec<Field<'_>> = asked.query.iter().map(|value| Field { name: "q", value: *value }).collect();
    let json = Json::parse(br#"{"k":"iam"}"#).unwrap();
    let body = [Body::Empty, Body::Unread, Body::Json(&json)][asked.body];
    let message = |method| Mcp::Message { method, tool: asked.tool, args: None };
    let mcp = [Mcp::None, Mcp::Unread, message("tools/call"), message("tools/list")][asked.mcp];
    work(&Request { agent, query: &query, body, mcp, ..Request::new(asked.method, asked.host, asked.path) })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_index_gives_the_verdict_of_a_linear_look(
        rules in prop::collection::vec(rule(), 1..60), asked in prop::collection::vec(asked(), 12)
    ) {
        let policy = load(&rules);
        for asked in asked {
            with_request(&asked, |request| {
                let expected = policy.evaluate_linear(request);
                prop_assert_eq!(policy.evaluate(request), expected, "{:?}", request);
                let unread = matches!(request.body, Body::Unread) || matches!(request.mcp, Mcp::Unread);
                match policy.evaluate_head(request) {
                    Head::Decided(verdict) if !unread => prop_assert_eq!(verdict, expected),
                    Head::Decided(verdict) => {
                        prop_assert_eq!(std::mem::discriminant(&verdict), std::mem::discriminant(&expected));
                    }
                    Head::NeedsBody => prop_assert!(unread),
                }
                if let Verdict::Hold(lead) = expected {
                    prop_assert_eq!(policy.checkpoint(request).map(|checkpoint| checkpoint.lead), Some(lead));
                }
                Ok(())
            })?;
        }
    }

    /// What is decided before the body has been read stays so, whatever it then turns out to be.
    #[test]
    fn a_decision_on_the_head_is_final(rules in prop::collection::vec(rule(), 1..12), asked in prop::collection::vec(asked(), 12)) {
        let policy = load(&rules);
        let [object, other] = [r#"{"k":"iam","a":"x"}"#, r#"{"k":7}"#].map(|text| Json::parse(text.as_bytes()).unwrap());
        for asked in asked {
            with_request(&asked, |request| {
                let unread = Request { body: Body::Unread, mcp: Mcp::Unread, ..*request };
                let Head::Decided(early) = policy.evaluate_head(&unread) else { return Ok(()) };
                let call = |tool, args| Mcp::Message { method: "tools/call", tool, args };
                let list = Mcp::Message { method: "tools/list", tool: None, args: None };
                for body in [Body::Empty, Body::Json(&object), Body::Json(&other)] {
                    for mcp in [list, call(None, None), call(Some("grant_role"), Some(&object)), call(Some("iam"), Some(&other))] {
                        let late = policy.evaluate(&Request { body, mcp, ..*request });
                        prop_assert_eq!(std::mem::discriminant(&late), std::mem::discriminant(&early), "{:?} {:?}", body, mcp);
                    }
                }
                Ok(())
            })?;
        }
    }

    /// What is decided about a tool holds for every call of it: a tool is taken off a list only if no call of it would pass.
    #[test]
    fn a_decision_on_a_tool_holds_for_every_call(rules in prop::collection::vec(rule(), 1..12), asked in prop::collection::vec(asked(), 12)) {
        let policy = load(&rules);
        let [object, other] = [r#"{"k":"iam","a":"x"}"#, r#"{"k":7}"#].map(|text| Json::parse(text.as_bytes()).unwrap());
        for asked in asked {
            with_request(&asked, |request| {
                for tool in ["grant_role", "iam", "x"] {
                    let listed = Request { body: Body::Unread, mcp: Mcp::Tool(tool), ..*request };
                    let Head::Decided(early) = policy.evaluate_head(&listed) else { continue };
                    for (body, args) in [(&object, None), (&object, Some(&object)), (&other, Some(&other))] {
                        let mcp = Mcp::Message { method: "tools/call", tool: Some(tool), args };
                        let late = policy.evaluate(&Request { body: Body::Json(body), mcp, ..*request });
                        prop_assert_eq!(std::mem::discriminant(&late), std::mem::discriminant(&early), "{:?} {:?}", body, mcp);
                    }
                }
                Ok(())
            })?;
        }
    }

    /// Another rule that denies never opens anything, whatever way the index then splits.
    #[test]
    fn another_deny_never_makes_a_request_pass(
        rules in prop::collection::vec(rule(), 1..40), deny in rule(), asked in prop::collection::vec(asked(), 12)
    ) {
        let (_, _, conditions) = deny;
        let policy = load(&rules);
        let stricter = load(&[rules, vec![(Effect::Deny, Mode::Enforce, conditions)]].concat());
        for asked in asked {
            with_request(&asked, |request| {
                let rank = |verdict: Verdict| match verdict {
                    Verdict::Allow(_) => 0,
                    Verdict::Hold(_) => 1,
                    Verdict::Deny(_) => 2,
                };
                prop_assert!(rank(stricter.evaluate(request)) >= rank(policy.evaluate(request)));
                Ok(())
            })?;
        }
    }
}

/// One rule for each of many tools, paths and teams: a request is to meet a handful of candidates.
#[test]
fn most_rules_of_a_large_policy_are_never_looked_at() {
    let value = |of: Value, is: Value| json!({"value": {"of": of, "is": is}});
    let rules: Vec<(Effect, Mode, Value)> = (0..3000)
        .map(|index| {
            let atoms = match index % 3 {
                0 => json!([value(json!("mcp_tool"), json!({"equals": {"string": format!("tool_{index}")}}))]),
                1 => json!([value(json!("path"), json!({"template": format!("/api/{{x}}/r{index}/**")}))]),
                _ => json!([
                    value(json!("path"), json!({"template": "/teams/**"})),
                    value(json!({"claim": "/team"}), json!({"equals": {"string": format!("team-{index}")}}))
                ]),
            };
            (Effect::Allow, Mode::Enforce, json!({"any": [atoms]}))
        })
        .collect();
    let policy = load(&rules);
    let claims = Json::parse(br#"{"team":"team-1502"}"#).unwrap();
    let agent = Some(Caller { iss: "i", id: "a", owner: None, claims: &claims });
    let call = Mcp::Message { method: "tools/call", tool: Some("tool_1500"), args: None };
    for (request, rule) in [
        (Request { mcp: call, agent, ..Request::new("POST", "h", "/mcp") }, "r1500"),
        (Request { agent, ..Request::new("GET", "h", "/api/7/r1501/x") }, "r1501"),
        (Request { agent, ..Request::new("GET", "h", "/teams/x") }, "r1502"),
    ] {
        let Verdict::Allow(index) = policy.evaluate(&request) else { panic!("{request:?}") };
        assert_eq!(policy.rule(index).id, rule);
        assert!(policy.candidates(&request).len() <= 4, "{:?}", policy.candidates(&request).len());
    }
}
