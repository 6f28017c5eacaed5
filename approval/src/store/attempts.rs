//! Attempts: the tries of gateways that came to a hold, and what became of those that redeemed one.

use std::collections::BTreeSet;

use holdgate_protocol::gateway::Outcome;

use super::{
    Connection, StoreError, Tx,
    sql::{Row, values},
};
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
    let sql = "SELECT count(*) AS count, coalesce(min(asked_at), 0) AS oldest FROM attempts
               WHERE hold = $1 AND asked_at > $2 AND detached_at IS NULL AND attempt <> $3";
    let row = connection.one(sql, values![hold, since, attempt]).await?;
    Ok(Waiting { count: row.int("count")?, oldest: row.int("oldest")? })
}

/// What the gateways reported of a hold's request.
pub async fn outcomes(connection: &mut Connection, id: &str) -> Result<Vec<Outcome>, StoreError> {
    let sql = "SELECT hold, attempt, forwarded, status FROM outcomes WHERE hold = $1 ORDER BY reported_at";
    connection.rows(sql, values![id]).await?.iter().map(outcome).collect()
}

fn outcome(row: &Row) -> Result<Outcome, StoreError> {
    let status = row.int_or_null("status")?.map(u16::try_from).transpose();
    let status = status.map_err(|_| StoreError::Corrupt("outcomes.status"))?;
    Ok(Outcome { hold: row.text("hold")?, attempt: row.text("attempt")?, forwarded: row.flag("forwarded")?, status })
}

/// Notes which attempts asked for which holds, and when. An attempt stands there once.
pub(super) async fn note(connection: &mut Connection, asked: &[(&Hold, &str, u64)]) -> Result<(), StoreError> {
    let head = "INSERT INTO attempts (grp, attempt, hold, asked_at, heard_at)";
    let tail = " ON CONFLICT (grp, attempt) DO UPDATE
                SET hold = excluded.hold, asked_at = excluded.asked_at, heard_at = excluded.heard_at";
    connection
        .write((head, tail), asked, |(hold, attempt, now)| {
            values![&hold.terms.group, *attempt, &hold.terms.id, *now, *now]
        })
        .await?;
    Ok(())
}

impl Tx {
    /// Notes that an attempt asked for a hold that there is.
    pub async fn note_attempt(&mut self, hold: &Hold, attempt: &str, now: u64) -> Result<(), StoreError> {
        note(self, &[(hold, attempt, now)]).await
    }

    /// Notes that the agents of these attempts hung up.
    pub async fn note_detached(&mut self, group: &str, attempts: &[String], now: u64) -> Result<(), StoreError> {
        let head = "INSERT INTO attempts (grp, attempt, detached_at, heard_at)";
        let tail = " ON CONFLICT (grp, attempt) DO UPDATE
                    SET detached_at = excluded.detached_at, heard_at = excluded.heard_at";
        // PostgreSQL changes a row once in a statement.
        let attempts: Vec<&String> = attempts.iter().collect::<BTreeSet<_>>().into_iter().collect();
        let group = group.to_owned();
        self.write((head, tail), &attempts, |attempt| values![&group, *attempt, now, now]).await?;
        Ok(())
    }

    /// Deletes attempts that were heard of last at or before `until`; says how many.
    pub async fn delete_attempts(&mut self, until: u64, limit: u32) -> Result<u64, StoreError> {
        let sql = "DELETE FROM attempts WHERE (grp, attempt) IN
                   (SELECT grp, attempt FROM attempts WHERE heard_at <= $1 ORDER BY heard_at LIMIT $2)";
        self.execute(sql, values![until, limit]).await
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
        // Of several reports of one attempt the first counts; a statement has no order.
        let mut seen = BTreeSet::new();
        let first = outcomes.iter().filter(|told| seen.insert((&told.hold, &told.attempt)));
        let reports: Vec<(&str, &Outcome)> = first.map(|outcome| (group, outcome)).collect();
        let new = self.write_returning((head, tail), &reports, |(group, told)| {
            values![&told.hold, *group, &told.attempt, told.forwarded, told.status, now]
        });
        new.await?.iter().map(outcome).collect()
    }
}
