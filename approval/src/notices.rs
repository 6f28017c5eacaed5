//! Notices to others: which hooks there are, what they are told, and how it comes to them.
//!
//! The ledger is the outbox: an entry is written in the transaction of what it tells, so no notice can be lost or invented.
//! Each instance follows the ledger (`service/follow.rs`) and writes down what goes to which hook, once for all instances;
//! one instance at a time delivers to a hook, under a lease.

mod address;
pub mod client;
pub mod config;
pub mod deliver;
pub mod payload;

pub use config::{Hook, Hooks, HooksError};

/// What hooks may be told of, by the names of the ledger.
pub const EVENTS: [&str; 13] = [
    "hold.opened",
    "hold.approval",
    "hold.reminded",
    "hold.escalated",
    "hold.approved",
    "hold.denied",
    "hold.expired",
    "hold.cancelled",
    "hold.used",
    "hold.outcome_unknown",
    "agent.suspended",
    "agent.suspension_proposed",
    "agent.resumed",
];

/// The event of a kind of the ledger, if it is one.
pub fn event(kind: &str) -> Option<&'static str> {
    EVENTS.into_iter().find(|event| *event == kind)
}

/// Whether a name is meant by a pattern: the name itself, or its beginning with `*`.
pub fn matches(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start))
}
