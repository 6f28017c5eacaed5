//! Paths and links that documents name.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// Folders of the design: a path that begins with one is a path even when the folder is gone.
const FOLDERS: [&str; 14] = [
    ".cargo",
    ".ci",
    "approval",
    "crates",
    "envoy",
    "fuzz",
    "host-test",
    "playground",
    "plugin",
    "policies",
    "tests",
    "xtask",
    "..",
    ".",
];

/// Extensions by which a bare file name is a file of this project, not one that a user makes.
const OWN_EXTENSIONS: [&str; 3] = [".md", ".rs", ".toml"];

pub(crate) fn check(root: &Path, files: &[PathBuf]) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for document in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "md")) {
        let text = fs::read_to_string(root.join(document)).with_context(|| format!("`{}`", document.display()))?;
        let exists = |named: &str| exists(root, document, files, named);
        for (line, named) in named_paths(&text).into_iter().filter(|(_, named)| !exists(named)) {
            findings.push(format!("{}:{line}: names `{named}`, which does not exist", document.display()));
        }
    }
    Ok(findings)
}

/// A path may be meant from the project's root or from the document; a bare name may stand for a file anywhere.
fn exists(root: &Path, document: &Path, files: &[PathBuf], named: &str) -> bool {
    let beside = root.join(document.parent().unwrap_or(Path::new("")));
    let anywhere = |name: &str| files.iter().any(|file| file.file_name().is_some_and(|found| found == name));
    root.join(named).exists() || beside.join(named).exists() || (!named.contains('/') && anywhere(named))
}

/// What a document names: relative link targets, and paths in backticks. Code blocks are examples and left out.
fn named_paths(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut in_code_block = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code_block = !in_code_block;
            continue;
        }
        if in_code_block {
            continue;
        }
        let in_backticks = line.split('`').skip(1).step_by(2).filter(|word| is_path(word));
        let links = line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
        let links = links.filter(|target| !target.contains(':') && !target.starts_with('#'));
        let links = links.map(|target| target.split_once('#').map_or(target, |(path, _)| path));
        found.extend(in_backticks.chain(links).map(|path| (index + 1, path.trim_end_matches('/').to_owned())));
    }
    found
}

/// Whether a text in backticks is a path of this project, and not a media type, a URL path or a pattern.
fn is_path(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    if word.is_empty() || !word.chars().all(plain) || word.starts_with(['/', '-']) {
        return false;
    }
    match word.split_once('/') {
        Some((first, _)) => FOLDERS.contains(&first),
        None => OWN_EXTENSIONS.iter().any(|extension| word.ends_with(extension) && word != *extension),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_the_project_count() {
        let paths = ["crates/engine", "tests/vectors/", "./a.yaml", "ARCHITECTURE.md", "Cargo.toml", "playground/x"];
        let others = ["application/json", "/v1/holds", "directory.yaml", "holdgate/task", "--port-base", "a b/c.md"];
        let others = others.into_iter().chain(["target/demo", "POST /x", "policies/*.yaml", ".rs", ""]);
        assert!(paths.into_iter().all(is_path));
        assert_eq!(others.filter(|word| is_path(word)).collect::<Vec<_>>(), [""; 0]);
    }

    #[test]
    fn links_and_backticks_outside_code_blocks_are_read() {
        let text = "See `crates/engine/` and [the rules](policies/README.md#rules), [home](https://example.com).\n\
                    ```\n`crates/gone`\n```\n[here](#here) `xtask/src/main.rs`";
        let expected = [(1, "crates/engine"), (1, "policies/README.md"), (5, "xtask/src/main.rs")];
        let found = named_paths(text);
        assert_eq!(found.iter().map(|(line, path)| (*line, path.as_str())).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn missing_path_is_a_finding_with_its_place() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("envoy")).unwrap();
        fs::write(root.path().join("envoy/envoy.yaml"), "").unwrap();
        fs::write(root.path().join("envoy/README.md"), "`envoy/envoy.yaml`, [it](envoy.yaml)\n\n`crates/gone`")
            .unwrap();
        let files = [PathBuf::from("envoy/README.md"), PathBuf::from("envoy/envoy.yaml")];
        let findings = check(root.path(), &files).unwrap();
        assert_eq!(findings, ["envoy/README.md:3: names `crates/gone`, which does not exist"]);
    }
}
