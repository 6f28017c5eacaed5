//! One request from its first callback to its last.

use std::collections::BTreeMap;

use crate::{
    filter::HostError,
    state::{LocalReply, Pairs, Stream},
    vm::{ROOT, Vm},
};

const CONTINUE: u32 = 0;

/// A request as the proxy's codec delivers it, pseudo-headers first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    pub headers: Pairs,
    pub body: Option<Vec<u8>>,
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

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It went on to the upstream, which answered 200.
    Forwarded(Seen),
    /// The filter answered it.
    Replied(LocalReply),
    /// It was paused when it had come whole, and was hung up on.
    Paused,
}

/// A request as it went on, in the form in which the upstream sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub headers: Pairs,
    pub body: Vec<u8>,
}

/// A request that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    pub end: End,
    pub callbacks: Vec<Callback>,
}

impl Done {
    /// Fuel of all callbacks together.
    pub fn fuel(&self) -> u64 {
        self.callbacks.iter().map(|callback| callback.fuel).sum()
    }

    /// Host calls of all callbacks together, by name.
    pub fn calls(&self) -> BTreeMap<&'static str, u64> {
        let mut all = BTreeMap::new();
        for (name, count) in self.callbacks.iter().flat_map(|callback| &callback.calls) {
            *all.entry(*name).or_default() += count;
        }
        all
    }
}

impl Vm {
    /// Plays a request through all of its callbacks, in Envoy's order; its body comes in one piece.
    pub fn request(&mut self, request: &Request) -> Result<Done, HostError> {
        let id = self.open(Stream { request: request.headers.clone(), ..Stream::default() });
        let mut done = Vec::new();
        let end = self.play(id, request, &mut done);
        self.close(id)?;
        Ok(Done { end: end?, callbacks: done })
    }

    fn play(&mut self, id: u32, request: &Request, done: &mut Vec<Callback>) -> Result<End, HostError> {
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        self.enter::<_, ()>("proxy_on_context_create", (id, ROOT), done)?;
        self.stream(id)?;
        let head = (id, count(request.headers.len()), u32::from(request.body.is_none()));
        let mut action = self.enter::<_, u32>("proxy_on_request_headers", head, done)?;
        if let (Some(body), None) = (&request.body, &self.stream(id)?.reply) {
            self.stream(id)?.request_body.clone_from(body);
            action = self.enter::<_, u32>("proxy_on_request_body", (id, count(body.len()), 1_u32), done)?;
        }
        let stream = self.stream(id)?;
        let passes = action == CONTINUE || stream.resumed;
        let end = match &stream.reply {
            Some(reply) => End::Replied(reply.clone()),
            None if passes => {
                End::Forwarded(Seen { headers: stream.request.clone(), body: stream.request_body.clone() })
            }
            None => End::Paused,
        };
        if end != End::Paused {
            let status = stream.reply.as_ref().map_or(200, |reply| reply.status).to_string();
            stream.response = vec![(b":status".to_vec(), status.into_bytes())];
            self.enter::<_, u32>("proxy_on_response_headers", (id, 1_u32, 0_u32), done)?;
            self.stream(id)?;
            self.enter::<_, u32>("proxy_on_response_body", (id, 2_u32, 1_u32), done)?;
        }
        self.stream(id)?;
        self.enter::<_, ()>("proxy_on_log", id, done)?;
        self.stream(id)?;
        self.enter::<_, u32>("proxy_on_done", id, done)?;
        self.stream(id)?;
        self.enter::<_, ()>("proxy_on_delete", id, done)?;
        Ok(end)
    }
}
