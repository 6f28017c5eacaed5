//! Who may decide on what: the directory, asked once for each person and each agent of a transaction.

use std::collections::{BTreeSet, HashMap, hash_map::Entry};

use holdgate_protocol::{Agent, Hash};

use super::accountable::{Directory, accountability};
use crate::{
    domain::{Accountability, Approval, Eligibility, Lasting, Terms, authority::is_built_in, eligibility},
    store::{Connection, StoreError, people},
};

/// What the directory says at a moment.
pub(super) struct Authority {
    now: u64,
    lasting: Lasting,
    persons: HashMap<String, Known>,
    /// By agent.
    accountable: HashMap<Hash, Accountability>,
}

struct Known {
    eligibilities: Vec<Eligibility>,
    resumed_at: Option<u64>,
}

impl Authority {
    pub(super) fn at(now: u64, lasting: Lasting) -> Self {
        Authority { now, lasting, persons: HashMap::new(), accountable: HashMap::new() }
    }

    /// The roles that a person has for a hold. The service's own roles are none: they give no right to decide.
    pub(super) async fn roles(
        &mut self,
        connection: &mut Connection,
        person: &str,
        terms: &Terms,
    ) -> Result<BTreeSet<String>, StoreError> {
        let (now, within) = (self.now, self.lasting.recertify_within);
        let known = self.known(connection, person).await?;
        let mut roles = eligibility::roles(&known.eligibilities, terms, now, within);
        roles.retain(|role| !is_built_in(role));
        Ok(roles)
    }

    /// Leaves of approvals what their persons may decide on still. What somebody approved before they were suspended counts no
    /// more, also after they were resumed.
    pub(super) async fn look_at(
        &mut self,
        connection: &mut Connection,
        approvals: &mut [Approval],
        terms: &Terms,
    ) -> Result<(), StoreError> {
        for approval in approvals {
            let now = self.roles(connection, &approval.person, terms).await?;
            let resumed_at = self.known(connection, &approval.person).await?.resumed_at;
            let lost = resumed_at.is_some_and(|resumed| approval.at <= resumed);
            approval.now = if lost { BTreeSet::new() } else { now };
        }
        Ok(())
    }

    /// Who answers for the agent of a hold.
    pub(super) async fn accountable(
        &mut self,
        connection: &mut Connection,
        terms: &Terms,
    ) -> Result<&Accountability, StoreError> {
        match self.accountable.entry(terms.agent_key) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => {
                let directory = Directory::of(connection, &[&terms.agent]).await?;
                Ok(place.insert(accountability(&terms.agent, &directory)))
            }
        }
    }

    /// Looks up who answers for the agents of all these holds at once.
    pub(super) async fn look_up(
        &mut self,
        connection: &mut Connection,
        all: impl Iterator<Item = &Terms>,
    ) -> Result<(), StoreError> {
        let agents: HashMap<Hash, &Agent> = all.map(|terms| (terms.agent_key, &terms.agent)).collect();
        let directory = Directory::of(connection, &agents.values().copied().collect::<Vec<_>>()).await?;
        self.accountable.extend(agents.into_iter().map(|(key, agent)| (key, accountability(agent, &directory))));
        Ok(())
    }

    async fn known(&mut self, connection: &mut Connection, person: &str) -> Result<&Known, StoreError> {
        match self.persons.entry(person.to_owned()) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => {
                let eligibilities = people::eligibilities(connection, person).await?;
                let resumed_at = people::resumed_at(connection, person).await?;
                Ok(place.insert(Known { eligibilities, resumed_at }))
            }
        }
    }
}
