//! Who sees which holds: those who may decide on them, decided on them or answer for their agents, and auditors.

use std::collections::BTreeSet;

use crate::{
    domain::{Eligibility, Hold, Lasting, authority::AUDITOR},
    store::{Connection, StoreError, directory, directory::Identity, holds, people},
};

/// What one person may see at a moment.
pub(super) struct Sight {
    person: String,
    /// What holds at this moment.
    eligibilities: Vec<Eligibility>,
    links: BTreeSet<Identity>,
    groups: BTreeSet<String>,
}

impl Sight {
    pub(super) async fn of(
        connection: &mut Connection,
        person: &str,
        now: u64,
        lasting: Lasting,
    ) -> Result<Self, StoreError> {
        let mut eligibilities = people::eligibilities(connection, person).await?;
        eligibilities.retain(|one| one.holds_at(now, lasting.recertify_within));
        let links = directory::links(connection, person).await?.into_iter().collect();
        let groups = directory::groups_of(connection, person).await?.into_iter().collect();
        Ok(Sight { person: person.to_owned(), eligibilities, links, groups })
    }

    /// Whether a hold is this person's to see, without a look at who decided on it.
    pub(super) fn covers(&self, hold: &Hold) -> bool {
        let requirement = &hold.terms.requirement;
        let factors = requirement.factors.iter().filter(|factor| factor.approvals > 0).map(|factor| &factor.role);
        let asked: Vec<&String> = factors.chain(requirement.escalate.as_ref().map(|escalate| &escalate.role)).collect();
        let shows =
            |one: &Eligibility| (one.role == AUDITOR || asked.contains(&&one.role)) && one.scope.covers(&hold.terms);
        self.eligibilities.iter().any(shows) || self.answers_for(hold)
    }

    /// Whether this person sees a hold.
    pub(super) async fn sees(&self, connection: &mut Connection, hold: &Hold) -> Result<bool, StoreError> {
        if self.covers(hold) {
            return Ok(true);
        }
        Ok(!holds::decided_on(connection, &self.person, &[&hold.terms.id]).await?.is_empty())
    }

    /// Those of some holds, or of what is listed of them, that this person sees.
    pub(super) async fn filter<T: AsRef<Hold>>(
        &self,
        connection: &mut Connection,
        some: Vec<T>,
    ) -> Result<Vec<T>, StoreError> {
        let covered: Vec<bool> = some.iter().map(|one| self.covers(one.as_ref())).collect();
        let others = some.iter().zip(&covered).filter(|(_, covered)| !**covered);
        let others: Vec<&str> = others.map(|(one, _)| one.as_ref().terms.id.as_str()).collect();
        let decided = holds::decided_on(connection, &self.person, &others).await?;
        let seen = some.into_iter().zip(covered);
        let seen = seen.filter(|(one, covered)| *covered || decided.contains(&one.as_ref().terms.id));
        Ok(seen.map(|(one, _)| one).collect())
    }

    /// As [`accountability`](super::accountable::accountability), asked the other way round: by what is known of the person.
    fn answers_for(&self, hold: &Hold) -> bool {
        let agent = &hold.terms.agent;
        let is_own = |iss: &str, sub: &str| self.links.contains(&Identity { iss: iss.into(), sub: sub.into() });
        let owns = agent.owner.as_deref().is_some_and(|owner| match owner.strip_prefix("group/") {
            Some(group) => self.groups.contains(group),
            None => is_own(&agent.iss, owner),
        });
        owns || is_own(&agent.iss, &agent.sub) || agent.act.iter().any(|actor| is_own(&actor.iss, &actor.sub))
    }
}
