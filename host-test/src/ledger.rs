//! `holdgate ledger`: what an auditor does with an export, without the service and without trust in it.

use std::{
    fmt, fs,
    io::{self, BufReader},
    path::{Path, PathBuf},
};

use holdgate_protocol::{
    b64,
    checkpoint::{self, MAX_NOTE},
    jws::{Jwks, Keys},
    ledger::{Inclusion, Kept, Report, Signer, Verifier, verify},
};
use serde::Serialize;

use crate::{
    failure::{Failure, count},
    files, keys,
    output::{Exit, Outcome, escaped, printable},
};

/// What is done with a ledger.
#[derive(clap::Subcommand)]
pub(crate) enum Ledger {
    /// Verify an export: every entry, their order, and what was signed
    Verify(Verify),
}

/// The arguments of `holdgate ledger verify`.
///
/// Exit codes: 0 every entry is as it was signed, 1 there are findings, 2 it could not be examined.
#[derive(clap::Args)]
pub(crate) struct Verify {
    /// The export (JSON Lines), `-` for standard input
    file: PathBuf,
    /// The public key of the ledger: NAME.jwks.json, or a verifier key `NAME+ID+BASE64` in a file
    #[arg(long, value_name = "JWKS")]
    key: PathBuf,
    /// The ledger's keys that are retired (`holdgate-approval key export ledger --retired`): what they signed counts where a
    /// later checkpoint of the key in force vouches for it too
    #[arg(long, value_name = "JWKS")]
    retired_key: Option<PathBuf>,
    /// A checkpoint that was kept from earlier: the ledger must still begin as it was then; may be given several times
    #[arg(long = "checkpoint", value_name = "NOTE")]
    checkpoints: Vec<PathBuf>,
    /// The ledger that it must be; by default the one that the file names
    #[arg(long, value_name = "NAME")]
    origin: Option<String>,
    /// Show the proof that the ledger has this entry
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(u64).range(1..))]
    inclusion: Option<u64>,
}

/// Does what the arguments ask for.
pub(crate) fn run(ledger: &Ledger) -> Result<Outcome, Failure> {
    let Ledger::Verify(arguments) = ledger;
    let (named, keys) = read_key(&arguments.key)?;
    let retired = arguments.retired_key.as_deref().map(read_retired).transpose()?.flatten();
    let kept = |path: &PathBuf| read_checkpoint(path, &keys, retired.as_ref());
    let kept = arguments.checkpoints.iter().map(kept).collect::<Result<_, _>>()?;
    let origin = arguments.origin.clone().or(named);
    let verifier =
        Verifier::new(&keys, kept).with_retired(retired.as_ref()).of_origin(origin).with_proof_of(arguments.inclusion);
    let failed = |cause| files::failed("read", &arguments.file, cause);
    let report = if arguments.file == Path::new("-") {
        verify(io::stdin().lock(), verifier)
    } else {
        let file = fs::File::open(&arguments.file).map_err(failed)?;
        verify(BufReader::with_capacity(1 << 16, file), verifier)
    };
    let shown = Shown { report: report.map_err(failed)?, asked: arguments.inclusion };
    Outcome::new(&shown, if shown.report.verified { Exit::Good } else { Exit::Findings })
}

/// Keys that are retired; before the first rotation there are none.
fn read_retired(path: &Path) -> Result<Option<Keys>, Failure> {
    let jwks: Jwks = files::read_json(path, "a set of public keys (JWKS)")?;
    if jwks.keys.is_empty() { Ok(None) } else { keys::read_public(path).map(Some) }
}

/// A key set, or the line of a verifier key, which says of which ledger it is.
fn read_key(path: &Path) -> Result<(Option<String>, Keys), Failure> {
    let text = files::read(path)?;
    let line = String::from_utf8_lossy(&text);
    match checkpoint::read_verifier_key(line.trim_end()) {
        Ok((name, keys)) => Ok((Some(name), keys)),
        Err(_) => Ok((None, keys::read_public(path)?)),
    }
}

fn read_checkpoint(path: &Path, keys: &Keys, retired: Option<&Keys>) -> Result<Kept, Failure> {
    let file = fs::File::open(path).map_err(|cause| files::failed("read", path, cause))?;
    let mut note = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, MAX_NOTE as u64 + 1), &mut note)
        .map_err(|cause| files::failed("read", path, cause))?;
    let note = String::from_utf8(note).map_err(|_| Failure::NotText(path.to_owned()))?;
    let (checkpoint, signer) =
        Signer::open(&note, keys, retired).map_err(|problem| Failure::Note { path: path.to_owned(), problem })?;
    Ok(Kept { name: path.display().to_string(), checkpoint, signer })
}

/// What was found, as it is written.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    report: Report,
    #[serde(skip)]
    asked: Option<u64>,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { verified, origin, entries, root, first_time, last_time, checkpoints, inclusion, findings, more } =
            &self.report;
        let origin = origin.as_deref().map_or("without a name".into(), printable);
        let entries = if *entries == 1 { "1 entry".into() } else { format!("{entries} entries") };
        writeln!(f, "ledger {origin}: {entries}, {} fit", count(*checkpoints as usize, "checkpoint"))?;
        if let (Some(first), Some(last)) = (first_time, last_time) {
            writeln!(f, "from {} to {}", date(*first), date(*last))?;
        }
        for finding in findings {
            writeln!(f, "{}: {}", finding.kind.as_str(), escaped(&finding.message))?;
        }
        if *more > 0 {
            writeln!(f, "and {} more", count(*more as usize, "finding"))?;
        }
        if *verified {
            writeln!(f, "root {}\nverified: every entry is as it was signed", b64(root.as_bytes()))?;
        } else {
            writeln!(f, "not verified")?;
        }
        match (inclusion, self.asked) {
            (Some(inclusion), _) => write_inclusion(inclusion, f),
            (None, Some(seq)) => writeln!(f, "there is no proof for entry {seq}"),
            (None, None) => Ok(()),
        }
    }
}

fn write_inclusion(inclusion: &Inclusion, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Inclusion { seq, size, leaf, root: _, proof } = inclusion;
    writeln!(f, "entry {seq} is in the tree of size {size}: leaf {}, proof", b64(leaf.as_bytes()))?;
    proof.iter().try_for_each(|hash| writeln!(f, "  {}", b64(hash.as_bytes())))
}

/// Unix seconds as a date of UTC; a number that is none stays a number.
fn date(seconds: u64) -> String {
    let date = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    date.map_or_else(|| seconds.to_string(), |date| date.to_string())
}
