//! A native host for proxy-wasm filters: runs the compiled filter as a gateway would, in virtual time.
//!
//! A [`Gateway`] is a proxy with workers, each with a VM of its own. It models what a filter can notice: the filter chain with what the
//! upstream has seen and when, buffers and their limits, callouts that are late, reset or refused, local replies that pass
//! through the filter again, timers, shared data, traps, and another configuration in the same VM; as [`Profile`] says, in the way of Envoy or of
//! nginx. Nothing waits: 45 seconds are over when all that happens in them has happened. Time and randomness are the
//! caller's, so that a run is the same on every machine.
//!
//! ```no_run
//! use std::time::Duration;
//! use holdgate_host::{Filter, Gateway, Options, Reply, Request, UpstreamAnswer};
//!
//! let filter = Filter::load("filter.wasm".as_ref())?;
//! let mut gateway = Gateway::start(&filter, Options { configuration: b"{}".to_vec(), ..Options::default() })?;
//! gateway.on_call(|callout, _now| match callout.path() {
//!     "/check" => Reply::new(200, "yes").after(Duration::from_secs(2)),
//!     _ => Reply::reset(),
//! });
//! gateway.on_upstream(|_| UpstreamAnswer::new(200, "hello"));
//! let id = gateway.send(&Request::new("GET", "/").header("x-a", "1"));
//! assert!(gateway.exchange(id).waits());
//! gateway.advance(Duration::from_secs(2));
//! assert_eq!(gateway.exchange(id).status(), Some(200));
//! assert!(gateway.findings().is_empty());
//! # Ok::<(), holdgate_host::HostError>(())
//! ```
//!
//! What a filter gets wrong is a [`Finding`], never a panic: memory that it does not have, headers that it changes where
//! they went on, a stream that it lets go on which is not paused, a trap.

mod call;
mod callout;
mod calls;
pub mod cases;
mod chain;
pub mod clock;
mod fault;
mod filter;
mod finding;
mod gateway;
mod message;
mod metrics;
mod nginx;
pub mod plugin;
mod profile;
mod proxy;
mod signature;
mod state;
mod stream;
mod trace;
mod vm;
mod worker;

pub use callout::{Answer, Callout, Reply};
pub use fault::{Fault, FaultKind};
pub use filter::Filter;
pub use finding::{Finding, HostError};
pub use gateway::{Gateway, Options};
pub use message::{AnsweredBy, Exchange, Message, Pairs, Request, UpstreamAnswer, pairs, value};
pub use profile::{Profile, UnknownProfile};
pub use proxy::{Callback, Log};
pub use stream::StreamId;
pub use trace::TraceLine;
pub use worker::FailurePolicy;
