//! The real `holdgate` binary, as its users see it: exit codes, what it says, and the files that it leaves.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test support")]

mod bench;
mod bundles;
mod check;
mod envoy;
mod explain;
mod format;
mod ledger;
mod paths;
mod place;
mod prove;
mod publish;
mod replay;
mod serve;
mod starter;
