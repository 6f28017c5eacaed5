//! What is wrong, or probably not meant, in rule files that were read without a mistake.
//!
//! Questions about all requests (can the rule match, does it ever decide) are put to the solver; what it does not
//! decide within its budget is said so, and nothing is concluded from it. A warning that is meant so is accepted in the
//! file, with a reason.

mod plain;
mod unusual;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use holdgate_engine::{
    Atom, Attribute, CompiledRule, Policy, Test, Truth,
    conditions::{List, Literal, ValueTest},
    is_reached,
};
use holdgate_protocol::{
    Escalation,
    bundle::{Effect, Mode},
};

use crate::{
    accept::Acceptance,
    codes::{Code, Severity},
    compile::Compilation,
    diagnostic::{Diagnostic, Span},
    explain::condition,
    rule::{Rule, RulePlaces},
    solve::{Answer, Budget, Goal, Solver, Truths},
};

/// The most rules that are compared with one another.
const MOST_COMPARED: usize = 500;

/// All questions of one check together may cost as much as so many of the dearest ones.
const DEAREST_QUESTIONS: u64 = 3;

/// Methods that change nothing (RFC 9110 section 9.2.1) and carry data: what routine work consists of.
const READS: [&str; 2] = ["GET", "HEAD"];

/// Finds what is wrong with rule files, and what is probably not meant. `policy` is what `compilation` builds; one question
/// to the solver may cost so much, and all of them together a few times as much.
pub fn lint(compilation: &Compilation, policy: &Policy, budget: Budget) -> Vec<Diagnostic> {
    let solver = Solver::within(budget, budget.steps.saturating_mul(DEAREST_QUESTIONS));
    let mut lint = Lint { compilation, policy, solver, found: Vec::new(), uncontrolled: HashSet::new() };
    lint.files();
    let tested = lint.tested();
    for rule in policy.rules() {
        if let Some(places) = compilation.places(&rule.id) {
            lint.rule(rule, places, &tested);
        }
    }
    lint.roles();
    lint.declarations();
    if policy.rules().len() <= MOST_COMPARED {
        for rule in policy.rules() {
            if let Some(places) = compilation.places(&rule.id) {
                lint.compare(rule, places);
                if lint.solver.is_spent() {
                    let what =
                        format!("from `{}` on it was not found out which rules never match or never decide", rule.id);
                    let help = "all questions together need more work than they may cost; check fewer files \
                                together, and write simpler conditions";
                    lint.report(places, rule, Code::NotDecided, what, help);
                    break;
                }
            }
        }
    } else if let Some(file) = compilation.files().first() {
        let message = format!("more than {MOST_COMPARED} rules are not compared with one another");
        lint.found.push(Found {
            rule: None,
            file: &file.name,
            at: file.at,
            code: Code::NotDecided,
            message,
            help: Some("check fewer files together to find rules that never match or never decide".into()),
        });
    }
    lint.finish()
}

/// A finding before it is shown.
struct Found<'c> {
    rule: Option<&'c str>,
    file: &'c str,
    at: Span,
    code: Code,
    message: String,
    help: Option<String>,
}

struct Lint<'c> {
    compilation: &'c Compilation,
    policy: &'c Policy,
    solver: Solver,
    found: Vec<Found<'c>>,
    /// Files none of whose rules serves a control: that is said once.
    uncontrolled: HashSet<&'c str>,
}

impl<'c> Lint<'c> {
    fn report(
        &mut self,
        places: &'c RulePlaces,
        rule: &'c CompiledRule,
        code: Code,
        what: impl Into<String>,
        help: &str,
    ) {
        self.report_at(places.rule, places, rule, code, what, help);
    }

    fn report_at(
        &mut self,
        at: Span,
        places: &'c RulePlaces,
        rule: &'c CompiledRule,
        code: Code,
        what: impl Into<String>,
        help: &str,
    ) {
        let (message, help) = (what.into(), Some(help.to_owned()));
        self.found.push(Found { rule: Some(&rule.id), file: &places.file, at, code, message, help });
    }

    /// What is missing in a file as a whole.
    fn files(&mut self) {
        let mut uncontrolled = HashSet::new();
        for file in self.compilation.files() {
            let mut report = |at, code, message: &str, help: &str| {
                let (message, help) = (message.to_owned(), Some(help.to_owned()));
                self.found.push(Found { rule: None, file: &file.name, at, code, message, help });
            };
            if file.tests.is_empty() {
                let help = "add `tests` with requests and the verdicts that you expect; `holdgate new` shows some";
                report(file.tests_at.unwrap_or(file.at), Code::NoTests, "the file has no tests", help);
            }
            let accepts = |accepted: &Acceptance| accepted.code == Code::NoControls && accepted.rule.is_some();
            let serves = |rule: &Rule| !rule.controls.is_empty();
            if file.rules.len() > 1 && !file.rules.iter().any(serves) && !file.acceptances.iter().any(accepts) {
                let help = "name the control that they serve: `controls: [nist-csf-2.0/PR.AA-05]`, for the file \
                            or for each rule";
                report(file.at, Code::NoControls, "no rule of this file serves a control", help);
                uncontrolled.insert(file.name.as_str());
            }
            if file.owner.is_none() {
                let help = "add `owner: team@example.com` at the top";
                report(file.at, Code::NoOwner, "nobody answers for this file", help);
            }
        }
        self.uncontrolled = uncontrolled;
    }

    /// The rules that match the request of some test.
    fn tested(&self) -> HashSet<&'c str> {
        let mut tested = HashSet::new();
        for (_, test) in self.compilation.tests() {
            test.with_request(self.policy, |request| {
                let matching = self
                    .policy
                    .rules()
                    .iter()
                    .filter(|rule| Truths::matching(rule.effect).has(rule.conditions.truth(rule.effect, &request)));
                tested.extend(matching.map(|rule| rule.id.as_str()));
            });
        }
        tested
    }

    /// What can be seen of a rule by itself.
    fn rule(&mut self, rule: &'c CompiledRule, places: &'c RulePlaces, tested: &HashSet<&str>) {
        let file = self.compilation.files().iter().find(|file| file.name == places.file);
        let has_tests = file.is_some_and(|file| !file.tests.is_empty());
        if has_tests && !tested.contains(rule.id.as_str()) {
            let help = "add a test whose request it matches";
            self.report(
                places,
                rule,
                Code::Untested,
                format!("no test has a request that `{}` matches", rule.id),
                help,
            );
        }
        let without = self.uncontrolled.contains(places.file.as_str());
        if rule.controls.is_empty() && !without {
            let help = "name the control that it serves: `controls: [nist-csf-2.0/PR.AA-05]`, for the rule or the file";
            self.report(places, rule, Code::NoControls, format!("`{}` serves no control", rule.id), help);
        }
        for (entry, at) in rule.conditions.any.iter().zip(&places.entries) {
            if !is_reached(entry) {
                let help = "name a tool, a path with a fixed segment, a method, a host or a claim, as a text";
                let what = format!("every request makes the gateway evaluate this entry of `{}`", rule.id);
                self.report_at(at.span, places, rule, Code::NotIndexed, what, help);
            }
            if rule.effect == Effect::Hold && !entry.iter().any(is_scope) {
                let help = "say what is held with `http: {methods, path}` or `mcp: {tool}`; reviewers cannot \
                            look at everything";
                let what = format!("`{}` holds without a method, a path or a tool", rule.id);
                self.report_at(at.span, places, rule, Code::NoScope, what, help);
            }
        }
        self.missing(rule, places);
        self.signs(rule, places);
        self.asserted(rule, places);
        self.patterns(rule, places);
        self.people(rule, places);
        self.escalation(rule, places);
    }

    /// Tests of attributes that the same entry says are missing: they are unknown, whatever they ask.
    fn missing(&mut self, rule: &'c CompiledRule, places: &'c RulePlaces) {
        let is_missing = |entry: &[Atom], of: &Attribute| {
            let said = |other: &Attribute| {
                entry.iter().any(
                    |atom| matches!(atom, Atom::Value(test) if test.of == *other && test.is == Test::Exists(false)),
                )
            };
            let of_agent =
                matches!(of, Attribute::AgentId | Attribute::AgentIssuer | Attribute::AgentOwner | Attribute::Claim(_));
            said(of) || (of_agent && said(&Attribute::Agent))
        };
        for (entry, entry_places) in rule.conditions.any.iter().zip(&places.entries) {
            let test = entry.iter().zip(&entry_places.atoms).find(|(atom, _)| {
                matches!(atom, Atom::Value(ValueTest { of, is }) if !matches!(is, Test::Exists(_)) && is_missing(entry, of))
            });
            if let Some((_, at)) = test {
                let what =
                    format!("this entry of `{}` tests what it says is missing: the test is always unknown", rule.id);
                let help = "keep `exists: false` or the test, not both";
                self.report_at(*at, places, rule, Code::MissingTested, what, help);
            }
        }
    }

    /// Holds and denies that an agent avoids by what it says of itself.
    fn asserted(&mut self, rule: &'c CompiledRule, places: &'c RulePlaces) {
        let of_atom = |atom: &'c Atom| atom.attributes().find(|of| of.is_asserted());
        let in_when = rule.conditions.when.as_ref().and_then(|when| when.atoms().find_map(of_atom));
        let mut told = BTreeSet::new();
        for (index, entry) in rule.conditions.any.iter().enumerate() {
            let place = places.entries.get(index);
            let in_entry = entry.iter().enumerate().find_map(|(at, atom)| Some((at, of_atom(atom)?)));
            let (tag, at) = match (in_entry, in_when) {
                (Some((atom, of)), _) => (of, place.and_then(|place| place.atoms.get(atom)).copied()),
                (None, Some(of)) => (of, places.when),
                (None, None) => continue,
            };
            let Attribute::Tag(tag) = tag else { continue };
            if told.insert(&tag.name) {
                let what = format!("an agent avoids `{}` by another value of the tag `{}`", rule.id, tag.name);
                let help = "take the tag from a claim of its token (`tags: {NAME: {claim: ...}}`), or hold on \
                            other grounds too";
                self.report_at(at.unwrap_or(places.rule), places, rule, Code::Advisory, what, help);
            }
        }
    }

    fn patterns(&mut self, rule: &'c CompiledRule, places: &'c RulePlaces) {
        let in_entries = rule
            .conditions
            .any
            .iter()
            .zip(&places.entries)
            .flat_map(|(entry, places)| entry.iter().zip(places.atoms.iter().copied()));
        let in_when = rule
            .conditions
            .when
            .iter()
            .flat_map(|when| when.atoms())
            .map(|atom| (atom, places.when.unwrap_or(places.rule)));
        let mut told = HashSet::new();
        for (atom, at) in in_entries.chain(in_when).collect::<Vec<_>>() {
            let Atom::Value(ValueTest { is: Test::Matches(pattern), .. }) = atom else { continue };
            let Some(plain) = plain::of(pattern.source()).filter(|_| told.insert((pattern.source(), at.line))) else {
                continue;
            };
            let what = format!("`{}` is a plain text", pattern.source());
            self.report_at(at, places, rule, Code::PlainRegex, what, &format!("write `{plain}`"));
        }
    }

    /// Factors for which there are not enough persons.
    fn people(&mut self, rule: &'c CompiledRule, places: &'c RulePlaces) {
        let Some(requirement) = self.policy.requirement(rule) else { return };
        let files = self.compilation.files();
        for factor in &requirement.factors {
            let people = files.iter().filter_map(|file| file.approvers.get(&factor.role)?.people).min();
            if let Some(people) = people.filter(|people| *people < factor.approvals) {
                let what = format!(
                    "`{}` needs {} approvals of `{}`, and `approvers` says that {people} hold the role",
                    rule.id, factor.approvals, factor.role
                );
                let at = places.approval.unwrap_or(places.rule);
                self.report_at(
                    at,
                    places,
                    rule,
                    Code::TooFewPeople,
                    what,
                    "ask for fewer, or give the role to more persons",
                );
            }
        }
    }

    /// An escalation to a role that is a factor: it changes nothing, or one role does what several were asked for.
    fn escalation(&mut self, rule: &'c CompiledRule, places: &'c RulePlaces) {
        let Some(requirement) = self.policy.requirement(rule) else { return };
        let Some(Escalation { role, after }) = &requirement.escalate else { return };
        let at = places.approval.unwrap_or(places.rule);
        if !requirement.factors.iter().any(|factor| factor.role == *role) {
            return;
        }
        let what = match requirement.factors.len() {
            1 => format!("`{}` escalates to `{role}`, which is its only factor: nothing changes by it", rule.id),
            _ => format!("after {after}% of its time those who hold `{role}` fill every factor of `{}` alone", rule.id),
        };
        self.report_at(at, places, rule, Code::EscalatesToFactor, what, "name a further role, or remove `escalate`");
    }

    /// A role that is enough by itself for every hold.
    fn roles(&mut self) {
        let holds: Vec<&CompiledRule> = self
            .policy
            .rules()
            .iter()
            .filter(|rule| rule.effect == Effect::Hold && rule.mode == Mode::Enforce)
            .collect();
        let mut roles: BTreeMap<&str, usize> = BTreeMap::new();
        for rule in &holds {
            if let Some([only]) = self.policy.requirement(rule).map(|requirement| requirement.factors.as_slice()) {
                *roles.entry(&only.role).or_default() += 1;
            }
        }
        let Some((role, _)) = roles.into_iter().find(|(_, count)| *count == holds.len() && holds.len() > 1) else {
            return;
        };
        let Some((file, approver)) =
            self.compilation.files().iter().find_map(|file| Some((file, file.approvers.get(role)?)))
        else {
            return;
        };
        self.found.push(Found {
            rule: None,
            file: &file.name,
            at: approver.at,
            code: Code::ApprovesAll,
            message: format!("whoever holds the role `{role}` approves everything that is held"),
            help: Some("give what weighs most another role, or a second factor".into()),
        });
    }

    /// What shows only when the rule is looked at among the others.
    fn compare(&mut self, rule: &'c CompiledRule, places: &'c RulePlaces) {
        let id = &rule.id;
        match self.solver.can_match(self.policy, rule) {
            Answer::No => {
                let help = self.conflict(rule, 0).unwrap_or_else(|| "its conditions exclude one another".into());
                return self.report(places, rule, Code::NeverMatches, format!("no request can match `{id}`"), &help);
            }
            answer => self.note_undecided(answer, rule, places, "can match"),
        }
        for (index, at) in places.entries.iter().enumerate().filter(|_| places.entries.len() > 1) {
            if self.solver.entry_can_match(self.policy, rule, index) == Answer::No {
                let help = self.conflict(rule, index).unwrap_or_else(|| "its conditions exclude one another".into());
                let what = format!("no request can match this entry of `{id}`");
                self.report_at(at.span, places, rule, Code::EntryNeverMatches, what, &help);
            }
        }
        match self.solver.decides(self.policy, rule) {
            Answer::No => {
                let help = "wherever it matches a stricter rule does too: remove it, or narrow the stricter one";
                return self.report(places, rule, Code::NeverDecides, format!("`{id}` never decides anything"), help);
            }
            answer => self.note_undecided(answer, rule, places, "decides anything"),
        }
        match self.solver.changes_anything(self.policy, rule) {
            Answer::No => {
                let help = "other rules say the same wherever it matches: remove it, unless its reason or its \
                            id is what matters";
                let what = format!("without `{id}` every request would get the same verdict and the same requirement");
                return self.report(places, rule, Code::Redundant, what, help);
            }
            answer => self.note_undecided(answer, rule, places, "changes anything"),
        }
        if rule.effect == Effect::Hold {
            self.hold(rule, places);
        }
    }

    /// Two conditions of an entry that exclude one another, or one that nothing meets.
    fn conflict(&self, rule: &CompiledRule, entry: usize) -> Option<String> {
        let say = |atom: Option<&Atom>| {
            atom.map_or("`when`".to_owned(), |atom| {
                let (attribute, wanted) = condition(atom, false);
                format!("`{attribute}`: {wanted}")
            })
        };
        match self.solver.conflict(rule, entry)?.as_slice() {
            [only] => Some(format!("this excludes itself: {}", say(*only))),
            [one, other] => Some(format!("these exclude one another: {}; {}", say(*one), say(*other))),
            _ => None,
        }
    }

    fn hold(&mut self, rule: &'c CompiledRule, places: &'c RulePlaces) {
        let id = &rule.id;
        match self.solver.opens_what_is_denied(self.policy, rule) {
            Answer::Yes(witness) => {
                let help = "that is what many checkpoints are for; accept it with the reason, or add the \
                            `allow` that it checks";
                let what =
                    format!("`{id}` opens to reviewers what no rule allows, such as the request {}", witness.to_yaml());
                self.report(places, rule, Code::OpensDenied, what, help);
            }
            answer => self.note_undecided(answer, rule, places, "opens what is denied by default"),
        }
        let leaves = self.solver.leaves();
        let method = |is: Test| leaves.value(&Attribute::Method, is, Truths::TRUE);
        let reads = List::strings(READS.map(str::to_owned));
        let goals: [Goal; 4] = [
            leaves.rule(rule, true),
            leaves.value(&Attribute::Agent, Test::Exists(true), Truths::TRUE),
            method(Test::In(reads)),
            // Reads of MCP are calls of tools, which have names of their own.
            leaves.value(&Attribute::McpMethod, Test::Exists(true), Truths::FALSE),
        ];
        let holds = |witness: &crate::solve::Witness| {
            witness.with_request(self.policy, |request| {
                READS.contains(&request.method) && rule.conditions.truth(Effect::Hold, request) != Truth::False
            })
        };
        match self.solver.ask(&goals, holds) {
            Answer::Yes(witness) => {
                let help =
                    "name the methods that change something, or accept it where reading is what is to be checked";
                let what = format!("`{id}` holds reads, such as the request {}", witness.to_yaml());
                self.report(places, rule, Code::HoldsReads, what, help);
            }
            answer => self.note_undecided(answer, rule, places, "holds reads"),
        }
    }

    fn note_undecided(&mut self, answer: Answer, rule: &'c CompiledRule, places: &'c RulePlaces, question: &str) {
        // Where the work of all questions together is used up, that is said once.
        if let Answer::Unknown(why) = answer
            && !self.solver.is_spent()
        {
            let what = format!("whether `{}` {question} was not found out: {why}", rule.id);
            self.report(places, rule, Code::NotDecided, what, "nothing is concluded from it; simpler conditions help");
        }
    }

    /// Takes out what the files accept, and shows the rest.
    fn finish(self) -> Vec<Diagnostic> {
        let mut used = HashSet::new();
        let mut found = self.found;
        let accepted = |found: &Found<'_>| {
            let file = self.compilation.files().iter().position(|file| file.name == found.file)?;
            let acceptances = self.compilation.files().get(file).map(|file| file.acceptances.as_slice())?;
            let of = |rule: Option<&str>| {
                acceptances.iter().find(|one| one.code == found.code && one.rule.as_deref() == rule)
            };
            let own = of(found.rule).or_else(|| of(None))?;
            Some((file, own.at))
        };
        found.retain(|found| match accepted(found).filter(|_| found.code.severity() == Severity::Warning) {
            Some((file, at)) => {
                used.insert((file, at.line, at.column));
                false
            }
            None => true,
        });
        for (index, file) in self.compilation.files().iter().enumerate() {
            for acceptance in &file.acceptances {
                if !used.contains(&(index, acceptance.at.line, acceptance.at.column)) {
                    found.push(Found {
                        rule: None,
                        file: &file.name,
                        at: acceptance.at,
                        code: Code::NothingToAccept,
                        message: format!("`{}` is accepted here, and is not found", acceptance.code),
                        help: Some("remove it: what it excused is gone".into()),
                    });
                }
            }
        }
        found.sort_by(|a, b| (a.file, a.at.line, a.at.column, a.code).cmp(&(b.file, b.at.line, b.at.column, b.code)));
        let found = together(found, Code::OpensDenied);
        self.compilation.findings(
            found.into_iter().map(|Found { file, at, code, message, help, .. }| (file, at, code, message, help)),
        )
    }
}

/// Makes one finding of those of a code in a file: what many rules of a file have is told once.
fn together(found: Vec<Found<'_>>, code: Code) -> Vec<Found<'_>> {
    let mut kept: Vec<Found<'_>> = Vec::new();
    let mut others: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for finding in found {
        let twin = |other: &Found<'_>| other.code == code && other.file == finding.file;
        if finding.code == code && kept.iter().any(twin) {
            others.entry(finding.file).or_default().extend(finding.rule.map(|rule| format!("`{rule}`")));
        } else {
            kept.push(finding);
        }
    }
    for finding in kept.iter_mut().filter(|finding| finding.code == code) {
        if let Some(rules) = others.get(finding.file) {
            finding.message.push_str(&format!("; so do {}", rules.join(", ")));
        }
    }
    kept
}

/// Whether an atom narrows what a rule is about: a method, a path that is not every path, an MCP method or tool.
fn is_scope(atom: &Atom) -> bool {
    let Atom::Value(ValueTest { of, is }) = atom else { return false };
    match (of, is) {
        (Attribute::Path, Test::Template(template)) => template.as_str() != "/**",
        (Attribute::Method | Attribute::McpMethod | Attribute::McpTool, Test::Exists(_) | Test::NotIn(_)) => false,
        (Attribute::McpTool, Test::Glob(glob)) => glob.pieces().iter().any(|piece| !piece.is_empty()),
        (Attribute::Method | Attribute::McpMethod | Attribute::McpTool, _) => true,
        (Attribute::Path, Test::Equals(Literal::String(_)) | Test::In(_) | Test::Prefix(_) | Test::Matches(_)) => true,
        _ => false,
    }
}
