//! `holdgate keygen`, and the reading of keys.

use std::{
    fmt, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use holdgate_protocol::jws::{Jwk, Jwks, Keys, PrivateKey};

use serde::Serialize;

use crate::{
    failure::Failure,
    files::{self, Access},
    output::Outcome,
};

/// A key pair that was made.
#[derive(Serialize)]
struct Generated {
    key: String,
    private: String,
    public: String,
}

impl fmt::Display for Generated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Generated { key, private, public } = self;
        write!(f, "key {key}\nprivate: {private} (keep it secret)\npublic:  {public}\n")
    }
}

/// Makes a key pair and says where it lies.
pub(crate) fn generate(out: &Path) -> Result<Outcome, Failure> {
    if out.file_name().is_some() && (out.is_dir() || out.as_os_str().as_encoded_bytes().ends_with(b"/")) {
        return Err(Failure::FolderForKey(out.to_owned()));
    }
    // Who writes the ending of one of the two files means the name before it.
    let name = out.to_str().and_then(|text| text.strip_suffix(".jwk").or(text.strip_suffix(".jwks.json")));
    let out = name.map_or(out, Path::new);
    let (private, public) = (with_ending(out, ".jwk")?, with_ending(out, ".jwks.json")?);
    if let Some(there) = [&private, &public].into_iter().find(|path| path.symlink_metadata().is_ok()) {
        return Err(Failure::Exists(there.clone()));
    }
    if let Some(folder) = out.parent() {
        fs::create_dir_all(folder).map_err(|cause| files::failed("make the folder", folder, cause))?;
    }
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(Failure::Random)?;
    let key = PrivateKey::from_seed(&seed);
    files::write_new(&private, &to_file(&key.to_private_jwk())?, Access::Private)?;
    files::write_new(&public, &to_file(&Jwks { keys: vec![key.to_public_jwk()] })?, Access::Public)?;
    let (private, public) = (private.display().to_string(), public.display().to_string());
    Outcome::good(&Generated { key: key.kid().to_string(), private, public })
}

/// Reads a private key, unless others can read it too.
pub(crate) fn read_private(path: &Path) -> Result<PrivateKey, Failure> {
    if files::read_json::<Jwks>(path, "a private key (JWK)").is_ok() {
        return Err(Failure::PublicKey(path.to_owned()));
    }
    let metadata = fs::metadata(path).map_err(|cause| files::failed("read", path, cause))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Failure::OpenKey { path: path.to_owned(), mode });
    }
    let jwk: Jwk = files::read_json(path, "a private key (JWK)")?;
    PrivateKey::from_jwk(&jwk).map_err(|problem| Failure::Key { path: path.to_owned(), problem })
}

/// Reads a set of public keys.
pub(crate) fn read_public(path: &Path) -> Result<Keys, Failure> {
    let jwks: Jwks = files::read_json(path, "a set of public keys (JWKS)")?;
    Keys::new(&jwks).map_err(|problem| Failure::Key { path: path.to_owned(), problem })
}

fn to_file<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, Failure> {
    let mut bytes = serde_json::to_vec(value).map_err(Failure::Encode)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn with_ending(out: &Path, ending: &str) -> Result<PathBuf, Failure> {
    let Some(name) = out.file_name() else { return Err(Failure::NoName(out.to_owned())) };
    let mut name = name.to_owned();
    name.push(ending);
    Ok(out.with_file_name(name))
}
