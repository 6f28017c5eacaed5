//! `holdgate keygen`, and the reading of keys.

use std::{
    fs,
    path::{Path, PathBuf},
};

use holdgate_protocol::jws::{Jwk, Jwks, Keys, PrivateKey};

use crate::{
    failure::Failure,
    files::{self, Access},
};

/// Makes a key pair and says where it lies.
pub(crate) fn generate(out: &Path) -> Result<String, Failure> {
    let (private, public) = (with_ending(out, ".jwk")?, with_ending(out, ".jwks.json")?);
    if let Some(there) = [&private, &public].into_iter().find(|path| path.symlink_metadata().is_ok()) {
        return Err(Failure::KeyExists(there.clone()));
    }
    if let Some(folder) = out.parent() {
        fs::create_dir_all(folder).map_err(|cause| files::failed("make the folder", folder, cause))?;
    }
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(Failure::Random)?;
    let key = PrivateKey::from_seed(&seed);
    files::write_new(&private, &to_file(&key.to_private_jwk())?, Access::Private)?;
    files::write_new(&public, &to_file(&Jwks { keys: vec![key.to_public_jwk()] })?, Access::Public)?;
    Ok(format!("key {}\nprivate: {} (keep it secret)\npublic:  {}\n", key.kid(), private.display(), public.display()))
}

/// Reads a private key.
pub(crate) fn read_private(path: &Path) -> Result<PrivateKey, Failure> {
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
