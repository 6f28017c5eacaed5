//! The native host: what filters see of it, what it sees of them, and how its profiles differ.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod chain;
mod faults;
mod guest;
mod time;
mod workers;
