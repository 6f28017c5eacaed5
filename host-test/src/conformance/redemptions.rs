//! `POST /v1/redemptions`: an approval counts once, for the request that it was given for.

use holdgate_protocol::{
    Agent, Hash,
    gateway::{MAX_BATCH, Redemption, RedemptionAnswer, RedemptionError},
};
use hyper::Method;
use serde_json::json;

use super::{
    Check, checks,
    expect::{Expect as _, Trouble, Verdict, fail, holds, same},
    target::{Held, Target, random},
};
use crate::client::Ask;

pub(super) const CHECKS: &[Check] = checks! {
    "redeem.pending" (0, 0) pending: "a hold that nobody has approved: {error: not_approved}, and no grant";
    "redeem.unknown" (0, 0) unknown: "a hold that there is not: {error: not_approved}";
    "redeem.form" (0, 0) form: "`attempt` has its form, and unknown members are refused: 400";
    "redeem.batch" (0, 0) batch: "at most 256 items: 257 are answered 400, and none of them counts";
    "redeem.order" (0, 0) order: "answers stand in the order of the items";
    "redeem.same_attempt" (1, 0) same_attempt: "the same (hold, attempt) gets the same grant until it expires";
    "redeem.used" (1, 0) used: "another attempt gets `used`";
    "redeem.once" (1, 0) once: "of many attempts at once exactly one gets the grant";
    "redeem.batch_once" (1, 0) batch_once: "of two attempts in one batch the first gets the grant, the other `used`";
    "redeem.other_digest" (1, 0) other_digest: "the digest is that of the approved request, or there is no grant";
    "redeem.other_agent" (1, 0) other_agent: "the agent is that of the approved request, or there is no grant";
    "redeem.other_requirement" (1, 0) other_requirement: "the requirement is that of the approved request, or there is no grant";
    "redeem.denied" (0, 1) denied: "a denied hold: {error: denied}";
    "group.tasks" (0, 0) group_tasks: "a gateway credential sees the holds of its group only: GET /v1/tasks of another group's is 404";
    "group.joins" (0, 0) group_joins: "the gateway group is part of a hold's key: the same request of another group is another hold";
    "group.redeem" (1, 0) group_redeem: "another group cannot redeem what is approved for this one";
};

fn refused(answer: &RedemptionAnswer, error: RedemptionError, what: &str) -> Verdict {
    holds(answer.grant.is_none(), &format!("no grant {what}"), "a grant")?;
    same(&format!("error {what}"), &Some(error), &answer.error)
}

async fn granted(target: &Target, held: &Held, item: Redemption) -> Verdict<String> {
    target.ended(held);
    let answer = target.redeem_one(item).await?;
    same("hold", &held.answer.hold, &answer.hold)?;
    match answer.grant {
        Some(grant) => Ok(grant),
        None => fail("a grant for the approved request", format_args!("{:?} {:?}", answer.error, answer.cause)),
    }
}

async fn pending(target: &Target) -> Verdict {
    let held = target.held().await?;
    let answer = target.redeem_one(held.redemption(random())).await?;
    refused(&answer, RedemptionError::NotApproved, "for a pending hold")
}

/// A redemption of a hold that there is not.
fn nothing(target: &Target) -> Verdict<Redemption> {
    let ask = target.ask()?;
    Ok(Redemption {
        hold: random(),
        attempt: random(),
        digest: ask.digest,
        agent: ask.agent,
        requirement: ask.requirement,
    })
}

async fn unknown(target: &Target) -> Verdict {
    let answer = target.redeem_one(nothing(target)?).await?;
    refused(&answer, RedemptionError::NotApproved, "for an unknown hold")
}

async fn form(target: &Target) -> Verdict {
    let good = json!(nothing(target)?);
    for (name, value) in
        [("attempt", json!("x")), ("attempt", json!(1)), ("digest", json!("sha-256:00")), ("more", json!(1))]
    {
        let mut item = good.clone();
        if let Some(item) = item.as_object_mut() {
            item.insert(name.to_owned(), value.clone());
        }
        let answer = target.post("/v1/redemptions", &json!({"items": [item]})).await?;
        answer.problem(400, "malformed", &format!("to `{name}` as {value}"))?;
    }
    Ok(())
}

async fn batch(target: &Target) -> Verdict {
    let mut items: Vec<Redemption> = Vec::with_capacity(MAX_BATCH + 1);
    for _ in 0..MAX_BATCH {
        items.push(nothing(target)?);
    }
    target.redeem(&items).await?;
    items.push(nothing(target)?);
    let answer = target.post("/v1/redemptions", &json!({"items": items})).await?;
    answer.problem(400, "malformed", "to 257 items")
}

async fn order(target: &Target) -> Verdict {
    let mut items = Vec::new();
    for _ in 0..20 {
        items.push(nothing(target)?);
    }
    items.insert(7, target.held().await?.redemption(random()));
    let asked: Vec<&str> = items.iter().map(|item| item.hold.as_str()).collect();
    let answers = target.redeem(&items).await?;
    let answered: Vec<&str> = answers.iter().map(|answer| answer.hold.as_str()).collect();
    same("order", &asked, &answered)
}

async fn same_attempt(target: &Target) -> Verdict {
    let held = target.approved().await?;
    let item = held.redemption(random());
    let first = granted(target, &held, item.clone()).await?;
    let second = granted(target, &held, item).await?;
    holds(first == second, "the same grant for the same attempt", "another one")
}

async fn used(target: &Target) -> Verdict {
    let held = target.approved().await?;
    granted(target, &held, held.redemption(random())).await?;
    let answer = target.redeem_one(held.redemption(random())).await?;
    refused(&answer, RedemptionError::Used, "for another attempt")
}

async fn once(target: &Target) -> Verdict {
    let held = target.approved().await?;
    target.ended(&held);
    let mut tries = tokio::task::JoinSet::new();
    for _ in 0..24 {
        let (client, item) = (target.gateway.clone(), held.redemption(random()));
        let body = json!({"items": [item]}).to_string();
        tries.spawn(async move { client.send(Ask::new(Method::POST, "/v1/redemptions").json(body)).await });
    }
    let mut grants = 0;
    while let Some(answer) = tries.join_next().await {
        let answer = answer.map_err(|error| Trouble::NotRun(error.to_string()))??;
        let answers: holdgate_protocol::gateway::RedemptionAnswers = answer.json(&[200], "for a redemption")?;
        grants += answers.items.iter().filter(|item| item.grant.is_some()).count();
    }
    same("number of grants", &1, &grants)
}

async fn batch_once(target: &Target) -> Verdict {
    let held = target.approved().await?;
    target.ended(&held);
    let answers = target.redeem(&[held.redemption(random()), held.redemption(random())]).await?;
    let [first, second] = answers.as_slice() else { return fail("two answers", answers.len()) };
    holds(first.grant.is_some(), "a grant for the first attempt", format_args!("{:?}", first.error))?;
    refused(second, RedemptionError::Used, "for the second attempt in the batch")
}

/// What is not the approved request gets nothing, and takes nothing away from it.
async fn other(target: &Target, what: &str, change: impl FnOnce(Redemption) -> Redemption) -> Verdict {
    let held = target.approved().await?;
    let answer = target.redeem_one(change(held.redemption(random()))).await?;
    refused(&answer, RedemptionError::NotApproved, what)?;
    granted(target, &held, held.redemption(random())).await?;
    Ok(())
}

async fn other_digest(target: &Target) -> Verdict {
    other(target, "for another digest", |item| Redemption { digest: Hash::of(b"other"), ..item }).await
}

async fn other_agent(target: &Target) -> Verdict {
    let change =
        |item: Redemption| Redemption { agent: Agent { sub: format!("{}-b", item.agent.sub), ..item.agent }, ..item };
    other(target, "for another agent", change).await
}

async fn other_requirement(target: &Target) -> Verdict {
    other(target, "for another requirement", |item| Redemption { requirement: Hash::of(b"other"), ..item }).await
}

async fn denied(target: &Target) -> Verdict {
    let held = target.denied().await?;
    target.ended(&held);
    let answer = target.redeem_one(held.redemption(random())).await?;
    refused(&answer, RedemptionError::Denied, "for a denied hold")
}

async fn group_tasks(target: &Target) -> Verdict {
    let other = target.other()?;
    let held = target.held().await?;
    let path = super::target::task_path(&held.answer.hold, &held.ask.agent.key(), std::time::Duration::ZERO);
    other.send(Ask::get(path)).await?.problem(404, "not_found", "to another group's hold")
}

async fn group_joins(target: &Target) -> Verdict {
    let other = target.other()?;
    let held = target.held().await?;
    let answer = other.send(Ask::new(Method::POST, "/v1/holds").json(json!(held.ask).to_string())).await?;
    let opened: holdgate_protocol::gateway::HoldAnswer = answer.json(&[201], "to the same request of another group")?;
    holds(opened.hold != held.answer.hold, "another hold", &opened.hold)
}

async fn group_redeem(target: &Target) -> Verdict {
    let other = target.other()?;
    let held = target.approved().await?;
    let body = json!({"items": [held.redemption(random())]}).to_string();
    let answer = other.send(Ask::new(Method::POST, "/v1/redemptions").json(body)).await?;
    let answers: holdgate_protocol::gateway::RedemptionAnswers = answer.json(&[200], "for a redemption")?;
    let Some(answer) = answers.items.first() else { return fail("one answer", "none") };
    refused(answer, RedemptionError::NotApproved, "for another group's hold")?;
    granted(target, &held, held.redemption(random())).await?;
    Ok(())
}
