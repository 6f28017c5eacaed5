//! The provider's process, and a person at it.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
};

use axum::body::Bytes;
use holdgate_protocol::jws::PrivateKey;
use http_body_util::{BodyExt as _, Full};
use hyper::{HeaderMap, Request, Response, StatusCode, header};
use hyper_util::{client::legacy, rt::TokioExecutor};
use serde_json::{Value, json};

/// Where the browser is sent back to. Nothing listens there: the tests hand it to the service's router themselves.
pub const PUBLIC: &str = "http://127.0.0.1:9";

/// Where the command line would listen.
pub const LOCAL: &str = "http://127.0.0.1:9/cli";

pub const AUDIENCE: &str = "https://approvals.example/api";

/// A running `oidc-provider`. It ends with its standard input.
pub struct Idp {
    process: Child,
    /// Kept open: who writes into a closed pipe dies of it.
    _said: BufReader<ChildStdout>,
    pub port: u16,
}

impl Drop for Idp {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Where `cargo xtask setup` puts the provider, unless the environment says it.
fn folder() -> PathBuf {
    let named = std::env::var_os("HOLDGATE_OIDC_PROVIDER").map(PathBuf::from);
    let folder = named.unwrap_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("../tools/oidc"));
    assert!(folder.join("node_modules").is_dir(), "no oidc-provider in `{}`: cargo xtask setup", folder.display());
    folder
}

impl Idp {
    /// A provider with keys of its own.
    pub fn new(alg: &str) -> Idp {
        Idp::start(0, alg, Value::Null)
    }

    /// A provider that signs with the first of these keys, on a port that another one had, or on a free one (0).
    pub fn with_keys(port: u16, keys: &[&PrivateKey]) -> Idp {
        let jwk = |key: &&PrivateKey| {
            let mut jwk = json!(key.to_private_jwk());
            jwk["use"] = "sig".into();
            jwk
        };
        Idp::start(port, "EdDSA", json!({"keys": keys.iter().map(jwk).collect::<Vec<_>>()}))
    }

    fn start(port: u16, alg: &str, jwks: Value) -> Idp {
        let client = |id: &str, redirect: &str| {
            json!({"client_id": id, "redirect_uris": [redirect], "response_types": ["code"],
                   "grant_types": ["authorization_code"], "token_endpoint_auth_method": "none"})
        };
        let callback = format!("{PUBLIC}/signin/oidc/callback");
        let mut console = client("holdgate", &callback);
        console["token_endpoint_auth_method"] = "client_secret_basic".into();
        console["client_secret"] = "se cr&et".into();
        let robot = json!({"client_id": "robot", "client_secret": "secret", "redirect_uris": [], "response_types": [],
                           "grant_types": ["client_credentials"]});
        let mut settings = json!({
            "port": port, "alg": alg, "clients": [
                console, client("cli", LOCAL), client("other", LOCAL), client("delegate", LOCAL), robot,
            ],
            "claims": {"delegate": {"act": {"sub": "bot"}}},
        });
        if !jwks.is_null() {
            settings["jwks"] = jwks;
        }
        let mut node = Command::new("node");
        node.arg(folder().join("provider.mjs")).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = node.spawn().unwrap();
        writeln!(process.stdin.as_mut().unwrap(), "{settings}").unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(process.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        let Some(port) = line.trim().strip_prefix("ready ").and_then(|port| port.parse().ok()) else {
            let said = process.wait_with_output().unwrap();
            panic!("the provider did not start: {}", String::from_utf8_lossy(&said.stderr));
        };
        Idp { process, _said: said, port }
    }

    pub fn issuer(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// A browser at the provider: it keeps cookies and follows redirects, until one leads elsewhere.
#[derive(Default)]
pub struct Person {
    cookies: BTreeMap<String, String>,
    /// How often a password was asked for.
    pub asked: u32,
}

impl Person {
    /// Goes to the provider, signs in there as `name` where it asks, agrees to what it asks for, and comes back with an
    /// address.
    pub async fn visit(&mut self, idp: &Idp, address: &str, name: &str) -> String {
        let mut answer = self.get(address).await;
        for _ in 0..20 {
            if let Some(location) = answer.headers().get(header::LOCATION) {
                let location = location.to_str().unwrap().to_owned();
                let full = if location.starts_with('/') { format!("{}{location}", idp.issuer()) } else { location };
                if !full.starts_with(&format!("{}/", idp.issuer())) {
                    return full;
                }
                answer = self.get(&full).await;
                continue;
            }
            let page = text(answer).await;
            let action = page.split("action=\"").nth(1).and_then(|rest| rest.split('"').next());
            let action = action.unwrap_or_else(|| panic!("no form: {page}")).to_owned();
            let action = if action.starts_with('/') { format!("{}{action}", idp.issuer()) } else { action };
            let form = if page.contains("name=\"login\"") {
                self.asked += 1;
                format!("prompt=login&login={name}&password=any")
            } else {
                "prompt=consent".to_owned()
            };
            let request = Request::post(&action).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
            answer = self.send(request, form).await;
        }
        panic!("the provider never sends the browser back");
    }

    async fn get(&mut self, address: &str) -> Response<Bytes> {
        self.send(Request::get(address), String::new()).await
    }

    async fn send(&mut self, request: hyper::http::request::Builder, body: String) -> Response<Bytes> {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let answer = ask(request.header(header::COOKIE, cookies.join("; ")), body).await;
        for line in answer.headers().get_all(header::SET_COOKIE) {
            let (pair, _) = line.to_str().unwrap().split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        answer
    }
}

async fn text(answer: Response<Bytes>) -> String {
    assert_eq!(answer.status(), StatusCode::OK, "{:?}", answer.body());
    String::from_utf8(answer.into_body().to_vec()).unwrap()
}

/// One request to the provider.
pub async fn ask(request: hyper::http::request::Builder, body: String) -> Response<Bytes> {
    let client = legacy::Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let answer = client.request(request.body(body.into()).unwrap()).await.unwrap();
    let (parts, body) = answer.into_parts();
    Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
}

/// A token endpoint's answer.
pub async fn token(idp: &Idp, headers: HeaderMap, form: String) -> Value {
    let mut request = Request::post(format!("{}/token", idp.issuer()));
    request.headers_mut().unwrap().extend(headers);
    let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    serde_json::from_slice(ask(request, form).await.body()).unwrap()
}
