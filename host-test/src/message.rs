//! Messages: what goes into the filter chain, and what came out of it.

/// Names and values, as bytes, in their order; duplicates stay.
pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Pairs of texts.
pub fn pairs<'a>(texts: impl IntoIterator<Item = (&'a str, &'a str)>) -> Pairs {
    texts.into_iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

/// The first value of a name.
pub fn value<'a>(pairs: &'a Pairs, name: &str) -> Option<&'a [u8]> {
    pairs.iter().find(|(other, _)| other == name.as_bytes()).map(|(_, value)| value.as_slice())
}

/// A request as the proxy's codec delivers it, pseudo-headers first, names in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    pub headers: Pairs,
    /// The pieces in which the body comes; none if the headers end the request or the trailers follow at once.
    pub body: Vec<Vec<u8>>,
    pub trailers: Option<Pairs>,
    /// Properties of connection and stream beside those that the host makes up itself, by the segments of their paths joined with NUL.
    pub properties: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Request {
    /// A request without a body, to `api.example` over HTTP.
    pub fn new(method: &str, target: &str) -> Self {
        let headers = [(":method", method), (":scheme", "http"), (":authority", "api.example"), (":path", target)];
        Request { headers: pairs(headers), ..Request::default() }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds a body in one piece.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body.push(body.into());
        self
    }
}

/// One direction of an exchange, as it came out of the filter chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// `None` as long as nothing of the message has come out.
    pub headers: Option<Pairs>,
    pub body: Vec<u8>,
    pub trailers: Option<Pairs>,
    /// Whether it has come to its end.
    pub complete: bool,
    /// Unix nanoseconds at which the headers came out.
    pub at: u64,
}

impl Message {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        value(self.headers.as_ref()?, name)
    }

    /// The status of an answer.
    pub fn status(&self) -> Option<u16> {
        std::str::from_utf8(self.header(":status")?).ok()?.parse().ok()
    }
}

/// Who gave the client its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnsweredBy {
    Upstream,
    /// The filter, by a local reply.
    Filter,
    /// The proxy itself: the filter's VM had failed, a buffer was full, or the upstream did not answer.
    Proxy,
}

/// What became of a request, as far as it has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    /// What the upstream has got.
    pub upstream: Message,
    /// What the client has got.
    pub client: Message,
    pub answered_by: Option<AnsweredBy>,
    /// One side broke it off.
    pub reset: bool,
    /// Nothing more will come.
    pub over: bool,
    /// Properties that the filter set.
    pub properties: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Exchange {
    /// The status that the client has got.
    pub fn status(&self) -> Option<u16> {
        self.client.status()
    }

    /// A property that the filter set, as access logs show it.
    pub fn property(&self, path: &str) -> Option<&[u8]> {
        self.properties.iter().find(|(other, _)| other == path.as_bytes()).map(|(_, value)| value.as_slice())
    }

    /// Whether the client waits for an answer.
    pub fn waits(&self) -> bool {
        !self.over && self.client.headers.is_none()
    }
}

/// What the upstream does with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamAnswer {
    Answer {
        headers: Pairs,
        body: Vec<Vec<u8>>,
        trailers: Option<Pairs>,
        after: std::time::Duration,
    },
    /// It breaks the connection off.
    Reset,
    /// It never answers.
    Silence,
}

impl UpstreamAnswer {
    /// An answer with a body in one piece, at once.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let (headers, body) = (pairs([(":status", status.to_string().as_str())]), body.into());
        let body = if body.is_empty() { Vec::new() } else { vec![body] };
        UpstreamAnswer::Answer { headers, body, trailers: None, after: std::time::Duration::ZERO }
    }
}
