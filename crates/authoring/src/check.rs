//! Examples against a policy: what was expected and what came out, in the same words.

use std::fmt;

use holdgate_engine::{Body, Checkpoint, Head, Mcp, Policy, Request, Verdict};
use holdgate_protocol::bundle::Effect;

use crate::{
    compile::Compilation,
    diagnostic::Span,
    example::{Example, Expectation, RuleExpectation},
    explain::{Stop, explain},
};

/// What came of the tests of some rule files.
#[derive(Clone, Debug, Default)]
pub struct TestReport {
    pub passed: usize,
    pub failures: Vec<Failure>,
}

/// An example whose verdict is not the expected one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub file: String,
    pub at: Span,
    pub name: String,
    pub expected: String,
    pub actual: String,
    /// The condition that made the difference, as far as one can be named.
    pub why: Option<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { file, at, name, expected, actual, why } = self;
        writeln!(f, "{file}:{}:{}: test `{name}` failed", at.line, at.column)?;
        write!(f, "  expected: {expected}\n  actual:   {actual}")?;
        why.iter().try_for_each(|why| write!(f, "\n  why:      {why}"))
    }
}

/// Runs the `tests` of all files against the policy that they make together.
pub fn run_tests(compilation: &Compilation, policy: &Policy) -> TestReport {
    let mut report = TestReport::default();
    for (file, example) in compilation.tests() {
        match example.check(policy) {
            Ok(()) => report.passed += 1,
            Err((expected, actual)) => report.failures.push(Failure {
                file: file.to_owned(),
                at: example.at,
                name: example.name.clone(),
                expected,
                actual,
                why: example.why(policy),
            }),
        }
    }
    report
}

impl Example {
    /// Compares the verdict of `policy` with the expected one; if they differ, both in words.
    pub fn check(&self, policy: &Policy) -> Result<(), (String, String)> {
        self.with_request(policy, |request| self.check_request(policy, request))
    }

    /// Why it came out so: what is unknown in the rule that decided, or what stood in the way of the rule that was
    /// expected, or else of the nearest one.
    fn why(&self, policy: &Policy) -> Option<String> {
        let found = self.with_request(policy, |request| explain(policy, &request));
        let what = |stop: &Stop| {
            let known = if stop.unknown { "unknown" } else { "false" };
            format!("`{}` is {}: {known}, as the rule wants {}", stop.attribute, stop.actual, stop.expected)
        };
        let decided = found.matched.iter().find(|matched| Some(&matched.rule) == found.rule.as_ref());
        if let Some(stop) = decided.and_then(|matched| matched.unknown.as_ref()) {
            return Some(format!("`{}` matches though {}", decided?.rule, what(stop)));
        }
        let missed = match &self.expect.rule {
            Some(RuleExpectation::Rule(expected)) => found.missed.iter().find(|miss| miss.rule == *expected),
            _ if found.rule.is_none() => found.missed.first(),
            _ => None,
        };
        missed.map(|miss| format!("`{}` does not match: {}", miss.rule, what(&miss.stop)))
    }

    fn check_request(&self, policy: &Policy, request: Request<'_>) -> Result<(), (String, String)> {
        let verdict = policy.evaluate(&request);
        let checkpoint = policy.checkpoint(&request);
        let actual = describe_actual(policy, verdict, checkpoint.as_ref(), &self.expect);
        let expected = describe_expected(&self.expect);
        if actual != expected {
            return Err((expected, actual));
        }
        // The filter asks for the head first: a decision without the body must be the same.
        let head = policy.evaluate_head(&Request {
            body: Body::Unread,
            mcp: match request.mcp {
                Mcp::None => Mcp::None,
                Mcp::Unread | Mcp::Tool(_) | Mcp::Message { .. } => Mcp::Unread,
            },
            ..request
        });
        match head {
            Head::Decided(early) if effect(early) != effect(verdict) => Err((
                format!("{expected} (the verdict without the body differs)"),
                format!("{early:?} before the body"),
            )),
            Head::Decided(_) | Head::NeedsBody => Ok(()),
        }
    }
}

fn effect(verdict: Verdict) -> Effect {
    match verdict {
        Verdict::Allow(_) => Effect::Allow,
        Verdict::Deny(_) => Effect::Deny,
        Verdict::Hold(_) => Effect::Hold,
    }
}

/// Only what the expectation names is described, so that equal descriptions mean a passed test.
fn describe_actual(policy: &Policy, verdict: Verdict, checkpoint: Option<&Checkpoint>, expect: &Expectation) -> String {
    let actual = effect(verdict);
    let same = actual == expect.effect;
    let rule = match verdict {
        Verdict::Allow(index) | Verdict::Hold(index) | Verdict::Deny(Some(index)) => {
            RuleExpectation::Rule(policy.rule(index).id.clone())
        }
        Verdict::Deny(None) => RuleExpectation::NoRule,
    };
    let rules = checkpoint.map(|checkpoint| checkpoint.rules.iter().map(|rule| rule.id.clone()).collect());
    let factors = checkpoint.map(|checkpoint| {
        checkpoint.requirement.factors.iter().map(|factor| (factor.role.clone(), factor.approvals)).collect()
    });
    describe_expected(&Expectation {
        effect: actual,
        // Where the effect is another one, its rule is what helps most.
        rule: if expect.rule.is_some() || !same { Some(rule) } else { None },
        rules: if expect.rules.is_some() { rules } else { None },
        factors: if expect.factors.is_some() { factors } else { None },
    })
}

fn describe_expected(expect: &Expectation) -> String {
    let mut text = match expect.effect {
        Effect::Allow => "allow",
        Effect::Deny => "deny",
        Effect::Hold => "hold",
    }
    .to_owned();
    match &expect.rule {
        None => {}
        Some(RuleExpectation::NoRule) => text.push_str(", no rule matched"),
        Some(RuleExpectation::Rule(id)) => text.push_str(&format!(" by `{id}`")),
    }
    if let Some(rules) = &expect.rules {
        let rules: Vec<String> = rules.iter().map(|rule| format!("`{rule}`")).collect();
        text.push_str(&format!(", rules {}", rules.join(" ")));
    }
    if let Some(factors) = &expect.factors {
        let factors: Vec<String> = factors.iter().map(|(role, count)| format!("{count} x {role}")).collect();
        text.push_str(&format!(", factors {}", factors.join(" + ")));
    }
    text
}
