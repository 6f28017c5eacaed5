//! A held request: its hold at the approval service, its wait, what follows a decision, its outcome.

use std::rc::Rc;

use holdgate_engine::{Checkpoint, Policy, Request, Verdict};
use holdgate_protocol::{
    b64url,
    digest::{mcp_request_digest, request_digest},
    gateway::{DetachedAttempt, HoldAnswer, HoldState, Outcome, TaskAnswer},
};

use sha2::{Digest as _, Sha256};

use super::{
    AGENT_BODILESS_ROOM, Answer, BODILESS_ROOM, Gate, Held, Hold, MAX_ASKED, MAX_NAMES, MIN_POLL, Step, Stream,
    StreamId, TASK_INTERVAL,
    arrive::Parsed,
    call,
    told::{
        changed_policy, clocks_disagree, conflict, denied_before, denied_by_policy, ended_reply, malformed,
        method_not_allowed, over_quota, reconfigured, refused, slow_down, suspended, task_answer, ticket, unauthorized,
        unavailable, unknown_task,
    },
};
use crate::{
    Head, Permit, Reply,
    config::Wake,
    identity::{Identity, IdentityError},
    mcp::Message,
    preference::Preference,
    reply::RETRY_AFTER,
    view::{Parameters, View},
};

/// A request that is about to be held.
pub(super) struct Pending {
    pub(super) head: Head,
    pub(super) identity: Rc<Identity>,
    pub(super) body: Vec<u8>,
    /// What the body says at an MCP endpoint.
    pub(super) message: Option<Message>,
    pub(super) arrived: u64,
}

impl Gate {
    pub(super) fn hold(
        &mut self,
        now: u64,
        id: StreamId,
        pending: Pending,
        policy: &Policy,
        checkpoint: Checkpoint,
    ) -> Result<Step, Reply> {
        let Pending { mut head, identity, body, message, arrived } = pending;
        if self.is_stale(now) {
            return Err(unavailable("The gateway has lost touch with the approval service."));
        }
        if !self.feed.clock.agrees() {
            return Err(clocks_disagree());
        }
        let preference = Preference::of(&head, self.config.reason_header.as_deref()).map_err(refused)?;
        let wait = preference.wait(checkpoint.wait.saturating_mul(1000).min(self.config.max_wait));
        let asker = message.as_ref().and_then(|message| message.asker(&head, wait >= MIN_POLL));
        let (header, unbind) = (&self.config.identity.header, &checkpoint.requirement.unbind);
        let digest = match message {
            Some(message) => mcp_request_digest(&head.for_digest(), message.into_json(), header, unbind),
            None => request_digest(&head.for_digest(), &body, header, unbind),
        };
        let digest = digest.map_err(|error| malformed(&error.to_string()))?;
        if digest.components.iter().map(String::len).sum::<usize>() > MAX_NAMES {
            // A grant names each of them, and would be too long to be read.
            return Err(malformed("The names of the header fields are too long to be covered by an approval."));
        }
        self.course(id).digested(digest.digest);
        if self.asks_too_fast(now, &digest.digest.to_string(), &identity) {
            return Err(slow_down());
        }
        let attempt = self.attempt(now).ok_or_else(|| unavailable("The gateway has no source of randomness."))?;
        head.compact();
        let mut held = Held {
            head,
            identity,
            body: Some(body),
            revision: policy.reference().rev,
            rule: policy.rule(checkpoint.lead).id.clone(),
            checkpoint: self.checkpoints.share(checkpoint),
            digest: digest.digest,
            components: self.components.share(digest.components),
            attempt,
            preference,
            asker,
            configuration: self.configuration(),
            until: arrived.saturating_add(wait),
        };
        let Some(callout) = self.open_hold(&held) else {
            return Err(unavailable("The hold cannot be written."));
        };
        let (in_all, of_agent) = (self.kept.total, self.kept.of(&held.identity.caller));
        if in_all + held.size() > self.config.max_parked_bytes || of_agent + held.size() > self.config.max_agent_bytes {
            // No room: the hold is opened all the same, and the agent gets a ticket at once.
            (held.body, held.until) = (None, 0);
            if of_agent + held.size() > self.config.max_agent_bytes.saturating_add(AGENT_BODILESS_ROOM) {
                return Err(over_quota(RETRY_AFTER));
            }
            if in_all + held.size() > self.config.max_parked_bytes.saturating_add(BODILESS_ROOM) {
                return Err(unavailable("The gateway holds as many requests as it can."));
            }
        }
        self.kept.add(&held);
        self.streams.insert(id, Stream::Opening(Box::new(held)));
        Ok(Step::Call(callout))
    }

    /// A new name for a try, which nobody else can foresee: some hosts have poor randomness, so that a secret, the time and
    /// a count go in too.
    pub(super) fn attempt(&mut self, now: u64) -> Option<String> {
        let random = self.host.nonce()?;
        self.attempts += 1;
        let digest = Sha256::new().chain_update(self.secret).chain_update(random);
        let digest = digest.chain_update(now.to_be_bytes()).chain_update(self.attempts.to_be_bytes()).finalize();
        digest.first_chunk::<16>().map(|attempt| b64url(attempt))
    }

    pub(super) fn ask_task(
        &mut self,
        now: u64,
        id: StreamId,
        head: &Head,
        hold: &str,
        caller: Option<&Identity>,
    ) -> Result<Step, Reply> {
        let Some(identity) = caller else { return Err(unauthorized(&IdentityError::Missing)) };
        if head.method() != "GET" && head.method() != "HEAD" {
            return Err(method_not_allowed());
        }
        if !call::is_hold_id(hold) {
            return Err(unknown_task());
        }
        if self.asks_too_fast(now, hold, identity) {
            return Err(slow_down());
        }
        self.has_asked(now, hold, identity);
        self.course(id).asks();
        self.streams.insert(id, Stream::Task(hold.to_owned()));
        Ok(Step::Call(self.task(head, hold, &identity.agent.key())))
    }

    /// Whether an agent asked after this task, or got a ticket for this very request, a moment ago: each costs the service a
    /// write or a read. Every worker counts for itself, and forgets when there is too much to remember.
    fn asks_too_fast(&self, now: u64, what: &str, identity: &Identity) -> bool {
        let asked = self.asked.get(&(what.to_owned(), identity.caller.clone()));
        asked.is_some_and(|before| now.saturating_sub(*before) < TASK_INTERVAL)
    }

    fn has_asked(&mut self, now: u64, what: &str, identity: &Identity) {
        if self.asked.len() >= MAX_ASKED {
            self.asked.retain(|_, asked| now.saturating_sub(*asked) < TASK_INTERVAL);
        }
        if self.asked.len() >= MAX_ASKED {
            self.asked.clear();
        }
        self.asked.insert((what.to_owned(), identity.caller.clone()), now);
    }

    /// The answer to the stream's own callout.
    pub fn stream_answer(&mut self, now: u64, id: StreamId, answer: Option<Answer>) -> Step {
        let alone = self.config.wake == Wake::Stream;
        let stream = match self.streams.get(&id) {
            Some(Stream::Task(_) | Stream::Opening(_) | Stream::Polling(..)) => self.take_if(id, |_| true),
            Some(Stream::Redeeming(..)) if alone => self.take_if(id, |_| true),
            _ => None,
        };
        let answer = answer.as_ref();
        let failed = answer.is_none_or(|answer| answer.status >= 500);
        if let (Some(stream), true) = (&stream, failed) {
            self.telling.figures.count("callout_failures.call.", stream.call(), 1);
        }
        let created = answer.is_some_and(|answer| answer.status == 201);
        let step = match stream {
            Some(Stream::Task(hold)) => Err(task_answer(&hold, answer)),
            Some(Stream::Opening(held)) => self.opened(now, id, held, call::read_hold(answer), created),
            Some(Stream::Polling(held, hold, since)) => self.polled(now, id, held, hold, since, answer),
            Some(Stream::Redeeming(held, hold, sent)) => self.redeemed_alone(now, id, held, hold, sent, answer),
            _ => Ok(Step::Await),
        };
        self.settle(now, id, step.unwrap_or_else(Step::Reply))
    }

    /// The answer to `POST /v1/holds`; `created`: the hold is this very request's.
    fn opened(
        &mut self,
        now: u64,
        id: StreamId,
        held: Box<Held>,
        answer: call::OpenAnswer,
        created: bool,
    ) -> Result<Step, Reply> {
        let answer = match answer {
            call::OpenAnswer::Hold(answer) => answer,
            call::OpenAnswer::Conflict => return Err(conflict()),
            call::OpenAnswer::Quota(again) => return Err(over_quota(again)),
            call::OpenAnswer::Suspended => return Err(suspended()),
            call::OpenAnswer::Unavailable(why) => {
                self.warn(format!("a hold could not be opened at the approval service: {why}"));
                return Err(unavailable("The approval service cannot take the request now."));
            }
        };
        let HoldAnswer { hold, state, seq, expires_at, request_state } = answer;
        self.course(id).holds(&hold, created);
        let hold = Hold { id: hold, expires_at, request_state };
        let state = match self.news.get(&hold.id) {
            Some(news) if news.seq > seq => news.state,
            _ => state,
        };
        // Opened before the feed began, so that its decision may not be told any more.
        if state == HoldState::Pending && self.config.wake == Wake::Feed && seq < self.feed.base {
            return Err(ticket(now, &held, &hold));
        }
        if state == HoldState::Pending && (held.until <= now || held.body.is_none()) {
            // Its agent gets a ticket without having waited, and is not to come back at once.
            self.has_asked(now, &held.digest.to_string(), &held.identity);
        }
        if state == HoldState::Denied {
            return Err(denied_before(&held, &hold, expires_at.saturating_sub(now / 1000)));
        }
        self.follow(now, id, held, hold, state)
    }

    /// The answer to a stream's own long poll.
    fn polled(
        &mut self,
        now: u64,
        id: StreamId,
        held: Box<Held>,
        hold: Hold,
        since: u64,
        answer: Option<&Answer>,
    ) -> Result<Step, Reply> {
        let task = call::read::<TaskAnswer>(answer).filter(|task| task.hold == hold.id);
        // Asking again at once would be a storm: the hold stays, and the agent gets a ticket.
        let waits = |task: &TaskAnswer| task.state != HoldState::Pending || now.saturating_sub(since) >= MIN_POLL;
        match task.filter(waits) {
            Some(task) => self.follow(now, id, held, hold, task.state),
            None => Err(ticket(now, &held, &hold)),
        }
    }

    fn follow(&mut self, now: u64, id: StreamId, held: Box<Held>, hold: Hold, state: HoldState) -> Result<Step, Reply> {
        match state {
            HoldState::Pending => self.park(now, id, held, hold),
            HoldState::Approved => match self.recheck(now, id, &held)? {
                None => self.redeem(id, held, hold),
                Some(permit) => {
                    self.let_on_without_hold(id, held);
                    Ok(Step::Forward(permit))
                }
            },
            ended => Err(ended_reply(ended, &held, &hold)),
        }
    }

    /// Parks the stream until its hold is decided, or answers with a ticket where it cannot wait.
    fn park(&mut self, now: u64, id: StreamId, held: Box<Held>, hold: Hold) -> Result<Step, Reply> {
        if held.until <= now || held.body.is_none() {
            return Err(ticket(now, &held, &hold));
        }
        self.kept.add(&held);
        if self.config.wake == Wake::Stream {
            let wait = held.until.saturating_sub(now).div_ceil(1000).min(self.config.feed_wait);
            let callout = self.poll_task(&held, &hold.id, wait);
            self.streams.insert(id, Stream::Polling(held, hold, now));
            return Ok(Step::Call(callout));
        }
        self.deadlines.insert((held.until, id));
        self.waiting.add(&hold.id, id);
        self.streams.insert(id, Stream::Parked(held, hold));
        Ok(Step::Await)
    }

    /// Whether the answer to a request that went on is looked at at all.
    pub fn awaits_answer(&self, id: StreamId) -> bool {
        matches!(self.streams.get(&id), Some(Stream::Granted { .. } | Stream::Listing(_)))
    }

    /// Whether the stream went on with a grant, so that its outcome is to be reported.
    pub fn awaits_response(&self, id: StreamId) -> bool {
        matches!(self.streams.get(&id), Some(Stream::Granted { .. }))
    }

    /// The answer to a request that went on; the upstream's status, or `None` where the proxy answered in its place.
    pub fn response(&mut self, id: StreamId, status: Option<u16>) {
        if let Some(Stream::Granted { hold, attempt, listing }) =
            self.take_if(id, |stream| matches!(stream, Stream::Granted { .. }))
        {
            self.outcomes.push(Outcome { hold, attempt, forwarded: true, status });
            if let Some(listing) = listing {
                self.streams.insert(id, Stream::Listing(listing));
            }
        }
    }

    /// The stream has ended, for whatever reason.
    pub fn closed(&mut self, id: StreamId) {
        self.gone(id);
        match self.take_if(id, |_| true) {
            Some(Stream::Opening(held) | Stream::Parked(held, _) | Stream::Polling(held, ..)) => {
                self.detached.push(DetachedAttempt { attempt: held.attempt });
            }
            Some(Stream::Granted { hold, attempt, .. }) => {
                self.outcomes.push(Outcome { hold, attempt, forwarded: true, status: None });
            }
            // Not sent yet: the approval is still there for another try.
            Some(Stream::Redeeming(held, _, 0)) => self.detached.push(DetachedAttempt { attempt: held.attempt }),
            // The host forgets the callout of a stream that ended; that of the root is accounted for when its answer comes.
            Some(Stream::Redeeming(held, hold, _)) if self.config.wake == Wake::Stream => {
                let (hold, attempt) = (hold.id, held.attempt);
                self.outcomes.push(Outcome { hold, attempt, forwarded: false, status: None });
            }
            _ => {}
        }
    }

    /// Evaluates a woken request again, against the policy in force now. `Ok(None)`: redeem the hold.
    pub(super) fn recheck(&mut self, now: u64, id: StreamId, held: &Held) -> Result<Option<Permit>, Reply> {
        self.judge_again(now, id, held).map_err(|reply| held.told(reply, None))
    }

    fn judge_again(&mut self, now: u64, id: StreamId, held: &Held) -> Result<Option<Permit>, Reply> {
        self.refuse_lapsed(now, &held.head, Some(&held.identity))?;
        if self.configuration() != held.configuration {
            return Err(reconfigured());
        }
        let Some(policy) = self.policy.clone() else { return Err(unavailable("The policy is gone.")) };
        self.course(id).under(&policy);
        let unchanged = policy.reference().rev == held.revision;
        let parsed = match &held.body {
            Some(body) => Parsed::of(&policy, &self.config.mcp, &held.head, body)?,
            None if unchanged => return Ok(None),
            None => return Err(changed_policy(held)),
        };
        let parameters = Parameters::of(&policy, &held.head).map_err(refused)?;
        let view = View::new(policy.needs(), &held.head, &parameters, Some(&held.identity), now).map_err(refused)?;
        let request = parsed.seen_by(&view);
        let rates = self.count(now, id, &policy, &request, true);
        let request = Request { rates: &rates, ..request };
        let verdict = policy.evaluate(&request);
        let checkpoint = policy.checkpoint(&request);
        match verdict {
            Verdict::Hold(_) if checkpoint.as_ref().is_some_and(|now| now.hash == held.checkpoint.hash) => {
                return Ok(None);
            }
            Verdict::Allow(_) if unchanged => return Ok(None),
            _ => self.course(id).judged(&policy, verdict, checkpoint.as_ref()),
        }
        match verdict {
            Verdict::Deny(rule) => Err(denied_by_policy(&policy, rule)),
            Verdict::Hold(_) => Err(changed_policy(held)),
            Verdict::Allow(_) => Ok(Permit::of_verdict(verdict)),
        }
    }
}
