//! The course of each request from its head to its one end, and what is told of it: the audit record, figures.
//!
//! Whatever the gate lets go, answers or loses passes [`Gate::settle`], [`Gate::told`] or [`Gate::gone`], and these take the
//! course away. So a request has one end, and one record of it: the gate's, or the approval service's where a
//! transaction of the service is about this very request (it opened a hold that has ended, or redeemed one).

use std::{collections::HashMap, rc::Rc};

use holdgate_engine::{Checkpoint, Policy, RuleIndex, Verdict};
use holdgate_protocol::{Hash, bundle::Mode};

use super::{
    Command, Gate, Step, StreamId,
    audit::{Spool, json, number, put, string},
    figures::Figures,
    rates::Counted,
};
use crate::{Head, IdentityFigures, Permit, Reply, identity::Identity};

/// Bytes of each text of a request that a record repeats.
const MAX_TEXT: usize = 1_024;

/// Rules that a record names.
const MAX_RULES: usize = 64;

/// A request that has not ended.
#[derive(Default)]
pub(super) struct Course {
    /// In Unix milliseconds.
    arrived: u64,
    /// Whether this is a request at all.
    begun: bool,
    /// Whether it asks only what became of another one, which decides nothing.
    asks: bool,
    /// JSON: members of `request`, then the agent, then rules; the last two begin at these places.
    text: Vec<u8>,
    agent_at: usize,
    rules_at: usize,
    rules: usize,
    policy: Option<Rc<Policy>>,
    held: bool,
    by_model: bool,
    digest: Option<Hash>,
    hold: Option<String>,
    /// Whether the hold was opened for this very request, and did not wait for it at the service.
    opened: bool,
    /// What it counts for, so that it counts once.
    pub(super) counted: Counted,
}

/// How a request ended.
#[derive(Clone, Copy)]
struct End {
    effect: &'static str,
    decided_by: &'static str,
    code: &'static str,
    status: Option<u16>,
    /// Whether a redemption let it go on.
    redeemed: bool,
    /// Whether it is its hold that ended so, or goes on.
    of_hold: bool,
}

/// What ends a request.
enum How<'a> {
    Permit(&'a Permit),
    Reply(&'a Reply),
    Gone,
}

impl Course {
    /// Begins anew; `text` keeps its room.
    pub(super) fn begin(&mut self, now: u64) {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        *self = Course { arrived: now, begun: true, text, ..Course::default() };
    }

    /// The canonical head: without its query, which may carry secrets.
    pub(super) fn headed(&mut self, head: &Head) {
        for (name, value) in [("method", head.method()), ("authority", head.authority()), ("path", head.path())] {
            let end = value.floor_char_boundary(MAX_TEXT);
            put(&mut self.text, b"\"");
            put(&mut self.text, name.as_bytes());
            put(&mut self.text, b"\":");
            string(&mut self.text, value.get(..end).unwrap_or_default());
            self.text.push(b',');
        }
        (self.agent_at, self.rules_at) = (self.text.len(), self.text.len());
    }

    pub(super) fn identified(&mut self, identity: &Identity) {
        self.text.truncate(self.agent_at);
        put(&mut self.text, &identity.json);
        self.rules_at = self.text.len();
    }

    /// It asks after another request.
    pub(super) fn asks(&mut self) {
        self.asks = true;
    }

    /// A hold has been asked for.
    pub(super) fn digested(&mut self, digest: Hash) {
        self.digest = Some(digest);
    }

    /// The service has named its hold.
    pub(super) fn holds(&mut self, hold: &str, opened: bool) {
        (self.hold, self.opened) = (Some(hold.to_owned()), opened);
    }

    /// The policy under which it is judged.
    pub(super) fn under(&mut self, policy: &Rc<Policy>) {
        self.policy = Some(policy.clone());
    }

    /// What the policy says of it; `checkpoint` names all rules that hold.
    pub(super) fn judged(&mut self, policy: &Policy, verdict: Verdict, checkpoint: Option<&Checkpoint>) {
        self.text.truncate(self.rules_at);
        (self.rules, self.by_model) = (0, false);
        self.held |= matches!(verdict, Verdict::Hold(_));
        match (verdict, checkpoint) {
            (Verdict::Hold(_), Some(checkpoint)) => {
                let holds = |id: &str| checkpoint.rules.iter().any(|rule| rule.id == id);
                policy.indexed().filter(|(_, rule)| holds(&rule.id)).for_each(|(rule, _)| self.rule(policy, rule));
            }
            (Verdict::Allow(rule) | Verdict::Deny(Some(rule)) | Verdict::Hold(rule), _) => self.rule(policy, rule),
            (Verdict::Deny(None), _) => {}
        }
    }

    fn rule(&mut self, policy: &Policy, index: RuleIndex) {
        let rule = policy.rule(index);
        self.by_model |= policy.is_by_model(index) && rule.mode == Mode::Enforce;
        self.rules += 1;
        if self.rules > MAX_RULES {
            return;
        }
        let text = &mut self.text;
        if self.rules > 1 {
            text.push(b',');
        }
        put(text, b"{\"id\":");
        string(text, &rule.id);
        put(text, b",\"mode\":");
        string(text, if rule.mode == Mode::Shadow { "shadow" } else { "enforce" });
        put(text, b",\"controls\":");
        json(text, &rule.controls);
        text.push(b'}');
    }

    /// Writes the record behind its number.
    fn write(&self, text: &mut Vec<u8>, now: u64, end: End, policy: &[u8]) {
        let (request, rest) = self.text.split_at_checked(self.agent_at).unwrap_or_default();
        let (agent, rules) = rest.split_at_checked(self.rules_at.saturating_sub(self.agent_at)).unwrap_or_default();
        put(text, b",\"t\":");
        number(text, now / 1000);
        for (name, value) in [("effect", end.effect), ("decided_by", end.decided_by), ("code", end.code)] {
            put(text, b",\"");
            put(text, name.as_bytes());
            put(text, b"\":");
            string(text, value);
        }
        put(text, b",\"rules\":[");
        put(text, rules);
        put(text, b"],\"policy\":");
        put(text, if self.policy.is_some() { policy } else { b"null" });
        put(text, b",\"agent\":");
        put(text, if agent.is_empty() { b"null" } else { agent });
        put(text, b",\"request\":{");
        put(text, request);
        put(text, b"\"digest\":");
        json(text, &self.digest);
        put(text, b"},\"hold\":");
        json(text, &self.hold);
        put(text, b",\"status\":");
        json(text, &end.status);
    }
}

/// What a gate tells of requests.
pub(super) struct Telling {
    /// The request whose head is at hand; the others are in `courses`.
    at_hand: Course,
    courses: HashMap<StreamId, Course>,
    pub(super) spool: Spool,
    pub(super) figures: Figures,
    /// The policy that was named last, and the text that names it.
    policy: Option<(Rc<Policy>, Vec<u8>)>,
    /// The time of the last entry, in Unix milliseconds.
    pub(super) now: u64,
    /// What was told of tokens last.
    pub(super) tokens: IdentityFigures,
}

impl Telling {
    pub(super) fn new() -> Self {
        Telling {
            at_hand: Course::default(),
            courses: HashMap::new(),
            spool: Spool::new(),
            figures: Figures::new(),
            policy: None,
            now: 0,
            tokens: IdentityFigures::default(),
        }
    }

    fn end(&mut self, now: u64, course: &mut Course, end: End) {
        self.figures.ended(end.code, course.held.then(|| now.saturating_sub(course.arrived)));
        // The service has written of this very request: its hold ended so, or was redeemed for it.
        let written = end.redeemed || (end.of_hold && course.opened);
        if course.asks || written {
            return;
        }
        if course.agent_at == 0 {
            // A head without a single reading: nothing of it is repeated.
            course.headed(&Head::default());
        }
        if let Some(policy) = &course.policy
            && !self.policy.as_ref().is_some_and(|(named, _)| Rc::ptr_eq(named, policy))
        {
            let mut text = Vec::new();
            json(&mut text, policy.reference());
            self.policy = Some((policy.clone(), text));
        }
        let policy = self.policy.as_ref().map_or(&b"null"[..], |(_, text)| text);
        let verified = course.rules_at > course.agent_at;
        self.spool.add(now, verified, &mut |text| course.write(text, now, end, policy));
    }
}

impl Gate {
    /// A head has come: its course begins.
    pub(super) fn set_out(&mut self, now: u64) {
        self.telling.now = now;
        self.telling.at_hand.begin(now);
    }

    /// The course of a request that has not ended.
    #[inline(never)]
    pub(super) fn course(&mut self, id: StreamId) -> &mut Course {
        let Telling { at_hand, courses, .. } = &mut self.telling;
        if at_hand.begun {
            return at_hand;
        }
        courses.get_mut(&id).unwrap_or(at_hand)
    }

    /// The policy has judged a request that has arrived.
    pub(super) fn judged(
        &mut self,
        now: u64,
        id: StreamId,
        policy: &Rc<Policy>,
        verdict: Verdict,
        checkpoint: Option<&Checkpoint>,
    ) {
        let course = self.course(id);
        course.judged(policy, verdict, checkpoint);
        let took = now.saturating_sub(course.arrived);
        let rule = match verdict {
            Verdict::Allow(rule) | Verdict::Hold(rule) => Some(rule),
            Verdict::Deny(rule) => rule,
        };
        self.telling.figures.judged(policy, rule, took);
    }

    /// A rule in shadow mode would have applied.
    pub(super) fn shadowed(&mut self, id: StreamId, policy: &Rc<Policy>, rule: RuleIndex) {
        self.course(id).rule(policy, rule);
        self.telling.figures.matched(policy, Some(rule));
    }

    /// Passes on what a stream's own callback has to do; where that ends the request, it is told of.
    pub(super) fn settle(&mut self, now: u64, id: StreamId, step: Step) -> Step {
        self.telling.now = now;
        match &step {
            Step::Forward(permit) => self.ended(now, id, &How::Permit(permit)),
            Step::Reply(reply) => self.ended(now, id, &How::Reply(reply)),
            Step::Await | Step::Call(_) if self.telling.at_hand.begun => {
                let mut course = std::mem::take(&mut self.telling.at_hand);
                // It may wait for long, beside many others.
                course.text.shrink_to_fit();
                self.telling.courses.insert(id, course);
            }
            Step::Await | Step::Call(_) => {}
        }
        step
    }

    /// Tells of the requests that commands of the root context end.
    pub(super) fn told(&mut self, now: u64, commands: &[Command]) {
        self.telling.now = now;
        for command in commands {
            match command {
                Command::Forward { stream, permit } => self.ended(now, *stream, &How::Permit(permit)),
                Command::Reply { stream, reply } => self.ended(now, *stream, &How::Reply(reply)),
                Command::Call { .. }
                | Command::Change { .. }
                | Command::Fetch { .. }
                | Command::Keep(_)
                | Command::Warn(_)
                | Command::Measure(_) => {}
            }
        }
    }

    /// The agent has hung up, or the proxy has ended the stream, before the gate has.
    pub(super) fn gone(&mut self, id: StreamId) {
        if self.telling.courses.contains_key(&id) {
            self.ended(self.telling.now, id, &How::Gone);
        }
    }

    #[inline(never)]
    fn ended(&mut self, now: u64, id: StreamId, how: &How<'_>) {
        let telling = &mut self.telling;
        let at_hand = telling.at_hand.begun;
        let course = if at_hand { Some(std::mem::take(&mut telling.at_hand)) } else { telling.courses.remove(&id) };
        let Some(mut course) = course else { return };
        let end = match how {
            How::Permit(permit) => of_permit(permit, &course),
            How::Reply(reply) => of_reply(reply, &course),
            How::Gone => gone(&course),
        };
        telling.end(now, &mut course, end);
        if at_hand {
            // Its text keeps its room for the next one.
            course.begun = false;
            telling.at_hand = course;
        }
    }
}

fn gone(course: &Course) -> End {
    End {
        effect: "deny",
        decided_by: "policy",
        code: "gone",
        status: None,
        redeemed: false,
        of_hold: course.hold.is_some(),
    }
}

fn of_permit(permit: &Permit, course: &Course) -> End {
    End {
        effect: "allow",
        decided_by: if course.by_model { "model" } else { "policy" },
        code: permit.decision(),
        status: None,
        redeemed: permit.is_single_use(),
        of_hold: false,
    }
}

fn of_reply(reply: &Reply, course: &Course) -> End {
    let by_rule = reply.decided_by == "policy" && course.by_model && course.rules > 0;
    End {
        effect: if reply.decision == "held" { "hold" } else { "deny" },
        decided_by: if by_rule && matches!(reply.decision, "denied" | "held") { "model" } else { reply.decided_by },
        code: reply.decision,
        status: Some(reply.status),
        redeemed: false,
        of_hold: reply.of_hold,
    }
}
