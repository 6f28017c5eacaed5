//! What happens to a request in its own callbacks: head, body, the answers to its callouts, its end.

use holdgate_engine::{Body, Checkpoint, Head as HeadVerdict, Policy, RuleIndex, Verdict};
use holdgate_protocol::{
    Json, b64url,
    digest::request_digest,
    gateway::{DetachedAttempt, HoldAnswer, HoldState, Outcome, TaskAnswer},
};

use super::{Answer, AwaitingBody, BODILESS_ROOM, Gate, Held, Hold, MAX_SKEW, Opened, Step, Stream, StreamId, call};
use crate::{
    Head, Permit, Reply,
    canonical::{Malformed, is_reserved},
    config::{OnStale, Untagged},
    identity::{Identity, IdentityError, identify},
    reply::{NextAction, Problem, RETRY_AFTER, TASKS, Task, task_reply},
    view::{Parameters, View},
};

impl Gate {
    /// A request's head has come. `end`: it has no body. `now` is in Unix milliseconds.
    pub fn head(&mut self, now: u64, id: StreamId, pairs: Vec<(Vec<u8>, Vec<u8>)>, end: bool) -> Opened {
        let reserved = pairs.iter().map(|(name, _)| name).filter(|name| is_reserved(name));
        let mut remove: Vec<String> = reserved.filter_map(|name| String::from_utf8(name.clone()).ok()).collect();
        if !self.config.identity.forward {
            remove.push(self.config.identity.header.clone());
        }
        let (authority, step) = match Head::read(pairs, &self.config.identity.header) {
            Ok(head) => {
                let authority = head.renamed.then(|| head.authority.clone());
                (authority, self.canonical_head(now, id, head, end).unwrap_or_else(Step::Reply))
            }
            Err(wrong) => (None, Step::Reply(refused(wrong))),
        };
        Opened { remove, authority, step }
    }

    fn canonical_head(&mut self, now: u64, id: StreamId, head: Head, end: bool) -> Result<Step, Reply> {
        let Some(policy) = self.policy.clone().filter(|_| self.feed.cursor.is_some()) else {
            return Err(unavailable("The gateway has no policy in force yet.").reply());
        };
        self.refuse_stale(now)?;
        let identity = match identify(&self.config.identity, &head, now / 1000) {
            Ok(identity) => Some(identity),
            Err(IdentityError::Missing) if self.config.identity.untagged == Untagged::Evaluate => None,
            Err(error) => return Err(unauthorized(&error)),
        };
        self.refuse_suspended(identity.as_ref())?;
        if let Some(hold) = head.path.strip_prefix(TASKS) {
            return self.ask_task(id, &head, hold, identity.as_ref());
        }
        let parameters = Parameters::of(policy.needs(), &head).map_err(refused)?;
        let view = View::new(policy.needs(), &head, &parameters, identity.as_ref(), now).map_err(refused)?;
        match policy.evaluate_head(&view.request(Body::Unread)) {
            HeadVerdict::Decided(Verdict::Hold(_)) => {}
            HeadVerdict::Decided(verdict) => return pass_or_deny(&policy, verdict),
            HeadVerdict::NeedsBody if end => {}
            HeadVerdict::NeedsBody => readable(&head)?,
        }
        if head.upgrades() {
            return Err(malformed("A request that may be held cannot ask for an upgrade."));
        }
        let announced = head.field("content-length").and_then(|length| length.parse::<u64>().ok());
        if let Some(length) = announced {
            self.check_size(usize::try_from(length).unwrap_or(usize::MAX))?;
        }
        let until = now.saturating_add(self.config.body_within);
        let awaiting = AwaitingBody { head, identity, arrived: now, until };
        if end {
            return self.complete(now, id, awaiting, Vec::new());
        }
        self.deadlines.insert((until, id));
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
                self.take_if(id, |_| true);
                Step::Reply(reply)
            }
        }
    }

    /// The whole body has come; `None` where the host has lost it.
    pub fn body(&mut self, now: u64, id: StreamId, body: Option<Vec<u8>>) -> Step {
        let Some(Stream::Body(awaiting)) = self.take_if(id, |stream| matches!(stream, Stream::Body(_))) else {
            return Step::Await;
        };
        let body = body.ok_or_else(|| malformed("The gateway could not read the body."));
        let whole = body.and_then(|body| self.check_size(body.len()).map(|()| body));
        whole.and_then(|body| self.complete(now, id, *awaiting, body)).unwrap_or_else(Step::Reply)
    }

    /// Trailers have come behind a body that was awaited: they would not be covered by the digest.
    pub fn trailers(&mut self, id: StreamId) -> Step {
        self.take_if(id, |_| true);
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

    /// Decides on a whole request. Time has passed since its head came: whatever that decided is decided anew.
    fn complete(&mut self, now: u64, id: StreamId, awaiting: AwaitingBody, body: Vec<u8>) -> Result<Step, Reply> {
        let AwaitingBody { head, identity, arrived, .. } = awaiting;
        let Some(policy) = self.policy.clone() else { return Err(unavailable("The policy is gone.").reply()) };
        self.refuse_stale(now)?;
        self.refuse_lapsed(now, identity.as_ref())?;
        let parameters = Parameters::of(policy.needs(), &head).map_err(refused)?;
        let view = View::new(policy.needs(), &head, &parameters, identity.as_ref(), now).map_err(refused)?;
        let needed = policy.evaluate_head(&view.request(Body::Unread)) == HeadVerdict::NeedsBody;
        let parsed = Parsed::of(&policy, &head, &body);
        if let (true, Parsed::Unreadable(reply)) = (needed, &parsed) {
            return Err(reply.clone());
        }
        let request = view.request(parsed.as_body());
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
        let mut held = Held {
            head,
            identity,
            body: Some(body),
            revision: policy.reference().rev,
            rule: policy.rule(checkpoint.lead).id.clone(),
            checkpoint,
            digest,
            attempt: b64url(&nonce),
            until: arrived.saturating_add(wait),
        };
        let Some(callout) = self.open_hold(&held) else {
            return Err(unavailable("The hold cannot be written.").reply());
        };
        let (in_all, of_agent) = (self.kept.total, self.kept.of(&held.identity.caller));
        if in_all + held.size() > self.config.max_parked_bytes || of_agent + held.size() > self.config.max_agent_bytes {
            // No room: the hold is opened all the same, and the agent gets a ticket at once.
            (held.body, held.until) = (None, 0);
            if in_all + held.size() > self.config.max_parked_bytes.saturating_add(BODILESS_ROOM) {
                return Err(unavailable("The gateway holds as many requests as it can.").reply());
            }
        }
        self.kept.add(&held);
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
        match self.take_if(id, |stream| matches!(stream, Stream::Task(_) | Stream::Opening(_))) {
            Some(Stream::Task(hold)) => Step::Reply(task_answer(&hold, answer.as_ref())),
            Some(Stream::Opening(held)) => {
                self.opened(now, id, held, call::read_hold(answer.as_ref())).unwrap_or_else(Step::Reply)
            }
            _ => Step::Await,
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
            // Opened before the feed began, so that its decision may not be told any more.
            HoldState::Pending if seq < self.feed.base => Err(ticket(&held, &hold)),
            HoldState::Pending => self.park(now, id, held, hold),
            HoldState::Approved => match self.recheck(now, &held)? {
                None => {
                    self.queue_redemption(id, held, hold, 0);
                    Ok(Step::Await)
                }
                Some(permit) => {
                    self.detached.push(DetachedAttempt { attempt: held.attempt });
                    Ok(Step::Forward(permit))
                }
            },
            ended => Err(ended_reply(ended, &held, &hold)),
        }
    }

    /// Parks the stream until its hold is decided, or answers with a ticket where it cannot wait.
    fn park(&mut self, now: u64, id: StreamId, held: Box<Held>, hold: Hold) -> Result<Step, Reply> {
        if held.until <= now || held.body.is_none() {
            return Err(ticket(&held, &hold));
        }
        self.kept.add(&held);
        self.deadlines.insert((held.until, id));
        self.waiting.entry(hold.id.clone()).or_default().push(id);
        self.streams.insert(id, Stream::Parked(held, hold));
        Ok(Step::Await)
    }

    /// Whether the stream went on with a grant, so that its outcome is to be reported.
    pub fn awaits_response(&self, id: StreamId) -> bool {
        matches!(self.streams.get(&id), Some(Stream::Granted { .. }))
    }

    /// The answer to a request that went on; the upstream's status, or `None` where the proxy answered in its place.
    pub fn response(&mut self, id: StreamId, status: Option<u16>) {
        if let Some(Stream::Granted { hold, attempt }) =
            self.take_if(id, |stream| matches!(stream, Stream::Granted { .. }))
        {
            self.outcomes.push(Outcome { hold, attempt, forwarded: true, status });
        }
    }

    /// The stream has ended, for whatever reason.
    pub fn closed(&mut self, id: StreamId) {
        match self.take_if(id, |_| true) {
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
        self.refuse_lapsed(now, Some(&held.identity))?;
        let Some(policy) = self.policy.as_deref() else { return Err(unavailable("The policy is gone.").reply()) };
        let unchanged = policy.reference().rev == held.revision;
        let parsed = match &held.body {
            Some(body) => Parsed::of(policy, &held.head, body),
            None if unchanged => return Ok(None),
            None => return Err(changed_policy(held)),
        };
        let parameters = Parameters::of(policy.needs(), &held.head).map_err(refused)?;
        let view = View::new(policy.needs(), &held.head, &parameters, Some(&held.identity), now).map_err(refused)?;
        let request = view.request(parsed.as_body());
        match policy.evaluate(&request) {
            Verdict::Deny(rule) => Err(denied_by_policy(policy, rule)),
            Verdict::Hold(_) => match policy.checkpoint(&request) {
                Some(checkpoint) if checkpoint.hash == held.checkpoint.hash => Ok(None),
                _ => Err(changed_policy(held)),
            },
            Verdict::Allow(_) if unchanged => Ok(None),
            verdict @ Verdict::Allow(_) => Ok(Permit::of_verdict(verdict)),
        }
    }

    fn refuse_stale(&self, now: u64) -> Result<(), Reply> {
        if self.config.on_stale == OnStale::Deny && self.is_stale(now) {
            return Err(unavailable("The gateway has lost touch with the approval service.").reply());
        }
        Ok(())
    }

    /// Refuses an agent that was suspended, or whose token has expired, while its request waited.
    fn refuse_lapsed(&self, now: u64, identity: Option<&Identity>) -> Result<(), Reply> {
        self.refuse_suspended(identity)?;
        match identity {
            Some(identity) if !identity.is_valid_at(now / 1000) => Err(unauthorized(&IdentityError::Expired)),
            _ => Ok(()),
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

fn refused(wrong: Malformed) -> Reply {
    malformed(&wrong.0)
}

/// A body as rules see it.
enum Parsed {
    Empty,
    Json(Json),
    /// Not to be judged: what rules ask of it is unknown. The reply is for a request that depends on it.
    Unreadable(Reply),
}

impl Parsed {
    fn of(policy: &Policy, head: &Head, body: &[u8]) -> Self {
        // Where no rule looks into bodies, it does not matter what is in this one.
        if body.is_empty() || !policy.needs().body {
            return Parsed::Empty;
        }
        if let Err(reply) = readable(head) {
            return Parsed::Unreadable(reply);
        }
        match Json::parse(body).and_then(Json::without_twins) {
            Ok(json) => Parsed::Json(json),
            Err(error) => {
                let detail =
                    format!("The policy looks into the body, which is not JSON with a single reading: {error}.");
                Parsed::Unreadable(Problem::new(400, "unreadable", "Unreadable body", detail).reply())
            }
        }
    }

    fn as_body(&self) -> Body<'_> {
        match self {
            Parsed::Empty => Body::Empty,
            Parsed::Json(json) => Body::Json(json),
            Parsed::Unreadable(_) => Body::Unread,
        }
    }
}

/// Refuses a body whose head says that it is something else than plain JSON in UTF-8: its reader would see another text.
fn readable(head: &Head) -> Result<(), Reply> {
    let refuse = |detail: &str| Err(Problem::new(415, "unreadable", "Unreadable body", detail).reply());
    if head.field("content-encoding").is_some_and(|coding| !coding.eq_ignore_ascii_case("identity")) {
        return refuse("The policy looks into the body; send it without a content-encoding.");
    }
    let mut parts = head.field("content-type").unwrap_or_default().split(';').map(str::trim);
    let media = parts.next().unwrap_or_default().to_ascii_lowercase();
    let json = media == "application/json" || (media.starts_with("application/") && media.ends_with("+json"));
    let utf8 = parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
            value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    });
    if json && utf8 {
        return Ok(());
    }
    refuse("The policy looks into the body; send it as application/json in UTF-8, with a content-type that says so.")
}

fn pass_or_deny(policy: &Policy, verdict: Verdict) -> Result<Step, Reply> {
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

pub(super) fn late_body() -> Reply {
    Problem::new(408, "malformed", "Request timeout", "The body did not come in time.").next(NextAction::Retry).reply()
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
    let detail = held.checkpoint.reason.as_deref().unwrap_or("A person must approve this request before it can go on.");
    Problem::new(403, "held", "Held for human approval", detail)
        .rule(Some(&held.rule))
        .next(NextAction::Wait)
        .task(Task { id: &hold.id, status: HoldState::Pending, expires_at: hold.expires_at })
        .retry_after(RETRY_AFTER)
        .reply()
}

fn changed_policy(held: &Held) -> Reply {
    let detail = "The policy has changed while the request was held. Send it again to have it held anew.";
    Problem::new(403, "cancelled", "Hold cancelled", detail).rule(Some(&held.rule)).next(NextAction::Request).reply()
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
    let task = Task { id: &hold.id, status: state, expires_at: hold.expires_at };
    Problem::new(403, kind, title, detail).rule(Some(&held.rule)).decided_by(who).next(next).task(task).reply()
}
