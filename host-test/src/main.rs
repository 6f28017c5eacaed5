//! The `holdgate` command line: keys, bundles, checks and tests of rule files.

mod bundles;
mod failure;
mod files;
mod keys;
mod publish;
mod rules;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

/// Makes, checks, signs and hands over the policy of a Holdgate gateway.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a key pair: NAME.jwk (private, for its owner only) and NAME.jwks.json (public)
    Keygen {
        /// Where the files go, without their endings
        #[arg(long, value_name = "DIR/NAME")]
        out: PathBuf,
    },
    /// Compile rule files to a bundle, and sign it
    Build {
        /// Rule files, or folders of them
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
        /// The file to write
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// The policy's id; with one rule file its `policy` is the default
        #[arg(long)]
        id: Option<String>,
        /// A number that is higher than that of the policy in force
        #[arg(long, value_name = "N", default_value_t = 1)]
        serial: u64,
        /// The private key of the authors (NAME.jwk); without it the bundle is not signed
        #[arg(long, value_name = "KEY.jwk")]
        sign: Option<PathBuf>,
    },
    /// Check the signature of a bundle, and that this version can load it
    Verify {
        /// A signed bundle
        file: PathBuf,
        /// The public keys of the authors (NAME.jwks.json)
        #[arg(long, value_name = "JWKS")]
        keys: PathBuf,
    },
    /// Hand a signed bundle to the approval service; HOLDGATE_PUBLISHER_CREDENTIAL holds the credential
    Publish {
        /// A signed bundle
        file: PathBuf,
        /// The service's address for people, such as `http://127.0.0.1:8001`
        #[arg(long, value_name = "URL")]
        to: String,
    },
    /// Check rule files for mistakes
    Check {
        /// Rule files, or folders of them
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
    },
    /// Run the `tests` of rule files
    Test {
        /// Rule files, or folders of them; their rules are compiled together
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Keygen { out } => keys::generate(&out),
        Command::Build { paths, out, id, serial, sign } => {
            bundles::build(&bundles::Build { paths, out, id, serial, sign })
        }
        Command::Verify { file, keys } => bundles::verify(&file, &keys),
        Command::Publish { file, to } => publish::publish(&file, &to),
        Command::Check { paths } => rules::check(&paths),
        Command::Test { paths } => rules::test(&paths),
    };
    match result {
        Ok(said) => {
            print!("{said}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit_code()
        }
    }
}
