//! `cargo xtask tidy`: what the compiler does not check about the layout.

mod crates;
mod documents;
mod sources;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::run::Workspace;

/// Runs all checks and names every finding.
pub(crate) fn run() -> Result<()> {
    let workspace = Workspace::load()?;
    let files = files(&workspace.root, &workspace.target)?;
    let mut findings = crates::check(&workspace)?;
    findings.extend(documents::check(&workspace.root, &files)?);
    findings.extend(sources::check(&workspace.root, &files)?);
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() { Ok(()) } else { bail!("tidy has {} findings", findings.len()) }
}

/// Every file of the project, relative to its root; neither build output nor what git keeps for itself.
fn files(root: &Path, target: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).with_context(|| format!("`{}` cannot be read", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path == target || path.file_name().is_some_and(|name| name == ".git" || name == "target") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(relative) = path.strip_prefix(root) {
                files.push(relative.to_owned());
            }
        }
    }
    files.sort();
    Ok(files)
}
