//! What a grant says, and that its signature counts.

use holdgate_protocol::{
    bundle::PolicyRef,
    from_b64url,
    gateway::StateAnswer,
    grant::{self, ActorChain, Expected, LEEWAY, MAX_LIFE},
};
use serde_json::{Value, json};

use super::{
    Check, checks,
    expect::{Expect as _, Trouble, Verdict, fail, holds, same},
    target::{Held, Target, random},
};

pub(super) const CHECKS: &[Check] = checks! {
    "grant.header" (1, 0) header: "JWS compact, header {alg: EdDSA, typ: approval-grant+jwt, kid}";
    "grant.claims" (1, 0) claims: "all claims are required: iss, aud, sub, act, txn, jti, iat, nbf, exp, nonce, req, policy, rules";
    "grant.bound" (1, 0) bound: "the grant is bound to digest, agent, group, requirement and the filter's nonce: aud, sub, act, txn, nonce, req, policy, rules are those of the redeemed request";
    "grant.life" (1, 0) life: "`exp` is at most iat + 60, and `iat` is now";
    "grant.signature" (1, 0) signature: "the signature is that of a key which the filter has pinned, and the filter takes the grant";
    "grant.unique" (2, 0) unique: "`jti` names one grant";
    "grant.no_reviewer" (1, 0) no_reviewer: "no reviewer's identity stands in a grant";
};

/// A grant, taken apart.
struct Grant {
    held: Held,
    nonce: String,
    token: String,
    header: Value,
    claims: Value,
}

async fn grant(target: &Target) -> Verdict<Grant> {
    let held = target.approved().await?;
    target.ended(&held);
    let nonce = random();
    let answer = target.redeem_one(held.redemption(nonce.clone())).await?;
    let Some(token) = answer.grant else { return fail("a grant", format_args!("{:?}", answer.error)) };
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, _signature] = parts.as_slice() else { return fail("three parts of a JWS", &token) };
    let part = |text: &str| from_b64url(text).and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let (Some(header), Some(claims)) = (part(header), part(claims)) else {
        return fail("header and claims as JSON in base64url", &token);
    };
    Ok(Grant { held, nonce, header, claims, token })
}

async fn header(target: &Target) -> Verdict {
    let header = grant(target).await?.header;
    let text = |name: &str| header.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    same("`alg`", &"EdDSA".to_owned(), &text("alg"))?;
    same("`typ`", &grant::JWS_TYPE.to_owned(), &text("typ"))?;
    holds(!text("kid").is_empty(), "`kid`", &header)?;
    match target.state.as_ref().and_then(|state| state.grant_key.clone()) {
        Some(announced) => same("`kid`, as `/v1/state` announced it", &announced, &text("kid")),
        None => Ok(()),
    }
}

async fn claims(target: &Target) -> Verdict {
    let claims = grant(target).await?.claims;
    let texts = ["iss", "aud", "sub", "txn", "jti", "nonce"];
    let numbers = ["iat", "nbf", "exp"];
    let kinds = texts.iter().map(|name| (*name, claims.get(*name).is_some_and(Value::is_string)));
    let kinds = kinds.chain(numbers.iter().map(|name| (*name, claims.get(*name).is_some_and(Value::is_u64))));
    let objects =
        ["act", "req", "policy"].into_iter().map(|name| (name, claims.get(name).is_some_and(Value::is_object)));
    let rules = [("rules", claims.get("rules").is_some_and(Value::is_array))];
    match kinds.chain(objects).chain(rules).find(|(_, there)| !there) {
        Some((name, _)) => fail(&format!("the claim `{name}`"), &claims),
        None => Ok(()),
    }
}

async fn bound(target: &Target) -> Verdict {
    let Grant { held, nonce, claims, .. } = grant(target).await?;
    let ask = &held.ask;
    let state: StateAnswer = target.get("/v1/state").await?.json(&[200], "at /v1/state")?;
    let PolicyRef { id, rev, .. } = state.policy.unwrap_or_else(|| ask.policy.clone());
    let mut expected = vec![
        ("sub", json!(ask.agent.principal().unwrap_or_default())),
        ("act", json!(ActorChain::of(&ask.agent))),
        ("txn", json!(held.answer.hold)),
        ("nonce", json!(nonce)),
        ("req", json!({"c": ask.components, "h": ask.digest})),
        ("policy", json!({"id": id, "rev": rev, "requirement": ask.requirement})),
        ("rules", json!(ask.rules)),
    ];
    expected.extend(state.group.map(|group| ("aud", json!(group))));
    for (name, expected) in expected {
        let came = claims.get(name).cloned().unwrap_or_default();
        holds(came == expected, &format!("`{name}` {expected}"), &came)?;
    }
    let filled = |name: &str| claims.get(name).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    holds(filled("iss") && filled("aud") && filled("jti"), "`iss`, `aud` and `jti` with a content", &claims)
}

async fn life(target: &Target) -> Verdict {
    let Grant { claims, .. } = grant(target).await?;
    let state: StateAnswer = target.get("/v1/state").await?.json(&[200], "at /v1/state")?;
    let number = |name: &str| claims.get(name).and_then(Value::as_u64).unwrap_or_default();
    let (iat, nbf, exp) = (number("iat"), number("nbf"), number("exp"));
    let life = exp.checked_sub(iat).filter(|life| (1..=MAX_LIFE).contains(life));
    holds(life.is_some(), "`exp` 1 to 60 s after `iat`", &claims)?;
    let now = state.now;
    let near = iat.abs_diff(now) <= LEEWAY && nbf.abs_diff(now) <= LEEWAY;
    holds(near, &format!("`iat` and `nbf` about {now}, the service's `now`"), &claims)
}

async fn signature(target: &Target) -> Verdict {
    let missing = || Trouble::NotRun("it needs the public keys; give `--grant-keys`".to_owned());
    let keys = target.keys.as_ref().ok_or_else(missing)?;
    let Grant { held, nonce, token, claims, .. } = grant(target).await?;
    let state: StateAnswer = target.get("/v1/state").await?.json(&[200], "at /v1/state")?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
    let (issuer, audience) = (text("iss"), text("aud"));
    let expected = Expected {
        issuer,
        group: state.group.as_deref().unwrap_or(audience),
        agent: &held.ask.agent,
        hold: &held.answer.hold,
        nonce: &nonce,
        components: &held.ask.components,
        digest: &held.ask.digest,
        policy_id: &held.ask.policy.id,
        requirement: &held.ask.requirement,
        rules: &held.ask.rules,
        now: state.now,
    };
    match grant::verify(&token, keys, &expected) {
        Ok(_) => Ok(()),
        Err(error) => fail("a grant that the filter takes", error),
    }
}

async fn unique(target: &Target) -> Verdict {
    let (one, two) = (grant(target).await?, grant(target).await?);
    holds(one.claims.get("jti") != two.claims.get("jti"), "another `jti` in another grant", &two.claims)
}

async fn no_reviewer(target: &Target) -> Verdict {
    let person = target.person()?.to_owned();
    let claims = grant(target).await?.claims;
    holds(!has_text(&claims, &person), &format!("nothing of `{person}`"), &claims)
}

/// Whether a text stands anywhere in a value as a whole.
fn has_text(value: &Value, text: &str) -> bool {
    match value {
        Value::String(found) => found == text,
        Value::Array(items) => items.iter().any(|item| has_text(item, text)),
        Value::Object(members) => members.iter().any(|(name, value)| name == text || has_text(value, text)),
        _ => false,
    }
}
