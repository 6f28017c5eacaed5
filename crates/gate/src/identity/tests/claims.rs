//! What the claims of a verified token must say.

use super::*;

fn with_claims(change: Value) -> Result<Rc<Identity>, IdentityError> {
    bench(json!({})).bearer(&token(&claims(change), 1))
}

#[test]
fn a_good_token_names_agent_owner_and_chain() {
    let plain = with_claims(json!({})).unwrap();
    assert_eq!((plain.caller.sub.as_str(), plain.agent.owner.as_deref()), ("agent-7", Some("group/iam")));
    let act = json!({"act": {"sub": "tool", "act": {"iss": "https://idp", "sub": "planner"}}});
    let chain = with_claims(act).unwrap();
    assert_eq!(chain.caller, Actor { iss: "https://idp".into(), sub: "tool".into() });
    assert_eq!(chain.agent.act[1], Actor { iss: "https://idp".into(), sub: "planner".into() });
    // Who may act does not: the claim gives nobody a say (RFC 8693 section 4.4).
    assert!(with_claims(json!({"may_act": {"sub": "tool"}})).unwrap().agent.act.is_empty());
    for none in [json!(null), json!(""), json!(["a"]), json!(7)] {
        assert_eq!(with_claims(json!({"owner": none})).unwrap().agent.owner, None);
    }
    assert!(with_claims(json!({"aud": ["x", "https://api"]})).is_ok());
}

#[test]
fn what_is_not_a_verified_identity_is_refused() {
    let refused = |change: Value| with_claims(change).map(|_| ()).unwrap_err();
    let now = NOW / 1000;
    assert_eq!(refused(json!({"iss": "https://evil"})), IdentityError::Issuer);
    assert_eq!(refused(json!({"iss": null})), IdentityError::Issuer);
    assert_eq!(refused(json!({"aud": "https://other"})), IdentityError::Audience);
    assert_eq!(refused(json!({"aud": []})), IdentityError::Audience);
    assert_eq!(refused(json!({"aud": null})), IdentityError::Claim("aud"));
    assert_eq!(refused(json!({"exp": now - 31})), IdentityError::Expired);
    assert_eq!(refused(json!({"exp": null})), IdentityError::Claim("exp"));
    assert_eq!(refused(json!({"exp": "9999999999"})), IdentityError::Claim("exp"));
    assert_eq!(refused(json!({"nbf": now + 31})), IdentityError::NotYet);
    assert_eq!(refused(json!({"iat": now + 31})), IdentityError::NotYet);
    assert_eq!(refused(json!({"sub": ""})), IdentityError::Claim("sub"));
    assert_eq!(refused(json!({"act": {"iss": "x"}})), IdentityError::Claim("act"));
    assert_eq!(refused(json!({"act": {"iss": "https://other", "sub": "x"}})), IdentityError::Claim("act"));
    assert_eq!(refused(json!({"act": "x"})), IdentityError::Claim("act"));
    let mut deep = json!({"sub": "x"});
    for _ in 0..8 {
        deep = json!({"sub": "x", "act": deep});
    }
    assert_eq!(refused(json!({"act": deep})), IdentityError::Claim("act"));
    assert_eq!(with_claims(json!({"act": deep["act"]})).unwrap().agent.act.len(), 8);
}

#[test]
fn an_issuer_says_which_claims_name_owner_and_team() {
    let mut bench =
        bench(json!({"owner_claim": "responsible", "team_claim": "department", "aud": ["a", "https://api"]}));
    let given = json!({"responsible": "group/ops", "department": ["iam", "ops"], "team": "root"});
    let identity = bench.bearer(&token(&claims(given), 1)).unwrap();
    assert_eq!(identity.agent.owner.as_deref(), Some("group/ops"));
    let team =
        |identity: &Identity| member(&identity.claims, "team").map(|team| String::from_utf8(team.to_jcs()).unwrap());
    assert_eq!(team(&identity).as_deref(), Some(r#"["iam","ops"]"#));
    // What a token calls `team` where another claim was configured is not taken for it.
    let none = bench.bearer(&token(&claims(json!({"team": "root"})), 1)).unwrap();
    assert_eq!(team(&none).as_deref(), Some("null"));
}

#[test]
fn the_age_of_a_token_is_limited_from_its_issue() {
    let mut bench = bench(json!({"max_token_age": "5m"}));
    let now = NOW / 1000;
    assert!(bench.bearer(&token(&claims(json!({"iat": now - 329})), 1)).is_ok());
    assert_eq!(bench.refused(&token(&claims(json!({"iat": now - 330})), 1)), IdentityError::TooOld);
    assert_eq!(bench.refused(&token(&claims(json!({"iat": null})), 1)), IdentityError::Claim("iat"));
    let fresh = token(&claims(json!({})), 1);
    assert!(bench.bearer(&fresh).is_ok());
    bench.now += 330_000;
    assert_eq!(bench.refused(&fresh), IdentityError::TooOld, "a token that is remembered grows old too");
}

#[test]
fn the_age_of_the_credential_behind_a_token_is_limited() {
    let now = NOW / 1000;
    let mut bench = bench(json!({"max_credential_age": "1d"}));
    let at = |time: Value| token(&claims(json!({"auth_time": time})), 1);
    assert!(bench.bearer(&at(json!(now - 86_000))).is_ok());
    assert_eq!(bench.refused(&at(json!(now - 86_430))), IdentityError::TooOld);
    assert_eq!(bench.refused(&at(json!(now + 31))), IdentityError::NotYet);
    for missing in [json!(null), json!("1790000000"), json!(1.5)] {
        assert_eq!(bench.refused(&at(missing)), IdentityError::CredentialTime);
    }
    let mut named = self::bench(json!({"max_credential_age": "1d", "credential_claim": "key_issued_at"}));
    assert_eq!(named.refused(&at(json!(now))), IdentityError::CredentialTime);
    assert!(named.bearer(&token(&claims(json!({"key_issued_at": now - 10})), 1)).is_ok());
}
