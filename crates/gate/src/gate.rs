//! The gate of one root context: every request that waits, the feed that wakes it, and the policy in force.
//!
//! Requests that are allowed or refused at once leave no trace here. A request that waits is a `Stream`: `arrive` takes
//! it to its verdict, `hold` from there to its end, `root` does what the timer and the root's answers bring.

mod arrive;
mod audit;
mod call;
mod common;
mod course;
mod end;
mod figures;
mod hold;
mod keys;
mod latest;
mod listing;
mod rates;
mod redeem;
mod root;
mod telling;
mod time;
mod told;
mod waiting;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    rc::Rc,
};

use holdgate_engine::{Checkpoint, Policy};
use holdgate_protocol::{
    Actor, Hash,
    gateway::{DetachedAttempt, HoldState, Outcome},
};

use common::Common;
use course::Telling;
use end::Ending;
use latest::Latest;
use rates::Rates;
use waiting::Waiting;

use crate::{
    Config, Head, Host, Permit, Reply,
    capture::Redactor,
    config::{AwaitBody, KeyPlace},
    identity::{Identities, Identity, IdentityFigures},
    mcp::Asker,
    preference::Preference,
};

pub use figures::{Change, Figure};

/// The host's number for a stream; never used twice by one VM.
pub type StreamId = u32;

/// The most streams that are answered in one VM entry: Envoy runs the replies one inside the other, and V8's stack ends at
/// about 300.
const MAX_REPLIES: usize = 64;

/// The most woken streams that are evaluated again in one VM entry.
const MAX_WOKEN: usize = 256;

/// Milliseconds for which feed items without a waiting stream are kept: a decision may come before the answer to its hold.
const NEWS_KEPT: u64 = 30_000;

/// The most such items; beyond that they are dropped, and a stream that needed one gets a ticket in the end.
const MAX_NEWS: usize = 65_536;

/// Milliseconds between two tries to reach the service from the root context.
const RETRY: u64 = 1_000;

/// Seconds by which the clocks of gateway and service may differ; beyond that nothing is held.
const MAX_SKEW: u64 = 120;

/// Milliseconds after which an agent may ask again after one of its tasks; it is told to wait longer than that.
const TASK_INTERVAL: u64 = 1_000;

/// Milliseconds that a long poll without news lasts at least; a service that answers sooner does not wait.
const MIN_POLL: u64 = 500;

/// Bytes of the names of header fields that an approval covers, at most: a grant repeats them.
const MAX_NAMES: usize = 4_096;

/// Tries to take a number among the gates of a proxy. Each one that fails means that another gate took one.
const NUMBERING: usize = 32;

/// Bytes by which `max_agent_bytes` may be passed by requests of one agent whose bodies were let go of.
const AGENT_BODILESS_ROOM: usize = 1024 * 1024;

/// The most tasks whose last question is remembered.
const MAX_ASKED: usize = 4_096;

/// Milliseconds until the clocks are compared again: while they disagree, and otherwise.
const SKEWED_AGAIN: u64 = 5_000;
const COMPARE_AGAIN: u64 = 300_000;

/// What a held request costs beside its body and its head, in bytes.
const HELD_OVERHEAD: usize = 512;

/// Bytes by which `max_parked_bytes` may be passed by requests whose bodies were let go of; beyond that nothing is held.
const BODILESS_ROOM: usize = 32 * 1024 * 1024;

/// What a stream's own callback has to do.
#[derive(Debug)]
pub enum Step {
    /// Let the request go on.
    Forward(Permit),
    /// Keep it paused: its body, or an answer in the root context, is awaited.
    Await,
    /// Keep it paused and call the approval service from the stream's context.
    Call(Callout),
    Reply(Reply),
}

/// What the header callback has to do.
#[derive(Debug)]
pub struct Opened {
    /// Request headers to remove, whatever the step is.
    pub remove: Vec<String>,
    /// The authority in its normal form, where it came in another: what was matched is what goes on.
    pub authority: Option<String>,
    /// The request was judged as one without a body, by its fields alone: a body that comes all the same is
    /// [`Gate::surplus`].
    pub bodiless: bool,
    pub step: Step,
}

/// What of a request has to change before it goes on, beside what its head said.
#[derive(Debug, Default)]
pub struct Changes {
    /// The body that takes the place of the one that came.
    pub body: Option<Vec<u8>>,
    /// The answer is to be read: the upstream must not compress it.
    pub plain_answer: bool,
}

/// One HTTP request to the approval service; the host adds authority and credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callout {
    pub method: &'static str,
    pub path: String,
    pub body: Vec<u8>,
    /// Milliseconds.
    pub timeout: u64,
    /// Trace context of the request that it is made for: names and values of headers.
    pub trace: Vec<(&'static str, String)>,
}

/// An answer of the approval service. No answer at all is `None` of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

/// What the root context has to do; commands are carried out in their order.
#[derive(Debug)]
pub enum Command {
    Forward {
        stream: StreamId,
        permit: Permit,
    },
    /// Change a request whose whole body has come; its step follows.
    Change {
        stream: StreamId,
        changes: Changes,
    },
    Reply {
        stream: StreamId,
        reply: Reply,
    },
    Call {
        call: RootCall,
        callout: Callout,
    },
    /// Fetch a key set. The credential of the approval service does not go there.
    Fetch {
        call: RootCall,
        place: KeyPlace,
    },
    /// Keep this signed bundle where the next VM finds it ([`Gate::restore`]).
    Keep(Vec<u8>),
    /// A warning for the proxy's log: a sentence without secrets or bodies.
    Warn(String),
    /// A figure for the proxy's metrics.
    Measure(Figure),
}

/// What an answer in the root context belongs to; the host keeps it beside its token.
#[derive(Debug)]
pub enum RootCall {
    State,
    Feed,
    Bundle(Hash),
    Redeem(Vec<Redeeming>),
    Report,
    /// The keys of an issuer, by its place in the configuration.
    Keys(usize),
    /// A call of a stream that was woken by the root context, and so had to be made there.
    Stream(StreamId),
    Audit,
}

/// The longest answer to a stream's own callout, in bytes: beyond it there is none.
pub const STREAM_ANSWER: usize = 64 * 1024;

impl RootCall {
    /// The longest answer that there can be, in bytes.
    pub fn longest_answer(&self) -> usize {
        const MEBIBYTE: usize = 1024 * 1024;
        match self {
            RootCall::Bundle(_) => 32 * MEBIBYTE,
            RootCall::State => 8 * MEBIBYTE,
            RootCall::Feed | RootCall::Redeem(_) => 2 * MEBIBYTE,
            RootCall::Report | RootCall::Audit | RootCall::Stream(_) => STREAM_ANSWER,
            RootCall::Keys(_) => holdgate_protocol::jws::MAX_KEY_SET,
        }
    }
}

/// One redemption on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redeeming {
    stream: StreamId,
    hold: String,
    attempt: String,
}

/// The gate of one root context.
pub struct Gate {
    config: Config,
    redactor: Redactor,
    /// For what nobody else may foresee; derived from the gateway's credential.
    secret: [u8; 32],
    /// How many tries were named.
    attempts: u64,
    /// The time at the last entry, in Unix milliseconds.
    seen: u64,
    host: Box<dyn Host>,
    policy: Option<Rc<Policy>>,
    feed: Feed,
    identities: Identities,
    latest: Latest,
    /// Streams that wait for the keys of an issuer, with its place in the configuration.
    awaiting_keys: Vec<(usize, StreamId)>,
    suspended: HashSet<Actor>,
    streams: HashMap<StreamId, Stream>,
    /// Parked streams by the hold that they wait on.
    waiting: Waiting,
    /// Ends of inline waits, in Unix milliseconds.
    deadlines: BTreeSet<(u64, StreamId)>,
    news: HashMap<String, News>,
    /// Streams whose hold was decided, in the order of the feed.
    woken: VecDeque<(StreamId, HoldState)>,
    /// Streams that were let through by their recheck and wait for a redemption.
    to_redeem: VecDeque<StreamId>,
    outbox: VecDeque<(StreamId, Reply)>,
    outcomes: Vec<Outcome>,
    detached: Vec<DetachedAttempt>,
    /// When an agent last asked after a task, in Unix milliseconds.
    asked: HashMap<(String, Actor), u64>,
    /// For [`Gate::changes`].
    changes: Option<Changes>,
    /// What is to be logged, and how often it happened since the last tick.
    warnings: BTreeMap<String, u32>,
    /// What was warned of last, of the things that are tried again and again.
    last_warning: Option<String>,
    kept: Kept,
    /// What has come of bodies that are awaited; bounded by the same figures.
    awaited: Kept,
    rates: Rates,
    telling: Telling,
    ending: Ending,
    /// What held requests share.
    checkpoints: Common<Checkpoint>,
    components: Common<Vec<String>>,
}

/// How far the feed has been read, and the policy that it names.
#[derive(Default)]
struct Feed {
    /// `None` before the first snapshot.
    cursor: Option<u64>,
    /// When the last good answer came, in Unix milliseconds.
    fresh_at: u64,
    in_flight: bool,
    retry_at: u64,
    /// Whether the last try failed, so that this is said once.
    lost: bool,
    clock: Clock,
    /// When the clocks are compared next, in Unix milliseconds.
    compare_at: u64,
    /// Where the feed began: what was decided before that is not told any more.
    base: u64,
    /// A published revision that is not in force here yet.
    wanted: Option<Hash>,
    fetching: bool,
    fetch_at: u64,
}

/// How far the service's clock is from ours, in seconds.
#[derive(Clone, Copy, Default)]
struct Clock {
    ahead: u64,
    behind: u64,
}

impl Clock {
    fn compare(there: u64, here: u64) -> Self {
        Clock { ahead: there.saturating_sub(here), behind: here.saturating_sub(there) }
    }

    fn agrees(self) -> bool {
        self.ahead.max(self.behind) <= MAX_SKEW
    }

    /// Our time by the service's clock.
    fn there(self, here: u64) -> u64 {
        here.saturating_add(self.ahead).saturating_sub(self.behind)
    }
}

/// A decision that came before the answer to its hold.
struct News {
    seq: u64,
    state: HoldState,
    at: u64,
}

/// A request that waits.
enum Stream {
    /// For the keys that its token may be signed with.
    Keys(Box<AwaitingKeys>),
    /// For nothing any more: the root context let it go on, and its body may still be coming.
    Through,
    /// For its body.
    Body(Box<AwaitingBody>),
    /// For the answer to `POST /v1/holds`.
    Opening(Box<Held>),
    /// For a decision, which the feed brings.
    Parked(Box<Held>, Hold),
    /// For a decision, by a long poll of its own; when that began, in Unix milliseconds.
    Polling(Box<Held>, Hold, u64),
    /// For the answer to a redemption; so many were sent.
    Redeeming(Box<Held>, Hold, u8),
    /// For the state of a task that it asked after.
    Task(String),
    /// It went on with a grant; its outcome is reported, and then its answer looked at where that is a list of tools.
    Granted { hold: String, attempt: String, listing: Option<Box<Listing>> },
    /// It went on, and the answer is a list of tools that is filtered.
    Listing(Box<Listing>),
    /// Its answer stands in the outbox.
    Answered,
}

/// A request whose token names a key that is not known yet.
struct AwaitingKeys {
    head: Head,
    /// It has no body.
    end: bool,
    /// The body, if it has come whole in the meantime.
    body: Option<Vec<u8>>,
    /// When the wait ends, in Unix milliseconds.
    until: u64,
}

/// A `tools/list` that went on.
struct Listing {
    head: Head,
    identity: Option<Rc<Identity>>,
}

struct AwaitingBody {
    head: Head,
    identity: Option<Rc<Identity>>,
    arrived: u64,
    /// When the whole body must have come, in Unix milliseconds.
    until: u64,
    /// Bytes that count for it by now.
    size: usize,
}

impl AwaitingBody {
    /// Who answers for the bytes: requests without an identity share one account.
    fn account(&self) -> Actor {
        let nobody = || Actor { iss: String::new(), sub: String::new() };
        self.identity.as_ref().map_or_else(nobody, |identity| identity.caller.clone())
    }
}

/// A request that a checkpoint holds, with all that is needed to evaluate and verify it again.
struct Held {
    head: Head,
    identity: Rc<Identity>,
    /// `None` where there was no room to keep it: the stream is not parked then.
    body: Option<Vec<u8>>,
    revision: Hash,
    checkpoint: Rc<Checkpoint>,
    /// The rule that leads: its id and the checkpoint's reason are what the agent is told.
    rule: String,
    digest: Hash,
    /// The names of what the digest covers.
    components: Rc<Vec<String>>,
    attempt: String,
    preference: Preference,
    /// Who gets the answer, where it is a message.
    asker: Option<Asker>,
    /// Which configuration of identities was the latest, for [`Gate::configuration`].
    configuration: u32,
    /// End of the inline wait, in Unix milliseconds.
    until: u64,
}

/// A hold as the service last told of it.
#[derive(Clone)]
struct Hold {
    id: String,
    expires_at: u64,
    /// What an MCP client comes back with.
    request_state: String,
}

impl Gate {
    /// A gate that serves nothing until the first snapshot. `credential` is the gateway's.
    pub fn new(mut config: Config, credential: &str, mut host: Box<dyn Host>) -> Self {
        Gate {
            identities: Identities::new(&config.identity, &mut *host),
            latest: Latest::publish(&config, &mut *host),
            awaiting_keys: Vec::new(),
            policy: config.bundle.take().map(Rc::new),
            redactor: Redactor::new(credential),
            secret: secret(credential, &config.group, &mut *host),
            attempts: 0,
            seen: 0,
            host,
            feed: Feed::default(),
            suspended: HashSet::new(),
            streams: HashMap::new(),
            waiting: Waiting::default(),
            deadlines: BTreeSet::new(),
            news: HashMap::new(),
            woken: VecDeque::new(),
            to_redeem: VecDeque::new(),
            outbox: VecDeque::new(),
            outcomes: Vec::new(),
            detached: Vec::new(),
            asked: HashMap::new(),
            changes: None,
            warnings: BTreeMap::new(),
            last_warning: None,
            kept: Kept::default(),
            awaited: Kept::default(),
            rates: Rates::new(credential, &config.group),
            telling: Telling::new(),
            ending: Ending::default(),
            checkpoints: Common::default(),
            components: Common::default(),
            config,
        }
    }

    /// How many streams wait for something, and the bytes that are kept for them.
    pub fn parked(&self) -> (usize, usize) {
        (self.streams.len(), self.kept.total + self.awaited.total)
    }

    /// What became of tokens and keys.
    pub fn identity_figures(&self) -> IdentityFigures {
        self.identities.figures
    }

    /// How the proxy is to be told to wait for a body.
    pub fn awaits_bodies_by(&self) -> AwaitBody {
        self.config.body
    }

    fn is_stale(&self, now: u64) -> bool {
        now.saturating_sub(self.feed.fresh_at) > self.config.feed_max_age
    }

    /// Takes a stream out of everything that would wake it, if it waits for what has come.
    fn take_if(&mut self, id: StreamId, expected: fn(&Stream) -> bool) -> Option<Stream> {
        self.streams.get(&id).filter(|stream| expected(stream))?;
        let stream = self.streams.remove(&id)?;
        if let Stream::Opening(held)
        | Stream::Parked(held, _)
        | Stream::Polling(held, ..)
        | Stream::Redeeming(held, ..) = &stream
        {
            self.kept.remove(held);
        }
        match &stream {
            Stream::Parked(held, hold) => {
                self.deadlines.remove(&(held.until, id));
                self.waiting.remove(&hold.id, id);
            }
            Stream::Body(awaiting) => {
                self.deadlines.remove(&(awaiting.until, id));
                self.awaited.shrink(&awaiting.account(), awaiting.size);
            }
            Stream::Keys(awaiting) => {
                self.deadlines.remove(&(awaiting.until, id));
                self.awaiting_keys.retain(|(_, other)| *other != id);
            }
            _ => {}
        }
        Some(stream)
    }
}

/// Bytes that are kept for requests, in all and by agent.
#[derive(Default)]
struct Kept {
    total: usize,
    by_agent: HashMap<Actor, usize>,
}

impl Kept {
    fn of(&self, agent: &Actor) -> usize {
        self.by_agent.get(agent).copied().unwrap_or_default()
    }

    fn add(&mut self, held: &Held) {
        self.grow(&held.identity.caller, held.size());
    }

    fn remove(&mut self, held: &Held) {
        self.shrink(&held.identity.caller, held.size());
    }

    fn grow(&mut self, agent: &Actor, size: usize) {
        self.total += size;
        match self.by_agent.get_mut(agent) {
            Some(bytes) => *bytes += size,
            None => drop(self.by_agent.insert(agent.clone(), size)),
        }
    }

    fn shrink(&mut self, agent: &Actor, size: usize) {
        self.total = self.total.saturating_sub(size);
        if let Some(bytes) = self.by_agent.get_mut(agent) {
            *bytes = bytes.saturating_sub(size);
            if *bytes == 0 {
                self.by_agent.remove(agent);
            }
        }
    }
}

impl Held {
    fn size(&self) -> usize {
        let asker = self.asker.as_ref().map_or(0, Asker::size);
        self.head.size() + HELD_OVERHEAD + self.body.as_ref().map_or(0, Vec::len) + asker
    }

    /// An answer about the request's fate, as its client understands it.
    fn told(&self, reply: Reply, state: Option<&str>) -> Reply {
        match &self.asker {
            Some(asker) => asker.told(reply, state),
            None => reply,
        }
    }
}

/// What nobody else can foresee, and no other gate of the proxy has, even where its workers begin with the same randomness: tries
/// and audit records are named by it.
fn secret(credential: &str, group: &str, host: &mut dyn Host) -> [u8; 32] {
    let place = format!("holdgate/gates/{group}");
    let mut number = 0;
    for _ in 0..NUMBERING {
        let (last, version) = host.shared(&place);
        let last = last.and_then(|last| last.as_slice().try_into().ok()).map(u32::from_le_bytes);
        let next = last.unwrap_or(0).wrapping_add(1);
        // A value that is not there is made by one of two that make it: no value has this version.
        if host.share(&place, &next.to_le_bytes(), if last.is_some() { version } else { u32::MAX }) {
            number = next;
            break;
        }
    }
    *Hash::of(format!("holdgate attempts\n{credential}\n{number}").as_bytes()).as_bytes()
}

#[cfg(test)]
mod tests;
