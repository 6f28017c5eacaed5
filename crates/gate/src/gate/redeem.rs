//! Redemption: an approved hold is exchanged for a grant, in batches from the root context or one by one from streams.

use holdgate_protocol::{
    gateway::{HoldState, MAX_BATCH, Outcome, RedemptionAnswer, RedemptionError},
    grant::{Expected, GrantError},
};

use super::{
    Answer, Command, Gate, Held, Hold, Listing, Redeeming, RootCall, Step, Stream, StreamId, call,
    told::{ended_reply, service_unavailable},
};
use crate::{Permit, Reply, config::Wake};

/// Bytes of a batch, about, be it of the question or of the grants in the answer: half of what either may have.
const MAX_BATCH_BYTES: usize = 1024 * 1024;

/// What a redemption takes beside its agent and the names and rules that its grant repeats, in bytes.
const REDEMPTION_OVERHEAD: usize = 1_024;

/// How often a redemption is sent, at most: the service answers the same attempt with the same grant.
const MAX_SENT: u8 = 2;

impl Gate {
    /// Has an approved hold redeemed, the way the host wants it.
    pub(super) fn redeem(&mut self, id: StreamId, held: Box<Held>, hold: Hold) -> Result<Step, Reply> {
        match self.config.wake {
            Wake::Feed => {
                self.queue_redemption(id, held, hold, 0);
                Ok(Step::Await)
            }
            Wake::Stream => self.redeem_alone(id, held, hold, 0),
        }
    }

    /// Leaves the redemption to the next batch; it was sent so many times before.
    pub(super) fn queue_redemption(&mut self, id: StreamId, held: Box<Held>, hold: Hold, sent: u8) {
        self.kept.add(&held);
        self.streams.insert(id, Stream::Redeeming(held, hold, sent));
        self.to_redeem.push_back(id);
    }

    fn redeem_alone(&mut self, id: StreamId, held: Box<Held>, hold: Hold, sent: u8) -> Result<Step, Reply> {
        let callout = self.redemptions(&[(Redeeming::of(id, &held, &hold), &held)]).ok_or_else(service_unavailable)?;
        self.kept.add(&held);
        self.streams.insert(id, Stream::Redeeming(held, hold, sent.saturating_add(1)));
        Ok(Step::Call(callout))
    }

    pub(super) fn send_redemptions(&mut self, commands: &mut Vec<Command>) {
        while !self.to_redeem.is_empty() {
            let mut room = MAX_BATCH_BYTES;
            let mut ids = Vec::new();
            // One that is larger than all room goes by itself.
            while let Some(id) = self.to_redeem.front().copied().filter(|_| ids.len() < MAX_BATCH) {
                if let Some(Stream::Redeeming(held, _, sent)) = self.streams.get_mut(&id) {
                    let size = redemption_size(held);
                    if size > room && !ids.is_empty() {
                        break;
                    }
                    room = room.saturating_sub(size);
                    *sent = sent.saturating_add(1);
                    ids.push(id);
                }
                self.to_redeem.pop_front();
            }
            let item = |id: &StreamId| match self.streams.get(id)? {
                Stream::Redeeming(held, hold, _) => Some((Redeeming::of(*id, held, hold), &**held)),
                _ => None,
            };
            let items: Vec<_> = ids.iter().filter_map(item).collect();
            if let Some(callout) = self.redemptions(&items).filter(|_| !items.is_empty()) {
                let call = RootCall::Redeem(items.into_iter().map(|(redeeming, _)| redeeming).collect());
                commands.push(Command::Call { call, callout });
            }
        }
    }

    /// The answer to a batch.
    pub(super) fn redeemed(
        &mut self,
        now: u64,
        asked: Vec<Redeeming>,
        answer: Option<&Answer>,
        commands: &mut Vec<Command>,
    ) {
        let answers = call::read_redemptions(answer, &asked);
        let mut answers = answers.map_or_else(Vec::new, |answers| answers.items).into_iter();
        for redeeming in asked {
            let (answer, stream) = (answers.next(), redeeming.stream);
            match self.take_if(stream, |stream| matches!(stream, Stream::Redeeming(..))) {
                Some(Stream::Redeeming(held, hold, sent)) if answer.is_none() && sent < MAX_SENT => {
                    self.queue_redemption(stream, held, hold, sent);
                }
                Some(Stream::Redeeming(held, hold, _)) => {
                    match self.redeemed_one(now, redeeming, held, &hold, answer) {
                        Ok(permit) => commands.push(Command::Forward { stream, permit }),
                        Err(reply) => self.answer(stream, reply),
                    }
                }
                // The agent hung up meanwhile.
                _ if answer.is_some_and(|answer| answer.grant.is_some()) => self.not_forwarded(redeeming),
                _ => {}
            }
        }
    }

    /// The answer to a stream's own redemption.
    pub(super) fn redeemed_alone(
        &mut self,
        now: u64,
        id: StreamId,
        held: Box<Held>,
        hold: Hold,
        sent: u8,
        answer: Option<&Answer>,
    ) -> Result<Step, Reply> {
        let asked = [Redeeming::of(id, &held, &hold)];
        let answer = call::read_redemptions(answer, &asked).and_then(|mut answers| answers.items.pop());
        if answer.is_none() && sent < MAX_SENT {
            return self.redeem_alone(id, held, hold, sent);
        }
        let [redeeming] = asked;
        self.redeemed_one(now, redeeming, held, &hold, answer).map(Step::Forward)
    }

    fn redeemed_one(
        &mut self,
        now: u64,
        redeeming: Redeeming,
        held: Box<Held>,
        hold: &Hold,
        answer: Option<RedemptionAnswer>,
    ) -> Result<Permit, Reply> {
        let Some(RedemptionAnswer { grant, error, .. }) = answer else {
            self.warn("a hold could not be redeemed: the approval service did not answer");
            self.not_forwarded(redeeming);
            return Err(service_unavailable());
        };
        match (grant, error) {
            (Some(grant), None) => match self.permit(now, &held, &redeeming, &grant) {
                Ok(Ok(permit)) => {
                    let Redeeming { stream, hold, attempt } = redeeming;
                    self.streams.insert(stream, Stream::Granted { hold, attempt, listing: Listing::of(held) });
                    Ok(permit)
                }
                Ok(Err(reply)) => {
                    self.not_forwarded(redeeming);
                    Err(reply)
                }
                Err(why) => {
                    self.warn(format!("a grant is refused: {why}"));
                    self.not_forwarded(redeeming);
                    Err(service_unavailable())
                }
            },
            (None, Some(error)) => {
                let state = match error {
                    RedemptionError::Used => HoldState::Used,
                    RedemptionError::Expired => HoldState::Expired,
                    RedemptionError::Denied => HoldState::Denied,
                    RedemptionError::Cancelled => HoldState::Cancelled,
                    RedemptionError::NotApproved => HoldState::Pending,
                };
                Err(ended_reply(state, &held, hold))
            }
            (Some(_), Some(_)) | (None, None) => {
                self.warn("a redemption was answered with neither a grant nor an error");
                Err(service_unavailable())
            }
        }
    }

    /// Verifies a grant. The inner error is the answer where the policy, the token or the agent's standing has changed
    /// since the redemption was asked for.
    fn permit(
        &mut self,
        now: u64,
        held: &Held,
        redeeming: &Redeeming,
        grant: &str,
    ) -> Result<Result<Permit, Reply>, GrantError> {
        let expected = Expected {
            issuer: &self.config.approval.issuer,
            group: &self.config.group,
            agent: &held.identity.agent,
            hold: &redeeming.hold,
            nonce: &redeeming.attempt,
            components: &held.components,
            digest: &held.digest,
            policy_id: self.policy.as_ref().map_or("", |policy| policy.reference().id.as_str()),
            requirement: &held.checkpoint.hash,
            rules: &held.checkpoint.rules,
            // By the clock that made it. It is for this very attempt, so that its life is no defence against a replay.
            now: self.feed.clock.there(now / 1000),
        };
        let permit = Permit::of_grant(grant, &self.config.grant_keys, &expected)?;
        Ok(self.recheck(now, redeeming.stream, held).map(|_| permit))
    }

    fn not_forwarded(&mut self, redeeming: Redeeming) {
        let Redeeming { hold, attempt, .. } = redeeming;
        self.outcomes.push(Outcome { hold, attempt, forwarded: false, status: None });
    }
}

/// Bytes of a redemption or of its grant, whichever is more, at most.
fn redemption_size(held: &Held) -> usize {
    let names: usize = held.components.iter().map(|name| name.len() + 3).sum();
    let rules: usize = held.checkpoint.rules.iter().map(|rule| rule.id.len() + 96).sum();
    // A grant repeats the principal, and all of it is in base64url.
    REDEMPTION_OVERHEAD + 2 * (held.identity.json.len() + names + rules)
}

impl Redeeming {
    fn of(stream: StreamId, held: &Held, hold: &Hold) -> Self {
        Redeeming { stream, hold: hold.id.clone(), attempt: held.attempt.clone() }
    }
}
