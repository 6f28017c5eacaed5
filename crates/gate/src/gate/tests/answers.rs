//! All that agents are told, word for word: of the policy no more than the id and the reason of the rule that decided.

use super::{told::*, *};
use crate::{canonical::Malformed, identity::IdentityError};

/// Rules that are full of what agents must not learn; `delete` has a reason of its own, `purge` none.
fn telling_rules() -> Value {
    let secret = |name: &str| value(json!({"header": name}), json!({"equals": {"string": "secret-value"}}));
    let hidden = json!([[method("DELETE"), secret("x-secret")]]);
    json!([
        {"id": "delete", "effect": "hold", "any": [[method("DELETE")]], "reason": "Deleting cannot be undone.",
            "factors": ["secret-role"], "controls": ["secret-control"]},
        {"id": "secret.second", "effect": "hold", "any": hidden, "reason": "secret reason", "factors": ["secret-lead"]},
        {"id": "purge", "effect": "deny", "any": [[method("PURGE")]], "controls": ["secret-control"]},
        {"id": "trace", "effect": "deny", "any": [[method("TRACE")]], "reason": "Tracing is off."},
        {"id": "secret.shadow", "effect": "deny", "mode": "shadow", "any": [[method("PURGE")]]},
        {"id": "secret.limit", "effect": "deny", "any": [[method("PATCH"), {"rate": {"over": 7777, "per": 60, "by": "agent"}}]]},
    ])
}

/// A request that waits, taken out of its gate.
fn waiting(prefer: &[(&str, &str)]) -> (Box<Held>, Hold) {
    let mut desk = Desk::ready();
    desk.publish(2, telling_rules());
    let (id, pairs) = (desk.next_id(), desk.pairs("DELETE", "/iam/users/7", prefer));
    let Step::Call(callout) = desk.gate.head(desk.now, id, pairs, true).step else { panic!("not held") };
    let answer = desk.hold_answer(&callout, "pending", 100_000);
    desk.gate.stream_answer(desk.now, id, Some(answer));
    match desk.gate.take_if(id, |_| true) {
        Some(Stream::Parked(held, hold)) => (held, hold),
        _ => panic!("not parked"),
    }
}

#[test]
fn agents_are_told_these_words_and_no_others() {
    let mut desk = Desk::ready();
    desk.publish(2, telling_rules());
    let policy = desk.gate.policy.clone().unwrap();
    let rule = |id: &str| policy.indexed().find(|(_, rule)| rule.id == id).map(|(index, _)| index);
    let (held, hold) = waiting(&[]);
    let (asynchronous, _) = waiting(&[("prefer", "respond-async, wait=30")]);
    let mut replies = vec![
        denied_by_policy(&policy, None),
        denied_by_policy(&policy, rule("purge")),
        denied_by_policy(&policy, rule("trace")),
        unavailable("The gateway has no policy in force yet."),
        clocks_disagree(),
        service_unavailable(),
        unreadable(415, "The policy looks into the body; send it without a content-encoding."),
        too_large(1024),
        suspended(),
        method_not_allowed(),
        conflict(),
        over_quota(60),
        too_many_bodies(),
        denied_before(&held, &hold, 300),
        slow_down(),
        late_body(),
        refused(Malformed("the path has a dot segment".into())),
        unauthorized(&IdentityError::Missing),
        unauthorized(&IdentityError::Expired),
        unknown_task(),
        ticket(0, &held, &hold),
        ticket(0, &asynchronous, &hold),
        changed_policy(&held),
    ];
    let states = [HoldState::Denied, HoldState::Expired, HoldState::Cancelled, HoldState::Used];
    replies.extend(states.map(|state| ended_reply(state, &held, &hold)));
    for state in ["pending", "approved", "denied", "expired", "cancelled", "used"] {
        let told = json!({"hold": "h1", "state": state, "cause": "secret cause", "expires_at": 7, "seq": 1});
        replies.push(task_answer("h1", Some(&Answer { status: 200, body: told.to_string().into_bytes() })));
    }
    let told = replies.iter().map(|reply| {
        let headers = reply.headers.iter().filter(|(name, _)| !["content-type", "cache-control"].contains(name));
        let headers: Vec<_> = headers.map(|(name, value)| format!("{name}: {value}\n")).collect();
        format!("{} {}\n{}{}\n", reply.status, reply.decision, headers.concat(), str::from_utf8(&reply.body).unwrap())
    });
    let told = told.collect::<Vec<_>>().join("\n");
    assert!(!told.contains("secret") && !told.contains("7777"), "{told}");
    assert!(replies.iter().all(|reply| reply.headers.contains(&("cache-control", "no-store".to_owned()))));
    assert_eq!(told, include_str!("answers.txt"), "\n{told}");
}
