//! The filter on the native host, with a policy in force, and an agent that calls. Keys and time are always the same.

use holdgate_host::{Answer, Callout, Done, Filter, Pairs, Request, Setup, Vm};
use holdgate_protocol::{bundle::SignedBundle, jws::PrivateKey};
use holdgate_tests::{bench::policy, identity::AUDIENCE, stack::ISSUER};
use serde_json::{Value, json};

/// Unix seconds.
const NOW: u64 = 1_790_000_000;

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from_seed(&[seed; 32])
}

fn jwks(seed: u8) -> Value {
    json!({"keys": [key(seed).to_public_jwk()]})
}

const AUTHORS: u8 = 1;
const GRANTS: u8 = 2;
const AGENTS: u8 = 3;

pub(crate) struct Gateway {
    vm: Vm,
    requests: u64,
}

impl Gateway {
    /// A filter with so many rules in force, which has its snapshot and waits for news.
    pub(crate) fn start(filter: &Filter, rules: usize) -> Self {
        let bundle = holdgate_authoring::build(&[("bench.yaml", &policy::text(rules))], policy::ID, 1).unwrap();
        let configuration = json!({
            "group": "edge",
            "approval": {"cluster": "approval", "authority": "approval.internal"},
            "identity": {"issuers": [{
                "iss": ISSUER, "aud": AUDIENCE, "algs": ["EdDSA"], "jwks": jwks(AGENTS), "owner_claim": "owner",
            }]},
            "bundle_keys": jwks(AUTHORS), "grant_keys": jwks(GRANTS), "policy": policy::ID,
            "bundle": SignedBundle::sign(&bundle, &key(AUTHORS)),
        });
        let setup = Setup {
            configuration: configuration.to_string().into_bytes(),
            environment: vec![("HOLDGATE_GATEWAY_CREDENTIAL".into(), "credential".into())],
            time: NOW * 1_000_000_000,
        };
        let mut gateway = Gateway { vm: Vm::start(filter, setup).unwrap(), requests: 0 };
        gateway.vm.tick().unwrap();
        gateway.answer("/v1/state", &json!({"seq": 1, "suspended": [], "policy": null, "now": NOW}));
        assert!(gateway.callout("/v1/feed").is_some(), "no feed is asked for: {:?}", gateway.vm.take_logs());
        gateway
    }

    fn callout(&self, path: &str) -> Option<&Callout> {
        let is_it = |(name, value): &(Vec<u8>, Vec<u8>)| name == b":path" && value.starts_with(path.as_bytes());
        self.vm.callouts().find(|callout| callout.headers.iter().any(is_it))
    }

    fn answer(&mut self, path: &str, body: &Value) {
        let token = self.callout(path).unwrap_or_else(|| panic!("`{path}` is not called")).token;
        let headers = vec![(b":status".to_vec(), b"200".to_vec())];
        self.vm.answer(token, Answer { headers, body: body.to_string().into_bytes() }).unwrap();
    }

    /// Sends a request as Envoy hands it over, with the usual token or with a new one.
    pub(crate) fn request(&mut self, method: &str, path: &str, cold: bool) -> Done {
        self.requests += u64::from(cold);
        let claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": "agent-7", "owner": "carol", "team": "iam", "iat": NOW,
            "exp": NOW + 3600, "jti": format!("{:08}", self.requests),
        });
        let token = format!("Bearer {}", key(AGENTS).sign("at+jwt", claims.to_string().as_bytes()));
        let headers = [
            (":authority", "api.example"),
            (":path", path),
            (":method", method),
            (":scheme", "http"),
            ("authorization", &token),
            ("user-agent", "agent/1.0"),
            ("accept", "*/*"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-proto", "http"),
            ("x-request-id", "6f1c6c1e-6f3b-4d0a-9c52-0d3c1f6b8a11"),
        ];
        let headers: Pairs =
            headers.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect();
        self.vm.request(&Request { headers, body: None }).unwrap()
    }
}
