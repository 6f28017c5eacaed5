use holdgate_authoring::{
    build,
    cases::{Behaviour, Script},
};
use holdgate_protocol::{
    Agent, Hash, RuleRef,
    bundle::{self, Bundle, PolicyRef},
    gateway::{Asked, CapturedBody, CapturedRequest, OpenHold},
    grant::{self, Expected},
    jws::Keys,
};
use serde_json::{Value, json};

use super::*;
use crate::cases::keys;

const NOW: u64 = 1_790_000_000_000;

const RULES: &str = "\
format: 1
policy: p
approvers: {lead: {}}
rules:
  - id: pay
    effect: hold
    match: [{http: {methods: [POST], path: /pay}}]
    approval: {factors: [{role: lead, approvals: 1}], decide_within: 10m, use_within: 5m}
";

/// A service with a policy, and what a gateway asks it of a request with this digest.
fn service() -> (Service, impl Fn(&str) -> OpenHold) {
    let mut service = Service::new();
    let bytes = build(&[("p.yaml", RULES)], "p", 1).unwrap();
    service.publish(NOW, &bytes).unwrap();
    let bundle: Bundle<holdgate_protocol::Json> = bundle::read(&bytes).unwrap();
    let rules: Vec<RuleRef> = bundle.rules.iter().map(bundle::Rule::reference).collect();
    let requirement = bundle.united(&["pay"]).unwrap().hash(&rules);
    let policy = PolicyRef { id: "p".into(), rev: bundle::revision(&bytes), serial: 1 };
    let ask = move |digest: &str| OpenHold {
        v: 1,
        attempt: "AAAAAAAAAAAAAAAAAAAAAA".into(),
        agent: Agent { iss: "i".into(), sub: "s".into(), act: vec![], owner: None },
        digest: Hash::of(digest.as_bytes()),
        components: vec!["@method".into()],
        policy: policy.clone(),
        rules: rules.clone(),
        requirement,
        request: CapturedRequest {
            method: "POST".into(),
            scheme: "http".into(),
            authority: "a".into(),
            path: "/pay".into(),
            query: None,
            fields: vec![],
            body: CapturedBody { b64: None, size: 3, redacted: vec![] },
        },
        agent_reason: None,
        idempotency_key: None,
        asked: Asked::default(),
    };
    (service, ask)
}

fn call(method: &str, path: &str, body: &impl serde::Serialize) -> Call {
    let authorization = Some(format!("Bearer {CREDENTIAL}"));
    Call { method: method.into(), path: path.into(), authorization, body: serde_json::to_vec(body).unwrap() }
}

/// What comes back at once.
#[track_caller]
fn ask(service: &mut Service, now: u64, call: Call) -> (u16, Value) {
    let Taken::Call(id) = service.take(now, call) else { panic!("it is refused") };
    match service.due(now).as_slice() {
        [(other, Delivery::Answer { status, body })] if *other == id => {
            (*status, serde_json::from_slice(body).unwrap())
        }
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn open(service: &mut Service, now: u64, asked: &OpenHold) -> (u16, Value) {
    ask(service, now, call("POST", "/v1/holds", asked))
}

#[test]
fn a_hold_is_opened_joined_refused_and_opened_anew() {
    let (mut service, asked) = service();
    let (status, first) = open(&mut service, NOW, &asked("a"));
    assert_eq!((status, &first["hold"], &first["state"]), (201, &json!("h1"), &json!("pending")));
    assert_eq!(first["expires_at"], json!(NOW / 1000 + 600));
    assert_eq!(open(&mut service, NOW, &asked("a")).0, 200);
    assert_eq!(open(&mut service, NOW, &asked("b")).1["hold"], "h2");
    assert!(service.decide(NOW, "h1", HoldState::Denied, None));
    let (status, denied) = open(&mut service, NOW + 599_000, &asked("a"));
    assert_eq!((status, &denied["hold"], &denied["state"]), (403, &json!("h1"), &json!("denied")));
    assert_eq!(open(&mut service, NOW + 600_000, &asked("a")).1["hold"], "h3");
    assert!(!service.decide(NOW, "h9", HoldState::Approved, None));
}

#[test]
fn a_gateway_that_comes_to_another_requirement_is_refused() {
    let (mut service, asked) = service();
    let mut other = asked("a");
    other.requirement = Hash::of(b"milder");
    assert_eq!(open(&mut service, NOW, &other).0, 422);
    let mut other = asked("a");
    other.policy.rev = Hash::of(b"older");
    assert_eq!(
        open(&mut service, NOW, &other),
        (422, json!({"error": "unknown_revision", "detail": "As the case says."}))
    );
    let mut strange = serde_json::to_value(asked("a")).unwrap();
    strange["more"] = json!(1);
    assert_eq!(ask(&mut service, NOW, call("POST", "/v1/holds", &strange)).0, 400);
    let nobody = Call { authorization: None, ..call("GET", "/v1/state", &()) };
    assert_eq!(ask(&mut service, NOW, nobody).0, 401);
    assert_eq!(service.holds().count(), 0);
}

#[test]
fn a_long_poll_waits_for_news_and_no_longer_than_it_may() {
    let (mut service, asked) = service();
    let (_, state) = ask(&mut service, NOW, call("GET", "/v1/state", &()));
    let seq = state["seq"].as_u64().unwrap();
    open(&mut service, NOW, &asked("a"));
    let feed = format!("/v1/feed?after={seq}&limit=256&wait=25");
    let Taken::Call(id) = service.take(NOW, call("GET", &feed, &())) else { panic!() };
    assert!(service.due(NOW + 24_999).is_empty());
    assert_eq!(service.next(), Some(NOW + 25_000));
    service.decide(NOW, "h1", HoldState::Approved, None);
    let due = service.due(NOW + 24_999);
    let [(answered, Delivery::Answer { status: 200, body })] = due.as_slice() else { panic!("{due:?}") };
    let page: Value = serde_json::from_slice(body).unwrap();
    assert_eq!((*answered, &page["items"][0]["state"]), (id, &json!("approved")));

    let feed = format!("/v1/feed?after={}&limit=256&wait=25", page["next"]);
    service.take(NOW, call("GET", &feed, &()));
    let due = service.due(NOW + 25_000);
    assert!(matches!(due.as_slice(), [(_, Delivery::Answer { status: 200, .. })]), "{due:?}");
    let Taken::Call(id) = service.take(NOW, call("GET", &feed, &())) else { panic!() };
    service.forget(id);
    assert!(service.due(NOW + 60_000).is_empty());
}

#[test]
fn scripts_are_followed_and_used_up() {
    let (mut service, asked) = service();
    let script = |does, times| [Script { call: Some(ServiceCall::Holds), does, times }];
    let holds = || call("POST", "/v1/holds", &asked("a"));
    service.script(&script(Behaviour::Late(500), Some(1)));
    service.take(NOW, holds());
    assert!(service.due(NOW + 499).is_empty() && service.holds().count() == 1, "the work is done at once");
    assert_eq!((service.next(), service.due(NOW + 500).len()), (Some(NOW + 500), 1));
    assert_eq!(open(&mut service, NOW, &asked("a")).0, 200, "used up");

    service.script(&script(Behaviour::Twice, None));
    service.take(NOW, holds());
    assert_eq!(service.due(NOW).len(), 2);
    service.script(&script(Behaviour::Refused, None));
    assert_eq!(service.take(NOW, holds()), Taken::Refused);
    let before = service.arrived().len();
    service.script(&script(Behaviour::Unreachable, None));
    assert!(matches!(service.take(NOW, holds()), Taken::Call(_)));
    assert_eq!(service.arrived().len(), before, "it does not arrive");
    assert!(matches!(service.due(NOW).as_slice(), [(_, Delivery::Answer { status: 503, .. })]));
    service.script(&[Script { call: None, does: Behaviour::Reset, times: None }]);
    service.take(NOW, call("GET", "/v1/state", &()));
    assert!(matches!(service.due(NOW).as_slice(), [(_, Delivery::Reset)]));
    service.script(&script(Behaviour::Well, None));
    assert_eq!(open(&mut service, NOW, &asked("a")).0, 200, "the newest script counts");
    service.script(&script(Behaviour::TooLong, None));
    service.take(NOW, holds());
    let due = service.due(NOW);
    assert!(matches!(due.as_slice(), [(_, Delivery::Answer { body, .. })] if body.len() == 64 * 1024 + 1));
}

#[test]
fn a_grant_is_what_the_gate_expects_and_is_given_once() {
    let (mut service, asked) = service();
    let asked = asked("a");
    open(&mut service, NOW, &asked);
    let redeem = |attempt: &str| {
        let item = json!({"hold": "h1", "attempt": attempt, "digest": asked.digest, "agent": asked.agent,
            "requirement": asked.requirement});
        call("POST", "/v1/redemptions", &json!({"items": [item]}))
    };
    let answer = |service: &mut Service, attempt: &str| ask(service, NOW, redeem(attempt)).1["items"][0].clone();
    assert_eq!(answer(&mut service, "n")["error"], "not_approved");
    service.decide(NOW, "h1", HoldState::Approved, None);
    let given = answer(&mut service, "n");
    let expected = Expected {
        issuer: "holdgate-approval",
        group: "edge",
        agent: &asked.agent,
        hold: "h1",
        nonce: "n",
        components: &asked.components,
        digest: &asked.digest,
        policy_id: "p",
        requirement: &asked.requirement,
        rules: &asked.rules,
        now: NOW / 1000,
    };
    let trusted = Keys::new(&keys::public(&keys::grants())).unwrap();
    grant::verify(given["grant"].as_str().unwrap(), &trusted, &expected).unwrap();
    assert_eq!(answer(&mut service, "n"), given, "the same try gets the same grant");
    assert_eq!(answer(&mut service, "m")["error"], "used");
}

#[test]
fn deadlines_suspensions_and_policies_end_holds() {
    let (mut service, asked) = service();
    open(&mut service, NOW, &asked("a"));
    assert_eq!(service.next(), Some(NOW + 600_000));
    service.due(NOW + 600_000);
    let states = |service: &Service| service.holds().map(|hold| (hold.state, hold.cause.clone())).collect::<Vec<_>>();
    assert_eq!(states(&service), [(HoldState::Expired, None)]);
    open(&mut service, NOW + 600_000, &asked("a"));
    service.suspend(NOW + 600_000, &Actor { iss: "i".into(), sub: "s".into() }, true);
    assert_eq!(states(&service)[1], (HoldState::Cancelled, Some("suspended".into())));
    assert_eq!(open(&mut service, NOW + 600_000, &asked("a")).1["error"], "agent_suspended");
    service.suspend(NOW + 600_000, &Actor { iss: "i".into(), sub: "s".into() }, false);
    open(&mut service, NOW + 600_000, &asked("a"));
    let other = build(&[("p.yaml", &RULES.replace("approvals: 1", "approvals: 2"))], "p", 2).unwrap();
    service.publish(NOW + 600_000, &other).unwrap();
    assert_eq!(states(&service)[2], (HoldState::Cancelled, Some("policy".into())));
}
