//! What the gate tells at the tick: figures to the proxy, audit records to the approval service.

use holdgate_engine::{Policy, Request};

use super::{Answer, Command, Gate, RootCall, Stream, StreamId};

impl Gate {
    /// Counts a request where rules have rates; `whole`: its body is known, or never will be.
    pub(super) fn count(
        &mut self,
        now: u64,
        id: StreamId,
        policy: &Policy,
        request: &Request<'_>,
        whole: bool,
    ) -> Vec<Option<u64>> {
        if policy.rates().is_empty() {
            return Vec::new();
        }
        let mut counted = std::mem::take(&mut self.course(id).counted);
        let before = counted.unknown();
        let rates = self.rates.count(&mut *self.host, now, policy, request, whole, &mut counted);
        let unknown = u64::try_from(counted.unknown().saturating_sub(before)).unwrap_or_default();
        if unknown > 0 {
            self.telling.figures.count("rates.", "unknown", unknown);
        }
        self.course(id).counted = counted;
        rates
    }

    /// What is due of figures and records.
    pub(super) fn tell(&mut self, now: u64, commands: &mut Vec<Command>) {
        if self.telling.spool.epoch.is_none() {
            self.telling.spool.epoch = self.attempt(now).or_else(|| Some(format!("t{now}")));
        }
        let ends = self.ending.has_begun();
        if self.ending.is_late(now) {
            self.telling.spool.abandon();
        } else if ends {
            self.telling.spool.finish();
        }
        if let Some(body) = self.telling.spool.due(now) {
            commands.push(Command::Call { call: RootCall::Audit, callout: self.audit(body) });
        }
        let spool = &mut self.telling.spool;
        let lost = [("dropped", std::mem::take(&mut spool.dropped)), ("refused", std::mem::take(&mut spool.refused))];
        for (label, count) in lost.into_iter().filter(|(_, count)| *count > 0) {
            self.telling.figures.count("audit.", label, count);
        }
        if !ends && !self.telling.figures.is_due(now) {
            return;
        }
        self.tell_of_tokens();
        let number = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let held = |stream: &&Stream| {
            matches!(stream, Stream::Opening(_) | Stream::Parked(..) | Stream::Polling(..) | Stream::Redeeming(..))
        };
        let levels = [
            ("parked", number(self.streams.values().filter(held).count())),
            ("parked_bytes", number(self.kept.total)),
            ("feed_stale_workers", u64::from(self.is_stale(now))),
            ("audit_waiting", self.telling.spool.len()),
        ]
        .map(|(name, level)| (name, if ends { 0 } else { level }));
        let values = [
            ("feed_age_ms", now.saturating_sub(self.feed.fresh_at)),
            ("clock_skew_s", self.feed.clock.ahead.max(self.feed.clock.behind)),
            ("policy_serial", self.policy.as_ref().map_or(0, |policy| policy.reference().serial)),
        ];
        // What each worker tells is told by the configuration in force.
        let values: &[_] = if ends { &[] } else { &values };
        let figures = self.telling.figures.tell(now, &levels, values);
        commands.extend(figures.into_iter().map(Command::Measure));
    }

    /// What the cache of tokens did since it was told last.
    fn tell_of_tokens(&mut self) {
        let (now, before) =
            (self.identities.figures, std::mem::replace(&mut self.telling.tokens, self.identities.figures));
        for (family, label, count) in [
            ("token_cache.", "hits", now.cache_hits - before.cache_hits),
            ("token_cache.", "misses", now.cache_misses - before.cache_misses),
            ("signatures.", "verified", now.verifications - before.verifications),
            ("signatures.", "verified_by_host", now.verified_by_host - before.verified_by_host),
            ("key_fetches.", "failed", now.failed_key_fetches - before.failed_key_fetches),
        ] {
            self.telling.figures.count(family, label, count);
        }
    }

    /// The answer to a batch of audit records.
    pub(super) fn audited(&mut self, now: u64, answer: Option<&Answer>) {
        let status = answer.map(|answer| answer.status);
        if !self.telling.spool.answered(now, status) && status.is_some_and(|status| status < 500) {
            let status = status.unwrap_or_default();
            self.warn_anew(format!("the approval service does not take audit records: it answered {status}"));
        }
    }
}

impl RootCall {
    /// Its name among the figures.
    pub(super) fn name(&self) -> &'static str {
        match self {
            RootCall::State => "state",
            RootCall::Feed => "feed",
            RootCall::Bundle(_) => "bundle",
            RootCall::Redeem(_) => "redemptions",
            RootCall::Report => "reports",
            RootCall::Audit => "audit",
            RootCall::Keys(_) => "keys",
            RootCall::Stream(_) => "tasks",
        }
    }
}

impl Stream {
    /// The name of the call that its own answer belongs to.
    pub(super) fn call(&self) -> &'static str {
        match self {
            Stream::Opening(_) => "holds",
            Stream::Redeeming(..) => "redemptions",
            _ => "tasks",
        }
    }
}
