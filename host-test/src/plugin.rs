//! Where the filter comes from that is tested: built from this project's sources, so that no stale one is.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

/// Names a compiled filter that is taken as it is; `cargo xtask test` sets it to the one that it has just built.
pub const VARIABLE: &str = "HOLDGATE_WASM";

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    #[error("`{}` is no part of a checkout of this project, from which the filter could be built: name it by `--wasm FILE`", .0.display())]
    NoCheckout(PathBuf),
    #[error("the filter cannot be built: {0}")]
    Build(String),
}

/// The path of the filter: the one that [`VARIABLE`] names, or one that is built from the checkout around a folder, in the form in which it is
/// shipped. A build that is up to date costs a moment.
pub fn built(folder: &Path) -> Result<PathBuf, PluginError> {
    if let Some(named) = env::var_os(VARIABLE).filter(|named| !named.is_empty()) {
        return Ok(named.into());
    }
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let root = folder.ancestors().find(|folder| folder.join("plugin/Cargo.toml").is_file());
    let root = root.ok_or_else(|| PluginError::NoCheckout(folder.clone()))?;
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--package", "holdgate-plugin", "--profile", "wasm", "--target", "wasm32-wasip1"]);
    cargo.args(["--quiet", "--message-format", "json-render-diagnostics"]);
    let output = cargo.current_dir(root).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| PluginError::Build(format!("`cargo` cannot be run: {error}")))?;
    if !output.status.success() {
        return Err(PluginError::Build(format!("`cargo build` ended with {}", output.status)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut files = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).filter_map(|message| {
        let is_it = message.pointer("/target/name").and_then(Value::as_str) == Some("holdgate");
        let files = message.get("filenames").and_then(Value::as_array).filter(|_| is_it)?;
        files.iter().filter_map(Value::as_str).find(|file| file.ends_with(".wasm")).map(PathBuf::from)
    });
    files.next_back().ok_or_else(|| PluginError::Build("`cargo build` named no `.wasm` file".to_owned()))
}
