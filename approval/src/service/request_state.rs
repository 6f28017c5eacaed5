//! What others keep for the service and hand back: for MCP clients the state of a hold, with their retry.

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
        format!("hg1.{}", self.vouch(&format!("{}\n{}", hold.terms.id, hold.terms.agent_key)))
    }

    /// An HMAC-SHA-256 over a text, in base64url: that the service, or another instance of it, has made the text itself.
    pub fn vouch(&self, text: &str) -> String {
        // HMAC takes keys of any length; this one is 32 bytes.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.keys().states.as_bytes()) else { return String::new() };
        mac.update(text.as_bytes());
        b64url(&mac.finalize().into_bytes())
    }
}
