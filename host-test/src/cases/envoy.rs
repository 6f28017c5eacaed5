//! Real Envoy as a driver: the compiled filter in real time, with the shipped configuration (`envoy/envoy.yaml`) at other addresses.
//!
//! Approval service, upstream and agents are tasks of this process. Each request has a connection of its own, and its port tells
//! whose it is, at the upstream and in the access log. A [`Fleet`] keeps processes for the next case; when it ends, or a
//! case panics, process, sockets and folder are gone.

mod admin;
mod approval;
mod configuration;
mod http1;
mod http2;
mod process;
mod unit;
mod upstream;
mod watch;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use holdgate_authoring::cases::{Restart, ServiceCall, UpstreamBehaviour, Version};
use serde_json::Value;
use tokio::{net::TcpStream, task::JoinHandle};

use super::driver::{Driver, Handle, Observed, Reply, Sending, Setup, TraceLine, Trouble};
use crate::clock;
use unit::{Case, Unit, locked};
use watch::Watch;

/// How long Envoy may take until it serves, and the filter until it decides.
const READY: Duration = Duration::from_secs(30);

/// When nothing has happened for so long, all has happened that happens without time passing. Longer than the filter's tick.
const QUIET: Duration = Duration::from_millis(45);

/// The longest that is waited for that.
const SETTLE: Duration = Duration::from_millis(1_000);

/// How often it is looked at what nobody tells of: metrics and logs.
const LOOK: Duration = Duration::from_millis(12);

/// Connections that are opened until one comes to the worker that is wanted.
const TRIES: usize = 200;

/// What a proxy is made of.
#[derive(Clone, Debug)]
pub struct Place {
    /// The binary.
    pub envoy: PathBuf,
    /// The compiled filter.
    pub wasm: PathBuf,
}

/// Proxies that run, and wait for their next case.
#[derive(Clone)]
pub struct Fleet {
    place: Place,
    idle: Arc<Mutex<Vec<Unit>>>,
    cases: Arc<AtomicU64>,
}

/// A proxy that plays a case.
pub struct Envoy {
    unit: Option<Unit>,
    fleet: Fleet,
    case: Arc<Case>,
    agents: Vec<JoinHandle<()>>,
}

impl Fleet {
    /// Without proxies; they are started as they are needed.
    pub fn new(place: Place) -> Self {
        Fleet { place, idle: Arc::default(), cases: Arc::default() }
    }

    /// A proxy for a case.
    pub fn drive(&self, setup: Setup) -> Result<Envoy, Trouble> {
        let Setup { configuration, workers, timed, service, upstream, ready, .. } = setup;
        if timed {
            return Err(Trouble::CannotPlay("it is to be another time than it is".to_owned()));
        }
        let number = self.cases.fetch_add(1, Ordering::Relaxed);
        let case = Case { number, watch: Watch::new(), service, upstream: Mutex::new(upstream) };
        let (case, workers) = (Arc::new(case), workers.max(1));
        if let Some(unit) = self.take(workers).filter(|_| ready) {
            let mut envoy = Envoy { unit: Some(unit), fleet: self.clone(), case: case.clone(), agents: Vec::new() };
            if envoy.take_over(&configuration)? {
                return Ok(envoy);
            }
            envoy.unit = None;
        }
        let mut unit = Unit::new(&self.place, workers)?;
        unit.begin(&case)?;
        unit.write_filter(&case, &configuration)?;
        unit.run(&case)?;
        let mut envoy = Envoy { unit: Some(unit), fleet: self.clone(), case, agents: Vec::new() };
        if ready {
            envoy.until_ready(&configuration)?;
        }
        Ok(envoy)
    }

    fn take(&self, workers: usize) -> Option<Unit> {
        let mut idle = locked(&self.idle);
        let place = idle.iter().position(|unit| unit.workers == workers)?;
        Some(idle.swap_remove(place))
    }
}

impl Envoy {
    fn unit(&mut self) -> Result<(&mut Unit, &Arc<Case>), Trouble> {
        let Envoy { unit, case, .. } = self;
        unit.as_mut().map(|unit| (unit, &*case)).ok_or_else(|| failed("it has ended"))
    }

    /// Begins a case on a proxy that has played others. `false`: its configuration is refused, and that of the one before is in force.
    fn take_over(&mut self, configuration: &Value) -> Result<bool, Trouble> {
        let (unit, case) = self.unit()?;
        unit.begin(case)?;
        if !unit.configure(case, configuration)? {
            return Ok(false);
        }
        self.until_ready(configuration)?;
        let (unit, case) = self.unit()?;
        unit.alone(case)?;
        case.watch.note("Envoy has the filter in a new VM");
        Ok(true)
    }

    /// Every worker has asked for news, which it does once it has its snapshot; and one has fetched the policy, which others may
    /// find with it.
    fn until_ready(&mut self, configuration: &Value) -> Result<(), Trouble> {
        let begun = Instant::now();
        let governed = configuration.get("bundle").is_some();
        let (unit, case) = self.unit()?;
        // The main thread has a VM of its own, which asks like the others.
        let vms = unit.workers + 1;
        let ready = || {
            let service = locked(&case.service);
            let arrived = |kind| service.arrived().iter().filter(|call| call.call == kind).count();
            arrived(ServiceCall::Feed) >= vms && (governed || arrived(ServiceCall::Bundles) > 0)
        };
        while !ready() {
            unit.look(case)?;
            if begun.elapsed() > READY {
                let logs = case.watch.observed()?.logs.join("; ");
                return Err(failed(format!("the filter decides nothing after {} s; {logs}", READY.as_secs())));
            }
            unit.wait(case, LOOK);
        }
        self.settle()
    }

    /// Waits until nothing happens any more.
    fn settle(&mut self) -> Result<(), Trouble> {
        let begun = Instant::now();
        let (unit, case) = self.unit()?;
        loop {
            unit.look(case)?;
            let quiet = case.watch.quiet_for();
            if quiet >= QUIET || begun.elapsed() >= SETTLE {
                return Ok(());
            }
            unit.wait(case, (QUIET - quiet).min(LOOK));
        }
    }
}

impl Driver for Envoy {
    fn now(&self) -> u64 {
        clock::now()
    }

    fn send(&mut self, request: Sending) -> Result<Handle, Trouble> {
        let (unit, case) = self.unit()?;
        let worker = request.worker.filter(|_| unit.workers > 1);
        if let Some(missing) = request.worker.filter(|worker| *worker >= unit.workers) {
            let (number, count) = (missing + 1, unit.workers);
            return Err(Trouble::CannotPlay(format!("there is no worker {number}; the case has `workers: {count}`")));
        }
        let case = case.clone();
        let begun = async {
            let mut stream = connect(unit, worker).await?;
            let port = stream.local_addr().map_err(failed)?.port();
            let handle = case.watch.open(&request.name);
            locked(unit.clients()).insert(port, (case.clone(), handle));
            case.watch.note(format!("`{}` is sent: {} {}", request.name, request.method, request.target));
            let agent = match request.version {
                Version::Http1 => {
                    http1::begin(&mut stream, &request).await.map_err(failed)?;
                    tokio::spawn(async move { end(&case, handle, http1::exchange(stream, &request).await) })
                }
                Version::Http2 => {
                    let begun = http2::begin(stream, &request).await?;
                    tokio::spawn(async move { end(&case, handle, http2::exchange(begun, &request).await) })
                }
            };
            Ok((handle, agent))
        };
        let (handle, agent) = unit.runtime()?.block_on(begun)?;
        self.agents.push(agent);
        Ok(handle)
    }

    fn hang_up(&mut self, request: Handle) -> Result<(), Trouble> {
        if let Some(agent) = self.agents.get(request) {
            agent.abort();
        }
        self.case.watch.happen(|state| {
            let name = state.name(request);
            if let Some(request) = state.request(request).filter(|request| request.reply.is_none() && !request.reset) {
                request.gone = true;
                state.note(format!("the agent of `{name}` hangs up"));
            }
        });
        Ok(())
    }

    fn pass(&mut self, limit: Duration, done: &mut dyn FnMut(&Observed) -> bool) -> Result<bool, Trouble> {
        let end = Instant::now() + limit;
        let (unit, case) = self.unit()?;
        // What the player has just done to the service comes first.
        unit.deliver(case);
        self.settle()?;
        let (unit, case) = self.unit()?;
        loop {
            unit.look(case)?;
            if done(&case.watch.observed()?) {
                return Ok(true);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            unit.wait(case, left.min(LOOK));
        }
    }

    fn upstream(&mut self, behaviour: &UpstreamBehaviour) -> Result<(), Trouble> {
        locked(&self.case.upstream).clone_from(behaviour);
        Ok(())
    }

    fn reconfigure(&mut self, configuration: &Value) -> Result<(), Trouble> {
        let (unit, case) = self.unit()?;
        let taken = unit.configure(case, configuration)?;
        case.watch.note(format!("Envoy {} the filter's new configuration", if taken { "takes" } else { "refuses" }));
        self.settle()
    }

    fn restart(&mut self, what: Restart) -> Result<(), Trouble> {
        if what != Restart::Proxy {
            return Err(Trouble::CannotPlay("a VM of Envoy ends by a crash only, and the filter has none".to_owned()));
        }
        let (unit, case) = self.unit()?;
        // What it has written by now is not lost.
        unit.look(case)?;
        case.watch.note("Envoy is killed, and started again");
        unit.run(case)
    }

    fn observe(&mut self) -> Observed {
        if let Ok((unit, case)) = self.unit() {
            let _trouble = unit.look(case);
        }
        self.case.watch.observed().unwrap_or_default()
    }

    fn trace(&mut self) -> Vec<TraceLine> {
        self.case.watch.trace()
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        self.agents.iter().for_each(JoinHandle::abort);
        let Some(mut unit) = self.unit.take() else { return };
        unit.end(&self.case);
        // Whatever went wrong, the next case has no part in it.
        if !std::thread::panicking() && unit.check().is_ok() && self.case.watch.observed().is_ok() {
            locked(&self.fleet.idle).push(unit);
        }
    }
}

/// A connection to the proxy, to one worker if that is asked for.
async fn connect(unit: &Unit, worker: Option<usize>) -> Result<TcpStream, Trouble> {
    for _ in 0..TRIES {
        let before = if worker.is_some() { admin::connections(unit.admin).await } else { None };
        let stream = TcpStream::connect(unit.listener).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let Some((wanted, before)) = worker.zip(before) else { return Ok(stream) };
        let begun = Instant::now();
        while begun.elapsed() < READY {
            let now = admin::connections(unit.admin).await.unwrap_or_default();
            let more = |(worker, count): &(&usize, &i64)| before.get(*worker).is_none_or(|old| old < *count);
            match now.iter().find(more) {
                Some((got, _)) if *got == wanted => return Ok(stream),
                Some(_) => break,
                None => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    }
    Err(failed(format!("no connection has come to the worker {}", worker.unwrap_or(0) + 1)))
}

/// The agent has an answer, or none and never will have.
fn end(case: &Case, handle: Handle, reply: Option<Reply>) {
    case.watch.happen(|state| match reply {
        Some(mut reply) => {
            let marked = reply.headers.iter().any(|(name, _)| name == upstream::MARK);
            reply.headers.retain(|(name, _)| name != upstream::MARK);
            state.answered(handle, reply, marked);
        }
        None => {
            let name = state.name(handle);
            state.note(format!("the stream of `{name}` is reset"));
            if let Some(request) = state.request(handle) {
                request.reset = true;
            }
        }
    });
}

fn failed(error: impl std::fmt::Display) -> Trouble {
    Trouble::Failed(format!("the Envoy driver: {error}"))
}
