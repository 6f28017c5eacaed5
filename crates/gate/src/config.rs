//! The plugin's configuration: what stands in the JSON text, and what it resolves to.

use std::collections::HashSet;

use holdgate_engine::Policy;
use holdgate_protocol::{
    Json,
    bundle::{BundleError, Needs, SignedBundle},
    duration,
    jws::{Jwks, KeyError, Keys},
};
use serde::Deserialize;

/// The checked configuration of a filter.
#[derive(Debug)]
pub struct Config {
    pub group: String,
    pub approval: Approval,
    pub identity: Identity,
    pub bundle_keys: Keys,
    pub grant_keys: Keys,
    /// The id that a bundle must have; `None` accepts any that is signed.
    pub policy: Option<String>,
    pub min_serial: u64,
    /// A bundle that stands in the configuration itself, verified; `None` means that it is fetched.
    pub bundle: Option<Policy>,
    /// Bytes of a body that is read or held.
    pub max_body: usize,
    /// Bytes that one worker keeps for held requests, and for those of one agent; above that the agent gets a ticket.
    pub max_parked_bytes: usize,
    pub max_agent_bytes: usize,
    /// Milliseconds within which a body must have come whole.
    pub body_within: u64,
    /// Milliseconds for which a stream is held at most before the agent gets a ticket.
    pub max_wait: u64,
    /// Milliseconds after which the feed is stale.
    pub feed_max_age: u64,
    /// Seconds for which the service may keep a feed request open.
    pub feed_wait: u64,
    pub on_stale: OnStale,
    pub body: AwaitBody,
    pub wake: Wake,
    /// The header in which agents say why they ask.
    pub reason_header: Option<String>,
}

/// How the proxy gives a filter the body of a request that must not go on yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AwaitBody {
    /// The headers are paused (Envoy with `allow_on_headers_stop_iteration`).
    Pause,
    /// The headers are let go on, and the whole body comes before the upstream is contacted (ngx_wasm_module).
    Continue,
}

/// How a held stream is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wake {
    /// From the root context, when the feed brings the decision.
    Feed,
    /// By a long poll of its own; the root context never touches it.
    Stream,
}

/// How the approval service is reached.
#[derive(Debug)]
pub struct Approval {
    pub cluster: String,
    pub authority: String,
    /// Milliseconds for every callout but the feed's.
    pub timeout: u64,
    /// The `iss` of its grants.
    pub issuer: String,
}

/// How agents are identified.
#[derive(Debug)]
pub struct Identity {
    /// The header that carries the token; in `authorization` it stands behind `Bearer `.
    pub header: String,
    /// Whether the upstream gets the token.
    pub forward: bool,
    pub untagged: Untagged,
    pub issuers: Vec<Issuer>,
}

/// An issuer of agents' tokens that is trusted.
#[derive(Debug)]
pub struct Issuer {
    pub iss: String,
    pub aud: String,
    pub keys: Keys,
    pub owner_claim: String,
}

/// What happens to a request without a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Untagged {
    Deny,
    Evaluate,
}

/// What happens to routine requests while the feed is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnStale {
    Deny,
    AllowRoutine,
}

/// Why a configuration is refused; the message names the field.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    #[error("the configuration is not JSON with a single reading: {0}")]
    Json(#[from] holdgate_protocol::json::JsonError),
    #[error("the configuration does not have the documented shape: {0}")]
    Shape(#[from] serde_json::Error),
    #[error("`{0}` must not be empty")]
    Empty(&'static str),
    #[error("`{field}`: `{value}` is not a duration such as `45s`, `10m` or `1h`")]
    Duration { field: &'static str, value: String },
    #[error("`{field}`: {error}")]
    Keys { field: String, error: KeyError },
    #[error("`identity.issuers[{0}].algs`: this version verifies [\"EdDSA\"] and nothing else")]
    Algorithms(usize),
    #[error("`identity.issuers`: the issuer `{0}` stands there twice")]
    DuplicateIssuer(String),
    #[error("`identity.issuers[{0}].owner_issuer`: this version resolves owners at `iss` itself; leave it out")]
    OwnerIssuer(usize),
    #[error("`identity.header`: `{0}` cannot carry a token; use `authorization` or a lower-case name of your own")]
    Header(String),
    #[error("`reason_header`: `{0}` is not a lower-case name of your own that begins with `x-`")]
    ReasonHeader(String),
    #[error("`bundle`: {0}")]
    Bundle(#[from] BundleError),
    #[error("`bundle`: {0}")]
    Policy(#[from] holdgate_engine::LoadError),
    #[error("`bundle`: its id is `{found}`, but `policy` says `{expected}`")]
    PolicyId { found: String, expected: String },
    #[error("`bundle`: its serial {found} is lower than `min_serial` {min}")]
    Serial { found: u64, min: u64 },
    #[error("`bundle`: its rules look at `{0}`, which this version of the filter does not evaluate")]
    Unsupported(&'static str),
    #[error("`{0}` must be greater than 0")]
    Zero(&'static str),
    #[error("`host`: `{0}` is not a host that this filter knows; use `envoy` or `ngx-wasm`")]
    Host(String),
    #[error("`wake`: `feed` would crash the workers of `ngx-wasm`; use `stream`, or leave it out")]
    Wake,
    #[error(
        "HOLDGATE_GATEWAY_CREDENTIAL is missing; set it in the proxy's environment, and name it in vm_config.environment_variables.host_env_keys"
    )]
    Credential,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    group: String,
    approval: RawApproval,
    identity: RawIdentity,
    bundle_keys: Jwks,
    grant_keys: Jwks,
    policy: Option<String>,
    #[serde(default)]
    min_serial: u64,
    bundle: Option<SignedBundle>,
    max_body: Option<usize>,
    max_parked_bytes: Option<usize>,
    max_agent_bytes: Option<usize>,
    body_within: Option<String>,
    max_wait: Option<String>,
    feed_max_age: Option<String>,
    feed_wait: Option<String>,
    on_stale: Option<OnStale>,
    host: Option<String>,
    wake: Option<Wake>,
    reason_header: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawApproval {
    cluster: String,
    authority: String,
    timeout: Option<String>,
    issuer: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIdentity {
    header: Option<String>,
    forward: Option<bool>,
    untagged: Option<Untagged>,
    issuers: Vec<RawIssuer>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIssuer {
    iss: String,
    aud: String,
    algs: Vec<String>,
    jwks: Jwks,
    owner_claim: Option<String>,
    /// The issuer of the persons that `owner_claim` names. On the wire an owner is resolved at the token's issuer.
    owner_issuer: Option<String>,
}

impl Config {
    /// Reads and checks the text of a configuration.
    pub fn parse(text: &[u8]) -> Result<Config, ConfigError> {
        Json::parse(text)?;
        let raw: RawConfig = serde_json::from_slice(text)?;
        let (body, wake) = match (raw.host.as_deref(), raw.wake) {
            (None | Some("envoy"), wake) => (AwaitBody::Pause, wake.unwrap_or(Wake::Feed)),
            (Some("ngx-wasm"), None | Some(Wake::Stream)) => (AwaitBody::Continue, Wake::Stream),
            (Some("ngx-wasm"), Some(Wake::Feed)) => return Err(ConfigError::Wake),
            (Some(other), _) => return Err(ConfigError::Host(other.to_owned())),
        };
        let bundle_keys = keys("bundle_keys", &raw.bundle_keys)?;
        let signed = raw.bundle.map(|signed| signed.open(&bundle_keys)).transpose()?;
        let bundle = signed.map(|bytes| Policy::load(&bytes)).transpose()?;
        let config = Config {
            group: not_empty("group", raw.group)?,
            approval: Approval {
                cluster: not_empty("approval.cluster", raw.approval.cluster)?,
                authority: not_empty("approval.authority", raw.approval.authority)?,
                timeout: milliseconds("approval.timeout", raw.approval.timeout, "5s")?,
                issuer: not_empty("approval.issuer", or(raw.approval.issuer, "holdgate-approval"))?,
            },
            identity: identity(raw.identity)?,
            bundle_keys,
            grant_keys: keys("grant_keys", &raw.grant_keys)?,
            policy: raw.policy.map(|id| not_empty("policy", id)).transpose()?,
            min_serial: raw.min_serial,
            bundle: None,
            max_body: positive("max_body", raw.max_body, 1024 * 1024)?,
            max_parked_bytes: positive("max_parked_bytes", raw.max_parked_bytes, 256 * 1024 * 1024)?,
            max_agent_bytes: positive("max_agent_bytes", raw.max_agent_bytes, 16 * 1024 * 1024)?,
            body_within: milliseconds("body_within", raw.body_within, "60s")?,
            max_wait: milliseconds("max_wait", raw.max_wait, "45s")?,
            feed_max_age: milliseconds("feed_max_age", raw.feed_max_age, "60s")?,
            feed_wait: milliseconds("feed_wait", raw.feed_wait, "25s")? / 1000,
            on_stale: raw.on_stale.unwrap_or(OnStale::Deny),
            body,
            wake,
            reason_header: raw.reason_header.map(reason_header).transpose()?,
        };
        if let Some(policy) = &bundle {
            config.accepts(policy)?;
        }
        Ok(Config { bundle, ..config })
    }

    /// Whether a signed policy is one that this filter is to enforce.
    pub fn accepts(&self, policy: &Policy) -> Result<(), ConfigError> {
        let reference = policy.reference();
        if let Some(expected) = self.policy.as_ref().filter(|id| **id != reference.id) {
            return Err(ConfigError::PolicyId { found: reference.id.clone(), expected: expected.clone() });
        }
        if reference.serial < self.min_serial {
            return Err(ConfigError::Serial { found: reference.serial, min: self.min_serial });
        }
        match not_evaluated(policy.needs()).next() {
            Some(what) => Err(ConfigError::Unsupported(what)),
            None => Ok(()),
        }
    }
}

/// What rules look at and this version of the filter does not evaluate, by the keys of rule files.
///
/// It refuses such a policy: if it let the atoms be unknown it would hold or deny everything that the rules are near to.
pub fn not_evaluated(needs: &Needs) -> impl Iterator<Item = &'static str> {
    let all = [(needs.mcp, "mcp"), (needs.rates, "rate")];
    all.into_iter().filter(|(needed, _)| *needed).map(|(_, what)| what)
}

fn identity(raw: RawIdentity) -> Result<Identity, ConfigError> {
    let header = or(raw.header, "authorization");
    let lower = header.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let taken = ["holdgate-", "x-envoy-"].iter().any(|prefix| header.starts_with(prefix))
        || ["", "host", "cookie", "connection", "te", "transfer-encoding", "content-length"].contains(&&*header);
    if taken || !lower {
        return Err(ConfigError::Header(header));
    }
    if raw.issuers.is_empty() {
        return Err(ConfigError::Empty("identity.issuers"));
    }
    let mut seen = HashSet::new();
    let mut issuers = Vec::new();
    for (index, issuer) in raw.issuers.into_iter().enumerate() {
        if issuer.algs != ["EdDSA"] {
            return Err(ConfigError::Algorithms(index));
        }
        if !seen.insert(issuer.iss.clone()) {
            return Err(ConfigError::DuplicateIssuer(issuer.iss));
        }
        if issuer.owner_issuer.is_some_and(|owner_issuer| owner_issuer != issuer.iss) {
            return Err(ConfigError::OwnerIssuer(index));
        }
        issuers.push(Issuer {
            iss: not_empty("identity.issuers[].iss", issuer.iss)?,
            aud: not_empty("identity.issuers[].aud", issuer.aud)?,
            keys: keys(&format!("identity.issuers[{index}].jwks"), &issuer.jwks)?,
            owner_claim: not_empty("identity.issuers[].owner_claim", or(issuer.owner_claim, "owner"))?,
        });
    }
    Ok(Identity {
        header,
        forward: raw.forward.unwrap_or(true),
        untagged: raw.untagged.unwrap_or(Untagged::Deny),
        issuers,
    })
}

fn reason_header(name: String) -> Result<String, ConfigError> {
    let own = name.starts_with("x-") && !name.starts_with("x-envoy-");
    let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if own && plain { Ok(name) } else { Err(ConfigError::ReasonHeader(name)) }
}

fn keys(field: &str, jwks: &Jwks) -> Result<Keys, ConfigError> {
    Keys::new(jwks).map_err(|error| ConfigError::Keys { field: field.to_owned(), error })
}

fn not_empty(field: &'static str, value: String) -> Result<String, ConfigError> {
    if value.is_empty() { Err(ConfigError::Empty(field)) } else { Ok(value) }
}

fn or(value: Option<String>, default: &str) -> String {
    value.unwrap_or_else(|| default.to_owned())
}

fn positive(field: &'static str, value: Option<usize>, default: usize) -> Result<usize, ConfigError> {
    match value.unwrap_or(default) {
        0 => Err(ConfigError::Zero(field)),
        value => Ok(value),
    }
}

fn milliseconds(field: &'static str, value: Option<String>, default: &str) -> Result<u64, ConfigError> {
    let value = or(value, default);
    let seconds = duration::seconds(&value).and_then(|seconds| seconds.checked_mul(1000));
    seconds.ok_or(ConfigError::Duration { field, value })
}

#[cfg(test)]
mod tests;
