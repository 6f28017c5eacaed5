//! Credentials of gateways and publishers. Only SHA-256 values are kept.

use holdgate_protocol::Hash;

use super::{Connection, StoreError, Tx, sql::values};

/// The group of a gateway's credential.
pub async fn gateway_group(connection: &mut Connection, credential: &Hash) -> Result<Option<String>, StoreError> {
    let sql = "SELECT grp FROM gateways WHERE credential_hash = $1 AND retired_at IS NULL";
    connection.row(sql, values![credential]).await?.map(|row| row.text("grp")).transpose()
}

/// The name of a publisher's credential.
pub async fn publisher(connection: &mut Connection, credential: &Hash) -> Result<Option<String>, StoreError> {
    let sql = "SELECT name FROM publishers WHERE credential_hash = $1";
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

    pub async fn add_publisher(&mut self, name: &str, credential: &Hash, now: u64) -> Result<(), StoreError> {
        let sql = "INSERT INTO publishers (credential_hash, name, added_at) VALUES ($1, $2, $3)";
        self.execute(sql, values![credential, name, now]).await?;
        Ok(())
    }
}
