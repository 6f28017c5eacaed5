//! `POST /v1/holds`.

use holdgate_protocol::{
    Actor, Hash,
    bundle::Effect,
    gateway::{HoldAnswer, HoldState, MAX_AGENT_REASON, MAX_IDEMPOTENCY_KEY, MAX_OPEN_HOLD, OpenHold},
};
use hyper::Method;
use serde_json::{Value, json};

use super::{
    Check, checks,
    expect::{Expect as _, Trouble, Verdict, holds, same},
    target::{Held, Target, random},
};
use crate::client::Ask;

pub(super) const CHECKS: &[Check] = checks! {
    "hold.new" (0, 0) new: "a request that was never held: 201 {hold, state: pending, seq, expires_at, request_state}";
    "hold.durable" (0, 0) durable: "the service makes the hold durable before it answers: it is there for the next question";
    "hold.joined" (0, 0) joined: "`POST /v1/holds` finds by the key (group, agent, digest, requirement): pending 200, whatever the attempt";
    "hold.joined_at_once" (0, 0) joined_at_once: "several streams may wait on one hold: however many come at once, one is opened";
    "hold.changed_byte" (0, 0) changed_byte: "a changed byte opens a new hold: another digest is another key";
    "hold.other_agent" (0, 0) other_agent: "the agent {iss, sub, act, owner} is part of the key";
    "hold.version" (0, 0) version: "a version that is not known: 422 `unknown_version`";
    "hold.attempt" (0, 0) attempt: "`attempt` is base64url of 16 random bytes, without padding; else 400";
    "hold.strict" (0, 0) strict: "members that a reader does not know are refused in requests: 400";
    "hold.missing" (0, 0) missing: "all members of the message are required: 400 without one";
    "hold.rules" (0, 0) rules: "unknown rule, or a rule with another hash, or one that does not hold: 422 `unknown_rule`; none at all: 400";
    "hold.revision" (0, 0) revision: "a revision or serial that is not the one in force: 422 `unknown_revision`";
    "hold.requirement" (0, 0) requirement: "the service unites the published requirements itself, and answers 422 where the gateway's hash differs";
    "hold.body_form" (0, 0) body_form: "`request.body.b64` is base64 (RFC 4648 section 4), else 400";
    "hold.reason" (0, 0) reason: "`agent_reason` has at most 4096 bytes, else 400";
    "hold.idempotency" (0, 0) idempotency: "an idempotency key with another request: 409; with the same request it joins";
    "hold.idempotency_form" (0, 0) idempotency_form: "an idempotency key has 1 to 255 bytes, else 400";
    "hold.size" (0, 0) size: "a message of 13,281,964 bytes is taken; a larger one is answered 413";
    "hold.approved" (1, 0) approved: "the same request finds its approved hold while that is usable: 200";
    "hold.denied" (0, 1) denied: "the same request, denied within its cooldown: 403 {hold, state: denied, ...} with Retry-After";
};

async fn ask(target: &Target, body: &Value) -> Verdict<crate::client::Answer> {
    target.post("/v1/holds", body).await
}

/// The same request once more, by another try.
fn again(ask: &OpenHold) -> Value {
    json!(OpenHold { attempt: random(), ..ask.clone() })
}

async fn new(target: &Target) -> Verdict {
    let now = target.state.as_ref().map_or(0, |state| state.now);
    let Held { answer, .. } = target.held().await?;
    same("state", &HoldState::Pending, &answer.state)?;
    holds(!answer.hold.is_empty() && answer.hold.len() <= 200, "an id of the hold", &answer.hold)?;
    holds(answer.expires_at > now, &format!("`expires_at` after {now}"), answer.expires_at)?;
    let text = &answer.request_state;
    holds(!text.is_empty() && text.len() <= 200, "`request_state` of 1 to 200 characters", text)
}

async fn durable(target: &Target) -> Verdict {
    let held = target.held().await?;
    let task = target.task(&held, std::time::Duration::ZERO).await?;
    same("state", &HoldState::Pending, &task.state)?;
    same("deadline", &held.answer.expires_at, &task.expires_at)
}

async fn joined(target: &Target) -> Verdict {
    let held = target.held().await?;
    for body in [json!(held.ask), again(&held.ask)] {
        let found: HoldAnswer = ask(target, &body).await?.json(&[200], "for a request that is held already")?;
        same("hold", &held.answer.hold, &found.hold)?;
        same("state", &HoldState::Pending, &found.state)?;
        same("`request_state`", &held.answer.request_state, &found.request_state)?;
    }
    Ok(())
}

async fn joined_at_once(target: &Target) -> Verdict {
    let first = target.ask()?;
    let mut tries = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (client, body) = (target.gateway.clone(), again(&first).to_string());
        tries.spawn(async move { client.send(Ask::new(Method::POST, "/v1/holds").json(body)).await });
    }
    let (mut opened, mut ids) = (0, std::collections::BTreeSet::new());
    while let Some(answer) = tries.join_next().await {
        let answer = answer.map_err(|error| Trouble::NotRun(error.to_string()))??;
        let found: HoldAnswer = answer.json(&[200, 201], "for the same request at once")?;
        opened += usize::from(answer.status == 201);
        ids.insert(found.hold);
    }
    same("number of 201", &1, &opened)?;
    same("number of holds", &1, &ids.len())
}

async fn changed_byte(target: &Target) -> Verdict {
    let held = target.held().await?;
    let other = OpenHold { digest: Hash::of(held.ask.digest.as_bytes()), ..held.ask.clone() };
    let other = target.open(other).await?;
    holds(other.answer.hold != held.answer.hold, "another hold for another digest", &other.answer.hold)
}

async fn other_agent(target: &Target) -> Verdict {
    let held = target.held().await?;
    let own = &held.ask.agent;
    let act = vec![Actor { iss: own.iss.clone(), sub: format!("{}-actor", own.sub) }];
    let agents = [
        holdgate_protocol::Agent { sub: format!("{}-b", own.sub), ..own.clone() },
        holdgate_protocol::Agent { act, ..own.clone() },
        holdgate_protocol::Agent { owner: Some("somebody else".to_owned()), ..own.clone() },
    ];
    for agent in agents {
        let other = target.open(OpenHold { agent, ..held.ask.clone() }).await?;
        holds(other.answer.hold != held.answer.hold, "another hold for another agent", &other.answer.hold)?;
    }
    Ok(())
}

async fn version(target: &Target) -> Verdict {
    let body = json!(OpenHold { v: 2, ..target.ask()? });
    ask(target, &body).await?.problem(422, "unknown_version", "to version 2")
}

async fn attempt(target: &Target) -> Verdict {
    let good = target.ask()?;
    for attempt in [
        "",
        "x",
        "AAAAAAAAAAAAAAAAAAAAAA==",
        "AAAAAAAAAAAAAAAAAAAAAAAA",
        "AAAAAAAAAAAAAAAAAAAAA/",
        "AAAAAAAAAAAAAAAAAAAAAB",
    ] {
        let body = json!(OpenHold { attempt: attempt.to_owned(), ..good.clone() });
        ask(target, &body).await?.problem(400, "malformed", &format!("to the attempt {attempt:?}"))?;
    }
    Ok(())
}

/// The message with one more or one less member at a place.
fn changed(ask: &OpenHold, pointer: &str, change: impl FnOnce(&mut serde_json::Map<String, Value>)) -> Value {
    let mut body = json!(ask);
    if let Some(place) = body.pointer_mut(pointer).and_then(Value::as_object_mut) {
        change(place);
    }
    body
}

async fn strict(target: &Target) -> Verdict {
    let good = target.ask()?;
    for pointer in ["", "/agent", "/policy", "/rules/0", "/request", "/request/body", "/asked"] {
        let body = changed(&good, pointer, |place| {
            place.insert("more".to_owned(), json!(1));
        });
        ask(target, &body).await?.problem(400, "malformed", &format!("to an unknown member at `{pointer}`"))?;
    }
    Ok(())
}

async fn missing(target: &Target) -> Verdict {
    let good = target.ask()?;
    let needed = [
        ("", "v"),
        ("", "attempt"),
        ("", "agent"),
        ("", "digest"),
        ("", "components"),
        ("", "policy"),
        ("", "rules"),
        ("", "requirement"),
        ("", "request"),
        ("", "asked"),
        ("/agent", "iss"),
        ("/agent", "sub"),
        ("/request", "method"),
        ("/request", "path"),
        ("/request", "body"),
        ("/request/body", "size"),
    ];
    for (pointer, name) in needed {
        let body = changed(&good, pointer, |place| {
            place.remove(name);
        });
        ask(target, &body).await?.problem(400, "malformed", &format!("without `{pointer}/{name}`"))?;
    }
    Ok(())
}

async fn rules(target: &Target) -> Verdict {
    let good = target.ask()?;
    let named = |id: &str, hash: Hash| {
        json!(OpenHold { rules: vec![holdgate_protocol::RuleRef { id: id.to_owned(), hash }], ..good.clone() })
    };
    let Some(rule) = good.rules.first() else { return Err(Trouble::NotRun("no rule holds".to_owned())) };
    let unknown = named("holdgate.conformance.unknown", rule.hash);
    ask(target, &unknown).await?.problem(422, "unknown_rule", "to a rule that is not there")?;
    let other = named(&rule.id, Hash::of(b"other conditions"));
    ask(target, &other).await?.problem(422, "unknown_rule", "to a rule with another hash")?;
    if let Some(passes) = target.policy()?.bundle.rules.iter().find(|rule| rule.effect != Effect::Hold) {
        let body = named(&passes.id, passes.hash);
        ask(target, &body).await?.problem(422, "unknown_rule", "to a rule that does not hold")?;
    }
    let none = json!(OpenHold { rules: Vec::new(), ..good.clone() });
    ask(target, &none).await?.problem(400, "malformed", "without a rule")
}

async fn revision(target: &Target) -> Verdict {
    let good = target.ask()?;
    let policy = &good.policy;
    let others = [
        holdgate_protocol::bundle::PolicyRef { rev: Hash::of(b"another revision"), ..policy.clone() },
        holdgate_protocol::bundle::PolicyRef { serial: policy.serial + 1, ..policy.clone() },
        holdgate_protocol::bundle::PolicyRef { id: format!("{}-other", policy.id), ..policy.clone() },
    ];
    for policy in others {
        let what = format!("to policy `{}` with serial {}, revision {}", policy.id, policy.serial, policy.rev);
        ask(target, &json!(OpenHold { policy, ..good.clone() })).await?.problem(422, "unknown_revision", &what)?;
    }
    Ok(())
}

async fn requirement(target: &Target) -> Verdict {
    let body = json!(OpenHold { requirement: Hash::of(b"another requirement"), ..target.ask()? });
    ask(target, &body).await?.problem(422, "requirement_mismatch", "to another requirement")
}

async fn body_form(target: &Target) -> Verdict {
    let mut body = json!(target.ask()?);
    if let Some(text) = body.pointer_mut("/request/body/b64") {
        *text = json!("not base64!");
    }
    ask(target, &body).await?.problem(400, "malformed", "to a body that is not base64")
}

async fn reason(target: &Target) -> Verdict {
    let with = |length: usize, ask: OpenHold| OpenHold { agent_reason: Some("r".repeat(length)), ..ask };
    target.open(with(MAX_AGENT_REASON, target.ask()?)).await?;
    let body = json!(with(MAX_AGENT_REASON + 1, target.ask()?));
    ask(target, &body).await?.problem(400, "malformed", "to a longer reason")
}

async fn idempotency(target: &Target) -> Verdict {
    let key = Some(random());
    let held = target.open(OpenHold { idempotency_key: key.clone(), ..target.ask()? }).await?;
    let same_request: HoldAnswer = ask(target, &again(&held.ask)).await?.json(&[200], "to the same request and key")?;
    same("hold", &held.answer.hold, &same_request.hold)?;
    let other = OpenHold { digest: Hash::of(held.ask.digest.as_bytes()), ..held.ask.clone() };
    ask(target, &json!(other)).await?.problem(409, "idempotency_conflict", "to another request with the same key")?;
    // The key is the agent's own: another agent may have the same.
    target.open(OpenHold { idempotency_key: key, ..target.ask()? }).await?;
    Ok(())
}

async fn idempotency_form(target: &Target) -> Verdict {
    let good = target.ask()?;
    for length in [0, MAX_IDEMPOTENCY_KEY + 1] {
        let body = json!(OpenHold { idempotency_key: Some("k".repeat(length)), ..good.clone() });
        ask(target, &body).await?.problem(400, "malformed", &format!("to a key of {length} bytes"))?;
    }
    target.open(OpenHold { idempotency_key: Some("k".repeat(MAX_IDEMPOTENCY_KEY)), ..good }).await?;
    Ok(())
}

async fn size(target: &Target) -> Verdict {
    let padded = |length: usize, ask: &OpenHold| {
        let mut body = json!(ask).to_string();
        body.extend(std::iter::repeat_n(' ', length.saturating_sub(body.len())));
        Ask::new(Method::POST, "/v1/holds").json(body)
    };
    let answer = target.gateway.send(padded(MAX_OPEN_HOLD, &target.ask()?)).await?;
    answer.status(&[201], "to the largest message")?;
    let answer = target.gateway.send(padded(MAX_OPEN_HOLD + 1, &target.ask()?)).await?;
    answer.problem(413, "too_large", "to a message that is larger by one byte")
}

async fn approved(target: &Target) -> Verdict {
    let held = target.approved().await?;
    let found: HoldAnswer = ask(target, &again(&held.ask)).await?.json(&[200], "for a request that is approved")?;
    same("hold", &held.answer.hold, &found.hold)?;
    same("state", &HoldState::Approved, &found.state)
}

async fn denied(target: &Target) -> Verdict {
    let held = target.denied().await?;
    target.ended(&held);
    let answer = ask(target, &again(&held.ask)).await?;
    let found: HoldAnswer = answer.json(&[403], "for a request that was denied")?;
    same("hold", &held.answer.hold, &found.hold)?;
    same("state", &HoldState::Denied, &found.state)?;
    let retry_after = answer.header("retry-after");
    holds(retry_after.parse::<u64>().is_ok(), "`Retry-After` in seconds", format_args!("{retry_after:?}"))
}
