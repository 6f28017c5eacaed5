//! Decisions: who may decide on a hold, and what the decisions so far come to.

use std::collections::BTreeSet;

use holdgate_protocol::Requirement;
use serde::{Deserialize, Serialize};

use super::{
    Approved, Filled, Pending, Unfit,
    assignment::{Assignment, Needed},
};

/// A person who wants to decide, with what counts at this moment for the hold.
#[derive(Clone, Debug)]
pub struct Reviewer {
    pub person: String,
    /// The roles that the person is eligible for, in a scope that covers the hold, now.
    pub roles: BTreeSet<String>,
    pub signed_in_at: u64,
    /// Why nobody can decide by the token that this is.
    pub unfit: Option<Unfit>,
}

/// What a reviewer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Approve,
    Deny,
}

/// A verdict with its reason.
#[derive(Clone, Copy, Debug)]
pub struct Ballot<'a> {
    pub verdict: Verdict,
    pub reason: &'a str,
    /// One of the requirement's reason codes, where it has some.
    pub code: Option<&'a str>,
}

/// An approval that was given and not withdrawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    pub person: String,
    /// When it was given.
    pub at: u64,
    /// The roles that the person was eligible for then.
    pub given: BTreeSet<String>,
    /// Those that the person is eligible for now; none where the person is suspended.
    pub now: BTreeSet<String>,
}

/// The persons who answer for an agent. They do not decide on its requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accountability {
    pub persons: BTreeSet<String>,
    /// Why it is not known who answers for the agent; then nobody can approve.
    pub unknown: Option<String>,
}

/// What is decided on, and when.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    pub requirement: &'a Requirement,
    pub opened_at: u64,
    pub accountable: &'a Accountability,
    /// The approvals so far.
    pub approvals: &'a [Approval],
    pub now: u64,
    /// How long after the sign-in a person may decide, in seconds.
    pub fresh: u64,
}

/// What a decision makes of a pending hold. `by` is the factor that it counts for, or the role in which it was spoken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// Counted; others are still missing.
    Counted {
        pending: Pending,
        by: Filled,
    },
    /// The last factor is met. `factors` says who stands for which role.
    Approved {
        approved: Approved,
        by: Filled,
        factors: Vec<Filled>,
    },
    Denied {
        by: Filled,
    },
}

/// An approval that was taken back; the hold waits on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withdrawn {
    pub pending: Pending,
    pub approval: Approval,
}

/// Why a decision does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error("a decision needs a recent sign-in; sign in again")]
    SignInAgain,
    #[error("nobody decides on a request of their own agent")]
    OwnAgent,
    #[error("no role of this hold's requirement is yours at this time")]
    NotEligible,
    #[error("your role may step in later, if the others have not decided by then")]
    EscalatesLater { from: u64 },
    #[error("nobody can approve this request: {0}")]
    OwnerUnknown(String),
    #[error("this hold asks for a reason")]
    ReasonRequired,
    #[error("this hold asks for one of the reason codes {}", .0.join(", "))]
    CodeRequired(Vec<String>),
    #[error("`{code}` is none of this hold's reason codes; it has {}", codes_of(.known))]
    UnknownCode { code: String, known: Vec<String> },
    #[error("you have decided on this hold already; an approval can be withdrawn while others are missing")]
    AlreadyDecided,
    #[error("what you could approve has been approved by others; another role is still missing")]
    FactorsMet,
    #[error("you have no approval on this hold that could be withdrawn")]
    NothingToWithdraw,
}

fn codes_of(known: &[String]) -> String {
    if known.is_empty() { "none".into() } else { known.join(", ") }
}

impl Approval {
    /// Whether it counts for a role: the person had it then, and has it still.
    pub fn has(&self, role: &str) -> bool {
        self.given.contains(role) && self.now.contains(role)
    }
}

/// Lets a reviewer decide on a pending hold.
pub fn decide(pending: Pending, case: &Case<'_>, reviewer: &Reviewer, ballot: Ballot<'_>) -> Result<Ruling, Refusal> {
    let by = case.may_decide(reviewer)?;
    case.check_reason(ballot)?;
    if case.approvals.iter().any(|approval| approval.person == reviewer.person) {
        return Err(Refusal::AlreadyDecided);
    }
    if ballot.verdict == Verdict::Deny {
        return Ok(Ruling::Denied { by });
    }
    if let Some(why) = &case.accountable.unknown {
        return Err(Refusal::OwnerUnknown(why.clone()));
    }
    let own = case.approval_of(reviewer);
    let assignment = case.with(&own);
    let by = assignment.of(&own.person).ok_or(Refusal::FactorsMet)?;
    if !assignment.is_met() {
        return Ok(Ruling::Counted { pending, by });
    }
    let factors = assignment.filled().collect();
    Ok(Ruling::Approved { approved: pending.approve(case.now, case.requirement.use_within), by, factors })
}

/// Takes back a person's own approval of a hold that is still pending. Whoever was allowed to give it may take it back,
/// whatever has become of their authority since.
pub fn withdraw(pending: Pending, case: &Case<'_>, reviewer: &Reviewer) -> Result<Withdrawn, Refusal> {
    case.check_sign_in(reviewer)?;
    let own = case.approvals.iter().find(|approval| approval.person == reviewer.person);
    let approval = own.ok_or(Refusal::NothingToWithdraw)?.clone();
    Ok(Withdrawn { pending, approval })
}

impl<'a> Case<'a> {
    fn needed(&self) -> Needed<'a> {
        Needed::new(self.requirement, self.opened_at, self.accountable)
    }

    /// Whether a reviewer may say anything at all; gives one role in which they speak.
    pub fn may_decide(&self, reviewer: &Reviewer) -> Result<Filled, Refusal> {
        self.check_sign_in(reviewer)?;
        if self.accountable.persons.contains(&reviewer.person) {
            return Err(Refusal::OwnAgent);
        }
        self.eligible(reviewer)
    }

    /// Whether a reviewer may take back the hold. It can only stop a request, so the agent's owner may do it too.
    pub fn may_revoke(&self, reviewer: &Reviewer) -> Result<Filled, Refusal> {
        self.check_sign_in(reviewer)?;
        self.eligible(reviewer)
    }

    /// What is still missing: role and number.
    pub fn missing(&self) -> Vec<(String, u32)> {
        self.needed().assign(self.approvals).missing()
    }

    /// Who stands for which factor.
    pub fn filled(&self) -> Vec<Filled> {
        self.needed().assign(self.approvals).filled().collect()
    }

    /// The factor that an approval of this reviewer would count for now.
    pub fn would_fill(&self, reviewer: &Reviewer) -> Result<Filled, Refusal> {
        let own = self.approval_of(reviewer);
        self.with(&own).of(&own.person).ok_or(Refusal::FactorsMet)
    }

    fn approval_of(&self, reviewer: &Reviewer) -> Approval {
        let (given, now) = (reviewer.roles.clone(), reviewer.roles.clone());
        Approval { person: reviewer.person.clone(), at: self.now, given, now }
    }

    /// The approvals so far with one more.
    fn with<'b>(&'b self, own: &'b Approval) -> Assignment<'b> {
        let assignment = self.needed().assign(self.approvals.iter().chain([own]));
        if assignment.is_met() && assignment.of(&own.person).is_none() {
            // Others fill every factor again whose authority had ended in between, and nobody said so until now.
            return self.needed().assign([own].into_iter().chain(self.approvals));
        }
        assignment
    }

    fn check_sign_in(&self, reviewer: &Reviewer) -> Result<(), Refusal> {
        if let Some(unfit) = reviewer.unfit {
            return Err(unfit.into());
        }
        let fresh = self.now <= reviewer.signed_in_at.saturating_add(self.fresh);
        fresh.then_some(()).ok_or(Refusal::SignInAgain)
    }

    fn eligible(&self, reviewer: &Reviewer) -> Result<Filled, Refusal> {
        let needed = self.needed();
        let has = |role: &str| reviewer.roles.contains(role);
        let filled =
            |role: &str, escalated| Filled { role: role.to_owned(), person: reviewer.person.clone(), escalated };
        if let Some((role, _)) = needed.factors().find(|(role, _)| has(role)) {
            return Ok(filled(role, false));
        }
        // Where nobody is asked for there is nothing to stand in for.
        let asked = needed.factors().next().is_some();
        if let Some(role) = needed.escalated(self.now).filter(|role| asked && has(role)) {
            return Ok(filled(role, true));
        }
        match needed.escalates_later(self.now) {
            Some((role, from)) if asked && has(role) => Err(Refusal::EscalatesLater { from }),
            _ => Err(Refusal::NotEligible),
        }
    }

    fn check_reason(&self, ballot: Ballot<'_>) -> Result<(), Refusal> {
        let known = &self.requirement.codes;
        match ballot.code {
            None if !known.is_empty() => return Err(Refusal::CodeRequired(known.clone())),
            Some(code) if !known.iter().any(|one| one == code) => {
                return Err(Refusal::UnknownCode { code: code.to_owned(), known: known.clone() });
            }
            _ => {}
        }
        if self.requirement.reason && ballot.reason.trim().is_empty() {
            return Err(Refusal::ReasonRequired);
        }
        Ok(())
    }
}
