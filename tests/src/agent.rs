//! An agent: sends requests to the gateway, well-formed ones and others.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use hyper::{Method, Request, body::Bytes};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::http::{Connection, Payload, Response, exchange};

/// The size of the pieces in which a chunked body is sent.
const PIECE: usize = 16 * 1024 - 7;

/// A caller with a token.
#[derive(Clone, Debug)]
pub struct Agent {
    pub gateway: SocketAddr,
    pub token: String,
}

/// One request, ready to be sent, as often as one likes.
#[derive(Clone, Debug)]
pub struct Call {
    gateway: SocketAddr,
    method: Method,
    host: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Bytes,
    chunked: bool,
    http2: bool,
}

impl Agent {
    /// A request with this agent's token, and nothing else yet.
    pub fn call(&self, method: Method, target: &str) -> Call {
        let headers = vec![("authorization".into(), format!("Bearer {}", self.token))];
        let (host, target, body) = ("api.example".to_owned(), target.to_owned(), Bytes::new());
        Call { gateway: self.gateway, method, host, target, headers, body, chunked: false, http2: false }
    }

    pub fn get(&self, target: &str) -> Call {
        self.call(Method::GET, target)
    }

    /// A `POST` of JSON.
    pub fn post(&self, target: &str, body: impl Into<Bytes>) -> Call {
        self.call(Method::POST, target).header("content-type", "application/json").body(body)
    }

    /// Sends bytes as they are and reads until the gateway hangs up; the status of the answer and all of its text.
    pub async fn send_raw(&self, bytes: &[u8]) -> Result<(u16, String)> {
        let mut stream = TcpStream::connect(self.gateway).await?;
        stream.write_all(bytes).await?;
        let mut answer = Vec::new();
        // A gateway may reset the connection after its answer.
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok((status.with_context(|| format!("no status in the answer `{answer}`"))?, answer))
    }
}

impl Call {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Leaves out every header of this name.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(other, _)| other != name);
        self
    }

    /// Names another host than the usual one.
    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends the body in pieces, without Content-Length.
    pub fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    /// Uses HTTP/2 with prior knowledge instead of HTTP/1.1.
    pub fn http2(mut self) -> Self {
        self.http2 = true;
        self
    }

    /// Sends it on a connection of its own. Dropping the future hangs up.
    pub async fn send(self) -> Result<Response> {
        if self.http2 {
            let connection = Connection::open(self.gateway).await?;
            return self.send_on(&connection).await;
        }
        let mut request = self.request(&self.target)?;
        request.headers_mut().insert("host", self.host.parse()?);
        exchange(self.gateway, request).await
    }

    /// Sends it on an HTTP/2 connection that others use too.
    pub async fn send_on(&self, connection: &Connection) -> Result<Response> {
        connection.exchange(self.request(&format!("http://{}{}", self.host, self.target))?).await
    }

    fn request(&self, uri: &str) -> Result<Request<Payload>> {
        let mut request = Request::builder().method(self.method.clone()).uri(uri);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let has_body = !self.body.is_empty() || self.method == Method::POST;
        if !self.chunked && has_body {
            request = request.header("content-length", self.body.len());
        } else if self.chunked && !self.http2 {
            request = request.header("transfer-encoding", "chunked");
        }
        let payload = if self.chunked { Payload::pieces(&self.body, PIECE) } else { Payload::whole(self.body.clone()) };
        Ok(request.body(payload)?)
    }
}
