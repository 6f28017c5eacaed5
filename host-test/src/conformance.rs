//! `holdgate conformance`: whether a service answers gateways as the protocol says.
//!
//! Each check opens holds of its own, for agents of its own, and tells in one line what came where something else was
//! to come. What cannot be checked is told too, with the reason: a check that was left out looks like one that passed.

mod expect;
mod feed;
mod grants;
mod holds;
mod http;
mod policy;
mod records;
mod redemptions;
mod target;

use std::{fmt, future::Future, path::PathBuf, pin::Pin, time::Duration};

use serde::Serialize;

use crate::{
    client,
    failure::{Failure, count},
    output::{Exit, Outcome, printable},
};
use expect::Trouble;
use target::Target;

/// The arguments of `holdgate conformance`.
#[derive(clap::Args)]
pub(crate) struct Conformance {
    /// The service's address for gateways, such as `http://127.0.0.1:8002`
    url: String,
    /// The service's address for people: holds are approved and denied there, with the session token in HOLDGATE_TOKEN
    #[arg(long, value_name = "URL", conflicts_with = "approve_by_hand")]
    people: Option<String>,
    /// Wait until a person has approved and denied what the checks open
    #[arg(long)]
    approve_by_hand: bool,
    /// How long to wait for that person, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600, requires = "approve_by_hand")]
    patience: u64,
    /// The public keys of grants (`grant.jwks.json` of the service)
    #[arg(long, value_name = "JWKS")]
    grant_keys: Option<PathBuf>,
    /// The `iss` of the agents that the checks invent
    #[arg(long, value_name = "ISS", default_value = "https://conformance.example")]
    issuer: String,
    /// Who answers for these agents, as the service knows them: a person's subject at that issuer, or `group/NAME`
    #[arg(long, value_name = "OWNER")]
    owner: Option<String>,
    /// Only checks whose names begin so; may be repeated
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// List the checks, and ask nothing
    #[arg(long)]
    list: bool,
}

/// One thing that the protocol asks for.
struct Check {
    name: &'static str,
    /// The sentence of the protocol.
    says: &'static str,
    /// How many approved and how many denied holds it takes.
    takes: (usize, usize),
    run: Run,
}

type Run = for<'a> fn(&'a Target) -> Pin<Box<dyn Future<Output = Result<(), Trouble>> + 'a>>;

/// Checks in their order: name, how many approved and denied holds they take, the function, the protocol's sentence.
macro_rules! checks {
    ($($name:literal ($approved:literal, $denied:literal) $run:path: $says:literal;)*) => {
        &[$(crate::conformance::Check {
            name: $name,
            says: $says,
            takes: ($approved, $denied),
            run: |target| Box::pin($run(target)),
        }),*]
    };
}
use checks;

fn all() -> impl Iterator<Item = &'static Check> {
    [http::CHECKS, policy::CHECKS, holds::CHECKS, redemptions::CHECKS, grants::CHECKS, feed::CHECKS, records::CHECKS]
        .into_iter()
        .flatten()
}

/// What came of one check.
#[derive(Serialize)]
struct Line {
    name: &'static str,
    /// What the protocol says.
    says: &'static str,
    result: Came,
    /// What was expected and what came, or why it was not run.
    why: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Came {
    Passed,
    Failed,
    NotRun,
}

#[derive(Serialize)]
struct Report {
    url: String,
    passed: usize,
    failed: usize,
    not_run: usize,
    /// Holds that the checks left open; they end by themselves.
    left_open: usize,
    checks: Vec<Line>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut reasons: Vec<(&str, &str)> = Vec::new();
        for Line { name, says, result, why } in &self.checks {
            let why = why.as_deref().unwrap_or_default();
            let told = reasons.iter().find(|(_, told)| *told == why).map(|(first, _)| *first);
            match result {
                Came::NotRun if told.is_some() => writeln!(f, "not run  {name}: as {}", told.unwrap_or_default())?,
                Came::Passed => writeln!(f, "pass     {name}")?,
                Came::Failed => writeln!(f, "FAIL     {name}: {why}\n         the protocol: {says}")?,
                Came::NotRun => {
                    writeln!(f, "not run  {name}: {why}")?;
                    reasons.push((name, why));
                }
            }
        }
        let Report { passed, failed, not_run, left_open, .. } = self;
        writeln!(f, "{}: {passed} passed, {failed} failed, {not_run} not run", count(self.checks.len(), "check"))?;
        match left_open {
            0 => Ok(()),
            holds => writeln!(f, "left open until they expire: {}", count(*holds, "hold")),
        }
    }
}

/// The checks and what they ask for.
#[derive(Serialize)]
struct List {
    checks: Vec<(&'static str, &'static str)>,
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.checks.iter().try_for_each(|(name, says)| writeln!(f, "{name}: {says}"))
    }
}

/// Runs the checks, one after the other.
pub(crate) fn run(arguments: &Conformance) -> Result<Outcome, Failure> {
    let wanted = |check: &&Check| {
        arguments.only.is_empty() || arguments.only.iter().any(|name| check.name.starts_with(name.as_str()))
    };
    let checks: Vec<&Check> = all().filter(wanted).collect();
    if checks.is_empty() {
        return Err(Failure::NoSuchCheck(arguments.only.join("`, `")));
    }
    if arguments.list {
        return Outcome::good(&List { checks: checks.iter().map(|check| (check.name, check.says)).collect() });
    }
    client::runtime()?.block_on(async {
        let takes = |of: fn(&Check) -> usize| checks.iter().map(|check| of(check)).sum();
        let target = Target::of(arguments, takes(|check| check.takes.0), takes(|check| check.takes.1)).await?;
        let mut lines = Vec::with_capacity(checks.len());
        for Check { name, says, run, .. } in checks {
            let (result, why) = match run(&target).await {
                Ok(()) => (Came::Passed, None),
                Err(Trouble::Failed(why)) => (Came::Failed, Some(why)),
                Err(Trouble::NotRun(why)) => (Came::NotRun, Some(why)),
            };
            // What an unknown service says goes to a terminal.
            lines.push(Line { name, says, result, why: why.map(|why| printable(&why)) });
        }
        let number = |wanted| lines.iter().filter(|line| line.result == wanted).count();
        let (passed, failed, not_run) = (number(Came::Passed), number(Came::Failed), number(Came::NotRun));
        let left_open = target.left_open();
        let report = Report { url: arguments.url.clone(), passed, failed, not_run, left_open, checks: lines };
        Outcome::new(&report, if failed == 0 { Exit::Good } else { Exit::Findings })
    })
}

/// How much later than asked an answer may come.
const SLACK: Duration = Duration::from_secs(5);
