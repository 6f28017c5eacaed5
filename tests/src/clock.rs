//! Time: the wall clock for tokens, and waiting for a condition.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Unix seconds.
#[expect(
    clippy::disallowed_methods,
    reason = "tokens are minted against the real clock; this is this crate's one place"
)]
pub fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Probes until there is an answer; an error after `limit` names what was waited for.
pub async fn until<T>(what: &str, limit: Duration, mut probe: impl AsyncFnMut() -> Option<T>) -> Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(answer) = probe().await {
            return Ok(answer);
        }
        if begun.elapsed() > limit {
            bail!("waited {} s for {what}, in vain", limit.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
