//! Callouts to the approval service, and how their answers are read: nothing but the expected JSON is a decision.

use holdgate_protocol::{
    Hash, Json,
    gateway::{Detach, HoldAnswer, MAX_BATCH, OpenHold, Outcomes, Redemption, RedemptionAnswers, Redemptions, VERSION},
    json::FromJson,
};
use serde::Serialize;

use super::{Answer, Callout, Gate, Held, Redeeming};
use crate::{Head, trace};

impl Gate {
    pub(super) fn open_hold(&self, held: &Held) -> Option<Callout> {
        let policy = self.policy.as_ref()?.reference().clone();
        let requirement = &held.checkpoint.requirement;
        let header = &self.config.identity.header;
        let message = OpenHold {
            v: VERSION,
            attempt: held.attempt.clone(),
            agent: held.identity.agent.clone(),
            digest: held.digest,
            components: held.components.to_vec(),
            policy,
            rules: held.checkpoint.rules.clone(),
            requirement: held.checkpoint.hash,
            request: self.redactor.capture(&held.head, held.body.as_deref().unwrap_or_default(), requirement, header),
            agent_reason: held.preference.reason.clone(),
            idempotency_key: held.preference.idempotency_key.clone(),
            asked: held.preference.asked,
        };
        self.post("/v1/holds", &message).map(|callout| Callout { trace: trace::context(&held.head), ..callout })
    }

    pub(super) fn redemptions(&self, items: &[(Redeeming, &Held)]) -> Option<Callout> {
        let item = |(redeeming, held): &(Redeeming, &Held)| Redemption {
            hold: redeeming.hold.clone(),
            attempt: redeeming.attempt.clone(),
            digest: held.digest,
            agent: held.identity.agent.clone(),
            requirement: held.checkpoint.hash,
        };
        self.post("/v1/redemptions", &Redemptions { items: items.iter().map(item).collect() })
    }

    pub(super) fn task(&self, head: &Head, hold: &str, agent: &Hash) -> Callout {
        let callout = self.get(format!("/v1/tasks/{hold}?agent={agent}"));
        Callout { trace: trace::context(head), ..callout }
    }

    /// The long poll of a stream that waits for itself, for so many seconds.
    pub(super) fn poll_task(&self, held: &Held, hold: &str, wait: u64) -> Callout {
        let agent = held.identity.agent.key();
        let callout = self.get(format!("/v1/tasks/{hold}?agent={agent}&wait={wait}"));
        let timeout = callout.timeout.saturating_add(wait.saturating_mul(1000));
        Callout { timeout, trace: trace::context(&held.head), ..callout }
    }

    pub(super) fn state(&self) -> Callout {
        self.get("/v1/state".to_owned())
    }

    /// The long poll: the service keeps it open for `feed_wait`, so that its time-out is longer.
    pub(super) fn feed(&self, after: u64) -> Callout {
        let wait = self.config.feed_wait;
        let callout = self.get(format!("/v1/feed?after={after}&limit={MAX_BATCH}&wait={wait}"));
        Callout { timeout: callout.timeout + wait * 1000, ..callout }
    }

    pub(super) fn bundle(&self, revision: &Hash) -> Callout {
        self.get(format!("/v1/bundles/{revision}"))
    }

    /// Outcomes and hang-ups that have gathered; they are told once, and losing one changes no decision.
    pub(super) fn reports(&mut self) -> Vec<Callout> {
        let mut callouts = Vec::new();
        while !self.outcomes.is_empty() {
            let items = self.outcomes.drain(..self.outcomes.len().min(MAX_BATCH)).collect();
            callouts.extend(self.post("/v1/outcomes", &Outcomes { items }));
        }
        while !self.detached.is_empty() {
            let items = self.detached.drain(..self.detached.len().min(MAX_BATCH)).collect();
            callouts.extend(self.post("/v1/detach", &Detach { items }));
        }
        callouts
    }

    fn get(&self, path: String) -> Callout {
        Callout { method: "GET", path, body: Vec::new(), timeout: self.config.approval.timeout, trace: Vec::new() }
    }

    /// A batch of audit records, which are text already.
    pub(super) fn audit(&self, body: Vec<u8>) -> Callout {
        self.send("/v1/audit", body)
    }

    fn send(&self, path: &str, body: Vec<u8>) -> Callout {
        let timeout = self.config.approval.timeout;
        Callout { method: "POST", path: path.to_owned(), body, timeout, trace: Vec::new() }
    }

    /// `None` where the message cannot be written, which no message of ours brings about.
    fn post<T: Serialize>(&self, path: &str, message: &T) -> Option<Callout> {
        let body = serde_json::to_vec(message).ok()?;
        Some(self.send(path, body))
    }
}

/// Seconds after which an agent may try again where the service does not say.
const QUOTA_AGAIN: u64 = 60;

/// What came back to `POST /v1/holds`.
pub(super) enum OpenAnswer {
    Hold(HoldAnswer),
    Conflict,
    /// Seconds after which another try may find room.
    Quota(u64),
    Suspended,
    Unavailable(String),
}

pub(super) fn read_hold(answer: Option<&Answer>) -> OpenAnswer {
    let Some(answer) = answer else { return OpenAnswer::Unavailable("it did not answer".to_owned()) };
    let json = Json::parse(&answer.body).ok();
    let member = |name: &str| json.as_ref()?.as_object()?.get(name);
    match answer.status {
        403 if member("error").and_then(Json::as_str) == Some("agent_suspended") => OpenAnswer::Suspended,
        200 | 201 | 403 => match parse::<HoldAnswer>(answer).filter(|hold| is_hold_id(&hold.hold)) {
            Some(hold) => OpenAnswer::Hold(hold),
            None => OpenAnswer::Unavailable(format!("its answer with {} is not that to a hold", answer.status)),
        },
        409 => OpenAnswer::Conflict,
        429 => OpenAnswer::Quota(member("retry_after").and_then(Json::as_u64).unwrap_or(QUOTA_AGAIN)),
        status => OpenAnswer::Unavailable(format!("it answered {status}")),
    }
}

/// The answers to a redemption, if there is one for each item and each names the hold that was asked for.
pub(super) fn read_redemptions(answer: Option<&Answer>, asked: &[Redeeming]) -> Option<RedemptionAnswers> {
    let answers: RedemptionAnswers = read(answer)?;
    let fits = answers.items.len() == asked.len()
        && answers.items.iter().zip(asked).all(|(answer, asked)| answer.hold == asked.hold);
    if fits { Some(answers) } else { None }
}

/// A message that came with 200.
pub(super) fn read<T: FromJson>(answer: Option<&Answer>) -> Option<T> {
    answer.filter(|answer| answer.status == 200).and_then(parse)
}

fn parse<T: FromJson>(answer: &Answer) -> Option<T> {
    Json::parse(&answer.body).ok()?.read().ok()
}

/// Whether a text can stand in a path as the id of a hold.
pub(super) fn is_hold_id(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    !text.is_empty() && text.len() <= 128 && text.bytes().all(plain) && text != "." && text != ".."
}
