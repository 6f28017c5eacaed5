//! Questions as formulas over leaves.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use holdgate_engine::{
    Atom, Attribute, CompiledRule, Expr, Policy, Test,
    conditions::{By, Rate, ValueTest, opens_for_everybody},
};
use holdgate_protocol::{Hash, bundle::Effect};

use super::{
    leaf::{Leaf, Truths},
    witness::Count,
};

/// What a request is to be like. Nothing is negated but leaves, which say what they may say.
#[derive(Clone, Debug)]
pub(crate) enum Goal {
    All(Rc<[Goal]>),
    Any(Rc<[Goal]>),
    Leaf(usize),
    /// A leaf that is checked, but not worked for.
    Check(usize),
}

impl Goal {
    pub(crate) fn all(goals: impl IntoIterator<Item = Goal>) -> Goal {
        Goal::All(goals.into_iter().collect())
    }

    pub(crate) fn any(goals: impl IntoIterator<Item = Goal>) -> Goal {
        Goal::Any(goals.into_iter().collect())
    }
}

/// A counter of requests: one entry of a rule, with its window and what it counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CounterName {
    pub(crate) rule: String,
    pub(crate) entry: usize,
    pub(crate) per: u64,
    pub(crate) by: By,
    pub(crate) of: Hash,
}

/// What a counter counts: the requests that meet an entry of a rule, but for its rate. An entry that was changed counts
/// other ones, so that nothing is known of both counts together.
pub(crate) fn counted_by(rule: &CompiledRule, entry: usize) -> Hash {
    let atoms = rule.conditions.any.get(entry).map(Vec::as_slice).unwrap_or_default();
    let others: Vec<&Atom> = atoms.iter().filter(|atom| !matches!(atom, Atom::Rate(_))).collect();
    Hash::of(&serde_json::to_vec(&(rule.effect, others, &rule.conditions.when)).unwrap_or_default())
}

impl CounterName {
    pub(crate) fn is_of(&self, count: &Count) -> bool {
        let place = (&count.rule, count.entry, count.per, count.by, count.of);
        (&self.rule, self.entry, self.per, self.by, Some(self.of)) == place
    }
}

/// All leaves of some questions, each once.
#[derive(Debug, Default)]
pub(crate) struct Leaves {
    list: RefCell<Vec<Rc<Leaf>>>,
    known: RefCell<HashMap<Key, usize>>,
    counters: RefCell<Vec<CounterName>>,
    /// The goals that rules match and that they do not, by id, conditions and effect.
    rules: RefCell<HashMap<(String, Hash, Effect, bool), Goal>>,
    /// The same for all rules of a policy with some effects, by the policy's revision.
    policies: RefCell<HashMap<Whole, Goal>>,
}

/// A policy's revision, the effects of some of its rules, and whether one of them is to match.
type Whole = (Hash, Vec<Effect>, bool);

/// What makes two leaves the same.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    /// As JSON.
    atom: String,
    negated: bool,
    effect: Effect,
    allowed: Truths,
    counter: usize,
}

impl Leaves {
    pub(crate) fn get(&self, number: usize) -> Option<Rc<Leaf>> {
        self.list.borrow().get(number).cloned()
    }

    pub(crate) fn counter(&self, number: usize) -> Option<CounterName> {
        self.counters.borrow().get(number).cloned()
    }

    pub(crate) fn counters_of(&self, rule: &str) -> Vec<CounterName> {
        self.counters.borrow().iter().filter(|counter| counter.rule == rule).cloned().collect()
    }

    /// The tests of an attribute, in all leaves.
    pub(crate) fn tests_of(&self, attribute: &Attribute) -> Vec<Rc<Leaf>> {
        self.list.borrow().iter().filter(|leaf| leaf.attribute() == Some(attribute)).cloned().collect()
    }

    pub(crate) fn leaf(&self, atom: &Atom, negated: bool, effect: Effect, allowed: Truths) -> Goal {
        self.counted(atom, negated, effect, allowed, 0)
    }

    fn counted(&self, atom: &Atom, negated: bool, effect: Effect, allowed: Truths, counter: usize) -> Goal {
        // Whose rule asks matters only where there may be several values.
        let several =
            atom.attributes().any(|of| matches!(of, Attribute::Query(_) | Attribute::Header(_) | Attribute::Tag(_)));
        let effect = if effect == Effect::Allow && several { Effect::Allow } else { Effect::Deny };
        let key = Key { atom: serde_json::to_string(atom).unwrap_or_default(), negated, effect, allowed, counter };
        let mut list = self.list.borrow_mut();
        let number = *self.known.borrow_mut().entry(key).or_insert_with(|| {
            list.push(Rc::new(Leaf::new(atom, negated, effect, allowed, counter)));
            list.len() - 1
        });
        Goal::Leaf(number)
    }

    pub(crate) fn value(&self, of: &Attribute, is: Test, allowed: Truths) -> Goal {
        self.leaf(&Atom::Value(ValueTest { of: of.clone(), is }), false, Effect::Deny, allowed)
    }

    fn name_counter(&self, name: CounterName) -> usize {
        let mut counters = self.counters.borrow_mut();
        counters.iter().position(|other| *other == name).unwrap_or_else(|| {
            counters.push(name);
            counters.len() - 1
        })
    }

    /// That a rule matches, or that it does not, whatever its mode is.
    pub(crate) fn rule(&self, rule: &CompiledRule, matches: bool) -> Goal {
        let key = (rule.id.clone(), rule.hash, rule.effect, matches);
        if let Some(known) = self.rules.borrow().get(&key) {
            return known.clone();
        }
        let entries = (0..rule.conditions.any.len()).map(|entry| self.entry(rule, entry, matches));
        let goal = if matches { Goal::any(entries) } else { Goal::all(entries) };
        self.rules.borrow_mut().insert(key, goal.clone());
        goal
    }

    /// That one entry of a rule matches, or that it does not.
    pub(crate) fn entry(&self, rule: &CompiledRule, entry: usize, matches: bool) -> Goal {
        let matching = Truths::matching(rule.effect);
        let allowed = if matches { matching } else { matching.others() };
        let atoms = rule.conditions.any.get(entry).map(Vec::as_slice).unwrap_or_default();
        let mut parts: Vec<Goal> = atoms
            .iter()
            .map(|atom| {
                let counter = match atom {
                    Atom::Rate(Rate { per, by, .. }) => {
                        let (rule, of) = (rule.id.clone(), counted_by(rule, entry));
                        self.name_counter(CounterName { rule, entry, per: *per, by: *by, of })
                    }
                    _ => 0,
                };
                self.counted(atom, false, rule.effect, allowed, counter)
            })
            .collect();
        if rule.effect == Effect::Allow && !opens_for_everybody(atoms) {
            parts.push(self.value(&Attribute::Agent, Test::Exists(true), allowed));
        }
        parts.extend(rule.conditions.when.as_ref().map(|when| self.condition(when, rule.effect, allowed, matches)));
        if matches { Goal::all(parts) } else { Goal::any(parts) }
    }

    /// That each condition of an entry is met, but for its rate; `None` for what `when` says.
    pub(crate) fn parts<'r>(&self, rule: &'r CompiledRule, entry: usize) -> Vec<(Option<&'r Atom>, Goal)> {
        let matching = Truths::matching(rule.effect);
        let atoms = rule.conditions.any.get(entry).map(Vec::as_slice).unwrap_or_default();
        let atoms = atoms.iter().filter(|atom| !matches!(atom, Atom::Rate(_)));
        let parts = atoms.map(|atom| (Some(atom), self.leaf(atom, false, rule.effect, matching)));
        let when = rule.conditions.when.as_ref();
        parts.chain(when.map(|when| (None, self.condition(when, rule.effect, matching, true)))).collect()
    }

    fn condition(&self, condition: &Expr, effect: Effect, allowed: Truths, matches: bool) -> Goal {
        let parts = |parts: &[Expr]| -> Rc<[Goal]> {
            parts.iter().map(|part| self.condition(part, effect, allowed, matches)).collect()
        };
        match condition {
            Expr::All(list) if matches => Goal::All(parts(list)),
            Expr::Any(list) if matches => Goal::Any(parts(list)),
            Expr::All(list) => Goal::Any(parts(list)),
            Expr::Any(list) => Goal::All(parts(list)),
            Expr::Is(atom) => self.leaf(atom, false, effect, allowed),
            Expr::IsNot(atom) => self.leaf(atom, true, effect, allowed),
        }
    }

    /// The rules of a policy with one of these effects: that each does not match, or that one does.
    pub(crate) fn rules(&self, policy: &Policy, effects: &[Effect], matches: bool) -> Goal {
        let key = (policy.reference().rev, effects.to_vec(), matches);
        if let Some(known) = self.policies.borrow().get(&key) {
            return known.clone();
        }
        let rules = policy.rules().iter().filter(|rule| super::acts(rule) && effects.contains(&rule.effect));
        let goals = rules.map(|rule| self.rule(rule, matches));
        let goal = if matches { Goal::any(goals) } else { Goal::all(goals) };
        self.policies.borrow_mut().insert(key, goal.clone());
        goal
    }

    /// That the verdict has this effect, or that it has another one.
    pub(crate) fn verdict(&self, policy: &Policy, effect: Effect, wanted: bool) -> Goal {
        use Effect::{Allow, Deny, Hold};
        let (one, none) = (
            |effects: &[Effect]| self.rules(policy, effects, true),
            |effects: &[Effect]| self.rules(policy, effects, false),
        );
        match (effect, wanted) {
            (Allow, true) => Goal::all([none(&[Deny]), none(&[Hold]), one(&[Allow])]),
            (Allow, false) => Goal::any([one(&[Deny, Hold]), none(&[Allow])]),
            (Hold, true) => Goal::all([none(&[Deny]), one(&[Hold])]),
            (Hold, false) => Goal::any([one(&[Deny]), none(&[Hold])]),
            (Deny, true) => Goal::any([one(&[Deny]), none(&[Hold, Allow])]),
            (Deny, false) => Goal::all([none(&[Deny]), one(&[Hold, Allow])]),
        }
    }
}
