//! The whole product as real processes, for end-to-end tests and for the demo; and the people and programs around it.

pub mod agent;
mod clock;
pub mod demo;
pub mod http;
pub mod identity;
pub mod reviewer;
pub mod stack;
pub mod tamper;
pub mod upstream;

pub use clock::{now, until};
