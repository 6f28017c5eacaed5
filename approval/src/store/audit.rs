//! Audit records of gateways, and the numbers that have none.

use std::{fmt, str::FromStr};

use holdgate_protocol::Hash;
use serde::Serialize;

use super::{
    Connection, StoreError, Tx,
    sql::{Row, values},
};

/// A batch as it is kept.
#[derive(Clone, Debug)]
pub struct Batch<'a> {
    pub group: &'a str,
    pub vm_epoch: &'a str,
    pub from: u64,
    pub to: u64,
    pub dropped: u64,
    pub hash: Hash,
    /// A JSON array.
    pub records: &'a str,
}

/// Numbers of one VM for which there is no record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    pub group: String,
    pub vm_epoch: String,
    pub from_seq: u64,
    pub to_seq: u64,
    /// How many of these numbers have no record.
    pub missing: u64,
    /// How many the gateway says that it dropped.
    pub dropped: u64,
    pub noticed_at: u64,
}

/// A batch as it is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kept {
    pub group: String,
    pub vm_epoch: String,
    pub from_seq: u64,
    pub to_seq: u64,
    pub dropped: u64,
    pub received_at: u64,
    /// SHA-256 of the records' text, as it stands in the ledger.
    pub hash: Hash,
    /// The text of a JSON array.
    pub records: String,
}

/// Which batches are wanted. An empty text and the number 0 stand for any.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub group: String,
    pub vm_epoch: String,
    /// A number that the batch covers.
    pub seq: u64,
    /// When they came, both inclusive.
    pub since: u64,
    pub until: u64,
    /// Those behind this one.
    pub after: Place,
}

/// Where a batch stands in the order of those that are read.
#[derive(Clone, Debug, Default)]
pub struct Place {
    pub received_at: u64,
    pub from_seq: u64,
    pub vm_epoch: String,
    pub group: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}.{}", self.received_at, self.from_seq, self.vm_epoch, self.group)
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(4, '.');
        let mut part = || parts.next().ok_or(());
        let (time, from, epoch, group) = (part()?, part()?, part()?, part()?);
        let number = |text: &str| text.parse().map_err(drop);
        Ok(Place {
            received_at: number(time)?,
            from_seq: number(from)?,
            vm_epoch: epoch.to_owned(),
            group: group.to_owned(),
        })
    }
}

impl From<&Kept> for Place {
    fn from(kept: &Kept) -> Self {
        let Kept { group, vm_epoch, from_seq, received_at, .. } = kept;
        Place { received_at: *received_at, from_seq: *from_seq, vm_epoch: vm_epoch.clone(), group: group.clone() }
    }
}

/// The hash of the records that came with this number first, if a batch began with it.
pub async fn known(
    connection: &mut Connection,
    group: &str,
    vm_epoch: &str,
    from: u64,
) -> Result<Option<(u64, u64, Hash)>, StoreError> {
    let sql = "SELECT to_seq, dropped, hash FROM audit_batches WHERE grp = $1 AND vm_epoch = $2 AND from_seq = $3";
    let Some(row) = connection.row(sql, values![group, vm_epoch, from]).await? else { return Ok(None) };
    Ok(Some((row.int("to_seq")?, row.int("dropped")?, row.hash("hash")?)))
}

/// The last number of a VM that a batch covered, be it kept still or not; 0 before the first.
pub async fn last(connection: &mut Connection, group: &str, vm_epoch: &str) -> Result<u64, StoreError> {
    let sql = "SELECT last_seq FROM audit_ends WHERE grp = $1 AND vm_epoch = $2";
    let row = connection.row(sql, values![group, vm_epoch]).await?;
    Ok(row.map(|row| row.int("last_seq")).transpose()?.unwrap_or_default())
}

/// Batches that are kept still, in the order in which they came.
pub async fn batches(connection: &mut Connection, wanted: &Wanted, limit: u32) -> Result<Vec<Kept>, StoreError> {
    let Wanted { group, vm_epoch, seq, since, until, after } = wanted;
    let sql = "SELECT grp, vm_epoch, from_seq, to_seq, dropped, hash, records, received_at FROM audit_batches
               WHERE received_at BETWEEN $1 AND $2 AND (received_at, from_seq, vm_epoch, grp) > ($3, $4, $5, $6)
               AND ($7 = '' OR grp = $7) AND ($8 = '' OR vm_epoch = $8) AND ($9 = 0 OR $9 BETWEEN from_seq AND to_seq)
               ORDER BY received_at, from_seq, vm_epoch, grp LIMIT $10";
    let Place { received_at, from_seq, vm_epoch: epoch, group: grp } = after;
    let values = values![*since, *until, *received_at, *from_seq, epoch, grp, group, vm_epoch, *seq, limit];
    let kept = |row: &Row| {
        Ok(Kept {
            group: row.text("grp")?,
            vm_epoch: row.text("vm_epoch")?,
            from_seq: row.int("from_seq")?,
            to_seq: row.int("to_seq")?,
            dropped: row.int("dropped")?,
            received_at: row.int("received_at")?,
            hash: row.hash("hash")?,
            records: row.text("records")?,
        })
    };
    connection.rows(sql, values).await?.iter().map(kept).collect()
}

/// Gaps, the newest first.
pub async fn gaps(connection: &mut Connection, limit: u32) -> Result<Vec<Gap>, StoreError> {
    let sql = "SELECT grp, vm_epoch, from_seq, to_seq, missing, dropped, noticed_at FROM audit_gaps
               ORDER BY noticed_at DESC, grp, vm_epoch, from_seq DESC LIMIT $1";
    let gap = |row: &Row| {
        Ok(Gap {
            group: row.text("grp")?,
            vm_epoch: row.text("vm_epoch")?,
            from_seq: row.int("from_seq")?,
            to_seq: row.int("to_seq")?,
            missing: row.int("missing")?,
            dropped: row.int("dropped")?,
            noticed_at: row.int("noticed_at")?,
        })
    };
    connection.rows(sql, values![limit]).await?.iter().map(gap).collect()
}

impl Tx {
    pub async fn insert_batch(&mut self, batch: &Batch<'_>, now: u64) -> Result<(), StoreError> {
        let Batch { group, vm_epoch, from, to, dropped, hash, records } = batch;
        let sql = "INSERT INTO audit_batches (grp, vm_epoch, from_seq, to_seq, dropped, hash, records, received_at)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        self.execute(sql, values![*group, *vm_epoch, *from, *to, *dropped, hash, *records, now]).await?;
        let sql = "INSERT INTO audit_ends (grp, vm_epoch, last_seq) VALUES ($1, $2, $3)
                   ON CONFLICT (grp, vm_epoch) DO UPDATE SET last_seq = excluded.last_seq
                   WHERE audit_ends.last_seq < excluded.last_seq";
        self.execute(sql, values![*group, *vm_epoch, *to]).await?;
        Ok(())
    }

    /// Deletes batches that came at or before `until`; says how many. Where each VM's numbers end stays known.
    pub async fn delete_batches(&mut self, until: u64, limit: u32) -> Result<u64, StoreError> {
        let sql = "DELETE FROM audit_batches WHERE (grp, vm_epoch, from_seq) IN
                   (SELECT grp, vm_epoch, from_seq FROM audit_batches WHERE received_at <= $1
                    ORDER BY received_at LIMIT $2)";
        self.execute(sql, values![until, limit]).await
    }

    /// Deletes gaps that were noticed at or before `until`; says how many. What belongs into them is not awaited any more.
    pub async fn delete_gaps(&mut self, until: u64, limit: u32) -> Result<u64, StoreError> {
        let sql = "DELETE FROM audit_gaps WHERE (grp, vm_epoch, from_seq) IN
                   (SELECT grp, vm_epoch, from_seq FROM audit_gaps WHERE noticed_at <= $1 ORDER BY noticed_at LIMIT $2)";
        self.execute(sql, values![until, limit]).await
    }

    /// Notes that numbers have no record. `received`: they lie inside a batch that has come.
    pub async fn insert_gap(&mut self, gap: &Gap, received: bool) -> Result<(), StoreError> {
        let sql = "INSERT INTO audit_gaps (grp, vm_epoch, from_seq, to_seq, missing, dropped, received, noticed_at)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        let Gap { group, vm_epoch, from_seq, to_seq, missing, dropped, noticed_at } = gap;
        let values = values![group, vm_epoch, *from_seq, *to_seq, *missing, *dropped, received, *noticed_at];
        self.execute(sql, values).await?;
        Ok(())
    }

    /// Takes out the gap between batches in which all these numbers lie: its first and last number and when it was
    /// noticed. `None`: some of them came before.
    pub async fn take_gap(
        &mut self,
        group: &str,
        vm_epoch: &str,
        (from, to): (u64, u64),
    ) -> Result<Option<(u64, u64, u64)>, StoreError> {
        let sql = "DELETE FROM audit_gaps WHERE grp = $1 AND vm_epoch = $2 AND from_seq <= $3 AND to_seq >= $4
                   AND NOT received RETURNING from_seq, to_seq, noticed_at";
        let Some(row) = self.row(sql, values![group, vm_epoch, from, to]).await? else { return Ok(None) };
        Ok(Some((row.int("from_seq")?, row.int("to_seq")?, row.int("noticed_at")?)))
    }
}
