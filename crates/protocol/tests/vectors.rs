//! The published vectors (`tests/vectors/*.json`), which an independent program wrote (`tests/vectors/make.py`).
#![expect(clippy::unwrap_used, reason = "test support")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use holdgate_protocol::{
    Agent, Hash, Json, Requirement, RuleRef,
    bundle::{self, SignedBundle, rule_hash},
    digest::{RequestDigest, RequestHead, mcp_request_digest, request_digest},
    from_b64, from_b64url,
    grant::{self, Claims},
    jws::{Jwks, Keys, PrivateKey},
};
use serde::{Deserialize, de::DeserializeOwned};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors")
}

fn read<T: DeserializeOwned>(name: &str, least: usize) -> Vec<T> {
    let vectors: Vec<T> = serde_json::from_slice(&fs::read(folder().join(name)).unwrap()).unwrap();
    assert!(vectors.len() >= least, "{name} has {} vectors", vectors.len());
    vectors
}

/// Otherwise the vectors could be changed to fit the code.
#[test]
fn the_files_are_what_the_independent_program_writes() {
    let output = Command::new("python3").arg(folder().join("make.py")).arg("--check").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DigestVector {
    name: String,
    method: String,
    scheme: String,
    authority: String,
    path: String,
    query: Option<String>,
    fields: Vec<(String, String)>,
    token_header: String,
    unbind: Vec<String>,
    body: Body,
    base: String,
    components: Vec<String>,
    digest: Hash,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    utf8: Option<String>,
    base64: Option<String>,
    repeat: Option<String>,
    times: Option<usize>,
}

impl Body {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Body { utf8: Some(text), .. } => text.clone().into_bytes(),
            Body { base64: Some(text), .. } => from_b64(text).unwrap(),
            Body { repeat, times, .. } => repeat.as_ref().unwrap().repeat(times.unwrap()).into_bytes(),
        }
    }
}

impl DigestVector {
    fn head(&self) -> RequestHead<'_> {
        RequestHead {
            method: &self.method,
            scheme: &self.scheme,
            authority: &self.authority,
            path: &self.path,
            query: self.query.as_deref(),
            fields: self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
        }
    }

    fn check(&self, result: &RequestDigest) {
        assert_eq!(result.components, self.components, "{}", self.name);
        assert_eq!(Hash::of(self.base.as_bytes()), self.digest, "{}: the base is the digested text", self.name);
        assert_eq!(result.digest, self.digest, "{}: expected the digest of\n{}", self.name, self.base);
    }
}

#[test]
fn request_digests_are_as_published() {
    for vector in read::<DigestVector>("request-digest.json", 20) {
        let result = request_digest(&vector.head(), &vector.body.bytes(), &vector.token_header, &vector.unbind);
        vector.check(&result.unwrap());
    }
}

/// The first call and what a client changes in its retry have one digest; whatever else changes makes another.
#[test]
fn digests_of_mcp_messages_are_as_published() {
    let vectors = read::<DigestVector>("mcp-digest.json", 17);
    for vector in &vectors {
        let message = Json::parse(&vector.body.bytes()).unwrap();
        let result = mcp_request_digest(&vector.head(), message, &vector.token_header, &vector.unbind);
        vector.check(&result.unwrap());
    }
    let same = [
        "a call",
        "a retry with another id",
        "a progress token",
        "trace context",
        "an empty `_meta`",
        "a state of Holdgate",
        "order and spacing",
    ];
    let mut others = Vec::new();
    for vector in &vectors {
        assert_eq!(vector.digest == vectors[0].digest, same.contains(&vector.name.as_str()), "{}", vector.name);
        others.push(vector.digest);
    }
    others.sort();
    others.dedup();
    assert_eq!(others.len(), vectors.len() - same.len() + 1);
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AgentVector {
    name: String,
    agent: Agent,
    jcs: String,
    key: Hash,
}

#[test]
fn agent_keys_are_as_published() {
    for AgentVector { name, agent, jcs, key } in read("agent-key.json", 4) {
        let text = String::from_utf8(Json::from_serialize(&agent).unwrap().to_jcs()).unwrap();
        assert_eq!((text, agent.key()), (jcs, key), "{name}");
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequirementVector {
    name: String,
    parts: Vec<Requirement>,
    rules: Vec<RuleRef>,
    united: Requirement,
    hash: Hash,
}

#[test]
fn united_requirements_and_their_hashes_are_as_published() {
    for RequirementVector { name, parts, rules, united, hash } in read("requirement.json", 5) {
        let result = parts.into_iter().reduce(Requirement::union).unwrap().normalise();
        assert_eq!(result, united, "{name}");
        assert_eq!(result.hash(&rules), hash, "{name}");
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleVector {
    conditions: serde_json::Value,
    jcs: String,
    hash: Hash,
}

#[test]
fn rule_hashes_are_as_published() {
    for RuleVector { conditions, jcs, hash } in read("rule-hash.json", 3) {
        let conditions = Json::from_serialize(&conditions).unwrap();
        assert_eq!(String::from_utf8(conditions.to_jcs()).unwrap(), jcs);
        assert_eq!(rule_hash(&conditions), hash, "{jcs}");
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureVector {
    name: String,
    seed: String,
    kid: String,
    x: String,
    typ: String,
    payload: String,
    compact: String,
    detached: String,
}

#[test]
fn signatures_are_as_published() {
    let vectors = read::<SignatureVector>("signature.json", 3);
    for vector in &vectors {
        let key = PrivateKey::from_seed(&from_b64url(&vector.seed).unwrap().try_into().unwrap());
        assert_eq!((key.kid(), key.to_public_jwk().x.as_str()), (vector.kid.as_str(), vector.x.as_str()));
        let payload = vector.payload.as_bytes();
        assert_eq!(key.sign(&vector.typ, payload), vector.compact, "{}", vector.name);
        assert_eq!(key.sign_detached(&vector.typ, payload), vector.detached, "{}", vector.name);
        let keys = Keys::new(&Jwks { keys: vec![key.to_public_jwk()] }).unwrap();
        assert_eq!(keys.verify(&vector.compact, None).unwrap(), payload, "{}", vector.name);
        if vector.typ == bundle::JWS_TYPE {
            assert_eq!(SignedBundle::sign(payload, &key).jws, vector.detached);
            keys.verify_detached(&vector.detached, payload, bundle::JWS_TYPE).unwrap();
        }
    }
    assert_eq!(vectors[0].typ, grant::JWS_TYPE);
    let claims: Claims = serde_json::from_str(&vectors[0].payload).unwrap();
    assert_eq!(String::from_utf8(Json::from_serialize(&claims).unwrap().to_jcs()).unwrap(), vectors[0].payload);
}
