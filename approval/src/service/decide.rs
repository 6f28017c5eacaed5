//! Reviewers' decisions, one or thousands in one transaction, and taking back what was not used yet.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use holdgate_protocol::{Hash, gateway::HoldState};
use serde_json::{Value, json};

use super::{Service, Step, authority::Authority, denials, overdue, sight::Sight, transitions, who::Who};
use crate::{
    domain::{
        Accountability, Approval, Ballot, Case, Cause, Change, DecidedBy, Hold, Lasting, Refusal, Reviewer, Ruling,
        Stage, Verdict, decision,
    },
    store::{
        Command, StoreError, Tx,
        holds::{self, Decision},
        ledger::Event,
        people::{Session, Via},
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
    /// One of the reason codes that the hold asks for.
    pub code: Option<Arc<str>>,
    /// The digest of the request that the reviewer saw, where they say it.
    pub digest: Option<Hash>,
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
    #[error("the hold is about another request than the one with this digest; look at it again")]
    OtherRequest,
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl Service {
    /// Takes decisions, all in one transaction; each item is answered by itself, in the order of the items.
    ///
    /// Who it is, is looked up in that transaction: a session may have ended while the request was read.
    pub async fn decide(&self, who: &Who, items: Vec<Item>) -> Result<Vec<Result<Hold, DecideError>>, DecideError> {
        let (who, lasting, propose) = (who.clone(), self.settings.lasting, self.settings.propose_suspension);
        self.store.write(DecideAll { who, items, now: self.now(), lasting, propose }).await
    }

    /// Takes back the approval of the own person of whoever asks while the hold waits for others.
    pub async fn withdraw(&self, who: &Who, hold: &str, reason: &str) -> Result<Hold, DecideError> {
        self.store.write(Withdraw(self.take_back(who, hold, reason)?)).await
    }

    /// Takes back a hold that was not used yet.
    pub async fn revoke(&self, who: &Who, hold: &str, reason: &str) -> Result<Hold, DecideError> {
        self.store.write(Revoke(self.take_back(who, hold, reason)?)).await
    }

    fn take_back(&self, who: &Who, hold: &str, reason: &str) -> Result<TakeBack, DecideError> {
        check_reason(reason)?;
        let (who, hold, reason) = (who.clone(), hold.to_owned(), reason.to_owned());
        Ok(TakeBack { who, hold, reason, now: self.now(), lasting: self.settings.lasting })
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
    lasting: Lasting,
    /// After how many denials in an hour an agent's suspension is proposed.
    propose: u64,
}

/// Holds, reviewers and who answers for agents are looked up once for all items, and what becomes of the holds is written
/// once: each item is judged by what those before it have left.
struct Decide {
    session: Session,
    now: u64,
    lasting: Lasting,
    authority: Authority,
    /// As they are after the items so far.
    holds: HashMap<String, Hold>,
    /// The approvals so far of holds that need more than one.
    approvals: HashMap<String, Vec<Approval>>,
    /// What the person has decided so far and not withdrawn.
    own: HashMap<String, Verdict>,
    decisions: Vec<(String, Decision)>,
    steps: Vec<Step>,
    /// The holds that have a step: one hold has one in a lot.
    changed: HashSet<String>,
}

impl Command for DecideAll {
    type Answer = Vec<Result<Hold, DecideError>>;
    type Error = DecideError;

    async fn run(self, tx: &mut Tx) -> Result<Self::Answer, DecideError> {
        let DecideAll { who, items, now, lasting, propose } = self;
        let session = who.session(tx, now).await?.ok_or(DecideError::SessionEnded)?;
        session.may_decide()?;
        let mut decide = Decide::of(tx, session, &items, (now, lasting)).await?;
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
        denials::note(tx, &decide.steps, propose, now).await?;
        Ok(answers)
    }
}

impl Decide {
    async fn of(
        tx: &mut Tx,
        session: Session,
        items: &[Item],
        (now, lasting): (u64, Lasting),
    ) -> Result<Self, StoreError> {
        let ids: BTreeSet<&str> = items.iter().map(|item| item.hold.as_str()).collect();
        let ids: Vec<&str> = ids.into_iter().collect();
        // What somebody does not see is not there for them.
        let found = holds::find_all(tx, &ids).await?.into_values().collect();
        let seen = Sight::of(tx, &session.person.id, now, lasting).await?.filter(tx, found).await?;
        let holds: HashMap<String, Hold> = seen.into_iter().map(|hold| (hold.terms.id.clone(), hold)).collect();
        let several: Vec<&str> =
            holds.values().filter(|hold| needs_several(hold)).map(|hold| &*hold.terms.id).collect();
        let approvals = holds::approvals(tx, &several).await?;
        let mut authority = Authority::at(now, lasting);
        authority.look_up(tx, holds.values().map(|hold| &hold.terms)).await?;
        // A pending hold that needs one approval has no decision yet.
        let has_some = |hold: &&Hold| needs_several(hold) || !matches!(hold.stage, Stage::Pending(_));
        let decided: Vec<&str> = holds.values().filter(has_some).map(|hold| &*hold.terms.id).collect();
        let own = holds::decided_by(tx, &session.person.id, &decided).await?;
        let (decisions, steps, changed) = Default::default();
        Ok(Decide { session, now, lasting, authority, holds, approvals, own, decisions, steps, changed })
    }

    async fn one(&mut self, tx: &mut Tx, item: Item) -> Result<Hold, DecideError> {
        let Item { hold: id, verdict, reason, code, digest } = item;
        check_reason(&reason)?;
        let now = self.now;
        let Some(hold) = self.holds.get(&id).cloned() else { return Err(DecideError::NotFound(id)) };
        if digest.is_some_and(|digest| digest != hold.terms.digest) {
            return Err(DecideError::OtherRequest);
        }
        let hold = self.expire_if_overdue(hold);
        match self.own.get(&id) {
            // Said again it is the same decision: the first answer may have been lost.
            Some(said) if *said == verdict => return Ok(hold),
            Some(_) => return Err(Refusal::AlreadyDecided.into()),
            None => {}
        }
        let Stage::Pending(pending) = hold.stage.clone() else {
            return Err(DecideError::NotPending(hold.stage.state()));
        };
        let terms = &hold.terms;
        let reviewer = reviewer(&mut self.authority, tx, &self.session, &hold).await?;
        let mut earlier = self.approvals.get(&id).cloned().unwrap_or_default();
        self.authority.look_at(tx, &mut earlier, terms).await?;
        let case = Case {
            requirement: &terms.requirement,
            opened_at: hold.opened_at,
            accountable: self.authority.accountable(tx, terms).await?,
            approvals: &earlier,
            now,
            fresh: self.lasting.fresh,
        };
        let ballot = Ballot { verdict, reason: &reason, code: code.as_deref() };
        let ruling = decision::decide(pending, &case, &reviewer, ballot)?;
        let (by, stage, factors) = match ruling {
            Ruling::Counted { by, .. } => (by, None, None),
            Ruling::Denied { by } => (by, Some(Stage::Denied), None),
            Ruling::Approved { approved, by, factors } => (by, Some(Stage::Approved(approved)), Some(factors)),
        };
        let data = json!({
            "person": reviewer.person, "verdict": verdict, "role": by.role, "escalated": by.escalated,
            "reason": &*reason, "code": code, "factors": factors, "signed_in_at": reviewer.signed_in_at,
            "via": self.session.via,
        });
        let kept = Decision {
            person: reviewer.person,
            name: String::new(),
            verdict,
            role: by.role,
            escalated: by.escalated,
            roles: reviewer.roles,
            reason: reason.to_string(),
            code: code.as_deref().map(ToOwned::to_owned),
            signed_in_at: reviewer.signed_in_at,
            decided_at: now,
            withdrawn_at: None,
            lost: BTreeSet::new(),
        };
        let approval = kept.approval();
        self.decisions.push((id.clone(), kept));
        self.own.insert(id.clone(), verdict);
        let Some(stage) = stage else {
            self.approvals.entry(id.clone()).or_default().extend(approval);
            let by = Some(DecidedBy::Human);
            tx.record(Event { time: now, kind: "hold.approval", hold: Some(&id), decided_by: by, data })?;
            return Ok(hold);
        };
        let after = Hold { stage: stage.clone(), since: now, ..hold.clone() };
        self.change(Step { hold, change: Change { stage, decided_by: DecidedBy::Human }, data });
        self.holds.insert(id, after.clone());
        Ok(after)
    }

    fn change(&mut self, step: Step) {
        self.changed.insert(step.hold.terms.id.clone());
        self.steps.push(step);
    }

    fn expire_if_overdue(&mut self, hold: Hold) -> Hold {
        let Some(step) = overdue(&hold, self.now) else { return hold };
        let expired = hold.at(self.now);
        // What this lot approved and may not be used for a second is written down as expired by the next look at the time.
        if !self.changed.contains(&expired.terms.id) {
            self.change(step);
            self.holds.insert(expired.terms.id.clone(), expired.clone());
        }
        expired
    }
}

/// The person of a session, with what they may decide on a hold.
async fn reviewer(
    authority: &mut Authority,
    tx: &mut Tx,
    session: &Session,
    hold: &Hold,
) -> Result<Reviewer, StoreError> {
    let person = session.person.id.clone();
    let roles = authority.roles(tx, &person, &hold.terms).await?;
    Ok(Reviewer { person, roles, signed_in_at: session.signed_in_at, unfit: session.unfit })
}

/// Whether a pending hold may have approvals already: one that needs a single one has none.
fn needs_several(hold: &Hold) -> bool {
    let needed: u64 = hold.terms.requirement.factors.iter().map(|factor| u64::from(factor.approvals)).sum();
    needed > 1 && matches!(hold.stage, Stage::Pending(_))
}

/// A person who takes something back: the hold, or their own approval of it.
struct TakeBack {
    who: Who,
    hold: String,
    reason: String,
    now: u64,
    lasting: Lasting,
}

/// The hold that something is taken back of, and by whom.
struct Looked {
    hold: Hold,
    reviewer: Reviewer,
    via: Via,
    approvals: Vec<Approval>,
}

impl TakeBack {
    async fn look(&self, tx: &mut Tx) -> Result<Looked, DecideError> {
        let session = self.who.session(tx, self.now).await?.ok_or(DecideError::SessionEnded)?;
        session.may_decide()?;
        let id = self.hold.as_str();
        let nothing = || DecideError::NotFound(id.to_owned());
        let hold = holds::find(tx, id).await?.ok_or_else(nothing)?;
        if !Sight::of(tx, &session.person.id, self.now, self.lasting).await?.sees(tx, &hold).await? {
            return Err(nothing());
        }
        let reviewer = reviewer(&mut Authority::at(self.now, self.lasting), tx, &session, &hold).await?;
        let approvals = holds::approvals(tx, &[id]).await?.remove(id).unwrap_or_default();
        Ok(Looked { hold, reviewer, via: session.via, approvals })
    }

    /// Nothing that is taken back depends on who answers for the agent.
    fn case<'a>(&self, hold: &'a Hold, accountable: &'a Accountability, approvals: &'a [Approval]) -> Case<'a> {
        let (requirement, opened_at) = (&hold.terms.requirement, hold.opened_at);
        Case { requirement, opened_at, accountable, approvals, now: self.now, fresh: self.lasting.fresh }
    }
}

struct Withdraw(TakeBack);

impl Command for Withdraw {
    type Answer = Hold;
    type Error = DecideError;

    async fn run(self, tx: &mut Tx) -> Result<Hold, DecideError> {
        let Withdraw(back) = self;
        let Looked { hold, reviewer, via, approvals } = back.look(tx).await?;
        // The error of a command undoes what it wrote; what is overdue is left to the next look at the time.
        let Stage::Pending(pending) = hold.clone().at(back.now).stage else {
            return Err(DecideError::NotPending(hold.at(back.now).stage.state()));
        };
        let nobody = Accountability::default();
        let withdrawn = decision::withdraw(pending, &back.case(&hold, &nobody, &approvals), &reviewer)?;
        let TakeBack { reason, now, .. } = &back;
        let (person, signed_in_at) = (&reviewer.person, reviewer.signed_in_at);
        tx.withdraw(&hold.terms.id, person, reason, signed_in_at, *now).await?;
        let data = json!({"person": person, "reason": reason, "given_at": withdrawn.approval.at,
                          "signed_in_at": signed_in_at, "via": via});
        let (id, by) = (hold.terms.id.as_str(), Some(DecidedBy::Human));
        tx.record(Event { time: *now, kind: "hold.withdrawn", hold: Some(id), decided_by: by, data })?;
        Ok(hold)
    }
}

struct Revoke(TakeBack);

impl Command for Revoke {
    type Answer = Hold;
    type Error = DecideError;

    async fn run(self, tx: &mut Tx) -> Result<Hold, DecideError> {
        let Revoke(back) = self;
        let Looked { hold, reviewer, via, approvals } = back.look(tx).await?;
        let by = back.case(&hold, &Accountability::default(), &approvals).may_revoke(&reviewer)?;
        let TakeBack { reason, now, .. } = back;
        let stage = hold.clone().at(now).stage;
        let change = stage.cancel(Cause::Revoked, DecidedBy::Human);
        let change = change.map_err(|ended| DecideError::NotPending(ended.state()))?;
        let data: Value = json!({"person": reviewer.person, "role": by.role, "escalated": by.escalated,
                                 "reason": reason, "signed_in_at": reviewer.signed_in_at,
                                 "via": via});
        let after = Hold { stage: change.stage.clone(), since: now, ..hold.clone() };
        transitions(tx, &[Step { hold, change, data }], now).await?;
        Ok(after)
    }
}
