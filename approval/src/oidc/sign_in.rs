//! The browser's sign-in: authorization code (OpenID Connect Core 1.0 section 3.1) with PKCE (RFC 7636).
//!
//! Nothing is kept here between the two requests. `state`, `nonce` and the code verifier are made of one secret, which
//! the browser keeps in a cookie: an answer that was not asked for by this browser fits none of them.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use holdgate_protocol::{Hash, b64url};
use openidconnect::{
    AuthType, AuthenticationFlow, AuthorizationCode, ClaimsVerificationError, CsrfToken, EndpointNotSet, EndpointSet,
    IssuerUrl, Nonce, PkceCodeChallenge, PkceCodeVerifier, RequestTokenError, Scope, SignatureVerificationError,
    TokenResponse as _,
    core::{
        CoreAuthPrompt, CoreClient, CoreIdToken, CoreIdTokenClaims, CoreJwsSigningAlgorithm, CoreResponseType,
        CoreTokenResponse,
    },
    url::Url,
};

use super::{OidcError, Provider, issuer::Known};

/// The longest that may lie between a sign-in at the provider and the one here, in seconds: as long as a session lasts.
const MAX_AGE: u64 = 8 * 60 * 60;

/// The same where a person is asked to sign in again. They have this long to type.
const MAX_AGE_AGAIN: u64 = 5 * 60;

/// How far the provider's clock may differ, in seconds.
const LEEWAY: u64 = 60;

/// The longest subject, in bytes (OpenID Connect Core 1.0 section 2).
const MAX_SUB: usize = 255;

type Client = CoreClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

/// What the provider sends a browser back with (RFC 6749 section 4.1.2, RFC 9207).
#[derive(Clone, Debug, Default, serde::Deserialize)]
pub struct Answer {
    #[serde(default)]
    pub state: String,
    pub code: Option<String>,
    pub error: Option<String>,
    pub iss: Option<String>,
}

/// Who signed in at the provider, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub iss: String,
    pub sub: String,
    pub client: String,
    pub auth_time: u64,
}

impl Provider {
    /// Where a browser that keeps `secret` goes to sign in; `again`: even if it is signed in at the provider.
    pub async fn begin(&self, secret: &str, again: bool, now: u64) -> Result<String, OidcError> {
        let known = self.issuer.known(now).await.map_err(OidcError::Unavailable)?;
        let client = self.client(&known)?;
        let (state, nonce) = (CsrfToken::new(derived("state", secret)), Nonce::new(derived("nonce", secret)));
        let flow = AuthenticationFlow::<CoreResponseType>::AuthorizationCode;
        let scopes = self.config.scopes.iter().cloned().map(Scope::new);
        let mut request = client
            .authorize_url(flow, || state, || nonce)
            .add_scopes(scopes)
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier(secret)))
            // It makes the provider say when the person signed in, too.
            .set_max_age(Duration::from_secs(max_age(again)));
        if again {
            request = request.add_prompt(CoreAuthPrompt::Login);
        }
        let (url, _, _) = request.url();
        Ok(Url::into(url))
    }

    /// Who signed in, from what the browser came back with. Whoever asks has a [`place`](Provider::place).
    pub async fn finish(&self, secret: &str, again: bool, answer: &Answer, now: u64) -> Result<Identity, OidcError> {
        // Compared as hashes: how long that takes says nothing of the state.
        if Hash::of(answer.state.as_bytes()) != Hash::of(derived("state", secret).as_bytes()) {
            return Err(OidcError::State);
        }
        let known = self.issuer.known(now).await.map_err(OidcError::Unavailable)?;
        match &answer.iss {
            Some(iss) if *iss != self.config.issuer => return Err(OidcError::OtherIssuer(cut(iss))),
            None if known.metadata.authorization_response_iss_parameter_supported => {
                return Err(OidcError::OtherIssuer("an issuer without a name".into()));
            }
            _ => {}
        }
        if let Some(error) = &answer.error {
            return Err(OidcError::Denied(cut(error)));
        }
        let code = answer.code.clone().ok_or(OidcError::Denied("no code".into()))?;
        let token = self.redeem(&known, code, secret).await?;
        let nonce = Nonce::new(derived("nonce", secret));
        let (sub, auth_time) = match self.claims(&known, &token, &nonce, now) {
            Err(ClaimsVerificationError::SignatureVerification(SignatureVerificationError::NoMatchingKey)) => {
                let failed = || OidcError::Unavailable("its keys cannot be had".into());
                let known = self.issuer.newer(&known, now).await.ok_or_else(failed)?;
                self.claims(&known, &token, &nonce, now)
            }
            result => result,
        }
        .map_err(|error| OidcError::Refused(error.to_string()))?;
        if auth_time.saturating_add(max_age(again) + LEEWAY) < now {
            return Err(OidcError::Refused("you signed in there too long ago, and were not asked again".into()));
        }
        let (iss, client) = (self.config.issuer.clone(), self.config.client_id.to_string());
        Ok(Identity { iss, sub, client, auth_time: auth_time.min(now) })
    }

    /// The code for an ID token.
    async fn redeem(&self, known: &Known, code: String, secret: &str) -> Result<CoreIdToken, OidcError> {
        let client = self.client(known)?;
        let request = client.exchange_code(AuthorizationCode::new(code)).set_pkce_verifier(verifier(secret));
        let response: CoreTokenResponse =
            request.request_async(&self.issuer.client).await.map_err(|error| match error {
                RequestTokenError::ServerResponse(refusal) => OidcError::Denied(cut(refusal.error().as_ref())),
                RequestTokenError::Request(error) => OidcError::Unavailable(error.to_string()),
                // The answer may have tokens in it, and the error what it read.
                RequestTokenError::Parse(error, _) => {
                    OidcError::Unavailable(format!("no answer with a token: {error}"))
                }
                RequestTokenError::Other(error) => OidcError::Unavailable(cut(&error)),
            })?;
        response.id_token().cloned().ok_or_else(|| OidcError::Unavailable("an answer without an ID token".into()))
    }

    /// The subject and the time of the sign-in, from a verified ID token.
    fn claims(
        &self,
        known: &Arc<Known>,
        token: &CoreIdToken,
        nonce: &Nonce,
        now: u64,
    ) -> Result<(String, u64), ClaimsVerificationError> {
        let other = |why: &str| ClaimsVerificationError::Other(why.to_owned());
        let client = self.client(known).map_err(|error| other(&error.to_string()))?;
        let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(now));
        let time = time.ok_or_else(|| other("this service has no time"))?.into();
        let algorithms = [
            CoreJwsSigningAlgorithm::EdDsa,
            CoreJwsSigningAlgorithm::EcdsaP256Sha256,
            CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
        ];
        let verifier = client.id_token_verifier().set_allowed_algs(algorithms).set_time_fn(move || time);
        let claims: &CoreIdTokenClaims = token.claims(&verifier, nonce)?;
        if claims.authorized_party().is_some_and(|party| **party != **client.client_id()) {
            return Err(other("`azp` is another client"));
        }
        let sub = claims.subject().as_str();
        if sub.is_empty() || sub.len() > MAX_SUB {
            return Err(other("`sub` names nobody"));
        }
        let seconds = |timestamp: i64| u64::try_from(timestamp).unwrap_or_default();
        let auth_time = claims.auth_time().ok_or_else(|| other("`auth_time` is missing"))?;
        let (auth_time, issued_at) = (seconds(auth_time.timestamp()), seconds(claims.issue_time().timestamp()));
        if auth_time.max(issued_at) > now.saturating_add(LEEWAY) {
            return Err(other("it lies in the future"));
        }
        Ok((sub.to_owned(), auth_time))
    }

    fn client(&self, known: &Known) -> Result<Client, OidcError> {
        let config = &self.config;
        let issuer = IssuerUrl::new(config.issuer.clone());
        let issuer = issuer.map_err(|error| OidcError::Unavailable(error.to_string()))?;
        let mut client = CoreClient::new(config.client_id.clone(), issuer, known.id_keys.clone());
        if let Some(secret) = &config.client_secret {
            client = client.set_client_secret(secret.clone());
        }
        if known.metadata.wants_secret_in_form() {
            client = client.set_auth_type(AuthType::RequestBody);
        }
        Ok(client
            .set_redirect_uri(config.redirect.clone())
            .set_auth_uri(known.metadata.authorization_endpoint.clone())
            .set_token_uri(known.metadata.token_endpoint.clone()))
    }
}

fn max_age(again: bool) -> u64 {
    if again { MAX_AGE_AGAIN } else { MAX_AGE }
}

fn verifier(secret: &str) -> PkceCodeVerifier {
    PkceCodeVerifier::new(derived("code verifier", secret))
}

/// One of the values that a sign-in is bound to, 43 characters. None of them tells the secret or another.
fn derived(purpose: &str, secret: &str) -> String {
    b64url(Hash::of(format!("holdgate oidc {purpose}\n{secret}").as_bytes()).as_bytes())
}

/// The beginning of a text that came with an address.
fn cut(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests;
