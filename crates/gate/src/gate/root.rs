//! What happens in the root context: snapshot and feed, bounded wake-ups, reports.

use std::rc::Rc;

use holdgate_engine::Policy;
use holdgate_protocol::{
    Actor, Hash, Json,
    bundle::{SignedBundle, revision},
    gateway::{FeedItem, FeedPage, HoldState, StateAnswer},
};

use super::{
    Answer, COMPARE_AGAIN, Clock, Command, Gate, MAX_NEWS, MAX_REPLIES, MAX_WOKEN, NEWS_KEPT, News, RETRY, RootCall,
    SKEWED_AGAIN, Stream, StreamId, call,
    told::{ended_reply, keys_unavailable, late_body, ticket},
};
use crate::Reply;

/// Milliseconds from a page of the feed without news, which came sooner than that, to the next question.
const FEED_INTERVAL: u64 = 100;

impl Gate {
    /// Does what is due: calls, wake-ups, ends of inline waits. `now` is in Unix milliseconds.
    ///
    /// `refused` are calls that the host would not make since the last tick. They are answered here, and not where they
    /// were refused, so that the bound on replies holds for each entry into the VM.
    pub fn tick(&mut self, now: u64, refused: Vec<RootCall>) -> Vec<Command> {
        let mut commands = Vec::new();
        self.keep_time(now);
        for call in refused {
            self.take_answer(now, call, None, &mut commands);
        }
        self.identities.sweep(now);
        self.end_waits(now);
        self.wake(now, &mut commands);
        self.poll(now, &mut commands);
        self.send_redemptions(&mut commands);
        let reports = self.reports().into_iter();
        commands.extend(reports.map(|callout| Command::Call { call: RootCall::Report, callout }));
        let replies = self.outbox.len().min(MAX_REPLIES);
        let replies = self.outbox.drain(..replies).filter(|(stream, _)| self.streams.contains_key(stream));
        commands.extend(replies.map(|(stream, reply)| Command::Reply { stream, reply }));
        // What befell many requests at once is one line of the log.
        for (text, times) in std::mem::take(&mut self.warnings) {
            commands.push(Command::Warn(if times > 1 { format!("{text} ({times} times)") } else { text }));
        }
        if self.news.len() > MAX_NEWS {
            self.news.clear();
        }
        self.news.retain(|_, news| now.saturating_sub(news.at) < NEWS_KEPT);
        self.told(now, &commands);
        self.tell(now, &mut commands);
        self.ending.sent(&commands);
        commands
    }

    /// The answer to a callout of the root context; `None` where none came.
    pub fn root_answer(&mut self, now: u64, call: RootCall, answer: Option<Answer>) -> Vec<Command> {
        let mut commands = Vec::new();
        self.take_answer(now, call, answer.as_ref(), &mut commands);
        self.told(now, &commands);
        commands.extend(self.tick(now, Vec::new()));
        commands
    }

    fn take_answer(&mut self, now: u64, call: RootCall, answer: Option<&Answer>, commands: &mut Vec<Command>) {
        if answer.is_none_or(|answer| answer.status >= 500) {
            self.telling.figures.count("callout_failures.call.", call.name(), 1);
        }
        self.ending.answered(&call);
        match call {
            RootCall::State => self.snapshot(now, answer),
            RootCall::Feed => self.page(now, answer),
            RootCall::Bundle(wanted) => self.install(now, &wanted, answer, commands),
            RootCall::Redeem(asked) => self.redeemed(now, asked, answer, commands),
            RootCall::Report => {}
            RootCall::Keys(issuer) => self.keys_came(now, issuer, answer, commands),
            RootCall::Stream(id) => {
                let step = self.stream_answer(now, id, answer.cloned());
                self.carry_out(id, step, commands);
            }
            RootCall::Audit => self.audited(now, answer),
        }
    }

    /// Asks for the snapshot, the next page of the feed, or a bundle, where that is due.
    fn poll(&mut self, now: u64, commands: &mut Vec<Command>) {
        if self.ending.has_begun() {
            return;
        }
        if !self.feed.in_flight && now >= self.feed.retry_at {
            self.feed.in_flight = true;
            let (call, callout) = match self.feed.cursor {
                Some(after) if now < self.feed.compare_at => (RootCall::Feed, self.feed(after)),
                _ => (RootCall::State, self.state()),
            };
            commands.push(Command::Call { call, callout });
        }
        let keys = self.identities.due(now).map(|(issuer, place)| (RootCall::Keys(issuer), place.clone()));
        commands.extend(keys.map(|(call, place)| Command::Fetch { call, place }));
        if let Some(wanted) = self.feed.wanted
            && !self.feed.fetching
            && now >= self.feed.fetch_at
        {
            self.feed.fetching = true;
            commands.push(Command::Call { call: RootCall::Bundle(wanted), callout: self.bundle(&wanted) });
        }
    }

    fn snapshot(&mut self, now: u64, answer: Option<&Answer>) {
        self.feed.in_flight = false;
        let Some(state) = call::read::<StateAnswer>(answer) else {
            return self.missed(now, answer);
        };
        if let Some(wrong) = self.misconfigured(&state) {
            // Every approval would be redeemed and its grant then refused: nothing is served until this is mended.
            self.feed.retry_at = now + RETRY;
            return self.warn_anew(wrong);
        }
        self.feed.lost = false;
        self.feed.clock = Clock::compare(state.now, now / 1000);
        self.feed.compare_at = now + if self.feed.clock.agrees() { COMPARE_AGAIN } else { SKEWED_AGAIN };
        if self.feed.cursor.is_some() {
            // Only the clocks were compared: the feed goes on where it was.
            return;
        }
        // Who parked since the cursor was lost may have missed a decision as well.
        self.waiting.streams().into_iter().for_each(|id| self.end_wait(now, id));
        (self.feed.cursor, self.feed.base) = (Some(state.seq), state.seq);
        self.feed.fresh_at = now;
        self.suspended = state.suspended.into_iter().collect();
        self.identities.forget(&self.suspended);
        if let Some(policy) = state.policy {
            self.want(policy.rev, policy.serial);
        }
    }

    pub(super) fn page(&mut self, now: u64, answer: Option<&Answer>) {
        self.feed.in_flight = false;
        if answer.is_some_and(|answer| answer.status == 410) {
            // Decisions may have been missed: whoever waits gets a ticket, and its retry finds the hold as it stands.
            self.feed.cursor = None;
            return self.waiting.streams().into_iter().for_each(|id| self.end_wait(now, id));
        }
        let Some(page) = call::read::<FeedPage>(answer) else {
            return self.missed(now, answer);
        };
        // A long poll that brings nothing new and comes at once is not asked again at once.
        let news = self.feed.cursor.replace(page.next) != Some(page.next);
        let before = std::mem::replace(&mut self.feed.fresh_at, now);
        if !news && now.saturating_sub(before) < FEED_INTERVAL {
            self.feed.retry_at = now + FEED_INTERVAL;
        }
        self.feed.lost = false;
        let mut suspends = false;
        for item in page.items {
            match item {
                FeedItem::Hold { seq, hold, state, .. } => self.decided(now, seq, hold, state),
                FeedItem::Agent { iss, sub, suspended: true, .. } => {
                    suspends = true;
                    self.suspended.insert(Actor { iss, sub });
                }
                FeedItem::Agent { iss, sub, suspended: false, .. } => {
                    self.suspended.remove(&Actor { iss, sub });
                }
                FeedItem::Policy { rev, serial, .. } => self.want(rev, serial),
                FeedItem::Unknown => {}
            }
        }
        if suspends {
            self.identities.forget(&self.suspended);
        }
    }

    fn misconfigured(&self, state: &StateAnswer) -> Option<String> {
        let group = state.group.as_ref().filter(|group| **group != self.config.group);
        let key = state.grant_key.as_ref().filter(|key| !self.config.grant_keys.contains(key));
        match (group, key) {
            (Some(group), _) => Some(format!(
                "`group` is `{}`, but HOLDGATE_GATEWAY_CREDENTIAL belongs to the group `{group}`",
                self.config.group
            )),
            (None, Some(key)) => Some(format!("`grant_keys` lacks the service's key `{key}` (its grant.jwks.json)")),
            (None, None) => None,
        }
    }

    fn missed(&mut self, now: u64, answer: Option<&Answer>) {
        self.feed.retry_at = now + RETRY;
        if std::mem::replace(&mut self.feed.lost, true) {
            return;
        }
        let cluster = &self.config.approval.cluster;
        let why = match answer.map(|answer| answer.status) {
            None => format!("no answer; is there a cluster `{cluster}`, and a service behind it?"),
            Some(401) => {
                let group = &self.config.group;
                format!(
                    "it refuses HOLDGATE_GATEWAY_CREDENTIAL; `holdgate-approval gateway add {group}` makes a new one"
                )
            }
            Some(404) => format!("404; does the cluster `{cluster}` lead to its listener for gateways?"),
            Some(status @ 500..) => format!("status {status}; does it run where the cluster `{cluster}` leads?"),
            Some(status) => format!("status {status}, and not the answer of an approval service"),
        };
        self.warn(format!("the approval service cannot be reached: {why}"));
    }

    fn decided(&mut self, now: u64, seq: u64, hold: String, state: HoldState) {
        if state == HoldState::Pending {
            return;
        }
        self.woken.extend(self.waiting.of(&hold).map(|id| (id, state)));
        self.news.insert(hold, News { seq, state, at: now });
    }

    fn want(&mut self, rev: Hash, serial: u64) {
        let newer = self.policy.as_ref().is_none_or(|policy| policy.reference().serial < serial);
        if newer && serial < self.config.min_serial {
            let min = self.config.min_serial;
            self.warn_anew(format!(
                "the bundle {rev} is not put in force: its serial is {serial}, `min_serial` says {min}"
            ));
        } else if newer {
            self.feed.wanted = Some(rev);
            self.feed.fetch_at = 0;
        }
    }

    /// Puts a fetched bundle in force, if the authors signed it and it is newer than the one in force.
    fn install(&mut self, now: u64, wanted: &Hash, answer: Option<&Answer>, commands: &mut Vec<Command>) {
        self.feed.fetching = false;
        let installed = call::read::<SignedBundle>(answer)
            .ok_or_else(|| "the service did not give it".to_owned())
            .and_then(|signed| self.check_bundle(Some(wanted), &signed));
        match installed {
            Ok(policy) => {
                self.policy = Some(Rc::new(policy));
                self.feed.wanted = self.feed.wanted.filter(|newer| newer != wanted);
                self.last_warning = None;
                commands.extend(answer.map(|answer| Command::Keep(answer.body.clone())));
            }
            Err(why) => {
                self.feed.fetch_at = now + RETRY;
                self.warn_anew(format!("the bundle {wanted} is not put in force: {why}"));
            }
        }
    }

    /// Takes up the bundle that a [`Command::Keep`] of an earlier VM kept, so that a restart does not fall back to an older
    /// one. It is verified like any other; one that is not newer than the configuration's own is left alone.
    pub fn restore(&mut self, kept: &[u8]) {
        let signed = Json::parse(kept).ok().and_then(|kept| kept.read::<SignedBundle>().ok());
        if let Some(Ok(policy)) = signed.map(|signed| self.check_bundle(None, &signed)) {
            self.policy = Some(Rc::new(policy));
        }
    }

    fn check_bundle(&self, wanted: Option<&Hash>, signed: &SignedBundle) -> Result<Policy, String> {
        let bytes = signed.open(&self.config.bundle_keys).map_err(|error| error.to_string())?;
        if wanted.is_some_and(|wanted| revision(&bytes) != *wanted) {
            return Err("it is not the revision that was asked for".to_owned());
        }
        let policy = Policy::load(&bytes).map_err(|error| error.to_string())?;
        self.config.accepts(&policy).map_err(|error| error.to_string())?;
        match &self.policy {
            Some(current) if current.reference().id != policy.reference().id => Err(format!(
                "it is the policy `{}`, and `{}` is in force",
                policy.reference().id,
                current.reference().id
            )),
            Some(current) if current.reference().serial >= policy.reference().serial => {
                Err(format!("its serial is not higher than {}, which is in force", current.reference().serial))
            }
            _ => Ok(policy),
        }
    }

    fn end_waits(&mut self, now: u64) {
        let over: Vec<StreamId> = self.deadlines.range(..(now + 1, 0)).map(|(_, id)| *id).collect();
        over.into_iter().for_each(|id| self.end_wait(now, id));
    }

    /// The inline wait is over, and the hold stays pending; or a body has not come in time.
    fn end_wait(&mut self, now: u64, id: StreamId) {
        match self.take_if(id, |stream| matches!(stream, Stream::Parked(..) | Stream::Body(_) | Stream::Keys(_))) {
            Some(Stream::Parked(held, hold)) => self.answer(id, ticket(now, &held, &hold)),
            Some(Stream::Body(_)) => self.answer(id, late_body()),
            Some(Stream::Keys(_)) => self.answer(id, keys_unavailable()),
            _ => {}
        }
    }

    pub(super) fn answer(&mut self, id: StreamId, reply: Reply) {
        self.streams.insert(id, Stream::Answered);
        self.outbox.push_back((id, reply));
    }

    fn wake(&mut self, now: u64, commands: &mut Vec<Command>) {
        for (id, state) in self.woken.drain(..self.woken.len().min(MAX_WOKEN)).collect::<Vec<_>>() {
            let parked = self.take_if(id, |stream| matches!(stream, Stream::Parked(..)));
            let Some(Stream::Parked(held, hold)) = parked else { continue };
            if state != HoldState::Approved {
                self.answer(id, ended_reply(state, &held, &hold));
                continue;
            }
            match self.recheck(now, id, &held) {
                Ok(None) => self.queue_redemption(id, held, hold, 0),
                Ok(Some(permit)) => {
                    self.let_on_without_hold(id, held);
                    commands.push(Command::Forward { stream: id, permit });
                }
                Err(reply) => self.answer(id, reply),
            }
        }
    }

    /// Warns of what is tried again and again, once.
    pub(super) fn warn_anew(&mut self, text: String) {
        if self.last_warning.as_ref() != Some(&text) {
            self.warn(text.clone());
            self.last_warning = Some(text);
        }
    }

    pub(super) fn warn(&mut self, text: impl Into<String>) {
        *self.warnings.entry(text.into()).or_default() += 1;
    }
}
