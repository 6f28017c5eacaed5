use holdgate_protocol::jws::PrivateKey;
use serde_json::{Value, json};

use super::*;

mod identity;
mod schema;

fn sample() -> Value {
    let jwks = json!({"keys": [PrivateKey::from_seed(&[1; 32]).to_public_jwk()]});
    json!({
        "group": "edge",
        "approval": {"cluster": "approval", "authority": "approval.internal"},
        "identity": {"issuers": [{"iss": "https://idp.example", "aud": "https://api.example", "algs": ["EdDSA"], "jwks": jwks}]},
        "bundle_keys": jwks,
        "grant_keys": jwks,
    })
}

fn parse(change: impl FnOnce(&mut Value)) -> Result<Config, String> {
    let mut config = sample();
    change(&mut config);
    Config::parse(config.to_string().as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn defaults_are_the_documented_ones() {
    let config = parse(|_| {}).unwrap();
    assert_eq!((config.max_body, config.max_parked_bytes), (1 << 20, 256 << 20));
    assert_eq!((config.max_agent_bytes, config.body_within), (16 << 20, 60_000));
    assert_eq!((config.max_wait, config.feed_max_age, config.feed_wait), (45_000, 60_000, 25));
    assert_eq!((config.approval.timeout, config.approval.issuer.as_str()), (5_000, "holdgate-approval"));
    assert_eq!((config.identity.header.as_str(), config.identity.forward), ("authorization", true));
    assert_eq!((config.on_stale, config.identity.untagged), (OnStale::Deny, Untagged::Deny));
}

#[test]
fn a_wrong_configuration_is_refused_by_the_name_of_the_field() {
    let refused = |pointer: &str, value: Value| {
        parse(|config| {
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            let parent = config.pointer_mut(parent).unwrap();
            parent.as_object_mut().unwrap().insert(name.to_owned(), value);
        })
        .unwrap_err()
    };
    assert!(refused("/grop", json!("x")).starts_with("`grop` is not known here; expected one of `group`, `approval`"));
    assert!(refused("/approval/clustr", json!("x")).starts_with("`approval`: `clustr` is not known here"));
    assert_eq!(refused("/group", json!("")), "`group`: must not be empty");
    assert_eq!(refused("/group", json!(7)), "`group`: expected a text, found a number");
    assert_eq!(refused("/max_body", json!("1k")), "`max_body`: expected a whole number, found a text");
    assert_eq!(refused("/max_body", json!(-1)), "`max_body`: `-1` is not a whole number within bounds");
    assert_eq!(refused("/min_serial", Value::Null), "`min_serial`: expected a whole number, found `null`");
    assert!(refused("/on_stale", json!("allow")).starts_with("`on_stale`: `allow` is not known here"));
    assert_eq!(refused("/max_wait", json!("45")), "`max_wait`: `45` is not a duration such as `45s`, `10m` or `1h`");
    assert_eq!(refused("/max_body", json!(0)), "`max_body`: must be greater than 0");
    assert!(refused("/host", json!("nginx")).starts_with("`host`: `nginx` is not known here"));
    assert!(refused("/reason_header", json!("x-envoy-why")).starts_with("`reason_header`: `x-envoy-why`"));
    assert!(refused("/feed_max_age", json!("25s")).contains("`feed_max_age`: must be longer than `feed_wait`"));
    assert!(refused("/identity/header", json!("content-type")).contains("cannot carry a token"));
    assert!(refused("/reason_header", json!("authorization")).starts_with("`reason_header`: `authorization`"));
    assert_eq!(refused("/grant_keys", json!({"keys": []})), "`grant_keys`: the set has no keys");
    let private = json!({"keys": [PrivateKey::from_seed(&[1; 32]).to_private_jwk()]});
    assert!(refused("/bundle_keys", private).contains("`bundle_keys`: key 0: it contains a private key"));
    assert!(refused("/identity/header", json!("holdgate-token")).contains("cannot carry a token"));
    assert!(refused("/identity/header", json!("X-Token")).contains("cannot carry a token"));
    assert_eq!(refused("/identity/issuers", json!([])), "`identity.issuers`: must not be empty");
    let unsigned = json!({"bundle": "e30", "jws": "e30..AA"});
    assert!(refused("/bundle", unsigned).starts_with("`bundle`: the signature does not count"));
    assert!(Config::parse(b"{\"group\":\"a\",\"group\":\"b\"}").unwrap_err().to_string().contains("same key twice"));
}

/// Once each of these was taken, and then no body near `max_body` could ever be held.
#[test]
fn a_body_of_the_largest_size_can_be_held() {
    let of = |members: Value| {
        parse(|config| members.as_object().unwrap().clone().into_iter().for_each(|(name, value)| config[name] = value))
    };
    let refused = |members: Value| of(members).unwrap_err();
    assert_eq!(
        refused(json!({"max_body": 8 * 1024 * 1024 + 1})),
        "`max_body`: 8388609 is more than the 8388608 bytes that the approval service takes"
    );
    assert_eq!(
        refused(json!({"max_body": 2_000, "max_agent_bytes": 1_999})),
        "`max_body`: 2000 is more than the 1999 bytes that `max_agent_bytes` has room for"
    );
    assert_eq!(
        refused(json!({"max_body": 2_000, "max_parked_bytes": 1_999})),
        "`max_body`: 2000 is more than the 1999 bytes that `max_parked_bytes` has room for"
    );
    // The default counts too.
    assert!(refused(json!({"max_agent_bytes": 1_000_000})).starts_with("`max_body`: 1048576 is more than the 1000000"));
    assert!(of(json!({"max_body": 8 * 1024 * 1024})).is_ok());
    assert!(of(json!({"max_body": 2_000, "max_parked_bytes": 2_000, "max_agent_bytes": 2_000})).is_ok());
}

#[test]
fn the_host_says_how_a_body_is_awaited_and_a_stream_woken() {
    let of = |host: Value, wake: Value| {
        let set = |config: &mut Value| (config["host"], config["wake"]) = (host, wake);
        parse(set).map(|config| (config.body, config.wake))
    };
    let null = Value::Null;
    assert_eq!(of(null.clone(), null.clone()), Ok((AwaitBody::Pause, Wake::Feed)));
    assert_eq!(of(json!("envoy"), json!("stream")), Ok((AwaitBody::Pause, Wake::Stream)));
    assert_eq!(of(json!("ngx-wasm"), null), Ok((AwaitBody::Continue, Wake::Stream)));
    assert!(of(json!("ngx-wasm"), json!("feed")).unwrap_err().starts_with("`wake`: `feed` would crash"));
    let spiffe = |host: &str| {
        parse(|config| {
            config["host"] = host.into();
            config["identity"]["spiffe"] = json!({"trust_domains": ["example.org"]});
        })
    };
    assert!(spiffe("envoy").is_ok());
    assert!(spiffe("ngx-wasm").unwrap_err().starts_with("`identity.spiffe`: nothing on `ngx-wasm` tells"));
}
