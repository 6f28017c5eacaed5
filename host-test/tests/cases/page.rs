//! The page about cases: what it shows is played.

use std::fs;

use holdgate_host::cases::play::End;

use crate::{Loaded, project};

#[test]
fn every_example_of_the_page_is_played() {
    let page = fs::read_to_string(project().join("tests/cases/README.md")).unwrap();
    let examples: Vec<&str> = page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(examples.len() >= 3, "{}", examples.len());
    for (place, text) in examples.into_iter().enumerate() {
        let loaded = Loaded::read(&project().join(format!("tests/cases/example-{place}.yaml")), text);
        for case in &loaded.file.cases {
            assert_eq!(loaded.play(case).end, End::Passed, "`{}` of\n{text}", case.name);
        }
    }
}

/// Words that a case may use stand on the page.
#[test]
fn the_page_names_every_key() {
    let page = fs::read_to_string(project().join("tests/cases/README.md")).unwrap();
    let schema: serde_json::Value = serde_json::from_str(&holdgate_authoring::cases_schema()).unwrap();
    let of_rules: serde_json::Value = serde_json::from_str(&holdgate_authoring::policy_schema()).unwrap();
    let mut missing = Vec::new();
    for (name, shape) in schema["$defs"].as_object().unwrap() {
        // Rule files have a page of their own.
        if name == "a-rule-file" || of_rules["$defs"].get(name).is_some() {
            continue;
        }
        for key in shape["properties"].as_object().unwrap().keys() {
            if !page.contains(&format!("`{key}`")) && !page.contains(&format!("{key}:")) {
                missing.push(format!("`{key}` of {name}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
