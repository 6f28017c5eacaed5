//! The JSON Schema of the configuration says what the filter does, and the reference page names each member.

use holdgate_protocol::jws::PrivateKey;
use serde_json::{Value, json};

use crate::Config;

const SCHEMA: &str = include_str!("../../../../../envoy/configuration.schema.json");
const PAGE: &str = include_str!("../../../../../envoy/CONFIGURATION.md");

/// A configuration with every member that there is.
fn full() -> Value {
    let keys = json!({"keys": [PrivateKey::from_seed(&[1; 32]).to_public_jwk()]});
    let place = json!({"cluster": "idp", "authority": "idp.example", "path": "/jwks", "refresh": "10m"});
    json!({
        "group": "edge",
        "approval": {"cluster": "approval", "authority": "a", "timeout": "5s", "issuer": "holdgate-approval"},
        "identity": {
            "header": "authorization", "forward": true, "untagged": "deny", "token_cache": 4096,
            "issuers": [
                {"iss": "https://idp", "aud": "api", "algs": ["EdDSA"], "jwks": keys, "owner_claim": "owner",
                    "team_claim": "team", "max_token_age": "1h", "max_credential_age": "7d",
                    "credential_claim": "auth_time"},
                {"iss": "https://other", "aud": ["api", "b"], "algs": ["ES256", "RS256"], "jwks": place},
            ],
            "spiffe": {"trust_domains": ["example.org"], "owner": "group/iam"},
        },
        "bundle_keys": keys, "grant_keys": keys, "policy": "p", "min_serial": 1, "mcp": {"paths": ["/mcp"]},
        "max_body": 1000, "max_parked_bytes": 268435456, "max_agent_bytes": 16777216, "body_within": "60s", "max_wait": "45s",
        "feed_wait": "25s", "feed_max_age": "60s", "on_stale": "allow_routine", "reason_header": "x-why", "host": "envoy",
        "wake": "stream",
    })
}

/// The paths of all members, as JSON pointers.
fn members(value: &Value, at: &str, out: &mut Vec<String>) {
    let each: Vec<(String, &Value)> = match value {
        Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect(),
        _ => Vec::new(),
    };
    for (name, value) in each {
        let path = format!("{at}/{name}");
        members(value, &path, out);
        out.push(path);
    }
}

/// Notes where schema and filter come to different ends.
fn compare(schema: &jsonschema::Validator, config: &Value, what: &str, differ: &mut Vec<String>) {
    let (by_schema, by_filter) = (schema.is_valid(config), Config::parse(config.to_string().as_bytes()));
    if by_schema != by_filter.is_ok() {
        let why = by_filter.map_or_else(|error| error.to_string(), |_| "the filter takes it".to_owned());
        differ.push(format!("{what}: {why}"));
    }
}

#[test]
fn the_schema_accepts_what_the_filter_accepts_member_by_member() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    assert!(schema.is_valid(&full()) && Config::parse(full().to_string().as_bytes()).is_ok());
    let mut differ = Vec::new();
    for (host, spiffe) in [("envoy", true), ("ngx-wasm", true), ("ngx-wasm", false)] {
        let mut config = full();
        config["host"] = host.into();
        if !spiffe {
            config["identity"].as_object_mut().unwrap().remove("spiffe");
        }
        assert_eq!(schema.is_valid(&config), host == "envoy" || !spiffe);
        compare(&schema, &config, host, &mut differ);
    }
    let mut paths = Vec::new();
    members(&full(), "", &mut paths);
    // Keys are JWKs, whose members are RFC 7517's.
    let ours = |path: &&String| !path.contains("/keys/");
    for path in paths.iter().filter(ours) {
        let mut config = full();
        let (parent, name) = path.rsplit_once('/').unwrap();
        if let Some(Value::Object(parent)) = config.pointer_mut(parent) {
            parent.remove(name);
            compare(&schema, &config, &format!("without {path}"), &mut differ);
        }
        for other in [
            json!(true),
            json!(-1),
            json!(1.5),
            json!(8_388_609_u64),
            json!(""),
            json!("Nonsense"),
            json!([]),
            json!({}),
            json!([[]]),
        ] {
            let mut config = full();
            *config.pointer_mut(path).unwrap() = other.clone();
            // These texts are free, or one member with another: the schema cannot tell. Room is as large as one likes.
            let free = path.starts_with("/mcp/paths/") || path.ends_with("owner_issuer") || path == "/approval/cluster";
            if !(free && other.is_string()) {
                compare(&schema, &config, &format!("{path} = {other}"), &mut differ);
            }
        }
        let mut config = full();
        if let Some(Value::Object(members)) = config.pointer_mut(path) {
            members.insert("mispelt".to_owned(), json!(1));
            if !path.ends_with("_keys") && !path.ends_with("0/jwks") {
                compare(&schema, &config, &format!("{path} with another member"), &mut differ);
            }
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

#[test]
fn every_member_and_default_stands_in_the_reference() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let mut places = Vec::new();
    members(&schema, "", &mut places);
    let mut named = 0;
    for place in places.iter().filter(|place| place.ends_with("/default") || place.ends_with("/description")) {
        let (member, what) = place.rsplit_once('/').unwrap();
        let name = member.rsplit_once('/').unwrap().1;
        if member.rsplit('/').nth(1) != Some("properties") {
            continue;
        }
        named += 1;
        let rows = PAGE.lines().filter(|line| line.starts_with(&format!("| `{name}`")));
        let default = schema.pointer(&format!("{member}/default")).filter(|_| what == "default");
        let default = default.map(|default| default.as_str().map_or(default.to_string(), str::to_owned));
        let mut rows = rows.filter(|row| default.as_ref().is_none_or(|default| row.contains(&format!("`{default}`"))));
        assert!(rows.next().is_some(), "`{name}` with its default {default:?} is not in envoy/CONFIGURATION.md");
    }
    assert!(named > 50, "{named}");
}
