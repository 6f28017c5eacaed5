//! Credentials of gateways and publishers. Only SHA-256 values are kept.

use holdgate_protocol::Hash;
use sqlx::Row as _;

use super::{Connection, StoreError, Tx, int};

/// The group of a gateway's credential.
pub async fn gateway_group(connection: &mut Connection, credential: &Hash) -> Result<Option<String>, StoreError> {
    let sql = "SELECT grp FROM gateways WHERE credential_hash = ? AND retired_at IS NULL";
    let row = sqlx::query(sql).bind(credential.to_string()).fetch_optional(connection).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

/// The name of a publisher's credential.
pub async fn publisher(connection: &mut Connection, credential: &Hash) -> Result<Option<String>, StoreError> {
    let query = sqlx::query("SELECT name FROM publishers WHERE credential_hash = ?").bind(credential.to_string());
    Ok(query.fetch_optional(connection).await?.map(|row| row.try_get(0)).transpose()?)
}

impl Tx {
    /// Adds a gateway's credential. Two of a group are valid at once, for rotation; older ones are retired, and given
    /// back.
    pub async fn add_gateway(&mut self, group: &str, credential: &Hash, now: u64) -> Result<Vec<Hash>, StoreError> {
        let sql = "UPDATE gateways SET retired_at = ? WHERE grp = ? AND retired_at IS NULL AND rowid NOT IN
                   (SELECT rowid FROM gateways WHERE grp = ? AND retired_at IS NULL ORDER BY rowid DESC LIMIT 1)
                   RETURNING credential_hash";
        let retired = sqlx::query(sql).bind(int(now)).bind(group).bind(group).fetch_all(&mut **self).await?;
        let hash = |row: &sqlx::sqlite::SqliteRow| {
            let text: &str = row.try_get(0)?;
            text.parse().map_err(|_| StoreError::Corrupt("gateways.credential_hash"))
        };
        let retired = retired.iter().map(hash).collect::<Result<_, StoreError>>()?;
        let sql = "INSERT INTO gateways (credential_hash, grp, added_at) VALUES (?, ?, ?)";
        sqlx::query(sql).bind(credential.to_string()).bind(group).bind(int(now)).execute(&mut **self).await?;
        Ok(retired)
    }

    pub async fn add_publisher(&mut self, name: &str, credential: &Hash, now: u64) -> Result<(), StoreError> {
        let sql = "INSERT INTO publishers (credential_hash, name, added_at) VALUES (?, ?, ?)";
        sqlx::query(sql).bind(credential.to_string()).bind(name).bind(int(now)).execute(&mut **self).await?;
        Ok(())
    }
}
