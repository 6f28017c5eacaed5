//! What all pages show, and those before the sign-in.

use askama::Template;

use crate::{
    domain::authority::{ADMIN, AUDITOR},
    http::{App, error::Failure, session::SignedIn, text::Html},
};

/// Who reads the page.
pub(super) struct Reader {
    pub(super) name: String,
    pub(super) csrf: String,
    /// Whether figures and people are theirs to read.
    pub(super) reads_all: bool,
    /// What the script holds its clock against.
    pub(super) now: u64,
}

impl Reader {
    pub(super) async fn of(signed: &SignedIn, app: &App) -> Result<Self, Failure> {
        let reads_all = app.service.has_role(&signed.session.person.id, &[ADMIN, AUDITOR]).await?;
        let (name, csrf) = (signed.session.person.name.clone(), signed.csrf().unwrap_or_default());
        Ok(Reader { name, csrf, reads_all, now: app.service.now() })
    }
}

#[derive(Template)]
#[template(path = "signin.html")]
pub(super) struct SignInPage {
    pub(super) csrf: String,
    pub(super) problem: Option<String>,
    pub(super) person: String,
    pub(super) next: String,
    /// How the provider is called, where people can sign in at one.
    pub(super) provider: Option<String>,
    pub(super) again: bool,
}

#[derive(Template)]
#[template(path = "signin_failed.html")]
pub(super) struct FailedSignInPage {
    pub(super) detail: Html,
}

#[derive(Template)]
#[template(path = "signed_in.html")]
pub(super) struct SignedInPage {
    pub(super) next: String,
}

#[derive(Template)]
#[template(path = "error.html")]
pub(super) struct ErrorPage {
    pub(super) title: &'static str,
    pub(super) detail: Html,
}
