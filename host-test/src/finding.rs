//! What a filter got wrong.

use std::fmt;

/// Something that a filter did wrong, and that a gateway would have to put up with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Unix nanoseconds.
    pub at: u64,
    pub worker: usize,
    /// The callback in which it happened.
    pub callback: &'static str,
    /// What happened, as a sentence without a full stop.
    pub what: String,
    /// The VM is gone.
    pub fatal: bool,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { worker, callback, what, .. } = self;
        write!(formatter, "worker {worker}, `{callback}`: {what}")
    }
}

/// Why a filter could not be loaded or started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    #[error("`{}` cannot be read: {cause}", .path.display())]
    File { path: std::path::PathBuf, cause: std::io::Error },
    #[error("this is no WebAssembly module that can be run: {0}")]
    Module(wasmtime::Error),
    #[error("the filter exports no `{0}`, which the proxy-wasm ABI 0.2.1 asks for")]
    Export(&'static str),
    #[error("`{callback}` ended in a trap: {cause}")]
    Trap { callback: &'static str, cause: String },
    #[error("the filter refused its configuration; it logged: {0}")]
    Refused(String),
    #[error("worker {worker} has no callout {token} under way")]
    NoCallout { worker: usize, token: u32 },
    #[error("there is no worker {0}")]
    NoWorker(usize),
}
