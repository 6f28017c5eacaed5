//! `holdgate-bench`: measures the gateway. `cargo xtask bench gateway` builds what it needs and runs it.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use holdgate_tests::bench::Bench;

/// Measures what the gateway costs, beside other ways to decide on requests.
#[derive(Parser)]
struct Arguments {
    /// The filter that does nothing, compiled.
    #[arg(long)]
    noop: PathBuf,
    /// The nginx binary that ext_authz asks.
    #[arg(long)]
    nginx: PathBuf,
    /// Where `gateway.json` and `gateway.svg` go.
    #[arg(long)]
    out: PathBuf,
    /// A short run, whose figures say little: that everything works.
    #[arg(long)]
    quick: bool,
    /// How often each scenario is measured.
    #[arg(long)]
    rounds: Option<usize>,
    /// Requests of a scenario in a round; where each wants a token or a body of its own, a tenth.
    #[arg(long)]
    requests: Option<usize>,
    /// Requests that are held at once.
    #[arg(long)]
    parked: Option<usize>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { noop, nginx, out, quick, rounds, requests, parked } = Arguments::parse();
    let usual = if quick { (1, 500, 200) } else { (9, 20_000, 10_000) };
    let (rounds, requests) = (rounds.unwrap_or(usual.0), requests.unwrap_or(usual.1));
    let bench = Bench { noop, nginx, out, rounds, requests, parked: parked.unwrap_or(usual.2) };
    match Box::pin(bench.run()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
