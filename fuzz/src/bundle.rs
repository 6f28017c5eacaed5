//! Any bytes as a bundle, and any JSON as the conditions of its rules: refused, or evaluated as the linear look says.
#![no_main]

use holdgate_engine::{Body, Caller, Conditions, Field, Head, Mcp, Policy, Request};
use holdgate_protocol::{
    Json,
    bundle::{Bundle, Effect, Mode, Rule, SignedBundle, rule_hash},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(policy) = Policy::load(bytes) {
        evaluate(&policy);
    }
    // Bytes hardly ever have the right hashes: as the conditions of two rules they come further.
    let Ok(json) = Json::parse(bytes) else { return };
    let _ = json.read::<SignedBundle>();
    let Ok(conditions) = json.read::<Conditions>() else { return };
    let rule = |id: &str, effect: Effect| Rule {
        id: id.to_owned(),
        effect,
        mode: Mode::Enforce,
        reason: None,
        controls: Vec::new(),
        hash: rule_hash(&json),
        conditions: conditions.clone(),
        approval: None,
    };
    let rules = vec![rule("allow", Effect::Allow), rule("deny", Effect::Deny)];
    let needs = holdgate_engine::needs(&rules);
    let bundle = Bundle { format: 1, id: "fuzz".into(), serial: 1, needs, requirements: Vec::new(), rules };
    let Ok(bundle) = Json::from_serialize(&bundle) else { return };
    if let Ok(policy) = Policy::load(&bundle.to_jcs()) {
        evaluate(&policy);
    }
});

fn evaluate(policy: &Policy) {
    let json = Json::parse(br#"{"a":["x",1],"role":"admin","n":1.5,"b":null}"#).expect("JSON");
    let agent = Caller { iss: "i", id: "a", owner: Some("group/x"), claims: &json };
    let fields = [("a", Some("1")), ("a", Some("x")), ("x-a", None)].map(|(name, value)| Field { name, value });
    let call = Mcp::Message { method: "tools/call", tool: Some("iam.grant"), args: Some(&json) };
    for (agent, body, mcp) in [
        (None, Body::Unread, Mcp::None),
        (Some(agent), Body::Json(&json), Mcp::None),
        (Some(agent), Body::Empty, call),
        (Some(agent), Body::Unread, Mcp::Unread),
    ] {
        let (query, headers, time) = (&fields[..], &fields[..], Some(1_767_571_200));
        for path in ["/", "/a/b%20c", "*"] {
            let line = Request::new("POST", "h", path);
            let request = Request { query, headers, agent, body, mcp, time, rates: &[Some(3)], ..line };
            let verdict = policy.evaluate(&request);
            assert_eq!(verdict, policy.evaluate_linear(&request), "the index is no other opinion");
            let _: Head = policy.evaluate_head(&request);
        }
    }
}
