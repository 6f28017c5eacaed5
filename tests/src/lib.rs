//! The whole product as real processes, for end-to-end tests and for the demo; and the people and programs around it.

pub mod agent;
pub mod bench;
pub mod certificates;
mod clock;
pub mod demo;
pub mod http;
pub mod identity;
pub mod key_server;
pub mod reviewer;
pub mod service;
pub mod signer;
pub mod stack;
pub mod tamper;
pub mod upstream;

pub use clock::{now, until};
