//! What happens to a request in its own callbacks: head, body, the answers to its callouts, its end.

use std::rc::Rc;

use holdgate_engine::{Body, Checkpoint, Head as HeadVerdict, Policy, Request, RuleIndex, Verdict};
use holdgate_protocol::{
    Json, b64url,
    digest::request_digest,
    gateway::{DetachedAttempt, HoldAnswer, HoldState, Outcome, TaskAnswer},
};

use super::{Answer, AwaitingBody, Gate, Held, Hold, MAX_SKEW, Opened, Step, Stream, StreamId, call};
use crate::{
    Head, Permit, Reply,
    canonical::is_reserved,
    config::{OnStale, Untagged},
    identity::{Identity, IdentityError, identify},
    reply::{NextAction, Problem, RETRY_AFTER, TASKS, Task, task_reply},
};

impl Gate {
    /// A request's head has come. `end`: it has no body. `now` is in Unix milliseconds.
    pub fn head(&mut self, now: u64, id: StreamId, pairs: Vec<(Vec<u8>, Vec<u8>)>, end: bool) -> Opened {
        let reserved = pairs.iter().map(|(name, _)| name).filter(|name| is_reserved(name));
        let mut remove: Vec<String> = reserved.filter_map(|name| String::from_utf8(name.clone()).ok()).collect();
        if !self.config.identity.forward {
            remove.push(self.config.identity.header.clone());
        }
        let step = match Head::read(pairs, &self.config.identity.header) {
            Ok(head) => self.canonical_head(now, id, head, end).unwrap_or_else(Step::Reply),
            Err(malformed) => Step::Reply(Problem::new(400, "malformed", "Malformed request", malformed.0).reply()),
        };
        Opened { remove, step }
    }

    fn canonical_head(&mut self, now: u64, id: StreamId, head: Head, end: bool) -> Result<Step, Reply> {
        let Some(policy) = self.policy.clone().filter(|_| self.feed.cursor.is_some()) else {
            return Err(unavailable("The gateway has no policy in force yet.").reply());
        };
        let stale = self.is_stale(now);
        if stale && self.config.on_stale == OnStale::Deny {
            return Err(unavailable("The gateway has lost touch with the approval service.").reply());
        }
        let identity = match identify(&self.config.identity, &head, now / 1000) {
            Ok(identity) => Some(identity),
            Err(IdentityError::Missing) if self.config.identity.untagged == Untagged::Evaluate => None,
            Err(error) => return Err(unauthorized(&error)),
        };
        self.refuse_suspended(identity.as_ref())?;
        if let Some(hold) = head.path.strip_prefix(TASKS) {
            return self.ask_task(id, &head, hold, identity.as_ref());
        }
        let verdict = policy.evaluate_head(&request(&head, identity.as_ref(), Body::Unread));
        let decides = match verdict {
            HeadVerdict::Decided(Verdict::Hold(_)) => false,
            HeadVerdict::Decided(verdict) => return pass_or_deny(&policy, verdict),
            HeadVerdict::NeedsBody => true,
        };
        if decides && !end {
            let encoded = head.field("content-encoding").is_some_and(|coding| coding != "identity");
            if encoded {
                let detail = "The policy looks into the body; send it without a content-encoding.";
                return Err(Problem::new(415, "unreadable", "Encoded body", detail).reply());
            }
        }
        if head.upgrades() {
            return Err(malformed("A request that may be held cannot ask for an upgrade."));
        }
        let announced = head.field("content-length").and_then(|length| length.parse::<u64>().ok());
        if let Some(length) = announced {
            self.check_size(usize::try_from(length).unwrap_or(usize::MAX))?;
        }
        let awaiting = AwaitingBody { head, identity, decides, arrived: now };
        if end {
            return self.complete(now, id, awaiting, Vec::new());
        }
        self.streams.insert(id, Stream::Body(Box::new(awaiting)));
        Ok(Step::Await)
    }

    /// Whether the stream waits for the rest of its body.
    pub fn awaits_body(&self, id: StreamId) -> bool {
        matches!(self.streams.get(&id), Some(Stream::Body(_)))
    }

    /// So many bytes of the body have come, and more may follow.
    pub fn body_so_far(&mut self, id: StreamId, size: usize) -> Step {
        match self.check_size(size) {
            Ok(()) => Step::Await,
            Err(reply) => {
                self.streams.remove(&id);
                Step::Reply(reply)
            }
        }
    }

    /// The whole body has come.
    pub fn body(&mut self, now: u64, id: StreamId, body: Vec<u8>) -> Step {
        match self.streams.remove(&id) {
            Some(Stream::Body(awaiting)) => {
                let whole = self.check_size(body.len());
                whole.and_then(|()| self.complete(now, id, *awaiting, body)).unwrap_or_else(Step::Reply)
            }
            other => {
                self.streams.extend(other.map(|stream| (id, stream)));
                Step::Await
            }
        }
    }

    /// Trailers have come behind a body that was awaited: they would not be covered by the digest.
    pub fn trailers(&mut self, id: StreamId) -> Step {
        self.streams.remove(&id);
        Step::Reply(malformed("A request whose body is inspected or held cannot have trailers."))
    }

    fn check_size(&self, size: usize) -> Result<(), Reply> {
        if size <= self.config.max_body {
            return Ok(());
        }
        let detail =
            format!("The body is larger than the {} bytes that can be inspected or held.", self.config.max_body);
        Err(Problem::new(413, "unreadable", "Body too large", detail).reply())
    }

    fn complete(&mut self, now: u64, id: StreamId, awaiting: AwaitingBody, body: Vec<u8>) -> Result<Step, Reply> {
        let AwaitingBody { head, identity, decides, arrived } = awaiting;
        let Some(policy) = self.policy.clone() else { return Err(unavailable("The policy is gone.").reply()) };
        let json = if decides || policy.needs().body { parse_body(&body) } else { Ok(None) };
        let json = match json {
            Ok(json) => json,
            Err(error) if decides => {
                let detail =
                    format!("The policy looks into the body, which is not JSON with a single reading: {error}.");
                return Err(Problem::new(400, "unreadable", "Unreadable body", detail).reply());
            }
            // The head alone asks for a hold; rules that look into the body take it as unreadable, hence unknown.
            Err(_) => None,
        };
        let request = request(&head, identity.as_ref(), body_of(json.as_ref()));
        let verdict = policy.evaluate(&request);
        let Verdict::Hold(_) = verdict else { return pass_or_deny(&policy, verdict) };
        let Some(checkpoint) = policy.checkpoint(&request) else {
            return Err(unavailable("The policy holds the request without saying how it is approved.").reply());
        };
        let Some(identity) = identity else { return Err(unauthorized(&IdentityError::Missing)) };
        self.hold(now, id, Pending { head, identity, body, arrived }, &policy, checkpoint)
    }

    fn hold(
        &mut self,
        now: u64,
        id: StreamId,
        pending: Pending,
        policy: &Policy,
        checkpoint: Checkpoint,
    ) -> Result<Step, Reply> {
        let Pending { head, identity, body, arrived } = pending;
        if self.is_stale(now) {
            return Err(unavailable("The gateway has lost touch with the approval service.").reply());
        }
        if self.feed.skew > MAX_SKEW {
            return Err(unavailable("The clocks of the gateway and the approval service disagree.").reply());
        }
        let header = &self.config.identity.header;
        let digest = request_digest(&head.for_digest(), &body, header, &checkpoint.requirement.unbind);
        let digest = digest.map_err(|error| malformed(&error.to_string()))?;
        let Some(nonce) = (self.nonce)() else {
            return Err(unavailable("The gateway has no source of randomness.").reply());
        };
        let wait = checkpoint.wait.saturating_mul(1000).min(self.config.max_wait);
        let held = Held {
            head,
            identity,
            body,
            revision: policy.reference().rev,
            checkpoint,
            digest,
            attempt: b64url(&nonce),
            until: arrived.saturating_add(wait),
        };
        let Some(callout) = self.open_hold(&held) else {
            return Err(unavailable("The hold cannot be written.").reply());
        };
        self.streams.insert(id, Stream::Opening(Box::new(held)));
        Ok(Step::Call(callout))
    }

    fn ask_task(&mut self, id: StreamId, head: &Head, hold: &str, caller: Option<&Identity>) -> Result<Step, Reply> {
        let Some(identity) = caller else { return Err(unauthorized(&IdentityError::Missing)) };
        if head.method != "GET" && head.method != "HEAD" {
            let reply = Problem::new(405, "malformed", "Method not allowed", "Ask for a task with GET.");
            return Err(reply.header("allow", "GET, HEAD").reply());
        }
        if !call::is_hold_id(hold) {
            return Err(unknown_task());
        }
        self.streams.insert(id, Stream::Task(hold.to_owned()));
        Ok(Step::Call(self.task(hold, &identity.agent.key())))
    }

    /// The answer to the stream's own callout.
    pub fn stream_answer(&mut self, now: u64, id: StreamId, answer: Option<Answer>) -> Step {
        match self.streams.remove(&id) {
            Some(Stream::Task(hold)) => Step::Reply(task_answer(&hold, answer.as_ref())),
            Some(Stream::Opening(held)) => {
                self.opened(now, id, held, call::read_hold(answer.as_ref())).unwrap_or_else(Step::Reply)
            }
            other => {
                self.streams.extend(other.map(|stream| (id, stream)));
                Step::Await
            }
        }
    }

    fn opened(&mut self, now: u64, id: StreamId, held: Box<Held>, answer: call::OpenAnswer) -> Result<Step, Reply> {
        let answer = match answer {
            call::OpenAnswer::Hold(answer) => answer,
            call::OpenAnswer::Conflict => {
                let detail = "The Idempotency-Key was used for another request.";
                return Err(Problem::new(409, "conflict", "Conflict", detail).reply());
            }
            call::OpenAnswer::Quota => {
                let detail = "Too many requests wait for approval.";
                let problem = Problem::new(429, "quota", "Too many held requests", detail);
                return Err(problem.next(NextAction::Retry).retry_after(60).reply());
            }
            call::OpenAnswer::Unavailable(why) => {
                self.warn(format!("a hold could not be opened at the approval service: {why}"));
                return Err(unavailable("The approval service cannot take the request now.").reply());
            }
        };
        let HoldAnswer { hold, state, seq, expires_at, .. } = answer;
        let hold = Hold { id: hold, expires_at };
        let state = match self.news.get(&hold.id) {
            Some(news) if news.seq > seq => news.state,
            _ => state,
        };
        match state {
            HoldState::Pending => self.park(now, id, held, hold),
            HoldState::Approved => {
                self.parked_bytes += held.body.len();
                self.streams.insert(id, Stream::Redeeming(held, hold, 0));
                self.to_redeem.push_back(id);
                Ok(Step::Await)
            }
            ended => Err(ended_reply(ended, &held, &hold)),
        }
    }

    /// Parks the stream until its hold is decided, or answers with a ticket where it cannot wait.
    fn park(&mut self, now: u64, id: StreamId, held: Box<Held>, hold: Hold) -> Result<Step, Reply> {
        let bytes = self.parked_bytes.saturating_add(held.body.len());
        if held.until <= now || bytes > self.config.max_parked_bytes {
            return Err(ticket(&held, &hold));
        }
        self.parked_bytes = bytes;
        self.deadlines.insert((held.until, id));
        self.waiting.entry(hold.id.clone()).or_default().push(id);
        self.streams.insert(id, Stream::Parked(held, hold));
        Ok(Step::Await)
    }

    /// The upstream's status of a request that went on.
    pub fn response(&mut self, id: StreamId, status: Option<u16>) {
        match self.streams.remove(&id) {
            Some(Stream::Granted { hold, attempt }) => {
                self.outcomes.push(Outcome { hold, attempt, forwarded: true, status });
            }
            other => self.streams.extend(other.map(|stream| (id, stream))),
        }
    }

    /// The stream has ended, for whatever reason.
    pub fn closed(&mut self, id: StreamId) {
        match self.take(id) {
            Some(Stream::Opening(held) | Stream::Parked(held, _)) => {
                self.detached.push(DetachedAttempt { attempt: held.attempt });
            }
            Some(Stream::Granted { hold, attempt }) => {
                self.outcomes.push(Outcome { hold, attempt, forwarded: true, status: None });
            }
            // A redemption on its way is accounted for when its answer comes.
            Some(Stream::Redeeming(..) | Stream::Body(_) | Stream::Task(_) | Stream::Answered) | None => {}
        }
    }

    /// Evaluates a woken request again, against the policy in force now. `Ok(None)`: redeem the hold.
    pub(super) fn recheck(&self, now: u64, held: &Held) -> Result<Option<Permit>, Reply> {
        self.refuse_suspended(Some(&held.identity))?;
        if !held.identity.is_valid_at(now / 1000) {
            return Err(unauthorized(&IdentityError::Expired));
        }
        let Some(policy) = self.policy.as_deref() else { return Err(unavailable("The policy is gone.").reply()) };
        let json = if policy.needs().body { parse_body(&held.body).unwrap_or(None) } else { None };
        let request = request(&held.head, Some(&held.identity), body_of(json.as_ref()));
        match policy.evaluate(&request) {
            Verdict::Deny(rule) => Err(denied_by_policy(policy, rule)),
            Verdict::Hold(_) => match policy.checkpoint(&request) {
                Some(checkpoint) if checkpoint.hash == held.checkpoint.hash => Ok(None),
                _ => Err(changed_policy(held)),
            },
            verdict @ Verdict::Allow(_) if policy.reference().rev != held.revision => Ok(Permit::of_verdict(verdict)),
            Verdict::Allow(_) => Ok(None),
        }
    }

    fn refuse_suspended(&self, identity: Option<&Identity>) -> Result<(), Reply> {
        match identity {
            Some(identity) if self.suspended.contains(&identity.caller) => {
                Err(Problem::new(403, "suspended", "Agent suspended", "This agent has been suspended.").reply())
            }
            _ => Ok(()),
        }
    }
}

/// A request that is about to be held.
struct Pending {
    head: Head,
    identity: Identity,
    body: Vec<u8>,
    arrived: u64,
}

fn request<'a>(head: &'a Head, identity: Option<&'a Identity>, body: Body<'a>) -> Request<'a> {
    Request { method: &head.method, host: head.host(), path: &head.path, agent: identity.map(Identity::caller), body }
}

fn body_of(json: Option<&Json>) -> Body<'_> {
    json.map_or(Body::Empty, Body::Json)
}

/// `None` for a request without a body.
fn parse_body(body: &[u8]) -> Result<Option<Json>, holdgate_protocol::json::JsonError> {
    if body.is_empty() { Ok(None) } else { Json::parse(body).map(Some) }
}

fn pass_or_deny(policy: &Rc<Policy>, verdict: Verdict) -> Result<Step, Reply> {
    match (Permit::of_verdict(verdict), verdict) {
        (Some(permit), _) => Ok(Step::Forward(permit)),
        (None, Verdict::Deny(rule)) => Err(denied_by_policy(policy, rule)),
        (None, _) => Err(unavailable("The verdict is not one that the gateway can carry out.").reply()),
    }
}

fn denied_by_policy(policy: &Policy, rule: Option<RuleIndex>) -> Reply {
    let rule = rule.map(|rule| policy.rule(rule));
    let reason = rule.and_then(|rule| rule.reason.as_deref());
    let detail = reason.unwrap_or(match rule {
        Some(_) => "A rule of the policy denies this request.",
        None => "No rule of the policy allows this request.",
    });
    Problem::new(403, "denied", "Denied by policy", detail).rule(rule.map(|rule| rule.id.as_str())).reply()
}

fn unavailable(detail: &str) -> Problem<'static> {
    let problem = Problem::new(503, "unavailable", "Approval unavailable", detail);
    problem.next(NextAction::Retry).retry_after(RETRY_AFTER)
}

pub(super) fn service_unavailable() -> Reply {
    unavailable("The approval service cannot confirm the approval now.").reply()
}

fn malformed(detail: &str) -> Reply {
    Problem::new(400, "malformed", "Malformed request", detail).reply()
}

fn unauthorized(error: &IdentityError) -> Reply {
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

fn unknown_task() -> Reply {
    Problem::new(404, "unknown-task", "Unknown task", "No held request of this agent has this id.").reply()
}

fn task_answer(hold: &str, answer: Option<&Answer>) -> Reply {
    if answer.is_some_and(|answer| answer.status == 404) {
        return unknown_task();
    }
    match call::read::<TaskAnswer>(answer).filter(|task| task.hold == hold) {
        Some(task) => task_reply(&Task { id: hold, status: task.state, expires_at: task.expires_at }),
        None => unavailable("The approval service cannot be asked now.").reply(),
    }
}

/// The inline wait is over and nobody has decided: where to ask, and when.
pub(super) fn ticket(held: &Held, hold: &Hold) -> Reply {
    let rule = held.checkpoint.rules.first().map(|rule| rule.id.as_str());
    let detail = held.checkpoint.reason.as_deref().unwrap_or("A person must approve this request before it can go on.");
    Problem::new(403, "held", "Held for human approval", detail)
        .rule(rule)
        .next(NextAction::Wait)
        .task(Task { id: &hold.id, status: HoldState::Pending, expires_at: hold.expires_at })
        .retry_after(RETRY_AFTER)
        .reply()
}

fn changed_policy(held: &Held) -> Reply {
    let rule = held.checkpoint.rules.first().map(|rule| rule.id.as_str());
    let detail = "The policy has changed while the request was held. Send it again to have it held anew.";
    Problem::new(403, "cancelled", "Hold cancelled", detail).rule(rule).next(NextAction::Request).reply()
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
        HoldState::Pending | HoldState::Approved => return ticket(held, hold),
    };
    let rule = held.checkpoint.rules.first().map(|rule| rule.id.as_str());
    let task = Task { id: &hold.id, status: state, expires_at: hold.expires_at };
    Problem::new(403, kind, title, detail).rule(rule).decided_by(who).next(next).task(task).reply()
}
