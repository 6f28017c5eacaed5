//! Attempts: the tries of gateways that came to a hold, and what became of those that redeemed one.

use holdgate_protocol::gateway::Outcome;
use sqlx::{Row as _, sqlite::SqliteRow};

use super::{Connection, StoreError, Tx, int, rows, uint};
use crate::domain::Hold;

/// Tries that may wait on a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub count: u64,
    /// When the one that has waited longest asked; 0 where there is none.
    pub oldest: u64,
}

/// The tries that asked for a hold after `since` and whose agents have not hung up, other than `attempt` itself.
pub async fn waiting(
    connection: &mut Connection,
    hold: &str,
    attempt: &str,
    since: u64,
) -> Result<Waiting, StoreError> {
    let sql = "SELECT count(*), coalesce(min(asked_at), 0) FROM attempts
               WHERE hold = ? AND asked_at > ? AND detached_at IS NULL AND attempt <> ?";
    let row = sqlx::query(sql).bind(hold).bind(int(since)).bind(attempt).fetch_one(connection).await?;
    Ok(Waiting { count: uint(row.try_get(0)?), oldest: uint(row.try_get(1)?) })
}

/// What the gateways reported of a hold's request.
pub async fn outcomes(connection: &mut Connection, id: &str) -> Result<Vec<Outcome>, StoreError> {
    let sql = "SELECT hold, attempt, forwarded, status FROM outcomes WHERE hold = ? ORDER BY reported_at";
    sqlx::query(sql).bind(id).fetch_all(connection).await?.iter().map(outcome).collect()
}

fn outcome(row: &SqliteRow) -> Result<Outcome, StoreError> {
    let (hold, attempt, forwarded) = (row.try_get("hold")?, row.try_get("attempt")?, row.try_get("forwarded")?);
    Ok(Outcome { hold, attempt, forwarded, status: row.try_get("status")? })
}

impl Tx {
    /// Notes that an attempt asked for a hold, or found one.
    pub async fn note_attempt(&mut self, hold: &Hold, attempt: &str, now: u64) -> Result<(), StoreError> {
        let sql = "INSERT INTO attempts (grp, attempt, hold, asked_at, heard_at) VALUES (?1, ?2, ?3, ?4, ?4)
                   ON CONFLICT (grp, attempt) DO UPDATE
                   SET hold = excluded.hold, asked_at = excluded.asked_at, heard_at = excluded.heard_at";
        let query = sqlx::query(sql).bind(&hold.terms.group).bind(attempt).bind(&hold.terms.id).bind(int(now));
        query.execute(&mut **self).await?;
        Ok(())
    }

    /// Notes that the agents of these attempts hung up.
    pub async fn note_detached(&mut self, group: &str, attempts: &[String], now: u64) -> Result<(), StoreError> {
        let head = "INSERT INTO attempts (grp, attempt, detached_at, heard_at) ";
        let tail = " ON CONFLICT (grp, attempt) DO UPDATE
                    SET detached_at = excluded.detached_at, heard_at = excluded.heard_at";
        rows::write(self, (head, tail), attempts, |mut row, attempt| {
            row.push_bind(group).push_bind(&**attempt).push_bind(int(now)).push_bind(int(now));
        })
        .await?;
        Ok(())
    }

    /// Deletes attempts that were heard of last at or before `until`; says how many.
    pub async fn delete_attempts(&mut self, until: u64, limit: u32) -> Result<u64, StoreError> {
        let sql = "DELETE FROM attempts WHERE rowid IN
                   (SELECT rowid FROM attempts WHERE heard_at <= ? ORDER BY heard_at LIMIT ?)";
        Ok(sqlx::query(sql).bind(int(until)).bind(limit).execute(&mut **self).await?.rows_affected())
    }

    /// Keeps reports and gives those that are new: of attempts that have not reported before and that did redeem their hold,
    /// which is this group's.
    pub async fn insert_outcomes(
        &mut self,
        group: &str,
        outcomes: &[Outcome],
        now: u64,
    ) -> Result<Vec<Outcome>, StoreError> {
        let head = "WITH told (hold, grp, attempt, forwarded, status, reported_at) AS (";
        let tail = ") INSERT INTO outcomes (hold, attempt, forwarded, status, reported_at)
                    SELECT holds.id, used_attempt, forwarded, status, reported_at FROM told
                    JOIN holds ON holds.id = told.hold AND holds.grp = told.grp AND used_attempt = told.attempt WHERE true
                    ON CONFLICT DO NOTHING RETURNING hold, attempt, forwarded, status";
        let new = rows::write_returning(self, (head, tail), outcomes, |mut row, told| {
            row.push_bind(&*told.hold).push_bind(group).push_bind(&*told.attempt);
            row.push_bind(told.forwarded).push_bind(told.status).push_bind(int(now));
        })
        .await?;
        new.iter().map(outcome).collect()
    }
}
