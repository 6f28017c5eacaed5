//! The gate without a host: a desk that plays driver and approval service, with time of its own.

use std::collections::HashMap;

use holdgate_engine::Conditions;
use holdgate_protocol::{
    Agent, Json,
    bundle::{PolicyRef, Rule, SignedBundle, rule_hash},
    gateway::{HoldAnswer, OpenHold, Redemptions},
    grant::{ActorChain, Claims, Covered, Policy as GrantPolicy},
    jws::PrivateKey,
};
use serde_json::{Value, json};

use super::*;

mod answers;
mod attributes;
mod bodies;
mod ends;
mod fixture;
mod keys;
mod messages;
mod rates;
mod service;
mod telling;
mod waiting;
use fixture::{Desk, NOW, TestHost, method, problem, value};

#[test]
fn nothing_is_served_before_the_first_snapshot_and_policy() {
    let mut desk = Desk::new(|_| {});
    let (_, reply) = desk.refused("GET", "/iam/users", b"");
    assert_eq!(reply, (503, "unavailable".into()));
    desk.snapshot(None);
    assert_eq!(desk.refused("GET", "/iam/users", b"").1, (503, "unavailable".into()));
    desk.publish(1, json!([]));
    assert!(desk.passes("GET", "/iam/users", b""));
}

#[test]
fn routine_requests_pass_and_leave_nothing_behind() {
    let mut desk = Desk::ready();
    assert!(desk.passes("GET", "/iam/users", b""));
    assert!(desk.passes("POST", "/iam/users/7/notes", br#"{"text":"x"}"#));
    assert_eq!(desk.refused("POST", "/iam/users/7/notes", b"{}").1, (403, "denied".into()));
    assert_eq!(desk.refused("GET", "/other", b"").1, (403, "denied".into()));
    assert_eq!(desk.gate.parked(), (0, 0));
}

#[test]
fn a_held_request_passes_with_a_grant_and_only_once() {
    let mut desk = Desk::ready();
    let id = desk.held("POST", "/iam/users/7/roles", br#"{"role":"viewer"}"#);
    assert!(desk.tick().forwarded.is_empty());
    desk.decide("h1", "approved");
    assert_eq!(desk.tick().forwarded, [(id, true)]);
    assert_eq!(desk.gate.parked().1, 0);
    desk.gate.response(id, Some(201));
    desk.gate.closed(id);
    let reports = desk.tick().reports;
    assert_eq!(reports[0]["items"][0]["status"], 201);
    assert_eq!(reports[0]["items"][0]["forwarded"], true);
    assert_eq!(desk.gate.parked(), (0, 0));
}

#[test]
fn a_decision_that_comes_before_the_answer_to_its_hold_is_not_lost() {
    let mut desk = Desk::ready();
    let (id, callout) = desk.opening("POST", "/iam/users/7/roles", br#"{"role":"viewer"}"#);
    desk.feed(vec![json!({"seq": 50, "type": "hold", "hold": "h1", "state": "approved"})]);
    let answer = desk.hold_answer(&callout, "pending", 40);
    assert!(matches!(desk.gate.stream_answer(desk.now, id, Some(answer)), Step::Await));
    assert_eq!(desk.tick().forwarded, [(id, true)]);

    // One that is older than the answer is no news.
    let (id, callout) = desk.opening("POST", "/iam/users/8/roles", br#"{"role":"viewer"}"#);
    let answer = desk.hold_answer(&callout, "pending", 60);
    assert!(matches!(desk.gate.stream_answer(desk.now, id, Some(answer)), Step::Await));
    assert!(desk.tick().forwarded.is_empty());
}

#[test]
fn each_end_of_a_hold_is_told_as_what_it_is() {
    for (state, kind, who, next) in [
        ("denied", "denied", "human", "none"),
        ("expired", "expired", "timeout", "request"),
        ("cancelled", "cancelled", "policy", "request"),
        ("used", "used", "policy", "request"),
    ] {
        let mut desk = Desk::ready();
        let id = desk.held("DELETE", "/iam/users/7", b"");
        desk.decide("h1", state);
        let replies = desk.tick().replies;
        let (told, status, body) = &replies[0];
        assert_eq!((*told, *status), (id, 403));
        assert_eq!(problem(body), kind);
        assert_eq!((body["decided_by"].as_str(), body["next_action"].as_str()), (Some(who), Some(next)), "{state}");
    }
}

#[test]
fn the_inline_wait_ends_with_a_ticket_and_a_retry_passes_once() {
    let mut desk = Desk::ready();
    let id = desk.held("DELETE", "/iam/users/7", b"");
    desk.now += 44_999;
    desk.fresh();
    assert!(desk.tick().replies.is_empty());
    desk.now += 1;
    let replies = desk.tick().replies;
    assert_eq!((replies[0].0, replies[0].1, problem(&replies[0].2)), (id, 403, "held"));
    let endpoint = "/.well-known/holdgate/tasks/h1";
    assert_eq!(replies[0].2["task"]["status_endpoint"], endpoint);
    desk.gate.closed(id);
    assert!(desk.tick().reports.is_empty(), "a ticket is no hang-up");

    let (retry, callout) = desk.opening("DELETE", "/iam/users/7", b"");
    let answer = desk.hold_answer(&callout, "approved", 70);
    assert!(matches!(desk.gate.stream_answer(desk.now, retry, Some(answer)), Step::Await));
    assert_eq!(desk.tick().forwarded, [(retry, true)]);
}

#[test]
fn forged_grants_let_nothing_pass() {
    type Forge = fn(&mut Claims) -> Option<u8>;
    let forgeries: [(&str, Forge); 6] = [
        ("another key", |_| Some(99)),
        ("another digest", |claims| {
            claims.req.h = Hash::of(b"other");
            None
        }),
        ("an old grant", |claims| {
            (claims.iat, claims.nbf, claims.exp) = (claims.iat - 200, claims.nbf - 200, claims.exp - 200);
            None
        }),
        ("the grant of another try", |claims| {
            claims.nonce = "other".into();
            None
        }),
        ("another group's grant", |claims| {
            claims.aud = "other".into();
            None
        }),
        ("another agent's grant", |claims| {
            claims.act.sub = "other".into();
            None
        }),
    ];
    for (name, forge) in forgeries {
        let mut desk = Desk::ready();
        desk.forge = Some(forge);
        let id = desk.held("DELETE", "/iam/users/7", b"");
        desk.decide("h1", "approved");
        let done = desk.tick();
        assert!(done.forwarded.is_empty(), "{name}");
        assert_eq!((done.replies[0].0, done.replies[0].1), (id, 503), "{name}");
        assert!(done.warnings.iter().any(|text| text.starts_with("a grant is refused")), "{name}");
        assert_eq!(done.reports[0]["items"][0]["forwarded"], false, "{name}");
    }
}

#[test]
fn a_redemption_without_an_answer_is_asked_once_more_and_then_given_up() {
    for (failures, passes) in [(1, true), (2, false)] {
        let mut desk = Desk::ready();
        desk.failing_redemptions = failures;
        desk.held("DELETE", "/iam/users/7", b"");
        desk.decide("h1", "approved");
        let done = desk.tick();
        assert_eq!((done.forwarded.len(), done.replies.len()), if passes { (1, 0) } else { (0, 1) }, "{failures}");
    }
}

#[test]
fn answers_that_are_not_the_expected_json_are_no_decisions() {
    let nonsense: [Option<(u16, &str)>; 9] = [
        None,
        Some((500, "")),
        Some((504, "")),
        Some((200, "")),
        Some((200, "<html>")),
        Some((200, r#"{"state":"approved"}"#)),
        Some((200, r#"{"hold":"../x","state":"approved","seq":1,"expires_at":1,"request_state":""}"#)),
        Some((403, r#"{"error":"x"}"#)),
        Some((302, r#"{"hold":"h","state":"approved","seq":1,"expires_at":1,"request_state":""}"#)),
    ];
    for answer in nonsense {
        let mut desk = Desk::ready();
        let (id, _) = desk.opening("DELETE", "/iam/users/7", b"");
        let given = answer.map(|(status, body)| Answer { status, body: body.into() });
        let Step::Reply(reply) = desk.gate.stream_answer(desk.now, id, given) else { panic!("{answer:?}") };
        assert_eq!(reply.status, 503, "{answer:?}");
    }
}

#[test]
fn a_hang_up_leaves_nothing_behind_and_is_reported() {
    let mut desk = Desk::ready();
    let id = desk.held("POST", "/iam/users/7/roles", br#"{"role":"viewer"}"#);
    desk.gate.closed(id);
    assert_eq!(desk.gate.parked(), (0, 0));
    desk.decide("h1", "approved");
    let done = desk.tick();
    assert!(done.forwarded.is_empty() && done.replies.is_empty());
    assert_eq!(done.reports[0]["items"].as_array().unwrap().len(), 1);

    // Hung up while the redemption was on its way: redeemed, not forwarded.
    let id = desk.held("POST", "/iam/users/8/roles", br#"{"role":"viewer"}"#);
    desk.hang_up_while_redeeming = Some(id);
    desk.decide(&desk.hold_of(id), "approved");
    let done = desk.tick();
    assert!(done.forwarded.is_empty());
    assert_eq!(done.reports[0]["items"][0]["forwarded"], false);
}

#[test]
fn many_denials_are_answered_in_bounded_batches() {
    let mut desk = Desk::ready();
    for user in 0..500 {
        desk.held("DELETE", &format!("/iam/users/{user}"), b"");
    }
    desk.feed(
        (1..=500)
            .map(|n| json!({"seq": 100 + n, "type": "hold", "hold": format!("h{n}"), "state": "denied"}))
            .collect(),
    );
    let mut told = 0;
    while told < 500 {
        let entry = desk.gate.tick(desk.now, vec![]);
        let replies = entry.iter().filter(|command| matches!(command, Command::Reply { .. })).count();
        assert!((1..=MAX_REPLIES).contains(&replies), "{replies} after {told}");
        told += replies;
    }
    assert!(desk.passes("GET", "/iam/users", b""));
}

#[test]
fn a_woken_request_meets_the_policy_of_that_moment() {
    // A deny that came meanwhile wins.
    let mut desk = Desk::ready();
    desk.held("DELETE", "/iam/users/7", b"");
    let deny = json!([{"id": "freeze", "effect": "deny", "any": [[method("DELETE")]]}]);
    desk.publish(2, deny);
    desk.decide("h1", "approved");
    let done = desk.tick();
    assert_eq!((done.replies[0].1, done.replies[0].2["rule"].as_str()), (403, Some("freeze")));
    assert!(done.reports.is_empty(), "the approval was used up for nothing: {:?}", done.reports);

    // Another requirement: the approval was for the old one.
    let mut desk = Desk::ready();
    desk.held("DELETE", "/iam/users/7", b"");
    let hold = json!([{"id": "more", "effect": "hold", "any": [[method("DELETE")]], "factors": ["security-lead"]}]);
    desk.publish(2, hold);
    desk.decide("h1", "approved");
    let done = desk.tick();
    assert_eq!(problem(&done.replies[0].2), "cancelled");
    assert!(done.forwarded.is_empty() && done.reports.is_empty());

    // The same requirement under a new revision: redeemed.
    let mut desk = Desk::ready();
    desk.held("DELETE", "/iam/users/7", b"");
    desk.publish(2, json!([{"id": "else", "effect": "deny", "any": [[method("PURGE")]]}]));
    desk.decide("h1", "approved");
    assert_eq!(desk.tick().forwarded.len(), 1);
}

#[test]
fn bodies_over_the_limit_or_unreadable_are_refused_without_a_hold() {
    let mut desk = Desk::with_policy(|config| config["max_body"] = 64.into());
    let big = format!(r#"{{"text":"{}"}}"#, "x".repeat(64));
    assert_eq!(desk.refused("POST", "/iam/users/7/notes", big.as_bytes()).1, (413, "unreadable".into()));
    assert_eq!(desk.refused("DELETE", "/iam/users/7", big.as_bytes()).1, (413, "unreadable".into()));
    let id = desk.next_id();
    let opened = desk.gate.head(desk.now, id, desk.pairs("DELETE", "/iam/users/7", &[]), false);
    assert!(matches!(opened.step, Step::Await));
    assert!(matches!(desk.gate.body_so_far(id, 64), Step::Await));
    let Step::Reply(reply) = desk.gate.body_so_far(id, 65) else { panic!("65 bytes of 64 were taken") };
    assert_eq!(reply.status, 413);
    for body in [&b"{\"text\":1,\"text\":2}"[..], b"text", b"\xff"] {
        assert_eq!(desk.refused("POST", "/iam/users/7/notes", body).1, (400, "unreadable".into()));
    }
    let gzip = desk.pairs("POST", "/iam/users/7/notes", &[("content-encoding", "gzip")]);
    let id = desk.next_id();
    let Step::Reply(reply) = desk.gate.head(desk.now, id, gzip, false).step else {
        panic!("an encoded body was awaited")
    };
    assert_eq!(reply.status, 415);
    assert_eq!(desk.gate.parked(), (0, 0));
}

#[test]
fn upgrades_and_trailers_are_not_held() {
    let mut desk = Desk::ready();
    let upgrade = desk.pairs("DELETE", "/iam/users/7", &[("connection", "upgrade"), ("upgrade", "websocket")]);
    let id = desk.next_id();
    assert!(matches!(desk.gate.head(desk.now, id, upgrade, false).step, Step::Reply(reply) if reply.status == 400));
    let id = desk.next_id();
    let opened = desk.gate.head(desk.now, id, desk.pairs("DELETE", "/iam/users/7", &[]), false);
    assert!(matches!(opened.step, Step::Await));
    assert!(matches!(desk.gate.trailers(id), Step::Reply(reply) if reply.status == 400));
}

#[test]
fn suspension_reaches_new_and_waiting_requests() {
    let mut desk = Desk::ready();
    desk.held("DELETE", "/iam/users/7", b"");
    desk.feed(vec![json!({"seq": 90, "type": "agent", "iss": "https://idp", "sub": "agent-7", "suspended": true})]);
    assert_eq!(desk.refused("GET", "/iam/users", b"").1, (403, "suspended".into()));
    desk.decide("h1", "approved");
    let done = desk.tick();
    assert_eq!((done.forwarded.len(), problem(&done.replies[0].2)), (0, "suspended"));
    desk.feed(vec![json!({"seq": 95, "type": "agent", "iss": "https://idp", "sub": "agent-7", "suspended": false})]);
    assert!(desk.passes("GET", "/iam/users", b""));
}

#[test]
fn a_token_that_expires_during_the_wait_does_not_pass() {
    let mut desk = Desk::with_policy(|config| config["max_wait"] = "1h".into());
    desk.token_life = 20;
    desk.held("DELETE", "/iam/users/7", b"");
    desk.now += 40_000;
    desk.fresh();
    desk.decide("h1", "approved");
    assert_eq!(desk.tick().forwarded.len(), 1, "within the leeway of 30 s");
    desk.held("DELETE", "/iam/users/8", b"");
    desk.now += 15_000;
    desk.decide("h2", "approved");
    let done = desk.tick();
    assert_eq!((done.forwarded.len(), done.replies[0].1), (0, 401));
}

#[test]
fn without_room_or_randomness_nothing_is_parked() {
    let mut desk =
        Desk::with_policy(|config| (config["max_parked_bytes"], config["max_body"]) = (4_000.into(), 4_000.into()));
    let body = format!(r#"{{"role":"{}"}}"#, "x".repeat(3_900));
    let (id, callout) = desk.opening("POST", "/iam/users/7/roles", body.as_bytes());
    let answer = desk.hold_answer(&callout, "pending", 1);
    let Step::Reply(reply) = desk.gate.stream_answer(desk.now, id, Some(answer)) else {
        panic!("parked over the budget")
    };
    assert_eq!(reply.decision, "held");
    let mut desk = Desk::ready();
    desk.gate.host = Box::new(TestHost { random: false, ..TestHost::default() });
    assert_eq!(desk.refused("DELETE", "/iam/users/7", b"").1, (503, "unavailable".into()));
}

#[test]
fn the_status_endpoint_tells_an_agent_of_its_own_task() {
    let mut desk = Desk::ready();
    for (state, status, next) in [("pending", 202, "wait"), ("approved", 200, "retry"), ("denied", 200, "none")] {
        let id = desk.next_id();
        let opened = desk.gate.head(desk.now, id, desk.pairs("GET", "/.well-known/holdgate/tasks/h9", &[]), true);
        let Step::Call(callout) = opened.step else { panic!("the service is not asked") };
        assert_eq!(callout.path, format!("/v1/tasks/h9?agent={}", desk.agent().key()));
        let body = json!({"hold": "h9", "state": state, "expires_at": 1, "seq": 1}).to_string().into_bytes();
        let Step::Reply(reply) = desk.gate.stream_answer(desk.now, id, Some(Answer { status: 200, body })) else {
            panic!("no reply")
        };
        let body: Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!((reply.status, body["next_action"].as_str()), (status, Some(next)));
        assert_eq!(body["task"]["status"], state);
        assert_eq!(desk.refused("GET", "/.well-known/holdgate/tasks/h9", b"").1, (429, "slow_down".into()));
        desk.now += 1_000;
    }
    let id = desk.next_id();
    desk.gate.head(desk.now, id, desk.pairs("GET", "/.well-known/holdgate/tasks/h9", &[]), true);
    let unknown = desk.gate.stream_answer(desk.now, id, Some(Answer { status: 404, body: vec![] }));
    assert!(matches!(unknown, Step::Reply(reply) if reply.status == 404));
    for path in ["/.well-known/holdgate/tasks/", "/.well-known/holdgate/tasks/a/b"] {
        assert_eq!(desk.refused("GET", path, b"").1, (404, "unknown-task".into()));
    }
    assert_eq!(desk.refused("POST", "/.well-known/holdgate/tasks/h9", b"").1, (405, "malformed".into()));
}

#[test]
fn reserved_headers_are_removed_whatever_becomes_of_the_request() {
    let mut desk = Desk::with_policy(|config| config["identity"]["forward"] = false.into());
    for path in ["/iam/users", "/other", "/iam//x"] {
        let id = desk.next_id();
        let pairs = desk.pairs("GET", path, &[("holdgate-agent", "root"), ("x-envoy-max-retries", "9")]);
        let opened = desk.gate.head(desk.now, id, pairs, true);
        assert_eq!(opened.remove, ["holdgate-agent", "x-envoy-max-retries", "authorization"], "{path}");
    }
}

#[test]
fn requests_without_a_token_are_refused_or_evaluated_but_never_held() {
    let mut desk = Desk::ready();
    desk.tagged = false;
    assert_eq!(desk.refused("GET", "/iam/users", b"").1, (401, "identity".into()));
    let mut desk = Desk::with_policy(|config| config["identity"]["untagged"] = "evaluate".into());
    desk.tagged = false;
    assert!(desk.passes("GET", "/iam/open", b""));
    assert_eq!(desk.refused("GET", "/iam/users", b"").1, (403, "denied".into()), "the rule says nothing of nobody");
    assert_eq!(desk.refused("DELETE", "/iam/users/7", b"").1, (401, "identity".into()));
}

#[test]
fn a_request_is_judged_anew_when_its_body_has_come() {
    let open = |desk: &mut Desk, more: &[(&str, &str)]| {
        let id = desk.next_id();
        let opened = desk.gate.head(desk.now, id, desk.pairs("POST", "/iam/users/7/notes", more), false);
        assert!(matches!(opened.step, Step::Await));
        id
    };
    let body = || Some(br#"{"text":"x"}"#.to_vec());
    let status = |step: Step| if let Step::Reply(reply) = step { reply.status } else { 200 };

    // Suspended, expired, or the feed lost, between the head and the end of the body.
    let mut desk = Desk::ready();
    let id = open(&mut desk, &[]);
    desk.feed(vec![json!({"seq": 90, "type": "agent", "iss": "https://idp", "sub": "agent-7", "suspended": true})]);
    assert_eq!(status(desk.gate.body(desk.now, id, body())), 403);
    let mut desk = Desk::ready();
    desk.token_life = 1;
    let id = open(&mut desk, &[]);
    desk.now += 32_000;
    assert_eq!(status(desk.gate.body(desk.now, id, body())), 401);
    let mut desk = Desk::with_policy(|config| config["feed_max_age"] = "30s".into());
    let id = open(&mut desk, &[]);
    desk.now += 30_001;
    assert_eq!(status(desk.gate.body(desk.now, id, body())), 503);

    // A body that nobody could read under the old policy is not "missing" under a new one that asks for it.
    let when = |exists: bool| json!([[method("DELETE"), value(json!({"body": "/force"}), json!({"exists": exists}))]]);
    let newer = json!([{"id": "delete", "effect": "allow", "any": when(false)}, {"id": "forced", "effect": "hold", "any": when(true)}]);
    for (coding, sent) in [("gzip", &b"\x1f\x8b"[..]), ("identity", b"{\"force\":true,\"force\":true}")] {
        let mut desk = Desk::ready();
        let id = desk.next_id();
        let pairs = desk.pairs("DELETE", "/iam/users/7", &[("content-encoding", coding)]);
        assert!(matches!(desk.gate.head(desk.now, id, pairs, false).step, Step::Await));
        desk.publish(2, newer.clone());
        assert!(status(desk.gate.body(desk.now, id, Some(sent.to_vec()))) >= 400, "{coding}");
    }
    let mut desk = Desk::ready();
    let id = open(&mut desk, &[]);
    assert_eq!(status(desk.gate.body(desk.now, id, None)), 400, "the host has lost the body");
}

#[test]
fn a_body_that_never_ends_is_not_waited_for() {
    let mut desk = Desk::ready();
    let id = desk.next_id();
    desk.gate.head(desk.now, id, desk.pairs("DELETE", "/iam/users/7", &[]), false);
    desk.now += 60_000;
    let done = desk.tick();
    assert_eq!((done.replies[0].0, done.replies[0].1), (id, 408));
    assert!(!desk.gate.awaits_body(id));
    desk.gate.closed(id);
    assert_eq!(desk.gate.parked(), (0, 0));
}

#[test]
fn bodies_that_say_they_are_something_else_are_not_judged_as_json() {
    let mut desk = Desk::ready();
    let mut send = |kind: &str, body: &[u8]| {
        let id = desk.next_id();
        let pairs = desk.pairs("POST", "/iam/users/7/notes", &[("content-type", kind)]);
        match desk.gate.head(desk.now, id, pairs, false).step {
            Step::Await => match desk.gate.body(desk.now, id, Some(body.to_vec())) {
                Step::Forward(_) => 200,
                Step::Reply(reply) => reply.status,
                other => panic!("{other:?}"),
            },
            Step::Reply(reply) => reply.status,
            other => panic!("{other:?}"),
        }
    };
    for good in ["application/json", "Application/JSON; charset=UTF-8", "application/merge-patch+json"] {
        assert_eq!(send(good, br#"{"text":"x"}"#), 200, "{good}");
    }
    for wrong in
        ["", "text/plain", "application/x-www-form-urlencoded", "application/json;charset=utf-16", "text/x+json"]
    {
        assert_eq!(send(wrong, br#"{"text":"x"}"#), 415, "{wrong}");
    }
    assert_eq!(send("application/json", br#"{"text":"x","Text":"y"}"#), 400);
}

#[test]
fn no_agent_can_use_up_the_room_of_the_others() {
    let mut desk =
        Desk::with_policy(|config| (config["max_agent_bytes"], config["max_body"]) = (20_000.into(), 20_000.into()));
    let body = format!(r#"{{"role":"{}"}}"#, "x".repeat(12_000));
    desk.held("POST", "/iam/users/1/roles", body.as_bytes());
    let (id, callout) = desk.opening("POST", "/iam/users/2/roles", body.as_bytes());
    let answer = desk.hold_answer(&callout, "pending", 1);
    let Step::Reply(reply) = desk.gate.stream_answer(desk.now, id, Some(answer)) else {
        panic!("parked over the budget")
    };
    assert_eq!(reply.decision, "held");
    let (_, kept) = desk.gate.parked();
    assert!((12_000..14_000).contains(&kept), "{kept}");

    // Its retry after the approval passes all the same.
    let (id, callout) = desk.opening("POST", "/iam/users/2/roles", body.as_bytes());
    let answer = desk.hold_answer(&callout, "approved", 1);
    assert!(matches!(desk.gate.stream_answer(desk.now, id, Some(answer)), Step::Await));
    assert_eq!(desk.tick().forwarded, [(id, true)]);
}

#[test]
fn calls_that_the_host_refuses_do_not_add_to_the_replies_of_one_entry() {
    let mut desk = Desk::ready();
    for user in 0..300 {
        desk.held("DELETE", &format!("/iam/users/{user}"), b"");
    }
    let denied = |n: usize| json!({"seq": 100 + n, "type": "hold", "hold": format!("h{n}"), "state": "denied"});
    desk.feed((1..=300).map(denied).collect());
    let refused = (0..10).map(|_| RootCall::Report).collect();
    let replies = |commands: &[Command]| commands.iter().filter(|c| matches!(c, Command::Reply { .. })).count();
    assert_eq!(replies(&desk.gate.tick(desk.now, refused)), MAX_REPLIES);
}
