//! How many holds agents, owners and rules have. The counts change with the holds, in the same transaction.

use std::collections::BTreeMap;

use sqlx::Row as _;

use super::{Connection, StoreError, Tx, int, uint};
use crate::domain::quota::Subject;

/// The holds of one subject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub open: u64,
    /// Opened in the last hour, to the minute.
    pub hour: u64,
    /// The oldest minute that counts for `hour`, in minutes since 1970.
    pub oldest: Option<u64>,
}

/// Minutes that count as the last hour: the present one has only begun.
pub const WINDOW: u64 = 60;

/// The holds that a subject has now.
pub async fn count(connection: &mut Connection, subject: Subject, name: &str, now: u64) -> Result<Count, StoreError> {
    let sql = "SELECT (SELECT holds FROM quota_open WHERE subject = ?1 AND name = ?2) AS open,
               total(holds) AS hour, min(minute) AS oldest
               FROM quota_opened WHERE subject = ?1 AND name = ?2 AND minute > ?3";
    let query = sqlx::query(sql).bind(subject.as_str()).bind(name).bind(int(now / 60) - int(WINDOW));
    let row = query.fetch_one(connection).await?;
    Ok(Count {
        open: uint(row.try_get::<Option<i64>, _>("open")?.unwrap_or_default()),
        // A sum of whole numbers far below 2^53.
        hour: row.try_get::<f64, _>("hour")? as u64,
        oldest: row.try_get::<Option<i64>, _>("oldest")?.map(uint),
    })
}

/// How often an agent joined pending holds in the last hour; `open` is nothing here.
pub async fn joined(connection: &mut Connection, agent: &str, now: u64) -> Result<Count, StoreError> {
    let sql = "SELECT total(joins) AS hour, min(minute) AS oldest FROM quota_joined WHERE name = ? AND minute > ?";
    let query = sqlx::query(sql).bind(agent).bind(int(now / 60) - int(WINDOW));
    let row = query.fetch_one(connection).await?;
    // A sum of whole numbers far below 2^53.
    let hour = row.try_get::<f64, _>("hour")? as u64;
    Ok(Count { open: 0, hour, oldest: row.try_get::<Option<i64>, _>("oldest")?.map(uint) })
}

impl Tx {
    /// Counts a hold that was opened.
    pub(super) async fn count_opened(&mut self, names: &[(Subject, String)], now: u64) -> Result<(), StoreError> {
        for (subject, name) in names {
            let sql = "INSERT INTO quota_open (subject, name, holds) VALUES (?, ?, 1)
                       ON CONFLICT (subject, name) DO UPDATE SET holds = holds + 1";
            sqlx::query(sql).bind(subject.as_str()).bind(name).execute(&mut **self).await?;
            let sql = "INSERT INTO quota_opened (subject, name, minute, holds) VALUES (?, ?, ?, 1)
                       ON CONFLICT (subject, name, minute) DO UPDATE SET holds = holds + 1";
            let query = sqlx::query(sql).bind(subject.as_str()).bind(name).bind(int(now / 60));
            query.execute(&mut **self).await?;
        }
        Ok(())
    }

    /// Counts a try that joined a pending hold.
    pub async fn count_joined(&mut self, agent: &str, now: u64) -> Result<(), StoreError> {
        let sql = "INSERT INTO quota_joined (name, minute, joins) VALUES (?, ?, 1)
                   ON CONFLICT (name, minute) DO UPDATE SET joins = joins + 1";
        sqlx::query(sql).bind(agent).bind(int(now / 60)).execute(&mut **self).await?;
        Ok(())
    }

    /// Counts holds that are open no more, by all the names under which they were counted.
    pub(super) async fn count_ended(
        &mut self,
        names: impl Iterator<Item = (Subject, String)>,
    ) -> Result<(), StoreError> {
        let mut ended: BTreeMap<(&'static str, String), i64> = BTreeMap::new();
        for (subject, name) in names {
            *ended.entry((subject.as_str(), name)).or_default() += 1;
        }
        for ((subject, name), holds) in ended {
            let less = "UPDATE quota_open SET holds = holds - ? WHERE subject = ? AND name = ?";
            sqlx::query(less).bind(holds).bind(subject).bind(&name).execute(&mut **self).await?;
            let none = "DELETE FROM quota_open WHERE subject = ? AND name = ? AND holds = 0";
            sqlx::query(none).bind(subject).bind(&name).execute(&mut **self).await?;
        }
        Ok(())
    }

    /// Forgets the minutes that count for nothing any more.
    pub async fn prune_quotas(&mut self, now: u64) -> Result<(), StoreError> {
        for sql in ["DELETE FROM quota_opened WHERE minute <= ?", "DELETE FROM quota_joined WHERE minute <= ?"] {
            sqlx::query(sql).bind(int(now / 60) - int(WINDOW)).execute(&mut **self).await?;
        }
        Ok(())
    }
}
