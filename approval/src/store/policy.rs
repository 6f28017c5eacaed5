//! Published bundles, who may publish, and who is suspended.

use holdgate_protocol::{
    Actor, Hash,
    bundle::{PolicyRef, SignedBundle},
    from_b64url,
};

use super::{Connection, StoreError, Tx, sql::values};
use crate::policy::Published;

/// The policy in force by name: that with the highest serial.
pub async fn reference_in_force(connection: &mut Connection) -> Result<Option<PolicyRef>, StoreError> {
    let sql = "SELECT id, rev, serial FROM bundles ORDER BY serial DESC LIMIT 1";
    let Some(row) = connection.row(sql, values![]).await? else { return Ok(None) };
    Ok(Some(PolicyRef { id: row.text("id")?, rev: row.hash("rev")?, serial: row.int("serial")? }))
}

/// The policy in force, read and ready.
pub async fn in_force(connection: &mut Connection) -> Result<Option<Published>, StoreError> {
    let Some(PolicyRef { rev, .. }) = reference_in_force(connection).await? else { return Ok(None) };
    published(connection, &rev).await
}

/// The policy of a revision, read and ready.
pub async fn published(connection: &mut Connection, rev: &Hash) -> Result<Option<Published>, StoreError> {
    let Some(text) = signed(connection, rev).await? else { return Ok(None) };
    let signed: SignedBundle = serde_json::from_str(&text)?;
    let bytes = from_b64url(&signed.bundle).ok_or(StoreError::Corrupt("bundles.signed"))?;
    Published::read(&bytes).map(Some).map_err(|_| StoreError::Corrupt("bundles.signed"))
}

/// The signed bundle of a revision, as it was published.
pub async fn signed(connection: &mut Connection, rev: &Hash) -> Result<Option<String>, StoreError> {
    let row = connection.row("SELECT signed FROM bundles WHERE rev = $1", values![rev]).await?;
    row.map(|row| row.text("signed")).transpose()
}

/// The agents that are suspended.
pub async fn suspended(connection: &mut Connection) -> Result<Vec<Actor>, StoreError> {
    let rows = connection.rows("SELECT iss, sub FROM suspended ORDER BY iss, sub", values![]).await?;
    rows.iter().map(|row| Ok(Actor { iss: row.text("iss")?, sub: row.text("sub")? })).collect()
}

/// Whether an agent is suspended.
pub async fn is_suspended(connection: &mut Connection, agent: &Actor) -> Result<bool, StoreError> {
    let sql = "SELECT since FROM suspended WHERE iss = $1 AND sub = $2";
    Ok(connection.row(sql, values![&agent.iss, &agent.sub]).await?.is_some())
}

/// Those of these agents that are suspended.
pub async fn suspended_of(connection: &mut Connection, agents: &[Actor]) -> Result<Vec<Actor>, StoreError> {
    let around = (
        "WITH wanted (iss, sub) AS (",
        ") SELECT s.iss, s.sub FROM wanted JOIN suspended s ON s.iss = wanted.iss AND s.sub = wanted.sub",
    );
    let found = connection.write_returning(around, agents, |agent| values![&agent.iss, &agent.sub]).await?;
    found.iter().map(|row| Ok(Actor { iss: row.text("iss")?, sub: row.text("sub")? })).collect()
}

impl Tx {
    /// Suspends an agent. `false`: it was already.
    pub async fn suspend(&mut self, agent: &Actor, now: u64) -> Result<bool, StoreError> {
        let sql = "INSERT INTO suspended (iss, sub, since) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
        Ok(self.execute(sql, values![&agent.iss, &agent.sub, now]).await? == 1)
    }

    /// Ends the suspension of an agent. `false`: there was none.
    pub async fn resume(&mut self, agent: &Actor) -> Result<bool, StoreError> {
        let sql = "DELETE FROM suspended WHERE iss = $1 AND sub = $2";
        Ok(self.execute(sql, values![&agent.iss, &agent.sub]).await? == 1)
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
        let sql = "INSERT INTO bundles (rev, id, serial, signed, publisher, published_at)
                   VALUES ($1, $2, $3, $4, $5, $6)";
        let signed = serde_json::to_string(signed)?;
        self.execute(sql, values![rev, id, *serial, signed, publisher, now]).await?;
        self.head.policy = Some(published.into());
        Ok(())
    }
}
