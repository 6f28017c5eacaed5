//! Why a policy says what it says about a request.

mod request;
mod words;

use holdgate_engine::{
    Atom, Checkpoint, CompiledRule, Expr, Policy, Request, Truth, Verdict,
    conditions::{self, ValueTest},
};
use holdgate_protocol::bundle::{Effect, Mode};

pub use request::read_request;
pub use words::{actual, condition};

/// The verdict on one request, and what was near to another one.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    pub effect: Effect,
    /// The rule that decided; `None`: none matched.
    pub rule: Option<String>,
    /// What must be approved, where the verdict is to hold.
    pub checkpoint: Option<Checkpoint>,
    /// Enforced rules that match, in the order of the policy, each with the number of the entry that does.
    pub matched: Vec<Match>,
    /// Rules in shadow mode that would match.
    pub shadow: Vec<String>,
    /// Enforced rules that do not match, the nearest first.
    pub missed: Vec<Miss>,
}

/// A rule that matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    pub rule: String,
    pub effect: Effect,
    /// The place of its first entry that matches, from 0.
    pub entry: usize,
    /// Whether it matches only because what is not known counts against the request.
    pub unknown: Option<Stop>,
}

/// A rule that does not match, by the entry that came nearest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss {
    pub rule: String,
    pub effect: Effect,
    /// The place of the entry, from 0.
    pub entry: usize,
    /// How many conditions of the entry, those of `when` included, are true, and of how many.
    pub met: usize,
    pub of: usize,
    /// The first condition that stands in the way.
    pub stop: Stop,
}

/// A condition that is not true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// What is looked at, in the words of rule files: `http.method`, `body.role`.
    pub attribute: String,
    /// What the rule wants of it.
    pub expected: String,
    /// What the request has.
    pub actual: String,
    /// Whether the condition is unknown rather than false.
    pub unknown: bool,
    /// Whether it is a part of `when`.
    pub when: bool,
    /// The place of the atom in its entry, or among the atoms of `when`; `None` for what no atom says.
    pub atom: Option<usize>,
}

/// Explains the verdict on a request. Every rule is looked at, those too that the index skips.
pub fn explain(policy: &Policy, request: &Request<'_>) -> Explanation {
    let (effect, rule) = match policy.evaluate(request) {
        Verdict::Allow(rule) => (Effect::Allow, Some(rule)),
        Verdict::Hold(rule) => (Effect::Hold, Some(rule)),
        Verdict::Deny(rule) => (Effect::Deny, rule),
    };
    let (mut matched, mut missed) = (Vec::new(), Vec::new());
    for rule in policy.rules().iter().filter(|rule| rule.mode == Mode::Enforce) {
        let (matches, misses) = look(rule, request);
        matched.extend(matches);
        missed.extend(misses);
    }
    // The fewest conditions in the way first; of these what would have opened, and the rule of which most is true.
    missed.sort_by_key(|miss| (miss.of - miss.met, miss.effect == Effect::Deny, std::cmp::Reverse(miss.met)));
    Explanation {
        effect,
        rule: rule.map(|rule| policy.rule(rule).id.clone()),
        checkpoint: policy.checkpoint(request),
        matched,
        shadow: policy.shadow(request).map(|rule| policy.rule(rule).id.clone()).collect(),
        missed,
    }
}

/// Whether unknown counts as true at the root of a rule.
fn is_met(effect: Effect, truth: Truth) -> bool {
    match truth {
        Truth::True => true,
        Truth::False => false,
        Truth::Unknown | Truth::Pending => effect != Effect::Allow,
    }
}

/// How a rule matches, or else how it misses.
fn look(rule: &CompiledRule, request: &Request<'_>) -> (Option<Match>, Option<Miss>) {
    let mut nearest: Option<Miss> = None;
    for (entry, atoms) in rule.conditions.any.iter().enumerate() {
        let parts = Parts::of(rule, atoms, request);
        match parts.stop(rule, request, |truth| !is_met(rule.effect, truth)) {
            None => {
                let unknown = parts.stop(rule, request, |truth| truth != Truth::True);
                return (Some(Match { rule: rule.id.clone(), effect: rule.effect, entry, unknown }), None);
            }
            Some(stop) => {
                let (met, of) = parts.count();
                let miss = Miss { rule: rule.id.clone(), effect: rule.effect, entry, met, of, stop };
                let nearer = |best: &Miss| (best.of - best.met, best.of) > (of - met, of);
                if nearest.as_ref().is_none_or(nearer) {
                    nearest = Some(miss);
                }
            }
        }
    }
    (None, nearest)
}

/// The conditions of one entry with what they say.
struct Parts<'r> {
    /// An allow counts for requests without an agent only where it says so.
    closed: bool,
    atoms: Vec<(&'r Atom, Truth)>,
    when: Option<(&'r Expr, Truth)>,
}

impl<'r> Parts<'r> {
    fn of(rule: &'r CompiledRule, atoms: &'r [Atom], request: &Request<'_>) -> Self {
        let closed = rule.effect == Effect::Allow && request.agent.is_none() && !conditions::opens_for_everybody(atoms);
        let truth = |atom: &'r Atom| (atom, atom.truth(rule.effect, request));
        let when = rule.conditions.when.as_ref().map(|when| (when, when.truth(rule.effect, request)));
        Parts { closed, atoms: atoms.iter().map(truth).collect(), when }
    }

    /// How many conditions are true, and how many there are.
    fn count(&self) -> (usize, usize) {
        let truths = || self.atoms.iter().map(|(_, truth)| *truth).chain(self.when.map(|(_, truth)| truth));
        let met = truths().filter(|truth| *truth == Truth::True).count();
        (met, truths().count() + usize::from(self.closed))
    }

    /// The first condition whose truth is one that `stops`.
    fn stop(&self, rule: &CompiledRule, request: &Request<'_>, stops: impl Fn(Truth) -> bool) -> Option<Stop> {
        if self.closed {
            return Some(Stop {
                attribute: "agent".into(),
                expected: "a verified agent; an entry that allows requests without one says `agent: {exists: false}`"
                    .into(),
                actual: "none".into(),
                unknown: false,
                when: false,
                atom: None,
            });
        }
        if let Some((place, (atom, truth))) = self.atoms.iter().enumerate().find(|(_, (_, truth))| stops(*truth)) {
            return Some(stop(atom, false, request, *truth, Some(place), false));
        }
        let (when, truth) = self.when.filter(|(_, truth)| stops(*truth))?;
        let leaf = leaf(when, rule.effect, request, &stops);
        let Some((atom, negated)) = leaf else {
            let (attribute, expected) = ("when".to_owned(), "to be true".to_owned());
            let actual = if truth == Truth::False { "false" } else { "unknown" }.to_owned();
            return Some(Stop { attribute, expected, actual, unknown: truth != Truth::False, when: true, atom: None });
        };
        let place = when.atoms().position(|other| std::ptr::eq(other, atom));
        let truth = atom.literal(rule.effect, request, negated);
        Some(stop(atom, negated, request, truth, place, true))
    }
}

/// The first atom of an expression that stops it. Of alternatives, which all stop it or are false, one that is unknown
/// comes first where the whole is: a false one is not why.
fn leaf<'e>(
    expr: &'e Expr,
    effect: Effect,
    request: &Request<'_>,
    stops: &impl Fn(Truth) -> bool,
) -> Option<(&'e Atom, bool)> {
    match expr {
        Expr::All(parts) | Expr::Any(parts) => {
            let whole = expr.truth(effect, request);
            let stopping = || parts.iter().filter(|part| stops(part.truth(effect, request)));
            let why = stopping().find(|part| part.truth(effect, request) == whole).or_else(|| stopping().next())?;
            leaf(why, effect, request, stops)
        }
        Expr::Is(atom) => Some((atom, false)),
        Expr::IsNot(atom) => Some((atom, true)),
    }
}

fn stop(atom: &Atom, negated: bool, request: &Request<'_>, truth: Truth, place: Option<usize>, when: bool) -> Stop {
    let (attribute, expected) = condition(atom, negated);
    let has = match atom {
        Atom::Value(ValueTest { of, .. }) => actual(of, request),
        Atom::Compare(comparison) => {
            format!("{} and {}", actual(&comparison.left, request), actual(&comparison.right, request))
        }
        Atom::Rate(rate) => match request.rates.get(rate.slot).copied().flatten() {
            Some(count) => format!("the {} request", words::ordinal(count)),
            None => "not counted".into(),
        },
        Atom::Time(window) => words::time(window, request.time),
    };
    Stop { attribute, expected, actual: has, unknown: truth != Truth::False, when, atom: place }
}
