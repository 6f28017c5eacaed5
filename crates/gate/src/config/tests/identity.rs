//! The section `identity`.

use super::*;

fn refused(pointer: &str, value: Value) -> String {
    parse(|config| {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = config.pointer_mut(&format!("/identity{parent}")).unwrap();
        parent.as_object_mut().unwrap().insert(name.to_owned(), value);
    })
    .unwrap_err()
}

#[test]
fn an_issuer_has_every_setting_that_is_documented() {
    let config = parse(|config| {
        let issuer = &mut config["identity"]["issuers"][0];
        issuer["algs"] = json!(["RS256", "ES256", "EdDSA"]);
        issuer["aud"] = json!(["https://api.example", "https://other.example"]);
        issuer["jwks"] = json!({"cluster": "idp", "authority": "idp.example", "path": "/jwks?x=1", "refresh": "1h"});
        issuer["owner_claim"] = json!("responsible");
        issuer["owner_issuer"] = json!("https://idp.example");
        issuer["team_claim"] = json!("department");
        issuer["max_token_age"] = json!("1h");
        issuer["max_credential_age"] = json!("30d");
        config["identity"]["token_cache"] = json!(10);
        config["identity"]["spiffe"] = json!({"trust_domains": ["example.org"], "owner": "group/iam"});
    });
    let identity = config.unwrap().identity;
    let issuer = &identity.issuers[0];
    assert_eq!(issuer.algorithms.len(), 3);
    assert_eq!(issuer.audiences, ["https://api.example", "https://other.example"]);
    let KeySource::Fetched(place) = &issuer.keys else { panic!("{:?}", issuer.keys) };
    assert_eq!((place.cluster.as_str(), place.path.as_str(), place.refresh), ("idp", "/jwks?x=1", 3_600_000));
    assert_eq!((issuer.owner_claim.as_str(), issuer.team_claim.as_str()), ("responsible", "department"));
    assert_eq!((issuer.max_token_age, issuer.max_credential_age), (Some(3_600), Some(2_592_000)));
    assert_eq!((issuer.credential_claim.as_str(), identity.token_cache), ("auth_time", 10));
    assert_eq!(identity.spiffe.unwrap().trust_domains, ["example.org"]);
}

#[test]
fn what_is_left_out_has_a_default() {
    let identity = parse(|_| {}).unwrap().identity;
    let issuer = &identity.issuers[0];
    assert_eq!((issuer.owner_claim.as_str(), issuer.team_claim.as_str()), ("owner", "team"));
    assert_eq!((issuer.max_token_age, issuer.max_credential_age, identity.token_cache), (None, None, 4_096));
    assert!(identity.spiffe.is_none());
    let place = json!({"cluster": "idp", "authority": "idp.example", "path": "/jwks"});
    let config = parse(|config| config["identity"]["issuers"][0]["jwks"] = place).unwrap();
    assert!(matches!(&config.identity.issuers[0].keys, KeySource::Fetched(place) if place.refresh == 600_000));
    let only_spiffe = parse(|config| config["identity"] = json!({"spiffe": {"trust_domains": "example.org"}}));
    assert!(only_spiffe.unwrap().identity.issuers.is_empty());
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let issuer = "`identity.issuers[0]";
    let unknown = "is not known here; expected one of `EdDSA`, `ES256`, `RS256`";
    let ec = json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "e", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]});
    for (pointer, value, message) in [
        ("/hedaer", json!("x"), "`identity`: `hedaer` is not known here; expected one of `header`, `forward`, `untagged`, `token_cache`, `issuers`, `spiffe`".to_owned()),
        ("/forward", json!("no"), "`identity.forward`: expected `true` or `false`, found a text".to_owned()),
        ("/untagged", json!("allow"), "`identity.untagged`: `allow` is not known here; expected one of `deny`, `evaluate`".to_owned()),
        ("/token_cache", json!(-1), "`identity.token_cache`: `-1` is not a whole number within bounds".to_owned()),
        ("/issuers", json!({}), "`identity.issuers`: expected a list, found an object".to_owned()),
        ("/issuers", json!([7]), format!("{issuer}`: expected an object, found a number")),
                ("/issuers/0/iss", json!(""), format!("{issuer}.iss`: must not be empty")),
        ("/issuers/0/aud", json!([]), format!("{issuer}.aud`: must not be empty")),
        ("/issuers/0/algs", json!(["HS256"]), format!("{issuer}.algs[0]`: `HS256` {unknown}")),
        ("/issuers/0/algs", json!(["none"]), format!("{issuer}.algs[0]`: `none` {unknown}")),
        (
            "/issuers/0/algs",
            json!(["RS256"]),
            format!("{issuer}.jwks`: key 0: its algorithm is not one of the issuer's `algs`"),
        ),
        ("/issuers/0/jwks", ec, format!("{issuer}.jwks`: key 0: its algorithm is not one of the issuer's `algs`")),
        ("/issuers/0/jwks", json!({"keys": []}), format!("{issuer}.jwks`: the set has no keys")),
        ("/issuers/0/jwks", json!({"cluster": "idp"}), format!("{issuer}.jwks.path`: missing")),
        (
            "/issuers/0/jwks",
            json!({"cluster": "idp", "authority": "a", "path": "jwks"}),
            format!("{issuer}.jwks.path`: must begin with `/` and have no blank or fragment"),
        ),
        (
            "/issuers/0/jwks",
            json!({"cluster": "idp", "authority": "a", "path": "/", "refresh": "often"}),
            format!("{issuer}.jwks.refresh`: `often` is not a duration such as `45s`, `10m` or `1h`"),
        ),
        ("/issuers/0/max_token_age", json!(60), format!("{issuer}.max_token_age`: expected a text, found a number")),
        (
            "/issuers/0/owner_issuer",
            json!("https://hr.example"),
            format!("{issuer}.owner_issuer`: owners are resolved at `iss` itself; leave it out"),
        ),
        (
            "/spiffe",
            json!({"trust_domains": []}),
            "`identity.spiffe.trust_domains`: must not be empty".to_owned(),
        ),
        (
            "/spiffe",
            json!({"trust_domains": ["spiffe://example.org"]}),
            "`identity.spiffe.trust_domains`: name them as in `spiffe://NAME/...`, without the scheme".to_owned(),
        ),
        (
            "/spiffe",
            json!({"trust_domains": ["example.org"], "owner": "carol"}),
            "`identity.spiffe.owner`: must be `group/NAME`".to_owned(),
        ),
    ] {
        assert_eq!(refused(pointer, value), message);
    }
    let twice = parse(|config| {
        let issuer = config["identity"]["issuers"][0].clone();
        config["identity"]["issuers"].as_array_mut().unwrap().push(issuer);
    });
    assert_eq!(twice.unwrap_err(), "`identity.issuers[1]`: the issuer `https://idp.example` stands there twice");
    assert_eq!(
        parse(|config| config["identity"] = json!(null)).unwrap_err(),
        "`identity`: expected an object, found `null`"
    );
}
