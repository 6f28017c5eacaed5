//! The approval service's command line.

use std::{io::IsTerminal as _, process::ExitCode};

#[tokio::main]
async fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    let done = match holdgate_approval::config::arguments(std::env::args_os().collect()) {
        Ok(arguments) => holdgate_approval::cli::run(arguments).await,
        Err(error) => Err(error),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("holdgate-approval: {error}");
            ExitCode::FAILURE
        }
    }
}
