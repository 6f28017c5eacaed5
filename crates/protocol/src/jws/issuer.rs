//! The keys of an issuer of agents' tokens: pinned in a configuration, or fetched from it.

use super::{Algorithm, Compact, HostVerify, JwsError, KeyError, public::PublicKey};
use crate::Json;

/// The longest key set that is read from an issuer, in bytes.
pub const MAX_KEY_SET: usize = 64 * 1024;

/// The most keys of a set.
const MAX_KEYS: usize = 64;

/// The longest id of a key, in bytes.
const MAX_KID: usize = 256;

/// Public keys that are trusted to sign tokens of one issuer. There is at least one, and ids are unique.
#[derive(Clone, Debug)]
pub struct IssuerKeys(Vec<IssuerKey>);

#[derive(Clone, Debug)]
struct IssuerKey {
    kid: Option<String>,
    key: PublicKey,
}

impl IssuerKeys {
    /// The keys of a set in a configuration: each must be usable for one of the algorithms. Errors name a key by its place,
    /// counted from 0.
    pub fn pinned(set: &Json, algorithms: &[Algorithm]) -> Result<Self, KeyError> {
        let mut keys: Vec<IssuerKey> = Vec::new();
        let all = list(set)?;
        for (index, jwk) in all.iter().enumerate() {
            let key = IssuerKey::of(jwk, algorithms).map_err(|wrong| KeyError::Unusable(index, wrong))?;
            if key.kid.is_none() && all.len() > 1 {
                return Err(KeyError::Unusable(index, "`kid` is missing; only a single key can do without"));
            }
            if let Some(twin) = keys.iter().find(|other| other.kid == key.kid) {
                return Err(KeyError::DuplicateId(twin.kid.clone().unwrap_or_default()));
            }
            keys.push(key);
        }
        if keys.is_empty() { Err(KeyError::Empty) } else { Ok(IssuerKeys(keys)) }
    }

    /// The keys of a set that was fetched, at most 64 KiB. What is not usable is left out (RFC 7517 section 5): keys for
    /// encryption, of other kinds, too weak or too long, and those that repeat an id.
    pub fn fetched(set: &[u8], algorithms: &[Algorithm]) -> Result<Self, KeyError> {
        let set = if set.len() <= MAX_KEY_SET { Json::parse(set).ok() } else { None };
        let set = set.ok_or(KeyError::Form)?;
        let mut keys: Vec<IssuerKey> = Vec::new();
        for key in list(&set)?.iter().filter_map(|jwk| IssuerKey::of(jwk, algorithms).ok()) {
            if !keys.iter().any(|other| other.kid == key.kid) {
                keys.push(key);
            }
        }
        if keys.is_empty() { Err(KeyError::NoneUsable) } else { Ok(IssuerKeys(keys)) }
    }

    /// Verifies the signature by the key that the header names, or by the only one. The header's algorithm must be the key's.
    pub fn verify(&self, jws: &Compact<'_>, host: &mut HostVerify<'_>) -> Result<(), JwsError> {
        let IssuerKey { key, .. } = jws.header.choose(&self.0, |key| key.kid.as_ref())?;
        if jws.header.alg != key.algorithm().name() {
            return Err(jws.header.wrong_algorithm());
        }
        match key.verify(jws.input.as_bytes(), &jws.signature, host) {
            Some(true) => Ok(()),
            Some(false) => Err(JwsError::Signature),
            None => Err(JwsError::Form),
        }
    }
}

impl IssuerKey {
    fn of(jwk: &Json, algorithms: &[Algorithm]) -> Result<Self, &'static str> {
        let jwk = jwk.as_object().ok_or("it is not an object")?;
        let key = PublicKey::of_jwk(jwk)?;
        if !algorithms.contains(&key.algorithm()) {
            return Err("its algorithm is not one of the issuer's `algs`");
        }
        let kid = match jwk.get("kid") {
            None => None,
            Some(Json::String(kid)) if kid.len() <= MAX_KID => Some(kid.clone()),
            Some(_) => return Err("`kid` is not a text of at most 256 bytes"),
        };
        Ok(IssuerKey { kid, key })
    }
}

fn list(set: &Json) -> Result<&[Json], KeyError> {
    match set.as_object().and_then(|set| set.get("keys")) {
        Some(Json::Array(keys)) if keys.len() <= MAX_KEYS => Ok(keys),
        Some(Json::Array(_)) => Err(KeyError::TooMany(MAX_KEYS)),
        _ => Err(KeyError::Form),
    }
}
