//! `holdgate new`, completions, and the form of results.

use serde_json::Value;

use crate::place::{POLICY, Place};

#[test]
fn a_new_file_passes_as_it_is() {
    let place = Place::new();
    let said = place.succeeds("new payments");
    assert_eq!(said, "wrote payments.yaml\nnext: holdgate check payments.yaml\n      holdgate test payments.yaml\n");
    let text = String::from_utf8(place.read("payments.yaml")).unwrap();
    assert!(text.starts_with("# yaml-language-server: $schema="), "{text}");
    assert!(!text.contains("NAME"), "{text}");
    assert!(place.succeeds("check payments.yaml").ends_with("no mistakes\n"));
    place.succeeds("test payments.yaml");
    assert_eq!(place.succeeds("fmt --check payments.yaml"), "1 file formatted already\n");
    place.succeeds("build payments.yaml --out x.jcs");
}

#[test]
fn a_name_that_is_a_word_of_yaml_is_quoted() {
    let place = Place::new();
    for name in ["no", "null", "True", "on", "Y"] {
        place.succeeds(&format!("new {name}"));
        assert!(
            String::from_utf8(place.read(&format!("{name}.yaml"))).unwrap().contains(&format!("policy: \"{name}\" #"))
        );
        place.succeeds(&format!("check {name}.yaml"));
        place.succeeds(&format!("test {name}.yaml"));
        place.succeeds(&format!("fmt --check {name}.yaml"));
    }
    let expected = "cannot write `no/x.yaml`: there is no folder `no`; make it first\n";
    place.fails("new x --out no/x.yaml", 2, expected);
}

#[test]
fn a_file_that_is_there_is_not_overwritten() {
    let place = Place::new();
    place.write("x.yaml", "mine");
    let expected = "`x.yaml` exists and is not overwritten; choose another name, or move the old file away\n";
    place.fails("new x", 2, expected);
    assert_eq!(place.read("x.yaml"), b"mine");
    for name in ["a/b", "123", "..", "-", ".x"] {
        let expected = format!(
            "`{name}` is not the name of a policy: write a letter, and then letters, digits, `.`, `_` and `-`\n"
        );
        let outcome = place.run_with_input(&["new", "--out", "-", "--", name], "");
        assert_eq!((outcome.code, outcome.stderr), (2, expected));
    }
    assert!(place.succeeds("new x --out -").contains("policy: x "));
    assert_eq!(place.names(), ["x.yaml"]);
}

#[test]
fn shells_get_completions() {
    let place = Place::new();
    for (shell, sign) in
        [("bash", "complete -F _holdgate"), ("zsh", "#compdef holdgate"), ("fish", "complete -c holdgate")]
    {
        assert!(place.succeeds(&format!("completions {shell}")).contains(sign), "{shell}");
    }
    assert_eq!(place.run("completions tcsh").code, 2);
}

#[test]
fn programs_get_one_json_document_whatever_happens() {
    let place = Place::new();
    place.write("demo.yaml", POLICY).write("wrong.yaml", "format: 1\nrules: []\n");
    let json = |arguments: &str, code: i32| -> Value {
        let outcome = place.run(arguments);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (code, ""), "{arguments}");
        serde_json::from_str(&outcome.stdout).unwrap()
    };
    assert_eq!(json("check demo.yaml --format json", 0)["rules"], 1);
    assert_eq!(json("--format json test demo.yaml", 0)["passed"], 1);
    let findings = json("check wrong.yaml --format=json", 1)["findings"].clone();
    assert_eq!(findings[0]["file"], "wrong.yaml");
    let failed = json("build wrong.yaml --out x --format json", 1);
    assert_eq!(failed["error"]["findings"], findings);
    let failed = json("check no.yaml --format json", 2);
    assert_eq!(failed["error"]["message"], "cannot read `no.yaml`: No such file or directory (os error 2)");
    let failed = json("chek demo.yaml --format json", 2);
    assert!(failed["error"]["message"].as_str().unwrap().contains("unrecognized subcommand 'chek'"), "{failed}");
    let expected = "`--format sarif` is a form of `holdgate check` only; write `text` or `json`";
    assert_eq!(json("test demo.yaml --format sarif", 2)["error"]["message"], expected);
    assert_eq!(place.run("test demo.yaml --format yaml").code, 2);
    assert_eq!(place.run("--version").code, 0);
}
