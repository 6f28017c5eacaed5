//! What a change of rules changes: requests whose verdict or requirement is another one, and whether anything became
//! more permissive.

use std::collections::BTreeSet;

use holdgate_engine::{CompiledRule, Policy, Verdict};
use holdgate_protocol::{
    Requirement,
    bundle::{Effect, Mode},
};

use crate::solve::{Answer, Budget, Goal, Solver, Witness, acts, effect_of};

/// The most changes that are told apart, and the most sets of holds that are looked at.
const MAX_ROUNDS: usize = 200;

/// What differs between two policies.
#[derive(Clone, Debug, PartialEq)]
pub struct Diff {
    /// One for each pair of deciding rules and kind of change; those that permit more come first.
    pub changes: Vec<Change>,
    /// Whether these are all of them.
    pub complete: bool,
    pub more_permissive: Answered,
    /// Why something was left open.
    pub open: Vec<String>,
}

/// The answer to whether anything became more permissive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// Nothing did: this was proved.
    No,
    Yes,
    Unknown,
}

/// A request for which the new policy says something else, as an example of all with these deciding rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub kind: Kind,
    pub old: Outcome,
    pub new: Outcome,
    pub witness: Box<Witness>,
}

/// What a policy says about a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub effect: Effect,
    /// The id of the rule that decides; `None` where no rule matches.
    pub rule: Option<String>,
    /// What an approval needs, of a request that is held.
    pub requirement: Option<Requirement>,
}

/// How a change changes what passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Denied before and held or allowed now, held before and allowed now, or held with a requirement that is less in
    /// some respect and more in none.
    MorePermissive,
    /// The requirement is less in one respect and more in another. Counts as more permissive.
    RequirementChanged,
    Stricter,
    /// As much is asked for: only the reason codes are others.
    AsStrict,
}

/// Compares what two policies say about every request. Each question may cost so much, and all together ten times that.
pub fn diff(old: &Policy, new: &Policy, budget: Budget) -> Diff {
    let limit = budget.steps.saturating_mul(10);
    Comparison { old, new, solver: Solver::new(budget), limit }.run()
}

struct Comparison<'p> {
    old: &'p Policy,
    new: &'p Policy,
    solver: Solver,
    /// The steps that all questions may cost together.
    limit: u64,
}

/// What came of one question with all its rounds.
#[derive(Default)]
struct Found {
    changes: Vec<Change>,
    open: Vec<String>,
}

impl Comparison<'_> {
    fn run(&self) -> Diff {
        let changed = [differing(self.old, self.new), differing(self.new, self.old)];
        let mut found = Found::default();
        // Where no rule differs nothing does, and a request that only equal rules match has an equal outcome.
        let touched = [(self.old, &changed[0]), (self.new, &changed[1])];
        let touched = Goal::any(
            touched.into_iter().flat_map(|(_, rules)| rules.iter().map(|rule| self.solver.leaves().rule(rule, true))),
        );
        if !changed.iter().all(Vec::is_empty) {
            let effects = [Effect::Deny, Effect::Hold, Effect::Allow];
            for (before, after) in effects.iter().flat_map(|a| effects.iter().map(move |b| (*a, *b))) {
                if before != after {
                    self.verdicts(before, after, &touched, &mut found);
                }
            }
            let holds = |rules: &[&CompiledRule]| rules.iter().any(|rule| rule.effect == Effect::Hold);
            if changed.iter().any(|rules| holds(rules)) {
                self.requirements(&changed, &mut found);
            }
        }
        let Found { mut changes, open } = found;
        changes.sort_by_key(|change| change.kind);
        let complete = open.is_empty();
        let more_permissive = match changes.iter().any(|change| !matches!(change.kind, Kind::Stricter | Kind::AsStrict))
        {
            true => Answered::Yes,
            false if complete => Answered::No,
            false => Answered::Unknown,
        };
        Diff { changes, complete, more_permissive, open }
    }

    /// All changes from one effect to another, one for each pair of deciding rules.
    fn verdicts(&self, before: Effect, after: Effect, touched: &Goal, found: &mut Found) {
        let leaves = self.solver.leaves();
        let mut goals =
            vec![touched.clone(), leaves.verdict(self.old, before, true), leaves.verdict(self.new, after, true)];
        let confirm = |witness: &Witness| {
            effect_of(verdict(self.old, witness)) == before && effect_of(verdict(self.new, witness)) == after
        };
        for _ in 0..MAX_ROUNDS {
            let Some(witness) = self.next(&goals, confirm, found) else { return };
            let (old, new) = (verdict(self.old, &witness), verdict(self.new, &witness));
            goals.push(Goal::any([self.otherwise(self.old, old), self.otherwise(self.new, new)]));
            self.record(witness, found);
        }
        found.open.push(format!("more than {MAX_ROUNDS} pairs of rules decide differently"));
    }

    /// Requests that both policies hold, with another requirement: one for each pair of deciding rules and kind.
    fn requirements(&self, changed: &[Vec<&CompiledRule>; 2], found: &mut Found) {
        let leaves = self.solver.leaves();
        let [old, new] = changed;
        let differ = old.iter().chain(new).filter(|rule| rule.effect == Effect::Hold);
        let mut goals = vec![
            Goal::any(differ.map(|rule| leaves.rule(rule, true))),
            leaves.verdict(self.old, Effect::Hold, true),
            leaves.verdict(self.new, Effect::Hold, true),
        ];
        let confirm = |witness: &Witness| {
            [self.old, self.new].iter().all(|policy| effect_of(verdict(policy, witness)) == Effect::Hold)
        };
        for _ in 0..MAX_ROUNDS {
            let Some(witness) = self.next(&goals, confirm, found) else { return };
            let sets = [self.old, self.new].map(|policy| {
                let holds: Vec<&CompiledRule> =
                    policy.rules().iter().filter(|rule| acts(rule) && rule.effect == Effect::Hold).collect();
                self.solver.another_set(policy, &holds, &witness)
            });
            goals.push(Goal::any(sets));
            if requirement(self.old, &witness) != requirement(self.new, &witness) {
                self.record(witness, found);
            }
        }
        found.open.push(format!("more than {MAX_ROUNDS} sets of holds go together"));
    }

    fn next(&self, goals: &[Goal], confirm: impl Fn(&Witness) -> bool, found: &mut Found) -> Option<Box<Witness>> {
        if self.solver.steps() > self.limit {
            found.open.push("the comparison needs more work than it may cost".into());
            return None;
        }
        match self.solver.ask(goals, confirm) {
            Answer::No => None,
            Answer::Yes(witness) => Some(witness),
            Answer::PossibleIf { conditions, .. } => {
                let why = format!("a change is possible if {}", conditions.join(" and "));
                found.open.push(why);
                None
            }
            Answer::Unknown(why) => {
                found.open.push(why);
                None
            }
        }
    }

    /// That another rule than this one decides, where the verdict has the same effect.
    fn otherwise(&self, policy: &Policy, verdict: Verdict) -> Goal {
        let leaves = self.solver.leaves();
        let (Verdict::Allow(index) | Verdict::Hold(index) | Verdict::Deny(Some(index))) = verdict else {
            return leaves.rules(policy, &[Effect::Deny], true);
        };
        let deciding = policy.rule(index);
        let earlier = policy.rules().iter().take_while(|rule| rule.id != deciding.id);
        let earlier = earlier.filter(|rule| acts(rule) && rule.effect == deciding.effect);
        Goal::any(earlier.map(|rule| leaves.rule(rule, true)).chain([leaves.rule(deciding, false)]))
    }

    /// Adds a change, unless there is one with the same rules and kind.
    fn record(&self, witness: Box<Witness>, found: &mut Found) {
        let (old, new) = (outcome(self.old, &witness), outcome(self.new, &witness));
        let kind = kind(&old, &new);
        let same = |change: &Change| (&change.old.rule, &change.new.rule, change.kind) == (&old.rule, &new.rule, kind);
        let effects = |change: &Change| (change.old.effect, change.new.effect) == (old.effect, new.effect);
        if !found.changes.iter().any(|change| same(change) && effects(change)) {
            found.changes.push(Change { kind, old, new, witness });
        }
    }
}

/// The rules of one policy that act and that the other one has not, with the same conditions and requirement.
fn differing<'p>(these: &'p Policy, those: &Policy) -> Vec<&'p CompiledRule> {
    let equal = |a: &CompiledRule, b: &CompiledRule| {
        (a.effect, a.hash) == (b.effect, b.hash) && these.requirement(a) == those.requirement(b) && counts_alike(a, b)
    };
    let known = |rule: &CompiledRule| those.rules().iter().any(|other| acts(other) && equal(rule, other));
    these.rules().iter().filter(|rule| rule.mode == Mode::Enforce && !known(rule)).collect()
}

/// Whether two rules with equal conditions have the same counters.
fn counts_alike(a: &CompiledRule, b: &CompiledRule) -> bool {
    a.id == b.id || !a.conditions.atoms().any(|atom| matches!(atom, holdgate_engine::Atom::Rate(_)))
}

fn verdict(policy: &Policy, witness: &Witness) -> Verdict {
    witness.with_request(policy, |request| policy.evaluate(request))
}

fn requirement(policy: &Policy, witness: &Witness) -> Option<Requirement> {
    witness.with_request(policy, |request| policy.checkpoint(request)).map(|checkpoint| checkpoint.requirement)
}

fn outcome(policy: &Policy, witness: &Witness) -> Outcome {
    let verdict = verdict(policy, witness);
    let rule = match verdict {
        Verdict::Allow(index) | Verdict::Hold(index) | Verdict::Deny(Some(index)) => Some(index),
        Verdict::Deny(None) => None,
    };
    let rule = rule.map(|index| policy.rule(index).id.clone());
    Outcome { effect: effect_of(verdict), rule, requirement: requirement(policy, witness) }
}

/// Effects grow stricter from allow to deny.
fn kind(old: &Outcome, new: &Outcome) -> Kind {
    match (old.effect.cmp(&new.effect), &old.requirement, &new.requirement) {
        (std::cmp::Ordering::Greater, ..) => Kind::MorePermissive,
        (std::cmp::Ordering::Equal, Some(old), Some(new)) => match (asks_less(old, new), asks_less(new, old)) {
            (true, true) => Kind::RequirementChanged,
            (true, false) => Kind::MorePermissive,
            (false, false) => Kind::AsStrict,
            (false, true) => Kind::Stricter,
        },
        _ => Kind::Stricter,
    }
}

/// Whether the new requirement asks for less than the old one in some respect.
fn asks_less(old: &Requirement, new: &Requirement) -> bool {
    let approvals = |requirement: &Requirement, role: &str| {
        requirement.factors.iter().find(|factor| factor.role == role).map_or(0, |factor| factor.approvals)
    };
    let shows = |requirement: &Requirement, shown: &holdgate_protocol::Pointer| {
        requirement.show.as_ref().is_none_or(|list| list.iter().any(|other| other.contains(shown)))
    };
    let hides = |requirement: &Requirement, hidden: &holdgate_protocol::Pointer| {
        requirement.redact.iter().any(|other| other.contains(hidden))
    };
    let root = [holdgate_protocol::Pointer::root()];
    let bound: BTreeSet<&String> = old.unbind.iter().collect();
    // Whoever may step in must have been able to before, and no sooner. Reason codes are neither more nor less.
    let steps_in = |requirement: &Requirement| requirement.escalate.clone().zip(requirement.escalates_at(0));
    let escalates_more = match (steps_in(old), steps_in(new)) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some((old, from)), Some((new, earliest))) => old.role != new.role || earliest < from,
    };
    escalates_more
        || old.factors.iter().any(|factor| approvals(new, &factor.role) < factor.approvals)
        || new.decide_within > old.decide_within
        || new.use_within > old.use_within
        || (old.reason && !new.reason)
        // What is hidden must stay hidden, and what is shown must not be narrowed. To redact more is stricter: it is asked
        // for to protect people, and the union of requirements redacts what any rule asks for.
        || !old.show.as_deref().unwrap_or(&root).iter().all(|shown| shows(new, shown))
        || !old.redact.iter().all(|hidden| hides(new, hidden))
        || !new.unbind.iter().all(|name| bound.contains(name))
}
