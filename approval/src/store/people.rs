//! Persons, groups, what persons are eligible for, and their sessions.

use std::collections::{BTreeSet, HashMap};

use holdgate_protocol::{Actor, Hash};
use serde::Serialize;

use super::{
    Connection, StoreError, Tx,
    sql::{Row, values},
};
use crate::domain::{Eligibility, Grant, Refusal, Unfit};

/// What [`eligibility`] reads.
pub(super) const ELIGIBILITY: &str =
    "CAST(e.number AS TEXT) AS id, e.person, e.role, e.scope, e.valid_from, e.valid_until,
    e.granted_by, e.granted_at, e.certified_at";

/// A person of the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub id: String,
    pub name: String,
}

/// A session as it is kept: without its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub person: Person,
    pub signed_in_at: u64,
    pub expires_at: u64,
    pub via: Via,
    /// Why nobody can decide by it; an access token only.
    pub unfit: Option<Unfit>,
}

impl Session {
    /// Whether a person acts here who may decide, eligible or not.
    pub fn may_decide(&self) -> Result<(), Refusal> {
        self.unfit.map_or(Ok(()), |unfit| Err(unfit.into()))
    }
}

/// How a person signed in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// With a password of this service.
    Local,
    /// At an OpenID provider, by one of its clients.
    Provider { iss: String, client: String },
}

/// What a person is eligible for and was not ended, whether or not it holds at this moment. A suspended person is eligible
/// for nothing.
pub async fn eligibilities(connection: &mut Connection, person: &str) -> Result<Vec<Eligibility>, StoreError> {
    let sql = format!(
        "SELECT {ELIGIBILITY} FROM eligibility e JOIN persons p ON p.id = e.person
         WHERE e.person = $1 AND e.ended_at IS NULL AND p.suspended_at IS NULL ORDER BY e.number"
    );
    connection.rows(sql, values![person]).await?.iter().map(eligibility).collect()
}

/// The person behind an identity at an issuer.
pub async fn linked(connection: &mut Connection, iss: &str, sub: &str) -> Result<Option<String>, StoreError> {
    let row = connection.row("SELECT person FROM links WHERE iss = $1 AND sub = $2", values![iss, sub]).await?;
    row.map(|row| row.text("person")).transpose()
}

/// The person behind an identity at an issuer, with their name.
pub async fn behind(connection: &mut Connection, iss: &str, sub: &str) -> Result<Option<Person>, StoreError> {
    let sql = "SELECT p.id, p.name FROM links l JOIN persons p ON p.id = l.person WHERE l.iss = $1 AND l.sub = $2
               AND p.suspended_at IS NULL";
    let Some(row) = connection.row(sql, values![iss, sub]).await? else { return Ok(None) };
    Ok(Some(Person { id: row.text("id")?, name: row.text("name")? }))
}

/// The members of a group; none where there is no such group.
pub async fn members(connection: &mut Connection, group: &str) -> Result<BTreeSet<String>, StoreError> {
    Ok(all_members(connection, &[group]).await?.remove(group).unwrap_or_default())
}

/// The persons behind identities, each an issuer and a subject.
pub async fn all_linked(
    connection: &mut Connection,
    names: &[(&str, &str)],
) -> Result<HashMap<Actor, String>, StoreError> {
    let around = (
        "WITH wanted (iss, sub) AS (",
        ") SELECT l.iss, l.sub, l.person FROM wanted JOIN links l ON l.iss = wanted.iss AND l.sub = wanted.sub",
    );
    let found = connection.write_returning(around, names, |(iss, sub)| values![*iss, *sub]).await?;
    let link = |row: &Row| Ok((Actor { iss: row.text("iss")?, sub: row.text("sub")? }, row.text("person")?));
    found.iter().map(link).collect()
}

/// The members of groups, by group. One that there is not has none.
pub async fn all_members(
    connection: &mut Connection,
    groups: &[&str],
) -> Result<HashMap<String, BTreeSet<String>>, StoreError> {
    let mut members: HashMap<String, BTreeSet<String>> = HashMap::new();
    for row in connection.find("SELECT grp, person FROM members WHERE grp IN", groups).await? {
        members.entry(row.text("grp")?).or_default().insert(row.text("person")?);
    }
    Ok(members)
}

/// A person who may sign in, with the hash of their password, if they have one.
pub async fn with_password(
    connection: &mut Connection,
    id: &str,
) -> Result<Option<(Person, Option<String>)>, StoreError> {
    let sql = "SELECT id, name, password_hash FROM persons WHERE id = $1 AND suspended_at IS NULL";
    let Some(row) = connection.row(sql, values![id]).await? else { return Ok(None) };
    Ok(Some((Person { id: row.text("id")?, name: row.text("name")? }, row.text_or_null("password_hash")?)))
}

/// The session of a token that is valid at `now`.
pub async fn session(connection: &mut Connection, token: &Hash, now: u64) -> Result<Option<Session>, StoreError> {
    let sql = "SELECT p.id, p.name, s.signed_in_at, s.expires_at, s.iss, s.client
               FROM sessions s JOIN persons p ON p.id = s.person WHERE s.token_hash = $1 AND s.expires_at > $2
               AND p.suspended_at IS NULL";
    let Some(row) = connection.row(sql, values![token, now]).await? else { return Ok(None) };
    let person = Person { id: row.text("id")?, name: row.text("name")? };
    let via = match (row.text_or_null("iss")?, row.text_or_null("client")?) {
        (Some(iss), Some(client)) => Via::Provider { iss, client },
        _ => Via::Local,
    };
    let (signed_in_at, expires_at) = (row.int("signed_in_at")?, row.int("expires_at")?);
    Ok(Some(Session { person, signed_in_at, expires_at, via, unfit: None }))
}

impl Tx {
    pub async fn insert_person(&mut self, person: &Person, password_hash: Option<&str>) -> Result<(), StoreError> {
        let sql = "INSERT INTO persons (id, name, password_hash) VALUES ($1, $2, $3)";
        self.execute(sql, values![&person.id, &person.name, password_hash]).await?;
        Ok(())
    }

    pub async fn insert_link(&mut self, person: &str, iss: &str, sub: &str) -> Result<(), StoreError> {
        let sql = "INSERT INTO links (iss, sub, person) VALUES ($1, $2, $3)";
        self.execute(sql, values![iss, sub, person]).await?;
        Ok(())
    }

    pub async fn insert_group(&mut self, id: &str, name: &str, members: &[String]) -> Result<(), StoreError> {
        self.execute("INSERT INTO groups (id, name) VALUES ($1, $2)", values![id, name]).await?;
        for member in members {
            self.execute("INSERT INTO members (grp, person) VALUES ($1, $2)", values![id, member]).await?;
        }
        Ok(())
    }

    /// Gives a person a role; says under which id.
    pub async fn grant_eligibility(&mut self, grant: &Grant, granted_by: &str, now: u64) -> Result<String, StoreError> {
        let sql = "INSERT INTO eligibility (number, person, role, scope, valid_from, valid_until, granted_by, granted_at,
                   certified_at) VALUES ((SELECT coalesce(max(number), 0) + 1 FROM eligibility), $1, $2, $3, $4, $5, $6, $7, $7)
                   RETURNING CAST(number AS TEXT) AS id";
        let Grant { person, role, scope, from, until } = grant;
        let scope = serde_json::to_string(scope)?;
        self.one(sql, values![person, role, scope, *from, *until, granted_by, now]).await?.text("id")
    }

    /// Sets a password and ends the person's sessions. `false`: there is no such person.
    pub async fn set_password(&mut self, person: &str, hash: &str) -> Result<bool, StoreError> {
        let sql = "UPDATE persons SET password_hash = $1 WHERE id = $2";
        let known = self.execute(sql, values![hash, person]).await? == 1;
        self.execute("DELETE FROM sessions WHERE person = $1", values![person]).await?;
        Ok(known)
    }

    /// Keeps a session under the hash of its token, and forgets those that are over.
    pub async fn insert_session(&mut self, token: &Hash, session: &Session, now: u64) -> Result<(), StoreError> {
        self.execute("DELETE FROM sessions WHERE expires_at <= $1", values![now]).await?;
        let (iss, client) = match &session.via {
            Via::Local => (None, None),
            Via::Provider { iss, client } => (Some(iss.as_str()), Some(client.as_str())),
        };
        let sql = "INSERT INTO sessions (token_hash, person, signed_in_at, expires_at, iss, client)
                   VALUES ($1, $2, $3, $4, $5, $6)";
        let (person, signed_in_at) = (&session.person.id, session.signed_in_at);
        self.execute(sql, values![token, person, signed_in_at, session.expires_at, iss, client]).await?;
        Ok(())
    }

    pub async fn delete_session(&mut self, token: &Hash) -> Result<(), StoreError> {
        self.execute("DELETE FROM sessions WHERE token_hash = $1", values![token]).await?;
        Ok(())
    }
}

/// One row of [`ELIGIBILITY`].
pub(super) fn eligibility(row: &Row) -> Result<Eligibility, StoreError> {
    Ok(Eligibility {
        id: row.text("id")?,
        person: row.text("person")?,
        role: row.text("role")?,
        scope: row.json("scope")?,
        from: row.int_or_null("valid_from")?,
        until: row.int_or_null("valid_until")?,
        granted_by: row.text("granted_by")?,
        granted_at: row.int("granted_at")?,
        certified_at: row.int("certified_at")?,
    })
}
