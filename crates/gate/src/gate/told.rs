//! What agents are told by the gate, one function for each thing that can happen.

use holdgate_engine::{Policy, RuleIndex};
use holdgate_protocol::gateway::{HoldState, TaskAnswer};

use super::{Answer, Held, Hold, call};
use crate::{
    Reply,
    canonical::Malformed,
    identity::IdentityError,
    reply::{NextAction, Problem, RETRY_AFTER, Task, task_reply},
};

pub(super) fn denied_by_policy(policy: &Policy, rule: Option<RuleIndex>) -> Reply {
    let rule = rule.map(|rule| policy.rule(rule));
    let reason = rule.and_then(|rule| rule.reason.as_deref());
    let detail = reason.unwrap_or(match rule {
        Some(_) => "A rule of the policy denies this request.",
        None => "No rule of the policy allows this request.",
    });
    Problem::new(403, "denied", "Denied by policy", detail).rule(rule.map(|rule| rule.id.as_str())).reply()
}

/// What cannot be decided now; the same request may be sent again later.
pub(super) fn unavailable(detail: &str) -> Reply {
    let problem = Problem::new(503, "unavailable", "Approval unavailable", detail);
    problem.next(NextAction::Retry).retry_after(RETRY_AFTER).reply()
}

/// Who counts as an agent may have changed while the request waited. Its hold stays as it is.
pub(super) fn reconfigured() -> Reply {
    unavailable("The gateway's configuration has changed while the request was held. Send it again.")
}

/// Nothing can be said of a token whose issuer's keys are not there.
pub(super) fn keys_unavailable() -> Reply {
    unavailable("The keys of the token's issuer cannot be had now.")
}

/// The clocks are too far apart for a hold.
pub(super) fn clocks_disagree() -> Reply {
    let detail = "The clocks of the gateway and the approval service disagree.";
    let problem = Problem::new(503, "unavailable", "Approval unavailable", detail).decision("clock");
    problem.next(NextAction::Retry).retry_after(RETRY_AFTER).reply()
}

/// A body that rules look into and that has no single reading.
pub(super) fn unreadable(status: u16, detail: &str) -> Reply {
    Problem::new(status, "unreadable", "Unreadable body", detail).reply()
}

pub(super) fn too_large(limit: usize) -> Reply {
    let detail = format!("The body is larger than the {limit} bytes that can be inspected or held.");
    Problem::new(413, "unreadable", "Body too large", detail).reply()
}

pub(super) fn suspended() -> Reply {
    Problem::new(403, "suspended", "Agent suspended", "This agent has been suspended.").reply()
}

/// A body may come, and nothing says how long it is.
pub(super) fn length_required() -> Reply {
    let detail = "A request with a body needs a content-length here.";
    Problem::new(411, "malformed", "Length required", detail).reply()
}

pub(super) fn method_not_allowed() -> Reply {
    let problem = Problem::new(405, "malformed", "Method not allowed", "Ask for a task with GET.");
    problem.header("allow", "GET, HEAD").reply()
}

pub(super) fn conflict() -> Reply {
    Problem::new(409, "conflict", "Conflict", "The Idempotency-Key was used for another request.").reply()
}

pub(super) fn over_quota(again: u64) -> Reply {
    let problem = Problem::new(429, "quota", "Too many held requests", "Too many requests wait for approval.");
    problem.next(NextAction::Retry).retry_after(again).reply()
}

/// Bodies of one agent that are on their way fill its share of the room.
pub(super) fn too_many_bodies() -> Reply {
    let detail = "Bodies of this agent that have not come whole take too much room. Send fewer at once.";
    let problem = Problem::new(429, "quota", "Too many bodies at once", detail);
    problem.next(NextAction::Retry).retry_after(RETRY_AFTER).reply()
}

pub(super) fn service_unavailable() -> Reply {
    unavailable("The approval service cannot confirm the approval now.")
}

pub(super) fn late_body() -> Reply {
    Problem::new(408, "malformed", "Request timeout", "The body did not come in time.").next(NextAction::Retry).reply()
}

pub(super) fn malformed(detail: &str) -> Reply {
    Problem::new(400, "malformed", "Malformed request", detail).reply()
}

pub(super) fn unauthorized(error: &IdentityError) -> Reply {
    let challenge = match error {
        IdentityError::Missing => "Bearer realm=\"holdgate\"".to_owned(),
        _ => "Bearer realm=\"holdgate\", error=\"invalid_token\"".to_owned(),
    };
    let detail = match error {
        // The header of a forged token may say anything; it is not repeated.
        IdentityError::Signature(_) => "The token's signature does not count.".to_owned(),
        other => sentence(&other.to_string()),
    };
    let problem = Problem::new(401, "identity", "Agent not identified", detail).next(NextAction::Request);
    problem.header("www-authenticate", challenge).reply()
}

/// An error's text as a sentence: a capital letter and a full stop.
fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(characters).chain(['.']).collect()
}

pub(super) fn unknown_task() -> Reply {
    Problem::new(404, "unknown-task", "Unknown task", "No held request of this agent has this id.").reply()
}

pub(super) fn task_answer(hold: &str, answer: Option<&Answer>) -> Reply {
    if answer.is_some_and(|answer| answer.status == 404) {
        return unknown_task();
    }
    match call::read::<TaskAnswer>(answer).filter(|task| task.hold == hold) {
        Some(task) => task_reply(&Task { id: hold, status: task.state, expires_at: task.expires_at }),
        None => unavailable("The approval service cannot be asked now."),
    }
}

/// An agent asks after its task more often than it is told to.
pub(super) fn slow_down() -> Reply {
    let detail = "Ask after this task less often: wait as long as retry-after says.";
    Problem::new(429, "slow_down", "Asked too often", detail).next(NextAction::Wait).retry_after(RETRY_AFTER).reply()
}

/// The inline wait is over and nobody has decided: where to ask, and when.
pub(super) fn ticket(now: u64, held: &Held, hold: &Hold) -> Reply {
    let detail = held.checkpoint.reason.as_deref().unwrap_or("A person must approve this request before it can go on.");
    let task = Task { id: &hold.id, status: HoldState::Pending, expires_at: hold.expires_at };
    let respond_async = held.preference.asked.respond_async;
    let mut problem = Problem::new(if respond_async { 202 } else { 403 }, "held", "Held for human approval", detail);
    if respond_async {
        let applied = problem.header("preference-applied", "respond-async");
        problem = applied.header("location", task.status_endpoint());
    }
    let reply =
        problem.rule(Some(&held.rule)).next(NextAction::Wait).task(task).retry_after(RETRY_AFTER).of_hold().reply();
    // Whoever gets a state comes back at once: only the inline wait keeps that from being a storm.
    let waited = held.until > 0 && held.until <= now;
    held.told(reply, Some(hold.request_state.as_str()).filter(|_| waited))
}

pub(super) fn changed_policy(held: &Held) -> Reply {
    let detail = "The policy has changed while the request was held. Send it again to have it held anew.";
    let problem = Problem::new(403, "cancelled", "Hold cancelled", detail).rule(Some(&held.rule));
    held.told(problem.next(NextAction::Request).reply(), None)
}

/// The same request was denied a while ago, and the denial still stands for so many seconds.
pub(super) fn denied_before(held: &Held, hold: &Hold, again: u64) -> Reply {
    let mut reply = ended_reply(HoldState::Denied, held, hold);
    reply.headers.push(("retry-after", again.to_string()));
    reply
}

/// What the agent is told where a hold ended without a grant.
pub(super) fn ended_reply(state: HoldState, held: &Held, hold: &Hold) -> Reply {
    let (kind, title, detail, who, next) = match state {
        HoldState::Denied => {
            ("denied", "Denied by a reviewer", "A reviewer has denied this request.", "human", NextAction::None)
        }
        HoldState::Expired => {
            ("expired", "Hold expired", "The time limit of the hold is over.", "timeout", NextAction::Request)
        }
        HoldState::Used => {
            let detail = "The approval has already been used by another try. Each one needs an approval of its own.";
            ("used", "Approval used", detail, "policy", NextAction::Request)
        }
        HoldState::Cancelled => {
            ("cancelled", "Hold cancelled", "The hold was cancelled before it was used.", "policy", NextAction::Request)
        }
        // Not a state in which a hold ends: the ticket says that it goes on.
        HoldState::Pending | HoldState::Approved => return ticket(0, held, hold),
    };
    let task = Task { id: &hold.id, status: state, expires_at: hold.expires_at };
    let problem = Problem::new(403, kind, title, detail).rule(Some(&held.rule)).decided_by(who);
    held.told(problem.next(next).task(task).of_hold().reply(), None)
}

pub(super) fn refused(wrong: Malformed) -> Reply {
    malformed(&wrong.0)
}
