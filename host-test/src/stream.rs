//! One request in the filter chain of a worker.

use crate::{
    message::{Exchange, Pairs},
    profile::Profile,
};

/// A request of a [`crate::Gateway`], for as long as the gateway lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub(crate) u64);

/// A direction of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Request,
    Response,
}

/// Where a message has been stopped on its way through the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// At the headers; what follows is still shown to the filter.
    Headers,
    /// At the headers; what follows waits.
    All,
    /// At a piece of the body, which is buffered with those before it.
    Body,
    Trailers,
}

/// One direction of a stream on its way through the chain.
#[derive(Debug, Default)]
pub(crate) struct Way {
    pub(crate) headers: Pairs,
    pub(crate) trailers: Pairs,
    /// What the filter sees of the body: the piece at hand, with what was buffered before it.
    pub(crate) body: Vec<u8>,
    /// Whether the filter reaches headers, body and trailers.
    pub(crate) headers_open: bool,
    pub(crate) body_open: bool,
    pub(crate) trailers_open: bool,
    /// The body is kept for the pieces to come.
    pub(crate) buffering: bool,
    pub(crate) stopped: Option<Stop>,
    /// The headers have come out of the chain.
    pub(crate) passed: bool,
    /// All of the message has been shown to the filter.
    pub(crate) ended: bool,
    /// It ends with trailers.
    pub(crate) trailed: bool,
    /// What came behind a message that is stopped with all that follows.
    pub(crate) queue: Vec<u8>,
    pub(crate) queued_end: bool,
    pub(crate) queued_trailers: Option<Pairs>,
    /// Bytes of a body that the filter is not shown (nginx wrote them to a file).
    pub(crate) hidden: Option<Vec<u8>>,
}

/// An answer that the filter gave in place of the upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LocalReply {
    pub(crate) status: u32,
    pub(crate) headers: Pairs,
    pub(crate) body: Vec<u8>,
}

/// What a host call asked for, and happens once the filter has returned.
#[derive(Debug)]
pub(crate) enum Deferred {
    Continue(u32, Side),
    Reply(u32, LocalReply),
    Reset(u32),
    /// A context that said in `on_done` that it was not, is.
    Done(u32),
}

#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: StreamId,
    pub(crate) request: Way,
    pub(crate) response: Way,
    pub(crate) exchange: Exchange,
    /// Given with the request, beside what the host makes up itself.
    pub(crate) properties: Vec<(Vec<u8>, Vec<u8>)>,
    /// An answer has begun that is not the upstream's.
    pub(crate) replied: bool,
    /// The filter has been told that the stream is done.
    pub(crate) done: bool,
    pub(crate) upstream_asked: bool,
    /// Headers can be read, though they went on: an access log is being written.
    pub(crate) logging: bool,
}

impl Stream {
    pub(crate) fn new(id: StreamId, headers: Pairs, properties: Vec<(Vec<u8>, Vec<u8>)>) -> Self {
        Stream {
            id,
            request: Way { headers, ..Way::default() },
            response: Way::default(),
            exchange: Exchange::default(),
            properties,
            replied: false,
            done: false,
            upstream_asked: false,
            logging: false,
        }
    }

    pub(crate) fn way(&mut self, side: Side) -> &mut Way {
        match side {
            Side::Request => &mut self.request,
            Side::Response => &mut self.response,
        }
    }

    /// The filter cannot reach the request any more: it went on.
    pub(crate) fn close_request(&mut self, profile: Profile) {
        if profile.closes_maps() {
            self.request.close();
        }
    }
}

impl Way {
    fn close(&mut self) {
        (self.headers_open, self.body_open, self.trailers_open) = (false, false, false);
    }
}
