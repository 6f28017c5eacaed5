//! `cargo xtask demo`: builds everything and becomes the demo.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{run, setup};

pub(crate) fn run(options: &[&str]) -> Result<()> {
    let options = parse(options)?;
    let tools = setup::run()?;
    println!("building the filter, the approval service, the command line and the demo");
    run::build(&tools.workspace)?;
    let mut demo = Command::new(tools.workspace.binaries().join("holdgate-demo"));
    // Demos that run side by side on other ports have folders of their own.
    let moved = options.iter().skip_while(|option| *option != "--port-base").nth(1);
    let folder = moved.map_or_else(|| "demo".to_owned(), |base| format!("demo-{base}"));
    demo.args(&options)
        .arg("--data")
        .arg(tools.workspace.target.join(folder))
        .env("HOLDGATE_ENVOY", &tools.envoy)
        .env("HOLDGATE_WASM", tools.workspace.filter())
        .env("HOLDGATE_BIN_DIR", tools.workspace.binaries());
    become_(demo)
}

/// Checked before anything is built, so that a slip of the pen costs no time.
fn parse(options: &[&str]) -> Result<Vec<String>> {
    let mut parsed = Vec::new();
    let mut rest = options.iter();
    while let Some(option) = rest.next() {
        match *option {
            "--script" => parsed.push("--script".into()),
            "--port-base" => {
                let value = rest.next().context("--port-base needs a number")?;
                let port: u16 = value.parse().with_context(|| format!("--port-base `{value}` is no port number"))?;
                parsed.extend(["--port-base".into(), port.to_string()]);
            }
            other => bail!("demo knows no option `{other}`; it has --script and --port-base N"),
        }
    }
    Ok(parsed)
}

/// Replaces this process, so that Ctrl-C and the exit code go straight to and from the demo.
#[cfg(unix)]
fn become_(mut command: Command) -> Result<()> {
    use std::os::unix::process::CommandExt as _;
    Err(command.exec()).context("the demo cannot be run")
}

#[cfg(not(unix))]
fn become_(mut command: Command) -> Result<()> {
    run::succeed(&mut command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_checked_before_anything_is_built() {
        assert_eq!(parse(&["--script", "--port-base", "9000"]).unwrap(), ["--script", "--port-base", "9000"]);
        for wrong in [&["--scrip"][..], &["--port-base"], &["--port-base", "70000"]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
