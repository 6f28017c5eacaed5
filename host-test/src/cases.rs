//! Cases played: one corpus (`tests/cases`), several drivers.
//!
//! [`play::play`] goes through the steps of a case on a [`driver::Driver`], a gateway that carries requests. Behind it is
//! [`service::Service`], an approval service that follows a script. [`judge::judge`] compares what was seen with what is expected.
//! Player, service and judge are the same for all drivers.

pub mod configuration;
pub mod driver;
pub mod envoy;
pub mod harness;
pub mod judge;
pub mod keys;
pub mod merge;
pub mod native;
pub mod play;
pub mod policies;
pub mod service;
pub mod tokens;
