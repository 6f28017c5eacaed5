//! Public keys of the three algorithms, and what each of them takes for a signature.

use ed25519_dalek::{Signature as Ed25519Signature, VerifyingKey as Ed25519Key};
use p256::ecdsa::{Signature as P256Signature, VerifyingKey as P256Key, signature::Verifier as _};

use super::rsa;
use crate::{Json, from_b64url, json::Object};

/// A signature algorithm of agents' tokens (RFC 7518 section 3, RFC 8037 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    EdDsa,
    Es256,
    Rs256,
}

impl Algorithm {
    /// The algorithm of that name in a JOSE header; `None` for all that are not supported.
    pub fn of_name(name: &str) -> Option<Self> {
        [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256].into_iter().find(|known| known.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Algorithm::EdDsa => "EdDSA",
            Algorithm::Es256 => "ES256",
            Algorithm::Rs256 => "RS256",
        }
    }
}

/// How a host verifies signatures with SHA-256: algorithm, key as DER SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7),
/// signature (PKCS#1, or DER for ECDSA), text. `None`: it cannot.
pub type HostVerify<'a> = dyn FnMut(Algorithm, &[u8], &[u8], &[u8]) -> Option<bool> + 'a;

/// A public key that was checked and needs no further parsing.
#[derive(Clone, Debug)]
pub struct PublicKey(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Ed25519(Box<Ed25519Key>),
    P256 { key: Box<P256Key>, spki: Vec<u8> },
    Rsa { key: rsa::PublicKey, spki: Vec<u8> },
}

/// Members of a JWK that hold secrets (RFC 7518 section 6).
const SECRETS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// AlgorithmIdentifier ecPublicKey with P-256, and the start of the point: what stands before x and y.
const P256_SPKI: &[u8] =
    b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";

impl PublicKey {
    /// Reads a JWK for verifying. The error says what it is not.
    pub fn of_jwk(jwk: &Object) -> Result<Self, &'static str> {
        if SECRETS.iter().any(|name| jwk.get(name).is_some()) {
            return Err("it contains a private key; give the public half only");
        }
        if jwk.get("use").is_some_and(|usage| usage.as_str() != Some("sig")) {
            return Err("`use` must be `sig`");
        }
        let verifies = |operations: &Json| match operations {
            Json::Array(all) => all.iter().any(|operation| operation.as_str() == Some("verify")),
            _ => false,
        };
        if jwk.get("key_ops").is_some_and(|operations| !verifies(operations)) {
            return Err("`key_ops` must contain `verify`");
        }
        let text = |name: &str| jwk.get(name).and_then(Json::as_str).unwrap_or_default();
        let bytes = |name: &str| from_b64url(text(name)).unwrap_or_default();
        let key = PublicKey(match (text("kty"), text("crv")) {
            ("OKP", "Ed25519") => {
                let x = <[u8; 32]>::try_from(bytes("x")).ok();
                let key = x.and_then(|x| Ed25519Key::from_bytes(&x).ok()).filter(|key| !key.is_weak());
                Kind::Ed25519(Box::new(key.ok_or("`x` is not the base64url of an Ed25519 public key")?))
            }
            ("EC", "P-256") => {
                let point = [&[4], &*bytes("x"), &*bytes("y")].concat();
                let key = Some(&*point).filter(|point| point.len() == 65 && bytes("x").len() == 32);
                let key = key.and_then(|point| P256Key::from_sec1_bytes(point).ok());
                let key = Box::new(key.ok_or("`x` and `y` are not a point of P-256, 32 bytes each, in base64url")?);
                Kind::P256 { key, spki: [P256_SPKI, &point].concat() }
            }
            ("RSA", _) => {
                let key = rsa::PublicKey::new(&bytes("n"), &bytes("e"));
                let key = key.ok_or("`n` and `e` are not an RSA key of 2048 to 4096 bits")?;
                Kind::Rsa { spki: key.to_spki(), key }
            }
            _ => return Err("kty and crv must be `OKP` and `Ed25519`, `EC` and `P-256`, or kty `RSA`"),
        });
        match jwk.get("alg") {
            Some(alg) if alg.as_str() != Some(key.algorithm().name()) => Err("`alg` is not the one of such keys"),
            _ => Ok(key),
        }
    }

    pub fn algorithm(&self) -> Algorithm {
        match &self.0 {
            Kind::Ed25519(_) => Algorithm::EdDsa,
            Kind::P256 { .. } => Algorithm::Es256,
            Kind::Rsa { .. } => Algorithm::Rs256,
        }
    }

    /// Whether this key made the signature over the text. `None`: no signature of this algorithm looks like that.
    ///
    /// The form is checked here before a host is asked, so that it does not matter who verifies.
    pub fn verify(&self, text: &[u8], signature: &[u8], host: &mut HostVerify<'_>) -> Option<bool> {
        match &self.0 {
            Kind::Ed25519(key) => {
                let signature = Ed25519Signature::from_slice(signature).ok()?;
                Some(key.verify_strict(text, &signature).is_ok())
            }
            Kind::P256 { key, spki } => {
                // r and s are 32 bytes each (RFC 7518 section 3.4), neither 0 nor above the order of the group.
                let checked = P256Signature::from_slice(signature).ok()?;
                let answer = host(Algorithm::Es256, spki, &ecdsa_der(signature), text);
                Some(answer.unwrap_or_else(|| key.verify(text, &checked).is_ok()))
            }
            Kind::Rsa { key, spki } => {
                let checked = key.signature(signature)?;
                let answer = host(Algorithm::Rs256, spki, signature, text);
                Some(answer.unwrap_or_else(|| key.verify(text, &checked)))
            }
        }
    }
}

/// r and s side by side as an ASN.1 SEQUENCE of two INTEGERs (RFC 3279 section 2.2.3).
fn ecdsa_der(signature: &[u8]) -> Vec<u8> {
    let (r, s) = signature.split_at_checked(32).unwrap_or_default();
    der(0x30, &[integer(r), integer(s)].concat())
}

/// A DER element with a length of up to 65,535 bytes.
pub(super) fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let [.., high, low] = content.len().to_be_bytes();
    let mut out = match (high, low) {
        (0, 0..=127) => vec![tag, low],
        (0, _) => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    out.extend_from_slice(content);
    out
}

/// A DER INTEGER of an unsigned number: as few bytes as there can be, and the first bit is 0.
pub(super) fn integer(number: &[u8]) -> Vec<u8> {
    let start = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
    let digits = number.get(start..).unwrap_or_default();
    let negative = digits.first().is_none_or(|first| first & 0x80 != 0);
    der(0x02, &[if negative { &[0_u8] } else { &[][..] }, digits].concat())
}
