//! A real receiver of webhooks on loopback.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::post,
};
use holdgate_approval::{
    notices::{Hooks, deliver::Couriers},
    service::Service,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle, time::Instant};

pub const KEY: &[u8; 32] = b"01234567890123456789012345678901";
pub const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

/// What the receiver does with a request.
#[derive(Clone, Debug)]
pub enum Does {
    Answers(u16),
    RedirectsTo(String),
    Hangs,
}

#[derive(Clone, Debug)]
pub struct Got {
    pub headers: HeaderMap,
    pub body: String,
}

impl Got {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn id(&self) -> String {
        self.headers["webhook-id"].to_str().unwrap().to_owned()
    }

    /// What the body is about: event and hold.
    pub fn about(&self) -> (String, String) {
        let body = self.json();
        (body["type"].as_str().unwrap().to_owned(), body["hold"]["id"].as_str().unwrap_or_default().to_owned())
    }

    /// Checks the signature as its specification says, with an HMAC written out here (RFC 2104).
    pub fn is_signed(&self) -> bool {
        let header = |name: &str| self.headers[name].to_str().unwrap();
        let text = format!("{}.{}.{}", header("webhook-id"), header("webhook-timestamp"), self.body);
        let pad = |byte: u8| {
            let mut block = [byte; 64];
            KEY.iter().zip(&mut block).for_each(|(key, place)| *place ^= key);
            block
        };
        let inner = Sha256::digest([&pad(0x36)[..], text.as_bytes()].concat());
        let outer = Sha256::digest([&pad(0x5c)[..], &inner].concat());
        header("webhook-signature") == format!("v1,{}", holdgate_protocol::b64(&outer))
    }
}

#[derive(Clone, Default)]
struct Shared {
    got: Arc<Mutex<Vec<Got>>>,
    plan: Arc<Mutex<VecDeque<Does>>>,
}

pub struct Receiver {
    pub url: String,
    shared: Shared,
}

impl Receiver {
    /// Does with the first requests as the plan says, and answers 204 to the others.
    pub async fn new(plan: impl IntoIterator<Item = Does>) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let shared = Shared { plan: Arc::new(Mutex::new(plan.into_iter().collect())), ..Shared::default() };
        let router = Router::new().route("/hook", post(take)).with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Receiver { url, shared }
    }

    pub fn got(&self) -> Vec<Got> {
        self.shared.got.lock().unwrap().clone()
    }

    /// Waits until so many requests have come.
    pub async fn wait(&self, count: usize) -> Vec<Got> {
        let until = Instant::now() + Duration::from_secs(20);
        while self.got().len() < count {
            assert!(Instant::now() < until, "{} of {count} came", self.got().len());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.got()
    }
}

async fn take(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let body = String::from_utf8(body.to_vec()).unwrap();
    shared.got.lock().unwrap().push(Got { headers, body });
    let does = shared.plan.lock().unwrap().pop_front();
    match does.unwrap_or(Does::Answers(204)) {
        Does::Answers(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Does::RedirectsTo(url) => (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, url)]).into_response(),
        Does::Hangs => std::future::pending().await,
    }
}

/// Hooks to these addresses on loopback; `rest` is added to each.
pub fn hooks(hooks: &[(&str, &str)], rest: &str) -> Hooks {
    let hook = |(id, url): &(&str, &str)| format!("  - {{id: {id}, url: '{url}', secret_env: S{rest}}}\n");
    let text = format!("hosts: [127.0.0.1]\nhooks:\n{}", hooks.iter().map(hook).collect::<String>());
    Hooks::parse(&text, "https://console.example", |_| Some(SECRET.to_owned())).unwrap()
}

/// Delivers in the background, until it is told to stop or aborted.
pub struct Delivering {
    pub stop: watch::Sender<bool>,
    pub task: JoinHandle<()>,
}

pub fn deliver(service: &Service) -> Delivering {
    let (stop, stopping) = watch::channel(false);
    let task = tokio::spawn(Couriers::new(service.clone()).unwrap().run(stopping));
    Delivering { stop, task }
}
