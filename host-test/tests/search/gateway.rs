//! A harness with the shipped IAM policy in force, its service, and its agent, without a case around them.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, OnceLock},
    time::Duration,
};

use holdgate_authoring::cases::{Chunks, PolicySource, UpstreamAnswer, UpstreamBehaviour, Version};
use holdgate_host::cases::{
    configuration::{self, AUDIENCE, ISSUER},
    driver::{Driver, Sending, Setup, SharedService},
    harness::{Conditions, Harness},
    keys,
    policies::Policies,
    service::Service,
};
use serde_json::{Value, json};

use crate::corpus::filter;

/// Unix seconds.
pub(crate) const NOW: u64 = 1_767_787_200;

/// The canonical bytes of the shipped IAM policy, by serial.
pub(crate) fn bundle(serial: u64) -> Vec<u8> {
    static POLICIES: OnceLock<Policies> = OnceLock::new();
    let beside = || Policies::beside(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/iam-guardrails.yaml"));
    let source = PolicySource::File("policies/iam-guardrails.yaml".to_owned());
    POLICIES.get_or_init(beside).bundle(&source, serial).unwrap().to_vec()
}

pub(crate) fn token(subject: &str) -> String {
    let claims = json!({"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "owner": "group/iam", "exp": NOW + 86_400});
    format!("Bearer {}", keys::issuer().sign("JWT", claims.to_string().as_bytes()))
}

pub(crate) struct Stage {
    pub(crate) harness: Harness,
    pub(crate) service: SharedService,
}

impl Stage {
    /// A gateway that decides.
    pub(crate) fn new(workers: usize, patch: &Value, conditions: Conditions) -> Self {
        let mut service = Service::new();
        service.publish(NOW * 1000, &bundle(1)).unwrap();
        let service = Arc::new(Mutex::new(service));
        let mut configuration = configuration::usual();
        holdgate_host::cases::merge::merge(&mut configuration, patch.clone());
        let answer = UpstreamAnswer { status: 200, headers: Vec::new(), body: b"done".to_vec(), after: 0 };
        let setup = Setup {
            configuration,
            workers,
            time: NOW * 1000,
            timed: true,
            service: service.clone(),
            upstream: UpstreamBehaviour::Answer(answer),
            ready: true,
        };
        Stage { harness: Harness::start(filter(), setup, conditions).unwrap(), service }
    }

    pub(crate) fn service(&self) -> MutexGuard<'_, Service> {
        self.service.lock().unwrap()
    }

    pub(crate) fn pass(&mut self, milliseconds: u64) {
        self.harness.pass(Duration::from_millis(milliseconds), &mut |_| false).unwrap();
    }
}

/// A request of the usual agent.
pub(crate) fn sending(method: &str, target: &str, token: &str, body: &str, worker: usize) -> Sending {
    let mut headers = vec![(b"authorization".to_vec(), token.as_bytes().to_vec())];
    if !body.is_empty() {
        headers.push((b"content-type".to_vec(), b"application/json".to_vec()));
    }
    Sending {
        name: format!("{method} {target}"),
        method: method.to_owned(),
        target: target.to_owned(),
        host: "api.example".to_owned(),
        version: Version::Http1,
        headers,
        body: body.as_bytes().to_vec(),
        chunks: Chunks::Whole,
        pause: Duration::ZERO,
        trailers: Vec::new(),
        worker: Some(worker),
    }
}
