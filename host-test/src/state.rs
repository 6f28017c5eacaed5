//! What the host knows while a filter runs.

use std::collections::{BTreeMap, HashMap};

use wasmtime::{Memory, TypedFunc};

/// Names and values, as bytes, in their order; duplicates stay.
pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// What a VM is started with.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// The plugin configuration.
    pub configuration: Vec<u8>,
    /// What `std::env::var` finds.
    pub environment: Vec<(String, String)>,
    /// Unix nanoseconds. Time stands still until [`crate::Vm::set_time`].
    pub time: u64,
}

/// A line that the filter logged; level 2 is info, 3 a warning, 4 an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub level: u32,
    pub text: String,
}

/// An HTTP call that the filter made and that has not been answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callout {
    pub token: u32,
    /// The context that made it.
    pub context: u32,
    pub cluster: String,
    pub headers: Pairs,
    pub body: Vec<u8>,
    /// Milliseconds; 0 is none.
    pub timeout: u32,
}

/// An answer to a callout. No headers at all mean that the call was reset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub headers: Pairs,
    pub body: Vec<u8>,
}

/// An answer that the filter gave in place of the upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalReply {
    pub status: u32,
    pub headers: Pairs,
    pub body: Vec<u8>,
}

/// One request, as far as it has come.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    pub(crate) request: Pairs,
    pub(crate) request_body: Vec<u8>,
    pub(crate) response: Pairs,
    pub(crate) properties: HashMap<Vec<u8>, Vec<u8>>,
    pub(crate) reply: Option<LocalReply>,
    /// The filter let the paused request go on.
    pub(crate) resumed: bool,
}

#[derive(Debug)]
pub(crate) struct Metric {
    pub(crate) name: String,
    pub(crate) kind: u32,
    pub(crate) value: u64,
}

pub(crate) struct State {
    pub(crate) setup: Setup,
    pub(crate) memory: Option<Memory>,
    pub(crate) allocate: Option<TypedFunc<u32, u32>>,
    /// The context that host calls are about.
    pub(crate) effective: u32,
    pub(crate) streams: HashMap<u32, Stream>,
    pub(crate) callouts: BTreeMap<u32, Callout>,
    pub(crate) last_token: u32,
    /// The answer that is being told of.
    pub(crate) answer: Option<Answer>,
    /// Values that workers share, with their versions.
    pub(crate) shared: HashMap<Vec<u8>, (Vec<u8>, u32)>,
    pub(crate) metrics: Vec<Metric>,
    pub(crate) logs: Vec<Log>,
    /// Milliseconds between two ticks; 0 is none.
    pub(crate) tick_period: u32,
    pub(crate) random: u64,
    /// How often each host call was made in the callback at hand.
    pub(crate) calls: BTreeMap<&'static str, u64>,
}

impl State {
    pub(crate) fn new(setup: Setup) -> Self {
        State {
            setup,
            memory: None,
            allocate: None,
            effective: 0,
            streams: HashMap::new(),
            callouts: BTreeMap::new(),
            last_token: 0,
            answer: None,
            shared: HashMap::new(),
            metrics: Vec::new(),
            logs: Vec::new(),
            tick_period: 0,
            random: 0,
            calls: BTreeMap::new(),
        }
    }

    /// The stream that host calls are about.
    pub(crate) fn stream(&mut self) -> Option<&mut Stream> {
        self.streams.get_mut(&self.effective)
    }
}
