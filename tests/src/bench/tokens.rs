//! Agents' tokens in each algorithm, as many different ones as are asked for.

use anyhow::{Context as _, Result};
use holdgate_protocol::b64url;
use p256::ecdsa::{Signature, SigningKey, signature::Signer as _};
use rsa::{BoxedUint, Pkcs1v15Sign, RsaPrivateKey, traits::PublicKeyParts as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    identity::{AUDIENCE, Issuer, merge},
    now,
    stack::{ISSUER, usual_claims},
};

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Algorithm {
    EdDsa,
    Es256,
    Rs256,
}

/// The primes of a key that signs for nobody but these measurements.
const P: &str = "dc85ed66ce604fc74dc79a12790f4e0aa87ba16853fb6a0bd4163647a706f526270203cf213f912bd1403cf24d2ef1c7407344c6609d7f66a58ba4af0656cd52\
     c81e6006a2bebee76ecf3e12fe388bc9975aba3cfedbdc6e86af2aab700e94dd36015fe3d0287364b40f32646b21ee01752f818816d5ab9d489a030266f33943";
const Q: &str = "c7707a4b57e7426b9b6027563e580d10204f880b160b3c6be236c73c9f0129bf5dd4317f05a5148eed3f4a0cdca0eb641e13041848f182885da7dc29e2690510\
     a70d9040b38d04ad448cd1aa3dc5ae9b410d389a1f1723cd02cb5dd46a27e6ee360a3d660dd4eb299591f8f4700a219de0d6912821bd286a46bd4867d65979ed";
const PRIME_BITS: u32 = 1024;

/// What stands in front of a SHA-256 in a PKCS #1 signature (RFC 8017 section 9.2, note 1).
const SHA256_PREFIX: [u8; 19] =
    [0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20];

impl Algorithm {
    pub(super) fn name(self) -> &'static str {
        match self {
            Algorithm::EdDsa => "EdDSA",
            Algorithm::Es256 => "ES256",
            Algorithm::Rs256 => "RS256",
        }
    }

    /// The public key of ES256 or RS256; EdDSA's is the stack's own issuer's.
    pub(super) fn jwks(self) -> Result<Value> {
        let key = match self {
            Algorithm::Rs256 => {
                let key = rsa_key()?;
                let (n, e) = (key.n_bytes(), key.e_bytes());
                json!({"kty": "RSA", "kid": "bench", "alg": "RS256", "n": b64url(&n), "e": b64url(&e)})
            }
            _ => {
                let point = ec_key()?.verifying_key().to_sec1_point(false);
                let (x, y) = (point.x().context("no x")?, point.y().context("no y")?);
                json!({"kty": "EC", "crv": "P-256", "kid": "bench", "alg": "ES256", "x": b64url(x), "y": b64url(y)})
            }
        };
        Ok(json!({"keys": [key]}))
    }

    /// So many tokens of the usual agent, each another one.
    pub(super) fn tokens(self, issuer: &Issuer, count: usize) -> Result<Vec<String>> {
        let (ec, rsa) = (ec_key()?, rsa_key()?);
        let sign = |index: usize| -> Result<String> {
            let mut claims = usual_claims(json!({"jti": format!("{index:08}")}));
            if self == Algorithm::EdDsa {
                return Ok(issuer.token(claims));
            }
            let (header, now) = (json!({"alg": self.name(), "kid": "bench", "typ": "at+jwt"}), now());
            merge(&mut claims, json!({"iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + 3600}));
            let text = format!("{}.{}", b64url(header.to_string().as_bytes()), b64url(claims.to_string().as_bytes()));
            let signature = if self == Algorithm::Rs256 {
                let hash = [SHA256_PREFIX.as_slice(), &Sha256::digest(text.as_bytes())].concat();
                rsa.sign(Pkcs1v15Sign::new_unprefixed(), &hash)?
            } else {
                let signature: Signature = ec.sign(text.as_bytes());
                signature.to_bytes().to_vec()
            };
            Ok(format!("{text}.{}", b64url(&signature)))
        };
        (0..count).map(sign).collect()
    }
}

fn ec_key() -> Result<SigningKey> {
    SigningKey::from_slice(&[7; 32]).context("no key")
}

fn rsa_key() -> Result<RsaPrivateKey> {
    let prime = |hex: &str| Option::from(BoxedUint::from_be_hex(hex, PRIME_BITS)).context("no prime");
    Ok(RsaPrivateKey::from_p_q(prime(P)?, prime(Q)?, BoxedUint::from(65_537_u32))?)
}
