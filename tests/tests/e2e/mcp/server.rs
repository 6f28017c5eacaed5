//! An MCP server of the `rmcp` SDK behind the gateway, which remembers what it was asked.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use axum::{Router, body::Body, extract::Request, middleware::Next, response::Response};
use http_body_util::BodyExt as _;
use hyper::{
    HeaderMap,
    body::{Bytes, Frame},
    header::CONTENT_LENGTH,
};
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, InputRequiredResult, ListToolsResult,
        PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
    },
    service::RequestContext,
    transport::{
        StreamableHttpServerConfig, StreamableHttpService, streamable_http_server::session::local::LocalSessionManager,
    },
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

/// The tools that it has, and whatever the policy says, would run.
const TOOLS: [&str; 5] = ["lookup", "pay", "wipe", "shell", "ask"];

/// One message as it arrived.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Seen {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }
}

/// The running server.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    parts: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// `json`: answers are JSON where they can be, and there are no sessions; else they are event streams of sessions.
    pub(super) async fn start(json: bool) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = StreamableHttpServerConfig::default().disable_allowed_hosts();
        let config = config.with_legacy_session_mode(!json).with_json_response(json);
        let service = StreamableHttpService::new(|| Ok(Tools), Arc::new(LocalSessionManager::default()), config);
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let parts = Arc::<AtomicUsize>::default();
        let (record, cut) = (seen.clone(), parts.clone());
        let router = Router::new().nest_service("/mcp", service).layer(axum::middleware::from_fn(
            move |request: Request, next: Next| {
                let (record, parts) = (record.clone(), cut.load(Ordering::SeqCst));
                async move {
                    let answer = remember(record, request, next).await;
                    if parts == 0 { answer } else { in_parts(answer, parts).await }
                }
            },
        ));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Server { address, seen, parts, task }
    }

    /// From now on answers come in so many parts, and trailers behind them.
    pub(super) fn send_trailers(&self, parts: usize) {
        self.parts.store(parts, Ordering::SeqCst);
    }

    /// The messages of a method, in their order.
    pub(super) fn seen(&self, method: &str) -> Vec<Seen> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|seen| seen.json()["method"] == method).cloned().collect()
    }

    /// The arguments of the calls of a tool.
    pub(super) fn calls(&self, tool: &str) -> Vec<Value> {
        let params = self.seen("tools/call").into_iter().map(|seen| seen.json()["params"].clone());
        params.filter(|params| params["name"] == tool).map(|params| params["arguments"].clone()).collect()
    }
}

async fn remember(record: Arc<Mutex<Vec<Seen>>>, request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 24).await.unwrap();
    let text = String::from_utf8_lossy(&body).into_owned();
    record.lock().unwrap().push(Seen { headers: head.headers.clone(), text });
    next.run(Request::from_parts(head, Body::from(body))).await
}

async fn in_parts(answer: Response, parts: usize) -> Response {
    let (mut head, body) = answer.into_parts();
    let body = axum::body::to_bytes(body, 1 << 24).await.unwrap();
    let length = body.len().div_ceil(parts).max(1);
    let chunks: Vec<Bytes> = body.chunks(length).map(Bytes::copy_from_slice).collect();
    let (sender, channel) = tokio::sync::mpsc::channel::<Result<Frame<Bytes>, std::convert::Infallible>>(1);
    tokio::spawn(async move {
        for chunk in chunks {
            let _ = sender.send(Ok(Frame::data(chunk))).await;
            // So that they do not arrive as one.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let trailers = HeaderMap::from_iter([("x-checksum".parse().unwrap(), "1".parse().unwrap())]);
        let _ = sender.send(Ok(Frame::trailers(trailers))).await;
    });
    head.headers.remove(CONTENT_LENGTH);
    Response::from_parts(head, Body::new(Parts(channel).boxed_unsync()))
}

/// A body whose frames come from elsewhere.
struct Parts(tokio::sync::mpsc::Receiver<Result<Frame<Bytes>, std::convert::Infallible>>);

impl hyper::body::Body for Parts {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context)
    }
}

struct Tools;

impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let schema = json!({"type": "object"}).as_object().cloned().unwrap();
        Ok(ListToolsResult::with_all_items(TOOLS.iter().map(|name| Tool::new(*name, "", schema.clone())).collect()))
    }

    async fn call_tool(
        &self,
        call: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        // `ask` wants to be called again with a state of its own.
        if call.name == "ask" && call.request_state.is_none() {
            return Ok(InputRequiredResult::from_request_state("the server's own").into());
        }
        let text = format!("{} {} {:?}", call.name, json!(call.arguments), call.request_state);
        Ok(CallToolResult::success(vec![ContentBlock::text(text)]).into())
    }
}
