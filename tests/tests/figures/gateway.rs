//! The filter on the native host, with a policy in force, and an agent that calls. Keys and time are always the same.

use std::{collections::BTreeMap, time::Duration};

use holdgate_host::{Callback, Exchange, Filter, Gateway as Host, Options, Reply, Request, UpstreamAnswer};
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
    host: Host,
    requests: u64,
}

/// A request that is over, and what its callbacks cost.
pub(crate) struct Done {
    pub(crate) exchange: Exchange,
    pub(crate) callbacks: Vec<Callback>,
}

impl Done {
    /// Fuel of all callbacks together.
    pub(crate) fn fuel(&self) -> u64 {
        self.callbacks.iter().map(|callback| callback.fuel).sum()
    }

    /// Host calls of all callbacks together, by name.
    pub(crate) fn calls(&self) -> BTreeMap<&'static str, u64> {
        let mut all = BTreeMap::new();
        for (name, count) in self.callbacks.iter().flat_map(|callback| &callback.calls) {
            *all.entry(*name).or_default() += count;
        }
        all
    }
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
        let options = Options {
            configuration: configuration.to_string().into_bytes(),
            environment: vec![("HOLDGATE_GATEWAY_CREDENTIAL".into(), "credential".into())],
            time: NOW * 1_000_000_000,
            costs: true,
            ..Options::default()
        };
        let mut host = Host::start(filter, options).unwrap();
        host.on_upstream(|_| UpstreamAnswer::new(200, "ok"));
        host.on_call(|callout, _| match callout.path() {
            "/v1/state" => Reply::new(200, json!({"seq": 1, "suspended": [], "policy": null, "now": NOW}).to_string()),
            _ => Reply::Silence,
        });
        // The first tick asks for the state, the next one for the news after it.
        host.advance(Duration::from_millis(60));
        assert!(host.callouts().iter().any(|callout| callout.path().starts_with("/v1/feed")), "{:?}", host.logs());
        Gateway { host, requests: 0 }
    }

    /// Sends a request as Envoy hands it over, with the usual token or with a new one.
    pub(crate) fn request(&mut self, method: &str, path: &str, cold: bool) -> Done {
        self.requests += u64::from(cold);
        let claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": "agent-7", "owner": "carol", "team": "iam", "iat": NOW,
            "exp": NOW + 3600, "jti": format!("{:08}", self.requests),
        });
        let token = format!("Bearer {}", key(AGENTS).sign("at+jwt", claims.to_string().as_bytes()));
        let headers = holdgate_host::pairs([
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
        ]);
        self.host.take_costs();
        let id = self.host.send(&Request { headers, ..Request::default() });
        let exchange = self.host.take(id).unwrap_or_else(|| panic!("{method} {path} is not over"));
        Done { exchange, callbacks: self.host.take_costs() }
    }
}
