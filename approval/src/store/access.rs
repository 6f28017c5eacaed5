//! Credentials of gateways and publishers. Only SHA-256 values are kept.

use std::collections::HashSet;

use holdgate_protocol::Hash;
use serde::Serialize;

use super::{
    Connection, StoreError, Tx,
    sql::{Row, values},
};

/// A gateway's credential, by what tells it apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Credential {
    pub group: String,
    /// The first 16 hex digits of its SHA-256.
    pub fingerprint: String,
    pub added_at: u64,
    pub retired_at: Option<u64>,
    /// Whether its whole group is suspended.
    pub suspended: bool,
}

/// The credentials of gateways, those that were added last first.
pub async fn credentials(connection: &mut Connection, limit: u32) -> Result<Vec<Credential>, StoreError> {
    let sql = "SELECT g.grp, g.credential_hash, g.added_at, g.retired_at, s.since FROM gateways g
               LEFT JOIN suspended_groups s ON s.grp = g.grp ORDER BY g.number DESC LIMIT $1";
    let credential = |row: &Row| {
        Ok(Credential {
            group: row.text("grp")?,
            fingerprint: fingerprint(&row.hash("credential_hash")?),
            added_at: row.int("added_at")?,
            retired_at: row.int_or_null("retired_at")?,
            suspended: row.int_or_null("since")?.is_some(),
        })
    };
    connection.rows(sql, values![limit]).await?.iter().map(credential).collect()
}

/// Whether there is a gateway group of this name.
pub async fn is_group(connection: &mut Connection, group: &str) -> Result<bool, StoreError> {
    Ok(connection.row("SELECT grp FROM gateways WHERE grp = $1 LIMIT 1", values![group]).await?.is_some())
}

/// What tells credentials apart in the ledger: the first 16 hex digits of their SHA-256.
pub fn fingerprint(credential: &Hash) -> String {
    credential.as_bytes().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The group of a gateway's credential that is valid now.
pub async fn gateway_group(connection: &mut Connection, credential: &Hash) -> Result<Option<String>, StoreError> {
    let sql = "SELECT grp FROM gateways WHERE credential_hash = $1 AND retired_at IS NULL
               AND grp NOT IN (SELECT grp FROM suspended_groups)";
    connection.row(sql, values![credential]).await?.map(|row| row.text("grp")).transpose()
}

/// All credentials of gateways that are valid now.
pub async fn valid_credentials(connection: &mut Connection) -> Result<HashSet<Hash>, StoreError> {
    let sql = "SELECT credential_hash FROM gateways WHERE retired_at IS NULL
               AND grp NOT IN (SELECT grp FROM suspended_groups)";
    connection.rows(sql, values![]).await?.iter().map(|row| row.hash("credential_hash")).collect()
}

/// A publisher's credential, by what tells it apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PublisherLine {
    pub name: String,
    /// The first 16 hex digits of its SHA-256.
    pub fingerprint: String,
    pub added_at: u64,
    pub retired_at: Option<u64>,
}

/// The credentials of publishers, those that were added last first.
pub async fn publishers(connection: &mut Connection, limit: u32) -> Result<Vec<PublisherLine>, StoreError> {
    let sql = "SELECT name, credential_hash, added_at, retired_at FROM publishers
               ORDER BY added_at DESC, credential_hash LIMIT $1";
    let line = |row: &Row| {
        Ok(PublisherLine {
            name: row.text("name")?,
            fingerprint: fingerprint(&row.hash("credential_hash")?),
            added_at: row.int("added_at")?,
            retired_at: row.int_or_null("retired_at")?,
        })
    };
    connection.rows(sql, values![limit]).await?.iter().map(line).collect()
}

/// The name of a publisher's credential that is valid now.
pub async fn publisher(connection: &mut Connection, credential: &Hash) -> Result<Option<String>, StoreError> {
    let sql = "SELECT name FROM publishers WHERE credential_hash = $1 AND retired_at IS NULL";
    connection.row(sql, values![credential]).await?.map(|row| row.text("name")).transpose()
}

impl Tx {
    /// Adds a gateway's credential. Two of a group are valid at once, for rotation; older ones are retired, and given
    /// back.
    pub async fn add_gateway(&mut self, group: &str, credential: &Hash, now: u64) -> Result<Vec<Hash>, StoreError> {
        let sql = "UPDATE gateways SET retired_at = $1 WHERE grp = $2 AND retired_at IS NULL AND number <
                   (SELECT max(number) FROM gateways WHERE grp = $2 AND retired_at IS NULL)
                   RETURNING credential_hash";
        let retired = self.rows(sql, values![now, group]).await?;
        let sql = "INSERT INTO gateways (credential_hash, grp, added_at, number)
                   VALUES ($1, $2, $3, (SELECT coalesce(max(number), 0) + 1 FROM gateways))";
        self.execute(sql, values![credential, group, now]).await?;
        retired.iter().map(|row| row.hash("credential_hash")).collect()
    }

    /// Retires the credential with this fingerprint; gives its group. `None`: there is no valid one.
    pub async fn retire_gateway(&mut self, fingerprint: &str, now: u64) -> Result<Option<String>, StoreError> {
        let sql = "UPDATE gateways SET retired_at = $1 WHERE retired_at IS NULL AND substr(credential_hash, 9, 16) = $2
                   RETURNING grp";
        self.row(sql, values![now, fingerprint]).await?.map(|row| row.text("grp")).transpose()
    }

    /// Refuses all credentials of a group. `false`: it is so already.
    pub async fn suspend_group(&mut self, group: &str, now: u64) -> Result<bool, StoreError> {
        let sql = "INSERT INTO suspended_groups (grp, since) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        Ok(self.execute(sql, values![group, now]).await? == 1)
    }

    /// Lets a group's valid credentials in again. `false`: it was not suspended.
    pub async fn resume_group(&mut self, group: &str) -> Result<bool, StoreError> {
        Ok(self.execute("DELETE FROM suspended_groups WHERE grp = $1", values![group]).await? == 1)
    }

    pub async fn add_publisher(&mut self, name: &str, credential: &Hash, now: u64) -> Result<(), StoreError> {
        let sql = "INSERT INTO publishers (credential_hash, name, added_at) VALUES ($1, $2, $3)";
        self.execute(sql, values![credential, name, now]).await?;
        Ok(())
    }

    /// Retires the publisher's credential with this fingerprint; gives its name. `None`: there is no valid one.
    pub async fn retire_publisher(&mut self, fingerprint: &str, now: u64) -> Result<Option<String>, StoreError> {
        let sql =
            "UPDATE publishers SET retired_at = $1 WHERE retired_at IS NULL AND substr(credential_hash, 9, 16) = $2
                   RETURNING name";
        self.row(sql, values![now, fingerprint]).await?.map(|row| row.text("name")).transpose()
    }
}
