//! Reviewers' decisions, one or thousands in one transaction, and taking back what was not used yet.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use holdgate_protocol::{Agent, Hash, gateway::HoldState};
use serde_json::{Value, json};

use super::{Service, accountability, expire_if_overdue, transition};
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
    /// The session of `token` is looked up in that transaction: it may have ended while the request was read.
    pub async fn decide(&self, token: &str, items: Vec<Item>) -> Result<Vec<Result<Hold, DecideError>>, DecideError> {
        self.store.write(DecideAll { token: Hash::of(token.as_bytes()), items, now: self.now() }).await
    }

    /// Takes back a hold that was not used yet.
    pub async fn revoke(&self, token: &str, hold: &str, reason: &str) -> Result<Hold, DecideError> {
        check_reason(reason)?;
        let (token, now) = (Hash::of(token.as_bytes()), self.now());
        self.store.write(Revoke { token, hold: hold.to_owned(), reason: reason.to_owned(), now }).await
    }
}

/// Refuses a reason that is longer than one may be.
pub fn check_reason(reason: &str) -> Result<(), DecideError> {
    // Counting stops at the limit: the text may be as long as a body.
    if reason.chars().nth(MAX_REASON).is_some() { Err(DecideError::ReasonTooLong) } else { Ok(()) }
}

struct DecideAll {
    token: Hash,
    items: Vec<Item>,
    now: u64,
}

/// What is the same for all items of a batch is looked up once.
struct Decide {
    session: Session,
    now: u64,
    roles: HashMap<String, BTreeSet<String>>,
    known: HashMap<Hash, Accountability>,
}

impl Command for DecideAll {
    type Answer = Vec<Result<Hold, DecideError>>;
    type Error = DecideError;

    async fn run(self, tx: &mut Tx) -> Result<Self::Answer, DecideError> {
        let DecideAll { token, items, now } = self;
        let session = people::session(tx, &token, now).await?.ok_or(DecideError::SessionEnded)?;
        let mut decide = Decide { session, now, roles: HashMap::new(), known: HashMap::new() };
        let mut answers = Vec::with_capacity(items.len());
        for item in items {
            // A refusal comes before the first write of its item; a failure of the store undoes the whole batch.
            match decide.one(tx, item).await {
                Err(DecideError::Store(error)) => return Err(error.into()),
                answer => answers.push(answer),
            }
        }
        Ok(answers)
    }
}

impl Decide {
    async fn one(&mut self, tx: &mut Tx, item: Item) -> Result<Hold, DecideError> {
        let Item { hold: id, verdict, reason } = item;
        check_reason(&reason)?;
        let now = self.now;
        let mut hold = holds::find(tx, &id).await?.ok_or(DecideError::NotFound(id))?;
        hold = expire_if_overdue(tx, hold, now).await?;
        let Stage::Pending(pending) = hold.stage.clone() else {
            return Err(DecideError::NotPending(hold.stage.state()));
        };
        let reviewer = self.reviewer(tx, &hold).await?;
        let accountable = self.accountable(tx, &hold.terms.agent, hold.terms.agent_key).await?;
        let earlier = earlier(tx, &hold).await?;
        let ballot = Ballot { verdict, reason: &reason };
        let ruling =
            decision::decide(pending, &hold.terms.requirement, &accountable, &earlier, &reviewer, ballot, now)?;
        let (role, change, factors) = match ruling {
            Ruling::Counted { role, .. } => (role, None, None),
            Ruling::Denied { role } => (role, Some(Stage::Denied), None),
            Ruling::Approved { approved, role, factors } => (role, Some(Stage::Approved(approved)), Some(factors)),
        };
        let person = reviewer.person.clone();
        let data = json!({
            "person": person, "verdict": verdict, "role": role, "reason": &*reason, "factors": factors,
            "signed_in_at": reviewer.signed_in_at,
        });
        let kept = Decision {
            person,
            name: String::new(),
            verdict,
            role,
            roles: reviewer.roles,
            reason: reason.to_string(),
            signed_in_at: reviewer.signed_in_at,
            decided_at: now,
        };
        tx.insert_decision(&hold.terms.id, &kept).await?;
        match change {
            Some(stage) => {
                let change = Change { stage, decided_by: DecidedBy::Human };
                transition(tx, &hold, &change, now, data).await?;
                Ok(Hold { stage: change.stage, since: now, ..hold })
            }
            None => {
                let id = Some(hold.terms.id.as_str());
                let by = Some(DecidedBy::Human);
                tx.record(Event { time: now, kind: "hold.approval", hold: id, decided_by: by, data }).await?;
                Ok(hold)
            }
        }
    }

    async fn reviewer(&mut self, tx: &mut Tx, hold: &Hold) -> Result<Reviewer, StoreError> {
        let policy = &hold.terms.policy.id;
        let person = &self.session.person.id;
        if !self.roles.contains_key(policy) {
            let roles = people::roles(tx, person, policy, self.now).await?;
            self.roles.insert(policy.clone(), roles);
        }
        let roles = self.roles.get(policy).cloned().unwrap_or_default();
        Ok(Reviewer { person: person.clone(), roles, signed_in_at: self.session.signed_in_at })
    }

    async fn accountable(&mut self, tx: &mut Tx, agent: &Agent, key: Hash) -> Result<Accountability, StoreError> {
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        let found = accountability(tx, agent).await?;
        self.known.insert(key, found.clone());
        Ok(found)
    }
}

/// The approvals so far; a requirement of one approval has none while it is pending.
async fn earlier(tx: &mut Tx, hold: &Hold) -> Result<Vec<Approval>, StoreError> {
    let needed: u64 = hold.terms.requirement.factors.iter().map(|factor| u64::from(factor.approvals)).sum();
    if needed <= 1 {
        return Ok(Vec::new());
    }
    Ok(holds::decisions(tx, &hold.terms.id).await?.iter().filter_map(Decision::approval).collect())
}

struct Revoke {
    token: Hash,
    hold: String,
    reason: String,
    now: u64,
}

impl Command for Revoke {
    type Answer = Hold;
    type Error = DecideError;

    async fn run(self, tx: &mut Tx) -> Result<Hold, DecideError> {
        let Revoke { token, hold: id, reason, now } = self;
        let session = people::session(tx, &token, now).await?.ok_or(DecideError::SessionEnded)?;
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
                                 "signed_in_at": reviewer.signed_in_at});
        transition(tx, &hold, &change, now, data).await?;
        Ok(Hold { stage: change.stage, since: now, ..hold })
    }
}
