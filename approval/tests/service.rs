//! The service from outside: its two routers on a real SQLite file, with a clock that is set.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    unreachable_pub,
    reason = "tests may fail loudly"
)]

#[path = "service/attacks.rs"]
mod attacks;
#[path = "service/audit.rs"]
mod audit;
#[path = "service/console.rs"]
mod console;
#[path = "service/decisions.rs"]
mod decisions;
#[path = "service/feed.rs"]
mod feed;
#[path = "service/holds.rs"]
mod holds;
#[path = "service/ledger.rs"]
mod ledger;
#[path = "service/limits.rs"]
mod limits;
#[path = "service/load.rs"]
mod load;
#[path = "service/lots.rs"]
mod lots;
#[path = "service/openapi.rs"]
mod openapi;
#[path = "service/policy.rs"]
mod policy;
#[path = "service/process.rs"]
mod process;
#[path = "service/redemptions.rs"]
mod redemptions;
#[path = "service/retention.rs"]
mod retention;
#[path = "service/store.rs"]
mod store;
#[path = "service/support.rs"]
mod support;
#[path = "service/suspension.rs"]
mod suspension;
