//! Requests whose token names a key that may have come into use a moment ago: they wait while the issuer's set is fetched.

use super::{Answer, AwaitingKeys, Command, Gate, RootCall, Step, Stream, StreamId, told::keys_unavailable};
use crate::{
    Head, Reply,
    config::{AwaitBody, Wake},
};

/// The most streams that wait for keys: nobody has verified who they are.
const MAX_AWAITING: usize = 64;

/// The largest body that is kept for one of them, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// Milliseconds for which such a stream waits at most; a fetch ends sooner.
const WITHIN: u64 = 6_000;

impl Gate {
    /// Keeps a request until the keys of its issuer have come. Where it cannot wait, its agent is told to try again.
    pub(super) fn await_keys(
        &mut self,
        now: u64,
        id: StreamId,
        issuer: usize,
        head: Head,
        end: bool,
    ) -> Result<Step, Reply> {
        // Only the root context could wake it.
        let can_wait = self.config.wake == Wake::Feed && self.config.body == AwaitBody::Pause;
        if !can_wait || self.awaiting_keys.len() >= MAX_AWAITING {
            return Err(keys_unavailable());
        }
        let until = now.saturating_add(WITHIN);
        self.deadlines.insert((until, id));
        self.awaiting_keys.push((issuer, id));
        self.streams.insert(id, Stream::Keys(Box::new(AwaitingKeys { head, end, body: None, until })));
        Ok(Step::Await)
    }

    pub(super) fn body_before_keys(&mut self, id: StreamId, size: usize) -> Step {
        if size <= MAX_BODY {
            return Step::Await;
        }
        self.take_if(id, |_| true);
        self.settle(self.telling.now, id, Step::Reply(keys_unavailable()))
    }

    pub(super) fn whole_body_before_keys(&mut self, id: StreamId, body: Option<Vec<u8>>) -> Step {
        match (self.streams.get_mut(&id), body) {
            (Some(Stream::Keys(awaiting)), Some(whole)) if whole.len() <= MAX_BODY => {
                awaiting.body = Some(whole);
                Step::Await
            }
            _ => {
                self.take_if(id, |_| true);
                self.settle(self.telling.now, id, Step::Reply(keys_unavailable()))
            }
        }
    }

    /// A fetch of an issuer's keys has ended: whoever waits for them is looked at again.
    pub(super) fn keys_came(&mut self, now: u64, issuer: usize, answer: Option<&Answer>, commands: &mut Vec<Command>) {
        let came = self.identities.fetched(&self.config.identity, now, issuer, answer, &mut *self.host);
        if let Err(Some(warning)) = &came {
            self.warn(warning.clone());
        }
        let waiting: Vec<StreamId> =
            self.awaiting_keys.iter().filter(|(other, _)| *other == issuer).map(|(_, id)| *id).collect();
        for id in waiting {
            let taken = self.take_if(id, |stream| matches!(stream, Stream::Keys(_)));
            let Some(Stream::Keys(awaiting)) = taken else { continue };
            let AwaitingKeys { head, end, body, .. } = *awaiting;
            if came.is_err() {
                self.answer(id, keys_unavailable());
                continue;
            }
            let step = self.canonical_head(now, id, head, end).unwrap_or_else(Step::Reply);
            let step = match (step, body) {
                // Its body has come whole while it waited, and no callback will bring it again.
                (Step::Await, Some(body)) if self.awaits_body(id) => self.body(now, id, Some(body)),
                (step, _) => step,
            };
            commands.extend(self.changes().map(|changes| Command::Change { stream: id, changes }));
            self.carry_out(id, step, commands);
        }
    }

    /// What a stream's own callback would do with a step, done from the root context.
    pub(super) fn carry_out(&mut self, id: StreamId, step: Step, commands: &mut Vec<Command>) {
        match step {
            Step::Forward(permit) => {
                // A list of tools stays one: its answer is looked at.
                self.streams.entry(id).or_insert(Stream::Through);
                commands.push(Command::Forward { stream: id, permit });
            }
            Step::Reply(reply) => self.answer(id, reply),
            Step::Call(callout) => commands.push(Command::Call { call: RootCall::Stream(id), callout }),
            Step::Await => {}
        }
    }
}
