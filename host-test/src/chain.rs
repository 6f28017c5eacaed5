//! The filter chain of a stream, with this one filter in it: what passes, what waits, and what is answered on the way.

use crate::{
    message::{AnsweredBy, Message, Pairs, pairs},
    proxy::{Event, Proxy},
    stream::{Deferred, LocalReply, Side, Stop, Stream},
    vm::{Dead, Vm},
};

/// What a filter's callback returns for "go on".
const CONTINUE: u32 = 0;

/// So many local replies in one entry into the VM run one inside the other; one more exhausts the stack (measured on Envoy).
const NESTED: usize = 300;

impl Vm {
    /// A request's headers come.
    pub(crate) fn open(&mut self, proxy: &mut Box<Proxy>, root: u32, stream: Stream, end: bool) -> Result<u32, Dead> {
        let context = self.create(proxy, root, stream)?;
        self.headers(proxy, context, Side::Request, end)?;
        Ok(context)
    }

    /// Headers, which are in their place already, go into the chain.
    pub(crate) fn headers(&mut self, proxy: &mut Box<Proxy>, context: u32, side: Side, end: bool) -> Result<(), Dead> {
        let profile = proxy.profile;
        let Some(stream) = self.stream(context) else { return Ok(()) };
        let way = stream.way(side);
        way.headers_open = true;
        let count = u32::try_from(way.headers.len()).unwrap_or(u32::MAX);
        let (name, function) = match side {
            Side::Request => ("proxy_on_request_headers", self.callbacks.request_headers.clone()),
            Side::Response => ("proxy_on_response_headers", self.callbacks.response_headers.clone()),
        };
        let flag = u32::from(end && profile.ends_at_headers());
        let action = self.enter(proxy, name, context, function.as_ref(), (context, count, flag))?;
        let Some(way) = self.still(context, side) else { return Ok(()) };
        way.ended = end;
        if action.unwrap_or(CONTINUE) != CONTINUE {
            way.stopped = Some(if profile.pause_stops_all() { Stop::All } else { Stop::Headers });
            way.queued_end = end && profile.pause_stops_all();
            return Ok(());
        }
        if side == Side::Request && profile.collects_bodies() && !end {
            return Ok(());
        }
        way.headers_open &= !profile.closes_maps();
        self.flush(proxy, context, side)
    }

    /// A piece of a body comes.
    pub(crate) fn data(
        &mut self,
        proxy: &mut Box<Proxy>,
        context: u32,
        side: Side,
        bytes: &[u8],
        end: bool,
    ) -> Result<(), Dead> {
        let (profile, limit) = (proxy.profile, proxy.buffer_limit);
        let Some(way) = self.still(context, side) else { return Ok(()) };
        if way.stopped == Some(Stop::All) || side == Side::Request && profile.collects_bodies() {
            way.queue.extend(bytes);
            way.queued_end |= end;
            if way.stopped == Some(Stop::All) || !end {
                return Ok(());
            }
            return self.collected(proxy, context);
        }
        if way.buffering {
            way.body.extend(bytes);
        } else {
            way.body = bytes.to_vec();
        }
        self.body(proxy, context, side, end, limit)
    }

    /// The whole body of a request has been collected, as nginx does it; the filter is told of one that is not empty.
    fn collected(&mut self, proxy: &mut Box<Proxy>, context: u32) -> Result<(), Dead> {
        let limit = proxy.buffer_limit;
        let Some(way) = self.still(context, Side::Request) else { return Ok(()) };
        let body = std::mem::take(&mut way.queue);
        if body.is_empty() {
            way.ended = true;
            return self.flush(proxy, context, Side::Request);
        }
        if body.len() > limit {
            way.hidden = Some(body.clone());
        }
        way.body = body;
        self.body(proxy, context, Side::Request, true, usize::MAX)
    }

    /// Shows the filter what there is of a body.
    fn body(&mut self, proxy: &mut Box<Proxy>, context: u32, side: Side, end: bool, limit: usize) -> Result<(), Dead> {
        let profile = proxy.profile;
        let Some(way) = self.still(context, side) else { return Ok(()) };
        way.body_open = true;
        let size = u32::try_from(way.body.len()).unwrap_or(u32::MAX);
        let (name, function) = match side {
            Side::Request => ("proxy_on_request_body", self.callbacks.request_body.clone()),
            Side::Response => ("proxy_on_response_body", self.callbacks.response_body.clone()),
        };
        let action = self.enter(proxy, name, context, function.as_ref(), (context, size, u32::from(end)))?;
        let Some(way) = self.still(context, side) else { return Ok(()) };
        way.ended = end;
        if action.unwrap_or(CONTINUE) == CONTINUE {
            way.headers_open &= !profile.closes_maps();
            way.body_open = false;
            return self.flush(proxy, context, side);
        }
        way.buffering = true;
        way.stopped = Some(Stop::Body);
        if way.body.len() > limit {
            return self.overflow(proxy, context, side);
        }
        Ok(())
    }

    /// A message ends with trailers.
    pub(crate) fn trailers(
        &mut self,
        proxy: &mut Box<Proxy>,
        context: u32,
        side: Side,
        trailers: Pairs,
    ) -> Result<(), Dead> {
        let profile = proxy.profile;
        let Some(way) = self.still(context, side) else { return Ok(()) };
        if way.stopped == Some(Stop::All) {
            way.queued_trailers = Some(trailers);
            return Ok(());
        }
        if side == Side::Request && profile.collects_bodies() {
            // nginx forwards no trailers of requests.
            return self.collected(proxy, context);
        }
        (way.trailers, way.trailers_open, way.trailed) = (trailers, true, true);
        let count = u32::try_from(way.trailers.len()).unwrap_or(u32::MAX);
        let (name, function) = match side {
            Side::Request => ("proxy_on_request_trailers", self.callbacks.request_trailers.clone()),
            Side::Response => ("proxy_on_response_trailers", self.callbacks.response_trailers.clone()),
        };
        let action = self.enter(proxy, name, context, function.as_ref(), (context, count))?;
        let Some(way) = self.still(context, side) else { return Ok(()) };
        way.ended = true;
        if action.unwrap_or(CONTINUE) == CONTINUE {
            way.trailers_open = false;
            return self.flush(proxy, context, side);
        }
        way.stopped = Some(Stop::Trailers);
        Ok(())
    }

    /// The filter lets a message go on.
    fn resume(&mut self, proxy: &mut Box<Proxy>, context: u32, side: Side) -> Result<(), Dead> {
        let Some(way) = self.still(context, side) else { return Ok(()) };
        match way.stopped {
            None => {
                self.find(proxy, "a message is let go on that is not paused: the host does not listen");
                Ok(())
            }
            Some(Stop::All) => {
                way.stopped = None;
                let body = std::mem::take(&mut way.queue);
                let (end, trailers) = (way.queued_end && !way.ended, way.queued_trailers.take());
                let collects = side == Side::Request && proxy.profile.collects_bodies();
                if !collects || way.ended {
                    self.flush(proxy, context, side)?;
                }
                if !body.is_empty() || end {
                    self.data(proxy, context, side, &body, end)?;
                }
                trailers.map_or(Ok(()), |trailers| self.trailers(proxy, context, side, trailers))
            }
            Some(_) => self.flush(proxy, context, side),
        }
    }

    /// Lets out of the chain what is in it of a message.
    fn flush(&mut self, proxy: &mut Box<Proxy>, context: u32, side: Side) -> Result<(), Dead> {
        let now = proxy.now;
        proxy.progress += 1;
        let Some(stream) = self.stream(context) else { return Ok(()) };
        let Stream { request, response, exchange, .. } = stream;
        let (way, out): (_, &mut Message) = match side {
            Side::Request => (request, &mut exchange.upstream),
            Side::Response => (response, &mut exchange.client),
        };
        way.stopped = None;
        way.buffering = false;
        way.body_open = false;
        if !std::mem::replace(&mut way.passed, true) {
            (out.headers, out.at) = (Some(way.headers.clone()), now);
        }
        // What the filter was not shown goes on as it came.
        let body = way.hidden.take().unwrap_or_else(|| std::mem::take(&mut way.body));
        out.body.extend(body);
        way.body.clear();
        if way.ended {
            out.trailers = way.trailed.then(|| way.trailers.clone());
            out.complete = true;
        }
        let complete = out.complete;
        proxy.touched.push(stream.id);
        self.note(proxy, context, side);
        match side {
            Side::Request => {
                if let Some(stream) = self.stream(context) {
                    stream.upstream_asked = true;
                    if complete {
                        ask_upstream(proxy, stream);
                    }
                }
                Ok(())
            }
            Side::Response if complete => self.finish(proxy, context),
            Side::Response => Ok(()),
        }
    }

    /// More is buffered than there is room for.
    fn overflow(&mut self, proxy: &mut Box<Proxy>, context: u32, side: Side) -> Result<(), Dead> {
        let Some(stream) = self.stream(context) else { return Ok(()) };
        if stream.exchange.client.headers.is_some() {
            stream.exchange.reset = true;
            return self.finish(proxy, context);
        }
        let (status, body) = match side {
            Side::Request => (413, "Payload Too Large"),
            Side::Response => (500, "Internal Server Error"),
        };
        stream.replied = false;
        let reply = LocalReply { status, headers: Pairs::new(), body: body.into() };
        self.reply(proxy, context, reply, AnsweredBy::Proxy)
    }

    /// An answer in place of the upstream's; it passes through the chain as one.
    pub(crate) fn reply(
        &mut self,
        proxy: &mut Box<Proxy>,
        context: u32,
        reply: LocalReply,
        by: AnsweredBy,
    ) -> Result<(), Dead> {
        let Some(stream) = self.stream(context) else { return Ok(()) };
        if stream.replied || stream.exchange.client.headers.is_some() {
            self.find(proxy, "a request is answered that has its answer");
            return Ok(());
        }
        stream.replied = true;
        stream.exchange.answered_by = Some(by);
        let LocalReply { status, headers, body } = reply;
        let mut all = pairs([(":status", status.to_string().as_str())]);
        all.extend(headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)));
        if !body.is_empty() {
            if !all.iter().any(|(name, _)| name == b"content-type") {
                all.extend(pairs([("content-type", "text/plain")]));
            }
            all.retain(|(name, _)| name != b"content-length");
            all.extend(pairs([("content-length", body.len().to_string().as_str())]));
        }
        stream.response = crate::stream::Way { headers: all, ..Default::default() };
        self.headers(proxy, context, Side::Response, body.is_empty())?;
        if body.is_empty() { Ok(()) } else { self.data(proxy, context, Side::Response, &body, true) }
    }

    /// Nothing more comes of a stream: the filter is told, and forgets it.
    pub(crate) fn finish(&mut self, proxy: &mut Box<Proxy>, context: u32) -> Result<(), Dead> {
        let Some(stream) = self.stream(context) else { return Ok(()) };
        if std::mem::replace(&mut stream.done, true) {
            return Ok(());
        }
        (stream.logging, stream.exchange.over) = (true, true);
        let (log, done) = (self.callbacks.log.clone(), self.callbacks.done.clone());
        self.enter(proxy, "proxy_on_log", context, log.as_ref(), context)?;
        if let Some(stream) = self.stream(context) {
            stream.logging = false;
        }
        let done = self.enter(proxy, "proxy_on_done", context, done.as_ref(), context)?;
        if done.unwrap_or(1) == 0 { Ok(()) } else { self.delete(proxy, context) }
    }

    /// Forgets a stream, or a root context that is done.
    fn delete(&mut self, proxy: &mut Box<Proxy>, context: u32) -> Result<(), Dead> {
        let function = self.callbacks.delete.clone();
        self.enter(proxy, "proxy_on_delete", context, function.as_ref(), context)?;
        let state = self.state();
        // What it asked for and was not answered is cancelled with it.
        let cancelled = state.callouts.extract_if(.., |_, callout| callout.context == context);
        proxy.gone.extend(cancelled.map(|(token, callout)| (callout.worker, token)));
        let root = state.root_of.remove(&context);
        state.roots.remove(&context);
        if let Some(stream) = state.streams.remove(&context) {
            proxy.finish(stream.id, stream.exchange);
        }
        root.map_or(Ok(()), |root| self.end_root(proxy, root))
    }

    /// Ends a root context that another configuration has replaced, once it has no stream left.
    pub(crate) fn end_root(&mut self, proxy: &mut Box<Proxy>, root: u32) -> Result<(), Dead> {
        let state = self.state();
        let replaced = state.roots.get(&root).is_some_and(|context| context.replaced);
        if !replaced || state.root_of.values().any(|other| *other == root) {
            return Ok(());
        }
        let function = self.callbacks.done.clone();
        let done = self.enter(proxy, "proxy_on_done", root, function.as_ref(), root)?;
        if done.unwrap_or(1) == 0 { Ok(()) } else { self.delete(proxy, root) }
    }

    /// Carries out what host calls asked for, now that the filter has returned. It is Envoy's nesting, unrolled: what is
    /// answered here enters the VM anew before the rest is done.
    pub(crate) fn drain(&mut self, proxy: &mut Box<Proxy>) -> Result<(), Dead> {
        if std::mem::replace(&mut self.draining, true) {
            return Ok(());
        }
        let mut nested = 0;
        while let Some(deferred) = self.state().deferred.pop_front() {
            match deferred {
                Deferred::Continue(context, side) => self.resume(proxy, context, side)?,
                Deferred::Reply(context, reply) => {
                    nested += 1;
                    if nested > NESTED {
                        let worker = self.state().worker;
                        let what = format!("more than {NESTED} answers in one callback: the stack is exhausted");
                        proxy.find(worker, self.state().callback, what, true);
                        return Err(Dead);
                    }
                    self.reply(proxy, context, reply, AnsweredBy::Filter)?;
                }
                Deferred::Reset(context) => {
                    if let Some(stream) = self.stream(context) {
                        stream.exchange.reset = true;
                    }
                    self.finish(proxy, context)?;
                }
                Deferred::Done(context) => {
                    let waits = self.stream(context).is_none_or(|stream| stream.done);
                    if waits {
                        self.delete(proxy, context)?;
                    } else {
                        self.find(proxy, "`proxy_done` for a stream that is not over");
                    }
                }
            }
        }
        self.draining = false;
        Ok(())
    }

    /// The way of a message that is still wanted.
    fn still(&mut self, context: u32, side: Side) -> Option<&mut crate::stream::Way> {
        let stream = self.stream(context).filter(|stream| !stream.done)?;
        if side == Side::Request && stream.replied { None } else { Some(stream.way(side)) }
    }

    fn find(&mut self, proxy: &mut Proxy, what: &str) {
        let state = self.state();
        let (worker, callback) = (state.worker, state.callback);
        proxy.find(worker, callback, what.to_owned(), false);
    }

    fn note(&mut self, proxy: &mut Proxy, context: u32, side: Side) {
        if proxy.trace.is_none() {
            return;
        }
        let worker = self.state().worker;
        let Some(stream) = self.stream(context) else { return };
        let (to, message) = match side {
            Side::Request => ("upstream", &stream.exchange.upstream),
            Side::Response => ("client", &stream.exchange.client),
        };
        let headers = message.headers.as_deref().map(crate::trace::shown_pairs).unwrap_or_default();
        let size = message.body.len();
        let end = if message.complete { ", to its end" } else { "" };
        if let Some(trace) = &mut proxy.trace {
            trace.note(proxy.now, worker, &format!("=> {to}: #{context} {headers}; {size} bytes{end}"));
        }
    }
}

/// Lets the upstream have its say, if there is one that speaks by itself.
fn ask_upstream(proxy: &mut Proxy, stream: &Stream) {
    let Some(upstream) = &mut proxy.upstream else { return };
    let answer = upstream(&stream.exchange);
    let after = match &answer {
        crate::message::UpstreamAnswer::Answer { after, .. } => u64::try_from(after.as_nanos()).unwrap_or(u64::MAX),
        _ => 0,
    };
    proxy.plan(after, Event::Upstream { stream: stream.id, answer });
}
