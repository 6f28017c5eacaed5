//! How many requests the counters of a policy have seen in their windows.

use std::collections::{HashMap, VecDeque};

use holdgate_engine::{
    Atom, Policy, Request, RuleIndex,
    conditions::{By, Rate},
};

use super::record::{Agent, Record};

/// The most agents that one counter follows at a time.
const MAX_AGENTS: usize = 100_000;

/// Sliding windows over the times of the records, exact where these rise.
#[derive(Default)]
pub(crate) struct Rates {
    /// By rule and entry: policies for different kinds of records have different counters.
    counters: HashMap<(RuleIndex, usize), Windows>,
    counts: Vec<Option<u64>>,
}

/// The times of the requests of each agent.
type Windows = HashMap<(String, String), VecDeque<i64>>;

impl Rates {
    /// Counts a request, and returns the counts with it.
    pub(crate) fn count(&mut self, policy: &Policy, request: &Request<'_>, record: &Record<'_>) -> &[Option<u64>] {
        self.counts.clear();
        for counter in policy.rates() {
            let windows = self.counters.entry((counter.rule, counter.entry)).or_default();
            let agent = match (counter.by, &record.agent) {
                (By::Rule, _) | (By::Agent, Agent::Nobody) => Some(Default::default()),
                (By::Agent, Agent::Told { iss, id, .. }) => Some((iss.to_string(), id.to_string())),
                (By::Agent, Agent::Untold) => None,
            };
            let (Some(now), Some(agent)) = (record.time, agent) else {
                self.counts.push(None);
                continue;
            };
            if !policy.counts(request, counter) {
                self.counts.push(Some(0));
                continue;
            }
            let start = now.saturating_sub(i64::try_from(counter.per).unwrap_or(i64::MAX));
            if windows.len() >= MAX_AGENTS {
                windows.retain(|_, times| times.back().is_some_and(|last| *last > start));
            }
            let entry = policy.rule(counter.rule).conditions.any.get(counter.entry);
            let over = entry.into_iter().flatten().find_map(|atom| match atom {
                Atom::Rate(Rate { over, .. }) => Some(*over),
                _ => None,
            });
            // Whether there are more than `over` is all that is asked.
            let most = usize::try_from(over.unwrap_or_default()).unwrap_or(usize::MAX).saturating_add(1);
            let times = windows.entry(agent).or_default();
            times.push_back(now);
            while times.len() > most || times.front().is_some_and(|first| *first <= start) {
                times.pop_front();
            }
            self.counts.push(Some(times.len() as u64));
        }
        &self.counts
    }
}
