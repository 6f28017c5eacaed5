//! HTTP on both sides of the gateway.

use std::{sync::mpsc::Sender, time::Duration};

use holdgate_host::{Exchange, Message, Pairs, Request, StreamId, UpstreamAnswer, pairs, value};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    HeaderMap, Response,
    body::{Bytes, Incoming},
    client::conn::http1,
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc::UnboundedReceiver, oneshot},
};

use super::host::Asked;

/// Bytes of a body that are taken, either way.
const MOST: usize = 16 * 1024 * 1024;

/// How long the upstream may take.
const LIMIT: Duration = Duration::from_secs(60);

/// The API behind the proxy.
#[derive(Clone)]
pub(super) struct Upstream {
    pub(super) host: String,
    pub(super) port: u16,
}

/// Takes requests until the process ends.
pub(super) async fn serve(listener: TcpListener, asks: Sender<Asked>) {
    while let Ok((stream, _)) = listener.accept().await {
        let asks = asks.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| carry(request, asks.clone()));
            let io = TokioIo::new(stream);
            // What is wrong with a connection ends it; the next one is served.
            let _ended = auto::Builder::new(TokioExecutor::new()).serve_connection(io, service).await;
        });
    }
}

async fn carry(request: hyper::Request<Incoming>, asks: Sender<Asked>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MOST).collect().await else { return Ok(plain(413)) };
    let trailers = body.trailers().map(fields);
    let body = body.to_bytes();
    let authority = head.uri.authority().map(|authority| authority.as_str().as_bytes().to_vec());
    let host = head.headers.get("host").map(|host| host.as_bytes().to_vec());
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let mut headers = pairs([(":method", head.method.as_str()), (":scheme", "http"), (":path", target)]);
    headers.push((b":authority".to_vec(), authority.or(host).unwrap_or_default()));
    headers.extend(fields(&head.headers).into_iter().filter(|(name, _)| name != b"host"));
    let body = if body.is_empty() { Vec::new() } else { vec![body.to_vec()] };
    let request = Request { headers, body, trailers, ..Request::default() };
    let (answer, answered) = oneshot::channel();
    if asks.send(Asked::Carry { request, answer }).is_err() {
        return Ok(plain(503));
    }
    Ok(answered.await.map_or_else(|_| plain(503), |exchange| response(&exchange)))
}

fn response(exchange: &Exchange) -> Response<Full<Bytes>> {
    let mut response = Response::builder().status(exchange.status().unwrap_or(503));
    for (name, value) in exchange.client.headers.iter().flatten().filter(|(name, _)| is_plain(name)) {
        response = response.header(name.as_slice(), value.as_slice());
    }
    response.body(Full::new(exchange.client.body.clone().into())).unwrap_or_else(|_| plain(502))
}

fn plain(status: u16) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    response
}

/// Brings requests to the upstream, and its answers back.
pub(super) async fn forward(
    upstream: Upstream,
    mut forwarded: UnboundedReceiver<(StreamId, Message)>,
    asks: Sender<Asked>,
) {
    while let Some((id, message)) = forwarded.recv().await {
        let (upstream, asks) = (upstream.clone(), asks.clone());
        tokio::spawn(async move {
            let answer = tokio::time::timeout(LIMIT, ask(&upstream, message)).await;
            let answer = answer.ok().flatten().unwrap_or(UpstreamAnswer::Reset);
            let _ended = asks.send(Asked::Upstream(id, answer));
        });
    }
}

/// `None` where there is no answer.
async fn ask(upstream: &Upstream, message: Message) -> Option<UpstreamAnswer> {
    let stream = TcpStream::connect((upstream.host.as_str(), upstream.port)).await.ok()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    let headers = message.headers.as_ref()?;
    let pseudo = |name: &str| value(headers, name).unwrap_or_default();
    let target = std::str::from_utf8(pseudo(":path")).ok()?;
    let mut request = hyper::Request::builder().method(pseudo(":method")).uri(target);
    request = request.header("host", pseudo(":authority"));
    for (name, value) in headers.iter().filter(|(name, _)| is_plain(name)) {
        request = request.header(name.as_slice(), value.as_slice());
    }
    let request = request.body(Full::<Bytes>::new(message.body.into())).ok()?;
    let exchange = async {
        let (head, body) = sender.send_request(request).await.ok()?.into_parts();
        let body = Limited::new(body, MOST).collect().await.ok()?.to_bytes().to_vec();
        let mut headers = pairs([(":status", head.status.as_str())]);
        headers.extend(fields(&head.headers));
        let body = if body.is_empty() { Vec::new() } else { vec![body] };
        Some(UpstreamAnswer::Answer { headers, body, trailers: None, after: Duration::ZERO })
    };
    tokio::select! {
        answer = exchange => answer,
        Err(_) = connection => None,
    }
}

/// The built-in upstream: answers with what it got.
pub(super) fn echo(message: &Message) -> UpstreamAnswer {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = message.headers.as_ref();
    let of = |name: &str| headers.and_then(|headers| value(headers, name)).map(text);
    // A token is not shown again.
    let others = headers.into_iter().flatten().filter(|(name, _)| is_plain(name) && name != b"authorization");
    let others: Vec<_> = others.map(|(name, value)| json!([text(name), text(value)])).collect();
    let got = json!({
        "method": of(":method"), "host": of(":authority"), "target": of(":path"), "headers": others, "body": text(&message.body),
    });
    let headers = pairs([(":status", "200"), ("content-type", "application/json"), ("x-upstream", "built-in")]);
    let body = vec![format!("{got:#}\n").into_bytes()];
    UpstreamAnswer::Answer { headers, body, trailers: None, after: Duration::ZERO }
}

/// Whether a field is carried as it is: pseudo-headers are not, nor what belongs to one connection, or to the proxy.
fn is_plain(name: &[u8]) -> bool {
    let own: [&[u8]; 5] =
        [b"connection", b"content-length", b"transfer-encoding", b"keep-alive", b"x-envoy-max-retries"];
    !name.starts_with(b":") && !own.contains(&name)
}

fn fields(headers: &HeaderMap) -> Pairs {
    headers.iter().map(|(name, value)| (name.as_str().as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}
