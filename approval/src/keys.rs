//! Keys in the data folder: made once at the first start, read at every other.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use holdgate_protocol::{
    Hash,
    jws::{Jwk, Jwks, KeyError, Keys, PrivateKey},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::random;

/// What the running service signs and verifies with.
pub struct ServiceKeys {
    pub grant: PrivateKey,
    pub ledger: PrivateKey,
    /// The policy authors' public keys.
    pub authors: Keys,
    /// What makes the state that clients hand back; of the grants' key, and of no use to sign with.
    pub states: Hash,
}

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    #[error("`{}` cannot be read or written: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("`{}` is not a JSON Web Key file: {error}", path.display())]
    Json { path: PathBuf, error: serde_json::Error },
    #[error("`{}` cannot be used: {error}", path.display())]
    Key { path: PathBuf, error: KeyError },
    #[error("the system gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
}

impl ServiceKeys {
    /// Makes the private keys of a new data folder and keeps the authors' keys beside them.
    pub fn create(data: &Path, authors: &Jwks) -> Result<(), KeyFileError> {
        for name in ["grant", "ledger"] {
            let key = PrivateKey::from_seed(&random::bytes()?);
            write(&data.join(format!("{name}.jwk")), &key.to_private_jwk(), 0o600)?;
            write(&data.join(format!("{name}.jwks.json")), &Jwks { keys: vec![key.to_public_jwk()] }, 0o644)?;
        }
        write(&data.join("authors.jwks.json"), authors, 0o644)
    }

    pub fn load(data: &Path) -> Result<Self, KeyFileError> {
        let authors = data.join("authors.jwks.json");
        let keys = read_authors(&authors)?;
        let grant = private(&data.join("grant.jwk"))?;
        let seed = grant.to_private_jwk().d.unwrap_or_default();
        Ok(ServiceKeys {
            states: Hash::of(format!("holdgate request_state\n{seed}").as_bytes()),
            grant,
            ledger: private(&data.join("ledger.jwk"))?,
            authors: keys.1,
        })
    }
}

/// Reads a public key set and checks that it can be used.
pub fn read_authors(path: &Path) -> Result<(Jwks, Keys), KeyFileError> {
    let jwks: Jwks = read(path)?;
    match Keys::new(&jwks) {
        Ok(keys) => Ok((jwks, keys)),
        Err(error) => Err(KeyFileError::Key { path: path.to_owned(), error }),
    }
}

fn private(path: &Path) -> Result<PrivateKey, KeyFileError> {
    let jwk: Jwk = read(path)?;
    PrivateKey::from_jwk(&jwk).map_err(|error| KeyFileError::Key { path: path.to_owned(), error })
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, KeyFileError> {
    let text = fs::read(path).map_err(|error| KeyFileError::File { path: path.to_owned(), error })?;
    serde_json::from_slice(&text).map_err(|error| KeyFileError::Json { path: path.to_owned(), error })
}

fn write<T: Serialize>(path: &Path, value: &T, mode: u32) -> Result<(), KeyFileError> {
    let mut text =
        serde_json::to_vec_pretty(value).map_err(|error| KeyFileError::Json { path: path.to_owned(), error })?;
    text.push(b'\n');
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    let written = options.open(path).and_then(|mut file| {
        file.write_all(&text)?;
        file.sync_all()
    });
    written.map_err(|error| KeyFileError::File { path: path.to_owned(), error })
}
