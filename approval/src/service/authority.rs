//! Who may decide on what: the directory, asked once for each person and each agent of a transaction.

use std::collections::{BTreeSet, HashMap, hash_map::Entry};

use holdgate_protocol::Hash;

use super::accountability;
use crate::{
    domain::{Accountability, Approval, Eligibility, Lasting, Terms, eligibility},
    store::{Connection, StoreError, people},
};

/// What the directory says at a moment.
pub(super) struct Authority {
    now: u64,
    lasting: Lasting,
    eligibilities: HashMap<String, Vec<Eligibility>>,
    /// By agent.
    accountable: HashMap<Hash, Accountability>,
}

impl Authority {
    pub(super) fn at(now: u64, lasting: Lasting) -> Self {
        Authority { now, lasting, eligibilities: HashMap::new(), accountable: HashMap::new() }
    }

    /// The roles that a person has for a hold.
    pub(super) async fn roles(
        &mut self,
        connection: &mut Connection,
        person: &str,
        terms: &Terms,
    ) -> Result<BTreeSet<String>, StoreError> {
        let own = match self.eligibilities.entry(person.to_owned()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(people::eligibilities(connection, person).await?),
        };
        Ok(eligibility::roles(own, terms, self.now, self.lasting.recertify_within))
    }

    /// Fills in what those who approved a hold may decide on now.
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
            Entry::Vacant(place) => Ok(place.insert(accountability(connection, &terms.agent).await?)),
        }
    }
}
