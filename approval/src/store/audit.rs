//! Audit records of gateways, and the numbers that have none.

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

/// The records of a VM from a batch on, oldest first: JSON arrays.
pub async fn records(
    connection: &mut Connection,
    group: &str,
    vm_epoch: &str,
    limit: u32,
) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT records FROM audit_batches WHERE grp = $1 AND vm_epoch = $2 ORDER BY from_seq LIMIT $3";
    let rows = connection.rows(sql, values![group, vm_epoch, limit]).await?;
    rows.iter().map(|row| row.text("records")).collect()
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
