//! What host calls of one VM are about.

use std::collections::{BTreeMap, HashMap, VecDeque};

use wasmtime::{Memory, TypedFunc};

use crate::{
    callout::{Answer, Callout},
    proxy::Proxy,
    stream::{Deferred, Stream},
};

/// A root context: one configuration of the filter in this VM.
#[derive(Debug, Default)]
pub(crate) struct Root {
    /// Milliseconds between two ticks; 0 is none.
    pub(crate) tick_period: u32,
    /// Whether a tick is planned.
    pub(crate) ticking: bool,
    /// Another configuration is in force; it ends with its streams.
    pub(crate) replaced: bool,
}

pub(crate) struct State {
    /// The proxy around the VM, which is lent for as long as the filter runs.
    pub(crate) proxy: Box<Proxy>,
    pub(crate) worker: usize,
    /// Tells a VM from those that stood in its place before.
    pub(crate) vm: u64,
    pub(crate) memory: Option<Memory>,
    pub(crate) allocate: Option<TypedFunc<u32, u32>>,
    pub(crate) callback: &'static str,
    /// The context that the callback is for.
    pub(crate) active: u32,
    /// The context that host calls are about.
    pub(crate) effective: u32,
    pub(crate) roots: BTreeMap<u32, Root>,
    /// Streams by their contexts.
    pub(crate) streams: HashMap<u32, Stream>,
    /// The root context of each stream.
    pub(crate) root_of: HashMap<u32, u32>,
    pub(crate) callouts: BTreeMap<u32, Callout>,
    pub(crate) last_token: u32,
    /// The answer that is being told of.
    pub(crate) answer: Option<Answer>,
    /// The plugin configuration can be read now.
    pub(crate) configuring: bool,
    /// What happens once the filter has returned.
    pub(crate) deferred: VecDeque<Deferred>,
    pub(crate) random: u64,
    /// How often each host call was made in the callback at hand.
    pub(crate) calls: BTreeMap<&'static str, u64>,
    /// What the host call at hand was given, for the trace.
    pub(crate) said: String,
}

impl State {
    pub(crate) fn new(proxy: Box<Proxy>, worker: usize, vm: u64) -> Self {
        let poor = !proxy.profile.wakes_from_root();
        // Where processes are forked from one, they begin with the same randomness.
        let random = if poor { proxy.seed } else { proxy.seed.wrapping_add((worker as u64) << 32).wrapping_add(vm) };
        State {
            proxy,
            worker,
            vm,
            memory: None,
            allocate: None,
            callback: "_initialize",
            active: 0,
            effective: 0,
            roots: BTreeMap::new(),
            streams: HashMap::new(),
            root_of: HashMap::new(),
            callouts: BTreeMap::new(),
            last_token: 0,
            answer: None,
            configuring: false,
            deferred: VecDeque::new(),
            random,
            calls: BTreeMap::new(),
            said: String::new(),
        }
    }

    /// The stream that host calls are about.
    pub(crate) fn stream(&mut self) -> Option<&mut Stream> {
        self.streams.get_mut(&self.effective)
    }

    /// The root context that host calls are about, or that of the stream that they are about.
    pub(crate) fn root(&self) -> u32 {
        self.root_of.get(&self.effective).copied().unwrap_or(self.effective)
    }

    /// Reports that the filter did something wrong.
    pub(crate) fn find(&mut self, what: String) {
        self.proxy.find(self.worker, self.callback, what, false);
    }
}
