//! `holdgate test`.

mod shown;

use std::{fmt, path::PathBuf, time::Duration};

use holdgate_authoring::{Example, Expectation, RuleExpectation, coverage::Coverage};
use holdgate_engine::Policy;
use holdgate_protocol::bundle::Mode;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use serde::Serialize;

use self::shown::CoverageReport;
use crate::{
    failure::Failure,
    output::{Exit, Outcome},
    rules,
};

/// What came of the tests of some rule files.
#[derive(Serialize)]
struct TestRun {
    passed: usize,
    failed: usize,
    tests: Vec<TestResult>,
    coverage: CoverageReport,
}

/// What came of one test.
#[derive(Serialize)]
struct TestResult {
    file: String,
    line: usize,
    column: usize,
    name: String,
    passed: bool,
    /// Both in words, where they differ.
    expected: Option<String>,
    actual: Option<String>,
    /// What helps to see why.
    note: Option<String>,
}

impl fmt::Display for TestRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for test in &self.tests {
            let TestResult { file, line, column, name, expected: Some(expected), actual: Some(actual), note, .. } =
                test
            else {
                continue;
            };
            writeln!(f, "{file}:{line}:{column}: test `{name}` failed")?;
            writeln!(f, "  expected: {expected}\n  actual:   {actual}")?;
            note.iter().try_for_each(|note| writeln!(f, "  note:     {note}"))?;
            writeln!(f)?;
        }
        match self.failed {
            0 => writeln!(f, "{} passed", self.passed)?,
            failed => writeln!(f, "{} passed, {failed} failed", self.passed)?,
        }
        write!(f, "{}", self.coverage)
    }
}

/// Runs the tests in the files against the policy that they make together. `least` is the coverage in percent that is
/// asked for.
pub(crate) fn run(paths: &[PathBuf], least: Option<f64>) -> Result<Outcome, Failure> {
    let compilation = rules::compile(paths)?;
    let (_, policy) = rules::load(&compilation)?;
    let mut tests = Vec::new();
    let mut coverage = Coverage::new(&policy);
    for (file, example) in compilation.tests() {
        example.with_request(&policy, |request| coverage.add(&policy, &request));
        let (expected, actual) = example.check(&policy).err().unzip();
        tests.push(TestResult {
            file: file.to_owned(),
            line: example.at.line,
            column: example.at.column,
            name: example.name.clone(),
            passed: expected.is_none(),
            note: expected.is_some().then(|| in_shadow(example, &policy)).flatten(),
            expected,
            actual,
        });
    }
    if tests.is_empty() {
        return Err(Failure::NoTests(compilation.policies().count()));
    }
    let passed = tests.iter().filter(|test| test.passed).count();
    let coverage = CoverageReport::new(&coverage, &compilation, least);
    let run = TestRun { passed, failed: tests.len() - passed, tests, coverage };
    let exit = if run.failed == 0 && run.coverage.is_enough() { Exit::Good } else { Exit::Findings };
    Ok(Outcome::new(&run, exit)?.with_foreign(junit(&run)?))
}

/// Says of a rule that a test expects to decide that it cannot.
fn in_shadow(example: &Example, policy: &Policy) -> Option<String> {
    let Expectation { rule, rules, .. } = &example.expect;
    let decides = match rule {
        Some(RuleExpectation::Rule(id)) => Some(id),
        Some(RuleExpectation::NoRule) | None => None,
    };
    let mut expected = decides.into_iter().chain(rules.iter().flatten());
    let is_shadow =
        |id: &&String| policy.rules().iter().any(|rule| rule.mode == Mode::Shadow && rule.id == id.as_str());
    expected.find(is_shadow).map(|id| format!("`{id}` is in shadow mode, and has no part in a verdict"))
}

/// One suite for each file.
fn junit(run: &TestRun) -> Result<String, Failure> {
    let mut report = Report::new("holdgate");
    let mut suites: Vec<TestSuite> = Vec::new();
    for test in &run.tests {
        let status = match (&test.expected, &test.actual) {
            (Some(expected), Some(actual)) => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_message(format!("expected {expected}, but it was {actual}"));
                status.set_type("verdict");
                status.set_description(format!("{}:{}:{}", test.file, test.line, test.column));
                status
            }
            _ => TestCaseStatus::success(),
        };
        let mut case = TestCase::new(test.name.clone(), status);
        case.set_classname(test.file.clone());
        // The engine needs less than a microsecond; the time is stated, as some readers ask for it.
        case.set_time(Duration::ZERO);
        match suites.iter_mut().find(|suite| suite.name.as_str() == test.file) {
            Some(suite) => suite.add_test_case(case),
            None => {
                let mut suite = TestSuite::new(test.file.clone());
                suite.add_test_case(case);
                suites.push(suite);
                continue;
            }
        };
    }
    report.add_test_suites(suites);
    report.to_string().map_err(|error| Failure::Junit(error.to_string()))
}
