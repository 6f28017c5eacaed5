//! The reviewers' console: pages that work without a script.

mod figures;
mod hold;
mod list;
mod people;
mod views;

use askama::Template;
use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    middleware::Next,
    response::{Html, IntoResponse, Redirect, Response},
};

use super::{
    App,
    error::Failure,
    extract::{FormFields, Params},
    session::{self, SignedIn},
};
use crate::{domain::Verdict, random, service::who::Who};
pub use figures::figures;
pub use hold::{decide, detail, revoke, withdraw};
pub use list::{decide_many, list};
pub use people::{change_people, people};
use views::{ErrorPage, FailedSignInPage, SignInPage, SignedInPage};

/// A failure as a page.
pub struct PageFailure {
    failure: Failure,
    /// Where a person goes on after the sign-in that is needed.
    next: String,
}

impl<E: Into<Failure>> From<E> for PageFailure {
    fn from(error: E) -> Self {
        PageFailure { failure: error.into(), next: String::new() }
    }
}

impl PageFailure {
    /// The way to the sign-in page, and from there on.
    fn sign_in(next: &str) -> Self {
        PageFailure { failure: Failure::unauthorized("sign in first"), next: next.to_owned() }
    }
}

impl IntoResponse for PageFailure {
    fn into_response(self) -> Response {
        let Failure { status, detail, .. } = self.failure;
        if status == StatusCode::UNAUTHORIZED {
            return Redirect::to(&sign_in_path(&self.next)).into_response();
        }
        let page =
            ErrorPage { title: status.canonical_reason().unwrap_or("Error"), detail: super::text::line(&detail) };
        render(status, &page)
    }
}

/// Shows what was refused as a page to browsers that ask for one, also where no handler of a page was reached.
pub async fn shown_failures(request: Request, next: Next) -> Response {
    let accepts = |value: &HeaderValue| value.to_str().is_ok_and(|value| value.contains("text/html"));
    let browses = request.headers().get_all(header::ACCEPT).iter().any(accepts);
    let is_page = browses && !request.uri().path().starts_with("/api/");
    let response = next.run(request).await;
    let Some(failure) = response.extensions().get::<Failure>().filter(|_| is_page) else { return response };
    let mut page = PageFailure::from(failure.clone()).into_response();
    for name in [header::RETRY_AFTER, header::ALLOW] {
        if let Some(value) = response.headers().get(&name) {
            page.headers_mut().insert(name, value.clone());
        }
    }
    page
}

/// The page of a sign-in at the provider that led to nobody, with the way to try again.
pub(super) fn failed_sign_in(failure: &Failure) -> Response {
    render(failure.status, &FailedSignInPage { detail: super::text::line(&failure.detail) })
}

/// The page that leads on after a sign-in at the provider.
pub(super) fn signed_in_page(next: String) -> Response {
    render(StatusCode::OK, &SignedInPage { next })
}

pub(super) fn render(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A signed-in person, or the way to the sign-in page.
pub struct Visitor(SignedIn);

impl FromRequestParts<App> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Response> {
        match SignedIn::by_cookie(&parts.headers, app).await {
            Ok(signed) => Ok(Visitor(signed)),
            Err(failure) if failure.status == StatusCode::UNAUTHORIZED => {
                Err(Redirect::to(&sign_in_path(page_of(parts.uri.path()))).into_response())
            }
            Err(failure) => Err(PageFailure::from(failure).into_response()),
        }
    }
}

/// The page that has the form which goes to a path; the page itself where it is one.
fn page_of(path: &str) -> &str {
    let form = ["/decisions", "/revoke", "/withdraw"].into_iter().find_map(|form| path.strip_suffix(form));
    form.unwrap_or(path)
}

fn sign_in_path(next: &str) -> String {
    if own_page(next) && next != "/holds" { format!("/signin?next={next}") } else { "/signin".to_owned() }
}

/// Whether a path is one of the console's own pages, so that a link cannot lead a person elsewhere after the sign-in.
pub(super) fn own_page(path: &str) -> bool {
    let plain = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'/');
    plain && (matches!(path, "/holds" | "/figures" | "/people") || path.starts_with("/holds/")) && path.len() < 80
}

/// `GET /`
pub async fn home(_visitor: Visitor) -> Redirect {
    Redirect::to("/holds")
}

/// Query of the sign-in page.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub struct SignInParams {
    next: String,
    /// Anything: who is signed in at the provider is to be asked there again.
    again: String,
}

/// `GET /signin`
pub async fn sign_in_form(
    State(app): State<App>,
    Params(ask): Params<SignInParams>,
    headers: HeaderMap,
) -> Result<Response, PageFailure> {
    sign_in_page(&app, &headers, StatusCode::OK, None, "", &ask)
}

fn sign_in_page(
    app: &App,
    headers: &HeaderMap,
    status: StatusCode,
    problem: Option<String>,
    person: &str,
    ask: &SignInParams,
) -> Result<Response, PageFailure> {
    let name = session::form_cookie(app.secure_cookies);
    // A second tab keeps the secret of the first.
    let known = session::cookie(headers, name).filter(|secret| secret.len() == 43);
    let secret = match known {
        Some(secret) => secret,
        None => random::secret().map_err(crate::service::accounts::SignInError::from)?,
    };
    let page = SignInPage {
        csrf: session::sign_in_token(&secret),
        problem,
        person: person.to_owned(),
        next: if own_page(&ask.next) { ask.next.clone() } else { String::new() },
        provider: app.provider.as_ref().map(|provider| provider.config().name.clone()),
        again: !ask.again.is_empty(),
    };
    let mut response = render(status, &page);
    if let Some(cookie) = session::set_cookie(name, &secret, app.secure_cookies) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// `POST /signin`
pub async fn sign_in(State(app): State<App>, headers: HeaderMap, form: FormFields) -> Result<Response, PageFailure> {
    let secret = session::cookie(&headers, session::form_cookie(app.secure_cookies)).unwrap_or_default();
    let fits = !secret.is_empty() && session::check(&session::sign_in_token(&secret), form.text("csrf")).is_ok();
    let (person, next) = (form.text("person").trim(), form.text("next"));
    let ask = SignInParams { next: next.to_owned(), again: String::new() };
    if !fits {
        let problem = Some("This form was too old. Please try again.".to_owned());
        return sign_in_page(&app, &headers, StatusCode::FORBIDDEN, problem, person, &ask);
    }
    let signed = match app.service.sign_in(person, form.text("password")).await {
        Ok(signed) => signed,
        Err(error) => {
            let failure = Failure::from(error);
            tracing::warn!(reason = failure.error, "a sign-in failed");
            let mut problem = failure.detail.clone();
            problem.get_mut(..1).map(str::make_ascii_uppercase);
            return sign_in_page(&app, &headers, failure.status, Some(format!("{problem}.")), person, &ask);
        }
    };
    // A session that the browser had before ends here: its token is of no more use.
    if let Some(old) = session::cookie(&headers, session::session_cookie(app.secure_cookies)) {
        app.service.sign_out(&Who::with_token(&old)).await?;
    }
    tracing::info!(person = %signed.session.person.id, "a person signed in");
    let mut response = Redirect::to(if own_page(next) { next } else { "/holds" }).into_response();
    let cookies = [
        (session::session_cookie(app.secure_cookies), signed.token.as_str()),
        (session::form_cookie(app.secure_cookies), ""),
    ];
    for (name, value) in cookies {
        if let Some(cookie) = session::set_cookie(name, value, app.secure_cookies) {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
    }
    Ok(response)
}

/// `POST /signout`
pub async fn sign_out(
    Visitor(signed): Visitor,
    State(app): State<App>,
    form: FormFields,
) -> Result<Response, PageFailure> {
    signed.check_csrf(form.text("csrf"))?;
    app.service.sign_out(&signed.who).await?;
    let mut response = Redirect::to("/signin").into_response();
    if let Some(cookie) = session::set_cookie(session::session_cookie(app.secure_cookies), "", app.secure_cookies) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// What a form wants to decide.
fn verdict(form: &FormFields) -> Result<Verdict, Failure> {
    match form.text("verdict") {
        "approve" => Ok(Verdict::Approve),
        "deny" => Ok(Verdict::Deny),
        _ => Err(Failure::bad_request("`verdict` is `approve` or `deny`")),
    }
}

/// The reason of a form. Browsers send line breaks as two characters.
fn said(form: &FormFields) -> String {
    form.text("reason").replace("\r\n", "\n")
}
