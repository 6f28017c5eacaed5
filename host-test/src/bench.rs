//! `holdgate bench`: what cases cost in the compiled filter, in figures that are the same on every machine.

mod baseline;
mod cost;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::mpsc,
};

use holdgate_authoring::cases::{Case, Play};
use holdgate_host::{
    Filter, Profile,
    cases::{
        driver::Driver,
        harness::{Account, Conditions, Harness},
        play::{End, play},
    },
    plugin,
};

use crate::{
    failure::Failure,
    output::{Exit, Outcome},
    run::files::{self, CasesFile},
};
use cost::{Cost, Costs, Module};

#[derive(clap::Args)]
pub(crate) struct Bench {
    /// Files of cases, or folders of them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The compiled filter; without it, the one of the checkout around the cases is built
    #[arg(long, value_name = "FILE")]
    wasm: Option<PathBuf>,
    /// Which host is imitated
    #[arg(long, default_value_t, value_name = "PROFILE")]
    profile: Profile,
    /// Only cases whose name has this part
    #[arg(long, value_name = "NAME")]
    filter: Option<String>,
    /// Compare with the figures in this file, and fail if something has become dearer
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Write the figures to the file of `--baseline` instead of comparing
    #[arg(long, requires = "baseline")]
    save: bool,
    /// By how many percent fuel, memory and size may rise
    #[arg(long, default_value_t = 3.0, value_name = "PERCENT", value_parser = percent)]
    tolerance: f64,
}

fn percent(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "write a number of percent".to_owned())?;
    if value.is_finite() && value >= 0.0 { Ok(value) } else { Err("write a number of percent, 0 at least".to_owned()) }
}

/// Plays the cases and adds up what they cost.
pub(crate) fn run(bench: &Bench) -> Result<Outcome, Failure> {
    let files = files::read(&bench.paths)?;
    let folder = bench.paths.first().map_or(Path::new("."), PathBuf::as_path);
    let wasm = match &bench.wasm {
        Some(wasm) => wasm.clone(),
        None => plugin::built(folder).map_err(Failure::Plugin)?,
    };
    let filter = Filter::load_cached(&wasm).map_err(Failure::Filter)?;
    let wanted = |case: &&Case| bench.filter.as_ref().is_none_or(|part| case.name.contains(part.as_str()));
    let mut cases = BTreeMap::new();
    for file in &files {
        for case in file.cases.cases.iter().filter(wanted) {
            if let Some(cost) = cost_of(file, case, &filter, bench.profile)? {
                cases.insert(format!("{}: {}", short(&file.name), case.name), cost);
            }
        }
    }
    if cases.is_empty() {
        return Err(Failure::NoSuchCase(bench.filter.clone().unwrap_or_default()));
    }
    let module = Module { bytes: filter.size(), imports: filter.imports() };
    let costs = Costs { module, cases };
    let Some(path) = &bench.baseline else { return Outcome::good(&cost::Report::new(&costs, None)) };
    if bench.save {
        baseline::save(path, &costs)?;
        return Outcome::good(&cost::Report::new(&costs, None));
    }
    let changes = baseline::compare(&baseline::read(path)?, &costs, bench.tolerance);
    let exit = if changes.iter().any(|change| change.dearer) { Exit::Findings } else { Exit::Good };
    Outcome::new(&cost::Report::new(&costs, Some(changes)), exit)
}

/// What one case costs; `None` where the harness cannot play it.
fn cost_of(file: &CasesFile, case: &Case, filter: &Filter, profile: Profile) -> Result<Option<Cost>, Failure> {
    if matches!(&case.play, Play::Scenario(scenario) if scenario.not_on.iter().any(|(place, _)| place == "harness")) {
        return Ok(None);
    }
    let (sender, accounts) = mpsc::channel();
    let make = |setup| {
        let conditions = Conditions { profile, account: Some(sender.clone()), ..Conditions::default() };
        Ok(Box::new(Harness::start(filter, setup, conditions)?) as Box<dyn Driver>)
    };
    let played = play(case, &file.cases.policy, &file.policies, &["harness"], &make);
    match played.end {
        End::Passed => {}
        End::Skipped(_) => return Ok(None),
        // What a case costs that comes out otherwise says nothing.
        End::Closed => return Ok(None),
        End::Failed { line, .. } | End::Broken { line, .. } => {
            return Err(Failure::CaseFails { file: file.name.clone(), line, name: case.name.clone() });
        }
    }
    let account: Option<Account> = accounts.try_iter().last();
    Ok(account.map(|account| Cost::of(&account)))
}

fn short(name: &str) -> &str {
    Path::new(name).file_name().and_then(|name| name.to_str()).unwrap_or(name)
}
