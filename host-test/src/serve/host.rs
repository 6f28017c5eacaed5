//! The native host in real time: one thread has the gateway, and everybody else asks it.

use std::{
    collections::{HashMap, HashSet},
    io::BufRead as _,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use holdgate_authoring::cases::ServiceCall;
use holdgate_host::{
    Answer, Callout, Exchange, Filter, Gateway, HostError, Message, Options, Reply, Request, StreamId, UpstreamAnswer,
    cases::{
        configuration,
        driver::CREDENTIAL,
        merge,
        service::{Call, CallId, Delivery, Service, Taken},
    },
    clock,
};
use holdgate_protocol::gateway::HoldState;
use serde_json::json;
use tokio::sync::{mpsc::UnboundedSender, oneshot};

use super::{front, shown::say};
use crate::{failure::Failure, output::printable};

/// The longest that the thread sleeps.
const ROUND: Duration = Duration::from_millis(20);

/// How long the filter may take until it decides.
const READY: Duration = Duration::from_secs(10);

/// The most that is delivered at one moment.
const MOST_AT_ONCE: usize = 1_000;

/// Who decides what is held.
#[derive(Clone, Copy)]
pub(super) enum Reviewer {
    Approves(Duration),
    Denies(Duration),
    /// A person at the terminal.
    Asks,
}

/// What the thread is asked to do.
pub(super) enum Asked {
    /// To carry a request. Where nobody waits for the answer any more, the agent has hung up.
    Carry { request: Request, answer: oneshot::Sender<Exchange> },
    /// To take the upstream's answer.
    Upstream(StreamId, UpstreamAnswer),
    /// To publish the bytes of a bundle.
    Rules(Vec<u8>),
    /// To decide a hold: this one, or the oldest.
    Decide { hold: Option<String>, approve: bool },
}

/// The gateway with the scripted approval service.
pub(super) struct Host {
    gateway: Gateway,
    service: Arc<Mutex<Service>>,
    /// Callouts that the service has taken and not answered.
    open: Arc<Mutex<HashMap<CallId, Callout>>>,
    reviewer: Reviewer,
    /// Holds that were told of, and when.
    told: HashMap<String, Instant>,
    decided: HashSet<String>,
    carried: Vec<Carried>,
    /// `None`: the upstream is built in.
    forward: Option<UnboundedSender<(StreamId, Message)>>,
    asked: Receiver<Asked>,
    begun: Instant,
}

struct Carried {
    id: StreamId,
    line: String,
    since: Instant,
    /// The upstream has been asked.
    sent: bool,
    answer: oneshot::Sender<Exchange>,
}

impl Host {
    /// Starts the thread, and returns when the filter decides.
    pub(super) fn start(
        filter: Filter,
        bundle: Vec<u8>,
        reviewer: Reviewer,
        forward: Option<UnboundedSender<(StreamId, Message)>>,
    ) -> Result<Sender<Asked>, Failure> {
        let (asks, asked) = channel();
        let (ready, is_ready) = channel();
        // The gateway does not leave the thread in which it is made.
        thread::spawn(move || match Host::new(&filter, &bundle, reviewer, forward, asked) {
            Ok(mut host) => {
                let _waited_for = ready.send(host.until_ready());
                host.run();
            }
            Err(failure) => drop(ready.send(Err(failure))),
        });
        is_ready.recv().unwrap_or(Err(Failure::NotReady(String::new())))?;
        Ok(asks)
    }

    fn new(
        filter: &Filter,
        bundle: &[u8],
        reviewer: Reviewer,
        forward: Option<UnboundedSender<(StreamId, Message)>>,
        asked: Receiver<Asked>,
    ) -> Result<Self, Failure> {
        let mut configuration = configuration::usual();
        merge::merge(&mut configuration, json!({"mcp": {"paths": ["/mcp"]}}));
        let options = Options {
            configuration: configuration.to_string().into_bytes(),
            environment: vec![("HOLDGATE_GATEWAY_CREDENTIAL".to_owned(), CREDENTIAL.to_owned())],
            time: clock::now() * 1_000_000,
            buffer_limit: 2 * 1024 * 1024,
            ..Options::default()
        };
        let mut service = Service::new();
        service.publish(clock::now(), bundle).map_err(Failure::NotReady)?;
        let service = Arc::new(Mutex::new(service));
        let open = Arc::new(Mutex::new(HashMap::new()));
        let mut gateway = Gateway::start(filter, options).map_err(|error: HostError| Failure::Filter(error))?;
        let (taking, waiting) = (service.clone(), open.clone());
        gateway.on_call(move |callout, now| take(&taking, &waiting, callout, now));
        let (told, decided, carried) = (HashMap::new(), HashSet::new(), Vec::new());
        let begun = Instant::now();
        Ok(Host { gateway, service, open, reviewer, told, decided, carried, forward, asked, begun })
    }

    /// The filter has its snapshot and a policy once it asks for news.
    fn until_ready(&mut self) -> Result<(), Failure> {
        let begun = Instant::now();
        while begun.elapsed() < READY {
            self.round();
            let asks = |kind| locked(&self.service).arrived().iter().any(|call| call.call == kind);
            if asks(ServiceCall::Feed)
                && asks(ServiceCall::Bundles)
                && locked(&self.service).due(clock::now()).is_empty()
            {
                return Ok(());
            }
            thread::park_timeout(Duration::from_millis(2));
        }
        let logs: Vec<String> = self.gateway.take_logs().into_iter().map(|log| log.text).collect();
        Err(Failure::NotReady(logs.join("; ")))
    }

    fn run(mut self) {
        loop {
            let now = clock::now() * 1_000_000;
            let next = self.gateway.next().map_or(ROUND, |at| Duration::from_nanos(at.saturating_sub(now)));
            match self.asked.recv_timeout(next.min(ROUND)) {
                Ok(asked) => self.take(asked),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.round();
        }
    }

    fn take(&mut self, asked: Asked) {
        self.catch_up();
        match asked {
            Asked::Carry { request, answer } => {
                let of = |name: &str| {
                    let value = holdgate_host::value(&request.headers, name).unwrap_or_default();
                    String::from_utf8_lossy(value).into_owned()
                };
                let line = printable(&format!("{} {}", of(":method"), of(":path")));
                let id = self.gateway.send(&request);
                self.carried.push(Carried { id, line, since: Instant::now(), sent: false, answer });
            }
            Asked::Upstream(id, answer) => self.gateway.upstream(id, answer),
            Asked::Rules(bytes) => {
                if let Err(why) = locked(&self.service).publish(clock::now(), &bytes) {
                    say(&format!("the rules are not published: {why}"));
                }
            }
            Asked::Decide { hold, approve } => {
                let pending = |id: &str| {
                    let service = locked(&self.service);
                    let mut holds = service.holds().filter(|hold| hold.state == HoldState::Pending);
                    holds.find(|hold| id.is_empty() || hold.id == id).map(|hold| hold.id.clone())
                };
                match pending(hold.as_deref().unwrap_or_default()) {
                    Some(id) => self.decide(&id, approve),
                    None => say("nothing is held that this could decide"),
                }
            }
        }
    }

    /// Virtual time becomes what time it is.
    fn catch_up(&mut self) {
        let now = clock::now() * 1_000_000;
        let behind = now.saturating_sub(self.gateway.now());
        self.gateway.advance(Duration::from_nanos(behind));
    }

    /// Lets happen what is due.
    fn round(&mut self) {
        self.catch_up();
        self.review();
        for _ in 0..MOST_AT_ONCE {
            self.forget_cancelled();
            let due = locked(&self.service).due(clock::now());
            if due.is_empty() {
                break;
            }
            for (id, delivery) in due {
                let answer = match delivery {
                    Delivery::Answer { status, body } => Answer::new(status, body),
                    Delivery::Reset => Answer::default(),
                };
                // The filter makes further calls while it is told: nothing is locked then.
                let callout = locked(&self.open).remove(&id);
                if let Some(callout) = callout {
                    // What the proxy has given up on is not told of any more.
                    let _told = self.gateway.answer(&callout, answer);
                }
            }
            self.gateway.settle();
        }
        for carried in std::mem::take(&mut self.carried) {
            self.look_after(carried);
        }
        for log in self.gateway.take_logs().into_iter().filter(|log| log.level >= 3) {
            self.tell(&format!("the filter says: {}", log.text));
        }
    }

    /// Calls whose stream has ended, or whose time is over, are awaited by nobody.
    fn forget_cancelled(&mut self) {
        let still: HashSet<(usize, u32)> =
            self.gateway.callouts().iter().map(|callout| (callout.worker, callout.token)).collect();
        let mut service = locked(&self.service);
        locked(&self.open).retain(|id, callout| {
            let waits = still.contains(&(callout.worker, callout.token));
            if !waits {
                service.forget(*id);
            }
            waits
        });
    }

    fn look_after(&mut self, mut carried: Carried) {
        let id = carried.id;
        if carried.answer.is_closed() {
            self.tell(&format!("{}: the agent has hung up", carried.line));
            self.gateway.hang_up(id);
            let _over = self.gateway.take(id);
            return;
        }
        let exchange = self.gateway.exchange(id);
        if exchange.upstream.complete && !carried.sent {
            carried.sent = true;
            match &self.forward {
                Some(forward) => drop(forward.send((id, exchange.upstream.clone()))),
                None => self.gateway.upstream(id, front::echo(&exchange.upstream)),
            }
        }
        let exchange = self.gateway.exchange(id);
        if !exchange.client.complete && !exchange.over {
            return self.carried.push(carried);
        }
        self.tell(&told(&carried, &exchange));
        let _over = self.gateway.take(id);
        let _gone = carried.answer.send(exchange);
    }

    /// Tells of new holds, and decides those whose time has come.
    fn review(&mut self) {
        let holds: Vec<(String, String)> = {
            let service = locked(&self.service);
            let pending = service.holds().filter(|hold| hold.state == HoldState::Pending);
            let line = |hold: &holdgate_host::cases::service::Opened| {
                let request = &hold.asked.request;
                let query = request.query.as_deref().unwrap_or_default();
                printable(&format!("{} {}{query}", request.method, request.path))
            };
            pending.map(|hold| (hold.id.clone(), line(hold))).collect()
        };
        for (id, line) in holds {
            let Some(since) = self.told.get(&id).map(Instant::elapsed) else {
                self.tell(&format!("{line}: held as {id}"));
                self.told.insert(id, Instant::now());
                continue;
            };
            match self.reviewer {
                Reviewer::Approves(after) if since >= after => self.decide(&id, true),
                Reviewer::Denies(after) if since >= after => self.decide(&id, false),
                _ => {}
            }
        }
    }

    fn decide(&mut self, hold: &str, approve: bool) {
        if self.decided.insert(hold.to_owned()) {
            self.tell(&format!("{hold} is {}", if approve { "approved" } else { "denied" }));
        }
        let state = if approve { HoldState::Approved } else { HoldState::Denied };
        locked(&self.service).decide(clock::now(), hold, state, None);
    }

    fn tell(&self, text: &str) {
        say(&format!("{:8.3} {text}", self.begun.elapsed().as_secs_f64()));
    }
}

/// Reads what the person at the terminal decides, line by line.
pub(super) fn read_decisions(asks: &Sender<Asked>) {
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let mut words = line.split_whitespace();
        let approve = match words.next() {
            Some("y" | "yes") => true,
            Some("n" | "no") => false,
            _ => {
                say("`y` approves, `n` denies; a hold may be named behind it");
                continue;
            }
        };
        if asks.send(Asked::Decide { hold: words.next().map(str::to_owned), approve }).is_err() {
            return;
        }
    }
}

/// One line for a request that has come to its end.
fn told(carried: &Carried, exchange: &Exchange) -> String {
    let word = |name: &str| exchange.property(name).map(|word| String::from_utf8_lossy(word).into_owned());
    let decision = word("holdgate.decision").unwrap_or_else(|| "no decision".to_owned());
    let rule = word("holdgate.rule").map(|rule| format!(" by {rule}")).unwrap_or_default();
    let who = if carried.sent { "from the upstream" } else { "from the gateway" };
    let status = exchange.status().map_or("reset".to_owned(), |status| status.to_string());
    let took = carried.since.elapsed().as_secs_f64();
    format!("{}: {decision}{rule}; {status} {who} after {took:.3} s", carried.line)
}

/// A callout goes to the service.
fn take(service: &Mutex<Service>, open: &Mutex<HashMap<CallId, Callout>>, callout: &Callout, now: u64) -> Reply {
    let call = Call {
        method: callout.method().to_owned(),
        path: callout.path().to_owned(),
        authorization: Some(callout.header("authorization").to_owned()),
        body: callout.body.clone(),
    };
    match locked(service).take(now / 1_000_000, call) {
        Taken::Refused => Reply::Refuse(10),
        Taken::Call(id) => {
            locked(open).insert(id, callout.clone());
            Reply::Open
        }
    }
}

fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
