//! Agents' own names for their requests (`Idempotency-Key`).

use sqlx::Row as _;

use super::{Connection, StoreError, Tx, holds, int};
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
    let sql = "SELECT hold FROM idempotency_keys WHERE grp = ? AND agent_key = ? AND key = ?";
    let query = sqlx::query(sql).bind(group).bind(agent_key.to_string()).bind(key);
    let Some(row) = query.fetch_optional(&mut *connection).await? else { return Ok(None) };
    holds::find(connection, row.try_get(0)?).await
}

impl Tx {
    /// Remembers to which hold a name leads.
    pub async fn remember_key(&mut self, hold: &Hold, key: &str) -> Result<(), StoreError> {
        let sql = "INSERT INTO idempotency_keys (grp, agent_key, key, hold) SELECT ?1, ?2, ?3, ?4
                   WHERE (SELECT count(*) FROM idempotency_keys WHERE hold = ?4) < ?5
                   ON CONFLICT (grp, agent_key, key) DO UPDATE SET hold = excluded.hold";
        let terms = &hold.terms;
        let query = sqlx::query(sql).bind(&terms.group).bind(terms.agent_key.to_string()).bind(key);
        query.bind(&terms.id).bind(KEYS).execute(&mut **self).await?;
        Ok(())
    }

    /// Forgets the names of holds that ended at or before `until`; says how many.
    pub async fn forget_keys(&mut self, until: u64, limit: u32) -> Result<u64, StoreError> {
        let sql = "DELETE FROM idempotency_keys WHERE (grp, agent_key, key) IN
                   (SELECT k.grp, k.agent_key, k.key FROM idempotency_keys k JOIN holds ON holds.id = k.hold
                    WHERE state NOT IN ('pending', 'approved') AND since <= ? LIMIT ?)";
        Ok(sqlx::query(sql).bind(int(until)).bind(limit).execute(&mut **self).await?.rows_affected())
    }
}
