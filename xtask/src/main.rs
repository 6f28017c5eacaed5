//! `cargo xtask`: one name for every command that the project needs.

mod bench;
mod demo;
mod fuzz;
mod gateway;
mod run;
mod setup;
mod size;
mod test;
mod tidy;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  demo [--script] [--port-base N]   build everything and start it: sample upstream, approval service, Envoy
  test                              formatting, lints, tidy, unit tests, end-to-end tests on real Envoy
  fuzz [--seconds N]                each fuzz target for N seconds (default 60)
  bench                             the benchmarks of the crates and of the command line, with their figures
  bench gateway [--quick] [--rounds N] [--requests N] [--parked N]
                                    what the gateway costs on real Envoy, beside other filters
  tidy                              only the checks of the layout and of the documents
  setup                             only fetch what the other commands need
  postgres                          a PostgreSQL server for `cargo test` by hand, until it is interrupted

HOLDGATE_ENVOY names an Envoy binary to be used instead of the one that is fetched, HOLDGATE_ENVOY_136 one of Envoy 1.36.
HOLDGATE_TEST_POSTGRES_URL names a PostgreSQL server for the tests, whose role may make databases; else one is started,
from the programs in HOLDGATE_POSTGRES_BIN or those that are installed.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["demo", options @ ..] => demo::run(options),
        ["test"] => return test::run(),
        ["fuzz"] => fuzz::run(60),
        ["fuzz", "--seconds", seconds] if seconds.parse::<u64>().is_ok() => fuzz::run(seconds.parse().unwrap_or(60)),
        ["bench"] => bench::run(),
        ["bench", "gateway", options @ ..] => gateway::run(options),
        ["tidy"] => tidy::run(),
        ["setup"] => setup::run().and_then(|tools| setup::TestTools::find(&tools)).map(|_| ()),
        ["postgres"] => setup::postgres::Postgres::start().and_then(setup::postgres::Postgres::serve),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
