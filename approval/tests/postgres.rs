//! The service from outside: its two routers on a real PostgreSQL, with a clock that is set.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    unreachable_pub,
    reason = "tests may fail loudly"
)]

include!("service/modules.rs");

/// What is PostgreSQL's own.
#[path = "service/on_postgres.rs"]
mod database;

#[path = "service/outage.rs"]
mod outage;

#[path = "service/tls.rs"]
mod tls;
