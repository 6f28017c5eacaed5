//! What the verdicts on many records add up to.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use holdgate_engine::{CompiledRule, Policy, Request, RuleIndex, Truth};
use holdgate_protocol::bundle::{Effect, Mode};
use serde::Serialize;

use super::{
    judge::{self, Judge, Judged},
    record::{Agent, Record},
};
use crate::{
    changes::word,
    failure::count,
    forecast::{ASSUMPTIONS, Forecast},
    output::printable,
};

/// The most agents and hours that are told apart; what comes later is counted together.
const MAX_KEYS: usize = 100_000;

/// The most mistakes that are shown.
const EXAMPLES: usize = 3;

const HOUR: i64 = 3600;

/// Numbers of verdicts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    allow: u64,
    hold: u64,
    deny: u64,
}

impl Counts {
    fn add(&mut self, effect: Effect) {
        match effect {
            Effect::Allow => self.allow += 1,
            Effect::Hold => self.hold += 1,
            Effect::Deny => self.deny += 1,
        }
    }

    fn all(self) -> u64 {
        self.allow + self.hold + self.deny
    }
}

/// What is counted while records go by.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) records: u64,
    verdicts: Counts,
    uncertain: Counts,
    rules: Vec<RuleCounts>,
    has_shadow: Option<bool>,
    agents: HashMap<String, Counts>,
    other_agents: Counts,
    hours: BTreeMap<i64, u64>,
    first: Option<i64>,
    last: Option<i64>,
    untimed: u64,
    /// `decide_within` of the holds, with the number of decisions that they ask for.
    deadlines: BTreeMap<u64, u64>,
    /// From the old verdict to the new one.
    changed: BTreeMap<(Effect, Effect), Moved>,
    compared: u64,
    pub(crate) bad: Mistakes,
    pub(crate) refused: Mistakes,
}

#[derive(Clone, Copy, Default)]
struct RuleCounts {
    decided: u64,
    held: u64,
    uncertain: u64,
    shadow: u64,
}

#[derive(Clone, Copy, Default)]
struct Moved {
    count: u64,
    uncertain: u64,
}

/// Records that could not be judged: how many, and the first of them.
#[derive(Default, Serialize)]
pub(crate) struct Mistakes {
    pub(crate) count: u64,
    pub(crate) first: Vec<String>,
}

impl Mistakes {
    pub(crate) fn add(&mut self, example: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < EXAMPLES {
            self.first.push(printable(&example()));
        }
    }
}

impl Tally {
    pub(crate) fn add(&mut self, record: &Record<'_>, policy: &Policy, request: &Request<'_>, judged: Judged) {
        let (effect, rule) = judge::parts(judged.verdict);
        self.verdicts.add(effect);
        if !judged.certain {
            self.uncertain.add(effect);
        }
        self.rules.resize_with(policy.rules().len(), RuleCounts::default);
        if let Some(counts) = rule.and_then(|rule| place(policy, rule)).and_then(|at| self.rules.get_mut(at)) {
            counts.decided += 1;
            counts.uncertain += u64::from(!judged.certain);
        }
        self.count_agent(&record.agent, effect);
        match record.time {
            Some(time) => {
                self.first = Some(self.first.map_or(time, |first| first.min(time)));
                self.last = Some(self.last.map_or(time, |last| last.max(time)));
            }
            None => self.untimed += 1,
        }
        if effect == Effect::Hold {
            self.count_hold(record, policy, request);
        }
        // Asked once: a policy may have thousands of rules.
        let has_shadow =
            *self.has_shadow.get_or_insert_with(|| policy.rules().iter().any(|rule| rule.mode == Mode::Shadow));
        if has_shadow {
            for rule in policy.shadow(request) {
                if let Some(counts) = place(policy, rule).and_then(|at| self.rules.get_mut(at)) {
                    counts.shadow += 1;
                }
            }
        }
        if let Some(before) = record.before {
            self.compared += 1;
            if before != effect {
                let moved = self.changed.entry((before, effect)).or_default();
                moved.count += 1;
                moved.uncertain += u64::from(!judged.certain);
            }
        }
    }

    fn count_agent(&mut self, agent: &Agent<'_>, effect: Effect) {
        let name = match agent {
            Agent::Untold => return,
            Agent::Nobody => "(no agent)",
            Agent::Told { id, .. } => id,
        };
        if let Some(counts) = self.agents.get_mut(name) {
            counts.add(effect);
        } else if self.agents.len() < MAX_KEYS {
            self.agents.entry(name.to_owned()).or_default().add(effect);
        } else {
            self.other_agents.add(effect);
        }
    }

    fn count_hold(&mut self, record: &Record<'_>, policy: &Policy, request: &Request<'_>) {
        if let Some(time) = record.time
            && (self.hours.len() < MAX_KEYS || self.hours.contains_key(&time.div_euclid(HOUR)))
        {
            *self.hours.entry(time.div_euclid(HOUR)).or_default() += 1;
        }
        let mut within = u64::MAX;
        let mut roles: Vec<(&str, u64)> = Vec::new();
        for index in policy.candidates(request) {
            let rule = policy.rule(index);
            let holds = rule.effect == Effect::Hold && rule.conditions.truth(rule.effect, request) != Truth::False;
            let Some(requirement) = policy.requirement(rule).filter(|_| holds) else { continue };
            if let Some(counts) = place(policy, index).and_then(|at| self.rules.get_mut(at)) {
                counts.held += 1;
            }
            within = within.min(requirement.decide_within);
            for factor in &requirement.factors {
                let approvals = u64::from(factor.approvals);
                match roles.iter_mut().find(|(role, _)| *role == factor.role) {
                    Some((_, most)) => *most = approvals.max(*most),
                    None => roles.push((&factor.role, approvals)),
                }
            }
        }
        let decisions: u64 = roles.iter().map(|(_, approvals)| approvals).sum();
        *self.deadlines.entry(within).or_default() += decisions.max(1);
    }

    /// Seconds from the first record to the last.
    pub(crate) fn span(&self) -> u64 {
        match (self.first, self.last) {
            (Some(first), Some(last)) => last.abs_diff(first),
            _ => 0,
        }
    }

    /// Holds in the busiest hour, and in all.
    pub(crate) fn holds(&self) -> (u64, u64) {
        (self.hours.values().copied().max().unwrap_or_default(), self.hours.values().sum())
    }

    /// Decisions for each hold, and how `decide_within` is spread over them: seconds and share.
    pub(crate) fn decisions(&self) -> (f64, Vec<(f64, f64)>) {
        let all: u64 = self.deadlines.values().sum();
        let shares = self.deadlines.iter().map(|(within, count)| (*within as f64, *count as f64 / all as f64));
        (all as f64 / self.verdicts.hold.max(1) as f64, shares.collect())
    }

    /// All that was counted, with the `top` agents that were held or denied most.
    pub(crate) fn report(self, judge: &Judge, top: usize, load: Option<Load>) -> Report {
        let bundle = judge.bundle();
        let mut rules: Vec<RuleLine> = bundle
            .rules
            .iter()
            .zip(self.rules.iter().copied().chain(std::iter::repeat(RuleCounts::default())))
            .map(|(rule, counts)| RuleLine {
                id: rule.id.clone(),
                effect: rule.effect,
                mode: rule.mode,
                decided: counts.decided,
                uncertain: counts.uncertain,
                held: counts.held,
                shadow: counts.shadow,
            })
            .collect();
        rules.sort_by_key(|rule| std::cmp::Reverse(rule.decided.max(rule.held).max(rule.shadow)));
        let matched: u64 = rules.iter().map(|rule| rule.decided).sum();
        let distinct_agents = self.agents.len();
        let mut agents: Vec<AgentLine> =
            self.agents.into_iter().map(|(agent, verdicts)| AgentLine { agent, verdicts }).collect();
        let busy = |line: &AgentLine| (line.verdicts.hold + line.verdicts.deny, line.verdicts.allow);
        agents.sort_by(|a, b| busy(b).cmp(&busy(a)).then_with(|| a.agent.cmp(&b.agent)));
        let mut rest = self.other_agents;
        for line in agents.iter().skip(top) {
            rest.allow += line.verdicts.allow;
            rest.hold += line.verdicts.hold;
            rest.deny += line.verdicts.deny;
        }
        agents.truncate(top);
        let changed = self.changed.into_iter().map(|((from, to), moved)| Change {
            from,
            to,
            count: moved.count,
            uncertain: moved.uncertain,
        });
        Report {
            records: self.records,
            no_rule: self.verdicts.all() - matched,
            verdicts: self.verdicts,
            uncertain: self.uncertain,
            blind_to_mcp: judge.blind_to_mcp(),
            looked_at: judge.looked_at().into_iter().map(|(what, rules)| LookedAt { what, rules }).collect(),
            rules,
            agents,
            distinct_agents,
            other_agents: rest,
            holds_per_hour: self.hours.into_iter().map(|(hour, holds)| Hour { start: hour * HOUR, holds }).collect(),
            untimed: self.untimed,
            compared: self.compared,
            changed: changed.collect(),
            bad: self.bad,
            refused: self.refused,
            reviewers: load,
        }
    }
}

/// The place of a rule in its policy; a policy may have thousands, so that none is searched for.
fn place(policy: &Policy, index: RuleIndex) -> Option<usize> {
    let (first, rule) = (policy.rules().first()?, policy.rule(index));
    let offset = std::ptr::from_ref(rule).addr().checked_sub(std::ptr::from_ref(first).addr())?;
    let place = offset / size_of::<CompiledRule>();
    policy.rules().get(place).is_some_and(|found| std::ptr::eq(found, rule)).then_some(place)
}

/// What a policy would have done.
#[derive(Serialize)]
pub(crate) struct Report {
    records: u64,
    verdicts: Counts,
    /// Those of `verdicts` that something could change that the records do not tell.
    uncertain: Counts,
    /// What they rest on: what rules look at, and some record did not tell.
    looked_at: Vec<LookedAt>,
    /// Rules that ask for MCP messages, where `--mcp` names no endpoint.
    blind_to_mcp: usize,
    /// Denied because no rule matched.
    no_rule: u64,
    rules: Vec<RuleLine>,
    agents: Vec<AgentLine>,
    distinct_agents: usize,
    other_agents: Counts,
    holds_per_hour: Vec<Hour>,
    /// Records without a time.
    untimed: u64,
    /// Records with an old verdict.
    compared: u64,
    changed: Vec<Change>,
    bad: Mistakes,
    refused: Mistakes,
    /// Present with `--reviewers`.
    reviewers: Option<Load>,
}

#[derive(Serialize)]
struct LookedAt {
    what: &'static str,
    rules: usize,
}

#[derive(Serialize)]
struct RuleLine {
    id: String,
    effect: Effect,
    mode: Mode,
    /// Verdicts for which the rule is named: the first of its effect.
    decided: u64,
    uncertain: u64,
    /// Holds in which the rule takes part.
    held: u64,
    /// What it would have matched in shadow mode.
    shadow: u64,
}

#[derive(Serialize)]
struct AgentLine {
    agent: String,
    verdicts: Counts,
}

#[derive(Serialize)]
struct Hour {
    /// Unix seconds.
    start: i64,
    holds: u64,
}

#[derive(Serialize)]
struct Change {
    from: Effect,
    to: Effect,
    count: u64,
    uncertain: u64,
}

/// The load of the reviewers.
#[derive(Serialize)]
pub(crate) struct Load {
    pub(crate) reviewers: u32,
    /// Seconds.
    pub(crate) handling: u64,
    pub(crate) decisions_per_hold: f64,
    pub(crate) mean: HourLoad,
    pub(crate) busiest: HourLoad,
    pub(crate) model: &'static str,
}

/// What an hour with so many holds would bring, if it went on.
#[derive(Serialize)]
pub(crate) struct HourLoad {
    pub(crate) holds_per_hour: f64,
    #[serde(flatten)]
    pub(crate) forecast: Forecast,
    /// How many reviewers it takes that at most one in a hundred expires; `null` above 10,000.
    pub(crate) reviewers_for_one_percent: Option<u32>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { allow, hold, deny } = self.verdicts;
        writeln!(f, "{} records: {allow} allow, {hold} hold, {deny} deny", self.records)?;
        self.write_mistakes(f)?;
        let uncertain = self.uncertain.all();
        if uncertain > 0 {
            let Counts { allow, hold, deny } = self.uncertain;
            let looked_at: Vec<String> = self
                .looked_at
                .iter()
                .map(|LookedAt { what, rules }| format!("{what} ({})", count(*rules, "rule")))
                .collect();
            writeln!(
                f,
                "{uncertain} verdicts rest on what the records do not tell ({allow} allow, {hold} hold, {deny} deny): \
                 unknown counts against the request\n  the rules look at: {}",
                looked_at.join(", ")
            )?;
        }
        if self.untimed > 0 {
            let (verb, records) = (if self.untimed == 1 { "has" } else { "have" }, self.untimed);
            writeln!(f, "{records} record{} {verb} no time", if records == 1 { "" } else { "s" })?;
        }
        if self.blind_to_mcp > 0 {
            let rules = count(self.blind_to_mcp, "rule");
            let verb = if self.blind_to_mcp == 1 { "asks" } else { "ask" };
            writeln!(
                f,
                "hint: {rules} {verb} for MCP messages, and no path is an MCP endpoint; name one with `--mcp /path`"
            )?;
        }
        if self.compared > 0 {
            let changed: u64 = self.changed.iter().map(|change| change.count).sum();
            writeln!(f, "\nchanged verdicts: {changed} of {}", self.compared)?;
            for Change { from, to, count, uncertain } in &self.changed {
                write!(f, "  {} -> {}: {count}", word(*from), word(*to))?;
                writeln!(
                    f,
                    "{}",
                    if *uncertain > 0 { format!(", {uncertain} of them uncertain") } else { String::new() }
                )?;
            }
        }
        self.write_rules(f)?;
        if !self.agents.is_empty() {
            writeln!(f, "\nagents ({}):", self.distinct_agents)?;
            let line = |f: &mut fmt::Formatter<'_>, name: &str, counts: Counts| {
                let Counts { allow, hold, deny } = counts;
                writeln!(f, "  {allow:>9} allow {hold:>9} hold {deny:>9} deny  {}", printable(name))
            };
            self.agents.iter().try_for_each(|agent| line(f, &agent.agent, agent.verdicts))?;
            if self.other_agents.all() > 0 {
                line(f, "all others", self.other_agents)?;
            }
        }
        self.write_load(f)
    }
}

impl Report {
    fn write_mistakes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all =
            [(&self.bad, "could not be read"), (&self.refused, "are refused as malformed before any rule is asked")];
        for (mistakes, what) in all.into_iter().filter(|(mistakes, _)| mistakes.count > 0) {
            writeln!(f, "{} {what}:", mistakes.count)?;
            mistakes.first.iter().try_for_each(|example| writeln!(f, "  {example}"))?;
            let more = mistakes.count - mistakes.first.len() as u64;
            if more > 0 {
                writeln!(f, "  and {more} more")?;
            }
        }
        Ok(())
    }

    fn write_rules(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nrules:")?;
        for rule in &self.rules {
            let RuleLine { id, effect, mode, decided, uncertain, held, shadow } = rule;
            let (count, note) = match (mode, effect) {
                (Mode::Shadow, _) => (shadow, ", shadow: would have matched".to_owned()),
                (_, Effect::Hold) if held != decided => (held, format!(", names {decided} of them")),
                _ => (decided, String::new()),
            };
            let uncertain = if *uncertain > 0 { format!(", {uncertain} uncertain") } else { String::new() };
            writeln!(f, "  {count:>9} {:<5} {id}{note}{uncertain}", word(*effect))?;
        }
        writeln!(f, "  {:>9} deny  (no rule matched)", self.no_rule)
    }

    fn write_load(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.holds_per_hour.is_empty() {
            let mut busiest: Vec<&Hour> = self.holds_per_hour.iter().collect();
            busiest.sort_by_key(|hour| (std::cmp::Reverse(hour.holds), hour.start));
            writeln!(f, "\nholds per hour (busiest of {} with holds):", busiest.len())?;
            for Hour { start, holds } in busiest.into_iter().take(5) {
                let hour = jiff::Timestamp::from_second(*start).map(|time| time.to_string()).unwrap_or_default();
                writeln!(f, "  {holds:>9} {hour}")?;
            }
        }
        let Some(Load { reviewers, handling, decisions_per_hold, mean, busiest, .. }) = &self.reviewers else {
            return Ok(());
        };
        writeln!(
            f,
            "\nreviewers: {reviewers}, {handling} s for a decision, {decisions_per_hold:.2} decisions for a hold"
        )?;
        for (name, hour) in [("mean hour", mean), ("busiest hour", busiest)] {
            let HourLoad { holds_per_hour, forecast, reviewers_for_one_percent } = hour;
            let Forecast { load, waits, mean_wait, expires } = forecast;
            writeln!(
                f,
                "  {name}: {holds_per_hour:.1} holds, load {:.0} %, {:.1} % wait, mean wait {}, {:.2} % expire",
                load * 100.0,
                waits * 100.0,
                seconds(*mean_wait),
                expires * 100.0
            )?;
            if let Some(enough) = reviewers_for_one_percent {
                writeln!(f, "    at most 1 % expire with {enough} or more reviewers")?;
            }
        }
        writeln!(f, "  {ASSUMPTIONS}")
    }
}

/// A time in its largest unit that fits.
fn seconds(time: f64) -> String {
    match time {
        time if time < 120.0 => format!("{time:.0} s"),
        time if time < 7200.0 => format!("{:.0} min", time / 60.0),
        time => format!("{:.1} h", time / 3600.0),
    }
}
