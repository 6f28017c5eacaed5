//! An identity provider: mints agents' tokens, good and bad ones.

use anyhow::Result;
use holdgate_protocol::{b64url, jws::PrivateKey};
use serde_json::{Value, json};

use crate::now;

/// The audience that the gateway expects.
pub const AUDIENCE: &str = "https://api.example";

/// Signs tokens as one issuer.
pub struct Issuer {
    pub iss: String,
    key: PrivateKey,
}

impl Issuer {
    /// An issuer with a new key.
    pub fn new(iss: &str) -> Result<Self> {
        Ok(Issuer { iss: iss.to_owned(), key: new_key()? })
    }

    /// The public keys, as they stand in the plugin configuration.
    pub fn jwks(&self) -> Value {
        json!({"keys": [self.key.to_public_jwk()]})
    }

    /// A token for an hour. `claims` are set over the usual ones; a null takes one away.
    pub fn token(&self, claims: Value) -> String {
        self.sign(self.claims(claims).to_string().as_bytes())
    }

    /// A token with exactly these bytes as its claims.
    pub fn sign(&self, claims: &[u8]) -> String {
        self.key.sign("at+jwt", claims)
    }

    /// The same claims in a token that nobody signed.
    pub fn unsigned_token(&self, claims: Value) -> String {
        let header = json!({"alg": "none", "typ": "JWT"}).to_string();
        format!("{}.{}.", b64url(header.as_bytes()), b64url(self.claims(claims).to_string().as_bytes()))
    }

    fn claims(&self, claims: Value) -> Value {
        let now = now();
        let mut all = json!({"iss": self.iss, "aud": AUDIENCE, "iat": now, "exp": now + 3600});
        merge(&mut all, claims);
        all
    }
}

/// A new signing key.
pub fn new_key() -> Result<PrivateKey> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| anyhow::anyhow!("no random bytes: {error}"))?;
    Ok(PrivateKey::from_seed(&seed))
}

/// JSON merge patch (RFC 7396): objects are merged, a null removes, anything else replaces.
pub fn merge(target: &mut Value, patch: Value) {
    let Value::Object(members) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Value::Object(object) = target else { return };
    for (name, value) in members {
        if value.is_null() {
            object.remove(&name);
        } else {
            merge(object.entry(name).or_insert(Value::Null), value);
        }
    }
}
