//! A proxy around a filter: workers, clock, requests.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use crate::{
    callout::{Answer, Callout, Reply},
    fault::Fault,
    filter::Filter,
    finding::{Finding, HostError},
    message::{AnsweredBy, Exchange, Pairs, Request, UpstreamAnswer},
    profile::Profile,
    proxy::{Callback, Event, Log, Proxy},
    signature,
    stream::{LocalReply, Side, Stream, StreamId},
    trace::{Trace, TraceLine},
    vm::{Dead, Vm},
    worker::{FailurePolicy, Place, Worker, refuse_lost},
};

/// 2026-09-21T14:13:20Z, in Unix nanoseconds.
const START: u64 = 1_790_000_000_000_000_000;

/// What a [`Gateway`] is started with.
#[derive(Clone, Debug)]
pub struct Options {
    pub profile: Profile,
    /// The plugin configuration.
    pub configuration: Vec<u8>,
    pub vm_configuration: Vec<u8>,
    /// What `std::env::var` finds, on hosts that hand an environment over.
    pub environment: Vec<(String, String)>,
    /// How many VMs there are; each is a worker of its own.
    pub workers: usize,
    /// Unix nanoseconds at the start. Time stands still until [`Gateway::advance`].
    pub time: u64,
    /// The start of the filter's randomness.
    pub seed: u64,
    pub failure_policy: FailurePolicy,
    /// Start although the filter refuses its configuration, as Envoy does: every request is answered 503 then.
    pub closed_if_refused: bool,
    /// How long a stream may be that nothing touches: one whose VM has failed is answered 503 then, at the latest.
    pub idle_timeout: Duration,
    /// Bytes of a body that are buffered for a filter; more is answered 413, or on nginx not shown to it.
    pub buffer_limit: usize,
    /// Keep a readable line for each callback and each host call.
    pub trace: bool,
    /// Keep what each callback cost.
    pub costs: bool,
    /// Host calls that go wrong.
    pub faults: Vec<Fault>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            profile: Profile::default(),
            configuration: Vec::new(),
            vm_configuration: Vec::new(),
            environment: Vec::new(),
            workers: 1,
            time: START,
            seed: 0,
            failure_policy: FailurePolicy::default(),
            closed_if_refused: false,
            idle_timeout: Duration::from_secs(300),
            buffer_limit: 1024 * 1024,
            trace: false,
            costs: false,
            faults: Vec::new(),
        }
    }
}

/// A proxy with a filter in its chain, in virtual time. Nothing is shared between two of them.
pub struct Gateway {
    filter: Filter,
    proxy: Box<Proxy>,
    workers: Vec<Worker>,
    policy: FailurePolicy,
    places: HashMap<StreamId, Place>,
    last_id: u64,
}

impl Gateway {
    /// Starts the workers one after the other, each with the configuration; an error if the filter refuses it.
    pub fn start(filter: &Filter, options: Options) -> Result<Self, HostError> {
        let Options { profile, configuration, vm_configuration, environment, workers, time, seed, .. } = options;
        let mut proxy = Box::new(Proxy::new(profile));
        (proxy.configuration, proxy.vm_configuration, proxy.environment) =
            (configuration, vm_configuration, environment);
        (proxy.now, proxy.seed, proxy.buffer_limit) = (time, seed, options.buffer_limit);
        proxy.idle = u64::try_from(options.idle_timeout.as_nanos()).unwrap_or(u64::MAX);
        proxy.faults.planned = options.faults;
        proxy.trace = options.trace.then(Trace::default);
        proxy.costs = options.costs.then(Vec::new);
        proxy.foreign.insert("verify_signature".to_owned(), Box::new(signature::verify));
        let start = |index| match Worker::start(filter, &mut proxy, index) {
            Err(HostError::Refused(_)) if options.closed_if_refused => Ok(Worker::closed(index)),
            other => other,
        };
        let workers = (0..workers).map(start).collect::<Result<Vec<_>, _>>()?;
        let (policy, places) = (options.failure_policy, HashMap::new());
        Ok(Gateway { filter: filter.clone(), proxy, workers, policy, places, last_id: 0 })
    }

    /// Who answers the filter's callouts from now on. Without anybody, they stay open until [`Gateway::answer`] or their limit.
    pub fn on_call(&mut self, service: impl FnMut(&Callout, u64) -> Reply + Send + 'static) {
        self.proxy.service = Some(Box::new(service));
    }

    /// Who answers requests that have come whole to the upstream. Without anybody, [`Gateway::upstream`] does it.
    pub fn on_upstream(&mut self, upstream: impl FnMut(&Exchange) -> UpstreamAnswer + Send + 'static) {
        self.proxy.upstream = Some(Box::new(upstream));
    }

    /// A function of the host beyond the ABI, in place of one of the same name; `None` from it is a call that fails.
    pub fn on_foreign(&mut self, name: &str, function: impl FnMut(&[u8]) -> Option<Vec<u8>> + Send + 'static) {
        self.proxy.foreign.insert(name.to_owned(), Box::new(function));
    }

    /// Takes a function away that hosts of this profile have.
    pub fn without_foreign(&mut self, name: &str) {
        self.proxy.foreign.remove(name);
    }

    /// Sends a request to the first worker, piece by piece and to its end, and lets happen what happens at once.
    pub fn send(&mut self, request: &Request) -> StreamId {
        self.send_to(0, request)
    }

    /// Sends a request to a worker.
    pub fn send_to(&mut self, worker: usize, request: &Request) -> StreamId {
        let end = request.body.is_empty() && request.trailers.is_none();
        let id = self.open(worker, request, end);
        for (at, piece) in request.body.iter().enumerate() {
            self.data(id, piece, at + 1 == request.body.len() && request.trailers.is_none());
        }
        if let Some(trailers) = &request.trailers {
            self.trailers(id, trailers.clone());
        }
        self.settle();
        id
    }

    /// A request's headers come to a worker; its pieces are the caller's to send.
    pub fn open(&mut self, worker: usize, request: &Request, end: bool) -> StreamId {
        self.last_id += 1;
        let id = StreamId(self.last_id);
        let stream = Stream::new(id, request.headers.clone(), request.properties.clone());
        let (filter, policy) = (&self.filter, self.policy);
        let count = self.workers.len().max(1);
        if let Some(worker) = self.workers.get_mut(worker % count) {
            let context = worker.open(filter, &mut self.proxy, policy, stream, end);
            let vm = worker.vm.as_ref().map_or(0, Vm::number);
            if let Some(context) = context {
                self.places.insert(id, Place { worker: worker.index, vm, context });
            }
        }
        self.tidy();
        id
    }

    /// A piece of a request's body comes.
    pub fn data(&mut self, id: StreamId, bytes: &[u8], end: bool) {
        self.in_stream(id, |vm, proxy, context| vm.data(proxy, context, Side::Request, bytes, end));
    }

    /// A request ends with trailers.
    pub fn trailers(&mut self, id: StreamId, trailers: Pairs) {
        self.in_stream(id, |vm, proxy, context| vm.trailers(proxy, context, Side::Request, trailers));
    }

    /// The client breaks a request off.
    pub fn hang_up(&mut self, id: StreamId) {
        if let Some(mut exchange) = self.proxy.lost.remove(&id) {
            (exchange.over, exchange.reset) = (true, true);
            self.proxy.finish(id, exchange);
        }
        self.in_stream(id, |vm, proxy, context| {
            if let Some(stream) = vm.stream(context) {
                stream.exchange.reset = true;
            }
            vm.finish(proxy, context)
        });
        self.settle();
    }

    /// The upstream answers a request, whole or broken off.
    pub fn upstream(&mut self, id: StreamId, answer: UpstreamAnswer) {
        self.in_stream(id, |vm, proxy, context| {
            let Some(stream) = vm.stream(context).filter(|stream| !stream.replied) else { return Ok(()) };
            match answer {
                UpstreamAnswer::Silence => Ok(()),
                UpstreamAnswer::Reset => {
                    let body = b"upstream connect error or disconnect/reset before headers".to_vec();
                    vm.reply(proxy, context, LocalReply { status: 503, headers: Pairs::new(), body }, AnsweredBy::Proxy)
                }
                UpstreamAnswer::Answer { headers, body, trailers, .. } => {
                    stream.exchange.answered_by = Some(AnsweredBy::Upstream);
                    stream.response.headers = headers;
                    let end = body.is_empty() && trailers.is_none();
                    vm.headers(proxy, context, Side::Response, end)?;
                    for (at, piece) in body.iter().enumerate() {
                        let last = at + 1 == body.len() && trailers.is_none();
                        vm.data(proxy, context, Side::Response, piece, last)?;
                    }
                    trailers.map_or(Ok(()), |trailers| vm.trailers(proxy, context, Side::Response, trailers))
                }
            }
        });
    }

    /// Lets happen what is to happen now.
    pub fn settle(&mut self) {
        self.run_until(self.proxy.now);
    }

    /// Lets time pass, with all that happens in it: ticks, answers, limits.
    pub fn advance(&mut self, time: Duration) {
        let end = self.proxy.now.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        self.run_until(end);
        self.proxy.now = end;
    }

    /// When the next thing happens by itself, in Unix nanoseconds; most often it is a tick.
    pub fn next(&self) -> Option<u64> {
        self.proxy.next_time()
    }

    /// Lets time pass until something is so, at most for a while; whether it is.
    pub fn advance_until(&mut self, most: Duration, mut is_so: impl FnMut(&Gateway) -> bool) -> bool {
        let end = self.proxy.now.saturating_add(u64::try_from(most.as_nanos()).unwrap_or(u64::MAX));
        loop {
            if is_so(self) {
                return true;
            }
            match self.proxy.next_time() {
                Some(time) if time <= end => self.run_until(time.max(self.proxy.now)),
                _ => {
                    self.proxy.now = end;
                    return is_so(self);
                }
            }
        }
    }

    /// Sets the clock, forwards or back, as no clock should; what is planned keeps its distance from the old time.
    pub fn set_time(&mut self, time: u64) {
        self.proxy.now = time;
    }

    /// Unix nanoseconds.
    pub fn now(&self) -> u64 {
        self.proxy.now
    }

    /// Answers a callout that is open; the filter is told at once.
    pub fn answer(&mut self, callout: &Callout, answer: Answer) -> Result<(), HostError> {
        let Callout { worker, token, .. } = *callout;
        let unknown = HostError::NoCallout { worker, token };
        let place = self.workers.get_mut(worker).ok_or(HostError::NoWorker(worker))?;
        let told = place.with(&mut self.proxy, None, |vm, proxy| vm.answer(proxy, token, answer, true));
        self.tidy();
        if told == Some(false) { Err(unknown) } else { Ok(()) }
    }

    /// Tells the filter of an answer to a callout that it may have had its answer to, as no host should.
    pub fn answer_again(&mut self, callout: &Callout, answer: Answer) {
        let Callout { worker, token, context, .. } = *callout;
        if let Some(worker) = self.workers.get_mut(worker) {
            worker.with(&mut self.proxy, None, |vm, proxy| vm.tell(proxy, context, token, answer));
        }
        self.tidy();
    }

    /// The filter's calls that are not answered yet, by worker and age.
    pub fn callouts(&mut self) -> Vec<Callout> {
        let vms = self.workers.iter_mut().filter_map(|worker| worker.vm.as_mut());
        vms.flat_map(|vm| vm.state().callouts.values().cloned().collect::<Vec<_>>()).collect()
    }

    /// Puts another configuration in place of the one in force, in the same VMs. Requests that are under way keep the old one.
    /// An error leaves the old one in force.
    pub fn configure(&mut self, configuration: Vec<u8>) -> Result<(), HostError> {
        let before = std::mem::replace(&mut self.proxy.configuration, configuration);
        for worker in &mut self.workers {
            let Some(vm) = &mut worker.vm else { continue };
            match vm.configure(&mut self.proxy) {
                Ok(root) => {
                    let old = std::mem::replace(&mut worker.root, root);
                    if let Some(context) = vm.state().roots.get_mut(&old) {
                        context.replaced = true;
                    }
                    worker.with(&mut self.proxy, None, |vm, proxy| vm.end_root(proxy, old));
                }
                Err(error) => {
                    if matches!(error, HostError::Trap { .. }) {
                        worker.fail(&mut self.proxy);
                    }
                    self.proxy.configuration = before;
                    return Err(error);
                }
            }
        }
        self.tidy();
        Ok(())
    }

    /// Takes a worker's VM away, as a trap outside of all streams does: what is under way is answered 503 when something
    /// next comes of it, or after [`Options::idle_timeout`].
    pub fn trap(&mut self, worker: usize) {
        if let Some(worker) = self.workers.get_mut(worker) {
            if let Some(vm) = &mut worker.vm {
                vm.state().active = 0;
            }
            let index = worker.index;
            self.proxy.find(index, "proxy_on_tick", "the VM was taken away".to_owned(), true);
            worker.fail(&mut self.proxy);
        }
        self.tidy();
    }

    /// Makes the VM of a worker anew. What is under way in it ends with 503.
    pub fn restart_worker(&mut self, worker: usize) -> Result<(), HostError> {
        let of = self.workers.get_mut(worker).ok_or(HostError::NoWorker(worker))?;
        of.stop(&mut self.proxy);
        of.renew(&self.filter, &mut self.proxy)?;
        self.tidy();
        Ok(())
    }

    /// Ends the process, and starts it again with the same configuration: connections are broken off, and what workers
    /// shared is gone.
    pub fn restart(&mut self) -> Result<(), HostError> {
        self.workers.iter_mut().for_each(|worker| worker.vanish(&mut self.proxy));
        for (id, mut exchange) in std::mem::take(&mut self.proxy.lost) {
            (exchange.over, exchange.reset) = (true, true);
            self.proxy.finish(id, exchange);
        }
        self.proxy.forget();
        let (filter, proxy) = (&self.filter, &mut self.proxy);
        self.workers.iter_mut().try_for_each(|worker| worker.renew(filter, proxy))?;
        self.tidy();
        Ok(())
    }

    /// What became of a request, as far as it has come.
    pub fn exchange(&mut self, id: StreamId) -> Exchange {
        if let Some(exchange) = self.proxy.finished.get(&id) {
            return exchange.clone();
        }
        if let Some(exchange) = self.proxy.lost.get(&id) {
            return exchange.clone();
        }
        let place = self.places.get(&id).copied();
        let vm = place.and_then(|place| self.workers.get_mut(place.worker)?.vm.as_mut());
        let stream = vm.zip(place).and_then(|(vm, place)| vm.stream(place.context));
        stream.map(|stream| stream.exchange.clone()).unwrap_or_default()
    }

    /// The same of a request that is over, which is forgotten then; `None` while it goes on.
    pub fn take(&mut self, id: StreamId) -> Option<Exchange> {
        self.proxy.finished.remove(&id)
    }

    /// Callouts that nobody waits for any more, be they answered or cancelled, since this was asked last: workers and tokens.
    pub fn take_gone(&mut self) -> Vec<(usize, u32)> {
        std::mem::take(&mut self.proxy.gone)
    }

    /// Requests of which something new can be seen since this was asked last; some stand there twice.
    pub fn take_touched(&mut self) -> Vec<StreamId> {
        std::mem::take(&mut self.proxy.touched)
    }

    /// Requests that are not over.
    pub fn open_streams(&self) -> usize {
        self.places.len()
    }

    /// Configurations that are in force in some worker, or were replaced and have not come to their end.
    pub fn root_contexts(&mut self) -> usize {
        self.workers.iter_mut().filter_map(|worker| worker.vm.as_mut()).map(|vm| vm.state().roots.len()).sum()
    }

    /// What the filter got wrong so far.
    pub fn findings(&self) -> &[Finding] {
        &self.proxy.findings
    }

    /// What the filter logged since this was asked last.
    pub fn take_logs(&mut self) -> Vec<Log> {
        std::mem::take(&mut self.proxy.logs)
    }

    /// All that the filter logged.
    pub fn logs(&self) -> &[Log] {
        &self.proxy.logs
    }

    /// Metrics by name, over all workers; of a histogram the last value.
    pub fn metrics(&self) -> BTreeMap<String, u64> {
        self.proxy.metrics.values()
    }

    /// A number that rises with everything that can be seen from outside: messages that go out, metrics, logs.
    pub fn progress(&self) -> u64 {
        self.proxy.progress
    }

    /// What the callbacks since the last question cost, where [`Options::costs`] asks for it.
    pub fn take_costs(&mut self) -> Vec<Callback> {
        self.proxy.costs.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// What happened, line by line, where [`Options::trace`] asks for it.
    pub fn trace(&self) -> &[TraceLine] {
        self.proxy.trace.as_ref().map(|trace| trace.lines.as_slice()).unwrap_or_default()
    }

    /// Counts host calls from now on; see [`Gateway::calls_made`].
    pub fn count_calls(&mut self) {
        self.proxy.faults.counting = true;
    }

    /// How often each host call was made, by name, since they are counted.
    pub fn calls_made(&self) -> BTreeMap<&'static str, u64> {
        self.proxy.faults.made.iter().map(|(name, count)| (*name, *count)).collect()
    }

    /// Lets host calls go wrong that are still to come.
    pub fn put_faults(&mut self, faults: Vec<Fault>) {
        self.proxy.faults.planned = faults;
    }

    /// Bytes of the memory of all VMs.
    pub fn memory(&self) -> usize {
        self.workers.iter().filter_map(|worker| worker.vm.as_ref()).map(Vm::memory).sum()
    }

    /// A value that workers share, with its version.
    pub fn shared(&self, key: &str) -> Option<(&[u8], u32)> {
        self.proxy.shared.get(key.as_bytes()).map(|(value, version)| (value.as_slice(), *version))
    }

    fn run_until(&mut self, time: u64) {
        while let Some(event) = self.proxy.next_event(time) {
            match event {
                Event::Tick { worker, vm, root, period } => {
                    self.in_worker(worker, vm, |vm, proxy| vm.tick(proxy, root, period));
                }
                Event::Answer { worker, vm, token, answer, last } => {
                    self.in_worker(worker, vm, |vm, proxy| vm.answer(proxy, token, answer, last).map(drop));
                }
                Event::Queue { worker, vm, root, queue } => {
                    self.in_worker(worker, vm, |vm, proxy| vm.queue_ready(proxy, root, queue));
                }
                Event::Upstream { stream, answer } => self.upstream(stream, answer),
                Event::Idle(stream) => self.touch_lost(stream),
            }
        }
        self.tidy();
    }

    fn in_worker(&mut self, worker: usize, vm: u64, work: impl FnOnce(&mut Vm, &mut Box<Proxy>) -> Result<(), Dead>) {
        if let Some(worker) = self.workers.get_mut(worker) {
            worker.with(&mut self.proxy, Some(vm), work);
        }
    }

    /// Answers a stream whose VM has failed, now that something comes of it.
    fn touch_lost(&mut self, id: StreamId) {
        if let Some(exchange) = self.proxy.lost.remove(&id) {
            refuse_lost(&mut self.proxy, id, exchange);
        }
        self.tidy();
    }

    fn in_stream(&mut self, id: StreamId, work: impl FnOnce(&mut Vm, &mut Box<Proxy>, u32) -> Result<(), Dead>) {
        if self.proxy.lost.contains_key(&id) {
            return self.touch_lost(id);
        }
        let Some(Place { worker, vm, context }) = self.places.get(&id).copied() else { return };
        self.in_worker(worker, vm, |vm, proxy| work(vm, proxy, context));
        self.tidy();
    }

    /// Forgets the places of streams that have ended.
    fn tidy(&mut self) {
        for id in self.proxy.just_finished.drain(..) {
            self.places.remove(&id);
        }
    }
}
