//! `cargo xtask fuzz`: the targets in `fuzz/`, built for libFuzzer by the stable compiler and run for a given time.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};

use crate::run::{Workspace, cargo_in, succeed, succeed_quietly};

/// The targets, and the longest input that each is given.
const TARGETS: [(&str, usize); 3] = [("rule_file", 1 << 16), ("bundle", 1 << 14), ("request", 1 << 12)];

/// What `cargo fuzz` passes to a nightly compiler, without the sanitizers: no code of ours is unsafe.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing";

/// With this as the target, flags do not reach build scripts and macros.
const TRIPLE: &str =
    if cfg!(target_arch = "aarch64") { "aarch64-unknown-linux-gnu" } else { "x86_64-unknown-linux-gnu" };

/// Megabytes that a target may use: what a hostile file may cost at most.
const MEMORY: usize = 256;

/// Runs each target for `seconds`. What it finds worth keeping stays below the target directory for the next time; an
/// input that fails is named.
pub(crate) fn run(seconds: u64) -> Result<()> {
    let workspace = Workspace::load()?;
    let fuzz = workspace.root.join("fuzz");
    let out = workspace.target.join("fuzz");
    let build = ["build", "--release", "--locked", "--target", TRIPLE];
    succeed(cargo_in(&fuzz, &build).env("CARGO_TARGET_DIR", &out).env("RUSTFLAGS", FLAGS))?;
    for (target, longest) in TARGETS {
        let corpus = out.join("corpus").join(target);
        fs::create_dir_all(&corpus).context("the corpus has no place")?;
        seed(&workspace.root, target, &corpus)?;
        let artifacts = format!("-artifact_prefix={}/{target}-", out.display());
        let mut command = std::process::Command::new(out.join(TRIPLE).join("release").join(target));
        command.args([&format!("-max_total_time={seconds}"), &format!("-max_len={longest}"), &artifacts]);
        command.args([&format!("-rss_limit_mb={MEMORY}"), "-timeout=5", "-print_final_stats=0"]).arg(&corpus);
        succeed_quietly(&mut command)?;
    }
    Ok(())
}

/// Gives a target something to begin with: the shipped rule files, and each mistake that is tested.
fn seed(root: &Path, target: &str, corpus: &Path) -> Result<()> {
    let (folders, ending): (&[&str], &str) = match target {
        "rule_file" => (&["policies", "crates/authoring/tests/mistakes"], "yaml"),
        "bundle" => (&["fuzz/seeds"], "json"),
        "request" => (&["fuzz/seeds"], "txt"),
        _ => bail!("`{target}` has no seeds"),
    };
    for folder in folders {
        for entry in fs::read_dir(root.join(folder)).with_context(|| format!("`{folder}` cannot be read"))? {
            let path = entry?.path();
            if let Some(name) = path.file_name().filter(|_| path.extension().is_some_and(|other| other == ending)) {
                fs::copy(&path, corpus.join(name)).with_context(|| format!("`{}` cannot be copied", path.display()))?;
            }
        }
    }
    Ok(())
}
