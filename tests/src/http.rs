//! A small HTTP client on hyper: one exchange on a connection of its own, or many on one HTTP/2 connection.

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use anyhow::{Context as _, Result};
use http_body_util::BodyExt as _;
use hyper::{
    Request,
    body::{Body, Bytes, Frame},
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::{net::TcpStream, task::JoinHandle};

/// A body that is sent piece by piece. One piece and a Content-Length, or several and none.
#[derive(Clone, Debug, Default)]
pub struct Payload(VecDeque<Bytes>);

impl Payload {
    /// The whole body in one piece.
    pub fn whole(body: Bytes) -> Self {
        Payload(if body.is_empty() { VecDeque::new() } else { [body].into() })
    }

    /// The body in pieces of at most `size` bytes.
    pub fn pieces(body: &Bytes, size: usize) -> Self {
        let starts = (0..body.len()).step_by(size.max(1));
        Payload(starts.map(|start| body.slice(start..body.len().min(start + size.max(1)))).collect())
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub headers: hyper::HeaderMap,
    pub body: Bytes,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The last part of a problem's type (`urn:holdgate:problem:held` is `held`); empty where the body is no problem.
    pub fn problem(&self) -> String {
        let is_problem = self.header("content-type").is_some_and(|value| value.starts_with("application/problem+json"));
        let kind = self.json().get("type").and_then(Value::as_str).map(str::to_owned).unwrap_or_default();
        let kind = kind.strip_prefix("urn:holdgate:problem:").unwrap_or_default();
        if is_problem { kind.to_owned() } else { String::new() }
    }
}

/// Stops a connection when its exchange is over or given up.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One HTTP/1.1 exchange. Dropping the future hangs up.
pub async fn exchange(to: SocketAddr, request: Request<Payload>) -> Result<Response> {
    let stream = TcpStream::connect(to).await.with_context(|| format!("no connection to {to}"))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let _driver = Driver(tokio::spawn(async move {
        // An error reaches the exchange itself.
        let _ = connection.await;
    }));
    collect(sender.send_request(request).await?).await
}

/// One `GET`.
pub async fn get(to: SocketAddr, target: &str) -> Result<Response> {
    exchange(to, Request::get(target).header("host", to.to_string()).body(Payload::default())?).await
}

/// An HTTP/2 connection with prior knowledge. Dropping it hangs up on everything that is open on it.
pub struct Connection {
    sender: http2::SendRequest<Payload>,
    _driver: Driver,
}

impl Connection {
    pub async fn open(to: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(to).await.with_context(|| format!("no connection to {to}"))?;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        let driver = Driver(tokio::spawn(async move {
            let _ = connection.await;
        }));
        Ok(Connection { sender, _driver: driver })
    }

    /// Sends a request; the answer may be awaited while others are sent. Dropping the future resets the stream.
    pub fn exchange(&self, request: Request<Payload>) -> impl Future<Output = Result<Response>> + Send + use<> {
        let mut sender = self.sender.clone();
        async move {
            sender.ready().await?;
            collect(sender.send_request(request).await?).await
        }
    }
}

async fn collect(response: hyper::Response<hyper::body::Incoming>) -> Result<Response> {
    let (head, body) = response.into_parts();
    let body = body.collect().await.context("the answer broke off")?.to_bytes();
    Ok(Response { status: head.status.as_u16(), headers: head.headers, body })
}
