//! The page of one hold, and the forms on it.

mod history;
mod view;

use std::sync::Arc;

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Redirect, Response},
};
use holdgate_protocol::Hash;

use view::HoldPage;
pub(super) use view::outcome;

use super::{PageFailure, Visitor, render, said, verdict, views::Reader};
use crate::{
    domain::Stage,
    http::{
        App,
        error::Failure,
        extract::{FormFields, Name},
        session::SignedIn,
    },
    service::decide::{DecideError, Item},
};

/// Which form of the page something was typed into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Decide,
    Withdraw,
    Revoke,
}

impl Form {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Form::Decide => "decide",
            Form::Withdraw => "withdraw",
            Form::Revoke => "revoke",
        }
    }
}

/// What was typed into a form that was refused, so that it is there again.
pub(super) struct Typed {
    pub(super) form: Form,
    pub(super) reason: String,
    pub(super) code: String,
    pub(super) problem: String,
}

/// `GET /holds/{id}`
pub async fn detail(Visitor(signed): Visitor, State(app): State<App>, Name(id): Name) -> Result<Response, PageFailure> {
    hold_page(&app, &signed, &id, StatusCode::OK, None).await
}

async fn hold_page(
    app: &App,
    signed: &SignedIn,
    id: &str,
    status: StatusCode,
    typed: Option<Typed>,
) -> Result<Response, PageFailure> {
    let detail = app.service.detail(id, &signed.session).await?;
    let detail = detail.ok_or_else(|| Failure::not_found("there is no such hold"))?;
    if matches!(detail.hold.stage, Stage::Pending(_)) {
        app.service.note_view(id, &signed.session.person.id).await;
    }
    let page = HoldPage::new(Reader::of(signed, app).await?, detail, app.service.now(), typed);
    Ok(render(status, &page))
}

/// `POST /holds/{id}/decisions`
pub async fn decide(
    Visitor(signed): Visitor,
    State(app): State<App>,
    Name(id): Name,
    form: FormFields,
) -> Result<Response, PageFailure> {
    let page = Sent { app: &app, signed: &signed, id: &id, form: Form::Decide, fields: &form };
    if let Err(failure) = signed.check_csrf(form.text("csrf")) {
        return page.refused(failure).await;
    }
    let code = Some(form.text("code")).filter(|code| !code.is_empty()).map(Arc::from);
    let digest = Some(form.text("digest")).filter(|digest| !digest.is_empty()).map(str::parse::<Hash>).transpose();
    let digest = digest.map_err(|error| Failure::bad_request(format!("`digest`: {error}")))?;
    let item = Item { hold: id.clone(), verdict: verdict(&form)?, reason: said(&form).into(), code, digest };
    let answer = app.service.decide(&signed.who, vec![item]).await;
    page.answer(answer.and_then(|mut answers| answers.pop().transpose()).map(|_| ())).await
}

/// `POST /holds/{id}/revoke`
pub async fn revoke(
    Visitor(signed): Visitor,
    State(app): State<App>,
    Name(id): Name,
    form: FormFields,
) -> Result<Response, PageFailure> {
    let page = Sent { app: &app, signed: &signed, id: &id, form: Form::Revoke, fields: &form };
    if let Err(failure) = signed.check_csrf(form.text("csrf")) {
        return page.refused(failure).await;
    }
    page.answer(app.service.revoke(&signed.who, &id, &said(&form)).await.map(|_| ())).await
}

/// `POST /holds/{id}/withdraw`
pub async fn withdraw(
    Visitor(signed): Visitor,
    State(app): State<App>,
    Name(id): Name,
    form: FormFields,
) -> Result<Response, PageFailure> {
    let page = Sent { app: &app, signed: &signed, id: &id, form: Form::Withdraw, fields: &form };
    if let Err(failure) = signed.check_csrf(form.text("csrf")) {
        return page.refused(failure).await;
    }
    page.answer(app.service.withdraw(&signed.who, &id, &said(&form)).await.map(|_| ())).await
}

/// A form that came.
struct Sent<'a> {
    app: &'a App,
    signed: &'a SignedIn,
    id: &'a str,
    form: Form,
    fields: &'a FormFields,
}

impl Sent<'_> {
    async fn answer(&self, answer: Result<(), DecideError>) -> Result<Response, PageFailure> {
        match answer {
            Err(error) => self.refused(error.into()).await,
            Ok(()) => Ok(Redirect::to(&format!("/holds/{}", self.id)).into_response()),
        }
    }

    /// Shows the hold again with what was wrong and what was typed. A form of an earlier sign-in is refused too, and
    /// can be sent from there.
    async fn refused(&self, failure: Failure) -> Result<Response, PageFailure> {
        // The session may have ended while the form was read: it shows nothing any more.
        if failure.status == StatusCode::UNAUTHORIZED || self.app.service.session(&self.signed.who).await?.is_none() {
            return Err(PageFailure::sign_in(&format!("/holds/{}", self.id)));
        }
        let typed = Typed {
            form: self.form,
            reason: said(self.fields),
            code: self.fields.text("code").to_owned(),
            problem: failure.detail,
        };
        hold_page(self.app, self.signed, self.id, failure.status, Some(typed)).await
    }
}
