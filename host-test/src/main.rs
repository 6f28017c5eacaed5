//! The `holdgate` command line: rule files written, checked, tested, explained and compared; keys and bundles.

mod approvals;
mod bench;
mod bundles;
mod changes;
mod check;
mod check_envoy;
mod cli;
mod client;
mod conformance;
mod diff;
mod examples;
mod explain;
mod failure;
mod files;
mod forecast;
mod format;
mod keys;
mod ledger;
mod output;
mod prove;
mod publish;
mod replay;
mod rules;
mod run;
mod serve;
mod starter;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(std::env::args_os())
}
