use super::*;

const NOW: u64 = 1_790_000_000;

fn api() -> Api {
    Api { audience: "api".into(), clients: vec!["cli".into(), "web".into()], token_type: "at+jwt".into() }
}

/// What is read of a sound token after a change: each name with its new value; `null` takes it out.
fn read(changes: serde_json::Value) -> Result<AccessToken, TokenError> {
    let mut claims = serde_json::json!({
        "iss": "https://idp.example", "sub": "alice", "aud": "api", "client_id": "cli", "iat": NOW - 10,
        "exp": NOW + 300, "auth_time": NOW - 60,
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    let claims = Json::from_serialize(&claims).unwrap();
    Claims { claims: claims.as_object().unwrap(), now: NOW }.read("https://idp.example", &api())
}

#[test]
fn sound_token_says_who_signed_in_when_and_by_which_client() {
    let token = read(serde_json::json!({})).unwrap();
    assert_eq!((token.sub.as_str(), token.client.as_str()), ("alice", "cli"));
    assert_eq!((token.auth_time, token.expires_at, token.unfit), (Some(NOW - 60), NOW + 300, None));
    assert_eq!(read(serde_json::json!({"aud": ["other", "api"]})).unwrap().sub, "alice");
    assert_eq!(read(serde_json::json!({"client_id": null, "azp": "web"})).unwrap().client, "web");
    // The issuer's clock may be a little ahead; nobody signed in later than now.
    assert_eq!(read(serde_json::json!({"auth_time": NOW + 30})).unwrap().auth_time, Some(NOW));
}

#[test]
fn token_that_does_not_hold_is_refused() {
    for (changes, why) in [
        (serde_json::json!({"iss": "https://evil.example"}), "another issuer"),
        (serde_json::json!({"iss": null}), "another issuer"),
        (serde_json::json!({"aud": "cli"}), "`aud`"),
        (serde_json::json!({"aud": null}), "`aud`"),
        (serde_json::json!({"aud": {"api": true}}), "`aud`"),
        (serde_json::json!({"exp": NOW}), "expired"),
        (serde_json::json!({"exp": null}), "`exp` is missing"),
        (serde_json::json!({"exp": "2030"}), "`exp` is no time"),
        (serde_json::json!({"exp": -1}), "`exp` is no time"),
        (serde_json::json!({"nbf": NOW + 61}), "`nbf` lies in the future"),
        (serde_json::json!({"iat": NOW + 61}), "`iat` lies in the future"),
        (serde_json::json!({"auth_time": NOW + 61}), "`auth_time` lies in the future"),
        (serde_json::json!({"sub": null}), "`sub`"),
        (serde_json::json!({"sub": ""}), "`sub`"),
        (serde_json::json!({"sub": ["alice"]}), "`sub` is no text"),
        (serde_json::json!({"sub": "a".repeat(256)}), "`sub`"),
        (serde_json::json!({"client_id": null}), "`client_id` is missing"),
        (serde_json::json!({"azp": "web"}), "`client_id` and `azp` differ"),
        (serde_json::json!({"cnf": {"jkt": "x"}}), "bound to a key"),
    ] {
        let error = read(changes.clone()).unwrap_err().to_string();
        assert!(error.contains(why), "{changes}: {error}");
    }
    assert_eq!(read(serde_json::json!({"client_id": "agent"})).unwrap_err(), TokenError::Client("agent".into()));
}

#[test]
fn token_without_a_person_who_signed_in_is_unfit() {
    for (changes, expected) in [
        (serde_json::json!({"act": {"sub": "bot"}}), Unfit::Actor),
        (serde_json::json!({"act": ""}), Unfit::Actor),
        (serde_json::json!({"sub": "cli"}), Unfit::Client),
        (serde_json::json!({"auth_time": null}), Unfit::NoSignIn),
    ] {
        assert_eq!(read(changes.clone()).unwrap().unfit, Some(expected), "{changes}");
    }
}

#[test]
fn type_of_the_token_is_checked() {
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt"] {
        check_type(Some(typ), &api()).unwrap();
    }
    for typ in [None, Some(""), Some("JWT"), Some("application/jwt"), Some("x/at+jwt"), Some("dpop+jwt")] {
        check_type(typ, &api()).unwrap_err();
    }
}
