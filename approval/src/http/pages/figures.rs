//! The page of figures: the same as `/api/figures`, in plain tables.

use askama::Template;
use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};

use super::{PageFailure, Visitor, render, views::Reader};
use crate::{
    http::{
        App,
        error::Failure,
        extract::Params,
        figures::{FigureParams, may_read_figures},
        text::{Html, grouped, line, moment, span},
    },
    service::figures::{self, Holds},
};

#[derive(Template)]
#[template(path = "figures.html")]
struct FiguresPage {
    reader: Reader,
    since: String,
    complete: bool,
    open: Vec<(&'static str, String)>,
    ended: Vec<(&'static str, String)>,
    reviewers: Vec<ReviewerRow>,
    rules: Vec<RuleRow>,
}

struct ReviewerRow {
    name: Html,
    person: String,
    approvals: String,
    denials: String,
    looked: String,
    unread: String,
    warning: Option<String>,
}

struct RuleRow {
    rule: String,
    counts: [String; 5],
    remark: Option<String>,
}

/// `GET /figures`
pub async fn figures(
    Visitor(signed): Visitor,
    State(app): State<App>,
    ask: Result<Params<FigureParams>, Failure>,
) -> Result<Response, PageFailure> {
    let Params(ask) = ask?;
    may_read_figures(&app, &signed).await?;
    let figures = app.service.figures(ask.since(app.service.now())).await?;
    let page = FiguresPage {
        reader: Reader::of(&signed, &app).await?,
        since: moment(figures.since),
        complete: figures.complete,
        open: vec![
            ("Waiting for a decision", grouped(figures.open.pending)),
            ("Age of the oldest", time(figures.open.oldest)),
            ("Approved and not used yet", grouped(figures.open.approved)),
        ],
        ended: ended(&figures.holds, &figures.decisions),
        reviewers: figures.reviewers.into_iter().map(reviewer).collect(),
        rules: figures.rules.into_iter().map(rule).collect(),
    };
    Ok(render(StatusCode::OK, &page).into_response())
}

fn ended(holds: &Holds, decisions: &figures::Times) -> Vec<(&'static str, String)> {
    vec![
        ("Opened", grouped(holds.opened)),
        ("Approved", grouped(holds.approved)),
        ("Denied", grouped(holds.denied)),
        ("Expired", format!("{} ({} %)", grouped(holds.expired), holds.expired_percent)),
        ("Cancelled", grouped(holds.cancelled)),
        ("Median time to a decision", time(decisions.median)),
        ("Nine of ten decided within", time(decisions.p90)),
    ]
}

fn time(seconds: Option<u64>) -> String {
    seconds.map_or_else(|| "–".to_owned(), span)
}

fn reviewer(figures: figures::Reviewer) -> ReviewerRow {
    ReviewerRow {
        name: line(&figures.name),
        person: figures.person,
        approvals: grouped(figures.approvals),
        denials: grouped(figures.denials),
        looked: time(figures.looked),
        unread: grouped(figures.unread),
        warning: figures.warning,
    }
}

fn rule(figures: figures::Rule) -> RuleRow {
    let Holds { opened, approved, denied, expired, cancelled, .. } = figures.holds;
    RuleRow {
        rule: figures.rule,
        counts: [opened, approved, denied, expired, cancelled].map(grouped),
        remark: figures.remark,
    }
}
