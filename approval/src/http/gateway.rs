//! The gateways' side, as protocol.md and `holdgate_protocol::gateway` say.

use std::time::Duration;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use holdgate_protocol::{
    Hash,
    audit::{AuditAnswer, AuditBatch},
    gateway::{
        Detach, FeedPage, HoldAnswer, MAX_BATCH, MAX_HELD_BODY, MAX_OPEN_HOLD, OpenHold, Outcomes, RedemptionAnswers,
        RedemptionError, Redemptions, StateAnswer, TaskAnswer,
    },
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    App,
    error::Failure,
    extract::{Body, Name, Params},
};
use crate::{
    service::{
        open::{How, is_attempt},
        read::FeedError,
        who::{Gateway, GatewayError},
    },
    store::policy,
};

/// `POST /v1/holds`
pub async fn open(
    gateway: Gateway,
    State(app): State<App>,
    ask: Result<Body<OpenHold>, Failure>,
) -> Result<Response, Failure> {
    let Body(ask) = ask.map_err(what_to_mend)?;
    let opened = app.service.open_hold(&gateway, ask).await?;
    let hold = opened.hold;
    if opened.how == How::New {
        tracing::info!(hold = %hold.terms.id, group = %gateway.group, "a hold was opened");
    }
    let (status, expires_at) = match opened.how {
        How::New => (StatusCode::CREATED, hold.expires_at()),
        How::Joined => (StatusCode::OK, hold.expires_at()),
        How::Denied { until } => (StatusCode::FORBIDDEN, until),
    };
    let answer = HoldAnswer {
        state: hold.stage.state(),
        seq: opened.seq,
        expires_at,
        request_state: app.service.request_state(&hold),
        hold: hold.terms.id,
    };
    let mut response = (status, Json(answer)).into_response();
    if let How::Denied { until } = opened.how {
        let seconds = until.saturating_sub(app.service.now());
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    Ok(response)
}

/// A hold that does not fit is refused each time: only whoever runs the gateway can change that.
fn what_to_mend(failure: Failure) -> Failure {
    if failure.status != StatusCode::PAYLOAD_TOO_LARGE {
        return failure;
    }
    let detail = format!(
        "a hold has at most {MAX_OPEN_HOLD} bytes, for a request with a body of at most {MAX_HELD_BODY}; lower `max_body` \
         in the filter's configuration, or the size of heads that the proxy lets in"
    );
    Failure { detail, ..failure }
}

/// `POST /v1/redemptions`
pub async fn redeem(
    gateway: Gateway,
    State(app): State<App>,
    Body(ask): Body<Redemptions>,
) -> Result<Json<RedemptionAnswers>, Failure> {
    check_batch(ask.items.len())?;
    if !ask.items.iter().all(|item| is_attempt(&item.attempt)) {
        return Err(Failure::bad_request("`attempt` is base64url of 16 bytes"));
    }
    let items = app.service.redeem(&gateway, ask.items).await?;
    for item in &items {
        let result = item.error.map_or("granted", |error| match error {
            RedemptionError::Used => "used",
            RedemptionError::Expired => "expired",
            RedemptionError::Denied => "denied",
            RedemptionError::Cancelled => "cancelled",
            RedemptionError::NotApproved => "not_approved",
        });
        app.service.store.meters().redemption(result);
    }
    let granted = items.iter().filter(|item| item.grant.is_some()).count();
    tracing::info!(group = %gateway.group, granted, refused = items.len() - granted, "holds were redeemed");
    Ok(Json(RedemptionAnswers { items }))
}

/// `POST /v1/outcomes`
pub async fn outcomes(
    gateway: Gateway,
    State(app): State<App>,
    Body(ask): Body<Outcomes>,
) -> Result<StatusCode, Failure> {
    check_batch(ask.items.len())?;
    app.service.report(&gateway, ask.items).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/detach`
pub async fn detach(gateway: Gateway, State(app): State<App>, Body(ask): Body<Detach>) -> Result<StatusCode, Failure> {
    check_batch(ask.items.len())?;
    let attempts: Vec<_> = ask.items.into_iter().map(|item| item.attempt).collect();
    if !attempts.iter().all(|attempt| is_attempt(attempt)) {
        return Err(Failure::bad_request("`attempt` is base64url of 16 bytes"));
    }
    app.service.detach(&gateway, attempts).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/audit`
pub async fn audit(
    gateway: Gateway,
    State(app): State<App>,
    Body(batch): Body<AuditBatch<'static>>,
) -> Result<(StatusCode, Json<AuditAnswer>), Failure> {
    // It may have taken long to arrive.
    gateway.check(&mut app.service.store.read().await?).await?;
    let accepted = app.service.audit(&gateway.group, batch).await?;
    Ok((StatusCode::ACCEPTED, Json(AuditAnswer { accepted })))
}

/// Query of `GET /v1/feed`.
#[derive(Deserialize)]
pub struct FeedParams {
    after: u64,
    limit: Option<usize>,
    /// Seconds.
    wait: Option<u64>,
}

/// `GET /v1/feed`
pub async fn feed(
    gateway: Gateway,
    State(app): State<App>,
    Params(ask): Params<FeedParams>,
) -> Result<Json<FeedPage>, Failure> {
    let limit = ask.limit.unwrap_or(MAX_BATCH).clamp(1, MAX_BATCH);
    let poll = |wait| app.service.feed(&gateway, ask.after, limit, wait);
    let page: Result<FeedPage, FeedError> = tokio::select! {
        page = poll(Duration::from_secs(ask.wait.unwrap_or_default())) => page,
        () = app.stopped() => poll(Duration::ZERO).await,
    };
    Ok(Json(page?))
}

/// `GET /v1/state`
pub async fn state(gateway: Gateway, State(app): State<App>) -> Result<Json<StateAnswer>, Failure> {
    Ok(Json(app.service.state(gateway.group).await?))
}

/// `GET /v1/keys`
pub async fn keys(_gateway: Gateway, State(app): State<App>) -> Result<Json<Value>, Failure> {
    Ok(Json(json!({"signed": app.service.signed_keys().await?})))
}

/// `GET /v1/bundles/{rev}`
pub async fn bundle(_gateway: Gateway, State(app): State<App>, Name(rev): Name) -> Result<Response, Failure> {
    let unknown = || Failure::not_found(format!("no bundle has the revision `{rev}`"));
    let hash: Hash = rev.parse().map_err(|_| unknown())?;
    let mut connection = app.service.store.read().await?;
    let signed = policy::signed(&mut connection, &hash).await?.ok_or_else(unknown)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], signed).into_response())
}

/// Query of `GET /v1/tasks/{hold}`.
#[derive(Deserialize)]
pub struct TaskParams {
    agent: String,
    /// Seconds.
    wait: Option<u64>,
}

/// `GET /v1/tasks/{hold}`
pub async fn task(
    gateway: Gateway,
    State(app): State<App>,
    Name(hold): Name,
    Params(ask): Params<TaskParams>,
) -> Result<Json<TaskAnswer>, Failure> {
    let agent: Hash = ask.agent.parse().map_err(|error| Failure::bad_request(format!("`agent`: {error}")))?;
    let look = |wait| app.service.task(&gateway, &hold, &agent, wait);
    let task: Result<Option<TaskAnswer>, GatewayError> = tokio::select! {
        task = look(Duration::from_secs(ask.wait.unwrap_or_default())) => task,
        () = app.stopped() => look(Duration::ZERO).await,
    };
    task?.map(Json).ok_or_else(|| Failure::not_found("this agent has no such hold"))
}

/// `GET /healthz`, on both listeners.
pub async fn health() -> &'static str {
    "ok\n"
}

fn check_batch(items: usize) -> Result<(), Failure> {
    if items <= MAX_BATCH {
        return Ok(());
    }
    Err(Failure::bad_request(format!("{items} items are too many; send at most {MAX_BATCH} at once")))
}
