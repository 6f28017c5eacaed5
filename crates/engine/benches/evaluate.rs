//! How long a verdict takes, by the number of rules: `cargo bench -p holdgate-engine`.
//!
//! The rules ask for a tool, a path and a method, a claim, or all of them; one request of each kind is evaluated in turn,
//! and one that no rule names. The same requests meet 10 and 10,000 rules.
#![expect(clippy::unwrap_used, reason = "a bench stops where its own data is wrong")]

use divan::{Bencher, black_box, counter::ItemsCount};
use holdgate_engine::{Caller, Conditions, Mcp, Policy, Request};
use holdgate_protocol::{
    Json,
    bundle::{Bundle, Effect, Mode, Rule, rule_hash},
};
use serde_json::{Value, json};

const RULES: [usize; 4] = [10, 100, 1_000, 10_000];

fn main() {
    divan::main();
}

fn value(of: Value, is: Value) -> Value {
    json!({"value": {"of": of, "is": is}})
}

fn equals(of: Value, text: &str) -> Value {
    value(of, json!({"equals": {"string": text}}))
}

/// Rules that allow, of four kinds in turn.
fn bundle(rules: usize) -> Vec<u8> {
    let rule = |index: usize| {
        let path = |template: String| value(json!("path"), json!({"template": template}));
        let atoms = match index % 4 {
            0 => json!([equals(json!("mcp_tool"), &format!("crm.tool_{index}"))]),
            1 => json!([equals(json!("method"), "POST"), path(format!("/api/{{version}}/orders-{index}/{{id}}"))]),
            2 => json!([path("/teams/**".into()), equals(json!({"claim": "/team"}), &format!("team-{index}"))]),
            _ => json!([
                value(json!("method"), json!({"in": {"strings": ["PATCH", "PUT"]}})),
                path(format!("/admin/area-{index}/**")),
                value(json!({"claim": "/risk"}), json!({"lt": "0.7"}))
            ]),
        };
        let conditions = json!({"any": [atoms]});
        Rule {
            id: format!("rule-{index}"),
            effect: Effect::Allow,
            mode: Mode::Enforce,
            reason: None,
            controls: vec![],
            hash: rule_hash(&Json::from_serialize(&conditions).unwrap()),
            conditions: serde_json::from_value::<Conditions>(conditions).unwrap(),
            approval: None,
        }
    };
    let rules: Vec<_> = (0..rules).map(rule).collect();
    let needs = holdgate_engine::needs(&rules);
    let bundle = Bundle { format: 1, id: "bench".into(), serial: 1, needs, requirements: vec![], rules };
    Json::from_serialize(&bundle).unwrap().to_jcs()
}

fn with_requests<T>(work: impl FnOnce(&[Request<'_>; 5]) -> T) -> T {
    let claims = Json::parse(br#"{"team":"team-6","risk":0.2,"owner":"group/crm"}"#).unwrap();
    let agent = Some(Caller { iss: "https://idp.example", id: "agent-7", owner: Some("group/crm"), claims: &claims });
    let call = Mcp::Message { method: "tools/call", tool: Some("crm.tool_4"), args: None };
    let line = |method, path| Request { agent, ..Request::new(method, "api.example", path) };
    work(&[
        Request { mcp: call, ..line("POST", "/mcp") },
        line("POST", "/api/v1/orders-5/17"),
        line("GET", "/teams/a/members"),
        line("PUT", "/admin/area-7/limits"),
        line("GET", "/nowhere/at/all"),
    ])
}

#[divan::bench(args = RULES, sample_size = 1000)]
fn indexed(bencher: Bencher<'_, '_>, rules: usize) {
    let policy = Policy::load(&bundle(rules)).unwrap();
    with_requests(|requests| {
        bencher
            .counter(ItemsCount::new(requests.len()))
            .bench_local(|| requests.each_ref().map(|request| black_box(&policy).evaluate(black_box(request))));
    });
}

#[divan::bench(args = RULES)]
fn linear(bencher: Bencher<'_, '_>, rules: usize) {
    let policy = Policy::load(&bundle(rules)).unwrap();
    with_requests(|requests| {
        bencher
            .counter(ItemsCount::new(requests.len()))
            .bench_local(|| requests.each_ref().map(|request| black_box(&policy).evaluate_linear(black_box(request))));
    });
}

#[divan::bench(args = RULES)]
fn load(bencher: Bencher<'_, '_>, rules: usize) {
    let bytes = bundle(rules);
    bencher.bench_local(|| Policy::load(black_box(&bytes)).unwrap());
}
