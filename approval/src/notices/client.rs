//! Requests to hooks: one at a time for each, no redirects, no address that the operator did not mean.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use holdgate_protocol::b64;
use http_body_util::Full;
use hyper::{Method, Request, StatusCode, Uri};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioIo},
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use sha2::Sha256;
use tokio::net::TcpStream;

use super::{
    address::{Class, class},
    config::{Hook, Hooks, Secret, is_listed, plain_host},
};

/// How long one try may take in all.
pub const TIME: Duration = Duration::from_secs(10);

/// How long one address of a host may take: where it answers nothing, another one may.
const ADDRESS: Duration = Duration::from_secs(3);

/// A client that connects to listed hosts only.
pub struct Client(legacy::Client<HttpsConnector<Guarded>, Full<Bytes>>);

/// Why a notice was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    #[error("it answered {}", .0.as_u16())]
    Refused(StatusCode),
    #[error("it answered {}; redirects are not followed", .0.as_u16())]
    Redirected(StatusCode),
    #[error("it did not answer within 10 seconds")]
    Late,
    #[error("{0}")]
    Unreachable(String),
}

impl SendError {
    /// Whether the receiver cannot take anything at this moment, rather than not this notice.
    pub fn is_outage(&self) -> bool {
        match self {
            SendError::Refused(status) => status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429),
            SendError::Redirected(_) => false,
            SendError::Late | SendError::Unreachable(_) => true,
        }
    }
}

/// The client cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    #[error("no root certificates: install Debian's `ca-certificates`, or name a file in SSL_CERT_FILE ({0})")]
    Roots(io::Error),
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

impl Client {
    /// A client for hooks. Root certificates are needed only where one has TLS.
    pub fn new(hooks: &Hooks) -> Result<Self, ClientError> {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions()?;
        let builder = if hooks.hooks.iter().any(|hook| hook.url.0.scheme_str() == Some("https")) {
            builder.with_native_roots().map_err(ClientError::Roots)?
        } else {
            builder.with_root_certificates(RootCertStore::empty())
        };
        let connector = HttpsConnectorBuilder::new().with_tls_config(builder.with_no_client_auth());
        let guarded = Guarded { hosts: hooks.hosts.clone() };
        let connector = connector.https_or_http().enable_http1().wrap_connector(guarded);
        // Notices are rare, and one that is sent on a connection which the other side gives up at that moment fails.
        Ok(Client(legacy::Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector)))
    }

    /// Sends one notice. Nothing but the status of the answer is read.
    pub async fn send(&self, hook: &Hook, id: &str, now: u64, body: String) -> Result<(), SendError> {
        let mut request = Request::builder().method(Method::POST).uri(hook.url.0.clone());
        request = request.header("content-type", "application/json").header("user-agent", "holdgate");
        if let Some(secret) = &hook.secret {
            let signature = sign(secret, id, now, &body);
            request = request.header("webhook-id", id).header("webhook-timestamp", now.to_string());
            request = request.header("webhook-signature", signature);
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|error| unreachable(&error))?;
        let response = tokio::time::timeout(TIME, self.0.request(request)).await.map_err(|_| SendError::Late)?;
        let status = response.map_err(|error| unreachable(&error))?.status();
        match status {
            status if status.is_success() => Ok(()),
            status if status.is_redirection() => Err(SendError::Redirected(status)),
            status => Err(SendError::Refused(status)),
        }
    }
}

/// `webhook-signature` of Standard Webhooks: HMAC-SHA-256 over id, time and body.
fn sign(secret: &Secret, id: &str, now: u64, body: &str) -> String {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&secret.0) else { return String::new() };
    mac.update(format!("{id}.{now}.{body}").as_bytes());
    format!("v1,{}", b64(&mac.finalize().into_bytes()))
}

/// An error with what caused it, without the address, which may be a secret.
fn unreachable(error: &dyn std::error::Error) -> SendError {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = cause.to_string();
        source = cause.source();
    }
    SendError::Unreachable(format!("it cannot be reached: {text}"))
}

/// Connects after the address was looked at, so that a name which leads elsewhere by then is no way in.
#[derive(Clone)]
pub struct Guarded {
    hosts: Arc<BTreeSet<String>>,
}

impl tower::Service<Uri> for Guarded {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let hosts = self.hosts.clone();
        Box::pin(async move {
            let host = plain_host(uri.host().unwrap_or_default());
            let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
            let addresses = tokio::net::lookup_host((host.as_str(), port)).await?;
            connect(&host, addresses, &hosts).await.map(TokioIo::new)
        })
    }
}

/// Connects to the first address of a host that may be connected to and answers.
async fn connect(
    host: &str,
    addresses: impl Iterator<Item = SocketAddr>,
    hosts: &BTreeSet<String>,
) -> io::Result<TcpStream> {
    let mut last = io::Error::other(format!("`{host}` has no address"));
    for address in addresses {
        if !may_connect(host, address.ip(), hosts) {
            last = io::Error::other(format!("`{host}` leads to `{}`, which `hosts` does not allow", address.ip()));
            continue;
        }
        let late = |_| Err(io::ErrorKind::TimedOut.into());
        match tokio::time::timeout(ADDRESS, TcpStream::connect(address)).await.unwrap_or_else(late) {
            Ok(stream) => {
                // One request, whole: there is nothing to wait for.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Whether an address may be connected to for a host.
fn may_connect(host: &str, address: IpAddr, hosts: &BTreeSet<String>) -> bool {
    is_listed(host, hosts)
        && match class(address) {
            Class::Public => true,
            Class::Private => hosts.contains(host),
            Class::Special => host.parse() == Ok(address) && hosts.contains(host),
        }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket, TcpStream};

    use super::{BTreeSet, Secret, connect, may_connect, sign};

    /// A first address that swallows all packets leaves time for the next one.
    #[tokio::test]
    async fn a_host_is_reached_by_the_address_that_answers() {
        // Nobody accepts there, and there is room for few who wait.
        let full = TcpSocket::new_v4().unwrap();
        full.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let full = full.listen(1).unwrap();
        let silent = full.local_addr().unwrap();
        let mut waiting = Vec::new();
        let short = std::time::Duration::from_millis(200);
        while let Ok(stream) = tokio::time::timeout(short, TcpStream::connect(silent)).await {
            waiting.push(stream.unwrap());
        }
        let well = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addresses = [silent, well.local_addr().unwrap()];
        let hosts = BTreeSet::from(["127.0.0.1".to_owned()]);
        let connecting = connect("127.0.0.1", addresses.into_iter(), &hosts);
        let stream = tokio::time::timeout(super::TIME, connecting).await.expect("within one try").unwrap();
        assert_eq!(stream.peer_addr().unwrap(), addresses[1]);
    }

    #[test]
    fn a_name_that_leads_to_this_network_is_not_followed() {
        let hosts: BTreeSet<String> =
            ["*.example", "inner.example", "169.254.1.1", "10.0.0.9"].map(String::from).into_iter().collect();
        let may = |host: &str, address: &str| may_connect(host, address.parse().unwrap(), &hosts);
        assert!(may("a.example", "1.1.1.1") && may("inner.example", "10.0.0.5") && may("10.0.0.9", "10.0.0.9"));
        assert!(may("169.254.1.1", "169.254.1.1"));
        for (host, address) in [
            ("a.example", "10.0.0.5"),
            ("a.example", "::ffff:127.0.0.1"),
            ("inner.example", "169.254.169.254"),
            ("inner.example", "fe80::1"),
            ("other.test", "1.1.1.1"),
            ("10.0.0.8", "10.0.0.8"),
        ] {
            assert!(!may(host, address), "{host} {address}");
        }
    }

    /// The example of the Standard Webhooks specification's libraries.
    #[test]
    fn the_signature_is_that_of_standard_webhooks() {
        let secret = Secret(holdgate_protocol::from_b64("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap());
        let signature = sign(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, "{\"test\": 2432232314}");
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
