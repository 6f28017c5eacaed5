//! A proxy between filter and approval service that rewrites real answers.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use http_body_util::{BodyExt as _, Full};
use hyper::{HeaderMap, Request, Response, body::Bytes, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::http::{Payload, exchange};

/// One exchange between filter and service, before the answer is passed on.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Path and query.
    pub target: String,
    pub headers: HeaderMap,
    pub request: Bytes,
    pub status: u16,
    pub answer: Bytes,
    /// The stream is reset in place of an answer.
    pub reset: bool,
}

/// Rewrites an exchange's status and answer in place, or leaves them.
pub type Hook = Arc<dyn Fn(&mut Exchange) + Send + Sync>;

/// A running proxy; dropped, it stops.
pub struct Proxy {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Proxy {
    pub async fn start(listen: SocketAddr, service: SocketAddr, hook: Hook) -> Result<Self> {
        let listener = TcpListener::bind(listen).await.with_context(|| format!("{listen} cannot be listened on"))?;
        let address = listener.local_addr()?;
        Ok(Proxy { address, task: tokio::spawn(accept(listener, service, hook)) })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, service: SocketAddr, hook: Hook) {
    while let Ok((stream, _)) = listener.accept().await {
        let hook = hook.clone();
        tokio::spawn(async move {
            let forward = service_fn(move |request| forward(request, service, hook.clone()));
            let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), forward).await;
        });
    }
}

async fn forward(request: Request<Incoming>, service: SocketAddr, hook: Hook) -> Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let mut onward = Request::builder().method(head.method).uri(&target).header("host", service.to_string());
    let named = |name: &str| ["host", "content-length", "transfer-encoding", "connection"].contains(&name);
    for (name, value) in head.headers.iter().filter(|(name, _)| !named(name.as_str())) {
        onward = onward.header(name, value);
    }
    if !body.is_empty() {
        onward = onward.header("content-length", body.len());
    }
    let answer = exchange(service, onward.body(Payload::whole(body.clone()))?).await?;
    let headers = head.headers;
    let mut exchange =
        Exchange { target, headers, request: body, status: answer.status, answer: answer.body, reset: false };
    // A hook may keep an answer back; the other streams of its connection go on.
    let exchange = tokio::task::spawn_blocking(move || {
        hook(&mut exchange);
        exchange
    })
    .await?;
    ensure!(!exchange.reset, "reset as the test wants it");
    let response = Response::builder().status(exchange.status).header("content-type", "application/json");
    Ok(response.body(Full::new(exchange.answer))?)
}
