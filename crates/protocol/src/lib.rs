//! What crosses a wire between Holdgate's parts: messages, digests, hashes and signatures.
//!
//! This crate knows no engine, no host and no database. Requests refuse members that they do not know
//! (`deny_unknown_fields`); answers ignore them, so that a newer service can add some.

pub mod agent;
pub mod audit;
pub mod bundle;
pub mod checkpoint;
pub mod digest;
pub mod duration;
pub mod gateway;
pub mod grant;
pub mod hash;
pub mod json;
pub mod jws;
pub mod ledger;
pub mod mcp;
pub mod merkle;
pub mod requirement;
pub mod shown;
pub mod sort;

pub use agent::{Actor, Agent};
pub use hash::Hash;
pub use json::{Json, Pointer};
pub use requirement::{Escalation, Factor, Requirement, RuleRef};

/// Encodes bytes as base64url without padding (RFC 4648 section 5).
pub fn b64url(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// Decodes base64url without padding; `None` for anything else, non-zero trailing bits included.
pub fn from_b64url(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).ok()
}

/// Encodes bytes as standard base64 with padding (RFC 4648 section 4), as bodies travel.
pub fn b64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Decodes standard base64 with padding.
pub fn from_b64(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}
