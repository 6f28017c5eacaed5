//! Ed25519 keys as JWKs (RFC 8037) and signatures in JWS form (RFC 7515): agents' tokens, grants and bundles.
//!
//! The algorithm is a property of the pinned key. What a header says of it must agree and decides nothing;
//! `none`, `jwk`, `jku`, `x5u` and critical extensions find no code here that would follow them.

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::Serialize;

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
    #[error("the header names the algorithm `{0}`; expected `EdDSA`")]
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
    #[error("the key id `{0}` stands there twice")]
    DuplicateId(String),
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

    fn check(&self, header: &str, input: &[u8], signature: &str, typ: Option<&'static str>) -> Result<(), JwsError> {
        let header = from_b64url(header).ok_or(JwsError::Form)?;
        let header = Json::parse(&header).map_err(|_| JwsError::Header)?;
        let header = header.as_object().ok_or(JwsError::Header)?;
        let text = |name: &str| header.get(name).and_then(Json::as_str);
        if header.get("crit").is_some() {
            return Err(JwsError::Critical);
        }
        let algorithm = text("alg").unwrap_or_default();
        if algorithm != "EdDSA" {
            return Err(JwsError::Algorithm(algorithm.chars().take(40).collect()));
        }
        if let Some(expected) = typ {
            let found = text("typ").unwrap_or_default();
            if found != expected {
                return Err(JwsError::Type(found.chars().take(40).collect(), expected));
            }
        }
        let key = match (header.get("kid"), self.0.as_slice()) {
            (Some(Json::String(kid)), keys) => keys.iter().find(|(other, _)| other == kid),
            (None, [only]) => Some(only),
            (None, _) => return Err(JwsError::NoKeyId),
            (Some(_), _) => return Err(JwsError::Header),
        };
        let unknown = || JwsError::UnknownKey(text("kid").unwrap_or_default().chars().take(64).collect());
        let (_, key) = key.ok_or_else(unknown)?;
        let signature = from_b64url(signature).ok_or(JwsError::Form)?;
        let signature = Signature::from_slice(&signature).map_err(|_| JwsError::Form)?;
        key.verify_strict(input, &signature).map_err(|_| JwsError::Signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8037 appendix A: key, header and signature.
    #[test]
    fn rfc_8037_example_verifies() {
        let jwk = Jwk {
            kty: "OKP".into(),
            crv: "Ed25519".into(),
            kid: "rfc".into(),
            x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".into(),
            d: None,
        };
        let keys = Keys::new(&Jwks { keys: vec![jwk.clone()] }).unwrap();
        let token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.\
                     hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        assert_eq!(keys.verify(token, None).unwrap(), b"Example of Ed25519 signing");
        let seed = from_b64url("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
        let private = PrivateKey::from_seed(&seed.try_into().unwrap());
        assert_eq!(private.to_public_jwk().x, jwk.x);
        // RFC 8037 appendix A.3: the thumbprint is kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k.
        assert_eq!(private.kid(), "kPrK_qmxVWaYVA9w");
    }

    fn pair() -> (PrivateKey, Keys) {
        let private = PrivateKey::from_seed(&[7; 32]);
        let keys = Keys::new(&Jwks { keys: vec![private.to_public_jwk()] }).unwrap();
        (private, keys)
    }

    #[test]
    fn every_changed_character_of_a_token_breaks_it() {
        let (private, keys) = pair();
        let token = private.sign("t", b"payload");
        assert_eq!(keys.verify(&token, Some("t")).unwrap(), b"payload");
        for index in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
            assert!(keys.verify(std::str::from_utf8(&bytes).unwrap(), Some("t")).is_err(), "at {index}");
        }
    }

    #[test]
    fn forged_headers_are_refused() {
        let (private, keys) = pair();
        let forge = |header: &str| {
            let input = format!("{}.{}", b64url(header.as_bytes()), b64url(b"payload"));
            let signature = private.key.sign(input.as_bytes());
            format!("{input}.{}", b64url(&signature.to_bytes()))
        };
        let refused = |header: &str| keys.verify(&forge(header), None).unwrap_err();
        assert!(keys.verify(&forge(r#"{"alg":"EdDSA"}"#), None).is_ok());
        assert_eq!(refused(r#"{"alg":"none"}"#), JwsError::Algorithm("none".into()));
        assert_eq!(refused(r#"{"alg":"HS256"}"#), JwsError::Algorithm("HS256".into()));
        assert_eq!(refused(r#"{"alg":"none","alg":"EdDSA"}"#), JwsError::Header);
        assert_eq!(refused(r#"{"alg":"EdDSA","crit":["b64"],"b64":false}"#), JwsError::Critical);
        assert_eq!(refused(r#"{"alg":"EdDSA","kid":"other"}"#), JwsError::UnknownKey("other".into()));
        assert_eq!(refused(r#"{"alg":"EdDSA","kid":7}"#), JwsError::Header);
        let empty_signature = format!("{}.{}.", b64url(br#"{"alg":"none"}"#), b64url(b"payload"));
        assert_eq!(keys.verify(&empty_signature, None), Err(JwsError::Algorithm("none".into())));
        assert!(matches!(keys.verify(&private.sign("other", b"x"), Some("t")), Err(JwsError::Type(..))));
        assert_eq!(keys.verify("a.b", None), Err(JwsError::Form));
        assert_eq!(keys.verify(&"a".repeat(MAX_TOKEN + 1), None), Err(JwsError::Form));
    }

    #[test]
    fn detached_signature_covers_the_payload() {
        let (private, keys) = pair();
        let jws = private.sign_detached("t", b"bundle");
        assert_eq!(keys.verify_detached(&jws, b"bundle", "t"), Ok(()));
        assert_eq!(keys.verify_detached(&jws, b"bundlf", "t"), Err(JwsError::Signature));
        let stranger = PrivateKey::from_seed(&[8; 32]).sign_detached("t", b"bundle");
        assert!(matches!(keys.verify_detached(&stranger, b"bundle", "t"), Err(JwsError::UnknownKey(_))));
    }

    #[test]
    fn key_sets_with_private_or_foreign_keys_are_refused() {
        let private = PrivateKey::from_seed(&[7; 32]);
        let public = private.to_public_jwk();
        let check = |keys: Vec<Jwk>| Keys::new(&Jwks { keys }).map(|_| ()).unwrap_err();
        assert_eq!(check(vec![]), KeyError::Empty);
        assert_eq!(check(vec![private.to_private_jwk()]), KeyError::Private(0));
        assert_eq!(check(vec![Jwk { crv: "X25519".into(), ..public.clone() }]), KeyError::Unsupported(0));
        assert_eq!(check(vec![Jwk { x: b64url(&[0; 32]), ..public.clone() }]), KeyError::Public(0));
        assert_eq!(check(vec![public.clone(), public.clone()]), KeyError::DuplicateId(public.kid.clone()));
        let read = PrivateKey::from_jwk(&private.to_private_jwk()).unwrap();
        assert_eq!(read.to_public_jwk(), public);
        assert_eq!(PrivateKey::from_jwk(&public).err(), Some(KeyError::NotPrivate));
    }
}
