//! A scenario: what is sent, what happens meanwhile, and what must be seen.

use holdgate_protocol::{Json, Pointer, gateway::HoldState};

use super::PolicySource;
use crate::{diagnostic::Span, example::ExampleAgent};

/// A story that every driver can play: steps in their order. Names of requests in it are those of requests that were sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// In place of that of the file.
    pub policy: Option<PolicySource>,
    /// Set over the usual configuration of the filter, one after the other (RFC 7396).
    pub plugin: Vec<Json>,
    /// When it begins, in Unix seconds. `None`: it does not matter.
    pub time: Option<i64>,
    pub workers: usize,
    /// What the approval service does from the start. Where it is not empty, it is not waited until the filter serves.
    pub service: Vec<Script>,
    /// What the upstream does from the start.
    pub upstream: UpstreamBehaviour,
    /// The last one says what is expected at the end.
    pub steps: Vec<Step>,
    /// Drivers and profiles that cannot play it, with the reason.
    pub not_on: Vec<(String, String)>,
}

/// One step of a scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub at: Span,
    pub act: Act,
}

/// What is done in a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Requests are sent, one after the other; their answers are not awaited.
    Send(Vec<Named>),
    /// Time passes, in milliseconds.
    Wait(u64),
    /// This is seen, or comes to be seen within a time.
    Expect(Box<Expected>),
    /// The approval service does this from now on.
    Service(Vec<Script>),
    /// The approval service's clock is so many seconds ahead of the gateway's; negative: behind.
    Clock(i64),
    /// Holds change their state. They are waited for where they are not there yet.
    Decide(Vec<Decision>),
    /// A policy with this serial is published: another one, or that which is in force.
    Publish {
        serial: u64,
        policy: Option<PolicySource>,
    },
    /// An agent is suspended, or is let in again.
    Suspend {
        issuer: String,
        id: String,
        suspended: bool,
    },
    /// The agents of these requests hang up.
    HangUp(Vec<String>),
    /// The filter gets another configuration: this is set over the one that it has (RFC 7396).
    Reconfigure(Json),
    Restart(Restart),
    /// The upstream does this from now on.
    Upstream(UpstreamBehaviour),
}

/// A request under the name by which the scenario speaks of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    pub name: String,
    /// How often it is sent; the name stands for all of them.
    pub times: usize,
    /// Counted from 1. `None`: whichever it is.
    pub worker: Option<usize>,
    pub request: SentRequest,
}

/// What of the proxy starts again; its streams are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// The VM of a worker, counted from 1.
    Worker(usize),
    /// The whole proxy, so that nothing of its memory is left.
    Proxy,
}

/// A request as it is written to the proxy.
#[derive(Clone, Debug, PartialEq)]
pub struct SentRequest {
    pub token: Token,
    pub method: String,
    /// Path and query as they are sent.
    pub target: String,
    /// The authority.
    pub host: String,
    pub version: Version,
    /// Names and values in their order, in the spelling of the case. The agent's token comes before them; what tells the
    /// length of the body is the driver's business, unless it stands here.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    pub body: Vec<u8>,
    pub chunks: Chunks,
    /// Milliseconds between two chunks.
    pub pause: u64,
    pub trailers: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// No token.
    None,
    /// This text, in place of a token.
    Raw(String),
    Agent {
        agent: ExampleAgent,
        /// Seconds until the token expires.
        expires_in: u64,
        /// Whether it is signed with a key that its issuer does not have.
        forged: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Http1,
    Http2,
}

/// How a body is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunks {
    /// In one piece, with its length in the head.
    Whole,
    /// In pieces of these sizes; what is left comes as one more. The head tells no length.
    Sizes(Vec<usize>),
    /// Byte by byte. The head tells no length.
    EveryByte,
}

/// A kind of call to the approval service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceCall {
    Holds,
    Redemptions,
    Outcomes,
    Detach,
    Feed,
    State,
    Bundles,
    Audit,
    Tasks,
}

/// What the approval service does with calls of a kind, from a moment on.
#[derive(Clone, Debug, PartialEq)]
pub struct Script {
    /// `None`: every kind.
    pub call: Option<ServiceCall>,
    pub does: Behaviour,
    /// With so many calls, and then it does well again; `None`: until it is told otherwise.
    pub times: Option<u64>,
}

/// What the approval service does with a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Behaviour {
    /// It answers as it should.
    Well,
    /// It does its work at once and answers so many milliseconds later.
    Late(u64),
    /// The answer comes twice.
    Twice,
    /// It takes the call and never answers.
    Never,
    /// It does its work, and the stream of the answer is reset.
    Reset,
    /// The proxy gives up: `504` in place of an answer.
    Timeout,
    /// The proxy cannot connect: `503` in place of an answer. The call does not arrive.
    Unreachable,
    /// The proxy refuses the call when it is made. It does not arrive.
    Refused,
    /// It answers with this status and body, and does nothing.
    Answer { status: u16, body: Vec<u8> },
    /// It answers `200` with something that is not JSON. The work is done.
    NotJson,
    /// It answers with more bytes than any answer has. The work is done.
    TooLong,
    /// Grants and bundles are signed with a key that the gateway does not trust.
    WrongSignature,
    /// Grants are for another digest; a bundle is another one than was asked for.
    WrongDigest,
    /// A grant that was given before is given again; a page of the feed comes again.
    Replayed,
    /// Claims of grants are others (RFC 7396), and rightly signed.
    Forged(Json),
    /// Members of its answer are others (RFC 7396).
    Patched(Json),
}

/// A hold changes its state.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    pub hold: Hold,
    pub state: HoldState,
    pub cause: Option<String>,
}

/// Which hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The one that was opened last.
    Last,
    /// That of a request.
    Of(String),
}

/// What the upstream does with a request once it has it.
#[derive(Clone, Debug, PartialEq)]
pub enum UpstreamBehaviour {
    Answer(UpstreamAnswer),
    /// It resets the stream.
    Reset,
    /// It never answers.
    Never,
}

#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamAnswer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Milliseconds.
    pub after: u64,
}

/// What must be seen. Members that are `None` or empty are not compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    /// Milliseconds within which it may come to be so.
    pub within: u64,
    pub requests: Vec<(String, ExpectedRequest)>,
    /// By the name of the metric.
    pub metrics: Vec<(String, Test)>,
    /// Each is a part of a line of the filter's log; an empty list: there is no warning.
    pub logs: Option<Vec<String>>,
    /// Exactly these audit records, in any order.
    pub audit: Option<Vec<Members>>,
    pub callouts: Vec<Callout>,
    /// How many holds have been opened.
    pub holds: Option<u64>,
}

/// What must be seen of a request. Beside what is said here, always: a request that was not forwarded has left nothing at
/// the upstream, and one that was has come there as it was sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExpectedRequest {
    pub outcome: Option<Outcome>,
    pub upstream: Option<ExpectedUpstream>,
    pub reply: Option<ExpectedReply>,
    /// The word that the filter leaves for access logs.
    pub decision: Option<String>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The upstream has got it whole.
    Forwarded,
    /// The gateway has answered in place of the upstream.
    Answered,
    /// The agent waits, and the upstream has got nothing.
    Waiting,
    /// The agent has hung up before there was an answer.
    Gone,
    /// Its stream was reset.
    Reset,
}

/// What the upstream got. What is not said is as it was sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExpectedUpstream {
    pub method: Option<String>,
    pub target: Option<String>,
    /// By the name in lower case.
    pub headers: Vec<(String, Test)>,
    pub body: Option<Bodied>,
    pub trailers: Vec<(String, Test)>,
}

/// What the agent got.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExpectedReply {
    pub status: Option<u16>,
    /// What follows `urn:holdgate:problem:` in the problem's type. With MCP, that of the problem within the message.
    pub problem: Option<String>,
    pub next_action: Option<String>,
    /// `Some(None)`: there is none.
    pub rule: Option<Option<String>>,
    /// By the name in lower case.
    pub headers: Vec<(String, Test)>,
    pub body: Option<Bodied>,
}

/// What a body must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Bodied {
    /// Exactly these octets.
    Bytes(Vec<u8>),
    /// This JSON, however it is spelled.
    Json(Json),
    /// JSON with these members.
    Members(Members),
}

/// Members of a JSON value by their pointers.
pub type Members = Vec<(Pointer, Test)>;

/// Calls that the approval service got.
#[derive(Clone, Debug, PartialEq)]
pub struct Callout {
    pub call: ServiceCall,
    pub count: Quantity,
    /// What their bodies say: only those that say so are counted.
    pub members: Members,
}

/// How many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    Exactly(u64),
    /// At least one.
    Some,
}

/// What a value must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// This value. In headers and trailers a text; a list is that of all lines of the name.
    Is(Json),
    /// It is not there.
    Absent,
    /// All of these hold, and it is there.
    All(Vec<(Operator, Json)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Equals,
    /// It is there, or not.
    Exists,
    /// A text has this part; a list has this member.
    Contains,
    Prefix,
    Gte,
    Lte,
}
