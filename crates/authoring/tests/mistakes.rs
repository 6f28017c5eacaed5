//! What an author is told: `mistakes/NAME.yaml` is a wrong rule file, `mistakes/NAME.txt` all that is said about it.
//!
//! `HOLDGATE_BLESS=1 cargo test -p holdgate-authoring --test mistakes` writes the texts anew; read them before you keep them.
#![expect(clippy::unwrap_used, reason = "test support")]

use std::{collections::BTreeSet, fs, path::Path};

fn complaints(files: &[(&str, &str)]) -> String {
    let problems = holdgate_authoring::build(files, "id", 1).unwrap_err();
    problems.iter().map(|problem| format!("{problem}\n\n")).collect()
}

#[test]
fn every_mistake_is_named_with_its_place_and_its_mend() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mistakes");
    let entries: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let stems = |extension: &str| -> BTreeSet<String> {
        let files = entries.iter().filter(|path| path.extension().is_some_and(|other| other == extension));
        files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    let bless = std::env::var_os("HOLDGATE_BLESS").is_some();
    let names = stems("yaml");
    assert!(names.len() >= 30, "the folder is there and full");
    for name in &names {
        let text = fs::read_to_string(folder.join(format!("{name}.yaml"))).unwrap();
        let actual = complaints(&[(&format!("{name}.yaml"), &text)]);
        let golden = folder.join(format!("{name}.txt"));
        if bless {
            fs::write(golden, &actual).unwrap();
            continue;
        }
        let expected = fs::read_to_string(golden).unwrap_or_default();
        assert!(actual == expected, "{name}: expected\n{expected}\nbut it says\n{actual}");
    }
    assert!(bless || stems("txt") == names, "each text belongs to a file");
}

const RULE: &str = "rules:\n  - id: r\n    effect: allow\n    match:\n      - http: {path: /a}\n";

#[test]
fn files_that_do_not_go_together_are_named_both() {
    let first = format!("format: 1\npolicy: p\n{RULE}");
    let second = first.clone();
    let expected = "\
b.yaml:2:9: the policy name `p` is that of a.yaml too
  |
2 | policy: p
  |         ^

b.yaml:4:9: the rule id `r` stands in a.yaml too
  |
4 |   - id: r
  |         ^

";
    assert_eq!(complaints(&[("a.yaml", &first), ("b.yaml", &second)]), expected);
}

#[test]
fn mistakes_of_all_files_come_together() {
    let text = complaints(&[("a.yaml", "format: 1\n"), ("b.yaml", "")]);
    assert!(text.contains("a.yaml:1:1: a rule file needs the key `policy`"), "{text}");
    assert!(text.contains("b.yaml:1:1: the file is empty"), "{text}");
}
