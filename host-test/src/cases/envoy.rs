//! Real Envoy as a driver: a process of its own for each case, with the compiled filter, in real time.
//!
//! The configuration is the shipped one (`envoy/envoy.yaml`) with other addresses. Approval service, upstream and agents are
//! tasks of this process: each request has a connection of its own, and its port tells whose it is, at the upstream and in the
//! access log. Dropped, by a panic too, process and folder are gone.

mod admin;
mod approval;
mod configuration;
mod http1;
mod http2;
mod process;
mod upstream;
mod watch;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use holdgate_authoring::cases::{Restart, ServiceCall, UpstreamBehaviour, Version};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    task::JoinHandle,
};

use super::driver::{Driver, Handle, Observed, Sending, Setup, SharedService, TraceLine, Trouble};
use crate::clock;
use approval::Approval;
use configuration::{Configuration, Surroundings};
use process::{Process, Tail};
use watch::Watch;

/// How long Envoy may take until it serves, and the filter until it decides.
const READY: Duration = Duration::from_secs(20);

/// When nothing has happened for so long, all has happened that happens without time passing. Longer than the filter's tick.
const QUIET: Duration = Duration::from_millis(45);

/// The longest that is waited for that.
const SETTLE: Duration = Duration::from_millis(1_000);

/// How often it is looked at what nobody tells of: metrics and logs.
const LOOK: Duration = Duration::from_millis(12);

/// How a line of the filter begins in Envoy's log.
const LOGGED: &str = "wasm log holdgate holdgate holdgate: ";

/// Connections that are opened until one comes to the worker that is wanted.
const TRIES: usize = 200;

/// What it is made of.
#[derive(Clone, Debug)]
pub struct Place {
    /// The binary.
    pub envoy: PathBuf,
    /// The compiled filter.
    pub wasm: PathBuf,
}

/// A running proxy.
pub struct Envoy {
    // Dropped in this order: no task outlives the runtime, and nothing the folder.
    process: Option<Process>,
    runtime: Option<Runtime>,
    folder: TempDir,
    place: Place,
    workers: usize,
    configuration: Configuration,
    service: SharedService,
    watch: Arc<Watch>,
    upstream: upstream::Behaviour,
    agents: Vec<JoinHandle<()>>,
    access: Tail,
    log: Tail,
    admin: SocketAddr,
    listener: SocketAddr,
}

impl Envoy {
    /// Starts a proxy.
    pub fn start(place: &Place, setup: Setup) -> Result<Self, Trouble> {
        let Setup { configuration: plugin, workers, timed, service, upstream, ready, .. } = setup;
        if timed {
            return Err(Trouble::CannotPlay("it is to be another time than it is".to_owned()));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(failed)?;
        let folder = tempfile::Builder::new().prefix("holdgate-case-").tempdir().map_err(failed)?;
        let watch = Arc::new(Watch::new());
        let upstream = Arc::new(Mutex::new(upstream));
        let listen = || runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).map_err(failed);
        let (of_upstream, of_approval) = (listen()?, listen()?);
        let wasm = std::path::absolute(&place.wasm).map_err(failed)?;
        let around = Surroundings {
            upstream: of_upstream.local_addr().map_err(failed)?,
            approval: of_approval.local_addr().map_err(failed)?,
            wasm: &wasm,
            filter: &filter_file(folder.path()),
        };
        let mut configuration = Configuration::new(&around)?;
        configuration.write_filter(around.filter, &plugin)?;
        let file = configuration_file(folder.path());
        fs::write(&file, configuration.proxy.to_string()).map_err(failed)?;
        runtime.spawn(upstream::serve(of_upstream, upstream.clone(), watch.clone()));
        runtime.spawn(Approval::new(service.clone(), watch.clone()).serve(of_approval));
        let (access, log) = process::logs(folder.path());
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut envoy = Envoy {
            process: None,
            runtime: Some(runtime),
            folder,
            place: place.clone(),
            workers: workers.max(1),
            configuration,
            service,
            watch,
            upstream,
            agents: Vec::new(),
            access: Tail::new(access),
            log: Tail::new(log),
            admin: nowhere,
            listener: nowhere,
        };
        envoy.run()?;
        if ready {
            let governed = plugin.get("bundle").is_some();
            envoy.until_ready(governed)?;
        }
        Ok(envoy)
    }

    /// Runs Envoy, and returns when it serves.
    fn run(&mut self) -> Result<(), Trouble> {
        let folder = self.folder.path();
        self.process = None;
        let process = Process::start(&self.place.envoy, folder, &configuration_file(folder), self.workers)?;
        self.process = Some(process);
        let begun = Instant::now();
        loop {
            self.check()?;
            let admin = self.process.as_ref().and_then(Process::admin);
            let serving = self.block_on(async {
                let admin = admin?;
                if admin::ready(admin).await { Some((admin, admin::listener(admin).await?)) } else { None }
            });
            if let Some((admin, listener)) = serving {
                (self.admin, self.listener) = (admin, listener);
                self.watch.note(format!("Envoy serves after {} ms", begun.elapsed().as_millis()));
                return Ok(());
            }
            if begun.elapsed() > READY {
                self.look()?;
                let logs = self.watch.observed()?.logs.join("; ");
                return Err(Trouble::Failed(format!("Envoy does not serve after {} s; {logs}", READY.as_secs())));
            }
            self.wait(Duration::from_millis(4));
        }
    }

    /// Every worker has asked for news, which it does once it has its snapshot; and there is a policy.
    fn until_ready(&mut self, governed: bool) -> Result<(), Trouble> {
        let begun = Instant::now();
        let workers = self.workers;
        let ready = |service: &SharedService| {
            let service = service.lock().unwrap_or_else(PoisonError::into_inner);
            let arrived = |kind| service.arrived().iter().filter(|call| call.call == kind).count();
            arrived(ServiceCall::Feed) >= workers && (governed || arrived(ServiceCall::Bundles) >= workers)
        };
        while !ready(&self.service) {
            self.look()?;
            if begun.elapsed() > READY {
                let logs = self.watch.observed()?.logs.join("; ");
                let seconds = READY.as_secs();
                return Err(Trouble::Failed(format!("the filter decides nothing after {seconds} s; {logs}")));
            }
            self.wait(LOOK);
        }
        self.settle()
    }

    /// Waits until nothing happens any more.
    fn settle(&mut self) -> Result<(), Trouble> {
        let begun = Instant::now();
        loop {
            self.look()?;
            let quiet = self.watch.quiet_for();
            if quiet >= QUIET || begun.elapsed() >= SETTLE {
                return Ok(());
            }
            self.wait((QUIET - quiet).min(LOOK));
        }
    }

    /// Looks at what nobody tells of.
    fn look(&mut self) -> Result<(), Trouble> {
        self.check()?;
        let admin = self.admin;
        let metrics = self.block_on(admin::metrics(admin));
        let (access, log) = (self.access.lines(), self.log.lines());
        if let Some(metrics) = metrics {
            self.watch.learn(metrics);
        }
        if access.is_empty() && log.is_empty() {
            return Ok(());
        }
        self.watch.happen(|state| {
            for line in access {
                let Ok(entry) = serde_json::from_str::<Value>(&line) else { continue };
                let text = |name: &str| entry.get(name).and_then(Value::as_str);
                let client = text("client").and_then(|client| state.client(client));
                let decision = text("decision").map(str::to_owned);
                if let Some(request) = client.and_then(|client| state.request(client)) {
                    request.decision = decision.filter(|word| word != "-");
                }
            }
            for line in log {
                let Some((level, text)) = line.split_once(LOGGED) else {
                    state.note(format!("Envoy: {line}"));
                    continue;
                };
                state.note(format!("log: {text}"));
                if !["[trace]", "[debug]", "[info]"].iter().any(|low| level.starts_with(low)) {
                    state.observed.logs.push(text.to_owned());
                }
            }
        });
        Ok(())
    }

    fn check(&mut self) -> Result<(), Trouble> {
        self.process.as_mut().map_or(Ok(()), |process| process.check(self.folder.path()))
    }

    fn wait(&self, most: Duration) {
        self.block_on(self.watch.changed(most));
    }

    fn block_on<F: Future<Output: Default>>(&self, future: F) -> F::Output {
        self.runtime.as_ref().map(|runtime| runtime.block_on(future)).unwrap_or_default()
    }

    /// A connection to the proxy, to one worker if that is asked for.
    async fn connect(admin: SocketAddr, to: SocketAddr, worker: Option<usize>) -> Result<TcpStream, Trouble> {
        for _ in 0..TRIES {
            let before = if worker.is_some() { admin::connections(admin).await } else { None };
            let stream = TcpStream::connect(to).await.map_err(failed)?;
            stream.set_nodelay(true).map_err(failed)?;
            let Some((wanted, before)) = worker.zip(before) else { return Ok(stream) };
            let begun = Instant::now();
            while begun.elapsed() < READY {
                let now = admin::connections(admin).await.unwrap_or_default();
                let more = |(worker, count): &(&usize, &i64)| before.get(*worker).is_none_or(|old| old < *count);
                match now.iter().find(more) {
                    Some((got, _)) if *got == wanted => return Ok(stream),
                    Some(_) => break,
                    None => tokio::time::sleep(Duration::from_millis(1)).await,
                }
            }
        }
        Err(Trouble::Failed(format!("no connection has come to the worker {wanted}", wanted = worker.unwrap_or(0) + 1)))
    }
}

impl Driver for Envoy {
    fn now(&self) -> u64 {
        clock::now()
    }

    fn send(&mut self, request: Sending) -> Result<Handle, Trouble> {
        let worker = request.worker.filter(|_| self.workers > 1);
        if let Some(missing) = request.worker.filter(|worker| *worker >= self.workers) {
            let (number, count) = (missing + 1, self.workers);
            return Err(Trouble::CannotPlay(format!("there is no worker {number}; the case has `workers: {count}`")));
        }
        let (admin, listener, watch) = (self.admin, self.listener, self.watch.clone());
        let begun = async {
            let mut stream = Envoy::connect(admin, listener, worker).await?;
            let handle = watch.open(&request.name, stream.local_addr().map_err(failed)?.port());
            watch.note(format!("`{}` is sent: {} {}", request.name, request.method, request.target));
            let agent = match request.version {
                Version::Http1 => {
                    http1::begin(&mut stream, &request).await.map_err(failed)?;
                    tokio::spawn(async move { end(&watch, handle, http1::exchange(stream, &request).await) })
                }
                Version::Http2 => {
                    let begun = http2::begin(stream, &request).await?;
                    tokio::spawn(async move { end(&watch, handle, http2::exchange(begun, &request).await) })
                }
            };
            Ok((handle, agent))
        };
        let Some(runtime) = &self.runtime else { return Err(failed("it has ended")) };
        let (handle, agent) = runtime.block_on(begun)?;
        self.agents.push(agent);
        Ok(handle)
    }

    fn hang_up(&mut self, request: Handle) -> Result<(), Trouble> {
        if let Some(agent) = self.agents.get(request) {
            agent.abort();
        }
        self.watch.happen(|state| {
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
        self.settle()?;
        loop {
            self.look()?;
            if done(&self.watch.observed()?) {
                return Ok(true);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            self.wait(left.min(LOOK));
        }
    }

    fn upstream(&mut self, behaviour: &UpstreamBehaviour) -> Result<(), Trouble> {
        self.upstream.lock().unwrap_or_else(PoisonError::into_inner).clone_from(behaviour);
        Ok(())
    }

    fn reconfigure(&mut self, configuration: &Value) -> Result<(), Trouble> {
        let before = self.block_on(admin::configured(self.admin));
        self.configuration.write_filter(&filter_file(self.folder.path()), configuration)?;
        let begun = Instant::now();
        while self.block_on(admin::configured(self.admin)) == before {
            self.look()?;
            if begun.elapsed() > READY {
                return Err(failed("Envoy has not looked at the filter's new configuration"));
            }
            self.wait(LOOK);
        }
        self.watch.note("the filter has another configuration");
        self.settle()
    }

    fn restart(&mut self, what: Restart) -> Result<(), Trouble> {
        if what != Restart::Proxy {
            return Err(Trouble::CannotPlay("a VM of Envoy ends by a crash only, and the filter has none".to_owned()));
        }
        // What it has written by now is not lost.
        self.look()?;
        self.watch.note("Envoy is killed, and started again");
        self.process = None;
        self.run()
    }

    fn observe(&mut self) -> Observed {
        let _trouble = self.look();
        self.watch.observed().unwrap_or_default()
    }

    fn trace(&mut self) -> Vec<TraceLine> {
        self.watch.trace()
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        self.process = None;
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The agent has an answer, or none and never will have.
fn end(watch: &Watch, handle: Handle, reply: Option<super::driver::Reply>) {
    watch.happen(|state| match reply {
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

fn filter_file(folder: &Path) -> PathBuf {
    folder.join("holdgate.json")
}

fn configuration_file(folder: &Path) -> PathBuf {
    folder.join("envoy.json")
}

fn failed(error: impl std::fmt::Display) -> Trouble {
    Trouble::Failed(format!("the Envoy driver: {error}"))
}
