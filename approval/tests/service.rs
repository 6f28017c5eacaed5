//! The service from outside: its two routers on a real SQLite file, with a clock that is set.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    unreachable_pub,
    reason = "tests may fail loudly"
)]

include!("service/modules.rs");

/// What is SQLite's own.
#[path = "service/on_sqlite.rs"]
mod database;

#[path = "service/full.rs"]
mod full;

#[path = "service/generated.rs"]
mod generated;
