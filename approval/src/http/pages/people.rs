//! The page of people and what they are eligible for: for administrators, and for auditors to read.

mod view;

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Redirect, Response},
};
use holdgate_protocol::Actor;
use jiff::{civil::DateTime, tz::TimeZone};
use openidconnect::url::form_urlencoded;
use serde::Deserialize;

use super::{PageFailure, Visitor, render, said, views::Reader};
use crate::{
    domain::{
        AuthorityChange, Grant, RulePattern, Scope,
        authority::{ADMIN, AUDITOR, WAITS_FOR_SECOND},
    },
    http::{
        App,
        error::Failure,
        extract::{FormFields, Params},
        session::SignedIn,
    },
    service::change::{ChangeError, Done},
    store::{
        Connection, StoreError, agents, changes,
        directory::{self, PersonLine, Wanted},
        seen,
    },
};
use view::{Found, Given, PeoplePage};

/// Lines of each table on one page.
const PAGE: u32 = 200;

/// What is due within this time is looked at with `due`, in seconds.
const SOON: u64 = 30 * 24 * 60 * 60;

/// Query of the page. What a form sends empty is not asked for.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ask {
    person: String,
    role: String,
    /// Anything: only what is to be certified soon.
    due: String,
    /// Where the table of eligibility goes on.
    after: String,
    /// Where the table of people goes on.
    behind: String,
}

impl Ask {
    fn of(form: &FormFields) -> Self {
        let at = |name: &str| form.text(name).to_owned();
        Ask { person: at("at_person"), role: at("at_role"), due: at("at_due"), ..Ask::default() }
    }

    /// What narrows the page, as the part of an address.
    fn narrowed(&self) -> String {
        let parts = [("person", &self.person), ("role", &self.role), ("due", &self.due)];
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(parts.into_iter().filter(|(_, text)| !text.is_empty()));
        query.finish()
    }
}

/// `GET /people`
pub async fn people(
    Visitor(signed): Visitor,
    State(app): State<App>,
    ask: Result<Params<Ask>, Failure>,
) -> Result<Response, PageFailure> {
    let Params(ask) = ask?;
    page(&app, &signed, ask, StatusCode::OK, None).await
}

/// `POST /people`: one change, by the rules of the same change at `/api`.
pub async fn change_people(
    Visitor(signed): Visitor,
    State(app): State<App>,
    form: Result<FormFields, Failure>,
) -> Result<Response, PageFailure> {
    let form = form?;
    signed.check_csrf(form.text("csrf"))?;
    let ask = Ask::of(&form);
    let failure = match change(&app, &signed, &form).await {
        Ok(done) => {
            let anchor = if matches!(done, Done::Proposed(_)) { "#waiting" } else { "" };
            let narrowed = ask.narrowed();
            let query = if narrowed.is_empty() { narrowed } else { format!("?{narrowed}") };
            return Ok(Redirect::to(&format!("/people{query}{anchor}")).into_response());
        }
        Err(failure) => failure,
    };
    // The session may have ended while the form was read: it shows nothing any more.
    if failure.status == StatusCode::UNAUTHORIZED {
        return Err(PageFailure::sign_in("/people"));
    }
    let status = failure.status;
    page(&app, &signed, ask, status, Some(Given { failure, form: &form })).await
}

async fn change(app: &App, signed: &SignedIn, form: &FormFields) -> Result<Done, Failure> {
    let (id, person, reason) = (form.text("id").to_owned(), form.text("person").trim().to_owned(), said(form));
    let change = match form.text("what") {
        "certify" => AuthorityChange::Certify { id },
        "end" => AuthorityChange::EndEligibility { id },
        "suspend" => AuthorityChange::SuspendPerson { person },
        "resume" => AuthorityChange::ResumePerson { person },
        "grant" => AuthorityChange::Grant(grant(person, form).map_err(ChangeError::Invalid)?),
        "suspend-agent" => {
            let (iss, sub) = (form.text("iss").to_owned(), form.text("sub").to_owned());
            AuthorityChange::SuspendAgent { agent: Actor { iss, sub } }
        }
        confirm @ ("confirm" | "reject") => {
            let confirm = confirm == "confirm";
            return Ok(app.service.close_proposal(&signed.who, &id, confirm, &reason).await?);
        }
        _ => return Err(Failure::bad_request("`what` names no change that this page makes")),
    };
    Ok(app.service.change(&signed.who, change, &reason).await?)
}

/// What the form gives somebody. The error says what to mend.
fn grant(person: String, form: &FormFields) -> Result<Grant, String> {
    let words = |name: &str| -> Vec<String> {
        let words = form.text(name).split([',', ' ', '\n', '\r', '\t']);
        words.filter(|word| !word.is_empty()).map(ToOwned::to_owned).collect()
    };
    let rules = words("rules").into_iter().map(|rule| rule.parse::<RulePattern>().map_err(|error| error.to_string()));
    let agents = form.text("agents").lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| {
        let pair = line.split_once(char::is_whitespace);
        let pair = pair.map(|(iss, sub)| Actor { iss: iss.to_owned(), sub: sub.trim().to_owned() });
        pair.ok_or_else(|| format!("`{line}` is no agent; write its issuer, a space and its subject"))
    });
    let (rules, agents): (Vec<_>, Vec<_>) = (rules.collect::<Result<_, _>>()?, agents.collect::<Result<_, _>>()?);
    let policy = form.text("policy").trim();
    let scope = Scope {
        rules: Some(rules).filter(|rules| !rules.is_empty()),
        groups: Some(words("groups")).filter(|groups| !groups.is_empty()),
        agents: Some(agents).filter(|agents| !agents.is_empty()),
        policy: Some(policy.to_owned()).filter(|policy| !policy.is_empty()),
    };
    let role = form.text("role").trim().to_owned();
    Ok(Grant { person, role, scope, from: moment("from", form)?, until: moment("until", form)? })
}

/// A moment in UTC, as a browser's field for one gives it.
fn moment(name: &str, form: &FormFields) -> Result<Option<u64>, String> {
    let text = form.text(name).trim();
    if text.is_empty() {
        return Ok(None);
    }
    let read = text.parse::<DateTime>().ok().and_then(|at| at.to_zoned(TimeZone::UTC).ok());
    let seconds = read.and_then(|at| u64::try_from(at.timestamp().as_second()).ok());
    seconds.map(Some).ok_or_else(|| format!("`{name}` is a moment such as 2027-01-31T00:00, not `{text}`"))
}

async fn page(
    app: &App,
    signed: &SignedIn,
    ask: Ask,
    status: StatusCode,
    given: Option<Given<'_>>,
) -> Result<Response, PageFailure> {
    let own = &signed.session.person.id;
    let may_change = app.service.has_role(own, &[ADMIN]).await?;
    if !may_change && !app.service.has_role(own, &[AUDITOR]).await? {
        let detail = "this page is for administrators and auditors";
        return Err(Failure::new(StatusCode::FORBIDDEN, "not_administrator", detail).into());
    }
    let reader = Reader::of(signed, app).await?;
    let found = found(app, &ask).await?;
    let stale = signed.session.signed_in_at.saturating_add(app.service.settings.lasting.fresh) < app.service.now();
    let within = app.service.settings.lasting.recertify_within;
    let page = PeoplePage::new(reader, found, &ask, (app.service.now(), within), given)?;
    let page = page.for_reader(own, may_change, stale && may_change);
    Ok(render(status, &page).into_response())
}

/// Reads what the page shows.
async fn found(app: &App, ask: &Ask) -> Result<Found, Failure> {
    let (now, within) = (app.service.now(), app.service.settings.lasting.recertify_within);
    let given = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    let (person, role) = (given(&ask.person), given(&ask.role));
    let after = given(&ask.after).map_or(Ok(0), |after| after.parse());
    let after = after.map_err(|_| Failure::bad_request("`after` is not the end of a page"))?;
    let due = given(&ask.due).map(|_| now.saturating_add(SOON).checked_sub(within));
    let wanted = Wanted { person: person.as_deref(), role: role.as_deref(), certified_until: due.flatten(), after };
    let mut connection = app.service.store.read().await?;
    // Where nothing has to be certified, nothing is due.
    let eligibility = match due {
        Some(None) => Vec::new(),
        _ => directory::eligibilities(&mut connection, wanted, PAGE).await?,
    };
    let people = match &person {
        Some(person) => directory::person(&mut connection, person).await?.into_iter().collect(),
        None => directory::persons(&mut connection, &ask.behind, PAGE).await?,
    };
    let waiting = changes::open(&mut connection, now.saturating_sub(WAITS_FOR_SECOND), PAGE).await?;
    let mut about = Vec::with_capacity(waiting.len());
    for proposal in waiting {
        let eligibility = match &proposal.change {
            AuthorityChange::Certify { id } | AuthorityChange::EndEligibility { id } => {
                directory::find(&mut connection, id).await?
            }
            _ => None,
        };
        about.push((proposal, eligibility));
    }
    let agents = agents::agents(&mut connection, now, PAGE).await?;
    let proposed = agents.into_iter().filter(|agent| agent.proposed && agent.suspended_at.is_none()).collect();
    let suspended = suspended(&mut connection, &eligibility, &people).await?;
    let persons = eligibility.iter().flat_map(|one| [&one.person, &one.granted_by]);
    let persons = persons.chain(about.iter().flat_map(|(one, about)| {
        [Some(&one.proposed_by), about.as_ref().map(|about| &about.person)].into_iter().flatten()
    }));
    let persons: Vec<&str> = persons.map(String::as_str).collect();
    let names = seen::names(&mut connection, &persons).await?;
    Ok(Found { eligibility, people, waiting: about, agents: proposed, suspended, names })
}

/// Which of the people of these eligibilities are suspended.
async fn suspended(
    connection: &mut Connection,
    eligibility: &[crate::domain::Eligibility],
    people: &[PersonLine],
) -> Result<Vec<String>, StoreError> {
    let known = people.iter().filter(|person| person.suspended_at.is_some()).map(|person| person.id.clone());
    let mut suspended: Vec<String> = known.collect();
    let others: Vec<&str> = eligibility.iter().map(|one| one.person.as_str()).collect();
    suspended.extend(seen::suspended(connection, &others).await?);
    Ok(suspended)
}
