//! Reviewers' decisions, one or thousands in one transaction, and taking back what was not used yet.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    sync::Arc,
};

use holdgate_protocol::{Hash, gateway::HoldState};
use serde_json::{Value, json};

use super::{Service, Step, accountability, overdue, transitions, who::Who};
use crate::{
    domain::{
        Accountability, Approval, Ballot, Cause, Change, DecidedBy, Hold, Refusal, Reviewer, Ruling, Stage, Verdict,
        decision,
    },
    store::{
        Command, StoreError, Tx,
        holds::{self, Decision},
        ledger::Event,
        people::{self, Session},
    },
};

/// The longest reason, in characters.
pub const MAX_REASON: usize = 2000;

/// One verdict on one hold.
#[derive(Clone, Debug)]
pub struct Item {
    pub hold: String,
    pub verdict: Verdict,
    /// Shared by all items of a batch that has one reason.
    pub reason: Arc<str>,
}

/// Why a decision on a hold was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecideError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("sign in first: this session has ended")]
    SessionEnded,
    #[error("there is no hold `{0}`")]
    NotFound(String),
    #[error("the hold is not open any more: it is {}", .0.as_str())]
    NotPending(HoldState),
    #[error("a reason has at most 2000 characters")]
    ReasonTooLong,
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl Service {
    /// Takes decisions, all in one transaction; each item is answered by itself, in the order of the items.
    ///
    /// Who it is, is looked up in that transaction: a session may have ended while the request was read.
    pub async fn decide(&self, who: &Who, items: Vec<Item>) -> Result<Vec<Result<Hold, DecideError>>, DecideError> {
        self.store.write(DecideAll { who: who.clone(), items, now: self.now() }).await
    }

    /// Takes back a hold that was not used yet.
    pub async fn revoke(&self, who: &Who, hold: &str, reason: &str) -> Result<Hold, DecideError> {
        check_reason(reason)?;
        let (who, now) = (who.clone(), self.now());
        self.store.write(Revoke { who, hold: hold.to_owned(), reason: reason.to_owned(), now }).await
    }
}

/// Refuses a reason that is longer than one may be.
pub fn check_reason(reason: &str) -> Result<(), DecideError> {
    // Counting stops at the limit: the text may be as long as a body.
    if reason.chars().nth(MAX_REASON).is_some() { Err(DecideError::ReasonTooLong) } else { Ok(()) }
}

struct DecideAll {
    who: Who,
    items: Vec<Item>,
    now: u64,
}

/// Holds, reviewers and who answers for agents are looked up once for all items, and what becomes of the holds is written
/// once: each item is judged by what those before it have left.
struct Decide {
    session: Session,
    now: u64,
    /// As they are after the items so far.
    holds: HashMap<String, Hold>,
    /// The approvals so far of holds that need more than one.
    approvals: HashMap<String, Vec<Approval>>,
    /// By policy.
    reviewers: HashMap<String, Reviewer>,
    known: HashMap<Hash, Accountability>,
    decisions: Vec<(String, Decision)>,
    steps: Vec<Step>,
}

impl Command for DecideAll {
    type Answer = Vec<Result<Hold, DecideError>>;
    type Error = DecideError;

    async fn run(self, tx: &mut Tx) -> Result<Self::Answer, DecideError> {
        let DecideAll { who, items, now } = self;
        let session = who.session(tx, now).await?.ok_or(DecideError::SessionEnded)?;
        session.may_decide()?;
        let mut decide = Decide::of(tx, session, &items, now).await?;
        let mut answers = Vec::with_capacity(items.len());
        for item in items {
            // A refusal leaves nothing of its item; a failure of the store undoes the whole batch.
            match decide.one(tx, item).await {
                Err(DecideError::Store(error)) => return Err(error.into()),
                answer => answers.push(answer),
            }
        }
        tx.insert_decisions(&decide.decisions).await?;
        transitions(tx, &decide.steps, now).await?;
        Ok(answers)
    }
}

impl Decide {
    async fn of(tx: &mut Tx, session: Session, items: &[Item], now: u64) -> Result<Self, StoreError> {
        let ids: BTreeSet<&str> = items.iter().map(|item| item.hold.as_str()).collect();
        let ids: Vec<&str> = ids.into_iter().collect();
        let holds = holds::find_all(tx, &ids).await?;
        let several: Vec<&str> =
            holds.values().filter(|hold| needs_several(hold)).map(|hold| &*hold.terms.id).collect();
        let approvals = holds::approvals(tx, &several).await?;
        let (reviewers, known, decisions, steps) = Default::default();
        Ok(Decide { session, now, holds, approvals, reviewers, known, decisions, steps })
    }

    async fn one(&mut self, tx: &mut Tx, item: Item) -> Result<Hold, DecideError> {
        let Item { hold: id, verdict, reason } = item;
        check_reason(&reason)?;
        let now = self.now;
        let Some(hold) = self.holds.get(&id).cloned() else { return Err(DecideError::NotFound(id)) };
        let hold = self.expire_if_overdue(hold);
        let Stage::Pending(pending) = hold.stage.clone() else {
            return Err(DecideError::NotPending(hold.stage.state()));
        };
        let reviewer = match self.reviewers.entry(hold.terms.policy.id.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let person = self.session.person.id.clone();
                let roles = people::roles(tx, &person, place.key(), now).await?;
                place.insert(Reviewer { person, roles, signed_in_at: self.session.signed_in_at })
            }
        };
        let accountable = match self.known.entry(hold.terms.agent_key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(accountability(tx, &hold.terms.agent).await?),
        };
        let earlier = self.approvals.get(&id).map_or(&[][..], Vec::as_slice);
        let ballot = Ballot { verdict, reason: &reason };
        let ruling = decision::decide(pending, &hold.terms.requirement, accountable, earlier, reviewer, ballot, now)?;
        let (role, change, factors) = match ruling {
            Ruling::Counted { role, .. } => (role, None, None),
            Ruling::Denied { role } => (role, Some(Stage::Denied), None),
            Ruling::Approved { approved, role, factors } => (role, Some(Stage::Approved(approved)), Some(factors)),
        };
        let data = json!({
            "person": reviewer.person, "verdict": verdict, "role": role, "reason": &*reason, "factors": factors,
            "signed_in_at": reviewer.signed_in_at, "via": self.session.via,
        });
        let kept = Decision {
            person: reviewer.person.clone(),
            name: String::new(),
            verdict,
            role,
            roles: reviewer.roles.clone(),
            reason: reason.to_string(),
            signed_in_at: reviewer.signed_in_at,
            decided_at: now,
        };
        let approval = kept.approval();
        self.decisions.push((id.clone(), kept));
        let Some(stage) = change else {
            self.approvals.entry(id.clone()).or_default().extend(approval);
            let by = Some(DecidedBy::Human);
            tx.record(Event { time: now, kind: "hold.approval", hold: Some(&id), decided_by: by, data })?;
            return Ok(hold);
        };
        let after = Hold { stage: stage.clone(), since: now, ..hold.clone() };
        self.steps.push(Step { hold, change: Change { stage, decided_by: DecidedBy::Human }, data });
        self.holds.insert(id, after.clone());
        Ok(after)
    }

    fn expire_if_overdue(&mut self, hold: Hold) -> Hold {
        let Some(step) = overdue(&hold, self.now) else { return hold };
        self.steps.push(step);
        let expired = hold.at(self.now);
        self.holds.insert(expired.terms.id.clone(), expired.clone());
        expired
    }
}

/// Whether a pending hold may have approvals already: one that needs a single one has none.
fn needs_several(hold: &Hold) -> bool {
    let needed: u64 = hold.terms.requirement.factors.iter().map(|factor| u64::from(factor.approvals)).sum();
    needed > 1 && matches!(hold.stage, Stage::Pending(_))
}

struct Revoke {
    who: Who,
    hold: String,
    reason: String,
    now: u64,
}

impl Command for Revoke {
    type Answer = Hold;
    type Error = DecideError;

    async fn run(self, tx: &mut Tx) -> Result<Hold, DecideError> {
        let Revoke { who, hold: id, reason, now } = self;
        let session = who.session(tx, now).await?.ok_or(DecideError::SessionEnded)?;
        session.may_decide()?;
        let hold = holds::find(tx, &id).await?.ok_or(DecideError::NotFound(id))?;
        let person = session.person.id;
        let roles = people::roles(tx, &person, &hold.terms.policy.id, now).await?;
        let reviewer = Reviewer { person, roles, signed_in_at: session.signed_in_at };
        let role = decision::may_revoke(&hold.terms.requirement, &reviewer, now)?;
        // The error of a command undoes what it wrote; what is overdue is left to the next look at the time.
        let stage = hold.clone().at(now).stage;
        let change = stage.cancel(Cause::Revoked, DecidedBy::Human);
        let change = change.map_err(|ended| DecideError::NotPending(ended.state()))?;
        let data: Value = json!({"person": reviewer.person, "role": role, "reason": reason,
                                 "signed_in_at": reviewer.signed_in_at, "via": session.via});
        let after = Hold { stage: change.stage.clone(), since: now, ..hold.clone() };
        transitions(tx, &[Step { hold, change, data }], now).await?;
        Ok(after)
    }
}
