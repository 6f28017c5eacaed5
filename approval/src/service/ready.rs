//! Whether the service can do its work.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::Service;
use crate::store::{Command, StoreError, Tx, notices};

/// How long the database may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long an answer is given again: whoever asks often costs nothing.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// The last answer.
#[derive(Debug, Default)]
pub struct Checked(Mutex<Option<(Instant, Option<NotReady>)>>);

/// What is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    #[error("the database does not answer")]
    Database,
    #[error("nothing can be written into the database")]
    Writer,
}

impl Service {
    /// Whether the database answers and can be written to.
    pub async fn ready(&self) -> Result<(), NotReady> {
        let mut checked = self.ready.0.lock().await;
        if let Some((at, missing)) = *checked
            && at.elapsed() < GOOD_FOR
        {
            return missing.map_or(Ok(()), Err);
        }
        let missing = self.missing().await;
        *checked = Some((Instant::now(), missing));
        missing.map_or(Ok(()), Err)
    }

    async fn missing(&self) -> Option<NotReady> {
        let read = async { notices::followed(&mut self.store.read().await?).await };
        if !is_well(read).await {
            return Some(NotReady::Database);
        }
        (!is_well(self.store.write(Touch)).await).then_some(NotReady::Writer)
    }
}

async fn is_well<T>(work: impl Future<Output = Result<T, StoreError>>) -> bool {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => {
            tracing::warn!(%error, "the service is not ready");
            false
        }
        Err(_) => {
            tracing::warn!("the service is not ready: the database takes too long");
            false
        }
    }
}

struct Touch;

impl Command for Touch {
    type Answer = ();
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<(), StoreError> {
        tx.touch().await
    }
}
