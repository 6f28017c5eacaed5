//! The plugin's configuration: what stands in the JSON text, and what it resolves to.

mod identity;

use holdgate_engine::Policy;
use holdgate_protocol::{
    Hash, Json,
    bundle::{BundleError, SignedBundle},
    duration,
    gateway::MAX_HELD_BODY,
    json::{Place, ShapeError},
    jws::Keys,
};

use crate::Endpoints;
pub use identity::{Identity, Issuer, KeyPlace, KeySource, Spiffe, Untagged};

/// The checked configuration of a filter.
#[derive(Debug)]
pub struct Config {
    pub group: String,
    pub approval: Approval,
    pub identity: Identity,
    /// Of the member `identity`, as it stands in the configuration.
    pub identity_hash: Hash,
    pub bundle_keys: Keys,
    pub grant_keys: Keys,
    /// The id that a bundle must have; `None` accepts any that is signed.
    pub policy: Option<String>,
    pub min_serial: u64,
    /// A bundle that stands in the configuration itself, verified; `None` means that it is fetched.
    pub bundle: Option<Policy>,
    /// Bytes of a body that is read or held: at most [`MAX_HELD_BODY`], and either of the next two.
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
    /// Where MCP is spoken.
    pub mcp: Endpoints,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// What happens to routine requests while the feed is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    #[error(transparent)]
    Field(#[from] ShapeError),
    #[error("`bundle`: {0}")]
    Bundle(#[from] BundleError),
    #[error("`bundle`: {0}")]
    Policy(#[from] holdgate_engine::LoadError),
    #[error("`bundle`: its id is `{found}`, but `policy` says `{expected}`")]
    PolicyId { found: String, expected: String },
    #[error("`bundle`: its serial {found} is lower than `min_serial` {min}")]
    Serial { found: u64, min: u64 },
    #[error(
        "`bundle`: its rules look at MCP messages, and without `mcp.paths` none could match; list the paths of the MCP servers"
    )]
    NoEndpoints,
    #[error(
        "HOLDGATE_GATEWAY_CREDENTIAL is missing; set it in the proxy's environment, and name it in vm_config.environment_variables.host_env_keys"
    )]
    Credential,
    #[error(
        "the credential is missing; give it as the configuration of the `module` directive, in a file that only nginx reads"
    )]
    ModuleCredential,
}

impl Config {
    /// Reads and checks the text of a configuration.
    pub fn parse(text: &[u8]) -> Result<Config, ConfigError> {
        let json = Json::parse(text)?;
        let place = Place::of(&json);
        let [group, approval, identity, bundle_keys, grant_keys, policy, min_serial, bundle, host, wake, limits @ ..] =
            place.members(&[
                "group",
                "approval",
                "identity",
                "bundle_keys",
                "grant_keys",
                "policy",
                "min_serial",
                "bundle",
                "host",
                "wake",
                "max_body",
                "max_parked_bytes",
                "max_agent_bytes",
                "body_within",
                "max_wait",
                "feed_max_age",
                "feed_wait",
                "on_stale",
                "reason_header",
                "mcp",
            ])?;
        let [max_body, max_parked_bytes, max_agent_bytes, body_within, max_wait, limits @ ..] = limits;
        let [feed_max_age, feed_wait, on_stale, reason_header, mcp] = limits;
        let bundle_keys = keys(&bundle_keys)?;
        let signed: Option<SignedBundle> = bundle.optional()?;
        let signed = signed.map(|signed| signed.open(&bundle_keys)).transpose()?;
        let bundle = signed.map(|bytes| Policy::load(&bytes)).transpose()?;
        let (body, wake) = host_and_wake(&host, &wake)?;
        let on_stale = on_stale.given().map(|on_stale| on_stale.word(&ON_STALE)).transpose()?;
        let config = Config {
            group: not_empty(&group)?,
            approval: read_approval(&approval)?,
            identity_hash: Hash::of(&identity.json()?.to_jcs()),
            identity: Identity::read(&identity)?,
            bundle_keys,
            grant_keys: keys(&grant_keys)?,
            policy: policy.given().map(not_empty).transpose()?,
            min_serial: if min_serial.exists() { min_serial.whole()? } else { 0 },
            bundle: None,
            max_body: positive(&max_body, 1024 * 1024)?,
            max_parked_bytes: positive(&max_parked_bytes, 256 * 1024 * 1024)?,
            max_agent_bytes: positive(&max_agent_bytes, 16 * 1024 * 1024)?,
            body_within: milliseconds(&body_within, 60)?,
            max_wait: milliseconds(&max_wait, 45)?,
            feed_max_age: milliseconds(&feed_max_age, 60)?,
            feed_wait: milliseconds(&feed_wait, 25)? / 1000,
            on_stale: on_stale.unwrap_or(OnStale::Deny),
            body,
            wake,
            reason_header: reason_header.given().map(own_header).transpose()?,
            mcp: mcp.given().map(Endpoints::read).transpose()?.unwrap_or_default(),
        };
        if config.feed_max_age <= config.feed_wait.saturating_mul(1000) {
            // While nothing happens the feed is as old as one long poll.
            return Err(feed_max_age.error("must be longer than `feed_wait`").into());
        }
        config.check_room(&max_body)?;
        if config.identity.spiffe.is_some() && config.body == AwaitBody::Continue {
            let [spiffe] = identity.known_members(&["spiffe"])?;
            let wrong =
                "nothing on `ngx-wasm` tells whether a certificate was validated; leave it out, and give agents tokens";
            return Err(spiffe.error(wrong).into());
        }
        if config.reason_header.as_ref() == Some(&config.identity.header) {
            return Err(reason_header
                .error("carries the agent's token (`identity.header`), which is nobody's reason")
                .into());
        }
        if let Some(policy) = &bundle {
            config.accepts(policy)?;
        }
        Ok(Config { bundle, ..config })
    }

    /// Whether a body of the largest size can be held: the service takes it, and there is room for one.
    fn check_room(&self, max_body: &Place<'_>) -> Result<(), ShapeError> {
        let rooms = [
            ("the approval service takes", MAX_HELD_BODY),
            ("`max_agent_bytes` has room for", self.max_agent_bytes),
            ("`max_parked_bytes` has room for", self.max_parked_bytes),
        ];
        match rooms.iter().find(|(_, room)| self.max_body > *room) {
            Some((who, room)) => {
                Err(max_body.error(&format!("{} is more than the {room} bytes that {who}", self.max_body)))
            }
            None => Ok(()),
        }
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
        if policy.needs().mcp && self.mcp.is_empty() {
            return Err(ConfigError::NoEndpoints);
        }
        Ok(())
    }
}

const ON_STALE: [(&str, OnStale); 2] = [("deny", OnStale::Deny), ("allow_routine", OnStale::AllowRoutine)];

fn host_and_wake(host: &Place<'_>, wake: &Place<'_>) -> Result<(AwaitBody, Wake), ShapeError> {
    const WAKES: [(&str, Wake); 2] = [("feed", Wake::Feed), ("stream", Wake::Stream)];
    let host = host.given().map(|host| host.word(&[("envoy", AwaitBody::Pause), ("ngx-wasm", AwaitBody::Continue)]));
    let asked = wake.given().map(|wake| wake.word(&WAKES)).transpose()?;
    match (host.transpose()?.unwrap_or(AwaitBody::Pause), asked) {
        (AwaitBody::Pause, asked) => Ok((AwaitBody::Pause, asked.unwrap_or(Wake::Feed))),
        (AwaitBody::Continue, None | Some(Wake::Stream)) => Ok((AwaitBody::Continue, Wake::Stream)),
        (AwaitBody::Continue, Some(Wake::Feed)) => {
            Err(wake.error("`feed` would crash the workers of `ngx-wasm`; use `stream`, or leave it out"))
        }
    }
}

fn read_approval(place: &Place<'_>) -> Result<Approval, ShapeError> {
    let [cluster, authority, timeout, issuer] = place.members(&["cluster", "authority", "timeout", "issuer"])?;
    Ok(Approval {
        cluster: not_empty(&cluster)?,
        authority: not_empty(&authority)?,
        timeout: milliseconds(&timeout, 5)?,
        issuer: not_empty_or(&issuer, "holdgate-approval")?,
    })
}

fn own_header(place: &Place<'_>) -> Result<String, ShapeError> {
    let name = place.text()?;
    if name.starts_with("x-") && !name.starts_with("x-envoy-") && is_lower_case(name) {
        return Ok(name.to_owned());
    }
    Err(place.error(&format!("`{name}` is not a lower-case name of your own that begins with `x-`")))
}

fn is_lower_case(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn keys(place: &Place<'_>) -> Result<Keys, ShapeError> {
    Keys::new(&place.read()?).map_err(|error| place.error(&error.to_string()))
}

const EMPTY: &str = "must not be empty";

fn not_empty(place: &Place<'_>) -> Result<String, ShapeError> {
    let text = place.text()?;
    if text.is_empty() { Err(place.error(EMPTY)) } else { Ok(text.to_owned()) }
}

fn not_empty_or(place: &Place<'_>, default: &str) -> Result<String, ShapeError> {
    place.given().map_or_else(|| Ok(default.to_owned()), not_empty)
}

fn positive(place: &Place<'_>, default: usize) -> Result<usize, ShapeError> {
    match place.given().map_or(Ok(default), Place::whole)? {
        0 => Err(place.error("must be greater than 0")),
        value => Ok(value),
    }
}

/// A duration; the default is in seconds.
fn milliseconds(place: &Place<'_>, default: u64) -> Result<u64, ShapeError> {
    let Some(place) = place.given() else { return Ok(default * 1000) };
    let text = place.text()?;
    let milliseconds = duration::seconds(text).and_then(|seconds| seconds.checked_mul(1000));
    milliseconds.ok_or_else(|| place.error(&format!("`{text}` is not a duration such as `45s`, `10m` or `1h`")))
}

#[cfg(test)]
mod tests;
