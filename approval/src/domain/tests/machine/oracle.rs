//! Judges every transition by a history of its own: who approved when, with which roles, and who has them now.

use std::collections::BTreeMap;

use super::{super::*, PERIOD, ROLES, World};

/// What was seen to happen.
#[derive(Default)]
pub(super) struct Oracle {
    /// Approvals that were taken and not withdrawn, with what the person could decide on then.
    pub(super) approvals: BTreeMap<String, (u64, BTreeSet<&'static str>)>,
    pub(super) grants: Vec<(usize, String)>,
    pub(super) seen: BTreeMap<&'static str, u32>,
}

impl World {
    pub(super) fn apply(&mut self, change: Change, by: Option<&Reviewer>) {
        let before = self.hold.stage.clone();
        let deadline = match &before {
            Stage::Pending(pending) => pending.decide_by,
            Stage::Approved(approved) => approved.use_by,
            ended => panic!("{ended:?} became {:?}", change.stage),
        };
        let in_time = self.now < deadline;
        assert_eq!(matches!(change.stage, Stage::Expired), !in_time, "{:?} at {}", change.stage, self.now);
        assert_eq!(change.decided_by == DecidedBy::Timeout, !in_time, "only time decides that time is over");
        let met = self.owner_known && self.is_met();
        match &change.stage {
            Stage::Pending(_) => panic!("nothing waits again"),
            Stage::Expired => self.see("expired"),
            Stage::Denied => {
                let by = by.unwrap();
                let may = self.may_speak(&by.person) && !self.owners.contains(&by.person) && self.is_fresh(by);
                assert!(may && matches!(before, Stage::Pending(_)), "{by:?} denied {before:?}");
                self.see("denied");
            }
            Stage::Approved(approved) => {
                assert!(matches!(before, Stage::Pending(_)) && met, "approved below its factors");
                assert_eq!(approved.use_by, self.now + self.hold.terms.requirement.use_within);
                self.see("approved");
            }
            Stage::Used(used) => {
                assert!(matches!(before, Stage::Approved(_)) && met, "redeemed below its factors");
                assert!(!self.agent_suspended && self.in_force == Some(self.hold.terms.requirement_hash));
                assert_eq!(self.oracle.grants.len(), 1, "used twice");
                assert_eq!(self.oracle.grants[0], (used.attempt.parse().unwrap(), used.grant.clone()));
                self.see("used");
            }
            Stage::Cancelled(cause) => {
                let why = match cause {
                    Cause::Revoked => true,
                    Cause::Suspended => self.agent_suspended,
                    Cause::Policy => self.in_force != Some(self.hold.terms.requirement_hash),
                    Cause::Authority => !met,
                    Cause::Gateway | Cause::Restored => false,
                };
                assert!(why, "cancelled without a cause: {cause:?}");
                self.see(cause.as_str());
            }
        }
        self.hold.stage = change.stage;
        self.hold.since = self.now;
    }

    /// Whether a refusal is right, and what is taken is written into the history.
    pub(super) fn judge(&mut self, reviewer: &Reviewer, ballot: Ballot<'_>, ruling: &Result<Ruling, Refusal>) {
        let person = reviewer.person.as_str();
        let requirement = self.hold.terms.requirement.clone();
        let reasoned = !requirement.reason || !ballot.reason.trim().is_empty();
        let coded =
            ballot.code.map_or(requirement.codes.is_empty(), |code| requirement.codes.iter().any(|c| c == code));
        let known = self.owner_known || ballot.verdict == Verdict::Deny;
        let already = self.oracle.approvals.contains_key(person);
        let may = self.is_fresh(reviewer) && self.may_speak(person) && !self.owners.contains(person);
        let sound = may && reasoned && coded && known && !already;
        match ruling {
            Err(Refusal::FactorsMet) => assert!(sound && !self.is_met(), "a place was free"),
            Err(refusal) => assert!(!sound, "{person} was refused: {refusal}"),
            Ok(_) => assert!(sound, "{reviewer:?} may not say {ballot:?}"),
        }
        if ruling.is_ok() && ballot.verdict == Verdict::Approve {
            let roles = ROLES.into_iter().filter(|role| self.has(person, role)).collect();
            self.oracle.approvals.insert(person.to_owned(), (self.now, roles));
            assert_eq!(matches!(ruling, Ok(Ruling::Approved { .. })), self.is_met(), "met and approved are the same");
            self.see(if self.is_met() { "met" } else { "counted" });
        }
    }

    pub(super) fn look_at_factors(&mut self, factors: &[Filled]) {
        let persons: BTreeSet<&str> = factors.iter().map(|filled| filled.person.as_str()).collect();
        assert_eq!(persons.len(), factors.len(), "one person fills one factor");
        for factor in &self.hold.terms.requirement.factors {
            let filled: Vec<&Filled> = factors.iter().filter(|filled| filled.role == factor.role).collect();
            assert_eq!(filled.len(), factor.approvals as usize);
            for one in filled {
                assert!(!self.owners.contains(&one.person), "the owner approved");
                assert_eq!(one.escalated, !self.counts(&one.person, &factor.role), "{one:?}");
            }
        }
        if factors.iter().any(|filled| filled.escalated) {
            self.see("escalated");
        }
    }

    pub(super) fn is_fresh(&self, reviewer: &Reviewer) -> bool {
        reviewer.unfit.is_none() && self.now - reviewer.signed_in_at <= FRESH
    }

    /// Whether a person has a role for this hold now.
    fn has(&self, person: &str, role: &str) -> bool {
        !self.suspended.contains(person)
            && self.eligibilities.iter().any(|(one, covers)| {
                let lapses = one.granted_at.max(one.certified_at) + PERIOD;
                let ends = one.until.unwrap_or(u64::MAX).min(lapses);
                *covers && one.person == person && one.role == role && (one.from.unwrap_or(0)..ends).contains(&self.now)
            })
    }

    /// Whether somebody who approved had the role then, and has it now.
    fn counts(&self, person: &str, role: &str) -> bool {
        self.oracle.approvals.get(person).is_some_and(|(_, roles)| roles.contains(role)) && self.has(person, role)
    }

    fn steps_in(&self, at: u64) -> Option<&str> {
        let requirement = &self.hold.terms.requirement;
        let escalation = requirement.escalate.as_ref()?;
        let hundredths = (at - self.hold.opened_at) * 100;
        (hundredths >= requirement.decide_within * u64::from(escalation.after)).then_some(&escalation.role)
    }

    /// Whether a person has a say on this hold now.
    pub(super) fn may_speak(&self, person: &str) -> bool {
        let factors = &self.hold.terms.requirement.factors;
        let asked = factors.iter().any(|factor| factor.approvals > 0);
        let own = factors.iter().any(|factor| factor.approvals > 0 && self.has(person, &factor.role));
        asked && (own || self.steps_in(self.now).is_some_and(|role| self.has(person, role)))
    }

    /// Whether those who approved can fill all factors at once, by trying every choice.
    fn is_met(&self) -> bool {
        let factors = &self.hold.terms.requirement.factors;
        let places: Vec<&str> = factors
            .iter()
            .flat_map(|factor| std::iter::repeat_n(factor.role.as_str(), factor.approvals as usize))
            .collect();
        let counts = |person: &&String| !self.owners.contains(*person);
        let persons: Vec<&String> = self.oracle.approvals.keys().filter(counts).collect();
        !places.is_empty() && self.can_fill_places(&places, &persons)
    }

    fn can_fill_places(&self, places: &[&str], persons: &[&String]) -> bool {
        let Some((place, rest)) = places.split_first() else { return true };
        (0..persons.len()).any(|index| {
            let mut others = persons.to_vec();
            let person = others.remove(index);
            let (at, _) = self.oracle.approvals[person];
            let steps_in = self.steps_in(at).is_some_and(|role| self.counts(person, role));
            (self.counts(person, place) || steps_in) && self.can_fill_places(rest, &others)
        })
    }

    pub(super) fn see(&mut self, what: &'static str) {
        *self.oracle.seen.entry(what).or_default() += 1;
    }
}
