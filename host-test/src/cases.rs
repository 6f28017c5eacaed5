//! Cases played: one corpus (`tests/cases`), several drivers.
//!
//! A [`driver::Driver`] is a gateway that carries requests; [`service::Service`] is the approval service behind it, the same
//! for all drivers.

pub mod configuration;
pub mod driver;
pub mod harness;
pub mod keys;
pub mod merge;
pub mod service;
