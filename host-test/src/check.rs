//! `holdgate check`.

pub(crate) mod sarif;

use std::{fmt, path::PathBuf};

use holdgate_authoring::{Budget, Compilation, Diagnostic, Place, Severity, Shown};
use holdgate_engine::Policy;
use serde::{Serialize, Serializer};

use crate::{
    failure::{Failure, count},
    files,
    output::{Exit, Outcome},
    rules,
};

/// What is wrong with some rule files.
#[derive(Serialize)]
struct CheckReport {
    /// Empty where a file has a mistake.
    policies: Vec<String>,
    rules: usize,
    errors: usize,
    warnings: usize,
    findings: Vec<Finding>,
}

/// A finding as data.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) code: &'static str,
    /// `error` or `warning`
    #[serde(serialize_with = "word")]
    pub(crate) severity: Severity,
    pub(crate) title: &'static str,
    /// Where the reference explains the code.
    pub(crate) page: String,
    pub(crate) file: String,
    /// From 1; `null` where the finding is not at one place.
    pub(crate) line: Option<usize>,
    /// From 1, in characters.
    pub(crate) column: Option<usize>,
    /// The column behind the last character.
    pub(crate) end_column: Option<usize>,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    /// As it is shown to people.
    #[serde(skip)]
    shown: String,
}

impl Finding {
    /// The finding that people see as `shown`. `title` holds for every finding of its code, which `page` explains.
    pub(crate) fn new(shown: &Shown<'_>, code: &'static str, title: &'static str, page: String) -> Self {
        let Shown { severity, file, place, message, help, .. } = *shown;
        // A span that goes on over more lines is cut at the end of its first.
        let width = |place: &Place| {
            let rest = (place.hidden + place.source_line.chars().count() + 1).saturating_sub(place.span.column);
            place.span.width.min(rest.max(1))
        };
        Finding {
            code,
            severity,
            title,
            page,
            file: file.to_owned(),
            line: place.map(|place| place.span.line),
            column: place.map(|place| place.span.column),
            end_column: place.map(|place| place.span.column + width(place)),
            message: message.to_owned(),
            help: help.map(str::to_owned),
            shown: shown.to_string(),
        }
    }
}

impl From<&Diagnostic> for Finding {
    fn from(diagnostic: &Diagnostic) -> Self {
        let Diagnostic { code, severity, file, place, message, help } = diagnostic;
        let (place, help) = (place.as_ref(), help.as_deref());
        let shown = Shown { code: code.id(), severity: *severity, file, place, message, help };
        Finding::new(&shown, code.id(), code.title(), code.page())
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CheckReport { policies, rules, errors, warnings, findings } = self;
        self.findings.iter().try_for_each(|finding| writeln!(f, "{}\n", finding.shown))?;
        if *errors > 0 {
            return writeln!(f, "{} found", tell(findings));
        }
        write!(f, "{}: {}, no mistakes", policies.join(", "), count(*rules, "rule"))?;
        if *warnings > 0 { writeln!(f, ", {}", count(*warnings, "warning")) } else { writeln!(f) }
    }
}

/// Every finding with its place, and how many there are.
pub(crate) fn write_findings(findings: &[Finding], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    findings.iter().try_for_each(|finding| writeln!(f, "{}\n", finding.shown))?;
    write!(f, "{} found", tell(findings))
}

/// `2 mistakes and 1 warning`.
pub(crate) fn tell(findings: &[Finding]) -> String {
    let (errors, warnings) = number(findings);
    match (errors, warnings) {
        (errors, 0) => count(errors, "mistake"),
        (0, warnings) => count(warnings, "warning"),
        (errors, warnings) => format!("{} and {}", count(errors, "mistake"), count(warnings, "warning")),
    }
}

/// How many errors and how many warnings there are.
pub(crate) fn number(findings: &[Finding]) -> (usize, usize) {
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    (errors, findings.len() - errors)
}

/// Says what is wrong with rule files. Warnings alone are no failure, unless `strict` says so.
pub(crate) fn run(paths: &[PathBuf], strict: bool) -> Result<Outcome, Failure> {
    let files = files::read_rule_files(paths)?;
    let (policies, rules, findings) = match examine(&files) {
        Ok((compilation, findings)) => {
            (compilation.policies().map(str::to_owned).collect(), compilation.rules(), findings)
        }
        Err(Failure::Findings(findings)) => (Vec::new(), 0, findings),
        Err(other) => return Err(other),
    };
    let (errors, warnings) = number(&findings);
    let exit = if errors > 0 || (strict && warnings > 0) { Exit::Findings } else { Exit::Good };
    let sarif = sarif::document(&findings)?;
    Ok(Outcome::new(&CheckReport { policies, rules, errors, warnings, findings }, exit)?.with_foreign(sarif))
}

/// Fails if something in the files is an error; `policy` is what they make together.
pub(crate) fn sound(compilation: &Compilation, policy: &Policy) -> Result<(), Failure> {
    let findings = holdgate_authoring::lint(compilation, policy, Budget::default());
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
    let errors: Vec<Finding> = errors.map(Finding::from).collect();
    if errors.is_empty() { Ok(()) } else { Err(Failure::Findings(errors)) }
}

/// The files together, and what can be found only when all is looked at together.
fn examine(files: &[(String, Vec<u8>)]) -> Result<(Compilation, Vec<Finding>), Failure> {
    let compilation = rules::compile_files(files)?;
    let (_, policy) = rules::load(&compilation)?;
    let findings = holdgate_authoring::lint(&compilation, &policy, Budget::default());
    Ok((compilation, findings.iter().map(Finding::from).collect()))
}

fn word<S: Serializer>(severity: &Severity, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(severity)
}

#[cfg(test)]
mod tests {
    use holdgate_authoring::Code;

    use super::*;

    #[test]
    fn warnings_are_told_apart_from_mistakes() {
        let finding = |code: Code, severity: Severity| {
            let diagnostic = Diagnostic { severity, ..Diagnostic::of_file("a.yaml", code, "m", None) };
            Finding::from(&diagnostic)
        };
        let error = finding(Code::NotYaml, Severity::Error);
        let warning = finding(Code::NotYaml, Severity::Warning);
        assert_eq!(tell(std::slice::from_ref(&error)), "1 mistake");
        assert_eq!(tell(&[warning.clone(), warning.clone()]), "2 warnings");
        assert_eq!(tell(&[error, warning.clone()]), "1 mistake and 1 warning");
        let policies = vec!["demo".to_owned()];
        let report = CheckReport { policies, rules: 1, errors: 0, warnings: 1, findings: vec![warning] };
        assert_eq!(report.to_string(), "a.yaml: warning[HG004]: m\n\ndemo: 1 rule, no mistakes, 1 warning\n");
        assert!(sarif::document(&report.findings).unwrap().contains("\"level\": \"warning\""));
    }
}
