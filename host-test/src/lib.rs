//! A native host for proxy-wasm filters: runs the compiled filter as a gateway would, and tells what each callback cost.
//!
//! Everything about it is deterministic: time and randomness are set by the caller, and cost is counted in fuel (about one
//! unit for each WebAssembly instruction) and in host calls by name. The same filter and the same requests give the same
//! figures on every machine.
//!
//! ```no_run
//! use holdgate_host::{Filter, Request, Setup, Vm};
//!
//! let filter = Filter::load("holdgate.wasm".as_ref())?;
//! let mut vm = Vm::start(&filter, Setup { configuration: b"{}".to_vec(), ..Setup::default() })?;
//! let request = Request { headers: vec![(b":method".to_vec(), b"GET".to_vec())], body: None };
//! let done = vm.request(&request)?;
//! println!("{:?} for {} fuel", done.end, done.fuel());
//! # Ok::<(), holdgate_host::HostError>(())
//! ```
//!
//! Calls that the filter makes and this host does not know, or that point outside the filter's memory, end the callback
//! with an error that names them.

mod call;
mod calls;
pub mod cases;
mod filter;
mod request;
mod state;
mod vm;

pub use filter::{Filter, HostError};
pub use request::{Callback, Done, End, Request, Seen};
pub use state::{Answer, Callout, LocalReply, Log, Pairs, Setup};
pub use vm::Vm;
