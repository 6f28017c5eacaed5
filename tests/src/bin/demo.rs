//! `holdgate-demo`: the whole product on this machine, to be tried by hand or played as a script.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use holdgate_tests::demo::{self, Demo};
use tokio::signal::unix::{SignalKind, signal};

/// Starts the sample upstream, the approval service and Envoy, and shows how to use them.
#[derive(Parser)]
struct Arguments {
    /// Play the story and exit: 0 only if every step came out as it should.
    #[arg(long)]
    script: bool,
    /// The first of six ports.
    #[arg(long, default_value_t = demo::PORT_BASE)]
    port_base: u16,
    /// Where keys, database, configuration and logs go; made anew at each start.
    #[arg(long)]
    data: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { script, port_base, data } = Arguments::parse();
    // Whatever ends this function drops the demo, and with it every process that it started.
    let result = tokio::select! {
        result = Demo { script, port_base, data }.run() => result,
        signal = ended_by_signal() => signal,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns at Ctrl-C or SIGTERM.
async fn ended_by_signal() -> anyhow::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => println!("\nstopping"),
        _ = terminate.recv() => println!("\nstopping"),
    }
    Ok(())
}
