//! The story that the demo shows, played through the same public interfaces that people and agents use.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{
    agent::Call,
    http::Response,
    reviewer::{Reviewer, Verdict},
    stack::{OWNER, Stack},
    until,
    upstream::MARK,
};

const LIMIT: Duration = Duration::from_secs(30);

const ROLES: &str = "/iam/users/7/roles";
const ROLE: &str = "{\"role\": \"editor\"}";
const OTHER_ROLE: &str = "{\"role\": \"viewer\"}";
const USER: &str = "/iam/users/2";

/// Plays the story; an error is the first step that did not come out as it should.
pub(super) async fn play(stack: &Stack) -> Result<()> {
    println!();
    let alice = stack.sign_in("alice").await?;
    let bob = stack.sign_in("bob").await?;
    let owner = stack.sign_in(OWNER).await?;
    routine(stack).await?;
    refused(stack).await?;
    let first = approved(stack, &alice, &owner).await?;
    denied(stack, &bob).await?;
    ticket(stack, &alice, &first).await?;
    println!("\nEvery step came out as it should.");
    Ok(())
}

async fn routine(stack: &Stack) -> Result<()> {
    step("A routine request passes");
    let answer = stack.agent().get("/iam/users").send().await?;
    show("GET /iam/users", &answer);
    check("the upstream answered 200", passed(&answer))?;
    check("the upstream saw it once", stack.upstream.seen_at("/iam/users").len() == 1)
}

async fn refused(stack: &Stack) -> Result<()> {
    step("A change by an agent without an owner is refused");
    let agent = stack.agent_with(json!({"sub": "agent-8", "owner": null}));
    let answer = agent.post(ROLES, ROLE).send().await?;
    show(&format!("POST {ROLES} {ROLE}"), &answer);
    check("the answer is a 403 problem", answer.status == 403 && !answer.problem().is_empty())?;
    check("the upstream saw nothing", stack.upstream.seen_at(ROLES).is_empty())
}

/// Returns the hold's id.
async fn approved(stack: &Stack, alice: &Reviewer, owner: &Reviewer) -> Result<String> {
    step("Granting a role is held, and goes on when a reviewer approves");
    println!("   POST {ROLES} {ROLE}");
    let waiting = send_in_background(stack.agent().post(ROLES, ROLE));
    let hold = held(alice, ROLES, &[]).await?;
    println!("   ... is held as {hold}, and waits");
    println!("{}", indented(&format!("{:#}", alice.hold(&hold).await?)));
    check("the agent has no answer yet", !waiting.is_finished())?;
    check("the upstream saw nothing", stack.upstream.seen_at(ROLES).is_empty())?;
    let answer = owner.decide(&hold, Verdict::Approve, "it is my own agent").await?;
    show(&format!("{OWNER}, who owns the agent, approves"), &answer);
    check("the owner is refused", (400..500).contains(&answer.status))?;
    check("the upstream still saw nothing", stack.upstream.seen_at(ROLES).is_empty())?;
    let answer = alice.decide(&hold, Verdict::Approve, "ticket 4711").await?;
    show("alice approves", &answer);
    check("the hold is approved", is_approved(&answer))?;
    let answer = waiting.await??;
    show("the agent's request, at last", &answer);
    check("the upstream answered 200", passed(&answer))?;
    let seen = stack.upstream.seen_at(ROLES);
    check("the upstream saw it once", seen.len() == 1)?;
    check("byte for byte", seen.iter().all(|seen| seen.body == ROLE))?;
    Ok(hold)
}

async fn denied(stack: &Stack, bob: &Reviewer) -> Result<()> {
    step("Deleting a user is held, and refused when a reviewer denies");
    println!("   DELETE {USER}");
    let waiting = send_in_background(stack.agent().call(hyper::Method::DELETE, USER));
    let hold = held(bob, USER, &[]).await?;
    let answer = bob.decide(&hold, Verdict::Deny, "the account is under litigation hold").await?;
    show("bob denies", &answer);
    let answer = waiting.await??;
    show("the agent's request", &answer);
    check("the answer is 403 `denied`", answer.status == 403 && answer.problem() == "denied")?;
    check("the upstream saw nothing", stack.upstream.seen_at(USER).is_empty())
}

async fn ticket(stack: &Stack, alice: &Reviewer, first: &str) -> Result<()> {
    step("A changed body is another request: it is held anew, and gets a ticket when nobody decides in time");
    let call = stack.agent().post(ROLES, OTHER_ROLE);
    let answer = call.clone().send().await?;
    show(&format!("POST {ROLES} {OTHER_ROLE}"), &answer);
    check("the answer is 403 `held` with a task", answer.status == 403 && answer.problem() == "held")?;
    let task = answer.json().get("task").cloned().context("no task")?;
    let part = |name: &str| task.get(name).and_then(Value::as_str).map(str::to_owned).context("no such part of a task");
    let (hold, endpoint) = (part("id")?, part("status_endpoint")?);
    check("it is another hold than the first", hold != first)?;
    let answer = stack.agent().get(&endpoint).send().await?;
    show(&format!("GET {endpoint}"), &answer);
    check("the task is pending", answer.status == 202)?;
    let answer = alice.decide(&hold, Verdict::Approve, "ticket 4712").await?;
    show("alice approves", &answer);
    check("the hold is approved", is_approved(&answer))?;
    let before = stack.upstream.seen_at(ROLES).len();
    let answer = call.clone().send().await?;
    show("the agent sends the same request again", &answer);
    check("the upstream answered 200", passed(&answer))?;
    check("the upstream saw it once", stack.upstream.seen_at(ROLES).len() == before + 1)?;

    step("An approval is good for one request: the same one again is held anew");
    println!("   POST {ROLES} {OTHER_ROLE}");
    let waiting = send_in_background(call);
    let again = held(alice, ROLES, &[&hold]).await?;
    check("it is another hold", again != hold)?;
    check("the upstream saw no more", stack.upstream.seen_at(ROLES).len() == before + 1)?;
    alice.decide(&again, Verdict::Deny, "once was enough").await?;
    let answer = waiting.await??;
    show("alice denies; the agent's request", &answer);
    check("the answer is 403 `denied`", answer.status == 403 && answer.problem() == "denied")?;
    check("the upstream saw no more", stack.upstream.seen_at(ROLES).len() == before + 1)
}

fn send_in_background(call: Call) -> JoinHandle<Result<Response>> {
    tokio::spawn(call.send())
}

/// Waits for a pending hold of this path, other than the known ones.
async fn held(reviewer: &Reviewer, path: &str, known: &[&str]) -> Result<String> {
    until(&format!("a hold of {path}"), LIMIT, async || {
        let pending = reviewer.pending().await.ok()?;
        let mut ids = pending.iter().filter(|hold| crate::reviewer::path_of(hold) == Some(path));
        ids.find_map(|hold| crate::reviewer::id_of(hold).filter(|id| !known.contains(&id.as_str())))
    })
    .await
}

fn passed(answer: &Response) -> bool {
    answer.status == 200 && answer.header(MARK).is_some()
}

fn is_approved(decision: &Response) -> bool {
    decision.status == 200 && decision.json().get("state").and_then(Value::as_str) == Some("approved")
}

fn step(title: &str) {
    println!("== {title}");
}

fn show(what: &str, answer: &Response) {
    println!("   {what}\n   -> {}", answer.status);
    println!("{}", indented(&answer.text()));
}

fn indented(text: &str) -> String {
    text.trim().lines().map(|line| format!("      {line}")).collect::<Vec<_>>().join("\n")
}

fn check(what: &str, came_out: bool) -> Result<()> {
    if !came_out {
        bail!("did not come out as it should: {what}");
    }
    println!("   ok: {what}");
    Ok(())
}
