//! Why a command failed, and with which exit code.

use std::{fmt, io, path::PathBuf};

use holdgate_engine::LoadError;
use holdgate_protocol::{bundle::BundleError, checkpoint::CheckpointError, jws::KeyError};
use serde_json::json;

use crate::{
    check::{self, Finding},
    output::Exit,
};

/// Why a command failed: what was examined is wrong, or the command could not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{}", Shown(.0))]
    Findings(Vec<Finding>),
    #[error("there are no tests in {}; add a `tests` list, as a policy without tests proves nothing", count(*.0, "rule file"))]
    NoTests(usize),
    #[error("there is nothing to prove in {}; add a `prove` list", count(*.0, "rule file"))]
    NoProofs(usize),
    #[error("{}: {problem}", .file.display())]
    Bundle { file: PathBuf, problem: BundleError },
    #[error("{}: {problem}", .file.display())]
    Load { file: PathBuf, problem: LoadError },
    #[error("the service refused it ({status}): {detail}")]
    Refused { status: u16, detail: String },
    #[error("nothing is published, as you wished")]
    NotWanted,

    #[error("{}", .0.trim_end())]
    Arguments(String),
    #[error("`--format {format}` is a form of `holdgate {of}` only; write `text` or `json`")]
    ForeignFormat { format: &'static str, of: &'static str },
    #[error(
        "{file}: case `{name}` does not come out as it should (line {line}), so that its cost says nothing; `holdgate run` tells why"
    )]
    CaseFails { file: String, line: usize, name: String },
    #[error(transparent)]
    Plugin(holdgate_host::plugin::PluginError),
    #[error(transparent)]
    Filter(holdgate_host::HostError),
    #[error("no case has `{0}` in its name")]
    NoSuchCase(String),
    #[error("there are no files of cases; rule files beside them (`*.policy.yaml`) are none")]
    NoCases,
    #[error("`{}` is not UTF-8", .0.display())]
    NotText(PathBuf),
    #[error("no test of these rule files has the name `{0}`")]
    NoSuchTest(String),
    #[error("`{}` is written in a way in which a test cannot be added; add this request by hand: {request}", .file.display())]
    NotSaved { file: PathBuf, request: String },
    #[error("cannot {action} `{}`: {cause}", .path.display())]
    File { action: &'static str, path: PathBuf, cause: io::Error },
    #[error("`{}` exists and is not overwritten; choose another name, or move the old file away", .0.display())]
    Exists(PathBuf),
    #[error("`{}` does not name a file", .0.display())]
    NoName(PathBuf),
    #[error("`{}` is a folder; add a name for the key: `{}`", .0.display(), .0.join("NAME").display())]
    FolderForKey(PathBuf),
    #[error("`{}` has no rule files (*.yaml or *.yml)", .0.display())]
    NoRuleFiles(PathBuf),
    #[error("`{0}` is laid out in a way in which its meaning or its comments would not be kept; it stays as it is")]
    NotFormatted(String),
    #[error("`{}` is not {expected}: {cause}", .path.display())]
    Form { path: PathBuf, expected: &'static str, cause: serde_json::Error },
    #[error("`{}` is no log that is known; say what it is with `--from audit`, `--from envoy` or `--from har`", .0.display())]
    UnknownLog(PathBuf),
    #[error("`{}`: {problem}", .path.display())]
    Key { path: PathBuf, problem: KeyError },
    #[error("`{}` is no checkpoint that can be held against a ledger: {problem}", .path.display())]
    Note { path: PathBuf, problem: CheckpointError },
    #[error("`{}` is a private key that others can read (mode {mode:03o}); run `chmod 600 {}`, and make a new key if somebody may have read it", .path.display(), .path.display())]
    OpenKey { path: PathBuf, mode: u32 },
    #[error("several policies go into one bundle ({0}); name it with `--id`")]
    NeedsId(String),
    #[error("`{0}` is not an id: write letters, digits, `.`, `_` and `-`")]
    Id(String),
    #[error("`{0}` is not the name of a policy: write a letter, and then letters, digits, `.`, `_` and `-`")]
    PolicyName(String),
    #[error("`{}` is a bundle, and rule files are asked for: `holdgate verify` checks a bundle, `holdgate explain --policy` looks into it", .0.display())]
    BundleForRules(PathBuf),
    #[error("cannot write `{}`: there is no folder `{}`; make it first", .file.display(), .folder.display())]
    NoFolder { file: PathBuf, folder: PathBuf },
    #[error("`{}` is a set of public keys; `--sign` takes the private one (NAME.jwk)", .0.display())]
    PublicKey(PathBuf),
    #[error("`{}` is there and is not signed with this key, so its serial does not count; say the next one with `--serial`", .0.display())]
    OtherKey(PathBuf),
    #[error("`{}` is there and is no bundle; choose another name", .0.display())]
    NoBundle(PathBuf),
    #[error("`{}` has the serial {there} and other content: no gateway takes the serial {serial} after it; say a higher one, or leave `--serial` out", .file.display())]
    SerialNotHigher { file: PathBuf, there: u64, serial: u64 },
    #[error("the highest serial is reached; start again under another id")]
    LastSerial,
    #[error("set HOLDGATE_GATEWAY_CREDENTIAL to what `holdgate-approval gateway add` printed")]
    NoGatewayCredential,
    #[error("no check has a name that begins with `{0}`; `--list` tells the names")]
    NoSuchCheck(String),
    #[error("name the service by `--to URL` or by HOLDGATE_SERVICE")]
    NoService,
    #[error(
        "you are not signed in, or not any more; use `holdgate approvals sign-in --person NAME`, or set HOLDGATE_TOKEN"
    )]
    NotSignedIn,
    #[error("there is no place for the session: set HOME or XDG_STATE_HOME, or keep the token in HOLDGATE_TOKEN")]
    NoStateFolder,
    #[error("`{}` has sessions that others can read (mode {mode:03o}); run `chmod 600 {}`, and sign out if somebody may have read them", .path.display(), .path.display())]
    OpenSession { path: PathBuf, mode: u32 },
    #[error("`{}` is no id of a hold: it has letters, digits, `-` and `_`", .0.escape_debug())]
    HoldId(String),
    #[error("nothing is decided: there is no terminal to show the request on; look at it with `show` and add `--yes`")]
    NobodyToDecide,
    #[error("set HOLDGATE_PUBLISHER_CREDENTIAL to what `holdgate-approval publisher add` printed")]
    NoCredential,
    #[error(
        "`{0}` is neither `https://` nor `http://` on this machine: a credential does not cross a network in clear text; put TLS in front of the service, or run this where it runs"
    )]
    Address(String),
    #[error(
        "no root certificate can be used: install Debian's `ca-certificates`, or name a file in SSL_CERT_FILE; {0}"
    )]
    NoRoots(String),
    #[error("`{url}` does not answer as it should: {problem}")]
    Unreachable { url: String, problem: String },
    #[error("{0}nothing is published: there is no terminal to ask on; look at the changes above and add `--yes`")]
    NobodyToAsk(String),
    #[error("the terminal cannot be used: {0}")]
    Terminal(io::Error),
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
    #[error(
        "there is no Envoy: name its binary by `--envoy FILE` or by HOLDGATE_ENVOY; `cargo xtask setup` fetches one"
    )]
    NoEnvoy,
    #[error("`{}` is no file: name the binary of Envoy by `--envoy FILE` or by HOLDGATE_ENVOY", .0.display())]
    EnvoyMissing(PathBuf),
    #[error("`{0}` is not on this machine: `serve` has keys that everybody knows; listen on 127.0.0.1")]
    NotLocal(std::net::SocketAddr),
    #[error("cannot listen on {address}: {cause}; choose another port by `--listen`")]
    Listen { address: std::net::SocketAddr, cause: io::Error },
    #[error("`{0}` is no upstream; write it as `http://HOST:PORT`")]
    UpstreamUrl(String),
    #[error("the filter does not decide: {0}")]
    NotReady(String),
    #[error("cannot write the result as JSON: {0}")]
    Encode(serde_json::Error),
    #[error("cannot write the result as JUnit XML: {0}")]
    Junit(String),
}

impl Failure {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Failure::Findings(_)
            | Failure::NoTests(_)
            | Failure::NoProofs(_)
            | Failure::Bundle { .. }
            | Failure::Load { .. }
            | Failure::Refused { .. }
            | Failure::NotWanted => Exit::Findings,
            _ => Exit::Usage,
        }
    }

    /// `{"error": {"message": ..., "findings": [...]}}`
    pub(crate) fn to_json(&self) -> String {
        let (message, findings) = match self {
            Failure::Findings(findings) => (format!("{} found", check::tell(findings)), findings.as_slice()),
            other => (other.to_string(), [].as_slice()),
        };
        json!({"error": {"message": message, "findings": findings}}).to_string() + "\n"
    }
}

/// Findings as they are shown to people.
struct Shown<'a>(&'a [Finding]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        check::write_findings(self.0, f)
    }
}

/// `1 rule`, `2 rules`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
