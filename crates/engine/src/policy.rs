//! A loaded policy and what it says about a request.

use holdgate_protocol::{
    Hash, Requirement, RuleRef,
    bundle::{self, BundleError, Effect, Mode, Needs, PolicyRef, Rule},
};

use crate::{Atom, Conditions, Request, Test, truth::Truth};

/// A policy that was loaded from the bytes of a bundle: immutable, to be shared by `Arc`.
#[derive(Debug)]
pub struct Policy {
    reference: PolicyRef,
    needs: Needs,
    requirements: Vec<Requirement>,
    rules: Vec<CompiledRule>,
    /// What [`Policy::rule`] answers for an index that another policy made.
    stranger: CompiledRule,
}

/// One rule of a loaded policy.
pub type CompiledRule = Rule<Conditions>;

/// The place of a rule in the policy that gave the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleIndex(usize);

/// What the policy says about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allow(RuleIndex),
    /// `None`: no rule matched.
    Deny(Option<RuleIndex>),
    Hold(RuleIndex),
}

/// What the policy says before the body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// No body would change the effect, nor, for a hold, which rules hold.
    Decided(Verdict),
    NeedsBody,
}

/// All that must be approved before a held request goes on.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The rules that hold the request, by id.
    pub rules: Vec<RuleRef>,
    /// The first of them in the order of the policy.
    pub lead: RuleIndex,
    /// Their united requirement.
    pub requirement: Requirement,
    /// The hash of `requirement` and `rules`.
    pub hash: Hash,
    /// The least `wait` of the rules, in seconds.
    pub wait: u64,
    /// The reason that the leading rule gives.
    pub reason: Option<String>,
}

/// Why a bundle cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error("rule `{rule}`: {problem}")]
    Rule { rule: String, problem: RuleProblem },
    #[error("`needs` is not what the rules look at; build the bundle again")]
    Needs,
}

/// Why a rule's conditions cannot be evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleProblem {
    #[error("an empty list of entries, atoms, methods or values would match all or nothing")]
    EmptyList,
    #[error("a host is compared in lower case; write it so")]
    UpperCaseHost,
}

impl Policy {
    /// Reads the bytes of a bundle (the signature is checked before, by `SignedBundle::open`).
    pub fn load(bytes: &[u8]) -> Result<Policy, LoadError> {
        let bundle = bundle::read::<Conditions>(bytes)?;
        for rule in &bundle.rules {
            check(&rule.conditions).map_err(|problem| LoadError::Rule { rule: rule.id.clone(), problem })?;
        }
        if needs(&bundle.rules) != bundle.needs {
            return Err(LoadError::Needs);
        }
        Ok(Policy {
            reference: PolicyRef { id: bundle.id, rev: bundle::revision(bytes), serial: bundle.serial },
            needs: bundle.needs,
            requirements: bundle.requirements,
            rules: bundle.rules,
            stranger: stranger(),
        })
    }

    /// The policy's id, revision and serial.
    pub fn reference(&self) -> &PolicyRef {
        &self.reference
    }

    /// What the rules look at.
    pub fn needs(&self) -> &Needs {
        &self.needs
    }

    /// The rule at an index that a verdict of this same policy named; a deny rule with an empty id for any other.
    pub fn rule(&self, index: RuleIndex) -> &CompiledRule {
        self.rules.get(index.0).unwrap_or(&self.stranger)
    }

    /// All rules in the order of the policy, those in shadow mode included.
    pub fn rules(&self) -> &[CompiledRule] {
        &self.rules
    }

    /// Decides without the body, or says that the body is needed. Allocates nothing.
    ///
    /// The effect is final in the sense that [`Policy::evaluate`] gives the same with any body.
    pub fn evaluate_head(&self, request: &Request<'_>) -> Head {
        let mut found = Found::default();
        for (index, rule) in self.enforced() {
            let truth = rule.conditions.evaluate(rule.effect, request);
            found.record(rule.effect, truth, index);
            if found.deny.is_some() {
                break;
            }
        }
        let Found { deny, hold, allow, pending } = found;
        match (deny, hold, allow) {
            (Some(rule), ..) => Head::Decided(Verdict::Deny(Some(rule))),
            _ if pending.deny || pending.hold => Head::NeedsBody,
            (_, Some(rule), _) => Head::Decided(Verdict::Hold(rule)),
            (.., Some(rule)) => Head::Decided(Verdict::Allow(rule)),
            _ if pending.allow => Head::NeedsBody,
            _ => Head::Decided(Verdict::Deny(None)),
        }
    }

    /// Decides with the body. Allocates nothing.
    ///
    /// A body that is still [`crate::Body::Unread`], or that cannot be read, is unknown to every test, `exists` included:
    /// denies and holds that ask for it match, allows do not.
    pub fn evaluate(&self, request: &Request<'_>) -> Verdict {
        let (mut hold, mut allow) = (None, None);
        for (index, rule) in self.enforced() {
            if !applies(rule, request) {
                continue;
            }
            match rule.effect {
                Effect::Deny => return Verdict::Deny(Some(index)),
                Effect::Hold => hold = hold.or(Some(index)),
                Effect::Allow => allow = allow.or(Some(index)),
            }
        }
        hold.map(Verdict::Hold).or(allow.map(Verdict::Allow)).unwrap_or(Verdict::Deny(None))
    }

    /// What must be approved, if the verdict is to hold.
    pub fn checkpoint(&self, request: &Request<'_>) -> Option<Checkpoint> {
        let Verdict::Hold(lead) = self.evaluate(request) else { return None };
        let holds = || self.rules().iter().filter(|rule| rule.effect == Effect::Hold && applies(rule, request));
        let mut rules: Vec<RuleRef> = holds().map(Rule::reference).collect();
        rules.sort_by(|a, b| a.id.cmp(&b.id));
        let approvals = || holds().filter_map(|rule| rule.approval);
        let requirements = approvals().filter_map(|approval| self.requirements.get(approval.requirement).cloned());
        let requirement = requirements.reduce(Requirement::union)?.normalise();
        let hash = requirement.hash(&rules);
        let wait = approvals().map(|approval| approval.wait).min()?;
        Some(Checkpoint { rules, lead, requirement, hash, wait, reason: self.rule(lead).reason.clone() })
    }

    fn enforced(&self) -> impl Iterator<Item = (RuleIndex, &CompiledRule)> {
        let indexed = self.rules.iter().enumerate().map(|(index, rule)| (RuleIndex(index), rule));
        indexed.filter(|(_, rule)| rule.mode == Mode::Enforce)
    }
}

/// The first rule of each effect that applies, and whether some might still.
#[derive(Default)]
struct Found {
    deny: Option<RuleIndex>,
    hold: Option<RuleIndex>,
    allow: Option<RuleIndex>,
    pending: PendingEffects,
}

#[derive(Default)]
struct PendingEffects {
    deny: bool,
    hold: bool,
    allow: bool,
}

impl Found {
    fn record(&mut self, effect: Effect, truth: Truth, index: RuleIndex) {
        let (first, pending) = match effect {
            Effect::Deny => (&mut self.deny, &mut self.pending.deny),
            Effect::Hold => (&mut self.hold, &mut self.pending.hold),
            Effect::Allow => (&mut self.allow, &mut self.pending.allow),
        };
        if truth == Truth::Pending {
            *pending = true;
        } else if matches(effect, truth) {
            *first = first.or(Some(index));
        }
    }
}

fn applies(rule: &CompiledRule, request: &Request<'_>) -> bool {
    rule.mode == Mode::Enforce && matches(rule.effect, rule.conditions.evaluate(rule.effect, request))
}

/// The root of a rule: what is not known counts against the request.
fn matches(effect: Effect, truth: Truth) -> bool {
    match truth {
        Truth::True => true,
        Truth::False => false,
        Truth::Unknown | Truth::Pending => effect != Effect::Allow,
    }
}

/// What rules look at, for the `needs` of their bundle.
pub fn needs(rules: &[Rule<Conditions>]) -> Needs {
    let mut needs = Needs::default();
    for atom in rules.iter().flat_map(|rule| rule.conditions.atoms()) {
        match atom {
            Atom::Body(_) => needs.body = true,
            Atom::Claim(claim) => needs.claims.push(claim.name.clone()),
            Atom::Method(_)
            | Atom::Host(_)
            | Atom::Path(_)
            | Atom::AgentExists(_)
            | Atom::AgentId(_)
            | Atom::AgentIssuer(_)
            | Atom::AgentOwner(_) => {}
        }
    }
    needs.claims.sort();
    needs.claims.dedup();
    needs
}

fn check(conditions: &Conditions) -> Result<(), RuleProblem> {
    if conditions.any.is_empty() || conditions.any.iter().any(Vec::is_empty) {
        return Err(RuleProblem::EmptyList);
    }
    conditions.atoms().try_for_each(|atom| match atom {
        Atom::Method(methods) if methods.is_empty() => Err(RuleProblem::EmptyList),
        Atom::Host(test) if test.texts().iter().any(|text| text.contains(char::is_uppercase)) => {
            Err(RuleProblem::UpperCaseHost)
        }
        atom if test_of(atom).is_some_and(Test::has_empty_list) => Err(RuleProblem::EmptyList),
        _ => Ok(()),
    })
}

fn test_of(atom: &Atom) -> Option<&Test> {
    match atom {
        Atom::Host(test) | Atom::AgentId(test) | Atom::AgentIssuer(test) | Atom::AgentOwner(test) => Some(test),
        Atom::Claim(claim) => Some(&claim.test),
        Atom::Body(part) => Some(&part.test),
        Atom::Method(_) | Atom::Path(_) | Atom::AgentExists(_) => None,
    }
}

fn stranger() -> CompiledRule {
    Rule {
        id: String::new(),
        effect: Effect::Deny,
        mode: Mode::Enforce,
        reason: None,
        controls: Vec::new(),
        hash: Hash::of(b""),
        conditions: Conditions { any: Vec::new() },
        approval: None,
    }
}
