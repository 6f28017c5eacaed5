//! What the tests of rule files have shown of their rules.
//!
//! - A **rule** is covered if some test sees it do its work: it matches, and the verdict is of its effect. So a rule that
//!   holds must be seen to hold.
//! - An **atom** is covered on its *true* side if in some test it alone decides that its entry matches: the entry matches,
//!   and would not if the atom were false. It is covered on its *false* side if in some test it alone keeps its entry from
//!   matching: the entry does not match, and would if the atom were true (modified condition/decision coverage, with one
//!   atom changed at a time). Whether an entry matches is asked as the engine asks: what is unknown counts as a match in
//!   rules that deny or hold, and as none in rules that allow. Atoms of `when` count once for the rule, with any entry.
//!
//! A path template that every path matches is not counted: no test could show its false side.
//!
//! Rules in shadow mode are counted apart: there a match is enough, as they have no verdict.

use std::fmt;

use holdgate_engine::{
    Atom, Attribute, CompiledRule, Conditions, Expr, Policy, Request, Test, Truth, Verdict,
    conditions::{self, ValueTest},
};
use holdgate_protocol::bundle::{Effect, Mode};

/// What has been shown of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// In the order of the policy.
    pub rules: Vec<RuleCoverage>,
}

/// What has been shown of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleCoverage {
    pub rule: String,
    pub effect: Effect,
    pub mode: Mode,
    /// Whether some test sees it do its work.
    pub covered: bool,
    /// Atoms entry by entry, then those of `when`.
    pub atoms: Vec<AtomCoverage>,
}

/// What has been shown of one atom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtomCoverage {
    /// The place of its entry, from 0; `None` for an atom of `when`.
    pub entry: Option<usize>,
    /// Its place in the entry, or in `when`, from 0.
    pub atom: usize,
    /// What it looks at, and what it wants of it.
    pub condition: (String, String),
    pub when_true: bool,
    pub when_false: bool,
}

/// How much of something is covered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    pub covered: usize,
    pub of: usize,
}

impl Share {
    /// Tenths of a percent, cut off and never rounded up: 1000 means all.
    pub fn per_mille(self) -> u32 {
        let share = (self.covered as u64 * 1000).checked_div(self.of as u64).unwrap_or(1000);
        u32::try_from(share).unwrap_or(1000)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Share { covered, of } = self;
        let share = self.per_mille();
        write!(f, "{covered} of {of} ({}.{} %)", share / 10, share % 10)
    }
}

impl Coverage {
    /// Nothing has been shown yet.
    pub fn new(policy: &Policy) -> Self {
        let rule = |rule: &CompiledRule| RuleCoverage {
            rule: rule.id.clone(),
            effect: rule.effect,
            mode: rule.mode,
            covered: false,
            atoms: atoms(&rule.conditions).collect(),
        };
        Coverage { rules: policy.rules().iter().map(rule).collect() }
    }

    /// Adds what a test with this request shows of the policy.
    pub fn add(&mut self, policy: &Policy, request: &Request<'_>) {
        let effect = match policy.evaluate(request) {
            Verdict::Allow(_) => Effect::Allow,
            Verdict::Hold(_) => Effect::Hold,
            Verdict::Deny(_) => Effect::Deny,
        };
        for (rule, coverage) in policy.rules().iter().zip(&mut self.rules) {
            let matches = rule.conditions.any.iter().any(|entry| Entry { rule, entry, request }.matches(None));
            coverage.covered |= matches && (rule.mode == Mode::Shadow || rule.effect == effect);
            for atom in &mut coverage.atoms {
                let entries = rule.conditions.any.iter().enumerate();
                for (_, entry) in entries.filter(|(place, _)| atom.entry.is_none_or(|entry| entry == *place)) {
                    let leaf = Leaf { when: atom.entry.is_none(), place: atom.atom };
                    let entry = Entry { rule, entry, request };
                    let (with, without) = (entry.matches(Some((leaf, true))), entry.matches(Some((leaf, false))));
                    if with != without {
                        let side = if entry.matches(None) == with { &mut atom.when_true } else { &mut atom.when_false };
                        *side = true;
                    }
                }
            }
        }
    }

    /// How many enforced rules are covered.
    pub fn rules(&self) -> Share {
        share(self.of(Mode::Enforce).map(|rule| rule.covered))
    }

    /// How many sides of the atoms of enforced rules are covered: two for each atom.
    pub fn atoms(&self) -> Share {
        share(self.of(Mode::Enforce).flat_map(|rule| &rule.atoms).flat_map(|atom| [atom.when_true, atom.when_false]))
    }

    /// How many rules in shadow mode are seen to match.
    pub fn shadow(&self) -> Share {
        share(self.of(Mode::Shadow).map(|rule| rule.covered))
    }

    fn of(&self, mode: Mode) -> impl Iterator<Item = &RuleCoverage> {
        self.rules.iter().filter(move |rule| rule.mode == mode)
    }
}

fn share(all: impl Iterator<Item = bool>) -> Share {
    all.fold(Share::default(), |share, covered| Share {
        covered: share.covered + usize::from(covered),
        of: share.of + 1,
    })
}

fn atoms(conditions: &Conditions) -> impl Iterator<Item = AtomCoverage> {
    let atom = |entry: Option<usize>, place: usize, atom: &Atom, negated: bool| AtomCoverage {
        entry,
        atom: place,
        condition: crate::explain::condition(atom, negated),
        when_true: false,
        when_false: false,
    };
    let entries = conditions.any.iter().enumerate().flat_map(move |(place, entry)| {
        let counted = entry.iter().enumerate().filter(|(_, found)| !is_always_true(found));
        counted.map(move |(at, found)| atom(Some(place), at, found, false))
    });
    let mut when = Vec::new();
    if let Some(expr) = &conditions.when {
        literals(expr, &mut when);
    }
    let when = when.into_iter().enumerate().map(move |(at, (found, negated))| atom(None, at, found, negated));
    entries.chain(when)
}

fn is_always_true(atom: &Atom) -> bool {
    matches!(atom, Atom::Value(ValueTest { is: Test::Template(template), .. }) if template.as_str() == "/**")
}

fn literals<'e>(expr: &'e Expr, found: &mut Vec<(&'e Atom, bool)>) {
    match expr {
        Expr::All(parts) | Expr::Any(parts) => parts.iter().for_each(|part| literals(part, found)),
        Expr::Is(atom) => found.push((atom, false)),
        Expr::IsNot(atom) => found.push((atom, true)),
    }
}

/// An atom of an entry, or of `when`.
#[derive(Clone, Copy)]
struct Leaf {
    when: bool,
    place: usize,
}

/// An entry that is asked about a request, as the engine does it, but for one leaf that may be set.
struct Entry<'a, 'r> {
    rule: &'a CompiledRule,
    entry: &'a [Atom],
    request: &'a Request<'r>,
}

impl Entry<'_, '_> {
    fn matches(&self, set: Option<(Leaf, bool)>) -> bool {
        let effect = self.rule.effect;
        let truth = self.truth(set);
        truth == Truth::True || (truth != Truth::False && effect != Effect::Allow)
    }

    fn truth(&self, set: Option<(Leaf, bool)>) -> Truth {
        let Entry { rule, entry, request } = self;
        let set_at = |when: bool, place: usize| {
            let (leaf, truth) = set?;
            (leaf.when == when && leaf.place == place).then_some(Truth::from(truth))
        };
        // An entry that asks for an agent by an atom of its own is closed by that atom.
        let asks =
            |atom: &Atom| matches!(atom, Atom::Value(ValueTest { of: Attribute::Agent, is: Test::Exists(true) }));
        let closed = !conditions::opens_for_everybody(entry) && !entry.iter().any(asks);
        if rule.effect == Effect::Allow && request.agent.is_none() && closed {
            return Truth::False;
        }
        let atoms = entry.iter().enumerate();
        let all = atoms.fold(Truth::True, |all, (place, atom)| {
            all.and(set_at(false, place).unwrap_or_else(|| atom.truth(rule.effect, request)))
        });
        let Some(when) = &rule.conditions.when else { return all };
        let mut place = 0;
        let mut leaf = |atom: &Atom, negated: bool| {
            let truth = set_at(true, place).unwrap_or_else(|| atom.literal(rule.effect, request, negated));
            place += 1;
            truth
        };
        all.and(walk(when, &mut leaf))
    }
}

/// Every leaf is asked, so that its place is its number.
fn walk(expr: &Expr, leaf: &mut impl FnMut(&Atom, bool) -> Truth) -> Truth {
    match expr {
        Expr::All(parts) => parts.iter().fold(Truth::True, |all, part| all.and(walk(part, leaf))),
        Expr::Any(parts) => parts.iter().fold(Truth::False, |any, part| any.or(walk(part, leaf))),
        Expr::Is(atom) => leaf(atom, false),
        Expr::IsNot(atom) => leaf(atom, true),
    }
}
