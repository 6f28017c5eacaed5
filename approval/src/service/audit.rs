//! Audit records of gateways: each batch is kept once, the ledger vouches for it, and what is missing is told.

use holdgate_protocol::{
    Hash,
    audit::{AuditBatch, MAX_NAME, MAX_RECORDS, MAX_SEQ},
};
use serde_json::json;

use super::Service;
use crate::store::{
    Command, StoreError, Tx,
    audit::{self, Batch, Gap},
    ledger::Event,
};

/// Why a batch was not kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Refused(&'static str),
    #[error("numbers {from} to {to} of `{vm_epoch}` came before with other records, or are not awaited any more")]
    Conflict { vm_epoch: String, from: u64, to: u64 },
}

impl Service {
    /// Keeps a batch of a gateway group and says how many records it has. The same batch again changes nothing.
    pub async fn audit(&self, group: &str, batch: AuditBatch<'static>) -> Result<u64, AuditError> {
        check(&batch)?;
        let kept = batch.records.len() as u64;
        let (vm_epoch, from, to) = (batch.vm_epoch.to_string(), batch.from_seq, batch.to_seq);
        let lost = self.store.write(Keep { group: group.to_owned(), batch, now: self.now() }).await?;
        if lost.missing > 0 || lost.dropped > 0 {
            let Lost { missing, dropped } = lost;
            tracing::warn!(group, %vm_epoch, from, to, missing, dropped, "audit records are missing");
        }
        Ok(kept)
    }

    /// Numbers without a record, those noticed last first.
    pub async fn audit_gaps(&self, limit: u32) -> Result<Vec<Gap>, StoreError> {
        audit::gaps(&mut self.store.read().await?, limit).await
    }
}

fn check(batch: &AuditBatch<'_>) -> Result<(), AuditError> {
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let epoch = batch.vm_epoch.as_bytes();
    let (from, to) = (batch.from_seq, batch.to_seq);
    let numbers = || batch.records.iter().map(|record| record.seq);
    let checks = [
        (
            !epoch.is_empty() && epoch.len() <= MAX_NAME && epoch.iter().all(|byte| sound(*byte)),
            "`vm_epoch` has 1 to 64 letters, digits, `-` and `_`",
        ),
        (from >= 1 && from <= to && to <= MAX_SEQ, "`from_seq` is at least 1, and `to_seq` not less"),
        (batch.dropped <= MAX_SEQ, "`dropped` is too large"),
        (batch.records.len() <= MAX_RECORDS, "a batch has at most 256 records"),
        (!batch.records.is_empty() || batch.dropped > 0, "a batch without records says how many were dropped"),
        (numbers().is_sorted_by(|a, b| a < b), "the records' `seq` rise from one to the next"),
        (numbers().all(|seq| (from..=to).contains(&seq)), "each `seq` lies between `from_seq` and `to_seq`"),
        (batch.records.iter().all(|record| (1..=MAX_NAME).contains(&record.code.len())), "`code` has 1 to 64 bytes"),
    ];
    match checks.into_iter().find(|(sound, _)| !sound) {
        Some((_, rule)) => Err(AuditError::Refused(rule)),
        None => Ok(()),
    }
}

/// What a batch showed to be missing.
struct Lost {
    /// Numbers without a record, in the batch or right before it.
    missing: u64,
    dropped: u64,
}

struct Keep {
    group: String,
    batch: AuditBatch<'static>,
    now: u64,
}

impl Command for Keep {
    type Answer = Lost;
    type Error = AuditError;

    async fn run(self, tx: &mut Tx) -> Result<Lost, AuditError> {
        let Keep { group, batch, now } = self;
        let AuditBatch { vm_epoch, from_seq: from, to_seq: to, dropped, records } = batch;
        let text = serde_json::to_string(&records).map_err(StoreError::from)?;
        let hash = Hash::of(text.as_bytes());
        match audit::known(tx, &group, &vm_epoch, from).await? {
            Some(known) if known == (to, dropped, hash) => return Ok(Lost { missing: 0, dropped: 0 }),
            Some(_) => return Err(AuditError::Conflict { vm_epoch: vm_epoch.into_owned(), from, to }),
            None => {}
        }
        let gap = |from_seq: u64, to_seq: u64, missing, dropped, noticed_at| Gap {
            group: group.clone(),
            vm_epoch: vm_epoch.to_string(),
            from_seq,
            to_seq,
            missing,
            dropped,
            noticed_at,
        };
        let between = |from: u64, to: u64, since| gap(from, to, to - from + 1, 0, since);
        let next = audit::last(tx, &group, &vm_epoch).await? + 1;
        let mut missing = 0;
        if from > next {
            let skipped = between(next, from - 1, now);
            missing += skipped.missing;
            tx.insert_gap(&skipped, false).await?;
        } else if from < next {
            // A batch that comes late belongs into one gap; where there is none, its numbers are taken.
            let Some((first, last, since)) = tx.take_gap(&group, &vm_epoch, (from, to)).await? else {
                return Err(AuditError::Conflict { vm_epoch: vm_epoch.into_owned(), from, to });
            };
            if first < from {
                tx.insert_gap(&between(first, from - 1, since), false).await?;
            }
            if last > to {
                tx.insert_gap(&between(to + 1, last, since), false).await?;
            }
        }
        let inside = (to - from + 1).saturating_sub(records.len() as u64);
        if inside > 0 || dropped > 0 {
            tx.insert_gap(&gap(from, to, inside, dropped, now), true).await?;
        }
        let kept = Batch { group: &group, vm_epoch: &vm_epoch, from, to, dropped, hash, records: &text };
        tx.insert_batch(&kept, now).await?;
        let data = json!({
            "group": group, "vm_epoch": vm_epoch, "from_seq": from, "to_seq": to, "dropped": dropped,
            "records": records.len(), "hash": hash,
        });
        tx.record(Event { time: now, kind: "audit.batch", hold: None, decided_by: None, data })?;
        Ok(Lost { missing: missing + inside, dropped })
    }
}
