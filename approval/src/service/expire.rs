//! Time passing: holds that nobody decided on or used in time end, and old news is forgotten.

use std::time::Duration;

use super::{Service, Step, ledger::CHECKPOINT_EVERY, open::KEYS_KEPT, transitions};
use crate::{
    notices::deliver::PATIENCE,
    store::{Command, StoreError, Tx, holds},
};

/// Holds that end in one transaction, so that nobody waits long behind them.
const BATCH: u32 = 250;

/// Feed items that are kept; a gateway that is further behind takes a new snapshot.
pub const FEED_KEPT: u64 = 100_000;

/// How often is looked for what was kept long enough.
const FORGET_EVERY: Duration = Duration::from_secs(60 * 60);

/// How long notices are kept, in seconds: 30 days.
const NOTICES_KEPT: u64 = 30 * 24 * 60 * 60;

/// Ends what is overdue; says how many.
pub struct Expire {
    pub now: u64,
}

impl Command for Expire {
    type Answer = usize;
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<usize, StoreError> {
        let overdue = holds::overdue(tx, self.now, BATCH).await?;
        let count = overdue.len();
        let steps: Vec<Step> = overdue.iter().filter_map(|hold| super::overdue(hold, self.now)).collect();
        transitions(tx, &steps, self.now).await?;
        Ok(count)
    }
}

/// Forgets all but the newest items of the feed.
pub struct PruneFeed {
    pub keep: u64,
}

impl Command for PruneFeed {
    type Answer = ();
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<(), StoreError> {
        tx.prune_feed(self.keep).await
    }
}

/// Forgets the minutes that count for no quota any more.
struct PruneQuotas {
    now: u64,
}

impl Command for PruneQuotas {
    type Answer = ();
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<(), StoreError> {
        tx.prune_quotas(self.now).await?;
        tx.prune_denials(self.now).await
    }
}

/// What is deleted when its time is over.
#[derive(Clone, Copy, Debug)]
enum Old {
    /// What was captured of holds that ended.
    Captures,
    /// The names that agents gave to requests whose holds ended.
    Keys,
    /// Tries that were not heard of since.
    Attempts,
    /// Batches of audit records.
    Audit,
    /// The numbers between them.
    Gaps,
    /// Notices that were delivered or given up.
    Notices,
    /// Notices that nobody delivers any more.
    Undelivered,
}

/// Deletes some of what is as old as `until` or older; says how many.
struct Delete {
    old: Old,
    until: u64,
}

impl Command for Delete {
    type Answer = u64;
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<u64, StoreError> {
        let (until, limit) = (self.until, self.old.at_once());
        match self.old {
            Old::Captures => tx.delete_captures(until, limit).await,
            Old::Keys => tx.forget_keys(until, limit).await,
            Old::Attempts => tx.delete_attempts(until, limit).await,
            Old::Audit => tx.delete_batches(until, limit).await,
            Old::Gaps => tx.delete_gaps(until, limit).await,
            Old::Notices => tx.delete_notices(until, limit).await,
            Old::Undelivered => tx.give_up_deliveries(until, limit).await,
        }
    }
}

impl Old {
    /// How many go in one transaction. What is deleted is overwritten, and one batch of records can be 256 KiB.
    fn at_once(self) -> u32 {
        match self {
            Old::Audit => BATCH / 10,
            _ => BATCH,
        }
    }
}

impl Service {
    /// Ends everything that is overdue now.
    pub async fn expire(&self) -> Result<(), StoreError> {
        // Looking first, on a reader, keeps an idle service from writing each second.
        loop {
            let now = self.now();
            if holds::overdue(&mut self.store.read().await?, now, 1).await?.is_empty() {
                return Ok(());
            }
            let ended = self.store.write(Expire { now }).await?;
            tracing::info!(ended, "holds ended because their time was over");
        }
    }

    /// Deletes all whose time is over: captures, attempts, audit records, idempotency keys and the minutes of quotas.
    pub async fn forget(&self) -> Result<(), StoreError> {
        let kept = self.settings.retention;
        self.store.write(PruneQuotas { now: self.now() }).await?;
        self.delete(Old::Keys, KEYS_KEPT).await?;
        let captures = self.delete(Old::Captures, kept.captures).await?;
        let attempts = self.delete(Old::Attempts, kept.attempts).await?;
        let batches = self.delete(Old::Audit, kept.audit).await?;
        self.delete(Old::Gaps, kept.audit).await?;
        self.delete(Old::Undelivered, PATIENCE + FORGET_EVERY.as_secs()).await?;
        self.delete(Old::Notices, NOTICES_KEPT).await?;
        if captures + batches > 0 {
            tracing::info!(captures, batches, attempts, "what was kept long enough was deleted");
        }
        Ok(())
    }

    async fn delete(&self, old: Old, kept: u64) -> Result<u64, StoreError> {
        let Some(until) = self.now().checked_sub(kept) else { return Ok(0) };
        let mut deleted = 0;
        loop {
            let some = self.store.write(Delete { old, until }).await?;
            deleted += some;
            if some < u64::from(old.at_once()) {
                return Ok(deleted);
            }
        }
    }

    /// Watches the time until it is aborted.
    pub async fn keep_time(self) {
        // What is deleted can be much, and nothing waits for that.
        tokio::join!(self.keep_up(), self.keep_forgetting());
    }

    async fn keep_forgetting(&self) {
        let mut again = tokio::time::interval(FORGET_EVERY);
        loop {
            again.tick().await;
            if let Err(error) = self.forget().await {
                tracing::error!(%error, "what was kept long enough could not be deleted");
            }
        }
    }

    async fn keep_up(&self) {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut pruned_at = self.now();
        loop {
            second.tick().await;
            if let Err(error) = self.expire().await {
                tracing::error!(%error, "overdue holds could not be ended");
            }
            if let Err(error) = self.look_at_marks().await {
                tracing::error!(%error, "what is due could not be looked at");
            }
            if let Err(error) = self.follow().await {
                tracing::error!(%error, "the ledger could not be followed");
            }
            if let Err(error) = self.store.look_around().await {
                tracing::error!(%error, "what the command line wrote could not be looked for");
            }
            if let Err(error) = self.renew_keys().await {
                tracing::error!(%error, "keys that were changed could not be read");
            }
            if self.now() >= pruned_at.saturating_add(60) {
                pruned_at = self.now();
                if let Err(error) = self.store.write(PruneFeed { keep: FEED_KEPT }).await {
                    tracing::error!(%error, "old feed items could not be forgotten");
                }
            }
            if let Err(error) = self.keep_checkpoint(CHECKPOINT_EVERY).await {
                tracing::error!(%error, "a checkpoint of the ledger could not be kept");
            }
        }
    }
}
