//! A proxy in front of the real service that breaks one thing of the protocol.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use holdgate_tests::http::{Payload, exchange};
use http_body_util::{BodyExt as _, Full};
use hyper::{HeaderMap, Method, Request, Response, Version, body::Bytes, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};

/// A question of a gateway.
#[derive(Clone)]
pub(super) struct Question {
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// What it is told.
pub(super) struct Told {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) after: Duration,
}

/// Changes a question, or answers it.
pub(super) type Before = Arc<dyn Fn(&mut Question) -> Option<Told> + Send + Sync>;

/// Changes an answer.
pub(super) type After = Arc<dyn Fn(&Question, &mut Told) + Send + Sync>;

impl Question {
    pub(super) fn is(&self, path: &str) -> bool {
        self.target.starts_with(path)
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Told {
    pub(super) fn new(status: u16, body: &Value) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "application/json".parse().unwrap());
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        Told { status, headers, body, after: Duration::ZERO }
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// A running proxy; dropped, it stops.
pub(super) struct Broken {
    pub(super) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Broken {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Broken {
    pub(super) async fn start(service: SocketAddr, before: Before, after: After) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (before, after) = (before.clone(), after.clone());
                tokio::spawn(async move {
                    let serve = service_fn(move |request| answer(request, service, before.clone(), after.clone()));
                    let _ =
                        auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), serve).await;
                });
            }
        });
        Broken { address, task }
    }
}

async fn answer(
    request: Request<Incoming>,
    service: SocketAddr,
    before: Before,
    after: After,
) -> anyhow::Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let body = body.collect().await?.to_bytes();
    let mut question = Question { method: head.method, target, version: head.version, headers: head.headers, body };
    let told = match before(&mut question) {
        Some(told) => told,
        None => {
            let mut told = forward(&question, service).await?;
            after(&question, &mut told);
            told
        }
    };
    tokio::time::sleep(told.after).await;
    let mut response = Response::builder().status(told.status);
    for (name, value) in &told.headers {
        response = response.header(name, value);
    }
    Ok(response.body(Full::new(told.body))?)
}

async fn forward(question: &Question, service: SocketAddr) -> anyhow::Result<Told> {
    let mut onward = Request::builder().method(&question.method).uri(&question.target);
    onward = onward.header("host", service.to_string());
    let own = ["host", "content-length", "transfer-encoding", "connection"];
    for (name, value) in question.headers.iter().filter(|(name, _)| !own.contains(&name.as_str())) {
        onward = onward.header(name, value);
    }
    if !question.body.is_empty() {
        onward = onward.header("content-length", question.body.len());
    }
    let answer = exchange(service, onward.body(Payload::whole(question.body.clone()))?).await?;
    let mut headers = answer.headers;
    for name in ["content-length", "transfer-encoding", "connection"] {
        headers.remove(name);
    }
    Ok(Told { status: answer.status, headers, body: answer.body, after: Duration::ZERO })
}
