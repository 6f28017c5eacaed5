//! HTTP calls of the filter to other services, and what comes of them.

use std::time::Duration;

use crate::message::{Pairs, pairs, value};

/// An HTTP call that the filter made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callout {
    /// The worker whose VM made it.
    pub worker: usize,
    /// Unique in its worker.
    pub token: u32,
    /// The context that made it: the root context, or a stream's.
    pub context: u32,
    pub cluster: String,
    pub headers: Pairs,
    pub body: Vec<u8>,
    pub trailers: Pairs,
    /// Milliseconds; 0 is none.
    pub timeout: u32,
    /// Unix nanoseconds at which it was made.
    pub at: u64,
}

impl Callout {
    /// A header as text; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        value(&self.headers, name).and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default()
    }

    pub fn method(&self) -> &str {
        self.header(":method")
    }

    /// Path and query.
    pub fn path(&self) -> &str {
        self.header(":path")
    }
}

/// An answer to a callout. No headers at all mean that the call was reset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub headers: Pairs,
    pub body: Vec<u8>,
    pub trailers: Pairs,
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let headers = pairs([(":status", status.to_string().as_str())]);
        Answer { headers, body: body.into(), trailers: Pairs::new() }
    }

    /// What a proxy tells of a call whose time is over.
    pub fn timeout() -> Self {
        Answer::new(504, "upstream request timeout")
    }

    /// What a proxy tells of a call that reaches nobody.
    pub fn unreachable() -> Self {
        Answer::new(503, "upstream connect error or disconnect/reset before headers. reset reason: connection failure")
    }
}

/// What a service does with a callout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The host refuses the call at once, with this status: 2 for an unknown cluster, 10 where no endpoint is healthy.
    Refuse(u32),
    /// An answer, so often (a host should tell of one once), after a while; later than the call's own limit, it comes too late
    /// and the call ends as [`Answer::timeout`].
    Answer { answer: Answer, after: Duration, times: u32 },
    /// The service says nothing: the call ends by its own limit, or never.
    Silence,
    /// The caller of [`crate::Gateway::answer`] sees to it.
    Open,
}

impl Reply {
    /// An answer at once.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Answer::new(status, body).into()
    }

    /// The connection ends before an answer.
    pub fn reset() -> Self {
        Answer::default().into()
    }

    pub fn unreachable() -> Self {
        Answer::unreachable().into()
    }

    /// The same, later.
    #[must_use]
    pub fn after(self, later: Duration) -> Self {
        match self {
            Reply::Answer { answer, after, times } => Reply::Answer { answer, after: after + later, times },
            other => other,
        }
    }

    /// The same answer is told of twice.
    #[must_use]
    pub fn twice(self) -> Self {
        match self {
            Reply::Answer { answer, after, .. } => Reply::Answer { answer, after, times: 2 },
            other => other,
        }
    }
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Reply::Answer { answer, after: Duration::ZERO, times: 1 }
    }
}
