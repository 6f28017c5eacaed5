//! Files of cases, read and checked.

use std::path::{Path, PathBuf};

use holdgate_authoring::cases::{self, Act, CaseFile, Play, PolicySource};
use holdgate_host::cases::policies::Policies;

use crate::{check::Finding, failure::Failure, files};

/// How the names of rule files end that lie beside cases.
const RULES: &str = ".policy.yaml";

/// A file of cases.
pub(crate) struct CasesFile {
    /// As it was named.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) cases: CaseFile,
    pub(crate) policies: Policies,
}

/// Reads files of cases; of a folder the YAML files that lie directly in it, but for rule files (`*.policy.yaml`).
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<CasesFile>, Failure> {
    let (mut read, mut findings) = (Vec::new(), Vec::new());
    for (name, bytes) in files::read_rule_files(paths)? {
        if name.ends_with(RULES) && !paths.iter().any(|path| path.as_path() == Path::new(&name)) {
            continue;
        }
        let path = PathBuf::from(&name);
        let text = String::from_utf8(bytes).map_err(|_| Failure::NotText(path.clone()))?;
        match cases::read(&name, &text) {
            Ok(cases) => read.push(CasesFile { policies: Policies::beside(&path), name, path, cases }),
            Err(problems) => findings.extend(problems.iter().map(Finding::from)),
        }
    }
    match (findings.is_empty(), read.is_empty()) {
        (false, _) => Err(Failure::Findings(findings)),
        (true, true) => Err(Failure::NoCases),
        (true, false) => Ok(read),
    }
}

/// Every file that the cases depend on: themselves and the rule files that they name.
pub(crate) fn watched(files: &[CasesFile]) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for file in files {
        paths.push(file.path.clone());
        let of_cases = file.cases.cases.iter().filter_map(|case| match &case.play {
            Play::Scenario(scenario) => Some(scenario),
            Play::Verdict(_) => None,
        });
        let published = |act: &Act| match act {
            Act::Publish { policy, .. } => policy.clone(),
            _ => None,
        };
        let mut sources = vec![file.cases.policy.clone()];
        for scenario in of_cases {
            sources.extend(scenario.policy.clone());
            sources.extend(scenario.steps.iter().filter_map(|step| published(&step.act)));
        }
        for source in sources {
            if let PolicySource::File(rules) = source {
                paths.extend(file.policies.find(&rules).ok());
            }
        }
    }
    paths.sort();
    paths.dedup();
    paths
}
