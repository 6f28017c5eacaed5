//! Signatures in JWS form (RFC 7515): grants and bundles by Ed25519 (RFC 8037), agents' tokens by what their issuer uses.
//!
//! The algorithm is a property of the trusted key. What a header says of it must agree and decides nothing;
//! `none`, `jwk`, `jku`, `x5u` and critical extensions find no code here that would follow them.

mod compact;
mod host;
mod issuer;
mod public;
mod rsa;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::Serialize;

pub use compact::Compact;
pub use host::{host_agrees, host_question, host_says_yes};
pub use issuer::{IssuerKeys, MAX_KEY_SET};
pub use public::{Algorithm, HostVerify, PublicKey};

use compact::Header;

use crate::{
    Json, b64url, deserialize_from_json, from_b64url,
    json::{FromJson, Place, ShapeError},
};

/// The longest compact JWS that is read, in bytes.
pub const MAX_TOKEN: usize = 16 * 1024;

/// Why a signature does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwsError {
    #[error("not a JWS of at most 16 KiB in compact form")]
    Form,
    #[error("the header is not a JSON object with a single reading")]
    Header,
    #[error("the header names the algorithm `{0}`, which is not that of the key")]
    Algorithm(String),
    #[error("the header has the type `{0}`; expected `{1}`")]
    Type(String, &'static str),
    #[error("the header has critical extensions (`crit`), which are not supported")]
    Critical,
    #[error("no trusted key has the id `{0}`")]
    UnknownKey(String),
    #[error("the header names no key (`kid`), and there is more than one to choose from")]
    NoKeyId,
    #[error("the signature does not fit")]
    Signature,
}

/// Why a key or a set of keys cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    #[error("key {0}: kty must be `OKP` and crv `Ed25519`")]
    Unsupported(usize),
    #[error("key {0}: `x` is not the base64url of an Ed25519 public key")]
    Public(usize),
    #[error("key {0}: it contains a private key (`d`); give the public half only")]
    Private(usize),
    #[error("key {0}: {1}")]
    Unusable(usize, &'static str),
    #[error("the key id `{0}` stands there twice")]
    DuplicateId(String),
    #[error("it is not a JWK set: an object with the list `keys`")]
    Form,
    #[error("the set has more than {0} keys")]
    TooMany(usize),
    #[error("the set has no key that can be used here")]
    NoneUsable,
    #[error("the set has no keys")]
    Empty,
    #[error("not a private Ed25519 JWK")]
    NotPrivate,
}

/// One JSON Web Key as it stands in a file; members that are not listed are ignored (RFC 7517 section 4).
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Jwk {
    pub kty: String,
    pub crv: String,
    pub kid: String,
    pub x: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub d: Option<String>,
}

impl std::fmt::Debug for Jwk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jwk").field("kid", &self.kid).field("x", &self.x).finish_non_exhaustive()
    }
}

/// A JSON Web Key Set as it stands in a file or a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Jwks {
    pub keys: Vec<Jwk>,
}

impl FromJson for Jwk {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        let [kty, crv, kid, x, d] = place.known_members(&["kty", "crv", "kid", "x", "d"])?;
        Ok(Jwk { kty: kty.read()?, crv: crv.read()?, kid: kid.read()?, x: x.read()?, d: d.optional()? })
    }
}

impl FromJson for Jwks {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        let [keys] = place.known_members(&["keys"])?;
        Ok(Jwks { keys: keys.list()? })
    }
}

deserialize_from_json!(Jwk, Jwks);

/// A private key with its id.
pub struct PrivateKey {
    kid: String,
    key: SigningKey,
}

impl PrivateKey {
    /// Makes a key of 32 random bytes; its id is the start of its RFC 7638 thumbprint.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(seed);
        let x = b64url(key.verifying_key().as_bytes());
        let thumbprint = Json::object([("crv", "Ed25519".into()), ("kty", "OKP".into()), ("x", (&*x).into())]);
        let kid = crate::Hash::of(&thumbprint.to_jcs());
        PrivateKey { kid: b64url(kid.as_bytes()).chars().take(16).collect(), key }
    }

    /// Reads a private JWK.
    pub fn from_jwk(jwk: &Jwk) -> Result<Self, KeyError> {
        let seed = jwk.d.as_deref().and_then(from_b64url).and_then(|seed| <[u8; 32]>::try_from(seed).ok());
        let key = SigningKey::from_bytes(&seed.ok_or(KeyError::NotPrivate)?);
        let fits = jwk.kty == "OKP" && jwk.crv == "Ed25519" && jwk.x == b64url(key.verifying_key().as_bytes());
        if fits { Ok(PrivateKey { kid: jwk.kid.clone(), key }) } else { Err(KeyError::NotPrivate) }
    }

    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The key with its private half, for a file that only its owner may read.
    pub fn to_private_jwk(&self) -> Jwk {
        Jwk { d: Some(b64url(self.key.as_bytes())), ..self.to_public_jwk() }
    }

    pub fn to_public_jwk(&self) -> Jwk {
        let x = b64url(self.key.verifying_key().as_bytes());
        Jwk { kty: "OKP".into(), crv: "Ed25519".into(), kid: self.kid.clone(), x, d: None }
    }

    /// A compact JWS over `payload`, with the header type `typ`.
    pub fn sign(&self, typ: &str, payload: &[u8]) -> String {
        let signing_input = format!("{}.{}", self.header(typ), b64url(payload));
        let signature = self.key.sign(signing_input.as_bytes());
        format!("{signing_input}.{}", b64url(&signature.to_bytes()))
    }

    /// A JWS whose payload travels beside it (RFC 7515 appendix F): `<header>..<signature>`.
    pub fn sign_detached(&self, typ: &str, payload: &[u8]) -> String {
        let compact = self.sign(typ, payload);
        let mut parts = compact.split('.');
        let header = parts.next().unwrap_or_default();
        format!("{header}..{}", parts.next_back().unwrap_or_default())
    }

    /// The signature over bytes that have a form of their own.
    pub(crate) fn sign_bytes(&self, bytes: &[u8]) -> [u8; 64] {
        self.key.sign(bytes).to_bytes()
    }

    pub(crate) fn public_bytes(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    fn header(&self, typ: &str) -> String {
        let header = Json::object([("alg", "EdDSA".into()), ("kid", (&*self.kid).into()), ("typ", typ.into())]);
        b64url(&header.to_jcs())
    }
}

/// Public keys that are trusted for one purpose. There is at least one, and ids are unique.
#[derive(Clone, Debug)]
pub struct Keys(Vec<(String, VerifyingKey)>);

impl Keys {
    /// Checks a set. Errors name the offending key by its place, counted from 0.
    pub fn new(jwks: &Jwks) -> Result<Self, KeyError> {
        let mut keys: Vec<(String, VerifyingKey)> = Vec::new();
        for (index, jwk) in jwks.keys.iter().enumerate() {
            if jwk.d.is_some() {
                return Err(KeyError::Private(index));
            }
            if jwk.kty != "OKP" || jwk.crv != "Ed25519" {
                return Err(KeyError::Unsupported(index));
            }
            let bytes = from_b64url(&jwk.x).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
            let key = bytes.and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok()).filter(|key| !key.is_weak());
            if keys.iter().any(|(kid, _)| *kid == jwk.kid) {
                return Err(KeyError::DuplicateId(jwk.kid.clone()));
            }
            keys.push((jwk.kid.clone(), key.ok_or(KeyError::Public(index))?));
        }
        if keys.is_empty() { Err(KeyError::Empty) } else { Ok(Keys(keys)) }
    }

    /// Whether a key of this id is trusted.
    pub fn contains(&self, kid: &str) -> bool {
        self.0.iter().any(|(other, _)| other == kid)
    }

    /// Verifies a compact JWS and returns its payload. `typ`: the type that the header must have; `None` leaves it open.
    pub fn verify(&self, token: &str, typ: Option<&'static str>) -> Result<Vec<u8>, JwsError> {
        if token.len() > MAX_TOKEN {
            return Err(JwsError::Form);
        }
        let (signing_input, signature) = token.rsplit_once('.').ok_or(JwsError::Form)?;
        let (header, payload) = signing_input.split_once('.').ok_or(JwsError::Form)?;
        let payload = from_b64url(payload).ok_or(JwsError::Form)?;
        self.check(header, signing_input.as_bytes(), signature, typ)?;
        Ok(payload)
    }

    /// Verifies a detached JWS (`<header>..<signature>`) over `payload`.
    pub fn verify_detached(&self, jws: &str, payload: &[u8], typ: &'static str) -> Result<(), JwsError> {
        let (header, signature) = jws.split_once("..").filter(|_| jws.len() <= MAX_TOKEN).ok_or(JwsError::Form)?;
        self.check(header, format!("{header}.{}", b64url(payload)).as_bytes(), signature, Some(typ))
    }

    /// The keys as their bytes, for signatures that are no JWS.
    pub(crate) fn public_bytes(&self) -> impl Iterator<Item = [u8; 32]> {
        self.0.iter().map(|(_, key)| key.to_bytes())
    }

    /// Whether the key of these bytes, which is one of them, made the signature over `text`.
    pub(crate) fn verify_bytes(&self, key: &[u8; 32], text: &[u8], signature: &[u8]) -> bool {
        let Ok(signature) = Signature::from_slice(signature) else { return false };
        self.0.iter().any(|(_, known)| known.as_bytes() == key && known.verify_strict(text, &signature).is_ok())
    }

    fn check(&self, header: &str, input: &[u8], signature: &str, typ: Option<&'static str>) -> Result<(), JwsError> {
        let header = Header::read(header)?;
        if header.alg != "EdDSA" {
            return Err(header.wrong_algorithm());
        }
        if let Some(expected) = typ.filter(|expected| header.typ.as_deref() != Some(*expected)) {
            return Err(JwsError::Type(header.typ.unwrap_or_default().chars().take(40).collect(), expected));
        }
        let (_, key) = header.choose(&self.0, |(kid, _)| Some(kid))?;
        let signature = from_b64url(signature).ok_or(JwsError::Form)?;
        let signature = Signature::from_slice(&signature).map_err(|_| JwsError::Form)?;
        key.verify_strict(input, &signature).map_err(|_| JwsError::Signature)
    }
}

#[cfg(test)]
mod tests;
