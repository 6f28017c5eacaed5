//! What came of cases: for people, as JSON, and as JUnit XML.

use std::{fmt, time::Duration};

use holdgate_authoring::cases::Case;
use holdgate_host::cases::{
    driver::TraceLine,
    judge::Difference,
    play::{End, Played},
};
use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};
use serde::Serialize;

use crate::{
    failure::{Failure, count},
    output::printable,
};

/// So many lines of what happened are shown before what went wrong; what is counted is left out of them.
const AROUND: usize = 40;

/// What came of all cases.
#[derive(Serialize)]
pub(super) struct Report {
    passed: usize,
    failed: usize,
    skipped: usize,
    /// On hosts that lack what the filter needs: nothing passed that should not have.
    closed: usize,
    milliseconds: u128,
    cases: Vec<Result>,
}

/// What came of one case.
#[derive(Serialize)]
pub(super) struct Result {
    file: String,
    line: usize,
    column: usize,
    name: String,
    why: Option<String>,
    /// The driver, and its profile where it has one.
    on: String,
    came: Came,
    milliseconds: u128,
    /// What happened: for cases that failed its end, with `--trace` all of it.
    trace: Vec<TraceLine>,
}

#[derive(Serialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
enum Came {
    Passed,
    /// Something was not as expected, at this line.
    Failed {
        at: usize,
        differences: Vec<Difference>,
    },
    /// It could not be played to its end.
    Broken {
        at: usize,
        reason: String,
    },
    Skipped {
        reason: String,
    },
    Closed,
}

impl Result {
    pub(super) fn new(file: &str, case: &Case, on: &str, played: Played, took: Duration) -> Self {
        let came = match played.end {
            End::Passed => Came::Passed,
            End::Failed { line, differences } => Came::Failed { at: line, differences },
            End::Broken { line, why } => Came::Broken { at: line, reason: why },
            End::Skipped(reason) => Came::Skipped { reason },
            End::Closed => Came::Closed,
        };
        Result {
            file: file.to_owned(),
            line: case.at.line,
            column: case.at.column,
            name: case.name.clone(),
            why: case.why.clone(),
            on: on.to_owned(),
            came,
            milliseconds: took.as_millis(),
            trace: played.trace,
        }
    }

    fn is_bad(&self) -> bool {
        matches!(self.came, Came::Failed { .. } | Came::Broken { .. })
    }
}

impl Report {
    pub(super) fn new(mut cases: Vec<Result>, took: Duration, trace: bool) -> Self {
        for case in cases.iter_mut().filter(|_| !trace) {
            case.trace.retain(|line| !line.text.contains("_metric("));
            let shown = if case.is_bad() { AROUND } else { 0 };
            let hidden = case.trace.len().saturating_sub(shown);
            case.trace.drain(..hidden);
        }
        let of = |came: fn(&Came) -> bool| cases.iter().filter(|case| came(&case.came)).count();
        Report {
            passed: of(|came| matches!(came, Came::Passed)),
            failed: of(|came| matches!(came, Came::Failed { .. } | Came::Broken { .. })),
            skipped: of(|came| matches!(came, Came::Skipped { .. })),
            closed: of(|came| matches!(came, Came::Closed)),
            milliseconds: took.as_millis(),
            cases,
        }
    }

    pub(super) fn is_good(&self) -> bool {
        self.failed == 0
    }

    /// One suite for each file and driver.
    pub(super) fn junit(&self) -> std::result::Result<String, Failure> {
        let mut report = quick_junit::Report::new("holdgate");
        let mut suites: Vec<TestSuite> = Vec::new();
        for case in &self.cases {
            let mut status = match &case.came {
                Came::Passed | Came::Closed => TestCaseStatus::success(),
                Came::Skipped { reason } => {
                    let mut status = TestCaseStatus::skipped();
                    status.set_message(reason.clone());
                    status
                }
                Came::Failed { differences, .. } => {
                    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                    let first = differences.first();
                    let told = |first: &Difference| {
                        format!("{}: expected {}, came {}", first.what, first.expected, first.came)
                    };
                    status.set_message(first.map(told).unwrap_or_default());
                    status.set_type("expectation");
                    status
                }
                Came::Broken { reason, .. } => {
                    let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
                    status.set_message(reason.clone());
                    status.set_type("broken");
                    status
                }
            };
            if case.is_bad() {
                status.set_description(case.to_string());
            }
            let mut test = TestCase::new(case.name.clone(), status);
            test.set_classname(case.file.clone());
            test.set_time(Duration::from_millis(u64::try_from(case.milliseconds).unwrap_or(u64::MAX)));
            let name = format!("{} on {}", case.file, case.on);
            match suites.iter_mut().find(|suite| suite.name.as_str() == name) {
                Some(suite) => drop(suite.add_test_case(test)),
                None => {
                    let mut suite = TestSuite::new(name);
                    suite.add_test_case(test);
                    suites.push(suite);
                }
            }
        }
        report.add_test_suites(suites);
        report.to_string().map_err(|error| Failure::Junit(error.to_string()))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for case in self.cases.iter().filter(|case| case.is_bad() || !case.trace.is_empty()) {
            writeln!(f, "{case}")?;
        }
        write!(f, "{}", count(self.passed, "case"))?;
        write!(f, " passed")?;
        if self.failed > 0 {
            write!(f, ", {} failed", self.failed)?;
        }
        if self.closed > 0 {
            write!(f, ", {} only stayed closed", self.closed)?;
        }
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        writeln!(f, " in {}.{:03} s", self.milliseconds / 1000, self.milliseconds % 1000)
    }
}

impl fmt::Display for Result {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Result { file, line, column, name, on, .. } = self;
        write!(f, "{file}:{line}:{column}: case `{name}` ")?;
        match &self.came {
            Came::Passed => writeln!(f, "passed on {on}")?,
            Came::Closed => writeln!(f, "came out otherwise on {on}, but nothing passed that should not have")?,
            Came::Skipped { reason } => writeln!(f, "was skipped on {on}: {reason}")?,
            Came::Broken { at, reason } => writeln!(f, "could not be played on {on}, at line {at}\n  {reason}")?,
            Came::Failed { at, differences } => {
                writeln!(f, "failed on {on}, at line {at}")?;
                for Difference { what, expected, came } in differences {
                    let (expected, came) = (printable(expected), printable(came));
                    writeln!(f, "  {what}\n    expected: {expected}\n    came:     {came}")?;
                }
            }
        }
        if let (Some(why), true) = (&self.why, self.is_bad()) {
            writeln!(f, "  why this case: {why}")?;
        }
        if let Some(first) = self.trace.first().map(|line| line.at) {
            writeln!(f, "  what happened:")?;
            for TraceLine { at, text } in &self.trace {
                let since = at.saturating_sub(first);
                writeln!(f, "    {:>5}.{:03}  {}", since / 1000, since % 1000, printable(text))?;
            }
        }
        Ok(())
    }
}
