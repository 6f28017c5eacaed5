//! Figures for the proxy's metrics: gathered in plain fields, told about once a second, and only where they have changed.
//!
//! Metrics of proxy-wasm have no labels, so that a label is part of the name (`.effect.deny.rule.ID`); the configuration
//! of Envoy that is shipped takes it out again. Names are bounded: of rules the first [`MAX_RULES`] that decide get their own.

use std::rc::Rc;

use holdgate_engine::{Policy, RuleIndex};
use holdgate_protocol::bundle::{Effect, Mode};

/// Milliseconds between two tellings.
const INTERVAL: u64 = 1_000;

/// Rules with figures of their own, over all policies that this gate has had; the others share `other`.
pub(super) const MAX_RULES: usize = 256;

/// The longest part of a name that comes from a rule's id.
const MAX_ID: usize = 64;

/// A figure that has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    pub name: String,
    pub change: Change,
}

/// How a figure has changed since it was told last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A counter rises.
    Add(u64),
    /// A gauge that all workers share rises or falls by what this one adds to it.
    Shift(i64),
    /// A gauge has this value; the worker that tells it last wins.
    Set(u64),
}

/// What has been counted since it was told last.
pub(super) struct Figures {
    told_at: u64,
    policy: Option<Rc<Policy>>,
    /// Verdicts by the place of their rule; the last is for those without a rule.
    verdicts: Vec<u64>,
    /// Rules that have figures of their own.
    rules: Vec<String>,
    /// Counters by family and label, both of fixed sets.
    counts: Vec<(&'static str, &'static str, u64)>,
    decision: Histogram,
    held: Histogram,
    /// Gauges as they were told last.
    gauges: Vec<(&'static str, u64)>,
    /// What is to be told next.
    waiting: Vec<Figure>,
}

/// Milliseconds in buckets up to these bounds, and one without.
struct Histogram {
    name: &'static str,
    bounds: [u64; 7],
    counts: [u64; 7],
    count: u64,
    sum: u64,
}

impl Histogram {
    fn new(name: &'static str, bounds: [u64; 7]) -> Self {
        Histogram { name, bounds, counts: [0; 7], count: 0, sum: 0 }
    }

    fn add(&mut self, value: u64) {
        for (bound, count) in self.bounds.iter().zip(&mut self.counts) {
            *count += u64::from(value <= *bound);
        }
        self.count += 1;
        self.sum = self.sum.saturating_add(value);
    }

    fn tell(&mut self, named: &mut Vec<Figure>) {
        let whole = [("_bucket.le.+Inf", self.count), ("_count", self.count), ("_sum", self.sum)];
        for (end, count) in whole {
            rise(named, &[self.name, end], count);
        }
        for (bound, count) in self.bounds.iter().zip(&mut self.counts) {
            rise(named, &[self.name, "_bucket.le.", &bound.to_string()], std::mem::take(count));
        }
        (self.count, self.sum) = (0, 0);
    }
}

impl Figures {
    pub(super) fn new() -> Self {
        Figures {
            told_at: 0,
            policy: None,
            verdicts: Vec::new(),
            rules: Vec::new(),
            counts: Vec::new(),
            decision: Histogram::new("decision_ms", [1, 5, 25, 100, 500, 2_500, 10_000]),
            held: Histogram::new("held_ms", [1_000, 5_000, 15_000, 45_000, 120_000, 600_000, 3_600_000]),
            gauges: Vec::new(),
            waiting: Vec::new(),
        }
    }

    /// A verdict, so many milliseconds after the head.
    pub(super) fn judged(&mut self, policy: &Rc<Policy>, rule: Option<RuleIndex>, took: u64) {
        self.decision.add(took);
        self.matched(policy, rule);
    }

    /// A rule applied, or would have; `None` is the verdict without a rule.
    pub(super) fn matched(&mut self, policy: &Rc<Policy>, rule: Option<RuleIndex>) {
        if !self.policy.as_ref().is_some_and(|current| Rc::ptr_eq(current, policy)) {
            self.name_verdicts();
            self.verdicts = vec![0; policy.rules().len() + 1];
            self.policy = Some(policy.clone());
        }
        if let Some(count) = self.verdicts.get_mut(rule.map_or(policy.rules().len(), RuleIndex::place)) {
            *count += 1;
        }
    }

    /// A request has ended; `held` is how many milliseconds it took where a checkpoint held it.
    pub(super) fn ended(&mut self, code: &'static str, held: Option<u64>) {
        held.into_iter().for_each(|held| self.held.add(held));
        self.count("ends.code.", code, 1);
    }

    /// Something that is counted by one label.
    pub(super) fn count(&mut self, family: &'static str, label: &'static str, by: u64) {
        match self.counts.iter_mut().find(|(of, other, _)| (*of, *other) == (family, label)) {
            Some((.., count)) => *count += by,
            None => self.counts.push((family, label, by)),
        }
    }

    fn name_verdicts(&mut self) {
        let Some(policy) = &self.policy else { return };
        let rules = policy.rules().iter().map(Some).chain([None]);
        for (rule, count) in rules.zip(&mut self.verdicts).filter(|(_, count)| **count > 0) {
            let effect = match rule.map(|rule| rule.effect) {
                Some(Effect::Allow) => "allow",
                Some(Effect::Hold) => "hold",
                Some(Effect::Deny) | None => "deny",
            };
            let family = match rule.map(|rule| rule.mode) {
                Some(Mode::Shadow) => "shadow.effect.",
                Some(Mode::Enforce) | None => "decisions.effect.",
            };
            let id = rule.map_or("none", |rule| own_name(&mut self.rules, &rule.id));
            let id: String = id.chars().take(MAX_ID).map(plain).collect();
            rise(&mut self.waiting, &[family, effect, ".rule.", &id], std::mem::take(count));
        }
    }

    pub(super) fn set_back(&mut self, back: u64) {
        self.told_at = self.told_at.saturating_sub(back);
    }

    pub(super) fn is_due(&self, now: u64) -> bool {
        now >= self.told_at.saturating_add(INTERVAL)
    }

    /// What has changed. `levels` are gauges that workers add up, `values` those of each worker.
    #[inline(never)]
    pub(super) fn tell(
        &mut self,
        now: u64,
        levels: &[(&'static str, u64)],
        values: &[(&'static str, u64)],
    ) -> Vec<Figure> {
        self.told_at = now;
        self.name_verdicts();
        for (family, label, count) in &mut self.counts {
            rise(&mut self.waiting, &[family, label], std::mem::take(count));
        }
        self.decision.tell(&mut self.waiting);
        self.held.tell(&mut self.waiting);
        let shared = levels.iter().map(|level| (level, true)).chain(values.iter().map(|value| (value, false)));
        for ((name, value), shared) in shared {
            let told = self.told(name, *value);
            let shift = value.cast_signed().wrapping_sub(told.cast_signed());
            if shift != 0 {
                let change = if shared { Change::Shift(shift) } else { Change::Set(*value) };
                self.waiting.push(Figure { name: name_of(&[name]), change });
            }
        }
        std::mem::take(&mut self.waiting)
    }

    /// What a gauge was told to be last; from now on it is `value`.
    fn told(&mut self, name: &'static str, value: u64) -> u64 {
        match self.gauges.iter_mut().find(|(other, _)| *other == name) {
            Some((_, told)) => std::mem::replace(told, value),
            None => {
                self.gauges.push((name, value));
                0
            }
        }
    }
}

#[inline(never)]
fn rise(figures: &mut Vec<Figure>, name: &[&str], by: u64) {
    if by > 0 {
        figures.push(Figure { name: name_of(name), change: Change::Add(by) });
    }
}

fn name_of(parts: &[&str]) -> String {
    let mut name = "holdgate.".to_owned();
    parts.iter().for_each(|part| name.push_str(part));
    name
}

fn own_name<'a>(rules: &mut Vec<String>, id: &'a str) -> &'a str {
    let known = rules.iter().any(|known| known == id);
    if !known && rules.len() >= MAX_RULES {
        return "other";
    }
    if !known {
        rules.push(id.to_owned());
    }
    id
}

/// What may stand in the name of a metric.
fn plain(character: char) -> char {
    if character.is_ascii_alphanumeric() || "-_.".contains(character) { character } else { '_' }
}
