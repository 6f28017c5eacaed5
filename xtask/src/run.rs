//! The workspace's places, and commands run in it.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// What `cargo metadata` says of the workspace.
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    /// Cargo's target directory, wherever `CARGO_TARGET_DIR` or a configuration file puts it.
    pub(crate) target: PathBuf,
    pub(crate) metadata: Value,
}

impl Workspace {
    pub(crate) fn load() -> Result<Self> {
        let arguments = ["metadata", "--format-version", "1", "--no-deps", "--offline"];
        let output = Command::new(cargo()).args(arguments).stderr(Stdio::inherit()).output();
        let output = output.context("`cargo metadata` cannot be run")?;
        if !output.status.success() {
            bail!("`cargo metadata` failed: {}", output.status);
        }
        let metadata: Value = serde_json::from_slice(&output.stdout).context("`cargo metadata` answered no JSON")?;
        let place = |name: &str| metadata.get(name).and_then(Value::as_str).map(PathBuf::from);
        let missing = "`cargo metadata` named no workspace";
        let root = place("workspace_root").context(missing)?;
        let target = place("target_directory").context(missing)?;
        Ok(Workspace { root, target, metadata })
    }

    /// Where debug binaries are.
    pub(crate) fn binaries(&self) -> PathBuf {
        self.target.join("debug")
    }

    /// Where the compiled filter is.
    pub(crate) fn filter(&self) -> PathBuf {
        self.target.join("wasm32-wasip1/wasm/holdgate.wasm")
    }

    /// Where the compiled filter is that does nothing.
    pub(crate) fn noop_filter(&self) -> PathBuf {
        self.target.join("wasm32-wasip1/wasm/noop.wasm")
    }
}

fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// A cargo command in the workspace's root.
pub(crate) fn cargo_in(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(cargo());
    command.args(arguments).current_dir(root);
    command
}

/// Runs a command with its output shown; an exit code other than 0 is an error.
pub(crate) fn succeed(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    let status = command.status().with_context(|| format!("`{shown}` cannot be run"))?;
    if status.success() { Ok(()) } else { bail!("`{shown}` failed: {status}") }
}

/// Runs a command quietly; what it said becomes the error if it fails.
pub(crate) fn succeed_quietly(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    let output = command.output().with_context(|| format!("`{shown}` cannot be run"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    bail!("`{shown}` failed: {}\n{}", output.status, String::from_utf8_lossy(&said).trim_end())
}

/// Whether a program is there and answers.
pub(crate) fn answers(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let arguments = command.get_args().map(|argument| argument.to_string_lossy().into_owned());
    std::iter::once(program).chain(arguments).collect::<Vec<_>>().join(" ")
}

/// The builds that the demo and the end-to-end tests share.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    build_filter(workspace, "holdgate-plugin")?;
    let arguments = [&["build", "--workspace", "--bins"], NATIVE.as_slice()].concat();
    succeed(&mut cargo_in(&workspace.root, &arguments))
}

/// Builds a filter as it is shipped.
pub(crate) fn build_filter(workspace: &Workspace, package: &str) -> Result<()> {
    let arguments = ["build", "--package", package, "--profile", "wasm", "--target", "wasm32-wasip1"];
    succeed(&mut cargo_in(&workspace.root, &arguments))
}

/// Builds the filter for the test of one that crashes; it lies in a folder of its own.
pub(crate) fn build_trap(workspace: &Workspace) -> Result<()> {
    let arguments =
        ["build", "--package", "holdgate-plugin", "--features", "trap", "--profile", "wasm-trap", "--target"];
    succeed(&mut cargo_in(&workspace.root, &[&arguments[..], &["wasm32-wasip1"]].concat()))
}

/// Takes the filters out of `--workspace`: they link against a proxy-wasm host.
pub(crate) const NATIVE: [&str; 6] =
    ["--exclude", "holdgate-plugin", "--exclude", "holdgate-noop", "--exclude", "holdgate-verify"];
