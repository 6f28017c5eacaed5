//! Persons, groups, what persons are eligible for, and their sessions.

use std::collections::BTreeSet;

use holdgate_protocol::Hash;
use sqlx::Row as _;

use super::{Connection, StoreError, Tx, int, uint};

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
}

/// A role that a person is eligible for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eligibility {
    pub role: String,
    /// A policy's id, or `*`.
    pub scope: String,
    pub from: Option<u64>,
    /// The first moment at which it does not hold any more.
    pub until: Option<u64>,
}

/// The roles that a person is eligible for in the scope of a policy at `now`.
pub async fn roles(
    connection: &mut Connection,
    person: &str,
    policy: &str,
    now: u64,
) -> Result<BTreeSet<String>, StoreError> {
    let sql = "SELECT role FROM eligibility WHERE person = ? AND scope IN ('*', ?)
               AND coalesce(valid_from, 0) <= ?3 AND (valid_until IS NULL OR ?3 < valid_until)";
    let rows = sqlx::query(sql).bind(person).bind(policy).bind(int(now)).fetch_all(connection).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// The person behind an identity at an issuer.
pub async fn linked(connection: &mut Connection, iss: &str, sub: &str) -> Result<Option<String>, StoreError> {
    let query = sqlx::query("SELECT person FROM links WHERE iss = ? AND sub = ?").bind(iss).bind(sub);
    Ok(query.fetch_optional(connection).await?.map(|row| row.try_get(0)).transpose()?)
}

/// The members of a group; none where there is no such group.
pub async fn members(connection: &mut Connection, group: &str) -> Result<BTreeSet<String>, StoreError> {
    let rows = sqlx::query("SELECT person FROM members WHERE grp = ?").bind(group).fetch_all(connection).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// A person with the hash of their password, if they have one.
pub async fn with_password(
    connection: &mut Connection,
    id: &str,
) -> Result<Option<(Person, Option<String>)>, StoreError> {
    let query = sqlx::query("SELECT id, name, password_hash FROM persons WHERE id = ?").bind(id);
    let Some(row) = query.fetch_optional(connection).await? else { return Ok(None) };
    Ok(Some((Person { id: row.try_get(0)?, name: row.try_get(1)? }, row.try_get(2)?)))
}

/// The session of a token that is valid at `now`.
pub async fn session(connection: &mut Connection, token: &Hash, now: u64) -> Result<Option<Session>, StoreError> {
    let sql = "SELECT p.id, p.name, s.signed_in_at, s.expires_at FROM sessions s JOIN persons p ON p.id = s.person
               WHERE s.token_hash = ? AND s.expires_at > ?";
    let row = sqlx::query(sql).bind(token.to_string()).bind(int(now)).fetch_optional(connection).await?;
    let Some(row) = row else { return Ok(None) };
    let person = Person { id: row.try_get(0)?, name: row.try_get(1)? };
    Ok(Some(Session { person, signed_in_at: uint(row.try_get(2)?), expires_at: uint(row.try_get(3)?) }))
}

impl Tx {
    pub async fn insert_person(&mut self, person: &Person, password_hash: Option<&str>) -> Result<(), StoreError> {
        let query = sqlx::query("INSERT INTO persons (id, name, password_hash) VALUES (?, ?, ?)");
        query.bind(&person.id).bind(&person.name).bind(password_hash).execute(&mut **self).await?;
        Ok(())
    }

    pub async fn insert_link(&mut self, person: &str, iss: &str, sub: &str) -> Result<(), StoreError> {
        let query = sqlx::query("INSERT INTO links (iss, sub, person) VALUES (?, ?, ?)");
        query.bind(iss).bind(sub).bind(person).execute(&mut **self).await?;
        Ok(())
    }

    pub async fn insert_group(&mut self, id: &str, name: &str, members: &[String]) -> Result<(), StoreError> {
        let query = sqlx::query("INSERT INTO groups (id, name) VALUES (?, ?)").bind(id).bind(name);
        query.execute(&mut **self).await?;
        for member in members {
            let query = sqlx::query("INSERT INTO members (grp, person) VALUES (?, ?)").bind(id).bind(member);
            query.execute(&mut **self).await?;
        }
        Ok(())
    }

    pub async fn grant_eligibility(
        &mut self,
        person: &str,
        eligibility: &Eligibility,
        granted_by: &str,
        now: u64,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO eligibility (person, role, scope, valid_from, valid_until, granted_by, granted_at)
                   VALUES (?, ?, ?, ?, ?, ?, ?)";
        sqlx::query(sql)
            .bind(person)
            .bind(&eligibility.role)
            .bind(&eligibility.scope)
            .bind(eligibility.from.map(int))
            .bind(eligibility.until.map(int))
            .bind(granted_by)
            .bind(int(now))
            .execute(&mut **self)
            .await?;
        Ok(())
    }

    /// Sets a password and ends the person's sessions. `false`: there is no such person.
    pub async fn set_password(&mut self, person: &str, hash: &str) -> Result<bool, StoreError> {
        let query = sqlx::query("UPDATE persons SET password_hash = ? WHERE id = ?").bind(hash).bind(person);
        let known = query.execute(&mut **self).await?.rows_affected() == 1;
        sqlx::query("DELETE FROM sessions WHERE person = ?").bind(person).execute(&mut **self).await?;
        Ok(known)
    }

    /// Keeps a session under the hash of its token, and forgets those that are over.
    pub async fn insert_session(&mut self, token: &Hash, session: &Session) -> Result<(), StoreError> {
        let query = sqlx::query("DELETE FROM sessions WHERE expires_at <= ?").bind(int(session.signed_in_at));
        query.execute(&mut **self).await?;
        let sql = "INSERT INTO sessions (token_hash, person, signed_in_at, expires_at) VALUES (?, ?, ?, ?)";
        let query = sqlx::query(sql).bind(token.to_string()).bind(&session.person.id);
        query.bind(int(session.signed_in_at)).bind(int(session.expires_at)).execute(&mut **self).await?;
        Ok(())
    }

    pub async fn delete_session(&mut self, token: &Hash) -> Result<(), StoreError> {
        let query = sqlx::query("DELETE FROM sessions WHERE token_hash = ?").bind(token.to_string());
        query.execute(&mut **self).await?;
        Ok(())
    }
}
