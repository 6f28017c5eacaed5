//! Sign-in at the provider, by a browser: the way there and the way back.

use axum::{
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
    session,
};
use crate::{
    oidc::{Answer, OidcError, Provider},
    random,
    service::accounts::{SignInError, SignedIn},
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

/// What the browser keeps while it is away. All of it is the browser's own: whoever changes it harms nobody else.
struct Visit {
    /// What `state`, `nonce` and the code verifier are made of.
    secret: String,
    again: bool,
    /// The session that the new one takes the place of. Its cookie does not come along from another site.
    replaces: Option<Hash>,
    /// The page to go to.
    next: String,
}

impl Visit {
    fn to_cookie(&self) -> String {
        let Visit { secret, again, replaces, next } = self;
        let replaces = replaces.as_ref().map(Hash::to_string).unwrap_or_default();
        format!("{secret}.{}.{replaces}.{next}", u8::from(*again))
    }

    fn from_cookie(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, '.');
        let (secret, again, replaces, next) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        // With a secret that can be guessed, an answer that fits it can be made.
        (secret.len() == 43).then(|| Visit {
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
    let visit = Visit { secret, again: !ask.again.is_empty(), replaces, next };
    let mut response = Redirect::to(&url).into_response();
    if let Some(cookie) = session::set_provider_cookie(&visit.to_cookie(), TIME, app.secure_cookies) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// `GET /signin/oidc/callback`
pub async fn finish(State(app): State<App>, Params(answer): Params<Answer>, headers: HeaderMap) -> Response {
    let finished = signed_in(&app, &answer, &headers).await;
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

async fn signed_in(app: &App, answer: &Answer, headers: &HeaderMap) -> Result<(SignedIn, String), Failure> {
    let provider = provider(app)?;
    let cookie = session::cookie(headers, session::provider_cookie(app.secure_cookies));
    let visit = cookie.as_deref().and_then(Visit::from_cookie).ok_or(OidcError::State)?;
    let now = app.service.now();
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
