use std::{path::Path, str::FromStr as _};

use holdgate_protocol::jws::PrivateKey;
use serde_json::{Value, json};

use super::*;
use crate::oidc::Config;

const NOW: u64 = 1_790_000_000;
const ISSUER: &str = "https://idp.example";

fn provider() -> Provider {
    // The issuer of the client that asks is another one, so that no root certificates are needed.
    let text = "{format: 1, issuer: 'http://127.0.0.1:9', client_id: holdgate, public_url: 'http://127.0.0.1:8'}";
    let mut provider = Provider::new(Config::parse(text, Path::new("")).unwrap()).unwrap();
    provider.config.issuer = ISSUER.to_owned();
    provider
}

fn key() -> PrivateKey {
    PrivateKey::from_seed(&[5; 32])
}

fn claims(changes: &Value) -> Vec<u8> {
    let mut claims = json!({
        "iss": ISSUER, "sub": "alice", "aud": "holdgate", "nonce": "n", "iat": NOW - 5, "exp": NOW + 300,
        "auth_time": NOW - 60,
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims.to_string().into_bytes()
}

fn read(token: &str) -> Result<(String, u64), String> {
    let jwks = json!({"keys": [key().to_public_jwk()]}).to_string();
    let metadata = json!({"issuer": ISSUER, "authorization_endpoint": "https://idp.example/auth",
                          "token_endpoint": "https://idp.example/token", "jwks_uri": "https://idp.example/jwks"});
    let known = Known::of(serde_json::from_value(metadata).unwrap(), jwks.as_bytes(), NOW).unwrap();
    let token = CoreIdToken::from_str(token).map_err(|error| error.to_string())?;
    let nonce = Nonce::new("n".into());
    provider().claims(&Arc::new(known), &token, &nonce, NOW).map_err(|error| format!("{error}: {error:?}"))
}

fn signed(changes: &Value) -> String {
    key().sign("JWT", &claims(changes))
}

#[test]
fn sound_token_names_who_signed_in_and_when() {
    assert_eq!(read(&signed(&json!({}))).unwrap(), ("alice".to_owned(), NOW - 60));
    assert_eq!(read(&signed(&json!({"azp": "holdgate"}))).unwrap().0, "alice");
}

#[test]
fn token_that_does_not_hold_signs_nobody_in() {
    for changes in [
        json!({"nonce": "m"}),
        json!({"nonce": null}),
        json!({"aud": "other"}),
        json!({"aud": ["holdgate", "other"]}),
        json!({"aud": null}),
        json!({"azp": "other"}),
        json!({"iss": "https://evil.example"}),
        json!({"iss": null}),
        json!({"exp": NOW}),
        json!({"exp": null}),
        json!({"iat": NOW + 61}),
        json!({"auth_time": NOW + 61}),
        json!({"auth_time": null}),
        json!({"sub": ""}),
        json!({"sub": null}),
        json!({"sub": "a".repeat(256)}),
    ] {
        assert!(read(&signed(&changes)).is_err(), "{changes}");
    }
}

#[test]
fn only_the_provider_s_keys_sign() {
    let sound = signed(&json!({}));
    let (head, _) = sound.split_once('.').unwrap();
    let forged = PrivateKey::from_seed(&[6; 32]).sign("JWT", &claims(&json!({})));
    let with_its_id = format!("{head}.{}", forged.split_once('.').unwrap().1);
    let with_header = |header: Value, signature: &str| {
        format!("{}.{}.{signature}", b64url(header.to_string().as_bytes()), b64url(&claims(&json!({}))))
    };
    let public = key().to_public_jwk();
    for (what, token) in [
        ("another key", forged),
        ("another key under a known id", with_its_id),
        ("none", with_header(json!({"alg": "none"}), "")),
        ("a symmetric algorithm", with_header(json!({"alg": "HS256", "kid": public.kid}), &b64url(&[0; 32]))),
        ("a key in the header", with_header(json!({"alg": "EdDSA", "jwk": public}), &b64url(&[0; 64]))),
        ("nonsense", "a.b.c".to_owned()),
    ] {
        assert!(read(&token).is_err(), "{what}");
    }
}

#[test]
fn values_of_a_sign_in_differ_and_are_as_long_as_pkce_asks() {
    let all: Vec<String> = ["state", "nonce", "code verifier"].map(|purpose| derived(purpose, "secret")).into();
    assert!(all.iter().all(|value| value.len() == 43));
    assert!(all[0] != all[1] && all[1] != all[2] && all[0] != all[2]);
    assert_ne!(all[0], derived("state", "another"));
}
