//! Who is signed in, by a cookie or a bearer token, and whether a write was meant by them: CSRF tokens, the origin.

use axum::{
    extract::{FromRequestParts, Request},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts, uri::Authority},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use holdgate_protocol::{Hash, b64url};

use super::{App, error::Failure, extract::bearer};
use crate::{
    service::{accounts::SESSION_LIFE, who::Who},
    store::people::Session,
};

/// What a page may load and do: its own style sheet and script, forms to itself, no frame around it.
const CSP: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; \
                   base-uri 'none'; frame-ancestors 'none'";

/// A signed-in person.
pub struct SignedIn {
    pub session: Session,
    pub who: Who,
    /// What the browser keeps; `None` where the request has a bearer token, which no browser adds by itself.
    cookie: Option<String>,
}

impl SignedIn {
    /// The person whose session the browser's cookie names. Pages know no other.
    pub async fn by_cookie(headers: &HeaderMap, app: &App) -> Result<Self, Failure> {
        let unknown = || Failure::unauthorized("sign in first");
        let token = cookie(headers, session_cookie(app.secure_cookies)).ok_or_else(unknown)?;
        let who = Who::with_token(&token);
        let session = app.service.session(&who).await?.ok_or_else(unknown)?;
        Ok(SignedIn { session, who, cookie: Some(token) })
    }

    /// The person behind a bearer token: a session's, or an access token of the sign-in provider.
    async fn by_bearer(headers: &HeaderMap, app: &App) -> Result<Self, Failure> {
        let form = || Failure::unauthorized("`authorization` must be there once, as `Bearer` and a token");
        let token = bearer(headers).ok_or_else(form)?;
        let provider = app.provider.as_ref().filter(|_| token.contains('.'));
        let Some(provider) = provider else {
            let who = Who::with_token(token);
            let ended = || Failure::unauthorized("no session has this token, or it has ended; sign in again");
            let session = app.service.session(&who).await?.ok_or_else(ended)?;
            return Ok(SignedIn { session, who, cookie: None });
        };
        let token = provider.access_token(token, app.service.now()).await?;
        let (iss, sub) = (token.iss.clone(), token.sub.clone());
        let who = Who::Token(token);
        let nobody = || {
            let detail = format!("the identity `{sub}` at `{iss}` is no person of the directory");
            Failure::new(StatusCode::FORBIDDEN, "unknown_person", detail)
        };
        let session = app.service.session(&who).await?.ok_or_else(nobody)?;
        Ok(SignedIn { session, who, cookie: None })
    }

    /// The token that proves that a form or a script came from our own page. Requests with a bearer token need none.
    pub fn csrf(&self) -> Option<String> {
        self.cookie.as_deref().map(|token| csrf_token("session", token))
    }

    /// Refuses a write that another site could have made the browser send.
    pub fn check_csrf(&self, given: &str) -> Result<(), Failure> {
        self.csrf().map_or(Ok(()), |expected| check(&expected, given))
    }
}

impl FromRequestParts<App> for SignedIn {
    type Rejection = Failure;

    /// Where both are there, the bearer token counts: the cookie comes by itself.
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        if parts.headers.contains_key(header::AUTHORIZATION) {
            return SignedIn::by_bearer(&parts.headers, app).await;
        }
        SignedIn::by_cookie(&parts.headers, app).await
    }
}

/// A signed-in person who may change something: the request carries the CSRF token in `x-csrf-token`, or a bearer token
/// with which a person acts.
pub struct SignedWrite(pub SignedIn);

impl FromRequestParts<App> for SignedWrite {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let signed = SignedIn::from_request_parts(parts, app).await?;
        let given = parts.headers.get("x-csrf-token").and_then(|value| value.to_str().ok()).unwrap_or_default();
        signed.check_csrf(given)?;
        match signed.session.unfit {
            Some(unfit) => Err(Failure::new(StatusCode::FORBIDDEN, "token_cannot_decide", unfit)),
            None => Ok(SignedWrite(signed)),
        }
    }
}

/// The token of a form that stands before the sign-in, bound to a cookie of its own.
pub fn sign_in_token(secret: &str) -> String {
    csrf_token("sign-in", secret)
}

/// Compares a token that came with the one that is expected.
pub fn check(expected: &str, given: &str) -> Result<(), Failure> {
    // Compared as hashes: how long that takes says nothing of the token.
    if Hash::of(expected.as_bytes()) == Hash::of(given.as_bytes()) {
        return Ok(());
    }
    Err(Failure::new(StatusCode::FORBIDDEN, "csrf", "this form is not from your session; load the page again"))
}

fn csrf_token(purpose: &str, secret: &str) -> String {
    b64url(Hash::of(format!("holdgate csrf {purpose}\n{secret}").as_bytes()).as_bytes())
}

/// The name of the session's cookie.
pub fn session_cookie(secure: bool) -> &'static str {
    if secure { "__Host-holdgate_session" } else { "holdgate_session" }
}

/// The name of the cookie that the sign-in form is bound to.
pub fn form_cookie(secure: bool) -> &'static str {
    if secure { "__Host-holdgate_form" } else { "holdgate_form" }
}

/// The one cookie of this name; `None` if there are two, since one of them is not ours.
pub fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut values = pairs.filter(|(found, _)| *found == name).map(|(_, value)| value.to_owned());
    let value = values.next()?;
    if values.next().is_some() { None } else { Some(value) }
}

/// The name of the cookie that a sign-in at the provider is bound to.
pub fn provider_cookie(secure: bool) -> &'static str {
    if secure { "__Host-holdgate_provider" } else { "holdgate_provider" }
}

/// A `set-cookie` value that other sites' links do not send along. An empty `value` takes the cookie away.
pub fn set_cookie(name: &str, value: &str, secure: bool) -> Option<HeaderValue> {
    cookie_line(name, value, "Strict", SESSION_LIFE, secure)
}

/// The same for [`provider_cookie`]: it comes along when the provider sends the browser back, and lasts for `life` seconds.
pub fn set_provider_cookie(value: &str, life: u64, secure: bool) -> Option<HeaderValue> {
    cookie_line(provider_cookie(secure), value, "Lax", life, secure)
}

fn cookie_line(name: &str, value: &str, same_site: &str, life: u64, secure: bool) -> Option<HeaderValue> {
    let life = if value.is_empty() { 0 } else { life };
    let secure = if secure { "; Secure" } else { "" };
    let cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite={same_site}; Max-Age={life}{secure}");
    HeaderValue::from_str(&cookie).ok()
}

/// Refuses writes that another site made the browser send.
pub async fn same_origin(request: Request, next: Next) -> Response {
    let safe = matches!(*request.method(), Method::GET | Method::HEAD);
    if !safe && is_cross_site(&request) {
        let failure = Failure::new(StatusCode::FORBIDDEN, "cross_site", "this request came from another site");
        return failure.into_response();
    }
    next.run(request).await
}

fn is_cross_site(request: &Request) -> bool {
    let text = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap_or("invalid"));
    if text("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none") {
        return true;
    }
    let host = text("host").or_else(|| request.uri().authority().map(Authority::as_str));
    match text("origin") {
        None => false,
        Some(origin) => host.is_none() || origin.split_once("://").map(|(_, authority)| authority) != host,
    }
}

/// Gives every answer on the people's side the headers that keep browsers from doing more than is asked.
pub async fn guard_answers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let fixed = [
        ("content-security-policy", CSP),
        ("x-frame-options", "DENY"),
        ("x-content-type-options", "nosniff"),
        // Browsers send `Origin: null` with forms of a page that says `no-referrer`, and the origin is what is checked.
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
