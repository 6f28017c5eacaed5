//! What gateways report: outcomes, agents that hung up, audit records.

use std::{borrow::Cow, time::Duration};

use holdgate_protocol::{
    audit::{AuditAnswer, AuditBatch, AuditRecord, AuditRequest, DecidedBy, MAX_BYTES},
    bundle::Effect,
    gateway::{HoldState, MAX_BATCH},
};
use hyper::Method;
use serde_json::{Value, json};

use super::{
    Check, checks,
    expect::{Expect as _, Trouble, Verdict, fail, holds, same},
    target::{Target, random},
};
use crate::client::Ask;

pub(super) const CHECKS: &[Check] = checks! {
    "outcome.taken" (1, 0) taken: "POST /v1/outcomes {items: [{hold, attempt, forwarded, status}]}: 204, and again 204";
    "outcome.first_counts" (1, 0) first_counts: "the first report of an attempt counts";
    "outcome.form" (0, 0) form_of_outcomes: "unknown members are refused, and 257 items: 400";
    "detach.changes_nothing" (0, 0) detach: "POST /v1/detach {items: [{attempt}]}: 204; it changes no state";
    "detach.form" (0, 0) form_of_detach: "`attempt` has its form, unknown members are refused, and 257 items: 400";
    "audit.taken" (0, 0) audit: "POST /v1/audit -> 202 {accepted}";
    "audit.again" (0, 0) audit_again: "a batch that is sent again is answered as before, and changes nothing";
    "audit.conflict" (0, 0) audit_conflict: "numbers that came before with other records: 409 `audit_conflict`";
    "audit.gap" (0, 0) audit_gap: "numbers may be missing between batches and dropped inside one: 202, and the gap is told to people";
    "audit.refused" (0, 0) audit_refused: "a batch that contradicts itself: 422 `audit_refused`";
    "audit.form" (0, 0) audit_form: "unknown members are refused in a batch and in its records: 400";
    "audit.size" (0, 0) audit_size: "a batch has at most 256 KiB: 413";
};

async fn outcome(target: &Target, items: &Value) -> Verdict<crate::client::Answer> {
    target.post("/v1/outcomes", &json!({"items": items})).await
}

async fn taken(target: &Target) -> Verdict {
    let held = target.approved().await?;
    target.ended(&held);
    let attempt = random();
    target.redeem_one(held.redemption(attempt.clone())).await?;
    let report = json!([{"hold": held.answer.hold, "attempt": attempt, "forwarded": true, "status": 200}]);
    for _ in 0..2 {
        outcome(target, &report).await?.status(&[204], "to an outcome")?;
    }
    Ok(())
}

async fn first_counts(target: &Target) -> Verdict {
    let people = target.people()?;
    let held = target.approved().await?;
    target.ended(&held);
    let attempt = random();
    target.redeem_one(held.redemption(attempt.clone())).await?;
    for (forwarded, status) in [(true, json!(201)), (false, Value::Null)] {
        let report = json!([{"hold": held.answer.hold, "attempt": attempt, "forwarded": forwarded, "status": status}]);
        outcome(target, &report).await?.status(&[204], "to an outcome")?;
    }
    let detail = people.send(Ask::get(format!("/api/holds/{}", held.answer.hold))).await?;
    let detail: Value = detail.json(&[200], "for the detail of a hold")?;
    let outcomes = detail.get("outcomes").cloned().unwrap_or_default();
    let first = outcomes.get(0).cloned().unwrap_or_default();
    let fits = outcomes.as_array().is_some_and(|all| all.len() == 1) && first.get("status") == Some(&json!(201));
    holds(fits, "one outcome, the first: 201", &outcomes)
}

async fn form_of_outcomes(target: &Target) -> Verdict {
    let item = json!({"hold": random(), "attempt": random(), "forwarded": false, "status": null});
    let mut more = item.clone();
    if let Some(more) = more.as_object_mut() {
        more.insert("more".to_owned(), json!(1));
    }
    outcome(target, &json!([more])).await?.problem(400, "malformed", "to an unknown member")?;
    outcome(target, &json!(vec![&item; MAX_BATCH])).await?.status(&[204], "to 256 outcomes of unknown holds")?;
    outcome(target, &json!(vec![&item; MAX_BATCH + 1])).await?.problem(400, "malformed", "to 257 outcomes")
}

async fn hung_up(target: &Target, items: &Value) -> Verdict<crate::client::Answer> {
    target.post("/v1/detach", &json!({"items": items})).await
}

async fn detach(target: &Target) -> Verdict {
    let held = target.held().await?;
    let items = json!([{"attempt": held.ask.attempt}, {"attempt": random()}]);
    hung_up(target, &items).await?.status(&[204], "to agents that hung up")?;
    let task = target.task(&held, Duration::ZERO).await?;
    same("state", &HoldState::Pending, &task.state)
}

async fn form_of_detach(target: &Target) -> Verdict {
    hung_up(target, &json!([{"attempt": "x"}])).await?.problem(400, "malformed", "to an attempt that is none")?;
    let more = json!([{"attempt": random(), "more": 1}]);
    hung_up(target, &more).await?.problem(400, "malformed", "to an unknown member")?;
    let item = json!({"attempt": random()});
    hung_up(target, &json!(vec![&item; MAX_BATCH])).await?.status(&[204], "to 256 attempts")?;
    hung_up(target, &json!(vec![&item; MAX_BATCH + 1])).await?.problem(400, "malformed", "to 257 attempts")
}

fn record(target: &Target, seq: u64) -> AuditRecord<'static> {
    AuditRecord {
        seq,
        t: target.state.as_ref().map_or(0, |state| state.now),
        effect: Effect::Deny,
        decided_by: DecidedBy::Policy,
        code: "no_rule".into(),
        rules: Vec::new(),
        policy: target.state.as_ref().and_then(|state| state.policy.clone()).map(Cow::Owned),
        agent: None,
        request: AuditRequest {
            method: "GET".into(),
            authority: "conformance.example".into(),
            path: "/holdgate-conformance".into(),
            digest: None,
        },
        hold: None,
        status: Some(403),
    }
}

/// A batch with a record for each number.
fn batch(target: &Target, vm_epoch: &str, from: u64, to: u64) -> AuditBatch<'static> {
    let records = (from..=to).map(|seq| record(target, seq)).collect();
    AuditBatch { vm_epoch: vm_epoch.to_owned().into(), from_seq: from, to_seq: to, dropped: 0, records }
}

async fn sent(target: &Target, batch: &AuditBatch<'_>) -> Verdict<crate::client::Answer> {
    target.post("/v1/audit", &json!(batch)).await
}

async fn accepted(target: &Target, batch: &AuditBatch<'_>, what: &str) -> Verdict {
    let answer: AuditAnswer = sent(target, batch).await?.json(&[202], what)?;
    same("number of accepted records", &(batch.records.len() as u64), &answer.accepted)
}

async fn audit(target: &Target) -> Verdict {
    let epoch = random();
    accepted(target, &batch(target, &epoch, 1, 3), "to the first batch").await?;
    accepted(target, &batch(target, &epoch, 4, 4), "to the batch that follows").await
}

async fn audit_again(target: &Target) -> Verdict {
    let batch = batch(target, &random(), 1, 2);
    for _ in 0..3 {
        accepted(target, &batch, "to a batch, and to the same again").await?;
    }
    Ok(())
}

async fn audit_conflict(target: &Target) -> Verdict {
    let first = batch(target, &random(), 1, 2);
    accepted(target, &first, "to a batch").await?;
    let mut other = first.clone();
    if let Some(record) = other.records.first_mut() {
        record.status = Some(200);
    }
    sent(target, &other).await?.problem(409, "audit_conflict", "to other records with the same numbers")?;
    accepted(target, &first, "to the first batch again").await
}

async fn audit_gap(target: &Target) -> Verdict {
    let epoch = random();
    accepted(target, &batch(target, &epoch, 1, 1), "to a batch").await?;
    accepted(target, &batch(target, &epoch, 5, 5), "to a batch behind a gap").await?;
    let lost = AuditBatch { dropped: 2, records: Vec::new(), ..batch(target, &epoch, 6, 7) };
    accepted(target, &lost, "to dropped records").await?;
    let Ok(people) = target.people() else { return Ok(()) };
    let gaps = people.send(Ask::get("/api/audit/gaps?limit=1000")).await?;
    if gaps.status == 403 {
        return Err(Trouble::NotRun(format!("this person may not see gaps: {}", gaps.told())));
    }
    let gaps: Value = gaps.json(&[200], "for gaps")?;
    let own: Vec<(u64, u64)> = gaps
        .get("items")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter(|gap| gap.get("vm_epoch") == Some(&json!(epoch)))
        .filter_map(|gap| Some((gap.get("from_seq")?.as_u64()?, gap.get("to_seq")?.as_u64()?)))
        .collect();
    holds(own.contains(&(2, 4)) && own.contains(&(6, 7)), "gaps 2 to 4 and 6 to 7", format_args!("{own:?}"))
}

async fn audit_refused(target: &Target) -> Verdict {
    let good = batch(target, &random(), 1, 2);
    let mut twice = good.clone();
    twice.records.push(record(target, 2));
    let wrong = [
        ("an end before the beginning", AuditBatch { to_seq: 0, ..good.clone() }),
        ("numbers from 0", AuditBatch { from_seq: 0, ..good.clone() }),
        ("a record outside of its batch", AuditBatch { to_seq: 1, ..good.clone() }),
        ("a number that stands there twice", twice),
        ("a name of an epoch that is none", AuditBatch { vm_epoch: "a b".into(), ..good.clone() }),
        ("neither records nor dropped ones", AuditBatch { records: Vec::new(), ..good.clone() }),
    ];
    for (what, batch) in wrong {
        sent(target, &batch).await?.problem(422, "audit_refused", &format!("to {what}"))?;
    }
    accepted(target, &good, "to the batch as it is right").await
}

async fn audit_form(target: &Target) -> Verdict {
    let good = json!(batch(target, &random(), 1, 1));
    for pointer in ["", "/records/0", "/records/0/request"] {
        let mut body = good.clone();
        match body.pointer_mut(pointer).and_then(Value::as_object_mut) {
            Some(place) => place.insert("more".to_owned(), json!(1)),
            None => return fail("a place in the batch", pointer),
        };
        let what = format!("to an unknown member at `{pointer}`");
        target.post("/v1/audit", &body).await?.problem(400, "malformed", &what)?;
    }
    Ok(())
}

async fn audit_size(target: &Target) -> Verdict {
    let padded = |length: usize| {
        let mut body = json!(batch(target, &random(), 1, 1)).to_string();
        body.extend(std::iter::repeat_n(' ', length.saturating_sub(body.len())));
        Ask::new(Method::POST, "/v1/audit").json(body)
    };
    target.gateway.send(padded(MAX_BYTES)).await?.status(&[202], "to a batch of 256 KiB")?;
    target.gateway.send(padded(MAX_BYTES + 1)).await?.problem(413, "too_large", "to a larger batch")
}
