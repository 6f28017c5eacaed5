//! The directory as administrators see it and change it.

use serde::Serialize;

use super::{
    Connection, StoreError, Tx,
    people::{ELIGIBILITY, eligibility},
    sql::{Row, values},
};
use crate::domain::Eligibility;

/// A person in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PersonLine {
    pub id: String,
    pub name: String,
    pub suspended_at: Option<u64>,
}

/// Who somebody is at an issuer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Identity {
    pub iss: String,
    pub sub: String,
}

/// A group with its members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupLine {
    pub id: String,
    pub name: String,
    pub members: Vec<String>,
}

/// Which eligibilities are looked for. What is `None` is not asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    pub person: Option<&'a str>,
    pub role: Option<&'a str>,
    /// Those that nobody certified after this moment.
    pub certified_until: Option<u64>,
    /// The last one of the page before.
    pub after: u64,
}

/// Persons behind an id, in the order of their ids.
pub async fn persons(connection: &mut Connection, after: &str, limit: u32) -> Result<Vec<PersonLine>, StoreError> {
    let sql = "SELECT id, name, suspended_at FROM persons WHERE id > $1 ORDER BY id LIMIT $2";
    connection.rows(sql, values![after, limit]).await?.iter().map(person_line).collect()
}

/// The person with this id.
pub async fn person(connection: &mut Connection, id: &str) -> Result<Option<PersonLine>, StoreError> {
    let sql = "SELECT id, name, suspended_at FROM persons WHERE id = $1";
    connection.row(sql, values![id]).await?.as_ref().map(person_line).transpose()
}

fn person_line(row: &Row) -> Result<PersonLine, StoreError> {
    Ok(PersonLine { id: row.text("id")?, name: row.text("name")?, suspended_at: row.int_or_null("suspended_at")? })
}

/// The identities of a person.
pub async fn links(connection: &mut Connection, person: &str) -> Result<Vec<Identity>, StoreError> {
    let rows =
        connection.rows("SELECT iss, sub FROM links WHERE person = $1 ORDER BY iss, sub", values![person]).await?;
    rows.iter().map(|row| Ok(Identity { iss: row.text("iss")?, sub: row.text("sub")? })).collect()
}

/// The groups that a person is a member of.
pub async fn groups_of(connection: &mut Connection, person: &str) -> Result<Vec<String>, StoreError> {
    let rows = connection.rows("SELECT grp FROM members WHERE person = $1 ORDER BY grp", values![person]).await?;
    rows.iter().map(|row| row.text("grp")).collect()
}

/// Groups behind an id with their members, in the order of their ids.
pub async fn groups(connection: &mut Connection, after: &str, limit: u32) -> Result<Vec<GroupLine>, StoreError> {
    let sql = "SELECT id, name FROM groups WHERE id > $1 ORDER BY id LIMIT $2";
    let mut groups = Vec::new();
    for row in connection.rows(sql, values![after, limit]).await? {
        groups.push(GroupLine { id: row.text("id")?, name: row.text("name")?, members: Vec::new() });
    }
    for group in &mut groups {
        let sql = "SELECT person FROM members WHERE grp = $1 ORDER BY person";
        let rows = connection.rows(sql, values![&group.id]).await?;
        group.members = rows.iter().map(|row| row.text("person")).collect::<Result<_, _>>()?;
    }
    Ok(groups)
}

/// The group with this id.
pub async fn group_name(connection: &mut Connection, id: &str) -> Result<Option<String>, StoreError> {
    let row = connection.row("SELECT name FROM groups WHERE id = $1", values![id]).await?;
    row.map(|row| row.text("name")).transpose()
}

/// Eligibilities that were not ended, in the order in which they were granted.
pub async fn eligibilities(
    connection: &mut Connection,
    wanted: Wanted<'_>,
    limit: u32,
) -> Result<Vec<Eligibility>, StoreError> {
    let sql = format!(
        "SELECT {ELIGIBILITY} FROM eligibility e WHERE e.ended_at IS NULL AND e.number > $1
         AND (CAST($2 AS TEXT) IS NULL OR e.person = $2) AND (CAST($3 AS TEXT) IS NULL OR e.role = $3)
         AND (CAST($4 AS BIGINT) IS NULL OR e.certified_at <= $4) ORDER BY e.number LIMIT $5"
    );
    let values = values![wanted.after, wanted.person, wanted.role, wanted.certified_until, limit];
    connection.rows(sql, values).await?.iter().map(eligibility).collect()
}

/// The eligibility with this id that was not ended.
pub async fn find(connection: &mut Connection, id: &str) -> Result<Option<Eligibility>, StoreError> {
    let Ok(number) = id.parse::<u64>() else { return Ok(None) };
    let sql = format!("SELECT {ELIGIBILITY} FROM eligibility e WHERE e.number = $1 AND e.ended_at IS NULL");
    connection.row(sql, values![number]).await?.as_ref().map(eligibility).transpose()
}

impl Tx {
    pub async fn rename_person(&mut self, person: &str, name: &str) -> Result<(), StoreError> {
        self.execute("UPDATE persons SET name = $1 WHERE id = $2", values![name, person]).await?;
        Ok(())
    }

    /// Suspends a person and ends their sessions. `false`: they were suspended already.
    pub async fn suspend_person(&mut self, person: &str, now: u64) -> Result<bool, StoreError> {
        let sql = "UPDATE persons SET suspended_at = $1 WHERE id = $2 AND suspended_at IS NULL";
        let suspended = self.execute(sql, values![now, person]).await? == 1;
        self.execute("DELETE FROM sessions WHERE person = $1", values![person]).await?;
        Ok(suspended)
    }

    /// Ends the suspension of a person, with whatever session is left. `false`: there was none.
    pub async fn resume_person(&mut self, person: &str) -> Result<bool, StoreError> {
        let sql = "UPDATE persons SET suspended_at = NULL WHERE id = $1 AND suspended_at IS NOT NULL";
        let resumed = self.execute(sql, values![person]).await? == 1;
        self.execute("DELETE FROM sessions WHERE person = $1", values![person]).await?;
        Ok(resumed)
    }

    /// Takes an identity from a person, and ends their sessions from its issuer. `false`: they had it not.
    pub async fn delete_link(&mut self, person: &str, iss: &str, sub: &str) -> Result<bool, StoreError> {
        let sql = "DELETE FROM links WHERE iss = $1 AND sub = $2 AND person = $3";
        let taken = self.execute(sql, values![iss, sub, person]).await? == 1;
        self.execute("DELETE FROM sessions WHERE person = $1 AND iss = $2", values![person, iss]).await?;
        Ok(taken)
    }

    /// Adds a member to a group. `false`: they were one already.
    pub async fn insert_member(&mut self, group: &str, person: &str) -> Result<bool, StoreError> {
        let sql = "INSERT INTO members (grp, person) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        Ok(self.execute(sql, values![group, person]).await? == 1)
    }

    /// Takes a member out of a group. `false`: they were none.
    pub async fn delete_member(&mut self, group: &str, person: &str) -> Result<bool, StoreError> {
        let sql = "DELETE FROM members WHERE grp = $1 AND person = $2";
        Ok(self.execute(sql, values![group, person]).await? == 1)
    }

    /// Ends an eligibility for good.
    pub async fn end_eligibility(&mut self, id: &str, by: &str, now: u64) -> Result<(), StoreError> {
        let sql = "UPDATE eligibility SET ended_at = $1, ended_by = $2 WHERE number = $3 AND ended_at IS NULL";
        self.execute(sql, values![now, by, id.parse::<u64>().unwrap_or_default()]).await?;
        Ok(())
    }

    /// Notes that an eligibility is still needed.
    pub async fn certify(&mut self, id: &str, now: u64) -> Result<(), StoreError> {
        let sql = "UPDATE eligibility SET certified_at = $1 WHERE number = $2 AND ended_at IS NULL";
        self.execute(sql, values![now, id.parse::<u64>().unwrap_or_default()]).await?;
        Ok(())
    }
}
