//! One VM: an instance of a filter in a worker, and the callbacks into it.

use std::collections::BTreeMap;

use wasmtime::{Instance, Store, TypedFunc, WasmParams, WasmResults};

use crate::{
    callout::Answer,
    filter::Filter,
    finding::HostError,
    proxy::{Callback, Event, Proxy},
    state::{Root, State},
    stream::Stream,
};

/// Enough for any callback, and little enough that it can be taken away from.
const FUEL: u64 = u64::MAX / 2;

/// Milliseconds in nanoseconds.
const MILLISECOND: u64 = 1_000_000;

/// The VM has trapped: it cannot be entered again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dead;

pub(crate) struct Vm {
    store: Store<State>,
    pub(crate) callbacks: Callbacks,
    last_context: u32,
    /// What host calls asked for is being carried out.
    pub(crate) draining: bool,
}

/// Context, token, headers, bytes of the body, trailers.
type CallResponse = TypedFunc<(u32, u32, u32, u32, u32), ()>;

/// The filter's exports. What a filter does not export, it does not want to hear of.
pub(crate) struct Callbacks {
    create: Option<TypedFunc<(u32, u32), ()>>,
    vm_start: Option<TypedFunc<(u32, u32), u32>>,
    configure: Option<TypedFunc<(u32, u32), u32>>,
    tick: Option<TypedFunc<u32, ()>>,
    queue_ready: Option<TypedFunc<(u32, u32), ()>>,
    pub(crate) request_headers: Option<TypedFunc<(u32, u32, u32), u32>>,
    pub(crate) request_body: Option<TypedFunc<(u32, u32, u32), u32>>,
    pub(crate) request_trailers: Option<TypedFunc<(u32, u32), u32>>,
    pub(crate) response_headers: Option<TypedFunc<(u32, u32, u32), u32>>,
    pub(crate) response_body: Option<TypedFunc<(u32, u32, u32), u32>>,
    pub(crate) response_trailers: Option<TypedFunc<(u32, u32), u32>>,
    call_response: Option<CallResponse>,
    pub(crate) log: Option<TypedFunc<u32, ()>>,
    pub(crate) done: Option<TypedFunc<u32, u32>>,
    pub(crate) delete: Option<TypedFunc<u32, ()>>,
}

impl Callbacks {
    fn of(instance: &Instance, store: &mut Store<State>) -> Self {
        macro_rules! export {
            ($name:literal) => {
                instance.get_typed_func(&mut *store, $name).ok()
            };
        }
        Callbacks {
            create: export!("proxy_on_context_create"),
            vm_start: export!("proxy_on_vm_start"),
            configure: export!("proxy_on_configure"),
            tick: export!("proxy_on_tick"),
            queue_ready: export!("proxy_on_queue_ready"),
            request_headers: export!("proxy_on_request_headers"),
            request_body: export!("proxy_on_request_body"),
            request_trailers: export!("proxy_on_request_trailers"),
            response_headers: export!("proxy_on_response_headers"),
            response_body: export!("proxy_on_response_body"),
            response_trailers: export!("proxy_on_response_trailers"),
            call_response: export!("proxy_on_http_call_response"),
            log: export!("proxy_on_log"),
            done: export!("proxy_on_done"),
            delete: export!("proxy_on_delete"),
        }
    }
}

impl Vm {
    /// Instantiates a filter and lets it initialise itself; it has no configuration yet.
    pub(crate) fn start(
        filter: &Filter,
        proxy: &mut Box<Proxy>,
        worker: usize,
        number: u64,
    ) -> Result<Self, HostError> {
        let module = filter.ready.module();
        let lent = Box::new(Proxy::new(proxy.profile));
        let mut state = State::new(lent, worker, number);
        state.random = state.random.wrapping_add(proxy.seed);
        let mut store = Store::new(module.engine(), state);
        store.set_fuel(FUEL).map_err(HostError::Module)?;
        let instance = filter.ready.instantiate(&mut store).map_err(HostError::Module)?;
        let memory = instance.get_memory(&mut store, "memory").ok_or(HostError::Export("memory"))?;
        let allocators = ["proxy_on_memory_allocate", "malloc"];
        let allocate = allocators.iter().find_map(|name| instance.get_typed_func(&mut store, name).ok());
        if !["proxy_abi_version_0_2_0", "proxy_abi_version_0_2_1"]
            .iter()
            .any(|name| instance.get_func(&mut store, name).is_some())
        {
            return Err(HostError::Export("proxy_abi_version_0_2_1"));
        }
        let state = store.data_mut();
        (state.memory, state.allocate) = (Some(memory), allocate);
        let callbacks = Callbacks::of(&instance, &mut store);
        let initialize = ["_initialize", "_start"]
            .into_iter()
            .find_map(|name| instance.get_typed_func::<(), ()>(&mut store, name).ok().map(|function| (name, function)));
        let mut vm = Vm { store, callbacks, last_context: 0, draining: false };
        if let Some((name, function)) = initialize {
            vm.enter(proxy, name, 0, Some(&function), ()).map_err(|Dead| died(proxy, name))?;
        }
        Ok(vm)
    }

    /// Makes a root context and hands it the proxy's configuration; its id, or why the filter would not have it.
    pub(crate) fn configure(&mut self, proxy: &mut Box<Proxy>) -> Result<u32, HostError> {
        let root = self.next_context();
        let size = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let (vm_size, own_size) = (size(&proxy.vm_configuration), size(&proxy.configuration));
        let logged = proxy.logs.len();
        self.state().roots.insert(root, Root::default());
        self.state().configuring = true;
        let function = self.callbacks.create.clone();
        self.enter(proxy, "proxy_on_context_create", root, function.as_ref(), (root, 0))
            .map_err(|Dead| died(proxy, "proxy_on_context_create"))?;
        let function = self.callbacks.vm_start.clone();
        let started = self.enter(proxy, "proxy_on_vm_start", root, function.as_ref(), (root, vm_size));
        let started = started.map_err(|Dead| died(proxy, "proxy_on_vm_start"))?.unwrap_or(1);
        let mut configured = 0;
        if started != 0 {
            let function = self.callbacks.configure.clone();
            let result = self.enter(proxy, "proxy_on_configure", root, function.as_ref(), (root, own_size));
            configured = result.map_err(|Dead| died(proxy, "proxy_on_configure"))?.unwrap_or(1);
        }
        self.state().configuring = false;
        if configured == 0 {
            self.state().roots.remove(&root);
            let logs: Vec<&str> = proxy.logs.iter().skip(logged).map(|log| log.text.as_str()).collect();
            return Err(HostError::Refused(logs.join("; ")));
        }
        Ok(root)
    }

    pub(crate) fn state(&mut self) -> &mut State {
        self.store.data_mut()
    }

    pub(crate) fn number(&self) -> u64 {
        self.store.data().vm
    }

    /// Bytes of the filter's memory: it grows and never shrinks.
    pub(crate) fn memory(&self) -> usize {
        self.store.data().memory.map_or(0, |memory| memory.data_size(&self.store))
    }

    pub(crate) fn stream(&mut self, context: u32) -> Option<&mut Stream> {
        self.state().streams.get_mut(&context)
    }

    /// Makes a context for a stream.
    pub(crate) fn create(&mut self, proxy: &mut Box<Proxy>, root: u32, stream: Stream) -> Result<u32, Dead> {
        let context = self.next_context();
        let state = self.state();
        state.streams.insert(context, stream);
        state.root_of.insert(context, root);
        let function = self.callbacks.create.clone();
        self.enter(proxy, "proxy_on_context_create", context, function.as_ref(), (context, root))?;
        Ok(context)
    }

    fn next_context(&mut self) -> u32 {
        self.last_context += 1;
        self.last_context
    }

    /// Runs a root context's timer, and plans its next turn.
    pub(crate) fn tick(&mut self, proxy: &mut Box<Proxy>, root: u32, planned: u32) -> Result<(), Dead> {
        let state = self.state();
        let Some(context) = state.roots.get_mut(&root) else { return Ok(()) };
        context.ticking = false;
        let (worker, vm, period) = (state.worker, state.vm, context.tick_period);
        if period == planned {
            let function = self.callbacks.tick.clone();
            self.enter(proxy, "proxy_on_tick", root, function.as_ref(), root)?;
        }
        let Some(context) = self.state().roots.get_mut(&root) else { return Ok(()) };
        let period = context.tick_period;
        if period > 0 && !context.ticking {
            context.ticking = true;
            proxy.plan(u64::from(period) * MILLISECOND, Event::Tick { worker, vm, root, period });
        }
        Ok(())
    }

    /// Tells the filter of the answer to a callout, if it is still under way.
    pub(crate) fn answer(
        &mut self,
        proxy: &mut Box<Proxy>,
        token: u32,
        answer: Answer,
        last: bool,
    ) -> Result<bool, Dead> {
        let state = self.state();
        let Some(context) = state.callouts.get(&token).map(|callout| callout.context) else { return Ok(false) };
        if last {
            state.callouts.remove(&token);
            proxy.gone.push((state.worker, token));
        }
        self.tell(proxy, context, token, answer)?;
        Ok(true)
    }

    /// Tells a context of an answer, whether it waits for one or not.
    pub(crate) fn tell(
        &mut self,
        proxy: &mut Box<Proxy>,
        context: u32,
        token: u32,
        answer: Answer,
    ) -> Result<(), Dead> {
        let state = self.state();
        if !state.roots.contains_key(&context) && !state.streams.contains_key(&context) {
            return Ok(());
        }
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let (headers, body, trailers) =
            (count(answer.headers.len()), count(answer.body.len()), count(answer.trailers.len()));
        state.answer = Some(answer);
        let function = self.callbacks.call_response.clone();
        let arguments = (context, token, headers, body, trailers);
        self.enter(proxy, "proxy_on_http_call_response", context, function.as_ref(), arguments)?;
        self.state().answer = None;
        Ok(())
    }

    /// Tells a root context of a message in a queue.
    pub(crate) fn queue_ready(&mut self, proxy: &mut Box<Proxy>, root: u32, queue: u32) -> Result<(), Dead> {
        let function = self.callbacks.queue_ready.clone();
        self.enter(proxy, "proxy_on_queue_ready", root, function.as_ref(), (root, queue)).map(drop)
    }

    /// Enters the filter, notes what that cost, and carries out what its host calls asked for. `None` if it does not export
    /// the function.
    pub(crate) fn enter<P: WasmParams + std::fmt::Debug, R: WasmResults + std::fmt::Debug>(
        &mut self,
        proxy: &mut Box<Proxy>,
        name: &'static str,
        context: u32,
        function: Option<&TypedFunc<P, R>>,
        parameters: P,
    ) -> Result<Option<R>, Dead> {
        let Some(function) = function else { return Ok(None) };
        let state = self.store.data_mut();
        (state.callback, state.active, state.effective) = (name, context, context);
        state.calls = BTreeMap::new();
        let worker = state.worker;
        if let Some(trace) = &mut proxy.trace {
            trace.note(proxy.now, worker, &format!("{}{parameters:?}", short(name)));
            trace.depth += 1;
        }
        std::mem::swap(proxy, &mut self.store.data_mut().proxy);
        let fueled = self.store.set_fuel(FUEL);
        let result = fueled.and_then(|()| function.call(&mut self.store, parameters));
        let fuel = FUEL - self.store.get_fuel().unwrap_or(FUEL);
        std::mem::swap(proxy, &mut self.store.data_mut().proxy);
        let state = self.store.data_mut();
        let calls = std::mem::take(&mut state.calls);
        if let Some(trace) = &mut proxy.trace {
            trace.depth -= 1;
            if let Ok(result) = &result {
                trace.note(proxy.now, worker, &format!("{} -> {result:?}, {fuel} fuel", short(name)));
            }
        }
        if let Some(costs) = &mut proxy.costs {
            costs.push(Callback { name, fuel, calls });
        }
        match result {
            Ok(result) => {
                self.drain(proxy)?;
                Ok(Some(result))
            }
            Err(cause) => {
                proxy.find(worker, name, format!("the VM trapped: {}", cause.root_cause()), true);
                Err(Dead)
            }
        }
    }
}

fn short(name: &str) -> &str {
    name.strip_prefix("proxy_").unwrap_or(name)
}

fn died(proxy: &Proxy, callback: &'static str) -> HostError {
    let cause = proxy.findings.last().map(|finding| finding.what.clone()).unwrap_or_default();
    HostError::Trap { callback, cause }
}
