//! `holdgate build` and `holdgate verify`.

use std::path::{Path, PathBuf};

use holdgate_engine::Policy;
use holdgate_protocol::bundle::{PolicyRef, SignedBundle, revision};

use crate::{
    failure::{Failure, count},
    files::{self, Access},
    keys, rules,
};

/// The arguments of `holdgate build`.
pub(crate) struct Build {
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) out: PathBuf,
    pub(crate) id: Option<String>,
    pub(crate) serial: u64,
    pub(crate) sign: Option<PathBuf>,
}

/// Compiles, signs and writes a bundle.
pub(crate) fn build(arguments: &Build) -> Result<String, Failure> {
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
    let bytes = compilation.build(id, arguments.serial).map_err(|problem| Failure::Findings(vec![problem]))?;
    let (content, signed) = match &key {
        Some(key) => {
            let mut content = serde_json::to_vec(&SignedBundle::sign(&bytes, key)).map_err(Failure::Encode)?;
            content.push(b'\n');
            (content, format!("signed with key {}", key.kid()))
        }
        None => (bytes.clone(), "not signed: no gateway will take it".to_owned()),
    };
    files::write(&arguments.out, &content, Access::Public)?;
    let reference = PolicyRef { id: id.to_owned(), rev: revision(&bytes), serial: arguments.serial };
    let rules = count(compilation.rules(), "rule");
    Ok(format!("{}{rules}, {signed}\nwrote {}\n", describe(&reference), arguments.out.display()))
}

/// Checks the signature of a bundle, and that it can be loaded.
pub(crate) fn verify(file: &Path, keys: &Path) -> Result<String, Failure> {
    let keys = keys::read_public(keys)?;
    let signed = read_signed(file)?;
    let bytes = signed.open(&keys).map_err(|problem| Failure::Bundle { file: file.to_owned(), problem })?;
    let policy = Policy::load(&bytes).map_err(|problem| Failure::Load { file: file.to_owned(), problem })?;
    Ok(format!("{}the signature is good\n", describe(policy.reference())))
}

/// Reads a signed bundle without a look at its signature.
pub(crate) fn read_signed(file: &Path) -> Result<SignedBundle, Failure> {
    files::read_json(file, "a signed bundle (make one with `holdgate build --sign`)")
}

pub(crate) fn describe(reference: &PolicyRef) -> String {
    format!("policy {}, serial {}\nrevision {}\n", reference.id, reference.serial, reference.rev)
}
