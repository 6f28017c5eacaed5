//! Where the binaries are, and running the ones that end.

use std::{
    ffi::OsString,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// The files that a stack is started from.
#[derive(Clone, Debug)]
pub struct Places {
    binaries: PathBuf,
    /// The compiled filter.
    pub filter: PathBuf,
    pub envoy: PathBuf,
}

impl Places {
    /// What `cargo xtask` says by environment variables; without them, where its builds lie.
    pub fn find() -> Result<Self> {
        let named = |name: &str| std::env::var_os(name).filter(|value: &OsString| !value.is_empty()).map(PathBuf::from);
        let own = std::env::current_exe()?;
        let profile = own.ancestors().skip(1).find(|folder| !folder.ends_with("deps")).context("no folder")?;
        let target = profile.parent().context("the binaries' folder has no parent")?;
        let filter = || target.join("wasm32-wasip1/wasm/holdgate.wasm");
        let places = Places {
            binaries: named("HOLDGATE_BIN_DIR").unwrap_or_else(|| profile.to_owned()),
            filter: named("HOLDGATE_WASM").unwrap_or_else(filter),
            envoy: named("HOLDGATE_ENVOY").unwrap_or_else(|| target.join("tools/envoy-1.40.0/envoy")),
        };
        let files = [&places.filter, &places.envoy, &places.holdgate_binary(), &places.approval_binary()];
        if let Some(missing) = files.into_iter().find(|file| !file.is_file()) {
            bail!("`{}` is missing: run `cargo xtask demo` or `cargo xtask test`, which make it", missing.display());
        }
        Ok(places)
    }

    /// The project's root.
    pub fn root(&self) -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
    }

    pub fn shipped_policy(&self) -> PathBuf {
        self.root().join("policies/iam-guardrails.yaml")
    }

    /// The template of Envoy's configuration, as text.
    pub fn envoy_template(&self) -> Result<String> {
        std::fs::read_to_string(self.root().join("envoy/envoy.yaml")).context("`envoy/envoy.yaml` cannot be read")
    }

    pub fn holdgate_binary(&self) -> PathBuf {
        self.binaries.join("holdgate")
    }

    pub fn approval_binary(&self) -> PathBuf {
        self.binaries.join("holdgate-approval")
    }

    /// Runs `holdgate` to its end.
    pub fn holdgate(&self, arguments: &[&str]) -> Result<()> {
        self.holdgate_with(arguments, &[])
    }

    pub fn holdgate_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
        let mut command = Command::new(self.holdgate_binary());
        command.args(arguments).envs(environment.iter().copied());
        run(command, "holdgate", arguments, None).map(|_| ())
    }

    /// Runs `holdgate-approval` to its end, with a line on its standard input; its standard output, trimmed.
    pub fn approval(&self, arguments: &[&str], input: Option<&str>) -> Result<String> {
        let mut command = Command::new(self.approval_binary());
        command.args(arguments);
        run(command, "holdgate-approval", arguments, input)
    }
}

fn run(mut command: Command, name: &str, arguments: &[&str], input: Option<&str>) -> Result<String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("`{name}` cannot be run"))?;
    if let (Some(line), Some(stdin)) = (input, child.stdin.as_mut()) {
        writeln!(stdin, "{line}")?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{name} {}` failed: {}: {}", arguments.join(" "), output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
