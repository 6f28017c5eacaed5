//! `cargo xtask test`: everything that must hold before a change goes in.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result};

use crate::{
    fuzz,
    run::{self, NATIVE, cargo_in, succeed},
    setup::{self, TestTools, Tools, postgres::Postgres},
    size, tidy,
};

#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    passed: u64,
    failed: u64,
}

/// Runs every step, the later ones too when an earlier one failed, and ends with one line `N passed, N failed`.
pub(crate) fn run() -> ExitCode {
    let mut count = Count::default();
    let tools = step("setup", setup::run);
    if let Some(tools) = tools {
        run_with(&tools, &mut count);
    } else {
        count.failed += 1;
    }
    println!();
    println!("{} passed, {} failed", count.passed, count.failed);
    // The line above is the last one that this command writes.
    let _ = std::io::stdout().flush();
    if count.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_with(tools: &Tools, count: &mut Count) {
    let root = &tools.workspace.root;
    let cargo = |arguments: &[&str]| succeed(&mut cargo_in(root, arguments));
    let native = [&["clippy", "--workspace", "--all-targets"], NATIVE.as_slice(), &["--", "-D", "warnings"]].concat();
    let filters = ["holdgate-plugin", "holdgate-noop", "holdgate-verify"].map(|filter| ["--package", filter]).concat();
    let filters = [&["clippy", "--target", "wasm32-wasip1"], filters.as_slice()].concat();
    let wasm = [filters.as_slice(), &["--", "-D", "warnings"]].concat();
    count_step(count, "formatting", || cargo(&["fmt", "--all", "--check"]));
    count_step(count, "clippy", || cargo(&native));
    count_step(count, "clippy of the filters", || cargo(&wasm));
    count_step(count, "tidy", tidy::run);
    count_step(count, "fuzz targets, some seconds each", || fuzz::run(5));
    let build = || {
        run::build(&tools.workspace)?;
        run::build_filter(&tools.workspace, "holdgate-verify")?;
        run::build_trap(&tools.workspace)
    };
    if step("build of the filters and the binaries", build).is_none() {
        count.failed += 1;
        return;
    }
    count_step(count, "size of the filter", || size::check(&tools.workspace.filter()));
    match step("unit and end-to-end tests", || cargo_test(tools)) {
        Some(tests) => {
            count.passed += tests.passed;
            count.failed += tests.failed;
        }
        None => count.failed += 1,
    }
}

fn count_step(count: &mut Count, name: &str, work: impl FnOnce() -> Result<()>) {
    match step(name, work) {
        Some(()) => count.passed += 1,
        None => count.failed += 1,
    }
}

/// Runs one step under a heading; says how long it took, and why it failed if it did.
fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Option<T> {
    println!("\n== {name}");
    let begun = Instant::now();
    let result = work();
    let seconds = begun.elapsed().as_secs_f64();
    match result {
        Ok(value) => {
            println!("== {name}: done, {seconds:.1} s");
            Some(value)
        }
        Err(error) => {
            println!("== {name}: FAILED, {seconds:.1} s: {error:#}");
            None
        }
    }
}

fn cargo_test(tools: &Tools) -> Result<Count> {
    let arguments = [&["test", "--workspace", "--no-fail-fast"], NATIVE.as_slice()].concat();
    // Stopped when this function ends.
    let postgres = Postgres::start()?;
    let mut command: Command = cargo_in(&tools.workspace.root, &arguments);
    TestTools::find(tools)?.tell(&mut command);
    postgres.tell(&mut command);
    command
        .env("HOLDGATE_ENVOY", &tools.envoy)
        .env("HOLDGATE_WASM", tools.workspace.filter())
        .env("HOLDGATE_BIN_DIR", tools.workspace.binaries())
        .stdout(Stdio::piped());
    let mut child = command.spawn().context("`cargo test` cannot be run")?;
    let mut count = Count::default();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            count.add(&line);
        }
    }
    let status = child.wait()?;
    if !status.success() && count.failed == 0 {
        println!("cargo test ended with {status} beside the tests: something did not compile, or a test process died");
        count.failed += 1;
    }
    Ok(count)
}

impl Count {
    /// Adds a line of the test harness: `test result: ok. 12 passed; 0 failed; 0 ignored; ...`.
    fn add(&mut self, line: &str) {
        let Some(result) = line.trim().strip_prefix("test result: ") else { return };
        let figures = result.split_once(". ").map_or(result, |(_, figures)| figures);
        for figure in figures.split("; ") {
            match figure.split_once(' ') {
                Some((number, "passed")) => self.passed += number.parse::<u64>().unwrap_or(0),
                Some((number, "failed")) => self.failed += number.parse::<u64>().unwrap_or(0),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_summed() {
        let mut count = Count::default();
        let lines = [
            "running 3 tests",
            "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test result: FAILED. 3 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 4.20s",
            "the upstream said: 9 passed; 9 failed",
        ];
        lines.iter().for_each(|line| count.add(line));
        assert_eq!(count, Count { passed: 15, failed: 2 });
    }
}
