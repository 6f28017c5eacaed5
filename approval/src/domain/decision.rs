//! Decisions: who may decide on a hold, and what the decisions so far come to.

use std::collections::{BTreeMap, BTreeSet};

use holdgate_protocol::Requirement;
use serde::{Deserialize, Serialize};

use super::{Approved, Pending, Unfit};

/// How long after the sign-in a person may decide, in seconds.
pub const FRESH: u64 = 15 * 60;

/// A person who wants to decide, with what counts at this moment for the hold's policy.
#[derive(Clone, Debug)]
pub struct Reviewer {
    pub person: String,
    /// The roles that the person is eligible for, in the scope of the hold's policy, now.
    pub roles: BTreeSet<String>,
    pub signed_in_at: u64,
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
}

/// An approval that counts: by whom, and for which roles the person was eligible when it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    pub person: String,
    pub roles: BTreeSet<String>,
}

/// The persons who answer for an agent. They do not decide on its requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accountability {
    pub persons: BTreeSet<String>,
    /// Why it is not known who answers for the agent; then nobody can approve.
    pub unknown: Option<String>,
}

/// What a decision makes of a pending hold. `role` is the factor that it counts for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// Counted; others are still missing.
    Counted {
        pending: Pending,
        role: String,
    },
    /// The last factor is met. `factors` says who stands for which role.
    Approved {
        approved: Approved,
        role: String,
        factors: Vec<(String, String)>,
    },
    Denied {
        role: String,
    },
}

/// Why a decision does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error("a decision needs a sign-in of the last 15 minutes; sign in again")]
    SignInAgain,
    #[error("nobody decides on a request of their own agent")]
    OwnAgent,
    #[error("no role of this hold's requirement is yours at this time")]
    NotEligible,
    #[error("nobody can approve this request: {0}")]
    OwnerUnknown(String),
    #[error("this hold asks for a reason")]
    ReasonRequired,
    #[error("you have decided on this hold already")]
    AlreadyDecided,
    #[error("what you could approve has been approved by others; another role is still missing")]
    FactorsMet,
}

/// Lets a reviewer decide on a pending hold.
pub fn decide(
    pending: Pending,
    requirement: &Requirement,
    accountable: &Accountability,
    earlier: &[Approval],
    reviewer: &Reviewer,
    ballot: Ballot<'_>,
    now: u64,
) -> Result<Ruling, Refusal> {
    let role = may_decide(requirement, accountable, reviewer, now)?;
    if requirement.reason && ballot.reason.trim().is_empty() {
        return Err(Refusal::ReasonRequired);
    }
    if earlier.iter().any(|approval| approval.person == reviewer.person) {
        return Err(Refusal::AlreadyDecided);
    }
    if ballot.verdict == Verdict::Deny {
        return Ok(Ruling::Denied { role });
    }
    if let Some(why) = &accountable.unknown {
        return Err(Refusal::OwnerUnknown(why.clone()));
    }
    let mut approvals = earlier.to_vec();
    approvals.push(Approval { person: reviewer.person.clone(), roles: reviewer.roles.clone() });
    let assignment = Assignment::of(requirement, &approvals);
    let Some(role) = assignment.role_of(approvals.len() - 1) else { return Err(Refusal::FactorsMet) };
    let role = role.to_owned();
    if !assignment.missing(requirement).is_empty() {
        return Ok(Ruling::Counted { pending, role });
    }
    let factors = assignment.roles.iter().zip(&approvals);
    let factors = factors.filter_map(|(role, approval)| Some(((*role)?.to_owned(), approval.person.clone())));
    let approved = pending.approve(now, requirement.use_within);
    Ok(Ruling::Approved { approved, role, factors: factors.collect() })
}

/// Whether a reviewer may say anything at all on such a hold; gives one role in which they speak.
pub fn may_decide(
    requirement: &Requirement,
    accountable: &Accountability,
    reviewer: &Reviewer,
    now: u64,
) -> Result<String, Refusal> {
    if reviewer.signed_in_at.saturating_add(FRESH) < now {
        return Err(Refusal::SignInAgain);
    }
    if accountable.persons.contains(&reviewer.person) {
        return Err(Refusal::OwnAgent);
    }
    eligible(requirement, reviewer).ok_or(Refusal::NotEligible)
}

/// Whether a reviewer may take back a hold. It can only stop a request, so the agent's owner may do it too.
pub fn may_revoke(requirement: &Requirement, reviewer: &Reviewer, now: u64) -> Result<String, Refusal> {
    if reviewer.signed_in_at.saturating_add(FRESH) < now {
        return Err(Refusal::SignInAgain);
    }
    eligible(requirement, reviewer).ok_or(Refusal::NotEligible)
}

fn eligible(requirement: &Requirement, reviewer: &Reviewer) -> Option<String> {
    let wanted = requirement.factors.iter().filter(|factor| factor.approvals > 0);
    wanted.map(|factor| &factor.role).find(|role| reviewer.roles.contains(*role)).cloned()
}

/// What is still missing: role and number.
pub fn missing(requirement: &Requirement, approvals: &[Approval]) -> Vec<(String, u32)> {
    Assignment::of(requirement, approvals).missing(requirement)
}

/// Which approval stands for which role: a maximum matching, since one person fills one factor and a person with two
/// roles must not take the place that only another could leave free.
struct Assignment<'a> {
    roles: Vec<Option<&'a str>>,
}

impl<'a> Assignment<'a> {
    fn of(requirement: &'a Requirement, approvals: &[Approval]) -> Self {
        let mut assignment = Assignment { roles: vec![None; approvals.len()] };
        for person in 0..approvals.len() {
            assignment.place(requirement, approvals, person, &mut BTreeSet::new());
        }
        assignment
    }

    /// Finds a role for one person; moves others to another of their roles where that makes room (Kuhn's algorithm).
    fn place(
        &mut self,
        requirement: &'a Requirement,
        approvals: &[Approval],
        person: usize,
        seen: &mut BTreeSet<&'a str>,
    ) -> bool {
        let Some(roles) = approvals.get(person).map(|approval| &approval.roles) else { return false };
        for factor in requirement.factors.iter().filter(|factor| roles.contains(&factor.role)) {
            if !seen.insert(&factor.role) {
                continue;
            }
            let holders: Vec<usize> = self.holders(&factor.role).collect();
            let free = holders.len() < usize::try_from(factor.approvals).unwrap_or(usize::MAX);
            if free || holders.into_iter().any(|other| self.place(requirement, approvals, other, seen)) {
                if let Some(slot) = self.roles.get_mut(person) {
                    *slot = Some(&factor.role);
                }
                return true;
            }
        }
        false
    }

    fn holders(&self, role: &str) -> impl Iterator<Item = usize> {
        self.roles.iter().enumerate().filter(move |(_, held)| **held == Some(role)).map(|(person, _)| person)
    }

    fn role_of(&self, person: usize) -> Option<&'a str> {
        self.roles.get(person).copied().flatten()
    }

    fn missing(&self, requirement: &Requirement) -> Vec<(String, u32)> {
        let mut counts = BTreeMap::<&str, u32>::new();
        for role in self.roles.iter().flatten() {
            *counts.entry(role).or_default() += 1;
        }
        let short = requirement.factors.iter().map(|factor| {
            let have = counts.get(factor.role.as_str()).copied().unwrap_or_default();
            (factor.role.clone(), factor.approvals.saturating_sub(have))
        });
        short.filter(|(_, count)| *count > 0).collect()
    }
}
