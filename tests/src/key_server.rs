//! The key set of an identity provider behind HTTP, which a test rotates, slows down and takes away.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Result;
use http_body_util::Full;
use hyper::{Request, Response, body::Bytes, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::signer::Signer;

/// A running key server; dropped, it stops.
pub struct KeyServer {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

#[derive(Clone)]
struct State {
    status: u16,
    body: String,
    delay: Duration,
    /// Heads of requests, in order.
    asked: Vec<String>,
}

impl KeyServer {
    pub async fn start(keys: &[&Signer]) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let state = State { status: 200, body: set(keys), delay: Duration::ZERO, asked: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let task = tokio::spawn(accept(listener, Arc::clone(&state)));
        Ok(KeyServer { address, state, task })
    }

    /// Publishes these keys in place of all others.
    pub fn publish(&self, keys: &[&Signer]) {
        self.with(|state| (state.status, state.body) = (200, set(keys)));
    }

    /// From now on it answers so.
    pub fn answer(&self, status: u16, body: &str) {
        self.with(|state| (state.status, state.body) = (status, body.to_owned()));
    }

    /// Lets every answer take so long.
    pub fn delay(&self, delay: Duration) {
        self.with(|state| state.delay = delay);
    }

    /// The heads of all requests that have come: path, and header fields.
    pub fn asked(&self) -> Vec<String> {
        self.with(|state| state.asked.clone())
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn set(keys: &[&Signer]) -> String {
    // As real sets have it: a key for encryption, and one of a kind that nobody knows here.
    let others = [json!({"kty": "RSA", "use": "enc", "kid": "enc", "n": "AQAB", "e": "AQAB"}), json!({"kty": "AKP"})];
    let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).chain(others).collect();
    json!({ "keys": keys }).to_string()
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(move |request| serve(request, Arc::clone(&state)));
            // What is wrong with a connection ends it; the next one is served.
            let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn serve(request: Request<Incoming>, state: Arc<Mutex<State>>) -> Result<Response<Full<Bytes>>> {
    let State { status, body, delay, .. } = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.asked.push(format!("{} {:?}", request.uri().path(), request.headers()));
        state.clone()
    };
    tokio::time::sleep(delay).await;
    Ok(Response::builder().status(status).body(Full::new(body.into()))?)
}
