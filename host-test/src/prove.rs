//! `holdgate prove`.

mod save;

use std::{fmt, path::PathBuf};

use holdgate_authoring::{Budget, Claim, ProofResult, Solver, is_vacuous, prove_with};
use holdgate_protocol::bundle::Effect;
use serde::Serialize;

use crate::{
    changes::word,
    failure::Failure,
    output::{Exit, Outcome},
    rules,
};

/// The arguments of `holdgate prove`.
#[derive(clap::Args)]
pub(crate) struct Prove {
    /// Rule files, or folders of them; their rules are compiled together
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Write the request that refutes a proof into the file as a test, which fails until the rules are mended
    #[arg(long)]
    save_test: bool,
    /// The most steps that one proof may take; a proof that would take more is unknown
    #[arg(long, value_name = "STEPS", default_value_t = Budget::default().steps)]
    budget: u64,
}

/// What came of the proofs.
#[derive(Serialize)]
struct Report {
    proved: usize,
    refuted: usize,
    possible: usize,
    unknown: usize,
    proofs: Vec<ProofLine>,
}

#[derive(Serialize)]
struct ProofLine {
    file: String,
    line: usize,
    column: usize,
    id: String,
    claim: String,
    #[serde(flatten)]
    result: Result,
    /// The name of the test that was written.
    saved: Option<String>,
}

#[derive(Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
enum Result {
    /// There is no request to the contrary. `vacuous`: there is none in the region at all.
    Proved { steps: u64, vacuous: bool },
    /// This request, as in a test, has this verdict.
    Refuted { request: String, verdict: Effect, rule: Option<String> },
    /// The request is to the contrary if comparisons of two attributes come out so.
    Possible { conditions: Vec<String>, request: String },
    /// It was not found out.
    Unknown { why: String },
}

/// Proves or refutes what the files claim.
pub(crate) fn run(arguments: &Prove) -> std::result::Result<Outcome, Failure> {
    let compilation = rules::compile(&arguments.paths)?;
    let (_, policy) = rules::load(&compilation)?;
    let solver = Solver::new(Budget { steps: arguments.budget });
    let mut report = Report { proved: 0, refuted: 0, possible: 0, unknown: 0, proofs: Vec::new() };
    for (file, proof) in compilation.proofs() {
        let (result, count, refuted) = match prove_with(&solver, &policy, proof) {
            ProofResult::Proved { steps } => {
                (Result::Proved { steps, vacuous: is_vacuous(&solver, proof) }, &mut report.proved, None)
            }
            ProofResult::Refuted { witness, verdict, rule } => {
                let request = witness.to_yaml();
                (Result::Refuted { request: request.clone(), verdict, rule }, &mut report.refuted, Some(request))
            }
            ProofResult::PossibleIf { conditions, example } => {
                (Result::Possible { conditions, request: example.to_yaml() }, &mut report.possible, None)
            }
            ProofResult::Unknown { why } => (Result::Unknown { why }, &mut report.unknown, None),
        };
        *count += 1;
        let saved = match refuted.filter(|_| arguments.save_test) {
            Some(request) => save::test(file, proof, &request)?,
            None => None,
        };
        report.proofs.push(ProofLine {
            file: file.to_owned(),
            line: proof.at.line,
            column: proof.at.column,
            id: proof.id.clone(),
            claim: describe(proof.claim),
            result,
            saved,
        });
    }
    if report.proofs.is_empty() {
        return Err(Failure::NoProofs(compilation.policies().count()));
    }
    let exit = if report.proved == report.proofs.len() { Exit::Good } else { Exit::Findings };
    Outcome::new(&report, exit)
}

fn describe(claim: Claim) -> String {
    match claim {
        Claim::Never(effect) => format!("never {}", word(effect)),
        Claim::Always(effect) => format!("always {}", word(effect)),
    }
}

/// A verdict with its rule.
pub(crate) fn verdict(effect: Effect, rule: Option<&str>) -> String {
    match rule {
        Some(rule) => format!("{} by `{rule}`", word(effect)),
        None => format!("{}, no rule matched", word(effect)),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ProofLine { file, line, column, id, claim, result, saved } in &self.proofs {
            write!(f, "{file}:{line}:{column}: `{id}` ({claim}): ")?;
            match result {
                Result::Proved { vacuous: false, .. } => writeln!(f, "proved")?,
                Result::Proved { vacuous: true, .. } => writeln!(f, "proved, as no request at all meets `given`")?,
                Result::Refuted { request, verdict: effect, rule } => {
                    writeln!(f, "refuted: {}\n  {request}", verdict(*effect, rule.as_deref()))?;
                }
                Result::Possible { conditions, request } => {
                    writeln!(f, "not proved: possible if {}\n  {request}", conditions.join(" and "))?;
                }
                Result::Unknown { why } => writeln!(f, "not proved: unknown: {why}")?,
            }
            if let Some(name) = saved {
                writeln!(f, "  saved as the test `{name}`; say there what it should be")?;
            }
        }
        let Report { proved, refuted, possible, unknown, .. } = self;
        writeln!(f, "{proved} proved, {refuted} refuted, {possible} possible, {unknown} unknown")
    }
}
