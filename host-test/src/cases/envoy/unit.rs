//! A proxy that runs, with what is around it: one process, and one case after the other.
//!
//! It starts in about a second of CPU, most of it the compilation of the filter. So a process is used again: the next case gets the
//! filter in a VM of its own, by another `vm_id` in the configuration that Envoy discovers, and V8 has the code already. What could
//! be mixed up is told apart by case: callouts by their authority, requests by the port of their agent, log lines by the VM.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{net::TcpListener, runtime::Runtime};

use super::{
    LOOK, Place, READY, admin,
    approval::{self, Approval, Approvals},
    configuration::{AUTHORITY, Configuration, Surroundings},
    failed,
    process::{self, Process, Tail},
    upstream::{self, Behaviour},
    watch::Watch,
};
use crate::cases::driver::{Handle, SharedService, Trouble};

/// What belongs to one case.
pub(super) struct Case {
    pub(super) number: u64,
    pub(super) watch: Watch,
    pub(super) service: SharedService,
    pub(super) upstream: Behaviour,
}

/// Whose connection comes from which port.
pub(super) type Clients = Arc<Mutex<HashMap<u16, (Arc<Case>, Handle)>>>;

/// A running proxy.
pub(super) struct Unit {
    // Dropped in this order: no task outlives the runtime, and nothing the folder.
    process: Option<Process>,
    runtime: Option<Runtime>,
    folder: TempDir,
    place: Place,
    pub(super) workers: usize,
    configuration: Configuration,
    clients: Clients,
    approvals: Approvals,
    access: Tail,
    log: Tail,
    pub(super) admin: SocketAddr,
    pub(super) listener: SocketAddr,
    /// Metrics as they were when the case began.
    before: BTreeMap<String, i64>,
}

impl Unit {
    /// Makes everything but the process.
    pub(super) fn new(place: &Place, workers: usize) -> Result<Self, Trouble> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(failed)?;
        let folder = tempfile::Builder::new().prefix("holdgate-case-").tempdir().map_err(failed)?;
        let listen = || runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).map_err(failed);
        let (of_upstream, of_approval) = (listen()?, listen()?);
        let around = Surroundings {
            upstream: of_upstream.local_addr().map_err(failed)?,
            approval: of_approval.local_addr().map_err(failed)?,
            wasm: &std::path::absolute(&place.wasm).map_err(failed)?,
            filter: &filter_file(folder.path()),
        };
        let configuration = Configuration::new(&around)?;
        fs::write(configuration_file(folder.path()), configuration.proxy.to_string()).map_err(failed)?;
        let (clients, approvals) = (Clients::default(), Approvals::default());
        runtime.spawn(upstream::serve(of_upstream, clients.clone()));
        runtime.spawn(approval::serve(of_approval, approvals.clone()));
        let (access, log) = process::logs(folder.path());
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Ok(Unit {
            process: None,
            runtime: Some(runtime),
            folder,
            place: place.clone(),
            workers,
            configuration,
            clients,
            approvals,
            access: Tail::new(access),
            log: Tail::new(log),
            admin: nowhere,
            listener: nowhere,
            before: BTreeMap::new(),
        })
    }

    /// Begins a case: its service answers from now on.
    pub(super) fn begin(&mut self, case: &Arc<Case>) -> Result<(), Trouble> {
        let Some(runtime) = &self.runtime else { return Err(failed("it has ended")) };
        let approval = Approval::start(case.clone(), runtime);
        locked(&self.approvals).insert(case.authority(), approval);
        Ok(())
    }

    pub(super) fn end(&mut self, case: &Case) {
        locked(&self.approvals).remove(&case.authority());
        locked(&self.clients).clear();
    }

    /// Writes the filter's configuration, which Envoy watches.
    pub(super) fn write_filter(&mut self, case: &Case, plugin: &Value) -> Result<(), Trouble> {
        let mut plugin = plugin.clone();
        if let Some(authority) = plugin.pointer_mut("/approval/authority").filter(|value| *value == AUTHORITY) {
            *authority = Value::from(case.authority());
        }
        self.configuration.write_filter(&filter_file(self.folder.path()), &case.vm(), &plugin)
    }

    /// Runs Envoy, anew if it runs, and returns when it serves.
    pub(super) fn run(&mut self, case: &Case) -> Result<(), Trouble> {
        let folder = self.folder.path();
        self.process = None;
        self.before.clear();
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
                case.watch.note(format!("Envoy serves after {} ms", begun.elapsed().as_millis()));
                return Ok(());
            }
            if begun.elapsed() > READY {
                self.look(case)?;
                return Err(failed(format!("Envoy does not serve: {}", case.watch.observed()?.logs.join("; "))));
            }
            self.wait(case, Duration::from_millis(4));
        }
    }

    /// Gives the filter another configuration while it runs, and says whether Envoy has taken it.
    pub(super) fn configure(&mut self, case: &Case, plugin: &Value) -> Result<bool, Trouble> {
        let before = self.block_on(admin::configured(self.admin));
        self.write_filter(case, plugin)?;
        let begun = Instant::now();
        loop {
            let now = self.block_on(admin::configured(self.admin));
            if let Some((taken, refused)) = now.filter(|now| Some(*now) != before) {
                return Ok(before.is_none_or(|(before, _)| taken > before) || refused == 0);
            }
            self.look(case)?;
            if begun.elapsed() > READY {
                return Err(failed("Envoy has not looked at the filter's new configuration"));
            }
            self.wait(case, LOOK);
        }
    }

    /// Waits until the VMs of the case before are gone. What metrics are by then is not this one's doing.
    pub(super) fn alone(&mut self, case: &Case) -> Result<(), Trouble> {
        let begun = Instant::now();
        // One of each worker, one of the main thread, and the one that they are made after.
        let own = i64::try_from(self.workers + 2).unwrap_or(i64::MAX);
        loop {
            let vms = self.block_on(admin::vms(self.admin)).unwrap_or(i64::MAX);
            if vms <= own {
                self.before = self.block_on(admin::metrics(self.admin)).unwrap_or_default();
                return Ok(());
            }
            if begun.elapsed() > READY {
                return Err(failed(format!("there are {vms} VMs, those of the case before among them")));
            }
            self.look(case)?;
            self.wait(case, LOOK);
        }
    }

    /// What the service has to say by now is said.
    pub(super) fn deliver(&self, case: &Case) {
        let approval = locked(&self.approvals).get(&case.authority()).cloned();
        approval.iter().for_each(|approval| approval.deliver());
    }

    /// Looks at what nobody tells of: whether it runs, metrics and logs.
    pub(super) fn look(&mut self, case: &Case) -> Result<(), Trouble> {
        self.check()?;
        if let Some(mut metrics) = self.block_on(admin::metrics(self.admin)) {
            for (name, value) in &mut metrics {
                *value -= self.before.get(name).filter(|_| !admin::is_set(name)).copied().unwrap_or_default();
            }
            case.watch.learn(metrics);
        }
        for line in self.access.lines() {
            let Ok(entry) = serde_json::from_str::<Value>(&line) else { continue };
            let text = |name: &str| entry.get(name).and_then(Value::as_str);
            if let Some((case, handle)) = text("client").and_then(|client| find(&self.clients, client)) {
                let decision = text("decision").filter(|word| *word != "-").map(str::to_owned);
                case.watch.happen(|state| {
                    if let Some(request) = state.request(handle) {
                        request.decision = decision;
                    }
                });
            }
        }
        // `[warning][wasm] wasm log NAME ROOT VM: TEXT`; of root contexts without the name.
        let vm = format!(" {}", case.vm());
        for line in self.log.lines() {
            let Some((level, (whose, text))) =
                line.split_once(" wasm log ").and_then(|(level, rest)| Some((level, rest.split_once(": ")?)))
            else {
                continue;
            };
            if whose.ends_with(&vm) {
                let told = !["[trace]", "[debug]", "[info]"].iter().any(|low| level.starts_with(low));
                case.watch.log(text, told);
            }
        }
        Ok(())
    }

    pub(super) fn check(&mut self) -> Result<(), Trouble> {
        self.process.as_mut().map_or(Ok(()), |process| process.check(self.folder.path()))
    }

    pub(super) fn wait(&self, case: &Case, most: Duration) {
        self.block_on(case.watch.changed(most));
    }

    pub(super) fn block_on<F: Future<Output: Default>>(&self, future: F) -> F::Output {
        self.runtime.as_ref().map(|runtime| runtime.block_on(future)).unwrap_or_default()
    }

    pub(super) fn runtime(&self) -> Result<&Runtime, Trouble> {
        self.runtime.as_ref().ok_or_else(|| failed("it has ended"))
    }

    pub(super) fn clients(&self) -> &Clients {
        &self.clients
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        self.process = None;
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Case {
    fn vm(&self) -> String {
        format!("holdgate-{}", self.number)
    }

    fn authority(&self) -> String {
        format!("case-{}.{AUTHORITY}", self.number)
    }
}

/// Whose request comes from an address, as Envoy writes it.
pub(super) fn find(clients: &Clients, address: &str) -> Option<(Arc<Case>, Handle)> {
    let (_, port) = address.rsplit_once(':')?;
    locked(clients).get(&port.parse().ok()?).cloned()
}

fn filter_file(folder: &Path) -> PathBuf {
    folder.join("holdgate.json")
}

fn configuration_file(folder: &Path) -> PathBuf {
    folder.join("envoy.json")
}

pub(super) fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
