//! Rule files together: one bundle.

use std::collections::{BTreeSet, HashMap};

use holdgate_engine::{Atom, Policy, conditions};
use holdgate_protocol::{
    Json, Requirement,
    bundle::{Approval, Bundle, FORMAT, Rule, rule_hash},
};

use crate::{
    codes::Code,
    diagnostic::{Diagnostic, Quoted, Source, Span},
    example::{Example, Named, What},
    file::{self, PolicyFile},
    node,
    proof::Proof,
    reader::{list, nearest},
    rule::RulePlaces,
    tags,
};

/// Rule files that were read without a mistake and go together.
#[derive(Clone, Debug)]
pub struct Compilation {
    /// By the name of the policy, so that the order of the arguments does not matter.
    files: Vec<PolicyFile>,
    /// Of each rule the file and its place in it.
    rules: HashMap<String, (usize, usize)>,
}

/// Compiles files, given as name and text, to the bytes of a bundle.
pub fn build(files: &[(&str, &str)], id: &str, serial: u64) -> Result<Vec<u8>, Vec<Diagnostic>> {
    compile(files)?.build(id, serial).map_err(|problem| vec![problem])
}

/// Reads files, given as name and bytes, and checks that they go together.
pub fn compile_bytes(files: &[(&str, &[u8])]) -> Result<Compilation, Vec<Diagnostic>> {
    let mut texts = Vec::new();
    let mut problems = Vec::new();
    for (name, bytes) in files {
        match node::decode(name, bytes) {
            Ok(text) => texts.push((*name, text)),
            Err(problem) => problems.push(problem),
        }
    }
    match compile(&texts) {
        Ok(compilation) if problems.is_empty() => Ok(compilation),
        Ok(_) => Err(problems),
        Err(more) => {
            problems.extend(more);
            Err(problems)
        }
    }
}

/// Reads files, given as name and text, and checks that they go together.
pub fn compile(files: &[(&str, &str)]) -> Result<Compilation, Vec<Diagnostic>> {
    let sources: Vec<Source<'_>> = files.iter().map(|(name, text)| Source::new(name, text)).collect();
    let mut read: Vec<(PolicyFile, &Source<'_>)> = Vec::new();
    let mut problems = Vec::new();
    for source in &sources {
        match file::read(source) {
            Ok(file) => read.push((file, source)),
            Err(more) => problems.extend(more),
        }
    }
    problems.extend(clashes(&read));
    // A test may give a count to a rule of a file that could not be read.
    if problems.is_empty() {
        problems.extend(strange_counts(&read));
        problems.extend(strange_names(&read));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut files: Vec<PolicyFile> = read.into_iter().map(|(file, _)| file).collect();
    files.sort_by(|a, b| a.policy.cmp(&b.policy));
    let places = files.iter().enumerate().flat_map(|(file, policy)| {
        policy.rules.iter().enumerate().map(move |(index, rule)| (rule.id.clone(), (file, index)))
    });
    Ok(Compilation { rules: places.collect(), files })
}

/// Policies, rules and tags of different files that do not agree.
fn clashes(files: &[(PolicyFile, &Source<'_>)]) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    let mut policies: HashMap<&str, &str> = HashMap::new();
    let mut rules: HashMap<&str, &str> = HashMap::new();
    let mut sources: HashMap<&str, (&conditions::Source, &str)> = HashMap::new();
    for (file, source) in files {
        let name = file.name.as_str();
        if let Some(other) = policies.insert(&file.policy, name) {
            let message = format!("the policy name `{}` is that of {other} too", file.policy);
            let help = "give each file a policy name of its own".to_owned();
            problems.push(source.diagnostic(file.at, Code::DuplicatePolicy, message, Some(help)));
        }
        for rule in &file.rules {
            if let Some(other) = rules.insert(&rule.id, name) {
                let message = format!("the rule id `{}` stands in {other} too", rule.id);
                let help = "start the ids of each file with a word of its own".to_owned();
                problems.push(source.diagnostic(rule.places.rule, Code::DuplicateRule, message, Some(help)));
            }
        }
        for (tag, from, at) in file.tags.iter() {
            let (first, other) = *sources.entry(tag).or_insert((from, name));
            if first != from {
                let (here, there) = (tags::describe(from), tags::describe(first));
                let message = format!("the tag `{tag}` is {here} here, and {there} in {other}");
                let help = format!("declare it in both files in the same way: `tags: {{{tag}: {there}}}`");
                problems.push(source.diagnostic(at, Code::TagDisagrees, message, Some(help)));
            }
        }
    }
    problems
}

/// Tests that give a count to a rule that has no rate.
fn strange_counts(files: &[(PolicyFile, &Source<'_>)]) -> Vec<Diagnostic> {
    let all = files.iter().flat_map(|(file, _)| &file.rules);
    let counting = all.filter(|rule| rule.conditions.atoms().any(|atom| matches!(atom, Atom::Rate(_))));
    let counting: BTreeSet<&str> = counting.map(|rule| rule.id.as_str()).collect();
    let mut problems = Vec::new();
    for (file, source) in files {
        for (rule, at) in file.tests.iter().flat_map(|test| test.rates.rules()) {
            if !counting.contains(rule) {
                let message = format!("there is no rule `{rule}` with a `rate`");
                let help = "name a rule that counts, or write one number for all of them: `rate: 21`".to_owned();
                problems.push(source.diagnostic(at, Code::NoSuchRate, message, Some(help)));
            }
        }
    }
    problems
}

/// Tests that expect a rule or a role that no file has.
fn strange_names(files: &[(PolicyFile, &Source<'_>)]) -> Vec<Diagnostic> {
    let files_of = || files.iter().map(|(file, _)| file);
    let rules: BTreeSet<&str> = files_of().flat_map(|file| &file.rules).map(|rule| rule.id.as_str()).collect();
    let roles: BTreeSet<&str> = files_of().flat_map(|file| file.approvers.keys()).map(String::as_str).collect();
    let mut problems = Vec::new();
    for (file, source) in files {
        for Named { what, name, at } in file.tests.iter().flat_map(|test| &test.named) {
            let (code, known, what) = match what {
                What::Rule => (Code::NoSuchRule, &rules, "rule"),
                What::Role => (Code::NoSuchRole, &roles, "role"),
            };
            if known.contains(name.as_str()) || problems.len() >= MOST_NAMES {
                continue;
            }
            let known: Vec<&str> = known.iter().copied().collect();
            let help = match nearest(name, &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the {what}s are {}", list(&known)),
            };
            let message = format!("there is no {what} {}", Quoted(name));
            problems.push(source.diagnostic(*at, code, message, Some(help)));
        }
    }
    problems
}

/// So many strange names are told of: for each of them all names are looked at.
const MOST_NAMES: usize = 100;

impl Compilation {
    /// The files, by the names of their policies.
    pub fn files(&self) -> &[PolicyFile] {
        &self.files
    }

    /// The names of the policies, sorted.
    pub fn policies(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.policy.as_str())
    }

    /// The number of rules.
    pub fn rules(&self) -> usize {
        self.rules.len()
    }

    /// The tests with the name of their file.
    pub fn tests(&self) -> impl Iterator<Item = (&str, &Example)> {
        self.files.iter().flat_map(|file| file.tests.iter().map(|test| (file.name.as_str(), test)))
    }

    /// What is to be proved, with the name of the file.
    pub fn proofs(&self) -> impl Iterator<Item = (&str, &Proof)> {
        self.files.iter().flat_map(|file| file.proofs.iter().map(|proof| (file.name.as_str(), proof)))
    }

    /// Where a rule and its parts stand.
    pub fn places(&self, rule: &str) -> Option<&RulePlaces> {
        let (file, index) = self.rules.get(rule)?;
        Some(&self.files.get(*file)?.rules.get(*index)?.places)
    }

    /// Findings about these files, given as file, place, code, message and help, with the lines that they are about.
    pub fn findings<'f>(
        &self,
        found: impl IntoIterator<Item = (&'f str, Span, Code, String, Option<String>)>,
    ) -> Vec<Diagnostic> {
        let named = self.files.iter().map(|file| (file.name.as_str(), Source::new(&file.name, &file.text)));
        let sources: HashMap<&str, Source<'_>> = named.collect();
        let show =
            |(name, span, code, message, help): (&str, Span, Code, String, Option<String>)| match sources.get(name) {
                Some(source) => source.diagnostic(span, code, message, help),
                None => Diagnostic::of_file(name, code, message, help),
            };
        found.into_iter().map(show).collect()
    }

    /// Writes the canonical bytes of the bundle.
    #[expect(clippy::result_large_err, reason = "it is returned once, and ends the work")]
    pub fn build(&self, id: &str, serial: u64) -> Result<Vec<u8>, Diagnostic> {
        self.load(id, serial).map(|(bytes, _)| bytes)
    }

    /// Writes the canonical bytes of the bundle, and loads them: what this version writes it must be able to load.
    #[expect(clippy::result_large_err, reason = "it is returned once, and ends the work")]
    pub fn load(&self, id: &str, serial: u64) -> Result<(Vec<u8>, Policy), Diagnostic> {
        let bytes = self.bundle(id, serial).map(|bundle| bundle.to_jcs()).map_err(|error| error.to_string());
        let loaded = bytes.and_then(|bytes| match Policy::load(&bytes) {
            Ok(policy) => Ok((bytes, policy)),
            Err(error) => Err(error.to_string()),
        });
        loaded.map_err(|error| {
            let message = format!("the bundle that came out cannot be loaded: {error}");
            let help = "this is a mistake of holdgate; please report it with the rule files".to_owned();
            Diagnostic::of_file(id, Code::Internal, message, Some(help))
        })
    }

    /// The bundle, of which the conditions are written once only: they are most of it.
    fn bundle(&self, id: &str, serial: u64) -> Result<Json, serde_json::Error> {
        let mut requirements: Vec<Requirement> = Vec::new();
        let mut known: HashMap<String, usize> = HashMap::new();
        let (mut rules, mut conditions) = (Vec::new(), Vec::new());
        for rule in self.files.iter().flat_map(|file| &file.rules) {
            let approval = match &rule.approval {
                None => None,
                Some(approval) => {
                    let spelled = serde_json::to_string(&approval.requirement)?;
                    let requirement = *known.entry(spelled).or_insert_with(|| {
                        requirements.push(approval.requirement.clone());
                        requirements.len() - 1
                    });
                    Some(Approval { requirement, wait: approval.wait })
                }
            };
            let written = Json::from_serialize(&rule.conditions)?;
            rules.push(Rule {
                id: rule.id.clone(),
                effect: rule.effect,
                mode: rule.mode,
                reason: rule.reason.clone(),
                controls: rule.controls.clone(),
                hash: rule_hash(&written),
                conditions: rule.conditions.clone(),
                approval,
            });
            conditions.push(written);
        }
        let needs = holdgate_engine::needs(&rules);
        let rules = rules.into_iter().zip(conditions).map(|(rule, conditions)| {
            let Rule { id, effect, mode, reason, controls, hash, conditions: _, approval } = rule;
            let rule = Rule { id, effect, mode, reason, controls, hash, conditions: (), approval };
            let mut written = Json::from_serialize(&rule)?;
            if let Json::Object(members) = &mut written {
                members.set("conditions".to_owned(), conditions);
            }
            Ok(written)
        });
        let rules = rules.collect::<Result<Json, serde_json::Error>>()?;
        let head = Bundle::<()> { format: FORMAT, id: id.to_owned(), serial, needs, requirements, rules: Vec::new() };
        let mut bundle = Json::from_serialize(&head)?;
        if let Json::Object(members) = &mut bundle {
            members.set("rules".to_owned(), rules);
        }
        Ok(bundle)
    }
}
