//! What the workers of a proxy share: clock, shared data, queues, metrics, logs, and the record of what happened.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap, VecDeque},
};

use crate::{
    callout::{Answer, Callout, Reply},
    fault::Faults,
    finding::Finding,
    message::{Exchange, UpstreamAnswer},
    metrics::Metrics,
    profile::Profile,
    stream::StreamId,
    trace::Trace,
};

/// Answers the filter's callouts; it is given the time in Unix nanoseconds.
pub(crate) type Service = Box<dyn FnMut(&Callout, u64) -> Reply + Send>;

/// Plays the upstream for a request that has come whole, or whose headers have.
pub(crate) type Upstream = Box<dyn FnMut(&Exchange) -> UpstreamAnswer + Send>;

/// A function of the host beyond the ABI; `None` is a call that fails.
pub(crate) type Foreign = Box<dyn FnMut(&[u8]) -> Option<Vec<u8>> + Send>;

/// A line that the filter logged; level 2 is info, 3 a warning, 4 an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub level: u32,
    pub text: String,
}

/// One entry into the filter and what it cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callback {
    pub name: &'static str,
    /// About one unit for each WebAssembly instruction; copying or filling memory is one, whatever its length.
    pub fuel: u64,
    /// Host calls by name.
    pub calls: BTreeMap<&'static str, u64>,
}

/// What is to happen at a time.
#[derive(Debug)]
pub(crate) enum Event {
    Tick {
        worker: usize,
        vm: u64,
        root: u32,
        period: u32,
    },
    Answer {
        worker: usize,
        vm: u64,
        token: u32,
        answer: Answer,
        last: bool,
    },
    Queue {
        worker: usize,
        vm: u64,
        root: u32,
        queue: u32,
    },
    Upstream {
        stream: StreamId,
        answer: UpstreamAnswer,
    },
    /// A stream whose VM has failed has been idle for too long.
    Idle(StreamId),
}

/// An event in its place: by time, then in the order in which events were made.
#[derive(Debug)]
struct Planned {
    at: u64,
    number: u64,
    event: Event,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// A queue of messages; whoever registered its name last is told of them.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub(crate) name: Vec<u8>,
    pub(crate) owner: Option<(usize, u64, u32)>,
    pub(crate) messages: VecDeque<Vec<u8>>,
}

pub(crate) struct Proxy {
    pub(crate) profile: Profile,
    pub(crate) configuration: Vec<u8>,
    pub(crate) vm_configuration: Vec<u8>,
    pub(crate) environment: Vec<(String, String)>,
    /// Unix nanoseconds.
    pub(crate) now: u64,
    pub(crate) service: Option<Service>,
    pub(crate) upstream: Option<Upstream>,
    pub(crate) foreign: HashMap<String, Foreign>,
    /// Values that workers share, with their versions.
    pub(crate) shared: HashMap<Vec<u8>, (Vec<u8>, u32)>,
    pub(crate) queues: Vec<Queue>,
    pub(crate) metrics: Metrics,
    pub(crate) logs: Vec<Log>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) faults: Faults,
    pub(crate) trace: Option<Trace>,
    /// The cost of each callback, where it is asked for.
    pub(crate) costs: Option<Vec<Callback>>,
    pub(crate) finished: HashMap<StreamId, Exchange>,
    pub(crate) just_finished: Vec<StreamId>,
    /// Streams whose VM has failed, and which nothing has touched since.
    pub(crate) lost: HashMap<StreamId, Exchange>,
    /// Nanoseconds after which a stream that nothing touches is ended.
    pub(crate) idle: u64,
    /// Callouts that nobody waits for any more, by worker and token, since this was asked last.
    pub(crate) gone: Vec<(usize, u32)>,
    /// Streams of which something new can be seen since this was asked last.
    pub(crate) touched: Vec<StreamId>,
    events: BinaryHeap<Reverse<Planned>>,
    planned: u64,
    pub(crate) seed: u64,
    pub(crate) buffer_limit: usize,
    /// Rises with everything that can be seen from outside.
    pub(crate) progress: u64,
}

impl Proxy {
    pub(crate) fn new(profile: Profile) -> Self {
        Proxy {
            profile,
            configuration: Vec::new(),
            vm_configuration: Vec::new(),
            environment: Vec::new(),
            now: 0,
            service: None,
            upstream: None,
            foreign: HashMap::new(),
            shared: HashMap::new(),
            queues: Vec::new(),
            metrics: Metrics::default(),
            logs: Vec::new(),
            findings: Vec::new(),
            faults: Faults::default(),
            trace: None,
            costs: None,
            finished: HashMap::new(),
            just_finished: Vec::new(),
            lost: HashMap::new(),
            idle: u64::MAX,
            gone: Vec::new(),
            touched: Vec::new(),
            events: BinaryHeap::new(),
            planned: 0,
            seed: 0,
            buffer_limit: usize::MAX,
            progress: 0,
        }
    }

    /// Plans an event so many nanoseconds from now.
    pub(crate) fn plan(&mut self, after: u64, event: Event) {
        self.planned += 1;
        let at = self.now.saturating_add(after);
        self.events.push(Reverse(Planned { at, number: self.planned, event }));
    }

    /// The next event up to a time, and the time that it is then.
    pub(crate) fn next_event(&mut self, until: u64) -> Option<Event> {
        self.events.peek().filter(|Reverse(planned)| planned.at <= until)?;
        let Reverse(planned) = self.events.pop()?;
        self.now = self.now.max(planned.at);
        Some(planned.event)
    }

    /// When the next event is, if there is one.
    pub(crate) fn next_time(&self) -> Option<u64> {
        self.events.peek().map(|Reverse(planned)| planned.at)
    }

    /// The process ends: what workers shared is gone, and so is what was planned.
    pub(crate) fn forget(&mut self) {
        self.shared.clear();
        self.queues.clear();
        self.metrics = Metrics::default();
        self.events.clear();
    }

    /// Keeps what became of a stream that is over.
    pub(crate) fn finish(&mut self, id: StreamId, exchange: Exchange) {
        self.progress += 1;
        self.touched.push(id);
        self.finished.insert(id, exchange);
        self.just_finished.push(id);
    }

    pub(crate) fn find(&mut self, worker: usize, callback: &'static str, what: String, fatal: bool) {
        let finding = Finding { at: self.now, worker, callback, what, fatal };
        if let Some(trace) = &mut self.trace {
            trace.note(self.now, worker, &format!("!! {}", finding.what));
        }
        self.findings.push(finding);
    }
}
