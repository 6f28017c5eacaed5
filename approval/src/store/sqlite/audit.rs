//! Audit records of gateways, and the numbers that have none.

use holdgate_protocol::Hash;
use serde::Serialize;
use sqlx::Row as _;

use super::{Connection, StoreError, Tx, int, uint};

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
    let sql = "SELECT to_seq, dropped, hash FROM audit_batches WHERE grp = ? AND vm_epoch = ? AND from_seq = ?";
    let query = sqlx::query(sql).bind(group).bind(vm_epoch).bind(int(from));
    let Some(row) = query.fetch_optional(connection).await? else { return Ok(None) };
    let hash: &str = row.try_get("hash")?;
    let hash = hash.parse().map_err(|_| StoreError::Corrupt("audit_batches.hash"))?;
    Ok(Some((uint(row.try_get("to_seq")?), uint(row.try_get("dropped")?), hash)))
}

/// The last number of a VM that a batch covered, be it kept still or not; 0 before the first.
pub async fn last(connection: &mut Connection, group: &str, vm_epoch: &str) -> Result<u64, StoreError> {
    let sql = "SELECT last_seq FROM audit_ends WHERE grp = ? AND vm_epoch = ?";
    let row = sqlx::query(sql).bind(group).bind(vm_epoch).fetch_optional(connection).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?.map_or(0, uint))
}

/// The records of a VM from a batch on, oldest first: JSON arrays.
pub async fn records(
    connection: &mut Connection,
    group: &str,
    vm_epoch: &str,
    limit: u32,
) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT records FROM audit_batches WHERE grp = ? AND vm_epoch = ? ORDER BY from_seq LIMIT ?";
    let rows = sqlx::query(sql).bind(group).bind(vm_epoch).bind(limit).fetch_all(connection).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// Gaps, the newest first.
pub async fn gaps(connection: &mut Connection, limit: u32) -> Result<Vec<Gap>, StoreError> {
    let sql = "SELECT grp, vm_epoch, from_seq, to_seq, missing, dropped, noticed_at FROM audit_gaps
               ORDER BY noticed_at DESC, grp, vm_epoch, from_seq DESC LIMIT ?";
    let rows = sqlx::query(sql).bind(limit).fetch_all(connection).await?;
    let gap = |row: &sqlx::sqlite::SqliteRow| {
        Ok(Gap {
            group: row.try_get("grp")?,
            vm_epoch: row.try_get("vm_epoch")?,
            from_seq: uint(row.try_get("from_seq")?),
            to_seq: uint(row.try_get("to_seq")?),
            missing: uint(row.try_get("missing")?),
            dropped: uint(row.try_get("dropped")?),
            noticed_at: uint(row.try_get("noticed_at")?),
        })
    };
    rows.iter().map(gap).collect()
}

impl Tx {
    pub async fn insert_batch(&mut self, batch: &Batch<'_>, now: u64) -> Result<(), StoreError> {
        let sql = "INSERT INTO audit_batches (grp, vm_epoch, from_seq, to_seq, dropped, hash, records, received_at)
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
        sqlx::query(sql)
            .bind(batch.group)
            .bind(batch.vm_epoch)
            .bind(int(batch.from))
            .bind(int(batch.to))
            .bind(int(batch.dropped))
            .bind(batch.hash.to_string())
            .bind(batch.records)
            .bind(int(now))
            .execute(&mut **self)
            .await?;
        let sql = "INSERT INTO audit_ends (grp, vm_epoch, last_seq) VALUES (?, ?, ?)
                   ON CONFLICT (grp, vm_epoch) DO UPDATE SET last_seq = max(last_seq, excluded.last_seq)";
        let query = sqlx::query(sql).bind(batch.group).bind(batch.vm_epoch).bind(int(batch.to));
        query.execute(&mut **self).await?;
        Ok(())
    }

    /// Deletes batches that came at or before `until`; says how many. Where each VM's numbers end stays known.
    pub async fn delete_batches(&mut self, until: u64, limit: u32) -> Result<u64, StoreError> {
        let sql = "DELETE FROM audit_batches WHERE rowid IN
                   (SELECT rowid FROM audit_batches WHERE received_at <= ? ORDER BY received_at LIMIT ?)";
        Ok(sqlx::query(sql).bind(int(until)).bind(limit).execute(&mut **self).await?.rows_affected())
    }

    /// Deletes gaps that were noticed at or before `until`; says how many. What belongs into them is not awaited any more.
    pub async fn delete_gaps(&mut self, until: u64, limit: u32) -> Result<u64, StoreError> {
        let sql = "DELETE FROM audit_gaps WHERE (grp, vm_epoch, from_seq) IN
                   (SELECT grp, vm_epoch, from_seq FROM audit_gaps WHERE noticed_at <= ? ORDER BY noticed_at LIMIT ?)";
        Ok(sqlx::query(sql).bind(int(until)).bind(limit).execute(&mut **self).await?.rows_affected())
    }

    /// Notes that numbers have no record. `received`: they lie inside a batch that has come.
    pub async fn insert_gap(&mut self, gap: &Gap, received: bool) -> Result<(), StoreError> {
        let sql = "INSERT INTO audit_gaps (grp, vm_epoch, from_seq, to_seq, missing, dropped, received, noticed_at)
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
        sqlx::query(sql)
            .bind(&gap.group)
            .bind(&gap.vm_epoch)
            .bind(int(gap.from_seq))
            .bind(int(gap.to_seq))
            .bind(int(gap.missing))
            .bind(int(gap.dropped))
            .bind(received)
            .bind(int(gap.noticed_at))
            .execute(&mut **self)
            .await?;
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
        let sql = "DELETE FROM audit_gaps WHERE grp = ? AND vm_epoch = ? AND from_seq <= ? AND to_seq >= ?
                   AND NOT received RETURNING from_seq, to_seq, noticed_at";
        let query = sqlx::query(sql).bind(group).bind(vm_epoch).bind(int(from)).bind(int(to));
        let Some(row) = query.fetch_optional(&mut **self).await? else { return Ok(None) };
        Ok(Some((uint(row.try_get(0)?), uint(row.try_get(1)?), uint(row.try_get(2)?))))
    }
}
