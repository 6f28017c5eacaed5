//! The JSON Schema for editors: it is what the reader's tables say, and it knows the shipped files.
#![expect(clippy::unwrap_used, clippy::panic, reason = "test support")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use holdgate_authoring::{Code, cases, cases_schema, policy_schema};
use serde_json::Value;

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn validator() -> jsonschema::Validator {
    validator_of(&policy_schema())
}

fn validator_of(schema: &str) -> jsonschema::Validator {
    let schema: Value = serde_json::from_str(schema).unwrap();
    jsonschema::draft202012::meta::validate(&schema).unwrap_or_else(|error| panic!("{error}"));
    jsonschema::draft202012::new(&schema).unwrap()
}

/// As an editor reads it.
fn yaml(path: &Path) -> Option<Value> {
    serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).ok()
}

/// The rule files of a folder.
fn rule_files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(project().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|other| other == "yaml")).collect();
    files.sort();
    files
}

#[test]
fn the_committed_schemas_are_the_generated_ones() {
    let schemas =
        [("policies/schema/policy.v1.json", policy_schema()), ("tests/cases/schema/cases.v1.json", cases_schema())];
    for (path, schema) in schemas {
        let path = project().join(path);
        if std::env::var_os("HOLDGATE_BLESS").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &schema).unwrap();
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == schema, "write it anew: HOLDGATE_BLESS=1 cargo test -p holdgate-authoring --test schema");
    }
}

#[test]
fn every_file_of_cases_names_the_schema_and_is_valid() {
    let validator = validator_of(&cases_schema());
    let mut files = rule_files("tests/cases");
    files.retain(|path| !path.to_string_lossy().ends_with(".policy.yaml"));
    assert!(files.len() >= 4);
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let named = text.lines().take(3).any(|line| line == "# yaml-language-server: $schema=schema/cases.v1.json");
        assert!(named, "{}: the first lines name the schema", path.display());
        let problems: Vec<String> =
            validator.iter_errors(&yaml(&path).unwrap()).map(|error| error.to_string()).collect();
        assert_eq!(problems, [""; 0], "{}", path.display());
    }
}

#[test]
fn every_shipped_rule_file_names_the_schema_and_is_valid() {
    let validator = validator();
    let files = rule_files("policies");
    assert!(!files.is_empty());
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let named = text.lines().take(3).any(|line| line == "# yaml-language-server: $schema=schema/policy.v1.json");
        assert!(named, "{}: the first lines name the schema", path.display());
        let problems: Vec<String> =
            validator.iter_errors(&yaml(&path).unwrap()).map(|error| error.to_string()).collect();
        assert_eq!(problems, [""; 0], "{}", path.display());
    }
}

#[test]
fn the_schema_refuses_every_unknown_key_that_the_reader_refuses() {
    let validator = validator();
    let mut refused = 0;
    for path in rule_files("crates/authoring/tests/mistakes") {
        let golden = fs::read_to_string(path.with_extension("txt")).unwrap();
        if !golden.contains("[HG010]") && !golden.contains("[HG011]") {
            continue;
        }
        let Some(value) = yaml(&path) else { continue };
        assert!(!validator.is_valid(&value), "{}", path.display());
        refused += 1;
    }
    assert!(refused >= 5, "{refused}");
}

/// A file with every key of the language is valid, and is read.
#[test]
fn the_schema_and_the_reader_agree_on_a_file_with_every_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/every-key.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let built = holdgate_authoring::build(&[("every-key.yaml", &text)], "p", 1);
    assert!(built.is_ok(), "{}", built.unwrap_err().iter().map(ToString::to_string).collect::<String>());
    let value = yaml(&path).unwrap();
    let problems: Vec<String> = validator().iter_errors(&value).map(|error| error.to_string()).collect();
    assert_eq!(problems, [""; 0]);
    let schema: Value = serde_json::from_str(&policy_schema()).unwrap();
    let mut keys = Vec::new();
    properties(&schema, &mut keys);
    assert!(keys.len() > 80, "{}", keys.len());
    for key in keys {
        assert!(text.contains(&format!("{key}:")), "the file shows `{key}`");
    }
}

/// A key is added to each map of the file in turn: where the reader does not know it, neither does the schema.
#[test]
fn the_schema_and_the_reader_agree_on_unknown_keys_everywhere() {
    let validator = validator();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/every-key.yaml");
    let whole = yaml(&path).unwrap();
    let (mut unknown, mut fine) = (0, 0);
    for place in maps(&whole, "") {
        let mut changed = whole.clone();
        changed.pointer_mut(&place).unwrap().as_object_mut().unwrap().insert("zzz".into(), Value::from(1));
        let found = holdgate_authoring::compile(&[("p.json", &changed.to_string())]).err().unwrap_or_default();
        let valid = validator.is_valid(&changed);
        if found.iter().any(|finding| finding.code == Code::UnknownKey) {
            assert!(!valid, "{place}");
            unknown += 1;
        }
        if found.is_empty() {
            assert!(valid, "{place}: the reader takes it");
            fine += 1;
        }
    }
    assert!(unknown >= 60 && fine >= 5, "{unknown} {fine}");
}

/// The same two for files of cases.
#[test]
fn the_schema_and_the_reader_of_cases_agree() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/every-case-key.yaml");
    let text = fs::read_to_string(&path).unwrap();
    if let Err(problems) = cases::read("every-case-key.yaml", &text) {
        panic!("{}", problems.iter().map(ToString::to_string).collect::<String>());
    }
    let validator = validator_of(&cases_schema());
    let whole = yaml(&path).unwrap();
    let problems: Vec<String> = validator.iter_errors(&whole).map(|error| error.to_string()).collect();
    assert_eq!(problems, [""; 0]);
    let schema: Value = serde_json::from_str(&cases_schema()).unwrap();
    let of_rules: Value = serde_json::from_str(&policy_schema()).unwrap();
    let mut count = 0;
    for (name, shape) in schema["$defs"].as_object().unwrap() {
        let in_rules = name == "a-rule-file" || of_rules["$defs"].get(name).is_some_and(|other| other == shape);
        for key in shape["properties"].as_object().unwrap().keys().filter(|_| !in_rules) {
            assert!(text.contains(&format!("{key}:")), "the file shows `{key}` of {name}");
            count += 1;
        }
    }
    assert!(count > 90, "{count}");

    let (mut unknown, mut fine) = (0, 0);
    for place in maps(&whole, "") {
        let mut changed = whole.clone();
        changed.pointer_mut(&place).unwrap().as_object_mut().unwrap().insert("zzz".into(), Value::from(1));
        let found = cases::read("c.json", &changed.to_string()).err().unwrap_or_default();
        let valid = validator.is_valid(&changed);
        if found.iter().any(|finding| finding.code == Code::UnknownKey) {
            // A map of operators is any value to the schema.
            assert!(!valid || place.contains("/metrics/") || place.contains("/audit/"), "{place}");
            unknown += 1;
        }
        if found.is_empty() {
            assert!(valid, "{place}: the reader takes it");
            fine += 1;
        }
    }
    assert!(unknown >= 50 && fine >= 10, "{unknown} {fine}");
}

/// The pointers of all maps.
fn maps(value: &Value, place: &str) -> Vec<String> {
    let below =
        |key: &str, value: &Value| maps(value, &format!("{place}/{}", key.replace('~', "~0").replace('/', "~1")));
    match value {
        Value::Object(members) => {
            let inner = members.iter().flat_map(|(key, value)| below(key, value));
            std::iter::once(place.to_owned()).chain(inner).collect()
        }
        Value::Array(items) => {
            items.iter().enumerate().flat_map(|(index, item)| below(&index.to_string(), item)).collect()
        }
        _ => Vec::new(),
    }
}

fn properties(schema: &Value, keys: &mut Vec<String>) {
    match schema {
        Value::Object(members) => {
            for (name, value) in members {
                if name == "properties" {
                    keys.extend(value.as_object().unwrap().keys().cloned());
                }
                properties(value, keys);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| properties(item, keys)),
        _ => {}
    }
}
