//! `holdgate build` and `holdgate verify`.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use holdgate_engine::Policy;
use holdgate_protocol::{
    bundle::{self, PolicyRef, SignedBundle, revision},
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
    #[arg(long, value_name = "N")]
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
}

impl fmt::Display for Built {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Built { policy, rules, key, file, changes } = self;
        let signed = match key {
            Some(key) => format!("signed with key {key}"),
            None => "not signed: no gateway will take it".to_owned(),
        };
        writeln!(f, "{}{}, {signed}", describe(policy), count(*rules, "rule"))?;
        if let Some(changes) = changes {
            write!(f, "{changes}")?;
        }
        writeln!(f, "wrote {file}")
    }
}

/// Compiles, signs and writes a bundle.
pub(crate) fn build(arguments: &Build) -> Result<Outcome, Failure> {
    let key = arguments.sign.as_deref().map(keys::read_private).transpose()?;
    let compilation = check::sound(&arguments.paths)?;
    let policies: Vec<&str> = compilation.policies().collect();
    let id = match (&arguments.id, policies.as_slice()) {
        (Some(id), _) => id.as_str(),
        (None, [only]) => only,
        (None, several) => return Err(Failure::NeedsId(several.join(", "))),
    };
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        return Err(Failure::Id(id.to_owned()));
    }
    let make =
        |serial| compilation.build(id, serial).map_err(|finding| Failure::Findings(vec![Finding::from(&finding)]));
    let before = match previous(&arguments.out, key.as_ref()) {
        Ok(before) => before,
        // With a serial of its own nothing of the old bundle is needed.
        Err(Failure::OtherKey(_)) if arguments.serial.is_some() => None,
        Err(other) => return Err(other),
    };
    let bytes = match (&before, arguments.serial) {
        (_, Some(serial)) => make(serial)?,
        (None, None) => make(1)?,
        (Some((before, old)), None) => {
            let same = make(old.serial)?;
            if same == *before { same } else { make(old.serial.checked_add(1).ok_or(Failure::LastSerial)?)? }
        }
    };
    let new: AnyBundle = read(&arguments.out, &bytes)?;
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
        policy: PolicyRef { id: id.to_owned(), rev: revision(&bytes), serial: new.serial },
        rules: compilation.rules(),
        key: key.as_ref().map(|key| key.kid().to_string()),
        file: arguments.out.display().to_string(),
        changes: before.map(|(_, old)| Changes::between(&old, &new)),
    })
}

/// The bundle that lies where the new one goes, if this author made it.
fn previous(out: &Path, key: Option<&PrivateKey>) -> Result<Option<(Vec<u8>, AnyBundle)>, Failure> {
    if !out.is_file() {
        return Ok(None);
    }
    let content = files::read(out)?;
    let signed = serde_json::from_slice::<SignedBundle>(&content).ok();
    let bytes = match (key, signed) {
        (Some(key), Some(signed)) => {
            let keys = Keys::new(&Jwks { keys: vec![key.to_public_jwk()] });
            let keys = keys.map_err(|problem| Failure::Key { path: out.to_owned(), problem })?;
            signed.open(&keys).map_err(|_| Failure::OtherKey(out.to_owned()))?
        }
        (None, None) => content,
        (Some(_), None) if bundle::read::<serde_json::Value>(&content).is_err() => {
            return Err(Failure::NoBundle(out.to_owned()));
        }
        (Some(_), None) | (None, Some(_)) => return Err(Failure::OtherKey(out.to_owned())),
    };
    let old = bundle::read(&bytes).map_err(|_| Failure::NoBundle(out.to_owned()))?;
    Ok(Some((bytes, old)))
}

/// A bundle whose signature is good.
#[derive(Serialize)]
struct Verified {
    #[serde(flatten)]
    policy: PolicyRef,
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}the signature is good", describe(&self.policy))
    }
}

/// Checks the signature of a bundle, and that it can be loaded.
pub(crate) fn verify(file: &Path, keys: &Path) -> Result<Outcome, Failure> {
    let keys = keys::read_public(keys)?;
    let signed = read_signed(file)?;
    let bytes = signed.open(&keys).map_err(|problem| Failure::Bundle { file: file.to_owned(), problem })?;
    let policy = Policy::load(&bytes).map_err(|problem| Failure::Load { file: file.to_owned(), problem })?;
    Outcome::good(&Verified { policy: policy.reference().clone() })
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

pub(crate) fn describe(reference: &PolicyRef) -> String {
    format!("policy {}, serial {}\nrevision {}\n", reference.id, reference.serial, reference.rev)
}
