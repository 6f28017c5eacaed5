//! The keys of cases: made from fixed seeds, so that every run has the same.

use holdgate_protocol::jws::{Jwks, PrivateKey};

/// Signs bundles, as the authors of policies do.
pub fn authors() -> PrivateKey {
    PrivateKey::from_seed(&[1; 32])
}

/// Signs grants, as the approval service does.
pub fn grants() -> PrivateKey {
    PrivateKey::from_seed(&[2; 32])
}

/// Signs agents' tokens, as their issuer does.
pub fn issuer() -> PrivateKey {
    PrivateKey::from_seed(&[3; 32])
}

/// A key that nobody trusts.
pub fn stranger() -> PrivateKey {
    PrivateKey::from_seed(&[9; 32])
}

/// The public half as a key set.
pub fn public(key: &PrivateKey) -> Jwks {
    Jwks { keys: vec![key.to_public_jwk()] }
}
