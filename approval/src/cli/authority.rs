//! Persons, groups and eligibility on the data folder: the operator's way, which needs no administrator.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use holdgate_protocol::Actor;
use serde::Serialize;

use super::{CliError, Data, existing, fail, named};
use crate::{
    clock::{Clock as _, WallClock},
    directory::{self, Directory, Update},
    domain::{AuthorityChange, Grant, RulePattern, Scope},
    service::{change::Operate, decide::check_reason},
    store::{
        access,
        directory::{Wanted, eligibilities},
    },
};

/// The most eligibilities in one list.
const MAX_LINES: u32 = 10_000;

#[derive(Debug, Args)]
pub(super) struct Why {
    /// Why, for the ledger.
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    data: Data,
}

#[derive(Debug, Args)]
pub(super) struct AddPerson {
    id: String,
    /// The name that reviewers see.
    #[arg(long)]
    name: String,
    #[command(flatten)]
    why: Why,
}

#[derive(Debug, Args)]
pub(super) struct OnePerson {
    id: String,
    #[command(flatten)]
    why: Why,
}

#[derive(Debug, Args)]
pub(super) struct OneCredential {
    /// As `list` tells it: the first 16 hex digits of the credential's SHA-256.
    fingerprint: String,
    #[command(flatten)]
    why: Why,
}

#[derive(Debug, Args)]
pub(super) struct OneGroup {
    group: String,
    #[command(flatten)]
    why: Why,
}

#[derive(Debug, Args)]
pub(super) struct LinkPerson {
    id: String,
    /// The issuer of the person's tokens.
    iss: String,
    /// The person: the `sub` of those tokens.
    sub: String,
    #[command(flatten)]
    why: Why,
}

#[derive(Debug, Subcommand)]
pub(super) enum GroupTask {
    /// Add a group without members.
    Add {
        id: String,
        #[arg(long)]
        name: String,
        #[command(flatten)]
        why: Why,
    },
    /// Add a member to a group, or take one out of it.
    Member {
        group: String,
        person: String,
        #[arg(long)]
        remove: bool,
        #[command(flatten)]
        why: Why,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum EligibilityTask {
    /// Give a person a role. What is not limited is for all.
    Grant(GrantRole),
    /// End an eligibility, and what it carried.
    End {
        id: String,
        #[command(flatten)]
        why: Why,
    },
    /// Say that an eligibility is still needed.
    Certify {
        id: String,
        #[command(flatten)]
        why: Why,
    },
    /// List what persons are eligible for.
    List {
        #[arg(long)]
        person: Option<String>,
        #[command(flatten)]
        data: Data,
    },
}

#[derive(Debug, Args)]
pub(super) struct GrantRole {
    person: String,
    /// A role of the policy, `holdgate-admin` or `holdgate-auditor`.
    role: String,
    /// For holds of this policy only.
    #[arg(long)]
    policy: Option<String>,
    /// For holds of these rules only: ids, or beginnings of them with `*`. May be repeated.
    #[arg(long, value_name = "PATTERN")]
    rule: Vec<RulePattern>,
    /// For these gateway groups only. May be repeated.
    #[arg(long)]
    group: Vec<String>,
    /// For these agents only. May be repeated.
    #[arg(long, num_args = 2, value_names = ["ISS", "SUB"])]
    agent: Vec<String>,
    /// A date, or an RFC 3339 time.
    #[arg(long)]
    from: Option<String>,
    /// A date, which counts whole, or an RFC 3339 time.
    #[arg(long)]
    until: Option<String>,
    #[command(flatten)]
    why: Why,
}

#[derive(Debug, Subcommand)]
pub(super) enum DirectoryTask {
    /// Show what a directory file would add and change; with `--yes` do so. Nothing is taken away.
    Import {
        file: PathBuf,
        /// Do it.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        data: Data,
    },
}

pub(super) async fn add_person(AddPerson { id, name, why }: AddPerson) -> Result<(), CliError> {
    operate(AuthorityChange::AddPerson { person: id, name }, why).await.map(|_| ())
}

pub(super) async fn suspend_person(OnePerson { id, why }: OnePerson) -> Result<(), CliError> {
    operate(AuthorityChange::SuspendPerson { person: id }, why).await.map(|_| ())
}

pub(super) async fn resume_person(OnePerson { id, why }: OnePerson) -> Result<(), CliError> {
    operate(AuthorityChange::ResumePerson { person: id }, why).await.map(|_| ())
}

pub(super) async fn link_person(LinkPerson { id, iss, sub, why }: LinkPerson) -> Result<(), CliError> {
    operate(AuthorityChange::Link { person: id, iss, sub }, why).await.map(|_| ())
}

pub(super) async fn unlink_person(LinkPerson { id, iss, sub, why }: LinkPerson) -> Result<(), CliError> {
    operate(AuthorityChange::Unlink { person: id, iss, sub }, why).await.map(|_| ())
}

pub(super) async fn retire_gateway(OneCredential { fingerprint, why }: OneCredential) -> Result<(), CliError> {
    operate(AuthorityChange::RetireGateway { fingerprint }, why).await.map(|_| ())
}

pub(super) async fn retire_publisher(OneCredential { fingerprint, why }: OneCredential) -> Result<(), CliError> {
    operate(AuthorityChange::RetirePublisher { fingerprint }, why).await.map(|_| ())
}

pub(super) async fn suspend_gateways(OneGroup { group, why }: OneGroup) -> Result<(), CliError> {
    operate(AuthorityChange::SuspendGateways { group }, why).await.map(|_| ())
}

pub(super) async fn resume_gateways(OneGroup { group, why }: OneGroup) -> Result<(), CliError> {
    operate(AuthorityChange::ResumeGateways { group }, why).await.map(|_| ())
}

pub(super) async fn list_gateways(data: &Data) -> Result<(), CliError> {
    let store = existing(&data.folder).await?;
    print(&access::credentials(&mut store.read().await.map_err(named)?, MAX_LINES).await.map_err(named)?)
}

pub(super) async fn list_publishers(data: &Data) -> Result<(), CliError> {
    let store = existing(&data.folder).await?;
    print(&access::publishers(&mut store.read().await.map_err(named)?, MAX_LINES).await.map_err(named)?)
}

pub(super) async fn group(task: GroupTask) -> Result<(), CliError> {
    let (change, why) = match task {
        GroupTask::Add { id, name, why } => (AuthorityChange::AddGroup { group: id, name }, why),
        GroupTask::Member { group, person, remove: false, why } => (AuthorityChange::AddMember { group, person }, why),
        GroupTask::Member { group, person, remove: true, why } => {
            (AuthorityChange::RemoveMember { group, person }, why)
        }
    };
    operate(change, why).await.map(|_| ())
}

pub(super) async fn eligibility(task: EligibilityTask) -> Result<(), CliError> {
    match task {
        EligibilityTask::Grant(grant) => {
            let (change, why) = grant.resolve()?;
            if let Some(id) = operate(change, why).await? {
                println!("{id}");
            }
            Ok(())
        }
        EligibilityTask::End { id, why } => operate(AuthorityChange::EndEligibility { id }, why).await.map(|_| ()),
        EligibilityTask::Certify { id, why } => operate(AuthorityChange::Certify { id }, why).await.map(|_| ()),
        EligibilityTask::List { person, data } => list(person.as_deref(), &data).await,
    }
}

pub(super) async fn directory(task: DirectoryTask) -> Result<(), CliError> {
    let DirectoryTask::Import { file, yes, data } = task;
    let read = Directory::read(&file).map_err(|error| named(format!("`{}` {error}", file.display())))?;
    let store = existing(&data.folder).await?;
    let plan = read.plan(&mut store.read().await.map_err(named)?).await.map_err(named)?;
    for kept in &plan.kept {
        println!("stays: {kept}");
    }
    for change in &plan.changes {
        println!("{change}");
    }
    let count = plan.changes.len();
    if count == 0 {
        println!("nothing to add or change");
    } else if yes {
        store.write(Update { plan, now: WallClock.now() }).await.map_err(named)?;
        println!("done: {count}");
    } else {
        println!("nothing was written; add `--yes` to do this");
    }
    Ok(())
}

impl GrantRole {
    fn resolve(self) -> Result<(AuthorityChange, Why), CliError> {
        let GrantRole { person, role, policy, rule, group, agent, from, until, why } = self;
        let mut agents = Vec::new();
        let mut names = agent.into_iter();
        while let (Some(iss), Some(sub)) = (names.next(), names.next()) {
            agents.push(Actor { iss, sub });
        }
        let moment =
            |text: Option<String>, end| text.map(|text| directory::moment(&text, end)).transpose().map_err(named);
        let (from, until) = (moment(from, false)?, moment(until, true)?);
        let scope = Scope { rules: some(rule), groups: some(group), agents: some(agents), policy };
        Ok((AuthorityChange::Grant(Grant { person, role, scope, from, until }), why))
    }
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    if list.is_empty() { None } else { Some(list) }
}

async fn operate(change: AuthorityChange, Why { reason, data }: Why) -> Result<Option<String>, CliError> {
    check_reason(&reason).map_err(named)?;
    let store = existing(&data.folder).await?;
    store.write(Operate { change, reason, now: WallClock.now() }).await.map_err(named)
}

async fn list(person: Option<&str>, data: &Data) -> Result<(), CliError> {
    let store = existing(&data.folder).await?;
    let wanted = Wanted { person, ..Wanted::default() };
    let found = eligibilities(&mut store.read().await.map_err(named)?, wanted, MAX_LINES + 1).await.map_err(named)?;
    if found.len() > usize::try_from(MAX_LINES).unwrap_or(usize::MAX) {
        return fail(format!("there are more than {MAX_LINES}; ask for those of one `--person`"));
    }
    print(&found)
}

/// One line of JSON for each, for people and for programs.
fn print(lines: &[impl Serialize]) -> Result<(), CliError> {
    for line in lines {
        println!("{}", serde_json::to_string(line).map_err(named)?);
    }
    Ok(())
}
