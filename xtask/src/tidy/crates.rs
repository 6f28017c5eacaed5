//! The arrows between our crates, and the lints that each of them takes over.

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::run::Workspace;

/// Which of our crates a crate may use: the design's table. A crate that is not here fails the check.
const ARROWS: [(&str, &[&str]); 12] = [
    ("holdgate-protocol", &[]),
    ("holdgate-engine", &["holdgate-protocol"]),
    ("holdgate-authoring", &["holdgate-engine", "holdgate-protocol"]),
    ("holdgate-gate", &["holdgate-engine", "holdgate-protocol"]),
    ("holdgate-plugin", &["holdgate-gate", "holdgate-engine", "holdgate-protocol"]),
    ("holdgate-verify", &["holdgate-protocol"]),
    ("holdgate-host-test", &["holdgate-authoring", "holdgate-engine", "holdgate-gate", "holdgate-protocol"]),
    ("holdgate-approval", &["holdgate-protocol"]),
    ("holdgate-playground", &["holdgate-authoring", "holdgate-engine"]),
    (
        "holdgate-tests",
        &[
            "holdgate-approval",
            "holdgate-authoring",
            "holdgate-engine",
            "holdgate-gate",
            "holdgate-host-test",
            "holdgate-protocol",
        ],
    ),
    ("holdgate-noop", &[]),
    ("xtask", &[]),
];

/// The crates that may know the host's interface.
const KNOWS_PROXY_WASM: [&str; 3] = ["holdgate-plugin", "holdgate-noop", "holdgate-verify"];

pub(crate) fn check(workspace: &Workspace) -> Result<Vec<String>> {
    let packages = workspace.metadata.get("packages").and_then(Value::as_array);
    let packages = packages.context("`cargo metadata` named no packages")?;
    let mut findings = Vec::new();
    for package in packages {
        let text = |name: &str| package.get(name).and_then(Value::as_str).unwrap_or_default();
        let dependencies = package.get("dependencies").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let names = dependencies.iter().filter_map(|one| one.get("name").and_then(Value::as_str)).collect::<Vec<_>>();
        findings.extend(check_arrows(text("name"), &names));
        let manifest = fs::read_to_string(text("manifest_path")).context("a manifest cannot be read")?;
        if !takes_workspace_lints(&manifest) {
            findings.push(format!("{}: no `[lints] workspace = true`", text("manifest_path")));
        }
    }
    Ok(findings)
}

fn check_arrows(package: &str, dependencies: &[&str]) -> Vec<String> {
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == package) else {
        return vec![format!("{package}: not in tidy's table of crates; add it there and to the design")];
    };
    let is_ours = |name: &str| ARROWS.iter().any(|(ours, _)| *ours == name);
    let mut findings = Vec::new();
    for dependency in dependencies {
        if is_ours(dependency) && !allowed.contains(dependency) {
            findings.push(format!("{package} uses {dependency}, which the design does not allow"));
        }
        if *dependency == "proxy-wasm" && !KNOWS_PROXY_WASM.contains(&package) {
            findings.push(format!("{package} uses proxy-wasm, which only {} may know", KNOWS_PROXY_WASM.join(", ")));
        }
    }
    findings
}

fn takes_workspace_lints(manifest: &str) -> bool {
    let mut lines = manifest.lines().map(str::trim).skip_while(|line| *line != "[lints]").skip(1);
    lines.find(|line| !line.is_empty() && !line.starts_with('#')).is_some_and(|line| line == "workspace = true")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrow_outside_the_table_is_named() {
        assert!(check_arrows("holdgate-gate", &["holdgate-engine", "serde"]).is_empty());
        let wrong = check_arrows("holdgate-protocol", &["holdgate-engine"]);
        assert_eq!(wrong, ["holdgate-protocol uses holdgate-engine, which the design does not allow"]);
        assert_eq!(check_arrows("holdgate-approval", &["holdgate-gate", "holdgate-protocol"]).len(), 1);
        assert_eq!(check_arrows("xtask", &["holdgate-protocol"]).len(), 1);
        assert_eq!(check_arrows("holdgate-tests", &["holdgate-plugin"]).len(), 1);
        assert_eq!(check_arrows("holdgate-gate", &["proxy-wasm"]).len(), 1);
        assert_eq!(check_arrows("holdgate-new", &[]).len(), 1);
    }

    #[test]
    fn manifest_without_the_workspace_lints_is_found() {
        assert!(takes_workspace_lints("[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n"));
        assert!(!takes_workspace_lints("[package]\nname = \"a\"\n"));
        assert!(!takes_workspace_lints("[lints.rust]\nunsafe_code = \"allow\"\n"));
    }
}
