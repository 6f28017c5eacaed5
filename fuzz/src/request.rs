//! Any octets as a request: decided without a panic, and what goes on reads the same to whoever reads it again.
#![no_main]

use std::sync::OnceLock;

use holdgate_gate::{Answer, Config, Gate, Head, Host, RootCall, Step};
use holdgate_protocol::{bundle::SignedBundle, jws::PrivateKey};
use libfuzzer_sys::fuzz_target;

/// The moment at which the requests come, in Unix milliseconds.
const NOW: u64 = 1_790_000_000_000;

const POLICY: &str = include_str!("../../tests/attempts/policy.yaml");

struct Alone;

impl Host for Alone {
    fn verify_signature(&mut self, _key: &[u8], _signature: &[u8], _text: &[u8]) -> Option<bool> {
        None
    }

    fn peer(&mut self) -> Option<String> {
        None
    }

    fn nonce(&mut self) -> Option<[u8; 16]> {
        Some([7; 16])
    }

    fn shared(&mut self, _key: &str) -> (Option<Vec<u8>>, u32) {
        (None, 0)
    }

    fn share(&mut self, _key: &str, _value: &[u8], _version: u32) -> bool {
        false
    }
}

fn gate() -> (Gate, &'static str) {
    static MADE: OnceLock<(String, String)> = OnceLock::new();
    let (config, token) = MADE.get_or_init(|| {
        let key = PrivateKey::from_seed(&[3; 32]);
        let policy = holdgate_authoring::compile(&[("policy.yaml", POLICY)]).expect("a policy");
        let bundle = SignedBundle::sign(&policy.build("attempts", 1).expect("a bundle"), &key);
        let keys = serde_json::json!({"keys": [key.to_public_jwk()]});
        let config = serde_json::json!({
            "group": "edge", "approval": {"cluster": "approval", "authority": "approval"},
            "identity": {"issuers": [{"iss": "i", "aud": "a", "algs": ["EdDSA"], "jwks": keys}]},
            "bundle_keys": keys, "grant_keys": keys, "bundle": bundle, "max_body": 4096,
        });
        let claims = serde_json::json!({"iss": "i", "aud": "a", "sub": "agent", "owner": "group/x", "exp": NOW / 1000 + 600});
        (config.to_string(), format!("Bearer {}", key.sign("at+jwt", claims.to_string().as_bytes())))
    });
    let config = Config::parse(config.as_bytes()).expect("a configuration");
    let mut gate = Gate::new(config, "credential", Box::new(Alone));
    let state = serde_json::json!({"seq": 1, "suspended": [], "policy": null, "now": NOW / 1000}).to_string();
    gate.root_answer(NOW, RootCall::State, Some(Answer { status: 200, body: state.into_bytes() }));
    (gate, token)
}

/// What rules see of a head, and its digest covers.
fn seen(head: &Head) -> (&str, &str, &str, &str, Option<&str>, Vec<(&str, &str)>) {
    (head.method(), head.scheme(), head.authority(), head.path(), head.query(), head.fields().collect())
}

// Lines of the head as `name: value` with a pseudo-header's colon at the front, an empty line, the body.
fuzz_target!(|bytes: &[u8]| {
    let (mut gate, token) = gate();
    let split = bytes.windows(2).position(|two| two == b"\n\n");
    let (head, body) = split.map_or((bytes, &[][..]), |at| (&bytes[..at], &bytes[at + 2..]));
    let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for line in head.split(|byte| *byte == b'\n') {
        let colon = line.iter().skip(1).position(|byte| *byte == b':').map_or(line.len(), |at| at + 1);
        pairs.push((line[..colon].to_vec(), line.get(colon + 1..).unwrap_or_default().to_vec()));
    }
    pairs.push((b"authorization".to_vec(), token.as_bytes().to_vec()));
    let opened = gate.head(NOW, 1, pairs.clone(), body.is_empty());
    let mut step = opened.step;
    for end in 1..body.len() {
        if !matches!(step, Step::Await) || end > 64 {
            break;
        }
        step = gate.body_so_far(1, end);
    }
    if matches!(step, Step::Await) {
        step = gate.body(NOW, 1, Some(body.to_vec()));
    }
    match step {
        Step::Await => panic!("a whole request is decided"),
        Step::Reply(reply) => assert!(reply.status >= 400, "a refusal has a status of its own"),
        Step::Forward(_) | Step::Call(_) => {
            // What goes on: without what is removed, with the authority as it was matched.
            let read = Head::read(pairs.clone().into(), "authorization").expect("what goes on is canonical");
            pairs.retain(|(name, _)| !opened.remove.iter().any(|removed| removed.as_bytes() == name));
            if let Some(authority) = opened.authority {
                pairs.iter_mut().filter(|(name, _)| name == b":authority").for_each(|(_, value)| *value = authority.clone().into());
            }
            let again = Head::read(pairs.into(), "authorization").expect("what goes on is read again");
            assert!(!again.renamed && again.fields().all(|(name, _)| !name.starts_with("holdgate-")));
            assert_eq!(seen(&again), seen(&read), "it reads the same");
        }
    }
    gate.closed(1);
    assert_eq!(gate.parked().1, 0, "nothing stays behind");
});
