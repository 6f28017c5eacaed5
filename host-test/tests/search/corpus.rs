//! The corpus, and the filter that plays it.

use std::{
    path::{Path, PathBuf},
    sync::{OnceLock, mpsc},
};

use holdgate_authoring::cases::{self, Case, CaseFile, Play};
use holdgate_host::{
    Filter,
    cases::{
        driver::{Driver, Setup, Trouble},
        harness::{Account, Conditions, Harness},
        play::{End, Played, play},
        policies::Policies,
    },
    plugin,
};

pub(crate) fn filter() -> &'static Filter {
    static FILTER: OnceLock<Filter> = OnceLock::new();
    FILTER.get_or_init(|| {
        let wasm = plugin::built(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        Filter::load_cached(&wasm).unwrap()
    })
}

pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) file: CaseFile,
    pub(crate) policies: Policies,
}

/// All files of the corpus.
pub(crate) fn corpus() -> Vec<File> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|kind| kind == "yaml"));
    paths.retain(|path| !path.to_string_lossy().ends_with(".policy.yaml"));
    paths.sort();
    let read = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let file = cases::read(&name, &std::fs::read_to_string(path).unwrap()).unwrap();
        File { name, file, policies: Policies::beside(path) }
    };
    paths.iter().map(read).collect()
}

/// Whether the harness can play a case.
pub(crate) fn is_playable(case: &Case) -> bool {
    match &case.play {
        Play::Scenario(scenario) => !scenario.not_on.iter().any(|(place, _)| place == "harness"),
        Play::Verdict(_) => true,
    }
}

/// Plays a case with a harness that is changed by `change`, and gives what came of it.
pub(crate) fn played(
    file: &File,
    case: &Case,
    conditions: Conditions,
    change: &dyn Fn(Harness) -> Box<dyn Driver>,
) -> Played {
    let make = |setup: Setup| -> Result<Box<dyn Driver>, Trouble> {
        Harness::start(filter(), setup, conditions.clone()).map(change)
    };
    play(case, &file.file.policy, &file.policies, &["harness"], &make)
}

/// Plays a case, and gives how it ended with its account, which is none where it could not be started.
pub(crate) fn accounted(file: &File, case: &Case, conditions: Conditions) -> (End, Option<Account>) {
    let (sender, accounts) = mpsc::channel();
    let conditions = Conditions { account: Some(sender), ..conditions };
    let end = played(file, case, conditions, &|harness| Box::new(harness)).end;
    (end, accounts.try_iter().last())
}
