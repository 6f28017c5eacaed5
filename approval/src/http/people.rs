//! The people's side as JSON.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use holdgate_protocol::{
    Agent, Hash, Requirement, RuleRef,
    bundle::{PolicyRef, SignedBundle},
    gateway::{Asked, CapturedRequest, ErrorAnswer, HoldState, Outcome},
};
use serde::{Deserialize, Serialize};

use super::{
    App,
    error::Failure,
    extract::{Body, Name, Params, Publisher},
    figures::may_read_figures,
    session::{SignedIn, SignedWrite},
};
use crate::{
    domain::{Filled, Hold, Stage, Verdict},
    service::{
        decide::Item,
        detail::{Detail, Happened, Taken},
        read::Line,
    },
    store::{
        audit::Gap,
        list::{Filter, Place},
        people::{Session, Via},
        policy,
    },
};

/// The most decisions in one batch.
pub const MAX_DECISIONS: usize = 5000;

/// The most gaps in one answer.
const MAX_GAPS: u32 = 1000;

/// The most holds on one page.
const MAX_PAGE: u32 = 5000;

/// Answer of `GET /api/session`.
#[derive(Serialize)]
pub struct SessionAnswer {
    person: String,
    name: String,
    /// `null` with a bearer token, which needs none.
    csrf: Option<String>,
    signed_in_at: u64,
    expires_at: u64,
    /// How the person signed in.
    via: Via,
    /// Why nobody can decide with this token.
    unfit: Option<String>,
}

/// `GET /api/session`
pub async fn session(signed: SignedIn) -> Json<SessionAnswer> {
    let csrf = signed.csrf();
    let session = signed.session;
    Json(SessionAnswer {
        person: session.person.id,
        name: session.person.name,
        csrf,
        signed_in_at: session.signed_in_at,
        expires_at: session.expires_at,
        via: session.via,
        unfit: session.unfit.map(|unfit| unfit.to_string()),
    })
}

/// Body of `POST /api/sessions`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignInBody {
    person: String,
    password: String,
}

/// Answer of `POST /api/sessions`: the token is told once.
#[derive(Serialize)]
pub struct StartedSession {
    token: String,
    person: String,
    name: String,
    signed_in_at: u64,
    expires_at: u64,
}

/// `POST /api/sessions`, for those who carry their session themselves: nothing of it becomes a cookie.
pub async fn sign_in(
    State(app): State<App>,
    Body(body): Body<SignInBody>,
) -> Result<(StatusCode, Json<StartedSession>), Failure> {
    let signed = app.service.sign_in(body.person.trim(), &body.password).await.inspect_err(|error| {
        tracing::warn!(%error, "a sign-in failed");
    })?;
    let Session { person, signed_in_at, expires_at, .. } = signed.session;
    tracing::info!(person = %person.id, "a person signed in");
    let (token, name) = (signed.token, person.name);
    Ok((StatusCode::CREATED, Json(StartedSession { token, person: person.id, name, signed_in_at, expires_at })))
}

/// `DELETE /api/sessions/current`
pub async fn sign_out(SignedWrite(signed): SignedWrite, State(app): State<App>) -> Result<StatusCode, Failure> {
    app.service.sign_out(&signed.who).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Query of a list of holds.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListParams {
    pub state: Option<HoldState>,
    pub limit: Option<u32>,
    /// What the page before gave as `next`.
    pub after: Option<String>,
    rule: Option<String>,
    iss: Option<String>,
    sub: Option<String>,
    group: Option<String>,
    method: Option<String>,
    path: Option<String>,
    opened_after: Option<u64>,
    opened_before: Option<u64>,
}

impl ListParams {
    /// What narrows the list.
    pub fn filter(&self) -> Filter {
        Filter {
            rule: self.rule.clone(),
            iss: self.iss.clone(),
            sub: self.sub.clone(),
            group: self.group.clone(),
            method: self.method.clone(),
            path: self.path.clone(),
            opened_after: self.opened_after,
            opened_before: self.opened_before,
        }
    }
}

/// A page of holds.
#[derive(Serialize)]
pub struct HoldList {
    items: Vec<HoldLine>,
    /// What to give as `after` for the next page, where there may be more; a page may be empty though there are.
    next: Option<String>,
    /// All holds in this state that are the reader's to see.
    total: u64,
}

/// A hold in a list.
#[derive(Serialize)]
pub struct HoldLine {
    id: String,
    group: String,
    state: HoldState,
    cause: Option<&'static str>,
    opened_at: u64,
    expires_at: u64,
    agent: Agent,
    rules: Vec<String>,
    method: String,
    authority: String,
    path: String,
    /// Its beginning, where it is long.
    query: Option<String>,
    /// Bytes of the query that were left off.
    query_rest: u64,
    /// On whose behalf the request is made.
    principal: Option<String>,
    /// What is missing until it is approved, while it is pending.
    missing: Vec<Missing>,
}

impl From<Line> for HoldLine {
    fn from(Line { listed, missing }: Line) -> Self {
        let hold = listed.hold;
        let (query, query_rest) = listed.query.map_or((None, 0), |query| (Some(query.text), query.rest));
        HoldLine {
            query,
            query_rest,
            missing: missing.into_iter().map(|(role, approvals)| Missing { role, approvals }).collect(),
            principal: hold.terms.agent.principal().map(ToOwned::to_owned),
            state: hold.stage.state(),
            cause: hold.stage.cause().map(|cause| cause.as_str()),
            opened_at: hold.opened_at,
            expires_at: hold.expires_at(),
            rules: hold.terms.rules.into_iter().map(|rule| rule.id).collect(),
            id: hold.terms.id,
            group: hold.terms.group,
            agent: hold.terms.agent,
            method: listed.method,
            authority: listed.authority,
            path: listed.path,
        }
    }
}

/// `GET /api/holds`
pub async fn list(
    signed: SignedIn,
    State(app): State<App>,
    Params(ask): Params<ListParams>,
) -> Result<Json<HoldList>, Failure> {
    let limit = ask.limit.unwrap_or(100).clamp(1, MAX_PAGE);
    let after = ask.after.as_deref().map(|after| place(&app, after)).transpose()?;
    let state = ask.state.unwrap_or(HoldState::Pending);
    let list = app.service.list(&signed.session, state, &ask.filter(), after.as_ref(), limit).await?;
    let next = list.next.as_ref().map(|next| app.service.cursor(next)).transpose()?;
    Ok(Json(HoldList { items: list.lines.into_iter().map(HoldLine::from).collect(), next, total: list.total }))
}

/// Where the page goes on before which this cursor was given.
pub fn place(app: &App, cursor: &str) -> Result<Place, Failure> {
    let wrong = || Failure::bad_request("`after` is not the `next` of a page");
    app.service.place(cursor).ok_or_else(wrong)
}

/// Everything about one hold.
#[derive(Serialize)]
pub struct HoldDetail {
    id: String,
    group: String,
    state: HoldState,
    cause: Option<&'static str>,
    opened_at: u64,
    expires_at: u64,
    agent: Agent,
    policy: PolicyRef,
    rules: Vec<RuleReason>,
    requirement: Requirement,
    requirement_hash: Hash,
    /// What is missing until it is approved, while it is pending.
    missing: Vec<Missing>,
    /// Who stands for which factor; of what has ended, as it was then.
    filled: Vec<Filled>,
    digest: Hash,
    components: Vec<String>,
    request: Option<CapturedRequest>,
    /// Unverified text of the agent.
    agent_reason: Option<String>,
    /// How the agent asked to be answered.
    asked: Asked,
    /// Why nobody can approve, where it is not known who answers for the agent.
    owner_unknown: Option<String>,
    decisions: Vec<DecisionLine>,
    outcomes: Vec<Outcome>,
    /// From when on who may step in.
    escalates_at: Option<u64>,
    /// Whether the reader has an approval that can be withdrawn.
    can_withdraw: bool,
    /// `reported` or `unknown`; nothing while one may still come.
    outcome: Option<&'static str>,
    /// Whether and why the reader cannot decide.
    hindrance: Option<String>,
    /// What happened to it, with the numbers of the ledger.
    history: Vec<Happened>,
}

#[derive(Serialize)]
struct RuleReason {
    #[serde(flatten)]
    rule: RuleRef,
    reason: Option<String>,
}

#[derive(Serialize)]
struct Missing {
    role: String,
    approvals: u32,
}

#[derive(Serialize)]
struct DecisionLine {
    person: String,
    name: String,
    verdict: Verdict,
    role: String,
    escalated: bool,
    reason: String,
    code: Option<String>,
    decided_at: u64,
    withdrawn_at: Option<u64>,
    withdrawn_reason: Option<String>,
    /// The roles in which it counts no more, for good.
    lost: BTreeSet<String>,
    signed_in_at: u64,
    /// Seconds from the first look at the hold; nothing where it was decided without one.
    looked: Option<u64>,
}

impl From<Detail> for HoldDetail {
    fn from(detail: Detail) -> Self {
        let hold = detail.hold;
        let expires_at = hold.expires_at();
        let reasons = hold.terms.rules.into_iter().zip(detail.rules);
        HoldDetail {
            state: hold.stage.state(),
            cause: hold.stage.cause().map(|cause| cause.as_str()),
            opened_at: hold.opened_at,
            expires_at,
            rules: reasons.map(|(rule, (_, reason))| RuleReason { rule, reason }).collect(),
            missing: detail.missing.into_iter().map(|(role, approvals)| Missing { role, approvals }).collect(),
            filled: detail.filled,
            history: detail.history,
            id: hold.terms.id,
            group: hold.terms.group,
            agent: hold.terms.agent,
            policy: hold.terms.policy,
            requirement: hold.terms.requirement.clone(),
            requirement_hash: hold.terms.requirement_hash,
            digest: hold.terms.digest,
            components: hold.terms.components,
            request: detail.captured,
            agent_reason: detail.agent_reason,
            asked: detail.asked,
            owner_unknown: detail.accountable.unknown,
            decisions: detail.decisions.into_iter().map(decision_line).collect(),
            outcomes: detail.outcomes,
            escalates_at: hold.terms.requirement.escalates_at(hold.opened_at),
            can_withdraw: detail.can_withdraw,
            outcome: detail.outcome,
            hindrance: detail.hindrance.map(|refusal| refusal.to_string()),
        }
    }
}

fn decision_line(taken: Taken) -> DecisionLine {
    let decision = taken.decision;
    DecisionLine {
        withdrawn_reason: taken.withdrawn_reason,
        looked: taken.looked,
        person: decision.person,
        name: decision.name,
        verdict: decision.verdict,
        role: decision.role,
        escalated: decision.escalated,
        reason: decision.reason,
        code: decision.code,
        decided_at: decision.decided_at,
        withdrawn_at: decision.withdrawn_at,
        lost: decision.lost,
        signed_in_at: decision.signed_in_at,
    }
}

/// `GET /api/holds/{id}`
pub async fn detail(signed: SignedIn, State(app): State<App>, Name(id): Name) -> Result<Json<HoldDetail>, Failure> {
    let detail = app.service.detail(&id, &signed.session).await?;
    let detail = detail.ok_or_else(|| Failure::not_found(format!("there is no hold `{id}`")))?;
    // Who holds a token with which nobody can decide may be no person at all: that was no look of theirs.
    if matches!(detail.hold.stage, Stage::Pending(_)) && signed.session.unfit.is_none() {
        app.service.note_view(&id, &signed.session.person.id).await;
    }
    Ok(Json(detail.into()))
}

/// Body of `POST /api/holds/{id}/decisions`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecisionBody {
    verdict: Verdict,
    #[serde(default)]
    reason: String,
    code: Option<Arc<str>>,
    /// The digest of the request that the reviewer saw.
    digest: Option<Hash>,
}

/// What became of a hold.
#[derive(Serialize)]
pub struct Decided {
    hold: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<HoldState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    refused: Option<ErrorAnswer>,
}

impl Decided {
    fn new(hold: Hold) -> Self {
        let (state, expires_at) = (Some(hold.stage.state()), Some(hold.expires_at()));
        Decided { hold: hold.terms.id, state, expires_at, refused: None }
    }
}

/// `POST /api/holds/{id}/decisions`
pub async fn decide(
    SignedWrite(signed): SignedWrite,
    State(app): State<App>,
    Name(hold): Name,
    Body(body): Body<DecisionBody>,
) -> Result<Json<Decided>, Failure> {
    let DecisionBody { verdict, reason, code, digest } = body;
    let item = Item { hold, verdict, reason: reason.into(), code, digest };
    let mut answers = app.service.decide(&signed.who, vec![item]).await?;
    let answer = answers.pop().ok_or_else(|| Failure::bad_request("nothing was decided"))?;
    Ok(Json(Decided::new(answer?)))
}

/// Body of `POST /api/decisions`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecisionsBody {
    items: Vec<DecisionItem>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DecisionItem {
    hold: String,
    verdict: Verdict,
    #[serde(default)]
    reason: String,
    code: Option<Arc<str>>,
    digest: Option<Hash>,
}

/// Answer of `POST /api/decisions`, in the order of the question.
#[derive(Serialize)]
pub struct DecisionsAnswer {
    items: Vec<Decided>,
}

/// `POST /api/decisions`
pub async fn decide_many(
    SignedWrite(signed): SignedWrite,
    State(app): State<App>,
    Body(body): Body<DecisionsBody>,
) -> Result<Json<DecisionsAnswer>, Failure> {
    check_count(body.items.len())?;
    let item = |item: DecisionItem| {
        let DecisionItem { hold, verdict, reason, code, digest } = item;
        Item { hold, verdict, reason: reason.into(), code, digest }
    };
    let items: Vec<Item> = body.items.into_iter().map(item).collect();
    let holds: Vec<String> = items.iter().map(|item| item.hold.clone()).collect();
    let answers = app.service.decide(&signed.who, items).await?;
    let decided = holds.into_iter().zip(answers).map(|(hold, answer)| match answer {
        Ok(hold) => Decided::new(hold),
        Err(error) => {
            let Failure { error, detail, .. } = Failure::from(error);
            let refused = Some(ErrorAnswer { error: error.to_owned(), detail });
            Decided { hold, state: None, expires_at: None, refused }
        }
    });
    Ok(Json(DecisionsAnswer { items: decided.collect() }))
}

/// Refuses more decisions at once than one transaction should carry.
pub fn check_count(items: usize) -> Result<(), Failure> {
    if items <= MAX_DECISIONS {
        return Ok(());
    }
    Err(Failure::bad_request(format!("{items} items are too many; send at most {MAX_DECISIONS} at once")))
}

/// Body of `POST /api/holds/{id}/revoke` and `/withdraw`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TakeBackBody {
    #[serde(default)]
    reason: String,
}

/// `POST /api/holds/{id}/revoke`
pub async fn revoke(
    SignedWrite(signed): SignedWrite,
    State(app): State<App>,
    Name(hold): Name,
    Body(body): Body<TakeBackBody>,
) -> Result<Json<Decided>, Failure> {
    Ok(Json(Decided::new(app.service.revoke(&signed.who, &hold, &body.reason).await?)))
}

/// `POST /api/holds/{id}/withdraw`
pub async fn withdraw(
    SignedWrite(signed): SignedWrite,
    State(app): State<App>,
    Name(hold): Name,
    Body(body): Body<TakeBackBody>,
) -> Result<Json<Decided>, Failure> {
    Ok(Json(Decided::new(app.service.withdraw(&signed.who, &hold, &body.reason).await?)))
}

/// Query of `GET /api/audit/gaps`.
#[derive(Deserialize)]
pub struct GapParams {
    limit: Option<u32>,
}

/// Answer of `GET /api/audit/gaps`.
#[derive(Serialize)]
pub struct GapList {
    items: Vec<Gap>,
}

/// `GET /api/audit/gaps`
pub async fn audit_gaps(
    signed: SignedIn,
    State(app): State<App>,
    Params(ask): Params<GapParams>,
) -> Result<Json<GapList>, Failure> {
    may_read_figures(&app, &signed).await?;
    let limit = ask.limit.unwrap_or(100).clamp(1, MAX_GAPS);
    Ok(Json(GapList { items: app.service.audit_gaps(limit).await? }))
}

/// `GET /api/bundles/current`
pub async fn current_bundle(_publisher: Publisher, State(app): State<App>) -> Result<Response, Failure> {
    let mut connection = app.service.store.read().await?;
    let signed = match policy::reference_in_force(&mut connection).await? {
        Some(reference) => policy::signed(&mut connection, &reference.rev).await?,
        None => None,
    };
    let signed = signed.ok_or_else(|| Failure::not_found("no policy is published yet"))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], signed).into_response())
}

/// `PUT /api/bundles/{rev}`
pub async fn publish(
    publisher: Publisher,
    State(app): State<App>,
    Name(rev): Name,
    Body(signed): Body<SignedBundle>,
) -> Result<Response, Failure> {
    let rev: Hash = rev.parse().map_err(|error| Failure::bad_request(format!("the revision in the path: {error}")))?;
    let (policy, new) = app.service.publish((&publisher.name, publisher.credential), rev, signed).await?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(policy)).into_response())
}
