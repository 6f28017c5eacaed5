//! Tools of the tests that come from package registries: an OpenID provider and a tester of HTTP APIs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::install;
use crate::run::{Workspace, answers, succeed_quietly};

/// The release of schemathesis, which tries an API by its OpenAPI document.
const SCHEMATHESIS: &str = "4.32.5";

/// The folder with the certified OpenID provider `oidc-provider` and the script that starts it, as its lock file has
/// it.
pub(crate) fn oidc_provider(workspace: &Workspace) -> Result<PathBuf> {
    let source = workspace.root.join("tests/oidc");
    let folder = workspace.target.join("tools/oidc");
    let (lock, mark) = (source.join("package-lock.json"), folder.join("installed-lock.json"));
    let wanted = fs::read(&lock).with_context(|| format!("`{}` cannot be read", lock.display()))?;
    fs::create_dir_all(&folder).with_context(|| format!("`{}` cannot be made", folder.display()))?;
    for name in ["package.json", "package-lock.json", "provider.mjs"] {
        fs::copy(source.join(name), folder.join(name)).with_context(|| format!("tests/oidc has no `{name}`"))?;
    }
    if !answers("node", &["--version"]) || !answers("npm", &["--version"]) {
        install(
            &["nodejs", "npm"],
            "no Node.js with npm, which the tests of sign-in need: install Node.js 18 or newer",
        )?;
    }
    // The mark is written last, so that an installation that was cut short is done again.
    if fs::read(&mark).is_ok_and(|installed| installed == wanted) {
        return Ok(folder);
    }
    println!("fetching oidc-provider");
    let arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
    let mut npm = Command::new("npm");
    succeed_quietly(npm.args(arguments).current_dir(&folder)).context("oidc-provider cannot be fetched")?;
    fs::write(&mark, wanted)?;
    Ok(folder)
}

/// The `schemathesis` program, in a Python environment of its own.
pub(crate) fn schemathesis(tools: &Path) -> Result<PathBuf> {
    let folder = tools.join(format!("schemathesis-{SCHEMATHESIS}"));
    let (program, mark) = (folder.join("bin/schemathesis"), folder.join("installed"));
    if mark.is_file() && program.is_file() {
        return Ok(program);
    }
    let missing = "no Python with venv, which the tests of the API need: install it (Debian: apt install python3-venv)";
    if !answers("python3", &["-m", "ensurepip", "--version"]) {
        install(&["python3", "python3-venv"], missing)?;
    }
    println!("fetching schemathesis {SCHEMATHESIS}");
    succeed_quietly(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder)).context(missing)?;
    let mut pip = Command::new(folder.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    pip.arg(format!("schemathesis=={SCHEMATHESIS}"));
    succeed_quietly(&mut pip).context("schemathesis cannot be fetched")?;
    if !answers(&program.to_string_lossy(), &["--version"]) {
        bail!("`{}` does not run on this machine", program.display());
    }
    fs::write(&mark, SCHEMATHESIS)?;
    Ok(program)
}
