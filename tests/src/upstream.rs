//! The sample upstream: a small IAM-like API that remembers exactly what it was asked.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context as _, Result};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::{
    Method, Request, Response,
    body::{Bytes, Frame, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

/// A header by which an answer of the upstream is told from one of the gateway.
pub const MARK: &str = "x-sample-upstream";

/// One request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Bytes,
}

impl Seen {
    /// The first header of this name, as text.
    pub fn header(&self, name: &str) -> Option<String> {
        let header = self.headers.iter().find(|(other, _)| other == name);
        header.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
    }
}

/// A running upstream; dropped, it stops.
pub struct Upstream {
    pub address: SocketAddr,
    state: Shared,
    task: JoinHandle<()>,
}

type Shared = Arc<Mutex<State>>;

struct State {
    seen: Vec<Seen>,
    received: usize,
    trailers: Vec<String>,
    resets: bool,
    users: BTreeMap<String, Vec<String>>,
    notes: BTreeMap<String, Vec<Value>>,
    auth: BTreeMap<String, Value>,
}

impl Upstream {
    pub async fn start(listen: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(listen).await.with_context(|| format!("{listen} cannot be listened on"))?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State::new()));
        let task = tokio::spawn(accept(listener, state.clone()));
        Ok(Upstream { address, state, task })
    }

    /// Everything that arrived, in order.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.state).seen.clone()
    }

    /// What arrived for one path and query.
    pub fn seen_at(&self, target: &str) -> Vec<Seen> {
        lock(&self.state).seen.iter().filter(|seen| seen.target == target).cloned().collect()
    }

    /// Bytes of bodies that have arrived, those of bodies that have not ended included.
    pub fn received(&self) -> usize {
        lock(&self.state).received
    }

    /// Names of trailers that have arrived, in order.
    pub fn trailers(&self) -> Vec<String> {
        lock(&self.state).trailers.clone()
    }

    /// From now on every request is recorded and its connection reset instead of answered.
    pub fn reset_connections(&self, resets: bool) {
        lock(&self.state).resets = resets;
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    fn new() -> Self {
        let users = [("1", "viewer"), ("2", "editor"), ("7", "viewer")];
        State {
            seen: Vec::new(),
            received: 0,
            trailers: Vec::new(),
            resets: false,
            users: users.iter().map(|(id, role)| ((*id).to_owned(), vec![(*role).to_owned()])).collect(),
            notes: BTreeMap::new(),
            auth: [("mfa".to_owned(), json!({"required": true}))].into(),
        }
    }
}

fn lock(state: &Shared) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, state: Shared) {
    while let Ok((stream, _)) = listener.accept().await {
        let state = state.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| serve(request, state.clone()));
            // What is wrong with a connection ends it; the next one is served.
            let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn serve(request: Request<Incoming>, state: Shared) -> Result<Response<BoxBody<Bytes, hyper::Error>>> {
    let (head, body) = request.into_parts();
    let noted = state.clone();
    let body = body.map_frame(move |frame| {
        lock(&noted).note(&frame);
        frame
    });
    let response = Response::builder().header("content-type", "application/json").header(MARK, "1");
    if head.uri.path() == "/stream" {
        // Frame by frame, while more are to come.
        return Ok(response.body(body.boxed())?);
    }
    let body = body.collect().await?.to_bytes();
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let headers = head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()));
    let seen = Seen { method: head.method.to_string(), target: target.clone(), headers: headers.collect(), body };
    let mut state = lock(&state);
    let (status, answer) = if target == "/__seen" {
        (200, state.seen.iter().map(shown).collect())
    } else {
        state.seen.push(seen.clone());
        if state.resets {
            anyhow::bail!("asked to reset connections");
        }
        state.answer(&head.method, head.uri.path(), &seen.body)
    };
    let answer = format!("{answer}\n");
    let answer = Full::new(answer.into()).map_err(|never| match never {});
    Ok(response.status(status).body(answer.boxed())?)
}

/// A request as `/__seen` shows it.
fn shown(seen: &Seen) -> Value {
    let headers = seen.headers.iter().map(|(name, value)| json!([name, String::from_utf8_lossy(value)]));
    json!({
        "method": seen.method, "target": seen.target, "headers": headers.collect::<Vec<_>>(),
        "body": String::from_utf8_lossy(&seen.body), "bytes": seen.body.len(),
    })
}

impl State {
    fn note(&mut self, frame: &Frame<Bytes>) {
        self.received += frame.data_ref().map_or(0, Bytes::len);
        self.trailers.extend(frame.trailers_ref().into_iter().flatten().map(|(name, _)| name.to_string()));
    }

    fn answer(&mut self, method: &Method, path: &str, body: &[u8]) -> (u16, Value) {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        match (method.as_str(), segments.as_slice()) {
            ("GET", ["iam", "users"]) => (200, json!({"users": self.users.keys().collect::<Vec<_>>()})),
            ("GET", ["iam", "users", id]) => match self.users.get(*id) {
                Some(roles) => (200, json!({"id": id, "roles": roles})),
                None => (404, json!({"error": "no such user"})),
            },
            ("DELETE", ["iam", "users", id]) => match self.users.remove(*id) {
                Some(_) => (200, json!({"deleted": id})),
                None => (404, json!({"error": "no such user"})),
            },
            ("POST", ["iam", "users", id, "roles"]) => {
                let roles = self.users.entry((*id).to_owned()).or_default();
                roles.extend(body.get("role").and_then(Value::as_str).map(str::to_owned));
                (200, json!({"id": id, "roles": roles}))
            }
            ("GET", ["iam", "users", id, "notes"]) => (200, json!({"notes": self.notes.get(*id)})),
            ("POST", ["iam", "users", id, "notes"]) => {
                let notes = self.notes.entry((*id).to_owned()).or_default();
                notes.push(body);
                (201, json!({"notes": notes.len()}))
            }
            ("PATCH", ["iam", "users", id, "contact"]) => (200, json!({"id": id, "contact": body})),
            ("GET", ["iam", "auth", setting]) => match self.auth.get(*setting) {
                Some(value) => (200, value.clone()),
                None => (404, json!({"error": "no such setting"})),
            },
            ("PUT" | "PATCH", ["iam", "auth", setting]) => {
                self.auth.insert((*setting).to_owned(), body.clone());
                (200, body)
            }
            _ => (404, json!({"error": "no such resource"})),
        }
    }
}
