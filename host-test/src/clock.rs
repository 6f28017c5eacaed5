//! The wall clock, for what runs in real time: the one place in which it is read.

use std::time::{SystemTime, UNIX_EPOCH};

/// Unix milliseconds.
pub fn now() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a real proxy, and agents with curl, live by the wall clock")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
