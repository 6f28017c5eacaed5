//! Cases: the corpus played natively, each expectation of it shown to count, the page about it, and the command that plays it.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test support")]

mod command;
mod mutants;
mod page;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use holdgate_authoring::cases::{self, Case, CaseFile, Play};
use holdgate_host::cases::{
    native::Native,
    play::{End, Played, play},
    policies::Policies,
};

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A file of cases with its policies.
struct Loaded {
    path: PathBuf,
    file: CaseFile,
    policies: Policies,
}

impl Loaded {
    fn read(path: &Path, text: &str) -> Loaded {
        let file = cases::read(&path.display().to_string(), text);
        let file = file.unwrap_or_else(|problems| panic!("{}", problems[0]));
        Loaded { path: path.to_owned(), file, policies: Policies::beside(path) }
    }

    fn play(&self, case: &Case) -> Played {
        play(case, &self.file.policy, &self.policies, &["native"], &|setup| Ok(Box::new(Native::start(setup)?)))
    }
}

/// The corpus.
fn corpus() -> Vec<Loaded> {
    let folder = project().join("tests/cases");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let is_cases = |name: &str| name.ends_with(".yaml") && !name.ends_with(".policy.yaml");
    paths.retain(|path| is_cases(&path.to_string_lossy()));
    paths.sort();
    paths.iter().map(|path| Loaded::read(path, &fs::read_to_string(path).unwrap())).collect()
}

/// Does work for each item, on two threads, and gathers what it says.
fn each<T: Sync>(items: &[T], work: impl Fn(&T) -> Vec<String> + Sync) -> Vec<String> {
    let (next, said) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    said.lock().unwrap().extend(work(item));
                }
            });
        }
    });
    let mut said = said.into_inner().unwrap();
    said.sort();
    said
}

#[test]
fn every_case_of_the_corpus_comes_out_as_expected() {
    let corpus = corpus();
    let failures = each(&corpus, |loaded| {
        let played = loaded.file.cases.iter().map(|case| (case, loaded.play(case).end));
        let bad = played.filter(|(_, end)| *end != End::Passed);
        bad.map(|(case, end)| format!("{}: `{}`: {end:#?}", loaded.path.display(), case.name)).collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let cases = || corpus.iter().flat_map(|loaded| &loaded.file.cases);
    let scenarios = cases().filter(|case| matches!(case.play, Play::Scenario(_))).count();
    assert!(cases().count() >= 350 && scenarios >= 270, "{} cases, {scenarios} of them scenarios", cases().count());
}

/// Cases are told from one another by their names in reports, over all files.
#[test]
fn no_two_cases_of_the_corpus_have_one_name() {
    let corpus = corpus();
    let mut names: Vec<&str> = corpus.iter().flat_map(|loaded| &loaded.file.cases).map(|case| &*case.name).collect();
    names.sort_unstable();
    let twice: Vec<&[&str]> = names.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    assert!(twice.is_empty(), "{twice:?}");
}
