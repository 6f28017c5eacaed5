//! All routes in one table each, so that a test can hold them against `openapi.yaml`.

use axum::{
    Router,
    extract::DefaultBodyLimit,
    handler::Handler,
    http::{StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{MethodRouter, delete, get, post, put},
};

use holdgate_protocol::{audit::MAX_BYTES, gateway::MAX_OPEN_HOLD};

use super::{App, audit, authority, error::Failure, figures, gateway, ledger, oidc, pages, people, session};

/// The largest body that is read where a route has no limit of its own, in bytes.
pub const MAX_BODY: usize = 4 * 1024 * 1024;

/// The largest form of the console, in bytes: 5000 holds and a reason.
const MAX_FORM: usize = 256 * 1024;

/// The largest form that is read of somebody who is not signed in, in bytes.
const MAX_SIGN_IN: usize = 16 * 1024;

/// One route of a listener.
pub struct Route {
    pub method: &'static str,
    pub path: &'static str,
    handler: MethodRouter<App>,
}

fn on_get<H: Handler<T, App>, T: 'static>(path: &'static str, handler: H) -> Route {
    Route { method: "get", path, handler: get(handler) }
}

fn on_post<H: Handler<T, App>, T: 'static>(path: &'static str, handler: H) -> Route {
    Route { method: "post", path, handler: post(handler) }
}

/// A route with a limit of its own for the body. A form sends no more than its list and a reason; few bytes make many
/// fields, and those take memory.
fn on_limited<H: Handler<T, App>, T: 'static>(path: &'static str, limit: usize, handler: H) -> Route {
    Route { method: "post", path, handler: post(handler).layer(DefaultBodyLimit::max(limit)) }
}

fn on_put<H: Handler<T, App>, T: 'static>(path: &'static str, handler: H) -> Route {
    Route { method: "put", path, handler: put(handler) }
}

fn on_delete<H: Handler<T, App>, T: 'static>(path: &'static str, handler: H) -> Route {
    Route { method: "delete", path, handler: delete(handler) }
}

/// What gateways may ask.
pub fn gateway_routes() -> Vec<Route> {
    vec![
        on_limited("/v1/holds", MAX_OPEN_HOLD, gateway::open),
        on_post("/v1/redemptions", gateway::redeem),
        on_post("/v1/outcomes", gateway::outcomes),
        on_post("/v1/detach", gateway::detach),
        on_limited("/v1/audit", MAX_BYTES, gateway::audit),
        on_get("/v1/feed", gateway::feed),
        on_get("/v1/state", gateway::state),
        on_get("/v1/keys", gateway::keys),
        on_get("/v1/bundles/{rev}", gateway::bundle),
        on_get("/v1/tasks/{hold}", gateway::task),
        on_get("/healthz", gateway::health),
        on_get("/readyz", figures::ready),
    ]
}

/// What people may ask: the JSON API and the console.
pub fn people_routes() -> Vec<Route> {
    let mut routes = reviewers_routes();
    routes.extend(administrators_routes());
    routes
}

/// People, eligibility, agents and gateways.
pub fn administrators_routes() -> Vec<Route> {
    vec![
        on_get("/api/people", authority::people),
        on_post("/api/people", authority::add_person),
        on_get("/api/people/{id}", authority::person),
        on_post("/api/people/{id}/suspend", authority::suspend_person),
        on_post("/api/people/{id}/resume", authority::resume_person),
        on_post("/api/people/{id}/links", authority::link),
        on_delete("/api/people/{id}/links", authority::unlink),
        on_get("/api/groups", authority::groups),
        on_post("/api/groups", authority::add_group),
        on_post("/api/groups/{id}/members", authority::add_member),
        on_delete("/api/groups/{id}/members/{person}", authority::remove_member),
        on_get("/api/eligibility", authority::eligibility),
        on_post("/api/eligibility", authority::grant),
        on_post("/api/eligibility/{id}/end", authority::end_eligibility),
        on_post("/api/eligibility/{id}/certify", authority::certify),
        on_get("/api/agents", authority::agents),
        on_post("/api/agents/suspend", authority::suspend_agent),
        on_post("/api/agents/resume", authority::resume_agent),
        on_get("/api/gateways", authority::gateways),
        on_post("/api/gateways/{fingerprint}/retire", authority::retire_gateway),
        on_post("/api/gateways/suspend", authority::suspend_gateways),
        on_post("/api/gateways/resume", authority::resume_gateways),
        on_get("/api/publishers", authority::publishers),
        on_post("/api/publishers/{fingerprint}/retire", authority::retire_publisher),
        on_get("/api/changes", authority::changes),
        on_post("/api/changes/{id}/confirm", authority::confirm_change),
        on_post("/api/changes/{id}/reject", authority::reject_change),
    ]
}

fn reviewers_routes() -> Vec<Route> {
    vec![
        on_get("/", pages::home),
        on_get("/signin", pages::sign_in_form),
        on_limited("/signin", MAX_SIGN_IN, pages::sign_in),
        on_get("/signin/oidc", oidc::begin),
        on_get("/signin/oidc/callback", oidc::finish),
        on_limited("/signout", MAX_SIGN_IN, pages::sign_out),
        on_get("/holds", pages::list),
        on_limited("/holds/decisions", MAX_FORM, pages::decide_many),
        on_get("/holds/{id}", pages::detail),
        on_limited("/holds/{id}/decisions", MAX_FORM, pages::decide),
        on_limited("/holds/{id}/revoke", MAX_FORM, pages::revoke),
        on_limited("/holds/{id}/withdraw", MAX_FORM, pages::withdraw),
        on_get("/figures", pages::figures),
        on_get("/people", pages::people),
        on_limited("/people", MAX_FORM, pages::change_people),
        on_get("/api/session", people::session),
        on_limited("/api/sessions", MAX_SIGN_IN, people::sign_in),
        on_delete("/api/sessions/current", people::sign_out),
        on_get("/api/holds", people::list),
        on_get("/api/holds/{id}", people::detail),
        on_post("/api/holds/{id}/decisions", people::decide),
        on_post("/api/holds/{id}/revoke", people::revoke),
        on_post("/api/holds/{id}/withdraw", people::withdraw),
        on_post("/api/decisions", people::decide_many),
        on_get("/api/audit", audit::batches),
        on_get("/api/audit/gaps", people::audit_gaps),
        on_get("/api/ledger/checkpoint", ledger::checkpoint),
        on_get("/api/ledger/entries", ledger::entries),
        on_get("/api/ledger/entries/{seq}", ledger::entry),
        on_post("/api/ledger/{seq}/corrections", ledger::correct),
        on_get("/api/ledger/proof/inclusion", ledger::inclusion),
        on_get("/api/ledger/proof/consistency", ledger::consistency),
        on_get("/api/ledger/export", ledger::export),
        on_get("/api/figures", figures::figures),
        on_get("/api/notices", figures::notices),
        on_get("/api/bundles/current", people::current_bundle),
        on_put("/api/bundles/{rev}", people::publish),
        on_get("/openapi.yaml", openapi),
        on_get("/console.css", stylesheet),
        on_get("/console.js", script),
        on_get("/healthz", gateway::health),
        on_get("/readyz", figures::ready),
    ]
}

/// The gateways' router.
pub fn gateways(app: App) -> Router {
    router(gateway_routes())
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(app.clone(), figures::count))
        .with_state(app)
}

/// The people's router.
pub fn people(app: App) -> Router {
    router(people_routes())
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(session::same_origin))
        .layer(middleware::from_fn(pages::shown_failures))
        .layer(middleware::from_fn(session::guard_answers))
        .layer(middleware::from_fn_with_state(app.clone(), figures::count))
        .with_state(app)
}

/// The router of whoever collects metrics.
pub fn metrics(app: App) -> Router {
    router(vec![on_get("/metrics", figures::metrics), on_get("/healthz", gateway::health)]).with_state(app)
}

fn router(routes: Vec<Route>) -> Router<App> {
    let router = routes.into_iter().fold(Router::new(), |router, route| router.route(route.path, route.handler));
    router.fallback(nothing_here).method_not_allowed_fallback(other_method)
}

async fn nothing_here() -> Failure {
    Failure::not_found("nothing is at this path")
}

async fn other_method() -> Failure {
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path has other methods")
}

async fn openapi() -> Response {
    file("application/yaml", include_str!("../../openapi.yaml"))
}

async fn stylesheet() -> Response {
    file("text/css; charset=utf-8", include_str!("../../static/console.css"))
}

async fn script() -> Response {
    file("text/javascript; charset=utf-8", include_str!("../../static/console.js"))
}

fn file(content_type: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-cache")], text).into_response()
}
