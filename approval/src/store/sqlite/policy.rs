//! Published bundles, who may publish, and who is suspended.

use holdgate_protocol::{
    Actor, Hash,
    bundle::{PolicyRef, SignedBundle},
    from_b64url,
};
use sqlx::Row as _;

use super::{Connection, StoreError, Tx, int, uint};
use crate::policy::Published;

/// The policy in force by name: that with the highest serial.
pub async fn reference_in_force(connection: &mut Connection) -> Result<Option<PolicyRef>, StoreError> {
    let sql = "SELECT id, rev, serial FROM bundles ORDER BY serial DESC LIMIT 1";
    let Some(row) = sqlx::query(sql).fetch_optional(connection).await? else { return Ok(None) };
    let rev: &str = row.try_get("rev")?;
    let rev = rev.parse().map_err(|_| StoreError::Corrupt("bundles.rev"))?;
    Ok(Some(PolicyRef { id: row.try_get("id")?, rev, serial: uint(row.try_get("serial")?) }))
}

/// The policy in force, read and ready.
pub async fn in_force(connection: &mut Connection) -> Result<Option<Published>, StoreError> {
    let Some(PolicyRef { rev, .. }) = reference_in_force(connection).await? else { return Ok(None) };
    let Some(text) = signed(connection, &rev).await? else { return Ok(None) };
    let signed: SignedBundle = serde_json::from_str(&text)?;
    let bytes = from_b64url(&signed.bundle).ok_or(StoreError::Corrupt("bundles.signed"))?;
    Published::read(&bytes).map(Some).map_err(|_| StoreError::Corrupt("bundles.signed"))
}

/// The signed bundle of a revision, as it was published.
pub async fn signed(connection: &mut Connection, rev: &Hash) -> Result<Option<String>, StoreError> {
    let query = sqlx::query("SELECT signed FROM bundles WHERE rev = ?").bind(rev.to_string());
    Ok(query.fetch_optional(connection).await?.map(|row| row.try_get(0)).transpose()?)
}

/// The agents that are suspended.
pub async fn suspended(connection: &mut Connection) -> Result<Vec<Actor>, StoreError> {
    let rows = sqlx::query("SELECT iss, sub FROM suspended ORDER BY iss, sub").fetch_all(connection).await?;
    rows.iter().map(|row| Ok(Actor { iss: row.try_get(0)?, sub: row.try_get(1)? })).collect()
}

/// Whether an agent is suspended.
pub async fn is_suspended(connection: &mut Connection, agent: &Actor) -> Result<bool, StoreError> {
    let query = sqlx::query("SELECT 1 FROM suspended WHERE iss = ? AND sub = ?").bind(&agent.iss).bind(&agent.sub);
    Ok(query.fetch_optional(connection).await?.is_some())
}

impl Tx {
    /// Suspends an agent. `false`: it was already.
    pub async fn suspend(&mut self, agent: &Actor, now: u64) -> Result<bool, StoreError> {
        let sql = "INSERT INTO suspended (iss, sub, since) VALUES (?, ?, ?) ON CONFLICT DO NOTHING";
        let query = sqlx::query(sql).bind(&agent.iss).bind(&agent.sub).bind(int(now));
        Ok(query.execute(&mut **self).await?.rows_affected() == 1)
    }

    /// Ends the suspension of an agent. `false`: there was none.
    pub async fn resume(&mut self, agent: &Actor) -> Result<bool, StoreError> {
        let query = sqlx::query("DELETE FROM suspended WHERE iss = ? AND sub = ?").bind(&agent.iss).bind(&agent.sub);
        Ok(query.execute(&mut **self).await?.rows_affected() == 1)
    }

    /// Keeps a bundle. From here on it is the one in force for the commands that follow.
    pub async fn publish(
        &mut self,
        published: Published,
        signed: &SignedBundle,
        publisher: &str,
        now: u64,
    ) -> Result<(), StoreError> {
        let PolicyRef { id, rev, serial } = &published.reference;
        let sql = "INSERT INTO bundles (rev, id, serial, signed, publisher, published_at) VALUES (?, ?, ?, ?, ?, ?)";
        sqlx::query(sql)
            .bind(rev.to_string())
            .bind(id)
            .bind(int(*serial))
            .bind(serde_json::to_string(signed)?)
            .bind(publisher)
            .bind(int(now))
            .execute(&mut **self)
            .await?;
        self.head.policy = Some(published.into());
        Ok(())
    }
}
