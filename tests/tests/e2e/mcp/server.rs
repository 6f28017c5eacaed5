//! An MCP server of the `rmcp` SDK behind the gateway, which remembers what it was asked.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Body, extract::Request, middleware::Next, response::Response};
use hyper::HeaderMap;
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
        let record = seen.clone();
        let router = Router::new().nest_service("/mcp", service).layer(axum::middleware::from_fn(
            move |request: Request, next: Next| remember(record.clone(), request, next),
        ));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Server { address, seen, task }
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
