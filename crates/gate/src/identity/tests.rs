use holdgate_protocol::{
    b64url,
    jws::{Jwks, Keys, PrivateKey},
};
use serde_json::{Value, json};

use super::*;
use crate::config::{Issuer, Untagged};

const NOW: u64 = 1_790_000_000;

fn config(header: &str) -> config::Identity {
    let keys = Keys::new(&Jwks { keys: vec![PrivateKey::from_seed(&[1; 32]).to_public_jwk()] }).unwrap();
    let issuer = Issuer { iss: "https://idp".into(), aud: "https://api".into(), keys, owner_claim: "owner".into() };
    config::Identity { header: header.into(), forward: true, untagged: Untagged::Deny, issuers: vec![issuer] }
}

fn claims() -> Value {
    json!({"iss": "https://idp", "aud": "https://api", "sub": "agent-7", "exp": NOW + 60, "iat": NOW, "owner": "group/iam"})
}

fn token(claims: &Value, seed: u8) -> String {
    PrivateKey::from_seed(&[seed; 32]).sign("JWT", claims.to_string().as_bytes())
}

fn with_header(name: &str, value: &str) -> Result<Identity, IdentityError> {
    let pairs = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/"), (name, value)];
    let pairs = pairs.map(|(name, value)| (name.into(), value.into())).to_vec();
    identify(&config(name), &Head::read(pairs, name).unwrap(), NOW)
}

fn with_claims(change: Value) -> Result<Identity, IdentityError> {
    let mut claims = claims();
    for (name, value) in change.as_object().unwrap() {
        claims[name] = value.clone();
    }
    with_header("authorization", &format!("Bearer {}", token(&claims, 1)))
}

#[test]
fn a_good_token_names_agent_owner_and_chain() {
    let plain = with_claims(json!({})).unwrap();
    assert_eq!((plain.caller.sub.as_str(), plain.agent.owner.as_deref()), ("agent-7", Some("group/iam")));
    let act = json!({"act": {"sub": "tool", "act": {"iss": "https://idp", "sub": "planner"}}});
    let chain = with_claims(act).unwrap();
    assert_eq!(chain.caller, Actor { iss: "https://idp".into(), sub: "tool".into() });
    assert_eq!(chain.agent.act[1], Actor { iss: "https://idp".into(), sub: "planner".into() });
    for none in [json!(null), json!(""), json!(["a"]), json!(7)] {
        assert_eq!(with_claims(json!({"owner": none})).unwrap().agent.owner, None);
    }
    assert!(with_claims(json!({"aud": ["x", "https://api"]})).is_ok());
    assert!(with_header("x-agent-token", &token(&claims(), 1)).is_ok());
    assert!(with_header("authorization", &format!("bearer {}", token(&claims(), 1))).is_ok());
}

#[test]
fn what_is_not_a_verified_identity_is_refused() {
    let refused = |change: Value| with_claims(change).map(|_| ()).unwrap_err();
    assert_eq!(refused(json!({"iss": "https://evil"})), IdentityError::Issuer);
    assert_eq!(refused(json!({"iss": null})), IdentityError::Issuer);
    assert_eq!(refused(json!({"aud": "https://other"})), IdentityError::Audience);
    assert_eq!(refused(json!({"aud": []})), IdentityError::Audience);
    assert_eq!(refused(json!({"aud": null})), IdentityError::Claim("aud"));
    assert_eq!(refused(json!({"exp": NOW - 31})), IdentityError::Expired);
    assert_eq!(refused(json!({"exp": null})), IdentityError::Claim("exp"));
    assert_eq!(refused(json!({"exp": "9999999999"})), IdentityError::Claim("exp"));
    assert_eq!(refused(json!({"nbf": NOW + 31})), IdentityError::NotYet);
    assert_eq!(refused(json!({"iat": NOW + 31})), IdentityError::NotYet);
    assert_eq!(refused(json!({"sub": ""})), IdentityError::Claim("sub"));
    assert_eq!(refused(json!({"act": {"iss": "x"}})), IdentityError::Claim("act"));
    assert_eq!(refused(json!({"act": {"iss": "https://other", "sub": "x"}})), IdentityError::Claim("act"));
    assert_eq!(refused(json!({"act": "x"})), IdentityError::Claim("act"));
    let mut deep = json!({"sub": "x"});
    for _ in 0..8 {
        deep = json!({"sub": "x", "act": deep});
    }
    assert_eq!(refused(json!({"act": deep})), IdentityError::Claim("act"));
}

#[test]
fn forged_and_misplaced_tokens_are_refused() {
    let refused = |value: &str| with_header("authorization", value).map(|_| ()).unwrap_err();
    assert!(matches!(refused(&format!("Bearer {}", token(&claims(), 2))), IdentityError::Signature(_)));
    let none = format!("{}.{}.", b64url(br#"{"alg":"none"}"#), b64url(claims().to_string().as_bytes()));
    assert_eq!(refused(&format!("Bearer {none}")), IdentityError::Signature(JwsError::Algorithm("none".into())));
    let good = token(&claims(), 1);
    assert_eq!(refused(&format!("Basic {good}")), IdentityError::Scheme);
    assert_eq!(refused(&good), IdentityError::Scheme);
    assert_eq!(refused(&format!("Bearer {good},Bearer {good}")), IdentityError::Scheme);
    assert_eq!(refused("Bearer "), IdentityError::Scheme);
    let duplicate = r#"{"iss":"https://idp","aud":"https://api","sub":"a","sub":"b","exp":1790000060}"#;
    let duplicate = PrivateKey::from_seed(&[1; 32]).sign("JWT", duplicate.as_bytes());
    assert_eq!(refused(&format!("Bearer {duplicate}")), IdentityError::Form("the payload is not JSON"));
    let pairs = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
    let head = Head::read(pairs.map(|(n, v)| (n.into(), v.into())).to_vec(), "authorization").unwrap();
    assert_eq!(identify(&config("authorization"), &head, NOW).map(|_| ()).unwrap_err(), IdentityError::Missing);
}
