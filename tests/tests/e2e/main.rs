//! End-to-end tests: real Envoy, the compiled filter, the approval service, over public interfaces only.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test that cannot go on fails")]

mod answers;
mod attempts;
mod certificates;
mod common;
mod configuration;
mod conformance;
mod failures;
mod flows;
mod held;
mod issuers;
mod mass;
mod mcp;
mod policy;
mod refusals;
mod routine;
mod tampered;
mod telling;
mod terminal;
mod verify;
mod waiting;
