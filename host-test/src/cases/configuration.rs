//! The usual configuration of the filter, over which cases set theirs.

use serde_json::{Value, json};

use super::{driver::CLUSTER, keys};

/// The gateway group.
pub const GROUP: &str = "edge";

/// The agents' issuer, and for whom its tokens are.
pub const ISSUER: &str = "https://idp.example";
pub const AUDIENCE: &str = "https://api.example";

/// The configuration of a filter that fetches its policy.
pub fn usual() -> Value {
    json!({
        "group": GROUP,
        "approval": {"cluster": CLUSTER, "authority": "approval.internal"},
        "identity": {"issuers": [{
            "iss": ISSUER, "aud": AUDIENCE, "algs": ["EdDSA"], "jwks": keys::public(&keys::issuer()),
            "owner_claim": "owner", "owner_issuer": ISSUER,
        }]},
        "bundle_keys": keys::public(&keys::authors()),
        "grant_keys": keys::public(&keys::grants()),
    })
}
