//! Who calls: an agent's token to a verified identity.

use holdgate_engine::Caller;
use holdgate_protocol::{Actor, Agent, Json, grant::LEEWAY, jws::JwsError};

use crate::{Head, config};

/// The longest delegation chain that is read.
const MAX_ACTORS: usize = 8;

/// A verified agent with the claims of its token.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) agent: Agent,
    pub(crate) caller: Actor,
    pub(crate) claims: Json,
    /// Unix seconds after which the token does not count.
    pub(crate) expires_at: u64,
}

/// Why a request has no verified identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IdentityError {
    #[error("the request carries no agent token")]
    Missing,
    #[error("the token header is not `Bearer` and one token")]
    Scheme,
    #[error("the token is not a JWT: {0}")]
    Form(&'static str),
    #[error("the token's issuer is not trusted")]
    Issuer,
    #[error("the token's signature does not count: {0}")]
    Signature(JwsError),
    #[error("the token is for another audience")]
    Audience,
    #[error("the token's claim `{0}` is missing or has the wrong form")]
    Claim(&'static str),
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYet,
}

impl Identity {
    /// The identity as the engine sees it.
    pub(crate) fn caller(&self) -> Caller<'_> {
        Caller { iss: &self.caller.iss, id: &self.caller.sub, owner: self.agent.owner.as_deref(), claims: &self.claims }
    }

    /// Whether the token still counts.
    pub(crate) fn is_valid_at(&self, now: u64) -> bool {
        now < self.expires_at.saturating_add(LEEWAY)
    }
}

/// Finds and verifies the token of a request. `now` is in Unix seconds.
pub(crate) fn identify(config: &config::Identity, head: &Head, now: u64) -> Result<Identity, IdentityError> {
    let value = head.field(&config.header).ok_or(IdentityError::Missing)?;
    let token = if config.header == "authorization" {
        let (scheme, token) = value.split_once(' ').ok_or(IdentityError::Scheme)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(IdentityError::Scheme);
        }
        token
    } else {
        value
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if token.is_empty() || !token.bytes().all(plain) {
        return Err(IdentityError::Scheme);
    }
    verify(config, token, now)
}

fn verify(config: &config::Identity, token: &str, now: u64) -> Result<Identity, IdentityError> {
    // The issuer is read before the signature is checked, and only to choose the keys that must have made it.
    let unverified = token.split('.').nth(1).and_then(holdgate_protocol::from_b64url);
    let unverified = unverified.ok_or(IdentityError::Form("no payload"))?;
    let claims = Json::parse(&unverified).map_err(|_| IdentityError::Form("the payload is not JSON"))?;
    let text = |name: &str| member(&claims, name).and_then(Json::as_str);
    let iss = text("iss").unwrap_or_default();
    let issuer = config.issuers.iter().find(|issuer| issuer.iss == iss).ok_or(IdentityError::Issuer)?;
    issuer.keys.verify(token, None).map_err(IdentityError::Signature)?;

    let for_us = match member(&claims, "aud") {
        Some(Json::String(aud)) => *aud == issuer.aud,
        Some(Json::Array(all)) => all.iter().any(|aud| aud.as_str() == Some(&issuer.aud)),
        _ => return Err(IdentityError::Claim("aud")),
    };
    if !for_us {
        return Err(IdentityError::Audience);
    }
    let expires_at = time(&claims, "exp")?.ok_or(IdentityError::Claim("exp"))?;
    let starts = [time(&claims, "nbf")?, time(&claims, "iat")?];
    if starts.into_iter().flatten().any(|start| start > now.saturating_add(LEEWAY)) {
        return Err(IdentityError::NotYet);
    }
    // An owner that is not a text is none: rules and the approval service treat it so.
    let owner = text(&issuer.owner_claim).filter(|owner| !owner.is_empty()).map(str::to_owned);
    let sub = text("sub").filter(|sub| !sub.is_empty()).ok_or(IdentityError::Claim("sub"))?.to_owned();
    let act = actors(member(&claims, "act"), iss)?;
    let agent = Agent { iss: iss.to_owned(), sub, act, owner };
    let identity = Identity { caller: agent.caller(), agent, claims, expires_at };
    if identity.is_valid_at(now) { Ok(identity) } else { Err(IdentityError::Expired) }
}

fn member<'a>(claims: &'a Json, name: &str) -> Option<&'a Json> {
    claims.as_object()?.get(name)
}

fn time(claims: &Json, name: &'static str) -> Result<Option<u64>, IdentityError> {
    let Some(value) = member(claims, name) else { return Ok(None) };
    value.as_u64().map(Some).ok_or(IdentityError::Claim(name))
}

/// The chain of `act` claims (RFC 8693 section 4.1), the outermost first.
///
/// An issuer speaks for its own agents only: an actor of another issuer, whose signature nobody has seen, is refused.
fn actors(mut act: Option<&Json>, token_issuer: &str) -> Result<Vec<Actor>, IdentityError> {
    let wrong = IdentityError::Claim("act");
    let mut chain = Vec::new();
    while let Some(actor) = act {
        let sub = member(actor, "sub").and_then(Json::as_str).filter(|sub| !sub.is_empty());
        let own = member(actor, "iss").is_none_or(|iss| iss.as_str() == Some(token_issuer));
        let Some(sub) = sub.filter(|_| own && chain.len() < MAX_ACTORS) else { return Err(wrong) };
        chain.push(Actor { iss: token_issuer.to_owned(), sub: sub.to_owned() });
        act = member(actor, "act");
    }
    Ok(chain)
}

#[cfg(test)]
mod tests;
