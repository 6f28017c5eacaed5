//! Requests to the provider: one at a time, small answers, no redirects.

use std::{pin::Pin, sync::Arc, time::Duration};

use axum::body::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse};
use rustls::{ClientConfig, RootCertStore, crypto::ring};

use super::url;

/// The largest answer, in bytes.
const MAX_ANSWER: usize = 256 * 1024;

/// How long an answer may take.
const TIME: Duration = Duration::from_secs(5);

/// A client that sends to `https`, and to this machine by `http`.
pub(super) struct Client(legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    #[error("no root certificates: install Debian's `ca-certificates`, or name a file in SSL_CERT_FILE ({0})")]
    Roots(std::io::Error),
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    #[error("{0}")]
    Address(String),
    #[error("`{address}` cannot be asked: {error}")]
    Send { address: String, error: String },
    #[error("`{0}` did not answer within 5 seconds")]
    Late(String),
}

impl Client {
    /// A client for an issuer. Root certificates are needed only where it has TLS.
    pub(super) fn new(issuer: &str) -> Result<Self, ClientError> {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions()?;
        let builder = if issuer.starts_with("https:") {
            builder.with_native_roots().map_err(ClientError::Roots)?
        } else {
            builder.with_root_certificates(RootCertStore::empty())
        };
        let connector = HttpsConnectorBuilder::new().with_tls_config(builder.with_no_client_auth());
        let connector = connector.https_or_http().enable_http1().build();
        // Questions are rare, and one that is sent on a connection which the other side gives up at that moment fails.
        Ok(Client(legacy::Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector)))
    }

    /// The body of a 200 to GET.
    pub(super) async fn get(&self, address: &str) -> Result<Vec<u8>, ClientError> {
        let send = |error: String| ClientError::Send { address: address.to_owned(), error };
        let request = hyper::Request::get(address).header("accept", "application/json").body(Vec::new());
        let response = self.send(request.map_err(|error| send(error.to_string()))?).await?;
        if response.status() != hyper::StatusCode::OK {
            return Err(send(format!("it answered {}", response.status())));
        }
        Ok(response.into_body())
    }

    /// One request. The address is checked here, whoever chose it.
    pub(super) async fn send(&self, request: HttpRequest) -> Result<HttpResponse, ClientError> {
        let address = request.uri().to_string();
        url::read(&address).map_err(ClientError::Address)?;
        let answer = async {
            let failed = |error: String| ClientError::Send { address: address.clone(), error };
            let response = self.0.request(request.map(|body| Full::new(Bytes::from(body)))).await;
            let (parts, body) = response.map_err(|error| failed(all_of(&error)))?.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await;
            let body = body.map_err(|error| failed(error.to_string()))?.to_bytes();
            Ok(HttpResponse::from_parts(parts, body.into()))
        };
        tokio::time::timeout(TIME, answer).await.unwrap_or_else(|_| Err(ClientError::Late(address.clone())))
    }
}

impl<'c> AsyncHttpClient<'c> for Client {
    type Error = ClientError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, ClientError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

/// An error with what caused it; the client's own says only that it could not connect.
fn all_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
