//! A request's arrival in its own callbacks: head and body, until there is a verdict.

use std::rc::Rc;

use holdgate_engine::{Body, Head as HeadVerdict, Mcp, Policy, Request, Verdict};
use holdgate_protocol::{Actor, Json, gateway::Outcome, jws::JwsError};

use super::{
    AwaitingBody, Changes, Gate, HELD_OVERHEAD, Opened, Step, Stream, StreamId,
    hold::Pending,
    told::{
        denied_by_policy, keys_unavailable, late_body, length_required, malformed, refused, suspended, too_large,
        too_many_bodies, unauthorized, unavailable, unreadable,
    },
};
use crate::{
    Head, Pairs, Permit, Reply,
    canonical::{is_free, is_reserved},
    config::{AwaitBody, OnStale, Untagged},
    content::json_subtype,
    identity::{Identity, IdentityError},
    mcp::{Endpoints, Message, TOOLS_LIST, check_head},
    reply::TASKS,
    view::{Parameters, View},
};

impl Gate {
    /// A request's head has come. `end`: it has no body. `now` is in Unix milliseconds.
    pub fn head(&mut self, now: u64, id: StreamId, pairs: impl Into<Pairs>, end: bool) -> Opened {
        self.head_of(now, id, pairs.into(), end)
    }

    fn head_of(&mut self, now: u64, id: StreamId, pairs: Pairs, end: bool) -> Opened {
        let reserved = pairs.names().filter(|name| is_reserved(name));
        let mut remove: Vec<String> = reserved.filter_map(|name| String::from_utf8(name.to_vec()).ok()).collect();
        if !self.config.identity.forward {
            remove.push(self.config.identity.header.clone());
        }
        self.keep_time(now);
        self.set_out(now);
        match Head::read(pairs, &self.config.identity.header) {
            Ok(head) => {
                let authority = head.renamed.then(|| head.authority().to_owned());
                let bodiless = !end && self.config.body == AwaitBody::Continue && head.announces_no_body();
                self.course(id).headed(&head);
                let step = self.canonical_head(now, id, head, end || bodiless).unwrap_or_else(Step::Reply);
                let step = self.settle(now, id, step);
                Opened { remove, authority, bodiless, step }
            }
            Err(wrong) => {
                let step = self.settle(now, id, Step::Reply(refused(wrong)));
                Opened { remove, authority: None, bodiless: false, step }
            }
        }
    }

    /// A body has come that the head did not announce: what was decided is not about this request.
    pub fn surplus(&mut self, id: StreamId) -> Step {
        if let Some(Stream::Granted { hold, attempt, .. }) = self.take_if(id, |_| true) {
            self.outcomes.push(Outcome { hold, attempt, forwarded: false, status: None });
        }
        self.set_out(self.telling.now);
        self.settle(self.telling.now, id, Step::Reply(length_required()))
    }

    pub(super) fn canonical_head(&mut self, now: u64, id: StreamId, head: Head, end: bool) -> Result<Step, Reply> {
        let Some(policy) = self.policy.clone().filter(|_| self.feed.cursor.is_some()) else {
            return Err(unavailable("The gateway has no policy in force yet."));
        };
        self.course(id).under(&policy);
        self.refuse_stale(now)?;
        let identity = match self.identities.identify(&self.config.identity, &head, now, &mut *self.host) {
            Ok(identity) => Some(identity),
            Err(IdentityError::AwaitKeys(issuer)) => return self.await_keys(now, id, issuer, head, end),
            Err(IdentityError::KeysUnavailable) => return Err(keys_unavailable()),
            Err(IdentityError::Missing) if self.config.identity.untagged == Untagged::Evaluate => None,
            Err(error) => return Err(unauthorized(&error)),
        };
        if let Some(identity) = &identity {
            self.course(id).identified(identity);
        }
        self.refuse_suspended(identity.as_deref())?;
        if let Some(hold) = head.path().strip_prefix(TASKS) {
            return self.ask_task(now, id, &head, hold, identity.as_deref());
        }
        let parameters = Parameters::of(&policy, &head).map_err(refused)?;
        let view = View::new(policy.needs(), &head, &parameters, identity.as_deref(), now).map_err(refused)?;
        // What goes to an MCP endpoint is a message: its body is read whatever the head says, unless that is no.
        let message = self.config.mcp.serve(&head, end)?;
        let whole = end && !message;
        let mcp = if message { Mcp::Unread } else { Mcp::None };
        let request = Request { mcp, ..view.request(if whole { Body::Empty } else { Body::Unread }) };
        let rates = self.count(now, id, &policy, &request, whole);
        let request = Request { rates: &rates, ..request };
        match policy.evaluate_head(&Request { body: Body::Unread, ..request }) {
            HeadVerdict::Decided(verdict @ Verdict::Deny(_)) => {
                return self.decide_by_head(now, id, &policy, &request, verdict);
            }
            _ if message => check_head(&head)?,
            HeadVerdict::Decided(Verdict::Hold(_)) => {}
            HeadVerdict::Decided(verdict) => return self.decide_by_head(now, id, &policy, &request, verdict),
            HeadVerdict::NeedsBody if end => {}
            HeadVerdict::NeedsBody => readable(&head)?,
        }
        if head.upgrades() {
            return Err(malformed("A request that may be held cannot ask for an upgrade."));
        }
        let announced = head.field("content-length").and_then(|length| length.parse::<u64>().ok());
        if let Some(length) = announced {
            self.check_size(usize::try_from(length).unwrap_or(usize::MAX))?;
        }
        // Such a host lets a head go on and brings the body behind it, unless that is empty: then nobody would decide.
        if self.config.body == AwaitBody::Continue && !end && announced.is_none() {
            return Err(length_required());
        }
        let until = now.saturating_add(self.config.body_within);
        let size = head.size() + HELD_OVERHEAD;
        let awaiting = AwaitingBody { head, identity, arrived: now, until, size };
        if end {
            return self.complete(now, id, awaiting, Vec::new());
        }
        self.expect(&awaiting.account(), size)?;
        // ngx_wasm_module lets nobody answer a stream from the root: there a late body is refused when it has come.
        if self.config.body == AwaitBody::Pause {
            self.deadlines.insert((until, id));
        }
        self.streams.insert(id, Stream::Body(Box::new(awaiting)));
        Ok(Step::Await)
    }

    /// The head has decided.
    fn decide_by_head(
        &mut self,
        now: u64,
        id: StreamId,
        policy: &Rc<Policy>,
        request: &Request<'_>,
        verdict: Verdict,
    ) -> Result<Step, Reply> {
        self.judged(now, id, policy, verdict, None);
        policy.shadow_by_head(request).for_each(|rule| self.shadowed(id, policy, rule));
        pass_or_deny(policy, verdict)
    }

    /// Whether the stream waits for the rest of its body.
    pub fn awaits_body(&self, id: StreamId) -> bool {
        matches!(self.streams.get(&id), Some(Stream::Body(_) | Stream::Keys(_)))
    }

    /// Whether the root context has let the stream go on, so that what is left of its body follows.
    pub fn is_through(&self, id: StreamId) -> bool {
        matches!(self.streams.get(&id), Some(Stream::Through))
    }

    /// So many bytes of the body have come, and more may follow.
    pub fn body_so_far(&mut self, id: StreamId, size: usize) -> Step {
        if let Some(Stream::Keys(_)) = self.streams.get(&id) {
            return self.body_before_keys(id, size);
        }
        match self.check_size(size).and_then(|()| self.count_body(id, size)) {
            Ok(()) => Step::Await,
            Err(reply) => {
                self.take_if(id, |_| true);
                self.settle(self.telling.now, id, Step::Reply(reply))
            }
        }
    }

    fn count_body(&mut self, id: StreamId, size: usize) -> Result<(), Reply> {
        let Some(Stream::Body(awaiting)) = self.streams.get(&id) else { return Ok(()) };
        let size = awaiting.head.size() + HELD_OVERHEAD + size;
        let (account, more) = (awaiting.account(), size.saturating_sub(awaiting.size));
        self.expect(&account, more)?;
        if let Some(Stream::Body(awaiting)) = self.streams.get_mut(&id) {
            awaiting.size += more;
        }
        Ok(())
    }

    /// Counts bytes of a body on its way, if there is room for them: many slow uploads fill the memory too.
    fn expect(&mut self, account: &Actor, more: usize) -> Result<(), Reply> {
        if self.awaited.of(account) + more > self.config.max_agent_bytes {
            return Err(too_many_bodies());
        }
        if self.awaited.total + more > self.config.max_parked_bytes {
            return Err(unavailable("The gateway awaits as many bodies as it can."));
        }
        self.awaited.grow(account, more);
        Ok(())
    }

    /// The whole body has come; `None` where the host has lost it.
    pub fn body(&mut self, now: u64, id: StreamId, body: Option<Vec<u8>>) -> Step {
        if let Some(Stream::Keys(_)) = self.streams.get(&id) {
            return self.whole_body_before_keys(id, body);
        }
        let Some(Stream::Body(awaiting)) = self.take_if(id, |stream| matches!(stream, Stream::Body(_))) else {
            return Step::Await;
        };
        let body = body.ok_or_else(|| malformed("The gateway could not read the body."));
        let in_time = if now > awaiting.until { Err(late_body()) } else { body };
        let whole = in_time.and_then(|body| self.check_size(body.len()).map(|()| body));
        let step = whole.and_then(|body| self.complete(now, id, *awaiting, body)).unwrap_or_else(Step::Reply);
        self.settle(now, id, step)
    }

    /// The trailers of a request that goes on: the names of those to remove.
    ///
    /// What nobody has evaluated must not reach an upstream that reads trailers as headers: names that are reserved, that
    /// rules or the canonical form look at, and those that are no proper names of headers.
    pub fn unread_trailers(&self, pairs: &Pairs) -> Vec<String> {
        let looked_at = self.policy.as_deref().map_or(&[][..], |policy| &policy.needs().headers);
        let names = pairs.names().filter_map(|name| String::from_utf8(name.to_vec()).ok());
        names
            .filter(|name| {
                is_reserved(name.as_bytes())
                    || !is_free(name)
                    || *name == self.config.identity.header
                    || looked_at.binary_search(name).is_ok()
            })
            .collect()
    }

    /// Trailers have come behind a body that was awaited: they would not be covered by the digest.
    pub fn trailers(&mut self, id: StreamId) -> Step {
        let reply = match self.take_if(id, |_| true) {
            Some(Stream::Keys(_)) => keys_unavailable(),
            _ => malformed("A request whose body is inspected or held cannot have trailers."),
        };
        self.settle(self.telling.now, id, Step::Reply(reply))
    }

    pub(super) fn check_size(&self, size: usize) -> Result<(), Reply> {
        if size <= self.config.max_body {
            return Ok(());
        }
        Err(too_large(self.config.max_body))
    }

    /// Decides on a whole request. Time has passed since its head came: whatever that decided is decided anew.
    fn complete(&mut self, now: u64, id: StreamId, awaiting: AwaitingBody, mut body: Vec<u8>) -> Result<Step, Reply> {
        let AwaitingBody { head, identity, arrived, .. } = awaiting;
        let Some(policy) = self.policy.clone() else { return Err(unavailable("The policy is gone.")) };
        self.course(id).under(&policy);
        self.refuse_stale(now)?;
        self.refuse_lapsed(now, &head, identity.as_deref())?;
        let parameters = Parameters::of(&policy, &head).map_err(refused)?;
        let view = View::new(policy.needs(), &head, &parameters, identity.as_deref(), now).map_err(refused)?;
        let parsed = Parsed::of(&policy, &self.config.mcp, &head, &body)?;
        let request = parsed.seen_by(&view);
        let rates = self.count(now, id, &policy, &request, true);
        let request = Request { rates: &rates, ..request };
        if let Parsed::Unreadable(reply) = &parsed
            && policy.evaluate_head(&Request { body: Body::Unread, ..request }) == HeadVerdict::NeedsBody
        {
            return Err(reply.clone());
        }
        let verdict = policy.evaluate(&request);
        let checkpoint = if let Verdict::Hold(_) = verdict { policy.checkpoint(&request) } else { None };
        self.judged(now, id, &policy, verdict, checkpoint.as_ref());
        policy.shadow(&request).for_each(|rule| self.shadowed(id, &policy, rule));
        let Verdict::Hold(_) = verdict else {
            let step = pass_or_deny(&policy, verdict).map_err(|reply| parsed.told(&head, reply))?;
            self.let_on(id, head, identity, &parsed);
            return Ok(step);
        };
        let Some(checkpoint) = checkpoint else {
            return Err(unavailable("The policy holds the request without saying how it is approved."));
        };
        let Some(identity) = identity else { return Err(unauthorized(&IdentityError::Missing)) };
        let message = parsed.take_message();
        let rewritten = message.as_ref().and_then(Message::rewritten);
        if let Some(rewritten) = &rewritten {
            body.clone_from(rewritten);
        }
        let plain_answer = message.as_ref().is_some_and(|message| message.method() == TOOLS_LIST);
        if plain_answer || rewritten.is_some() {
            self.changes = Some(Changes { body: rewritten, plain_answer });
        }
        self.hold(now, id, Pending { head, identity, body, message, arrived }, &policy, checkpoint)
    }

    pub(super) fn refuse_stale(&self, now: u64) -> Result<(), Reply> {
        if self.config.on_stale == OnStale::Deny && self.is_stale(now) {
            return Err(unavailable("The gateway has lost touch with the approval service."));
        }
        Ok(())
    }

    /// Refuses an agent that was suspended while its request waited, or whose token has expired or lost the key that
    /// signed it.
    pub(super) fn refuse_lapsed(&mut self, now: u64, head: &Head, identity: Option<&Identity>) -> Result<(), Reply> {
        self.refuse_suspended(identity)?;
        let Some(identity) = identity else { return Ok(()) };
        if !identity.is_valid_at(now / 1000) {
            return Err(unauthorized(&IdentityError::Expired));
        }
        if self.identities.vouch_for(identity) {
            return Ok(());
        }
        match self.identities.identify(&self.config.identity, head, now, &mut *self.host) {
            Ok(_) => Ok(()),
            Err(IdentityError::KeysUnavailable) => Err(keys_unavailable()),
            // Keys that came after its own do not have it, so that there is nothing to wait for.
            Err(IdentityError::AwaitKeys(_)) => Err(unauthorized(&IdentityError::Signature(JwsError::Signature))),
            Err(error) => Err(unauthorized(&error)),
        }
    }

    pub(super) fn refuse_suspended(&self, identity: Option<&Identity>) -> Result<(), Reply> {
        match identity {
            Some(identity) if self.suspended.contains(&identity.caller) => Err(suspended()),
            _ => Ok(()),
        }
    }
}

/// A body as rules see it.
pub(super) enum Parsed {
    Empty,
    Json(Json),
    /// The message of a request to an MCP endpoint.
    Message(Message),
    /// Not to be judged: what rules ask of it is unknown. The reply is for a request that depends on it.
    Unreadable(Reply),
}

impl Parsed {
    /// Reads a body as far as the policy looks into it, and a message in any case.
    pub(super) fn of(policy: &Policy, endpoints: &Endpoints, head: &Head, body: &[u8]) -> Result<Self, Reply> {
        if endpoints.serve(head, body.is_empty())? {
            return Message::read(policy, head, body).map(Parsed::Message);
        }
        Ok(Parsed::of_plain(policy, head, body))
    }

    fn of_plain(policy: &Policy, head: &Head, body: &[u8]) -> Self {
        // Where no rule looks into bodies, it does not matter what is in this one.
        if body.is_empty() || !policy.needs().body {
            return Parsed::Empty;
        }
        if let Err(reply) = readable(head) {
            return Parsed::Unreadable(reply);
        }
        match Json::parse(body).and_then(Json::without_twins) {
            Ok(json) if policy.body_names().misspelt(&json) => {
                let detail = "A member of the body has a name that some servers read as another one.";
                Parsed::Unreadable(unreadable(400, detail))
            }
            Ok(json) => Parsed::Json(json),
            Err(error) => {
                let detail = format!("The body must be readable here, and is not JSON with a single reading: {error}.");
                Parsed::Unreadable(unreadable(400, &detail))
            }
        }
    }

    /// The request with all that is known of it.
    pub(super) fn seen_by<'a>(&'a self, view: &'a View<'_>) -> Request<'a> {
        match self {
            Parsed::Empty => view.request(Body::Empty),
            Parsed::Json(json) => view.request(Body::Json(json)),
            Parsed::Message(message) => Request { mcp: message.as_mcp(), ..view.request(message.as_body()) },
            Parsed::Unreadable(_) => view.request(Body::Unread),
        }
    }

    pub(super) fn message(&self) -> Option<&Message> {
        if let Parsed::Message(message) = self { Some(message) } else { None }
    }

    fn take_message(self) -> Option<Message> {
        if let Parsed::Message(message) = self { Some(message) } else { None }
    }

    /// A refusal as the client understands it.
    fn told(&self, head: &Head, reply: Reply) -> Reply {
        match self.message().and_then(|message| message.asker(head, false)) {
            Some(asker) => asker.told(reply, None),
            None => reply,
        }
    }
}

/// Refuses a body whose head says that it is something else than plain JSON in UTF-8: its reader would see another text.
fn readable(head: &Head) -> Result<(), Reply> {
    let refuse = |detail: &str| Err(unreadable(415, detail));
    if head.field("content-encoding").is_some_and(|coding| !coding.eq_ignore_ascii_case("identity")) {
        return refuse("The body must be readable here; send it without a content-encoding.");
    }
    if json_subtype(head.field("content-type").unwrap_or_default()).is_some() {
        return Ok(());
    }
    refuse("The body must be readable here; send it as application/json in UTF-8, with a content-type that says so.")
}

fn pass_or_deny(policy: &Policy, verdict: Verdict) -> Result<Step, Reply> {
    match (Permit::of_verdict(verdict), verdict) {
        (Some(permit), _) => Ok(Step::Forward(permit)),
        (None, Verdict::Deny(rule)) => Err(denied_by_policy(policy, rule)),
        (None, _) => Err(unavailable("The verdict is not one that the gateway can carry out.")),
    }
}
