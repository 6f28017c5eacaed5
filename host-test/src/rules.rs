//! `holdgate check` and `holdgate test`.

use std::path::PathBuf;

use holdgate_authoring::{Compilation, run_tests};
use holdgate_engine::Policy;

use crate::{
    failure::{Failure, count},
    files,
};

/// Reads rule files and compiles them together.
pub(crate) fn compile(paths: &[PathBuf]) -> Result<Compilation, Failure> {
    let files = files::read_rule_files(paths)?;
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    holdgate_authoring::compile(&files).map_err(Failure::Findings)
}

/// Says whether the files have mistakes.
pub(crate) fn check(paths: &[PathBuf]) -> Result<String, Failure> {
    let compilation = compile(paths)?;
    load(&compilation)?;
    let policies: Vec<&str> = compilation.policies().collect();
    Ok(format!("{}: {}, no mistakes\n", policies.join(", "), count(compilation.rules(), "rule")))
}

/// Runs the tests in the files.
pub(crate) fn test(paths: &[PathBuf]) -> Result<String, Failure> {
    let compilation = compile(paths)?;
    if compilation.tests().next().is_none() {
        return Err(Failure::NoTests(compilation.policies().count()));
    }
    let report = run_tests(&compilation, &load(&compilation)?);
    if report.failures.is_empty() { Ok(format!("{} passed\n", report.passed)) } else { Err(Failure::Tests(report)) }
}

fn load(compilation: &Compilation) -> Result<Policy, Failure> {
    let id = compilation.policies().collect::<Vec<_>>().join("+");
    let bytes = compilation.build(&id, 1).map_err(|problem| Failure::Findings(vec![problem]))?;
    Policy::load(&bytes).map_err(|problem| Failure::Load { file: id.into(), problem })
}
