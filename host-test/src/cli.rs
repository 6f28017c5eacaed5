//! The arguments, and which command they ask for.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::{
    approvals, bench, bundles, check, check_envoy, conformance, diff, examples, explain,
    failure::Failure,
    format, keys, ledger,
    output::{self, Format, Outcome},
    prove, publish, replay, run, serve, starter,
};

/// Writes, checks, tests, signs and hands over the policy of a Holdgate gateway.
///
/// Exit codes: 0 all is well, 1 what was examined has findings, 2 the command could not do its work.
#[derive(Parser)]
#[command(name = "holdgate", version, max_term_width = 100)]
struct Arguments {
    /// How the result is written
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write a commented rule file to start from
    New {
        /// The policy's name
        name: String,
        /// The file to write; NAME.yaml by default, `-` for standard output
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Lay out rule files in one way, comments kept
    Fmt {
        /// Rule files, or folders of them
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
        /// Write nothing; fail if a file is not laid out so
        #[arg(long)]
        check: bool,
    },
    /// Check rule files for mistakes
    Check {
        /// Rule files, or folders of them
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
        /// Fail for warnings, too
        #[arg(long)]
        strict: bool,
    },
    /// Check Envoy configurations for ways around the filter, and for what undoes it
    CheckEnvoy {
        /// Bootstrap files, as YAML or JSON
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Fail for warnings, too
        #[arg(long)]
        strict: bool,
    },
    /// Run the `tests` of rule files, and tell what they show of the rules
    Test {
        /// Rule files, or folders of them; their rules are compiled together
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
        /// Fail if fewer percent of the rules, or of the sides of their atoms, are covered
        #[arg(long, value_name = "PERCENT", value_parser = percent)]
        min_coverage: Option<f64>,
    },
    /// Tell why a policy says what it says about a request, and which rules nearly matched
    Explain(explain::Explain),
    /// Prove what the files claim under `prove`, or show a request to the contrary
    Prove(prove::Prove),
    /// Compare two policies over all requests: what changed, and whether anything became more permissive
    Diff(diff::Arguments),
    /// Play cases: requests, what happens to them, and what must be seen of it
    Run(run::Run),
    /// Put the filter into a small proxy on this machine, to try rules by curl
    Serve(serve::Serve),
    /// Tell what cases cost in the compiled filter, and whether that has become more
    Bench(bench::Bench),
    /// Print a JSON Schema for editors
    Schema {
        /// What it describes
        #[arg(value_enum, default_value_t)]
        of: Described,
    },
    /// Tell what a policy would have done to recorded requests, and how reviewers would keep up
    Replay(replay::Replay),
    /// Make a key pair: NAME.jwk (private, for its owner only) and NAME.jwks.json (public)
    Keygen {
        /// Where the files go, without their endings
        #[arg(long, value_name = "DIR/NAME")]
        out: PathBuf,
    },
    /// Compile rule files to a bundle, and sign it
    Build(bundles::Build),
    /// Check the signature of a bundle, and that this version can load it
    Verify {
        /// A signed bundle
        file: PathBuf,
        /// The public keys of the authors (NAME.jwks.json)
        #[arg(long, value_name = "JWKS")]
        keys: PathBuf,
    },
    /// Check the record of an approval service without it
    #[command(subcommand)]
    Ledger(ledger::Ledger),
    /// Hand a signed bundle to the approval service; HOLDGATE_PUBLISHER_CREDENTIAL holds the credential
    Publish(publish::Publish),
    /// List, show and decide on what is held, as a reviewer; HOLDGATE_TOKEN or `sign-in` says who you are
    Approvals(approvals::Approvals),
    /// Check that a service answers gateways as the protocol says; HOLDGATE_GATEWAY_CREDENTIAL holds the credential
    Conformance(conformance::Conformance),
    /// Print the completions of a shell
    Completions { shell: clap_complete::Shell },
}

/// Does what the arguments ask for.
pub(crate) fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.collect();
    let parsed = match Arguments::try_parse_from(&arguments) {
        Ok(parsed) => parsed,
        // The text of `--help` and `--version` is no failure.
        Err(error) if !error.use_stderr() || !asks_for_data(&arguments) => error.exit(),
        Err(error) => return output::show(Err(Failure::Arguments(error.to_string())), Format::Json),
    };
    let Arguments { format, command } = parsed;
    let foreign = match command {
        Command::Check { .. } | Command::CheckEnvoy { .. } => format == Format::Sarif,
        Command::Test { .. } | Command::Run(_) => format == Format::Junit,
        _ => false,
    };
    let result = match format {
        Format::Sarif if !foreign => Err(Failure::ForeignFormat { format: "sarif", of: "check" }),
        Format::Junit if !foreign => Err(Failure::ForeignFormat { format: "junit", of: "test` and `holdgate run" }),
        _ => match command {
            Command::Run(run) if run.watch => return run::watch(&run, format),
            command => command.run(),
        },
    };
    output::show(result, format)
}

/// The kinds of files that have a schema.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Described {
    /// Rule files
    #[default]
    Rules,
    /// Files of cases
    Cases,
}

impl Described {
    fn schema(self) -> String {
        match self {
            Described::Rules => holdgate_authoring::policy_schema(),
            Described::Cases => holdgate_authoring::cases_schema(),
        }
    }
}

/// Whether the result was to be read by a program, as far as arguments tell that are wrong.
fn asks_for_data(arguments: &[OsString]) -> bool {
    let pairs = arguments.iter().zip(arguments.iter().skip(1));
    let separate = pairs.into_iter().any(|(option, value)| option == "--format" && value != "text");
    separate || arguments.iter().any(|argument| argument.to_str().is_some_and(|text| text.starts_with("--format=")))
}

impl Command {
    fn run(self) -> Result<Outcome, Failure> {
        match self {
            Command::New { name, out } => starter::write(&name, out),
            Command::Fmt { paths, check } => format::run(&paths, check),
            Command::Check { paths, strict } => check::run(&paths, strict),
            Command::CheckEnvoy { files, strict } => check_envoy::run(&files, strict),
            Command::Test { paths, min_coverage } => examples::run(&paths, min_coverage),
            Command::Explain(explain) => explain::run(&explain),
            Command::Prove(prove) => prove::run(&prove),
            Command::Diff(diff) => diff::run(&diff),
            Command::Run(run) => run::run(&run),
            Command::Serve(serve) => serve::run(&serve),
            Command::Bench(bench) => bench::run(&bench),
            Command::Schema { of } => Outcome::good(&starter::Text { text: of.schema() }),
            Command::Replay(replay) => replay::run(&replay),
            Command::Keygen { out } => keys::generate(&out),
            Command::Build(build) => bundles::build(&build),
            Command::Verify { file, keys } => bundles::verify(&file, &keys),
            Command::Ledger(ledger) => ledger::run(&ledger),
            Command::Publish(publish) => publish::run(&publish),
            Command::Approvals(approvals) => approvals::run(&approvals),
            Command::Conformance(conformance) => conformance::run(&conformance),
            Command::Completions { shell } => completions(shell),
        }
    }
}

fn completions(shell: clap_complete::Shell) -> Result<Outcome, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "holdgate", &mut script);
    Outcome::good(&starter::Text { text: String::from_utf8_lossy(&script).into_owned() })
}

fn percent(text: &str) -> Result<f64, String> {
    let percent = text.parse().ok().filter(|percent| (0.0..=100.0).contains(percent));
    percent.ok_or_else(|| "write a number from 0 to 100".into())
}
