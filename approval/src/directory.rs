//! `directory.yaml`: the persons and groups of a first start.

mod plan;

use std::{collections::HashSet, fs, path::Path};

pub use plan::{Plan, Update};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    domain::{
        Grant, Scope,
        authority::{ADMIN, check_id, is_built_in},
    },
    service::{accounts::check_hash, change::grant_data},
    store::{Command, StoreError, Tx, ledger::Event, people::Person},
    yaml,
};

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: u32,
    #[serde(default)]
    people: Vec<RawPerson>,
    #[serde(default)]
    groups: Vec<Group>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPerson {
    id: String,
    name: String,
    #[serde(default)]
    links: Vec<Link>,
    password_hash: Option<String>,
    #[serde(default)]
    eligibility: Vec<RawEligibility>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Link {
    iss: String,
    sub: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEligibility {
    role: String,
    /// A policy's id, `*`, or a scope; the service's own roles have none.
    #[serde(default)]
    scope: Value,
    from: Option<String>,
    until: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    id: String,
    name: String,
    members: Vec<String>,
}

/// A checked directory.
#[derive(Debug)]
pub struct Directory {
    people: Vec<Entry>,
    groups: Vec<Group>,
}

#[derive(Debug)]
struct Entry {
    person: Person,
    links: Vec<Link>,
    password_hash: Option<String>,
    eligibility: Vec<Grant>,
}

/// What is wrong with a directory file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    #[error("cannot be read: {0}")]
    File(#[from] std::io::Error),
    #[error("is not a directory file: {0}")]
    Yaml(String),
    #[error("has format {0}; this version reads format 1")]
    Format(u32),
    #[error("{place}: {what}")]
    Entry { place: String, what: String },
}

impl Directory {
    pub fn read(path: &Path) -> Result<Self, DirectoryError> {
        Directory::parse(&fs::read_to_string(path)?)
    }

    pub fn parse(text: &str) -> Result<Self, DirectoryError> {
        let file: File = yaml::read(text).map_err(DirectoryError::Yaml)?;
        if file.format != 1 {
            return Err(DirectoryError::Format(file.format));
        }
        let (mut ids, mut links, mut people) = (HashSet::new(), HashSet::new(), Vec::new());
        for (index, raw) in file.people.into_iter().enumerate() {
            let fail = |what: String| DirectoryError::Entry { place: format!("people[{index}] `{}`", raw.id), what };
            check_id(&raw.id).map_err(fail)?;
            if !ids.insert(raw.id.clone()) {
                return Err(fail("this id stands there twice".into()));
            }
            for link in &raw.links {
                if !links.insert((link.iss.clone(), link.sub.clone())) {
                    return Err(fail(format!("the link (`{}`, `{}`) belongs to another person", link.iss, link.sub)));
                }
            }
            if let Some(hash) = &raw.password_hash {
                check_hash(hash).map_err(|error| fail(format!("`password_hash`: {error}")))?;
            }
            let mut eligibility = Vec::new();
            for (number, one) in raw.eligibility.iter().enumerate() {
                let named = |what: String| fail(format!("eligibility[{number}]: {what}"));
                eligibility.push(one.resolve(&raw.id).map_err(named)?);
            }
            let person = Person { id: raw.id, name: raw.name };
            people.push(Entry { person, links: raw.links, password_hash: raw.password_hash, eligibility });
        }
        let mut names = HashSet::new();
        for (index, group) in file.groups.iter().enumerate() {
            let fail = |what: String| DirectoryError::Entry { place: format!("groups[{index}] `{}`", group.id), what };
            check_id(&group.id).map_err(fail)?;
            if !names.insert(&group.id) {
                return Err(fail("this id stands there twice".into()));
            }
            let members: HashSet<&String> = group.members.iter().collect();
            if members.len() != group.members.len() {
                return Err(fail("a member stands there twice".into()));
            }
            if let Some(stranger) = group.members.iter().find(|member| !ids.contains(*member)) {
                return Err(fail(format!("`{stranger}` is none of the people")));
            }
        }
        Ok(Directory { people, groups: file.groups })
    }
}

impl RawEligibility {
    fn resolve(&self, person: &str) -> Result<Grant, String> {
        let scope = match &self.scope {
            Value::Null if is_built_in(&self.role) => Scope::default(),
            Value::String(text) if text == "*" => Scope::default(),
            Value::String(policy) if !policy.is_empty() => Scope { policy: Some(policy.clone()), ..Scope::default() },
            scope @ Value::Object(_) => Scope::deserialize(scope).map_err(|error| format!("`scope`: {error}"))?,
            _ => return Err("`scope` is `*` (all), a policy's id, or {rules, groups, agents, policy}".into()),
        };
        if self.role == ADMIN && scope != Scope::default() {
            return Err(format!("`{ADMIN}` has no scope; leave it out"));
        }
        let from = self.from.as_deref().map(|text| moment(text, false)).transpose()?;
        let until = self.until.as_deref().map(|text| moment(text, true)).transpose()?;
        let grant = Grant { person: person.to_owned(), role: self.role.clone(), scope, from, until };
        grant.check()?;
        Ok(grant)
    }
}

/// A date or an RFC 3339 time in Unix seconds. A date that ends something counts whole.
pub fn moment(text: &str, end: bool) -> Result<u64, String> {
    let wrong = || format!("`{text}` is neither a date (2026-01-31) nor an RFC 3339 time (2026-01-31T08:00:00Z)");
    let time = match text.parse::<Date>() {
        Ok(date) if !text.contains(['T', 't', ' ']) => {
            let day = if end { date.tomorrow().map_err(|_| wrong())? } else { date };
            day.to_zoned(TimeZone::UTC).map_err(|_| wrong())?.timestamp()
        }
        _ => text.parse::<Timestamp>().map_err(|_| wrong())?,
    };
    u64::try_from(time.as_second()).map_err(|_| wrong())
}

/// Writes a directory into a new database.
pub struct Import {
    pub directory: Directory,
    pub now: u64,
}

impl Command for Import {
    type Answer = ();
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<(), StoreError> {
        let now = self.now;
        for Entry { person, links, password_hash, eligibility } in self.directory.people {
            tx.insert_person(&person, password_hash.as_deref()).await?;
            for link in &links {
                tx.insert_link(&person.id, &link.iss, &link.sub).await?;
            }
            let identities: Vec<_> = links.iter().map(|link| json!({"iss": link.iss, "sub": link.sub})).collect();
            let data = json!({"person": person.id, "name": person.name, "links": identities});
            tx.record(Event { time: now, kind: "person.added", hold: None, decided_by: None, data })?;
            for granted in &eligibility {
                let id = tx.grant_eligibility(granted, "init", now).await?;
                let data = grant_data(&id, granted, "init");
                tx.record(Event { time: now, kind: "eligibility.granted", hold: None, decided_by: None, data })?;
            }
        }
        for Group { id, name, members } in &self.directory.groups {
            tx.insert_group(id, name, members).await?;
            let data = json!({"group": id, "name": name, "members": members});
            tx.record(Event { time: now, kind: "group.added", hold: None, decided_by: None, data })?;
        }
        Ok(())
    }
}
