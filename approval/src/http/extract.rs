//! What handlers take out of a request, with errors in the words of the protocol.

use axum::{
    body::Bytes,
    extract::{
        FromRequest, FromRequestParts, Path, Query, Request,
        rejection::{BytesRejection, FormRejection},
    },
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use holdgate_protocol::Hash;
use serde::de::DeserializeOwned;

use super::{App, error::Failure};
use crate::{service::who::Gateway, store::access};

/// A JSON body of one type; unknown members are refused where the type says so.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &App) -> Result<Self, Failure> {
        let bytes = Bytes::from_request(request, app).await.map_err(|rejection| unread(&rejection))?;
        serde_json::from_slice(&bytes).map(Body).map_err(|error| Failure::bad_request(format!("the body: {error}")))
    }
}

/// The fields of an HTML form in their order; a name may come more than once.
pub struct FormFields(Vec<(String, String)>);

impl FromRequest<App> for FormFields {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &App) -> Result<Self, Failure> {
        let form = axum::Form::<Vec<(String, String)>>::from_request(request, app).await;
        let unread = |error: FormRejection| refused(error.status(), error.body_text());
        form.map(|axum::Form(fields)| FormFields(fields)).map_err(unread)
    }
}

impl FormFields {
    /// The first value of a name; empty where there is none.
    pub fn text(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(field, _)| field == name);
        found.map_or("", |(_, value)| value)
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(field, _)| field == name).map(|(_, value)| value.as_str())
    }
}

/// A query string of one type.
pub struct Params<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let query = Query::<T>::from_request_parts(parts, app).await;
        query.map(|Query(value)| Params(value)).map_err(|error| Failure::bad_request(error.body_text()))
    }
}

/// What a path names.
pub struct Name<T = String>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Name<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let name = Path::<T>::from_request_parts(parts, app).await;
        name.map(|Path(name)| Name(name)).map_err(|error| Failure::bad_request(error.body_text()))
    }
}

/// A gateway by its credential, which fixes its group.
impl FromRequestParts<App> for Gateway {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let unknown = || Failure::unauthorized("a gateway's credential is needed: `authorization: Bearer ...`");
        let credential = bearer_hash(&parts.headers).ok_or_else(unknown)?;
        let mut connection = app.service.store.read().await?;
        let group = access::gateway_group(&mut connection, &credential).await?;
        group.map(|group| Gateway { group, credential }).ok_or_else(unknown)
    }
}

/// A publisher by their credential.
pub struct Publisher {
    pub name: String,
    pub credential: Hash,
}

impl FromRequestParts<App> for Publisher {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let unknown = || Failure::unauthorized("a publisher's credential is needed: `authorization: Bearer ...`");
        let credential = bearer_hash(&parts.headers).ok_or_else(unknown)?;
        let mut connection = app.service.store.read().await?;
        let name = access::publisher(&mut connection, &credential).await?;
        name.map(|name| Publisher { name, credential }).ok_or_else(unknown)
    }
}

/// The one bearer credential.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, credential) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(credential.trim_matches(' '))
}

/// Its SHA-256. Secrets are compared as hashes, so the time tells nothing of them.
fn bearer_hash(headers: &HeaderMap) -> Option<Hash> {
    bearer(headers).map(|credential| Hash::of(credential.as_bytes()))
}

fn unread(rejection: &BytesRejection) -> Failure {
    refused(rejection.status(), rejection.body_text())
}

/// A body that was refused before it was looked into.
fn refused(status: StatusCode, detail: String) -> Failure {
    let word = match status {
        StatusCode::PAYLOAD_TOO_LARGE => "too_large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported_media_type",
        _ => "malformed",
    };
    Failure::new(status, word, detail)
}
