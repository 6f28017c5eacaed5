//! SPIFFE IDs (SPIFFE-ID specification, sections 2 and 3) of certificates that the proxy has validated.

use holdgate_protocol::{Actor, Agent, Json};

use super::{Identity, IdentityError};
use crate::config;

/// The longest SPIFFE ID, in bytes.
const MAX_ID: usize = 2_048;

/// Whether a text can be the name of a trust domain.
pub(crate) fn is_trust_domain(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    !text.is_empty() && text.len() <= 255 && text.bytes().all(plain)
}

/// The agent of a certificate. `peer` is what the host says of it once the proxy has validated it: the end of its validity in
/// Unix seconds, a blank, and its only URI.
pub(super) fn identity(config: &config::Spiffe, peer: &str) -> Result<Identity, IdentityError> {
    let (expires_at, id) = peer.split_once(' ').ok_or(IdentityError::Certificate)?;
    let expires_at = expires_at.parse().map_err(|_| IdentityError::Certificate)?;
    let (domain, path) = parts(id).ok_or(IdentityError::Certificate)?;
    if path.is_empty() || !config.trust_domains.iter().any(|trusted| trusted == domain) {
        return Err(IdentityError::Certificate);
    }
    let iss = format!("spiffe://{domain}");
    let caller = Actor { iss: iss.clone(), sub: id.to_owned() };
    let claims = Json::object([("iss", (&*iss).into()), ("sub", id.into())]);
    let agent = Agent { iss, sub: id.to_owned(), act: Vec::new(), owner: config.owner.clone() };
    Ok(Identity::new(agent, caller, claims, expires_at))
}

/// Trust domain and path of a SPIFFE ID.
fn parts(id: &str) -> Option<(&str, &str)> {
    let rest = id.strip_prefix("spiffe://").filter(|_| id.len() <= MAX_ID)?;
    let (domain, path) = rest.split_once('/')?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let segment = |segment: &str| !["", ".", ".."].contains(&segment) && segment.bytes().all(plain);
    (is_trust_domain(domain) && path.split('/').all(segment)).then_some((domain, path))
}
