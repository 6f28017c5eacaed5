//! What of a request leaves the filter for reviewers' eyes: without credentials, redacted by rule.

use hmac::{Hmac, KeyInit as _, Mac as _};
use holdgate_protocol::{
    Json, Pointer, Requirement, b64, b64url,
    gateway::{CapturedBody, CapturedRequest},
    json::Object,
};
use sha2::{Digest as _, Sha256};

use crate::Head;

/// Fields that carry credentials and never leave the filter.
const SECRET_FIELDS: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

/// Replaces values by an HMAC, so that a reviewer sees whether two are equal and not what they are.
pub(crate) struct Redactor {
    key: [u8; 32],
}

impl Redactor {
    /// The key derives from the gateway's credential: all replicas of a group show one value alike.
    pub(crate) fn new(credential: &str) -> Self {
        Redactor { key: Sha256::digest(format!("holdgate redaction\n{credential}")).into() }
    }

    /// Captures a request. `token_header` carries the agent's token.
    pub(crate) fn capture(
        &self,
        head: &Head,
        body: &[u8],
        requirement: &Requirement,
        token_header: &str,
    ) -> CapturedRequest {
        let secret = |name: &str| name == token_header || SECRET_FIELDS.contains(&name);
        CapturedRequest {
            method: head.method.clone(),
            scheme: head.scheme.clone(),
            authority: head.authority.clone(),
            path: head.path.clone(),
            query: head.query.clone(),
            fields: head.fields.iter().filter(|(name, _)| !secret(name)).cloned().collect(),
            body: self.body(body, requirement),
        }
    }

    fn body(&self, body: &[u8], requirement: &Requirement) -> CapturedBody {
        let size = u64::try_from(body.len()).unwrap_or(u64::MAX);
        if requirement.show.is_none() && requirement.redact.is_empty() {
            return CapturedBody { b64: Some(b64(body)), size, redacted: Vec::new() };
        }
        // What is to be hidden can be told apart in JSON only.
        let Ok(json) = Json::parse(body) else {
            return CapturedBody { b64: None, size, redacted: vec![Pointer::root()] };
        };
        let mut redacted = Vec::new();
        let shown = self.show(&json, &Pointer::root(), requirement, &mut redacted);
        CapturedBody { b64: Some(b64(&shown.to_jcs())), size, redacted }
    }

    fn show(&self, value: &Json, at: &Pointer, requirement: &Requirement, redacted: &mut Vec<Pointer>) -> Json {
        let hidden = requirement.redact.iter().any(|pointer| pointer.contains(at));
        let wanted = requirement.show.as_ref();
        let whole = wanted.is_none_or(|shown| shown.iter().any(|pointer| pointer.contains(at)));
        let partly = wanted.is_some_and(|shown| shown.iter().any(|pointer| at.contains(pointer)));
        if hidden || !(whole || partly) {
            redacted.push(at.clone());
            return Json::String(self.digest(value));
        }
        match value {
            Json::Object(members) => {
                let mut out = Object::default();
                for (name, member) in members.iter() {
                    out.set(name.to_owned(), self.show(member, &at.child(name), requirement, redacted));
                }
                Json::Object(out)
            }
            Json::Array(items) => {
                let shown = items.iter().enumerate();
                shown
                    .map(|(index, item)| self.show(item, &at.child(&index.to_string()), requirement, redacted))
                    .collect()
            }
            // A leaf above a shown pointer: the pointer leads nowhere, and the leaf was not asked for.
            leaf if !whole => {
                redacted.push(at.clone());
                Json::String(self.digest(leaf))
            }
            leaf => leaf.clone(),
        }
    }

    fn digest(&self, value: &Json) -> String {
        // HMAC takes keys of any length; this one is 32 bytes.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return "redacted".to_owned() };
        mac.update(&value.to_jcs());
        format!("hmac-sha-256:{}", b64url(&mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests;
