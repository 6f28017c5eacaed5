//! What a hold's answer carries for MCP clients, which hand it back with their retry.

use hmac::{Hmac, KeyInit as _, Mac as _};
use holdgate_protocol::b64url;
use sha2::Sha256;

use super::Service;
use crate::domain::Hold;

impl Service {
    /// `hg1.` and an HMAC-SHA-256 over the hold's id and its agent's key, 47 characters in all.
    ///
    /// It tells nothing, cannot be guessed, and is the same each time, so that whoever has the key can tell whether a
    /// text is that of a hold. Nothing depends on it: a retry finds its hold by the digest of its own bytes.
    pub fn request_state(&self, hold: &Hold) -> String {
        // HMAC takes keys of any length; this one is 32 bytes.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.keys().states.as_bytes()) else {
            return "hg1.".to_owned();
        };
        mac.update(format!("{}\n{}", hold.terms.id, hold.terms.agent_key).as_bytes());
        format!("hg1.{}", b64url(&mac.finalize().into_bytes()))
    }
}
