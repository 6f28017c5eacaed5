//! `holdgate run`: plays cases, several at once, and tells what came of them.

mod drivers;
pub(crate) mod files;
mod report;
mod watch;

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use holdgate_authoring::cases::Case;
use holdgate_host::{
    Profile, UnknownProfile,
    cases::play::{Played, play},
};

use crate::{
    failure::Failure,
    output::{Exit, Outcome},
};
use drivers::{Equipment, On, Stage};
use files::CasesFile;
use report::{Report, Result as CaseResult};
pub(crate) use watch::watch;

#[derive(clap::Args)]
pub(crate) struct Run {
    /// Files of cases, or folders of them
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// What plays the cases
    #[arg(long, value_enum, default_value_t, value_name = "DRIVER")]
    on: On,
    /// The compiled filter; without it, the one of the checkout around the cases is built
    #[arg(long, value_name = "FILE")]
    wasm: Option<PathBuf>,
    /// The binary of Envoy, for `--on envoy`; HOLDGATE_ENVOY names it, too
    #[arg(long, value_name = "FILE")]
    envoy: Option<PathBuf>,
    /// Which host the harness imitates: `envoy`, `envoy-without-headers-stop`, `ngx-wasm`, `strict`, or `all`
    #[arg(long, default_value = "envoy", value_name = "PROFILE", value_parser = profile)]
    profile: Profiles,
    /// Play only cases whose name has this part
    #[arg(long, value_name = "NAME")]
    filter: Option<String>,
    /// Show what happened in every case, not only around what went wrong
    #[arg(long)]
    trace: bool,
    /// How many cases are played at once; as many as there are processors by default
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Play the cases again whenever one of the files, or a rule file that they name, is changed
    #[arg(long)]
    pub(crate) watch: bool,
}

/// The profile that is wanted; none are all.
#[derive(Clone, Copy)]
struct Profiles(Option<Profile>);

fn profile(word: &str) -> Result<Profiles, UnknownProfile> {
    if word == "all" { Ok(Profiles(None)) } else { word.parse().map(Some).map(Profiles) }
}

/// One case on one stage.
struct Task<'t> {
    file: &'t CasesFile,
    case: &'t Case,
    stage: &'t Stage,
}

/// Plays all cases that are named.
pub(crate) fn run(run: &Run) -> Result<Outcome, Failure> {
    let files = files::read(&run.paths)?;
    let (wasm, folder) = (run.wasm.as_deref(), run.paths.first().map_or(Path::new("."), PathBuf::as_path));
    let envoy = run.envoy.clone().or_else(|| std::env::var_os("HOLDGATE_ENVOY").map(PathBuf::from));
    let equipment = Equipment { on: run.on, wasm, envoy: envoy.as_deref(), profile: run.profile.0, folder };
    let stages = drivers::stages(&equipment)?;
    let wanted = |case: &&Case| run.filter.as_ref().is_none_or(|part| case.name.contains(part.as_str()));
    let mut tasks = Vec::new();
    for stage in &stages {
        for file in &files {
            tasks.extend(file.cases.cases.iter().filter(wanted).map(|case| Task { file, case, stage }));
        }
    }
    if tasks.is_empty() {
        return Err(Failure::NoSuchCase(run.filter.clone().unwrap_or_default()));
    }
    let begun = Instant::now();
    let results = play_all(&tasks, run.jobs.map_or_else(processors, NonZeroUsize::get));
    let report = Report::new(results, begun.elapsed(), run.trace);
    let exit = if report.is_good() { Exit::Good } else { Exit::Findings };
    Ok(Outcome::new(&report, exit)?.with_foreign(report.junit()?))
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Plays so many cases at once; results stand in the order of the tasks.
fn play_all(tasks: &[Task<'_>], jobs: usize) -> Vec<CaseResult> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let work = || {
        while let Some((place, task)) = take(tasks, &next) {
            let begun = Instant::now();
            let Task { file, case, stage } = task;
            let played: Played = play(case, &file.cases.policy, &file.policies, &stage.places, &*stage.make);
            let result = CaseResult::new(&file.name, case, &stage.name, played, begun.elapsed());
            results.lock().unwrap_or_else(PoisonError::into_inner).push((place, result));
        }
    };
    thread::scope(|scope| {
        (1..jobs.min(tasks.len())).for_each(|_| drop(scope.spawn(work)));
        work();
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, result)| result).collect()
}

fn take<'t, 'f>(tasks: &'t [Task<'f>], next: &AtomicUsize) -> Option<(usize, &'t Task<'f>)> {
    let place = next.fetch_add(1, Ordering::Relaxed);
    Some((place, tasks.get(place)?))
}
