//! Who may decide on what: the directory, asked once for each person and each agent of a transaction.

use std::collections::{BTreeSet, HashMap, hash_map::Entry};

use holdgate_protocol::{Agent, Hash};

use super::accountable::{Directory, accountability, accountable};
use crate::{
    domain::{Accountability, Approval, Eligibility, Lasting, Terms, authority::is_built_in, eligibility},
    store::{Connection, StoreError, people},
};

/// What the directory says at a moment.
pub(super) struct Authority {
    now: u64,
    lasting: Lasting,
    /// What each is eligible for.
    persons: HashMap<String, Vec<Eligibility>>,
    /// By agent.
    accountable: HashMap<Hash, Accountability>,
}

impl Authority {
    pub(super) fn at(now: u64, lasting: Lasting) -> Self {
        Authority { now, lasting, persons: HashMap::new(), accountable: HashMap::new() }
    }

    /// The roles that a person has for a hold. The service's own roles are none: they give no right to decide. Nor does what was
    /// granted by somebody who answers for the hold's agent: they would choose who decides on their own request.
    pub(super) async fn roles(
        &mut self,
        connection: &mut Connection,
        person: &str,
        terms: &Terms,
    ) -> Result<BTreeSet<String>, StoreError> {
        let (now, within) = (self.now, self.lasting.recertify_within);
        let own = self.accountable(connection, terms).await?.persons.clone();
        let known = self.known(connection, person).await?.iter().filter(|one| !own.contains(&one.granted_by));
        let mut roles = eligibility::roles(known, terms, now, within);
        roles.retain(|role| !is_built_in(role));
        Ok(roles)
    }

    /// Leaves of approvals what their persons may decide on still.
    pub(super) async fn look_at(
        &mut self,
        connection: &mut Connection,
        approvals: &mut [Approval],
        terms: &Terms,
    ) -> Result<(), StoreError> {
        for approval in approvals {
            approval.now = self.roles(connection, &approval.person, terms).await?;
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
            Entry::Vacant(place) => Ok(place.insert(accountable(connection, &terms.agent).await?)),
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

    async fn known(&mut self, connection: &mut Connection, person: &str) -> Result<&Vec<Eligibility>, StoreError> {
        match self.persons.entry(person.to_owned()) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => Ok(place.insert(people::eligibilities(connection, person).await?)),
        }
    }
}
