//! What the provider publishes of itself (OpenID Connect Discovery 1.0): its endpoints and its keys, kept for a while.

use std::sync::{Arc, PoisonError, RwLock};

use holdgate_protocol::jws::{Algorithm, IssuerKeys};
use openidconnect::{AuthUrl, TokenUrl, core::CoreJsonWebKeySet};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::{client::Client, url};

/// The algorithms of signatures that count. None of them is symmetric.
pub(super) const ALGORITHMS: [Algorithm; 3] = [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256];

/// How old the keys may be before they are fetched anew, in seconds: so long does a key count that the provider took
/// back.
const REFRESH: u64 = 5 * 60;

/// How old they may become where the provider does not answer, in seconds.
const MAX_AGE: u64 = 15 * 60;

/// The least time between two fetches, in seconds. Anyone can send a token that names an unknown key.
const PAUSE: u64 = 5;

/// The provider as it was last seen.
pub(super) struct Known {
    pub(super) metadata: Metadata,
    /// For access tokens.
    pub(super) keys: IssuerKeys,
    /// The same keys, for ID tokens.
    pub(super) id_keys: CoreJsonWebKeySet,
    fetched_at: u64,
}

/// The provider's description, as far as it is needed here.
#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    issuer: String,
    pub(super) authorization_endpoint: AuthUrl,
    pub(super) token_endpoint: TokenUrl,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
    /// RFC 9207 section 3.
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: bool,
}

impl Metadata {
    /// Whether the client's secret goes into the form because the provider does not take it as a header.
    pub(super) fn wants_secret_in_form(&self) -> bool {
        let supports = |method: &str| self.token_endpoint_auth_methods_supported.iter().any(|known| known == method);
        supports("client_secret_post") && !supports("client_secret_basic")
    }
}

/// An issuer with what is known of it.
pub(super) struct Issuer {
    name: String,
    pub(super) client: Client,
    known: RwLock<Option<Arc<Known>>>,
    /// When it was last asked. Held while it is asked.
    asked_at: Mutex<Option<u64>>,
}

impl Issuer {
    pub(super) fn new(name: String, client: Client) -> Self {
        Issuer { name, client, known: RwLock::default(), asked_at: Mutex::default() }
    }

    /// Endpoints and keys that may be used now. The error says why there are none.
    pub(super) async fn known(&self, now: u64) -> Result<Arc<Known>, String> {
        let fresh = |known: &Arc<Known>| now.abs_diff(known.fetched_at) < REFRESH;
        if let Some(known) = self.current().filter(fresh) {
            return Ok(known);
        }
        let mut asked_at = self.asked_at.lock().await;
        // Somebody else may have asked in the meantime.
        if let Some(known) = self.current().filter(fresh) {
            return Ok(known);
        }
        let failure = self.ask(&mut asked_at, now).await.err();
        let usable = |known: &Arc<Known>| now.abs_diff(known.fetched_at) < MAX_AGE;
        self.current().filter(usable).ok_or_else(|| failure.unwrap_or_else(|| "it has not answered".into()))
    }

    /// What is known after one more question, for a token that names a key which `old` does not have. `None`: the
    /// provider was asked a moment ago, or does not answer.
    pub(super) async fn newer(&self, old: &Arc<Known>, now: u64) -> Option<Arc<Known>> {
        let other = |known: &Arc<Known>| !Arc::ptr_eq(known, old);
        let mut asked_at = self.asked_at.lock().await;
        if let Some(known) = self.current().filter(other) {
            return Some(known);
        }
        // The log has the error.
        let _ = self.ask(&mut asked_at, now).await;
        self.current().filter(other)
    }

    fn current(&self) -> Option<Arc<Known>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn ask(&self, asked_at: &mut Option<u64>, now: u64) -> Result<(), String> {
        if asked_at.is_some_and(|asked_at| now.abs_diff(asked_at) < PAUSE) {
            return Err("it did not answer a moment ago".into());
        }
        *asked_at = Some(now);
        let result = self.fetch(now).await;
        let known = result.map_err(|error| {
            tracing::warn!(issuer = self.name, error, "the sign-in provider cannot be asked");
            error
        })?;
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(known));
        Ok(())
    }

    async fn fetch(&self, now: u64) -> Result<Known, String> {
        let description = format!("{}/.well-known/openid-configuration", self.name.trim_end_matches('/'));
        let body = self.client.get(&description).await.map_err(|error| error.to_string())?;
        let metadata: Metadata =
            serde_json::from_slice(&body).map_err(|error| format!("`{description}` does not describe it: {error}"))?;
        if metadata.issuer != self.name {
            return Err(format!(
                "`{description}` is about `{}`; name that as `issuer` if it is meant",
                metadata.issuer
            ));
        }
        for endpoint in [metadata.authorization_endpoint.url(), metadata.token_endpoint.url()] {
            url::read(endpoint.as_str())?;
        }
        let body = self.client.get(&metadata.jwks_uri).await.map_err(|error| error.to_string())?;
        Known::of(metadata, &body, now)
    }
}

impl Known {
    pub(super) fn of(metadata: Metadata, keys: &[u8], now: u64) -> Result<Self, String> {
        let wrong = |error: String| format!("`{}` is no set of keys: {error}", metadata.jwks_uri);
        let id_keys = serde_json::from_slice(keys).map_err(|error| wrong(error.to_string()))?;
        let keys = IssuerKeys::fetched(keys, &ALGORITHMS).map_err(|error| wrong(error.to_string()))?;
        Ok(Known { keys, id_keys, metadata, fetched_at: now })
    }
}

#[cfg(test)]
mod tests;
