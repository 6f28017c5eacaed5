//! What a directory file adds to a directory that is there already. Nothing is taken away: what the file does not name is
//! told, and stays.

use std::collections::BTreeSet;

use super::{Directory, Entry, Group};
use crate::{
    domain::{AuthorityChange, Eligibility, Grant, Lasting},
    service::change::{By, ChangeError, OPERATOR, perform},
    store::{
        Command, Connection, StoreError, Tx,
        directory::{self, Identity},
        people,
    },
};

/// How many persons are read at once.
const AT_ONCE: u32 = 1000;

/// What would be done.
#[derive(Debug, Default)]
pub struct Plan {
    pub changes: Vec<AuthorityChange>,
    /// What the file does not name, and stays.
    pub kept: Vec<String>,
    /// New persons with the hashes of their passwords. Those of others stay as they are.
    passwords: Vec<(String, String)>,
}

impl Directory {
    /// Compares the file with what is there.
    pub async fn plan(&self, connection: &mut Connection) -> Result<Plan, StoreError> {
        let mut plan = Plan::default();
        for entry in &self.people {
            plan.person(connection, entry).await?;
        }
        for group in &self.groups {
            plan.group(connection, group).await?;
        }
        let named: BTreeSet<&str> = self.people.iter().map(|entry| entry.person.id.as_str()).collect();
        let mut after = String::new();
        loop {
            let some = directory::persons(connection, &after, AT_ONCE).await?;
            let Some(last) = some.last() else { return Ok(plan) };
            after.clone_from(&last.id);
            let others = some.iter().filter(|person| !named.contains(person.id.as_str()));
            plan.kept.extend(others.map(|person| format!("person `{}`", person.id)));
        }
    }
}

impl Plan {
    async fn person(&mut self, connection: &mut Connection, entry: &Entry) -> Result<(), StoreError> {
        let (person, name) = (entry.person.id.clone(), entry.person.name.clone());
        let known = directory::person(connection, &person).await?;
        match &known {
            None => {
                let hash = entry.password_hash.clone();
                self.passwords.extend(hash.map(|hash| (person.clone(), hash)));
                self.changes.push(AuthorityChange::AddPerson { person: person.clone(), name });
            }
            Some(known) if known.name != name => {
                self.changes.push(AuthorityChange::RenamePerson { person: person.clone(), name });
            }
            Some(_) => {}
        }
        let links = directory::links(connection, &person).await?;
        let named = |link: &super::Link| Identity { iss: link.iss.clone(), sub: link.sub.clone() };
        let wanted: Vec<Identity> = entry.links.iter().map(named).collect();
        let extra = links.iter().filter(|link| !wanted.contains(link));
        self.kept.extend(extra.map(|link| format!("identity `{}` at `{}` of `{person}`", link.sub, link.iss)));
        for Identity { iss, sub } in wanted.into_iter().filter(|link| !links.contains(link)) {
            self.changes.push(AuthorityChange::Link { person: person.clone(), iss, sub });
        }
        let suspended = known.is_some_and(|known| known.suspended_at.is_some());
        let there = match suspended {
            // The suspended have nothing that counts, but they have it still.
            true => {
                let wanted = directory::Wanted { person: Some(&person), ..directory::Wanted::default() };
                directory::eligibilities(connection, wanted, AT_ONCE).await?
            }
            false => people::eligibilities(connection, &person).await?,
        };
        let is = |one: &Eligibility, grant: &Grant| {
            (&one.role, &one.scope, one.from, one.until) == (&grant.role, &grant.scope, grant.from, grant.until)
        };
        let extra = there.iter().filter(|one| !entry.eligibility.iter().any(|grant| is(one, grant)));
        self.kept.extend(extra.map(|one| format!("eligibility {} of `{person}` for `{}`", one.id, one.role)));
        let new = entry.eligibility.iter().filter(|grant| !there.iter().any(|one| is(one, grant)));
        self.changes.extend(new.cloned().map(AuthorityChange::Grant));
        Ok(())
    }

    async fn group(&mut self, connection: &mut Connection, group: &Group) -> Result<(), StoreError> {
        if directory::group_name(connection, &group.id).await?.is_none() {
            self.changes.push(AuthorityChange::AddGroup { group: group.id.clone(), name: group.name.clone() });
        }
        let members = people::members(connection, &group.id).await?;
        let extra = members.iter().filter(|member| !group.members.contains(member));
        self.kept.extend(extra.map(|member| format!("member `{member}` of `{}`", group.id)));
        for person in group.members.iter().filter(|member| !members.contains(*member)) {
            self.changes.push(AuthorityChange::AddMember { group: group.id.clone(), person: person.clone() });
        }
        Ok(())
    }
}

/// Does what was planned, all or nothing.
pub struct Update {
    pub plan: Plan,
    pub now: u64,
}

impl Command for Update {
    type Answer = ();
    type Error = ChangeError;

    async fn run(self, tx: &mut Tx) -> Result<(), ChangeError> {
        let by = By { person: OPERATOR, confirmed_by: None, reason: "directory import" };
        for change in &self.plan.changes {
            perform(tx, change, &by, Lasting::default(), self.now).await?;
        }
        for (person, hash) in &self.plan.passwords {
            tx.set_password(person, hash).await?;
        }
        Ok(())
    }
}
