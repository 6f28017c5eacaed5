//! People, eligibility, agents and gateways, for administrators.

use axum::{
    Json,
    extract::{FromRequestParts, Path, State},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use holdgate_protocol::{Actor, duration};
use serde::{Deserialize, Serialize};

use super::{
    App,
    error::Failure,
    extract::{Body, Params},
    session::{SignedIn, SignedWrite},
};
use crate::{
    domain::{AuthorityChange, Eligibility, Grant, Scope, authority::WAITS_FOR_SECOND},
    service::change::Done,
    store::{
        access::{self, Credential, PublisherLine},
        agents::{self, AgentLine},
        changes,
        directory::{self, GroupLine, Identity, PersonLine, Wanted},
    },
};

/// The most lines of one answer.
const MAX_LINES: u32 = 1000;

/// A signed-in administrator.
pub struct Administrator;

impl FromRequestParts<App> for Administrator {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let signed = SignedIn::from_request_parts(parts, app).await?;
        app.service.check_administrator(&signed.session).await?;
        Ok(Administrator)
    }
}

/// An administrator who changes something. Whether they still are one is asked again in the change's own transaction.
pub struct AdministratorWrite(SignedIn);

impl FromRequestParts<App> for AdministratorWrite {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let SignedWrite(signed) = SignedWrite::from_request_parts(parts, app).await?;
        app.service.check_administrator(&signed.session).await?;
        Ok(AdministratorWrite(signed))
    }
}

impl AdministratorWrite {
    async fn change(self, app: &App, change: AuthorityChange, reason: &str) -> Result<Response, Failure> {
        Ok(answer(app.service.change(&self.0.who, change, reason).await?))
    }
}

/// What became of a change.
#[derive(Serialize)]
struct ChangeAnswer {
    state: &'static str,
    /// The id of what waits for a second person, or of the eligibility that was granted.
    id: Option<String>,
}

fn answer(done: Done) -> Response {
    match done {
        Done::Changed(id) => Json(ChangeAnswer { state: "done", id }).into_response(),
        Done::Proposed(id) => {
            (StatusCode::ACCEPTED, Json(ChangeAnswer { state: "proposed", id: Some(id) })).into_response()
        }
    }
}

/// Query of a list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paging {
    limit: Option<u32>,
    /// What the page before gave as `next`.
    after: Option<String>,
}

impl Paging {
    fn limit(&self) -> u32 {
        limit(self.limit)
    }
}

fn limit(asked: Option<u32>) -> u32 {
    asked.unwrap_or(100).clamp(1, MAX_LINES)
}

/// A page of a list.
#[derive(Serialize)]
pub struct Lines<T> {
    items: Vec<T>,
    /// What to give as `after` for the next page.
    next: Option<String>,
}

impl<T> Lines<T> {
    fn page(items: Vec<T>, limit: u32, id: impl Fn(&T) -> &str) -> Json<Self> {
        let full = u32::try_from(items.len()).is_ok_and(|count| count >= limit);
        let next = items.last().filter(|_| full).map(|last| id(last).to_owned());
        Json(Lines { items, next })
    }
}

/// Why, where nothing else has to be said.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Why {
    reason: String,
}

/// `GET /api/people`
pub async fn people(
    _: Administrator,
    State(app): State<App>,
    Params(ask): Params<Paging>,
) -> Result<Json<Lines<PersonLine>>, Failure> {
    let mut connection = app.service.store.read().await?;
    let after = ask.after.as_deref().unwrap_or_default();
    let found = directory::persons(&mut connection, after, ask.limit()).await?;
    Ok(Lines::page(found, ask.limit(), |person| &person.id))
}

/// Body of `POST /api/people` and `POST /api/groups`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    id: String,
    name: String,
    reason: String,
}

/// `POST /api/people`
pub async fn add_person(
    admin: AdministratorWrite,
    State(app): State<App>,
    Body(body): Body<Named>,
) -> Result<Response, Failure> {
    let change = AuthorityChange::AddPerson { person: body.id, name: body.name };
    admin.change(&app, change, &body.reason).await
}

/// Answer of `GET /api/people/{id}`.
#[derive(Serialize)]
pub struct PersonDetail {
    id: String,
    name: String,
    suspended_at: Option<u64>,
    links: Vec<Identity>,
    groups: Vec<String>,
    eligibility: Vec<EligibilityLine>,
}

/// `GET /api/people/{id}`
pub async fn person(
    _: Administrator,
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<PersonDetail>, Failure> {
    let mut connection = app.service.store.read().await?;
    let found = directory::person(&mut connection, &id).await?;
    let PersonLine { id, name, suspended_at } = found.ok_or_else(|| Failure::not_found("there is no such person"))?;
    let links = directory::links(&mut connection, &id).await?;
    let groups = directory::groups_of(&mut connection, &id).await?;
    let wanted = Wanted { person: Some(&id), ..Wanted::default() };
    let eligibility = directory::eligibilities(&mut connection, wanted, MAX_LINES).await?;
    let eligibility = eligibility.into_iter().map(|one| EligibilityLine::new(&app, one)).collect();
    Ok(Json(PersonDetail { id, name, suspended_at, links, groups, eligibility }))
}

/// `POST /api/people/{id}/suspend`
pub async fn suspend_person(
    admin: AdministratorWrite,
    State(app): State<App>,
    Path(person): Path<String>,
    Body(why): Body<Why>,
) -> Result<Response, Failure> {
    admin.change(&app, AuthorityChange::SuspendPerson { person }, &why.reason).await
}

/// `POST /api/people/{id}/resume`
pub async fn resume_person(
    admin: AdministratorWrite,
    State(app): State<App>,
    Path(person): Path<String>,
    Body(why): Body<Why>,
) -> Result<Response, Failure> {
    admin.change(&app, AuthorityChange::ResumePerson { person }, &why.reason).await
}

/// An identity, and why. Body of `POST` and query of `DELETE /api/people/{id}/links`; body of `/api/agents/...`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityWhy {
    iss: String,
    sub: String,
    reason: String,
}

/// `POST /api/people/{id}/links`
pub async fn link(
    admin: AdministratorWrite,
    State(app): State<App>,
    Path(person): Path<String>,
    Body(body): Body<IdentityWhy>,
) -> Result<Response, Failure> {
    admin.change(&app, AuthorityChange::Link { person, iss: body.iss, sub: body.sub }, &body.reason).await
}

/// `DELETE /api/people/{id}/links`
pub async fn unlink(
    admin: AdministratorWrite,
    State(app): State<App>,
    Path(person): Path<String>,
    Params(ask): Params<IdentityWhy>,
) -> Result<Response, Failure> {
    admin.change(&app, AuthorityChange::Unlink { person, iss: ask.iss, sub: ask.sub }, &ask.reason).await
}

/// `GET /api/groups`
pub async fn groups(
    _: Administrator,
    State(app): State<App>,
    Params(ask): Params<Paging>,
) -> Result<Json<Lines<GroupLine>>, Failure> {
    let mut connection = app.service.store.read().await?;
    let after = ask.after.as_deref().unwrap_or_default();
    let found = directory::groups(&mut connection, after, ask.limit()).await?;
    Ok(Lines::page(found, ask.limit(), |group| &group.id))
}

/// `POST /api/groups`
pub async fn add_group(
    admin: AdministratorWrite,
    State(app): State<App>,
    Body(body): Body<Named>,
) -> Result<Response, Failure> {
    let change = AuthorityChange::AddGroup { group: body.id, name: body.name };
    admin.change(&app, change, &body.reason).await
}

/// Body of `POST /api/groups/{id}/members`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberWhy {
    person: String,
    reason: String,
}

/// `POST /api/groups/{id}/members`
pub async fn add_member(
    admin: AdministratorWrite,
    State(app): State<App>,
    Path(group): Path<String>,
    Body(body): Body<MemberWhy>,
) -> Result<Response, Failure> {
    admin.change(&app, AuthorityChange::AddMember { group, person: body.person }, &body.reason).await
}

/// `DELETE /api/groups/{id}/members/{person}`
pub async fn remove_member(
    admin: AdministratorWrite,
    State(app): State<App>,
    Path((group, person)): Path<(String, String)>,
    Params(why): Params<Why>,
) -> Result<Response, Failure> {
    admin.change(&app, AuthorityChange::RemoveMember { group, person }, &why.reason).await
}

/// An eligibility, and when it ends by itself.
#[derive(Serialize)]
pub struct EligibilityLine {
    #[serde(flatten)]
    one: Eligibility,
    /// Until when it is to be certified; `None` where none has to be.
    certify_by: Option<u64>,
}

impl EligibilityLine {
    fn new(app: &App, one: Eligibility) -> Self {
        let certified = one.granted_at.max(one.certified_at);
        EligibilityLine { certify_by: certified.checked_add(app.service.settings.lasting.recertify_within), one }
    }
}

/// Query of `GET /api/eligibility`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EligibilityParams {
    person: Option<String>,
    role: Option<String>,
    /// Those that end for want of a certification within this time, such as `30d`, or have ended for it.
    due: Option<String>,
    limit: Option<u32>,
    after: Option<String>,
}

/// `GET /api/eligibility`
pub async fn eligibility(
    _: Administrator,
    State(app): State<App>,
    Params(ask): Params<EligibilityParams>,
) -> Result<Json<Lines<EligibilityLine>>, Failure> {
    let limit = limit(ask.limit);
    let not_next = || Failure::bad_request("`after` is not the `next` of a page");
    let after = ask.after.as_deref().map_or(Ok(0), |after| after.parse().map_err(|_| not_next()))?;
    let mut wanted = Wanted { person: ask.person.as_deref(), role: ask.role.as_deref(), certified_until: None, after };
    if let Some(due) = ask.due.as_deref() {
        let seconds = if due == "0d" { Some(0) } else { duration::seconds(due) };
        let wrong = || Failure::bad_request(format!("`due` is a time such as `30d`, not `{due}`"));
        let until = app.service.now().saturating_add(seconds.ok_or_else(wrong)?);
        // Where nothing has to be certified, nothing is due.
        let Some(certified) = until.checked_sub(app.service.settings.lasting.recertify_within) else {
            return Ok(Lines::page(Vec::new(), limit, |one: &EligibilityLine| &one.one.id));
        };
        wanted.certified_until = Some(certified);
    }
    let mut connection = app.service.store.read().await?;
    let found = directory::eligibilities(&mut connection, wanted, limit).await?;
    let found = found.into_iter().map(|one| EligibilityLine::new(&app, one)).collect();
    Ok(Lines::page(found, limit, |one: &EligibilityLine| &one.one.id))
}

/// Body of `POST /api/eligibility`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantBody {
    person: String,
    role: String,
    /// `{}` for all.
    scope: Scope,
    from: Option<u64>,
    until: Option<u64>,
    reason: String,
}

/// `POST /api/eligibility`
pub async fn grant(
    admin: AdministratorWrite,
    State(app): State<App>,
    Body(body): Body<GrantBody>,
) -> Result<Response, Failure> {
    let GrantBody { person, role, scope, from, until, reason } = body;
    admin.change(&app, AuthorityChange::Grant(Grant { person, role, scope, from, until }), &reason).await
}

/// `POST /api/eligibility/{id}/end`
pub async fn end_eligibility(
    admin: AdministratorWrite,
    State(app): State<App>,
    Path(id): Path<String>,
    Body(why): Body<Why>,
) -> Result<Response, Failure> {
    admin.change(&app, AuthorityChange::EndEligibility { id }, &why.reason).await
}

/// `POST /api/eligibility/{id}/certify`
pub async fn certify(
    admin: AdministratorWrite,
    State(app): State<App>,
    Path(id): Path<String>,
    Body(why): Body<Why>,
) -> Result<Response, Failure> {
    admin.change(&app, AuthorityChange::Certify { id }, &why.reason).await
}

/// A list that is never so long that it would need pages.
#[derive(Serialize)]
pub struct Items<T> {
    items: Vec<T>,
}

/// `GET /api/agents`
pub async fn agents(_: Administrator, State(app): State<App>) -> Result<Json<Items<AgentLine>>, Failure> {
    let mut connection = app.service.store.read().await?;
    Ok(Json(Items { items: agents::agents(&mut connection, app.service.now(), MAX_LINES).await? }))
}

/// `POST /api/agents/suspend`
pub async fn suspend_agent(
    admin: AdministratorWrite,
    State(app): State<App>,
    Body(body): Body<IdentityWhy>,
) -> Result<Response, Failure> {
    let agent = Actor { iss: body.iss, sub: body.sub };
    admin.change(&app, AuthorityChange::SuspendAgent { agent }, &body.reason).await
}

/// `POST /api/agents/resume`
pub async fn resume_agent(
    admin: AdministratorWrite,
    State(app): State<App>,
    Body(body): Body<IdentityWhy>,
) -> Result<Response, Failure> {
    let agent = Actor { iss: body.iss, sub: body.sub };
    admin.change(&app, AuthorityChange::ResumeAgent { agent }, &body.reason).await
}

/// `GET /api/gateways`
pub async fn gateways(_: Administrator, State(app): State<App>) -> Result<Json<Items<Credential>>, Failure> {
    let mut connection = app.service.store.read().await?;
    Ok(Json(Items { items: access::credentials(&mut connection, MAX_LINES).await? }))
}

/// `POST /api/gateways/{fingerprint}/retire`
pub async fn retire_gateway(
    admin: AdministratorWrite,
    State(app): State<App>,
    Path(fingerprint): Path<String>,
    Body(why): Body<Why>,
) -> Result<Response, Failure> {
    admin.change(&app, AuthorityChange::RetireGateway { fingerprint }, &why.reason).await
}

/// Body of `POST /api/gateways/suspend` and `/resume`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupWhy {
    group: String,
    reason: String,
}

/// `POST /api/gateways/suspend`
pub async fn suspend_gateways(
    admin: AdministratorWrite,
    State(app): State<App>,
    Body(body): Body<GroupWhy>,
) -> Result<Response, Failure> {
    admin.change(&app, AuthorityChange::SuspendGateways { group: body.group }, &body.reason).await
}

/// `POST /api/gateways/resume`
pub async fn resume_gateways(
    admin: AdministratorWrite,
    State(app): State<App>,
    Body(body): Body<GroupWhy>,
) -> Result<Response, Failure> {
    admin.change(&app, AuthorityChange::ResumeGateways { group: body.group }, &body.reason).await
}

/// `GET /api/publishers`
pub async fn publishers(_: Administrator, State(app): State<App>) -> Result<Json<Items<PublisherLine>>, Failure> {
    let mut connection = app.service.store.read().await?;
    Ok(Json(Items { items: access::publishers(&mut connection, MAX_LINES).await? }))
}

/// `POST /api/publishers/{fingerprint}/retire`
pub async fn retire_publisher(
    admin: AdministratorWrite,
    State(app): State<App>,
    Path(fingerprint): Path<String>,
    Body(why): Body<Why>,
) -> Result<Response, Failure> {
    admin.change(&app, AuthorityChange::RetirePublisher { fingerprint }, &why.reason).await
}

/// A change that waits for a second person.
#[derive(Serialize)]
pub struct ProposalLine {
    id: String,
    change: AuthorityChange,
    reason: String,
    proposed_by: String,
    proposed_at: u64,
    expires_at: u64,
}

/// `GET /api/changes`
pub async fn changes(_: Administrator, State(app): State<App>) -> Result<Json<Items<ProposalLine>>, Failure> {
    let mut connection = app.service.store.read().await?;
    let since = app.service.now().saturating_sub(WAITS_FOR_SECOND);
    let open = changes::open(&mut connection, since, MAX_LINES).await?;
    let line = |one: changes::Proposal| ProposalLine {
        id: one.id,
        change: one.change,
        reason: one.reason,
        proposed_by: one.proposed_by,
        proposed_at: one.proposed_at,
        expires_at: one.proposed_at.saturating_add(WAITS_FOR_SECOND),
    };
    Ok(Json(Items { items: open.into_iter().map(line).collect() }))
}

/// Body of `POST /api/changes/{id}/confirm` and `/reject`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaybeWhy {
    #[serde(default)]
    reason: String,
}

/// `POST /api/changes/{id}/confirm`
pub async fn confirm_change(
    AdministratorWrite(admin): AdministratorWrite,
    State(app): State<App>,
    Path(id): Path<String>,
    Body(why): Body<MaybeWhy>,
) -> Result<Response, Failure> {
    Ok(answer(app.service.close_proposal(&admin.who, &id, true, &why.reason).await?))
}

/// `POST /api/changes/{id}/reject`
pub async fn reject_change(
    AdministratorWrite(admin): AdministratorWrite,
    State(app): State<App>,
    Path(id): Path<String>,
    Body(why): Body<MaybeWhy>,
) -> Result<Response, Failure> {
    Ok(answer(app.service.close_proposal(&admin.who, &id, false, &why.reason).await?))
}
