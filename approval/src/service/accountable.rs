//! Who answers for agents.

use std::collections::{BTreeSet, HashMap};

use holdgate_protocol::{Actor, Agent};

use crate::{
    domain::Accountability,
    store::{Connection, StoreError, people},
};

/// Who answers for one agent.
pub(super) async fn accountable(connection: &mut Connection, agent: &Agent) -> Result<Accountability, StoreError> {
    Ok(accountability(agent, &Directory::of(connection, &[agent]).await?))
}

/// The persons who answer for an agent: its owner, the token's subject, and every actor that is a person.
///
/// The subject must be known where somebody acts for it. Elsewhere subject and actors are agents as a rule; where one of
/// them is a person all the same, the request is that person's own.
pub(super) fn accountability(agent: &Agent, directory: &Directory) -> Accountability {
    let mut accountable = Accountability::default();
    let linked =
        |iss: &str, sub: &str| directory.links.get(&Actor { iss: iss.to_owned(), sub: sub.to_owned() }).cloned();
    match agent.owner.as_deref() {
        None => accountable.unknown = Some("the agent has no owner".into()),
        Some(owner) => match owner.strip_prefix("group/") {
            Some(group) => {
                accountable.persons = directory.members.get(group).cloned().unwrap_or_default();
                if accountable.persons.is_empty() {
                    accountable.unknown =
                        Some(format!("the owner `{owner}` is no group of the directory with members"));
                }
            }
            None => match linked(&agent.iss, owner) {
                Some(person) => drop(accountable.persons.insert(person)),
                None => {
                    let iss = &agent.iss;
                    accountable.unknown = Some(format!("the owner `{owner}` at `{iss}` is no person of the directory"));
                }
            },
        },
    }
    match linked(&agent.iss, &agent.sub) {
        Some(person) => drop(accountable.persons.insert(person)),
        None if agent.act.is_empty() => {}
        None => {
            let (iss, sub) = (&agent.iss, &agent.sub);
            let why = format!("the subject `{sub}` at `{iss}`, for whom the agent acts, is no person of the directory");
            accountable.unknown.get_or_insert(why);
        }
    }
    accountable.persons.extend(agent.act.iter().filter_map(|actor| linked(&actor.iss, &actor.sub)));
    accountable
}

/// What the directory knows of the names in some agents.
pub(super) struct Directory {
    links: HashMap<Actor, String>,
    members: HashMap<String, BTreeSet<String>>,
}

impl Directory {
    pub(super) async fn of(connection: &mut Connection, agents: &[&Agent]) -> Result<Self, StoreError> {
        let (mut names, mut groups) = (BTreeSet::new(), BTreeSet::new());
        for agent in agents {
            match agent.owner.as_deref().map(|owner| (owner, owner.strip_prefix("group/"))) {
                Some((_, Some(group))) => drop(groups.insert(group)),
                Some((owner, None)) => drop(names.insert((agent.iss.as_str(), owner))),
                None => {}
            }
            names.insert((&agent.iss, &agent.sub));
            names.extend(agent.act.iter().map(|actor| (actor.iss.as_str(), actor.sub.as_str())));
        }
        let links = people::all_linked(connection, &names.into_iter().collect::<Vec<_>>()).await?;
        let members = people::all_members(connection, &groups.into_iter().collect::<Vec<_>>()).await?;
        Ok(Directory { links, members })
    }
}
