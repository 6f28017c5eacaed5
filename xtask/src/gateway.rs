//! `cargo xtask bench gateway`: builds what the bench of the gateway needs, and runs it.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    run::{build_filter, cargo_in, succeed},
    setup,
};

/// Prints a table, and writes `gateway.json` and `gateway.svg` to `target/bench`.
pub(crate) fn run(options: &[&str]) -> Result<()> {
    let setup::Tools { workspace, envoy } = setup::run()?;
    let nginx = setup::nginx(&workspace.target.join("tools"))?;
    build_filter(&workspace, "holdgate-plugin")?;
    build_filter(&workspace, "holdgate-noop")?;
    let cargo = |arguments: &[&str]| succeed(&mut cargo_in(&workspace.root, arguments));
    cargo(&["build", "--release", "--package", "holdgate-tests", "--package", "holdgate-approval", "--bins"])?;
    // The command line only makes bundles here, and an optimised one takes minutes to build: it brings a compiler with it.
    cargo(&["build", "--package", "holdgate-host-test", "--bins"])?;
    let out = workspace.target.join("bench");
    let binaries = out.join("bin");
    fs::create_dir_all(&binaries).context("the bench has no place")?;
    let release = workspace.target.join("release");
    copy(&workspace.binaries().join("holdgate"), &binaries)?;
    copy(&release.join("holdgate-approval"), &binaries)?;
    let mut bench = Command::new(release.join("holdgate-bench"));
    bench.arg("--noop").arg(workspace.noop_filter()).arg("--nginx").arg(nginx).arg("--out").arg(&out);
    bench.args(options);
    bench.env("HOLDGATE_ENVOY", envoy).env("HOLDGATE_WASM", workspace.filter()).env("HOLDGATE_BIN_DIR", binaries);
    succeed(&mut bench)
}

fn copy(file: &Path, folder: &Path) -> Result<()> {
    let name = file.file_name().context("no file")?;
    fs::copy(file, folder.join(name)).with_context(|| format!("`{}` cannot be copied", file.display())).map(|_| ())
}
