//! The reviewers' console: pages that work without a script.

mod figures;
mod views;

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{FromRequestParts, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{Html, IntoResponse, Redirect, Response},
};
use holdgate_protocol::gateway::HoldState;

use super::{
    App,
    error::Failure,
    extract::{FormFields, Name, Params},
    people::{ListParams, check_count, place},
    session::{self, SignedIn},
};
use crate::{
    domain::{Stage, Verdict},
    random,
    service::{
        decide::{DecideError, Item, check_reason},
        who::Who,
    },
};
pub use figures::figures;
use views::{ErrorPage, FailedSignInPage, HoldPage, ListPage, RefusedPage, SignInPage, SignedInPage};

/// Holds on one page of the list.
const PAGE: u32 = 50;

/// The most holds on one page, where the reader asks for more.
const MAX_PAGE: u32 = 500;

/// A failure as a page.
pub struct PageFailure(Failure);

impl<E: Into<Failure>> From<E> for PageFailure {
    fn from(error: E) -> Self {
        PageFailure(error.into())
    }
}

impl IntoResponse for PageFailure {
    fn into_response(self) -> Response {
        let Failure { status, detail, .. } = self.0;
        if status == StatusCode::UNAUTHORIZED {
            return Redirect::to("/signin").into_response();
        }
        let page =
            ErrorPage { title: status.canonical_reason().unwrap_or("Error"), detail: super::text::line(&detail) };
        render(status, &page)
    }
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
                let next = if parts.method == axum::http::Method::GET { parts.uri.path() } else { "/holds" };
                Err(Redirect::to(&sign_in_path(next)).into_response())
            }
            Err(failure) => Err(PageFailure(failure).into_response()),
        }
    }
}

fn sign_in_path(next: &str) -> String {
    if own_page(next) && next != "/holds" { format!("/signin?next={next}") } else { "/signin".to_owned() }
}

/// Whether a path is one of the console's own pages, so that a link cannot lead a person elsewhere after the sign-in.
pub(super) fn own_page(path: &str) -> bool {
    let plain = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'/');
    plain && (path == "/holds" || path == "/figures" || path.starts_with("/holds/")) && path.len() < 80
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

/// `GET /holds`
pub async fn list(
    Visitor(signed): Visitor,
    State(app): State<App>,
    Params(ask): Params<ListParams>,
) -> Result<Response, PageFailure> {
    let state = ask.state.unwrap_or(HoldState::Pending);
    let limit = ask.limit.unwrap_or(PAGE).clamp(1, MAX_PAGE);
    let after = ask.after.as_deref().map(|after| place(&app, after)).transpose()?;
    let list = app.service.list(&signed.session, state, &ask.filter(), after.as_ref(), limit).await?;
    let next = list.next.as_ref().map(|next| app.service.cursor(next)).transpose().map_err(Failure::from)?;
    let page = ListPage::new(&signed, state, list.lines, list.total, app.service.now());
    let page = page.paged(after.is_some(), next, limit);
    Ok(render(StatusCode::OK, &page))
}

/// `GET /holds/{id}`
pub async fn detail(Visitor(signed): Visitor, State(app): State<App>, Name(id): Name) -> Result<Response, PageFailure> {
    hold_page(&app, &signed, &id, StatusCode::OK, None, "").await
}

async fn hold_page(
    app: &App,
    signed: &SignedIn,
    id: &str,
    status: StatusCode,
    problem: Option<String>,
    reason: &str,
) -> Result<Response, PageFailure> {
    let detail = app.service.detail(id, &signed.session).await?;
    let detail = detail.ok_or_else(|| Failure::not_found("there is no such hold"))?;
    if matches!(detail.hold.stage, Stage::Pending(_)) {
        app.service.note_view(id, &signed.session.person.id).await;
    }
    let page = HoldPage::new(signed, detail, app.service.now()).with_problem(problem, reason);
    Ok(render(status, &page))
}

fn verdict(form: &FormFields) -> Result<Verdict, Failure> {
    match form.text("verdict") {
        "approve" => Ok(Verdict::Approve),
        "deny" => Ok(Verdict::Deny),
        _ => Err(Failure::bad_request("`verdict` is `approve` or `deny`")),
    }
}

fn code(form: &FormFields) -> Option<Arc<str>> {
    Some(form.text("code")).filter(|code| !code.is_empty()).map(Arc::from)
}

/// `POST /holds/{id}/decisions`
pub async fn decide(
    Visitor(signed): Visitor,
    State(app): State<App>,
    Name(id): Name,
    form: FormFields,
) -> Result<Response, PageFailure> {
    signed.check_csrf(form.text("csrf"))?;
    let (reason, code) = (form.text("reason").into(), code(&form));
    let item = Item { hold: id.clone(), verdict: verdict(&form)?, reason, code, digest: None };
    let mut answers = app.service.decide(&signed.who, vec![item]).await?;
    match answers.pop() {
        Some(Err(error)) => refused(&app, &signed, &id, error, form.text("reason")).await,
        _ => Ok(Redirect::to(&format!("/holds/{id}")).into_response()),
    }
}

/// `POST /holds/{id}/revoke`
pub async fn revoke(
    Visitor(signed): Visitor,
    State(app): State<App>,
    Name(id): Name,
    form: FormFields,
) -> Result<Response, PageFailure> {
    signed.check_csrf(form.text("csrf"))?;
    match app.service.revoke(&signed.who, &id, form.text("reason")).await {
        Err(error) => refused(&app, &signed, &id, error, form.text("reason")).await,
        Ok(_) => Ok(Redirect::to(&format!("/holds/{id}")).into_response()),
    }
}

/// `POST /holds/{id}/withdraw`
pub async fn withdraw(
    Visitor(signed): Visitor,
    State(app): State<App>,
    Name(id): Name,
    form: FormFields,
) -> Result<Response, PageFailure> {
    signed.check_csrf(form.text("csrf"))?;
    match app.service.withdraw(&signed.who, &id, form.text("reason")).await {
        Err(error) => refused(&app, &signed, &id, error, form.text("reason")).await,
        Ok(_) => Ok(Redirect::to(&format!("/holds/{id}")).into_response()),
    }
}

/// Shows the hold again with what was wrong; the reason that was typed is kept.
async fn refused(
    app: &App,
    signed: &SignedIn,
    id: &str,
    error: DecideError,
    reason: &str,
) -> Result<Response, PageFailure> {
    let failure = Failure::from(error);
    if failure.status == StatusCode::UNAUTHORIZED {
        // The session has ended while the form was read: it shows nothing any more.
        return Err(failure.into());
    }
    hold_page(app, signed, id, failure.status, Some(failure.detail), reason).await
}

/// `POST /holds/decisions`
pub async fn decide_many(
    Visitor(signed): Visitor,
    State(app): State<App>,
    form: FormFields,
) -> Result<Response, PageFailure> {
    signed.check_csrf(form.text("csrf"))?;
    // Both before anything is made of each item: a body has room for a hundred thousand of them, or for a long reason.
    check_count(form.all("hold").count())?;
    check_reason(form.text("reason"))?;
    let (verdict, reason): (_, Arc<str>) = (verdict(&form)?, form.text("reason").into());
    let item = |hold: &str| Item { hold: hold.to_owned(), verdict, reason: reason.clone(), code: None, digest: None };
    let items: Vec<Item> = form.all("hold").map(item).collect();
    if items.is_empty() {
        return Err(Failure::bad_request("no hold was selected; tick some, then decide").into());
    }
    let holds: Vec<String> = items.iter().map(|item| item.hold.clone()).collect();
    let answers = app.service.decide(&signed.who, items).await?;
    let refused = holds.into_iter().zip(answers).filter_map(|(hold, answer)| Some((hold, answer.err()?)));
    let refused: Vec<(String, String)> = refused.map(|(hold, error)| (hold, Failure::from(error).detail)).collect();
    if refused.is_empty() {
        return Ok(Redirect::to("/holds").into_response());
    }
    let done = form.all("hold").count() - refused.len();
    Ok(render(StatusCode::CONFLICT, &RefusedPage::new(&signed, done, refused)))
}
