//! A loaded policy and what it says about a request.

use holdgate_protocol::{
    Hash, Requirement, RuleRef,
    bundle::{self, BundleError, Effect, Mode, Needs, PolicyRef, Rule},
    sort::{sort_by, sorted_set},
};

use crate::{
    Atom, Attribute, Conditions, Names, Request, Test, Truth,
    conditions::{By, Rate, Source, Tag, ValueTest},
    index::Index,
};

/// A policy that was loaded from the bytes of a bundle: immutable, to be shared by `Arc`.
#[derive(Debug)]
pub struct Policy {
    reference: PolicyRef,
    needs: Needs,
    requirements: Vec<Requirement>,
    rules: Vec<CompiledRule>,
    /// The entries of all enforced rules, in the order of the policy.
    entries: Vec<Entry>,
    index: Index,
    counters: Vec<Counter>,
    body_names: Names,
    argument_names: Names,
    /// The rules in shadow mode.
    shadow: Vec<RuleIndex>,
    /// For each rule whether it asks for a verified tag.
    by_model: Vec<bool>,
    query_names: Vec<String>,
    /// What [`Policy::rule`] answers for an index that another policy made.
    stranger: CompiledRule,
}

/// An entry of an enforced rule.
#[derive(Clone, Copy, Debug)]
struct Entry {
    rule: RuleIndex,
    /// Its place in the rule.
    entry: usize,
}

/// What is to be counted for a rule: the requests that its entry is about, in a sliding window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    pub rule: RuleIndex,
    /// The place of the entry in the rule.
    pub entry: usize,
    /// The length of the window in seconds.
    pub per: u64,
    pub by: By,
}

/// One rule of a loaded policy.
pub type CompiledRule = Rule<Conditions>;

/// The place of a rule in the policy that gave the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleIndex(usize);

impl RuleIndex {
    /// Its place among [`Policy::rules`].
    pub fn place(self) -> usize {
        self.0
    }
}

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
    #[error("hosts and header names are compared in lower case; write them so")]
    UpperCase,
    #[error("the values of a list rise, and none stands there twice; a size has a least and a most in this order")]
    Values,
    #[error("a pointer into claims names one of them")]
    WholeToken,
    #[error("only `exists` is asked of the agent as a whole, and templates are for paths")]
    Test,
    #[error("a window has days, minutes of a day and offsets that rise")]
    Window,
    #[error("an entry has one rate at most, with a count and a time from 1, and `when` has none")]
    Rate,
    #[error("an allow must not rest on an asserted tag, as the agent says it of itself")]
    AssertedTag,
    #[error("`when` of a deny or a hold asks for MCP, and an entry does not")]
    McpInWhen,
    #[error("a rule takes at most {MAX_STEPS} steps, and `when` is nested {MAX_NESTING} deep at most")]
    TooLarge,
}

/// The most atoms that one request may make a rule evaluate.
pub const MAX_STEPS: usize = 4096;

/// The deepest nesting of `when`: more would go beyond the depth of JSON that is read.
pub const MAX_NESTING: usize = 24;

impl Policy {
    /// Reads the bytes of a bundle (the signature is checked before, by `SignedBundle::open`).
    pub fn load(bytes: &[u8]) -> Result<Policy, LoadError> {
        let mut bundle = bundle::read::<Conditions>(bytes)?;
        for rule in &bundle.rules {
            check(rule).map_err(|problem| LoadError::Rule { rule: rule.id.clone(), problem })?;
        }
        if needs(&bundle.rules) != bundle.needs {
            return Err(LoadError::Needs);
        }
        let counters = number_counters(&mut bundle.rules);
        let (mut body_names, mut argument_names) = (Names::default(), Names::default());
        // Rules in shadow mode refuse nothing: their names are not looked after.
        let enforced = bundle.rules.iter().filter(|rule| rule.mode == Mode::Enforce);
        let mut query_names = Vec::new();
        for attribute in enforced.flat_map(|rule| rule.conditions.atoms()).flat_map(Atom::attributes) {
            match attribute {
                Attribute::Body(pointer) => body_names.insert(pointer.steps()),
                Attribute::McpArg(pointer) => argument_names.insert(pointer.steps()),
                Attribute::Query(name) => query_names.push(name.clone()),
                _ => {}
            }
        }
        let entries = (0..).map(RuleIndex).zip(&bundle.rules).filter(|(_, rule)| rule.mode == Mode::Enforce);
        let entries: Vec<Entry> = entries
            .flat_map(|(rule, compiled)| (0..compiled.conditions.any.len()).map(move |entry| Entry { rule, entry }))
            .collect();
        let atoms = |entry: &Entry| bundle.rules.get(entry.rule.0)?.conditions.any.get(entry.entry).map(Vec::as_slice);
        let index = Index::new(entries.iter().map(|entry| atoms(entry).unwrap_or_default()));
        let shadow = (0..).map(RuleIndex).zip(&bundle.rules).filter(|(_, rule)| rule.mode == Mode::Shadow);
        let shadow = shadow.map(|(rule, _)| rule).collect();
        let by_model = bundle.rules.iter().map(|rule| rule.conditions.atoms().any(asks_a_model)).collect();
        Ok(Policy {
            reference: PolicyRef { id: bundle.id, rev: bundle::revision(bytes), serial: bundle.serial },
            needs: bundle.needs,
            body_names,
            argument_names,
            requirements: bundle.requirements,
            rules: bundle.rules,
            entries,
            index,
            counters,
            shadow,
            by_model,
            query_names: sorted_set(query_names),
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

    /// The parameters of queries that enforced rules look at, sorted.
    pub fn query_names(&self) -> &[String] {
        &self.query_names
    }

    /// The names by which rules look into bodies.
    pub fn body_names(&self) -> &Names {
        &self.body_names
    }

    /// The names by which rules look into the arguments of MCP tools.
    pub fn argument_names(&self) -> &Names {
        &self.argument_names
    }

    /// The rule at an index that a verdict of this same policy named; a deny rule with an empty id for any other.
    pub fn rule(&self, index: RuleIndex) -> &CompiledRule {
        self.rules.get(index.0).unwrap_or(&self.stranger)
    }

    /// All rules in the order of the policy, those in shadow mode included.
    pub fn rules(&self) -> &[CompiledRule] {
        &self.rules
    }

    /// All rules with their indices.
    pub fn indexed(&self) -> impl Iterator<Item = (RuleIndex, &CompiledRule)> {
        (0..).map(RuleIndex).zip(&self.rules)
    }

    /// The requirement of a rule that holds.
    pub fn requirement(&self, rule: &CompiledRule) -> Option<&Requirement> {
        self.requirements.get(rule.approval?.requirement)
    }

    /// What is to be counted; [`Request::rates`] has a count for each, in this order.
    pub fn rates(&self) -> &[Counter] {
        &self.counters
    }

    /// Whether a request is one of those that a counter counts: no atom of its entry but the rate is false.
    pub fn counts(&self, request: &Request<'_>, counter: &Counter) -> bool {
        let rule = self.rule(counter.rule);
        let unlimited = Request { rates: &[], ..*request };
        let entry = rule.conditions.any.get(counter.entry);
        entry.is_some_and(|entry| rule.conditions.entry_truth(entry, rule.effect, &unlimited) != Truth::False)
    }

    /// The rules that the index does not rule out, in the order of the policy, each once.
    pub fn candidates(&self, request: &Request<'_>) -> Vec<RuleIndex> {
        let mut rules = Vec::new();
        self.visit(request, |entry, _, _| rules.push(entry.rule));
        sorted_set(rules)
    }

    /// Calls `found` with the place of each counter that counts this request, shadow rules included, and with whether a
    /// body that has not been read may still say that it does not. A place may come twice.
    pub fn counting(&self, request: &Request<'_>, found: &mut dyn FnMut(usize, bool)) {
        let unlimited = Request { rates: &[], ..*request };
        let mut look = |rule: &CompiledRule, atoms: &[Atom]| {
            let Some(slot) = atoms.iter().find_map(Atom::counter) else { return };
            match rule.conditions.entry_truth(atoms, rule.effect, &unlimited) {
                Truth::False => {}
                truth => found(slot, truth == Truth::Pending),
            }
        };
        self.visit(request, |_, rule, atoms| look(rule, atoms));
        for rule in self.shadow.iter().map(|index| self.rule(*index)) {
            rule.conditions.any.iter().for_each(|atoms| look(rule, atoms));
        }
    }

    /// The rules in shadow mode that would have applied.
    pub fn shadow(&self, request: &Request<'_>) -> impl Iterator<Item = RuleIndex> {
        self.shadow_truths(request).filter(|(effect, truth, _)| matches(*effect, *truth)).map(|(.., rule)| rule)
    }

    /// Those of [`Policy::shadow`] that would have applied with any body, where it has not been read.
    pub fn shadow_by_head(&self, request: &Request<'_>) -> impl Iterator<Item = RuleIndex> {
        let known = self.shadow_truths(request).filter(|(_, truth, _)| *truth != Truth::Pending);
        known.filter(|(effect, truth, _)| matches(*effect, *truth)).map(|(.., rule)| rule)
    }

    fn shadow_truths(&self, request: &Request<'_>) -> impl Iterator<Item = (Effect, Truth, RuleIndex)> {
        self.shadow.iter().map(|index| {
            let rule = self.rule(*index);
            (rule.effect, rule.conditions.truth(rule.effect, request), *index)
        })
    }

    /// Whether a rule asks for a verified tag, so that a model has a part in what it decides.
    pub fn is_by_model(&self, rule: RuleIndex) -> bool {
        self.by_model.get(rule.0).copied().unwrap_or_default()
    }

    /// Decides without the body, or says that the body is needed. Allocates nothing.
    ///
    /// The effect is final in the sense that [`Policy::evaluate`] gives the same with any body.
    pub fn evaluate_head(&self, request: &Request<'_>) -> Head {
        let mut found = Found::default();
        self.visit(request, |entry, rule, atoms| {
            if !found.is_settled(rule.effect, entry.rule) {
                found.record(rule.effect, rule.conditions.entry_truth(atoms, rule.effect, request), entry.rule);
            }
        });
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
        let mut found = Found::default();
        self.visit(request, |entry, rule, atoms| {
            if !found.is_settled(rule.effect, entry.rule)
                && matches(rule.effect, rule.conditions.entry_truth(atoms, rule.effect, request))
            {
                found.record(rule.effect, Truth::True, entry.rule);
            }
        });
        found.verdict()
    }

    /// Decides like [`Policy::evaluate`], by looking at every rule in turn: what the index is checked against.
    pub fn evaluate_linear(&self, request: &Request<'_>) -> Verdict {
        let mut found = Found::default();
        for (index, rule) in (0..).map(RuleIndex).zip(&self.rules) {
            if applies(rule, request) {
                found.record(rule.effect, Truth::True, index);
            }
        }
        found.verdict()
    }

    /// What must be approved, if the verdict is to hold.
    pub fn checkpoint(&self, request: &Request<'_>) -> Option<Checkpoint> {
        let Verdict::Hold(lead) = self.evaluate(request) else { return None };
        let holds = || self.rules().iter().filter(|rule| rule.effect == Effect::Hold && applies(rule, request));
        let mut rules: Vec<RuleRef> = holds().map(Rule::reference).collect();
        sort_by(&mut rules, |a, b| a.id.cmp(&b.id));
        let requirements = holds().filter_map(|rule| self.requirement(rule).cloned());
        let requirement = requirements.reduce(Requirement::union)?.normalise();
        let hash = requirement.hash(&rules);
        let wait = holds().filter_map(|rule| rule.approval).map(|approval| approval.wait).min()?;
        Some(Checkpoint { rules, lead, requirement, hash, wait, reason: self.rule(lead).reason.clone() })
    }

    /// Calls `visit` with each entry that may be anything but false.
    fn visit(&self, request: &Request<'_>, mut visit: impl FnMut(Entry, &CompiledRule, &[Atom])) {
        self.index.candidates(request, &mut |id| {
            let entry = usize::try_from(id).ok().and_then(|at| self.entries.get(at));
            let rule = entry.and_then(|entry| self.rules.get(entry.rule.0));
            if let Some((entry, rule)) = entry.zip(rule)
                && let Some(atoms) = rule.conditions.any.get(entry.entry)
            {
                visit(*entry, rule, atoms);
            }
        });
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
    /// Whether another match of this rule would change nothing.
    fn is_settled(&self, effect: Effect, index: RuleIndex) -> bool {
        let earlier = |found: Option<RuleIndex>| found.is_some_and(|found| found <= index);
        match effect {
            Effect::Deny => earlier(self.deny),
            Effect::Hold => self.deny.is_some(),
            Effect::Allow => self.deny.is_some() || earlier(self.allow),
        }
    }

    fn verdict(self) -> Verdict {
        match self {
            Found { deny: Some(rule), .. } => Verdict::Deny(Some(rule)),
            Found { hold: Some(rule), .. } => Verdict::Hold(rule),
            Found { allow: Some(rule), .. } => Verdict::Allow(rule),
            _ => Verdict::Deny(None),
        }
    }

    fn record(&mut self, effect: Effect, truth: Truth, index: RuleIndex) {
        let (first, pending) = match effect {
            Effect::Deny => (&mut self.deny, &mut self.pending.deny),
            Effect::Hold => (&mut self.hold, &mut self.pending.hold),
            Effect::Allow => (&mut self.allow, &mut self.pending.allow),
        };
        if truth == Truth::Pending {
            *pending = true;
        } else if matches(effect, truth) {
            *first = Some(first.map_or(index, |first| first.min(index)));
        }
    }
}

fn applies(rule: &CompiledRule, request: &Request<'_>) -> bool {
    rule.mode == Mode::Enforce && matches(rule.effect, rule.conditions.truth(rule.effect, request))
}

/// The root of a rule: what is not known counts against the request.
fn matches(effect: Effect, truth: Truth) -> bool {
    match truth {
        Truth::True => true,
        Truth::False => false,
        Truth::Unknown | Truth::Pending => effect != Effect::Allow,
    }
}

fn asks_a_model(atom: &Atom) -> bool {
    atom.attributes().any(|attribute| matches!(attribute, Attribute::Tag(Tag { source: Source::Claim(_), .. })))
}

/// Gives each rate its place, in the order of the policy.
fn number_counters(rules: &mut [CompiledRule]) -> Vec<Counter> {
    let mut counters = Vec::new();
    for (rule, compiled) in (0..).map(RuleIndex).zip(rules) {
        for (entry, atoms) in compiled.conditions.any.iter_mut().enumerate() {
            for atom in atoms {
                if let Atom::Rate(Rate { per, by, slot, .. }) = atom {
                    *slot = counters.len();
                    counters.push(Counter { rule, entry, per: *per, by: *by });
                }
            }
        }
    }
    counters
}

/// What rules look at, for the `needs` of their bundle.
pub fn needs(rules: &[Rule<Conditions>]) -> Needs {
    let mut needs = Needs::default();
    for atom in rules.iter().flat_map(|rule| rule.conditions.atoms()) {
        match atom {
            Atom::Rate(_) => needs.rates = true,
            Atom::Time(_) => needs.time = true,
            Atom::Value(_) | Atom::Compare(_) => {}
        }
        for attribute in atom.attributes() {
            match attribute {
                Attribute::Body(_) => needs.body = true,
                Attribute::Claim(pointer) | Attribute::Tag(Tag { source: Source::Claim(pointer), .. }) => {
                    needs.claims.extend(pointer.steps().first().cloned());
                }
                Attribute::Header(name) | Attribute::Tag(Tag { source: Source::Header(name), .. }) => {
                    needs.headers.push(name.clone());
                }
                Attribute::Query(name) => needs.query.push(name.clone()),
                Attribute::McpMethod | Attribute::McpTool | Attribute::McpArg(_) => needs.mcp = true,
                Attribute::Method
                | Attribute::Host
                | Attribute::Path
                | Attribute::Agent
                | Attribute::AgentId
                | Attribute::AgentIssuer
                | Attribute::AgentOwner => {}
            }
        }
    }
    for list in [&mut needs.claims, &mut needs.headers, &mut needs.query] {
        *list = sorted_set(std::mem::take(list));
    }
    needs
}

fn check(rule: &CompiledRule) -> Result<(), RuleProblem> {
    let conditions = &rule.conditions;
    let require = |sound: bool, problem: RuleProblem| if sound { Ok(()) } else { Err(problem) };
    require(
        !conditions.any.is_empty() && conditions.any.iter().all(|entry| !entry.is_empty()),
        RuleProblem::EmptyList,
    )?;
    let is_rate = |atom: &&Atom| matches!(atom, Atom::Rate(_));
    require(conditions.any.iter().all(|entry| entry.iter().filter(is_rate).count() <= 1), RuleProblem::Rate)?;
    if let Some(when) = &conditions.when {
        require(when.depth(MAX_NESTING + 1) <= MAX_NESTING, RuleProblem::TooLarge)?;
        require(!when.has_empty_list(), RuleProblem::EmptyList)?;
        require(!when.atoms().any(|atom| is_rate(&atom)), RuleProblem::Rate)?;
    }
    require(conditions.steps() <= MAX_STEPS, RuleProblem::TooLarge)?;
    require(rule.effect == Effect::Allow || conditions.asks_for_mcp_in_entries(), RuleProblem::McpInWhen)?;
    for atom in conditions.atoms() {
        check_atom(atom)?;
        let asserted = rule.effect == Effect::Allow && atom.attributes().any(Attribute::is_asserted);
        require(!asserted, RuleProblem::AssertedTag)?;
    }
    Ok(())
}

fn check_atom(atom: &Atom) -> Result<(), RuleProblem> {
    let lower = |text: &String| !text.contains(char::is_uppercase);
    for attribute in atom.attributes() {
        match attribute {
            Attribute::Header(name) | Attribute::Tag(Tag { source: Source::Header(name), .. }) if !lower(name) => {
                return Err(RuleProblem::UpperCase);
            }
            Attribute::Claim(pointer) | Attribute::Tag(Tag { source: Source::Claim(pointer), .. })
                if pointer.steps().is_empty() =>
            {
                return Err(RuleProblem::WholeToken);
            }
            _ => {}
        }
    }
    let (sound, problem) = match atom {
        Atom::Value(ValueTest { of: Attribute::Agent, is }) => (matches!(is, Test::Exists(_)), RuleProblem::Test),
        Atom::Value(ValueTest { of, is: Test::Template(_) }) => (*of == Attribute::Path, RuleProblem::Test),
        Atom::Value(ValueTest { of: Attribute::Host, is }) if !is.texts().iter().all(lower) => {
            (false, RuleProblem::UpperCase)
        }
        Atom::Value(ValueTest { is: Test::In(list) | Test::NotIn(list), .. }) => (list.is_sound(), RuleProblem::Values),
        Atom::Value(ValueTest { is: Test::Size(size), .. }) => {
            (size.max.is_none_or(|max| size.min <= max), RuleProblem::Values)
        }
        Atom::Value(_) => (true, RuleProblem::Test),
        Atom::Compare(_) => (atom.attributes().all(|of| *of != Attribute::Agent), RuleProblem::Test),
        Atom::Rate(Rate { over, per, .. }) => (*over > 0 && *per > 0, RuleProblem::Rate),
        Atom::Time(window) => (window.is_sound(), RuleProblem::Window),
    };
    if sound { Ok(()) } else { Err(problem) }
}

fn stranger() -> CompiledRule {
    Rule {
        id: String::new(),
        effect: Effect::Deny,
        mode: Mode::Enforce,
        reason: None,
        controls: Vec::new(),
        hash: Hash::of(b""),
        conditions: Conditions { any: Vec::new(), when: None },
        approval: None,
    }
}
