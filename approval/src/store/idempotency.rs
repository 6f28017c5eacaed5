//! Agents' own names for their requests (`Idempotency-Key`).

use super::{Connection, StoreError, Tx, holds, sql::values};
use crate::domain::Hold;

/// Names that are kept of one hold: further ones with the same request are joined, and not remembered.
pub const KEYS: u32 = 32;

/// The hold to which a name led last.
pub async fn hold_of(
    connection: &mut Connection,
    group: &str,
    agent_key: &holdgate_protocol::Hash,
    key: &str,
) -> Result<Option<Hold>, StoreError> {
    let sql = "SELECT hold FROM idempotency_keys WHERE grp = $1 AND agent_key = $2 AND key = $3";
    let Some(row) = connection.row(sql, values![group, agent_key, key]).await? else { return Ok(None) };
    holds::find(connection, &row.text("hold")?).await
}

/// Remembers the names of holds that are new; each agent gave a name once.
pub(super) async fn remember(connection: &mut Connection, named: &[(&Hold, &str)]) -> Result<(), StoreError> {
    let head = "INSERT INTO idempotency_keys (grp, agent_key, key, hold)";
    let tail = " ON CONFLICT (grp, agent_key, key) DO UPDATE SET hold = excluded.hold";
    connection
        .write((head, tail), named, |(hold, key)| {
            values![&hold.terms.group, &hold.terms.agent_key, *key, &hold.terms.id]
        })
        .await?;
    Ok(())
}

impl Tx {
    /// Remembers to which hold a further name leads.
    pub async fn remember_key(&mut self, hold: &Hold, key: &str) -> Result<(), StoreError> {
        let sql = "INSERT INTO idempotency_keys (grp, agent_key, key, hold) SELECT $1, $2, $3, $4
                   WHERE (SELECT count(*) FROM idempotency_keys WHERE hold = $4) < $5
                   ON CONFLICT (grp, agent_key, key) DO UPDATE SET hold = excluded.hold";
        let terms = &hold.terms;
        self.execute(sql, values![&terms.group, &terms.agent_key, key, &terms.id, KEYS]).await?;
        Ok(())
    }

    /// Forgets the names of holds that ended at or before `until`; says how many.
    pub async fn forget_keys(&mut self, until: u64, limit: u32) -> Result<u64, StoreError> {
        let sql = "DELETE FROM idempotency_keys WHERE (grp, agent_key, key) IN
                   (SELECT k.grp, k.agent_key, k.key FROM idempotency_keys k JOIN holds ON holds.id = k.hold
                    WHERE state NOT IN ('pending', 'approved') AND since <= $1 LIMIT $2)";
        self.execute(sql, values![until, limit]).await
    }
}
