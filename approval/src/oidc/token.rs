//! Access tokens at the API: JWTs of the provider in the form of RFC 9068.

use std::sync::Arc;

use holdgate_protocol::{
    Json,
    json::Object,
    jws::{Compact, JwsError},
};

use super::{Provider, config::Api, issuer::Known};
use crate::domain::Unfit;

/// How far the provider's clock may be ahead, in seconds.
const AHEAD: u64 = 60;

/// The longest subject, in bytes (OpenID Connect Core 1.0 section 2).
const MAX_SUB: usize = 255;

/// A token that was verified: who holds it, by which client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessToken {
    pub iss: String,
    pub sub: String,
    pub client: String,
    /// When the person signed in at the provider.
    pub auth_time: Option<u64>,
    pub expires_at: u64,
    /// Why nobody can decide with it.
    pub unfit: Option<Unfit>,
}

/// Why a token does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    #[error("this service takes no access tokens")]
    None,
    #[error("the access token does not count: {0}")]
    Invalid(String),
    #[error("access tokens of the client `{0}` do not count here")]
    Client(String),
    #[error("the issuer's keys cannot be had at this moment")]
    Unavailable,
}

fn invalid(why: impl ToString) -> TokenError {
    TokenError::Invalid(why.to_string())
}

impl Provider {
    /// Verifies an access token and reads what it says.
    pub async fn access_token(&self, token: &str, now: u64) -> Result<AccessToken, TokenError> {
        let api = self.config.api.as_ref().ok_or(TokenError::None)?;
        let jws = Compact::read(token).map_err(invalid)?;
        check_type(jws.typ(), api)?;
        self.check_signature(&jws, now).await?;
        let claims = Json::parse(jws.unverified_payload()).map_err(invalid)?;
        let claims = claims.as_object().ok_or_else(|| invalid("its claims are no object"))?;
        Claims { claims, now }.read(&self.config.issuer, api)
    }

    async fn check_signature(&self, jws: &Compact<'_>, now: u64) -> Result<(), TokenError> {
        let unavailable = |error: String| {
            tracing::warn!(error, "an access token could not be verified");
            TokenError::Unavailable
        };
        let known = self.issuer.known(now).await.map_err(unavailable)?;
        let verify = |known: &Arc<Known>| known.keys.verify(jws, &mut |_, _, _, _| None);
        match verify(&known) {
            Err(JwsError::UnknownKey(_)) => {}
            result => return result.map_err(invalid),
        }
        // The issuer may have just begun to use the key.
        let known = self.issuer.newer(&known, now).await.ok_or(TokenError::Unavailable)?;
        verify(&known).map_err(invalid)
    }
}

fn check_type(found: Option<&str>, api: &Api) -> Result<(), TokenError> {
    let found = found.unwrap_or_default().to_ascii_lowercase();
    let short = found.strip_prefix("application/").unwrap_or(&found);
    if short == api.token_type.to_ascii_lowercase() {
        return Ok(());
    }
    Err(invalid(format!("its header's `typ` is not `{}`", api.token_type)))
}

/// The claims of a token whose signature is verified.
struct Claims<'a> {
    claims: &'a Object,
    now: u64,
}

impl Claims<'_> {
    fn read(&self, issuer: &str, api: &Api) -> Result<AccessToken, TokenError> {
        let iss = self.text("iss")?;
        if iss != Some(issuer) {
            return Err(invalid("`iss` is another issuer"));
        }
        if !self.is_for(&api.audience) {
            return Err(invalid(format!("`aud` does not name `{}`", api.audience)));
        }
        // What is bound to a key of its holder (RFC 9449, RFC 8705) counts with a proof of that key only.
        if self.claims.get("cnf").is_some() {
            return Err(invalid("it is bound to a key (`cnf`) and was sent without a proof"));
        }
        let expires_at = self.time("exp")?.ok_or_else(|| invalid("`exp` is missing"))?;
        if expires_at <= self.now {
            return Err(invalid("it has expired"));
        }
        for name in ["nbf", "iat", "auth_time"] {
            if self.time(name)?.is_some_and(|time| time > self.now.saturating_add(AHEAD)) {
                return Err(invalid(format!("`{name}` lies in the future")));
            }
        }
        let sub = self.text("sub")?.filter(|sub| !sub.is_empty() && sub.len() <= MAX_SUB);
        let sub = sub.ok_or_else(|| invalid("`sub` names nobody"))?;
        let client = self.client()?;
        if !api.clients.iter().any(|listed| listed == client) {
            return Err(TokenError::Client(client.to_owned()));
        }
        let auth_time = self.time("auth_time")?.map(|time| time.min(self.now));
        let unfit = if self.claims.get("act").is_some() {
            Some(Unfit::Actor)
        } else if sub == client {
            Some(Unfit::Client)
        } else if auth_time.is_none() {
            Some(Unfit::NoSignIn)
        } else {
            None
        };
        Ok(AccessToken {
            iss: issuer.to_owned(),
            sub: sub.to_owned(),
            client: client.to_owned(),
            auth_time,
            expires_at,
            unfit,
        })
    }

    /// `client_id` (RFC 9068), or `azp` of providers that say it so.
    fn client(&self) -> Result<&str, TokenError> {
        match (self.text("client_id")?, self.text("azp")?) {
            (Some(client), Some(azp)) if client != azp => Err(invalid("`client_id` and `azp` differ")),
            (client, azp) => client.or(azp).ok_or_else(|| invalid("`client_id` is missing")),
        }
    }

    fn is_for(&self, audience: &str) -> bool {
        match self.claims.get("aud") {
            Some(Json::String(only)) => only == audience,
            Some(Json::Array(all)) => all.iter().any(|one| one.as_str() == Some(audience)),
            _ => false,
        }
    }

    fn text(&self, name: &str) -> Result<Option<&str>, TokenError> {
        let wrong = || invalid(format!("`{name}` is no text"));
        self.claims.get(name).map(|value| value.as_str().ok_or_else(wrong)).transpose()
    }

    /// A NumericDate in whole seconds.
    fn time(&self, name: &str) -> Result<Option<u64>, TokenError> {
        let wrong = || invalid(format!("`{name}` is no time in whole seconds"));
        self.claims.get(name).map(|value| value.as_u64().ok_or_else(wrong)).transpose()
    }
}

#[cfg(test)]
mod tests;
