//! The approval service, played by a script: sans I/O, the same for all drivers.
//!
//! It is faithful where a gateway can tell: it opens and joins holds by their keys, compares requirements with those of the
//! published bundle, lets deadlines pass, signs grants and bundles with fixed keys, and keeps a feed. What it does wrong it does by
//! [`Script`]. Nothing in it waits: a driver hands calls over by [`Service::take`] and fetches answers by [`Service::due`].

mod answers;
mod book;
mod redeem;

use std::collections::BTreeMap;

use holdgate_authoring::cases::{Behaviour, Script, ServiceCall};
use holdgate_protocol::{
    Actor,
    gateway::{FeedItem, HoldState},
};

use answers::{Answered, work};
use book::Book;
pub use book::{Opened, Probe};

use super::driver::CREDENTIAL;

/// A callout of the filter, as it leaves the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The value of the header field, if there is one.
    pub authorization: Option<String>,
    pub body: Vec<u8>,
}

/// The service's name for a call that it has taken.
pub type CallId = u64;

/// What becomes of a call when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// What becomes of it comes by [`Service::due`] under this name.
    Call(CallId),
    /// The proxy refuses the call as soon as the filter makes it: there is no callback.
    Refused,
}

/// What comes back to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    Answer {
        status: u16,
        body: Vec<u8>,
    },
    /// The stream of the answer is reset: the filter's callback has no headers.
    Reset,
}

/// A call that has arrived, for whoever judges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Unix milliseconds.
    pub at: u64,
    pub call: ServiceCall,
    pub method: String,
    pub path: String,
    pub body: Vec<u8>,
}

/// The scripted approval service.
pub struct Service {
    book: Book,
    scripts: Vec<Script>,
    /// By how many seconds its clock is ahead of the gateway's.
    skew: i64,
    next_id: CallId,
    arrived: Vec<Arrived>,
    /// Answers by the moment at which they are due.
    queue: BTreeMap<(u64, u64), (CallId, Delivery)>,
    queued: u64,
    polls: Vec<Poll>,
    /// What can be given once more.
    replay: Replay,
}

/// A call that waits for news.
struct Poll {
    id: CallId,
    call: Call,
    kind: ServiceCall,
    does: Behaviour,
    until: u64,
}

/// What was given before.
#[derive(Default)]
struct Replay {
    grant: Option<String>,
    page: Option<Vec<FeedItem>>,
}

impl Default for Service {
    fn default() -> Self {
        Service::new()
    }
}

impl Service {
    /// A service without a policy, in which all is well.
    pub fn new() -> Self {
        Service {
            book: Book::default(),
            scripts: Vec::new(),
            skew: 0,
            next_id: 1,
            arrived: Vec::new(),
            queue: BTreeMap::new(),
            queued: 0,
            polls: Vec::new(),
            replay: Replay::default(),
        }
    }

    /// Takes a call that the filter makes. `now` is the gateway's time in Unix milliseconds.
    pub fn take(&mut self, now: u64, call: Call) -> Taken {
        self.pass(now);
        let kind = kind_of(&call);
        let does = kind.map_or(Behaviour::Well, |kind| self.behaviour(kind));
        if does == Behaviour::Refused {
            return Taken::Refused;
        }
        let id = self.next_id;
        self.next_id += 1;
        let Some(kind) = kind else {
            self.answer(now, id, 404, error("not_found"));
            return Taken::Call(id);
        };
        if does == Behaviour::Unreachable {
            self.answer(now, id, 503, b"upstream connect error or disconnect/reset before headers".to_vec());
            return Taken::Call(id);
        }
        let Call { method, path, body, authorization } = call.clone();
        self.arrived.push(Arrived { at: now, call: kind, method, path, body });
        if authorization.as_deref() != Some(&format!("Bearer {CREDENTIAL}")) {
            self.answer(now, id, 401, error("credential"));
            return Taken::Call(id);
        }
        match &does {
            Behaviour::Never => {}
            Behaviour::Timeout => self.answer(now, id, 504, b"upstream request timeout".to_vec()),
            Behaviour::Answer { status, body } => self.answer(now, id, *status, body.clone()),
            _ => self.start(now, id, call, kind, does),
        }
        Taken::Call(id)
    }

    /// What comes back by now, in its order. A call can have more than one answer, or none.
    pub fn due(&mut self, now: u64) -> Vec<(CallId, Delivery)> {
        self.pass(now);
        let polls = std::mem::take(&mut self.polls);
        for poll in polls {
            let over = poll.until <= now;
            self.try_poll(now, poll, over);
        }
        let later = self.queue.split_off(&(now + 1, 0));
        std::mem::replace(&mut self.queue, later).into_values().collect()
    }

    /// When something is due if nothing else happens, in Unix milliseconds.
    pub fn next(&self) -> Option<u64> {
        let answers = self.queue.keys().next().map(|(at, _)| *at);
        let polls = self.polls.iter().map(|poll| poll.until).min();
        let deadline = self.book.next_deadline().map(|seconds| self.to_gateway(seconds));
        [answers, polls, deadline].into_iter().flatten().min()
    }

    /// Nobody waits for the answer any more: its stream has ended, or the proxy has given up.
    pub fn forget(&mut self, id: CallId) {
        self.polls.retain(|poll| poll.id != id);
        self.queue.retain(|_, (other, _)| *other != id);
    }

    /// From now on it does this. Of scripts for one kind of call the newest counts, until it is used up.
    pub fn script(&mut self, scripts: &[Script]) {
        for script in scripts {
            self.scripts.retain(|other| other.call != script.call);
            self.scripts.push(script.clone());
        }
    }

    /// Sets its clock: so many seconds ahead of the gateway's.
    pub fn set_clock(&mut self, ahead: i64) {
        self.skew = ahead;
    }

    /// Publishes the canonical bytes of a bundle, signed by the authors.
    pub fn publish(&mut self, now: u64, bytes: &[u8]) -> Result<(), String> {
        let seconds = self.seconds(now);
        self.book.publish(seconds, bytes)
    }

    /// Suspends an agent, or lets it in again.
    pub fn suspend(&mut self, now: u64, agent: &Actor, suspended: bool) {
        let seconds = self.seconds(now);
        self.book.suspend(seconds, agent, suspended);
    }

    /// Changes the state of a hold, as reviewers and others do. `false`: there is no such hold.
    pub fn decide(&mut self, now: u64, hold: &str, state: HoldState, cause: Option<String>) -> bool {
        let seconds = self.seconds(now);
        self.book.change(seconds, hold, state, cause)
    }

    /// The hold of a request, the newest one where several are alike.
    pub fn hold_of(&self, probe: &Probe<'_>) -> Option<&Opened> {
        self.book.find(probe)
    }

    /// All holds, in the order in which they were opened.
    pub fn holds(&self) -> impl Iterator<Item = &Opened> {
        self.book.holds()
    }

    /// All calls that have arrived, in their order.
    pub fn arrived(&self) -> &[Arrived] {
        &self.arrived
    }

    /// The audit records that it has taken.
    pub fn audit(&self) -> &[serde_json::Value] {
        self.book.records()
    }

    /// Its own time in Unix seconds.
    fn seconds(&self, now: u64) -> u64 {
        (now / 1000).saturating_add_signed(self.skew)
    }

    fn to_gateway(&self, seconds: u64) -> u64 {
        seconds.saturating_add_signed(-self.skew).saturating_mul(1000)
    }

    /// Lets deadlines pass.
    fn pass(&mut self, now: u64) {
        let seconds = self.seconds(now);
        self.book.expire(seconds);
    }

    fn behaviour(&mut self, kind: ServiceCall) -> Behaviour {
        let found = self.scripts.iter().rposition(|script| script.call.is_none_or(|call| call == kind));
        let Some(script) = found.and_then(|place| self.scripts.get_mut(place)) else { return Behaviour::Well };
        let does = script.does.clone();
        if let Some(times) = &mut script.times {
            *times -= 1;
            if *times == 0 {
                self.scripts.retain(|script| script.times != Some(0));
            }
        }
        does
    }

    fn start(&mut self, now: u64, id: CallId, call: Call, kind: ServiceCall, does: Behaviour) {
        let wait = wait_of(&call.path);
        let until = now.saturating_add(wait.saturating_mul(1000));
        // What goes wrong with a long poll goes wrong at once.
        let waits = wait > 0 && matches!(does, Behaviour::Well | Behaviour::Twice | Behaviour::Patched(_));
        self.try_poll(now, Poll { id, call, kind, does, until }, !waits);
    }

    /// Does the work of a call; one that waits for news waits on, unless its time is over.
    fn try_poll(&mut self, now: u64, poll: Poll, over: bool) {
        let seconds = self.seconds(now);
        let answered = work(&mut self.book, &mut self.replay, seconds, poll.kind, &poll.call, &poll.does);
        if answered.empty && !over {
            self.polls.push(poll);
        } else {
            self.deliver(now, poll, answered);
        }
    }

    fn deliver(&mut self, now: u64, poll: Poll, answered: Answered) {
        let Poll { id, kind, does, .. } = poll;
        let Answered { status, body, .. } = answered;
        match does {
            Behaviour::Late(by) => self.answer(now.saturating_add(by), id, status, body),
            Behaviour::Twice => {
                self.answer(now, id, status, body.clone());
                self.answer(now, id, status, body);
            }
            Behaviour::Reset => self.queue(now, id, Delivery::Reset),
            Behaviour::NotJson => self.answer(now, id, 200, b"<html>The service is busy.</html>".to_vec()),
            Behaviour::TooLong => self.answer(now, id, status, answers::too_long(kind, body)),
            Behaviour::Patched(patch) => self.answer(now, id, status, answers::patched(&body, &patch)),
            _ => self.answer(now, id, status, body),
        }
    }

    fn answer(&mut self, at: u64, id: CallId, status: u16, body: Vec<u8>) {
        self.queue(at, id, Delivery::Answer { status, body });
    }

    fn queue(&mut self, at: u64, id: CallId, delivery: Delivery) {
        self.queued += 1;
        self.queue.insert((at, self.queued), (id, delivery));
    }
}

/// The kind of a call; `None` where the service has no such address.
fn kind_of(call: &Call) -> Option<ServiceCall> {
    let path = call.path.split('?').next().unwrap_or_default();
    Some(match (call.method.as_str(), path) {
        ("POST", "/v1/holds") => ServiceCall::Holds,
        ("POST", "/v1/redemptions") => ServiceCall::Redemptions,
        ("POST", "/v1/outcomes") => ServiceCall::Outcomes,
        ("POST", "/v1/detach") => ServiceCall::Detach,
        ("POST", "/v1/audit") => ServiceCall::Audit,
        ("GET", "/v1/feed") => ServiceCall::Feed,
        ("GET", "/v1/state") => ServiceCall::State,
        ("GET", path) if path.starts_with("/v1/bundles/") => ServiceCall::Bundles,
        ("GET", path) if path.starts_with("/v1/tasks/") => ServiceCall::Tasks,
        _ => return None,
    })
}

/// The value of a parameter of a query.
fn parameter<'p>(path: &'p str, name: &str) -> Option<&'p str> {
    let (_, query) = path.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// Seconds for which a call may wait for news.
fn wait_of(path: &str) -> u64 {
    parameter(path, "wait").and_then(|wait| wait.parse().ok()).unwrap_or(0)
}

fn error(word: &str) -> Vec<u8> {
    serde_json::json!({"error": word, "detail": "As the case says."}).to_string().into_bytes()
}

#[cfg(test)]
mod tests;
