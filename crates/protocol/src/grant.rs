//! The grant: the signed permit for one request, given only as the answer to a redemption.

use serde::Serialize;

use crate::{
    Actor, Agent, Hash, Json, RuleRef, deserialize_from_json,
    json::{FromJson, Place, ShapeError},
    jws::{JwsError, Keys, PrivateKey},
    sort::sort_by,
};

/// The `typ` of a grant.
pub const JWS_TYPE: &str = "approval-grant+jwt";

/// The longest life of a grant, in seconds.
pub const MAX_LIFE: u64 = 60;

/// The difference between two clocks that is overlooked, in seconds.
pub const LEEWAY: u64 = 30;

/// The claims of a grant. All are required; unknown ones are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Claims {
    /// The approval service.
    pub iss: String,
    /// The gateway group.
    pub aud: String,
    /// The principal; empty where the agent has no owner and acts for nobody.
    pub sub: String,
    pub act: ActorChain,
    /// The hold.
    pub txn: String,
    pub jti: String,
    pub iat: u64,
    pub nbf: u64,
    pub exp: u64,
    /// The filter's `attempt` of this redemption.
    pub nonce: String,
    pub req: Covered,
    pub policy: Policy,
    pub rules: Vec<RuleRef>,
}

/// The agent as a chain of actors (RFC 8693 section 4.1), the current one outermost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ActorChain {
    pub iss: String,
    pub sub: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub act: Option<Box<ActorChain>>,
}

/// What the grant covers: component names and the request digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Covered {
    pub c: Vec<String>,
    pub h: Hash,
}

/// The policy in force at the redemption, and the hash of the requirement that was met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Policy {
    pub id: String,
    pub rev: Hash,
    pub requirement: Hash,
}

impl ActorChain {
    /// The agent: its delegation chain, or itself where it has none.
    pub fn of(agent: &Agent) -> Self {
        let link = |act: Option<Box<ActorChain>>, actor: &Actor| {
            Some(Box::new(ActorChain { iss: actor.iss.clone(), sub: actor.sub.clone(), act }))
        };
        match agent.act.iter().rev().fold(None, link) {
            Some(chain) => *chain,
            None => ActorChain { iss: agent.iss.clone(), sub: agent.sub.clone(), act: None },
        }
    }
}

/// What the filter expects of a grant: its own view of the request that it holds.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    pub issuer: &'a str,
    pub group: &'a str,
    pub agent: &'a Agent,
    pub hold: &'a str,
    pub nonce: &'a str,
    pub components: &'a [String],
    pub digest: &'a Hash,
    pub policy_id: &'a str,
    pub requirement: &'a Hash,
    pub rules: &'a [RuleRef],
    /// Unix seconds.
    pub now: u64,
}

/// Why a grant does not permit the request at hand.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    #[error("the grant's signature does not count: {0}")]
    Signature(#[from] JwsError),
    #[error("the grant's claims are not what the protocol says")]
    Claims,
    #[error("the grant's `{0}` is that of another request")]
    Mismatch(&'static str),
    #[error("the grant is not valid at this time")]
    Time,
}

impl Claims {
    /// Signs the claims.
    pub fn sign(&self, key: &PrivateKey) -> Result<String, serde_json::Error> {
        Ok(key.sign(JWS_TYPE, &Json::from_serialize(self)?.to_jcs()))
    }
}

/// Verifies a grant: the signature, the time, and that every claim is the expected one.
pub fn verify(token: &str, keys: &Keys, expected: &Expected<'_>) -> Result<Claims, GrantError> {
    let payload = keys.verify(token, Some(JWS_TYPE))?;
    let claims = Json::parse(&payload).ok().and_then(|claims| claims.read().ok());
    let claims: Claims = claims.ok_or(GrantError::Claims)?;
    let by_id = |a: &RuleRef, b: &RuleRef| a.id.cmp(&b.id).then(a.hash.cmp(&b.hash));
    let mut rules = expected.rules.to_vec();
    sort_by(&mut rules, by_id);
    let mut granted_rules = claims.rules.clone();
    sort_by(&mut granted_rules, by_id);
    let facts = [
        ("iss", claims.iss == expected.issuer),
        ("aud", claims.aud == expected.group),
        ("sub", claims.sub == expected.agent.principal().unwrap_or_default()),
        ("act", claims.act == ActorChain::of(expected.agent)),
        ("txn", claims.txn == expected.hold),
        ("nonce", claims.nonce == expected.nonce),
        ("req.c", claims.req.c == expected.components),
        ("req.h", claims.req.h == *expected.digest),
        ("policy.id", claims.policy.id == expected.policy_id),
        ("policy.requirement", claims.policy.requirement == *expected.requirement),
        ("rules", granted_rules == rules),
        ("jti", !claims.jti.is_empty()),
    ];
    if let Some((name, _)) = facts.iter().find(|(_, fits)| !fits) {
        return Err(GrantError::Mismatch(name));
    }
    let life = claims.exp.checked_sub(claims.iat).filter(|life| *life <= MAX_LIFE);
    let begun = claims.nbf.max(claims.iat) <= expected.now.saturating_add(LEEWAY);
    let over = expected.now >= claims.exp.saturating_add(LEEWAY);
    if life.is_none() || !begun || over { Err(GrantError::Time) } else { Ok(claims) }
}

impl FromJson for Claims {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        let [iss, aud, sub, act, txn, jti, iat, nbf, exp, nonce, req, policy, rules] = place.known_members(&[
            "iss", "aud", "sub", "act", "txn", "jti", "iat", "nbf", "exp", "nonce", "req", "policy", "rules",
        ])?;
        Ok(Claims {
            iss: iss.read()?,
            aud: aud.read()?,
            sub: sub.read()?,
            act: act.read()?,
            txn: txn.read()?,
            jti: jti.read()?,
            iat: iat.whole()?,
            nbf: nbf.whole()?,
            exp: exp.whole()?,
            nonce: nonce.read()?,
            req: req.read()?,
            policy: policy.read()?,
            rules: rules.list()?,
        })
    }
}

impl FromJson for ActorChain {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        let [iss, sub, act] = place.known_members(&["iss", "sub", "act"])?;
        Ok(ActorChain { iss: iss.read()?, sub: sub.read()?, act: act.optional()?.map(Box::new) })
    }
}

impl FromJson for Covered {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        let [c, h] = place.known_members(&["c", "h"])?;
        Ok(Covered { c: c.list()?, h: h.read()? })
    }
}

impl FromJson for Policy {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        let [id, rev, requirement] = place.known_members(&["id", "rev", "requirement"])?;
        Ok(Policy { id: id.read()?, rev: rev.read()?, requirement: requirement.read()? })
    }
}

deserialize_from_json!(Claims);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jws::Jwks;

    const NOW: u64 = 1_790_000_000;

    fn agent() -> Agent {
        Agent { iss: "i".into(), sub: "s".into(), act: vec![], owner: Some("o".into()) }
    }

    fn claims() -> Claims {
        Claims {
            iss: "service".into(),
            aud: "edge".into(),
            sub: "o".into(),
            act: ActorChain::of(&agent()),
            txn: "h1".into(),
            jti: "j".into(),
            iat: NOW,
            nbf: NOW,
            exp: NOW + 60,
            nonce: "n".into(),
            req: Covered { c: vec!["@method".into()], h: Hash::of(b"request") },
            policy: Policy { id: "p".into(), rev: Hash::of(b"rev"), requirement: Hash::of(b"requirement") },
            rules: vec![RuleRef { id: "r".into(), hash: Hash::of(b"r") }],
        }
    }

    fn judge(claims: &Claims, signer: &PrivateKey, now: u64) -> Result<Claims, GrantError> {
        let trusted = PrivateKey::from_seed(&[1; 32]);
        let keys = Keys::new(&Jwks { keys: vec![trusted.to_public_jwk()] }).unwrap();
        let expected = Expected {
            issuer: "service",
            group: "edge",
            agent: &agent(),
            hold: "h1",
            nonce: "n",
            components: &["@method".to_owned()],
            digest: &Hash::of(b"request"),
            policy_id: "p",
            requirement: &Hash::of(b"requirement"),
            rules: &[RuleRef { id: "r".into(), hash: Hash::of(b"r") }],
            now,
        };
        verify(&claims.sign(signer).unwrap(), &keys, &expected)
    }

    #[test]
    fn only_the_expected_request_is_permitted() {
        let key = PrivateKey::from_seed(&[1; 32]);
        assert_eq!(judge(&claims(), &key, NOW).unwrap(), claims());
        type Change = (&'static str, fn(&mut Claims));
        let changed: [Change; 13] = [
            ("iss", |c| c.iss.push('x')),
            ("aud", |c| c.aud.push('x')),
            ("sub", |c| c.sub.push('x')),
            ("act", |c| c.act.sub.push('x')),
            ("act", |c| c.act.act = Some(Box::new(c.act.clone()))),
            ("txn", |c| c.txn.push('x')),
            ("nonce", |c| c.nonce.push('x')),
            ("req.c", |c| c.req.c.clear()),
            ("req.h", |c| c.req.h = Hash::of(b"other")),
            ("policy.id", |c| c.policy.id.push('x')),
            ("policy.requirement", |c| c.policy.requirement = Hash::of(b"other")),
            ("rules", |c| c.rules.clear()),
            ("jti", |c| c.jti.clear()),
        ];
        for (name, change) in changed {
            let mut claims = claims();
            change(&mut claims);
            let error = judge(&claims, &key, NOW).unwrap_err();
            assert!(matches!(error, GrantError::Mismatch(found) if found == name), "{name}: {error}");
        }
        assert!(matches!(judge(&claims(), &PrivateKey::from_seed(&[2; 32]), NOW), Err(GrantError::Signature(_))));
    }

    #[test]
    fn a_grant_is_valid_for_its_minute_and_the_leeway() {
        let key = PrivateKey::from_seed(&[1; 32]);
        for (now, valid) in [(NOW - 31, false), (NOW - 30, true), (NOW + 89, true), (NOW + 90, false)] {
            assert_eq!(judge(&claims(), &key, now).is_ok(), valid, "{now}");
        }
        for change in [|c: &mut Claims| c.exp += 1, |c: &mut Claims| c.exp = c.iat - 1, |c: &mut Claims| c.nbf += 31] {
            let mut claims = claims();
            change(&mut claims);
            assert!(matches!(judge(&claims, &key, NOW), Err(GrantError::Time)));
        }
    }
}
