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

/// The most parts of one body that are replaced.
const MAX_REDACTED: usize = 1_000;

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
        let shown = head.fields().filter(|(name, _)| !secret(name));
        CapturedRequest {
            method: head.method().to_owned(),
            scheme: head.scheme().to_owned(),
            authority: head.authority().to_owned(),
            path: head.path().to_owned(),
            query: head.query().map(str::to_owned),
            fields: shown.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            body: self.body(body, requirement),
        }
    }

    fn body(&self, body: &[u8], requirement: &Requirement) -> CapturedBody {
        let size = u64::try_from(body.len()).unwrap_or(u64::MAX);
        if requirement.show.is_none() && requirement.redact.is_empty() {
            return CapturedBody { b64: Some(b64(body)), size, redacted: Vec::new() };
        }
        // What is to be hidden can be told apart in JSON only.
        let withheld = || CapturedBody { b64: None, size, redacted: vec![Pointer::root()] };
        let Ok(json) = Json::parse(body) else { return withheld() };
        let hide = requirement.redact.iter().map(Pointer::steps).collect();
        let show = requirement.show.as_ref().map(|shown| shown.iter().map(Pointer::steps).collect());
        let mut walk = Walk { redactor: self, path: Vec::new(), redacted: Vec::new() };
        let shown = walk.show(&json, hide, show);
        // So many parts to hide is no request that a person can judge by its rest.
        if walk.redacted.len() > MAX_REDACTED {
            return withheld();
        }
        CapturedBody { b64: Some(b64(&shown.to_jcs())), size, redacted: walk.redacted }
    }

    fn digest(&self, value: &Json) -> String {
        // HMAC takes keys of any length; this one is 32 bytes.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return "redacted".to_owned() };
        mac.update(&value.to_jcs());
        format!("hmac-sha-256:{}", b64url(&mac.finalize().into_bytes()))
    }
}

/// The steps that are left of a pointer below the value at hand.
type Rest<'p> = &'p [String];

/// One walk through a body. It descends only where a pointer leads, and copies whole what none of them concerns.
struct Walk<'a> {
    redactor: &'a Redactor,
    path: Vec<String>,
    redacted: Vec<Pointer>,
}

impl Walk<'_> {
    /// `hide` and `show` are the pointers that lead to this value or into it; `show` is `None` where all is to be seen.
    fn show(&mut self, value: &Json, hide: Vec<Rest<'_>>, show: Option<Vec<Rest<'_>>>) -> Json {
        let show = show.filter(|shown| !shown.iter().any(|rest| rest.is_empty()));
        if hide.iter().any(|rest| rest.is_empty()) || show.as_ref().is_some_and(Vec::is_empty) {
            return self.redact(value);
        }
        if hide.is_empty() && show.is_none() {
            return value.clone();
        }
        match value {
            Json::Object(members) => {
                let mut out = Object::default();
                for (name, member) in members.iter() {
                    out.set(name.to_owned(), self.step(name, member, &hide, show.as_ref()));
                }
                Json::Object(out)
            }
            Json::Array(items) => {
                let shown = items.iter().enumerate();
                shown.map(|(index, item)| self.step(&index.to_string(), item, &hide, show.as_ref())).collect()
            }
            // A leaf above a shown pointer: the pointer leads nowhere, and the leaf was not asked for.
            leaf if show.is_some() => self.redact(leaf),
            leaf => leaf.clone(),
        }
    }

    fn step(&mut self, name: &str, value: &Json, hide: &[Rest<'_>], show: Option<&Vec<Rest<'_>>>) -> Json {
        if self.redacted.len() > MAX_REDACTED {
            return Json::Null;
        }
        self.path.push(name.to_owned());
        let shown = self.show(value, into(hide, name), show.map(|show| into(show, name)));
        self.path.pop();
        shown
    }

    fn redact(&mut self, value: &Json) -> Json {
        self.redacted.push(Pointer::of(&self.path));
        Json::String(self.redactor.digest(value))
    }
}

/// The pointers that go on into the member or element `name`.
fn into<'p>(pointers: &[Rest<'p>], name: &str) -> Vec<Rest<'p>> {
    let below = |rest: &Rest<'p>| rest.split_first().filter(|(step, _)| *step == name).map(|(_, rest)| rest);
    pointers.iter().filter_map(below).collect()
}

#[cfg(test)]
mod tests;
