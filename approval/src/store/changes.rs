//! Changes of authority that wait for a second person.

use super::{
    Connection, StoreError, Tx,
    sql::{Row, values},
};
use crate::domain::AuthorityChange;

/// A change that was proposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    pub id: String,
    pub change: AuthorityChange,
    pub reason: String,
    pub proposed_by: String,
    pub proposed_at: u64,
}

const COLUMNS: &str = "CAST(number AS TEXT) AS id, change, reason, proposed_by, proposed_at";

/// Those that were proposed after a moment and are open, the oldest first.
pub async fn open(connection: &mut Connection, after: u64, limit: u32) -> Result<Vec<Proposal>, StoreError> {
    let sql =
        format!("SELECT {COLUMNS} FROM changes WHERE state = 'open' AND proposed_at > $1 ORDER BY number LIMIT $2");
    connection.rows(sql, values![after, limit]).await?.iter().map(proposal).collect()
}

/// The open one with this id.
pub async fn find(connection: &mut Connection, id: &str) -> Result<Option<Proposal>, StoreError> {
    let Ok(number) = id.parse::<u64>() else { return Ok(None) };
    let sql = format!("SELECT {COLUMNS} FROM changes WHERE number = $1 AND state = 'open'");
    connection.row(sql, values![number]).await?.as_ref().map(proposal).transpose()
}

fn proposal(row: &Row) -> Result<Proposal, StoreError> {
    Ok(Proposal {
        id: row.text("id")?,
        change: row.json("change")?,
        reason: row.text("reason")?,
        proposed_by: row.text("proposed_by")?,
        proposed_at: row.int("proposed_at")?,
    })
}

impl Tx {
    /// Keeps a proposal; says under which id.
    pub async fn propose(
        &mut self,
        change: &AuthorityChange,
        reason: &str,
        by: &str,
        now: u64,
    ) -> Result<String, StoreError> {
        let sql = "INSERT INTO changes (number, change, reason, proposed_by, proposed_at, state)
                   VALUES ((SELECT coalesce(max(number), 0) + 1 FROM changes), $1, $2, $3, $4, 'open')
                   RETURNING CAST(number AS TEXT) AS id";
        let change = serde_json::to_string(change)?;
        self.one(sql, values![change, reason, by, now]).await?.text("id")
    }

    /// Closes an open proposal.
    pub async fn close_proposal(&mut self, id: &str, confirmed: bool, by: &str, now: u64) -> Result<(), StoreError> {
        let sql = "UPDATE changes SET state = $1, closed_by = $2, closed_at = $3 WHERE number = $4 AND state = 'open'";
        let state = if confirmed { "confirmed" } else { "rejected" };
        self.execute(sql, values![state, by, now, id.parse::<u64>().unwrap_or_default()]).await?;
        Ok(())
    }
}
