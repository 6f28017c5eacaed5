//! An agent that speaks HTTP/2, with prior knowledge.

use h2::{
    RecvStream, SendStream,
    client::{ResponseFuture, SendRequest},
};
use hyper::{
    HeaderMap, Request,
    body::Bytes,
    header::{HeaderName, HeaderValue},
};
use tokio::net::TcpStream;

use crate::cases::driver::{Reply, Sending, Trouble};

/// A request whose head is on its way.
pub(super) struct Begun {
    response: ResponseFuture,
    body: SendStream<Bytes>,
    /// Ends with the exchange.
    connection: tokio::task::JoinHandle<()>,
    _sender: SendRequest<Bytes>,
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Sends the head of a request.
pub(super) async fn begin(stream: TcpStream, sending: &Sending) -> Result<Begun, Trouble> {
    let broken = |error: h2::Error| Trouble::Failed(format!("Envoy takes no HTTP/2: {error}"));
    let (sender, connection) = h2::client::handshake(stream).await.map_err(broken)?;
    let connection = tokio::spawn(async move {
        // What is wrong with it is seen by the request.
        let _ended = connection.await;
    });
    let mut sender = sender.ready().await.map_err(broken)?;
    let mut request = Request::builder()
        .method(sending.method.as_str())
        .uri(format!("http://{}{}", sending.host, sending.target))
        .body(())
        .map_err(unfit)?;
    *request.headers_mut() = fields(&sending.headers)?;
    let told = request.headers().contains_key("content-length");
    let whole = sending.chunks == holdgate_authoring::cases::Chunks::Whole && sending.trailers.is_empty();
    if whole && !told && !sending.body.is_empty() {
        request.headers_mut().insert("content-length", sending.body.len().into());
    }
    let end = sending.body.is_empty() && sending.trailers.is_empty();
    let (response, body) = sender.send_request(request, end).map_err(unfit)?;
    Ok(Begun { response, body, connection, _sender: sender })
}

/// Sends what follows the head, and reads the answer; `None` if the stream is reset before it is whole.
pub(super) async fn exchange(mut begun: Begun, sending: &Sending) -> Option<Reply> {
    let Begun { response, body, .. } = &mut begun;
    let writing = async {
        // A gateway may answer and reset the stream while it is still written to.
        let _broken = write_body(body, sending).await;
        std::future::pending().await
    };
    let reading = async {
        let (head, body) = response.await.ok()?.into_parts();
        let headers = head.headers.iter();
        let headers = headers.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect();
        Some(Reply { status: head.status.as_u16(), headers, body: read_body(body).await? })
    };
    tokio::select! {
        reply = reading => reply,
        () = writing => None,
    }
}

async fn read_body(mut body: RecvStream) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.ok()?;
        let _freed = body.flow_control().release_capacity(data.len());
        all.extend_from_slice(&data);
    }
    Some(all)
}

async fn write_body(body: &mut SendStream<Bytes>, sending: &Sending) -> Result<(), Trouble> {
    let pieces = sending.pieces();
    let last = pieces.len();
    for (at, piece) in pieces.into_iter().enumerate() {
        if at > 0 && !sending.pause.is_zero() {
            tokio::time::sleep(sending.pause).await;
        }
        let mut rest = Bytes::copy_from_slice(piece);
        while !rest.is_empty() {
            body.reserve_capacity(rest.len());
            let room = std::future::poll_fn(|context| body.poll_capacity(context)).await;
            let room = room.and_then(Result::ok).ok_or_else(|| Trouble::Failed("the stream is reset".to_owned()))?;
            let part = rest.split_to(room.min(rest.len()));
            let end = rest.is_empty() && at + 1 == last && sending.trailers.is_empty();
            body.send_data(part, end).map_err(unfit)?;
        }
    }
    if !sending.trailers.is_empty() {
        body.send_trailers(fields(&sending.trailers)?).map_err(unfit)?;
    }
    Ok(())
}

fn fields(pairs: &[(Vec<u8>, Vec<u8>)]) -> Result<HeaderMap, Trouble> {
    let mut fields = HeaderMap::new();
    for (name, value) in pairs {
        let name = HeaderName::from_bytes(name).map_err(unfit)?;
        fields.append(name, HeaderValue::from_bytes(value).map_err(unfit)?);
    }
    Ok(fields)
}

fn unfit(error: impl std::fmt::Display) -> Trouble {
    Trouble::CannotPlay(format!("this request cannot be sent over HTTP/2: {error}"))
}
