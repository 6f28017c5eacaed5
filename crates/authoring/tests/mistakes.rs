//! What an author is told: `mistakes/NAME.yaml` is a wrong rule file, `mistakes/NAME.txt` all that is said about it.
//!
//! `HOLDGATE_BLESS=1 cargo test -p holdgate-authoring --test mistakes` writes the texts anew; read them before you keep them.
#![expect(clippy::unwrap_used, reason = "test support")]

use std::{collections::BTreeSet, fs, path::Path};

use holdgate_authoring::Code;

fn complaints(files: &[(&str, &str)]) -> String {
    let problems = holdgate_authoring::build(files, "id", 1).unwrap_err();
    problems.iter().map(|problem| format!("{problem}\n\n")).collect()
}

/// Name and text of each wrong file, and what is to be said about it.
fn mistakes(extension: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mistakes");
    let entries = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.extension().is_some_and(|other| other == extension));
    let stem = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let mut files: Vec<_> = files.map(|path| (stem(&path), fs::read_to_string(&path).unwrap())).collect();
    files.sort();
    files
}

#[test]
fn every_mistake_is_named_with_its_place_and_its_mend() {
    let bless = std::env::var_os("HOLDGATE_BLESS").is_some();
    let wrong = mistakes("yaml");
    assert!(wrong.len() >= 40, "the folder is there and full");
    let golden = mistakes("txt");
    for (name, text) in &wrong {
        let actual = complaints(&[(&format!("{name}.yaml"), text)]);
        if bless {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/mistakes/{name}.txt"));
            fs::write(path, &actual).unwrap();
            continue;
        }
        let expected = golden.iter().find(|(other, _)| other == name).map_or("", |(_, text)| text);
        assert!(actual == expected, "{name}: expected\n{expected}\nbut it says\n{actual}");
    }
    let names =
        |files: &[(String, String)]| -> BTreeSet<String> { files.iter().map(|(name, _)| name.clone()).collect() };
    assert!(bless || names(&wrong) == names(&golden), "each text belongs to a file");
}

/// Codes that no single wrong file shows, with the test that shows them.
const SHOWN_ELSEWHERE: [(Code, &str); 4] = [
    (Code::NotUtf8, "what_is_no_text_is_refused_with_its_place"),
    (Code::DuplicatePolicy, "files_that_do_not_go_together_are_named_both"),
    (Code::TagDisagrees, "files_that_do_not_agree_on_a_tag_are_named_both"),
    (Code::Internal, "none: it would be a mistake of holdgate"),
];

#[test]
fn every_code_that_reading_can_find_is_shown() {
    let golden: String = mistakes("txt").into_iter().map(|(_, text)| text).collect();
    for code in Code::ALL.iter().filter(|code| code.id() < "HG100") {
        let elsewhere = SHOWN_ELSEWHERE.iter().any(|(other, _)| other == code);
        let shown = golden.contains(&format!("[{code}]: "));
        assert!(shown != elsewhere, "{code} {}: shown {shown}, elsewhere {elsewhere}", code.title());
    }
}

const RULE: &str = "rules:\n  - id: r\n    effect: deny\n    match:\n      - tags: {risk: {gt: 1}}\n";

#[test]
fn files_that_do_not_go_together_are_named_both() {
    let first = format!("format: 1\npolicy: p\n{RULE}");
    let second = first.clone();
    let expected = "\
b.yaml:2:9: error[HG025]: the policy name `p` is that of a.yaml too
  |
2 | policy: p
  |         ^
  = help: give each file a policy name of its own

b.yaml:4:9: error[HG024]: the rule id `r` stands in a.yaml too
  |
4 |   - id: r
  |         ^
  = help: start the ids of each file with a word of its own

";
    assert_eq!(complaints(&[("a.yaml", &first), ("b.yaml", &second)]), expected);
}

#[test]
fn files_that_do_not_agree_on_a_tag_are_named_both() {
    let first = format!("format: 1\npolicy: p\ntags: {{risk: {{claim: risk_score}}}}\n{RULE}");
    let second = format!("format: 1\npolicy: q\n{}", RULE.replace("id: r", "id: s"));
    let expected = "\
b.yaml:7:16: error[HG049]: the tag `risk` is {header: x-agent-risk} here, and {claim: /risk_score} in a.yaml
  |
7 |       - tags: {risk: {gt: 1}}
  |                ^^^^
  = help: declare it in both files in the same way: `tags: {risk: {claim: /risk_score}}`

";
    assert_eq!(complaints(&[("a.yaml", &first), ("b.yaml", &second)]), expected);
    let same = second.replace("policy: q\n", "policy: q\ntags: {risk: {claim: /risk_score}}\n");
    assert!(holdgate_authoring::build(&[("a.yaml", &first), ("b.yaml", &same)], "id", 1).is_ok());
}

#[test]
fn mistakes_of_all_files_come_together() {
    let text = complaints(&[("a.yaml", "format: 1\n"), ("b.yaml", "")]);
    assert!(text.contains("a.yaml:1:1: error[HG012]: a rule file needs the key `policy`"), "{text}");
    assert!(text.contains("b.yaml:1:1: error[HG006]: the file is empty"), "{text}");
}

#[test]
fn what_is_no_text_is_refused_with_its_place() {
    let bytes = b"format: 1\npolicy: \xc3\xa4\xff\n";
    let problems = holdgate_authoring::compile_bytes(&[("a.yaml", bytes.as_slice())]).unwrap_err();
    let expected = "\
a.yaml:2:10: error[HG001]: the byte 0xff is not UTF-8
  |
2 | policy: ä
  |          ^
  = help: save the file as UTF-8";
    assert_eq!(problems.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
}
