//! Why a command failed, and with which exit code.

use std::{io, path::PathBuf, process::ExitCode};

use holdgate_authoring::{Diagnostic, TestReport};
use holdgate_engine::LoadError;
use holdgate_protocol::{bundle::BundleError, jws::KeyError};

/// Why a command failed. Exit code 1: what was examined is wrong; 2: the command could not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{}", findings(.0))]
    Findings(Vec<Diagnostic>),
    #[error("{}", tests(.0))]
    Tests(TestReport),
    #[error("there are no tests in {}; add a `tests` list, as a policy without tests proves nothing", count(*.0, "rule file"))]
    NoTests(usize),
    #[error("{}: {problem}", .file.display())]
    Bundle { file: PathBuf, problem: BundleError },
    #[error("{}: {problem}", .file.display())]
    Load { file: PathBuf, problem: LoadError },
    #[error("the service refused the bundle ({status}): {detail}")]
    Refused { status: u16, detail: String },

    #[error("cannot {action} `{}`: {cause}", .path.display())]
    File { action: &'static str, path: PathBuf, cause: io::Error },
    #[error("`{}` exists and is not overwritten; choose another name, or move the old key away", .0.display())]
    KeyExists(PathBuf),
    #[error("`{}` does not name a file", .0.display())]
    NoName(PathBuf),
    #[error("`{}` has no rule files (*.yaml or *.yml)", .0.display())]
    NoRuleFiles(PathBuf),
    #[error("`{}` is not UTF-8 text", .0.display())]
    NotText(PathBuf),
    #[error("`{}` is not {expected}: {cause}", .path.display())]
    Form { path: PathBuf, expected: &'static str, cause: serde_json::Error },
    #[error("`{}`: {problem}", .path.display())]
    Key { path: PathBuf, problem: KeyError },
    #[error("several policies go into one bundle ({0}); name it with `--id`")]
    NeedsId(String),
    #[error("`{0}` is not an id: write letters, digits, `.`, `_` and `-`")]
    Id(String),
    #[error("set HOLDGATE_PUBLISHER_CREDENTIAL to what `holdgate-approval publisher add` printed")]
    NoCredential,
    #[error(
        "`{0}` is not `http://` on this machine: the credential does not cross a network in clear text; publish where the service runs, or through a tunnel that ends here"
    )]
    Address(String),
    #[error("`{url}` does not answer as it should: {problem}")]
    Unreachable { url: String, problem: String },
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
    #[error("cannot write a key or bundle as JSON: {0}")]
    Encode(serde_json::Error),
}

impl Failure {
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Findings(_)
            | Failure::Tests(_)
            | Failure::NoTests(_)
            | Failure::Bundle { .. }
            | Failure::Load { .. }
            | Failure::Refused { .. } => ExitCode::from(1),
            _ => ExitCode::from(2),
        }
    }
}

fn findings(problems: &[Diagnostic]) -> String {
    let mut text: String = problems.iter().map(|problem| format!("{problem}\n\n")).collect();
    text.push_str(&format!("{} found", count(problems.len(), "mistake")));
    text
}

fn tests(report: &TestReport) -> String {
    let mut text: String = report.failures.iter().map(|failure| format!("{failure}\n\n")).collect();
    text.push_str(&format!("{} passed, {} failed", report.passed, report.failures.len()));
    text
}

/// `1 rule`, `2 rules`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
