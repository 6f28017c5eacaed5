//! Changes of authority: by administrators at the API, each with a reason, and by the operator on the data folder.

use serde_json::{Value, json};

use super::{
    Service, Settings,
    accountable::accountable,
    decide::MAX_REASON,
    offboard::{cancel_group, lose_approvals},
    suspend,
    who::Who,
};
use crate::{
    domain::{
        AuthorityChange, Grant, Lasting, Unfit,
        authority::{ADMIN, WAITS_FOR_SECOND, check_id},
    },
    store::{
        Command, Connection, StoreError, Tx, access, agents, changes, directory,
        ledger::Event,
        people::{self, Person, Session},
    },
};

/// Who the ledger names for what was done on the data folder.
pub const OPERATOR: &str = "operator";

/// Why authority was not changed, or not shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("sign in first: this session has ended")]
    SessionEnded,
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error("this is for administrators: it needs the role `{ADMIN}`")]
    NotAdministrator,
    #[error("a change of authority needs a sign-in of the last 15 minutes; sign in again")]
    SignInAgain,
    #[error("nobody changes their own authority, or what they answer for; ask another administrator")]
    OwnAuthority,
    #[error("a change is confirmed by another administrator than the one who proposed it")]
    OwnProposal,
    #[error("the administrator who proposed this is none any more; propose it anew")]
    ProposerLost,
    #[error("say why: a change of authority needs a reason of 1 to 2000 characters")]
    Reason,
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Conflict(String),
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// It counts. The id is that of what was granted, where something was.
    Changed(Option<String>),
    /// It waits for a second person under this id.
    Proposed(String),
}

impl Service {
    /// Changes authority in the name of the administrator who is signed in.
    pub async fn change(&self, who: &Who, change: AuthorityChange, reason: &str) -> Result<Done, ChangeError> {
        let (who, reason) = (who.clone(), reason.to_owned());
        self.store.write(Ask { who, change, reason, now: self.now(), settings: self.settings }).await
    }

    /// Confirms or rejects a proposed change.
    pub async fn close_proposal(&self, who: &Who, id: &str, confirm: bool, reason: &str) -> Result<Done, ChangeError> {
        let (who, id, reason) = (who.clone(), id.to_owned(), reason.to_owned());
        self.store.write(Close { who, id, confirm, reason, now: self.now(), settings: self.settings }).await
    }

    /// Refuses who is no administrator at this moment.
    pub async fn check_administrator(&self, session: &Session) -> Result<(), ChangeError> {
        let mut connection = self.store.read().await?;
        let is = is_administrator(&mut connection, &session.person.id, self.now(), self.settings.lasting).await?;
        if is { Ok(()) } else { Err(ChangeError::NotAdministrator) }
    }
}

/// A change as an administrator asks for it.
struct Ask {
    who: Who,
    change: AuthorityChange,
    reason: String,
    now: u64,
    settings: Settings,
}

impl Command for Ask {
    type Answer = Done;
    type Error = ChangeError;

    async fn run(self, tx: &mut Tx) -> Result<Done, ChangeError> {
        let Ask { who, change, reason, now, settings } = self;
        let admin = administrator(tx, &who, now, settings.lasting).await?;
        check(&change, &reason)?;
        refuse_own(tx, &change, &admin.person.id).await?;
        let by = By { person: &admin.person.id, confirmed_by: None, reason: &reason };
        if settings.second_person && !change.takes_away() {
            let id = tx.propose(&change, &reason, by.person, now).await?;
            let data = by.fill(json!({"change": id, "proposed": change}));
            tx.record(Event { time: now, kind: "change.proposed", hold: None, decided_by: None, data })?;
            return Ok(Done::Proposed(id));
        }
        perform(tx, &change, &by, settings.lasting, now).await.map(Done::Changed)
    }
}

/// The answer of a second person to a proposal.
struct Close {
    who: Who,
    id: String,
    confirm: bool,
    reason: String,
    now: u64,
    settings: Settings,
}

impl Command for Close {
    type Answer = Done;
    type Error = ChangeError;

    async fn run(self, tx: &mut Tx) -> Result<Done, ChangeError> {
        let Close { who, id, confirm, reason, now, settings } = self;
        let admin = administrator(tx, &who, now, settings.lasting).await?;
        let nothing = || ChangeError::NotFound(format!("no change `{id}` waits for a second person"));
        let proposal = changes::find(tx, &id).await?.ok_or_else(nothing)?;
        if now >= proposal.proposed_at.saturating_add(WAITS_FOR_SECOND) {
            return Err(ChangeError::Conflict(format!(
                "change `{id}` has waited for more than 24 hours; propose it anew"
            )));
        }
        if reason.chars().nth(MAX_REASON).is_some() {
            return Err(ChangeError::Reason);
        }
        let (proposer, second) = (proposal.proposed_by.as_str(), admin.person.id.as_str());
        tx.close_proposal(&id, confirm, second, now).await?;
        if !confirm {
            // Whoever proposed it may take it back.
            let data = json!({"change": id, "by": second, "reason": reason});
            tx.record(Event { time: now, kind: "change.rejected", hold: None, decided_by: None, data })?;
            return Ok(Done::Changed(None));
        }
        if proposer == second {
            return Err(ChangeError::OwnProposal);
        }
        refuse_own(tx, &proposal.change, second).await?;
        if !is_administrator(tx, proposer, now, settings.lasting).await? {
            return Err(ChangeError::ProposerLost);
        }
        let by = By { person: proposer, confirmed_by: Some(second), reason: &proposal.reason };
        perform(tx, &proposal.change, &by, settings.lasting, now).await.map(Done::Changed)
    }
}

/// A change by whoever runs the service, on the data folder.
pub struct Operate {
    pub change: AuthorityChange,
    pub reason: String,
    pub now: u64,
}

impl Command for Operate {
    type Answer = Option<String>;
    type Error = ChangeError;

    async fn run(self, tx: &mut Tx) -> Result<Option<String>, ChangeError> {
        let Operate { change, reason, now } = self;
        change.check().map_err(ChangeError::Invalid)?;
        let by = By { person: OPERATOR, confirmed_by: None, reason: &reason };
        perform(tx, &change, &by, OPERATORS, now).await
    }
}

/// How long the serving process lets eligibility last is not known on the data folder: here only what is changed counts.
const OPERATORS: Lasting = Lasting { fresh: 15 * 60, recertify_within: u64::MAX };

/// The administrator behind a session, signed in a short while ago.
async fn administrator(tx: &mut Tx, who: &Who, now: u64, lasting: Lasting) -> Result<Session, ChangeError> {
    let session = who.session(tx, now).await?.ok_or(ChangeError::SessionEnded)?;
    session.unfit.map_or(Ok(()), Err)?;
    if !is_administrator(tx, &session.person.id, now, lasting).await? {
        return Err(ChangeError::NotAdministrator);
    }
    if session.signed_in_at.saturating_add(lasting.fresh) < now {
        return Err(ChangeError::SignInAgain);
    }
    Ok(session)
}

impl Service {
    /// Whether somebody has one of the built-in roles now, without a limit to what it is about.
    pub async fn has_role(&self, person: &str, roles: &[&str]) -> Result<bool, StoreError> {
        let mut connection = self.store.read().await?;
        has_role(&mut connection, person, roles, self.now(), self.settings.lasting).await
    }
}

/// Whether somebody is an administrator at a moment. The role has no scope: one that is limited gives nothing.
async fn is_administrator(
    connection: &mut Connection,
    person: &str,
    now: u64,
    lasting: Lasting,
) -> Result<bool, StoreError> {
    has_role(connection, person, &[ADMIN], now, lasting).await
}

pub(super) async fn has_role(
    connection: &mut Connection,
    person: &str,
    roles: &[&str],
    now: u64,
    lasting: Lasting,
) -> Result<bool, StoreError> {
    let own = people::eligibilities(connection, person).await?;
    let counts = |one: &crate::domain::Eligibility| {
        roles.contains(&one.role.as_str())
            && one.scope == Default::default()
            && one.holds_at(now, lasting.recertify_within)
    };
    Ok(own.iter().any(counts))
}

fn check(change: &AuthorityChange, reason: &str) -> Result<(), ChangeError> {
    if reason.trim().is_empty() || reason.chars().nth(MAX_REASON).is_some() {
        return Err(ChangeError::Reason);
    }
    change.check().map_err(ChangeError::Invalid)
}

/// Refuses what an administrator would change for themselves. Giving something up is nobody's business but theirs.
async fn refuse_own(tx: &mut Tx, change: &AuthorityChange, admin: &str) -> Result<(), ChangeError> {
    if let AuthorityChange::ResumeAgent { agent } = change {
        // Who answers for an agent stands with what it asked.
        for agent in agents::of(tx, agent).await? {
            if accountable(tx, &agent).await?.persons.contains(admin) {
                return Err(ChangeError::OwnAuthority);
            }
        }
    }
    let about = match change {
        AuthorityChange::Certify { id } => directory::find(tx, id).await?.map(|one| one.person),
        change if change.takes_away() => None,
        change => change.person().map(ToOwned::to_owned),
    };
    if about.as_deref() == Some(admin) { Err(ChangeError::OwnAuthority) } else { Ok(()) }
}

/// Who makes a change, and why.
pub(crate) struct By<'a> {
    pub(crate) person: &'a str,
    pub(crate) confirmed_by: Option<&'a str>,
    pub(crate) reason: &'a str,
}

impl By<'_> {
    /// Adds to what the ledger says of a change who made it and why.
    fn fill(&self, mut data: Value) -> Value {
        if let Value::Object(members) = &mut data {
            members.insert("by".into(), self.person.into());
            members.insert("reason".into(), self.reason.into());
            if let Some(second) = self.confirmed_by {
                members.insert("confirmed_by".into(), second.into());
            }
        }
        data
    }
}

/// Makes a change, with all that ends by it, and records it. Gives the id of what was granted.
pub(crate) async fn perform(
    tx: &mut Tx,
    change: &AuthorityChange,
    by: &By<'_>,
    lasting: Lasting,
    now: u64,
) -> Result<Option<String>, ChangeError> {
    let kind = match change {
        AuthorityChange::Grant(grant) => return granted(tx, grant, by, now).await.map(Some),
        AuthorityChange::SuspendAgent { agent } => {
            let done = suspend::suspend(tx, agent, by.fill(json!({"agent": agent})), now).await?;
            changed(done.is_some(), || format!("the agent `{}` is suspended already", agent.sub))?;
            return Ok(None);
        }
        AuthorityChange::ResumeAgent { agent } => {
            let done = suspend::resume(tx, agent, by.fill(json!({"agent": agent})), now).await?;
            changed(done, || format!("no agent `{}` of `{}` is suspended", agent.sub, agent.iss))?;
            return Ok(None);
        }
        AuthorityChange::EndEligibility { id } | AuthorityChange::Certify { id } => {
            let nothing = || ChangeError::NotFound(format!("there is no eligibility `{id}`, or it has ended"));
            let one = directory::find(tx, id).await?.ok_or_else(nothing)?;
            let ends = matches!(change, AuthorityChange::EndEligibility { .. });
            let kind = if ends { "eligibility.ended" } else { "eligibility.certified" };
            record(tx, kind, by.fill(json!({"id": id, "person": one.person, "role": one.role})), now)?;
            if ends {
                tx.end_eligibility(id, by.person, now).await?;
                lose_approvals(tx, (&one.person, Some(&one.role)), lasting, now).await?;
            } else {
                tx.certify(id, now).await?;
            }
            return Ok(None);
        }
        AuthorityChange::RetireGateway { fingerprint } => {
            let nothing = || ChangeError::NotFound(format!("no valid credential has the fingerprint `{fingerprint}`"));
            let group = tx.retire_gateway(fingerprint, now).await?.ok_or_else(nothing)?;
            record(tx, "gateway.retired", by.fill(json!({"name": group, "fingerprint": fingerprint})), now)?;
            return Ok(None);
        }
        AuthorityChange::RetirePublisher { fingerprint } => {
            let nothing = || ChangeError::NotFound(format!("no valid credential has the fingerprint `{fingerprint}`"));
            let name = tx.retire_publisher(fingerprint, now).await?.ok_or_else(nothing)?;
            record(tx, "publisher.retired", by.fill(json!({"name": name, "fingerprint": fingerprint})), now)?;
            return Ok(None);
        }
        AuthorityChange::SuspendGateways { group } => {
            if !access::is_group(tx, group).await? {
                return Err(ChangeError::NotFound(format!("there is no gateway group `{group}`")));
            }
            changed(tx.suspend_group(group, now).await?, || format!("the group `{group}` is suspended already"))?;
            record(tx, "gateway.suspended", by.fill(json!({"group": group})), now)?;
            cancel_group(tx, group, now).await?;
            return Ok(None);
        }
        AuthorityChange::ResumeGateways { group } => {
            changed(tx.resume_group(group).await?, || format!("no gateway group `{group}` is suspended"))?;
            "gateway.resumed"
        }
        AuthorityChange::AddPerson { person, name } => {
            let known = directory::person(tx, person).await?.is_some() || person == OPERATOR;
            changed(!known, || format!("the id `{person}` is taken"))?;
            tx.insert_person(&Person { id: person.clone(), name: name.clone() }, None).await?;
            "person.added"
        }
        AuthorityChange::AddGroup { group, name } => {
            changed(directory::group_name(tx, group).await?.is_none(), || {
                format!("the group `{group}` is there already")
            })?;
            tx.insert_group(group, name, &[]).await?;
            "group.added"
        }
        AuthorityChange::AddMember { group, person } | AuthorityChange::RemoveMember { group, person } => {
            known_person(tx, person).await?;
            if directory::group_name(tx, group).await?.is_none() {
                return Err(ChangeError::NotFound(format!("there is no group `{group}`")));
            }
            if matches!(change, AuthorityChange::AddMember { .. }) {
                let is = || format!("`{person}` is a member of `{group}` already");
                changed(tx.insert_member(group, person).await?, is)?;
                "group.member_added"
            } else {
                changed(tx.delete_member(group, person).await?, || format!("`{person}` is no member of `{group}`"))?;
                "group.member_removed"
            }
        }
        AuthorityChange::RenamePerson { person, name } => {
            known_person(tx, person).await?;
            tx.rename_person(person, name).await?;
            "person.renamed"
        }
        AuthorityChange::SuspendPerson { person } => {
            known_person(tx, person).await?;
            changed(tx.suspend_person(person, now).await?, || format!("`{person}` is suspended already"))?;
            record(tx, "person.suspended", by.fill(json!({"person": person})), now)?;
            lose_approvals(tx, (person, None), lasting, now).await?;
            return Ok(None);
        }
        AuthorityChange::ResumePerson { person } => {
            known_person(tx, person).await?;
            changed(tx.resume_person(person).await?, || format!("`{person}` is not suspended"))?;
            "person.resumed"
        }
        AuthorityChange::Link { person, iss, sub } => {
            known_person(tx, person).await?;
            let other = people::linked(tx, iss, sub).await?;
            changed(other.is_none(), || format!("the identity `{sub}` at `{iss}` belongs to a person already"))?;
            tx.insert_link(person, iss, sub).await?;
            "person.linked"
        }
        AuthorityChange::Unlink { person, iss, sub } => {
            known_person(tx, person).await?;
            let done = tx.delete_link(person, iss, sub).await?;
            changed(done, || format!("`{person}` has no identity `{sub}` at `{iss}`"))?;
            "person.unlinked"
        }
    };
    let mut data = serde_json::to_value(change).map_err(StoreError::Json)?;
    if let Value::Object(members) = &mut data {
        members.remove("what");
    }
    record(tx, kind, by.fill(data), now)?;
    Ok(None)
}

async fn granted(tx: &mut Tx, grant: &Grant, by: &By<'_>, now: u64) -> Result<String, ChangeError> {
    known_person(tx, &grant.person).await?;
    if grant.role == ADMIN && grant.scope != Default::default() {
        return Err(ChangeError::Invalid(format!("`{ADMIN}` has no scope; leave it out")));
    }
    if grant.until.is_some_and(|until| until <= now) {
        return Err(ChangeError::Invalid("`until` has passed already".into()));
    }
    let id = tx.grant_eligibility(grant, by.person, now).await?;
    record(tx, "eligibility.granted", by.fill(grant_data(&id, grant, by.person)), now)?;
    Ok(id)
}

/// What the ledger says of something that was granted.
pub(crate) fn grant_data(id: &str, grant: &Grant, granted_by: &str) -> Value {
    let Grant { person, role, scope, from, until } = grant;
    json!({"id": id, "person": person, "role": role, "scope": scope, "from": from, "until": until,
           "granted_by": granted_by})
}

async fn known_person(tx: &mut Tx, id: &str) -> Result<(), ChangeError> {
    let found = if check_id(id).is_ok() { directory::person(tx, id).await? } else { None };
    found.map(|_| ()).ok_or_else(|| ChangeError::NotFound(format!("no person has the id `{id}`")))
}

fn changed(done: bool, why: impl FnOnce() -> String) -> Result<(), ChangeError> {
    if done { Ok(()) } else { Err(ChangeError::Conflict(why())) }
}

fn record(tx: &mut Tx, kind: &'static str, data: Value, now: u64) -> Result<(), StoreError> {
    tx.record(Event { time: now, kind, hold: None, decided_by: None, data })
}
