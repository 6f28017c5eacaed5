//! Figures, notices, `/metrics` and `/readyz`: what operators and auditors look at.

use axum::{
    Json,
    extract::{MatchedPath, Request, State},
    http::{StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};

use super::{App, error::Failure, extract::Params, session::SignedIn};
use crate::{
    domain::authority::{ADMIN, AUDITOR},
    service::figures::Figures,
    store::notices::{self, Shown},
};

/// The span of figures where none is named, in seconds: 30 days.
const SPAN: u64 = 30 * 24 * 60 * 60;

/// The most notices on one page.
const MAX_PAGE: u32 = 1000;

/// Who may read figures and notices: auditors and administrators.
pub async fn may_read_figures(app: &App, signed: &SignedIn) -> Result<(), Failure> {
    if app.service.has_role(&signed.session.person.id, &[AUDITOR, ADMIN]).await? {
        return Ok(());
    }
    let who = format!("this is for auditors and administrators: it needs the role `{AUDITOR}` or `{ADMIN}`");
    Err(Failure::new(StatusCode::FORBIDDEN, "not_auditor", who))
}

/// Query of figures.
#[derive(Deserialize)]
pub struct FigureParams {
    /// Unix seconds.
    since: Option<u64>,
}

impl FigureParams {
    pub fn since(&self, now: u64) -> u64 {
        self.since.unwrap_or_else(|| now.saturating_sub(SPAN))
    }
}

/// `GET /api/figures`
pub async fn figures(
    signed: SignedIn,
    State(app): State<App>,
    Params(ask): Params<FigureParams>,
) -> Result<Json<Figures>, Failure> {
    may_read_figures(&app, &signed).await?;
    Ok(Json(app.service.figures(ask.since(app.service.now())).await?))
}

/// Which notices are shown.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Which {
    Pending,
    Delivered,
    #[default]
    Failed,
}

/// Query of `GET /api/notices`.
#[derive(Deserialize)]
pub struct NoticeParams {
    state: Option<Which>,
    limit: Option<u32>,
    /// What the page before gave as `next`.
    after: Option<String>,
}

/// A page of notices.
#[derive(Serialize)]
pub struct NoticeList {
    items: Vec<Shown>,
    next: Option<String>,
    /// All notices in this state.
    total: u64,
}

/// `GET /api/notices`
pub async fn notices(
    signed: SignedIn,
    State(app): State<App>,
    Params(ask): Params<NoticeParams>,
) -> Result<Json<NoticeList>, Failure> {
    may_read_figures(&app, &signed).await?;
    let limit = ask.limit.unwrap_or(100).clamp(1, MAX_PAGE);
    let state = match ask.state.unwrap_or_default() {
        Which::Pending => "pending",
        Which::Delivered => "delivered",
        Which::Failed => "failed",
    };
    let mut connection = app.service.store.read().await?;
    let after = match ask.after.as_deref().map(place) {
        None => (u64::MAX, ""),
        Some(place) => place.ok_or_else(|| Failure::bad_request("`after` is `next` of the page before"))?,
    };
    let items = notices::list(&mut connection, state, after, limit).await?;
    let total = notices::count(&mut connection, state).await?;
    let full = u32::try_from(items.len()).is_ok_and(|count| count >= limit);
    let next = items.last().filter(|_| full).map(|last| format!("{}.{}", last.entry, last.hook));
    Ok(Json(NoticeList { items, next, total }))
}

/// The notice and the hook of a delivery.
fn place(text: &str) -> Option<(u64, &str)> {
    let (notice, hook) = text.split_once('.')?;
    Some((notice.parse().ok()?, hook))
}

/// `GET /readyz`, on both listeners.
pub async fn ready(State(app): State<App>) -> Result<&'static str, Failure> {
    let ready = app.service.ready().await;
    ready.map_err(|missing| Failure::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", missing))?;
    Ok("ready\n")
}

/// `GET /metrics`, on a listener of its own.
pub async fn metrics(State(app): State<App>) -> Result<Response, Failure> {
    let present = app.service.present().await?;
    match app.service.store.meters().write(&present) {
        Ok(text) => Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the metrics cannot be written"))
        }
    }
}

/// Counts a request by its route, which is a word of ours whatever the path was.
pub async fn count(State(app): State<App>, request: Request, next: Next) -> Response {
    let method = match request.method().as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "DELETE") => known.to_owned(),
        _ => "other".to_owned(),
    };
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let response = next.run(request).await;
    let route = route.as_deref().unwrap_or("other");
    app.service.store.meters().request(&method, route, response.status().as_str());
    response
}
