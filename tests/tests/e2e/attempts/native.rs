//! The gate as a host drives it, without one.

use holdgate_authoring::compile;
use holdgate_gate::{Answer, Config, Gate, Host, RootCall, Step, StreamId};
use holdgate_protocol::{bundle::SignedBundle, gateway::OpenHold};
use holdgate_tests::{
    identity::{Issuer, new_key},
    stack::{ISSUER, usual_claims},
};
use serde_json::{Value, json};

use super::{Attempt, Outcome, octets};

pub(super) struct Driver {
    gate: Gate,
    token: String,
    now: u64,
    streams: StreamId,
}

/// A host with a nonce and nothing else.
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

impl Driver {
    pub(super) fn new(policy: &str) -> Self {
        let compilation = compile(&[("policy.yaml", policy)]).unwrap();
        let authors = new_key().unwrap();
        let bundle = SignedBundle::sign(&compilation.build("attempts", 1).unwrap(), &authors);
        let issuer = Issuer::new(ISSUER).unwrap();
        let config = json!({
            "group": "edge", "approval": {"cluster": "approval", "authority": "approval"},
            "identity": {"issuers": [{"iss": ISSUER, "aud": holdgate_tests::identity::AUDIENCE, "algs": ["EdDSA"],
                "jwks": issuer.jwks()}]},
            "bundle_keys": {"keys": [authors.to_public_jwk()]}, "grant_keys": {"keys": [authors.to_public_jwk()]},
            "bundle": bundle,
        });
        let config = Config::parse(config.to_string().as_bytes()).unwrap();
        let mut gate = Gate::new(config, "credential", Box::new(Alone));
        let now = holdgate_tests::now() * 1000;
        let state = json!({"seq": 1, "suspended": [], "policy": null, "now": now / 1000}).to_string().into_bytes();
        gate.root_answer(now, RootCall::State, Some(Answer { status: 200, body: state }));
        Driver { gate, token: issuer.token(usual_claims(json!({}))), now, streams: 0 }
    }

    /// Hands a request over as a host would; `None` where no host could.
    pub(super) fn send(&mut self, attempt: Attempt<'_>) -> Option<Outcome> {
        let pairs = self.pairs(attempt)?;
        self.streams += 1;
        let (id, body) = (self.streams, attempt.body());
        let trailers = !attempt.list("trailers").is_empty();
        let mut step = self.gate.head(self.now, id, pairs, body.is_empty()).step;
        if matches!(step, Step::Await) {
            step = self.gate.body_so_far(id, body.len());
            step = match step {
                Step::Await if trailers => self.gate.trailers(id),
                Step::Await => self.gate.body(self.now, id, Some(body)),
                refused => refused,
            };
        }
        self.gate.closed(id);
        Some(match step {
            Step::Forward(_) => Outcome::Passed,
            Step::Reply(reply) => {
                let problem: Value = serde_json::from_slice(&reply.body).unwrap();
                if problem["rule"] == attempt.rule() { Outcome::Met } else { Outcome::Status(reply.status) }
            }
            Step::Call(callout) => {
                let hold: OpenHold = serde_json::from_slice(&callout.body).unwrap();
                assert!(hold.rules.iter().any(|rule| rule.id == attempt.rule()), "{}", attempt.name());
                Outcome::Met
            }
            Step::Await => panic!("{}: nothing came of it", attempt.name()),
        })
    }

    fn pairs(&self, attempt: Attempt<'_>) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
        let on_wire = attempt.pairs("h2", &self.token);
        if !on_wire.is_empty() {
            return Some(on_wire);
        }
        let (method, target) = attempt.text("send")?.split_once(' ')?;
        let mut pairs = vec![
            (b":method".to_vec(), octets(method)),
            (b":scheme".to_vec(), b"http".to_vec()),
            (b":authority".to_vec(), octets(attempt.host().trim())),
            (b":path".to_vec(), octets(target)),
            (b"authorization".to_vec(), format!("Bearer {}", self.token).into_bytes()),
        ];
        for line in attempt.body_lines() {
            let (name, value) = line.split_once(':')?;
            pairs.push((octets(&name.to_ascii_lowercase()), octets(value.trim_matches([' ', '\t']))));
        }
        Some(pairs)
    }
}
