//! Audit records of gateways, for auditors.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};

use super::{App, error::Failure, extract::Params, ledger::may_read_ledger, session::SignedIn};
use crate::store::audit::{self, Kept, Place, Wanted};

/// The most batches on one page: one can be 256 KiB.
const MAX_PAGE: u32 = 50;

/// Query of `GET /api/audit`.
#[derive(Deserialize)]
pub struct BatchParams {
    #[serde(default)]
    group: String,
    #[serde(default)]
    vm_epoch: String,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    since: u64,
    until: Option<u64>,
    /// What the page before gave as `next`.
    after: Option<String>,
    limit: Option<u32>,
}

/// A page of batches.
#[derive(Serialize)]
pub struct BatchList {
    items: Vec<Kept>,
    next: Option<String>,
}

/// `GET /api/audit`
pub async fn batches(
    signed: SignedIn,
    State(app): State<App>,
    Params(ask): Params<BatchParams>,
) -> Result<Json<BatchList>, Failure> {
    may_read_ledger(&app, &signed).await?;
    let BatchParams { group, vm_epoch, seq, since, until, after, limit } = ask;
    let after = match after {
        None => Place::default(),
        Some(text) => text.parse().map_err(|()| Failure::bad_request("`after` is `next` of the page before"))?,
    };
    let limit = limit.unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE);
    let wanted = Wanted { group, vm_epoch, seq, since, until: until.unwrap_or(u64::MAX), after };
    let items = audit::batches(&mut app.service.store.read().await?, &wanted, limit).await?;
    let full = u32::try_from(items.len()).is_ok_and(|count| count >= limit);
    let next = items.last().filter(|_| full).map(|last| Place::from(last).to_string());
    Ok(Json(BatchList { items, next }))
}
