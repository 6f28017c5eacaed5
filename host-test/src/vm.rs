//! One VM: an instance of a filter with one root context, and the callbacks into it.

use std::collections::BTreeMap;

use wasmtime::{Instance, Store, WasmParams, WasmResults};

use crate::{
    calls,
    filter::{Filter, HostError},
    request::Callback,
    state::{Answer, Callout, Log, Setup, State, Stream},
};

/// The id of the root context; streams have greater ones.
pub(crate) const ROOT: u32 = 1;

/// Enough for any callback, and little enough that it can be taken away from.
const FUEL: u64 = u64::MAX / 2;

/// An instance of a filter, configured and ready for requests.
pub struct Vm {
    store: Store<State>,
    instance: Instance,
    last_context: u32,
    /// What starting and configuring cost.
    pub start: Vec<Callback>,
}

impl Vm {
    /// Instantiates a filter, starts it and hands it its configuration; an error if it refuses that.
    pub fn start(filter: &Filter, setup: Setup) -> Result<Self, HostError> {
        let linker = calls::linker(filter).map_err(HostError::Module)?;
        let size = u32::try_from(setup.configuration.len()).unwrap_or(u32::MAX);
        let mut store = Store::new(&filter.engine, State::new(setup));
        store.set_fuel(FUEL).map_err(HostError::Module)?;
        let instance = linker.instantiate(&mut store, &filter.module).map_err(HostError::Module)?;
        let memory = instance.get_memory(&mut store, "memory").ok_or(HostError::Export("memory"))?;
        let allocators = ["proxy_on_memory_allocate", "malloc"];
        let allocate = allocators.iter().find_map(|name| instance.get_typed_func(&mut store, name).ok());
        let state = store.data_mut();
        (state.memory, state.allocate) = (Some(memory), allocate);
        let mut vm = Vm { store, instance, last_context: ROOT, start: Vec::new() };
        let mut start = Vec::new();
        for initialize in ["_initialize", "_start"] {
            if vm.instance.get_func(&mut vm.store, initialize).is_some() {
                vm.enter::<_, ()>(initialize, (), &mut start)?;
                break;
            }
        }
        vm.store.data_mut().effective = ROOT;
        vm.enter::<_, ()>("proxy_on_context_create", (ROOT, 0), &mut start)?;
        let started = vm.enter::<_, u32>("proxy_on_vm_start", (ROOT, 0), &mut start)?;
        if started == 0 || vm.enter::<_, u32>("proxy_on_configure", (ROOT, size), &mut start)? == 0 {
            let logs = vm.take_logs().into_iter().map(|log| log.text).collect::<Vec<_>>();
            return Err(HostError::Refused(logs.join("; ")));
        }
        vm.start = start;
        Ok(vm)
    }

    /// Unix nanoseconds, from now on.
    pub fn set_time(&mut self, time: u64) {
        self.store.data_mut().setup.time = time;
    }

    /// Milliseconds between two ticks, as the filter asked; 0 is none.
    pub fn tick_period(&self) -> u32 {
        self.store.data().tick_period
    }

    /// What the filter logged since this was asked last.
    pub fn take_logs(&mut self) -> Vec<Log> {
        std::mem::take(&mut self.store.data_mut().logs)
    }

    /// The calls of the filter that are not answered yet, the oldest first.
    pub fn callouts(&self) -> impl Iterator<Item = &Callout> {
        self.store.data().callouts.values()
    }

    /// Bytes of the filter's memory: it grows and never shrinks.
    pub fn memory(&self) -> usize {
        self.store.data().memory.map_or(0, |memory| memory.data_size(&self.store))
    }

    /// Runs the filter's timer once.
    pub fn tick(&mut self) -> Result<Callback, HostError> {
        self.store.data_mut().effective = ROOT;
        let mut done = Vec::new();
        self.enter::<_, ()>("proxy_on_tick", ROOT, &mut done)?;
        done.pop().ok_or(HostError::Export("proxy_on_tick"))
    }

    /// Answers a callout.
    pub fn answer(&mut self, token: u32, answer: Answer) -> Result<Callback, HostError> {
        let state = self.store.data_mut();
        let callout = state.callouts.remove(&token).ok_or(HostError::NoCallout(token))?;
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let sizes = (callout.context, token, count(answer.headers.len()), count(answer.body.len()), 0_u32);
        (state.effective, state.answer) = (callout.context, Some(answer));
        let mut done = Vec::new();
        let result = self.enter::<_, ()>("proxy_on_http_call_response", sizes, &mut done);
        self.store.data_mut().answer = None;
        result?;
        done.pop().ok_or(HostError::Export("proxy_on_http_call_response"))
    }

    /// A new stream context, and its id.
    pub(crate) fn open(&mut self, stream: Stream) -> u32 {
        self.last_context += 1;
        self.store.data_mut().streams.insert(self.last_context, stream);
        self.last_context
    }

    /// The stream, with it as the effective context of the next callback.
    pub(crate) fn stream(&mut self, id: u32) -> Result<&mut Stream, HostError> {
        let state = self.store.data_mut();
        state.effective = id;
        state.streams.get_mut(&id).ok_or(HostError::NoStream(id))
    }

    pub(crate) fn close(&mut self, id: u32) -> Result<Stream, HostError> {
        let state = self.store.data_mut();
        // What a stream asked for and was not answered is cancelled with it.
        state.callouts.retain(|_, callout| callout.context != id);
        state.streams.remove(&id).ok_or(HostError::NoStream(id))
    }

    /// Enters the filter by one of its exports, and notes what that cost.
    pub(crate) fn enter<P: WasmParams, R: WasmResults>(
        &mut self,
        callback: &'static str,
        parameters: P,
        done: &mut Vec<Callback>,
    ) -> Result<R, HostError> {
        let trap = |cause| HostError::Trap { callback, cause };
        let function = self.instance.get_typed_func::<P, R>(&mut self.store, callback);
        let function = function.map_err(|_| HostError::Export(callback))?;
        self.store.data_mut().calls = BTreeMap::new();
        self.store.set_fuel(FUEL).map_err(trap)?;
        let result = function.call(&mut self.store, parameters).map_err(trap)?;
        let fuel = FUEL - self.store.get_fuel().map_err(trap)?;
        let calls = std::mem::take(&mut self.store.data_mut().calls);
        done.push(Callback { name: callback, fuel, calls });
        Ok(result)
    }
}
