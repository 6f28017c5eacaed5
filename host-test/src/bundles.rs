//! `holdgate build` and `holdgate verify`.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use holdgate_authoring::Diagnostic;
use holdgate_engine::Policy;
use holdgate_protocol::{
    bundle::{self, Needs, PolicyRef, SignedBundle, revision},
    from_b64url,
    jws::{Jwks, Keys, PrivateKey},
};
use serde::Serialize;

use crate::{
    changes::{AnyBundle, Changes},
    check::{self, Finding},
    failure::{Failure, count},
    files::{self, Access},
    keys,
    output::Outcome,
    rules,
};

/// The arguments of `holdgate build`.
#[derive(clap::Args)]
pub(crate) struct Build {
    /// Rule files, or folders of them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The file to write; the serial of the bundle that lies there is kept, or goes up by one if a rule changed
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The policy's id; with one rule file its `policy` is the default
    #[arg(long)]
    id: Option<String>,
    /// A number that is higher than that of the policy in force, where the file to write does not tell it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    serial: Option<u64>,
    /// The private key of the authors (NAME.jwk); without it the bundle is not signed
    #[arg(long, value_name = "KEY.jwk")]
    sign: Option<PathBuf>,
}

/// A bundle that was written.
#[derive(Serialize)]
struct Built {
    #[serde(flatten)]
    policy: PolicyRef,
    rules: usize,
    /// The id of the key; `null` without a signature.
    key: Option<String>,
    file: String,
    /// Against the bundle that lay there; `null` if there was none.
    changes: Option<Changes>,
    /// What the rules need and the filter of this version does not evaluate.
    requires: Vec<&'static str>,
}

impl fmt::Display for Built {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Built { policy, rules, key, file, changes, requires } = self;
        let signed = match key {
            Some(key) => format!("signed with key {key}"),
            None => "not signed: no gateway will take it".to_owned(),
        };
        writeln!(f, "{}{}, {signed}", describe(policy), count(*rules, "rule"))?;
        if let Some(changes) = changes {
            write!(f, "{changes}")?;
        }
        f.write_str(&hint(requires))?;
        writeln!(f, "wrote {file}")
    }
}

/// Compiles, signs and writes a bundle.
pub(crate) fn build(arguments: &Build) -> Result<Outcome, Failure> {
    let key = arguments.sign.as_deref().map(keys::read_private).transpose()?;
    let compilation = rules::compile(&arguments.paths)?;
    let policies: Vec<&str> = compilation.policies().collect();
    let id = match (&arguments.id, policies.as_slice()) {
        (Some(id), _) => id.as_str(),
        (None, [only]) => only,
        (None, several) => return Err(Failure::NeedsId(several.join(", "))),
    };
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        return Err(Failure::Id(id.to_owned()));
    }
    let before = previous(&arguments.out, key.as_ref())?;
    if arguments.serial.is_none() && before.as_ref().is_some_and(|before| !before.is_own) {
        return Err(Failure::OtherKey(arguments.out.clone()));
    }
    let internal = |finding: Diagnostic| Failure::Findings(vec![Finding::from(&finding)]);
    let mut serial = arguments.serial.or(before.as_ref().map(|before| before.serial)).unwrap_or(1);
    let (mut bytes, policy) = compilation.load(id, serial).map_err(internal)?;
    check::sound(&compilation, &policy)?;
    let mut changes = None;
    if let Some(Previous { bytes: there, serial: before, is_own }) = before {
        let is_same = there == bytes;
        if !is_same && arguments.serial.is_none() {
            let next = serial.checked_add(1).ok_or(Failure::LastSerial)?;
            bytes = match with_serial(&bytes, serial, next) {
                Some(bytes) => bytes,
                None => compilation.build(id, next).map_err(internal)?,
            };
            serial = next;
        } else if !is_same && serial <= before {
            let file = arguments.out.clone();
            return Err(Failure::SerialNotHigher { file, there: before, serial });
        }
        if is_same {
            changes = Some(Changes::none(compilation.rules()));
        } else {
            let old = bundle::read(&there).map_err(|_| Failure::NoBundle(arguments.out.clone()))?;
            changes = is_own.then(|| Changes::to_policy(&old, &policy));
        }
    }
    let content = match &key {
        Some(key) => {
            let mut content = serde_json::to_vec(&SignedBundle::sign(&bytes, key)).map_err(Failure::Encode)?;
            content.push(b'\n');
            content
        }
        None => bytes.clone(),
    };
    files::write(&arguments.out, &content, Access::Public)?;
    Outcome::good(&Built {
        policy: PolicyRef { id: id.to_owned(), rev: revision(&bytes), serial },
        rules: compilation.rules(),
        key: key.as_ref().map(|key| key.kid().to_string()),
        file: arguments.out.display().to_string(),
        changes,
        requires: requires(policy.needs()),
    })
}

/// The bundle that lies where the new one goes.
struct Previous {
    bytes: Vec<u8>,
    serial: u64,
    /// Whether this author made it: with the same key, or unsigned as the new one.
    is_own: bool,
}

fn previous(out: &Path, key: Option<&PrivateKey>) -> Result<Option<Previous>, Failure> {
    if !out.is_file() {
        return Ok(None);
    }
    let content = files::read(out)?;
    let signed = serde_json::from_slice::<SignedBundle>(&content).ok();
    let (bytes, is_own) = match (key, signed) {
        (Some(key), Some(signed)) => {
            let keys = Keys::new(&Jwks { keys: vec![key.to_public_jwk()] });
            let keys = keys.map_err(|problem| Failure::Key { path: out.to_owned(), problem })?;
            let is_own = signed.open(&keys).is_ok();
            (from_b64url(&signed.bundle).unwrap_or_default(), is_own)
        }
        (None, Some(signed)) => (from_b64url(&signed.bundle).unwrap_or_default(), false),
        (key, None) => (content, key.is_none()),
    };
    let serial = serial(&bytes).ok_or_else(|| Failure::NoBundle(out.to_owned()))?;
    Ok(Some(Previous { bytes, serial, is_own }))
}

/// The serial of a bundle, which is its last member: `serial` sorts behind all others.
fn serial(bytes: &[u8]) -> Option<u64> {
    let bytes = bytes.strip_suffix(b"}")?;
    let digits = bytes.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (rest, digits) = bytes.split_at_checked(bytes.len() - digits)?;
    str::from_utf8(digits).ok().filter(|_| rest.ends_with(b",\"serial\":"))?.parse().ok()
}

/// The bytes of a bundle under another serial.
fn with_serial(bytes: &[u8], from: u64, to: u64) -> Option<Vec<u8>> {
    let end = |serial: u64| format!(",\"serial\":{serial}}}");
    let rest = bytes.strip_suffix(end(from).as_bytes())?;
    Some([rest, end(to).as_bytes()].concat())
}

/// A bundle whose signature is good.
#[derive(Serialize)]
struct Verified {
    #[serde(flatten)]
    policy: PolicyRef,
    /// As in [`Built`].
    requires: Vec<&'static str>,
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}{}the signature is good", describe(&self.policy), hint(&self.requires))
    }
}

/// Checks the signature of a bundle, and that it can be loaded.
pub(crate) fn verify(file: &Path, keys: &Path) -> Result<Outcome, Failure> {
    let keys = keys::read_public(keys)?;
    let signed = read_signed(file)?;
    let bytes = signed.open(&keys).map_err(|problem| Failure::Bundle { file: file.to_owned(), problem })?;
    let policy = Policy::load(&bytes).map_err(|problem| Failure::Load { file: file.to_owned(), problem })?;
    Outcome::good(&Verified { policy: policy.reference().clone(), requires: requires(policy.needs()) })
}

/// Reads a signed bundle without a look at its signature.
pub(crate) fn read_signed(file: &Path) -> Result<SignedBundle, Failure> {
    files::read_json(file, "a signed bundle (make one with `holdgate build --sign`)")
}

/// What a signed bundle holds, without a look at its signature.
pub(crate) fn content(file: &Path, signed: &SignedBundle) -> Result<(PolicyRef, AnyBundle), Failure> {
    let encoding = bundle::BundleError::Encoding;
    let bytes =
        from_b64url(&signed.bundle).ok_or_else(|| Failure::Bundle { file: file.to_owned(), problem: encoding })?;
    let bundle: AnyBundle = read(file, &bytes)?;
    Ok((PolicyRef { id: bundle.id.clone(), rev: revision(&bytes), serial: bundle.serial }, bundle))
}

/// The policy of a signed bundle, if this version can load it, without a look at its signature.
pub(crate) fn policy(signed: &SignedBundle) -> Option<Policy> {
    Policy::load(&from_b64url(&signed.bundle)?).ok()
}

fn read(file: &Path, bytes: &[u8]) -> Result<AnyBundle, Failure> {
    bundle::read(bytes).map_err(|problem| Failure::Bundle { file: file.to_owned(), problem })
}

/// What the configuration of a gateway must have for these rules: without it the filter refuses the bundle.
pub(crate) fn requires(needs: &Needs) -> Vec<&'static str> {
    if needs.mcp { vec!["mcp.paths"] } else { Vec::new() }
}

/// What is said of that to people.
pub(crate) fn hint(requires: &[&str]) -> String {
    if requires.is_empty() {
        return String::new();
    }
    format!("gateways need {} in their configuration, and refuse it without\n", requires.join(", "))
}

pub(crate) fn describe(reference: &PolicyRef) -> String {
    format!("policy {}, serial {}\nrevision {}\n", reference.id, reference.serial, reference.rev)
}
