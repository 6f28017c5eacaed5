//! Who calls: an agent's token, or a certificate that the proxy has validated, to a verified identity.

mod cache;
mod keys;
mod spiffe;

use std::{collections::HashSet, rc::Rc};

use holdgate_engine::Caller;
use holdgate_protocol::{
    Actor, Agent, Hash, Json,
    grant::LEEWAY,
    jws::{Algorithm, Compact, JwsError, host_agrees},
};

use crate::{
    Head, Host,
    config::{self, Issuer, KeyPlace},
    gate::Answer,
};
use cache::{Entry, TokenCache};
use keys::{Keys, Unknown};

pub(crate) use spiffe::is_trust_domain;

/// The longest delegation chain that is read.
const MAX_ACTORS: usize = 8;

/// Milliseconds between two looks for remembered tokens that have expired.
const SWEEP: u64 = 30_000;

/// Types of tokens that name an agent (RFC 7519 section 5.1, RFC 9068 section 2.1), in lower case. What an issuer signs
/// for another purpose has another type (RFC 8725 section 3.11), as grants and bundles have.
const TYPES: [&str; 5] = ["jwt", "jose", "at+jwt", "application/at+jwt", "application/jwt"];

/// A verified agent with the claims of its token.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) agent: Agent,
    pub(crate) caller: Actor,
    /// The agent as JSON, which each record of its requests repeats.
    pub(crate) json: Vec<u8>,
    pub(crate) claims: Json,
    /// Unix seconds after which the token does not count: its own end, or the one that its issuer's limits set.
    pub(crate) expires_at: u64,
    /// The issuer, by its place in the configuration, and the generation of its keys that verified the token; `None`
    /// for an agent that is named by its certificate.
    signed_by: Option<(usize, u32)>,
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
    #[error("the token does not say when its credential was issued")]
    CredentialTime,
    #[error("the token has expired")]
    Expired,
    #[error("the token, or the credential behind it, is older than the gateway allows")]
    TooOld,
    #[error("the token is not valid yet")]
    NotYet,
    #[error("the client certificate names no agent that is trusted")]
    Certificate,
    /// Not the caller's fault: try again later.
    #[error("the keys of the token's issuer cannot be had now")]
    KeysUnavailable,
    /// The keys of this issuer are on their way, and the request is to wait for them.
    #[error("the keys of the token's issuer are being fetched")]
    AwaitKeys(usize),
}

/// How often what happened, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdentityFigures {
    /// Tokens that were known already.
    pub cache_hits: u64,
    pub cache_misses: u64,
    /// Signatures that were verified, and those of them that the host verified.
    pub verifications: u64,
    pub verified_by_host: u64,
    /// Answers to fetches of key sets, and those that brought none.
    pub key_fetches: u64,
    pub failed_key_fetches: u64,
}

/// What is known of agents: the keys of their issuers, and the tokens that were verified.
pub(crate) struct Identities {
    /// By the places of the issuers in the configuration.
    keys: Vec<Keys>,
    cache: TokenCache,
    /// The algorithms for which the host's verification gave the known answers.
    by_host: Vec<Algorithm>,
    pub(crate) figures: IdentityFigures,
    sweep_at: u64,
}

impl Identity {
    fn new(agent: Agent, caller: Actor, claims: Json, expires_at: u64) -> Self {
        let json = serde_json::to_vec(&agent).unwrap_or_default();
        Identity { agent, caller, json, claims, expires_at, signed_by: None }
    }

    /// The identity as the engine sees it.
    pub(crate) fn caller(&self) -> Caller<'_> {
        Caller { iss: &self.caller.iss, id: &self.caller.sub, owner: self.agent.owner.as_deref(), claims: &self.claims }
    }

    /// Whether the token still counts.
    pub(crate) fn is_valid_at(&self, now: u64) -> bool {
        now < self.expires_at.saturating_add(LEEWAY)
    }
}

impl Identities {
    /// Nobody is known yet. The host is tried out for each algorithm that an issuer has.
    pub(crate) fn new(config: &config::Identity, host: &mut dyn Host) -> Self {
        let used = |algorithm: &Algorithm| config.issuers.iter().any(|issuer| issuer.algorithms.contains(algorithm));
        let mut agrees = |algorithm: &Algorithm| {
            host_agrees(*algorithm, &mut |_, key, signature, text| host.verify_signature(key, signature, text))
        };
        let by_host = [Algorithm::Es256, Algorithm::Rs256].into_iter().filter(used).filter(&mut agrees).collect();
        Identities {
            keys: config.issuers.iter().map(Keys::new).collect(),
            cache: TokenCache::new(config.token_cache),
            by_host,
            figures: IdentityFigures::default(),
            sweep_at: 0,
        }
    }

    /// Finds and verifies the agent of a request, by its token, or by its certificate where there is no token. `now` is in
    /// Unix milliseconds.
    pub(crate) fn identify(
        &mut self,
        config: &config::Identity,
        head: &Head,
        now: u64,
        host: &mut dyn Host,
    ) -> Result<Rc<Identity>, IdentityError> {
        match (head.field(&config.header), &config.spiffe) {
            (Some(value), _) => self.of_token(config, token(&config.header, value)?, now, host),
            (None, Some(spiffe)) => {
                let peer = host.peer().ok_or(IdentityError::Missing)?;
                let identity = spiffe::identity(spiffe, &peer)?;
                if identity.is_valid_at(now / 1000) { Ok(Rc::new(identity)) } else { Err(IdentityError::Expired) }
            }
            (None, None) => Err(IdentityError::Missing),
        }
    }

    fn of_token(
        &mut self,
        config: &config::Identity,
        token: &str,
        now: u64,
        host: &mut dyn Host,
    ) -> Result<Rc<Identity>, IdentityError> {
        let hash = Hash::of(token.as_bytes());
        if let Some(entry) = self.cache.get(hash.as_bytes()) {
            if is_current(&self.keys, &entry.identity) && entry.identity.is_valid_at(now / 1000) {
                self.figures.cache_hits += 1;
                return Ok(Rc::clone(&entry.identity));
            }
            self.cache.remove(hash.as_bytes());
        }
        self.figures.cache_misses += 1;
        // What is remembered was looked at when it came.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !token.bytes().all(plain) {
            return Err(IdentityError::Scheme);
        }
        let identity = Rc::new(self.verify(config, token, now, host)?);
        self.cache.insert(*hash.as_bytes(), Entry::new(Rc::clone(&identity)));
        Ok(identity)
    }

    /// Whether the keys that verified a token are still those of its issuer. If not, the token has to be verified anew.
    pub(crate) fn vouch_for(&self, identity: &Identity) -> bool {
        is_current(&self.keys, identity)
    }

    /// The identity that a token gives.
    fn verify(
        &mut self,
        config: &config::Identity,
        token: &str,
        now: u64,
        host: &mut dyn Host,
    ) -> Result<Identity, IdentityError> {
        // The issuer is read before the signature is checked, and only to choose the keys that must have made it.
        let jws = Compact::read(token).map_err(IdentityError::Signature)?;
        let typ = jws.typ().map(str::to_ascii_lowercase);
        if typ.is_some_and(|typ| !TYPES.contains(&&*typ)) {
            return Err(IdentityError::Form("its type is not that of a token for access"));
        }
        let claims = Json::parse(jws.unverified_payload());
        let claims = claims.map_err(|_| IdentityError::Form("the payload is not JSON"))?;
        let iss = member(&claims, "iss").and_then(Json::as_str).unwrap_or_default();
        let mut trusted = config.issuers.iter().zip(&mut self.keys).enumerate();
        let (place, (issuer, keys)) =
            trusted.find(|(_, (issuer, _))| issuer.iss == iss).ok_or(IdentityError::Issuer)?;
        let Some(current) = &keys.current else { return Err(IdentityError::KeysUnavailable) };

        let (by_host, figures) = (&self.by_host, &mut self.figures);
        figures.verifications += 1;
        let mut ask = |algorithm, key: &[u8], signature: &[u8], text: &[u8]| {
            let answer = if by_host.contains(&algorithm) { host.verify_signature(key, signature, text) } else { None };
            figures.verified_by_host += u64::from(answer.is_some());
            answer
        };
        match current.verify(&jws, &mut ask) {
            Ok(()) => {}
            Err(unknown @ JwsError::UnknownKey(_)) => {
                return Err(match keys.unknown(now) {
                    Unknown::Await => IdentityError::AwaitKeys(place),
                    Unknown::Unavailable => IdentityError::KeysUnavailable,
                    Unknown::Refuse => IdentityError::Signature(unknown),
                });
            }
            Err(error) => return Err(IdentityError::Signature(error)),
        }
        let signed_by = Some((place, keys.generation));
        Ok(Identity { signed_by, ..of_claims(issuer, claims, now / 1000)? })
    }

    /// Where a key set is to be fetched now, with the issuer's place.
    pub(crate) fn due(&mut self, now: u64) -> impl Iterator<Item = (usize, &KeyPlace)> {
        self.keys.iter_mut().enumerate().filter_map(move |(place, keys)| Some((place, keys.due(now)?)))
    }

    /// The answer to a fetch of a key set. `Err`: there is none, with a warning where it is news.
    pub(crate) fn fetched(
        &mut self,
        config: &config::Identity,
        now: u64,
        place: usize,
        answer: Option<&Answer>,
        host: &mut dyn Host,
    ) -> Result<(), Option<String>> {
        let (Some(keys), Some(issuer)) = (self.keys.get_mut(place), config.issuers.get(place)) else { return Ok(()) };
        self.figures.key_fetches += 1;
        let jitter = host.nonce().map_or(0, |[first, ..]| first);
        keys.take(now, answer, &issuer.algorithms, jitter).map_err(|why| {
            self.figures.failed_key_fetches += 1;
            let kept = if keys.current.is_some() { "the last good ones stay in use" } else { "its tokens get 503" };
            why.map(|why| format!("the keys of the issuer `{}` cannot be fetched: {why}; {kept}", issuer.iss))
        })
    }

    /// Forgets the tokens of agents that were suspended.
    pub(crate) fn forget(&mut self, suspended: &HashSet<Actor>) {
        self.cache.retain(|entry| !suspended.contains(&entry.identity.caller));
    }

    /// The clock was set back: what is due is so after as long as before.
    pub(crate) fn set_back(&mut self, back: u64) {
        self.sweep_at = self.sweep_at.saturating_sub(back);
        self.keys.iter_mut().for_each(|keys| keys.set_back(back));
    }

    /// Forgets tokens that have expired or that older keys have verified, now and then.
    pub(crate) fn sweep(&mut self, now: u64) {
        if now >= self.sweep_at {
            self.sweep_at = now.saturating_add(SWEEP);
            let keys = &self.keys;
            self.cache.retain(|entry| entry.identity.is_valid_at(now / 1000) && is_current(keys, &entry.identity));
        }
    }
}

fn is_current(keys: &[Keys], identity: &Identity) -> bool {
    identity
        .signed_by
        .is_none_or(|(issuer, generation)| keys.get(issuer).is_some_and(|keys| keys.generation == generation))
}

/// The token in a header's value.
fn token<'a>(header: &str, value: &'a str) -> Result<&'a str, IdentityError> {
    let token = if header == "authorization" {
        let (scheme, token) = value.split_once(' ').ok_or(IdentityError::Scheme)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(IdentityError::Scheme);
        }
        token
    } else {
        value
    };
    if token.is_empty() { Err(IdentityError::Scheme) } else { Ok(token) }
}

/// The identity in the claims of a token whose signature was verified. `now` is in Unix seconds.
fn of_claims(issuer: &Issuer, mut claims: Json, now: u64) -> Result<Identity, IdentityError> {
    let text = |name: &str| member(&claims, name).and_then(Json::as_str);
    let ours = |aud: &Json| aud.as_str().is_some_and(|aud| issuer.audiences.iter().any(|ours| ours == aud));
    let for_us = match member(&claims, "aud") {
        Some(aud @ Json::String(_)) => ours(aud),
        Some(Json::Array(all)) => all.iter().any(ours),
        _ => return Err(IdentityError::Claim("aud")),
    };
    if !for_us {
        return Err(IdentityError::Audience);
    }
    let ends = time(&claims, "exp")?.ok_or(IdentityError::Claim("exp"))?;
    let issued = time(&claims, "iat")?;
    let credential = match issuer.max_credential_age {
        Some(_) => Some(
            member(&claims, &issuer.credential_claim).and_then(Json::as_u64).ok_or(IdentityError::CredentialTime)?,
        ),
        None => None,
    };
    if [time(&claims, "nbf")?, issued, credential].into_iter().flatten().any(|start| start > now.saturating_add(LEEWAY))
    {
        return Err(IdentityError::NotYet);
    }
    let until = |start: u64, age: Option<u64>| age.map_or(u64::MAX, |age| start.saturating_add(age));
    let issued = match issuer.max_token_age {
        Some(_) => issued.ok_or(IdentityError::Claim("iat"))?,
        None => 0,
    };
    let limit = until(issued, issuer.max_token_age).min(until(credential.unwrap_or(0), issuer.max_credential_age));

    // An owner that is not a text is none: rules and the approval service treat it so.
    let owner = text(&issuer.owner_claim).filter(|owner| !owner.is_empty()).map(str::to_owned);
    let sub = text("sub").filter(|sub| !sub.is_empty()).ok_or(IdentityError::Claim("sub"))?.to_owned();
    let act = actors(member(&claims, "act"), &issuer.iss)?;
    let team = member(&claims, &issuer.team_claim).cloned().unwrap_or(Json::Null);
    if let Json::Object(members) = &mut claims
        && issuer.team_claim != "team"
    {
        // Rules name one claim for all issuers. What a token calls `team` by itself is not what was configured.
        members.set("team".to_owned(), team);
    }
    let agent = Agent { iss: issuer.iss.clone(), sub, act, owner };
    let identity = Identity::new(agent.clone(), agent.caller(), claims, ends.min(limit));
    match (identity.is_valid_at(now), now < ends.saturating_add(LEEWAY)) {
        (true, _) => Ok(identity),
        (false, true) => Err(IdentityError::TooOld),
        (false, false) => Err(IdentityError::Expired),
    }
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
