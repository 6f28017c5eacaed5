//! The keys that the service signs and verifies with. They stand in the database, private halves sealed, so that all instances share
//! them and the command line can change them while they serve.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use holdgate_protocol::{
    Hash, Json,
    jws::{Jwk, Jwks, KeyError, Keys, PrivateKey},
};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::{
    sealing::{DataKeyError, DataKeys, SealError},
    store::{
        Connection, Database, StoreError,
        keys::{self, KeptKey, Purpose},
    },
};

/// The text that is sealed in the keyring, and its place.
pub(crate) const PROOF: &str = "holdgate data key";

/// The place of what makes the state that clients hand back.
pub(crate) const STATES: &str = "holdgate states";

/// The `typ` of a signed key set.
pub const SET_TYPE: &str = "jwk-set+jwt";

/// How long a signed key set may be taken, in seconds: a key that was retired is not brought back by an old one.
const SET_LIFE: u64 = 60 * 60;

/// What the running service signs and verifies with, as it was at one moment.
pub struct ServiceKeys {
    version: u64,
    /// Those that are not retired, the one that signs last first.
    signers: Vec<Signer>,
    /// The policy authors' public keys.
    pub authors: Keys,
    /// What makes the state that clients hand back; of no use to sign with.
    pub states: Hash,
    /// What captures are sealed with.
    pub data: Arc<DataKeys>,
}

struct Signer {
    purpose: Purpose,
    key: PrivateKey,
    signs_from: u64,
    retires_at: Option<u64>,
}

/// Where a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// It is published, and does not sign yet.
    Next,
    /// It signs.
    Active,
    /// It is published, and does not sign any more.
    Overlap,
    /// It is neither, and its private half is gone.
    Retired,
}

/// Why a service has no keys that it can use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Data(#[from] DataKeyError),
    #[error("the database was made with another data key: {0}")]
    OtherDataKey(SealError),
    #[error(
        "{captures} captures are sealed with the data key `{id}`, which is not given; give it after the first, until they are sealed anew"
    )]
    MissingDataKey { id: String, captures: u64 },
    #[error("the database has no keys yet; make them with `holdgate-approval init`")]
    NotMade,
    #[error(
        "this database is a copy of another one; run `holdgate-approval restored` first, which cancels what was open in it"
    )]
    Copy,
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
}

impl ServiceKeys {
    /// Reads the keys of a database, and checks that the data keys are its own and that it is no copy.
    pub async fn load(store: &Database, data: Arc<DataKeys>) -> Result<Self, KeysError> {
        let mut connection = store.read().await?;
        let keyring = keys::keyring(&mut connection).await?.ok_or(KeysError::NotMade)?;
        let proof = data.open(PROOF, &keyring.proof).map_err(KeysError::OtherDataKey)?;
        if proof != PROOF.as_bytes() {
            return Err(KeysError::OtherDataKey(SealError::Broken));
        }
        for (id, captures) in keys::sealed_with(&mut connection).await? {
            if !id.is_empty() && !data.has(&id) {
                return Err(KeysError::MissingDataKey { id, captures });
            }
        }
        let keys = ServiceKeys::read(&mut connection, &data).await?;
        drop(connection);
        if keyring.identity == store.identity().await? { Ok(keys) } else { Err(KeysError::Copy) }
    }

    async fn read(connection: &mut Connection, data: &Arc<DataKeys>) -> Result<Self, StoreError> {
        let keyring = keys::keyring(connection).await?.ok_or(StoreError::Corrupt("keyring"))?;
        let states = String::from_utf8(data.open(STATES, &keyring.states)?).unwrap_or_default();
        let mut signers = Vec::new();
        for kept in keys::all(connection).await? {
            if kept.sealed.is_some() {
                let key = open_private(&kept, data)?;
                let KeptKey { purpose, signs_from, retires_at, .. } = kept;
                signers.push(Signer { purpose, key, signs_from, retires_at });
            }
        }
        Ok(ServiceKeys {
            version: keyring.version,
            signers,
            authors: Keys::new(&keyring.authors).map_err(|_| StoreError::Corrupt("keyring.authors"))?,
            states: states.parse().map_err(|_| StoreError::Corrupt("keyring.states"))?,
            data: data.clone(),
        })
    }

    /// These keys, or others where they were changed since.
    pub async fn as_they_are(self: &Arc<Self>, connection: &mut Connection) -> Result<Arc<Self>, StoreError> {
        if keys::version(connection).await? == self.version {
            return Ok(self.clone());
        }
        Ok(Arc::new(ServiceKeys::read(connection, &self.data).await?))
    }

    /// The key that signs grants at `now`, if there is one.
    pub fn grant(&self, now: u64) -> Option<&PrivateKey> {
        self.signing(Purpose::Grant, now)
    }

    /// The key that signs for the ledger at `now`.
    pub fn ledger(&self, now: u64) -> Option<&PrivateKey> {
        self.signing(Purpose::Ledger, now)
    }

    fn signing(&self, purpose: Purpose, now: u64) -> Option<&PrivateKey> {
        let mut known = self.known(purpose, now);
        known.find(|signer| signer.signs_from <= now).map(|signer| &signer.key)
    }

    fn known(&self, purpose: Purpose, now: u64) -> impl Iterator<Item = &Signer> {
        let known = move |signer: &&Signer| signer.purpose == purpose && signer.retires_at.is_none_or(|at| at > now);
        self.signers.iter().filter(known)
    }

    /// The public halves of all keys of a purpose that are not retired.
    pub fn published(&self, purpose: Purpose, now: u64) -> Jwks {
        Jwks { keys: self.known(purpose, now).map(|signer| signer.key.to_public_jwk()).collect() }
    }

    /// Whether one of the keys of a purpose that are not retired has signed this.
    pub fn has_signed(&self, purpose: Purpose, jws: &str, now: u64) -> bool {
        Keys::new(&self.published(purpose, now)).is_ok_and(|keys| keys.verify(jws, None).is_ok())
    }

    /// The published grant keys in a JWS under each of them that has signed: whoever has pinned one learns the others.
    pub fn signed_sets(&self, now: u64) -> Result<Vec<String>, StoreError> {
        let jwks = self.published(Purpose::Grant, now);
        let set = json!({"iat": now, "exp": now.saturating_add(SET_LIFE), "keys": jwks.keys});
        let set = Json::from_serialize(&set)?.to_jcs();
        let signers = self.known(Purpose::Grant, now).filter(|signer| signer.signs_from <= now);
        Ok(signers.map(|signer| signer.key.sign(SET_TYPE, &set)).collect())
    }
}

/// The private half of a key.
pub(crate) fn open_private(kept: &KeptKey, data: &DataKeys) -> Result<PrivateKey, StoreError> {
    let sealed = kept.sealed.as_deref().ok_or(StoreError::Corrupt("keys.sealed"))?;
    let jwk: Jwk = serde_json::from_slice(&data.open(&key_place(&kept.public.kid), sealed)?)?;
    PrivateKey::from_jwk(&jwk).map_err(|_| StoreError::Corrupt("keys.sealed"))
}

/// The name of a key's place, to which its seal is bound.
pub(crate) fn key_place(kid: &str) -> String {
    format!("key {kid}")
}

impl KeyState {
    /// Where a key stands among those of its purpose; they stand in the order of [`keys::all`].
    pub fn of(key: &KeptKey, all: &[KeptKey], now: u64) -> Self {
        if key.is_retired(now) {
            return KeyState::Retired;
        }
        if key.signs_from > now {
            return KeyState::Next;
        }
        let signs =
            |other: &&KeptKey| other.purpose == key.purpose && other.signs_from <= now && !other.is_retired(now);
        let active = all.iter().find(signs).is_some_and(|other| other.number == key.number);
        if active { KeyState::Active } else { KeyState::Overlap }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            KeyState::Next => "next",
            KeyState::Active => "active",
            KeyState::Overlap => "overlap",
            KeyState::Retired => "retired",
        }
    }
}

impl KeptKey {
    /// Whether it is retired at `now`.
    pub fn is_retired(&self, now: u64) -> bool {
        self.retires_at.is_some_and(|at| at <= now)
    }
}

/// Reads a public key set and checks that it can be used.
pub fn read_authors(path: &Path) -> Result<(Jwks, Keys), KeyFileError> {
    let jwks: Jwks = read_json(path)?;
    match Keys::new(&jwks) {
        Ok(keys) => Ok((jwks, keys)),
        Err(error) => Err(KeyFileError::Key { path: path.to_owned(), error }),
    }
}

/// Reads a private key.
pub fn read_private(path: &Path) -> Result<PrivateKey, KeyFileError> {
    let jwk: Jwk = read_json(path)?;
    PrivateKey::from_jwk(&jwk).map_err(|error| KeyFileError::Key { path: path.to_owned(), error })
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, KeyFileError> {
    let text = fs::read(path).map_err(|error| KeyFileError::File { path: path.to_owned(), error })?;
    serde_json::from_slice(&text).map_err(|error| KeyFileError::Json { path: path.to_owned(), error })
}

/// What makes the state that clients hand back, of the grants' first key.
pub fn states_of(grant: &PrivateKey) -> Hash {
    let seed = grant.to_private_jwk().d.unwrap_or_default();
    Hash::of(format!("holdgate request_state\n{seed}").as_bytes())
}
