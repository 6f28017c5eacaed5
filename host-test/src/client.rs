//! How the command line asks a service: by HTTPS, or by HTTP on this machine, without redirects and proxies.
//!
//! Credentials cross no network in clear text: `http://` is taken for addresses of this machine only. Each question has a
//! connection of its own, since people ask few.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    HeaderMap, Method, Request, Uri,
    body::{Bytes, Incoming},
    header::{self, HeaderName, HeaderValue},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
};

use crate::failure::Failure;
use holdgate_protocol::gateway::ErrorAnswer;

/// How long an answer may take where the question does not say.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The largest answer that is read, in bytes: a hold with a body of 8 MiB fits, and so does a long page of the list.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// Which HTTP is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Version {
    #[default]
    Http1,
    /// With prior knowledge, as proxies speak it to a cluster.
    Http2,
}

/// One service, and the credential that goes with each question.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    /// As it was written.
    url: String,
    host: String,
    port: u16,
    /// What stands before each path.
    base: String,
    credential: Option<String>,
    version: Version,
    /// Without it, all stays on this machine.
    tls: Option<Arc<ClientConfig>>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// One question.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    method: Method,
    path: String,
    body: Bytes,
    headers: Vec<(HeaderName, String)>,
    timeout: Duration,
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(crate) struct Unanswered(String);

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Ask {
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        Ask { method, path: path.into(), body: Bytes::new(), headers: Vec::new(), timeout: TIMEOUT }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Ask::new(Method::GET, path)
    }

    /// With a JSON body, given as its bytes.
    pub(crate) fn json(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.headers.push((header::CONTENT_TYPE, "application/json".to_owned()));
        self
    }

    pub(crate) fn header(mut self, name: HeaderName, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn timeout(self, timeout: Duration) -> Self {
        Ask { timeout, ..self }
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub(crate) fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }
}

impl Client {
    /// A service by its address: `https://`, or `http://` on this machine.
    pub(crate) fn new(url: &str) -> Result<Self, Failure> {
        let wrong = || Failure::Address(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let here = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        let named = uri.authority().is_some_and(|authority| !authority.as_str().contains('@')) && uri.query().is_none();
        let (port, tls) = match uri.scheme_str() {
            Some("https") if named => (443, Some(Arc::new(tls()?))),
            Some("http") if named && here => (80, None),
            _ => return Err(wrong()),
        };
        Ok(Client {
            url: url.to_owned(),
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(port),
            base: uri.path().trim_end_matches('/').to_owned(),
            credential: None,
            version: Version::default(),
            tls,
        })
    }

    /// The same service, asked with this bearer credential.
    pub(crate) fn with_credential(self, credential: String) -> Self {
        Client { credential: Some(credential), ..self }
    }

    /// The same service, asked in this version of HTTP.
    pub(crate) fn with_version(self, version: Version) -> Self {
        Client { version, ..self }
    }

    pub(crate) fn credential(&self) -> &str {
        self.credential.as_deref().unwrap_or_default()
    }

    /// Asks, and reads the whole answer.
    pub(crate) async fn send(&self, ask: Ask) -> Result<Answer, Unanswered> {
        let timeout = ask.timeout;
        let late = |_| Unanswered(format!("no answer came within {} s", timeout.as_secs()));
        tokio::time::timeout(timeout, self.exchange(ask)).await.map_err(late)?
    }

    async fn exchange(&self, ask: Ask) -> Result<Answer, Unanswered> {
        let stream = self.connect().await?;
        let request = self.request(ask)?;
        let response = match self.version {
            Version::Http1 => {
                let (mut sender, connection) =
                    hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(told)?;
                tokio::spawn(connection);
                sender.send_request(request).await.map_err(told)?
            }
            Version::Http2 => {
                let (mut sender, connection) =
                    hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                        .await
                        .map_err(told)?;
                tokio::spawn(connection);
                sender.send_request(request).await.map_err(told)?
            }
        };
        let (head, body) = response.into_parts();
        let body = Limited::<Incoming>::new(body, MAX_ANSWER).collect().await;
        let body = body.map_err(|error| Unanswered(format!("the answer breaks off: {error}")))?.to_bytes();
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, Unanswered> {
        let failed = |error: std::io::Error| Unanswered(error.to_string());
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await.map_err(failed)?;
        let Some(config) = &self.tls else {
            // Whatever a name leads to, the credential stays here.
            let here: Vec<SocketAddr> = found.filter(|address| address.ip().is_loopback()).collect();
            return Ok(Box::new(TcpStream::connect(here.as_slice()).await.map_err(failed)?));
        };
        let name = ServerName::try_from(self.host.clone()).map_err(|error| Unanswered(error.to_string()))?;
        let mut config = ClientConfig::clone(config);
        let protocol: &[u8] = if self.version == Version::Http2 { b"h2" } else { b"http/1.1" };
        config.alpn_protocols = vec![protocol.to_vec()];
        let stream = TcpStream::connect(found.collect::<Vec<_>>().as_slice()).await.map_err(failed)?;
        let untrusted = |error: std::io::Error| Unanswered(format!("TLS: {error}"));
        Ok(Box::new(TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(untrusted)?))
    }

    fn request(&self, ask: Ask) -> Result<Request<Full<Bytes>>, Unanswered> {
        let Ask { method, path, body, headers, .. } = ask;
        let (host, port) = (&self.host, self.port);
        let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let target = format!("{}{path}", self.base);
        let mut request = Request::builder().method(method);
        request = match self.version {
            Version::Http1 => request.uri(target).header(header::HOST, authority),
            Version::Http2 => {
                let scheme = if self.tls.is_some() { "https" } else { "http" };
                request.uri(format!("{scheme}://{authority}{target}"))
            }
        };
        if let Some(credential) = &self.credential {
            let mut value = HeaderValue::from_str(&format!("Bearer {credential}"))
                .map_err(|_| Unanswered("the credential has characters that no header can carry".to_owned()))?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request.body(Full::new(body)).map_err(|error| Unanswered(error.to_string()))
    }
}

/// The root certificates of this machine, or those that SSL_CERT_FILE and SSL_CERT_DIR name.
fn tls() -> Result<ClientConfig, Failure> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    // A file that somebody named and that cannot be read is not made up for by others.
    let named = std::env::var_os("SSL_CERT_FILE").is_some() && !found.errors.is_empty();
    if roots.is_empty() || named {
        let problem = found.errors.first().map_or_else(|| "none was found".to_owned(), ToString::to_string);
        return Err(Failure::NoRoots(problem));
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| Failure::NoRoots(error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// What went wrong, with what it came from: the words of `hyper` alone do not say it.
fn told(error: hyper::Error) -> Unanswered {
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
    Unanswered(format!("{error}{}", cause.unwrap_or_default()))
}

/// A client for commands that ask one question after the other.
pub(crate) struct Blocking {
    client: Client,
    runtime: tokio::runtime::Runtime,
}

impl Blocking {
    pub(crate) fn new(client: Client) -> Result<Self, Failure> {
        Ok(Blocking { client, runtime: runtime()? })
    }

    pub(crate) fn send(&self, ask: Ask) -> Result<Answer, Failure> {
        self.runtime.block_on(self.client.send(ask)).map_err(|error| self.unreachable(error))
    }

    pub(crate) fn unreachable(&self, problem: impl fmt::Display) -> Failure {
        Failure::Unreachable { url: self.client.url.clone(), problem: problem.to_string() }
    }

    /// Reads an answer that has one of these statuses as JSON.
    pub(crate) fn read<T: serde::de::DeserializeOwned>(&self, answer: &Answer) -> Result<T, Failure> {
        answer.read().map_err(|error| self.unreachable(error))
    }

    /// What an answer means that is none of those that were hoped for: a refusal in the service's words, or no service.
    pub(crate) fn refusal(&self, answer: &Answer) -> Failure {
        let status = answer.status;
        match answer.read() {
            Ok(ErrorAnswer { detail, .. }) if (400..500).contains(&status) => Failure::Refused { status, detail },
            _ => self.unreachable(format!("it answered with status {status}")),
        }
    }
}

/// Where questions are asked from.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Terminal)
}
