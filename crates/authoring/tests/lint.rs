//! What `check` says about files that can be read: `lints/NAME.yaml` and, in `lints/NAME.txt`, all that is found.
//!
//! `HOLDGATE_BLESS=1 cargo test -p holdgate-authoring --test lint` writes the texts anew; read them before you keep them.
#![expect(clippy::unwrap_used, reason = "test support")]

use std::{fs, path::Path};

use holdgate_authoring::{Budget, Code, ProofResult, compile, lint, prove, run_tests};
use holdgate_engine::Policy;

fn findings(files: &[(&str, &str)]) -> String {
    let compilation = compile(files).unwrap();
    let policy = Policy::load(&compilation.build("id", 1).unwrap()).unwrap();
    lint(&compilation, &policy, Budget::default()).iter().map(|finding| format!("{finding}\n\n")).collect()
}

#[test]
fn everything_that_is_found_is_named_with_its_place_and_its_mend() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lints");
    let bless = std::env::var_os("HOLDGATE_BLESS").is_some();
    let mut all = String::new();
    let mut count = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        let actual = findings(&[(name, &fs::read_to_string(&path).unwrap())]);
        let golden = path.with_extension("txt");
        if bless {
            fs::write(&golden, &actual).unwrap();
        }
        assert_eq!(actual, fs::read_to_string(&golden).unwrap_or_default(), "{name}");
        all.push_str(&actual);
        count += 1;
    }
    assert!(count > 10, "the folder is there and full");
    for code in Code::ALL.iter().filter(|code| code.id() >= "HG100" && **code != Code::NotDecided) {
        assert!(all.contains(&format!("[{code}]: ")), "{code} {} is shown by no file", code.title());
    }
}

#[test]
fn what_is_not_decided_within_the_budget_is_said_so() {
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lints/never-decides.yaml")).unwrap();
    let compilation = compile(&[("a.yaml", &text)]).unwrap();
    let policy = Policy::load(&compilation.build("id", 1).unwrap()).unwrap();
    let found = lint(&compilation, &policy, Budget { steps: 1 });
    assert!(found.iter().any(|finding| finding.code == Code::NotDecided), "{found:?}");
    assert!(found.iter().all(|finding| finding.code != Code::NeverDecides), "nothing is concluded: {found:?}");
}

/// Questions that cost much are put only so often, however many rules there are.
#[test]
fn all_questions_together_have_a_budget() {
    let rule = |number: usize| {
        let tests =
            format!("{{/t: {{matches: \"^x{{{number}}}([ab]{{60}})*$\"}}, /u: {{matches: \"^([ab]{{61}})*c$\"}}}}");
        format!("  - {{id: r{number}, effect: deny, match: [{{http: {{path: /a}}, body: {tests}}}]}}\n")
    };
    let text = format!("format: 1\npolicy: p\nrules:\n{}", (0..40).map(rule).collect::<String>());
    let compilation = compile(&[("a.yaml", &text)]).unwrap();
    let policy = Policy::load(&compilation.build("id", 1).unwrap()).unwrap();
    let found = lint(&compilation, &policy, Budget { steps: 4_000 });
    let open: Vec<_> = found.iter().filter(|finding| finding.code == Code::NotDecided).collect();
    assert_eq!(open.len(), 1, "{open:?}");
    assert!(open[0].message.starts_with("from `r"), "{open:?}");
}

/// The rule files that people start from: each by itself, and all of them together.
#[test]
fn the_shipped_files_have_no_findings_and_pass_their_tests_and_proofs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies");
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let paths = paths.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    let texts: Vec<(String, String)> = paths
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap()))
        .collect();
    let files: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    assert!(files.len() >= 9, "{files:?}");
    let mut problems = String::new();
    let singly = files.iter().map(|file| vec![*file]);
    for files in singly.chain([files.clone()]) {
        let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
        problems.push_str(&findings(&files));
        let compilation = compile(&files).unwrap();
        let policy = Policy::load(&compilation.build("id", 1).unwrap()).unwrap();
        let report = run_tests(&compilation, &policy);
        assert!(report.passed > 0, "{names:?}");
        problems.extend(report.failures.iter().map(|failure| format!("{failure}\n\n")));
        let mut proofs = 0;
        for (file, proof) in compilation.proofs() {
            let result = prove(&policy, proof, Budget::default());
            if !matches!(result, ProofResult::Proved { .. }) {
                problems.push_str(&format!("{file}: {}: {result:?}\n\n", proof.id));
            }
            proofs += 1;
        }
        assert!(proofs > 0, "{names:?} has nothing to prove");
    }
    assert!(problems.is_empty(), "\n{problems}");
}
