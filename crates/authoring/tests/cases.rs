//! The native driver of the corpus: authoring and engine, without a gateway.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test support")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use holdgate_authoring::{
    build,
    cases::{self, PolicySource},
    compile, run_tests,
};
use holdgate_engine::Policy;

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn load(path: &str) -> Policy {
    let text = fs::read_to_string(project().join(path)).unwrap();
    let bytes = build(&[(path, &text)], "corpus", 1).unwrap_or_else(|problems| panic!("{}", problems[0]));
    Policy::load(&bytes).unwrap()
}

#[test]
fn every_case_of_the_corpus_comes_out_as_expected() {
    let folder = project().join("tests/cases");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let is_cases = |name: &str| name.ends_with(".yaml") && !name.ends_with(".policy.yaml");
    paths.retain(|path| is_cases(&path.to_string_lossy()));
    paths.sort();
    let (mut failures, mut count) = (Vec::new(), 0);
    for path in paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let file = cases::read(&name, &fs::read_to_string(&path).unwrap());
        let file = file.unwrap_or_else(|problems| panic!("{}", problems[0]));
        let PolicySource::File(policy) = &file.policy else { continue };
        let policy = load(policy);
        for case in file.verdicts() {
            count += 1;
            if let Err((expected, actual)) = case.check(&policy) {
                failures.push(format!("{name}: {}\n  expected: {expected}\n  actual:   {actual}", case.name));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(count >= 40, "the corpus is there: {count} cases");
}

#[test]
fn every_shipped_rule_file_passes_its_own_tests() {
    let mut folders = vec![project().join("policies"), project().join("tests/cases")];
    let mut checked = 0;
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let text = path.to_string_lossy().into_owned();
            let shipped = text.contains("policies/") && text.ends_with(".yaml") || text.ends_with(".policy.yaml");
            if !shipped {
                continue;
            }
            let source = fs::read_to_string(&path).unwrap();
            let compilation = compile(&[(&text, &source)]).unwrap_or_else(|problems| panic!("{}", problems[0]));
            let policy = Policy::load(&compilation.build("p", 1).unwrap()).unwrap();
            let report = run_tests(&compilation, &policy);
            assert!(report.failures.is_empty(), "{}", report.failures[0]);
            assert!(report.passed > 0, "{text} has tests");
            checked += 1;
        }
    }
    assert!(checked >= 2, "{checked}");
}

#[test]
fn a_case_with_a_mistake_is_refused() {
    let text =
        "policy: p\ncases:\n  - name: a\n    request: {http: {method: GET, path: /}}\n    expects: {effect: allow}\n";
    let problems = cases::read("c.yaml", text).unwrap_err();
    assert_eq!(problems[0].message, "unknown key `expects` in a case");
    assert!(cases::read("c.yaml", "policy: p\ncases: []\n").is_err());
}
