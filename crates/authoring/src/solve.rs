//! Questions about all requests at once, answered exactly and with bounded work, without an outside solver.
//!
//! A question is a formula over leaves: one atom, and which of *false*, *unknown* and *true* it may be. The search
//! (`solve/search.rs`) looks for one request that meets it. What the leaves of one part of a request demand together is
//! decided for each part by itself: texts by the product of small automata (`automata`, `language`, `text`), numbers by
//! trying one of each kind that the tests tell apart (`number`), JSON values along their pointers (`value`), windows of
//! time by trying one moment of each kind (`group`).
//!
//! Every request that is reported was evaluated by the engine. What was not decided within the budget is *unknown*.
//!
//! What is taken for granted: the body can be read, the time is known and inside the windows' tables, and each counter
//! has counted at least this request. A counter has the same count in two policies that are compared if it counts the
//! same requests there: the entry with all its conditions but the rate is the same, and so is the window. Where there is an MCP message the body is that message; it has a method, and names its
//! tool with a text or not at all. The agent's owner and its claims are independent of one another, and so are counters.

mod automata;
mod budget;
mod goal;
mod group;
mod language;
mod leaf;
mod number;
mod search;
mod text;
mod value;
mod witness;

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use holdgate_engine::{
    Atom, Attribute, CompiledRule, Policy, Test, Truth, Verdict,
    conditions::{Comparison, Order},
};
use holdgate_protocol::bundle::{Effect, Mode};

use crate::names;

pub use budget::Budget;
#[cfg(test)]
pub(crate) use language::{Domain, of_domain};
pub use witness::{Count, NOON, Witness, WitnessAgent, WitnessMessage};

use budget::Meter;
use goal::{CounterName, Leaves};
use group::Part;
use search::{Outcome, Search};
use text::{Solution, Texts};

pub(crate) use goal::Goal;
pub(crate) use leaf::Truths;

/// What came of a question whether there is a request of some kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// There is none.
    No,
    /// This is one; the engine agrees.
    Yes(Box<Witness>),
    /// There is one if these comparisons of two attributes can come out so; `example` is a request but for them.
    PossibleIf { conditions: Vec<String>, example: Box<Witness> },
    /// It was not found out, and why.
    Unknown(String),
}

/// Answers questions about policies, and remembers what it has found out.
pub struct Solver {
    leaves: Leaves,
    texts: Texts,
    meter: Meter,
    solved: RefCell<HashMap<Vec<usize>, Rc<Solution<Part>>>>,
    spent: std::cell::Cell<u64>,
    /// The most that all answers together may cost.
    total: u64,
}

impl Solver {
    /// A solver; each of its answers may cost so much.
    pub fn new(budget: Budget) -> Solver {
        Solver::within(budget, u64::MAX)
    }

    /// A solver whose answers may cost only so many steps together.
    pub(crate) fn within(budget: Budget, total: u64) -> Solver {
        Solver {
            total,
            leaves: Leaves::default(),
            texts: Texts::default(),
            meter: Meter::new(budget),
            solved: RefCell::default(),
            spent: std::cell::Cell::new(0),
        }
    }

    /// The steps that all answers have cost so far.
    pub fn steps(&self) -> u64 {
        self.spent.get()
    }

    /// Whether all answers together have cost what they may.
    pub(crate) fn is_spent(&self) -> bool {
        self.steps() >= self.total
    }

    /// Whether there is a request that a rule matches, whatever other rules say.
    pub fn can_match(&self, policy: &Policy, rule: &CompiledRule) -> Answer {
        self.ask(&[self.leaves.rule(rule, true)], |witness| matches(policy, rule, witness))
    }

    /// Whether there is a request that one entry of a rule matches.
    pub fn entry_can_match(&self, policy: &Policy, rule: &CompiledRule, entry: usize) -> Answer {
        self.ask(&[self.leaves.entry(rule, entry, true)], |witness| matches(policy, rule, witness))
    }

    /// One or two conditions of an entry that no request meets together, where so few are enough; `None` among them is
    /// what `when` says.
    pub(crate) fn conflict<'r>(&self, rule: &'r CompiledRule, entry: usize) -> Option<Vec<Option<&'r Atom>>> {
        let parts = self.leaves.parts(rule, entry);
        let fails = |goals: &[Goal]| self.ask(goals, |_| true) == Answer::No;
        for (at, (atom, goal)) in parts.iter().enumerate().take(MAX_PARTS) {
            if fails(std::slice::from_ref(goal)) {
                return Some(vec![*atom]);
            }
            for (other, its) in parts.iter().take(at) {
                if fails(&[goal.clone(), its.clone()]) {
                    return Some(vec![*other, *atom]);
                }
            }
        }
        None
    }

    /// Whether there is a request that a rule matches and no stricter rule does. A rule in shadow mode is taken as if
    /// it acted.
    pub fn decides(&self, policy: &Policy, rule: &CompiledRule) -> Answer {
        let stricter = stricter(rule.effect);
        let goals = [self.leaves.rule(rule, true), self.leaves.rules(policy, stricter, false)];
        self.ask(&goals, |witness| {
            matches(policy, rule, witness)
                && !others(policy, rule, stricter).any(|other| matches(policy, other, witness))
        })
    }

    /// Whether there is a request whose verdict, or whose requirement, would be another one without this rule. A rule
    /// in shadow mode is taken as if it acted.
    pub fn changes_anything(&self, policy: &Policy, rule: &CompiledRule) -> Answer {
        let stricter = stricter(rule.effect);
        let same: Vec<&CompiledRule> = others(policy, rule, &[rule.effect]).collect();
        let mut goals = vec![self.leaves.rule(rule, true), self.leaves.rules(policy, stricter, false)];
        if rule.effect == Effect::Deny {
            // Without the rule it would have to pass, or be held.
            goals.push(Goal::any(
                others(policy, rule, &[Effect::Hold, Effect::Allow]).map(|r| self.leaves.rule(r, true)),
            ));
        }
        let alone = same.iter().map(|other| self.leaves.rule(other, false));
        if rule.effect != Effect::Hold {
            let goals: Vec<Goal> = goals.into_iter().chain(alone).collect();
            return self.ask(&goals, |witness| {
                matches(policy, rule, witness) && !same.iter().any(|other| matches(policy, other, witness))
            });
        }
        // Other holds make no difference to the requirement where they ask for as much.
        let (mut rounds, before) = (0, self.steps());
        loop {
            let answer = self.ask(&goals, |witness| matches(policy, rule, witness));
            let Answer::Yes(witness) = answer else { return answer };
            let holding: Vec<&&CompiledRule> = same.iter().filter(|other| matches(policy, other, &witness)).collect();
            let united = |with: Option<&CompiledRule>| {
                let rules = holding.iter().map(|other| **other).chain(with);
                rules.filter_map(|rule| policy.requirement(rule).cloned()).reduce(holdgate_protocol::Requirement::union)
            };
            if united(None) != united(Some(rule)) {
                return Answer::Yes(witness);
            }
            rounds += 1;
            if rounds > MAX_ROUNDS || self.steps() - before > self.meter.limit() {
                return Answer::Unknown("too many sets of holds go together".into());
            }
            goals.push(self.another_set(policy, &same, &witness));
        }
    }

    /// Whether there is a request that a rule that holds opens: without rules that hold it would be denied because no rule
    /// allows it. Only a request of an agent can be held.
    pub fn opens_what_is_denied(&self, policy: &Policy, rule: &CompiledRule) -> Answer {
        let goals = [
            self.leaves.rule(rule, true),
            self.leaves.rules(policy, &[Effect::Deny, Effect::Allow], false),
            self.leaves.value(&Attribute::Agent, Test::Exists(true), Truths::TRUE),
        ];
        self.ask(&goals, |witness| {
            let mut settled = others(policy, rule, &[Effect::Deny, Effect::Allow]);
            matches(policy, rule, witness) && !settled.any(|other| matches(policy, other, witness))
        })
    }

    /// That other rules of a list match than those that match the witness.
    pub(crate) fn another_set(&self, policy: &Policy, rules: &[&CompiledRule], witness: &Witness) -> Goal {
        Goal::any(rules.iter().map(|rule| self.leaves.rule(rule, !matches(policy, rule, witness))))
    }

    pub(crate) fn leaves(&self) -> &Leaves {
        &self.leaves
    }

    /// Looks for a request that meets all goals; `confirm` must agree to it.
    pub(crate) fn ask(&self, goals: &[Goal], confirm: impl Fn(&Witness) -> bool) -> Answer {
        self.meter.start_again(self.total.saturating_sub(self.steps()));
        let answer = self.search(goals, confirm);
        self.spent.set(self.spent.get().saturating_add(self.meter.spent()));
        answer
    }

    /// The same request, with one count for all counters of a rule: a test can say no more.
    fn level(&self, witness: &Witness) -> Witness {
        let mut counts: Vec<Count> = Vec::new();
        for count in &witness.counts {
            let most = witness.counts.iter().filter(|other| other.rule == count.rule).map(|other| other.count).max();
            for CounterName { rule, entry, per, by, of } in self.leaves.counters_of(&count.rule) {
                let count = Count { rule, entry, per, by, of: Some(of), count: most.unwrap_or(1) };
                if !counts.contains(&count) {
                    counts.push(count);
                }
            }
        }
        Witness { counts, ..witness.clone() }
    }

    fn search(&self, goals: &[Goal], confirm: impl Fn(&Witness) -> bool) -> Answer {
        let search = |assume: bool| {
            let (leaves, texts, meter, solved) = (&self.leaves, &self.texts, &self.meter, &self.solved);
            Search { leaves, texts, meter, solved, assume }
        };
        let assuming = search(true);
        let possible = match assuming.run(goals) {
            Ok(Outcome::Found(witness)) => witness,
            Ok(Outcome::Nothing) => return Answer::No,
            Ok(Outcome::Open(why)) => return Answer::Unknown(why),
            Err(budget::Exhausted) => return Answer::Unknown("the question needs more work than it may cost".into()),
        };
        let confirmed = |witness: &Witness| is_possible(witness) && confirm(&witness.as_it_arrives());
        if confirmed(&possible) {
            let level = self.level(&possible);
            let alike = goals.iter().all(|goal| assuming.holds(goal, &level)) && confirm(&level);
            return Answer::Yes(if alike { Box::new(level) } else { possible });
        }
        let all = Goal::all(goals.to_vec());
        let unmet = assuming.unmet_comparisons(&all, &possible);
        if unmet.is_empty() {
            let as_meant = !is_possible(&possible) || possible.as_it_arrives() != *possible;
            debug_assert!(as_meant, "the engine disagrees about {}", possible.to_yaml());
            return Answer::Unknown("the request that was found is none that could arrive".into());
        }
        match search(false).run(goals) {
            Ok(Outcome::Found(witness)) if confirmed(&witness) => Answer::Yes(witness),
            _ => {
                let mut conditions: Vec<String> = unmet
                    .iter()
                    .map(|leaf| describe(&leaf.atom, leaf.allowed.has(Truth::True) != leaf.negated))
                    .collect();
                conditions.dedup();
                Answer::PossibleIf { conditions, example: possible }
            }
        }
    }
}

/// So many conditions of an entry are compared in pairs.
const MAX_PARTS: usize = 16;

/// The most sets of holds that are looked at for one question.
const MAX_ROUNDS: usize = 64;

/// What the automata of parts do not know: an address in brackets is one as it is usually spelled, and a body has one
/// reading only.
fn is_possible(witness: &Witness) -> bool {
    let address = witness.host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let host = address
        .is_none_or(|address| address.parse::<std::net::Ipv6Addr>().is_ok_and(|parsed| parsed.to_string() == address));
    host && witness.body.clone().is_none_or(|body| body.without_twins().is_ok())
}

/// Whether the conditions of a rule hold of a request, whatever its mode is.
pub(crate) fn matches(policy: &Policy, rule: &CompiledRule, witness: &Witness) -> bool {
    let truth = witness.with_request(policy, |request| rule.conditions.truth(rule.effect, request));
    Truths::matching(rule.effect).has(truth)
}

/// Whether a rule has a part in verdicts.
pub(crate) fn acts(rule: &CompiledRule) -> bool {
    rule.mode == Mode::Enforce
}

fn stricter(effect: Effect) -> &'static [Effect] {
    match effect {
        Effect::Deny => &[],
        Effect::Hold => &[Effect::Deny],
        Effect::Allow => &[Effect::Deny, Effect::Hold],
    }
}

/// The rules with one of these effects that act, but for one.
fn others<'p>(policy: &'p Policy, but: &CompiledRule, effects: &[Effect]) -> impl Iterator<Item = &'p CompiledRule> {
    policy.rules().iter().filter(move |rule| acts(rule) && effects.contains(&rule.effect) && rule.id != but.id)
}

/// The effect of a verdict.
pub(crate) fn effect_of(verdict: Verdict) -> Effect {
    match verdict {
        Verdict::Allow(_) => Effect::Allow,
        Verdict::Deny(_) => Effect::Deny,
        Verdict::Hold(_) => Effect::Hold,
    }
}

fn describe(atom: &Atom, wanted: bool) -> String {
    let Atom::Compare(Comparison { left, is, right }) = atom else { return String::new() };
    let sign = match is {
        Order::Eq => "==",
        Order::Ne => "!=",
        Order::Lt => "<",
        Order::Lte => "<=",
        Order::Gt => ">",
        Order::Gte => ">=",
    };
    let text = format!("{} {sign} {}", names::attribute(left), names::attribute(right));
    if wanted { text } else { format!("!({text})") }
}
