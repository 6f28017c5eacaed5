//! What tests have shown of the rules, and what they have not.

use std::fmt;

use holdgate_authoring::{
    Compilation, Span,
    coverage::{AtomCoverage, Coverage, RuleCoverage, Share},
};
use holdgate_protocol::bundle::{Effect, Mode};
use serde::Serialize;

/// The coverage of some rule files by their tests.
#[derive(Serialize)]
pub(super) struct CoverageReport {
    rules: Covered,
    /// Two sides for each atom: it made its entry match, and it kept its entry from matching.
    atoms: Covered,
    /// Rules in shadow mode that are seen to match.
    shadow: Covered,
    uncovered: Vec<Uncovered>,
    /// What was asked for, in percent.
    least: Option<f64>,
}

#[derive(Serialize)]
struct Covered {
    covered: usize,
    of: usize,
    /// Cut off after one place, never rounded up.
    percent: f64,
    #[serde(skip)]
    share: Share,
}

impl From<Share> for Covered {
    fn from(share: Share) -> Self {
        Covered { covered: share.covered, of: share.of, percent: f64::from(share.per_mille()) / 10.0, share }
    }
}

/// A rule, or a side of an atom, that no test shows.
#[derive(Serialize)]
struct Uncovered {
    file: String,
    line: usize,
    column: usize,
    rule: String,
    /// The number of the entry of `match`, from 1; `null` for a rule and for an atom of `when`.
    entry: Option<usize>,
    /// What the atom looks at and wants; `null` for a rule.
    condition: Option<String>,
    what: String,
}

impl CoverageReport {
    pub(super) fn new(coverage: &Coverage, compilation: &Compilation, least: Option<f64>) -> Self {
        let enforced = coverage.rules.iter().filter(|rule| rule.mode == Mode::Enforce);
        let shadow = coverage.rules.iter().filter(|rule| rule.mode == Mode::Shadow && !rule.covered);
        let mut uncovered = Vec::new();
        for rule in enforced.chain(shadow) {
            uncovered_of(rule, compilation, &mut uncovered);
        }
        CoverageReport {
            rules: coverage.rules().into(),
            atoms: coverage.atoms().into(),
            shadow: coverage.shadow().into(),
            uncovered,
            least,
        }
    }

    pub(super) fn is_enough(&self) -> bool {
        let reaches = |covered: &Covered, least: f64| covered.covered as f64 * 100.0 >= least * covered.of as f64;
        self.least.is_none_or(|least| reaches(&self.rules, least) && reaches(&self.atoms, least))
    }
}

fn uncovered_of(rule: &RuleCoverage, compilation: &Compilation, uncovered: &mut Vec<Uncovered>) {
    let Some(places) = compilation.places(&rule.rule) else { return };
    let mut add = |span: Span, entry: Option<usize>, condition: Option<String>, what: String| {
        let (file, line, column) = (places.file.clone(), span.line, span.column);
        uncovered.push(Uncovered { file, line, column, rule: rule.rule.clone(), entry, condition, what });
    };
    if !rule.covered {
        let seen = match (rule.mode, rule.effect) {
            (Mode::Shadow, _) => "match",
            (Mode::Enforce, Effect::Allow) => "allow",
            (Mode::Enforce, Effect::Hold) => "hold",
            (Mode::Enforce, Effect::Deny) => "deny",
        };
        add(places.rule, None, None, format!("no test sees it {seen}"));
    }
    // The sides of the atoms of a rule that is never seen, or that has no effect, would only repeat it.
    if !rule.covered || rule.mode == Mode::Shadow {
        return;
    }
    for AtomCoverage { entry, atom, condition: (attribute, expected), when_true, when_false } in &rule.atoms {
        let missing = match (when_true, when_false) {
            (true, true) => continue,
            (true, false) => "is never what keeps the rule from matching",
            (false, true) => "is never what makes the rule match",
            (false, false) => "never decides",
        };
        let place = entry.and_then(|entry| places.entries.get(entry));
        let span = place.and_then(|place| place.atoms.get(*atom)).copied();
        let span = span.or(if entry.is_none() { places.when } else { None }).unwrap_or(places.rule);
        let condition = format!("{attribute}: {expected}");
        add(span, entry.map(|entry| entry + 1), Some(condition), missing.to_owned());
    }
}

impl fmt::Display for CoverageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CoverageReport { rules, atoms, shadow, uncovered, least } = self;
        writeln!(f, "coverage: rules {}, sides of atoms {}", rules.share, atoms.share)?;
        if shadow.of > 0 {
            writeln!(f, "rules in shadow mode that are seen to match: {}", shadow.share)?;
        }
        for Uncovered { file, line, column, rule, condition, what, .. } in uncovered {
            match condition {
                Some(condition) => writeln!(f, "  {file}:{line}:{column}: `{rule}`: {condition}: {what}")?,
                None => writeln!(f, "  {file}:{line}:{column}: `{rule}`: {what}")?,
            }
        }
        match least {
            Some(least) if !self.is_enough() => writeln!(f, "less than {least} % is covered"),
            _ => Ok(()),
        }
    }
}
