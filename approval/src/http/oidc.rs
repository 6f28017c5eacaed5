//! Sign-in at the provider, by a browser: the way there and the way back.

use std::net::{IpAddr, Ipv4Addr};

use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Redirect, Response},
};
use holdgate_protocol::Hash;

use super::{
    App,
    error::{Failure, NOT_ASKED},
    extract::Params,
    pages::{self, PageFailure, own_page},
    serve::Remote,
    session,
};
use crate::{
    oidc::{Answer, OidcError, Provider},
    random,
    service::{
        Service,
        accounts::{SignInError, SignedIn},
    },
};

/// How long somebody may take at the provider, in seconds.
const TIME: u64 = 15 * 60;

/// Query of the way there.
#[derive(serde::Deserialize)]
pub struct BeginParams {
    #[serde(default)]
    next: String,
    /// Anything: the provider is to ask again, whether somebody is signed in there or not.
    #[serde(default)]
    again: String,
}

/// What the browser keeps while it is away. The service vouches for it, so that nobody has a question sent to the provider who has
/// not begun here a short while ago.
struct Visit {
    begun_at: u64,
    /// What `state`, `nonce` and the code verifier are made of.
    secret: String,
    again: bool,
    /// The session that the new one takes the place of. Its cookie does not come along from another site.
    replaces: Option<Hash>,
    /// The page to go to.
    next: String,
}

impl Visit {
    fn to_cookie(&self, service: &Service) -> String {
        let Visit { begun_at, secret, again, replaces, next } = self;
        let replaces = replaces.as_ref().map(Hash::to_string).unwrap_or_default();
        let text = format!("{begun_at}.{secret}.{}.{replaces}.{next}", u8::from(*again));
        format!("{}.{text}", service.vouch(&format!("visit\n{text}")))
    }

    fn from_cookie(text: &str, service: &Service) -> Option<Self> {
        let (vouched, text) = text.split_once('.')?;
        // Compared as hashes: how long that takes says nothing of what is right.
        if Hash::of(vouched.as_bytes()) != Hash::of(service.vouch(&format!("visit\n{text}")).as_bytes()) {
            return None;
        }
        let (begun_at, text) = text.split_once('.')?;
        let begun_at: u64 = begun_at.parse().ok().filter(|at: &u64| service.now() <= at.saturating_add(TIME))?;
        let mut parts = text.splitn(4, '.');
        let (secret, again, replaces, next) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        Some(Visit {
            begun_at,
            secret: secret.to_owned(),
            again: again == "1",
            replaces: replaces.parse().ok(),
            next: if own_page(next) { next.to_owned() } else { "/holds".to_owned() },
        })
    }
}

fn provider(app: &App) -> Result<&Provider, Failure> {
    app.provider.as_deref().ok_or_else(|| Failure::not_found("this service has no sign-in provider"))
}

/// `GET /signin/oidc`
pub async fn begin(
    State(app): State<App>,
    Params(ask): Params<BeginParams>,
    headers: HeaderMap,
) -> Result<Response, PageFailure> {
    let provider = provider(&app)?;
    let secret = random::secret().map_err(SignInError::from)?;
    let url = provider.begin(&secret, !ask.again.is_empty(), app.service.now()).await?;
    let session = session::cookie(&headers, session::session_cookie(app.secure_cookies));
    let replaces = session.map(|token| Hash::of(token.as_bytes()));
    let next = if own_page(&ask.next) { ask.next } else { String::new() };
    let visit = Visit { begun_at: app.service.now(), secret, again: !ask.again.is_empty(), replaces, next };
    let mut response = Redirect::to(&url).into_response();
    if let Some(cookie) = session::set_provider_cookie(&visit.to_cookie(&app.service), TIME, app.secure_cookies) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// `GET /signin/oidc/callback`
pub async fn finish(
    State(app): State<App>,
    from: Option<Extension<Remote>>,
    Params(answer): Params<Answer>,
    headers: HeaderMap,
) -> Response {
    let from = from.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Extension(Remote(address))| address);
    let finished = signed_in(&app, &answer, &headers, from).await;
    let mut cookies = Vec::new();
    let mut response = match finished {
        Ok((signed, next)) => {
            tracing::info!(person = %signed.session.person.id, "a person signed in at the provider");
            let name = session::session_cookie(app.secure_cookies);
            cookies.push(session::set_cookie(name, &signed.token, app.secure_cookies));
            // A redirect would not do: the browser comes from another site, and sends the new cookie along only with
            // what a page of ours asks for.
            pages::signed_in_page(next)
        }
        Err(failure) => {
            tracing::warn!(reason = failure.error, "a sign-in at the provider failed");
            let page = pages::failed_sign_in(&failure);
            if failure.error == NOT_ASKED {
                // Another site may have sent the browser here while somebody is at the provider.
                return page;
            }
            page
        }
    };
    // Each visit comes back once.
    cookies.push(session::set_provider_cookie("", 0, app.secure_cookies));
    response.headers_mut().extend(cookies.into_iter().flatten().map(|cookie| (header::SET_COOKIE, cookie)));
    response
}

async fn signed_in(
    app: &App,
    answer: &Answer,
    headers: &HeaderMap,
    from: IpAddr,
) -> Result<(SignedIn, String), Failure> {
    let provider = provider(app)?;
    let cookie = session::cookie(headers, session::provider_cookie(app.secure_cookies));
    let visit = cookie.as_deref().and_then(|text| Visit::from_cookie(text, &app.service)).ok_or(OidcError::State)?;
    let now = app.service.now();
    let _place = provider.place(from).await?;
    let identity = provider.finish(&visit.secret, visit.again, answer, now).await?;
    if let Some(signed) = app.service.sign_in_as(&identity, visit.replaces).await? {
        return Ok((signed, visit.next));
    }
    let (iss, sub) = (identity.iss.clone(), identity.sub.clone());
    tracing::warn!(iss, sub, "an identity of the provider is no person of the directory");
    if provider.may_note(now) {
        app.service.note_unknown(identity).await?;
    }
    let detail = format!(
        "You signed in as `{sub}` at `{iss}`, which is no person of the directory here. Ask whoever keeps the directory \
         to link it"
    );
    Err(Failure::new(StatusCode::FORBIDDEN, "unknown_person", detail))
}
