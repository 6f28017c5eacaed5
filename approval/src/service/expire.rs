//! Time passing: holds that nobody decided on or used in time end, and old news is forgotten.

use std::time::Duration;

use super::{Service, expire_if_overdue, open::KEYS_KEPT};
use crate::store::{Command, StoreError, Tx, holds};

/// Holds that end in one transaction, so that nobody waits long behind them.
const BATCH: u32 = 250;

/// Feed items that are kept; a gateway that is further behind takes a new snapshot.
pub const FEED_KEPT: u64 = 100_000;

/// How long what was captured of a request is kept after its hold has ended, in seconds: 30 days.
pub const CAPTURES_KEPT: u64 = 30 * 24 * 60 * 60;

/// How often is looked for what was kept long enough, in seconds.
const FORGET_EVERY: u64 = 60 * 60;

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
        for hold in overdue {
            expire_if_overdue(tx, hold, self.now).await?;
        }
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
        tx.prune_quotas(self.now).await
    }
}

/// Forgets the names that agents gave to requests whose holds ended long ago; says how many.
struct ForgetKeys {
    /// Of holds that ended at or before this.
    until: u64,
}

impl Command for ForgetKeys {
    type Answer = u64;
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<u64, StoreError> {
        tx.forget_keys(self.until, BATCH).await
    }
}

/// Deletes what was captured of holds that ended long ago; says of how many.
pub struct DeleteCaptures {
    /// Of holds that ended at or before this.
    pub until: u64,
}

impl Command for DeleteCaptures {
    type Answer = u64;
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<u64, StoreError> {
        tx.delete_captures(self.until, BATCH).await
    }
}

impl Service {
    /// Ends everything that is overdue now.
    pub async fn expire(&self) -> Result<(), StoreError> {
        // Looking first, on a reader, keeps an idle service from writing each second.
        loop {
            let now = self.now();
            if holds::overdue(&mut *self.store.read().await?, now, 1).await?.is_empty() {
                return Ok(());
            }
            let ended = self.store.write(Expire { now }).await?;
            tracing::info!(ended, "holds ended because their time was over");
        }
    }

    /// Deletes the captures whose time is over.
    pub async fn delete_captures(&self) -> Result<(), StoreError> {
        let Some(until) = self.now().checked_sub(CAPTURES_KEPT) else { return Ok(()) };
        let mut deleted = 0;
        loop {
            let some = self.store.write(DeleteCaptures { until }).await?;
            deleted += some;
            if some < u64::from(BATCH) {
                break;
            }
        }
        if deleted > 0 {
            tracing::info!(deleted, "captured requests were deleted because their time was over");
        }
        Ok(())
    }

    /// Forgets what counts or is remembered for a while only: idempotency keys, and the minutes of quotas.
    pub async fn forget(&self) -> Result<(), StoreError> {
        let now = self.now();
        self.store.write(PruneQuotas { now }).await?;
        let Some(until) = now.checked_sub(KEYS_KEPT) else { return Ok(()) };
        while self.store.write(ForgetKeys { until }).await? >= u64::from(BATCH) {}
        Ok(())
    }

    /// Watches the time until it is aborted.
    pub async fn keep_time(self) {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut pruned_at = self.now();
        let mut forgot_at = 0;
        loop {
            second.tick().await;
            if let Err(error) = self.expire().await {
                tracing::error!(%error, "overdue holds could not be ended");
            }
            if let Err(error) = self.store.look_around().await {
                tracing::error!(%error, "what the command line wrote could not be looked for");
            }
            if self.now() >= pruned_at.saturating_add(60) {
                pruned_at = self.now();
                if let Err(error) = self.store.write(PruneFeed { keep: FEED_KEPT }).await {
                    tracing::error!(%error, "old feed items could not be forgotten");
                }
            }
            if self.now() >= forgot_at + FORGET_EVERY {
                forgot_at = self.now();
                if let Err(error) = self.delete_captures().await {
                    tracing::error!(%error, "captures whose time is over could not be deleted");
                }
                if let Err(error) = self.forget().await {
                    tracing::error!(%error, "keys and counts whose time is over could not be forgotten");
                }
            }
        }
    }
}
