//! What plays a case: a gateway with the filter's rules in it, as far as a case can see one.
//!
//! # How to write a driver
//!
//! A driver is made for one case ([`Setup`]) and dropped after it. It carries requests from agents to the filter and on to
//! an upstream that it plays itself, and the filter's callouts to the scripted [`Service`]. It judges nothing.
//!
//! **The approval service** is shared with the player, which decides holds, publishes policies and scripts failures on it
//! directly, between two calls of the driver. For each callout the driver calls [`Service::take`] once, then carries out
//! what [`Service::due`] says is due by now: most answers at once, those of the long poll when there is news, late ones late.
//! [`Service::next`] says when something will be due if nothing else happens. So a driver with virtual time goes from one
//! moment to the next; one with real time asks again every few milliseconds and whenever it has taken a call. What a proxy brings about
//! and no service can ([`Delivery::Refuse`], [`Delivery::Reset`] and others), the driver brings about as its proxy would.
//!
//! **Time** is what [`Driver::now`] says: virtual where the driver can, and then it passes only in [`Driver::pass`].
//! All that can happen without time passing happens in the call that causes it, or in the next `pass`, even one of no length.
//!
//! **Streams.** A request has a [`Handle`] from `send` to the end of the case. What has become of it is read from
//! [`Driver::observe`] alone, which can be called at any time and changes nothing.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use holdgate_authoring::cases::{Chunks, Outcome, Restart, UpstreamBehaviour, Version};
use serde_json::Value;

use super::service::Service;

/// The credential of the gateway, which the filter finds in `HOLDGATE_GATEWAY_CREDENTIAL` and the service expects.
pub const CREDENTIAL: &str = "cases-credential";

/// The cluster under which the filter calls the approval service.
pub const CLUSTER: &str = "approval";

/// The scripted approval service, which player and driver share.
pub type SharedService = Arc<Mutex<Service>>;

/// What a driver starts with.
#[derive(Clone)]
pub struct Setup {
    /// The filter's configuration, complete.
    pub configuration: Value,
    /// Workers of the proxy, each with a VM of its own; at least one.
    pub workers: usize,
    /// When it begins, in Unix milliseconds, for drivers with virtual time.
    pub time: u64,
    /// The case names a time, so that one with real time cannot play it.
    pub timed: bool,
    pub service: SharedService,
    pub upstream: UpstreamBehaviour,
    /// Whether to return only when the filter decides: it has its first snapshot and a policy. If it does not come to that
    /// within ten seconds, that is a [`Trouble::Failed`]. It is not found out by requests, which would be counted and recorded: a
    /// worker asks for `/v1/feed` once it has its snapshot, and tells `holdgate.policy_serial` once it has a policy.
    pub ready: bool,
}

/// A request on its way to the gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct Sending {
    /// What the case calls it, for the trace.
    pub name: String,
    pub method: String,
    /// Path and query, to be sent as they are.
    pub target: String,
    /// For `Host` or `:authority`.
    pub host: String,
    pub version: Version,
    /// All other fields in their order and spelling, the agent's token among them. Over HTTP/2 names go in lower case.
    /// Where the body is whole and there is neither `content-length` nor `transfer-encoding`, the driver adds the first.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    pub body: Vec<u8>,
    /// How the body comes. With anything but [`Chunks::Whole`], or with trailers, HTTP/1 uses the chunked coding.
    /// One chunk is one body callback of the filter where the driver has that in its hands.
    pub chunks: Chunks,
    /// Between two chunks. With none they come one after the other, each in a callback of its own.
    pub pause: Duration,
    pub trailers: Vec<(Vec<u8>, Vec<u8>)>,
    /// The worker that gets it, from 0. A driver that cannot choose answers [`Trouble::CannotPlay`] if there are several.
    pub worker: Option<usize>,
}

impl Sending {
    /// The body in the pieces in which it comes: none where it is empty.
    pub fn pieces(&self) -> Vec<&[u8]> {
        let mut rest = self.body.as_slice();
        let mut pieces = Vec::new();
        let mut sizes: Box<dyn Iterator<Item = usize>> = match &self.chunks {
            Chunks::Whole => Box::new(std::iter::empty()),
            Chunks::Sizes(sizes) => Box::new(sizes.iter().copied()),
            Chunks::EveryByte => Box::new(std::iter::repeat_n(1, rest.len())),
        };
        while !rest.is_empty() {
            let size = sizes.next().unwrap_or(rest.len()).min(rest.len());
            let (piece, more) = rest.split_at(size);
            pieces.push(piece);
            rest = more;
        }
        pieces
    }
}

/// A request that was sent; counted from 0 in the order in which they were sent.
pub type Handle = usize;

/// What can be seen from outside.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// By their handles.
    pub requests: Vec<ObservedRequest>,
    /// The filter's metrics by their names as the filter defined them, added up over the workers.
    pub metrics: BTreeMap<String, i64>,
    /// Lines that the filter has logged at `warn` or above.
    pub logs: Vec<String>,
}

/// What became of one request by now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObservedRequest {
    /// What the upstream has got of it, in whole or in part; `None`: not one byte.
    pub upstream: Option<Got>,
    /// What the agent has got, whoever answered.
    pub reply: Option<Reply>,
    /// The gateway, and not the upstream, has answered.
    pub by_gateway: bool,
    /// The agent's stream was reset.
    pub reset: bool,
    /// The agent has hung up.
    pub gone: bool,
    /// The word that the filter left for access logs, if any.
    pub decision: Option<String>,
}

/// What the upstream has got of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Got {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case, in their order; pseudo-headers are not among them, `host` may be.
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, Vec<u8>)>,
    /// Whether it has ended.
    pub complete: bool,
}

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply {
    pub status: u16,
    /// Names in lower case, in their order.
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

impl ObservedRequest {
    /// What became of it, in one word. A request of which the upstream has got a part waits still.
    pub fn outcome(&self) -> Outcome {
        match &self.upstream {
            Some(got) if got.complete && !self.by_gateway => Outcome::Forwarded,
            _ if self.reply.is_some() => Outcome::Answered,
            _ if self.gone => Outcome::Gone,
            _ if self.reset => Outcome::Reset,
            _ => Outcome::Waiting,
        }
    }
}

/// A line of the trace: what happened, for people.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct TraceLine {
    /// Unix milliseconds, as [`Driver::now`].
    pub at: u64,
    pub text: String,
}

/// Why a case came to no end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The driver has no means to bring this about, and the case should say so under `not_on`.
    #[error("cannot be played here: {0}")]
    CannotPlay(String),
    /// Something went wrong that is neither the filter's nor the case's fault; or the filter did what no host allows.
    #[error("{0}")]
    Failed(String),
}

/// A gateway that plays one case.
pub trait Driver {
    /// Unix milliseconds.
    fn now(&self) -> u64;

    /// Sends a request, and does not wait for what comes of it. Its head, and what of its body comes without a pause,
    /// are with the gateway when this returns. Requests come to the filter in the order in which they were sent: a driver with real time
    /// returns when there is an answer, when the service has got a call that it has not answered, or after a tenth of a second.
    fn send(&mut self, request: Sending) -> Result<Handle, Trouble>;

    /// The agent gives up: its stream is cancelled.
    fn hang_up(&mut self, request: Handle) -> Result<(), Trouble>;

    /// Lets time pass until `done` says so or the limit is reached, and says whether it was `done`.
    ///
    /// `done` is asked after all that can happen at the moment has happened, at the beginning too, and
    /// then after each change, or every few milliseconds. With a limit of zero no time passes.
    fn pass(&mut self, limit: Duration, done: &mut dyn FnMut(&Observed) -> bool) -> Result<bool, Trouble>;

    /// From now on the upstream does this with requests that come to it.
    fn upstream(&mut self, behaviour: &UpstreamBehaviour) -> Result<(), Trouble>;

    /// Gives the filter another configuration, complete, while it runs. Requests that are under way stay with the old one.
    /// One that the filter refuses leaves the old one in force; that is seen in the log.
    fn reconfigure(&mut self, configuration: &Value) -> Result<(), Trouble>;

    /// Starts a worker's VM, or the whole proxy, again. Streams in it are reset, or answered with 503, as the proxy does it.
    /// It returns when requests are taken again, which are decided once the filter has its snapshot.
    fn restart(&mut self, what: Restart) -> Result<(), Trouble>;

    /// For how long it is watched, after all has come that is expected, whether more comes than that.
    fn afterwards(&self) -> Duration {
        Duration::from_secs(2)
    }

    /// What can be seen by now.
    fn observe(&mut self) -> Observed;

    /// What the filter has got wrong in the eyes of its host by now: each one fails a case.
    fn findings(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// What has happened so far, oldest first: requests, callbacks, callouts with their answers, replies.
    fn trace(&mut self) -> Vec<TraceLine>;
}
