//! A list of tools on its way back: what the agent could not call is left out.

use std::rc::Rc;

use holdgate_engine::{Head as HeadVerdict, Request, Verdict};
use holdgate_protocol::gateway::DetachedAttempt;

use super::{Changes, Gate, Held, Listing, Stream, StreamId, arrive::Parsed};
use crate::{
    Head,
    content::is_plain_json,
    identity::Identity,
    mcp::{METHOD_HEADER, TOOLS_CALL, TOOLS_LIST, filter},
    view::{Parameters, View},
};

impl Gate {
    /// Notes what an allowed request needs beside its permit: another body, and for `tools/list` a look at the answer.
    pub(super) fn let_on(&mut self, id: StreamId, head: Head, identity: Option<Rc<Identity>>, parsed: &Parsed) {
        let Some(message) = parsed.message() else { return };
        let listing = message.method() == TOOLS_LIST;
        let body = message.rewritten();
        if listing {
            self.streams.insert(id, Stream::Listing(Box::new(Listing { head, identity })));
        }
        if listing || body.is_some() {
            self.changes = Some(Changes { body, plain_answer: listing });
        }
    }

    /// A held request goes on by leave of a newer policy: its hold is not needed any more.
    pub(super) fn let_on_without_hold(&mut self, id: StreamId, held: Box<Held>) {
        self.detached.push(DetachedAttempt { attempt: held.attempt.clone() });
        if let Some(listing) = Listing::of(held) {
            self.streams.insert(id, Stream::Listing(listing));
        }
    }

    /// What the request whose body has just come needs beside its step; asked for after [`Gate::body`].
    pub fn changes(&mut self) -> Option<Changes> {
        self.changes.take()
    }

    /// Whether the answer to this request is a list of tools.
    pub fn awaits_list(&self, id: StreamId) -> bool {
        matches!(self.streams.get(&id), Some(Stream::Listing(_)))
    }

    /// The head of a list's answer, as far as it says whether the body can be read; if not, it goes on as it comes.
    pub fn list_head(&mut self, id: StreamId, status: u16, content_type: Option<&str>, encoded: bool) -> bool {
        let readable = status == 200 && !encoded && content_type.is_some_and(is_plain_json);
        if !readable {
            self.drop_list(id);
        }
        readable
    }

    /// So many bytes of the list have come; `false` where they are too many to be read.
    pub fn list_so_far(&mut self, id: StreamId, size: usize) -> bool {
        let fits = size <= self.config.max_body;
        if !fits {
            self.drop_list(id);
        }
        fits
    }

    /// The whole list has come: what takes its place, where that is another.
    pub fn list(&mut self, now: u64, id: StreamId, body: &[u8]) -> Option<Vec<u8>> {
        let Some(Stream::Listing(listing)) = self.drop_list(id) else { return None };
        let policy = self.policy.as_deref()?;
        let Listing { mut head, identity } = *listing;
        // What headers repeat of a message would be about a call of a tool.
        head.replace(METHOD_HEADER, TOOLS_CALL);
        // Whether a tool could be called does not depend on how often others were: the first call of a window.
        let rates = vec![Some(1); policy.rates().len()];
        let parameters = Parameters::of(policy, &head);
        let view = parameters.as_ref().ok().and_then(|parameters| {
            let view = View::new(policy.needs(), &head, parameters, identity.as_deref(), now);
            view.ok()
        });
        filter(body, |tool| {
            let mut headers = Vec::new();
            // A head that a newer policy refuses would be refused for each tool.
            match view.as_ref().and_then(|view| view.call_of(tool, &mut headers)) {
                Some(request) => policy.evaluate_head(&Request { rates: &rates, ..request }),
                None => HeadVerdict::Decided(Verdict::Deny(None)),
            }
        })
    }

    fn drop_list(&mut self, id: StreamId) -> Option<Stream> {
        self.take_if(id, |stream| matches!(stream, Stream::Listing(_)))
    }
}

impl Listing {
    /// What a held request leaves behind for its answer, if that is a list of tools.
    pub(super) fn of(held: Box<Held>) -> Option<Box<Listing>> {
        let Held { head, identity, asker, .. } = *held;
        asker.is_some_and(|asker| asker.lists()).then(|| Box::new(Listing { head, identity: Some(identity) }))
    }
}
