//! The native driver: `holdgate_gate` itself, without a VM, in virtual time.
//!
//! It does for the gate what the plugin and a proxy do: one file is the proxy's memory, one the worker with its root contexts,
//! one the streams. A wait of an hour takes some milliseconds.

mod carry;
mod memory;
mod streams;

use std::{collections::HashMap, time::Duration};

use holdgate_authoring::cases::{Restart, UpstreamBehaviour};
use holdgate_gate::{Config, Gate, RootCall, StreamId};
use serde_json::Value;

use super::{
    driver::{CREDENTIAL, Driver, Handle, Observed, Sending, Setup, SharedService, TraceLine, Trouble},
    service::{CallId, Delivery, Service},
};
use memory::{Memory, Proxy};
use streams::Stream;

/// Milliseconds between two ticks, as in the plugin.
const TICK: u64 = 25;

/// How long the gate may take until it decides.
const READY: Duration = Duration::from_secs(10);

/// The most things that happen at one moment; more are a loop without an end.
const MOST_AT_ONCE: usize = 100_000;

/// A proxy with the gate in it.
pub struct Native {
    now: u64,
    ticked_at: u64,
    service: SharedService,
    memory: Memory,
    configuration: Value,
    workers: Vec<Worker>,
    streams: Vec<Stream>,
    /// Calls that are under way.
    calls: HashMap<CallId, Waiting>,
    /// Moments at which something is to be done, in their order.
    agenda: Vec<(u64, Due)>,
    upstream: UpstreamBehaviour,
    observed: Observed,
    /// Whether something has happened since `done` was asked.
    changed: bool,
    trace: Vec<TraceLine>,
    happened: usize,
}

/// A worker's VM with its root contexts, the newest last.
struct Worker {
    roots: Vec<Root>,
    next_stream: StreamId,
}

struct Root {
    id: usize,
    gate: Gate,
    /// Calls that the proxy would not make; the gate hears of them at the next tick.
    refused: Vec<RootCall>,
    /// It has a policy.
    governed: bool,
    /// It has had its first snapshot.
    fed: bool,
}

/// Who waits for the answer to a call, and how long.
struct Waiting {
    whose: Whose,
    until: u64,
}

enum Whose {
    Stream(Handle),
    Root { worker: usize, root: usize, call: RootCall },
}

/// What is done at its moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// The next piece of a body comes.
    Piece(Handle),
    /// The upstream answers.
    Upstream(Handle),
}

impl Native {
    /// Starts a proxy.
    pub fn start(setup: Setup) -> Result<Native, Trouble> {
        let Setup { configuration, workers, time, service, upstream, ready, .. } = setup;
        let mut native = Native {
            now: time,
            ticked_at: time,
            service,
            memory: Memory::default(),
            workers: Vec::new(),
            configuration,
            streams: Vec::new(),
            calls: HashMap::new(),
            agenda: Vec::new(),
            upstream,
            observed: Observed::default(),
            changed: false,
            trace: Vec::new(),
            happened: 0,
        };
        for _ in 0..workers.max(1) {
            native.workers.push(Worker { roots: Vec::new(), next_stream: 1 });
        }
        for worker in 0..native.workers.len() {
            if let Err(why) = native.add_root(worker) {
                native.log(format!("the filter's configuration is refused: {why}"));
            }
        }
        native.tick();
        if ready {
            native.until_ready()?;
        }
        Ok(native)
    }

    fn until_ready(&mut self) -> Result<(), Trouble> {
        let end = self.now + u64::try_from(READY.as_millis()).unwrap_or(u64::MAX);
        while self.now < end {
            self.settle()?;
            if self.workers.iter().all(Worker::decides) {
                return Ok(());
            }
            self.advance(end)?;
        }
        Err(Trouble::Failed(format!("the filter decides nothing after ten seconds; {}", self.observed.logs.join("; "))))
    }

    fn add_root(&mut self, worker: usize) -> Result<(), String> {
        let text = self.configuration.to_string();
        let config = Config::parse(text.as_bytes()).map_err(|error| error.to_string())?;
        let governed = config.bundle.is_some();
        let mut gate = Gate::new(config, CREDENTIAL, Box::new(Proxy::new(self.memory.clone(), worker)));
        if let Some(kept) = self.memory.kept() {
            gate.restore(&kept);
        }
        let Some(worker) = self.workers.get_mut(worker) else { return Ok(()) };
        // What nobody waits in ends with its configuration.
        worker.roots.retain(|root| root.gate.parked().0 > 0);
        let id = worker.roots.last().map_or(0, |root| root.id + 1);
        worker.roots.push(Root { id, gate, refused: Vec::new(), governed, fed: false });
        Ok(())
    }

    fn root(&mut self, worker: usize, root: usize) -> Option<&mut Root> {
        self.workers.get_mut(worker)?.roots.iter_mut().find(|other| other.id == root)
    }

    /// Does what is due at this moment, until nothing is.
    fn settle(&mut self) -> Result<(), Trouble> {
        loop {
            self.happened += 1;
            if self.happened > MOST_AT_ONCE {
                return Err(Trouble::Failed("the filter and the service call one another without end".to_owned()));
            }
            if let Some(due) = self.take_due() {
                self.changed = true;
                match due {
                    Due::Piece(handle) => self.piece(handle),
                    Due::Upstream(handle) => self.upstream_answers(handle),
                }
                continue;
            }
            let deliveries = self.with_service(|service, now| service.due(now));
            let late = self.overdue();
            if deliveries.is_empty() && late.is_empty() {
                return Ok(());
            }
            for (id, delivery) in deliveries {
                self.deliver(id, delivery);
            }
            for id in late {
                self.with_service(|service, _| service.forget(id));
                let body = b"upstream request timeout".to_vec();
                self.deliver(id, Delivery::Answer { status: 504, body });
            }
        }
    }

    fn take_due(&mut self) -> Option<Due> {
        let place = self.agenda.iter().position(|(at, _)| *at <= self.now)?;
        Some(self.agenda.remove(place).1)
    }

    /// Calls whose time is over.
    fn overdue(&self) -> Vec<CallId> {
        let mut late: Vec<CallId> =
            self.calls.iter().filter(|(_, waiting)| waiting.until <= self.now).map(|(id, _)| *id).collect();
        late.sort_unstable();
        late
    }

    /// Lets time pass to the next moment at which something happens, and to the limit at most.
    fn advance(&mut self, limit: u64) -> Result<(), Trouble> {
        let tick = self.ticked_at + TICK;
        let agenda = self.agenda.iter().map(|(at, _)| *at).min();
        let call = self.calls.values().map(|waiting| waiting.until).min();
        let service = self.with_service(|service, _| service.next());
        let next = [Some(tick), agenda, call, service].into_iter().flatten().min().unwrap_or(limit);
        self.now = next.clamp(self.now + 1, limit.max(self.now + 1));
        self.happened = 0;
        if self.now >= tick {
            self.tick();
        }
        self.settle()
    }

    fn tick(&mut self) {
        self.ticked_at = self.now;
        let roots: Vec<(usize, usize)> = self
            .workers
            .iter()
            .enumerate()
            .flat_map(|(worker, of)| of.roots.iter().map(move |root| (worker, root.id)))
            .collect();
        for (worker, root) in roots {
            let now = self.now;
            let Some(of) = self.root(worker, root) else { continue };
            let refused = std::mem::take(&mut of.refused);
            let commands = of.gate.tick(now, refused);
            self.carry_out(worker, root, commands);
        }
    }

    fn with_service<T>(&self, act: impl FnOnce(&mut Service, u64) -> T) -> T {
        let mut service = self.service.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        act(&mut service, self.now)
    }

    fn note(&mut self, text: impl Into<String>) {
        self.changed = true;
        self.trace.push(TraceLine { at: self.now, text: text.into() });
    }

    fn log(&mut self, line: String) {
        self.note(format!("log: {line}"));
        self.observed.logs.push(line);
    }
}

impl Driver for Native {
    fn now(&self) -> u64 {
        self.now
    }

    fn send(&mut self, request: Sending) -> Result<Handle, Trouble> {
        let worker = request.worker.unwrap_or(0);
        if worker >= self.workers.len() {
            let count = self.workers.len();
            return Err(Trouble::CannotPlay(format!(
                "there is no worker {}; the case has `workers: {count}`",
                worker + 1
            )));
        }
        let handle = self.open(request, worker);
        self.settle()?;
        Ok(handle)
    }

    fn hang_up(&mut self, request: Handle) -> Result<(), Trouble> {
        self.close_by_agent(request);
        self.settle()
    }

    fn pass(&mut self, limit: Duration, done: &mut dyn FnMut(&Observed) -> bool) -> Result<bool, Trouble> {
        let end = self.now.saturating_add(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
        self.happened = 0;
        self.settle()?;
        self.changed = true;
        loop {
            if std::mem::take(&mut self.changed) && done(&self.observed) {
                return Ok(true);
            }
            if self.now >= end {
                return Ok(false);
            }
            self.advance(end)?;
        }
    }

    fn upstream(&mut self, behaviour: &UpstreamBehaviour) -> Result<(), Trouble> {
        self.upstream = behaviour.clone();
        Ok(())
    }

    fn reconfigure(&mut self, configuration: &Value) -> Result<(), Trouble> {
        let before = std::mem::replace(&mut self.configuration, configuration.clone());
        for worker in 0..self.workers.len() {
            if let Err(why) = self.add_root(worker) {
                self.configuration = before;
                self.log(format!("the filter's configuration is refused: {why}"));
                break;
            }
        }
        self.tick();
        self.settle()
    }

    fn restart(&mut self, what: Restart) -> Result<(), Trouble> {
        let which = match what {
            Restart::Worker(number) => number.saturating_sub(1)..number,
            Restart::Proxy => {
                self.memory.clear();
                0..self.workers.len()
            }
        };
        for worker in which {
            self.lose_worker(worker, what);
            self.add_root(worker).map_err(Trouble::Failed)?;
        }
        self.note("the VM starts again");
        self.tick();
        self.settle()
    }

    fn observe(&mut self) -> Observed {
        self.observed.clone()
    }

    fn trace(&mut self) -> Vec<TraceLine> {
        self.trace.clone()
    }
}

impl Worker {
    /// Whether the newest gate has a policy and has heard from the service.
    fn decides(&self) -> bool {
        self.roots.last().is_some_and(|root| root.governed && root.fed)
    }
}
