//! Keys of an identity provider in each algorithm, and tokens that they sign.

use anyhow::{Context as _, Result};
use holdgate_protocol::{b64url, from_b64url, jws::PrivateKey};
use p256::ecdsa::{Signature, SigningKey, signature::Signer as _};
use rsa::{BoxedUint, Pkcs1v15Sign, RsaPrivateKey, traits::PublicKeyParts as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The primes of the key in RFC 7515 appendix A.2.1, which everybody has: it takes seconds to find others.
const P: &str = "4BzEEOtIpmVdVEZNCqS7baC4crd0pqnRH_5IB3jw3bcxGn6QLvnEtfdUdiYrqBdss1l58BQ3KhooKeQTa9AB0Hw_Py5PJdTJNPY8cQn7ouZ2KKDcmnPGBY5t7yLc1QlQ5xHdwW1VhvKn-nXqhJTBgIPgtldC-KDV5z-y2XDwGUc";
const Q: &str = "uQPEfgmVtjL0Uyyx88GZFF1fOunH3-7cepKmtH4pxhtCoHqpWmT8YAmZxaewHgHAjLYsp1ZSe7zFYHj7C6ul7TjeLQeZD_YwD66t62wDmpe_HlB-TnBA-njbglfIsRLtXlnDzQkv5dTltRJ11BKBBypeeF6689rjcJIDEz9RWdc";

/// What stands in front of a SHA-256 in a PKCS#1 signature (RFC 8017 section 9.2, note 1).
const DIGEST_INFO: &[u8] = b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20";

/// A key of an identity provider.
pub enum Signer {
    EdDsa(PrivateKey),
    Es256(String, SigningKey),
    Rs256(String, RsaPrivateKey),
}

impl Signer {
    pub fn eddsa(seed: u8) -> Self {
        Signer::EdDsa(PrivateKey::from_seed(&[seed; 32]))
    }

    /// A key of P-256; `seed` is not 0.
    pub fn es256(kid: &str, seed: u8) -> Result<Self> {
        Ok(Signer::Es256(kid.to_owned(), SigningKey::from_slice(&[seed; 32])?))
    }

    /// The one RSA key that there is, under any id.
    pub fn rs256(kid: &str) -> Result<Self> {
        let prime = |text: &str| from_b64url(text).map(|bytes| BoxedUint::from_be_slice_vartime(&bytes));
        let (p, q) = prime(P).zip(prime(Q)).context("no primes")?;
        Ok(Signer::Rs256(kid.to_owned(), RsaPrivateKey::from_p_q(p, q, BoxedUint::from(65_537_u32))?))
    }

    /// The public half.
    pub fn jwk(&self) -> Value {
        match self {
            Signer::EdDsa(key) => json!(key.to_public_jwk()),
            Signer::Es256(kid, key) => {
                let point = key.verifying_key().to_sec1_point(false);
                let half = |half: Option<&[u8]>| b64url(half.unwrap_or_default());
                let (x, y) = (half(point.x().map(|x| &**x)), half(point.y().map(|y| &**y)));
                json!({"kty": "EC", "crv": "P-256", "kid": kid, "alg": "ES256", "use": "sig", "x": x, "y": y})
            }
            Signer::Rs256(kid, key) => {
                let (n, e) = (b64url(&key.n_bytes()), b64url(&key.e_bytes()));
                json!({"kty": "RSA", "kid": kid, "alg": "RS256", "use": "sig", "n": n, "e": e})
            }
        }
    }

    /// A token with these claims.
    pub fn token(&self, claims: &Value) -> Result<String> {
        let claims = claims.to_string();
        let (alg, kid) = match self {
            Signer::EdDsa(key) => return Ok(key.sign("at+jwt", claims.as_bytes())),
            Signer::Es256(kid, _) => ("ES256", kid),
            Signer::Rs256(kid, _) => ("RS256", kid),
        };
        let header = json!({"alg": alg, "kid": kid, "typ": "at+jwt"}).to_string();
        let input = format!("{}.{}", b64url(header.as_bytes()), b64url(claims.as_bytes()));
        Ok(format!("{input}.{}", b64url(&self.signature(input.as_bytes())?)))
    }

    fn signature(&self, text: &[u8]) -> Result<Vec<u8>> {
        match self {
            Signer::EdDsa(_) => anyhow::bail!("signed by its own code"),
            Signer::Es256(_, key) => {
                let signature: Signature = key.sign(text);
                Ok(signature.to_bytes().to_vec())
            }
            Signer::Rs256(_, key) => {
                let info = [DIGEST_INFO, &Sha256::digest(text)].concat();
                Ok(key.sign(Pkcs1v15Sign::new_unprefixed(), &info)?)
            }
        }
    }
}
