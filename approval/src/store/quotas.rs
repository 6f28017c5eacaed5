//! How many holds agents, owners and rules have. The counts change with the holds, in the same transaction.

use std::collections::BTreeMap;

use super::{Connection, StoreError, Tx, sql::values};
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
    let sql = "SELECT (SELECT holds FROM quota_open WHERE subject = $1 AND name = $2) AS open,
               CAST(coalesce(sum(holds), 0) AS BIGINT) AS hour, min(minute) AS oldest
               FROM quota_opened WHERE subject = $1 AND name = $2 AND minute > $3";
    let row = connection.one(sql, values![subject.as_str(), name, window(now)]).await?;
    let (open, oldest) = (row.int_or_null("open")?.unwrap_or_default(), row.int_or_null("oldest")?);
    Ok(Count { open, hour: row.int("hour")?, oldest })
}

/// How often an agent joined pending holds in the last hour; `open` is nothing here.
pub async fn joined(connection: &mut Connection, agent: &str, now: u64) -> Result<Count, StoreError> {
    let sql = "SELECT CAST(coalesce(sum(joins), 0) AS BIGINT) AS hour, min(minute) AS oldest
               FROM quota_joined WHERE name = $1 AND minute > $2";
    let row = connection.one(sql, values![agent, window(now)]).await?;
    Ok(Count { open: 0, hour: row.int("hour")?, oldest: row.int_or_null("oldest")? })
}

/// Counts holds that were opened in a minute, by subject and name.
pub(super) async fn opened(
    connection: &mut Connection,
    counts: &BTreeMap<(&str, &str), u64>,
    minute: u64,
) -> Result<(), StoreError> {
    let counts: Vec<_> = counts.iter().map(|((subject, name), holds)| (*subject, *name, *holds)).collect();
    let head = "INSERT INTO quota_open (subject, name, holds)";
    let tail = " ON CONFLICT (subject, name) DO UPDATE SET holds = quota_open.holds + excluded.holds";
    connection.write((head, tail), &counts, |(subject, name, holds)| values![*subject, *name, *holds]).await?;
    let head = "INSERT INTO quota_opened (subject, name, minute, holds)";
    let tail = " ON CONFLICT (subject, name, minute) DO UPDATE SET holds = quota_opened.holds + excluded.holds";
    connection.write((head, tail), &counts, |(subject, name, holds)| values![*subject, *name, minute, *holds]).await?;
    Ok(())
}

/// The last minute that counts no more.
fn window(now: u64) -> u64 {
    (now / 60).saturating_sub(WINDOW)
}

impl Tx {
    /// Counts a try that joined a pending hold.
    pub async fn count_joined(&mut self, agent: &str, now: u64) -> Result<(), StoreError> {
        let sql = "INSERT INTO quota_joined (name, minute, joins) VALUES ($1, $2, 1)
                   ON CONFLICT (name, minute) DO UPDATE SET joins = quota_joined.joins + 1";
        self.execute(sql, values![agent, now / 60]).await?;
        Ok(())
    }

    /// Counts holds that are open no more, by all the names under which they were counted.
    pub(super) async fn count_ended(
        &mut self,
        names: impl Iterator<Item = (Subject, String)>,
    ) -> Result<(), StoreError> {
        let mut ended: BTreeMap<(&'static str, String), u64> = BTreeMap::new();
        for (subject, name) in names {
            *ended.entry((subject.as_str(), name)).or_default() += 1;
        }
        let ended: Vec<_> = ended.iter().collect();
        let head = "WITH ended (subject, name, holds) AS (";
        let tail = ") UPDATE quota_open SET holds = quota_open.holds - ended.holds FROM ended
                    WHERE quota_open.subject = ended.subject AND quota_open.name = ended.name";
        self.write((head, tail), &ended, |((subject, name), holds)| values![*subject, name, **holds]).await?;
        let none = ("DELETE FROM quota_open WHERE holds = 0 AND (subject, name) IN (", ")");
        self.write(none, &ended, |((subject, name), _)| values![*subject, name]).await?;
        Ok(())
    }

    /// Forgets the minutes that count for nothing any more.
    pub async fn prune_quotas(&mut self, now: u64) -> Result<(), StoreError> {
        self.execute("DELETE FROM quota_opened WHERE minute <= $1", values![window(now)]).await?;
        self.execute("DELETE FROM quota_joined WHERE minute <= $1", values![window(now)]).await?;
        Ok(())
    }
}
