//! Which approval stands for which factor.

use std::collections::{BTreeMap, BTreeSet};

use holdgate_protocol::{Escalation, Requirement};
use serde::{Deserialize, Serialize};

use super::{Accountability, Approval};

/// A factor that a person fills.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filled {
    pub role: String,
    pub person: String,
    /// Whether the person fills it by the escalation, and not by the role itself.
    pub escalated: bool,
}

/// What approvals are matched against: a requirement, who does not count, and from when on others may step in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needed<'a> {
    requirement: &'a Requirement,
    accountable: &'a Accountability,
    escalation: Option<(&'a Escalation, u64)>,
}

/// Which approval stands for which role: a maximum matching, since one person fills one factor and a person with two
/// roles must not take the place that only another could leave free.
pub(super) struct Assignment<'a> {
    needed: Needed<'a>,
    approvals: Vec<&'a Approval>,
    roles: Vec<Option<&'a str>>,
}

impl<'a> Needed<'a> {
    pub(super) fn new(requirement: &'a Requirement, opened_at: u64, accountable: &'a Accountability) -> Self {
        let escalation = requirement.escalate.as_ref().zip(requirement.escalates_at(opened_at));
        Needed { requirement, accountable, escalation }
    }

    /// The role of the escalation, once its moment has come.
    pub(super) fn escalated(&self, at: u64) -> Option<&'a str> {
        self.escalation.filter(|(_, from)| *from <= at).map(|(escalation, _)| escalation.role.as_str())
    }

    /// The role of the escalation and its moment, while that is still to come.
    pub(super) fn escalates_later(&self, at: u64) -> Option<(&'a str, u64)> {
        self.escalation.filter(|(_, from)| at < *from).map(|(escalation, from)| (escalation.role.as_str(), from))
    }

    /// The factors that somebody fills, each with its role and number.
    pub(super) fn factors(&self) -> impl Iterator<Item = (&'a str, usize)> + use<'a> {
        let factors = self.requirement.factors.iter().filter(|factor| factor.approvals > 0);
        factors.map(|factor| (factor.role.as_str(), usize::try_from(factor.approvals).unwrap_or(usize::MAX)))
    }

    /// Matches approvals to factors. Those that come first keep a place before those that come later.
    pub(super) fn assign(self, approvals: impl IntoIterator<Item = &'a Approval>) -> Assignment<'a> {
        let counts = |approval: &&Approval| !self.accountable.persons.contains(&approval.person);
        let approvals: Vec<&Approval> = approvals.into_iter().filter(counts).collect();
        let mut assignment = Assignment { needed: self, roles: vec![None; approvals.len()], approvals };
        for person in 0..assignment.approvals.len() {
            assignment.place(person, &mut BTreeSet::new());
        }
        assignment
    }
}

impl<'a> Assignment<'a> {
    /// Finds a role for one person; moves others to another of their roles where that makes room (Kuhn's algorithm).
    fn place(&mut self, person: usize, seen: &mut BTreeSet<&'a str>) -> bool {
        let Some(approval) = self.approvals.get(person).copied() else { return false };
        let escalated = self.needed.escalated(approval.at).is_some_and(|role| approval.has(role));
        // In a role of their own first, by the escalation where that does not do.
        let own = self.needed.factors().filter(|(role, _)| approval.has(role));
        let others = self.needed.factors().filter(|(role, _)| escalated && !approval.has(role));
        for (role, places) in own.chain(others) {
            if !seen.insert(role) {
                continue;
            }
            let holders: Vec<usize> = self.holders(role).collect();
            if holders.len() < places || holders.into_iter().any(|other| self.place(other, seen)) {
                if let Some(slot) = self.roles.get_mut(person) {
                    *slot = Some(role);
                }
                return true;
            }
        }
        false
    }

    fn holders(&self, role: &str) -> impl Iterator<Item = usize> {
        self.roles.iter().enumerate().filter(move |(_, held)| **held == Some(role)).map(|(person, _)| person)
    }

    /// The factors that are filled, by whom.
    pub(super) fn filled(&self) -> impl Iterator<Item = Filled> {
        self.roles.iter().zip(&self.approvals).filter_map(|(role, approval)| {
            let role = (*role)?;
            Some(Filled { role: role.to_owned(), person: approval.person.clone(), escalated: !approval.has(role) })
        })
    }

    /// The factor that a person fills.
    pub(super) fn of(&self, person: &str) -> Option<Filled> {
        self.filled().find(|filled| filled.person == person)
    }

    /// What is still missing: role and number.
    pub(super) fn missing(&self) -> Vec<(String, u32)> {
        let mut counts = BTreeMap::<&str, u32>::new();
        for role in self.roles.iter().flatten() {
            *counts.entry(role).or_default() += 1;
        }
        let short = self.needed.requirement.factors.iter().map(|factor| {
            let have = counts.get(factor.role.as_str()).copied().unwrap_or_default();
            (factor.role.clone(), factor.approvals.saturating_sub(have))
        });
        short.filter(|(_, count)| *count > 0).collect()
    }

    /// Whether every factor is filled. A requirement that asks for nobody is met by nobody.
    pub(super) fn is_met(&self) -> bool {
        self.missing().is_empty() && self.roles.iter().any(Option::is_some)
    }
}
