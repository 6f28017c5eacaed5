//! The list of holds, and deciding on many of them at once.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use askama::Template;
use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use holdgate_protocol::gateway::HoldState;
use openidconnect::url::form_urlencoded;
use serde::Deserialize;

use super::{PageFailure, Visitor, hold::outcome, render, said, verdict, views::Reader};
use crate::{
    domain::{Hold, Refusal, Stage, Verdict},
    http::{
        App,
        error::Failure,
        extract::{FormFields, Params},
        people::{check_count, place},
        session::SignedIn,
        text::{self, Html, distance, grouped, line, lines, moment},
    },
    service::{
        decide::{Item, check_reason},
        mine::{Asked, Mine},
        read,
    },
    store::{list::Filter, seen::Ended},
};

/// Holds on one page of the list.
const PAGE: u32 = 50;

/// The most holds on one page, where the reader asks for more.
const MAX_PAGE: u32 = 500;

/// The most bytes of a request where it is a label.
const MAX_LABEL: usize = 200;

/// Query of the list. What a form sends empty is not asked for.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ask {
    state: Option<HoldState>,
    limit: Option<u32>,
    after: String,
    rule: String,
    iss: String,
    sub: String,
    group: String,
    method: String,
    path: String,
    opened_after: Option<u64>,
    opened_before: Option<u64>,
}

impl Ask {
    fn filter(&self) -> Filter {
        let given = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        Filter {
            rule: given(&self.rule),
            iss: given(&self.iss),
            sub: given(&self.sub),
            group: given(&self.group),
            method: given(&self.method),
            path: given(&self.path),
            opened_after: self.opened_after,
            opened_before: self.opened_before,
        }
    }

    /// What narrows the list, as the part of an address.
    fn narrowed(&self) -> String {
        let parts = self.parts().into_iter().map(|(name, text)| (name, text.trim()));
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(parts.filter(|(_, text)| !text.is_empty()));
        let times = [("opened_after", self.opened_after), ("opened_before", self.opened_before)];
        query.extend_pairs(times.into_iter().filter_map(|(name, time)| Some((name, time?.to_string()))));
        query.finish()
    }

    fn parts(&self) -> [(&'static str, &str); 6] {
        [
            ("rule", &self.rule),
            ("iss", &self.iss),
            ("sub", &self.sub),
            ("group", &self.group),
            ("method", &self.method),
            ("path", &self.path),
        ]
    }
}

#[derive(Template)]
#[template(path = "holds.html")]
struct ListPage {
    reader: Reader,
    state: &'static str,
    states: [&'static str; 6],
    open: bool,
    total: String,
    /// What narrows the list: name, label and text.
    filters: Vec<(&'static str, &'static str, String)>,
    narrowed: String,
    stamp: String,
    rows: Vec<Row>,
    first: bool,
    next: Option<String>,
    limit: u32,
    sign_in_again: bool,
    /// Whether some of the holds are the reader's to decide on.
    decides: bool,
    codes: BTreeSet<String>,
}

/// A hold in the list.
struct Row {
    id: String,
    /// The request as a plain text.
    label: String,
    method: Html,
    target: Html,
    query: Option<Html>,
    agent: Html,
    issuer: Html,
    /// Subject and issuer of whom the agent acts for, where it acts for somebody.
    behalf: Option<(Html, Html)>,
    owner: Option<Html>,
    rules: Vec<String>,
    deadline: u64,
    deadline_text: String,
    deadline_moment: String,
    urgent: bool,
    cause: Option<&'static str>,
    missing: String,
    mine: MineView,
    decided: Vec<(Html, &'static str)>,
    outcome: Option<String>,
}

/// What a hold is to the reader, in words.
struct MineView {
    /// Whether it can be ticked.
    open: bool,
    text: Html,
}

/// `GET /holds`
pub async fn list(
    Visitor(signed): Visitor,
    State(app): State<App>,
    ask: Result<Params<Ask>, Failure>,
) -> Result<Response, PageFailure> {
    let Params(ask) = ask?;
    let state = ask.state.unwrap_or(HoldState::Pending);
    let limit = ask.limit.unwrap_or(PAGE).clamp(1, MAX_PAGE);
    let after = Some(&ask.after).filter(|after| !after.is_empty()).map(|after| place(&app, after)).transpose()?;
    let list = app.service.list(&signed.session, state, &ask.filter(), after.as_ref(), limit).await?;
    let holds: Vec<&Hold> = list.lines.iter().map(|line| &line.listed.hold).collect();
    let mine = app.service.mine(&signed.session, &holds).await?;
    let ids: Vec<&str> = holds.iter().map(|hold| hold.terms.id.as_str()).collect();
    let ended = if state == HoldState::Pending { HashMap::new() } else { app.service.ended(&ids).await? };
    let codes = list.lines.iter().zip(&mine).filter(|(_, mine)| is_open(mine));
    let codes = codes.flat_map(|(line, _)| line.listed.hold.terms.requirement.codes.clone()).collect();
    let (now, decides) = (app.service.now(), mine.iter().any(is_open));
    let stamp = list.lines.iter().map(stamp).collect::<Vec<_>>().join(" ");
    let row = |(line, mine): (read::Line, Mine)| row(line, &mine, &ended, now);
    let page = ListPage {
        reader: Reader::of(&signed, &app).await?,
        state: state.as_str(),
        states: ["pending", "approved", "used", "denied", "expired", "cancelled"],
        open: matches!(state, HoldState::Pending | HoldState::Approved),
        total: grouped(list.total),
        filters: ask.parts().into_iter().map(|(name, text)| (name, label(name), text.to_owned())).collect(),
        narrowed: ask.narrowed(),
        stamp,
        next: list.next.as_ref().map(|next| app.service.cursor(next)).transpose()?,
        rows: list.lines.into_iter().zip(mine).map(row).collect(),
        first: after.is_none(),
        limit,
        sign_in_again: is_stale(&app, &signed),
        decides,
        codes,
    };
    Ok(render(StatusCode::OK, &page))
}

fn is_stale(app: &App, signed: &SignedIn) -> bool {
    signed.session.signed_in_at.saturating_add(app.service.settings.lasting.fresh) < app.service.now()
}

fn label(name: &str) -> &'static str {
    match name {
        "rule" => "Rule",
        "iss" => "Issuer",
        "sub" => "Agent",
        "group" => "Gateway group",
        "method" => "Method",
        _ => "Path begins with",
    }
}

fn is_open(mine: &Mine) -> bool {
    matches!(mine, Mine::Open(_) | Mine::DenyOnly(_))
}

/// As the script makes it of the API's answer.
fn stamp(line: &read::Line) -> String {
    format!("{}:{}", line.listed.hold.terms.id, line.missing.iter().map(|(_, count)| count).sum::<u32>())
}

fn row(line_of: read::Line, mine: &Mine, ended: &HashMap<String, Ended>, now: u64) -> Row {
    let read::Line { listed, missing } = line_of;
    let open = listed.hold.stage.deadline().is_some();
    let deadline = listed.hold.stage.deadline().unwrap_or(listed.hold.since);
    let is_used = matches!(listed.hold.stage, Stage::Used(_));
    let cause = listed.hold.stage.cause().map(|cause| cause.as_str());
    let terms = listed.hold.terms;
    let agent = &terms.agent;
    let caller = agent.caller();
    let ended = ended.get(&terms.id);
    let reported = ended.and_then(|ended| ended.outcome.as_ref()).map(outcome);
    let decided = ended.map(|ended| ended.decided.as_slice()).unwrap_or_default();
    Row {
        label: text::plain(&format!("{} {}{}", listed.method, listed.authority, listed.path), MAX_LABEL),
        method: line(&listed.method),
        target: line(&format!("{}{}", listed.authority, listed.path)),
        query: listed.query.map(|query| text::line_with_rest(&query.text, query.rest)),
        agent: line(&caller.sub),
        issuer: line(&caller.iss),
        behalf: (!agent.act.is_empty()).then(|| (line(&agent.sub), line(&agent.iss))),
        owner: agent.owner.as_deref().map(line),
        rules: terms.rules.iter().map(|rule| rule.id.clone()).collect(),
        deadline,
        deadline_text: distance(deadline, now),
        deadline_moment: moment(deadline),
        urgent: open && deadline < now.saturating_add(300),
        cause,
        missing: missing.iter().map(|(role, count)| format!("{count} {role}")).collect::<Vec<_>>().join(", "),
        mine: mine_view(mine),
        decided: decided.iter().map(|(name, verdict)| (line(name), verb(*verdict))).collect(),
        outcome: reported.or_else(|| is_used.then(|| "Not reported.".to_owned())),
        id: terms.id,
    }
}

fn verb(verdict: Verdict) -> &'static str {
    if verdict == Verdict::Approve { "approved" } else { "denied" }
}

fn mine_view(mine: &Mine) -> MineView {
    let text = match mine {
        Mine::Open(by) if by.escalated => format!("as {}, by escalation", by.role),
        Mine::Open(by) => format!("as {}", by.role),
        Mine::DenyOnly(why) => format!("you can only deny: {why}"),
        Mine::Decided(verdict) => format!("you {} it", verb(*verdict)),
        Mine::Not(Refusal::NotEligible) => "not yours".to_owned(),
        Mine::Not(why) => format!("not yours: {why}"),
        Mine::Ended => String::new(),
    };
    MineView { open: is_open(mine), text: line(&text) }
}

#[derive(Template)]
#[template(path = "confirm.html")]
struct ConfirmPage {
    reader: Reader,
    verdict: &'static str,
    action: &'static str,
    reason: String,
    shown_reason: Html,
    code: String,
    rows: Vec<AskedRow>,
    /// How many were selected that are no more to be decided on by the reader.
    others: usize,
    sign_in_again: bool,
}

struct AskedRow {
    id: String,
    method: Html,
    target: Html,
    agent: Html,
    rules: Vec<String>,
    mine: MineView,
}

#[derive(Template)]
#[template(path = "decided.html")]
struct DecidedPage {
    reader: Reader,
    done: usize,
    verb: &'static str,
    refused: Vec<(String, Html, Html)>,
    sign_in_again: bool,
}

/// `POST /holds/decisions`: first asks back with the requests by name, then decides.
pub async fn decide_many(
    Visitor(signed): Visitor,
    State(app): State<App>,
    form: Result<FormFields, Failure>,
) -> Result<Response, PageFailure> {
    let form = form?;
    signed.check_csrf(form.text("csrf"))?;
    // Both before anything is made of each item: a body has room for a hundred thousand of them, or for a long reason.
    check_count(form.all("hold").count())?;
    let (verdict, reason) = (verdict(&form)?, said(&form));
    check_reason(&reason)?;
    let ids: Vec<&str> = form.all("hold").collect();
    if ids.is_empty() {
        return Err(Failure::bad_request("no hold was selected; tick some, then decide").into());
    }
    // The session may have ended while the form was read: it shows nothing any more.
    if app.service.session(&signed.who).await?.is_none() {
        return Err(PageFailure::sign_in("/holds"));
    }
    let asked = app.service.asked(&signed.session, &ids).await?;
    if form.text("confirmed").is_empty() {
        return confirm(&app, &signed, verdict, &form, asked, &ids).await;
    }
    let by_id: HashMap<&str, &Asked> = asked.iter().map(|one| (one.hold.terms.id.as_str(), one)).collect();
    // A code is for the holds that ask for one.
    let code: Option<Arc<str>> = Some(form.text("code")).filter(|code| !code.is_empty()).map(Arc::from);
    let wants_code = |hold: &str| by_id.get(hold).is_some_and(|one| !one.hold.terms.requirement.codes.is_empty());
    let reason: Arc<str> = reason.into();
    let item = |hold: &&str| {
        let code = code.clone().filter(|_| wants_code(hold));
        Item { hold: (*hold).to_owned(), verdict, reason: reason.clone(), code, digest: None }
    };
    let answers = app.service.decide(&signed.who, ids.iter().map(item).collect()).await?;
    let refused = ids.iter().zip(answers).filter_map(|(hold, answer)| Some((*hold, Failure::from(answer.err()?))));
    let refused: Vec<(&str, Failure)> = refused.collect();
    let target = |hold: &str| {
        let head = by_id.get(hold).map(|one| &one.head);
        head.map_or_else(|| line(hold), |head| line(&format!("{} {}{}", head.method, head.authority, head.path)))
    };
    let page = DecidedPage {
        reader: Reader::of(&signed, &app).await?,
        done: ids.len() - refused.len(),
        verb: verb(verdict),
        sign_in_again: refused.iter().any(|(_, failure)| failure.error == "sign_in_again"),
        refused: refused.iter().map(|(hold, why)| ((*hold).to_owned(), target(hold), line(&why.detail))).collect(),
    };
    Ok(render(if refused.is_empty() { StatusCode::OK } else { StatusCode::CONFLICT }, &page).into_response())
}

async fn confirm(
    app: &App,
    signed: &SignedIn,
    verdict: Verdict,
    form: &FormFields,
    asked: Vec<Asked>,
    ids: &[&str],
) -> Result<Response, PageFailure> {
    let reason = said(form);
    let row = |one: &Asked| AskedRow {
        id: one.hold.terms.id.clone(),
        method: line(&one.head.method),
        target: line(&format!("{}{}", one.head.authority, one.head.path)),
        agent: line(&one.hold.terms.agent.caller().sub),
        rules: one.hold.terms.rules.iter().map(|rule| rule.id.clone()).collect(),
        mine: mine_view(&one.mine),
    };
    let denies = verdict == Verdict::Deny;
    let counts = |one: &&Asked| matches!(one.mine, Mine::Open(_)) || denies && matches!(one.mine, Mine::DenyOnly(_));
    let rows: Vec<AskedRow> = asked.iter().filter(counts).map(row).collect();
    let page = ConfirmPage {
        reader: Reader::of(signed, app).await?,
        verdict: if verdict == Verdict::Approve { "approve" } else { "deny" },
        action: if verdict == Verdict::Approve { "Approve" } else { "Deny" },
        shown_reason: lines(&reason),
        reason,
        code: form.text("code").to_owned(),
        others: ids.iter().collect::<BTreeSet<_>>().len().saturating_sub(rows.len()),
        rows,
        sign_in_again: is_stale(app, signed),
    };
    Ok(render(StatusCode::OK, &page).into_response())
}
