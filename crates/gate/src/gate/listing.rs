//! A list of tools on its way back: what the agent could not call is left out.

use std::rc::Rc;

use holdgate_engine::{Body, Head as HeadVerdict, Mcp, Request, Verdict};

use super::{Changes, Gate, Listing, Stream, StreamId, arrive::Parsed};
use crate::{
    Head,
    identity::Identity,
    mcp::{TOOLS_CALL, TOOLS_LIST, filter, is_json},
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
        let readable = status == 200 && !encoded && content_type.is_some_and(is_json);
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
        let parameters = Parameters::of(policy, &head).ok()?;
        // Whether a tool could be called does not depend on how often others were: the first call of a window.
        let rates = vec![Some(1); policy.rates().len()];
        filter(body, |tool| {
            // What headers repeat of a message would be about a call of this tool.
            head.replace("mcp-method", TOOLS_CALL);
            head.replace("mcp-name", tool);
            match View::new(policy.needs(), &head, &parameters, identity.as_deref(), now) {
                Ok(view) => {
                    let request = Request { mcp: Mcp::Tool(tool), rates: &rates, ..view.request(Body::Unread) };
                    policy.evaluate_head(&request)
                }
                Err(_) => HeadVerdict::Decided(Verdict::Deny(None)),
            }
        })
    }

    fn drop_list(&mut self, id: StreamId) -> Option<Stream> {
        self.take_if(id, |stream| matches!(stream, Stream::Listing(_)))
    }
}
