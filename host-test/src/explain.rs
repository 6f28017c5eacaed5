//! `holdgate explain`.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use holdgate_authoring::{
    Compilation, Example,
    explain::{self, Explanation, Match, Miss, Stop},
};
use holdgate_engine::Policy;
use holdgate_protocol::{Escalation, Requirement, bundle::Effect};
use serde::Serialize;

use crate::{
    changes::word,
    check::Finding,
    failure::{Failure, count},
    files,
    output::Outcome,
    rules,
};

/// The arguments of `holdgate explain`.
#[derive(clap::Args)]
pub(crate) struct Explain {
    /// A file with a request as in a test (`agent`, `http`, `body` ...), in YAML or JSON; `-` for standard input
    #[arg(required_unless_present = "test")]
    request: Option<PathBuf>,
    /// The request of a test of this name
    #[arg(long, value_name = "NAME", conflicts_with = "request")]
    test: Option<String>,
    /// A rule file, a folder of them, or a bundle; may be given several times
    #[arg(long, required = true, value_name = "PATH")]
    policy: Vec<PathBuf>,
    /// How many rules that nearly matched are shown
    #[arg(long, value_name = "N", default_value_t = 5)]
    near: usize,
}

/// Why the verdict is what it is.
#[derive(Serialize)]
struct Report {
    verdict: Effect,
    /// `null`: no rule matched.
    rule: Option<String>,
    reason: Option<String>,
    requirement: Option<Requirement>,
    matched: Vec<MatchLine>,
    shadow: Vec<String>,
    /// Rules that do not match, the nearest first.
    missed: Vec<MissLine>,
    /// How many of `missed` are shown to people.
    #[serde(skip)]
    near: usize,
}

#[derive(Serialize)]
struct MatchLine {
    rule: String,
    effect: Effect,
    /// The number of the entry of `match`, from 1.
    entry: usize,
    place: Option<String>,
    /// What is not known and counts against the request.
    unknown: Option<StopLine>,
}

#[derive(Serialize)]
struct MissLine {
    rule: String,
    effect: Effect,
    entry: usize,
    place: Option<String>,
    /// Conditions that are true, and all.
    met: usize,
    of: usize,
    stopped_by: StopLine,
}

#[derive(Serialize)]
struct StopLine {
    attribute: String,
    expected: String,
    actual: String,
    /// `false` or `unknown`
    is: &'static str,
    in_when: bool,
}

impl From<Stop> for StopLine {
    fn from(stop: Stop) -> Self {
        let Stop { attribute, expected, actual, unknown, when, .. } = stop;
        StopLine { attribute, expected, actual, is: if unknown { "unknown" } else { "false" }, in_when: when }
    }
}

/// Explains the verdict on one request.
pub(crate) fn run(arguments: &Explain) -> Result<Outcome, Failure> {
    let (bytes, compilation) = rules::policy_and_source(&arguments.policy)?;
    let refused = |problem| Failure::Load { file: "the policy".into(), problem };
    let policy = Policy::load(&bytes).map_err(refused)?;
    let example = match (&arguments.request, &arguments.test, &compilation) {
        (Some(file), _, _) => read(&policy, file)?,
        (None, Some(name), Some(compilation)) => {
            let found = compilation.tests().find(|(_, test)| test.name == *name);
            found.map(|(_, test)| test.clone()).ok_or_else(|| Failure::NoSuchTest(name.clone()))?
        }
        (None, name, _) => return Err(Failure::NoSuchTest(name.clone().unwrap_or_default())),
    };
    let explanation = example.with_request(&policy, |request| explain::explain(&policy, &request));
    Outcome::good(&report(explanation, &policy, compilation.as_ref(), arguments.near))
}

fn read(policy: &Policy, file: &Path) -> Result<Example, Failure> {
    let (name, bytes) = if file == Path::new("-") {
        ("standard input".to_owned(), files::read_bounded(file, io::stdin().lock())?)
    } else {
        (file.display().to_string(), files::read_source(file)?)
    };
    let findings = |found: Vec<_>| Failure::Findings(found.iter().map(Finding::from).collect());
    explain::read_request(policy, &name, &bytes).map_err(findings)
}

fn report(explanation: Explanation, policy: &Policy, compilation: Option<&Compilation>, near: usize) -> Report {
    let place = |rule: &str, entry: usize, atom: Option<usize>| {
        let places = compilation?.places(rule)?;
        let entry = places.entries.get(entry);
        let atom = entry.zip(atom).and_then(|(entry, atom)| entry.atoms.get(atom));
        let span = atom.copied().or(entry.map(|entry| entry.span)).unwrap_or(places.rule);
        Some(format!("{}:{}:{}", places.file, span.line, span.column))
    };
    let when = |rule: &str| {
        let places = compilation?.places(rule)?;
        let span = places.when?;
        Some(format!("{}:{}:{}", places.file, span.line, span.column))
    };
    let stop_place = |rule: &str, entry: usize, stop: Option<&Stop>| match stop {
        Some(stop) if stop.when => when(rule),
        stop => place(rule, entry, stop.and_then(|stop| stop.atom)),
    };
    let Explanation { effect, rule, checkpoint, matched, shadow, missed } = explanation;
    let lead = rule.as_ref().and_then(|id| policy.rules().iter().find(|rule| rule.id == *id));
    let matched = matched.into_iter().map(|Match { rule, effect, entry, unknown }| MatchLine {
        place: stop_place(&rule, entry, unknown.as_ref()),
        rule,
        effect,
        entry: entry + 1,
        unknown: unknown.map(StopLine::from),
    });
    let missed = missed.into_iter().map(|Miss { rule, effect, entry, met, of, stop }| MissLine {
        place: stop_place(&rule, entry, Some(&stop)),
        rule,
        effect,
        entry: entry + 1,
        met,
        of,
        stopped_by: stop.into(),
    });
    Report {
        verdict: effect,
        reason: lead.and_then(|rule| rule.reason.clone()),
        rule,
        requirement: checkpoint.map(|checkpoint| checkpoint.requirement),
        matched: matched.collect(),
        shadow,
        missed: missed.collect(),
        near,
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { verdict, rule, reason, requirement, matched, shadow, missed, near } = self;
        match rule {
            Some(rule) => writeln!(f, "{} by `{rule}`", word(*verdict))?,
            None => writeln!(f, "deny: no rule matched")?,
        }
        if let Some(reason) = reason {
            writeln!(f, "  {reason}")?;
        }
        if let Some(requirement) = requirement {
            let factors = requirement.factors.iter().map(|factor| format!("{} x {}", factor.approvals, factor.role));
            let factors: Vec<String> = factors.collect();
            let (decide, used) = (span(requirement.decide_within), span(requirement.use_within));
            writeln!(f, "  needs {}, decided within {decide} and used within {used}", factors.join(" + "))?;
            if let Some(Escalation { role, after }) = &requirement.escalate {
                writeln!(f, "  after {after}% of that time `{role}` may stand in for any of them")?;
            }
            if !requirement.codes.is_empty() {
                writeln!(f, "  a decision names one of the reason codes {}", requirement.codes.join(", "))?;
            }
        }
        for line in matched {
            let MatchLine { rule: matched, effect, entry, place, unknown } = line;
            if Some(matched) != rule.as_ref() {
                writeln!(f, "also matches: `{matched}` ({}), entry {entry}{}", word(*effect), at(place))?;
            }
            if let Some(StopLine { attribute, expected, actual, .. }) = unknown {
                writeln!(
                    f,
                    "  `{matched}` matches as {attribute} is {actual}: whether it is {expected} is unknown, and \
                     unknown counts against the request{}",
                    at(place)
                )?;
            }
        }
        shadow.iter().try_for_each(|rule| writeln!(f, "in shadow mode, without effect: `{rule}` would match"))?;
        if missed.is_empty() {
            return Ok(());
        }
        writeln!(f, "\nrules that did not match, the nearest first:")?;
        for MissLine { rule, effect, entry, place, met, of, stopped_by } in missed.iter().take(*near) {
            let StopLine { attribute, expected, actual, is, in_when } = stopped_by;
            let part = if *in_when { "`when`".to_owned() } else { format!("entry {entry}") };
            writeln!(f, "  `{rule}` ({}), {met} of {of} conditions of {part}{}", word(*effect), at(place))?;
            writeln!(f, "    {attribute} is {actual}; the rule wants {expected}")?;
            if *is == "unknown" {
                writeln!(f, "    that is unknown, and an allow does not match on what is unknown")?;
            }
        }
        match missed.len().saturating_sub(*near) {
            0 => Ok(()),
            more => writeln!(f, "  and {} further off (`--near {}`)", count(more, "rule"), missed.len()),
        }
    }
}

fn at(place: &Option<String>) -> String {
    place.as_ref().map(|place| format!(" ({place})")).unwrap_or_default()
}

/// In the largest unit that gives a whole number.
pub(crate) fn span(seconds: u64) -> String {
    let units = [(86_400, 'd'), (3600, 'h'), (60, 'm')];
    let unit = units.into_iter().find(|(length, _)| seconds.is_multiple_of(*length));
    let (length, unit) = unit.unwrap_or((1, 's'));
    format!("{}{unit}", seconds / length)
}
