//! `holdgate replay`: what a policy would have done to recorded requests.

mod judge;
mod rates;
mod reader;
mod record;
mod tally;

use std::path::PathBuf;

use crate::{
    failure::Failure,
    forecast::{ASSUMPTIONS, Queue},
    output::{Exit, Outcome},
    rules,
};

use self::tally::{HourLoad, Load, Tally};
pub(crate) use self::{
    judge::{Judge, parts},
    reader::{Format, Reader},
};

/// The arguments of `holdgate replay`.
#[derive(clap::Args)]
pub(crate) struct Replay {
    /// Logs, also compressed by gzip
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A rule file, a folder of them, or a bundle; may be given several times
    #[arg(long, required = true, value_name = "PATH")]
    policy: Vec<PathBuf>,
    /// What the logs are; found out by itself if left out
    #[arg(long, value_name = "KIND")]
    from: Option<Format>,
    /// The path of an MCP endpoint; may be given several times
    #[arg(long, value_name = "PATH", value_parser = endpoint)]
    mcp: Vec<String>,
    /// How many agents are shown
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,
    /// Forecast how so many reviewers would keep up
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MAX_REVIEWERS))]
    reviewers: Option<u32>,
    /// The mean time that a reviewer takes for a decision
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = duration)]
    handling: u64,
}

/// The most reviewers that a forecast is made for.
const MAX_REVIEWERS: i64 = 10_000;

fn duration(text: &str) -> Result<u64, String> {
    holdgate_protocol::duration::seconds(text)
        .ok_or_else(|| "write a whole number from 1 and a unit: `45s`, `10m`, `1h`".into())
}

/// The path of an MCP endpoint.
pub(crate) fn endpoint(text: &str) -> Result<String, String> {
    if text.starts_with('/') { Ok(text.to_owned()) } else { Err("write a path that starts with `/`".into()) }
}

/// Judges every record of the logs, and adds up.
pub(crate) fn run(arguments: &Replay) -> Result<Outcome, Failure> {
    let mut judge = Judge::new(&rules::any_policy(&arguments.policy)?, &arguments.mcp)?;
    let mut tally = Tally::default();
    let mut reader = Reader::new(arguments.from);
    for file in &arguments.files {
        reader.each(file, &mut |place, record| {
            tally.records += 1;
            let record = match record {
                Ok(record) => record,
                Err(problem) => {
                    tally.bad.add(|| format!("{place}: {problem}"));
                    return Ok(());
                }
            };
            let judged = judge.judge(&record, |policy, request, judged| tally.add(&record, policy, request, judged))?;
            if let Err(refused) = judged {
                tally.refused.add(|| format!("{place}: {}", refused.0));
            }
            Ok(())
        })?;
    }
    reader.done();
    let load = arguments.reviewers.map(|reviewers| load(&tally, reviewers, arguments.handling));
    let exit = match tally.bad.count {
        bad if bad == tally.records => Exit::Usage,
        0 => Exit::Good,
        _ => Exit::Findings,
    };
    Outcome::new(&tally.report(&judge, arguments.top, load), exit)
}

/// How the reviewers would keep up in a mean hour of the record, and in its busiest one.
fn load(tally: &Tally, reviewers: u32, handling: u64) -> Load {
    let (most, all) = tally.holds();
    let (decisions_per_hold, patience) = tally.decisions();
    let hours = (tally.span() as f64 / 3600.0).max(1.0);
    let hour = |holds_per_hour: f64| {
        let queue = |reviewers| Queue {
            arrivals: holds_per_hour * decisions_per_hold / 3600.0,
            handling: handling as f64,
            reviewers,
            patience: patience.clone(),
        };
        let enough = |reviewers: &u32| queue(*reviewers).forecast().expires <= 0.01;
        HourLoad {
            holds_per_hour,
            forecast: queue(reviewers).forecast(),
            reviewers_for_one_percent: (1..=MAX_REVIEWERS as u32).find(enough),
        }
    };
    Load {
        reviewers,
        handling,
        decisions_per_hold,
        mean: hour(all as f64 / hours),
        busiest: hour(most as f64),
        model: ASSUMPTIONS,
    }
}
