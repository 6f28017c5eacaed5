//! Requests on their way through the proxy: what the plugin does in a stream's callbacks, and what the proxy does around it.

use std::collections::VecDeque;

use holdgate_authoring::cases::{Chunks, Restart, UpstreamBehaviour, Version};
use holdgate_gate::{Answer, Changes, Pairs, Reply, STREAM_ANSWER, Step, StreamId};

use super::{Due, Native, Whose};
use crate::cases::driver::{self, Got, Handle, ObservedRequest, Sending};

type Field = (Vec<u8>, Vec<u8>);

/// One request.
pub(super) struct Stream {
    sending: Sending,
    worker: usize,
    root: usize,
    id: StreamId,
    phase: Phase,
    /// The head as it goes on, without pseudo-headers.
    fields: Vec<Field>,
    authority: String,
    /// Pieces of the body that have not come.
    pieces: VecDeque<Vec<u8>>,
    /// What has come and does not go on yet.
    buffered: Vec<u8>,
    /// The request has come whole.
    ended: bool,
    trailers: Vec<Field>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The gate decides.
    Waiting,
    /// It goes on, body and all.
    Passing,
    /// It has ended, or was answered here.
    Over,
}

impl Stream {
    pub(super) fn is(&self, worker: usize, id: StreamId) -> bool {
        self.worker == worker && self.id == id && self.phase != Phase::Over
    }
}

impl Native {
    /// Takes a request to a worker.
    pub(super) fn open(&mut self, sending: Sending, worker: usize) -> Handle {
        let handle = self.streams.len();
        let fields = fields_of(&sending);
        let pieces: VecDeque<Vec<u8>> = sending.pieces().into_iter().map(<[u8]>::to_vec).collect();
        let trailers = lower_case(&sending.trailers);
        let end = pieces.is_empty() && trailers.is_empty();
        self.note(format!("`{}` comes: {} {}", sending.name, sending.method, sending.target));
        let mut pairs: Vec<Field> = [
            (":method", sending.method.as_str()),
            (":scheme", "http"),
            (":authority", &sending.host),
            (":path", &sending.target),
        ]
        .map(|(name, value)| (name.into(), value.into()))
        .into();
        pairs.extend(fields.iter().cloned());
        let (mut root, mut id) = (0, 0);
        if let Some(of) = self.workers.get_mut(worker) {
            (id, of.next_stream) = (of.next_stream, of.next_stream + 1);
            root = of.roots.last().map_or(0, |root| root.id);
        }
        self.observed.requests.push(ObservedRequest::default());
        let authority = sending.host.clone();
        self.streams.push(Stream {
            sending,
            worker,
            root,
            id,
            phase: Phase::Waiting,
            fields,
            authority,
            pieces,
            buffered: Vec::new(),
            ended: end,
            trailers,
        });
        let now = self.now;
        let Some(of) = self.root(worker, root) else {
            // There is no configuration: nothing passes.
            self.reply(handle, 503, Vec::new(), Vec::new(), true);
            return handle;
        };
        let opened = of.gate.head(now, id, pairs, end);
        if let Some(stream) = self.streams.get_mut(handle) {
            stream.fields.retain(|(name, _)| !opened.remove.iter().any(|other| other.as_bytes() == name.as_slice()));
            stream.authority = opened.authority.unwrap_or(std::mem::take(&mut stream.authority));
        }
        self.step(handle, opened.step);
        if !end {
            self.agenda.push((self.now, Due::Piece(handle)));
        }
        handle
    }

    /// The next piece of the body comes, or the trailers behind it.
    pub(super) fn piece(&mut self, handle: Handle) {
        let Some(stream) = self.streams.get_mut(handle) else { return };
        if stream.phase == Phase::Over {
            return;
        }
        let Some(piece) = stream.pieces.pop_front() else {
            stream.ended = true;
            return self.trailers(handle);
        };
        stream.buffered.extend_from_slice(&piece);
        let more = !stream.pieces.is_empty();
        let end = !more && stream.trailers.is_empty();
        stream.ended = end;
        let (name, pause) = (stream.sending.name.clone(), stream.sending.pause);
        self.note(format!("`{name}`: {} bytes of the body come{}", piece.len(), if end { ", the last" } else { "" }));
        self.body(handle, end);
        if !end {
            let pause = if more { u64::try_from(pause.as_millis()).unwrap_or(u64::MAX) } else { 0 };
            self.agenda.push((self.now.saturating_add(pause), Due::Piece(handle)));
        }
    }

    fn body(&mut self, handle: Handle, end: bool) {
        let now = self.now;
        let Some((worker, root, id)) = self.names(handle) else { return };
        let Some(stream) = self.streams.get(handle) else { return };
        let (phase, size) = (stream.phase, stream.buffered.len());
        let body = if end { stream.buffered.clone() } else { Vec::new() };
        match phase {
            Phase::Passing => return self.flow(handle),
            Phase::Over => return,
            Phase::Waiting => {}
        }
        let Some(of) = self.root(worker, root) else { return };
        if !of.gate.awaits_body(id) {
            if of.gate.is_through(id) {
                self.pass_on(handle);
            }
            return;
        }
        if !end {
            let step = of.gate.body_so_far(id, size);
            return self.step(handle, step);
        }
        let step = of.gate.body(now, id, Some(body));
        let changes = of.gate.changes();
        if let Some(changes) = changes {
            self.change(handle, changes);
        }
        self.step(handle, step);
    }

    fn trailers(&mut self, handle: Handle) {
        let Some((worker, root, id)) = self.names(handle) else { return };
        let Some(stream) = self.streams.get(handle) else { return };
        let (phase, pairs): (Phase, Pairs) = (stream.phase, stream.trailers.iter().cloned().collect());
        let Some(of) = self.root(worker, root) else { return };
        if phase == Phase::Passing || of.gate.is_through(id) {
            let unread = of.gate.unread_trailers(&pairs);
            if let Some(stream) = self.streams.get_mut(handle) {
                stream.phase = Phase::Passing;
                stream.trailers.retain(|(name, _)| !unread.iter().any(|other| other.as_bytes() == name.as_slice()));
            }
            self.flow(handle);
        } else if phase == Phase::Waiting {
            let step = of.gate.trailers(id);
            self.step(handle, step);
        }
    }

    /// Carries out what the gate says about a request.
    pub(super) fn step(&mut self, handle: Handle, mut step: Step) {
        loop {
            match step {
                Step::Await => return,
                Step::Forward(permit) => {
                    self.decided(handle, permit.decision());
                    if let Some(stream) = self.streams.get_mut(handle).filter(|_| permit.is_single_use()) {
                        stream.fields.retain(|(name, _)| name != b"x-envoy-max-retries");
                        stream.fields.push((b"x-envoy-max-retries".to_vec(), b"0".to_vec()));
                    }
                    return self.pass_on(handle);
                }
                Step::Reply(reply) => {
                    self.decided(handle, reply.decision);
                    let Reply { status, headers, body, .. } = reply;
                    let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value.into_bytes()));
                    return self.reply(handle, status, headers.collect(), body, true);
                }
                Step::Call(callout) => {
                    if let Some(id) = self.call(&callout) {
                        return self.wait_for(id, &callout, Whose::Stream(handle));
                    }
                    match self.gate_answer(handle, None) {
                        Some(next) => step = next,
                        None => return,
                    }
                }
            }
        }
    }

    pub(super) fn stream_answer(&mut self, handle: Handle, answer: Option<Answer>) {
        if self.streams.get(handle).is_some_and(|stream| stream.phase != Phase::Waiting) {
            return;
        }
        let answer = answer.filter(|answer| answer.body.len() <= STREAM_ANSWER);
        if let Some(step) = self.gate_answer(handle, answer) {
            self.step(handle, step);
        }
    }

    fn gate_answer(&mut self, handle: Handle, answer: Option<Answer>) -> Option<Step> {
        let now = self.now;
        let (worker, root, id) = self.names(handle)?;
        Some(self.root(worker, root)?.gate.stream_answer(now, id, answer))
    }

    /// Changes a request whose whole body has come.
    pub(super) fn change(&mut self, handle: Handle, changes: Changes) {
        let Some(stream) = self.streams.get_mut(handle) else { return };
        if changes.plain_answer {
            stream.fields.retain(|(name, _)| name != b"accept-encoding");
        }
        let Some(body) = changes.body else { return };
        let described: [&[u8]; 4] = [b"content-digest", b"repr-digest", b"digest", b"content-md5"];
        stream.fields.retain(|(name, _)| !described.contains(&name.as_slice()));
        for (_, value) in stream.fields.iter_mut().filter(|(name, _)| name == b"content-length") {
            *value = body.len().to_string().into_bytes();
        }
        stream.buffered = body;
    }

    fn decided(&mut self, handle: Handle, word: &str) {
        if let Some(request) = self.observed.requests.get_mut(handle) {
            request.decision = Some(word.to_owned());
        }
    }

    /// The request goes on.
    fn pass_on(&mut self, handle: Handle) {
        let Some(stream) = self.streams.get_mut(handle) else { return };
        stream.phase = Phase::Passing;
        let name = stream.sending.name.clone();
        let headers = stream.fields.iter().map(|(name, value)| (text(name), value.clone())).collect();
        let (method, target) = (stream.sending.method.clone(), stream.sending.target.clone());
        if let Some(request) = self.observed.requests.get_mut(handle) {
            request.upstream = Some(Got { method, target, headers, ..Got::default() });
        }
        self.note(format!("`{name}` goes on to the upstream"));
        self.flow(handle);
    }

    /// What has come of a request that goes on comes to the upstream.
    fn flow(&mut self, handle: Handle) {
        let Some(stream) = self.streams.get_mut(handle) else { return };
        let body = std::mem::take(&mut stream.buffered);
        let whole = stream.ended;
        let trailers = stream.trailers.iter().map(|(name, value)| (text(name), value.clone())).collect();
        if let Some(got) = self.observed.requests.get_mut(handle).and_then(|request| request.upstream.as_mut()) {
            got.body.extend(body);
            got.complete = whole;
            got.trailers = if whole { trailers } else { Vec::new() };
        }
        self.changed = true;
        let after = match &self.upstream {
            UpstreamBehaviour::Answer(answer) => answer.after,
            UpstreamBehaviour::Reset => 0,
            UpstreamBehaviour::Never => return,
        };
        if whole {
            self.agenda.push((self.now.saturating_add(after), Due::Upstream(handle)));
        }
    }

    /// The upstream answers, or resets the stream, and the proxy answers in its place.
    pub(super) fn upstream_answers(&mut self, handle: Handle) {
        let now = self.now;
        let Some((worker, root, id)) = self.names(handle) else { return };
        if self.streams.get(handle).is_none_or(|stream| stream.phase == Phase::Over) {
            return;
        }
        let (status, mut headers, mut body) = match &self.upstream {
            UpstreamBehaviour::Answer(answer) => {
                let headers = answer.headers.iter();
                let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.clone().into_bytes()));
                (answer.status, headers.collect::<Vec<_>>(), answer.body.clone())
            }
            _ => (503, Vec::new(), b"upstream connect error or disconnect/reset before headers".to_vec()),
        };
        if let Some(of) = self.root(worker, root) {
            if of.gate.awaits_response(id) {
                of.gate.response(id, Some(status));
            }
            let value = |name: &str| headers.iter().find(|(other, _)| other == name).map(|(_, value)| text(value));
            let (content_type, encoded) = (value("content-type"), value("content-encoding").is_some());
            if of.gate.awaits_list(id)
                && of.gate.list_head(id, status, content_type.as_deref(), encoded)
                && of.gate.list_so_far(id, body.len())
            {
                if let Some(other) = of.gate.list(now, id, &body) {
                    body = other;
                }
                headers.retain(|(name, _)| name != "content-length" && name != "etag");
            }
        }
        self.reply(handle, status, headers, body, false);
    }

    /// The agent gets an answer, and the stream ends.
    fn reply(&mut self, handle: Handle, status: u16, headers: Vec<(String, Vec<u8>)>, body: Vec<u8>, by_gateway: bool) {
        let name = self.streams.get(handle).map(|stream| stream.sending.name.clone()).unwrap_or_default();
        let who = if by_gateway { "the gateway" } else { "the upstream" };
        self.note(format!("{who} answers `{name}`: {status} {}", text(&body)));
        if let Some(request) = self.observed.requests.get_mut(handle) {
            request.reply = Some(driver::Reply { status, headers, body });
            request.by_gateway = by_gateway;
        }
        self.close(handle);
    }

    /// The stream has ended, for whatever reason.
    fn close(&mut self, handle: Handle) {
        let Some((worker, root, id)) = self.names(handle) else { return };
        if let Some(stream) = self.streams.get_mut(handle) {
            stream.phase = Phase::Over;
        }
        if let Some(of) = self.root(worker, root) {
            of.gate.closed(id);
        }
        self.cancel_calls(handle);
    }

    /// The callouts of a stream end with it.
    fn cancel_calls(&mut self, handle: Handle) {
        let of_stream = |whose: &Whose| matches!(whose, Whose::Stream(other) if *other == handle);
        let ids: Vec<u64> =
            self.calls.iter().filter(|(_, waiting)| of_stream(&waiting.whose)).map(|(id, _)| *id).collect();
        for id in ids {
            self.calls.remove(&id);
            self.with_service(|service, _| service.forget(id));
        }
    }

    pub(super) fn close_by_agent(&mut self, handle: Handle) {
        if self.streams.get(handle).is_none_or(|stream| stream.phase == Phase::Over) {
            return;
        }
        let name = self.streams.get(handle).map(|stream| stream.sending.name.clone()).unwrap_or_default();
        self.note(format!("the agent of `{name}` hangs up"));
        if let Some(request) = self.observed.requests.get_mut(handle) {
            request.gone = true;
        }
        self.close(handle);
    }

    /// A worker's VM is lost, with its streams and calls: the proxy answers 503, if it is still there.
    pub(super) fn lose_worker(&mut self, worker: usize, what: Restart) {
        for (handle, stream) in self.streams.iter_mut().enumerate() {
            if stream.worker == worker && stream.phase != Phase::Over {
                stream.phase = Phase::Over;
                if let Some(request) = self.observed.requests.get_mut(handle) {
                    match what {
                        Restart::Proxy => request.reset = true,
                        Restart::Worker(_) => {
                            request.reply = Some(driver::Reply { status: 503, ..driver::Reply::default() });
                            request.by_gateway = true;
                        }
                    }
                }
            }
        }
        let streams = &self.streams;
        let lost = |whose: &Whose| match whose {
            Whose::Stream(handle) => streams.get(*handle).is_some_and(|stream| stream.worker == worker),
            Whose::Root { worker: other, .. } => *other == worker,
        };
        let ids: Vec<u64> = self.calls.iter().filter(|(_, waiting)| lost(&waiting.whose)).map(|(id, _)| *id).collect();
        for id in ids {
            self.calls.remove(&id);
            self.with_service(|service, _| service.forget(id));
        }
        if let Some(of) = self.workers.get_mut(worker) {
            of.roots.clear();
        }
    }

    fn names(&self, handle: Handle) -> Option<(usize, usize, StreamId)> {
        self.streams.get(handle).map(|stream| (stream.worker, stream.root, stream.id))
    }
}

/// The head's fields as a proxy shows them: names in lower case, and what tells the length of the body.
fn fields_of(sending: &Sending) -> Vec<Field> {
    let mut fields = lower_case(&sending.headers);
    let told =
        |fields: &[Field]| fields.iter().any(|(name, _)| name == b"content-length" || name == b"transfer-encoding");
    if told(&fields) || (sending.body.is_empty() && sending.trailers.is_empty()) {
        return fields;
    }
    if sending.chunks == Chunks::Whole && sending.trailers.is_empty() {
        fields.push((b"content-length".to_vec(), sending.body.len().to_string().into_bytes()));
    } else if sending.version == Version::Http1 {
        fields.push((b"transfer-encoding".to_vec(), b"chunked".to_vec()));
    }
    fields
}

fn lower_case(fields: &[Field]) -> Vec<Field> {
    fields.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
