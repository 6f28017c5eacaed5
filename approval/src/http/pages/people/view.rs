//! What the page of people shows.

use std::collections::HashMap;

use askama::Template;

use super::{Ask, PAGE, Reader};
use crate::{
    domain::{
        AuthorityChange, Eligibility, Scope,
        authority::{ADMIN, WAITS_FOR_SECOND},
    },
    http::{
        error::Failure,
        extract::FormFields,
        text::{Html, distance, line, lines, moment},
    },
    store::{agents::AgentLine, changes::Proposal, directory::PersonLine},
};

/// What was read for the page.
pub(super) struct Found {
    pub(super) eligibility: Vec<Eligibility>,
    pub(super) people: Vec<PersonLine>,
    /// With the eligibility that a proposal is about.
    pub(super) waiting: Vec<(Proposal, Option<Eligibility>)>,
    /// Agents whose suspension is proposed.
    pub(super) agents: Vec<AgentLine>,
    /// Ids of people who are suspended.
    pub(super) suspended: Vec<String>,
    pub(super) names: HashMap<String, String>,
}

/// A form that was refused.
pub(super) struct Given<'f> {
    pub(super) failure: Failure,
    pub(super) form: &'f FormFields,
}

#[derive(Template)]
#[template(path = "people.html")]
pub(super) struct PeoplePage {
    reader: Reader,
    may_change: bool,
    own: String,
    problem: Option<Html>,
    sign_in_again: bool,
    waiting: Vec<WaitingRow>,
    agents: Vec<AgentRow>,
    rows: Vec<Row>,
    people: Vec<PersonRow>,
    ask: Ask,
    narrowed: String,
    /// Where each of the two tables goes on.
    next: Option<String>,
    behind: Option<String>,
    grant: GrantForm,
}

struct Row {
    id: String,
    person: String,
    name: Html,
    suspended: bool,
    role: Html,
    scope: Html,
    from: Option<String>,
    until: Option<String>,
    granted: String,
    granted_by: Html,
    certified: String,
    /// When it is to be certified again, and whether that is soon.
    due: Option<(String, String, bool)>,
    /// Whether it gives nothing now, and why.
    idle: Option<&'static str>,
}

struct PersonRow {
    id: String,
    name: Html,
    suspended: Option<String>,
}

struct WaitingRow {
    id: String,
    what: Html,
    more: Option<Html>,
    reason: Html,
    by: Html,
    by_id: String,
    when: String,
    ends: String,
}

struct AgentRow {
    iss: String,
    sub: String,
    shown: (Html, Html),
    open: u64,
    when: String,
}

/// What was typed into the form for a grant.
#[derive(Default)]
struct GrantForm {
    open: bool,
    person: String,
    role: String,
    rules: String,
    groups: String,
    agents: String,
    policy: String,
    from: String,
    until: String,
    reason: String,
}

impl PeoplePage {
    pub(super) fn new(
        reader: Reader,
        found: Found,
        ask: &Ask,
        (now, within): (u64, u64),
        given: Option<Given<'_>>,
    ) -> Result<Self, Failure> {
        let Found { eligibility, people, waiting, agents, suspended, names } = found;
        let full = |count: usize| u32::try_from(count).is_ok_and(|count| count >= PAGE);
        let next = eligibility.last().filter(|_| full(eligibility.len())).map(|last| last.id.clone());
        let behind = people.last().filter(|_| full(people.len())).map(|last| last.id.clone());
        let row = |one: &Eligibility| row(one, &names, suspended.contains(&one.person), (now, within));
        let typed = given.as_ref().filter(|given| given.form.text("what") == "grant");
        Ok(PeoplePage {
            reader,
            may_change: false,
            own: String::new(),
            sign_in_again: false,
            waiting: waiting.iter().map(|(proposal, about)| waiting_row(proposal, about.as_ref(), &names)).collect(),
            agents: agents.into_iter().map(agent_row).collect(),
            rows: eligibility.iter().map(row).collect(),
            people: people.iter().map(person_row).collect(),
            narrowed: ask.narrowed(),
            ask: ask.clone(),
            next,
            behind,
            grant: typed.map(|given| grant_form(given.form)).unwrap_or_default(),
            problem: given.map(|given| line(&given.failure.detail)),
        })
    }

    /// For whom it is: who may change nothing has no forms.
    pub(super) fn for_reader(self, own: &str, may_change: bool, sign_in_again: bool) -> Self {
        PeoplePage { own: own.to_owned(), may_change, sign_in_again, ..self }
    }
}

fn name(person: &str, names: &HashMap<String, String>) -> Html {
    names.get(person).map_or_else(|| line(person), |name| line(name))
}

fn row(one: &Eligibility, names: &HashMap<String, String>, suspended: bool, (now, within): (u64, u64)) -> Row {
    let certify_by = one.granted_at.max(one.certified_at).checked_add(within);
    let over = |until: Option<u64>| until.is_some_and(|until| until <= now);
    let idle = if suspended {
        Some("the person is suspended")
    } else if one.from.is_some_and(|from| now < from) {
        Some("not yet")
    } else if over(one.until) {
        Some("over")
    } else if over(certify_by) {
        Some("not certified in time")
    } else {
        None
    };
    let due = certify_by.map(|by| (distance(by, now), moment(by), by < now.saturating_add(super::SOON)));
    Row {
        id: one.id.clone(),
        person: one.person.clone(),
        name: name(&one.person, names),
        suspended,
        role: line(&one.role),
        scope: if one.role == ADMIN { line("the directory") } else { line(&scope(&one.scope)) },
        from: one.from.map(moment),
        until: one.until.map(moment),
        granted: moment(one.granted_at),
        granted_by: name(&one.granted_by, names),
        certified: moment(one.certified_at),
        due,
        idle,
    }
}

/// A scope in words.
fn scope(scope: &Scope) -> String {
    let Scope { rules, groups, agents, policy } = scope;
    let mut parts = Vec::new();
    if let Some(rules) = rules {
        let rules: Vec<String> = rules.iter().map(ToString::to_string).collect();
        parts.push(format!("rules {}", rules.join(", ")));
    }
    if let Some(groups) = groups {
        parts.push(format!("gateway groups {}", groups.join(", ")));
    }
    if let Some(agents) = agents {
        let agents: Vec<String> = agents.iter().map(|agent| format!("{} at {}", agent.sub, agent.iss)).collect();
        parts.push(format!("agents {}", agents.join(", ")));
    }
    if let Some(policy) = policy {
        parts.push(format!("policy {policy}"));
    }
    if parts.is_empty() { "everything".to_owned() } else { parts.join("; ") }
}

fn person_row(person: &PersonLine) -> PersonRow {
    PersonRow { id: person.id.clone(), name: line(&person.name), suspended: person.suspended_at.map(moment) }
}

fn waiting_row(proposal: &Proposal, about: Option<&Eligibility>, names: &HashMap<String, String>) -> WaitingRow {
    let at = |at: Option<u64>, none: &str| at.map_or_else(|| none.to_owned(), moment);
    let more = match (&proposal.change, about) {
        (AuthorityChange::Grant(grant), _) => Some(format!(
            "for {}; from {} until {}",
            scope(&grant.scope),
            at(grant.from, "now"),
            at(grant.until, "it is ended")
        )),
        (_, Some(one)) => Some(format!("`{}` as `{}` for {}", one.person, one.role, scope(&one.scope))),
        _ => None,
    };
    WaitingRow {
        id: proposal.id.clone(),
        what: line(&proposal.change.to_string()),
        more: more.as_deref().map(line),
        reason: lines(&proposal.reason),
        by: name(&proposal.proposed_by, names),
        by_id: proposal.proposed_by.clone(),
        when: moment(proposal.proposed_at),
        ends: moment(proposal.proposed_at.saturating_add(WAITS_FOR_SECOND)),
    }
}

fn agent_row(agent: AgentLine) -> AgentRow {
    AgentRow {
        shown: (line(&agent.sub), line(&agent.iss)),
        open: agent.open,
        when: agent.proposed_at.map(moment).unwrap_or_default(),
        iss: agent.iss,
        sub: agent.sub,
    }
}

fn grant_form(form: &FormFields) -> GrantForm {
    let at = |name: &str| form.text(name).to_owned();
    GrantForm {
        open: true,
        person: at("person"),
        role: at("role"),
        rules: at("rules"),
        groups: at("groups"),
        agents: at("agents"),
        policy: at("policy"),
        from: at("from"),
        until: at("until"),
        reason: at("reason"),
    }
}
