//! The harness as a driver: the compiled filter on the native host, in virtual time.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc::Sender},
    time::Duration,
};

use holdgate_authoring::cases::{Chunks, Restart, ServiceCall, UpstreamBehaviour, Version};
use serde_json::{Value, json};

use super::{
    driver::{
        CLUSTER, CREDENTIAL, Driver, Got, Handle, Observed, ObservedRequest, Reply, Sending, Setup, SharedService,
        TraceLine, Trouble,
    },
    service::{Call, CallId, Delivery, Taken},
};
use crate::{
    Answer, AnsweredBy, Callback, Callout, Exchange, Fault, Filter, Finding, Gateway, Options, Pairs, Profile,
    Reply as CallReply, Request, StreamId, UpstreamAnswer,
};

/// Milliseconds in nanoseconds.
const MILLISECOND: u64 = 1_000_000;

/// How long the filter may take until it decides, in milliseconds.
const READY: u64 = 10_000;

/// The most things that happen at one moment; more are a loop without an end.
const MOST_AT_ONCE: usize = 100_000;

/// How long a proxy goes on after its last request, in milliseconds.
const LAST: u64 = 2_000;

/// Callouts that the service has taken and not answered.
#[derive(Default)]
struct Calls {
    /// By the service's names for them.
    callouts: HashMap<CallId, Callout>,
    /// The service's names, by worker and token.
    by_token: HashMap<(usize, u32), CallId>,
}

type Open = Arc<Mutex<Calls>>;

/// What the harness adds to a case.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    pub profile: Profile,
    pub faults: Vec<Fault>,
    /// No trace is kept.
    pub quiet: bool,
    /// Who is told, when the case is over, what it came to.
    pub account: Option<Sender<Account>>,
}

/// What a case came to, beyond what can be seen from outside. All requests have ended by then.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Account {
    /// What could be seen before the last clients hung up.
    pub observed: Observed,
    /// The first callback of all first.
    pub costs: Vec<Callback>,
    /// How often each host call was made, by name.
    pub calls: BTreeMap<&'static str, u64>,
    /// Bytes of the memory of all VMs: it grows and never shrinks.
    pub memory: usize,
    pub findings: Vec<Finding>,
    /// Requests that did not end when their clients hung up.
    pub left: usize,
    pub metrics: BTreeMap<String, u64>,
}

/// A gateway with the compiled filter in it.
pub struct Harness {
    gateway: Gateway,
    service: SharedService,
    open: Open,
    upstream: Arc<Mutex<UpstreamBehaviour>>,
    sent: Vec<Sent>,
    handles: HashMap<StreamId, Handle>,
    /// Requests that have not come whole.
    coming: Vec<Handle>,
    observed: Observed,
    /// Lines of the log that were looked at.
    logged: usize,
    /// Calls whose first answer was told of, for the second one.
    answered: HashMap<CallId, Callout>,
    configuration: Value,
    workers: usize,
    trace: Vec<TraceLine>,
    account: Option<Sender<Account>>,
}

struct Sent {
    id: StreamId,
    gone: bool,
    /// The pieces that are still to come, the last one first, and when the next one does, in Unix milliseconds.
    pieces: Vec<Vec<u8>>,
    due: u64,
    pause: u64,
    trailers: Option<Pairs>,
}

impl Harness {
    /// Starts a proxy around the filter.
    pub fn start(filter: &Filter, setup: Setup, conditions: Conditions) -> Result<Self, Trouble> {
        let Setup { mut configuration, workers, time, service, upstream, ready, .. } = setup;
        if conditions.profile == Profile::NgxWasm && configuration.get("host").is_none() {
            super::merge::merge(&mut configuration, json!({"host": "ngx-wasm"}));
        }
        let nginx = configuration.get("host").and_then(Value::as_str) == Some("ngx-wasm");
        let options = Options {
            profile: conditions.profile,
            configuration: configuration.to_string().into_bytes(),
            vm_configuration: if nginx { CREDENTIAL.into() } else { Vec::new() },
            environment: vec![("HOLDGATE_GATEWAY_CREDENTIAL".to_owned(), CREDENTIAL.to_owned())],
            workers: workers.max(1),
            time: time * MILLISECOND,
            buffer_limit: 2 * 1024 * 1024,
            closed_if_refused: true,
            trace: conditions.account.is_none() && !conditions.quiet,
            faults: conditions.faults,
            costs: conditions.account.is_some(),
            ..Options::default()
        };
        let (workers, open) = (options.workers, Open::default());
        let mut gateway = Gateway::start(filter, options).map_err(|error| Trouble::Failed(error.to_string()))?;
        gateway.count_calls();
        let (asked, waiting) = (service.clone(), open.clone());
        gateway.on_call(move |callout, now| take(&asked, &waiting, callout, now));
        let upstream = Arc::new(Mutex::new(upstream));
        let behaviour = upstream.clone();
        gateway.on_upstream(move |_| answer_of(&locked(&behaviour)));
        let mut harness = Harness {
            gateway,
            service,
            open,
            upstream,
            sent: Vec::new(),
            handles: HashMap::new(),
            coming: Vec::new(),
            observed: Observed::default(),
            logged: 0,
            answered: HashMap::new(),
            configuration,
            workers,
            trace: Vec::new(),
            account: conditions.account,
        };
        if ready {
            harness.until_ready()?;
        }
        Ok(harness)
    }

    /// The gateway, for what no driver can tell.
    pub fn gateway(&mut self) -> &mut Gateway {
        &mut self.gateway
    }

    /// Every worker has asked for news, which it does once it has its snapshot; and there is a policy.
    fn until_ready(&mut self) -> Result<(), Trouble> {
        let end = self.now() + READY;
        while self.now() < end {
            self.settle()?;
            let arrived = |kind| locked(&self.service).arrived().iter().filter(|call| call.call == kind).count();
            let governed = self.configuration.get("bundle").is_some() || arrived(ServiceCall::Bundles) >= self.workers;
            if arrived(ServiceCall::Feed) >= self.workers && governed {
                return self.settle();
            }
            self.step(end)?;
        }
        let logs: Vec<&str> = self.gateway.logs().iter().map(|log| log.text.as_str()).collect();
        Err(Trouble::Failed(format!("the filter decides nothing after ten seconds; {}", logs.join("; "))))
    }

    /// Does what is due at this moment, until nothing is.
    fn settle(&mut self) -> Result<(), Trouble> {
        for _ in 0..MOST_AT_ONCE {
            self.gateway.settle();
            self.forget_cancelled();
            let now = self.now();
            let due = locked(&self.service).due(now);
            let is_due = |handle: &Handle| self.sent.get(*handle).is_some_and(|sent| sent.due <= now);
            let piece = self.coming.iter().copied().find(is_due);
            if due.is_empty() && piece.is_none() {
                return Ok(());
            }
            for (id, delivery) in due {
                self.deliver(id, delivery);
            }
            if let Some(handle) = piece {
                self.piece(handle);
            }
        }
        Err(Trouble::Failed("the filter and the service call one another without end".to_owned()))
    }

    fn deliver(&mut self, id: CallId, delivery: Delivery) {
        let answer = match delivery {
            Delivery::Answer { status, body } => Answer::new(status, body),
            Delivery::Reset => Answer::default(),
        };
        let callout = locked(&self.open).callouts.remove(&id);
        match callout {
            Some(callout) => {
                locked(&self.open).by_token.remove(&(callout.worker, callout.token));
                // What the proxy has given up on is not told of any more.
                let _told = self.gateway.answer(&callout, answer);
                self.answered.insert(id, callout);
            }
            None => {
                if let Some(callout) = self.answered.remove(&id) {
                    self.gateway.answer_again(&callout, answer);
                }
            }
        }
        self.gateway.settle();
    }

    /// Calls whose stream has ended, or whose time is over, are awaited by nobody.
    fn forget_cancelled(&mut self) {
        for (worker, token) in self.gateway.take_gone() {
            let id = locked(&self.open).by_token.remove(&(worker, token));
            if let Some(id) = id {
                locked(&self.open).callouts.remove(&id);
                locked(&self.service).forget(id);
            }
        }
    }

    fn piece(&mut self, handle: Handle) {
        let now = self.now();
        let Some(sent) = self.sent.get_mut(handle) else { return };
        let (id, piece) = (sent.id, sent.pieces.pop());
        sent.due = now + sent.pause;
        let last = sent.pieces.is_empty();
        let trailers = if last { sent.trailers.take() } else { None };
        if let Some(piece) = piece {
            self.gateway.data(id, &piece, last && trailers.is_none());
        }
        if let Some(trailers) = trailers {
            self.gateway.trailers(id, trailers);
        }
        if last {
            self.coming.retain(|other| *other != handle);
        }
    }

    /// Lets time pass to the next moment at which something happens, and to the limit at most, in Unix milliseconds.
    fn step(&mut self, limit: u64) -> Result<(), Trouble> {
        let due = |handle: &Handle| self.sent.get(*handle).map(|sent| sent.due * MILLISECOND);
        let pieces = self.coming.iter().filter_map(due).min();
        let service = locked(&self.service).next().map(|at| at * MILLISECOND);
        let next = [self.gateway.next(), pieces, service].into_iter().flatten().min();
        let (now, limit) = (self.gateway.now(), limit * MILLISECOND);
        let next = next.unwrap_or(limit).clamp(now + 1, limit.max(now + 1));
        self.gateway.advance(Duration::from_nanos(next - now));
        self.settle()
    }

    /// Brings what can be seen up to date, where something has changed.
    fn look(&mut self) {
        for id in self.gateway.take_touched() {
            if let Some(handle) = self.handles.get(&id).copied() {
                self.look_at(handle);
            }
        }
        let metrics = self.gateway.metrics().into_iter().map(|(name, value)| (name, value.cast_signed()));
        self.observed.metrics = metrics.collect();
        let new = self.gateway.logs().iter().skip(self.logged).filter(|log| log.level >= 3);
        self.observed.logs.extend(new.map(|log| log.text.clone()));
        self.logged = self.gateway.logs().len();
    }

    fn look_at(&mut self, handle: Handle) {
        let seen = self.observed_request(handle);
        if let Some(place) = self.observed.requests.get_mut(handle) {
            *place = seen;
        }
    }

    fn observed_request(&mut self, handle: Handle) -> ObservedRequest {
        let Some(Sent { id, gone, .. }) = self.sent.get(handle) else { return ObservedRequest::default() };
        let (id, gone) = (*id, *gone);
        let exchange = self.gateway.exchange(id);
        let client = Some(&exchange.client).filter(|client| client.complete);
        ObservedRequest {
            upstream: got(&exchange),
            reply: client.map(|client| Reply {
                status: client.status().unwrap_or_default(),
                headers: fields(client.headers.as_ref()),
                body: client.body.clone(),
            }),
            by_gateway: match exchange.answered_by {
                Some(AnsweredBy::Filter) => true,
                // Where the upstream was asked, the proxy answers for it.
                Some(AnsweredBy::Proxy) => exchange.upstream.headers.is_none(),
                Some(AnsweredBy::Upstream) | None => false,
            },
            reset: exchange.reset && !gone,
            gone,
            decision: exchange.property("holdgate.decision").map(text),
        }
    }
}

impl Driver for Harness {
    fn now(&self) -> u64 {
        self.gateway.now() / MILLISECOND
    }

    fn send(&mut self, request: Sending) -> Result<Handle, Trouble> {
        let worker = request.worker.unwrap_or(0);
        if worker >= self.workers {
            let (number, count) = (worker + 1, self.workers);
            return Err(Trouble::CannotPlay(format!("there is no worker {number}; the case has `workers: {count}`")));
        }
        let mut pieces: Vec<Vec<u8>> = request.pieces().into_iter().map(<[u8]>::to_vec).collect();
        pieces.reverse();
        let trailers = Some(&request.trailers).filter(|trailers| !trailers.is_empty()).cloned();
        let end = pieces.is_empty() && trailers.is_none();
        let now = self.now();
        let id = self.gateway.open(worker, &head(&request), end);
        let pause = u64::try_from(request.pause.as_millis()).unwrap_or(u64::MAX);
        self.sent.push(Sent { id, gone: false, pieces, due: now, pause, trailers });
        let handle = self.sent.len() - 1;
        self.handles.insert(id, handle);
        if !end {
            self.coming.push(handle);
        }
        self.observed.requests.push(ObservedRequest::default());
        self.look_at(handle);
        self.settle()?;
        Ok(handle)
    }

    fn hang_up(&mut self, request: Handle) -> Result<(), Trouble> {
        let Some(sent) = self.sent.get_mut(request) else { return Ok(()) };
        let id = sent.id;
        if !self.gateway.exchange(id).over {
            sent.gone = true;
            self.coming.retain(|other| *other != request);
            self.gateway.hang_up(id);
        }
        self.look_at(request);
        self.settle()
    }

    fn pass(&mut self, limit: Duration, done: &mut dyn FnMut(&Observed) -> bool) -> Result<bool, Trouble> {
        let end = self.now().saturating_add(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
        self.settle()?;
        let mut seen = None;
        loop {
            // Most of what happens as time passes is a tick in which nothing does.
            let marks = Some(self.gateway.progress());
            if seen != marks {
                seen = marks;
                self.look();
                if done(&self.observed) {
                    return Ok(true);
                }
            }
            if self.now() >= end {
                return Ok(false);
            }
            self.step(end)?;
        }
    }

    fn upstream(&mut self, behaviour: &UpstreamBehaviour) -> Result<(), Trouble> {
        locked(&self.upstream).clone_from(behaviour);
        Ok(())
    }

    fn reconfigure(&mut self, configuration: &Value) -> Result<(), Trouble> {
        let mut configuration = configuration.clone();
        // What the host asks for stays.
        if let (Some(host), None) = (self.configuration.get("host"), configuration.get("host")) {
            super::merge::merge(&mut configuration, json!({"host": host}));
        }
        if self.gateway.configure(configuration.to_string().into_bytes()).is_ok() {
            self.configuration = configuration;
        }
        self.settle()
    }

    fn restart(&mut self, what: Restart) -> Result<(), Trouble> {
        let restarted = match what {
            Restart::Worker(number) => self.gateway.restart_worker(number.saturating_sub(1)),
            Restart::Proxy => self.gateway.restart(),
        };
        restarted.map_err(|error| Trouble::Failed(error.to_string()))?;
        self.settle()
    }

    fn observe(&mut self) -> Observed {
        self.look();
        self.observed.clone()
    }

    fn findings(&mut self) -> Vec<String> {
        self.gateway.findings().iter().map(ToString::to_string).collect()
    }

    fn trace(&mut self) -> Vec<TraceLine> {
        let start = self.trace.len();
        let new = self.gateway.trace().get(start..).unwrap_or_default();
        let lines = new.iter().map(|line| TraceLine { at: line.at / MILLISECOND, text: line.text.clone() });
        self.trace.extend(lines);
        self.trace.clone()
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        let Some(account) = self.account.take() else { return };
        let observed = self.observe();
        for handle in 0..self.sent.len() {
            let _settled = self.hang_up(handle);
        }
        // What was told of the end of requests goes out, and metrics are brought up to date.
        let end = self.now() + LAST;
        while self.now() < end && self.step(end).is_ok() {}
        let _heard = account.send(Account {
            observed,
            costs: self.gateway.take_costs(),
            calls: self.gateway.calls_made(),
            memory: self.gateway.memory(),
            findings: self.gateway.findings().to_vec(),
            left: self.gateway.open_streams(),
            metrics: self.gateway.metrics(),
        });
    }
}

/// A callout goes to the service.
fn take(service: &SharedService, open: &Open, callout: &Callout, now: u64) -> CallReply {
    if callout.cluster != CLUSTER {
        return CallReply::Refuse(2);
    }
    let call = Call {
        method: callout.method().to_owned(),
        path: callout.path().to_owned(),
        authorization: Some(callout.header("authorization")).filter(|value| !value.is_empty()).map(str::to_owned),
        body: callout.body.clone(),
    };
    match locked(service).take(now / MILLISECOND, call) {
        Taken::Refused => CallReply::Refuse(10),
        Taken::Call(id) => {
            let mut open = locked(open);
            open.by_token.insert((callout.worker, callout.token), id);
            open.callouts.insert(id, callout.clone());
            CallReply::Open
        }
    }
}

fn answer_of(behaviour: &UpstreamBehaviour) -> UpstreamAnswer {
    match behaviour {
        UpstreamBehaviour::Reset => UpstreamAnswer::Reset,
        UpstreamBehaviour::Never => UpstreamAnswer::Silence,
        UpstreamBehaviour::Answer(answer) => {
            let status = (b":status".to_vec(), answer.status.to_string().into_bytes());
            let length = (b"content-length".to_vec(), answer.body.len().to_string().into_bytes());
            let others = answer.headers.iter();
            let others =
                others.map(|(name, value)| (name.to_ascii_lowercase().into_bytes(), value.clone().into_bytes()));
            let headers = [status, length].into_iter().chain(others).collect();
            let body = if answer.body.is_empty() { Vec::new() } else { vec![answer.body.clone()] };
            UpstreamAnswer::Answer { headers, body, trailers: None, after: Duration::from_millis(answer.after) }
        }
    }
}

/// The head of a request as a proxy's codec hands it over.
fn head(sending: &Sending) -> Request {
    let pseudo = [
        (":authority", sending.host.as_str()),
        (":path", sending.target.as_str()),
        (":method", sending.method.as_str()),
        (":scheme", "http"),
    ];
    let mut headers = crate::pairs(pseudo);
    headers.extend(sending.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())));
    let has = |name: &[u8]| headers.iter().any(|(other, _)| other == name);
    let told = has(b"content-length") || has(b"transfer-encoding");
    let empty = sending.body.is_empty() && sending.trailers.is_empty();
    if !told && !empty {
        if sending.chunks == Chunks::Whole && sending.trailers.is_empty() {
            headers.extend(crate::pairs([("content-length", sending.body.len().to_string().as_str())]));
        } else if sending.version == Version::Http1 {
            headers.extend(crate::pairs([("transfer-encoding", "chunked")]));
        }
    }
    Request { headers, ..Request::default() }
}

fn got(exchange: &Exchange) -> Option<Got> {
    let message = &exchange.upstream;
    let headers = message.headers.as_ref()?;
    let pseudo = |name: &str| crate::value(headers, name).map(text).unwrap_or_default();
    Some(Got {
        method: pseudo(":method"),
        target: pseudo(":path"),
        headers: fields(Some(headers)),
        body: message.body.clone(),
        trailers: fields(message.trailers.as_ref()),
        complete: message.complete,
    })
}

fn fields(pairs: Option<&Pairs>) -> Vec<(String, Vec<u8>)> {
    let real = pairs.into_iter().flatten().filter(|(name, _)| !name.starts_with(b":"));
    real.map(|(name, value)| (text(name), value.clone())).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
