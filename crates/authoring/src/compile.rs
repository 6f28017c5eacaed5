//! Rule files together: one bundle.

use holdgate_engine::{Conditions, Policy};
use holdgate_protocol::{
    Json, Requirement,
    bundle::{Approval, Bundle, FORMAT, Rule, rule_hash},
};

use crate::{
    diagnostic::{Diagnostic, Source},
    example::Example,
    file::{self, PolicyFile},
};

/// Rule files that were read without a mistake and go together.
#[derive(Clone, Debug)]
pub struct Compilation {
    /// By the name of the policy, so that the order of the arguments does not matter.
    files: Vec<PolicyFile>,
}

/// Compiles files, given as name and text, to the bytes of a bundle.
pub fn build(files: &[(&str, &str)], id: &str, serial: u64) -> Result<Vec<u8>, Vec<Diagnostic>> {
    compile(files)?.build(id, serial).map_err(|problem| vec![problem])
}

/// Reads files, given as name and text, and checks that they go together.
pub fn compile(files: &[(&str, &str)]) -> Result<Compilation, Vec<Diagnostic>> {
    let mut read: Vec<(PolicyFile, Source<'_>)> = Vec::new();
    let mut problems = Vec::new();
    for (name, text) in files {
        let source = Source { name, text };
        match file::read(source) {
            Ok(file) => read.push((file, source)),
            Err(more) => problems.extend(more),
        }
    }
    problems.extend(clashes(&read));
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut files: Vec<PolicyFile> = read.into_iter().map(|(file, _)| file).collect();
    files.sort_by(|a, b| a.policy.cmp(&b.policy));
    Ok(Compilation { files })
}

/// Policies and rules of different files that have one name.
fn clashes(files: &[(PolicyFile, Source<'_>)]) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    for (index, (file, source)) in files.iter().enumerate() {
        let earlier = || files.iter().take(index).map(|(file, _)| file);
        if let Some(other) = earlier().find(|other| other.policy == file.policy) {
            let message = format!("the policy name `{}` is that of {} too", file.policy, other.name);
            problems.push(source.diagnostic(file.at, message, None));
        }
        for rule in &file.rules {
            let twin = |other: &PolicyFile| other.rules.iter().any(|twin| twin.id == rule.id);
            if let Some(other) = earlier().find(|other| twin(other)) {
                let message = format!("the rule id `{}` stands in {} too", rule.id, other.name);
                problems.push(source.diagnostic(rule.at, message, None));
            }
        }
    }
    problems
}

impl Compilation {
    /// The names of the policies, sorted.
    pub fn policies(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.policy.as_str())
    }

    /// The number of rules.
    pub fn rules(&self) -> usize {
        self.files.iter().map(|file| file.rules.len()).sum()
    }

    /// The tests with the name of their file.
    pub fn tests(&self) -> impl Iterator<Item = (&str, &Example)> {
        self.files.iter().flat_map(|file| file.tests.iter().map(|test| (file.name.as_str(), test)))
    }

    /// Writes the canonical bytes of the bundle.
    pub fn build(&self, id: &str, serial: u64) -> Result<Vec<u8>, Diagnostic> {
        let bundle = self.bundle(id, serial).and_then(|bundle| Json::from_serialize(&bundle));
        // What this version writes it must be able to load.
        let checked = bundle.map_err(|error| error.to_string()).and_then(|bundle| {
            let bytes = bundle.to_jcs();
            Policy::load(&bytes).map(|_| bytes).map_err(|error| error.to_string())
        });
        checked.map_err(|error| Diagnostic {
            file: id.to_owned(),
            place: None,
            message: format!("the bundle that came out cannot be loaded: {error}"),
            help: Some("this is a mistake of holdgate; please report it with the rule files".into()),
        })
    }

    fn bundle(&self, id: &str, serial: u64) -> Result<Bundle<Conditions>, serde_json::Error> {
        let mut requirements: Vec<Requirement> = Vec::new();
        let mut rules = Vec::new();
        for rule in self.files.iter().flat_map(|file| &file.rules) {
            let approval = rule.approval.as_ref().map(|approval| {
                let known = requirements.iter().position(|other| *other == approval.requirement);
                let requirement = known.unwrap_or_else(|| {
                    requirements.push(approval.requirement.clone());
                    requirements.len() - 1
                });
                Approval { requirement, wait: approval.wait }
            });
            rules.push(Rule {
                id: rule.id.clone(),
                effect: rule.effect,
                mode: rule.mode,
                reason: rule.reason.clone(),
                controls: rule.controls.clone(),
                hash: rule_hash(&Json::from_serialize(&rule.conditions)?),
                conditions: rule.conditions.clone(),
                approval,
            });
        }
        let needs = holdgate_engine::needs(&rules);
        Ok(Bundle { format: FORMAT, id: id.to_owned(), serial, needs, requirements, rules })
    }
}
